"""Lines of text in pictures, in a font that has the letters of most file names."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deeppose_port.data.pictures import Picture
from deeppose_port.drawing.draw import Colour
from deeppose_port.text import shown

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

#: From one line to the next, in pixels.
HEIGHT = 16
WHITE: Colour = (255, 255, 255)
GREY: Colour = (190, 190, 190)

_SIZE = 11
_CUT = "\N{HORIZONTAL ELLIPSIS}"


def write_line(picture: Picture, text: str, x: int, y: int, width: int, colour: Colour = WHITE) -> int:
    """Writes a line into a picture, with its middle left out where it is too long.

    Args:
        picture: (H, W, 3) uint8, BGR; `HEIGHT` rows of it are written to.
        text: The line.
        x: Its left end, in pixels of the picture.
        y: The top of it.
        width: How wide it may be.
        colour: BGR.

    Returns:
        How wide it is.
    """
    from PIL import Image, ImageDraw

    if width < 1:
        return 0
    line = shortened(shown(text), width)
    room = picture[y : y + HEIGHT, x : x + width]
    drawing = Image.fromarray(np.ascontiguousarray(room))
    ImageDraw.Draw(drawing).text((0, 1), line, fill=colour, font=_font())
    room[:] = np.asarray(drawing)
    return width_of(line)


def width_of(text: str) -> int:
    """Returns how wide a line is, in pixels."""
    return round(_font().getlength(text) + 0.5)


def shortened(text: str, width: int) -> str:
    """Returns a line that is at most so wide: of one that is too long the beginning and the end."""
    if width_of(text) <= width:
        return text
    kept = len(text) - 1
    while kept and width_of(_without_middle(text, kept)) > width:
        kept -= 1
    return _without_middle(text, kept)


def _without_middle(text: str, kept: int) -> str:
    return f"{text[: (kept + 1) // 2]}{_CUT}{text[len(text) - kept // 2 :]}"


@cache
def _font() -> FreeTypeFont:
    """Returns the font that comes with Matplotlib."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), _SIZE)
