"""What ends a command, and how."""

import errno

import click
import pytest

from converters import CheckpointError, DeepPoseError
from deeppose_port import backends
from deeppose_port.cli import cli, display, main
from deeppose_port.cli.options import INTERRUPTED, TERMINATED


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
    assert capsys.readouterr().err == "error: a.csv: Permission denied\n"


def test_two_files_are_both_named(ends_with, capsys):
    assert ends_with(OSError(18, "Invalid cross-device link", "a", None, "b")) == 2
    assert capsys.readouterr().err == "error: a -> b: Invalid cross-device link\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EMFILE])
def test_where_it_names_no_file_the_machine_is_said_to_be_at_fault(number, ends_with, capsys):
    assert ends_with(OSError(number, "so it is")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: so it is: the machine has no more room, or a disk is broken")


@pytest.mark.parametrize(
    "error", [OSError("a library's"), OSError(errno.EINVAL, "Invalid argument"), ConnectionResetError()]
)
def test_an_error_of_no_file_and_no_disk_is_a_bug(error, ends_with, capsys):
    assert ends_with(error) == 1
    assert "this is a bug" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (PermissionError(13, "Permission denied", "a" * 4000), 2),
        (DeepPoseError("a" * 4000), 2),
        (click.UsageError("a" * 4000), 2),
        (MemoryError("a" * 4000), 2),
        (RuntimeError("a" * 4000), 1),
    ],
)
def test_no_line_is_endless(error, status, ends_with, capsys):
    assert ends_with(error) == status
    assert max(map(len, capsys.readouterr().err.splitlines())) < 1300


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


@pytest.mark.parametrize("error", [DeepPoseError("it is bad"), click.UsageError("it is bad"), OSError(28, "no room")])
def test_a_signal_while_an_error_is_told_is_said_too(error, ends_with, monkeypatch, capsys):
    def told(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(display, "error", told)
    monkeypatch.setattr(display, "usage_error", told)
    assert ends_with(error) == INTERRUPTED
    assert "interrupted" in capsys.readouterr().err

    def ended(*_):
        raise SystemExit(TERMINATED)

    monkeypatch.setattr(display, "error", ended)
    monkeypatch.setattr(display, "usage_error", ended)
    with pytest.raises(SystemExit):
        ends_with(error)
    assert "terminated" in capsys.readouterr().err
