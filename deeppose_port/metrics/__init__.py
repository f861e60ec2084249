"""The measures of human pose estimation: PCP, PDJ, PCK, PCKh, AUC, errors, and the loss of the legacy training.

Poses are (persons, joints, 2) arrays of pixels of the original picture, x right and y down. `visible` is
(persons, joints) and says which joints count; without it, those with a finite true position do. Everything is
computed in float64, and thresholds are inclusive (`<=`). A predicted NaN at a joint that counts is a miss in
every fraction and makes a mean error NaN, so that a broken network cannot look good.

The functions that end in `_tally` give the same measures by person, for totals and bootstrap intervals.
"""

from deeppose_port.metrics.errors import (
    error_tally,
    legacy_error,
    masked_mse,
    mean_error,
    nme,
    nme_total,
    normalized_errors,
    pixel_errors,
)
from deeppose_port.metrics.keypoints import (
    auc,
    auc_tally,
    auc_total,
    pck,
    pck_tally,
    pck_total,
    pckh,
    pckh_total,
    pdj,
)
from deeppose_port.metrics.lengths import (
    box_sizes,
    torso_lengths,
)
from deeppose_port.metrics.parts import (
    pcp,
    pcp_tally,
)
from deeppose_port.metrics.totals import mean_over_joints

__all__ = [
    "auc",
    "auc_tally",
    "auc_total",
    "box_sizes",
    "error_tally",
    "legacy_error",
    "masked_mse",
    "mean_error",
    "mean_over_joints",
    "nme",
    "nme_total",
    "normalized_errors",
    "pck",
    "pck_tally",
    "pck_total",
    "pckh",
    "pckh_total",
    "pcp",
    "pcp_tally",
    "pdj",
    "pixel_errors",
    "torso_lengths",
]
