"""Generated pictures of 1280 x 720 pixels with a person of 16 joints."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

WIDTH, HEIGHT = 1280, 720
JOINTS = 16
#: Different pictures among any number of them; the others are further names of the same files.
DIFFERENT = 16


def write(folder: Path, count: int) -> Path:
    """Writes pictures of blurred noise as JPEGs of quality 95, and their CSV.

    Args:
        folder: Where to.
        count: How many pictures; each has one person.

    Returns:
        The CSV.
    """
    random = np.random.default_rng(0)
    lines = []
    for i in range(count):
        path = folder / f"{i:06}.jpg"
        if i < DIFFERENT:
            noise = random.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
            blurred = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)  # type: ignore[call-overload]
            cv2.imwrite(str(path), blurred, [cv2.IMWRITE_JPEG_QUALITY, 95])
        else:
            os.link(folder / f"{i % DIFFERENT:06}.jpg", path)
        lines.append(",".join([path.name, *(f"{value:.2f}" for value in _joints(random).ravel())]) + "\n")
    csv = folder / "persons.csv"
    csv.write_text("".join(lines))
    return csv


def _joints(random: np.random.Generator) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Returns (16, 2) joints of a person 320 pixels wide and 440 high, somewhere in the picture."""
    corner = random.uniform(0, (WIDTH - 320, HEIGHT - 440))
    points = random.uniform(0, (320, 440), (JOINTS, 2))
    points[0], points[1] = (0, 0), (320, 440)
    return np.asarray(corner + points)
