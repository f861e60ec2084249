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


@pytest.fixture
def read_in_little_memory():
    """Reads a file in a process that may take 600 MB more than Python with its libraries; returns what it printed."""

    def read(path, libraries="numpy, safetensors"):
        program = f"""
            import resource
            import {libraries}
            import converters
            used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + 600_000_000,) * 2)
            try:
                converters.read({str(path)!r})
            except converters.CheckpointError as error:
                print(error)
        """
        command = [sys.executable, "-c", textwrap.dedent(program)]
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert run.returncode == 0, run.stderr
        assert len(run.stdout.splitlines()) == 1
        return run.stdout

    return read
