"""The metrics as they are shown: their titles, units and meanings, and the papers that define them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

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

Reference = tuple[str, str]

NOTHING = "\N{EN DASH}"
"""Where there is no number."""


@dataclass(frozen=True)
class Definition:
    """A metric as it is shown.

    Attributes:
        title: Its name.
        unit: `%`, `px`, or empty.
        meaning: What it is, in a sentence.
        over: What its number of the whole is over; empty where the meaning says it.
        references: Papers that define it, with their addresses.
    """

    title: str
    unit: str
    meaning: str
    over: str = ""
    references: tuple[Reference, ...] = ()


_JOINTS, _ALL, _LIMBS = "mean of the joints", "all joints together", "mean of the limbs"

#: By the names in `Evaluation.measures`, in the order of the tables.
DEFINITIONS: Mapping[str, Definition] = {
    "error_px": Definition("Mean error", "px", "Mean distance from the truth, pixels of the pictures.", _ALL),
    "pdj@0.2": Definition(
        "PDJ@0.2",
        "%",
        "Percentage of detected joints: within 0.2 times the true torso, from left shoulder to right hip.",
        _JOINTS,
        (DEEPPOSE, MODEC),
    ),
    "pck": Definition("PCK@0.2", "%", "Percentage of correct keypoints: the same.", _ALL, (DEFORMABLE,)),
    "auc": Definition("AUC of PCK", "%", "Area under the curve from 0 to 0.2 of the torso.", _ALL, (DEFORMABLE,)),
    "nme": Definition("NME by the torso", "%", "Normalised mean error: as a part of the torso.", _ALL, (FACES,)),
    "pckh": Definition(
        "PCKh@0.5", "%", "Within half the head's size, 0.6 times the diagonal of the head's box.", _ALL, (MPII,)
    ),
    "pckh_auc": Definition("AUC of PCKh", "%", "Area under the curve from 0 to 0.5 of the head's size.", _ALL, (MPII,)),
    "pck_box@0.1": Definition(
        "PCK@0.1 of the box",
        "%",
        "Within 0.1 times the larger side of the person's box of joints.",
        _ALL,
        (FLEXIBLE,),
    ),
    "pck_box@0.2": Definition("PCK@0.2 of the box", "%", "Within 0.2 times that side.", _ALL, (FLEXIBLE,)),
    "nme_box": Definition("NME by the box", "%", "Mean error as a part of the box's larger side.", _ALL, (FACES,)),
    "pcp": Definition(
        "PCP@0.5, strict",
        "%",
        "Percentage of correct parts: both ends within half the limb's length of their true places.",
        _LIMBS,
        (DEEPPOSE, FERRARI),
    ),
    "pcp_relaxed": Definition(
        "PCP@0.5, relaxed", "%", "The mean of the two ends' errors within half the limb's length.", _LIMBS, (EICHNER,)
    ),
    "loss": Definition(
        "Loss", "", "Mean squared error of the network's outputs, over the coordinates that count.", "", (DEEPPOSE,)
    ),
    "legacy_error": Definition(
        "Legacy error",
        "px",
        "What the legacy program logged: the distance of the whole pose over the number of its joints, pixels of the "
        "crop; mean of the persons.",
    ),
}

_JOINT_COLUMNS = {
    "pdj@0.1": "PDJ@0.1",
    "pdj@0.2": "PDJ@0.2",
    "pdj@0.5": "PDJ@0.5",
    "auc": "AUC",
    "pckh": "PCKh@0.5",
}
#: In their place where the data have neither torsos nor heads.
_BOX_COLUMNS = {"pck_box@0.1": "box PCK@0.1", "pck_box@0.2": "box PCK@0.2"}
_UNITS = {key.partition("@")[0]: definition.unit for key, definition in DEFINITIONS.items()} | {"mean_error_px": "px"}


def unit_of(place: str) -> str:
    """Returns the unit of a number by its place in `Evaluation.as_dict()`, as `pdj/0.2/left wrist`."""
    return _UNITS.get(place.split("/")[0], "")


def number(value: float, unit: str) -> str:
    """Returns a metric's number with its unit."""
    if math.isnan(value):
        return NOTHING
    if isinstance(value, int):
        return str(value)
    if unit == "%":
        return f"{100 * value:.1f} %"
    return f"{value:.2f} px" if unit == "px" else f"{value:.5g}"


def difference(old: float, new: float, unit: str) -> str:
    """Returns how much a metric changed, with its sign; of per cent, in points."""
    if math.isnan(new - old):
        return NOTHING
    if new == old:
        return "0"
    change = 100 * (new - old) if unit == "%" else new - old
    return f"{change:+{'.1f' if 10 <= abs(change) < 1e6 else '.2g'}}".replace("-", "\N{MINUS SIGN}")


def interval(bootstrap: Mapping[str, Any], key: str, unit: str) -> str:
    """Returns the confidence interval of a metric's number of the whole.

    Args:
        bootstrap: The answer of `Evaluation.bootstrap`.
        key: The metric's name in `Evaluation.measures`.
        unit: Its unit.
    """
    name, _, threshold = key.partition("@")
    found = bootstrap["intervals"].get(name)
    found = found[threshold] if threshold and found is not None else found
    if isinstance(found, Mapping):
        found = found["mean"] if "mean" in found else found["total"]
    if found is None or None in found:
        return NOTHING
    return " to ".join(number(value, unit) for value in found)


def joint_columns(measures: Iterable[str]) -> dict[str, str]:
    """Returns the metrics that are shown by joint, of those that there are, with their headings."""
    there = set(measures)
    found = {key: heading for key, heading in _JOINT_COLUMNS.items() if key in there}
    return {"error_px": "error, px", **(found or _BOX_COLUMNS)}
