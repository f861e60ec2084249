"""MPII Human Pose: the authors' MATLAB file, or the JSON that its users have made of it.

Andriluka, Pishchulin, Gehler and Schiele, "2D Human Pose Estimation: New Benchmark and State of the Art Analysis", CVPR
2014. Coordinates are written as they stand, in both forms counted from 1 as MATLAB does: the first person of the
validation JSON has the joints of the published ground truth, with which MPII's own head boxes and predictions agree.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

import numpy as np

from converters.files import json_of
from deeppose_port.data.arrays import Float64Array
from deeppose_port.data.pictures import find_picture
from deeppose_port.data.prepare import matlab
from deeppose_port.data.prepare.source import (
    Annotation,
    PrepareError,
    Row,
    Source,
    Wanted,
    find,
    pictures_of,
    the_only,
    unexpected,
)
from deeppose_port.data.prepare.splits import ROLES, drawn, role_of, words_of
from deeppose_port.data.references import HEAD_BOXES, SUFFIX

PATTERN = "mpii_human_pose_v1*.mat"
PUBLISHED = "http://human-pose.mpi-inf.mpg.de (mpii_human_pose_v1_u12_2.zip; pictures: mpii_human_pose_v1.tar.gz)"
JOINTS = 16
UPPER_NECK, HEAD_TOP = 8, 9

#: Pictures of the release, and persons with all joints, of whom the legacy program counts 17,928 + 1,991.
PICTURES, PERSONS = 24987, 19919

#: Published head sizes are this part of the distance from the upper neck to the top of the head: in 98.5 % of the 2,932
#: persons of the validation set who have both joints to within 1 %, because these joints were made from the head box.
NECK_TO_HEAD = 0.75

#: The validation JSON's published ground truth, which has the head boxes.
GROUND_TRUTH = ("gt_valid.mat", "mpii_gt_val.mat")

#: The JSON of all persons has 20 to 40 MB; what is larger than this is something else.
LARGEST_JSON = 1 << 27

#: The JSON files that have both splits.
WHOLE = ("mpii_annotations.json", "mpi_annotations.json")

Box = tuple[float, float, float, float]


def read(source: Path, wanted: Wanted) -> Source:
    """Reads MPII's annotations in any of its forms.

    Args:
        source: `mpii_human_pose_v1_u12_1.mat`, a JSON file, or a folder with one or two of them. JSON is an array of
            `joints`, `joints_vis` and `image`, a file a split; or one file with `joint_self`, `img_paths` and
            `isValidation`, as Convolutional Pose Machines and pytorch-pose have it (`mpii_annotations.json`).
        wanted: Of the MATLAB file persons with fewer than its `min_joints` are left out before the split; the default
            is all 16, as in the legacy program. The JSON has its own split, and is read with all its persons.

    Raises:
        PrepareError: There is no such file, or it is damaged or in another form.
    """
    if source.suffix.lower() == ".json" and source.is_file():
        return _read_json([source], wanted)
    annotations = [] if source.suffix.lower() == ".json" else find(source, [PATTERN])
    by_role = _json_files(source)
    if by_role and not annotations:
        return _read_json(by_role, wanted)
    missing = (
        "no mpii_human_pose_v1_u12_1.mat in it, and no train.json or validation.json. MPII's authors publish the "
        f"former at {PUBLISHED}; without one of them nothing can be prepared for MPII (an MPII CSV that you already "
        "have works as it is, without PCKh)"
    )
    return _read_mat(the_only([*annotations, *by_role], source, missing), wanted)


def _read_mat(path: Path, wanted: Wanted) -> Source:
    """Reads the authors' file, with the legacy program's choice of persons, split and order."""
    min_joints = wanted.min_joints or JOINTS
    release = next(iter(matlab.structs(matlab.read(path, "RELEASE"))), {})
    pictures = matlab.structs(release.get("annolist"))
    flags = matlab.as_numbers(release.get("img_train", []), f"{path}: RELEASE.img_train").ravel()
    if not pictures or len(flags) != len(pictures):
        raise PrepareError(
            f"{path}: RELEASE has {len(pictures)} pictures in annolist and {len(flags)} flags in img_train; is it "
            "MPII's?"
        )
    counts: Counter[str] = Counter()
    persons: list[Annotation] = []
    lines: list[str] = []
    for i, (picture, flag) in enumerate(zip(pictures, flags.tolist(), strict=True), 1):
        file = _picture_name(picture, f"{path}: picture {i}")
        rectangles = matlab.structs(picture.get("annorect"))
        counts["empty"] += not rectangles
        for rectangle in rectangles:
            counts["persons"] += 1
            person, points = _person(file, rectangle)
            if person is None:
                counts["unpublished" if flag == 0 else "pointless"] += 1
            elif len(points) < min_joints:
                counts["incomplete"] += 1
            else:
                persons.append(person)
                lines.append(_data_line(person, int(flag), points))
    test, train = drawn(len(persons))
    notes = list(unexpected("pictures", len(pictures), PICTURES))
    if min_joints == JOINTS and len(pictures) == PICTURES:
        notes += unexpected("persons with all joints", len(persons), PERSONS)
    if min_joints != JOINTS:
        notes.append(
            f"with persons of {min_joints} joints the split is not the legacy one, whose persons have {JOINTS}"
        )
    headless = sum(person.head_box is None for person in persons)
    return Source(
        skeleton="mpii",
        splits={"train": [persons[i] for i in train], "test": [persons[i] for i in test]},
        published=PUBLISHED,
        rows=[
            Row("pictures in annolist", len(pictures)),
            Row("pictures without a person", counts["empty"], "their annorect is empty"),
            Row("persons in annorect", counts["persons"]),
            Row("left out: joints not published", counts["unpublished"], "of the authors' test pictures (img_train 0)"),
            Row("left out: no joints", counts["pointless"], "no annopoints, or nothing in it"),
            Row(f"left out: fewer than {min_joints} joints", counts["incomplete"], "--min-joints"),
            *([Row("without a head box", headless, "in no PCKh")] if headless else []),
        ],
        notes=notes,
        pictures=pictures_of(path, wanted),
        head_sizes_from=dict.fromkeys(ROLES, HEAD_BOXES),
        files={"data.json": "".join(lines).encode()},
    )


class _Point(NamedTuple):
    """A point of an annotation: its place, and whether it is told to be seen (1) or not (0)."""

    x: float
    y: float
    is_visible: int | None


def _picture_name(picture: dict[str, object], where: str) -> str:
    image = next(iter(matlab.structs(picture.get("image"))), {})
    name = matlab.text(image.get("name"))
    if name is None:
        raise PrepareError(f"{where}: it has no image.name; is it MPII's?")
    return name


def _person(file: str, rectangle: dict[str, object]) -> tuple[Annotation | None, dict[int, _Point]]:
    """Makes the annotation of one annorect, and returns its points by id; of none without points."""
    points = dict(_points(rectangle))
    if not points:
        return None, points
    joints = np.full((JOINTS, 2), np.nan)
    for joint, point in points.items():
        joints[joint] = point.x, point.y
    seen = tuple(points[joint].is_visible if joint in points else None for joint in range(JOINTS))
    corners = [matlab.number(rectangle.get(name)) for name in ("x1", "y1", "x2", "y2")]
    x1, y1, x2, y2 = corners
    box = None if x1 is None or y1 is None or x2 is None or y2 is None else (x1, y1, x2, y2)
    return Annotation(
        file,
        joints,
        head_box=box,
        is_visible=seen,
        scale=_scale(rectangle.get("scale")),
        centre=_centre(rectangle.get("objpos")),
    ), points


def _points(rectangle: dict[str, object]) -> Iterator[tuple[int, _Point]]:
    """Yields the points that have an id from 0 to 15 and a place; where an id comes twice, the last one counts."""
    for annopoints in matlab.structs(rectangle.get("annopoints")):
        for point in matlab.structs(annopoints.get("point")):
            joint, x, y = (matlab.number(point.get(name)) for name in ("id", "x", "y"))
            if joint is not None and joint in range(JOINTS) and x is not None and y is not None:
                seen = matlab.number(point.get("is_visible"))
                yield int(joint), _Point(x, y, int(seen) if seen in (0, 1) else None)


def _data_line(person: Annotation, train: int, points: dict[int, _Point]) -> str:
    """Returns a person's line of the legacy data.json; a visibility that is not told is 0 there."""
    values = {
        "filename": person.file,
        "train": train,
        "head_rect": None if person.head_box is None else list(person.head_box),
        "is_visible": {str(joint): point.is_visible or 0 for joint, point in points.items()},
        "joint_pos": {str(joint): [point.x, point.y] for joint, point in points.items()},
    }
    return json.dumps(values) + "\n"


def _role(path: Path) -> str:
    """Tells by a JSON file's name whether its persons train or test."""
    role = role_of(path.stem)
    if role is None:
        problem = "its name does not tell whether its persons train or test"
        raise PrepareError(f"{path}: {problem}; name it train or validation")
    return role


def _json_files(source: Path) -> list[Path]:
    """Finds the JSON files of a folder: one for each role, or the one that has both."""
    if not source.is_dir():
        return []
    files = [path for path in find(source, ["*.json"]) if not path.name.endswith(SUFFIX)]
    found: dict[str, Path] = {}
    for role, words in ROLES.items():
        for word in words:
            named = [path for path in files if word in words_of(path.stem)]
            if named and role not in found:
                found[role] = the_only(named, source, "")
    whole = [path for path in files if path.name.lower() in WHOLE]
    return list(found.values()) or ([the_only(whole, source, "")] if whole else [])


def _read_json(paths: Sequence[Path], wanted: Wanted) -> Source:
    """Reads the JSON forms."""
    made = Source(skeleton="mpii", splits={}, published=PUBLISHED)
    made.pictures = pictures_of(paths[0], wanted)
    for path in paths:
        for role, persons in _persons_by_role(path).items():
            _add_persons(made, path, role, _named_as_there(persons, made.pictures))
    missing = [role for role in ROLES if role not in made.splits]
    made.notes += [f"there is no JSON of the persons to {role}: {role}_joints.csv is not written" for role in missing]
    return made


def _persons_by_role(path: Path) -> dict[str, list[Annotation]]:
    """Returns the persons of a JSON file who `train`, `test`, or both."""
    entries = _entries(path)
    if isinstance(entries[0], dict) and "joint_self" in entries[0]:
        both = [_cpm_person(entry, f"{path}: person {i}") for i, entry in enumerate(entries, 1)]
        found = {role: [person for person, said in both if said == role] for role in ROLES}
        return {role: persons for role, persons in found.items() if persons}
    role = _role(path)
    return {role: [_json_person(entry, f"{path}: person {i}") for i, entry in enumerate(entries, 1)]}


def _add_persons(made: Source, path: Path, role: str, persons: list[Annotation]) -> None:
    """Adds a split, with its head boxes or what stands for them."""
    made.rows.append(Row(f"persons in {path.name}", len(persons), f"to {role}, in its order"))
    truth = next(iter(find(path.parent, GROUND_TRUTH)), None) if role == "test" else None
    if truth is not None:
        boxes = _head_boxes(truth, path, persons)
        made.splits[role] = [replace(p, head_box=box) for p, box in zip(persons, boxes, strict=True)]
        made.rows.append(Row(f"head boxes in {truth.name}", len(boxes)))
        made.head_sizes_from[role] = HEAD_BOXES
        return
    made.splits[role] = [replace(person, head_size=_head_size(person.joints)) for person in persons]
    made.head_sizes_from[role] = f"{NECK_TO_HEAD:g} times the distance from upper neck to head top"
    exact = f"; {GROUND_TRUTH[0]} beside the JSON would give the boxes" if role == "test" else ""
    made.notes.append(
        f"{path.name} has no head boxes: PCKh's head size of the persons to {role} is {made.head_sizes_from[role]}, "
        f"within 1 % for 98.5 % of the persons of MPII's validation set{exact}"
    )


def _named_as_there(persons: list[Annotation], pictures: Path | None) -> list[Annotation]:
    """Takes the folders off the pictures' names that some programs put there: MPII's pictures lie in one."""
    if pictures is not None and any(find_picture(pictures, person.file).is_file() for person in persons[:100]):
        return persons
    return [replace(person, file=PureWindowsPath(person.file).name) for person in persons]


def _entries(path: Path) -> list[object]:
    """Returns the array of a JSON file, by itself or as its `root`."""
    entries = json_of(path, PrepareError, LARGEST_JSON)
    if isinstance(entries, dict) and "root" in entries:
        entries = entries["root"]
    if not isinstance(entries, list) or not entries:
        raise PrepareError(f"{path}: no array of persons; it should be [{{joints, joints_vis, image, ...}}, ...]")
    return entries


def _cpm_person(entry: object, where: str) -> tuple[Annotation, str]:
    """Makes the annotation of one entry of Convolutional Pose Machines' form, and tells its split.

    A joint that is not annotated is 0, 0 there; the third number says whether one is seen.
    """
    if not isinstance(entry, dict) or not isinstance(entry.get("img_paths"), str):
        raise PrepareError(f"{where}: it has no `img_paths`; is it MPII's JSON?")
    try:
        values = np.array(entry.get("joint_self"), np.float64)
    except (TypeError, ValueError) as error:
        raise PrepareError(f"{where}: `joint_self` is no numbers") from error
    if values.shape != (JOINTS, 3):
        raise PrepareError(f"{where}: `joint_self` has the shape {values.shape} where MPII has ({JOINTS}, 3)")
    annotated = np.isfinite(values).all(axis=1) & (values[:, :2] != 0).any(axis=1)
    joints = np.where(annotated[:, np.newaxis], values[:, :2], np.nan)
    flags = np.where(annotated, values[:, 2], np.nan).tolist()
    seen = tuple(int(flag) if flag in (0, 1) else None for flag in flags)
    role = "test" if matlab.number(entry.get("isValidation")) else "train"
    return Annotation(
        entry["img_paths"],
        joints,
        is_visible=seen,
        scale=_scale(entry.get("scale_provided")),
        centre=_centre(entry.get("objpos")),
    ), role


def _json_person(entry: object, where: str) -> Annotation:
    """Makes the annotation of one entry."""
    if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
        raise PrepareError(f"{where}: it has no `image`; is it MPII's JSON?")
    if "joints" not in entry:
        raise PrepareError(f"{where}: it has no `joints`; MPII does not publish those of its test set")
    try:
        joints = np.array(entry["joints"], np.float64)
        annotated = np.array(entry.get("joints_vis", [1] * JOINTS), np.float64) > 0
    except (TypeError, ValueError) as error:
        raise PrepareError(f"{where}: `joints` or `joints_vis` are no numbers") from error
    if joints.shape != (JOINTS, 2) or annotated.shape != (JOINTS,):
        raise PrepareError(
            f"{where}: `joints` has the shape {joints.shape} and `joints_vis` {annotated.shape} where MPII has "
            f"({JOINTS}, 2) and ({JOINTS},)"
        )
    joints = np.where(annotated[:, np.newaxis] & np.isfinite(joints), joints, np.nan)
    return Annotation(entry["image"], joints, scale=_scale(entry.get("scale")), centre=_centre(entry.get("center")))


def _scale(value: object) -> float | None:
    """Returns MPII's scale, where there is one."""
    scale = matlab.number(value)
    return scale if scale is not None and scale > 0 else None


def _centre(value: object) -> tuple[float, float] | None:
    """Returns MPII's centre of a person, where there is one."""
    if isinstance(value, dict):
        value = [value.get("x"), value.get("y")]
    if not isinstance(value, list) or len(value) != 2:
        return None
    x, y = map(matlab.number, value)
    return None if x is None or y is None or min(x, y) < 0 else (x, y)


def _head_size(joints: Float64Array) -> float | None:
    """Returns PCKh's length of a person whose head box is not known."""
    size = NECK_TO_HEAD * float(np.hypot(*(joints[HEAD_TOP] - joints[UPPER_NECK])))
    return None if np.isnan(size) else size


def _head_boxes(path: Path, persons_path: Path, persons: Sequence[Annotation]) -> list[Box]:
    """Reads the head boxes of the validation set's published ground truth, of these very persons."""
    corners, positions = (matlab.numbers(path, name) for name in ("headboxes_src", "pos_gt_src"))
    count = len(persons)
    if corners.shape != (2, 2, count) or positions.shape != (JOINTS, 2, count):
        raise PrepareError(
            f"{path}: head boxes {corners.shape} and positions {positions.shape} are not those of the {count} persons "
            f"in {persons_path.name}; take the two of one release, or remove it"
        )
    joints = np.stack([person.joints for person in persons])
    if (np.abs(positions.transpose(2, 0, 1) - joints) > 1).any():  # NaN compares as false: not annotated
        raise PrepareError(f"{path}: its joints are not those of {persons_path.name}; take the two of one release")
    return [(x1, y1, x2, y2) for (x1, y1), (x2, y2) in corners.transpose(2, 0, 1).tolist()]
