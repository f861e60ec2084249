"""The networks in PyTorch, built from the tables in `converters.networks`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from converters.checkpoint import Checkpoint
from converters.networks import (
    AdaptiveAveragePooling,
    Architecture,
    BatchNormalization,
    Convolution,
    Dropout,
    GlobalAveragePooling,
    Layer,
    Linear,
    LocalResponseNormalization,
    MaxPooling,
    PReLU,
    ReLU,
    Residual,
    Tanh,
)
from deeppose_port.backends.torch.layers import (
    BatchNorm,
    LocalResponseNorm,
    SharedPReLU,
    convolution_with_nan,
    normalization_with_nan,
    relu_without_nan,
)


class DeepPose(nn.Module):
    """A network from a table of layers: (N, 3, H, W) float32 -> (N, 2 * joints) float32.

    Its state dict has the checkpoint's canonical names.

    Attributes:
        architecture: What it was built from.
        dropout: The share that dropout zeroes in training, in place of the table's; None for the table's.
        relu_nan: What ReLU makes of NaN: `nan`, or `zero` to emulate a GPU of 2016; see `Pose`.
    """

    def __init__(self, architecture: Architecture, dropout: float | None = None) -> None:
        super().__init__()
        self.architecture = architecture
        self.dropout = dropout
        self.relu_nan = "nan"
        self._layers = architecture.layers
        self._build(self._layers, channels=3)

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns the joints of (N, 3, H, W) inputs as (N, 2 * joints)."""
        return self._run(self._layers, inputs)

    def _run(self, layers: tuple[Layer, ...], x: Tensor) -> Tensor:
        for layer in layers:
            match layer:
                case Convolution() if self.relu_nan == "zero":
                    x = convolution_with_nan(x, self.get_submodule(layer.name), layer)
                case LocalResponseNormalization() if self.relu_nan == "zero":
                    x = normalization_with_nan(x, layer)
                case Convolution() | BatchNormalization() | LocalResponseNormalization() | PReLU():
                    x = self.get_submodule(layer.name)(x)
                case Linear():
                    x = self.get_submodule(layer.name)(x.flatten(1))
                case ReLU():
                    x = functional.relu(x, inplace=True) if self.relu_nan == "nan" else relu_without_nan(x)
                case Tanh():
                    x = torch.tanh(x)
                case MaxPooling():
                    x = functional.max_pool2d(x, layer.kernel, layer.stride, layer.pad, ceil_mode=layer.cover_all)
                case AdaptiveAveragePooling():
                    x = functional.adaptive_avg_pool2d(x, layer.side)
                case GlobalAveragePooling():
                    x = functional.adaptive_avg_pool2d(x, 1)
                case Dropout():
                    ratio = layer.ratio if self.dropout is None else self.dropout
                    x = (functional.dropout2d if layer.channels else functional.dropout)(x, ratio, self.training)
                case Residual():
                    x = self._run(layer.branch, x) + self._run(layer.shortcut, x)
        return x

    def _build(self, layers: tuple[Layer, ...], channels: int) -> int:
        """Adds the modules of some layers fed with `channels` channels; returns the channels that leave them."""
        flat = False
        for layer in layers:
            match layer:
                case Convolution():
                    self._add(
                        layer.name,
                        nn.Conv2d(channels, layer.channels, layer.kernel, layer.stride, layer.pad, bias=layer.bias),
                    )
                    channels = layer.channels
                case Linear():
                    inputs = channels if flat else channels * self.architecture.feature_size**2
                    self._add(layer.name, nn.Linear(inputs, layer.channels))
                    channels, flat = layer.channels, True
                case BatchNormalization():
                    self._add(layer.name, BatchNorm(channels, self.architecture.batch_normalization))
                case LocalResponseNormalization():
                    self._add(layer.name, LocalResponseNorm(layer, channels))
                case PReLU():
                    self._add(layer.name, SharedPReLU())
                case Residual():
                    self._build(layer.shortcut, channels)
                    channels = self._build(layer.branch, channels)
        return channels

    def _add(self, name: str, module: nn.Module) -> None:
        """Adds a module under a dotted name such as `res2.b_1.conv1`."""
        *path, last = name.split(".")
        parent: nn.Module = self
        for part in path:
            if part not in dict(parent.named_children()):
                parent.add_module(part, nn.Module())
            parent = parent.get_submodule(part)
        parent.add_module(last, module)


def build(architecture: Architecture | Mapping[str, Any] | str, dropout: float | None = None) -> DeepPose:
    """Builds a network, with its writer's BatchNormalization and PyTorch's initial weights.

    Args:
        architecture: An Architecture, or what a file says of it: the `architecture` of a `.pt`, or its JSON from a
            safetensors' metadata.
        dropout: The share that dropout zeroes in training, in place of the architecture's own.

    Raises:
        DeepPoseError: The description is none of an architecture.
    """
    return DeepPose(Architecture.of(architecture), dropout)


def load(checkpoint: Checkpoint, dropout: float | None = None) -> DeepPose:
    """Builds a checkpoint's network with its weights, as float32 and in evaluation mode."""
    with torch.device("meta"):  # no memory and no random numbers for weights that come from the checkpoint
        network = build(checkpoint.architecture, dropout)
    state = {name: torch.tensor(array) for name, array in checkpoint.weights.items()}  # copies
    state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval()
