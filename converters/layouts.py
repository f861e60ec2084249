"""What Chainer puts into a file: a model, an optimizer's state, or a trainer's snapshot of both.

model      predictor/conv1/W                         or bare: conv1/W (before 2016-08)
state      t, epoch, predictor/conv1/W/m             Chainer >= 3 also predictor/conv1/W/t
snapshot   updater/model:main/predictor/conv1/W, updater/optimizer:main/t, updater/iteration, updater/iterator:main/…,
           extensions/…, and from Chainer 3 on the triggers
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import TypeAlias

import numpy as np

from converters.checkpoint import LARGEST_NUMBER, Array, Checkpoint, Optimizer, is_parameter, trained_in
from converters.errors import CheckpointError, DeepPoseError
from converters.folding import fold
from converters.keys import chainer_names, links
from converters.networks import Shape
from converters.stored import Stored
from converters.values import dataclass

#: What `write(..., layout=...)` takes: the model with HEAD's names, its optimizer's state, a trainer's snapshot.
LAYOUTS = ("head", "state", "snapshot")

NO_STATE = "read the weights alone with --no-state"
#: How a notice ends that an optimizer's state is not read.
WITHOUT_STATE = "the weights are read without it"
_MODEL, _OPTIMIZER = "updater/model:main/", "updater/optimizer:main/"
#: Slots of one parameter -> Chainer's optimizer. `v` alone is a velocity, NesterovAG's too, beside `m` it is the second
#: moment; AMSGrad's are AdaBound's with AMSBound too.
ALGORITHMS = {
    frozenset({"m", "v"}): "adam",
    frozenset({"v"}): "momentumsgd",
    frozenset({"h"}): "adagrad",
    frozenset({"ms"}): "rmsprop",
    frozenset({"m", "v", "vhat"}): "amsgrad",
    frozenset({"msg", "msdx"}): "adadelta",
    frozenset({"n", "g", "delta"}): "rmspropgraves",
    frozenset({"mem", "g", "g2"}): "smorms3",
    frozenset[str](): "sgd",
}
#: Other optimizers of Chainer's whose arrays are the same.
_ALIKE = {"momentumsgd": "NesterovAG's and CorrectedMomentumSGD's"}
#: Arrays of an optimizer by slot and canonical name, of which shapes and dtypes are looked at.
Slots: TypeAlias = Mapping[str, Mapping[str, Stored]]


@dataclass
class Sections:
    """The keys of a Chainer file by what they belong to; values are the keys without the section's prefix.

    Attributes:
        layout: `model`, `state` or `snapshot`.
        model: Keys of the network.
        optimizer: Keys of the optimizer.
        trainer: Keys of the rest of a trainer.
    """

    layout: str
    model: dict[str, str] = field(default_factory=dict)
    optimizer: dict[str, str] = field(default_factory=dict)
    trainer: dict[str, str] = field(default_factory=dict)


@dataclass
class Training:
    """What a file holds of a training beside the weights, still in the file.

    Attributes:
        optimizer: The optimizer, without its slots.
        slots: Those: `{slot: {canonical name: array}}`.
        trainer: The rest of the trainer, by Chainer's key.
    """

    optimizer: Optimizer | None = None
    slots: dict[str, dict[str, Stored]] = field(default_factory=dict)
    trainer: dict[str, Stored | Array] = field(default_factory=dict)


def split(keys: Iterable[str]) -> Sections:
    """Tells a file's layout by its keys, and sorts them."""
    keys = list(keys)
    slash = "/" if keys and all(key.startswith("/") for key in keys) else ""
    if any(key.startswith(slash + _MODEL) for key in keys):
        sections = Sections("snapshot")
        for key in keys:
            if key.startswith(slash + _MODEL):
                sections.model[key] = key
            elif key.startswith(slash + _OPTIMIZER):
                sections.optimizer[key] = key.removeprefix(slash + _OPTIMIZER)
            else:
                sections.trainer[key] = key.removeprefix(slash)
        return sections
    if is_state(key.removeprefix(slash) for key in keys):
        return Sections("state", optimizer={key: key.removeprefix(slash) for key in keys})
    return Sections("model", model={key: key for key in keys})


def is_state(keys: Iterable[str]) -> bool:
    """Tells whether a file is an optimizer's state: it counts updates, and all else is somebody's slot."""
    keys = set(keys)
    slots = {slot for slots in ALGORITHMS for slot in slots} | {"t"}
    return "t" in keys and all(key.rpartition("/")[2] in slots for key in keys - {"t", "epoch"})


def count_of(arrays: Mapping[str, Stored | Array], key: str, path: str) -> int:
    """Returns one of Chainer's counters.

    Raises:
        CheckpointError: It is not there, or no whole number.
    """
    array = arrays.get(key)
    if array is None or array.shape or array.dtype.kind not in "iu":
        what = "is missing" if array is None else f"is a {array.dtype} of shape {array.shape}, not a whole number"
        raise CheckpointError(path, f"the counter {key!r} {what}", NO_STATE)
    count = int(array.read() if isinstance(array, Stored) else array)
    if not 0 <= count <= LARGEST_NUMBER:
        raise CheckpointError(path, f"the counter {key!r} is {count}, which cannot be", NO_STATE)
    return count


def check_optimizer(optimizer: Optimizer, slots: Slots, shapes: Mapping[str, Shape], path: str) -> None:
    """Makes sure that an optimizer is whole: each slot has an array of each parameter's shape.

    Args:
        optimizer: The optimizer, whose own slots are not looked at.
        slots: Its slots. A parameter that none of them has was frozen.
        shapes: The network's shapes by canonical name.
        path: The file, for messages.

    Raises:
        CheckpointError: It is not, or is none that Chainer has.
    """
    if optimizer.algorithm != ALGORITHMS.get(frozenset(slots)):
        known = ", ".join(f"{name} ({', '.join(sorted(slots))})" for slots, name in ALGORITHMS.items() if slots)
        problem = f"no known optimizer has the state {', '.join(sorted(map(str, slots)))}: {known}"
        raise CheckpointError(path, problem, NO_STATE)
    if not (type(optimizer.step) is int and type(optimizer.epoch) is int):
        problem = f"the optimizer's counters are {optimizer.step!r} and {optimizer.epoch!r}, not whole numbers"
        raise CheckpointError(path, problem, NO_STATE)
    if not (0 <= optimizer.step <= LARGEST_NUMBER and 0 <= optimizer.epoch <= LARGEST_NUMBER):
        problem = f"the optimizer's counters are {optimizer.step} and {optimizer.epoch}, which cannot be"
        raise CheckpointError(path, problem, NO_STATE)
    parameters = {name: shape for name, shape in shapes.items() if is_parameter(name)}
    updated = {name for tensors in slots.values() for name in tensors} or parameters.keys()
    for slot, tensors in slots.items():
        differing = sorted(map(str, updated ^ tensors.keys() | tensors.keys() - parameters.keys()))
        if differing:
            what = "lacks" if differing[0] in parameters else "has a strange"
            raise CheckpointError(path, f"the optimizer's {slot!r} {what} {fold(differing)}", NO_STATE)
        for name, array in tensors.items():
            if array.shape != parameters[name] or array.dtype.kind != "f" or array.dtype.itemsize > 8:
                problem = f"the optimizer's {slot!r} of {name} is a {array.dtype} of shape {array.shape}"
                raise CheckpointError(path, f"{problem} instead of float32 {parameters[name]}", NO_STATE)


def parse_optimizer(
    arrays: Mapping[str, Stored], names: Mapping[str, str], shapes: Mapping[str, Shape], path: str
) -> tuple[Optimizer | None, dict[str, dict[str, Stored]]]:
    """Makes an Optimizer of a state's arrays.

    Args:
        arrays: The state's arrays: `t`, `epoch`, `predictor/conv1/W/m`, …
        names: The parameter's key, wrapper included, -> canonical name.
        shapes: The network's shapes by canonical name.
        path: The file, for messages.

    Returns:
        The optimizer without its slots, and those. None if it was saved before its first update, when Chainer >= 2
        writes only counters.

    Raises:
        CheckpointError: The state belongs to another network, or to an optimizer that Chainer does not have.
    """
    step = count_of(arrays, "t", path)
    epoch = count_of(arrays, "epoch", path) if "epoch" in arrays else 0
    slots: dict[str, dict[str, Stored]] = {}
    steps: dict[str, int] = {}
    strangers = []
    for key, array in arrays.items():
        parameter, _, slot = key.rpartition("/")
        if key in ("t", "epoch"):
            continue
        if parameter not in names:
            strangers.append(key)
        elif slot == "t":
            steps[parameter] = count_of(arrays, key, path)
        else:
            slots.setdefault(slot, {})[names[parameter]] = array
    if strangers:
        problem = f"the optimizer's {fold(strangers)} belong to no parameter of the network"
        raise CheckpointError(path, problem, NO_STATE)
    if not slots and not step:
        return None, {}
    updated = {name for tensors in slots.values() for name in tensors}
    for parameter, own in steps.items():
        if own != step and (own or names[parameter] in updated):
            raise CheckpointError(path, f"{parameter} had {own} updates where the optimizer counts {step}", NO_STATE)
    optimizer = Optimizer(ALGORITHMS.get(frozenset(slots), ""), step, {}, epoch, step_per_parameter=bool(steps))
    check_optimizer(optimizer, slots, shapes, path)
    return optimizer, slots


def frozen(slots: Mapping[str, Iterable[str]], parameters: Iterable[str]) -> list[str]:
    """Returns the parameters that an optimizer did not update: it has slots, and none of theirs."""
    updated = {name for tensors in slots.values() for name in tensors}
    return [name for name in filter(is_parameter, parameters) if slots and name not in updated]


def said_of(algorithm: str, slots: Mapping[str, Iterable[str]], parameters: Iterable[str], known: bool) -> list[str]:
    """Returns what a user should know of an optimizer's state.

    Args:
        algorithm: What it is taken as.
        slots: The names of what each of its slots has.
        parameters: The network's.
        known: Whether something else than its arrays tells which optimizer it is of.
    """
    notices = []
    if algorithm in _ALIKE and not known:
        names = " and ".join(sorted(slots))
        notices.append(
            f"its optimizer's state ({names}) is that of {algorithm}, and nothing tells it from {_ALIKE[algorithm]}: "
            f"taken as {algorithm}"
        )
    if unmoved := frozen(slots, parameters):
        notices.append(f"its optimizer has no state of {fold(unmoved)}: these layers were not updated (frozen)")
    return notices


def arrays_of(checkpoint: Checkpoint, layout: str | None = None) -> dict[str, Array]:
    """Returns the arrays of a Chainer file by key.

    Args:
        checkpoint: What is written.
        layout: One of `LAYOUTS`; None for the model with the wrapper and the generation of names that were read
            (`predictor/` and HEAD's names where those were not Chainer's).

    Raises:
        CheckpointError: The checkpoint does not hold what the layout needs.
    """
    if "chainer" not in checkpoint.architecture.engines:
        problem = f"{checkpoint.architecture.name} exists in PyTorch alone"
        raise CheckpointError(checkpoint.source.path, problem, "choose pt or safetensors")
    wrapper, names = ("predictor/", "head") if layout == "head" else _as_read(checkpoint)
    keys = {name: wrapper + key for name, key in chainer_names(checkpoint.architecture, names).items()}
    model = {keys[name]: array for name, array in checkpoint.weights.items()}
    if layout in (None, "head"):
        return model
    path = checkpoint.source.path
    if layout == "state":
        return _optimizer_arrays(checkpoint, keys)
    if layout != "snapshot":
        raise DeepPoseError(f"there is no layout {layout!r}; there are {', '.join(LAYOUTS)}")
    if not checkpoint.trainer:
        problem = "a snapshot also holds the trainer's iterators and triggers, which this checkpoint does not have"
        raise CheckpointError(path, problem, "write the model, and its optimizer with --layout state")
    return {
        **checkpoint.trainer,
        **{_OPTIMIZER + key: array for key, array in _optimizer_arrays(checkpoint, keys).items()},
        **{_MODEL + key: array for key, array in model.items()},
    }


def _as_read(checkpoint: Checkpoint) -> tuple[str, str]:
    """Returns the wrapper and generation of names of the Chainer file that the checkpoint comes from."""
    origin = checkpoint.chainer_source
    if origin is None:
        return "predictor/", "head"
    return links(origin.wrappers), origin.names


def _optimizer_arrays(checkpoint: Checkpoint, keys: Mapping[str, str]) -> dict[str, Array]:
    """Returns an optimizer's state by key."""
    optimizer, path = checkpoint.optimizer, checkpoint.source.path
    if optimizer is None:
        raise CheckpointError(path, "it holds no optimizer state to write", "the `.state` beside a `.model` has it")
    step, never = np.array(optimizer.step, np.int64), np.array(0, np.int64)
    arrays: dict[str, Array] = {"t": step, "epoch": np.array(optimizer.epoch, np.int64)}
    trained = trained_in(checkpoint.architecture)
    not_updated = set(frozen(optimizer.slots, trained))
    for name in trained:
        if optimizer.step_per_parameter:
            arrays[f"{keys[name]}/t"] = never if name in not_updated else step
        for slot, tensors in optimizer.slots.items():
            if name in tensors:
                arrays[f"{keys[name]}/{slot}"] = tensors[name]
    return arrays
