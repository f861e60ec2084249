"""What a result was computed with."""

from __future__ import annotations

import os
import platform

from deeppose_port import __version__
from deeppose_port.backends import BACKENDS
from deeppose_port.backends.devices import nvidia_driver
from deeppose_port.backends.installed import cupy_distributions, version
from deeppose_port.pose import Pose


def environment(*poses: Pose) -> dict[str, str]:
    """Returns the versions and the machine that some answers come from, by name, in the order to show them."""
    found = {
        "deeppose-port": __version__,
        "Python": platform.python_version(),
        "NumPy": version("numpy"),
        "OpenCV": version("opencv-python-headless") or version("opencv-python"),
    }
    for backend in BACKENDS.values():  # those that are installed, whichever of them ran
        found[backend.title] = version(backend.distribution)
    devices = list(dict.fromkeys(pose.device for pose in poses))
    if devices != ["cpu"]:
        driver = nvidia_driver()
        found["CuPy"] = ", ".join(f"{number} ({name})" for name, number in cupy_distributions().items())
        found["NVIDIA driver"] = None if driver is None else str(driver)
    found["system"] = f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} cores"
    found["devices"] = ", ".join(devices)
    return {name: text for name, text in found.items() if text}
