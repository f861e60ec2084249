"""Making packs, see `pack`, and looking whether one is whole. `pack_journal` has what a stopped run goes on with."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Collection, Iterator
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from converters.errors import DeepPoseError
from converters.files import hash_file
from converters.folders import new_folder
from converters.progress import ProgressCallback, silent
from converters.values import dataclass
from deeppose_port.data.ahead import Workers
from deeppose_port.data.arrays import Float64Array
from deeppose_port.data.dataset import PoseDataset
from deeppose_port.data.displacements import AROUND, diameters_of
from deeppose_port.data.pack import Pack, refuse_stale_csv, refuse_stale_picture, stamp_of
from deeppose_port.data.pack import index as pack_index
from deeppose_port.data.pack.index import ADVICE, PackedPerson, PackedPicture, PackError, PackOptions
from deeppose_port.data.pack.journal import Cut, Journal, refuse_other_header, refuse_strangers, remove_journal
from deeppose_port.data.pack.rectangle import needed_rectangle, packed_size
from deeppose_port.data.pack.shards import ShardDataset
from deeppose_port.data.pictures import Picture, PictureError, decode_picture, find_picture, picture_bytes
from deeppose_port.data.view import View


@dataclass(frozen=True)
class Packed:
    """What `pack` did.

    Attributes:
        pack: The pack, whole.
        resumed: Persons who were in it already.
    """

    pack: Pack
    resumed: int


def pack(
    dataset: PoseDataset,
    folder: str | os.PathLike[str],
    options: PackOptions,
    *,
    threads: int | None = None,
    progress: ProgressCallback = silent,
) -> Packed:
    """Packs a dataset's persons, or goes on where an earlier run was stopped.

    Args:
        dataset: The persons and pictures, of the options' skeleton, base_zoom, min_dim and ignore_label.
        folder: Where to; it is made, or empty, or holds this very pack, whole or in part.
        options: What to make it with.
        threads: How many decode pictures; the default is one for each processor that this process may use.
        progress: Who looks on.

    Raises:
        PackError: The folder holds something else or cannot be written, or the CSV or a picture has changed since the
            run was stopped.
        DatasetError: A picture cannot be decoded, or a person has no crop in it.
    """
    folder = Path(folder)
    header = _header(dataset, options)
    if folder.exists() and not folder.is_dir():
        raise PackError(f"{folder}: a pack is a folder, and this is none; name another")
    if (folder / pack_index.NAME).exists():
        whole = Pack(folder)
        refuse_other_header(folder, {"csv_sha256": whole.csv_sha256, "options": asdict(whole.options)}, header)
        _refuse_stale_pictures(folder, whole.pictures, dataset)
        remove_journal(folder)
        return Packed(whole, len(whole.persons))
    try:
        resumed = _write(dataset, folder, options, header, threads, progress)
    except OSError as error:
        raise PackError(
            f"{folder}: cannot be written: {error.strerror}; the same command goes on where this one has stopped"
        ) from error
    return Packed(Pack(folder), resumed)


def _write(
    dataset: PoseDataset,
    folder: Path,
    options: PackOptions,
    header: dict[str, object],
    threads: int | None,
    progress: ProgressCallback,
) -> int:
    """Writes what is still to be written of a pack; returns how many persons were in it already."""
    new_folder(folder).mkdir(parents=True, exist_ok=True)
    refuse_strangers(folder)
    with Journal(folder, header) as journal:
        _refuse_stale_pictures(folder, journal.pictures, dataset)
        resumed = len(journal.persons)
        todo = {name: rows for name, rows in _rows_of_pictures(dataset).items() if name not in journal.pictures}
        done = total = len(journal.pictures)
        total += len(todo)
        progress(done, total)
        for name, picture, crops in _decoded(dataset, todo, options, threads):
            journal.add(name, picture, crops)
            done += 1
            progress(done, total)
        journal.finish(header)
    return resumed


def verify(dataset: PoseDataset, folder: str | os.PathLike[str], progress: ProgressCallback = silent) -> Pack:
    """Reads a whole pack, the CSV and all pictures, and compares every checksum.

    Args:
        dataset: The persons and pictures that the pack should be of.
        folder: The pack.
        progress: Who looks on.

    Raises:
        PackError: Something is damaged or has changed. The message names it.
    """
    whole = Pack(folder)
    refuse_stale_csv(whole, dataset.csv)
    total = len(whole.pictures) + len(whole.persons)
    looked = _stale_pictures_refused(whole.folder, whole.pictures, dataset, thoroughly=True)
    for done, _ in enumerate(looked, 1):
        progress(done, total)
    for done, line in enumerate(whole.persons, len(whole.pictures)):
        whole.window(line)
        progress(done + 1, total)
    missing = [i for i in range(len(dataset)) if dataset.person(i).line not in whole.persons]
    if missing:
        raise dataset.error(missing[0], f"{folder} has no such person")
    return whole


def _around_joints(dataset: PoseDataset, options: PackOptions) -> Float64Array:
    """Returns how many pixels are kept on every side of each person's joints, (N,)."""
    if not options.close_ups:
        return np.zeros(len(dataset))
    if not dataset.skeleton.diameter:
        raise PackError(f"{dataset.skeleton.name} has no opposing joints by which close-ups are measured")
    lengths = diameters_of(dataset, dataset.skeleton.diameter).lengths
    around: Float64Array = options.close_ups * lengths + options.translate_range + AROUND
    return around


def _decoded(
    dataset: PoseDataset, todo: dict[str, list[int]], options: PackOptions, threads: int | None
) -> Iterator[tuple[str, PackedPicture, list[Cut]]]:
    """Yields the pictures with what is cut out of them, in order; threads are a few pictures ahead."""
    around = _around_joints(dataset, options)

    def cuts(content: tuple[str, bytes | None]) -> tuple[PackedPicture, list[Cut]]:
        return _cuts_of_picture(dataset, todo[content[0]], options, around, content[1])

    with Workers(threads) as workers:
        for (name, _), made in workers.ahead(_contents(dataset, todo), cuts, 2 * workers.threads + 1):
            yield name, *made()


def _contents(dataset: PoseDataset, names: Collection[str]) -> Iterator[tuple[str, bytes | None]]:
    """Yields the names of pictures, with the files of those that are in shards."""
    if isinstance(dataset, ShardDataset):
        yield from dataset.encoded(names)
    else:
        yield from ((name, None) for name in names)


def _cuts_of_picture(
    dataset: PoseDataset, rows: list[int], options: PackOptions, around: Float64Array, content: bytes | None
) -> tuple[PackedPicture, list[Cut]]:
    """Decodes a picture, whose file is given or is the dataset's, and cuts out all its persons."""
    try:
        if content is None:
            path = dataset.path(rows[0])
            stamp = stamp_of(path.stat())  # before it is read: if it changes meanwhile, it is found changed
            data = picture_bytes(path, dataset.max_pixels)
        else:
            stamp, data = (), np.frombuffer(content, np.uint8)
        pixels = decode_picture(data, max_pixels=dataset.max_pixels)
    except OSError as error:
        raise dataset.error(rows[0], f"cannot be read: {error.strerror}") from error
    except PictureError as error:
        raise dataset.error(rows[0], error.problem) from error
    height, width, _ = pixels.shape
    picture = PackedPicture(width, height, len(data), hashlib.sha256(data.data).hexdigest(), stamp)
    return picture, [_cut(dataset, row, options, pixels, float(around[row])) for row in rows]


def _cut(dataset: PoseDataset, row: int, options: PackOptions, pixels: Picture, around: float) -> Cut:
    """Cuts one person out of a picture, reduced where it is to be."""
    height, width, _ = pixels.shape
    person = dataset.person(row)
    try:
        seen = View.of_person(person.joints, person.visible, width, height, options.preprocessing, dataset.scale(row))
    except DeepPoseError as error:
        raise dataset.error(row, f"{error.problem}; correct or delete the line") from error
    x0, y0, x1, y1 = rectangle = needed_rectangle(dataset, row, options, width, height, around)
    part = pixels[y0:y1, x0:x1]
    size = packed_size(rectangle, seen.crop, options.resolution)
    if size != (x1 - x0, y1 - y0):
        part = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)
    part = np.ascontiguousarray(part)
    return PackedPerson(person.line, person.file, *rectangle, *size, 0, 0, zlib.crc32(part.data)), part


def _header(dataset: PoseDataset, options: PackOptions) -> dict[str, object]:
    """Returns what a pack is made from and with, as in the index."""
    return {
        "format": pack_index.FORMAT,
        "version": pack_index.VERSION,
        "csv_sha256": hash_file(dataset.csv),
        "options": asdict(options),
    }


def _stale_pictures_refused(
    folder: Path, pictures: dict[str, PackedPicture], dataset: PoseDataset, *, thoroughly: bool = False
) -> Iterator[None]:
    """Yields after each picture that is still the one that was packed; those of shards are always read.

    Raises:
        PackError: One is another now.
    """
    if isinstance(dataset, ShardDataset):
        for name, content in dataset.encoded(pictures):
            if hashlib.sha256(content).hexdigest() != pictures[name].sha256:
                raise PackError(f"{name}: this picture in the shards has changed since {folder} was made; {ADVICE}")
            yield
        return
    for name, picture in pictures.items():
        refuse_stale_picture(picture, find_picture(dataset.images, name), folder, thoroughly=thoroughly)
        yield


def _refuse_stale_pictures(folder: Path, pictures: dict[str, PackedPicture], dataset: PoseDataset) -> None:
    for _ in _stale_pictures_refused(folder, pictures, dataset):
        pass


def _rows_of_pictures(dataset: PoseDataset) -> dict[str, list[int]]:
    """Returns the examples of each picture, pictures in the order of their first line."""
    rows: dict[str, list[int]] = {}
    for row in range(len(dataset)):
        rows.setdefault(dataset.person(row).file, []).append(row)
    return rows
