"""The names of the files in a result folder, the legacy program's and ours; no other module knows them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from converters.values import dataclass

#: The losses in JSON: a list (Chainer), or a line an entry (PyTorch).
LOG = "log"
#: The options and the losses in the legacy format.
LOG_TXT = "log.txt"
#: What `watch` found, JSON a line.
EVALUATIONS = "evaluations"
#: The curves of the losses.
PLOT = "loss.png"
#: What the run was told.
CONFIG = "config.toml"
#: What a later stage of a cascade is trained on.
DISPLACEMENTS = "displacements.json"
#: Of a stage of one network a joint: the stages before it, and, there and in a joint's folder, under how many epochs it
#: ended.
BEFORE, ENDED = "before.pt", "ended"
#: Who is training into the folder.
LOCK = ".lock"
#: Before the suffix, the checkpoint that was written last, and the best one.
LAST, BEST = "last", "best"

_JOINT = re.compile(r"joint\d+")
_CHECKPOINT = re.compile(
    r"epoch-(?P<epoch>\d{1,15})(\.model|\.state|\.pt)|snapshot_iter_(?P<iteration>\d{1,15})(\.pt)?"
)


@dataclass(frozen=True)
class CheckpointName:
    """The name of a checkpoint: `epoch-12.model` at an epoch's end, `snapshot_iter_340` of a whole trainer.

    Attributes:
        kind: Which of the two.
        number: Epochs or iterations behind it.
        suffix: `.model`, the weights; `.state`, the optimizer; `.pt` or nothing, all there is.
    """

    kind: Literal["epoch", "snapshot"]
    number: int
    suffix: str

    @classmethod
    def parse(cls, name: str) -> CheckpointName | None:
        """Reads a file's name; None if it is no checkpoint's."""
        found = _CHECKPOINT.fullmatch(name)
        if found is None:
            return None
        if found["epoch"] is not None:
            return cls("epoch", int(found["epoch"]), found[2])
        return cls("snapshot", int(found["iteration"]), found[4] or "")

    def __str__(self) -> str:
        return f"{'epoch-' if self.kind == 'epoch' else 'snapshot_iter_'}{self.number}{self.suffix}"

    @property
    def epoch(self) -> int | None:
        """The epochs behind an epoch's checkpoint; None for a snapshot."""
        return self.number if self.kind == "epoch" else None

    @property
    def has_weights(self) -> bool:
        """Whether the file can be evaluated."""
        return self.suffix != ".state"

    def is_after(self, epoch: int, iteration: int) -> bool:
        """Tells whether it is of a later moment of its run."""
        return self.number > (epoch if self.kind == "epoch" else iteration)


def checkpoints_in(folder: Path) -> Iterator[tuple[CheckpointName, Path]]:
    """Yields the checkpoints of a result folder, in no order."""
    for file in folder.iterdir():
        name = CheckpointName.parse(file.name)
        if name is not None:
            yield name, file


def joint_folder(folder: Path, joint: int) -> Path:
    """Returns where, in a result folder, one joint's network is trained: a result folder too."""
    return folder / f"joint{joint}"


def is_joint_folder(path: Path, folder: Path) -> bool:
    """Tells whether a path is such a folder of a result folder."""
    return path.parent.resolve() == folder.resolve() and _JOINT.fullmatch(path.name) is not None


def joint_folders(folder: Path) -> list[Path]:
    """Returns those that are there, in no order."""
    return [path for path in folder.iterdir() if _JOINT.fullmatch(path.name) and path.is_dir()]


def epochs_in(folder: Path) -> list[tuple[int, Path]]:
    """Returns the files with the weights of an epoch's end, with their epochs, in the epochs' order."""
    found = checkpoints_in(folder)
    return sorted((name.number, file) for name, file in found if name.kind == "epoch" and name.has_weights)
