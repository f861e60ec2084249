"""The result folder, laid out as the legacy program's.

    config.toml          what the run was told; `--config` and `--resume` take it from there
    log.txt              the options and losses in the legacy format; `--resume` takes hyper-parameters from it
    log                  the losses as JSON (Chainer), or JSON a line (PyTorch)
    epoch-N.model        the weights                              Chainer
    epoch-N.state        the optimizer                            Chainer
    snapshot_iter_N      the whole trainer                        Chainer
    best.model .state    the best of the epochs                   Chainer
    epoch-N.pt           all of that                              PyTorch; snapshot_iter_N.pt within an epoch
    last.pt best.pt      the last and the best of them            PyTorch
    displacements.json   of a later stage of a cascade, what it is trained on; its checkpoints are .pt in either
    evaluations          the metrics of its checkpoints, by `watch`
    joint0/ joint1/ …    of a stage of one network a joint, each one's result folder, which begins with its start
    before.pt            the stages before that; last.pt and best.pt are all stages together, when all joints have ended

Checkpoints are written under another name and renamed when they are whole, so that a run that is killed leaves none in
part; what it was writing then is swept away when the folder is opened again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Literal

import converters
from converters import Checkpoint, Progress, Source
from converters.cascade import one_network
from converters.errors import DeepPoseError
from converters.files import atomic, made, same_file, sweep, told_of
from converters.folders import new_folder
from deeppose_port.data.spread import Chance
from deeppose_port.options import values_of
from deeppose_port.training.average import trained_of
from deeppose_port.training.config import write_config
from deeppose_port.training.lock import Lock
from deeppose_port.training.logs import Entry, numbers_of, read_log
from deeppose_port.training.names import (
    BEFORE,
    BEST,
    CONFIG,
    DISPLACEMENTS,
    ENDED,
    LAST,
    LOG,
    LOG_TXT,
    CheckpointName,
    checkpoints_in,
    epochs_in,
    is_joint_folder,
    joint_folder,
    joint_folders,
)
from deeppose_port.training.options import TrainingOptions
from deeppose_port.training.stage import LaterStage
from deeppose_port.training.start import Start

#: How a training's checkpoints lie in its result folder: `.pt`, or the npz files of Chainer.
CheckpointFiles = Literal["pt", "chainer-npz"]


class ResultFolder:
    """The folder that one run writes into; a context, after which others may train into it.

    Attributes:
        path: The folder.
        files: What its checkpoints are.
        writes: Whether this process writes; of several that train together one does.
        later: What its checkpoints hold beside the network, where a later stage of a cascade is trained.
    """

    def __init__(
        self, path: Path, files: CheckpointFiles = "pt", writes: bool = True, later: LaterStage | None = None
    ) -> None:
        self.path = path
        self.files = files
        self.writes = writes
        self.later = later
        self._closing = ExitStack()

    @classmethod
    def open(
        cls,
        options: TrainingOptions,
        start: Start,
        files: CheckpointFiles = "pt",
        writes: bool = True,
        notice: Callable[[str], None] = lambda sentence: None,
        begin: Callable[[ResultFolder], None] = lambda folder: None,
    ) -> ResultFolder:
        """Makes a new folder, or goes on in the one that the resumed checkpoint lies in.

        Args:
            options: Of the run; they name the folder.
            start: What the run starts from.
            files: What its checkpoints are.
            writes: Whether this process writes.
            notice: Told where the lock of a run that is gone is taken over.
            begin: Writes what has to be there first; where it fails, so does this, and a new folder is removed.

        Raises:
            DeepPoseError: Another process trains into the folder, or it holds another run, or checkpoints later than
                the resumed one.
        """
        path = options.output
        if path is None:
            name = f"{start.checkpoint.architecture.name}_{datetime.now():%Y-%m-%d_%H-%M-%S}"
            path = Path("results") / name
        folder = cls(path, files, writes, start.later)
        if writes:
            with ExitStack() as closing:
                closing.enter_context(made(new_folder(path)))
                closing.callback(Lock(path, notice).release)
                folder._prepare(start)
                folder._copy_source(start)
                begin(folder)
                folder._closing = closing.pop_all()
        return folder

    def close(self) -> None:
        """Lets others train into the folder."""
        self._closing.close()

    def __enter__(self) -> ResultFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.__exit__(kind, error, traceback)  # a folder that was made for a run that failed goes again

    def _prepare(self, start: Start) -> None:
        """Removes what a run that is gone was writing, and refuses a folder that this run would spoil."""
        path = self.path
        resumed_in = start.resumed.resolve().parent if start.resumed else None
        sweep(path)
        kept = {name: file for name, file in checkpoints_in(path) if not _is_remnant(file)}
        if resumed_in != path.resolve():
            if self.goes_on_with_joints(start):
                return  # their own folders are looked at in their turn
            of_joints = joint_folders(path)
            if kept or of_joints or (path / LOG).exists():
                advice = "resume from it"
                if of_joints and not (path / BEFORE).is_file():
                    advice = "delete it, it ended before it had begun"
                elif not kept and not of_joints:
                    advice = "delete its log, it has no checkpoint to resume from"
                raise DeepPoseError(f"{path}: this folder holds another run ({advice}, or name another with --output)")
            return
        later = [name for name in kept if name.is_after(start.epoch, start.iteration)]
        if later and not (trained_of(start.checkpoint) is not None and _lack_a_snapshot(later)):
            names = ", ".join(sorted(map(str, later)))
            advice = f"resume from the last of them, or name another folder with --output; there is {names}"
            raise DeepPoseError(f"{path}: resuming {start.resumed} would overwrite later checkpoints ({advice})")

    def _copy_source(self, start: Start) -> None:
        """Puts the model file that the network was read from into the folder, as the legacy program did."""
        source = start.checkpoint.architecture.source
        if source is None or (self.path / source.file).exists():
            return
        with atomic(self.path / source.file, force=False) as temporary:
            temporary.write_text(source.text, encoding="utf-8")

    # --- checkpoints -------------------------------------------------------------------------------------------------

    def save(
        self,
        checkpoint: Checkpoint,
        *,
        epoch_ended: bool,
        due: bool = True,
        best: bool = False,
        keep: int | None = None,
    ) -> list[Path]:
        """Writes a checkpoint, and then removes those that are not to be kept.

        Args:
            checkpoint: What is written.
            epoch_ended: Whether an epoch ended with it.
            due: Whether it is the turn of one. A best one that is not due is of Chainer's files `best.model` and
                `best.state` alone, since each checkpoint there takes six times the weights.
            best: Whether it is the best.
            keep: Number of epochs' checkpoints to keep; None for all.

        Returns:
            The files.
        """
        write = self._save_pt if self.files == "pt" else self._save_npz
        files = write(checkpoint, epoch_ended, due, best)
        if keep is not None:
            self._forget(keep)
        return files

    def _save_pt(self, checkpoint: Checkpoint, epoch_ended: bool, due: bool, best: bool) -> list[Path]:
        """Writes a checkpoint as `.pt`, under the names `last.pt` and, if it is, `best.pt` too.

        A run that is killed goes on from the name that is written last, so that it lacks none of the others.
        """
        progress = checkpoint.progress
        assert progress is not None
        name = _epoch_name(progress, ".pt") if epoch_ended else _snapshot_name(progress, ".pt")
        files = [self.path / str(name), self.path / f"{LAST}.pt"] + [self.path / f"{BEST}.pt"] * best
        whole = checkpoint if self.later is None else self.later.with_networks(checkpoint)
        converters.write(whole, files[-1], force=True)
        for other in reversed(files[:-1]):
            same_file(files[-1], other)
        return files

    def _save_npz(self, checkpoint: Checkpoint, epoch_ended: bool, due: bool, best: bool) -> list[Path]:
        """Writes a snapshot, and before it the best, and at an epoch's end the optimizer's state and the model.

        The order is for runs that are killed in between: a state alone is no checkpoint, and is written again.
        """
        progress = checkpoint.progress
        assert progress is not None
        layouts, files = {".state": "state", ".model": "head"}, []
        bests = [self._write_npz(checkpoint, f"{BEST}{suffix}", layout) for suffix, layout in layouts.items() if best]
        if due and epoch_ended:
            for suffix, layout in layouts.items():
                name = str(_epoch_name(progress, suffix))
                files.append(self.path / name)
                if best:
                    same_file(self.path / f"{BEST}{suffix}", files[-1])
                else:
                    self._write_npz(checkpoint, name, layout)
        if due:
            files.append(self._write_npz(checkpoint, str(_snapshot_name(progress, "")), "snapshot"))
        return files + bests

    def _write_npz(self, checkpoint: Checkpoint, name: str, layout: str) -> Path:
        path = self.path / name
        converters.write(checkpoint, path, format="chainer-npz", layout=layout, force=True)
        return path

    def _forget(self, keep: int) -> None:
        """Removes all but the last epochs' checkpoints, and of Chainer's the snapshots before them."""
        kinds = ("epoch",) if self.files == "pt" else ("epoch", "snapshot")
        found = sorted(checkpoints_in(self.path), key=lambda each: each[0].suffix)  # a model before its state
        for kind in kinds:
            kept = sorted({name.number for name, _ in found if name.kind == kind})[-keep:]
            for name, file in found:
                if name.kind == kind and name.number not in kept:
                    file.unlink()

    def write_config(self, backend: str, options: TrainingOptions) -> None:
        """Writes what the run was told into its config.toml."""
        with atomic(self.path / CONFIG, force=True) as temporary:
            write_config(temporary, backend, options)

    def write_displacements(self, text: str) -> None:
        """Writes what a later stage of a cascade is trained on."""
        self._write(DISPLACEMENTS, text)

    # --- one network a joint -----------------------------------------------------------------------------------------

    def goes_on_with_joints(self, start: Start) -> bool:
        """Tells whether a run goes on with a stage of one network a joint where it is, in this folder."""
        return start.resumed is not None and is_joint_folder(start.resumed.parent, self.path)

    def begin_joints(self, starts: Iterable[Start], epochs: int) -> None:
        """Writes what a stage of one network a joint goes on from, whenever it is ended.

        Args:
            starts: What each joint's network starts from.
            epochs: How many each has in the end.

        Raises:
            DeepPoseError: All have as many behind them, or a start is refused; then nothing is left behind.
        """
        assert self.later is not None
        with ExitStack() as undone:
            written: tuple[Checkpoint, Path] | None = None
            due = False
            for joint, start in enumerate(starts):
                folder = joint_folder(self.path, joint)
                file = folder / str(CheckpointName("epoch", start.epoch, ".pt"))
                with told_of(folder):
                    folder.mkdir(exist_ok=True)
                undone.callback(folder.rmdir)
                undone.callback(file.unlink, missing_ok=True)
                if written is not None and start.checkpoint is written[0]:
                    same_file(written[1], file)
                else:
                    behind = Progress(start.epoch, start.iteration)
                    converters.write(start.checkpoint.replace(progress=behind), file, force=True)
                    written = start.checkpoint, file
                due = due or start.epoch < epochs
            if not due:
                raise DeepPoseError(
                    f"each joint has {epochs} epochs behind it, and --epochs is {epochs}: nothing to do"
                )
            # The last of them: where a run is killed before, there is nothing to go on with.
            converters.write(self.later.before, self.path / BEFORE, force=True)
            undone.pop_all()

    def end(self, epochs: int) -> None:
        """Writes that its training has ended, a joint's or all joints', which may be before the last epoch."""
        self._write(ENDED, f"{epochs}\n")

    def has_ended(self, epochs: int) -> bool:
        """Tells whether its training of so many epochs has ended, a joint's or all joints'."""
        try:
            ended = int((self.path / ENDED).read_text(encoding="utf-8"))
            return ended >= epochs and (self.path / f"{LAST}.pt").is_file()
        except (OSError, ValueError):
            return False

    def join(self, joints: int) -> list[Path]:
        """Puts the networks of all joints together: `last.pt`, and `best.pt` where each has a best one.

        Returns:
            The files.
        """
        assert self.later is not None
        files = []
        for name in (f"{LAST}.pt", f"{BEST}.pt"):
            found = [joint_folder(self.path, joint) / name for joint in range(joints)]
            if name == f"{LAST}.pt":  # one that had enough behind it is what it began with
                found = [file if file.is_file() else epochs_in(file.parent)[-1][1] for file in found]
            if all(file.is_file() for file in found):
                networks = (one_network(converters.read(file, state=False)) for file in found)
                whole = self.later.with_networks(*networks)
                stages = [replace(stage, networks=tuple(map(_as_made, stage.networks))) for stage in whole.stages]
                converters.write(replace(whole, stages=tuple(stages)), self.path / name, force=True)
                files.append(self.path / name)
        return files

    # --- logs --------------------------------------------------------------------------------------------------------

    def begin(self, options: TrainingOptions, start: Start, program: str, entries: Sequence[Entry]) -> None:
        """Begins a run in log.txt, in the legacy format, with the version and the options; and `log` with its past."""
        preprocessing = start.checkpoint.preprocessing
        said = values_of(options)
        said["augment"] = said.pop("method")
        said |= {
            "im_size": preprocessing.im_size,
            "base_zoom": preprocessing.base_zoom,
            "coord_normalize": preprocessing.coord_normalize,
            "gcn": preprocessing.gcn != "none",
            "n_joints": start.checkpoint.joints,
        }
        said |= start.hyperparameters.said()
        literals = {name: str(value) if isinstance(value, Path | Chance) else value for name, value in said.items()}
        arguments = ", ".join(f"{name}={value!r}" for name, value in sorted(literals.items()))
        self._write_lines(program, f"Namespace({arguments})")
        if self.files == "pt":
            self._write(LOG, "".join(map(_line, entries)))

    def log(self, entries: Sequence[Entry]) -> None:
        """Writes the last entry of the log into `log`, of Chainer's files with all before it, and into log.txt."""
        entry = entries[-1]
        if self.files == "pt":
            _append(self.path / LOG, _line(entry))
        else:
            self._write(LOG, json.dumps(entries, indent=4, allow_nan=False))
        losses = {
            name: math.nan if value is None else value for name, value in entry.items() if name.endswith("main/loss")
        }
        told = "".join(f"{name}:{value}, " for name, value in losses.items())
        self._write_lines(f"epoch:{entry['epoch']}, {told}")

    def earlier_log(self, start: Start) -> list[Entry]:
        """Returns what a run that goes on has behind it: of `log`, or of the snapshot that it starts from."""
        entries = map(numbers_of, read_log(self.path / LOG))
        behind = [entry for entry in entries if (entry.get("iteration") or 0) <= start.iteration]
        return behind or list(map(numbers_of, start.log()))

    def _write_lines(self, *lines: str) -> None:
        _append(self.path / LOG_TXT, "".join(f"INFO:root:{line}\n" for line in lines))

    def _write(self, name: str, text: str) -> None:
        with atomic(self.path / name, force=True) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _append(path: Path, text: str) -> None:
    with (
        told_of(path, "the checkpoints are whole; --resume goes on from the last"),
        path.open("a", encoding="utf-8") as stream,
    ):
        stream.write(text)


def _as_made(network: Checkpoint) -> Checkpoint:
    """Returns a network that comes from where it was made, through whichever of our files it went."""
    origin = network.source.origin
    return network if origin is None else network.replace(source=Source.from_dict(origin))


def _epoch_name(progress: Progress, suffix: str) -> CheckpointName:
    assert progress.epoch is not None
    return CheckpointName("epoch", progress.epoch, suffix)


def _lack_a_snapshot(names: Sequence[CheckpointName]) -> bool:
    """Tells whether checkpoints are those of one epoch of Chainer's, before whose snapshot a run was killed.

    Without it they hold of a running average nothing to go on from, and are written again.
    """
    return all(name.suffix in (".model", ".state") for name in names) and len({name.number for name in names}) == 1


def _snapshot_name(progress: Progress, suffix: str) -> CheckpointName:
    assert progress.iteration is not None
    return CheckpointName("snapshot", progress.iteration, suffix)


def _line(entry: Entry) -> str:
    return json.dumps(entry, allow_nan=False) + "\n"


def _is_remnant(file: Path) -> bool:
    """Tells whether a file is a state whose model a killed run did not come to write."""
    return file.suffix == ".state" and not file.with_suffix(".model").exists()
