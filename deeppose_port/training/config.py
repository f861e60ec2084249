"""What a run was told, as a TOML file: each run writes its own into its folder, and `train` takes it from there."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from converters.errors import DeepPoseError, reason_of
from converters.files import refuse_no_file
from deeppose_port.options import Option, options_of, values_of
from deeppose_port.training.names import CONFIG
from deeppose_port.training.options import TrainingOptions

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_MOST_BYTES = 1 << 20
#: What is of one start of a run alone.
_OF_ONE_START = ("config", "output", "resume", "state", "start_epoch", "eval_only", "profile", "as_json")
#: What a run that goes on has behind it: its checkpoint holds the network, whatever became of the file that defined it.
_OF_THE_BEGINNING = ("init", "finetune", "model_file", "before")

#: What is of a network that is made anew.
_OF_A_NEW_NETWORK = ("width", "stacks")

_HEADER = "# What this training was told. `deeppose-port train --config FILE` tells it again.\n"


def write_config(path: Path, backend: str, options: TrainingOptions) -> None:
    """Writes the options that have a value, with their paths made absolute; what is of one start alone is left out."""
    told = options_of(TrainingOptions)
    keys = {"backend": backend} | {told[name].key: value for name, value in _lasting(values_of(options)).items()}
    lines = [f"{key} = {_toml(value)}\n" for key, value in keys.items()]
    path.write_text(_HEADER + "".join(lines), encoding="utf-8")


def read_config(path: Path, kind: type) -> dict[str, object]:
    """Reads the options of a file.

    Args:
        path: The file.
        kind: The dataclass that declares the options.

    Returns:
        The options by name.

    Raises:
        DeepPoseError: It cannot be read, or names an option that there is not, or one's value is of another kind.
    """
    try:
        refuse_no_file(path, DeepPoseError, _MOST_BYTES)
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise DeepPoseError(f"it cannot be read: {reason_of(error)}", where=path) from error
    options, found = {option.key: option for option in options_of(kind).values()}, {}
    for key, value in told.items():
        option = options.get(key.replace("-", "_"))
        if option is None or option.name in _OF_ONE_START:
            problem = f"there is no option {key!r} for a file" if option is None else f"{key} is of one start alone"
            raise DeepPoseError(problem, where=path, advice="`deeppose-port train --help` lists them, without the --")
        try:
            found[option.name] = option.value_of(value)
        except ValueError as error:
            raise DeepPoseError(f"{key}: {error}", where=path) from error
    return found


def completed(said: Mapping[str, object], kind: type) -> tuple[dict[str, object], list[str]]:
    """Puts together what a run is told: on the command line, by `config`, and by the run that it goes on with.

    Args:
        said: What was said, by name; with `config` and `resume` among it.
        kind: The dataclass that declares the options.

    Returns:
        The options by name, and a sentence on each that differs from what the run had before.

    Raises:
        DeepPoseError: A file of options cannot be used, or the run that is to go on is not there.
    """
    config, resume = said.get("config"), said.get("resume")
    given = {**(read_config(Path(str(config)), kind) if config is not None else {}), **said}
    if resume is None:
        return given, []
    given.pop("recipe", None)
    options = options_of(kind)
    folder = Path(str(resume))
    file = (folder if folder.is_dir() else folder.parent) / CONFIG
    if not file.is_file():
        if not folder.exists():  # said before options are missed that it would have
            raise DeepPoseError("there is no such file or folder to resume", where=folder)
        _refuse_another_recipe(said, "legacy")
        _refuse_another_network(given, {}, options)
        return given, []
    before = {name: value for name, value in read_config(file, kind).items() if name not in _OF_THE_BEGINNING}
    _refuse_another_recipe(said, before.get("recipe", "legacy"))
    _refuse_another_network(given, before, options)
    if folder.is_dir():
        before["output"] = folder
    notices = [f"the run is resumed with the options in {file}"]
    notices += [
        f"{options[name].spelled} is {_shown(value)}, no longer {_shown(before.get(name, options[name].default))}"
        for name, value in given.items()
        if name not in _OF_ONE_START and _absolute(name, value) != before.get(name, options[name].default)
    ]
    return {**before, **given}, notices


def _refuse_another_recipe(said: Mapping[str, object], own: object) -> None:
    if said.get("recipe") not in (None, own):
        raise DeepPoseError(
            f"--recipe {said['recipe']} is for a new run, and the one that is resumed has the recipe {own}",
            advice="give the options that are to change instead",
        )


def _refuse_another_network(
    said: Mapping[str, object], before: Mapping[str, object], options: Mapping[str, Option]
) -> None:
    for name in _OF_A_NEW_NETWORK:
        if said.get(name) not in (None, before.get(name)):
            new = f"{options[name].spelled} is of a network that is made anew"
            raise DeepPoseError(f"{new}, and the one that is resumed has its own", advice="leave it out")


def _lasting(values: Mapping[str, object]) -> dict[str, object]:
    """Returns the options that have a value and are of more than one start, with absolute paths."""
    return {
        name: _absolute(name, value)
        for name, value in values.items()
        if value not in (None, ()) and name not in _OF_ONE_START
    }


def _absolute(name: str, value: object) -> object:
    """Returns a path from the root, so that it is found from everywhere; a skeleton may be one too."""
    is_path = isinstance(value, Path) or (name == "skeleton" and os.path.isfile(str(value)))
    return Path(os.path.abspath(str(value))) if is_path else value


def _shown(value: object) -> str:
    return "not said" if value is None else str(value)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
