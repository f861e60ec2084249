"""What a format is, and what a file of any format holds."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from converters._version import __version__
from converters.cascade import Cascade, Rules
from converters.checkpoint import Array, Checkpoint
from converters.errors import CheckpointError, DeepPoseError, reason_of
from converters.formats import _zip
from converters.keys import Header
from converters.stored import Buffer, Stored
from converters.values import dataclass

if TYPE_CHECKING:
    from converters.layouts import Sections, Training

#: What the arrays of one file may take in memory unless the user allows more. The largest that the legacy program could
#: write, a snapshot of VGG-BN with Adam's two moments, takes 1.6 GB.
MAX_BYTES = 4 << 30
#: More arrays are in no checkpoint's file, where the largest networks have a few thousand with their optimizer's.
MOST_ARRAYS = 10_000
#: And no array has a longer name; what patterns find in a name of millions of characters, they find after hours.
LONGEST_NAME = 500
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

#: A file's start is this long, where it tells its format.
_START = 1024
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the second has no members


def rules_of(path: Path, metadata: Mapping[str, object]) -> tuple[Rules, dict[str, dict[str, object]]]:
    """Returns what a file of ours says of its cascade, as `Rules.from_metadata` does.

    Raises:
        CheckpointError: It cannot be understood.
    """
    try:
        return Rules.from_metadata(metadata)
    except DeepPoseError as error:
        problem = f"what it says of its cascade cannot be understood: {reason_of(error)}"
        raise CheckpointError(path, problem, "was it edited? convert the original again") from error


@dataclass(frozen=True)
class Beginning:
    """What tells a file's format.

    Attributes:
        path: The file, which is one and not empty.
        start: Its first bytes.
        size: How many bytes it has.
    """

    path: Path
    start: bytes
    size: int

    @classmethod
    def of(cls, path: Path, size: int) -> Beginning:
        """Reads the first bytes of a file of so many."""
        with path.open("rb") as stream:
            return cls(path, stream.read(_START), size)

    @cached_property
    def members(self) -> tuple[str, ...]:
        """The names of a zip's members, but for what file managers add; none where it is no zip, or an empty one.

        Raises:
            CheckpointError: It begins as a zip does, and is cut short or damaged.
        """
        if not self.is_zip:
            return ()
        try:
            return tuple(member.filename for member in _zip.directory(self.path)[0] if not _zip.is_left_over(member))
        except DAMAGES as error:
            problem = "this zip file is cut short or damaged"
            advice = "look for a whole copy; an interrupted run leaves such files as tmpepoch-N.model…"
            raise CheckpointError(self.path, problem, advice) from error

    @property
    def is_zip(self) -> bool:
        """Whether it begins as a zip does."""
        return self.start.startswith(_ZIP)


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
        sections: Its keys by what they belong to, where not all are the network's. An optimizer's are named as Chainer
            does: the parameter's key with its slot, the counter of updates `t`.
        writer: The program that wrote it, where the format alone tells.
        parts: What reads other networks of the file in place of this one, by the names that users call them by; with no
            arrays, one of them has to be chosen.
        training: Returns what a file of ours holds of the training beside its weights; it raises ValueError where that
            is damaged.
        files: Other files that it is in, beside its own.
        notices: What the user should know of how it was read.
        doubts: What a user should know of its keys where they are no network's.
        cascade: How its parts go together, where they are a cascade; the arrays are then those of all of them.
    """

    format: str
    headers: dict[str, Header]
    chunks: Callable[[str], Iterator[Buffer]]
    metadata: dict[str, object] | None = None
    values: dict[str, object] = field(default_factory=dict)
    wrappers: tuple[str, ...] = ()
    uninitialised: tuple[str, ...] = ()
    sections: Sections | None = None
    writer: str | None = None
    parts: Mapping[str, Callable[[], Contents]] = field(default_factory=dict)
    training: Callable[[], Training] | None = None
    files: tuple[Path, ...] = ()
    notices: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    cascade: Rules | None = None

    def stored(self, path: Path, key: str) -> Stored:
        """Returns one of its arrays."""
        return Stored(path, key, self.headers[key], partial(self.chunks, key))


class Write(Protocol):
    """What writes a checkpoint to a path at which there is an empty file."""

    def __call__(self, checkpoint: Checkpoint, path: Path, *, layout: str | None = None) -> None:
        """Writes."""


class WriteCascade(Protocol):
    """What writes a cascade to a path at which there is an empty file, or a folder."""

    def __call__(self, cascade: Cascade, path: Path) -> None:
        """Writes."""


@dataclass(frozen=True)
class Format:
    """A kind of file: how one is told, read and written, and what it holds beside the weights.

    Attributes:
        name: What users call it.
        title: What messages call one of its files, before `file`; empty for what they need not name.
        suffixes: What its files are called; a new one gets the first.
        tells: Tells whether a file is one of these. None for what is never read.
        finds: Returns the file that is read where another, or a folder, or a name alone stands for it; None otherwise.
        others: Returns the other files that such a file is in, which are none by themselves.
        read: Finds out what such a file holds, before any array is read.
        write: Writes one. None for what is never written.
        write_cascade: Writes a cascade into one file. None where it becomes a folder, or is not written.
        holds: What it takes beside the weights: `metadata` and `optimizer`; with layouts, what it takes without one.
        layouts: The same for each of its layouts, where it has any.
        arrays: The arrays that are written for a checkpoint, by key, where they are not the weights.
        chainer: Whether Chainer wrote its files: a `log.txt` and a `.state` may lie beside them.
        folder: Whether it is a folder of files, which are written together.
        pieces: Whether a large file is written piece by piece, see `streaming`.
        proof: What shows that a written file is sound, as a phrase. One that is not read is proven by what writes it.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    tells: Callable[[Beginning], bool] | None = None
    finds: Callable[[Path], Path | None] = lambda path: None
    others: Callable[[Path], Iterable[Path]] = lambda path: ()
    read: Callable[[Path], Contents] | None = None
    write: Write | None = None
    write_cascade: WriteCascade | None = None
    holds: frozenset[str] = frozenset()
    layouts: Mapping[str, frozenset[str]] = field(default_factory=dict)
    arrays: Callable[[Checkpoint, str | None], dict[str, Array]] = lambda checkpoint, layout: checkpoint.weights
    chainer: bool = False
    pieces: bool = False
    folder: bool = False
    proof: str = "read again, every byte equal"

    def held(self, layout: str | None = None) -> frozenset[str]:
        """Returns what it takes beside the weights, in a layout."""
        return self.holds if layout is None else self.layouts[layout]


#: Every format by name, in the order in which a file is asked whether it is one of them.
FORMATS: dict[str, Format] = {}


def register(format: Format) -> None:
    """Adds a format.

    Raises:
        ValueError: Another has its name already, or writes files of one of its suffixes.
    """
    for other in FORMATS.values():
        shared = {*format.suffixes} & {*other.suffixes} if format.write and other.write else set()
        if other.name == format.name or shared:
            raise ValueError(f"{other.name} has that name or {', '.join(shared)} already")
    FORMATS[format.name] = format


def refuse_large(path: Path, contents: Contents, max_bytes: int) -> None:
    """Refuses a file whose arrays take more than `max_bytes`, before memory is taken for them.

    Raises:
        CheckpointError: They do.
    """
    total = sum(header.nbytes for header in contents.headers.values())
    if total > max_bytes:
        problem = f"its arrays take {total:,} bytes, and {max_bytes:,} are allowed"
        raise CheckpointError(path, problem, f"if that is right, --max-bytes {total} allows it")


def refuse_many(path: Path, count: int) -> None:
    """Refuses a file of more arrays than any checkpoint has, before much is done with them.

    Raises:
        CheckpointError: There are more.
    """
    if count > MOST_ARRAYS:
        raise CheckpointError(
            path, f"it has more than {MOST_ARRAYS:,} arrays, which no checkpoint has", "nothing was read"
        )


def refuse_long_names(path: Path, contents: Contents) -> None:
    """Refuses a file whose arrays have longer names than any checkpoint's, before anything is looked for in them.

    Raises:
        CheckpointError: One has.
    """
    longest = max((*contents.headers, *contents.uninitialised), key=len, default="")
    if len(longest) > LONGEST_NAME:
        problem = f"it has an array whose name has {len(longest):,} characters, which none of a checkpoint's has"
        raise CheckpointError(path, problem, "nothing was read")


def decode_metadata(text: str | bytes | None) -> dict[str, object] | None:
    """Returns what `encode_metadata` wrote, or None for anything else."""
    try:
        values = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) and "deeppose_port" in values else None


def encode_metadata(checkpoint: Checkpoint | Cascade) -> dict[str, object]:
    """Returns what every file that we write says of itself."""
    return {"deeppose_port": __version__, **checkpoint.metadata()}
