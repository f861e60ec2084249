"""What `train` is told; in a module of its own, which takes a while to load and only `train` needs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from converters.values import dataclass
from deeppose_port import backends
from deeppose_port.options import described
from deeppose_port.training.options import TrainingOptions


def _able() -> Iterable[str]:
    return (backend.name for backend in backends.able("train"))


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What `train` is told."""

    backend: str = described("The framework to train in.", choices=_able, elsewhere=True, section="Run")
    config: Path | None = described(
        "Take options not given here from this file; every run writes a config.toml.",
        default=None,
        metavar="FILE",
        rare=True,
    )
    as_json: bool = described(
        "Print every event as a line of JSON on standard output.", default=False, names=("--json",), rare=True
    )
    training: TrainingOptions
