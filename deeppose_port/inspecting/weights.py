"""What a checkpoint's weights look like: their numbers, where NaN sit, the first layer's filters, and histograms."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from converters import Checkpoint
from converters.errors import DeepPoseError
from converters.files import refuse_targets, staged
from converters.folders import new_folder
from converters.values import dataclass
from deeppose_port.drawing.draw import OUTLINE, RIGHT, write_picture
from deeppose_port.drawing.lines import HEIGHT, width_of, write_line
from deeppose_port.inspecting.activity import Activity

Picture = npt.NDArray[np.uint8]

_BINS = 40
_MOST_DRAWN = 1 << 22
#: The longer side of a filter in the picture of them, about, in pixels; and the line of it that tells of dead ones.
_FILTER, _OF_DEAD = 96, 2


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

    def as_dict(self) -> dict[str, object]:
        """Returns the row as JSON-ready values."""
        return {
            **vars(self),
            "shape": list(self.shape),
            "channels": [list(channel) for channel in self.channels],
            "histogram": list(self.histogram),
        }


def tensor_rows(checkpoint: Checkpoint) -> list[TensorRow]:
    """Returns a row for each tensor of floating-point numbers; read the checkpoint with nonfinite="keep" to see NaN."""
    return [_tensor_row(name, array) for name, array in checkpoint.weights.items() if array.dtype.kind == "f"]


def _tensor_row(name: str, array: npt.NDArray[np.generic]) -> TensorRow:
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


def filters_picture(checkpoint: Checkpoint, dead: Collection[int] = ()) -> Picture:
    """Draws the first layer's filters side by side, enlarged, in the colours of the pictures that they look at.

    Each is grey where it is 0 and scaled by its own largest weight; NaN and Inf are black and white chequers. Above it
    stands its number.

    Args:
        checkpoint: Whose.
        dead: The filters that no picture activates, which are marked.

    Returns:
        (H, W, 3) uint8, BGR.

    Raises:
        DeepPoseError: The first layer does not look at colours.
    """
    name = next(iter(checkpoint.architecture.shapes))
    weights = checkpoint.weights[name]
    if weights.ndim != 4 or weights.shape[1] != 3:
        raise DeepPoseError(f"{checkpoint.source.path}: {name} has the shape {weights.shape}, it looks at no colours")
    count, _, height, width = weights.shape
    scale, gap = max(1, round(_FILTER / max(height, width))), 6
    columns = math.ceil(math.sqrt(count))
    rows = -(-count // columns)
    cell_height, cell_width = scale * height + HEIGHT + gap, scale * width + gap
    lines = [
        f"{name}: {count} filters of {height} x {width}, numbered from 0",
        "grey is 0, each by its own largest weight; chequers are not finite",
        *([f"{len(dead)} of {count} dead: above 0 nowhere in any picture"] if dead else []),
    ]
    top = len(lines) * HEIGHT
    across = max(columns * cell_width, *map(width_of, lines)) + gap
    sheet = np.full((top + rows * cell_height + gap, across, 3), 255, np.uint8)
    for i, line in enumerate(lines):
        write_line(sheet, line, gap, i * HEIGHT, across - gap, RIGHT if i == _OF_DEAD else OUTLINE)
    for i, filter in enumerate(weights.transpose(0, 2, 3, 1).astype(np.float64)):
        if checkpoint.preprocessing.colour == "RGB":
            filter = filter[..., ::-1]
        finite = np.isfinite(filter)
        largest = np.abs(filter[finite]).max(initial=0.0) or 1.0
        shown = np.where(finite, 127.5 + 127.5 * np.where(finite, filter, 0.0) / largest, 0.0).round().astype(np.uint8)
        shown = _enlarged(shown, scale)
        broken = _enlarged(~finite.all(axis=2), scale)
        shown[broken] = 255 * (np.indices(broken.shape).sum(axis=0)[broken, np.newaxis] % 2)
        y, x = top + cell_height * (i // columns), gap + cell_width * (i % columns)
        text, colour = (f"{i} dead", RIGHT) if i in dead else (str(i), OUTLINE)
        write_line(sheet, text, x, y, scale * width, colour)
        sheet[y + HEIGHT : y + HEIGHT + scale * height, x : x + scale * width] = shown
    return sheet


def _enlarged(pixels: npt.NDArray[np.generic], scale: int) -> npt.NDArray[np.generic]:
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


def checked_targets(
    output: str | os.PathLike[str], parts: Iterable[str] = ("",), *, force: bool, read: Path | None = None
) -> list[Path]:
    """Returns where `filters.png` and `histograms.png` go.

    Args:
        output: The folder.
        parts: What the networks of a cascade are called in files, whose pictures begin with that; empty for a network
            by itself.
        force: Whether files that exist may be replaced.
        read: A picture, or a folder of them, that may not.

    Raises:
        DeepPoseError: One of them exists, or the folder is a file.
    """
    folder = new_folder(output)
    begins = [f"{part.replace('.', '_')}_" if part else "" for part in parts]
    targets = [folder / f"{begin}{name}.png" for begin in begins for name in ("filters", "histograms")]
    inputs = [] if read is None else [read, *(read / target.name for target in targets)]
    refuse_targets(targets, force, read=inputs, instead="-o names another folder")
    return targets


def write_pictures(
    networks: Mapping[str, tuple[Checkpoint, Sequence[TensorRow]]],
    output: str | os.PathLike[str],
    seen: Mapping[str, Activity | DeepPoseError] = MappingProxyType({}),
    *,
    force: bool = False,
) -> list[Path]:
    """Writes `filters.png` and `histograms.png`, of a cascade for each network.

    Args:
        networks: Whose filters, and their tensors; NaN show if they were read with nonfinite="keep". By what they are
            called in files, see `checked_targets`.
        output: The folder to write to; it is made if need be.
        seen: What some of the networks make of pictures, which tells dead filters.
        force: Whether files that exist may be replaced.

    Raises:
        DeepPoseError: A file exists, or the first layer does not look at colours.
    """
    targets = checked_targets(output, networks, force=force)
    names = iter(target.name for target in targets)
    pictures = [
        filters_picture(checkpoint, _dead(checkpoint, seen.get(part))) for part, (checkpoint, _) in networks.items()
    ]
    with staged(Path(output), force=force) as stage:
        for picture, (_, rows) in zip(pictures, networks.values(), strict=True):
            write_picture(stage / next(names), picture)
            draw_histograms(rows, stage / next(names))
    return targets


def _dead(checkpoint: Checkpoint, seen: Activity | DeepPoseError | None) -> tuple[int, ...]:
    """Returns a network's first filters that no picture activates, as far as anything tells."""
    first = checkpoint.weights[next(iter(checkpoint.architecture.shapes))]
    return seen.dead_filters(len(first)) if isinstance(seen, Activity) else ()
