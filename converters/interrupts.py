"""Ctrl-C and SIGTERM while there is something to put in order: they end the work once, and wait for the tidying."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import IO

_Handler = Callable[[int, FrameType | None], object]
#: SIGTERM's exit status, as shells count.
_TERMINATED = 128 + signal.SIGTERM


class Interrupts:
    """Holds signals back but where they are let through; a context manager.

    What is let through raises, once: KeyboardInterrupt, or whatever the handler before raises, and SystemExit for a
    SIGTERM that nobody handles, so that what is half done is put away. What is held back comes at the end, unless an
    exception is on its way then. Outside of the main thread, which alone gets signals, it does nothing.

    Example:
        >>> with Interrupts() as interrupts:
        ...     name = "a temporary file"
        ...     with interrupts.let_through():
        ...         work = "a long one"
        ...     name = "nothing"
    """

    def __init__(self) -> None:
        self.waiting: list[int] = []
        self._holding = True
        self._before: dict[int, _Handler | None] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.getsignal(number)
                if callable(before) or (number == signal.SIGTERM and before == signal.SIG_DFL):
                    self._before[number] = before if callable(before) else None
                    signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, before in self._before.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, before or signal.SIG_DFL)
        if kind is None or issubclass(kind, Exception):
            for number in self.waiting[:1]:
                signal.raise_signal(number)

    @contextmanager
    def let_through(self) -> Iterator[None]:
        """Lets signals end what is done meanwhile, beginning with those that came before."""
        self._holding = False
        try:
            if self.waiting:
                self._handle(self.waiting.pop(), None)
            yield
        finally:
            self._holding = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._holding:
            self.waiting.append(number)
            return
        self._holding = True
        before = self._before[number]
        if before is None:
            raise SystemExit(_TERMINATED)
        before(number, frame)
        self._holding = False


@contextmanager
def asked_to_end(end: Callable[[], object]) -> Iterator[None]:
    """Makes of the first Ctrl-C a call, which asks for an end of what goes on meanwhile; the second is as any is.

    Outside of the main thread, and where Ctrl-C is ignored, as nohup has it, it does nothing.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            before(number, frame)
        asked = True
        end()

    signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Stream:
    """A stream to write to while signals are held back; they end it all the same.

    Attributes:
        problem: The error that writing raised, for callers whose libraries make another of it.
    """

    def __init__(self, stream: IO[bytes], interrupts: Interrupts) -> None:
        self.problem: OSError | None = None
        self._stream = stream
        self._interrupts = interrupts

    def write(self, data: bytes | memoryview) -> int:
        """Writes.

        Raises:
            InterruptedError: A signal is waiting.
            OSError: It cannot be written.
        """
        try:
            if self._interrupts.waiting:
                raise InterruptedError
            return self._stream.write(data)
        except OSError as error:
            self.problem = error
            raise

    def flush(self) -> None:
        """Writes what is left."""
        self._stream.flush()


def held_while(write: Callable[[Interrupts], None]) -> None:
    """Calls what writes with `Stream`, and once more where a signal ended it whose handler lets the work go on.

    Args:
        write: Gets what holds the signals; InterruptedError is taken as `Stream` raises it.
    """
    ended = True
    while ended:
        ended = False
        with Interrupts() as interrupts:
            try:
                write(interrupts)
            except InterruptedError:
                ended = True
