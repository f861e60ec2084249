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
        guessed: Whether something without arrays is between them, of which the file does not tell what.
    """

    layers: tuple[Layer, ...]
    canonical: Mapping[str, str]
    places: tuple[int, ...]
    inputs: int
    guessed: bool

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

    They are one layer, a Sequential, Sequentials in one, or two of them, of which one takes what the other gives.
    Between two layers that are not neighbours there is an activation, and maybe dropout, which have no arrays: ReLU is
    taken, as torchvision has it, once between two fully connected layers. Before the first there may be dropout.

    Args:
        shapes: Shapes by key.
        name: What it is called among canonical names.
    """
    modules: dict[str, dict[str, Shape]] = {}
    for key, shape in shapes.items():
        module, _, part = key.rpartition(".")
        modules.setdefault(module, {})[part] = shape
    ordered = _in_order(modules)
    layers: list[Layer] = []
    canonical = {}
    before: _Place | None = None
    inputs, active, guessed = 0, False, False
    for place in ordered:
        gap = 0 if before is None else _gap(before, place)
        if gap > 2:
            return None
        if gap:
            layers += [ReLU()] if not active else []
            layers += [Dropout(0.5)] if active or gap > 1 else []
            active, guessed = True, True
        own = name if len(modules) == 1 else ".".join([name, *map(str, place.numbers)])
        parts = modules[place.module]
        weight = parts.get("weight", ())
        if len(weight) == 2:
            layers.append(Linear(own, weight[0], bias="bias" in parts))
            inputs, active = inputs or weight[1], False
        elif "running_var" in parts:
            layers.append(BatchNormalization(own))
            active = active or not inputs  # before the first layer there is nothing to activate
        else:
            return None
        canonical.update({f"{place.module}.{part}" if place.module else part: f"{own}.{part}" for part in parts})
        before = place
    if not layers or not isinstance(layers[-1], Linear):
        return None
    places = tuple(place.numbers[0] for place in ordered if len(place.numbers) == 1)
    return Head(tuple(layers), canonical, places, inputs, guessed)


@dataclass(frozen=True)
class _Place:
    """Where a layer of a head stands.

    Attributes:
        module: Its name in the file.
        numbers: Its place in a Sequential, from the outermost of nested ones inward.
    """

    module: str
    numbers: tuple[int, ...]


def _gap(before: _Place, after: _Place) -> int:
    """Returns how many modules are between two; where they stand in different Sequentials one, as nothing tells."""
    if before.numbers[:-1] != after.numbers[:-1]:
        return 1
    return after.numbers[-1] - before.numbers[-1] - 1


def _in_order(modules: Mapping[str, Mapping[str, Shape]]) -> list[_Place]:
    """Returns the layers of a head in the order in which they are applied; none where nothing tells it."""
    if len(modules) == 1:
        (module,) = modules
        number = module.rpartition(".")[2]
        return [_Place(module, (int(number),) if re.fullmatch(r"\d{1,2}", number) else ())]
    groups: dict[str, list[_Place]] = {}
    for module in modules:
        name, numbers = re.fullmatch(r"(.*?)((?:(?:^|\.)\d{1,2})*)", module).groups()  # type: ignore[union-attr]
        groups.setdefault(name, []).append(_Place(module, tuple(map(int, re.findall(r"\d+", numbers)))))
    sequences = [sorted(group, key=lambda place: place.numbers) for group in groups.values()]
    if len(sequences) == 1:
        return sequences[0] if all(place.numbers for place in sequences[0]) else []

    def follow(one: list[_Place], other: list[_Place]) -> bool:
        gives, takes = (modules[place.module].get("weight", ()) for place in (one[-1], other[0]))
        return len(gives) == len(takes) == 2 and gives[0] == takes[1]

    in_one = any(
        place.numbers for group in sequences for place in group
    )  # what two bare layers do is in a source alone
    two = (sequences, sequences[::-1]) if len(sequences) == 2 and in_one else ()
    orders = [(a, b) for a, b in two if follow(a, b)]
    if len(orders) != 1:
        return []
    return [_Place(place.module, (i, *place.numbers)) for i, group in enumerate(orders[0]) for place in group]
