"""Poses drawn on pictures.

Left is the person's own left, as the names of joints have it in FLIC, LSP, MPII and COCO: of somebody who faces the
camera it is on the right of the picture.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from converters.errors import DeepPoseError
from deeppose_port.data.arrays import Float64Array, Mask
from deeppose_port.data.crop import Box
from deeppose_port.data.pictures import Picture, checked_picture
from deeppose_port.data.skeletons import AnySkeleton, of_drawing, side
from deeppose_port.drawing.lines import Colour, outlined_size, write_outlined

Pixel = tuple[int, int]
#: Left, top, right and bottom of a part of a picture, the latter two without it.
Edges = tuple[int, int, int, int]
NOWHERE: Edges = (0, 0, 0, 0)

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
"""Black, around everything, so that it shows on bright pictures."""
HALO: Colour = (255, 255, 255)
"""White, around the black of joints, limbs and boxes, so that they show on dark pictures too."""

_FONT = cv2.FONT_HERSHEY_SIMPLEX

#: The colour of joints by what `skeletons.side` tells of them, and what it means; a limb has that of the joint where it
#: ends.
SIDES: dict[str, tuple[Colour, str]] = {
    "left": (LEFT, "person's left"),
    "right": (RIGHT, "person's right"),
    "": (CENTRE, "middle"),
}
_TRUTH, _STAGES = "truth", "stage to stage"

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
    names: bool = False,
    legend: bool = False,
) -> Picture:
    """Draws a pose on a copy of a picture.

    Limbs are lines and joints dots, blue on the person's own left side, red on the right, yellow between; their widths
    follow the picture's size. Joints without finite coordinates are left out.

    Args:
        image: (H, W, 3) uint8, BGR.
        points: (J, 2), x right and y down, in pixels of the picture.
        skeleton: What the joints are: a skeleton, its name or file, or the joints' names; None draws numbered dots.
        visible: (J,) bool, the joints to draw, those of the truth too; None is all.
        truth: (J, 2), the true pose, drawn over the other as white dashes and rings; None is none.
        names: Whether joints have their names beside them.
        legend: Whether it says what the colours mean, see `draw_legend`.

    Returns:
        The drawing, (H, W, 3) uint8, BGR.

    Raises:
        DeepPoseError: An argument has another shape, or there is no such skeleton.
    """
    poses = [points] if truth is None else [points, truth]
    drawing, panel = _copied(image), NOWHERE
    if legend:
        drawing, panel = draw_legend(image, skeleton, beside=poses, truth=truth is not None)
    width = _width(min(image.shape[:2]))
    pose = _draw(drawing, points, skeleton, visible, truth, width)
    if names:
        _write_names(drawing, [(pose, width)], skeleton, panel)
    return drawing


def draw_legend(
    image: Picture,
    skeleton: AnySkeleton | None,
    *,
    beside: Sequence[npt.ArrayLike] = (),
    truth: bool = False,
    stages: bool = False,
) -> tuple[Picture, Edges]:
    """Writes into a corner of a copy of a picture what the colours mean; poses are drawn over it.

    A picture that has no room for it, or a skeleton of which there is nothing to say, has none.

    Args:
        image: (H, W, 3) uint8, BGR.
        skeleton: As for `draw_pose`.
        beside: Poses, (J, 2) each: it is the corner with the fewest of their joints; the lower left one without any.
        truth: Whether there is a true pose.
        stages: Whether there are the ways of joints from stage to stage, see `draw_ways`.

    Returns:
        (H, W, 3) uint8, BGR; and the legend's left, top, right and bottom.

    Raises:
        DeepPoseError: As `draw_pose`.
    """
    drawing = _copied(image)
    known = of_drawing(skeleton)
    rows = [(name, SIDES[name][1]) for name in sides_of(() if known is None else known.joints)]
    rows += [(name, name) for name, is_there in ((_TRUTH, truth), (_STAGES, stages)) if is_there]
    if not rows:
        return drawing, NOWHERE
    width = _width(min(image.shape[:2]))
    size, stroke = _lettering(width)
    texts = [cv2.getTextSize(text, _FONT, size, stroke)[0] for _, text in rows]
    line, mark = 2 * max(height for _, height in texts) + 2, 6 * width
    margin = line // 2
    across, down = mark + 3 * margin + max(width for width, _ in texts), len(rows) * line + margin
    if across > 0.6 * drawing.shape[1] or down > drawing.shape[0] / 3:
        return drawing, NOWHERE
    joints = np.concatenate([np.zeros((0, 2)), *(np.asarray(pose, np.float64) for pose in beside)])
    corners = [(x, y) for y in (drawing.shape[0] - down, 0) for x in (0, drawing.shape[1] - across)]
    left, top = min(corners, key=lambda corner: _inside(joints, corner, (across, down)))
    panel = drawing[top : top + down, left : left + across]
    panel[:] = np.rint(panel * 0.3)
    for number, (name, text) in enumerate(rows):
        y = top + margin + number * line + line // 4
        ends: tuple[Pixel, Pixel] = (left + margin, y), (left + margin + mark, y)
        if name == _TRUTH:
            _dashes(drawing, *ends, width)
            _ring(drawing, ends[1], width)
        elif name == _STAGES:
            _arrow(drawing, *ends, max(1, width // 2))
        else:
            _line(drawing, *ends, SIDES[name][0], width)
            _dot(drawing, ends[1], SIDES[name][0], width)
        _text(drawing, text, (left + 2 * margin + mark, y + line // 4), size, TRUTH, stroke)
    return drawing, (left, top, left + across, top + down)


def sides_of(joints: Iterable[str]) -> list[str]:
    """Returns the sides, keys of `SIDES`, that the colours of joints tell; none where no joint is of a side."""
    there = set(map(side, joints))
    return [name for name in SIDES if name in there and there != {""}]


def _inside(points: Float64Array, corner: Pixel, size: Pixel) -> int:
    """Returns how many of (N, 2) points are in a rectangle."""
    return int(((points >= corner) & (points < np.add(corner, size))).all(axis=1).sum())


def draw_persons(
    image: Picture,
    persons: Sequence[tuple[int | None, Box | None, npt.ArrayLike]],
    skeleton: AnySkeleton | None,
    *,
    names: bool = False,
    legend: Edges = NOWHERE,
) -> Picture:
    """Draws several persons on a copy of a picture, each with a number and a box.

    Args:
        image: (H, W, 3) uint8, BGR.
        persons: Each one's number, or None for none; box (x, y, width, height), or None for none; and (J, 2) joints, as
            for `draw_pose`.
        skeleton: As for `draw_pose`, as the next is.
        names: Whether joints have their names beside them.
        legend: Where the legend is, which names leave free.

    Returns:
        The drawing, (H, W, 3) uint8, BGR.

    Raises:
        DeepPoseError: An argument has another shape.
    """
    drawing = _copied(image)
    drawn: list[tuple[dict[int, Pixel], int]] = []
    for number, box, points in persons:
        width = _width(min(image.shape[:2]) if box is None else min(*image.shape[:2], max(box[2:])))
        drawn.append((_draw(drawing, points, skeleton, None, None, width), width))
        x, y, w, h = np.clip(box or (0.0,) * 4, -_FAR, _FAR)
        corners = np.array([[x, y], [x + w, y + h]])
        first, last = (tuple(corner) for corner in corners.clip(-_FAR, _FAR).round().astype(int).tolist())
        if box is not None:
            for colour, stroke in _outlined(CENTRE, max(1, width // 3)):
                cv2.rectangle(drawing, first, last, colour, stroke, cv2.LINE_AA)
        # Inside the box's corner, where the picture has it.
        if number is not None:
            _number(drawing, (max(0, first[0]), max(0, first[1]) + 14 + 4 * width), number, width)
    if names:
        _write_names(drawing, drawn, skeleton, legend)
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
                _arrow(drawing, before[joint], after[joint], width)
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
) -> dict[int, Pixel]:
    """Draws a pose into a picture, with lines so many pixels wide; returns the joints that are drawn, and where."""
    known = of_drawing(skeleton)
    names = None if known is None else known.joints
    limbs = () if known is None else known.limbs
    pose = _pixels(points, visible, names)
    true = {} if truth is None else _pixels(truth, visible, names)
    colours = {joint: CENTRE if names is None else SIDES[side(names[joint])][0] for joint in pose}
    lines = [(start, end) for start, end in limbs if start in pose and end in pose]
    for start, end in lines:  # one halo around all, which parts no limb from the next
        cv2.line(drawing, pose[start], pose[end], HALO, width + 4 * _outline(width), cv2.LINE_AA)
    for pixel in pose.values():
        cv2.circle(drawing, pixel, width + 1 + 2 * _outline(width), HALO, cv2.FILLED, cv2.LINE_AA)
    for start, end in lines:
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
    return pose


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


def _width(side: float) -> int:
    """Returns how many pixels limbs are wide on a picture, or of a person, of this side."""
    return max(1, round(side / 100))


def _outline(width: int) -> int:
    """Returns the pixels of the black around a line, which the white around that has too."""
    return max(1, round(width / 5))


def _outlined(colour: Colour, width: int) -> Iterator[tuple[Colour, int]]:
    """Yields the colours and widths of a line with both of its outlines, in the order of drawing."""
    outline = _outline(width)
    yield from ((HALO, width + 4 * outline), (OUTLINE, width + 2 * outline), (colour, width))


def _line(drawing: Picture, start: Pixel, end: Pixel, colour: Colour, width: int) -> None:
    """Draws an outlined line."""
    cv2.line(drawing, start, end, OUTLINE, width + 2 * _outline(width), cv2.LINE_AA)
    cv2.line(drawing, start, end, colour, width, cv2.LINE_AA)


def _dot(drawing: Picture, pixel: Pixel, colour: Colour, width: int) -> None:
    """Draws an outlined dot, wider than the lines."""
    cv2.circle(drawing, pixel, width + 1 + _outline(width), OUTLINE, cv2.FILLED, cv2.LINE_AA)
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


def _arrow(drawing: Picture, start: Pixel, end: Pixel, width: int) -> None:
    """Draws the way of a joint from one stage to the next."""
    for colour, stroke in ((OUTLINE, width + 2), (TRUTH, width)):
        cv2.arrowedLine(drawing, start, end, colour, stroke, cv2.LINE_AA, 0, 0.2)


def _number(drawing: Picture, pixel: Pixel, number: int, width: int) -> None:
    """Writes a number beside a dot, within the picture where the dot is."""
    x, y = pixel[0] + width + 3, pixel[1] - width - 3
    thin, size = max(1, width // 3), 0.3 + 0.1 * width
    (long, high), _ = cv2.getTextSize(str(number), _FONT, size, thin + 2)
    if 0 <= pixel[0] < drawing.shape[1] and 0 <= pixel[1] < drawing.shape[0]:
        x, y = min(x, drawing.shape[1] - long), max(y, high)
    _text(drawing, str(number), (x, y), size, CENTRE, thin)


def _lettering(width: int) -> tuple[float, int]:
    """Returns the size and the stroke of legends on a picture with lines so wide."""
    return 0.28 + 0.06 * width, max(1, round(width / 5))


def _text(drawing: Picture, text: str, place: Pixel, size: float, colour: Colour, stroke: int) -> None:
    """Writes outlined text; the place is its lower left corner."""
    for shade, thick in ((OUTLINE, stroke + 2), (colour, stroke)):
        cv2.putText(drawing, text, place, _FONT, size, shade, thick, cv2.LINE_AA)


def _write_names(
    drawing: Picture, persons: Sequence[tuple[dict[int, Pixel], int]], skeleton: AnySkeleton | None, legend: Edges
) -> None:
    """Writes the names of joints beside them, each where it hides the least of other names, joints and the legend.

    Args:
        drawing: What is written into.
        persons: The joints of each that are drawn, and the width of the lines.
        skeleton: As for `draw_pose`; joints without names have their numbers already.
        legend: Where it is.
    """
    known = of_drawing(skeleton)
    if known is None:
        return
    taken = np.zeros(drawing.shape[:2], np.bool_)
    _part(taken, legend)[:] = True
    for pose, stroke in persons:
        for x, y in pose.values():
            _part(taken, (x - stroke - 2, y - stroke - 2, x + stroke + 2, y + stroke + 2))[:] = True
    for pose, stroke in persons:
        size = round(9 + 1.5 * stroke)
        middle = np.mean([x for x, _ in pose.values()]) if pose else 0.0
        for joint, (x, y) in pose.items():
            across, down = outlined_size(known.joints[joint], size)
            gap = 2 * stroke + 2
            right, left = x + gap, x - gap - across
            outward, inward = (right, left) if x >= middle else (left, right)
            tops = (y - down // 2, y - gap - down, y + gap)
            places = [*((outward, top) for top in tops), *((inward, top) for top in tops)]
            places += [(x - across // 2, top) for top in tops[1:]]
            edges = [(left, top, left + across, top + down) for left, top in places]
            best = min(range(len(places)), key=lambda place: _hidden(taken, edges[place]))
            _part(taken, edges[best])[:] = True
            write_outlined(drawing, known.joints[joint], *places[best], size, TRUTH, OUTLINE)


def _part(taken: Mask, edges: Edges) -> Mask:
    """Returns the part of a picture within left, top, right and bottom."""
    left, top, right, bottom = (max(0, edge) for edge in edges)
    return taken[top:bottom, left:right]


def _hidden(taken: Mask, edges: Edges) -> int:
    """Returns how many pixels of what is there a text would hide; its own outside of the picture count four times."""
    part = _part(taken, edges)
    area = (edges[2] - edges[0]) * (edges[3] - edges[1])
    return int(np.count_nonzero(part)) + 4 * (area - part.size)
