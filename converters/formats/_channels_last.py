"""Arrays of TensorFlow and Keras, which have the channels of maps last, in PyTorch's order of axes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from converters.checkpoint import Array, bytes_of
from converters.files import CHUNK
from converters.networks import Shape

#: By their number; a kernel is (height, width, in, out) there, and a matrix (in, out).
_AXES = {2: (1, 0), 4: (3, 2, 0, 1)}


def channels_first(shape: Shape) -> Shape:
    """Returns an array's shape in PyTorch's order: (out, in, height, width) of a kernel, (out, in) of a matrix."""
    return tuple(shape[axis] for axis in _AXES.get(len(shape), range(len(shape))))


def pieces_channels_first(array: Array) -> Iterator[memoryview]:
    """Yields the bytes of an array in that order, about `CHUNK` of them at a time."""
    array = np.atleast_1d(array.transpose(_AXES.get(array.ndim, range(array.ndim))))
    rows = max(CHUNK // max(array[:1].nbytes, 1), 1)
    for start in range(0, len(array), rows):
        yield bytes_of(np.ascontiguousarray(array[start : start + rows]))
