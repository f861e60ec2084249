"""Augmentation: the legacy random rotation, translation, zoom and flip of a person, in two ways with the same draws.

`legacy` goes through the legacy dataset.py's steps over the whole picture: rotate, translate, zoom, crop and
resize, flip, normalise. `fast`, the default, composes all but the last into one affine warp, which computes only
the pixels that the network sees. Both put the joints and the black outside of the picture in the same places, and
both give the evaluation's example, to the bit, where nothing was drawn.

Kept from the legacy program: the distributions (see `Augmentation.draw`); the rotation about the centre of the box
of the annotated joints; the crop, whose size is that of this box and whose place does not follow the translation,
clipped to the magnified picture; labels in the frame of the evaluation, where a joint scales about the picture's
corner while `cv2.resize` scales pixel centres about it, so that a joint drawn into the picture is found
`0.5 * |1 - scale|` pixels of the crop from its label.

Mended, in both ways:

- Stored joints never change. They drifted by the crop's corner or the translation at every call.
- The mask follows the joints when a flip swaps left and right; it stayed behind.
- An ignored joint stays ignored, and a joint with one ignored coordinate is ignored as a whole when it is rotated:
  its other coordinate would depend on the unknown one, and was trained on regardless.
- Every example has random numbers of its own (`example_rng`). Worker processes all drew the same ones.
- Rotated pixels are rounded. Truncation darkened them by half a level, and changed 9 % of them at 0 degrees.
- A zoom too close to 1 to change the picture's rounded size moves the pixels as it moves the joints; `cv2.resize`
  copies such a picture.

Beside these there is today's augmentation, of which each part is a distribution (see `Spread`): a rotation to both
sides, a scale and an aspect of the box, a shift of it, colours, and a rectangle that is left out. Where one of the
first four is on, the box is that of the rotated joints, as the evaluation's is that of the joints, and it is cut out of
the picture continued in black; a mirror takes a label from `x` to `width - x`. The legacy program's own geometry cannot
be mixed with it; its mirror can.

OpenCV warps what has at most 32,766 pixels a side: with `fast` that is the part of a picture around its person, with
`legacy` the whole picture. Larger ones are refused by file and line.

OpenCV rotates where the legacy program asked scikit-image, which does it in float64. Rounded, a rotated photograph
is the same in 92 % of the pixels (OpenCV 4, whose warp goes in steps of 1/32 pixel) or in all (OpenCV 5), and less
than 0.1 level away in the mean.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

from converters.checkpoint import Preprocessing
from converters.errors import DeepPoseError
from converters.values import dataclass
from deeppose_port.data.arrays import Float32Array
from deeppose_port.data.crop import Letterbox, Points
from deeppose_port.data.dataset import DatasetError, Example, PoseDataset
from deeppose_port.data.normalization import normalize
from deeppose_port.data.pictures import Picture
from deeppose_port.data.pixels import Window, warp
from deeppose_port.data.spread import Chance, Spread
from deeppose_port.data.view import View, extent_of_joints, flattened, input_labels
from deeppose_port.options import described, refuse_outside

Method = Literal["fast", "legacy"]

#: The options that move the box of the joints.
BOX = ("rotation", "scale", "aspect", "shift")
#: A box that a rotation has made narrow is this part of its longer side at least.
NARROWEST = 0.12


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
    rotate_range: int = described("Degrees of --rotate.", default=10, metavar="DEGREES")
    zoom_range: float = described("The fraction of --zoom.", default=0.2, metavar="FRACTION")
    translate_range: int = described("Pixels of --translate.", default=5, metavar="PIXELS")
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


def augmented_example(
    dataset: PoseDataset,
    index: int,
    augmentation: Augmentation,
    rng: np.random.Generator,
    out: Float32Array | None = None,
) -> Example:
    """Draws an augmentation and makes one example with it.

    Args:
        dataset: The persons and pictures.
        index: Which of them.
        augmentation: What may be done.
        rng: The example's random numbers, see `example_rng`.
        out: (3, im_size, im_size) float32, C-contiguous: where to write the inputs, its place in a batch say.

    Returns:
        inputs, targets and mask with the shapes and meanings of `dataset[index]`; inputs is `out` if that is given.

    Raises:
        DatasetError: The picture cannot be decoded, or nothing of it is in the person's crop.
        DeepPoseError: `out` has another shape or type.
    """
    return drawn_example(dataset, index, augmentation.draw(rng), augmentation.method, out)


def drawn_example(
    dataset: PoseDataset,
    index: int,
    drawn: Drawn,
    method: Method = "fast",
    out: Float32Array | None = None,
) -> Example:
    """Makes one example with an augmentation that was drawn already.

    Args:
        dataset: The persons and pictures.
        index: Which of them.
        drawn: What is done.
        method: `fast` or `legacy`.
        out: As in `augmented_example`, which the results and errors are those of, too.
    """
    preprocessing = dataset.preprocessing
    try:
        square, labels, mask = (
            _boxed(dataset, index, drawn, drawn.box) if drawn.box else _moved_person(dataset, index, drawn, method)
        )
    except DatasetError:
        raise
    except DeepPoseError as error:
        raise dataset.error(index, error) from error
    if drawn.colour is not None:
        square = coloured(square, drawn.colour)
    inputs = normalize(square, preprocessing, out)
    if drawn.cutout is not None:
        cut_out(inputs, drawn.cutout)
    return inputs, labels, mask


def _moved_person(
    dataset: PoseDataset, index: int, drawn: Drawn, method: Method
) -> tuple[Picture, Float32Array, npt.NDArray[np.int32]]:
    """Makes crop, labels and mask as the legacy program does."""
    view = dataset.view(index, drawn.zoom, drawn.margin)
    x, y, _, _ = extent_of_joints(dataset.joints[index], dataset.visible[index])
    rotation = _rotation(drawn.rotation, x, y)
    if not drawn.resamples:
        square = _flipped(view.pixels(dataset.window(index)), drawn)
    elif method == "fast":
        square = _warped(dataset.window(index), drawn, rotation, view)
    else:
        square = _flipped(view.pixels(_moved(dataset.picture(index), drawn, rotation)), drawn)
    return square, *_labels(dataset, index, drawn, rotation, view)


def _boxed(
    dataset: PoseDataset, index: int, drawn: Drawn, box: DrawnBox
) -> tuple[Picture, Float32Array, npt.NDArray[np.int32]]:
    """Makes crop, labels and mask of the box around the rotated joints, in one affine warp."""
    preprocessing = dataset.preprocessing
    points, visible, mask = dataset.joints[index], dataset.visible[index], dataset.mask[index]
    if preprocessing.truncate:
        points = np.trunc(points)
    x, y, _, _ = extent_of_joints(points, visible)
    turn = _rotation(box.rotation, x, y)
    x, y, *joints_box = extent_of_joints(points @ turn[:, :2].T + turn[:, 2], visible)
    sides = np.maximum(joints_box, NARROWEST * max(joints_box))
    height, width = preprocessing.shape
    seen = _seen(sides, preprocessing, dataset.scale(index), drawn.margin) * box.scale
    grow = np.array([width, height]) / seen
    matrix = turn * grow[:, None]
    matrix[:, 2] += np.array([width, height]) / 2 - grow * ((x, y) + sides * box.shift)
    if drawn.flip:
        matrix[0] *= -1
        matrix[0, 2] += width
    mapped = points @ matrix[:, :2].T + matrix[:, 2]
    if drawn.rotation or box.rotation:
        mask = mask * visible[:, None]
    if drawn.flip:
        order = mirrored(dataset)
        mapped, mask = mapped[order], mask[order]
    # From edges to the centres of pixels.
    matrix[:, 2] += matrix[:, :2].sum(axis=1) / 2 - 0.5
    window = dataset.window(index)
    square = window.warp(matrix, height, preprocessing.interpolation, cv2.BORDER_CONSTANT, width)
    return square, input_labels(mapped, preprocessing), flattened(mask, preprocessing).copy()


def _seen(sides: Points, preprocessing: Preprocessing, scale: float | None, margin: float) -> Points:
    """Returns width and height of what a network sees of a person, in pixels of the picture.

    Args:
        sides: Width and height of the box of the joints.
        preprocessing: What the network was trained on.
        scale: The person's height over 200 pixels, where it is known.
        margin: What the margin has more than its own.

    Raises:
        DeepPoseError: It does not see a box around the joints.
    """
    part = preprocessing.part
    if part in ("picture", "window"):
        options = ", ".join(f"--{name}" for name in BOX)
        raise DeepPoseError(f"{options} move the box of the joints, and this network sees the {part}; leave them out")
    if part == "joints-margin":
        largest = float(sides.max()) if scale is None else 200 * scale
        return sides + 2 * int(largest * max(0.0, preprocessing.margin + margin))
    seen = preprocessing.base_zoom * sides
    if part.startswith("letterbox"):
        rows, columns = preprocessing.shape
        side = max(seen[1], seen[0] * rows / columns)
        seen = np.array([side * columns / rows, side])
    return seen


def coloured(square: Picture, drawn: DrawnColour) -> Picture:
    """Varies the colours of a crop."""
    share = (1 - drawn.saturation) / 3
    mixed = cv2.transform(square, np.full((3, 3), share) + drawn.saturation * np.eye(3))
    levels = 255 * np.linspace(0, 1, 256) ** drawn.gamma
    table = np.rint(levels[:, None] * drawn.gains).clip(0, 255).astype(np.uint8)
    if mixed.dtype != np.uint8:  # of a crop that is left unrounded
        mixed = np.rint(mixed).clip(0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(mixed, table[None]), np.uint8)


def cut_out(inputs: Float32Array, rectangle: tuple[float, float, float, float]) -> None:
    """Makes a rectangle of (3, H, W) inputs 0, in place."""
    rows, columns = inputs.shape[1:]
    left, top, width, height = rectangle
    wide, high = max(1, round(width * columns)), max(1, round(height * rows))
    x, y = int(left * (columns - wide + 1)), int(top * (rows - high + 1))
    inputs[:, y : y + high, x : x + wide] = 0


def mirrored(dataset: PoseDataset) -> npt.NDArray[np.intp]:
    """Returns which joint each joint is in a mirror."""
    order = np.arange(len(dataset.skeleton.joints))
    for left, right in dataset.skeleton.symmetric_pairs:
        order[[left, right]] = right, left
    return order


def _flipped(square: Picture, drawn: Drawn) -> Picture:
    """Mirrors a crop left to right, if that was drawn."""
    return np.asarray(cv2.flip(square, 1), square.dtype) if drawn.flip else square


def _rotation(degrees: float, x: float, y: float) -> Points:
    """Returns the (2, 3) matrix that rotates points counter-clockwise on the screen about (x, y)."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn, centre = np.array([[cos, sin], [-sin, cos]]), np.array([x, y])
    return np.column_stack([turn, centre - turn @ centre])


def _labels(
    dataset: PoseDataset, index: int, drawn: Drawn, rotation: Points, view: View
) -> tuple[Float32Array, npt.NDArray[np.int32]]:
    """Returns targets and mask of an example whose view lies in the magnified picture."""
    points, mask = dataset.joints[index], dataset.mask[index]
    if drawn.rotation:
        mask = mask * dataset.visible[index][:, None]
    points = (points @ rotation[:, :2].T + rotation[:, 2] + drawn.translation) * drawn.zoom
    if drawn.flip:
        order = mirrored(dataset)
        points, mask = view.crop.to_crop(points)[order], mask[order]
        points[:, 0] = view.preprocessing.shape[1] - 1 - points[:, 0]
        points = view.crop.to_picture(points)
    return view.labels(points), flattened(mask, view.preprocessing).copy()


def _moved(picture: Picture, drawn: Drawn, rotation: Points) -> Picture:
    """Rotates, translates and magnifies a whole picture, one after the other. What is outside of it is black."""
    height, width = picture.shape[:2]
    if drawn.rotation:
        picture = warp(picture, rotation, width, height)
    if any(drawn.translation):
        picture = warp(picture, np.column_stack([np.eye(2), drawn.translation]), width, height)
    if drawn.zoom != 1:
        # As cv2.resize does it, which copies a picture whose rounded size stays the same.
        grow = np.column_stack([np.eye(2) * drawn.zoom, np.full(2, (drawn.zoom - 1) / 2)])
        width, height = round(drawn.zoom * width), round(drawn.zoom * height)
        picture = warp(picture, grow, width, height, border=cv2.BORDER_REPLICATE)
    return picture


def _warped(window: Window, drawn: Drawn, rotation: Points, view: View) -> Picture:
    """Does what `_moved`, the crop, the resize and the flip do, in one affine warp.

    Returns:
        (im_size, im_size, 3) uint8.
    """
    height, width = view.preprocessing.shape
    # The zoom, a resize, takes x to (x + 0.5) * zoom - 0.5; then comes the crop. Neither turns anything.
    crop_matrix = view.crop.matrix
    scale = drawn.zoom * crop_matrix.diagonal()
    offset = crop_matrix[:, 2] + (drawn.zoom - 1) / 2 * crop_matrix.diagonal()
    matrix = rotation.copy()
    matrix[:, 2] += drawn.translation
    matrix = matrix * scale[:, None]
    matrix[:, 2] += offset
    if drawn.flip:
        matrix[0] *= -1
        matrix[0, 2] += width - 1
    # Only a rotation shows what is beyond the picture's edges; a resize continues the pixels at the edges.
    shows_black = drawn.rotation or isinstance(view.crop, Letterbox)
    border = cv2.BORDER_CONSTANT if shows_black else cv2.BORDER_REPLICATE
    square = window.warp(matrix, height, view.preprocessing.interpolation, border, width)
    if any(drawn.translation):
        columns, rows = ((np.arange(n) - offset[k]) / scale[k] for k, n in enumerate((width, height)))
        _vacate(square.swapaxes(0, 1), columns[::-1] if drawn.flip else columns, window.width, drawn.translation[0])
        _vacate(square, rows, window.height, drawn.translation[1])
    return square


def _vacate(lines: npt.NDArray[np.generic], position: Points, size: int, shift: int) -> None:
    """Blackens, in place, the lines of a warped picture that the translation has vacated.

    They are black even where the rotation has turned a corner of the picture out of its frame, and the translation
    would bring it back.

    Args:
        lines: Rows of the warped picture, or columns.
        position: Where each of them lies in the translated picture.
        size: Rows or columns of the picture.
        shift: The translation across them, in pixels.
    """
    if shift:
        cover = position - shift + 1 if shift > 0 else size + shift - position
        (faint,) = np.nonzero(cover < 1)
        lines[faint] = np.rint(lines[faint] * cover[faint, None, None].clip(0, 1))
