"""Families that a test adds."""

from collections.abc import Iterator
from contextlib import contextmanager

from converters.families import FAMILIES, Family, register
from converters.networks import tables


@contextmanager
def registered(family: Family) -> Iterator[None]:
    """Adds a family as anybody would from outside, and takes it back."""
    kept = [(registry, dict(registry)) for registry in (FAMILIES, tables.TABLES, tables._ENGINES)]
    register(family)
    try:
        yield
    finally:
        for registry, before in kept:
            registry.clear()
            registry.update(before)
