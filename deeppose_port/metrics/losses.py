"""What a training minimises, over the coordinates that count."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from deeppose_port.data.arrays import Float64Array
from deeppose_port.metrics.arrays import checked_answers


def _smooth(sizes: Float64Array, beta: float) -> Float64Array:
    """Returns Huber's loss over beta, as `torch.nn.functional.smooth_l1_loss` has it (Girshick, "Fast R-CNN")."""
    return np.where(sizes < beta, sizes**2 / (2 * beta), sizes - beta / 2)


#: The losses by name: the sizes of the differences and a beta -> what each adds.
LOSSES: dict[str, Callable[[Float64Array, float], Float64Array]] = {
    "l2": lambda sizes, beta: sizes**2,
    "l1": lambda sizes, beta: sizes,
    "smooth-l1": _smooth,
}


#: Standard deviation, in pixels of a map, of what a soft-argmax's maps are held against, see `heatmap_targets`.
HEATMAP_DEVIATION = 1.5


def heatmap_targets(targets: npt.ArrayLike, height: int, width: int) -> Float64Array:
    """Compute what the softmax of heat maps should be: a Gaussian around each joint, whose sum over a map is 1.

    Nibali, He, Morgan and Prendergast ("Numerical coordinate regression with convolutional neural networks", 2018)
    regularise a soft-argmax so, which by the coordinates alone is free to spread over the map.

    Args:
        targets: (N, 2 * joints) in fractions of the crop, 0 in its middle: x0, y0, x1, y1, ….
        height: of the maps, in pixels.
        width: of the maps, in pixels.

    Returns:
        (N, joints, height, width); zeros for a joint that lies too far outside for any pixel.
    """
    points = np.asarray(targets, np.float64).reshape(len(np.asarray(targets)), -1, 2)
    rows, columns = ((np.arange(side) + 0.5) / side - 0.5 for side in (height, width))
    along = np.exp(-(((columns - points[:, :, :1]) * width / HEATMAP_DEVIATION) ** 2) / 2)
    down = np.exp(-(((rows - points[:, :, 1:]) * height / HEATMAP_DEVIATION) ** 2) / 2)
    maps: Float64Array = down[:, :, :, None] * along[:, :, None, :]
    total = maps.sum((2, 3), keepdims=True)
    return np.where(total > 1e-12, maps / np.maximum(total, 1e-12), 0.0)


def masked_loss(
    outputs: npt.ArrayLike, targets: npt.ArrayLike, mask: npt.ArrayLike, loss: str = "l2", beta: float = 0.05
) -> float:
    """Compute a loss: its mean over the coordinates that count, of the whole batch; with `l2` this is `masked_mse`.

    Args:
        outputs: what the network answers, any shape, usually (N, 2 * joints).
        targets: what it should answer, of the same shape.
        mask: 1 where a coordinate counts and 0 where it does not, of the same shape.
        loss: a key of `LOSSES`.
        beta: of `smooth-l1`: the size up to which differences are squared, in units of the targets.

    Returns:
        The loss, accumulated in float64; 0 where nothing counts.

    Raises:
        DeepPoseError: the three shapes differ, or the mask holds something else than 0 and 1.
    """
    outputs, targets, counted = checked_answers(outputs, targets, mask)
    with np.errstate(over="ignore", invalid="ignore"):
        sizes = np.abs(outputs - targets)[counted]
        return float(LOSSES[loss](sizes, beta).mean()) if sizes.size else 0.0
