"""The legacy way to make an example, as it is known from what it did: the reference of the data benchmarks.

The whole picture goes through every step. It is rotated by scikit-image in float64, shifted, magnified, then cropped
and resized; the crop's contrast is normalised in float64. `check` compares it with what the legacy program made.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from deeppose_port.data import PoseDataset

IM_SIZE = 220
BASE_ZOOM = 1.5

Array = npt.NDArray[Any]


def legacy_example(picture: Array, joints: Array, random: np.random.RandomState | None) -> tuple[Array, Array]:
    """Makes an example.

    Args:
        picture: (H, W, 3) uint8.
        joints: (J, 2) float64, all annotated, in pixels.
        random: What rotation by 0 to 9 degrees, translation by -5 to 4 pixels, zoom by 0.8 to 1.2 and flip are drawn
            from; None for no augmentation.

    Returns:
        (3, 220, 220) float32, and (J, 2) float32 in fractions of the crop.
    """
    joints = joints.copy()
    low, high = joints.min(axis=0), joints.max(axis=0)
    centre, box = (low + high) / 2, high - low
    if random is not None:
        picture, joints = _rotated(picture, joints, centre, random.randint(0, 10))
        picture, joints = _translated(picture, joints, random.randint(-5, 5, 2))
        picture, joints, centre = _magnified(picture, joints, centre, random.uniform(0.8, 1.2))
    picture, joints = _cropped(picture, joints, centre, box)
    if random is not None and random.randint(2):
        picture = cv2.flip(picture, 1)
        joints[:, 0] = IM_SIZE - 1 - joints[:, 0]
    joints = (joints - IM_SIZE // 2) / IM_SIZE
    return contrast(picture), joints.astype(np.float32)


def contrast(picture: Array) -> Array:
    """Normalises the contrast of (H, W, 3) in float64; returns (3, H, W) float32."""
    levels = picture.astype(np.float64)
    levels -= levels.mean(axis=(0, 1))
    levels /= levels.std(axis=(0, 1)) + 1e-5
    return np.ascontiguousarray(levels.astype(np.float32).transpose(2, 0, 1))


def _rotated(picture: Array, joints: Array, centre: Array, degrees: int) -> tuple[Array, Array]:
    from skimage.transform import rotate

    rotated = (rotate(picture, degrees, center=tuple(centre)) * 255).astype(np.uint8)
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return rotated, (joints - centre) @ np.array([[cos, -sin], [sin, cos]]) + centre


def _translated(picture: Array, joints: Array, shift: Array) -> tuple[Array, Array]:
    matrix = np.column_stack([np.eye(2), shift.astype(np.float64)])
    return cv2.warpAffine(picture, matrix, picture.shape[1::-1]), joints + shift


def _magnified(picture: Array, joints: Array, centre: Array, zoom: float) -> tuple[Array, Array, Array]:
    return cv2.resize(picture, None, fx=zoom, fy=zoom), joints * zoom, centre * zoom


def _cropped(picture: Array, joints: Array, centre: Array, box: Array) -> tuple[Array, Array]:
    size = picture.shape[1::-1]
    x0, y0 = (int(edge) for edge in np.clip(centre - BASE_ZOOM * box / 2, 0, size))
    x1, y1 = (int(edge) for edge in np.clip(centre + BASE_ZOOM * box / 2, 0, size))
    scale = IM_SIZE / (x1 - x0), IM_SIZE / (y1 - y0)
    return cv2.resize(picture[y0:y1, x0:x1], None, fx=scale[0], fy=scale[1]), (joints - (x0, y0)) * scale


def check() -> None:
    """Compares the reference, without augmentation, with the hashes of the legacy program's own inputs.

    Raises:
        RuntimeError: It makes something else.
    """
    root = Path(__file__).resolve().parents[1]
    manifest = json.loads((root / "tests/golden/preprocessing/manifest_free.json").read_text())["sets"]["free"]
    pictures = root / "examples/pictures"
    dataset = PoseDataset(pictures / "free.csv", images=pictures, skeleton="flic")
    for i, expected in enumerate(manifest["input_sha256"]):
        inputs, _ = legacy_example(dataset.picture(i), dataset.joints[i][dataset.visible[i]], None)
        if hashlib.sha256(inputs.tobytes()).hexdigest() != expected:
            raise RuntimeError(f"the legacy program made other inputs of person {i} of {dataset.csv}")
