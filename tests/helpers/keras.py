"""HDF5 as Keras 2 writes it, for the tests."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def fill(group: Any, layers: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Writes layers as Keras does: in each group the attribute, and the arrays in a group of the same name again."""
    group.attrs["layer_names"] = [name.encode() for name in layers]
    group.attrs["backend"], group.attrs["keras_version"] = b"tensorflow", b"2.15.0"
    for name, arrays in layers.items():
        inside = group.create_group(name)
        inside.attrs["weight_names"] = [f"{name}/{part}:0".encode() for part in arrays]
        for part, array in arrays.items():
            inside.create_dataset(f"{name}/{part}:0", data=array)
