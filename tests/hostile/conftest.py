"""What the tests of hostile files share."""

import os
import subprocess
import sys
import textwrap

import pytest


class Bait:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def bait(tmp_path):
    """An object that leaves a trace when it is unpickled; at the end there must be none."""
    trace = tmp_path / "the-pickle-was-run"
    yield Bait(trace)
    assert not trace.exists()


#: Seconds of work and bytes that reading a small file may add to those of Python with its libraries.
SECONDS, MEMORY = 5, 300_000_000


def read_alone(path, limit, libraries="numpy, safetensors", **options):
    """Reads a file in a process of its own with a limit; returns what refused it, and how much memory it took."""
    program = f"""
        import resource, time
        import {libraries}
        import converters
        memory = lambda what: int(open("/proc/self/status").read().split(what)[1].split()[0]) * 1024
        size, before = memory("VmSize:"), memory("VmHWM:")
        if {limit == "memory"}:
            resource.setrlimit(resource.RLIMIT_AS, (size + 2 * {MEMORY},) * 2)
        else:
            resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 1 + {SECONDS},) * 2)
        try:
            converters.read({str(path)!r}, **{options!r})
        except converters.CheckpointError as error:
            print(error)
        print(memory("VmHWM:") - before)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stderr or f"ended by {run.returncode} (-24 is the limit on its time)"
    *said, memory = run.stdout.splitlines()
    (message,) = said
    return message, int(memory)


@pytest.fixture
def read_in_little_memory():
    """Reads a file where there is little memory; returns what it printed."""
    return lambda path: read_alone(path, "memory")[0]


@pytest.fixture
def read_within_limits():
    """Reads a file within limits on memory and on time, neither of which hides the other; returns what it printed."""

    def read(path, **options):
        message, memory = read_alone(path, "time", **options)
        assert memory < MEMORY
        assert read_alone(path, "memory", **options)[0] == message
        return message

    return read
