"""How much of something is drawn for an example: `normal:30@0.6`, `uniform:45`, `0.4@0.5`, `none`."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np

from converters.errors import DeepPoseError
from converters.values import dataclass

Kind = Literal["normal", "uniform"]

#: Deviations beyond which a normal distribution is cut off.
CUT_OFF = 2.5


@dataclass(frozen=True)
class Chance:
    """An amount, and the share of the examples that it is done to; written `AMOUNT@SHARE`, or `none`.

    Raises:
        DeepPoseError: The amount is negative, or the share is none.
    """

    amount: float
    share: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.amount < math.inf:
            raise DeepPoseError(f"the amount {self.amount} has to be at least 0")
        if not 0 <= self.share <= 1:
            raise DeepPoseError(f"the share {self.share} has to be between 0 and 1")

    @classmethod
    def parse(cls, text: str) -> Chance:
        """Makes one of what was written.

        Raises:
            DeepPoseError: It is not `AMOUNT@SHARE`, `AMOUNT` or `none`.
        """
        if text == "none":
            return cls(0.0)
        try:
            return cls(*_numbers(text))
        except (ValueError, DeepPoseError) as error:
            raise DeepPoseError(f"{text!r} is not AMOUNT, AMOUNT@SHARE or none, as 0.4@0.5: {error}") from None

    def __str__(self) -> str:
        return "none" if not self.amount else _shown(self.amount, self.share)

    def happens(self, rng: np.random.Generator) -> bool:
        """Draws whether it is done."""
        return self.amount > 0 and (self.share == 1 or bool(rng.random() < self.share))


@dataclass(frozen=True)
class Spread(Chance):
    """How a number is spread about 0: the deviation of a normal distribution, or how far a uniform one goes.

    A normal one is cut off at 2.5 deviations: what is drawn beyond is at the edge.
    """

    kind: Kind = "normal"

    @classmethod
    def parse(cls, text: str) -> Spread:
        """Makes one of what was written.

        Raises:
            DeepPoseError: It is not `KIND:AMOUNT@SHARE`, without the kind or the share perhaps, or `none`.
        """
        if text == "none":
            return cls(0.0)
        kind, colon, rest = text.rpartition(":")
        known: dict[str, Kind] = {name: name for name in get_args(Kind)}
        try:
            if colon and kind not in known:
                raise DeepPoseError(f"there is no distribution {kind!r}")
            return cls(*_numbers(rest), kind=known[kind] if colon else "normal")
        except (ValueError, DeepPoseError) as error:
            kinds = " or ".join(known)
            raise DeepPoseError(f"{text!r} is not {kinds}:AMOUNT@SHARE or none, as normal:30@0.6: {error}") from None

    def __str__(self) -> str:
        return "none" if not self.amount else f"{self.kind}:{_shown(self.amount, self.share)}"

    @property
    def reach(self) -> float:
        """The largest number that is drawn."""
        return self.amount * (CUT_OFF if self.kind == "normal" else 1.0)

    def draw(self, rng: np.random.Generator) -> float:
        """Draws one number."""
        if self.kind == "uniform":
            return float(rng.uniform(-self.amount, self.amount))
        return self.amount * min(max(float(rng.standard_normal()), -CUT_OFF), CUT_OFF)


def _numbers(text: str) -> tuple[float, float]:
    amount, at, share = text.partition("@")
    return float(amount), float(share) if at else 1.0


def _shown(amount: float, share: float) -> str:
    return _plain(amount) + (f"@{_plain(share)}" if share != 1 else "")


def _plain(number: float) -> str:
    return repr(number).removesuffix(".0")
