"""The layers that PyTorch does not have as Chainer computes them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from converters.networks import BatchNormalizationRules, Convolution, LocalResponseNormalization


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
        band = ((index[:, None] - index[None, :]).abs() <= rule.n // 2).float() * rule.alpha
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


class SharedPReLU(nn.Module):
    """Chainer's PReLU of 2015: one slope for all channels, a scalar; `torch.nn.PReLU`'s is a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.25))

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns max(x, 0) + slope * min(x, 0)."""
        return functional.prelu(inputs, self.weight.reshape(1))


def convolution_with_nan(inputs: Tensor, module: nn.Module, layer: Convolution) -> Tensor:
    """Returns a convolution in which NaN times the zeros around a map is NaN.

    That is what a product of matrices gives, which Chainer's convolution is. PyTorch's on a CPU leaves these zeros out:
    a channel with NaN among its weights would keep numbers at its borders.
    """
    bias = module.get_parameter("bias") if layer.bias else None
    return functional.conv2d(
        functional.pad(inputs, (layer.pad,) * 4), module.get_parameter("weight"), bias, layer.stride
    )


def normalization_with_nan(inputs: Tensor, layer: LocalResponseNormalization) -> Tensor:
    """Returns Chainer's local response normalisation; NaN reaches the channels beside it, but not those farther off."""
    return functional.local_response_norm(inputs, layer.n, layer.n * layer.alpha, layer.beta, layer.k)


def relu_without_nan(inputs: Tensor) -> Tensor:
    """Returns max(x, 0) with 0 for NaN: cuDNN's activation of 2016, which Chainer 1.13 called, did not hand NaN on."""
    return torch.where(inputs > 0, inputs, 0.0)


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation with the arithmetic of the Chainer that wrote a checkpoint.

    It differs from `torch.nn.BatchNorm2d` in that test time may have another eps than training (none at all before
    Chainer 1.21), in that the running variance may accumulate the eps (before Chainer 4), and in that it does not
    count batches.
    """

    def __init__(self, channels: int, rules: BatchNormalizationRules) -> None:
        # Chainer's decay 0.9 is PyTorch's momentum 0.1.
        super().__init__(channels, eps=rules.eps, momentum=0.1)
        self.rules = rules
        if self.running_var is not None:
            self.running_var.fill_(rules.initial_variance)

    def forward(self, input: Tensor) -> Tensor:
        """Normalises (N, C, H, W) maps."""
        if not self.training:
            return functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.rules.test_eps
            )
        # Not through the parent, which counts batches: Chainer's counter, of its fine-tuning mode, stays as it is.
        result = functional.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, True, self.momentum or 0.0, self.eps
        )
        if self.rules.eps_in_running_variance and self.running_var is not None and self.momentum is not None:
            samples = input.numel() // input.size(1)
            # Chainer scales the sum of variance and eps by m / (m - 1). Through `.data`, because autograd keeps the
            # buffer for a backward pass that does not read it.
            self.running_var.data += self.momentum * self.rules.eps * samples / (samples - 1)
        return result

    def extra_repr(self) -> str:
        """Names what makes it another layer than PyTorch's."""
        return f"{self.num_features}, eps={self.rules.eps}, test_eps={self.rules.test_eps}"
