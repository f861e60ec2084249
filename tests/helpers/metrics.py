"""What the tests read of evaluations."""

import numpy as np

PDJ_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)


def pdj(evaluation):
    """(thresholds, J) fractions of the joints detected."""
    return np.stack([evaluation[f"pdj@{threshold:g}"].values for threshold in PDJ_THRESHOLDS])
