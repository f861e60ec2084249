"""Persons and pictures of the Keras course's shards, to be packed without a folder of pictures.

Their annotations become the CSV that training reads, and what lies beside it, in the pack's own folder.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from converters.files import atomic
from deeppose_port.data.annotations import Person
from deeppose_port.data.dataset import DatasetOptions, PoseDataset
from deeppose_port.data.pack import index as pack_index
from deeppose_port.data.pack.index import PackError
from deeppose_port.data.pack.journal import refuse_strangers
from deeppose_port.data.prepare import tfrecords
from deeppose_port.data.prepare.run import shards_in
from deeppose_port.data.references import path_beside

if TYPE_CHECKING:
    from typing_extensions import Unpack

SKELETON = "mpii"
#: What a pack is of: the persons to train.
_SPLIT = "train"


class ShardDataset(PoseDataset):
    """The persons to train of some shards. Pictures are there for `encoded` alone, one at a time.

    Args:
        csv: Their CSV, see `persons_of`.
        shards: The shards.
        sizes: Width and height of each picture by name.
        **options: As for PoseDataset.
    """

    def __init__(
        self, csv: Path, shards: Sequence[Path], sizes: dict[str, tuple[int, int]], **options: Unpack[DatasetOptions]
    ) -> None:
        self.shards = tuple(shards)
        self._places: dict[str, str] = {}
        super().__init__(csv, images=self.shards[0].parent, skeleton=SKELETON, **options)
        self._sizes.update(sizes)

    def encoded(self, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """Yields the names and files of some pictures, in the order of the shards.

        Raises:
            PrepareError: A shard is damaged.
            PackError: One is not there.
        """
        left = set(names)
        for where, name, content in tfrecords.pictures(self.shards):
            if not left:
                return
            if name in left:
                left.remove(name)
                self._places[name] = where
                yield name, content
        if left:
            raise PackError(f"{self.shards[0].parent}: {min(left)} is in no shard any more")

    def _refuse_missing(self) -> None:
        """Does nothing: the pictures are in the records of the persons."""

    def _where(self, person: Person) -> str:
        place = self._places.get(person.file, str(self.shards[0].parent))
        return f"{place}, picture {person.file}"


def is_shards(source: Path) -> bool:
    """Tells whether persons are shards: a folder, or a file of their name."""
    return source.is_dir() or source.suffix in {Path(pattern).suffix for pattern in tfrecords.PATTERNS}


def read_shards(
    source: Path, folder: str | os.PathLike[str], *, writes: bool, **options: Unpack[DatasetOptions]
) -> tuple[ShardDataset, list[str]]:
    """Reads shards, and writes their persons' CSV into the folder of the pack that is to be made of them.

    Args:
        source: A shard, or a folder of them.
        folder: The pack's.
        writes: Whether the CSV is written where there is none.
        **options: As for PoseDataset.

    Returns:
        The persons to train, and sentences for the user.

    Raises:
        PrepareError: A shard is damaged, or a record has no joints or no picture; it names the record.
        PackError: There is nobody to train, or the folder has the persons of other shards.
    """
    csv = persons_of(folder)
    read, files = shards_in(source, csv.parent)
    notes = list(read.notes)
    if _SPLIT not in read.splits:
        raise PackError(f"{source}: there is nobody to train in it, and a pack is to train from")
    for split, persons in read.splits.items():
        if split != _SPLIT:
            notes.append(f"left out: {len(persons):,} to {split}; `deeppose-port prepare tfrecords` has them")
    for path in (csv, path_beside(csv)):
        if path.exists() and path.read_bytes() != files[path]:
            raise PackError(f"{csv.parent}: it is of other shards than {source} are now; {pack_index.ADVICE}")
        if not path.exists() and not writes:
            raise PackError(f"{csv.parent}: there is no pack of shards here")
    if writes and not csv.exists():
        refuse_strangers(csv.parent)
        csv.parent.mkdir(parents=True, exist_ok=True)
        for path in (path_beside(csv), csv):
            with atomic(path, force=True) as temporary:
                temporary.write_bytes(files[path])
    assert read.sizes is not None
    return ShardDataset(csv, tfrecords.shards_of(source), read.sizes, **options), notes


def persons_of(folder: str | os.PathLike[str]) -> Path:
    """Returns where a pack of shards has its persons."""
    return Path(folder) / pack_index.PERSONS
