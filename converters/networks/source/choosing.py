"""Which class of which file a checkpoint's network is."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from packaging.version import Version

from converters.errors import DeepPoseError
from converters.networks.architecture import ModelSource
from converters.networks.layers import Shape
from converters.networks.source import arguments, chainer_dialect, torch_dialect  # noqa: F401 - they say what names stand for
from converters.networks.source.budget import Budget
from converters.networks.source.context import FeaturesError
from converters.networks.source.era import Era, era_of
from converters.networks.source.errors import ExhaustedError, SourceError, UnfollowedError, not_known
from converters.networks.source.forward import Network, anew, follow
from converters.networks.source.making import Made, Source, make
from converters.networks.source.text import MOST_BYTES, parse, read_text
from converters.networks.source.untold import untold, with_probes
from converters.values import dataclass

#: Returns the version of Chainer that ran a source of an era.
TellVersion: TypeAlias = Callable[[Era], Version]
#: Of the files beside a checkpoint.
_MOST_FILES = 30
#: Of one file.
_MOST_CLASSES = 100
#: What a file with a network has in it.
_NETWORK = re.compile(
    r"\b(?:Chain|ChainList|FunctionSet|Sequential|(?:Lightning)?Module|(?:VGG|ResNet)\d+Layers)\b"
    r"|\bclass\s+\w+\([^()]*\b(?:ResNet|VGG|AlexNet|DenseNet|MobileNetV2|SqueezeNet)\b"
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


@dataclass(frozen=True)
class _File:
    """A candidate that could be parsed.

    Attributes:
        candidate: The candidate.
        text: Its text.
        era: Which Chainer it was written for.
        source: What follows its classes.
    """

    candidate: Candidate
    text: str
    era: Era
    source: Source

    @classmethod
    def of(cls, candidate: Candidate, version: TellVersion, budget: Budget) -> _File:
        """Parses a candidate, which is refused where it cannot be read or is no Python."""
        name, text = candidate.path.name, read_text(candidate.path)
        tree = parse(text, name)
        era = era_of(tree, name)
        return cls(candidate, text, era, Source(name, tree, version(era), budget))

    def class_names(self) -> list[str]:
        """Returns the classes that may be meant."""
        name = self.candidate.path.name
        if self.candidate.class_name is not None:
            return [self.candidate.class_name]
        with self.followed():
            names = self.source.classes()
        if len(names) > _MOST_CLASSES:
            advice = f"name the one that is meant with --model-file {name}:CLASS"
            raise DeepPoseError(f"{name} defines {len(names)} networks", advice=advice)
        return names

    def network(self, made: Made, tensors: Mapping[str, Shape], size: tuple[int, int]) -> Found:
        """Returns what a class that has a checkpoint's names and shapes computes, where that is known."""
        source = self.source
        try:
            with self.followed():
                try:
                    network = follow(made, tensors, size)
                except FeaturesError as error:
                    if "torchvision" not in self.text:
                        raise with_probes(error, source, made) from error
                    source = dataclasses.replace(source, old_torchvision=True)
                    made = make(source, made.class_name, tensors)
                    network = follow(made, tensors, size)
                except SourceError as error:
                    raise with_probes(error, source, made) from error
                said = untold(source, made, tensors, network, size)
        except ExhaustedError:
            raise
        except DeepPoseError as error:
            raise UnfollowedError(error.problem, advice=error.advice) from error
        return self.found(dataclasses.replace(network, notices=(*network.notices, *said)))

    def made_by_functions(self, tensors: Mapping[str, Shape], size: tuple[int, int]) -> list[Found]:
        """Returns the networks with a checkpoint's names and shapes that functions make."""
        found = []
        for name in self.source.makers():
            try:
                made = make(self.source, name, tensors)
            except (DeepPoseError, RecursionError):
                continue
            if not made.differences(tensors):
                found.append(self.network(made, tensors, size))
        return found

    def found(self, network: Network) -> Found:
        """Returns a network with its source."""
        return Found(network, ModelSource(self.candidate.path.name, network.class_name, self.text), self.era)

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Refuses a file that takes too long, or too deep, to follow meanwhile."""
        try:
            yield
        except (ExhaustedError, RecursionError) as error:
            reason = error.problem if isinstance(error, ExhaustedError) else "its calls stand too deep in one another"
            raise ExhaustedError(f"{self.candidate.path.name} cannot be followed: {reason}") from error


def at_size(
    source: ModelSource, tensors: Mapping[str, Shape], version: Version, size: tuple[int, int]
) -> Network | None:
    """Follows a source again, for inputs of another size.

    Args:
        source: What a network was read from.
        tensors: Shapes of its tensors by canonical name; it may have others that its answer does not depend on.
        version: The version of Chainer that it was read for.
        size: Height and width.

    Returns:
        What it computes of such inputs; None where it takes none, or that is not known.
    """
    try:
        tree = parse(source.text, source.file)
        followed = Source(source.file, tree, version)
        made = make(followed, source.class_name, tensors)
        if tensors.keys() & set(made.differences(tensors)):
            return None
        network = follow(made, tensors, size)
    except (DeepPoseError, RecursionError):
        return None
    return network if network.input_size == size else None


def choose(
    candidates: Sequence[Candidate],
    tensors: Mapping[str, Shape],
    version: TellVersion,
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
    nearest: tuple[Candidate, Made, list[str]] | None = None
    problems: list[DeepPoseError] = []
    budget = budget or Budget()
    for candidate in candidates:
        try:
            file = _File.of(candidate, version, budget)
        except DeepPoseError as error:
            problems.append(error)
            continue
        for class_name in file.class_names():
            try:
                with file.followed():
                    made = make(file.source, class_name, tensors)
            except ExhaustedError:
                if found:
                    return _with_rest_untried(_only(found), class_name, candidate)
                raise
            except DeepPoseError as error:
                problems.append(error)
                continue
            differing = made.differences(tensors)
            if not differing:
                found.append(file.network(made, tensors, size))
                continue
            differing = sorted(set(differing) - made.behind_unknown(tensors).keys())
            if nearest is None or len(differing) < len(nearest[2]):
                nearest = (candidate, made, differing)
        if candidate.asked and candidate.class_name is None and not found:
            found += file.made_by_functions(tensors, size)
    if found:
        return _only(found)
    asked = any(candidate.asked for candidate in candidates)
    if nearest is not None and (asked or _resembles(nearest[1], tensors)):
        raise _misfit(*nearest, tensors)
    if problems and (asked or len(candidates) == 1):
        raise problems[0]
    if problems and unread is not None:
        unread += problems
    if asked:
        raise DeepPoseError(f"{candidates[0].path.name}: it defines no network")
    return None


def _resembles(made: Made, tensors: Mapping[str, Shape]) -> bool:
    """Tells whether a class has most of the names of a checkpoint."""
    return 2 * (len(made.shapes.keys() & tensors.keys()) + len(made.behind_unknown(tensors))) > len(tensors)


def _misfit(candidate: Candidate, made: Made, differing: list[str], tensors: Mapping[str, Shape]) -> DeepPoseError:
    """Returns what says why the nearest class is not a checkpoint's network."""
    behind = [(made.unknown[name].place.line, name) for name in made.behind_unknown(tensors).values()]
    if behind:
        _, name = min(behind)
        refused = not_known(made.unknown[name], f"{made.class_name}.{name}")
        return UnfollowedError(refused.problem, advice=refused.advice)
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


def makers_in(folder: Path) -> list[Candidate]:
    """Returns the files of a folder in which a function may make a network of torchvision's."""
    return _with(folder, _TORCHVISION)


def choose_made(
    candidates: Sequence[Candidate],
    tensors: Mapping[str, Shape],
    version: TellVersion,
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
            file = _File.of(candidate, version, budget)
        except DeepPoseError:
            continue
        found += file.made_by_functions(tensors, size)
    return _only(found) if found else None


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


def choose_anew(candidate: Candidate, outputs: int, version: TellVersion, size: tuple[int, int]) -> Found:
    """Finds the class of a file that gives a number of outputs, to start anew.

    Args:
        candidate: The file, and perhaps the class.
        outputs: How many numbers a network has to give: two for each joint.
        version: As for `choose`.
        size: Height and width of an input.

    Raises:
        DeepPoseError: There is none, or several that compute something else; or it cannot be read.
    """
    file = _File.of(candidate, version, Budget())
    found: list[Found] = []
    problem: DeepPoseError | None = None
    for class_name in file.class_names():
        try:
            with file.followed():
                found.append(file.found(anew(file.source, class_name, outputs, size)))
        except ExhaustedError:
            raise
        except DeepPoseError as error:
            problem = error
    if not found:
        raise problem or DeepPoseError(f"{candidate.path.name}: it defines no network")
    return _only(found)


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
