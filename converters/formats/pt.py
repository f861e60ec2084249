"""PyTorch files: a state dict, bare or in somebody's training dictionary, and our own. The only module here with torch.

PyTorch is needed to write them. They are read without it and without a pickle being run: see `torch_file`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from converters.checkpoint import Array, Checkpoint, Optimizer
from converters.errors import CheckpointError, reason_of
from converters.formats import DAMAGES, Contents, encode_metadata, torch_file, torch_tar
from converters.formats.torch_file import HeldTensor, Tensor
from converters.interrupts import Interrupts
from converters.keys import Header

#: Where training scripts keep the network.
STATE_DICT_KEYS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "network",
    "net",
    "weights",
    "params",
)
#: Where they keep running averages of its weights.
AVERAGE_KEYS = ("ema_state_dict", "state_dict_ema", "model_ema", "ema_model", "ema", "shadow")
_MOST_NESTED = 8


def read(path: Path) -> Contents:
    """Finds the state dict of a file.

    Raises:
        CheckpointError: It is damaged, needs code to be run, or holds no state dict or several.
    """
    payload = _load(path)
    own = isinstance(payload, Mapping) and "deeppose_port" in payload and "state_dict" in payload
    state, wrappers = _find_state_dict(path, payload)
    tensors = {k: value for k, value in state.items() if isinstance(k, str) and isinstance(value, Tensor)}
    others = sorted(repr(key) for key in state.keys() - tensors.keys())
    if others:
        problem = f"its state dict holds {', '.join(others[:5])}, which are no tensors with a name"
        raise CheckpointError(path, problem, "save `model.state_dict()` alone")
    headers, notices = {}, []
    for key, tensor in tensors.items():
        try:
            tensor.check()
        except ValueError as error:
            raise CheckpointError(path, f"{key!r} {error}", "save it as a dense float32 tensor") from error
        headers[key] = Header(tensor.dtype, tensor.shape)
    try:
        torch_file.refuse_overlaps(tensors.values())
    except ValueError as error:
        raise CheckpointError(path, f"its tensors {error}", "save each by itself, with `.clone()`") from error
    if any(tensor.widened for tensor in tensors.values()):
        notices.append("bfloat16 became float32, which holds each of its values")
    if isinstance(payload, Mapping) and not own:
        notices += [
            f"its {key!r} is an optimizer state of PyTorch's and was not read"
            for key, value in payload.items()
            if isinstance(value, Mapping) and "param_groups" in value
        ]
        averages = [key for key in AVERAGE_KEYS if isinstance(payload.get(key), Mapping)]
        notices += [
            f"its {key!r}, where a training keeps a running average, was not read; save it alone to have it read"
            for key in averages
            if wrappers and wrappers[0] not in averages
        ]

    def chunks(key: str) -> Iterator[memoryview]:
        try:
            yield from tensors[key].chunks()
        except (EOFError, OSError, ValueError) as error:
            raise CheckpointError(
                path, f"{key!r} cannot be read: {reason_of(error)}", "look for a whole copy"
            ) from error

    values = {str(k): v for k, v in payload.items() if k != "state_dict"} if isinstance(payload, Mapping) else {}
    metadata = {k: values.pop(k) for k in list(values) if own and k not in ("optimizer", "trainer")} or None
    return Contents("pt", headers, chunks, metadata, values, wrappers, notices=tuple(notices))


def _load(path: Path) -> Any:
    try:
        if not zipfile.is_zipfile(path) and torch_tar.is_torch_tar(path):
            return _with_tensors(torch_tar.load(path))
        return torch_file.load(path)
    except CheckpointError:
        raise
    except torch_file.NeedsCodeError as error:
        problem = f"it holds more than tensors and plain values: {reason_of(error)}"
        advice = "nothing in it was run; where it was made, save `model.state_dict()` alone"
        raise CheckpointError(path, problem, advice) from error
    except DAMAGES as error:
        problem = f"the PyTorch file cannot be read: {reason_of(error)}"
        raise CheckpointError(path, problem, "look for a whole copy") from error


def _with_tensors(value: Any) -> Any:
    """Returns a tar file's value with tensors for its arrays."""
    if isinstance(value, np.ndarray):
        return HeldTensor(value)
    if isinstance(value, Mapping):
        return {key: _with_tensors(item) for key, item in value.items()}
    return [_with_tensors(item) for item in value] if isinstance(value, list | tuple) else value


def _find_state_dict(path: Path, payload: Any) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Returns the state dict in what `torch.save` was given, and the keys that led to it."""

    def holds_tensors(value: Any) -> bool:
        return isinstance(value, Mapping) and any(isinstance(v, Tensor) for v in value.values())

    wrappers: list[str] = []
    while len(wrappers) < _MOST_NESTED:
        if not isinstance(payload, Mapping):
            problem = f"it holds a {type(payload).__name__}, not a state dict"
            raise CheckpointError(path, problem, "save `model.state_dict()`")
        # First the usual keys: beside them there may be single tensors, as the last loss.
        found = [key for key in STATE_DICT_KEYS if isinstance(payload.get(key), Mapping)]
        if not found and holds_tensors(payload):
            return payload, tuple(wrappers)
        found = found or [key for key in AVERAGE_KEYS if isinstance(payload.get(key), Mapping)]
        found = found or [key for key, value in payload.items() if holds_tensors(value)]
        if not found and "param_groups" in payload:
            problem = "it holds the state of an optimizer of PyTorch's, without the network's weights"
            raise CheckpointError(path, problem, "take the file that has the weights")
        if len(found) != 1:
            keys = ", ".join(map(repr, found or list(payload)[:8])) or "nothing"
            problem = f"it holds several networks: {keys}" if found else f"it holds no state dict, only {keys}"
            raise CheckpointError(path, problem, "save the one that is meant as a bare state dict")
        wrappers.append(str(found[0]))
        payload = payload[found[0]]
    raise CheckpointError(path, f"its state dict is nested too deep: {'/'.join(wrappers)}", "save it as a bare one")


def training_of(values: Mapping[str, Any]) -> tuple[Optimizer | None, dict[str, Array]]:
    """Returns the optimizer and the rest of the trainer that one of our own files holds.

    Args:
        values: `Contents.values` of such a file.

    Raises:
        ValueError: They are not as `write` writes them.
    """
    try:
        groups = [tensors for _, tensors in _items(values.get("optimizer", {}), "slots")]
        read = [value for group in (*groups, values.get("trainer", {})) for value in group.values()]
        torch_file.refuse_overlaps(value for value in read if not isinstance(value, str | bytes))
        trainer = {k: np.array(v) if isinstance(v, str | bytes) else v.array() for k, v in _items(values, "trainer")}
        optimizer = None
        if "optimizer" in values:
            slots = {slot: {k: v.array() for k, v in ts.items()} for slot, ts in _items(values["optimizer"], "slots")}
            optimizer = Optimizer(**{**values["optimizer"], "slots": slots})
    except (LookupError, TypeError, AttributeError, RuntimeError, EOFError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    return optimizer, trainer


def _items(values: Mapping[str, Any], key: str) -> Any:
    return values.get(key, {}).items()


def _plain(checkpoint: Checkpoint, key: str, array: Array) -> Any:
    """Returns an array of a trainer as a tensor, or as the text that it is."""
    import torch

    if array.ndim == 0 and array.dtype.kind in "SU" and np.array(array.item()).dtype == array.dtype:
        return array.item()
    try:
        return torch.from_numpy(array)
    except TypeError as error:
        problem = f"its trainer's {key!r} is an array of {array.dtype}, which no tensor can be"
        raise CheckpointError(checkpoint.source.path, problem, "read the weights alone with --no-state") from error


def write(checkpoint: Checkpoint, path: Path, *, layout: str | None = None) -> None:
    """Writes a plain dict: `state_dict`, the metadata, and `optimizer` and `trainer` where there are any."""
    try:
        with Interrupts():  # which an import of that size does not survive
            import torch
    except ImportError as error:
        problem = f"it cannot be written as .pt without PyTorch: {reason_of(error)}"
        raise CheckpointError(checkpoint.source.path, problem, "safetensors needs none") from error

    payload: dict[str, Any] = {
        "state_dict": {name: torch.from_numpy(array) for name, array in checkpoint.weights.items()},
        **encode_metadata(checkpoint),
    }
    if checkpoint.optimizer is not None:
        payload["optimizer"] = {
            "algorithm": checkpoint.optimizer.algorithm,
            "step": checkpoint.optimizer.step,
            "epoch": checkpoint.optimizer.epoch,
            "step_per_parameter": checkpoint.optimizer.step_per_parameter,
            "slots": {
                slot: {name: torch.from_numpy(array) for name, array in arrays.items()}
                for slot, arrays in checkpoint.optimizer.slots.items()
            },
        }
    if checkpoint.trainer:
        payload["trainer"] = {key: _plain(checkpoint, key, array) for key, array in checkpoint.trainer.items()}
    with Interrupts() as interrupts, path.open("wb") as stream:
        writing = _Stream(stream, interrupts)
        try:
            torch.save(payload, cast(BinaryIO, writing))
        except RuntimeError:
            if writing.problem is not None:
                raise writing.problem from None
            if not interrupts.waiting:
                raise


class _Stream:
    """What `torch.save` writes to: its C++ makes errors of its own of what a stream raises, so that it is kept here."""

    def __init__(self, stream: BinaryIO, interrupts: Interrupts) -> None:
        self.stream = stream
        self.interrupts = interrupts
        self.problem: OSError | None = None

    def write(self, data: Any) -> int:
        """Writes, unless somebody wants to end it."""
        if self.interrupts.waiting:
            raise InterruptedError
        try:
            return self.stream.write(data)
        except OSError as error:
            self.problem = error
            raise

    def flush(self) -> None:
        """Writes what is left."""
        self.stream.flush()
