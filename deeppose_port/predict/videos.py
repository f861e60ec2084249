"""The joints of a video's frames."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from converters.errors import DeepPoseError
from converters.interrupts import asked_to_end
from deeppose_port.cascade import CascadePose
from deeppose_port.data.ahead import Workers, read_ahead
from deeppose_port.data.crop import Box, Points
from deeppose_port.data.pictures import Picture
from deeppose_port.data.skeletons import Skeleton
from deeppose_port.drawing.sheet import ContactSheet
from deeppose_port.drawing.video import Frame, Stream, Video, opened
from deeppose_port.pose import Pose
from deeppose_port.predict.inputs import Lettering, Shown, answers, drawn, told_apart
from deeppose_port.predict.people import Found, People
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
from deeppose_port.predict.sources import Remote, Source, title_of
from deeppose_port.predict.tracks import Smoother, Tracker
from deeppose_port.text import counted

if TYPE_CHECKING:
    from deeppose_port.drawing.video_writing import Writer

#: Frames that are decoded before they are looked at.
_AHEAD = 4


def announced_frames(source: Source) -> int:
    """Returns how many frames a video says it has; 0 where it does not say, and of cameras and streams."""
    if isinstance(source, Remote):
        return 0
    try:
        with opened(source) as video:
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

    Attributes:
        whole: Whether the video ended by itself, so that the drawn one has all of its sound.
    """

    whole = False

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
            from deeppose_port.drawing.video_writing import video_writer  # pictures need none of it

            height, width = drawing.shape[:2]
            self._writer = video_writer(self._paths[0], fps, width, height, self._source)
        self._writer.write(drawing, time)

    def close(self) -> None:
        """Ends both files."""
        self._lines.close()
        if self._writer is not None:
            self._writer.close(self.whole)

    def remove(self) -> None:
        """Takes both files away."""
        with suppress(DeepPoseError):  # it is why they are
            self.close()
        for path in self._paths:
            path.unlink(missing_ok=True)


class Problem:
    """What is wrong with some frames of a video: the first of them, and how many there are."""

    def __init__(self) -> None:
        self._first = ""
        self.frames = 0

    def add(self, frame: int, sentence: str) -> None:
        """Adds a frame."""
        self._first = self._first or f"frame {frame}: {sentence}"
        self.frames += 1

    def __str__(self) -> str:
        more = f" (and so it is with {counted(self.frames - 1, 'more frame')})" if self.frames > 1 else ""
        return f"{self._first}{more}"


class Following:
    """The persons of one video: who is in its frames, the same from one to the next, and their joints smoothed.

    Args:
        people: Who is in a frame.
        smooth: Makes a person's smoother; None for none.
        every: Each so-many-th frame is looked at.

    Attributes:
        decoded: How many frames there were, those among them that are not looked at.
        problem: In which of them nothing tells who is there, or a box is wrong.
    """

    def __init__(self, people: People, smooth: Callable[[], Smoother] | None = None, every: int = 1) -> None:
        self.people = people
        self.every = every
        self.decoded = 0
        self.problem = Problem()
        self._smooth = smooth
        self._tracker = Tracker()
        self._smoothers: dict[int, Smoother] = {}

    @property
    def persons(self) -> int:
        """How many persons there were."""
        return self._tracker.persons

    def frames(self, video: Video) -> Generator[tuple[Frame, Picture, Sequence[Found]], None, None]:
        """Yields the frames to look at with their persons; where a detector fails there are none.

        Raises:
            DeepPoseError: Nothing tells who is in the frames of this video.
        """

        def looked_at() -> Generator[Frame, None, None]:
            for frame in video:
                self.decoded = frame.index + 1
                if frame.index % self.every == 0:
                    yield frame

        ahead = looked_at() if video.live else read_ahead(looked_at(), _AHEAD)
        with closing(ahead) as frames:
            for frame in frames:
                try:
                    found = self.people.of(video.path, frame.image)
                except DeepPoseError as error:
                    if not self.people.by_pixels:  # it is so of every frame
                        raise DeepPoseError(f"{video.path}: {error}") from error
                    self.problem.add(frame.index, str(error))
                    found = ()
                yield frame, frame.image, found

    def followed(self, frame: Frame, persons: Sequence[Shown]) -> list[Shown]:
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
    source: Source,
    writing: VideoFiles,
    following: Following,
    skeleton: Skeleton | None,
    lettering: Lettering,
    sheet: ContactSheet | None,
    done: Callable[[], None],
    workers: Workers,
    stages: Stages = ONLY_THE_LAST,
    show: Callable[[Picture], bool] | None = None,
) -> tuple[VideoPrediction, list[str]]:
    """Predicts a video's frames; writes and draws them.

    A camera, or a stream without an end, ends with Ctrl-C; what there was is whole then.

    Args:
        pose: The checkpoint.
        source: The video, camera or stream.
        writing: Where the frames go.
        following: Its persons.
        skeleton: What the joints are; None draws dots.
        lettering: What is written on the drawings.
        sheet: A contact sheet to fill.
        done: Called after each frame.
        workers: They cut the persons out.
        stages: What is done with a cascade's stages.
        show: Gets each drawing, and tells whether to go on.

    Returns:
        What was predicted, and what is wrong with some of its frames, and with the video.

    Raises:
        DeepPoseError: It cannot be decoded, nothing tells who is in it, or nothing is left of its only box.
    """
    frames, last = 0, 0.0
    wrong: list[str] = []
    numbered = following.people.numbered
    video = Stream(source.address) if isinstance(source, Remote) else opened(source)
    with (
        video,
        closing(writing),
        asked_to_end(video.end) if isinstance(video, Stream) else nullcontext(),
        closing(following.frames(video)) as decoded,
    ):
        for frame, image, answered in answers(pose, decoded, workers, stages.legacy_order, at_once=video.live):
            persons, refused = told_apart(answered, numbered)
            if refused and not numbered:
                raise DeepPoseError(f"{source}, frame {frame.index}: {refused[0]}")
            if refused:
                following.problem.add(frame.index, refused[0])
            persons = following.followed(frame, persons)
            for answer, view, points in persons:
                writing.write_person(frame, answer.number, answer.found.box, points, answer.stages)
                if sheet is not None:
                    caption = f"{title_of(source, answer.number if numbered else None)}, frame {frame.index}"
                    sheet.add(image, view.crop, points, skeleton, caption=caption)
            drawing = drawn(image, persons, skeleton, numbered, lettering, stages.shown, still=False)
            writing.write_drawing(drawing, frame.time, video.fps / following.every)
            frames, last = frames + 1, frame.time
            done()
            if show is not None and not show(drawing):
                break
        else:
            if missing := video.broken_off(following.decoded, last) if frames else "":
                wrong.append(f"{source}: {missing}; those are drawn")
            writing.whole = not missing
    if not frames:
        raise DeepPoseError(f"{source}: no frame of it can be decoded; is it a whole video?")
    if following.problem.frames:
        wrong.insert(0, f"{source}, {following.problem}")
    if following.problem.frames == frames and not following.persons:
        raise DeepPoseError(wrong[0])
    found = VideoPrediction(
        source,
        frames,
        -(-video.frames // following.every),
        video.fps,
        writing.table,
        writing.drawing,
        max(1, following.persons),
        writing.notices,
    )
    return found, wrong
