"""Sources that never end, that take memory, that run things: refused or read in little time, and never run.

Most are the network of golden/own-networks/g5 with something put into it.
"""

import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from packaging.version import Version

from converters.errors import DeepPoseError
from converters.networks.source import Candidate, choose

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


@pytest.fixture(autouse=True)
def nothing_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / "model-file-was-run").exists()
    assert not (SOURCES / "model-file-was-run").exists()


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_it_is_refused_in_one_line_and_little_time(name):
    before = time.process_time()
    with pytest.raises(DeepPoseError, match=REFUSED[name] or ".") as refused:
        read(SOURCES / name)
    assert time.process_time() - before < SECONDS
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", READ)
def test_what_the_network_does_not_need_is_not_run_and_the_rest_is_read(name):
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


@pytest.mark.parametrize("size", [1_000, 190_000, 10_000_000])
@pytest.mark.parametrize("kind", REPEATED)
def test_a_text_of_one_thing(kind, size, tmp_path):
    piece = REPEATED[kind]
    if piece is None:
        text = "".join(" " * depth + "if 1:\n" for depth in range(int((2 * size) ** 0.5)))
    else:
        text = piece * (size // len(piece))
    path = tmp_path / "net.py"
    path.write_text(text)
    before = time.process_time()
    with pytest.raises(DeepPoseError) as refused:
        read(path)
    assert time.process_time() - before < SECONDS
    assert "\n" not in str(refused.value)
    if len(text) > 200_000:
        assert re.search(r"has \d+ bytes, and a network's source has at most 200000", str(refused.value))


def test_none_takes_much_memory(tmp_path):
    """Each of them in one process, which may take 200 MB more than it had."""
    for kind, piece in REPEATED.items():
        (tmp_path / f"{kind}.py").write_text((piece or " if 1:\n") * (199_000 // len(piece or " if 1:\n")))
    program = f"""
        import resource
        from pathlib import Path
        from packaging.version import Version
        from converters.errors import DeepPoseError
        from converters.networks.source import Candidate, choose
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000,) * 2)
        shapes = {SHAPES!r}
        for folder in ({str(SOURCES)!r}, {str(tmp_path)!r}):
            for path in sorted(Path(folder).glob("*.py")):
                try:
                    choose([Candidate(path, asked=True)], shapes, lambda era: Version("1.13.0"), (220, 220))
                except DeepPoseError as error:
                    assert "out of memory" not in str(error).lower(), path
        print("done")
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False, timeout=300
    )
    assert run.stdout == "done\n", run.stderr
