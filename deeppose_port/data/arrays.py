"""The kinds of arrays, by the names that annotations give them."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

#: What networks take and answer.
Float32Array: TypeAlias = npt.NDArray[np.float32]
#: Positions, lengths and metrics.
Float64Array: TypeAlias = npt.NDArray[np.float64]
#: Which joints or coordinates count.
Mask: TypeAlias = npt.NDArray[np.bool_]
