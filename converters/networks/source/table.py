"""From what a network computes to its table: branches become blocks, and where these cannot nest, named values."""

from __future__ import annotations

from collections.abc import Iterator

from converters.networks.formula import Formula
from converters.networks.layers import (
    ELU,
    SELU,
    Affine,
    Block,
    ClippedReLU,
    Dropout,
    Flatten,
    Layer,
    LeakyReLU,
    Linear,
    Name,
    Parallel,
    ReLU,
    Reshape,
    Residual,
    Sigmoid,
    Softplus,
    Take,
    Tanh,
)
from converters.networks.source.budget import Budget
from converters.networks.source.graph import Node

#: What does the same to each number, wherever it stands.
_EACH_NUMBER = (ReLU, LeakyReLU, ClippedReLU, ELU, SELU, Sigmoid, Tanh, Softplus, Affine)


def table_of(result: Node, budget: Budget) -> tuple[Layer, ...]:
    """Returns the layers that make a value of the network's input.

    Raises:
        ExhaustedError: That takes too long.
    """
    return _simplified(_Table(result, budget).layers(), at_the_end=True)


class _Table:
    """The values that a result is made of, with who needs them.

    The last value that every way from the input to another one leads through is that one's gate: between a gate and a
    value that is joined lie its branches.
    """

    def __init__(self, result: Node, budget: Budget) -> None:
        self.budget = budget
        self.result = result
        self.order = list(_in_order(result))
        self.position = {id(node): i for i, node in enumerate(self.order)}
        self.users: dict[int, list[Node]] = {id(node): [] for node in self.order}
        self.gates: dict[int, Node] = {}
        for node in self.order:
            for before in node.inputs:
                self.users[id(before)].append(node)
            if node.inputs:
                gate = node.inputs[0]
                for other in node.inputs[1:]:
                    gate = self._common(gate, other)
                self.gates[id(node)] = gate
        self.names: dict[int, str] = {}
        self.given = 0

    def _common(self, one: Node, other: Node) -> Node:
        while one is not other:
            if self.position[id(one)] > self.position[id(other)]:
                one = self.gates[id(one)]
            else:
                other = self.gates[id(other)]
        return one

    def layers(self) -> tuple[Layer, ...]:
        """Returns the whole table."""
        return self._between(self.order[0], self.result)

    def _between(self, start: Node, end: Node) -> tuple[Layer, ...]:
        """Returns the layers that make one value of another, which is among the gates before it."""
        parts: list[tuple[Layer, ...]] = []
        while end is not start:
            gate = self.gates[id(end)]
            parts.append(self._made(gate, end))
            end = gate
        return tuple(layer for part in reversed(parts) for layer in part)

    def _made(self, gate: Node, node: Node) -> tuple[Layer, ...]:
        """Returns the layers between a value's gate and it."""
        if node.layer is not None:
            return (node.layer,)
        assert node.join is not None
        inside = [self._inside(gate, before) for before in node.inputs]
        alone = sum(len(part) for part in inside) == len({id(one) for part in inside for one in part})
        if not alone:
            return self._named(gate, node, {id(one): one for part in inside for one in part})
        branches = [self._between(gate, before) for before in node.inputs]
        if node.join == "sum" and len(branches) == 2:
            branch, shortcut = branches
            if len(branch) < len(shortcut) or not branch:
                branch, shortcut = shortcut, branch
            return (Residual(branch, shortcut),)
        return (Parallel(tuple(branches), node.join),)

    def _inside(self, gate: Node, node: Node) -> list[Node]:
        """Returns the values between a gate and another value, that one included and the gate not."""
        found: dict[int, Node] = {}
        waiting = [node]
        while waiting:
            one = waiting.pop()
            self.budget.spend()
            if one is not gate and id(one) not in found:
                found[id(one)] = one
                waiting += one.inputs
        return list(found.values())

    def _named(self, gate: Node, node: Node, inside: dict[int, Node]) -> tuple[Layer, ...]:
        """Returns the layers of branches that share values, which are given names."""
        layers: list[Layer] = []
        last = gate

        def give_name(one: Node) -> None:
            users = [user for user in self.users[id(one)] if id(user) in inside or user is node]
            following = self.order[self.position[id(one)] + 1] if one is not gate else None
            if len(users) > 1 or users[0].join is not None or users[0] is not following or one is gate:
                self.given += 1  # a value that several blocks begin with has a name in each
                self.names[id(one)] = f"v{self.given}"
                layers.append(Name(self.names[id(one)]))

        give_name(gate)
        for one in sorted([*inside.values(), node], key=lambda one: self.position[id(one)]):
            if one.layer is None:
                assert one.join is not None
                layers.append(Take(tuple(self.names[id(before)] for before in one.inputs), one.join))
            else:
                if one.inputs[0] is not last:
                    layers.append(Take((self.names[id(one.inputs[0])],)))
                layers.append(one.layer)
            last = one
            if one is not node:
                give_name(one)
        return tuple(layers)


def _in_order(result: Node) -> Iterator[Node]:
    """Yields the values that a result is made of, each after those that it is made of."""
    done: set[int] = set()
    waiting = [(result, False)]
    while waiting:
        node, ready = waiting.pop()
        if id(node) in done:
            continue
        if ready:
            done.add(id(node))
            yield node
        else:
            waiting.append((node, True))
            waiting += [(before, False) for before in reversed(node.inputs)]


def _simplified(layers: tuple[Layer, ...], at_the_end: bool) -> tuple[Layer, ...]:
    """Leaves out what changes no number: shapes before a fully connected layer, and at the end those of the answer."""
    inner = [
        layer.with_branches(_simplified(branch, at_the_end=False) for branch in layer.branches)
        if isinstance(layer, Block)
        else layer
        for layer in layers
    ]
    return _without_shapes(inner, at_the_end)


def _without_shapes(layers: list[Layer], at_the_end: bool) -> tuple[Layer, ...]:
    result: list[Layer] = []
    for i, layer in enumerate(layers):
        if isinstance(layer, Flatten | Reshape):
            behind = next((one for one in layers[i + 1 :] if not _keeps_order(one)), None)
            if isinstance(behind, Linear | Flatten) or (behind is None and at_the_end):
                continue
        result.append(layer)
    return tuple(result)


def _keeps_order(layer: Layer) -> bool:
    """Tells whether a layer does the same to a value under another shape."""
    if isinstance(layer, Formula):
        return layer.by_number
    return isinstance(layer, (*_EACH_NUMBER, Flatten, Reshape)) or (isinstance(layer, Dropout) and not layer.channels)
