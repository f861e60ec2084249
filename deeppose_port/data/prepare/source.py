"""What every reader of a data set gives: persons in their splits, what was left out, and where to get the files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import field
from pathlib import Path
from typing import NoReturn

from converters.errors import DeepPoseError
from converters.values import dataclass
from deeppose_port.data.arrays import Float64Array
from deeppose_port.data.skeletons import Skeleton


class PrepareError(DeepPoseError):
    """Annotations that cannot be prepared. The message names the file and says what to do."""


@dataclass(frozen=True, eq=False)
class Annotation:
    """One person as the authors annotated them.

    Attributes:
        file: The picture's name, relative to the pictures' folder.
        joints: (J, 2) float64, pixels of the picture as the authors count them; NaN for what is not annotated.
        head_box: x1, y1, x2, y2 in the same pixels, or None.
        head_size: PCKh's length where it is not the head box's; None otherwise.
        torso_length: PDJ's length where the joints do not give it; None otherwise.
        is_visible: 1 (seen), 0 (occluded) or None (not told) for each joint; None where the data set does not say.
        scale: MPII's scale, the person's height over 200 pixels, or None.
        centre: x and y of MPII's centre of the person, or None.
    """

    file: str
    joints: Float64Array
    head_box: tuple[float, float, float, float] | None = None
    head_size: float | None = None
    torso_length: float | None = None
    is_visible: tuple[int | None, ...] | None = None
    scale: float | None = None
    centre: tuple[float, float] | None = None


@dataclass(frozen=True)
class Row:
    """A line of the summary: what was counted, how many, and why or what follows."""

    what: str
    count: int
    why: str = ""


@dataclass(frozen=True)
class Wanted:
    """What a user asks of a reader.

    Attributes:
        split: How persons are parted into those to train and those to test; None for the data set's own way.
        min_joints: The least number of joints of a person; None for the data set's own.
        images: The pictures' folder; None looks for one beside the annotations.
        skeleton: What the joints are, of a data set with joints of its user's; None for what tells itself.
    """

    split: str | None = None
    min_joints: int | None = None
    images: Path | None = None
    skeleton: Skeleton | None = None


@dataclass(eq=False)
class Source:
    """What a reader found.

    Attributes:
        skeleton: The skeleton, or its name.
        splits: `train` and `test`, each in the order to be written; one may be missing.
        rows: What was read and left out.
        notes: Sentences for the user.
        pictures: The folder of the pictures, where there is one.
        published: Where the pictures come from, for messages.
        head_sizes_from: For each split what its head sizes are computed from, in words; empty without them.
        files: More files to write, by name.
        sizes: (width, height) of the pictures by name, where the annotations hold these.
        extract: Writes such pictures into a folder.
    """

    skeleton: str | Skeleton
    splits: dict[str, list[Annotation]]
    published: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pictures: Path | None = None
    head_sizes_from: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] | None = None
    extract: Callable[[Path], None] | None = None


def find(source: Path, names: Sequence[str]) -> list[Path]:
    """Finds files of these names (or patterns) in a folder, up to two folders deep; a file is itself.

    Folders of pictures are not walked through.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        return []
    folders = [source, *_folders([source]), *_folders(_folders([source]))]
    found = {path: None for name in names for folder in folders for path in sorted(folder.glob(name)) if path.is_file()}
    return list(found)


def the_only(found: Sequence[Path], source: Path, missing: str) -> Path:
    """Returns the one file that was found.

    Raises:
        PrepareError: There is none (`missing` says what it is called and where it is published), or several.
    """
    refuse_none(found, source, missing)
    if len(found) > 1:
        refuse_several(found, source)
    return found[0]


def refuse_none(found: Sequence[Path], source: Path, missing: str) -> None:
    """Raises a PrepareError where nothing was found."""
    if not found:
        raise PrepareError(f"{source}: {missing}" if source.exists() else f"{source}: there is no such file or folder")


def refuse_several(found: Sequence[Path], source: Path) -> NoReturn:
    """Raises a PrepareError that names files of which one is needed."""
    raise PrepareError(f"{source}: several files would do ({', '.join(map(str, found))}); name one of them as SOURCE")


def pictures_of(annotations: Path, wanted: Wanted) -> Path | None:
    """Returns the folder that was asked for, or finds `images` beside the annotations or one folder up."""
    if wanted.images is not None:
        return wanted.images
    for folder in (annotations.parent, annotations.parent.parent):
        if (folder / "images").is_dir():
            return folder / "images"
    return None


def unexpected(what: str, found: int, *published: int) -> Iterable[str]:
    """Yields a note where a count is none that is published."""
    if found not in published:
        counts = " or ".join(f"{count:,}" for count in published)
        yield f"{found:,} {what}, where the authors publish {counts}: is it a part, or another release?"


def _folders(parents: Iterable[Path]) -> list[Path]:
    return [path for parent in parents for path in sorted(parent.iterdir()) if path.is_dir() and path.name != "images"]
