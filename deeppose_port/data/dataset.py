"""The dataset: a CSV of persons and a folder of pictures, as the network's inputs, labels and masks."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from converters import words
from converters.checkpoint import Gcn, Preprocessing
from converters.errors import DeepPoseError
from converters.preprocessing import in_words
from deeppose_port.data import figures, skeletons
from deeppose_port.data.annotations import IGNORE_LABEL, Person, annotated, read_csv
from deeppose_port.data.arrays import Float32Array, Float64Array, Inputs
from deeppose_port.data.cache import DEFAULT, PictureCache
from deeppose_port.data.pictures import (
    MAX_PIXELS,
    Picture,
    PictureError,
    find_picture,
    picture_bytes,
    picture_size,
    read_picture,
)
from deeppose_port.data.pixels import Window, decode_window
from deeppose_port.data.references import References, path_beside, read_beside
from deeppose_port.data.skeletons import Skeleton
from deeppose_port.data.view import View, extent_of_joints, flattened
from deeppose_port.text import counted, shown

_logger = logging.getLogger(__name__)

#: What of a picture is taken as it is, or around the middle of the joints: one joint is enough.
_NEEDS_NO_BOX = ("picture", "window")

Example = tuple[Float32Array, Float32Array, npt.NDArray[np.int32]]


class DatasetError(DeepPoseError):
    """Persons that cannot be made into examples. The message names the CSV, the line and the picture."""


class DatasetOptions(TypedDict, total=False):
    """What a `PoseDataset` is told beside its persons, their pictures and joints; see there."""

    im_size: int | None
    base_zoom: float | None
    coord_normalize: bool | None
    gcn: bool | Gcn | None
    min_dim: float
    ignore_label: float
    preprocessing: Preprocessing | None
    cache: int | PictureCache
    max_pixels: int
    fast_decode: bool


class PoseDataset:
    """The persons of a legacy CSV with their pictures: the legacy program's examples, not augmented.

    `dataset[i]` is `(inputs, targets, mask)`: (3, im_size, im_size) float32; (2 * J,) float32, see
    `View.labels`; (2 * J,) int32, 0 where that coordinate is ignored. Pictures are decoded when they are
    needed, and kept in a cache of bounded size. Stored joints never change. Threads may share a dataset, and
    with it the cache; processes may too, each with a cache of its own.

    Args:
        csv: The CSV, see `annotations`.
        images: The folder that the CSV's picture names are relative to.
        skeleton: As for `skeletons.get`: says how many joints a line has.
        im_size: Side of the network's input; like the next three, it replaces what `preprocessing` says.
        base_zoom: Factor on the box of a person's joints.
        coord_normalize: Whether labels are about -0.5 .. 0.5 of the crop instead of its pixels.
        gcn: Global contrast normalisation: True or `divide`, False or `none`, or mid-2016's `subtract`.
        min_dim: Leaves out persons whose box of joints is narrower or lower than this many pixels.
        ignore_label: The coordinate that means "not annotated".
        preprocessing: What the network is trained on; the default is that of the legacy shells.
        cache: Bytes of decoded pictures to keep, at most, 0 for none; or a cache that several datasets share.
        max_pixels: The most pixels of a picture that is decoded.
        fast_decode: Whether JPEGs are decoded at a reduced size, where the network's input is at most half of the crop:
            faster, and the inputs are no longer the legacy program's bits.

    Attributes:
        csv: The CSV.
        images: The folder.
        skeleton: The Skeleton.
        preprocessing: The Preprocessing in force.
        joints: (N, J, 2) float64, read-only: every person's joints in pixels of their picture.
        visible: (N, J) bool, read-only: both coordinates of the joint count.
        mask: (N, J, 2) int32, read-only: 0 where that coordinate is ignored.
        head_sizes: (N,) float64, PCKh's lengths from the CSV's side file; None without them. See `references`.
        head_sizes_from: What PCKh's lengths are computed from, in words; None where nothing gives them.
        torso_lengths: (N,) float64, PDJ's lengths from there; None without them.
        scales: (N,) float64, the persons' heights over 200 pixels from there; None without them.
        skipped: The persons that `min_dim` left out.
        max_pixels: The most pixels of a picture that is decoded.

    Raises:
        DeepPoseError: A number among the arguments is none that can be.
        AnnotationError: The CSV cannot be used.
        ReferencesError: The side file is damaged or belongs to another CSV.
        DatasetError: A picture is missing, a person has no box of joints, or nobody is left; on access: a
            picture cannot be decoded, or nothing of it is in the person's crop.
    """

    def __init__(
        self,
        csv: str | os.PathLike[str],
        *,
        images: str | os.PathLike[str],
        skeleton: str | os.PathLike[str] | Skeleton,
        im_size: int | None = None,
        base_zoom: float | None = None,
        coord_normalize: bool | None = None,
        gcn: bool | Gcn | None = None,
        min_dim: float = 0,
        ignore_label: float = IGNORE_LABEL,
        preprocessing: Preprocessing | None = None,
        cache: int | PictureCache = DEFAULT,
        max_pixels: int = MAX_PIXELS,
        fast_decode: bool = False,
    ) -> None:
        self.csv = Path(csv)
        self.images = Path(images)
        self.skeleton = skeletons.get(skeleton)
        if isinstance(gcn, bool):
            gcn = "divide" if gcn else "none"
        told = preprocessing or Preprocessing()
        self.preprocessing = (replace(told, gcn=gcn) if isinstance(gcn, str) else told).overridden(
            im_size=im_size,
            base_zoom=base_zoom,
            coord_normalize=coord_normalize,
            gcn=gcn if isinstance(gcn, bool) else None,
        )
        for name, number in (("min_dim", min_dim), ("ignore_label", ignore_label)):
            if not math.isfinite(number):
                raise DeepPoseError(f"{name} is {number}; it has to be finite")

        persons = read_csv(self.csv, len(self.skeleton.joints), ignore_label)
        self._persons, self.skipped = _large_enough(persons, min_dim)
        if self.skipped:
            _logger.warning(
                "%s: left out %d of %d persons, smaller than min_dim %g: %s",
                *(self.csv, len(self.skipped), len(persons), min_dim, _lines(self.skipped)),
            )
        if not self._persons:
            raise DatasetError(f"{self.csv}: all persons are smaller than min_dim {min_dim:g}; take a smaller one")
        self._paths: dict[str, Path] = {}
        self._refuse_boxless()
        self._refuse_missing()

        self.joints = np.stack([person.joints for person in self._persons])
        self.visible = np.stack([person.visible for person in self._persons])
        self.mask = annotated(self.joints, ignore_label).astype(np.int32)
        for array in (self.joints, self.visible, self.mask):
            array.flags.writeable = False
        references = self._references(persons)
        self.head_sizes, self.torso_lengths = references.head_sizes, references.torso_lengths
        self.scales = references.scales
        self.head_sizes_from = references.head_sizes_from or self.skeleton.head_rule
        self._cache = PictureCache(cache) if isinstance(cache, int) else cache
        self.max_pixels = max_pixels
        self._fast_decode = fast_decode
        self._sizes: dict[str, tuple[int, int]] = {}

    @property
    def coordinates(self) -> int:
        """Numbers in an example's targets: two for each joint."""
        return 2 * len(self.skeleton.joints)

    def __len__(self) -> int:
        return len(self._persons)

    def __repr__(self) -> str:
        """Returns what it is, in a line: never its arrays."""
        height, width = self.preprocessing.shape
        persons = f"{counted(len(self), 'person')} of {self.skeleton.name}"
        return f"<{type(self).__name__} {shown(self.csv.name)}, {persons}, inputs of {width} x {height}>"

    def _repr_html_(self) -> str:
        """Returns what it is, and its first persons as stick figures, as a notebook shows it."""
        part, size, pixels, answers = in_words(self.preprocessing)
        facts = {
            "persons": f"{len(self):,} in {counted(len(self._paths), 'picture')}",
            "left out": f"{len(self.skipped):,}, smaller than min_dim",
            "pictures in": str(self.images),
            "skeleton": f"{self.skeleton.name}: {', '.join(self.skeleton.joints)}",
            "annotated": f"{self.visible.mean():.1%} of the joints",
            "a person is": part,
            "input": f"{size}; {pixels}",
            "labels": answers,
        }
        if not self.skipped:
            del facts["left out"]
        return words.html_of_facts(str(self.csv), facts) + figures.svg_of(
            self.joints[: figures.MOST], self.visible[: figures.MOST], self.skeleton
        )

    def __getitem__(self, index: int) -> Example:
        return self.example(index)

    def example(self, index: int, out: Float32Array | None = None) -> Example:
        """Makes one example.

        Args:
            index: Which.
            out: (3, im_size, im_size) float32, C-contiguous: where to write the inputs, its place in a batch say.

        Returns:
            What `dataset[index]` is; inputs is `out` if that is given.

        Raises:
            DatasetError: The picture cannot be decoded, or nothing of it is in the person's crop.
            DeepPoseError: `out` has another shape or type.
        """
        window, view = self.window(index), self.view(index)
        return view.input(window, out), *self.labels(index, view)

    def example_by_level(self, index: int) -> tuple[Inputs, Float32Array, npt.NDArray[np.int32]]:
        """Makes one example, but for the looking up of its levels, see `View.levels`; errors are those of `example`."""
        window, view = self.window(index), self.view(index)
        return view.levels(window), *self.labels(index, view)

    def labels(self, index: int, view: View | None = None) -> tuple[Float32Array, npt.NDArray[np.int32]]:
        """Returns an example's targets and mask, for which no picture is decoded.

        Args:
            index: Which.
            view: What it shows, where that is known already.

        Raises:
            DatasetError: The picture's size cannot be read, or nothing of it is in the person's crop.
        """
        mask = flattened(self.mask[index], self.preprocessing).copy()
        return (view or self.view(index)).labels(self.joints[index]), mask

    @contextmanager
    def naming(self, index: int) -> Iterator[None]:
        """Names the picture of an example that cannot be made, whatever it was that went wrong.

        Raises:
            DatasetError: Something did.
        """
        try:
            yield
        except DatasetError:
            raise
        except Exception as error:
            problem = f"no example can be made of it: {type(error).__name__}: {error}"
            raise self.error(index, problem) from error

    def person(self, index: int) -> Person:
        """Returns the CSV's line that an example is made of."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} of a dataset of {len(self)} persons")
        return self._persons[index]

    def view(self, index: int, zoom: float = 1.0, margin: float = 0.0) -> View:
        """Returns what an example shows of its picture.

        Args:
            index: The example.
            zoom: Factor by which the picture is magnified first. The part moves with the joints and keeps its size,
                so that the person in it grows.
            margin: What the margin around the joints has more than its own, where the part has one.

        Raises:
            DatasetError: Nothing of the picture is in it, or the picture cannot be decoded.
        """
        person = self.person(index)
        if person.file not in self._sizes:
            try:
                self._sizes[person.file] = picture_size(self.path(index))
            except PictureError:
                self.picture(index)  # which says what is wrong with it, if anything is
        width, height = self._sizes[person.file]
        joints, magnified = person.joints, ""
        if zoom != 1:
            x, y, _, _ = extent_of_joints(person.joints, person.visible)
            joints = person.joints + (zoom - 1) * np.array([x, y])
            width, height = round(zoom * width), round(zoom * height)
            magnified = f", magnified {zoom:g} times"
        try:
            scale = self.scale(index)
            scale = None if scale is None else zoom * scale
            return View.of_person(joints, person.visible, width, height, self.preprocessing, scale, margin)
        except DeepPoseError as error:
            raise DatasetError(
                f"{self._where(person)}{magnified}: {error.problem}; correct or delete the line (min_dim=1, "
                "`--min-dim 1`, leaves out persons who are too small)"
            ) from error

    def scale(self, index: int) -> float | None:
        """Returns the height of an example's person over 200 pixels, where that is known."""
        return None if self.scales is None or np.isnan(self.scales[index]) else float(self.scales[index])

    def path(self, index: int) -> Path:
        """Returns where an example's picture is."""
        name = self.person(index).file
        if name not in self._paths:
            self._paths[name] = find_picture(self.images, name)
        return self._paths[name]

    def window(self, index: int) -> Window:
        """Returns the pixels that an example is made of, with or without augmentation: here its whole picture.

        Raises:
            DatasetError: The picture cannot be decoded.
        """
        if not self._fast_decode:
            return Window.whole(self.picture(index))
        crop = self.view(index).crop
        try:
            return decode_window(picture_bytes(self.path(index), self.max_pixels), [crop], max_pixels=self.max_pixels)
        except PictureError as error:
            raise self.error(index, error.problem) from error

    def refuse_unpacked(self, lengths: Float64Array, reach: float, more: float) -> None:
        """Refuses a pack that has no pixels for close-ups of its persons' joints; whole pictures have all there are.

        Args:
            lengths: (N,), the persons' diameters in pixels of the pictures.
            reach: How many of these a close-up shows on every side of a joint.
            more: Pixels beside that.

        Raises:
            PackError: See there.
        """

    def picture(self, index: int) -> Picture:
        """Returns an example's whole picture, decoded: (H, W, 3) uint8, BGR, read-only.

        Raises:
            DatasetError: It cannot be decoded.
        """
        person = self.person(index)
        path = str(self.path(index))
        picture = self._cache.get(path)
        if picture is None:
            try:
                picture = read_picture(path, max_pixels=self.max_pixels)
            except PictureError as error:
                raise DatasetError(f"{self._where(person)}: {error.problem}", advice=error.advice) from error
            self._cache.put(path, picture)
        self._sizes[person.file] = picture.shape[1], picture.shape[0]
        return picture

    def _references(self, persons: list[Person]) -> References:
        """Returns what the CSV's side file has of the persons that are kept; nothing without one."""
        references = read_beside(self.csv)
        if references is None:
            return References(self.skeleton.name, len(self))
        if (references.persons, references.skeleton) != (len(persons), self.skeleton.name):
            raise DatasetError(
                f"{path_beside(self.csv)}: it holds {references.persons} persons of {references.skeleton}, but the CSV "
                f"has {len(persons)} and is read as {self.skeleton.name}; choose that skeleton, or delete the file"
            )
        kept = {person.line for person in self._persons}
        return references.of([row for row, person in enumerate(persons) if person.line in kept])

    def error(self, index: int, problem: object) -> DatasetError:
        """Returns an error that names an example's CSV, line and picture."""
        return DatasetError(f"{self._where(self.person(index))}: {problem}")

    def _where(self, person: Person) -> str:
        path = self._paths.get(person.file, self.images / person.file)
        return f"{person.csv}, line {person.line}, picture {path}"

    def _refuse_boxless(self) -> None:
        """Raises an error for persons without a box of joints to crop around."""
        part = self.preprocessing.part
        boxless = [
            person
            for person in self._persons
            if not person.visible.any() or (part not in _NEEDS_NO_BOX and min(_size(person)) <= 0)
        ]
        if boxless:
            count, joints = boxless[0].visible.sum(), len(self.skeleton.joints)
            raise DatasetError(
                f"{self._where(boxless[0])}: no area to crop, {count} of {joints} joints count"
                f"{_others(boxless)}; min_dim=1 (`--min-dim 1`) leaves out such persons"
            )

    def _refuse_missing(self) -> None:
        """Raises an error for pictures that are not there."""
        first = {person.file: person for person in reversed(self._persons)}
        self._paths = {name: find_picture(self.images, name) for name in first}
        missing = [person for person in reversed(first.values()) if not os.path.isfile(self._paths[person.file])]
        if missing:
            raise DatasetError(
                f"{self._where(missing[0])}: there is no such file{_others(missing)}; "
                f"is {self.images} the pictures' folder (images=, `--images`)?"
            )


def _size(person: Person) -> tuple[float, float]:
    """Returns width and height of the box of the joints that count, zeros where no joint does."""
    return extent_of_joints(person.joints, person.visible)[2:] if person.visible.any() else (0.0, 0.0)


def _large_enough(persons: list[Person], min_dim: float) -> tuple[list[Person], tuple[Person, ...]]:
    """Parts the persons into those to keep and those whose box has a side below `min_dim`."""
    large: list[Person] = []
    small: list[Person] = []
    for person in persons:
        (small if min(_size(person)) < min_dim else large).append(person)
    return large, tuple(small)


def _lines(persons: Sequence[Person], at_most: int = 10) -> str:
    """Lists the persons' lines, as `line 3` or `lines 3, 5, 8`."""
    numbers = ", ".join(str(person.line) for person in persons[:at_most])
    return f"line{'s' if len(persons) > 1 else ''} {numbers}{', ...' if len(persons) > at_most else ''}"


def _others(persons: Sequence[Person]) -> str:
    """Mentions all but the first person, if there are any."""
    return f" (and {len(persons) - 1} more: {_lines(persons[1:])})" if len(persons) > 1 else ""
