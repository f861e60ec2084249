"""A skeleton from a user's file, TOML or JSON with the same keys; docs/data.md has an example with all of them.

Only `joints` is needed, in the order of the CSV's columns.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from converters.checkpoint import check_names
from converters.errors import DeepPoseError, reason_of
from converters.files import refuse_no_file
from deeppose_port.data.skeletons import End, Limb, Skeleton, as_left, named_by_ends, side

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: What is larger than this is no skeleton.
LARGEST = 1 << 20

#: What the numbers of the whole are called beside those of joints and limbs.
_OF_ALL = ("mean", "total")

_KEYS = ("name", "joints", "limbs", "symmetric", "torso", "head", "head_factor", "pckh_excluded", "opposing", "pcp")


def read(path: str | os.PathLike[str]) -> Skeleton:
    """Reads a skeleton.

    Args:
        path: A `.toml` or `.json` file.

    Raises:
        DeepPoseError: It cannot be read, or says something that is no skeleton. The message says what.
    """
    values = _content(Path(path))
    unknown = [key for key in values if key not in _KEYS]
    if unknown:
        raise DeepPoseError(f"`{unknown[0]}` is nothing of a skeleton; there are {', '.join(_KEYS)}", where=path)
    try:
        return _Reader(values).skeleton(Path(path).stem)
    except DeepPoseError as error:
        raise DeepPoseError(error.problem, where=path) from error


class _Reader:
    """Makes a skeleton of a file's values."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self.values = values
        joints = _texts(values.get("joints"), "joints")
        _check_names(joints, "joint")
        self.joints = joints

    def skeleton(self, name: str) -> Skeleton:
        """Returns the skeleton; `name` is what it is called where the file does not say."""
        name = _text(self.values.get("name", name), "name")
        limbs = tuple(self.pair(limb, "limbs") for limb in _items(self.values.get("limbs", ()), "limbs"))
        head, factor = self.values.get("head"), self.values.get("head_factor", 1.0)
        if not isinstance(factor, int | float) or isinstance(factor, bool) or not 0 < factor <= sys.float_info.max:
            raise DeepPoseError(f"`head_factor` is {factor!r}; it has to be a positive number")
        if head is None and "head_factor" in self.values:
            raise DeepPoseError("`head_factor` needs `head`, the two ends of the length")
        torso = self.values.get("torso")
        return Skeleton(
            name=name,
            joints=self.joints,
            symmetric_pairs=self.symmetric(),
            limbs=limbs,
            pcp_limbs=self.pcp(limbs),
            torso=None if torso is None else self.limb(torso, "torso"),
            head=None if head is None else self.limb(head, "head"),
            head_factor=float(factor),
            pckh_total_excluded=tuple(
                self.joint(joint, "pckh_excluded")
                for joint in _items(self.values.get("pckh_excluded", ()), "pckh_excluded")
            ),
            opposing=tuple(self.pair(pair, "opposing") for pair in _items(self.values.get("opposing", ()), "opposing")),
        )

    def symmetric(self) -> tuple[tuple[int, int], ...]:
        """Returns the pairs that the file names, or those that the joints' names tell."""
        if "symmetric" not in self.values:
            rights = {as_left(name): i for i, name in enumerate(self.joints) if side(name) == "right"}
            lefts = {as_left(name): i for i, name in enumerate(self.joints) if side(name) == "left"}
            return tuple((i, rights[name]) for name, i in lefts.items() if name in rights)
        pairs = tuple(self.pair(pair, "symmetric") for pair in _items(self.values["symmetric"], "symmetric"))
        twice = [joint for pair in pairs for joint in pair]
        if len(set(twice)) < len(twice):
            raise DeepPoseError("`symmetric` names a joint twice; each changes places with one other")
        return pairs

    def pcp(self, limbs: Sequence[tuple[int, int]]) -> dict[str, Limb]:
        """Returns PCP's limbs: those that the file names, or those of the drawing."""
        named = self.values.get("pcp")
        if named is None:
            return named_by_ends(self.joints, limbs)
        if not isinstance(named, Mapping):
            raise DeepPoseError("`pcp` is no table of names with the ends of a limb each")
        _check_names(tuple(named), "limb")
        return {name: self.limb(limb, f"pcp, {name}") for name, limb in named.items()}

    def limb(self, value: object, where: str) -> Limb:
        """Returns a limb whose ends are joints or means of joints."""
        start, end = self.two(value, where)
        limb = self.end(start, where), self.end(end, where)
        if limb[0] == limb[1]:
            raise DeepPoseError(f"`{where}` has the same joint at both ends")
        return limb

    def pair(self, value: object, where: str) -> tuple[int, int]:
        """Returns two different joints."""
        first, second = self.two(value, where)
        pair = self.joint(first, where), self.joint(second, where)
        if pair[0] == pair[1]:
            raise DeepPoseError(f"`{where}` has {first!r} with itself")
        return pair

    def two(self, value: object, where: str) -> tuple[object, object]:
        """Returns two of something."""
        items = _items(value, where)
        if len(items) != 2:
            raise DeepPoseError(f'`{where}` has {len(items)} where two are needed: ["one joint", "another"]')
        return items[0], items[1]

    def end(self, value: object, where: str) -> End:
        """Returns an end: a joint, or several."""
        if isinstance(value, str):
            return self.joint(value, where)
        joints = tuple(self.joint(joint, where) for joint in _items(value, where))
        if not joints:
            raise DeepPoseError(f"`{where}` has an end of no joint")
        return joints

    def joint(self, value: object, where: str) -> int:
        """Returns a joint's index."""
        if value not in self.joints:
            raise DeepPoseError(f"`{where}` names {value!r}, which is none of the joints")
        return self.joints.index(str(value))


def _check_names(names: Sequence[str], what: str) -> None:
    """Refuses names that cannot be shown, or that what an evaluation says of all joints or limbs has in JSON."""
    check_names(names, what)
    taken = next((name for name in names if name in _OF_ALL), None)
    if taken is not None:
        raise DeepPoseError(f"a {what} is called {taken!r}, as evaluations call the number of all {what}s")


def _content(path: Path) -> Mapping[str, object]:
    """Returns a file's values."""
    try:
        refuse_no_file(path, largest=LARGEST)
        text = path.read_text(encoding="utf-8-sig")
        values: object = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except OSError as error:
        raise DeepPoseError(f"cannot be read: {reason_of(error)}", where=path) from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, DeepPoseError):
            raise
        kind = "JSON" if path.suffix.lower() == ".json" else "TOML"
        raise DeepPoseError(f"not {kind} text ({reason_of(error)})", where=path) from error
    if not isinstance(values, Mapping):
        raise DeepPoseError("no object with the `joints` of a skeleton", where=path)
    return values


def _items(value: object, where: str) -> Sequence[object]:
    if not isinstance(value, list | tuple):
        raise DeepPoseError(f"`{where}` is {value!r}, which is no list")
    return value


def _texts(value: object, where: str) -> tuple[str, ...]:
    if value is None:
        raise DeepPoseError(f"it has no `{where}`, the names in the order of the CSV")
    return tuple(_text(item, where) for item in _items(value, where))


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise DeepPoseError(f"`{where}` has {value!r}, which is no text")
    return value
