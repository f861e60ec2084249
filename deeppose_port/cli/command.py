"""A command is a function of one dataclass: the dataclass's fields are its arguments and options, see `options`.

@dataclass(frozen=True, kw_only=True)
class GreetOptions:
name: str = field(metadata=described("Whom.", names=("NAME",)))
loud: bool = field(default=False, metadata=described("In capitals."))

@command(lambda: GreetOptions)
def greet(options: GreetOptions) -> int:
...
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from dataclasses import MISSING
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from deeppose_port.cli import display
from deeppose_port.options import Option, build, options_of

if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType

Options = TypeVar("Options")

_TYPES: dict[object, click.ParamType[Any]] = {
    int: click.INT,
    float: click.FLOAT,
    str: click.STRING,
    Path: click.Path(path_type=Path),
}


class Command(click.Command):
    """A command whose parameters are made when they are needed, of a dataclass that is loaded then."""

    def __init__(self, name: str, run: Callable[[Options], int], load: Callable[[], type[Options]]) -> None:
        super().__init__(name, callback=lambda **given: run(build(load(), given)), help=inspect.getdoc(run))
        self.options_type: Callable[[], type[Any]] = load

    def make_context(self, *arguments: Any, **extra: Any) -> click.Context:
        """Reads a command line; `--help` may find nobody to read it."""
        with display.read_by_somebody():
            return super().make_context(*arguments, **extra)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Returns the arguments and options, `--help` among them."""
        if not self.params:
            self.params = [_parameter(option) for option in options_of(self.options_type()).values()]
        return super().get_params(ctx)


class Group(click.Group):
    """Commands under one name."""

    def make_context(self, *arguments: Any, **extra: Any) -> click.Context:
        """Reads a command line; `--help` may find nobody to read it."""
        with display.read_by_somebody():
            return super().make_context(*arguments, **extra)


def command(
    load: Callable[[], type[Options]], name: str | None = None
) -> Callable[[Callable[[Options], int]], Command]:
    """Makes a command of a function of its options that returns the exit status; its docstring is the help.

    Args:
        load: Returns the dataclass of the options.
        name: What the command is called; by default as the function.
    """
    return lambda run: Command(name or run.__name__, run, load)


class _Value(_ParamType):
    """A value that is written in a way of its own, or has choices that a shell completes."""

    def __init__(self, option: Option, plain: click.ParamType[Any]) -> None:
        self.name = plain.name
        self._plain, self._told = plain, option.description

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Returns the value."""
        if self._told.parse is None:
            return self._plain.convert(value, param, ctx)
        try:
            return self._told.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        """Returns the choices that begin so."""
        from click.shell_completion import CompletionItem

        if self._told.choices == ():
            return self._plain.shell_complete(ctx, param, incomplete)
        return [CompletionItem(choice) for choice in self._told.listed() if choice.startswith(incomplete)]


def _parameter(option: Option) -> click.Parameter:
    """Returns what click takes an option for."""
    told, (kind, many) = option.description, _kind_of(option.type)
    required = option.default is MISSING
    if not option.names[0].startswith("-"):
        shown = (told.metavar or "|".join(told.listed()) or option.names[0]) + ("..." if many else "")
        return click.Argument(
            [option.name],
            type=_Value(option, _TYPES[kind]),
            nargs=-1 if many else 1,
            required=required,
            metavar=shown if required else f"[{shown}]",
        )
    if kind is bool:
        # Names that are given are all there are; otherwise it can be turned off too.
        names = told.names or (f"{option.spelled}/--no-{option.spelled[2:]}",)
        return click.Option(
            [option.name, *names], is_flag=True, default=option.default, help=_sentence(option), show_default=False
        )
    default: dict[str, Any] = {} if required or option.default in (None, ()) else {"default": option.default}
    if told.parse is not None and default:
        default = {"default": told.default or str(option.default)}  # as it is written
    return click.Option(
        [option.name, *option.names],
        type=_Value(option, _TYPES[kind]),
        multiple=many,
        required=required,
        show_default=True,
        metavar=told.metavar or "|".join(told.listed()) or None,
        help=_sentence(option),
        **default,
    )


def _sentence(option: Option) -> str:
    """Returns an option's help: what it does, who can, and what is so where nothing is said."""
    told = option.description
    parts = [told.help]
    if told.needs:
        from deeppose_port import backends

        able = backends.able(told.needs)
        if len(able) < len(backends.able("train")):
            parts.append(f"({' and '.join(backend.title for backend in able)})")
    words = " ".join(parts)
    return f"{words}  [default: {told.default}]" if told.default and told.parse is None else words


def _kind_of(type_: Any) -> tuple[Any, bool]:
    """Returns what one value is, without None, and whether there are many."""
    if typing.get_origin(type_) in (typing.Union, types.UnionType):
        (type_,) = (member for member in typing.get_args(type_) if member is not types.NoneType)
    if typing.get_origin(type_) is tuple:
        return typing.get_args(type_)[0], True
    return (str if typing.get_origin(type_) is typing.Literal else type_), False
