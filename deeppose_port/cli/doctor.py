"""`doctor`: what is installed, and whether it works together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from converters.values import dataclass
from deeppose_port.cli import display
from deeppose_port.cli.command import command
from deeppose_port.cli.options import NOT_SO, JsonOptions, backends
from deeppose_port.options import described

if TYPE_CHECKING:
    from deeppose_port.inspecting.doctor import Examination


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """What `doctor` is told."""

    backend: str | None = described("A backend that has to work; by default any.", default=None, choices=backends)
    device: str | None = described("A device that has to work; by default the CPU.", default=None, metavar="cpu|cuda:N")
    shown: JsonOptions


@command(lambda: DoctorOptions)
def doctor(options: DoctorOptions) -> int:
    """Checks what is installed, whether it works together, and how to fix what does not.

    The exit status is 1 if what you asked for would not run.

    \b
    Example:
      deeppose-port doctor --backend chainer --device cuda:0
    """
    from deeppose_port.inspecting.doctor import examine

    examination = examine(options.backend, options.device, speed=True)
    if options.shown.as_json:
        display.as_json(examination.as_dict())
    else:
        _show(examination)
    return 0 if examination.runs else NOT_SO


def _show(examination: Examination) -> None:
    """Shows what the doctor found."""
    table = display.table("", "found", "verdict", "what to do", text=4)
    styles = {"ok": "", "warning": "yellow", "problem": "bold red"}
    for row in examination.rows:
        advice = [part for part in (row.note, row.remedy) if part]
        table.add_row(row.what, row.found, row.verdict, advice, style=styles[row.verdict])
    display.show(table)
    for mend in examination.mends:
        display.say(f"mended in Chainer: {mend['name']} ({mend['reason']})")
    asked = " ".join(word for word in (examination.backend, "on", examination.device or "cpu") if word)
    display.say(f"{asked}: {'runs' if examination.runs else 'does not run'}")
