"""A network or a cascade: which of them a file or folder is. A folder of a cascade has a file a network.

The folders are those of github takiyu/DeepPose (`takiyu_folder`), and our own for any other cascade, in which
`cascade.json` says what the files beside it are.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from converters import formats, takiyu_folder
from converters.cascade import Cascade, Rules
from converters.checkpoint import Checkpoint
from converters.errors import CheckpointError, DeepPoseError
from converters.files import identity_of, json_of
from converters.formats import Format, encode_metadata
from converters.identify import Options, identify
from converters.plan import CascadePlan, Plan

_INDEX = "cascade.json"
_LARGEST_INDEX = 8 << 20
#: What we call its networks' files.
_NETWORK = re.compile(r"stage\d{1,3}(_joint\d{1,4})?\.(npz|onnx|pt2)")
_ADVICE = "take the one that was written beside the networks"


def plan_of(path: Path, options: Options) -> Plan | CascadePlan:
    """Finds out what a file or folder is, before its arrays are read.

    Raises:
        CheckpointError: It is refused; the message says what is wrong, where, and what to do.
    """
    if holds_cascade(path):
        plan = _plan_of_folder(path, replace(options, part=None))
        _refuse_large(plan, options)
        return plan if options.part is None else _part(plan, options.part)
    file = formats.resolve(path)
    identity = identity_of(file)
    contents = formats.opened(file)
    if contents.cascade is None or options.part is not None:
        return identify(file, options, contents, identity)
    networks = {part: identify(file, replace(options, part=part), contents, identity) for part in contents.parts}
    plan = CascadePlan(file, contents.cascade, networks)
    _refuse_large(plan, options)
    return plan


def holds_cascade(path: Path) -> bool:
    """Tells whether a path is the folder of a cascade, whole or not."""
    return os.path.isdir(path) and (os.path.isfile(path / _INDEX) or takiyu_folder.holds_cascade(path))


def files_of(cascade: Cascade, kind: Format) -> tuple[dict[str, Checkpoint], dict[str, bytes]]:
    """Returns what the folder of a cascade holds: the networks by their files' names, and other files' bytes.

    It is that of takiyu's program where it can be.
    """
    if kind.chainer and takiyu_folder.is_of_program(cascade):
        return takiyu_folder.files_of(cascade)
    names = {part: part.replace(".", "_") + kind.suffixes[0] for part in cascade.networks}
    said = {part: {"file": names[part], **network.metadata()} for part, network in cascade.networks.items()}
    index = {**encode_metadata(cascade), **cascade.rules.metadata(said)}
    return {names[part]: one for part, one in cascade.networks.items()}, {_INDEX: json.dumps(index, indent=1).encode()}


def refuse_others(folder: Path, names: Collection[str]) -> None:
    """Refuses a folder for a cascade in which some of another one would stay.

    Args:
        folder: It need not exist.
        names: What will be written into it.

    Raises:
        CheckpointError: See there.
    """
    if not folder.is_dir():
        return
    there = takiyu_folder.files_in(folder) | _own_files_in(folder)
    if left := sorted(there - set(names)):
        problem = f"it holds {left[0]} of another cascade, which would be mixed with this one"
        raise CheckpointError(folder, problem, "name another folder, or take it out")


def _own_files_in(folder: Path) -> set[str]:
    """Returns the names of those files in a folder that are called as we call a cascade's."""
    return {path.name for path in folder.iterdir() if path.name == _INDEX or _NETWORK.fullmatch(path.name)}


def _plan_of_folder(folder: Path, options: Options) -> CascadePlan:
    index = folder / _INDEX
    if not index.is_file():
        return takiyu_folder.plan_of(folder, options)
    if takiyu_folder.holds_cascade(folder):
        problem = f"it holds the files of two cascades, {_INDEX} and {min(takiyu_folder.files_in(folder))}"
        raise CheckpointError(folder, problem, "take those of one out")
    try:
        values = json_of(index, largest=_LARGEST_INDEX)
        if not isinstance(values, Mapping) or "deeppose_port" not in values:
            raise CheckpointError(index, "this is JSON, but tells of no cascade", _ADVICE)
        rules, said = Rules.from_metadata(values)
    except CheckpointError:
        raise
    except DeepPoseError as error:
        raise CheckpointError(index, f"it cannot be understood: {error.problem}", _ADVICE) from error
    networks, files = {}, set[str]()
    for part, entry in said.items():
        name = entry.get("file")
        if not isinstance(name, str) or Path(name).name != name or "\\" in name:
            raise CheckpointError(
                index, f"its {part} is in {name!r}, which is not a file beside it", "nothing was read"
            )
        networks[part] = takiyu_folder.network_in(folder / name, options)
        files.add(name)
    if others := sorted(_own_files_in(folder) - {_INDEX} - files):
        problem = f"it holds {others[0]}, of which {_INDEX} does not tell: are they the files of two trainings?"
        raise CheckpointError(folder, problem, "take those of one out")
    return CascadePlan(folder, rules, networks)


def _part(plan: CascadePlan, part: str) -> Plan:
    if part not in plan.networks:
        problem = f"this is a cascade, and has no {part!r}"
        raise CheckpointError(plan.path, problem, f"--part takes one network of it: {', '.join(plan.networks)}")
    return plan.networks[part]


def _refuse_large(plan: CascadePlan, options: Options) -> None:
    """Refuses a cascade whose stages take more than is allowed each."""
    for parts in plan.rules.parts:
        total = sum(plan.networks[part].nbytes for part in parts)
        if total > options.max_bytes:
            problem = f"the networks of its {parts[0].partition('.')[0]} take {total:,} bytes, and "
            problem += f"{options.max_bytes:,} are allowed a stage"
            raise CheckpointError(plan.path, problem, f"if that is right, --max-bytes {total} allows it")
