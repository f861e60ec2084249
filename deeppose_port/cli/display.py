"""What every command shows: answers on standard output, progress, notes and errors on standard error.

All of it goes through `say`, which makes it printable: names and messages come from files that anybody wrote.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import shutil
import sys
import time
import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import field
from typing import TYPE_CHECKING, TextIO

import click

from converters.errors import DeepPoseError, one_line, printable, reason_of
from converters.progress import silent
from converters.values import dataclass
from deeppose_port.text import counted as counted  # the commands have them from here
from deeppose_port.text import shown as shown

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console
    from rich.progress import Progress, ProgressColumn

    from converters import Repair
    from deeppose_port.progress import Step

#: Wider than any table: where neither a terminal nor COLUMNS says how wide one may be, nothing is folded.
_WIDTH = 10_000
#: Characters to which a column of text may shrink before numbers do.
_LEAST_TEXT = 8


class OutputClosedError(Exception):
    """Nobody reads standard output any more, as after `| head -1`."""


@dataclass
class Settings:
    """What is shown beside an answer.

    Attributes:
        quiet: Whether there is neither progress nor a note.
        verbose: Whether seconds are told, and where an error was raised.
        log: Where all that is shown is written too.
    """

    quiet: bool = False
    verbose: bool = False
    log: TextIO | None = None


#: Those of the command that runs.
settings = Settings()


def begin() -> None:
    """Forgets the settings of a command before."""
    end()
    settings.quiet = settings.verbose = False


def log_to(path: Path, command: str) -> None:
    """Writes what is shown from now on into a file too, after what is there already, with the time of each line.

    Raises:
        DeepPoseError: It cannot be opened.
    """
    end()
    try:
        settings.log = path.open("a", encoding="utf-8", errors="backslashreplace")
    except OSError as problem:
        raise DeepPoseError(f"the log cannot be written: {reason_of(problem)}", where=path) from problem
    _log(printable(command))


def end() -> None:
    """Closes the log."""
    if settings.log is not None:
        with suppress(OSError):  # of a full disk, which was told when it was full
            settings.log.close()
        settings.log = None


def say(text: object = "", *, err: bool = False) -> None:
    """Shows one line in printable characters, whatever it holds.

    Args:
        text: The line.
        err: Whether it goes to standard error.

    Raises:
        OutputClosedError: Nobody reads standard output any more.
    """
    _write(printable(text), err=err)


def error(message: str) -> None:
    """Shows what went wrong, in one line."""
    say(f"error: {one_line(message.strip())}", err=True)
    if settings.verbose and sys.exc_info()[0] is not None:
        trace()


def trace() -> None:
    """Shows where the present error was raised."""
    for line in traceback.format_exc().splitlines():
        say(one_line(line), err=True)


def usage_error(refused: click.ClickException, advice: str = "") -> None:
    """Shows what is wrong with a command line, and what to do."""
    context = getattr(refused, "ctx", None)
    if context is not None:
        for line in (*context.get_usage().splitlines(), f"Try '{context.command_path} --help' for help."):
            say(line, err=True)
        say(err=True)
    problem = refused.format_message()
    say(f"Error: {one_line(f'{problem} ({advice})' if advice else problem)}", err=True)


def note(sentence: str) -> None:
    """Shows what is good to know."""
    line = f"note: {one_line(sentence)}"
    if settings.quiet:
        _log(line)
    else:
        say(line, err=True)


def notices(sentences: Iterable[str], repairs: Iterable[Repair] = (), called: str = "") -> None:
    """Shows choices that were made and numbers that were not finite; `called` says of which of several files."""
    of = f"{called}: " if called else ""
    for sentence in sentences:
        note(f"{of}{sentence}")
    for repair in repairs:
        what = " and ".join(f"{n} {kind}" for n, kind in ((repair.nan, "NaN"), (repair.inf, "Inf")) if n)
        became = "kept" if repair.became is None else f"became {repair.became:g}"
        where = f" in channel {', '.join(map(str, repair.channels))}" if repair.channels else ""
        note(f"{of}{repair.tensor}: {what}{where} {became}")


def as_json(values: Mapping[str, object], *, lines: bool = True) -> None:
    """Shows one JSON object, on one line or on several; what is not printable is escaped as JSON has it."""
    text = json.dumps(values, indent=2 if lines else None, allow_nan=False, ensure_ascii=False)
    _write("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text), err=False)


@contextmanager
def steps(title: str, *, quiet: bool, unit: str = "") -> Iterator[Step]:
    """Shows a progress bar while work goes on, on a terminal; yields what reports it."""
    began = time.monotonic()
    if quiet or settings.quiet or not sys.stderr.isatty():
        yield silent
    else:
        from deeppose_port import progress

        with progress.steps(title, unit=unit) as step:
            yield step
    if settings.verbose:
        say(f"{title}: {time.monotonic() - began:.1f} s", err=True)


def bar(*columns: ProgressColumn) -> Progress:
    """Makes rich's progress bar, unless it is to be quiet."""
    from deeppose_port import progress

    return progress.bar(*columns, disable=settings.quiet)


@dataclass
class Table:
    """Rows of cells; a cell is a line, or several.

    Attributes:
        columns: The headings; none for a table of facts.
        text: Which columns hold text: the others hold numbers, which stand to the right.
    """

    columns: tuple[str, ...]
    text: Collection[int]
    rows: list[tuple[tuple[str, ...], str]] = field(default_factory=list)

    def add_row(self, *cells: str | Collection[str], style: str = "") -> None:
        """Adds a row in one of rich's styles."""
        lines = [[cell] if isinstance(cell, str) else cell for cell in cells]
        self.rows.append((tuple("\n".join(map(printable, cell)) for cell in lines), style))

    def _fits(self, width: int) -> bool:
        """Tells whether whole numbers have room: one that is cut in two reads as two, so that text gives way."""
        needed = sum(
            _LEAST_TEXT if i in self.text else max(len(column), *(len(cells[i]) for cells, _ in self.rows), 0)
            for i, column in enumerate(self.columns)
        )
        return needed + 3 * len(self.columns) <= width

    def lines(self, console: Console) -> list[str]:
        """Returns what a console shows of it."""
        from rich import box
        from rich.table import Table as Drawn

        if self.columns:
            table = Drawn(box=box.SIMPLE_HEAD, pad_edge=False)
            for i, column in enumerate(self.columns):
                text = i in self.text
                table.add_column(
                    printable(column),
                    justify="left" if text else "right",
                    overflow="fold",
                    no_wrap=not text and self._fits(console.width),
                )
        else:
            table = Drawn(box=None, show_header=False, pad_edge=False)
            table.add_column(style="bold", no_wrap=True)
            table.add_column(overflow="fold")
        for cells, style in self.rows:
            table.add_row(*cells, style=style)
        with console.capture() as captured:
            console.print(table)
        return captured.get().splitlines()


def facts() -> Table:
    """Makes a table of facts: their names in bold, and what they are."""
    return Table((), (0, 1))


def table(*columns: str, text: int | Collection[int] = 1) -> Table:
    """Makes a table whose first `text` columns, or those of these numbers, hold text, the others numbers."""
    return Table(columns, range(text) if isinstance(text, int) else text)


def show(table: Table) -> None:
    """Shows a table, as wide as the terminal or COLUMNS allow; a file or a pipe has no width to fold to."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal or os.environ.get("COLUMNS") else _WIDTH
    console = Console(
        file=io.StringIO(), force_terminal=terminal, width=width, highlight=False, markup=False, emoji=False
    )
    for line in table.lines(console):
        _write(re.sub(r"\s+((?:\x1b\[0m)?)$", r"\1", line), err=False)


def wrote_report(page: Path | None) -> None:
    """Says where a report is, if there is one."""
    if page is not None:
        say(f"report: {page}")


def percent(fraction: float) -> str:
    """Returns a fraction in per cent, for a table."""
    return "-" if math.isnan(fraction) else f"{100 * fraction:.1f}"


@contextmanager
def read_by_somebody() -> Iterator[None]:
    """Tells a closed output from other pipes that break, and one that cannot be written from other files."""
    try:
        yield
    except BrokenPipeError:
        raise OutputClosedError from None
    except OSError as problem:
        raise DeepPoseError(f"standard output cannot be written: {reason_of(problem)}") from problem


def _write(line: str, *, err: bool) -> None:
    """Writes a line, and into the log."""
    _log(line)
    with suppress(OutputClosedError, DeepPoseError) if err else nullcontext(), read_by_somebody():
        click.echo(line, err=err)


def _log(lines: str) -> None:
    if settings.log is None:
        return
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    try:
        for line in re.sub(r"\x1b\[[\d;]*m", "", lines).splitlines() or [""]:
            settings.log.write(f"{now} {line}\n")
        settings.log.flush()
    except OSError as problem:
        where = settings.log.name
        end()
        raise DeepPoseError(f"the log cannot be written: {reason_of(problem)}", where=where) from problem
