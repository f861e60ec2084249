"""Sources that never end, that take memory, that run things: refused or read in little time, and never run.

Most are the network of golden/own-networks/g5 with something put into it.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.version import Version

from converters.errors import DeepPoseError
from converters.networks.source import Candidate, choose
from tests.conftest import ROOT

SOURCES = Path(__file__).parent / "sources"
SHAPES = {
    "conv1.weight": (8, 3, 11, 11),
    "conv1.bias": (8,),
    "fc8.weight": (14, 22472),
    "fc8.bias": (14,),
}
#: Each takes less than 2 seconds of a processor of 2026; what is followed without end would take minutes.
SECONDS = 15.0

#: File -> what the refusal says: the line, and the construct.
REFUSED = {
    "catches.py": r"catches\.py, line 12: .*relu with these arguments",
    "changed_under_condition.py": r"line 7: STRIDE, which is changed outside of the network, is not known",
    "commands_reached.py": r"line 13: the name eval is not known",
    "contains_itself.py": "AlexNet contains itself",
    "decorated.py": r"line 1\d: the decorator of AlexNet is not known",
    "decorated_method.py": r"line 17: __call__, whose decorator run may make anything of it, is not known",
    "elsewhere.py": r"line 5: activation of another file \(my_layers\) is not known",
    "endless_forward.py": "",
    "endless_while.py": r"endless_while\.py cannot be followed: its loops and calls do not end",
    "equal_lists.py": "do not end",
    "nested_default.py": "",
    "nested_key.py": "the key a tuple is not known",
    "shared_modules.py": "",
    "fibonacci.py": r"fibonacci\.py cannot be followed",
    "getattr_method.py": r"line 17: activation, which __getattr__ of AlexNet makes, is not known",
    "growing_list.py": r"cannot be followed: a list",
    "growing_number.py": r"cannot be followed: a whole number of \d+ bits",
    "large_number.py": "cannot be followed: a number without end",
    "long_range.py": r"cannot be followed: a loop over 1000000000000 items",
    "long_string.py": "cannot be followed",
    "long_format.py": "",
    "many_layers.py": "",
    "metaclass.py": "the metaclass of AlexNet is not known",
    "nested_list.py": "",
    "new_method.py": "__new__ of AlexNet is not known",
    "no_python.py": r"no_python\.py, line 1: this is not Python",
    "no_text.py": "this is not Python",
    "own_bases.py": "",
    "recursion.py": "stand too deep in one another",
    "replaced.py": r"line 13: F\.relu, which the file replaces, is not known",
    "replaced_method.py": r"line 13: AlexNet\.__call__, which the file replaces, is not known",
    "setattr_method.py": "__setattr__ of AlexNet is not known",
    "shared_branches.py": "",
    "unknown_function.py": r"line 10: .*roi_pooling_2d is not known \(.*what is known: .*average_pooling_2d",
    "yields.py": r"line 9: parts, which yields, is not known",
}
#: Files that are read: what is in them has nothing to do with the network.
READ = ("commands.py", "contains_list_of_itself.py")


def read(path):
    return choose([Candidate(path, asked=True)], SHAPES, lambda era: Version("1.13.0"), (220, 220))


#: Reads sources in one process, which may take 200 MB more than it had; prints what refuses each, and the seconds.
ONE_AFTER_THE_OTHER = f"""
import json, resource, sys, time
from pathlib import Path
from packaging.version import Version
from converters.errors import DeepPoseError
from converters.networks.source import Candidate, choose
from converters.networks.source.budget import SECONDS, Budget
assert SECONDS <= 2
Budget.__init__.__defaults__ = (SECONDS / 3,)  # what does not end takes all of it
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000,) * 2)
for folder in sys.argv[1:]:
    for path in sorted(Path(folder).glob("*.py")):
        refused, before = None, time.process_time()
        try:
            choose([Candidate(path, asked=True)], {SHAPES!r}, lambda era: Version("1.13.0"), (220, 220))
        except DeepPoseError as error:
            refused = str(error)
        print(json.dumps([path.stem, refused, time.process_time() - before]), flush=True)
"""


class Told(NamedTuple):
    """What refused a source, if anything, and how many seconds of a processor it took."""

    refusal: str | None
    seconds: float


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What became of each source, and of each text of one thing."""
    texts, place = tmp_path_factory.mktemp("texts"), tmp_path_factory.mktemp("place")
    for kind in REPEATED:
        (texts / f"{kind}.py").write_text(repeated(kind, 199_000))
    command = [sys.executable, "-c", ONE_AFTER_THE_OTHER, str(SOURCES), str(texts)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, capture_output=True, text=True, cwd=place, env=environment, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    assert not list(place.iterdir())
    return {name: Told(*rest) for name, *rest in map(json.loads, run.stdout.splitlines())}


def assert_refused(told, expected="."):
    """It is refused in one line and little time, and not for want of memory."""
    assert re.search(expected, told.refusal)
    assert "\n" not in told.refusal
    assert "out of memory" not in told.refusal.lower()
    assert told.seconds < SECONDS


@pytest.fixture(autouse=True)
def nothing_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / "model-file-was-run").exists()
    assert not (SOURCES / "model-file-was-run").exists()


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_it_is_refused_in_one_line_and_little_time_and_memory(name, told):
    assert_refused(told[name.removesuffix(".py")], REFUSED[name] or ".")


@pytest.mark.parametrize("name", READ)
def test_what_the_network_does_not_need_is_not_run_and_the_rest_is_read(name, told):
    assert told[name.removesuffix(".py")].refusal is None
    found = read(SOURCES / name)
    assert [type(layer).__name__ for layer in found.network.layers] == ["Convolution", "ReLU", "Linear"]


def test_no_source_is_left_out():
    assert {path.name for path in SOURCES.glob("*.py")} == {*REFUSED, *READ}


#: What a text may be made of, repeated until it is of a size.
REPEATED = {
    "brackets": "(",
    "lists": "x = [",
    "minus": "-",
    "not": "not ",
    "lambda": "lambda: ",
    "sums": "1+",
    "attributes": "a.",
    "calls": "f(",
    "conditions": "1 if 1 else ",
    "indents": None,
    "names": "x=1\n",
    "digits": "1",
    "strings": "'",
    "comments": "#",
    "classes": "class A(chainer.Chain):pass\n",
    "assignments": "a=",
    "decorators": "@a\n",
    "comparisons": "a<",
    "starred": "*",
    "f-strings": "f'{",
    "semicolons": ";x",
    "backslashes": "\\\n",
    "nothing": "\0",
}


def repeated(kind, size):
    """A text of one thing of about a size."""
    piece = REPEATED[kind]
    if piece is None:
        return "".join(" " * depth + "if 1:\n" for depth in range(int((2 * size) ** 0.5)))
    return piece * (size // len(piece))


@pytest.mark.parametrize("kind", REPEATED)
def test_a_text_of_one_thing_is_refused(kind, told):
    """About as long as a text may be."""
    assert_refused(told[kind])


@pytest.mark.parametrize("size", [1_000, 10_000_000])
@pytest.mark.parametrize("kind", REPEATED)
def test_so_is_a_short_one_and_one_that_is_too_long(kind, size, tmp_path):
    text = repeated(kind, size)
    path = tmp_path / "net.py"
    path.write_text(text)
    before = time.process_time()
    with pytest.raises(DeepPoseError) as refused:
        read(path)
    assert time.process_time() - before < SECONDS
    assert "\n" not in str(refused.value)
    if len(text) > 200_000:
        assert re.search(r"has \d+ bytes, and a network's source has at most 200000", str(refused.value))
