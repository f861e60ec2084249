"""The networks in PyTorch, built from the tables in `converters.networks`."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from converters.checkpoint import Checkpoint
from converters.networks import Architecture, Join, Layer, Step, pair, same_margin
from converters.networks import layers as kinds
from converters.networks.flow import Flow, learned_in
from converters.networks.formula import Formula, Learned
from deeppose_port.backends.torch.arrays import TorchArrays
from deeppose_port.backends.torch.layers import (
    BatchNorm,
    DepthwiseConv,
    LocalResponseNorm,
    ScaleBias,
    SlopedPReLU,
    average_pool,
    convolution_with_nan,
    max_pool,
    normalization_with_nan,
    relu_without_nan,
    soft_argmax,
)

#: What nobody else goes on with, so that ReLU may work in place.
_MADE_ANEW = (kinds.Convolution, kinds.Linear, kinds.BatchNormalization, kinds.Residual)


_ARRAYS = TorchArrays()


class DeepPose(Flow[Tensor], nn.Module):
    """A network from a table of layers: (N, 3, H, W) float32 -> (N, 2 * joints) float32, or heat maps.

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
        for step in architecture.steps:
            module = self._module(step)
            if module is not None:
                self._add(step.layer.name, module)  # type: ignore[union-attr]  # modules are made of layers with names
        for name, learned in learned_in(architecture.steps).items():
            self._learn(name, learned)

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns the joints of (N, 3, H, W) inputs as (N, 2 * joints), or (N, stacks, joints, h, w) heat maps."""
        outputs = self._run(self._layers, inputs, {})
        return outputs if self.architecture.stacks else outputs.flatten(1)

    def maps_and_joints(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what the last layer of a network is given, the maps of a soft-argmax, and what `forward` does."""
        maps = self._run(self._layers[:-1], inputs, {})
        return maps, self._run(self._layers[-1:], maps, {}).flatten(1)

    def _run(self, layers: tuple[Layer, ...], x: Tensor, named: dict[str, Tensor]) -> Tensor:
        before: Layer | None = None
        for layer in layers:
            if isinstance(layer, kinds.ReLU) and isinstance(before, _MADE_ANEW) and self.relu_nan == "nan":
                x = functional.relu(x, inplace=True)
            else:
                x = self._step(layer, x, named)
            before = layer
        return x

    def _joined(self, values: list[Tensor], join: Join) -> Tensor:
        if join == "concat":
            return torch.cat(values, 1)
        result = values[0]
        for value in values[1:]:
            result = result + value if join == "sum" else result * value
        return result

    def _layer(self, layer: Layer, x: Tensor) -> Tensor:
        match layer:
            case kinds.Convolution() if self.relu_nan == "zero":
                return convolution_with_nan(x, self.get_submodule(layer.name), layer)
            case kinds.LocalResponseNormalization() if self.relu_nan == "zero":
                return normalization_with_nan(x, layer)
            case Formula():
                value = tuple(x.shape[1:])
                tensors = {name: self._placed(name, learned) for name, learned in layer.tensors(value).items()}
                return layer.formula(_ARRAYS, x, value, tensors)
            case kinds.Linear():
                return self.get_submodule(layer.name)(x.flatten(1))  # type: ignore[no-any-return]
            case kinds.ReLU():
                return functional.relu(x) if self.relu_nan == "nan" else relu_without_nan(x)
            case kinds.LeakyReLU():
                return functional.leaky_relu(x, layer.slope)
            case kinds.ClippedReLU():
                return functional.hardtanh(x, 0.0, layer.maximum)
            case kinds.ELU():
                return functional.elu(x, layer.alpha)
            case kinds.SELU():
                return functional.selu(x)
            case kinds.Sigmoid():
                return torch.sigmoid(x)
            case kinds.Tanh():
                return torch.tanh(x)
            case kinds.Softplus():
                return functional.softplus(x, layer.beta)
            case kinds.MaxPooling():
                return max_pool(x, layer)
            case kinds.AveragePooling():
                return average_pool(x, layer)
            case kinds.AdaptiveAveragePooling():
                return functional.adaptive_avg_pool2d(x, pair(layer.side))
            case kinds.AdaptiveMaxPooling():
                return functional.adaptive_max_pool2d(x, pair(layer.side))
            case kinds.GlobalAveragePooling():
                return functional.adaptive_avg_pool2d(x, 1)
            case kinds.GlobalMaxPooling():
                return functional.adaptive_max_pool2d(x, 1)
            case kinds.Upsample():
                height, width = pair(layer.factor)
                return x.repeat_interleave(height, 2).repeat_interleave(width, 3)
            case kinds.Padding():
                return functional.pad(x, (layer.left, layer.right, layer.top, layer.bottom))
            case kinds.SamePadding():
                rows, columns = (same_margin(side, layer.kernel, layer.stride) for side in x.shape[2:])
                return functional.pad(x, (*columns, *rows))
            case kinds.Dropout():
                ratio = layer.ratio if self.dropout is None else self.dropout
                return (functional.dropout2d if layer.channels else functional.dropout)(x, ratio, self.training)
            case kinds.Affine():
                return x * layer.factor + layer.offset
            case kinds.Flatten():
                return x.flatten(1)
            case kinds.Reshape():
                return x.reshape(len(x), *layer.shape)
            case kinds.Transpose():
                return x.permute(0, *(axis + 1 for axis in layer.axes))
            case kinds.Slice():
                return x[:, layer.start : layer.stop]
            case kinds.Heatmaps():
                return x.reshape(-1, layer.stacks, x.shape[1] // layer.stacks, *x.shape[2:])
            case kinds.SoftArgmax():
                return soft_argmax(x)
        return self.get_submodule(layer.name)(x)  # type: ignore[union-attr, no-any-return]  # a layer with weights

    def _module(self, step: Step) -> nn.Module | None:
        """Returns the module of a layer; None where it has no weights."""
        layer, channels = step.layer, step.before[0] or 0
        match layer:
            case kinds.Convolution():
                return nn.Conv2d(
                    channels,
                    layer.channels,
                    layer.kernel,
                    layer.stride,
                    layer.pad,
                    layer.dilation,
                    layer.groups,
                    layer.bias,
                )
            case kinds.DepthwiseConvolution():
                return DepthwiseConv(layer, channels)
            case kinds.TransposedConvolution():
                return nn.ConvTranspose2d(
                    channels,
                    layer.channels,
                    pair(layer.kernel),
                    pair(layer.stride),
                    pair(layer.pad),
                    pair(layer.output_pad),
                    layer.groups,
                    layer.bias,
                    pair(layer.dilation),
                )
            case kinds.Linear():
                return nn.Linear(math.prod(side or 0 for side in step.before), layer.channels, layer.bias)
            case kinds.BatchNormalization():
                return BatchNorm(channels, self.architecture.batch_normalization.of(layer), layer)
            case kinds.LocalResponseNormalization():
                return LocalResponseNorm(layer, channels)
            case kinds.PReLU():
                return SlopedPReLU(layer.shape)
            case kinds.Scale():
                return ScaleBias(layer)
        return None

    def _add(self, name: str, module: nn.Module) -> None:
        """Adds a module under a dotted name such as `res2.b_1.conv1`."""
        parent, last = self._parent(name)
        parent.add_module(last, module)

    def _learn(self, name: str, learned: Learned) -> None:
        """Adds a tensor of a formula under its dotted name."""
        parent, last = self._parent(name)
        numbers = torch.tensor(learned.begins)
        if learned.trained:
            parent.register_parameter(last, nn.Parameter(numbers))
        else:
            parent.register_buffer(last, numbers)

    def _placed(self, name: str, learned: Learned) -> Tensor:
        found = self.get_parameter(name) if learned.trained else self.get_buffer(name)
        return found.reshape(learned.placed)

    def _parent(self, name: str) -> tuple[nn.Module, str]:
        """Returns the module that what has a dotted name stands in, made if need be, and its last part."""
        *path, last = name.split(".")
        parent: nn.Module = self
        for part in path:
            if part not in dict(parent.named_children()):
                parent.add_module(part, nn.Module())
            parent = parent.get_submodule(part)
        return parent, last


class WithMaps(nn.Module):
    """A network in training: its answer, and before it the maps that it makes of a soft-argmax's, where asked for."""

    def __init__(self, network: DeepPose, maps: bool) -> None:
        super().__init__()
        self.network = network
        self.maps = maps

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the maps and the answer of (N, 3, H, W) inputs; twice the answer where no maps are asked for."""
        if self.maps:
            return self.network.maps_and_joints(inputs)
        outputs = self.network(inputs)
        return outputs, outputs


def build(architecture: Architecture | Mapping[str, object] | str, dropout: float | None = None) -> DeepPose:
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
