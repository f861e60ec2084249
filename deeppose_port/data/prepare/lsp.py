"""LSP and LSP extended: `joints.mat`, an array of x, y and a flag for 14 joints of each person.

Johnson and Everingham, "Clustered Pose and Nonlinear Appearance Models for Human Pose Estimation", BMVC 2010 (LSP), and
"Learning Effective Human Pose Estimation from Inaccurate Annotation", CVPR 2011 (LSP extended). The two files differ in
the order of their axes and in the sense of their flag. HR-LSPET (Pavlakos and others, CVPR 2018, by way of SPIN) has
those pictures of LSP extended that were found again in a higher resolution: fewer, under the old numbers, as PNG.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from deeppose_port.data.arrays import Float64Array
from deeppose_port.data.prepare import matlab
from deeppose_port.data.prepare.source import (
    Annotation,
    PrepareError,
    Row,
    Source,
    Wanted,
    find,
    pictures_of,
    the_only,
    unexpected,
)
from deeppose_port.data.prepare.splits import drawn

FILE = "joints.mat"
PUBLISHED = "http://sam.johnson.io/research/lsp.html (lsp_dataset.zip) and lspet.html (lspet_dataset.zip)"
PERSONS, PERSONS_EXTENDED, PERSONS_HR = 2000, 10000, 9428


def read(source: Path, wanted: Wanted) -> Source:
    """Reads the `joints.mat` of LSP, LSP extended or HR-LSPET.

    LSP, (3, 14, N), is split as its authors do: the first half for training. LSP extended, (14, 3, N), is split as the
    legacy program did: a random tenth is the test set; its coordinates that are not above 0 are not annotated, each by
    itself. Person i is on `im0001.jpg` or `im00001.jpg`, or on that picture in another format; in HR-LSPET, whose
    pictures' numbers have gaps, on the i-th picture by name.

    Args:
        source: The file or a folder with it.
        wanted: Its pictures' folder; by default `images` beside the file or one folder up, or the file's own.

    Raises:
        PrepareError: There is no such file, what is in it has another shape, or there are not as many pictures as
            persons where these are told by their order.
    """
    missing = (
        f"no {FILE} in it. LSP's authors publish it, with the pictures, at {PUBLISHED}; without it nothing can be "
        "prepared for LSP (an LSP CSV that you already have works as it is)"
    )
    path = the_only(find(source, [FILE]), source, missing)
    array = matlab.numbers(path, "joints")
    if array.ndim == 2:  # MATLAB drops the last axis of a single person
        array = array[:, :, np.newaxis]
    if array.ndim == 3 and array.size:
        if array.shape[:2] == (3, 14):
            return _lsp(path, array.transpose(2, 1, 0), wanted)
        if array.shape[:2] == (14, 3):
            return _extended(path, array.transpose(2, 0, 1), wanted)
    raise PrepareError(f"{path}: `joints` has the shape {array.shape}; LSP's is (3, 14, N), LSP extended's (14, 3, N)")


def _lsp(path: Path, persons: Float64Array, wanted: Wanted) -> Source:
    """Makes the source of LSP's (N, 14, 3)."""
    folder = _folder(path, wanted)
    names = _numbered(folder, len(persons), digits=4)
    # Every joint is annotated, and 0 is the flag of 26 in 28: it means "seen", against what the README says.
    annotations = [
        Annotation(name, person[:, :2], is_visible=_flags(1 - person[:, 2]))
        for name, person in zip(names, persons, strict=True)
    ]
    half = len(annotations) // 2
    return Source(
        skeleton="lsp",
        splits={"train": annotations[:half], "test": annotations[half:]},
        published=PUBLISHED,
        rows=[Row("persons in joints.mat", len(annotations), "LSP: the first half trains, the second half tests")],
        notes=list(unexpected("persons in joints.mat", len(annotations), PERSONS)),
        pictures=folder,
    )


def _extended(path: Path, persons: Float64Array, wanted: Wanted) -> Source:
    """Makes the source of LSP extended's or HR-LSPET's (N, 14, 3)."""
    folder = _folder(path, wanted)
    by_order = _by_order(path, folder, len(persons))
    names = by_order or _numbered(folder, len(persons), digits=5)
    annotations = [
        Annotation(name, np.where(person[:, :2] > 0, person[:, :2], np.nan), is_visible=_flags(person[:, 2]))
        for name, person in zip(names, persons, strict=True)
    ]
    test = set(drawn(len(annotations))[0])
    title = "HR-LSPET, each person on the next picture by name: a" if by_order else "LSP extended: the legacy split, a"
    return Source(
        skeleton="lsp",
        splits={
            "train": [annotation for i, annotation in enumerate(annotations) if i not in test],
            "test": [annotation for i, annotation in enumerate(annotations) if i in test],
        },
        published=PUBLISHED,
        rows=[Row("persons in joints.mat", len(annotations), f"{title} random tenth tests")],
        notes=list(unexpected("persons in joints.mat", len(annotations), PERSONS_EXTENDED, PERSONS_HR)),
        pictures=folder,
    )


def _folder(path: Path, wanted: Wanted) -> Path | None:
    """Finds the pictures' folder: `images`, or the annotations' own."""
    folder = pictures_of(path, wanted)
    return path.parent if folder is None and _pictures_in(path.parent) else folder


def _pictures_in(folder: Path | None) -> list[str]:
    """Returns the names of a folder's numbered pictures, sorted."""
    if folder is None or not folder.is_dir():
        return []
    return sorted(file.name for file in folder.iterdir() if re.fullmatch(r"im\d+\.[A-Za-z]+", file.name))


def _numbered(folder: Path | None, persons: int, digits: int) -> list[str]:
    """Returns each person's picture by its number: the one that is there, or what its authors call it."""
    there = {name.partition(".")[0]: name for name in reversed(_pictures_in(folder))}  # of several the first by name
    stems = [f"im{i:0{digits}}" for i in range(1, persons + 1)]
    return [there.get(stem, f"{stem}.jpg") for stem in stems]


def _by_order(path: Path, folder: Path | None, persons: int) -> list[str]:
    """Returns each person's picture by its place among the PNG files, where there are no others; nothing otherwise."""
    names = [] if folder is None or not folder.is_dir() else sorted(file.name for file in folder.iterdir())
    names = [name for name in names if name.lower().endswith((".png", ".jpg", ".jpeg"))]
    if not names and persons == PERSONS_HR:
        raise PrepareError(
            f"{path}: its {persons:,} persons are those of HR-LSPET, each on the next picture by name; --images names "
            "the pictures' folder"
        )
    if not names or not all(name.lower().endswith(".png") for name in names):
        return []
    if len(names) != persons:
        raise PrepareError(
            f"{folder}: it has {len(names):,} PNG files, and {path} has {persons:,} persons, each on the next picture "
            "by name; take the two of one release"
        )
    return names


def _flags(seen: Float64Array) -> tuple[int | None, ...]:
    return tuple(int(flag) if flag in (0, 1) else None for flag in seen.tolist())
