"""Reads torchvision's networks off a file's shapes, whatever their parts are named there.

`list(resnet.children())[:-1]` makes indices of torchvision's names (conv1 is 0, bn1 is 1, layer1 to layer4 are 4 to 7),
and the last layer is replaced by one or a few.

    backbone.0.weight (64, 3, 7, 7), backbone.1.bias (64,), backbone.4.0.conv1.weight (64, 64, 1, 1), …, fc.1.weight

is torchvision's ResNet50 with the names `conv1.weight`, `bn1.bias`, `layer1.0.conv1.weight`, …, `fc.weight`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from converters.families.torchvision import BLOCKS, resnet
from converters.networks import BatchNormalization, Convolution, Dropout, Layer, Linear, ReLU, Residual, Shape
from converters.values import dataclass

#: torchvision's names of a ResNet's children, by their number.
_CHILDREN = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}


@dataclass(frozen=True)
class Head:
    """The last layers of a regressor.

    Attributes:
        layers: The layers.
        canonical: Key in the file -> canonical name.
        places: Their places in a Sequential; empty for one layer that stands in none.
        inputs: Numbers that the first one takes.
    """

    layers: tuple[Layer, ...]
    canonical: Mapping[str, str]
    places: tuple[int, ...]
    inputs: int

    @property
    def linear(self) -> bool:
        """Whether it is a single layer."""
        return len(self.layers) == 1


@dataclass(frozen=True)
class Body:
    """A ResNet up to its pooling.

    Attributes:
        layers: The layers, with the channels of the file.
        canonical: Key in the file -> canonical name.
        channels: Channels of its last map.
        name: Its name, as torchvision names such networks.
        standard: Whether its layers are those of a table, but for their channels.
        rest: Shapes of the keys that are not of it.
    """

    layers: tuple[Layer, ...]
    canonical: Mapping[str, str]
    channels: int
    name: str
    standard: bool
    rest: Mapping[str, Shape]


def resnet_in(shapes: Mapping[str, Shape]) -> Body | None:
    """Finds a ResNet or ResNeXt, under torchvision's names or its children's numbers, by its shapes."""
    stems = [
        found
        for key, shape in shapes.items()
        if shape[1:] == (3, 7, 7) and (found := re.fullmatch(r"((?:.*\.)?)(conv1|0)\.weight", key))
    ]
    if len(stems) != 1:
        return None
    prefix, numbered = stems[0][1], stems[0][2] == "0"
    canonical = {}
    for key in shapes:
        first, _, part = key.removeprefix(prefix).partition(".")
        name = _CHILDREN.get(first) if numbered else first
        if key.startswith(prefix) and name in _CHILDREN.values():
            canonical[key] = f"{name}.{part}"
    by_name = {name: shapes[key] for key, name in canonical.items()}
    blocks = {tuple(map(int, place)) for name in by_name for place in re.findall(r"^layer(\d)\.(\d{1,3})\.", name)}
    counts = tuple(sum(stage == number for stage, _ in blocks) for number in (1, 2, 3, 4))
    if blocks != {(stage, i) for stage, count in enumerate(counts, start=1) for i in range(count)} or not all(counts):
        return None
    bottleneck = "layer1.0.conv3.weight" in by_name
    projections = {name.removesuffix(".downsample.0.weight") for name in by_name if ".downsample.0." in name}
    sized = with_shapes(resnet(counts, bottleneck, projections), by_name)
    if sized is None:
        return None
    layers, channels, groups = sized
    depth = 2 + sum(counts) * (3 if bottleneck else 2)
    width = by_name["layer1.0.conv1.weight"][0] // groups
    kind = f"resnet{depth}" if groups == 1 else f"resnext{depth}_{groups}x{width}d"
    table = BLOCKS.get(f"{kind}-torchvision")
    standard = table is not None and with_shapes(resnet(*table), by_name) == sized
    rest = {key: shape for key, shape in shapes.items() if key not in canonical}
    return Body(layers, canonical, channels, kind, standard, rest)


def with_shapes(layers: Iterable[Layer], shapes: Mapping[str, Shape]) -> tuple[tuple[Layer, ...], int, int] | None:
    """Gives convolutions the channels and groups of a file's shapes.

    Returns:
        The layers, the channels of the last map and the most groups of a convolution; None where a weight is missing or
        is none of a convolution.
    """
    most = 1

    def sized(layers: Iterable[Layer], channels: int) -> tuple[tuple[Layer, ...], int]:
        nonlocal most
        result: list[Layer] = []
        for layer in layers:
            if isinstance(layer, Convolution):
                out, each, _, _ = shapes[f"{layer.name}.weight"]
                groups = channels // each
                layer, channels = replace(layer, channels=out, groups=groups), out
                most = max(most, groups)
            elif isinstance(layer, Residual):
                branch, out = sized(layer.branch, channels)
                shortcut, _ = sized(layer.shortcut, channels)
                layer, channels = Residual(branch, shortcut), out
            result.append(layer)
        return tuple(result), channels

    try:
        return *sized(layers, 3), most
    except (KeyError, ValueError, ZeroDivisionError):
        return None


def head_in(shapes: Mapping[str, Shape], name: str) -> Head | None:
    """Finds the last layers of a regressor in what is left of its keys.

    Between two layers of a Sequential that are not neighbours there is an activation, and maybe dropout, which have no
    arrays: ReLU is taken, as torchvision has it. Before the first there may be dropout.

    Args:
        shapes: Shapes by key.
        name: What it is called among canonical names.
    """
    modules: dict[str, dict[str, Shape]] = {}
    for key, shape in shapes.items():
        module, _, part = key.rpartition(".")
        modules.setdefault(module, {})[part] = shape
    parents = {module.rpartition(".")[0] for module in modules}
    numbers = [module.rpartition(".")[2] for module in modules]
    in_sequence = len(parents) == 1 and all(re.fullmatch(r"\d{1,2}", number) for number in numbers)
    if not in_sequence and len(modules) != 1:
        return None
    places = tuple(sorted(map(int, numbers))) if in_sequence else ()
    ordered = sorted(modules, key=lambda module: int(module.rpartition(".")[2])) if in_sequence else list(modules)
    layers: list[Layer] = []
    canonical = {}
    before, inputs = -1, 0
    for place, module in zip(places or (0,), ordered, strict=True):
        gap = place - before - 1
        if gap > 2:
            return None
        if layers and gap:
            layers += [ReLU(), *([Dropout(0.5)] if gap > 1 else [])]
        own, parts = name if len(modules) == 1 else f"{name}.{place}", modules[module]
        weight = parts.get("weight", ())
        if len(weight) == 2:
            layers.append(Linear(own, weight[0], bias="bias" in parts))
            inputs = inputs or weight[1]
        elif "running_var" in parts:
            layers.append(BatchNormalization(own))
        else:
            return None
        canonical.update({f"{module}.{part}" if module else part: f"{own}.{part}" for part in parts})
        before = place
    return Head(tuple(layers), canonical, places, inputs) if isinstance(layers[-1], Linear) else None
