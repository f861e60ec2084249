"""Whether two cascades, or one cascade in two backends, are the same: stage by stage, each network by itself.

comparison = compare_cascades(old, new, datasets=(dataset, dataset))
comparison.same, comparison.first_parting
[(stage.number, part, one.same) for stage in comparison.stages for part, one in stage.networks.items()]
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from converters.cascade import CloseUp, Pair
from converters.errors import DeepPoseError
from converters.progress import StepCallback
from converters.values import dataclass
from deeppose_port.cascade import CascadePose
from deeppose_port.data import PoseDataset
from deeppose_port.data.arrays import Float64Array, batched
from deeppose_port.data.close_up import CloseUpError, Pictures
from deeppose_port.data.pictures import Picture
from deeppose_port.evaluate.comparison import asked, compare, compared
from deeppose_port.evaluate.differences import Joints, MetricRow, compare_joints, compare_metrics
from deeppose_port.evaluate.made_up import MadeUpPictures
from deeppose_port.evaluate.stages import evaluation_at
from deeppose_port.evaluate.verdict import (
    TOLERANCE,
    TOLERANCE_SOURCE,
    Check,
    Comparison,
    Side,
    granted_in_words,
    verdict_in_words,
)
from deeppose_port.metrics.evaluation import Evaluation

#: Persons whose stages are computed together: then close-ups go through networks in the batches in which `asked` has
#: them, and engines, which round a batch of another size otherwise, round alike.
_PERSONS = 32


@dataclass(frozen=True)
class StageComparison:
    """A stage of two cascades.

    Attributes:
        number: Which, from 1 on.
        networks: Each of its networks by what it is called in files. Those of a later stage are asked about the same
            persons, whose joints are where the old cascade has them in the stage before: rounding of stages before does
            not come in, which a warp makes more of.
        rules: What it looks at on each side; None for the first.
        joints: Where each side has the joints on its own way, from its own stage before.
        evaluations: How good that is; None of synthetic pictures.
    """

    number: int
    networks: Mapping[str, Comparison]
    rules: tuple[CloseUp | None, CloseUp | None]
    joints: Joints
    evaluations: tuple[Evaluation | None, Evaluation | None]

    @property
    def metrics(self) -> tuple[MetricRow, ...]:
        """Every metric of both sides."""
        return compare_metrics(*self.evaluations)

    @property
    def check(self) -> Check:
        """Its part of the verdict."""
        old, new = self.rules
        if old is not None and new is not None and _seen(old) != _seen(new):
            return Check(self._name, False, f"old looks at {_in_words(old)}, new at {_in_words(new)}")
        failed = [
            f"{check.name}: {check.finding}" if len(self.networks) == 1 else f"{part}, {check.name}: {check.finding}"
            for part, one in self.networks.items()
            for check in one.checks
            if not check.passed
        ]
        if failed:
            return Check(self._name, False, "; ".join(failed[:3]) + ("; …" if len(failed) > 3 else ""))
        found = list(self.networks.values())
        tensors, inputs = sum(one.weights.equal for one in found), sum(one.equal_inputs for one in found)
        worst = max(row.relative or 0.0 for one in found for row in one.layers)
        told = f"{len(found)} networks: " if len(found) > 1 else ""
        told += f"{tensors} tensors and {inputs} inputs are equal bit by bit, layers differ by {worst:.2g} at most"
        return Check(self._name, True, told)

    @property
    def _name(self) -> str:
        return f"stage {self.number}"

    def as_dict(self) -> dict[str, object]:
        """Returns what was compared as JSON-ready values."""
        old, new = self.rules
        return {
            "same": self.check.passed,
            "finding": self.check.finding,
            "crop": {"old": None if old is None else old.as_dict(), "new": None if new is None else new.as_dict()},
            "networks": [_network_as_dict(part, one) for part, one in self.networks.items()],
            "joints": self.joints.as_dict(),
            "metrics": {row.name: row.as_dict() for row in self.metrics},
        }


@dataclass(frozen=True)
class CascadeComparison:
    """What two cascades have in common, and where they part.

    Attributes:
        old: The one.
        new: The other.
        stages: Their stages, each compared.
        tolerance: What was asked for.
        environment: What it was computed with.
    """

    old: CascadePose
    new: CascadePose
    stages: tuple[StageComparison, ...]
    tolerance: float
    environment: Mapping[str, str]

    @property
    def same(self) -> bool:
        """The verdict: whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def checks(self) -> tuple[Check, ...]:
        """The parts of the verdict."""
        old, new = self.old.cascade.face, self.new.cascade.face
        cut = []
        if old is not None or new is not None:
            cut = [Check("persons", old == new, "cut out by their faces alike" if old == new else "cut out otherwise")]
        return (*cut, *(stage.check for stage in self.stages))

    @property
    def networks(self) -> dict[str, Comparison]:
        """Every network by what it is called in files."""
        return {part: one for stage in self.stages for part, one in stage.networks.items()}

    @property
    def first_parting(self) -> str | None:
        """The first layer whose outputs differ by more than rounding, with its network; None if there is none."""
        found = ((part, one.first_parting) for part, one in self.networks.items())
        return next((f"{part}: {layer}" for part, layer in found if layer is not None), None)

    @property
    def last(self) -> StageComparison:
        """The last stage, whose joints are the answer."""
        return self.stages[-1]

    @property
    def metrics(self) -> tuple[MetricRow, ...]:
        """Every metric of both sides, of the last stage."""
        return self.last.metrics

    @property
    def remarks(self) -> tuple[str, ...]:
        """What to know of a verdict before trusting it, in sentences; what is said of one network names it."""
        said = {part: one.remarks for part, one in self.networks.items()}
        everywhere = set.intersection(*map(set, said.values()))
        sentences = [
            remark if remark in everywhere else f"of {part}, {remark}"
            for part, remarks in said.items()
            for remark in remarks
        ]
        sentences += [
            f"of stage {stage.number}, what the stage before was wrong by in training is not stored alike on both sides"
            for stage in self.stages
            if _trained(stage.rules[0]) != _trained(stage.rules[1])
        ]
        return tuple(dict.fromkeys(sentences))

    @property
    def headline(self) -> str:
        """The verdict in a few words."""
        if not self.same:
            return "Not the same cascade"
        headlines = [one.headline for one in self.networks.values() if one.headline != "The same network"]
        headlines.sort(key=lambda headline: not headline.endswith("diverged"))  # of one network it is said first too
        return next(iter(headlines), "The same network").replace("network", "cascade")

    @property
    def is_made_up(self) -> bool:
        """Whether the inputs were made up, for want of persons."""
        return self.stages[0].evaluations[0] is None

    @property
    def persons(self) -> int:
        """How many persons, or pictures, were asked about."""
        return len(self.stages[0].networks["stage1"].old.input_hashes)

    @property
    def input_sha256(self) -> tuple[str, str]:
        """One hash for all inputs of each side: that of the networks' hashes, joined."""
        found = self.networks.values()
        old, new = (
            "".join(sums) for sums in zip(*((o.old.input_sha256, o.new.input_sha256) for o in found), strict=True)
        )
        return hashlib.sha256(old.encode()).hexdigest(), hashlib.sha256(new.encode()).hexdigest()

    @property
    def granted(self) -> str:
        """The tolerance in words."""
        return granted_in_words(self.tolerance, [row for one in self.networks.values() for row in one.layers])

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        return verdict_in_words(f"every stage agrees within {self.granted}", self.checks)

    def as_dict(self) -> dict[str, object]:
        """Returns the comparison as JSON-ready values: the keys of a `Comparison`, and `stages`."""
        found = list(self.networks.values())
        weights = [one.weights for one in found]
        statuses = ("differing", "other shape"), ("only in old", "only in new")
        differing, missing = (sum(one.count(status) for one in weights for status in each) for each in statuses)
        return {
            "same": self.same,
            "verdict": self.sentence,
            "remarks": list(self.remarks),
            "tolerance": {"relative": self.tolerance, "source": TOLERANCE_SOURCE},
            "first_parting": self.first_parting,
            "checks": [dict(vars(check)) for check in self.checks],
            "old": self._side(self.old, [one.old for one in found], self.input_sha256[0]),
            "new": self._side(self.new, [one.new for one in found], self.input_sha256[1]),
            "persons": 0 if self.is_made_up else self.persons,
            "made_up_pictures": self.persons if self.is_made_up else 0,
            "weights": {"equal": sum(one.equal for one in weights), "differing": differing, "missing": missing},
            "inputs": {"equal": sum(one.equal_inputs for one in found), "persons": self.persons},
            "joints": self.last.joints.as_dict(),
            "metrics": {row.name: row.as_dict() for row in self.metrics},
            "metrics_agree": all(row.agrees for row in self.metrics),
            "stages": [stage.as_dict() for stage in self.stages],
            "environment": dict(self.environment),
        }

    @staticmethod
    def _side(pose: CascadePose, sides: list[Side], input_sha256: str) -> dict[str, object]:
        cascade, source = pose.cascade, pose.cascade.source
        told = {
            "checkpoint": source.path,
            "sha256": source.sha256,
            "parameters": cascade.parameters,
            "input_sha256": input_sha256,
            "diverged": any(side.diverged for side in sides),
            "repairs": [repair.as_dict() for repair in cascade.repairs],
            "failure": next((side.failure for side in sides if side.failure is not None), None),
        }
        return {**sides[0].as_dict(), **told}


def compare_cascades(
    old: CascadePose,
    new: CascadePose,
    datasets: tuple[PoseDataset, PoseDataset] | None = None,
    *,
    tolerance: float = TOLERANCE,
    batch_size: int = 32,
    progress: StepCallback | None = None,
) -> CascadeComparison:
    """Compares two cascades, stage by stage, from their weights to their metrics.

    Args:
        old: The one cascade, in its backend.
        new: The other, or the same in another backend.
        datasets: As for `compare`, by the first stages' preprocessing.
        tolerance: As for `compare`, of each network's layers.
        batch_size: Persons or close-ups in one pass.
        progress: Called with what is done, how much of it and all of it.

    Raises:
        DeepPoseError: As for `compare`; or the cascades have other numbers of stages or networks, or there is nothing
            to look at in a stage.
        DatasetError: A person cannot be made into an example, or has a torso without length in a stage.
    """
    _refuse_others(old, new)
    pictures: tuple[Pictures, Pictures]
    pictures = datasets or (MadeUpPictures(old.preprocessing), MadeUpPictures(new.preprocessing))
    first = compare(old.first, new.first, datasets, tolerance=tolerance, batch_size=batch_size, progress=progress)
    theirs = _stages_of(new, pictures[1], first.new.predicted)
    evaluations, start = (first.old.evaluation, first.new.evaluation), first.old.predicted
    stages = [StageComparison(1, {"stage1": first}, (None, None), first.joints, evaluations)]
    for number in range(1, old.stage_count):
        networks = {}
        seen = old.asked(number, pictures[0], start), new.asked(number, pictures[1], start)
        for place, inputs in enumerate(zip(*seen, strict=True)):
            part = old.cascade.rules.parts[number][place]
            sides = []
            for name, pose, each in zip(("old", "new"), (old, new), inputs, strict=True):
                if progress is not None:
                    progress(f"{name}, {part}", place, len(old.stages[number]))
                sides.append(asked(pose.stages[number][place], each, batch_size))
            networks[part] = compared(sides[0], sides[1], tolerance, progress)
        # First all joints of a person, or by joint all persons.
        answers = [one.old.predicted.reshape(len(start), -1, 2) for one in networks.values()]
        start = np.concatenate(answers, axis=1)
        if datasets is not None:
            evaluations = _evaluations(datasets, (start, theirs[number]), evaluations)
        rules = old.cascade.stages[number].close_up, new.cascade.stages[number].close_up
        stages.append(StageComparison(number + 1, networks, rules, compare_joints(start, theirs[number]), evaluations))
    return CascadeComparison(old, new, tuple(stages), tolerance, first.environment)


def _stages_of(pose: CascadePose, pictures: Pictures, first: Float64Array) -> Float64Array:
    """Returns where each stage has the joints, (stages, N, J, 2), from the first on; NaN where nothing can be seen."""
    stages = np.full((pose.stage_count, *first.shape), np.nan)
    stages[0] = first
    for persons in map(list, batched(range(len(first)), _PERSONS)):
        seen = [pictures.picture(person) for person in persons]
        for person, found in zip(persons, _found(pose, seen, first[persons]), strict=True):
            if isinstance(found, np.ndarray):
                stages[:, person] = found
    return stages


def _found(
    pose: CascadePose, seen: Sequence[Picture], first: Float64Array
) -> Sequence[Float64Array | CloseUpError | None]:
    """Returns all stages of some persons; None for those of whom a network broke down."""
    try:
        return pose.stages_from(seen, list(first))
    except Exception:  # as the comparison of the network that broke down says
        if len(seen) == 1:
            return [None]
        return [_found(pose, [picture], points[None])[0] for picture, points in zip(seen, first, strict=True)]


def _evaluations(
    datasets: tuple[PoseDataset, PoseDataset],
    predicted: tuple[Float64Array, Float64Array],
    before: tuple[Evaluation | None, Evaluation | None],
) -> tuple[Evaluation | None, Evaluation | None]:
    old, new = (
        None if stage is None else evaluation_at(points, dataset, stage)
        for points, dataset, stage in zip(predicted, datasets, before, strict=True)
    )
    return old, new


def _refuse_others(old: CascadePose, new: CascadePose) -> None:
    """Refuses cascades that are told apart at a glance."""
    for what, sizes in (
        ("joints", [str(pose.joints) for pose in (old, new)]),
        ("stages", [str(pose.stage_count) for pose in (old, new)]),
        ("networks in its stages", [", ".join(str(len(stage)) for stage in pose.stages) for pose in (old, new)]),
    ):
        if sizes[0] != sizes[1]:
            raise DeepPoseError(
                f"{old.path} has {sizes[0]} {what}, {new.path} has {sizes[1]}; no two such cascades are the same"
            )


def _network_as_dict(part: str, one: Comparison) -> dict[str, object]:
    checks = [dict(vars(check)) for check in one.checks]
    told = {"part": part, "same": one.same, "first_parting": one.first_parting, "checks": checks}
    return {**told, **one.network_as_dict()}


def _seen(rule: CloseUp) -> tuple[float, tuple[Pair, ...]]:
    """Returns what a rule makes a stage look at."""
    return rule.sigma, rule.opposing


def _trained(rule: CloseUp | None) -> object:
    return None if rule is None else (rule.mean, rule.deviation)


def _in_words(rule: CloseUp) -> str:
    pairs = "; ".join(" and ".join(map(str, pair)) for pair in rule.opposing)
    return f"squares of {rule.sigma:g} diameters, between the joints {pairs}"
