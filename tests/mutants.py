"""Single edits of the source, each of which some test should notice: how many do.

    python -m tests.mutants [MODULE...] [--count 200] [--seed 0] [--results FILE]

The edits of mutants.toml, which somebody thought of, and so many more that are drawn: a comparison turned, an operator
exchanged, a number made one larger, a guard left out, a condition negated. The same seed draws the same ones, of each
module no more than its share. Each is made in a copy of the checkout, where the tests run that bear the module's name
or import it, until one fails that passes without the edit. They run in a process that is forked from one in which the
libraries are loaded. What is in FILE already is not done again. Not a part of CI: 200 edits take an hour.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("converters", "deeppose_port")
CHOSEN = Path(__file__).with_suffix(".toml")
#: Files of tests that run for one edit.
_MOST_TESTS = 4
#: Seconds of work after which an edit is taken to hang.
_SECONDS = 120
_LIBRARIES = (
    "numpy",
    "scipy.io",
    "cv2",
    "PIL.Image",
    "h5py",
    "safetensors",
    "torch",
    "pytest",
    "rich",
    "click",
    "jinja2",
)
_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    **{ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt},
    **{ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In},
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult},
    **{ast.Mod: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd},
}


class Edit(NamedTuple):
    """One edit: the module, its line, what stood there, what stands there now, the whole text, and the tests if any."""

    module: str
    line: int
    before: str
    after: str
    text: str
    tests: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What tells it from others."""
        return f"{self.module}:{self.line}: {self.before!r} -> {self.after!r}"


def chosen() -> list[Edit]:
    """Returns the edits of mutants.toml.

    Raises:
        ValueError: What one replaces is not there once.
    """
    found = []
    for row in tomllib.loads(CHOSEN.read_text(encoding="utf-8"))["edit"]:
        text = (ROOT / row["module"]).read_text(encoding="utf-8")
        if text.count(row["before"]) != 1:
            raise ValueError(f"{row['module']} has {row['before']!r} {text.count(row['before'])} times, not once")
        line = text[: text.index(row["before"])].count("\n") + 1
        edited = text.replace(row["before"], row["after"])
        found.append(Edit(row["module"], line, row["before"], row["after"], edited, tuple(row.get("tests", ()))))
    return found


def drawn(places: list[Path], count: int, seed: int) -> list[Edit]:
    """Returns some of all edits, of each module about as many as its share."""
    chance = random.Random(seed)
    modules = sorted({path for place in places for path in ([place] if place.is_file() else place.rglob("*.py"))})
    every = [edit for module in modules if tests_of(module) for edit in edits(module)]
    return sorted(chance.sample(every, min(count, len(every))), key=lambda edit: (edit.module, edit.line))


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
        found.append(Edit(str(module.relative_to(ROOT)), node.lineno, content[start:end].decode(), after, edited))
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


@cache
def tests_of(module: Path) -> tuple[str, ...]:
    """Returns files of tests of a module: of its name, those that import it, and of its package, the near first."""
    relative = module.relative_to(ROOT)
    name = module.parent.name if module.stem == "__init__" else module.stem.strip("_")
    dotted = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
    package, _, last = dotted.rpartition(".")
    parts = relative.parts[1:-1] if relative.parts[0] == "deeppose_port" else relative.parts[:-1]
    own, around = (
        re.compile(rf"(from|import) {re.escape(one)}\b|from {re.escape(other)} import [^\n]*\b{two}\b")
        for one, other, two in ((dotted, package, last), (package, *package.rpartition(".")[::2]))
    )

    def rank(path: str, text: str) -> tuple[int, int, str]:
        folders = Path(path).parts[1:-1]
        common = next((i for i, (a, b) in enumerate(zip(folders, parts, strict=False)) if a != b), len(folders))
        stem, near = Path(path).stem, folders == parts[: len(folders)]
        kind = 0 if stem in (f"test_{name}", f"test_{parts[-1:] and parts[-1]}_{name}") else 1
        kind = kind if kind == 0 or own.search(text) else 2 if near and around.search(text) else 9
        return kind, len(folders) + len(parts) - 2 * common, path

    ranks = sorted(rank(path, text) for path, text in _tests().items())
    return tuple(path for kind, _, path in ranks if kind < 9)[:_MOST_TESTS]


@cache
def _tests() -> dict[str, str]:
    """Returns the texts of all files of tests but those of whole processes."""
    return {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
        for path in sorted(ROOT.glob("tests/**/test_*.py"))
        if "end_to_end" not in path.parts and path.name not in ("test_fuzz.py", "test_arrows.py")
    }


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


def failing(folder: Path, tests: tuple[str, ...]) -> str | None:
    """Runs tests in a process of their own until one fails; returns it, or what else ended them; None if all pass."""
    with tempfile.TemporaryFile("w+") as said:
        child = os.fork()
        if not child:
            _run(folder, tests, said.fileno())
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said.seek(0)
        found = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", said.read(), re.MULTILINE)
    if status == 0:
        return None
    return found[1] if found else f"status {status}"


def _run(folder: Path, tests: tuple[str, ...], output: int) -> None:
    """Becomes a process that runs tests in a copy of the checkout."""
    import pytest

    os.dup2(output, 1)
    os.dup2(output, 2)
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    os.chdir(folder)
    os.environ.update(PYTHONPATH=str(folder), PYTHONDONTWRITEBYTECODE="1")
    sys.dont_write_bytecode = True
    sys.path[:] = [str(folder), *(place for place in sys.path if Path(place or ".").resolve() not in (ROOT, folder))]
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    status = 1
    try:
        status = pytest.main(["-q", "-x", "-rfE", "--tb=no", "-p", "no:cacheprovider", *tests])
    finally:
        os._exit(status)


def main() -> int:
    """Makes the edits one after the other, and prints those that no test noticed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", type=Path, metavar="MODULE", help="files or folders; all without any")
    parser.add_argument("--count", type=int, default=200, help="of all edits together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, metavar="FILE", help="JSON lines of what became of each")
    options = parser.parse_args()

    places = [ROOT / place for place in options.modules or map(Path, PACKAGES)]
    all_edits = [edit for edit in chosen() if any((ROOT / edit.module).is_relative_to(place) for place in places)]
    all_edits += drawn(places, max(0, options.count - len(all_edits)), options.seed)
    results: dict[str, str | None] = {}
    if options.results and options.results.exists():
        results = dict(json.loads(line) for line in options.results.read_text().splitlines())
    for library in _LIBRARIES:
        __import__(library)
    with tempfile.TemporaryDirectory(prefix="deeppose-port-mutants-") as place:
        folder = Path(place)
        copy_to(folder)
        for number, edit in enumerate(all_edits[: options.count], start=1):
            if edit.key not in results:
                begun = time.monotonic()
                results[edit.key] = noticed_by(folder, edit)
                print(
                    f"{number}: {results[edit.key] or 'SURVIVED'}, {time.monotonic() - begun:.0f} s: {edit.key}",
                    flush=True,
                )
                if options.results:
                    with options.results.open("a") as stream:
                        stream.write(json.dumps([edit.key, results[edit.key]]) + "\n")
    told = [results[edit.key] for edit in all_edits[: options.count]]
    noticed = sum(test is not None for test in told)
    print(f"{noticed} of {len(told)} edits were noticed ({100 * noticed / max(len(told), 1):.0f} %); these were not:")
    for edit in all_edits[: options.count]:
        if results[edit.key] is None:
            print(f"  {edit.key}")
    return 0


def noticed_by(folder: Path, edit: Edit) -> str | None:
    """Makes an edit; returns the test that fails of it, None if none does.

    Raises:
        RuntimeError: It fails without the edit too.
    """
    target, original = folder / edit.module, (ROOT / edit.module).read_bytes()
    tests = edit.tests or tests_of(ROOT / edit.module)
    target.unlink()
    target.write_text(edit.text, encoding="utf-8")
    try:
        failed = failing(folder, tests)
    finally:
        target.write_bytes(original)
    if failed is not None and "::" in failed and failing(folder, (failed,)) is not None:
        raise RuntimeError(f"{failed} fails without any edit")
    return failed


if __name__ == "__main__":
    sys.exit(main())
