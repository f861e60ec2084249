"""Evaluating a training's checkpoints as they appear, in a process of its own, so that the training is not held up."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from converters.errors import DeepPoseError
from converters.files import told_of
from deeppose_port.training.logs import read_log
from deeppose_port.training.names import EVALUATIONS, epochs_in


def new_checkpoints(
    folder: Path, *, poll: float = 2.0, idle: float | None = None, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Path]:
    """Yields the checkpoints of a result folder that have not been evaluated yet, in the order of their epochs.

    Args:
        folder: The result folder.
        poll: Seconds between looks.
        idle: Seconds without a new one after which it ends; None for never.
        sleep: What waits.

    Raises:
        DeepPoseError: There is no such folder.
    """
    if not folder.is_dir():
        raise DeepPoseError(f"{folder}: there is no such folder; name the result folder of a training")
    seen = {str(entry.get("checkpoint")) for entry in read_log(folder / EVALUATIONS)}
    waited = 0.0
    while True:
        fresh = [file for _, file in epochs_in(folder) if file.name not in seen]
        for file in fresh:
            if file.exists():  # a training may keep its last ones only
                yield file
            seen.add(file.name)
        if fresh:
            waited = 0.0
            continue
        if idle is not None and waited >= idle:
            return
        pause = poll if idle is None else min(poll, idle - waited)
        sleep(pause)
        waited += pause


def record(folder: Path, checkpoint: Path, evaluation: Mapping[str, object]) -> None:
    """Appends an evaluation to the folder's evaluations."""
    entry = {"checkpoint": checkpoint.name, **evaluation}
    file = folder / EVALUATIONS
    with told_of(file, "what stands in it is whole"), file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(entry) + "\n")
