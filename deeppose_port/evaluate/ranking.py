"""Several checkpoints on the same persons, the best first."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from converters.files import hash_file
from converters.folders import survey
from converters.values import dataclass
from deeppose_port.metrics.evaluation import Evaluation
from deeppose_port.metrics.registry import Metric


@dataclass(frozen=True)
class Ranked:
    """A checkpoint that was evaluated.

    Attributes:
        files: Its files, which are equal byte by byte, as a training's `epoch-9.pt` and `best.pt` are.
        backend: What ran it.
        evaluation: How good it is.
        engine: Which of the backend's engines; empty where it has no choice.
    """

    files: tuple[Path, ...]
    backend: str
    evaluation: Evaluation
    engine: str = ""

    def value(self, metric: Metric) -> float:
        """Returns a metric's number of the whole; NaN where the data cannot give it."""
        return self.evaluation[metric.key].overall if metric.key in self.evaluation.measures else math.nan

    def as_dict(self) -> dict[str, object]:
        """Returns the evaluation as JSON-ready values, with the checkpoint's files."""
        names = [str(file) for file in self.files]
        ran = {"backend": self.backend, "engine": self.engine or None}
        return {**self.evaluation.as_dict(), **ran, "checkpoint": names[0], "files": names}


def different_checkpoints(folder: Path) -> list[tuple[Path, ...]]:
    """Returns the checkpoints of a folder, those files together that are equal byte by byte."""
    found: dict[str, list[Path]] = {}
    for file in survey([folder], "").found:
        found.setdefault(hash_file(file.path), []).append(file.path)
    return [tuple(sorted(files, key=_numbered_first)) for files in found.values()]


def ranked(evaluated: Iterable[Ranked], metric: Metric) -> list[Ranked]:
    """Returns checkpoints by a metric, the best first, those that have no finite number last; ties keep their order."""
    sign = 1 if metric.better == "lower" else -1

    def key(one: Ranked) -> tuple[bool, float]:
        value = one.value(metric)
        return not math.isfinite(value), sign * value if math.isfinite(value) else 0.0

    return sorted(evaluated, key=key)


def _numbered_first(file: Path) -> tuple[bool, str]:
    return not any(character.isdigit() for character in file.stem), file.name
