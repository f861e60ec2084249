"""Reads one variable of a MATLAB file in a process of its own, run by `matlab.read`; prints it as JSON.

A damaged or hostile file can make the reader take all memory or overrun its stack. Here the kernel refuses the memory,
and a crash ends this process only. Run as a script, so that no module of the working folder can take another's place.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

#: Address space in bytes. MPII's annotations, the largest, need a tenth of it.
MEMORY = 8 << 30


class UnreadableError(ValueError):
    """A file, or something in it, that is not read. The message says what."""


def read(path: str, variable: str) -> Any:
    """Returns a variable in plain values, see `plain`."""
    from scipy.io import loadmat, whosmat
    from scipy.io.matlab import MatReadError

    try:
        names = [name for name, _, _ in whosmat(path)]
        if variable not in names:
            raise UnreadableError(f"there is no variable `{variable}` in it, only {', '.join(names) or 'none'}")
        return plain(loadmat(path, variable_names=[variable])[variable], variable)
    except UnreadableError:
        raise
    except MemoryError as error:
        raise UnreadableError(f"it asks for more than {MEMORY >> 30} GB of memory") from error
    except (MatReadError, NotImplementedError, ValueError, TypeError, OSError, KeyError, IndexError) as error:
        raise UnreadableError(f"it is damaged or no MATLAB file ({' '.join(str(error).split())[:200]})") from error


def plain(value: npt.NDArray[Any], name: str) -> Any:
    """Turns what scipy.io.loadmat gives into plain values.

    Args:
        value: An array of any kind.
        name: What it is called, for messages.

    Returns:
        A list of dictionaries for a struct array, however many there are; a list for a cell array; a string for
        characters; nested lists, of two levels at least, for numbers.

    Raises:
        UnreadableError: It is an object, a function or a sparse array.
    """
    if type(value) is not np.ndarray:
        raise UnreadableError(f"`{name}` is an object ({type(value).__name__}), which is not read; only data are")
    if value.dtype.names is not None:
        fields = value.dtype.names
        return [{field: plain(item[field], f"{name}.{field}") for field in fields} for item in value.ravel("F")]
    if value.dtype == object:
        return [plain(item, f"{name}{{}}") for item in value.ravel("F")]
    if value.dtype.kind == "U":
        return "".join(value.ravel().tolist())
    return value.tolist()


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
