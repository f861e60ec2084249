"""What became of many files: counts, reasons, and a line each in a CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

from converters.errors import DeepPoseError, printable
from converters.values import dataclass
from deeppose_port.cli import checkpoints
from deeppose_port.cli.options import BAD_INPUT, SOME_REFUSED
from deeppose_port.text import counted

if TYPE_CHECKING:
    from converters import Report

_COLUMNS = (
    *("file", "status", "output", "architecture", "joints", "format", "writer", "assumed", "epoch", "iteration"),
    *("nan", "inf", "sha256", "output_sha256", "problem", "advice"),
)


@dataclass
class Summary:
    """What became of files.

    Attributes:
        outcomes: What was done with each, or why it was refused, in their order.
    """

    outcomes: list[tuple[Path, Report | DeepPoseError]] = field(default_factory=list)

    def add(self, file: Path, outcome: Report | DeepPoseError) -> None:
        """Adds a file's."""
        self.outcomes.append((file, outcome))

    @property
    def reports(self) -> list[Report]:
        """What was done with those that were not refused."""
        return [outcome for _, outcome in self.outcomes if not isinstance(outcome, DeepPoseError)]

    @property
    def failures(self) -> list[DeepPoseError]:
        """Why the others were."""
        return [outcome for _, outcome in self.outcomes if isinstance(outcome, DeepPoseError)]

    @property
    def status(self) -> int:
        """The exit status: 0, 3 where some were refused, 2 where all were."""
        if not self.failures:
            return 0
        return SOME_REFUSED if self.reports else BAD_INPUT

    @property
    def assumed(self) -> int:
        """Of how many nothing says who wrote them."""
        return sum(checkpoints.is_assumed(report.source) for report in self.reports)

    def reasons(self) -> dict[str, int]:
        """Returns how often each reason came, the most frequent first; names and numbers in it make no other reason."""
        alike: dict[str, list[str]] = {}
        for failure in self.failures:
            alike.setdefault(re.sub(r"'[^']*'|\d[\d,]*", "…", failure.problem), []).append(failure.problem)
        return {problems[0]: len(problems) for problems in sorted(alike.values(), key=len, reverse=True)}

    def lines(self, skipped: int, passed_over: int) -> Iterator[str]:
        """Yields the lines of the end."""
        yield f"{len(self.reports)} of {len(self.outcomes)} checkpoints converted"
        for reason, count in self.reasons().items():
            yield f"  {count} refused: {reason}"
        if self.assumed:
            yield checkpoints.assumed_writers(self.assumed)
        if skipped:
            yield f"{counted(skipped, 'file')} converted before"
        if passed_over:
            yield f"{counted(passed_over, 'file')} passed over"

    def as_dict(self) -> dict[str, object]:
        """Returns it as JSON-ready values."""
        files = [
            {"source": {"path": str(file)}, "error": str(outcome), "problem": outcome.problem, "advice": outcome.advice}
            if isinstance(outcome, DeepPoseError)
            else outcome.as_dict()
            for file, outcome in self.outcomes
        ]
        return {
            "files": files,
            "converted": len(self.reports),
            "failed": len(self.failures),
            "reasons": self.reasons(),
            "assumed": self.assumed,
        }

    def save(self, target: Path, skipped: Collection[Path], *, force: bool) -> None:
        """Writes a CSV with a line for each file."""
        from converters.files import atomic

        stream = io.StringIO()
        rows = csv.DictWriter(stream, _COLUMNS, restval="", lineterminator="\n")
        rows.writeheader()
        for file, outcome in self.outcomes:
            rows.writerow({name: _cell(value) for name, value in _row(file, outcome).items()})
        for file in skipped:
            rows.writerow({"file": _cell(file), "status": "skipped"})
        with atomic(target, force=force) as temporary:
            temporary.write_text(stream.getvalue(), encoding="utf-8")


def _row(file: Path, outcome: Report | DeepPoseError) -> dict[str, object]:
    if isinstance(outcome, DeepPoseError):
        return {"file": file, "status": "refused", "problem": outcome.problem, "advice": outcome.advice or ""}
    source, progress = outcome.source, outcome.progress or {}
    return {
        "file": file,
        "status": "converted" if outcome.verified else "dry run",
        "output": outcome.output,
        "architecture": outcome.architecture,
        "joints": outcome.joints,
        "format": source.format,
        "writer": source.writer,
        "assumed": int(checkpoints.is_assumed(source)),
        "epoch": progress.get("epoch"),
        "iteration": progress.get("iteration"),
        "nan": sum(repair.nan for repair in outcome.repairs),
        "inf": sum(repair.inf for repair in outcome.repairs),
        "sha256": source.sha256,
        "output_sha256": outcome.output_sha256,
    }


def _cell(value: object) -> str:
    """Returns what stands in a cell; a spreadsheet takes what begins so for a formula."""
    text = "" if value is None else printable(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
