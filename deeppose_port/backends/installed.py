"""What pip has installed, whether it fits together, and the commands that mend it. Imports none of it."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from deeppose_port.backends.devices import Driver

PROJECT = "deeppose-port"

# Chainer's setup.py imports pkg_resources, which newer setuptools do not have; this order works with every pip.
INSTALL_CHAINER = f"pip install 'setuptools>=70.1,<81' wheel && pip install --no-build-isolation '{PROJECT}[chainer]'"
INSTALL_DRIVER = "install the driver from https://www.nvidia.com/drivers (containers: start them with --gpus all)"

# Wheels of one CUDA major version run on drivers of that version and newer ones.
# https://docs.nvidia.com/deploy/cuda-compatibility/
_CUPY = re.compile(r"cupy(-cuda(?P<cuda>\d+)x?|-rocm-[\d-]+)?")
_PYTORCH_INDEX = {12: "cu126", 13: "cu130"}


@dataclass(frozen=True)
class Problem:
    """Something that does not work.

    Attributes:
        reason: Why.
        remedy: The command that mends it.
    """

    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.reason}; {self.remedy}"


def version(distribution: str) -> str | None:
    """Returns the version of a distribution, None if it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def misfit(distribution: str, *, python: bool = False) -> Problem | None:
    """Tells whether an installed distribution can work beside what else is installed.

    Args:
        distribution: Its name.
        python: Looks at the Python that it asks for alone, rather than at the distributions.

    Returns:
        The first of its requirements that is there in a version that it does not take; None if there is none.
    """
    if python:
        return _python_misfit(distribution)
    for requirement in _requirements(distribution):
        found = version(requirement.name)
        if found is not None and not requirement.specifier.contains(found, prereleases=True):
            return Problem(
                f"{distribution} {version(distribution)} needs {requirement.name}{requirement.specifier}, "
                f"and {found} is installed",
                f"pip install '{requirement.name}{requirement.specifier}'",
            )
    return None
