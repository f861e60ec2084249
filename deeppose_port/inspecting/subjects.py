"""The pictures that a network is shown, to see what it makes of them: synthetic ones, files, or persons."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np

from converters.checkpoint import Preprocessing
from converters.errors import DeepPoseError
from deeppose_port.data import PoseDataset
from deeppose_port.data.arrays import Float32Array, seeded
from deeppose_port.data.pictures import MAX_PIXELS, Picture, read_picture
from deeppose_port.data.view import View
from deeppose_port.predict import files_in

Item = TypeVar("Item")


def synthetic_pictures(count: int, height: int, width: int, seed: int = 0) -> Iterator[Picture]:
    """Makes noise with the spectrum of photographs, amplitudes as the frequency's inverse.

    Field, "Relations between the statistics of natural images and the response properties of cortical cells", Journal
    of the Optical Society of America A 4, 1987.

    Yields:
        (height, width, 3) uint8.
    """
    random = seeded(seed)
    distance = np.hypot(np.fft.fftfreq(height)[:, np.newaxis], np.fft.fftfreq(width))
    distance[0, 0] = math.inf  # the mean is set below
    for _ in range(count):
        spectrum = np.fft.fft2(random.standard_normal((height, width, 3)), axes=(0, 1)) / distance[..., np.newaxis]
        noise = np.fft.ifft2(spectrum, axes=(0, 1)).real
        noise /= noise.std(axis=(0, 1))
        yield np.clip(127.5 + 50 * noise, 0, 255).astype(np.uint8)


class Subjects:
    """Pictures that a network is shown, and what it sees of them; iterating gives its inputs, (3, height, width) each.

    Args:
        names: What they are called in errors.
        picture: Returns one of them.
        view: Returns what a network sees of one.
    """

    def __init__(self, names: Sequence[object], picture: Callable[[int], Picture], view: Callable[[int], View]) -> None:
        self._names, self._picture, self._view = names, picture, view

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[Float32Array]:
        return (self.view(index).input(self.picture(index)) for index in range(len(self)))

    def picture(self, index: int) -> Picture:
        """Returns a picture, (H, W, 3) uint8, BGR."""
        return self._picture(index)

    def view(self, index: int) -> View:
        """Returns what the network sees of a picture."""
        return self._view(index)

    def error(self, index: int, problem: object) -> DeepPoseError:
        """Returns an error that names a picture."""
        return DeepPoseError(f"{self._names[index]}: {problem}")


def inputs_of_synthetic(preprocessing: Preprocessing, count: int, seed: int = 0) -> Subjects:
    """Makes a network's inputs of synthetic pictures of its own size."""
    rows, columns = preprocessing.shape
    made = list(synthetic_pictures(count, rows, columns, seed))
    whole = View.of_box(None, columns, rows, preprocessing)
    return Subjects([f"synthetic picture {i + 1}" for i in range(count)], made.__getitem__, lambda index: whole)


def inputs_of_files(
    source: Path, preprocessing: Preprocessing, count: int, seed: int = 0, max_pixels: int = MAX_PIXELS
) -> Subjects:
    """Makes a network's inputs of a picture or of some of a folder's, each as a whole.

    Raises:
        DeepPoseError: There is no picture; later, one cannot be read.
    """
    files = some(files_in(source), count, seed)

    @lru_cache(maxsize=1)
    def picture(index: int) -> Picture:
        return read_picture(files[index], max_pixels=max_pixels)

    def view(index: int) -> View:
        rows, columns, _ = picture(index).shape
        return View.of_box(None, columns, rows, preprocessing)

    return Subjects(files, picture, view)


def inputs_of_persons(dataset: PoseDataset, count: int, seed: int = 0) -> Subjects:
    """Makes a network's inputs of some of a dataset's persons."""
    chosen = some(range(len(dataset)), count, seed)
    names = [f"{dataset.csv}, line {dataset.person(index).line}" for index in chosen]
    return Subjects(names, lambda index: dataset.picture(chosen[index]), lambda index: dataset.view(chosen[index]))


def some(items: Sequence[Item], count: int, seed: int) -> list[Item]:
    """Returns at most `count` items, chosen by chance, in their order."""
    if len(items) <= count:
        return list(items)
    chosen = seeded(seed).choice(len(items), count, replace=False)
    return [items[i] for i in sorted(chosen.tolist())]
