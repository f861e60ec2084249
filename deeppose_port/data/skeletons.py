"""The skeletons: a data set's joints with their limbs and reference lengths, a row each; and those of a user's file.

Left and right are the annotation's own, so they mean the person's or the picture's as the data set has it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import TypeAlias

from converters.checkpoint import check_names
from converters.errors import DeepPoseError
from converters.families import joints as data_sets
from converters.values import dataclass

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
        limbs: the lines of a drawing as (parent, child) indices, from the root outward.
        pcp_limbs: the limbs PCP is reported for, by name and in the order of reports.
        torso: the ends of PDJ's reference length, or None where the joints do not give it.
        head: the ends of PCKh's reference length where no head box is annotated; None where the joints do not give it.
        head_factor: what the distance of these ends is multiplied by.
        pckh_total_excluded: the joints left out of PCKh's total.
        opposing: the pairs of opposing joints whose mean distance is a pose's diameter, which a cascade measures its
            close-ups by; none for the ends of `torso`, where these are joints.
        sigma: the side of such a close-up, in diameters.
    """

    name: str
    joints: tuple[str, ...]
    symmetric_pairs: tuple[tuple[int, int], ...] = ()
    limbs: tuple[tuple[int, int], ...] = ()
    pcp_limbs: Mapping[str, Limb] = field(default_factory=dict, hash=False)
    torso: Limb | None = None
    head: Limb | None = None
    head_factor: float = 1.0
    pckh_total_excluded: tuple[int, ...] = ()
    opposing: tuple[tuple[int, int], ...] = ()
    sigma: float = 2.0

    @property
    def diameter(self) -> tuple[tuple[int, int], ...]:
        """The pairs of joints whose mean distance is a pose's diameter; empty where nothing tells them."""
        if self.opposing or self.torso is None:
            return self.opposing
        start, end = self.torso
        return ((start, end),) if isinstance(start, int) and isinstance(end, int) else ()

    @property
    def head_rule(self) -> str | None:
        """What PCKh's reference length is without a head box, in words; None where the joints do not give it."""
        if self.head is None:
            return None
        start, end = (
            self.joints[end] if isinstance(end, int) else f"the middle of {' and '.join(self.joints[j] for j in end)}"
            for end in self.head
        )
        return f"{self.head_factor:g} times the distance from {start} to {end}"

    def refuse_other_order(self, names: Sequence[str], where: str) -> None:
        """Refuses a network whose joints are these in another order: its answers would be compared joint by joint.

        Args:
            names: the network's joints, as its checkpoint names them; empty for none.
            where: the checkpoint.

        Raises:
            DeepPoseError: they are these joints, in another order, however either spells them.
        """
        theirs, ours = list(map(_plain, names)), list(map(_plain, self.joints))
        if theirs != ours and sorted(theirs) == sorted(ours):
            differs = next(i for i, pair in enumerate(zip(theirs, ours, strict=True)) if pair[0] != pair[1])
            raise DeepPoseError(
                f"its joints are those of {self.name} in another order: joint {differs} is {names[differs]}, not "
                f"{self.joints[differs]}",
                where=where,
            )


FLIC = Skeleton(
    name="flic",
    # There are no hips, so no reference length for PDJ.
    joints=data_sets.FLIC.names,
    symmetric_pairs=((2, 4), (1, 5), (0, 6)),
    limbs=data_sets.FLIC.limbs,
    pcp_limbs={
        "left upper arm": (2, 1),
        "right upper arm": (4, 5),
        "left lower arm": (1, 0),
        "right lower arm": (5, 6),
    },
    # Each shoulder and the other side's elbow: seen from the side the shoulders alone may lie on each other. In the
    # median of LSP's extended training set they are 0.88 times as far apart as shoulder and hip, by which the paper
    # measures FLIC's close-ups of sigma 1.
    opposing=((2, 5), (4, 1)),
    sigma=1.1,
)

LSP = Skeleton(
    name="lsp",
    joints=data_sets.LSP.names,
    symmetric_pairs=((8, 9), (7, 10), (6, 11), (2, 3), (1, 4), (0, 5)),
    limbs=data_sets.LSP.limbs,
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
    joints=data_sets.MPII.names,
    symmetric_pairs=((12, 13), (11, 14), (10, 15), (2, 3), (1, 4), (0, 5)),
    limbs=data_sets.MPII.limbs,
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

FLIC11 = Skeleton(
    # The joints of the program's rewrite of 2019.
    name="flic11",
    joints=data_sets.FLIC11.names,
    symmetric_pairs=((0, 3), (1, 4), (2, 5), (6, 7), (8, 9)),
    limbs=data_sets.FLIC11.limbs,
    pcp_limbs={
        "left upper arm": (0, 1),
        "right upper arm": (3, 4),
        "left lower arm": (1, 2),
        "right lower arm": (4, 5),
    },
    torso=(0, 7),
    sigma=1.0,
)

COCO = Skeleton(
    name="coco",
    joints=data_sets.COCO.names,
    symmetric_pairs=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    limbs=data_sets.COCO.limbs,
    pcp_limbs={
        "right upper arm": (6, 8),
        "left upper arm": (5, 7),
        "right lower arm": (8, 10),
        "left lower arm": (7, 9),
        "right upper leg": (12, 14),
        "left upper leg": (11, 13),
        "right lower leg": (14, 16),
        "left lower leg": (13, 15),
    },
    torso=(5, 12),
)

#: Whatever says what joints are, see `of_drawing`.
AnySkeleton: TypeAlias = Skeleton | str | os.PathLike[str] | Sequence[str]

SKELETONS: Mapping[str, Skeleton] = {skeleton.name: skeleton for skeleton in (FLIC, LSP, MPII, COCO, FLIC11)}
"""Every skeleton by its name."""

#: What to do where nothing says what joints are.
WHICH = f"name them with --skeleton: {', '.join(SKELETONS)}, or a .toml file of your own"

_SIDES = {"left": "left", "l": "left", "right": "right", "r": "right"}

#: The suffixes of a file with a skeleton.
SUFFIXES = (".toml", ".json")


def get(skeleton: str | os.PathLike[str] | Skeleton) -> Skeleton:
    """Find a skeleton.

    Args:
        skeleton: a key of `SKELETONS`, in capitals or not; a file with one, see `skeleton_files`; or itself.

    Returns:
        The skeleton.

    Raises:
        DeepPoseError: there is no skeleton of this name, and the message lists those there are; or the file is refused.
    """
    if isinstance(skeleton, Skeleton):
        return skeleton
    name = os.fspath(skeleton)
    if name.lower() in SKELETONS:
        return SKELETONS[name.lower()]
    if name.lower().endswith(SUFFIXES):
        from deeppose_port.data import skeleton_files

        return skeleton_files.read(name)
    files = f"or a file of your own, {' or '.join(SUFFIXES)}"
    raise DeepPoseError(f"no skeleton is called {name!r}; there are {', '.join(SKELETONS)}, {files}")


def of_network(joints: int, names: Sequence[str] = ()) -> Skeleton | None:
    """Returns the skeleton of a network, or None where nothing tells it.

    Args:
        joints: how many joints the network answers.
        names: their names, as its checkpoint has them. Without names, their number tells FLIC, LSP and MPII.
    """
    if not names and joints in data_sets.BY_NUMBER:
        names = data_sets.BY_NUMBER[joints].names
    return next((skeleton for skeleton in SKELETONS.values() if skeleton.joints == tuple(names)), None)


def of_drawing(skeleton: AnySkeleton | None, limbs: Sequence[tuple[int, int]] = ()) -> Skeleton | None:
    """Returns what a drawing needs to know of joints.

    Args:
        skeleton: as for `get`; or the joints' names, in their order; None for nothing.
        limbs: of joints that are named, the lines of the drawing as (inner, outer) indices; by default those that the
            first skeleton with all of these names has between them.

    Raises:
        DeepPoseError: as `get`; or the names are none.
    """
    if skeleton is None or isinstance(skeleton, str | os.PathLike | Skeleton):
        return None if skeleton is None else get(skeleton)
    names = tuple(skeleton)
    if not all(isinstance(name, str) for name in names):
        raise DeepPoseError("the skeleton is neither one of ours, nor its name, nor the names of joints")
    check_names(names)
    known = next((one for one in SKELETONS.values() if set(names) <= set(one.joints)), None)
    if known is not None and known.joints == names:
        return known
    if known is not None and not limbs:
        places = {joint: names.index(joint) for joint in names}
        ends = ((known.joints[a], known.joints[b]) for a, b in known.limbs)
        limbs = [(places[a], places[b]) for a, b in ends if a in places and b in places]
    return Skeleton("", names, limbs=tuple(limbs), pcp_limbs=named_by_ends(names, limbs))


def named_by_ends(joints: Sequence[str], limbs: Iterable[tuple[int, int]]) -> dict[str, Limb]:
    """Returns the limbs of a drawing as PCP's, each named after the joints at its ends."""
    return {f"{joints[start]} to {joints[end]}": (start, end) for start, end in limbs}


def side(joint: str) -> str:
    """Returns `left` or `right` of a joint whose name begins or ends so (`left knee`, `l_knee`); nothing of others."""
    words = re.split(r"[\W_]+", joint.lower())
    return next((_SIDES[word] for word in (words[0], words[-1]) if word in _SIDES), "")


def _plain(joint: str) -> tuple[str, ...]:
    """Returns what a joint is called, whatever the letters and the order of its words: `L_Knee` is the left knee."""
    return tuple(sorted(_SIDES.get(word, word) for word in re.split(r"[\W_]+", joint.lower()) if word))


def as_left(joint: str) -> str:
    """Returns a joint's name in small letters, as that of the left side: a pair has it in common."""
    words = re.split(r"([\W_]+)", joint.lower())
    return "".join("left" if word in _SIDES else word for word in words)
