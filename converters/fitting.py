"""Finds the one network that a file's arrays are, to the last of them.

Every way to strip the keys of their wrappers is tried, in the order of `keys.strippings`, first with the architectures'
tables, then with what families build of the shapes. Nothing but a network of which every array is there, of the right
shape, and nothing else is taken. `student.conv1.weight, …, student.fc.bias`, for example, is no architecture as it
stands, and torchvision's ResNet without `student.`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import cache
from itertools import islice
from pathlib import Path

from converters.errors import CheckpointError, DeepPoseError
from converters.families import FAMILIES, Built, Family, Found
from converters.families.unsupported import refuse_unsupported
from converters.folding import fold
from converters.formats import Contents
from converters.keys import Header, Stripping, first_part, strippings
from converters.matching import Match, compare, fitting, match, odd
from converters.networks import TABLES, TORCH_WRITER, Architecture, OwnTable, last_weighted, per_joint
from converters.values import dataclass

#: In more parts than these nothing is looked for that is there twice.
_MOST_PARTS = 8
#: No network has more arrays (ResNet152 has 930): then wrappers are not looked for.
_MOST_ARRAYS = 10_000


@dataclass(frozen=True)
class Fit:
    """A network that a file's arrays are.

    Attributes:
        way: How its keys were stripped.
        match: The network, and the keys that were compared with it.
        renamed: Bare key -> the key that was compared, where they differ.
        family: The family that built it, if one did.
        notice: What a user should know of how that was done.
    """

    way: Stripping
    match: Match
    renamed: Mapping[str, str] = field(default_factory=dict)
    family: Family | None = None
    notice: str | None = None

    @property
    def canonical(self) -> dict[str, str]:
        """Key in the file -> canonical name."""
        return {key: self.match.canonical[self.renamed.get(bare, bare)] for key, bare in self.way.bare.items()}


@dataclass(frozen=True)
class Search:
    """What a file's arrays are compared with.

    Attributes:
        path: The file, for messages.
        contents: Its contents.
        asked: The architecture that the user names.
        own: The architecture that the file says it is, if we wrote it: a network of its own, or a name.
    """

    path: Path
    contents: Contents
    asked: str | None = None
    own: Architecture | str | None = None

    @property
    def names(self) -> list[str] | None:
        """The architectures that are compared; None for all that can be told by keys and shapes."""
        if self.asked is not None:
            return [self.asked]
        return [self.own] if isinstance(self.own, str) and self.own in TABLES else None

    def fit(self, headers: Mapping[str, Header]) -> Fit | None:
        """Returns the one network that arrays are, by their keys; None if they are none.

        Raises:
            CheckpointError: They are several, or one that is known and no DeepPose.
        """
        kinds: tuple[Callable[[Stripping, dict[str, Header]], Iterator[Fit]], ...] = (self._of_tables, self._built)
        for fits_of in kinds:
            for ways in _ways(headers):
                fits: dict[str, Fit] = {}
                for way in ways:
                    bare = {name: headers[key] for key, name in way.bare.items()}
                    shapes = {key: header.shape for key, header in bare.items()}
                    refuse_unsupported(self.path, shapes, self.contents.values, self.asked is not None)
                    for fit in fits_of(way, bare):
                        fits.setdefault(fit.match.architecture.name, fit)
                if len(fits) > 1:
                    problem = f"its keys and shapes fit {' and '.join(fits)}"
                    raise CheckpointError(self.path, problem, f"say which with --architecture {next(iter(fits))}")
                if fits:
                    return next(iter(fits.values()))
        return None

    def fit_of_some(self, headers: Mapping[str, Header]) -> tuple[Fit | None, list[str]]:
        """Returns the network that some arrays are, and the keys of all others, which name arrays of it once more.

        Raises:
            CheckpointError: As for `fit`; or others have the shapes of such arrays and are not equal to them.
        """
        parts = {first_part(key) for key in headers}
        for part in sorted(parts) if 1 < len(parts) <= _MOST_PARTS and len(headers) <= _MOST_ARRAYS else ():
            again = [key for key in headers if first_part(key) == part]
            others = {key: header for key, header in headers.items() if first_part(key) != part}
            alike: dict[tuple[Header, str], list[str]] = {}
            for key, header in others.items():
                alike.setdefault((header, _last(key)), []).append(key)
            twins = {key: alike.get((headers[key], _last(key)), []) for key in again}
            if all(twins.values()) and (fit := self.fit(others)):
                self._refuse_unequal(part, headers, twins)
                return fit, again
        return None, []

    def nearest(self, headers: Mapping[str, Header]) -> tuple[Stripping, Match]:
        """Returns the architecture that arrays, which are none, have the most names of; one of the tables', if any."""
        ways = [
            (way, {name: headers[key] for key, name in way.bare.items()}) for ways in _ways(headers) for way in ways
        ]
        found = [(way, match(bare, self.names)[0]) for way, bare in ways]
        if not any(matched.canonical for _, matched in found):
            found += [(way, matched) for way, bare in ways for _, _, matched in self._compared_with_built(way, bare)]
        return max(found, key=lambda pair: len(pair[1].canonical))

    def _of_tables(self, way: Stripping, bare: dict[str, Header]) -> Iterator[Fit]:
        own = self.own if self.asked is None else None
        if isinstance(own, Architecture):
            matches = [found for found in (compare(bare, own),) if found.fits]
        else:
            matches = fitting(bare, self.names)
        yield from (Fit(way, found) for found in matches)

    def _built(self, way: Stripping, bare: dict[str, Header]) -> Iterator[Fit]:
        """Yields the network of the first family that builds one, if that is what the arrays are."""
        for family, built, matched in self._compared_with_built(way, bare):
            if matched.fits and len({built.canonical.get(key, key) for key in bare}) == len(bare):
                yield Fit(way, matched, built.canonical, family, built.notice)
                return

    def _compared_with_built(self, way: Stripping, bare: dict[str, Header]) -> Iterator[tuple[Family, Built, Match]]:
        """Yields the networks that families build, each compared with the arrays."""
        found = Found(self.contents.format, (*self.contents.wrappers, *way.wrappers), "")
        shapes = {key: header.shape for key, header in bare.items()}
        for family in FAMILIES.values():
            try:
                built = family.build(shapes) if family.build is not None and family.may_build(found) else None
            except DeepPoseError as error:
                problem = "; ".join((error.problem, *self.contents.doubts))
                raise CheckpointError(self.path, problem, "is it whole?") from error
            if built is None or built.name not in (self.names or [built.name]):
                continue
            renamed = {built.canonical.get(key, key): header for key, header in bare.items()}
            try:
                yield family, built, _compared(renamed, built, family)
            except DeepPoseError:
                continue  # its layers do not fit each other

    def _refuse_unequal(self, part: str, headers: Mapping[str, Header], twins: Mapping[str, Sequence[str]]) -> None:
        """Refuses arrays under second names that are none of those that they may be."""

        @cache
        def digest(key: str) -> bytes:
            total = hashlib.sha256()
            for chunk in self.contents.chunks(key):
                total.update(chunk)
            return total.digest()

        unequal = [key for key, others in twins.items() if digest(key) not in map(digest, others)]
        if not unequal:
            return
        if self.fit({key: headers[key] for key in twins}):
            problem = f"it holds two networks of one kind, which are not equal: one under {part!r}, one without it"
        else:
            problem = f"{fold(unequal)} look like second names of its network's arrays, and are not equal to them"
        advice = "which is meant? save it by itself; nothing is loaded in part"
        raise CheckpointError(self.path, problem, advice)


def _ways(headers: Mapping[str, Header]) -> Iterator[list[Stripping]]:
    """Yields the ways to strip keys of their wrappers, as `strippings` does."""
    return islice(strippings(headers), 1 if len(headers) > _MOST_ARRAYS else None)


def _compared(headers: Mapping[str, Header], built: Built, family: Family) -> Match:
    """Compares arrays with a network that a family built.

    Raises:
        DeepPoseError: Its layers do not fit each other.
    """
    if built.layers is None:
        return match(headers, [built.name])[0]
    last = last_weighted(built.layers)
    each = per_joint(built.layers)
    table = OwnTable(built.layers, (built.input_size, built.input_size))
    architecture = Architecture(built.name, max(last.channels // each, 1), own=table)
    if "chainer" not in family.engines:
        architecture = replace(architecture, writer=TORCH_WRITER)
    return compare(headers, architecture, problem=odd(last.channels) if each == 2 else None)


def _last(key: str) -> str:
    """Returns the last part of a key."""
    return re.split(r"[./]", key)[-1]
