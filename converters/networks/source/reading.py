"""One class of a source as a network: the arguments that it was made with, and what its forward pass computes."""

from __future__ import annotations

import ast
import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from functools import cached_property
from types import MappingProxyType
from typing import TypeGuard

from packaging.version import Version

from converters.errors import DeepPoseError
from converters.networks.flow import steps_of
from converters.networks.layers import Block, Dropout, Layer, Linear, Reshape, Shape, Transpose, walk
from converters.networks.source.budget import Budget
from converters.networks.source.context import FeaturesError
from converters.networks.source.errors import ExhaustedError, Place, SourceError
from converters.networks.source.evaluator import Evaluator
from converters.networks.source.graph import Node, input_of, layer_on
from converters.networks.source.program import program_of, rebound_in
from converters.networks.source.table import table_of
from converters.networks.source.torchvision import TENSORS, models_like
from converters.networks.source.values import (
    Argument,
    Class,
    Function,
    Given,
    Instance,
    Mode,
    ParameterShape,
    Probe,
    Scope,
    Tensor,
    Traced,
    TracedFloat,
    Unknown,
    origins,
    solve,
)
from converters.values import dataclass

#: What an argument that nothing tells is tried with first.
_PROBE = 14
_ROUNDS = 8
_MOST_TRIALS = 400
#: Lists within lists of an argument that are solved.
_DEEPEST_ARGUMENT = 4
#: Sides of inputs that are tried where the one that is said does not fit a network's fully connected layers.
_SIDES = (220, 224, 227, 256, 128, 192, 112, 96, 64, *range(32, 513))
_ABSENT = object()
#: Modules of which a function that makes a network makes its parts; and how many functions of a file are tried.
_MAKING = frozenset({"nn", "models", "torchvision"})
_MOST_MAKERS = 20
#: Functions that make one number of answers and targets.
_LOSS = re.compile(r"(?:error|loss|entropy|accuracy)$", re.IGNORECASE)
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


@dataclass(frozen=True)
class Network:
    """A class as a network.

    Attributes:
        class_name: The class.
        framework: `chainer` or `torch`.
        layers: The table.
        input_size: Height and width of the input that it was followed with.
        fixed: Whether it takes no other.
        answer: The shape of what it gives for an example.
        unused: Names of parameters that its answer does not depend on.
        aliases: Second names of parameters -> the first.
        notices: What a user should know.
    """

    class_name: str
    framework: str
    layers: tuple[Layer, ...]
    input_size: tuple[int, int]
    fixed: bool
    answer: tuple[int, ...]
    unused: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    @property
    def outputs(self) -> int:
        """How many numbers it gives for an example."""
        return math.prod(self.answer)


# --- the arguments of a class -----------------------------------------------------------------------------------------


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


def anew(source: Source, class_name: str, outputs: int, size: tuple[int, int]) -> Network:
    """Makes and follows a class so that it gives a number of outputs.

    Raises:
        SourceError: Something on the way is not known.
        DeepPoseError: It does not give so many with any argument.
    """
    made = make(source, class_name, {})
    network, joints, template = follow(made, {}, size), None, made.arguments
    names = [name for name, value in template.items() if isinstance(value, Traced)]
    for name, number in itertools.product(names, (outputs // 2, outputs)):
        if network.outputs == outputs:
            break
        try:
            made = made_with(source, class_name, template, {(name,): number})
            network, joints = follow(made, {}, size), name
        except ExhaustedError:
            raise
        except DeepPoseError:
            continue
    if network.outputs != outputs:
        problem = f"{source.file}:{class_name} gives {network.outputs} numbers, not {outputs}: two for each joint"
        raise DeepPoseError(problem)
    _refuse_probes(source, made, joints)
    return network


def _refuse_probes(source: Source, made: Made, joints: str | None) -> None:
    """Refuses a network that starts anew where an argument besides its joints has no value."""
    shapes = {origin for shape in made.shapes.values() for side in shape for origin in origins(side)}
    used = [
        name
        for name, value in made.arguments.items()
        if isinstance(value, Probe) and name != joints and Argument((name,)) in shapes | made.evaluator.counted
    ]
    if len(used) > (joints is None):
        problem = f"nothing tells {' and '.join(used)}, which {made.class_name} is made with"
        raise SourceError(signature_of(source, made.class_name).place, problem, "give it a default")


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


# --- what it computes -------------------------------------------------------------------------------------------------


def follow(made: Made, file: Mapping[str, Shape], size: tuple[int, int]) -> Network:
    """Follows the forward pass of an object.

    Args:
        made: The object.
        file: The shapes of a file's tensors by canonical name; empty where a network starts anew.
        size: Height and width of the input to try first.

    Raises:
        SourceError: The network's answer depends on something that is not known.
    """
    evaluator = made.evaluator
    evaluator.shapes = file
    sizes = [size]
    tried: set[tuple[int, int]] = set()
    while True:
        height, width = sizes.pop(0)
        tried.add((height, width))
        try:
            result, reached = _forward(made, height, width, training=False)
            break
        except FeaturesError as error:
            others = _other_sizes(error, evaluator.budget)
            sizes += [other for other in others if other not in tried and other not in sizes][: 1 if sizes else 3]
            if not sizes:
                raise
        except SourceError:
            if not sizes:
                raise
    table = table_of(result, evaluator.budget)
    notices = list(evaluator.notices)
    fixed = evaluator.fixed is not None
    trained = _trained_table(made, height, width, table, notices)
    owners = ((name, name.rpartition(".")[0]) for name in made.shapes if name in file)
    unused = sorted(name for name, owner in owners if not reached & {name, owner})
    unused = [name for name in unused if not any(name.startswith(f"{one}.") for one in reached)]
    return Network(
        made.class_name,
        evaluator.framework,
        trained,
        (height, width),
        fixed,
        result.shape,
        tuple(unused),
        {alias: name for alias, name in made.aliases.items() if alias in file},
        tuple(notices),
    )


def _other_sizes(error: FeaturesError, budget: Budget) -> list[tuple[int, int]]:
    """Returns sizes of inputs with which a fully connected layer is given as many features as it was made for."""
    layers = (*table_of(error.node, budget), Linear("", 1))
    sizes = []
    for side in _SIDES:
        try:
            if math.prod(part or 0 for part in steps_of(layers, (3, side, side))[-1].before) == error.wanted:
                sizes.append((side, side))
        except DeepPoseError:
            continue
    return list(dict.fromkeys(sizes))


def computed(
    made: Made, file: Mapping[str, Shape], size: tuple[int, int], words: Mapping[str, object] = MappingProxyType({})
) -> tuple[Layer, ...]:
    """Returns the table of what an object computes of inputs of one size, called with some words.

    Raises:
        SourceError: Its answer depends on something that is not known.
    """
    made.evaluator.shapes = file
    return table_of(_forward(made, *size, training=False, words=words)[0], made.evaluator.budget)


def _forward(
    made: Made, height: int, width: int, training: bool, words: Mapping[str, object] = MappingProxyType({})
) -> tuple[Node, set[str]]:
    """Follows the forward pass once; returns its answer, and the names of the layers it leads through."""
    evaluator = made.evaluator
    evaluator.training = evaluator.training_side = training
    evaluator.norms, evaluator.fixed, evaluator.making = 0, None, False
    evaluator.reached = set()
    evaluator.notices = []
    x = Tensor(input_of(height, width))
    arguments, keywords = _forward_arguments(made, x)
    result = evaluator.call(made.instance, arguments, {**keywords, **words})
    if isinstance(result, Unknown) or result is None:
        result = _of_the_loss(made, x, result) or result
    node = _answer(made, result)
    return node, _layers_of(made, node)


def _layers_of(made: Made, node: Node) -> set[str]:
    """Returns the names of the layers that lead to a value."""
    table = table_of(node, made.evaluator.budget)
    return {str(layer.name) for layer in walk(table) if hasattr(layer, "name")}


def _of_the_loss(made: Made, x: Tensor, loss: object) -> Tensor | None:
    """Returns the value whose loss a call gives: what it keeps, or another method gives, if every layer leads to it."""
    evaluator = made.evaluator
    names = {name.rpartition(".")[0] for name in made.shapes}

    def is_whole(value: object) -> TypeGuard[Tensor]:
        if not isinstance(value, Tensor):
            return False
        reached = _layers_of(made, value.node)
        return all(name in reached or name.rpartition(".")[0] in reached for name in names)

    kept = {name: value for name, value in made.instance.attributes.items() if is_whole(value)}
    if len({id(value.node) for value in kept.values()}) == 1:
        name, value = next(iter(kept.items()))
        evaluator.notice(f"a call of {made.class_name} gives its loss: its {name} is taken for the joints")
        return value
    kind = made.instance.kind
    methods = [name for name in ("predict", "forward") if isinstance(kind, Class) and kind.find(name) is not None]
    for name in methods if not kept else ():
        evaluator.norms, evaluator.fixed, evaluator.notices = 0, None, []
        try:
            given = evaluator.call(evaluator.attribute(made.instance, name), *_forward_arguments(made, x, name))
        except SourceError:
            continue
        if is_whole(given):
            evaluator.notice(f"a call of {made.class_name} gives its loss: what {name} gives is taken for the joints")
            return given
    if isinstance(loss, Unknown) and _LOSS.search(loss.what):
        problem = f"a call of {made.class_name} gives {loss.what}, and nothing that it keeps is all of its answer"
        raise SourceError(loss.place, problem, "let it return the joints, in a copy of the file for --model-file")
    return None


def _forward_arguments(made: Made, x: Tensor, method: str = "") -> tuple[tuple[object, ...], dict[str, object]]:
    kind = made.instance.kind
    found = kind.find(method) if method and isinstance(kind, Class) else made.evaluator.forward_of(kind)
    if found is None or not isinstance(found[1], Function):
        return (x,), {}
    declared = found[1].node.args
    parameters = [argument.arg for argument in (*declared.posonlyargs, *declared.args)][1:]
    keywords: dict[str, object] = {}
    without_default = len(parameters) - len(declared.defaults)
    for i, name in enumerate(parameters[1:], start=1):
        if name in ("train", "training", "is_train", "is_training"):
            keywords[name] = Mode(made.evaluator.training)
        elif name in ("test", "is_test"):
            keywords[name] = Mode(not made.evaluator.training)
        elif i < without_default:
            keywords[name] = Given(f"{name}, an argument of the network that is not its input,", _place(made, found[1]))
    return (x,), keywords


def call_defaults(made: Made) -> dict[str, Said]:
    """Returns the defaults of what a call of an object takes beside its input, and of no word for training."""
    found = made.evaluator.forward_of(made.instance.kind)
    if found is None or not isinstance(found[1], Function) or not found[1].defaults:
        return {}
    declared = found[1].node.args
    parameters = [argument.arg for argument in (*declared.posonlyargs, *declared.args)][-len(found[1].defaults) :]
    said = zip(parameters, found[1].defaults, declared.defaults, strict=True)
    return {name: Said(value, node) for name, value, node in said if not re.fullmatch(r"(is_)?(train\w*|test)", name)}


def _place(made: Made, function: Function) -> Place:
    return Place(function.scope.program.file, function.node.lineno)


def _answer(made: Made, result: object) -> Node:
    """Returns the value of the network that a call gives."""
    evaluator = made.evaluator
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, list | tuple):
        values = [value for value in result if isinstance(value, Tensor)]
        if not values:
            evaluator.refuse(next((v for v in result if isinstance(v, Unknown)), evaluator.unknown("its answer")))
        sizes = {math.prod(value.node.shape) for value in values}
        if len(sizes) > 1:
            shapes = " and ".join(str(value.node.shape) for value in values)
            evaluator.fail(f"{made.class_name} gives several values, of {shapes}: which are the joints is not known")
        if len(values) > 1:
            evaluator.notice(f"{made.class_name} gives {len(values)} answers: the last one is taken")
        result = values[-1]
    return _in_pairs(made, evaluator.tensor(result, "its answer").node)


def _in_pairs(made: Made, node: Node) -> Node:
    """Returns an answer of all x, then all y, as pairs; what says its shape otherwise is left."""
    sides = tuple(side for side in node.shape if side != 1)
    if len(sides) != 2 or sides[0] != 2 or sides[1] == 2:
        return node
    place = made.evaluator.place
    made.evaluator.notice(
        f"{made.class_name} gives {sides} numbers: taken for the x of all {sides[1]} joints, then their y, and put in "
        "pairs"
    )
    return layer_on(node if node.shape == sides else layer_on(node, Reshape(sides), place), Transpose((1, 0)), place)


def _trained_table(
    made: Made, height: int, width: int, table: tuple[Layer, ...], notices: list[str]
) -> tuple[Layer, ...]:
    """Returns the table with the dropout of the training side, where that is all that it differs by."""
    kept = (made.evaluator.fixed, made.evaluator.notices, made.evaluator.reached)
    try:
        trained = table_of(_forward(made, height, width, training=True)[0], made.evaluator.budget)
        if without_dropout(trained) == without_dropout(table):
            return trained
        problem = "computes something else"
    except ExhaustedError:
        raise
    except DeepPoseError as error:
        problem = f"is not known ({error.problem})"
    finally:
        made.evaluator.fixed, made.evaluator.notices, made.evaluator.reached = kept
    notices.append(f"the training side of {made.class_name} {problem}: a training goes on with the test side")
    return table


def without_dropout(layers: tuple[Layer, ...]) -> tuple[object, ...]:
    """Returns a table's layers without dropout, for comparison."""
    return tuple(
        (type(layer), layer.join, tuple(without_dropout(branch) for branch in layer.branches))
        if isinstance(layer, Block)
        else layer
        for layer in layers
        if not isinstance(layer, Dropout)
    )
