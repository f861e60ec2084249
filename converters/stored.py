"""Arrays that are still in their file: their headers are known, their numbers are read when they are wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from converters.checkpoint import Array, as_native
from converters.errors import CheckpointError, reason_of
from converters.files import CHUNK
from converters.keys import Header
from converters.networks import Shape
from converters.processors import in_threads
from converters.values import dataclass

#: A piece of an array's bytes.
Buffer: TypeAlias = bytes | memoryview
#: Called with the bytes done since the last call.
Advance: TypeAlias = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class Stored:
    """An array in a file.

    Attributes:
        path: The file.
        key: What it is called there.
        header: What the file says of it.
        chunks: Yields its bytes as they are stored, piece by piece; may be called from several threads.
    """

    path: Path
    key: str
    header: Header
    chunks: Callable[[], Iterator[Buffer]]

    @property
    def shape(self) -> Shape:
        """Its shape."""
        return self.header.shape

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Its dtype when it is read, in native byte order."""
        native: np.dtype[np.generic] = self.header.dtype.newbyteorder("=")
        return native

    @property
    def nbytes(self) -> int:
        """How many bytes it takes in memory."""
        return self.header.nbytes

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return self.nbytes // self.header.dtype.itemsize

    def read(self, advance: Advance = lambda _: None) -> Array:
        """Reads it.

        Returns:
            An array of its own, C-ordered and in native byte order.

        Raises:
            CheckpointError: The file holds more or fewer bytes than it says, or cannot be read.
        """
        order: Literal["F", "C"] = "F" if self.header.fortran else "C"
        try:
            array = np.empty(self.shape, self.header.dtype, order=order)
        except (MemoryError, ValueError) as error:
            problem = f"{self.key!r} of shape {self.shape} cannot be held in memory: {reason_of(error)}"
            raise CheckpointError(self.path, problem, "if that cannot be, the file is damaged") from error
        buffer = array.reshape(-1, order=order).view(np.uint8).data
        position = 0
        for chunk in self.pieces():
            buffer[position : position + len(chunk)] = chunk
            position += len(chunk)
            advance(len(chunk))
        return as_native(array)

    def blocks(self) -> Iterator[Array]:
        """Reads it piece by piece.

        Yields:
            Its numbers in C order and native byte order, flat, `CHUNK` bytes at a time (the last piece may be shorter).
            Each piece may be written to, and is used again for the next.

        Raises:
            CheckpointError: As for `read`.
        """
        dtype = self.header.dtype
        if self.header.fortran and len(self.shape) > 1:  # the file's order would give the transposed one's numbers
            flat = self.read().reshape(-1)
            yield from (flat[i : i + CHUNK // flat.itemsize] for i in range(0, flat.size, CHUNK // flat.itemsize))
            return
        buffer = np.empty(CHUNK // dtype.itemsize, dtype)
        room, filled = buffer.view(np.uint8).data, 0
        for chunk in self.pieces():
            piece = memoryview(chunk)
            while len(piece):
                taken = min(len(piece), len(room) - filled)
                room[filled : filled + taken] = piece[:taken]
                piece, filled = piece[taken:], filled + taken
                if filled == len(room):
                    yield as_native(buffer)
                    filled = 0
        if filled:
            yield as_native(buffer[: filled // dtype.itemsize])

    def pieces(self) -> Iterator[Buffer]:
        """Yields its bytes, as many as its header says."""
        left = self.nbytes
        try:
            for chunk in self.chunks():
                left -= len(chunk)
                if left < 0:
                    break
                yield chunk
        except CheckpointError:
            raise
        except (EOFError, OSError, ValueError) as error:
            problem = f"{self.key!r} cannot be read: {reason_of(error)}"
            raise CheckpointError(self.path, problem, "is the disk sound? look for a whole copy") from error
        if left:
            problem = f"{self.key!r} does not have the {self.nbytes} bytes that its header says"
            raise CheckpointError(self.path, problem, "the file is damaged; look for another copy")


def read_all(arrays: Mapping[str, Stored], advance: Advance = lambda _: None) -> dict[str, Array]:
    """Reads arrays, each into its place, in as many threads as help.

    Returns:
        The arrays as `Stored.read` gives them, by the same names.

    Raises:
        CheckpointError: As for `Stored.read`.
    """
    return in_threads(lambda name: arrays[name].read(advance), {name: one.nbytes for name, one in arrays.items()})
