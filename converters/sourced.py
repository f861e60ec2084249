"""A checkpoint whose network is in the Python file that its owner trained it with."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.version import Version

from converters.checkpoint import Checkpoint
from converters.errors import CheckpointError, DeepPoseError
from converters.families import CANONICAL, FAMILIES, Found, Writers, family_of
from converters.folding import fold
from converters.formats import FORMATS, Contents
from converters.keys import COUNTER, Header, Stripping, canonical_name, strippings
from converters.legacy_log import LegacyLog
from converters.matching import Match, difference_of, fitting
from converters.networks import TABLES, TORCH_WRITER, Architecture, OwnTable, Shape, chainer_version
from converters.recognition import Network, network_in

if TYPE_CHECKING:  # what follows sources is loaded where there are some
    from converters.networks import source as sources
    from converters.networks.source import Candidate

_NO_JOINTS = "is it a pose network? name another class with --model-file FILE:CLASS"
#: Returns the version of Chainer that wrote the file, given what its source tells.
TellVersion = Callable[[Writers], Version]


def candidates(path: Path, model_file: str | os.PathLike[str] | None, log: LegacyLog | None) -> list[Candidate]:
    """Returns the files that may define a checkpoint's network.

    Args:
        path: The checkpoint.
        model_file: What a user says: FILE or FILE:CLASS; None for the files beside the checkpoint.
        log: The `log.txt` beside it.
    """
    if model_file is None and not any(path.parent.glob("*.py")):
        return []
    from converters.networks import source as sources

    if model_file is None:
        options = log.options if log is not None else {}
        named = options.get("model_file") or options.get("model")
        if not isinstance(named, str):
            return sources.candidates_in(path.parent)
        file, class_name = split_model_file(named)
        found = sources.candidates_in(path.parent, str(file))
        return [dataclasses.replace(one, class_name=class_name) if one.path.name == file.name else one for one in found]
    file, class_name = split_model_file(model_file)
    return [sources.Candidate(file, class_name, asked=True)]


def why_no_source(files: list[Candidate]) -> str | None:
    """Returns why none of the files beside a checkpoint tells its network, where one ought to; None otherwise."""
    if not files:
        return None
    from converters.networks import source as sources

    return sources.none_of(files)


def makers(path: Path, model_file: str | os.PathLike[str] | None) -> list[Candidate]:
    """Returns the files beside a checkpoint in which a function may make its network; none where one is named."""
    if model_file is not None or not any(path.parent.glob("*.py")):
        return []
    from converters.networks import source as sources

    return sources.makers_in(path.parent)


def split_model_file(model_file: str | os.PathLike[str]) -> tuple[Path, str | None]:
    """Returns the file and the class that FILE or FILE:CLASS names."""
    text = os.fspath(model_file)
    file, colon, class_name = text.rpartition(":")
    if colon and class_name.isidentifier() and not Path(text).is_file():
        return Path(file), class_name
    return Path(text), None


def architecture_of_source(
    model_file: str | os.PathLike[str], joints: int, size: tuple[int, int], writer: str
) -> Architecture:
    """Returns the network of a model file, for a training that starts anew.

    Args:
        model_file: FILE or FILE:CLASS.
        joints: Number of joints.
        size: Height and width of an input.
        writer: The Chainer whose BatchNormalization a network in Chainer has.

    Raises:
        DeepPoseError: It defines no network for so many joints, or several.
    """
    from converters.networks import source as sources

    file, class_name = split_model_file(model_file)

    def version(era: sources.Era) -> Version:
        return Version("1.24.0") if era.until is not None else chainer_version(writer)

    found = sources.choose_anew(sources.Candidate(file, class_name, asked=True), 2 * joints, version, size)
    network = found.network
    if network.input_size != size:
        height, width = network.input_size
        advice = f"--im-size {height} fits"
        raise DeepPoseError(f"{file}:{network.class_name} takes inputs of {height} x {width} pixels", advice=advice)
    return Architecture(
        network.class_name,
        joints,
        writer=TORCH_WRITER if network.framework == "torch" else writer,
        own=OwnTable(network.layers, network.input_size, network.fixed),
        source=found.source,
    )


def recognise_by_source(
    path: Path,
    contents: Contents,
    model: Collection[str],
    files: list[Candidate],
    makers: list[Candidate],
    log: LegacyLog | None,
    version: TellVersion,
    notices: list[str],
) -> Network | None:
    """Finds the network that a checkpoint's source says it is.

    Args:
        path: The checkpoint.
        contents: Its contents.
        model: Those of its keys that belong to a network.
        files: What `candidates` gives.
        makers: What `makers` gives.
        log: The `log.txt` beside it.
        version: Tells Chainer's version.
        notices: Gets what a user should know where no class resembles it.

    Returns:
        The network; None where no file has a class that resembles it.

    Raises:
        CheckpointError: A class resembles it and does not fit, several fit, or its network cannot be read.
    """
    if not files and not makers:
        return None
    from converters.networks import source as sources

    beside, headers = network_in(path, contents, model)
    side = log.options.get("im_size") if log is not None else None
    size = side if isinstance(side, int) and 0 < side <= 1024 else 220
    problem: DeepPoseError | None = None
    budget, unread = sources.Budget(), list[DeepPoseError]()

    def by_classes(tensors: Mapping[str, Shape]) -> sources.Found | None:
        return sources.choose(files, tensors, lambda era: version(_writers(era)), (size, size), budget, unread)

    def by_functions(tensors: Mapping[str, Shape]) -> sources.Found | None:
        return sources.choose_made(makers, tensors, lambda era: version(_writers(era)), (size, size), budget)

    ordered = [way for ways in strippings(headers) for way in ways]
    if not FORMATS[contents.format].chainer:  # whose wrappers are losses: of PyTorch's, a class may do more with it
        ordered.sort(key=lambda way: len(way.wrappers))
    for choose in (*([by_classes] if files else []), *([by_functions] if makers else [])):
        outer: sources.UnfollowedError | None = None
        for way in ordered:
            tensors = {canonical_name(name): headers[key].shape for key, name in way.bare.items()}
            if len(tensors) < len(way.bare):
                continue
            try:
                found = choose(tensors)
            except DeepPoseError as error:
                problem = problem or error
                if isinstance(error, sources.UnfollowedError):
                    outer = outer or error
                continue
            if found is not None:
                if outer is not None:
                    notices.append(
                        f"a class around {found.network.class_name} cannot be followed ({outer.problem}): what it does "
                        "with the answer is not known; override with --model-file FILE.py:CLASS"
                    )
                elif kept := _kept_as(found, way, contents):
                    notices.append(
                        f"something in {found.source.file} keeps {found.network.class_name} as `{kept}`: what it does "
                        "with the answer is not known; override with --model-file FILE.py:CLASS"
                    )
                return _network(path, contents, headers, way, beside, found, log)
    if problem is not None:
        raise CheckpointError(path, problem.problem, problem.advice)
    if unread:
        notices.append(
            f"of what lies beside it not every class could be read ({unread[0].problem}): its network is told by its "
            "names and shapes alone; override with --model-file FILE.py:CLASS"
        )
    return None


def for_size(checkpoint: Checkpoint, side: int) -> Checkpoint:
    """Returns a checkpoint whose network takes inputs of a side, where its source says what it computes of these.

    A network whose source asks maps for their size is a table for the size that it was followed with.

    Args:
        checkpoint: Any.
        side: Of its inputs.

    Returns:
        A checkpoint that takes them; the same one where it does already, or where no source tells.
    """
    architecture = checkpoint.architecture
    own, source = architecture.own, architecture.source
    if own is None or source is None or not own.fixed or architecture.accepts(side):
        return checkpoint
    from converters.networks import source as sources

    writer = architecture.writer
    version = chainer_version(writer) if writer.startswith("chainer-") else Version("7.8.1")
    before, network = (
        sources.at_size(source, architecture.shapes, version, size) for size in (own.input_size, (side, side))
    )
    if network is None or before is None or before.layers != own.layers:
        return checkpoint
    table = OwnTable(network.layers, network.input_size, network.fixed)
    resized = dataclasses.replace(architecture, own=table)
    return checkpoint.replace(architecture=resized) if resized.shapes == architecture.shapes else checkpoint


def _kept_as(found: sources.Found, way: Stripping, contents: Contents) -> str | None:
    """Returns the name under which a file's source keeps a network whose names were stripped of it; None for none."""
    if FORMATS[contents.format].chainer:
        return None
    names = (wrapper.rstrip("./") for wrapper in way.wrappers)
    return next((name for name in names if re.search(rf"\bself\.{re.escape(name)}\s*=", found.source.text)), None)


def _writers(era: sources.Era) -> Writers:
    return Writers(era.since or Version("1.0.0"), era.until, era.mark)


def _network(
    path: Path,
    contents: Contents,
    headers: Mapping[str, Header],
    way: Stripping,
    beside: tuple[str, ...],
    found: sources.Found,
    log: LegacyLog | None,
) -> Network:
    network = found.network
    title = f"{found.source.file}:{network.class_name}"
    if network.outputs % 2:
        raise CheckpointError(path, f"{title} gives {network.outputs} numbers, not two for each joint", _NO_JOINTS)
    keys = {canonical_name(name): key for key, name in way.bare.items()}
    own = OwnTable(network.layers, network.input_size, network.fixed)
    architecture = Architecture(
        network.class_name,
        network.outputs // 2,
        writer=TORCH_WRITER if network.framework == "torch" else Architecture.writer,
        own=own,
        source=found.source,
    )
    _check_shapes(path, found, architecture, headers, keys)
    known, differing = _known(architecture, {name: headers[key] for key, name in way.bare.items()})
    sides = [side for side in network.answer if side != 1]
    if known is None and len(sides) > 1 and sides[1:] != [2]:
        problem = f"{title} gives a value of {network.answer} for each person, not two numbers for each joint"
        raise CheckpointError(path, problem, _NO_JOINTS)
    notices = [f"its network is read from {title}, which is not run", *network.notices]
    family = FAMILIES["source"]
    if known is not None:
        wrappers = (*contents.wrappers, *way.wrappers)
        family = family_of(Found(contents.format, wrappers, known.name, CANONICAL, False, path.name))
        architecture = dataclasses.replace(known, source=found.source, writer=architecture.writer)
    else:
        if differing is not None:
            name, phrases = differing
            notices.append(f"by its names and shapes it would be {name}, but its source says otherwise: {phrases}")
        if log is None or not log.options:
            notices.append(
                "nothing says how the inputs of its own network were made: as those of mitmul/deeppose; "
                "--im-size, --gcn, --coord-normalize say otherwise"
            )
    unused = {keys[name] for name in network.unused}
    aliases = {keys[alias]: keys[name] for alias, name in network.aliases.items()}
    if unused:
        notices.append(f"its answer does not depend on {fold(unused)}")
    canonical = {key: name for name, key in keys.items() if key not in unused and key not in aliases}
    return Network(
        Match(architecture, CANONICAL, {way.bare[key]: name for key, name in canonical.items()}),
        way.wrappers,
        canonical,
        (*beside, *sorted(unused)),
        family,
        own=False,
        notices=tuple(notices),
        writers=_writers(found.era),
        aliases=aliases,
    )


def _check_shapes(
    path: Path,
    found: sources.Found,
    architecture: Architecture,
    headers: Mapping[str, Header],
    keys: Mapping[str, str],
) -> None:
    """Refuses tensors of a kind that no layer has, and a table that needs others than the file has."""
    for name, shape in architecture.shapes.items():
        header = headers.get(keys.get(name, ""))
        if header is not None:
            difference = difference_of(name, header, shape)
        else:
            difference = None if name.endswith(COUNTER) else "not in the file"
        if difference is not None:
            problem = f"{found.source.file}:{architecture.name} computes with {name}, which is {difference}"
            raise CheckpointError(path, problem, "was it trained with another version of the source?")


def _known(
    architecture: Architecture, headers: Mapping[str, Header]
) -> tuple[Architecture | None, tuple[str, str] | None]:
    """Returns the family's network that computes the same; or the nearest that fits the names, with what differs."""
    from converters.networks import source as sources

    assert architecture.own is not None
    nearest: tuple[str, str] | None = None
    for found in fitting(headers, TABLES):
        size = architecture.own.input_size
        phrases = sources.differences(found.architecture.layers, architecture.layers, size)
        if not phrases:
            return found.architecture, None
        nearest = nearest or (found.architecture.name, ", ".join(phrases[:8]))
    return None, nearest
