"""`predict`: the joints of persons in pictures and videos."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from converters.errors import DeepPoseError
from converters.values import dataclass
from deeppose_port.cli import display, persons
from deeppose_port.cli.command import command
from deeppose_port.cli.finding import FastFindingOptions, show_files
from deeppose_port.cli.options import RAY, SOME_REFUSED, JsonOptions, into_subfolders, load, own_device
from deeppose_port.data.options import CountingOptions, picture_folder
from deeppose_port.options import Named, described

if TYPE_CHECKING:
    from deeppose_port.cascade import CascadePose
    from deeppose_port.pose import Pose
    from deeppose_port.predict import People, Predictions, Source


_DEFAULT_FOLDER = "predictions"


def _detectors() -> Iterable[str]:
    from deeppose_port.predict.people import DETECTORS, TORCHVISIONS

    return (*DETECTORS, *TORCHVISIONS)


def _smoothers() -> Iterable[str]:
    from deeppose_port.predict.tracks import SMOOTHERS

    return SMOOTHERS


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """What `predict` is told."""

    checkpoint: Named | None = described(
        "A checkpoint; by default the small network included with this program.", default=None, names=("CHECKPOINT",)
    )
    sources: tuple[Named, ...] = described(
        "Pictures, folders of pictures, videos, quoted patterns, http(s) addresses, a camera's number, "
        "stream addresses (rtsp, http, …), or - for a list on standard input, one a line.",
        default=(),
        names=("SOURCE",),
    )
    recursive: bool = into_subfolders(goes_with=("sources",))
    image_format: str = described(
        "Format of the drawn pictures.",
        default="png",
        choices=("png", "jpg", "webp"),
        rare=True,
        goes_with=("sources",),
    )
    legend: bool = described("Explain the colours in a corner of each drawing.", default=True, goes_with=("sources",))
    names: bool = described(
        "Write the joints' names into the drawings.", default=False, names=("--names",), goes_with=("sources",)
    )
    show: bool = described(
        "Show videos, cameras and streams in a window while they are drawn; q quits.",
        default=False,
        names=("--show",),
        goes_with=("sources",),
    )
    manifest: Named | None = described(
        "For very many pictures, in place of SOURCE: a file that lists them, one path or URL a line, or a"
        " bucket's address. Joints are written to DIR in parts, without drawings; run the same command "
        "again to resume.",
        default=None,
        metavar="FILE",
    )
    fast_decode: bool = described(
        "With --manifest: decode JPEGs at a reduced size where the network's input is at most half the crop.",
        default=False,
        rare=True,
        goes_with=("manifest",),
    )
    box: tuple[str, ...] = described(
        "A person's box in pixels, the same for every SOURCE; repeat it for several persons.",
        default=(),
        metavar="x,y,w,h",
    )
    face: tuple[str, ...] = described(
        "For takiyu's cascades, in place of --box: the person's face; by default it is detected.",
        default=(),
        metavar="x,y,w,h",
        rare=True,
    )
    boxes: Path | None = described(
        "A file with the persons' boxes: COCO detections or annotations (.json), YOLO labels (.txt, or a "
        "folder of them), or a .csv of file,x,y,width,height.",
        default=None,
        metavar="FILE",
    )
    people: str | None = described(
        "Detect the persons with OpenCV's hog; torchvision's fcos, fasterrcnn or keypointrcnn; an ONNX "
        "file; or your own function that takes a picture (BGR) and returns boxes.",
        default=None,
        metavar="hog|fcos|…|FILE.onnx|MODULE:FUNCTION",
        choices=_detectors,
    )
    people_weights: Path | None = described(
        "Weights for torchvision's detectors; nothing is downloaded.",
        default=None,
        metavar="FILE",
        show_default="those in torchvision's cache",
        rare=True,
        goes_with=("people",),
    )
    min_score: float = described(
        "With --boxes or --people: ignore boxes with a lower score.",
        default=0.5,
        rare=True,
        goes_with=("boxes", "people"),
    )
    smooth: str | None = described(
        "Smooth each person's joints over the frames of a video.",
        default=None,
        choices=_smoothers,
        goes_with=("sources",),
    )
    error_px: float | None = described(
        "With --smooth kalman: the network's mean error in pixels, as eval reports it.",
        default=None,
        metavar="PIXELS",
        show_default="5 % of the person's box",
        rare=True,
        goes_with=("smooth=kalman",),
    )
    every: int = described("Use only every N-th frame of a video.", default=1, metavar="N", goes_with=("sources",))
    stages: bool = described(
        "For a cascade: write each stage's joints too, and draw how they move from stage to stage.",
        default=False,
        names=("--stages",),
        rare=True,
        goes_with=("sources",),
    )
    legacy_order: bool = described(
        "For takiyu's cascades: go joint by joint as their program did, which mixes stages.",
        default=False,
        names=("--legacy-order",),
        rare=True,
        goes_with=("sources",),
    )
    csv: Path | None = described(
        "The same as `persons --csv`.", default=None, names=("--csv", "--test-csv-fn"), rare=True
    )
    images: Path | None = picture_folder("With --csv: the folder with the pictures.", default=None, rare=True)
    precision: str | None = described(
        "Compute in bfloat16 (OpenVINO) or 8-bit integers (ONNX Runtime). How far that moves the joints "
        "is measured and reported.",
        default=None,
        choices=("bf16", "int8"),
        rare=True,
        goes_with=("sources",),
    )
    calibration: Path | None = described(
        "With --precision: pictures, or a folder of them, to calibrate and measure on.",
        default=None,
        metavar="PICTURES",
        show_default="the first of SOURCE",
        rare=True,
        goes_with=("precision",),
    )
    max_moved: float = described(
        "With --precision: refuse if the joints move further than this on average.",
        default=2.0,  # deeppose_port.predict.precision.MAX_MOVED
        metavar="PIXELS",
        rare=True,
        goes_with=("precision",),
    )
    allow_truncated: bool = described(
        "Accept truncated JPEGs; what is missing is grey.",
        default=False,
        names=("--allow-truncated",),
        rare=True,
        goes_with=("sources", "manifest"),
    )
    finding: FastFindingOptions
    counting: CountingOptions
    shown: JsonOptions

    def __post_init__(self) -> None:
        told_of = bool(self.sources) + (self.csv is not None) + (self.manifest is not None)
        if told_of != 1 or (self.images is None) != (self.csv is None):
            raise click.UsageError("name pictures, folders or videos, or --csv with --images, or a --manifest")
        if self.manifest is None and self.finding.engine.engine == RAY:
            raise click.UsageError("--engine ray goes with --manifest")
        if self.manifest is None and self.finding.format == "parquet":
            raise click.UsageError("--format parquet goes with --manifest; otherwise there are json and csv")
        if self.manifest is not None:
            for name in ("tile", "heatmaps", "skeleton", "force"):
                if getattr(self.finding, name):
                    raise click.UsageError(f"--{name} does not go with --manifest, which draws and overwrites nothing")
        told = [name for name in ("box", "face", "boxes", "people") if getattr(self, name)]
        if self.csv is not None and told:
            raise click.UsageError(f"--{told[0]} does not go with --csv, whose persons have their own boxes")
        if len(told) > 1:
            raise click.UsageError(f"--{told[0]} and --{told[1]} both say where persons are: choose one")


def _told(said: Mapping[str, object]) -> Mapping[str, object]:
    """Takes a picture, a folder of pictures or a video that is named first for a source: no checkpoint is named."""
    from deeppose_port.predict import is_source

    checkpoint, sources = said.get("checkpoint"), said.get("sources", ())
    if not isinstance(checkpoint, Named) or not isinstance(sources, tuple) or not is_source(checkpoint):
        return said
    return {**said, "checkpoint": None, "sources": (checkpoint, *sources)}


@contextmanager
def _checkpoint(options: PredictOptions) -> Iterator[Path]:
    """Gives the checkpoint that is named, or the one that comes along, which is said."""
    from deeppose_port.predict.shipped import NAME, shipped_network

    if options.checkpoint is not None:
        yield Path(options.checkpoint)
        return
    with shipped_network() as path:
        display.notices([f"no checkpoint was given, so the included {NAME} is used, which finds LSP's 14 joints"])
        yield path


@command(lambda: PredictOptions, complete=_told)
def predict(options: PredictOptions) -> int:
    """Finds the joints of persons in pictures and video frames, and draws them.

    SOURCE is a picture, a folder of pictures, a quoted pattern, an http(s) address, a video, or a camera or stream,
    which Ctrl-C ends. Without a CHECKPOINT, the small network included with this program is used. --box, --boxes or
    --people say where the persons are; by default the whole picture is taken as one person (takiyu's cascades take the
    person with the largest face). Blue is the person's own left side, red the right. In videos persons keep their
    numbers. Files that cannot be read are reported and skipped, and the exit status is then 3. Under torchrun the
    processes share the pictures and videos, and the status is then 0.

    \b
    Example:
      deeppose-port predict photo.png --box 36,0,422,512 -o out
      deeppose-port predict epoch-100.model photo.png --box 36,0,422,512 -o out
      deeppose-port predict epoch-100.model holiday/ clip.mp4 -o out --tile 5x5
      deeppose-port predict epoch-100.model photos/ --boxes boxes.json -o out
      deeppose-port predict epoch-100.model clip.mp4 --people hog -o out
      deeppose-port predict epoch-100.model 0 --show
    """
    if options.csv is not None and options.images is not None:
        with _checkpoint(options) as checkpoint:
            return persons.find(
                persons.PersonsOptions(
                    checkpoint=checkpoint,
                    csv=options.csv,
                    images=options.images,
                    finding=options.finding,
                    counting=options.counting,
                    shown=options.shown,
                )
            )
    if options.manifest is not None:
        return _manifest(options, options.manifest)
    result = _files(options)
    for failure in result.failures:
        display.error(failure.reason)
    display.notices(dict.fromkeys(notice for video in result.videos for notice in video.notices))
    if options.shown.as_json:
        display.as_json(result.as_dict())
    else:
        _show(result)
    return _status(result.failures)


def _status(failures: object) -> int:
    """Returns the exit status: of one of several processes it is 0, since torchrun would end the others for another."""
    from deeppose_port.backends.torchrun import rank_and_size

    return SOME_REFUSED if failures and rank_and_size()[1] == 1 else 0


def _people(options: PredictOptions) -> People | None:
    """Returns who tells where persons are; None where nobody does."""
    from deeppose_port.predict import Given, detector, parse_box, read_boxes

    if options.boxes is not None:
        return read_boxes(options.boxes, options.min_score)
    if options.people is not None:
        device = own_device(options.finding.engine).device
        return detector(options.people, options.min_score, options.people_weights, device)
    if not (options.box or options.face):
        return None
    return Given([parse_box(box) for box in options.box], [parse_box(face) for face in options.face])


def _named(options: PredictOptions) -> Iterator[str]:
    """Yields what is named on the command line, and in the list on standard input."""
    from deeppose_port.predict.sources import listed

    for name in options.sources:
        if name == "-":
            yield from listed(sys.stdin)
        else:
            yield name


def _files(options: PredictOptions) -> Predictions:
    """Predicts pictures and videos."""
    from deeppose_port.backends.torchrun import rank_and_size
    from deeppose_port.drawing.window import Window
    from deeppose_port.predict import Stages, how_many, predict_files, smoother
    from deeppose_port.predict.sources import sources_of

    told, share = options.finding, rank_and_size()
    if share[1] > 1 and (told.output is None or "-" in options.sources or options.show):
        raise DeepPoseError("several processes share this: name one folder with -o, no list on -, and no --show")
    sheet = told.sheet()
    people = _people(options)
    smooth = None if options.smooth is None else smoother(options.smooth, options.error_px)
    folder = told.folder()
    sources, refused = sources_of(_named(options), recursive=options.recursive, without=folder)
    pictures = how_many(sources)
    if pictures is not None:
        for option in ("show", "smooth"):
            if getattr(options, option):
                raise DeepPoseError(f"--{option} is for videos, cameras and streams, and there is none of them")
        if options.every != 1:
            raise DeepPoseError("--every is for videos, cameras and streams, and there is none of them")
    window = Window() if options.show else None
    with _checkpoint(options) as checkpoint:
        engine = own_device(told.engine) if share[1] > 1 else told.engine
        pose = load(checkpoint, told.reading, told.inputs, engine, pictures=pictures)
    if people is None and not pose.looks_for_faces:
        display.notices(["no box was given, so each picture is taken as one person; see --box, --boxes and --people"])
    if options.stages and pose.stage_count == 1:
        display.notices(["it has only one stage, so --stages has no movement to show"])
    if options.precision is not None:
        pose = _reduced(pose, options.precision, people, sources, options)
    with display.steps("predicting", quiet=options.shown.as_json, unit="pictures") as step:
        try:
            return predict_files(
                pose,
                [*sources, *refused],  # which says of the latter why
                folder,
                people=people,
                skeleton=told.skeleton,
                format=told.format,
                sheet=sheet,
                heatmaps=told.heatmaps,
                force=told.force,
                smooth=smooth,
                every=options.every,
                allow_truncated=options.allow_truncated,
                max_pixels=options.counting.max_pixels,
                stages=Stages(options.stages, options.legacy_order),
                recursive=options.recursive,
                image_format=options.image_format,
                share=share,
                show=None if window is None else window.show,
                legend=options.legend,
                joint_names=options.names,
                progress=step,
            )
        finally:
            if window is not None:
                window.close()


def _reduced(
    pose: Pose | CascadePose,
    precision: str,
    people: People | None,
    sources: Sequence[Source],
    options: PredictOptions,
) -> Pose:
    """Returns the network in less than float32, and says by how much that moves joints."""
    from deeppose_port.pose import Pose
    from deeppose_port.predict import sources_in
    from deeppose_port.predict.precision import reduced
    from deeppose_port.predict.sources import is_video

    if not isinstance(pose, Pose):
        raise DeepPoseError("--precision is for a network by itself", where=pose.path, advice="a cascade has none")
    if options.calibration is not None:
        sources = sources_in(options.calibration)
    pictures = [file for file in sources if isinstance(file, Path) and not is_video(file)]
    smaller, moved = reduced(
        pose,
        precision,
        pictures,
        people,
        max_moved=options.max_moved,
        max_pixels=options.counting.max_pixels,
        allow_truncated=options.allow_truncated,
        pass_over=options.calibration is None,  # they are predicted too, and refused there
    )
    display.notices([str(moved)])
    return smaller


def _manifest(options: PredictOptions, manifest: str) -> int:
    """Predicts the pictures of a list."""
    from deeppose_port.backends.torchrun import rank_and_size
    from deeppose_port.predict import People
    from deeppose_port.predict.manifest import Asked, predict_manifest

    told = options.finding
    by_ray = told.engine.engine == RAY
    engine = own_device(replace(told.engine, engine=None) if by_ray else told.engine)
    asked = Asked(
        _people(options) or People(),
        {"json": "jsonl"}.get(told.format, told.format),
        options.fast_decode,
        options.allow_truncated,
        options.counting.max_pixels,
    )
    folder = told.output or Path(_DEFAULT_FOLDER)
    if told.output is None:
        display.notices([f"no -o was given, so everything goes to {folder}; the same command resumes there"])
    quiet = options.shown.as_json
    with _checkpoint(options) as checkpoint, display.steps("predicting", quiet=quiet, unit="pictures") as step:
        result = predict_manifest(
            partial(load, checkpoint, told.reading, told.inputs, engine),
            manifest,
            folder,
            asked,
            share=rank_and_size(),
            ray=by_ray,
            progress=step,
        )
    if options.shown.as_json:
        display.as_json(result.as_dict())
    else:
        were = f", {result.failures} of which have an error in place of joints" if result.failures else ""
        before = f"; of those before {result.failures_before} have one" if result.failures_before else ""
        display.say(f"{display.counted(result.done, 'picture')} of {result.pictures} predicted now{were}{before}")
        display.say(f"joints in {result.folder}")
    return _status(result.failures + result.failures_before)


def _show(result: Predictions) -> None:
    """Shows where predictions were written."""
    persons_in = Counter(picture.image for picture in result.pictures)
    drawings = {picture.image: picture.drawing for picture in result.pictures}
    for image, drawing in drawings.items():
        several = f", {display.counted(persons_in[image], 'person')}" if result.numbered else ""
        display.say(f"{image} -> {drawing}{several}")
    for image in result.nobody:
        display.say(f"{image}: nobody was found in it")
    for video in result.videos:
        display.say(
            f"{video.video} -> {video.drawing}, {display.counted(video.frames, 'frame')}; joints in {video.file}"
        )
    show_files(result)
