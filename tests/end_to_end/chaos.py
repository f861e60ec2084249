"""Signals at random instants: what is interrupted leaves whole files or none, and ends the same when it is run again.

    python -m tests.end_to_end.chaos [WORK...] [--signals 200] [--seed 0]

Each work is a command. It is run once in peace, then again and again with SIGINT, SIGTERM or SIGKILL at a random
moment. After each its files are looked at, and it is run to its end. What then lies there is compared with what the run
in peace left, byte for byte, trainings' checkpoints number for number. The exit status is 1 if anything was otherwise.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import converters
from converters.files import hash_file
from tests.conftest import PICTURES, ROOT
from tests.helpers.checkpoint_files import alexnet, save_npz, wrapped
from tests.helpers.trainings import write_csv

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}
#: What tells of the moment and not of the work.
_OF_THE_MOMENT = re.compile(r"log\.txt|log|config\.toml|.*\.lock")
#: What a training saves at each epoch; a state is read with the model beside it.
_CHECKPOINT = re.compile(r"epoch-\d+\.(pt|model)|(last|best)\.pt")
_PAGE = re.compile(r"index\.html")
#: What an interrupted training leaves beside them: where it was, and curves.
_STATE = re.compile(rf"{_OF_THE_MOMENT.pattern}|epoch-\d+\.state|snapshot_iter_\d+(\.pt)?|loss\.png")
#: Seconds after which a command hangs that was sent a signal: on a busy machine, where all take many times as long.
_PATIENCE = 600
#: So many times the signals that are asked for may come late.
_LATE = 3
_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{8}\.tmp|tmp.*")


@dataclass(frozen=True)
class Work:
    """A command, and what is known of what it leaves.

    Attributes:
        arguments: Of the command line, for a folder to write to.
        again: Those that bring it to its end after it was interrupted; None for the same.
        goes_on: Whether what it left in the middle is a part of it, and not nothing.
        differs: The names of files that are not the same in two runs in peace.
        timed: Whether its checkpoints hold times beside their numbers.
    """

    arguments: Callable[[Path], list[object]]
    again: Callable[[Path], list[object]] | None = None
    goes_on: bool = False
    differs: re.Pattern[str] = _OF_THE_MOMENT
    timed: bool = False

    def left(self, folder: Path) -> dict[str, str]:
        """Returns the files that it left in a folder, with the hashes of what is in them."""
        return _hashes(folder, self.differs, self.timed)


def works(inputs: Path) -> dict[str, Work]:
    """Returns the works by name, with the files that they read."""
    model = save_npz(inputs / "epoch-1.model", wrapped(alexnet()))
    (inputs / "results" / "a").mkdir(parents=True)
    for i in range(6):
        shutil.copy(model, inputs / "results" / "a" / f"epoch-{i + 1}.model")
    write_csv(inputs / "train.csv", PICTURES)
    _write_lsp(inputs / "lsp")
    persons = ["--csv", PICTURES / "free.csv", "--images", PICTURES]
    of_training = ["--train-csv", inputs / "train.csv", "--images", PICTURES, "--skeleton", "flic", "--epochs", 12]
    of_training += ["--batch-size", 4, "--snapshot", 1, "--valid-freq", 0, "--show-log-iter", 1, "--fliplr"]
    of_training += ["--width", "2,2,2,2,2,4,4"]

    def training(backend: str) -> Work:
        def again(folder: Path) -> list[object]:
            there = any(re.fullmatch(r"epoch-\d+\.\w+", path.name) for path in folder.glob("*"))
            if not there:
                shutil.rmtree(folder, ignore_errors=True)  # there is nothing to go on with
            output = ["--output", folder, *(["--resume", folder] if there else [])]
            return ["train", "--backend", backend, *of_training[: None if not there else -2], *output]

        return Work(
            lambda folder: ["train", "--backend", backend, *of_training, "--output", folder],
            again,
            goes_on=True,
            differs=_STATE,
            timed=True,
        )

    return {
        "convert": Work(lambda folder: ["convert", model, "-o", _made(folder) / "new.safetensors"]),
        "convert to .pt": Work(lambda folder: ["convert", model, "-o", _made(folder) / "new.pt"]),
        "convert a folder": Work(
            lambda folder: ["convert", "-r", inputs / "results", "-o", folder, "--to", "safetensors"],
            lambda folder: [
                "convert",
                "-r",
                inputs / "results",
                "-o",
                folder,
                "--to",
                "safetensors",
                "--skip-existing",
            ],
            goes_on=True,
        ),
        "pack": Work(
            lambda folder: ["pack", PICTURES / "free.csv", folder, "--images", PICTURES, "--skeleton", "flic"],
            goes_on=True,
        ),
        "prepare": Work(lambda folder: ["prepare", "lsp", inputs / "lsp", folder]),
        "train in PyTorch": training("torch"),
        "train in Chainer": training("chainer"),
        "eval --report": Work(
            lambda folder: ["eval", model, *persons, "--skeleton", "flic", "--report", folder], differs=_PAGE
        ),
    }


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def _write_lsp(folder: Path) -> None:
    """Writes a data set of 2,000 persons as LSP's authors ship theirs; its pictures are one."""
    import cv2
    import numpy as np
    from scipy.io import savemat

    (folder / "images").mkdir(parents=True)
    chance = np.random.default_rng(0)
    joints = chance.uniform(5, 90, (3, 14, 2000))
    joints[2] = 1
    savemat(folder / "joints.mat", {"joints": joints})
    cv2.imwrite(str(folder / "images" / "im0001.jpg"), np.zeros((100, 100, 3), np.uint8))
    for i in range(2, 2001):
        os.link(folder / "images" / "im0001.jpg", folder / "images" / f"im{i:04}.jpg")


@dataclass
class Account:
    """What became of one work.

    Attributes:
        signals: How many came before the work had ended, by name.
        late: How many came after it; others are sent in their place.
        problems: What was not as it should be.
    """

    signals: Counter[str] = field(default_factory=Counter)
    late: int = 0
    problems: list[str] = field(default_factory=list)


def run(name: str, signals: int, seed: int) -> Account:
    """Sends so many signals to a work, each to a run of its own."""
    account, chance = Account(), random.Random(f"{seed} {name}")
    with tempfile.TemporaryDirectory(prefix="deeppose-port-chaos-") as place:
        inputs = Path(place) / "inputs"
        inputs.mkdir()
        work = works(inputs)[name]
        read = _hashes(inputs)
        process = _started(work.arguments(Path(place) / "whole"))
        begun, before = _worked(process.pid), resource.getrusage(resource.RUSAGE_CHILDREN)
        whole = _finished(process, Path(place) / "whole", work)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        ended = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        while account.signals.total() < signals and account.late < _LATE * signals:
            late, n = account.late, account.signals.total() + account.late
            folder = Path(place) / f"run{n}"
            number, moment = chance.choice(list(STATUS)), chance.uniform(begun, ended)
            problem = _interrupted(work, folder, number, moment, whole, account)
            if account.late > late:  # the first run was slower, before everything was in the machine's caches
                ended = moment
            if not problem and _hashes(inputs) != read:
                problem = "an input was changed"
            if problem:
                account.problems.append(f"{name}, signal {n} ({number.name}): {problem}")
            shutil.rmtree(folder, ignore_errors=True)
    return account


def _interrupted(
    work: Work, folder: Path, number: signal.Signals, moment: float, whole: dict[str, str], account: Account
) -> str:
    """Interrupts a run when it has worked for so many seconds, and brings it to its end; returns what was wrong."""
    process = _started(work.arguments(folder))
    while process.poll() is None and _worked(process.pid) < moment:
        time.sleep(0.001)
    process.send_signal(number)
    try:
        said = process.communicate(timeout=_PATIENCE)[0]
    except subprocess.TimeoutExpired:
        account.signals[number.name] += 1
        process.kill()
        return f"it went on for {_PATIENCE} s: {process.communicate()[0][-500:]}"
    if process.returncode == 0:
        account.late += 1
    else:
        account.signals[number.name] += 1
    if process.returncode and process.returncode != STATUS[number]:
        return f"it ended with {process.returncode}: {said[-500:]}"
    if "Traceback" in said:
        return f"a traceback: {said[-500:]}"
    problem = _looked_at(folder, number, work, whole)
    if problem:
        return problem
    left = work.left(folder)
    if process.returncode and (work.goes_on or left != whole):
        try:
            left = _finished(_started((work.again or work.arguments)(folder)), folder, work)
        except RuntimeError as error:
            if "nothing to do" not in str(error):  # a training that was through
                return str(error)
            left = work.left(folder)
    if left != whole:
        names = sorted(path for path in {*left, *whole} if left.get(path) != whole.get(path))
        return f"what it left differs from a run in peace: {', '.join(names)}"
    return ""


def _looked_at(folder: Path, number: signal.Signals, work: Work, whole: dict[str, str]) -> str:
    """Looks at what an interrupted run left: whole files alone, and nothing temporary where it could tidy up."""
    for path in sorted(folder.rglob("*")) if folder.exists() else ():
        if _TEMPORARY.fullmatch(path.name):
            if number != signal.SIGKILL:
                return f"it left {path.name}"
        elif path.suffix == ".html":
            if not path.read_text(encoding="utf-8").rstrip().endswith("</html>"):
                return f"it left half of {path.name}"
        elif path.suffix in (".pt", ".model", ".safetensors"):
            try:
                converters.read(path)
            except converters.CheckpointError as error:
                return f"it left a broken file: {error}"
    if not work.goes_on and number != signal.SIGKILL:
        left = work.left(folder)
        if left and left != whole:
            return f"it left {', '.join(sorted(left))}, a part of the whole"
    return ""


def _started(arguments: list[object]) -> subprocess.Popen[str]:
    """Starts a command, and waits until it looks after signals: before, they are Python's."""
    command = [sys.executable, "-m", "deeppose_port", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        # A shell's jobs in the background ignore Ctrl-C, and what they start does.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while process.poll() is None and not _looks_after_signals(process.pid):
        time.sleep(0.001)
    return process


def _looks_after_signals(process: int) -> bool:
    status = Path(f"/proc/{process}/status").read_text()
    return bool(int(status.partition("SigCgt:")[2].split()[0], 16) >> (signal.SIGTERM - 1) & 1)


def _worked(process: int) -> float:
    """Returns a process's seconds of work: however busy the machine is, they tell how far it has come."""
    times = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")


def _finished(process: subprocess.Popen[str], folder: Path, work: Work) -> dict[str, str]:
    """Lets a command come to its end in peace; returns what it left."""
    said = process.communicate(timeout=3 * _PATIENCE)[0]
    if process.returncode:
        raise RuntimeError(f"run in peace it ended with {process.returncode}: {said[-800:]}")
    temporary = [path.name for path in folder.rglob("*") if _TEMPORARY.fullmatch(path.name)]
    if temporary:
        raise RuntimeError(f"a run in peace left {', '.join(temporary)}")
    return work.left(folder)


def _hashes(folder: Path, but: re.Pattern[str] | None = None, timed: bool = False) -> dict[str, str]:
    """Returns the files of a folder with their contents' hashes."""
    return {
        str(path.relative_to(folder)): (_hash_of_numbers if timed and _CHECKPOINT.fullmatch(path.name) else hash_file)(
            path
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not (but and but.fullmatch(path.name)) and not _TEMPORARY.fullmatch(path.name)
    }


def _hash_of_numbers(path: Path) -> str:
    checkpoint, digest = converters.read(path), hashlib.sha256()
    for name, array in sorted(checkpoint.tensors(), key=lambda tensor: tensor[0]):
        digest.update(name.encode() + array.tobytes())
    return f"{digest.hexdigest()} {checkpoint.progress}"


def main() -> int:
    """Interrupts every work and prints what became of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    with tempfile.TemporaryDirectory() as place:
        names = list(works(Path(place)))
    parser.add_argument("works", nargs="*", metavar="WORK", help=", ".join(names))
    parser.add_argument("--signals", type=int, default=200, help="of all works together")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chosen = options.works or names
    failed = False
    for i, name in enumerate(chosen):
        share = options.signals // len(chosen) + (i < options.signals % len(chosen))
        account = run(name, share, options.seed)
        sent = account.signals.total()
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(account.signals.items()))
        print(
            f"{name}: {sent} signals ({kinds}; {account.late} more came late), {len(account.problems)} failures",
            flush=True,
        )
        failed = failed or sent < share
        for problem in account.problems:
            failed = True
            print(f"  {problem}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
