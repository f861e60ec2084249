"""A network as an ONNX graph, written from its table of layers: NumPy alone, no engine and no exporter.

For prediction BatchNormalization is folded into the layer before it, in float64 and rounded once, which ONNX Runtime
and OpenVINO would do in float32; for looking inside every layer stands by itself.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from converters import Architecture, Checkpoint
from converters.checkpoint import Array
from converters.formats import encode_metadata
from converters.networks import Join, Layer, pair, parts_of, same_margin
from converters.networks import layers as kinds
from converters.networks.flow import Flow, Value, after, joined
from converters.networks.fold import factors, fold
from converters.networks.formula import Formula
from converters.values import dataclass
from deeppose_port.backends import described
from deeppose_port.backends.devices import BackendError
from deeppose_port.backends.onnx import wire
from deeppose_port.backends.onnx.arrays import OnnxArrays
from deeppose_port.backends.onnx.wire import Attribute

if TYPE_CHECKING:
    import onnx

#: What a graph is given and gives.
INPUT, OUTPUT = "inputs", "joints"
#: ONNX's operators as of 2022: the oldest with everything that is used here, so that old engines run it too.
OPSET, IR_VERSION = 17, 8
#: How names begin that are given here: no value with a name of its own has one like it, and of two names for the same
#: value OpenVINO tells the one that is first in the alphabet.
_MADE = "~"
#: Bytes from which on a constant lies beside its graph. Engines want the small ones, shapes say, in it.
_LARGE = 4096

Weights: TypeAlias = Mapping[str, Array]


@dataclass(frozen=True)
class Tensor:
    """A value in a graph: its name, and its shape without the batch."""

    name: str
    shape: Value

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of maps."""
        height, width = (side or 0 for side in self.shape[-2:])
        return height, width


@dataclass(frozen=True)
class Program:
    """A graph, and its large constants beside it: an engine can take these as they lie in memory.

    Attributes:
        model: The bytes of a ModelProto without its large constants.
        constants: These.
        inputs: The names of what it is given.
    """

    model: bytes
    constants: Mapping[str, Array] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()

    def apart(self) -> bytes:
        """Returns the model, which names the large constants as external data and does not hold them."""
        return self._with_constants(apart=True)

    def whole(self) -> bytes:
        """Returns the model with everything in it."""
        return self._with_constants(apart=False)

    def _with_constants(self, apart: bool) -> bytes:
        constants = [wire.tensor(name, array, apart=apart) for name, array in self.constants.items()]
        return wire.with_constants(self.model, constants)


def model_of(checkpoint: Checkpoint, shape: tuple[int, int] | None = None) -> onnx.ModelProto:
    """Writes a checkpoint's network as `program_of` does, everything in one model, checked by onnx.

    Raises:
        BackendError: onnx is not installed, or a layer has no ONNX.
    """
    try:
        import onnx
    except ImportError as error:
        raise BackendError(f"it cannot become onnx: {error}; {described('onnx').installation}") from error
    model = onnx.load_from_string(program_of(checkpoint, shape).whole())
    onnx.checker.check_model(model)
    return model


def program_of(checkpoint: Checkpoint, shape: tuple[int, int] | None = None) -> Program:
    """Writes a checkpoint's network: `inputs` (batch, 3, H, W) float32 -> `joints` (batch, 2 * joints) float32.

    A network with heat maps gives `heatmaps` (batch, stacks, joints, h, w) instead.

    BatchNormalization is folded. The same checkpoint gives the same bytes on every machine; the model's metadata_props
    say what it is and how its input is made, as safetensors' metadata do.

    Args:
        checkpoint: One whose layers ONNX has.
        shape: H and W; None for those of the checkpoint's preprocessing.

    Raises:
        BackendError: A layer has no ONNX.
    """
    architecture = checkpoint.architecture
    layers, weights = fold(architecture.layers, checkpoint.weights, architecture.batch_normalization)
    graph = Graph(architecture, weights)
    start = Tensor(INPUT, (3, *(shape or checkpoint.preprocessing.shape)))
    last = graph._run(layers, start, {})
    if not architecture.stacks:
        last = graph.flat(last)
    graph.node("Identity", [last.name], architecture.answers)
    about = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in encode_metadata(checkpoint).items()
    }
    return graph.program([start], [Tensor(architecture.answers, last.shape)], about)


def part_of(
    architecture: Architecture, weights: Weights, layers: tuple[Layer, ...], inputs: Mapping[str, Value]
) -> Program:
    """Writes some layers of a network by themselves, nothing folded.

    Args:
        architecture: The network.
        weights: Its state dict.
        layers: Layers of it.
        inputs: The shape of the value that they are given, under `INPUT`, and of those that have names.

    Returns:
        The graph, which gives the last value under `OUTPUT`, and what the layers gave names.
    """
    graph = Graph(architecture, weights)
    given = {name: Tensor(name, shape) for name, shape in inputs.items()}
    start = given.pop(INPUT)
    named = dict(given)
    last = graph._run(layers, start, named)
    graph.node("Identity", [last.name], OUTPUT)
    outputs = [Tensor(OUTPUT, last.shape)]
    for name in named.keys() - given.keys():
        graph.node("Identity", [named[name].name], name)
        outputs.append(Tensor(name, named[name].shape))
    return graph.program([start, *given.values()], outputs)


class Graph(Flow[Tensor]):
    """A graph in the making."""

    def __init__(self, architecture: Architecture, weights: Weights) -> None:
        self.architecture = architecture
        self.weights = weights
        self.nodes: list[bytes] = []
        self.constants: dict[str, Array] = {}
        self._numbers = itertools.count()

    def program(
        self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], about: Mapping[str, str] | None = None
    ) -> Program:
        """Returns what was written."""
        large = {name: array for name, array in self.constants.items() if array.nbytes >= _LARGE}
        small = [wire.tensor(n, array, apart=False) for n, array in self.constants.items() if n not in large]
        graph = wire.graph("DeepPose", self.nodes, small, _described(inputs), _described(outputs))
        model = wire.model(graph, IR_VERSION, OPSET, "deeppose-port", about or {})
        return Program(model, large, tuple(value.name for value in inputs))

    # --- parts -------------------------------------------------------------------------------------------------------

    def node(self, operator: str, inputs: Sequence[str], output: str | None = None, **attributes: Attribute) -> str:
        """Adds an operator; returns the name of what it gives."""
        output = output or f"{_MADE}{next(self._numbers)}"
        self.nodes.append(wire.node(operator, inputs, output, attributes))
        return output

    def constant(self, array: Array, name: str | None = None) -> str:
        """Adds a constant of an array's own kind; returns its name."""
        name = name or f"{_MADE}{next(self._numbers)}"
        if name not in self.constants:
            self.constants[name] = np.ascontiguousarray(array) if array.ndim else array
        return name

    def number(self, value: float) -> str:
        """Adds a float32 constant without axes."""
        return self.constant(np.array(value, np.float32))

    def floats(self, name: str) -> Array:
        """Returns a tensor of the network as float32."""
        return np.asarray(self.weights[name], np.float32)

    def flat(self, x: Tensor) -> Tensor:
        """Returns a value as features."""
        if len(x.shape) == 1:
            return x
        return Tensor(self.node("Flatten", [x.name], axis=1), after(kinds.Flatten(), x.shape))

    # --- layers ------------------------------------------------------------------------------------------------------

    def _layer(self, layer: Layer, x: Tensor) -> Tensor:
        match layer:
            case kinds.Convolution() | kinds.DepthwiseConvolution() | kinds.TransposedConvolution() | kinds.Linear():
                return self._weighted(layer, x)
            case kinds.Dropout():
                return x
        return Tensor(self._operator(layer, x), after(layer, x.shape))

    def _joined(self, values: list[Tensor], join: Join) -> Tensor:
        shape = joined([value.shape for value in values], join)
        names = [value.name for value in values]
        if len(names) == 1:
            return values[0]
        if join == "concat":
            return Tensor(self.node("Concat", names, axis=1), shape)
        operator, result = "Add" if join == "sum" else "Mul", names[0]
        for name in names[1:]:
            result = self.node(operator, [result, name])
        return Tensor(result, shape)

    # --- layers with matrices ----------------------------------------------------------------------------------------

    def _weighted(
        self,
        layer: kinds.Convolution | kinds.DepthwiseConvolution | kinds.TransposedConvolution | kinds.Linear,
        x: Tensor,
    ) -> Tensor:
        """Adds a convolution or a fully connected layer."""
        weight = self.floats(f"{layer.name}.weight")
        if isinstance(layer, kinds.DepthwiseConvolution):
            weight = weight.transpose(1, 0, 2, 3).reshape(-1, 1, *weight.shape[2:])
        shape = after(layer, x.shape)
        if isinstance(layer, kinds.Linear):
            x = self.flat(x)
        inputs = [x.name, self.constant(weight, f"{layer.name}.weight")]
        if layer.bias:
            inputs.append(self.constant(self.floats(f"{layer.name}.bias"), f"{layer.name}.bias"))
        if isinstance(layer, kinds.Linear):
            return Tensor(self.node("Gemm", inputs, transB=1), shape)
        how: dict[str, Attribute] = {
            "kernel_shape": pair(layer.kernel),
            "strides": pair(layer.stride),
            "pads": [*pair(layer.pad), *pair(layer.pad)],
        }
        if isinstance(layer, kinds.DepthwiseConvolution):
            how |= {"dilations": (1, 1), "group": weight.shape[0] // layer.multiplier}
        else:
            how |= {"dilations": pair(layer.dilation), "group": layer.groups}
        if isinstance(layer, kinds.TransposedConvolution):
            return Tensor(self.node("ConvTranspose", inputs, None, **how, output_padding=pair(layer.output_pad)), shape)
        return Tensor(self.node("Conv", inputs, None, **how), shape)

    # --- layers without matrices -------------------------------------------------------------------------------------

    def _operator(self, layer: Layer, x: Tensor) -> str:
        """Adds a layer that is an operator or a few; returns the name of what it gives."""
        add = self.node
        match layer:
            case Formula():
                tensors = {
                    name: self.constant(self.floats(name).reshape(learned.placed))
                    for name, learned in layer.tensors(x.shape).items()
                }
                return layer.formula(OnnxArrays(self), x.name, x.shape, tensors)
            case kinds.BatchNormalization():
                return self._normalized(layer, x)
            case kinds.LocalResponseNormalization():
                return self._locally_normalized(layer, x)
            case kinds.ReLU():
                return self._relu(x)
            case kinds.PReLU():
                return self._prelu(self.floats(f"{layer.name}.weight"), x)
            case kinds.Scale():
                axes = (*layer.shape, *(1,) * (len(x.shape) - len(layer.shape)))
                scaled = add("Mul", [x.name, self.constant(self.floats(f"{layer.name}.weight").reshape(axes))])
                if not layer.bias:
                    return scaled
                return add("Add", [scaled, self.constant(self.floats(f"{layer.name}.bias.bias").reshape(axes))])
            case kinds.LeakyReLU():
                return add("LeakyRelu", [x.name], alpha=float(layer.slope))
            case kinds.ClippedReLU():
                return add("Clip", [x.name, self.number(0), self.number(layer.maximum)])
            case kinds.ELU():
                return add("Elu", [x.name], alpha=float(layer.alpha))
            case kinds.SELU():
                return add("Selu", [x.name])
            case kinds.Sigmoid():
                return add("Sigmoid", [x.name])
            case kinds.Tanh():
                return add("Tanh", [x.name])
            case kinds.Softplus():
                if layer.beta == 1:
                    return add("Softplus", [x.name])
                beta = self.number(layer.beta)
                return add("Div", [add("Softplus", [add("Mul", [x.name, beta])]), beta])
            case kinds.Affine():
                return OnnxArrays(self).affine(x.name, layer.factor, layer.offset)
            case kinds.Flatten():
                return self.flat(x).name
            case kinds.Reshape():
                return add("Reshape", [x.name, self.constant(np.array([0, *layer.shape], np.int64))])
            case kinds.Transpose():
                return add("Transpose", [x.name], perm=[0, *(axis + 1 for axis in layer.axes)])
            case kinds.Slice():
                ends = [self.constant(np.array([end], np.int64)) for end in (layer.start, layer.stop, 1)]
                return add("Slice", [x.name, *ends])
            case kinds.Heatmaps():
                shape = [0, layer.stacks, -1, *x.sides]
                return add("Reshape", [x.name, self.constant(np.array(shape, np.int64))])
            case kinds.SoftArgmax():
                return self._soft_argmax(x)
            case kinds.Padding():
                pads = [0, 0, layer.top, layer.left, 0, 0, layer.bottom, layer.right]
                return add("Pad", [x.name, self.constant(np.array(pads, np.int64))])
            case kinds.SamePadding():
                (top, bottom), (left, right) = (same_margin(side, layer.kernel, layer.stride) for side in x.sides)
                return self._operator(kinds.Padding(top, bottom, left, right), x)
            case kinds.Upsample():
                factors = self.constant(np.array([1, 1, *pair(layer.factor)], np.float32))
                rule = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
                return add("Resize", [x.name, "", factors], **rule)
            case kinds.GlobalAveragePooling():
                return add("GlobalAveragePool", [x.name])
            case kinds.GlobalMaxPooling():
                return add("GlobalMaxPool", [x.name])
            case kinds.MaxPooling():
                return self._max_pooled(layer, x)
            case kinds.AveragePooling():
                return self._average_pooled(layer, x)
            case kinds.AdaptiveAveragePooling():
                return self._averaged_parts(layer, x)
            case kinds.AdaptiveMaxPooling():
                return self._largest_of_parts(layer, x)
        raise BackendError(f"{type(layer).__name__} has no ONNX here: --backend torch runs this network")

    def _normalized(self, layer: kinds.BatchNormalization, x: Tensor) -> str:
        """Adds a normalisation by itself: a factor and an offset."""
        if layer.batch:
            raise BackendError(
                f"{layer.name} normalises by its batch at test time, which is not done in ONNX: --backend torch does it"
            )
        axes, rules = (-1, *(1,) * (len(x.shape) - 1)), self.architecture.batch_normalization
        factor, offset = (
            self.constant(part.astype(np.float32).reshape(axes)) for part in factors(layer, self.weights, rules)
        )
        return self.node("Add", [self.node("Mul", [x.name, factor]), offset])

    def _locally_normalized(self, layer: kinds.LocalResponseNormalization, x: Tensor) -> str:
        """Adds Chainer's local response normalisation; the sum over channels is a product with a band of ones."""
        channels = x.shape[0] or 0
        offset = np.arange(channels)[None, :] - np.arange(channels)[:, None]
        band = ((-(layer.n // 2) <= offset) & (offset <= (layer.n - 1) // 2)).astype(np.float32) * layer.alpha
        weight = self.constant(band[:, :, None, None].astype(np.float32))
        bias = self.constant(np.full(channels, layer.k, np.float32))
        squares = self.node("Mul", [x.name, x.name])
        scale = self.node("Conv", [squares, weight, bias], kernel_shape=[1, 1])
        if layer.beta == 0.75:  # two square roots are faster than a power
            root = self.node("Sqrt", [scale])
            return self.node("Div", [x.name, self.node("Mul", [root, self.node("Sqrt", [root])])])
        return self.node("Div", [x.name, self.node("Pow", [scale, self.number(layer.beta)])])

    @cached_property
    def _may_have_nan(self) -> bool:
        return any(not np.isfinite(array).all() for array in self.weights.values() if array.dtype.kind == "f")

    def _relu(self, x: Tensor) -> str:
        """Adds max(x, 0); where the network has NaN, engines differ in what they make of it, so that it is said."""
        if self._may_have_nan:
            return self.node("Where", [self.node("Less", [x.name, self.number(0)]), self.number(0), x.name])
        return self.node("Relu", [x.name])

    def _prelu(self, slope: Array, x: Tensor) -> str:
        axes = (*slope.shape, *(1,) * (len(x.shape) - max(slope.ndim, 1)))
        return self.node("PRelu", [x.name, self.constant(slope.reshape(axes or (1,)))])

    def _max_pooled(self, layer: kinds.MaxPooling, x: Tensor) -> str:
        kernel, before, behind = self._margins(layer, x)
        if not (np.array([before, behind]) < kernel).all():
            raise BackendError("a max pooling whose last window is margin alone has no ONNX: --backend torch runs it")
        pads = [*before, *behind]
        return self.node("MaxPool", [x.name], kernel_shape=kernel, strides=pair(layer.stride), pads=pads)

    def _average_pooled(self, layer: kinds.AveragePooling, x: Tensor) -> str:
        kernel, before, behind = self._margins(layer, x)
        name = x.name
        if layer.count_pad:
            # A margin of zeros that counts; what windows have behind it never does.
            top, left = before
            if top or left:
                name = self.node("Pad", [name, self.constant(np.array([0, 0, top, left, 0, 0, top, left], np.int64))])
            before, behind = (0, 0), (behind[0] - top, behind[1] - left)
        if min(behind) < 0:  # the last pixels are in no window
            behind = (max(behind[0], 0), max(behind[1], 0))
        return self.node(
            "AveragePool",
            [name],
            kernel_shape=kernel,
            strides=pair(layer.stride),
            pads=[*before, *behind],
            count_include_pad=0,
        )

    def _margins(
        self, layer: kinds.MaxPooling | kinds.AveragePooling, x: Tensor
    ) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """Returns a pooling's kernel, and the margins before and behind the maps that its last windows reach into."""
        kernel, stride, pad = pair(layer.kernel), pair(layer.stride), pair(layer.pad)
        sides = zip(x.sides, Tensor("", after(layer, x.shape)).sides, kernel, stride, pad, strict=True)
        behind = [
            max((count - 1) * step + size - side - margin, margin if isinstance(layer, kinds.AveragePooling) else 0)
            for side, count, size, step, margin in sides
        ]
        return kernel, pad, (behind[0], behind[1])

    def _averaged_parts(self, layer: kinds.AdaptiveAveragePooling, x: Tensor) -> str:
        """Adds the means of a map's parts: of its rows by a product from the left, of its columns from the right."""
        name = x.name
        (height, width), (rows, columns) = x.sides, pair(layer.side)
        if width != columns:
            name = self.node("MatMul", [name, self.constant(_means(width, columns).T)])
        if height != rows:
            name = self.node("MatMul", [self.constant(_means(height, rows)), name])
        return self.node("Identity", [name]) if name == x.name else name

    def _soft_argmax(self, x: Tensor) -> str:
        """Adds where maps are large: their softmax, times the places of the pixels' middles."""
        height, width = x.sides
        columns, rows = ((np.arange(side) + 0.5) / side - 0.5 for side in (width, height))
        places = np.stack([np.tile(columns, height), np.repeat(rows, width)], 1).astype(np.float32)
        maps = self.node("Reshape", [x.name, self.constant(np.array([0, 0, height * width], np.int64))])
        found = self.node("MatMul", [self.node("Softmax", [maps], axis=2), self.constant(places)])
        return self.node("Flatten", [found], axis=1)

    def _largest_of_parts(self, layer: kinds.AdaptiveMaxPooling, x: Tensor) -> str:
        """Adds the largest of a map's parts, row by row."""
        (height, width), (rows, columns) = x.sides, pair(layer.side)

        def part(name: str, axis: int, start: int, stop: int) -> str:
            ends = [self.constant(np.array([number], np.int64)) for number in (start, stop, axis)]
            return self.node("ReduceMax", [self.node("Slice", [name, *ends])], axes=[axis], keepdims=1)

        bands = [part(x.name, 2, *bounds) for bounds in parts_of(height, rows)]
        cells = [
            self.node("Concat", [part(band, 3, *bounds) for bounds in parts_of(width, columns)], axis=3)
            for band in bands
        ]
        return self.node("Concat", cells, axis=2)


def _described(values: Sequence[Tensor]) -> list[bytes]:
    return [wire.value(value.name, ("batch", *value.shape)) for value in values]


def _means(side: int, count: int) -> Array:
    """Returns the (count, side) float32 matrix of the means over a side's parts."""
    matrix = np.zeros((count, side), np.float32)
    for row, (start, stop) in enumerate(parts_of(side, count)):
        matrix[row, start:stop] = 1 / (stop - start)
    return matrix
