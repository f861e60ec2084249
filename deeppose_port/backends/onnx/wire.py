"""ONNX's messages as bytes: Protocol Buffers' wire format, of the fields that a graph here has.

`onnx.helper` makes the same messages, which the tests hold; but to import that package takes longer than everything
else that a picture is predicted with, and only checking and quantising a graph need it.

The numbers of the fields are those of https://github.com/onnx/onnx/blob/main/onnx/onnx-ml.proto, which never change.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from converters.checkpoint import Array

Attribute: TypeAlias = int | float | str | Sequence[int] | Sequence[float]
#: A scalar, or bytes: a string, or a message.
Field: TypeAlias = int | float | bytes

#: ONNX's numbers of the kinds of arrays in a graph.
_KINDS = {np.dtype(np.float32): 1, np.dtype(np.int64): 7}
#: AttributeProto: of a Python type its field, that of a list of it, and the number of its kind.
_ATTRIBUTES = {float: (2, 7, 1), int: (3, 8, 2), str: (4, 9, 3)}
_OF_LISTS = 5  # the number of a list's kind is so much larger
_EXTERNAL = 1


def node(operator: str, inputs: Sequence[str], output: str, attributes: Mapping[str, Attribute]) -> bytes:
    """Returns a NodeProto with one output."""
    parts = [*((1, name.encode()) for name in inputs), (2, output.encode()), (4, operator.encode())]
    return _message(*parts, *((5, _attribute(name, value)) for name, value in attributes.items()))


def tensor(name: str, array: Array, *, apart: bool) -> bytes:
    """Returns a TensorProto of float32 or int64: with its numbers, or as external data that lies in memory."""
    about = [*((1, side) for side in array.shape), (2, _KINDS[array.dtype]), (8, name.encode())]
    if not apart:
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        return _message(*about, (9, little.tobytes()))
    return _message(*about, (13, _pair("location", "memory")), (14, _EXTERNAL))


def value(name: str, shape: Iterable[int | str | None]) -> bytes:
    """Returns a ValueInfoProto of float32; a side is a number, a name, or not known."""
    sides = [
        (1, b"" if side is None else _message((2, side.encode()) if isinstance(side, str) else (1, side)))
        for side in shape
    ]
    kind = _message((1, _KINDS[np.dtype(np.float32)]), (2, _message(*sides)))
    return _message((1, name.encode()), (2, _message((1, kind))))


def graph(
    name: str, nodes: Sequence[bytes], constants: Sequence[bytes], inputs: Sequence[bytes], outputs: Sequence[bytes]
) -> bytes:
    """Returns a GraphProto."""
    named = [(1, each) for each in nodes] + ([(2, name.encode())] if name else [])
    return _message(
        *named, *((5, each) for each in constants), *((11, each) for each in inputs), *((12, each) for each in outputs)
    )


def model(of: bytes, version: int, operators: int, producer: str, about: Mapping[str, str]) -> bytes:
    """Returns a ModelProto.

    Args:
        of: Its graph.
        version: Of ONNX's format.
        operators: The version of ONNX's operators.
        producer: Who wrote it.
        about: Its metadata.
    """
    head = (1, version), (2, producer.encode()), (7, of), (8, _message((1, b""), (2, operators)))
    return _message(*head, *((14, _pair(key, text)) for key, text in about.items()))


def with_constants(model: bytes, constants: Sequence[bytes]) -> bytes:
    """Returns a ModelProto whose graph has more constants: of a message that is there twice, the parts are one."""
    return model + _message((7, graph("", (), constants, (), ()))) if constants else model


def _attribute(name: str, value: Attribute) -> bytes:
    """Returns an AttributeProto."""
    if isinstance(value, int | float | str):
        field, _, kind = _ATTRIBUTES[type(value)]
        return _message((1, name.encode()), (field, _plain(value)), (20, kind))
    _, field, kind = _ATTRIBUTES[type(value[0])]
    return _message((1, name.encode()), *((field, _plain(each)) for each in value), (20, kind + _OF_LISTS))


def _plain(value: int | float | str) -> Field:
    return value.encode() if isinstance(value, str) else value


def _pair(key: str, text: str) -> bytes:
    """Returns a StringStringEntryProto."""
    return _message((1, key.encode()), (2, text.encode()))


def _message(*fields: tuple[int, Field]) -> bytes:
    """Returns a message of numbered fields, in their order."""
    written: list[bytes] = []
    for number, value in fields:
        if isinstance(value, bytes):
            written += (_varint(number << 3 | 2), _varint(len(value)), value)
        elif isinstance(value, float):
            written += (_varint(number << 3 | 5), struct.pack("<f", value))
        else:
            written += (_varint(number << 3), _varint(value & (1 << 64) - 1))
    return b"".join(written)


def _varint(number: int) -> bytes:
    """Returns a number in groups of 7 bits, the lowest first."""
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)
