"""Persons drawn on their crops, and contact sheets: some of many, side by side."""

from __future__ import annotations

import heapq

import cv2
import numpy as np
import numpy.typing as npt

from converters.errors import DeepPoseError
from deeppose_port.data.crop import Crop, Points
from deeppose_port.data.pictures import Picture
from deeppose_port.data.skeletons import Skeleton
from deeppose_port.drawing.draw import draw_pose

#: Side of a cell and what lies between two, in pixels: those of the legacy program's tile mode.
CELL, GAP = 220, 2
#: The file's name.
TILE = "tile.png"
_MOST_CELLS = 1600  # 230 MB


class ContactSheet:
    """A mosaic of persons drawn by chance from however many are added.

    Args:
        columns: Cells in a row.
        rows: Rows.
        seed: Of the choice: the same seed chooses the same of as many.

    Raises:
        DeepPoseError: There is no cell, or there are more than 1,600.
    """

    def __init__(self, columns: int, rows: int, seed: int = 0) -> None:
        if columns < 1 or rows < 1 or columns * rows > _MOST_CELLS:
            raise DeepPoseError(f"a contact sheet of {columns} x {rows} cells: it has to have 1 to {_MOST_CELLS} cells")
        self.columns = columns
        self.rows = rows
        self._random = np.random.default_rng(seed)
        # Each person draws a number, and those with the highest stay: a uniform choice of unknown many.
        self._chosen: list[tuple[float, int, Picture]] = []
        self._added = 0

    def add(
        self,
        image: Picture,
        crop: Crop,
        points: Points,
        skeleton: Skeleton | None,
        *,
        truth: Points | None = None,
        visible: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Adds a person, who may get a cell.

        Args:
            image: (H, W, 3) uint8, BGR: the whole picture.
            crop: The part of it that the cell shows.
            points: (J, 2), pixels of the picture.
            skeleton: As for `draw_pose`, as the next two are.
            truth: (J, 2) or None.
            visible: (J,) bool, the joints of the truth that are drawn, and with it of the points; None for all.
        """
        number, place = float(self._random.random()), self._added
        self._added += 1
        full = len(self._chosen) == self.columns * self.rows
        if full and number < self._chosen[0][0]:
            return
        entry = (number, place, _cell(image, crop, points, skeleton, truth, visible))
        if full:
            heapq.heapreplace(self._chosen, entry)
        else:
            heapq.heappush(self._chosen, entry)

    def picture(self) -> Picture:
        """Returns the chosen in the order in which they came, row by row: (H, W, 3) uint8, BGR.

        Rows that would be empty are left out; what is left of the last is black.
        """
        cells = [cell for _, _, cell in sorted(self._chosen, key=lambda entry: entry[1])]
        columns = min(self.columns, max(1, len(cells)))
        rows = max(1, -(-len(cells) // columns))
        sheet = np.zeros((rows * (CELL + GAP) - GAP, columns * (CELL + GAP) - GAP, 3), np.uint8)
        for i, cell in enumerate(cells):
            y, x = (CELL + GAP) * (i // columns), (CELL + GAP) * (i % columns)
            sheet[y : y + CELL, x : x + CELL] = cell
        return sheet


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
    truth: Points | None = None,
    visible: npt.NDArray[np.bool_] | None = None,
) -> Picture:
    """Draws a person on the part of the picture that the network saw, enlarged where its longer side is below a cell's.

    Args:
        image: (H, W, 3) uint8, BGR: the whole picture.
        crop: The part of it.
        points: (J, 2), pixels of the picture; so is the truth.
        skeleton: As for `draw_pose`, as the next two are.
        truth: (J, 2) or None.
        visible: (J,) bool or None.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    cut = _resized(image, crop, max(1.0, CELL / max(crop.width, crop.height)))
    there = None if truth is None else _placed(truth, crop, cut)
    return draw_pose(cut, _placed(points, crop, cut), skeleton, visible=visible, truth=there)


def _cell(
    image: Picture,
    crop: Crop,
    points: Points,
    skeleton: Skeleton | None,
    truth: Points | None,
    visible: npt.NDArray[np.bool_] | None,
) -> Picture:
    """Draws a person's crop into the middle of a black cell, as large as it fits."""
    cut = _resized(image, crop, CELL / max(crop.width, crop.height))
    height, width = cut.shape[:2]
    x, y = (CELL - width) // 2, (CELL - height) // 2
    cell = np.zeros((CELL, CELL, 3), np.uint8)
    cell[y : y + height, x : x + width] = cut
    there = None if truth is None else _placed(truth, crop, cut, (x, y))
    return draw_pose(cell, _placed(points, crop, cut, (x, y)), skeleton, visible=visible, truth=there)


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
