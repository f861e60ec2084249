"""Poses drawn on pictures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from converters.errors import DeepPoseError
from deeppose_port.data.pictures import Picture, checked_picture
from deeppose_port.data.skeletons import AnySkeleton, of_drawing, side

Box = tuple[float, float, float, float]
Colour = tuple[int, int, int]
Pixel = tuple[int, int]

# Okabe and Ito, "Color Universal Design", 2008: colour-blind readers can tell them apart. BGR.
LEFT: Colour = (233, 180, 86)
"""Sky blue: joints and limbs of the left side."""
RIGHT: Colour = (0, 94, 213)
"""Vermilion: those of the right side."""
CENTRE: Colour = (66, 228, 240)
"""Yellow: those of neither side."""
TRUTH: Colour = (255, 255, 255)
"""White: the true pose."""
OUTLINE: Colour = (0, 0, 0)
"""Black, around everything, so that it shows on any picture."""

_FAR = 1e6  # Pixels from the origin. Farther points would leave the integers that OpenCV draws with.


#: The formats of drawings by their suffixes' names, with what OpenCV is told: of JPEG and WebP few see a difference.
FORMATS: dict[str, list[int]] = {
    "png": [],
    "jpg": [
        *(cv2.IMWRITE_JPEG_QUALITY, 92),
        # Thin lines in colours keep these.
        *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    ],
    "webp": [cv2.IMWRITE_WEBP_QUALITY, 90],
}


def write_picture(path: Path, picture: Picture) -> None:
    """Writes a picture, (H, W, 3) uint8, BGR, in the format of its suffix, one of `FORMATS`.

    Raises:
        DeepPoseError: This format has no pictures of that size.
    """
    written, data = False, None
    with suppress(cv2.error):
        written, data = cv2.imencode(path.suffix, picture, FORMATS[path.suffix[1:]])
    if not written or data is None:
        height, width = picture.shape[:2]
        raise DeepPoseError(f"a drawing of {width:,} x {height:,} pixels cannot be a {path.suffix[1:]}; png can")
    path.write_bytes(data.tobytes())


def draw_pose(
    image: Picture,
    points: npt.ArrayLike,
    skeleton: AnySkeleton | None,
    *,
    visible: npt.ArrayLike | None = None,
    truth: npt.ArrayLike | None = None,
) -> Picture:
    """Draws a pose on a copy of a picture.

    Limbs are lines and joints dots, blue on the left side, red on the right, yellow between; their widths
    follow the picture's size. Joints without finite coordinates are left out.

    Args:
        image: (H, W, 3) uint8, BGR.
        points: (J, 2), x right and y down, in pixels of the picture.
        skeleton: What the joints are: a skeleton, its name or file, or the joints' names; None draws numbered dots.
        visible: (J,) bool, the joints to draw, those of the truth too; None is all.
        truth: (J, 2), the true pose, drawn over the other as white dashes and rings; None is none.

    Returns:
        The drawing, (H, W, 3) uint8, BGR.

    Raises:
        DeepPoseError: An argument has another shape, or there is no such skeleton.
    """
    drawing = _copied(image)
    _draw(drawing, points, skeleton, visible, truth, max(1, round(min(image.shape[:2]) / 100)))
    return drawing


def draw_persons(
    image: Picture, persons: Sequence[tuple[int, Box | None, npt.ArrayLike]], skeleton: AnySkeleton | None
) -> Picture:
    """Draws several persons on a copy of a picture, each with a number and a box.

    Args:
        image: (H, W, 3) uint8, BGR.
        persons: Each one's number; box (x, y, width, height), or None for none; and (J, 2) joints, as for `draw_pose`.
        skeleton: As for `draw_pose`.

    Returns:
        The drawing, (H, W, 3) uint8, BGR.

    Raises:
        DeepPoseError: An argument has another shape.
    """
    drawing = _copied(image)
    for number, box, points in persons:
        side = min(image.shape[:2]) if box is None else min(*image.shape[:2], max(box[2:]))
        width = max(1, round(side / 100))
        _draw(drawing, points, skeleton, None, None, width)
        x, y, w, h = np.clip(box or (0.0,) * 4, -_FAR, _FAR)
        corners = np.array([[x, y], [x + w, y + h]])
        first, last = (tuple(corner) for corner in corners.clip(-_FAR, _FAR).round().astype(int).tolist())
        if box is not None:
            for colour, stroke in ((OUTLINE, max(1, width // 3) + 2), (CENTRE, max(1, width // 3))):
                cv2.rectangle(drawing, first, last, colour, stroke, cv2.LINE_AA)
        # Inside the box's corner, where the picture has it.
        _number(drawing, (max(0, first[0]), max(0, first[1]) + 14 + 4 * width), number, width)
    return drawing


def draw_ways(image: Picture, persons: Sequence[npt.ArrayLike]) -> Picture:
    """Draws where the stages of a cascade had the joints, and how they moved, on a copy of a picture.

    A ring is where the first stage had a joint, and an arrow goes from each stage to the next.

    Args:
        image: (H, W, 3) uint8, BGR.
        persons: (stages, J, 2) for each, x right and y down, in pixels of the picture.

    Returns:
        The drawing, (H, W, 3) uint8, BGR.

    Raises:
        DeepPoseError: An argument has another shape.
    """
    drawing = _copied(image)
    width = max(1, round(min(image.shape[:2]) / 200))
    for stages in persons:
        poses = [_pixels(pose, None, None) for pose in np.asarray(stages, np.float64)]
        for before, after in itertools.pairwise(poses):
            for joint in before.keys() & after.keys():
                for colour, stroke in ((OUTLINE, width + 2), (TRUTH, width)):
                    cv2.arrowedLine(drawing, before[joint], after[joint], colour, stroke, cv2.LINE_AA, 0, 0.2)
        for pixel in poses[0].values():
            _ring(drawing, pixel, width)
    return drawing


def _copied(image: Picture) -> Picture:
    """Returns a copy to draw on of what is a picture."""
    checked_picture(image)
    return np.array(image, order="C")


def _draw(
    drawing: Picture,
    points: npt.ArrayLike,
    skeleton: AnySkeleton | None,
    visible: npt.ArrayLike | None,
    truth: npt.ArrayLike | None,
    width: int,
) -> None:
    """Draws a pose into a picture, with lines so many pixels wide."""
    known = of_drawing(skeleton)
    names = None if known is None else known.joints
    limbs = () if known is None else known.limbs
    pose = _pixels(points, visible, names)
    true = {} if truth is None else _pixels(truth, visible, names)
    colours = {joint: CENTRE if names is None else _colour(names[joint]) for joint in pose}
    for start, end in limbs:
        if start in pose and end in pose:
            _line(drawing, pose[start], pose[end], colours[end], width)
    for joint, pixel in pose.items():
        _dot(drawing, pixel, colours[joint], width)
    for start, end in limbs:
        if start in true and end in true:
            _dashes(drawing, true[start], true[end], width)
    for pixel in true.values():
        _ring(drawing, pixel, width)
    if known is None:
        for joint, pixel in pose.items():
            _number(drawing, pixel, joint, width)


def _pixels(points: npt.ArrayLike, visible: npt.ArrayLike | None, names: Sequence[str] | None) -> dict[int, Pixel]:
    """Returns the joints to draw and where."""
    positions = np.asarray(points, np.float64)
    expected = (positions.shape[0] if names is None else len(names), 2)
    if positions.shape != expected:
        raise DeepPoseError(f"the points are {positions.shape}; they have to be {expected}")
    shown = np.isfinite(positions).all(axis=1)
    if visible is not None:
        if np.shape(visible) != shown.shape:
            raise DeepPoseError(f"visible is {np.shape(visible)}; it has to be {shown.shape}")
        shown &= np.asarray(visible, np.bool_)
    return {
        int(joint): (round(float(x)), round(float(y)))
        for joint, (x, y) in zip(np.flatnonzero(shown), positions[shown].clip(-_FAR, _FAR), strict=True)
    }


def _colour(joint: str) -> Colour:
    """Returns the colour of a joint, and of the limb that ends there, by the side that its name tells."""
    return {"left": LEFT, "right": RIGHT}.get(side(joint), CENTRE)


def _line(drawing: Picture, start: Pixel, end: Pixel, colour: Colour, width: int) -> None:
    """Draws an outlined line."""
    cv2.line(drawing, start, end, OUTLINE, width + 2, cv2.LINE_AA)
    cv2.line(drawing, start, end, colour, width, cv2.LINE_AA)


def _dot(drawing: Picture, pixel: Pixel, colour: Colour, width: int) -> None:
    """Draws an outlined dot, wider than the lines."""
    cv2.circle(drawing, pixel, width + 2, OUTLINE, cv2.FILLED, cv2.LINE_AA)
    cv2.circle(drawing, pixel, width + 1, colour, cv2.FILLED, cv2.LINE_AA)


def _ring(drawing: Picture, pixel: Pixel, width: int) -> None:
    """Draws a truth's joint: a ring where the dot would be."""
    thin = max(1, width // 3)
    cv2.circle(drawing, pixel, width + 1, OUTLINE, thin + 2, cv2.LINE_AA)
    cv2.circle(drawing, pixel, width + 1, TRUTH, thin, cv2.LINE_AA)


def _dashes(drawing: Picture, start: Pixel, end: Pixel, width: int) -> None:
    """Draws a truth's limb: thin dashes along the part within the picture, from end to end."""
    within, first, last = cv2.clipLine((0, 0, drawing.shape[1], drawing.shape[0]), start, end)
    if not within:
        return
    dashes = 2 * (round(math.dist(first, last) / (6 * width)) // 2) + 1
    ends = np.linspace(first, last, dashes + 1).round().astype(int).tolist()
    for k in range(0, dashes, 2):
        _line(drawing, ends[k], ends[k + 1], TRUTH, max(1, width // 3))


def _number(drawing: Picture, pixel: Pixel, number: int, width: int) -> None:
    """Writes a number beside a dot, within the picture where the dot is."""
    x, y = pixel[0] + width + 3, pixel[1] - width - 3
    thin, size = max(1, width // 3), 0.3 + 0.1 * width
    (long, high), _ = cv2.getTextSize(str(number), cv2.FONT_HERSHEY_SIMPLEX, size, thin + 2)
    if 0 <= pixel[0] < drawing.shape[1] and 0 <= pixel[1] < drawing.shape[0]:
        x, y = min(x, drawing.shape[1] - long), max(y, high)
    place = x, y
    for colour, stroke in ((OUTLINE, thin + 2), (CENTRE, thin)):
        cv2.putText(drawing, str(number), place, cv2.FONT_HERSHEY_SIMPLEX, size, colour, stroke, cv2.LINE_AA)
