"""Options that are declared by the fields of dataclasses."""

import ast
from collections import defaultdict
from dataclasses import MISSING, dataclass, field
from typing import get_args

import pytest

from deeppose_port.options import RARE_GROUP, build, changed, described, idle, options_of, values_of
from deeppose_port.training.options import TrainingOptions
from tests.conftest import ROOT


@dataclass(frozen=True)
class Inner:
    size: int = described("Side.", default=64, metavar="PIXELS")
    kinds: tuple[str, ...] = described("Kinds.", default=(), choices=lambda: ("a", "b"))


@dataclass(frozen=True)
class Outer:
    name: str = described("Name.", names=("-n", "--the-name"))
    inner: Inner = field(default_factory=Inner)
    slow_down: bool = described("Slowly.", default=False)
    private: int = 3


class TestDeclared:
    def test_groups_stand_among_the_others_in_order(self):
        assert list(options_of(Outer)) == ["name", "size", "kinds", "slow_down"]

    def test_an_option_has_its_fields_type_default_and_words(self):
        options = options_of(Outer)
        size = options["size"]
        assert (size.type, size.default, size.description.metavar, size.groups) == (int, 64, "PIXELS", ("inner",))
        assert options["name"].default is MISSING
        assert options["kinds"].description.listed() == ("a", "b")

    def test_it_is_spelled_as_its_field_or_as_it_says(self):
        options = options_of(Outer)
        assert options["slow_down"].names == ("--slow-down",)
        assert (options["name"].names, options["name"].spelled) == (("-n", "--the-name"), "--the-name")

    def test_a_group_may_be_rare_as_a_whole(self):
        @dataclass(frozen=True)
        class Wide:
            inner: Outer = field(metadata=RARE_GROUP)
            size: int = described("Another.", default=1)

        assert {name for name, option in options_of(Wide).items() if option.description.rare} == {
            *options_of(Outer),
        } - {"size"}
        assert not any(option.description.rare for option in options_of(Outer).values())

    def test_values_go_flat_and_back(self):
        made = build(Outer, {"name": "x", "size": 3})
        assert made == Outer("x", Inner(size=3))
        assert values_of(made) == {"name": "x", "size": 3, "kinds": (), "slow_down": False}
        assert build(Outer, values_of(made)) == made

    def test_what_is_not_at_its_default_is_told(self):
        assert [option.name for option in changed(Outer("x", Inner(size=3)))] == ["name", "size"]

    def test_an_option_that_there_is_not_is_refused(self):
        with pytest.raises(TypeError, match="Outer has no option private, speed"):
            build(Outer, {"name": "x", "speed": 3, "private": 4})


class TestAlone:
    """What does nothing without another option."""

    @dataclass(frozen=True)
    class Seeing:
        boxes: str | None = described("Boxes.", default=None)
        smooth: str | None = described("Smoothing.", default=None, names=("-s", "--smooth"))
        score: float = described("Score.", default=0.5, goes_with=("boxes", "people"))
        error: float = described("Error.", default=0.0, goes_with=("smooth=kalman",))
        legend: bool = described("Legend.", default=True, goes_with=("boxes",))
        quick: bool = described("Quick.", default=False, goes_with=("people",))

    def found(self, said, **values):
        return list(idle(build(self.Seeing, {**dict.fromkeys(said, 1), **values}), said))

    def test_it_is_told_with_what_it_goes_with(self):
        assert self.found(["score"]) == [("--score", ["--boxes"])]
        assert self.found(["score"], boxes="b.json") == []
        assert self.found(["error"], smooth="one-euro") == [("--error", ["--smooth kalman"])]
        assert self.found(["error"], smooth="kalman") == []

    def test_defaults_and_what_asks_for_nothing_are_left_alone(self):
        assert self.found([]) == []
        assert self.found(["score"], score=0.0) == []
        assert self.found(["legend"], legend=False) == [("--no-legend", ["--boxes"])]

    def test_where_none_of_the_others_exists_it_goes_alone(self):
        assert self.found(["quick"]) == []


def declarations():
    """Yields the declarations of options: an option's name, the declaring call, and where it stands."""
    for path in sorted((ROOT / "deeppose_port").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            value = node.value if isinstance(node, ast.AnnAssign) else None
            if isinstance(value, ast.Call) and getattr(value.func, "id", "") == "described":
                yield node.target.id, value, f"{path.name}:{node.lineno}"


def test_no_option_is_declared_twice():
    calls, helps = defaultdict(list), defaultdict(list)
    for name, call, place in declarations():
        calls[name, ast.unparse(call)].append(place)
        if isinstance(call.args[0], ast.Constant):
            helps[name, call.args[0].value].append(place)
    assert len(calls) > 100
    assert [places for places in (*calls.values(), *helps.values()) if len(places) > 1] == []


class TestTrainings:
    """What every option of a training has to say."""

    options = options_of(TrainingOptions)

    @pytest.mark.parametrize("name", options)
    def test_it_says_what_it_is(self, name):
        option = self.options[name]
        assert option.description.help.endswith(".")
        kinds = {kind.__name__ for kind in get_args(option.type) or (option.type,) if isinstance(kind, type)}
        assert kinds <= {"int", "float", "str", "bool", "Path", "NoneType"} or option.description.parse is not None

    def test_no_two_are_spelled_alike(self):
        spellings = [name for option in self.options.values() for name in option.names]
        assert len(spellings) == len(set(spellings))

    @pytest.mark.parametrize("name", [n for n, o in options.items() if o.description.listed()])
    def test_its_default_is_one_of_its_choices(self, name):
        option = self.options[name]
        assert option.default in (None, MISSING, *option.description.listed())
