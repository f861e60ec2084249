import importlib.util
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT
from trainings import same_bits, write_csv

import converters

if importlib.util.find_spec("chainer") is None:
    pytest.skip("Chainer is not installed", allow_module_level=True)


def start(tmp_path, pictures, epochs, output, *, resume=False):
    """Starts a training of very small steps in a process of its own: 2 steps and a checkpoint an epoch."""
    csv = tmp_path / "train.csv"
    if not csv.exists():
        write_csv(csv, pictures)
    options = ["--train-csv", csv, "--images", pictures, "--skeleton", "flic", "--output", output, "--epochs", epochs]
    options += ["--batch-size", 4, "--snapshot", 1, "--valid-freq", 0, "--show-log-iter", 1, "--fliplr", "--rotate"]
    options += ["--resume", output] if resume else ["--width", "2,2,2,2,2,4,4"]
    command = [sys.executable, "-m", "deeppose_port", "train", "--backend", "chainer", *map(str, options)]
    with (tmp_path / "output.txt").open("a") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)


def finish(process, tmp_path):
    assert process.wait(timeout=300) == 0, (tmp_path / "output.txt").read_text()[-2000:]


def epochs_begun(folder):
    """The epochs that were complete at the last step that log.txt tells of."""
    told = re.findall(r"INFO:root:epoch:(\d+),", (folder / "log.txt").read_text())
    return int(told[-1]) if told else 0


def kill(process, folder, moment):
    """Kills a process: at a moment after its start if that is negative, else so many seconds after its first step."""
    log = folder / "log.txt"
    size = log.stat().st_size if log.exists() else 0
    end = time.monotonic() + 120
    while moment >= 0 and process.poll() is None and time.monotonic() < end:
        # The header alone has some 900 characters.
        if log.exists() and "INFO:root:epoch:" in log.read_bytes()[size:].decode():
            break
        time.sleep(0.01)
    time.sleep(abs(moment))
    process.send_signal(signal.SIGKILL)
    return process.wait(timeout=60)


def check_folder(folder):
    """Reads every checkpoint; returns the epochs that the last of them has behind it, 0 where there is none."""
    last = 0
    for file in folder.iterdir():
        if re.fullmatch(r"epoch-\d+\.state", file.name) and not file.with_suffix(".model").exists():
            continue  # half of a checkpoint, and the other half was not begun
        if re.fullmatch(r"epoch-\d+\.(model|state)|snapshot_iter_\d+", file.name):
            checkpoint = converters.read(file)
            assert checkpoint.repairs == ()
            assert checkpoint.optimizer.step == checkpoint.progress.iteration
            last = max(last, checkpoint.progress.epoch)
    return last


def kill_again_and_again(tmp_path, pictures, kills, epochs, seed):
    """Kills a training at random moments and resumes it each time, to its end; compares with one left in peace."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start(tmp_path, pictures, epochs, whole), tmp_path)
    moments = random.Random(seed)
    done = 0
    for _ in range(kills):
        process = start(tmp_path, pictures, epochs, killed, resume=done > 0)
        # One in five is killed while it starts or begins to train.
        moment = -moments.uniform(0, 4) if moments.random() < 0.2 else moments.uniform(0, 1)
        status = kill(process, killed, moment)
        if status == 0:
            break
        assert status == -signal.SIGKILL, (tmp_path / "output.txt").read_text()[-2000:]
        if not killed.exists():
            continue
        last = check_folder(killed)
        if (killed / "log.txt").exists():
            assert last >= max(done, epochs_begun(killed) - 1)
        done = last
        if not done:
            shutil.rmtree(killed)  # there is nothing to go on with
        if done == epochs:
            break
    if done < epochs:
        finish(start(tmp_path, pictures, epochs, killed, resume=done > 0), tmp_path)
    (last,) = (file for file in whole.iterdir() if file.name == f"epoch-{epochs}.model")
    assert same_bits(killed / last.name, last)
    assert check_folder(killed) == epochs
    assert {file.name for file in killed.iterdir()} <= {file.name for file in whole.iterdir()}


def test_a_killed_run_loses_an_epoch_at_most_and_ends_the_same(tmp_path, pictures):
    kill_again_and_again(tmp_path, pictures, kills=3, epochs=8, seed=5)


@pytest.mark.slow
def test_twenty_kills(tmp_path, pictures):
    kill_again_and_again(tmp_path, pictures, kills=20, epochs=60, seed=6)
