"""What a network computes otherwise than another one, in words."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterator

from converters.errors import DeepPoseError
from converters.networks.flow import Step, after, steps_of
from converters.networks.formula import Formula
from converters.networks.layers import (
    AveragePooling,
    Block,
    Convolution,
    GlobalAveragePooling,
    Layer,
    LocalResponseNormalization,
    MaxPooling,
    Parallel,
    Residual,
    pair,
    walk,
)

_WORDS = {
    "BatchNormalization": "batch normalisation",
    "ClippedReLU": "clipped ReLU",
    "LeakyReLU": "leaky ReLU",
    "LocalResponseNormalization": "LRN",
    "MaxPooling": "pooling",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "ELU": "ELU",
    "SELU": "SELU",
    "ReLU": "ReLU",
}


def differences(known: tuple[Layer, ...], read: tuple[Layer, ...], size: tuple[int, int]) -> list[str]:
    """Returns what the second of two networks has otherwise, a phrase each; none where they compute the same.

    Pooling that rounds otherwise and still makes maps of the same size is the same, and so is a window that is the
    whole map, and the mean of the whole map; so are the names of layers without weights.

    Args:
        known: A network's table.
        read: Another one's.
        size: Height and width of an input that the second one takes.
    """
    new = _normalised(read, size)
    try:
        old = _normalised(known, size)
    except DeepPoseError:  # it takes other inputs
        old = [(layer, ()) for layer in walk(known)]
        new = [(layer, ()) for layer in walk(read)]
    return [] if old == new else list(dict.fromkeys(_phrases([one for one, _ in old], [one for one, _ in new])))


def _normalised(layers: tuple[Layer, ...], size: tuple[int, int]) -> list[tuple[Layer, tuple[int, ...]]]:
    """Returns layers without what does not count, and of each block how many layers its branches have."""
    return [_alike(step) for step in steps_of(layers, (3, *size))]


def _alike(step: Step) -> tuple[Layer, tuple[int, ...]]:
    layer = step.layer
    match layer:
        case Residual() | Parallel():
            counts = tuple(len(list(walk(branch))) for branch in layer.branches)
            return Parallel(((),) * len(layer.branches), layer.join), counts
        case Convolution():
            return dataclasses.replace(layer, scale=1.0), ()
        case LocalResponseNormalization():
            return dataclasses.replace(layer, name="norm"), ()
        case AveragePooling() if step.before[1:] == pair(layer.kernel) and layer.pad == 0:
            return GlobalAveragePooling(), ()
        case MaxPooling():
            return dataclasses.replace(layer, cover_all=False, ceil_mode=_rounds_up(layer, step)), ()
    return layer, ()


def _rounds_up(layer: MaxPooling, step: Step) -> bool:
    """Tells whether a pooling makes larger maps than one that rounds down."""
    down = dataclasses.replace(layer, cover_all=False, ceil_mode=False)
    return after(down, step.before) != step.after


def _phrases(old: list[Layer], new: list[Layer]) -> Iterator[str]:
    before, now = ([_key(layer) for layer in layers] for layers in (old, new))
    moves = difflib.SequenceMatcher(None, before, now, autojunk=False).get_opcodes()
    added = {now[place] for what, _, _, k, m in moves if what != "equal" for place in range(k, m)}
    for what, i, j, k, m in moves:
        if what == "equal":
            for one, other in zip(old[i:j], new[k:m], strict=True):
                yield from changed(one, other)
            continue
        # What stands elsewhere now is told of once, where it stands.
        yield from (
            f"no {_word(old[place])}{_where(old, place)}" for place in range(i, j) if before[place] not in added
        )
        yield from (f"{_word(new[place])}{_where(new, place)}" for place in range(k, m))


def _key(layer: Layer) -> str:
    return f"{type(layer).__name__} {getattr(layer, 'name', '')}"


def changed(one: Layer, other: Layer) -> Iterator[str]:
    """Yields what a layer has otherwise than another one of its kind, a phrase each."""
    for field in dataclasses.fields(one):
        before, after = getattr(one, field.name), getattr(other, field.name)
        if before != after:
            yield f"{_word(one)} with {field.name} {after} instead of {before}"


def _word(layer: Layer) -> str:
    kind = type(layer).__name__
    name = getattr(layer, "name", "")
    if name and not isinstance(layer, LocalResponseNormalization):
        return str(name)
    if isinstance(layer, Block):
        return f"a {layer.join} of branches"
    if isinstance(layer, Formula):
        return layer.word
    return _WORDS.get(kind, re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind).lower())


def _where(layers: list[Layer], place: int) -> str:
    return " at the end" if place == len(layers) - 1 else f" before {_word(layers[place + 1])}"
