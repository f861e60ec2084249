"""Arguments of a class that decide what its network computes, and that no shape of a file tells."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator, Mapping

from converters.errors import DeepPoseError
from converters.networks.layers import Shape
from converters.networks.source.budget import Budget
from converters.networks.source.errors import ExhaustedError, Place, SourceError
from converters.networks.source.forward import Network, call_defaults, computed, without_dropout
from converters.networks.source.making import Made, Said, Source, made_with, signature_of
from converters.networks.source.registry import KNOWN
from converters.networks.source.values import Argument, Function, NativeFunction, Probe, origins

#: Seconds in which other arguments are tried, beside those that reading a source may take.
_SECONDS = 0.5
_ADVICE = "make the one that it was trained with its default, in a copy of the file for --model-file"


def untold(source: Source, made: Made, file: Mapping[str, Shape], network: Network, size: tuple[int, int]) -> list[str]:
    """Looks for arguments with which a class has the same parameters and computes something else.

    Args:
        source: The file.
        made: The class with the arguments that are taken.
        file: The shapes of a checkpoint's tensors by canonical name.
        network: What it computes.
        size: Height and width of the input that its training said, if it did.

    Returns:
        Sentences on those that the source tells, by a default or where it makes such an object.

    Raises:
        SourceError: The source does not tell one of them, or contradicts itself.
    """
    signature = signature_of(source, made.class_name)
    told = {origin.path[0] for shape in made.shapes.values() for side in shape for origin in origins(side)
            if isinstance(origin, Argument)}  # fmt: skip
    trial = _Trial(dataclasses.replace(source, budget=Budget(_SECONDS)), made, file, network)
    sentences = []
    unnamed = {name: None for call in signature.calls for name in call if name not in signature.defaults}
    for name, default in [*signature.defaults.items(), *unnamed.items()]:
        if name in told:
            continue
        given = [call[name] for call in signature.calls if name in call]
        if any(trial.differs(name, said.value) for said in given):
            words = [f"its default is {_text(default)}" if default else "", *map(_made_so, given)]
            words = ["it may be left out", *words] if name in unnamed else words
            problem = f"{name} of {made.class_name} decides what it computes, and no shape tells it: {_listed(words)}"
            raise SourceError(signature.place, problem, _ADVICE)
        if name not in made.arguments:
            continue
        said = default or next(iter(given), None)
        others = [trial.differs(name, value) for value in _others(made.arguments[name])]
        # Of a number that was made up, another size of input may be what makes it fit.
        made_up = isinstance(made.arguments[name], Probe) and network.input_size != size and None in others
        if made_up or any(others):
            problem = f"{name} of {made.class_name} decides what it computes, and no shape tells it"
            if said is None:
                raise SourceError(signature.place, f"{problem}; it has no default", _ADVICE)
            taken = f"its default {_text(said)}" if default else f"{_text(said)} as line {said.node.lineno} makes it"
            sentences.append(f"{signature.place}: {problem}: taken as {taken}")
    for name, default in call_defaults(made).items():
        if default.value is not None and any(trial.differs_called(name, value) for value in _others(default.value)):
            place = Place(source.file, default.node.lineno)
            problem = f"{name} of a call of {made.class_name} decides what it computes, and no shape tells it"
            sentences.append(f"{place}: {problem}: taken as its default {_text(default)}")
    return sentences


def with_probes(error: SourceError, source: Source, made: Made) -> SourceError:
    """Returns an error with what was tried in place of arguments that nothing tells, which may be its reason."""
    signature, counted = signature_of(source, made.class_name), made.evaluator.counted
    tried = []
    for name, default in signature.defaults.items():
        one = made.arguments.get(name)
        guessed = Argument((name,)) in counted if isinstance(one, Probe) else isinstance(one, str)
        if guessed and default is None and not any(name in call for call in signature.calls):
            tried.append(f"{name} as {int(one) if isinstance(one, Probe) else one!r}")
    if not tried:
        return error
    problem = f"{error.problem.removeprefix(f'{error.place}: ')}; nothing tells {' and '.join(tried)}, which was tried"
    return SourceError(error.place, problem, _ADVICE)


@dataclasses.dataclass
class _Trial:
    """Makes a class with other arguments than it has."""

    source: Source
    made: Made
    file: Mapping[str, Shape]
    network: Network
    exhausted: bool = False

    def differs_called(self, name: str, value: object) -> bool | None:
        """Tells whether a call with another argument computes something else; None if it cannot."""
        return self._differs(self.made.arguments, {name: value})

    def differs(self, name: str, value: object) -> bool | None:
        """Tells whether a class with another argument fits the file and computes something else; None if it cannot."""
        return self._differs({**self.made.arguments, name: value}, {})

    def _differs(self, arguments: Mapping[str, object], words: Mapping[str, object]) -> bool | None:
        if self.exhausted:
            return False
        try:
            other = made_with(self.source, self.made.class_name, arguments)
            if other.differences(self.file):
                return False
            table = computed(other, self.file, self.network.input_size, words)
        except ExhaustedError:
            self.exhausted = True
            return False
        except (DeepPoseError, RecursionError):
            return None
        return without_dropout(table) != without_dropout(self.network.layers)


def _others(value: object) -> Iterator[object]:
    """Yields other values that an argument may have had."""
    match value:
        case Probe():
            yield from (True, False, 1, 2, 3)
        case bool():
            yield not value
        case int():
            yield from (value + 1, 0)
        case float():
            yield from (value / 2, value + 0.25)
        case str():
            yield from (word for word in ("relu", "tanh", "max", "average") if word != value)
        case None:
            yield from (True, 1)
        case tuple() | list() if all(isinstance(item, int) for item in value):
            yield type(value)(item + 1 for item in value)
        case NativeFunction() | Function():
            yield from (KNOWN["chainer.functions.tanh"], KNOWN["chainer.functions.relu"])


def _text(said: Said | None) -> str:
    return "" if said is None else ast.unparse(said.node)[:40]


def _made_so(said: Said) -> str:
    return f"line {said.node.lineno} makes it with {_text(said)}"


def _listed(words: list[str]) -> str:
    return " and ".join(word for word in dict.fromkeys(words) if word)
