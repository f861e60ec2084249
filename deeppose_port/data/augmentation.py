"""What may be done to a training's examples, and what is drawn for one of them; `augmented` does it.

Beside the legacy program's random rotation, translation, zoom and flip there is today's augmentation, of which each
part is a distribution (see `Spread`): a rotation to both sides, a scale and an aspect of the box, a shift of it,
colours, and a rectangle that is left out. The legacy program's own geometry cannot be mixed with it; its mirror can.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, get_args

import numpy as np

from converters.checkpoint import Part
from converters.errors import DeepPoseError
from converters.values import dataclass
from deeppose_port.data.spread import Chance, Spread
from deeppose_port.options import described, refuse_outside

Method = Literal["fast", "legacy"]

#: The options that move the box of the joints.
BOX = ("rotation", "scale", "aspect", "shift")


@dataclass(frozen=True)
class DrawnBox:
    """What is done to the box of a person's joints.

    Attributes:
        rotation: Degrees by which the person is rotated, counter-clockwise on the screen, about the box's middle.
        scale: Factors on the width and the height of the box around the rotated joints.
        shift: How far it goes to the right and down, in fractions of the box of the joints.
    """

    rotation: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shift: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class DrawnColour:
    """What is done to the colours, in this order.

    Attributes:
        saturation: Factor on what a pixel's channels differ from their mean.
        gamma: Exponent of the levels as fractions.
        gains: Factors on blue, green and red.
    """

    saturation: float
    gamma: float
    gains: tuple[float, float, float]


@dataclass(frozen=True)
class Drawn:
    """What is done to one example; the default is nothing.

    Attributes:
        rotation: Degrees, counter-clockwise on the screen.
        translation: Pixels of the picture to the right and down, after the rotation.
        zoom: Factor on the picture, after the translation.
        flip: Whether the crop is mirrored left to right.
        box: What is done to the box of the joints; None for what the evaluation takes, after what is above.
        colour: What is done to the colours.
        cutout: Left, top, width and height of the rectangle that is left out, in fractions of what is beside it and
            of the input; None for none.
        margin: What the margin around the joints has more than its own, as a share of the person's height.
    """

    rotation: int = 0
    translation: tuple[int, int] = (0, 0)
    zoom: float = 1.0
    flip: bool = False
    box: DrawnBox | None = None
    colour: DrawnColour | None = None
    cutout: tuple[float, float, float, float] | None = None
    margin: float = 0.0

    @property
    def resamples(self) -> bool:
        """Whether pixels come to lie between pixels: anything but a flip."""
        return (self.rotation, self.translation, self.zoom, self.box) != (0, (0, 0), 1, None)


@dataclass(frozen=True)
class Augmentation:
    """What may be done to an example; the default is nothing.

    Raises:
        DeepPoseError: A range or the method is none.
    """

    fliplr: bool = described("Mirror every other example.", default=False, section="Augmentation")
    rotate: bool = described("Rotate by 0 to --rotate-range - 1 degrees.", default=False)
    zoom: bool = described("Magnify by a factor of 1 ± --zoom-range.", default=False)
    translate: bool = described("Shift by -R to R - 1 pixels in x and y, where R is --translate-range.", default=False)
    rotate_range: int = described("Degrees of --rotate.", default=10, metavar="DEGREES", goes_with=("rotate",))
    zoom_range: float = described("The fraction of --zoom.", default=0.2, metavar="FRACTION", goes_with=("zoom",))
    translate_range: int = described("Pixels of --translate.", default=5, metavar="PIXELS", goes_with=("translate",))
    margin_range: float = described(
        "Vary the margin around the joints by up to this much either way, for networks whose crop has one.",
        default=0.0,
        metavar="FRACTION",
    )
    method: Method = described(
        "Augment in a single warp (fast), or step by step in the legacy program's order.",
        default="fast",
        choices=get_args(Method),
        names=("--augment",),
    )
    rotation: Spread | None = described(
        "Rotate by these degrees to either side, and take the box of the rotated joints.",
        default=None,
        metavar="normal:30@0.6",
        parse=Spread.parse,
    )
    scale: Spread | None = described(
        "Scale the box by e to the power of this.", default=None, metavar="normal:0.12", parse=Spread.parse
    )
    aspect: Spread | None = described(
        "Scale each side of the box by e to the power of this.", default=None, metavar="normal:0.05", parse=Spread.parse
    )
    shift: Spread | None = described(
        "Shift the box by these fractions of its sides.", default=None, metavar="normal:0.04", parse=Spread.parse
    )
    colour: Chance | None = described(
        "Vary the colours. 1 stands for a saturation of 0.4 to 1.4, a gamma of e to the power of "
        "normal:0.25, and channels times e to the power of normal:0.08.",
        default=None,
        metavar="1@0.5",
        names=("--colour", "--color"),
        parse=Chance.parse,
    )
    cutout: Chance | None = described(
        "Blank a rectangle whose sides are between a quarter of this fraction of the input's sides and all of it.",
        default=None,
        metavar="0.36@0.4",
        parse=Chance.parse,
    )

    def __post_init__(self) -> None:
        for name in ("rotate", "translate"):
            value = getattr(self, f"{name}_range")
            if not isinstance(value, int | np.integer) or value < 1:
                raise DeepPoseError(
                    f"{name}_range is {value}; it has to be a whole number of at least 1 ({name}=False turns it off)"
                )
        refuse_outside(self, lambda n: 0 <= n < 1, "it has to be at least 0 and less than 1", "zoom_range")
        refuse_outside(self, lambda n: 0 <= n <= 1, "it has to be at least 0 and at most 1", "margin_range")
        if self.method not in get_args(Method):
            raise DeepPoseError(f"method is {self.method!r}; it is one of {', '.join(get_args(Method))}")
        if self.cutout is not None and self.cutout.amount >= 1:
            raise DeepPoseError(f"cutout is {self.cutout}; it has to be less than the whole input, 1")
        old = [f"--{name}" for name in ("rotate", "zoom", "translate") if getattr(self, name)]
        old += ["--augment legacy"] * (self.method == "legacy")
        new = [f"--{name}" for name in BOX if is_on(getattr(self, name))]
        if old and new:
            raise DeepPoseError(f"{', '.join(new)} and {', '.join(old)} do not go together: take one kind or the other")

    @property
    def does_nothing(self) -> bool:
        """Whether every example stays as the evaluation sees it."""
        parts = self.rotation, self.scale, self.aspect, self.shift, self.colour, self.cutout
        return not (
            self.fliplr or self.rotate or self.zoom or self.translate or self.margin_range or any(map(is_on, parts))
        )

    @property
    def moves_box(self) -> bool:
        """Whether the box of the joints is another than the evaluation's."""
        return any(is_on(part) for part in (self.rotation, self.scale, self.aspect, self.shift))

    def draw(self, rng: np.random.Generator) -> Drawn:
        """Draws what is done to one example.

        The legacy program's numbers are all drawn, in one order, whatever is on, so that turning one part off leaves
        the others as they are; then come those of the rest that is on. Its distributions are those of the legacy
        dataset.py: one-sided whole degrees, whole pixels with one more to the left and up than to the right and down,
        one factor for both axes, and a flip of probability 1/2.

        Args:
            rng: Where the numbers come from, see `example_rng`.

        Returns:
            What is on as drawn, what is off as nothing.
        """
        rotation = int(rng.integers(0, self.rotate_range))
        dx, dy = rng.integers(-self.translate_range, self.translate_range, size=2).tolist()
        zoom = float(rng.uniform(1 - self.zoom_range, 1 + self.zoom_range))
        flip = bool(rng.random() < 0.5)
        return Drawn(
            rotation=rotation if self.rotate else 0,
            translation=(dx, dy) if self.translate else (0, 0),
            zoom=zoom if self.zoom else 1.0,
            flip=flip and self.fliplr,
            box=self._draw_box(rng) if self.moves_box else None,
            colour=self._draw_colour(rng),
            cutout=self._draw_cutout(rng),
            margin=float(rng.uniform(-self.margin_range, self.margin_range)) if self.margin_range else 0.0,
        )

    def _draw_box(self, rng: np.random.Generator) -> DrawnBox:
        rotation, scale, x, y = (_draw(spread, rng) for spread in (self.rotation, self.scale, self.aspect, self.aspect))
        shift = _draw(self.shift, rng), _draw(self.shift, rng)
        return DrawnBox(rotation, (math.exp(scale + x), math.exp(scale + y)), shift)

    def _draw_colour(self, rng: np.random.Generator) -> DrawnColour | None:
        if self.colour is None or not self.colour.happens(rng):
            return None
        amount = self.colour.amount
        saturation = float(rng.uniform(max(1 - 0.6 * amount, 0.0), 1 + 0.4 * amount))
        gamma, *gains = np.exp(np.array([0.25, 0.08, 0.08, 0.08]) * amount * rng.standard_normal(4)).tolist()
        return DrawnColour(saturation, gamma, (gains[0], gains[1], gains[2]))

    def _draw_cutout(self, rng: np.random.Generator) -> tuple[float, float, float, float] | None:
        if self.cutout is None or not self.cutout.happens(rng):
            return None
        left, top, *sides = rng.random(4).tolist()
        width, height = (self.cutout.amount * (0.25 + 0.75 * side) for side in sides)
        return left, top, width, height


def is_on(chance: Chance | None) -> bool:
    """Tells whether something is ever done."""
    return chance is not None and chance.amount > 0 and chance.share > 0


def refuse_no_box(part: Part, options: Iterable[str]) -> None:
    """Refuses what moves the box of the joints for networks that see none.

    Args:
        part: What of the picture a network sees.
        options: The names of what is to be done.

    Raises:
        DeepPoseError: See there.
    """
    if not sees_box(part):
        told = ", ".join(f"--{name}" for name in options)
        raise DeepPoseError(f"{told} move the box of the joints, and this network sees the {part}; leave them out")


def sees_box(part: Part) -> bool:
    """Tells whether a network sees a box around the joints, which may be moved."""
    return part not in ("picture", "window")


def _draw(spread: Spread | None, rng: np.random.Generator) -> float:
    return spread.draw(rng) if spread is not None and spread.happens(rng) else 0.0


def example_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """Returns an example's own random numbers, whatever thread makes it, after whichever others.

    Args:
        seed: The training's seed.
        epoch: The epoch.
        index: The example's index in its dataset.

    Raises:
        DeepPoseError: One of them is negative.
    """
    if min(seed, epoch, index) < 0:
        raise DeepPoseError(f"seed {seed}, epoch {epoch} and index {index}: none of them can be negative")
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(epoch, index))))
