"""What is named to be predicted: pictures, folders of them, patterns, addresses, videos, cameras and streams."""

from __future__ import annotations

import glob
import itertools
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TypeAlias
from urllib.parse import SplitResult, unquote, urlsplit

from converters import formats
from converters.errors import DeepPoseError
from converters.stages import holds_cascade
from converters.values import dataclass
from deeppose_port.drawing.video import SUFFIXES, is_animated
from deeppose_port.predict.fetching import BUCKETS, is_bucket, is_stream

#: In a folder, files with these suffixes are taken for pictures: those of the formats that are read.
PICTURE_SUFFIXES = frozenset(
    {
        *(".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
        *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
    }
)

_FETCHED = ("http", "https", *BUCKETS)
#: What OpenCV's FFmpeg plays.
_PLAYED = ("rtsp", "rtsps", "rtmp", "rtmps", "rtp", "srt", "udp", "tcp")
_STREAM_SUFFIXES = SUFFIXES | {".m3u8", ".mjpeg", ".mjpg", ".mpd", ".ts"}
_LONGEST_STEM = 100


@dataclass(frozen=True)
class Remote:
    """What is no file: a picture behind an address, or a camera or a stream.

    Attributes:
        address: Its URL; of a camera its number, or its device.
        stream: Whether it is a camera or a stream.
    """

    address: str
    stream: bool = False

    def __str__(self) -> str:
        return self.address

    @property
    def path(self) -> PurePosixPath:
        """What stands for a path in it."""
        return PurePosixPath(unquote(_parts(self.address).path))

    @property
    def stem(self) -> str:
        """What files that are made of it are called."""
        if self.address.isdecimal():
            return f"camera-{self.address}"
        name = self.path.stem or _parts(self.address).hostname or "stream"
        return re.sub(r"[^\w.-]+", "_", name)[:_LONGEST_STEM]


#: What is predicted.
Source: TypeAlias = Path | Remote


def title_of(source: Source, person: int | None = None) -> str:
    """Returns what stands under a picture of a person: the file's name, or the address, and which person of several."""
    title = source.name if isinstance(source, Path) else source.address
    title = f"camera {title}" if title.isdecimal() and isinstance(source, Remote) else title
    return title if person is None else f"{title}, person {person}"


def sources_in(
    named: str | os.PathLike[str] | Remote, *, recursive: bool = False, without: Path | None = None
) -> list[Source]:
    """Returns what is meant by one name.

    Args:
        named: A file; a folder, of which the pictures are taken; a pattern with `*`, `?` or `[`, where no file has that
            name; an address; the number of a camera, or its device.
        recursive: Whether the folders in a folder are looked through too.
        without: A folder whose files are not taken, where folders above it are looked through.

    Raises:
        DeepPoseError: There is no picture in the folder, nothing that matches, no such scheme, or it is no address.
    """
    if isinstance(named, Remote):
        _parts(named.address)
        return [named]
    text = os.fspath(named)
    scheme, parted, _ = text.partition("://")
    if parted:
        return [_remote(scheme.lower(), text)]
    path = Path(text)
    if _is_camera(path):
        return [Remote(text, stream=True)]
    if glob.has_magic(text) and not os.path.lexists(path):
        return _matching(text, recursive, without)
    return [*files_in(path, recursive=recursive, without=without)]


def sources_of(
    names: Iterable[str | os.PathLike[str] | Remote], *, recursive: bool = False, without: Path | None = None
) -> tuple[list[Source], dict[str, DeepPoseError]]:
    """Returns what is meant by several names, and why some of them mean nothing.

    Args:
        names: As for `sources_in`, as the next are.
        recursive: Whether the folders in a folder are looked through too.
        without: A folder whose files are not taken.

    Raises:
        DeepPoseError: None of them means anything.
    """
    found: list[Source] = []
    refused: dict[str, DeepPoseError] = {}
    for name in names:
        try:
            found += sources_in(name, recursive=recursive, without=without)
        except DeepPoseError as error:
            refused[str(name)] = error
    if refused and not found:
        raise next(iter(refused.values()))
    return found, refused


def source_named(name: str) -> Source:
    """Returns what stands for a name that means nothing."""
    return Remote(name) if "://" in name else Path(name)


def files_in(source: Path, *, recursive: bool = False, without: Path | None = None) -> list[Path]:
    """Returns the pictures of a folder by their suffixes, sorted; what is no folder is returned as it is.

    Args:
        source: The folder.
        recursive: Whether the folders in it are looked through too.
        without: A folder that is not.

    Raises:
        DeepPoseError: There is no picture in the folder.
    """
    if not source.is_dir():
        return [source]
    found = _walked(source, without) if recursive else sorted(source.iterdir())
    files = [file for file in found if file.suffix.lower() in PICTURE_SUFFIXES and file.is_file()]
    if not files:
        advice = "" if recursive else "; -r looks into its folders"
        known = ", ".join(sorted(PICTURE_SUFFIXES))
        raise DeepPoseError(f"{source}: there is no picture in this folder ({known}{advice})")
    return files


def is_source(named: str | os.PathLike[str]) -> bool:
    """Tells whether something named is what is predicted, and no network: by what it is, or its suffix."""
    text = os.fspath(named)
    path = Path(text)
    if text == "-" or "://" in text or _is_camera(path) or (glob.has_magic(text) and not os.path.lexists(path)):
        return True
    if not path.is_dir():
        return _sounds_like_pictures(path)
    if holds_cascade(path) or formats.resolve(path) != path:
        return False
    return any(file.suffix.lower() in PICTURE_SUFFIXES for file in path.iterdir())


def _sounds_like_pictures(path: Path) -> bool:
    """Tells whether a file's suffix is a picture's or a video's, be it one that nothing here reads."""
    suffix = path.suffix.lower()
    if suffix in PICTURE_SUFFIXES | SUFFIXES:
        return True
    if any(suffix in format.suffixes for format in formats.FORMATS.values()):
        return False
    import mimetypes  # whose first answer takes reading the system's lists of suffixes

    kind, _ = mimetypes.guess_type(path.name)
    return (kind or "").startswith(("image/", "video/"))


def is_video(source: Source) -> bool:
    """Tells whether something is a video, by its suffix: an animated GIF is one, and so are cameras and streams."""
    if isinstance(source, Remote):
        return source.stream
    return source.suffix.lower() in SUFFIXES or is_animated(source)


def listed(lines: Iterable[str]) -> Iterator[str]:
    """Yields the names of a list, one a line, without empty lines, and without a byte-order mark."""
    for line in lines:
        if name := line.strip().removeprefix("\ufeff"):
            yield name


def _parts(address: str) -> SplitResult:
    """Returns the parts of an address.

    Raises:
        DeepPoseError: It is none.
    """
    try:
        return urlsplit(address)
    except ValueError as error:
        raise DeepPoseError("this is no address", where=address) from error


def _remote(scheme: str, text: str) -> Remote:
    suffix = Remote(text).path.suffix.lower()
    if scheme in _PLAYED:
        return Remote(text, stream=True)
    if scheme not in _FETCHED:
        told = ", ".join((*_FETCHED, *_PLAYED))
        raise DeepPoseError(f"there is no way to {scheme} here; there are {told}", where=text)
    if is_bucket(text):
        return Remote(text)
    known = suffix in PICTURE_SUFFIXES or suffix in _STREAM_SUFFIXES
    return Remote(text, stream=suffix in _STREAM_SUFFIXES if known else is_stream(text))


def _is_camera(path: Path) -> bool:
    if str(path).isdecimal():
        return not os.path.lexists(path)
    with suppress(OSError):
        return path.name.startswith("video") and stat.S_ISCHR(path.stat().st_mode)
    return False


def _matching(pattern: str, recursive: bool, without: Path | None) -> list[Source]:
    """Returns what a pattern matches; what is no picture and no video by its suffix only where all is of that kind."""
    found = sorted(Path(name) for name in glob.glob(pattern, recursive=True))
    if without is not None:
        found = _not_in(without.resolve(), found, pattern)
    files = [path for path in found if not path.is_dir()]
    known = [path for path in files if path.suffix.lower() in PICTURE_SUFFIXES | SUFFIXES]
    inside: list[Path] = []
    if recursive or not files:
        for path in found:
            if path.is_dir():
                with suppress(DeepPoseError):  # there is none in this one
                    inside += files_in(path, recursive=recursive, without=without)
    if not files and not inside:
        raise DeepPoseError(f"{pattern}: no file matches this pattern")
    return [*(known or files), *inside]


def _not_in(left_out: Path, found: list[Path], pattern: str) -> list[Path]:
    """Returns what does not lie in a folder; all where a pattern does not look through the folders above it."""
    fixed = itertools.takewhile(lambda part: not glob.has_magic(part), Path(pattern).parts)
    if Path(*fixed).resolve() not in left_out.parents:
        return found
    real = ((path, path.resolve()) for path in found)
    return [path for path, there in real if left_out not in (there, *there.parents)]


def checked_share(share: tuple[int, int]) -> tuple[int, int]:
    """Returns which of several processes this is, from 0 on, and how many there are.

    Raises:
        DeepPoseError: There is no such process, so that nobody would have what it has.
    """
    rank, processes = share
    if not 0 <= rank < processes:
        raise DeepPoseError(f"there is no process {rank} of {processes}: they are numbered from 0 on")
    return share


def _walked(folder: Path, without: Path | None) -> Iterator[Path]:
    """Yields the files under a folder, folder by folder, in their order."""
    left_out = None if without is None else without.resolve()
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if Path(root, name).resolve() != left_out)
        yield from (Path(root, name) for name in sorted(names))
