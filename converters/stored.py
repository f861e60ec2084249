"""Arrays that are still in their file, so that a conversion holds no more than pieces of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from converters import formats
from converters.checkpoint import Array
from converters.errors import CheckpointError, reason_of
from converters.networks import Shape


class Stored:
    """An array in a file. It knows its shape and kind; asked for anything else of an array, it is read as a whole.

    Attributes:
        shape: Its shape.
        dtype: Its dtype in native byte order.
    """

    def __init__(self, path: Path, contents: formats.Contents, key: str) -> None:
        self._place = path, contents, key
        header = contents.headers[key]
        self.shape: Shape = header.shape
        self.dtype: np.dtype[Any] = header.dtype.newbyteorder("=")
        self.nbytes = header.nbytes
        self.size = header.nbytes // header.dtype.itemsize

    def blocks(self) -> Iterator[Array]:
        """Yields its numbers piece by piece; see `formats.blocks`."""
        try:
            yield from formats.blocks(*self._place)
        except OSError as error:
            path, _, key = self._place
            raise CheckpointError(path, f"{key!r} cannot be read: {reason_of(error)}", "is the disk sound?") from error

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(formats.load_one(*self._place), dtype)

    def __getitem__(self, index: Any) -> Any:
        return np.asarray(self)[index]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # NumPy looks for several protocols before __array__
            raise AttributeError(name)
        return getattr(np.asarray(self), name)


def leave_stored(path: Path, contents: formats.Contents, keys: list[str]) -> dict[str, Any]:
    """Returns arrays by key: large floating-point ones as `Stored`, all others read."""
    headers = contents.headers
    large = {key for key in keys if headers[key].dtype.kind == "f" and headers[key].nbytes >= formats.CHUNK}
    small = formats.load(path, contents, [key for key in keys if key not in large], lambda _: None)
    return {key: Stored(path, contents, key) if key in large else small[key] for key in keys}
