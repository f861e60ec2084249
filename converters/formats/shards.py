"""Checkpoints in several files: an index in JSON names the file that each tensor is in; and folders as hubs have them.

The files are safetensors or PyTorch's, read as such.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from converters.errors import CheckpointError, told_as_checkpoints
from converters.files import json_of
from converters.formats.format import FORMATS, Beginning, Contents, Format, register
from converters.stored import Buffer

_SUFFIX = ".index.json"
#: What a hub's folder has, the first that is there.
_IN_FOLDERS = ("model.safetensors", f"model.safetensors{_SUFFIX}", "pytorch_model.bin", f"pytorch_model.bin{_SUFFIX}")
_LARGEST_INDEX, _MOST_FILES, _LONGEST_NAME = 8 << 20, 1000, 255
_ADVICE = "look for a whole copy"


def _finds(path: Path) -> Path | None:
    """Returns the file that a hub's folder is read from."""
    if not path.is_dir():
        return None
    return next((path / name for name in _IN_FOLDERS if (path / name).is_file()), None)


def _tells(beginning: Beginning) -> bool:
    if not beginning.start.lstrip().startswith(b"{") or beginning.size > _LARGEST_INDEX:
        return False
    return beginning.path.name.endswith(_SUFFIX) or b'"weight_map"' in beginning.start


def read(path: Path) -> Contents:
    """Reads the headers of every file that the index names.

    Raises:
        CheckpointError: It is damaged, a file is missing, or they hold other tensors than it says.
    """
    index, places = _index(path), dict[str, str]()
    shards = {name: _contents(path, name) for name in sorted(set(index.values()))}
    for name, contents in shards.items():
        for key in contents.headers:
            if key in places:
                raise CheckpointError(path, f"{key!r} is in {places[key]} and in {name}", "nothing was read")
            places[key] = name
    for key, name in index.items():
        if places.get(key) != name:
            raise CheckpointError(path.with_name(name), f"it lacks {key!r}, which {path.name} says it has", _ADVICE)
    if strangers := sorted(places.keys() - index.keys()):
        problem = f"{places[strangers[0]]} has {strangers[0]!r}, of which it says nothing"
        raise CheckpointError(path, problem, "are the files those of another checkpoint?")

    def chunks(key: str) -> Iterator[Buffer]:
        return shards[places[key]].chunks(key)

    notices = dict.fromkeys(notice for contents in shards.values() for notice in contents.notices)
    return Contents(
        next(iter(shards.values())).format,
        {key: shards[name].headers[key] for key, name in places.items()},
        chunks,
        files=tuple(path.with_name(name) for name in shards),
        notices=tuple(notices),
    )


def _others(path: Path) -> list[Path]:
    with suppress(CheckpointError):
        return [path.with_name(name) for name in set(_index(path).values())]
    return []


def _index(path: Path) -> dict[str, str]:
    with told_as_checkpoints():
        values = json_of(path, largest=_LARGEST_INDEX)
    places = values.get("weight_map") if isinstance(values, dict) else None
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise CheckpointError(path, "this is JSON, but no index of a checkpoint's files", "it names no weight_map")
    names = set(places.values())
    for name in names:
        is_name = name != "" and name.isprintable() and len(name.encode()) <= _LONGEST_NAME
        if not is_name or Path(name).name != name or "\\" in name:
            raise CheckpointError(path, f"it names {name!r}, which is not a file beside it", "nothing was read")
    if len(names) > _MOST_FILES:
        raise CheckpointError(path, f"it names {len(names):,} files, which no checkpoint has", "nothing was read")
    return places


def _contents(path: Path, name: str) -> Contents:
    """Returns what one of the files holds."""
    file = path.with_name(name)
    if not file.is_file():
        raise CheckpointError(path, f"it names {name}, which is not beside it", "copy it there")
    beginning = Beginning.of(file, file.stat().st_size)
    for format in (FORMATS["safetensors"], FORMATS["pt"]):
        if format.tells is not None and format.read is not None and format.tells(beginning):
            return format.read(file)
    raise CheckpointError(file, "this is neither safetensors nor a PyTorch file", "was it fetched whole?")


register(
    Format(
        name="shards",
        title="",
        suffixes=(_SUFFIX,),
        finds=_finds,
        tells=_tells,
        others=_others,
        read=read,
    )
)
