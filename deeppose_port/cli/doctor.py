"""`doctor`: what is installed, and whether it works together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from deeppose_port.cli import display
from deeppose_port.cli.options import NOT_SO, json_option

if TYPE_CHECKING:
    from deeppose_port.inspecting.doctor import Examination


@click.command()
@click.option("--backend", metavar="torch|chainer", help="The backend that has to run; by default either.")
@click.option("--device", metavar="cpu|cuda:N", help="The device that has to run; by default the CPU.")
@json_option
def doctor(backend: str | None, device: str | None, as_json: bool) -> int:
    """Looks at what is installed, whether it works together, and which command mends what does not.

    The exit status is 1 if something that was asked for would not run.

    \b
    Example:
      deeppose-port doctor --backend chainer --device cuda:0
    """
    from deeppose_port.inspecting.doctor import examine

    examination = examine(backend, device)
    if as_json:
        display.as_json(examination.as_dict())
    else:
        _show(examination)
    return 0 if examination.runs else NOT_SO


def _show(examination: Examination) -> None:
    """Shows what the doctor found."""
    table = display.table("", "found", "verdict", "what to do", text=4)
    styles = {"ok": "", "warning": "yellow", "problem": "bold red"}
    for row in examination.rows:
        advice = "\n".join(part for part in (row.note, row.remedy) if part)
        table.add_row(row.what, row.found, row.verdict, advice, style=styles[row.verdict])
    display.show(table)
    for mend in examination.mends:
        click.echo(f"mended in Chainer: {mend['name']} ({mend['reason']})")
    asked = " ".join(word for word in (examination.backend, "on", examination.device or "cpu") if word)
    click.echo(f"{asked}: {'runs' if examination.runs else 'does not run'}")
