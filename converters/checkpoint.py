"""The Checkpoint: the one value that every reader makes and every writer takes.

It holds NumPy arrays and plain values only, so that it can be made, inspected and written without a
deep-learning framework.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, field, replace
from typing import Any, Literal, TypeVar, get_args, get_type_hints

import numpy as np
import numpy.typing as npt

from converters import words
from converters.errors import DeepPoseError
from converters.hints import fits
from converters.networks import Architecture
from converters.values import dataclass

Array = npt.NDArray[Any]
Gcn = Literal["divide", "subtract", "none"]
Colour = Literal["BGR", "RGB"]
Interpolation = Literal["linear", "nearest", "antialiased", "unrounded"]
Axes = Literal["xy", "yx"]
Part = Literal["joints", "joints-whole", "joints-margin", "picture", "window", "letterbox", "letterbox-corners"]
Frame = Literal["centred", "middle", "unit", "symmetric"]
Order = Literal["interleaved", "planar"]
Decoding = Literal["argmax", "soft-argmax"]
Peak = Literal["middle", "corner"]
#: The largest side of a network's input, in pixels: more is a mistake, and a batch of it would not fit.
LARGEST_INPUT = 4096
#: The largest number in metadata: more is exact neither in JSON nor as a float64, and fits no array's counter.
LARGEST_NUMBER = 1 << 53
_MOST_NAMES, _LONGEST_NAME = 1000, 100
_Kind = TypeVar("_Kind", bound="Record")


class Record:
    """A dataclass of plain values that goes into a file's metadata and comes back."""

    def as_dict(self) -> dict[str, object]:
        """Returns the fields as JSON-ready values."""
        return {name: _as_list(value) for name, value in asdict(self).items()}  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls: type[_Kind], values: object) -> _Kind:
        """Builds the record from `as_dict()`'s answer; keys that a newer version added are passed over.

        Raises:
            DeepPoseError: A value is missing or of another kind.
        """
        if not isinstance(values, Mapping):
            raise DeepPoseError(f"this does not describe a {cls.__name__}: {values!r}")
        kinds = get_type_hints(cls)
        known = {name: value for name, value in values.items() if name in kinds}
        for name, value in known.items():
            if not fits(value, kinds[name], _is_sound):
                raise DeepPoseError(f"{name} is {value!r}")
        try:
            return cls(**{name: _as_tuple(value) for name, value in known.items()})
        except TypeError as error:
            raise DeepPoseError(str(error)) from error


def _as_list(value: object) -> object:
    return [_as_list(item) for item in value] if isinstance(value, tuple) else value


def _as_tuple(value: object) -> object:
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list) else value


def _is_sound(value: object, kind: type) -> bool:
    """Tells whether a plain value is of a kind, and a number of those that are exact everywhere."""
    if isinstance(value, int | float) and not abs(value) <= LARGEST_NUMBER:  # nor is NaN
        return False
    return isinstance(value, int | float if kind is float else kind)


@dataclass(frozen=True)
class Preprocessing(Record):
    """How a picture becomes the network's input, and a joint its label: what the network was trained on.

    The defaults are what the legacy shells trained with (`--im_size 220 --base_zoom 1.5 --coord_normalize --gcn`). Two
    are equal where inputs and labels are made alike, whatever the joints are called.

    Attributes:
        im_size: Side of the square input, in pixels; its height where `im_width` is given.
        base_zoom: The crop is the box of a person's joints, each side times this.
        coord_normalize: Labels are fractions of the crop, see `frame`; otherwise pixels of the crop.
        gcn: Global contrast normalisation per channel: `divide` is `(x - mean) / (std + 1e-5)`, `subtract` is
            mid-2016's `x - mean - (std + 1e-5)`, `none` leaves 0 .. 255 to `scale`, `mean` and `std`.
        colour: Order of the input's channels.
        interpolation: How the crop is resized: as OpenCV's INTER_LINEAR or INTER_NEAREST, `antialiased` as Pillow's
            BILINEAR, or `unrounded` as INTER_LINEAR on float32, without gcn only.
        axes: Order of a joint's two coordinates in labels and outputs.
        part: What of the picture the crop is: the box of the `joints`, each side times `base_zoom`, clipped, fractions
            of pixels dropped; `joints-whole`, the same with every pixel that it touches; `joints-margin`, the box with
            a `margin` on each side; the whole `picture`; a
            `window` of the input's size around the middle of the joints, which is not resized; or a `letterbox`, the
            box as a part of the input that keeps its shape, with black around the picture. In a `letterbox` the box's
            edges become the input's, in `letterbox-corners` its outermost pixels' centres.
        im_width: Width of the input, where it is not square; a `letterbox` only.
        scale: Divides the pixels, without gcn: `(x / scale - mean) / std` in float32.
        mean: Is taken from each channel then, in the order of `colour`.
        std: Divides each channel then.
        frame: What fractions of the crop labels are: `centred` about -0.5 .. 0.5, from the middle that an odd input has
            rounded down; `middle` -0.5 .. 0.5 from the very middle; `unit` 0 .. 1, `symmetric` -1 .. 1.
        order: `interleaved` labels are x0, y0, x1, y1, …, `planar` x0, x1, …, y0, y1, ….
        joints: Names of the joints in the order of the labels, where they are known.
        clip: Whether answers outside of the crop are taken as its edge where they become points of the picture.
        margin: Of the part `joints-margin`: the share of the person's height, MPII's `scale` times 200 pixels, that the
            box of the joints gets on each side; where no scale is known, of the longer side of that box.
        truncate: Whether joints lose the fractions of their pixels before a crop and labels are made of them.
        decoding: What of a heat map is its joint: `argmax`, the largest number moved a quarter of a pixel toward its
            larger neighbour, or `soft-argmax`, the mean of the pixels weighted by the softmax of their numbers.
        peak: Where in a heat map's pixel its number counts: in its `middle`, or in its upper left `corner`, which is
            what labels mean that are made by rounding a joint's place to a pixel's number.
        limbs: The lines of a drawing, as two indices of joints each, the inner one first.
        joints_assumed: Whether the names of the joints are those that their number tells, as FLIC's 7, LSP's 14 and
            MPII's 16, and nothing says so.
        whole_pixels: Whether labels are of whole pixels of the input: joints are moved into it and lose the fractions.
    """

    im_size: int = 220
    base_zoom: float = 1.5
    coord_normalize: bool = True
    gcn: Gcn = "divide"
    colour: Colour = "BGR"
    interpolation: Interpolation = "linear"
    axes: Axes = "xy"
    part: Part = "joints"
    im_width: int | None = None
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    frame: Frame = "centred"
    order: Order = "interleaved"
    joints: tuple[str, ...] = field(default=(), compare=False)
    clip: bool = False
    decoding: Decoding = "argmax"
    peak: Peak = "middle"
    margin: float = 0.0
    truncate: bool = False
    limbs: tuple[tuple[int, int], ...] = field(default=(), compare=False)
    joints_assumed: bool = field(default=False, compare=False)
    whole_pixels: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.im_size <= LARGEST_INPUT:
            raise DeepPoseError(f"im_size is {self.im_size}; it has to be at least 1, and at most {LARGEST_INPUT}")
        if not 0 < self.base_zoom < math.inf:
            raise DeepPoseError(f"base_zoom is {self.base_zoom}; it has to be positive and finite")
        for name, kinds in (
            ("gcn", Gcn),
            ("colour", Colour),
            ("interpolation", Interpolation),
            ("axes", Axes),
            ("part", Part),
            ("frame", Frame),
            ("order", Order),
            ("decoding", Decoding),
            ("peak", Peak),
        ):
            if getattr(self, name) not in get_args(kinds):
                raise DeepPoseError(f"{name} is {getattr(self, name)!r}; it is one of {', '.join(get_args(kinds))}")
        if not 0 <= self.margin <= 10:
            raise DeepPoseError(f"margin is {self.margin}; it is a share of a person's height")
        if self.interpolation == "unrounded" and self.gcn != "none":
            raise DeepPoseError("crops are left unrounded without gcn only")
        if self.im_width is not None and not self.part.startswith("letterbox"):
            raise DeepPoseError(f"im_width is {self.im_width} with the part {self.part!r}; only a letterbox has one")
        if self.im_width is not None and not 1 <= self.im_width <= LARGEST_INPUT:
            raise DeepPoseError(f"im_width is {self.im_width}; it has to be at least 1, and at most {LARGEST_INPUT}")
        if len(self.mean) != 3 or len(self.std) != 3 or not all((self.scale, *self.std)):
            raise DeepPoseError(f"scale {self.scale}, mean {self.mean}, std {self.std} are not those of three channels")
        check_names(self.joints)
        for limb in self.limbs:
            if len(limb) != 2 or limb[0] == limb[1] or not all(0 <= joint < len(self.joints) for joint in limb):
                raise DeepPoseError(f"{limb} are not two of its {len(self.joints)} joints, as a limb's ends are")

    @property
    def told_joints(self) -> tuple[str, ...]:
        """The names of the joints, where anything but their number tells them."""
        return () if self.joints_assumed else self.joints

    @property
    def zooms(self) -> bool:
        """Whether `base_zoom` is part of what the crop is."""
        return self.part in ("joints", "joints-whole", "letterbox", "letterbox-corners")

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the input."""
        return self.im_size, self.im_size if self.im_width is None else self.im_width

    def overridden(
        self,
        *,
        im_size: int | tuple[int, int] | None = None,
        base_zoom: float | None = None,
        coord_normalize: bool | None = None,
        gcn: bool | None = None,
        decoding: Decoding | None = None,
    ) -> Preprocessing:
        """Returns a copy with what a user says in place of it; None leaves a value.

        Args:
            im_size: Side of the input, or its width and height.
            base_zoom: As the attribute, as the next is.
            coord_normalize: Likewise.
            gcn: Whether to normalise contrasts: `divide`, or `none`.
            decoding: As the attribute.

        Raises:
            DeepPoseError: A value makes no sense; width and height differ, and this is no letterbox.
        """
        width, height = im_size if isinstance(im_size, tuple) else (im_size, im_size)
        given = {"im_size": height, "base_zoom": base_zoom, "coord_normalize": coord_normalize, "decoding": decoding}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if gcn is not None:
            changes["gcn"] = "divide" if gcn else "none"
        if im_size is not None:
            changes["im_width"] = None if width == height else width
        return replace(self, **changes)


@dataclass(frozen=True)
class Progress(Record):
    """How far the training was.

    Attributes:
        epoch: Epochs finished, or None where the files do not say.
        iteration: Updates done, or None where the files do not say.
    """

    epoch: int | None = None
    iteration: int | None = None

    def __post_init__(self) -> None:
        if (self.epoch or 0) < 0 or (self.iteration or 0) < 0:
            raise DeepPoseError(f"epoch {self.epoch} and iteration {self.iteration} cannot be")


@dataclass(frozen=True)
class Optimizer:
    """An optimizer's state.

    Attributes:
        algorithm: `adam`, `momentumsgd`, `adagrad` or `rmsprop`.
        step: Number of updates done (Chainer's `t`).
        slots: `{slot: {canonical name: array}}` with Chainer's slot names: Adam `m` and `v` (first and second
            moment), MomentumSGD `v` (the velocity, which contains the learning rate and the sign:
            `v = momentum * v - lr * g`), AdaGrad `h`, RMSprop `ms`. Shapes are the parameters'.
        epoch: Chainer's own count of epochs: 0 before Chainer 5 and outside of a trainer.
        step_per_parameter: Whether Chainer's files also count the updates of each parameter, as from 3.4 on.
    """

    algorithm: str
    step: int
    slots: dict[str, dict[str, Array]]
    epoch: int = 0
    step_per_parameter: bool = False

    def without_slots(self) -> Optimizer:
        """Returns what is known of it apart from its arrays."""
        return replace(self, slots={})


@dataclass(frozen=True)
class Source(Record):
    """Where a checkpoint came from.

    Attributes:
        path: The file that was read.
        sha256: Its hash, in hexadecimal.
        format: `chainer-npz`, `chainer-hdf5`, `chainer-pickle`, `pt`, `safetensors`, `tf1` or
            `keras-hdf5`.
        layout: What of a training the file is: `model` or `snapshot`.
        wrappers: Prefixes that every key bore and that were stripped, outermost first.
        names: Which layer names its keys have: `head`, the canonical ones, or a key of some family's `naming`.
        generation: The family that the file is of: a key of `families.FAMILIES`.
        writer: The program that wrote it: a version of Chainer as `chainer-1.13.0`, `torch` or `tensorflow`. The
            arithmetic of BatchNormalization is that of the architecture's writer: another one, where PyTorch trained a
            network of Chainer's.
        writer_told_by: How the writer is known, as a phrase.
        state_path: The optimizer file that was read beside it, if any.
        origin: For a file that `converters` wrote: the Source of what it was converted from.
    """

    path: str
    sha256: str
    format: str
    layout: str = "model"
    wrappers: tuple[str, ...] = ()
    names: str = "head"
    generation: str = ""
    writer: str = ""
    writer_told_by: str = ""
    state_path: str | None = None
    origin: dict[str, object] | None = None

    def __post_init__(self) -> None:
        if self.origin is not None and self.origin.get("origin") is not None:
            raise DeepPoseError("origin has an origin")


@dataclass(frozen=True)
class Repair(Record):
    """Non-finite numbers found in one tensor.

    Attributes:
        tensor: Canonical name; `optimizer.SLOT.NAME` for optimizer state.
        nan: Count of NaN.
        inf: Count of +Inf and -Inf.
        became: What they are now: 0.0, 1.0 in a variance, or None where they were kept.
        channels: Of a variance, the first few channels that they were in.
    """

    tensor: str
    nan: int
    inf: int
    became: float | None = 0.0
    channels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.nan < 0 or self.inf < 0:
            raise DeepPoseError(f"{self.nan} NaN and {self.inf} Inf cannot be")

    def as_dict(self) -> dict[str, object]:
        """Returns the fields as JSON-ready values, the channels where there are any."""
        return {name: value for name, value in super().as_dict().items() if name != "channels" or value}


@dataclass(frozen=True)
class Checkpoint:
    """A DeepPose network's weights, with all that is needed to run it, to train on and to trust it.

    Attributes:
        architecture: The network, with its widths, joints and the BatchNormalization of its writer.
        weights: `{canonical name: array}`. Canonical names are PyTorch's state_dict names after the layer names of
            the last legacy version (`conv1.weight`, `res2.b_1.bn1.running_var`, `out_fc.bias`); shapes are PyTorch's,
            which are Chainer's too; Chainer's counter `N` is `num_batches_tracked`, 0-d int64.
        preprocessing: What the network was trained on.
        source: Where it came from.
        optimizer: Optimizer state, or None.
        progress: Epoch and iteration, or None.
        trainer: The rest of a trainer's snapshot as it was (iterators, triggers, log), by Chainer's key.
        repairs: What was changed on reading.
        notices: Choices that were made and that the user should know, one sentence each.
    """

    architecture: Architecture
    weights: dict[str, Array]
    preprocessing: Preprocessing
    source: Source
    optimizer: Optimizer | None = None
    progress: Progress | None = None
    trainer: dict[str, Array] = field(default_factory=dict)
    repairs: tuple[Repair, ...] = ()
    notices: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Returns what it is, in a line: never its arrays."""
        return f"<Checkpoint {self.title}, {self.parameters:,} parameters>"

    def _repr_html_(self) -> str:
        """Returns what is known of it as a notebook shows it."""
        return words.html_of_facts(self.title, words.facts_of(self))

    @property
    def title(self) -> str:
        """The file, the network and its joints, in a few words."""
        file = self.source.path.replace("\\", "/").rsplit("/", 1)[-1]
        return f"{file + ': ' if file else ''}{self.architecture.name}, {self.joints} joints"

    @property
    def joints(self) -> int:
        """Number of joints, read off the last layer."""
        return self.architecture.joints

    @property
    def parameters(self) -> int:
        """Number of trained numbers."""
        return parameters_of(self.architecture)

    @property
    def chainer_source(self) -> Source | None:
        """The Chainer file that the weights come from, if they come from one: it tells how to name them again."""
        origin = Source.from_dict(self.source.origin) if self.source.origin else None
        return next((s for s in (self.source, origin) if s is not None and s.format.startswith("chainer")), None)

    def tensors(self) -> Iterator[tuple[str, Array]]:
        """Yields every array with the name it has in reports: the weights, then the optimizer's slots."""
        yield from self.weights.items()
        if self.optimizer is not None:
            for slot, arrays in self.optimizer.slots.items():
                for name, array in arrays.items():
                    yield f"optimizer.{slot}.{name}", array

    def metadata(self) -> dict[str, object]:
        """Returns all but the arrays as JSON-ready values: what every format we write carries."""
        return {
            "architecture": self.architecture.as_dict(),
            "preprocessing": self.preprocessing.as_dict(),
            "writer": self.source.writer,
            "source": self.source.as_dict(),
            "progress": None if self.progress is None else self.progress.as_dict(),
            "repairs": [repair.as_dict() for repair in self.repairs],
        }

    def replace(self, **changes: Any) -> Checkpoint:
        """Returns a copy with some fields changed."""
        return replace(self, **changes)


def check_names(names: Sequence[str], what: str = "joint") -> None:
    """Refuses names of joints or limbs that could not be shown, told apart, or put into a table.

    A spreadsheet takes a cell that begins with one of `=+-@` for a formula, and runs it.

    Raises:
        DeepPoseError: It says which name, and why.
    """
    if len(names) > _MOST_NAMES:
        raise DeepPoseError(f"{len(names):,} {what}s are more than a skeleton has")
    for name in names:
        if not name or len(name) > _LONGEST_NAME or not name.isprintable() or name != name.strip():
            raise DeepPoseError(f"{name[:_LONGEST_NAME]!r} is no name of a {what}")
        if name[0] in "=+-@":
            raise DeepPoseError(f"a {what} is called {name!r}: in a table it would be a formula")
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise DeepPoseError(f"two {what}s are called {twice!r}")


def is_parameter(name: str) -> bool:
    """Tells whether a canonical name is a trained parameter, not a statistic of BatchNormalization."""
    return not name.endswith((".running_mean", ".running_var", ".num_batches_tracked"))


def trained_in(architecture: Architecture) -> list[str]:
    """Returns the names of an architecture's trained parameters: no statistics, and no buffers."""
    return [name for name in architecture.shapes if is_parameter(name) and name not in architecture.buffers]


def parameters_of(architecture: Architecture) -> int:
    """Returns the number of an architecture's trained numbers."""
    return sum(math.prod(architecture.shapes[name]) for name in trained_in(architecture))


def bytes_of(array: Array) -> memoryview:
    """Returns the bytes of a C-ordered array without copying them."""
    return array.reshape(-1).view(np.uint8).data


def as_native(array: Array) -> Array:
    """Returns the array in native byte order and C order; the same object if it already is."""
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")).reshape(array.shape)
