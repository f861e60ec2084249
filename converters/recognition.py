"""Which network a file's arrays are, told by their keys and shapes; or why they are none."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from converters.errors import CheckpointError
from converters.families import Family, Found, family_of
from converters.families.unsupported import refuse_unsupported
from converters.folding import fold
from converters.formats import Contents
from converters.keys import (
    Header,
    chainer_names,
    set_aside,
    spelled_names,
    strip_wrappers,
)
from converters.keys import (
    wrappers as known_wrappers,
)
from converters.matching import Match, match
from converters.networks import TABLES


@dataclass(frozen=True)
class Network:
    """The network that a file's model keys are.

    Attributes:
        match: The architecture that they fit.
        wrappers: The prefixes that were stripped from them.
        canonical: Key in the file -> canonical name.
        beside: Keys that stand beside the network and are no part of it.
        family: Whose file it is.
        own: Whether we wrote it, and it is what it says of itself.
    """

    match: Match
    wrappers: tuple[str, ...]
    canonical: dict[str, str]
    beside: tuple[str, ...]
    family: Family
    own: bool


def recognise(
    path: Path, contents: Contents, model: Collection[str], asked: str | None = None, own: str | None = None
) -> Network:
    """Finds the one architecture that a file's model keys and their shapes are.

    Args:
        path: The file, for messages.
        contents: Its contents.
        model: Those of its keys that belong to a network.
        asked: The architecture that the user names.
        own: The architecture that the file says it is, if we wrote it.

    Raises:
        CheckpointError: They are none, several, or one that is known and no DeepPose.
    """
    if empty := sorted(set(contents.uninitialised) & set(model)):
        problem = f"{fold(empty)} had no value yet when this was saved (before the network's first forward pass)"
        raise CheckpointError(path, problem, "there is nothing to convert; take a later checkpoint")
    beside = tuple(set_aside(model))
    stripped, wrappers = strip_wrappers(key for key in model if key not in beside)
    headers = {bare: contents.headers[key] for key, bare in stripped.items()}
    refuse_unsupported(path, {key: header.shape for key, header in headers.items()})
    chosen = asked or own
    matches = match(headers, [chosen] if chosen in TABLES else None)
    fitting = [m for m in matches if m.fits]
    if len(fitting) > 1:
        names = " and ".join(m.architecture.name for m in fitting)
        problem = f"its keys and shapes fit {names}"
        raise CheckpointError(path, problem, f"say which with --architecture {fitting[0].architecture.name}")
    if not fitting:
        chainer = contents.format.startswith("chainer")
        raise CheckpointError(path, _misfit(matches[0], headers, wrappers, asked, chainer), _advice(headers, asked))
    found = fitting[0]
    name = found.architecture.name
    wrapped, ours = (*contents.wrappers, *wrappers), name == own
    family = family_of(Found(contents.format, wrapped, name, found.names, ours))
    canonical = {key: found.canonical[bare] for key, bare in stripped.items()}
    return Network(found, wrappers, canonical, beside, family, ours)


def _misfit(
    nearest: Match, headers: Mapping[str, Header], wrappers: tuple[str, ...], asked: str | None, chainer: bool
) -> str:
    """Says how a file differs from the nearest architecture, in the file's own spelling."""
    architecture, prefix = nearest.architecture, "".join(wrappers)
    if asked is None and not nearest.canonical:
        keys = fold(prefix + key for key in headers)
        return f"its arrays fit no architecture, none has a name of one: unexpected {keys}"
    if chainer or any("/" in key for key in headers):
        spelled = chainer_names(architecture, nearest.names)
    else:
        spelled = spelled_names(architecture.name, nearest.names, architecture.shapes)
    fits = f"are not those of {asked}" if asked else f"fit no architecture; nearest is {architecture.name}"
    return f"its arrays {fits}: {nearest.describe(spelled, prefix)}"


def _advice(headers: Mapping[str, Header], asked: str | None) -> str:
    """Says what to do with arrays that fit no architecture, or not the one that was asked for."""
    if asked is not None and (name := _fitting(headers)):
        return f"they are those of {name}: leave --architecture out"
    for wrapper in known_wrappers():
        part = {key.removeprefix(wrapper): header for key, header in headers.items() if key.startswith(wrapper)}
        if len(part) < len(headers) and (name := _fitting(part)):
            return f"those under {wrapper!r} alone are {name}: save them by themselves; nothing is loaded in part"
    return "nothing is loaded in part; docs/families.md tells what is read"


def _fitting(headers: Mapping[str, Header]) -> str | None:
    """Returns the architecture that arrays fit, wrappers stripped, or None."""
    stripped, _ = strip_wrappers(headers)
    matches = match({bare: headers[key] for key, bare in stripped.items()}) if headers else []
    return next((m.architecture.name for m in matches if m.fits), None)
