"""Training examples a second: ours over the legacy way, from memory, from JPEGs and from a pack; and of two threads."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import click
import cv2
import numpy as np

from benchmarks import generated
from benchmarks.legacy import check, legacy_example
from benchmarks.timing import Row, seconds_of, take_turns
from deeppose_port.data import Augmentation, PackedDataset, PoseDataset, TrainingLoader
from deeppose_port.data.augmentation import example_rng
from deeppose_port.data.augmented import augmented_example
from deeppose_port.data.pack.index import PackOptions
from deeppose_port.data.pack.packing import pack

ROUNDS = 11
PICTURES = 32
AUGMENTATION = Augmentation(fliplr=True, rotate=True, zoom=True, translate=True)

#: Makes an example each time that it is called.
Maker = Callable[[], object]


def run() -> list[Row]:
    """Measures all in turns; the median round of each counts."""
    if find_spec("skimage") is None:
        raise click.ClickException("the reference of `data` rotates with scikit-image: pip install scikit-image")
    check()
    with tempfile.TemporaryDirectory() as folder, _one_opencv_thread():
        csv = generated.write(Path(folder), PICTURES)
        opened = partial(PoseDataset, csv, images=folder, skeleton="mpii")
        kept, decoded = opened(cache=1 << 30), opened(cache=0)
        place = Path(folder) / "pack"
        pack(kept, place, PackOptions("mpii"))
        packed = PackedDataset(csv, images=folder, skeleton="mpii", pack=place, augmentation=AUGMENTATION)
        with _one_core():
            rows = _single(kept, decoded, packed)
        return [*rows, *_threads(decoded)]


def _single(kept: PoseDataset, decoded: PoseDataset, packed: PoseDataset) -> list[Row]:
    rates = _rates(
        {
            "legacy": (_legacy(kept), 2),
            "legacy from JPEG": (_legacy(decoded), 2),
            "legacy evaluation": (_legacy(kept, augmented=False), 16),
            "bare": (_bare(decoded), 8),
            "memory": (_fast(kept), 64),
            "JPEG": (_fast(decoded), 8),
            "pack": (_fast(packed), 64),
            "evaluation": (_evaluation(kept), 64),
        }
    )
    _refuse_other_bits(kept)

    def row(what: str, ours: str, reference: str, bound: float) -> Row:
        return Row(f"examples/s on one core, {what}", rates[ours], rates[reference], "", "ratio", ">=", bound)

    return [
        row("fast over legacy, picture in memory", "memory", "legacy", 60),
        row("fast over legacy, from JPEG", "JPEG", "legacy from JPEG", 12),
        row("fast over imdecode + warpAffine + LUT, from JPEG", "JPEG", "bare", 0.7),
        row("fast from a pack over legacy, picture in memory", "pack", "legacy", 40),
        row("evaluation crop + GCN over legacy, bit for bit", "evaluation", "legacy evaluation", 3),
    ]


def _threads(decoded: PoseDataset) -> list[Row]:
    """Measures loaders of one thread and of two, on all cores."""
    cores = len(os.sched_getaffinity(0))
    if cores < 2:
        return []
    batch = 64
    with (
        TrainingLoader(decoded, batch, augmentation=AUGMENTATION, threads=1) as one,
        TrainingLoader(decoded, batch, augmentation=AUGMENTATION, threads=2) as two,
    ):
        measured = [_alone(loader) for loader in (one, two)]
        for measure in measured:
            measure()  # the threads start, and take their memory
        times = take_turns(ROUNDS, *measured)
    rates = [batch / statistics.median(turns) for turns in times]
    return [Row(f"examples/s from JPEG, 2 threads over 1, {cores} cores", rates[1], rates[0], "", "ratio", ">=", 1.5)]


def _alone(loader: TrainingLoader) -> Callable[[], float]:
    """Returns what measures a batch from its beginning."""
    loader.epochs = 0.0  # no batch is made ahead, which would keep the cores busy in the other's turn
    return lambda: seconds_of(lambda: next(loader))


def _rates(makers: dict[str, tuple[Maker, int]]) -> dict[str, float]:
    """Returns how many examples a second each makes, given the number of them in a round."""

    def timed(make: Maker, examples: int) -> Callable[[], float]:
        def turn() -> float:
            return seconds_of(lambda: [make() for _ in range(examples)]) / examples

        turn()
        return turn

    times = take_turns(ROUNDS, *(timed(*maker) for maker in makers.values()))
    return {name: 1 / statistics.median(turns) for name, turns in zip(makers, times, strict=True)}


def _legacy(dataset: PoseDataset, augmented: bool = True) -> Maker:
    random = np.random.RandomState(0) if augmented else None
    numbers = count()

    def make() -> object:
        index = next(numbers) % PICTURES
        return legacy_example(dataset.picture(index), dataset.joints[index], random)

    return make


def _fast(dataset: PoseDataset) -> Maker:
    numbers = count()
    out = np.empty((3, 220, 220), np.float32)

    def make() -> object:
        epoch, index = divmod(next(numbers), PICTURES)
        return augmented_example(dataset, index, AUGMENTATION, example_rng(1701, epoch, index), out)

    return make


def _evaluation(dataset: PoseDataset) -> Maker:
    numbers = count()
    out = np.empty((3, 220, 220), np.float32)
    return lambda: dataset.example(next(numbers) % PICTURES, out)


def _bare(dataset: PoseDataset) -> Maker:
    """Returns what decodes, warps and looks levels up, and no more."""
    numbers = count()
    out = np.empty((220, 220, 3), np.float32)
    table = np.linspace(-2, 2, 256, dtype=np.float32)

    def make() -> object:
        index = next(numbers) % PICTURES
        picture = cv2.imdecode(np.fromfile(dataset.images / dataset.person(index).file, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        matrix = np.array([[0.45, 0.04, 0.0], [-0.04, 0.33, 0.0]])
        matrix[:, 2] = 110 - matrix[:, :2] @ dataset.joints[index].mean(axis=0)
        return cv2.LUT(cv2.warpAffine(picture, matrix, (220, 220)), table, dst=out)

    return make


def _refuse_other_bits(dataset: PoseDataset) -> None:
    for index in range(PICTURES):
        inputs, _ = legacy_example(dataset.picture(index), dataset.joints[index], None)
        if not np.array_equal(inputs, dataset[index][0]):
            raise RuntimeError(f"picture {index}: the evaluation's input is not the legacy one to the bit")


@contextmanager
def _one_core() -> Iterator[None]:
    """Keeps this thread on one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


@contextmanager
def _one_opencv_thread() -> Iterator[None]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
