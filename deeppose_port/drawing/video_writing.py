"""Videos written: H.264 with the sound of another video, MPEG-4 where PyAV is not installed, and animated GIFs."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from converters.errors import DeepPoseError, reason_of
from deeppose_port.data.pictures import Picture
from deeppose_port.drawing.video import has_pyav, silence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av import AudioStream, Packet
    from av.container import InputContainer
    from av.stream import Stream

#: What is said where H.264 cannot be written.
WITHOUT_PYAV = (
    "videos are written in MPEG-4 without their sound, which browsers do not play: "
    "pip install 'deeppose-port[video]' brings H.264 and keeps the sound"
)

_TIME_BASE = Fraction(1, 90_000)  # of videos that have none of their own
_LONGEST_GAP = 10  # seconds; a longer one is a jump of the clock
_FINEST = 1_000_000  # parts of a second that an MP4 is given
#: x264: visually as good as the source, in as little time as that takes.
_H264 = {"crf": "20", "preset": "veryfast"}
_BT601, _LIMITED = 6, 1  # SMPTE 170M and 16 to 235: what OpenCV takes for granted, and decoders are told
_GIF_SHORTEST, _GIF_LONGEST = 20, 655_350  # milliseconds of a frame: less is shown longer, and more has no room
_GIF_FOREVER = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"
_GIF_END = b"\x3b"


class Writer(Protocol):
    """What writes the frames of a video."""

    #: What is good to know of what was written.
    notices: list[str]

    def write(self, image: Picture, time: float) -> None:
        """Appends a frame, (H, W, 3) uint8 in BGR, at a time in seconds from the start."""

    def close(self, whole: bool = True) -> None:
        """Ends the file, with all of the sound that is left where the source was written whole."""


def video_writer(path: Path, fps: float, width: int, height: int, source: Path | None = None) -> Writer:
    """Returns what writes a video: an MP4, or by its suffix an animated GIF.

    Args:
        path: The file.
        fps: Frames a second.
        width: Columns of every frame; frames of another size are brought to it.
        height: Rows of every frame.
        source: The file whose sound and times it has; None for none.

    Raises:
        DeepPoseError: It cannot be written.
    """
    if path.suffix == ".gif":
        return GifWriter(path, width, height)
    return H264Writer(path, fps, width, height, source) if has_pyav() else Mpeg4Writer(path, fps, width, height)


class Mpeg4Writer:
    """An MP4 file to write, in MPEG-4 and without sound; of sides that are odd it leaves out the last column or row.

    Its frames are even in time: one that lasts longer is there several times.

    Args:
        path: The file; its suffix is `.mp4`.
        fps: Frames a second.
        width: Columns of every frame.
        height: Rows of every frame.

    Raises:
        DeepPoseError: OpenCV cannot write such a file here.
    """

    def __init__(self, path: Path, fps: float, width: int, height: int) -> None:
        self.notices = [WITHOUT_PYAV]
        self._size = width, height
        self._fps, self._written = fps, 0
        self._before: Picture | None = None
        with silence():
            self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, self._size)
        if not self._writer.isOpened():
            raise DeepPoseError(f"{path}: OpenCV cannot write videos of {width} x {height} pixels here")

    def write(self, image: Picture, time: float) -> None:
        """Appends a frame."""
        missing = round(time * self._fps) - self._written
        if self._before is not None:
            for _ in range(min(missing, round(_LONGEST_GAP * self._fps))):
                self._writer.write(self._before)
        self._written += 1 + max(0, missing)
        self._before = _sized(image, *self._size)
        self._writer.write(self._before)

    def close(self, whole: bool = True) -> None:
        """Ends the file."""
        self._writer.release()


class H264Writer:
    """An MP4 file to write: H.264, which browsers play, with the sound of another file, whose packets are copied.

    Of sides that are odd it leaves out the last column or row, as 4:2:0 has it. The sound is copied as far as the
    frames are, so that no more of it than that is in memory.

    Args:
        path: The file.
        fps: Frames a second, for players that ask; each frame has its own time.
        width: Columns of every frame.
        height: Rows of every frame.
        source: As for `video_writer`.

    Raises:
        DeepPoseError: It cannot be written.
    """

    def __init__(self, path: Path, fps: float, width: int, height: int, source: Path | None = None) -> None:
        self.notices: list[str] = []
        self.path = path
        self._size = width, height
        if min(self._size) < 2:
            raise DeepPoseError(f"{path}: a video of {width} x {height} pixels cannot be H.264")
        self._last, self._lasts = -1, 1 / fps
        self._source: InputContainer | None = None
        self._sound: Iterator[Packet[Stream]] = iter(())
        self._next: Packet[Stream] | None = None
        self._time_base, self._start, self._aspect = _TIME_BASE, 0.0, Fraction(1)
        sounds = [] if source is None else self._open(source)
        try:
            self._begin(fps, sounds)
        except _errors() as error:
            if not sounds:
                raise DeepPoseError(f"{path}: cannot be written: {reason_of(error)}") from error
            kinds = ", ".join(sound.codec_context.name for sound in sounds)
            self.notices.append(f"{source}: an MP4 cannot hold its sound ({kinds}), which is left out")
            self._out.close()
            self._begin(fps, [])

    def _open(self, source: Path) -> list[AudioStream]:
        """Opens the file that the sound and the times are of; returns its sound."""
        import av

        try:
            self._source = av.open(str(source))
        except _errors():  # OpenCV could read it
            return []
        pictures = self._source.streams.video
        if pictures and pictures[0].time_base:
            self._start = float((pictures[0].start_time or 0) * pictures[0].time_base)
            if pictures[0].time_base.denominator <= _FINEST:
                self._time_base = pictures[0].time_base
        if pictures and (aspect := pictures[0].codec_context.sample_aspect_ratio):
            turned = (pictures[0].width > pictures[0].height) != (self._size[0] > self._size[1])
            self._aspect = 1 / aspect if turned else aspect
        return list(self._source.streams.audio)

    def _begin(self, fps: float, sounds: list[AudioStream]) -> None:
        """Writes what stands before the frames."""
        import av

        self._out = av.open(str(self.path), "w", format="mp4", options={"movflags": "faststart"})
        self._pictures = self._out.add_stream("h264", Fraction(fps).limit_denominator(1001), _H264)
        coder = self._pictures.codec_context
        coder.width, coder.height = (side // 2 * 2 for side in self._size)
        coder.pix_fmt, coder.time_base = "yuv420p", self._time_base
        coder.color_primaries = coder.color_trc = coder.colorspace = _BT601
        coder.color_range = _LIMITED
        coder.sample_aspect_ratio = self._aspect
        self._copies = {sound.index: self._out.add_stream_from_template(sound) for sound in sounds}
        if sounds and self._source is not None:
            self._sound = iter(self._source.demux(sounds))
        self._out.start_encoding()

    def write(self, image: Picture, time: float) -> None:
        """Appends a frame.

        Raises:
            DeepPoseError: It cannot be written.
        """
        import av

        image = _sized(image, *self._size)
        coder = self._pictures.codec_context
        cut = np.ascontiguousarray(image[: coder.height, : coder.width])
        frame = av.VideoFrame.from_ndarray(cut, format="bgr24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU601", dst_color_range="MPEG")
        self._last = max(round((self._start + time) / self._time_base), self._last + 1)
        frame.pts, frame.time_base = self._last, self._time_base
        try:
            self._out.mux(self._pictures.encode(frame))
            self._copy_sound(self._start + time)
        except _errors() as error:
            raise DeepPoseError(f"{self.path}: cannot be written: {reason_of(error)}") from error

    def _copy_sound(self, until: float | None = None) -> None:
        """Copies packets of the sound up to a time; None for all that are left."""
        while True:
            if self._next is None:
                try:
                    self._next = next((packet for packet in self._sound if packet.dts is not None), None)
                except _errors() as error:
                    self._sound = iter(())
                    self.notices.append(f"the sound breaks off: {reason_of(error)}")
            packet = self._next
            if packet is None or packet.dts is None or packet.time_base is None:
                return
            if until is not None and packet.dts * packet.time_base > until:
                return
            packet.stream = self._copies[packet.stream.index]
            self._out.mux(packet)
            self._next = None

    def close(self, whole: bool = True) -> None:
        """Ends the file.

        Args:
            whole: Whether all of the sound is copied that is left, and not only what the last frame still has.

        Raises:
            DeepPoseError: It cannot be written.
        """
        try:
            if self._last >= 0:
                self._out.mux(self._pictures.encode())
                self._copy_sound(None if whole else float(self._last * self._time_base) + self._lasts)
            self._out.close()
        except _errors() as error:
            raise DeepPoseError(f"{self.path}: cannot be written: {reason_of(error)}") from error
        finally:
            if self._source is not None:
                self._source.close()


class GifWriter:
    """An animated GIF to write, in 256 colours a frame.

    Args:
        path: The file.
        width: Columns of every frame.
        height: Rows of every frame.
    """

    def __init__(self, path: Path, width: int, height: int) -> None:
        self.notices: list[str] = []
        self._size = width, height
        self._file = path.open("wb")
        # 8 bits a colour, and none for all frames: each has its own.
        self._file.write(b"GIF89a" + struct.pack("<HHBBB", width, height, 0x70, 0, 0) + _GIF_FOREVER)
        self._waiting: tuple[Picture, float] | None = None
        self._lasted = 0.1

    def write(self, image: Picture, time: float) -> None:
        """Appends a frame, which lasts until the next."""
        if self._waiting is not None:
            self._lasted = time - self._waiting[1]
            self._append(self._waiting[0])
        self._waiting = image, time

    def _append(self, image: Picture) -> None:
        from PIL import GifImagePlugin, Image

        frame = Image.fromarray(np.ascontiguousarray(_sized(image, *self._size)[:, :, ::-1])).quantize(256)
        lasts = min(_GIF_LONGEST, max(_GIF_SHORTEST, round(1000 * self._lasted)))
        for block in GifImagePlugin.getdata(frame, (0, 0), include_color_table=True, duration=lasts):
            self._file.write(block)

    def close(self, whole: bool = True) -> None:
        """Ends the file."""
        if self._file.closed:
            return
        if self._waiting is not None:
            self._append(self._waiting[0])
        self._file.write(_GIF_END)
        self._file.close()


def _sized(image: Picture, width: int, height: int) -> Picture:
    """Returns a frame of a video's size, to which those of another are scaled."""
    if image.shape[:2] == (height, width):
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _errors() -> tuple[type[Exception], ...]:
    """Returns what PyAV raises."""
    import av

    return av.FFmpegError, ValueError, OSError
