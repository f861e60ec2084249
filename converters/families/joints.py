"""The joints of the data sets, in the order of their labels, with the lines of a drawing; what families share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from converters.checkpoint import Preprocessing
from converters.values import dataclass


@dataclass(frozen=True)
class Joints:
    """The joints of a data set.

    Attributes:
        names: In the order of their indices. Left and right are the annotation's own, so they mean the person's or the
            picture's as the data set has it.
        limbs: The lines of a drawing as (parent, child) indices, from the root outward.
    """

    names: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]


FLIC = Joints(
    # The head is the mean of FLIC's eyes and nose.
    names=(
        *("left wrist", "left elbow", "left shoulder", "head"),
        *("right shoulder", "right elbow", "right wrist"),
    ),
    limbs=((3, 2), (2, 1), (1, 0), (3, 4), (4, 5), (5, 6)),
)

LSP = Joints(
    names=(
        *("right ankle", "right knee", "right hip", "left hip", "left knee", "left ankle"),
        *("right wrist", "right elbow", "right shoulder", "left shoulder", "left elbow", "left wrist"),
        *("neck", "head"),
    ),
    limbs=(
        *((12, 13), (12, 8), (8, 7), (7, 6), (12, 9), (9, 10), (10, 11)),
        *((8, 2), (2, 1), (1, 0), (9, 3), (3, 4), (4, 5)),
    ),
)

MPII = Joints(
    names=(
        *("right ankle", "right knee", "right hip", "left hip", "left knee", "left ankle"),
        *("pelvis", "thorax", "neck", "head"),
        *("right wrist", "right elbow", "right shoulder", "left shoulder", "left elbow", "left wrist"),
    ),
    limbs=(
        *((6, 2), (2, 1), (1, 0), (6, 3), (3, 4), (4, 5)),
        *((6, 7), (7, 8), (8, 9)),
        *((8, 12), (12, 11), (11, 10), (8, 13), (13, 14), (14, 15)),
    ),
)

FLIC11 = Joints(
    # The joints that FLIC annotates of everybody, in its columns' order.
    names=(
        *("left shoulder", "left elbow", "left wrist", "right shoulder", "right elbow", "right wrist"),
        *("left hip", "right hip", "left eye", "right eye", "nose"),
    ),
    limbs=((0, 1), (1, 2), (0, 3), (3, 4), (4, 5), (0, 6), (3, 7), (6, 7), (10, 8), (10, 9)),
)

COCO = Joints(
    names=(
        *("nose", "left eye", "right eye", "left ear", "right ear"),
        *("left shoulder", "right shoulder", "left elbow", "right elbow", "left wrist", "right wrist"),
        *("left hip", "right hip", "left knee", "right knee", "left ankle", "right ankle"),
    ),
    # The data set's own lines (`skeleton` of its category), each from the inner joint to the outer.
    limbs=(
        *((0, 1), (0, 2), (1, 2), (1, 3), (2, 4), (5, 3), (6, 4)),
        *((5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12), (11, 12)),
        *((11, 13), (13, 15), (12, 14), (14, 16)),
    ),
)

#: Those that the number of joints tells: no other data set of so many is known among files that do not say.
BY_NUMBER: Mapping[int, Joints] = {len(joints.names): joints for joints in (FLIC, LSP, MPII)}


def named(preprocessing: Preprocessing, joints: int) -> Preprocessing:
    """Returns it with the names and the limbs of its joints, as far as their names, or else their number, tell them.

    Args:
        preprocessing: A network's.
        joints: How many joints it answers.
    """
    if not preprocessing.joints:
        told = BY_NUMBER.get(joints)
        if told is None:
            return preprocessing
        return replace(preprocessing, joints=told.names, limbs=told.limbs, joints_assumed=True)
    if preprocessing.limbs:
        return preprocessing
    limbs = (known.limbs for known in (FLIC, LSP, MPII, COCO, FLIC11) if known.names == preprocessing.joints)
    return replace(preprocessing, limbs=next(limbs, ()))
