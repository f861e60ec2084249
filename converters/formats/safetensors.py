"""safetensors: the weights, with the provenance in the header's metadata. It holds no optimizer state."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from converters.cascade import Cascade
from converters.checkpoint import Array, Checkpoint, bytes_of
from converters.errors import CheckpointError, reason_of
from converters.files import CHUNK
from converters.formats._bfloat16 import WIDENED, widened_bfloat16
from converters.formats.format import Beginning, Contents, Format, decode_metadata, encode_metadata, register, rules_of
from converters.keys import Header
from converters.stored import Buffer, Stored

if TYPE_CHECKING:
    from safetensors import safe_open

_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
_KINDS = {name: kind for kind, name in _DTYPES.items()}
_BFLOAT16 = "BF16"
_READ = {**_DTYPES, _BFLOAT16: "float32"}
#: As JSON in memory it takes many times as much.
_LARGEST_HEADER = 8 << 20
_LENGTH = struct.Struct("<Q")  # of the header, before it


def read(path: Path) -> Contents:
    """Reads the header.

    Raises:
        CheckpointError: The header is damaged or lies, or a tensor is of a kind that NumPy does not have.
    """
    headers, widened = {}, set[str]()
    with _open(path) as file:
        metadata = file.metadata() or {}
        for key in file.keys():  # noqa: SIM118 - not a mapping
            view = file.get_slice(key)
            kind = view.get_dtype()
            if kind not in _READ:
                raise CheckpointError(path, f"{key!r} is of dtype {kind}, which is not read", "save it as float32")
            headers[key] = Header(np.dtype(_READ[kind]), tuple(view.get_shape()))
            if kind == _BFLOAT16:
                widened.add(key)

    offsets = _offsets(path)

    def chunks(key: str) -> Iterator[Buffer]:
        # Read, not mapped: pages of a mapped file count as this process's memory.
        start, end = offsets[key]
        with path.open("rb", buffering=0) as stream:
            stream.seek(start)
            for position in range(start, end, CHUNK):
                piece = stream.read(min(CHUNK, end - position))
                yield widened_bfloat16(np.frombuffer(piece, "<u2")) if key in widened else piece

    notices = (WIDENED,) if widened else ()
    contents = Contents("safetensors", headers, chunks, _from_strings(metadata), notices=notices)
    return _cascade(path, contents) if "stages" in (contents.metadata or {}) else contents


def _cascade(path: Path, contents: Contents) -> Contents:
    """Returns the contents of a cascade of ours, of which each network is one more file of ours."""
    metadata = contents.metadata or {}
    rules, said = rules_of(path, metadata)
    tensors: dict[str, dict[str, str]] = {part: {} for part in said}
    for key in contents.headers:
        stage, joint, *_ = f"{key}.".split(".", 2)
        part = stage if stage in said else f"{stage}.{joint}"
        if part not in said:
            raise CheckpointError(path, f"{key!r} belongs to no stage of its cascade", "was it edited?")
        tensors[part][key.removeprefix(f"{part}.")] = key

    def part_of(part: str) -> Contents:
        keys = tensors[part]
        return replace(
            contents,
            headers={name: contents.headers[key] for name, key in keys.items()},
            chunks=lambda name: contents.chunks(keys[name]),
            metadata={**said[part], "deeppose_port": metadata["deeppose_port"]},
        )

    return replace(contents, parts={part: partial(part_of, part) for part in said}, cascade=rules)


def _tells(beginning: Beginning) -> bool:
    if len(beginning.start) <= _LENGTH.size or beginning.start[_LENGTH.size : _LENGTH.size + 1] != b"{":
        return False
    if _LENGTH.unpack(beginning.start[: _LENGTH.size])[0] > beginning.size - _LENGTH.size:
        raise CheckpointError(beginning.path, "this safetensors file is cut short", "look for a whole copy")
    return True


def _open(path: Path) -> safe_open:
    from safetensors import SafetensorError, safe_open

    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(_LENGTH.size), "little")
    if length > _LARGEST_HEADER:
        problem = f"its header has {length:,} bytes, where those of the largest networks have 0.2 million"
        raise CheckpointError(path, problem, "nothing was read")
    try:
        return safe_open(path, framework="np")
    except (SafetensorError, OSError) as error:
        problem = f"the safetensors file cannot be opened: {reason_of(error)}"
        raise CheckpointError(path, problem, "look for a whole copy") from error


def _offsets(path: Path) -> dict[str, tuple[int, int]]:
    """Returns where each tensor starts and ends in a file whose header the library has found good."""
    with path.open("rb") as stream:
        (length,) = _LENGTH.unpack(stream.read(_LENGTH.size))
        values = json.loads(stream.read(length))
    places = {key: tensor["data_offsets"] for key, tensor in values.items() if key != "__metadata__"}
    first = _LENGTH.size + length
    return {key: (first + start, first + end) for key, (start, end) in places.items()}


def _from_strings(metadata: dict[str, str]) -> dict[str, object] | None:
    if "deeppose_port" not in metadata:
        return None
    values = {}
    for name, text in metadata.items():
        try:
            values[name] = json.loads(text)
        except (ValueError, RecursionError):
            values[name] = text
    return decode_metadata(json.dumps(values))


def write(checkpoint: Checkpoint, path: Path, *, layout: str | None = None) -> None:
    """Writes the weights; every value of the metadata is a string, JSON where it is not one already."""
    write_cascade(checkpoint, path)


def write_cascade(cascade: Cascade | Checkpoint, path: Path) -> None:
    """Writes the weights of every network, each tensor under the name of its stage."""
    weights = cascade.weights
    with path.open("wb") as stream:
        stream.write(header(cascade, weights))
        for name in places(weights):
            stream.write(bytes_of(weights[name]))


def places(tensors: Mapping[str, Array | Stored]) -> dict[str, tuple[int, int]]:
    """Returns where after the header each tensor starts and ends, in the file's order."""
    result, position = {}, 0
    # The larger kinds first, so that each number is aligned; in the network's order otherwise.
    for name, array in sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize):
        result[name] = position, position + array.nbytes
        position += array.nbytes
    return result


def header(checkpoint: Checkpoint | Cascade, tensors: Mapping[str, Array | Stored], room: int = 0) -> bytes:
    """Returns what a file starts with, filled up with spaces to `room` bytes.

    Args:
        checkpoint: What the file is of; its arrays are not looked at.
        tensors: What the file holds.
        room: The least number of bytes.

    Raises:
        CheckpointError: The format has no kind for one of the arrays.
    """
    metadata = {"format": "pt"}  # what other readers of safetensors look for
    for name, value in encode_metadata(checkpoint).items():
        metadata[name] = value if isinstance(value, str) else json.dumps(value)
    values: dict[str, object] = {"__metadata__": metadata}
    for name, place in places(tensors).items():
        array = tensors[name]
        if array.dtype.name not in _KINDS:
            problem = f"{name!r} is of dtype {array.dtype}, which safetensors does not have"
            raise CheckpointError(checkpoint.source.path, problem, "choose another format")
        values[name] = {"dtype": _KINDS[array.dtype.name], "shape": list(array.shape), "data_offsets": list(place)}
    text = json.dumps(values).encode()
    text = text.ljust(max(room - _LENGTH.size, -(-len(text) // 8) * 8))
    return _LENGTH.pack(len(text)) + text


register(
    Format(
        name="safetensors",
        title="safetensors",
        suffixes=(".safetensors",),
        tells=_tells,
        read=read,
        write=write,
        write_cascade=write_cascade,
        holds=frozenset({"metadata"}),
        pieces=True,
    )
)
