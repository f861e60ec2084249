"""What a report is about: one evaluation, or two side by side."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deeppose_port import metrics
from deeppose_port.data import PoseDataset
from deeppose_port.drawing.report.charts import Series
from deeppose_port.evaluate.evaluation import Evaluation
from deeppose_port.pose import Pose

Floats = npt.NDArray[np.float64]

THRESHOLDS: Floats = np.linspace(0, 0.5, 51)
"""Of the curves, as in the papers."""


@dataclass(frozen=True)
class Subject:
    """A checkpoint in a report.

    Attributes:
        style: The CSS class that colours it: `a`, or `b` for the second.
        label: `prediction`, or `old` and `new`.
        pose: The checkpoint in its backend.
        evaluation: Its answers and metrics.
        dataset: What it was asked.
    """

    style: str
    label: str
    pose: Pose
    evaluation: Evaluation
    dataset: PoseDataset

    @property
    def name(self) -> str:
        """The checkpoint's file, without its folders."""
        return Path(self.pose.checkpoint.source.path).name

    @cached_property
    def errors(self) -> Floats:
        """(N, J) pixel errors; NaN where a joint does not count, infinite where there is no finite answer."""
        evaluation = self.evaluation
        errors = metrics.pixel_errors(evaluation.predicted, evaluation.true, evaluation.visible)
        return np.where(evaluation.visible & np.isnan(errors), np.inf, errors)

    @cached_property
    def person_errors(self) -> Floats:
        """(N,) mean pixel errors; infinite for a person without an answer."""
        counted = self.evaluation.visible
        sums: Floats = np.where(counted, self.errors, 0).sum(axis=1)
        means: Floats = sums / np.maximum(counted.sum(axis=1), 1)
        return means

    @cached_property
    def boxes(self) -> Floats:
        """(N,) the larger sides of the persons' boxes of joints, in pixels."""
        return metrics.box_sizes(self.evaluation.true, self.evaluation.visible)

    @cached_property
    def lengths(self) -> dict[str, Floats]:
        """The (N,) reference lengths that the data give, by the metric that they are for."""
        evaluation, dataset = self.evaluation, self.dataset
        found: dict[str, Floats] = {}
        torso = dataset.torso_lengths
        if torso is None and evaluation.skeleton.torso is not None:
            torso = metrics.torso_lengths(evaluation.true, evaluation.skeleton.torso, evaluation.visible)
        if torso is not None:
            found["pdj"] = torso
        if dataset.head_sizes is not None:
            found["pckh"] = dataset.head_sizes
        return {**found, "pck_box": self.boxes}

    def curves(self, metric: str) -> Floats:
        """Returns (len(THRESHOLDS), J) fractions of the joints within each threshold times a metric's length."""
        evaluation, lengths = self.evaluation, self.lengths[metric]
        return metrics.pdj(evaluation.predicted, evaluation.true, lengths, evaluation.visible, THRESHOLDS.tolist())

    def overall(self, metric: str) -> Series:
        """Returns a metric's curve for the whole: PDJ's is the mean of the joints, the others' their total."""
        curves = self.curves(metric)
        weights = (self.evaluation.visible & ~np.isnan(self.lengths[metric])[:, np.newaxis]).sum(axis=0).astype(float)
        if metric == "pdj":
            weights = (weights > 0).astype(float)
        elif metric == "pckh":
            weights[list(self.evaluation.skeleton.pckh_total_excluded)] = 0
        with np.errstate(invalid="ignore"):
            values = (np.nan_to_num(curves) * weights).sum(axis=1) / weights.sum()
        return Series(self.style, self.label, values)

    def joint_curves(self, metric: str) -> dict[str, Series]:
        """Returns a metric's curves by joint, left and right as one: the mean of the two."""
        curves = self.curves(metric)
        groups: dict[str, list[int]] = {}
        for j, joint in enumerate(self.evaluation.skeleton.joints):
            groups.setdefault(joint.removeprefix("left ").removeprefix("right "), []).append(j)
        result = {}
        for name, members in groups.items():
            known = [j for j in members if not np.isnan(curves[:, j]).any()]
            values = curves[:, known].mean(axis=1) if known else np.full(len(THRESHOLDS), np.nan)
            result[name] = Series(self.style, self.label, values)
        return result
