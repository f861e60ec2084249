"""The joints of a video's frames."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

from converters.errors import DeepPoseError
from deeppose_port.cascade import CascadePose
from deeppose_port.data.ahead import Workers, read_ahead
from deeppose_port.data.close_up import Look
from deeppose_port.data.crop import Points
from deeppose_port.data.pictures import Picture
from deeppose_port.data.skeletons import Skeleton
from deeppose_port.drawing.sheet import ContactSheet
from deeppose_port.drawing.video import SUFFIXES, Frame, Video, is_animated, opened
from deeppose_port.drawing.video_writing import Writer, video_writer
from deeppose_port.pose import Pose
from deeppose_port.predict.inputs import Answer, answers, drawn, told_apart
from deeppose_port.predict.people import Box, Found, People
from deeppose_port.predict.results import (
    BOX_COLUMNS,
    ONLY_THE_LAST,
    Stages,
    VideoPrediction,
    as_lists,
    box_cells,
    cells,
    columns,
    stage_columns,
)
from deeppose_port.predict.tracks import Smoother, Tracker

#: Frames that are decoded before they are looked at.
_AHEAD = 4


def is_video(file: Path) -> bool:
    """Tells whether a file is taken for a video, by its suffix; an animated GIF is one."""
    return file.suffix.lower() in SUFFIXES or is_animated(file)


def announced_frames(file: Path) -> int:
    """Returns how many frames a video says it has; 0 where it does not say."""
    try:
        with opened(file) as video:
            return video.frames
    except DeepPoseError:
        return 0


class VideoFiles:
    """The two files that are written of a video: a line for each person of a frame, and the frames drawn.

    Args:
        stage: The folder to write to.
        drawing: The drawings' file.
        table: The joints' file.
        names: Of the joints.
        numbered: Whether there may be several persons in a frame.
        stages: How many stages of each joint are written; 0 for none.
        source: The file whose sound the drawn video has; None for none.
    """

    def __init__(
        self,
        stage: Path,
        drawing: Path,
        table: Path,
        names: Sequence[str],
        *,
        numbered: bool,
        stages: int = 0,
        source: Path | None = None,
    ) -> None:
        self.drawing, self.table = drawing, table
        self._source = source
        self._numbered, self._stages = numbered, stages
        self._paths = stage / drawing.name, stage / table.name
        self._lines = self._paths[1].open("w", encoding="utf-8", newline="")
        self._csv = csv.writer(self._lines, lineterminator="\n") if table.suffix == ".csv" else None
        self._writer: Writer | None = None
        if self._csv is not None:
            more = BOX_COLUMNS if numbered else ()
            self._csv.writerow(["frame", "time", *columns(names), *more, *stage_columns(names, stages)])

    def write_person(
        self, frame: Frame, person: int, box: Box | None, points: Points, stages: Points | None = None
    ) -> None:
        """Appends a person of a frame."""
        told = stages if self._stages else None
        if self._csv is not None:
            more = box_cells(person, box) if self._numbered else ()
            by_stage = () if told is None else cells(told)
            self._csv.writerow([frame.index, f"{frame.time:.3f}", *cells(points), *more, *by_stage])
            return
        entry: dict[str, object] = {"frame": frame.index, "time": round(frame.time, 3), "points": as_lists(points)}
        if self._numbered:
            entry |= {"person": person, "box": None if box is None else list(box)}
        if told is not None:
            entry["stages"] = [as_lists(pose) for pose in told]
        self._lines.write(json.dumps(entry) + "\n")

    @property
    def notices(self) -> tuple[str, ...]:
        """What is good to know of the drawn video."""
        return () if self._writer is None else tuple(self._writer.notices)

    def write_drawing(self, drawing: Picture, time: float, fps: float) -> None:
        """Appends a frame's drawing at a time."""
        if self._writer is None:
            height, width = drawing.shape[:2]
            self._writer = video_writer(self._paths[0], fps, width, height, self._source)
        self._writer.write(drawing, time)

    def close(self) -> None:
        """Ends both files."""
        self._lines.close()
        if self._writer is not None:
            self._writer.close()

    def remove(self) -> None:
        """Takes both files away."""
        with suppress(DeepPoseError):  # it is why they are
            self.close()
        for path in self._paths:
            path.unlink(missing_ok=True)


class Following:
    """The persons of one video: who is in its frames, the same from one to the next, and their joints smoothed.

    Args:
        people: Who is in a frame.
        smooth: Makes a person's smoother; None for none.
        every: Each so-many-th frame is looked at.

    Attributes:
        decoded: How many frames there were, those among them that are not looked at.
    """

    def __init__(self, people: People, smooth: Callable[[], Smoother] | None = None, every: int = 1) -> None:
        self.people = people
        self.every = every
        self.decoded = 0
        self._smooth = smooth
        self._tracker = Tracker()
        self._smoothers: dict[int, Smoother] = {}

    @property
    def persons(self) -> int:
        """How many persons there were."""
        return self._tracker.persons

    def frames(self, video: Video) -> Generator[tuple[Frame, Picture, Sequence[Found]], None, None]:
        """Yields the frames to look at with their persons.

        Raises:
            DeepPoseError: Nothing tells who is in a frame.
        """

        def looked_at() -> Iterator[Frame]:
            for frame in video:
                self.decoded = frame.index + 1
                if frame.index % self.every == 0:
                    yield frame

        with closing(read_ahead(looked_at(), _AHEAD)) as frames:
            for frame in frames:
                try:
                    yield frame, frame.image, self.people.of(video.path, frame.image)
                except DeepPoseError as error:
                    raise DeepPoseError(f"{video.path}, frame {frame.index}: {error}") from error

    def followed(
        self, frame: Frame, persons: Sequence[tuple[Answer, Look, Points]]
    ) -> list[tuple[Answer, Look, Points]]:
        """Returns a frame's persons under the numbers that they have throughout, with smoothed joints."""
        numbers = self._tracker.number([answer.found for answer, _, _ in persons], frame.time)
        if self._smooth is not None:
            self._smoothers = {n: s for n, s in self._smoothers.items() if n in self._tracker.in_sight}
        made = []
        for number, (answer, view, points) in zip(numbers, persons, strict=True):
            if self._smooth is not None:
                smoother = self._smoothers.setdefault(number, self._smooth())
                box = answer.found.box
                size = max(frame.image.shape[:2]) if box is None else max(box[2:])
                points = smoother(points, frame.time, size)
            made.append((replace(answer, number=number), view, points))
        return made


def predict_video(
    pose: Pose | CascadePose,
    file: Path,
    writing: VideoFiles,
    following: Following,
    skeleton: Skeleton | None,
    sheet: ContactSheet | None,
    done: Callable[[], None],
    workers: Workers,
    stages: Stages = ONLY_THE_LAST,
) -> tuple[VideoPrediction, list[str]]:
    """Predicts a video's frames; writes and draws them.

    Args:
        pose: The checkpoint.
        file: The video.
        writing: Where the frames go.
        following: Its persons.
        skeleton: What the joints are; None draws dots.
        sheet: A contact sheet to fill.
        done: Called after each frame.
        workers: They cut the persons out.
        stages: What is done with a cascade's stages.

    Returns:
        What was predicted, and what is wrong with the boxes of the first frame that has a wrong one, or with the video.

    Raises:
        DeepPoseError: It cannot be decoded, nothing tells who is in it, or nothing is left of its only box.
    """
    frames = 0
    wrong: list[str] = []
    numbered = following.people.numbered
    last = 0.0
    with opened(file) as video, closing(writing), closing(following.frames(video)) as decoded:
        for frame, image, answered in answers(pose, decoded, workers, stages.legacy_order):
            persons, refused = told_apart(answered, numbered)
            if refused and not numbered:
                raise DeepPoseError(f"{file}, frame {frame.index}: {refused[0]}")
            wrong = wrong or [f"{file}, frame {frame.index}: {problem}" for problem in refused]
            persons = following.followed(frame, persons)
            for answer, view, points in persons:
                writing.write_person(frame, answer.number, answer.found.box, points, answer.stages)
                if sheet is not None:
                    sheet.add(image, view.crop, points, skeleton)
            fps = video.fps / following.every
            writing.write_drawing(drawn(image, persons, skeleton, numbered, stages.shown), frame.time, fps)
            frames += 1
            last = frame.time
            done()
        if not frames:
            raise DeepPoseError(f"{file}: no frame of it can be decoded; is it a whole video?")
        if missing := video.broken_off(following.decoded, last):
            wrong.append(f"{file}: {missing}; those are drawn")
    announced = -(-video.frames // following.every)
    found = VideoPrediction(
        file,
        frames,
        announced,
        video.fps,
        writing.table,
        writing.drawing,
        max(1, following.persons),
        writing.notices,
    )
    return found, wrong
