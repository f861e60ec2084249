"""A checkpoint's network for programs without this one: PyTorch's archive of a traced program, or a plain module."""

from __future__ import annotations

import copy
import io
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from converters import Checkpoint
from converters.formats import encode_metadata
from deeppose_port.backends.proof import Answers, inputs_of, refuse_other_answers
from deeppose_port.backends.torch.module import write_module
from deeppose_port.backends.torch.networks import DeepPose, load
from deeppose_port.data.arrays import Float32Array

#: The file in a `.pt2` archive that holds its metadata.
METADATA = "deeppose_port.json"
#: How many times what PyTorch's own rounding makes outputs may differ by.
_ROUNDINGS = 4


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
            network, (torch.from_numpy(inputs_of(checkpoint, 2)),), dynamic_shapes=({0: torch.export.Dim("batch")},)
        )
        written = io.BytesIO()  # PyTorch's own writer ends the process at a full disk
        torch.export.save(program, written, extra_files={METADATA: json.dumps(encode_metadata(checkpoint))})
        path.write_bytes(written.getbuffer())
        with path.open("rb") as source:
            again = torch.export.load(source).module()
    _prove(checkpoint, network, lambda inputs: _run(again, inputs), "torch.export")


def to_module(checkpoint: Checkpoint, path: Path) -> None:
    """Writes a checkpoint's network as plain PyTorch: `net.py` and `weights.pt`, which need nothing of this project.

    Args:
        checkpoint: A checkpoint.
        path: An empty folder.

    Raises:
        CheckpointError: Plain PyTorch lacks a layer of it, or the module does not answer as the network does.
    """
    _prove(checkpoint, load(checkpoint), write_module(checkpoint, path), "the module that was written")


def _prove(checkpoint: Checkpoint, network: DeepPose, written: Answers, what: str) -> None:
    """Refuses what was written of a network if it answers otherwise than that does in PyTorch."""

    def rounding(inputs: Float32Array, expected: Float32Array) -> float:
        return _ROUNDINGS * _rounding(network, inputs, expected)

    refuse_other_answers(checkpoint, lambda inputs: _run(network, inputs), written, rounding, what)


def _run(network: torch.nn.Module, inputs: Float32Array) -> Float32Array:
    with torch.inference_mode():
        outputs: Float32Array = network(torch.from_numpy(inputs)).numpy()
    return outputs


def _rounding(network: DeepPose, inputs: Float32Array, expected: Float32Array) -> float:
    """Returns how far PyTorch's float32 itself is from float64: tiny variances magnify every rounding."""
    with torch.inference_mode():
        exact = copy.deepcopy(network).double()(torch.from_numpy(inputs).double()).numpy()
    return float(np.abs(exact - expected).max(initial=0, where=np.isfinite(expected)))


@contextmanager
def _quietly() -> Iterator[None]:
    """Keeps the exporter from talking of PyTorch's own code."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*treespec, LeafSpec.* is deprecated", FutureWarning)
        yield
