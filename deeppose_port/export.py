"""From a checkpoint to a network that other programs run: ONNX, or PyTorch's archive of `torch.export`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import converters
from converters import Report
from converters.conversion import StepCallback, refuse_target, refusing, report_of, with_suffix
from converters.errors import DeepPoseError
from converters.files import atomic, hash_file
from converters.reading import read

#: What can be written -> the suffix of its files.
FORMATS = {"onnx": ".onnx", "torch-export": ".pt2"}


def format_of(format: str | None, target: Path | None) -> str | None:
    """Returns which of these formats is asked for, by name or by a target's suffix; None for none of them."""
    if format is not None:
        return format if format in FORMATS else None
    return next((name for name, suffix in FORMATS.items() if target is not None and target.suffix == suffix), None)


def default_target(source: Path, format: str) -> Path:
    """Returns a source's name with the suffix of any format, one of `converters` or one of these."""
    return with_suffix(source, FORMATS[format]) if format in FORMATS else converters.default_target(source, format)


def export(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str] | None = None,
    *,
    format: str = "onnx",
    force: bool = False,
    dry_run: bool = False,
    progress: StepCallback | None = None,
    **reading: Any,
) -> Report:
    """Writes a checkpoint's network for other programs, and runs that to compare its outputs with PyTorch's.

    Args:
        source: The file; it is never changed.
        target: The file to write; None for the source's name with the format's suffix.
        format: `onnx`, or `torch-export` for a `.pt2` archive.
        force: Whether a target that exists may be replaced.
        dry_run: Whether to stop before anything is written.
        progress: Called with each step's name, the bytes done and the bytes to do (0: not known).
        reading: As for `converters.read`.

    Returns:
        What was done; `verified` says that the outputs were equal, to 1e-5.

    Raises:
        CheckpointError: The source is refused, the target cannot be written, or what is needed is not installed.
        DeepPoseError: There is no such format.
    """
    if format not in FORMATS:
        raise DeepPoseError(f"there is no format {format!r} to export to; there are {', '.join(FORMATS)}")
    source = Path(source)
    target = default_target(source, format) if target is None else Path(target)
    refuse_target(target, [source], force or dry_run)
    checkpoint = read(source, **{**reading, "state": False})
    refuse_target(target, [checkpoint.source.path], force or dry_run)
    if progress is not None:
        progress("exporting", 0, 0)
    if dry_run:
        return report_of(checkpoint, target, format, None)
    from deeppose_port.backends.torch import export as engine

    write = engine.to_onnx if format == "onnx" else engine.to_torch_export
    with refusing(), atomic(target, force=force) as temporary:
        write(checkpoint, temporary)
        digest = hash_file(temporary)
    return report_of(checkpoint, target, format, digest)
