"""Commands as the program has them."""

import click

from deeppose_port.cli import cli


def context_of(command: click.Command) -> click.Context:
    """Returns a command's context, below the program's: click keeps the first `--help` it makes, whose names it has."""
    return click.Context(command, parent=click.Context(cli, **cli.context_settings))
