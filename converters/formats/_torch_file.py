"""What `torch.save` writes since PyTorch 0.2, read without PyTorch and without Python's unpickler.

From 1.6 on it is a zip of stored members: `NAME/data.pkl`, a pickle in which a tensor is a call of
`_rebuild_tensor_v2` with a reference to a storage, and the storages' numbers in `NAME/data/KEY`. Before, it was five
pickles (a magic number, a version, facts of the system, what was saved, the storages' keys), then each storage's length
and numbers. Tensors are not read here: they are told by their place in the file.
"""

from __future__ import annotations

import io
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from converters.formats import _zip
from converters.formats._pickle import Machine, Text, UnpicklingError, rebuilt
from converters.formats._tensor import STORAGES, Storage, Tensor

MAGIC = 0x1950A86A20F9469CFC6C  # of the format before 1.6
_VERSION = 1001
_MOST_INSTRUCTIONS = 500_000
_LARGEST_PICKLE = 64 << 20
_LONGEST_TEXT = 1 << 20
_DICTS = ("collections.OrderedDict", "collections.Counter", "collections.defaultdict")
#: What is called for a tensor of strided numbers, and for what holds one.
_TENSORS = ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3")
_HOLDERS = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")
_TYPED = "torch._tensor._rebuild_from_type_v2"
#: What else a state dict may be saved with; nothing of it is read.
_OTHERS = (
    *("sparse_tensor", "nested_tensor", "qtensor", "meta_tensor_no_storage", "wrapper_subclass"),
    *("device_tensor_from_numpy", "device_tensor_from_cpu_tensor"),
)
_INERT = (
    *(f"torch._utils._rebuild_{what}" for what in _OTHERS),
    *("torch.Size", "torch.device", "torch.Tensor", "torch.nn.parameter.Parameter", "torch.serialization._get_layout"),
    *("_codecs.encode", "builtins.set", "builtins.complex", "__builtin__.set", "__builtin__.complex"),
    *(f"numpy.{core}.multiarray.{what}" for core in ("core", "_core") for what in ("scalar", "_reconstruct")),
    *("numpy.dtype", "numpy.ndarray"),
    *(f"{module}.{system}Path" for module in ("pathlib", "pathlib._local") for system in ("Posix", "Windows")),
    "argparse.Namespace",
)


#: Where the types of storages, tensors and numbers are.
_TORCH = ("torch", "torch.cuda", "torch.storage", "torch.sparse", "torch.cuda.sparse")


class NeedsCodeError(UnpicklingError):
    """The file names what only running code could make; the message is its name."""


@dataclass(frozen=True)
class _Name:
    """A class or function by its name; it is never looked for."""

    name: str


def load(path: Path) -> object:
    """Returns what was saved: dicts, lists, numbers and texts, with a `Tensor` for each tensor.

    Raises:
        NeedsCodeError: It holds more than that; nothing in it is run.
        ValueError: It is damaged.
        OSError: It cannot be read.
    """
    if zipfile.is_zipfile(path):
        return _load_zip(path)
    return _load_older(path)


def _load_zip(path: Path) -> object:
    every, _ = _zip.directory(path)
    members = {member.filename: member for member in every}
    if len(members) < len(every):
        raise ValueError("it has a member twice")
    size = path.stat().st_size
    if sum(member.compress_size for member in members.values()) > size:
        raise ValueError(f"its members cannot all be in a file of {size} bytes")
    pickles = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError(f"it has {len(pickles)} pickles instead of one")
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}constants.pkl" in members:
        raise NeedsCodeError("a TorchScript program")
    content = _member(path, members[pickles[0]], _LARGEST_PICKLE)
    order = _member(path, members[f"{root}byteorder"], 16) if f"{root}byteorder" in members else b"little"
    machine = _Saved(io.BytesIO(content), len(content), path, ">" if order == b"big" else "<")
    payload = machine.plain(machine.run())
    with path.open("rb", buffering=0) as stream:
        for key, storage in machine.storages.items():
            member = members.get(f"{root}data/{key}")
            if member is None:
                raise ValueError(f"it lacks the numbers {key!r}")
            storage.start, storage.nbytes = _zip.place_of(stream, member), member.file_size
            storage.refuse_short(size)
    return payload


def _member(path: Path, member: zipfile.ZipInfo, most: int) -> bytes:
    if member.file_size > most:
        raise ValueError(f"its {member.filename!r} has {member.file_size} bytes")
    with path.open("rb", buffering=0) as stream:
        stream.seek(_zip.place_of(stream, member))
        return stream.read(member.file_size)


def _load_older(path: Path) -> object:
    size = path.stat().st_size
    with path.open("rb") as stream:
        if _Saved(stream, size, path).run() != MAGIC or _Saved(stream, size, path).run() != _VERSION:
            raise ValueError("it is of another version")
        facts = _Saved(stream, size, path)
        system = facts.plain(facts.run())
        little = not isinstance(system, dict) or system.get("little_endian") is not False
        machine = _Saved(stream, size, path, "<" if little else ">")
        payload = machine.plain(machine.run())
        last = _Saved(stream, size, path)
        keys = last.plain(last.run())
        if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(machine.storages):
            raise ValueError("its list of storages is not that of its tensors")
        for key in keys:
            storage = machine.storages[str(key)]
            length = int.from_bytes(machine.take(8), "little")
            storage.start, storage.nbytes = stream.tell(), length * storage.itemsize
            if length != storage.length:
                raise ValueError(f"its storage {key} has {length} numbers instead of {storage.length}")
            storage.refuse_short(size)
            stream.seek(storage.nbytes, os.SEEK_CUR)
    return payload


class _Saved(Machine):
    """Makes what a state dict or a training's dictionary is made of."""

    def __init__(self, stream: BinaryIO, size: int, path: Path, order: Literal["<", ">"] = "<") -> None:
        super().__init__(stream, size, _MOST_INSTRUCTIONS)
        self.storages: dict[str, Storage] = {}
        self._path = path
        self._order: Literal["<", ">"] = order

    def name(self, module: str, name: str) -> _Name:
        """Returns the name of what saved tensors and their surroundings are made with."""
        full = f"{module}.{name}"
        known = full in (*_DICTS, *_TENSORS, *_HOLDERS, *_INERT, _TYPED)
        if not known and module not in _TORCH:
            raise NeedsCodeError(full)
        return _Name(full)

    def make(self, kind: object, arguments: object) -> object:
        """Returns what stands for the options of a training, which are not read."""
        if isinstance(kind, _Name) and kind.name == "argparse.Namespace" and arguments == ():
            return kind
        return super().make(kind, arguments)

    def call(self, function: object, arguments: object) -> object:
        """Returns a dict, a tensor by its place, or what stands for something that is not read."""
        if not isinstance(function, _Name) or type(arguments) is not tuple:
            return super().call(function, arguments)
        if function.name in _DICTS:
            return self._dict(arguments)
        if function.name == _TYPED and len(arguments) == 4:
            typed, _, inner, _ = arguments
            if isinstance(typed, _Name) and type(inner) is tuple:
                function, arguments = typed, inner
        if function.name in _TENSORS:
            return self._tensor(arguments)
        if function.name in _HOLDERS and arguments and isinstance(arguments[0], Tensor):
            return arguments[0]
        if function.name == "torch.Size" and len(arguments) == 1 and type(arguments[0]) in (list, tuple):
            return tuple(arguments[0])
        if function.name.startswith("torch._utils._rebuild_"):
            kind = function.name.removeprefix("torch._utils._rebuild_")
            return Tensor(f"is a {kind.replace('_', ' ')}, which is not read")
        if function.name == "_codecs.encode" and len(arguments) == 2 and self._key(arguments[1]) == "latin1":
            return self._key(arguments[0]).encode("latin-1")  # bytes, as protocol 2 spells them
        if function.name in _INERT:
            return function
        return super().call(function, arguments)

    def fill(self, value: object, state: object) -> None:
        """Passes over what state dicts and tensors carry beside their values."""
        if not isinstance(value, dict | Tensor | _Name):
            super().fill(value, state)

    def refer(self, number: object) -> Storage:
        """Returns a storage: a reference is ('storage', type, key, device, length), before 1.6 with a view."""
        if type(number) is not tuple or len(number) not in (5, 6) or self.string(number[0]) != b"storage":
            raise UnpicklingError("it refers to something that is no storage")
        kind, key, length, view = number[1], self._key(number[2]), number[4], number[5:]
        if not isinstance(kind, _Name) or type(length) is not int or length < 0:
            raise UnpicklingError("it has a storage that cannot be")
        if any(part is not None for part in view):
            raise UnpicklingError("its storages have views, which are not read")
        name = kind.name.rpartition(".")[2].removesuffix("Storage")
        storage = Storage(STORAGES.get(name, "uint8" if name == "Untyped" else f"a {kind.name}"), length)
        return self.storages.setdefault(key, storage)

    def key(self, value: object) -> object:
        """Returns the key of a dict: text, or a plain value."""
        if value is None or isinstance(value, bool | int | float):
            return value
        return self._key(value)

    def _dict(self, arguments: tuple[object, ...]) -> dict[object, object]:
        """Returns what a dict starts with: nothing, a dict, or in Python 2 a list of pairs."""
        content = arguments[0] if arguments else {}
        if type(content) is dict:
            return content
        if type(content) is list and all(type(pair) in (list, tuple) and len(pair) == 2 for pair in content):
            return {self.key(key): value for key, value in content}
        return {}  # the kind of what is missing in a defaultdict

    def plain(self, value: object) -> object:
        """Returns what was made with its texts in their places."""

        def leaf(value: object) -> object:
            if isinstance(value, Text):
                return self._key(value)
            return value.name if isinstance(value, _Name) else value

        return rebuilt(value, leaf)

    def _key(self, value: object) -> str:
        return self.string(value, _LONGEST_TEXT).decode("utf-8", "backslashreplace")

    def _tensor(self, arguments: tuple[object, ...]) -> Tensor:
        storage, offset, shape, strides = arguments[:4] if len(arguments) >= 4 else (None, 0, None, None)
        if (
            not isinstance(storage, Storage)
            or type(offset) is not int
            or type(shape) is not tuple
            or type(strides) is not tuple
        ):
            raise UnpicklingError("it has a tensor that cannot be")
        if any(isinstance(argument, dict) and argument.get("neg") for argument in arguments[6:]):
            return Tensor("is a negative view, which is not read")
        named = next((a.name for a in arguments[4:] if isinstance(a, _Name)), None)  # of v3: the dtype
        dtype = storage.dtype if named is None else named.removeprefix("torch.")
        return Tensor.at(self._path, storage, offset, shape, strides, dtype, self._order)
