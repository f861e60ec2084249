"""The result folder, laid out as the legacy program's.

    log.txt              the options and losses in the legacy format; `--resume` takes hyper-parameters from it
    log                  the losses as JSON (Chainer), or JSON a line (PyTorch)
    epoch-N.model        the weights                              Chainer
    epoch-N.state        the optimizer                            Chainer
    snapshot_iter_N      the whole trainer                        Chainer
    epoch-N.pt           all of that                              PyTorch; snapshot_iter_N.pt within an epoch
    last.pt best.pt      the last and the best of them            PyTorch
    evaluations          the metrics of its checkpoints, by `eval --watch`

Checkpoints are written under another name and renamed when they are whole, so that a run that is killed leaves none in
part; what it was writing then is swept away when the folder is opened again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import converters
from converters import Checkpoint
from converters.errors import DeepPoseError
from converters.files import atomic, same_file, sweep
from deeppose_port.options import values_of
from deeppose_port.training.options import OPTIMIZERS, TrainingOptions
from deeppose_port.training.start import Start

_CHECKPOINT = re.compile(r"epoch-(\d+)\.(model|state|pt)|snapshot_iter_(\d+)(\.pt)?")
#: The file that holds what `eval --watch` found of the checkpoints, JSON a line.
EVALUATIONS = "evaluations"


class ResultFolder:
    """The folder that one run writes into.

    Attributes:
        path: The folder.
        writes: Whether this process writes; of several that train together one does.
    """

    def __init__(self, path: Path, writes: bool = True) -> None:
        self.path = path
        self.writes = writes

    @classmethod
    def open(cls, options: TrainingOptions, start: Start, writes: bool = True) -> ResultFolder:
        """Makes a new folder, or goes on in the one that the resumed checkpoint lies in.

        Raises:
            DeepPoseError: The folder holds another run, or checkpoints later than the resumed one.
        """
        path = options.output
        resumed_in = start.resumed.resolve().parent if start.resumed else None
        if path is None:
            name = f"{start.checkpoint.architecture.name}_{datetime.now():%Y-%m-%d_%H-%M-%S}"
            path = Path("results") / name
        if not writes:
            return cls(path, writes=False)
        path.mkdir(parents=True, exist_ok=True)
        folder = cls(path)
        sweep(path)
        kept = [file for file in path.iterdir() if _CHECKPOINT.fullmatch(file.name) and not _is_remnant(file)]
        if resumed_in != path.resolve():
            if kept or (path / "log").exists():
                advice = "resume from it" if kept else "delete its log, it has no checkpoint to resume from"
                raise DeepPoseError(f"{path}: this folder holds another run ({advice}, or name another with --output)")
            return folder
        later = sorted(file.name for file in kept if _after(file.name, start.epoch, start.iteration))
        if later:
            advice = f"resume from the last of them, or name another folder with --output; there is {', '.join(later)}"
            raise DeepPoseError(f"{path}: going on from {start.resumed} would overwrite later checkpoints ({advice})")
        return folder

    def save(self, checkpoint: Checkpoint, *, epoch_ended: bool) -> list[Path]:
        """Writes a checkpoint: a snapshot, and at an epoch's end the optimizer's state and the model before it.

        The order is for runs that are killed in between: a state alone is no checkpoint, and is written again.

        Returns:
            The files, the snapshot last.
        """
        assert checkpoint.progress is not None
        names: list[tuple[str, str]] = []
        if epoch_ended:
            epoch = checkpoint.progress.epoch
            names = [(f"epoch-{epoch}.state", "state"), (f"epoch-{epoch}.model", "head")]
        names.append((f"snapshot_iter_{checkpoint.progress.iteration}", "snapshot"))
        files = []
        for name, layout in names:
            files.append(self.path / name)
            converters.write(checkpoint, files[-1], format="chainer-npz", layout=layout, force=True)
        return files

    def save_pt(self, checkpoint: Checkpoint, *, epoch_ended: bool, best: bool, keep: int | None) -> list[Path]:
        """Writes a checkpoint as `.pt`, and gives it the names `last.pt` and, if it is, `best.pt` too.

        Args:
            checkpoint: What is written.
            epoch_ended: Whether an epoch ended with it.
            best: Whether it is the best.
            keep: Number of epochs' files to keep; None for all.

        Returns:
            The files.
        """
        progress = checkpoint.progress
        assert progress is not None
        name = f"epoch-{progress.epoch}.pt" if epoch_ended else f"snapshot_iter_{progress.iteration}.pt"
        files = [self.path / name, self.path / "last.pt"] + [self.path / "best.pt"] * best
        converters.write(checkpoint, files[0], force=True)
        for other in files[1:]:
            same_file(files[0], other)
        if keep is not None:
            epochs = [(int(m[1]), f) for f in self.path.iterdir() if (m := re.fullmatch(r"epoch-(\d+)\.pt", f.name))]
            for _, file in sorted(epochs)[:-keep]:
                file.unlink()
        return files

    def write_header(self, options: TrainingOptions, start: Start, program: str) -> None:
        """Begins a run in log.txt, in the legacy format: the version and the options."""
        preprocessing, hyper = start.checkpoint.preprocessing, start.hyperparameters
        said = values_of(options)
        said["augment"] = said.pop("method")
        said |= {
            "im_size": preprocessing.im_size,
            "base_zoom": preprocessing.base_zoom,
            "coord_normalize": preprocessing.coord_normalize,
            "gcn": preprocessing.gcn != "none",
            "n_joints": start.checkpoint.joints,
            "opt": OPTIMIZERS[hyper.algorithm],
            "lr": hyper.lr,
            "adam_alpha": hyper.lr if hyper.algorithm == "adam" else None,
            "adam_beta1": hyper.beta1,
            "adam_beta2": hyper.beta2,
            "adam_eps": hyper.eps,
            "momentum": hyper.momentum,
            "weight_decay": hyper.weight_decay,
            "lr_decay_freq": hyper.lr_decay_freq,
            "lr_decay_ratio": hyper.lr_decay_ratio,
            "schedule": hyper.schedule,
            "warmup": hyper.warmup,
        }
        literals = {name: str(value) if isinstance(value, Path) else value for name, value in said.items()}
        arguments = ", ".join(f"{name}={value!r}" for name, value in sorted(literals.items()))
        self.write_lines(program, f"Namespace({arguments})")

    def write_lines(self, *lines: str) -> None:
        """Appends lines to log.txt."""
        with (self.path / "log.txt").open("a", encoding="utf-8") as stream:
            stream.writelines(f"INFO:root:{line}\n" for line in lines)

    def write_losses(self, entry: Mapping[str, Any]) -> None:
        """Appends an entry of the log to log.txt, as the legacy program spelled it."""
        losses = "".join(f"{name}:{value}, " for name, value in entry.items() if name.endswith("loss"))
        self.write_lines(f"epoch:{entry['epoch']}, {losses}")

    def earlier_log(self, iteration: int) -> list[dict[str, Any]]:
        """Returns the entries of `log` up to an iteration: what a run that goes on has behind it."""
        return [entry for entry in read_log(self.path / "log") if entry.get("iteration", 0) <= iteration]

    def write_log(self, entries: list[dict[str, Any]]) -> None:
        """Writes the `log` as Chainer's LogReport does, as a list in JSON."""
        self._replace_log(json.dumps(entries, indent=4))

    def restart_log(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Writes the `log` that a run begins with, a line of JSON for each entry."""
        self._replace_log("".join(json.dumps(entry) + "\n" for entry in entries))

    def _replace_log(self, text: str) -> None:
        with atomic(self.path / "log", force=True) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def append_log(self, entry: Mapping[str, Any]) -> None:
        """Appends an entry to `log`, as a line of JSON."""
        with (self.path / "log").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """Reads a `log`: a JSON list as Chainer's LogReport writes it, or JSON a line.

    Returns:
        The entries; none if there is no such file, and those before the damage if it is damaged.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return []
    try:
        entries = json.loads(text)
        entries = entries if isinstance(entries, list) else [entries]
    except (ValueError, RecursionError):
        entries = []
        for line in text.splitlines():
            try:
                entries.append(json.loads(line))
            except (ValueError, RecursionError):
                break  # the line that a killed run was writing
    return [entry for entry in entries if isinstance(entry, dict)]


def _is_remnant(file: Path) -> bool:
    """Tells whether a file is a state whose model a killed run did not come to write."""
    return file.suffix == ".state" and not file.with_suffix(".model").exists()


def _after(name: str, epoch: int, iteration: int) -> bool:
    """Tells whether a checkpoint's name says that it is later than an epoch and iteration."""
    found = _CHECKPOINT.fullmatch(name)
    assert found is not None
    return int(found[1]) > epoch if found[1] else int(found[3]) > iteration
