"""A family: all that is known of one program's files, in one value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, replace
from typing import TypeAlias

from packaging.version import Version

from converters.checkpoint import Preprocessing
from converters.networks import TABLES, Architecture, Layer, Shape, add_table
from converters.networks.tables import EVERY_ENGINE
from converters.values import dataclass

#: Patterns in canonical names and what stands there instead, one after the other.
Substitutions: TypeAlias = tuple[tuple[str, str], ...]
Tables: TypeAlias = Mapping[str, tuple[Layer, ...]]

#: Names of layers as the last version of mitmul/deeppose spells them, or as a table does that it never had.
CANONICAL = "head"


_FIRST = Version("1.0.0")


@dataclass(frozen=True)
class Writers:
    """Versions of Chainer from `since` up to but without `until`, and what tells so, as a phrase."""

    since: Version = _FIRST
    until: Version | None = None
    told_by: str = ""

    def holds(self, version: Version) -> bool:
        """Tells whether a version is among them."""
        return self.since <= version and (self.until is None or version < self.until)


@dataclass(frozen=True)
class Found:
    """What is known of a file when it is asked whose it is.

    Attributes:
        format: Its format, as `Source.format`.
        wrappers: The prefixes that its keys bore, outermost first.
        architecture: Name of its architecture; empty where it is not known yet.
        names: What its layers' names are a spelling of: `CANONICAL`, or a key of some family's `naming`.
        own: Whether it says of itself that we wrote it.
        file: Its name, without folders.
    """

    format: str
    wrappers: tuple[str, ...]
    architecture: str
    names: str = CANONICAL
    own: bool = False
    file: str = ""


@dataclass(frozen=True)
class Built:
    """A network that a family makes of a file's shapes, where its programs had more of them than tables could list.

    Attributes:
        name: The architecture: one of the family's tables, or a name for `layers`.
        canonical: Key in the file, without wrappers -> canonical name.
        layers: The network's own layers, with the channels of the file; None for the table's.
        input_size: Side of an input that they take.
        notice: What a user should know of how it was made.
    """

    name: str
    canonical: Mapping[str, str]
    layers: tuple[Layer, ...] | None = None
    input_size: int = 224
    notice: str | None = None


@dataclass(frozen=True)
class Said:
    """What the plain values beside a file's weights say of its inputs.

    Attributes:
        fields: Those of Preprocessing that they tell.
        notices: What a user should know of them.
    """

    fields: Mapping[str, object] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    def also(self, fields: Mapping[str, object], notice: str) -> Said:
        """Returns it with what else they say."""
        return Said({**self.fields, **fields}, (*self.notices, notice))


@dataclass(frozen=True)
class Family:
    """The files of one program, in one time. What is common to them and not in them is told here.

    Attributes:
        name: A short name, which never changes: files that we wrote hold it as `Source.generation`.
        title: Whose they are.
        recognised: How a file is told to be one of them.
        done: What is done with it.
        tables: Its architectures by name, at full width. Families may share them.
        naming: Layer names that are not the tables': `{names: {architecture: substitutions in canonical names}}`.
        wrappers: Prefixes that its program puts before every key.
        formats: Those of its files, as `Source.format`; empty for any.
        beside: What its files of a format hold beside the network: `{format: pattern of whole keys}`.
        recognise: Tells whether a file of one of `formats` that holds one of `tables`, or the one that they are alike,
            is of this family; the first family that says yes has it. None: each such file is, but none of an
            architecture that they are only alike.
        preprocessing: How its networks' inputs and labels were made.
        by_joints: The same, for numbers of joints that were treated otherwise.
        said: Finds what the plain values beside a file's weights say of its inputs.
        engines: Where the arithmetic of its tables exists.
        build: Makes the network of a file that fits no table out of the shapes of its keys, which are without wrappers;
            None where it sees none. What it makes is compared with the file as a table is.
        alike: The architecture whose names and shapes are those of its tables, if there is one: then a file is taken
            for this family's only where `recognise` says so or a user names it.
        writers: The versions of Chainer that it was written for.
        notice: What a user should know of how inputs are made, where the file does not say.
        otherwise: Says what else a network of it may be whose architecture neither a user nor our own file names, by
            its arrays and the plain values beside them; raises DeepPoseError where these say another network.
        anew: Whether a training that starts anew makes its inputs as `preprocessing` says, not as the legacy program.
        grown: Architectures of any number of stacks, for trainings that start anew: what makes the table of joints,
            stacks and a width, each of which may be None for its program's.
    """

    name: str
    title: str
    recognised: str
    done: str
    tables: Tables = field(default_factory=dict)
    naming: Mapping[str, Mapping[str, Substitutions]] = field(default_factory=dict)
    wrappers: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    beside: Mapping[str, str] = field(default_factory=dict)
    recognise: Callable[[Found], bool] | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    by_joints: Mapping[int, Preprocessing] = field(default_factory=dict)
    said: Callable[[Mapping[str, object]], Said] = lambda values: Said()
    engines: tuple[str, ...] = EVERY_ENGINE
    build: Callable[[Mapping[str, Shape]], Built | None] | None = None
    alike: str | None = None
    writers: Writers = field(default_factory=Writers)
    notice: str | None = None
    otherwise: Callable[[Architecture, Mapping[str, object]], str | None] = lambda architecture, values: None
    anew: bool = False
    grown: Mapping[str, Callable[[int, int | None, str | None], tuple[Layer, ...]]] = field(default_factory=dict)

    def holds(self, found: Found) -> bool:
        """Tells whether a file is of this family."""
        if self.tables and found.architecture not in self.tables:
            return False
        return self.alike is not None or self._recognises(found, otherwise=True)

    def may_build(self, found: Found) -> bool:
        """Tells whether a file, of which the architecture is not known, may hold a network that this family builds."""
        return self.build is not None and self._recognises(found, otherwise=True)

    def claims(self, found: Found) -> bool:
        """Tells whether a file is of this family although its names and shapes are those of another's network."""
        return self.alike == found.architecture and not found.own and self._recognises(found, otherwise=False)

    def _recognises(self, found: Found, otherwise: bool) -> bool:
        return self.has(found.format) and (otherwise if self.recognise is None else self.recognise(found))

    def has(self, format: str) -> bool:
        """Tells whether there are files of this family of a format."""
        return not self.formats or format in self.formats

    def preprocessing_for(self, joints: int) -> Preprocessing:
        """Returns how inputs and labels of a network with so many joints were made."""
        return self.by_joints.get(joints, self.preprocessing)


#: Every family by name, in the order in which they are asked.
FAMILIES: dict[str, Family] = {}


def register(family: Family) -> None:
    """Adds a family, and its tables to the architectures.

    Raises:
        ValueError: Another family, or another architecture, has a name of it already.
    """
    if family.name in FAMILIES:
        raise ValueError(f"there is another family {family.name!r} already")
    for name, layers in family.tables.items():
        add_table(name, layers, family.engines)
    FAMILIES[family.name] = family


def starting_preprocessing(architecture: str) -> Preprocessing:
    """Returns how a training that starts anew makes an architecture's inputs and labels, where nothing else is said."""
    anew = (family for family in FAMILIES.values() if family.anew)
    for family in anew:
        if architecture in family.tables:
            return family.preprocessing
        if architecture in family.grown:  # whose labels are made anew, by numbers of pixels
            return replace(family.preprocessing, peak="corner")
    return Preprocessing()


def grown(architecture: str) -> Callable[[int, int | None, str | None], tuple[Layer, ...]] | None:
    """Returns what makes the table of an architecture that may have any number of stacks; None for another."""
    return next((family.grown[architecture] for family in FAMILIES.values() if architecture in family.grown), None)


def family_of(found: Found) -> Family:
    """Returns the family that a file is of."""
    return next(family for family in FAMILIES.values() if family.holds(found))


def on_request() -> list[str]:
    """Returns the architectures that have the names and shapes of others."""
    return [name for family in FAMILIES.values() if family.alike is not None for name in family.tables]


def automatic() -> list[str]:
    """Returns the architectures that a file can be told to be, by its keys and shapes alone."""
    return [name for name in TABLES if name not in on_request()]


def others_alike(architecture: str, format: str | None = None) -> list[str]:
    """Returns the architectures that a file may hold as well as one that its names and shapes tell.

    Args:
        architecture: That one.
        format: The file's; None for those of any.
    """
    alike = [family for family in FAMILIES.values() if family.alike == architecture]
    return [name for family in alike if format is None or family.has(format) for name in family.tables]


def naming(architecture: str) -> dict[str, Substitutions]:
    """Returns every spelling of an architecture's layer names: `{names: substitutions in canonical names}`."""
    spellings: dict[str, Substitutions] = {CANONICAL: ()}
    for family in FAMILIES.values():
        spellings.update((names, each[architecture]) for names, each in family.naming.items() if architecture in each)
    return spellings
