"""A checkpoint that answers: pictures in, joints out."""

from __future__ import annotations

import copy
import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import numpy as np
import numpy.typing as npt

from converters import Checkpoint, Preprocessing, hub, words
from converters.errors import DeepPoseError
from converters.networks import Layer, SoftArgmax
from converters.sourced import for_size
from deeppose_port import backends
from deeppose_port.backends import BackendError
from deeppose_port.backends.fastest import AUTO, fastest
from deeppose_port.data import skeletons
from deeppose_port.data.arrays import Float32Array, Float64Array, Inputs, Levels, LooksUp, batched, joined
from deeppose_port.data.heatmaps import joints_of
from deeppose_port.data.pictures import AnyPicture, Picture, picture_of
from deeppose_port.data.pixels import Window, size_of
from deeppose_port.data.skeletons import AnySkeleton, Skeleton
from deeppose_port.data.view import AnyBox, View
from deeppose_port.drawing.draw import draw_pose

if TYPE_CHECKING:
    from torch import nn
    from typing_extensions import Unpack

    from deeppose_port.cascade import CascadePose

_Seen = TypeVar("_Seen", contravariant=True)

#: What ReLU makes of NaN.
RELU_NAN = ("nan", "zero")
#: How many persons go through a network at once.
_BATCH = 32


class Sight(Protocol[_Seen]):
    """What a network sees of a picture: a `View`, or what a cascade has in its place."""

    def input(self, picture: _Seen, /) -> Float32Array:
        """Makes the network's input, (3, height, width) float32."""

    def levels(self, picture: _Seen, /) -> Inputs:
        """Makes it as far as its levels, where it has some."""


class Pose:
    """A checkpoint's network on one backend and device, with the preprocessing that it was trained on.

    Attributes:
        checkpoint: The checkpoint.
        backend: `torch`, `chainer` or `onnx`.
        engine: What runs it, of a backend that has a choice: `onnxruntime` or `openvino`; empty for another.
        device: Where the network runs.
        preprocessing: How pictures become its inputs.
        relu_nan: What ReLU makes of NaN: `nan`, as PyTorch and Chainer on a CPU do; or `zero`, an emulation of Chainer
            1.13 on a GPU, whose cuDNN is believed not to have handed NaN on: a network with NaN among its weights then
            answers finite numbers, mostly always the same.

    Args:
        checkpoint: The checkpoint.
        backend: A name of `backends.BACKENDS`; or `auto`, the fastest that is installed and answers alike.
        device: `cpu`, `cuda` or `cuda:N`.
        preprocessing: In place of the checkpoint's.
        relu_nan: See above.
        engine: One of the backend's engines; None for the first that is installed.
        pictures: How many there will be, which `auto` goes by; None for many.

    Raises:
        BackendError: The backend, engine or device cannot be used here.
        DeepPoseError: The network cannot take inputs of that size, or there is no such `relu_nan`.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        backend: str = "torch",
        device: str = "cpu",
        preprocessing: Preprocessing | None = None,
        relu_nan: str = "nan",
        *,
        engine: str | None = None,
        pictures: int | None = None,
    ) -> None:
        if relu_nan not in RELU_NAN:
            raise DeepPoseError(f"relu_nan is {relu_nan!r}; it is one of {', '.join(RELU_NAN)}")
        self.preprocessing = preprocessing or checkpoint.preprocessing
        self.checkpoint = checkpoint = for_size(checkpoint, self.preprocessing.im_size)
        self.device = device
        self._accepted: set[int] = set()
        self._refuse_size(self.preprocessing.im_size)
        self.relu_nan = relu_nan
        # Said only where it is asked for: a backend of one's own need not know it.
        more = {} if relu_nan == "nan" else {"relu_nan": relu_nan}
        if backend == AUTO and engine is not None:
            backend = backends.having(engine).name
        if backend == AUTO:
            (self.backend, self.engine), self._predictor = fastest(checkpoint, device, pictures, **more)
            return
        self.backend = backend
        self.engine = backends.engine_named(backends.described(backend), engine)
        more |= {"engine": self.engine} if self.engine else {}
        self._predictor = backends.get(backend).predictor(checkpoint, device, **more)

    def __repr__(self) -> str:
        """Returns what it is, in a line, for a notebook."""
        height, width = self.preprocessing.shape
        engine = f"{self.engine}, " if self.engine else ""
        return f"<Pose {self.checkpoint.title}, inputs of {width} x {height}, {engine}{self.backend} on {self.device}>"

    def _repr_html_(self) -> str:
        """Returns what it is as a notebook shows it."""
        engine = f" by {self.engine}" if self.engine else ""
        return words.html_of_facts(
            f"Pose of {self.checkpoint.title}",
            {"runs in": f"{self.backend}{engine} on {self.device}", **words.facts_of(self._told())},
        )

    def _told(self) -> Checkpoint:
        """Returns the checkpoint with the preprocessing that is in force."""
        return self.checkpoint.replace(preprocessing=self.preprocessing)

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike[str],
        backend: str = "torch",
        device: str = "cpu",
        *,
        engine: str | None = None,
        **fetching: Unpack[hub.Fetching],
    ) -> Pose:
        """Loads a folder that `save_pretrained` wrote, or one of Hugging Face's Hub.

        Args:
            source: The folder; or an id, `owner/name`, which needs the extra `hub`.
            backend: As for `Pose`, as the next two are.
            device: Likewise.
            engine: Likewise.
            **fetching: Of an id, as for `huggingface_hub`: `revision`, `token`, `cache_dir`, `force_download`,
                `local_files_only`.

        Raises:
            DeepPoseError: There is none; it has no safetensors, or the config of another network; it is a cascade; or
                the backend cannot be used here.
        """
        checkpoint = hub.read_pretrained(source, fetching)
        if not isinstance(checkpoint, Checkpoint):
            advice = "deeppose_port.cascade.CascadePose.from_pretrained"
            raise DeepPoseError("this is a cascade, and one network is asked for", where=source, advice=advice)
        return cls(checkpoint, backend, device, engine=engine)

    def save_pretrained(self, folder: str | os.PathLike[str], *, force: bool = False) -> None:
        """Writes `model.safetensors`, `config.json` and a model card, for `from_pretrained` and Hugging Face's Hub.

        The weights are the same bits, the preprocessing is the one in force; of the paths of files only the names are
        written. A model card that is there stays.

        Args:
            folder: Where; it is made if need be.
            force: Whether files that exist may be replaced.

        Raises:
            DeepPoseError: A file exists, or cannot be written.
        """
        hub.write_pretrained(self._told(), folder, force=force)

    def push_to_hub(self, repo_id: str, **how: Any) -> str:
        """Sends the same files to Hugging Face's Hub, by its ModelHubMixin; needs the extra `hub`.

        Args:
            repo_id: `owner/name`; it is made if need be.
            **how: As for `huggingface_hub.ModelHubMixin.push_to_hub`: `private`, `token`, `branch` and so on.

        Returns:
            Where it is.

        Raises:
            DeepPoseError: huggingface_hub is not installed, or the Hub refuses it.
        """
        return hub.push(self._told(), repo_id, **how)

    def reduced(self, precision: str, inputs: npt.ArrayLike) -> Pose:
        """Returns the same in less than float32, which answers a little otherwise.

        Args:
            precision: `bf16` or `int8`.
            inputs: As for a call, what it is calibrated on: persons as they will come.

        Raises:
            BackendError: It cannot be had here.
            DeepPoseError: As for a call.
        """
        (backend,) = backends.able("precision")
        other = copy.copy(self)
        other._predictor = backends.get(backend.name).reduced(
            self.checkpoint, precision, np.asarray(self._checked(inputs))
        )
        other.backend, other.engine = backend.name, {"int8": "onnxruntime", "bf16": "openvino"}[precision]
        return other

    @property
    def path(self) -> str:
        """The file, for messages."""
        return self.checkpoint.source.path

    @property
    def first(self) -> Pose:
        """Itself: the first stage of a cascade, which this is the only one of."""
        return self

    @property
    def looks_for_faces(self) -> bool:
        """Whether a person is found by the face where no box is given."""
        return False

    @property
    def stage_count(self) -> int:
        """Of how many stages it is: itself alone."""
        return 1

    @property
    def joints(self) -> int:
        """Number of joints."""
        return self.checkpoint.joints

    @property
    def stacks(self) -> int:
        """How many stacks of heat maps it answers; 0 where it answers coordinates."""
        return self.checkpoint.architecture.stacks

    @property
    def layers(self) -> tuple[Layer, ...]:
        """What the network evaluates, in its order."""
        return self._predictor.layers

    @property
    def by_level(self) -> bool:
        """Whether inputs that `input` makes are looked up where the network runs: on a GPU."""
        return isinstance(self._predictor, LooksUp) and self._predictor.by_level

    def input(self, look: Sight[_Seen], picture: _Seen) -> Inputs:
        """Makes the network's input as it gets to where the network runs the fastest.

        Args:
            look: What the network sees.
            picture: Of which picture: what `look.input` takes.

        Returns:
            (3, height, width) float32; or the `Levels` of it. `data.arrays.joined` makes batches of either for a call.
        """
        return look.levels(picture) if self.by_level else look.input(picture)

    def __call__(self, inputs: npt.ArrayLike) -> Float32Array:
        """Runs the network.

        Args:
            inputs: (N, 3, H, W) float32, as `PoseDataset` makes them.

        Returns:
            (N, 2 * joints) float32, in the frame of the dataset's targets; of a network with heat maps, what `decoding`
            of the preprocessing makes of its last stack's.

        Raises:
            DeepPoseError: The inputs have another shape, or a size that the network's last layers cannot take.
        """
        inputs = self._checked(inputs)
        if not len(inputs):
            return np.empty((0, 2 * self.joints), np.float32)
        return self.joints_of(self._predictor(inputs))

    def joints_of(self, outputs: Float32Array) -> Float32Array:
        """Returns what the network's last layer gives, as `activations` has it, as a call answers it."""
        told = self.preprocessing
        return joints_of(outputs[:, -1], told.decoding, told.peak) if self.stacks else outputs

    def heatmaps(self, inputs: npt.ArrayLike) -> Float32Array:
        """Runs a network with heat maps.

        Args:
            inputs: As for a call.

        Returns:
            (stacks, N, joints, h, w) float32, one map for each joint; the last stack's are the answer, or what its
            soft-argmax is given.

        Raises:
            DeepPoseError: As for a call, or the network answers coordinates.
        """
        inputs = self._checked(inputs)
        self.refuse_without_heatmaps()
        # An example more where there is none: no engine need run an empty batch.
        some = inputs if len(inputs) else np.zeros((1, *inputs.shape[1:]), np.float32)
        if not self.stacks:
            maps, _ = deque((output for _, output in self._predictor.activations(some)), maxlen=2)
            return maps[None, : len(inputs)]
        stacked: Float32Array = self._predictor(some)[: len(inputs)].swapaxes(0, 1)
        return stacked

    def refuse_without_heatmaps(self) -> None:
        """Refuses a network that has no heat maps, not even inside.

        Raises:
            DeepPoseError: It is one.
        """
        if not self.stacks and not isinstance(self.layers[-1], SoftArgmax):
            name = self.checkpoint.architecture.name
            raise DeepPoseError(f"this {name} answers coordinates, it has no heat maps", where=self.path or None)

    def activations(self, inputs: npt.ArrayLike, nudged: bool = False) -> Iterator[tuple[str, Float32Array]]:
        """Yields what each layer of the network makes of some inputs, in the order in which they are computed.

        Args:
            inputs: As for a call; at least one.
            nudged: Whether inputs and outputs go up or down by one unit in the last place, at random, before the next
                layer sees them: what rounding can make of this network.

        Yields:
            A layer's name, the same in both backends (`backends.activations.layer_names`), and its output: float32,
            (N, C, H, W) for maps and (N, C) after fully connected layers.

        Raises:
            DeepPoseError: As for a call.
        """
        yield from self._predictor.activations(self._checked(inputs), nudged)

    def predict(
        self,
        image: AnyPicture | Sequence[AnyPicture],
        box: AnyBox | Sequence[AnyBox | None] | None = None,
        *,
        colors: str = "bgr",
    ) -> Float64Array:
        """Finds one person's joints in a picture, or in each of several.

        Args:
            image: (H, W, 3) uint8, BGR as OpenCV reads it; or a path, or a PIL picture; or a list of these.
            box: (x, y, width, height) in pixels of the picture: the crop itself, clipped to it. None: all of it. Of
                several pictures a list, one for each.
            colors: The order of an array's colours, `bgr` or `rgb`.

        Returns:
            (joints, 2) float64, x right and y down, in pixels of the picture; (N, joints, 2) of N pictures.

        Raises:
            DeepPoseError: The picture has another shape, or nothing of it is in the box; there is not one box for each
                picture.
        """
        if isinstance(image, list | tuple):
            return self._predict_several(image, boxes_of(image, box), colors)
        picture = picture_of(cast(AnyPicture, image), colors)
        view = self.look(picture, cast("AnyBox | None", box))
        return view.points(self(joined([self.input(view, picture)]))[0])

    def _predict_several(
        self, images: Sequence[AnyPicture], boxes: Sequence[AnyBox | None], colors: str
    ) -> Float64Array:
        """Finds one person's joints in each of several pictures, of which a few are in memory at a time."""
        points = np.empty((len(images), self.joints, 2))
        for numbers in batched(range(len(images)), _BATCH):
            views, inputs = [], []
            for number in numbers:
                with naming(number):
                    picture = picture_of(images[number], colors)
                    views.append(self.look(picture, boxes[number]))
                    inputs.append(self.input(views[-1], picture))
            for number, view, output in zip(numbers, views, self(joined(inputs)), strict=True):
                points[number] = view.points(output)
        return points

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
        """Draws a person's joints, as `predict` finds them, on a copy of the picture.

        The person's own left is blue, the right red, what is between yellow.

        Args:
            image: As for `predict`, one picture.
            box: As for `predict`.
            colors: As for `predict`.
            skeleton: As for `draw_pose`; None for what the checkpoint tells.
            names: Whether joints have their names beside them.
            legend: Whether a corner says what the colours mean.

        Returns:
            (H, W, 3) uint8, RGB, as notebooks and matplotlib show pictures.

        Raises:
            DeepPoseError: As for `predict` and `draw_pose`.
        """
        return draw(self, image, box, colors, skeleton, names, legend)

    @property
    def skeleton(self) -> Skeleton | None:
        """What its joints are, as far as its checkpoint or their number tells; None for nothing."""
        told = self.checkpoint.preprocessing
        return skeletons.of_network(self.joints, told.joints) or skeletons.of_drawing(told.joints or None, told.limbs)

    @property
    def module(self) -> nn.Module:
        """The network as PyTorch's module, in evaluation mode on its device: every layer by its name.

        Raises:
            BackendError: The backend has none.
        """
        network: nn.Module | None = getattr(self._predictor, "network", None) if self.backend == "torch" else None
        if network is None:
            problem = f"the backend {self.backend} has no module of PyTorch's"
            raise BackendError(problem, advice='load(…, backend="torch") has one')
        return network

    def look(self, image: Picture | Window, box: AnyBox | None = None, face: Sequence[float] | None = None) -> View:
        """Returns what the network sees of a person; arguments and errors are those of `predict`, with no face."""
        if face is not None:
            raise DeepPoseError("this checkpoint does not cut persons out by their faces: give box instead of face")
        return View.of_box(box, *size_of(image), self.preprocessing)

    def predict_stages(self, image: AnyPicture, box: AnyBox | None = None, *, colors: str = "bgr") -> Float64Array:
        """Finds one person's joints as a cascade would, of which this is the only stage.

        Arguments and errors are those of `predict`.

        Returns:
            (1, joints, 2) float64, x right and y down, in pixels of the picture.
        """
        return self.predict(image, box, colors=colors)[None]

    def stages_from(
        self, pictures: Sequence[Picture | Window], first: Sequence[npt.ArrayLike], *, legacy_order: bool = False
    ) -> list[Float64Array | DeepPoseError]:
        """Returns what is known of several persons as all stages of them, as `CascadePose.stages_from` does.

        Raises:
            DeepPoseError: An order of stages is asked for.
        """
        if legacy_order:
            problem = "legacy_order is that of takiyu's cascades, and this is a single network"
            raise DeepPoseError(problem, where=self.path or None)
        return [np.asarray(pose, np.float64)[None] for pose in first]

    def _checked(self, inputs: npt.ArrayLike) -> Inputs:
        checked = inputs if self.by_level and isinstance(inputs, Levels) else np.asarray(inputs, np.float32)
        is_square = len(checked.shape) == 4 and checked.shape[2] == checked.shape[3]
        if (
            len(checked.shape) != 4
            or checked.shape[1] != 3
            or not (is_square or checked.shape[2:] == self.preprocessing.shape)
        ):
            raise DeepPoseError(f"the inputs have the shape {checked.shape}; it has to be (N, 3, side, side)")
        self._refuse_size(checked.shape[2])
        return checked

    def _refuse_size(self, side: int) -> None:
        if side in self._accepted:
            return  # a table of layers is followed once a size: in each call it took half a millisecond
        architecture = self.checkpoint.architecture
        if not architecture.accepts(side):
            problem = f"this {architecture.name} takes {architecture.takes}, not {side}"
            raise DeepPoseError(problem, where=self.path or None)
        self._accepted.add(side)


def boxes_of(images: Sequence[AnyPicture], boxes: AnyBox | Sequence[AnyBox | None] | None) -> list[AnyBox | None]:
    """Returns the box of each of several pictures.

    Raises:
        DeepPoseError: There is not one for each, four numbers or None.
    """
    each: list[AnyBox | None] = [None] * len(images) if boxes is None else list(cast("Sequence[AnyBox | None]", boxes))
    if len(each) != len(images) or any(box is not None and np.shape(box) != (4,) for box in each):
        raise DeepPoseError(f"{len(images)} pictures have as many boxes, each (x, y, width, height) or None")
    return each


@contextmanager
def naming(number: int) -> Iterator[None]:
    """Says of an error which picture of a list it is about."""
    try:
        yield
    except DeepPoseError as error:
        problem = f"picture {number} of the list: {error.problem}"
        raise DeepPoseError(problem, where=error.where, advice=error.advice) from error


def draw(
    pose: Pose | CascadePose,
    image: AnyPicture,
    box: AnyBox | None,
    colors: str,
    skeleton: AnySkeleton | None,
    names: bool,
    legend: bool,
) -> Picture:
    """Draws what answers finds, see `Pose.draw`."""
    picture = picture_of(image, colors)
    told = pose.first.skeleton if skeleton is None else skeleton
    drawing = draw_pose(picture, pose.predict(picture, box), told, names=names, legend=legend)
    return np.ascontiguousarray(drawing[:, :, ::-1])
