"""Persons drawn on their crops, and contact sheets: some of many, side by side."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from converters.errors import DeepPoseError
from converters.values import dataclass
from deeppose_port import metrics
from deeppose_port.data.arrays import Mask, seeded
from deeppose_port.data.crop import Crop, Points
from deeppose_port.data.pictures import Picture
from deeppose_port.data.skeletons import Skeleton
from deeppose_port.drawing.draw import SIDES, draw_pose, sides_of
from deeppose_port.drawing.lines import GREY, HEIGHT, WHITE, Colour, width_of, write_line
from deeppose_port.metrics.shown import error_of_person

#: Side of a drawing and what lies between two, in pixels: those of the legacy program's tile mode.
CELL, GAP = 220, 2
#: The file's name.
TILE = "tile.png"
_MOST_PERSONS = 1600  # with the truth 560 MB
_MARGIN, _SWATCH = 4, 18
_GROUND = 36  # a dark grey, where a crop leaves room


@dataclass(frozen=True)
class _Tile:
    """A person: drawings beside each other, what is written under each of them, and above that whose they are."""

    caption: str
    drawings: tuple[Picture, ...]
    labels: tuple[str, ...]


class ContactSheet:
    """A mosaic of persons drawn by chance from however many are added.

    Under each person stands whose picture it is. Where the truth is known, it stands beside the network's answer, whose
    error is told. A legend tells the colours.

    Args:
        columns: Persons in a row.
        rows: Rows.
        seed: Of the choice: the same seed chooses the same of as many.

    Raises:
        DeepPoseError: There is no room for a person, or for more than 1,600; or the seed is negative.
    """

    def __init__(self, columns: int, rows: int, seed: int = 0) -> None:
        if columns < 1 or rows < 1 or columns * rows > _MOST_PERSONS:
            raise DeepPoseError(f"a contact sheet of {columns} x {rows} persons: it has to have 1 to {_MOST_PERSONS}")
        self.columns = columns
        self.rows = rows
        self._random = seeded(seed)
        # Each person draws a number, and those with the highest stay: a uniform choice of unknown many.
        self._chosen: list[tuple[float, int, _Tile]] = []
        self._added = 0
        self._sides: list[str] | None = []

    def add(
        self,
        image: Picture,
        crop: Crop,
        points: Points,
        skeleton: Skeleton | None,
        *,
        caption: str = "",
        truth: Points | None = None,
        visible: Mask | None = None,
    ) -> None:
        """Adds a person, who may get a place.

        Args:
            image: (H, W, 3) uint8, BGR: the whole picture.
            crop: The part of it that is shown.
            points: (J, 2), pixels of the picture.
            skeleton: As for `draw_pose`.
            caption: Whose picture it is.
            truth: (J, 2) or None.
            visible: (J,) bool, the joints of the truth that are known; None for all.
        """
        number, place = float(self._random.random()), self._added
        self._added += 1
        self._sides = None if skeleton is None else sides_of(skeleton.joints)
        full = len(self._chosen) == self.columns * self.rows
        if full and number < self._chosen[0][0]:
            return
        drawings, labels = [_drawn(image, crop, points, skeleton, None)], [""]
        if truth is not None:
            known = np.ones(len(truth), np.bool_) if visible is None else visible
            drawings.append(_drawn(image, crop, truth, skeleton, known))
            labels = [f"network: {_error(points, truth, known)}", _of_truth(known)]
        entry = (number, place, _Tile(caption, tuple(drawings), tuple(labels)))
        if full:
            heapq.heapreplace(self._chosen, entry)
        else:
            heapq.heappush(self._chosen, entry)

    def picture(self) -> Picture:
        """Returns the chosen in the order in which they came, row by row, and the legend: (H, W, 3) uint8, BGR.

        Rows that would be empty are left out; what is left of the last is black.
        """
        tiles = [tile for _, _, tile in sorted(self._chosen, key=lambda entry: entry[1])]
        beside = max((len(tile.drawings) for tile in tiles), default=1)
        width, height = beside * (CELL + GAP) - GAP, CELL + beside * HEIGHT
        columns = min(self.columns, max(1, len(tiles)))
        rows = max(1, -(-len(tiles) // columns))
        legend = _legend(self._sides, beside > 1, columns * (width + GAP) - GAP)
        sheet = np.zeros((rows * (height + GAP), legend.shape[1], 3), np.uint8)
        for i, tile in enumerate(tiles):
            _put(tile, sheet[(height + GAP) * (i // columns) :, (width + GAP) * (i % columns) :][:height, :width])
        return np.vstack([sheet, legend])


def _put(tile: _Tile, room: Picture) -> None:
    """Puts a person into their place on a sheet."""
    for i, (drawing, label) in enumerate(zip(tile.drawings, tile.labels, strict=True)):
        x = i * (CELL + GAP)
        room[:CELL, x : x + CELL] = drawing
        if label:
            write_line(room, label, x + _MARGIN, CELL + HEIGHT, CELL - 2 * _MARGIN, GREY)
    write_line(room, tile.caption, _MARGIN, CELL, room.shape[1] - 2 * _MARGIN)


def _error(points: Points, truth: Points, known: Mask) -> str:
    """Returns a person's error in pixels, and in per cent of the box of the joints."""
    if not known.any():
        return "no joint to compare"
    rows = points[np.newaxis], truth[np.newaxis], known[np.newaxis]
    box = float(metrics.box_sizes(rows[1], rows[2])[0])
    return ", ".join(filter(None, error_of_person(metrics.mean_error(*rows), box)))


def _of_truth(known: Mask) -> str:
    """Returns what stands under the truth."""
    return "truth" if known.all() else f"truth: {int(known.sum())} of {len(known)} joints"


def _legend(sides: list[str] | None, with_truth: bool, width: int) -> Picture:
    """Draws the legend, as many lines of it as the width takes."""
    entries: list[tuple[Colour | None, str]] = [SIDES[name] for name in sides or ()]
    if sides is None:
        entries.append((None, "joints are numbered from 0"))
    if with_truth:
        entries.append((None, "each person: the network, then the truth"))
        entries.append((None, "error: mean of the joints, px of the picture, % of the person's box"))
    lines = list(_flow(entries, width - 2 * _MARGIN))
    legend = np.zeros((len(lines) * HEIGHT + 2 * _MARGIN, width, 3), np.uint8)
    for i, line in enumerate(lines):
        x, y = _MARGIN, _MARGIN + i * HEIGHT
        for colour, words in line:
            if colour is not None:
                legend[y + 6 : y + 10, x : x + _SWATCH - 5] = colour
                x += _SWATCH
            x += write_line(legend, words, x, y, width - _MARGIN - x, WHITE) + 3 * _MARGIN
    return legend


def _flow(entries: Iterable[tuple[Colour | None, str]], width: int) -> Iterable[Sequence[tuple[Colour | None, str]]]:
    """Yields as many entries at a time as stand in a line."""
    line: list[tuple[Colour | None, str]] = []
    taken = 0
    for colour, words in entries:
        needed = width_of(words) + (0 if colour is None else _SWATCH)
        if line and taken + needed > width:
            yield line
            line, taken = [], 0
        line.append((colour, words))
        taken += needed + 3 * _MARGIN
    if line:
        yield line


def parse_tile(text: str) -> tuple[int, int]:
    """Reads `COLUMNSxROWS`.

    Raises:
        DeepPoseError: It is not two whole numbers.
    """
    try:
        columns, rows = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise DeepPoseError(f"the tile {text!r} is not two whole numbers; write it as COLUMNSxROWS, 5x5") from None
    return columns, rows


def draw_crop(
    image: Picture,
    crop: Crop,
    points: Points,
    skeleton: Skeleton | None,
    *,
    visible: Mask | None = None,
) -> Picture:
    """Draws a person on the part of the picture that the network saw, enlarged where its longer side is below a cell's.

    Args:
        image: (H, W, 3) uint8, BGR: the whole picture.
        crop: The part of it.
        points: (J, 2), pixels of the picture.
        skeleton: As for `draw_pose`, as the next is.
        visible: (J,) bool or None.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    cut = _resized(image, crop, max(1.0, CELL / max(crop.width, crop.height)))
    return draw_pose(cut, _placed(points, crop, cut), skeleton, visible=visible)


def _drawn(image: Picture, crop: Crop, points: Points, skeleton: Skeleton | None, visible: Mask | None) -> Picture:
    """Draws a pose on the person's crop, in the middle of a dark square that it fits into."""
    cut = _resized(image, crop, CELL / max(crop.width, crop.height))
    height, width = cut.shape[:2]
    x, y = (CELL - width) // 2, (CELL - height) // 2
    cell = np.full((CELL, CELL, 3), _GROUND, np.uint8)
    cell[y : y + height, x : x + width] = cut
    return draw_pose(cell, _placed(points, crop, cut, (x, y)), skeleton, visible=visible)


def _resized(image: Picture, crop: Crop, scale: float) -> Picture:
    """Cuts a crop out and resizes it by one factor for both axes."""
    size = tuple(max(1, round(scale * side)) for side in (crop.width, crop.height))
    shrinks = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(image[crop.y0 : crop.y1, crop.x0 : crop.x1], size, interpolation=shrinks).astype(np.uint8)


def _placed(positions: Points, crop: Crop, cut: Picture, corner: tuple[int, int] = (0, 0)) -> Points:
    """Maps points of the picture to pixels of a crop that was resized and put at a corner."""
    factors = np.array([cut.shape[1] / crop.width, cut.shape[0] / crop.height])
    placed: Points = (positions - (crop.x0, crop.y0)) * factors + np.array(corner)
    return placed
