"""Pictures from files: whole or refused, and never larger than their header was asked for first."""

from __future__ import annotations

import io
import os
import struct
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from converters.errors import DeepPoseError, reason_of
from converters.files import refuse_no_file
from deeppose_port.data.options import MAX_PIXELS as MAX_PIXELS

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

Picture = npt.NDArray[np.uint8]
#: Whatever holds a picture, see `picture_of`.
AnyPicture: TypeAlias = "Picture | str | os.PathLike[str] | Image"
#: The orders of an array's colours.
COLORS = ("bgr", "rgb")

#: The formats whose size can be told before they are decoded, as Pillow calls them: those that OpenCV decodes.
FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "PPM", "TIFF", "WEBP", "JPEG2000", "AVIF", "SUN")

_ORIENTATION = 0x0112  # the EXIF tag; from 5 to 8, width and height change places when the picture is decoded
_END_OF_JPEG = np.frombuffer(b"\xff\xd9", np.uint8)
_BYTES_PER_PIXEL = 8  # of four 16-bit channels; what has more is no picture
_SMALL = 1 << 20
_FLAGS = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


class PictureError(DeepPoseError):
    """A picture that cannot be used. The message names it and says what is wrong."""


def checked_picture(image: object) -> None:
    """Refuses what is no picture.

    Raises:
        PictureError: It is not an array of (H, W, 3) uint8.
    """
    if not isinstance(image, np.ndarray):
        advice = ": OpenCV's imread gives None for a file that it cannot read" if image is None else ""
        raise PictureError(f"the picture is {_named(image)}; it has to be uint8 (height, width, 3){advice}")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise PictureError(f"the picture is {image.dtype} {image.shape}; it has to be uint8 (height, width, 3)")


def _named(value: object) -> str:
    return "None" if value is None else f"of the type {type(value).__name__}"


def picture_of(image: AnyPicture, colors: str = "bgr") -> Picture:
    """Returns a picture as OpenCV has it, from whatever holds one.

    Args:
        image: A path; a PIL picture, whatever its mode; or (H, W, 3) uint8.
        colors: The order of an array's last axis, `bgr` or `rgb`.

    Returns:
        (H, W, 3) uint8, BGR.

    Raises:
        PictureError: It is none of these, or the file is no picture.
        DeepPoseError: There is no such order.
    """
    if colors not in COLORS:
        raise DeepPoseError(f"colors is {colors!r}; it is {' or '.join(COLORS)}")
    if isinstance(image, str | os.PathLike):
        return read_picture(image)
    if not isinstance(image, np.ndarray):
        from PIL.Image import Image

        if isinstance(image, Image):
            return _of_pillow(image)
    checked_picture(image)
    return image if colors == "bgr" else np.ascontiguousarray(image[:, :, ::-1])


def _of_pillow(image: Image) -> Picture:
    """Returns a picture of Pillow's as `picture_of` does: of 16 bits the upper 8, as OpenCV reads them from a file."""
    try:
        if image.mode.startswith("I;16"):
            grey = (np.asarray(image) >> 8).astype(np.uint8)
            return np.repeat(grey[:, :, np.newaxis], 3, axis=2)
        if image.mode in ("I", "F"):
            levels = np.asarray(image)
            low, high = levels.min(), levels.max()
            if not (low >= 0 and high <= 255):
                raise PictureError(
                    f"the picture is of Pillow's mode {image.mode}, from {low:g} to {high:g}; levels are 0 to 255"
                )
        return np.ascontiguousarray(np.asarray(image.convert("RGB"))[:, :, ::-1])
    except (OSError, SyntaxError) as error:  # of a file that Pillow reads only now
        raise PictureError(f"cannot be decoded: {reason_of(error)}") from error


def read_picture(
    path: str | os.PathLike[str], *, allow_truncated: bool = False, max_pixels: int = MAX_PIXELS
) -> Picture:
    """Decodes a picture from the disk.

    OpenCV decodes a JPEG that is cut off to nothing from memory, and to grey from the cut on from a file: so it is
    given the bytes. Damage within a JPEG that has an end passes: the format has no checksums.

    Args:
        path: The picture, of a format in `FORMATS`.
        allow_truncated: Whether a JPEG that is cut off is taken, grey from the cut on.
        max_pixels: The most pixels that it may have.

    Returns:
        (H, W, 3) uint8, BGR, read-only, turned as its EXIF says.

    Raises:
        PictureError: It cannot be read, is not a whole picture, or has too many pixels.
    """
    try:
        return decode_picture(picture_bytes(path, max_pixels), allow_truncated=allow_truncated, max_pixels=max_pixels)
    except DeepPoseError as error:
        raise PictureError(error.problem, where=path, advice=error.advice) from error


def picture_bytes(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """Reads a picture's file, (N,) uint8, as long as a picture of so many pixels may be.

    Raises:
        PictureError: It is no file, cannot be read, or is longer.
    """
    with _opened(path, max(_BYTES_PER_PIXEL * max_pixels, _SMALL)) as file:
        return np.fromfile(file, np.uint8)


def find_picture(folder: Path, name: str) -> Path:
    """Returns where a picture of a name in a list is: as written, or as another system writes it.

    Windows parts folders by a backslash; macOS decomposes accents in names of files (NFD), others mostly do not (NFC).

    Args:
        folder: What the name is relative to.
        name: The name.

    Returns:
        The picture; the name as written where there is none.
    """
    written = folder / name
    if os.path.isfile(written):  # which takes a name that none can have for no file's
        return written
    slashed = name.replace("\\", "/")
    for form in ("NFC", "NFD"):
        for spelled in (name, slashed):
            path = folder / unicodedata.normalize(form, spelled)
            if os.path.isfile(path):
                return path
    return written


def decode_picture(
    data: npt.NDArray[np.uint8],
    *,
    allow_truncated: bool = False,
    max_pixels: int = MAX_PIXELS,
    factor: Literal[1, 2, 4, 8] = 1,
) -> Picture:
    """Decodes the (N,) bytes of a picture's file; arguments, result and errors as for `read_picture`.

    With a `factor` above 1 its sides are so many times smaller, which a JPEG is decoded to in less time.
    """
    if not data.size:
        raise PictureError("cannot be decoded; the file is empty")
    width, height = _stored_size(data)
    if width * height > max_pixels:
        raise PictureError(
            f"{width:,} x {height:,} pixels are more than the {max_pixels:,} that are decoded",
            advice="--max-pixels, `max_pixels=`, allows more",
        )
    try:
        decoded = cv2.imdecode(np.append(data, _END_OF_JPEG) if allow_truncated else data, _FLAGS[factor])
    except cv2.error as error:
        raise PictureError(f"cannot be decoded: {error.err}") from error
    if decoded is None:
        raise PictureError("cannot be decoded; is it a whole picture, or cut off?")
    picture: Picture = decoded.astype(np.uint8, copy=False)
    picture.flags.writeable = False
    return picture


def _stored_size(data: npt.NDArray[np.uint8]) -> tuple[int, int]:
    """Returns the width and height that a picture is stored with: a PNG's as they stand there, without Pillow."""
    start = data[:24].tobytes()
    if start[:8] == b"\x89PNG\r\n\x1a\n" and start[12:16] == b"IHDR" and len(start) == 24:
        width, height = struct.unpack(">II", start[16:])
    else:
        with _header(io.BytesIO(data.data)) as image:
            width, height = image.size
    return width, height


def picture_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Returns a picture's width and height, turned as its EXIF says, without decoding it.

    Raises:
        PictureError: It is no file, cannot be read, is of none of the `FORMATS`, or its header is damaged.
    """
    with _opened(path) as file:
        try:
            return _size(file)
        except PictureError as error:
            raise PictureError(error.problem, where=path) from error


def encoded_size(data: npt.NDArray[np.uint8]) -> tuple[int, int]:
    """Returns the width and height of the picture in a file's (N,) bytes, as `picture_size` does."""
    return _size(io.BytesIO(data.data))


def orientation_of(data: npt.NDArray[np.uint8]) -> int:
    """Returns how the picture in a file's (N,) bytes is turned when it is decoded, as EXIF numbers it: 1 is not at all.

    Raises:
        PictureError: Its header is damaged.
    """
    return _measured(io.BytesIO(data.data))[2]


def _size(file: IO[bytes]) -> tuple[int, int]:
    width, height, orientation = _measured(file)
    return (height, width) if orientation in (5, 6, 7, 8) else (width, height)


def _measured(file: IO[bytes]) -> tuple[int, int, int]:
    """Returns the width and height that a picture is stored with, and how OpenCV turns it.

    That takes EXIF of JPEG, PNG and WebP, and the tag of a TIFF; not XMP, nor the EXIF of other formats.
    """
    from PIL.TiffImagePlugin import TiffImageFile

    try:
        with _header(file) as image:
            if isinstance(image, TiffImageFile):  # whose size has been turned already, by Pillow's version
                stored = image.tag_v2
                return int(stored[256]), int(stored[257]), int(stored.get(_ORIENTATION, 1))
            block: bytes = image.info.get("exif") or b""
            match image.format:
                case "JPEG" | "MPO":
                    block = block.removeprefix(b"Exif\0\0")
                case "PNG":
                    block = _exif_of_png(file)
                case "WEBP":
                    pass
                case _:
                    block = b""
            return *image.size, _orientation_in(block)
    except PictureError:
        raise
    except Exception as error:  # of Pillow, about whatever is in the EXIF
        raise PictureError(f"cannot be decoded: {reason_of(error)}") from error


def _exif_of_png(file: IO[bytes]) -> bytes:
    """Returns the EXIF of a PNG, wherever in it that is."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"eXIf":
            return file.read(length)
        file.seek(length + 4, os.SEEK_CUR)
    return b""


def _orientation_in(block: bytes) -> int:
    """Returns the orientation in an EXIF block, which begins as a TIFF does, 1 where there is none.

    It reads two bytes whatever type the tag says it is of, as OpenCV does: so its answer is that by which OpenCV turns.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    try:
        if order is None:
            return 1
        (first,) = struct.unpack_from(f"{order}I", block, 4)
        (entries,) = struct.unpack_from(f"{order}H", block, first)
        for place in range(first + 2, first + 2 + 12 * entries, 12):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", block, place)
            if tag == _ORIENTATION:
                return int(value)
    except struct.error:  # it is cut off
        pass
    return 1


@contextmanager
def _opened(path: str | os.PathLike[str], largest: int | None = None) -> Iterator[IO[bytes]]:
    """Opens a file that is one."""
    if not os.path.exists(path):
        raise PictureError("there is no such picture", where=path)
    refuse_no_file(path, PictureError, largest)
    try:
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise PictureError(f"cannot be read: {reason_of(error)}", where=path) from error


def _is_accepted(accepts: Callable[[bytes], bool | str], start: bytes) -> bool:
    """Tells whether a format of Pillow's takes a file by its start, which may be shorter than that format expects."""
    try:
        return accepts(start) is True
    except (IndexError, TypeError, struct.error):  # as `Image.open` has it
        return False


def _header(file: IO[bytes]) -> ImageFile:
    """Reads a picture's header.

    It asks Pillow's readers of headers and not `Image.open`, which has a bound on pixels for the whole process.
    """
    from PIL import Image

    start = file.read(16)
    for load in (Image.preinit, Image.init):  # the common formats first: loading every reader takes a while
        load()
        for name in FORMATS:
            factory, accepts = Image.OPEN.get(name, (None, None))
            if factory is not None and accepts is not None and _is_accepted(accepts, start):
                file.seek(0)
                try:
                    return factory(file, "")
                except Exception as error:  # whatever a damaged header makes of them
                    raise PictureError(f"cannot be decoded: {reason_of(error)}") from error
    if start and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in start):
        raise PictureError(
            "cannot be decoded: this is text, not a picture; `predict --manifest` takes a list of pictures"
        )
    raise PictureError("cannot be decoded: it is no picture, or of a format that is not read")
