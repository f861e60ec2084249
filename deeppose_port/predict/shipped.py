"""The network that comes with this project: what `predict` takes where no checkpoint is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from converters.errors import DeepPoseError

#: Its file, in this package; in a checkout the same is examples/lspet-small.safetensors, with its model card beside it.
NAME = "lspet-small.safetensors"


@contextmanager
def shipped_network() -> Iterator[Path]:
    """Gives the path of the network that comes with this project: LSP's 14 joints, see examples/lspet-small.md.

    Raises:
        DeepPoseError: This installation is without it.
    """
    from importlib import resources  # where a checkpoint is named it is not needed

    file = resources.files("deeppose_port.predict") / NAME
    with resources.as_file(file) as path:  # a copy, where the package is in a zip file
        if not path.is_file():
            raise DeepPoseError("no checkpoint was given, and this installation is without the included network")
        yield path
