"""Augmented examples: the legacy rotation, translation, zoom and flip of a person, in two ways with the same draws.

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

Where a rotation, scale, aspect or shift of the box was drawn, the box is that of the rotated joints, as the
evaluation's is that of the joints, and it is cut out of the picture continued in black; a mirror takes a label from `x`
to `width - x`.

OpenCV warps what has at most 32,766 pixels a side: with `fast` that is the part of a picture around its person, with
`legacy` the whole picture. Larger ones are refused by file and line.

OpenCV rotates where the legacy program asked scikit-image, which does it in float64. Rounded, a rotated photograph
is the same in 92 % of the pixels (OpenCV 4, whose warp goes in steps of 1/32 pixel) or in all (OpenCV 5), and less
than 0.1 level away in the mean.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from converters.checkpoint import Preprocessing
from converters.errors import DeepPoseError
from deeppose_port.data.arrays import Float32Array
from deeppose_port.data.augmentation import BOX, Augmentation, Drawn, DrawnBox, DrawnColour, Method, refuse_no_box
from deeppose_port.data.crop import Letterbox, Points
from deeppose_port.data.dataset import DatasetError, Example, PoseDataset
from deeppose_port.data.normalization import normalize
from deeppose_port.data.pictures import Picture
from deeppose_port.data.pixels import Window, warp
from deeppose_port.data.view import View, extent_of_joints, flattened, input_labels

#: A box that a rotation has made narrow is this part of its longer side at least.
NARROWEST = 0.12


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
    try:
        square, labels, mask = (
            _boxed(dataset, index, drawn, drawn.box) if drawn.box else _moved_person(dataset, index, drawn, method)
        )
    except DatasetError:
        raise
    except DeepPoseError as error:
        raise dataset.error(index, error) from error
    return finished(square, drawn, dataset.preprocessing, out), labels, mask


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
    refuse_no_box(part, BOX)
    if part == "joints-margin":
        largest = float(sides.max()) if scale is None else 200 * scale
        return sides + 2 * int(largest * max(0.0, preprocessing.margin + margin))
    seen = preprocessing.base_zoom * sides
    if part.startswith("letterbox"):
        rows, columns = preprocessing.shape
        side = max(seen[1], seen[0] * rows / columns)
        seen = np.array([side * columns / rows, side])
    return seen


def finished(
    square: Picture, drawn: Drawn, preprocessing: Preprocessing, out: Float32Array | None = None
) -> Float32Array:
    """Makes inputs of a crop as `normalize` does, with the colours and the rectangle to leave out that were drawn."""
    if drawn.colour is not None:
        square = coloured(square, drawn.colour)
    inputs = normalize(square, preprocessing, out)
    if drawn.cutout is not None:
        cut_out(inputs, drawn.cutout)
    return inputs


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
    turn, centre = turn_by(degrees), np.array([x, y])
    return np.column_stack([turn, centre - turn @ centre])


def turn_by(degrees: float) -> Points:
    """Returns the (2, 2) matrix that rotates points counter-clockwise on the screen about the origin."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[cos, sin], [-sin, cos]])


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
