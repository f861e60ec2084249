"""Groups of options that several commands share, and what they stand for."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from converters.checkpoint import Decoding
from converters.errors import DeepPoseError
from converters.families import on_request
from converters.files import byte_count
from converters.values import dataclass
from deeppose_port.cli import display
from deeppose_port.options import described

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
SKELETON = described("What the joints are, or a .toml or .json file that says.", choices=skeletons)
#: The same where a checkpoint may.
SKELETON_OR_TOLD = described(
    "What the joints are, or a .toml or .json file that says; by default told by the checkpoint.", choices=skeletons
)


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


@dataclass(frozen=True, kw_only=True)
class JsonOptions:
    """How an answer is shown."""

    as_json: bool = field(
        default=False, metadata=described("One JSON object on standard output.", names=("--json",), section="Answer")
    )


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """A page of an answer."""

    report: Path | None = field(
        default=None,
        metadata=described("Write a page with charts and pictures: DIR/index.html.", metavar="DIR", section="Answer"),
    )
    force: bool = field(default=False, metadata=described("Replace files that exist.", names=("--force",)))


@dataclass(frozen=True, kw_only=True)
class SizeOptions:
    """What may be taken of the machine."""

    max_bytes: int = field(
        default=4 << 30,  # converters.formats.MAX_BYTES
        metadata=described(
            "The most that a file's arrays may take in memory.",
            metavar="SIZE",
            parse=byte_count,
            default="4G",
            rare=True,
        ),
    )


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """What a checkpoint is, where it leaves a choice."""

    architecture: str | None = field(
        default=None,
        metadata=described(
            f"Which network it is, where the file leaves a choice: {', '.join(on_request())}, or any other.",
            metavar="NAME",
            choices=architectures,
            section="Reading the checkpoint",
        ),
    )
    model_file: str | None = field(
        default=None,
        metadata=described(
            "The Python file that defined the network, which is read and never run; by default the one that log.txt "
            "names, or those beside the checkpoint.",
            metavar="FILE[:CLASS]",
        ),
    )
    part: str | None = field(
        default=None,
        metadata=described(
            "Which of several networks in it: the key that one was saved under, the first part of its tensors' names, "
            "or ema for the second set that mmcv keeps beside them.",
            metavar="NAME",
        ),
    )
    writer: str | None = field(
        default=None,
        metadata=described(
            "The version that wrote the file, where nothing in it or beside it tells.", metavar="chainer-X.Y.Z"
        ),
    )
    size: SizeOptions

    def as_arguments(self) -> dict[str, Any]:
        """Returns them as `converters.inspect` takes them."""
        return {
            "architecture": self.architecture,
            "model_file": self.model_file,
            "part": self.part,
            "writer": self.writer,
            "max_bytes": self.size.max_bytes,
        }


@dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """How a checkpoint is read."""

    source: SourceOptions
    nonfinite: str = field(
        default="zero",
        metadata=described(
            "What becomes of NaN and Inf: 0, a refusal, or nothing.",
            choices=("zero", "error", "keep"),
            section="Reading the checkpoint",
        ),
    )

    def as_arguments(self) -> dict[str, Any]:
        """Returns them as `converters.read` takes them."""
        return {**self.source.as_arguments(), "nonfinite": self.nonfinite}


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """How pictures become inputs, in place of what the checkpoint says."""

    im_size: str | None = field(
        default=None,
        metadata=described(
            "Side of the network's input; width and height of a letterbox.",
            metavar="PIXELS|WxH",
            section="Inputs, in place of what the checkpoint says",
            rare=True,
        ),
    )
    base_zoom: float | None = field(
        default=None, metadata=described("Factor on the box of a person's joints.", metavar="FACTOR", rare=True)
    )
    coord_normalize: bool | None = field(
        default=None, metadata=described("Whether the network answers fractions of the crop or its pixels.", rare=True)
    )
    gcn: bool | None = field(default=None, metadata=described("Global contrast normalisation of the input.", rare=True))
    decoding: Decoding | None = field(
        default=None,
        metadata=described(
            "What of a heat map is its joint: its largest number, or the mean of its pixels by their softmax.",
            choices=get_args(Decoding),
            rare=True,
        ),
    )


_BACKEND = described(
    "What runs it; auto is the fastest that is installed and answers alike.",
    choices=backends_and_auto,
    section="Engine",
)


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """What runs a network."""

    backend: str = field(default="torch", metadata=_BACKEND)
    engine: str | None = field(
        default=None,
        metadata=described("What runs an ONNX graph; by default the first that is installed.", choices=engines),
    )
    device: str = field(default="cpu", metadata=described("Where the network runs.", metavar="cpu|cuda:N"))
    relu_nan: str = field(
        default="nan",
        metadata=described(
            "What ReLU makes of NaN; with --nonfinite keep, zero emulates Chainer 1.13 on a GPU.",
            choices=("nan", "zero"),
            rare=True,
        ),
    )


def own_device(engine: EngineOptions) -> EngineOptions:
    """Gives each of torchrun's processes on a machine a GPU of its own, where `cuda` is asked for."""
    if engine.device == "cuda" and "LOCAL_RANK" in os.environ:
        return replace(engine, device=f"cuda:{os.environ['LOCAL_RANK']}")
    return engine


@dataclass(frozen=True, kw_only=True)
class FastestOptions(EngineOptions):
    """The same where nothing but the joints is asked for."""

    backend: str = field(default="auto", metadata=_BACKEND)
    engine: str | None = field(
        default=None,
        metadata=described(
            "What executes it: of the backend onnx, onnxruntime or openvino; or ray, whose processes share the "
            "pictures of --manifest, each with the backend that is said or the fastest.",
            choices=engines_and_ray,
        ),
    )


@dataclass(frozen=True, kw_only=True)
class CountingOptions:
    """Which pictures, persons and joints are taken."""

    min_dim: float = field(
        default=0.0,
        metadata=described(
            "Leave out those persons of the CSV whose box of joints is smaller than this many pixels.", rare=True
        ),
    )
    ignore_label: float = field(
        default=-1.0, metadata=described("The coordinate in the CSV that means: not annotated.", rare=True)
    )
    max_pixels: int = field(
        default=178_956_970,  # deeppose_port.data.pictures.MAX_PIXELS
        metadata=described("The most pixels of a picture that is decoded.", metavar="N", rare=True),
    )


@dataclass(frozen=True, kw_only=True)
class AnnotationOptions:
    """Annotated persons."""

    csv: Path = field(
        metadata=described(
            "The persons: a line each, file,x0,y0,x1,y1,… with -1 for what is not annotated.",
            names=("--csv", "--test-csv-fn"),
            section="Annotated persons",
        )
    )
    images: Path = field(metadata=described("The pictures' folder.", names=("--images", "--img-dir")))
    skeleton: str | None = field(default=None, metadata=SKELETON_OR_TOLD)
    fast_decode: bool = field(
        default=False,
        metadata=described(
            "Decode JPEGs at a reduced size where the network's input is at most half of the crop: faster, and no "
            "longer the legacy program's inputs to the bit.",
            rare=True,
        ),
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
    loaded = converters.read(checkpoint, state=False, **reading.as_arguments())
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
    preprocessing = loaded.preprocessing.overridden(
        im_size=_size(inputs.im_size),
        base_zoom=inputs.base_zoom,
        coord_normalize=inputs.coord_normalize,
        gcn=inputs.gcn,
        decoding=inputs.decoding,
    )
    if inputs.decoding is not None and not loaded.architecture.stacks:
        name = loaded.architecture.name
        raise DeepPoseError(f"--decoding: this {name} answers no heat maps", where=loaded.source.path)
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
    """Opens annotated persons as a checkpoint sees them; without a skeleton, one with its number of joints."""
    from deeppose_port.data import PoseDataset
    from deeppose_port.data.skeletons import SKELETONS, get, of_network

    told = skeleton or of_network(pose.joints, pose.preprocessing.joints)
    if told is None:
        problem = f"nothing tells what its {pose.joints} joints are"
        advice = f"--skeleton does: {', '.join(SKELETONS)} or a file"
        raise DeepPoseError(problem, where=pose.path, advice=advice)
    known = get(told)
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
