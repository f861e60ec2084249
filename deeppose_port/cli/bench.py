"""`bench`: measures on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from converters.errors import DeepPoseError
from converters.values import dataclass
from deeppose_port.cli import display
from deeppose_port.cli.command import Group, command
from deeppose_port.cli.options import SKELETON, JsonOptions, batch_of, skeletons
from deeppose_port.data.options import ANNOTATED, CountingOptions, picture_folder
from deeppose_port.options import described, values_of

if TYPE_CHECKING:
    from deeppose_port.inspecting.bench import DataSpeed


@dataclass(frozen=True, kw_only=True)
class BenchDataOptions:
    """What `bench data` is told."""

    csv: Path = described(ANNOTATED, names=("--csv", "--train-csv-fn"))
    images: Path = picture_folder()
    skeleton: str = described(SKELETON, choices=skeletons)
    threads: str = described("The numbers of threads to try.", default="1,2,4,8,24,64", metavar="N,N,…")
    batch_size: int = batch_of()
    seconds: float = described("How long to try each.", default=3.0)
    counting: CountingOptions
    shown: JsonOptions


@command(lambda: BenchDataOptions, "data")
def bench_data(options: BenchDataOptions) -> int:
    """Measures how fast training examples are made, and recommends a number of threads.

    \b
    Example:
      deeppose-port bench data --csv train.csv --images images --skeleton lsp
    """
    from deeppose_port.data import PoseDataset
    from deeppose_port.inspecting.bench import bench_data as run
    from deeppose_port.inspecting.bench import recommend

    try:
        counts = tuple(int(count) for count in options.threads.split(","))
    except ValueError:
        raise DeepPoseError(f"the threads {options.threads!r} are not whole numbers with commas between") from None
    dataset = PoseDataset(
        options.csv, images=options.images, skeleton=options.skeleton, cache=0, **values_of(options.counting)
    )
    with display.steps("measuring", quiet=options.shown.as_json, unit="rounds") as step:
        rows = run(
            dataset,
            threads=counts,
            batch_size=options.batch_size,
            seconds=options.seconds,
            progress=step,
        )
    best = recommend(rows)
    if options.shown.as_json:
        measured = [{"threads": row.threads, "pictures_per_second": row.pictures_per_second} for row in rows]
        display.as_json({"rows": measured, "threads": best.threads})
    else:
        _show(rows, best)
    return 0


def _show(rows: Iterable[DataSpeed], best: DataSpeed) -> None:
    """Shows how fast examples are made."""
    table = display.table("threads", "pictures/s", text=0)
    for row in rows:
        table.add_row(str(row.threads), f"{row.pictures_per_second:.0f}", style="bold" if row == best else "")
    display.show(table)
    display.say(f"take --threads {best.threads}")


@click.group(cls=Group)
def bench() -> None:
    """Measures speed on this machine.

    \b
    Example:
      deeppose-port bench data --csv train.csv --images images --skeleton lsp
    """


bench.add_command(bench_data)
