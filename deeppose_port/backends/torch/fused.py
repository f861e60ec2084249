"""A network for prediction on CPUs, whose layers with weights add and rectify what they give in one pass over memory.

These are the operators of oneDNN that `torch.compile` puts in place of such a layer and what follows it; they need no
compiler. A convolution's weights are laid out once, as oneDNN wants them. Those of fully connected layers stay as they
are: laid out too they would take their hundreds of megabytes twice, and as they are oneDNN is twice as fast already as
the BLAS of PyTorch, which computes few pictures by one thread. Of a large batch a few pictures at a time become
features, in each thread: their maps lie in memory that is there already, and near the processor.
"""

from __future__ import annotations

import math
import platform
from typing import TypeAlias

import torch
from torch import Tensor, nn

from converters.networks import (
    BatchNormalization,
    Convolution,
    Join,
    Layer,
    Linear,
    ReLU,
    Residual,
    Take,
    pair,
    steps_of,
    walk,
)
from converters.networks.flow import Flow
from deeppose_port.backends.torch.networks import DeepPose
from deeppose_port.backends.torch.workers import each

_Pair: TypeAlias = tuple[int, int]
#: A convolution's weights as they are laid out, its bias, padding, strides, dilation and groups.
_Ready: TypeAlias = tuple[Tensor, Tensor | None, _Pair, _Pair, _Pair, int]
#: Weights beyond it are a diverged network's, whose sums may overflow and then make NaN.
_LARGEST = 1e4
#: Bytes of a network's largest maps, of as many pictures as a thread computes together. With a few maps of twice as
#: many glibc's malloc gives memory back at once, and a tenth of the time goes to pages that the kernel clears anew.
_MAPS = 16 << 20
#: What is used of oneDNN.
_OPERATORS = ("_convolution_pointwise", "_linear_pointwise", "_reorder_convolution_weight")
#: What oneDNN does with a layer's outputs.
_NOTHING: tuple[str, list[float], str] = ("none", [], "")
_RELU: tuple[str, list[float], str] = ("relu", [], "")


def can_fuse(network: DeepPose) -> bool:
    """Tells whether a network can be fused here: on x86, and where nothing makes NaN, which oneDNN's ReLU loses."""
    return (
        platform.machine().lower() in ("x86_64", "amd64")
        and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
        and all(hasattr(torch.ops.mkldnn, name) for name in _OPERATORS)
        and any(isinstance(module, nn.Conv2d) for module in network.modules())
        and all(_is_sound(name, tensor) for name, tensor in network.state_dict().items())
    )


def _is_sound(name: str, tensor: Tensor) -> bool:
    low, high = (float(bound) for bound in tensor.aminmax())  # NaN where one is there; nothing is copied
    if name.endswith("running_var"):
        return low > 0 and high < float("inf")
    largest = float("inf") if name.endswith("num_batches_tracked") else _LARGEST
    return -largest <= low and high <= largest


class Fused(Flow[Tensor], nn.Module):
    """A network in evaluation mode, on a CPU: channels last in, joints or heat maps out.

    Args:
        network: The same layer by layer.
    """

    def __init__(self, network: DeepPose) -> None:
        super().__init__()
        self._network = network
        self._convolutions = {name for name, module in network.named_modules() if type(module) is nn.Conv2d}
        self._packed: dict[tuple[str, bool], _Ready] = {}
        self._maps, self._features = _maps_and_features(network.architecture.layers)
        self._largest: dict[tuple[int, ...], int] = {}

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns what the network does."""
        size = self._together(inputs)
        parts = each(self._to_maps, torch.split(inputs, size)) if size < len(inputs) else [self._to_maps(inputs)]
        outputs = self._run(self._features, parts[0] if len(parts) == 1 else torch.cat(parts), {})
        return outputs if self._network.architecture.stacks else outputs.flatten(1)

    def _to_maps(self, inputs: Tensor) -> Tensor:
        return self._run(self._maps, inputs, {})

    def _together(self, inputs: Tensor) -> int:
        """Returns of how many pictures a thread computes the maps together; all where there are few for each thread."""
        count, shape = len(inputs), tuple(inputs.shape[1:])
        threads = torch.get_num_threads()
        if count < 2 * threads or not self._maps:
            return max(count, 1)
        if shape not in self._largest:  # the table is followed once for inputs of a size
            steps = steps_of(self._maps, shape)
            self._largest[shape] = max(math.prod(side or 0 for side in step.after) for step in steps)
        most = max(_MAPS // (self._largest[shape] * inputs.element_size()), 1)
        rounds = -(-count // (most * threads))
        return -(-count // (rounds * threads))  # alike, rather than all but the last

    def __getstate__(self) -> dict[str, object]:
        """Leaves out what is laid out for this processor, which can be neither copied nor sent: it is made anew."""
        return {**vars(self), "_packed": {}}

    def _run(self, layers: tuple[Layer, ...], x: Tensor, named: dict[str, Tensor]) -> Tensor:
        skip = False
        for i, layer in enumerate(layers):
            if skip:
                skip = False
                continue
            rectified = isinstance(layers[i + 1], ReLU) if i + 1 < len(layers) else False
            match layer:
                case Convolution() if layer.name in self._convolutions:
                    x, skip = self._convolution(layer, x, rectified), rectified
                case Residual() if layer.join == "sum" and (found := self._last_convolution(layer)) is not None:
                    x, skip = self._sum(layer, found, x, named, rectified), rectified
                case Linear():
                    x, skip = self._linear(layer, x, rectified), rectified
                case _:
                    x = self._step(layer, x, named)
        return x

    def _layer(self, layer: Layer, x: Tensor) -> Tensor:
        return self._network._layer(layer, x)

    def _joined(self, values: list[Tensor], join: Join) -> Tensor:
        return self._network._joined(values, join)

    def _last_convolution(self, block: Residual) -> int | None:
        """Returns the first branch that a convolution ends, which the others can be added to."""
        ends = (branch[-1] if branch else None for branch in block.branches)
        return next(
            (i for i, end in enumerate(ends) if isinstance(end, Convolution) and end.name in self._convolutions), None
        )

    def _sum(self, block: Residual, last: int, x: Tensor, named: dict[str, Tensor], rectified: bool) -> Tensor:
        values = [self._run(branch[:-1] if i == last else branch, x, named) for i, branch in enumerate(block.branches)]
        before = values.pop(last)
        layer = block.branches[last][-1]
        assert isinstance(layer, Convolution)
        return self._convolution(layer, before, rectified, self._joined(values, "sum"))

    def _convolution(self, layer: Convolution, x: Tensor, rectified: bool, other: Tensor | None = None) -> Tensor:
        """Returns a convolution's outputs, with others added, and then rectified."""
        packed, *told = self._ready(layer, x)
        unary = _RELU if rectified else _NOTHING
        if other is None:
            made: Tensor = torch.ops.mkldnn._convolution_pointwise(x, packed, *told, *unary)
            return made
        relu = unary if rectified else (None, [], None)
        made = torch.ops.mkldnn._convolution_pointwise(x, other, packed, *told, "add", 1.0, *relu)
        return made

    def _linear(self, layer: Linear, x: Tensor, rectified: bool) -> Tensor:
        """Returns a fully connected layer's outputs, and rectified."""
        module = self._network.get_submodule(layer.name)
        assert isinstance(module, nn.Linear)
        unary = _RELU if rectified else _NOTHING
        made: Tensor = torch.ops.mkldnn._linear_pointwise(x.flatten(1), module.weight.detach(), module.bias, *unary)
        return made

    def _ready(self, layer: Convolution, x: Tensor) -> _Ready:
        """Returns a convolution's weights as oneDNN wants them, for one picture or for several, and what it is told."""
        key = layer.name, len(x) > 1
        if key not in self._packed:
            module = self._network.get_submodule(layer.name)
            assert isinstance(module, nn.Conv2d)
            how = (pair(layer.pad), pair(layer.stride), pair(layer.dilation), layer.groups)
            packed = torch.ops.mkldnn._reorder_convolution_weight(module.weight.detach(), *how, list(x.shape))
            self._packed[key] = (packed, module.bias, *how)
        return self._packed[key]


def _maps_and_features(layers: tuple[Layer, ...]) -> tuple[tuple[Layer, ...], tuple[Layer, ...]]:
    """Returns the layers that see each picture by itself, and those from the first fully connected one on.

    These take a whole batch, so that their matrices are read once. There are none of the first kind where pictures
    depend on each other, or maps are used again behind.
    """
    first = next((i for i, layer in enumerate(layers) if isinstance(layer, Linear)), len(layers))
    maps, features = layers[:first], layers[first:]
    by_batch = any(isinstance(layer, BatchNormalization) and layer.batch for layer in walk(maps))
    return ((), layers) if by_batch or any(isinstance(layer, Take) for layer in walk(features)) else (maps, features)
