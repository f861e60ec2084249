"""The joints of a video's frames."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from converters.errors import DeepPoseError
from deeppose_port.data.crop import Points
from deeppose_port.data.pictures import Picture
from deeppose_port.data.skeletons import Skeleton
from deeppose_port.drawing.draw import draw_pose
from deeppose_port.drawing.sheet import ContactSheet
from deeppose_port.drawing.video import SUFFIXES, Frame, Video, VideoWriter
from deeppose_port.pose import Pose
from deeppose_port.predict.inputs import Box, answers
from deeppose_port.predict.results import VideoPrediction, as_lists, cells, columns


def is_video(file: Path) -> bool:
    """Tells whether a file is taken for a video, by its suffix."""
    return file.suffix.lower() in SUFFIXES


def announced_frames(file: Path) -> int:
    """Returns how many frames a video says it has; 0 where it does not say."""
    try:
        with Video(file) as video:
            return video.frames
    except DeepPoseError:
        return 0


class VideoFiles:
    """The two files that are written of a video: a line for each frame, and the frames drawn."""

    def __init__(self, stage: Path, drawing: Path, table: Path, names: Sequence[str]) -> None:
        self.drawing, self.table = drawing, table
        self._paths = stage / drawing.name, stage / table.name
        self._lines = self._paths[1].open("w", encoding="utf-8", newline="")
        self._csv = csv.writer(self._lines, lineterminator="\n") if table.suffix == ".csv" else None
        self._writer: VideoWriter | None = None
        if self._csv is not None:
            self._csv.writerow(["frame", "time", *columns(names)])

    def write(self, frame: Frame, points: Points, drawn: Picture, fps: float) -> None:
        """Appends a frame, its joints and its drawing."""
        if self._csv is not None:
            self._csv.writerow([frame.index, f"{frame.time:.3f}", *cells(points)])
        else:
            entry = {"frame": frame.index, "time": round(frame.time, 3), "points": as_lists(points)}
            self._lines.write(json.dumps(entry) + "\n")
        if self._writer is None:
            self._writer = VideoWriter(self._paths[0], fps, drawn.shape[1], drawn.shape[0])
        self._writer.write(drawn)

    def close(self) -> None:
        """Ends both files."""
        self._lines.close()
        if self._writer is not None:
            self._writer.close()

    def remove(self) -> None:
        """Takes both files away."""
        self.close()
        for path in self._paths:
            path.unlink(missing_ok=True)


def predict_video(
    pose: Pose,
    file: Path,
    writing: VideoFiles,
    box: Box | None,
    skeleton: Skeleton | None,
    sheet: ContactSheet | None,
    done: Callable[[], None],
) -> VideoPrediction:
    """Predicts a video's frames; writes and draws them all.

    Args:
        pose: The checkpoint.
        file: The video.
        writing: Where the frames go.
        box: The crop of every frame; None for the whole.
        skeleton: What the joints are; None draws dots.
        sheet: A contact sheet to fill.
        done: Called after each frame.

    Raises:
        DeepPoseError: It cannot be decoded, or nothing is left of the box.
    """
    frames = 0
    with Video(file) as video, closing(writing):
        for frame, image, answer in answers(pose, ((frame, frame.image) for frame in video), box):
            if isinstance(answer, DeepPoseError):
                raise DeepPoseError(f"{file}, frame {frame.index}: {answer}") from answer
            crop, points = answer
            writing.write(frame, points, draw_pose(image, points, skeleton), video.fps)
            if sheet is not None:
                sheet.add(image, crop, points, skeleton)
            frames += 1
            done()
    if not frames:
        raise DeepPoseError(f"{file}: no frame of it can be decoded; is it a whole video?")
    return VideoPrediction(file, frames, video.frames, video.fps, writing.table, writing.drawing)
