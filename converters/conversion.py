"""From a Checkpoint to a file, and from file to file with a proof that nothing was lost."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters import formats, layouts, streaming
from converters.checkpoint import Array, Checkpoint, Repair, Source, bytes_of
from converters.errors import CheckpointError, DeepPoseError
from converters.files import atomic, hash_file, refuse_targets
from converters.layouts import LAYOUTS
from converters.reading import Opened, read
from converters.repair import POLICIES

#: Called with the step's name, the bytes done and the bytes to do (0: not known).
StepCallback = Callable[[str, int, int], None]
#: The same of one step.
Advance = Callable[[int, int], None]

_SOURCE_SUFFIXES = {*formats.SUFFIXES, ".h5", ".hdf5", ".chainermodel", ".ckpt", ".index"}


@dataclass(frozen=True)
class Report:
    """What a conversion did.

    Attributes:
        source: The file that was read.
        output: The file that was written, or would have been.
        output_format: Its format.
        output_sha256: Its hash; None if nothing was written.
        architecture: Name of the architecture.
        joints: Number of joints.
        tensors: Number of tensors of the network.
        parameters: Number of trained numbers.
        optimizer: Algorithm of the optimizer's state, or None.
        progress: Epoch and iteration, or None.
        preprocessing: What the network was trained on.
        repairs: Non-finite numbers found.
        notices: What the user should know.
        verified: Whether the written bytes were read again and found equal.
    """

    source: Source
    output: str
    output_format: str
    output_sha256: str | None
    architecture: str
    joints: int
    tensors: int
    parameters: int
    optimizer: str | None
    progress: dict[str, Any] | None
    preprocessing: dict[str, Any]
    repairs: tuple[Repair, ...]
    notices: tuple[str, ...]
    verified: bool

    def as_dict(self) -> dict[str, Any]:
        """Returns the report as JSON-ready values."""
        return {
            **asdict(self),
            "source": self.source.as_dict(),
            "repairs": [repair.as_dict() for repair in self.repairs],
            "notices": list(self.notices),
        }


def write(
    checkpoint: Checkpoint,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    layout: str | None = None,
    force: bool = False,
) -> None:
    """Writes a checkpoint: to a temporary name beside `path`, which is renamed when it is whole.

    Args:
        checkpoint: What is written.
        path: The target.
        format: `pt`, `safetensors` or `chainer-npz`; None tells it by the suffix.
        layout: For `chainer-npz`: `head` forces `predictor/` and the last names, `state` writes the optimizer's state,
            `snapshot` a trainer's snapshot; None the model with the wrapper and names that were read (for a path
            that ends in `.state`: the state).
        force: Whether a file that exists may be replaced.

    Raises:
        CheckpointError: The target exists or cannot be written, or the checkpoint lacks what is asked for.
    """
    target = Path(path)
    kind, layout = _kind(target, format, layout)
    refuse_target(target, [], force)
    with refusing(), atomic(target, force=force) as temporary:
        formats.module(kind).write(checkpoint, temporary, layout=layout)


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str] | None = None,
    *,
    format: str | None = None,
    layout: str | None = None,
    architecture: str | None = None,
    model_file: str | os.PathLike[str] | None = None,
    writer: str | None = None,
    nonfinite: str = "zero",
    state: bool = True,
    max_bytes: int = formats.MAX_BYTES,
    force: bool = False,
    dry_run: bool = False,
    progress: StepCallback | None = None,
) -> Report:
    """Reads a checkpoint, writes it in another format, and reads that again to compare every byte.

    Args:
        source: The file to convert; it is never changed.
        target: The file to write; None for the source's name with the format's suffix.
        format: As for `write`; with neither target nor format, `pt`.
        layout: As for `write`.
        architecture: As for `read`.
        model_file: As for `read`.
        writer: As for `read`.
        nonfinite: As for `read`.
        state: As for `read`.
        max_bytes: As for `read`.
        force: Whether a target that exists may be replaced.
        dry_run: Whether to stop before anything is written.
        progress: Called with the step's name, the bytes done and the bytes to do.

    Returns:
        What was done.

    Raises:
        CheckpointError: The source is refused, or the target cannot be written.
    """
    source = Path(source)
    target = default_target(source, format or "pt") if target is None else Path(target)
    kind, layout = _kind(target, format, layout)
    refuse_target(target, [source], force or dry_run)

    def step(name: str) -> Advance | None:
        return None if progress is None else lambda done, total: progress(name, done, total)

    reading: dict[str, Any] = {
        "architecture": architecture,
        "model_file": model_file,
        "writer": writer,
        "state": state,
        "max_bytes": max_bytes,
    }
    if kind == "safetensors" and not dry_run and nonfinite in POLICIES and streaming.AVAILABLE:
        opened = streaming.open_stored(source, progress=step("reading"), **reading)
    else:
        opened = None
    digest: str | None
    if opened is not None and streaming.is_stored(opened):
        checkpoint, digest = _in_pieces(opened, target, nonfinite, force, step)
    else:
        if opened is not None:
            checkpoint = opened.repaired(nonfinite)
        else:
            checkpoint = read(source, nonfinite=nonfinite, progress=step("reading"), **reading)
        refuse_target(target, [checkpoint.source.path, checkpoint.source.state_path], force or dry_run)
        digest = None if dry_run else _in_memory(checkpoint, target, kind, layout, force, step)
    return report_of(checkpoint, target, kind, digest, _left_out(checkpoint, kind, layout))


def report_of(
    checkpoint: Checkpoint, target: Path, kind: str, digest: str | None, notices: tuple[str, ...] = ()
) -> Report:
    """Returns what is reported of a checkpoint that became a file of a hash, or would have become one."""
    return Report(
        source=checkpoint.source,
        output=str(target),
        output_format=kind,
        output_sha256=digest,
        architecture=checkpoint.architecture.name,
        joints=checkpoint.joints,
        tensors=len(checkpoint.weights),
        parameters=checkpoint.parameters,
        optimizer=checkpoint.optimizer.algorithm if checkpoint.optimizer else None,
        progress=checkpoint.progress.as_dict() if checkpoint.progress else None,
        preprocessing=checkpoint.preprocessing.as_dict(),
        repairs=checkpoint.repairs,
        notices=checkpoint.notices + notices,
        verified=digest is not None,
    )


def _left_out(checkpoint: Checkpoint, kind: str, layout: str | None) -> tuple[str, ...]:
    """Says what of a checkpoint its new format does not hold."""
    if checkpoint.optimizer is None:
        return ()
    if kind == "safetensors":
        return ("safetensors holds weights only: the optimizer's state was left out; .pt and chainer-npz take it",)
    if kind == "chainer-npz" and layout in (None, "head"):
        return ("a Chainer model holds weights only: --layout state writes the optimizer's state",)
    return ()


def default_target(source: Path, format: str) -> Path:
    """Returns the source's name with the format's suffix, in place of a checkpoint's suffix if it has one.

    Raises:
        DeepPoseError: There is no such format.
    """
    if format not in formats.FORMATS:
        raise DeepPoseError(f"there is no format {format!r} to write; there are {', '.join(formats.FORMATS)}")
    suffix = next(suffix for suffix, name in formats.SUFFIXES.items() if name == format)
    return with_suffix(formats.resolve(source), suffix)


def with_suffix(source: Path, suffix: str) -> Path:
    """Returns a checkpoint's name with another suffix, in place of a checkpoint's suffix if it has one."""
    return source.with_suffix(suffix) if source.suffix in _SOURCE_SUFFIXES else source.with_name(source.name + suffix)


def checkpoints_in(source: str | os.PathLike[str], format: str = "pt") -> list[Path]:
    """Returns what a conversion of a folder takes: its checkpoints, by content, that are not of `format` already.

    An optimizer's `.state` goes with the `.model` beside it and is not listed. A source that is no folder is returned
    as it is.
    """
    source = Path(source)
    if not source.is_dir():
        return [source]
    files = []
    for file in sorted(source.iterdir()):
        try:
            kind = formats.sniff(file)
        except CheckpointError:
            continue  # a log, a picture, a folder
        is_state = file.suffix == ".state" and file.with_suffix(".model").is_file()
        if kind != format and not is_state:
            files.append(file)
    return files


def _kind(target: Path, format: str | None, layout: str | None) -> tuple[str, str | None]:
    """Returns the format and layout that a target asks for."""
    kind = format or formats.SUFFIXES.get(target.suffix)
    if kind not in formats.FORMATS:
        if format is not None:
            raise DeepPoseError(f"there is no format {format!r} to write; there are {', '.join(formats.FORMATS)}")
        advice = f"name it with --to {' | '.join(formats.FORMATS)}"
        raise CheckpointError(target, f"the suffix {target.suffix!r} names no format", advice)
    if layout is not None and layout not in LAYOUTS:
        raise DeepPoseError(f"there is no layout {layout!r}; there are {', '.join(LAYOUTS)}")
    if layout is not None and kind != "chainer-npz":
        raise CheckpointError(target, f"only chainer-npz has a layout, not {kind}", "leave --layout out")
    if kind == "chainer-npz" and layout is None and target.suffix == ".state":
        layout = "state"
    return kind, layout


def refuse_target(target: Path, read: Iterable[str | os.PathLike[str] | None], force: bool) -> None:
    """Refuses a target that is there already, or among the files that are read under whatever name.

    Raises:
        CheckpointError: It is.
    """
    with refusing():
        refuse_targets([target], force, read=read)


@contextmanager
def refusing() -> Iterator[None]:
    """Tells of a target that is refused as of a checkpoint."""
    try:
        yield
    except CheckpointError:
        raise
    except DeepPoseError as error:
        raise CheckpointError(error.where, error.problem, error.advice) from error


def _in_memory(
    checkpoint: Checkpoint,
    target: Path,
    kind: str,
    layout: str | None,
    force: bool,
    step: Callable[[str], Advance | None],
) -> str:
    """Writes a checkpoint, reads it again, and returns the file's hash."""
    with refusing(), atomic(target, force=force) as temporary:
        if (writing := step("writing")) is not None:
            writing(0, 0)
        formats.module(kind).write(checkpoint, temporary, layout=layout)
        with ThreadPoolExecutor(1) as pool:
            sha256 = pool.submit(hash_file, temporary)
            _verify(checkpoint, temporary, target, layout, step("verifying"))
    return sha256.result()


def _in_pieces(
    opened: Opened, target: Path, nonfinite: str, force: bool, step: Callable[[str], Advance | None]
) -> tuple[Checkpoint, str]:
    """Does the same in pieces; returns the checkpoint, whose large arrays are still in their file, and the hash."""
    refuse_target(target, [opened.checkpoint.source.path, opened.checkpoint.source.state_path], force)
    with refusing(), atomic(target, force=force) as temporary:
        try:
            checkpoint, sha256 = streaming.write_safetensors(opened, temporary, nonfinite, step("converting"))
            broken = _differing_headers(checkpoint, None, formats.module("safetensors").read(temporary))
        except streaming.ReadBackError as error:
            broken = [str(error)]
        except CheckpointError as error:
            if error.path != temporary:
                raise
            raise _unreadable(target, error) from error
        _refuse_differing(target, broken)
    return checkpoint, sha256


def _verify(checkpoint: Checkpoint, path: Path, target: Path, layout: str | None, progress: Advance | None) -> None:
    """Reads a written file again and compares names, kinds, shapes and every byte of its arrays."""
    try:
        broken = _differing(checkpoint, path, layout, progress)
    except DeepPoseError as error:
        raise _unreadable(target, error) from error
    _refuse_differing(target, broken)


def _unreadable(target: Path, error: DeepPoseError) -> CheckpointError:
    problem = f"what was written cannot be read again: {error.problem}"
    return CheckpointError(target, problem, "nothing was left behind; is the disk sound?")


def _refuse_differing(target: Path, broken: Sequence[str]) -> None:
    if broken:
        problem = f"what was written does not read back the same: {', '.join(broken[:5])}"
        raise CheckpointError(target, problem, "nothing was left behind; is the disk sound?")


def _differing(checkpoint: Checkpoint, path: Path, layout: str | None, progress: Advance | None) -> list[str]:
    """Returns what of a written file is not as it was: the keys of arrays, the names of what it says of itself."""
    contents = formats.module(formats.sniff(path)).read(path)
    expected = _expected(checkpoint, contents, layout)
    total, done = sum(array.nbytes for array in expected.values()), 0

    def same(key: str) -> bool:
        nonlocal done
        ours, position = np.frombuffer(bytes_of(expected[key]), np.uint8), 0
        for chunk in contents.chunks(key):
            if not np.array_equal(ours[position : position + len(chunk)], np.frombuffer(chunk, np.uint8)):
                return False
            position += len(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done, total)
        return position == len(ours)

    broken = _differing_headers(checkpoint, layout, contents)
    if not broken:
        equal = formats.in_threads(same, {key: array.nbytes for key, array in expected.items()})
        broken = [key for key, is_equal in equal.items() if not is_equal]
    return broken + (_differing_training(checkpoint, contents) if contents.format == "pt" else [])


def _expected(checkpoint: Checkpoint, contents: formats.Contents, layout: str | None) -> dict[str, Array]:
    return checkpoint.weights if contents.format != "chainer-npz" else layouts.arrays_of(checkpoint, layout)


def _differing_headers(checkpoint: Checkpoint, layout: str | None, contents: formats.Contents) -> list[str]:
    """Returns the keys of arrays that are missing, too many or of another kind, and what else a file says otherwise.

    Repairs may be left out where there are too many.
    """
    ours = {k: (array.dtype, array.shape) for k, array in _expected(checkpoint, contents, layout).items()}
    theirs = {key: (header.dtype, header.shape) for key, header in contents.headers.items()}
    broken = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
    expected, written = (json.loads(json.dumps(said)) for said in (checkpoint.metadata(), contents.metadata or {}))
    differing = [name for name, value in expected.items() if name != "repairs" and written.get(name) != value]
    return broken + [f"{name} (of its metadata)" for name in differing]


def _differing_training(checkpoint: Checkpoint, contents: formats.Contents) -> list[str]:
    """Returns what a `.pt` file holds of the optimizer and the trainer that is not as it was."""
    from converters.formats import pt

    optimizer, trainer = pt.training_of(contents.values)
    read_back = checkpoint.replace(optimizer=optimizer, trainer=trainer)
    expected, actual = _training_arrays(checkpoint), _training_arrays(read_back)
    return sorted(key for key in expected.keys() | actual.keys() if not _same(expected.get(key), actual.get(key)))


def _training_arrays(checkpoint: Checkpoint) -> dict[str, Array]:
    """Returns an optimizer's slots and counters and the rest of the trainer, by names for messages."""
    arrays = dict(checkpoint.replace(weights={}).tensors())
    if checkpoint.optimizer is not None:
        arrays["optimizer.step"] = np.array([checkpoint.optimizer.step, checkpoint.optimizer.epoch])
    return {**arrays, **checkpoint.trainer}


def _same(one: Array | None, other: Array | None) -> bool:
    if one is None or other is None:
        return False
    return (one.dtype, one.shape) == (other.dtype, other.shape) and bytes_of(one) == bytes_of(other)
