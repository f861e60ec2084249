"""PyTorch files: a state dict, bare or in somebody's training dictionary, and our own. The only module here with torch.

PyTorch is needed to write them. They are read without it and without a pickle being run: `_torch_file` reads those of
0.2 and later, `_torch_tar` those before, and both give the same lazy tensors.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from converters.checkpoint import Array, Checkpoint, Optimizer
from converters.errors import CheckpointError, reason_of
from converters.formats import _torch_file, _torch_tar
from converters.formats._tensor import Tensor, refuse_overlaps
from converters.formats.format import DAMAGES, Beginning, Contents, Format, encode_metadata, register
from converters.interrupts import Interrupts, Stream, held_while
from converters.keys import Header
from converters.layouts import Training
from converters.stored import Stored

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
#: Where they keep running averages of its weights.
AVERAGE_KEYS = ("ema_state_dict", "state_dict_ema", "model_ema", "ema_model", "ema", "shadow")
_MOST_NESTED = 8
#: The start of what `torch.save` wrote before 1.6: a pickle of a magic number.
_BEFORE_1_6 = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


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
        refuse_overlaps(tensors.values())
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

    values = {str(k): v for k, v in payload.items() if k != "state_dict"} if isinstance(payload, Mapping) else {}
    metadata = {k: values.pop(k) for k in list(values) if own and k not in ("optimizer", "trainer")} or None
    return Contents(
        "pt",
        headers,
        lambda key: tensors[key].chunks(),
        metadata,
        values,
        wrappers,
        training=(lambda: _training_of(values)) if own else None,
        notices=tuple(notices),
    )


def _tells(beginning: Beginning) -> bool:
    if beginning.is_zip:
        return any(name == "data.pkl" or name.endswith("/data.pkl") for name in beginning.members)
    if beginning.start.startswith(_BEFORE_1_6):
        return True
    return b"ustar" in beginning.start[257:263] and _torch_tar.is_torch_tar(beginning.path)


def _load(path: Path) -> object:
    is_tar = not zipfile.is_zipfile(path) and _torch_tar.is_torch_tar(path)
    try:
        return _torch_tar.load(path) if is_tar else _torch_file.load(path)
    except CheckpointError:
        raise
    except _torch_file.NeedsCodeError as error:
        problem = f"it holds more than tensors and plain values: {reason_of(error)}"
        advice = "nothing in it was run; where it was made, save `model.state_dict()` alone"
        raise CheckpointError(path, problem, advice) from error
    except DAMAGES as error:
        problem = f"the PyTorch file cannot be read: {reason_of(error)}"
        if is_tar:
            problem = f"this is a tar file of PyTorch before 0.2, and {reason_of(error)}"
        raise CheckpointError(path, problem, "nothing in it was run; look for a whole copy") from error


def _find_state_dict(path: Path, payload: object) -> tuple[Mapping[str, object], tuple[str, ...]]:
    """Returns the state dict in what `torch.save` was given, and the keys that led to it."""

    def holds_tensors(value: object) -> bool:
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


def _training_of(values: Mapping[str, Any]) -> Training:
    """Returns the optimizer and the rest of the trainer that one of our own files holds.

    Raises:
        ValueError: They are not as `write` writes them.
    """
    try:
        optimizer, slots = None, {}
        if "optimizer" in values:
            slots = values["optimizer"]["slots"]
            optimizer = Optimizer(**{**values["optimizer"], "slots": {}})
        trainer = values.get("trainer", {})
        tensors = [tensor for named in (*slots.values(), trainer) for tensor in named.values()]
        refuse_overlaps(tensor for tensor in tensors if not isinstance(tensor, str | bytes))
        return Training(
            optimizer,
            {slot: {name: tensor.stored(name) for name, tensor in named.items()} for slot, named in slots.items()},
            {key: _stored_or_text(key, value) for key, value in trainer.items()},
        )
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _stored_or_text(key: str, value: Tensor | str | bytes) -> Stored | Array:
    return np.array(value) if isinstance(value, str | bytes) else value.stored(key)


def _plain(checkpoint: Checkpoint, key: str, array: Array) -> torch.Tensor | str | bytes:
    """Returns an array of a trainer as a tensor, or as the text that it is."""
    import torch

    if array.ndim == 0 and array.dtype.kind in "SU" and np.array(array.item()).dtype == array.dtype:
        text: str | bytes = array.item()
        return text
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

    payload: dict[str, object] = {
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

    def save(interrupts: Interrupts) -> None:
        with path.open("wb") as stream:
            writing = Stream(stream, interrupts)
            try:
                torch.save(payload, cast(BinaryIO, writing))
            except RuntimeError:  # what PyTorch's C++ makes of any error of the stream
                if writing.problem is not None:
                    raise writing.problem from None
                raise

    held_while(save)


register(
    Format(
        name="pt",
        title="PyTorch",
        suffixes=(".pt", ".pth", ".ckpt"),
        tells=_tells,
        read=read,
        write=write,
        holds=frozenset({"metadata", "optimizer"}),
    )
)
