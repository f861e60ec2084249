"""What a report is about: one evaluation, or some side by side."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from converters.values import dataclass
from deeppose_port import metrics
from deeppose_port.data import PoseDataset
from deeppose_port.data.arrays import Float64Array
from deeppose_port.drawing.report.charts import Series
from deeppose_port.metrics.evaluation import Evaluation, Measure
from deeppose_port.metrics.registry import Metric
from deeppose_port.metrics.tallies import Tally
from deeppose_port.pose import Pose

THRESHOLDS: Float64Array = np.linspace(0, 0.5, 51)
"""Of the curves, as in the papers."""

STYLES = "abc"
"""The CSS classes of the subjects, in their order."""


@dataclass(frozen=True)
class Named:
    """A checkpoint in a report.

    Attributes:
        style: The CSS class that colours it, of `STYLES`.
        label: `prediction`, `old` and `new`, or what else tells it from the others.
        pose: The checkpoint in its backend.
    """

    style: str
    label: str
    pose: Pose

    @property
    def name(self) -> str:
        """The checkpoint's file, without its folders."""
        return Path(self.pose.checkpoint.source.path).name


@dataclass(frozen=True)
class Subject(Named):
    """A checkpoint that was asked about persons.

    Attributes:
        evaluation: Its answers and metrics.
        dataset: What it was asked.
    """

    evaluation: Evaluation
    dataset: PoseDataset

    @cached_property
    def errors(self) -> Float64Array:
        """(N, J) pixel errors; NaN where a joint does not count, infinite where there is no finite answer."""
        evaluation = self.evaluation
        errors = metrics.pixel_errors(evaluation.predicted, evaluation.true, evaluation.visible)
        return np.where(evaluation.visible & np.isnan(errors), np.inf, errors)

    @cached_property
    def person_errors(self) -> Float64Array:
        """(N,) mean pixel errors; infinite for a person without an answer."""
        counted = self.evaluation.visible
        sums: Float64Array = np.where(counted, self.errors, 0).sum(axis=1)
        means: Float64Array = sums / np.maximum(counted.sum(axis=1), 1)
        return means

    def curve(self, metric: Metric) -> Measure:
        """Returns a metric at all `THRESHOLDS` at once: a row of its tally for each, and all persons in it."""
        assert metric.curve is not None
        summed = [metric.curve.tally(self.evaluation, threshold).summed() for threshold in THRESHOLDS.tolist()]
        tally = Tally(
            np.concatenate([one.scores for one in summed]),
            np.concatenate([one.counts for one in summed]),
        )
        skeleton = self.evaluation.skeleton
        return Measure(metric, tally, metric.names(skeleton), metric.excluded(skeleton))

    def overall(self, metric: Metric) -> Series:
        """Returns a metric's curve for the whole."""
        measure = self.curve(metric)
        return Series(self.style, self.label, measure.whole(measure.tally))

    def joint_curves(self, metric: Metric) -> dict[str, Series]:
        """Returns a metric's curves by joint, left and right as one: the mean of the two."""
        curves = self.curve(metric).tally.columns()
        groups: dict[str, list[int]] = {}
        for j, joint in enumerate(self.evaluation.skeleton.joints):
            groups.setdefault(joint.removeprefix("left ").removeprefix("right "), []).append(j)
        result = {}
        for name, members in groups.items():
            known = [j for j in members if not np.isnan(curves[:, j]).any()]
            values = curves[:, known].mean(axis=1) if known else np.full(len(THRESHOLDS), np.nan)
            result[name] = Series(self.style, self.label, values)
        return result
