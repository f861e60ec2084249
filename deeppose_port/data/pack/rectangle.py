"""Which rectangle of a picture a pack keeps of a person, and at which size."""

from __future__ import annotations

import numpy as np

from deeppose_port.data.crop import Crop
from deeppose_port.data.dataset import PoseDataset
from deeppose_port.data.displacements import reached
from deeppose_port.data.pack.index import PackOptions
from deeppose_port.data.pixels import LARGEST_WARP
from deeppose_port.data.view import extent_of_joints


def needed_rectangle(
    dataset: PoseDataset, index: int, options: PackOptions, width: int, height: int, around: float = 0.0
) -> tuple[int, int, int, int]:
    """Returns the part of a picture that any augmentation of a person may look at, as x0, y0, x1, y1.

    A crop reaches half of `base_zoom` times the joints' box from its centre, or half of that box and the margin, in
    the magnified picture; in the picture itself that is more, by the smallest zoom. What it shows was translated, and
    rotated about that centre before. Two pixels more are for the crop's edges, which lose their fractions, and two for
    the interpolation; with a margin one for joints that lose theirs.

    Args:
        dataset: The persons.
        index: Which of them.
        options: What may be done.
        width: Columns of the picture.
        height: Rows of it.
        around: Pixels that are kept on every side of each joint; 0 for none but those of the crop.
    """
    x, y, *box = extent_of_joints(dataset.joints[index], dataset.visible[index])
    centre = np.array([x, y])
    if options.part == "joints":
        half = options.base_zoom * np.array(box) / 2
    else:
        scale = dataset.scale(index)
        half = np.array(box) / 2 + (max(box) + 1 if scale is None else 200 * scale) * options.margin + 1
    half = (half + 2) / (1 - options.zoom_range) + options.translate_range
    angles = np.radians(np.arange(options.rotate_range))[:, None]
    reach = (half * abs(np.cos(angles)) + half[::-1] * abs(np.sin(angles))).max(axis=0) + 2
    low = np.clip(np.floor(centre - reach), 0, (width - 1, height - 1)).astype(int)
    high = np.clip(np.ceil(centre + reach) + 1, low + 1, (width, height)).astype(int)
    if around:
        x0, y0, x1, y1 = reached(dataset, index, around, width, height)
        low, high = np.minimum(low, (x0, y0)), np.maximum(high, (x1, y1))
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def packed_size(rectangle: tuple[int, int, int, int], crop: Crop, resolution: int) -> tuple[int, int]:
    """Returns the columns and rows to reduce a rectangle to, for a crop in it of at most `resolution` pixels a side."""

    def reduced(side: int, crop_side: int) -> int:
        factor = min(1.0, LARGEST_WARP / side, resolution / crop_side if resolution else 1.0)
        return side if factor == 1 else max(1, int(side * factor))

    x0, y0, x1, y1 = rectangle
    return reduced(x1 - x0, crop.width), reduced(y1 - y0, crop.height)
