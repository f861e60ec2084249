"""A checkpoint that answers: pictures in, joints out."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from converters import Checkpoint, Preprocessing
from converters.errors import DeepPoseError
from converters.networks import Layer, SoftArgmax
from deeppose_port import backends
from deeppose_port.backends.fastest import AUTO, fastest
from deeppose_port.data.arrays import Float32Array
from deeppose_port.data.heatmaps import joints_of
from deeppose_port.data.pictures import AnyPicture, Picture, picture_of
from deeppose_port.data.pixels import Window, size_of
from deeppose_port.data.view import Box, View

#: What ReLU makes of NaN.
RELU_NAN = ("nan", "zero")


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
        self.checkpoint = checkpoint
        self.device = device
        self.preprocessing = preprocessing or checkpoint.preprocessing
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
        other._predictor = backends.get(backend.name).reduced(self.checkpoint, precision, self._checked(inputs))
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
            path, name = self.checkpoint.source.path, self.checkpoint.architecture.name
            raise DeepPoseError(f"this {name} answers coordinates, it has no heat maps", where=path or None)

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

    def predict(self, image: AnyPicture, box: Box | None = None, *, colors: str = "bgr") -> npt.NDArray[np.float64]:
        """Finds one person's joints in a picture.

        Args:
            image: (H, W, 3) uint8, BGR as OpenCV reads it; or a path, or a PIL picture.
            box: (x, y, width, height) in pixels of the picture: the crop itself, clipped to it. None: all of it.
            colors: The order of an array's colours, `bgr` or `rgb`.

        Returns:
            (joints, 2) float64, x right and y down, in pixels of the picture.

        Raises:
            DeepPoseError: The picture has another shape, or nothing of it is in the box.
        """
        picture = picture_of(image, colors)
        view = self.look(picture, box)
        return view.points(self(view.input(picture)[None])[0])

    def look(self, image: Picture | Window, box: Box | None = None, face: Sequence[float] | None = None) -> View:
        """Returns what the network sees of a person; arguments and errors are those of `predict`, with no face."""
        if face is not None:
            raise DeepPoseError("this checkpoint does not cut persons out by their faces: give box instead of face")
        return View.of_box(box, *size_of(image), self.preprocessing)

    def predict_stages(
        self, image: AnyPicture, box: Box | None = None, *, colors: str = "bgr"
    ) -> npt.NDArray[np.float64]:
        """Finds one person's joints as a cascade would, of which this is the only stage.

        Arguments and errors are those of `predict`.

        Returns:
            (1, joints, 2) float64, x right and y down, in pixels of the picture.
        """
        return self.predict(image, box, colors=colors)[None]

    def stages_from(
        self, pictures: Sequence[Picture | Window], first: Sequence[npt.ArrayLike], *, legacy_order: bool = False
    ) -> list[npt.NDArray[np.float64] | DeepPoseError]:
        """Returns what is known of several persons as all stages of them, as `CascadePose.stages_from` does.

        Raises:
            DeepPoseError: An order of stages is asked for.
        """
        if legacy_order:
            raise DeepPoseError("legacy_order is that of takiyu's cascades, and this is a single network")
        return [np.asarray(pose, np.float64)[None] for pose in first]

    def _checked(self, inputs: npt.ArrayLike) -> Float32Array:
        checked = np.asarray(inputs, np.float32)
        is_square = checked.ndim == 4 and checked.shape[2] == checked.shape[3]
        if (
            checked.ndim != 4
            or checked.shape[1] != 3
            or not (is_square or checked.shape[2:] == self.preprocessing.shape)
        ):
            raise DeepPoseError(f"the inputs have the shape {checked.shape}; it has to be (N, 3, side, side)")
        self._refuse_size(checked.shape[2])
        return checked

    def _refuse_size(self, side: int) -> None:
        architecture = self.checkpoint.architecture
        if not architecture.accepts(side):
            problem = f"this {architecture.name} takes {architecture.takes}, not {side}"
            raise DeepPoseError(f"{self.checkpoint.source.path}: {problem}")
