"""Evaluations: all metrics of what was predicted of a dataset, in pixels of the original pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field, fields
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from converters import words
from converters.errors import DeepPoseError
from converters.values import dataclass
from deeppose_port.data import PoseDataset
from deeppose_port.data.arrays import Float32Array, Float64Array
from deeppose_port.data.displacements import CloseUps
from deeppose_port.metrics.lengths import torso_lengths
from deeppose_port.metrics.predictions import Predictions
from deeppose_port.metrics.registry import METRICS, NEEDS, Metric, Outputs, Poses, find, without_substitutes
from deeppose_port.metrics.shown import bare, number
from deeppose_port.metrics.tallies import Tally, interval, resample
from deeppose_port.text import counted, finite

if TYPE_CHECKING:
    import pandas

#: JSON-ready numbers by name; None for what nobody has, or what is not finite.
Numbers: TypeAlias = "float | list[float | None] | dict[str, Numbers] | None"


class Number(NamedTuple):
    """A number of an evaluation: its value, None for none, its unit, what people call it, and whether it is of all."""

    value: float | None
    unit: str
    title: str
    is_whole: bool


@dataclass(frozen=True)
class Measure:
    """One metric of a dataset.

    Attributes:
        metric: Which.
        tally: It, by person.
        names: Of the tally's columns, joints or limbs; none for a metric of whole persons.
        excluded: Columns that are left out of the total.
    """

    metric: Metric
    tally: Tally
    names: tuple[str, ...]
    excluded: tuple[int, ...]

    def __repr__(self) -> str:
        """Returns its number of the whole, in a line."""
        return f"<{self.metric.title_of_whole}: {number(self.overall, self.metric.unit)}>"

    @property
    def values(self) -> Float64Array:
        """The metric of each joint or limb; NaN for one that nobody has."""
        return self.tally.values()

    @property
    def overall(self) -> float:
        """Its number of the whole; NaN where nothing counts."""
        return float(self.whole(self.tally.summed())[0])

    def column(self) -> list[float]:
        """Returns the metric of each joint or limb, and its number of the whole last."""
        return [*map(float, self.values), self.overall]

    def whole(self, tally: Tally) -> Float64Array:
        """Returns, for each row of a tally of this metric, its number of the whole."""
        return tally.means() if self.metric.summary == "mean" else tally.totals(self.excluded)

    def numbers(self) -> Iterator[tuple[tuple[str, ...], float]]:
        """Yields each number of it with its place in JSON, as `("pdj", "0.2", "left wrist")`."""
        yield from zip(self._places(), self.column() if self.names else [self.overall], strict=True)

    def intervals(self, resampled: Tally, level: float) -> Iterator[tuple[tuple[str, ...], tuple[float, float]]]:
        """Yields the same with a (lower, upper) interval for each number.

        Args:
            resampled: The tally, resampled.
            level: As for `tallies.interval`.
        """
        samples = self.whole(resampled)[:, np.newaxis]
        if self.names:
            samples = np.concatenate([resampled.columns(), samples], axis=1)
        ends = [(float(low), float(high)) for low, high in interval(samples, level).T]
        yield from zip(self._places(), ends, strict=True)

    def _places(self) -> list[tuple[str, ...]]:
        path = self.metric.path
        return [(*path, name) for name in (*self.names, self.metric.summary)] if self.names else [path]


@dataclass(frozen=True)
class Bootstrap:
    """Confidence intervals of an evaluation's numbers.

    Attributes:
        resamples: How often the persons were drawn.
        seed: Of the drawing.
        level: How much of the resampled values lies in an interval.
        wholes: (lower, upper) of each metric's number of the whole, by its key; NaN where it has no value.
        intervals: That of every number, as `Evaluation.as_dict` has them.
    """

    resamples: int
    seed: int
    level: float
    wholes: Mapping[str, tuple[float, float]]
    intervals: Mapping[str, Numbers]

    def as_dict(self) -> dict[str, Numbers]:
        """Returns all but `wholes` as JSON-ready values."""
        return {
            "resamples": self.resamples,
            "seed": self.seed,
            "level": self.level,
            "intervals": dict(self.intervals),
        }


@dataclass(frozen=True)
class Evaluation(Poses):
    """What a checkpoint answers to a dataset, and how good that is.

    Attributes:
        measures: The metrics that the data can give, by their keys in `METRICS`.
    """

    measures: Mapping[str, Measure] = field(kw_only=True)

    def __getitem__(self, name: str) -> Measure:
        """Returns a metric by its key or name, as `evaluation["pdj@0.2"].overall`.

        Raises:
            KeyError: The data cannot give it.
            DeepPoseError: There is no such metric.
        """
        return self.measures[find(name).key]

    def __repr__(self) -> str:
        """Returns what it is, in a line: never its arrays."""
        found = ", ".join(f"{m.metric.title} {number(m.overall, m.metric.unit)}" for m in self.headlines())
        return f"<Evaluation of {counted(self.persons, 'person')} of {self.skeleton.name}: {found}>"

    def _repr_html_(self) -> str:
        """Returns its numbers as a notebook shows them: of the whole, and by joint and limb."""
        whole = {m.metric.title_of_whole: number(m.overall, m.metric.unit) for m in self.shown()}
        title = f"{counted(self.persons, 'person')} of {self.skeleton.name}"
        tables = [words.html_of_facts(title, whole)]
        for one, columns in (("joint", self.by("joints")), ("limb", self.by("limbs"))):
            if columns:
                names = (*columns[0].names, columns[0].metric.summary)
                cells = [[bare(value, m.metric.unit) for value in m.column()] for m in columns]
                headings = (one, *(m.metric.column for m in columns))
                tables.append(words.html_of_rows(headings, zip(names, *cells, strict=True), title=f"by {one}"))
        return "".join(tables)

    def to_frame(self, of: Literal["all", "joints", "limbs"] = "joints") -> pandas.DataFrame:
        """Returns its numbers as a table of pandas: fractions from 0 to 1, errors in pixels, NaN for what nobody has.

        Args:
            of: What has a line each: `joints`, and `all` of them last; `limbs`, and their `mean` last; or `all`, the
                metrics, with their title, value and unit. The columns of the first two are the metrics by their names.

        Raises:
            DeepPoseError: pandas is not installed, or there is no such table.
        """
        try:
            import pandas
        except ImportError as error:
            raise DeepPoseError("a frame needs pandas", advice="pip install 'deeppose-port[pandas]'") from error
        if of == "all":
            rows = {m.metric.name: (m.metric.title, m.overall, m.metric.unit) for m in self.measures.values()}
            frame = pandas.DataFrame.from_dict(rows, orient="index", columns=["title", "value", "unit"])
            return frame.rename_axis("metric")
        if of not in ("joints", "limbs"):
            raise DeepPoseError(f"there is no frame of {of!r}; there are all, joints and limbs")
        measures = [measure for measure in self.measures.values() if measure.metric.columns == of]
        one, names = ("joint", self.skeleton.joints) if of == "joints" else ("limb", tuple(self.skeleton.pcp_limbs))
        columns = {measure.metric.name: measure.column() for measure in measures}
        lines = pandas.Index([*names, "all" if of == "joints" else "mean"], name=one)
        return pandas.DataFrame(columns, index=lines, dtype=float)

    @property
    def persons(self) -> int:
        """Number of persons."""
        return len(self.true)

    @property
    def outputs(self) -> Float32Array:
        """(N, 2 * J) float32, as the network gives them.

        Raises:
            DeepPoseError: The poses are no network's.
        """
        if self.network is None:
            raise DeepPoseError(NEEDS["network"])
        return self.network.outputs

    @property
    def without_torso(self) -> int:
        """Persons whose torso is not annotated, and who are in no PDJ; 0 where the data have no torsos at all."""
        return _unknown(self.torso_lengths)

    @property
    def without_head(self) -> int:
        """Persons without a head size, who are in no PCKh; 0 where the data have none at all."""
        return _unknown(self.head_sizes)

    def shown(self) -> list[Measure]:
        """Returns the metrics that stand in tables of the whole."""
        return [measure for measure in self.measures.values() if measure.metric.is_shown]

    def headlines(self) -> list[Measure]:
        """Returns the metrics of which a number stands on top of reports and is followed by trainings."""
        metrics = without_substitutes(measure.metric for measure in self.measures.values())
        return [self.measures[metric.key] for metric in metrics if metric.is_headline]

    def by(self, columns: Literal["joints", "limbs"]) -> list[Measure]:
        """Returns the metrics that stand in the table by joint or by limb."""
        metrics = without_substitutes(measure.metric for measure in self.measures.values())
        return [self.measures[metric.key] for metric in metrics if metric.heading and metric.columns == columns]

    def columns(self, of: Literal["joints", "limbs"]) -> tuple[tuple[str, ...], list[int | None]]:
        """Returns the names of joints or limbs, and how often each joint is annotated, all of them last."""
        if of == "limbs":
            return tuple(self.skeleton.pcp_limbs), [None] * (len(self.skeleton.pcp_limbs) + 1)
        counts = self.visible.sum(axis=0).tolist()
        return self.skeleton.joints, [*counts, sum(counts)]

    def summary(self, *more: Metric) -> dict[str, float]:
        """Returns the few numbers that a training follows, and others, by their names."""
        wanted = [measure.metric for measure in self.headlines()]
        wanted += [metric for metric in more if metric.key in self.measures]
        return {metric.name: self.measures[metric.key].overall for metric in wanted}

    def places(self) -> dict[str, Number]:
        """Returns every number of `as_dict` by its place in it, as `pdj/0.2/left wrist`."""
        found = {}
        for measure in self.measures.values():
            metric = measure.metric
            *columns, (whole, overall) = measure.numbers()
            for place, value in columns:
                found["/".join(place)] = Number(finite(value), metric.unit, metric.with_words(place[-1]), False)
            found["/".join(whole)] = Number(finite(overall), metric.unit, metric.title_of_whole, True)
        for measure in self._alone():
            metric = measure.metric
            found[metric.alone] = Number(finite(measure.overall), metric.unit, metric.title_of_whole, True)
        # Where the data have no such lengths, that nobody is left out is not worth a line.
        has_torsos, has_heads = (lengths is not None for lengths in (self.torso_lengths, self.head_sizes))
        return {
            **found,
            "pdj_left_out": Number(self.without_torso, "", "Persons without a torso", has_torsos),
            "pckh_left_out": Number(self.without_head, "", "Persons without a head size", has_heads),
        }

    def as_dict(self) -> dict[str, Numbers]:
        """Returns the numbers as JSON-ready values; what nobody has, or what is not finite, is None."""
        return {
            "persons": self.persons,
            "joints": len(self.skeleton.joints),
            **_nested(
                (place, finite(number)) for measure in self.measures.values() for place, number in measure.numbers()
            ),
            **{measure.metric.alone: finite(measure.overall) for measure in self._alone()},
            "pdj_left_out": self.without_torso,
            "pckh_left_out": self.without_head,
        }

    def bootstrap(self, resamples: int = 1000, seed: int = 0, level: float = 0.95) -> Bootstrap:
        """Returns confidence intervals of the numbers, from drawing the persons again with replacement.

        Args:
            resamples: How often.
            seed: Of the drawing.
            level: How much of the resampled values lies in an interval.

        Raises:
            DeepPoseError: There is no person or no resample, or the level is not between 0 and 1.
        """
        tallies = resample([measure.tally for measure in self.measures.values()], resamples, seed)
        found = {
            key: list(measure.intervals(tally, level))
            for (key, measure), tally in zip(self.measures.items(), tallies, strict=True)
        }
        wholes = {key: ends[-1][1] for key, ends in found.items()}
        intervals = _nested((place, _finite_pair(ends)) for pairs in found.values() for place, ends in pairs)
        alone = {measure.metric.alone: _finite_pair(wholes[measure.metric.key]) for measure in self._alone()}
        return Bootstrap(resamples, seed, level, wholes, {**intervals, **alone})

    def _alone(self) -> list[Measure]:
        return [measure for measure in self.measures.values() if measure.metric.alone]


def evaluation_of(
    predictions: Predictions, dataset: PoseDataset | CloseUps, head_sizes: npt.ArrayLike | None = None
) -> Evaluation:
    """Computes all metrics of the predictions for a whole dataset.

    Args:
        predictions: Of every person, in the dataset's order.
        dataset: The persons, or their close-ups.
        head_sizes: (N,) lengths for PCKh, in pixels; None takes those of the CSV's side file or else of the skeleton,
            and without them leaves PCKh out.

    Raises:
        DeepPoseError: As the functions of `metrics` do.
    """
    persons = dataset.persons if isinstance(dataset, CloseUps) else dataset
    return evaluation_of_poses(
        Poses(
            persons.skeleton,
            predictions.predicted,
            persons.joints,
            dataset.visible,
            torso_lengths_of(persons),
            head_sizes_of(persons) if head_sizes is None else np.asarray(head_sizes, np.float64),
            Outputs(predictions.outputs, predictions.targets, predictions.mask, dataset.preprocessing),
        )
    )


def evaluation_of_poses(poses: Poses) -> Evaluation:
    """Computes all metrics that some poses can give, whatever predicted them.

    Raises:
        DeepPoseError: As the functions of `metrics` do.
    """
    skeleton = poses.skeleton
    measures = {
        key: Measure(metric, metric.tally(poses), metric.names(skeleton), metric.excluded(skeleton))
        for key, metric in METRICS.items()
        if not metric.needs or getattr(poses, metric.needs) is not None
    }
    return Evaluation(**{f.name: getattr(poses, f.name) for f in fields(Poses)}, measures=measures)


def torso_lengths_of(dataset: PoseDataset) -> Float64Array | None:
    """Returns the (N,) torso lengths of a dataset: those beside its CSV, else those of its joints; None without."""
    if dataset.torso_lengths is not None or dataset.skeleton.torso is None:
        return dataset.torso_lengths
    return torso_lengths(dataset.joints, dataset.skeleton.torso, dataset.visible)


def head_sizes_of(dataset: PoseDataset) -> Float64Array | None:
    """Returns PCKh's (N,) lengths of a dataset: those beside its CSV, else those of its joints; None without."""
    skeleton = dataset.skeleton
    if dataset.head_sizes is not None or skeleton.head is None:
        return dataset.head_sizes
    return skeleton.head_factor * torso_lengths(dataset.joints, skeleton.head, dataset.visible)


def missing_for(metric: Metric, dataset: PoseDataset) -> str | None:
    """Returns what a dataset lacks to give a metric, in words; None if it can give it."""
    given = {
        "torso_lengths": torso_lengths_of(dataset),
        "head_sizes": head_sizes_of(dataset),
        "limbs": dataset.skeleton.pcp_limbs or None,
    }
    lacking = metric.needs in given and given[metric.needs] is None
    return NEEDS[metric.needs].format(skeleton=dataset.skeleton.name) if lacking else None


def _unknown(lengths: Float64Array | None) -> int:
    """Returns how many lengths are not known, of those that the data have."""
    return 0 if lengths is None else int(np.isnan(lengths).sum())


def _nested(values: Iterator[tuple[tuple[str, ...], Numbers]]) -> dict[str, Numbers]:
    """Puts values by their places into JSON's keys; None for each metric that is missing."""
    nested: dict[str, Numbers] = {metric.path[0]: None for metric in METRICS.values()}
    for place, value in values:
        inside = nested
        for name in place[:-1]:
            deeper = inside.get(name)
            if not isinstance(deeper, dict):
                deeper = inside[name] = {}
            inside = deeper
        inside[place[-1]] = value
    return nested


def _finite_pair(ends: tuple[float, float]) -> list[float | None]:
    return [finite(end) for end in ends]
