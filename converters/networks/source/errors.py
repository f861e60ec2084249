"""Why a network cannot be read from its source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from converters.errors import DeepPoseError
from converters.values import dataclass

if TYPE_CHECKING:
    from converters.networks.source.values import Unknown


@dataclass(frozen=True)
class Place:
    """A line of a file."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}"


class SourceError(DeepPoseError):
    """Something in a source that is not known here. The message says where, which construct, and what is known."""

    def __init__(self, place: Place, problem: str, advice: str | None = None, unknown: Unknown | None = None) -> None:
        super().__init__(f"{place}: {problem}", advice=advice)
        self.place = place
        self.unknown = unknown


def not_known(unknown: Unknown, role: str | None = None) -> SourceError:
    """Returns the refusal of something that is not known, and of the part of a network that it is."""
    advice = ["--architecture takes the network by its names and shapes alone"] if role else []
    if unknown.elsewhere:
        advice.insert(0, "put its definition into a copy of the file, for --model-file")
    elif unknown.known:
        known = ", ".join(unknown.known)
        advice.insert(0, f"in a copy of the file for --model-file, write it with what is known: {known}")
    problem = f"{unknown.what} is not known" + (f", which is {role}" if role else "")
    return SourceError(unknown.place, problem, "; ".join(advice) or None, unknown)


class UnfollowedError(DeepPoseError):
    """A class has a checkpoint's names and shapes, and what it computes cannot be followed."""


class ExhaustedError(DeepPoseError):
    """The source takes longer to follow, or makes more, than any network's does."""
