"""Several processes that train together, as `torchrun` starts them; one process is the case of one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor, distributed
from torch.distributed.rendezvous import rendezvous

from converters.values import dataclass
from deeppose_port.backends import BackendError
from deeppose_port.backends.torch.prediction import usable_device
from deeppose_port.backends.torchrun import own_gpu, rank_and_size

T = TypeVar("T")

_joined = itertools.count()


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank: Its number.
        size: How many there are.
        device: Its device.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def sum(self, *numbers: float) -> list[float]:
        """Returns the sum of each number over all processes.

        Raises:
            BackendError: Another process has ended. So for the others.
        """
        if self.size == 1:
            return list(numbers)
        tensor = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        with _connected():
            distributed.all_reduce(tensor)
            return [float(value) for value in tensor.tolist()]

    def gather(self, value: T) -> list[T]:
        """Returns every process's value, in the order of their numbers."""
        if self.size == 1:
            return [value]
        values = [value] * self.size
        with _connected():
            distributed.all_gather_object(values, value)
        return values

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Gives every process the first one's tensors, in place."""
        if self.size > 1:
            with _connected():
                for tensor in tensors:
                    distributed.broadcast(tensor, 0)


@contextmanager
def _connected() -> Iterator[None]:
    """Turns what PyTorch says when another process is gone into an error of ours."""
    try:
        yield
    except RuntimeError as error:
        reason = (str(error).strip().splitlines() or ["no reason"])[0]
        raise BackendError(f"the processes lost each other; another one has ended and says why ({reason})") from error


@cache
def _store() -> distributed.Store:  # type: ignore[name-defined]
    """Returns what torchrun's processes meet by, one for all trainings of this process."""
    store: distributed.Store = next(rendezvous("env://"))[0]  # type: ignore[name-defined]
    return store


def refuse_device(device: str) -> torch.device:
    """Returns this process's device, and refuses one that cannot be used; arguments are those of `processes`.

    Raises:
        BackendError: See there.
    """
    if "," in device:
        count = len(device.split(","))
        raise BackendError(
            f"PyTorch trains on several devices in several processes: torchrun --nproc-per-node {count} "
            "-m deeppose_port train --backend torch --device cuda …"
        )
    if rank_and_size()[1] > 1 and device.startswith("cuda"):
        device = own_gpu() or "cuda:0"
    return usable_device(device)


@contextmanager
def processes(device: str) -> Iterator[Processes]:
    """Joins the processes that torchrun started, if it did and the program has not.

    Args:
        device: `cpu`, `cuda` (under torchrun: each process its own GPU) or `cuda:N`.

    Raises:
        BackendError: The device cannot be used, or names several without torchrun.
    """
    own, (rank, size) = refuse_device(device), rank_and_size()
    if size == 1:
        yield Processes(0, 1, own)
        return
    if own.type == "cuda":
        torch.cuda.set_device(own)
    joins = not distributed.is_initialized()  # a program that trains more than once has joined them itself
    if joins:
        # Each time by other keys: those of the time before still tell where processes were to be found then.
        prefix = f"deeppose-port/{next(_joined)}"
        store = distributed.PrefixStore(prefix, _store())  # type: ignore[attr-defined]
        kind = "nccl" if own.type == "cuda" else "gloo"
        distributed.init_process_group(kind, store=store, rank=rank, world_size=size)
    try:
        yield Processes(rank, size, own)
    finally:
        if joins:
            distributed.destroy_process_group()
