"""Single edits of the source, each of which some test should notice: how many do.

    python -m tests.mutants [MODULE...] [--count 200] [--seed 0] [--tests TEST...]

A comparison is turned, an operator exchanged, a number made one larger, a guard left out, a condition negated.
Each edit is made in a copy of the checkout, and the tests that mirror the module (tests/a/test_b.py for a/b.py, else
those of its folder) run there until one fails. The modules are files or folders; without any, all of both packages.
The same seed takes the same edits. Not a part of CI: 200 edits take an hour or two.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("converters", "deeppose_port")
_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    **{ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt},
    **{ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In},
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult},
    **{ast.Mod: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd},
}


class Edit(NamedTuple):
    """One edit: the module, its line, what stood there, what stands there now, and the whole text."""

    module: Path
    line: int
    before: str
    after: str
    text: str


def edits(module: Path) -> list[Edit]:
    """Returns every edit of a module; what is said to people and to type checkers is left alone."""
    text = module.read_text(encoding="utf-8")
    tree = ast.parse(text)
    lines = text.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    content = text.encode()

    def place(line: int, column: int) -> int:
        return starts[line - 1] + column

    found = []
    for node, new in _changes(tree):
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start, end = place(node.lineno, node.col_offset), place(node.end_lineno, node.end_col_offset)
        after = f"({ast.unparse(new)})" if isinstance(new, ast.expr) else ast.unparse(new)
        edited = (content[:start] + after.encode() + content[end:]).decode()
        found.append(Edit(module, node.lineno, content[start:end].decode(), after, edited))
    return found


def _changes(tree: ast.Module) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Yields the expressions of a module that are changed, each with what it becomes."""
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign | ast.arg) and node.annotation is not None:
            skipped |= set(ast.walk(node.annotation))
        if isinstance(node, ast.FunctionDef) and node.returns is not None:
            skipped |= set(ast.walk(node.returns))
        if isinstance(node, ast.JoinedStr | ast.Raise | ast.Assert):  # what is said, and what cannot be
            skipped |= set(ast.walk(node))
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            skipped |= set(ast.walk(node))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.If) and all(
            isinstance(each, ast.Raise | ast.Return | ast.Continue) for each in node.body
        ):
            yield node.test, ast.Constant(False)  # a guard less
        elif isinstance(node, ast.If | ast.IfExp | ast.While):
            yield node.test, ast.UnaryOp(ast.Not(), node.test)
        if isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARISONS:
            new = copy.deepcopy(node)
            new.ops[0] = _COMPARISONS[type(node.ops[0])]()
            yield node, new
        elif isinstance(node, ast.BoolOp):
            yield node, ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS and not _is_type(node):
            yield node, ast.BinOp(node.left, _OPERATORS[type(node.op)](), node.right)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield node, node.operand
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
            yield node, ast.Constant(node.value + 1)
        elif isinstance(node, ast.Constant) and type(node.value) is bool:
            yield node, ast.Constant(not node.value)


def _is_type(node: ast.BinOp) -> bool:
    """Tells whether an operator may join types, as in isinstance(a, int | str), or text."""
    names = [each for each in ast.walk(node) if isinstance(each, ast.Name)]
    texts = [each for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    return bool(texts) or (isinstance(node.op, ast.BitOr) and all(name.id in dir(__builtins__) for name in names))


def mirrored(module: Path) -> list[str]:
    """Returns the tests of a module."""
    relative = module.relative_to(ROOT)
    parts = relative.parts[1:] if relative.parts[0] == "deeppose_port" else relative.parts
    folder = Path("tests", *parts[:-1])
    name = module.parent.name if module.stem == "__init__" else module.stem.strip("_")
    own = [folder / f"test_{name}.py", folder / f"test_{folder.name}_{name}.py", folder.parent / f"test_{name}.py"]
    found = [path for path in own if (ROOT / path).exists()]
    while not found and folder != Path("tests"):
        found, folder = ([folder] if (ROOT / folder).is_dir() else []), folder.parent
    return [str(path) for path in found]


def copy_to(folder: Path) -> None:
    """Makes a copy of the checkout out of links; a file that is edited is put in the place of its link."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    for name in os.fsdecode(listing.stdout).splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(ROOT / name, folder / name)
            except OSError:
                (folder / name).write_bytes((ROOT / name).read_bytes())


def passes(folder: Path, tests: list[str], limit: float | None) -> bool:
    """Runs tests until one fails; what takes too long has failed."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:randomly", *tests]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    try:
        ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return False
    return ended.returncode == 0


def main() -> int:
    """Makes the edits one after the other, and prints those that no test noticed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", type=Path, metavar="MODULE")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tests", nargs="+", metavar="TEST", help="instead of those that mirror the modules")
    options = parser.parse_args()

    places = [ROOT / place for place in options.modules or map(Path, PACKAGES)]
    modules = sorted({path for place in places for path in ([place] if place.is_file() else place.rglob("*.py"))})
    chance = random.Random(options.seed)
    every = [edit for module in modules if options.tests or mirrored(module) for edit in edits(module)]
    chosen = sorted(chance.sample(every, min(options.count, len(every))), key=lambda edit: (edit.module, edit.line))
    noticed, whole = 0, dict[tuple[str, ...], float]()
    with tempfile.TemporaryDirectory(prefix="deeppose-port-mutants-") as place:
        folder = Path(place)
        copy_to(folder)
        for number, edit in enumerate(chosen, start=1):
            tests = tuple(options.tests or mirrored(edit.module))
            if tests not in whole:
                begun = time.monotonic()
                if not passes(folder, list(tests), None):
                    print(f"{' '.join(tests)} fails without any edit")
                    return 2
                whole[tests] = time.monotonic() - begun
            target = folder / edit.module.relative_to(ROOT)
            target.unlink()
            target.write_text(edit.text, encoding="utf-8")
            survived = passes(folder, list(tests), 3 * whole[tests] + 30)
            target.write_bytes(edit.module.read_bytes())
            noticed += not survived
            if survived:
                name = edit.module.relative_to(ROOT)
                print(f"{number}: {name}:{edit.line}: {edit.before!r} -> {edit.after!r} was not noticed", flush=True)
    print(f"{noticed} of {len(chosen)} edits were noticed ({100 * noticed / max(len(chosen), 1):.0f} %)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
