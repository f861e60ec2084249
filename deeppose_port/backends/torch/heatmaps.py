"""What a network with heat maps learns: a Gaussian around each joint, in the maps of every stack."""

from __future__ import annotations

import torch
from torch import Tensor

#: The middle of a Gaussian, and the pixels before its middle and after it that it has: those of the Keras course.
_PEAK, _BEFORE, _AFTER = 12.0, 3, 2
#: How much more a squared error counts where a label is positive: almost every other pixel is 0.
_WEIGHT = 82.0


def labels_of(targets: Tensor, mask: Tensor, height: int, width: int) -> Tensor:
    """Makes the heat maps of all joints of a batch at once.

    A joint's place, in pixels of the map and rounded half to even, is the middle of `12 * exp(-d² / 2)`, of which six
    rows and six columns are there, as far as they lie in the map; all is 0 where the joint is ignored.

    Args:
        targets: (N, 2 * J) float32, fractions of the crop, 0 .. 1: x0, y0, x1, y1, ….
        mask: (N, 2 * J), 0 where a coordinate is ignored.
        height: Rows of a map.
        width: Columns of a map.

    Returns:
        (N, J, height, width) float32.
    """
    shape = (len(targets), -1, 2)
    counts = (mask != 0).reshape(shape).all(2, keepdim=True)
    middles = torch.where(counts, targets.reshape(shape), torch.nan)
    x, y = (_bell(middles[..., axis], side) for axis, side in ((0, width), (1, height)))
    return _PEAK * y[..., :, None] * x[..., None, :]


def stacks_loss(outputs: Tensor, targets: Tensor, mask: Tensor, count: float | None = None) -> Tensor:
    """The Keras course's loss: squared errors, 82 times where the label is positive.

    They are summed over the stacks, and their mean is taken over examples, joints and pixels.

    Args:
        outputs: (N, stacks, J, h, w), every stack's maps.
        targets: As for `labels_of`, as the next is.
        mask: See there.
        count: Examples that the mean is taken over, in place of N: those of all processes.
    """
    labels = labels_of(targets, mask, *outputs.shape[3:])
    weights = torch.where(labels > 0, _WEIGHT, 1.0)
    squares = (outputs.float() - labels[:, None]).square().sum(1)
    return (squares * weights).sum() / (labels[0].numel() * (len(labels) if count is None else count))


def _bell(middles: Tensor, side: int) -> Tensor:
    """Returns (N, J, side): `exp(-d² / 2)` around middles that are fractions of the side; 0 where there is none."""
    away = torch.arange(side, device=middles.device) - torch.round(middles * side)[..., None]
    return torch.where((away >= -_BEFORE) & (away <= _AFTER), torch.exp(-away.square() / 2), 0.0)
