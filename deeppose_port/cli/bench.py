"""`bench`: measures on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from converters.errors import DeepPoseError
from deeppose_port.cli import display
from deeppose_port.cli.options import PATH, json_option

if TYPE_CHECKING:
    from deeppose_port.inspecting.bench import DataSpeed


@click.group()
def bench() -> None:
    """Measures on this machine.

    \b
    Example:
      deeppose-port bench data --csv train_joints.csv --images images --skeleton lsp
    """


@bench.command("data")
@click.option("--csv", "--train-csv-fn", required=True, type=PATH, help="The persons.")
@click.option("--images", "--img-dir", required=True, type=PATH, help="The pictures' folder.")
@click.option("--skeleton", required=True, metavar="flic|lsp|mpii", help="What the joints are.")
@click.option(
    "--threads", default="1,2,4,8,24,64", show_default=True, metavar="N,N,…", help="Numbers of threads to try."
)
@click.option("--batch-size", "--batchsize", default=32, show_default=True, help="Persons in a batch.")
@click.option("--seconds", default=3.0, show_default=True, help="How long each number is tried.")
@click.option("--min-dim", default=0.0, show_default=True, help="As for eval.")
@json_option
def bench_data(
    csv: Path, images: Path, skeleton: str, threads: str, batch_size: int, seconds: float, min_dim: float, as_json: bool
) -> int:
    """Measures how fast examples are made, and says how many threads to take.

    \b
    Example:
      deeppose-port bench data --csv train_joints.csv --images images --skeleton lsp --threads 1,2,4
    """
    from deeppose_port.data import PoseDataset
    from deeppose_port.inspecting.bench import bench_data as run
    from deeppose_port.inspecting.bench import recommend

    try:
        counts = tuple(int(count) for count in threads.split(","))
    except ValueError:
        raise DeepPoseError(f"the threads {threads!r} are not whole numbers with commas between") from None
    dataset = PoseDataset(csv, images=images, skeleton=skeleton, min_dim=min_dim, cache=0)
    with display.steps("measuring", quiet=as_json, unit="rounds") as step:
        rows = run(
            dataset,
            threads=counts,
            batch_size=batch_size,
            seconds=seconds,
            progress=lambda done, total: step("", done, total),
        )
    best = recommend(rows)
    if as_json:
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
    click.echo(f"take --threads {best.threads}")
