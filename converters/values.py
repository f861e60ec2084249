"""Dataclasses that cost little until the first of their kind is made.

`dataclasses` compiles six functions a class, half a millisecond. For the hundreds of classes here that would be a third
of the time in which the program starts, and a run makes values of a few. So the methods are shared, and `__init__` is
compiled when it is first called.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import reprlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(
        cls: type | None = None, /, *, frozen: bool = False, eq: bool = True, kw_only: bool = False
    ) -> type | Callable[[type], type]:
        """Does what `dataclasses.dataclass` does with these."""

        def made(cls: type) -> type:
            own = dict(vars(cls))
            cls = dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=kw_only)(cls)
            for name, method in _methods(cls, frozen, eq).items():
                shown = "__init__" if name == "__signature__" else name
                if own.get(shown) is None:  # where there is an `__eq__`, there is a `__hash__` that is None
                    setattr(cls, name, method)
            return cls

        return made if cls is None else made(cls)


def _methods(cls: type, frozen: bool, eq: bool) -> Mapping[str, object]:
    """Returns what a class has where it says nothing else."""

    def init(self: object, *arguments: object, **named: object) -> None:
        type.__setattr__(cls, "__init__", _compiled_init(cls, frozen))
        getattr(cls, "__init__")(self, *arguments, **named)  # noqa: B009 - which is another one now

    def refuse_to_set(self: object, name: str, value: object) -> None:
        if type(self) is cls or name in _names(cls):
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        object.__setattr__(self, name, value)

    def refuse_to_delete(self: object, name: str) -> None:
        if type(self) is cls or name in _names(cls):
            raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
        object.__delattr__(self, name)

    methods: dict[str, object] = {"__init__": init, "__signature__": _Signature(cls), "__repr__": _shown}
    if eq:
        methods |= {"__eq__": _equal, "__hash__": _hash if frozen else None}
    if frozen:
        methods |= {"__setattr__": refuse_to_set, "__delattr__": refuse_to_delete}
    return methods


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
def _names(cls: type, only: str = "") -> tuple[str, ...]:
    """Returns the names of the fields that are compared, or shown, or all of them."""
    return tuple(each.name for each in dataclasses.fields(cls) if not only or getattr(each, only))


@reprlib.recursive_repr()
def _shown(self: object) -> str:
    values = [f"{name}={getattr(self, name)!r}" for name in _names(type(self), "repr")]  # type: ignore[arg-type]
    return f"{type(self).__qualname__}({', '.join(values)})"


def _compared(self: object) -> tuple[object, ...]:
    return tuple([getattr(self, name) for name in _names(type(self), "compare")])  # type: ignore[arg-type]


def _equal(self: object, other: object) -> bool:
    return _compared(self) == _compared(other) if other.__class__ is self.__class__ else NotImplemented


def _hash(self: object) -> int:
    return hash(_compared(self))
