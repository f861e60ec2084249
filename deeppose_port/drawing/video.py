"""Videos, frame by frame: read with the times of their frames. They are written by `video_writing`."""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import cv2
import numpy as np

from converters.errors import DeepPoseError, reason_of
from converters.values import dataclass
from deeppose_port.data.pictures import MAX_PIXELS, Picture

if TYPE_CHECKING:
    from PIL.GifImagePlugin import GifImageFile

#: Files with these suffixes are taken for videos.
SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})

_FFMPEG_IS_SILENT, _OPENCV_IS_SILENT = "-8", 0  # their AV_LOG_QUIET and LOG_LEVEL_SILENT
#: Frames, seconds and parts of a video that may be missing at its end: files announce a little too much.
_FRAMES_OFF, _SECONDS_OFF, _PART_OFF = 2, 0.25, 0.02
_STREAM_MILLISECONDS = 10_000  # that a stream may say nothing
_LOOKS_UP = 0.1  # seconds after which it is seen that it shall end
_GIF_SECONDS = 0.1  # that browsers show a frame for whose file says less than 0.02


@contextmanager
def silence() -> Iterator[None]:
    """Keeps OpenCV and its FFmpeg from writing to standard error what is wrong with a file: it is said once, by us."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", _FFMPEG_IS_SILENT)
    logging = getattr(cv2.utils, "logging", cv2)  # before 4.13 its functions stood in cv2 itself
    level = logging.getLogLevel()
    logging.setLogLevel(_OPENCV_IS_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(level)


def has_pyav() -> bool:
    """Tells whether PyAV is installed, which writes H.264 and copies the sound."""
    return importlib.util.find_spec("av") is not None


def is_animated(path: Path) -> bool:
    """Tells whether a file is a GIF of more than one frame."""
    if path.suffix.lower() != ".gif" or not path.is_file():
        return False
    try:
        with _gif(path) as image:
            return bool(image.is_animated)
    except Exception:  # whatever Pillow makes of a damaged one: as a picture it is refused by its name
        return False


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
        live: Whether it has no end, so that frames are dropped where they are not taken in time.

    Raises:
        DeepPoseError: It is not there, or no video.
    """

    live = False

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise DeepPoseError(f"{path}: there is no such video")
        self.path = path
        with silence():
            self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise DeepPoseError(f"{path}: cannot be decoded; is it a whole video?")
        self._measure()

    def _measure(self) -> None:
        """Asks for the rate and the number of frames."""
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

    def broken_off(self, decoded: int, end: float) -> str:
        """Says how much of it is missing, in words; empty where it is whole.

        What a file announces is often a guess, or counts frames that are not to be shown. Only where less was decoded,
        its packets are counted, and the time that they end at is held against the length that it announces.

        Args:
            decoded: How many frames were.
            end: The time of the last one, seconds.
        """
        if decoded >= self.frames:
            return ""
        packets, last, length = _demuxed(self.path) if has_pyav() else self._grabbed(end)
        if decoded < packets - max(_FRAMES_OFF, _PART_OFF * packets):
            return f"{decoded} of {packets} frames could be decoded"
        if last < length - max(_SECONDS_OFF, _PART_OFF * length):
            return f"it breaks off after {last:.1f} of {length:.1f} seconds, {decoded} frames"
        return ""

    def _grabbed(self, end: float) -> tuple[int, float, float]:
        """Returns what `_demuxed` does, by OpenCV, which sees the pictures alone."""
        with silence():
            raw = cv2.VideoCapture(str(self.path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])  # nothing is decoded
        packets = 0
        while raw.grab():
            packets += 1
        raw.release()
        return packets, end + 1 / self.fps, self.frames / self.fps

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *raised: object) -> None:
        self._capture.release()


class Gif(Video):
    """An animated GIF to read; arguments, attributes and errors as for `Video`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._image = _gif(path)
            self.frames = self._image.n_frames
        except Exception as error:  # whatever Pillow makes of a damaged one
            raise DeepPoseError(f"{path}: cannot be decoded: {reason_of(error)}") from error
        width, height = self._image.size
        if width * height > MAX_PIXELS:
            self._image.close()
            raise DeepPoseError(f"{path}: {width:,} x {height:,} pixels are more than the {MAX_PIXELS:,} of a frame")
        self.fps = 1 / self._seconds()
        self._problem = ""

    def __iter__(self) -> Iterator[Frame]:
        """Yields the frames, once, up to the first that cannot be decoded."""
        time = 0.0
        for index in range(self.frames):
            try:
                self._image.seek(index)
                image = np.asarray(self._image.convert("RGB"), np.uint8)
            except Exception as error:  # as above
                self._problem = f"{index} of {self.frames} frames could be decoded: {reason_of(error)}"
                return
            yield Frame(index, time, np.ascontiguousarray(image[:, :, ::-1]))
            time += self._seconds()

    def broken_off(self, decoded: int, end: float) -> str:
        """Says how much of it is missing; see `Video`."""
        return self._problem

    def _seconds(self) -> float:
        seconds = float(self._image.info.get("duration", 0)) / 1000
        return seconds if seconds >= 0.02 else _GIF_SECONDS

    def __exit__(self, *raised: object) -> None:
        self._image.close()


class Stream(Video):
    """A camera or a stream to read; attributes as for `Video`.

    A thread takes its frames as they come. Whoever asks gets the newest, so that what is shown is not behind; of a
    stream that has an end, each.

    Args:
        address: The number or device of a camera, or a URL.

    Raises:
        DeepPoseError: It cannot be opened.
    """

    def __init__(self, address: str) -> None:
        self.path = Path(address)
        self._address = address
        self._ended = threading.Event()
        self._news = threading.Condition()
        self._newest: tuple[float, Picture] | None = None
        self._over = False
        with silence():
            if address.isdecimal():
                self._capture = cv2.VideoCapture(int(address))
            elif "://" in address:
                waits = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
                told = [value for wait in waits for value in (wait, _STREAM_MILLISECONDS)]
                self._capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, told)
            else:
                self._capture = cv2.VideoCapture(address)
        if not self._capture.isOpened():
            what = "a stream that can be played" if "://" in address else "a camera"
            raise DeepPoseError(f"{address}: cannot be opened; is it {what}, and used by nobody else?")
        self._measure()
        self.live = not self.frames

    def end(self) -> None:
        """Gives no more frames."""
        self._ended.set()

    @property
    def ended(self) -> bool:
        """Whether it was asked to."""
        return self._ended.is_set()

    def __iter__(self) -> Iterator[Frame]:
        """Yields the frames, up to the end of the stream or until it was asked to end."""
        if not self.live:
            for frame in super().__iter__():
                if self.ended:
                    return
                yield frame
            return
        self._thread = threading.Thread(target=self._take, name="deeppose-camera", daemon=True)
        self._thread.start()
        index, began = 0, 0.0
        while (taken := self._next()) is not None:
            time, image = taken
            began = began if index else time
            yield Frame(index, time - began, image)
            index += 1

    def _next(self) -> tuple[float, Picture] | None:
        with self._news:
            while self._newest is None and not self._over and not self.ended:
                self._news.wait(_LOOKS_UP)
            newest, self._newest = self._newest, None
            return None if self.ended else newest

    def _take(self) -> None:
        """Takes frames, whether they are asked for or not."""
        while not self.ended:
            try:
                decoded, image = self._capture.read()
            except cv2.error:
                decoded = False
            with self._news:
                self._over = not decoded
                if decoded:
                    self._newest = monotonic(), image.astype(np.uint8, copy=False)
                self._news.notify()
            if not decoded:
                return

    def broken_off(self, decoded: int, end: float) -> str:
        """Says how much of a file behind http(s) is missing: other streams end when they end, and so does Ctrl-C.

        A number of frames that is guessed from the length is no alarm: only where the time is short as well.
        """
        if self.live or self.ended or not self._address.lower().startswith(("http://", "https://")):
            return ""
        length = self.frames / self.fps
        few = decoded < self.frames - max(_FRAMES_OFF, _PART_OFF * self.frames)
        short = end + 1 / self.fps < length - max(_SECONDS_OFF, _PART_OFF * length)
        return f"{decoded} of {self.frames} frames could be had" if few and short else ""

    def __exit__(self, *raised: object) -> None:
        self.end()
        thread = getattr(self, "_thread", None)
        if thread is not None:
            thread.join(_STREAM_MILLISECONDS / 1000)
        if thread is None or not thread.is_alive():  # which may wait for a frame that never comes
            self._capture.release()


def opened(path: Path) -> Video:
    """Opens a video or an animated GIF.

    Raises:
        DeepPoseError: It is not there, or none.
    """
    return Gif(path) if is_animated(path) else Video(path)


def _gif(path: Path) -> GifImageFile:
    """Opens a GIF by its own reader: `Image.open` has a bound on pixels for the whole process."""
    from PIL.GifImagePlugin import GifImageFile

    return GifImageFile(path)


def _demuxed(path: Path) -> tuple[int, float, float]:
    """Returns how many packets of a video's pictures there are, when the last packet of all ends, and its length."""
    import av

    packets, last = 0, 0.0
    try:
        with av.open(str(path)) as container:
            pictures = container.streams.video[0]
            start = (container.start_time or 0) / av.time_base
            length = (container.duration or 0) / av.time_base
            for packet in container.demux():
                if packet.pts is None or packet.time_base is None:
                    continue
                packets += packet.stream == pictures and packet.size > 0 and not packet.is_discard
                last = max(last, float((packet.pts + (packet.duration or 0)) * packet.time_base) - start)
    except av.FFmpegError:
        pass  # it ends here
    return packets, last, length
