"""What the tests of the command line share."""

import pytest

from deeppose_port.cli import main


@pytest.fixture
def run(capsys):
    """Runs the command line, whose exit status has to be the one given; returns what it wrote, (out, err)."""

    def run(*arguments, status=0):
        assert main([str(argument) for argument in arguments]) == status
        return capsys.readouterr()

    return run
