"""The command: `python -m benchmarks [NAME]... [--json FILE]`."""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks.timing import Row

NAMES = ("startup", "forward", "convert", "optimizers", "data", "memory", "metrics", "report", "cascade", "peers")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, type=click.Choice(NAMES), metavar="[NAME]...")
@click.option("--json", "target", type=click.Path(dir_okay=False, path_type=Path), help="Write the numbers there too.")
def main(names: tuple[str, ...], target: Path | None) -> None:
    """Measures NAMEs, or all of them, in one run.

    They are startup, forward, convert, optimizers, data, memory, metrics, report, cascade and peers.

    The exit status is 1 if a number misses its bound.
    """
    rows: list[Row] = []
    for name in names or NAMES:
        click.echo(f"measuring: {name}", err=True)
        rows += importlib.import_module(f"benchmarks.{name}").run()
    Console(width=None if sys.stdout.isatty() else 140).print(_table(rows))
    if target is not None:
        values = {"machine": _machine(), "rows": [row.as_dict() for row in rows]}
        target.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    sys.exit(0 if all(row.passed for row in rows) else 1)


def _table(rows: list[Row]) -> Table:
    table = Table(title=_machine(), title_justify="left")
    table.add_column("what")
    for heading in ("ours", "reference", "compared", "bound"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for row in rows:
        reference = "" if row.reference is None else _number(row.reference, row.unit)
        unit = "" if row.compared == "ratio" else row.unit
        sign = "+" if row.compared == "difference" else ""
        relation = "at least" if row.relation == ">=" else "at most"
        table.add_row(
            row.what,
            _number(row.ours, row.unit),
            reference,
            sign + _number(row.value, unit),
            f"{relation} {sign}{_number(row.bound, unit)}",
            "[green]pass[/]" if row.passed else "[red]fail[/]",
        )
    return table


def _number(value: float, unit: str) -> str:
    digits = 0 if value == round(value) or value >= 100 else 2
    return f"{value:.{digits}f} {unit}".rstrip()


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
