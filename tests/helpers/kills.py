"""Trainings that are killed with SIGKILL at random moments, and go on; for the tests of both backends."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import converters
from tests.helpers.trainings import same_bits, write_csv

_ROOT = Path(__file__).resolve().parents[2]
#: Checkpoints of either backend. A state alone is half of one, whose other half was not begun.
_CHECKPOINT = re.compile(r"epoch-\d+\.(model|pt)|snapshot_iter_\d+(\.pt)?|(last|best)\.pt")


def kill_again_and_again(tmp_path, pictures, backend, *, kills, epochs, seed):
    """Kills a training at random moments and resumes it each time, to its end; compares with one left in peace.

    Args:
        tmp_path: Where to work.
        pictures: The free pictures.
        backend: `torch` or `chainer`.
        kills: How often it is killed; fewer where it comes to its end before.
        epochs: Of the training.
        seed: Of the moments.
    """
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    _finish(_start(tmp_path, pictures, backend, epochs, whole), tmp_path)
    moments = random.Random(seed)
    done = 0
    for _ in range(kills):
        process = _start(tmp_path, pictures, backend, epochs, killed, resume=done > 0)
        # One in five is killed while it starts or begins to train.
        moment = -moments.uniform(0, 4) if moments.random() < 0.2 else moments.uniform(0, 1)
        status = _kill(process, killed, moment)
        if status == 0:
            done = epochs  # it came to its end before
            break
        assert status == -signal.SIGKILL, _said(tmp_path)
        if not killed.exists():
            continue
        last = _check(killed)
        if (killed / "log.txt").exists():
            assert last >= max(done, _epochs_begun(killed) - 1)
        done = last
        if not done:
            shutil.rmtree(killed)  # there is nothing to go on with
        if done == epochs:
            break
    if done < epochs:
        _finish(_start(tmp_path, pictures, backend, epochs, killed, resume=done > 0), tmp_path)
    assert _check(killed) == epochs
    last = f"epoch-{epochs}.{'pt' if backend == 'torch' else 'model'}"
    assert same_bits(killed / last, whole / last)
    assert {file.name for file in killed.iterdir()} <= {file.name for file in whole.iterdir()}


def _start(tmp_path, pictures, backend, epochs, output, *, resume=False):
    """Starts a training of very small steps in a process of its own: three in two epochs, and a checkpoint an epoch."""
    csv = tmp_path / "train.csv"
    if not csv.exists():
        write_csv(csv, pictures)
    options = ["--train-csv", csv, "--images", pictures, "--skeleton", "flic", "--output", output, "--epochs", epochs]
    options += ["--batch-size", 4, "--snapshot", 1, "--valid-freq", 0, "--show-log-iter", 1, "--fliplr", "--rotate"]
    options += ["--resume", output] if resume else ["--recipe", "legacy", "--width", "2,2,2,2,2,4,4"]
    command = [sys.executable, "-m", "deeppose_port", "train", "--backend", backend, *map(str, options)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (tmp_path / "output.txt").open("a") as log:
        return subprocess.Popen(command, cwd=_ROOT, stdout=log, stderr=log, env=environment)


def _finish(process, tmp_path):
    assert process.wait(timeout=300) == 0, _said(tmp_path)


def _said(tmp_path):
    return (tmp_path / "output.txt").read_text()[-2000:]


def _epochs_begun(folder):
    """The epochs that were complete at the last step that log.txt tells of."""
    told = re.findall(r"INFO:root:epoch:(\d+),", (folder / "log.txt").read_text())
    return int(told[-1]) if told else 0


def _kill(process, folder, moment):
    """Kills a process: at a moment after its start if that is negative, else so many seconds after its first step."""
    log = folder / "log.txt"
    size = log.stat().st_size if log.exists() else 0
    end = time.monotonic() + 120
    while moment >= 0 and process.poll() is None and time.monotonic() < end:
        if log.exists() and "INFO:root:epoch:" in log.read_bytes()[size:].decode():
            break
        time.sleep(0.01)
    time.sleep(abs(moment))
    process.send_signal(signal.SIGKILL)
    return process.wait(timeout=300)


def _check(folder):
    """Reads every checkpoint; returns the epochs that the last of them has behind it, 0 where there is none."""
    last = 0
    for file in folder.iterdir():
        if _CHECKPOINT.fullmatch(file.name):
            checkpoint = converters.read(file)
            assert checkpoint.repairs == ()
            assert checkpoint.optimizer.step == checkpoint.progress.iteration
            last = max(last, checkpoint.progress.epoch)
    return last
