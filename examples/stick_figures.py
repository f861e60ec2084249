"""Draws stick figures whose joints are known exactly, as pictures and CSVs that trainings take.

    python examples/stick_figures.py FOLDER [--train 1000] [--test 200] [--seed 1]

FOLDER/train.csv, FOLDER/test.csv and FOLDER/pictures: LSP's 14 joints, the right side of a figure red and the left one
blue, at random in size, place, pose, thickness and colours on a background of noise and lines. The same numbers of
persons and the same seed give the same pictures.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import cv2
import numpy as np

from deeppose_port.data.skeletons import LSP

SIDE = 160  # of a picture, in pixels
_SUBPIXELS = 4  # bits of OpenCV's coordinates


def pose(random: np.random.Generator) -> np.ndarray:
    """Returns the joints of a person whose torso is 1 long, (14, 2), x right and y down."""

    def towards(start: np.ndarray, degrees: float, length: float) -> np.ndarray:
        angle = math.radians(degrees)
        return start + length * np.array([math.sin(angle), math.cos(angle)])  # 0 degrees is down

    lean = random.normal(0, 12)
    hips, neck = np.zeros(2), towards(np.zeros(2), 180 + lean, 1.0)
    points = {"neck": neck, "head": towards(neck, 180 + lean + random.normal(0, 12), 0.55)}
    for side, sign in (("right", -1), ("left", 1)):  # seen from the front: the right side is on the left
        shoulder = neck + sign * 0.3 * np.array([math.cos(math.radians(lean)), -math.sin(math.radians(lean))])
        hip = hips + sign * 0.2 * np.array([math.cos(math.radians(lean)), -math.sin(math.radians(lean))])
        upper_arm, upper_leg = sign * random.uniform(-20, 150), sign * random.uniform(-20, 60)
        elbow = towards(shoulder, upper_arm, 0.55)
        knee = towards(hip, upper_leg, 0.8)
        points |= {f"{side} shoulder": shoulder, f"{side} hip": hip, f"{side} elbow": elbow, f"{side} knee": knee}
        points[f"{side} wrist"] = towards(elbow, upper_arm + sign * random.uniform(0, 120), 0.5)
        points[f"{side} ankle"] = towards(knee, upper_leg - sign * random.uniform(0, 70), 0.75)
    return np.array([points[joint] for joint in LSP.joints])


def draw(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns a picture, (SIDE, SIDE, 3) uint8, BGR, and the joints of the person on it, (14, 2) in its pixels."""
    joints = pose(random)
    low, high = joints.min(axis=0), joints.max(axis=0)
    size = random.uniform(0.6, 0.85) * SIDE / (high - low).max()
    free = SIDE - size * (high - low)
    joints = size * (joints - low) + free * random.uniform(0.2, 0.8, 2)
    picture = np.empty((SIDE, SIDE, 3), np.uint8)
    picture[:] = random.integers(60, 196, 3)
    for _ in range(6):  # what is no person
        start, end = random.uniform(0, SIDE, (2, 2))
        _line(picture, start, end, random.uniform(40, 216, 3), int(random.integers(1, 4)))
    thick = max(2, round(size * random.uniform(0.08, 0.12)))
    bright = random.uniform(0.75, 1.0)
    for start, end in LSP.limbs:
        names = f"{LSP.joints[start]} {LSP.joints[end]}"
        colour = (60, 60, 255) if "right" in names else (255, 60, 60) if "left" in names else (60, 230, 230)
        _line(picture, joints[start], joints[end], np.array(colour) * bright, thick)
    x, y = (round(float(value) * (1 << _SUBPIXELS)) for value in joints[13])
    radius = round(0.14 * size * (1 << _SUBPIXELS))
    cv2.circle(picture, (x, y), radius, (60, 230, 230), -1, cv2.LINE_AA, _SUBPIXELS)
    noise = random.normal(0, 12, picture.shape)
    return (picture + noise).clip(0, 255).astype(np.uint8), joints


def _line(picture: np.ndarray, start: np.ndarray, end: np.ndarray, colour: np.ndarray, thick: int) -> None:
    ends = [tuple(round(float(value) * (1 << _SUBPIXELS)) for value in point) for point in (start, end)]
    cv2.line(picture, ends[0], ends[1], tuple(map(float, colour)), thick, cv2.LINE_AA, _SUBPIXELS)


def write(folder: Path, train: int, test: int, seed: int = 1) -> None:
    """Writes the pictures and CSVs of so many persons into a folder."""
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for name, count, kind in (("train", train, 0), ("test", test, 1)):
        lines = []
        for number in range(count):
            picture, joints = draw(np.random.default_rng([seed, kind, number]))
            file = f"{name}{number:05}.png"
            cv2.imwrite(str(folder / "pictures" / file), picture)
            lines.append(",".join([file, *(f"{value:.3f}" for value in joints.reshape(-1))]) + "\n")
        (folder / f"{name}.csv").write_text("".join(lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=1000)
    parser.add_argument("--test", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    told = parser.parse_args()
    write(told.folder, told.train, told.test, told.seed)
