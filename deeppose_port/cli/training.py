"""What `train` is told; in a module of its own, which takes a while to load and only `train` needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
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

    backend: str = field(metadata=described("What trains.", choices=_able, elsewhere=True, section="Run"))
    config: Path | None = field(
        default=None,
        metadata=described("Take what is not said here from a file: any run's config.toml.", metavar="FILE", rare=True),
    )
    as_json: bool = field(
        default=False,
        metadata=described(
            "One JSON object a line on standard output, of all that happens.", names=("--json",), rare=True
        ),
    )
    training: TrainingOptions
