"""What names in a source stand for while it is followed.

Numbers, strings, tuples, lists and dictionaries of Python are themselves. The rest is here. What nothing is known of is
an `Unknown`: it may go anywhere, but the network's answer must not depend on it.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import field
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from converters.networks.source.errors import Place
from converters.networks.source.graph import Node
from converters.values import dataclass

if TYPE_CHECKING:
    from converters.networks.source.context import Context

#: The shape of a parameter; a side is None where the framework waits for the first input to tell it.
ParameterShape: TypeAlias = tuple[int | None, ...]


@dataclass(frozen=True)
class Unknown:
    """Something that is not known.

    Attributes:
        what: What it is, as the source spells it.
        place: Where.
        known: What is known beside it.
        elsewhere: Whether another file defines it.
    """

    what: str
    place: Place
    known: tuple[str, ...] = ()
    elsewhere: bool = False


@dataclass(frozen=True)
class Given(Unknown):
    """Something that is not known, but is there: an argument that a call has to give."""


@dataclass(frozen=True)
class Mode:
    """Whether the network trains, or not; which of both is followed is the evaluator's choice."""

    value: bool


@dataclass(frozen=True)
class Trains:
    """The framework's own word for whether the network trains."""


class Batch:
    """The number of examples in a batch."""


BATCH = Batch()


@dataclass(frozen=True)
class Everything:
    """The number of numbers that a value has in a batch."""

    value: Tensor


@dataclass(eq=False)
class Memory:
    """What a value and the views of it share.

    Attributes:
        changed: The line that changed it through one of them, so that the others are no longer known; None if none did.
    """

    changed: Place | None = None


@dataclass(eq=False)
class Tensor:
    """A value of the network; a layer that works in place changes which one it is."""

    node: Node
    memory: Memory = field(default_factory=Memory)

    @property
    def shape(self) -> tuple[object, ...]:
        """Its shape as the source sees it: the batch first, and sides that know whose they are."""
        sides: list[object] = [BATCH]
        for axis, length in enumerate(self.node.shape):
            fixed = self.node.static or (axis == 0 and len(self.node.shape) == 3)
            sides.append(length if fixed else Traced(length, Side(self.node, axis)))
        return tuple(sides)


@dataclass(frozen=True, eq=False)
class Array:
    """An array that a source makes itself, or a parameter or a buffer of a network.

    Attributes:
        shape: Its shape; the sides may know where they come from.
        numbers: Its numbers; None where these are not known; of a parameter or a buffer those that it begins with.
        owner: Of a parameter or a buffer the object that has it, and its name there.
        stored: The shape of that in files.
        trained: Whether it is a parameter.
    """

    shape: tuple[int, ...]
    numbers: npt.NDArray[np.number] | None
    owner: tuple[Instance, str] | None = None
    stored: tuple[int, ...] = ()
    trained: bool = False


# --- whole numbers that know where they come from ---------------------------------------------------------------------


@dataclass(frozen=True)
class Argument:
    """A whole number among the arguments that a class is made with."""

    path: tuple[str | int, ...]


@dataclass(frozen=True)
class Side:
    """A length of a value's shape, which is another one for other inputs."""

    node: Node
    axis: int


@dataclass(frozen=True)
class Binary:
    """Two numbers, at least one of which knows where it comes from, under an operator."""

    operator: str
    left: object
    right: object


Origin: TypeAlias = Argument | Side | Binary


class Traced(int):
    """A whole number that knows where it comes from."""

    origin: Origin

    def __new__(cls, value: int, origin: Origin) -> Traced:
        """Makes one."""
        traced = super().__new__(cls, value)
        traced.origin = origin
        return traced


class Probe(Traced):
    """A number in place of an argument without a default, as long as nothing tells what it is."""


class TracedFloat(float):
    """The same of a fraction."""

    origin: Origin

    def __new__(cls, value: float, origin: Origin) -> TracedFloat:
        """Makes one."""
        traced = super().__new__(cls, value)
        traced.origin = origin
        return traced


def origins(value: object) -> Iterator[Argument | Side]:
    """Yields where a number comes from."""
    if isinstance(value, Traced | TracedFloat):
        yield from origins(value.origin)
    elif isinstance(value, Binary):
        yield from origins(value.left)
        yield from origins(value.right)
    elif isinstance(value, Argument | Side):
        yield value


def traced(value: object, name: str, left: object, right: object) -> object:
    """Returns a number with where it comes from, if one of its two parts knows."""
    if any(isinstance(part, Traced | TracedFloat) for part in (left, right)):
        origin = Binary(name, left, right)
        if isinstance(value, int) and not isinstance(value, bool):
            return Traced(value, origin)
        if isinstance(value, float):
            return TracedFloat(value, origin)
    return value


def solve(value: object, result: int, known: Callable[[Argument], bool]) -> tuple[Argument, float] | None:
    """Solves `value == result` for the one argument in it that is not known.

    Returns:
        The argument and what it has to be; None if there is no such one, or nothing but trying tells.
    """
    unsolved = {origin for origin in origins(value) if isinstance(origin, Argument) and not known(origin)}
    if len(unsolved) != 1:
        return None
    (argument,) = unsolved
    part, wanted = value, float(result)
    while True:
        part = part.origin if isinstance(part, Traced | TracedFloat) else part
        if part == argument:
            return argument, wanted
        if not isinstance(part, Binary):
            return None
        inside = [argument in set(origins(side)) for side in (part.left, part.right)]
        if all(inside):  # the argument twice: its sum with itself alone
            if part.left != part.right or part.operator != "Add":
                return None
            part, wanted = part.left, wanted / 2
            continue
        other = part.right if inside[0] else part.left
        if not isinstance(other, int | float) or (part.operator in ("Mult", "Div") and not other):
            return None
        match part.operator:
            case "int":
                pass
            case "Add":
                wanted -= other
            case "Sub":
                wanted = wanted + other if inside[0] else other - wanted
            case "Mult":
                wanted /= other
            case "Div" if inside[0]:
                wanted *= other
            case _:
                return None
        part = part.left if inside[0] else part.right


# --- functions and classes --------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Scope:
    """Names of a function or a class that is being followed.

    Attributes:
        program: The file that it stands in.
        names: What they stand for.
        outer: The scope around it; None is the file.
        owner: The class whose method is followed, and its instance: what `super()` means.
        comprehension: Whether it is a comprehension's, in which `:=` binds a name of the scope around it.
    """

    program: Program
    names: dict[str, object]
    outer: Scope | None = None
    owner: tuple[Class, object] | None = None
    comprehension: bool = False


@dataclass(eq=False)
class Program:
    """A file: its name, and the names in it.

    Attributes:
        file: Its name.
        names: Name -> what it stands for, or the statement that will tell.
        replaced: (name, attribute) -> the line in which the file itself changes it.
        readers: Name -> the names that were made with what it meant then, and by what.
        hidden: Whether its lines say nothing to a user, so that what is refused in them is refused where it is called.
        stars: Modules whose every name was imported.
    """

    file: str
    names: dict[str, object] = field(default_factory=dict)
    replaced: dict[tuple[str, str], int] = field(default_factory=dict)
    readers: dict[str, dict[str, ast.AST]] = field(default_factory=dict)
    hidden: bool = False
    stars: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Later:
    """A name of a file whose value is worked out when somebody asks.

    Attributes:
        node: What tells it.
        changed: Names that it reads where it stands, and that mean something else at the file's end -> the line.
    """

    node: ast.expr | ast.FunctionDef | ast.ClassDef
    changed: tuple[tuple[str, int], ...] = ()


@dataclass(eq=False)
class Function:
    """A function or lambda of the source."""

    node: ast.FunctionDef | ast.Lambda
    scope: Scope
    defaults: list[object]
    keyword_defaults: list[object]
    owner: Class | None = None
    kind: str = "function"

    @property
    def name(self) -> str:
        """Its name."""
        return self.node.name if isinstance(self.node, ast.FunctionDef) else "lambda"


@dataclass(eq=False)
class Bound:
    """A function with its first argument."""

    function: Function
    first: object


@dataclass(eq=False)
class Class:
    """A class of the source.

    Attributes:
        name: Its name.
        node: Where it stands.
        program: The file.
        bases: What it is made from.
        names: Its methods and constants.
        order: It and its bases, in the order in which names are looked up.
    """

    name: str
    node: ast.ClassDef
    program: Program
    bases: tuple[object, ...]
    names: dict[str, object]
    order: list[Class | type[Native]] = field(default_factory=list)

    def find(self, name: str, after: Class | None = None) -> tuple[Class, object] | None:
        """Looks a name up in the source's own classes; those behind `after`, if given."""
        order = self.order if after is None else self.order[self.order.index(after) + 1 :]
        for one in order:
            if isinstance(one, Class) and name in one.names:
                return one, one.names[name]
        return None

    @property
    def native(self) -> type[Native] | None:
        """The framework's class that it is made from."""
        return next((one for one in self.order if not isinstance(one, Class)), None)


@dataclass(eq=False)
class Instance:
    """An object of a class of the source or of a framework.

    Attributes:
        kind: Its class.
        attributes: What was set on it.
        children: The objects with parameters that are registered in it.
        native: What its framework makes of it; None before the framework's own `__init__`.
    """

    kind: Class | type[Native]
    attributes: dict[str, object] = field(default_factory=dict)
    children: dict[str, Instance] = field(default_factory=dict)
    native: Native | None = None

    @property
    def name(self) -> str:
        """The name of its class."""
        return self.kind.name if isinstance(self.kind, Class) else self.kind.spelled


class Native:
    """A framework's class, as far as a network needs it; subclasses have its arguments.

    Methods that a source may call are named `do_…`.

    Attributes:
        spelled: Its name in the framework.
        framework: `chainer` or `torch`.
        instance: The object of the source.
        settings: Attributes that a call of it asks for, so that setting one of them makes it another.
        hooks: Functions of the source that every call of it leads through: whether before it, and which.
        parameters: The shapes of its own parameters and statistics, by canonical name (`weight`, `running_mean`).
        optional: Those of them that a file may lack.
    """

    spelled: ClassVar[str] = ""
    framework: ClassVar[str] = ""
    settings: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, c: Context) -> None:
        self.parameters: dict[str, ParameterShape] = {}
        self.optional: set[str] = set()

    instance: Instance
    hooks: list[tuple[bool, object]]

    def forward(self, c: Context, *arguments: Any, **keywords: Any) -> object:  # each has the framework's own
        """Returns what a call of the object gives."""
        return c.unknown(f"a call of {self.spelled}")

    def attribute(self, c: Context, name: str) -> object:
        """Returns an attribute that neither the source nor a method has."""
        return c.unknown(f"{self.spelled}.{name}")

    def set(self, c: Context, name: str, value: object) -> None:
        """Sets an attribute."""
        self.instance.attributes[name] = value

    def add(self, c: Context, other: object) -> object:
        """Returns `self + other`."""
        c.fail(f"{self.spelled} and {c.spell(other)} under Add are not known")

    def keep(self, c: Context, name: str, value: Array, trained: bool) -> None:
        """Registers a parameter, or a buffer, which a file has under its name."""
        from converters.keys import canonical_name

        part = canonical_name(name)
        if part in self.parameters:  # in the place of another: what it begins with says nothing
            return
        self.parameters[part] = value.shape
        self.instance.attributes[name] = Array(value.shape, value.numbers, (self.instance, name), value.shape, trained)

    def change(self, c: Context, name: str, value: object) -> None:
        """Sets one of the `settings`."""
        setattr(self, name, value)

    def items(self, c: Context) -> list[object] | None:
        """Returns what a loop over it goes through; None if it is no container."""
        return None

    def item(self, c: Context, key: object) -> object:
        """Returns `self[key]`."""
        return c.unknown(f"{self.spelled}[…]")

    def set_item(self, c: Context, key: object, value: object) -> None:
        """Does `self[key] = value`."""
        c.fail(f"{self.spelled}[…] = … is not known")

    def delete_item(self, c: Context, key: object) -> None:
        """Does `del self[key]`."""
        c.fail(f"del {self.spelled}[…] is not known")


@dataclass(eq=False)
class Parser:
    """`argparse`'s parser of a command line: the arguments with their defaults."""

    defaults: dict[str, object]


@dataclass(eq=False)
class Parsed:
    """A command line that says nothing: each argument is its default."""

    values: dict[str, object]


class Attributes(dict[str, object]):
    """An object's `__dict__`, which is read and not written."""


@dataclass(eq=False)
class NativeFunction:
    """A function of a framework or of Python."""

    name: str
    call: Callable[..., object]


@dataclass(eq=False)
class NativeMethod:
    """A method of a native object, bound to it."""

    name: str
    call: Callable[..., object]


@dataclass(frozen=True)
class Namespace:
    """A module or package that is known, in part, by its dotted name."""

    name: str


@dataclass(frozen=True)
class Bundled:
    """A name in a source that comes with this project."""

    file: str
    name: str


@dataclass(frozen=True)
class Super:
    """`super()`: the names of an object's class behind one of its bases."""

    behind: Class
    object: object


@dataclass(frozen=True)
class Partial:
    """`functools.partial(function, …)`."""

    function: object
    arguments: tuple[object, ...]
    keywords: dict[str, object]


@dataclass(frozen=True)
class Switch:
    """A context manager that changes nothing that counts, or registers what is set within it (`init_scope`)."""

    enter: Callable[[], None] | None = None
    leave: Callable[[], None] | None = None
