"""What is minimised: the legacy loss without its two faults, and the others of `metrics.losses`."""

from __future__ import annotations

from types import ModuleType

from deeppose_port.backends.chainer import compat

compat.install()

import chainer  # noqa: E402 - not before compat
from chainer import backend  # noqa: E402
from chainer.types import NdArray  # noqa: E402 - NumPy's or CuPy's

from deeppose_port.backends.chainer.networks import DeepPose  # noqa: E402


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


class PoseEstimationError(chainer.Chain):  # type: ignore[misc]
    """A network with its loss: what is trained, under the legacy program's name for the network, `predictor`."""

    def __init__(self, predictor: DeepPose, loss: str = "l2", beta: float = 0.05) -> None:
        super().__init__()
        self.loss, self.beta = loss, beta
        with self.init_scope():
            self.predictor = predictor

    def forward(self, x: NdArray, t: NdArray, mask: NdArray, count: int | None = None) -> chainer.Variable:
        """Returns the loss of a batch; see `MaskedLoss`."""
        (loss,) = MaskedLoss(count, self.loss, self.beta).apply((self.predictor(x), t, mask))
        return loss
