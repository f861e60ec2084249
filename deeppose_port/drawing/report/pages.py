"""Writes the page: one HTML file that needs nothing else and asks no network for anything.

A small script sorts and filters the persons; without scripts the page shows everything all the same.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib import resources
from pathlib import Path

from markupsafe import Markup

from converters.errors import DeepPoseError
from converters.files import atomic, made, refuse_targets
from converters.folders import new_folder
from converters.progress import ProgressCallback
from converters.values import dataclass
from deeppose_port import __version__
from deeppose_port.cascade import CascadePose
from deeppose_port.data import PoseDataset
from deeppose_port.drawing.report import charts, contents, gallery
from deeppose_port.drawing.report.certificate import certificate_of
from deeppose_port.drawing.report.subjects import STYLES, THRESHOLDS, Named, Subject
from deeppose_port.evaluate.cascades import CascadeComparison
from deeppose_port.evaluate.environment import environment
from deeppose_port.evaluate.verdict import Comparison
from deeppose_port.metrics.evaluation import Bootstrap, Evaluation
from deeppose_port.metrics.registry import Curve, Metric, Reference
from deeppose_port.pose import Pose
from deeppose_port.text import counted, shown

PAGE = "index.html"


def write_evaluation(
    pose: Pose | CascadePose,
    evaluation: Evaluation | Sequence[Evaluation],
    dataset: PoseDataset,
    folder: str | os.PathLike[str],
    *,
    command: str,
    intervals: Bootstrap | None = None,
    force: bool = False,
    progress: ProgressCallback | None = None,
) -> Path:
    """Writes a report of an evaluation.

    Args:
        pose: What answered.
        evaluation: Its answers; of a cascade those of every stage, of which the first and the last stand side by side.
        dataset: What it was asked.
        folder: Where `index.html` goes; it is made if need be.
        command: The command that makes the same report, for the page to show.
        intervals: The answer of `Evaluation.bootstrap`, if it was asked for.
        force: Whether a report that exists may be replaced.
        progress: Called with the thumbnails made and all of them.

    Returns:
        The page.

    Raises:
        DeepPoseError: There is a report already.
        DatasetError: A picture cannot be decoded any more.
    """
    stages = [evaluation] if isinstance(evaluation, Evaluation) else list(evaluation)
    if isinstance(pose, CascadePose):
        shown = {0: "a", len(stages) - 1: "b"} if len(stages) > 1 else {0: "a"}
        subjects = [
            Subject(style, f"stage {number + 1}", pose.stages[number][0], stages[number], dataset)
            for number, style in shown.items()
        ]
    else:
        subjects = [Subject("a", "prediction", pose, stages[0], dataset)]
    values = {"comparison": None, "environment": environment(pose.first), "stages": contents.stage_rows(stages)}
    return _write(subjects, values, folder, command, intervals, force, progress)


def write_comparison(
    comparison: Comparison | CascadeComparison,
    folder: str | os.PathLike[str],
    *,
    command: str,
    force: bool = False,
    progress: ProgressCallback | None = None,
) -> Path:
    """Writes a report of a comparison, both sides beside each other; arguments are `write_evaluation`'s.

    Without persons it has weights, layers and answers, and no metrics.
    """
    if isinstance(comparison, Comparison):
        sides = comparison.old, comparison.new
        evaluations = comparison.old.evaluation, comparison.new.evaluation
    else:
        first = comparison.networks["stage1"]
        sides, evaluations = (first.old, first.new), comparison.last.evaluations
    subjects: list[Named] = []
    for style, label, side, evaluation in zip("ab", ("old", "new"), sides, evaluations, strict=True):
        if evaluation is None or not isinstance(side.dataset, PoseDataset):
            subjects.append(Named(style, label, side.pose))
        else:
            subjects.append(Subject(style, label, side.pose, evaluation, side.dataset))
    values = {"comparison": certificate_of(comparison, sides), "environment": comparison.environment, "stages": []}
    values["asked"] = counted(len(sides[0].input_hashes), "synthetic picture")
    return _write(subjects, values, folder, command, None, force, progress)


def write_side_by_side(
    answers: Mapping[str, tuple[Pose | CascadePose, Evaluation, PoseDataset]],
    folder: str | os.PathLike[str],
    *,
    command: str,
    force: bool = False,
    progress: ProgressCallback | None = None,
) -> Path:
    """Writes a report of two or three networks that were asked of the same persons, each by its own preprocessing.

    Args:
        answers: By what each is called: the network, its evaluation (of a cascade that of its last stage), and the
            persons as it sees them.
        folder: As for `write_evaluation`, as the others are.
        command: The same.
        force: The same.
        progress: The same.

    Returns:
        The page.

    Raises:
        DeepPoseError: There is a report already, there are too many or too few, or their persons are not the same.
        DatasetError: A picture cannot be decoded any more.
    """
    if not 1 < len(answers) <= len(STYLES):
        raise DeepPoseError(f"two to {len(STYLES)} networks stand side by side, not {len(answers)}")
    subjects = [
        Subject(style, label, pose.stages[-1][0] if isinstance(pose, CascadePose) else pose, evaluation, dataset)
        for style, (label, (pose, evaluation, dataset)) in zip(STYLES, answers.items(), strict=False)
    ]
    first = subjects[0]
    for other in subjects[1:]:
        if _persons_of(first.dataset) != _persons_of(other.dataset):
            raise DeepPoseError(f"{first.label} and {other.label} were asked of different persons")
    values: dict[str, object] = {"comparison": None, "environment": environment(first.pose), "stages": []}
    return _write(subjects, values, folder, command, None, force, progress)


def refuse_existing(folder: str | os.PathLike[str], force: bool) -> None:
    """Raises an error if there is a report that may not be replaced, or no place for one.

    Raises:
        DeepPoseError: It says which, and what to do.
    """
    page = new_folder(folder) / PAGE
    refuse_targets([page], force, instead="--report names another folder")


def _write(
    subjects: Sequence[Named],
    values: Mapping[str, object],
    folder: str | os.PathLike[str],
    command: str,
    intervals: Bootstrap | None,
    force: bool,
    progress: ProgressCallback | None,
) -> Path:
    refuse_existing(folder, force)
    asked = [subject for subject in subjects if isinstance(subject, Subject)]
    text = _render(
        **{**values, **(_measured(asked, intervals, progress) if asked else {})},
        measured=bool(asked),
        subjects=subjects,
        title=_title(subjects),
        provenance=[contents.provenance(subject) for subject in subjects],
        command=command,
        version=__version__,
        now=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    )
    page = Path(folder) / PAGE
    with made(page.parent), atomic(page, force=force) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))
    return page


def _measured(
    subjects: Sequence[Subject], intervals: Bootstrap | None, progress: ProgressCallback | None
) -> dict[str, object]:
    """Returns what the page says of persons."""
    rows, dataset = contents.metric_rows(subjects, intervals), contents.dataset_facts(subjects[0])
    order, persons = gallery.persons_of(subjects, progress)
    return {
        "asked": f"{dataset['size']} · {dataset['skeleton']}",
        "metrics": rows,
        "undefined": contents.undefined(subjects[0]),
        "headlines": contents.headlines(subjects[0], rows),
        "intervals": intervals,
        "figures": _figures(subjects),
        "small": _small_figures(subjects),
        "joints": contents.table_by("joints", subjects),
        "limbs": contents.table_by("limbs", subjects),
        "bars": _bars(subjects),
        "histogram": _histogram(subjects),
        "persons": persons,
        "many": len(persons) > gallery.LAZY,
        "index": gallery.index_of(subjects, order),
        "joint_names": subjects[0].evaluation.skeleton.joints,
        "dataset": dataset,
    }


def _persons_of(dataset: PoseDataset) -> tuple[object, ...]:
    """Returns what tells whether two datasets are of the same persons, however these are seen."""
    return dataset.skeleton.joints, [dataset.person(i).file for i in range(len(dataset))], dataset.joints.tobytes()


def _title(subjects: Sequence[Named]) -> str:
    """Returns the files' names, with as much else as tells the sides apart."""
    poses = [subject.pose for subject in subjects]
    backends = list(dict.fromkeys(pose.backend for pose in poses))
    for names in ([subject.name for subject in subjects], [pose.checkpoint.source.path for pose in poses]):
        if len(set(names)) == len(names):
            return " and ".join(names)
        if len(backends) > 1:
            break
    return f"{names[0]}, {' and '.join(backends)}"


# --- figures ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Figure:
    """Curves of the whole: a title, a chart, and the papers that define the metric."""

    title: str
    chart: Markup
    references: tuple[Reference, ...]


@dataclass(frozen=True)
class _SmallFigures:
    """Curves of the joints: what they show, what their thresholds are fractions of, and charts by joint."""

    title: str
    axis: str
    charts: list[tuple[str, Markup]]


def _curved(subject: Subject) -> list[tuple[Metric, Curve]]:
    """Returns the metrics that have curves."""
    metrics = [measure.metric for measure in subject.evaluation.measures.values()]
    return [(metric, metric.curve) for metric in metrics if metric.curve is not None]


def _figures(subjects: Sequence[Subject]) -> list[_Figure]:
    """Returns the curves of the whole."""
    figures = []
    for metric, curve in _curved(subjects[0]):
        title = f"{curve.title}, {metric.over}"
        series = [subject.overall(metric) for subject in subjects]
        chart = charts.curves(title, curve.axis, THRESHOLDS, series, marked=curve.marked)
        figures.append(_Figure(title, chart, metric.references))
    return figures


def _small_figures(subjects: Sequence[Subject]) -> _SmallFigures:
    """Returns the curves of the joints, by the first metric that the data can give."""
    metric, curve = _curved(subjects[0])[0]
    by_joint = [subject.joint_curves(metric) for subject in subjects]
    drawn = [
        (name, charts.curves(f"{name}: {curve.title}", curve.axis, THRESHOLDS, series, marked=curve.marked, small=True))
        for name in by_joint[0]
        for series in [[curves[name] for curves in by_joint]]
    ]
    return _SmallFigures(curve.title, curve.axis, drawn)


def _bars(subjects: Sequence[Subject]) -> Markup:
    if not subjects[0].evaluation.skeleton.pcp_limbs:
        return Markup("")
    strict, relaxed = (
        [charts.Series(s.style, f"{s.label}, {rule}", s.evaluation.measures[key].values) for s in subjects]
        for key, rule in (("pcp", "strict"), ("pcp_relaxed", "relaxed"))
    )
    return charts.bars("PCP at 0.5 by limb", list(subjects[0].evaluation.skeleton.pcp_limbs), strict, relaxed)


def _histogram(subjects: Sequence[Subject]) -> Markup:
    errors = [
        charts.Series(subject.style, subject.label, subject.errors[subject.evaluation.visible]) for subject in subjects
    ]
    return charts.histogram("How large the errors are", "error, pixels of the pictures", errors)


# --- the page --------------------------------------------------------------------------------------------------------


def _render(**values: object) -> str:
    from jinja2 import Environment, StrictUndefined

    pages = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    pages.filters["shown"] = shown
    pages.filters["sentence"] = _sentence
    here = resources.files(__package__)  # which may be a zip file
    page, style, script = ((here / name).read_text(encoding="utf-8") for name in ("page.html", "page.css", "page.js"))
    # The only script that the browser may run is this one, whatever a file's name says.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return pages.from_string(page).render(
        style=Markup(style), script=Markup(script), script_hash=f"sha256-{digest}", **values
    )


def _sentence(text: str) -> str:
    """Returns words with numbers in them, of which 1e-05 has a minus, after which lines do not end."""
    return re.sub(r"(?<=\de)-(?=\d)", "\N{MINUS SIGN}", shown(text))
