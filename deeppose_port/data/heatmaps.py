"""Heat maps: from a network's maps, one for each joint, to joints."""

from __future__ import annotations

import numpy as np

from converters.checkpoint import Decoding, Peak
from deeppose_port.data.arrays import Float32Array


def joints_of(maps: Float32Array, decoding: Decoding = "argmax", peak: Peak = "middle") -> Float32Array:
    """Finds the joint of each heat map.

    Args:
        maps: (N, J, h, w) float32.
        decoding: `argmax` takes the middle of the pixel with the largest number, moved by a quarter of a pixel, in
            each direction, toward the larger of its two neighbours; not at the maps' edges. That is what Newell et al.
            (ECCV 2016) do. `soft-argmax` takes the mean of the pixels' middles weighted by the softmax of the numbers
            (Sun et al., ECCV 2018).
        peak: Where in a pixel its number counts: in its `middle`, or in its upper left `corner`.

    Returns:
        (N, 2 * J) float32: x0, y0, x1, y1, … as fractions of the maps, 0 .. 1; NaN where a map has no largest number.
    """
    count, joints, height, width = maps.shape
    flat = maps.reshape(count, joints, height * width)
    at = 0.5 if peak == "middle" else 0.0
    if decoding == "soft-argmax":
        with np.errstate(invalid="ignore"):
            weights = np.exp(flat - flat.max(axis=2, keepdims=True))
            weights = (weights / weights.sum(axis=2, keepdims=True)).reshape(maps.shape)
        x = weights.sum(axis=2) @ (np.arange(width) + at)
        y = weights.sum(axis=3) @ (np.arange(height) + at)
    else:
        row, column = np.divmod(flat.argmax(axis=2), width)
        inside = (row > 0) & (row < height - 1) & (column > 0) & (column < width - 1)
        n, joint = np.ogrid[:count, :joints]
        left, right = (maps[n, joint, row, np.clip(column + d, 0, width - 1)] for d in (-1, 1))
        above, below = (maps[n, joint, np.clip(row + d, 0, height - 1), column] for d in (-1, 1))
        x = column + at + 0.25 * inside * np.sign(right - left)
        y = row + at + 0.25 * inside * np.sign(below - above)
    found = np.stack([x / width, y / height], axis=2)
    found[~np.isfinite(flat.max(axis=2, initial=-np.inf))] = np.nan
    return found.reshape(count, 2 * joints).astype(np.float32)
