"""`help`: what a command does and takes."""

from __future__ import annotations

import click

from converters.values import dataclass
from deeppose_port.cli.command import command
from deeppose_port.options import described


@dataclass(frozen=True, kw_only=True)
class HelpOptions:
    """What `help` is told."""

    names: tuple[str, ...] = described("A command; by default all are listed.", default=(), names=("COMMAND",))


@command(lambda: HelpOptions)
def help(options: HelpOptions) -> int:
    """Shows a command's help, as its --help does.

    \b
    Example:
      deeppose-port help convert
    """
    root = click.get_current_context().find_root()
    with root.command.make_context(root.info_name, [*options.names, "--help"]) as asked:
        root.command.invoke(asked)
    return 0
