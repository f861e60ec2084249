"""What a network computes, as it is found step by step: values, and the layers that make one of others."""

from __future__ import annotations

from dataclasses import field

from converters.networks.flow import Value, after, joined
from converters.networks.layers import (
    AdaptiveAveragePooling,
    AdaptiveMaxPooling,
    Flatten,
    GlobalAveragePooling,
    GlobalMaxPooling,
    Join,
    Layer,
    Linear,
)
from converters.networks.source.errors import Place
from converters.values import dataclass

_MAKE_ONE_SIZE = (Linear, GlobalAveragePooling, GlobalMaxPooling, AdaptiveAveragePooling, AdaptiveMaxPooling)


@dataclass(eq=False)
class Node:
    """A value in a network.

    Attributes:
        shape: The shape of one example.
        layer: What makes it of the one value before it; None for the input, and for values that are joined.
        inputs: The values that it is made of.
        join: How, where there are several.
        place: The line that makes it.
        static: Whether its shape is the same for every size of the network's input.
    """

    shape: tuple[int, ...]
    layer: Layer | None = None
    inputs: tuple[Node, ...] = ()
    join: Join | None = None
    place: Place | None = None
    static: bool = field(default=False)


def input_of(height: int, width: int) -> Node:
    """Returns the input of a network."""
    return Node((3, height, width))


def layer_on(node: Node, layer: Layer, place: Place) -> Node:
    """Returns what a layer makes of a value.

    Raises:
        DeepPoseError: It cannot take it.
    """
    return Node(_sized(after(layer, node.shape)), layer, (node,), None, place, node.static or _sizes(layer))


def join_of(nodes: tuple[Node, ...], join: Join, place: Place) -> Node:
    """Returns several values joined.

    Raises:
        DeepPoseError: They do not fit each other.
    """
    shape = _sized(joined([node.shape for node in nodes], join))
    return Node(shape, None, nodes, join, place, all(node.static for node in nodes))


def _sizes(layer: Layer) -> bool:
    return isinstance(layer, _MAKE_ONE_SIZE)


def _sized(value: Value) -> tuple[int, ...]:
    return tuple(side or 0 for side in value)


def flattened(node: Node, place: Place) -> Node:
    """Returns a value as features."""
    return node if len(node.shape) == 1 else layer_on(node, Flatten(), place)
