"""Which class of which file a checkpoint's network is."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from packaging.version import Version

from converters.errors import DeepPoseError
from converters.networks.architecture import ModelSource
from converters.networks.layers import Shape
from converters.networks.source import chainer_dialect, torch_dialect  # noqa: F401 - they say what names stand for
from converters.networks.source.budget import Budget
from converters.networks.source.context import FeaturesError
from converters.networks.source.era import Era, era_of
from converters.networks.source.errors import ExhaustedError, SourceError, UnfollowedError, not_known
from converters.networks.source.reading import Made, Network, Source, anew, follow, make
from converters.networks.source.text import MOST_BYTES, parse, read_text
from converters.networks.source.untold import untold, with_probes
from converters.values import dataclass

#: Of the files beside a checkpoint.
_MOST_FILES = 30
#: Of one file.
_MOST_CLASSES = 100
#: What a file with a network has in it.
_NETWORK = re.compile(
    r"\b(?:Chain|ChainList|FunctionSet|Sequential|(?:Lightning)?Module|(?:VGG|ResNet)\d+Layers)\b"
    r"|\bclass\s+\w+\([^)]*\b(?:ResNet|VGG|AlexNet|DenseNet|MobileNetV2|SqueezeNet)\b"
)
#: What a file has in it that makes one of torchvision's.
_TORCHVISION = re.compile(r"\b(?:import|from)\s+torchvision\b")


@dataclass(frozen=True)
class Candidate:
    """A file that may define a checkpoint's network.

    Attributes:
        path: The file.
        class_name: The class in it that is meant; None for any.
        asked: Whether a user names it, so that it has to be the one.
    """

    path: Path
    class_name: str | None = None
    asked: bool = False


@dataclass(frozen=True)
class Found:
    """A network with its source.

    Attributes:
        network: The network.
        source: The file it was read from.
        era: Which Chainer it was written for.
    """

    network: Network
    source: ModelSource
    era: Era


def candidates_in(folder: Path, named: str | None = None) -> list[Candidate]:
    """Returns the files of a folder that may define a network.

    Args:
        folder: The folder.
        named: The path that a `log.txt` there names; if the folder has a file of that name, it is the only candidate.
    """
    if named is not None and (path := folder / re.split(r"[\\/]", named)[-1]).suffix == ".py" and path.is_file():
        return [Candidate(path)]
    return _with(folder, _NETWORK)


def _with(folder: Path, pattern: re.Pattern[str]) -> list[Candidate]:
    """Returns the files of a folder that can be read and have something in them."""
    found = []
    for path in sorted(folder.glob("*.py"))[:_MOST_FILES]:
        try:
            if path.is_file() and path.stat().st_size <= MOST_BYTES and pattern.search(read_text(path)):
                found.append(Candidate(path))
        except (OSError, DeepPoseError):
            continue
    return found


def choose(
    candidates: Sequence[Candidate],
    tensors: Mapping[str, Shape],
    version: Callable[[Era], Version],
    size: tuple[int, int],
    budget: Budget | None = None,
    unread: list[DeepPoseError] | None = None,
) -> Found | None:
    """Finds the class that gives a checkpoint's names and shapes.

    Args:
        candidates: The files, as `candidates_in` lists them, or one that a user names.
        tensors: Shapes of the checkpoint's tensors by canonical name.
        version: Returns the version of Chainer that wrote the checkpoint, for a source of an era.
        size: Height and width of the input that it was trained with, as far as that is known.
        budget: What all files may cost; None for what one call may.
        unread: Gets the reasons why classes could not be read, where no other resembles the checkpoint.

    Returns:
        The network; None where no file has a class that resembles the checkpoint.

    Raises:
        DeepPoseError: No class fits, or several that compute something else; or the one that fits cannot be read.
    """
    found: list[Found] = []
    nearest: tuple[list[str], Candidate, Made] | None = None
    problems: list[DeepPoseError] = []
    budget = budget or Budget()
    for candidate in candidates:
        try:
            text = read_text(candidate.path)
            tree = parse(text, candidate.path.name)
        except DeepPoseError as error:
            problems.append(error)
            continue
        era = era_of(tree, candidate.path.name)
        source = Source(candidate.path.name, tree, version(era), budget)
        for class_name in _class_names(source, candidate):
            try:
                made = make(source, class_name, tensors)
            except ExhaustedError as error:
                if found:
                    return _with_rest_untried(_only(found), class_name, candidate)
                raise _exhausted(candidate, error) from error
            except RecursionError as error:
                raise _exhausted(candidate, ExhaustedError("its calls stand too deep in one another")) from error
            except DeepPoseError as error:
                problems.append(error)
                continue
            differing = made.differences(tensors)
            if not differing:
                found.append(_followed(candidate, source, made, tensors, size, text, era))
                continue
            differing = sorted(set(differing) - made.behind_unknown(tensors).keys())
            if nearest is None or len(differing) < len(nearest[0]):
                nearest = (differing, candidate, made)
        if candidate.asked and candidate.class_name is None and not found:
            found += _made_by_functions(candidate, source, tensors, size, text, era)
    if found:
        return _only(found)
    asked = any(candidate.asked for candidate in candidates)
    if nearest is not None and (asked or _resembles(nearest[2], tensors)):
        made = nearest[2]
        for name in sorted(made.behind_unknown(tensors).values(), key=lambda name: made.unknown[name].place.line):
            refused = not_known(made.unknown[name], f"{made.class_name}.{name}")
            raise UnfollowedError(refused.problem, advice=refused.advice)
        raise _misfit(nearest, tensors)
    if problems and (asked or len(candidates) == 1):
        raise problems[0]
    if problems and unread is not None:
        unread += problems
    if asked:
        raise DeepPoseError(f"{candidates[0].path.name}: it defines no network")
    return None


def makers_in(folder: Path) -> list[Candidate]:
    """Returns the files of a folder in which a function may make a network of torchvision's."""
    return _with(folder, _TORCHVISION)


def choose_made(
    candidates: Sequence[Candidate],
    tensors: Mapping[str, Shape],
    version: Callable[[Era], Version],
    size: tuple[int, int],
    budget: Budget,
) -> Found | None:
    """Finds the function that makes a network with a checkpoint's names and shapes; arguments are those of `choose`.

    Returns:
        The network; None where no function makes one, or none that can be followed.

    Raises:
        DeepPoseError: Several make networks that compute something else, or the one that fits cannot be read.
    """
    found: list[Found] = []
    for candidate in candidates:
        try:
            text = read_text(candidate.path)
            tree = parse(text, candidate.path.name)
        except DeepPoseError:
            continue
        era = era_of(tree, candidate.path.name)
        source = Source(candidate.path.name, tree, version(era), budget)
        found += _made_by_functions(candidate, source, tensors, size, text, era)
    return _only(found) if found else None


def _made_by_functions(
    candidate: Candidate,
    source: Source,
    tensors: Mapping[str, Shape],
    size: tuple[int, int],
    text: str,
    era: Era,
) -> list[Found]:
    found = []
    for name in source.makers():
        try:
            made = make(source, name, tensors)
        except (DeepPoseError, RecursionError):
            continue
        if not made.differences(tensors):
            found.append(_followed(candidate, source, made, tensors, size, text, era))
    return found


def none_of(candidates: Sequence[Candidate]) -> str | None:
    """Returns why none of some files tells a checkpoint's network, where there is one that ought to; None otherwise."""
    if len(candidates) != 1:
        return None
    (candidate,) = candidates
    try:
        tree = parse(read_text(candidate.path), candidate.path.name)
    except DeepPoseError as error:
        return error.problem
    file = candidate.path.name
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    if not classes:
        return f"{file} beside it defines no network"
    return f"{file}, line {classes[0].lineno}: {', '.join(node.name for node in classes[:5])} is not its network"


def choose_anew(candidate: Candidate, outputs: int, version: Callable[[Era], Version], size: tuple[int, int]) -> Found:
    """Finds the class of a file that gives a number of outputs, to start anew.

    Args:
        candidate: The file, and perhaps the class.
        outputs: How many numbers a network has to give: two for each joint.
        version: As for `choose`.
        size: Height and width of an input.

    Raises:
        DeepPoseError: There is none, or several that compute something else; or it cannot be read.
    """
    text = read_text(candidate.path)
    tree = parse(text, candidate.path.name)
    era = era_of(tree, candidate.path.name)
    source = Source(candidate.path.name, tree, version(era), Budget())
    found: list[Found] = []
    problem: DeepPoseError | None = None
    for class_name in _class_names(source, candidate):
        try:
            network = anew(source, class_name, outputs, size)
        except ExhaustedError as error:
            raise _exhausted(candidate, error) from error
        except RecursionError as error:
            raise _exhausted(candidate, ExhaustedError("its calls stand too deep in one another")) from error
        except DeepPoseError as error:
            problem = error
            continue
        found.append(Found(network, ModelSource(candidate.path.name, class_name, text), era))
    if not found:
        raise problem or DeepPoseError(f"{candidate.path.name}: it defines no network")
    return _only(found)


def _class_names(source: Source, candidate: Candidate) -> list[str]:
    if candidate.class_name is not None:
        return [candidate.class_name]
    try:
        names = source.classes()
    except ExhaustedError as error:
        raise _exhausted(candidate, error) from error
    if len(names) > _MOST_CLASSES:
        advice = f"name the one that is meant with --model-file {candidate.path.name}:CLASS"
        raise DeepPoseError(f"{candidate.path.name} defines {len(names)} networks", advice=advice)
    return names


def _followed(
    candidate: Candidate,
    source: Source,
    made: Made,
    tensors: Mapping[str, Shape],
    size: tuple[int, int],
    text: str,
    era: Era,
) -> Found:
    try:
        try:
            network = follow(made, tensors, size)
        except FeaturesError as error:
            if "torchvision" not in text:
                raise with_probes(error, source, made) from error
            source = dataclasses.replace(source, old_torchvision=True)
            made = make(source, made.class_name, tensors)
            network = follow(made, tensors, size)
        except SourceError as error:
            raise with_probes(error, source, made) from error
        said = untold(source, made, tensors, network, size)
        network = dataclasses.replace(network, notices=(*network.notices, *said))
    except ExhaustedError as error:
        raise _exhausted(candidate, error) from error
    except RecursionError as error:
        raise _exhausted(candidate, ExhaustedError("its calls stand too deep in one another")) from error
    except DeepPoseError as error:
        raise UnfollowedError(error.problem, advice=error.advice) from error
    return Found(network, ModelSource(candidate.path.name, network.class_name, text), era)


def _exhausted(candidate: Candidate, error: ExhaustedError) -> DeepPoseError:
    return DeepPoseError(f"{candidate.path.name} cannot be followed: {error.problem}")


def _with_rest_untried(found: Found, class_name: str, candidate: Candidate) -> Found:
    """Returns a network whose file has classes that nobody had the time to compare with it."""
    rest = f"{class_name} of {candidate.path.name} and what follows it took too long and was not compared with it"
    return dataclasses.replace(
        found, network=dataclasses.replace(found.network, notices=(*found.network.notices, rest))
    )


def _only(found: list[Found]) -> Found:
    """Returns the one network among several classes that fit, if they all compute the same."""
    first = found[0]
    if any(other.network.layers != first.network.layers for other in found[1:]):
        names = [f"{one.source.file}:{one.network.class_name}" for one in found]
        raise DeepPoseError(
            f"the classes {', '.join(names)} all have its names and shapes, and do not compute the same",
            advice=f"say which it is with --model-file {names[0]}",
        )
    return first


def _resembles(made: Made, tensors: Mapping[str, Shape]) -> bool:
    """Tells whether a class has most of the names of a checkpoint."""
    return 2 * (len(made.shapes.keys() & tensors.keys()) + len(made.behind_unknown(tensors))) > len(tensors)


def _misfit(nearest: tuple[list[str], Candidate, Made], tensors: Mapping[str, Shape]) -> DeepPoseError:
    differing, candidate, made = nearest
    parts = []
    for name in differing[:4]:
        ours, theirs = made.shapes.get(name), tensors.get(name)
        if ours is None:
            parts.append(f"it has no {name}")
        elif theirs is None:
            parts.append(f"the checkpoint has no {name}")
        else:
            spelled = tuple("?" if side is None else int(side) for side in ours)
            parts.append(f"its {name} is of {spelled}, the checkpoint's of {theirs}")
    more = f" and {len(differing) - 4} more" if len(differing) > 4 else ""
    return DeepPoseError(
        f"no class has its names and shapes; the nearest is {made.class_name} in {candidate.path.name}: "
        f"{'; '.join(parts)}{more}",
        advice="name the file it was trained with by --model-file, or its network by --architecture",
    )
