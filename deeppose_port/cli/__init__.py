"""The command line: each command is a thin call into the library."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

import click

from converters.errors import DeepPoseError, reason_of
from deeppose_port import __version__
from deeppose_port.cli import display, legacy
from deeppose_port.cli.command import Commands, Group, common_options
from deeppose_port.cli.options import BAD_INPUT, BUG, CLOSED, INTERRUPTED, TERMINATED

#: What to do about a bug.
REPORT = (
    "please open an issue where you have the program from, with the lines above, the command, and what "
    "`deeppose-port doctor` says"
)

#: What no file is to blame for by itself.
_OF_THE_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: What follows the program's name; None for `sys.argv`.

    Returns:
        The exit status: 0; 1 for a comparison that failed, or a bug, whose traceback is shown; 2 for bad input; 3 where
        some of several inputs were refused; 130 for Ctrl-C; 141 when nobody reads the output any more.
    """
    display.begin()
    try:
        return _run(arguments)
    except (click.Abort, KeyboardInterrupt):
        display.say("interrupted: nothing was left behind", err=True)
        return INTERRUPTED
    except SystemExit as ended:
        if ended.code == TERMINATED:
            display.say("terminated: nothing was left behind", err=True)
        raise
    finally:
        display.end()


def _run(arguments: Sequence[str] | None) -> int:
    """Runs a command and tells its errors; apart from `main`, which hears of a signal in the telling too."""
    try:
        status = cli.main(arguments, prog_name="deeppose-port", standalone_mode=False, obj=arguments)
        return status if isinstance(status, int) else 0
    except click.Abort:
        raise
    except click.ClickException as error:
        asked = error.option_name if isinstance(error, click.NoSuchOption) else ""
        display.usage_error(error, legacy.advice(asked))
        return error.exit_code
    except display.OutputClosedError:
        return CLOSED
    except DeepPoseError as error:
        display.error(str(error))
        return BAD_INPUT
    except OSError as error:
        told = _told(error)
        if told is None:
            return _bug()
        display.error(told)
        return BAD_INPUT
    except MemoryError as error:
        display.error(f"there is not enough memory: {reason_of(error)}")
        return BAD_INPUT
    except Exception:
        return _bug()


def _bug() -> int:
    """Shows an error that nobody thought of, and what to do about it."""
    display.trace()
    display.say(f"error: this is a bug in deeppose-port {__version__}, not in what it was given; {REPORT}", err=True)
    return BUG


def _told(error: OSError) -> str | None:
    """Returns what the system refuses, with the file; None where it says neither which nor that a disk is to blame."""
    if error.filename is not None:
        other = f" -> {os.fsdecode(error.filename2)}" if error.filename2 is not None else ""
        name = error.filename if isinstance(error.filename, int) else os.fsdecode(error.filename)
        return f"{name}{other}: {reason_of(error)}"
    if error.errno in _OF_THE_MACHINE:
        return f"{reason_of(error)}: the machine has no more room, or a disk is broken (-v shows where it was met)"
    return None


#: The commands as they are listed, and the module that each is in.
COMMANDS = Commands(
    __name__,
    {
        "convert": "convert",
        "inspect": "inspect",
        "eval": "evaluate",
        "watch": "watch",
        "compare": "compare",
        "predict": "predict",
        "persons": "persons",
        "plot": "plot",
        "show": "show",
        "train": "train",
        "prepare": "prepare",
        "pack": "pack",
        "doctor": "doctor",
        "bench": "bench",
        "help": "help",
    },
)


# Legacy options were spelled with underscores.
@click.group(
    cls=Group,
    commands=COMMANDS,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda token: token.replace("_", "-"),
        "max_content_width": 100,
    },
)
@click.version_option(__version__, "-V", "--version")
def cli() -> None:
    """Brings DeepPose checkpoints trained in Chainer back to life, in PyTorch and in a modern Chainer.

    `deeppose-port COMMAND --help` explains a command, and `COMMAND --help-all` lists its rarer options too.

    `deeppose-port COMMAND --help` explains a command, and `COMMAND --help-all` lists its rarer options too.

    \b
    Example:
      deeppose-port convert epoch-100.model
      deeppose-port eval epoch-100.pt --csv test_joints.csv --images images
    """


cli.params += common_options()
