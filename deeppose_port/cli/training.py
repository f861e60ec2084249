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

    backend: str = described("What trains.", choices=_able, elsewhere=True, section="Run")
    config: Path | None = described(
        "Take what is not said here from a file: any run's config.toml.", default=None, metavar="FILE", rare=True
    )
    as_json: bool = described(
        "One JSON object a line on standard output, of all that happens.", default=False, names=("--json",), rare=True
    )
    training: TrainingOptions
