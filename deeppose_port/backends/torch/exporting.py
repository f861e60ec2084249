"""A checkpoint's network for programs without this one: PyTorch's archive of a traced program, or a plain module."""

from __future__ import annotations

import copy
import io
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from converters import Checkpoint, CheckpointError
from converters.formats import encode_metadata
from deeppose_port.backends.torch.module import write_module
from deeppose_port.backends.torch.networks import DeepPose, load
from deeppose_port.data.arrays import Float32Array

#: What the outputs may differ by from PyTorch's, where they are at most 1.
TOLERANCE = 1e-5
#: The file in a `.pt2` archive that holds its metadata.
METADATA = "deeppose_port.json"
#: Or by this many times what PyTorch's own rounding makes, where a network magnifies it.
_ROUNDINGS = 4
_BATCHES = (1, 3)


def export(checkpoint: Checkpoint, path: Path, format: str) -> None:
    """Writes a checkpoint's network as `torch-export` or `pytorch-module`; see `to_torch_export` and `to_module`."""
    {"torch-export": to_torch_export, "pytorch-module": to_module}[format](checkpoint, path)


def to_torch_export(checkpoint: Checkpoint, path: Path) -> None:
    """Writes a checkpoint's network as a `.pt2` archive, for `torch.export.load`; the batch may have any size.

    The archive's extra file `deeppose_port.json` says what the checkpoint is and how its input is made.

    Args:
        checkpoint: A checkpoint.
        path: An empty file.

    Raises:
        CheckpointError: What is read back does not answer as the network does.
    """
    network = load(checkpoint)
    with _quietly():
        program = torch.export.export(
            network, (_inputs(checkpoint, 2),), dynamic_shapes=({0: torch.export.Dim("batch")},)
        )
        written = io.BytesIO()  # PyTorch's own writer ends the process at a full disk
        torch.export.save(program, written, extra_files={METADATA: json.dumps(encode_metadata(checkpoint))})
        path.write_bytes(written.getbuffer())
        with path.open("rb") as source:
            again = torch.export.load(source).module()

    def run(inputs: Float32Array) -> Float32Array:
        with torch.inference_mode():
            outputs: Float32Array = again(torch.from_numpy(inputs)).numpy()
        return outputs

    _compare(checkpoint, network, run, "torch.export")


def to_module(checkpoint: Checkpoint, path: Path) -> None:
    """Writes a checkpoint's network as plain PyTorch: `net.py` and `weights.pt`, which need nothing of this project.

    Args:
        checkpoint: A checkpoint.
        path: An empty folder.

    Raises:
        CheckpointError: Plain PyTorch lacks a layer of it, or the module does not answer as the network does.
    """
    _compare(checkpoint, load(checkpoint), write_module(checkpoint, path), "the module that was written")


def _inputs(checkpoint: Checkpoint, batch: int) -> torch.Tensor:
    """Returns inputs of the size that the network was trained on, the same ones in every call."""
    side = checkpoint.preprocessing.im_size
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(batch))


def _compare(checkpoint: Checkpoint, network: DeepPose, run: Callable[[Float32Array], Float32Array], what: str) -> None:
    """Refuses a network that was written if it does not answer as the one in memory, for batches of other sizes too.

    Raises:
        CheckpointError: It does not.
    """
    for batch in _BATCHES:
        inputs = _inputs(checkpoint, batch)
        with torch.inference_mode():
            expected = network(inputs).numpy()
        with np.errstate(invalid="ignore"):  # Inf less Inf
            difference = np.abs(run(inputs.numpy()) - expected)
        largest = float(np.abs(expected).max(initial=0, where=np.isfinite(expected)))
        if _agree(difference, expected, TOLERANCE * max(1, largest)):
            continue
        if not _agree(difference, expected, _ROUNDINGS * _rounding(network, inputs, expected)):
            most = difference.max(initial=0, where=np.isfinite(difference))
            problem = f"{what} answers otherwise than PyTorch, by up to {most:g}"
            raise CheckpointError(checkpoint.source.path, problem, "nothing was left behind")


def _agree(difference: Float32Array, expected: Float32Array, bound: float) -> bool:
    """Tells whether outputs are within a bound, and NaN and Inf where they are expected."""
    return bool((np.isnan(difference) == ~np.isfinite(expected)).all() and not (difference > bound).any())


def _rounding(network: DeepPose, inputs: torch.Tensor, expected: Float32Array) -> float:
    """Returns how far PyTorch's float32 itself is from float64: tiny variances magnify every rounding."""
    with torch.inference_mode():
        exact = copy.deepcopy(network).double()(inputs.double()).numpy()
    return float(np.abs(exact - expected).max(initial=0, where=np.isfinite(expected)))


@contextmanager
def _quietly() -> Iterator[None]:
    """Keeps the exporter from talking of PyTorch's own code."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*treespec, LeafSpec.* is deprecated", FutureWarning)
        yield
