"""What asks for Chainer where it is not installed says how it is."""

import json
import subprocess
import sys

import pytest

from deeppose_port import backends
from tests.conftest import PICTURES, ROOT

ASTRONAUT = str(ROOT / "examples" / "astronaut" / "epoch-300.model")
PERSONS = ["--csv", str(PICTURES / "free.csv"), "--images", str(PICTURES)]
TRAIN = ["--train-csv", str(PICTURES / "free.csv"), "--images", str(PICTURES)]
RUN = """
import contextlib, io, json, sys
sys.modules["chainer"] = None
from deeppose_port.cli import main
for arguments in json.loads(sys.argv[1]):
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        status = main(arguments)
    print(json.dumps([status, errors.getvalue()]))
"""


def test_it_is_one_line_with_doctors_command(tmp_path):
    pytest.importorskip("torch")
    commands = [
        ["eval", ASTRONAUT, *PERSONS, "--backend", "chainer"],
        ["compare", ASTRONAUT],
        ["predict", ASTRONAUT, str(PICTURES / "astronaut.png"), "--backend", "chainer", "-o", str(tmp_path / "a")],
        ["train", *TRAIN, "--backend", "chainer", "-o", str(tmp_path / "b"), "-q"],
    ]
    process = [sys.executable, "-c", RUN, json.dumps(commands)]
    ended = subprocess.run(process, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    for line in ended.stdout.splitlines():
        status, errors = json.loads(line)
        assert status == 2
        (error,) = (one for one in errors.splitlines() if not one.startswith("note: "))
        assert error.startswith("error: ")
        assert backends.described("chainer").installation in error
    assert not list(tmp_path.iterdir())
