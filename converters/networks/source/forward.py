"""What a class of a source computes: the forward pass of an object, followed once for each side of a training."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import field
from types import MappingProxyType
from typing import TypeGuard

from converters.errors import DeepPoseError
from converters.networks.flow import steps_of
from converters.networks.layers import Block, Dropout, Layer, Linear, Reshape, Shape, Transpose, walk
from converters.networks.source.budget import Budget
from converters.networks.source.context import FeaturesError
from converters.networks.source.errors import ExhaustedError, Place, SourceError
from converters.networks.source.graph import Node, input_of, layer_on
from converters.networks.source.making import Made, Said, Source, made_with, make, signature_of
from converters.networks.source.table import table_of
from converters.networks.source.values import (
    Argument,
    Class,
    Function,
    Given,
    Mode,
    Probe,
    Tensor,
    Traced,
    Unknown,
    origins,
)
from converters.values import dataclass

#: Sides of inputs that are tried where the one that is said does not fit a network's fully connected layers.
_SIDES = (220, 224, 227, 256, 128, 192, 112, 96, 64, *range(32, 513))
#: Functions that make one number of answers and targets.
_LOSS = re.compile(r"(?:error|loss|entropy|accuracy)$", re.IGNORECASE)


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
    if evaluator.defaulted:
        said = ", ".join(evaluator.defaulted.values())
        notices.append(f"what {made.class_name} takes from a command line is taken as its defaults: {said}")
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
