"""`eval FOLDER`: the checkpoints of a folder on the same persons, the best first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from converters.errors import DeepPoseError
from deeppose_port.cli import display
from deeppose_port.cli.evaluating import EvaluatingOptions, evaluate_one
from deeppose_port.cli.options import BAD_INPUT, SOME_REFUSED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deeppose_port.evaluate.ranking import Ranked
    from deeppose_port.metrics.registry import Metric


def rank(folder: Path, how: EvaluatingOptions, by: str, *, as_json: bool) -> int:
    """Evaluates each checkpoint of a folder and shows them by a metric; the exit status tells whether some failed."""
    from deeppose_port.evaluate.ranking import Ranked, different_checkpoints, ranked
    from deeppose_port.metrics.registry import find

    metric = find(by)
    checkpoints = different_checkpoints(folder)
    if not checkpoints:
        raise DeepPoseError("there is no checkpoint in this folder", where=folder)
    evaluated, refused = [], []
    for files in checkpoints:
        try:
            found = evaluate_one(files[0], how, quiet=as_json)
        except DeepPoseError as error:
            refused.append((files[0], str(error)))
            display.error(str(error))
        else:
            evaluated.append(Ranked(files, found.pose.backend, found.evaluation, found.pose.first.engine))
    order = ranked(evaluated, metric)
    if as_json:
        display.as_json(
            {
                "by": metric.name,
                "best": str(order[0].files[0]) if order else None,
                "checkpoints": [one.as_dict() for one in order],
                "refused": [{"checkpoint": str(file), "error": problem} for file, problem in refused],
            }
        )
    elif order:
        _show(order, metric)
    return 0 if not refused else SOME_REFUSED if evaluated else BAD_INPUT


def _show(order: Sequence[Ranked], metric: Metric) -> None:
    """Shows checkpoints with the few numbers that are followed, and the one that they are ranked by first."""
    from deeppose_port.metrics.shown import number

    columns = [metric, *(m.metric for m in order[0].evaluation.headlines() if m.metric is not metric)]
    table = display.table("checkpoint", *(column.title for column in columns))
    for one in order:
        names = ", ".join(file.name for file in one.files)
        table.add_row(display.shown(names), *(number(one.value(column), column.unit) for column in columns))
    display.show(table)
    display.say(f"the best by {metric.title} is {order[0].files[0]}")
