"""The `log.txt` of the legacy program: the version that wrote a result folder, and the options it ran with."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_VERSION = re.compile(r"chainer version:\s*(\d+\.\d+[\w.]*)")
_NAMESPACE = re.compile(r"Namespace\((.*)\)\s*$")
_MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class LegacyLog:
    """What a `log.txt` says of the last run that wrote into it.

    Attributes:
        path: The file.
        version: Chainer's version, as `1.13.0`, or None.
        options: The command line as parsed: `im_size`, `gcn`, `opt`, `lr`, …
    """

    path: Path
    version: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


def read_beside(path: Path) -> LegacyLog | None:
    """Reads the `log.txt` in the folder of `path`; None if there is none that can be read."""
    log = path.parent / "log.txt"
    try:
        if not log.is_file():  # a pipe would be waited for
            return None
        with log.open("rb") as stream:
            text = stream.read(_MOST_BYTES).decode("utf-8", "replace")
    except OSError:
        return None
    version: str | None = None
    options: dict[str, Any] = {}
    for line in text.splitlines():
        # A resumed run appends to the file of the one before: the last one counts.
        if found := _VERSION.search(line):
            version = found[1]
        elif found := _NAMESPACE.search(line):
            options = _parse_namespace(found[1]) or options
    return LegacyLog(log, version, options)


def _parse_namespace(arguments: str) -> dict[str, Any] | None:
    """Parses the inside of argparse's `Namespace(…)`; literals only, nothing is evaluated."""
    try:
        call = ast.parse(f"f({arguments})", mode="eval").body
        assert isinstance(call, ast.Call)
        return {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg}
    except (SyntaxError, ValueError, AssertionError, RecursionError, MemoryError):
        return None
