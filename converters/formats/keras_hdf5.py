"""Keras 2's HDF5, as `model.save_weights` and `model.save` write it under `.h5`; it is only read.

A group a layer, with its arrays in a group of the same name; an attribute of all names the layers. A layer's
number goes up from layer to layer of its kind, but need not begin at 0: a program that had built another network before
goes on from there. Here each kind is numbered anew, as in a program that built this one alone: `conv2d`, `conv2d_1`, ….
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from converters.errors import CheckpointError
from converters.formats._channels_last import channels_first, pieces_channels_first
from converters.formats._hdf5 import (
    MAGIC,
    KeptOpen,
    arrays_in,
    header_of,
    item_of,
    long_values,
    open_file,
    told_of,
)
from converters.formats.format import Beginning, Contents, Format, register
from converters.keys import Header
from converters.networks import TENSORFLOW_WRITER

if TYPE_CHECKING:
    import h5py

#: Where `model.save` puts what `model.save_weights` writes.
_WHOLE_MODEL = "model_weights"
_OPTIMIZER = "optimizer_weights"
#: The attribute that names the layers; of more than 64 KB the first part of it.
_LAYERS = ("layer_names", "layer_names0")
_NUMBERED = re.compile(r"(.+)_(\d{1,9})", re.DOTALL)
#: Of a kind with more gaps in its numbers than this no layer is missing: it is numbered in another way.
_MOST_LEFT_OUT = 20
#: The attribute with a whole model's configuration, and how that begins.
_CONFIGURATION, _BEGINNINGS = "model_config", (b'{"class_name"', b'{"module"')
#: Of Keras's later files, in which no attribute names the layers.
_LATER = ("layers", "_layer_checkpoint_dependencies")


def _tells(beginning: Beginning) -> bool:
    if not beginning.start.startswith(MAGIC):
        return False
    with told_of(beginning.path, "the HDF5 file"), open_file(beginning.path) as file:
        return _names_layers(file) or _WHOLE_MODEL in file or any(name in file for name in _LATER)


def _names_layers(group: h5py.Group) -> bool:
    return any(name in group.attrs for name in _LAYERS)


def read(path: Path) -> Contents:
    """Reads the headers of every array of every layer.

    Raises:
        CheckpointError: h5py is not installed, the file is damaged or of a later Keras, or it points outside of itself.
    """
    places: dict[str, str] = {}
    headers: dict[str, Header] = {}
    with told_of(path, "the HDF5 file"), open_file(path) as file:
        prefix = "" if _names_layers(file) else _WHOLE_MODEL
        group = item_of(path, file, prefix, prefix) if prefix in file else file
        if not _names_layers(group):
            problem = "this is HDF5 of a later Keras (`.weights.h5`), which does not name its layers"
            raise CheckpointError(path, problem, "save it with Keras 2: model.save_weights('model.h5')")
        # The names in the attributes are not read: the HDF5 library may never come back from damaged ones.
        found = dict(arrays_in(path, group, leave_out=_OPTIMIZER))
        anew = _numbered_anew([name.partition("/")[0] for name in found])
        for name, item in found.items():
            layer = name.partition("/")[0]
            key = f"{anew[layer]}/{name.rpartition('/')[2].partition(':')[0]}"
            if key in places:
                raise CheckpointError(path, f"{layer!r} has {key!r} twice", "nothing was read")
            with told_of(path, repr(name)):
                stored = header_of(path, item, name)
            headers[key] = Header(stored.dtype, channels_first(stored.shape))
            places[key] = item.name
        optimizer, described = _OPTIMIZER in file, _CONFIGURATION in file.attrs

    kept = KeptOpen(path)

    def chunks(key: str) -> Iterator[memoryview]:
        with told_of(path, repr(key)):
            yield from pieces_channels_first(kept[places[key]][()])

    notices = ["its optimizer's state is Keras's and was not read"] if optimizer else []
    values: dict[str, object] = {}
    if described:
        config = _configuration_in(path)
        values = {} if config is None else {_CONFIGURATION: config, "layer_names": anew}
        notices += [f"its {_CONFIGURATION} cannot be read, and was not compared with its network"] if not values else []
    return Contents(
        "keras-hdf5",
        headers,
        chunks,
        values=values,
        writer=TENSORFLOW_WRITER,
        notices=tuple(notices),
        doubts=tuple(_doubts(anew)),
    )


def _configuration_in(path: Path) -> dict[str, object] | None:
    """Returns the configuration of a whole model, which is JSON; None where it cannot be read.

    The last one is it: of one that was written over, what was there before may be left.
    """
    text = next(reversed([*long_values(path, _BEGINNINGS)]), b"")
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        return None
    inner = config.get("config")
    return dict(config) if isinstance(inner, dict) and isinstance(inner.get("layers"), list) else None


def _numbered_anew(layers: list[str]) -> dict[str, str]:
    """Returns the layers' names with each kind numbered from 0, which is not written."""
    kinds: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for name in dict.fromkeys(layers):
        kind, number = _numbered(name)
        kinds[kind].append((number, name))
    anew = {
        name: f"{kind}_{i}" if i else kind
        for kind, numbered in kinds.items()
        for i, (_, name) in enumerate(sorted(numbered))
    }
    return {name: anew[name] for name in layers}


def _numbered(layer: str) -> tuple[str, int]:
    """Returns a layer's kind and its number."""
    found = _NUMBERED.fullmatch(layer)
    return (found[1], int(found[2])) if found else (layer, 0)


def _doubts(anew: Mapping[str, str]) -> Iterator[str]:
    """Yields which numbers of each kind are left out, and how a kind is called here whose numbers begin later."""
    kinds: dict[str, set[int]] = defaultdict(set)
    for layer in anew:
        kind, number = _numbered(layer)
        kinds[kind].add(number)
    for kind, numbers in kinds.items():
        first, last = min(numbers), max(numbers)
        if 0 < last - first + 1 - len(numbers) <= _MOST_LEFT_OUT:
            missing = (f"{kind}_{number}" for number in range(first, last) if number not in numbers)
            yield f"there is no {', '.join(missing)} among the others of the kind"
        if first:
            yield f"its {kind}_{first} is called {kind} here, and so on"


register(
    Format(
        name="keras-hdf5",
        title="Keras HDF5",
        suffixes=(".h5",),
        tells=_tells,
        read=read,
    )
)
