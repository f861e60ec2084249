"""Chainer's devices by the names that both backends share."""

from __future__ import annotations

import os

from deeppose_port.backends import BackendError
from deeppose_port.backends.chainer import compat
from deeppose_port.backends.devices import gpu_indices

compat.install()

import chainer  # noqa: E402 - not before compat


def usable_devices(name: str, several: bool = False) -> list[chainer.backend.Device]:
    """Returns the Chainer devices of `cpu`, `cuda`, `cuda:N` or `cuda:0,cuda:1`.

    Args:
        name: What the user asked for.
        several: Whether more than one is of use; `cpu,cpu` too then, which is for trying several devices without GPUs.

    Raises:
        BackendError: It is no device, or CuPy cannot be used here; the message gives the reason that Chainer swallows.
    """
    if several and set(name.split(",")) == {"cpu"}:
        return [chainer.get_device("@numpy") for _ in name.split(",")]
    indices = gpu_indices(name)
    if len(indices) > 1 and not several:
        raise BackendError(f"{name} names {len(indices)} devices; choose one of them")
    if not indices:
        return [chainer.get_device("@numpy")]
    from deeppose_port.backends.chainer.probe import gpu_problem

    # cuDNN's and cuBLAS's TensorFloat-32 keeps 10 bits: the outputs would not be those of the old network. Chainer has
    # no switch for it; the libraries read this one when they are first used.
    os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
    problem = gpu_problem(name)
    if problem is not None:
        raise BackendError(f"Chainer cannot use {name}: {problem}")
    return [chainer.get_device(f"@cupy:{index}") for index in indices]


def usable_device(name: str) -> chainer.backend.Device:
    """Returns the one device of a name; see `usable_devices`."""
    return usable_devices(name)[0]


def refuse_device(name: str) -> None:
    """Refuses devices that cannot be trained on; arguments and errors are those of `usable_devices`."""
    usable_devices(name, several=True)
