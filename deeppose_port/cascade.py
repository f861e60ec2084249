"""A cascade that answers: stage after stage, each from the joints of the one before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from converters import Preprocessing
from converters.cascade import Cascade
from converters.errors import DeepPoseError
from deeppose_port.data.arrays import Float32Array, Float64Array
from deeppose_port.data.close_up import Rectangle, input_of, rectangle_of_face, scaled, squares
from deeppose_port.data.faces import find_face
from deeppose_port.data.pictures import Picture, checked_picture
from deeppose_port.data.view import Box
from deeppose_port.pose import Pose

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

    def predict(
        self,
        image: Picture,
        box: Box | None = None,
        *,
        face: Sequence[float] | None = None,
        start: npt.ArrayLike | None = None,
        legacy_order: bool = False,
    ) -> Float64Array:
        """Finds one person's joints in a picture: the answer of the last stage.

        Arguments and errors are those of `predict_stages`.

        Returns:
            (joints, 2) float64, x right and y down, in pixels of the picture.
        """
        stages = self.predict_stages(image, box, face=face, start=start, legacy_order=legacy_order)
        return np.asarray(stages[-1], np.float64)

    def predict_stages(
        self,
        image: Picture,
        box: Box | None = None,
        *,
        face: Sequence[float] | None = None,
        start: npt.ArrayLike | None = None,
        legacy_order: bool = False,
    ) -> Float64Array:
        """Finds one person's joints in a picture, stage by stage.

        Args:
            image: (H, W, 3) uint8, BGR as OpenCV reads it.
            box: (x, y, width, height) in pixels of the picture: what the first stage sees; None: all of it. For a
                cascade that cuts persons out by their faces it is the rectangle that follows from one.
            face: (x, y, width, height) of the person's face, for such a cascade; None, with no box: the largest that
                OpenCV finds.
            start: (joints, 2): a pose that is known already, of the frame before say, in place of the first stage's
                answer.
            legacy_order: The order in which the program of takiyu goes about it: joint by joint, so that from the third
                stage on it mixes stages.

        Returns:
            (stages, joints, 2) float64, x right and y down, in pixels of the picture.

        Raises:
            DeepPoseError: The picture, box, face or pose cannot be used, or a torso has no length.
            NoFaceError: No face is found.
        """
        checked_picture(image)
        if legacy_order:
            self._refuse_order()
        poses = [self._first(image, box, face) if start is None else self._started(start)]
        for number in range(1, len(self.stages)):
            if legacy_order and number > 1:
                poses.append(self._mixed(number, image, poses))
            else:
                poses.append(self.refined(number, [image], poses[-1][None])[0])
        return np.stack(poses)

    # --- the first stage ---------------------------------------------------------------------------------------------

    def _first(self, image: Picture, box: Box | None, face: Sequence[float] | None) -> Float64Array:
        """Returns the first stage's answer, (joints, 2)."""
        rule = self.cascade.face
        if rule is None:
            if face is not None:
                raise DeepPoseError("this cascade does not cut persons out by their faces: give box instead of face")
            return self.first.predict(image, box)
        if box is None:
            rectangle = rectangle_of_face(find_face(image) if face is None else face, rule)
        elif face is None:
            x, y, width, height = map(float, box)
            rectangle = Rectangle(x + width / 2, y + height / 2, width, height)
        else:
            raise DeepPoseError("box and face both say where the person is: give one of them")
        preprocessing = self.first.preprocessing
        rows, columns = preprocessing.shape
        outputs = self.first(input_of(scaled(image, preprocessing), rectangle, preprocessing)[None])[0]
        # In float32, as the program does.
        size = np.array([columns, rows], np.float32)
        points = (outputs.reshape(-1, 2) * size + size / 2).astype(np.float64)
        matrix = np.vstack([rectangle.matrix(columns, rows), (0, 0, 1)])
        points = (np.linalg.inv(matrix) @ np.column_stack([points, np.ones(len(points))]).T)[:2].T
        left, right = rule.shoulders
        if points[left, 0] < points[right, 0]:
            order = np.arange(len(points))
            for a, b in rule.swapped:
                order[[a, b]] = b, a
            points = points[order]
        return np.asarray(points, np.float64)

    def _started(self, start: npt.ArrayLike) -> Float64Array:
        points = np.asarray(start, np.float64)
        if points.shape != (self.joints, 2) or not np.isfinite(points).all():
            raise DeepPoseError(f"the pose to start from, {points.shape}, is not ({self.joints}, 2), or not finite")
        return points

    # --- later stages ------------------------------------------------------------------------------------------------

    def refined(self, number: int, pictures: Sequence[Picture], poses: npt.ArrayLike) -> Float64Array:
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

    def _seen(self, picture: Picture) -> Picture | Float32Array:
        """Returns a picture as close-ups are cut out of it."""
        return picture if self.cascade.face is None else scaled(picture, self.first.preprocessing)

    def _displacements(
        self,
        number: int,
        seen: Sequence[Picture | Float32Array],
        poses: Float64Array,
        wanted: Sequence[tuple[int, int]],
    ) -> Float64Array:
        """Returns by how much a stage moves some persons' joints, (wanted, 2) in pixels of the pictures."""
        close_up = self.cascade.stages[number].close_up
        assert close_up is not None
        around = [squares(pose, close_up) for pose in poses]
        rows, columns = self.stages[number][0].preprocessing.shape
        size = np.array([columns, rows], np.float32)
        moved = np.empty((len(wanted), 2))
        for start in range(0, len(wanted), _BATCH):
            part = wanted[start : start + _BATCH]
            answers = self._answers(number, [(seen[person], around[person][joint], joint) for person, joint in part])
            for k, ((person, joint), answer) in enumerate(zip(part, answers, strict=True), start):
                turn = around[person][joint].matrix(columns, rows)[:, :2]
                moved[k] = np.linalg.inv(turn) @ (answer * size).astype(np.float64)
        return moved

    def _answers(self, number: int, looked_at: Sequence[tuple[Picture | Float32Array, Rectangle, int]]) -> Float32Array:
        """Returns what a stage's networks answer to close-ups of joints, (close-ups, 2)."""
        networks = self.stages[number]
        inputs = np.stack([input_of(seen, square, networks[0].preprocessing) for seen, square, _ in looked_at])
        joints = np.array([joint for _, _, joint in looked_at])
        answers = np.empty((len(joints), 2), np.float32)
        if len(networks) == 1:
            answers[:] = networks[0](inputs).reshape(len(joints), -1, 2)[np.arange(len(joints)), joints]
            return answers
        for joint in np.unique(joints):
            answers[joints == joint] = networks[joint](inputs[joints == joint])
        return answers

    def _refuse_order(self) -> None:
        if self.cascade.face is None or len(self.stages) > _LEGACY_STAGES:
            raise DeepPoseError(
                f"legacy_order is that of takiyu's program, known for its cascades of {_LEGACY_STAGES} stages"
            )

    def _mixed(self, number: int, image: Picture, poses: Sequence[Float64Array]) -> Float64Array:
        """Returns the third stage as the program of takiyu computes it, joint by joint.

        It looks from a pose that has the second stage for the joints up to this one and the first for those after it,
        and adds what it answers, for every joint but the first, to the first stage's place.
        """
        first, before = poses[number - 2], poses[number - 1]
        upto = np.arange(self.joints) <= np.arange(self.joints)[:, None]
        mixed = np.where(upto[:, :, None], before, first)  # a pose for each joint
        bases = np.concatenate([before[:1], first[1:]])
        wanted = [(joint, joint) for joint in range(self.joints)]
        return np.asarray(bases + self._displacements(number, [self._seen(image)] * self.joints, mixed, wanted))
