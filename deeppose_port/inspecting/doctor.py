"""Whether this machine can run what is asked of it, and the commands that mend what cannot.

examination = doctor.examine(backend="chainer", device="cuda:0")
examination.runs
[(row.what, row.remedy) for row in examination.rows if row.verdict == "problem"]
"""

from __future__ import annotations

import importlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from deeppose_port.backends import BACKENDS, BackendError, Description, get
from deeppose_port.backends.devices import Driver, gpu_indices, nvidia_driver
from deeppose_port.backends.installed import (
    INSTALL_CHAINER,
    INSTALL_DRIVER,
    PROJECT,
    Problem,
    cupy_distributions,
    cupy_problem,
    install_cuda_torch,
    misfit,
    replace_cupy,
    version,
    wanted,
    wanted_python,
)

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
        backend: The backend that was asked for; None is either.
        device: The device that was asked for; None is the CPU.
        runs: Whether they run here; without a backend, whether one of them does.
        rows: Everything that was looked at.
        mends: What the compatibility layer mended in Chainer: `name`, `reason` and `where`.
    """

    backend: str | None
    device: str | None
    runs: bool
    rows: tuple[Row, ...]
    mends: tuple[Mapping[str, str], ...]

    def as_dict(self) -> dict[str, Any]:
        """Returns all of it in JSON's types."""
        return {
            "backend": self.backend,
            "device": self.device,
            "runs": self.runs,
            "rows": [asdict(row) for row in self.rows],
            "mends": [dict(mend) for mend in self.mends],
        }


def examine(backend: str | None = None, device: str | None = None) -> Examination:
    """Looks at Python, the packages, the driver and the GPUs.

    The engines are imported for it, where they are installed.

    Args:
        backend: Its name; None asks for any of them.
        device: `cpu`, `cuda`, `cuda:N`, or several GPUs as `cuda:0,cuda:1`; None asks for the CPU.

    Raises:
        BackendError: There is no such backend or device.
    """
    if backend is not None and backend not in BACKENDS:
        raise BackendError(f"there is no backend {backend!r}; there are {' and '.join(BACKENDS)}")
    gpus = gpu_indices(device or "cpu")
    driver = nvidia_driver()
    engines = {"torch": _torch(gpus, driver), "chainer": _chainer(device or "cpu")}
    others = [backend for backend in BACKENDS.values() if backend.name not in engines]
    engines |= {other.name: _other(other, gpus) for other in others}
    base = (_python(), _numpy(), _opencv())

    asked = (backend,) if backend is not None else BACKENDS
    running = [name for name in asked if engines[name].runs]
    # An engine that nobody asked for by name is missed only where no other runs either.
    needed = asked if backend is not None or not running else ()
    rows = (
        *base,
        _torch_row(engines["torch"], "torch" in needed),
        _chainer_row(engines["chainer"], "chainer" in needed),
        *(_other_row(other, engines[other.name], other.name in needed) for other in others),
        _h5py(),
        _cupy_row(engines["chainer"], "chainer" in needed, driver),
        _driver_row(driver, bool(gpus)),
        _cuda_row(engines, driver),
        _cudnn_row(engines, "chainer" in asked and bool(gpus)),
    )
    return Examination(
        backend,
        device,
        runs=bool(running) and all(row.verdict != "problem" for row in base),
        rows=rows,
        mends=tuple(asdict(mend) for mend in engines["chainer"].facts.get("compat", ())),
    )


@dataclass(frozen=True)
class _Engine:
    """What an engine's probe says, why it cannot be loaded, and why it cannot use the GPUs that were asked for."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    absent: Problem | None = None
    gpu: Problem | None = None

    @property
    def runs(self) -> bool:
        return self.absent is None and self.gpu is None


def _torch(gpus: Sequence[int], driver: Driver | None) -> _Engine:
    install = f"pip install 'torch{wanted('torch')}'"
    if version("torch") is None:
        return _Engine(absent=Problem("PyTorch is not installed", install))
    try:
        facts = importlib.import_module("deeppose_port.backends.torch.probe").probe()
    except Exception as error:  # a broken installation may raise anything
        return _Engine(absent=Problem(_line(error), f"{install} --force-reinstall"))
    return _Engine(facts, gpu=_torch_gpu(facts, gpus, driver))


def _torch_gpu(facts: Mapping[str, Any], gpus: Sequence[int], driver: Driver | None) -> Problem | None:
    there = facts["devices"]
    if not gpus or max(gpus) < len(there):
        return None
    if there:
        return Problem(f"PyTorch sees no cuda:{max(gpus)}", "--device cuda:0")
    if facts["cuda"] is None:
        return Problem("this PyTorch is built without CUDA", install_cuda_torch(driver))
    remedy = install_cuda_torch(driver) if _too_new(facts["cuda"], driver) else INSTALL_DRIVER
    return Problem(facts["problem"] or "PyTorch sees no GPU", remedy)


def _chainer(device: str) -> _Engine:
    if version("chainer") is None:
        return _Engine(absent=Problem("Chainer is not installed", INSTALL_CHAINER))
    try:
        probe = importlib.import_module("deeppose_port.backends.chainer.probe")
        facts, gpu = probe.probe(), probe.gpu_problem(device)
    except Exception as error:  # a broken installation may raise anything
        return _Engine(absent=Problem(_line(error), f"pip uninstall -y chainer && {INSTALL_CHAINER}"))
    return _Engine(facts, gpu=gpu)


def _other(backend: Description, gpus: Sequence[int]) -> _Engine:
    """Looks whether a backend that has no probe of its own can be loaded."""
    if version(backend.distribution) is None:
        return _Engine(absent=Problem(f"{backend.title} is not installed", backend.install))
    try:
        get(backend.name)
    except Exception as error:  # a broken installation may raise anything
        return _Engine(absent=Problem(_line(error), f"{backend.install} --force-reinstall"))
    with_gpu = f"{backend.distribution}-gpu"
    if gpus and version(with_gpu) is None:
        return _Engine(gpu=Problem(f"this {backend.title} is built without CUDA", f"pip install {with_gpu}"))
    return _Engine()


def _other_row(backend: Description, engine: _Engine, needed: bool) -> Row:
    found = version(backend.distribution)
    problem = engine.absent or engine.gpu
    if problem is not None:
        return _row(backend.title, found, "problem" if needed else "warning", problem)
    return _row(backend.title, found, "warning", _untested(backend.distribution))


def _too_new(cuda: str | None, driver: Driver | None) -> bool:
    """Tells whether a CUDA is of a later major version than the driver's, which then cannot run it."""
    if cuda is None or driver is None or driver.cuda is None:
        return False
    return int(cuda.split(".")[0]) > driver.cuda[0]


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


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


def _numpy() -> Row:
    return _row("NumPy", version("numpy"), "warning", _untested("numpy"))


def _opencv() -> Row:
    names = [name for name in _OPENCV if version(name) is not None]
    found = ", ".join(f"{version(name)} ({name})" for name in names)
    try:
        importlib.import_module("cv2")
    except Exception as error:  # ImportError of a missing libGL, or whatever a build for another NumPy raises
        remove = f"pip uninstall -y {' '.join(names)} && " if names else ""
        remedy = f"{remove}pip install 'opencv-python-headless{wanted('opencv-python-headless')}'"
        return _row("OpenCV", found, "problem", Problem(_line(error), remedy))
    return _row("OpenCV", found, "warning", next(filter(None, map(misfit, names)), None))


def _h5py() -> Row:
    found = version("h5py")
    missing = Problem("HDF5 files cannot be read", f"pip install '{PROJECT}[hdf5]'")
    return _row("h5py", found, "warning", missing if found is None else _untested("h5py"))


def _torch_row(engine: _Engine, needed: bool) -> Row:
    found = version("torch")
    problem = engine.absent or engine.gpu
    if problem is None:
        return _row("PyTorch", found, "warning", _untested("torch"), ", ".join(engine.facts["devices"]))
    return _row("PyTorch", found, "problem" if needed else "warning", problem)


def _chainer_row(engine: _Engine, needed: bool) -> Row:
    found = version("chainer")
    if engine.absent is not None:
        return _row("Chainer", found, "problem" if needed else "warning", engine.absent)
    mended = ", ".join(mend.name for mend in engine.facts["compat"])
    return _row("Chainer", found, "warning", _untested("chainer"), f"mended: {mended}" if mended else "")


def _cupy_row(chainer: _Engine, needed: bool, driver: Driver | None) -> Row:
    installed = cupy_distributions()
    found = ", ".join(f"{number} ({name})" for name, number in installed.items())
    if len(installed) > 1:
        return _row("CuPy", found, "problem", cupy_problem(driver))
    if needed and chainer.gpu is not None:
        return _row("CuPy", found, "problem", chainer.gpu)
    # Without a GPU and a Chainer to use it, a CuPy that is not there is not missed.
    missed = bool(installed) or (driver is not None and chainer.absent is None)
    return _row("CuPy", found, "warning", chainer.gpu or cupy_problem(driver) if missed else None)


def _driver_row(driver: Driver | None, needed: bool) -> Row:
    missing = Problem("a GPU was asked for", INSTALL_DRIVER) if driver is None and needed else None
    return _row("NVIDIA driver", None if driver is None else str(driver), "problem", missing)


def _cuda_row(engines: Mapping[str, _Engine], driver: Driver | None) -> Row:
    torch, cupy = engines["torch"].facts.get("cuda"), engines["chainer"].facts.get("runtime")
    problem = None
    if _too_new(torch, driver):
        problem = Problem(f"the driver is too old for PyTorch's CUDA {torch}", install_cuda_torch(driver))
    elif _too_new(cupy, driver):
        problem = Problem(f"the driver is too old for CuPy's CUDA {cupy}", replace_cupy(driver))
    return _row("CUDA runtime", _by_engine(torch, cupy), "warning", problem)


def _cudnn_row(engines: Mapping[str, _Engine], asked: bool) -> Row:
    torch, chainer = engines["torch"].facts.get("cudnn"), engines["chainer"].facts.get("cudnn")
    slow = None
    if asked and engines["chainer"].runs and chainer is None:
        reason = "without it Chainer's convolutions are slower and take more memory; CuPy 13 has it, on a CUDA toolkit"
        slow = Problem(reason, f"pip uninstall -y {' '.join(cupy_distributions())} && {_CUPY_WITH_CUDNN}")
    return _row("cuDNN", _by_engine(torch, chainer), "warning", slow)


def _by_engine(torch: str | None, cupy: str | None) -> str:
    return ", ".join(f"{found} ({name})" for name, found in (("PyTorch", torch), ("CuPy", cupy)) if found)
