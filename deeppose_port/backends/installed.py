"""What pip has installed, whether it fits together, and the commands that mend it. Imports none of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import metadata
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from deeppose_port.backends.devices import Driver

PROJECT = "deeppose-port"

INSTALL_DRIVER = "install the driver from https://www.nvidia.com/drivers (containers: start them with --gpus all)"

_CUPY = re.compile(r"cupy(-cuda(?P<cuda>\d+)x?|-rocm-[\d-]+)?")


class Problem(NamedTuple):
    """Something that does not work: why, and the command that mends it."""

    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.reason}; {self.remedy}"


def version(distribution: str) -> str | None:
    """Returns the version of a distribution; None if it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def wanted(distribution: str) -> SpecifierSet:
    """Returns the versions of a distribution that this project works with, extras included."""
    name = canonicalize_name(distribution)
    asked = [each.specifier for each in _requirements(PROJECT) if canonicalize_name(each.name) == name]
    return asked[0] if asked else SpecifierSet()


def wanted_python() -> SpecifierSet:
    """Returns the versions of Python that this project works with."""
    try:
        return SpecifierSet(metadata.metadata(PROJECT)["Requires-Python"])
    except metadata.PackageNotFoundError:  # run from its sources
        return SpecifierSet()


def namesake() -> Problem | None:
    """Returns a problem if another distribution has files in a package of ours, which `converters` may become."""
    found = metadata.packages_distributions().get("converters", [])
    others = sorted({*found} - {PROJECT})
    if not others:
        return None
    reason = f"{', '.join(others)} has a package of the same name, which takes its place or takes it away"
    return Problem(reason, f"pip uninstall -y {' '.join(others)}; pip install --force-reinstall --no-deps {PROJECT}")


def misfit(distribution: str) -> Problem | None:
    """Returns the first requirement of a distribution that is installed in a version that it does not take."""
    for each in _requirements(distribution):
        if each.marker is not None and not each.marker.evaluate({"extra": ""}):
            continue
        found = version(each.name)
        if found is not None and not each.specifier.contains(found, prereleases=True):
            asked = f"{each.name}{each.specifier}"
            reason = f"{distribution} {version(distribution)} needs {asked}; {found} is installed"
            return Problem(reason, f"pip install '{asked}'")
    return None


def _requirements(distribution: str) -> list[Requirement]:
    try:
        return [Requirement(text) for text in metadata.requires(distribution) or ()]
    except metadata.PackageNotFoundError:
        return []


def cupy_distributions() -> dict[str, str]:
    """Returns the distributions that bring CuPy, by name, with their versions; one at most works."""
    names = sorted({canonicalize_name(each.name) for each in metadata.distributions() if each.name})
    return {name: version(name) or "" for name in names if _CUPY.fullmatch(name)}


def cupy_problem(driver: Driver | None) -> Problem | None:
    """Returns why the installed CuPy cannot work, as far as versions tell; None if they raise no objection."""
    found = cupy_distributions()
    if not found:
        return Problem("CuPy is not installed", install_cupy(driver))
    name = next(iter(found))
    if len(found) > 1:
        reason = f"{' and '.join(found)} are installed, and each overwrites the other's files"
        return Problem(reason, replace_cupy(driver))
    match = _CUPY.fullmatch(name)
    cuda = int(match["cuda"]) if match is not None and match["cuda"] else None
    if driver is not None and driver.cuda is not None and cuda is not None and cuda > driver.cuda[0]:
        return Problem(
            f"{name} is for drivers of CUDA {cuda}; this one has CUDA {driver.cuda[0]}", replace_cupy(driver)
        )
    return misfit(name)


def install_cupy(driver: Driver | None) -> str:
    """Returns the command that installs the CuPy for a driver, with the CUDA libraries that it loads."""
    if driver is not None and driver.cuda is not None and driver.cuda[0] >= 13:
        return "pip install 'cupy-cuda13x[ctk]>=14,<15'"
    return f"pip install '{PROJECT}[cuda12]'"


def replace_cupy(driver: Driver | None) -> str:
    """Returns the command that puts the CuPy for a driver in the place of every CuPy that is installed."""
    return f"pip uninstall -y {' '.join(cupy_distributions())} && {install_cupy(driver)}"


def supply_cupy_libraries(driver: Driver | None) -> str:
    """Returns the command that brings the CUDA libraries that an installed CuPy does not find.

    CuPy 14 takes them from pip's packages; CuPy 13 from a CUDA toolkit alone.
    """
    found = list(cupy_distributions())
    if found in (["cupy-cuda12x"], ["cupy-cuda13x"]):
        return f"pip install '{found[0]}[ctk]>=14,<15'"
    return replace_cupy(driver)


def install_cuda_torch(driver: Driver | None) -> str:
    """Returns the command that replaces PyTorch by its build for a driver.

    Wheels of one CUDA major version need a driver of that version or a newer one, hence the oldest of each
    (https://docs.nvidia.com/deploy/cuda-compatibility/).
    """
    index = "cu130" if driver is not None and driver.cuda is not None and driver.cuda[0] >= 13 else "cu126"
    return f"pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/{index}"


def cuda_problem(
    engine: str, cuda: str | None, count: int, said: str | None, gpus: Sequence[int], driver: Driver | None, mend: str
) -> Problem | None:
    """Returns why an engine that brings its own CUDA cannot compute on GPUs; None if it can.

    Args:
        engine: What people call it.
        cuda: The CUDA that it is built with; None for a build without.
        count: The number of GPUs that it can use.
        said: What it says of why there is none.
        gpus: The indices of those that are asked for.
        driver: This machine's.
        mend: The command that puts the build for the driver in its place.
    """
    if not gpus or max(gpus) < count:
        return None
    if count:
        return Problem(f"{engine} sees no cuda:{max(gpus)}", "--device cuda:0")
    if cuda is None:
        return Problem(f"this {engine} is built without CUDA", mend)
    return Problem(said or f"{engine} sees no GPU", mend if is_too_new(cuda, driver) else INSTALL_DRIVER)


def is_too_new(cuda: str | None, driver: Driver | None) -> bool:
    """Tells whether a CUDA is of a later major version than the driver's, which then cannot run it."""
    if cuda is None or driver is None or driver.cuda is None:
        return False
    return int(cuda.split(".")[0]) > driver.cuda[0]
