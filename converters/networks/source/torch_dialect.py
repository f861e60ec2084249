"""PyTorch: modules, functions and tensors."""

from __future__ import annotations

import ast
import functools
import itertools
import math
from collections.abc import Callable

from converters.networks import formulas
from converters.networks import layers as kinds
from converters.networks.layers import Layer, Pair
from converters.networks.source import array_words, plain, tensors  # noqa: F401 - it says what names stand for
from converters.networks.source.context import Context
from converters.networks.source.errors import SourceError
from converters.networks.source.pooling import pooled
from converters.networks.source.registry import KNOWN, function, native
from converters.networks.source.values import (
    Array,
    Bound,
    Function,
    Given,
    Instance,
    Mode,
    Native,
    ParameterShape,
    Switch,
    Tensor,
    Unknown,
)

# --- containers -------------------------------------------------------------------------------------------------------


@native(
    "torch.nn.Module",
    "pytorch_lightning.LightningModule",
    "lightning.LightningModule",
    "lightning.pytorch.LightningModule",
)
class Module(Native):
    """What has parameters, and modules as attributes."""

    def set(self, c: Context, name: str, value: object) -> None:
        """Registers a module; anything else is an attribute."""
        self.instance.attributes.pop(name, None)
        if isinstance(value, Instance) and value.native is not None:
            self.instance.children[name] = value
        elif isinstance(value, Array) and value.trained and value.owner is None:
            self.keep(c, name, value, trained=True)
        else:
            self.instance.attributes[name] = value

    def do_add_module(self, c: Context, name: object, module: object) -> object:
        """Registers a module."""
        if isinstance(module, Unknown):
            c.refuse(module)
        self.set(c, str(name), module)
        return None

    do_register_module = do_add_module

    def do_register_parameter(self, c: Context, name: object, param: object) -> object:
        """Registers a parameter."""
        self.set(c, str(name), param)
        return None

    def do_register_buffer(self, c: Context, name: object, tensor: object, persistent: object = True) -> object:
        """Registers a buffer, which files have unless they are told to leave it out."""
        if isinstance(tensor, Array) and c.flag(persistent, "persistent"):
            self.keep(c, str(name), tensor, trained=False)
        else:
            self.instance.attributes[str(name)] = tensor
        return None

    def do_children(self, c: Context) -> object:
        """Returns the modules in it, each once."""
        return list({id(module): module for module in self.instance.children.values()}.values())

    def do_named_children(self, c: Context) -> object:
        """Returns the names of the modules in it, and them, each once."""
        first: dict[int, tuple[str, Instance]] = {}
        for name, module in self.instance.children.items():
            first.setdefault(id(module), (name, module))
        return list(first.values())

    def do_modules(self, c: Context) -> object:
        """Returns it and all modules within."""
        return [instance for _, instance in walk_instances(self.instance, "")]

    def do_named_modules(self, c: Context) -> object:
        """Returns their names, and them."""
        return list(walk_instances(self.instance, ""))

    def do_parameters(self, c: Context, recurse: object = True) -> object:
        """Returns as many parameters as there are; nothing is known of their values."""
        count = sum(
            len(one.native.parameters) for _, one in walk_instances(self.instance, "") if one.native is not None
        )
        return [c.unknown("a parameter") for _ in range(count)]

    def do_apply(self, c: Context, called: object) -> object:
        """Calls a function with every module, as to set initial weights; what that is of PyTorch's is not followed."""
        if isinstance(called, Function | Bound):
            node = called.node if isinstance(called, Function) else called.function.node
            for _, module in reversed(walk_instances(self.instance, "")):
                try:
                    c.call(called, (module,), {})
                except SourceError:
                    if _changes(node):
                        raise
        return self.instance

    def do_register_forward_hook(self, c: Context, hook: object, *, prepend: object = False) -> object:
        """Lets every call lead through a function behind it."""
        self.hooks.insert(0 if c.flag(prepend, "prepend") else len(self.hooks), (False, hook))
        return c.unknown("the handle of a hook")

    def do_register_forward_pre_hook(self, c: Context, hook: object, *, prepend: object = False) -> object:
        """Lets every call lead through a function before it."""
        self.hooks.insert(0 if c.flag(prepend, "prepend") else len(self.hooks), (True, hook))
        return c.unknown("the handle of a hook")

    def do_cuda(self, c: Context, *arguments: object, **keywords: object) -> object:
        """Changes nothing of the network."""
        return self.instance

    do_cpu = do_to = do_float = do_train = do_eval = do_requires_grad_ = do_cuda

    def do_get_submodule(self, c: Context, name: object) -> object:
        """Returns a module by its dotted name."""
        found: object = self.instance
        for part in str(name).split("."):
            found = c.attribute(found, part)
        return found

    def do_named_parameters(self, c: Context, prefix: object = "", recurse: object = True) -> object:
        """Returns the names of as many parameters as there are; nothing is known of their values."""
        found = [
            (f"{name}.{part}".lstrip("."), Given(f"the {part} of {name}", c.place))
            for name, one in walk_instances(self.instance, "")
            for part in (() if one.native is None else one.native.parameters)
            if not part.startswith(("running_", "num_batches"))
        ]
        return [pair for pair in found if c.flag(recurse, "recurse") or "." not in pair[0]]

    def attribute(self, c: Context, name: str) -> object:
        """Returns what a module says of itself."""
        if name == "_modules":
            return self.instance.children
        if name in self.parameters:
            return Given(f"{self.spelled}.{name}", c.place)
        return super().attribute(c, name)


def _changes(node: ast.AST) -> bool:
    """Tells whether a function sets more of a module than its parameters, or has something done to its parts."""
    stored = {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Store)}
    names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    return bool(stored - {"data", "requires_grad", "grad", "weight", "bias"} or names & {"setattr", "delattr"})


def walk_instances(instance: Instance, name: str) -> list[tuple[str, Instance]]:
    """Returns an object and all within, each once, with their dotted names."""
    found: list[tuple[str, Instance]] = []
    seen: set[int] = set()
    waiting = [(name, instance)]
    while waiting:
        path, one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        found.append((path, one))
        waiting += [(f"{path}.{child}".lstrip("."), inner) for child, inner in reversed(one.children.items())]
    return found


class _Numbered(Module):
    """Modules with numbers for names."""

    def items(self, c: Context) -> list[object] | None:
        """Returns the modules."""
        return list(self.instance.children.values())

    def _name(self, c: Context, key: object) -> str:
        if isinstance(key, str):
            return key
        names = list(self.instance.children)
        number = c.whole(key, "the number of a module")
        if not -len(names) <= number < len(names):
            c.fail(f"there is no module {number}")
        return names[number]

    def item(self, c: Context, key: object) -> object:
        """Returns a module, or some of them in another container of this kind, under their names."""
        if not isinstance(key, slice):
            return self.instance.children[self._name(c, key)]
        made = c.call(type(self), (), {})
        if isinstance(made, Instance):
            made.children.update(list(self.instance.children.items())[c.cut(key)])
        return made

    def set_item(self, c: Context, key: object, value: object) -> None:
        """Puts another module in a place."""
        if not isinstance(value, Instance):
            c.fail(f"{c.spell(value)} as a module is not known")
        self.instance.children[self._name(c, key)] = value

    def delete_item(self, c: Context, key: object) -> None:
        """Removes modules; the others are numbered anew."""
        left = list(self.instance.children.values())
        if isinstance(key, slice):
            del left[c.cut(key)]
        else:
            del left[list(self.instance.children).index(self._name(c, key))]
        self.instance.children.clear()
        self.instance.children.update({str(i): module for i, module in enumerate(left)})

    def do_pop(self, c: Context, key: object = -1) -> object:
        """Removes a module and returns it."""
        module = self.item(c, key)
        self.delete_item(c, key)
        return module

    def do_append(self, c: Context, module: object) -> object:
        """Adds a module."""
        self.do_add_module(c, str(len(self.instance.children)), module)
        return self.instance

    def do_extend(self, c: Context, modules: object) -> object:
        """Adds several modules."""
        for module in plain.iterate(c, modules):
            self.do_append(c, module)
        return self.instance

    def do_insert(self, c: Context, index: object, module: object) -> object:
        """Adds a module before another."""
        modules = [*self.instance.children.values()]
        modules.insert(c.whole(index, "the index"), module)  # type: ignore[arg-type]
        self.instance.children.clear()
        for number, one in enumerate(modules):
            self.do_add_module(c, str(number), one)
        return None


@native("torch.nn.ModuleList")
class ModuleList(_Numbered):
    """A list of modules."""

    def __init__(self, c: Context, modules: object = ()) -> None:
        super().__init__(c)
        for module in plain.iterate(c, modules):
            self.do_append(c, module)

    def item(self, c: Context, key: object) -> object:
        """Returns a module, or a list of some, which are numbered anew."""
        if not isinstance(key, slice):
            return super().item(c, key)
        return c.call(ModuleList, (list(self.instance.children.values())[c.cut(key)],), {})


@native("torch.nn.ModuleDict")
class ModuleDict(Module):
    """Modules by name."""

    def __init__(self, c: Context, modules: object = None) -> None:
        super().__init__(c)
        if modules is not None:
            self.do_update(c, modules)

    def do_update(self, c: Context, modules: object) -> object:
        """Adds modules."""
        pairs = (
            modules.items() if isinstance(modules, dict) else [plain.iterate(c, p) for p in plain.iterate(c, modules)]
        )
        for name, module in pairs:
            self.do_add_module(c, name, module)
        return None

    def items(self, c: Context) -> list[object] | None:
        """Returns the names."""
        return list(self.instance.children)

    def item(self, c: Context, key: object) -> object:
        """Returns a module by its name."""
        if not isinstance(key, str) or key not in self.instance.children:
            c.fail(f"there is no module {c.spell(key)}")
        return self.instance.children[key]

    def set_item(self, c: Context, key: object, value: object) -> None:
        """Adds a module."""
        self.do_add_module(c, key, value)

    def do_pop(self, c: Context, key: object) -> object:
        """Removes a module and returns it."""
        module = self.item(c, key)
        del self.instance.children[str(key)]
        return module

    def do_clear(self, c: Context) -> object:
        """Removes all modules."""
        self.instance.children.clear()
        return None

    def do_keys(self, c: Context) -> object:
        """Returns the names."""
        return list(self.instance.children)

    def do_values(self, c: Context) -> object:
        """Returns the modules."""
        return list(self.instance.children.values())

    def do_items(self, c: Context) -> object:
        """Returns the names and the modules."""
        return list(self.instance.children.items())


@native("torch.nn.Sequential")
class Sequential(_Numbered):
    """Modules one after the other."""

    def __init__(self, c: Context, *modules: object) -> None:
        super().__init__(c)
        if len(modules) == 1 and isinstance(modules[0], dict):
            for name, module in modules[0].items():
                self.do_add_module(c, name, module)
            return
        for module in modules:
            self.do_append(c, module)

    def forward(self, c: Context, *values: object) -> object:
        """Calls one after the other."""
        for module in self.instance.children.values():
            values = (c.call(module, values, {}),)
        return values[0]


# --- modules with weights ---------------------------------------------------------------------------------------------


def _two(value: object) -> tuple[object, object]:
    return (value[0], value[-1]) if isinstance(value, tuple | list) and value else (value, value)


class _Weighted(Module):
    """A module with parameters, that says its arguments as attributes."""

    says: dict[str, object]

    def change(self, c: Context, name: str, value: object) -> None:
        """Sets one of the `settings`; a bias stays one unless it is None."""
        if name == "bias":
            self.bias = value is not None
            self.parameters = {part: shape for part, shape in self.parameters.items() if self.bias or part != "bias"}
            return
        super().change(c, name, value)
        if name in self.says:
            self.says[name] = value

    def attribute(self, c: Context, name: str) -> object:
        """Returns one of the arguments; None where there might be a weight or a bias and is none."""
        if name in ("weight", "bias") and name not in self.parameters:
            return None
        return self.says[name] if name in self.says else super().attribute(c, name)


class _Conv(_Weighted):
    settings = frozenset({"stride", "padding", "dilation", "groups", "padding_mode", "output_padding", "bias"})
    padding_mode: object = "zeros"

    def _make(
        self, c: Context, inputs: object, outputs: object, kernel: object, bias: object, mode: object, **rest: object
    ) -> None:
        self.padding_mode = mode
        self.bias = c.flag(bias, "bias")
        self.says = {"in_channels": inputs, "out_channels": outputs, "kernel_size": _two(kernel), **rest}
        self.inputs, self.outputs, self.kernel = inputs, outputs, kernel

    def _declare(self, c: Context, first: object, second: object, biases: object) -> None:
        height, width = _two(self.kernel)
        sides: ParameterShape = (
            c.channels(first),
            c.channels(second),
            c.count(height, "kernel_size"),
            c.count(width, "kernel_size"),
        )
        self.parameters["weight"] = sides
        if self.bias:
            self.parameters["bias"] = (c.channels(biases),)

    def _margin(self, c: Context, x: object, margins: tuple[int, int, int, int]) -> object:
        """Returns maps with a margin before the layer: its top, bottom, left and right."""
        top, bottom, left, right = margins
        if self.padding_mode == "zeros":
            return c.layer(x, kinds.Padding(*margins))
        if self.padding_mode not in ("reflect", "replicate", "circular"):
            c.fail(f"the padding_mode {c.spell(self.padding_mode)} is not known")
        return _pad(c, x, (left, right, top, bottom), self.padding_mode)

    def _check(self, c: Context, x: object, name: str) -> None:
        c.check_channels(x, self.inputs, name)


@native("torch.nn.Conv2d")
class Conv2d(_Conv):
    """`nn.Conv2d`."""

    def __init__(
        self, c: Context, in_channels: object, out_channels: object, kernel_size: object, stride: object = 1,
        padding: object = 0, dilation: object = 1, groups: object = 1, bias: object = True,
        padding_mode: object = "zeros", device: object = None, dtype: object = None,
    ) -> None:  # fmt: skip
        super().__init__(c)
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        self._make(
            c, in_channels, out_channels, kernel_size, bias, padding_mode, stride=_two(stride), padding=_two(padding)
        )
        self._declare(c, out_channels, c.per_group(in_channels, groups), out_channels)

    def forward(self, c: Context, x: object) -> object:
        """Convolves."""
        name = c.name_of(self.instance)
        self._check(c, x, name)
        outputs, groups = c.whole(self.outputs, "out_channels"), c.whole(self.groups, "groups")
        kernel, dilation = c.sizes(self.kernel, "kernel_size"), c.sizes(self.dilation, "dilation")
        stride, padding = c.sizes(self.stride, "stride"), self.padding
        if padding == "same":
            x, padding = self._margin(c, x, _same(kernel, dilation)), 0
        elif self.padding_mode != "zeros" and padding != "valid":
            height, width = kinds.pair(c.sizes(padding, "padding"))
            x, padding = self._margin(c, x, (height, height, width, width)), 0
        pad = 0 if padding == "valid" else c.sizes(padding, "padding")
        return c.layer(x, kinds.Convolution(name, outputs, kernel, stride, pad, self.bias, 1.0, groups, dilation))


def _same(kernel: Pair, dilation: Pair) -> tuple[int, int, int, int]:
    """Returns the margins that keep a map's size: the odd pixel comes after."""
    totals = [(size - 1) * step for size, step in zip(kinds.pair(kernel), kinds.pair(dilation), strict=True)]
    (top, bottom), (left, right) = ((total // 2, total - total // 2) for total in totals)
    return top, bottom, left, right


@native("torch.nn.LazyConv2d")
class LazyConv2d(Conv2d):
    """`nn.LazyConv2d`."""

    def __init__(
        self, c: Context, out_channels: object, kernel_size: object, stride: object = 1, padding: object = 0,
        dilation: object = 1, groups: object = 1, bias: object = True, padding_mode: object = "zeros",
        device: object = None, dtype: object = None,
    ) -> None:  # fmt: skip
        c.budget.spend()
        Conv2d.__init__(self, c, None, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode)


@native("torch.nn.ConvTranspose2d")
class ConvTranspose2d(_Conv):
    """`nn.ConvTranspose2d`."""

    def __init__(
        self, c: Context, in_channels: object, out_channels: object, kernel_size: object, stride: object = 1,
        padding: object = 0, output_padding: object = 0, groups: object = 1, bias: object = True,
        dilation: object = 1, padding_mode: object = "zeros", device: object = None, dtype: object = None,
    ) -> None:  # fmt: skip
        super().__init__(c)
        self.stride, self.padding, self.output_padding = stride, padding, output_padding
        self.groups, self.dilation = groups, dilation
        self._make(c, in_channels, out_channels, kernel_size, bias, padding_mode)
        self._declare(c, in_channels, c.per_group(out_channels, groups), out_channels)

    def forward(self, c: Context, x: object, output_size: object = None) -> object:
        """Convolves, transposed."""
        if output_size is not None:
            c.fail("an output_size is not known")
        if self.padding_mode != "zeros":
            c.fail("a transposed convolution with another padding_mode is not known")
        name = c.name_of(self.instance)
        self._check(c, x, name)
        layer = kinds.TransposedConvolution(
            name,
            c.whole(self.outputs, "out_channels"),
            c.sizes(self.kernel, "kernel_size"),
            c.sizes(self.stride, "stride"),
            c.sizes(self.padding, "padding"),
            self.bias,
            c.whole(self.groups, "groups"),
            c.sizes(self.dilation, "dilation"),
            c.sizes(self.output_padding, "output_padding"),
        )
        return c.layer(x, layer)


@native("torch.nn.Linear")
class LinearModule(_Weighted):
    """`nn.Linear`."""

    settings = frozenset({"bias"})

    def __init__(
        self, c: Context, in_features: object, out_features: object, bias: object = True, device: object = None,
        dtype: object = None,
    ) -> None:  # fmt: skip
        super().__init__(c)
        self.says = {"in_features": in_features, "out_features": out_features}
        self.inputs, self.outputs, self.bias = in_features, out_features, c.flag(bias, "bias")
        self.parameters["weight"] = (c.channels(out_features), c.channels(in_features))
        if self.bias:
            self.parameters["bias"] = (c.channels(out_features),)

    def forward(self, c: Context, x: object) -> object:
        """Multiplies by a matrix."""
        name, shape = c.name_of(self.instance), c.tensor(x).node.shape
        told = c.parameter(self.instance, "weight")
        inputs = told[1] if told is not None else self.inputs
        if len(shape) > 1:
            if inputs is not None:  # another size of input may do
                c.check_features(x, math.prod(shape[:-1]) * c.whole(inputs, "in_features"), name)
            return c.layer(x, formulas.LinearAlongLast(name, c.whole(self.outputs, "out_features"), self.bias))
        c.check_features(x, inputs, name)
        return c.layer(x, kinds.Linear(name, c.whole(self.outputs, "out_features"), self.bias))


@native("torch.nn.LazyLinear")
class LazyLinear(LinearModule):
    """`nn.LazyLinear`."""

    def __init__(self, c: Context, out_features: object, bias: object = True) -> None:
        LinearModule.__init__(self, c, None, out_features, bias)


@native("torch.nn.BatchNorm2d", "torch.nn.BatchNorm1d", "torch.nn.SyncBatchNorm")
class BatchNorm(_Weighted):
    """`nn.BatchNorm2d`, and `nn.BatchNorm1d` on features."""

    settings = frozenset({"eps", "momentum"})

    def __init__(
        self, c: Context, num_features: object, eps: object = 1e-5, momentum: object = 0.1, affine: object = True,
        track_running_stats: object = True, device: object = None, dtype: object = None,
    ) -> None:  # fmt: skip
        super().__init__(c)
        if not c.flag(track_running_stats, "track_running_stats") or momentum is None:
            c.fail("a BatchNorm without running statistics of its own is not known")
        self.says = {"num_features": num_features, "eps": eps, "momentum": momentum}
        self.eps, self.momentum, self.affine = eps, momentum, c.flag(affine, "affine")
        sides: ParameterShape = (c.channels(num_features),)
        for name in (*(("weight", "bias") if self.affine else ()), "running_mean", "running_var"):
            self.parameters[name] = sides
        self.parameters["num_batches_tracked"] = ()
        self.optional = {"num_batches_tracked"}  # PyTorch <= 0.4 had none

    def do_convert_sync_batchnorm(self, c: Context, process_group: object = None) -> object:
        """Returns a module whose normalisations see the batches of all processes, which changes no answer."""
        return self.instance

    def forward(self, c: Context, x: object) -> object:
        """Normalises."""
        name = c.name_of(self.instance)
        c.check_channels(x, self.says["num_features"], name)
        own = c.real(self.eps, "eps")
        eps, decay = None if own == c.rules.eps else own, round(1 - c.real(self.momentum, "momentum"), 12)
        return c.layer(x, kinds.BatchNormalization(name, eps, self.affine, self.affine, decay))


class _Affine(_Weighted):
    """A normalisation of each example by itself, with a factor and an offset if these are said."""

    settings = frozenset({"eps"})

    def _make(self, c: Context, shape: ParameterShape, eps: object, affine: object, bias: object = True) -> None:
        self.eps = eps
        self.gamma = c.flag(affine, "affine")
        self.beta = self.gamma and c.flag(bias, "bias")
        for name, there in (("weight", self.gamma), ("bias", self.beta)):
            if there:
                self.parameters[name] = shape


@native("torch.nn.GroupNorm")
class GroupNorm(_Affine):
    """`nn.GroupNorm`."""

    def __init__(
        self, c: Context, num_groups: object, num_channels: object, eps: object = 1e-5, affine: object = True,
        device: object = None, dtype: object = None,
    ) -> None:  # fmt: skip
        super().__init__(c)
        self.says = {"num_groups": num_groups, "num_channels": num_channels, "eps": eps}
        self._make(c, (c.channels(num_channels),), eps, affine)

    def forward(self, c: Context, x: object) -> object:
        """Normalises groups of channels."""
        name = c.name_of(self.instance)
        c.check_channels(x, self.says["num_channels"], name)
        groups, eps = c.whole(self.says["num_groups"], "num_groups"), c.real(self.eps, "eps")
        return c.layer(x, formulas.GroupNormalization(name, groups, eps, self.gamma, self.beta))


@native("torch.nn.InstanceNorm2d")
class InstanceNorm(_Affine):
    """`nn.InstanceNorm2d`: as many groups as channels."""

    def __init__(
        self, c: Context, num_features: object, eps: object = 1e-5, momentum: object = 0.1, affine: object = False,
        track_running_stats: object = False, device: object = None, dtype: object = None,
    ) -> None:  # fmt: skip
        super().__init__(c)
        if c.flag(track_running_stats, "track_running_stats"):
            c.fail("an InstanceNorm2d with running statistics is not known")
        self.says = {"num_features": num_features, "eps": eps}
        self._make(c, (c.channels(num_features),), eps, affine)

    def forward(self, c: Context, x: object) -> object:
        """Normalises each channel; without a factor PyTorch takes any number of channels."""
        name, channels = c.name_of(self.instance), c.tensor(x).node.shape[0]
        if self.gamma:
            c.check_channels(x, self.says["num_features"], name)
        if len(c.tensor(x).node.shape) != 3:
            c.fail(f"{name} takes maps, and is given {c.tensor(x).node.shape}")
        return c.layer(x, formulas.GroupNormalization(name, channels, c.real(self.eps, "eps"), self.gamma, self.beta))


@native("torch.nn.LayerNorm")
class LayerNorm(_Affine):
    """`nn.LayerNorm`."""

    def __init__(
        self, c: Context, normalized_shape: object, eps: object = 1e-5, elementwise_affine: object = True,
        bias: object = True, device: object = None, dtype: object = None,
    ) -> None:  # fmt: skip
        super().__init__(c)
        self.shape = plain.iterate(c, normalized_shape) if not isinstance(normalized_shape, int) else [normalized_shape]
        self.says = {"normalized_shape": tuple(self.shape), "eps": eps}
        self._make(c, tuple(c.channels(side) for side in self.shape), eps, elementwise_affine, bias)

    def forward(self, c: Context, x: object) -> object:
        """Normalises the last axes together."""
        sides = tuple(c.whole(side, "normalized_shape") for side in self.shape)
        name, eps = c.name_of(self.instance), c.real(self.eps, "eps")
        given = c.tensor(x).node.shape
        wanted = (*given[: -len(sides)], *sides)
        if wanted != given and len(wanted) == len(given):  # another size of input may do
            c.check_features(x, math.prod(wanted), name)
        return c.layer(x, formulas.LayerNormalization(name, sides, eps, self.gamma, self.beta))


@native("torch.nn.PReLU")
class PReLUModule(_Weighted):
    """`nn.PReLU`."""

    def __init__(
        self, c: Context, num_parameters: object = 1, init: object = 0.25, device: object = None, dtype: object = None
    ) -> None:
        super().__init__(c)
        self.says = {"num_parameters": num_parameters}
        self.parameters["weight"] = (c.channels(num_parameters),)

    def forward(self, c: Context, x: object) -> object:
        """Gives what is negative a learned slope."""
        count = c.whole(self.says["num_parameters"], "num_parameters")
        if count not in (1, c.tensor(x).node.shape[0]):
            c.fail(f"{count} slopes for {c.tensor(x).node.shape[0]} channels")
        return c.layer(x, kinds.PReLU(c.name_of(self.instance), (count,)))


@function("torch.nn.Parameter", "torch.nn.parameter.Parameter")
def _parameter(c: Context, data: object = None, requires_grad: object = True) -> object:
    if not isinstance(data, Array):
        return data if isinstance(data, Unknown) else c.unknown("a parameter of no array")
    return Array(data.shape, data.numbers, None, data.shape, trained=True)


# --- modules without weights ------------------------------------------------------------------------------------------


def _kept(c: Context, input: object, result: object, inplace: object) -> object:
    """Returns what a function makes of a value, which may change the value to that."""
    return tensors.in_place(c, input, result) if c.flag(inplace, "inplace") else result


def _activated(c: Context, input: object, layer: Layer, inplace: object) -> object:
    return _kept(c, input, c.layer(input, layer), inplace)


@function("torch.nn.functional.relu", "torch.relu", "torch.Tensor.relu")
def _relu(c: Context, input: object, inplace: object = False) -> object:
    return _activated(c, input, kinds.ReLU(), inplace)


@function("torch.nn.functional.relu6")
def _relu6(c: Context, input: object, inplace: object = False) -> object:
    return _activated(c, input, kinds.ClippedReLU(6.0), inplace)


@function("torch.nn.functional.hardtanh")
def _hardtanh_function(
    c: Context, input: object, min_val: object = -1.0, max_val: object = 1.0, inplace: object = False
) -> object:
    return _kept(c, input, tensors.clip(c, input, c.real(min_val, "min_val"), c.real(max_val, "max_val")), inplace)


@function("torch.clamp", "torch.clip", "torch.Tensor.clamp", "torch.Tensor.clip")
def _clamp(c: Context, input: object, min: object = None, max: object = None) -> object:
    return tensors.clip(c, input, min, max)


@function("torch.nn.functional.leaky_relu")
def _leaky_relu(c: Context, input: object, negative_slope: object = 0.01, inplace: object = False) -> object:
    return _activated(c, input, kinds.LeakyReLU(c.real(negative_slope, "negative_slope")), inplace)


@function("torch.nn.functional.elu")
def _elu(c: Context, input: object, alpha: object = 1.0, inplace: object = False) -> object:
    return _activated(c, input, kinds.ELU(c.real(alpha, "alpha")), inplace)


@function("torch.nn.functional.selu", "torch.selu")
def _selu(c: Context, input: object, inplace: object = False) -> object:
    return _activated(c, input, kinds.SELU(), inplace)


@function("torch.nn.functional.silu")
def _silu(c: Context, input: object, inplace: object = False) -> object:
    return _kept(c, input, c.join([input, c.layer(input, kinds.Sigmoid())], "product"), inplace)


@function("torch.nn.functional.gelu")
def _gelu(c: Context, input: object, approximate: object = "none") -> object:
    if approximate not in ("none", "tanh"):
        c.fail(f"a GELU that is approximated by {c.spell(approximate)} is not known")
    return tensors.gelu_by_tanh(c, input) if approximate == "tanh" else c.layer(input, formulas.GELU())


@function("torch.nn.functional.softsign")
def _softsign(c: Context, input: object) -> object:
    more = c.layer(c.layer(input, formulas.Function("abs")), kinds.Affine(1.0, 1.0))
    return c.join([input, c.layer(more, formulas.Function("reciprocal"))], "product")


@function("torch.nn.functional.softshrink")
def _softshrink(c: Context, input: object, lambd: object = 0.5) -> object:
    width = c.real(lambd, "lambd")
    above = c.layer(c.layer(input, kinds.Affine(1.0, -width)), kinds.ReLU())
    below = c.layer(c.layer(input, kinds.Affine(-1.0, -width)), kinds.ReLU())
    return c.join([above, c.layer(below, kinds.Affine(-1.0))], "sum")


@function("torch.nn.functional.log_softmax", "torch.log_softmax", "torch.Tensor.log_softmax")
def _log_softmax(c: Context, input: object, dim: object, _stacklevel: object = 3, dtype: object = None) -> object:
    place = (tensors.axis_of(c, c.tensor(input), dim),)
    most = c.layer(c.layer(input, formulas.Reduction("max", place, keep=True)), kinds.Affine(-1.0))
    less = tensors.added(c, c.tensor(input), most)
    total = c.layer(c.layer(less, formulas.Function("exp")), formulas.Reduction("sum", place, keep=True))
    return tensors.added(c, less, c.layer(c.layer(total, formulas.Function("log")), kinds.Affine(-1.0)))


def _affine(c: Context, x: object, weight: object, bias: object, shape: tuple[int, ...]) -> object:
    """Returns a value times a parameter, plus another one, where they are given."""
    for kind, array in ((ast.Mult, weight), (ast.Add, bias)):
        if isinstance(array, Unknown):
            return array
        if array is not None:
            x = _operated(c, kind.__name__, x, tensors.reshape(c, array, shape) if isinstance(array, Array) else array)
    return x


@function("torch.nn.functional.layer_norm")
def _layer_norm(
    c: Context, input: object, normalized_shape: object, weight: object = None, bias: object = None, eps: object = 1e-5
) -> object:
    sides = tuple(c.whole(side, "normalized_shape") for side in plain.iterate(c, normalized_shape))
    layer = formulas.LayerNormalization(c.next_norm(), sides, c.real(eps, "eps"), gamma=False, beta=False)
    return _affine(c, c.layer(input, layer), weight, bias, sides)


@function("torch.nn.functional.group_norm")
def _group_norm(
    c: Context, input: object, num_groups: object, weight: object = None, bias: object = None, eps: object = 1e-5
) -> object:
    groups, shape = c.whole(num_groups, "num_groups"), c.tensor(input).node.shape
    layer = formulas.GroupNormalization(c.next_norm(), groups, c.real(eps, "eps"), gamma=False, beta=False)
    return _affine(c, c.layer(input, layer), weight, bias, (shape[0], *(1,) * (len(shape) - 1)))


@function("torch.nn.functional.instance_norm")
def _instance_norm(
    c: Context, input: object, running_mean: object = None, running_var: object = None, weight: object = None,
    bias: object = None, use_input_stats: object = True, momentum: object = 0.1, eps: object = 1e-5,
) -> object:  # fmt: skip
    if not c.flag(use_input_stats, "use_input_stats"):
        c.fail("an instance_norm with running statistics is not known")
    return _group_norm(c, input, c.tensor(input).node.shape[0], weight, bias, eps)


@function("torch.var", "torch.Tensor.var")
def _var(
    c: Context, input: object, dim: object = None, unbiased: object = True, keepdim: object = False, *,
    correction: object = None,
) -> object:  # fmt: skip
    tensor, less = c.tensor(input), 1 if correction is None and c.flag(unbiased, "unbiased") else 0
    less = less if correction is None else c.whole(correction, "correction")
    mean = tensors.over_maps(c, tensor, dim, True)
    if isinstance(mean, Unknown):
        return mean
    apart = tensors.added(c, tensor, c.layer(mean, kinds.Affine(-1.0)))
    over = [tensors.axis_of(c, tensor, axis) for axis in (dim if isinstance(dim, tuple | list) else (dim,))]
    count = math.prod(tensor.node.shape[axis] for axis in over)
    if less:
        c.fixed = c.fixed or c.place
    if count <= less:
        c.fail(f"a variance of {count} numbers is not known")
    found = tensors.over_maps(c, c.join([apart, apart], "product"), dim, keepdim)
    return c.layer(found, kinds.Affine(count / (count - less))) if less else found


@function("torch.std", "torch.Tensor.std")
def _std(
    c: Context, input: object, dim: object = None, unbiased: object = True, keepdim: object = False, *,
    correction: object = None,
) -> object:  # fmt: skip
    found = _var(c, input, dim, unbiased, keepdim, correction=correction)
    return found if isinstance(found, Unknown) else c.layer(found, formulas.Function("sqrt"))


@function("torch.nn.functional.mish")
def _mish(c: Context, input: object, inplace: object = False) -> object:
    gate = c.layer(c.layer(input, kinds.Softplus()), kinds.Tanh())
    return _kept(c, input, c.join([input, gate], "product"), inplace)


@function("torch.nn.functional.celu")
def _celu(c: Context, input: object, alpha: object = 1.0, inplace: object = False) -> object:
    width = c.real(alpha, "alpha")
    scaled = c.layer(c.layer(input, kinds.Affine(1 / width)), kinds.ELU())
    return _kept(c, input, c.layer(scaled, kinds.Affine(width)), inplace)


@function("torch.nn.functional.logsigmoid")
def _logsigmoid(c: Context, input: object) -> object:
    return c.layer(c.layer(c.layer(input, kinds.Affine(-1.0)), kinds.Softplus()), kinds.Affine(-1.0))


@function("torch.nn.functional.tanhshrink")
def _tanhshrink(c: Context, input: object) -> object:
    return c.join([input, c.layer(c.layer(input, kinds.Tanh()), kinds.Affine(-1.0))], "sum")


@function("torch.nn.functional.glu")
def _glu(c: Context, input: object, dim: object = -1) -> object:
    place = tensors.axis_of(c, c.tensor(input), dim)
    length = c.tensor(input).node.shape[place]
    if length % 2:
        c.fail(f"a GLU of {length} numbers is not known")
    half, gate = (tensors.part(c, input, place, start, start + length // 2) for start in (0, length // 2))
    return c.join([half, c.layer(gate, kinds.Sigmoid())], "product")


@function("torch.nn.functional.hardswish")
def _hardswish(c: Context, input: object, inplace: object = False) -> object:
    return _kept(c, input, c.join([input, _hardsigmoid(c, input)], "product"), inplace)


@function("torch.nn.functional.hardsigmoid")
def _hardsigmoid(c: Context, input: object, inplace: object = False) -> object:
    return _kept(c, input, c.layer(c.layer(input, kinds.Affine(1 / 6, 0.5)), kinds.ClippedReLU(1.0)), inplace)


@function("torch.sigmoid", "torch.nn.functional.sigmoid", "torch.Tensor.sigmoid")
def _sigmoid(c: Context, input: object) -> object:
    return c.layer(input, kinds.Sigmoid())


@function("torch.tanh", "torch.nn.functional.tanh", "torch.Tensor.tanh")
def _tanh(c: Context, input: object) -> object:
    return c.layer(input, kinds.Tanh())


@function("torch.nn.functional.softplus")
def _softplus(c: Context, input: object, beta: object = 1.0, threshold: object = 20.0) -> object:
    if c.real(threshold, "threshold") < 20:
        c.fail("a softplus with another threshold is not known")
    return c.layer(input, kinds.Softplus(c.real(beta, "beta")))


@function("torch.nn.functional.max_pool2d")
def _max_pool2d(
    c: Context, input: object, kernel_size: object, stride: object = None, padding: object = 0, dilation: object = 1,
    ceil_mode: object = False, return_indices: object = False,
) -> object:  # fmt: skip
    if c.sizes(dilation, "dilation") != 1 or c.flag(return_indices, "return_indices"):
        c.fail("max pooling with dilation or indices is not known")
    return pooled(c, input, kernel_size, stride, padding, average=False, ceil_mode=c.flag(ceil_mode, "ceil_mode"))


@function("torch.nn.functional.avg_pool2d")
def _avg_pool2d(
    c: Context, input: object, kernel_size: object, stride: object = None, padding: object = 0,
    ceil_mode: object = False, count_include_pad: object = True, divisor_override: object = None,
) -> object:  # fmt: skip
    if divisor_override is not None:
        c.fail("average pooling with another divisor is not known")
    return pooled(
        c, input, kernel_size, stride, padding, average=True, ceil_mode=c.flag(ceil_mode, "ceil_mode"),
        count_pad=c.flag(count_include_pad, "count_include_pad"),
    )  # fmt: skip


def _adaptive(c: Context, x: object, output_size: object, average: bool) -> object:
    tensor = c.tensor(x)
    sides = list(output_size) if isinstance(output_size, tuple | list) else [output_size] * 2
    if None in sides:
        other = sides[1 - sides.index(None)]
        if other != 1:
            c.fail("an adaptive pooling that leaves a side as it is, is not known")
        return c.layer(tensor, formulas.Reduction("mean" if average else "max", (2 - sides.index(None),), keep=True))
    size = c.sizes(tuple(sides), "output_size")
    if size == 1:
        return c.layer(tensor, kinds.GlobalAveragePooling() if average else kinds.GlobalMaxPooling())
    return c.layer(tensor, kinds.AdaptiveAveragePooling(size) if average else kinds.AdaptiveMaxPooling(size))


@function("torch.nn.functional.adaptive_avg_pool2d")
def _adaptive_avg_pool2d(c: Context, input: object, output_size: object) -> object:
    return _adaptive(c, input, output_size, average=True)


@function("torch.nn.functional.adaptive_max_pool2d")
def _adaptive_max_pool2d(c: Context, input: object, output_size: object, return_indices: object = False) -> object:
    if c.flag(return_indices, "return_indices"):
        c.fail("max pooling with indices is not known")
    return _adaptive(c, input, output_size, average=False)


@function("torch.nn.functional.local_response_norm")
def _local_response_norm(
    c: Context, input: object, size: object, alpha: object = 1e-4, beta: object = 0.75, k: object = 1.0
) -> object:
    window = c.whole(size, "size")
    layer = kinds.LocalResponseNormalization(
        c.next_norm(), window, c.real(k, "k"), c.real(alpha, "alpha") / max(window, 1), c.real(beta, "beta")
    )
    return c.layer(input, layer)


def _dropped(c: Context, x: object, p: object, training: object, inplace: object, channels: bool) -> object:
    from converters.networks.source.chainer_dialect import dropped

    said = "a dropout that is not told training=self.training drops in evaluation too"
    return _kept(c, x, dropped(c, x, p, training, said, channels), inplace)


@function("torch.nn.functional.dropout", "torch.dropout")
def _dropout(c: Context, input: object, p: object = 0.5, training: object = True, inplace: object = False) -> object:
    return _dropped(c, input, p, training, inplace, channels=False)


@function("torch.nn.functional.dropout2d")
def _dropout2d(c: Context, input: object, p: object = 0.5, training: object = True, inplace: object = False) -> object:
    return _dropped(c, input, p, training, inplace, channels=True)


@function("torch.nn.functional.interpolate", "torch.nn.functional.upsample")
def _interpolate(
    c: Context, input: object, size: object = None, scale_factor: object = None, mode: object = "nearest",
    align_corners: object = None, recompute_scale_factor: object = None, antialias: object = False,
) -> object:  # fmt: skip
    if mode not in ("nearest", "nearest-exact", "bilinear", "area") or c.flag(antialias, "antialias"):
        return c.unknown(f"interpolation by {c.spell(mode)}{' with antialias' if antialias else ''}")
    shape = c.tensor(input).node.shape
    if len(shape) != 3:
        c.fail(f"interpolation of {shape} for each example is not known")
    if mode == "bilinear" and align_corners is None:
        if not any(name.endswith("num_batches_tracked") for name in c.shapes):  # PyTorch has these since 0.4.1
            c.notice(
                f"{c.place}: nothing says align_corners: it is taken as False, PyTorch's default since 0.4; before it "
                "was True"
            )
        align_corners = False
    corners = align_corners is not None and c.flag(align_corners, "align_corners")
    if size is None and (mode == "area" or c.flag(recompute_scale_factor, "recompute_scale_factor")):
        factors = (c.real(factor, "scale_factor") for factor in _two(scale_factor))
        size = tuple(int(side * factor) for side, factor in zip(shape[1:], factors, strict=True))
        c.fix(c.tensor(input))
    if size is not None:
        return tensors.resized(c, input, _two(size), str(mode), corners)
    vertical, horizontal = (c.real(factor, "scale_factor") for factor in _two(scale_factor))
    scale = (vertical, horizontal)
    if mode != "bilinear" and vertical.is_integer() and horizontal.is_integer():
        return c.layer(input, kinds.Upsample(tensors.as_pair(int(vertical), int(horizontal))))
    if any(not (side * factor).is_integer() for side, factor in zip(shape[1:], scale, strict=True)):
        # Up to 1.5 it went by the whole numbers that come of it, and since 1.6 by the factor.
        c.fail(
            f"resizing sides of {shape[1:]} by {scale}, which makes no whole numbers, is not known: versions of "
            "PyTorch differ in that"
        )
    if mode == "nearest-exact":
        c.fail("interpolation to the nearest pixel by a fraction is not known")
    return c.layer(input, formulas.Resize("bilinear" if mode == "bilinear" else "nearest", None, scale, corners))


@function("torch.nn.functional.upsample_bilinear")
def _upsample_bilinear(c: Context, input: object, size: object = None, scale_factor: object = None) -> object:
    return _interpolate(c, input, size, scale_factor, "bilinear", True)


@function("torch.nn.functional.upsample_nearest")
def _upsample_nearest(c: Context, input: object, size: object = None, scale_factor: object = None) -> object:
    return _interpolate(c, input, size, scale_factor)


@function("torch.nn.functional.pad")
def _pad(c: Context, input: object, pad: object, mode: object = "constant", value: object = 0) -> object:
    margins = [c.whole(side, "pad") for side in plain.iterate(c, pad)]
    if mode in ("reflect", "replicate", "circular") and len(margins) == 4 and min(margins) >= 0:
        left, right, top, bottom = margins
        return c.layer(input, formulas.Margin(mode, top, bottom, left, right))
    if mode != "constant" or value not in (0, None) or len(margins) not in (2, 4) or min(margins) < 0:
        c.fail("a margin of other than zeros around maps is not known")
    left, right, top, bottom = [*margins, 0, 0][:4]
    return c.layer(input, kinds.Padding(top, bottom, left, right))


@native("torch.nn.Identity")
class Identity(Module):
    """`nn.Identity`."""

    def __init__(self, c: Context, *arguments: object, **keywords: object) -> None:
        super().__init__(c)

    def forward(self, c: Context, input: object) -> object:
        """Changes nothing."""
        return c.tensor(input)


class _Stored(Module):
    """A module that calls a function with the arguments that it was made with."""

    called = ""
    names: tuple[str, ...] = ()
    defaults: dict[str, object] = {}  # noqa: RUF012 - each subclass has its own

    def __init__(self, c: Context, *arguments: object, **keywords: object) -> None:
        super().__init__(c)
        unknown = keywords.keys() - set(self.names)
        if len(arguments) > len(self.names) or unknown:
            c.fail(f"{self.spelled} with these arguments is not known: {', '.join(sorted(unknown)) or 'too many'}")
        self.said = {**self.defaults, **dict(zip(self.names, arguments, strict=False)), **keywords}

    def change(self, c: Context, name: str, value: object) -> None:
        """Sets one of the `settings`."""
        self.said[name] = value

    def forward(self, c: Context, input: object) -> object:
        """Calls the function."""
        return c.call(KNOWN[self.called], (input,), self.said)

    def attribute(self, c: Context, name: str) -> object:
        """Returns one of the arguments."""
        return self.said[name] if name in self.said else super().attribute(c, name)


def _stored(name: str, called: str, names: str = "", **defaults: object) -> None:
    """Says that a module calls a function: one of `torch.nn.functional`, or by its whole name."""
    said = {"called": called if "." in called else f"torch.nn.functional.{called}", "defaults": defaults}
    kind = type(name, (_Stored,), {**said, "names": tuple(names.split()), "settings": frozenset(names.split())})
    native(f"torch.nn.{name}")(kind)


_stored("ReLU", "relu", "inplace")
_stored("ReLU6", "relu6", "inplace")
_stored("LeakyReLU", "leaky_relu", "negative_slope inplace")
_stored("ELU", "elu", "alpha inplace")
_stored("SELU", "selu", "inplace")
_stored("SiLU", "silu", "inplace")
_stored("GELU", "gelu", "approximate")
_stored("Mish", "mish", "inplace")
_stored("CELU", "celu", "alpha inplace")
_stored("LogSigmoid", "logsigmoid")
_stored("Tanhshrink", "tanhshrink")
_stored("Softsign", "softsign")
_stored("Softshrink", "softshrink", "lambd")
_stored("LogSoftmax", "log_softmax", "dim")
_stored("GLU", "glu", "dim")
_stored("PixelShuffle", "pixel_shuffle", "upscale_factor")
_stored("Softmax", "softmax", "dim")
_stored("Flatten", "torch.flatten", "start_dim end_dim", start_dim=1)
_stored("Hardswish", "hardswish", "inplace")
_stored("Hardsigmoid", "hardsigmoid", "inplace")
_stored("Hardtanh", "hardtanh", "min_val max_val inplace")
_stored("Sigmoid", "sigmoid")
_stored("Tanh", "tanh")
_stored("Softplus", "softplus", "beta threshold")
_stored("MaxPool2d", "max_pool2d", "kernel_size stride padding dilation return_indices ceil_mode")
_stored("AvgPool2d", "avg_pool2d", "kernel_size stride padding ceil_mode count_include_pad divisor_override")
_stored("AdaptiveAvgPool2d", "adaptive_avg_pool2d", "output_size")
_stored("AdaptiveMaxPool2d", "adaptive_max_pool2d", "output_size return_indices")
_stored("LocalResponseNorm", "local_response_norm", "size alpha beta k")
_stored("Upsample", "interpolate", "size scale_factor mode align_corners recompute_scale_factor")
_stored("UpsamplingNearest2d", "interpolate", "size scale_factor")
_stored("UpsamplingBilinear2d", "upsample_bilinear", "size scale_factor")


class _DropoutModule(_Stored):
    names = ("p", "inplace")
    settings = frozenset(names)

    def forward(self, c: Context, input: object) -> object:
        """Drops in training."""
        return c.call(KNOWN[self.called], (input,), {**self.said, "training": Mode(c.training)})


for _word in ("dropout", "dropout2d"):
    _kind = type(_word.capitalize(), (_DropoutModule,), {"called": f"torch.nn.functional.{_word}"})
    native(f"torch.nn.{_word.capitalize()}")(_kind)


class _Margin(Module):
    settings = frozenset({"padding", "value"})
    mode = ""

    def __init__(self, c: Context, padding: object, value: object = 0) -> None:
        super().__init__(c)
        self.padding, self.value = padding if isinstance(padding, tuple | list) else (padding,) * 4, value

    def forward(self, c: Context, input: object) -> object:
        """Adds a margin."""
        return _pad(c, input, self.padding, self.mode, self.value)


for _word, _mode in (
    *(("Zero", "constant"), ("Constant", "constant")),
    *(("Reflection", "reflect"), ("Replication", "replicate"), ("Circular", "circular")),
):
    native(f"torch.nn.{_word}Pad2d")(type(f"{_word}Pad2d", (_Margin,), {"mode": _mode}))


@native("torch.nn.Softmax2d")
class Softmax2d(Module):
    """`nn.Softmax2d`: over the channels."""

    def forward(self, c: Context, input: object) -> object:
        """Returns shares."""
        return tensors.softmax(c, input, 1)


@native("torch.nn.AlphaDropout", "torch.nn.FeatureAlphaDropout")
class AlphaDropout(Module):
    """`nn.AlphaDropout`, which does nothing at test time."""

    def __init__(self, c: Context, p: object = 0.5, inplace: object = False) -> None:
        super().__init__(c)

    def forward(self, c: Context, input: object) -> object:
        """Changes nothing."""
        return c.unknown("an AlphaDropout in training") if c.training else c.tensor(input)


@native("torch.nn.Unflatten")
class Unflatten(Module):
    """`nn.Unflatten`."""

    def __init__(self, c: Context, dim: object, unflattened_size: object) -> None:
        super().__init__(c)
        self.dim, self.size = dim, unflattened_size

    def forward(self, c: Context, input: object) -> object:
        """Gives features sides."""
        tensor = c.tensor(input)
        axis = tensors.axis_of(c, tensor, self.dim)
        sides = list(tensor.shape)
        sides[axis + 1 : axis + 2] = plain.iterate(c, self.size)
        return tensors.reshape(c, tensor, tuple(sides))


# --- functions and methods of tensors ---------------------------------------------------------------------------------


@function("torch.flatten", "torch.Tensor.flatten")
def _flatten(c: Context, input: object, start_dim: object = 0, end_dim: object = -1) -> object:
    tensor = c.tensor(input)
    if c.whole(start_dim, "start_dim") == 0:
        return c.unknown("flatten of the batch too")
    count = len(tensor.node.shape)
    start, end = tensors.axis_of(c, tensor, start_dim), tensors.axis_of(c, tensor, end_dim)
    if (start, end) == (0, count - 1):
        return tensors.reshape(c, tensor, (c.tensor(input).shape[0], -1))
    sides = tensor.node.shape
    c.fix(tensor)
    merged = (*sides[:start], math.prod(sides[start : end + 1]), *sides[end + 1 :])
    return tensors.reshape(c, tensor, (tensor.shape[0], *merged))


@function("torch.Tensor.view", "torch.Tensor.reshape")
def _view(c: Context, input: object, *shape: object) -> object:
    return tensors.reshape(c, input, shape[0] if len(shape) == 1 else shape)


@function("torch.reshape")
def _reshape(c: Context, input: object, shape: object) -> object:
    return tensors.reshape(c, input, shape)


@function("torch.Tensor.size")
def _size(c: Context, input: object, dim: object = None) -> object:
    shape = c.tensor(input).shape
    if dim is None:
        return shape
    number = c.whole(dim, "dim")
    if not -len(shape) <= number < len(shape):
        c.fail(f"there is no side {number}")
    return shape[number]


@function("torch.Tensor.dim", "torch.Tensor.ndimension")
def _dim(c: Context, input: object) -> object:
    return len(c.tensor(input).node.shape) + 1


@function("torch.Tensor.numel")
def _numel(c: Context, input: object) -> object:
    return c.unknown("the number of numbers in a batch")


@function("torch.Tensor.permute", "torch.permute")
def _permute(c: Context, input: object, *dims: object) -> object:
    order = tuple(plain.iterate(c, dims[0])) if len(dims) == 1 else dims
    return tensors.transpose(c, input, order)


@function("torch.Tensor.transpose", "torch.transpose")
def _transpose(c: Context, input: object, dim0: object, dim1: object) -> object:
    count = len(c.tensor(input).node.shape) + 1
    order = list(range(count))
    one, other = (c.whole(dim, "dim") % count for dim in (dim0, dim1))
    order[one], order[other] = order[other], order[one]
    return tensors.transpose(c, input, tuple(order))


@function("torch.Tensor.squeeze", "torch.squeeze")
def _squeeze(c: Context, input: object, dim: object = None) -> object:
    return tensors.squeeze(c, input, dim)


@function("torch.Tensor.unsqueeze", "torch.unsqueeze")
def _unsqueeze(c: Context, input: object, dim: object) -> object:
    return tensors.unsqueeze(c, input, dim)


@function("torch.Tensor.mean", "torch.mean")
def _mean(c: Context, input: object, dim: object = None, keepdim: object = False) -> object:
    return tensors.over_maps(c, input, dim, keepdim)


@function("torch.Tensor.amax", "torch.amax")
def _amax(c: Context, input: object, dim: object = None, keepdim: object = False) -> object:
    return tensors.over_maps(c, input, dim, keepdim, largest=True)


@function("torch.Tensor.amin", "torch.amin")
def _amin(c: Context, input: object, dim: object = None, keepdim: object = False) -> object:
    least = tensors.over_maps(c, c.layer(input, kinds.Affine(-1.0)), dim, keepdim, largest=True)
    return least if isinstance(least, Unknown) else c.layer(least, kinds.Affine(-1.0))


@function("torch.Tensor.sum", "torch.sum")
def _sum(c: Context, input: object, dim: object = None, keepdim: object = False, **keywords: object) -> object:
    return tensors.total(c, input, keywords.get("axis", dim), keywords.get("keepdims", keepdim))


@function("torch.Tensor.max", "torch.max", "torch.maximum")
def _max(c: Context, input: object, dim: object = None, keepdim: object = False, *, other: object = None) -> object:
    other = dim if isinstance(dim, Tensor) else other
    if other is not None:
        return tensors.larger(c, input, other)
    values = tensors.over_maps(c, input, dim, keepdim, largest=True)
    return values if isinstance(values, Unknown) else (values, c.unknown("the places of the largest"))


@function("torch.Tensor.min", "torch.min", "torch.minimum")
def _min(c: Context, input: object, dim: object = None, keepdim: object = False, *, other: object = None) -> object:
    other = dim if isinstance(dim, Tensor) else other
    if other is not None:
        return tensors.smaller(c, input, other)
    values = tensors.over_maps(c, c.layer(input, kinds.Affine(-1.0)), dim, keepdim, largest=True)
    if isinstance(values, Unknown):
        return values
    return c.layer(values, kinds.Affine(-1.0)), c.unknown("the places of the smallest")


@function("torch.nn.functional.softmax", "torch.softmax", "torch.Tensor.softmax")
def _softmax(c: Context, input: object, dim: object = None, _stacklevel: object = 3, dtype: object = None) -> object:
    if dim is None:  # as PyTorch chose before it had to be said
        if len(c.tensor(input).node.shape) == 2:
            return c.unknown("a softmax over the batch")
        dim = 1
    return tensors.softmax(c, input, dim)


@function("torch.nn.functional.normalize")
def _normalize(c: Context, input: object, p: object = 2.0, dim: object = 1, eps: object = 1e-12) -> object:
    return tensors.normalised(c, input, dim, c.real(p, "p"), c.real(eps, "eps"))


@function("torch.nn.functional.pixel_shuffle", "torch.pixel_shuffle")
def _pixel_shuffle(c: Context, input: object, upscale_factor: object) -> object:
    return tensors.pixel_shuffle(c, input, c.whole(upscale_factor, "upscale_factor"))


def _of_each_number(name: formulas.FunctionName) -> Callable[..., object]:
    def call(c: Context, input: object) -> object:
        return c.layer(input, formulas.Function(name))

    return call


for _function in formulas.FUNCTIONS:
    function(f"torch.{_function}", f"torch.Tensor.{_function}")(_of_each_number(_function))


@function("torch.square", "torch.Tensor.square")
def _square(c: Context, input: object) -> object:
    return c.join([input, input], "product")


@function("torch.rsqrt", "torch.Tensor.rsqrt")
def _rsqrt(c: Context, input: object) -> object:
    return c.layer(c.layer(input, formulas.Function("sqrt")), formulas.Function("reciprocal"))


@function("torch.pow", "torch.Tensor.pow")
def _pow(c: Context, input: object, exponent: object) -> object:
    return _operated(c, "Pow", input, exponent)


@function("torch.neg", "torch.Tensor.neg")
def _neg(c: Context, input: object) -> object:
    return c.layer(input, kinds.Affine(-1.0))


@function("torch.cat", "torch.concat")
def _cat(c: Context, tensors_: object = None, dim: object = 0, **keywords: object) -> object:
    values = plain.iterate(c, keywords.get("tensors", tensors_))
    if not values:
        c.fail("nothing that is concatenated is not known")
    return tensors.concatenated(c, values, dim)


@function("torch.stack")
def _stack(c: Context, tensors_: object = None, dim: object = 0, **keywords: object) -> object:
    values = plain.iterate(c, keywords.get("tensors", tensors_))
    if not values:
        c.fail("a stack of nothing is not known")
    return tensors.stack(c, values, dim)


@function("torch.Tensor.expand_as")
def _expand_as(c: Context, input: object, other: object) -> object:
    ones = c.layer(other, kinds.Affine(0.0, 1.0))
    if ones.node.shape[:1] != c.tensor(input).node.shape[:1]:
        c.fail(f"expanding {c.spell(input)} to {c.spell(other)} is not known")
    return c.join([input, ones], "product")


@function("torch.flip", "torch.Tensor.flip")
def _flip(c: Context, input: object, *dims: object) -> object:
    return tensors.flip(c, input, plain.iterate(c, dims[0]) if isinstance(dims[0], list | tuple) else list(dims))


@function("torch.add", "torch.Tensor.add")
def _add(c: Context, input: object, other: object, *, alpha: object = 1) -> object:
    return _operated(c, "Add", input, _times(c, other, alpha))


@function("torch.mul", "torch.Tensor.mul")
def _mul(c: Context, input: object, other: object) -> object:
    return _operated(c, "Mult", input, other)


@function("torch.sub", "torch.Tensor.sub")
def _sub(c: Context, input: object, other: object, *, alpha: object = 1) -> object:
    return _operated(c, "Sub", input, _times(c, other, alpha))


@function("torch.div", "torch.Tensor.div")
def _div(c: Context, input: object, other: object) -> object:
    return _operated(c, "Div", input, other)


def _times(c: Context, other: object, alpha: object) -> object:
    if alpha == 1 or isinstance(other, Unknown):
        return other
    factor = c.real(alpha, "alpha")
    return c.layer(other, kinds.Affine(factor)) if isinstance(other, Tensor) else c.real(other, "the number") * factor


def _operated(c: Context, kind: str, input: object, other: object) -> object:
    if isinstance(other, Unknown):
        return other
    return tensors.arithmetic(c, getattr(ast, kind), input, other)


def _in_place(call: Callable[..., object]) -> Callable[..., object]:
    """Returns what changes its first argument to what a function makes of it."""

    @functools.wraps(call)  # which has its arguments
    def changed(c: Context, input: object, /, *arguments: object, **keywords: object) -> object:
        result = call(c, input, *arguments, **keywords)
        return result if isinstance(result, Unknown) else tensors.in_place(c, input, result)

    return changed


function("torch.nn.functional.relu_")(_in_place(_relu))
for _name, _call in (
    *(("add", _add), ("mul", _mul), ("sub", _sub), ("div", _div)),
    *(("clamp", _clamp), ("clip", _clamp), ("relu", _relu), ("sigmoid", _sigmoid), ("tanh", _tanh)),
):
    function(f"torch.{_name}_", f"torch.Tensor.{_name}_")(_in_place(_call))


@function("torch.chunk", "torch.Tensor.chunk")
def _chunk(c: Context, input: object, chunks: object, dim: object = 0) -> object:
    length = tensors.length_of(c, input, dim)
    size = -(-length // max(c.whole(chunks, "chunks"), 1))
    return tensors.split(c, input, list(range(size, length, size)), dim)


@function("torch.split", "torch.Tensor.split")
def _split(c: Context, input: object, split_size_or_sections: object, dim: object = 0) -> object:
    if isinstance(split_size_or_sections, tuple | list):
        sizes = [c.whole(size, "a size") for size in split_size_or_sections]
        bounds = list(itertools.accumulate(sizes))[:-1]
    else:
        size = max(c.whole(split_size_or_sections, "split_size"), 1)
        bounds = list(range(size, tensors.length_of(c, input, dim), size))
    return tensors.split(c, input, bounds, dim)


@function(
    "torch.Tensor.contiguous", "torch.Tensor.to", "torch.Tensor.cuda", "torch.Tensor.cpu", "torch.Tensor.float",
    "torch.Tensor.detach", "torch.Tensor.requires_grad_", "torch.autograd.Variable",
)  # fmt: skip
def _unchanged(c: Context, input: object, *arguments: object, **keywords: object) -> object:
    return input


@function("torch.Tensor.clone", "torch.clone")
def _clone(c: Context, input: object, **keywords: object) -> object:
    return Tensor(c.tensor(input).node)


@function("torch.cuda.is_available")
def _is_available(c: Context) -> object:
    return False


@function(
    "torch.no_grad", "torch.enable_grad", "torch.inference_mode", "torch.set_grad_enabled", "torch.autocast",
    "torch.amp.autocast", "torch.cuda.amp.autocast",
)  # fmt: skip
def _quiet(c: Context, /, *arguments: object, **keywords: object) -> object:
    return Switch()


@function("torch.utils.checkpoint.checkpoint")
def _checkpoint(c: Context, function: object, /, *values: object, **options: object) -> object:
    """Calls a function whose values a training makes again instead of keeping them."""
    return c.call(function, values, {})


@function("torch.Size")
def _torch_size(c: Context, sides: object) -> object:
    return tuple(plain.iterate(c, sides))
