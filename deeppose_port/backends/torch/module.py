"""A checkpoint's network as a module of plain PyTorch: a readable net.py, and weights that it loads.

The layers are those of the table, one after the other in `nn.Sequential`; blocks that are alike are written once, as a
function of the numbers in which they differ.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from converters.checkpoint import Checkpoint
from converters.errors import CheckpointError
from converters.formats.pt import save_whole
from converters.networks import Layer, pair, pooled_side
from converters.networks import layers as kinds
from converters.networks.flow import Value, after, joined
from converters.networks.formula import Formula
from converters.networks.layers import same_margin
from converters.values import dataclass
from deeppose_port.backends.torch.spelled import SpelledArrays
from deeppose_port.data.arrays import Float32Array

#: The files of the folder.
NET, WEIGHTS = "net.py", "weights.pt"
_WIDTH = 118
_ANSWER = """
import io, sys
sys.path.insert(0, sys.argv[1])
import numpy, torch, net
inputs = numpy.load(io.BytesIO(sys.stdin.buffer.read()))
answers = io.BytesIO()
with torch.inference_mode():
    numpy.save(answers, net.load()(torch.from_numpy(inputs)).numpy())
sys.stdout.buffer.write(answers.getbuffer())
"""

#: Helpers of net.py, of which those are written that its network needs.
_HELPERS = {
    "Branches": '''
class Branches(nn.ModuleList):
    """Several branches of one value, joined."""

    def __init__(self, join, *branches):
        super().__init__(branches)
        self.join = join

    def forward(self, x):
        values = [branch(x) for branch in self]
        if self.join == "concat":
            return torch.cat(values, 1)
        result = values[0]
        for value in values[1:]:
            result = result + value if self.join == "sum" else result * value
        return result
''',
    "Steps": '''
class Steps(nn.Sequential):
    """Layers one after the other, of which Name gives a value a name, and Take goes on with named ones."""

    def forward(self, x):
        named = {}
        for step in self:
            x = step(x, named) if isinstance(step, (Name, Take)) else step(x)
        return x


class Name(nn.Module):
    def __init__(self, name):
        super().__init__()
        self.name = name

    def forward(self, x, named):
        named[self.name] = x
        return x


class Take(nn.Module):
    def __init__(self, join, *names):
        super().__init__()
        self.join, self.names = join, names

    def forward(self, x, named):
        values = [named[name] for name in self.names]
        if self.join == "concat":
            return torch.cat(values, 1)
        result = values[0]
        for value in values[1:]:
            result = result + value if self.join == "sum" else result * value
        return result
''',
    "SoftArgmax": '''
class SoftArgmax(nn.Module):
    """The mean of a map's pixels, from -0.5 to 0.5, weighted by the softmax of its numbers: x0, y0, x1, y1, ..."""

    def forward(self, maps):
        height, width = maps.shape[2:]
        weights = maps.flatten(2).softmax(2).reshape(maps.shape)
        columns = (torch.arange(width, device=maps.device) + 0.5) / width - 0.5
        rows = (torch.arange(height, device=maps.device) + 0.5) / height - 0.5
        x, y = (weights.sum(2) * columns).sum(2), (weights.sum(3) * rows).sum(2)
        return torch.stack([x, y], 2).flatten(1)
''',
    "normalised": '''
def normalised(x, axes, eps):
    """Returns the last axes together with a mean of 0 and a variance of 1."""
    return nn.functional.layer_norm(x, x.shape[-axes:], eps=eps)
''',
    "Apply": '''
class Apply(nn.Module):
    """A function as a layer, with its weights behind the value."""

    def __init__(self, function, **weights):
        super().__init__()
        self.function = function
        for name, shape in weights.items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape)))

    def forward(self, x):
        return self.function(x, *self.parameters())
''',
}


@dataclass
class _Part:
    """A piece of net.py: an expression that makes a module, and the tensors of that module's state dict.

    Attributes:
        code: The expression.
        state: Name within the module -> tensor.
    """

    code: str
    state: dict[str, Tensor] = field(default_factory=dict)


def write_module(checkpoint: Checkpoint, folder: Path) -> Callable[[Float32Array], Float32Array]:
    """Writes a checkpoint's network as `net.py` and `weights.pt` into a folder.

    Args:
        checkpoint: A checkpoint.
        folder: A folder without them.

    Returns:
        What net.py's network answers, in a process that this project is not loaded in.

    Raises:
        CheckpointError: The network has a layer that plain PyTorch has not.
    """
    writer = _Writer(checkpoint)
    text, state = writer.text(), writer.state
    (folder / NET).write_text(text, encoding="utf-8")
    save_whole(lambda writing: torch.save(state, writing), folder / WEIGHTS)

    def answer(inputs: Float32Array) -> Float32Array:
        told = io.BytesIO()
        np.save(told, inputs)
        command = [sys.executable, "-I", "-B", "-c", _ANSWER, str(folder.resolve())]
        run = subprocess.run(command, input=told.getbuffer(), capture_output=True, check=False)
        if run.returncode:
            reason = (run.stderr.decode(errors="replace").strip().splitlines() or ["it ended"])[-1]
            raise CheckpointError(checkpoint.source.path, f"the module that was written does not run: {reason}")
        outputs: Float32Array = np.load(io.BytesIO(run.stdout))
        return outputs

    return answer


class _Writer:
    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.needed: set[str] = set()
        height, width = checkpoint.preprocessing.shape
        value: Value = (3, height, width)
        self.parts, value = self._parts(checkpoint.architecture.layers, value)
        if len(value) > 1:
            self.parts.append(_Part("nn.Flatten()"))
        self.has_names = any(isinstance(layer, kinds.Name) for layer in checkpoint.architecture.layers)
        self.state = {f"layers.{i}.{name}": t for i, part in enumerate(self.parts) for name, t in part.state.items()}

    # --- the layers --------------------------------------------------------------------------------------------------

    def _parts(self, layers: tuple[Layer, ...], value: Value) -> tuple[list[_Part], Value]:
        parts: list[_Part] = []
        named: dict[str, Value] = {}
        for layer in layers:
            match layer:
                case kinds.Residual() | kinds.Parallel():
                    part, value = self._block(layer, value)
                    parts.append(part)
                    continue
                case kinds.Name():
                    self.needed.add("Steps")
                    named[layer.value] = value
                    parts.append(_Part(f"Name({layer.value!r})"))
                    continue
                case kinds.Take():
                    names = ", ".join(map(repr, layer.values))
                    parts.append(_Part(f'Take("{layer.join}", {names})'))
                    value = joined([named[name] for name in layer.values], layer.join)
                    continue
                case kinds.Linear() if len(value) > 1:
                    parts.append(_Part("nn.Flatten()"))
            parts += self._layer(layer, value)
            value = after(layer, value)
        return parts, value

    def _block(self, block: kinds.Residual | kinds.Parallel, value: Value) -> tuple[_Part, Value]:
        self.needed.add("Branches")
        codes, state, ends = [], {}, []
        for i, branch in enumerate(block.branches):
            parts, end = self._parts(branch, value)
            kind = "Steps" if any(isinstance(layer, kinds.Name) for layer in branch) else "nn.Sequential"
            codes.append(f"{kind}({', '.join(part.code for part in parts)})" if parts else "nn.Identity()")
            state.update({f"{i}.{j}.{name}": t for j, part in enumerate(parts) for name, t in part.state.items()})
            ends.append(end)
        return _Part(f'Branches("{block.join}", {", ".join(codes)})', state), joined(ends, block.join)

    def _tensors(self, name: str, *parts: str) -> dict[str, Tensor]:
        weights = self.checkpoint.weights
        found = {part: weights[f"{name}.{part}"] for part in parts if f"{name}.{part}" in weights}
        return {part: torch.tensor(array).float() for part, array in found.items()}

    def _layer(self, layer: Layer, value: Value) -> list[_Part]:
        """Returns the modules of a layer outside of blocks."""
        channels = value[0] or 0
        match layer:
            case Formula():
                return [self._formula(layer, value)]
            case kinds.Convolution():
                said = _said(stride=(layer.stride, 1), padding=(layer.pad, 0), dilation=(layer.dilation, 1))
                said += _said(groups=(layer.groups, 1), bias=(layer.bias, True))
                code = f"nn.Conv2d({channels}, {layer.channels}, {layer.kernel}{said})"
                return [_Part(code, self._tensors(layer.name, "weight", "bias"))]
            case kinds.DepthwiseConvolution():
                said = _said(stride=(layer.stride, 1), padding=(layer.pad, 0))
                state = self._tensors(layer.name, "weight", "bias")
                state["weight"] = state["weight"].transpose(0, 1).reshape(-1, 1, *pair(layer.kernel)).contiguous()
                outputs = channels * layer.multiplier
                groups = f", groups={channels}{_said(bias=(layer.bias, True))}"
                return [_Part(f"nn.Conv2d({channels}, {outputs}, {layer.kernel}{said}{groups})", state)]
            case kinds.TransposedConvolution():
                said = _said(stride=(layer.stride, 1), padding=(layer.pad, 0), output_padding=(layer.output_pad, 0))
                said += _said(groups=(layer.groups, 1), bias=(layer.bias, True), dilation=(layer.dilation, 1))
                code = f"nn.ConvTranspose2d({channels}, {layer.channels}, {layer.kernel}{said})"
                return [_Part(code, self._tensors(layer.name, "weight", "bias"))]
            case kinds.Linear():
                inputs = 1
                for side in value:
                    inputs *= side or 0
                code = f"nn.Linear({inputs}, {layer.channels}{_said(bias=(layer.bias, True))})"
                return [_Part(code, self._tensors(layer.name, "weight", "bias"))]
            case kinds.BatchNormalization():
                return [self._normalisation(layer, value)]
            case kinds.PReLU() if len(layer.shape) <= 1:
                state = self._tensors(layer.name, "weight")
                state["weight"] = state["weight"].reshape(-1)
                return [_Part(f"nn.PReLU({len(state['weight'])})", state)]
            case kinds.Scale() if len(layer.shape) == 1 and len(value) == 3:
                state = {"weight": self._tensors(layer.name, "weight")["weight"].reshape(-1, 1, 1, 1)}
                if layer.bias:
                    state["bias"] = self._tensors(f"{layer.name}.bias", "bias")["bias"]
                said = _said(bias=(layer.bias, True))
                return [_Part(f"nn.Conv2d({channels}, {channels}, 1, groups={channels}{said})", state)]
            case kinds.MaxPooling() | kinds.AveragePooling():
                return [_Part(code) for code in _pooling(layer, value)]
            case kinds.SamePadding():
                margins = [same_margin(side or 0, layer.kernel, layer.stride) for side in reversed(value[1:])]
                return [_Part(f"nn.ZeroPad2d({tuple(one for margin in margins for one in margin)})")]
            case kinds.LocalResponseNormalization():
                alpha = float(f"{layer.alpha * layer.n:.12g}")
                return [_Part(f"nn.LocalResponseNorm({layer.n}, {alpha!r}, {layer.beta!r}, {layer.k!r})")]
        return [_Part(self._plain(layer))]

    def _formula(self, layer: Formula, value: Value) -> _Part:
        """Returns PyTorch's own module of a layer with a formula, or the formula in words of PyTorch."""
        learned = layer.tensors(value)
        last = {name: name.rpartition(".")[2] for name in learned}
        state = {last[name]: torch.tensor(self.checkpoint.weights[name]).float() for name in learned}
        code = layer.module(value)
        if code is None:
            self.needed.add("Apply")
            arrays = SpelledArrays()
            placed = {name: f"{last[name]}.reshape({learned[name].placed})" for name in learned}
            spelled = layer.formula(arrays, "x", value, placed)
            self.needed |= arrays.needed
            shapes = "".join(f", {last[name]}={learned[name].shape}" for name in learned)
            code = f"Apply(lambda {', '.join(('x', *last.values()))}: {spelled}{shapes})"
        return _Part(code, state)

    def _plain(self, layer: Layer) -> str:
        """Returns the module of a layer without weights."""
        match layer:
            case kinds.ReLU():
                return "nn.ReLU()"
            case kinds.LeakyReLU():
                return f"nn.LeakyReLU({layer.slope!r})"
            case kinds.ClippedReLU():
                return f"nn.Hardtanh(0.0, {layer.maximum!r})"
            case kinds.ELU():
                return f"nn.ELU({layer.alpha!r})" if layer.alpha != 1 else "nn.ELU()"
            case kinds.SELU() | kinds.Sigmoid() | kinds.Tanh():
                return f"nn.{type(layer).__name__}()"
            case kinds.Softplus():
                return f"nn.Softplus({layer.beta!r})"
            case kinds.AdaptiveAveragePooling():
                return f"nn.AdaptiveAvgPool2d({layer.side})"
            case kinds.AdaptiveMaxPooling():
                return f"nn.AdaptiveMaxPool2d({layer.side})"
            case kinds.GlobalAveragePooling():
                return "nn.AdaptiveAvgPool2d(1)"
            case kinds.GlobalMaxPooling():
                return "nn.AdaptiveMaxPool2d(1)"
            case kinds.Upsample():
                return f"nn.Upsample(scale_factor={layer.factor})"
            case kinds.Padding():
                return f"nn.ZeroPad2d(({layer.left}, {layer.right}, {layer.top}, {layer.bottom}))"
            case kinds.Dropout():
                return f"nn.Dropout{'2d' if layer.channels else ''}({layer.ratio!r})"
            case kinds.Flatten():
                return "nn.Flatten()"
            case kinds.SoftArgmax():
                self.needed.add("SoftArgmax")
                return "SoftArgmax()"
        self.needed.add("Apply")
        match layer:
            case kinds.Affine():
                return f"Apply(lambda x: x * {layer.factor!r} + {layer.offset!r})"
            case kinds.Reshape():
                return f"Apply(lambda x: x.reshape(len(x), *{layer.shape}))"
            case kinds.Transpose():
                return f"Apply(lambda x: x.permute({(0, *(axis + 1 for axis in layer.axes))}))"
            case kinds.Slice():
                return f"Apply(lambda x: x[:, {layer.start}:{layer.stop}])"
        problem = f"plain PyTorch has no such {type(layer).__name__} as its network"
        raise CheckpointError(self.checkpoint.source.path, problem, "choose pt, which this project builds")

    def _normalisation(self, layer: kinds.BatchNormalization, value: Value) -> _Part:
        """Returns a BatchNorm with the arithmetic of test time; where a factor or offset is missing it is 1 or 0."""
        channels = value[0] or 0
        if layer.batch:
            problem = f"{layer.name} normalises by the batch's own statistics, which plain PyTorch's does not"
            raise CheckpointError(self.checkpoint.source.path, problem, "choose pt, which this project builds")
        rules = self.checkpoint.architecture.batch_normalization.of(layer)
        said = _said(eps=(rules.test_eps, 1e-5), momentum=(round(1 - layer.decay, 12), 0.1))
        state = {"weight": torch.ones(channels), "bias": torch.zeros(channels)}
        state.update(self._tensors(layer.name, "weight", "bias", "running_mean", "running_var"))
        state["num_batches_tracked"] = torch.tensor(0)
        return _Part(f"nn.BatchNorm{1 if len(value) == 1 else 2}d({channels}{said})", state)

    # --- the text ----------------------------------------------------------------------------------------------------

    def text(self) -> str:
        """Returns net.py."""
        checkpoint = self.checkpoint
        functions, lines = _folded([part.code for part in self.parts])
        container = "Steps" if self.has_names else "nn.Sequential"
        height, width = checkpoint.preprocessing.shape
        shown = ", ".join(f"{name} {value}" for name, value in checkpoint.preprocessing.as_dict().items() if value)
        told = textwrap.fill(_harmless(f"Its inputs were made with {shown}."), _WIDTH)
        helpers = "".join(f"\n{text}" for name, text in _HELPERS.items() if name in self.needed)
        body = "\n".join(f"            {line}" for line in _wrapped(lines))
        name, sha256 = _harmless(checkpoint.architecture.name), _harmless(checkpoint.source.sha256)
        return f'''"""{name}: {checkpoint.joints} joints of a person, in plain PyTorch.

Net takes (N, 3, {height}, {width}) float32 and gives (N, {2 * checkpoint.joints}). `load()` gives it its weights.
{told}
Written by deeppose-port from a file with the sha256 {sha256}.
"""

from pathlib import Path

import torch
from torch import nn
{helpers}{functions}

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = {container}(
{body}
        )

    def forward(self, x):
        return self.layers(x)


def load(weights=Path(__file__).with_name("{WEIGHTS}")):
    net = Net()
    net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return net.eval()
'''


def _harmless(text: str) -> str:
    """Returns a text that says nothing but words within a docstring, wherever it comes from."""
    return re.sub(r"[^\w .,:()\[\]+-]", "", text)


def _said(**values: tuple[object, object]) -> str:
    """Returns keyword arguments that are not PyTorch's defaults."""
    return "".join(f", {name}={value!r}" for name, (value, default) in values.items() if value != default)


def _pooling(layer: kinds.MaxPooling | kinds.AveragePooling, value: Value) -> Iterator[str]:
    kernel, stride, pad = layer.kernel, layer.stride, layer.pad
    if isinstance(layer, kinds.AveragePooling):
        said = _said(padding=(pad, 0), ceil_mode=(layer.ceil_mode, False), count_include_pad=(layer.count_pad, True))
        yield f"nn.AvgPool2d({kernel}, {stride}{said})"
        return
    ceil_mode, margins = layer.ceil_mode or layer.cover_all, []
    for side, size, step, margin in zip(value[1:], *map(pair, (kernel, stride, pad)), strict=True):
        covered = pooled_side(side or 0, size, step, margin, cover_all=True, ceil_mode=False)
        if layer.cover_all and covered != pooled_side(side or 0, size, step, margin, cover_all=False, ceil_mode=True):
            ceil_mode = False
        margins.append((margin, (covered - 1) * step + size - (side or 0) - margin))
    if layer.cover_all and not ceil_mode:
        # A window of margin alone, which Chainer has and PyTorch has not.
        (top, bottom), (left, right) = margins
        yield f'nn.ConstantPad2d(({left}, {right}, {top}, {bottom}), float("-inf"))'
        pad = 0
    yield f"nn.MaxPool2d({kernel}, {stride}{_said(padding=(pad, 0), ceil_mode=(ceil_mode, False))})"


def _folded(codes: list[str]) -> tuple[str, list[str]]:
    """Writes blocks that are alike but for numbers once, as functions; returns these and what is left."""
    forms: dict[str, list[tuple[str, ...]]] = {}
    for code in codes:
        if code.startswith("Branches("):
            forms.setdefault(re.sub(r"\b\d+\b(?!\.)", "#", code), []).append(tuple(re.findall(r"\b\d+\b(?!\.)", code)))
    functions, names = "", dict[str, tuple[str, list[int]]]()
    for form, rows in forms.items():
        if len(rows) < 2:
            continue
        columns = list(zip(*rows, strict=True))
        varying = {column: None for column in columns if len(set(column)) > 1}
        arguments = {column: f"n{i}" for i, column in enumerate(varying, start=1)}
        parts = form.split("#")
        body = parts[0] + "".join(
            arguments.get(column, column[0]) + part for column, part in zip(columns, parts[1:], strict=True)
        )
        name = f"block{len(names) + 1}"
        names[form] = (name, [columns.index(column) for column in varying])
        lines = "\n".join(f"        {line}" for line in _wrapped(_split(body[len("Branches(") : -1])))
        functions += f"\n\ndef {name}({', '.join(arguments.values())}):\n    return Branches(\n{lines}\n    )\n"
    left = []
    for code in codes:
        form = re.sub(r"\b\d+\b(?!\.)", "#", code)
        if form in names and code.startswith("Branches("):
            name, varied = names[form]
            numbers = re.findall(r"\b\d+\b(?!\.)", code)
            code = f"{name}({', '.join(numbers[i] for i in varied)})"
        left.append(code)
    return functions, _repeated(left)


def _repeated(codes: list[str]) -> list[str]:
    """Writes two layers that follow each other again and again as a loop."""
    lines, i = [], 0
    while i < len(codes):
        times = 1
        while codes[i : i + 2] == codes[i + 2 * times : i + 2 * times + 2] and i + 2 * times + 2 <= len(codes):
            times += 1
        if times > 2:
            lines.append(f"*(layer for _ in range({times}) for layer in ({', '.join(codes[i : i + 2])}))")
            i += 2 * times
        else:
            lines.append(codes[i])
            i += 1
    return lines


def _split(code: str) -> list[str]:
    """Splits arguments at the commas outside of brackets."""
    parts, depth, start = [], 0, 0
    for i, character in enumerate(code):
        depth += (character in "([") - (character in ")]")
        if character == "," and not depth:
            parts.append(code[start:i].strip())
            start = i + 1
    return [*parts, code[start:].strip()]


def _wrapped(parts: list[str]) -> list[str]:
    """Puts parts into lines: a layer with weights begins one, and what follows it stands beside it."""
    lines: list[str] = []
    for part in parts:
        begins = part.startswith(("nn.Conv", "nn.Linear", "Branches", '"'))
        begins |= part.startswith("block") != bool(lines and lines[-1].startswith("block"))
        if lines and not begins and len(lines[-1]) + len(part) < _WIDTH - 14:
            lines[-1] += f" {part},"
        else:
            lines += _broken(f"{part},")
    return lines


def _broken(line: str) -> list[str]:
    """Breaks a line that is too long at the commas within its brackets."""
    if len(line) <= _WIDTH - 14 or "(" not in line:
        return [line]
    start, end = line.index("(") + 1, line.rindex(")")
    inner = [f"    {piece}" for piece in _wrapped(_split(line[start:end]))]
    return [line[:start], *inner, line[end:]]
