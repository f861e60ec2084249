"""Dataclasses that cost nothing until the first of their kind is made.

`dataclasses` looks at each field and compiles six functions a class, half a millisecond. For the hundreds of classes
here that would be a third of the time in which the program starts, and a run makes values of a few. So the methods are
shared, those that freeze among them, fields are looked at when they are first asked for, and `__init__` is compiled for
classes with many values.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
import reprlib
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

#: So many values of a class are made before compiling its `__init__` is worth it.
_FEW = 30
#: One for all: a class waits for the one that it inherits from.
_lock = threading.RLock()

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(
        cls: type | None = None, /, *, frozen: bool = False, eq: bool = True, kw_only: bool = False
    ) -> type | Callable[[type], type]:
        """Does what `dataclasses.dataclass` does with these."""

        def made(cls: type) -> type:
            own = dict(vars(cls))
            for name, method in _methods(cls, frozen, eq).items():
                shown = "__init__" if name == "__signature__" else name
                if own.get(shown) is None:  # where there is an `__eq__`, there is a `__hash__` that is None
                    setattr(cls, name, method)
            inherits = any("__dataclass_fields__" in vars(base) for base in cls.__mro__[1:])
            freezes = frozen and not inherits and not own.keys() & {"__setattr__", "__delattr__"}
            fields = _Fields(cls, kw_only, frozen, freezes)
            for name in ("__dataclass_fields__", "__dataclass_params__", "__match_args__"):
                setattr(cls, name, _Later(name, fields))
            if freezes:
                cls.__setattr__, cls.__delattr__ = _freezing(cls, "assign to"), _freezing(cls, "delete")
            elif frozen and "__init__" in own:  # which asks for no fields, and what it makes is to be frozen as well
                fields.find()
            return cls

        return made if cls is None else made(cls)


class _Fields:
    """What makes a dataclass of a class, once.

    Args:
        cls: The class.
        kw_only: As for `dataclasses.dataclass`.
        frozen: As well.
        freezes: Whether the methods of its values freeze them already.
    """

    def __init__(self, cls: type, kw_only: bool, frozen: bool, freezes: bool) -> None:
        self._cls, self._kw_only, self._frozen, self._freezes = cls, kw_only, frozen, freezes
        self._found = False

    def find(self) -> None:
        """Looks at the fields; another thread waits until they are there."""
        with _lock:
            if not self._found:
                self._found = True
                del self._cls.__match_args__  # type: ignore[attr-defined]
                told = {"frozen": self._frozen and not self._freezes, "kw_only": self._kw_only}
                try:
                    dataclasses.dataclass(init=False, repr=False, eq=False, **told)(self._cls)
                except BaseException:  # a wrong definition, which is told each time
                    self._found = False
                    setattr(self._cls, "__match_args__", _Later("__match_args__", self))  # noqa: B010
                    raise
                self._cls.__dataclass_params__.frozen = self._frozen  # type: ignore[attr-defined]


class _Later:
    """A fact of a class that is found when it is first asked for."""

    def __init__(self, name: str, fields: _Fields) -> None:
        self._name, self._fields = name, fields

    def __get__(self, instance: object, owner: type) -> object:
        self._fields.find()
        return getattr(owner, self._name)


def _methods(cls: type, frozen: bool, eq: bool) -> Mapping[str, object]:
    """Returns what a class has where it says nothing else."""
    made = itertools.count()

    def init(self: object, *arguments: object, **named: object) -> None:
        if next(made) < _FEW:
            given = _given(cls, arguments, named)
            if given is not None:
                vars(self).update(given)
                if (after := getattr(self, "__post_init__", None)) is not None:
                    after()
                return
        init = _compiled_init(cls, frozen)
        type.__setattr__(cls, "__init__", init)
        init(self, *arguments, **named)

    methods: dict[str, object] = {"__init__": init, "__signature__": _Signature(cls), "__repr__": _shown}
    if eq:
        methods |= {"__eq__": _equal, "__hash__": _hash if frozen else None}
    return methods


def _freezing(cls: type, does: str) -> Callable[..., None]:
    """Returns the `__setattr__` or `__delattr__` of frozen values; a class that inherits may add to itself alone."""
    name = "__setattr__" if does == "assign to" else "__delattr__"

    def method(self: object, attribute: str, *value: object) -> None:
        if type(self) is cls or attribute in cls.__dataclass_fields__:  # type: ignore[attr-defined]
            raise dataclasses.FrozenInstanceError(f"cannot {does} field {attribute!r}")
        getattr(super(cls, self), name)(attribute, *value)

    return method


def _given(cls: type, arguments: Sequence[object], named: Mapping[str, object]) -> dict[str, object] | None:
    """Returns the values of a class's fields of what it is called with; None where it cannot be called so."""
    positional, fields = _parameters(cls)
    given = {**dict(zip(positional, arguments, strict=False)), **named}
    if len(given) < len(arguments) + len(named):
        return None
    if any(name not in fields or not fields[name].init for name in given):
        return None
    values: dict[str, object] = {}
    for name, field in fields.items():
        if name in given:
            values[name] = given[name]
        elif field.default is not dataclasses.MISSING:
            values[name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            values[name] = field.default_factory()
        else:
            return None
    return values


@functools.cache
def _parameters(cls: type) -> tuple[tuple[str, ...], Mapping[str, dataclasses.Field[object]]]:
    """Returns the fields that are told by their places, and all of them by name."""
    fields = {each.name: each for each in dataclasses.fields(cls)}
    return tuple(name for name, each in fields.items() if each.init and not each.kw_only), fields


def _compiled_init(cls: type, frozen: bool) -> Callable[..., None]:
    """Returns the `__init__` that `dataclasses` makes of the same fields."""
    fields = [(each.name, each.type, each) for each in dataclasses.fields(cls)]
    after = {"__post_init__": None} if hasattr(cls, "__post_init__") else {}
    twin = dataclasses.make_dataclass(cls.__name__, fields, namespace=after, repr=False, eq=False, frozen=frozen)
    made: Callable[..., None] = vars(twin)["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    return made


class _Signature:
    """What `inspect` shows of a class, before its first `__init__` too."""

    def __init__(self, cls: type) -> None:
        self._cls = cls

    def __get__(self, instance: object, owner: type) -> inspect.Signature:
        if owner is not self._cls:  # which may have an `__init__` of its own
            raise AttributeError("__signature__")
        signature = inspect.signature(_compiled_init(owner, frozen=False))
        _, *parameters = signature.parameters.values()
        return signature.replace(parameters=parameters)


@functools.cache
def _names(cls: type, only: str) -> tuple[str, ...]:
    """Returns the names of the fields that are compared, or shown."""
    return tuple(each.name for each in dataclasses.fields(cls) if getattr(each, only))


@functools.cache
def _hashed(cls: type) -> tuple[str, ...]:
    """Returns the names of the fields that are hashed: those that are compared, where a field says nothing else."""
    fields = dataclasses.fields(cls)
    return tuple(each.name for each in fields if (each.compare if each.hash is None else each.hash))


@reprlib.recursive_repr()
def _shown(self: object) -> str:
    values = [f"{name}={getattr(self, name)!r}" for name in _names(type(self), "repr")]  # type: ignore[arg-type]
    return f"{type(self).__qualname__}({', '.join(values)})"


def _compared(self: object) -> tuple[object, ...]:
    return tuple([getattr(self, name) for name in _names(type(self), "compare")])  # type: ignore[arg-type]


def _equal(self: object, other: object) -> bool:
    return _compared(self) == _compared(other) if other.__class__ is self.__class__ else NotImplemented


def _hash(self: object) -> int:
    return hash(tuple([getattr(self, name) for name in _hashed(type(self))]))  # type: ignore[arg-type]
