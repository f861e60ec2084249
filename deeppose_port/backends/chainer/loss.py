"""The legacy loss without its two faults."""

from __future__ import annotations

from deeppose_port.backends.chainer import compat

compat.install()

import chainer  # noqa: E402 - not before compat
from chainer import backend  # noqa: E402
from chainer.types import NdArray  # noqa: E402 - NumPy's or CuPy's

from deeppose_port.backends.chainer.networks import DeepPose  # noqa: E402


class MaskedMeanSquaredError(chainer.FunctionNode):  # type: ignore[misc]
    """`sum of (x - t)² where the mask is 1, / count`, with gradient `2 (x - t) / count` there and 0 elsewhere.

    The legacy function multiplied by the mask, so that NaN under a 0 leaked, and divided by a count of 0.

    Args:
        count: What the sum is divided by; None for the mask's own number of ones.
    """

    def __init__(self, count: int | None = None) -> None:
        super().__init__()
        self.count = count

    def forward(self, inputs: tuple[NdArray, ...]) -> tuple[NdArray]:
        """Takes x and t, (N, 2J) float32, and the mask, (N, 2J) int32."""
        x, t, mask = inputs
        xp = backend.get_array_module(x)
        self.difference = xp.where(mask != 0, x - t, x.dtype.type(0))
        count = int(mask.sum()) if self.count is None else self.count
        self.scale = 1.0 / max(count, 1)
        total = (self.difference * self.difference).sum(dtype=x.dtype)
        return (xp.asarray(total * x.dtype.type(self.scale), dtype=x.dtype),)

    def backward(
        self, indexes: tuple[int, ...], gradients: tuple[chainer.Variable, ...]
    ) -> tuple[chainer.Variable | None, ...]:
        """Differentiates with respect to x."""
        (gradient,) = gradients
        xp = backend.get_array_module(self.difference)
        gx = self.difference * self.difference.dtype.type(2.0 * self.scale) * xp.asarray(gradient.array)
        return tuple(chainer.Variable(gx) if index == 0 else None for index in indexes)


class PoseEstimationError(chainer.Chain):  # type: ignore[misc]
    """A network with its loss: what is trained, under the legacy program's name for the network, `predictor`."""

    def __init__(self, predictor: DeepPose) -> None:
        super().__init__()
        with self.init_scope():
            self.predictor = predictor

    def forward(self, x: NdArray, t: NdArray, mask: NdArray, count: int | None = None) -> chainer.Variable:
        """Returns the loss of a batch; see `MaskedMeanSquaredError`."""
        (loss,) = MaskedMeanSquaredError(count).apply((self.predictor(x), t, mask))
        return loss
