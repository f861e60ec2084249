"""bfloat16, which NumPy does not have: the upper half of a float32, which holds each of its values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: What is said of a file with such numbers.
WIDENED = "bfloat16 became float32, which holds each of its values"


def widened_bfloat16(halves: npt.NDArray[np.uint16]) -> memoryview:
    """Returns the bytes of float32 numbers of which these are the upper halves."""
    wide = (halves.astype("u4") << 16).view("f4")
    return wide.view(np.uint8).data
