"""What the tests of hostile files share."""

import os

import pytest

from tests.hostile.alone import MEMORY, read_alone

#: Bytes of a file up to which it is read with a limit on memory as well.
SMALL = 300_000


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
    """Reads a file where there is little memory; returns what it printed."""
    return lambda path: read_alone([path], "little")[0].said


@pytest.fixture
def read_within_limits():
    """Reads a file within limits on memory and on time, neither of which hides the other; returns what it printed."""

    def read(path, **options):
        (message,) = refusals([path], **options)
        return message

    return read


def refusals(paths, **options):
    """Reads files that have to be refused, within limits on memory and on time; returns what was said of each.

    With the limit on time the memory that is taken is measured. The limit on memory is for what is asked for and never
    used: small files have all that could ask for it, and are read with it too.
    """
    said = []
    for path, timed in zip(paths, read_alone(paths, "time", **options), strict=True):
        assert (timed.status, timed.memory < MEMORY) == (0, True), f"{path}: {timed} (-24 is the limit on its time)"
        assert timed.said
        said.append(timed.said)
    small = [path for path in paths if path.stat().st_size < SMALL]
    for path, limited in zip(small, read_alone(small, "memory", **options), strict=True):
        assert limited.status == 0, path
        assert "cannot be held in memory" not in limited.said
    return said
