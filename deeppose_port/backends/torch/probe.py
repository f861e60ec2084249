"""What PyTorch finds on this machine."""

from __future__ import annotations

from typing import TypedDict

import torch


class Probe(TypedDict):
    """PyTorch's own account.

    `cuda` is the CUDA that it was built with, None for a build without; `cudnn` its cuDNN; `devices` the names of the
    GPUs that it can use, and `problem` why there are none.
    """

    version: str
    cuda: str | None
    cudnn: str | None
    devices: tuple[str, ...]
    problem: str | None


def probe() -> Probe:
    """Asks PyTorch for its version and the GPUs that it can use."""
    found = Probe(version=torch.__version__, cuda=torch.version.cuda, cudnn=None, devices=(), problem=None)
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]  # raises what torch.cuda.is_available only answers with False
        found["devices"] = tuple(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
    except (AssertionError, RuntimeError) as error:  # a build without CUDA; no driver, an old one, no GPU
        found["problem"] = " ".join(str(error).split())
    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    if found["cuda"] is not None and cudnn is not None:
        found["cudnn"] = f"{cudnn // 10000}.{cudnn % 10000 // 100}.{cudnn % 100}"  # cuDNN 9
    return found
