"""Which Chainer a source was written for, by constructs that only some versions have."""

from __future__ import annotations

import ast

from packaging.version import Version


def era_of(tree: ast.Module) -> tuple[Version | None, Version | None]:
    """Returns the first Chainer that has every construct of a source, and the first that no longer has one of them."""
    since: Version | None = None
    until: Version | None = None
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ("init_scope", "using_config"):
            since = max(since or Version("2.0.0"), Version("2.0.0"))
        if isinstance(node, ast.Attribute | ast.Name) and _named(node) == "chainer.Sequential":
            since = Version("4.0.0")
        if isinstance(node, ast.Attribute | ast.Name) and _named(node).endswith("FunctionSet"):
            until = Version("2.0.0")
        if isinstance(node, ast.Call):
            words = {word.arg for word in node.keywords}
            called = _named(node.func).rpartition(".")[2]
            if words & {"wscale", "volatile"} or ("test" in words) or (called == "dropout" and "train" in words):
                until = Version("2.0.0")
    return since, until


def _named(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_named(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""
