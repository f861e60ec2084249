"""Reads one variable of a MATLAB file in a process of its own, run by `matlab.read`; prints it as JSON.

A damaged or hostile file can make the reader take all memory or overrun its stack. Here the kernel refuses the memory,
and a crash ends this process only.
"""

from __future__ import annotations

import json
import math
import struct
import sys
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

#: Address space in bytes: MPII's annotations, the largest, need about 800 MB.
MEMORY = 3 << 30

#: The bytes that a file may have when it is decompressed, for each number: MATLAB writes some 64 for each of MPII's.
BYTES_A_NUMBER = 64

#: The most numbers of one array: LSP extended's has 420,000.
LARGEST_ARRAY = 1 << 20

_COMPRESSED = 15  # the type of an element, miCOMPRESSED


class UnreadableError(ValueError):
    """A file, or something in it, that is not read. The message says what."""


def read(path: str, variable: str, most: int) -> npt.NDArray[Any]:
    """Returns a variable that holds data and no more than it may, see `plain`.

    Args:
        path: The file.
        variable: The variable's name.
        most: The most numbers, letters and structs that it may have in all.
    """
    from scipy.io import loadmat, whosmat
    from scipy.io.matlab import MatReadError

    try:
        _refuse_bomb(path, most * BYTES_A_NUMBER)
        sizes = {name: math.prod(shape) for name, shape, _ in whosmat(path)}
        if variable not in sizes:
            raise UnreadableError(f"there is no variable `{variable}` in it, only {', '.join(sizes) or 'none'}")
        if sizes[variable] > LARGEST_ARRAY:
            raise UnreadableError(f"`{variable}` has {sizes[variable]:,} numbers, which no annotations have")
        value: npt.NDArray[Any] = loadmat(path, variable_names=[variable])[variable]
        _count(value, variable, most)
        return value
    except UnreadableError:
        raise
    except MemoryError as error:
        raise UnreadableError(f"it asks for more than {MEMORY >> 30} GB of memory") from error
    except (
        MatReadError,
        NotImplementedError,
        ValueError,
        TypeError,
        OSError,
        KeyError,
        IndexError,
        zlib.error,
    ) as error:
        raise UnreadableError(f"it is damaged or no MATLAB file ({' '.join(str(error).split())[:200]})") from error


def _count(value: npt.NDArray[Any], name: str, most: int) -> int:
    """Returns how many values there are, all told, before any of them becomes Python's.

    Raises:
        UnreadableError: There is an object, a function or a sparse array, or there are more than `most`.
    """
    if type(value) is not np.ndarray:
        raise UnreadableError(f"`{name}` is an object ({type(value).__name__}), which is not read; only data are")
    if value.size > min(most, LARGEST_ARRAY):
        raise UnreadableError(f"it has more values up to `{name}` than any annotations")
    count = value.size
    for part, item in _parts(value):
        count += _count(item, f"{name}{part}", most - count)
    return count


def _parts(value: npt.NDArray[Any]) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Yields the arrays in a struct array or a cell array, each with how it is called there."""
    if value.dtype.names is not None:
        for item in value.ravel("F"):
            yield from ((f".{field}", item[field]) for field in value.dtype.names)
    elif value.dtype == object:
        yield from (("{}", item) for item in value.ravel("F"))


def plain(value: npt.NDArray[Any]) -> Iterator[str]:
    """Yields the JSON of what `read` returned, an array at a time.

    It is a list of dictionaries for a struct array, however many there are; a list for a cell array; a string for
    characters; nested lists, of two levels at least, for numbers.
    """
    if value.dtype.names is None and value.dtype != object:
        yield json.dumps("".join(value.ravel().tolist()) if value.dtype.kind == "U" else value.tolist())
        return
    yield "["
    for i, item in enumerate(value.ravel("F")):
        yield ", " * (i > 0)
        if value.dtype.names is None:
            yield from plain(item)
            continue
        yield "{"
        for j, field in enumerate(value.dtype.names):
            yield f"{', ' * (j > 0)}{json.dumps(field)}: "
            yield from plain(item[field])
        yield "}"
    yield "]"


def _refuse_bomb(path: str, most: int) -> None:
    """Refuses a file of MATLAB 5 to 7 whose compressed elements have more than `most` bytes, by counting."""
    with open(path, "rb") as file:
        order = {b"IM": "<", b"MI": ">"}.get(file.read(128)[126:])
        left = most
        while order is not None and len(tag := file.read(8)) == 8:
            kind, size = struct.unpack(f"{order}II", tag)
            end = file.tell() + size
            unpacker = zlib.decompressobj()
            while kind == _COMPRESSED and not unpacker.eof:
                chunk = unpacker.unconsumed_tail or file.read(max(0, min(1 << 16, end - file.tell())))
                if not chunk:
                    break
                left -= len(unpacker.decompress(chunk, 1 << 20))
                if left < 0:
                    raise UnreadableError(f"it has more than {most >> 20} MB when it is decompressed")
            file.seek(end)


def main() -> int:
    """Reads the file, the variable and the most values that the command line names."""
    _limit_memory()
    path, variable, most = sys.argv[1:]
    try:
        value = read(path, variable, int(most))
    except UnreadableError as error:
        sys.stdout.write(json.dumps({"error": str(error)}))
        return 0
    sys.stdout.write('{"value": ')
    for piece in plain(value):
        sys.stdout.write(piece)
    sys.stdout.write("}")
    return 0


def _limit_memory() -> None:
    """Lets the kernel refuse more memory, where it can: Windows has no such limit."""
    if sys.platform == "win32":
        return
    import resource

    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY if hard == resource.RLIM_INFINITY else min(MEMORY, hard), hard))


if __name__ == "__main__":
    sys.exit(main())
