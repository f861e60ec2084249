"""The Cascade: a list of stages, each a Checkpoint (or one a joint) with the rule by which it sees a close-up.

DeepPose's cascade (Toshev and Szegedy, CVPR 2014, section 3.2): the first stage answers all joints from the person's
box. Every later one looks, for each joint, at a square around where the stage before it has the joint, and answers by
how much to move it.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from converters import words
from converters.checkpoint import Array, Checkpoint, Record, Repair, Source, parameters_of
from converters.errors import CheckpointError, DeepPoseError
from converters.values import dataclass

#: Two joints by their indices.
Pair = tuple[int, int]
#: More stages than that, or networks in one, are none of a cascade.
MOST_STAGES, MOST_NETWORKS = 100, 1000


@dataclass(frozen=True)
class CloseUp(Record):
    """The square around a joint that a later stage sees.

    Attributes:
        sigma: Its side, in diameters of the pose of the stage before.
        opposing: Pairs of opposing joints of the torso; a pose's diameter is the mean of their distances. The paper has
            one pair (left shoulder and right hip), takiyu/DeepPose both.
        mean: (joints, 2): of what the stage before was wrong by on the training set, its joint less the true one, in
            diameters; empty where the file does not tell.
        deviation: (joints, 2): the standard deviation of the same.

    Raises:
        DeepPoseError: sigma is not positive, or the statistics are not two finite numbers for each of the same joints.
    """

    sigma: float
    opposing: tuple[Pair, ...]
    mean: tuple[tuple[float, float], ...] = ()
    deviation: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.sigma < float("inf"):
            raise DeepPoseError(f"sigma is {self.sigma}; the side of a close-up has to be positive")
        if not self.opposing or any(one == other for one, other in self.opposing):
            raise DeepPoseError("a close-up needs two opposing joints of the torso to measure its side by")
        statistics = np.array([*self.mean, *self.deviation], np.float64).reshape(-1, 2)
        if len(self.mean) != len(self.deviation) or not np.isfinite(statistics).all():
            raise DeepPoseError("a stage's displacements have a finite mean and deviation for every joint")
        if any(value < 0 for row in self.deviation for value in row):
            raise DeepPoseError("the deviation of a stage's displacements is negative")


@dataclass(frozen=True)
class FaceCrop(Record):
    """How takiyu/DeepPose cut a person out: a rectangle that follows from the face.

    From a face's box (x, y, w, h) its middle is `(x + w / 2, y + h / 2) + shift * (w, h)`, its size `scale * (w, h)`.
    The program swaps the two sides of the first answer where the left shoulder is left of the right one in the picture.

    Attributes:
        shift: Of x and y, in widths and heights of the face.
        scale: Likewise.
        shoulders: The left and the right one.
        swapped: The pairs that are exchanged, left and right.
    """

    shift: tuple[float, float]
    scale: tuple[float, float]
    shoulders: Pair
    swapped: tuple[Pair, ...]


@dataclass(frozen=True)
class Stage:
    """One stage of a cascade.

    Attributes:
        networks: One network that answers all joints, or one of a single joint for each.
        close_up: What a later stage sees; None for the first.
    """

    networks: tuple[Checkpoint, ...]
    close_up: CloseUp | None = None

    @property
    def shared(self) -> bool:
        """Whether one network answers all joints."""
        return len(self.networks) == 1

    @property
    def parameters(self) -> int:
        """Number of trained numbers of its networks, whose arrays are not looked at."""
        return sum(parameters_of(network.architecture) for network in self.networks)

    def as_dict(self) -> dict[str, object]:
        """Returns what it is as JSON-ready values: `architecture`, the number of `networks`, `parameters`, `crop`."""
        return {
            "architecture": self.networks[0].architecture.name,
            "networks": len(self.networks),
            "parameters": self.parameters,
            "crop": None if self.close_up is None else self.close_up.as_dict(),
        }


@dataclass(frozen=True)
class Cascade:
    """Stages, the first of which sees the whole person.

    Attributes:
        stages: The stages, in their order.
        face: How persons are cut out by their faces, for takiyu's cascades; None: by the first stage's preprocessing.

    Raises:
        DeepPoseError: The stages do not belong together.
    """

    stages: tuple[Stage, ...]
    face: FaceCrop | None = None

    def __post_init__(self) -> None:
        if not self.stages:
            raise DeepPoseError("a cascade has at least one stage")
        if self.stages[0].close_up is not None or len(self.stages[0].networks) != 1:
            raise DeepPoseError("the first stage of a cascade is one network that sees the whole person")
        for number, stage in enumerate(self.stages[1:], start=2):
            self._refuse_unlike(number, stage)

    def __repr__(self) -> str:
        """Returns what it is, in a line: never its arrays."""
        return f"<Cascade {self.title}, {self.parameters:,} parameters>"

    def _repr_html_(self) -> str:
        """Returns what is known of it as a notebook shows it."""
        return words.html_of_facts(self.title, words.facts_of_cascade(self))

    @property
    def title(self) -> str:
        """The first stage's title, and how many stages there are."""
        return f"{self.first.title}, {len(self.stages)} {'stage' if len(self.stages) == 1 else 'stages'}"

    def _refuse_unlike(self, number: int, stage: Stage) -> None:
        """Refuses a later stage that does not go with the first."""
        if stage.close_up is None:
            raise DeepPoseError(f"stage {number} has no close-up: what does it look at?")
        answered = stage.networks[0].joints if stage.shared else len(stage.networks)
        if answered != self.joints or (not stage.shared and any(network.joints != 1 for network in stage.networks)):
            each = [network.joints for network in stage.networks]
            raise DeepPoseError(
                f"stage {number} answers {each if len(each) > 1 else each[0]} joints and the first stage "
                f"{self.joints}: they are not of one cascade"
            )
        if any(not 0 <= joint < self.joints for pair in stage.close_up.opposing for joint in pair):
            raise DeepPoseError(
                f"stage {number} measures its close-ups between joints {stage.close_up.opposing}, of {self.joints}"
            )
        if stage.close_up.mean and len(stage.close_up.mean) != self.joints:
            raise DeepPoseError(
                f"stage {number} has displacements of {len(stage.close_up.mean)} joints, of {self.joints}"
            )
        names = {network.preprocessing.told_joints for network in stage.networks if network.joints == self.joints}
        own = self.first.preprocessing.told_joints
        if own and any(told and told != own for told in names):
            raise DeepPoseError(f"stage {number} has its joints in another order than the first stage")

    @property
    def first(self) -> Checkpoint:
        """The first stage's network."""
        return self.stages[0].networks[0]

    @property
    def joints(self) -> int:
        """Number of joints."""
        return self.first.joints

    @property
    def networks(self) -> dict[str, Checkpoint]:
        """Every network by what it is called in files: `stage1`, and `stage2.joint0` of one a joint."""
        parts = (part for parts in self.rules.parts for part in parts)
        return dict(zip(parts, (network for stage in self.stages for network in stage.networks), strict=True))

    @property
    def rules(self) -> Rules:
        """All that it is apart from its networks."""
        counts = [0 if stage.shared else len(stage.networks) for stage in self.stages]
        return Rules(tuple(stage.close_up for stage in self.stages), parts_of(counts), self.face)

    @property
    def weights(self) -> dict[str, Array]:
        """Every network's tensors as a file names them: `stage2.conv1.weight`, `stage2.joint0.conv1.weight`."""
        return {
            f"{part}.{name}": one for part, network in self.networks.items() for name, one in network.weights.items()
        }

    @property
    def parameters(self) -> int:
        """Number of trained numbers of all networks."""
        return sum(stage.parameters for stage in self.stages)

    @property
    def repairs(self) -> tuple[Repair, ...]:
        """What was changed on reading, in every network."""
        networks = self.networks.items()
        return tuple(
            replace(repair, tensor=f"{part}.{repair.tensor}")
            for part, network in networks
            for repair in network.repairs
        )

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know, each once."""
        return tuple(dict.fromkeys(notice for network in self.networks.values() for notice in network.notices))

    @property
    def source(self) -> Source:
        """Where it came from: the first network's source, of a folder with the hash of all files' hashes."""
        sources = {network.source.path: network.source.sha256 for network in self.networks.values()}
        first = replace(self.first.source, layout="cascade")
        if len(sources) == 1:
            return first
        together = hashlib.sha256("".join(sources.values()).encode()).hexdigest()
        return replace(first, path=str(Path(first.path).parent), sha256=together)

    def tensors(self) -> Iterator[tuple[str, Array]]:
        """Yields every array with the name it has in reports: each network's weights, then its optimizer's slots."""
        for part, network in self.networks.items():
            for name, array in network.tensors():
                yield f"{part}.{name}", array

    def metadata(self) -> dict[str, object]:
        """Returns all but the arrays as JSON-ready values: what every format we write carries."""
        return self.rules.metadata({part: network.metadata() for part, network in self.networks.items()})


@dataclass(frozen=True)
class Rules:
    """What a cascade is apart from its networks.

    Attributes:
        close_ups: What each stage sees; None for the first.
        parts: What the networks of each stage are called in files, see `parts_of`.
        face: As `Cascade.face`.
    """

    close_ups: tuple[CloseUp | None, ...]
    parts: tuple[tuple[str, ...], ...]
    face: FaceCrop | None = None

    def cascade(self, networks: Mapping[str, Checkpoint]) -> Cascade:
        """Puts networks together.

        Raises:
            DeepPoseError: They do not belong together.
        """
        stages = zip(self.parts, self.close_ups, strict=True)
        return Cascade(tuple(Stage(tuple(networks[part] for part in parts), rule) for parts, rule in stages), self.face)

    def metadata(self, networks: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
        """Returns what a file says of a cascade, of which each network says something of itself, as JSON-ready values.

        A stage of one network says what that does; another has a list of its networks in `joints`.
        """
        stages = []
        for number, (parts, rule) in enumerate(zip(self.parts, self.close_ups, strict=True), start=1):
            crop = None if rule is None else rule.as_dict()
            said = [dict(networks[part]) for part in parts]
            stages.append({**said[0], "crop": crop} if parts == (f"stage{number}",) else {"joints": said, "crop": crop})
        return {"stages": stages, "face": None if self.face is None else self.face.as_dict()}

    @classmethod
    def from_metadata(cls, values: Mapping[str, object]) -> tuple[Rules, dict[str, dict[str, object]]]:
        """Returns the rules that a file tells, and what each of the networks says of itself.

        Raises:
            DeepPoseError: It is not what `metadata` returns.
        """
        stages, face = values.get("stages"), values.get("face")
        if not isinstance(stages, list) or not 1 <= len(stages) <= MOST_STAGES or not isinstance(face, Mapping | None):
            raise DeepPoseError("its stages are no list of them")
        close_ups, said = [], list[list[object]]()
        for number, stage in enumerate(stages, start=1):
            if not isinstance(stage, Mapping) or not isinstance(stage.get("crop"), Mapping | None):
                raise DeepPoseError(f"its stage {number} is none")
            crop, several = stage.get("crop"), stage.get("joints")
            close_ups.append(None if crop is None else CloseUp.from_dict(crop))
            if several is not None and not (isinstance(several, list) and 1 <= len(several) <= MOST_NETWORKS):
                raise DeepPoseError(f"its stage {number} has no list of networks")
            said.append([{k: v for k, v in stage.items() if k != "crop"}] if several is None else several)
        parts = parts_of(0 if "joints" not in stage else len(stage["joints"]) for stage in stages)
        named = {}
        for part, one in zip(itertools.chain(*parts), itertools.chain(*said), strict=True):
            if not isinstance(one, Mapping):
                raise DeepPoseError("one of its networks says nothing of itself")
            named[part] = dict(one)
        return cls(tuple(close_ups), parts, None if face is None else FaceCrop.from_dict(face)), named


def one_network(checkpoint: Checkpoint | Cascade) -> Checkpoint:
    """Returns what was read where it is a single network.

    Raises:
        CheckpointError: It is a cascade.
    """
    if isinstance(checkpoint, Cascade):
        advice = f"`convert --part` takes one out: {', '.join(checkpoint.networks)}"
        raise CheckpointError(checkpoint.source.path, "this is a cascade, and one network is asked for", advice)
    return checkpoint


def parts_of(counts: Iterable[int]) -> tuple[tuple[str, ...], ...]:
    """Returns what the networks of each stage are called in files.

    Args:
        counts: How many networks a stage has, one a joint; 0 where one network answers all joints.
    """
    return tuple(
        tuple(f"stage{number}.joint{joint}" for joint in range(count)) or (f"stage{number}",)
        for number, count in enumerate(counts, start=1)
    )
