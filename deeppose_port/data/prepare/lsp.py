"""LSP and LSP extended: `joints.mat`, an array of x, y and a flag for 14 joints of each person.

Johnson and Everingham, "Clustered Pose and Nonlinear Appearance Models for Human Pose Estimation", BMVC 2010 (LSP), and
"Learning Effective Human Pose Estimation from Inaccurate Annotation", CVPR 2011 (LSP extended). The two files differ in
the order of their axes and in the sense of their flag.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deeppose_port.data.arrays import Float64Array
from deeppose_port.data.prepare import matlab
from deeppose_port.data.prepare.source import (
    Annotation,
    PrepareError,
    Row,
    Source,
    find,
    pictures_beside,
    the_only,
    unexpected,
)

FILE = "joints.mat"
PUBLISHED = "http://sam.johnson.io/research/lsp.html (lsp_dataset.zip) and lspet.html (lspet_dataset.zip)"
PERSONS, PERSONS_EXTENDED = 2000, 10000

#: Seed of the legacy split of LSP extended, and the part of it that is the test set.
SEED, TEST_PART = 1701, 0.1


def read(source: Path) -> Source:
    """Reads either LSP's or LSP extended's `joints.mat`.

    LSP, (3, 14, N), is split as its authors do: the first half for training. LSP extended, (14, 3, N), is split as the
    legacy program did: a random tenth is the test set; its coordinates that are not above 0 are not annotated, each by
    itself.

    Args:
        source: The file or a folder with it.

    Raises:
        PrepareError: There is no such file, or what is in it has another shape.
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
            return _lsp(path, array.transpose(2, 1, 0))
        if array.shape[:2] == (14, 3):
            return _extended(path, array.transpose(2, 0, 1))
    raise PrepareError(f"{path}: `joints` has the shape {array.shape}; LSP's is (3, 14, N), LSP extended's (14, 3, N)")


def _lsp(path: Path, persons: Float64Array) -> Source:
    """Makes the source of LSP's (N, 14, 3)."""
    # Every joint is annotated, and 0 is the flag of 26 in 28: it means "seen", against what the README says.
    annotations = [
        Annotation(f"im{i:04}.jpg", person[:, :2], is_visible=_flags(1 - person[:, 2]))
        for i, person in enumerate(persons, 1)
    ]
    half = len(annotations) // 2
    return Source(
        skeleton="lsp",
        splits={"train": annotations[:half], "test": annotations[half:]},
        published=PUBLISHED,
        rows=[Row("persons in joints.mat", len(annotations), "LSP: the first half trains, the second half tests")],
        notes=list(unexpected("persons in joints.mat", len(annotations), PERSONS)),
        pictures=pictures_beside(path),
    )


def _extended(path: Path, persons: Float64Array) -> Source:
    """Makes the source of LSP extended's (N, 14, 3)."""
    annotations = [
        Annotation(f"im{i:05}.jpg", np.where(person[:, :2] > 0, person[:, :2], np.nan), is_visible=_flags(person[:, 2]))
        for i, person in enumerate(persons, 1)
    ]
    order = np.random.RandomState(SEED).permutation(len(annotations))
    test = set(order[: int(TEST_PART * len(annotations))].tolist())
    return Source(
        skeleton="lsp",
        splits={
            "train": [annotation for i, annotation in enumerate(annotations) if i not in test],
            "test": [annotation for i, annotation in enumerate(annotations) if i in test],
        },
        published=PUBLISHED,
        rows=[Row("persons in joints.mat", len(annotations), "LSP extended: the legacy split, a random tenth tests")],
        notes=list(unexpected("persons in joints.mat", len(annotations), PERSONS_EXTENDED)),
        pictures=pictures_beside(path),
    )


def _flags(seen: Float64Array) -> tuple[int | None, ...]:
    return tuple(int(flag) if flag in (0, 1) else None for flag in seen.tolist())
