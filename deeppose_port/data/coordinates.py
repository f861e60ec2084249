"""Joints in the network's coordinates: labels of joints of the picture, and from its outputs back to there."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from converters.checkpoint import Preprocessing
from deeppose_port.data.crop import Crop, Points


def labels(points: npt.ArrayLike, crop: Crop, preprocessing: Preprocessing) -> npt.NDArray[np.float32]:
    """Makes the network's labels of joints.

    Args:
        points: (J, 2), pixels of the picture.
        crop: The part of the picture that the network sees.
        preprocessing: Its `coord_normalize`, `frame`, `axes` and `order` are applied.

    Returns:
        (2 * J,) float32: x0, y0, x1, y1, … (y first where `axes` is `yx`), about -0.5 .. 0.5 of the crop with
        `coord_normalize` (or what `frame` says), else pixels of the resized crop.
    """
    mapped = crop.to_crop(points)
    if preprocessing.coord_normalize:
        size, origin = _frame(crop.im_size, preprocessing)
        mapped = (mapped - origin) / size
    return interleaved(mapped, preprocessing).astype(np.float32)


def points_of_outputs(outputs: npt.ArrayLike, crop: Crop, preprocessing: Preprocessing) -> Points:
    """Maps a network's outputs to the picture: the inverse of `labels`.

    Args:
        outputs: (..., 2 * J).
        crop: The part of the picture that the network saw.
        preprocessing: What the network was trained on.

    Returns:
        (..., J, 2) float64, x and y in pixels of the picture.
    """
    return crop.to_picture(square_points_of_outputs(outputs, crop.im_size, preprocessing))


def square_points_of_outputs(outputs: npt.ArrayLike, im_size: int, preprocessing: Preprocessing) -> Points:
    """Maps a network's outputs or its labels to pixels of its input, a square of side `im_size`.

    Args:
        outputs: (..., 2 * J).
        im_size: Side of the network's input.
        preprocessing: What the network was trained on.

    Returns:
        (..., J, 2) float64, x and y.
    """
    outputs = np.asarray(outputs, np.float64)
    if preprocessing.order == "planar":
        points = np.swapaxes(outputs.reshape(*outputs.shape[:-1], 2, -1), -1, -2)
    else:
        points = outputs.reshape(*outputs.shape[:-1], -1, 2)
    if preprocessing.axes == "yx":
        points = points[..., ::-1]
    if preprocessing.coord_normalize:
        size, origin = _frame(im_size, preprocessing)
        points = points * size + origin
    return points


def _frame(im_size: int, preprocessing: Preprocessing) -> tuple[Points, Points]:
    """Returns what 1 and 0 are of normalised labels, for x and y, in pixels of an input that is `im_size` high."""
    size = np.array([preprocessing.im_width or im_size, im_size])
    match preprocessing.frame:
        case "unit":
            return size, np.zeros(2)
        case "symmetric":
            return size / 2, size / 2
    return size, size // 2


def interleaved(values: npt.NDArray[Any], preprocessing: Preprocessing) -> npt.NDArray[Any]:
    """Flattens (J, 2) values of x and y to (2 * J,) in the order of the network's outputs."""
    values = values[:, ::-1] if preprocessing.axes == "yx" else values
    return (values.T if preprocessing.order == "planar" else values).reshape(-1)
