"""Resident memory of a training on 10,000 pictures, over that of the same training on one batch of random numbers.

It is stopped after some steps: cache and queue are full after the first few, and it grows no more. What kept but one
picture in twenty would exceed the bound by then.

`python -m benchmarks.memory BACKEND SOURCE FOLDER` is one of the trainings, a process of its own.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import generated
from benchmarks.timing import Row, usage_of
from deeppose_port.backends.training import train
from deeppose_port.data import Augmentation, PoseDataset, TrainingLoader
from deeppose_port.data.batches import Batch, empty_batch
from deeppose_port.training.options import TrainingOptions
from deeppose_port.training.run import Callbacks, Step

PICTURES = 10_000
BATCH = 128
STEPS = 12
CACHE = 64 << 20
BOUND = 300.0  # MB


def run() -> list[Row]:
    """Runs each training once, with the loader of the command line's defaults."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        generated.write(Path(folder), PICTURES)
        for backend in ("torch", "chainer"):
            command = [sys.executable, "-m", "benchmarks.memory", backend]
            ours, reference = (
                usage_of([*command, source, folder]).peak_bytes / 1e6 for source in ("pictures", "random")
            )
            what = f"training on {PICTURES:,} pictures in {backend}, {CACHE / 1e6:.0f} MB of them cached: peak memory"
            rows.append(Row(what, ours, reference, "MB", "difference", "<=", BOUND + CACHE / 1e6))
    return rows


class RandomLoader(TrainingLoader):
    """Gives one batch of random numbers again and again."""

    def __init__(self, dataset: PoseDataset, batch_size: int, **options: object) -> None:
        super().__init__(dataset, batch_size, **options)  # type: ignore[arg-type]
        random = np.random.default_rng(0)
        self._batch: Batch = empty_batch(dataset, batch_size)
        random.standard_normal(out=self._batch[0], dtype=np.float32)
        self._batch[1][...] = random.uniform(-0.5, 0.5, self._batch[1].shape)
        self._batch[2][...] = 1

    def __next__(self) -> Batch:
        _, self._place = self._walk(self._place)
        self.given += self.batch_size
        return self._batch


def main(backend: str, source: str, folder: str) -> None:
    """Trains a narrow AlexNet for some steps, on pictures or on random numbers."""
    csv, epochs = Path(folder) / "persons.csv", 1
    if source == "random":
        lines = csv.read_text().splitlines(keepends=True)
        csv, epochs = Path(folder) / "few.csv", 2 * STEPS
        csv.write_text("".join(lines[:BATCH]))
        module = importlib.import_module(f"deeppose_port.backends.{backend}.training")
        module.TrainingLoader = RandomLoader  # type: ignore[attr-defined]

    def stop(step: Step) -> None:
        if step.iteration == STEPS:
            os.kill(os.getpid(), signal.SIGINT)  # as a user ends it

    with tempfile.TemporaryDirectory() as results:
        options = TrainingOptions(
            train_csv=csv,
            images=Path(folder),
            skeleton="mpii",
            output=Path(results),
            width="2,2,2,2,2,8,8",  # the network is not what is measured
            epochs=epochs,
            batch_size=BATCH,
            cache=CACHE,
            snapshot=epochs,
            valid_freq=0,
            augmentation=Augmentation(fliplr=True, rotate=True, zoom=True, translate=True),
        )
        train(options, backend, Callbacks(step=stop))


if __name__ == "__main__":
    main(*sys.argv[1:])
