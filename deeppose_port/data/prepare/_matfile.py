"""Reads one variable of a MATLAB file in a process of its own, run by `matlab.read`; prints it as JSON.

A damaged or hostile file can make the reader take all memory or overrun its stack. Here the kernel refuses the memory,
and a crash ends this process only. Run as a script, so that no module of the working folder can take another's place.
"""

from __future__ import annotations

import json
import math
import struct
import sys
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

#: Address space in bytes: MPII's annotations, the largest, need about 800 MB.
MEMORY = 3 << 30

#: The most bytes that a file may have when it is decompressed: MATLAB writes some 64 for each of MPII's numbers.
DECOMPRESSED = 1 << 30

#: The most numbers and letters that a variable may have in all: MPII's persons, points and names have about 4 million.
LARGEST = 1 << 24

_COMPRESSED = 15  # the type of an element, miCOMPRESSED


class UnreadableError(ValueError):
    """A file, or something in it, that is not read. The message says what."""


def read(path: str, variable: str) -> object:
    """Returns a variable in plain values, see `Plain`."""
    from scipy.io import loadmat, whosmat
    from scipy.io.matlab import MatReadError

    try:
        _refuse_bomb(path)
        sizes = {name: math.prod(shape) for name, shape, _ in whosmat(path)}
        if variable not in sizes:
            raise UnreadableError(f"there is no variable `{variable}` in it, only {', '.join(sizes) or 'none'}")
        if sizes[variable] > LARGEST // 4:
            raise UnreadableError(f"`{variable}` has {sizes[variable]:,} numbers, which no annotations have")
        return Plain().plain(loadmat(path, variable_names=[variable])[variable], variable)
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


class Plain:
    """Turns what scipy.io.loadmat gives into plain values, and counts them."""

    def __init__(self) -> None:
        self._left = LARGEST

    def plain(self, value: npt.NDArray[Any], name: str) -> object:
        """Returns a variable, or a part of one, in plain values.

        Args:
            value: An array of any kind.
            name: What it is called, for messages.

        Returns:
            A list of dictionaries for a struct array, however many there are; a list for a cell array; a string for
            characters; nested lists, of two levels at least, for numbers.

        Raises:
            UnreadableError: It is an object, a function or a sparse array, or there are too many values.
        """
        if type(value) is not np.ndarray:
            raise UnreadableError(f"`{name}` is an object ({type(value).__name__}), which is not read; only data are")
        self._left -= value.size
        if self._left < 0:
            raise UnreadableError(f"with `{name}` it has over {LARGEST:,} values, which no annotations have")
        if value.dtype.names is not None:
            fields = value.dtype.names
            return [
                {field: self.plain(item[field], f"{name}.{field}") for field in fields} for item in value.ravel("F")
            ]
        if value.dtype == object:
            return [self.plain(item, f"{name}{{}}") for item in value.ravel("F")]
        if value.dtype.kind == "U":
            return "".join(value.ravel().tolist())
        return value.tolist()


def _refuse_bomb(path: str) -> None:
    """Refuses a file of MATLAB 5 to 7 whose compressed elements are longer than any annotations, by counting."""
    with open(path, "rb") as file:
        order = {b"IM": "<", b"MI": ">"}.get(file.read(128)[126:])
        left = DECOMPRESSED
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
                    raise UnreadableError(f"it has more than {DECOMPRESSED >> 20} MB when it is decompressed")
            file.seek(end)


def main() -> int:
    """Reads the file and the variable that the command line names."""
    _limit_memory()
    try:
        text = json.dumps({"value": read(*sys.argv[1:])})
    except UnreadableError as error:
        text = json.dumps({"error": str(error)})
    sys.stdout.write(text)
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
