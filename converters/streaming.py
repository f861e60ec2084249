"""A conversion in pieces: each is read, repaired, written, read back and compared before the next of its tensor.

No tensor is ever held as a whole. Several threads work on the tensors, while two more hash what is read and what was
written.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from converters import formats
from converters.checkpoint import Array, Checkpoint, Repair
from converters.errors import CheckpointError, reason_of
from converters.files import hash_file
from converters.formats import safetensors
from converters.reading import Opened, open_checkpoint, refuse_nonfinite
from converters.repair import repair
from converters.stored import Stored, leave_stored

#: Whether several threads can write into one file here; on Windows they cannot.
AVAILABLE = hasattr(os, "pwrite")
#: As long as a real one, for a file whose hash is not known yet.
_NO_HASH = "0" * 64


class ReadBackError(Exception):
    """What was written does not read back the same; the message is the tensor's name."""


def open_stored(
    path: Path,
    architecture: str | None,
    model_file: str | os.PathLike[str] | None,
    writer: str | None,
    state: bool,
    max_bytes: int,
    progress: Callable[[int, int], None] | None = None,
) -> Opened:
    """Opens a checkpoint but leaves its large arrays in their file.

    NaN is still in it, and where there are large arrays it has no hash yet. Arguments and what is raised are as for
    `reading.read`.
    """

    def load(jobs: list[Any]) -> tuple[list[dict[str, Any]], str]:
        arrays = [leave_stored(file.path, file.contents, keys) for file, keys in jobs]
        tensors = [array for found in arrays for array in found.values()]
        if any(isinstance(array, Stored) for array in tensors):
            return arrays, _NO_HASH
        if progress is not None:
            progress(*[sum(array.nbytes for array in tensors)] * 2)
        return arrays, hash_file(jobs[0][0].path)

    return open_checkpoint(path, architecture, model_file, writer, state, max_bytes, load)


def is_stored(opened: Opened) -> bool:
    """Tells whether a checkpoint's large arrays are still in their file."""
    return opened.checkpoint.source.sha256 == _NO_HASH


def write_safetensors(
    opened: Opened, path: Path, nonfinite: str, progress: Callable[[int, int], None] | None
) -> tuple[Checkpoint, str]:
    """Writes what `open_stored` gave, and compares every byte of the tensors with what reading the file gives.

    The optimizer's state, which safetensors does not hold, is read and looked through all the same.

    Args:
        opened: The checkpoint.
        path: An empty file.
        nonfinite: As for `reading.read`.
        progress: Called with the bytes done and the bytes to do; from several threads.

    Returns:
        The checkpoint with its source's hash and what was repaired, and the written file's hash.

    Raises:
        CheckpointError: The source is damaged, or changed meanwhile, or holds NaN and `nonfinite` is `error`; or the
            written file, which its path then names, cannot be read.
        OSError: The file cannot be written.
        ReadBackError: What was written does not read back the same.
    """
    tensors = dict(opened.checkpoint.tensors())
    total, done = sum(array.nbytes for array in tensors.values()), 0

    def copy(name: str) -> Repair:
        nonlocal done
        nan = inf = 0
        append = file.appender(name)
        for block in _blocks(tensors[name]):
            for found in repair([(name, block)], nonfinite):
                nan, inf = nan + found.nan, inf + found.inf
                file.stop()  # the hash that grows is of a header without repairs
            append(block)
            done += block.nbytes
            if progress is not None:
                progress(done, total)
        return Repair(name, nan, inf, became=0.0 if nonfinite == "zero" else None)

    with path.open("r+b", buffering=0) as stream, ThreadPoolExecutor(2) as pool:
        file = _Growing(stream, path, opened.checkpoint)
        source = pool.submit(_hash_source, Path(opened.checkpoint.source.path))
        output = pool.submit(file.hash_as_it_grows, source)
        try:
            counts = formats.in_threads(copy, {name: array.nbytes for name, array in tensors.items()})
        except BaseException:
            file.stop()
            raise
        checkpoint, digest = _with_hash(opened.checkpoint, source.result()), output.result()
        opened.refuse_changed()
        repairs = tuple(counts[name] for name in tensors if counts[name].nan or counts[name].inf)
        if nonfinite == "error":
            refuse_nonfinite(checkpoint.source.path, repairs)
        if repairs:
            checkpoint = checkpoint.replace(repairs=checkpoint.repairs + repairs)
            file.describe(checkpoint)
            digest = hash_file(path)
    return checkpoint, digest


class _Growing:
    """A safetensors file of the right size, to be filled by several threads in any order."""

    def __init__(self, stream: FileIO, path: Path, checkpoint: Checkpoint) -> None:
        self.stream = stream
        self.checkpoint = checkpoint
        # With room for what can be said of any repair: the header comes first in the file, and is known last.
        every = tuple(Repair(name, array.size, array.size) for name, array in checkpoint.tensors())
        self.start = len(safetensors.header(checkpoint.replace(repairs=checkpoint.repairs + every)))
        self.places = safetensors.places(checkpoint)
        self.reached = {name: start for name, (start, _) in self.places.items()}
        self.news = threading.Condition()
        self.stopped = False
        self.describe(checkpoint)
        self.stream.truncate(self.start + sum(array.nbytes for array in checkpoint.weights.values()))
        self.contents = safetensors.read(path)  # as anybody would read it
        for name in self.places.keys() - self.contents.headers.keys():
            raise ReadBackError(name)

    def describe(self, checkpoint: Checkpoint) -> None:
        """Writes the header."""
        self._write(memoryview(safetensors.header(checkpoint, self.start)), 0)

    def appender(self, name: str) -> Callable[[Array], None]:
        """Returns what writes a tensor's next block and compares it with what the file's reader then gives."""
        if name not in self.places:
            return lambda block: None  # the optimizer's
        again = iter(self.contents.chunks(name))

        def append(block: Array) -> None:
            data = block.view(np.uint8)
            self._write(data.data, self.start + self.reached[name])
            if not np.array_equal(np.frombuffer(next(again, b""), np.uint8), data):
                raise ReadBackError(name)
            with self.news:
                self.reached[name] += data.size
                self.news.notify()

        return append

    def hash_as_it_grows(self, source: Future[str]) -> str:
        """Returns the hash of the whole file, or of a part if it is stopped; to be run beside what fills it."""
        self.describe(_with_hash(self.checkpoint, source.result()))
        digest = hashlib.sha256()
        position = self._hash(digest, 0, self.start)
        for name, (_, end) in self.places.items():
            while position < self.start + end and not self.stopped:
                position = self._hash(digest, position, self._reached_past(position, name))
        return digest.hexdigest()

    def stop(self) -> None:
        """Lets `hash_as_it_grows` end before the file is whole."""
        if not self.stopped:
            with self.news:
                self.stopped = True
                self.news.notify()

    def _reached_past(self, position: int, name: str) -> int:
        """Waits until more of a tensor is there than up to `position`, and returns up to where it is."""
        with self.news:
            self.news.wait_for(lambda: self.stopped or self.start + self.reached[name] > position)
            return self.start + self.reached[name]

    def _hash(self, digest: Any, position: int, end: int) -> int:
        while position < end:
            data = os.pread(self.stream.fileno(), min(formats.CHUNK, end - position), position)
            if not data:
                raise OSError("it was cut short while it was written")
            digest.update(data)
            position += len(data)
        return position

    def _write(self, data: memoryview, position: int) -> None:
        while len(data):
            written = os.pwrite(self.stream.fileno(), data, position)
            data, position = data[written:], position + written


def _blocks(array: Any) -> Iterator[Array]:
    """Yields an array's numbers piece by piece, wherever they are."""
    if isinstance(array, Stored):
        yield from array.blocks()
        return
    flat = array.reshape(-1)
    step = formats.CHUNK // flat.itemsize
    yield from (flat[start : start + step] for start in range(0, flat.size, step))


def _hash_source(path: Path) -> str:
    try:
        return hash_file(path)
    except OSError as error:
        raise CheckpointError(path, f"it cannot be read: {reason_of(error)}", "is the disk sound?") from error


def _with_hash(checkpoint: Checkpoint, sha256: str) -> Checkpoint:
    return checkpoint.replace(source=replace(checkpoint.source, sha256=sha256))
