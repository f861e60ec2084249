import ast
import importlib
import inspect
import pickle
import pkgutil
import re

import pytest

import converters
import deeppose_port
from converters import CheckpointError, DeepPoseError, errors
from converters.errors import reason_of
from tests.conftest import ROOT


class TestError:
    def test_it_says_where_what_and_what_to_do(self):
        error = DeepPoseError("it is bad", where="a.csv", advice="take another")
        assert str(error) == "a.csv: it is bad (take another)"
        assert (str(error.where), error.problem, error.advice) == ("a.csv", "it is bad", "take another")
        assert isinstance(error, ValueError)

    def test_a_checkpoints_has_the_path_first(self):
        error = CheckpointError("a.model", "it is bad", "take another")
        assert str(error) == "a.model: it is bad (take another)"
        assert (str(error.path), error.problem, error.advice) == ("a.model", "it is bad", "take another")

    def test_place_and_advice_may_be_missing(self):
        assert str(CheckpointError(None, "it is bad")) == str(DeepPoseError("it is bad")) == "it is bad"

    @pytest.mark.parametrize("character", ["\n", "\r", "\x1b", "\x00", "\u2028", "\x85", "\udc80"])
    def test_it_is_one_line_whatever_a_file_holds(self, character):
        for message in (
            str(CheckpointError(f"a{character}b", f"key {character}error: all is well", character)),
            str(DeepPoseError(f"key {character}error: all is well")),
        ):
            assert len(message.splitlines()) == 1
            assert message.isprintable()
            assert message.encode()

    def test_what_is_endless_is_cut(self):
        assert len(str(DeepPoseError("x" * 100_000))) < 1300

    @pytest.mark.parametrize("kind", [DeepPoseError, CheckpointError])
    def test_it_goes_whole_to_another_process(self, kind):
        error = kind("a.model", "it is bad", "so what") if kind is CheckpointError else kind("bad", where="a.csv")
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is kind
        assert (str(again), vars(again)) == (str(error), vars(error))


def test_the_tree_drawn_at_the_top_of_the_file_is_the_tree():
    for package in (converters, deeppose_port):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            # Backends import their engines, and a program's own module runs it.
            if not re.search(r"backends\.\w+\.|__main__|\.matrix", f"{module.name}."):
                importlib.import_module(module.name)

    drawn, above = {}, []
    for line in inspect.cleandoc(errors.__doc__).split("\n\n")[1].splitlines():
        indent, name = re.match(r"([ │├└─]*)(\w+)", line).groups()
        above[len(indent) // 4 - 1 :] = [name]
        drawn[name] = above[-2] if len(above) > 1 else None
    actual, kinds = {"ValueError": None}, [DeepPoseError]
    for kind in kinds:
        actual[kind.__name__] = kind.__base__.__name__
        kinds += kind.__subclasses__()
    assert drawn == actual


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device", "a"), "No space left on device"),
        (OSError("odd"), "odd"),
        (RuntimeError("first\nsecond"), "first"),
        (RuntimeError("\n first "), "first"),
        (EOFError(), "EOFError"),
        (ValueError("x" * 1000), "x" * 200),
    ],
)
def test_another_programs_error_is_told_in_one_line(error, reason):
    assert reason_of(error) == reason


def test_what_a_user_reads_is_no_bare_error():
    """Those of `formats` and `options` go on from a name: who calls them makes sentences of them."""
    inner = (
        "converters/formats/",
        "converters/families/family.py",
        "converters/families/__main__.py",
        "deeppose_port/options.py",
    )
    found = set()
    for folder in ("converters", "deeppose_port"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Raise) and node.exc is not None and not name.startswith(inner):
                    raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
                    if ast.unparse(raised) in ("ValueError", "Exception"):
                        found.add(f"{name}:{node.lineno}")
    assert found == set(), "raise a DeepPoseError: anything else is shown as a bug"
