"""Which Chainer a source was written for, by constructs that only some versions have."""

from __future__ import annotations

import ast

from packaging.version import Version

from converters.values import dataclass


@dataclass(frozen=True)
class Era:
    """The versions of Chainer that have every construct of a source.

    Attributes:
        since: The first; None where any may be.
        until: The first that no longer has one of them; None where there is none.
        mark: What tells one of both, and where, as a phrase.
    """

    since: Version | None = None
    until: Version | None = None
    mark: str = "its source"


def era_of(tree: ast.Module, file: str) -> Era:
    """Returns which versions of Chainer a source was written for."""
    since: Version | None = None
    until: Version | None = None
    marks: dict[str, str] = {}
    for node in ast.walk(tree):
        word, first = "", None
        if isinstance(node, ast.Attribute) and node.attr in ("init_scope", "using_config"):
            word, first = node.attr, Version("2.0.0")
        elif isinstance(node, ast.Attribute | ast.Name) and _named(node) == "chainer.Sequential":
            word, first = "Sequential", Version("4.0.0")
        elif isinstance(node, ast.Attribute | ast.Name) and _named(node).endswith("FunctionSet"):
            word = "FunctionSet"
        elif isinstance(node, ast.Call):
            word = _old_word(node)
        if not word or (first is not None and since is not None and since >= first):
            continue
        since, until = (first, until) if first is not None else (since, Version("2.0.0"))
        marks["until" if first is None else "since"] = f"{file}, line {getattr(node, 'lineno', 0)} ({word})"
    return Era(since, until, marks.get("until", marks.get("since", Era.mark)))


def _old_word(node: ast.Call) -> str:
    """Returns the argument of a call that Chainer 1 alone has; an empty text if there is none."""
    words = {word.arg for word in node.keywords}
    called = _named(node.func).rpartition(".")[2]
    old = ["wscale", "volatile", "test", *(["train"] if called == "dropout" else [])]
    return next((f"{word}=" for word in old if word in words), "")


def _named(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_named(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""
