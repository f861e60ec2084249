"""A command is a function of one dataclass: the dataclass's fields are its arguments and options, see `options`.

@dataclass(frozen=True, kw_only=True)
class GreetOptions:
name: str = described("Whom.", names=("NAME",))
loud: bool = described("In capitals.", default=False)

@command(lambda: GreetOptions)
def greet(options: GreetOptions) -> int:
...
"""

from __future__ import annotations

import copy
import importlib
import inspect
import shlex
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import MISSING
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from deeppose_port.cli import display
from deeppose_port.options import Named, Option, build, idle, not_nan, options_of

if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType

Options = TypeVar("Options")

#: Makes options, by name, of those that a command line says.
Complete = Callable[[Mapping[str, object]], Mapping[str, object]]

_TYPES: dict[object, click.ParamType[Any]] = {
    int: click.INT,
    float: click.FLOAT,
    str: click.STRING,
    Path: click.Path(path_type=Path),
    Named: click.Path(path_type=Named),
}


#: Where a context says that all options are to be shown.
_ALL = "deeppose_port.help_all"


class _Read(click.Command):
    """A command whose help may find nobody to read it."""

    def make_context(self, *arguments: Any, **extra: Any) -> click.Context:
        """Reads a command line."""
        with display.read_by_somebody():
            return super().make_context(*arguments, **extra)


class Command(_Read):
    """A command whose parameters are made when they are needed, of a dataclass that is loaded then."""

    def __init__(
        self,
        name: str,
        run: Callable[[Options], int],
        load: Callable[[], type[Options]],
        complete: Complete | None = None,
    ) -> None:
        super().__init__(name, callback=lambda **given: run(self._built(given)), help=inspect.getdoc(run))
        self.options_type: Callable[[], type[Any]] = load
        self._titles: dict[str, str] = {}
        self._rare: set[str] = set()
        self._complete = complete

    def _built(self, given: Mapping[str, object]) -> Any:
        """Makes the options of what was given, and refuses one that would do nothing."""
        source = click.get_current_context().get_parameter_source
        said = {name: value for name, value in given.items() if source(name) is not ParameterSource.DEFAULT}
        options = build(self.options_type(), given if self._complete is None else self._complete(said))
        for option, partners in idle(options, said):
            raise click.UsageError(f"{option} goes with {' or '.join(partners)}")
        return options

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Returns the arguments and options, `--help` among them."""
        if not self.params:
            options = options_of(self.options_type())
            self._titles = _titles(options.values())
            self._rare = {name for name, option in options.items() if option.description.rare}
            self.params = [*map(_parameter, options.values()), *common_options()]
            self.params.append(_help_all(hidden=not self._rare))
        return super().get_params(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the options by their sections, the rare ones when they are asked for."""
        whole = not self._rare or bool(ctx.meta.get(_ALL))
        sections: dict[str, list[tuple[str, str]]] = {}
        hidden: dict[str, None] = {}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Option) and parameter.hidden:
                continue
            title = self._titles.get(parameter.name or "", "Other")
            if whole or parameter.name not in self._rare:
                sections.setdefault(title, []).append(_record(parameter, ctx, whole))
            else:
                hidden[title.lower().partition(",")[0]] = None
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)
        if hidden:
            of = ", ".join(title for title in hidden if title != "options")
            count = len(self._rare)
            more = f"{count} more option{'s' if count > 1 else ''}: {ctx.command_path} --help-all"
            formatter.write_paragraph()
            formatter.write_text(f"{more} ({of})" if of else more)


class Commands(MutableMapping[str, click.Command]):
    """Commands by name, each loaded from its module when it is first asked for.

    Args:
        package: Where the modules are.
        modules: A command's name, and the module that it is in.
    """

    def __init__(self, package: str, modules: Mapping[str, str]) -> None:
        self._package = package
        self._found: dict[str, str | click.Command] = dict(modules)

    def __getitem__(self, name: str) -> click.Command:
        found = self._found[name]
        if isinstance(found, str):
            module = importlib.import_module(f"{self._package}.{found}")
            (found,) = (each for each in vars(module).values() if isinstance(each, click.Command) and each.name == name)
            self._found[name] = found
        return found

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._found[name] = command

    def __delitem__(self, name: str) -> None:
        del self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


class Group(_Read, click.Group):
    """Commands under one name, listed as they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the commands' names."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the commands with the whole first sentence of each one's help, over as many lines as it takes."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, each.get_short_help_str(limit=200)) for name, each in self.commands.items()])


def common_options() -> list[click.Option]:
    """Returns the options of every command."""

    def set_quiet(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        display.settings.quiet |= value

    def set_verbose(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        display.settings.verbose |= value

    def set_log(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
        if value is not None:
            display.log_to(value, command_line())

    said = {"expose_value": False, "is_eager": True}
    return [
        click.Option(
            ["-q", "--quiet"], is_flag=True, callback=set_quiet, help="Show no progress bars and no notes.", **said
        ),
        click.Option(
            ["-v", "--verbose"],
            is_flag=True,
            callback=set_verbose,
            help="Show how long each step took, and a traceback with errors.",
            **said,
        ),
        click.Option(
            ["--log-file"],
            type=_TYPES[Path],
            metavar="FILE",
            callback=set_log,
            help="Also append everything that is shown to FILE, with times.",
            **said,
        ),
    ]


def command_line() -> str:
    """Returns the command that is running, as one would type it."""
    return shlex.join(["deeppose-port", *(click.get_current_context().find_root().obj or sys.argv[1:])])


def command(
    load: Callable[[], type[Options]], name: str | None = None, complete: Complete | None = None
) -> Callable[[Callable[[Options], int]], Command]:
    """Makes a command of a function of its options that returns the exit status; its docstring is the help.

    Args:
        load: Returns the dataclass of the options.
        name: What the command is called; by default as the function.
        complete: Makes of what was said, by name, all that the options are made of; None leaves to the defaults what
            was not said.
    """
    return lambda run: Command(name or run.__name__, run, load, complete)


class _Value(_ParamType):
    """A value that is written in a way of its own, or has choices that a shell completes."""

    def __init__(self, option: Option, plain: click.ParamType[Any]) -> None:
        self.name = plain.name
        self._plain, self._told = plain, option.description

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Returns the value."""
        if value == "" and isinstance(param, _Argument) and isinstance(self._plain, click.Path):
            self.fail("'' names nothing; the current folder is .", param, ctx)
        try:
            if self._told.parse is not None:
                return self._told.parse(value)
            return self._completed(not_nan(self._plain.convert(value, param, ctx)))
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def _completed(self, value: Any) -> Any:
        """Returns the choice that a value is in other letters, or that alone begins with it before a `-`."""
        choices = self._told.listed() if isinstance(value, str) else ()
        if value in choices:
            return value
        meant = [choice for choice in choices if choice.lower() == value.lower()]
        meant = meant or [choice for choice in choices if choice.startswith(f"{value.lower()}-")]
        return meant[0] if len(meant) == 1 else value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        """Returns the choices that begin so."""
        from click.shell_completion import CompletionItem

        if self._told.choices == ():
            return self._plain.shell_complete(ctx, param, incomplete)
        return [CompletionItem(choice) for choice in self._told.listed() if choice.startswith(incomplete)]


def _parameter(option: Option) -> click.Parameter:
    """Returns what click takes an option for."""
    told, (kind, many) = option.description, _kind_of(option.type)
    required = option.default is MISSING and not told.elsewhere
    if _is_argument(option):
        shown = (told.metavar or "|".join(told.listed()) or option.names[0]) + ("..." if many else "")
        argument = _Argument(
            [option.name],
            type=_Value(option, _TYPES.get(kind, click.STRING)),
            nargs=-1 if many else 1,
            required=required,
            metavar=shown if required else f"[{shown}]",
        )
        argument.sentence = _sentence(option)
        return argument
    if kind is bool:
        # Names that are given are all there are; otherwise it can be turned off too.
        names = told.names or (f"{option.spelled}/--no-{option.spelled[2:]}",)
        return click.Option(
            [option.name, *names], is_flag=True, default=option.default, help=_sentence(option), show_default=False
        )
    default: dict[str, Any] = {} if option.default in (MISSING, None, ()) else {"default": option.default}
    if told.parse is not None and default:
        default = {"default": told.show_default or str(option.default)}  # as it is written
    return click.Option(
        [option.name, *option.names],
        type=_Value(option, _TYPES.get(kind, click.STRING)),
        multiple=many,
        required=required,
        show_default=True,
        metavar=told.metavar or "|".join(told.listed()) or None,
        help=_sentence(option),
        **default,
    )


def _help_all(*, hidden: bool) -> click.Option:
    """Returns `--help-all`; where it shows nothing more, it is taken and not listed."""

    def show(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            ctx.meta[_ALL] = True
            for line in ctx.get_help().splitlines():
                display.say(line)
            ctx.exit()

    return click.Option(
        ["--help-all"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=show,
        hidden=hidden,
        help="Show this message with all options.",
    )


def _titles(options: Iterable[Option]) -> dict[str, str]:
    """Returns the section that each option stands under."""
    titles: dict[str, str] = {}
    last: dict[tuple[str, ...], str] = {(): "Options"}
    for option in options:
        where = next(option.groups[:n] for n in range(len(option.groups), -1, -1) if option.groups[:n] in last)
        title = "Arguments" if _is_argument(option) else option.description.section or last[where]
        if not _is_argument(option):
            last[option.groups] = title
        titles[option.name] = title
    return titles


def _is_argument(option: Option) -> bool:
    return not option.names[0].startswith("-")


def _record(parameter: click.Parameter, ctx: click.Context, whole: bool) -> tuple[str, str]:
    """Returns what is shown of an argument or option, and its help.

    Args:
        parameter: The argument or option.
        ctx: Its command's.
        whole: Whether it is shown with its old spellings, or with its first long one alone.
    """
    if isinstance(parameter, _Argument):
        return parameter.make_metavar(ctx), parameter.sentence
    long = [name for name in parameter.opts if name.startswith("--")]
    if not whole and len(long) > 1:
        parameter = copy.copy(parameter)
        parameter.opts = [name for name in parameter.opts if name not in long[1:]]
    record = parameter.get_help_record(ctx)
    assert record is not None, "an option is hidden"
    return record


class _Argument(click.Argument):
    """An argument that says what it is."""

    sentence = ""


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
    return f"{words}  [default: {told.show_default}]" if told.show_default and told.parse is None else words


def _kind_of(type_: Any) -> tuple[Any, bool]:
    """Returns what one value is, without None, and whether there are many."""
    if typing.get_origin(type_) in (typing.Union, types.UnionType):
        (type_,) = (member for member in typing.get_args(type_) if member is not types.NoneType)
    if typing.get_origin(type_) is tuple:
        return typing.get_args(type_)[0], True
    return (str if typing.get_origin(type_) is typing.Literal else type_), False
