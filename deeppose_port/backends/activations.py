"""What a network makes of its inputs, layer by layer, by the same names in either engine."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from converters.networks import Block, Layer, Name, Take

Maps = TypeVar("Maps")


def layer_names(layers: tuple[Layer, ...]) -> list[str]:
    """Returns a name for the output of each layer of a table, in the order in which networks compute them.

    A layer with weights has its canonical name; the others are named after the last such layer before them
    (`conv1.relu`, `conv1.max_pooling`). A residual block's parts come first, then their sum under the block's name.
    """
    names = list(_names(layers))
    return [_numbered(name, names[:i].count(name)) for i, name in enumerate(names)]


def activations(
    layers: tuple[Layer, ...],
    run: Callable[[tuple[Layer, ...], Maps, dict[str, Maps]], Maps],
    inputs: Maps,
    change: Callable[[Maps], Maps] | None = None,
) -> Iterator[tuple[str, Maps]]:
    """Yields the output of each layer of a network, one after the other, with its name from `layer_names`.

    Args:
        layers: The network's table.
        run: The network's own evaluation of some layers, so that what is seen is what it computes; it is given the
            values that have names, and adds to them.
        inputs: What the first layer is fed with.
        change: Applied to the inputs and to each output before the next layer sees it; None leaves them as they are.
    """
    if change is not None:
        inputs = change(inputs)
    yield from zip(layer_names(layers), _outputs(layers, run, inputs, change, {}), strict=True)


class Directions:
    """Draws for each number of some arrays whether it is to go up or down, the same ones each time."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)

    def __call__(self, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Returns float32 of that shape, +Inf and -Inf: what `nextafter` moves numbers towards."""
        up: npt.NDArray[np.bool_] = self._random.random(shape, np.float32) < 0.5
        return np.where(up, np.inf, -np.inf).astype(np.float32)


def _names(layers: tuple[Layer, ...], last: str = "") -> Iterator[str]:
    for layer in layers:
        if isinstance(layer, Block):
            inside = [name for branch in layer.branches for name in _names(branch, last)]
            yield from inside
            # A block is named after the part of their names that the layers inside have in common.
            parts = zip(*(name.split(".")[:-1] for name in inside if name), strict=False)
            common = ".".join(part[0] for part in itertools.takewhile(lambda part: len(set(part)) == 1, parts))
            if common and common != last:
                last = common
                yield last
            else:
                yield ".".join(filter(None, (last, layer.join)))
        elif isinstance(layer, Take):
            yield ".".join(filter(None, (last, layer.join if len(layer.values) > 1 else "take")))
        elif isinstance(layer, Name):
            continue
        elif hasattr(layer, "name"):
            last = layer.name
            yield last
        else:
            yield ".".join(filter(None, (last, _kind(layer))))


def _kind(layer: Layer) -> str:
    """Returns a layer's kind as part of a name: `MaxPooling` is `max_pooling`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(layer).__name__.replace("ReLU", "Relu")).lower()


def _numbered(name: str, before: int) -> str:
    return f"{name}_{before + 1}" if before else name


def _outputs(
    layers: tuple[Layer, ...],
    run: Callable[[tuple[Layer, ...], Maps, dict[str, Maps]], Maps],
    x: Maps,
    change: Callable[[Maps], Maps] | None,
    named: dict[str, Maps],
) -> Iterator[Maps]:
    for layer in layers:
        if isinstance(layer, Block):
            for branch in layer.branches:
                yield from _outputs(branch, run, x, change, named)
        x = run((layer,), x, named)
        if isinstance(layer, Name):
            continue
        if change is not None:
            x = change(x)
        yield x
