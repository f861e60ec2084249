"""What was written is read again, and has to be what it was written from: names, kinds, shapes and every byte."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from converters.cascade import Cascade
from converters.checkpoint import Array, Checkpoint, bytes_of
from converters.errors import CheckpointError, DeepPoseError
from converters.formats import Contents, Format
from converters.layouts import Training
from converters.processors import in_threads
from converters.progress import ProgressCallback
from converters.stored import Stored

_ADVICE = "nothing was left behind; is the disk sound?"


def verify(
    checkpoint: Checkpoint | Cascade,
    path: Path,
    target: Path,
    format: Format,
    layout: str | None,
    progress: ProgressCallback | None,
) -> None:
    """Reads a written file again and compares all that its format holds.

    Args:
        checkpoint: What was written.
        path: Where it is.
        target: Where it will be, for messages.
        format: Its format, which can be read.
        layout: The layout that it was written in.
        progress: Called with the bytes done and the bytes to do.

    Raises:
        CheckpointError: It is not the same, or cannot be read.
    """
    assert format.read is not None
    arrays = checkpoint.weights if isinstance(checkpoint, Cascade) else format.arrays(checkpoint, layout)
    try:
        contents = format.read(path)
        broken = differing_headers(checkpoint, arrays, format, contents)
        broken = broken or _differing_bytes(arrays, path, contents, progress)
        if "optimizer" in format.held(layout):
            broken += _differing_trainings(checkpoint, contents)
    except ValueError as error:
        raise unreadable(target, error) from error
    refuse_differing(target, broken)


def unreadable(target: Path, error: ValueError) -> CheckpointError:
    """Returns what tells that a written file cannot be read."""
    problem = f"what was written cannot be read again: {error.problem if isinstance(error, DeepPoseError) else error}"
    return CheckpointError(target, problem, _ADVICE)


def refuse_differing(target: Path, broken: Sequence[str]) -> None:
    """Refuses a written file that is not as it should be.

    Args:
        target: Where it would have been.
        broken: What of it differs.

    Raises:
        CheckpointError: Something does.
    """
    if broken:
        problem = f"what was written does not read back the same: {', '.join(broken[:5])}"
        raise CheckpointError(target, problem, _ADVICE)


def differing_headers(
    checkpoint: Checkpoint | Cascade, arrays: Mapping[str, Array | Stored], format: Format, contents: Contents
) -> list[str]:
    """Returns the keys of arrays that are missing, too many or of another kind, and what else a file says otherwise.

    Repairs may be left out where there are too many.
    """
    ours = {key: (array.dtype, array.shape) for key, array in arrays.items()}
    theirs = {key: (header.dtype, header.shape) for key, header in contents.headers.items()}
    broken = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
    if "metadata" not in format.holds:
        return broken
    expected, written = (json.loads(json.dumps(said)) for said in (checkpoint.metadata(), contents.metadata or {}))
    differing = [name for name, value in expected.items() if name != "repairs" and written.get(name) != value]
    return broken + [f"{name} (of its metadata)" for name in differing]


def _differing_bytes(
    arrays: Mapping[str, Array], path: Path, contents: Contents, progress: ProgressCallback | None
) -> list[str]:
    """Returns the keys of arrays whose bytes are others."""
    total, done = sum(array.nbytes for array in arrays.values()), 0

    def same(key: str) -> bool:
        nonlocal done
        ours, position = np.frombuffer(bytes_of(arrays[key]), np.uint8), 0
        for chunk in contents.stored(path, key).pieces():
            if not np.array_equal(ours[position : position + len(chunk)], np.frombuffer(chunk, np.uint8)):
                return False
            position += len(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done, total)
        return position == len(ours)

    equal = in_threads(same, {key: array.nbytes for key, array in arrays.items()})
    return [key for key, is_equal in equal.items() if not is_equal]


def _differing_trainings(checkpoint: Checkpoint | Cascade, contents: Contents) -> list[str]:
    """Returns what a file holds otherwise of the trainings of its networks."""
    if isinstance(checkpoint, Cascade):
        networks = checkpoint.networks.items()
        return [
            f"{part}.{what}" for part, one in networks for what in _differing_trainings(one, contents.parts[part]())
        ]
    return [] if contents.training is None else _differing_training(checkpoint, contents.training())


def _differing_training(checkpoint: Checkpoint, training: Training) -> list[str]:
    """Returns what a file holds of the optimizer and the trainer that is not as it was."""
    theirs: dict[str, Array | Stored] = dict(training.trainer)
    for slot, tensors in training.slots.items():
        theirs |= {f"optimizer.{slot}.{name}": tensor for name, tensor in tensors.items()}
    ours = {**dict(checkpoint.replace(weights={}).tensors()), **checkpoint.trainer}
    broken = sorted(key for key in ours.keys() | theirs.keys() if not _same(ours.get(key), theirs.get(key)))
    optimizer = None if checkpoint.optimizer is None else checkpoint.optimizer.without_slots()
    return broken + ["optimizer"] * (optimizer != training.optimizer)


def _same(ours: Array | None, theirs: Array | Stored | None) -> bool:
    if ours is None or theirs is None:
        return False
    read = theirs.read() if isinstance(theirs, Stored) else theirs
    return (ours.dtype, ours.shape) == (read.dtype, read.shape) and bytes_of(ours) == bytes_of(read)
