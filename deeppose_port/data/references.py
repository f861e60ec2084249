"""What a CSV of persons cannot hold: head boxes, torso lengths and visibility, in a side file that `eval` finds.

`test_joints.csv` has `test_joints.references.json` beside it, one JSON object:

    format          "deeppose-port references"
    version         1
    csv_sha256      of the CSV's bytes: the side file of another CSV, or of an older one, is refused by name
    skeleton        its name: "flic", "lsp", "mpii", or what a file of the user's own says
    persons         how many lines the CSV has; each list below has one entry a line, in their order
    head_boxes      [x1, y1, x2, y2] in pixels of the picture, or null for a person without one
    head_sizes      PCKh's length: 0.6 times the diagonal of the head box, in pixels, or null
    head_sizes_from what the sizes were computed from, in words
    torso_lengths   PDJ's length: from the left shoulder to the right hip, in pixels, or null
    scales          MPII's scale: the person's height over 200 pixels, or null
    centres         [x, y] in pixels of the picture: MPII's centre of the person, or null
    is_visible      [1 | 0 | null, ...] for each joint: seen, occluded, not told

A list that the data set's authors do not give is null as a whole. Visibility says what is seen in the picture, not what
was annotated: a metric counts the joints that the CSV has, occluded or not.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from converters.errors import DeepPoseError
from converters.files import hash_file, json_of, refuse_no_file
from converters.values import dataclass
from deeppose_port.data.arrays import Float64Array

FORMAT = "deeppose-port references"
VERSION = 1
SUFFIX = ".references.json"

#: PCKh's length as a fraction of the head box's diagonal (MPII's own evaluation; Andriluka et al., CVPR 2014).
HEAD_BOX_FACTOR = 0.6

#: What `head_sizes_from` says where they are PCKh's own; otherwise PCKh is an estimate.
HEAD_BOXES = "head boxes"

#: A side file of MPII's 19,919 persons has 4 MB; what is larger than this is none.
LARGEST_FILE = 1 << 26
_ADVICE = "run `deeppose-port prepare` again, or delete it"
#: How many numbers an entry has: 1 for a number by itself, 0 for as many as there are joints.
_SHAPES = {"head_boxes": 4, "head_sizes": 1, "torso_lengths": 1, "scales": 1, "centres": 2, "is_visible": 0}


class ReferencesError(DeepPoseError):
    """A side file that cannot be used. The message names it and says what to do."""


@dataclass(frozen=True, eq=False)
class References:
    """The side file of a CSV; each array has one row a line of the CSV, and is None where the data set has none.

    Attributes:
        skeleton: The skeleton's name.
        persons: Number of lines.
        head_boxes: (N, 4) x1, y1, x2, y2 in pixels of the picture; NaN for a person without one.
        head_sizes: (N,) PCKh's lengths in pixels; NaN likewise.
        head_sizes_from: What they were computed from, in words.
        torso_lengths: (N,) PDJ's lengths in pixels; NaN likewise.
        scales: (N,) heights of the persons over 200 pixels; NaN likewise.
        centres: (N, 2) centres of the persons in pixels of the picture; NaN likewise.
        is_visible: (N, J) 1 for a joint that is seen, 0 for one that is occluded, NaN where that is not told.
    """

    skeleton: str
    persons: int
    head_boxes: Float64Array | None = None
    head_sizes: Float64Array | None = None
    head_sizes_from: str | None = None
    torso_lengths: Float64Array | None = None
    is_visible: Float64Array | None = None
    scales: Float64Array | None = None
    centres: Float64Array | None = None

    def of(self, rows: list[int]) -> References:
        """Returns what is known of some of the lines, in that order."""
        arrays = {name: array[rows] for name in _SHAPES if (array := getattr(self, name)) is not None}
        return replace(self, persons=len(rows), **arrays)


def head_sizes_of(boxes: Float64Array) -> Float64Array:
    """Returns PCKh's lengths (N,) of head boxes (N, 4), x1 y1 x2 y2: 0.6 times their diagonals."""
    return HEAD_BOX_FACTOR * np.hypot(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])


def path_beside(csv: str | os.PathLike[str]) -> Path:
    """Returns the side file's name for a CSV: `a/test_joints.csv` has `a/test_joints.references.json`."""
    return Path(csv).with_suffix(SUFFIX)


def encode(references: References, csv: bytes) -> bytes:
    """Returns the bytes of the side file for a CSV of these bytes."""
    arrays = {name: _rows(getattr(references, name)) for name in _SHAPES}
    header = {
        "format": FORMAT,
        "version": VERSION,
        "csv_sha256": hashlib.sha256(csv).hexdigest(),
        "skeleton": references.skeleton,
        "persons": references.persons,
        "head_sizes_from": references.head_sizes_from,
    }
    return (json.dumps({**header, **arrays}, allow_nan=False) + "\n").encode()


def read_beside(csv: str | os.PathLike[str]) -> References | None:
    """Reads the side file of a CSV, where there is one.

    Args:
        csv: The CSV.

    Returns:
        The side file; None if there is none.

    Raises:
        ReferencesError: It is damaged, or belongs to another CSV than the one that is there now.
    """
    csv = Path(csv)
    path = path_beside(csv)
    if not path.exists():
        return None
    content = json_of(path, ReferencesError, LARGEST_FILE, _ADVICE)
    refuse_no_file(csv, ReferencesError)
    if not isinstance(content, dict) or (content.get("format"), content.get("version")) != (FORMAT, VERSION):
        raise ReferencesError(f"{path}: not a side file that this version writes; {_ADVICE}")
    if content.get("csv_sha256") != hash_file(csv):
        raise ReferencesError(f"{path}: it was written for another {csv.name} than the one beside it; {_ADVICE}")
    return _checked(content, path)


def _rows(array: Float64Array | None) -> list[object] | None:
    """Returns an array as JSON values; a person of whom nothing is known becomes null, and so does a NaN."""
    if array is None:
        return None
    if array.ndim == 1:
        return [_value(number) for number in array.tolist()]
    return [None if all(map(math.isnan, row)) else [_value(number) for number in row] for row in array.tolist()]


def _value(number: float) -> float | int | None:
    if math.isnan(number):
        return None
    return int(number) if number in (0, 1) else number


def _checked(content: dict[str, object], path: Path) -> References:
    """Makes References of a side file's JSON object."""
    persons, skeleton, made_from = (content.get(key) for key in ("persons", "skeleton", "head_sizes_from"))
    if not isinstance(persons, int) or not isinstance(skeleton, str) or not isinstance(made_from, str | None):
        raise ReferencesError(f"{path}: `persons`, `skeleton` or `head_sizes_from` is not what it should be; {_ADVICE}")
    arrays = {name: _array(content.get(name), persons, width, f"{path}: `{name}`") for name, width in _SHAPES.items()}
    return References(skeleton, persons, head_sizes_from=made_from, **arrays)


def _array(rows: object, persons: int, width: int, what: str) -> Float64Array | None:
    """Makes an array of a list of the side file, NaN for null."""
    if rows is None:
        return None
    if not isinstance(rows, list) or len(rows) != persons:
        raise ReferencesError(f"{what} is not a list of {persons} entries, one a line of the CSV; {_ADVICE}")
    if width == 0:
        width = next((len(row) for row in rows if isinstance(row, list)), 1)
    none = [None] * width
    entries = [[row] if width == 1 and not isinstance(row, list) else none if row is None else row for row in rows]
    if not all(isinstance(row, list) and len(row) == width and all(map(_is_number, row)) for row in entries):
        raise ReferencesError(f"{what} has an entry that is not {width} finite numbers or null; {_ADVICE}")
    array = np.array(entries, np.float64)  # None becomes NaN
    if width == 1 and (array < 0).any():
        raise ReferencesError(f"{what} has a negative length; {_ADVICE}")
    array.flags.writeable = False
    return array.reshape(persons) if width == 1 else array


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value))
