"""The metrics as they are shown: their titles, units and meanings, and the papers that define them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

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
FLEXIBLE = ("Yang and Ramanan, TPAMI 2013", "https://doi.org/10.1109/TPAMI.2012.261")

Reference = tuple[str, str]

NOTHING = "\N{EN DASH}"
"""Where there is no number."""


@dataclass(frozen=True)
class Definition:
    """A metric as a report names it.

    Attributes:
        title: Its name.
        unit: `%`, `px`, or empty.
        meaning: What it is, in a sentence.
        references: Papers that define it, with their addresses.
    """

    title: str
    unit: str
    meaning: str
    references: tuple[Reference, ...] = ()


#: By the names in `Evaluation.measures`, in the order of the table.
DEFINITIONS: Mapping[str, Definition] = {
    "error_px": Definition("Mean error", "px", "Mean distance from the truth, pixels of the pictures."),
    "pdj@0.2": Definition(
        "PDJ@0.2",
        "%",
        "Percentage of detected joints: within 0.2 times the true torso, from left shoulder to right hip.",
        (DEEPPOSE, MODEC),
    ),
    "auc": Definition("AUC of PCK", "%", "Area under the curve from 0 to 0.2 of the torso.", (MODEC,)),
    "pckh": Definition(
        "PCKh@0.5", "%", "Within half the head's size, 0.6 times the diagonal of the head's box.", (MPII,)
    ),
    "pckh_auc": Definition("AUC of PCKh", "%", "Area under the curve from 0 to 0.5 of the head's size.", (MPII,)),
    "pck_box@0.1": Definition(
        "PCK@0.1 of the box", "%", "Within 0.1 times the larger side of the person's box of joints.", (FLEXIBLE,)
    ),
    "pck_box@0.2": Definition("PCK@0.2 of the box", "%", "Within 0.2 times that side.", (FLEXIBLE,)),
    "pcp": Definition(
        "PCP@0.5, strict",
        "%",
        "Percentage of correct parts: both ends within half the limb's length of their true places.",
        (DEEPPOSE, FERRARI),
    ),
    "pcp_relaxed": Definition(
        "PCP@0.5, relaxed", "%", "The mean of the two ends' errors within half the limb's length.", (EICHNER,)
    ),
    "nme": Definition("NME by the torso", "%", "Mean error as a part of the torso."),
    "nme_box": Definition("NME by the box", "%", "Mean error as a part of the box's larger side."),
    "loss": Definition("Loss", "", "Masked mean squared error of the outputs, as in training."),
    "legacy_error": Definition(
        "Legacy error", "px", "The legacy program's: distance of the whole pose by its joints, crop pixels.",
    ),
}

def number(value: float, unit: str) -> str:
    """Returns a metric's number with its unit."""
    if math.isnan(value):
        return NOTHING
    if unit == "%":
        return f"{100 * value:.1f} %"
    return f"{value:.2f} px" if unit == "px" else f"{value:.5g}"


def difference(old: float, new: float, unit: str) -> str:
    """Returns how much a metric changed, with its sign."""
    if math.isnan(new - old):
        return NOTHING
    if new == old:
        return "0"
    change = 100 * (new - old) if unit == "%" else new - old
    return f"{change:+.2g}".replace("-", "\N{MINUS SIGN}")


