"""The network's input: what becomes of the levels of a crop's pixels.

Global contrast normalisation looks its 256 levels up in a table, whose numbers are those of the legacy dataset.py to
the last bit.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from converters.checkpoint import Preprocessing
from converters.errors import DeepPoseError
from deeppose_port.data.arrays import Float32Array, Inputs, Levels
from deeppose_port.data.crop import Points
from deeppose_port.data.pictures import Picture

_LEVELS = np.arange(256.0)

_ROUNDING = 2.0**-53  # of one float64 operation, relative


def normalize(picture: Picture, preprocessing: Preprocessing, out: Float32Array | None = None) -> Float32Array:
    """Makes the network's input of a picture that was cut out already, to the bit as the legacy program does.

    Args:
        picture: (H, W, 3) uint8, BGR; float32 where it was left unrounded.
        preprocessing: Its `colour` and `gcn` are applied, or `scale`, `mean` and `std`.
        out: (3, H, W) float32, C-contiguous: where to write it; None makes a new array.

    Returns:
        (3, H, W) float32; `out` if that is given.

    Raises:
        DeepPoseError: `out` has another shape or type.
    """
    height, width, _ = picture.shape
    inputs = np.empty((3, height, width), np.float32) if out is None else _destination(out, (3, height, width))
    planes = cv2.split(picture)
    for i, plane in enumerate(planes if preprocessing.colour == "BGR" else planes[::-1]):
        if plane.dtype == np.float32:
            inputs[i] = _scaled(np.asarray(plane, np.float32), preprocessing, i)
            continue
        cv2.LUT(plane, _table(plane, preprocessing, i), dst=inputs[i])
    return inputs


def levels(picture: Picture, preprocessing: Preprocessing) -> Inputs:
    """Does what `normalize` does, but for the looking up of levels, which is left to whoever takes them.

    Args:
        picture: As for `normalize`, as the next is.
        preprocessing: Likewise.

    Returns:
        (3, H, W) `Levels`, whose inputs are `normalize`'s to the bit; of float32 pixels these inputs themselves.
    """
    if picture.dtype == np.float32:
        return normalize(picture, preprocessing)
    planes = cv2.split(picture)
    planes = planes if preprocessing.colour == "BGR" else planes[::-1]
    tables = [_table(plane, preprocessing, i) for i, plane in enumerate(planes)]
    return Levels(np.asarray(planes, np.uint8), np.stack(tables))


def _table(plane: cv2.typing.MatLike, preprocessing: Preprocessing, channel: int) -> Float32Array:
    """Returns what becomes of each of the 256 levels of a channel's (H, W) plane."""
    if preprocessing.gcn == "none":
        return _scaled(_LEVELS, preprocessing, channel)
    return _contrast(plane, preprocessing.gcn)


def _destination(out: Float32Array, shape: tuple[int, ...]) -> Float32Array:
    """Returns the array to write into. OpenCV would quietly make another one if it did not fit."""
    if out.shape != shape or out.dtype != np.float32 or not out.flags.c_contiguous:
        raise DeepPoseError(f"out is {out.dtype} {out.shape}; it has to be float32 {shape}, and C-contiguous")
    return out


def _scaled(levels: npt.NDArray[np.floating], preprocessing: Preprocessing, channel: int) -> Float32Array:
    """Returns what levels of a channel become without gcn, computed as torchvision's transforms do."""
    levels = levels.astype(np.float32) / np.float32(preprocessing.scale)
    levels -= np.float32(preprocessing.mean[channel])
    levels /= np.float32(preprocessing.std[channel])
    return levels


def _contrast(plane: cv2.typing.MatLike, gcn: str) -> Float32Array:
    """Returns what global contrast normalisation makes of each of the 256 levels of a (H, W) plane.

    The sums here are whole numbers, so that the deviation is the exact one. The legacy program's differs from it by the
    rounding of its sums over the pixels: a sum of n positive numbers by less than n roundings, the root of it by half
    of that, and the levels by less than 1024 roundings of 1. Mostly both ends of this interval give the same float32
    for every level, which then are the legacy program's; else its own sums decide.
    """
    size = plane.size
    total, squares = round(cv2.sumElems(plane)[0]), round(cv2.norm(plane, cv2.NORM_L2SQR))
    levels = _LEVELS - total / size
    deviation = math.sqrt(size * squares - total * total) / size
    error = ((size + 16) * deviation + 1024) * _ROUNDING if deviation else 0.0
    low, high = _contrasted(levels, deviation - error, gcn), _contrasted(levels, deviation + error, gcn)
    return low if np.array_equal(low, high) else _contrasted(levels, _deviation(plane, levels), gcn)


def _contrasted(levels: Points, deviation: float, gcn: str) -> Float32Array:
    deviation += 1e-5
    return (levels / deviation if gcn == "divide" else levels - deviation).astype(np.float32)


def _deviation(plane: cv2.typing.MatLike, levels: Points) -> float:
    """Returns the standard deviation of a plane whose 256 levels mean these values, to the last bit as legacy.

    The legacy program computes it of a float64 (H, W, 3) array with `std(axis=(0, 1))`. NumPy adds such an array up
    pixel by pixel, as cumsum does; the sum of a plane by itself, which goes by pairs, would differ in its last bits.
    """
    mean = np.cumsum(cv2.LUT(plane, levels))[-1] / plane.size
    variance = np.cumsum(cv2.LUT(plane, (levels - mean) ** 2))[-1] / plane.size
    return math.sqrt(variance)
