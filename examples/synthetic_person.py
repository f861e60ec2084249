"""Draws a person whose joints are known exactly, on a lawn: a picture that needs nobody's leave.

python examples/synthetic_person.py person.png
"""

from __future__ import annotations

import sys

import cv2
import numpy as np
import numpy.typing as npt

Colour = tuple[int, int, int]

#: LSP's 14 joints, in pixels of the picture: the right ankle first, the head's top last.
JOINTS = np.array(
    [
        *((118, 368), (124, 296), (136, 224), (176, 224), (196, 294), (228, 360)),  # legs, right to left
        *((62, 214), (82, 164), (126, 120), (186, 120), (228, 148), (262, 96)),  # arms, right to left
        *((156, 108), (156, 50)),  # neck and head
    ],
    float,
)
#: Width and height of the picture.
SIZE = (320, 400)
_SKIN, _SHIRT, _TROUSERS, _SHOES, _HAIR = (140, 172, 222), (52, 56, 190), (110, 62, 34), (40, 40, 44), (30, 48, 74)


def draw() -> npt.NDArray[np.uint8]:
    """Returns the picture, (400, 320, 3) uint8, BGR as OpenCV has it; the same each time."""
    width, height = SIZE
    random = np.random.default_rng(1)
    rows = np.linspace(0, 1, height)[:, None, None]
    sky, lawn = np.array([214, 190, 160]) - 30 * rows, np.array([60, 128, 96]) + 40 * rows
    picture = np.where(rows < 0.55, sky, lawn) * np.ones((1, width, 1))
    trees = cv2.GaussianBlur(random.random((height, width)), (0, 0), 9)
    picture[(trees > 0.5) & (np.abs(rows[..., 0] - 0.47) < 0.09)] = (58, 84, 60)
    for start, end, widths, colour in _limbs():
        _capsule(picture, start, end, widths, colour)
    neck, top = JOINTS[12:]
    x, y = map(int, (neck + top) / 2)
    cv2.ellipse(picture, (x, y - 10), (25, 29), 0, 0, 360, _HAIR, -1, cv2.LINE_AA)
    cv2.ellipse(picture, (x, y - 1), (20, 25), 0, 0, 360, _SKIN, -1, cv2.LINE_AA)
    picture = cv2.GaussianBlur(picture, (0, 0), 1.0) + random.normal(0, 6, picture.shape)
    return picture.clip(0, 255).astype(np.uint8)


def _limbs() -> list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], tuple[int, int], Colour]]:
    """Returns where a limb begins and ends, its half widths there, and its colour; the farthest limb first."""
    right_ankle, right_knee, right_hip, left_hip, left_knee, left_ankle = JOINTS[:6]
    right_wrist, right_elbow, right_shoulder, left_shoulder, left_elbow, left_wrist = JOINTS[6:12]
    neck = JOINTS[12]
    limbs = []
    for hip, knee, ankle, toe in ((right_hip, right_knee, right_ankle, -16), (left_hip, left_knee, left_ankle, 16)):
        limbs += [(_from(ankle, 0, 8), _from(ankle, toe, 12), (8, 6), _SHOES)]
        limbs += [(hip, knee, (20, 15), _TROUSERS), (knee, ankle, (14, 9), _TROUSERS)]
    chest, belly = _from(neck, 0, 30), (right_hip + left_hip) / 2
    limbs += [(chest, belly, (36, 28), _SHIRT), (right_shoulder, left_shoulder, (16, 16), _SHIRT)]
    limbs += [(_from(neck, 0, 6), _from(neck, 0, -14), (11, 10), _SKIN)]
    for shoulder, elbow, wrist in ((right_shoulder, right_elbow, right_wrist), (left_shoulder, left_elbow, left_wrist)):
        sleeve = shoulder + 0.6 * (elbow - shoulder)
        hand = wrist + 0.25 * (wrist - elbow)
        limbs += [(shoulder, elbow, (12, 9), _SKIN), (elbow, wrist, (9, 7), _SKIN), (wrist, hand, (8, 7), _SKIN)]
        limbs += [(shoulder, sleeve, (15, 13), _SHIRT)]
    return limbs


def _from(point: npt.NDArray[np.float64], right: int, down: int) -> npt.NDArray[np.float64]:
    moved: npt.NDArray[np.float64] = point + np.array([right, down])
    return moved


def _capsule(
    picture: npt.NDArray[np.float64],
    start: npt.NDArray[np.float64],
    end: npt.NDArray[np.float64],
    widths: tuple[int, int],
    colour: Colour,
) -> None:
    """Draws a limb that is darker on its right, as if the light came from the left."""
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]]
    along = end - start
    place = np.clip(((x - start[0]) * along[0] + (y - start[1]) * along[1]) / max(along @ along, 1e-9), 0, 1)
    dx, dy = x - start[0] - place * along[0], y - start[1] - place * along[1]
    half = widths[0] + place * (widths[1] - widths[0])
    inside = dx**2 + dy**2 <= half**2
    light = 1.08 - 0.3 * np.clip(dx / half * 0.5 + 0.5, 0, 1)
    picture[inside] = (np.array(colour) * light[..., None])[inside]


if __name__ == "__main__":
    if not cv2.imwrite(sys.argv[1], draw()):
        sys.exit(f"{sys.argv[1]} cannot be written")
