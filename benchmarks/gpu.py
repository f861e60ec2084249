"""What a GPU does, in one table: `python -m benchmarks.gpu [--device cuda:0]`, or `make test-gpu`.

It runs every test that is marked `gpu`, and measures, in less than four minutes on one device: answers beside the CPU's
with TF32 switched on by the caller, training steps in float32 and bfloat16, copies of batches as float32 and by level,
Chainer on CuPy, and a group of processes. What this machine does not have is left out, and said. The exit status is 1
if a number misses its bound or a test fails.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch
from rich.console import Console

from benchmarks.__main__ import _table
from benchmarks.peers import checkpoint_of
from benchmarks.timing import Row
from converters import Architecture, Preprocessing
from deeppose_port.backends.torch import build, predictor
from deeppose_port.backends.torch.prediction import looked_up
from deeppose_port.data.arrays import Inputs, Levels, joined
from deeppose_port.data.normalization import levels, normalize

#: Seconds for all tests together.
_TESTS = 120
_ROUNDS = 5


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--device", default="cuda:0", show_default=True, help="The GPU.")
def main(device: str) -> None:
    """Runs the tests that need a GPU, and measures what it does."""
    if not torch.cuda.is_available():
        raise click.ClickException("PyTorch sees no GPU here; `deeppose-port doctor --device cuda:0` says why")
    passed = tests()
    architecture = Architecture.full_size("alexnet", 16, writer="chainer-7.8.1")
    found = list(rows(device, architecture, batch=64))
    Console(width=None if sys.stdout.isatty() else 140).print(_table(found))
    sys.exit(0 if passed and all(row.passed for row in found) else 1)


def tests() -> bool:
    """Runs the tests that are marked `gpu`; tells whether none has failed."""
    if importlib.util.find_spec("pytest") is None:
        click.echo("pytest is not installed: the tests are left out", err=True)
        return True
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests"]
    try:
        status = subprocess.run(
            command, cwd=Path(__file__).resolve().parents[1], timeout=_TESTS, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        click.echo(f"the tests took more than {_TESTS} s", err=True)
        return False
    return status in (0, 5)  # 5: nothing was collected


def rows(device: str, architecture: Architecture, batch: int, side: int = 220) -> Iterator[Row]:
    """Yields what is measured on a device.

    Args:
        device: `cuda:N`; or `cpu`, which does all that needs no GPU.
        architecture: The network.
        batch: Pictures in a batch.
        side: Of the network's input.
    """
    checkpoint = checkpoint_of(architecture, side)
    inputs = np.random.default_rng(0).standard_normal((batch, 3, side, side), np.float32)
    expected = predictor(checkpoint)(inputs)
    with _tf32():
        answered = predictor(checkpoint, device)(inputs)
    yield _difference("answers in PyTorch with TF32 switched on, from the CPU's", answered, expected)

    steps = {kind: _step(architecture, device, inputs, kind) for kind in (torch.float32, torch.bfloat16)}
    rates = {kind: batch / _best(step, device) for kind, step in steps.items()}
    yield Row(
        f"{architecture.name}, batch {batch}: pictures trained a second in bfloat16, over float32",
        *(rates[torch.bfloat16], rates[torch.float32], "/s", "ratio", ">=", 1.0),
    )
    if device != "cpu":
        yield from _on_gpus_alone(device, inputs)
        yield from _by_level(device, batch, side)
    if importlib.util.find_spec("chainer") is not None:
        from deeppose_port.backends.chainer.probe import gpu_problem

        problem = gpu_problem(device)
        if problem is None:
            from deeppose_port.backends.chainer import predictor as in_chainer

            yield _difference(
                "answers in Chainer, from PyTorch's on the CPU", in_chainer(checkpoint, device)(inputs), expected
            )
        else:
            click.echo(f"Chainer is left out: {problem}", err=True)
    yield _group(device)


def _on_gpus_alone(device: str, inputs: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Iterator[Row]:
    """Yields what only GPUs have: pinned copies, and a second device."""
    pageable = torch.from_numpy(inputs)
    pinned, size = pageable.pin_memory(), inputs.nbytes / 1e9
    slow = size / _best(lambda: pageable.to(device), device)
    fast = size / _best(lambda: pinned.to(device, non_blocking=True), device)
    yield Row("copies of a batch from pinned memory, over pageable", fast, slow, "GB/s", "ratio", ">=", 1.0)
    if torch.cuda.device_count() > 1:
        other = "cuda:1" if device != "cuda:1" else "cuda:0"
        moved = torch.from_numpy(inputs).to(other).cpu().numpy()
        yield _difference(f"a batch by way of {other}", moved, inputs)
    else:
        click.echo("a second device is left out: there is one", err=True)


def _by_level(device: str, batch: int, side: int) -> Iterator[Row]:
    """Yields what it takes to copy crops as levels that are looked up there, over the float32 that they become."""
    crops, told = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), np.uint8), Preprocessing()
    place = torch.device(device)

    def looked_up_there(seen: Inputs) -> torch.Tensor:
        assert isinstance(seen, Levels)
        return looked_up(seen, place).contiguous(memory_format=torch.channels_last)

    def copied(seen: Inputs) -> torch.Tensor:
        return torch.from_numpy(np.asarray(seen)).to(place, memory_format=torch.channels_last)

    def by_level() -> Inputs:
        return joined([levels(crop, told) for crop in crops])

    def whole() -> Inputs:
        return joined([normalize(crop, told) for crop in crops])

    found, expected = by_level(), whole()
    off = float(np.abs(looked_up_there(found).cpu().numpy() - np.asarray(expected)).max())
    yield Row("inputs that are looked up there: how far from those that are copied", off, None, "", "ours", "<=", 0)
    ours, reference = (
        batch / _best(way, device) for way in (partial(looked_up_there, found), partial(copied, expected))
    )
    yield Row(
        "pictures copied and looked up a second, over copied as float32", ours, reference, "/s", "ratio", ">=", 1.0
    )
    ours, reference = (
        batch / _best(way, device) for way in (lambda: looked_up_there(by_level()), lambda: copied(whole()))
    )
    what = "the same from crops on, contrast and all: what a network waits for"
    yield Row(what, ours, reference, "/s", "ratio", ">=", 1.0)


@contextmanager
def _tf32() -> Iterator[None]:
    """Switches TF32 on, as a caller may have."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def _difference(
    what: str,
    found: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    expected: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
) -> Row:
    worst = float(np.abs(found - expected).max() / np.abs(expected).max())
    return Row(f"{what}, in millionths of the largest", worst * 1e6, None, "", "ours", "<=", 10)


def _step(
    architecture: Architecture,
    device: str,
    inputs: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    kind: torch.dtype,
) -> Callable[[], object]:
    """Returns a training step."""
    network = build(architecture).to(device).train()
    optimizer = torch.optim.SGD(network.parameters(), 1e-4)
    batch = torch.from_numpy(inputs).to(device)
    targets = torch.zeros(len(inputs), 2 * architecture.joints, device=device)

    def step() -> object:
        optimizer.zero_grad()
        with torch.autocast(device.partition(":")[0], kind, enabled=kind != torch.float32):
            loss = (network(batch).float() - targets).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    return step


def _best(function: Callable[[], object], device: str) -> float:
    """Returns the seconds of the best of some calls."""

    def seconds() -> float:
        start = time.perf_counter()
        function()
        if device != "cpu":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    seconds()
    return min(seconds() for _ in range(_ROUNDS))


def _group(device: str) -> Row:
    """Adds numbers up over a group of one process: by NCCL on GPUs, and by gloo what stays in memory."""
    backend = "gloo" if device == "cpu" else "cpu:gloo,cuda:nccl"
    with tempfile.TemporaryDirectory() as folder:
        torch.distributed.init_process_group(
            backend, init_method=f"file://{os.path.join(folder, 'group')}", rank=0, world_size=1
        )
        try:
            total = 0.0
            for place in dict.fromkeys(("cpu", device)):
                tensor = torch.ones(4, device=place)
                torch.distributed.all_reduce(tensor)
                total += float((tensor - 1).abs().sum())
        finally:
            torch.distributed.destroy_process_group()
    return Row(f"sums over a group of processes ({backend}): how far off", total, None, "", "ours", "<=", 0)


if __name__ == "__main__":
    main()
