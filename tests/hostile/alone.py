"""Reads files each alone in a process, with a limit on its time or on its memory: neither may hide the other.

The processes are forked from one that has loaded the libraries, so that a read costs what the read costs.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
#: Seconds of work and bytes that reading a small file may take, beside those of Python with its libraries. What grows
#: without end takes hours.
SECONDS, MEMORY = 20, 300_000_000
#: Seconds after which a read that only waits is ended.
PATIENCE = 120


class Ending(NamedTuple):
    """How a read ended: what refused the file, empty where nothing did; the process's status; the memory it took."""

    said: str
    status: int
    memory: int


def read_alone(paths, limit, **options) -> list[Ending]:
    """Reads files with converters.read, each in a process of its own, with a limit on `time` or on `memory`.

    With `little` there is an eighth of that memory, for files that are honest.
    """
    server = _server()
    server.stdin.write(json.dumps({"paths": [str(path) for path in paths], "limit": limit, "options": options}) + "\n")
    server.stdin.flush()
    return [Ending(*json.loads(server.stdout.readline())) for _ in paths]


@functools.cache
def _server():
    """Returns the process that forks the others: to start it costs more than a hundred reads."""
    command = [sys.executable, "-m", "tests.hostile.alone"]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    atexit.register(server.communicate)
    return server


def _main() -> None:
    import safetensors  # noqa: F401

    import converters  # noqa: F401

    with contextlib.suppress(ImportError):
        import h5py  # noqa: F401

    for order in map(json.loads, sys.stdin):
        for path in order["paths"]:
            print(json.dumps(_read_in_a_fork(path, order["limit"], order["options"])), flush=True)


def _read_in_a_fork(path, limit, options) -> tuple[str, int, int]:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        with open(writing, "w") as stream:
            _read(path, limit, options, stream)
        os._exit(0)
    os.close(writing)
    with open(reading) as stream:
        said, _, memory = stream.read().rpartition("\n")
    _, status = os.waitpid(child, 0)
    return said, os.waitstatus_to_exitcode(status), int(memory or -1)


def _read(path, limit, options, stream) -> None:
    import resource

    import converters

    signal.alarm(PATIENCE)
    before = _memory("VmHWM:")
    if limit != "time":
        more = 2 * MEMORY // (8 if limit == "little" else 1)
        resource.setrlimit(resource.RLIMIT_AS, (_memory("VmSize:") + more,) * 2)
    else:
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    try:
        converters.read(path, **options)
    except converters.CheckpointError as error:
        stream.write(str(error))
    stream.write(f"\n{_memory('VmHWM:') - before}")


def _memory(what) -> int:
    """Returns bytes; `ru_maxrss` would count what the process before had."""
    return int(Path("/proc/self/status").read_text().split(what)[1].split()[0]) * 1024


if __name__ == "__main__":
    _main()
