"""The first weights of a network that starts anew: the same numbers in either backend."""

from __future__ import annotations

import math

import numpy as np

from converters import Architecture, Checkpoint, Preprocessing, Source
from converters.checkpoint import Array
from converters.errors import DeepPoseError
from converters.families import grown
from converters.networks import (
    OUTPUTS,
    TABLES,
    TORCH_WRITER,
    BatchNormalization,
    Convolution,
    Layer,
    Linear,
    OwnTable,
    PReLU,
    Scale,
    engines_of,
    feature_size,
    side_multiple,
    walk,
)
from converters.networks.flow import learned_in
from deeppose_port.options import refuse_unknown

#: A network that starts anew has the BatchNormalization of the last Chainer.
WRITER = "chainer-7.8.1"


def initial_architecture(
    name: str, joints: int, im_size: int, width: str | None = None, stacks: int | None = None
) -> Architecture:
    """Returns an architecture to start from.

    Args:
        name: A key of `networks.TABLES`, or an architecture that a family makes of any number of stacks.
        joints: Number of joints.
        im_size: Side of the input.
        width: A factor on every layer's channels (`0.25`), or the channels of each layer but the last, in the order of
            the layers (`8,12,16,16,12,32,32`); None for the table's own.
        stacks: Of one that has some; None for its program's.

    Raises:
        DeepPoseError: There is no such architecture, the width does not fit it, or the input is too small for it.
    """
    make = grown(name)
    if make is not None:
        return _grown(name, make(joints, stacks, width), joints, im_size)
    if stacks is not None:
        raise DeepPoseError(f"{name} has no stacks: leave --stacks out")
    refuse_unknown("architecture", name, TABLES)
    side, multiple = feature_size(name, im_size), side_multiple(TABLES[name])
    if im_size % multiple:
        raise DeepPoseError(f"{name} takes inputs whose sides are multiples of {multiple} pixels, not {im_size}")
    if side < 1:
        raise DeepPoseError(f"im_size {im_size} is too small for {name}")
    rows = {r.name: r.channels for r in walk(TABLES[name]) if isinstance(r, Convolution | Linear)}
    rows = {row: channels for row, channels in rows.items() if channels != OUTPUTS}
    widths = {} if width is None else _parse_width(width, name, rows)
    architecture = Architecture(name, joints, widths, side, WRITER if "chainer" in engines_of(name) else TORCH_WRITER)
    try:
        assert architecture.steps
    except DeepPoseError as error:
        raise DeepPoseError(f"with the width {width!r} the branches of {name} do not fit each other") from error
    return architecture


def _grown(name: str, layers: tuple[Layer, ...], joints: int, im_size: int) -> Architecture:
    """Returns an architecture with a table of its own."""
    try:
        architecture = Architecture(name, joints, writer=TORCH_WRITER, own=OwnTable(layers, (im_size, im_size)))
        assert architecture.steps
    except DeepPoseError as error:
        raise DeepPoseError(f"{name} cannot take inputs of {im_size} pixels: {error}") from error
    return architecture


def _parse_width(width: str, name: str, rows: dict[str, int]) -> dict[str, int]:
    """Returns the channels of each row that a width makes of the table's."""
    parts = width.split(",")
    try:
        factor = float(width) if len(parts) == 1 else 1.0
        channels = [] if len(parts) == 1 else [int(part) for part in parts]
    except ValueError:
        raise DeepPoseError(f"the width {width!r} is neither a factor nor channels with commas between") from None
    if channels and len(channels) != len(rows):
        raise DeepPoseError(f"{name} has {len(rows)} layers before the last ({', '.join(rows)}), not {len(channels)}")
    if not min(factor, *channels, 1) > 0 or not math.isfinite(factor):
        raise DeepPoseError(f"the width {width!r} has to be positive")
    return dict(zip(rows, channels or [max(1, round(factor * table)) for table in rows.values()], strict=True))


def initial_checkpoint(architecture: Architecture, preprocessing: Preprocessing, seed: int) -> Checkpoint:
    """Draws the first weights as Chainer does: W from N(0, scale / sqrt(fan-in)), b 0, gamma 1, beta 0, slopes 0.25.

    Args:
        architecture: The network.
        preprocessing: What it is going to be trained on.
        seed: Of the random numbers.
    """
    random = np.random.default_rng([seed, 0x1417])
    scales = {r.name: r.scale for r in walk(architecture.layers) if isinstance(r, Convolution)}
    normalized = {r.name for r in walk(architecture.layers) if isinstance(r, BatchNormalization | Scale)}
    slopes = {r.name for r in walk(architecture.layers) if isinstance(r, PReLU)}
    learned = learned_in(architecture.steps)
    variance = architecture.batch_normalization.initial_variance
    weights: dict[str, Array] = {}
    for name, shape in architecture.shapes.items():
        layer, _, part = name.rpartition(".")
        if part == "num_batches_tracked":
            weights[name] = np.zeros((), np.int64)
        elif name in learned and not learned[name].random:
            weights[name] = learned[name].begins
        elif part == "running_var":
            weights[name] = np.full(shape, variance, np.float32)
        elif part in ("bias", "running_mean"):
            weights[name] = np.zeros(shape, np.float32)
        elif layer in slopes:
            weights[name] = np.full(shape, 0.25, np.float32)
        elif layer in normalized:
            weights[name] = np.ones(shape, np.float32)
        else:
            deviation = scales.get(layer, 1.0) / float(np.sqrt(np.prod(shape[1:])))
            weights[name] = random.standard_normal(shape, np.float32) * np.float32(deviation)
    source = Source(path="", sha256="", format="", writer=architecture.writer, writer_told_by="started anew")
    return Checkpoint(architecture, weights, preprocessing, source)
