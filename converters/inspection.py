"""What a file holds, whether or not it can be converted."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from converters import formats, words
from converters.cascade import Cascade
from converters.checkpoint import Array, Checkpoint
from converters.errors import CheckpointError, printable
from converters.families import FAMILIES, Family
from converters.files import hash_file
from converters.networks import steps_of
from converters.reading import read
from converters.stages import holds_cascade
from converters.stored import read_all
from converters.values import dataclass


@dataclass(frozen=True)
class TensorSummary:
    """One array of a file.

    Attributes:
        name: Canonical name, or the file's own key where the network is not known.
        shape: Its shape.
        dtype: Its dtype.
        minimum: Smallest finite number; None if it has none.
        maximum: Largest finite number; None if it has none.
        nan: Count of NaN.
        inf: Count of +Inf and -Inf.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    minimum: float | None
    maximum: float | None
    nan: int
    inf: int


@dataclass(frozen=True)
class Inspection:
    """What a file holds.

    Attributes:
        path: The file.
        format: Its format.
        checkpoint: What it was read as; None if it is no network that is known, or a cascade.
        problem: Why it is none that is known.
        tensors: Its arrays, those of an optimizer after the network's.
        cascade: What it was read as, if it is one.
        sha256: The file's hash, in hexadecimal. The weights may be in another, beside an optimizer's state.
    """

    path: str
    format: str
    checkpoint: Checkpoint | None
    problem: str | None
    tensors: tuple[TensorSummary, ...]
    cascade: Cascade | None = None
    sha256: str = ""

    def __repr__(self) -> str:
        """Returns what it is, in a line: never its table of tensors."""
        read = self.checkpoint or self.cascade
        what = printable(self.problem) if read is None else read.title
        return f"<Inspection of {printable(self.path)}, {self.format}: {what}, {len(self.tensors)} tensors>"

    def _repr_html_(self) -> str:
        """Returns what the file holds as a notebook shows it; its layers and tensors open on a click."""
        facts: dict[str, object] = {"sha256": self.sha256, "format": self.format}
        if self.problem is not None:
            facts["problem"] = self.problem
        if self.checkpoint is not None:
            facts |= words.facts_of(self.checkpoint)
        if self.cascade is not None:
            facts |= words.facts_of_cascade(self.cascade)
        layers = [(name, kind, " x ".join(map(str, output))) for name, kind, output in self.layers]
        tensors = [
            (t.name, " x ".join(map(str, t.shape)), t.dtype, _number(t.minimum), _number(t.maximum), t.nan, t.inf)
            for t in self.tensors
        ]
        tables = [words.html_of_facts(self.path, facts)]
        if layers:
            tables.append(words.html_of_rows(("layer", "kind", "output"), layers, title=f"{len(layers)} layers"))
        columns = ("tensor", "shape", "dtype", "smallest", "largest", "NaN", "Inf")
        return "".join([*tables, words.html_of_rows(columns, tensors, title=f"{len(tensors)} tensors")])

    @property
    def generation(self) -> Family | None:
        """Whose file it is, a row of docs/families.md; None if it is no network that is known, or a cascade."""
        return None if self.checkpoint is None else FAMILIES[self.checkpoint.source.generation]

    @property
    def layers(self) -> list[tuple[str, str, tuple[int | None, ...]]]:
        """Each layer in order: its name, its kind, and the shape of what leaves it; none where there is no network."""
        return [] if self.checkpoint is None else _layers(self.checkpoint)

    def as_dict(self) -> dict[str, object]:
        """Returns the inspection as JSON-ready values."""
        known: dict[str, object] = {}
        if self.checkpoint is not None:
            known = _known(self.checkpoint)
        if self.cascade is not None:
            networks = {part: _known(network) for part, network in self.cascade.networks.items()}
            known = {
                **self.cascade.rules.metadata(networks),
                "source": self.cascade.source.as_dict(),
                "joints": self.cascade.joints,
                "parameters": self.cascade.parameters,
                "nonfinite": _nonfinite(self.cascade),
                "notices": list(self.cascade.notices),
            }
        tensors = [{**asdict(tensor), "shape": list(tensor.shape)} for tensor in self.tensors]
        return {
            "path": self.path,
            "sha256": self.sha256,
            "format": self.format,
            "problem": self.problem,
            **known,
            "tensors": tensors,
        }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _known(checkpoint: Checkpoint) -> dict[str, object]:
    """Returns what is known of a network as JSON-ready values."""
    optimizer, generation = checkpoint.optimizer, FAMILIES[checkpoint.source.generation]
    known = {
        "generation": {name: getattr(generation, name) for name in ("name", "title", "recognised", "done")},
        **checkpoint.metadata(),
        "joints": checkpoint.joints,
        "parameters": checkpoint.parameters,
        "layers": [{"name": name, "layer": kind, "output": list(out)} for name, kind, out in _layers(checkpoint)],
        "optimizer": None
        if optimizer is None
        else {"algorithm": optimizer.algorithm, "step": optimizer.step, "slots": list(optimizer.slots)},
        "nonfinite": _nonfinite(checkpoint),
        "notices": list(checkpoint.notices),
    }
    del known["repairs"]
    return known


def _layers(checkpoint: Checkpoint) -> list[tuple[str, str, tuple[int | None, ...]]]:
    steps = steps_of(checkpoint.architecture.layers, (3, *checkpoint.preprocessing.shape))
    return [(str(getattr(step.layer, "name", "")), type(step.layer).__name__, step.after) for step in steps]


def _nonfinite(checkpoint: Checkpoint | Cascade) -> dict[str, dict[str, int]]:
    return {repair.tensor: {"nan": repair.nan, "inf": repair.inf} for repair in checkpoint.repairs}


def inspect(
    path: str | os.PathLike[str],
    *,
    architecture: str | None = None,
    model_file: str | os.PathLike[str] | None = None,
    part: str | None = None,
    writer: str | None = None,
    state: bool = True,
    max_bytes: int = formats.MAX_BYTES,
) -> Inspection:
    """Looks into a file without changing anything.

    Args:
        path: The file.
        architecture: As for `read`.
        model_file: As for `read`.
        part: As for `read`.
        writer: As for `read`.
        state: As for `read`.
        max_bytes: As for `read`.

    Raises:
        CheckpointError: It is of no format that can be read, or damaged.
    """
    path = formats.resolve(Path(path))
    kind = "" if holds_cascade(path) else formats.format_of(path).name
    try:
        checkpoint = read(
            path,
            architecture=architecture,
            model_file=model_file,
            part=part,
            writer=writer,
            nonfinite="keep",
            state=state,
            max_bytes=max_bytes,
        )
    except CheckpointError as error:
        if not kind:
            raise
        contents = formats.opened(path)
        formats.refuse_large(path, contents, max_bytes)
        arrays = read_all({key: contents.stored(path, key) for key in contents.headers})
        return Inspection(str(path), kind, None, str(error), _summaries(arrays.items()), sha256=hash_file(path))
    source, tensors = checkpoint.source, _summaries(checkpoint.tensors())
    sha256 = source.sha256 if path.is_dir() or source.path == str(path) else hash_file(path)
    if isinstance(checkpoint, Cascade):
        return Inspection(str(path), source.format, None, None, tensors, checkpoint, sha256)
    return Inspection(str(path), source.format, checkpoint, None, tensors, sha256=sha256)


def _summaries(arrays: Iterable[tuple[str, Array]]) -> tuple[TensorSummary, ...]:
    return tuple(_summary(name, array) for name, array in arrays)


def _summary(name: str, array: Array) -> TensorSummary:
    nan = inf = 0
    if array.dtype.kind not in "fiub":
        return TensorSummary(name, array.shape, str(array.dtype), None, None, 0, 0)
    finite = array
    if array.dtype.kind == "f":
        mask = np.isfinite(array)
        if not mask.all():
            nan = int(np.isnan(array).sum())
            inf = int(array.size - mask.sum()) - nan
            finite = array[mask]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (None, None)
    return TensorSummary(name, array.shape, str(array.dtype), low, high, nan, inf)
