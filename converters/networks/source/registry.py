"""The names of frameworks and of Python's library that are known, each with what stands for it here."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from converters.networks.source.values import Namespace, Native, NativeFunction
from converters.values import dataclass

#: Dotted name -> what stands for it.
KNOWN: dict[str, object] = {}

_Call = TypeVar("_Call", bound=Callable[..., object])
_Kind = TypeVar("_Kind", bound=type[Native])


@dataclass(frozen=True)
class ByVersion:
    """What a name stands for in Chainer 1, and from Chainer 2 on."""

    first: object
    later: object


def function(*names: str) -> Callable[[_Call], _Call]:
    """Says that a function stands for these names."""

    def add(call: _Call) -> _Call:
        for name in names:
            KNOWN[name] = NativeFunction(name, call)
        return call

    return add


def native(*names: str) -> Callable[[_Kind], _Kind]:
    """Says that a class stands for these names."""

    def add(kind: _Kind) -> _Kind:
        kind.spelled = names[0].replace("torch.nn.", "nn.").replace("chainer.links.", "L.")
        kind.framework = names[0].partition(".")[0]
        for name in names:
            KNOWN[name] = kind
        return kind

    return add


#: What packages are called by their longer names: the modules that functions and links are defined in.
_SHORTER = (
    (re.compile(r"^chainer\.(functions|links)\..*\.(\w+)$"), r"chainer.\1.\2"),
    (re.compile(r"^chainer\.(?:link|sequential|function_set)\.(\w+)$"), r"chainer.\1"),
    (re.compile(r"^torch\.nn\.modules\.(?:\w+\.)?([A-Z]\w+)$"), r"torch.nn.\1"),
    (
        re.compile(r"^torchvision\.models\.(?:alexnet|densenet|mobilenet\w*|resnet|squeezenet|vgg)\.(\w+)$"),
        r"torchvision.models.\1",
    ),
    (re.compile(r"^chainercv\.links\..*\.(\w+)$"), r"chainercv.links.\1"),
    (re.compile(r"^six\.moves\.(range|zip|map|filter)$"), r"builtins.\1"),
)


def look_up(name: str) -> object | None:
    """Returns what a dotted name stands for: a value, a package, or None."""
    for pattern, shorter in _SHORTER:
        if name not in KNOWN:
            name = pattern.sub(shorter, name)
    if name in KNOWN:
        return KNOWN[name]
    return Namespace(name) if name in packages() else None


@cache
def packages() -> frozenset[str]:
    """Returns the modules that something of is known."""
    found = {"six.moves", "chainer.link", "chainer.sequential", "chainer.function_set", "torch.nn.modules"}
    for name in KNOWN:
        while name := name.rpartition(".")[0]:
            found.add(name)
    for kind in ("activation", "array", "connection", "loss", "math", "noise", "normalization", "pooling"):
        found |= {f"chainer.functions.{kind}", f"chainer.links.{kind}"}
    for package in ("alexnet", "densenet", "mobilenet", "mobilenetv2", "resnet", "squeezenet", "vgg"):
        found.add(f"torchvision.models.{package}")
    return frozenset(found)


def known_in(package: str) -> tuple[str, ...]:
    """Returns the names that are known in a package."""
    return tuple(sorted(name.rpartition(".")[2] for name in KNOWN if name.rpartition(".")[0] == package))
