"""What is minimised: the legacy loss without its two faults, and the others of `metrics.losses`."""

from __future__ import annotations

from types import ModuleType

from deeppose_port.backends.chainer import compat

compat.install()

import chainer  # noqa: E402 - not before compat
import chainer.functions as F  # noqa: E402, N812 - Chainer's own name for it
import numpy as np  # noqa: E402
from chainer import backend  # noqa: E402
from chainer.types import NdArray  # noqa: E402 - NumPy's or CuPy's

from deeppose_port.backends.chainer.networks import DeepPose  # noqa: E402
from deeppose_port.metrics.losses import heatmap_targets  # noqa: E402


class MaskedLoss(chainer.FunctionNode):  # type: ignore[misc]
    """`sum of f(x - t) where the mask is 1, / count`, with gradient `f'(x - t) / count` there and 0 elsewhere.

    The legacy function multiplied by the mask, so that NaN under a 0 leaked, and divided by a count of 0.

    Args:
        count: What the sum is divided by; None for the mask's own number of ones.
        loss: Which f, a key of `metrics.losses.LOSSES`.
        beta: Of `smooth-l1`.
    """

    def __init__(self, count: int | None = None, loss: str = "l2", beta: float = 0.05) -> None:
        super().__init__()
        self.count = count
        self.loss = loss
        self.beta = beta

    def forward(self, inputs: tuple[NdArray, ...]) -> tuple[NdArray]:
        """Takes x and t, (N, 2J) float32, and the mask, (N, 2J) int32."""
        x, t, mask = inputs
        xp = backend.get_array_module(x)
        self.difference = xp.where(mask != 0, x - t, x.dtype.type(0))
        count = int(mask.sum()) if self.count is None else self.count
        self.scale = 1.0 / max(count, 1)
        total = self._values(xp).sum(dtype=x.dtype)
        return (xp.asarray(total * x.dtype.type(self.scale), dtype=x.dtype),)

    def backward(
        self, indexes: tuple[int, ...], gradients: tuple[chainer.Variable, ...]
    ) -> tuple[chainer.Variable | None, ...]:
        """Differentiates with respect to x."""
        (gradient,) = gradients
        xp = backend.get_array_module(self.difference)
        slopes, factor = self._slopes(xp)
        gx = slopes * self.difference.dtype.type(factor * self.scale) * xp.asarray(gradient.array)
        return tuple(chainer.Variable(gx) if index == 0 else None for index in indexes)

    def _values(self, xp: ModuleType) -> NdArray:
        difference = self.difference
        if self.loss == "l2":
            return difference * difference
        sizes = abs(difference)
        if self.loss == "l1":
            return sizes
        beta = difference.dtype.type(self.beta)
        return xp.where(sizes < beta, difference * difference / (2 * beta), sizes - beta / 2)

    def _slopes(self, xp: ModuleType) -> tuple[NdArray, float]:
        """Returns the derivative of each value, and a factor on all."""
        if self.loss == "l2":
            return self.difference, 2.0
        if self.loss == "l1":
            return xp.sign(self.difference), 1.0
        beta = self.difference.dtype.type(self.beta)
        return (self.difference / beta).clip(-1, 1), 1.0


def heatmap_loss(maps: chainer.Variable, t: NdArray, mask: NdArray, count: int | None = None) -> chainer.Variable:
    """Returns the mean cross-entropy of (N, joints, h, w) maps' softmax and `metrics.losses.heatmap_targets`.

    Args:
        maps: What a soft-argmax is given.
        t: (N, 2J) float32, in fractions of the crop.
        mask: (N, 2J) int32; a joint counts whose coordinates both do.
        count: How many coordinates count in the whole batch; None for the mask's own number of ones.
    """
    number, joints, height, width = maps.shape
    xp = backend.get_array_module(t)
    counted = (mask != 0).reshape(number, joints, 2).all(axis=2)
    points = backend.CpuDevice().send(xp.where(mask != 0, t, t.dtype.type(0)))
    wanted = heatmap_targets(points, height, width).astype(np.float32)
    wanted *= backend.CpuDevice().send(counted)[:, :, None, None]
    logarithms = F.log_softmax(F.reshape(maps, (number * joints, height * width)), axis=1)
    total = F.sum(logarithms * xp.asarray(wanted.reshape(logarithms.shape)))
    return -total / max((int(mask.sum()) if count is None else count) / 2, 1.0)


class PoseEstimationError(chainer.Chain):  # type: ignore[misc]
    """A network with its loss: what is trained, under the legacy program's name for the network, `predictor`.

    Attributes:
        answers: The loss of the last batch's answers alone, without that of heat maps.
    """

    answers: chainer.Variable

    def __init__(self, predictor: DeepPose, loss: str = "l2", beta: float = 0.05, heatmaps: float = 0.0) -> None:
        super().__init__()
        self.loss, self.beta, self.heatmaps = loss, beta, heatmaps
        with self.init_scope():
            self.predictor = predictor

    def forward(self, x: NdArray, t: NdArray, mask: NdArray, count: int | None = None) -> chainer.Variable:
        """Returns the loss of a batch; see `MaskedLoss` and `heatmap_loss`."""
        maps, y = self.predictor.maps_and_joints(x) if self.heatmaps else (None, self.predictor(x))
        (self.answers,) = MaskedLoss(count, self.loss, self.beta).apply((y, t, mask))
        return self.answers if maps is None else self.answers + self.heatmaps * heatmap_loss(maps, t, mask, count)
