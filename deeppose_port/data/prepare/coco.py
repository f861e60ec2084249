"""COCO keypoints: `person_keypoints_train2017.json` and its like, COCO's own joints or those of the file's category.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; https://cocodataset.org/#format-data. A keypoint is
x, y and a flag: 0 for not labelled, 1 for labelled and not seen, 2 for seen. Coordinates are written as they stand.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from converters.errors import printable
from converters.files import json_of
from converters.values import dataclass
from deeppose_port.data.prepare.labelled import LeftOut, is_number, joint_name, skeleton_of, split
from deeppose_port.data.prepare.source import (
    Annotation,
    PrepareError,
    Row,
    Source,
    Wanted,
    find,
    refuse_none,
    refuse_several,
)
from deeppose_port.data.prepare.splits import role_of
from deeppose_port.data.skeletons import COCO, Skeleton

PATTERNS = ("person_keypoints_train*.json", "person_keypoints_val*.json")
PUBLISHED = "https://cocodataset.org/#download (annotations_trainval2017.zip; pictures: train2017.zip, val2017.zip)"

#: The largest file that is read: that of 2017's training set has 239 MB.
LARGEST = 1 << 29

#: MPII's scale is a person's height in units of this many pixels.
SCALE = 200.0


def read(source: Path, wanted: Wanted) -> Source:
    """Reads COCO's keypoints.

    A file that its name says to be of the training set, or of the validation or test set, is that split; of any other a
    random tenth of the pictures tests. Crowds are left out. The middle of a person's box becomes the centre in the side
    file, and its height over 200 pixels the scale.

    Args:
        source: A JSON file, or a folder with `person_keypoints_train*.json`, `person_keypoints_val*.json` or both.
        wanted: The skeleton, by default COCO's; of another one the joints are found by the names that the file's
            category gives its keypoints. Its pictures' folder; by default `images` beside the annotations or one folder
            up, or one of these with the folder that the annotations are named after, as `val2017`.

    Raises:
        PrepareError: There is no such file, it is damaged or in another form, or its keypoints are not the skeleton's.
    """
    files = find(source, PATTERNS)
    refuse_none(files, source, f"no {' or '.join(PATTERNS)} in it; COCO publishes them at {PUBLISHED}")
    roles = [role_of(file.stem) for file in files]
    if len(files) > 1 and (None in roles or len(set(roles)) < len(files)):
        refuse_several(files, source)
    left_out, rows = LeftOut(), list[Row]()
    splits: dict[str, list[Annotation]] = {}
    folder = _folder(files, wanted)
    skeleton = wanted.skeleton
    for file, role in zip(files, roles, strict=True):
        content = _content(file)
        place = _Places(file, content, skeleton)
        skeleton = place.skeleton
        prefix = _named_after(file, folder)
        persons = place.persons(prefix, left_out)
        if role is None:
            parts, how = split(persons)
            splits |= parts
        else:
            splits[role], how = [person for own in persons.values() for person in own], f"to {role}, by the file's name"
        rows.append(Row(f"persons in {file.name}", sum(map(len, persons.values())), how))
        if place.crowds:
            rows.append(Row("left out: crowds", place.crowds, "iscrowd: many persons in one entry"))
    assert skeleton is not None
    return Source(
        skeleton=skeleton,
        splits={role: splits[role] for role in ("train", "test") if role in splits},
        published=PUBLISHED,
        rows=[*rows, *left_out.rows()],
        pictures=folder,
    )


class _Content(NamedTuple):
    """What a file lists."""

    images: list[object]
    annotations: list[object]
    categories: list[object]


def _content(file: Path) -> _Content:
    """Reads a file.

    Raises:
        PrepareError: It is none of COCO's.
    """
    content = json_of(file, PrepareError, LARGEST)
    lists = [content.get(name) for name in _Content._fields] if isinstance(content, dict) else []
    found = [value for value in lists if isinstance(value, list)]
    if len(found) < len(_Content._fields):
        raise PrepareError(f"{file}: it has no `images`, `annotations` and `categories`, as COCO's keypoints have")
    return _Content(*found)


@dataclass(frozen=True)
class _Category:
    """A category with keypoints: where each joint of the skeleton is among them, and how many there are."""

    places: tuple[int, ...]
    count: int


class _Places:
    """The persons of one file."""

    def __init__(self, file: Path, content: _Content, asked: Skeleton | None) -> None:
        self.file, self._content, self.crowds = file, content, 0
        names = dict(_categories(file, content.categories))
        if not names:
            raise PrepareError(f"{file}: none of its categories has `keypoints`; is it the file of boxes alone?")
        labels = [label for own in names.values() for label in own]
        told = None if set(map(joint_name, labels)) == set(COCO.joints) else skeleton_of(labels, asked, file)
        self.skeleton = asked or told or COCO
        self._categories = {}
        for key, own in names.items():
            there = {joint_name(name): place for place, name in enumerate(own)}
            missing = [joint for joint in self.skeleton.joints if joint_name(joint) not in there]
            if missing:
                problem = f"category {key} has no keypoint {', '.join(missing)}, which {self.skeleton.name} has"
                raise PrepareError(f"{file}: {problem}; it has {printable(', '.join(own))}")
            places = tuple(there[joint_name(joint)] for joint in self.skeleton.joints)
            self._categories[key] = _Category(places, len(own))

    def persons(self, prefix: str, left_out: LeftOut) -> dict[str, list[Annotation]]:
        """Returns the persons by their picture, in the order of the file."""
        names: dict[object, str] = {}
        for image in self._content.images:
            told = image if isinstance(image, dict) else {}
            file, key = told.get("file_name"), told.get("id")
            if not isinstance(file, str) or not file or not isinstance(key, int | str):
                left_out.add("a picture without `id` or `file_name`", f"{self.file.name}: {str(image)[:60]}")
            else:
                name = file.replace("\\", "/")
                names[key] = name if name.startswith(prefix) else prefix + name
        found: dict[str, list[Annotation]] = {}
        seen = Counter[object]()
        for entry in self._content.annotations:
            called = entry.get("id") if isinstance(entry, dict) else str(entry)[:40]
            where = f"{self.file.name}, annotation {called}"
            try:
                person = self._person(entry, names)
            except PrepareError as error:
                left_out.add(error.problem, where)
                continue
            key = _key(called)
            seen[key] += 1
            if person is not None and key is not None and seen[key] > 1:
                left_out.add("an `id` that an entry before has", where)
            elif person is not None:
                found.setdefault(person.file, []).append(person)
        return found

    def _person(self, entry: object, names: Mapping[object, str]) -> Annotation | None:
        """Returns the person of an entry; None for what is none, a crowd or another category's thing.

        Raises:
            PrepareError: The entry is damaged; it says how.
        """
        if not isinstance(entry, dict):
            raise PrepareError("an entry that is no object")
        category = self._categories.get(_key(entry.get("category_id")))
        if category is None:
            return None
        if entry.get("iscrowd"):
            self.crowds += 1
            return None
        file = names.get(_key(entry.get("image_id")))
        if file is None:
            raise PrepareError("an `image_id` of no picture")
        numbers = entry.get("keypoints")
        if not isinstance(numbers, list) or len(numbers) != 3 * category.count or not all(map(is_number, numbers)):
            raise PrepareError(f"`keypoints` that are not {category.count} times x, y and a flag")
        points = np.array(numbers, np.float64).reshape(-1, 3)[list(category.places)]
        if not np.isin(points[:, 2], (0, 1, 2)).all():
            raise PrepareError("a flag of a keypoint that is none of 0, 1 and 2")
        labelled = points[:, 2] > 0
        joints = np.where(labelled[:, np.newaxis], points[:, :2], np.nan)
        visible = tuple(int(flag == 2) if flag else None for flag in points[:, 2].tolist())
        box = entry.get("bbox")
        if box is None:
            return Annotation(file, joints, is_visible=visible)
        if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)) or not min(box[2:]) > 0:
            raise PrepareError("a `bbox` that is not x, y, width and height")
        x, y, width, height = map(float, box)
        centre = (x + width / 2, y + height / 2)
        return Annotation(file, joints, is_visible=visible, centre=centre, scale=height / SCALE)


def _categories(file: Path, categories: Sequence[object]) -> Iterator[tuple[object, list[str]]]:
    """Yields the names of the keypoints of each category that has some."""
    for category in categories:
        told = category if isinstance(category, dict) else {}
        names = told.get("keypoints")
        if names and (not isinstance(names, list) or not all(isinstance(name, str) for name in names)):
            raise PrepareError(f"{file}: the `keypoints` of a category are not names")
        if names:
            yield _key(told.get("id")), names


def _folder(files: Sequence[Path], wanted: Wanted) -> Path | None:
    """Returns the pictures' folder: the one that was asked for, or one beside the annotations or one folder up."""
    if wanted.images is not None:
        return wanted.images
    here = Path(os.path.abspath(files[0])).parent  # of a relative one too there is a folder one up
    around = [here, here.parent]
    folders = [*(folder / "images" for folder in around), *around]
    named = [folder for folder in folders if any(_named_after(file, folder) for file in files)]
    return next(iter([*named, *(folder for folder in folders[:2] if folder.is_dir())]), None)


def _named_after(file: Path, folder: Path | None) -> str:
    """Returns `val2017/` for `person_keypoints_val2017.json` where the pictures' folder has such a folder."""
    name = file.stem.rpartition("_")[2]
    return f"{name}/" if folder is not None and (folder / name).is_dir() else ""


def _key(value: object) -> object:
    return value if isinstance(value, int | str) else None
