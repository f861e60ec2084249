"""Follows a source without running it: expressions, statements, calls and classes of Python, over known names."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from types import EllipsisType, FunctionType, MethodType

from packaging.version import Version

from converters.errors import DeepPoseError
from converters.networks.source import arrays, plain
from converters.networks.source.budget import MOST_CHARACTERS, Budget, bounded
from converters.networks.source.bundled import tree_of
from converters.networks.source.context import Context
from converters.networks.source.errors import Place, SourceError
from converters.networks.source.program import imported, program_of
from converters.networks.source.registry import KNOWN, ByVersion, function, known_in, look_up
from converters.networks.source.tensors import arithmetic, tensor_attribute, tensor_item
from converters.networks.source.tensors import in_place as changed_in_place
from converters.networks.source.text import parse
from converters.networks.source.values import (
    Array,
    Attributes,
    Batch,
    Bound,
    Bundled,
    Class,
    Everything,
    Function,
    Given,
    Instance,
    Later,
    Mode,
    Namespace,
    Native,
    NativeFunction,
    NativeMethod,
    Parsed,
    Parser,
    Partial,
    Program,
    Scope,
    Super,
    Switch,
    Tensor,
    Trains,
    Unknown,
    traced,
)


class _Return(Exception):  # noqa: N818 - it is none
    def __init__(self, value: object) -> None:
        self.value = value


class _Break(Exception):  # noqa: N818
    pass


class _Continue(Exception):  # noqa: N818
    pass


#: A method that says nothing of the network wherever it stands.
_QUIET_DECORATORS = ("torch.no_grad", "torch.inference_mode", "torch.jit.export", "torch.jit.ignore", "static_graph")
#: Python's types, as names of the source.
_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float,),
    "str": (str,),
    "bool": (bool,),
    "list": (list,),
    "tuple": (tuple,),
    "dict": (dict,),
    "set": (set,),
    "object": (object,),
}


class Evaluator(Context):
    """Follows the classes and functions of a file.

    Attributes:
        program: The file.
        old_torchvision: Whether torchvision's models are those before its version 0.2.2.
    """

    def __init__(self, program: Program, budget: Budget, version: Version) -> None:
        super().__init__(budget, version)
        self.program = program
        self._evaluating: set[tuple[int, str]] = set()
        self._bundled: dict[str, Program] = {}
        self._yielding: dict[int, bool] = {}
        # Arguments of a command line whose defaults are taken, each with its default in words.
        self.defaulted: dict[str, str] = {}
        self.old_torchvision = False

    # --- names --------------------------------------------------------------------------------------------------------

    def global_name(self, program: Program, name: str) -> object:
        """Returns what a name of a file stands for."""
        value = program.names.get(name)
        if isinstance(value, Later):
            key = (id(program), name)
            if key in self._evaluating:
                return Unknown(f"{name}, which is made of itself,", Place(program.file, value.node.lineno))
            self._evaluating.add(key)
            changed: dict[str, object] = {
                other: Unknown(f"{other}, which is changed here and read before,", Place(program.file, line))
                for other, line in value.changed
            }
            try:
                with self._at(program):
                    made = self.defined(value.node, Scope(program, changed))
            finally:
                self._evaluating.discard(key)
            program.names[name] = made
            return made
        if value is not None or name in program.names:
            return self._meant(value)
        for module in (*program.stars, "builtins"):
            if (found := look_up(f"{module}.{name}")) is not None:
                return self._meant(found)
        return self.unknown(f"the name {name}")

    def defined(self, node: ast.expr | ast.FunctionDef | ast.ClassDef, scope: Scope) -> object:
        """Returns what a definition or an expression outside of the network stands for; an Unknown where it fails."""
        match node:
            case ast.FunctionDef():
                return self._function(node, scope, None)
            case ast.ClassDef():
                return self._class(node, scope)
        try:
            return self.evaluate(node, scope)
        except SourceError as error:  # nothing outside of the network is refused before the network needs it
            what = error.problem.partition(": ")[2].removesuffix(" is not known")
            return error.unknown or Unknown(what, error.place)

    def _name(self, name: str, scope: Scope) -> object:
        for inner in _outwards(scope):
            if name in inner.names:
                return self._meant(inner.names[name])
        return self.global_name(scope.program, name)

    @contextlib.contextmanager
    def _at(self, program: Program, line: int = 0) -> Iterator[None]:
        before = self.place
        self._follow(program, line)
        try:
            yield
        finally:
            self.place = before

    def _follow(self, program: Program, line: int) -> None:
        """Says that a line is followed."""
        if not program.hidden and (line != self.place.line or program.file != self.place.file):
            self.place = Place(program.file, line)

    # --- expressions --------------------------------------------------------------------------------------------------

    def evaluate(self, node: ast.expr, scope: Scope) -> object:
        """Returns the value of an expression."""
        self.budget.spend()
        self.budget.enter()
        self._follow(scope.program, node.lineno)
        try:
            return bounded(self._evaluated(node, scope))
        finally:
            self.budget.leave()

    def _evaluated(self, node: ast.expr, scope: Scope) -> object:
        match node:
            case ast.Constant(value):
                if isinstance(value, str) and len(value) > MOST_CHARACTERS:
                    return self.unknown("a text")
                known = value is None or isinstance(value, bool | int | float | str | EllipsisType)
                return value if known else self.unknown(f"the constant {value!r}")
            case ast.Name(name):
                return self._name(name, scope)
            case ast.Attribute(value, name):
                name = _mangled(name, scope)
                if isinstance(value, ast.Name) and (value.id, name) in scope.program.replaced:
                    line = scope.program.replaced[value.id, name]
                    return Unknown(f"{value.id}.{name}, which the file replaces,", Place(scope.program.file, line))
                return self.attribute(self.evaluate(value, scope), name)
            case ast.Call():
                return self._call(node, scope)
            case ast.BinOp(left, op, right):
                return self.operate(type(op), self.evaluate(left, scope), self.evaluate(right, scope))
            case ast.UnaryOp(op, operand):
                return self._unary(op, self.evaluate(operand, scope))
            case ast.BoolOp(op, values):
                result: object = None
                for value in values:
                    result = self.evaluate(value, scope)
                    if isinstance(result, Unknown) or plain.truth(self, result) == isinstance(op, ast.Or):
                        return result
                return result
            case ast.Compare():
                return self._compare(node, scope)
            case ast.IfExp(test, body, orelse):
                return self.evaluate(body if plain.truth(self, self.evaluate(test, scope)) else orelse, scope)
            case ast.List(elements):
                return self._elements(elements, scope)
            case ast.Tuple(elements):
                return tuple(self._elements(elements, scope))
            case ast.Set(elements):
                return {plain.key_of(self, item) for item in self._elements(elements, scope)}
            case ast.Dict(keys, values):
                made: dict[object, object] = {}
                for key, value in zip(keys, values, strict=True):
                    item = self.evaluate(value, scope)
                    if key is not None:
                        made[plain.key_of(self, self.evaluate(key, scope))] = item
                    elif isinstance(item, dict):
                        made.update(item)
                    else:
                        self.fail(f"**{self.spell(item)} is not known")
                return made
            case ast.Subscript(value, index):
                return self.item(self.evaluate(value, scope), self._index(index, scope))
            case ast.Slice():
                return self._index(node, scope)
            case ast.ListComp(element, generators) | ast.GeneratorExp(element, generators):
                return [self.evaluate(element, inner) for inner in self._generated(generators, scope)]
            case ast.SetComp(element, generators):
                return {
                    plain.key_of(self, self.evaluate(element, inner)) for inner in self._generated(generators, scope)
                }
            case ast.DictComp(key, value, generators):
                return {
                    plain.key_of(self, self.evaluate(key, inner)): self.evaluate(value, inner)
                    for inner in self._generated(generators, scope)
                }
            case ast.JoinedStr(values):
                return self._joined_string(values, scope)
            case ast.Lambda():
                return self._function(node, scope, None)
            case ast.NamedExpr(target, value):
                outside = next(outer for outer in _outwards(scope) if not outer.comprehension)
                self.assign(target, self.evaluate(value, scope), outside)
                return self.evaluate(target, outside)
        self.fail(f"{type(node).__name__} is not known")

    def _elements(self, nodes: list[ast.expr], scope: Scope) -> list[object]:
        result: list[object] = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                result += plain.iterate(self, self.evaluate(node.value, scope))
                bounded(result)
            else:
                result.append(self.evaluate(node, scope))
        return result

    def _index(self, node: ast.expr, scope: Scope) -> object:
        match node:
            case ast.Slice(lower, upper, step):
                bounds = (None if bound is None else self.evaluate(bound, scope) for bound in (lower, upper, step))
                return slice(*bounds)
            case ast.Tuple(elements):
                return tuple(self._index(element, scope) for element in elements)
        return self.evaluate(node, scope)

    def _generated(self, generators: list[ast.comprehension], scope: Scope) -> Iterator[Scope]:
        if not generators:
            yield scope
            return
        first, *others = generators
        values = plain.iterate(self, self.evaluate(first.iter, scope))
        # All rounds have one scope: a function that is made in one of them sees the names of the last.
        inner = scope if scope.comprehension else Scope(scope.program, {}, scope, scope.owner, comprehension=True)
        for value in values:
            self.assign(first.target, value, inner)
            if all(plain.truth(self, self.evaluate(test, inner)) for test in first.ifs):
                yield from self._generated(others, inner)

    def _joined_string(self, values: list[ast.expr], scope: Scope) -> object:
        parts = []
        for value in values:
            if isinstance(value, ast.FormattedValue):
                inside = self.evaluate(value.value, scope)
                if isinstance(inside, Unknown):
                    return inside
                spec = "" if value.format_spec is None else self.evaluate(value.format_spec, scope)
                if value.conversion not in (-1, ord("s")) or not isinstance(inside, int | float | str):
                    return self.unknown("a string of this")
                parts.append(plain.filled_in(self, f"{{:{spec}}}", (inside,), {}))
            else:
                parts.append(str(self.evaluate(value, scope)))
            bounded("".join(parts))
        return "".join(parts)

    def _unary(self, op: ast.unaryop, value: object) -> object:
        if isinstance(value, Unknown):
            return value
        if isinstance(op, ast.Not):
            return Mode(not value.value) if isinstance(value, Mode) else not plain.truth(self, value)
        if isinstance(value, Tensor) and isinstance(op, ast.USub):
            return arithmetic(self, ast.Mult, value, -1)
        if isinstance(value, Array) and isinstance(op, ast.USub):
            return arrays.operated(self, ast.Mult, value, -1)
        if not isinstance(value, int | float):
            self.fail(f"{type(op).__name__} of {self.spell(value)} is not known")
        if isinstance(op, ast.UAdd):
            return value
        if isinstance(op, ast.USub):
            return traced(-value, "Sub", 0, value)
        return ~self.whole(value, "the number")

    def _compare(self, node: ast.Compare, scope: Scope) -> object:
        left = self.evaluate(node.left, scope)
        result: object = True
        for op, comparator in zip(node.ops, node.comparators, strict=True):
            right = self.evaluate(comparator, scope)
            result = self._compared(op, left, right)
            if isinstance(result, Unknown) or not plain.truth(self, result):
                return result
            left = right
        return result

    def _compared(self, op: ast.cmpop, left: object, right: object) -> object:
        left, right = self.plain(left), self.plain(right)
        equality = isinstance(op, ast.Is | ast.IsNot | ast.Eq | ast.NotEq)
        if isinstance(left, Given) and right is None and equality:
            return isinstance(op, ast.IsNot | ast.NotEq)
        for value in (left, right):
            if isinstance(value, Unknown):
                return value
        if isinstance(left, Mode) and isinstance(right, bool) and equality:
            return Mode((left.value == right) == isinstance(op, ast.Eq | ast.Is))
        if isinstance(left, Batch) or isinstance(right, Batch):
            return self.unknown("a condition on the batch's size")
        if isinstance(op, ast.In | ast.NotIn) and isinstance(right, Instance):
            children = right.native.items(self) if right.native is not None else None
            right = list(right.children) if children is None or isinstance(left, str) else children
        if isinstance(left, Tensor | Instance | Class | Function) and not isinstance(op, ast.In | ast.NotIn):
            same = left is right
            if isinstance(op, ast.Is | ast.Eq):
                return same
            return not same if isinstance(op, ast.IsNot | ast.NotEq) else self.unknown("this comparison")
        return plain.compare(self, type(op), left, right)

    def operate(self, kind: type[ast.operator], left: object, right: object, in_place: bool = False) -> object:
        """Returns what an operator makes of two values."""
        for value in (left, right):
            if isinstance(value, Unknown):
                return value
        if isinstance(left, Tensor) or isinstance(right, Tensor):
            result = arithmetic(self, kind, left, right)
            if in_place and isinstance(left, Tensor) and isinstance(result, Tensor) and self.framework == "torch":
                return changed_in_place(self, left, result)
            return result
        if isinstance(left, Array) or isinstance(right, Array):
            return arrays.operated(self, kind, left, right)
        if in_place and kind is ast.Add and isinstance(left, list):
            left.extend(plain.iterate(self, right))
            return bounded(left)
        if in_place and kind is ast.Add and isinstance(left, Instance) and left.native is not None:
            extend = self.attribute(left, "extend")
            self.call(extend, (right,), {})
            return left
        if kind is ast.Add and isinstance(left, Instance) and left.native is not None:
            return left.native.add(self, right)
        if isinstance(left, Everything) and isinstance(right, Batch) and kind in (ast.FloorDiv, ast.Div):
            return functools.reduce(lambda one, side: plain.binary(self, ast.Mult, one, side), left.value.shape[1:])
        for value in (left, right):
            if isinstance(value, Batch | Everything):
                return self.unknown("a number made of the batch's size")
        return plain.binary(self, kind, left, right)

    # --- attributes and items -----------------------------------------------------------------------------------------

    def attribute(self, value: object, name: str) -> object:
        """Returns an attribute of a value; an Unknown where nothing is known of it."""
        match value:
            case Unknown():
                return dataclasses.replace(value, what=f"{value.what}.{name}")
            case Namespace() if name == "__dict__":
                return value
            case Namespace():
                found = look_up(f"{value.name}.{name}")
                if found is None:
                    return self.unknown(f"{value.name}.{name}", known_in(value.name))
                return self._meant(found)
            case Instance():
                found = self._instance_attribute(value, name)
                if found is None and value.native is not None and name in plain.CHANGING:
                    self.fail(f"{value.native.spelled}.{name} is not known")
                return self.unknown(f"the attribute {name} of {value.name}") if found is None else found[0]
            case Super():
                return self._super_attribute(value, name)
            case Class():
                if name in ("__name__", "__qualname__"):
                    return value.name
                if found := value.find(name):
                    is_own = isinstance(found[1], Function) and found[1].kind == "classmethod"
                    return self._bound(*found, value) if is_own else found[1]
                if value.native is not None:
                    return self.attribute(value.native, name)
            case type() if issubclass(value, Native):
                if name == "__name__":
                    return value.spelled.rpartition(".")[2]
                if name in ("__init__", "__call__", "forward") or hasattr(value, f"do_{name}"):
                    return NativeMethod(f"{value.spelled}.{name}", _unbound(value, name))
            case Tensor():
                return tensor_attribute(self, value, name)
            case Array():
                return arrays.attribute(self, value, name)
            case Parser():
                found = look_up(f"argparse.ArgumentParser.{name}")
                if isinstance(found, NativeFunction):
                    return NativeMethod(found.name, lambda c, /, *a, **words: c.call(found, (value, *a), words))
            case Parsed() if name in value.values:
                default = value.values[name]
                if isinstance(default, bool | int | float | str):
                    self.defaulted[name] = f"{name} {default!r}"
                return default
            case Function() | Bound() if name == "__name__":
                return value.name if isinstance(value, Function) else value.function.name
            case NativeFunction() if name == "__name__":
                return value.name.rpartition(".")[2]
            case NativeFunction() if name == value.name.rpartition(".")[2]:
                return value  # of the module that has its name
            case _:
                if call := plain.method(self, value, name):
                    return NativeMethod(name, call)
                if isinstance(value, list | dict | set) and name in plain.CHANGING:
                    self.fail(f"{name} of {self.spell(value)} is not known")
        return self.unknown(f"the attribute {name} of {self.spell(value)}")

    def _meant(self, found: object) -> object:
        """Returns what a known name stands for in this reading."""
        match found:
            case ByVersion():
                return self._meant(found.first if self.is_chainer_1 else found.later)
            case Trains():
                return Mode(self.training)
            case Bundled():
                if found.file not in self._bundled:
                    framework, _, part = found.file.partition("_sources/")
                    program = program_of(tree_of(found.file), f"{framework}'s {part}")
                    program.hidden = framework == "chainer"
                    program.names["BEFORE_0_2_2"] = self.old_torchvision
                    self._bundled[found.file] = program
                return self.global_name(self._bundled[found.file], found.name)
        return found

    def _instance_attribute(self, value: Instance, name: str) -> tuple[object] | None:
        """Returns an attribute of an object, in a tuple; None if it has none."""
        native = value.native
        if name in ("train", "training") and native is not None:
            is_method = isinstance(value.kind, Class) and value.kind.find(name)
            is_flag = isinstance(value.attributes.get(name, True), bool | Mode) and not is_method
            if native.framework == "chainer" and name == "train" and is_flag:
                return (Mode(self.training),)
            if native.framework == "torch" and name == "training":
                return (Mode(self.training),)
        if name in value.attributes:
            return (value.attributes[name],)
        if name in value.children:
            return (value.children[name],)
        if name == "__class__":
            return (value.kind,)
        if name in _SPECIAL and not (isinstance(value.kind, Class) and value.kind.find(name)):
            done = KNOWN[f"builtins.{_SPECIAL[name]}"]
            return (NativeMethod(name, lambda c, /, *arguments: c.call(done, (value, *arguments), {})),)
        if name == "__dict__":
            kept = Attributes({**value.attributes, **value.children})
            return (kept if self.framework == "chainer" else self.unknown("__dict__"),)
        if isinstance(value.kind, Class) and (found := value.kind.find(name)):
            return (self._bound(found[0], found[1], value),)
        if native is not None:
            if method := getattr(native, f"do_{name}", None):
                return (NativeMethod(f"{native.spelled}.{name}", method),)
            if name in ("forward", "__call__"):
                return (NativeMethod(f"{native.spelled}.{name}", native.forward),)
            if name == "__init__":
                return (NativeMethod(f"{native.spelled}.{name}", functools.partial(_start, type(native), value)),)
            found_natively = native.attribute(self, name)
            if not isinstance(found_natively, Unknown) or isinstance(found_natively, Given):
                return (found_natively,)
        if isinstance(value.kind, Class):
            for special in ("__getattr__", "__getattribute__"):
                if value.kind.find(special):
                    return (self.unknown(f"{name}, which {special} of {value.name} makes,"),)
        return None

    def _bound(self, owner: Class, found: object, instance: object) -> object:
        if isinstance(found, Function):
            match found.kind:
                case "staticmethod":
                    return found
                case "classmethod":
                    return Bound(found, instance.kind if isinstance(instance, Instance) else instance)
                case "property":
                    return self.call(Bound(found, instance), (), {})
            if found.owner is not None:
                return Bound(found, instance)
        if isinstance(found, Function) and isinstance(found.node, ast.Lambda):
            return Bound(found, instance)
        return found

    def _super_attribute(self, value: Super, name: str) -> object:
        instance = value.object
        if not isinstance(instance, Instance) or not isinstance(instance.kind, Class):
            self.fail("super() of this is not known")
        found = instance.kind.find(name, after=value.behind)
        if found is None and name == "__call__":  # which a framework's own makes a call of forward
            found = instance.kind.find("forward", after=value.behind)
        if found is not None:
            return self._bound(found[0], found[1], instance)
        order = instance.kind.order
        native = next((one for one in order[order.index(value.behind) :] if not isinstance(one, Class)), None)
        if native is None:
            if name == "__init__":
                return NativeFunction("object.__init__", lambda c, /, *arguments, **keywords: None)
            return self.unknown(f"super().{name}")
        if name == "__init__":
            return NativeFunction(f"{native.spelled}.__init__", functools.partial(_start, native, instance))
        if name == "__setattr__":
            return NativeFunction(name, lambda c, attribute, item: self.set_attribute(instance, str(attribute), item))
        if instance.native is None:
            self.fail(f"{native.spelled}.{name} before {native.spelled}.__init__")
        if name in ("forward", "__call__"):
            return NativeMethod(name, instance.native.forward)
        if method := getattr(instance.native, f"do_{name}", None):
            return NativeMethod(name, method)
        return self.unknown(f"super().{name}")

    def set_attribute(self, value: object, name: str, item: object) -> None:
        """Does `value.name = item`."""
        match value:
            case Instance():
                if isinstance(value.kind, Class) and value.kind.find("__setattr__"):
                    self.fail(f"__setattr__ of {value.name} is not known")
                if name == "__class__":
                    self.fail(f"another class of a {value.name} is not known")
                if name in value.children and isinstance(item, Instance) and item.native is not None:
                    value.children[name] = item  # in the place of the other, also in the order
                    return
                value.children.pop(name, None)
                if value.native is None:
                    value.attributes[name] = item
                    return
                if name in value.native.settings:
                    value.native.change(self, name, item)
                else:
                    value.native.set(self, name, item)
            case Class() if value.program is self.program:
                value.names[name] = item
            case Unknown():
                pass
            case _:
                self.fail(f"setting {name} of {self.spell(value)} is not known")

    def item(self, value: object, key: object) -> object:
        """Returns `value[key]`."""
        if isinstance(value, Unknown):
            return value
        if isinstance(key, Unknown):
            return key
        match value:
            case Tensor():
                return tensor_item(self, value, key)
            case Array():
                return arrays.item(self, value, key)
            case Namespace() if isinstance(key, str):
                return self.attribute(value, key)
            case Instance():
                if isinstance(value.kind, Class) and (found := value.kind.find("__getitem__")):
                    return self.call(self._bound(*found, value), (key,), {})
                if value.native is not None:
                    return value.native.item(self, key)
            case list() | tuple() | str() | range():
                if isinstance(key, slice):
                    return bounded(value[self.cut(key)])
                index = self.whole(key, "the index")
                if not -len(value) <= index < len(value):
                    self.fail(f"{self.spell(value)} has no item {index}")
                return value[index]
            case dict():
                if plain.key_of(self, key) not in value:
                    self.fail(f"the dictionary has no {self.spell(key)}")
                return value[key]
        self.fail(f"{self.spell(value)}[…] is not known")

    def set_item(self, value: object, key: object, item: object) -> None:
        """Does `value[key] = item`."""
        match value:
            case Instance() if value.native is not None:
                value.native.set_item(self, key, item)
            case list():
                index = self.whole(key, "the index")
                if not -len(value) <= index < len(value):
                    self.fail(f"the list has no item {index}")
                value[index] = item
            case dict() if not isinstance(value, Attributes):
                value[plain.key_of(self, key)] = item
                bounded(value)
            case Unknown():
                if value.what == "__dict__":
                    self.refuse(value)
            case _:
                self.fail(f"setting an item of {self.spell(value)} is not known")

    # --- calls --------------------------------------------------------------------------------------------------------

    def _call(self, node: ast.Call, scope: Scope) -> object:
        if isinstance(node.func, ast.Name) and node.func.id == "super" and "super" not in scope.names:
            return self._super(node, scope)
        if isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
            return self._text(node, scope, node.func.id)
        called = self.evaluate(node.func, scope)
        arguments = tuple(self._elements(node.args, scope))
        keywords: dict[str, object] = {}
        for word in node.keywords:
            value = self.evaluate(word.value, scope)
            if word.arg is not None:
                keywords[word.arg] = value
            elif isinstance(value, dict) and all(isinstance(key, str) for key in value):
                keywords.update(value)
            else:
                return self.unknown(f"a call with **{self.spell(value)}")
        self._follow(scope.program, node.lineno)
        if isinstance(called, Unknown):
            # A method whose name ends so changes what it is given, in PyTorch.
            if called.what.endswith("_") and any(isinstance(value, Tensor) for value in arguments):
                self.refuse(called)
            kept = (
                arg for arg, value in zip(node.args, arguments, strict=False) if isinstance(value, list | dict | set)
            )
            if called.elsewhere and any(isinstance(arg, ast.Name | ast.Attribute) for arg in kept):
                self.refuse(called)  # it may change what it is given
            return called
        result = self.call(called, arguments, keywords)
        self._follow(scope.program, node.lineno)
        return result

    def _text(self, node: ast.Call, scope: Scope, name: str) -> object:
        """Follows a text that `eval` is given where it is a name, and one of `exec` where it sets an attribute."""
        (text, *others) = self._elements(node.args, scope) or [None]
        statements: list[ast.stmt] = []
        if isinstance(text, str) and not others and not node.keywords:
            with contextlib.suppress(DeepPoseError):
                statements = parse(text.strip(), scope.program.file).body
        for statement in statements:
            for part in ast.walk(statement):
                if hasattr(part, "lineno"):
                    part.lineno = node.lineno
        match statements:
            case [ast.Expr(ast.Attribute() | ast.Name() as value)] if name == "eval" and "(" not in str(text):
                return self.evaluate(value, scope)
            case [ast.Assign([ast.Attribute()])] if name == "exec":
                self.run(statements, scope)
                return None
        known = {one for outer in _outwards(scope) for one in outer.names}
        used = {part.id for statement in statements for part in ast.walk(statement) if isinstance(part, ast.Name)}
        if name == "exec" and (others or node.keywords or not statements or used & known):
            self.fail("the name exec is not known")  # it may change what the network is
        return self.unknown(f"the name {name}")

    def _super(self, node: ast.Call, scope: Scope) -> object:
        owner = next((inner.owner for inner in _outwards(scope) if inner.owner is not None), None)
        if len(node.args) == 2:
            kind, instance = (self.evaluate(argument, scope) for argument in node.args)
            if isinstance(kind, Class):
                return Super(kind, instance)
        elif owner is not None and not node.args:
            return Super(*owner)
        self.fail("super() of this is not known")

    def call(self, called: object, arguments: tuple[object, ...], keywords: dict[str, object]) -> object:
        """Returns what a call gives."""
        self.budget.spend()
        self.budget.enter()
        try:
            match called:
                case Unknown():
                    return called
                case Function():
                    return self._called(called, arguments, keywords)
                case Bound():
                    return self._called(called.function, (called.first, *arguments), keywords)
                case NativeFunction():
                    return self._native(called.name, called.call, (self, *arguments), keywords)
                case NativeMethod():  # which may change its object
                    return self._native(called.name, called.call, (self, *arguments), keywords, changes=True)
                case Class():
                    return self.instantiate(called, arguments, keywords)
                case Partial():
                    return self.call(called.function, (*called.arguments, *arguments), {**called.keywords, **keywords})
                case Instance():
                    return self._called_instance(called, arguments, keywords)
                case type() if issubclass(called, Native):
                    instance = Instance(called)
                    self._native(
                        called.spelled, functools.partial(_start, called, instance), (self, *arguments), keywords
                    )
                    return instance
                case ByVersion() | Bundled():
                    return self.call(self._meant(called), arguments, keywords)
                case Namespace("torch.Tensor"):
                    return self.call(KNOWN["torch.FloatTensor"], arguments, keywords)
        finally:
            self.budget.leave()
        self.fail(f"a call of {self.spell(called)} is not known")

    def _native(
        self,
        name: str,
        call: Callable[..., object],
        arguments: tuple[object, ...],
        keywords: dict[str, object],
        changes: bool = False,
    ) -> object:
        if name.startswith("chainer.functions.") and (given := _unknown_in(arguments[1:2])) is not None:
            return given
        try:
            _bind(call, *arguments, **keywords)
        except TypeError as error:
            unknown = [value for value in (*arguments, *keywords.values()) if isinstance(value, Unknown)]
            if unknown and not changes:
                return unknown[0]
            self.fail(f"{name} with these arguments is not known: {error}")
        return call(*arguments, **keywords)

    def _called_instance(self, called: Instance, arguments: tuple[object, ...], keywords: dict[str, object]) -> object:
        hooks = called.native.hooks if called.native is not None else []
        for before, hook in hooks:
            if before and (changed := self.call(hook, (called, arguments), {})) is not None:
                arguments = changed if isinstance(changed, tuple) else (changed,)
        result = self._forward_of(called, arguments, keywords)
        for before, hook in hooks:
            if not before and (changed := self.call(hook, (called, arguments, result), {})) is not None:
                result = changed
        return result

    def _forward_of(self, called: Instance, arguments: tuple[object, ...], keywords: dict[str, object]) -> object:
        if self.framework == "torch" and "forward" in called.attributes:
            return self.call(called.attributes["forward"], arguments, keywords)
        if found := self.forward_of(called.kind):
            return self.call(self._bound(*found, called), arguments, keywords)
        if called.native is None:
            self.fail(f"a call of {called.name} is not known")
        return self._native(called.name, called.native.forward, (self, *arguments), keywords)

    def forward_of(self, kind: Class | type[Native]) -> tuple[Class, object] | None:
        """Returns the source's own method that a call of an object leads to, behind the class that has it."""
        names = ("forward", "__call__") if self.framework == "torch" else ("__call__", "forward")
        found = map(kind.find, names) if isinstance(kind, Class) else ()
        return next((one for one in found if one is not None), None)

    def instantiate(self, kind: Class, arguments: tuple[object, ...], keywords: dict[str, object]) -> object:
        """Makes an object of a class of the source."""
        if not self.place.line:
            self.place = Place(kind.program.file, kind.node.lineno)
        if kind.node.keywords:
            self.fail(f"the metaclass of {kind.name} is not known")
        if kind.node.decorator_list and not _is_dataclass(kind.node):
            self.fail(f"the decorator of {kind.name} is not known")
        for base in kind.bases:
            if isinstance(base, Unknown):
                self.refuse(base)
        if found := kind.find("__new__"):
            self.fail(f"__new__ of {found[0].name} is not known")
        instance = Instance(kind)
        if found := kind.find("__init__"):
            self.call(self._bound(*found, instance), arguments, keywords)
        elif kind.native is not None:
            start = functools.partial(_start, kind.native, instance)
            self._native(kind.native.spelled, start, (self, *arguments), keywords)
        if kind.native is not None and instance.native is None:
            self.fail(f"{kind.name}.__init__ does not call that of {kind.native.spelled}")
        return instance

    def _called(self, function: Function, arguments: tuple[object, ...], keywords: dict[str, object]) -> object:
        if function.scope.program.hidden and (unknown := _unknown_in(arguments[:1])) is not None:
            return unknown
        scope = Scope(function.scope.program, self._arguments(function, arguments, keywords), function.scope)
        if function.owner is not None and arguments:
            scope.owner = (function.owner, arguments[0])
        with self._at(function.scope.program, function.node.lineno):
            if isinstance(function.node, ast.Lambda):
                return self.evaluate(function.node.body, scope)
            try:
                self.run(function.node.body, scope)
            except _Return as returned:
                return returned.value
            return None

    def _arguments(
        self, function: Function, arguments: tuple[object, ...], keywords: dict[str, object]
    ) -> dict[str, object]:
        declared = function.node.args
        names = [argument.arg for argument in (*declared.posonlyargs, *declared.args)]
        bound: dict[str, object] = dict(zip(names, arguments, strict=False))
        if len(arguments) > len(names) and declared.vararg is None:
            self.fail(f"{function.name} takes {len(names)} arguments, not {len(arguments)}")
        if declared.vararg is not None:
            bound[declared.vararg.arg] = tuple(arguments[len(names) :])
        rest = dict(keywords)
        for name in (*names, *(argument.arg for argument in declared.kwonlyargs)):
            if name in rest:
                bound[name] = rest.pop(name)
        if declared.kwarg is not None:
            bound[declared.kwarg.arg] = rest
        elif rest:
            self.fail(f"{function.name} has no argument {', '.join(rest)}")
        defaults = dict(zip(names[len(names) - len(function.defaults) :], function.defaults, strict=True))
        for argument, value in zip(declared.kwonlyargs, function.keyword_defaults, strict=True):
            if value is not _MISSING:
                defaults[argument.arg] = value
        for name in (*names, *(argument.arg for argument in declared.kwonlyargs)):
            if name not in bound:
                if name not in defaults:
                    self.fail(f"{function.name} needs its argument {name}")
                bound[name] = defaults[name]
        return bound

    # --- definitions --------------------------------------------------------------------------------------------------

    def _function(self, node: ast.FunctionDef | ast.Lambda, scope: Scope, owner: Class | None) -> object:
        kind = "function"
        if isinstance(node, ast.FunctionDef):
            for decorator in node.decorator_list:
                called = decorator.func if isinstance(decorator, ast.Call) else decorator
                if isinstance(called, ast.Name) and called.id in ("staticmethod", "classmethod", "property"):
                    kind = called.id
                elif (spelled := _dotted(called)) not in _QUIET_DECORATORS:
                    place = Place(scope.program.file, decorator.lineno)
                    return Unknown(f"{node.name}, whose decorator {spelled} may make anything of it,", place)
            if self._yields(node):
                return Unknown(f"{node.name}, which yields,", Place(scope.program.file, node.lineno))
        arguments = node.args
        outer = scope if scope.names or scope.outer is not None else Scope(scope.program, {})
        return Function(
            node,
            outer,
            [self.evaluate(default, scope) for default in arguments.defaults],
            [_MISSING if default is None else self.evaluate(default, scope) for default in arguments.kw_defaults],
            owner,
            kind,
        )

    def _yields(self, node: ast.FunctionDef) -> bool:
        if id(node) not in self._yielding:
            parts = ast.walk(node)
            self._yielding[id(node)] = any(isinstance(p, ast.Yield | ast.YieldFrom | ast.Await) for p in parts)
        return self._yielding[id(node)]

    def _class(self, node: ast.ClassDef, scope: Scope) -> object:
        bases = tuple(self.evaluate(base, scope) for base in node.bases)
        bases = tuple(self._meant(base) if isinstance(base, ByVersion | Bundled) else base for base in bases)
        made = Class(node.name, node, scope.program, bases, {})
        made.order = self._order(made)
        inner = Scope(scope.program, made.names, scope if scope.names or scope.outer else None)
        for statement in node.body:
            match statement:
                case ast.FunctionDef():
                    # A method does not see the names of its class.
                    made.names[_in_class(statement.name, node.name)] = self._function(statement, scope, made)
                case ast.Expr(ast.Constant()) | ast.Pass():
                    pass
                case ast.Assign() | ast.AnnAssign() | ast.AugAssign() | ast.ClassDef() | ast.Expr() | ast.For():
                    try:
                        self._run(statement, inner)
                    except SourceError as error:
                        for name in _targets(statement, made.names):
                            made.names[name] = Unknown(f"{node.name}.{name}", error.place)
                case _:
                    for name in _targets(statement, made.names):
                        place = Place(scope.program.file, statement.lineno)
                        made.names[name] = Unknown(f"{node.name}.{name}, which is set under a condition,", place)
        if _is_dataclass(node) and "__init__" not in made.names:
            made.names["__init__"] = self._function(_initialising(node), inner, made)
        for (owner, name), line in scope.program.replaced.items():
            if owner == node.name:
                made.names[name] = Unknown(
                    f"{node.name}.{name}, which the file replaces,", Place(scope.program.file, line)
                )
        return made

    def _order(self, kind: Class) -> list[Class | type[Native]]:
        """Returns a class and its bases in the order in which Python looks names up."""
        lists: list[list[Class | type[Native]]] = []
        direct: list[Class | type[Native]] = []
        for base in kind.bases:
            if isinstance(base, Class):
                lists.append(list(base.order))
                direct.append(base)
            elif isinstance(base, type) and issubclass(base, Native):
                lists.append([base])
                direct.append(base)
        lists.append(direct)
        order: list[Class | type[Native]] = [kind]
        while lists := [one for one in lists if one]:
            first = next((one[0] for one in lists if not any(one[0] in other[1:] for other in lists)), None)
            if first is None:
                self.fail(f"the bases of {kind.name} contradict each other")
            order.append(first)
            lists = [one[1:] if one[0] is first else one for one in lists]
        return order

    # --- statements ---------------------------------------------------------------------------------------------------

    def run(self, statements: list[ast.stmt], scope: Scope) -> None:
        """Follows statements."""
        for statement in statements:
            self.budget.spend()
            self._follow(scope.program, statement.lineno)
            self._run(statement, scope)

    def _run(self, node: ast.stmt, scope: Scope) -> None:
        match node:
            case ast.Expr(ast.Constant()):
                pass
            case ast.Expr(value):  # what is not known of a value that nobody takes says nothing of the network
                self.evaluate(value, scope)
            case ast.Assign(targets, value):
                item = self.evaluate(value, scope)
                for target in targets:
                    self.assign(target, item, scope)
            case ast.AnnAssign(target, _, value):
                if value is not None:
                    self.assign(target, self.evaluate(value, scope), scope)
            case ast.AugAssign(target, op, value):
                before = self.evaluate(target, scope)
                after = self.operate(type(op), before, self.evaluate(value, scope), in_place=True)
                if after is not before or isinstance(target, ast.Name):
                    self.assign(target, after, scope)
            case ast.Return(value):
                raise _Return(None if value is None else self.evaluate(value, scope))
            case ast.If(test, body, orelse):
                taken: list[ast.stmt] = []
                with self._passing_over([*body, *orelse]):
                    taken = body if plain.truth(self, self.evaluate(test, scope)) else orelse
                self.run(taken, scope)
            case ast.For(target, iterated, body, orelse):
                values: list[object] = []
                behind: list[ast.stmt] = []
                with self._passing_over([*body, *orelse]):
                    values, behind = plain.iterate(self, self.evaluate(iterated, scope)), orelse
                self._loop(self._given(target, values, scope), body, behind, scope)
            case ast.While(test, body, orelse):
                self._loop(iter(lambda: plain.truth(self, self.evaluate(test, scope)), False), body, orelse, scope)
            case ast.With(items, body):
                self._with(items, body, scope)
            case ast.Try(body, _, orelse, final):
                self.run([*body, *orelse, *final], scope)
            case ast.Pass():
                pass
            case ast.Break():
                raise _Break
            case ast.Continue():
                raise _Continue
            case ast.Delete(targets):
                for target in targets:
                    self._delete(target, scope)
            case ast.FunctionDef():
                scope.names[node.name] = self._function(node, scope, None)
            case ast.ClassDef():
                scope.names[node.name] = self._class(node, scope)
            case ast.Import() | ast.ImportFrom():
                names, stars = imported(scope.program.file, node)
                if stars:
                    self.fail("an import of every name within a function is not known")
                scope.names.update(names)
            case ast.Assert(test):
                result = self.evaluate(test, scope)
                if not isinstance(result, Unknown) and not plain.truth(self, result):
                    self.fail("an assertion does not hold")
            case ast.Raise():
                self.fail("it raises an error here")
            case _:
                self.fail(f"{type(node).__name__} is not known")

    @contextlib.contextmanager
    def _passing_over(self, statements: list[ast.stmt]) -> Iterator[None]:
        """Passes over what is not known before statements that do nothing but to give parameters their first values."""
        try:
            yield
        except SourceError:
            if not self.making or not initialises(statements):
                raise

    def _given(self, target: ast.expr, values: list[object], scope: Scope) -> Iterator[None]:
        """Gives a loop's name its values, one after the other."""
        for value in values:
            self.assign(target, value, scope)
            yield

    def _loop(self, rounds: Iterable[object], body: list[ast.stmt], orelse: list[ast.stmt], scope: Scope) -> None:
        """Follows a loop, each round of which begins with what the next one of `rounds` does."""
        for _ in rounds:
            try:
                self.run(body, scope)
            except _Continue:
                continue
            except _Break:
                return
        self.run(orelse, scope)

    def _with(self, items: list[ast.withitem], body: list[ast.stmt], scope: Scope) -> None:
        entered = []
        for item in items:
            value = self.evaluate(item.context_expr, scope)
            if isinstance(value, Unknown):
                self.refuse(value)
            if not isinstance(value, Switch):
                self.fail(f"with {self.spell(value)} is not known")
            if value.enter is not None:
                value.enter()
            entered.append(value)
            if item.optional_vars is not None:
                self.assign(item.optional_vars, self.unknown("what with gives"), scope)
        try:
            self.run(body, scope)
        finally:
            for value in reversed(entered):
                if value.leave is not None:
                    value.leave()

    def assign(self, target: ast.expr, value: object, scope: Scope) -> None:
        """Gives a value a name, or an object an attribute or item."""
        match target:
            case ast.Name(name):
                scope.names[name] = value
            case ast.Attribute(owner, name):
                self.set_attribute(self.evaluate(owner, scope), _mangled(name, scope), value)
            case ast.Subscript(owner, index):
                self.set_item(self.evaluate(owner, scope), self._index(index, scope), value)
            case ast.Tuple(elements) | ast.List(elements):
                self._unpack(elements, value, scope)
            case _:
                self.fail(f"an assignment to {type(target).__name__} is not known")

    def _unpack(self, elements: list[ast.expr], value: object, scope: Scope) -> None:
        if isinstance(value, Unknown):
            for element in elements:
                self.assign(element.value if isinstance(element, ast.Starred) else element, value, scope)
            return
        items = plain.iterate(self, value)
        star = next((i for i, element in enumerate(elements) if isinstance(element, ast.Starred)), None)
        if star is not None:
            behind = len(elements) - star - 1
            if len(items) < len(elements) - 1:
                self.fail(f"{len(items)} values for {len(elements)} names")
            items = [*items[:star], items[star : len(items) - behind], *items[len(items) - behind :]]
        if len(items) != len(elements):
            self.fail(f"{len(items)} values for {len(elements)} names")
        for element, item in zip(elements, items, strict=True):
            self.assign(element.value if isinstance(element, ast.Starred) else element, item, scope)

    def _delete(self, target: ast.expr, scope: Scope) -> None:
        match target:
            case ast.Name(name):
                scope.names.pop(name, None)
            case ast.Attribute(owner, name):
                _delattr(self, self.evaluate(owner, scope), _mangled(name, scope))
            case ast.Subscript(owner, index):
                value, key = self.evaluate(owner, scope), self._index(index, scope)
                if isinstance(value, Instance) and value.native is not None:
                    value.native.delete_item(self, key)
                elif isinstance(value, dict):
                    value.pop(key, None)
                elif isinstance(value, list):
                    del value[self.cut(key) if isinstance(key, slice) else self.whole(key, "the index")]
                else:
                    self.fail("this deletion is not known")
            case _:
                self.fail("this deletion is not known")

    # --- functions of Python that need the evaluator ------------------------------------------------------------------

    def has(self, value: object, name: str) -> object:
        """Tells whether a value has an attribute; an Unknown where that is not known."""
        if isinstance(value, Instance):
            return self._instance_attribute(value, name) is not None
        found = self.attribute(value, name)
        return found if isinstance(value, Unknown) else not isinstance(found, Unknown)

    def is_instance(self, value: object, kind: object) -> object:
        """Returns what `isinstance` gives."""
        self.budget.spend()
        if isinstance(kind, tuple):
            answers = [self.is_instance(value, one) for one in kind]
            if True in answers:
                return True
            return next((answer for answer in answers if isinstance(answer, Unknown)), False)
        if isinstance(value, Unknown):
            return value
        if isinstance(value, Tensor):
            if isinstance(kind, Unknown):
                return kind.what.endswith((".Tensor", ".Variable")) or kind
            return isinstance(kind, NativeFunction) and kind.name.endswith((".Tensor", ".Variable"))
        if isinstance(kind, NativeFunction) and kind.name.rpartition(".")[2] in _TYPES:
            return isinstance(value, _TYPES[kind.name.rpartition(".")[2]])
        if isinstance(kind, ByVersion | Bundled):
            kind = self._meant(kind)
        if isinstance(value, Instance):
            order = value.kind.order if isinstance(value.kind, Class) else [value.kind]
            if isinstance(kind, Class):
                return kind in order
            if isinstance(kind, type):
                return any(not isinstance(one, Class) and issubclass(one, kind) for one in order)
        return kind if isinstance(kind, Unknown) else False


_MISSING = object()
#: Methods of every object -> the functions of Python that call them.
_SPECIAL = {"__setattr__": "setattr", "__getattribute__": "getattr", "__delattr__": "delattr"}
#: What of a parameter is set, not of a layer.
_PARAMETERS = frozenset({"data", "requires_grad", "grad"})
#: Functions that say nothing of a network, beside those that fill what they are given and end so: `normal_`.
_SAYING = frozenset({"print", "warn", "info", "debug", "warning", "load_state_dict"})


def initialises(statements: Sequence[ast.stmt]) -> bool:
    """Tells whether statements do nothing to a network but to give its parameters values."""
    for node in statements:
        match node:
            case ast.Pass() | ast.Raise() | ast.Expr(ast.Constant()):
                pass
            case ast.If(_, body, orelse) | ast.For(_, _, body, orelse):
                if not initialises([*body, *orelse]):
                    return False
            case ast.With(_, body):
                if not initialises(body):
                    return False
            case ast.Assign(targets) if all(isinstance(t, ast.Attribute) and t.attr in _PARAMETERS for t in targets):
                pass
            case ast.Expr(ast.Call(ast.Name(name) | ast.Attribute(_, name))):
                if not (name.endswith("_") and not name.endswith("__")) and name not in _SAYING:
                    return False
            case _:
                return False
    return True


def _is_dataclass(node: ast.ClassDef) -> bool:
    """Tells whether a class is one of values alone, whose `__init__` its annotations tell."""
    words = [ast.unparse(one.func if isinstance(one, ast.Call) else one) for one in node.decorator_list]
    return words in (["dataclass"], ["dataclasses.dataclass"]) and all(
        isinstance(base, ast.Name) and base.id == "object" for base in node.bases
    )


def _initialising(node: ast.ClassDef) -> ast.FunctionDef:
    """Returns the `__init__` of a dataclass."""
    fields = [
        (one.target.id, one.value)
        for one in node.body
        if isinstance(one, ast.AnnAssign)
        and isinstance(one.target, ast.Name)
        and "ClassVar" not in ast.unparse(one.annotation)
    ]
    given = "".join(f", {name}" if value is None else f", {name}={name}" for name, value in fields)
    lines = "".join(f"    self.{name} = {name}\n" for name, _ in fields)
    (made,) = ast.parse(f"def __init__(self{given}):\n{lines or '    pass'}").body
    assert isinstance(made, ast.FunctionDef)
    for part in ast.walk(made):
        if hasattr(part, "lineno"):
            ast.copy_location(part, node)
    return made


def _unknown_in(values: tuple[object, ...]) -> Unknown | None:
    """Returns what is not known of a value, or of the values in it."""
    for value in values:
        for one in value if isinstance(value, list | tuple) else (value,):
            if isinstance(one, Unknown):
                return one
    return None


def _in_class(name: str, kind: str) -> str:
    """Returns what Python makes of a name within a class: one of two underscores before it is the class's own."""
    return f"_{kind.lstrip('_')}{name}" if name.startswith("__") and not name.endswith("__") else name


def _mangled(name: str, scope: Scope) -> str:
    if not name.startswith("__") or name.endswith("__"):
        return name
    owner = next((inner.owner for inner in _outwards(scope) if inner.owner is not None), None)
    return name if owner is None else _in_class(name, owner[0].name)


def _outwards(scope: Scope | None) -> Iterator[Scope]:
    while scope is not None:
        yield scope
        scope = scope.outer


def _targets(node: ast.stmt, there: Collection[str]) -> list[str]:
    """Returns the names that a statement may bind, and of those that are there the ones that it may change."""
    names = [part.id for part in ast.walk(node) if isinstance(part, ast.Name)
             and (isinstance(part.ctx, ast.Store) or part.id in there)]  # fmt: skip
    return [*names, *(part.name for part in ast.walk(node) if isinstance(part, ast.FunctionDef | ast.ClassDef))]


def _dotted(node: ast.expr) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id if isinstance(node, ast.Name) else "…", *reversed(parts)])


@functools.cache
def _signature(function: FunctionType) -> inspect.Signature:
    return inspect.signature(function)


def _bind(called: Callable[..., object], /, *arguments: object, **keywords: object) -> None:
    """Raises TypeError where a function does not take such arguments."""
    if isinstance(called, MethodType) and isinstance(called.__func__, FunctionType):
        _signature(called.__func__).bind(called.__self__, *arguments, **keywords)
    elif isinstance(called, FunctionType):
        _signature(called).bind(*arguments, **keywords)


def _start(kind: type[Native], instance: Instance, c: Context, /, *arguments: object, **keywords: object) -> None:
    """Does a framework's `__init__` on an object."""
    try:
        _bind(kind.__init__, None, c, *arguments, **keywords)
    except TypeError as error:
        c.fail(f"{kind.spelled} with these arguments is not known: {error}")
    native = kind.__new__(kind)
    native.instance, native.hooks = instance, []
    instance.native = native
    native.__init__(c, *arguments, **keywords)  # type: ignore[misc]


def _unbound(kind: type[Native], name: str) -> Callable[..., object]:
    """Returns `Kind.name`, whose first argument is the object."""

    def call(c: Context, instance: object, /, *arguments: object, **keywords: object) -> object:
        if not isinstance(instance, Instance):
            c.fail(f"{kind.spelled}.{name} of {c.spell(instance)} is not known")
        if name == "__init__":
            _start(kind, instance, c, *arguments, **keywords)
            return None
        if instance.native is None:
            c.fail(f"{kind.spelled}.{name} before {kind.spelled}.__init__")
        own = getattr(kind, f"do_{name}", None)
        method = instance.native.forward if own is None else MethodType(own, instance.native)
        return c.call(NativeMethod(f"{kind.spelled}.{name}", method), arguments, keywords)

    return call


# --- functions of Python that need the evaluator ----------------------------------------------------------------------


@function("builtins.getattr")
def _getattr(c: Evaluator, value: object, name: object, *default: object) -> object:
    if isinstance(name, Unknown):
        return name
    if not isinstance(name, str):
        c.fail(f"getattr of {c.spell(name)} is not known")
    if default and c.has(value, name) is False:
        return default[0]
    return c.attribute(value, name)


@function("builtins.setattr")
def _setattr(c: Evaluator, value: object, name: object, item: object) -> object:
    if not isinstance(name, str):
        c.fail(f"setattr of {c.spell(name)} is not known")
    c.set_attribute(value, name, item)
    return None


@function("builtins.delattr")
def _delattr(c: Evaluator, value: object, name: object) -> object:
    if not isinstance(value, Instance) or name not in {**value.children, **value.attributes}:
        c.fail(f"deleting {c.spell(name)} is not known")
    value.children.pop(str(name), None)
    value.attributes.pop(str(name), None)
    return None


@function("builtins.hasattr")
def _hasattr(c: Evaluator, value: object, name: object) -> object:
    return c.has(value, name) if isinstance(name, str) else c.unknown("hasattr of this")


@function("builtins.vars")
def _vars(c: Evaluator, value: object) -> object:
    return c.attribute(value, "__dict__")


@function("builtins.staticmethod")
def _static(c: Evaluator, value: object) -> object:
    return dataclasses.replace(value, kind="staticmethod") if isinstance(value, Function) else value


function("builtins.isinstance")(Evaluator.is_instance)
