"""Devices as users name them, and the NVIDIA driver, without any engine."""

from __future__ import annotations

import ctypes
import re
import shutil

from converters.errors import DeepPoseError
from converters.values import dataclass

_SMI_SECONDS = 20  # a driver that hangs must not hang us; the first call after a boot may take several seconds


class BackendError(DeepPoseError):
    """A backend or device that cannot be used here. The message says why, and what to do."""


@dataclass(frozen=True)
class Driver:
    """The NVIDIA driver of this machine, as far as it tells.

    Attributes:
        version: Its version, such as `550.54.15`; None when nvidia-smi does not tell.
        cuda: The newest CUDA that it runs, (major, minor); None when libcuda does not tell.
        gpus: The names of its GPUs, in nvidia-smi's order.
    """

    version: str | None
    cuda: tuple[int, int] | None
    gpus: tuple[str, ...]

    def __str__(self) -> str:
        parts = [self.version or "version unknown"]
        if self.cuda is not None:
            parts.append("CUDA {}.{}".format(*self.cuda))
        return ", ".join([*parts, *self.gpus])


def gpu_indices(device: str) -> tuple[int, ...]:
    """Reads a device's name.

    Args:
        device: `cpu`, `cuda`, `cuda:N`, or several GPUs as `cuda:0,cuda:1`.

    Returns:
        The indices of the GPUs; empty for the CPU.

    Raises:
        BackendError: It is no device.
    """
    names = [name.strip() for name in device.split(",")]
    if names == ["cpu"]:
        return ()
    matches = [re.fullmatch(r"cuda(?::(\d+))?", name, re.ASCII) for name in names]
    indices = tuple(int(match[1] or 0) for match in matches if match is not None)
    if len(set(indices)) < len(names):
        raise BackendError(f"{device!r} is no device; devices are cpu, cuda and cuda:N, or several as cuda:0,cuda:1")
    return indices


def cuda_version(number: int) -> tuple[int, int]:
    """Returns (major, minor) of CUDA's own number, 1000 * major + 10 * minor."""
    return number // 1000, number % 1000 // 10


def nvidia_driver() -> Driver | None:
    """Returns the NVIDIA driver, by nvidia-smi and libcuda; None where neither answers."""
    listing = _nvidia_smi()
    cuda = _libcuda()
    if not listing and cuda is None:
        return None
    return Driver(listing[0][0] if listing else None, cuda, tuple(name for _, name in listing))


def _nvidia_smi() -> list[tuple[str, str]]:
    """Returns the driver's version and the name of each GPU."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    import subprocess

    command = [program, "--query-gpu=driver_version,name", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_SMI_SECONDS, check=True).stdout
    except (OSError, ValueError, subprocess.SubprocessError):  # ValueError: bytes that are no text
        return []
    rows = [line.split(",", 1) for line in answer.splitlines() if "," in line]
    return [(version.strip(), name.strip()) for version, name in rows]


def _libcuda() -> tuple[int, int] | None:
    """Returns the CUDA version of the driver's library, without initialising CUDA, which would not survive a fork."""
    number = ctypes.c_int(0)
    try:
        status = ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(number))
    except (OSError, AttributeError):
        return None
    return cuda_version(number.value) if status == 0 and number.value > 0 else None
