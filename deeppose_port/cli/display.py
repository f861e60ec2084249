"""What every command shows: tables on standard output, progress and notices on standard error."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from deeppose_port.text import counted as counted  # the commands have them from here
from deeppose_port.text import shown as shown

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from converters import Repair

#: Called with a step's name, the amount done and the amount to do (0: not known).
Step = Callable[[str, int, int], None]


def error(message: str) -> None:
    """Shows what went wrong, in one line."""
    click.echo(f"error: {shown(' '.join(message.split()))}", err=True)


@contextmanager
def steps(title: str, *, quiet: bool, unit: str = "") -> Iterator[Step]:
    """Shows a progress bar while work goes on, on a terminal; yields what reports it."""
    from rich.console import Console

    console = Console(stderr=True, markup=False)
    if quiet or not console.is_terminal:
        yield lambda name, done, total: None
        return
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    amount = MofNCompleteColumn() if unit else DownloadColumn()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), amount, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=None)

        def step(name: str, done: int, total: int) -> None:
            progress.update(task, description=f"{title} {name}".strip(), completed=done, total=total or None)

        yield step


def notices(sentences: Iterable[str], repairs: Iterable[Repair] = (), called: str = "") -> None:
    """Shows choices that were made and numbers that were not finite; `called` says of which of several files."""
    of = f"{called}: " if called else ""
    for sentence in sentences:
        click.echo(f"note: {of}{shown(sentence)}", err=True)
    for repair in repairs:
        what = " and ".join(f"{n} {kind}" for n, kind in ((repair.nan, "NaN"), (repair.inf, "Inf")) if n)
        became = "kept" if repair.became is None else f"became {repair.became:g}"
        click.echo(f"note: {of}{shown(repair.tensor)}: {what} {became}", err=True)


def as_json(values: dict[str, Any]) -> None:
    """Shows one JSON object."""
    click.echo(json.dumps(values, indent=2, allow_nan=False, ensure_ascii=False))


def facts() -> Table:
    """Makes a table of facts: their names in bold, and what they are."""
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def table(*columns: str, text: int = 1) -> Table:
    """Makes a table whose first `text` columns hold text, the others numbers."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i < text else "right", overflow="fold")
    return table


def show(table: Table) -> None:
    """Shows a table."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)  # names may hold brackets
    if not console.is_terminal:  # a file or a pipe has no width to fold to
        console = Console(width=200, highlight=False, markup=False)
    console.print(table)


def wrote_report(page: Path | None) -> None:
    """Says where a report is, if there is one."""
    if page is not None:
        click.echo(f"report: {shown(str(page))}")


def percent(fraction: float) -> str:
    """Returns a fraction in per cent, for a table."""
    return "-" if math.isnan(fraction) else f"{100 * fraction:.1f}"
