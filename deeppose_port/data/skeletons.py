"""The skeletons of the data sets DeepPose is trained on: their joints, limbs and reference lengths.

Left and right are the annotation's own, so they mean the person's or the picture's as the data set has it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from converters.errors import DeepPoseError

__all__ = ["FLIC", "LSP", "MPII", "SKELETONS", "End", "Limb", "Skeleton", "get", "with_joints"]

End: TypeAlias = int | tuple[int, ...]
"""One end of a limb: a joint's index, or the indices of joints whose mean position it is."""

Limb: TypeAlias = tuple[End, End]
"""A limb: its two ends."""


@dataclass(frozen=True)
class Skeleton:
    """What the joints of a data set mean.

    Attributes:
        name: what commands and checkpoints call it.
        joints: the joints' names in the order of their indices.
        symmetric_pairs: the joints that change places when the picture is mirrored, as pairs of indices.
        limbs: the lines of a drawing as (parent, child) indices; they form a tree over all joints.
        pcp_limbs: the limbs PCP is reported for, by name and in the order of reports.
        torso: the ends of PDJ's reference length, or None where the joints do not give it.
        pckh_total_excluded: the joints left out of PCKh's total.
    """

    name: str
    joints: tuple[str, ...]
    symmetric_pairs: tuple[tuple[int, int], ...]
    limbs: tuple[tuple[int, int], ...]
    pcp_limbs: Mapping[str, Limb] = field(hash=False)
    torso: Limb | None = None
    pckh_total_excluded: tuple[int, ...] = ()


FLIC = Skeleton(
    name="flic",
    # The head is the mean of FLIC's eyes and nose. There are no hips, so no reference length for PDJ.
    joints=(
        "left wrist",
        "left elbow",
        "left shoulder",
        "head",
        "right shoulder",
        "right elbow",
        "right wrist",
    ),
    symmetric_pairs=((2, 4), (1, 5), (0, 6)),
    limbs=((3, 2), (2, 1), (1, 0), (3, 4), (4, 5), (5, 6)),
    pcp_limbs={
        "left upper arm": (2, 1),
        "right upper arm": (4, 5),
        "left lower arm": (1, 0),
        "right lower arm": (5, 6),
    },
)

LSP = Skeleton(
    name="lsp",
    joints=(
        "right ankle",
        "right knee",
        "right hip",
        "left hip",
        "left knee",
        "left ankle",
        "right wrist",
        "right elbow",
        "right shoulder",
        "left shoulder",
        "left elbow",
        "left wrist",
        "neck",
        "head",
    ),
    symmetric_pairs=((8, 9), (7, 10), (6, 11), (2, 3), (1, 4), (0, 5)),
    limbs=(
        *((12, 13), (12, 8), (8, 7), (7, 6), (12, 9), (9, 10), (10, 11)),
        *((8, 2), (2, 1), (1, 0), (9, 3), (3, 4), (4, 5)),
    ),
    # The ten sticks of which PCP on LSP is the mean.
    pcp_limbs={
        "right lower leg": (0, 1),
        "right upper leg": (1, 2),
        "left upper leg": (3, 4),
        "left lower leg": (4, 5),
        "right lower arm": (6, 7),
        "right upper arm": (7, 8),
        "left upper arm": (9, 10),
        "left lower arm": (10, 11),
        "head": (12, 13),
        "torso": ((2, 3), (8, 9)),
    },
    torso=(9, 2),
)

MPII = Skeleton(
    name="mpii",
    joints=(
        "right ankle",
        "right knee",
        "right hip",
        "left hip",
        "left knee",
        "left ankle",
        "pelvis",
        "thorax",
        "neck",
        "head",
        "right wrist",
        "right elbow",
        "right shoulder",
        "left shoulder",
        "left elbow",
        "left wrist",
    ),
    symmetric_pairs=((12, 13), (11, 14), (10, 15), (2, 3), (1, 4), (0, 5)),
    limbs=(
        *((6, 2), (2, 1), (1, 0), (6, 3), (3, 4), (4, 5)),
        *((6, 7), (7, 8), (8, 9)),
        *((8, 12), (12, 11), (11, 10), (8, 13), (13, 14), (14, 15)),
    ),
    pcp_limbs={
        "right upper arm": (12, 11),
        "left upper arm": (13, 14),
        "right lower arm": (11, 10),
        "left lower arm": (14, 15),
        "right upper leg": (2, 1),
        "left upper leg": (3, 4),
        "right lower leg": (1, 0),
        "left lower leg": (4, 5),
    },
    torso=(13, 2),
    # Andriluka et al., "2D Human Pose Estimation: New Benchmark and State of the Art Analysis", CVPR 2014:
    # the total is over the joints of the table, which has no pelvis and no thorax.
    pckh_total_excluded=(6, 7),
)

SKELETONS: Mapping[str, Skeleton] = {skeleton.name: skeleton for skeleton in (FLIC, LSP, MPII)}
"""Every skeleton by its name."""


def get(name: str) -> Skeleton:
    """Find a skeleton by its name.

    Args:
        name: "flic", "lsp" or "mpii".

    Returns:
        The skeleton.

    Raises:
        DeepPoseError: there is no skeleton of this name; the message lists those there are.
    """
    try:
        return SKELETONS[name]
    except KeyError:
        raise DeepPoseError(f"no skeleton is called {name!r}; there are {', '.join(SKELETONS)}") from None


def with_joints(joints: int) -> Skeleton | None:
    """Returns the skeleton with so many joints, or None where none has them."""
    return next((skeleton for skeleton in SKELETONS.values() if len(skeleton.joints) == joints), None)
