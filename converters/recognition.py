"""Which network a file's arrays are, and whose; or why they are none."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import field, replace
from pathlib import Path

from converters.errors import CheckpointError
from converters.families import FAMILIES, Family, Found, Writers, family_of
from converters.fitting import Search
from converters.folding import fold
from converters.formats import Contents
from converters.keys import (
    Header,
    Stripping,
    chainer_names,
    known_wrappers,
    set_aside,
    spelled_names,
    strippings,
)
from converters.matching import Match, fitting
from converters.networks import Architecture, ModelSource
from converters.values import dataclass

#: What may stand beside a network and is no layer of it: losses, averages of its weights, measurements.
_NO_LAYERS = re.compile(
    r"(?:.*[./])?(?:\w*loss\w*|criterion\w*|ema(?:_\w*)?|\w*average\w*|metrics?)[./].*", re.IGNORECASE
)

#: The first parts of keys that are looked at for a network that stands among others.
_MOST_PARTS = 8


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
        notices: What a user should know of how it was recognised.
        writers: What its source tells of the version that wrote it; None where the family tells.
        aliases: Keys that are second names of other keys' arrays.
    """

    match: Match
    wrappers: tuple[str, ...]
    canonical: dict[str, str]
    beside: tuple[str, ...]
    family: Family
    own: bool
    notices: tuple[str, ...] = ()
    writers: Writers | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)

    def with_source(self, source: ModelSource | None) -> Network:
        """Returns it with the source that its network was once read from."""
        if source is None:
            return self
        architecture = replace(self.match.architecture, source=source)
        return replace(self, match=replace(self.match, architecture=architecture))


def recognise(
    path: Path,
    contents: Contents,
    model: Collection[str],
    asked: str | None = None,
    own: Architecture | str | None = None,
) -> Network:
    """Finds the one architecture that a file's model keys and their shapes are.

    Args:
        path: The file, for messages.
        contents: Its contents.
        model: Those of its keys that belong to a network.
        asked: The architecture that the user names.
        own: The architecture that the file says it is, if we wrote it: a network of its own, or a name.

    Raises:
        CheckpointError: They are none, several, or one that is known and no DeepPose.
    """
    beside, headers = network_in(path, contents, model)
    search, again = Search(path, contents, asked, own), list[str]()
    fit = search.fit(headers)
    if fit is None:
        fit, again = search.fit_of_some(headers)
    if fit is None and isinstance(own, Architecture):
        problem = f"its arrays are not those of the table of {own.name} that it carries"
        raise CheckpointError(path, problem, "was it edited? convert the original again")
    if fit is None:
        problem = "; ".join((_misfit(*search.nearest(headers), asked, contents.format), *contents.doubts))
        raise CheckpointError(path, problem, _advice(headers, asked))
    name, wrappers = fit.match.architecture.name, fit.way.wrappers
    is_own = name == (own.name if isinstance(own, Architecture) else own)
    traits = Found(contents.format, (*contents.wrappers, *wrappers), name, fit.match.names, is_own, path.name)
    notices = [*_said_of(fit.way), *([fit.notice] if fit.notice else [])]
    if again:
        notices.append(f"{fold(again)} are second names of arrays that its network has, equal to them and not read")
    claim = None if asked else next((family for family in FAMILIES.values() if family.claims(traits)), None)
    if claim is not None:
        (name,) = claim.tables
        fit = Search(path, contents, name).fit(headers) or fit
        traits = replace(traits, architecture=name)
        notices.append(
            f"its keys and shapes are those of several networks, its name is one of {claim.title}: taken as {name}; "
            f"override with --architecture {claim.alike}"
        )
    family = fit.family if fit.family is not None and not is_own else family_of(traits)
    return Network(fit.match, wrappers, fit.canonical, beside, family, is_own, tuple(notices))


def network_in(path: Path, contents: Contents, model: Collection[str]) -> tuple[tuple[str, ...], dict[str, Header]]:
    """Returns those of a file's model keys that are no part of any network, and the headers of the others.

    Raises:
        CheckpointError: Some of its tensors had no value yet.
    """
    if empty := sorted(set(contents.uninitialised) & set(model)):
        problem = f"{fold(empty)} had no value yet when this was saved (before the network's first forward pass)"
        raise CheckpointError(path, problem, "there is nothing to convert; take a later checkpoint")
    beside = dict.fromkeys(set_aside(model, contents.format))
    return tuple(beside), {key: contents.headers[key] for key in model if key not in beside}


def _said_of(way: Stripping) -> list[str]:
    """Says what was stripped that is no wrapper of any known program."""
    known = known_wrappers()
    notices = []
    if any(wrapper not in known for wrapper in way.wrappers):
        notices.append(f"every key begins with {''.join(way.wrappers)!r}, which was stripped: the rest is one network")
    if way.inner:
        inner = " and ".join(repr(part + ".") for part in way.inner)
        notices.append(f"{inner} inside of its keys, put there by a wrapper around a part of the network, was dropped")
    return notices


def _misfit(way: Stripping, nearest: Match, asked: str | None, format: str) -> str:
    """Says how a file differs from the nearest architecture, in the file's own spelling."""
    architecture, prefix = nearest.architecture, "".join(way.wrappers)
    if asked is None and not nearest.canonical:
        return f"its arrays fit no architecture, none has a name of one: unexpected {fold(way.bare)}"
    if format.startswith("chainer") or any("/" in key for key in way.bare.values()):
        spelled = chainer_names(architecture, nearest.names)
    else:
        spelled = spelled_names(architecture.name, nearest.names, architecture.shapes)
    fits = f"are not those of {asked}" if asked else f"fit no architecture; nearest is {architecture.name}"
    return f"its arrays {fits}: {nearest.describe(spelled, prefix)}"


def _advice(headers: Mapping[str, Header], asked: str | None) -> str:
    """Says what to do with arrays that fit no architecture, or not the one that was asked for."""
    if asked is not None and (name := _fitting(headers)):
        return f"they are those of {name}: leave --architecture out"
    firsts = dict.fromkeys(found[0] for key in headers if (found := re.match(r"[^./]+[./]", key)))
    for wrapper in dict.fromkeys((*known_wrappers(), *list(firsts)[:_MOST_PARTS])):
        part = {key.removeprefix(wrapper): header for key, header in headers.items() if key.startswith(wrapper)}
        others = [key for key in headers if not key.startswith(wrapper)]
        if not others or not (name := _fitting(part)):
            continue
        if all(_NO_LAYERS.fullmatch(key) or not headers[key].shape for key in others):
            how = f"--part {wrapper[:-1]} reads them" if wrapper in firsts else "save them by themselves"
            return f"those under {wrapper!r} alone are {name}: {how}; nothing is loaded in part unasked"
        return (
            f"those under {wrapper!r} are {name}, but {fold(others)} beside them may be layers of the same network: "
            "its source tells how they go together, --model-file FILE.py reads it; nothing is loaded in part"
        )
    return "nothing is loaded in part; docs/families.md tells what is read"


def _fitting(headers: Mapping[str, Header]) -> str | None:
    """Returns the architecture that arrays fit, known wrappers stripped, or None."""
    ((way,), *_) = strippings(headers) if headers else [[Stripping({})]]
    fits = fitting({bare: headers[key] for key, bare in way.bare.items()})
    return next((found.architecture.name for found in fits), None)
