"""Groups of options that several commands share, and what they stand for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from converters.checkpoint import Decoding
from converters.errors import DeepPoseError
from converters.families import on_request
from converters.files import byte_count
from converters.values import dataclass
from deeppose_port.cli import display
from deeppose_port.data.options import ANNOTATED, BASE_ZOOM, CountingOptions, picture_folder
from deeppose_port.options import described, values_of

if TYPE_CHECKING:
    from deeppose_port.cascade import CascadePose
    from deeppose_port.data import PoseDataset
    from deeppose_port.pose import Pose

NOT_SO = 1  # exit status: what was asked is answered with no
BUG = 1  # as of every Python program; its traceback tells it from a no
BAD_INPUT = 2
SOME_REFUSED = 3  # of several inputs
INTERRUPTED = 130  # 128 + SIGINT, as shells count
CLOSED = 141  # 128 + SIGPIPE
TERMINATED = 143  # 128 + SIGTERM


def skeletons() -> Iterable[str]:
    """Returns the skeletons' names."""
    from deeppose_port.data.skeletons import SKELETONS

    return SKELETONS


#: What shares a list of pictures among processes, on one or many machines.
RAY = "ray"

#: What says which joints there are.
SKELETON = "The joints: a known skeleton, or a .toml or .json file of your own."


def skeleton_or_told(*goes_with: str) -> str | None:
    """Declares what says which joints there are, where a checkpoint may."""
    told = f"{SKELETON[:-1]}; by default what the checkpoint says."
    return described(told, default=None, choices=skeletons, goes_with=goes_with)


def one_checkpoint() -> Path:
    """Declares the checkpoint that a command is about."""
    return described("A checkpoint.", names=("CHECKPOINT",))


def backends() -> Iterable[str]:
    """Returns the backends' names."""
    from deeppose_port.backends import BACKENDS

    return BACKENDS


def backends_and_auto() -> Iterable[str]:
    """Returns the backends' names, and `auto`."""
    return (*backends(), "auto")  # backends.fastest.AUTO


def engines() -> Iterable[str]:
    """Returns the names of what runs networks, of backends that have a choice."""
    from deeppose_port.backends import engines

    return engines()


def engines_and_ray() -> Iterable[str]:
    """Returns the same, and Ray, which shares work among processes that run them."""
    return (*engines(), RAY)


def architectures() -> Iterable[str]:
    """Returns the architectures' names."""
    from converters.networks import TABLES

    return TABLES


def overwriting() -> bool:
    """Declares that existing files may be overwritten: a permission, which may be given in vain."""
    return described("Overwrite existing files.", default=False, names=("--force",))


def into_subfolders(more: str = "", section: str = "", goes_with: tuple[str, ...] = ()) -> bool:
    """Declares that folders are looked into with those in them; `more` is said of it too."""
    told = f"Look into subfolders too{more}."
    return described(told, default=False, names=("-r", "--recursive"), section=section, goes_with=goes_with)


def with_state() -> bool:
    """Declares whether a file's optimizer counts."""
    return described("Whether to read the optimizer's state too.", default=True)


def batch_of() -> int:
    """Declares how many persons a network is asked about at once."""
    return described("Persons in a batch.", default=32, names=("--batch-size", "--batchsize"))


@dataclass(frozen=True, kw_only=True)
class JsonOptions:
    """How an answer is shown."""

    as_json: bool = described(
        "Print one JSON object on standard output.", default=False, names=("--json",), section="Answer"
    )


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """A page of an answer."""

    report: Path | None = described(
        "Write an HTML page with charts and pictures, DIR/index.html.", default=None, metavar="DIR", section="Answer"
    )
    force: bool = overwriting()


@dataclass(frozen=True, kw_only=True)
class SizeOptions:
    """What may be taken of the machine."""

    max_bytes: int = described(
        "Refuse files whose arrays take more memory than this.",
        default=4 << 30,  # converters.formats.MAX_BYTES
        metavar="SIZE",
        parse=byte_count,
        show_default="4G",
        rare=True,
    )


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """What a checkpoint is, where it leaves a choice; their values are arguments of `converters.inspect`."""

    architecture: str | None = described(
        f"Which network it is, if the file leaves a choice: {', '.join(on_request())}, or any other.",
        default=None,
        metavar="NAME",
        choices=architectures,
        section="Reading the checkpoint",
    )
    model_file: str | None = described(
        "The Python file that defined the network. It is read, never run. By default the one named in "
        "log.txt, or those beside the checkpoint.",
        default=None,
        metavar="FILE[:CLASS]",
    )
    part: str | None = described(
        "Which network to read from a file that holds several: the key it was saved under, the first part"
        " of its tensors' names, or ema for the averaged weights that mmcv keeps.",
        default=None,
        metavar="NAME",
    )
    writer: str | None = described(
        "The Chainer version that wrote the file, if nothing in or beside it tells.",
        default=None,
        metavar="chainer-X.Y.Z",
    )
    size: SizeOptions


@dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """How a checkpoint is read; their values are arguments of `converters.read`."""

    source: SourceOptions
    nonfinite: str = described(
        "Replace NaN and Inf by 0, refuse the file, or keep them.",
        default="zero",
        choices=("zero", "error", "keep"),
        section="Reading the checkpoint",
    )


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """How pictures become inputs, in place of what the checkpoint says; as `Preprocessing.overridden` takes them."""

    im_size: str | None = described(
        "Side of the network's input, or the width and height of a letterbox.",
        default=None,
        metavar="PIXELS|WxH",
        section="Inputs, in place of what the checkpoint says",
        rare=True,
    )
    base_zoom: float | None = described(BASE_ZOOM, default=None, metavar="FACTOR", rare=True, goes_with=("csv",))
    coord_normalize: bool | None = described(
        "Whether the network's outputs are fractions of the crop, or pixels.", default=None, rare=True
    )
    gcn: bool | None = described(
        "Whether inputs are contrast-normalised (global contrast normalisation).", default=None, rare=True
    )
    decoding: Decoding | None = described(
        "How a joint is read off a heat map: at its maximum, or as the mean position under its softmax.",
        default=None,
        choices=get_args(Decoding),
        rare=True,
    )


_BACKEND = "What runs the network; auto takes the fastest one installed that gives the same answers."


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """What runs a network."""

    backend: str = described(_BACKEND, default="torch", choices=backends_and_auto, section="Engine")
    engine: str | None = described(
        "What runs an ONNX graph; by default the first one installed.", default=None, choices=engines
    )
    device: str = described("The device that the network runs on.", default="cpu", metavar="cpu|cuda:N")
    relu_nan: str = described(
        "What ReLU returns for NaN; zero, with --nonfinite keep, emulates Chainer 1.13 on a GPU.",
        default="nan",
        choices=("nan", "zero"),
        rare=True,
    )


def own_device(engine: EngineOptions) -> EngineOptions:
    """Gives each of torchrun's processes on a machine a GPU of its own, where `cuda` is asked for."""
    from deeppose_port.backends.torchrun import own_gpu

    return replace(engine, device=own_gpu() or "cuda") if engine.device == "cuda" else engine


@dataclass(frozen=True, kw_only=True)
class FastestOptions(EngineOptions):
    """The same where nothing but the joints is asked for."""

    backend: str = described(_BACKEND, default="auto", choices=backends_and_auto, section="Engine")
    engine: str | None = described(
        "With --backend onnx: onnxruntime or openvino. With --manifest: ray, which spreads the pictures "
        "over its processes.",
        default=None,
        choices=engines_and_ray,
    )


@dataclass(frozen=True, kw_only=True)
class AnnotationOptions:
    """Annotated persons."""

    csv: Path = described(
        ANNOTATED,
        names=("--csv", "--test-csv-fn"),
        section="Annotated persons",
    )
    images: Path = picture_folder()
    skeleton: str | None = skeleton_or_told()
    fast_decode: bool = described(
        "Decode JPEGs at a reduced size where the network's input is at most half the crop: faster, but "
        "the inputs are no longer bit for bit the legacy program's.",
        default=False,
        rare=True,
    )
    counting: CountingOptions


def load(
    checkpoint: Path,
    reading: ReadingOptions,
    inputs: InputOptions,
    engine: EngineOptions,
    called: str = "",
    pictures: int | None = None,
) -> Pose | CascadePose:
    """Loads a checkpoint or a cascade and says what was chosen or repaired; the user's preprocessing goes first.

    Args:
        checkpoint: The file, or the folder of a cascade.
        reading: How it is read.
        inputs: In place of the checkpoint's own; a cascade takes none.
        engine: What runs it; no backend's name is the engine that its file is for, if that is installed.
        called: What the notices call it, where there are several.
        pictures: How many there will be, which the choice of the fastest goes by; None for many.
    """
    import converters
    from converters import Checkpoint
    from deeppose_port.backends import having
    from deeppose_port.cascade import CascadePose
    from deeppose_port.evaluate.engines import usable_engine
    from deeppose_port.pose import Pose

    if engine.relu_nan != "nan" and reading.nonfinite != "keep":
        raise DeepPoseError("--relu-nan zero goes with --nonfinite keep: otherwise there is no NaN left")
    loaded = converters.read(checkpoint, state=False, **values_of(reading))
    display.notices(loaded.notices, loaded.repairs, called)
    backend = engine.backend
    if not backend and engine.engine is not None:
        backend = having(engine.engine).name
    if not backend:
        backend, reason = usable_engine(loaded)
        display.notices([reason] if reason else [], called=called)
    if not isinstance(loaded, Checkpoint):
        if inputs != InputOptions():
            told = (
                "each of its networks has its own inputs, and --im-size, --base-zoom, --gcn and the like say otherwise"
            )
            raise DeepPoseError(f"this is a cascade: {told}", where=checkpoint, advice="leave them out")
        return CascadePose(loaded, backend, engine.device, engine.relu_nan, engine.engine)
    said, name = {**values_of(inputs), "im_size": _size(inputs.im_size)}, loaded.architecture.name
    try:
        preprocessing = loaded.preprocessing.overridden(**said)
    except DeepPoseError as error:
        raise DeepPoseError(error.problem, where=loaded.source.path, advice=error.advice) from error
    if inputs.decoding is not None and not loaded.architecture.stacks:
        raise DeepPoseError(f"--decoding: this {name} answers no heat maps", where=loaded.source.path)
    if inputs.base_zoom is not None and not preprocessing.zooms:
        problem = f"--base-zoom: this {name} does not see a person's box times a factor"
        raise DeepPoseError(problem, where=loaded.source.path)
    return Pose(
        loaded,
        backend,
        engine.device,
        preprocessing,
        engine.relu_nan,
        engine=engine.engine,
        pictures=pictures,
    )


def _size(text: str | None) -> int | tuple[int, int] | None:
    """Reads a side, or a width and a height."""
    try:
        sides = [int(side) for side in (text or "").lower().split("x") if text]
    except ValueError:
        sides = [0, 0, 0]
    if len(sides) > 2:
        raise DeepPoseError(f"--im-size {text}: write the input's side as 220, or its width and height as 192x256")
    return None if not sides else sides[0] if len(sides) == 1 else (sides[0], sides[1])


def persons(
    pose: Pose | CascadePose,
    csv: Path,
    images: Path,
    skeleton: str | None,
    counting: CountingOptions,
    *,
    fast_decode: bool = False,
) -> PoseDataset:
    """Opens annotated persons as a checkpoint sees them; without a skeleton, its joints are those that it tells."""
    from deeppose_port.data import PoseDataset
    from deeppose_port.data.skeletons import WHICH, get

    known = get(skeleton) if skeleton else pose.first.skeleton
    if known is None:
        raise DeepPoseError(f"nothing says what its {pose.joints} joints are", where=pose.path, advice=WHICH)
    if not known.name:  # of joints that the checkpoint alone names
        known = replace(known, name="the checkpoint")
    known.refuse_other_order(pose.preprocessing.told_joints, pose.path)
    return PoseDataset(
        csv,
        images=images,
        skeleton=known,
        preprocessing=pose.preprocessing,
        min_dim=counting.min_dim,
        ignore_label=counting.ignore_label,
        max_pixels=counting.max_pixels,
        fast_decode=fast_decode,
    )
