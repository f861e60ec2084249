"""Packs: the parts of a training set's pictures that training looks at, decoded once and read straight from a file.

A pack is a folder:

    pack.json           the index, a JSON object: what it was made from and with, the pictures, where each person is
    pack-00000.bin …    the pixels, uint8 (h, w, 3) BGR, one person after the other, each on a page of its own

For each person of a CSV it holds the rectangle of the picture that any augmentation within the pack's ranges may reach,
at a bounded resolution: along each side the person's crop has at most `resolution` pixels, by default twice as many
as the network's input of 220.

What that changes: nothing where the crop is not larger, as in small pictures (LSP); the example without augmentation
is then the same to the bit, and an augmented one the same warp of the same pixels. A larger crop was reduced by
averaging areas (`cv2.INTER_AREA`), where the network's input of a whole picture is interpolated between single pixels:
the packed one is smoother, and may lie 1/32 of a packed pixel away. The astronaut's 428 x 510 pixels in
examples/pictures become another input by 0.9 levels in the mean with 440 pixels a side, by 3.3 with 220, of a contrast
(standard deviation) of 80. Labels do not change. Evaluation and validation read pictures, never packs.

Nothing is trained on that is not what was packed: the index has a checksum, each person's pixels have one that is
looked at when they are first used, and the CSV and the pictures have to be those that were packed.
"""

from __future__ import annotations

import math
import os
import weakref
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from converters.errors import DeepPoseError
from converters.files import hash_file, refuse_no_file
from deeppose_port.data.annotations import IGNORE_LABEL
from deeppose_port.data.arrays import Float64Array
from deeppose_port.data.augmentation import BOX, Augmentation, is_on
from deeppose_port.data.dataset import DatasetOptions, PoseDataset
from deeppose_port.data.displacements import reached
from deeppose_port.data.pack import index as pack_index
from deeppose_port.data.pack.index import (
    ADVICE,
    PARTS,
    PackedPerson,
    PackedPicture,
    PackError,
    PackOptions,
    shard_name,
)
from deeppose_port.data.pack.rectangle import needed_rectangle
from deeppose_port.data.pictures import find_picture
from deeppose_port.data.pixels import Window
from deeppose_port.data.skeletons import Skeleton

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Pack:
    """A pack that is whole, as far as can be told without reading its pixels.

    Args:
        folder: The pack.

    Attributes:
        folder: The same.
        csv_sha256: Of the CSV that it was made from.
        options: What it was made with.
        pictures: The pictures by name.
        persons: The persons by their line in the CSV.

    Raises:
        PackError: There is no pack, or it is damaged.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        content = pack_index.read(self.folder)
        try:
            self.csv_sha256 = str(content["csv_sha256"])
            self.options = PackOptions(**content["options"])
            self.pictures = {name: pack_index.picture_of(values) for name, values in content["pictures"].items()}
            self.persons = {person.line: person for person in map(pack_index.person_of, content["persons"])}
            for person in self.persons.values():
                picture = self.pictures[person.file]
                if person.x1 > picture.width or person.y1 > picture.height:
                    raise DeepPoseError(f"line {person.line} is not in its picture")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise PackError(
                f"{self.folder / pack_index.NAME}: not what this version writes ({error}); {ADVICE}"
            ) from error
        self._shards = self._open_shards()
        self._seen: set[int] = set()

    def __reduce__(self) -> tuple[type[Pack], tuple[Path]]:
        return type(self), (self.folder,)

    @property
    def bytes(self) -> int:
        """Bytes of pixels."""
        return sum(person.size for person in self.persons.values())

    @property
    def decoded_bytes(self) -> int:
        """Bytes that the pictures have when they are decoded."""
        return sum(3 * picture.width * picture.height for picture in self.pictures.values())

    @property
    def reduced(self) -> int:
        """Number of persons who were reduced."""
        return sum(person.scale != (1.0, 1.0) for person in self.persons.values())

    @property
    def of_shards(self) -> bool:
        """Whether the pictures were in shards, and not in a folder."""
        return not any(picture.stamp for picture in self.pictures.values())

    def window(self, line: int) -> Window:
        """Returns the pixels of the person of a line, read-only.

        They are read, not mapped: a file that is cut meanwhile ends a mapping process by a signal.

        Raises:
            PackError: They are damaged, or not there any more.
            KeyError: There is no such person.
        """
        person = self.persons[line]
        path = self.folder / shard_name(person.shard)
        try:
            data = os.pread(self._shards[person.shard], person.size, person.offset)
        except OSError as error:
            raise PackError(f"{path}: cannot be read: {error.strerror}; {ADVICE}") from error
        if len(data) != person.size:
            raise PackError(f"{path}: it was cut since the pack was opened; {ADVICE}")
        if line not in self._seen:
            if zlib.crc32(data) != person.crc32:
                raise PackError(f"{path}: the pixels of line {line}, picture {person.file}, are damaged; {ADVICE}")
            self._seen.add(line)
        picture = self.pictures[person.file]
        pixels = np.frombuffer(data, np.uint8).reshape(person.height, person.width, 3)
        return Window(pixels, person.x0, person.y0, person.scale, picture.width, picture.height)

    def _open_shards(self) -> list[int]:
        """Opens the files of pixels, which have to be as long as the index says; returns their descriptors."""
        ends: dict[int, int] = {}
        for person in self.persons.values():
            ends[person.shard] = max(ends.get(person.shard, 0), person.offset + person.size)
        opened: list[int] = []
        weakref.finalize(self, _close, opened)
        for number in range(len(ends)):
            path = self.folder / shard_name(number)
            refuse_no_file(path, PackError)
            try:
                opened.append(os.open(path, os.O_RDONLY))
                found = os.fstat(opened[-1]).st_size
            except OSError as error:
                raise PackError(f"{path}: cannot be read: {error.strerror}; {ADVICE}") from error
            if number not in ends or found != ends[number]:
                raise PackError(
                    f"{path}: it has {found:,} bytes where the index says {ends.get(number, 0):,}; {ADVICE}"
                )
        return opened


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


class PackedDataset(PoseDataset):
    """A PoseDataset whose examples come from a pack, without decoding pictures.

    Args:
        csv: The CSV that the pack was made from.
        images: The folder of the pictures, which have to be those that were packed. If it is not there, as on another
            machine, the pictures are not looked at.
        skeleton: As for PoseDataset.
        pack: The pack's folder.
        augmentation: What is going to be done to the examples; it has to stay within the pack's ranges.
        **options: As for PoseDataset.

    Attributes:
        pack: The Pack.

    Raises:
        PackError: The pack is damaged, or the CSV, a picture or the options are not those that it was made from.
        DatasetError: As for PoseDataset.
    """

    def __init__(
        self,
        csv: str | os.PathLike[str],
        *,
        images: str | os.PathLike[str],
        skeleton: str | os.PathLike[str] | Skeleton,
        pack: str | os.PathLike[str],
        augmentation: Augmentation | None = None,
        **options: Unpack[DatasetOptions],
    ) -> None:
        self.pack = Pack(pack)
        super().__init__(csv, images=images, skeleton=skeleton, **options)
        refuse_stale_csv(self.pack, self.csv)
        self._refuse_other_options(augmentation or Augmentation(), options.get("ignore_label", IGNORE_LABEL))
        names = {self.person(i).file for i in range(len(self))}
        if self._has_pictures:
            for name in sorted(names):
                refuse_stale_picture(self.pack.pictures[name], find_picture(self.images, name), self.pack.folder)
        for name in names:
            self._sizes[name] = self.pack.pictures[name].width, self.pack.pictures[name].height

    def window(self, index: int) -> Window:
        """Returns the pixels that an example is made of, from the pack.

        Raises:
            PackError: They are damaged.
        """
        return self.pack.window(self.person(index).line)

    def refuse_unpacked(self, lengths: Float64Array, reach: float, more: float) -> None:
        """Refuses this pack where it has no pixels for close-ups; see `PoseDataset.refuse_unpacked`.

        Raises:
            PackError: It names a person, and what the pack is to be made with.
        """
        for i, length in enumerate(lengths):
            person = self.pack.persons[self.person(i).line]
            picture = self.pack.pictures[person.file]
            if not person.holds(reached(self, i, reach * length + more, picture.width, picture.height)):
                raise PackError(
                    f"{self.pack.folder}: close-ups reach {reach:.2g} diameters from a joint, and it has no pixels for "
                    f"those of line {person.line}; make it again with close_ups {math.ceil(10 * reach) / 10:g} "
                    "(`deeppose-port pack --close-ups`)"
                )

    @property
    def _has_pictures(self) -> bool:
        """Whether the pictures can be looked at: those of shards are in no folder."""
        return not self.pack.of_shards and self.images.is_dir()

    def _refuse_missing(self) -> None:
        if self._has_pictures:
            super()._refuse_missing()

    def _refuse_other_options(self, augmentation: Augmentation, ignore_label: float) -> None:
        """Raises an error for what the pack does not hold the pixels of."""
        folder, packed = self.pack.folder, self.pack.options
        wanted = {
            "skeleton": (self.skeleton.name, packed.skeleton),
            "base_zoom": (self.preprocessing.base_zoom, packed.base_zoom),
            "ignore_label": (ignore_label, packed.ignore_label),
        }
        for name, (here, there) in wanted.items():
            if here != there:
                raise PackError(f"{folder}: it was made with {name} {there}, not {here}; {ADVICE}")
        part, margin = self.preprocessing.part, self.preprocessing.margin + augmentation.margin_range
        if part not in PARTS:
            raise PackError(
                f"{folder}: a pack has what is around the joints, and this network takes {part}; train it from the "
                "pictures"
            )
        if part != packed.part:
            raise PackError(
                f"{folder}: it was made for networks that see the part {packed.part}, and this one sees {part}; make "
                "one with `deeppose-port pack --architecture` and its name"
            )
        if part == "joints-margin" and margin > packed.margin + 1e-9:
            raise PackError(
                f"{folder}: it was made for margins up to {packed.margin:g}, which has no pixels for {margin:g}; take "
                f"a smaller margin_range, or {ADVICE} with a larger one"
            )
        if augmentation.moves_box:
            moving = ", ".join(f"--{name}" for name in BOX if is_on(getattr(augmentation, name)))
            raise PackError(f"{folder}: a pack has not all pixels of {moving}; leave them out, or train from pictures")
        for name in ("rotate", "zoom", "translate"):
            here, there = getattr(augmentation, f"{name}_range"), getattr(packed, f"{name}_range")
            if getattr(augmentation, name) and here > there:
                raise PackError(
                    f"{folder}: it was made with {name}_range {there}, which has no pixels for {here}; take a smaller "
                    f"one, or {ADVICE} with it"
                )
        if augmentation.method == "legacy" and not augmentation.does_nothing:
            raise PackError(f"{folder}: augment legacy goes through whole pictures, and a pack has crops; take fast")
        for i in range(len(self)):
            person = self.person(i)
            packed_person = self.pack.persons.get(person.line)
            if packed_person is None or packed_person.file != person.file:
                raise self.error(i, f"{folder} has no such person, it was made with min_dim {packed.min_dim}; {ADVICE}")
            if part == "joints-margin":  # whose pixels depend on what lies beside the CSV, too
                self._refuse_other_height(i, packed_person)

    def _refuse_other_height(self, index: int, packed: PackedPerson) -> None:
        picture = self.pack.pictures[packed.file]
        if not packed.holds(needed_rectangle(self, index, self.pack.options, picture.width, picture.height)):
            problem = f"{self.pack.folder} was made when the person was smaller by the file beside the CSV; {ADVICE}"
            raise self.error(index, problem)


def refuse_stale_csv(pack: Pack, csv: Path) -> None:
    """Raises a PackError if a CSV is not the one that the pack was made from."""
    if hash_file(csv) != pack.csv_sha256:
        raise PackError(f"{pack.folder}: it was made from another CSV than {csv} is now; {ADVICE}")


def refuse_stale_picture(packed: PackedPicture, path: Path, folder: Path, *, thoroughly: bool = False) -> None:
    """Raises a PackError if a picture is not the one that was packed.

    Args:
        packed: The picture as it was.
        path: Where it is.
        folder: The pack.
        thoroughly: Whether to read it in any case, and not only where the file system tells of a change.
    """
    try:
        status = path.stat()
        untouched = stamp_of(status) == packed.stamp and not thoroughly
        same = status.st_size == packed.bytes and (untouched or hash_file(path) == packed.sha256)
    except OSError as error:
        raise PackError(f"{path}: {folder} was made from it, and it cannot be read: {error.strerror}") from error
    if not same:
        raise PackError(f"{path}: this picture has changed since {folder} was made; {ADVICE}")


def stamp_of(status: os.stat_result) -> tuple[int, ...]:
    """Returns what changes when a file does, mostly without a change of content too."""
    return status.st_mtime_ns, status.st_ctime_ns, status.st_ino
