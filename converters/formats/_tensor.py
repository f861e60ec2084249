"""Tensors by their place in a file: what every kind of file that `torch.save` ever wrote gives."""

from __future__ import annotations

import codecs
import math
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import field
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from converters.checkpoint import Array
from converters.files import CHUNK
from converters.formats import _zip
from converters.formats._bfloat16 import widened_bfloat16
from converters.formats._pickle import Array as PickledArray
from converters.keys import Header
from converters.networks import Shape
from converters.stored import Stored
from converters.values import dataclass

BFLOAT16 = "bfloat16"  # NumPy has none: the upper half of a float32
#: The types of storages -> their numbers' dtypes.
STORAGES = {
    **{"Half": "float16", "BFloat16": BFLOAT16, "Float": "float32", "Double": "float64"},
    **{"Byte": "uint8", "Char": "int8", "Short": "int16", "Int": "int32", "Long": "int64", "Bool": "bool"},
    **{"ComplexFloat": "complex64", "ComplexDouble": "complex128"},
}
DTYPES = {*STORAGES.values(), "uint16", "uint32", "uint64"}
_MOST_AXES = 32
#: What is repeated without being there as often takes at most so many bytes: a bias, no weight.
_LARGEST_EXPANDED, _MOST_EXPANDED = 1 << 20, 16 << 20


@dataclass(eq=False)
class Storage:
    """Numbers that lie one after the other in the file.

    Attributes:
        dtype: Of its numbers; a phrase for one that is not read.
        length: How many numbers it says it has.
        start: Where in the file they are.
        nbytes: How many bytes there are.
        member: The zip's member that they are, if they are one.
    """

    dtype: str
    length: int
    start: int = 0
    nbytes: int = 0
    member: zipfile.ZipInfo | None = None
    _is_sound: bool = False

    @property
    def itemsize(self) -> int:
        """Bytes of a number."""
        return 2 if self.dtype == BFLOAT16 else np.dtype(self.dtype).itemsize if self.dtype in DTYPES else 1

    def refuse_other_size(self) -> None:
        """Refuses a storage that has fewer bytes than numbers, or more, as PyTorch does.

        Raises:
            ValueError: It has.
        """
        if self.length * self.itemsize > self.nbytes:
            raise ValueError(f"it says that a storage has {self.length} numbers, which are not there")
        if self.length * self.itemsize < self.nbytes and self.dtype in (BFLOAT16, *DTYPES):
            raise ValueError(f"it says that a storage has {self.length} numbers, but it has {self.nbytes} bytes")

    def read(self, path: Path, offset: int, length: int) -> Iterator[bytes]:
        """Reads some of its bytes; those of a zip are compared with their checksum.

        Raises:
            ValueError: The file is damaged.
            EOFError: It ends in them.
        """
        place = self.start
        if self.member is not None:
            if (offset, length) == (0, self.nbytes):
                yield from _zip.read_member(path, self.member, CHUNK)
                return
            if not self._is_sound:
                for _ in _zip.read_member(path, self.member, CHUNK):
                    pass
                self._is_sound = True
            place = _zip.place_of(path, self.member)
        with path.open("rb", buffering=0) as stream:
            stream.seek(place + offset)
            for position in range(0, length, CHUNK):
                piece = stream.read(min(CHUNK, length - position))
                if len(piece) < min(CHUNK, length - position):
                    raise EOFError("the file ends in it")
                yield piece


@dataclass(eq=False)
class Tensor:
    """A tensor, by its place in the file.

    Attributes:
        problem: Why it cannot be read, if it cannot.
        dtype: NumPy's dtype of its numbers when they are read; for bfloat16, which NumPy has not, float32.
        shape: Its shape.
    """

    problem: str | None = None
    dtype: np.dtype[np.generic] = field(default_factory=lambda: np.dtype("f4"))
    shape: Shape = ()
    _path: Path = field(default_factory=Path)
    _stored: np.dtype[np.generic] = field(default_factory=lambda: np.dtype("f4"))
    _storage: Storage = field(default_factory=lambda: Storage("", 0))
    _offset: int = 0
    _strides: Shape = ()

    @classmethod
    def at(
        cls,
        path: Path,
        storage: Storage,
        offset: int,
        shape: Shape,
        strides: Shape,
        dtype: str,
        order: Literal["<", ">"] = "<",
    ) -> Tensor:
        """Returns a tensor in a storage.

        Args:
            path: The file.
            storage: The storage, whose place may be told later.
            offset: Number of its first number there.
            shape: Its shape.
            strides: How many numbers on the next one of each axis is.
            dtype: Of its numbers.
            order: NumPy's sign of their bytes' order.

        Raises:
            ValueError: There can be no such tensor.
        """
        if any(type(n) is not int or not 0 <= n < 1 << 63 for n in (offset, *shape, *strides)):
            raise ValueError("it has a tensor that cannot be")
        if len(shape) != len(strides) or len(shape) > _MOST_AXES:
            raise ValueError("it has a tensor that cannot be")
        if dtype not in DTYPES:
            return cls(f"is a torch.strided tensor of torch.{dtype}, which is not read")
        stored = np.dtype("u2" if dtype == BFLOAT16 else dtype).newbyteorder(order)
        read = np.dtype("f4") if dtype == BFLOAT16 else stored
        return cls(None, read, shape, path, stored, storage, offset, strides)

    @property
    def widened(self) -> bool:
        """Whether it is stored as bfloat16."""
        return self.dtype.itemsize != self._stored.itemsize

    @property
    def stored_bytes(self) -> int:
        """How many bytes of the file its numbers are, were they not expanded."""
        return math.prod(self._apart) * self._stored.itemsize

    @property
    def _apart(self) -> list[int]:
        """The lengths of its axes along which numbers are not only repeated."""
        return [n for n, stride in zip(self.shape, self._strides, strict=True) if stride or not n]

    def check(self) -> None:
        """Makes sure that it can be read.

        Raises:
            ValueError: It cannot; the message goes on from its name.
        """
        if self.problem is not None:
            raise ValueError(self.problem)
        there, whole = self._storage.nbytes, math.prod(self.shape) * self._stored.itemsize
        if self.stored_bytes > there or (whole > there and whole > _LARGEST_EXPANDED):
            raise ValueError(f"of shape {self.shape} has only {there} bytes")
        member = self._storage.member
        if member is not None and member.compress_type != zipfile.ZIP_STORED and self.stored_bytes != there:
            raise ValueError("is a part of a storage that is compressed")  # of which each would inflate the whole
        if 0 not in self.shape and (self._offset + self._span()) * self._stored.itemsize > there:
            raise ValueError(f"of shape {self.shape} ends after the {there} bytes that it lies in")

    @property
    def header(self) -> Header:
        """What is known of it as of any array in a file."""
        return Header(self.dtype, self.shape)

    def stored(self, key: str) -> Stored:
        """Returns it as any array in a file."""
        return Stored(self._path, key, self.header, self.chunks)

    def chunks(self) -> Iterator[memoryview]:
        """Yields its bytes in C order, piece by piece.

        Raises:
            ValueError: It cannot be read.
        """
        self.check()
        if 0 in self.shape:
            return
        contiguous = tuple(math.prod(self.shape[i + 1 :]) for i in range(len(self.shape)))
        if all(n == 1 or s == c for n, s, c in zip(self.shape, self._strides, contiguous, strict=True)):
            for piece in self._pieces(math.prod(self.shape)):
                yield self._bytes(np.frombuffer(piece, self._stored))
            return
        numbers = np.frombuffer(b"".join(self._pieces(self._span())), self._stored)
        strides = [stride * self._stored.itemsize for stride in self._strides]
        view = np.lib.stride_tricks.as_strided(numbers, self.shape, strides, writeable=False)
        yield self._bytes(np.ascontiguousarray(view).reshape(-1))

    def _span(self) -> int:
        """Numbers from its first to its last."""
        return 1 + sum((n - 1) * stride for n, stride in zip(self.shape, self._strides, strict=True))

    def _pieces(self, count: int) -> Iterator[bytes]:
        """Reads numbers from its first on."""
        size = self._stored.itemsize
        left = b""
        for piece in self._storage.read(self._path, self._offset * size, count * size):
            piece, left = left + piece, b""
            if rest := len(piece) % size:  # inflated bytes come as they come
                piece, left = piece[:-rest], piece[-rest:]
            yield piece

    def _bytes(self, numbers: Array) -> memoryview:
        return widened_bfloat16(numbers) if self.widened else numbers.view(np.uint8).data


class PickledTensor(Tensor):
    """An array of NumPy's that is in the pickle itself.

    Args:
        path: The file.
        array: What the pickle says of it.
        open: Opens the stream that its bytes are in.
        storage: The text that they are; arrays that are the same text have the same.
    """

    def __init__(self, path: Path, array: PickledArray, open: Callable[[], BinaryIO], storage: Storage) -> None:
        dtype = array.dtype if array.dtype is not None else np.dtype("f4")
        problem = None if array.dtype is not None else "is an array that is not read"
        super().__init__(problem, dtype, array.shape, path, dtype, storage)
        self._array, self._open = array, open

    @property
    def stored_bytes(self) -> int:
        """How many bytes of the file its numbers are."""
        return self.header.nbytes

    @property
    def header(self) -> Header:
        """What is known of it as of any array in a file."""
        return Header(self.dtype, self.shape, self._array.fortran and len(self.shape) > 1)

    def check(self) -> None:
        """Makes sure that it can be read.

        Raises:
            ValueError: It cannot; the message goes on from its name.
        """
        if self.problem is not None:
            raise ValueError(self.problem)

    def chunks(self) -> Iterator[memoryview]:
        """Yields its bytes as they are stored, piece by piece."""
        self.check()
        text = self._array.data
        decoder = codecs.getincrementaldecoder("utf-8")()
        with self._open() as stream:
            stream.seek(text.start)
            for position in range(0, text.length, CHUNK):
                piece = stream.read(min(CHUNK, text.length - position))
                yield memoryview(decoder.decode(piece).encode("latin-1") if self._array.encoded else piece)


def refuse_overlaps(tensors: Iterable[Tensor]) -> None:
    """Refuses many tensors that are the same few numbers; two may share theirs, as tied weights do.

    Raises:
        ValueError: There are such, or one that cannot be read; the message goes on from their name.
    """
    total, expanded, storages = 0, 0, {}
    for tensor in tensors:
        tensor.check()
        total += tensor.stored_bytes
        expanded += tensor.header.nbytes // (2 if tensor.widened else 1) - tensor.stored_bytes
        storages[id(tensor._storage)] = tensor._storage.nbytes
    if expanded > _MOST_EXPANDED:
        raise ValueError(f"have {expanded:,} bytes that are the same numbers again")
    if total > 2 * sum(storages.values()):
        raise ValueError(f"have {total} bytes, but are the same {sum(storages.values())} of the file")
