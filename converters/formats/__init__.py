"""One module a file format, found by a file's first bytes, never by its suffix.

Each module has `read(path) -> Contents` and `write(checkpoint, path)`. A reader tells what is in the file before it
reads any array, so that a file can be refused before memory is taken for it.
"""

from __future__ import annotations

import importlib
import json
import re
import stat
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar, cast

import numpy as np

from converters._version import __version__
from converters.checkpoint import Array, Checkpoint, as_native
from converters.errors import CheckpointError, reason_of
from converters.formats import inflate
from converters.keys import Header
from converters.processors import usable_processors

#: A piece of an array's bytes.
Buffer: TypeAlias = bytes | memoryview
#: Called with the bytes done since the last call.
Advance: TypeAlias = Callable[[int], None]
#: How much of an array is held beside the array itself while it is read or compared.
CHUNK = 1 << 20
#: Deflate makes at most this many bytes of one (a match of 258 bytes takes two bits).
MOST_INFLATION = 1032
#: What the arrays of one file may take in memory unless the user allows more. The largest that the legacy program could
#: write, a snapshot of VGG-BN with Adam's two moments, takes 1.6 GB.
MAX_BYTES = 4 << 30
#: What Python, NumPy and PyTorch raise for damaged or hostile files.
DAMAGES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
)

FORMATS = ("pt", "safetensors", "chainer-npz")
SUFFIXES = {
    ".pt": "pt",
    ".pth": "pt",
    ".safetensors": "safetensors",
    ".npz": "chainer-npz",
    ".model": "chainer-npz",
    ".state": "chainer-npz",
}
_MODULES = {
    "chainer-npz": "chainer_npz",
    "chainer-hdf5": "chainer_hdf5",
    "chainer-pickle": "chainer_pickle",
    "pt": "pt",
    "safetensors": "safetensors",
    "tf1": "tf1",
}
#: The start of a `.caffemodel` (a name, then layers or inputs) or of a `.solverstate` (a count, then the name of one).
_CAFFE = re.compile(
    rb"\n[\x01-\x7f][ -~]{1,127}?(?:\x12|\x1a|\x22|\xa2\x06)|\x08.{1,6}\x12.[ -~]+\.caffemodel", re.DOTALL
)
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the second has no members
_HDF5, _SAFETENSORS_HEADER = b"\x89HDF\r\n\x1a\n", 8
#: Of an ONNX model: the version of its format, then the name of the program that wrote it.
_ONNX = re.compile(rb"\x08[\x01-\x1f]\x12[\x01-\x7f][ -~]+")

Result = TypeVar("Result")


@dataclass
class Contents:
    """What a file holds, before anything is known of what it means.

    Attributes:
        format: Its format.
        headers: Kind and shape of each array by key.
        chunks: Yields the bytes of one array as stored, piece by piece; may be called from several threads.
        metadata: What `converters` wrote into it, if it did.
        values: What else it holds beside arrays (`.pt` files: numbers and strings by key).
        wrappers: Keys under which the state dict was found (`.pt` files: `state_dict`, ...).
        uninitialised: Keys of Chainer parameters that had no value yet when the file was written.
        slots: Keys of an optimizer's state among the arrays -> what Chainer would have named them: the parameter's key
            with `/h`, the counter of updates `t`. Empty where the keys themselves are Chainer's.
        writer: The program that wrote it, where the format alone tells.
        notices: What the user should know of how it was read.
    """

    format: str
    headers: dict[str, Header]
    chunks: Callable[[str], Iterator[Buffer]]
    metadata: dict[str, Any] | None = None
    values: dict[str, Any] = field(default_factory=dict)
    wrappers: tuple[str, ...] = ()
    uninitialised: tuple[str, ...] = ()
    slots: dict[str, str] = field(default_factory=dict)
    writer: str | None = None
    notices: tuple[str, ...] = ()


class Format(Protocol):
    """What a format module offers."""

    def read(self, path: Path) -> Contents:
        """Reads what the file at `path` says of itself."""

    def write(self, checkpoint: Checkpoint, path: Path, *, layout: str | None = None) -> None:
        """Writes `checkpoint` to `path`, an empty file."""


def module(name: str) -> Format:
    """Returns the module of a format."""
    return cast(Format, importlib.import_module(f"converters.formats.{_MODULES[name]}"))


def resolve(path: Path) -> Path:
    """Returns the file that a name means: of TensorFlow's checkpoints, which are several files, it is the index.

    Raises:
        CheckpointError: It is a text that names a checkpoint, which is not there.
    """
    from converters.formats import tf1

    return tf1.index_of(path) or path


def sniff(path: Path) -> str:
    """Tells a file's format by its bytes.

    Raises:
        CheckpointError: It is missing, empty, a folder, or of no format that can be read; the message says which.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise CheckpointError(path, "this is a folder", "name a file; `deeppose-port convert` takes a folder too")
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointError(path, "this is a device or a pipe, not a file", "copy what it gives into a file")
        with path.open("rb") as stream:
            head = stream.read(1024)
    except FileNotFoundError:
        raise CheckpointError(path, "there is no such file") from None
    except OSError as error:
        raise CheckpointError(path, f"it cannot be read: {reason_of(error)}") from error
    if not head:
        raise CheckpointError(path, "the file is empty", "look for another copy: its writer was interrupted")
    if head.startswith(_ZIP):
        return _sniff_zip(path)
    if head.startswith(_HDF5):
        return "chainer-hdf5"
    if len(head) > _SAFETENSORS_HEADER and head[8:9] == b"{":
        if struct.unpack("<Q", head[:8])[0] <= status.st_size - _SAFETENSORS_HEADER:
            return "safetensors"
        raise CheckpointError(path, "this safetensors file is cut short", "look for a whole copy")
    if head.startswith(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."):
        return "pt"  # torch.save before PyTorch 1.6
    if head.startswith(b"\x80\x02c"):
        return "chainer-pickle"  # of a class: a whole network
    if b"ustar" in head[257:263] and _is_torch_tar(path):
        return "pt"  # torch.save before PyTorch 0.2
    from converters.formats import tf1

    if tf1.is_index(path):
        return "tf1"
    raise CheckpointError(path, *_stranger(head))


def _is_torch_tar(path: Path) -> bool:
    from converters.formats import torch_tar

    return torch_tar.is_torch_tar(path)


def _sniff_zip(path: Path) -> str:
    try:
        names = [member.filename for member in inflate.directory(path)[0]]
    except DAMAGES as error:
        problem = "this zip file is cut short or damaged"
        advice = "look for a whole copy; an interrupted run leaves such files as tmpepoch-N.model…"
        raise CheckpointError(path, problem, advice) from error
    if any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        return "pt"
    if names and all(name.endswith(".npy") for name in names):
        return "chainer-npz"
    if any(name.endswith("/archive_format") for name in names):
        problem = "this is an archive of torch.export: a program, which is written but never read"
        raise CheckpointError(path, problem, "take the checkpoint that it was made of")
    stranger = next((name for name in names if not name.endswith(".npy")), None)
    what = "it is empty" if stranger is None else f"it holds {stranger!r}, which is no array"
    problem = f"this is a zip file, but neither an npz nor a PyTorch file: {what}"
    raise CheckpointError(path, problem, "unpack it if the checkpoint is inside")


def _stranger(head: bytes) -> tuple[str, str]:
    """Says what a file of no known format seems to be, and what to do."""
    if head.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        return (
            "this is a Python pickle, which could run code when read; it was not opened",
            "save it as npz first",
        )
    if _CAFFE.match(head):
        return (
            "this is a Caffe file, from before the program was written for Chainer (2014-11 to 2015-01), or not of it",
            "it is another network (its conv1 has no pad, its outputs go through a sigmoid), and it is not read",
        )
    if _ONNX.match(head):
        return "this is an ONNX model, which is written but not read", "take the checkpoint that it was made of"
    if b"ustar" in head[257:263]:
        return "this is a tar file, but not one that PyTorch before 0.2 wrote", "unpack it first"
    if all(byte in b"\t\n\r\x1b" or 32 <= byte < 127 for byte in head[:256]):
        return "this is text, not a checkpoint", "was a log or a download's error page saved under this name?"
    kinds = "Chainer npz, Chainer HDF5, PyTorch, safetensors or TensorFlow 1"
    return f"this is no {kinds} file", "the first bytes belong to no format that is known here"


def refuse_large(path: Path, contents: Contents, max_bytes: int) -> None:
    """Refuses a file whose arrays take more than `max_bytes`, before memory is taken for them.

    Raises:
        CheckpointError: They do.
    """
    total = sum(header.nbytes for header in contents.headers.values())
    if total > max_bytes:
        problem = f"its arrays take {total:,} bytes, and {max_bytes:,} are allowed"
        raise CheckpointError(path, problem, f"if that is right, --max-bytes {total} allows it")


def load(path: Path, contents: Contents, keys: Iterable[str], advance: Advance) -> dict[str, Array]:
    """Reads arrays, each into its place, in as many threads as help.

    Returns:
        C-ordered arrays in native byte order, by key.

    Raises:
        CheckpointError: The file holds more or fewer bytes than it says.
    """
    sizes = {key: contents.headers[key].nbytes for key in keys}
    return in_threads(lambda key: load_one(path, contents, key, advance), sizes)


def load_one(path: Path, contents: Contents, key: str, advance: Advance = lambda _: None) -> Array:
    """Reads one array; see `load`."""
    header = contents.headers[key]
    order: Any = "F" if header.fortran else "C"
    try:
        array = np.empty(header.shape, header.dtype, order=order)
    except (MemoryError, ValueError) as error:
        problem = f"{key!r} of shape {header.shape} cannot be held in memory: {reason_of(error)}"
        raise CheckpointError(path, problem, "if that cannot be, the file is damaged") from error
    buffer = array.reshape(-1, order=order).view(np.uint8).data
    position = 0
    for chunk in contents.chunks(key):
        if position + len(chunk) > len(buffer):
            break
        buffer[position : position + len(chunk)] = chunk
        position += len(chunk)
        advance(len(chunk))
    else:
        if position == len(buffer):
            return as_native(array)
    raise _wrong_size(path, key, header)


def blocks(path: Path, contents: Contents, key: str) -> Iterator[Array]:
    """Reads one array piece by piece.

    Yields:
        Its numbers in C order and native byte order, flat, `CHUNK` bytes at a time (the last piece may be shorter).
        Each piece may be written to, and is used again for the next.

    Raises:
        CheckpointError: The file holds more or fewer bytes than it says.
    """
    header = contents.headers[key]
    if header.fortran and len(header.shape) > 1:  # in the file's order they would be the numbers of the transposed
        flat = load_one(path, contents, key).reshape(-1)
        yield from (flat[i : i + CHUNK // flat.itemsize] for i in range(0, flat.size, CHUNK // flat.itemsize))
        return
    buffer = np.empty(CHUNK // header.dtype.itemsize, header.dtype)
    room, filled, left = buffer.view(np.uint8).data, 0, header.nbytes
    for chunk in contents.chunks(key):
        piece = memoryview(chunk)
        left -= len(piece)
        if left < 0:
            break
        while len(piece):
            taken = min(len(piece), len(room) - filled)
            room[filled : filled + taken] = piece[:taken]
            piece, filled = piece[taken:], filled + taken
            if filled == len(room):
                yield as_native(buffer)
                filled = 0
    if left:
        raise _wrong_size(path, key, header)
    if filled:
        yield as_native(buffer[: filled // header.dtype.itemsize])


def _wrong_size(path: Path, key: str, header: Header) -> CheckpointError:
    problem = f"{key!r} does not have the {header.nbytes} bytes that its header says"
    return CheckpointError(path, problem, "the file is damaged; look for another copy")


def in_threads(work: Callable[[str], Result], sizes: dict[str, int]) -> dict[str, Result]:
    """Calls `work` for each key, the largest first; inflating, hashing and comparing let go of the interpreter."""
    if sum(sizes.values()) < CHUNK:  # less work than threads are
        return {key: work(key) for key in sizes}
    with ThreadPoolExecutor(max(1, min(usable_processors(), len(sizes)))) as pool:
        futures = {key: pool.submit(work, key) for key in sorted(sizes, key=lambda key: -sizes[key])}
        try:
            return {key: futures[key].result() for key in sizes}
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def decode_metadata(text: str | bytes | None) -> dict[str, Any] | None:
    """Returns what `encode_metadata` wrote, or None for anything else."""
    try:
        values = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) and "deeppose_port" in values else None


def encode_metadata(checkpoint: Checkpoint) -> dict[str, Any]:
    """Returns what every file that we write says of itself."""
    return {"deeppose_port": __version__, **checkpoint.metadata()}
