"""Evaluation: one pass over a dataset, every person once, all metrics in pixels of the original pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from converters.errors import DeepPoseError
from deeppose_port import metrics
from deeppose_port.data import PoseDataset
from deeppose_port.data.batches import batches
from deeppose_port.data.skeletons import Skeleton
from deeppose_port.data.view import input_points
from deeppose_port.metrics.tallies import Tally, interval, resample
from deeppose_port.pose import Pose

#: Fractions of the torso at which PDJ is given; the paper's headline is 0.2.
PDJ_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)
#: Fractions of the box's larger side at which PCK is given: those of Parse and Buffy (Yang and Ramanan, 2013).
BOX_THRESHOLDS = (0.1, 0.2)
#: The metrics by their names in `Evaluation.measures`; `NAME@T` is NAME at the threshold T. Data may not give all.
MEASURES = (
    "loss",
    "error_px",
    *(f"pdj@{threshold:g}" for threshold in PDJ_THRESHOLDS),
    "pck",
    "auc",
    "nme",
    "pcp",
    "pcp_relaxed",
    "pckh",
    "pckh_auc",
    *(f"pck_box@{threshold:g}" for threshold in BOX_THRESHOLDS),
    "nme_box",
    "legacy_error",
)


@dataclass(frozen=True)
class Measure:
    """One metric of a dataset.

    Attributes:
        tally: It, by person.
        names: Of the tally's columns, joints or limbs; none for a metric of whole persons.
        summary: `mean` of the columns, or `total` over all of them together.
        excluded: Columns that are left out of the total.
    """

    tally: Tally
    names: tuple[str, ...] = ()
    summary: Literal["mean", "total"] = "total"
    excluded: tuple[int, ...] = ()

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """The metric of each joint or limb; NaN for one that nobody has."""
        return self.tally.values()

    @property
    def overall(self) -> float:
        """The mean or the total, as `summary` says; NaN where nothing counts."""
        return float(self._overall(self.tally.summed())[0])

    def as_dict(self) -> Any:
        """Returns the values by name and the summary; the summary alone where there are no names."""
        numbers = [*self.values, self.overall] if self.names else [self.overall]
        return self._named([_finite(number) for number in numbers])

    def intervals(self, resampled: Tally, level: float) -> Any:
        """Returns the same with a [lower, upper] interval for each number.

        Args:
            resampled: The tally, resampled.
            level: As for `interval`.
        """
        samples = self._overall(resampled)[:, np.newaxis]
        if self.names:
            samples = np.concatenate([resampled.columns(), samples], axis=1)
        return self._named([[_finite(low), _finite(high)] for low, high in interval(samples, level).T])

    def _overall(self, tally: Tally) -> npt.NDArray[np.float64]:
        return tally.means() if self.summary == "mean" else tally.totals(self.excluded)

    def _named(self, numbers: list[Any]) -> Any:
        return dict(zip((*self.names, self.summary), numbers, strict=True)) if self.names else numbers[0]


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
        pdj_left_out: Persons whose torso is not annotated, and who are in no PDJ.
        measures: The metrics that the data can give, by their names in MEASURES.
    """

    skeleton: Skeleton
    outputs: npt.NDArray[np.float32]
    predicted: npt.NDArray[np.float64]
    true: npt.NDArray[np.float64]
    visible: npt.NDArray[np.bool_]
    loss: float
    mean_error_px: float
    pdj_left_out: int
    measures: Mapping[str, Measure]

    @property
    def persons(self) -> int:
        """Number of persons."""
        return len(self.true)

    @property
    def pdj(self) -> npt.NDArray[np.float64] | None:
        """(len(PDJ_THRESHOLDS), J) fractions; None where neither the joints nor the CSV's side file give a torso."""
        if "pck" not in self.measures:
            return None
        return np.stack([self.measures[f"pdj@{threshold:g}"].values for threshold in PDJ_THRESHOLDS])

    @property
    def pcp(self) -> npt.NDArray[np.float64]:
        """(limbs,) fractions, strict, threshold 0.5."""
        return self.measures["pcp"].values

    @property
    def pckh(self) -> npt.NDArray[np.float64] | None:
        """(J,) fractions at 0.5; None without head sizes."""
        return self.measures["pckh"].values if "pckh" in self.measures else None

    @property
    def pckh_total(self) -> float | None:
        """PCKh's total; None without head sizes."""
        return self.measures["pckh"].overall if "pckh" in self.measures else None

    def summary(self) -> dict[str, float]:
        """Returns the few numbers that a training follows."""
        numbers = {"loss": self.loss, "mean_error_px": self.mean_error_px}
        if "pdj@0.2" in self.measures:
            numbers["pdj@0.2"] = self.measures["pdj@0.2"].overall
        return numbers

    def as_dict(self) -> dict[str, Any]:
        """Returns the numbers as JSON-ready values; what nobody has, or what is not finite, is None."""
        return {
            "persons": self.persons,
            "joints": len(self.skeleton.joints),
            **_nested({name: measure.as_dict() for name, measure in self.measures.items()}),
            "loss": _finite(self.loss),
            "mean_error_px": _finite(self.mean_error_px),
            "pdj_left_out": self.pdj_left_out,
        }

    def bootstrap(self, resamples: int = 1000, seed: int = 0, level: float = 0.95) -> dict[str, Any]:
        """Returns confidence intervals of the numbers, from drawing the persons again with replacement.

        Args:
            resamples: How often.
            seed: Of the drawing.
            level: How much of the resampled values lies in an interval.

        Returns:
            The three and `intervals`: as `as_dict`, with [lower, upper] for each metric's number.

        Raises:
            DeepPoseError: There is no resample, or the level is not between 0 and 1.
        """
        tallies = resample([measure.tally for measure in self.measures.values()], resamples, seed)
        intervals = _nested(
            {
                name: measure.intervals(tally, level)
                for (name, measure), tally in zip(self.measures.items(), tallies, strict=True)
            }
        )
        intervals["mean_error_px"] = intervals["error_px"]["total"]
        return {"resamples": resamples, "seed": seed, "level": level, "intervals": intervals}


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
        head_sizes: (N,) lengths for PCKh, in pixels; None takes those of the CSV's side file, and without one leaves
            PCKh out.
        progress: Called with the persons done and all of them.

    Raises:
        DeepPoseError: The checkpoint has another number of joints than the dataset.
        DatasetError: A person cannot be made into an example.
    """
    skeleton = dataset.skeleton
    if pose.joints != len(skeleton.joints):
        raise DeepPoseError(
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
    predicted = [dataset.view(i).points(output) for i, output in zip(indices, answers, strict=True)]
    return Answers(
        np.asarray(indices, np.int64),
        answers,
        np.concatenate(targets),
        np.concatenate(masks),
        np.reshape(predicted, (len(indices), -1, 2)) if predicted else np.empty((0, joints // 2, 2)),
    )


def evaluation_of(answers: Answers, dataset: PoseDataset, head_sizes: npt.ArrayLike | None = None) -> Evaluation:
    """Computes all metrics of the answers to a whole dataset; `head_sizes` as for `evaluate`."""
    skeleton, true, visible = dataset.skeleton, dataset.joints, dataset.visible
    torso = dataset.torso_lengths
    if torso is None and skeleton.torso is not None:
        torso = metrics.torso_lengths(true, skeleton.torso, visible)
    measures = pose_measures(
        answers.predicted, true, visible, skeleton, torso, dataset.head_sizes if head_sizes is None else head_sizes
    )
    mask = answers.mask == 1
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.where(mask, np.square(answers.outputs.astype(np.float64) - answers.targets), 0.0)
    measures["loss"] = Measure(Tally.of(squares.sum(axis=1, keepdims=True), mask.sum(axis=1, keepdims=True)))
    answered, labelled = (input_points(values, dataset.preprocessing) for values in (answers.outputs, answers.targets))
    legacy = metrics.legacy_error(answered, labelled, visible)
    measures["legacy_error"] = Measure(Tally.of(legacy[:, np.newaxis], visible.any(axis=1, keepdims=True)))
    return Evaluation(
        skeleton=skeleton,
        outputs=answers.outputs,
        predicted=answers.predicted,
        true=true,
        visible=visible,
        loss=metrics.masked_mse(answers.outputs, answers.targets, answers.mask),
        mean_error_px=metrics.mean_error(answers.predicted, true, visible),
        pdj_left_out=0 if torso is None else int(np.isnan(torso).sum()),
        measures={name: measures[name] for name in MEASURES if name in measures},
    )


def pose_measures(
    predicted: npt.ArrayLike,
    true: npt.ArrayLike,
    visible: npt.ArrayLike,
    skeleton: Skeleton,
    torso: npt.ArrayLike | None = None,
    head_sizes: npt.ArrayLike | None = None,
) -> dict[str, Measure]:
    """Computes the metrics of poses, whatever predicted them.

    Args:
        predicted: (N, J, 2), pixels.
        true: (N, J, 2), likewise.
        visible: (N, J) bool, the joints that count.
        skeleton: Names of the joints and limbs.
        torso: (N,) lengths for PDJ, PCK, their AUC and NME; None leaves these out.
        head_sizes: (N,) lengths for PCKh and its AUC; None leaves these out.

    Returns:
        The metrics by their names in MEASURES; all but `loss` and `legacy_error`, which are the network's.

    Raises:
        DeepPoseError: As the functions of `metrics` do.
    """
    joints, limbs = skeleton.joints, list(skeleton.pcp_limbs.values())
    limb_names, excluded = tuple(skeleton.pcp_limbs), skeleton.pckh_total_excluded
    poses = predicted, true
    strict = metrics.pcp_tally(*poses, limbs, visible)
    relaxed = metrics.pcp_tally(*poses, limbs, visible, rule="relaxed")
    box = metrics.box_sizes(true, visible)
    measures = {
        "error_px": Measure(metrics.error_tally(*poses, visible), joints),
        "pcp": Measure(strict, limb_names, "mean"),
        "pcp_relaxed": Measure(relaxed, limb_names, "mean"),
        "nme_box": Measure(metrics.error_tally(*poses, visible, box), joints),
    }
    for threshold in BOX_THRESHOLDS:
        tally = metrics.pck_tally(*poses, box, visible, threshold)
        measures[f"pck_box@{threshold:g}"] = Measure(tally, joints)
    if torso is not None:
        for threshold in PDJ_THRESHOLDS:
            tally = metrics.pck_tally(*poses, torso, visible, threshold)
            measures[f"pdj@{threshold:g}"] = Measure(tally, joints, "mean")
        measures["pck"] = Measure(measures["pdj@0.2"].tally, joints)
        measures["auc"] = Measure(metrics.auc_tally(*poses, torso, visible), joints)
        measures["nme"] = Measure(metrics.error_tally(*poses, visible, torso), joints)
    if head_sizes is not None:
        measures["pckh"] = Measure(metrics.pck_tally(*poses, head_sizes, visible, 0.5), joints, excluded=excluded)
        area = metrics.auc_tally(*poses, head_sizes, visible, 0.5)
        measures["pckh_auc"] = Measure(area, joints, excluded=excluded)
    return measures


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Puts values by their names in MEASURES into JSON's keys: NAME@T to {NAME: {T: …}}, None for what is missing."""
    nested: dict[str, Any] = {}
    for key in MEASURES:
        name, _, threshold = key.partition("@")
        if key not in values:
            nested[name] = None
        elif threshold:
            nested.setdefault(name, {})[threshold] = values[key]
        else:
            nested[name] = values[key]
    return nested


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
