"""The dataclasses of `converters.values` beside those of the standard library."""

import copy
import dataclasses
import inspect
import pickle
from dataclasses import dataclass as plain
from dataclasses import field

import pytest

from converters.values import dataclass as cheap


def made(dataclass):
    """Returns some classes that differ in nothing but what made them."""

    @dataclass(frozen=True)
    class Point:
        """A point."""

        x: int
        y: int = 2
        names: list[str] = field(default_factory=list, compare=False)
        by_name: dict[str, int] = field(default_factory=dict, hash=False)
        hidden: int = field(default=0, repr=False)

        def __post_init__(self):
            if self.x < 0:
                raise ValueError("negative")

    @dataclass(frozen=True)
    class Near(Point):
        """A point that is near."""

        how: float = 0.5

    @dataclass(frozen=True, kw_only=True)
    class Named:
        """What is named."""

        name: str
        inner: Point = field(default=Point(1), metadata={"told": True})

    @dataclass
    class Open:
        """What may be changed."""

        x: int
        more: dict[str, int] = field(default_factory=dict)

    @dataclass(frozen=True, eq=False)
    class Itself:
        """What equals itself alone."""

        x: int

    @dataclass(frozen=True)
    class Own:
        """What has its own methods."""

        x: int

        def __init__(self, x):
            object.__setattr__(self, "x", x)

        def __eq__(self, other):
            return isinstance(other, Own)

        def __repr__(self):
            return "own"

    return Point, Near, Named, Open, Itself, Own


def facts(dataclass):
    """Returns what can be seen of them, in words."""
    point, near, named, open_, itself, own = made(dataclass)
    signatures = [str(inspect.signature(each)) for each in (point, named)]
    one, other = point(1, 2, ["a"]), point(x=1, names=["b"])
    seen = [one, near(3, how=1.0), named(name="n"), open_(1), own(1)]
    told = [repr(each) for each in seen] + [str(dataclasses.asdict(each)) for each in seen]
    told += [
        str((one == other, one == point(2), one == near(1, 2), one != 1, itself(1) == itself(1), own(1) == own(2)))
    ]
    told += [str((hash(one) == hash(other), hash(own(1)) is not None, open_.__hash__))]
    told += [str((point.__match_args__, point.y, hasattr(point, "names"), named.__doc__))]
    told += [repr(dataclasses.replace(one, x=5)), repr(copy.deepcopy(one)), str(vars(copy.copy(one)))]
    told += [str([(f.name, f.kw_only, f.compare) for f in dataclasses.fields(named)])]
    changed = open_(1)
    changed.x, changed.further = 7, 8
    return [*told, repr(changed), *signatures, str(inspect.signature(near))]


def refusals(dataclass):
    """Returns what is refused, and by which error."""
    point, near, named, open_, _, own = made(dataclass)

    def refused(does):
        with pytest.raises((TypeError, ValueError, AttributeError)) as caught:
            does()
        return type(caught.value), str(caught.value)

    one = point(1)
    return [
        refused(lambda: setattr(one, "x", 2)),
        refused(lambda: setattr(one, "other", 2)),
        refused(lambda: delattr(one, "x")),
        refused(lambda: setattr(near(1), "y", 2)),
        refused(lambda: named("n")),
        refused(point),
        refused(lambda: point(1, z=2)),
        refused(lambda: point(-1)),
        refused(lambda: hash(open_(1))),
        refused(lambda: setattr(own(1), "x", 2)),
        refused(lambda: plain(type("Thawed", (point,), {}))),
    ]


@pytest.mark.parametrize("seen", [facts, refusals])
def test_they_are_what_the_standard_library_makes(seen):
    assert seen(cheap) == seen(plain)


def test_a_dataclass_of_the_standard_library_inherits_from_them():
    point, *_ = made(cheap)
    further = plain(frozen=True)(type("Further", (point,), {"__annotations__": {"z": int}, "z": 3}))
    assert dataclasses.astuple(further(1)) == (1, 2, [], {}, 0, 3)


@cheap(frozen=True)
class Sent:
    """What goes to another process, where none was made yet."""

    x: int


def test_one_that_comes_from_another_process_is_whole():
    sent = pickle.dumps(Sent(1))
    assert repr(pickle.loads(sent)) == "Sent(x=1)"
    assert pickle.loads(sent) == Sent(1)


def test_a_field_that_is_not_told_is_refused_from_the_first_on():
    @cheap
    class Untold:
        x: int
        y: int = field(default=0, init=False)

    with pytest.raises(TypeError, match="unexpected keyword argument 'y'"):
        Untold(1, y=2)


def test_a_wrong_definition_is_told_each_time():
    @cheap
    class Wrong:
        x: list[int] = []  # noqa: RUF012 - that is what is wrong

    for _ in range(2):
        with pytest.raises(ValueError, match="mutable default"):
            Wrong()
