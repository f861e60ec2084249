"""Evaluation: one pass over a dataset, every person once, all metrics in pixels of the original pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from deeppose_port import metrics
from deeppose_port.data import PoseDataset
from deeppose_port.data.batches import batches
from deeppose_port.data.crop import points_of_outputs
from deeppose_port.pose import Pose
from deeppose_port.skeletons import Skeleton

#: Fractions of the torso at which PDJ is given; the paper's headline is 0.2.
PDJ_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)


@dataclass(frozen=True)
class Evaluation:
    """What a checkpoint answers to a dataset, and how good that is.

    Attributes:
        skeleton: Names of the joints and limbs.
        outputs: (N, 2 * J) float32, as the network gives them.
        predicted: (N, J, 2) float64, pixels of the original pictures.
        true: (N, J, 2) float64, likewise.
        visible: (N, J) bool: joints whose two coordinates count.
        loss: The legacy masked mean squared error over all persons.
        mean_error_px: Mean distance over the joints that count, in pixels.
        pdj: (len(PDJ_THRESHOLDS), J) fractions; None where the skeleton has no torso.
        pdj_left_out: Persons whose torso is not annotated, and who are in no PDJ.
        pcp: (limbs,) fractions, strict, threshold 0.5.
        pckh: (J,) fractions at 0.5, and their total; None without head sizes.
        pckh_total: The pooled total; None without head sizes.
    """

    skeleton: Skeleton
    outputs: npt.NDArray[np.float32]
    predicted: npt.NDArray[np.float64]
    true: npt.NDArray[np.float64]
    visible: npt.NDArray[np.bool_]
    loss: float
    mean_error_px: float
    pdj: npt.NDArray[np.float64] | None
    pdj_left_out: int
    pcp: npt.NDArray[np.float64]
    pckh: npt.NDArray[np.float64] | None
    pckh_total: float | None

    @property
    def persons(self) -> int:
        """Number of persons."""
        return len(self.true)

    def summary(self) -> dict[str, float]:
        """Returns the few numbers that a training follows."""
        numbers = {"loss": self.loss, "mean_error_px": self.mean_error_px}
        if self.pdj is not None:
            numbers["pdj@0.2"] = metrics.mean_over_joints(self.pdj[PDJ_THRESHOLDS.index(0.2)])
        return numbers

    def as_dict(self) -> dict[str, Any]:
        """Returns the numbers as JSON-ready values; what nobody has, or what is not finite, is None."""
        names = self.skeleton.joints
        limbs = list(self.skeleton.pcp_limbs)
        pdj = None
        if self.pdj is not None:
            pdj = {
                f"{threshold:g}": _named(names, row, "mean", metrics.mean_over_joints(row))
                for threshold, row in zip(PDJ_THRESHOLDS, self.pdj, strict=True)
            }
        return {
            "persons": self.persons,
            "joints": len(names),
            "loss": _finite(self.loss),
            "mean_error_px": _finite(self.mean_error_px),
            "pdj": pdj,
            "pdj_left_out": self.pdj_left_out,
            "pcp": _named(limbs, self.pcp, "mean", metrics.mean_over_joints(self.pcp)),
            "pckh": None if self.pckh is None else _named(names, self.pckh, "total", self.pckh_total),
        }


def evaluate(
    pose: Pose,
    dataset: PoseDataset,
    *,
    batch_size: int = 32,
    head_sizes: npt.ArrayLike | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Runs a checkpoint over a dataset.

    Args:
        pose: The checkpoint.
        dataset: The persons, made into inputs by the pose's own preprocessing.
        batch_size: Persons in one pass through the network.
        head_sizes: (N,) lengths for PCKh, in pixels; None leaves PCKh out.
        progress: Called with the persons done and all of them.

    Raises:
        ValueError: The checkpoint has another number of joints than the dataset.
        DatasetError: A person cannot be made into an example.
    """
    skeleton = dataset.skeleton
    if pose.joints != len(skeleton.joints):
        raise ValueError(
            f"{pose.checkpoint.source.path} has {pose.joints} joints, but {skeleton.name} has {len(skeleton.joints)}; "
            "choose the skeleton that it was trained on"
        )
    return evaluation_of(answers_of(pose, dataset, batch_size=batch_size, progress=progress), dataset, head_sizes)


@dataclass(frozen=True)
class Answers:
    """A network's answers to some of a dataset's persons, with what they are compared with.

    Attributes:
        indices: (n,) int64, the persons.
        outputs: (n, 2 * J) float32, as the network gives them.
        targets: (n, 2 * J) float32.
        mask: (n, 2 * J) int32.
        predicted: (n, J, 2) float64, the outputs in pixels of the pictures.
    """

    indices: npt.NDArray[np.int64]
    outputs: npt.NDArray[np.float32]
    targets: npt.NDArray[np.float32]
    mask: npt.NDArray[np.int32]
    predicted: npt.NDArray[np.float64]

    @classmethod
    def merge(cls, parts: Sequence[Answers]) -> Answers:
        """Joins the answers of several processes, in the order of the persons."""
        order = np.argsort(np.concatenate([part.indices for part in parts]))
        joined = [np.concatenate([getattr(part, f.name) for part in parts])[order] for f in fields(cls)]
        return cls(*joined)


def answers_of(
    network: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]],
    dataset: PoseDataset,
    *,
    batch_size: int = 32,
    part: tuple[int, int] = (0, 1),
    progress: Callable[[int, int], None] | None = None,
) -> Answers:
    """Runs a network over a dataset, or over the share of it that one of several processes has.

    Args:
        network: (N, 3, H, W) float32 -> (N, 2 * J) float32.
        dataset: The persons.
        batch_size: Persons in one pass.
        part: Which share: `(0, 2)` is every other person, from the first on.
        progress: As for `evaluate`.
    """
    indices = range(part[0], len(dataset), part[1])
    joints = 2 * len(dataset.skeleton.joints)
    outputs = [np.empty((0, joints), np.float32)]
    targets = [np.empty((0, joints), np.float32)]
    masks = [np.empty((0, joints), np.int32)]
    for inputs, target, mask in batches(dataset, batch_size, indices):
        outputs.append(network(inputs))
        targets.append(target)
        masks.append(mask)
        if progress is not None:
            progress(sum(map(len, outputs)), len(indices))
    answers = np.concatenate(outputs)
    predicted = [
        points_of_outputs(output, dataset.crop(i), dataset.preprocessing)
        for i, output in zip(indices, answers, strict=True)
    ]
    return Answers(
        np.asarray(indices, np.int64),
        answers,
        np.concatenate(targets),
        np.concatenate(masks),
        np.reshape(predicted, (len(indices), -1, 2)) if predicted else np.empty((0, joints // 2, 2)),
    )


def evaluation_of(answers: Answers, dataset: PoseDataset, head_sizes: npt.ArrayLike | None = None) -> Evaluation:
    """Computes all metrics of the answers to a whole dataset; `head_sizes` as for `evaluate`."""
    skeleton, predicted = dataset.skeleton, answers.predicted
    true, visible = dataset.joints, dataset.visible
    pdj, left_out = None, 0
    if skeleton.torso is not None:
        torso = metrics.torso_lengths(true, skeleton.torso, visible)
        pdj = metrics.pdj(predicted, true, torso, visible, PDJ_THRESHOLDS)
        left_out = int(np.isnan(torso).sum())
    pckh, total = None, None
    if head_sizes is not None:
        pckh = metrics.pckh(predicted, true, head_sizes, visible)
        total = metrics.pckh_total(predicted, true, head_sizes, visible, excluded=skeleton.pckh_total_excluded)
    return Evaluation(
        skeleton=skeleton,
        outputs=answers.outputs,
        predicted=predicted,
        true=true,
        visible=visible,
        loss=metrics.masked_mse(answers.outputs, answers.targets, answers.mask),
        mean_error_px=metrics.mean_error(predicted, true, visible),
        pdj=pdj,
        pdj_left_out=left_out,
        pcp=metrics.pcp(predicted, true, list(skeleton.pcp_limbs.values()), visible),
        pckh=pckh,
        pckh_total=total,
    )


def _named(
    names: Sequence[str], values: npt.NDArray[np.float64], summary: str, summed: float | None
) -> dict[str, float | None]:
    numbers = {name: _finite(float(value)) for name, value in zip(names, values, strict=True)}
    return {**numbers, summary: None if summed is None else _finite(summed)}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
