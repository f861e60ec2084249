"""Who trains into a result folder: one process at a time, whose host, number and start stand in a file there."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from converters.errors import DeepPoseError, printable
from converters.files import told_of
from deeppose_port.training.names import LOCK

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_MOST_BYTES = 4096
_PLACE = 1 << 20  # of the byte that is locked on Windows, where one that is locked cannot be read


class Lock:
    """A folder's lock, held from its making until `release`, or until the process is gone.

    The system's own lock on the file tells whether a process holds it. Where the disk has none, as some of a network's,
    what the file says has to do: of a process of another host it cannot be told whether it is gone.

    Args:
        folder: The folder.
        notice: Told where the lock of a process that is gone is taken over.

    Raises:
        DeepPoseError: Another process holds it, or it cannot be written.
    """

    def __init__(self, folder: Path, notice: Callable[[str], None]) -> None:
        self._path = folder / LOCK
        while True:
            with told_of(self._path):
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            got = _lock(self._descriptor)
            if got is False or _is(self._descriptor, self._path):
                break
            os.close(self._descriptor)  # of a file that its holder has removed since
        holder = _read(self._descriptor)
        if got is False or (got is None and holder and _may_run(holder)):
            os.close(self._descriptor)
            advice = f"wait for its end, or name another folder with --output; if it is gone, delete {self._path}"
            raise DeepPoseError(f"{_named(holder)} is training into this folder", where=folder, advice=advice)
        if holder:
            notice(f"{folder}: {_named(holder)} was training into it and is gone; its lock is taken over")
        me = {"host": socket.gethostname(), "process": os.getpid(), "time": f"{datetime.now():%Y-%m-%d %H:%M:%S}"}
        try:
            with told_of(self._path):
                os.ftruncate(self._descriptor, 0)
                os.lseek(self._descriptor, 0, os.SEEK_SET)
                os.write(self._descriptor, json.dumps(me).encode())
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Lets others train into the folder; it may be called again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        if sys.platform == "win32":  # where a file that is open cannot be removed
            os.close(descriptor)
        with suppress(OSError):
            self._path.unlink()
        if sys.platform != "win32":
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # of the processes that were forked from this one too
            os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    """Locks a file; False if another process has, None if the disk knows no locks."""
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, _PLACE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True


def _is(descriptor: int, path: Path) -> bool:
    """Tells whether an open file is the one of a name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def _read(descriptor: int) -> Mapping[str, object]:
    """Returns what the holder wrote; nothing where there is none, or what cannot be read."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        told = json.loads(os.read(descriptor, _MOST_BYTES))
    except (ValueError, OSError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _may_run(holder: Mapping[str, object]) -> bool:
    """Tells whether a holder may still run."""
    process = holder.get("process")
    if holder.get("host") != socket.gethostname() or not isinstance(process, int) or sys.platform == "win32":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass  # it runs, of another user
    return True


def _named(holder: Mapping[str, object]) -> str:
    if not holder:
        return "another process"
    process, host, time = (printable(holder.get(key, "?"))[:80] for key in ("process", "host", "time"))
    return f"process {process} of {host}, since {time},"
