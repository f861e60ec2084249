"""Trainings that are killed with SIGKILL at random moments, and go on; for the tests of both backends."""

import os
import random
import re
import subprocess
import sys
import time

import numpy as np
from trainings import NARROW_WIDTH, run, same_bits, write_csv

import converters
from deeppose_port.training.folder import read_log

_CHECKPOINT = re.compile(r"(?:epoch-|snapshot_iter_)(\d+)(?:\.pt|\.model)?")
#: What both the killed runs and the one that is left alone are given: three steps in two epochs, one file an epoch.
_GIVEN = {"batch_size": 4, "dropout": 0.5, "fliplr": True, "opt": "Adam"}


def survive(folder, pictures, backend, kills, seed=0):
    """Kills a training again and again, looks at what it leaves, lets it end, and compares with one left alone.

    Args:
        folder: Where to work.
        pictures: The free pictures.
        backend: `torch` or `chainer`.
        kills: How often it is killed.
        seed: Of the moments.
    """
    results, moments = folder / "killed", random.Random(seed)
    csv = write_csv(folder / "train.csv", pictures)
    for kill in range(kills):
        last = _epochs(results)
        process = subprocess.Popen(
            _command(csv, pictures, backend, results, epochs=1_000_000),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        try:
            if kill % 4 < 3:  # while it trains and writes, otherwise while it starts
                _wait_for(lambda: _epochs(results) > last, process)  # noqa: B023 - it is over before the next
                time.sleep(moments.uniform(0, 0.3))
            else:
                time.sleep(moments.uniform(0, 3))
        finally:
            process.kill()
            process.communicate()
        _inspect(results)
    epochs = _epochs(results) + 2
    command = _command(csv, pictures, backend, results, epochs)
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    _inspect(results)
    assert not list(results.glob(".*")), "what a killed run was writing is swept away"

    run(folder, pictures, backend, output=folder / "alone", epochs=epochs, **_GIVEN)
    names = {file.name for file in (folder / "alone").iterdir()}
    assert {file.name for file in results.iterdir()} >= names
    iterations = [entry["iteration"] for entry in read_log(results / "log")]
    assert iterations == [entry["iteration"] for entry in read_log(folder / "alone" / "log")]
    last = next(name for name in sorted(names, key=_number) if _number(name) == max(map(_number, names)))
    assert same_bits(results / last, folder / "alone" / last)


def _command(csv, pictures, backend, results, epochs):
    """The command line of a training, which goes on where there is a checkpoint."""
    options = {
        "backend": backend,
        "train-csv": csv,
        "images": pictures,
        "skeleton": "flic",
        "output": results,
        "batch-size": _GIVEN["batch_size"],
        "dropout": _GIVEN["dropout"],
        "epochs": epochs,
        "threads": 1,
        "snapshot": 1,
        "show-log-iter": 1,
    }
    options |= {"resume": results} if _epochs(results) else {"width": NARROW_WIDTH, "im-size": 64, "opt": "Adam"}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return [sys.executable, "-m", "deeppose_port", "train", "--fliplr", *words]


def _inspect(results):
    """Reads every checkpoint: each is whole, whenever the run was killed."""
    for file in results.iterdir():
        if _CHECKPOINT.fullmatch(file.name) or file.name in ("last.pt", "best.pt"):
            checkpoint = converters.read(file, nonfinite="error")
            assert checkpoint.progress.iteration > 0, file
            assert all(np.isfinite(array).all() for array in checkpoint.weights.values()), file


def _epochs(results):
    """How many epochs the last checkpoint has behind it; 0 for none."""
    numbers = [int(m[1]) for f in results.glob("epoch-*") if (m := re.fullmatch(r"epoch-(\d+)\.(?:pt|model)", f.name))]
    return max(numbers, default=0)


def _number(name):
    """The number in a checkpoint's name."""
    found = re.fullmatch(r"(?:epoch-(\d+)\.pt|snapshot_iter_(\d+))", name)
    return int(found[1] or found[2]) if found else -1


def _wait_for(condition, process, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end, "the training makes no checkpoint"
        time.sleep(0.005)
