"""Whether this machine can run what is asked of it, and the commands that mend what cannot.

examination = doctor.examine(backend="chainer", device="cuda:0")
examination.runs
[(row.what, row.remedy) for row in examination.rows if row.verdict == "problem"]
"""

from __future__ import annotations

import importlib
import platform
from collections.abc import Mapping
from dataclasses import asdict, field
from typing import Literal

from converters.errors import in_a_line
from converters.values import dataclass
from deeppose_port.backends import BACKENDS, Description, described, prober
from deeppose_port.backends.devices import Driver, gpu_indices, nvidia_driver
from deeppose_port.backends.fastest import MANY, candidates
from deeppose_port.backends.installed import (
    INSTALL_DRIVER,
    PROJECT,
    Problem,
    cupy_distributions,
    cupy_problem,
    is_too_new,
    misfit,
    namesake,
    version,
    wanted,
    wanted_python,
)
from deeppose_port.backends.protocol import Probe
from deeppose_port.text import counted

Verdict = Literal["ok", "warning", "problem"]

NOT_INSTALLED = "not installed"

# CuPy 13 is the last that knows cuDNN, and it knows cuDNN 8 alone, for CUDA 12 and older.
_CUPY_WITH_CUDNN = (
    "pip install 'cupy-cuda12x>=13.6,<14' && python -m cupyx.tools.install_library --library cudnn --cuda 12.x"
)

_OPENCV = (
    "opencv-python-headless",
    "opencv-contrib-python-headless",
    "opencv-python",
    "opencv-contrib-python",
)


@dataclass(frozen=True)
class Row:
    """One thing that was looked at.

    Attributes:
        what: Its name.
        found: Its version and what belongs to it, or `not installed`.
        verdict: `problem` has to be mended for what was asked, `warning` for something else.
        note: What is wrong, or worth knowing; may be empty.
        remedy: The command that mends it; empty where nothing has to be mended.
    """

    what: str
    found: str
    verdict: Verdict = "ok"
    note: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Examination:
    """What was found.

    Attributes:
        backend: The backend that was asked for; None is any.
        device: The device that was asked for; None is the CPU.
        runs: Whether they run here; without a backend, whether any of them does.
        rows: Everything that was looked at.
        mends: What the compatibility layer mended in Chainer: `name`, `reason` and `where`.
    """

    backend: str | None
    device: str | None
    runs: bool
    rows: tuple[Row, ...]
    mends: tuple[Mapping[str, str], ...]

    def as_dict(self) -> dict[str, object]:
        """Returns all of it in JSON's types."""
        return {
            "backend": self.backend,
            "device": self.device,
            "runs": self.runs,
            "rows": [asdict(row) for row in self.rows],
            "mends": [dict(mend) for mend in self.mends],
        }


def examine(backend: str | None = None, device: str | None = None, *, speed: bool = False) -> Examination:
    """Looks at Python, the packages, the driver and the GPUs.

    The engines are imported for it, where they are installed.

    Args:
        backend: Its name; None asks for any of them.
        device: `cpu`, `cuda`, `cuda:N`, or several GPUs as `cuda:0,cuda:1`; None asks for the CPU.
        speed: Whether to measure which engine is the fastest on the CPU, which takes a few seconds.

    Raises:
        BackendError: There is no such backend or device.
    """
    if backend is not None:
        described(backend)
    gpus = gpu_indices(device or "cpu")
    driver = nvidia_driver()
    engines = {name: _engine(description, device or "cpu") for name, description in BACKENDS.items()}
    numpy = _row("NumPy", version("numpy"), "warning", _untested("numpy"))
    base = (_python(), _converters(), numpy, _opencv())

    asked = (backend,) if backend is not None else tuple(BACKENDS)
    running = [name for name in asked if engines[name].runs]
    # An engine that nobody asked for by name is missed only where no other runs either.
    needed = asked if backend is not None or not running else ()
    rows = (
        *base,
        *(_engine_row(BACKENDS[name], engine, name in needed) for name, engine in engines.items()),
        *(_choice_row(backend) for backend in BACKENDS.values() if backend.engines),
        _optional("h5py", "h5py", "HDF5 files cannot be read", "hdf5"),
        _optional("PyAV", "av", "drawn videos are MPEG-4 without sound, which browsers do not play", "video"),
        _cupy_row(engines["chainer"], "chainer" in needed, driver),
        _driver_row(driver, bool(gpus)),
        _cuda_row(engines, driver),
        _cudnn_row(engines, "chainer" in asked and bool(gpus)),
        *([_speed_row()] if speed and running else []),
    )
    return Examination(
        backend,
        device,
        runs=bool(running) and all(row.verdict != "problem" for row in base),
        rows=rows,
        mends=tuple(mend for engine in engines.values() for mend in engine.probe.mends),
    )


@dataclass(frozen=True)
class _Engine:
    """What an engine says of this machine, and why it cannot be loaded."""

    probe: Probe = field(default_factory=Probe)
    absent: Problem | None = None

    @property
    def runs(self) -> bool:
        return self.absent is None and self.probe.problem is None


def _engine(backend: Description, device: str) -> _Engine:
    if all(version(name) is None for name in (backend.distribution, *backend.engines)):
        return _Engine(absent=Problem(f"{backend.title} is not installed", backend.installation))
    try:
        return _Engine(prober(backend.name).examine(device))
    except Exception as error:  # a broken installation may raise anything
        anew = f"pip uninstall -y {backend.distribution} && {backend.installation}"
        return _Engine(absent=Problem(in_a_line(error), anew))


def _row(what: str, found: str | None, verdict: Verdict, problem: Problem | None, note: str = "") -> Row:
    """Returns a row of that verdict if there is a problem, else one that is ok."""
    if problem is None:
        return Row(what, found or NOT_INSTALLED, note=note)
    return Row(what, found or NOT_INSTALLED, verdict, problem.reason, problem.remedy)


def _untested(distribution: str) -> Problem | None:
    """Returns a problem if a distribution is there in a version outside of what this project asks for."""
    found, asked = version(distribution), wanted(distribution)
    if found is None or asked.contains(found, prereleases=True):
        return None
    return Problem(f"{PROJECT} is tested with {asked}", f"pip install '{distribution}{asked}'")


def _python() -> Row:
    found, asked = platform.python_version(), wanted_python()
    fits = asked.contains(found, prereleases=True)
    return _row(
        "Python", found, "problem", None if fits else Problem(f"{PROJECT} needs {asked}", "python3.11 -m venv .venv")
    )


def _converters() -> Row:
    return _row(PROJECT, version(PROJECT), "warning", namesake())


def _opencv() -> Row:
    names = [name for name in _OPENCV if version(name) is not None]
    found = ", ".join(f"{version(name)} ({name})" for name in names)
    try:
        importlib.import_module("cv2")
    except Exception as error:  # ImportError of a missing libGL, or whatever a build for another NumPy raises
        remove = f"pip uninstall -y {' '.join(names)} && " if names else ""
        remedy = f"{remove}pip install 'opencv-python-headless{wanted('opencv-python-headless')}'"
        return _row("OpenCV", found, "problem", Problem(in_a_line(error), remedy))
    return _row("OpenCV", found, "warning", next(filter(None, map(misfit, names)), None))


def _optional(title: str, distribution: str, without: str, extra: str) -> Row:
    """Returns the row of what an extra of this project's brings; `without` says what is missing without it."""
    missing = Problem(without, f"pip install '{PROJECT}[{extra}]'")
    found = version(distribution)
    return _row(title, found, "warning", missing if found is None else _untested(distribution))


def _engine_row(backend: Description, engine: _Engine, needed: bool) -> Row:
    found = version(backend.distribution)
    problem = engine.absent
    if not engine.probe.library:  # of which another row tells
        problem = problem or engine.probe.problem
    if problem is not None:
        return _row(backend.title, found, "problem" if needed else "warning", problem)
    notes = () if engine.probe.library else engine.probe.devices
    mends = [f"{counted(len(engine.probe.mends), 'mend')} applied"] if engine.probe.mends else []
    note = ", ".join([*notes, *mends])
    return _row(backend.title, found, "warning", _untested(backend.distribution), note)


def _choice_row(backend: Description) -> Row:
    """Returns a row of the engines that a backend may have in place of its first."""
    others = {name: title for name, title in backend.engines.items() if name != backend.distribution}
    found = ", ".join(f"{version(name)}" for name in others if version(name) is not None)
    problem = next(filter(None, map(_untested, others)), None)
    return _row(", ".join(others.values()), found, "warning", problem)


def _speed_row() -> Row:
    """Returns what `--backend auto` takes, and what was measured here."""
    from deeppose_port.inspecting.speed import measured

    speeds = measured()
    rates = ", ".join(f"{title} {pictures:.0f}" for title, pictures in speeds.items())
    many, few = (next(candidates(pictures=pictures)).title for pictures in (None, 1))
    taken = many if many == few else f"{few}, and from {MANY} pictures on {many}, which takes longer to start"
    note = f"measured just now, pictures a second of a small ResNet50: {rates}; predict takes {taken}"
    return Row("fastest engine", max(speeds, key=lambda title: speeds[title]), note=note)


def _cupy_row(chainer: _Engine, needed: bool, driver: Driver | None) -> Row:
    installed = cupy_distributions()
    found = ", ".join(f"{number} ({name})" for name, number in installed.items())
    if len(installed) > 1:
        return _row("CuPy", found, "problem", cupy_problem(driver))
    if needed and chainer.probe.problem is not None:
        return _row("CuPy", found, "problem", chainer.probe.problem)
    # Without a GPU and a Chainer to use it, a CuPy that is not there is not missed.
    missed = bool(installed) or (driver is not None and chainer.absent is None)
    return _row("CuPy", found, "warning", chainer.probe.problem or cupy_problem(driver) if missed else None)


def _driver_row(driver: Driver | None, needed: bool) -> Row:
    missing = Problem("a GPU was asked for", INSTALL_DRIVER) if driver is None and needed else None
    return _row("NVIDIA driver", None if driver is None else str(driver), "problem", missing)


def _cuda_row(engines: Mapping[str, _Engine], driver: Driver | None) -> Row:
    found = {_library(name, engine): engine.probe.cuda for name, engine in engines.items()}
    problem = None
    for name, engine in engines.items():
        if problem is None and is_too_new(engine.probe.cuda, driver):
            reason = f"the driver is too old for {_library(name, engine)}'s CUDA {engine.probe.cuda}"
            problem = Problem(reason, engine.probe.replacement)
    return _row("CUDA runtime", _by_library(found), "warning", problem)


def _cudnn_row(engines: Mapping[str, _Engine], asked: bool) -> Row:
    found = {_library(name, engine): engine.probe.cudnn for name, engine in engines.items()}
    slow = None
    if asked and engines["chainer"].runs and engines["chainer"].probe.cudnn is None:
        reason = "without it Chainer's convolutions are slower and take more memory; CuPy 13 has it, on a CUDA toolkit"
        slow = Problem(reason, f"pip uninstall -y {' '.join(cupy_distributions())} && {_CUPY_WITH_CUDNN}")
    return _row("cuDNN", _by_library(found), "warning", slow)


def _library(name: str, engine: _Engine) -> str:
    """Returns what brings an engine's CUDA."""
    return engine.probe.library or BACKENDS[name].title


def _by_library(found: Mapping[str, str | None]) -> str:
    return ", ".join(f"{number} ({name})" for name, number in found.items() if number)
