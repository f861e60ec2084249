"""A conversion in pieces: each is read, repaired, written, read back and compared before the next of its tensor.

No tensor is ever held as a whole. Several threads work on the tensors, while two more hash what is read and what was
written.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from io import FileIO
from pathlib import Path

import numpy as np

from converters.cascade import Cascade
from converters.checkpoint import Array, Checkpoint, Repair
from converters.errors import CheckpointError
from converters.files import CHUNK, hash_file
from converters.formats import Format, safetensors
from converters.plan import CascadePlan, Plan
from converters.processors import in_threads
from converters.progress import ProgressCallback
from converters.repair import MOST_NAMED, refuse_nonfinite, repair, replacement
from converters.stored import Stored
from converters.verification import differing_headers, refuse_differing, unreadable

#: Whether several threads can write into one file here; on Windows they cannot.
AVAILABLE = hasattr(os, "pwrite")
Tensors = Mapping[str, Stored | Array]


class _ReadBackError(Exception):
    """What was written does not read back the same; the message is the tensor's name."""


def write(
    plan: Plan | CascadePlan,
    path: Path,
    target: Path,
    format: Format,
    nonfinite: str,
    progress: ProgressCallback | None,
) -> tuple[Checkpoint | Cascade, str]:
    """Writes a safetensors file, and compares every byte of its tensors with what reading it gives.

    The optimizer's state, which safetensors does not hold, is read and looked through all the same.

    Args:
        plan: What is read.
        path: An empty file.
        target: Where it will be, for messages.
        format: The format of safetensors.
        nonfinite: As for `converters.read`.
        progress: Called with the bytes done and the bytes to do; from several threads.

    Returns:
        The checkpoint or cascade without its arrays, with its source's hash and what was repaired; and the written
        file's hash.

    Raises:
        CheckpointError: The source is damaged, or changed meanwhile, or holds NaN and `nonfinite` is `error`; or what
            was written cannot be read, or not the same.
        OSError: The file cannot be written.
    """
    tensors = plan.stream()
    try:
        checkpoint, sha256 = _write(plan, tensors, path, nonfinite, progress)
        written = {name: tensor for name, tensor in tensors.items() if name in plan.weights}
        broken = differing_headers(checkpoint, written, format, safetensors.read(path))
    except _ReadBackError as error:
        broken = [str(error)]
    except CheckpointError as error:
        if error.where != path:
            raise
        raise unreadable(target, error) from error
    refuse_differing(target, broken)
    return checkpoint, sha256


def _write(
    plan: Plan | CascadePlan, tensors: Tensors, path: Path, nonfinite: str, progress: ProgressCallback | None
) -> tuple[Checkpoint | Cascade, str]:
    total, done = sum(tensor.nbytes for tensor in tensors.values()), 0

    def copy(name: str) -> Repair:
        nonlocal done
        nan = inf = 0
        channels: tuple[int, ...] = ()
        append = file.appender(name)
        for block in _blocks(tensors[name]):
            for found in repair([(name, block)], nonfinite):
                nan, inf = nan + found.nan, inf + found.inf
                channels = channels or found.channels  # variances are of one block
                file.stop()  # the hash that grows is of a header without repairs
            append(block)
            done += block.nbytes
            if progress is not None:
                progress(done, total)
        return Repair(name, nan, inf, replacement(name) if nonfinite == "zero" else None, channels)

    with path.open("r+b", buffering=0) as stream, ThreadPoolExecutor(2) as pool:
        file = _Growing(stream, path, plan, tensors)
        source = pool.submit(plan.hashes)
        output = pool.submit(file.hash_as_it_grows, source)
        try:
            counts = in_threads(copy, {name: tensor.nbytes for name, tensor in tensors.items()})
        except BaseException:
            file.stop()
            raise
        hashes, digest = source.result(), output.result()
        plan.refuse_changed()
        repairs = tuple(counts[name] for name in tensors if counts[name].nan or counts[name].inf)
        if nonfinite == "error":
            refuse_nonfinite(plan.path, repairs)
        checkpoint = plan.described(hashes, repairs)
        if repairs:
            file.describe(checkpoint)
            digest = hash_file(path)
    return checkpoint, digest


class _Growing:
    """A safetensors file of the right size, to be filled by several threads in any order."""

    def __init__(self, stream: FileIO, path: Path, plan: Plan | CascadePlan, tensors: Tensors) -> None:
        self.stream = stream
        self.plan = plan
        self.tensors = {name: tensor for name, tensor in tensors.items() if name in plan.weights}
        # With room for what can be said of any repair: the header comes first in the file, and is known last.
        channels = (10**9,) * MOST_NAMED
        every = tuple(Repair(name, tensor.size, tensor.size, 0.0, channels) for name, tensor in tensors.items())
        hashes = dict.fromkeys(plan.files, "0" * 64)
        self.start = len(safetensors.header(plan.described(hashes, every), self.tensors))
        self.places = safetensors.places(self.tensors)
        self.reached = {name: start for name, (start, _) in self.places.items()}
        self.news = threading.Condition()
        self.stopped = False
        self.describe(plan.described({}))
        self.stream.truncate(self.start + sum(tensor.nbytes for tensor in self.tensors.values()))
        self.contents = safetensors.read(path)  # as anybody would read it
        for name in self.places.keys() - self.contents.headers.keys():
            raise _ReadBackError(name)

    def describe(self, checkpoint: Checkpoint | Cascade) -> None:
        """Writes the header."""
        self._write(memoryview(safetensors.header(checkpoint, self.tensors, self.start)), 0)

    def appender(self, name: str) -> Callable[[Array], None]:
        """Returns what writes a tensor's next block and compares it with what the file's reader then gives."""
        if name not in self.places:
            return lambda block: None  # the optimizer's
        again = iter(self.contents.chunks(name))

        def append(block: Array) -> None:
            data = block.view(np.uint8)
            self._write(data.data, self.start + self.reached[name])
            if not np.array_equal(np.frombuffer(next(again, b""), np.uint8), data):
                raise _ReadBackError(name)
            with self.news:
                self.reached[name] += data.size
                self.news.notify()

        return append

    def hash_as_it_grows(self, source: Future[dict[Path, str]]) -> str:
        """Returns the hash of the whole file, or of a part if it is stopped; to be run beside what fills it."""
        self.describe(self.plan.described(source.result()))
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

    def _hash(self, digest: hashlib._Hash, position: int, end: int) -> int:
        while position < end:
            data = os.pread(self.stream.fileno(), min(CHUNK, end - position), position)
            if not data:
                raise OSError("it was cut short while it was written")
            digest.update(data)
            position += len(data)
        return position

    def _write(self, data: memoryview, position: int) -> None:
        while len(data):
            written = os.pwrite(self.stream.fileno(), data, position)
            data, position = data[written:], position + written


def _blocks(tensor: Stored | Array) -> Iterator[Array]:
    """Yields a tensor's numbers piece by piece, wherever they are."""
    if isinstance(tensor, Stored):
        yield from tensor.blocks()
        return
    flat = tensor.reshape(-1)
    step = CHUNK // flat.itemsize
    yield from (flat[start : start + step] for start in range(0, flat.size, step))
