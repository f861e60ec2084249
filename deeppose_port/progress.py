"""Progress bars, on terminals and in notebooks: what functions with an argument `progress` are given.

    with steps("evaluating", unit="persons") as step:
        evaluate(pose, dataset, progress=step)

They are rich's, which shows them in a notebook by ipywidgets (the extra `notebook`), and says so where these are not.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, overload

from converters.errors import printable

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn


class Step(Protocol):
    """Either of `converters.progress`: reports the amount done and to do, after what is done, if that has a name."""

    @overload
    def __call__(self, done: int, total: int, /) -> None: ...

    @overload
    def __call__(self, name: str, done: int, total: int, /) -> None: ...


@contextmanager
def steps(title: str = "", *, unit: str = "") -> Iterator[Step]:
    """Shows a progress bar while work goes on; where nobody looks, as into a file, it shows nothing.

    Args:
        title: What is done.
        unit: What is counted; none is bytes.

    Yields:
        What reports progress, see `Step`.
    """
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, TimeRemainingColumn

    amount = MofNCompleteColumn() if unit else DownloadColumn()
    with bar(BarColumn(), amount, TimeRemainingColumn()) as progress:
        task = progress.add_task(printable(title), total=None)

        def step(*told: str | int) -> None:
            *name, done, total = told
            text = printable(" ".join(filter(None, [title, *map(str, name)])))
            progress.update(task, description=text, completed=float(done), total=float(total) or None)

        yield step


def bar(*columns: ProgressColumn, disable: bool = False) -> Progress:
    """Makes rich's progress bar on standard error; lines that are shown meanwhile go where they belong."""
    from rich.console import Console
    from rich.progress import Progress, TextColumn

    console = Console(stderr=True, markup=False, highlight=False)
    return Progress(
        TextColumn("{task.description}", markup=False),
        *columns,
        console=console,
        transient=True,
        disable=disable or not (console.is_terminal or console.is_jupyter),
        redirect_stdout=sys.stdout.isatty(),  # or they would not get into a file
    )
