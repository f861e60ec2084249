"""What is looked at before annotations become a CSV: pictures, boxes, joints inside, left and right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from converters.checkpoint import Preprocessing
from converters.errors import DeepPoseError
from deeppose_port.data.annotations import IGNORE_LABEL, LARGEST
from deeppose_port.data.arrays import Float64Array
from deeppose_port.data.prepare.labelled import LeftOut
from deeppose_port.data.prepare.pictures import Size
from deeppose_port.data.prepare.source import Annotation, Row, Source
from deeppose_port.data.skeletons import Skeleton
from deeppose_port.data.view import View, extent_of_joints

#: Left and right limbs of many persons are about as long; where their medians differ by more, joints are mixed up.
SYMMETRY = 0.25

#: Persons of whom medians mean something.
ENOUGH = 20


def usable(source: Source, sizes: Mapping[str, Size] | None, min_joints: int) -> list[Row]:
    """Takes the persons out of a source's splits who cannot be trained on or evaluated.

    They are those whose picture is missing or cannot be decoded, who have too few joints, or around whose joints there
    is nothing to crop: PoseDataset refuses a CSV with one of them.

    Args:
        source: What a reader found; its splits are replaced.
        sizes: Each picture's size, or why it has none; None where the pictures are not looked at.
        min_joints: The least number of joints.

    Returns:
        How many were left out, for each reason, with the first of their pictures.
    """
    left_out = LeftOut()
    for name, persons in source.splits.items():
        kept = source.splits[name] = []
        for person in persons:
            reason, colon, detail = _obstacle(person, sizes, min_joints).partition(": ")
            if reason:
                left_out.add(reason, person.file + colon + detail)
            else:
                kept.append(person)
    return left_out.rows()


def _obstacle(person: Annotation, sizes: Mapping[str, Size] | None, min_joints: int) -> str:
    """Tells what keeps a person out of the CSV, `reason` or `reason: detail`; nothing if nothing does."""
    visible = np.asarray(np.isfinite(person.joints).all(axis=1), np.bool_)
    if visible.sum() < min_joints:
        return f"fewer than {min_joints} joints"
    if min(extent_of_joints(person.joints, visible)[2:]) <= 0:
        return "the joints span no area to crop"
    if np.nanmax(np.abs(person.joints)) > LARGEST:
        return "a joint is beyond any picture"
    if sizes is None:
        return ""
    size = sizes[person.file]
    if isinstance(size, str):
        return size
    try:
        View.of_person(person.joints, visible, *size, Preprocessing())
    except DeepPoseError:
        return "nothing of the picture is around the joints"
    return ""


def outside(source: Source, sizes: Mapping[str, Size]) -> Row:
    """Counts the persons with joints outside their picture; they stay, as in the legacy program."""
    persons = joints = 0
    for person in (person for split in source.splits.values() for person in split):
        size = sizes[person.file]
        assert not isinstance(size, str), "persons without a picture are left out before"
        beyond = int(((person.joints < 0) | (person.joints > size)).any(axis=1).sum())
        persons, joints = persons + bool(beyond), joints + beyond
    return Row("with joints outside the picture", persons, f"{joints} joints; kept as annotated")


def ignored(source: Source) -> list[Row]:
    """Counts joints with a coordinate that a CSV has for what is not annotated; returns no row where there are none."""
    splits = source.splits.values()
    joints = sum(int((person.joints == IGNORE_LABEL).any(axis=1).sum()) for split in splits for person in split)
    why = f"a CSV takes {IGNORE_LABEL:g} for not annotated, and so do the metrics"
    return [Row(f"joints annotated at {IGNORE_LABEL:g}", joints, why)] if joints else []


def both_sides(source: Source) -> Row:
    """Counts the pictures that have persons in every split."""
    files = [{person.file for person in split} for split in source.splits.values()]
    shared = len(set.intersection(*files)) if len(files) > 1 else 0
    return Row("pictures on both sides of the split", shared, "the split is by person" if shared else "")


def symmetry(source: Source, skeleton: Skeleton) -> tuple[Row, list[str]]:
    """Compares the left limbs with the right ones: where a pair of joints is mixed up, their lengths differ.

    Returns:
        The persons that were looked at with the largest difference of medians, and a note where it is too large.
    """
    persons = [person.joints for split in source.splits.values() for person in split]
    joints = np.stack(persons) if persons else np.empty((0, len(skeleton.joints), 2))
    difference, limb = max(_differences(joints, skeleton), default=(0.0, ""))
    if len(persons) < ENOUGH or not limb:
        return Row("symmetric pairs compared", 0, f"too few persons: {ENOUGH} are needed"), []
    row = Row("symmetric pairs compared", len(persons), f"left and right limbs differ by {difference:.0%} at most")
    if difference <= SYMMETRY:
        return row, []
    return row, [
        f"{limb}: the lengths differ by {difference:.0%} between left and right; are the joints in their order?"
    ]


def _differences(joints: Float64Array, skeleton: Skeleton) -> list[tuple[float, str]]:
    """Returns for each limb with another one opposite how much the medians of their lengths differ, and its name."""
    opposite = dict(skeleton.symmetric_pairs) | {b: a for a, b in skeleton.symmetric_pairs}
    found = []
    for a, b in skeleton.limbs:
        c, d = opposite.get(a, a), opposite.get(b, b)
        if (c, d) <= (a, b):
            continue
        medians = [_median_length(joints, start, stop) for start, stop in ((a, b), (c, d))]
        if min(medians) > 0:
            found.append((max(medians) / min(medians) - 1, f"{skeleton.joints[a]} to {skeleton.joints[b]}"))
    return found


def _median_length(joints: Float64Array, start: int, stop: int) -> float:
    """Returns the median length of a limb, 0 where nobody has it."""
    lengths = np.hypot(*(joints[:, start] - joints[:, stop]).T)
    known: Sequence[float] = lengths[~np.isnan(lengths)].tolist()
    return float(np.median(known)) if known else 0.0
