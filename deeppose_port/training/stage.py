"""A later stage of a cascade in training: the stages before it, and its close-ups."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from converters import Checkpoint, Preprocessing, takiyu_folder
from converters.cascade import Cascade, CloseUp, Pair, Stage
from converters.errors import DeepPoseError
from converters.files import json_of
from converters.identify import Options
from converters.plan import Plan
from converters.stages import plan_of
from converters.values import dataclass
from deeppose_port.data.displacements import DrawnCloseUps
from deeppose_port.data.skeletons import Skeleton
from deeppose_port.training.options import StageOptions

_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class LaterStage:
    """A later stage that is trained, apart from its network.

    Attributes:
        before: The stages before it.
        close_up: What it looks at; None, or without `mean` and `deviation`, before that is measured.
    """

    before: Cascade
    close_up: CloseUp | None = None

    @property
    def number(self) -> int:
        """Which stage it is: 2 for the second."""
        return len(self.before.stages) + 1

    def with_networks(self, *networks: Checkpoint) -> Cascade:
        """Returns all stages up to this one.

        Args:
            networks: This stage's: one for all joints, or one a joint.
        """
        return Cascade((*self.before.stages, Stage(networks, self.close_up)), self.before.face)


def stages_before(found: Checkpoint | Cascade, path: Path, number: int) -> LaterStage:
    """Returns what there is of a stage that is to be trained: the stages before it.

    After those of takiyu/DeepPose it looks at close-ups as that program's stages do.

    Args:
        found: What was read.
        path: From where.
        number: Which stage is to be trained.

    Raises:
        DeepPoseError: There are too few of them.
    """
    cascade = Cascade((Stage((found,)),)) if isinstance(found, Checkpoint) else found
    if len(cascade.stages) < number - 1:
        have = "1 stage" if len(cascade.stages) == 1 else f"{len(cascade.stages)} stages"
        raise DeepPoseError(f"it has {have}; stage {number} comes after {number - 1}", where=path)
    rule = None if cascade.face is None else takiyu_folder.CLOSE_UP
    return LaterStage(Cascade(cascade.stages[: number - 1], cascade.face), rule)


def network_before(
    path: Path, number: int = 2, architecture: str | None = None, model_file: str | None = None
) -> Checkpoint | None:
    """Returns the network of the stage before one that is to be trained, without its arrays.

    Args:
        path: A checkpoint or a cascade.
        number: Which stage is to be trained.
        architecture: Of a checkpoint that leaves a choice.
        model_file: The source of its network.

    Returns:
        None where there is no such stage, which is refused later.

    Raises:
        CheckpointError: The file is refused.
    """
    plan = plan_of(path, Options(architecture, model_file, state=False))
    if isinstance(plan, Plan):
        return plan.outline
    parts = plan.rules.parts[number - 2 : number - 1]
    return plan.networks[parts[0][0]].outline if parts else None


def stage_preprocessing(preprocessing: Preprocessing) -> Preprocessing:
    """Returns how close-ups become a network's inputs, of how persons become another's."""
    return Preprocessing(
        im_size=preprocessing.im_size,
        gcn=preprocessing.gcn,
        colour=preprocessing.colour,
        interpolation=preprocessing.interpolation,
        scale=preprocessing.scale,
        mean=preprocessing.mean,
        std=preprocessing.std,
        joints=preprocessing.joints,
        frame="middle",
        decoding=preprocessing.decoding,
    )


def displacements_json(persons: DrawnCloseUps) -> str:
    """Returns what a later stage is trained on, as JSON: its rule, and what its persons are."""
    joints, close_up = persons.skeleton.joints, persons.close_up
    told = {
        "sigma": close_up.sigma,
        "opposing": [[joints[joint] for joint in pair] for pair in close_up.opposing],
        "mean": dict(zip(joints, close_up.mean, strict=True)),
        "deviation": dict(zip(joints, close_up.deviation, strict=True)),
        "persons": len(persons.persons),
        "persons_without_diameter": persons.guessed,
        "draws": persons.draws,
    }
    return json.dumps(told, indent=1) + "\n"


def close_up_in(path: Path, skeleton: Skeleton) -> CloseUp:
    """Reads the rule from what `displacements_json` returned.

    Raises:
        DeepPoseError: The file cannot be read, or tells no rule of these joints.
    """
    told = json_of(path, largest=_MOST_BYTES)
    try:
        if not isinstance(told, dict):
            raise TypeError
        statistics = {name: [told[name][joint] for joint in skeleton.joints] for name in ("mean", "deviation")}
        pairs = [[skeleton.joints.index(joint) for joint in pair] for pair in told["opposing"]]
        return CloseUp.from_dict({"sigma": told["sigma"], "opposing": pairs, **statistics})
    except (KeyError, TypeError, ValueError) as error:
        problem = f"it does not tell the close-ups of the joints of {skeleton.name}"
        raise DeepPoseError(problem, where=path, advice="the run began with another; start anew") from error


def opposing_joints(options: StageOptions, skeleton: Skeleton, rule: CloseUp | None = None) -> tuple[Pair, ...]:
    """Returns the pairs of joints that close-ups are measured by: those that were said, a rule's, or the skeleton's.

    Raises:
        DeepPoseError: A joint is not of the skeleton, or neither tells any.
    """
    pairs = []
    for told in options.opposing:
        names = [name.strip() for name in told.split(",")]
        unknown = [name for name in names if name not in skeleton.joints]
        if unknown:
            raise DeepPoseError(f"--opposing: {skeleton.name} has no {unknown[0]!r}, but {', '.join(skeleton.joints)}")
        if len(names) != 2 or names[0] == names[1]:
            raise DeepPoseError(f"--opposing {told!r} is not two joints, as 'left shoulder,right hip'")
        pairs.append((skeleton.joints.index(names[0]), skeleton.joints.index(names[1])))
    if not pairs and rule is not None:
        return rule.opposing
    if not pairs and not skeleton.diameter:
        raise DeepPoseError(
            f"{skeleton.name} does not tell which opposing joints of the torso close-ups are measured by; name two "
            "with --opposing, or write `opposing` into the skeleton's file"
        )
    return tuple(pairs) or skeleton.diameter


def refuse_other_rule(options: StageOptions, skeleton: Skeleton, close_up: CloseUp, path: Path | None) -> None:
    """Refuses to go on with other close-ups than a run began with.

    Raises:
        DeepPoseError: sigma or the opposing joints were said, and are others.
    """
    told: Mapping[str, tuple[object, object]] = {
        "sigma": (options.sigma, close_up.sigma),
        "opposing": (opposing_joints(options, skeleton) if options.opposing else None, close_up.opposing),
    }
    for name, (said, before) in told.items():
        if said is not None and said != before:
            raise DeepPoseError(f"its run began with another {name}, and goes on with that: leave it out", where=path)
