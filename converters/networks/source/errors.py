"""Why a network cannot be read from its source."""

from __future__ import annotations

from converters.errors import DeepPoseError
from converters.values import dataclass


@dataclass(frozen=True)
class Place:
    """A line of a file."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}"


class SourceError(DeepPoseError):
    """Something in a source that is not known here. The message says where, which construct, and what is known."""

    def __init__(self, place: Place, problem: str, advice: str | None = None) -> None:
        super().__init__(f"{place}: {problem}", advice=advice)
        self.place = place


class ExhaustedError(DeepPoseError):
    """The source takes longer to follow, or makes more, than any network's does."""
