"""What the graph of a TensorFlow 1 checkpoint (`.meta`) computes on the way to one of its products.

After TensorFlow's `meta_graph.proto`, `graph.proto`, `node_def.proto` and `attr_value.proto`.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator

from converters.formats._protobuf import fields
from converters.values import dataclass

#: What takes part in what a network computes, and is neither its weights nor a shape; and what it is told.
_TOLD = {
    "Conv2D": ("strides", "padding", "dilations", "data_format"),
    "MaxPool": ("ksize", "strides", "padding", "data_format"),
    "AvgPool": ("ksize", "strides", "padding", "data_format"),
    "LRN": ("depth_radius", "bias", "alpha", "beta"),
    "MatMul": (),
}
_ACTIVATIONS = frozenset(
    {"Relu", "Relu6", "Elu", "Selu", "LeakyRelu", "Sigmoid", "Tanh", "Softplus", "Softsign", "Softmax"}
)
_OTHERS = frozenset(
    {"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "Rsqrt", "DepthwiseConv2dNative", "SpaceToBatchND"}
    | {"Conv2DBackpropInput", "Conv3D", "MirrorPad", "Pad", "ResizeBilinear", "ResizeNearestNeighbor"}
)
#: What only adds a bias, or gives a value another name or shape.
_QUIET = frozenset({"Add", "AddV2", "BiasAdd", "Identity", "Reshape", "Squeeze"})
#: What is not said, and what goes without saying; a saver may strip what an operation has by default.
_USUAL: dict[str, str | tuple[int, ...]] = {"dilations": (1, 1, 1, 1), "data_format": "NHWC"}
_DEFAULTS = {**_USUAL, "depth_radius": 5, "bias": "1", "alpha": "1", "beta": "0.5"}


@dataclass(frozen=True)
class _Node:
    name: str
    kind: str
    inputs: tuple[str, ...]
    attributes: dict[str, bytes]


def operations(content: bytes, weight: str) -> tuple[str, ...] | None:
    """Returns what leads to the product with a matrix, in order, and which activation follows it.

    Args:
        content: A `MetaGraphDef`.
        weight: The matrix, as `fc_regression/weight`.

    Returns:
        An operation in words each, as `Conv2D strides 1,4,4,1 padding SAME`, equal neighbours as one; None where there
        is no such product in it.

    Raises:
        ValueError: It cannot be read.
    """
    nodes = {node.name: node for node in _nodes(content)}
    last = next((node for node in nodes.values() if _multiplies_by(node, weight, nodes)), None)
    if last is None:
        return None
    wanted, waiting = {last.name}, [last]
    while waiting:
        found = [name for name in waiting.pop().inputs if name not in wanted and name in nodes]
        wanted.update(found)
        waiting += [nodes[name] for name in found]
    words = [_said_of(node) for node in nodes.values() if node.name in wanted]
    words += [_said_of(node) for node in _behind(last, nodes)]
    told = [word for word in words if word]
    return tuple(word for i, word in enumerate(told) if i == 0 or told[i - 1] != word)


def _nodes(content: bytes) -> Iterator[_Node]:
    graphs = [value for number, value in fields(content) if number == 2 and isinstance(value, bytes)]
    for number, node in fields(graphs[0]) if graphs else ():
        if number == 1 and isinstance(node, bytes):
            name, kind, inputs, attributes = "", "", [], {}
            for part, value in fields(node):
                if not isinstance(value, bytes):
                    continue
                if part == 1:
                    name = value.decode()
                elif part == 2:
                    kind = value.decode()
                elif part == 3 and not value.startswith(b"^"):
                    inputs.append(value.decode().partition(":")[0])
                elif part == 5:
                    pair = dict(fields(value))
                    key, told = pair.get(1), pair.get(2)
                    if isinstance(key, bytes) and isinstance(told, bytes):
                        attributes[key.decode()] = told
            yield _Node(name, kind, tuple(inputs), attributes)


def _multiplies_by(node: _Node, weight: str, nodes: dict[str, _Node]) -> bool:
    """Tells whether a node is a product with a matrix; those of the gradients transpose one of both."""
    if node.kind != "MatMul" or any(_flag(node.attributes.get(f"transpose_{side}", b"")) for side in "ab"):
        return False
    names = list(node.inputs)
    for name in node.inputs:  # a variable is read through an identity
        if name in nodes and nodes[name].kind in ("Identity", "ReadVariableOp"):
            names += nodes[name].inputs[:1]
    return weight in names


def _behind(last: _Node, nodes: dict[str, _Node]) -> list[_Node]:
    """Returns the activations that are given a product, its bias added."""
    users: dict[str, list[_Node]] = defaultdict(list)
    for node in nodes.values():
        for name in node.inputs:
            users[name].append(node)
    found, known, waiting = [], {last.name}, [last.name]
    while waiting:
        for node in users[waiting.pop()]:
            if node.name not in known:
                known.add(node.name)
                if node.kind in _ACTIVATIONS:
                    found.append(node)
                elif node.kind in _QUIET:
                    waiting.append(node.name)
    return found


def _said_of(node: _Node) -> str:
    if node.kind in _ACTIVATIONS or node.kind in _OTHERS:
        return node.kind
    if node.kind not in _TOLD:
        return ""
    words = [node.kind]
    for name in _TOLD[node.kind]:
        value = _value(node.attributes.get(name, b""))
        value = _DEFAULTS.get(name) if value is None else value
        if value not in (None, _USUAL.get(name)):
            words.append(f"{name} {','.join(map(str, value)) if isinstance(value, tuple) else value}")
    return " ".join(words)


def _flag(attribute: bytes) -> bool:
    return dict(fields(attribute)).get(5, 0) == 1


def _value(attribute: bytes) -> str | tuple[int, ...] | int | None:
    """Returns a text, a list of whole numbers or a number; a fraction in six digits."""
    for number, value in fields(attribute):
        if number == 1 and isinstance(value, bytes):
            items: list[int] = []
            for part, item in fields(value):
                if part == 3:
                    items += [item] if isinstance(item, int) else list(item)  # packed: each is less than 128
            return tuple(items)
        if number == 2 and isinstance(value, bytes):
            return value.decode()
        if number == 3 and isinstance(value, int):
            return value
        if number == 4 and isinstance(value, int) and value < 1 << 32:
            return f"{struct.unpack('<f', struct.pack('<I', value))[0]:.6g}"
    return None
