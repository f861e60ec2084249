"""The tar files of PyTorch before 0.2 (2016 and early 2017), read without unpickling them.

A tar of four members: `storages` has a count, then for each storage a pickled (key, place, type), its length as int64
and its numbers, and at its end a pickled list of views; `tensors` has a count, then for each tensor a pickled (key, key
of its storage, type), the number of dimensions as int64, sizes, strides and offset; `pickle` is what was saved, in
which a tensor is a reference to its key. PyTorch itself reads them with Python's unpickler alone, which could run code.
"""

from __future__ import annotations

import contextlib
import os
import struct
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from converters.files import Bounded
from converters.formats._pickle import LARGEST_KEY, LONGEST_NAME, Machine, Text, UnpicklingError, rebuilt
from converters.formats._tensor import STORAGES, Storage, Tensor
from converters.values import dataclass

MEMBERS = ("storages", "tensors", "pickle")
_MOST_MEMBERS = 16
_LARGEST_HEADER = 1 << 20
_MOST_TENSORS = 100_000
_LONGEST_TEXT = 1 << 16
_MOST_AXES = 32


@dataclass(frozen=True)
class _Type:
    """The type of a storage or a tensor."""

    dtype: str


@dataclass(frozen=True)
class _Reference:
    """A tensor in what was saved, by its key."""

    key: int


@dataclass(frozen=True)
class _Ordered:
    """The class OrderedDict."""


class _Saved(Machine):
    """Makes what a state dict or a training's dictionary is made of."""

    def name(self, module: str, name: str) -> object:
        """Returns a type of storages or tensors, or OrderedDict."""
        if module in ("torch", "torch.cuda"):
            for kind in ("Storage", "Tensor"):
                if name.endswith(kind) and name.removesuffix(kind) in STORAGES:
                    return _Type(STORAGES[name.removesuffix(kind)])
        if (module, name) == ("collections", "OrderedDict"):
            return _Ordered()
        return super().name(module, name)

    def call(self, function: object, arguments: object) -> object:
        """Returns a dict for an OrderedDict, which Python 2 made of a list of pairs."""
        if not isinstance(function, _Ordered) or type(arguments) is not tuple or len(arguments) > 1:
            return super().call(function, arguments)
        pairs = arguments[0] if arguments else []
        if type(pairs) is not list or not all(type(pair) in (list, tuple) and len(pair) == 2 for pair in pairs):
            return super().call(function, arguments)
        return {self.key(key): value for key, value in pairs}

    def refer(self, number: object) -> _Reference:
        """Returns a reference to a tensor."""
        return _Reference(_key(number if type(number) is int else self.string(number)))

    def key(self, value: object) -> object:
        """Returns the key of a dict: text, or a number as in an optimizer's state."""
        if type(value) is int and abs(value) <= LARGEST_KEY:
            return value
        return self.text(value, LONGEST_NAME)

    def plain(self, value: object, tensor: Callable[[int], Tensor]) -> object:
        """Returns what was made with its texts and tensors in their places."""

        def leaf(value: object) -> object:
            if isinstance(value, Text):
                return self.text(value, _LONGEST_TEXT)
            if isinstance(value, _Reference):
                return tensor(value.key)
            if value is None or isinstance(value, bool | int | float):
                return value
            raise UnpicklingError("it holds a type where a value should be")

        return rebuilt(value, leaf)


def is_torch_tar(path: Path) -> bool:
    """Tells whether a tar file is one that PyTorch wrote; what is wrong with it besides is for `load` to say."""
    left = set(MEMBERS)
    try:
        with _opened(path) as archive:
            for _ in range(_MOST_MEMBERS):
                member = archive.next()
                if member is None:
                    break
                left.discard(member.name)
    except (tarfile.TarError, OSError, ValueError, RecursionError):
        pass
    return not left


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    """Opens a tar whose headers may say what they like of their length."""
    with Bounded(path, _LARGEST_HEADER) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
        yield archive


def _members(path: Path) -> dict[str, tarfile.TarInfo]:
    """Returns a tar's members by name; of two with one name PyTorch takes the last, and others the first."""
    members: dict[str, tarfile.TarInfo] = {}
    with _opened(path) as archive:
        while (member := archive.next()) is not None:
            if member.name in members:
                raise UnpicklingError(f"it has a member twice: {member.name}")
            if len(members) == _MOST_MEMBERS:
                raise UnpicklingError(f"it has more than {_MOST_MEMBERS} members")
            members[member.name] = member
    return members


def load(path: Path) -> object:
    """Returns what was saved: dicts, lists, numbers and texts, with a `Tensor` for each tensor.

    Raises:
        ValueError: It is damaged, or holds anything else; nothing in it is run.
        OSError: It cannot be read.
    """
    try:
        members = _members(path)
        with _opened(path) as archive:
            files = {name: _file(archive, members[name]) for name in MEMBERS}
            storages = _storages(files["storages"], members["storages"])
            tensors = _tensors(files["tensors"], members["tensors"].size, storages, path)
            machine = _Saved(files["pickle"], members["pickle"].size)
            return machine.plain(machine.run(), tensors.__getitem__)
    except (tarfile.TarError, LookupError, struct.error, RecursionError) as error:
        raise UnpicklingError(f"it is damaged: {error}") from error


def _file(archive: tarfile.TarFile, member: tarfile.TarInfo) -> BinaryIO:
    stream = archive.extractfile(member) if member.isreg() and not member.issparse() else None
    if stream is None:
        raise UnpicklingError(f"its {member.name!r} is no plain file")
    return cast(BinaryIO, stream)


def _storages(stream: BinaryIO, member: tarfile.TarInfo) -> dict[int, Storage]:
    size, storages = member.size, {}
    for _ in range(_count(stream, size)):
        key, _, kind = _triple(stream, size)
        (length,) = struct.unpack("<q", _Saved(stream, size).take(8))
        storage = Storage(kind.dtype, length, member.offset_data + stream.tell())
        storage.nbytes, left = length * storage.itemsize, size - stream.tell()
        if not 0 <= storage.nbytes <= left:
            raise UnpicklingError(f"a storage says that it has {length} numbers where {left} bytes are left")
        stream.seek(storage.nbytes, os.SEEK_CUR)
        storages[_key(key)] = storage
    if _Saved(stream, size).run() != []:
        raise UnpicklingError("its storages have views, which are not read")
    return storages


def _tensors(stream: BinaryIO, size: int, storages: dict[int, Storage], path: Path) -> dict[int, Tensor]:
    tensors = {}
    for _ in range(_count(stream, size)):
        key, storage, _ = _triple(stream, size)
        take = _Saved(stream, size).take
        (axes,) = struct.unpack("<i4x", take(8))
        if not 0 <= axes <= _MOST_AXES:
            raise UnpicklingError(f"a tensor has {axes} dimensions")
        shape = struct.unpack(f"<{axes}q", take(8 * axes))
        strides = struct.unpack(f"<{axes}q", take(8 * axes))
        (offset,) = struct.unpack("<q", take(8))
        numbers = storages[_key(storage)]
        tensors[_key(key)] = Tensor.at(path, numbers, offset, shape, strides, numbers.dtype)
    return tensors


def _count(stream: BinaryIO, size: int) -> int:
    count = _Saved(stream, size).run()
    if type(count) is not int or not 0 <= count <= _MOST_TENSORS:
        raise UnpicklingError("it does not say how many tensors it has")
    return count


def _triple(stream: BinaryIO, size: int) -> tuple[object, object, _Type]:
    values = _Saved(stream, size).run()
    if type(values) is not tuple or len(values) != 3 or not isinstance(values[2], _Type):
        raise UnpicklingError("it has something else where a tensor should be")
    return values


def _key(value: object) -> int:
    if isinstance(value, int | float | str | bytes):
        with contextlib.suppress(ValueError):
            return int(value)
    raise UnpicklingError("it has a tensor without a key")
