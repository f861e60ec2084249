"""Every architecture's table by name: the families put theirs here, and an Architecture looks its own up.

This module knows no family, so that the arrow runs one way: families -> networks.
"""

from __future__ import annotations

from collections.abc import Collection

from converters.errors import DeepPoseError
from converters.networks.flow import side_after
from converters.networks.layers import Convolution, Heatmaps, Layer, Linear, Name, SoftArgmax, Take, walk

#: The engines that a table's arithmetic exists in, where a family does not say otherwise.
EVERY_ENGINE = ("torch", "chainer")

#: Every architecture by name, at full width.
TABLES: dict[str, tuple[Layer, ...]] = {}

_ENGINES: dict[str, tuple[str, ...]] = {}


def add_table(name: str, layers: tuple[Layer, ...], engines: Collection[str] = EVERY_ENGINE) -> None:
    """Adds an architecture's table; to add the same once more changes nothing.

    Raises:
        DeepPoseError: Another table has this name.
    """
    if (TABLES.setdefault(name, layers), _ENGINES.setdefault(name, tuple(engines))) != (layers, tuple(engines)):
        raise DeepPoseError(f"there is another architecture {name!r} already")


def engines_of(name: str) -> tuple[str, ...]:
    """Returns the engines that an architecture exists in."""
    return _ENGINES.get(name, EVERY_ENGINE)


def outputs_layer(name: str) -> str:
    """Returns the name of an architecture's last layer with weights."""
    return last_weighted(TABLES[name]).name


def last_weighted(layers: tuple[Layer, ...]) -> Convolution | Linear:
    """Returns a table's last layer with weights: it gives two numbers for each joint, or a heat map.

    Raises:
        DeepPoseError: It has none.
    """
    weighted = [layer for layer in walk(layers) if isinstance(layer, Convolution | Linear)]
    if not weighted:
        raise DeepPoseError("no convolution and no fully connected layer in it gives joints")
    return weighted[-1]


def stacks_of(layers: tuple[Layer, ...]) -> int:
    """Returns how many stacks of heat maps a table answers; 0 where it answers coordinates."""
    last = layers[-1] if layers else None
    return last.stacks if isinstance(last, Heatmaps) else 0


def answering(layers: tuple[Layer, ...]) -> tuple[str, ...]:
    """Returns the names of the layers with weights that give a table's answers: the last, or each stack's heat maps."""
    ends = [layer for layer in layers[-2:] if isinstance(layer, Take)]
    if not stacks_of(layers) or not ends:
        return (last_weighted(layers).name,)
    found, last = [], ""
    for layer in walk(layers):
        if isinstance(layer, Convolution):
            last = layer.name
        elif isinstance(layer, Name) and layer.value in ends[0].values:
            found.append(last)
    return tuple(found)


def per_joint(layers: tuple[Layer, ...]) -> int:
    """Returns how many channels of its last layer with weights a table has for a joint: a heat map, or two numbers."""
    return 1 if layers and isinstance(layers[-1], Heatmaps | SoftArgmax) else 2


def feature_size(name: str, im_size: int) -> int:
    """Returns the side of the map that the first fully connected layer flattens, for an input of side `im_size`."""
    return side_after(TABLES[name], im_size)
