"""Which engine a checkpoint's file is for, and which one ran it."""

from __future__ import annotations

from converters import Checkpoint
from converters.cascade import Cascade
from converters.values import dataclass
from deeppose_port import backends
from deeppose_port.backends.protocol import Description
from deeppose_port.pose import Pose


@dataclass(frozen=True)
class Engine:
    """What ran a network: its name for people, and its version."""

    title: str
    version: str

    def __str__(self) -> str:
        return f"{self.title} {self.version}".rstrip()


def engine_of(pose: Pose) -> Engine:
    """Returns what runs a pose."""
    from deeppose_port.backends.installed import version  # what reads metadata takes a while to load

    backend = backends.described(pose.backend)
    title, distribution = backend.engines.get(pose.engine, backend.title), pose.engine or backend.distribution
    return Engine(title, version(distribution) or "")


def own_engine(checkpoint: Checkpoint) -> Description:
    """Returns the backend nearest to what wrote a checkpoint's file: Chainer for its files, else PyTorch.

    A network that the engine of its file never had, as those that were rebuilt in PyTorch alone, is PyTorch's.
    """
    engine = checkpoint.source.format.partition("-")[0]
    known = engine in backends.BACKENDS and engine in checkpoint.architecture.engines
    return backends.described(engine if known else "torch")


def usable_engine(read: Checkpoint | Cascade) -> tuple[str, str]:
    """Returns the backend to run a checkpoint in, and why it is not its own; empty where it is.

    A cascade is run in one where all its networks are. Only an engine that is not installed, or cannot be loaded, is
    replaced by PyTorch.
    """
    networks = [read] if isinstance(read, Checkpoint) else list(read.networks.values())
    engines = {own_engine(network).name: own_engine(network) for network in networks}
    own = engines["torch"] if "torch" in engines else next(iter(engines.values()))
    try:
        backends.get(own.name)
    except backends.BackendError as error:
        if own.name == "torch":
            raise
        return "torch", f"it is a file of {own.title}, but is run in PyTorch, and its own engine is not seen: {error}"
    return own.name, ""
