"""A checkpoint that answers: pictures in, joints out."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

import converters
from converters import Checkpoint, Preprocessing
from deeppose_port import backends
from deeppose_port.backends import Floats
from deeppose_port.data.crop import crop_of_box, network_input, points_of_outputs


class Pose:
    """A checkpoint's network on one backend and device, with the preprocessing that it was trained on.

    Attributes:
        checkpoint: The checkpoint.
        backend: `torch` or `chainer`.
        preprocessing: How pictures become its inputs.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        backend: str = "torch",
        device: str = "cpu",
        preprocessing: Preprocessing | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.backend = backend
        self.preprocessing = preprocessing or checkpoint.preprocessing
        self._refuse_size(self.preprocessing.im_size)
        self._predictor = backends.get(backend).predictor(checkpoint, device)

    @property
    def joints(self) -> int:
        """Number of joints."""
        return self.checkpoint.joints

    def __call__(self, inputs: npt.ArrayLike) -> Floats:
        """Runs the network.

        Args:
            inputs: (N, 3, H, W) float32, as `PoseDataset` makes them.

        Returns:
            (N, 2 * joints) float32, in the frame of the dataset's targets.

        Raises:
            ValueError: The inputs have another shape, or a size that the network's last layers cannot take.
        """
        inputs = np.asarray(inputs, np.float32)
        if inputs.ndim != 4 or inputs.shape[1] != 3 or inputs.shape[2] != inputs.shape[3]:
            raise ValueError(f"the inputs have the shape {inputs.shape}; it has to be (N, 3, side, side)")
        self._refuse_size(inputs.shape[2])
        if not len(inputs):
            return np.empty((0, 2 * self.joints), np.float32)
        return self._predictor(inputs)

    def predict(
        self, image: npt.NDArray[np.uint8], box: Sequence[float] | npt.NDArray[np.float64] | None = None
    ) -> npt.NDArray[np.float64]:
        """Finds one person's joints in a picture.

        Args:
            image: (H, W, 3) uint8, BGR as OpenCV reads it.
            box: (x, y, width, height) in pixels of the picture: the crop itself, clipped to it. None: all of it.

        Returns:
            (joints, 2) float64, x right and y down, in pixels of the picture.

        Raises:
            ValueError: The picture has another shape, or nothing of it is in the box.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"the picture is {image.dtype} {image.shape}; it has to be uint8 (height, width, 3)")
        crop = crop_of_box(box, image.shape[1], image.shape[0], self.preprocessing.im_size)
        outputs = self(network_input(image, crop, self.preprocessing)[None])
        return points_of_outputs(outputs[0], crop, self.preprocessing)

    def _refuse_size(self, side: int) -> None:
        architecture = self.checkpoint.architecture
        if not architecture.accepts(side):
            sizes = architecture.input_sizes()
            assert sizes is not None  # an architecture without bounds accepts every size
            raise ValueError(
                f"{self.checkpoint.source.path}: this {architecture.name} takes inputs of {sizes[0]} to {sizes[1]} "
                f"pixels a side, not {side}"
            )


def load(
    source: str | os.PathLike[str] | Checkpoint,
    backend: str = "torch",
    device: str = "cpu",
    *,
    architecture: str | None = None,
    writer: str | None = None,
    nonfinite: str = "zero",
    preprocessing: Preprocessing | None = None,
) -> Pose:
    """Loads any checkpoint into any backend.

    Args:
        source: A file of any format that `converters.read` takes, or a Checkpoint.
        backend: `torch` or `chainer`.
        device: `cpu`, `cuda` or `cuda:N`.
        architecture: As for `converters.read`; like the next two, for a file only.
        writer: As for `converters.read`.
        nonfinite: As for `converters.read`.
        preprocessing: In place of what the checkpoint says it was trained on.

    Raises:
        CheckpointError: The file is refused.
        BackendError: The backend or device cannot be used here.
        ValueError: `architecture` or `writer` is given with a Checkpoint.
    """
    if isinstance(source, Checkpoint):
        if architecture is not None or writer is not None:
            raise ValueError("architecture and writer say how a file is read; this checkpoint was read already")
    else:
        source = converters.read(source, architecture=architecture, writer=writer, nonfinite=nonfinite, state=False)
    return Pose(source, backend, device, preprocessing)
