"""A later stage of a cascade in training: the stages before it, and its close-ups."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from converters import Checkpoint, Preprocessing
from converters.cascade import Cascade, CloseUp, Pair, Stage
from converters.errors import DeepPoseError
from converters.identify import Options
from converters.networks import Layer
from converters.plan import Plan
from converters.stages import plan_of
from converters.values import dataclass
from deeppose_port.data.skeletons import Skeleton
from deeppose_port.training.options import StageOptions


@dataclass(frozen=True)
class LaterStage:
    """A later stage that is trained, apart from its network.

    Attributes:
        before: The stages before it.
        close_up: What it looks at; None before that is measured.
    """

    before: Cascade
    close_up: CloseUp | None = None

    @property
    def number(self) -> int:
        """Which stage it is: 2 for the second."""
        return len(self.before.stages) + 1

    def with_network(self, checkpoint: Checkpoint) -> Cascade:
        """Returns all stages up to this one.

        Args:
            checkpoint: This stage's network.
        """
        return Cascade((*self.before.stages, Stage((checkpoint,), self.close_up)))


def stages_before(found: Checkpoint | Cascade, path: Path, number: int) -> Cascade:
    """Returns the stages before one that is to be trained.

    Args:
        found: What was read.
        path: From where.
        number: Which stage is to be trained.

    Raises:
        DeepPoseError: There are too few of them, or they see persons as nothing is trained here.
    """
    cascade = Cascade((Stage((found,)),)) if isinstance(found, Checkpoint) else found
    if cascade.face is not None:
        problem = "its first stage cuts persons out by their faces, and a CSV has boxes of joints"
        raise DeepPoseError(problem, where=path)
    if len(cascade.stages) < number - 1:
        have = "1 stage" if len(cascade.stages) == 1 else f"{len(cascade.stages)} stages"
        raise DeepPoseError(f"it has {have}; stage {number} comes after {number - 1}", where=path)
    return Cascade(cascade.stages[: number - 1])


def layers_before(path: Path, number: int) -> tuple[Layer, ...]:
    """Returns the layers of the stage before one that is to be trained, of which no array is read.

    Args:
        path: A checkpoint or a cascade.
        number: Which stage is to be trained.

    Returns:
        Empty where there is no such stage, which is refused later.

    Raises:
        CheckpointError: The file is refused.
    """
    plan = plan_of(path, Options(state=False))
    if isinstance(plan, Plan):
        return plan.outline.architecture.layers
    parts = plan.rules.parts[number - 2 : number - 1]
    return plan.networks[parts[0][0]].outline.architecture.layers if parts else ()


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


def opposing_joints(options: StageOptions, skeleton: Skeleton) -> tuple[Pair, ...]:
    """Returns the pairs of joints that close-ups are measured by: those that were said, or the skeleton's.

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
