"""What a report says of a comparison: the layers of its networks, and the numbers of both sides."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from converters.values import dataclass
from deeppose_port.drawing.report import charts
from deeppose_port.evaluate.cascades import CascadeComparison
from deeppose_port.evaluate.differences import Joints, LayerRow, MetricRow, shape_text, told_once
from deeppose_port.evaluate.verdict import TOLERANCE_SOURCE, Comparison, Side
from deeppose_port.metrics.shown import scientific


@dataclass(frozen=True)
class Layer:
    """A layer's row: its largest difference, the relative one and the tolerance as text."""

    name: str
    shape: str
    numbers: list[str]
    parted: bool


@dataclass(frozen=True)
class Network:
    """A network's layers on both sides.

    Attributes:
        name: What it is called in files of a cascade; empty of a single network.
        value: Its comparison.
        chart: Of the layers.
        layers: Their rows.
        zeros: How many layers do not differ at all.
    """

    name: str
    value: Comparison
    chart: Markup
    layers: list[Layer]
    zeros: int


@dataclass(frozen=True)
class Certificate:
    """What the page says of a comparison.

    Attributes:
        value: The comparison.
        sides: Old and new, of a cascade their first stage.
        source: Where the tolerance is from.
        networks: Of which there is one, or those of a cascade.
        ways: Of a cascade, where each side has the joints from its own stage before: a stage, and how far apart.
        input_sha256: Of old's inputs and of new's.
        joints: The answers.
        metrics: Every number of both sides.
        agreeing: How many of them agree in every digit shown.
        moved: Those that are not equal.
    """

    value: Comparison | CascadeComparison
    sides: tuple[Side, Side]
    source: str
    networks: list[Network]
    ways: list[tuple[str, str]]
    input_sha256: tuple[str, str]
    joints: Joints
    metrics: Sequence[MetricRow]
    agreeing: int
    moved: Sequence[MetricRow]


def certificate_of(comparison: Comparison | CascadeComparison, sides: tuple[Side, Side]) -> Certificate:
    """Returns what the page says of a comparison."""
    if isinstance(comparison, Comparison):
        networks, ways, joints = {"": comparison}, [], comparison.joints
        sums = comparison.old.input_sha256, comparison.new.input_sha256
    else:
        networks, joints, sums = comparison.networks, comparison.last.joints, comparison.input_sha256
        ways = [(f"stage {stage.number}", stage.joints.finding) for stage in comparison.stages]
    rows = told_once(comparison.metrics)
    return Certificate(
        comparison,
        sides,
        source=TOLERANCE_SOURCE,
        networks=[_network(name, one) for name, one in networks.items()],
        ways=ways,
        input_sha256=sums,
        joints=joints,
        metrics=rows,
        agreeing=sum(row.agrees for row in rows),
        moved=[row for row in rows if row.difference],
    )


def _network(name: str, comparison: Comparison) -> Network:
    rows = comparison.layers
    chart = charts.layers(
        f"Relative differences of the layers{f' of {name}' if name else ''}",
        [row.name for row in rows],
        [row.relative for row in rows],
        [row.tolerance for row in rows],
    )
    return Network(name, comparison, chart, [_layer(row) for row in rows], sum(row.maximum == 0 for row in rows))


def _layer(row: LayerRow) -> Layer:
    shapes = dict.fromkeys(
        shape_text(shape).replace(" x ", " \N{MULTIPLICATION SIGN} ") for shape in (row.old_shape, row.new_shape)
    )
    numbers = [scientific(value) for value in (row.maximum, row.relative, row.tolerance)]
    return Layer(row.name, " / ".join(shapes), numbers, row.parted)
