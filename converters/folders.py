"""What of folders and lists of files is a checkpoint, so that every file that should be one is accounted for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from converters import formats
from converters.errors import CheckpointError, DeepPoseError
from converters.files import checked_folder
from converters.formats import FORMATS
from converters.stages import holds_cascade
from converters.values import dataclass

#: Suffixes that checkpoints have, whoever's they are, beside those of the formats.
_SUFFIXES = {".caffemodel", ".npy", ".onnx", ".params", ".pickle", ".pkl", ".pth.tar", ".t7", ".tar", ".weights"}
#: Names that trainings give, an interrupted one's temporary files among them.
_NAMES = re.compile(r"snapshot_iter_\d+|epoch[-_]\d+|^checkpoint(_|-|$)|model\.ckpt")


#: Suffixes of files that commands write beside those of the formats.
_WRITTEN = {
    *(".avi", ".csv", ".gif", ".htm", ".html", ".jpeg", ".jpg", ".json", ".jsonl", ".mkv", ".mov", ".mp4", ".parquet"),
    *(".pdf", ".png", ".svg", ".webp", ".zip"),
}


def new_folder(path: str | os.PathLike[str]) -> Path:
    """Returns a folder to write to, which need not exist; one that is to be made is not called as a file is.

    Raises:
        DeepPoseError: There is a file in its place, or it has the suffix of one.
    """
    folder = checked_folder(path)
    known = {suffix for format in FORMATS.values() if not format.folder for suffix in format.suffixes}
    if not folder.exists() and folder.suffix.lower() in known | _SUFFIXES | _WRITTEN:
        problem = f"a folder is written here, and {folder.suffix} is the suffix of a file"
        raise DeepPoseError(problem, where=folder, advice="name a folder, or make this one first")
    return folder


@dataclass(frozen=True)
class Found:
    """A file that is a checkpoint or should be one.

    Attributes:
        path: The file; of a cascade that is one, the folder.
        within: Its place in the folder that was named; its name for a file that was.
    """

    path: Path
    within: Path


@dataclass(frozen=True)
class Survey:
    """What there is in files and folders.

    Attributes:
        found: What is a checkpoint by its content, or should be one by its name.
        done: Files that were written by a conversion to the format that is asked for.
        passed_over: Files that neither are nor are called checkpoints: logs, pictures.
    """

    found: tuple[Found, ...]
    done: tuple[Path, ...]
    passed_over: tuple[Path, ...]


def survey(sources: Sequence[Path], format: str = "pt", *, recursive: bool = False) -> Survey:
    """Looks through files and folders.

    An optimizer's `.state` goes with the `.model` beside it and is not listed, nor are the files that an index beside
    them names. The folder of a cascade is one checkpoint. What is named itself is always found, whatever it is.

    Args:
        sources: Files and folders.
        format: What a conversion would write.
        recursive: Whether folders in folders are looked through too.
    """
    found: dict[Path, Found] = {}
    done, passed_over = [], []
    for source in sources:
        if not is_folder(source):
            found.setdefault(source, Found(source, Path(source.name)))
            continue
        for file in _files_of(source, recursive):
            if file.is_dir():
                found.setdefault(file, Found(file, file.relative_to(source)))
            elif _is_checkpoint(file) is None and not _is_called_one(file):
                passed_over.append(file)
            elif _is_checkpoint(file) == format and _is_ours(file):
                done.append(file)
            else:
                found.setdefault(file, Found(file, file.relative_to(source)))
    return Survey(_apart(list(found.values()), sources), tuple(done), tuple(passed_over))


def is_folder(source: Path) -> bool:
    """Tells whether a path is a folder of checkpoints: one that is a cascade is a checkpoint itself."""
    return source.is_dir() and not holds_cascade(source)


def checkpoints_in(source: str | os.PathLike[str], format: str = "pt") -> list[Path]:
    """Returns what a conversion of a folder takes: its checkpoints, by content, that are not of `format` already.

    An optimizer's `.state` goes with the `.model` beside it and is not listed. A source that is no folder, or that of a
    cascade, is returned as it is.
    """
    source = Path(source)
    if not is_folder(source):
        return [source]
    return [file for file in _files_of(source, recursive=False) if _is_checkpoint(file) not in (None, format)]


def _files_of(folder: Path, recursive: bool) -> Iterator[Path]:
    """Yields the files of a folder, and the folders in it that are a cascade each."""
    for at, folders, files in os.walk(folder):
        folders[:] = sorted(folders) if recursive else []
        cascades = [name for name in folders if holds_cascade(Path(at, name))]
        yield from (Path(at, name) for name in cascades)
        folders[:] = [name for name in folders if name not in cascades]
        here = [Path(at, file) for file in sorted(files)]
        parts = {part for file in here for part in _parts_of(file)}
        yield from (file for file in here if file not in parts and not _goes_with_another(file))


def _parts_of(index: Path) -> Iterator[Path]:
    """Yields the files that a checkpoint is in, where a file names others."""
    for format in FORMATS.values():
        if index.name.endswith(format.suffixes):
            yield from format.others(index)


def _goes_with_another(file: Path) -> bool:
    part = re.fullmatch(r"(.+)\.(?:data-\d+-of-\d+|meta)", file.name)
    if part is not None and file.with_name(f"{part[1]}.index").is_file():
        return True
    if file.name == "checkpoint":  # TensorFlow's text, which names one of those beside it
        try:
            return formats.resolve(file) != file
        except CheckpointError:
            return False
    return file.suffix == ".state" and file.with_suffix(".model").is_file()


def _is_checkpoint(file: Path) -> str | None:
    """Returns a file's format; None if it is none that is read."""
    try:
        return formats.format_of(file).name
    except CheckpointError:
        return None


def _is_called_one(file: Path) -> bool:
    known = {suffix for format in FORMATS.values() for suffix in format.suffixes} - {".index"}
    name = file.name.lower()
    return name.endswith((*known, *_SUFFIXES)) or (_NAMES.search(name) is not None and file.suffix != ".index")


def _is_ours(file: Path) -> bool:
    try:
        read = formats.format_of(file).read
        return read is not None and read(file).metadata is not None
    except CheckpointError:
        return False


def _apart(found: list[Found], sources: Sequence[Path]) -> tuple[Found, ...]:
    """Gives files of one name places below what all sources have in common."""
    if len({each.within for each in found}) == len(found):
        return tuple(found)
    common = os.path.commonpath([os.path.abspath(source if source.is_dir() else source.parent) for source in sources])
    return tuple(Found(each.path, Path(os.path.relpath(os.path.abspath(each.path), common))) for each in found)
