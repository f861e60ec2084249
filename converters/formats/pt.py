"""PyTorch files: a state dict, bare or in somebody's training dictionary, and our own. The only module here with torch.

Everything is loaded with `weights_only=True`; a file that needs more is refused, never loaded another way.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from converters.checkpoint import Array, Checkpoint, CheckpointError, as_native, bytes_of
from converters.formats import Contents, encode_metadata
from converters.keys import Header

if TYPE_CHECKING:
    import torch

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


def read(path: Path) -> Contents:
    """Finds the state dict of a file.

    Raises:
        CheckpointError: It is damaged, needs code to be run, or holds no state dict or several.
    """
    import torch

    payload = _load(path)
    own = isinstance(payload, Mapping) and "deeppose_port" in payload and "state_dict" in payload
    state, wrappers = _find_state_dict(path, payload)
    tensors = {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}
    others = sorted(str(key) for key in state.keys() - tensors.keys())
    if others:
        raise CheckpointError(path, f"its state dict holds {', '.join(others[:5])}, which are no tensors")
    headers, notices = {}, []
    for key, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_complex() or tensor.is_quantized:
            raise CheckpointError(path, f"{key!r} is a {tensor.layout} tensor of {tensor.dtype}, which is not read")
        dtype = torch.float32 if tensor.dtype == torch.bfloat16 else tensor.dtype
        headers[key] = Header(np.dtype(str(dtype).removeprefix("torch.")), tuple(tensor.shape))
    if any(tensor.dtype == torch.bfloat16 for tensor in tensors.values()):
        notices.append("bfloat16 became float32, which holds each of its values")
    if isinstance(payload, Mapping) and not own:
        notices += [
            f"its {key!r} is an optimizer state of PyTorch's and was not read"
            for key, value in payload.items()
            if isinstance(value, Mapping) and "param_groups" in value
        ]

    def chunks(key: str) -> Iterator[memoryview]:
        yield bytes_of(_to_numpy(tensors[key]))

    values = {str(k): v for k, v in payload.items() if k != "state_dict"} if isinstance(payload, Mapping) else {}
    metadata = {k: values.pop(k) for k in list(values) if own and k not in ("optimizer", "trainer")} or None
    return Contents("pt", headers, chunks, metadata, values, wrappers, notices=tuple(notices))


def _load(path: Path) -> Any:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        what = next((line.strip() for line in str(error).splitlines() if "GLOBAL" in line.upper()), str(error))
        problem = f"it holds more than tensors and plain values: {what.splitlines()[0][:200]}"
        advice = "nothing in it was run; where it was made, save `model.state_dict()` alone"
        raise CheckpointError(path, problem, advice) from error
    except (
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        OSError,
    ) as error:
        problem = f"the PyTorch file cannot be read: {str(error).splitlines()[0][:200] or type(error).__name__}"
        raise CheckpointError(path, problem, "look for a whole copy") from error


def _find_state_dict(path: Path, payload: Any) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Returns the state dict in what `torch.save` was given, and the keys that led to it."""
    import torch

    if not isinstance(payload, Mapping):
        problem = f"it holds a {type(payload).__name__}, not a state dict"
        raise CheckpointError(path, problem, "save `model.state_dict()`")

    def holds_tensors(value: Any) -> bool:
        return isinstance(value, Mapping) and any(isinstance(v, torch.Tensor) for v in value.values())

    if holds_tensors(payload):
        return payload, ()
    found = [key for key in STATE_DICT_KEYS if isinstance(payload.get(key), Mapping)]
    found = found or [key for key, value in payload.items() if holds_tensors(value)]
    if len(found) != 1:
        keys = ", ".join(map(repr, found or list(payload)[:8]))
        problem = f"it holds several networks: {keys}" if found else f"it holds no state dict, only {keys or 'nothing'}"
        raise CheckpointError(path, problem, "save the one that is meant as a bare state dict")
    state, wrappers = _find_state_dict(path, payload[found[0]])
    return state, (str(found[0]), *wrappers)


def _to_numpy(tensor: torch.Tensor) -> Array:
    import torch

    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    return as_native(tensor.detach().numpy())


def optimizer_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns our own optimizer entry with arrays in place of tensors."""
    slots = {s: {name: _to_numpy(t) for name, t in tensors.items()} for s, tensors in values["slots"].items()}
    return {**values, "slots": slots}


def trainer_values(values: Mapping[str, Any]) -> dict[str, Array]:
    """Returns our own trainer entry as arrays."""
    return {key: np.array(v) if isinstance(v, str) else _to_numpy(v) for key, v in values.items()}


def write(checkpoint: Checkpoint, path: Path, *, layout: str | None = None) -> None:
    """Writes a plain dict: `state_dict`, the metadata, and `optimizer` and `trainer` where there are any."""
    import torch

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
        payload["trainer"] = {
            key: str(array) if array.dtype.kind == "U" else torch.from_numpy(array)
            for key, array in checkpoint.trainer.items()
        }
    with path.open("xb") as stream:
        torch.save(payload, stream)
