"""What a training minimises, over the coordinates that count."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from converters.errors import DeepPoseError
from deeppose_port.data.arrays import Float64Array
from deeppose_port.metrics.arrays import checked_mask


def _smooth(sizes: Float64Array, beta: float) -> Float64Array:
    """Returns Huber's loss over beta, as `torch.nn.functional.smooth_l1_loss` has it (Girshick, "Fast R-CNN")."""
    return np.where(sizes < beta, sizes**2 / (2 * beta), sizes - beta / 2)


#: The losses by name: the sizes of the differences and a beta -> what each adds.
LOSSES: dict[str, Callable[[Float64Array, float], Float64Array]] = {
    "l2": lambda sizes, beta: sizes**2,
    "l1": lambda sizes, beta: sizes,
    "smooth-l1": _smooth,
}


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
    outputs, targets = np.asarray(outputs, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    counted = checked_mask(mask, "mask")
    if not outputs.shape == targets.shape == counted.shape:
        raise DeepPoseError(
            f"outputs {outputs.shape}, targets {targets.shape} and mask {counted.shape} must have one shape"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        sizes = np.abs(outputs - targets)[counted]
        return float(LOSSES[loss](sizes, beta).mean()) if sizes.size else 0.0
