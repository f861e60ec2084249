"""The names of a file: what its imports, definitions and assignments mean, none of which is run."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterable, Iterator

from converters.networks.source.errors import Place
from converters.networks.source.registry import look_up
from converters.networks.source.values import Later, Namespace, Program, Unknown


def program_of(tree: ast.Module, file: str, rebound: Iterable[ast.Global] = ()) -> Program:
    """Collects the names of a file.

    Args:
        tree: The file.
        file: Its name.
        rebound: What `rebound_in` gives: whether a function was called that gives a name another meaning is not known.
    """
    program = Program(file)
    _collect(program, tree.body, certain=True)
    for node in rebound:
        for name in node.names:
            _forget(program, name, node)
    return program


def rebound_in(tree: ast.Module) -> list[ast.Global]:
    """Returns where functions of a file declare names of it as theirs to change."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.Global)]


def imported(file: str, node: ast.Import | ast.ImportFrom) -> tuple[dict[str, object], list[str]]:
    """Returns the names that an import binds, and the modules of which it takes every name."""
    names: dict[str, object] = {}
    stars: list[str] = []
    place = Place(file, node.lineno)
    for alias in node.names:
        if isinstance(node, ast.Import):
            dotted = alias.name if alias.asname else alias.name.partition(".")[0]
        elif alias.name == "*":
            stars.append(node.module or "")
            continue
        else:
            dotted = f"{'.' * node.level}{node.module or ''}.{alias.name}"
        known = look_up(dotted)
        if known is None:
            what = f"{alias.name} of another file ({dotted.rpartition('.')[0] or dotted})"
            known = Unknown(what, place, elsewhere=True)
        elif isinstance(known, Namespace):
            known = Namespace(dotted)
        names[alias.asname or (dotted if isinstance(node, ast.Import) else alias.name)] = known
    return names, stars


def _collect(program: Program, statements: Iterable[ast.stmt], certain: bool) -> None:
    """Adds the names that some statements bind.

    Args:
        program: What they are added to.
        statements: The statements.
        certain: Whether they are sure to be run; what is set under a condition means nothing that is known, but for
            imports and definitions, of which the first counts.
    """
    for node in statements:
        match node:
            case ast.Import() | ast.ImportFrom():
                names, stars = imported(program.file, node)
                program.stars += stars
                _bind(program, names, certain, node)
            case ast.FunctionDef() | ast.ClassDef():
                _bind(program, {node.name: Later(node)}, certain, node)
            case ast.Assign() | ast.AnnAssign() | ast.AugAssign() | ast.Delete():
                _assign(program, node, certain)
            case ast.If() if _is_main(node.test):
                pass
            case ast.If() | ast.For() | ast.While() | ast.With():
                _collect(program, node.body, certain=False)
                _collect(program, getattr(node, "orelse", []), certain=False)
            case ast.Try():
                _collect(program, [*node.body, *node.orelse, *node.finalbody], certain)
                for handler in node.handlers:
                    _collect(program, handler.body, certain=False)
            case ast.Expr(ast.Call(ast.Attribute(ast.Name(name), "add_argument")) as call) if certain and _parses(
                program, name
            ):
                _extend(program, name, call)
            case ast.Expr(ast.Call(ast.Name() | ast.Attribute() as called, arguments)) if (
                changed := [one.id for one in arguments if isinstance(one, ast.Name) and _holds(program, one.id)]
            ) and not (isinstance(called, ast.Name) and called.id == "print"):
                for name in changed:
                    _forget(program, name, node)
            case ast.Expr(ast.Call(ast.Attribute(ast.Name(name), _))) if isinstance(program.names.get(name), Later):
                if not isinstance(program.names[name].node, ast.ClassDef | ast.FunctionDef):  # type: ignore[attr-defined]
                    _forget(program, name, node)


def _parses(program: Program, name: str) -> bool:
    """Tells whether a name is a parser of a command line, made here."""
    value = program.names.get(name)
    node = value.node if isinstance(value, Later) else None
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
        node = node.func.value
    called = node.func if isinstance(node, ast.Call) else None
    return isinstance(called, ast.Name | ast.Attribute) and ast.unparse(called).endswith("ArgumentParser")


def _extend(program: Program, name: str, call: ast.Call) -> None:
    """Makes a name what a method of it gives, which is the same with more in it."""
    value = program.names[name]
    assert isinstance(value, Later)
    assert isinstance(call.func, ast.Attribute)
    assert isinstance(value.node, ast.expr)
    method = ast.copy_location(ast.Attribute(value.node, call.func.attr, ast.Load()), call)
    made = ast.copy_location(ast.Call(method, call.args, call.keywords), call)
    program.names[name] = Later(ast.fix_missing_locations(made), value.changed)


def _holds(program: Program, name: str) -> bool:
    """Tells whether a name is a list, dictionary or set, which a function that is given it may change."""
    value = program.names.get(name)
    node = value.node if isinstance(value, Later) else None
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in ("list", "dict", "set", "OrderedDict")
    return isinstance(node, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp)


def _bind(program: Program, names: dict[str, object], certain: bool, node: ast.stmt) -> None:
    for name, value in names.items():
        if not certain:
            program.names.setdefault(name, value)
            continue
        if program.names.get(name, value) != value:
            _say_changed(program, name, node)
        program.names[name] = value
        if isinstance(value, Later):
            for read in _read_at_once(value.node):
                program.readers.setdefault(read, {})[name] = value.node


def _say_changed(program: Program, name: str, node: ast.stmt) -> None:
    """Says of what was made with a name that it means something else by now."""
    for reader, made in program.readers.pop(name, {}).items():
        value = program.names.get(reader)
        if isinstance(value, Later) and value.node is made:
            changed = (*value.changed, (name, node.lineno))
            program.names[reader] = dataclasses.replace(value, changed=changed)


def _read_at_once(node: ast.AST) -> Iterator[str]:
    """Yields the names that are read where something stands, and not when a function in it is called."""
    waiting: list[ast.AST] = [node]
    while waiting:
        match waiting.pop():
            case ast.Name(name):
                yield name
            case ast.FunctionDef() | ast.Lambda() as function:
                waiting += function.args.defaults
                waiting += [default for default in function.args.kw_defaults if default is not None]
                waiting += getattr(function, "decorator_list", ())
            case part:
                waiting += ast.iter_child_nodes(part)


def _assign(program: Program, node: ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Delete, certain: bool) -> None:
    targets = [node.target] if isinstance(node, ast.AnnAssign | ast.AugAssign) else node.targets
    for target in targets:
        match target:
            case ast.Name() if certain and isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                _bind(program, {target.id: Later(node.value)}, certain, node)
            case ast.Name() if not isinstance(node, ast.AnnAssign) or node.value is not None:
                _forget(program, target.id, node)
            case ast.Tuple() | ast.List() if certain and isinstance(node, ast.Assign):
                for index, element in enumerate(target.elts):
                    if isinstance(element, ast.Name):
                        item = ast.Subscript(node.value, ast.Constant(index), ast.Load())
                        later = Later(ast.fix_missing_locations(ast.copy_location(item, node)))
                        _bind(program, {element.id: later}, certain, node)
            case ast.Attribute(ast.Name(name), attribute):
                program.replaced[name, attribute] = node.lineno
            case ast.Subscript(ast.Name(name)):
                _forget(program, name, node)


def _forget(program: Program, name: str, node: ast.stmt) -> None:
    """Says of a name that the file changes it on the way, so that nothing is known of it."""
    program.names[name] = Unknown(f"{name}, which is changed outside of the network,", Place(program.file, node.lineno))


def _is_main(test: ast.expr) -> bool:
    return any(isinstance(part, ast.Name) and part.id == "__name__" for part in ast.walk(test))
