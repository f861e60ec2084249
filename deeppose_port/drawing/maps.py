"""Heat maps drawn over what a network sees of a person: one cell for each joint."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from deeppose_port.data.arrays import Float32Array
from deeppose_port.data.crop import Letterbox, Points
from deeppose_port.data.pictures import Picture
from deeppose_port.data.view import View
from deeppose_port.drawing.draw import CENTRE, OUTLINE
from deeppose_port.drawing.lines import write_line

#: The longer side of a cell, the height of the line under it, and what lies between two, in pixels.
_CELL, _LINE, _GAP = 220, 20, 4
#: A person's cells are so many times wider than high, about.
_ASPECT = 1.6


def draw_heatmaps(
    image: Picture, view: View, maps: Float32Array, points: Points, names: Sequence[str], title: str = ""
) -> Picture:
    """Draws each joint's heat map over what the network saw of a person.

    A map is coloured from 0, where the picture shows grey, to its own largest number, which stands under it. A dot is
    where the joint was found.

    Args:
        image: (H, W, 3) uint8, BGR: the whole picture.
        view: What the network saw of it.
        maps: (J, h, w) float32: the last stack's maps.
        points: (J, 2), pixels of the picture.
        names: The joints'.
        title: What stands above the cells, if anything does.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    seen = np.clip(np.rint(view.pixels(image)), 0, 255).astype(np.uint8)
    rows, columns = seen.shape[:2]
    # A crop is resized to a square, and is shown in its own shape; a letterbox has it already.
    width, height = (columns, rows) if isinstance(view.crop, Letterbox) else (view.crop.width, view.crop.height)
    scale = _CELL / max(width, height)
    width, height = max(1, round(scale * width)), max(1, round(scale * height))
    seen = np.asarray(cv2.resize(seen, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    dim = np.repeat(cv2.cvtColor(seen, cv2.COLOR_BGR2GRAY)[..., None], 3, axis=2).astype(np.float32) * 0.6
    places = view.crop.to_crop(points) * (width / columns, height / rows)
    across = max(1, min(len(maps), round(math.sqrt(len(maps) * _ASPECT * (height + _LINE) / width))))
    top = _LINE if title else 0
    cell_width, cell_height = width + _GAP, height + _LINE + _GAP
    sheet = np.zeros((top + -(-len(maps) // across) * cell_height, across * cell_width, 3), np.uint8)
    if title:
        write_line(sheet, title, 3, 2, sheet.shape[1] - 3)
    for joint, (heat, name) in enumerate(zip(maps, names, strict=True)):
        row, column = divmod(joint, across)
        y, x = top + row * cell_height, column * cell_width
        cell = _over(dim, heat)
        if np.isfinite(places[joint]).all():
            at = tuple(places[joint].round().astype(int).tolist())
            cv2.circle(cell, at, 4, OUTLINE, cv2.FILLED, cv2.LINE_AA)
            cv2.circle(cell, at, 3, CENTRE, cv2.FILLED, cv2.LINE_AA)
        sheet[y : y + height, x : x + width] = cell
        write_line(sheet, f"{name} {heat.max():.3g}", x + 3, y + height + 2, width - 3)
    return sheet


def stacked(sheets: Sequence[Picture]) -> Picture:
    """Returns pictures one under the other, black beside those that are narrower than others."""
    width = max(sheet.shape[1] for sheet in sheets)
    return np.vstack([np.pad(sheet, ((0, 0), (0, width - sheet.shape[1]), (0, 0))) for sheet in sheets])


def _over(dim: Float32Array, heat: Float32Array) -> Picture:
    """Colours a map over a dimmed picture."""
    height, width = dim.shape[:2]
    largest = float(np.nanmax(heat, initial=0.0, where=np.isfinite(heat)))
    share = np.clip(np.nan_to_num(heat, nan=0.0, posinf=0.0) / largest, 0, 1) if largest > 0 else np.zeros_like(heat)
    share = np.asarray(cv2.resize(share, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    colours = cv2.applyColorMap(np.rint(255 * share).astype(np.uint8), cv2.COLORMAP_INFERNO)
    weight = np.sqrt(share)[..., None]
    mixed: Picture = np.clip(np.rint(dim * (1 - weight) + colours * weight), 0, 255).astype(np.uint8)
    return mixed
