"""Which persons train and which test: what names of folders and files say, and what the legacy program drew."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

#: Seed of the legacy program's splits, and the part of the persons that is the test set.
SEED, TEST_PART = 1701, 0.1
#: What files and folders of a split are called, by a word of their names; of several the first.
ROLES: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "test": ("validation", "valid", "val", "test", "testing"),
}


def words_of(name: str) -> set[str]:
    """Returns the words of a name, in small letters."""
    return set(re.split(r"[^a-z]+", name.lower()))


def role_of(name: str) -> str | None:
    """Returns what a folder's or a file's name says of the split; None for nothing, and for both."""
    found = [role for role, called in ROLES.items() if words_of(name) & set(called)]
    return found[0] if len(found) == 1 else None


def shuffled(count: int) -> list[int]:
    """Returns the numbers below `count` in an order by chance, always the same."""
    order: list[int] = np.random.RandomState(SEED).permutation(count).tolist()
    return order


def drawn(count: int) -> tuple[list[int], list[int]]:
    """Returns which of so many test, a tenth of them, and which train, in the order in which they were drawn."""
    order, tested = shuffled(count), int(TEST_PART * count)
    return order[:tested], order[tested:]
