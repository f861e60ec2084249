"""FLIC: `examples.mat`, a struct a person with 29 points, and `tr_plus_indices.mat`, which of them are to train.

Sapp and Taskar, "MODEC: Multimodal Decomposable Models for Human Pose Estimation", CVPR 2013. The indices are those of
Tompson, Jain, LeCun and Bregler, "Joint Training of a Convolutional Network and a Graphical Model for Human Pose
Estimation", NIPS 2014 (FLIC-plus): FLIC-full without the films of the test set.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

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
from deeppose_port.data.prepare.splits import SEED, TEST_PART, shuffled
from deeppose_port.options import refuse_unknown

FILE, INDICES = "examples.mat", "tr_plus_indices.mat"
PUBLISHED = "https://bensapp.github.io/flic-dataset.html (FLIC-full.zip)"
INDICES_PUBLISHED = "https://cims.nyu.edu/~tompson/data/tr_plus_indices.mat, which no longer answers"
PERSONS = {"FLIC-full": 20928, "FLIC": 5003}

#: Which examples train: those of the legacy program, of the indices as they are meant, whole films, or what each
#: example says of itself.
SPLITS = ("legacy", "corrected", "film", "authors")

#: The columns of `coords`.
COLUMNS = (
    *("lsho", "lelb", "lwri", "rsho", "relb", "rwri", "lhip", "lkne", "lank", "rhip", "rkne", "rank"),
    *("leye", "reye", "lear", "rear", "nose", "msho", "mhip", "mear", "mtorso"),
    *("mluarm", "mruarm", "mllarm", "mrlarm", "mluleg", "mruleg", "mllleg", "mrlleg"),
)


def read(source: Path, wanted: Wanted) -> Source:
    """Reads FLIC's annotations.

    Args:
        source: `examples.mat`, or the folder with it and with `tr_plus_indices.mat`.
        wanted: Its split is `legacy` (the default with the indices): an example trains if its position from 0 is among
            the indices, which MATLAB counts from 1, as in the legacy program. `corrected`: the same, counted from 1.
            `film` (the default without the indices): a tenth of the examples tests, with no film on both sides.
            `authors`: the examples' own fields `istrain` and `istest`.

    Raises:
        PrepareError: A file is missing, damaged or in another form, or the split cannot be made.
    """
    split = wanted.split
    if split is not None:
        refuse_unknown("split", split, SPLITS, " of FLIC", PrepareError)
    missing = (
        f"no {FILE} in it. FLIC's authors publish it, with the pictures, at {PUBLISHED}; without it nothing can be "
        "prepared for FLIC (a FLIC CSV that you already have works as it is, without PDJ)"
    )
    path = the_only(find(source, [FILE]), source, missing)
    examples = matlab.structs(matlab.read(path, "examples"))
    if not examples:
        raise PrepareError(f"{path}: `examples` is no array of structs; is it FLIC's?")
    annotations = [_annotation(example, f"{path}: example {i}") for i, example in enumerate(examples, 1)]
    folder = source if source.is_dir() else source.parent
    parts, rows, notes = _split(path, folder, split, examples, annotations)
    incomplete = sum(bool(np.isnan(annotation.joints).any()) for annotation in annotations)
    if incomplete:
        rows.append(Row("with joints that are not annotated", incomplete, "NaN in coords, written as -1"))
    torsoless = sum(annotation.torso_length is None for annotation in annotations)
    if torsoless:
        rows.append(Row("without a torso length", torsoless, "no hip or shoulder in coords; in no PDJ"))
    return Source(
        skeleton="flic",
        splits={
            name: [annotation for annotation, part in zip(annotations, parts, strict=True) if part == name]
            for name in ("train", "test")
        },
        published=PUBLISHED,
        rows=[Row("examples in examples.mat", len(annotations)), *rows],
        notes=[*unexpected("examples", len(annotations), *PERSONS.values()), *notes],
        pictures=pictures_of(path, wanted),
    )


def _annotation(example: dict[str, object], where: str) -> Annotation:
    """Makes the annotation of one struct."""
    file = matlab.text(_field(example, "filepath", 3, where))
    if file is None:
        raise PrepareError(f"{where}: it has no picture's name; is it FLIC's?")
    coords = matlab.as_numbers(_field(example, "coords", 2, where), f"{where}: coords")
    if coords.shape != (2, len(COLUMNS)):
        raise PrepareError(f"{where}: coords have the shape {coords.shape} where FLIC has (2, {len(COLUMNS)})")
    points = dict(zip(COLUMNS, coords.T, strict=True))
    head = (points["reye"] + points["leye"] + points["nose"]) / 3
    arms = [points[name] for name in ("lwri", "lelb", "lsho", "rsho", "relb", "rwri")]
    torso = float(np.hypot(*(points["lsho"] - points["rhip"])))
    return Annotation(file, np.array([*arms[:3], head, *arms[3:]]), torso_length=None if np.isnan(torso) else torso)


def _field(example: dict[str, object], name: str, position: int, where: str) -> object:
    """Returns a field by its name or, as the legacy program did, by its position."""
    if name in example:
        return example[name]
    if len(example) <= position:
        raise PrepareError(f"{where}: it has no field {name}, only {', '.join(example)}; is it FLIC's?")
    return list(example.values())[position]


def _split(
    path: Path,
    folder: Path,
    split: str | None,
    examples: Sequence[dict[str, object]],
    annotations: Sequence[Annotation],
) -> tuple[list[str], list[Row], list[str]]:
    """Tells which examples `train` and which `test`, with the rows and notes that say why."""
    if split == "authors":
        return _split_by_authors(path, examples)
    indices = next(iter(find(folder, [INDICES])), None)
    if split != "film" and indices is not None:
        return _split_by_indices(indices, split or "legacy", len(annotations))
    if split in ("legacy", "corrected"):
        raise PrepareError(
            f"{folder}: no {INDICES} in it, which the {split} split is made of. It was published at "
            f"{INDICES_PUBLISHED}; without it `--split film` (the default then) makes a split of whole films"
        )
    films = [_film(example, annotation) for example, annotation in zip(examples, annotations, strict=True)]
    test = _test_films(path, films)
    part = sum(film in test for film in films) / len(films)
    row = Row("films", len(set(films)), f"{len(test)} of them test, with {part:.0%} of the examples (seed {SEED})")
    notes = []
    if indices is None:
        notes = [
            f"no {INDICES} in {folder} (it was published at {INDICES_PUBLISHED}): this split is deeppose-port's "
            "own, by film, and not that of any publication or legacy training"
        ]
    return ["test" if film in test else "train" for film in films], [row], notes


def _split_by_authors(path: Path, examples: Sequence[dict[str, object]]) -> tuple[list[str], list[Row], list[str]]:
    """Splits by what each example says of itself; one that says neither is in no part."""
    flags = [[matlab.number(example.get(name)) for name in ("istrain", "istest")] for example in examples]
    wrong = next((i for i, pair in enumerate(flags, 1) if None in pair or sum(map(bool, pair)) == 2), None)
    if wrong is not None:
        raise PrepareError(
            f"{path}: example {wrong} does not say whether it trains or tests (istrain, istest), so that there is no "
            "`--split authors` of this file"
        )
    parts = ["train" if train else "test" if test else "" for train, test in flags]
    row = Row("left out: neither trains nor tests", parts.count(""), "istrain and istest are 0")
    return parts, [row] if row.count else [], []


def _split_by_indices(path: Path, split: str, examples: int) -> tuple[list[str], list[Row], list[str]]:
    """Splits by `tr_plus_indices.mat`."""
    indices = matlab.numbers(path, "tr_plus_indices").ravel()
    wrong = indices[~((indices >= 1) & (indices <= examples) & (indices == np.floor(indices)))]
    if not indices.size or wrong.size:
        found = f"{wrong[0]:g} is among them" if wrong.size else "there are none"
        raise PrepareError(f"{path}: indices should be whole numbers from 1 to {examples}, but {found}; is it FLIC's?")
    first = 0 if split == "legacy" else 1
    among = set(indices.astype(int).tolist())
    row = Row("indices of training examples", len(among), f"read as counting from {first} ({split} split)")
    notes = []
    if split == "legacy":
        notes = [
            "the legacy split is off by one (it reads MATLAB's indices as counting from 0), so at both ends of each "
            "run of indices an example is on the wrong side; --split corrected reads them as they are meant"
        ]
    return ["train" if i in among else "test" for i in range(first, examples + first)], [row], notes


def _film(example: dict[str, object], annotation: Annotation) -> str:
    """Returns the film that an example is from: its own field, or the picture's name without the frame's number."""
    return matlab.text(example.get("moviename")) or re.sub(r"[-_]?\d+$", "", Path(annotation.file).stem)


def _test_films(path: Path, films: Sequence[str]) -> set[str]:
    """Chooses films whose examples come as near to a tenth of all as films in a random order do."""
    sizes = Counter(films)
    if len(sizes) < 2:
        raise PrepareError(f"{path}: all examples are of one film, so no split can keep films apart")
    names = sorted(sizes)
    order = [names[i] for i in shuffled(len(names))]
    wanted, test = TEST_PART * len(films), 0
    chosen: set[str] = set()
    for film in order:
        if abs(test + sizes[film] - wanted) < abs(test - wanted):
            chosen.add(film)
            test += sizes[film]
    return chosen or {min(order, key=lambda film: sizes[film])}
