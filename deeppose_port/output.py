"""Files that are written whole or not at all, and never over others unasked."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from converters.errors import DeepPoseError


def refuse_existing(
    targets: Iterable[Path | None],
    force: bool,
    *,
    read: Iterable[Path] = (),
    instead: str = "-o names another folder",
) -> None:
    """Refuses to replace a file without being told to, and one that is read in any case.

    Args:
        targets: What will be written; None is nothing.
        force: Whether files that exist may be replaced.
        read: What is read meanwhile.
        instead: Which option names another place, in words.

    Raises:
        DeepPoseError: It says which, and what to do.
    """
    inputs = {path.resolve() for path in read}
    for target in targets:
        if target is None or not target.exists():
            continue
        if target.resolve() in inputs:
            raise DeepPoseError(f"{target}: it would be replaced, but it is read too ({instead})")
        if not force:
            raise DeepPoseError(f"{target}: it exists already (--force replaces it, {instead})")


def checked_folder(path: str | os.PathLike[str]) -> Path:
    """Returns a folder to write to, which need not exist.

    Raises:
        DeepPoseError: There is a file in its place.
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise DeepPoseError(f"{folder}: this is a file; name a folder")
    return folder


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yields a path beside a file, to write to; it gets the file's name when all is well, else nothing is left."""
    checked_folder(path.parent).mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Yields a folder beside the targets; its files get their names when all is well, else nothing is left."""
    made = not checked_folder(folder).exists()
    folder.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=".new-", suffix=".tmp", dir=folder))
    try:
        yield stage
        for file in sorted(stage.iterdir()):
            os.replace(file, folder / file.name)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        if made and not any(folder.iterdir()):
            folder.rmdir()


def write_png(path: Path, picture: npt.NDArray[np.uint8]) -> None:
    """Writes a picture, (H, W, 3) uint8, BGR."""
    path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
