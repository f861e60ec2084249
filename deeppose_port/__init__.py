"""DeepPose in two engines, and what is done with it.

    import deeppose_port
    pose = deeppose_port.load("epoch-100.model", backend="torch", device="cpu")
    points = pose.predict(image, box=(x, y, width, height))

Engines and OpenCV are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from converters import __version__
    from deeppose_port import backends, data, metrics
    from deeppose_port.data import skeletons
    from deeppose_port.loading import load
    from deeppose_port.pose import Pose

__all__ = ["Pose", "__version__", "backends", "data", "load", "metrics", "skeletons"]

#: Where each public name is, as `module` or `module:name`: loaded when it is first asked for.
_PLACES = {
    "__version__": "converters._version:__version__",
    "Pose": "deeppose_port.pose:Pose",
    "load": "deeppose_port.loading:load",
    "backends": "deeppose_port.backends",
    "data": "deeppose_port.data",
    "metrics": "deeppose_port.metrics",
    "skeletons": "deeppose_port.data.skeletons",
}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _PLACES[name].partition(":")
    loaded: object = importlib.import_module(module)
    return getattr(loaded, attribute) if attribute else loaded


def __dir__() -> list[str]:
    return sorted(__all__)
