"""PyTorch files: a state dict, bare or in somebody's training dictionary, and our own. The only module here with torch.

PyTorch is needed to write them. They are read without it and without a pickle being run: `_torch_file` reads those of
0.2 and later, `_torch_tar` those before, and both give the same lazy tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from converters.cascade import Cascade
from converters.checkpoint import Array, Checkpoint, Optimizer
from converters.errors import CheckpointError, reason_of
from converters.folding import fold
from converters.formats import _torch_file, _torch_tar, _zip
from converters.formats._bfloat16 import WIDENED
from converters.formats._tensor import Tensor, refuse_overlaps
from converters.formats._torch_file import Saved, StandIn
from converters.formats.format import DAMAGES, Beginning, Contents, Format, encode_metadata, register, rules_of
from converters.interrupts import Interrupts, Stream, held_while
from converters.layouts import Training
from converters.stored import Stored

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
    "module",
)
#: Where they keep running averages of its weights.
AVERAGE_KEYS = ("ema_state_dict", "state_dict_ema", "model_ema", "ema_model", "ema", "shadow")
_MOST_NESTED = 8
#: More things in a list are no networks.
_MOST_ITEMS = 16
_MOST_NAMED = 5
#: Networks have more tensors than that.
_FEW = 4
_SAVE_ALONE = "nothing in it was run; where it was made, save `model.state_dict()` alone"
#: The start of what `torch.save` wrote before 1.6: a pickle of a magic number.
_BEFORE_1_6 = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def read(path: Path) -> Contents:
    """Finds the state dict of a file.

    Raises:
        CheckpointError: It is damaged, or holds no state dict, or one with more than tensors in it.
    """
    saved = _load(path)
    top = saved.payload
    if isinstance(top, Mapping) and "deeppose_port" in top and "stages" in top:
        contents = _cascade(path, top)
    else:
        contents = _File(path, top).contents(top)
    if saved.strangers:
        names = f"{', '.join(saved.strangers[:_MOST_NAMED])}{', …' * (len(saved.strangers) > _MOST_NAMED)}"
        contents.notices += (f"it names {names}, of which nothing was made or run",)
    return contents


def _cascade(path: Path, payload: Mapping[str, object]) -> Contents:
    """Returns the contents of a cascade of ours, of which each network is one more file of ours."""
    rules, entries = rules_of(path, payload)
    tensors, parts, said = dict[str, Tensor](), dict[str, Callable[[], Contents]](), dict[str, dict[str, object]]()
    for part, entry in entries.items():
        state = entry.get("state_dict")
        if not isinstance(state, Mapping):
            raise CheckpointError(path, f"its {part} has no state dict", "was it edited? convert the original again")
        whole = {**entry, "deeppose_port": payload["deeppose_port"]}
        parts[part] = partial(_File(path, whole).contents, whole)
        tensors |= {f"{part}.{key}": tensor for key, tensor in _tensors(path, state).items()}
        said[part] = {key: value for key, value in entry.items() if key not in ("state_dict", "optimizer", "trainer")}
    _refuse_shared(path, tensors)
    return Contents(
        "pt",
        {key: tensor.header for key, tensor in tensors.items()},
        lambda key: tensors[key].chunks(),
        {"deeppose_port": payload["deeppose_port"], **rules.metadata(said)},
        parts=parts,
        cascade=rules,
    )


class _File:
    """A file in which a state dict is looked for.

    Args:
        path: The file.
        top: What was saved.
    """

    def __init__(self, path: Path, top: object) -> None:
        self.path = path
        self.top = top if isinstance(top, Mapping) else {}
        self.own = "deeppose_port" in self.top and "state_dict" in self.top
        self.values = {key: one for key, one in self.top.items() if isinstance(key, str) and key != "state_dict"}
        self._known: dict[int, bool] = {}

    def contents(self, payload: object, wrappers: tuple[str, ...] = ()) -> Contents:
        """Returns the contents of a state dict, or of what leads to one by the keys of `wrappers`.

        Raises:
            CheckpointError: As for `read`.
        """
        parts: dict[str, Callable[[], Contents]] = {}
        while len(wrappers) < _MOST_NESTED:
            named = self._named(payload)
            leading = {key: value for key, value in named.items() if isinstance(key, str) and self._leads(value)}
            usual = [key for key in STATE_DICT_KEYS if key in leading]
            # First the usual keys: beside them there may be single tensors, as the last loss.
            if not usual and _holds_tensors(named):
                return self._of_state_dict(named, wrappers, parts)
            found = usual or [key for key in AVERAGE_KEYS if key in leading] or list(leading)
            if not found:
                raise self._no_state_dict(named)
            if not self.own:
                parts = {**{key: partial(self.contents, one, (key,)) for key, one in leading.items()}, **parts}
            if len(found) > 1:
                chosen = {key: reader for key, reader in parts.items() if key in found}
                return Contents("pt", {}, lambda key: iter(()), values=self.values, parts=chosen)
            wrappers += (found[0],)
            payload = named[found[0]]
        problem = f"its state dict is nested too deep: {'/'.join(wrappers)}"
        raise CheckpointError(self.path, problem, "save it as a bare one")

    def _of_state_dict(
        self, state: Mapping[str, object], wrappers: tuple[str, ...], parts: dict[str, Callable[[], Contents]]
    ) -> Contents:
        values, notices = dict(self.values), list[str]()
        beside = [key for key, value in state.items() if _is_beside(key, value)]
        if beside and not self.own:
            state = {key: value for key, value in state.items() if not _is_beside(key, value)}
            notices.append(f"no tensors, beside them and not read: {fold(beside)}")
        tensors = _tensors(self.path, state)
        if any(tensor.widened for tensor in tensors.values()):
            notices.append(WIDENED)
        if not self.own and state is not self.top:
            notices += [
                f"its {key!r} is an optimizer state of PyTorch's and was not read"
                for key, value in values.items()
                if isinstance(value, Mapping) and "param_groups" in value
            ]
            notices += self._said_of(tensors, wrappers, parts)
        metadata = {k: values.pop(k) for k in list(values) if self.own and k not in ("optimizer", "trainer")} or None
        return Contents(
            "pt",
            {key: tensor.header for key, tensor in tensors.items()},
            lambda key: tensors[key].chunks(),
            metadata,
            values,
            wrappers,
            parts=parts,
            training=(lambda: _training_of(values)) if self.own else None,
            notices=tuple(notices),
        )

    def _said_of(self, tensors: Mapping[str, Tensor], wrappers: tuple[str, ...], parts: Iterable[str]) -> Iterator[str]:
        """Yields which of several sets of weights were read, and which were not."""
        shapes = sorted(tensor.shape for tensor in tensors.values())
        if averages := [key for key in wrappers if key in AVERAGE_KEYS]:
            yield f"its weights are those of {averages[0]!r}, where a training keeps a running average"
        for key in dict.fromkeys((*AVERAGE_KEYS, *parts)):
            if key not in wrappers and key in parts:
                is_average = key in AVERAGE_KEYS
                other = sorted(one.shape for one in self._within(self.top.get(key)).values() if isinstance(one, Tensor))
                if is_average or (len(other) >= _FEW and other == shapes):
                    kind = "where a training keeps a running average" if is_average else "a second set of weights"
                    yield f"its {key!r}, {kind}, was not read; --part {key} reads it"

    def _within(self, value: object) -> Mapping[str, object]:
        """Returns the state dict that something is or leads to; nothing if it is or leads to several."""
        for _ in range(_MOST_NESTED):
            if not isinstance(value, Mapping) or _holds_tensors(value):
                break
            value = next((value[key] for key in (*STATE_DICT_KEYS, *AVERAGE_KEYS) if self._leads(value.get(key))), None)
        return value if isinstance(value, Mapping) else {}

    def _named(self, payload: object) -> Mapping[str, object]:
        """Returns what something holds by name; the names in a list are its numbers."""
        if isinstance(payload, list | tuple) and self._leads(payload):
            return {str(i): value for i, value in enumerate(payload[:_MOST_ITEMS])}
        if isinstance(payload, StandIn) and not payload:
            problem = f"it holds {payload!r}, which only code could make again"
            raise CheckpointError(self.path, problem, _SAVE_ALONE)
        if not isinstance(payload, Mapping):
            problem = f"it holds a {type(payload).__name__}, not a state dict"
            raise CheckpointError(self.path, problem, "save `model.state_dict()`")
        return payload

    def _leads(self, value: object, depth: int = _MOST_NESTED) -> bool:
        """Tells whether something is a state dict, or what training scripts put around one."""
        if not depth or not isinstance(value, Mapping | list | tuple):
            return False
        if id(value) not in self._known:
            self._known[id(value)] = False  # until it is known: it may be in itself
            if isinstance(value, Mapping):
                keys = (*STATE_DICT_KEYS, *AVERAGE_KEYS)
                within = [value.get(key) for key in keys if "param_groups" not in value]
            else:
                within = list(value[:_MOST_ITEMS])
            is_one = _holds_tensors(value) and "param_groups" not in value
            self._known[id(value)] = is_one or any(self._leads(one, depth - 1) for one in within)
        return self._known[id(value)]

    def _no_state_dict(self, named: Mapping[str, object]) -> CheckpointError:
        for _ in range(_MOST_NESTED):
            within = [named.get(key) for key in STATE_DICT_KEYS]
            maps = (one for one in within if isinstance(one, Mapping))
            named = next((one for one in maps if one or not isinstance(one, StandIn)), named)
        if "param_groups" in named:
            problem = "it holds the state of an optimizer of PyTorch's, without the network's weights"
            return CheckpointError(self.path, problem, "take the file that has the weights")
        objects = [f"{value!r} as {key!r}" for key, value in named.items() if isinstance(value, StandIn)]
        if objects:
            problem = (
                f"it holds no state dict, but {', '.join(objects[:_MOST_NAMED])}, which only code could make again"
            )
            return CheckpointError(self.path, problem, _SAVE_ALONE)
        keys = ", ".join(map(repr, list(named)[:8])) or "nothing"
        return CheckpointError(self.path, f"it holds no state dict, only {keys}", "save `model.state_dict()`")


def _is_beside(key: str, value: object) -> bool:
    """Tells whether something among tensors is what a script counts, as its epochs: no layer's, a number or text."""
    return isinstance(key, str) and "." not in key and isinstance(value, int | float | str)


def _holds_tensors(value: object) -> bool:
    return isinstance(value, Mapping) and any(isinstance(one, Tensor) for one in value.values())


def _tensors(path: Path, state: Mapping[str, object]) -> dict[str, Tensor]:
    """Returns the tensors of a state dict, all of which can be read."""
    tensors = {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, Tensor)}
    others = [
        f"{key!r} ({value!r})" if isinstance(value, StandIn) else repr(key)
        for key, value in state.items()
        if key not in tensors
    ]
    if others:
        problem = f"its state dict holds {', '.join(sorted(others)[:_MOST_NAMED])}, which are no tensors with a name"
        raise CheckpointError(path, problem, "save `model.state_dict()` alone")
    for key, tensor in tensors.items():
        try:
            tensor.check()
        except ValueError as error:
            raise CheckpointError(path, f"{key!r} {error}", "save it as a dense float32 tensor") from error
    _refuse_shared(path, tensors)
    return tensors


def _refuse_shared(path: Path, tensors: Mapping[str, Tensor]) -> None:
    try:
        refuse_overlaps(tensors.values())
    except ValueError as error:
        raise CheckpointError(path, f"its tensors {error}", "save each by itself, with `.clone()`") from error


def _tells(beginning: Beginning) -> bool:
    if beginning.is_zip:
        return any(name == "data.pkl" or name.endswith("/data.pkl") for name in beginning.members)
    if beginning.start.startswith(_BEFORE_1_6):
        return True
    return b"ustar" in beginning.start[257:263] and _torch_tar.is_torch_tar(beginning.path)


def _load(path: Path) -> Saved:
    is_zip = Beginning.of(path, path.stat().st_size).is_zip
    is_tar = not is_zip and _torch_tar.is_torch_tar(path)
    if not is_zip and _zip.ends_as_one(path):
        problem = "this is a PyTorch file of before 1.6 and a zip file as well, which are read differently"
        raise CheckpointError(path, problem, "nothing was read; where does it come from?")
    try:
        return Saved(_torch_tar.load(path)) if is_tar else _torch_file.load(path)
    except CheckpointError:
        raise
    except _torch_file.NeedsCodeError as error:
        problem = f"it holds more than tensors and plain values: {reason_of(error)}"
        raise CheckpointError(path, problem, _SAVE_ALONE) from error
    except DAMAGES as error:
        problem = f"the PyTorch file cannot be read: {reason_of(error)}"
        if is_tar:
            problem = f"this is a tar file of PyTorch before 0.2, and {reason_of(error)}"
        raise CheckpointError(path, problem, "nothing in it was run; look for a whole copy") from error


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


def _plain(checkpoint: Checkpoint, key: str, array: Array) -> object:
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
    _save(lambda: {**_entry(checkpoint), **encode_metadata(checkpoint)}, checkpoint.source.path, path)


def write_cascade(cascade: Cascade, path: Path) -> None:
    """Writes a plain dict whose `stages` are what `write` writes, each with its `crop`; see `Rules.metadata`."""

    def payload() -> dict[str, object]:
        networks = cascade.networks.items()
        entries = {part: {**_entry(network), **network.metadata()} for part, network in networks}
        return {**encode_metadata(cascade), **cascade.rules.metadata(entries)}

    _save(payload, cascade.source.path, path)


def _entry(checkpoint: Checkpoint) -> dict[str, object]:
    """Returns a network's tensors, and those of its training."""
    import torch

    entry: dict[str, object] = {
        "state_dict": {name: torch.from_numpy(array) for name, array in checkpoint.weights.items()}
    }
    if checkpoint.optimizer is not None:
        entry["optimizer"] = {
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
        entry["trainer"] = {key: _plain(checkpoint, key, array) for key, array in checkpoint.trainer.items()}
    return entry


def _save(payload_of: Callable[[], dict[str, object]], source: str, path: Path) -> None:
    """Saves what PyTorch then makes of a checkpoint."""
    try:
        with Interrupts():  # which an import of that size does not survive
            import torch
    except ImportError as error:
        problem = f"it cannot be written as .pt without PyTorch: {reason_of(error)}"
        raise CheckpointError(source, problem, "safetensors needs none") from error

    payload = _by_value(payload_of(), {})
    save_whole(lambda writing: torch.save(payload, writing), path)


def _by_value(value: object, texts: dict[str, str]) -> object:
    """Returns what is saved with equal texts as one object: a pickle, which tells them apart, follows from the values.

    Args:
        value: What is saved.
        texts: Those that it has so far.
    """
    if isinstance(value, str):
        return texts.setdefault(value, value)
    if isinstance(value, dict):
        return {_by_value(key, texts): _by_value(one, texts) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_by_value(one, texts) for one in value)
    return value


def save_whole(save: Callable[[BinaryIO], None], path: Path) -> None:
    """Lets PyTorch write a file, which at a full disk or a signal in between fails as files do.

    Args:
        save: Writes to what it gets.
        path: The file.

    Raises:
        OSError: It cannot be written.
    """

    def write(interrupts: Interrupts) -> None:
        with path.open("wb") as stream:
            writing = Stream(stream, interrupts)
            try:
                save(cast(BinaryIO, writing))
            except RuntimeError:  # what PyTorch's C++ makes of any error of the stream
                if writing.problem is not None:
                    raise writing.problem from None
                raise

    held_while(write)


register(
    Format(
        name="pt",
        title="PyTorch",
        suffixes=(".pt", ".pth", ".ckpt", ".bin"),
        tells=_tells,
        read=read,
        write=write,
        write_cascade=write_cascade,
        holds=frozenset({"metadata", "optimizer"}),
    )
)
