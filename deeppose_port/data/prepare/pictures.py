"""The sizes of pictures, from their headers, or decoded whole."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from converters.progress import ProgressCallback
from converters.values import dataclass
from deeppose_port.data.arrays import batched
from deeppose_port.data.pictures import PictureError, find_picture, picture_size, read_picture
from deeppose_port.data.prepare import engine

#: Pictures in a shard: enough to outweigh what a task costs on a cluster.
SHARD = 256

#: A size as (width, height), or in words why there is none.
Size = tuple[int, int] | str


@dataclass(frozen=True)
class Shard:
    """Some pictures of a folder; `verify` decodes them whole, as training does."""

    folder: str
    names: tuple[str, ...]
    verify: bool


def sizes(
    folder: str | os.PathLike[str],
    names: Sequence[str],
    *,
    verify: bool = False,
    jobs: int = 1,
    by: str = "threads",
    progress: ProgressCallback | None = None,
) -> dict[str, Size]:
    """Measures pictures.

    Args:
        folder: Their folder.
        names: Their names in it.
        verify: Whether they are decoded whole, so that a truncated one is found, and not only their headers.
        jobs: How many shards of them are worked on at a time.
        by: The engine, see `engine.run`.
        progress: Called with the pictures done and all of them.

    Returns:
        For each name (width, height) as the picture is decoded, or in words why it cannot be.
    """
    parts = list(batched(names, SHARD))
    shards = [Shard(str(Path(folder).resolve()), part, verify) for part in parts]

    def report(done: int, total: int) -> None:
        if progress is not None:
            progress(min(done * SHARD, len(names)), len(names))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of doubtful metadata and of pictures that are merely large
        measured = engine.run(measure, shards, jobs=jobs, engine=by, progress=report)
    return {
        name: size for part, found in zip(parts, measured, strict=True) for name, size in zip(part, found, strict=True)
    }


def measure(shard: Shard) -> list[Size]:
    """Measures the pictures of one shard, in their order."""
    return [_size(find_picture(Path(shard.folder), name), shard.verify) for name in shard.names]


def _size(path: Path, verify: bool) -> Size:
    """Measures a picture; decoded as training does, where it is to be verified."""
    if not path.exists():
        return "there is no such picture"
    try:
        if not verify:
            return picture_size(path)
        height, width, _ = read_picture(path).shape
    except PictureError as error:
        return f"the picture {error.problem.partition(';')[0]}"
    return width, height
