"""The `log.txt` of the legacy program: the version that wrote a result folder, the options it ran with, its losses."""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import BinaryIO

from converters.errors import DeepPoseError
from converters.files import CHUNK
from converters.values import dataclass

_VERSION = re.compile(r"chainer version:\s*(\d+\.\d+[\w.]*)")
_EPOCH = re.compile(r"\bepoch:\s*(\d{1,15})\b")
_MOST_LOSSES = 50
#: Of a file and of a line of it; a training of years writes less.
_MOST_BYTES, _MOST_LINES, _LONGEST_LINE = 64 << 20, 500_000, 1 << 14
#: An option as argparse prints it: a text, a plain word, or something in brackets, which is passed over.
_OPTION = re.compile(
    r"""\s*(?P<name>[A-Za-z_]\w*)=(?:(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
    r"""|(?P<word>[-+.\w]+)|[\[({<].*?[\])}>](?=,\s*[A-Za-z_]\w*=|\s*$))\s*(?:,|$)"""
)
_NUMBER = re.compile(r"[-+]?(?=\.?\d)\d{0,30}(?:\.\d{0,30})?(?:[eE][-+]?\d{1,3})?")
_WORDS = {"None": None, "True": True, "False": False}


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
    options: dict[str, object] = field(default_factory=dict)


def read_beside(path: Path) -> LegacyLog | None:
    """Reads the `log.txt` in the folder of `path`; None if there is none that can be read."""
    log = path.parent / "log.txt"
    lines = _lines(log)
    if lines is None:
        return None
    version: str | None = None
    options: dict[str, object] = {}
    for line in lines:
        # A resumed run appends to the file of the one before: the last one counts.
        if found := _VERSION.search(line):
            version = found[1]
        elif (arguments := _namespace_in(line)) is not None:
            options = _parse_namespace(arguments) or options
    return LegacyLog(log, version, options)


@dataclass
class LoggedRun:
    """What one run wrote into a `log.txt`; a resumed run appends to the file of the one before.

    Attributes:
        version: Chainer's version, as `1.13.0`, or None.
        options: The command line as parsed; empty where the run wrote none.
        entries: Its losses: `epoch`, and what was written of `main/loss`, `validation/main/loss`, ….
    """

    version: str | None = None
    options: dict[str, object] = field(default_factory=dict)
    entries: list[dict[str, float]] = field(default_factory=list)


def read_runs(log: Path) -> list[LoggedRun]:
    """Reads the runs of a `log.txt` that wrote losses, in their order; none if the file cannot be read.

    A line of losses is `epoch:10, main/loss:0.028, validation/main/loss:0.031, `. The lines of earlier programs, which
    have the word `training` or `test` and one `loss:`, are understood as the one or the other.
    """
    runs = [LoggedRun()]
    for line in _lines(log) or ():
        version, arguments = _VERSION.search(line), _namespace_in(line)
        if (version or arguments is not None) and runs[-1].entries:
            runs.append(LoggedRun())
        if version:
            runs[-1].version = version[1]
        elif arguments is not None:
            runs[-1].options = _parse_namespace(arguments) or runs[-1].options
        elif entry := _parse_losses(line):
            runs[-1].entries.append(entry)
    return [run for run in runs if run.entries]


def _lines(log: Path) -> Iterator[str] | None:
    """Returns a text's lines, of a file that is too long the first, each cut where it is; None if it cannot be read."""
    try:
        if not log.is_file():  # a pipe would be waited for
            return None
        return _cut_lines(log.open("rb"))
    except OSError:
        return None


def _cut_lines(stream: BinaryIO) -> Iterator[str]:
    with stream, contextlib.suppress(OSError):
        for _ in range(_MOST_LINES):
            line = start = stream.readline(_LONGEST_LINE)
            while line and not line.endswith(b"\n"):  # the rest of it
                line = stream.readline(CHUNK)
            if not start or stream.tell() > _MOST_BYTES:
                return
            yield start.decode("utf-8", "replace").rstrip("\r\n")


def _parse_losses(line: str) -> dict[str, float] | None:
    """Parses a line of losses; None if it is another."""
    epoch = _EPOCH.search(line)
    if epoch is None:
        return None
    losses: dict[str, float] = {}
    for part in line[epoch.end() :].split(",", _MOST_LOSSES):
        name, _, value = part.partition(":")
        with contextlib.suppress(ValueError):
            losses[name.strip()] = float(value)
    if "loss" in losses:
        name = "validation/main/loss" if "test" in line else "main/loss"
        losses = {name: losses["loss"]}
    losses = {name: value for name, value in losses.items() if name.endswith("loss")}
    return {"epoch": int(epoch[1]), **losses} if losses else None


def _namespace_in(line: str) -> str | None:
    """Returns the inside of argparse's `Namespace(…)` that a line ends with; None for another line."""
    _, found, rest = line.partition("Namespace(")
    rest = rest.rstrip()
    return rest[:-1] if found and rest.endswith(")") else None


def _parse_namespace(arguments: str) -> dict[str, object] | None:
    """Parses the inside of argparse's `Namespace(…)`, texts and plain words alone; None if it is something else."""
    options: dict[str, object] = {}
    end = 0
    while end < len(arguments):
        found = _OPTION.match(arguments, end)
        if found is None:
            return None
        end = found.end()
        with contextlib.suppress(ValueError, SyntaxError):
            if found["text"]:
                options[found["name"]] = ast.literal_eval(found["text"])
            elif found["word"]:
                options[found["name"]] = _value_of(found["word"])
    return options


def _value_of(word: str) -> int | float | bool | None:
    """Returns what a word stands for.

    Raises:
        DeepPoseError: Nothing, or a number that is none.
    """
    if word in _WORDS:
        return _WORDS[word]
    if not _NUMBER.fullmatch(word):
        raise DeepPoseError(word)
    return float(word) if {*word} & {*".eE"} else int(word)
