"""MATLAB files: a variable in plain values, and what the irregularities of hand-made structs come to."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np

from deeppose_port.data.arrays import Float64Array
from deeppose_port.data.prepare.source import PrepareError

#: Runs the reader from its text, which may be in a zip file; no module of the working folder can take another's place.
_START = "import sys; del sys.path[0]; exec(compile({text!r}, '_matfile.py', 'exec'))"
#: The most numbers, letters and structs that a variable may have: MPII's have about 4 million. One array has less.
_LARGEST, _LARGEST_ARRAY = 1 << 23, 1 << 20
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def read(path: Path, variable: str, most: int = _LARGEST) -> object:
    """Reads a variable of a MATLAB file (versions 4 to 7; 7.3 is HDF5) in a process of its own.

    Args:
        path: The file.
        variable: The variable's name.
        most: The most numbers, letters and structs that it may have in all.

    Returns:
        A list of dictionaries for a struct array, however many there are; a list for a cell array; a string for
        characters; nested lists, of two levels at least, for numbers.

    Raises:
        PrepareError: The file cannot be read, has no such variable, or holds objects in it.
    """
    _refuse_hdf5(path)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # threads take address space
    text = files(__package__).joinpath("_matfile.py").read_text(encoding="utf-8")
    command = [sys.executable, "-c", _START.format(text=text), str(path.resolve()), variable, str(most)]
    result = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if result.returncode != 0:
        raise PrepareError(f"{path}: {_failure(result)}")
    answer = json.loads(result.stdout)
    if "error" in answer:
        raise PrepareError(f"{path}: {answer['error']}; is it the file that its authors publish?")
    return answer["value"]


def numbers(path: Path, variable: str) -> Float64Array:
    """Reads an array of numbers, see `as_numbers`; `read` says what it raises."""
    return as_numbers(read(path, variable, _LARGEST_ARRAY), f"{path}: `{variable}`")


def as_numbers(value: object, what: str) -> Float64Array:
    """Makes an array of nested lists of numbers, NaN for what is not finite; `what` names them in errors.

    Raises:
        PrepareError: They are something else.
    """
    try:
        array = np.array(value, np.float64)
    except (TypeError, ValueError) as error:
        raise PrepareError(f"{what} is no array of numbers; is it the file that its authors publish?") from error
    array[~np.isfinite(array)] = np.nan
    return array


def structs(value: object) -> list[dict[str, object]]:
    """Returns the structs of an array or a cell array of them; none of an empty or missing one."""
    if isinstance(value, dict):
        return [value]
    if not isinstance(value, list):
        return []
    return [struct for item in value for struct in structs(item)]


def number(value: object) -> float | None:
    """Returns the only number in nested lists, or in a character; None where there is none, or more, or NaN."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        value = value.strip()
    try:
        parsed = float(value) if isinstance(value, str | int | float) else math.nan
    except ValueError:
        return None
    return parsed if math.isfinite(parsed) else None


def text(value: object) -> str | None:
    """Returns a string, or the only one in a cell; None where there is none."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, str) and value else None


def _refuse_hdf5(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(1024)
    except OSError as error:
        raise PrepareError(f"{path}: cannot be read: {error.strerror}") from error
    if start.startswith((b"MATLAB 7.3", _HDF5_SIGNATURE)) or _HDF5_SIGNATURE in start:
        raise PrepareError(
            f"{path}: it was saved as MATLAB 7.3, which is HDF5; take the file that its authors publish, or save it "
            "again in MATLAB with save(..., '-v7')"
        )


def _failure(result: subprocess.CompletedProcess[bytes]) -> str:
    """Says why the reader ended without an answer."""
    if result.returncode < 0:
        reason = signal.Signals(-result.returncode).name
        return f"reading it crashed ({reason}), so it is damaged; take the file that its authors publish"
    last = result.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
    return f"it cannot be read: {last[-1]}"
