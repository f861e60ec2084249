"""What ends a command, and how."""

import click
import pytest

from converters import CheckpointError, DeepPoseError
from deeppose_port import backends
from deeppose_port.cli import cli, main


@pytest.fixture
def ends_with(monkeypatch):
    """Makes a command that raises what it is given."""

    def raising(error):
        @click.command()
        def toy():
            raise error

        monkeypatch.setitem(cli.commands, "toy", toy)
        return main(["toy"])

    return raising


@pytest.mark.parametrize(
    "error",
    [
        DeepPoseError("it is bad", where="a.csv", advice="mend it"),
        CheckpointError("a.csv", "it is bad", "mend it"),
        backends.BackendError("a.csv: it is bad (mend it)"),
        click.UsageError("a.csv: it is bad (mend it)"),
    ],
)
def test_what_is_refused_is_one_line_and_status_2(error, ends_with, capsys):
    assert ends_with(error) == 2
    assert capsys.readouterr().err.splitlines()[-1].lower() == "error: a.csv: it is bad (mend it)"


def test_what_the_system_refuses_is_too(ends_with, capsys):
    assert ends_with(PermissionError(13, "Permission denied", "a.csv")) == 2
    assert capsys.readouterr().err == "error: [Errno 13] Permission denied: 'a.csv'\n"


def test_memory_that_is_not_there_is_too(ends_with, capsys):
    assert ends_with(MemoryError("Unable to allocate 9 TiB")) == 2
    assert capsys.readouterr().err == "error: there is not enough memory: Unable to allocate 9 TiB\n"


@pytest.mark.parametrize("kind", [ValueError, TypeError, KeyError, RuntimeError, RecursionError])
def test_anything_else_is_a_bug_and_says_so(kind, ends_with, capsys):
    assert ends_with(kind("operands could not be broadcast together")) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("Traceback (most recent call last):")
    *_, error, report = shown.err.splitlines()
    assert error.startswith(kind.__name__)
    assert "could not be broadcast" in error
    assert report.startswith("error: this is a bug in deeppose-port")
    assert "doctor" in report


def test_ctrl_c_is_130(ends_with, capsys):
    assert ends_with(KeyboardInterrupt()) == 130
    assert "interrupted" in capsys.readouterr().err
