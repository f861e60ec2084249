"""The joints of pictures, folders of pictures, and videos."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from converters.errors import DeepPoseError
from converters.files import refuse_targets, staged
from converters.folders import new_folder
from converters.progress import ProgressCallback
from deeppose_port.cascade import CascadePose
from deeppose_port.data.ahead import Workers
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
    answers,
    drawn,
    drawn_heatmaps,
    heatmaps_beside,
    joints_of,
    told_apart,
)
from deeppose_port.predict.people import Box, Found, Given, People
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
    lettering = Lettering(legend, joint_names)
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
    moving = {each for each in everything if is_video(each)}
    drawings = _drawing_names(folder, everything, moving, image_format)
    files = everything[rank::processes]
    drawings = {file: drawings[file] for file in files}
    suffix = {"json": ".jsonl", "csv": ".csv"}[format]
    tables = {file: drawing.with_suffix(suffix) for file, drawing in drawings.items() if file in moving}
    pictures = [file for file in files if file not in tables]
    if heatmaps and tables:
        raise DeepPoseError(f"{next(iter(tables))}: heat maps are drawn of pictures, not of videos")
    failures = [] if rank else [Failure(source_named(name), str(error)) for name, error in refused_names.items()]
    if not files:  # there are more processes than files
        return Predictions(pose.path, names, (), (), tuple(failures), None, None, (), people.numbered)
    sheets = {file: heatmaps_beside(drawings[file]) for file in pictures} if heatmaps else {}
    part = f"-{rank + 1}-of-{processes}" if processes > 1 else ""
    table = folder / f"predictions{part}.{format}" if pictures else None
    tile = folder / TILE if sheet is not None else None
    targets = (table, tile, *drawings.values(), *tables.values(), *sheets.values())
    inputs = [people.path, *(file for file in files if isinstance(file, Path))]
    refuse_targets(targets, force, read=inputs, instead="-o names another folder")

    found: list[Prediction] = []
    videos: list[VideoPrediction] = []
    nobody: list[Source] = []
    read = partial(_read, allow_truncated=allow_truncated, max_pixels=max_pixels)
    done = _Counter(progress, len(pictures) + sum(map(announced_frames, tables)))
    with staged(folder, force=force) as stage, Workers() as workers:
        written: deque[tuple[Source, Future[None]]] = deque()

        def wait_for(most: int) -> None:
            while len(written) > most:
                file, drawing = written.popleft()
                try:
                    drawing.result()
                except DeepPoseError as error:
                    failures.append(Failure(file, f"{file}: {error}"))

        readable = _readable(workers.ahead(pictures, read, workers.threads + _AHEAD), failures)
        with_persons = _with_persons(readable, people, failures)
        answering = answers(pose, with_persons, workers, stages.legacy_order, heatmaps, answered_of=done.persons)
        for file, image, answered in answering:
            persons, refused = told_apart(answered, people.numbered)
            failures += [Failure(file, f"{file}: {problem}") for problem in refused]
            if persons:
                pose_drawn = partial(drawn, image, persons, named, people.numbered, lettering, stages.shown)
                written.append((file, workers.begin(partial(_write, stage / drawings[file].name, pose_drawn))))
                if file in sheets:
                    maps_drawn = partial(drawn_heatmaps, image, persons, names, people.numbered)
                    written.append((file, workers.begin(partial(_write, stage / sheets[file].name, maps_drawn))))
                wait_for(workers.threads + _AHEAD)
                for person, view, points in persons:
                    if sheet is not None:
                        caption = title_of(file, person.number if people.numbered else None)
                        sheet.add(image, view.crop, points, named, caption=caption)
                    box, score = person.found.box, person.found.score
                    ways = person.stages if stages.shown else None
                    maps_drawing = sheets.get(file)
                    found.append(
                        Prediction(file, points, drawings[file], person.number, box, score, ways, maps_drawing)
                    )
            elif not refused:
                nobody.append(file)
            done.one_more(file, len(answered))
        wait_for(0)
        for file, lines in tables.items():
            count = pose.stage_count if stages.shown else 0
            sound = file if isinstance(file, Path) else None
            writing = VideoFiles(
                stage, drawings[file], lines, names, numbered=people.numbered, stages=count, source=sound
            )
            following = Following(people, smooth, every)
            try:
                video, refused = predict_video(
                    pose, file, writing, following, named, lettering, sheet, done.one_more, workers, stages, show
                )
                videos.append(video)
                failures += [Failure(file, problem) for problem in refused]
            except DeepPoseError as error:
                writing.remove()
                failures.append(Failure(file, str(error)))
        if not found and not videos and processes == 1:  # else the others may have found some
            if not failures:
                raise DeepPoseError(f"{files[0]}: nobody was found in it{_and_so(len(files))}")
            raise DeepPoseError(f"{failures[0].reason}{_and_so(len(failures))}")
        result = Predictions(
            pose.path,
            names,
            tuple(found),
            tuple(videos),
            tuple(failures),
            table if found or processes > 1 else None,
            tile,
            tuple(nobody),
            people.numbered,
        )
        if result.file is not None:
            (stage / result.file.name).write_text(text_of(result, format), encoding="utf-8", errors="surrogateescape")
        if sheet is not None:
            write_picture(stage / TILE, sheet.picture())
    return result


def _and_so(count: int) -> str:
    """Mentions all but the first."""
    return f" (and so it is with {count - 1} more)" if count > 1 else ""


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
