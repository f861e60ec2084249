"""Reads pickles of protocol 2 without Python's own unpickler: a machine for the few instructions that data needs.

A pickle is a program. This machine can make numbers, strings, tuples, lists and dicts; what else a file may name, make,
call and fill is for a format's own subclass to say, and by itself nothing is. Strings are not even read: they are told
by their place in the file, so that arrays of any size cost nothing here. What a file can make stays small, because the
instructions are counted, and nothing here goes down into what was made, so that nesting does no harm.
"""

from __future__ import annotations

import copy
import math
import os
import pickle
import re
import struct
from collections.abc import Callable
from dataclasses import field
from typing import BinaryIO, TypeVar

import numpy as np

from converters.networks import Shape
from converters.values import dataclass

LONGEST_NAME = 200
#: Greater numbers as keys could be chosen so that their hashes are the same.
LARGEST_KEY = 1 << 53
#: What NumPy's arrays are made with, in pickles of every Python.
ARRAY_NAMES = (
    *("numpy.dtype", "_codecs.encode"),
    *(f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")),
)
_Kind = TypeVar("_Kind")
_DTYPE = re.compile(rb"[fiu][1248]|b1")
_ORDERS = (b"<", b">", b"|", b"=")
_MOST_AXES = 32
_DEEPEST = 64


class UnpicklingError(ValueError):
    """What a file holds that is refused."""


@dataclass(frozen=True)
class Text:
    """A string, by its place in the file."""

    start: int
    length: int


class Machine:
    """Runs the instructions of one pickle that data needs, and refuses all others.

    Args:
        stream: Where the pickle begins.
        size: Bytes of the whole stream.
        most: The most instructions that are run.
    """

    def __init__(self, stream: BinaryIO, size: int, most: int = 100_000) -> None:
        self._stream = stream
        self._size = size
        self._most = most
        self._stack: list[object] = []
        self._marks: list[int] = []
        self._memo: dict[int, object] = {}
        self._read: dict[Text, bytes] = {}
        self._decoded: dict[Text, str] = {}

    def run(self) -> object:
        """Returns what the pickle makes.

        Raises:
            UnpicklingError: It is damaged, or needs more than data needs.
        """
        for _ in range(self._most):
            instruction = self.take(1)
            if instruction == pickle.STOP:
                return self._pop()
            work = _INSTRUCTIONS.get(instruction)
            if work is None:
                raise UnpicklingError(f"it has the instruction {instruction!r}, which none of them has")
            work(self)
        raise UnpicklingError(f"it has more than {self._most:,} instructions, where they have a few thousand")

    # --- what a format says ------------------------------------------------------------------------------------------

    def name(self, module: str, name: str) -> object:
        """Returns what stands for a class or function; it is never looked for."""
        raise UnpicklingError(f"it asks for {module}.{name}, which none of them is made of")

    def make(self, kind: object, arguments: object) -> object:
        """Returns a new object of a kind that `name` returned."""
        raise UnpicklingError("it makes something that none of them is made of")

    def call(self, function: object, arguments: object) -> object:
        """Returns what stands for the result of a call of what `name` returned."""
        raise UnpicklingError("it calls something that none of them calls")

    def fill(self, value: object, state: object) -> None:
        """Gives an object its state."""
        raise UnpicklingError("it fills something that none of them is made of")

    def refer(self, number: object) -> object:
        """Returns what stands for something that is elsewhere in the file."""
        raise UnpicklingError("it refers to something outside of itself")

    def key(self, value: object) -> object:
        """Returns the key of a dict."""
        return self.string(value).decode("ascii", "backslashreplace")

    def container(self, value: object, kind: type[_Kind]) -> _Kind:
        """Returns the dict or the list into which something is put that is meant for a value."""
        if not isinstance(value, kind):
            raise UnpicklingError(f"it puts something into a {type(value).__name__}")
        return value

    # --- the file ----------------------------------------------------------------------------------------------------

    def take(self, length: int) -> bytes:
        """Reads some bytes."""
        data = self._stream.read(length)
        if len(data) < length:
            raise UnpicklingError("it is cut short")
        return data

    def string(self, value: object, longest: int = LONGEST_NAME) -> bytes:
        """Returns a short string's bytes."""
        if not isinstance(value, Text) or value.length > longest:
            raise UnpicklingError("it has something else where a name should be")
        if value not in self._read:  # a file may refer to one of them without end
            position = self._stream.tell()
            self._stream.seek(value.start)
            self._read[value] = self.take(value.length)
            self._stream.seek(position)
        return self._read[value]

    def text(self, value: object, longest: int) -> str:
        """Returns a string that is text, made once."""
        content = self.string(value, longest)
        assert isinstance(value, Text)
        if value not in self._decoded:
            self._decoded[value] = content.decode("utf-8", "backslashreplace")
        return self._decoded[value]

    def _number(self, kind: str) -> int:
        return int(struct.unpack(kind, self.take(struct.calcsize(kind)))[0])

    def _line(self) -> str:
        line = self._stream.readline(LONGEST_NAME)
        if not line.endswith(b"\n"):
            raise UnpicklingError("it names a class without an end")
        return line[:-1].decode("ascii", "backslashreplace")

    def _text(self, length: int) -> None:
        """Pushes a string, which is passed over."""
        start = self._stream.tell()
        if not 0 <= length <= self._size - start:
            raise UnpicklingError(f"it has a string of {length} bytes where {self._size - start} are left")
        self._stream.seek(length, os.SEEK_CUR)
        self._stack.append(Text(start, length))

    # --- the stack ---------------------------------------------------------------------------------------------------

    def _pop(self) -> object:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise UnpicklingError("it takes what it has not made")
        return self._stack.pop()

    def _pop_to_mark(self) -> list[object]:
        if not self._marks:
            raise UnpicklingError("it takes what it has not made")
        mark = self._marks.pop()
        values = self._stack[mark:]
        del self._stack[mark:]
        return values

    def _top(self, kind: type[_Kind]) -> _Kind:
        value = self._pop()
        self._stack.append(value)
        return self.container(value, kind)

    def _tuple(self, length: int) -> None:
        values = [self._pop() for _ in range(length)]
        self._stack.append(tuple(reversed(values)))

    def _get(self, number: int) -> None:
        if number not in self._memo:
            raise UnpicklingError("it takes what it has not made")
        self._stack.append(self._memo[number])

    def _put(self, number: int) -> None:
        value = self._pop()
        self._memo[number] = value
        self._stack.append(value)

    # --- instructions with a meaning of their own --------------------------------------------------------------------

    def _protocol(self) -> None:
        if self.take(1) != b"\x02":
            raise UnpicklingError("it is not of protocol 2")

    def _mark(self) -> None:
        self._marks.append(len(self._stack))

    def _long(self) -> None:
        self._stack.append(int.from_bytes(self.take(self._number("<B")), "little", signed=True))

    def _name(self) -> None:
        self._stack.append(self.name(self._line(), self._line()))

    def _make(self) -> None:
        arguments, kind = self._pop(), self._pop()
        self._stack.append(self.make(kind, arguments))

    def _make_after_mark(self) -> None:
        kind, *arguments = self._pop_to_mark() or [None]
        self._stack.append(self.make(kind, tuple(arguments)))

    def _call(self) -> None:
        arguments, function = self._pop(), self._pop()
        self._stack.append(self.call(function, arguments))

    def _fill(self) -> None:
        state, value = self._pop(), self._pop()
        self.fill(value, state)
        self._stack.append(value)

    def _refer(self) -> None:
        self._stack.append(self.refer(self._pop()))

    def _append(self) -> None:
        value = self._pop()
        self._top(list).append(value)

    def _extend(self) -> None:
        values = self._pop_to_mark()
        self._top(list).extend(values)

    def _set_item(self) -> None:
        self._set_items([self._pop(), self._pop()][::-1])

    def _set_items(self, values: list[object]) -> None:
        target: dict[object, object] = self._top(dict)
        if len(values) % 2:
            raise UnpicklingError("it has a name without a value")
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[self.key(key)] = value


@dataclass(eq=False)
class Dtype:
    """What a pickle says of an array's numbers."""

    code: bytes
    order: bytes = b"="


@dataclass(eq=False)
class Array:
    """An array of NumPy's.

    Attributes:
        dtype: Of its numbers; None for one that has none.
        shape: Its shape.
        fortran: Whether its bytes are in Fortran order.
        data: Its bytes.
        encoded: Whether they are the characters of a text in UTF-8, as Python 3 spells bytes in protocol 2.
    """

    dtype: np.dtype[np.generic] | None = None
    shape: Shape = ()
    fortran: bool = False
    data: Text = field(default_factory=lambda: Text(0, 0))
    encoded: bool = False


@dataclass(frozen=True)
class Encoded:
    """Bytes that are the characters of a text."""

    text: Text


class ArrayMachine(Machine):
    """A machine that makes NumPy's arrays too; a subclass's `call` and `fill` hand on what is theirs."""

    def array_or_dtype(self, name: str, arguments: object) -> Array | Dtype | Encoded:
        """Returns what a call of one of `ARRAY_NAMES` makes.

        Raises:
            UnpicklingError: It makes something else than arrays of numbers.
        """
        if type(arguments) is not tuple or not arguments:
            raise UnpicklingError("it calls something that none of them calls")
        if name == "_codecs.encode":
            if not isinstance(arguments[0], Text) or self.string(arguments[1]) != b"latin1":
                raise UnpicklingError("it has bytes that cannot be")
            return Encoded(arguments[0])
        if name.endswith("._reconstruct"):
            return Array()
        code = self.string(arguments[0])
        if not _DTYPE.fullmatch(code):
            raise UnpicklingError(f"it has an array of {code!r}, which are no numbers")
        return Dtype(code)

    def fill_array_or_dtype(self, value: Array | Dtype, state: object) -> None:
        """Gives an array its shape and place, a dtype its order of bytes.

        Raises:
            UnpicklingError: They cannot be.
        """
        if isinstance(value, Dtype) and type(state) is tuple and len(state) > 1:
            value.order = self.string(state[1], longest=1)
            if value.order not in _ORDERS:
                raise UnpicklingError(f"it has an array whose bytes are in the order {value.order!r}")
            return
        if not isinstance(value, Array) or type(state) is not tuple or len(state) != 5:
            raise UnpicklingError("it fills something that none of them is made of")
        _, shape, dtype, fortran, data = state
        value.encoded = isinstance(data, Encoded)
        text = data.text if isinstance(data, Encoded) else data
        if not (
            type(shape) is tuple
            and len(shape) <= _MOST_AXES
            and all(type(length) is int and 0 <= length <= self._size for length in shape)
            and isinstance(dtype, Dtype)
            and isinstance(text, Text)
        ):
            raise UnpicklingError("it has an array that cannot be")
        value.dtype = np.dtype((dtype.order + dtype.code).decode())
        nbytes = math.prod(shape) * value.dtype.itemsize
        if not nbytes <= text.length <= nbytes * (2 if value.encoded else 1):
            raise UnpicklingError(f"it has an array of shape {shape} with {text.length} bytes instead of {nbytes}")
        value.shape, value.fortran, value.data = shape, bool(fortran), text


def rebuilt(value: object, leaf: Callable[[object], object]) -> object:
    """Returns dicts, lists and tuples with `leaf` applied to all else in them; what is there twice stays one thing.

    Raises:
        UnpicklingError: They are nested deeper than data is.
    """
    made: dict[int, object] = {}

    def rebuild(value: object, depth: int) -> object:
        if not isinstance(value, dict | list | tuple):
            return leaf(value)
        if id(value) in made:
            return made[id(value)]
        if depth > _DEEPEST:
            raise UnpicklingError("it is nested too deep")
        if isinstance(value, dict):
            named: dict[object, object] = copy.copy(value)
            made[id(value)] = named
            named.update({key: rebuild(item, depth + 1) for key, item in value.items()})
        elif isinstance(value, list):
            items: list[object] = []
            made[id(value)] = items
            items.extend(rebuild(item, depth + 1) for item in value)
        else:
            made[id(value)] = tuple(rebuild(item, depth + 1) for item in value)
        return made[id(value)]

    return rebuild(value, 0)


def _pushing(make: Callable[[], object]) -> Callable[[Machine], None]:
    return lambda machine: machine._stack.append(make())


#: What data of protocol 2 is made of.
_INSTRUCTIONS: dict[bytes, Callable[[Machine], object]] = {
    pickle.PROTO: Machine._protocol,
    pickle.MARK: Machine._mark,
    pickle.NONE: _pushing(lambda: None),
    pickle.NEWTRUE: _pushing(lambda: True),
    pickle.NEWFALSE: _pushing(lambda: False),
    pickle.BININT: lambda machine: machine._stack.append(machine._number("<i")),
    pickle.BININT1: lambda machine: machine._stack.append(machine._number("<B")),
    pickle.BININT2: lambda machine: machine._stack.append(machine._number("<H")),
    pickle.LONG1: Machine._long,
    pickle.BINFLOAT: lambda machine: machine._stack.append(struct.unpack(">d", machine.take(8))[0]),
    pickle.BINSTRING: lambda machine: machine._text(machine._number("<i")),
    pickle.SHORT_BINSTRING: lambda machine: machine._text(machine._number("<B")),
    pickle.BINUNICODE: lambda machine: machine._text(machine._number("<I")),
    pickle.EMPTY_TUPLE: _pushing(tuple),
    pickle.EMPTY_LIST: _pushing(list),
    pickle.EMPTY_DICT: _pushing(dict),
    pickle.TUPLE: lambda machine: machine._stack.append(tuple(machine._pop_to_mark())),
    pickle.TUPLE1: lambda machine: machine._tuple(1),
    pickle.TUPLE2: lambda machine: machine._tuple(2),
    pickle.TUPLE3: lambda machine: machine._tuple(3),
    pickle.APPEND: Machine._append,
    pickle.APPENDS: Machine._extend,
    pickle.SETITEM: Machine._set_item,
    pickle.SETITEMS: lambda machine: machine._set_items(machine._pop_to_mark()),
    pickle.GLOBAL: Machine._name,
    pickle.NEWOBJ: Machine._make,
    pickle.OBJ: Machine._make_after_mark,
    pickle.REDUCE: Machine._call,
    pickle.BUILD: Machine._fill,
    pickle.BINPERSID: Machine._refer,
    pickle.BINPUT: lambda machine: machine._put(machine._number("<B")),
    pickle.LONG_BINPUT: lambda machine: machine._put(machine._number("<I")),
    pickle.BINGET: lambda machine: machine._get(machine._number("<B")),
    pickle.LONG_BINGET: lambda machine: machine._get(machine._number("<I")),
}
