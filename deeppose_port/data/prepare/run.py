"""`prepare`: reads a data set, checks it, and writes its CSVs with their side files."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from converters.files import atomic, made, staged
from converters.folders import new_folder
from converters.processors import usable_processors
from converters.progress import StepCallback, silent
from converters.values import dataclass
from deeppose_port.data import skeletons
from deeppose_port.data.annotations import is_picture_name
from deeppose_port.data.prepare import checks, coco, cvat, flic, labelme, lsp, mpii, pictures, tfrecords
from deeppose_port.data.prepare.source import Annotation, PrepareError, Row, Source, Wanted
from deeppose_port.data.references import References, encode, head_sizes_of, path_beside
from deeppose_port.data.skeletons import Skeleton
from deeppose_port.options import refuse_unknown


@dataclass(frozen=True)
class DataSet:
    """A data set that can be prepared.

    Attributes:
        read: Reads what its authors ship, a file or a folder.
        splits: The ways to part its persons; empty where there is one way only.
        own_joints: Whether its joints are whatever a user labels.
    """

    read: Callable[[Path, Wanted], Source]
    splits: tuple[str, ...] = ()
    own_joints: bool = False


#: The data sets by name.
DATASETS = {
    "coco": DataSet(coco.read, own_joints=True),
    "cvat": DataSet(cvat.read, own_joints=True),
    "flic": DataSet(flic.read, flic.SPLITS),
    "labelme": DataSet(labelme.read, own_joints=True),
    "lsp": DataSet(lsp.read),
    "mpii": DataSet(mpii.read),
    "tfrecords": DataSet(tfrecords.read),
}


@dataclass(frozen=True)
class Preparation:
    """What was prepared.

    Attributes:
        dataset: Its name.
        persons: How many persons each split has.
        rows: What was read, left out and found, in this order.
        notes: Sentences for the user.
        images: The pictures' folder; None where they were not looked at.
        files: What was written.
    """

    dataset: str
    persons: dict[str, int]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    images: Path | None
    files: tuple[Path, ...]

    def as_dict(self) -> dict[str, object]:
        """Returns everything as JSON-ready values."""
        return {
            "dataset": self.dataset,
            "persons": self.persons,
            "counts": [asdict(row) for row in self.rows],
            "notes": list(self.notes),
            "images": None if self.images is None else str(self.images),
            "files": [str(file) for file in self.files],
        }


def prepare(
    dataset: str,
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    split: str | None = None,
    skeleton: str | os.PathLike[str] | Skeleton | None = None,
    min_joints: int | None = None,
    verify: bool = False,
    jobs: int | None = None,
    engine: str = "threads",
    force: bool = False,
    progress: StepCallback | None = None,
) -> Preparation:
    """Writes `train_joints.csv` and `test_joints.csv`, and beside each the side file that `eval` finds.

    The CSVs are the legacy ones: its splits, its order, its numbers. Coordinates are those of the authors. For MPII's
    MATLAB file there is the legacy `data.json` too. Either everything is written or nothing.

    Args:
        dataset: A key of `DATASETS`; `lsp` is LSP extended too.
        source: The authors' annotations, or a folder with them; see the `read` of its module.
        target: The folder to write to; it is made if need be.
        images: The pictures' folder; by default `images` beside the annotations. Where there is none, nothing that
            needs pictures is checked, and a note says so.
        split: One of the data set's `splits`, see its `read`.
        skeleton: What the joints are, as for `skeletons.get`, of COCO's, LabelMe's and CVAT's labels; by default what
            their names tell.
        min_joints: Persons with fewer joints are left out. By default those without any; for MPII's MATLAB file those
            without all 16, as in the legacy program.
        verify: Whether pictures are decoded whole, and not only their headers.
        jobs: Shards of pictures that are looked at at a time; by default as many as there are processors.
        engine: `threads` or `ray`, see `engine.run`.
        force: Whether files that exist may be replaced.
        progress: Called as the work goes on.

    Raises:
        PrepareError: A file is missing, damaged or in another form; it exists already; none of the pictures is there;
            nobody is left. The message says which, and what to do.
    """
    refuse_unknown("data set", dataset, DATASETS, error=PrepareError)
    row = DATASETS[dataset]
    if split is not None and not row.splits:
        several = ", ".join(name for name, other in DATASETS.items() if other.splits)
        raise PrepareError(f"{dataset} has the legacy split only; --split is for {several}")
    if skeleton is not None and not row.own_joints:
        several = ", ".join(name for name, other in DATASETS.items() if other.own_joints)
        raise PrepareError(f"{dataset} has joints of its own; --skeleton is for {several}")
    if min_joints is not None and min_joints < 1:
        raise PrepareError(f"the least number of joints must be 1 or more, not {min_joints}")
    folder = new_folder(target)
    _refuse_existing(folder, force)
    step = progress or silent
    step("reading annotations", 0, 0)
    known = None if skeleton is None else skeletons.get(skeleton)
    wanted = Wanted(split, min_joints, None if images is None else Path(images), known)
    read = row.read(Path(source), wanted)
    _refuse_names(read, Path(source))

    where = read.pictures
    sizes: dict[str, pictures.Size] | None = None if read.sizes is None else {**read.sizes}
    if where is not None:
        sizes = _sizes(read, where, verify, jobs, engine, step)
    if sizes is not None and not any(isinstance(size, tuple) for size in sizes.values()):
        if images is not None:
            raise PrepareError(f"{_first_problem(where, sizes)}; is it the pictures' folder? See {read.published}")
        where = sizes = None
    _check(read, sizes, min_joints or 1)
    _refuse_nobody(read, source)
    files = _encoded(read, folder)
    _refuse_left_over(folder, files)
    if read.extract is not None:
        where = folder / "images"
        with staged(where, force=force) as stage:
            read.extract(stage)
    _write(files, force)
    counts = {name: len(persons) for name, persons in read.splits.items()}
    return Preparation(dataset, counts, tuple(read.rows), tuple(read.notes), where, tuple(files))


def shards_in(source: Path, folder: Path) -> tuple[Source, dict[Path, bytes]]:
    """Reads shards of the Keras course as `prepare` does, and writes nothing.

    Args:
        source: A shard, or a folder of them.
        folder: Where the files are to be.

    Returns:
        What was found, and the files to write: their names and contents.

    Raises:
        PrepareError: As for `prepare`.
    """
    read = tfrecords.read(source, Wanted())
    _refuse_names(read, source)
    _check(read, None if read.sizes is None else {**read.sizes}, 1)
    _refuse_nobody(read, source)
    return read, _encoded(read, folder)


def _refuse_nobody(read: Source, source: str | os.PathLike[str]) -> None:
    if not read.splits:
        raise PrepareError(f"{source}: nobody is left: {_reasons(read)}")


def _existing(folder: Path) -> list[Path]:
    """Returns the files in a folder that a preparation writes or may have written."""
    csvs = [folder / f"{name}_joints.csv" for name in ("train", "test")]
    return [file for file in (*csvs, *map(path_beside, csvs), folder / "data.json") if file.exists()]


def _refuse_existing(folder: Path, force: bool) -> None:
    """Raises an error where a file that may be written is there already."""
    existing = _existing(folder)
    if existing and not force:
        raise PrepareError(f"{existing[0]}: it exists already (--force replaces it, another TARGET keeps it)")


def _refuse_left_over(folder: Path, files: Mapping[Path, bytes]) -> None:
    """Raises an error where a file of another preparation would stay beside the new ones."""
    left = [file for file in _existing(folder) if file not in files]
    if left:
        raise PrepareError(
            f"{left[0]}: it is of another preparation and would stay beside this one's files; move it away, or name "
            "another TARGET"
        )


def _refuse_names(source: Source, path: Path) -> None:
    """Raises an error for pictures' names that a CSV cannot hold or that lead out of the pictures' folder."""
    for person in (person for split in source.splits.values() for person in split):
        name = person.file
        outside = any(kind(name).is_absolute() or ".." in kind(name).parts for kind in (PurePosixPath, PureWindowsPath))
        if outside or not is_picture_name(name) or name != name.strip():
            raise PrepareError(f"{path}: {name!r} is no picture's name, relative to their folder")


def _sizes(
    source: Source, folder: Path, verify: bool, jobs: int | None, engine: str, step: StepCallback
) -> dict[str, pictures.Size]:
    """Measures the pictures of all persons."""
    if not folder.is_dir():
        raise PrepareError(f"{folder}: there is no such folder; --images names the pictures'")
    names = list(dict.fromkeys(person.file for split in source.splits.values() for person in split))
    return pictures.sizes(
        folder,
        names,
        verify=verify,
        jobs=usable_processors() if jobs is None else jobs,
        by=engine,
        progress=lambda done, total: step("looking at pictures", done, total),
    )


def _first_problem(folder: Path | None, sizes: Mapping[str, pictures.Size]) -> str:
    """Says what is wrong with pictures none of which can be used."""
    name, problem = next(iter(sizes.items()), ("", "nobody is annotated"))
    return f"{folder}, {name}: {problem}, and so for all {len(sizes)} pictures"


def _check(source: Source, sizes: dict[str, pictures.Size] | None, min_joints: int) -> None:
    """Leaves out persons who cannot be used and splits without persons, and says what was found."""
    source.rows += checks.usable(source, sizes, min_joints)
    if sizes is None:
        source.notes.append(
            "the pictures were not looked at: there is no folder `images` with them beside the annotations (--images "
            f"names another). The CSVs are complete; training and evaluation need the pictures, see {source.published}"
        )
    else:
        source.rows.append(checks.outside(source, sizes))
    row, doubts = checks.symmetry(source, skeletons.get(source.skeleton))
    source.rows += [*checks.ignored(source), row, checks.both_sides(source)]
    source.notes += doubts
    for name in [name for name, persons in source.splits.items() if not persons]:
        del source.splits[name]
        source.notes.append(f"there are too few persons to {name}: {name}_joints.csv is not written")


def _reasons(source: Source) -> str:
    """Sums up why persons were left out."""
    found = [f"{row.count} {row.what.removeprefix('left out: ')}" for row in source.rows if row.what.startswith("left")]
    return ", ".join(found) or "the split leaves none"


def _encoded(source: Source, folder: Path) -> dict[Path, bytes]:
    """Returns the files to write: their names and contents."""
    files = {folder / name: content for name, content in source.files.items()}
    for name, persons in source.splits.items():
        csv_path = folder / f"{name}_joints.csv"
        content = _csv(persons)
        references = _references(skeletons.get(source.skeleton), persons, source.head_sizes_from.get(name))
        files |= {csv_path: content, path_beside(csv_path): encode(references, content)}
    return files


def _csv(persons: list[Annotation]) -> bytes:
    """Returns a legacy CSV: `str` of each float, and -1 for what is not annotated."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    for person in persons:
        values = person.joints.ravel().tolist()
        lines.writerow([person.file, *("-1" if math.isnan(value) else str(value) for value in values)])
    return text.getvalue().encode()


def _references(skeleton: Skeleton, persons: list[Annotation], head_sizes_from: str | None) -> References:
    """Makes the side file of a split."""
    none = (np.nan,) * 4
    boxes = np.array([person.head_box or none for person in persons], np.float64)
    sizes = np.array([_or_nan(person.head_size) for person in persons])
    sizes = np.where(np.isnan(sizes), head_sizes_of(boxes), sizes)
    torsos = np.array([_or_nan(person.torso_length) for person in persons])
    unseen = (None,) * len(skeleton.joints)
    seen = np.array([[_or_nan(flag) for flag in person.is_visible or unseen] for person in persons])
    scales = np.array([_or_nan(person.scale) for person in persons])
    centres = np.array([person.centre or none[:2] for person in persons], np.float64)
    arrays = {
        "head_boxes": boxes,
        "head_sizes": sizes,
        "torso_lengths": torsos,
        "is_visible": seen,
        "scales": scales,
        "centres": centres,
    }
    known = {name: array for name, array in arrays.items() if not np.isnan(array).all()}
    return References(skeleton.name, len(persons), head_sizes_from=head_sizes_from, **known)


def _or_nan(number: float | None) -> float:
    return math.nan if number is None else number


def _write(files: Mapping[Path, bytes], force: bool) -> None:
    """Writes all files or none."""
    with ExitStack() as writing:
        for path, content in files.items():
            writing.enter_context(made(path.parent))
            writing.enter_context(atomic(path, force=force)).write_bytes(content)
