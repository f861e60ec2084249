"""Sources that come with this project: parts of frameworks that are made of others, in words of its own."""

from __future__ import annotations

import ast
import re
from functools import cache
from importlib.resources import files

from converters.networks.source.context import Context
from converters.networks.source.registry import KNOWN, ByVersion
from converters.networks.source.values import Bundled, NativeFunction

_FOLDER = files("converters.networks.source")
#: Links that normalised by the batch's own statistics in Chainer 1 unless every one of them was told otherwise.
_NOT_IN_CHAINER_1 = ("InceptionBN", "ResNet50Layers", "ResNet101Layers", "ResNet152Layers")


def _text(file: str) -> str:
    return (_FOLDER / f"{file}.txt").read_text(encoding="utf-8")


@cache
def tree_of(file: str) -> ast.Module:
    """Returns the tree of one of the sources."""
    return ast.parse(_text(file))


def bundled(file: str) -> dict[str, Bundled]:
    """Returns what one of the sources defines for others, by name."""
    return {
        name: Bundled(file, name) for name in re.findall(r"^(?:class|def) ([A-Za-z]\w*)", _text(file), re.MULTILINE)
    }


def _refused(name: str) -> NativeFunction:
    def refuse(c: Context, *arguments: object, **keywords: object) -> object:
        return c.unknown(f"L.{name} of Chainer 1, which normalises by the batch's own statistics,")

    return NativeFunction(f"chainer.links.{name}", refuse)


for _name, _function in bundled("chainer_sources/functions").items():
    KNOWN[f"chainer.functions.{_name}"] = _function
_links = bundled("chainer_sources/links")
_first = {"MLPConvolution2D": _links.pop("MLPConvolution2DOfChainer1"), **{n: _refused(n) for n in _NOT_IN_CHAINER_1}}
for _name, _link in _links.items():
    KNOWN[f"chainer.links.{_name}"] = ByVersion(_first[_name], _link) if _name in _first else _link
