"""What `torch.save` writes since PyTorch 0.2, read without PyTorch and without Python's unpickler.

From 1.6 on it is a zip of stored members: `NAME/data.pkl`, a pickle in which a tensor is a call of
`_rebuild_tensor_v2` with a reference to a storage, and the storages' numbers in `NAME/data/KEY`. Before, it was five
pickles (a magic number, a version, facts of the system, what was saved, the storages' keys), then each storage's length
and numbers. Tensors are not read here: they are told by their place in the file.
"""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar

from converters.files import CHUNK
from converters.formats import _zip
from converters.formats._pickle import (
    ARRAY_NAMES,
    LARGEST_KEY,
    Array,
    ArrayMachine,
    Dtype,
    Encoded,
    Text,
    UnpicklingError,
    rebuilt,
)
from converters.formats._tensor import STORAGES, PickledTensor, Storage, Tensor
from converters.values import dataclass

MAGIC = 0x1950A86A20F9469CFC6C  # of the format before 1.6
_ZIP = b"PK\x03\x04"
_Kind = TypeVar("_Kind")
_VERSION = 1001
#: Of zips, those that PyTorch reads.
_VERSIONS = [str(version).encode() for version in range(1, 11)]
_MOST_INSTRUCTIONS = 500_000
_LARGEST_PICKLE = 64 << 20
_LONGEST_TEXT = 1 << 20
_DICTS = ("collections.OrderedDict", "collections.Counter", "collections.defaultdict")
#: What is called for a tensor of strided numbers -> with how many arguments; and what is for what holds one.
_TENSORS = {
    "torch._utils._rebuild_tensor": (4,),
    "torch._utils._rebuild_tensor_v2": (6, 7),
    "torch._utils._rebuild_tensor_v3": (7, 8),
}
_HOLDERS = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")
_TYPED = "torch._tensor._rebuild_from_type_v2"
#: What else a state dict may be saved with; nothing of it is read.
_OTHERS = (
    *("sparse_tensor", "nested_tensor", "qtensor", "meta_tensor_no_storage", "wrapper_subclass"),
    *("device_tensor_from_numpy", "device_tensor_from_cpu_tensor"),
)
#: What is so common beside them that nobody needs to be told.
_KNOWN = {
    *(*_DICTS, *_TENSORS, *_HOLDERS, _TYPED, *ARRAY_NAMES),
    *(f"torch._utils._rebuild_{what}" for what in _OTHERS),
    *("torch.Size", "torch.device", "torch.Tensor", "torch.nn.parameter.Parameter", "torch.serialization._get_layout"),
    *("builtins.set", "builtins.complex", "__builtin__.set", "__builtin__.complex"),
    *(f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")),
    "numpy.ndarray",
    *(f"{module}.{system}Path" for module in ("pathlib", "pathlib._local") for system in ("Posix", "Windows")),
    "argparse.Namespace",
}
#: Of any maker, as in `cuda:1`.
_DEVICE = re.compile(rb"[a-z]+(:\d+)?")
_ORDERS: dict[bytes, Literal["<", ">"]] = {b"little": "<", b"big": ">"}


#: Where the types of storages, tensors and numbers are.
_TORCH = ("torch", "torch.cuda", "torch.storage", "torch.sparse", "torch.cuda.sparse")


class NeedsCodeError(UnpicklingError):
    """The file is a program, not numbers; the message is what it is."""


@dataclass(frozen=True)
class _Name:
    """A class or function by its name; it is never looked for."""

    name: str


class StandIn(dict[object, object]):
    """What stands for an object of a class that is not known: it does nothing.

    What was put into it as into a dict is there, as it would be in a subclass of dict.

    Attributes:
        name: The name of the class, or of the function that would have made the object.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def __repr__(self) -> str:
        return f"an object of {self.name}"


class _Key:
    """What stands for the key of a dict that is no text and no number: each is one of its own."""

    def __repr__(self) -> str:
        return "a key that is no text"


@dataclass(frozen=True)
class Saved:
    """What was saved.

    Attributes:
        payload: Dicts, lists, numbers and texts, with a `Tensor` for each tensor and array and a `StandIn` for each
            object of an unknown class.
        strangers: The names of such classes, in the order in which they are named.
    """

    payload: object
    strangers: tuple[str, ...] = ()


def load(path: Path) -> Saved:
    """Returns what was saved.

    Raises:
        NeedsCodeError: It is a program; nothing in it is run.
        ValueError: It is damaged.
        OSError: It cannot be read.
    """
    with path.open("rb") as stream:
        is_zip = stream.read(len(_ZIP)) == _ZIP  # as PyTorch tells them
    return _load_zip(path) if is_zip else _load_older(path)


def _load_zip(path: Path) -> Saved:
    every = [member for member in _zip.directory(path)[0] if not _zip.is_left_over(member)]
    members = {member.filename: member for member in every}
    if len(members) < len(every):
        raise ValueError("it has a member twice")
    _zip.refuse_lies(path, every)
    pickles = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError(f"it has {len(pickles)} pickles instead of one")
    root = pickles[0].removesuffix("data.pkl")
    with path.open("rb", buffering=0) as stream:
        for one in every:
            if not one.filename.startswith(root):
                raise ValueError(f"its {one.filename!r} is not in {root!r}, as all else")
            _zip.start_of(stream, one)
    if f"{root}.storage_alignment" in members:
        int(_member(path, members[f"{root}.storage_alignment"], 32))
    if f"{root}constants.pkl" in members:
        raise NeedsCodeError("a TorchScript program")
    content = _member(path, members[pickles[0]], _LARGEST_PICKLE)
    order = _member(path, members[f"{root}byteorder"], 16) if f"{root}byteorder" in members else b"little"
    if order not in _ORDERS:
        raise ValueError(f"its bytes are in the order {order!r}")
    said = next((name for name in (f"{root}.data/version", f"{root}version") if name in members), None)
    version = b"" if said is None else _member(path, members[said], 16).strip()
    if version not in _VERSIONS:
        raise ValueError(f"its version is {version!r}" if version else "it does not say which version it is of")
    machine = _Unpickler(lambda: io.BytesIO(content), len(content), path, _ORDERS[order])
    payload = machine.plain(machine.run())
    for key, storage in machine.storages.items():
        member = members.get(f"{root}data/{key}")
        if member is None:
            raise ValueError(f"it lacks the numbers {key!r}")
        storage.nbytes, storage.member = member.file_size, member
        storage.refuse_other_size()
    return Saved(payload, tuple(machine.strangers))


def _member(path: Path, member: zipfile.ZipInfo, most: int) -> bytes:
    if member.file_size > most:
        raise ValueError(f"its {member.filename!r} has {member.file_size} bytes")
    return b"".join(_zip.read_member(path, member, CHUNK))


def _load_older(path: Path) -> Saved:
    size = path.stat().st_size

    def unpickler(stream: BinaryIO) -> _Unpickler:
        return _Unpickler(lambda: path.open("rb"), size, path, stream=stream)

    with path.open("rb") as stream:
        if unpickler(stream).run() != MAGIC or unpickler(stream).run() != _VERSION:
            raise ValueError("it is of another version")
        # Facts of the system: its order of bytes is that of its pickles, numbers are little-endian.
        unpickler(stream).run()
        machine = unpickler(stream)
        payload = machine.plain(machine.run())
        last = unpickler(stream)
        keys = last.plain(last.run())
        if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(machine.storages):
            raise ValueError("its list of storages is not that of its tensors")
        for key in keys:
            storage = machine.storages[str(key)]
            length = int.from_bytes(machine.take(8), "little")
            storage.start, storage.nbytes = stream.tell(), length * storage.itemsize
            if length != storage.length or storage.start + storage.nbytes > size:
                raise ValueError(f"its storage {key} has {length} numbers instead of {storage.length}")
            storage.refuse_other_size()
            stream.seek(storage.nbytes, os.SEEK_CUR)
    return Saved(payload, tuple(machine.strangers))


class _Unpickler(ArrayMachine):
    """Makes what a state dict or a training's dictionary is made of, and stand-ins for all else.

    Args:
        open: Opens the stream that texts are in, for arrays that lie in them.
        size: Bytes of that stream.
        path: The file.
        order: The order of bytes of its numbers.
        stream: Where the pickle begins, if that is not the beginning of what `open` gives.

    Attributes:
        storages: The storages that it refers to, by key.
        strangers: The names that it has of what is not known.
    """

    def __init__(
        self,
        open: Callable[[], BinaryIO],
        size: int,
        path: Path,
        order: Literal["<", ">"] = "<",
        stream: BinaryIO | None = None,
    ) -> None:
        super().__init__(stream or open(), size, _MOST_INSTRUCTIONS)
        self.storages: dict[str, Storage] = {}
        self.strangers: dict[str, None] = {}
        self._texts: dict[Text, Storage] = {}
        self._open = open
        self._path = path
        self._order: Literal["<", ">"] = order

    def name(self, module: str, name: str) -> _Name:
        """Returns the name of anything."""
        full = f"{module}.{name}"
        if full not in _KNOWN and module not in _TORCH:
            self.strangers.setdefault(full)
        return _Name(full)

    def make(self, kind: object, arguments: object) -> object:
        """Returns what stands for an object."""
        return StandIn(kind.name) if isinstance(kind, _Name) else super().make(kind, arguments)

    def call(self, function: object, arguments: object) -> object:
        """Returns a dict, a tensor by its place, or what stands for something that is not read."""
        if isinstance(function, StandIn):
            return StandIn(function.name)
        if not isinstance(function, _Name) or type(arguments) is not tuple:
            return super().call(function, arguments)
        if function.name in _DICTS:
            return self._dict(arguments)
        if function.name == _TYPED and len(arguments) == 4:
            typed, _, inner, _ = arguments
            if isinstance(typed, _Name) and type(inner) is tuple:
                function, arguments = typed, inner
        if function.name in _TENSORS:
            if len(arguments) not in _TENSORS[function.name]:
                raise UnpicklingError("it has a tensor that cannot be")
            return self._tensor(*arguments)
        if function.name in _HOLDERS and arguments and isinstance(arguments[0], Tensor):
            return arguments[0]
        if function.name == "torch.Size" and len(arguments) == 1 and isinstance(arguments[0], list | tuple):
            return tuple(arguments[0])
        if function.name.startswith("torch._utils._rebuild_"):
            kind = function.name.removeprefix("torch._utils._rebuild_")
            return Tensor(f"is a {kind.replace('_', ' ')}, which is not read")
        if function.name in ARRAY_NAMES:
            with suppress(UnpicklingError):
                return self.array_or_dtype(function.name, arguments)
        return StandIn(function.name)

    def fill(self, value: object, state: object) -> None:
        """Gives an array its numbers, and passes over what else is said of things beside their values."""
        if isinstance(value, Array | Dtype):
            with suppress(UnpicklingError):  # of other things than numbers, which nobody may want
                self.fill_array_or_dtype(value, state)
        elif not isinstance(value, dict | Tensor | _Name):
            super().fill(value, state)

    def container(self, value: object, kind: type[_Kind]) -> _Kind:
        """Returns what something is put into; what is put into a stand-in as into a list is lost."""
        if isinstance(value, StandIn) and not isinstance(value, kind):
            return kind()
        return super().container(value, kind)

    def refer(self, number: object) -> object:
        """Returns a storage, ('storage', type, key, device, length) and before 1.6 a view, or a class of a network."""
        if type(number) is not tuple or not number:
            raise UnpicklingError("it refers to something that is no storage")
        what = self.string(number[0])
        if what == b"module" and len(number) == 4:
            return number[1]  # before 1.6, with the file and the text of its source
        if what != b"storage" or len(number) not in (5, 6):
            raise UnpicklingError("it refers to something that is no storage")
        kind, key, length, view = number[1], self.text(number[2], _LONGEST_TEXT), number[4], number[5:]
        if not _DEVICE.fullmatch(self.string(number[3])):
            raise UnpicklingError("it has a storage that is on no device")
        if not isinstance(kind, _Name) or type(length) is not int or length < 0:
            raise UnpicklingError("it has a storage that cannot be")
        if any(part is not None for part in view):
            raise UnpicklingError("its storages have views, which are not read")
        name = kind.name.rpartition(".")[2].removesuffix("Storage")
        storage = Storage(STORAGES.get(name, "uint8" if name == "Untyped" else f"a {kind.name}"), length)
        return self.storages.setdefault(key, storage)

    def key(self, value: object) -> object:
        """Returns the key of a dict: text, a plain number, or one of its own for anything else."""
        if value is None or (isinstance(value, bool | int | float) and not abs(value) > LARGEST_KEY):
            return value
        return self.text(value, _LONGEST_TEXT) if isinstance(value, Text) else _Key()

    def _dict(self, arguments: tuple[object, ...]) -> dict[object, object]:
        """Returns what a dict starts with: nothing, a dict, or in Python 2 a list of pairs."""
        content = arguments[0] if arguments else {}
        if type(content) is dict:
            return content
        if type(content) is not list:
            return {}  # the kind of what is missing in a defaultdict
        if not all(type(pair) in (list, tuple) and len(pair) == 2 for pair in content):
            raise UnpicklingError("it has a dict of something else than pairs")
        return {self.key(key): value for key, value in content}

    def plain(self, value: object) -> object:
        """Returns what was made with its texts in their places."""

        def leaf(value: object) -> object:
            if isinstance(value, Text):
                return self.text(value, _LONGEST_TEXT)
            if isinstance(value, Encoded):  # bytes
                return self.text(value.text, _LONGEST_TEXT).encode("latin-1", "replace")
            if isinstance(value, Array):
                storage = self._texts.setdefault(value.data, Storage("", 0, nbytes=value.data.length))
                return PickledTensor(self._path, value, self._open, storage)
            return value.name if isinstance(value, _Name) else value

        return rebuilt(value, leaf)

    def _tensor(
        self,
        storage: object,
        offset: object,
        shape: object,
        strides: object,
        requires_grad: object = False,
        *more: object,
    ) -> Tensor:
        if (
            not isinstance(storage, Storage)
            or type(offset) is not int
            or type(shape) is not tuple
            or type(strides) is not tuple
            or type(requires_grad) is not bool
        ):
            raise UnpicklingError("it has a tensor that cannot be")
        for mark, kind in (("neg", "negative"), ("conj", "conjugate")):
            if any(isinstance(argument, dict) and argument.get(mark) for argument in more[1:]):
                return Tensor(f"is a {kind} view, which is not read")
        named = next((argument.name for argument in more if isinstance(argument, _Name)), None)  # of v3: the dtype
        dtype = storage.dtype if named is None else named.removeprefix("torch.")
        return Tensor.at(self._path, storage, offset, shape, strides, dtype, self._order)
