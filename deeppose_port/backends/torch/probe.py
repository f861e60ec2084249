"""What PyTorch finds on this machine."""

from __future__ import annotations

import torch

from deeppose_port.backends.devices import gpu_indices, nvidia_driver
from deeppose_port.backends.installed import cuda_problem, install_cuda_torch
from deeppose_port.backends.protocol import Probe


def examine(device: str) -> Probe:
    """Asks PyTorch for its CUDA and the GPUs that it can use; see `Prober`."""
    devices: tuple[str, ...] = ()
    said = None
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]  # raises what torch.cuda.is_available only answers with False
        devices = tuple(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
    except (AssertionError, RuntimeError) as error:  # a build without CUDA; no driver, an old one, no GPU
        said = " ".join(str(error).split())
    cuda, cudnn = torch.version.cuda, torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    driver = nvidia_driver()
    mend = install_cuda_torch(driver)
    return Probe(
        problem=cuda_problem("PyTorch", cuda, len(devices), said, gpu_indices(device), driver, mend),
        devices=devices,
        cuda=cuda,
        cudnn=None if cuda is None or cudnn is None else f"{cudnn // 10000}.{cudnn % 10000 // 100}.{cudnn % 100}",
        replacement=mend,
    )
