"""Commands and options that the pages name are there."""

import re

import click
import pytest

from deeppose_port.cli import cli
from tests.conftest import ROOT
from tests.helpers.commands import context_of

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")])
#: Options of other programs in lines that name ours.
OTHERS = {"--nproc-per-node"}


def options_of(command):
    context = context_of(command)
    return {name for option in command.get_params(context) for name in option.opts + option.secondary_opts}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_command_lines_name_options_that_there_are(page):
    text = re.sub(r"\\\n\s*", " ", page.read_text())
    for name, rest in re.findall(r"(?:deeppose-port|-m deeppose_port) ([a-z]+)\b([^`\n#|]*)", text):
        command = cli.commands.get(name)
        assert command is not None, f"there is no command {name}"
        if not isinstance(command, click.Group):
            options = options_of(command) | options_of(cli)
            named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", rest)) - OTHERS
            assert {option.replace("_", "-") for option in named} <= options, f"deeppose-port {name}{rest}"
