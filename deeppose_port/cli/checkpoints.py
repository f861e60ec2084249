"""How the commands put a checkpoint's parts into words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from deeppose_port.text import counted

if TYPE_CHECKING:
    from converters import Repair, Source


def optimizer(algorithm: str | None, progress: Mapping[str, object] | None) -> str:
    """Says which optimizer's state there is, and how far its training came."""
    counts = [f"{name} {value}" for name, value in (progress or {}).items() if value is not None]
    return ", ".join([algorithm or "none", *counts])


def stage(values: Mapping[str, Any]) -> str:
    """Says what a stage of a cascade is, of one of `Report.stages`."""
    crop = values["crop"]
    networks = "one network" if values["networks"] == 1 else f"{values['networks']} networks, one a joint"
    sees = "the person" if crop is None else f"close-ups of {crop['sigma']:g} diameters"
    measured = ", displacements measured" if crop is not None and crop["mean"] else ""
    return f"{sees}{measured}; {values['architecture']}, {networks}, {values['parameters']:,} parameters"


def repairs_made(repairs: Iterable[Repair]) -> str:
    """Says what became of NaN and Inf."""
    repairs = list(repairs)
    if not repairs:
        return "none: all numbers are finite"
    nan, inf = sum(r.nan for r in repairs), sum(r.inf for r in repairs)
    became = "kept" if repairs[0].became is None else "became 0"
    if became != "kept" and any(repair.became for repair in repairs):
        became += " (a variance 1)"
    return f"{nan} NaN and {inf} Inf in {len(repairs)} tensors {became}"


def is_assumed(source: Source) -> bool:
    """Tells whether nothing says who wrote a file."""
    return source.writer_told_by == "assumed"


def assumed_writers(count: int) -> str:
    """Says of how many files nothing says who wrote them."""
    return f"{counted(count, 'writer')} assumed: --writer chainer-X.Y.Z says otherwise"


def writer(source: Source) -> str:
    """Says who wrote a file, and whether that is assumed."""
    return f"{source.writer} (assumed)" if is_assumed(source) else source.writer
