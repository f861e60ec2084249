"""Many conversions at a time, in as many processes as help."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import FrameType
from typing import NoReturn

from converters.conversion import Report, convert
from converters.errors import CheckpointError, DeepPoseError
from converters.formats import writable
from converters.formats.format import Write
from converters.interrupts import Interrupts
from converters.processors import usable_processors

#: A process takes a moment to start: it has to be worth that.
_FILES_PER_PROCESS = 16
_BYTES_PER_PROCESS = 32 << 20


def convert_several(
    files: Sequence[tuple[Path, Path]],
    *,
    processes: int | None = None,
    work: Callable[..., Report] = convert,
    **options: object,
) -> Generator[Report | DeepPoseError, None, None]:
    """Converts several files; one that is refused does not keep the others.

    Args:
        files: Sources and targets.
        processes: How many are converted at a time; None for as many as the machine has cores and the files are worth.
            With more than one, a script that calls this has to guard its start by `if __name__ == "__main__"`.
        work: What converts one: a function that another process can import.
        options: As for `convert`.

    Yields:
        For each file, in their order, what was done or why it was refused.
    """
    doubles = _doubles(files)
    if processes is None:
        processes = _worthwhile([source for source, _ in files])
    if processes == 1:
        for i, (source, target) in enumerate(files):
            yield doubles.get(i) or _convert(work, source, target, options)
        return
    # Imported here: most calls are of one file, and these take a while.
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    before = set(multiprocessing.active_children())
    # Not forked: PyTorch's threads and locks would not survive it.
    context = multiprocessing.get_context("spawn")
    with Interrupts() as interrupts, ProcessPoolExecutor(processes, context, _begin, (_registered(),)) as pool:
        futures: list[Future[Report | DeepPoseError] | None] = []
        try:
            with interrupts.let_through():
                for i, (source, target) in enumerate(files):
                    futures.append(None if i in doubles else pool.submit(_convert_here, work, source, target, options))
                for i, future in enumerate(futures):
                    yield doubles[i] if future is None else _outcome(future, files[i][0])
        except BaseException:
            for child in set(multiprocessing.active_children()) - before:
                if child.pid is not None:
                    os.kill(child.pid, signal.SIGINT)
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _registered() -> list[Write]:
    """Returns what the formats from outside are written with: a process that gets it imports what registers them."""
    writers = [format.write for format in writable() if format.write is not None]
    return [write for write in writers if not getattr(write, "__module__", "").startswith("converters.")]


def _doubles(files: Sequence[tuple[Path, Path]]) -> dict[int, DeepPoseError]:
    """Returns what is wrong with files that would be written over another's."""
    first: dict[Path, Path] = {}
    doubles: dict[int, DeepPoseError] = {}
    for i, (source, target) in enumerate(files):
        if first.setdefault(target.absolute(), source) is not source:
            problem = f"it would be written to {target}, as {first[target.absolute()]} is"
            doubles[i] = CheckpointError(source, problem, "convert it by itself, with -o")
    return doubles


def _worthwhile(sources: Sequence[Path]) -> int:
    """Returns how many processes the files are worth."""
    size = sum(source.stat().st_size for source in sources if source.is_file())
    worth = 1 + size // _BYTES_PER_PROCESS + len(sources) // _FILES_PER_PROCESS
    return max(1, min(usable_processors(), len(sources), worth))


def _convert(
    work: Callable[..., Report], source: Path, target: Path, options: dict[str, object]
) -> Report | DeepPoseError:
    try:
        return work(source, target, **options)
    except DeepPoseError as error:
        return error


def _outcome(future: Future[Report | DeepPoseError], source: Path) -> Report | DeepPoseError:
    from concurrent.futures.process import BrokenProcessPool

    try:
        return future.result()
    except BrokenProcessPool:
        return _killed(source)


def _killed(source: Path) -> CheckpointError:
    return CheckpointError(source, "the process that converts was killed", "is there memory enough?")


# --- in the processes ------------------------------------------------------------------------------------------------


#: Whether this process was interrupted: it then begins nothing more, though more may have been given to it.
_interrupted = False


def _begin(registered: list[Write]) -> None:
    """Prepares a process; to get the formats from outside is all that they need."""
    _ignore_interrupts()


def _ignore_interrupts() -> None:
    """Ctrl-C reaches every process: one that waits for work has nothing to clean up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _convert_here(
    work: Callable[..., Report], source: Path, target: Path, options: dict[str, object]
) -> Report | DeepPoseError:
    global _interrupted
    if _interrupted:
        raise KeyboardInterrupt
    signal.signal(signal.SIGINT, _interrupt)
    try:
        return _convert(work, source, target, options)
    except SystemExit:  # for a SIGTERM
        _interrupted = True
        return _killed(source)
    finally:
        _ignore_interrupts()


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """Interrupts a conversion, once: what it then cleans up is not interrupted."""
    global _interrupted
    _interrupted = True
    _ignore_interrupts()
    raise KeyboardInterrupt
