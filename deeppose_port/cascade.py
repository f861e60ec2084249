"""A cascade that answers: stage after stage, each from the joints of the one before."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from converters import Preprocessing, hub, words
from converters.cascade import Cascade
from converters.errors import DeepPoseError
from deeppose_port.data.ahead import Workers
from deeppose_port.data.arrays import Float32Array, Float64Array, Inputs, batched, joined
from deeppose_port.data.close_up import (
    CloseUpError,
    CloseUpInputs,
    CloseUpView,
    FaceView,
    Look,
    Pictures,
    Rectangle,
    rectangle_of_face,
    scaled,
    squares,
)
from deeppose_port.data.faces import find_face
from deeppose_port.data.pictures import AnyPicture, Picture, picture_of
from deeppose_port.data.pixels import Window, size_of, whole_of
from deeppose_port.data.skeletons import AnySkeleton
from deeppose_port.data.view import AnyBox
from deeppose_port.pose import Pose, boxes_of, draw, naming

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: How many close-ups go through a network at once.
_BATCH = 32
#: The program of takiyu mixes stages in an order of its own, which is known for three.
_LEGACY_STAGES = 3


class CascadePose:
    """A cascade's networks on one backend and device.

    Attributes:
        cascade: The cascade.
        stages: Its networks, ready to answer: one, or one a joint, for every stage.
    """

    def __init__(
        self,
        cascade: Cascade,
        backend: str = "torch",
        device: str = "cpu",
        relu_nan: str = "nan",
        engine: str | None = None,
    ) -> None:
        self.cascade = cascade
        self.stages = tuple(
            tuple(Pose(network, backend, device, relu_nan=relu_nan, engine=engine) for network in stage.networks)
            for stage in cascade.stages
        )

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike[str],
        backend: str = "torch",
        device: str = "cpu",
        *,
        engine: str | None = None,
        **fetching: Unpack[hub.Fetching],
    ) -> CascadePose:
        """Loads a folder that `save_pretrained` wrote, or one of Hugging Face's Hub; see `Pose.from_pretrained`."""
        cascade = hub.read_pretrained(source, fetching)
        if not isinstance(cascade, Cascade):
            advice = "deeppose_port.Pose.from_pretrained"
            raise DeepPoseError("this is one network, and a cascade is asked for", where=source, advice=advice)
        return cls(cascade, backend, device, engine=engine)

    def save_pretrained(self, folder: str | os.PathLike[str], *, force: bool = False) -> None:
        """Writes a folder for `from_pretrained` and Hugging Face's Hub; see `Pose.save_pretrained`."""
        hub.write_pretrained(self.cascade, folder, force=force)

    def push_to_hub(self, repo_id: str, **how: Any) -> str:
        """Sends the same files to Hugging Face's Hub; see `Pose.push_to_hub`."""
        return hub.push(self.cascade, repo_id, **how)

    @property
    def path(self) -> str:
        """The file or folder, for messages."""
        return self.cascade.source.path

    @property
    def backend(self) -> str:
        """What runs it."""
        return self.first.backend

    @property
    def device(self) -> str:
        """Where its networks run."""
        return self.first.device

    @property
    def looks_for_faces(self) -> bool:
        """Whether a person is found by the face where no box is given."""
        return self.cascade.face is not None

    @property
    def stage_count(self) -> int:
        """Number of stages."""
        return len(self.stages)

    @property
    def joints(self) -> int:
        """Number of joints."""
        return self.cascade.joints

    @property
    def preprocessing(self) -> Preprocessing:
        """How pictures become the first stage's inputs."""
        return self.first.preprocessing

    @property
    def first(self) -> Pose:
        """The first stage, which answers by itself as any checkpoint does."""
        return self.stages[0][0]

    def __repr__(self) -> str:
        """Returns what it is, in a line, for a notebook."""
        height, width = self.preprocessing.shape
        return f"<CascadePose {self.cascade.title}, inputs of {width} x {height}, {self.backend} on {self.device}>"

    def _repr_html_(self) -> str:
        """Returns what it is as a notebook shows it."""
        facts = {"runs in": f"{self.backend} on {self.device}", **words.facts_of_cascade(self.cascade)}
        return words.html_of_facts(f"CascadePose of {self.cascade.title}", facts)

    def predict(
        self,
        image: AnyPicture | Sequence[AnyPicture],
        box: AnyBox | Sequence[AnyBox | None] | None = None,
        *,
        face: Sequence[float] | None = None,
        start: npt.ArrayLike | None = None,
        legacy_order: bool = False,
        colors: str = "bgr",
    ) -> Float64Array:
        """Finds one person's joints in a picture, or in each of several: the answer of the last stage.

        Arguments and errors are those of `predict_stages`, of several pictures those of `Pose.predict`; these have
        neither `face` nor `start`.

        Returns:
            (joints, 2) float64, x right and y down, in pixels of the picture; (N, joints, 2) of N pictures.
        """
        if isinstance(image, list | tuple):
            if face is not None or start is not None:
                raise DeepPoseError("face and start are of one picture, and these are several")
            found = np.empty((len(image), self.joints, 2))
            for number, own in enumerate(boxes_of(image, box)):
                with naming(number):
                    found[number] = self.predict(image[number], own, legacy_order=legacy_order, colors=colors)
            return found
        picture, own = cast(AnyPicture, image), cast("AnyBox | None", box)
        stages = self.predict_stages(picture, own, face=face, start=start, legacy_order=legacy_order, colors=colors)
        return np.asarray(stages[-1], np.float64)

    def draw(
        self,
        image: AnyPicture,
        box: AnyBox | None = None,
        *,
        colors: str = "bgr",
        skeleton: AnySkeleton | None = None,
        names: bool = False,
        legend: bool = False,
    ) -> Picture:
        """Draws a person's joints, as `predict` finds them; see `Pose.draw`."""
        return draw(self, image, box, colors, skeleton, names, legend)

    def predict_stages(
        self,
        image: AnyPicture,
        box: AnyBox | None = None,
        *,
        face: Sequence[float] | None = None,
        start: npt.ArrayLike | None = None,
        legacy_order: bool = False,
        colors: str = "bgr",
    ) -> Float64Array:
        """Finds one person's joints in a picture, stage by stage.

        Args:
            image: (H, W, 3) uint8, BGR as OpenCV reads it; or a path, or a PIL picture.
            box: (x, y, width, height) in pixels of the picture: what the first stage sees; None: all of it. For a
                cascade that cuts persons out by their faces it is the rectangle that follows from one.
            face: (x, y, width, height) of the person's face, for such a cascade; None, with no box: the largest that
                OpenCV finds.
            start: (joints, 2): a pose that is known already, of the frame before say, in place of the first stage's
                answer.
            legacy_order: The order in which the program of takiyu goes about it: joint by joint, so that from the third
                stage on it mixes stages.
            colors: The order of an array's colours, `bgr` or `rgb`.

        Returns:
            (stages, joints, 2) float64, x right and y down, in pixels of the picture.

        Raises:
            DeepPoseError: The picture, box, face or pose cannot be used, or a torso has no length.
            NoFaceError: No face is found.
        """
        picture = picture_of(image, colors)
        if start is None:
            look = self.look(picture, box, face)
            first = look.points(self.first(joined([self.first.input(look, picture)]))[0])
        else:
            first = self._started(start)
        (stages,) = self.stages_from([picture], [first], legacy_order=legacy_order)
        if isinstance(stages, CloseUpError):
            raise stages
        return stages

    # --- the first stage ---------------------------------------------------------------------------------------------

    def look(self, image: Picture | Window, box: AnyBox | None = None, face: Sequence[float] | None = None) -> Look:
        """Returns what the first stage sees of a person; arguments and errors are those of `predict_stages`."""
        rule, preprocessing = self.cascade.face, self.first.preprocessing
        if rule is None:
            return self.first.look(image, box, face)
        if box is None:
            rectangle = rectangle_of_face(find_face(whole_of(image)) if face is None else face, rule)
        elif face is None:
            x, y, width, height = map(float, box)
            rectangle = Rectangle(x + width / 2, y + height / 2, width, height)
        else:
            raise DeepPoseError("box and face both say where the person is: give one of them")
        return FaceView(rectangle, rule, preprocessing, size_of(image))

    def _started(self, start: npt.ArrayLike) -> Float64Array:
        points = np.asarray(start, np.float64)
        if points.shape != (self.joints, 2) or not np.isfinite(points).all():
            raise DeepPoseError(f"the pose to start from, {points.shape}, is not ({self.joints}, 2), or not finite")
        return points

    # --- later stages ------------------------------------------------------------------------------------------------

    def stages_from(
        self, pictures: Sequence[Picture | Window], first: Sequence[npt.ArrayLike], *, legacy_order: bool = False
    ) -> list[Float64Array | CloseUpError]:
        """Returns all stages of several persons at once, whose first stage is known.

        Args:
            pictures: One (H, W, 3) uint8 picture, BGR, for each person.
            first: (joints, 2) for each, pixels of the picture.
            legacy_order: As for `predict_stages`.

        Returns:
            For each person (stages, joints, 2) float64, pixels of the picture, the first stage as it was given; or why
            there is nothing to look at.

        Raises:
            DeepPoseError: `legacy_order` is asked for where it is not known.
        """
        if legacy_order:
            self._refuse_order()
        poses = [np.asarray(pose, np.float64) for pose in first]
        try:
            stages = [np.stack(poses)] if poses else []
            for number in range(1, len(self.stages)) if poses else ():
                if legacy_order and number > 1:
                    mixed = [self._mixed(number, *one) for one in zip(pictures, *stages[-2:], strict=True)]
                    stages.append(np.stack(mixed))
                else:
                    stages.append(self.refined(number, pictures, stages[-1]))
        except CloseUpError as error:
            if len(poses) == 1:
                return [error]
            alone = zip(pictures, poses, strict=True)
            return [self.stages_from([image], [pose], legacy_order=legacy_order)[0] for image, pose in alone]
        return list(np.stack(stages, axis=1)) if poses else []

    def refined(self, number: int, pictures: Sequence[Picture | Window], poses: npt.ArrayLike) -> Float64Array:
        """Returns what a later stage makes of the poses of the stage before, for several persons at once.

        Args:
            number: The stage, from 1 on for the second.
            pictures: One (H, W, 3) uint8 picture, BGR, for each person.
            poses: (persons, joints, 2), pixels of the pictures.

        Returns:
            (persons, joints, 2) float64, pixels of the pictures.

        Raises:
            CloseUpError: A torso has no length.
        """
        before = np.asarray(poses, np.float64)
        wanted = [(person, joint) for person in range(len(before)) for joint in range(self.joints)]
        seen = [self._seen(picture) for picture in pictures]
        return before + self._displacements(number, seen, before, wanted).reshape(before.shape)

    def asked(self, number: int, pictures: Pictures, poses: Float64Array) -> list[CloseUpInputs]:
        """Returns what each network of a later stage is asked about persons; arguments are those of `refined`.

        Raises:
            DeepPoseError: A torso has no length; it names the person.
        """
        close_up, networks = self.cascade.stages[number].close_up, self.stages[number]
        assert close_up is not None
        whole_first = self.cascade.face is not None
        joints = [None] if len(networks) == 1 else list(range(self.joints))
        return [
            CloseUpInputs(pictures, poses, joint, close_up, network.preprocessing, whole_first=whole_first)
            for joint, network in zip(joints, networks, strict=True)
        ]

    def _seen(self, picture: Picture | Window) -> Picture | Window | Float32Array:
        """Returns a picture as close-ups are cut out of it."""
        return picture if self.cascade.face is None else scaled(picture, self.first.preprocessing)

    def _displacements(
        self,
        number: int,
        seen: Sequence[Picture | Window | Float32Array],
        poses: Float64Array,
        wanted: Sequence[tuple[int, int]],
    ) -> Float64Array:
        """Returns by how much a stage moves some persons' joints, (wanted, 2) in pixels of the pictures."""
        close_up = self.cascade.stages[number].close_up
        assert close_up is not None
        around = [squares(pose, close_up) for pose in poses]
        networks = self.stages[number]
        preprocessing = networks[0].preprocessing
        moved = np.empty((len(wanted), 2))

        def view(place: int) -> CloseUpView:
            person, joint = wanted[place]
            # A network of one joint answers only that.
            return CloseUpView(around[person][joint], joint if len(networks) == 1 else 0, preprocessing)

        def cut(place: int) -> Inputs:
            return networks[0].input(view(place), seen[wanted[place][0]])

        parts = self._parts(number, wanted)
        with Workers() as workers:
            inputs = (made() for _, made in workers.ahead(itertools.chain(*parts), cut, 2 * _BATCH))
            for part in parts:
                network = networks[0] if len(networks) == 1 else networks[wanted[part[0]][1]]
                answers = network(joined(list(itertools.islice(inputs, len(part)))))
                for place, answer in zip(part, answers, strict=True):
                    moved[place] = view(place).way(answer)
        return moved

    def _parts(self, number: int, wanted: Sequence[tuple[int, int]]) -> list[tuple[int, ...]]:
        """Returns which of the wanted go through a network of a stage together."""
        groups = [list(range(len(wanted)))]
        if len(self.stages[number]) > 1:
            groups = [[k for k, (_, own) in enumerate(wanted) if own == joint] for joint in range(self.joints)]
        return [part for group in groups for part in batched(group, _BATCH)]

    def _refuse_order(self) -> None:
        if self.cascade.face is None or len(self.stages) > _LEGACY_STAGES:
            raise DeepPoseError(
                f"legacy_order is that of takiyu's program, known for its cascades of {_LEGACY_STAGES} stages"
            )

    def _mixed(self, number: int, image: Picture | Window, first: Float64Array, before: Float64Array) -> Float64Array:
        """Returns the third stage as the program of takiyu computes it, joint by joint.

        It looks from a pose that has the second stage for the joints up to this one and the first for those after it,
        and adds what it answers, for every joint but the first, to the first stage's place.
        """
        upto = np.arange(self.joints) <= np.arange(self.joints)[:, None]
        mixed = np.where(upto[:, :, None], before, first)  # a pose for each joint
        bases = np.concatenate([before[:1], first[1:]])
        wanted = [(joint, joint) for joint in range(self.joints)]
        return np.asarray(bases + self._displacements(number, [self._seen(image)] * self.joints, mixed, wanted))
