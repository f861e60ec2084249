"""Chainer 1 to 7: links, functions and Variables."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import ClassVar, TypeGuard

import numpy as np
from packaging.version import Version

from converters.networks import formulas
from converters.networks import layers as kinds
from converters.networks.layers import Layer, Pair
from converters.networks.source import arrays, plain, tensors
from converters.networks.source.context import Context
from converters.networks.source.pooling import pooled
from converters.networks.source.registry import KNOWN, ByVersion, function, native
from converters.networks.source.values import (
    Array,
    Bound,
    Instance,
    Mode,
    Namespace,
    Native,
    ParameterShape,
    Probe,
    Switch,
    Trains,
    Unknown,
)

# --- containers -------------------------------------------------------------------------------------------------------


@native("chainer.Link")
class Link(Native):
    """What has parameters; also the base of everything that a source calls a link itself."""

    def __init__(self, c: Context, /, **parameters: object) -> None:
        super().__init__(c)
        self.registers = False
        for name, shape in parameters.items():
            self.do_add_param(c, name, shape)

    def do_add_param(self, c: Context, name: object, shape: object = None, **ignored: object) -> object:
        """Registers a parameter."""
        sides = shape if isinstance(shape, tuple | list) else (shape,)
        if sides and all(isinstance(side, int) for side in sides):
            self.keep(c, str(name), arrays.made(c, sides, None), trained=True)
        else:
            self.parameters[str(name)] = tuple(side if isinstance(side, int) else None for side in sides)
        return None

    def attribute(self, c: Context, name: str) -> object:
        """Returns the module that makes its arrays."""
        return Namespace("numpy") if name == "xp" else super().attribute(c, name)

    def do_init_scope(self, c: Context) -> object:
        """Returns the context in which attributes are registered; within another one it ends nothing."""
        before = self.registers
        return Switch(lambda: setattr(self, "registers", True), lambda: setattr(self, "registers", before))

    def do_to_gpu(self, c: Context, *device: object) -> object:
        """Changes nothing of the network."""
        return self.instance

    do_to_cpu = do_to_gpu
    do_to_device = do_to_gpu

    def do_children(self, c: Context) -> object:
        """Returns the links in it."""
        return list(self.instance.children.values())

    def do_add_persistent(self, c: Context, name: object, value: object = None) -> object:
        """Registers an array that is saved and not trained."""
        if isinstance(value, Array):
            self.keep(c, str(name), value, trained=False)
            return None
        self.instance.attributes[str(name)] = c.unknown(f"the array {c.spell(name)} that is saved beside the weights")
        return None

    do_register_persistent = do_add_persistent

    #: What Chainer calls the parameters that are trained.
    trained: ClassVar[Mapping[str, str]] = MappingProxyType({"weight": "W", "bias": "b"})

    def do_add_hook(self, c: Context, hook: object, name: object = None) -> object:
        """Refuses what changes a link's weights or what it gives at every call."""
        c.fail(f"a hook of {self.spelled} is not known")

    def do_params(self, c: Context, *which: object) -> object:
        """Returns its parameters, whose numbers are a file's."""
        return [plain.iterate(c, pair)[1] for pair in plain.iterate(c, self.do_namedparams(c))]

    def do_namedparams(self, c: Context, *which: object) -> object:
        """Returns its parameters with their names."""
        pairs: list[object] = [
            (f"/{self.trained[part]}", c.unknown("a parameter")) for part in self.parameters if part in self.trained
        ]
        for name, child in self.instance.children.items():
            if isinstance(child.native, Link):
                inner = (plain.iterate(c, pair) for pair in plain.iterate(c, child.native.do_namedparams(c)))
                pairs += [(f"/{name}{path}", parameter) for path, parameter in inner]
        return pairs

    def do_links(self, c: Context, skipself: object = False) -> object:
        """Returns it and all links within."""
        links: list[object] = [] if c.flag(skipself, "skipself") else [self.instance]
        for child in plain.iterate(c, self.do_children(c)):
            assert isinstance(child, Instance)
            links += [child] if not isinstance(child.native, Link) else plain.iterate(c, child.native.do_links(c))
        return links

    def do_copy(self, c: Context, mode: object = "share") -> object:
        """Returns itself where parameters are shared, else another link of the same kind."""
        if mode not in ("share", "copy", "init"):
            c.fail(f"a copy in the mode {c.spell(mode)} is not known")
        return self.instance if mode == "share" else _copied(c, self.instance, {})

    def do_repeat(self, c: Context, n_repeat: object, mode: object = "init") -> object:
        """Returns a Sequential of copies."""
        copies = [c.call(c.attribute(self.instance, "copy"), (mode,), {}) for _ in range(c.whole(n_repeat, "n_repeat"))]
        return c.call(Sequential, tuple(copies), {})

    def set(self, c: Context, name: str, value: object) -> None:
        """Registers a link within init_scope; anything else is an attribute."""
        if c.names and name in ("W", "b", "gamma", "beta", "avg_mean", "avg_var"):
            c.fail(f"setting {name} of a link in a call is not known")
        if self.registers and isinstance(value, Instance) and value.native is not None:
            self.instance.attributes.pop(name, None)
            self.instance.children[name] = value
        elif self.registers and isinstance(value, Array) and value.trained and value.owner is None:
            self.keep(c, name, value, trained=True)
        else:
            self.instance.attributes[name] = value


@function("chainer.Parameter", "chainer.variable.Parameter")
def _parameter(c: Context, initializer: object = None, shape: object = None, name: object = None) -> object:
    if shape is None and isinstance(initializer, Array):
        shape = initializer.shape
    if shape is None or isinstance(shape, Unknown):
        return c.unknown("a parameter whose shape is told by the first value")
    number = initializer if isinstance(initializer, int | float) else None
    begun = arrays.made(c, shape, None if number is None else lambda lengths: np.full(lengths, float(number)))
    numbers = initializer.numbers if isinstance(initializer, Array) else begun.numbers
    return Array(begun.shape, numbers, None, begun.shape, trained=True)


@native("chainer.Chain")
class Chain(Link):
    """A link of named links."""

    def __init__(self, c: Context, /, **links: object) -> None:
        super().__init__(c)
        for name, link in links.items():
            self.do_add_link(c, name, link)

    def do_add_link(self, c: Context, name: object, link: object) -> object:
        """Registers a link."""
        if isinstance(link, Unknown):
            c.refuse(link)
        if not isinstance(link, Instance) or link.native is None or not isinstance(name, str):
            c.fail(f"{c.spell(link)} as a link named {c.spell(name)} is not known")
        self.instance.children[name] = link
        return None

    def attribute(self, c: Context, name: str) -> object:
        """Returns the names of the links in it."""
        if name != "_children":
            return super().attribute(c, name)
        return list(self.instance.children) if c.is_chainer_1 else set(self.instance.children)

    def do_children(self, c: Context) -> object:
        """Returns the links in it: as they were added in Chainer 1, by name from Chainer 5 on."""
        links = self.instance.children
        if len(links) > 1 and not c.is_chainer_1 and c.version < Version("5.0.0b1"):
            c.fail(f"the order of children() was random in Chainer {c.version}", "name the links instead")
        return [links[name] for name in (links if c.is_chainer_1 else sorted(links))]

    def item(self, c: Context, key: object) -> object:
        """Returns a link by its name."""
        if isinstance(key, str) and key in self.instance.children:
            return self.instance.children[key]
        c.fail(f"the chain has no link {c.spell(key)}")


@native("chainer.FunctionSet")
class FunctionSet(Chain):
    """What a Chain was in 2015: every function with parameters that is set on it is registered."""

    def set(self, c: Context, name: str, value: object) -> None:
        """Registers a function with parameters."""
        if isinstance(value, Instance) and value.native is not None:
            self.instance.children[name] = value
        else:
            self.instance.attributes[name] = value


@native("chainer.ChainList")
class ChainList(Link):
    """A link of numbered links."""

    def __init__(self, c: Context, *links: object) -> None:
        super().__init__(c)
        for link in links:
            self.do_add_link(c, link)

    def do_add_link(self, c: Context, link: object) -> object:
        """Registers another link."""
        if isinstance(link, Unknown):
            c.refuse(link)
        if not isinstance(link, Instance) or link.native is None:
            c.fail(f"{c.spell(link)} as a link is not known")
        self.instance.children[str(len(self.instance.children))] = link
        return None

    do_append = do_add_link

    def do_extend(self, c: Context, links: object) -> object:
        """Registers several links."""
        for link in plain.iterate(c, links):
            self.do_add_link(c, link)
        return None

    def do_insert(self, c: Context, index: object, link: object) -> object:
        """Puts in a link."""
        links = [*self.instance.children.values()]
        place = c.whole(index, "the number of a link")
        if not isinstance(link, Instance) or link.native is None or not 0 <= place <= len(links):
            c.fail(f"{c.spell(link)} as link {place} is not known")
        self._renumber([*links[:place], link, *links[place:]])
        return None

    def _renumber(self, links: list[Instance]) -> None:
        self.instance.children = {str(number): link for number, link in enumerate(links)}

    def items(self, c: Context) -> list[object] | None:
        """Returns the links."""
        return list(self.instance.children.values())

    def item(self, c: Context, key: object) -> object:
        """Returns a link by its number."""
        links = list(self.instance.children.values())
        return links[c.cut(key)] if isinstance(key, slice) else links[self._place(c, key)]

    def set_item(self, c: Context, key: object, value: object) -> None:
        """Replaces a link."""
        links = list(self.instance.children.values())
        if not isinstance(value, Instance) or value.native is None:
            c.fail(f"{c.spell(value)} as a link is not known")
        links[self._place(c, key)] = value
        self._renumber(links)

    def delete_item(self, c: Context, key: object) -> None:
        """Takes out a link by its number."""
        links = list(self.instance.children.values())
        del links[self._place(c, key)]
        self._renumber(links)

    def _place(self, c: Context, key: object) -> int:
        number = c.whole(key, "the number of a link")
        if not -len(self.instance.children) <= number < len(self.instance.children):
            c.fail(f"the list has no link {number}")
        return number


@native("chainer.Sequential")
class Sequential(ChainList):
    """Links and functions one after the other; links alone are numbered."""

    def __init__(self, c: Context, *layers: object) -> None:
        self.layers: list[object] = []
        self.links: list[Instance] = []
        super().__init__(c, *layers)

    def do_insert(self, c: Context, i: object, layer: object) -> object:
        """Puts in a link or function."""
        if isinstance(layer, Unknown):
            c.refuse(layer)
        place, count = c.whole(i, "the place"), len(self.layers)
        if not -count <= place <= count:
            c.fail(f"the list of {count} has no place {place}")
        place += count if place < 0 else 0
        self.layers.insert(place, layer)
        if _is_link(layer):
            # Chainer numbers a link as the one behind the first link, wherever it stands: in a list that is made link
            # by link they are 0, then from the last number down to 1.
            first = next((j for j, one in enumerate(self.layers[:place]) if _is_link(one)), 0)
            self.links.insert(first + 1 if place else 0, layer)
            self._renumber(self.links)
        return None

    def do_add_link(self, c: Context, link: object) -> object:
        """Adds a link or function."""
        return self.do_insert(c, len(self.layers), link)

    do_append = do_add_link

    def do_pop(self, c: Context, i: object = -1) -> object:
        """Takes out a link or function."""
        layer = self.item(c, i)
        self.delete_item(c, i)
        return layer

    def do_remove(self, c: Context, layer: object) -> object:
        """Takes out a link or function that is given."""
        self.delete_item(c, self.do_index(c, layer))
        return None

    def do_index(self, c: Context, layer: object) -> object:
        """Returns where a link or function stands."""
        place = next((i for i, one in enumerate(self.layers) if one is layer), None)
        return c.fail(f"{c.spell(layer)} is not in it") if place is None else place

    def delete_item(self, c: Context, key: object) -> None:
        """Takes out a link or function by its number."""
        layer = self.item(c, key)
        del self.layers[c.whole(key, "the number")]
        if _is_link(layer):
            del self.links[next(i for i, link in enumerate(self.links) if link is layer)]
            self._renumber(self.links)

    def set_item(self, c: Context, key: object, value: object) -> None:
        """Replaces a link or function."""
        if self.item(c, key) is not value:
            self.delete_item(c, key)
            self.do_insert(c, key, value)

    def add(self, c: Context, other: object) -> object:
        """Returns a Sequential of both."""
        if not isinstance(other, Instance) or not isinstance(other.native, Sequential):
            c.fail(f"a Sequential and {c.spell(other)} under Add are not known")
        return c.call(Sequential, (*self.layers, *other.native.layers), {})

    def do_copy(self, c: Context, mode: object = "share") -> object:
        """Returns a Sequential of copies."""
        copies = [c.call(c.attribute(one, "copy"), (mode,), {}) if _is_link(one) else one for one in self.layers]
        return c.call(Sequential, tuple(copies), {})

    def do_flatten(self, c: Context) -> object:
        """Returns a Sequential of what is in it and in those in it."""
        layers: list[object] = []
        for layer in self.layers:
            if isinstance(layer, Instance) and isinstance(layer.native, Sequential):
                layers += plain.iterate(c, layer.native.do_flatten(c))
            else:
                layers.append(layer)
        return c.call(Sequential, tuple(layers), {})

    def items(self, c: Context) -> list[object] | None:
        """Returns the links and functions."""
        return list(self.layers)

    def item(self, c: Context, key: object) -> object:
        """Returns a link or function by its number."""
        if isinstance(key, int) and -len(self.layers) <= key < len(self.layers):
            return self.layers[key]
        c.fail(f"this part of a Sequential is not known: {c.spell(key)}")

    def forward(self, c: Context, *values: object) -> object:
        """Calls one after the other."""
        for layer in self.layers:
            result = c.call(layer, values, {})
            values = result if isinstance(result, tuple) else (result,)
        return values if len(values) > 1 else values[0]


def _is_link(value: object) -> TypeGuard[Instance]:
    return isinstance(value, Instance) and value.native is not None


def _copied(c: Context, value: object, known: dict[int, object]) -> object:
    """Returns what `copy.deepcopy` makes of a link or of what it keeps."""
    c.budget.spend()
    if id(value) in known:
        return known[id(value)]
    match value:
        case Instance():
            made = Instance(value.kind)
            known[id(value)] = made
            made.attributes = {name: _copied(c, one, known) for name, one in value.attributes.items()}
            for name, child in value.children.items():
                inner = _copied(c, child, known)
                assert isinstance(inner, Instance)
                made.children[name] = inner
            if value.native is not None:
                made.native = copy.copy(value.native)
                kept = {name: one for name, one in vars(value.native).items() if name != "instance"}
                vars(made.native).update({name: _copied(c, one, known) for name, one in kept.items()})
                made.native.instance = made
            return made
        case list():
            return [_copied(c, one, known) for one in value]
        case tuple():
            return tuple(_copied(c, one, known) for one in value)
        case dict():
            return {key: _copied(c, one, known) for key, one in value.items()}
        case Bound():
            return Bound(value.function, _copied(c, value.first, known))
    return value


@function("copy.deepcopy")
def _deepcopy(c: Context, value: object) -> object:
    return _copied(c, value, {})


@native("chainercv.links.PickableSequentialChain")
class PickableSequentialChain(Chain):
    """ChainerCV's links one after the other, in the order in which they were set."""

    def __init__(self, c: Context) -> None:
        super().__init__(c)
        self.order: list[str] = []
        self.picked: object = None

    def set(self, c: Context, name: str, value: object) -> None:
        """Adds a link or function within init_scope."""
        if name == "pick":
            self.picked = value
            return
        if self.registers and (name not in self.order):
            self.order.append(name)
        super().set(c, name, value)

    def do_remove_unused(self, c: Context) -> object:
        """Removes the links behind the one that is picked."""
        for name in self.order[self.order.index(self._last(c)) + 1 :]:
            self.instance.children.pop(name, None)
            self.instance.attributes.pop(name, None)
        return None

    def _last(self, c: Context) -> str:
        if self.picked is None:
            return self.order[-1]
        if not isinstance(self.picked, str) or self.picked not in self.order:
            c.fail("several or unknown picked layers are not known")
        return self.picked

    def forward(self, c: Context, value: object) -> object:
        """Calls one after the other, up to the one that is picked."""
        last = self._last(c)
        for name in self.order[: self.order.index(last) + 1]:
            value = c.call(c.attribute(self.instance, name), (value,), {})
        return value


# --- links ------------------------------------------------------------------------------------------------------------


class _Convolution(Link):
    """What every kind of convolution shares."""

    settings = frozenset(("stride", "pad", "dilate", "groups"))

    def _make(
        self, c: Context, inputs: object, outputs: object, ksize: object, stride: object, pad: object, nobias: object,
        dilate: object = 1, groups: object = 1, wscale: object = 1, outsize: object = None,
    ) -> None:  # fmt: skip
        Link.__init__(self, c)
        if ksize is None:  # from Chainer 2 on: (outputs, ksize), and the first input tells how many it has
            inputs, outputs, ksize = None, inputs, outputs
        self.inputs, self.outputs, self.kernel, self.stride, self.pad = inputs, outputs, ksize, stride, pad
        self.bias, self.outsize = not c.flag(nobias, "nobias"), outsize
        self.dilate, self.groups, self.scale = dilate, groups, c.real(wscale, "wscale") ** 0.5
        self.declare(c)

    def declare(self, c: Context) -> None:
        """Declares its parameters."""
        raise NotImplementedError

    def declared(self, c: Context, first: int | None, second: int | None, biases: int | None) -> None:
        """Declares a weight of so many numbers along its first axes, and a bias."""
        height, width = self.kernel if isinstance(self.kernel, tuple) else (self.kernel, self.kernel)
        self.parameters["weight"] = (first, second, c.count(height, "ksize"), c.count(width, "ksize"))
        if self.bias:
            self.parameters["bias"] = (biases,)

    def window(self, c: Context) -> tuple[Pair, Pair, Pair]:
        """Returns the size, the step and the margin of its kernel."""
        return c.sizes(self.kernel, "ksize"), c.sizes(self.stride, "stride"), c.sizes(self.pad, "pad")

    def attribute(self, c: Context, name: str) -> object:
        """Returns what a link says of itself."""
        known = {"out_channels": self.outputs, "ksize": self.kernel, "dilate": self.dilate}
        known |= {"stride": self.stride, "pad": self.pad, "groups": self.groups}
        return known.get(name, c.unknown(f"{self.spelled}.{name}"))


class Convolution2D(_Convolution):
    """`L.Convolution2D`."""

    def declare(self, c: Context) -> None:
        """Declares its parameters."""
        outputs = c.count(self.outputs, "the number of outputs")
        self.declared(c, outputs, c.per_group(self.inputs, self.groups), outputs)

    def forward(self, c: Context, x: object) -> object:
        """Convolves."""
        name = c.name_of(self.instance)
        c.check_channels(x, self.inputs, name)
        outputs, groups = c.whole(self.outputs, "the number of outputs"), c.whole(self.groups, "groups")
        dilation = c.sizes(self.dilate, "dilate")
        layer = kinds.Convolution(name, outputs, *self.window(c), self.bias, self.scale, groups, dilation)
        return c.layer(x, layer)


class _Convolution1(Convolution2D):
    def __init__(
        self, c: Context, in_channels: object, out_channels: object, ksize: object, stride: object = 1,
        pad: object = 0, wscale: object = 1, bias: object = 0, nobias: object = False, use_cudnn: object = True,
        initialW: object = None, initial_bias: object = None, deterministic: object = False,  # noqa: N803
    ) -> None:  # fmt: skip
        self._make(c, in_channels, out_channels, ksize, stride, pad, nobias, wscale=wscale)


class _Convolution2(Convolution2D):
    def __init__(
        self, c: Context, in_channels: object, out_channels: object = None, ksize: object = None, stride: object = 1,
        pad: object = 0, nobias: object = False, initialW: object = None, initial_bias: object = None,  # noqa: N803
        dilate: object = 1, groups: object = 1,
    ) -> None:  # fmt: skip
        self._make(c, in_channels, out_channels, ksize, stride, pad, nobias, dilate, groups)


class _Dilated1(Convolution2D):
    def __init__(
        self, c: Context, in_channels: object, out_channels: object, ksize: object, stride: object = 1,
        pad: object = 0, dilate: object = 1, wscale: object = 1, bias: object = 0, nobias: object = False,
        use_cudnn: object = True, initialW: object = None, initial_bias: object = None,  # noqa: N803
        deterministic: object = False,
    ) -> None:  # fmt: skip
        self._make(c, in_channels, out_channels, ksize, stride, pad, nobias, dilate, wscale=wscale)


class _Dilated2(Convolution2D):
    def __init__(
        self, c: Context, in_channels: object, out_channels: object = None, ksize: object = None, stride: object = 1,
        pad: object = 0, dilate: object = 1, nobias: object = False, initialW: object = None,  # noqa: N803
        initial_bias: object = None,
    ) -> None:  # fmt: skip
        self._make(c, in_channels, out_channels, ksize, stride, pad, nobias, dilate)


class Deconvolution2D(_Convolution):
    """`L.Deconvolution2D`."""

    def declare(self, c: Context) -> None:
        """Declares its parameters."""
        outputs = c.count(self.outputs, "the number of outputs")
        self.declared(c, c.channels(self.inputs), c.per_group(outputs, self.groups), outputs)

    def forward(self, c: Context, x: object) -> object:
        """Convolves, transposed."""
        name = c.name_of(self.instance)
        c.check_channels(x, self.inputs, name)
        outputs, groups = c.whole(self.outputs, "the number of outputs"), c.whole(self.groups, "groups")
        dilation = c.sizes(self.dilate, "dilate")
        result = c.layer(x, kinds.TransposedConvolution(name, outputs, *self.window(c), self.bias, groups, dilation))
        if self.outsize is not None and kinds.pair(c.sizes(self.outsize, "outsize")) != result.node.shape[1:]:
            c.fail("an outsize other than the usual one is not known")
        return result


class _Deconvolution1(Deconvolution2D):
    def __init__(
        self, c: Context, in_channels: object, out_channels: object, ksize: object, stride: object = 1,
        pad: object = 0, wscale: object = 1, bias: object = 0, nobias: object = False, outsize: object = None,
        use_cudnn: object = True, initialW: object = None, initial_bias: object = None,  # noqa: N803
        deterministic: object = False,
    ) -> None:  # fmt: skip
        self._make(c, in_channels, out_channels, ksize, stride, pad, nobias, wscale=wscale, outsize=outsize)


class _Deconvolution2(Deconvolution2D):
    def __init__(
        self, c: Context, in_channels: object, out_channels: object = None, ksize: object = None, stride: object = 1,
        pad: object = 0, nobias: object = False, outsize: object = None, initialW: object = None,  # noqa: N803
        initial_bias: object = None, dilate: object = 1, groups: object = 1,
    ) -> None:  # fmt: skip
        self._make(c, in_channels, out_channels, ksize, stride, pad, nobias, dilate, groups, outsize=outsize)


@native("chainer.links.DepthwiseConvolution2D")
class DepthwiseConvolution2D(_Convolution):
    """`L.DepthwiseConvolution2D`."""

    def __init__(
        self, c: Context, in_channels: object, channel_multiplier: object, ksize: object, stride: object = 1,
        pad: object = 0, nobias: object = False, initialW: object = None, initial_bias: object = None,  # noqa: N803
    ) -> None:  # fmt: skip
        self._make(c, in_channels, channel_multiplier, ksize, stride, pad, nobias)

    def declare(self, c: Context) -> None:
        """Declares its parameters."""
        times, inputs = c.count(self.outputs, "channel_multiplier"), c.channels(self.inputs)
        self.declared(c, times, inputs, None if inputs is None else c.whole(inputs, "") * c.whole(times, ""))

    def forward(self, c: Context, x: object) -> object:
        """Convolves each channel."""
        name = c.name_of(self.instance)
        c.check_channels(x, self.inputs, name)
        times = c.whole(self.outputs, "channel_multiplier")
        return c.layer(x, kinds.DepthwiseConvolution(name, times, *self.window(c), self.bias))


class LinearLink(Link):
    """`L.Linear`: it flattens what it is given."""

    def _make(self, c: Context, inputs: object, outputs: object, nobias: object) -> None:
        Link.__init__(self, c)
        self.inputs, self.outputs, self.bias = inputs, outputs, not c.flag(nobias, "nobias")
        size = c.count(outputs, "out_size")
        self.parameters["weight"] = (size, c.channels(inputs))
        if self.bias:
            self.parameters["bias"] = (size,)

    def forward(self, c: Context, x: object, n_batch_axes: object = 1) -> object:
        """Multiplies by a matrix."""
        axes, shape = c.whole(n_batch_axes, "n_batch_axes"), c.tensor(x).node.shape
        name = c.name_of(self.instance)
        told = c.parameter(self.instance, "weight")
        inputs = told[1] if told is not None else self.inputs
        if axes != 1:
            if axes != len(shape) or (inputs is not None and c.whole(inputs, "in_size") != shape[-1]):
                c.fail(f"a fully connected layer of {axes} batch axes for {shape} is not known")
            return c.layer(x, formulas.LinearAlongLast(name, c.whole(self.outputs, "out_size"), self.bias))
        c.check_features(x, inputs, name)
        return c.layer(x, kinds.Linear(name, c.whole(self.outputs, "out_size"), self.bias))


class _Linear1(LinearLink):
    def __init__(
        self, c: Context, in_size: object, out_size: object, wscale: object = 1, bias: object = 0,
        nobias: object = False, initialW: object = None, initial_bias: object = None,  # noqa: N803
    ) -> None:  # fmt: skip
        self._make(c, in_size, out_size, nobias)


class _Linear2(LinearLink):
    def __init__(
        self, c: Context, in_size: object, out_size: object = None, nobias: object = False,
        initialW: object = None, initial_bias: object = None,  # noqa: N803
    ) -> None:  # fmt: skip
        if out_size is None:
            in_size, out_size = None, in_size
        self._make(c, in_size, out_size, nobias)


class BatchNormalizationLink(Link):
    """`L.BatchNormalization`."""

    settings = frozenset(("eps", "decay"))
    trained = MappingProxyType({"weight": "gamma", "bias": "beta"})

    def _make(self, c: Context, size: object, decay: object, eps: object, use_gamma: object, use_beta: object) -> None:
        Link.__init__(self, c)
        self.eps, self.decay = eps, decay
        self.gamma, self.beta = c.flag(use_gamma, "use_gamma"), c.flag(use_beta, "use_beta")
        if isinstance(size, tuple | list) and len(size) == 1:
            size = size[0]
        sides: ParameterShape = (c.channels(size),)
        for name, there in (
            *(("weight", self.gamma), ("bias", self.beta)),
            *(("running_mean", True), ("running_var", True)),
        ):
            if there:
                self.parameters[name] = sides
        self.parameters["num_batches_tracked"] = ()

    def _normalised(self, c: Context, x: object, batch: bool) -> object:
        own = None if self.eps is None else c.real(self.eps, "eps")
        eps, decay = None if own == c.rules.eps else own, c.real(self.decay, "decay")
        layer = kinds.BatchNormalization(c.name_of(self.instance), eps, self.gamma, self.beta, decay, batch)
        told = c.parameter(self.instance, "running_mean")
        channels = c.tensor(x).node.shape[0]
        if told is not None and told != (channels,):
            c.fail(f"{layer.name} is made for {told[0]} channels, and is given {channels}")
        return c.layer(x, layer)


class _BatchNormalization1(BatchNormalizationLink):
    def __init__(
        self, c: Context, size: object, decay: object = 0.9, eps: object = None, dtype: object = None,
        use_gamma: object = True, use_beta: object = True, initial_gamma: object = None,
        initial_beta: object = None, use_cudnn: object = True,
    ) -> None:  # fmt: skip
        self._make(c, size, decay, eps, use_gamma, use_beta)

    def forward(self, c: Context, x: object, test: object = False, finetune: object = False) -> object:
        """Normalises; without `test` by the batch's own statistics, in evaluation too."""
        if isinstance(test, Unknown):
            c.refuse(test)
        batch = not isinstance(test, Mode) and not c.flag(test, "test")
        if batch and not c.training:
            c.notice(
                f"{c.place}: Chainer 1 normalises by the batch's own statistics where a call does not say test=…; so "
                "does this network, and its answers for one person depend on the others"
            )
        return self._normalised(c, x, batch)


class _BatchNormalization2(BatchNormalizationLink):
    def __init__(
        self, c: Context, size: object = None, decay: object = 0.9, eps: object = None, dtype: object = None,
        use_gamma: object = True, use_beta: object = True, initial_gamma: object = None,
        initial_beta: object = None, axis: object = None, initial_avg_mean: object = None,
        initial_avg_var: object = None,
    ) -> None:  # fmt: skip
        if axis not in (None, 0, (0, 2, 3)):
            c.fail("BatchNormalization over other axes is not known")
        self._make(c, size, decay, eps, use_gamma, use_beta)

    def forward(self, c: Context, x: object, finetune: object = False) -> object:
        """Normalises; where the source itself says that it trains, by the batch's own statistics."""
        if c.training_side and not c.training:
            c.fail("a BatchNormalization that does not learn its statistics is not known")
        return self._normalised(c, x, batch=c.training and not c.training_side)


class BatchRenormalization(_BatchNormalization2):
    """`L.BatchRenormalization`: at test time the same as batch normalisation."""

    def __init__(
        self, c: Context, size: object, rmax: object = 1, dmax: object = 0, decay: object = 0.9, eps: object = 2e-5,
        dtype: object = None, use_gamma: object = True, use_beta: object = True, initial_gamma: object = None,
        initial_beta: object = None, initial_avg_mean: object = None, initial_avg_var: object = None,
    ) -> None:  # fmt: skip
        self._make(c, size, decay, eps, use_gamma, use_beta)

    def forward(self, c: Context, x: object, finetune: object = False) -> object:
        """Normalises."""
        if c.training:
            c.fail("the renormalisation of a batch in training is not known")
        return self._normalised(c, x, batch=False)


native("chainer.links.BatchRenormalization")(BatchRenormalization)


class _Normalised(Link):
    """A normalisation of each example by itself."""

    settings = frozenset({"eps"})
    trained = MappingProxyType({"weight": "gamma", "bias": "beta"})

    def _make(self, c: Context, size: object, eps: object) -> None:
        Link.__init__(self, c)
        self.eps = eps
        for name in ("weight", "bias"):
            self.parameters[name] = (c.channels(size),)

    def _made_for(self, c: Context, x: object) -> str:
        """Returns its name; it is given the channels, or features, that it was made for."""
        told, given = c.parameter(self.instance, "weight"), c.tensor(x).node.shape[0]
        name = c.name_of(self.instance)
        if told is not None and told != (given,):
            c.fail(f"{name} is made for {told[0]} channels, and is given {given}")
        return name


@native("chainer.links.GroupNormalization")
class GroupNormalizationLink(_Normalised):
    """`L.GroupNormalization`."""

    def __init__(
        self, c: Context, groups: object, size: object = None, eps: object = 1e-5, initial_gamma: object = None,
        initial_beta: object = None,
    ) -> None:  # fmt: skip
        self._make(c, size, eps)
        self.groups = groups

    def forward(self, c: Context, x: object) -> object:
        """Normalises groups of channels."""
        name, groups = self._made_for(c, x), c.whole(self.groups, "groups")
        return c.layer(x, formulas.GroupNormalization(name, groups, c.real(self.eps, "eps")))


@native("chainer.links.LayerNormalization")
class LayerNormalizationLink(_Normalised):
    """`L.LayerNormalization`, of features."""

    def __init__(
        self, c: Context, size: object = None, eps: object = 1e-6, initial_gamma: object = None,
        initial_beta: object = None,
    ) -> None:  # fmt: skip
        self._make(c, size, eps)

    def forward(self, c: Context, x: object) -> object:
        """Normalises features."""
        shape = c.tensor(x).node.shape
        if len(shape) != 1:
            c.fail(f"a LayerNormalization of {shape} for each example is not known: Chainer's takes features")
        return c.layer(x, formulas.LayerNormalization(self._made_for(c, x), shape, c.real(self.eps, "eps")))


@native("chainer.links.PReLU", "chainer.functions.PReLU")
class PReLULink(Link):
    """`L.PReLU`."""

    def __init__(self, c: Context, shape: object = (), init: object = 0.25) -> None:
        super().__init__(c)
        sides = shape if isinstance(shape, tuple | list) else (shape,)
        self.parameters["weight"] = tuple(c.count(side, "shape") for side in sides)

    def forward(self, c: Context, x: object) -> object:
        """Gives what is negative a learned slope."""
        shape = tuple(c.whole(side, "shape") for side in self.parameters["weight"])
        if shape != c.tensor(x).node.shape[: len(shape)]:
            c.fail(f"slopes of {shape} for a value of {c.tensor(x).node.shape}")
        return c.layer(x, kinds.PReLU(c.name_of(self.instance), shape))


@native("chainer.links.Scale")
class ScaleLink(Link):
    """`L.Scale`."""

    def __init__(
        self, c: Context, axis: object = 1, W_shape: object = None, bias_term: object = False,  # noqa: N803
        bias_shape: object = None,
    ) -> None:  # fmt: skip
        super().__init__(c)
        if c.whole(axis, "axis") != 1 or W_shape is None:
            c.fail("a Scale of another axis than the first, or by another value, is not known")
        sides = W_shape if isinstance(W_shape, tuple | list) else (W_shape,)
        self.shape = tuple(c.count(side, "W_shape") for side in sides)
        self.parameters["weight"] = self.shape
        self.bias = c.flag(bias_term, "bias_term")
        if self.bias:
            self.parameters["bias.bias"] = self.shape

    def forward(self, c: Context, *xs: object) -> object:
        """Multiplies by a learned factor."""
        if len(xs) != 1:
            c.fail("a Scale of two values is not known")
        shape = tuple(c.whole(side, "W_shape") for side in self.shape)
        if shape != c.tensor(xs[0]).node.shape[: len(shape)]:
            c.fail(f"factors of {shape} for a value of {c.tensor(xs[0]).node.shape}")
        return c.layer(xs[0], kinds.Scale(c.name_of(self.instance), shape, self.bias))


@native("chainer.links.Swish")
class SwishLink(Link):
    """`L.Swish`: x * sigmoid(beta * x)."""

    trained = MappingProxyType({"bias": "beta"})

    def __init__(self, c: Context, beta_shape: object, beta_init: object = 1.0) -> None:
        super().__init__(c)
        if beta_shape is None:
            c.fail("a Swish whose shape is told by the first value is not known")
        self.keep(c, "beta", arrays.made(c, beta_shape, None), trained=True)

    def forward(self, c: Context, x: object) -> object:
        """Multiplies by a sigmoid."""
        beta, count = self.instance.attributes["beta"], len(c.tensor(x).node.shape)
        assert isinstance(beta, Array)
        placed = arrays.reshaped(c, beta, (*beta.shape, *(1,) * (count - len(beta.shape))))
        return c.join([x, c.layer(tensors.arithmetic(c, ast.Mult, x, placed), kinds.Sigmoid())], "product")


@native("chainer.links.Parameter")
class ParameterLink(Link):
    """`L.Parameter`: a call gives its parameter."""

    def __init__(self, c: Context, array: object) -> None:
        super().__init__(c)
        self.keep(c, "W", arrays.of_numbers(c, array), trained=True)

    def forward(self, c: Context, volatile: object = "off") -> object:
        """Returns the parameter."""
        return self.instance.attributes["W"]


@native("chainer.links.Bias")
class BiasLink(Link):
    """`L.Bias`."""

    trained = MappingProxyType({"bias": "b"})

    def __init__(self, c: Context, axis: object = 1, shape: object = None) -> None:
        super().__init__(c)
        if shape is None:
            c.fail("a Bias by another value is not known")
        self.axis = axis
        sides = shape if isinstance(shape, tuple | list) else (shape,)
        self.parameters["bias"] = tuple(c.count(side, "shape") for side in sides)

    def forward(self, c: Context, x: object) -> object:
        """Adds a learned offset, whose first axis stands at `axis`."""
        given, first = c.tensor(x).node.shape, c.whole(self.axis, "axis") - 1
        shape = tuple(c.whole(side, "shape") for side in self.parameters["bias"])
        if first < 0 or shape != given[first : first + len(shape)]:
            c.fail(f"offsets of {shape} from axis {first + 1} on for a value of {given}")
        placed = (*(1,) * first, *shape, *(1,) * (len(given) - first - len(shape)))
        return c.layer(x, formulas.Weighting(f"{c.name_of(self.instance)}.bias", shape, placed, "sum", "b"))


for _name, _first, _later in (
    ("Convolution2D", _Convolution1, _Convolution2),
    ("DilatedConvolution2D", _Dilated1, _Dilated2),
    ("Deconvolution2D", _Deconvolution1, _Deconvolution2),
    ("Linear", _Linear1, _Linear2),
    ("BatchNormalization", _BatchNormalization1, _BatchNormalization2),
):
    for _kind in (_first, _later):
        native(f"chainer.links.{_name}")(_kind)
    # In 2015 what had parameters was among the functions.
    KNOWN[f"chainer.links.{_name}"] = KNOWN[f"chainer.functions.{_name}"] = ByVersion(_first, _later)


class _Conv2DActiv(Chain):
    """ChainerCV's convolution with what follows it."""

    normalised = False

    def __init__(
        self, c: Context, in_channels: object, out_channels: object, ksize: object = None, stride: object = 1,
        pad: object = 0, dilate: object = 1, nobias: object = None, initialW: object = None,  # noqa: N803
        initial_bias: object = None, activ: object = KNOWN, bn_kwargs: object = None,
    ) -> None:  # fmt: skip
        super().__init__(c)
        if ksize is None:
            in_channels, out_channels, ksize = None, in_channels, out_channels
        nobias = self.normalised if nobias is None else nobias
        convolution = KNOWN["chainer.links.Convolution2D"]
        made = c.call(
            convolution,
            (in_channels, out_channels, ksize, stride, pad),
            {"nobias": nobias, **({} if dilate == 1 else {"dilate": dilate})},
        )
        self.do_add_link(c, "conv", made)
        if self.normalised:
            words = bn_kwargs if isinstance(bn_kwargs, dict) else {}
            self.do_add_link(c, "bn", c.call(KNOWN["chainer.links.BatchNormalization"], (out_channels,), words))
        self.activation = KNOWN["chainer.functions.relu"] if activ is KNOWN else activ

    def forward(self, c: Context, x: object) -> object:
        """Convolves, and what follows."""
        for link in self.instance.children.values():
            x = c.call(link, (x,), {})
        return x if self.activation is None else c.call(self.activation, (x,), {})


@native("chainercv.links.Conv2DActiv")
class Conv2DActiv(_Conv2DActiv):
    """A convolution and an activation."""


@native("chainercv.links.Conv2DBNActiv")
class Conv2DBNActiv(_Conv2DActiv):
    """A convolution, a batch normalisation and an activation."""

    normalised = True


# --- functions --------------------------------------------------------------------------------------------------------


def _fixed(layer: Layer) -> Callable[..., object]:
    """Returns a function that is one layer."""

    def call(c: Context, x: object, use_cudnn: object = True) -> object:
        return c.layer(x, layer)

    return call


_FIXED: dict[str, Layer] = {
    **{"relu": kinds.ReLU(), "relu6": kinds.ClippedReLU(6.0), "selu": kinds.SELU()},
    **{"sigmoid": kinds.Sigmoid(), "tanh": kinds.Tanh()},
    **{name: formulas.Function(name) for name in formulas.FUNCTIONS if name not in ("abs", "reciprocal")},
}
for _name, _layer in _FIXED.items():
    function(f"chainer.functions.{_name}")(_fixed(_layer))


@function("chainer.functions.leaky_relu")
def _leaky_relu(c: Context, x: object, slope: object = 0.2) -> object:
    return c.layer(x, kinds.LeakyReLU(c.real(slope, "slope")))


@function("chainer.functions.elu")
def _elu(c: Context, x: object, alpha: object = 1.0) -> object:
    return c.layer(x, kinds.ELU(c.real(alpha, "alpha")))


@function("chainer.functions.clipped_relu")
def _clipped_relu(c: Context, x: object, z: object = 20.0) -> object:
    return c.layer(x, kinds.ClippedReLU(c.real(z, "z")))


@function("chainer.functions.softplus")
def _softplus(c: Context, x: object, beta: object = 1.0) -> object:
    return c.layer(x, kinds.Softplus(c.real(beta, "beta")))


@function("chainer.functions.softmax")
def _softmax(c: Context, x: object, axis: object = 1, use_cudnn: object = True) -> object:
    return tensors.softmax(c, x, 1 if c.is_chainer_1 else axis)


@function("chainer.functions.normalize")
def _normalize(c: Context, x: object, eps: object = 1e-5, axis: object = 1) -> object:
    return tensors.normalised(c, x, axis, 2.0, c.real(eps, "eps"), add=True)


def _along(c: Context, kind: type[ast.operator], x: object, y: object, axis: object) -> object:
    """Returns a value combined with another whose first axis stands at `axis`."""
    tensor, first = c.tensor(x), c.whole(axis, "axis")
    own = len(y.shape) if isinstance(y, Array) else len(c.tensor(y).node.shape) + 1
    count = len(tensor.node.shape) + 1
    if isinstance(y, Array) != (first > 0) or first + own > count:
        c.fail(f"a value of {own} axes from axis {first} on is not known")
    for _ in range(count - first - own):
        y = tensors.unsqueeze(c, y, -1)
    return tensors.arithmetic(c, kind, tensor, y)


@function("chainer.functions.scale")
def _scale(c: Context, x: object, y: object, axis: object = 1) -> object:
    return _along(c, ast.Mult, x, y, axis)


@function("chainer.functions.bias")
def _bias(c: Context, x: object, y: object, axis: object = 1) -> object:
    return _along(c, ast.Add, x, y, axis)


@function("chainer.functions.depth2space")
def _depth2space(c: Context, X: object, r: object) -> object:  # noqa: N803
    return tensors.pixel_shuffle(c, X, c.whole(r, "r"), channels_last=True)


@function("chainer.functions.maximum")
def _maximum(c: Context, x1: object, x2: object) -> object:
    return tensors.larger(c, x1, x2)


@function("chainer.functions.minimum")
def _minimum(c: Context, x1: object, x2: object) -> object:
    return tensors.smaller(c, x1, x2)


@function("chainer.functions.min")
def _min(c: Context, x: object, axis: object = None, keepdims: object = False) -> object:
    least = tensors.over_maps(c, c.layer(x, kinds.Affine(-1.0)), axis, keepdims, largest=True)
    return least if isinstance(least, Unknown) else c.layer(least, kinds.Affine(-1.0))


@function("chainer.functions.max_pooling_2d")
def _max_pooling_2d(
    c: Context, x: object, ksize: object, stride: object = None, pad: object = 0, cover_all: object = True,
    use_cudnn: object = True,
) -> object:  # fmt: skip
    return pooled(c, x, ksize, stride, pad, average=False, cover_all=c.flag(cover_all, "cover_all"))


@function("chainer.functions.average_pooling_2d")
def _average_pooling_2d(
    c: Context, x: object, ksize: object, stride: object = None, pad: object = 0, use_cudnn: object = True
) -> object:
    return pooled(c, x, ksize, stride, pad, average=True)


@function("chainer.functions.unpooling_2d")
def _unpooling_2d(
    c: Context, x: object, ksize: object, stride: object = None, pad: object = 0, outsize: object = None,
    cover_all: object = True,
) -> object:  # fmt: skip
    size = c.sizes(ksize, "ksize")
    step = size if stride is None else c.sizes(stride, "stride")
    if step != size or c.sizes(pad, "pad") != 0:
        c.fail("unpooling other than by repeating pixels is not known")
    result = c.layer(x, kinds.Upsample(size))
    full, step = result.node.shape[1:], kinds.pair(size)
    # What a pooling that covers a map may have made it of: all but the last window's step, and one pixel of that.
    covered = tuple(side - one + 1 for side, one in zip(full, step, strict=True))
    sides = kinds.pair(c.sizes(outsize, "outsize")) if outsize is not None else full
    if outsize is None and c.flag(cover_all, "cover_all"):
        sides = covered
    if any(side > whole for side, whole in zip(sides, full, strict=True)):
        c.fail(f"unpooling maps of {full} to {sides} is not known")
    for axis, (side, whole) in enumerate(zip(sides, full, strict=True), start=1):
        result = tensors.part(c, result, axis, 0, side) if side < whole else result
    return result


@function("chainer.functions.resize_images")
def _resize_images(
    c: Context, x: object, output_shape: object, *, mode: object = "bilinear", align_corners: object = True
) -> object:
    if not isinstance(output_shape, tuple | list) or len(output_shape) != 2 or mode not in ("bilinear", "nearest"):
        c.fail(f"resizing to {c.spell(output_shape)} by {c.spell(mode)} is not known")
    corners = c.flag(align_corners, "align_corners") and mode == "bilinear"
    return tensors.resized(c, x, (output_shape[0], output_shape[1]), str(mode), corners)


@function("chainer.functions.local_response_normalization")
def _lrn(c: Context, x: object, n: object = 5, k: object = 2, alpha: object = 1e-4, beta: object = 0.75) -> object:
    window = 2 * (c.whole(n, "n") // 2) + 1
    values = (c.real(value, "a number of LRN") for value in (k, alpha, beta))
    return c.layer(x, kinds.LocalResponseNormalization(c.next_norm(), window, *values))


def dropped(c: Context, x: object, ratio: object, training: object, always: str, channels: bool = False) -> object:
    """Returns a dropout, in the table for training; one that says nothing of training drops in evaluation too."""
    if isinstance(training, Unknown):
        c.refuse(training)
    if not isinstance(training, Mode):
        if not c.flag(training, "training"):
            return c.tensor(x)
        c.notice(f"{c.place}: {always}; here evaluation drops nothing")
    unknown = isinstance(ratio, Unknown | Probe)
    if unknown:
        c.plain(ratio)
        c.notice(f"{c.place}: nothing tells the ratio of dropout: it is taken as 0.5")
    share = 0.5 if unknown else c.real(ratio, "the ratio of dropout")
    if not 0.0 <= share < 1.0:
        c.fail(f"the ratio of dropout is {share:g}, not between 0 and 1")
    layer = kinds.Dropout(share, channels)
    return c.layer(x, layer) if c.training_side else c.view(x, layer)


@function("chainer.functions.dropout")
def _dropout(c: Context, x: object, ratio: object = 0.5, train: object = None, **later: object) -> object:
    if train is None and c.is_chainer_1:
        return dropped(c, x, ratio, True, "Chainer 1 drops in evaluation too where a call does not say train=…")
    if train is None:  # what the source itself says of training is no matter of the side that is followed
        train = Mode(c.training) if c.training == c.training_side else c.training
    return dropped(c, x, ratio, train, "this dropout drops in evaluation too")


@function("chainer.functions.concat")
def _concat(c: Context, xs: object, axis: object = 1) -> object:
    return tensors.concatenated(c, plain.iterate(c, xs), axis)


@function("chainer.functions.stack")
def _stack(c: Context, xs: object, axis: object = 0) -> object:
    return tensors.stack(c, plain.iterate(c, xs), axis)


@function("chainer.functions.clip")
def _clip(c: Context, x: object, x_min: object, x_max: object) -> object:
    return tensors.clip(c, x, x_min, x_max)


@function("chainer.functions.maxout")
def _maxout(c: Context, x: object, pool_size: object, axis: object = 1) -> object:
    if tensors.axis_of(c, c.tensor(x), axis) != 0:
        c.fail("maxout along another axis than the channels' is not known")
    return tensors.maxout(c, x, c.whole(pool_size, "pool_size"))


@function("chainer.functions.broadcast_to")
def _broadcast_to(c: Context, x: object, shape: object) -> object:
    return tensors.broadcast(c, x, shape)


@function("chainer.functions.average_pooling_nd")
def _average_pooling_nd(
    c: Context, x: object, ksize: object, stride: object = None, pad: object = 0, pad_value: object = 0
) -> object:
    return pooled(c, x, ksize, stride, pad, average=True, count_pad=pad_value is not None)


@function("chainer.functions.add")
def _add(c: Context, *xs: object) -> object:
    return c.join(list(xs), "sum")


@function("chainer.functions.reshape", "chainer.Variable.reshape")
def _reshape(c: Context, x: object, *sides: object, shape: object = None) -> object:
    return tensors.reshape(c, x, shape if shape is not None else sides[0] if len(sides) == 1 else sides)


@function("chainer.functions.transpose", "chainer.Variable.transpose")
def _transpose(c: Context, x: object, *given: object, axes: object = None) -> object:
    axes = given if axes is None else (axes,)
    order = tuple(plain.iterate(c, axes[0])) if len(axes) == 1 else axes
    return tensors.transpose(c, x, order)


@function("chainer.functions.squeeze")
def _squeeze(c: Context, x: object, axis: object = None) -> object:
    return tensors.squeeze(c, x, axis)


@function("chainer.functions.expand_dims")
def _expand_dims(c: Context, x: object, axis: object) -> object:
    return tensors.unsqueeze(c, x, axis)


@function("chainer.functions.mean", "chainer.functions.average")
def _mean(c: Context, x: object, axis: object = None, weights: object = None, keepdims: object = False) -> object:
    if weights is not None:
        return c.unknown("a weighted mean")
    return tensors.over_maps(c, x, axis, keepdims)


@function("chainer.functions.sum")
def _sum(c: Context, x: object, axis: object = None, keepdims: object = False) -> object:
    return tensors.total(c, x, axis, keepdims)


@function("chainer.functions.max")
def _max(c: Context, x: object, axis: object = None, keepdims: object = False) -> object:
    return tensors.over_maps(c, x, axis, keepdims, largest=True)


@function("chainer.functions.split_axis")
def _split_axis(c: Context, x: object, indices_or_sections: object, axis: object, force_tuple: object = True) -> object:
    if isinstance(indices_or_sections, tuple | list):
        bounds = [c.whole(bound, "a bound") for bound in indices_or_sections]
    else:
        count, length = c.whole(indices_or_sections, "parts"), tensors.length_of(c, x, axis)
        if count < 1 or length % count:
            c.fail(f"{length} channels in {count} parts")
        bounds = [i * (length // count) for i in range(1, count)]
    return tensors.split(c, x, bounds, axis)


@function("chainer.functions.pad")
def _pad(c: Context, x: object, pad_width: object, mode: object = "constant", **keywords: object) -> object:
    sides = pad_width if isinstance(pad_width, tuple | list) else ()
    pairs = [c.sizes(side, "pad_width") for side in sides]
    margins = [pair if isinstance(pair, tuple) else (pair, pair) for pair in pairs]
    around_maps = len(margins) == 4 and margins[:2] == [(0, 0), (0, 0)]
    if mode != "constant" or any(value != 0 for value in keywords.values()) or not around_maps:
        c.fail("a margin of other than zeros around maps is not known")
    return c.layer(x, kinds.Padding(*margins[2], *margins[3]))


@function(
    "chainer.Variable", "chainer.as_variable", "chainer.functions.identity", "chainer.cuda.to_gpu",
    "chainer.cuda.to_cpu", "chainer.functions.cast",
)  # fmt: skip
def _same(c: Context, x: object = None, *arguments: object, **keywords: object) -> object:
    return x


# --- configuration ----------------------------------------------------------------------------------------------------

#: Whether there is a GPU, on which a network is the same.
KNOWN["chainer.cuda.available"] = KNOWN["chainer.backends.cuda.available"] = False

#: Whether the network trains; the evaluator puts in which side it follows.
for _name in ("chainer.config.train", "chainer.global_config.train", "chainer.configuration.config.train"):
    KNOWN[_name] = Trains()


@function(
    "chainer.no_backprop_mode", "chainer.force_backprop_mode", "chainer.cuda.get_device",
    "chainer.cuda.get_device_from_id", "chainer.cuda.get_device_from_array", "chainer.using_device",
)  # fmt: skip
def _quiet(c: Context, *arguments: object) -> object:
    return Switch()


@function("chainer.using_config")
def _using_config(c: Context, name: object, value: object, *config: object) -> object:
    if name != "train":
        return Switch()
    before = c.training

    def enter() -> None:
        c.training = c.flag(value, "train")

    def leave() -> None:
        c.training = before

    return Switch(enter, leave)
