"""The joints of pictures, folders of pictures, and videos."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import TypeAlias

from converters.errors import DeepPoseError
from converters.files import refuse_targets, staged
from converters.folders import new_folder
from converters.progress import ProgressCallback
from converters.values import dataclass
from deeppose_port.cascade import CascadePose
from deeppose_port.data.ahead import Workers
from deeppose_port.data.crop import Box
from deeppose_port.data.pictures import MAX_PIXELS, Picture, PictureError, decode_picture, read_picture
from deeppose_port.data.skeletons import Skeleton
from deeppose_port.drawing import draw
from deeppose_port.drawing.draw import write_picture
from deeppose_port.drawing.sheet import TILE, ContactSheet
from deeppose_port.options import refuse_unknown
from deeppose_port.pose import Pose
from deeppose_port.predict import results
from deeppose_port.predict.fetching import fetched
from deeppose_port.predict.inputs import (
    Lettering,
    Shown,
    answers,
    drawn,
    drawn_heatmaps,
    heatmaps_beside,
    joints_of,
    told_apart,
)
from deeppose_port.predict.people import Found, Given, People
from deeppose_port.predict.results import (
    ONLY_THE_LAST,
    Failure,
    Prediction,
    Predictions,
    Stages,
    VideoPrediction,
    text_of,
)
from deeppose_port.predict.sources import (
    Remote,
    Source,
    checked_share,
    is_video,
    source_named,
    sources_in,
    sources_of,
    title_of,
)
from deeppose_port.predict.tracks import Smoother
from deeppose_port.predict.videos import Following, VideoFiles, announced_frames, predict_video

#: Drawings that threads are writing, each with what it is of.
_Written: TypeAlias = deque[tuple[Source, Future[None]]]

#: How many pictures are read, or drawings written, beside those that the threads are busy with.
_AHEAD = 2


def how_many(sources: Sequence[str | os.PathLike[str] | Remote]) -> int | None:
    """Returns how many pictures there are in some files and folders; None for videos, which have many.

    Raises:
        DeepPoseError: There is no picture in a folder.
    """
    files = [file for source in sources for file in sources_in(source)]
    return None if any(map(is_video, files)) else len(files)


def free_folder(name: str = "predictions") -> Path:
    """Returns a folder to write to where none is named: the first of NAME, NAME-2, … that is not there, or is empty."""
    for number in itertools.count(1):
        folder = Path(name if number == 1 else f"{name}-{number}")
        if not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir())):
            return folder
    raise AssertionError


def predict_files(
    pose: Pose | CascadePose,
    sources: Sequence[str | os.PathLike[str] | Remote],
    output: str | os.PathLike[str],
    *,
    box: Box | None = None,
    people: People | None = None,
    skeleton: str | os.PathLike[str] | Skeleton | None = None,
    format: str = "json",
    sheet: ContactSheet | None = None,
    heatmaps: bool = False,
    force: bool = False,
    smooth: Callable[[], Smoother] | None = None,
    every: int = 1,
    allow_truncated: bool = False,
    max_pixels: int = MAX_PIXELS,
    stages: Stages = ONLY_THE_LAST,
    recursive: bool = False,
    image_format: str = "png",
    share: tuple[int, int] = (0, 1),
    show: Callable[[Picture], bool] | None = None,
    legend: bool = True,
    joint_names: bool = False,
    progress: ProgressCallback | None = None,
) -> Predictions:
    """Predicts pictures, folders of pictures, videos, cameras and streams.

    For each picture it writes `NAME_pose.png` (and `NAME_heatmaps.png`), for all together `predictions.json` or
    `.csv`; for each video `NAME_pose.mp4` (`.gif` for an animated GIF, which is a video too), and `NAME_pose.jsonl` or
    `.csv` with a line for each person of a frame. Of several pictures, videos and persons, one that cannot be read does
    not keep the others, nor does a name that means nothing; of a video that breaks off, the frames up to there are
    written.

    Args:
        pose: The checkpoint.
        sources: Files, folders, patterns, addresses and cameras, see `sources_in`; of pictures and videos.
        output: The folder to write to; it is made if need be.
        box: The crop, in pixels of every picture; None for the whole picture.
        people: Who is in the pictures, in place of `box`.
        skeleton: As for `skeletons.get`; None takes what the checkpoint tells, its own joints and limbs too, and draws
            numbered dots where it tells nothing.
        format: `json` or `csv`.
        sheet: A contact sheet to fill and write as `tile.png`.
        heatmaps: Whether to draw each joint's heat map too; of pictures only.
        force: Whether files that exist may be replaced.
        smooth: Makes what smooths the joints of a person in a video, see `tracks.smoother`; None for nothing.
        every: Of a video, each so-many-th frame is predicted and drawn.
        allow_truncated: As for `read_picture`, as the next is.
        max_pixels: The most pixels that a picture may have.
        stages: What is done with a cascade's stages.
        recursive: Whether the folders in a folder are looked through too; the output is not.
        image_format: Of drawn pictures, a key of `drawing.draw.FORMATS`.
        share: Which of several processes this is: `(0, 2)` has every other picture and video, from the first on, and
            writes its joints to `predictions-1-of-2.json`. One that finds nothing raises nothing, as the other may find
            some; it returns its failures.
        show: Gets the drawing of each frame of a video, and tells whether to go on.
        legend: Whether drawings say in a corner what their colours mean.
        joint_names: Whether they have the joints' names beside these.
        progress: Called with the pictures and frames done and all of them, as far as the videos say how many they have.

    Raises:
        DeepPoseError: Nothing can be read, a file exists, a folder has no pictures, or the skeleton has another number
            of joints.
    """
    if people is not None and box is not None:
        raise DeepPoseError("box and people both say where persons are: choose one")
    if every < 1:
        raise DeepPoseError(f"every {every} frames: it has to be 1 or more")
    if heatmaps:
        pose.first.refuse_without_heatmaps()
    people = people or (People() if box is None else Given([box]))
    named, names = joints_of(pose, skeleton)
    folder = new_folder(output)
    refuse_unknown("format", image_format, draw.FORMATS, " for drawings")
    refuse_unknown("format", format, results.FORMATS, " for joints")
    rank, processes = checked_share(share)
    if processes > 1 and sheet is not None:
        raise DeepPoseError("a contact sheet is of all persons, and here each of several processes has some of them")
    known, refused_names = sources_of(sources, recursive=recursive, without=folder)
    everything = list(dict.fromkeys(known))
    if not everything:
        raise DeepPoseError("there is nothing to predict: name pictures, folders or videos")
    failures = [] if rank else [Failure(source_named(name), str(error)) for name, error in refused_names.items()]
    moving = {each for each in everything if is_video(each)}
    drawings = _drawing_names(folder, everything, moving, image_format)
    files = everything[rank::processes]
    targets = _targets({file: drawings[file] for file in files}, moving, format, heatmaps)
    part = f"-{rank + 1}-of-{processes}" if processes > 1 else ""
    table = folder / f"predictions{part}.{format}" if targets.pictures else None
    tile = folder / TILE if sheet is not None else None
    inputs = [people.path, *(file for file in files if isinstance(file, Path))]
    refuse_targets((table, tile, *targets.all), force, read=inputs, instead="-o names another folder")
    done = _Counter(progress, len(targets.pictures) + sum(map(announced_frames, targets.tables)))
    lettering = Lettering(legend, joint_names)
    work = _Work(pose, people, named, names, lettering, stages, sheet, targets, done, failures)
    if not files:  # there are more processes than files
        return work.told(None, None)
    read = partial(_read, allow_truncated=allow_truncated, max_pixels=max_pixels)
    with staged(folder, force=force) as stage, Workers() as workers:
        work.predict_pictures(read, stage, workers)
        work.predict_videos(partial(Following, people, smooth, every), show, stage, workers)
        if processes == 1:  # of several, the others may have found somebody
            work.refuse_nobody()
        result = work.told(table if work.found or processes > 1 else None, tile)
        if result.file is not None:
            (stage / result.file.name).write_text(text_of(result, format), encoding="utf-8", errors="surrogateescape")
        if sheet is not None:
            write_picture(stage / TILE, sheet.picture())
    return result


@dataclass(frozen=True)
class _Targets:
    """What is written of each picture and video.

    Attributes:
        drawings: The drawing of each.
        tables: Of each video, the joints.
        heatmaps: Of each picture, the drawn heat maps, where they are asked for.
    """

    drawings: Mapping[Source, Path]
    tables: Mapping[Source, Path]
    heatmaps: Mapping[Source, Path]

    @property
    def pictures(self) -> list[Source]:
        """The pictures."""
        return [file for file in self.drawings if file not in self.tables]

    @property
    def all(self) -> list[Path]:
        """Every file."""
        return [*self.drawings.values(), *self.tables.values(), *self.heatmaps.values()]


def _targets(drawings: Mapping[Source, Path], moving: Collection[Source], format: str, heatmaps: bool) -> _Targets:
    """Returns what is written of the files that have these drawings, and of the videos among them.

    Raises:
        DeepPoseError: Heat maps are asked for, and one is a video.
    """
    suffix = {"json": ".jsonl", "csv": ".csv"}[format]
    tables = {file: drawing.with_suffix(suffix) for file, drawing in drawings.items() if file in moving}
    if heatmaps and tables:
        raise DeepPoseError(f"{next(iter(tables))}: heat maps are drawn of pictures, not of videos")
    return _Targets(drawings, tables, {file: heatmaps_beside(drawings[file]) for file in drawings if heatmaps})


@dataclass(frozen=True)
class _Work:
    """Pictures and videos, what is asked of them as `predict_files` is, and what has come of it so far."""

    pose: Pose | CascadePose
    people: People
    skeleton: Skeleton | None
    names: tuple[str, ...]
    lettering: Lettering
    stages: Stages
    sheet: ContactSheet | None
    targets: _Targets
    done: _Counter
    failures: list[Failure]
    found: list[Prediction] = field(default_factory=list)
    videos: list[VideoPrediction] = field(default_factory=list)
    nobody: list[Source] = field(default_factory=list)

    def predict_pictures(self, read: Callable[[Source], Picture], stage: Path, workers: Workers) -> None:
        """Predicts the pictures, and writes the drawings into a folder."""
        written: _Written = deque()
        readable = _readable(workers.ahead(self.targets.pictures, read, workers.threads + _AHEAD), self.failures)
        with_persons = _with_persons(readable, self.people, self.failures)
        maps, in_order = bool(self.targets.heatmaps), self.stages.legacy_order
        answering = answers(self.pose, with_persons, workers, in_order, maps, answered_of=self.done.persons)
        for file, image, answered in answering:
            persons, refused = told_apart(answered, self.people.numbered)
            self.failures.extend(Failure(file, f"{file}: {problem}") for problem in refused)
            if persons:
                for path, drawing in self._drawings(file, image, persons):
                    written.append((file, workers.begin(partial(_write, stage / path.name, drawing))))
                self._wait(written, workers.threads + _AHEAD)
                self._take(file, image, persons)
            elif not refused:
                self.nobody.append(file)
            self.done.one_more(file, len(answered))
        self._wait(written, 0)

    def _drawings(
        self, file: Source, image: Picture, persons: Sequence[Shown]
    ) -> Iterator[tuple[Path, Callable[[], Picture]]]:
        """Yields the drawings of a picture: where each is written, and what draws it."""
        several = self.people.numbered
        how = self.skeleton, several, self.lettering, self.stages.shown
        yield self.targets.drawings[file], partial(drawn, image, persons, *how)
        if file in self.targets.heatmaps:
            yield self.targets.heatmaps[file], partial(drawn_heatmaps, image, persons, self.names, several)

    def _take(self, file: Source, image: Picture, persons: Sequence[Shown]) -> None:
        """Takes down the persons of a picture."""
        drawing, maps = self.targets.drawings[file], self.targets.heatmaps.get(file)
        for person, view, points in persons:
            if self.sheet is not None:
                caption = title_of(file, person.number if self.people.numbered else None)
                self.sheet.add(image, view.crop, points, self.skeleton, caption=caption)
            box, score = person.found.box, person.found.score
            ways = person.stages if self.stages.shown else None
            self.found.append(Prediction(file, points, drawing, person.number, box, score, ways, maps))

    def _wait(self, written: _Written, most: int) -> None:
        """Waits until no more drawings than so many are still to be written."""
        while len(written) > most:
            file, drawing = written.popleft()
            try:
                drawing.result()
            except DeepPoseError as error:
                self.failures.append(Failure(file, f"{file}: {error}"))

    def predict_videos(
        self, following: Callable[[], Following], show: Callable[[Picture], bool] | None, stage: Path, workers: Workers
    ) -> None:
        """Predicts the videos, one after the other, and writes what is written of each into a folder."""
        count = self.pose.stage_count if self.stages.shown else 0
        for file, table in self.targets.tables.items():
            drawing, sound = self.targets.drawings[file], file if isinstance(file, Path) else None
            several = self.people.numbered
            writing = VideoFiles(stage, drawing, table, self.names, numbered=several, stages=count, source=sound)
            how = self.skeleton, self.lettering, self.sheet, self.done.one_more, workers, self.stages, show
            try:
                video, refused = predict_video(self.pose, file, writing, following(), *how)
                self.videos.append(video)
                self.failures.extend(Failure(file, problem) for problem in refused)
            except DeepPoseError as error:
                writing.remove()
                self.failures.append(Failure(file, str(error)))

    def refuse_nobody(self) -> None:
        """Raises a DeepPoseError where there are no joints at all."""
        if not self.found and not self.videos:
            reasons = [failure.reason for failure in self.failures]
            reasons = reasons or [f"{file}: nobody was found in it" for file in self.targets.drawings]
            more = f" (and so it is with {len(reasons) - 1} more)" if len(reasons) > 1 else ""
            raise DeepPoseError(f"{reasons[0]}{more}")

    def told(self, table: Path | None, tile: Path | None) -> Predictions:
        """Returns what there is; the joints of all pictures are in the table."""
        return Predictions(
            self.pose.path,
            self.names,
            tuple(self.found),
            tuple(self.videos),
            tuple(self.failures),
            table,
            tile,
            tuple(self.nobody),
            self.people.numbered,
        )


def _with_persons(
    pictures: Iterable[tuple[Source, Picture]], people: People, failures: list[Failure]
) -> Iterator[tuple[Source, Picture, Sequence[Found]]]:
    """Yields pictures with their persons; adds those of which nothing tells these to the failures."""
    for file, image in pictures:
        try:
            found = people.of(Path(file.path) if isinstance(file, Remote) else file, image)
        except DeepPoseError as error:
            failures.append(Failure(file, f"{file}: {error}"))
            continue
        yield file, image, found


def _drawing_names(
    folder: Path, files: Sequence[Source], moving: Collection[Source], image_format: str
) -> dict[Source, Path]:
    """Returns each file's drawing; files of the same name in several folders are numbered."""
    names: dict[Source, Path] = {}
    taken: set[str] = set()
    for file in files:
        name, number = f"{file.stem}_pose", 2
        while name in taken:
            name, number = f"{file.stem}_{number}_pose", number + 1
        taken.add(name)
        is_gif = isinstance(file, Path) and file.suffix.lower() == ".gif"
        suffix = image_format if file not in moving else "gif" if is_gif else "mp4"
        names[file] = folder / f"{name}.{suffix}"
    return names


def _read(source: Source, allow_truncated: bool, max_pixels: int) -> Picture:
    """Reads a picture, or fetches it."""
    if isinstance(source, Path):
        return read_picture(source, allow_truncated=allow_truncated, max_pixels=max_pixels)
    try:
        return decode_picture(fetched(source.address), allow_truncated=allow_truncated, max_pixels=max_pixels)
    except PictureError as error:
        raise PictureError(error.problem, where=source.address, advice=error.advice) from error


def _write(path: Path, draw: Callable[[], Picture]) -> None:
    """Draws something and writes it."""
    write_picture(path, draw())


def _readable(
    files: Iterable[tuple[Source, Callable[[], Picture]]], failures: list[Failure]
) -> Iterator[tuple[Source, Picture]]:
    """Yields the pictures that can be read; adds the others to the failures."""
    for file, read in files:
        try:
            image = read()
        except DeepPoseError as error:
            failures.append(Failure(file, str(error)))
            continue
        yield file, image


class _Counter:
    """Reports what is done of how much: pictures and frames; of a picture with a crowd in it, persons."""

    def __init__(self, progress: ProgressCallback | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0
        self._crowds: dict[Source, tuple[int, int]] = {}

    def persons(self, source: Source, done: int, persons: int) -> None:
        """So many of the persons of a picture are done; it is not."""
        self._crowds[source] = done, persons
        self._report()

    def one_more(self, source: Source | None = None, persons: int = 1) -> None:
        """A picture with so many persons is done, or a frame."""
        one = persons if source in self._crowds else 1
        if source is not None:
            self._crowds.pop(source, None)
        self._done, self._total = self._done + one, self._total + one - 1
        self._report()

    def _report(self) -> None:
        if self._progress is not None:
            done = self._done + sum(done for done, _ in self._crowds.values())
            total = self._total + sum(persons - 1 for _, persons in self._crowds.values())
            self._progress(done, max(done, total))
