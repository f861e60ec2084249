"""The configuration that Keras's whole models hold as JSON (`model_config`), and what it says otherwise than a table.

It is data, of which nothing is run. It registers nothing: the families of Keras's networks ask it.

A layer with weights is known by its name, whatever is without weights by what it does to what: so two networks are the
same where each layer with weights is, and is given the same.

    conv2d_3 of ReLU of batch_normalization_2
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from converters.networks import BatchNormalization, Convolution, Dropout, Heatmaps, Layer, MaxPooling, ReLU, Upsample
from converters.networks.flow import Flow
from converters.networks.layers import Join, Pair, SamePadding
from converters.values import dataclass

#: Under which a file's values have it, and what its layers are called here.
CONFIGURATION, CALLED = "model_config", "layer_names"
#: What does nothing when a network answers.
_NOTHING = {"Dropout", "SpatialDropout2D", "GaussianDropout", "GaussianNoise", "ActivityRegularization"}
#: What adds, and what is a ReLU: layers, and operators as TensorFlow from 2.4 on and before it has them.
_SUMS, _RELUS = {"Add", "AddV2", "__operators__.add", "math.add"}, {"Relu", "nn.relu"}
_INPUT = "the input"
#: Longer ones are told apart by their hash.
_LONGEST = 120


def contradictions(values: Mapping[str, object], layers: tuple[Layer, ...]) -> list[str]:
    """Returns what a file's configuration says otherwise than a network's table, a phrase each.

    Args:
        values: The plain values of the file; without a configuration nothing contradicts.
        layers: The table.
    """
    config, called = values.get(CONFIGURATION), values.get(CALLED)
    if not isinstance(config, Mapping) or not isinstance(called, Mapping):
        return []
    ours = _Table(layers).said
    try:
        theirs = _Configured(config["config"], called)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError):
        return ["it cannot be followed"]
    return list(_differences(ours, theirs))


def _differences(ours: _Said, theirs: _Said) -> Iterator[str]:
    from converters.networks.source.differences import changed  # with it comes what reads sources: few files need that

    for name, (layer, _) in ours.weighted.items():
        other, _ = theirs.weighted.get(name, (None, ""))
        if type(other) is type(layer):
            yield from changed(layer, other)
        else:
            yield f"no {name}"
    missing, more = ours.done - theirs.done, theirs.done - ours.done
    if missing or more:
        yield (
            f"{_listed(more)} instead of {_listed(missing)}"
            if missing and more
            else (f"no {_listed(missing)}" if missing else f"{_listed(more)} besides")
        )
        return
    for name, (_, given) in ours.weighted.items():
        _, other_given = theirs.weighted.get(name, (None, given))
        if given != other_given:  # and so it is of all that follow
            yield f"{name} of {other_given} instead of {given}"
            return
    if ours.answer != theirs.answer:
        yield f"{theirs.answer} as the answer instead of {ours.answer}"


def _listed(done: Counter[str]) -> str:
    return ", ".join(f"{count} x {what}" if count > 1 else what for what, count in sorted(done.items()))


class _Said:
    """What a network does, in words.

    Attributes:
        weighted: The layers with weights by name, each with what it is given.
        done: How often each thing is done that takes no weights.
        answer: What comes of it.
    """

    answer: str

    def __init__(self) -> None:
        self.weighted: dict[str, tuple[Layer, str]] = {}
        self.done: Counter[str] = Counter()

    def applied(self, layer: Layer | str, x: str) -> str:
        """Returns what a layer makes of a value; of one that no table has its name is told."""
        match layer:
            case Convolution():
                self.weighted[layer.name] = replace(layer, scale=1.0), x
                return layer.name
            case BatchNormalization():
                self.weighted[layer.name] = replace(layer, decay=0.9), x
                return layer.name
            case Dropout() | Heatmaps():
                return x
            case str():
                kind = layer
            case _:
                told = ((one.name, getattr(layer, one.name)) for one in fields(layer))
                kind = " ".join([type(layer).__name__, *(f"{name} {value}" for name, value in told if value)])
        self.done[kind] += 1
        return _short(f"{kind} of {x}")


class _Table(Flow[str]):
    """The same of a table."""

    def __init__(self, layers: tuple[Layer, ...]) -> None:
        self.said = _Said()
        self.said.answer = self._run(layers, _INPUT, {})

    def _layer(self, layer: Layer, x: str) -> str:
        return self.said.applied(layer, x)

    def _joined(self, values: list[str], join: Join) -> str:
        return _joined(values, join)


@dataclass(frozen=True)
class _Called:
    """A layer as a configuration has it: its kind, its settings and the names of what it is given."""

    kind: str
    settings: Mapping[str, Any]
    given: Sequence[str]


class _Configured(_Said):
    """The same of a configuration.

    Args:
        config: Of a functional model.
        called: Its layers' names here, of those that have weights.
    """

    def __init__(self, config: Mapping[str, Any], called: Mapping[str, str]) -> None:
        super().__init__()
        values: dict[str, str] = {}
        for entry in config["layers"]:
            name = entry["name"]
            layer = _Called(_kind_of(entry), entry["config"], list(_names_in(entry.get("inbound_nodes", ()))))
            values[name] = self._made(called.get(name, name), layer, [values[other] for other in layer.given])
        self.answer = _joined([values[name] for name in _names_in(_several(config["output_layers"]))], "concat")

    def _made(self, name: str, layer: _Called, given: Sequence[str]) -> str:
        if layer.kind == "InputLayer" and not given:
            return _INPUT
        if layer.kind in _SUMS and len(given) > 1:
            return _joined(given, "sum")
        if layer.settings.get("data_format", "channels_last") != "channels_last" or len(given) != 1:
            return self.applied(layer.kind, ", ".join(given))
        value = given[0]
        if layer.kind in _RELUS:
            return self.applied(ReLU(), value)
        for one in () if layer.kind in _NOTHING else _layers_of(name, layer.kind, layer.settings):
            value = self.applied(one, value)
        return value


def _kind_of(entry: Mapping[str, Any]) -> str:
    """Returns a layer's kind; of an operator or a function of TensorFlow's, that one."""
    kind, config = entry["class_name"], entry["config"]
    if kind == "TensorFlowOpLayer":
        node = config["node_def"]
        return str((json.loads(node) if isinstance(node, str) else node)["op"])
    return str(config["function"] if kind == "TFOpLambda" else kind)


def _several(outputs: Any) -> Any:
    """Returns the outputs as a list of them; later versions of Keras write a single one by itself."""
    return [outputs] if outputs and isinstance(outputs[0], str) else outputs


def _names_in(nodes: Any) -> Iterator[str]:
    """Yields the names of layers in what a configuration calls nodes, as each version writes them."""
    if isinstance(nodes, Mapping):
        history = nodes.get("keras_history")
        for inner in [history] if history is not None else nodes.values():
            yield from _names_in(inner)
    elif isinstance(nodes, list):
        if len(nodes) >= 3 and isinstance(nodes[0], str) and isinstance(nodes[1], int):
            yield nodes[0]
            yield from _names_in(nodes[3:])
        else:
            for inner in nodes:
                yield from _names_in(inner)


def _layers_of(name: str, kind: str, told: Mapping[str, Any]) -> Iterator[Layer | str]:
    """Yields the layers that one of Keras's is; a name alone for what no table has."""
    match kind:
        case "Conv2D":
            kernel, stride, dilation = (_size(told[key]) for key in ("kernel_size", "strides", "dilation_rate"))
            pad: Pair = 0
            if told["padding"] == "same" and stride == 1 and isinstance(kernel, int) and kernel % 2:
                pad = kernel // 2 * (dilation if isinstance(dilation, int) else 1)
            elif told["padding"] == "same" and isinstance(kernel, int) and isinstance(stride, int):
                yield SamePadding(kernel, stride)
            elif told["padding"] != "valid":
                yield str(told["padding"])
            bias, groups = bool(told["use_bias"]), int(told.get("groups", 1))
            yield Convolution(
                name, int(told["filters"]), kernel, stride, pad, bias=bias, groups=groups, dilation=dilation
            )
            yield from _activation(told["activation"])
        case "BatchNormalization":
            yield BatchNormalization(name, float(f"{told['epsilon']:.6g}"), bool(told["scale"]), bool(told["center"]))
        case "Activation":
            yield from _activation(told["activation"])
        case "ReLU":
            changes = {key: told[key] for key in ("max_value", "negative_slope", "threshold") if told.get(key)}
            yield f"ReLU with {', '.join(f'{key} {value}' for key, value in changes.items())}" if changes else ReLU()
        case "MaxPooling2D":
            kernel, stride = _size(told["pool_size"]), _size(told["strides"] or told["pool_size"])
            if told["padding"] != "valid" and kernel != stride:
                yield str(told["padding"])
            yield MaxPooling(kernel, stride, cover_all=False)
        case "UpSampling2D":
            if told.get("interpolation", "nearest") != "nearest":
                yield str(told["interpolation"])
            yield Upsample(_size(told["size"]))
        case _:
            yield kind


def _activation(told: object) -> Iterator[Layer | str]:
    if told != "linear":
        yield ReLU() if told == "relu" else str(told)[:_LONGEST]


def _size(told: Any) -> Pair:
    sides = [int(side) for side in told] if isinstance(told, list) else [int(told)] * 2
    height, width = sides
    return height if height == width else (height, width)


def _joined(values: Iterable[str], join: Join) -> str:
    each = list(values)
    if len(each) == 1:
        return each[0]
    return _short(f"({' + '.join(sorted(each))})" if join == "sum" else f"{join} of ({', '.join(each)})")


def _short(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    return f"{text[: _LONGEST // 2]}… ({hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:8]})"
