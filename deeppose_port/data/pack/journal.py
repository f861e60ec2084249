"""A pack in the making, see `packing`: what is written so far, and the journal that says so.

The journal, `pack.partial`, is in the place of the index: a line of JSON for what the pack is made from and with, then
a line for each picture whose persons' pixels are written. A run that was stopped, or killed, goes on after the last.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import zlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, BinaryIO

from converters.files import atomic
from deeppose_port.data.pack import index as pack_index
from deeppose_port.data.pack.index import ALIGNMENT, PackedPerson, PackedPicture, PackError, shard_name
from deeppose_port.data.pictures import Picture
from deeppose_port.data.references import path_beside

JOURNAL = "pack.partial"
#: A file of pixels takes no further person from this size on.
SHARD_BYTES = 1 << 30

#: A person before its place in a file is known, and its pixels.
Cut = tuple[PackedPerson, Picture]


class Journal:
    """A pack in the making, which no other process writes meanwhile: a context manager.

    Args:
        folder: The pack's folder, which is there.
        header: What the pack is made from and with.

    Attributes:
        pictures: Those that are in it, by name.
        persons: Likewise.

    Raises:
        PackError: When it is entered: another process is making this pack, the folder has one of something else, or
            what an earlier run has written is damaged.
    """

    def __init__(self, folder: Path, header: dict[str, object]) -> None:
        self.folder = folder
        self.pictures: dict[str, PackedPicture] = {}
        self.persons: list[PackedPerson] = []
        self._header = header
        self._shard: BinaryIO | None = None
        self._number = self._end = 0

    def __enter__(self) -> Journal:
        path = self.folder / JOURNAL
        self._file = path.open("a+b")
        try:
            _lock(self._file, self.folder)
            self._read()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        for file in (self._shard, self._file):
            if file is not None:
                file.close()

    def add(self, name: str, picture: PackedPicture, crops: list[Cut]) -> None:
        """Writes a picture's persons, and then into the journal that they are written."""
        placed = []
        for person, pixels in crops:
            shard = self._shard_with_room()
            shard.write(bytes(-self._end % ALIGNMENT))
            offset = self._end + -self._end % ALIGNMENT
            shard.write(pixels.data)
            self._end = offset + person.size
            placed.append(replace(person, shard=self._number, offset=offset))
        if self._shard is not None:
            self._shard.flush()
        self._note({"name": name, "picture": asdict(picture), "persons": [asdict(person) for person in placed]})
        self.pictures[name] = picture
        self.persons += placed

    def finish(self, header: dict[str, object]) -> None:
        """Writes the index in place of the journal, when all that it names is on the disk."""
        if self._shard is not None:
            _sync(self._shard)
        with atomic(self.folder / pack_index.NAME, force=True) as temporary, temporary.open("wb") as file:
            file.write(pack_index.encode(header, self.pictures, self.persons))
            _sync(file)
        remove_journal(self.folder)

    def _shard_with_room(self) -> BinaryIO:
        """Returns the file to write the next person into."""
        if self._shard is not None and self._end >= SHARD_BYTES:
            _sync(self._shard)
            self._shard.close()
            self._shard, self._number, self._end = None, self._number + 1, 0
        if self._shard is None:
            self._shard = (self.folder / shard_name(self._number)).open("ab")
            self._shard.truncate(self._end)
        return self._shard

    def _note(self, entry: dict[str, object]) -> None:
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()

    def _read(self) -> None:
        """Takes over what an earlier run has written; the line that it was writing when it was killed is dropped."""
        self._file.seek(0)
        lines = self._file.read().split(b"\n")
        whole = sum(len(line) + 1 for line in lines[:-1])
        self._file.truncate(whole)
        if whole:
            try:
                header, *entries = map(json.loads, lines[:-1])
                refuse_other_header(self.folder, header, self._header)
                for entry in entries:
                    self.pictures[entry["name"]] = pack_index.picture_of(entry["picture"])
                    self.persons += map(pack_index.person_of, entry["persons"])
            except PackError:
                raise
            except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
                raise PackError(
                    f"{self.folder / JOURNAL}: damaged ({error}); delete the folder and pack anew"
                ) from error
        else:
            self._note(self._header)
        if self.persons:
            last = self.persons[-1]
            self._number, self._end = last.shard, last.offset + last.size
        self._refuse_damage()

    def _refuse_damage(self) -> None:
        """Raises an error if what the journal names is not on the disk: after a power cut, say."""
        for number in range(self._number + 1 if self.persons else 0):
            path = self.folder / shard_name(number)
            with contextlib.ExitStack() as closing:
                file = closing.enter_context(path.open("rb")) if path.is_file() else None
                for person in (person for person in self.persons if person.shard == number):
                    if file is not None:
                        file.seek(person.offset)
                    if file is None or zlib.crc32(file.read(person.size)) != person.crc32:
                        raise PackError(
                            f"{path}: the pixels of line {person.line} are not those that the journal names; delete "
                            f"{self.folder} and pack anew"
                        )


def remove_journal(folder: Path) -> None:
    """Removes the journal of a whole pack, if a run was stopped before it could."""
    path = folder / JOURNAL
    if path.exists():  # what is not there cannot be removed from a disk that is read alone either
        path.unlink(missing_ok=True)


def refuse_other_header(folder: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raises an error if a folder holds a pack of something else."""
    there = {"the CSV": found["csv_sha256"], **found["options"]}
    here = {"the CSV": wanted["csv_sha256"], **wanted["options"]}
    for name, value in here.items():
        if there.get(name) != value:
            change = "has changed since" if name == "the CSV" else f"was {there.get(name)} and is {value}"
            raise PackError(
                f"{folder}: it holds a pack, or a part of one, for which {name} {change}; delete the folder, or name "
                "another"
            )


def refuse_strangers(folder: Path) -> None:
    """Raises an error if a folder holds anything else than a pack in the making."""
    for file in folder.iterdir() if folder.is_dir() else ():
        if file.name == pack_index.NAME:
            raise PackError(f"{folder}: it holds a pack of something else; name another folder")
        if not is_part(file.name):
            raise PackError(f"{folder}: it holds {file.name}, which is no part of a pack; name another folder")


def is_part(name: str) -> bool:
    """Tells whether a file may be in the folder of a pack in the making."""
    persons = pack_index.PERSONS, path_beside(pack_index.PERSONS).name
    return name in (JOURNAL, *persons) or name.startswith((f".{pack_index.NAME}.", "pack-"))


def _lock(file: BinaryIO, folder: Path) -> None:
    """Keeps other processes from writing the same pack, until the file is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise PackError(f"{folder}: another process is making this pack") from error


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
