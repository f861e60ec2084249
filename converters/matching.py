"""Compares a file's arrays, by their keys and shapes, with each architecture."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from functools import cache

from converters.errors import DeepPoseError
from converters.families import CANONICAL, automatic, naming
from converters.folding import fold
from converters.keys import COUNTER, Header, canonical_name, spelled_names
from converters.networks import (
    OUTPUTS,
    TABLES,
    TORCH_WRITER,
    Architecture,
    Convolution,
    Layer,
    Linear,
    Residual,
    Shape,
    engines_of,
    outputs_layer,
    per_joint,
    walk,
)
from converters.networks import feature_size as table_feature_size
from converters.networks.flow import tensors_of
from converters.values import dataclass


@dataclass
class Match:
    """How a file's arrays compare with one architecture in one spelling of its layers' names.

    Attributes:
        architecture: The architecture with the widths that the file suggests.
        names: Which spelling, as `Source.names`.
        canonical: Key in the file, without wrappers -> canonical name.
        missing: Canonical names that the file lacks.
        unexpected: Keys that the architecture does not have.
        different: Keys of another shape or kind, with what they are and should be.
    """

    architecture: Architecture
    names: str
    canonical: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    different: dict[str, str] = field(default_factory=dict)
    problem: str | None = None

    @property
    def fits(self) -> bool:
        """Tells whether the file holds this network, whole and nothing else."""
        return not (self.missing or self.unexpected or self.different or self.problem)

    @property
    def distance(self) -> int:
        """Number of arrays that stand in the way."""
        return len(self.missing) + len(self.unexpected) + len(self.different)

    def describe(self, spelled: Mapping[str, str], prefix: str = "") -> str:
        """Returns the differences in one sentence, keys folded into patterns.

        Args:
            spelled: Canonical name -> the key as the file's kind would spell it.
            prefix: The wrappers that were stripped from the file's keys.
        """
        parts = []
        if self.missing:
            parts.append(f"missing {fold(prefix + spelled[name] for name in self.missing)}")
        if self.unexpected:
            parts.append(f"unexpected {fold(prefix + key for key in self.unexpected)}")
        alike: dict[str, list[str]] = {}
        for key, what in self.different.items():
            alike.setdefault(what, []).append(prefix + key)
        parts += [f"{fold(keys)} {what}" for what, keys in alike.items()]
        if self.problem:
            parts.append(self.problem)
        return "; ".join(parts)


def match(headers: Mapping[str, Header], architectures: Iterable[str] | None = None) -> list[Match]:
    """Compares a file's arrays with architectures in each spelling of their names.

    Args:
        headers: The file's arrays by key, without wrappers.
        architectures: Names from `networks.TABLES`; None for all that can be told by keys and shapes. What has
            less than half as many names in common with the file as another is left out, and where none has any, all
            but one.

    Returns:
        One Match each, the nearest first.
    """
    spelled = {canonical_name(key) for key in headers}
    common = {row: len(spelled & _names(*row)) for row in _spellings(architectures)}
    most = max(common.values())
    rows = [row for row, count in common.items() if 2 * count >= most]
    matches = [_match_one(headers, *row) for row in (rows if most else rows[:1])]
    return sorted(matches, key=lambda m: (not m.fits, m.distance))


def fitting(headers: Mapping[str, Header], architectures: Iterable[str] | None = None) -> list[Match]:
    """Compares a file's arrays with those architectures alone whose names they have, and returns what they fit.

    Args:
        headers: As for `match`.
        architectures: As well.
    """
    spelled = {canonical_name(key) for key in headers}
    rows = (row for row in _spellings(architectures) if _first_name(*row) in spelled and _needed(*row) <= spelled)
    return [found for row in rows if (found := _match_one(headers, *row)).fits]


def _spellings(architectures: Iterable[str] | None) -> list[tuple[str, str]]:
    """Returns each architecture with each spelling of its names; None is as for `match`."""
    return [
        (name, names) for name in (automatic() if architectures is None else architectures) for names in naming(name)
    ]


@cache
def _first_name(name: str, names: str) -> str:
    """Returns the name of an architecture's first tensor in other layer names, for which no others are looked at."""
    tensors = (tensor for layer in walk(TABLES[name]) for tensor, _ in tensors_of(layer, (0,)))
    (first,) = spelled_names(name, names, itertools.islice(tensors, 1)).values()
    return first


@cache
def _spelled(name: str, names: str) -> Mapping[str, str]:
    """Returns the names of an architecture's tensors, each with what it is in other layer names."""
    canonical = [tensor for layer in walk(TABLES[name]) for tensor, _ in tensors_of(layer, (0,))]
    return spelled_names(name, names, canonical)


@cache
def _names(name: str, names: str) -> frozenset[str]:
    """Returns the names of an architecture's tensors in other layer names."""
    return frozenset(_spelled(name, names).values())


@cache
def _needed(name: str, names: str) -> frozenset[str]:
    """Returns those of them that no version of PyTorch leaves out."""
    return frozenset(each for each in _names(name, names) if not each.endswith(COUNTER))


def _match_one(headers: Mapping[str, Header], name: str, names: str) -> Match:
    renamed = _spelled(name, names)
    by_name: dict[str, Shape] = {}
    for key, header in headers.items():
        by_name.setdefault(canonical_name(key), header.shape)
    shapes = {old: by_name[new] for old, new in renamed.items() if new in by_name}
    architecture, problem = _measure(name, shapes)
    return compare(headers, architecture, names, problem)


def compare(
    headers: Mapping[str, Header], architecture: Architecture, names: str = CANONICAL, problem: str | None = None
) -> Match:
    """Compares a file's arrays with one network.

    Args:
        headers: The file's arrays by key, without wrappers.
        architecture: The network.
        names: Which layer names the keys have, as `Source.names`.
        problem: What is wrong with the network's last layer.
    """
    by_name: dict[str, str] = {}
    doubles = []
    for key in headers:
        spelled = canonical_name(key)
        if spelled in by_name:
            doubles.append(key)
        by_name.setdefault(spelled, key)
    renamed = spelled_names(architecture.name, names, architecture.shapes)
    result = Match(architecture, names, problem=problem, unexpected=doubles)
    last = architecture.outputs_layer + "."  # of which `problem` speaks
    for canonical, shape in architecture.shapes.items():
        if renamed[canonical] not in by_name:
            result.missing.append(canonical)
            continue
        key = by_name[renamed[canonical]]
        result.canonical[key] = canonical
        difference = difference_of(canonical, headers[key], shape)
        if difference and not (problem and canonical.startswith(last)):
            result.different[key] = difference
    result.unexpected += [key for key in by_name.values() if key not in result.canonical]
    counters = [n for n in architecture.shapes if n.endswith(COUNTER)]
    if counters and set(counters) <= set(result.missing):  # PyTorch <= 0.4 had none
        result.missing = [n for n in result.missing if n not in counters]
    return result


def difference_of(canonical: str, header: Header, shape: Shape) -> str | None:
    """Says how an array differs from what a network needs; None if it does not."""
    counter = canonical.endswith(COUNTER)
    if header.dtype.kind not in ("iu" if counter else "f"):
        return f"of dtype {header.dtype.name} instead of {'an integer' if counter else 'a floating-point number'}"
    if header.dtype.itemsize > 8:  # the long double of one kind of machine
        return f"of dtype {header.dtype.name} instead of float32"
    if header.shape != shape and not (counter and header.shape == (1,)):
        return f"of shape {header.shape} instead of {shape}"
    return None


def _measure(name: str, shapes: Mapping[str, Shape]) -> tuple[Architecture, str | None]:
    """Reads widths, joints and the fully connected layers' input off the weights' shapes."""
    widths: dict[str, int] = {}
    last_convolution = [0]

    def width(layer: Convolution | Linear) -> int:
        shape = shapes.get(f"{layer.name}.weight", ())
        return shape[0] if shape and shape[0] > 0 else layer.channels

    def measure(layers: Sequence[Layer], channels: int) -> int:
        for layer in layers:
            if isinstance(layer, Convolution):
                widths[layer.name] = channels = width(layer)
                last_convolution[0] = channels
            elif isinstance(layer, Linear):
                widths[layer.name] = width(layer)
            elif isinstance(layer, Residual):
                # What is added has to be as wide as what it is added to.
                out = measure(layer.shortcut, channels) if layer.shortcut else channels
                measure(layer.branch, channels)
                widths[[row.name for row in layer.branch if isinstance(row, Convolution)][-1]] = channels = out
                last_convolution[0] = channels
        return channels

    table = TABLES[name]
    measure(table, channels=3)
    each = per_joint(table)
    outputs = widths.pop(outputs_layer(name)) or each
    defaults = {row.name: row.channels for row in walk(table) if isinstance(row, Convolution | Linear)}
    first = next((row.name for row in table if isinstance(row, Linear)), None)
    feature_size = table_feature_size(name, 220)
    weight = shapes.get(f"{first}.weight", ())
    if feature_size > 1 and len(weight) == 2:
        # Only a map of a whole number of pixels a side can be meant; anything else is told as a wrong shape.
        side = round((weight[1] / last_convolution[0]) ** 0.5)
        if side > 0 and side**2 * last_convolution[0] == weight[1]:
            feature_size = side
    architecture = Architecture(
        name,
        joints=max(outputs // each, 1),
        widths={row: n for row, n in widths.items() if n != defaults[row] and defaults[row] != OUTPUTS},
        feature_size=feature_size,
    )
    if "chainer" not in engines_of(name):
        architecture = replace(architecture, writer=TORCH_WRITER)
    problem = odd(outputs) if each == 2 else None
    try:
        architecture.shapes  # noqa: B018 - told of here
    except DeepPoseError as error:  # groups that do not divide these widths
        return replace(architecture, widths={}), problem or error.problem
    return architecture, problem


def odd(outputs: int) -> str | None:
    """Says what is wrong with a last layer of so many outputs; None if nothing is."""
    if outputs % 2 == 0:
        return None
    return f"the last layer has {outputs} output{'s' * (outputs > 1)}, which is not two for each joint"
