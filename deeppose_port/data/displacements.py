"""What a later stage of a cascade is trained on: close-ups of joints, and by how much to move each of them.

After Toshev and Szegedy, "DeepPose", CVPR 2014, section 3.2. A close-up lies where the stage before may have the joint:
that is drawn around the true joint, from a normal distribution with the mean and the variance that the stage's errors
of this joint have on the training set, in diameters of the person. Labels are the way from there to the true joint, in
sides of the close-up: a network of all joints answers each from its own close-ups, the others masked out.

A person's diameter is the mean distance of opposing joints of the torso. Where not all of these are annotated it is
taken from the longer side of the box of the joints, in the median proportion of those who have both.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from converters.cascade import CloseUp, Pair
from converters.checkpoint import Preprocessing
from converters.errors import DeepPoseError
from converters.values import dataclass
from deeppose_port.data.arrays import Float32Array, Float64Array, Mask
from deeppose_port.data.augmentation import Augmentation, DrawnBox, example_rng, is_on
from deeppose_port.data.augmented import finished, mirrored, turn_by
from deeppose_port.data.close_up import input_of, pixels_at, squares_of
from deeppose_port.data.dataset import DatasetError, Example, PoseDataset
from deeppose_port.data.skeletons import Skeleton
from deeppose_port.data.spread import Spread
from deeppose_port.data.view import extent_of_joints

#: Deviations beyond which no displacement is drawn, so that close-ups have an end: one of 16,000 would be.
FARTHEST = 4.0
#: Pixels that a warp may look at beyond what it shows.
AROUND = 3.0


@dataclass(frozen=True, eq=False)
class Diameters:
    """The diameters of a dataset's persons.

    Attributes:
        lengths: (N,) float64, pixels of the pictures.
        guessed: Persons of whom not all opposing joints are annotated.
    """

    lengths: Float64Array
    guessed: int


def diameters_of(persons: PoseDataset, opposing: Sequence[Pair]) -> Diameters:
    """Measures the diameters of a dataset's persons.

    Raises:
        DatasetError: A person's opposing joints are one point, or nobody has all of them.
    """
    pairs = np.array(opposing, np.int64).reshape(-1, 2)
    ends = persons.joints[:, pairs]  # (N, pairs, 2 ends, x and y)
    lengths = np.linalg.norm(ends[:, :, 0] - ends[:, :, 1], axis=2).mean(axis=1)
    known = persons.visible[:, pairs].all(axis=(1, 2))
    told = named(persons.skeleton, opposing)
    if not known.any():
        raise DatasetError(
            f"{persons.csv}: nobody has {told}, by which close-ups are measured; name other opposing joints"
        )
    flat = np.flatnonzero(known & ~(lengths > 0))
    if flat.size:
        raise persons.error(int(flat[0]), f"{told} are one point, so that this torso has no length; correct the line")
    boxes = np.array(
        [max(extent_of_joints(*pose)[2:]) for pose in zip(persons.joints, persons.visible, strict=True)], np.float64
    )
    proportion = float(np.median(lengths[known] / boxes[known]))
    return Diameters(np.where(known, lengths, proportion * boxes), int((~known).sum()))


def reached(persons: PoseDataset, index: int, around: float, width: int, height: int) -> tuple[int, int, int, int]:
    """Returns the part of a picture that is nearer than so many pixels to a joint of a person, as x0, y0, x1, y1.

    Args:
        persons: The persons.
        index: Which of them.
        around: Pixels on every side of each joint that counts.
        width: Columns of the picture.
        height: Rows of it.
    """
    joints, edges = persons.joints[index][persons.visible[index]], (width, height)
    low = np.clip(np.floor(joints.min(axis=0) - around), 0, np.array(edges) - 1).astype(int)
    high = np.clip(np.ceil(joints.max(axis=0) + around) + 1, low + 1, edges).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def named(skeleton: Skeleton, opposing: Sequence[Pair]) -> str:
    """Returns opposing joints by their names."""
    return "; ".join(" and ".join(skeleton.joints[joint] for joint in pair) for pair in opposing)


def measured(persons: PoseDataset, poses: Float64Array, sigma: float, opposing: Sequence[Pair]) -> CloseUp:
    """Measures what a stage is wrong by, for the stage after it to be trained on.

    Args:
        persons: The training set.
        poses: (N, J, 2), the stage's answers, in pixels of the pictures.
        sigma: The side of a close-up, in diameters.
        opposing: Pairs of joints whose mean distance is the diameter.

    Returns:
        The rule of the stage after it. A joint that nobody has annotated is never displaced.

    Raises:
        DeepPoseError: sigma is not positive, or an answer is not finite.
        DatasetError: As for `diameters_of`.
    """
    lengths = diameters_of(persons, opposing).lengths
    errors = np.where(persons.visible[..., None], (poses - persons.joints) / lengths[:, None, None], 0.0)
    if not np.isfinite(errors).all():
        raise DeepPoseError("the stage before answers joints that are not finite numbers: there is nothing to refine")
    counts = np.maximum(persons.visible.sum(axis=0), 1)[:, None]
    mean = errors.sum(axis=0) / counts
    squares_ = np.where(persons.visible[..., None], (errors - mean) ** 2, 0.0)
    deviation = np.sqrt(squares_.sum(axis=0) / counts)
    return CloseUp(sigma, tuple(opposing), _rows(mean), _rows(deviation))


def _rows(values: Float64Array) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in values)


class _CloseUps:
    """What the two kinds of close-ups have in common.

    Attributes:
        persons: Whose they are.
        preprocessing: How they become the network's inputs.
        close_up: The stage's rule.
        skeleton: The persons'.
        joint: The only joint that the network answers, where there is one a joint; None for all.
    """

    def __init__(self, persons: PoseDataset, preprocessing: Preprocessing, close_up: CloseUp) -> None:
        self.persons = persons
        self.preprocessing = preprocessing
        self.close_up = close_up
        self.skeleton = persons.skeleton
        self.joint: int | None = None

    @property
    def coordinates(self) -> int:
        """Numbers in an example's targets: two for each joint that the network answers."""
        return 2 * (len(self.skeleton.joints) if self.joint is None else 1)

    def _labels(
        self, joint: int, way: npt.ArrayLike, counts: npt.ArrayLike
    ) -> tuple[Float32Array, npt.NDArray[np.int32]]:
        """Returns targets and mask, (coordinates,) each, of which those of one joint are not 0."""
        targets = np.zeros((self.coordinates // 2, 2), np.float32)
        mask = np.zeros((self.coordinates // 2, 2), np.int32)
        place = joint if self.joint is None else 0
        targets[place], mask[place] = way, counts
        return targets.reshape(-1), mask.reshape(-1)


class DrawnCloseUps(_CloseUps):
    """A later stage's training set: so many close-ups of each annotated joint of each person, displaced by chance.

    `dataset[i]` is `(inputs, targets, mask)` as of a `PoseDataset`, where all targets but one joint's are masked out.
    Every epoch draws anew, from the epoch and the index alone.

    Args:
        persons: The persons; from a pack, if that has pixels enough.
        preprocessing: How close-ups become the network's inputs.
        close_up: The stage's rule, with the displacements.
        draws: How often each joint of each person is seen in an epoch.
        augmentation: What else is going to be done to close-ups.

    Attributes:
        draws: The same.
        guessed: Persons whose diameter is guessed.
        reach: How far from a joint a close-up may show pixels, in diameters, beside `translate_range`.

    Raises:
        DeepPoseError: `draws` is not positive, or the rule has no displacements of these joints.
        DatasetError: A torso has no length.
        PackError: The pack has no pixels for the close-ups.
    """

    def __init__(
        self,
        persons: PoseDataset,
        preprocessing: Preprocessing,
        close_up: CloseUp,
        draws: int,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__(persons, preprocessing, close_up)
        if draws < 1:
            raise DeepPoseError(f"draws is {draws}; it has to be at least 1")
        joints = len(persons.skeleton.joints)
        if len(close_up.mean) != joints:
            raise DeepPoseError(
                f"the stage has displacements of {len(close_up.mean)} joints, the persons have {joints}"
            )
        self.draws = draws
        diameters = diameters_of(persons, close_up.opposing)
        self._lengths, self.guessed = diameters.lengths, diameters.guessed
        self._mean, self._deviation = np.array(close_up.mean), np.array(close_up.deviation)
        self._of = np.argwhere(persons.visible)  # a person and a joint in each row
        self._partner = mirrored(persons)
        augmentation = augmentation or Augmentation()
        turned = math.sqrt(2) if augmentation.rotate or is_on(augmentation.rotation) else 1.0
        grown = 1 / (1 - augmentation.zoom_range) if augmentation.zoom else 1.0
        grown *= math.exp(_reach(augmentation.scale) + _reach(augmentation.aspect))
        self.reach = float((abs(self._mean) + FARTHEST * self._deviation).max() * turned)
        self.reach += close_up.sigma * (0.5 * turned * grown + _reach(augmentation.shift))
        shift = augmentation.translate_range if augmentation.translate else 0
        persons.refuse_unpacked(self._lengths, self.reach, shift + AROUND)

    def of_joint(self, joint: int) -> DrawnCloseUps:
        """Returns those that the network of one joint is trained on, whose targets are two numbers.

        Raises:
            DatasetError: Nobody has the joint.
        """
        own = copy.copy(self)
        own.joint, own._of = joint, self._of[self._of[:, 1] == joint]
        if not len(own._of):
            raise DatasetError(
                f"{self.persons.csv}: nobody has {self.skeleton.joints[joint]}: its network has nothing to learn from"
            )
        return own

    def __len__(self) -> int:
        return len(self._of) * self.draws

    def __getitem__(self, index: int) -> Example:
        return self.example(index)

    def naming(self, index: int) -> AbstractContextManager[None]:
        """Names the picture of a close-up that cannot be made; see `PoseDataset.naming`."""
        return self.persons.naming(int(self._of[index % len(self._of), 0]))

    def example(self, index: int, out: Float32Array | None = None) -> Example:
        """Makes one close-up, the same each time, with a displacement and nothing else."""
        return self.drawn(index, Augmentation(), example_rng(0, 0, index), out)

    def drawn(
        self, index: int, augmentation: Augmentation, rng: np.random.Generator, out: Float32Array | None = None
    ) -> Example:
        """Draws a displacement and an augmentation, and makes one close-up with them.

        It is turned, magnified, stretched and mirrored about its own middle, and shifted in fractions of its sides. A
        mirrored joint is that of the other side, and is displaced as that one. So the network of one joint sees the
        other side's in the mirror, of persons who have both.

        Args:
            index: Which.
            augmentation: What may be done.
            rng: Its random numbers, see `augmentation.example_rng`.
            out: As in `augmentation.augmented_example`.

        Raises:
            DatasetError: The picture cannot be decoded.
        """
        person, joint = self._of[index % len(self._of)]
        drawn = augmentation.draw(rng)
        if self.joint is not None and drawn.flip:
            other = self._partner[joint]
            both = bool(self.persons.visible[person, other])
            drawn, joint = (drawn, other) if both else (replace(drawn, flip=False), joint)
        answered = int(self._partner[joint] if drawn.flip else joint)
        chance = rng.standard_normal(2).clip(-FARTHEST, FARTHEST)
        length, true = self._lengths[person], self.persons.joints[person, joint]
        displaced = (self._mean[answered] + self._deviation[answered] * chance) * length
        box = drawn.box or DrawnBox()
        turn = turn_by(drawn.rotation + box.rotation)
        if drawn.flip:
            turn[0] *= -1  # from the picture to the close-up
        sides = self.close_up.sigma * length / drawn.zoom * np.array(box.scale)
        displaced += self.close_up.sigma * length * np.array(box.shift)
        middle = true + turn.T @ displaced + drawn.translation
        rows, columns = self.preprocessing.shape
        scaled = turn * (np.array([columns, rows]) / sides)[:, None]
        # The middle goes to the middle of the input, as that of a `Rectangle` does.
        matrix = np.column_stack([scaled, np.array([columns, rows]) / 2 - scaled @ middle])
        seen = pixels_at(self.persons.window(int(person)), matrix, self.preprocessing)
        way = turn @ (true - middle) / sides
        return finished(seen, drawn, self.preprocessing, out), *self._labels(answered, way, 1)


def _reach(spread: Spread | None) -> float:
    """Returns the largest number that is drawn from a distribution that may be off."""
    return spread.reach if spread is not None and is_on(spread) else 0.0


class CloseUps(_CloseUps):
    """Close-ups around poses that are known: of every person every joint's, one after the other, or that of one.

    `dataset[i]` is `(inputs, targets, mask)` as of `DrawnCloseUps`.

    Args:
        persons: The persons.
        preprocessing: How close-ups become the network's inputs.
        close_up: The stage's rule.
        poses: (N, J, 2) float64, where the stage before has the joints, in pixels of the pictures.

    Attributes:
        poses: The same.

    Raises:
        DatasetError: A torso has no length in these poses, or a joint is not finite.
    """

    def __init__(
        self, persons: PoseDataset, preprocessing: Preprocessing, close_up: CloseUp, poses: Float64Array
    ) -> None:
        super().__init__(persons, preprocessing, close_up)
        self.poses = poses
        self._squares = squares_of(persons, poses, close_up)

    def of_joint(self, joint: int) -> CloseUps:
        """Returns those of one joint, for its network: one of every person, whose targets are two numbers."""
        own = copy.copy(self)
        own.joint = joint
        return own

    @property
    def answered(self) -> range:
        """The joints, one after the other, of which every person has a close-up."""
        return range(len(self.skeleton.joints)) if self.joint is None else range(self.joint, self.joint + 1)

    @property
    def visible(self) -> Mask:
        """(N, J) bool: the annotated joints that are answered."""
        counted = np.isin(np.arange(len(self.skeleton.joints)), self.answered)
        return np.asarray(self.persons.visible & counted, np.bool_)

    def __len__(self) -> int:
        return len(self.poses) * len(self.answered)

    def __getitem__(self, index: int) -> Example:
        return self.example(index)

    def naming(self, index: int) -> AbstractContextManager[None]:
        """Names the picture of a close-up that cannot be made; see `PoseDataset.naming`."""
        return self.persons.naming(index // len(self.answered))

    def example(self, index: int, out: Float32Array | None = None) -> Example:
        """Makes one close-up.

        Args:
            index: Which.
            out: As for `PoseDataset.example`.

        Raises:
            DatasetError: The picture cannot be decoded.
        """
        person, place = divmod(index, len(self.answered))
        joint = self.answered[place]
        square = self._squares[person][joint]
        inputs = input_of(self.persons.window(person), square, self.preprocessing, out)
        way = (self.persons.joints[person, joint] - (square.x, square.y)) / (square.width, square.height)
        return inputs, *self._labels(joint, way, self.persons.mask[person, joint])

    def points(self, persons: Sequence[int], outputs: npt.ArrayLike) -> Float64Array:
        """Returns where a stage's answers move the joints: the inverse of the labels.

        Args:
            persons: Of whom they are.
            outputs: (len(persons), J, 2), for each joint the answer to its own close-up; 0 leaves it where it is.

        Returns:
            (len(persons), J, 2) float64, pixels of the pictures.
        """
        sides = np.array([[square.width for square in self._squares[person]] for person in persons])
        moved: Float64Array = self.poses[list(persons)] + np.asarray(outputs, np.float64) * sides[..., None]
        return moved
