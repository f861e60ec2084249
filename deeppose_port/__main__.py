"""The program, `deeppose-port` or `python -m deeppose_port`: signals and streams around the command line.

Nothing else is imported before signals are looked after: what follows takes a while to load.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading  # here: an import in a signal's handler spoils the one that it came amid
from contextlib import suppress
from types import FrameType
from typing import NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_INTERRUPTED = 128 + signal.SIGINT
_TERMINATED = 128 + signal.SIGTERM
_REFUSED = 2
_CLOSED = 141  # 128 + SIGPIPE, which Windows does not have
#: Seconds after which a signal is tried again that came amid an import.
_AGAIN = 0.05
#: The signal that did, if any.
_held_back: list[int] = []


def main() -> int:
    """Runs the command line.

    Returns:
        The exit status, see `cli.main`; 130 for Ctrl-C, 143 for SIGTERM, at whatever moment they come, and 141 when
        nobody reads the output any more, as after `| head -1`.
    """
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, _end)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # for terminals that know fewer characters than we write
    try:
        if stranger := _stranger():
            print(f"deeppose-port: {stranger}", file=sys.stderr)
            return _REFUSED
        from deeppose_port.cli import main as run

        if _held_back:
            _raise(_held_back.pop())
        return _flushed(run())
    except KeyboardInterrupt:
        return _INTERRUPTED
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    finally:
        for number in _SIGNALS:  # what is left is tidying, which nobody should see break off
            signal.signal(number, signal.SIG_IGN)


def program() -> NoReturn:
    """Runs the command line, and ends the process with its status.

    It ends at once when all is tidied up: taking the interpreter and the engines in it apart, for nobody, takes as long
    as reading a checkpoint and predicting a picture.
    """
    status = [1]  # where an error reaches the interpreter

    def leave() -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, OSError, ValueError):  # there is none, or nobody reads it
                stream.flush()
        os._exit(status[0])

    atexit.register(leave)  # what is registered first runs last
    status[0] = main()
    sys.exit(status[0])


def _stranger() -> str:
    """Says which package has the place of our `converters`, which pip lets another distribution's take; or nothing."""
    mend = "pip uninstall -y converters; pip install --force-reinstall --no-deps deeppose-port"
    try:
        import converters
    except ImportError as error:
        return f"its package `converters` cannot be imported: {error} ({mend})"
    if getattr(converters, "__project__", None) == "deeppose-port":
        return ""
    place = getattr(converters, "__file__", None) or ", ".join(converters.__path__)
    return f"{place}: this package `converters` is another program's ({mend})"


def _without_current_folder() -> None:
    """Takes the current folder off the places of modules, as the installed program has it: it may have `converters`."""
    here, ours = os.getcwd(), os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if sys.path and not getattr(sys.flags, "safe_path", False):
        first = os.path.abspath(sys.path[0])
        if first == here and not os.path.samefile(here, ours):
            del sys.path[0]


def _flushed(status: int) -> int:
    """Writes what is left to write, so that the interpreter has nothing to complain of at its end."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return status or _CLOSED
        if not status:  # else it was told
            print(f"error: standard output cannot be written: {error.strerror}", file=sys.stderr)
        return status or _REFUSED
    return status


def _end(number: int, frame: FrameType | None) -> None:
    """Ends the work at a signal; amid an import a moment later, since engines that are interrupted there abort."""
    _held_back.clear()
    if not _is_importing(frame):
        _raise(number)
    _held_back.append(number)
    timer = threading.Timer(_AGAIN, _again)
    timer.daemon = True
    timer.start()


def _again() -> None:
    for number in _held_back:
        signal.raise_signal(number)


def _raise(number: int) -> NoReturn:
    raise SystemExit(_TERMINATED) if number == signal.SIGTERM else KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib._bootstrap"):
            return True
        frame = frame.f_back
    return False


if __name__ == "__main__":
    _without_current_folder()
    program()
