"""The layers that PyTorch does not have as Chainer computes them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from converters.networks import (
    AveragePooling,
    BatchNormalization,
    BatchNormalizationRules,
    Convolution,
    DepthwiseConvolution,
    LocalResponseNormalization,
    MaxPooling,
    Scale,
    pair,
    pooled_side,
)


class LocalResponseNorm(nn.Module):
    """Chainer's local response normalisation: `x * (k + alpha * sum of x² over n channels) ** -beta`.

    `torch.nn.functional.local_response_norm` divides alpha by n and averages over a padded 3-D view; here the sum
    over neighbouring channels is a 1x1 convolution with a fixed band matrix, which is faster in every memory format.
    """

    def __init__(self, rule: LocalResponseNormalization, channels: int) -> None:
        super().__init__()
        self.rule = rule
        # On the CPU even where parameters are made without memory: no checkpoint has these to fill them in.
        index = torch.arange(channels, device="cpu")
        offset = index[None, :] - index[:, None]
        band = ((-(rule.n // 2) <= offset) & (offset <= (rule.n - 1) // 2)).float() * rule.alpha
        self.register_buffer("band", band[:, :, None, None], persistent=False)
        self.register_buffer("offset", torch.full((channels,), rule.k, device="cpu"), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalises (N, C, H, W) maps."""
        scale = functional.conv2d(inputs * inputs, self.get_buffer("band"), self.get_buffer("offset"))
        if self.rule.beta == 0.75:
            # s ** -0.75 without a power. Nor with a square root: PyTorch gives sqrt to MKL, whose first call from
            # several threads may answer with 11 bits (https://github.com/pytorch/pytorch/issues/188792).
            root = torch.rsqrt(scale)
            return inputs * root * root * torch.rsqrt(root)
        return inputs * scale.pow(-self.rule.beta)


class SlopedPReLU(nn.Module):
    """Chainer's PReLU: one slope for all channels, a scalar as in 2015, or one for each; PyTorch's is a vector."""

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full(shape, 0.25))

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns max(x, 0) + slope * min(x, 0)."""
        if self.weight.ndim <= 1:
            return functional.prelu(inputs, self.weight.reshape(-1))
        return torch.where(inputs > 0, inputs, self.weight * inputs)


class ScaleBias(nn.Module):
    """`chainer.links.Scale`: a learned factor on the first axes of an example's value, and an offset."""

    def __init__(self, layer: Scale) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(layer.shape))
        self.bias = nn.Module() if layer.bias else None
        if self.bias is not None:
            self.bias.register_parameter("bias", nn.Parameter(torch.zeros(layer.shape)))

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns x * factor + offset."""
        shape = (*self.weight.shape, *(1,) * (inputs.ndim - 1 - self.weight.ndim))
        outputs = inputs * self.weight.reshape(shape)
        return outputs if self.bias is None else outputs + self.bias.get_parameter("bias").reshape(shape)


class DepthwiseConv(nn.Module):
    """`chainer.links.DepthwiseConvolution2D`: its weight is (multiplier, C, h, w), not (C * multiplier, 1, h, w)."""

    def __init__(self, layer: DepthwiseConvolution, channels: int) -> None:
        super().__init__()
        self.layer = layer
        self.weight = nn.Parameter(torch.empty(layer.multiplier, channels, *pair(layer.kernel)))
        nn.init.kaiming_uniform_(self.weight[:, :1])
        self.bias = nn.Parameter(torch.zeros(layer.multiplier * channels)) if layer.bias else None

    def forward(self, inputs: Tensor) -> Tensor:
        """Convolves each channel of (N, C, H, W) maps by itself."""
        weight = self.weight.transpose(0, 1).reshape(-1, 1, *self.weight.shape[2:])
        return functional.conv2d(
            inputs, weight, self.bias, self.layer.stride, self.layer.pad, groups=self.weight.shape[1]
        )


def max_pool(inputs: Tensor, layer: MaxPooling) -> Tensor:
    """Returns the largest of each window; where `cover_all` makes a window of margin alone, -inf as Chainer does."""
    kernel, stride, pad = pair(layer.kernel), pair(layer.stride), pair(layer.pad)
    if not layer.cover_all:
        return functional.max_pool2d(inputs, kernel, stride, pad, ceil_mode=layer.ceil_mode)
    sides = tuple(zip(inputs.shape[2:], kernel, stride, pad, strict=True))
    if all(pooled_side(*side, True, False) == pooled_side(*side, False, True) for side in sides):
        return functional.max_pool2d(inputs, kernel, stride, pad, ceil_mode=True)
    top, left = pad
    margins = (left, left + stride[1] - 1, top, top + stride[0] - 1)
    return functional.max_pool2d(functional.pad(inputs, margins, value=float("-inf")), kernel, stride)


def average_pool(inputs: Tensor, layer: AveragePooling) -> Tensor:
    """Returns the mean of each window."""
    return functional.avg_pool2d(
        inputs, pair(layer.kernel), pair(layer.stride), pair(layer.pad), layer.ceil_mode, layer.count_pad
    )


def soft_argmax(maps: Tensor) -> Tensor:
    """Returns where (N, J, H, W) maps are large as (N, 2 * J), see `SoftArgmax`; in float32 where they have less."""
    height, width = maps.shape[2:]
    maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
    weights = maps.flatten(2).softmax(2).reshape(maps.shape)
    columns, rows = (
        (torch.arange(side, device=maps.device, dtype=maps.dtype) + 0.5) / side - 0.5 for side in (width, height)
    )
    x, y = (weights.sum(2) * columns).sum(2), (weights.sum(3) * rows).sum(2)
    return torch.stack([x, y], 2).flatten(1)


def convolution_with_nan(inputs: Tensor, module: nn.Module, layer: Convolution) -> Tensor:
    """Returns a convolution in which NaN times the zeros around a map is NaN.

    That is what a product of matrices gives, which Chainer's convolution is. PyTorch's on a CPU leaves these zeros out:
    a channel with NaN among its weights would keep numbers at its borders.
    """
    bias = module.get_parameter("bias") if layer.bias else None
    height, width = pair(layer.pad)
    return functional.conv2d(
        functional.pad(inputs, (width, width, height, height)),
        module.get_parameter("weight"),
        bias,
        layer.stride,
        0,
        layer.dilation,
        layer.groups,
    )


def normalization_with_nan(inputs: Tensor, layer: LocalResponseNormalization) -> Tensor:
    """Returns Chainer's local response normalisation; NaN reaches the channels beside it, but not those farther off."""
    return functional.local_response_norm(inputs, layer.n, layer.n * layer.alpha, layer.beta, layer.k)


def relu_without_nan(inputs: Tensor) -> Tensor:
    """Returns max(x, 0) with 0 for NaN: cuDNN's activation of 2016, which Chainer 1.13 called, did not hand NaN on."""
    return torch.where(inputs > 0, inputs, 0.0)


class _SumOverProcesses(torch.autograd.Function):
    @staticmethod
    def forward(context: object, part: Tensor) -> Tensor:
        total = part.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: object, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total


def _sum_over_processes(part: Tensor) -> Tensor:
    """Returns the sum of all processes' parts, through which gradients go back to each of them."""
    total: Tensor = _SumOverProcesses.apply(part)  # type: ignore[no-untyped-call]
    return total


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation with the arithmetic of the Chainer that wrote a checkpoint.

    It differs from `torch.nn.BatchNorm2d` in that test time may have another eps than training (none at all before
    Chainer 1.21), in that the running variance may accumulate the eps (before Chainer 4), in that either of factor and
    offset may be missing, and in that it does not count batches.

    Attributes:
        synchronized: Whether a batch is that of all processes that train together. PyTorch's SyncBatchNorm computes on
            GPUs alone.
    """

    synchronized = False

    def __init__(self, channels: int, rules: BatchNormalizationRules, layer: BatchNormalization | None = None) -> None:
        layer = layer or BatchNormalization("")
        # Chainer's decay 0.9 is PyTorch's momentum 0.1.
        super().__init__(channels, eps=rules.eps, momentum=round(1 - layer.decay, 12))
        self.rules = rules
        self.batch = layer.batch
        if not layer.gamma:
            self.register_parameter("weight", None)
        if not layer.beta:
            self.register_parameter("bias", None)
        if self.running_var is not None:
            self.running_var.fill_(rules.initial_variance)

    def forward(self, input: Tensor) -> Tensor:
        """Normalises (N, C, H, W) maps or (N, F) features."""
        if (self.training or self.batch) and input.numel() == input.size(1) and not self.synchronized:
            return self._by_sums(input, lambda part: part)  # one value a channel, which PyTorch refuses
        if not self.training:
            running = (None, None) if self.batch else (self.running_mean, self.running_var)
            eps = self.eps if self.batch else self.rules.test_eps
            return functional.batch_norm(input, *running, self.weight, self.bias, self.batch, 0.0, eps)
        if self.synchronized:
            synchronized: Tensor = self._over_processes(input)
            return synchronized
        buffer, momentum = self.running_var, self.momentum or 0.0
        assert buffer is not None
        # Where eps is added to it, of a copy: autograd keeps what it is given, which nothing may change after that.
        variance = buffer.clone() if self.rules.eps_in_running_variance else buffer
        # Not through the parent, which counts batches: Chainer's counter, of its fine-tuning mode, stays as it is.
        result = functional.batch_norm(
            input, self.running_mean, variance, self.weight, self.bias, True, momentum, self.eps
        )
        if self.rules.eps_in_running_variance:
            samples = input.numel() // input.size(1)
            # Chainer scales the sum of variance and eps by m / (m - 1).
            buffer.copy_(variance + momentum * self.rules.eps * samples / (samples - 1))
        return result

    def _over_processes(self, input: Tensor) -> Tensor:
        """Normalises by the statistics of all processes' parts of the batch, which may differ in size."""
        return self._by_sums(input, _sum_over_processes)

    def _by_sums(self, input: Tensor, total: Callable[[Tensor], Tensor]) -> Tensor:
        """Normalises by a batch's statistics, of which `total` makes the whole of each part's sums."""
        axes = [axis for axis in range(input.ndim) if axis != 1]
        shape = [-1 if axis == 1 else 1 for axis in range(input.ndim)]
        values = input.to(torch.promote_types(input.dtype, torch.float32))
        own = values.new_full((1,), values.numel() // values.size(1))
        sums = total(torch.cat([values.sum(axes), own]))
        samples = sums[-1].detach()
        mean = sums[:-1] / samples
        centred = values - mean.view(shape)
        variance = total((centred * centred).sum(axes)) / samples
        result = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.weight is not None:
            result = result * self.weight.view(shape)
        if self.bias is not None:
            result = result + self.bias.view(shape)
        if not self.training:
            return result.to(input.dtype)
        assert self.running_mean is not None
        assert self.running_var is not None
        eps = self.rules.eps if self.rules.eps_in_running_variance else 0.0
        unbiased = (variance.detach() + eps) * samples / (samples - 1).clamp(min=1)
        momentum = self.momentum or 0.0
        with torch.no_grad():
            self.running_mean.lerp_(mean.detach().to(self.running_mean.dtype), momentum)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), momentum)
        return result.to(input.dtype)

    def extra_repr(self) -> str:
        """Names what makes it another layer than PyTorch's."""
        return f"{self.num_features}, eps={self.rules.eps}, test_eps={self.rules.test_eps}"
