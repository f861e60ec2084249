"""What the frameworks' classes and functions may ask of the evaluator: values as what they need, and layers."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Mapping
from typing import NoReturn

from packaging.version import Version

from converters.errors import DeepPoseError
from converters.networks.batch_normalization import BatchNormalizationRules, batch_normalization_rules
from converters.networks.layers import Join, Layer, Pair
from converters.networks.source.budget import MOST_LAYERS, Budget
from converters.networks.source.errors import ExhaustedError, Place, SourceError, not_known
from converters.networks.source.graph import Node, join_of, layer_on
from converters.networks.source.values import (
    Argument,
    Array,
    Batch,
    Instance,
    Mode,
    Probe,
    Side,
    Tensor,
    Traced,
    TracedFloat,
    Unknown,
    origins,
)


class FeaturesError(SourceError):
    """A fully connected layer is given another number of features than it was made for: another size of input may do.

    Attributes:
        node: What it is given.
        wanted: What it was made for.
    """

    def __init__(self, place: Place, node: Node, wanted: int, name: str) -> None:
        super().__init__(place, f"{name} is made for {wanted} features, and is given {math.prod(node.shape)}")
        self.node = node
        self.wanted = wanted


class Context(abc.ABC):
    """The state of one reading.

    Attributes:
        place: The line that is followed.
        budget: What it may cost.
        training_side: Whether the training side of the network is followed, or the test side.
        training: Whether it trains at this place; a source may say otherwise for some of its lines.
        making: Whether the network is made, so that what its parameters begin with may depend on anything.
        framework: `chainer` or `torch`: whose network it is.
        version: Chainer's.
        fixed: The line that makes the network one for a single size of input; None if there is none.
        names: Object -> its dotted name in the network.
        shapes: Name of a parameter -> its shape in the file; empty where the network starts anew.
        counted: Arguments that decided more than a shape: how often a loop runs, what a condition says.
        notices: What a user should know of how it was read.
        reached: Objects that the network's answer came through.
        halves: Means over one side of a map -> the map, the axis of its other side, and what `fixed` was before.
    """

    def __init__(self, budget: Budget, version: Version) -> None:
        self.place = Place("", 0)
        self.budget = budget
        self.training = self.training_side = False
        self.making = True
        self.framework = ""
        self.version = version
        self.fixed: Place | None = None
        self.names: dict[int, str] = {}
        self.shapes: Mapping[str, tuple[int, ...]] = {}
        self.counted: set[Argument] = set()
        self.notices: list[str] = []
        self.reached: set[str] = set()
        self.halves: dict[Node, tuple[Tensor, int, Place | None]] = {}
        self.norms = 0
        self._layers = 0

    @property
    def rules(self) -> BatchNormalizationRules:
        """The arithmetic of BatchNormalization in the program that the source was written for."""
        return batch_normalization_rules("torch" if self.framework == "torch" else f"chainer-{self.version}")

    @property
    def is_chainer_1(self) -> bool:
        """Whether functions have the arguments of Chainer 1."""
        return self.version < Version("2.0.0a1")

    @abc.abstractmethod
    def call(self, called: object, arguments: tuple[object, ...], keywords: dict[str, object]) -> object:
        """Returns what a call gives."""

    @abc.abstractmethod
    def attribute(self, value: object, name: str) -> object:
        """Returns an attribute of a value; an Unknown where nothing is known of it."""

    # --- what is not known --------------------------------------------------------------------------------------------

    def fail(self, problem: str, advice: str | None = None) -> NoReturn:
        """Refuses the line that is followed."""
        raise SourceError(self.place, problem, advice)

    def refuse(self, unknown: Unknown) -> NoReturn:
        """Refuses something that is not known where the network's answer depends on it."""
        raise not_known(unknown)

    def unknown(self, what: str, known: tuple[str, ...] = ()) -> Unknown:
        """Returns something that is not known, of the line that is followed."""
        return Unknown(what, self.place, known)

    def notice(self, sentence: str) -> None:
        """Tells the user something, once."""
        if sentence not in self.notices:
            self.notices.append(sentence)

    # --- values as what is needed -------------------------------------------------------------------------------------

    def plain(self, value: object) -> object:
        """Returns a value without where it comes from, which is noted where that is a side of the network's maps."""
        if isinstance(value, Traced | TracedFloat):
            for origin in origins(value):
                if isinstance(origin, Side):
                    self.fixed = self.fixed or self.place
                else:
                    self.counted.add(origin)
            return int(value) if isinstance(value, int) else float(value)
        return value

    def whole(self, value: object, what: str) -> int:
        """Returns a whole number."""
        value = self.plain(value)
        if isinstance(value, Unknown):
            self.refuse(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            self.fail(f"{what} is {self.spell(value)}, not a whole number")
        return value

    def count(self, value: object, what: str) -> int:
        """Returns a whole number that may know where it comes from."""
        return value if isinstance(value, int) and not isinstance(value, bool) else self.whole(value, what)

    def channels(self, value: object) -> int | None:
        """Returns a number of channels or features that may know where it comes from; None if the first input tells."""
        return None if value is None else self.count(value, "a number of channels")

    def per_group(self, value: object, groups: object) -> int | None:
        """Returns a number of channels in each of some groups; that they are no whole number is told in the call."""
        if value is None or groups == 1:
            return self.channels(value)
        return self.whole(value, "a number of channels") // max(self.whole(groups, "groups"), 1)

    def real(self, value: object, what: str) -> float:
        """Returns a number."""
        value = self.plain(value)
        if isinstance(value, Unknown):
            self.refuse(value)
        if not isinstance(value, int | float) or not math.isfinite(value):
            self.fail(f"{what} is {self.spell(value)}, not a number")
        return float(value)

    def flag(self, value: object, what: str) -> bool:
        """Returns whether something is meant."""
        value = self.plain(value)
        if isinstance(value, Unknown):
            self.refuse(value)
        if isinstance(value, Mode):
            return value.value
        if value is not None and not isinstance(value, bool | int):
            self.fail(f"{what} is {self.spell(value)}, not True or False")
        return bool(value)

    def sizes(self, value: object, what: str) -> Pair:
        """Returns a size of maps: a number, or (height, width), which is one number where both are alike."""
        if isinstance(value, Unknown):
            self.refuse(value)
        if isinstance(value, tuple | list):
            if len(value) == 1:
                value = (*value, *value)
            if len(value) != 2:
                self.fail(f"{what} is {self.spell(value)}, not a height and a width")
            height, width = self.whole(value[0], what), self.whole(value[1], what)
            return height if height == width else (height, width)
        return self.whole(value, what)

    def cut(self, value: slice) -> slice:
        """Returns a slice of plain numbers."""
        bounds = (value.start, value.stop, value.step)
        plain = slice(*(None if bound is None else self.whole(bound, "a bound") for bound in bounds))
        return self.fail("a slice by steps of 0 is not known") if plain.step == 0 else plain

    def tensor(self, value: object, what: str = "the value") -> Tensor:
        """Returns a value of the network."""
        if isinstance(value, Unknown):
            self.refuse(value)
        if not isinstance(value, Tensor):
            self.fail(f"{what} is {self.spell(value)}, not a value of the network")
        if value.memory.changed is not None:
            self.fail(
                f"a value that line {value.memory.changed.line} changes in place through a view of it is not known"
            )
        return value

    def spell(self, value: object) -> str:
        """Returns a value in words, for a message."""
        match value:
            case Tensor():
                return f"a value of shape {value.node.shape}"
            case Instance():
                return f"a {value.name}"
            case Array():
                return f"an array of {value.shape}" if value.owner is None else f"the parameter {value.owner[1]}"
            case Batch():
                return "the batch's size"
            case Probe(origin=Argument(path)):
                return f"{path[0]}, an argument without a default that nothing tells,"
            case None | bool() | int() | float() | str():
                return repr(value)[:60]
        return f"a {getattr(value, 'name', type(value).__name__)}"

    # --- what the network computes ------------------------------------------------------------------------------------

    def layer(self, value: object, layer: Layer) -> Tensor:
        """Returns what a layer makes of a value."""
        return Tensor(self._made(lambda: layer_on(self.tensor(value).node, layer, self.place)))

    def view(self, value: object, layer: Layer) -> Tensor:
        """Returns the same, which stays the value's own memory."""
        made = self.layer(value, layer)
        made.memory = self.tensor(value).memory
        return made

    def join(self, values: list[object], join: Join) -> Tensor:
        """Returns several values joined."""
        nodes = tuple(self.tensor(value).node for value in values)
        if len(nodes) == 1:
            return Tensor(nodes[0])
        return Tensor(self._made(lambda: join_of(nodes, join, self.place)))

    def _made(self, make: Callable[[], Node]) -> Node:
        self._layers += 1
        if self._layers > MOST_LAYERS:
            raise ExhaustedError(f"its network has more than {MOST_LAYERS} layers")
        try:
            return make()
        except SourceError:
            raise
        except DeepPoseError as error:
            self.fail(error.problem)

    def fix(self, tensor: Tensor) -> None:
        """Says that the line is right for one size of input alone, unless a value has the same shape for all."""
        if not tensor.node.static:
            self.fixed = self.fixed or self.place

    def name_of(self, instance: Instance) -> str:
        """Returns the dotted name of an object with parameters."""
        name = self.names.get(id(instance))
        if name is None:
            self.fail(
                f"this {instance.name} is not registered in the network: its parameters are in no file",
                "make it an attribute within init_scope, or a link",
            )
        self.reached.add(name)
        return name

    def parameter(self, instance: Instance, name: str) -> tuple[int, ...] | None:
        """Returns the shape in the file of a parameter of an object; None where there is no file."""
        return self.shapes.get(f"{self.name_of(instance)}.{name}".lstrip("."))

    def check_channels(self, value: object, inputs: object, name: str) -> None:
        """Refuses maps of another number of channels than a layer was made for."""
        channels = self.tensor(value).node.shape[0]
        if inputs is not None and (wanted := self.whole(inputs, "the number of inputs")) != channels:
            self.fail(f"{name} is made for {wanted} channels, and is given {channels}")

    def check_features(self, value: object, inputs: object, name: str) -> None:
        """Refuses a value of another number of features than a fully connected layer was made for."""
        node = self.tensor(value).node
        count = math.prod(node.shape)
        if inputs is not None and (wanted := self.whole(inputs, "the number of inputs")) != count:
            raise FeaturesError(self.place, node, wanted, name)

    def next_norm(self) -> str:
        """Returns a name for another layer of local response normalisation."""
        self.norms += 1
        return f"norm{self.norms}"
