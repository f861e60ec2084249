"""What a checkpoint looks like inside: its filters and weights, where NaN sit, its dead units, and what it still sees.

Many networks of the legacy program have collapsed: without contrast normalisation, or at the default learning rates,
their ReLUs died in the first iterations, and they answer the mean pose to every picture at a loss that looks well.
"""

from __future__ import annotations

import math
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from converters import Checkpoint
from converters.checkpoint import Preprocessing
from deeppose_port.data import PoseDataset
from deeppose_port.data.crop import Crop, network_input
from deeppose_port.pose import Pose
from deeppose_port.predict import files_in, read_picture

Floats = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]

#: Standard deviation of the answers over pictures, as a part of the crop's side, below which a network is called
#: constant and nearly constant. Legacy networks that had collapsed had 0 to 5.6e-3 (measured), others 2.4e-2 and more.
CONSTANT, NEARLY_CONSTANT = 1e-3, 1e-2
#: Below this part of a layer's typical value, what differs between pictures is called nothing.
_NOTHING = 1e-3

_BATCH = 16
_BINS = 40
_MOST_DRAWN = 1 << 22
_RELU = re.compile(r"(.*\.)?relu(_\d+)?")


@dataclass(frozen=True)
class TensorRow:
    """A tensor's numbers.

    Attributes:
        name: Canonical name.
        shape: Its shape.
        mean: Of its finite numbers, as the next three are; None if it has none.
        std: Standard deviation.
        minimum: Smallest.
        maximum: Largest.
        zeros: How many are exactly 0.
        nan: Count of NaN.
        inf: Count of +Inf and -Inf.
        channels: Output channels (along the first axis) with NaN or Inf: their indices and how many they have.
        histogram: Counts of the finite numbers in 40 bins from the smallest to the largest; of at most 4 million of
            them, evenly spaced.
    """

    name: str
    shape: tuple[int, ...]
    mean: float | None
    std: float | None
    minimum: float | None
    maximum: float | None
    zeros: int
    nan: int
    inf: int
    channels: tuple[tuple[int, int], ...]
    histogram: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    def as_dict(self) -> dict[str, Any]:
        """Returns the row as JSON-ready values."""
        return {
            **vars(self),
            "shape": list(self.shape),
            "channels": [list(channel) for channel in self.channels],
            "histogram": list(self.histogram),
        }


@dataclass(frozen=True)
class LayerRow:
    """What a layer makes of the pictures.

    Attributes:
        name: As `backends.activations.layer_names` has it.
        shape: (C, H, W) or (C,).
        dead_units: Channels that are not above 0 anywhere in any picture; None for a layer that is no ReLU.
        active: Share of its outputs that are above 0; None likewise.
        variation: Standard deviation over the pictures, as a part of the layer's root mean square; NaN if either is.
    """

    name: str
    shape: tuple[int, ...]
    dead_units: tuple[int, ...] | None
    active: float | None
    variation: float

    @property
    def dead(self) -> int | None:
        """How many `dead_units` there are."""
        return None if self.dead_units is None else len(self.dead_units)

    def as_dict(self) -> dict[str, Any]:
        """Returns the row as JSON-ready values."""
        variation = self.variation if math.isfinite(self.variation) else None
        dead_units = None if self.dead_units is None else list(self.dead_units)
        return {
            "name": self.name,
            "shape": list(self.shape),
            "dead": self.dead,
            "dead_units": dead_units,
            "active": self.active,
            "variation": variation,
        }


@dataclass(frozen=True)
class Activity:
    """What a network makes of some pictures.

    Attributes:
        layers: Its layers, in their order.
        samples: How many pictures.
        described: What they are.
        output_std: Root mean square over the outputs of their standard deviation over the pictures, as a part of the
            crop's side.
        im_size: The crop's side in pixels.
    """

    layers: tuple[LayerRow, ...]
    samples: int
    described: str
    output_std: float
    im_size: int

    @property
    def verdict(self) -> str:
        """`varies`, `nearly constant`, `constant` or `not finite`."""
        if not math.isfinite(self.output_std):
            return "not finite"
        if self.output_std < CONSTANT:
            return "constant"
        return "nearly constant" if self.output_std < NEARLY_CONSTANT else "varies"

    @property
    def blind_from(self) -> str | None:
        """The first layer from which on nothing differs between the pictures; None where something does to the end."""
        blind = None
        for row in reversed(self.layers):
            if not row.variation < _NOTHING:
                break
            blind = row.name
        return blind

    @property
    def sentence(self) -> str:
        """The verdict for people."""
        moved = f"its joints move by {self.output_std * self.im_size:.2g} px of the crop's {self.im_size}"
        over = f"over {self.samples} {self.described} {moved} (standard deviation)"
        match self.verdict:
            case "not finite":
                return f"The network answers NaN or infinity to {self.samples} {self.described}."
            case "constant":
                blind = self.blind_from
                since = "" if blind is None else f"; from {blind} on nothing tells them apart"
                return f"The network has collapsed to a constant answer: {over}{since}."
            case "nearly constant":
                return f"The network has all but collapsed to a constant answer: {over}."
            case _:
                return f"The network has not collapsed to a constant answer: {over}."

    def as_dict(self) -> dict[str, Any]:
        """Returns the activity as JSON-ready values."""
        return {
            "verdict": self.verdict,
            "sentence": self.sentence,
            "samples": self.samples,
            "pictures": self.described,
            "output_std": self.output_std if math.isfinite(self.output_std) else None,
            "blind_from": self.blind_from,
            "layers": [row.as_dict() for row in self.layers],
        }


# --- weights ----------------------------------------------------------------------------------------------------------


def tensor_rows(checkpoint: Checkpoint) -> list[TensorRow]:
    """Returns a row for each tensor of floating-point numbers; read the checkpoint with nonfinite="keep" to see NaN."""
    return [_tensor_row(name, array) for name, array in checkpoint.weights.items() if array.dtype.kind == "f"]


def _tensor_row(name: str, array: npt.NDArray[Any]) -> TensorRow:
    finite = np.isfinite(array)
    values = array if finite.all() else array[finite]
    channels: tuple[tuple[int, int], ...] = ()
    if values is not array:
        broken = (~finite).reshape(len(array) if array.ndim else 1, -1).sum(axis=1)
        channels = tuple((int(i), int(broken[i])) for i in np.flatnonzero(broken))
    nan = int(np.isnan(array).sum()) if channels else 0
    low = high = mean = std = None
    histogram = np.zeros(_BINS, np.int64)
    if values.size:
        low, high = float(values.min()), float(values.max())
        mean, std = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
        drawn = values.reshape(-1)[:: -(-values.size // _MOST_DRAWN)]
        histogram = np.histogram(drawn.astype(np.float64), _BINS, (low, high))[0]
    return TensorRow(
        name,
        tuple(array.shape),
        mean,
        std,
        low,
        high,
        zeros=int(values.size - np.count_nonzero(values)),
        nan=nan,
        inf=int(array.size - values.size) - nan,
        channels=channels,
        histogram=tuple(map(int, histogram)),
    )


def filters_picture(checkpoint: Checkpoint) -> Picture:
    """Draws the first layer's filters side by side, enlarged, in the colours of the pictures that they look at.

    Each is grey where it is 0 and scaled by its own largest weight; NaN and Inf are black and white chequers.

    Returns:
        (H, W, 3) uint8, BGR.

    Raises:
        ValueError: The first layer does not look at colours.
    """
    name = next(iter(checkpoint.architecture.shapes))
    weights = checkpoint.weights[name]
    if weights.ndim != 4 or weights.shape[1] != 3:
        raise ValueError(f"{checkpoint.source.path}: {name} has the shape {weights.shape}, it looks at no colours")
    count, _, height, width = weights.shape
    scale, gap = max(1, round(44 / max(height, width))), 2
    columns = math.ceil(math.sqrt(count))
    rows = -(-count // columns)
    cell_height, cell_width = scale * height + gap, scale * width + gap
    sheet = np.full((rows * cell_height + gap, columns * cell_width + gap, 3), 255, np.uint8)
    for i, filter in enumerate(weights.transpose(0, 2, 3, 1).astype(np.float64)):
        if checkpoint.preprocessing.colour == "RGB":
            filter = filter[..., ::-1]
        finite = np.isfinite(filter)
        largest = np.abs(filter[finite]).max(initial=0.0) or 1.0
        shown = np.where(finite, 127.5 + 127.5 * np.where(finite, filter, 0.0) / largest, 0.0).round().astype(np.uint8)
        shown = _enlarged(shown, scale)
        broken = _enlarged(~finite.all(axis=2), scale)
        shown[broken] = 255 * (np.indices(broken.shape).sum(axis=0)[broken, np.newaxis] % 2)
        y, x = gap + cell_height * (i // columns), gap + cell_width * (i % columns)
        sheet[y : y + scale * height, x : x + scale * width] = shown
    return sheet


def _enlarged(pixels: npt.NDArray[Any], scale: int) -> npt.NDArray[Any]:
    return pixels.repeat(scale, axis=0).repeat(scale, axis=1)


def draw_histograms(rows: Sequence[TensorRow], path: Path) -> None:
    """Draws how each layer's weights (tensors of two axes and more) are distributed, as PNG; counts on a log scale."""
    from matplotlib.figure import Figure

    weights = [row for row in rows if len(row.shape) > 1]
    columns = min(4, len(weights))
    lines = -(-len(weights) // columns)
    height = 1.7 * lines + 0.4
    figure = Figure(figsize=(2.6 * columns + 0.4, height))
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    # Not by a layout engine, which takes many times as long for the 54 layers of a ResNet.
    figure.subplots_adjust(left=0.08, right=0.99, bottom=0.3 / height, top=1 - 0.3 / height, wspace=0.25, hspace=0.6)
    for axis, row in zip(axes, weights, strict=False):
        if row.minimum is not None and row.maximum is not None:
            low, high = row.minimum, row.maximum
            edges = np.linspace(low, high, _BINS + 1) if high > low else np.linspace(low - 0.5, low + 0.5, _BINS + 1)
            axis.stairs(row.histogram, edges, fill=True, color="#0072B2")
            axis.set_yscale("log")
            axis.set_ylim(bottom=0.5)
            axis.minorticks_off()
            axis.locator_params(axis="x", nbins=4)
        broken = f", {row.nan + row.inf} not finite" if row.nan + row.inf else ""
        axis.set_title(f"{row.name}{broken}", fontsize=8, color="#D55E00" if broken else "black")
        axis.tick_params(labelsize=6)
        axis.axvline(0, color="black", linewidth=0.5)
    for axis in axes[len(weights) :]:
        axis.set_axis_off()
    figure.supylabel("number of weights", fontsize=8)
    figure.savefig(path, format="png", dpi=120)


# --- activity ---------------------------------------------------------------------------------------------------------


def synthetic_pictures(count: int, side: int, seed: int = 0) -> Iterator[Picture]:
    """Makes noise with the spectrum of photographs, amplitudes as the frequency's inverse.

    Field, "Relations between the statistics of natural images and the response properties of cortical cells", Journal
    of the Optical Society of America A 4, 1987.

    Yields:
        (side, side, 3) uint8.
    """
    random = np.random.default_rng(seed)
    frequencies = np.fft.fftfreq(side)
    distance = np.hypot(frequencies[:, np.newaxis], frequencies)
    distance[0, 0] = math.inf  # the mean is set below
    for _ in range(count):
        spectrum = np.fft.fft2(random.standard_normal((side, side, 3)), axes=(0, 1)) / distance[..., np.newaxis]
        noise = np.fft.ifft2(spectrum, axes=(0, 1)).real
        noise /= noise.std(axis=(0, 1))
        yield np.clip(127.5 + 50 * noise, 0, 255).astype(np.uint8)


def inputs_of_synthetic(preprocessing: Preprocessing, count: int, seed: int = 0) -> Iterator[Floats]:
    """Makes a network's inputs of synthetic pictures."""
    side = preprocessing.im_size
    for picture in synthetic_pictures(count, side, seed):
        yield network_input(picture, Crop(0, 0, side, side, side), preprocessing)


def inputs_of_files(source: Path, preprocessing: Preprocessing, count: int, seed: int = 0) -> Iterator[Floats]:
    """Makes a network's inputs of a picture or of some of a folder's, each as a whole.

    Raises:
        ValueError: There is no picture, or one cannot be read.
    """
    for file in _some(files_in(source), count, seed):
        picture = read_picture(file)
        yield network_input(
            picture, Crop(0, 0, picture.shape[1], picture.shape[0], preprocessing.im_size), preprocessing
        )


def inputs_of_persons(dataset: PoseDataset, count: int, seed: int = 0) -> Iterator[Floats]:
    """Makes a network's inputs of some of a dataset's persons."""
    for index in _some(range(len(dataset)), count, seed):
        yield dataset[index][0]


def _some(items: Sequence[Any], count: int, seed: int) -> list[Any]:
    """Returns at most `count` items, chosen by chance, in their order."""
    if len(items) <= count:
        return list(items)
    chosen = np.random.default_rng(seed).choice(len(items), count, replace=False)
    return [items[i] for i in sorted(chosen.tolist())]


def activity(pose: Pose, inputs: Iterable[Floats], described: str) -> Activity:
    """Looks at what a network makes of pictures, layer by layer.

    Args:
        pose: The network.
        inputs: (3, side, side) float32 each.
        described: What the pictures are, in the plural.

    Raises:
        ValueError: There are fewer than two pictures, so that nothing can differ between them.
    """
    layers: dict[str, _Moments] = {}
    for batch in _batches(inputs):
        for name, outputs in pose.activations(batch):
            layers.setdefault(name, _Moments()).add(outputs)
    last = list(layers.values())[-1] if layers else _Moments()
    if last.count < 2:
        raise ValueError(f"{last.count} {described}: whether answers differ can be told of two pictures and more")
    scale = 1.0 if pose.preprocessing.coord_normalize else 1.0 / pose.preprocessing.im_size
    return Activity(
        tuple(moments.row(name) for name, moments in layers.items()),
        last.count,
        described,
        scale * last.deviation(),
        pose.preprocessing.im_size,
    )


def _batches(inputs: Iterable[Floats]) -> Iterator[Floats]:
    batch: list[Floats] = []
    for one in inputs:
        batch.append(one)
        if len(batch) == _BATCH:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


@dataclass
class _Moments:
    """A layer's outputs over the pictures, summed up: Welford's and Chan's running mean and squares about it."""

    count: int = 0
    positive: int = 0
    _mean: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(()))
    _squares: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(()))
    _largest: npt.NDArray[np.float64] = field(default_factory=lambda: np.array(-math.inf))

    def add(self, outputs: Floats) -> None:
        """Adds a batch's outputs, (N, …)."""
        values, added = outputs.astype(np.float64), len(outputs)
        with np.errstate(invalid="ignore", over="ignore"):
            mean = values.mean(axis=0)
            squares = np.square(values - mean).sum(axis=0)
            apart = mean - self._mean
            total = self.count + added
            self._squares = self._squares + squares + np.square(apart) * (self.count * added / total)
            self._mean = self._mean + apart * (added / total)
        self.count = total
        self.positive += int((outputs > 0).sum())
        channels = values.reshape(added, values.shape[1], -1)
        self._largest = np.maximum(self._largest, channels.max(axis=(0, 2)))

    def deviation(self) -> float:
        """Returns the root mean square over the outputs of their standard deviation."""
        return float(np.sqrt((self._squares / self.count).mean()))

    def row(self, name: str) -> LayerRow:
        """Returns what was summed up."""
        with np.errstate(invalid="ignore", over="ignore"):
            deviation = self.deviation()
            typical = math.hypot(deviation, float(np.sqrt(np.square(self._mean).mean())))
        is_relu = _RELU.fullmatch(name) is not None
        return LayerRow(
            name,
            tuple(self._mean.shape),
            dead_units=tuple(np.flatnonzero(self._largest <= 0).tolist()) if is_relu else None,
            active=self.positive / (self.count * self._mean.size) if is_relu else None,
            variation=deviation / typical if typical else 0.0,
        )


# --- files ------------------------------------------------------------------------------------------------------------


def checked_targets(output: str | os.PathLike[str], *, force: bool) -> tuple[Path, Path]:
    """Returns where `filters.png` and `histograms.png` go.

    Raises:
        ValueError: One of them exists.
    """
    targets = Path(output) / "filters.png", Path(output) / "histograms.png"
    for target in targets:
        if target.exists() and not force:
            raise ValueError(f"{target}: it exists already (--force replaces it, -o names another folder)")
    return targets


def write_pictures(
    checkpoint: Checkpoint, rows: Sequence[TensorRow], output: str | os.PathLike[str], *, force: bool = False
) -> list[Path]:
    """Writes `filters.png` and `histograms.png`.

    Args:
        checkpoint: Whose filters; NaN show if it was read with nonfinite="keep".
        rows: Its tensors.
        output: The folder to write to; it is made if need be.
        force: Whether files that exist may be replaced.

    Raises:
        ValueError: A file exists, or the first layer does not look at colours.
    """
    targets = checked_targets(output, force=force)
    picture = filters_picture(checkpoint)
    Path(output).mkdir(parents=True, exist_ok=True)
    temporary = [target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp") for target in targets]
    try:
        temporary[0].write_bytes(cv2.imencode(".png", picture)[1].tobytes())
        draw_histograms(rows, temporary[1])
        for source, target in zip(temporary, targets, strict=True):
            os.replace(source, target)
    finally:
        for source in temporary:
            source.unlink(missing_ok=True)
    return list(targets)
