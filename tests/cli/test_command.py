"""Commands that are made of dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from converters import DeepPoseError
from deeppose_port import backends
from deeppose_port.cli import cli, main
from deeppose_port.cli.command import command
from deeppose_port.options import described, options_of


@dataclass(frozen=True, kw_only=True)
class Inner:
    size: int = described("Side.", default=64, metavar="PIXELS")
    kind: str | None = described("Kind.", default=None, choices=lambda: ("big", "small"), show_default="big")


@dataclass(frozen=True, kw_only=True)
class Outer:
    file: Path = described("A file.", names=("FILE",))
    others: tuple[Path, ...] = described("More.", default=(), names=("OTHER",))
    csv: str = described("Persons.", names=("-c", "--csv", "--old-name"))
    inner: Inner
    limit: float = described("Limit.", default=1.0)
    memory: int = described("Memory.", default=2048, parse=lambda text: int(text, 16), show_default="800")
    pattern: tuple[str, ...] = described("Patterns.", default=())
    gcn: bool | None = described("Normalise.", default=None, show_default="on")
    force: bool = described("Replace.", default=False, names=("--force",))
    fast: bool = described("Quickly.", default=False, needs="amp")

    def __post_init__(self) -> None:
        if self.inner.size < 1:
            raise DeepPoseError(f"--size is {self.inner.size}; it has to be at least 1")


taken: list[Outer] = []


@command(lambda: Outer)
def toy(options: Outer) -> int:
    """Does something.

    More of it.
    """
    taken.append(options)
    return 0


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs it by the command line; returns the exit status and what is shown."""
    monkeypatch.setitem(cli.commands, "toy", toy)

    def run(*arguments):
        status = main(["toy", *arguments])
        shown = capsys.readouterr()
        return status, " ".join((shown.out + shown.err).split())

    return run


class TestValues:
    def test_defaults_are_the_fields(self, run):
        run("a", "--csv", "b")
        assert taken.pop() == Outer(file=Path("a"), csv="b", inner=Inner())

    def test_each_has_its_type(self, run):
        run(
            "a",
            "b",
            "c",
            "-c",
            "x",
            "--size",
            "3",
            "--kind",
            "small",
            "--memory",
            "ff",
            "--no-gcn",
            "--force",
            "--fast",
        )
        assert taken.pop() == Outer(
            file=Path("a"),
            others=(Path("b"), Path("c")),
            csv="x",
            inner=Inner(size=3, kind="small"),
            memory=255,
            gcn=False,
            force=True,
            fast=True,
        )

    def test_what_may_be_given_often_is_kept_in_order(self, run):
        run("a", "--old-name", "b", "--pattern", "x", "--pattern", "y")
        assert taken.pop().pattern == ("x", "y")

    @pytest.mark.parametrize(
        ("arguments", "problem"),
        [
            (("--csv", "b"), "Missing argument 'FILE'"),
            (("a",), "Missing option"),
            (("a", "--csv", "b", "--size", "x"), "'x' is not a valid integer"),
            (("a", "--csv", "b", "--limit", "nan"), "nan is no number"),
            (("a", "--csv", "b", "--memory", "x"), "invalid literal"),
            (("a", "--csv", "b", "--no-force"), "No such option"),
            (("a", "--csv", "b", "--size", "0"), "--size is 0; it has to be at least 1"),
        ],
    )
    def test_what_is_none_is_refused(self, arguments, problem, run):
        status, shown = run(*arguments)
        assert status == 2
        assert problem in shown
        assert taken == []


class TestHelp:
    def test_it_says_what_the_fields_say(self, run):
        _, text = run("--help")
        assert "toy [OPTIONS] FILE [OTHER...] Does something. More of it." in text
        assert "-c, --csv, --old-name TEXT Persons. [required]" in text
        assert "--size PIXELS Side. [default: 64]" in text
        assert "--kind big|small Kind. [default: big]" in text
        assert "--memory TEXT Memory. [default: 800]" in text or "--memory INTEGER Memory. [default: 800]" in text
        assert "--gcn / --no-gcn Normalise. [default: on]" in text
        assert "--force Replace." in text

    def test_an_option_that_not_every_backend_follows_says_which_does(self, run):
        names = " and ".join(backend.title for backend in backends.able("amp"))
        assert f"--fast / --no-fast Quickly. ({names})" in run("--help")[1]


@pytest.mark.parametrize(
    ("typed", "incomplete", "expected"),
    [
        (["a", "--kind"], "", ["big", "small"]),
        (["a", "--kind"], "s", ["small"]),
        (["a"], "--si", ["--size"]),
    ],
)
def test_a_shell_completes_choices(typed, incomplete, expected):
    completer = ShellComplete(toy, {}, "toy", "_TOY_COMPLETE")
    assert [item.value for item in completer.get_completions(typed, incomplete)] == expected


def every_option():
    for name, made in cli.commands.items():
        for child in getattr(made, "commands", {"": made}).values():
            yield from ((f"{name} {child.name}", option) for option in options_of(child.options_type()).values())


@pytest.mark.parametrize("option", [pytest.param(o, id=f"{n} {o.name}") for n, o in every_option()])
def test_every_option_of_every_command_says_what_it_is(option):
    assert option.description.help.endswith((".", ":")), option.name
    assert (
        option.default is None
        or option.description.parse
        or not option.description.show_default
        or (isinstance(option.default, bool | tuple))
    ), "its default is said twice"
