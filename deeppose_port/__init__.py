"""DeepPose in two engines, and what is done with it.

    import deeppose_port
    pose = deeppose_port.load("epoch-100.model", backend="torch", device="cpu")
    points = pose.predict(image, box=(x, y, width, height))

Engines and OpenCV are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from converters._version import __version__

if TYPE_CHECKING:
    from deeppose_port import backends, data, metrics, skeletons
    from deeppose_port.pose import Pose, load

__all__ = ["Pose", "__version__", "backends", "data", "load", "metrics", "skeletons"]

_MODULES = (
    *("backends", "compare", "data", "doctor", "draw", "evaluate", "metrics", "plot", "pose", "predict"),
    *("report", "show", "skeletons", "tallies"),
)


def __getattr__(name: str) -> Any:
    if name in ("Pose", "load"):
        return getattr(importlib.import_module("deeppose_port.pose"), name)
    if name in _MODULES:
        return importlib.import_module(f"deeppose_port.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
