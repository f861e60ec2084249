"""An option is declared once: its dataclass's field says its name, type, default, help, metavar and choices.

    @dataclass(frozen=True)
    class Drawing:
        size: int = described("Side of a picture.", default=64, metavar="PIXELS")

From these fields the command line makes its options, a configuration file its keys and a log its entries. A field whose
type is such a dataclass is a group: its options stand beside the others.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, field, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from converters.errors import DeepPoseError
from converters.values import dataclass

if TYPE_CHECKING:
    from dataclasses import _MISSING_TYPE

T = TypeVar("T")


class Named(str):
    """What a user names that is a path or an address: shells complete it as a path, and it stays as it is written."""


_KEY, _RARE = "option", "rare"
#: The metadata of a field that is a group of options, all of which `--help` leaves to `--help-all`.
RARE_GROUP: Mapping[str, bool] = MappingProxyType({_RARE: True})
#: A type of options: what of a file it is made of, and what that is called.
_KINDS: Mapping[type, tuple[type | tuple[type, ...], str]] = {
    bool: (bool, "true or false"),
    int: (int, "a whole number"),
    float: ((int, float), "a number"),
    str: (str, "text"),
    Path: (str, "a path"),
}


@dataclass(frozen=True)
class Description:
    """What a field says of its option beside its name, its type and its default.

    Attributes:
        help: A sentence, for `--help` and for the documentation.
        metavar: What stands for the value; empty for the choices, or the type's own.
        choices: The values that there are; a callable is asked when they are needed, as for those of a registry. Empty
            where they cannot be listed.
        names: Its spellings on the command line, where they are not `--` and the field's name; all of them.
        show_default: The default in words, where the value does not tell it: what None stands for.
        parse: Makes a value of what was written, where the type alone does not tell how. Raises ValueError.
        elsewhere: Whether it may be told elsewhere than on the command line, which then need not say it even if there
            is no default.
        needs: What a backend has to be able to do for it, as `amp`; empty for nothing.
        section: The title in `--help` that it and those after it stand under; empty for that of the one before.
        rare: Whether `--help` leaves it to `--help-all`.
        goes_with: The options without which it does nothing, by name, or as `name=value`; any of them is enough.
    """

    help: str
    metavar: str = ""
    choices: tuple[str, ...] | Callable[[], Iterable[str]] = ()
    names: tuple[str, ...] = ()
    show_default: str = ""
    parse: Callable[[str], object] | None = None
    needs: str = ""
    section: str = ""
    rare: bool = False
    elsewhere: bool = False
    goes_with: tuple[str, ...] = ()

    def listed(self) -> tuple[str, ...]:
        """Returns the choices."""
        return self.choices if isinstance(self.choices, tuple) else tuple(self.choices())


@dataclass(frozen=True)
class Option:
    """An option as its field declares it.

    Attributes:
        name: The field's.
        type: The field's, such as `int`, `float | None` or `tuple[str, ...]`.
        default: The field's; `dataclasses.MISSING` where it has to be given.
        description: What else the field says.
        groups: The fields of the groups that it is in, the outermost first.
    """

    name: str
    type: Any
    default: object
    description: Description
    groups: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Its spellings on the command line."""
        return self.description.names or (f"--{self.name.replace('_', '-')}",)

    @property
    def spelled(self) -> str:
        """Its long name on the command line, or the argument's, as messages have it."""
        return next((name for name in self.names if name.startswith("--")), self.names[0])

    @property
    def key(self) -> str:
        """What a file of options calls it."""
        return self.spelled[2:].replace("-", "_")

    def value_of(self, plain: object) -> object:
        """Makes the option's value of one that a file holds: text, a number, true or false, or a list of them.

        Raises:
            ValueError: It is of another kind, or none of those that can be.
        """
        if self.description.parse is not None and isinstance(plain, str):
            return self.description.parse(plain)
        kinds = [kind for kind in typing.get_args(self.type) or (self.type,) if kind is not Ellipsis]
        if typing.get_origin(self.type) is tuple:
            if not isinstance(plain, list) or not all(isinstance(each, str) for each in plain):
                raise ValueError("it has to be a list of texts")
            return tuple(plain)
        for kind, (takes, _) in _KINDS.items():
            if kind in kinds and isinstance(plain, takes) and (kind is bool or not isinstance(plain, bool)):
                return not_nan(kind(plain))
        if plain in kinds:  # of a Literal
            return plain
        words = [words for kind, (_, words) in _KINDS.items() if kind in kinds]
        raise ValueError(f"{plain!r} is not {' or '.join(words) or ', '.join(map(repr, kinds))}")


def not_nan(value: T) -> T:
    """Returns a value; NaN, which every comparison with a limit lets through, is a ValueError."""
    if value != value:
        raise ValueError("nan is no number")
    return value


def described(
    help: str,
    *,
    default: T | _MISSING_TYPE = MISSING,
    metavar: str = "",
    choices: tuple[str, ...] | Callable[[], Iterable[str]] = (),
    names: tuple[str, ...] = (),
    show_default: str = "",
    parse: Callable[[str], object] | None = None,
    needs: str = "",
    section: str = "",
    rare: bool = False,
    elsewhere: bool = False,
    goes_with: tuple[str, ...] = (),
) -> T:
    """Declares an option, as a field of a dataclass; without a default it has to be given.

    The other arguments are `Description`'s.
    """
    told = Description(help, metavar, choices, names, show_default, parse, needs, section, rare, elsewhere, goes_with)
    declared: Any = field(default=default, metadata={_KEY: told})
    return typing.cast("T", declared)


def refuse_outside(options: object, holds: Callable[[float], bool], words: str, *names: str) -> None:
    """Refuses options whose numbers are none that can be; None is no number.

    Args:
        options: An instance of them.
        holds: Tells whether a number can be.
        words: Which can be, as `it has to be positive`.
        *names: Of the options.

    Raises:
        DeepPoseError: One of them cannot.
    """
    for name in names:
        value = getattr(options, name)
        if value is not None and not holds(value):
            raise DeepPoseError(f"{name} is {value}; {words}")


def refuse_unknown(
    what: str, name: object, known: Collection[str], more: str = "", error: type[DeepPoseError] = DeepPoseError
) -> None:
    """Refuses a name that is none of those there are, which the message lists.

    Args:
        what: What is named, as `recipe`.
        name: The name.
        known: Those there are.
        more: Words that belong to it, as ` for joints`.
        error: What is raised.
    """
    if name not in known:
        raise error(f"there is no {what} {name!r}{more}; there are {', '.join(known)}")


def options_of(kind: type) -> dict[str, Option]:
    """Returns the options that a dataclass declares, by name, in its order; its groups' among them."""
    return {option.name: option for option in _declared(kind, ())}


def values_of(options: object) -> dict[str, Any]:
    """Returns the values of an instance's options, by name."""
    values = {}
    for name, option in options_of(type(options)).items():
        holder = options
        for group in option.groups:
            holder = getattr(holder, group)
        values[name] = getattr(holder, name)
    return values


def changed(options: object) -> list[Option]:
    """Returns the options of an instance that are not at their default."""
    values = values_of(options)
    return [option for name, option in options_of(type(options)).items() if values[name] != option.default]


def idle(options: object, said: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Yields the options that do nothing beside the others, and which of them each would go with, as they are spelled.

    Args:
        options: An instance of them.
        said: The names of those that somebody said. One that is 0 or empty asks for nothing.
    """
    declared, values = options_of(type(options)), values_of(options)
    for name in said:
        option, partners = declared[name], []
        for other, _, value in (each.partition("=") for each in option.description.goes_with):
            if other in declared:  # else the command has no such option
                partners.append((declared[other].spelled, values[other], value))
        asks = bool(values[name]) or option.default is True
        if partners and asks and not any(found == value if value else found for _, found, value in partners):
            off = values[name] is False
            yield (
                f"--no-{option.spelled[2:]}" if off else option.spelled,
                [f"{spelled} {value}".rstrip() for spelled, _, value in partners],
            )


def build(kind: type[T], values: Mapping[str, object]) -> T:
    """Makes an instance of options by name, its groups' among them; those that are not named have their defaults.

    Raises:
        TypeError: There is no such option.
        DeepPoseError: One that has to be given is not; or as the dataclass's own checks do.
    """
    options = options_of(kind)
    unknown = values.keys() - options.keys()
    if unknown:
        raise TypeError(f"{kind.__name__} has no option {', '.join(sorted(unknown))}")
    missing = [option for name, option in options.items() if option.default is MISSING and name not in values]
    if missing:
        told = ", ".join(option.spelled for option in missing)
        raise DeepPoseError(f"{told} {'is' if len(missing) == 1 else 'are'} missing: {missing[0].description.help}")
    return _built(kind, values)


def _built(kind: type[T], values: Mapping[str, object]) -> T:
    given: dict[str, object] = {}
    for each, type_ in _typed_fields(typing.cast("type", kind)):
        if is_dataclass(type_):
            given[each.name] = _built(typing.cast("type[object]", type_), values)
        elif each.name in values:
            given[each.name] = values[each.name]
    return kind(**given)


def _declared(kind: type, groups: tuple[str, ...], rare: bool = False) -> Iterator[Option]:
    for each, type_ in _typed_fields(kind):
        if is_dataclass(type_):
            inner = (*groups, each.name)
            yield from _declared(typing.cast("type", type_), inner, rare or each.metadata.get(_RARE, False))
        elif _KEY in each.metadata:
            default = each.default if each.default_factory is MISSING else each.default_factory()
            told = each.metadata[_KEY]
            yield Option(each.name, type_, default, replace(told, rare=True) if rare else told, groups)


@cache
def _typed_fields(kind: type) -> tuple[tuple[Field[Any], Any], ...]:
    types = typing.get_type_hints(kind)
    return tuple((each, types[each.name]) for each in fields(kind))
