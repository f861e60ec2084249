"""A source's text, and the tree that Python's own parser makes of it; nothing of it is compiled or run."""

from __future__ import annotations

import ast
import re
import warnings
from pathlib import Path

from converters.errors import DeepPoseError, reason_of

#: Bytes of a source. The tree takes some hundred times as much memory at worst; the longest model files have 60 kB.
MOST_BYTES = 200_000
#: Names, numbers and signs in one statement, and brackets within brackets: the parser recurses over them.
_MOST_TOKENS = 4_000
_DEEPEST_BRACKETS = 50

_TOKEN = re.compile(
    r"""
    (?P<comment> \#[^\n]* )
    | (?P<string> (?P<quote>'{3}|"{3}) .*? (?:(?P=quote)|\Z) | '(?:\\.|[^'\\\n])*' | "(?:\\.|[^"\\\n])*" )
    | (?P<open> [(\[{] )
    | (?P<close> [)\]}] )
    | (?P<end> (?<!\\)\n )
    | (?P<part> \w+ | [^\w\s] )
    """,
    re.VERBOSE | re.DOTALL,
)


def read_text(path: Path) -> str:
    """Reads a source.

    Raises:
        DeepPoseError: It cannot be read, is far too long, or no text.
    """
    try:
        if not path.is_file():  # a pipe would be waited for
            what = "this is no file, but a folder or a pipe" if path.exists() else "there is no such file"
            raise DeepPoseError(f"{path}: {what}", advice="--model-file takes a Python file, or FILE:CLASS")
        with path.open("rb") as stream:
            raw = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise DeepPoseError(f"{path}: it cannot be read: {reason_of(error)}") from error
    if len(raw) > MOST_BYTES:
        size = path.stat().st_size
        raise DeepPoseError(f"{path}: it has {size} bytes, and a network's source has at most {MOST_BYTES}")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")  # comments of old programs; the language itself is ASCII


def parse(text: str, file: str) -> ast.Module:
    """Returns a source's tree.

    Raises:
        DeepPoseError: It is no Python, or nested beyond all measure.
    """
    if len(text.encode("utf-8", "replace")) > MOST_BYTES:
        raise DeepPoseError(f"{file}: a network's source has at most {MOST_BYTES} bytes")
    _refuse_nesting(text, file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in strings, which are the owner's
            return ast.parse(_in_python_3(text), file)
    except SyntaxError as error:
        place = file if error.lineno is None else f"{file}, line {error.lineno}"
        raise DeepPoseError(f"{place}: this is not Python: {error.msg}") from error
    except (ValueError, MemoryError, RecursionError) as error:
        raise DeepPoseError(f"{file}: it cannot be parsed: {reason_of(error)}") from error


def _in_python_3(text: str) -> str:
    """Puts brackets around what Python 2's print statements print, the one construct of it that model files have."""
    return re.sub(r"^([ \t]*)print[ \t]+(?![=(])([^\n]*)$", r"\1print(\2)", text, flags=re.MULTILINE)


def _refuse_nesting(text: str, file: str) -> None:
    depth = tokens = 0
    for found in _TOKEN.finditer(text):
        match found.lastgroup:
            case "open":
                depth += 1
                tokens += 1
            case "close":
                depth -= 1
            case "end" if depth <= 0:
                depth = tokens = 0
            case "part" | "string":
                tokens += 1
        if depth > _DEEPEST_BRACKETS or tokens > _MOST_TOKENS:
            line = text.count("\n", 0, found.start()) + 1
            raise DeepPoseError(f"{file}, line {line}: a statement is longer or nested deeper than any network's")
