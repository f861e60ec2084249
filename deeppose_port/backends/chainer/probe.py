"""What Chainer and CuPy find on this machine, and why they cannot use a GPU."""

from __future__ import annotations

import importlib
from dataclasses import asdict, replace
from types import ModuleType

from converters.errors import in_a_line
from deeppose_port.backends.chainer import compat
from deeppose_port.backends.devices import Driver, cuda_version, gpu_indices, nvidia_driver
from deeppose_port.backends.installed import INSTALL_DRIVER, Problem, cupy_problem, replace_cupy, supply_cupy_libraries
from deeppose_port.backends.protocol import Probe


def examine(device: str) -> Probe:
    """Imports Chainer and asks it and CuPy for what they can use; see `Prober`.

    CuPy is left out of it where Chainer cannot use it, and cuDNN where Chainer does without.
    """
    mended = compat.install()
    importlib.import_module("chainer")
    cuda = importlib.import_module("chainer.backends.cuda")
    found = Probe(
        problem=gpu_problem(device),
        library="CuPy",
        replacement=replace_cupy(nvidia_driver()),
        mends=tuple(asdict(mend) for mend in mended),
    )
    if cuda.available:
        runtime = cuda.cupy.cuda.runtime
        number = "{}.{}".format(*cuda_version(runtime.runtimeGetVersion()))
        found = replace(found, cuda=number, devices=_devices(runtime))
    if cuda.cudnn_enabled:
        number = cuda.libcudnn.getVersion()  # up to 8: CuPy takes no newer one
        found = replace(found, cudnn=f"{number // 1000}.{number % 1000 // 100}.{number % 100}")
    return found


def _devices(runtime: ModuleType) -> tuple[str, ...]:
    try:
        count = runtime.getDeviceCount()
        return tuple(runtime.getDeviceProperties(index)["name"].decode() for index in range(count))
    except Exception:  # no driver, or one too old: gpu_problem tells
        return ()


def gpu_problem(device: str) -> Problem | None:
    """Tells why Chainer cannot compute on a device.

    Chainer takes any failure of CuPy's import for its absence. This has the failure itself, and on a CuPy that could
    be imported runs a small computation on each GPU, since the CUDA libraries are loaded no earlier than that.

    Args:
        device: `cpu`, `cuda`, `cuda:N`, or several GPUs as `cuda:0,cuda:1`.

    Returns:
        The reason and the remedy, one line as a string; None if Chainer can compute there.

    Raises:
        BackendError: It is no device.
        ImportError: Chainer cannot be imported.
    """
    indices = gpu_indices(device)
    if not indices:
        return None
    compat.install()
    cuda = importlib.import_module("chainer.backends.cuda")
    driver = nvidia_driver()
    if not cuda.available:
        return _import_problem(cuda._resolution_error, driver)
    try:
        count = cuda.cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # CuPy's own exceptions, such as CUDARuntimeError, have no common base
        return Problem(_line(error) if driver is not None else "there is no NVIDIA driver", INSTALL_DRIVER)
    if max(indices) >= count:
        there = ", ".join(f"cuda:{index}" for index in range(count)) or "none"
        return Problem(f"CuPy sees no cuda:{max(indices)}", f"the GPUs are: {there}")
    for index in indices:
        try:
            _compute(cuda.cupy, index)
        except Exception as error:
            return Problem(f"a trial on cuda:{index} failed: {_line(error)}", supply_cupy_libraries(driver))
    return None


def _import_problem(error: BaseException, driver: Driver | None) -> Problem:
    """Returns CuPy's failure, with the remedy that the installed versions point at."""
    by_versions = cupy_problem(driver)
    if by_versions is None:
        return Problem(f"CuPy cannot be imported: {_line(error)}", supply_cupy_libraries(driver))
    if isinstance(error, ModuleNotFoundError) and error.name == "cupy":
        return by_versions
    return Problem(f"CuPy cannot be imported: {_line(error)}: {by_versions.reason}", by_versions.remedy)


def _line(error: BaseException) -> str:
    """Returns an exception in one line; where CuPy wraps one in a banner of advice, the one inside."""
    while error.__cause__ is not None:
        error = error.__cause__
    return in_a_line(error)


def _compute(cupy: ModuleType, index: int) -> None:
    """Compiles and runs a kernel, and calls cuBLAS."""
    with cupy.cuda.Device(index):
        ones = cupy.ones((2, 2), dtype="float32")
        float((ones + 1).dot(ones).sum())
