"""Rows of the table, and fair measurements.

What is compared takes turns, so that what else the machine does falls on both.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

Result = TypeVar("Result")

_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Row:
    """One number with its bound.

    Attributes:
        what: What was measured.
        ours: The project's number.
        reference: The number that it is compared with, if there is one.
        unit: Of the two.
        compared: What the bound is for: `ratio`, ours / reference; `difference`, ours - reference; `ours` alone.
        relation: `>=` or `<=`.
        bound: The limit.
    """

    what: str
    ours: float
    reference: float | None
    unit: str
    compared: Literal["ratio", "difference", "ours"]
    relation: Literal[">=", "<="]
    bound: float

    @property
    def value(self) -> float:
        """The number that the bound is for."""
        if self.compared == "ours" or self.reference is None:
            return self.ours
        return self.ours / self.reference if self.compared == "ratio" else self.ours - self.reference

    @property
    def passed(self) -> bool:
        """Whether the number keeps its bound."""
        return self.value >= self.bound if self.relation == ">=" else self.value <= self.bound

    def as_dict(self) -> dict[str, Any]:
        """Returns the row as JSON-ready values."""
        return {**vars(self), "value": self.value, "passed": self.passed}


@dataclass(frozen=True)
class Usage:
    """What a process took.

    Attributes:
        seconds: From its start to its end.
        cpu_seconds: Of all cores together, in the program and in the kernel.
        peak_bytes: The most memory it held at a time (resident set).
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def take_turns(rounds: int, *measured: Callable[[], Result]) -> list[list[Result]]:
    """Calls functions one after the other, `rounds` times; returns what each of them returned."""
    results: list[list[Result]] = [[] for _ in measured]
    for _ in range(rounds):
        for function, collected in zip(measured, results, strict=True):
            collected.append(function())
    return results


def seconds_of(function: Callable[[], object]) -> float:
    """Returns how long a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def usage_of(command: Sequence[str]) -> Usage:
    """Runs a command to its end and returns what it took.

    Raises:
        RuntimeError: It failed.
    """
    measuring = [sys.executable, "-m", "benchmarks.usage", *command]
    process = subprocess.run(measuring, env=_environment(), cwd=_ROOT, capture_output=True, text=True, check=False)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {process.stderr.strip()}")
    return Usage(**json.loads(process.stdout))


def _environment() -> Mapping[str, str]:
    """Returns the environment, but with compiled modules kept, as they are where the program is used."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
