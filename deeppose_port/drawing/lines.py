"""Lines of text in pictures, in a font that has the letters of most file names."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deeppose_port.data.pictures import Picture
from deeppose_port.text import shown

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

Colour = tuple[int, int, int]

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


def outlined_size(text: str, size: int) -> tuple[int, int]:
    """Returns how wide and high `write_outlined` writes."""
    left, top, right, bottom = _font(size).getbbox(shown(text), stroke_width=_stroke(size))
    return round(right - left + 0.5), round(bottom - top + 0.5)


def write_outlined(
    picture: Picture, text: str, left: int, top: int, size: int, colour: Colour, outline: Colour
) -> None:
    """Writes text with an outline into a picture, as far as that goes.

    Args:
        picture: (H, W, 3) uint8, BGR, which is written to.
        text: The text.
        left: Of the text and its outline, in pixels of the picture; the next likewise.
        top: See there.
        size: Of the font, in pixels.
        colour: BGR, as the next is.
        outline: That of the outline.
    """
    from PIL import Image, ImageDraw

    width, height = outlined_size(text, size)
    x, y = max(0, left), max(0, top)
    room = picture[y : max(0, top + height), x : max(0, left + width)]
    if not room.size:
        return
    font, stroke, line = _font(size), _stroke(size), shown(text)
    inset, above, _, _ = font.getbbox(line, stroke_width=stroke)
    drawing = Image.fromarray(np.ascontiguousarray(room))
    place = left - x - inset, top - y - above
    ImageDraw.Draw(drawing).text(place, line, fill=colour, font=font, stroke_width=stroke, stroke_fill=outline)
    room[:] = np.asarray(drawing)


def _stroke(size: int) -> int:
    """Returns how wide the outline of a text is."""
    return max(1, round(size / 10))


def shortened(text: str, width: int) -> str:
    """Returns a line that is at most so wide: of one that is too long the beginning and the end."""
    if width_of(text) <= width:
        return text
    fits, too_many = 0, len(text)
    while too_many - fits > 1:  # by halves: a path has thousands of letters
        kept = (fits + too_many) // 2
        if width_of(_without_middle(text, kept)) > width:
            too_many = kept
        else:
            fits = kept
    return _without_middle(text, fits)


def _without_middle(text: str, kept: int) -> str:
    return f"{text[: (kept + 1) // 2]}{_CUT}{text[len(text) - kept // 2 :]}"


@cache
def _font(size: int = _SIZE) -> FreeTypeFont:
    """Returns the font that comes with Matplotlib."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)
