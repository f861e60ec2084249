"""The metrics, a row each: what evaluations, tables, reports, comparisons, plots and trainings know of them.

To add one, register a row:

    from deeppose_port.metrics.registry import Metric, register

    register(Metric("pck@0.05", "PCK@0.05", "Within 0.05 times the torso.", partial(near_the_torso, threshold=0.05),
                    needs="torso_lengths"))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, partial
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from converters import Preprocessing
from converters.errors import DeepPoseError
from converters.values import dataclass
from deeppose_port.data.arrays import Float32Array, Float64Array, Mask
from deeppose_port.data.skeletons import Limb, Skeleton
from deeppose_port.data.view import input_points
from deeppose_port.metrics.errors import error_tally, legacy_error, squared_error_tally
from deeppose_port.metrics.keypoints import auc_tally, pck_tally
from deeppose_port.metrics.lengths import box_sizes
from deeppose_port.metrics.parts import pcp_tally
from deeppose_port.metrics.tallies import Tally

#: A paper that defines a metric, and its address.
Reference: TypeAlias = tuple[str, str]

DEEPPOSE = ("Toshev and Szegedy, CVPR 2014", "https://arxiv.org/abs/1312.4659")
MODEC = (
    "Sapp and Taskar, CVPR 2013",
    "https://openaccess.thecvf.com/content_cvpr_2013/html/Sapp_MODEC_Multimodal_Decomposable_2013_CVPR_paper.html",
)
FERRARI = ("Ferrari et al., CVPR 2008", "https://doi.org/10.1109/CVPR.2008.4587468")
EICHNER = ("Eichner et al., IJCV 2012", "https://doi.org/10.1007/s11263-012-0524-9")
MPII = (
    "Andriluka et al., CVPR 2014",
    "https://openaccess.thecvf.com/content_cvpr_2014/html/Andriluka_2D_Human_Pose_2014_CVPR_paper.html",
)
DEFORMABLE = (
    "Yang et al., CVPR 2016",
    "https://openaccess.thecvf.com/content_cvpr_2016/html/Yang_End-To-End_Learning_of_CVPR_2016_paper.html",
)
FACES = ("Sagonas et al., IMAVIS 2016", "https://doi.org/10.1016/j.imavis.2016.01.002")
FLEXIBLE = ("Yang and Ramanan, TPAMI 2013", "https://doi.org/10.1109/TPAMI.2012.261")


@dataclass(frozen=True)
class Outputs:
    """What a network answered, beside what it should have.

    Attributes:
        outputs: (N, 2 * J) float32, as the network gives them.
        targets: (N, 2 * J) float32.
        mask: (N, 2 * J) int32: the coordinates that count.
        preprocessing: How outputs become pixels.
    """

    outputs: Float32Array
    targets: Float32Array
    mask: npt.NDArray[np.int32]
    preprocessing: Preprocessing


@dataclass(frozen=True)
class Poses:
    """Predicted poses beside the true ones, and the lengths to measure errors by.

    Attributes:
        skeleton: Names of the joints and limbs.
        predicted: (N, J, 2) float64, pixels of the original pictures.
        true: (N, J, 2) float64, likewise.
        visible: (N, J) bool: joints whose two coordinates count.
        torso_lengths: (N,) float64, pixels; NaN for a person without one; None where the data have none.
        head_sizes: (N,) float64, likewise.
        network: The network's outputs in their own frame; None for poses from elsewhere.
    """

    skeleton: Skeleton
    predicted: Float64Array
    true: Float64Array
    visible: Mask
    torso_lengths: Float64Array | None = None
    head_sizes: Float64Array | None = None
    network: Outputs | None = None

    @cached_property
    def box_sizes(self) -> Float64Array:
        """(N,) the larger sides of the boxes around the joints that count; NaN for a person without two of them."""
        return box_sizes(self.true, self.visible)

    @property
    def limbs(self) -> list[Limb] | None:
        """The limbs that PCP is of; None of a skeleton without any."""
        return list(self.skeleton.pcp_limbs.values()) or None


#: What a metric needs that not all data have, an attribute of `Poses` each -> what is said where it is missing.
NEEDS: Mapping[str, str] = {
    "torso_lengths": "{skeleton} has no torso among its joints, and no torso lengths are beside the CSV",
    "head_sizes": "no head sizes are beside the CSV",
    "limbs": "{skeleton} has no limbs",
    "network": "these are poses, not a network's outputs",
}
_LENGTHS = ("torso_lengths", "head_sizes")


@dataclass(frozen=True)
class Curve:
    """How a fraction of joints grows with the threshold.

    Attributes:
        title: Its name without the threshold.
        axis: What thresholds are fractions of.
        marked: The usual threshold.
        tally: Poses and a threshold -> the metric's tally there.
    """

    title: str
    axis: str
    marked: float
    tally: Callable[[Poses, float], Tally]


@dataclass(frozen=True)
class Metric:
    """One metric: how it is computed, and how it is shown.

    Attributes:
        key: Its name in `METRICS`, in JSON and in options. `NAME@T` is one of several thresholds, and is `NAME: {T: …}`
            in JSON.
        title: Its name for people.
        meaning: What it is, in a sentence.
        tally: Poses -> the metric by person and column.
        unit: `%` of a fraction, `px`, or empty.
        better: Which of two values is better: the `higher` or the `lower`.
        columns: What the tally's columns are: the skeleton's `joints`, its `limbs`, or none but the `person`.
        summary: Its number of the whole: `mean` of the columns, or `total` over all of them together.
        excluded: Skeleton -> the columns that are left out of the total.
        needs: What the data must have, a key of `NEEDS`; empty where all have it.
        alone: What its number of the whole is called where it stands alone, in logs and on top of JSON; empty for its
            key.
        references: Papers that define it.
        is_shown: Whether it stands in the tables of the whole.
        is_headline: Whether it is one of the few numbers on top of reports, in a training's log and in plots.
        heading: Of its column in the table by joint or by limb, without its unit; empty for none.
        is_substitute: Whether it is a headline and a column only where the data give neither torsos nor heads.
        curve: Its curve over the threshold; None for none.
    """

    key: str
    title: str
    meaning: str
    tally: Callable[[Poses], Tally]
    unit: Literal["%", "px", ""] = "%"
    better: Literal["higher", "lower"] = "higher"
    columns: Literal["joints", "limbs", "person"] = "joints"
    summary: Literal["mean", "total"] = "total"
    excluded: Callable[[Skeleton], tuple[int, ...]] = lambda _: ()
    needs: str = ""
    alone: str = ""
    references: tuple[Reference, ...] = ()
    is_shown: bool = True
    is_headline: bool = False
    heading: str = ""
    is_substitute: bool = False
    curve: Curve | None = None

    @property
    def path(self) -> tuple[str, ...]:
        """Where it is in JSON: `("pdj", "0.2")` of `pdj@0.2`."""
        return tuple(self.key.split("@", 1))

    @property
    def name(self) -> str:
        """What its number of the whole is called where it stands alone."""
        return self.alone or self.key

    @property
    def over(self) -> str:
        """What its number of the whole is over, in words; empty where the meaning says it."""
        if self.columns == "person":
            return ""
        return f"mean of the {self.columns}" if self.summary == "mean" else f"all {self.columns} together"

    @property
    def title_of_whole(self) -> str:
        """What people call its number of the whole."""
        return self.with_words(self.over)

    @property
    def column(self) -> str:
        """What heads its column in the table by joint or by limb: with the unit, which its numbers leave out."""
        return ", ".join(filter(None, (self.heading, self.unit)))

    def with_words(self, words: str) -> str:
        """Returns its title and more words, as those of a joint."""
        return ", ".join(filter(None, (self.title, words)))

    def whole_in(self, values: Mapping[str, object]) -> object:
        """Returns its number of the whole in what `Evaluation.as_dict` gave, or None."""
        path: tuple[str, ...] = (self.alone,)
        if not self.alone:
            path = (*self.path, self.summary) if self.columns != "person" else self.path
        found: object = values
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        return found

    def names(self, skeleton: Skeleton) -> tuple[str, ...]:
        """Returns the names of its columns."""
        return {"joints": skeleton.joints, "limbs": tuple(skeleton.pcp_limbs), "person": ()}[self.columns]


#: By their keys, in the order of tables and JSON.
METRICS: dict[str, Metric] = {}


def register(metric: Metric) -> Metric:
    """Adds a metric to those that evaluations, tables, reports, comparisons and trainings know.

    Raises:
        DeepPoseError: One of that key or name is there, or it needs something that is not a key of `NEEDS`.
    """
    taken = {name for other in METRICS.values() for name in (other.key, other.name)}
    if taken & {metric.key, metric.name}:
        raise DeepPoseError(f"there is a metric {metric.key!r} already")
    if metric.needs and metric.needs not in NEEDS:
        raise DeepPoseError(f"the metric {metric.key} needs {metric.needs!r}; it can need {', '.join(NEEDS)}")
    METRICS[metric.key] = metric
    return metric


def find(name: str) -> Metric:
    """Returns a metric by its key, or by what its number of the whole is called.

    Raises:
        DeepPoseError: There is none.
    """
    found = METRICS.get(name) or next((metric for metric in METRICS.values() if metric.name == name), None)
    if found is None:
        raise DeepPoseError(f"there is no metric {name!r}; there are {', '.join(m.name for m in METRICS.values())}")
    return found


def of_curve(name: str) -> Metric | None:
    """Returns the metric that a curve of a training's log is of, as `validation/main/pcp`; None of other curves."""
    what = name.rpartition("/")[2]
    return next((metric for metric in METRICS.values() if metric.name == what), None)


def without_substitutes(metrics: Iterable[Metric]) -> list[Metric]:
    """Returns metrics without the substitutes for those by the torso or the head, if there is one of these."""
    given = list(metrics)
    return [m for m in given if not m.is_substitute] if any(m.needs in _LENGTHS for m in given) else given


# --- the rows ---------------------------------------------------------------------------------------------------------


def _squared_errors(poses: Poses) -> Tally:
    assert poses.network is not None
    return squared_error_tally(poses.network.outputs, poses.network.targets, poses.network.mask)


def _legacy_errors(poses: Poses) -> Tally:
    assert poses.network is not None
    told = poses.network.preprocessing
    predicted, true = (input_points(rows, told) for rows in (poses.network.outputs, poses.network.targets))
    errors = legacy_error(predicted, true, poses.visible)
    return Tally.of(errors[:, np.newaxis], poses.visible.any(axis=1, keepdims=True))


def _errors(poses: Poses, length: str = "") -> Tally:
    return error_tally(poses.predicted, poses.true, poses.visible, getattr(poses, length) if length else None)


def _found(length: str, poses: Poses, threshold: float) -> Tally:
    return pck_tally(poses.predicted, poses.true, getattr(poses, length), poses.visible, threshold)


def _area(length: str, threshold: float, poses: Poses) -> Tally:
    return auc_tally(poses.predicted, poses.true, getattr(poses, length), poses.visible, threshold)


def _correct_limbs(rule: Literal["strict", "relaxed"], poses: Poses) -> Tally:
    assert poses.limbs is not None
    return pcp_tally(poses.predicted, poses.true, poses.limbs, poses.visible, rule=rule)


_by_torso, _by_head, _by_box = (partial(_found, name) for name in ("torso_lengths", "head_sizes", "box_sizes"))


def _without_pelvis(skeleton: Skeleton) -> tuple[int, ...]:
    return skeleton.pckh_total_excluded


for _metric in (
    Metric(
        "loss",
        "Loss",
        "Mean squared error of the network's outputs, over the coordinates that count.",
        _squared_errors,
        unit="",
        better="lower",
        columns="person",
        needs="network",
        references=(DEEPPOSE,),
        is_headline=True,
    ),
    Metric(
        "error_px",
        "Mean error",
        "Mean distance from the truth, pixels of the pictures.",
        _errors,
        unit="px",
        better="lower",
        alone="mean_error_px",
        is_headline=True,
        heading="error",
    ),
    *(
        Metric(
            f"pdj@{threshold:g}",
            f"PDJ@{threshold:g}",
            f"Percentage of detected joints: within {threshold:g} times the true torso, from left shoulder to right "
            "hip.",
            partial(_by_torso, threshold=threshold),
            summary="mean",
            needs="torso_lengths",
            references=(DEEPPOSE, MODEC),
            is_shown=threshold == 0.2,
            is_headline=threshold == 0.2,
            heading=f"PDJ@{threshold:g}" if threshold in (0.1, 0.2, 0.5) else "",
            curve=Curve("PDJ", "fraction of the true torso", 0.2, _by_torso) if threshold == 0.2 else None,
        )
        for threshold in (0.1, 0.2, 0.3, 0.4, 0.5)
    ),
    Metric(
        "pck",
        "PCK@0.2",
        "Percentage of correct keypoints: within 0.2 times the torso, as PDJ.",
        partial(_by_torso, threshold=0.2),
        needs="torso_lengths",
        references=(DEFORMABLE,),
    ),
    Metric(
        "auc",
        "AUC of PCK",
        "Area under the curve from 0 to 0.2 of the torso.",
        partial(_area, "torso_lengths", 0.2),
        needs="torso_lengths",
        references=(DEFORMABLE,),
        heading="AUC",
    ),
    Metric(
        "nme",
        "NME by the torso",
        "Normalised mean error: as a part of the torso.",
        partial(_errors, length="torso_lengths"),
        better="lower",
        needs="torso_lengths",
        references=(FACES,),
    ),
    Metric(
        "pcp",
        "PCP@0.5, strict",
        "Percentage of correct parts: both ends within half the limb's length of their true places.",
        partial(_correct_limbs, "strict"),
        columns="limbs",
        summary="mean",
        needs="limbs",
        references=(DEEPPOSE, FERRARI),
        is_headline=True,
        heading="PCP strict",
    ),
    Metric(
        "pcp_relaxed",
        "PCP@0.5, relaxed",
        "The mean of the two ends' errors within half the limb's length.",
        partial(_correct_limbs, "relaxed"),
        columns="limbs",
        summary="mean",
        needs="limbs",
        references=(EICHNER,),
        heading="PCP relaxed",
    ),
    Metric(
        "pckh",
        "PCKh@0.5",
        "Within half the head's size, 0.6 times the diagonal of the head's box.",
        partial(_by_head, threshold=0.5),
        excluded=_without_pelvis,
        needs="head_sizes",
        references=(MPII,),
        is_headline=True,
        heading="PCKh@0.5",
        curve=Curve("PCKh", "fraction of the head's size", 0.5, _by_head),
    ),
    Metric(
        "pckh_auc",
        "AUC of PCKh",
        "Area under the curve from 0 to 0.5 of the head's size.",
        partial(_area, "head_sizes", 0.5),
        excluded=_without_pelvis,
        needs="head_sizes",
        references=(MPII,),
    ),
    *(
        Metric(
            f"pck_box@{threshold:g}",
            f"PCK@{threshold:g} of the box",
            f"Within {threshold:g} times the larger side of the person's box of joints.",
            partial(_by_box, threshold=threshold),
            references=(FLEXIBLE,),
            is_headline=threshold == 0.2,
            heading=f"box PCK@{threshold:g}",
            is_substitute=True,
            curve=Curve("PCK by the person's box", "fraction of the box's larger side", 0.2, _by_box)
            if threshold == 0.2
            else None,
        )
        for threshold in (0.1, 0.2)
    ),
    Metric(
        "nme_box",
        "NME by the box",
        "Mean error as a part of the box's larger side.",
        partial(_errors, length="box_sizes"),
        better="lower",
        references=(FACES,),
    ),
    Metric(
        "legacy_error",
        "Legacy error",
        "What the legacy program logged: the distance of the whole pose over the number of its joints, pixels of the "
        "crop; mean of the persons.",
        _legacy_errors,
        unit="px",
        better="lower",
        columns="person",
        needs="network",
    ),
):
    register(_metric)
