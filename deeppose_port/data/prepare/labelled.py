"""What tools for labelling pictures have in common: points with labels and groups, as persons of a skeleton."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from pathlib import Path, PurePosixPath

import numpy as np

from converters.checkpoint import LARGEST_NUMBER
from converters.errors import printable
from converters.values import dataclass
from deeppose_port.data.prepare.source import Annotation, PrepareError, Row, Source
from deeppose_port.data.prepare.splits import ROLES, drawn, role_of
from deeppose_port.data.skeletons import SKELETONS, Skeleton


@dataclass(frozen=True)
class Point:
    """A labelled point.

    Attributes:
        label: What it is called.
        x: Pixels of the picture.
        y: Likewise.
        group: Which person's, within the picture; None where nobody says.
        is_visible: 1 (seen), 0 (occluded) or None (not told).
    """

    label: str
    x: float
    y: float
    group: str | None = None
    is_visible: int | None = None


@dataclass
class LeftOut:
    """What is left out, by its reason, with where it is."""

    places: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, place: str) -> None:
        """Counts one."""
        self.places.setdefault(reason, []).append(place)

    def rows(self) -> list[Row]:
        """Returns a line for each reason, which names the first few."""
        return [Row(f"left out: {reason}", len(places), _some(places)) for reason, places in self.places.items()]


def _some(places: Sequence[str], at_most: int = 3) -> str:
    """Names the first of some files or entries."""
    more = len(places) - at_most
    return printable("; ".join(places[:at_most]) + (f" and {more:,} more" if more > 0 else ""))


def joint_name(label: str) -> str:
    """Returns a label as joints are called: `Left_Shoulder` and `left-shoulder` are the left shoulder."""
    return " ".join(re.split(r"[\s_-]+", label.strip().lower()))


def skeleton_of(labels: Iterable[str], asked: Skeleton | None, path: Path) -> Skeleton:
    """Returns the skeleton that was asked for, or the one whose joints the labels are.

    Raises:
        PrepareError: Nothing tells, or none of the labels is one of the skeleton's joints.
    """
    names = {joint_name(label) for label in labels}
    if asked is not None:
        if names.isdisjoint(map(joint_name, asked.joints)):
            raise PrepareError(
                f"{path}: none of its labels is a joint of {asked.name}: it has {_listed(names)}, and the joints are "
                f"{', '.join(asked.joints)}"
            )
        return asked
    known = [skeleton for skeleton in SKELETONS.values() if set(map(joint_name, skeleton.joints)) == names]
    if len(known) != 1:
        raise PrepareError(
            f"{path}: nothing tells what its joints are and their order; --skeleton does, by a name or a .toml or "
            f".json file with `joints`. Its labels are {_listed(names)}"
        )
    return known[0]


def _listed(names: Iterable[str], at_most: int = 40) -> str:
    found = sorted(names)
    return printable(", ".join(found[:at_most]) + (", …" if len(found) > at_most else "")) or "none"


def persons_of(
    file: str, points: Iterable[Point], skeleton: Skeleton, left_out: LeftOut, where: str
) -> list[Annotation]:
    """Returns the persons of a picture, by their groups; points without a group are one person more.

    A joint that a person has twice, and a place that is no number, leave the person out; labels of other things are
    counted.
    """
    index = {joint_name(joint): i for i, joint in enumerate(skeleton.joints)}
    groups: dict[str | None, list[tuple[int, Point]]] = {}
    for point in points:
        joint = index.get(joint_name(point.label))
        if joint is None:
            left_out.add("a label that is no joint", f"{where}: {point.label}")
        else:
            groups.setdefault(point.group, []).append((joint, point))
    persons = []
    for group, members in groups.items():
        person = f"{where}{'' if group is None else f', group {group}'}"
        if not all(math.isfinite(point.x) and math.isfinite(point.y) for _, point in members):
            left_out.add("a place that is no number", person)
            continue
        twice = next((j for i, (j, _) in enumerate(members) if j in {k for k, _ in members[:i]}), None)
        if twice is not None:
            reason = "a joint twice" + (" (several persons need group ids)" if group is None else "")
            left_out.add(reason, f"{person}: {skeleton.joints[twice]}")
            continue
        joints = np.full((len(skeleton.joints), 2), np.nan)
        seen: list[int | None] = [None] * len(skeleton.joints)
        for joint, point in members:
            joints[joint] = point.x, point.y
            seen[joint] = point.is_visible
        told = tuple(seen) if any(flag is not None for flag in seen) else None
        persons.append(Annotation(file, joints, is_visible=told))
    return persons


def split(persons: Mapping[str, Sequence[Annotation]]) -> tuple[dict[str, list[Annotation]], str]:
    """Parts persons, by their picture's key, into those to train and those to test, and says how.

    The folders `train` and `val` or `test` do, where both are there; otherwise a random tenth of the pictures tests.
    """
    roles = {key: role_of(PurePosixPath(key).parts[0]) if "/" in key else None for key in persons}
    if set(roles.values()) == set(ROLES):
        how = "by their folders, train and val or test"
        return {role: [p for key, own in persons.items() if roles[key] == role for p in own] for role in ROLES}, how
    keys = sorted(persons)
    test = {keys[i] for i in drawn(len(keys))[0]}
    parts = {
        "train": [person for key in keys if key not in test for person in persons[key]],
        "test": [person for key in keys if key in test for person in persons[key]],
    }
    return parts, "a random tenth of the pictures tests"


def source_of(
    persons: Mapping[str, Sequence[Annotation]],
    skeleton: Skeleton,
    left_out: LeftOut,
    rows: Sequence[Row],
    pictures: Path,
    published: str,
) -> Source:
    """Makes the source of persons by their picture."""
    parts, how = split(persons)
    count = sum(map(len, persons.values()))
    return Source(
        skeleton=skeleton,
        splits=parts,
        published=published,
        rows=[*rows, Row("persons", count, how), *left_out.rows()],
        pictures=pictures,
    )


def picture_name(told: str, beside: PurePosixPath, folder: Path) -> str:
    """Returns a picture's name in the pictures' folder, wherever the tool that wrote the path was running.

    Args:
        told: The path in the file, of any system, relative to the file's folder.
        beside: The file's folder, relative to the folder of all files.
        folder: The pictures'.
    """
    parts = [part for part in PurePosixPath(told.replace("\\", "/")).parts if part not in ("/", "..", ".")]
    tries = [PurePosixPath(*beside.parts, *parts), PurePosixPath(*parts), PurePosixPath(*parts[-1:])]
    there = (name for name in tries if name.parts and (folder / name).is_file())
    return str(next(there, tries[-1]))


def is_number(value: object) -> bool:
    """Tells whether a value of JSON is a number that a coordinate may be."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_NUMBER
