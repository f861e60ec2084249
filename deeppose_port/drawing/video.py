"""Videos, frame by frame: read with the times of their frames, and written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from converters.errors import DeepPoseError
from deeppose_port.data.pictures import Picture

#: Files with these suffixes are taken for videos.
SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})

_FFMPEG_IS_SILENT, _OPENCV_IS_SILENT = "-8", 0  # their AV_LOG_QUIET and LOG_LEVEL_SILENT


@contextmanager
def _silence() -> Iterator[None]:
    """Keeps OpenCV and its FFmpeg from writing to standard error what is wrong with a file: it is said once, by us."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", _FFMPEG_IS_SILENT)
    logging = getattr(cv2.utils, "logging", cv2)  # before 4.13 its functions stood in cv2 itself
    level = logging.getLogLevel()
    logging.setLogLevel(_OPENCV_IS_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(level)


@dataclass(frozen=True)
class Frame:
    """One picture of a video.

    Attributes:
        index: Its number, from 0.
        time: Seconds from the video's start.
        image: (H, W, 3) uint8, BGR, turned as the video says.
    """

    index: int
    time: float
    image: Picture


class Video:
    """A video file to read.

    Args:
        path: The file.

    Attributes:
        path: The file.
        fps: Frames a second.
        frames: How many the file says it has; 0 where it does not say.

    Raises:
        DeepPoseError: It is not there, or no video.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise DeepPoseError(f"{path}: there is no such video")
        self.path = path
        with _silence():
            self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise DeepPoseError(f"{path}: cannot be decoded; is it a whole video?")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps < 1000 else 25.0
        self.frames = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def __iter__(self) -> Iterator[Frame]:
        """Yields the frames, once, up to the first that cannot be decoded."""
        index, last = 0, -1.0
        while True:
            decoded, image = self._capture.read()
            if not decoded:
                return
            time = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if not last < time < last + 1e6:  # the file has no times
                time = index / self.fps
            yield Frame(index, time, image.astype(np.uint8, copy=False))
            index, last = index + 1, time

    def __enter__(self) -> Video:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._capture.release()


class VideoWriter:
    """An MP4 file to write, in MPEG-4; of sides that are odd it leaves out the last column or row.

    Args:
        path: The file; its suffix is `.mp4`.
        fps: Frames a second.
        width: Columns of every frame.
        height: Rows of every frame.

    Raises:
        DeepPoseError: OpenCV cannot write such a file here.
    """

    def __init__(self, path: Path, fps: float, width: int, height: int) -> None:
        with _silence():
            self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
        if not self._writer.isOpened():
            raise DeepPoseError(f"{path}: OpenCV cannot write videos of {width} x {height} pixels here")

    def write(self, image: Picture) -> None:
        """Appends a frame."""
        self._writer.write(image)

    def close(self) -> None:
        """Ends the file."""
        self._writer.release()
