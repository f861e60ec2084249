"""The arguments that a class of a source was made with, solved from the names and shapes of a checkpoint."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import field
from functools import cached_property
from types import MappingProxyType

from packaging.version import Version

from converters.errors import DeepPoseError
from converters.networks.layers import Shape
from converters.networks.source.budget import Budget
from converters.networks.source.errors import ExhaustedError, Place
from converters.networks.source.evaluator import Evaluator
from converters.networks.source.program import program_of, rebound_in
from converters.networks.source.torchvision import TENSORS, models_like
from converters.networks.source.values import (
    Argument,
    Class,
    Function,
    Instance,
    ParameterShape,
    Probe,
    Scope,
    Traced,
    TracedFloat,
    Unknown,
    solve,
)
from converters.values import dataclass

#: What an argument that nothing tells is tried with first.
_PROBE = 14
_ROUNDS = 8
_MOST_TRIALS = 400
#: Lists within lists of an argument that are solved.
_DEEPEST_ARGUMENT = 4
_ABSENT = object()
#: Modules of which a function that makes a network makes its parts; and how many functions of a file are tried.
_MAKING = frozenset({"nn", "models", "torchvision"})
_MOST_MAKERS = 20
#: What a network's channels are multiplied by, where it has an argument for that.
_FACTORS = (0.125, 0.25, 0.35, 0.5, 0.75, 1.0, 1.25, 1.4, 1.5, 2.0)


@dataclass
class Source:
    """A file that may define networks.

    Attributes:
        file: Its name.
        tree: What Python's parser makes of it.
        version: The version of Chainer that its networks ran with.
        budget: What following it may cost.
        old_torchvision: Whether torchvision's models are those before its version 0.2.2, which pooled by 7 x 7 windows.
    """

    file: str
    tree: ast.Module
    version: Version
    budget: Budget = field(default_factory=Budget)
    old_torchvision: bool = False

    @cached_property
    def rebound(self) -> list[ast.Global]:
        """Where its functions declare names of the file as theirs to change."""
        return rebound_in(self.tree)

    def evaluator(self) -> Evaluator:
        """Returns an evaluator that has followed nothing yet."""
        self.budget.spend(len(self.tree.body))
        evaluator = Evaluator(program_of(self.tree, self.file, self.rebound), self.budget, self.version)
        evaluator.old_torchvision = self.old_torchvision
        return evaluator

    def classes(self) -> list[str]:
        """Returns the names of the classes that a framework's network is made from, and of a Sequential of no class."""
        evaluator = self.evaluator()
        names = []
        for node in self.tree.body:
            match node:
                case ast.ClassDef(name):
                    found = evaluator.global_name(evaluator.program, name)
                    if isinstance(found, Class) and (found.native is not None or _has_unknown_base(found)):
                        names.append(name)
                case ast.Assign([ast.Name(name)], ast.Call(ast.Name("Sequential") | ast.Attribute(_, "Sequential"))):
                    if isinstance(evaluator.global_name(evaluator.program, name), Instance | Unknown):
                        names.append(name)
        return names

    def makers(self) -> list[str]:
        """Returns the names of the functions that may return one of PyTorch's networks."""
        functions = (node for node in self.tree.body if isinstance(node, ast.FunctionDef) and _may_make(node))
        return [node.name for node in itertools.islice(functions, _MOST_MAKERS)]


def _may_make(function: ast.FunctionDef) -> bool:
    """Tells whether a function names a module of which networks are made, and returns something."""
    parts = list(ast.walk(function))
    names = {part.id for part in parts if isinstance(part, ast.Name)}
    return bool(_MAKING & names) and any(isinstance(part, ast.Return) and part.value is not None for part in parts)


def _has_unknown_base(kind: Class) -> bool:
    """Tells whether a class is made from something of another file, which may be a network's: it is refused later."""
    return any(isinstance(base, Unknown) for one in kind.order if isinstance(one, Class) for base in one.bases)


@dataclass(frozen=True)
class Said:
    """What a source gives an argument: its value here, and how it is written."""

    value: object
    node: ast.expr


@dataclass(frozen=True)
class Signature:
    """What a source says of the arguments that a class is made with.

    Attributes:
        place: Its `__init__`.
        defaults: Argument -> its default; None if it has none.
        calls: What the source itself gives where it makes such an object, as far as that is known; among it may be
            what stands in no `__init__` with `**keywords`.
    """

    place: Place
    defaults: dict[str, Said | None]
    calls: list[dict[str, Said]]


@dataclass
class Made:
    """A class with arguments.

    Attributes:
        class_name: The class.
        evaluator: What followed it.
        instance: The object that it became.
        shapes: Its parameters by canonical name.
        optional: Those of them that a file may lack.
        aliases: Second names of parameters -> the first.
        arguments: What its `__init__` was given, as far as it was solved.
        unknown: Attributes, by dotted name, that nothing is known of: they may be links.
    """

    class_name: str
    evaluator: Evaluator
    instance: Instance
    shapes: dict[str, ParameterShape]
    optional: set[str]
    aliases: dict[str, str]
    arguments: dict[str, object]
    unknown: dict[str, Unknown]

    def differences(self, file: Mapping[str, Shape]) -> list[str]:
        """Returns the names of a file's tensors and its own that are not the same in both."""
        ours = {name for name in self.shapes if name in file or name not in self.optional}
        theirs = {name for name in file if name not in self.aliases}
        differing = sorted(ours ^ theirs)
        for name in sorted(ours & theirs):
            shape, other = self.shapes[name], file[name]
            if len(shape) != len(other) or any(a is not None and a != b for a, b in zip(shape, other, strict=False)):
                differing.append(name)
        return differing

    def behind_unknown(self, file: Mapping[str, Shape]) -> dict[str, str]:
        """Returns the names of a file's tensors that belong to something that is not known, each with its name."""
        parts = {name: _beginnings(name) for name in file if name not in self.shapes}
        return {name: one for name, ones in parts.items() for one in ones if one in self.unknown}


def _beginnings(name: str) -> list[str]:
    """Returns a dotted name and what it begins with, the longest last."""
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def make(source: Source, class_name: str, file: Mapping[str, Shape]) -> Made:
    """Makes a class with the arguments that give a file's names and shapes; the nearest, where none do.

    Without a file it is made with its defaults.

    Raises:
        SourceError: Something on the way is not known.
        DeepPoseError: It cannot be made at all.
    """
    signature = signature_of(source, class_name)
    best: Made | None = None
    problem: DeepPoseError | None = None
    for template in _templates(source, signature, file):
        try:
            made = _solved(source, class_name, file, template)
        except ExhaustedError:
            raise
        except DeepPoseError as error:
            problem = problem or error
            continue
        if best is None or len(made.differences(file)) < len(best.differences(file)):
            best = made
        if not file or not best.differences(file):
            return best
    if best is None:
        assert problem is not None
        raise problem
    return best


def signature_of(source: Source, class_name: str) -> Signature:
    """Returns what a source says of the arguments that one of its classes is made with."""
    evaluator = source.evaluator()
    kind = evaluator.global_name(evaluator.program, class_name)
    if isinstance(kind, Unknown):
        if class_name not in evaluator.program.names:
            others = ", ".join([*source.classes(), *source.makers()][:8])
            advice = f"there is {others}" if others else "it defines no network"
            raise DeepPoseError(f"{source.file}: there is no class {class_name}", advice=advice)
        evaluator.refuse(kind)
    if isinstance(kind, Instance):
        return Signature(Place(source.file, 0), {}, [])
    if not isinstance(kind, Class | Function):
        raise DeepPoseError(f"{source.file}: there is no class {class_name}")
    found = kind.find("__init__") if isinstance(kind, Class) else (None, kind)
    function = found[1] if found else None
    if not isinstance(function, Function) or not isinstance(function.node, ast.FunctionDef):
        return Signature(Place(source.file, kind.node.lineno), {}, [])
    declared = function.node.args
    names = [argument.arg for argument in (*declared.posonlyargs, *declared.args)]
    names = names[1:] if isinstance(kind, Class) else names
    named = [argument.arg for argument in declared.kwonlyargs]
    defaults: dict[str, Said | None] = dict.fromkeys([*names, *named])
    for name, node, value in (
        *zip(reversed(names), reversed(declared.defaults), reversed(function.defaults), strict=False),
        *zip(named, declared.kw_defaults, function.keyword_defaults, strict=True),
    ):
        if node is not None:
            defaults[name] = Said(value, node)
    calls: list[dict[str, Said]] = []
    for call in _calls(source.tree, kind.name):
        given = [*zip(names, call.args, strict=False), *((word.arg or "", word.value) for word in call.keywords)]
        calls.append({})
        for name, node in given:
            if (name in defaults or (name and declared.kwarg)) and not isinstance(node, ast.Starred):
                value = evaluator.defined(node, Scope(evaluator.program, {}))
                if not isinstance(value, Unknown):
                    calls[-1][name] = Said(value, node)
    return Signature(Place(source.file, function.node.lineno), defaults, calls)


def _templates(source: Source, signature: Signature, file: Mapping[str, Shape]) -> Iterator[dict[str, object]]:
    """Yields arguments to begin with: the defaults, then what the file itself gives where it makes such an object."""
    defaults: dict[str, object] = {}
    for name, default in signature.defaults.items():
        said = default or next((call[name] for call in signature.calls if name in call), None)
        defaults[name] = _ABSENT if said is None else said.value
    yield defaults
    if not defaults:
        return
    for call in signature.calls:
        yield {**defaults, **{name: said.value for name, said in call.items()}}
    for name, value in defaults.items():
        if isinstance(value, str) and value in TENSORS:  # a model of torchvision: another may be the file's
            yield from ({**defaults, name: word} for word in models_like(len(file))[:4] if word != value)
    absent = [name for name, value in defaults.items() if value is _ABSENT]
    if len(absent) <= 2:
        yield from ({**defaults, name: word} for name in absent for word in _words(source, file))
    # An argument without a default may be a list, of which only its length is told by nothing but the shapes.
    for length in range(1, 9) if len(absent) <= 2 else ():
        for name in absent:
            yield {**defaults, name: [_PROBE] * length}


def _words(source: Source, file: Mapping[str, Shape]) -> list[str]:
    """Returns what an argument that is a word may be: a model of torchvision, or a word that the file compares."""
    compared = [
        part.value
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Compare | ast.Dict)
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]
    return [*models_like(len(file))[:4], *dict.fromkeys(compared[:20])]


def _calls(tree: ast.Module, name: str) -> list[ast.Call]:
    """Returns where a file makes an object of one of its classes."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == name][:10]


def _solved(source: Source, class_name: str, file: Mapping[str, Shape], template: dict[str, object]) -> Made:
    """Makes a class with arguments that are solved from a file's shapes, beginning with some."""
    guesses: dict[tuple[str | int, ...], object] = {}
    made = made_with(source, class_name, template, guesses)
    if not file:
        return made
    for _ in range(_ROUNDS):
        found = _equations(made, file, guesses)
        if not found:
            break
        trial = {**guesses, **found}
        guesses, made = trial, made_with(source, class_name, template, trial)
    trials = 0
    shared = len(made.shapes.keys() & file.keys()) + len(made.behind_unknown(file))
    if 2 * shared < min(len(made.shapes), len(file)):
        return made  # another class's network
    while made.differences(file) and trials < _MOST_TRIALS:
        better = None
        for trial in _neighbours(source, made, file, template, guesses):
            trials += 1
            try:
                other = made_with(source, class_name, template, trial)
                found = _equations(other, file, trial)
                if found:
                    trial = {**trial, **found}
                    other = made_with(source, class_name, template, trial)
            except ExhaustedError:
                raise
            except DeepPoseError:
                continue
            if len(other.differences(file)) < len(made.differences(file)):
                better = trial, other
                break
        if better is None:
            break
        guesses, made = better
    return made


def made_with(
    source: Source,
    class_name: str,
    template: Mapping[str, object],
    guesses: Mapping[tuple[str | int, ...], object] = MappingProxyType({}),
) -> Made:
    """Makes a class with some arguments, in place of which there may be others."""
    evaluator = source.evaluator()
    kind = evaluator.global_name(evaluator.program, class_name)
    assert isinstance(kind, Class | Instance | Function)
    arguments = {name: _guessed(value, (name,), guesses) for name, value in template.items()}
    if isinstance(kind, Function):
        evaluator.framework = "torch"
        instance = _returned(evaluator, class_name, evaluator.call(kind, (), arguments))
    else:
        evaluator.framework = kind.native.framework if kind.native is not None else ""
        made = evaluator.instantiate(kind, (), arguments) if isinstance(kind, Class) else kind
        assert isinstance(made, Instance)
        instance = made
    shapes: dict[str, ParameterShape] = {}
    optional: set[str] = set()
    aliases: dict[str, str] = {}
    first: dict[int, str] = {}
    unknown: dict[str, Unknown] = {}
    for name, one in _all_paths(source.budget, instance):
        known = first.setdefault(id(one), name)
        unknown |= {f"{name}.{a}".lstrip("."): v for a, v in one.attributes.items() if isinstance(v, Unknown)}
        assert one.native is not None
        for part, shape in one.native.parameters.items():
            own = f"{name}.{part}".lstrip(".")
            if known != name:
                aliases[own] = f"{known}.{part}".lstrip(".")
                continue
            shapes[own] = shape
            if part in one.native.optional:
                optional.add(own)
    evaluator.names = first
    return Made(class_name, evaluator, instance, shapes, optional, aliases, arguments, unknown)


def _returned(evaluator: Evaluator, name: str, result: object) -> Instance:
    """Returns the network that a function gives, alone or first of several values."""
    values = result if isinstance(result, tuple | list) else (result,)
    for value in values:
        if isinstance(value, Unknown):
            evaluator.refuse(value)
        if isinstance(value, Instance) and value.native is not None and value.native.framework == "torch":
            return value
    evaluator.fail(f"{name} gives no network")


def _all_paths(
    budget: Budget, instance: Instance, name: str = "", inside: tuple[int, ...] = ()
) -> Iterator[tuple[str, Instance]]:
    """Yields an object and all that is registered within, under every name."""
    budget.spend()
    if id(instance) in inside:
        raise DeepPoseError(f"{instance.name} contains itself")
    if len(inside) > 50:
        raise ExhaustedError("its parts stand too deep in one another")
    yield name, instance
    for child, inner in instance.children.items():
        yield from _all_paths(budget, inner, f"{name}.{child}".lstrip("."), (*inside, id(instance)))


def _guessed(value: object, path: tuple[str | int, ...], guesses: Mapping[tuple[str | int, ...], object]) -> object:
    """Returns an argument with what was found of it so far; whole numbers know which argument they are."""
    if path in guesses:
        value = guesses[path]
    if value is _ABSENT or isinstance(value, Probe):
        return Probe(_PROBE, Argument(path))
    if isinstance(value, int) and not isinstance(value, bool):
        return Traced(int(value), Argument(path))
    if isinstance(value, float):
        return TracedFloat(value, Argument(path))
    if isinstance(value, list | tuple) and len(path) < _DEEPEST_ARGUMENT:
        items = [_guessed(item, (*path, i), guesses) for i, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, dict) and len(path) < _DEEPEST_ARGUMENT:
        return {key: _guessed(item, (*path, str(key)), guesses) for key, item in value.items()}
    return value


def _equations(
    made: Made, file: Mapping[str, Shape], guesses: Mapping[tuple[str | int, ...], object]
) -> dict[tuple[str | int, ...], object]:
    """Returns what arguments have to be for shapes to be the file's, where that is something else than they are."""
    found: dict[tuple[str | int, ...], object] = {}
    settled: set[tuple[str | int, ...]] = set()
    # First what is right as it is, so that one wrong shape does not turn a right argument.
    pairs = [
        (side, wanted)
        for name, shape in made.shapes.items()
        if name in file and len(file[name]) == len(shape)
        for side, wanted in zip(shape, file[name], strict=True)
        if isinstance(side, Traced)
    ]
    for side, wanted in pairs:
        if side == wanted and (answer := solve(side, wanted, lambda _: False)):
            settled.add(answer[0].path)
    for side, wanted in pairs:
        if side == wanted:
            continue
        answer = solve(side, wanted, lambda argument: argument.path in settled or argument.path in found)
        if answer is None or not answer[1] > 0:
            continue
        path, number = answer[0].path, answer[1]
        if isinstance(_value_at(made.arguments, path), int):
            if not number.is_integer():
                continue
            number = int(number)
        if guesses.get(path) != number:
            found[path] = number
    return found


def _neighbours(
    source: Source,
    made: Made,
    file: Mapping[str, Shape],
    template: dict[str, object],
    guesses: Mapping[tuple[str | int, ...], object],
) -> Iterator[dict[tuple[str | int, ...], object]]:
    """Yields other arguments: words, numbers that decide how often something is done, and switches."""
    for name, value in template.items():
        if isinstance(value, str) and (name,) not in guesses:
            yield from ({**guesses, (name,): word} for word in _words(source, file) if word != value)
    counted = sorted(made.evaluator.counted, key=lambda argument: [str(part) for part in argument.path])
    for argument in counted:
        now = _value_at(made.arguments, argument.path)
        if isinstance(now, int):
            for other in (*range(now + 1, now + 9), *range(now - 1, max(now - 15, -1), -1), now + 16, now + 30):
                yield {**guesses, argument.path: other}
    for name, value in template.items():
        if isinstance(value, bool):
            yield {**guesses, (name,): not guesses.get((name,), value)}
        elif value is _ABSENT and isinstance(made.arguments[name], int):
            yield {**guesses, (name,): True}
            yield {**guesses, (name,): False}
        elif isinstance(value, float):
            yield from ({**guesses, (name,): factor} for factor in _FACTORS)
        elif value is None:
            yield {**guesses, (name,): _PROBE}


def _value_at(arguments: Mapping[str, object], path: tuple[str | int, ...]) -> object:
    value: object = arguments.get(str(path[0]))
    for part in path[1:]:
        if isinstance(value, list | tuple) and isinstance(part, int) and part < len(value):
            value = value[part]
        elif isinstance(value, dict):
            value = value.get(part)
        else:
            return None
    return value
