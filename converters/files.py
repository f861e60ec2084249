"""Files: written whole or not at all and never over others unasked, told apart, hashed; and numbers of bytes."""

from __future__ import annotations

import atexit
import hashlib
import io
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from converters.errors import DeepPoseError, reason_of
from converters.interrupts import Interrupts

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be removed anyway
    fcntl = None  # type: ignore[assignment]

#: How much of a file is read at a time.
CHUNK = 1 << 20
#: A file's device, number, size and time of change.
Identity: TypeAlias = tuple[int, int, int, int]

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_TEMPORARY = re.compile(r"\.(.*)\.[0-9a-f]{8}\.tmp", re.DOTALL)
_LONGEST_NAME = 255  # where the system does not tell
_ENDING = "01234567.tmp"
#: What a stage is called as if it were a file.
_STAGE = "new"
#: Folders of this process's targets -> temporary names that were there at the first.
_left_over: dict[str, list[str]] = {}
#: What this process has not yet put in its place, with the process (a forked one has none) and what removes it.
_ours: dict[Path, tuple[int, Callable[[Path], None]]] = {}


# --- what a file is ---------------------------------------------------------------------------------------------------


def hash_file(path: Path) -> str:
    """Returns a file's SHA-256 in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def refuse_no_file(
    path: str | os.PathLike[str], error: type[DeepPoseError] = DeepPoseError, largest: int | None = None
) -> None:
    """Refuses what is no file, without opening it: a pipe would be waited for, a device may never end.

    Args:
        path: What should be one.
        error: What is raised.
        largest: The most bytes that such a file has; None for any number.

    Raises:
        DeepPoseError: It is not there, no file, or larger. It is an `error`.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise error("there is no such file", where=path) from None
    except (OSError, ValueError) as problem:
        raise error(f"cannot be read: {reason_of(problem)}", where=path) from problem
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device or a pipe"
        raise error(f"cannot be read: this is {kind}, not a file", where=path)
    if largest is not None and status.st_size > largest:
        raise error(f"it has {status.st_size:,} bytes, and such a file has at most {largest:,}", where=path)


def json_of(
    path: str | os.PathLike[str],
    error: type[DeepPoseError] = DeepPoseError,
    largest: int | None = None,
    advice: str | None = None,
) -> object:
    """Returns what a JSON file holds; arguments as for `refuse_no_file`, and what to do about one that is none.

    Raises:
        DeepPoseError: It is refused as there, cannot be read, or is no JSON text. It is an `error`.
    """
    refuse_no_file(path, error, largest)
    try:
        return json.loads(Path(path).read_bytes())
    except OSError as problem:
        raise error(f"cannot be read: {reason_of(problem)}", where=path) from problem
    except (ValueError, RecursionError) as problem:
        raise error(f"not JSON text ({problem})", where=path, advice=advice) from problem


class Bounded(io.FileIO):
    """A file that gives no more than so many bytes at a time, whatever a library takes a file's word for.

    Args:
        path: The file.
        most: The most bytes.
    """

    def __init__(self, path: Path, most: int) -> None:
        super().__init__(path)
        self._most = most

    def read(self, size: int | None = -1, /) -> bytes:
        """Reads.

        Raises:
            DeepPoseError: More is asked for.
        """
        if size is not None and size > self._most:
            raise DeepPoseError(f"{size:,} bytes of it are one header, where {self._most:,} are the most")
        return super().read(size) or b""


def identity_of(path: Path) -> Identity | None:
    """Returns what differs when somebody writes to a file; None if it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def byte_count(amount: str | int) -> int:
    """Returns a number of bytes that was written as `512M`, `1.5G`, `64 KiB` or `1000000`; K is 1024.

    Raises:
        DeepPoseError: It is none, or negative.
    """
    found = _AMOUNT.fullmatch(str(amount).strip())
    if found is None:
        raise DeepPoseError(f"{amount!r} is not a number of bytes; write 512M or 1.5G, and 0 for none")
    return int(float(found[1]) * _UNITS[found[2].upper()])


# --- where a file may be written --------------------------------------------------------------------------------------


def refuse_targets(
    targets: Iterable[Path | None],
    force: bool,
    *,
    read: Iterable[str | os.PathLike[str] | None] = (),
    instead: str = "-o names another",
) -> None:
    """Refuses to write where something is: a file unless it may be replaced, what is no file or is read in any case.

    Args:
        targets: What will be written; None is nothing.
        force: Whether files that exist may be replaced.
        read: What is read meanwhile, under whatever name; None is nothing.
        instead: Which option names another place, in words.

    Raises:
        DeepPoseError: It says which, and what to do.
    """
    inputs = [path for path in read if path is not None and os.path.exists(path)]
    for target in targets:
        if target is None:
            continue
        with told_of(target):
            _refuse_special(target)
            if any(target.exists() and target.samefile(path) for path in inputs):
                problem = "this is the input itself, which is never changed"
                raise DeepPoseError(problem, where=target, advice=instead)
            if not force and os.path.lexists(target):
                raise _exists(target, instead)


def refuse_without_folder(target: Path) -> None:
    """Refuses what cannot be written because its folder is not there, before there is anything to write.

    Raises:
        DeepPoseError: It says so.
    """
    if not target.parent.is_dir():
        raise DeepPoseError("there is no such folder to write it into", where=target, advice="make it, or name another")


def checked_folder(path: str | os.PathLike[str]) -> Path:
    """Returns a folder to write to, which need not exist.

    Raises:
        DeepPoseError: There is a file in its place.
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise DeepPoseError("this is a file; name a folder", where=folder)
    return folder


def _refuse_special(target: Path) -> None:
    """Refuses what a file must not take the place of: a folder, a device, a pipe."""
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise DeepPoseError("this is a folder", where=target, advice="name a file in it")
    if not stat.S_ISREG(mode):
        raise DeepPoseError("this is a device or a pipe, which is never replaced", where=target, advice="name a file")


def _exists(target: Path, instead: str = "-o names another") -> DeepPoseError:
    return DeepPoseError("it exists already", where=target, advice=f"--force replaces it, {instead}")


# --- whole or not at all ----------------------------------------------------------------------------------------------


@contextmanager
def atomic(target: Path, *, force: bool) -> Iterator[Path]:
    """Yields an empty file beside a target, to write to; it gets the target's name when all is well.

    Otherwise it is removed, after Ctrl-C and SIGTERM too. What a process left there that was killed outright is removed
    by the next one that writes the same target.

    Args:
        target: The file to be.
        force: Whether one that is there is replaced. Without, of several processes that write the same target at a time
            one wins.

    Raises:
        DeepPoseError: The target is there already, or is no file, or cannot be written.
    """
    with Interrupts() as interrupts, told_of(target):
        _refuse_special(target)
        _sweep(target)
        with _Temporary(target, folder=False) as temporary:
            with interrupts.let_through():
                yield temporary
            _put(temporary, target, force)


@contextmanager
def made(folder: Path) -> Iterator[None]:
    """Makes a folder, and those above it, for what is done meanwhile; if that fails, the empty ones are removed again.

    Raises:
        DeepPoseError: It cannot be made.
    """
    new = [each for each in (folder, *folder.parents) if not os.path.lexists(each)]
    try:
        with told_of(folder):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                error.filename = os.fspath(folder)  # it may be of one above it
                raise
        yield
    except BaseException:
        for each in new:
            with suppress(OSError):  # it is not empty
                each.rmdir()
        raise


@contextmanager
def staged(folder: Path, *, force: bool) -> Iterator[Path]:
    """Yields a folder in a folder, to write to; its files go up when all is well, else nothing is left.

    Args:
        folder: The folder to be, which is made.
        force: Whether files that are there are replaced.

    Raises:
        DeepPoseError: A file is in the folder's place or in one of the files', or it cannot be written.
    """
    with Interrupts() as interrupts, told_of(folder), made(checked_folder(folder)):
        _sweep(folder / _STAGE)
        placed: list[Path] = []
        try:
            with _Temporary(folder / _STAGE, folder=True) as stage:
                with interrupts.let_through():
                    yield stage
                for file in sorted(stage.iterdir()):
                    _put(file, folder / file.name, force)
                    placed.append(folder / file.name)
        except BaseException:
            for path in placed if not force else ():  # those are new
                path.unlink()
            raise


def same_file(source: Path, target: Path) -> None:
    """Gives a file another name, replacing what had it; a copy where the disk knows no links."""
    with atomic(target, force=True) as temporary:
        try:
            temporary.unlink()
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def sweep(folder: Path) -> None:
    """Removes what processes that are gone were writing into a folder."""
    for name in _temporaries(folder):
        _sweep_one(folder / name)


def _temporaries(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if _TEMPORARY.fullmatch(name)]
    except OSError:
        return []


def _sweep(target: Path) -> None:
    """Removes what processes that are gone left of a target; a folder is looked through once by each process."""
    folder = os.path.abspath(target.parent)
    if folder not in _left_over:
        _left_over[folder] = _temporaries(target.parent)
    left = _left_over[folder]
    start = f".{_beginning(target)}."
    for name in [name for name in left if name[: -len(_ENDING)] == start]:
        left.remove(name)
        _sweep_one(target.with_name(name))


def _sweep_one(path: Path) -> None:
    """Removes a temporary file or folder that nobody holds locked."""
    is_folder = path.is_dir() and not path.is_symlink()
    if fcntl is None or not (is_folder or stat.S_ISREG(path.lstat().st_mode)):
        return
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path) if is_folder else path.unlink()
        finally:
            os.close(descriptor)


class _Temporary:
    """A file or folder beside a target under a name of its own, locked while it is there, and removed at the end."""

    def __init__(self, target: Path, *, folder: bool) -> None:
        self._target = target
        self._remove: Callable[[Path], None] = shutil.rmtree if folder else os.unlink
        self._make = _new_folder if folder else _new_file
        self._descriptor: int | None = None

    def __enter__(self) -> Path:
        while self._descriptor is None:
            self._path = self._target.with_name(f".{_beginning(self._target)}.{os.urandom(4).hex()}.tmp")
            self._descriptor = _locked(self._make(self._path), self._path)
        _ours[self._path] = os.getpid(), self._remove
        return self._path

    def __exit__(self, *_: object) -> None:
        _remove_ours(self._path)
        if self._descriptor is not None and fcntl is not None:
            os.close(self._descriptor)


def _new_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)


def _new_folder(path: Path) -> int:
    path.mkdir()
    return os.open(path, os.O_RDONLY) if fcntl is not None else os.open(os.devnull, os.O_RDONLY)


def _locked(descriptor: int, path: Path) -> int | None:
    """Returns a file's descriptor with the file locked; None if somebody swept it away in between.

    Where there are no locks it is as it was, and on Windows, where open files cannot be renamed, closed.
    """
    if fcntl is None:
        os.close(descriptor)
        return descriptor
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        return descriptor  # a network's disk without locks: nobody else will get one either
    if not path.exists():
        os.close(descriptor)
        return None
    return descriptor


def _beginning(target: Path) -> str:
    """Returns a target's name, as much of it as a temporary name has room for."""
    longest = _LONGEST_NAME
    with suppress(AttributeError, OSError, ValueError):
        longest = os.pathconf(target.parent, "PC_NAME_MAX")
    return os.fsencode(target.name)[: longest - len("..") - len(_ENDING)].decode("utf-8", "ignore")


def _put(temporary: Path, target: Path, force: bool) -> None:
    """Gives a whole file its name."""
    _refuse_special(target)
    if force:
        os.replace(temporary, target)
        return
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise _exists(target) from None
    except OSError:  # the disk knows no links: the name is taken first
        try:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            raise _exists(target) from None
        os.replace(temporary, target)


@contextmanager
def told_of(target: Path, advice: str = "nothing was left behind; see to the place, or name another") -> Iterator[None]:
    """Tells what the system says of a place where something is written in a sentence.

    Args:
        target: The file or folder.
        advice: What to do.

    Raises:
        DeepPoseError: The system refuses to write it.
    """
    try:
        yield
    except OSError as error:
        where = target
        if error.filename is not None:  # without a name it is of an open file: the disk is full
            path = Path(os.fsdecode(error.filename))
            stages = [place for place, part in enumerate(path.parts, 1) if _TEMPORARY.fullmatch(part)]
            if path != target and not stages:
                raise  # of another file, which is another's to tell of
            where = target.joinpath(*path.parts[stages[-1] :]) if stages else target
        raise DeepPoseError(f"it cannot be written: {reason_of(error)}", where=where, advice=advice) from error


@atexit.register
def _remove_all() -> None:
    """Removes what an interrupt at an unlucky moment left."""
    for path in list(_ours):
        _remove_ours(path)


def _remove_ours(path: Path) -> None:
    """Removes a temporary file or folder of this process, if it is still there."""
    process, remove = _ours.pop(path, (0, os.unlink))
    if process == os.getpid():
        with suppress(OSError):
            remove(path)
