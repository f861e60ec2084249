"""Command lines: the defaults of what `argparse` knows, which is what a program without any has."""

from __future__ import annotations

import re

from converters.networks.source import plain
from converters.networks.source.context import Context
from converters.networks.source.registry import KNOWN, function
from converters.networks.source.values import NativeFunction, Parsed, Parser, Unknown


@function("argparse.ArgumentParser")
def _parser(c: Context, *about: object, **words: object) -> object:
    return c.unknown("a parser with parents") if "parents" in words else Parser({})


@function("argparse.ArgumentParser.add_argument")
def _add_argument(c: Context, parser: Parser, *names: object, **words: object) -> object:
    """Adds an argument; gives the parser, of which more can be asked."""
    c.budget.spend()
    said = [name for name in names if isinstance(name, str)]
    action, dest = words.get("action", "store"), words.get("dest")
    named = dest if isinstance(dest, str) else _dest(said)
    if len(said) < len(names) or not named:
        c.fail("an argument of a command line without a plain name is not known")
    default = words.get("default")
    if default is None and action in ("store_true", "store_false"):
        default = action == "store_false"
    parser.defaults[named] = _converted(c, named, default, words.get("type"))
    return parser


def _dest(names: list[str]) -> str:
    """Returns the attribute that an argument becomes: its first long name, or its first one."""
    first = next((name for name in names if name.startswith("--")), names[0] if names else "")
    return re.sub(r"\W", "_", first.lstrip("-"))


def _converted(c: Context, name: str, default: object, kind: object) -> object:
    """Returns a default, of which a text is read as the argument's type."""
    if default is None:
        return c.unknown(f"{name}, an argument of the command line without a default,")
    if not isinstance(default, str) or kind is None or kind is KNOWN["builtins.str"]:
        return default
    if isinstance(kind, NativeFunction) and kind.name in ("builtins.int", "builtins.float"):
        return kind.call(c, default)
    return c.unknown(f"{name}, an argument of the command line of a type of its own,")


@function("argparse.ArgumentParser.set_defaults")
def _set_defaults(c: Context, parser: Parser, **defaults: object) -> object:
    parser.defaults.update(defaults)
    return parser


@function("argparse.ArgumentParser.add_argument_group", "argparse.ArgumentParser.add_mutually_exclusive_group")
def _add_group(c: Context, parser: Parser, *about: object, **words: object) -> object:
    return parser


@function("argparse.ArgumentParser.parse_args")
def _parse_args(c: Context, parser: Parser, args: object = None, namespace: object = None) -> object:
    if namespace is not None or (args is not None and (isinstance(args, Unknown) or plain.iterate(c, args))):
        return c.unknown("a command line that is given")
    return Parsed(dict(parser.defaults))


@function("argparse.ArgumentParser.parse_known_args")
def _parse_known_args(c: Context, parser: Parser, args: object = None) -> object:
    parsed = _parse_args(c, parser, args)
    return parsed if isinstance(parsed, Unknown) else (parsed, [])
