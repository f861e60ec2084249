"""Curves of losses and metrics over the epochs of trainings, from what they wrote into their result folders.

A run is read from its `log` (JSON, a list or a line an entry), its `log.txt` (the legacy program's lines), and the
`evaluations` of `watch`. What a resumed run wrote goes on the curve of the one before:

- an entry replaces those before it whose epoch (or iteration) it repeats: a run resumed from an older checkpoint;
- epochs that begin anew, as the legacy program's do when it resumes, are counted on from the checkpoint that it named.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TypeAlias

from converters.errors import DeepPoseError
from converters.legacy_log import read_runs
from converters.values import dataclass
from deeppose_port.metrics.registry import METRICS
from deeppose_port.text import finite
from deeppose_port.training.logs import read_log
from deeppose_port.training.names import EVALUATIONS, LOG, LOG_TXT, CheckpointName

#: The curves of losses, which may not be finite.
LOSS = re.compile(r"(.*/)?loss")

_LARGEST = 1 << 53  # beyond it, whole numbers have no float64 of their own

#: The numbers of an entry of a log.
Entry: TypeAlias = dict[str, float]


@dataclass(frozen=True)
class Series:
    """One curve.

    Attributes:
        epochs: Where its points are, in epochs, with fractions where iterations tell.
        iterations: Where they are in iterations; None for each that does not say.
        values: What they are; may hold NaN and infinity.
    """

    epochs: tuple[float, ...]
    iterations: tuple[int | None, ...]
    values: tuple[float, ...]

    def as_dict(self) -> dict[str, object]:
        """Returns the points as JSON-ready lists; a value that is not finite is None."""
        return {
            "epoch": list(self.epochs),
            "iteration": list(self.iterations),
            "value": [finite(value) for value in self.values],
        }


@dataclass(frozen=True)
class Curves:
    """A training's curves.

    Attributes:
        label: What it is called in the legend.
        sources: The folders or files that it was read from.
        series: Its curves by their names in the log, `main/loss`, `validation/main/loss`, ….
        notes: How resumed runs were joined, and what else is to be known, a sentence each.
    """

    label: str
    sources: tuple[Path, ...]
    series: Mapping[str, Series]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """Returns the curves as JSON-ready values."""
        return {
            "label": self.label,
            "sources": [str(source) for source in self.sources],
            "series": {name: series.as_dict() for name, series in self.series.items()},
            "notes": list(self.notes),
        }


@dataclass
class _Part:
    """Entries that one process wrote, with its command line if that is known."""

    source: Path
    entries: list[Entry]
    options: dict[str, object] = field(default_factory=dict)


@dataclass
class _Joined:
    """Parts that were put together."""

    sources: list[Path]
    entries: list[Entry]
    notes: list[str] = field(default_factory=list)


def read_results(sources: Sequence[str | os.PathLike[str]], *, join: bool = False) -> list[Curves]:
    """Reads the curves of trainings.

    Args:
        sources: Result folders, or files: a `log`, a `log.txt` or `evaluations`.
        join: Whether they are one run, each going on where the one before stopped.

    Returns:
        The runs, in the order of the sources. A `log.txt` into which several runs wrote that did not resume each other
        gives several.

    Raises:
        DeepPoseError: There is nothing that can be read, or no loss in it.
    """
    paths = [Path(source) for source in sources]
    parts = [_parts_of(path) for path in paths]
    groups = [[part for group in parts for part in group]] if join else parts
    runs: list[Curves] = []
    labels = _labels(paths)
    for path, group in zip(paths, groups, strict=False):
        joined = _join(group, asked=join)
        for number, one in enumerate(joined, start=1):
            label = labels[path] if len(joined) == 1 else f"{labels[path]} ({number})"
            runs.append(_run(label, one))
    return runs


# --- reading ----------------------------------------------------------------------------------------------------------


def _parts_of(source: Path) -> list[_Part]:
    """Reads what the processes of a training wrote, each by itself."""
    if source.is_dir():
        parts = _merged(source)
        if not parts:
            raise DeepPoseError(f"{source}: there is no log, log.txt or {EVALUATIONS} with a loss in this folder")
        return parts
    if not source.is_file():
        raise DeepPoseError(f"{source}: there is no such file; name a training's result folder, or its log or log.txt")
    entries = read_log(source) if _is_json(source) else []
    if entries and all("checkpoint" in entry for entry in entries):
        return [_Part(source, _evaluations(entries))]
    parts = _split(source, entries) or [_Part(source, run.entries, run.options) for run in read_runs(source)]
    if not parts:
        raise DeepPoseError(
            f"{source}: there is no loss in it; a log is JSON, a log.txt has lines as `epoch:10, main/loss:0.028`"
        )
    return parts


def _is_json(file: Path) -> bool:
    """Tells whether a file begins as a log in JSON does."""
    with file.open("rb") as stream:
        return stream.read(64).lstrip()[:1] in (b"[", b"{")


def _merged(folder: Path) -> list[_Part]:
    """Reads a result folder: `log` knows more of each entry, `log.txt` more runs, because resumed ones append to it."""
    text = [_Part(folder, run.entries, run.options) for run in read_runs(folder / LOG_TXT)]
    log = _split(folder, read_log(folder / LOG))
    parts = log or text
    if log and text:
        first = log[0].entries[0]
        starts = [i for i, part in enumerate(text) if _is_same(part.entries[0], first)]
        covered = starts[0] if starts else 0
        log[0].options = text[covered].options
        parts = text[:covered] + log
    watched = _evaluations(read_log(folder / EVALUATIONS))
    if not watched:
        return parts
    if not parts:
        return [_Part(folder, watched)]
    parts[-1].entries = parts[-1].entries + watched
    return parts


def _split(source: Path, entries: Sequence[Mapping[str, object]]) -> list[_Part]:
    """Parts a log where its epochs go back; entries without an epoch or a number are left out."""
    parts: list[_Part] = []
    for entry in map(_numbers, entries):
        if len(entry) < 2 or not math.isfinite(entry.get("epoch", math.nan)):
            continue
        if not parts or _place(entry) < _place(parts[-1].entries[-1]):
            parts.append(_Part(source, []))
        parts[-1].entries.append(entry)
    return parts


def _evaluations(entries: Sequence[Mapping[str, object]]) -> list[Entry]:
    """Turns the evaluations of `watch` into entries of a log; the last of an epoch counts."""
    found: dict[int, Entry] = {}
    for entry in entries:
        name = CheckpointName.parse(str(entry.get("checkpoint")))
        if name is None or name.epoch is None:
            continue
        metrics = [metric for metric in METRICS.values() if metric.is_headline]
        numbers = _numbers({f"evaluation/{metric.name}": metric.whole_in(entry) for metric in metrics})
        found[name.epoch] = {"epoch": name.epoch, **numbers}
    return [found[epoch] for epoch in sorted(found)]


def _is_same(one: Entry, other: Entry) -> bool:
    return all(one.get(key) == other.get(key) for key in ("epoch", "main/loss"))


def _place(entry: Entry) -> tuple[float, float]:
    """Returns where an entry stands in its run."""
    return entry["epoch"], entry.get("iteration", 0)


def _numbers(entry: Mapping[str, object]) -> Entry:
    """Returns what of an entry is a number that a curve may have; an iteration has to be a whole one.

    A loss that was not finite is null in JSON.
    """
    entry = {key: math.nan if value is None and LOSS.fullmatch(key) else value for key, value in entry.items()}
    return {
        key: value
        for key, value in entry.items()
        if (isinstance(value, float) and key != "iteration")
        or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST)
    }


# --- joining ----------------------------------------------------------------------------------------------------------


def _join(parts: Sequence[_Part], *, asked: bool) -> list[_Joined]:
    """Puts parts together that went on with each other."""
    joined: list[_Joined] = []
    for part in parts:
        if not joined:
            joined.append(_Joined([part.source], list(part.entries)))
            continue
        before = joined[-1]
        resumed = _resumed(part.options)
        if part.options and resumed is None and not asked:
            joined.append(_Joined([part.source], list(part.entries)))
            continue
        # Of those that say that they resume, only the legacy program counts its epochs from 0.
        begins_anew = _place(part.entries[0]) <= _place(before.entries[0])
        if "resume_model" in part.options or (resumed is None and begins_anew):
            named = CheckpointName.parse(Path(resumed or "").name)
            epoch = None if named is None else named.epoch
            _count_on(before, part, max(entry["epoch"] for entry in before.entries) if epoch is None else epoch)
        else:
            _go_on(before, part)
        if part.source not in before.sources:
            before.sources.append(part.source)
    return joined


def _resumed(options: Mapping[str, object]) -> str | None:
    """Returns what a run was resumed from by its options; None: it was not."""
    named = options.get("resume_model") or options.get("resume_param") or options.get("resume")
    return str(named) if named else None


def _count_on(before: _Joined, part: _Part, epoch: float) -> None:
    """Appends a part whose epochs begin anew, counted from an epoch of the one before."""
    kept = [entry for entry in before.entries if entry["epoch"] <= epoch]
    iteration = next((entry["iteration"] for entry in reversed(kept) if "iteration" in entry), None)
    for entry in part.entries:
        moved = {**entry, "epoch": entry["epoch"] + epoch}
        if "iteration" in entry:
            if iteration is None:
                del moved["iteration"]
            else:
                moved["iteration"] = entry["iteration"] + iteration
        kept.append(moved)
    first = part.entries[0]["epoch"]
    before.notes.append(
        f"{part.source}: a resumed run counts its epochs anew (its first entry is of epoch {first:g}); they are "
        f"counted on from {epoch:g}"
    )
    before.entries = kept


def _go_on(before: _Joined, part: _Part) -> None:
    """Appends a part that goes on; it replaces what it repeats."""
    first = part.entries[0]
    by = "iteration" if "iteration" in first and all("iteration" in entry for entry in before.entries) else "epoch"
    kept = [entry for entry in before.entries if entry[by] < first[by]]
    replaced = len(before.entries) - len(kept)
    if replaced:
        what = "entry is" if replaced == 1 else "entries are"
        before.notes.append(
            f"{part.source}: a resumed run repeats from {by} {first[by]:g} on; {replaced} earlier {what} left out"
        )
    before.entries = [*kept, *part.entries]


def _run(label: str, joined: _Joined) -> Curves:
    """Makes a run's curves of its entries."""
    epochs = _fractional_epochs(joined.entries)
    points: dict[str, list[tuple[float, int | None, float]]] = {}
    for entry, epoch in zip(joined.entries, epochs, strict=True):
        iteration = int(entry["iteration"]) if "iteration" in entry else None
        for key, value in _numbers(entry).items():
            if key not in ("epoch", "iteration"):
                points.setdefault(key, []).append((epoch, iteration, float(value)))
    series = {key: Series(*zip(*found, strict=True)) for key, found in points.items()}
    notes = list(joined.notes)
    for key, found in points.items():
        broken = [epoch for epoch, _, value in found if not math.isfinite(value)]
        if broken and LOSS.fullmatch(key):
            notes.append(
                f"{label}: {key} is not finite at {len(broken)} of {len(found)} points, from epoch {broken[0]:g}"
            )
    return Curves(label, tuple(joined.sources), series, tuple(notes))


def _fractional_epochs(entries: Sequence[Entry]) -> list[float]:
    """Returns where entries lie in epochs; whole ones where the iterations in an epoch cannot be told.

    An entry's epoch is that of the epochs that ended: its iteration over their length, rounded down.
    """
    whole = [float(entry["epoch"]) for entry in entries]
    timed = [entry for entry in entries if "iteration" in entry]
    if len({(entry["epoch"], entry["iteration"]) for entry in timed}) == len({entry["epoch"] for entry in timed}):
        return whole  # one entry an epoch
    # A whole number of iterations if one fits; otherwise persons are no multiple of a batch.
    at_most = min((e["iteration"] / e["epoch"] for e in timed if e["epoch"] > 0), default=0)
    more_than = max((e["iteration"] / (e["epoch"] + 1) for e in timed), default=0)
    length = math.floor(at_most) if math.floor(at_most) > more_than else at_most
    if length < 1 or length <= more_than:
        return whole
    return [e["iteration"] / length if "iteration" in e else float(e["epoch"]) for e in entries]


def _labels(paths: Sequence[Path]) -> dict[Path, str]:
    """Returns a short name for each source: the folder's, or as much of the path as tells them apart."""
    labels: dict[Path, str] = {}
    shortest = {path: path.resolve() if path.is_dir() else path.resolve().parent for path in paths}
    for path in paths:
        parts = shortest[path].parts
        for length in range(1, len(parts) + 1):
            labels[path] = "/".join(parts[-length:])
            if not any(other != path and shortest[other].parts[-length:] == parts[-length:] for other in paths):
                break
        else:
            labels[path] = str(path)
    return labels
