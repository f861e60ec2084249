"""Single edits of the source, each of which some test should notice: how many do.

    python -m tests.mutants [MODULE...] [--count 200] [--seed 0] [--results FILE]

The edits of mutants.toml, which somebody thought of, and so many more that are drawn: a comparison turned, an operator
exchanged, a number made one larger, a guard left out, a condition negated. The same seed draws the same ones, of each
module about as many as its share. Not drawn are types, what is said in errors and other texts, whether a dataclass is
frozen, `strict` of zip, `flush`, what is so on Windows alone, whole numbers of a thousand and more (limits and sizes of
buffers: one more is nothing that anybody promised), and the measures of a page's charts in pixels.

For each edit run the tests that bear the module's name, then those that import it or bear the name of one that does,
those of its package, and the nearest others; of each of the four the quickest first, until one fails that passes
without the edit, or 8 seconds of work are over. They run in processes that are forked from one in which all tests are
loaded, where the edited function is put in the place of the one that was; where it is no function that is edited, they
are loaded anew. What is in FILE already is not done again. Not a part of CI: 200 edits take half an hour of work.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import contextlib
import copy
import gc
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from functools import cache
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import CodeType, FunctionType
from typing import NamedTuple

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("converters", "deeppose_port")
CHOSEN = Path(__file__).with_suffix(".toml")
#: Seconds of work of the tests that run for one edit, and how many files are loaded where all have to be loaded anew.
_WORK, _MOST_FILES = 8, 4
#: Seconds that a test takes of which that is not known yet.
_UNKNOWN = 0.1
#: Seconds after which an edit is taken to hang: of work, and by the clock.
_SECONDS, _PATIENCE = 40, 600
#: Whole numbers from which on one more is no edit.
_LARGE = 1000
#: Where numbers are the measures of drawings.
_MEASURES = ("deeppose_port/drawing/report/charts.py",)
#: Keywords that change no answer.
_KEYWORDS = ("strict", "flush", "frozen", "slots", "kw_only")
_OPTIONS = ("-q", "--tb=no", "-p", "no:cacheprovider")
#: How pytest ends where no test failed: all passed, the clock stopped them, there are none.
_UNNOTICED = (pytest.ExitCode.OK, pytest.ExitCode.INTERRUPTED, pytest.ExitCode.NO_TESTS_COLLECTED)
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
    """One edit: module, where in it, what stood there and stands there now, the whole text, and the tests if any."""

    module: str
    line: int
    column: int
    last_line: int
    before: str
    after: str
    text: str
    #: What tells the function that it is in: file, name and first line; none where it is outside of all.
    function: tuple[str, str, int] | None
    tests: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What tells it from others."""
        return f"{self.module}:{self.line}:{self.column}: {self.before!r} -> {self.after!r}"


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
        before, _, _ = text.partition(row["before"])
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n") - 1
        place = (row["module"], line, column, line + row["before"].count("\n"))
        edited = text.replace(row["before"], row["after"])
        function = _function_of(ast.parse(text), (line, place[-1]), row["module"])
        found.append(Edit(*place, row["before"], row["after"], edited, function, tuple(row.get("tests", ()))))
    return found


def drawn(places: list[Path], count: int, seed: int) -> list[Edit]:
    """Returns some of all edits, of each module about as many as its share."""
    chance = random.Random(seed)
    modules = sorted({path for place in places for path in ([place] if place.is_file() else place.rglob("*.py"))})
    every = [edit for module in modules for edit in edits(module)]
    return sorted(chance.sample(every, min(count, len(every))), key=lambda edit: edit[:3])


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
        name = str(module.relative_to(ROOT))
        if name in _MEASURES and isinstance(node, ast.Constant):
            continue
        before = content[start:end].decode()
        found.append(
            Edit(
                name,
                node.lineno,
                node.col_offset,
                node.end_lineno,
                before,
                after,
                edited,
                _function_of(tree, (node.lineno, node.end_lineno), name),
            )
        )
    return found


def _function_of(tree: ast.Module, lines: tuple[int, int], file: str) -> tuple[str, str, int] | None:
    """Returns the outermost function in whose body lines are: file, name, first line; none if its module calls it."""
    outside = [each for each in tree.body if not isinstance(each, ast.FunctionDef | ast.ClassDef)]
    called = {ast.unparse(call.func) for each in outside for call in ast.walk(each) if isinstance(call, ast.Call)}
    inner: list[ast.AST] = list(tree.body)
    for each in inner:
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            assert each.end_lineno is not None
            if each.body[0].lineno <= lines[0] and lines[1] <= each.end_lineno:
                line = min(one.lineno for one in (each, *each.decorator_list))
                return None if each.name in called else (file, each.name, line)
        else:
            inner += [one for one in ast.iter_child_nodes(each) if isinstance(one, ast.stmt)]
    return None


def _code(folder: Path, edit: Edit, text: str) -> CodeType | None:
    """Returns the code of an edited function in the text of its module; none where it is no function that is edited."""
    codes = _codes(compile(text, str(folder / edit.module), "exec", dont_inherit=True))
    return next((code for code in codes if _place(folder, code) == edit.function), None)


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yields a code and all in it."""
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _codes(each)


def _place(folder: Path, code: CodeType) -> tuple[str, str, int]:
    """Returns what tells a function's code: file in the checkout, name, first line."""
    return os.path.relpath(code.co_filename, folder), code.co_name, code.co_firstlineno


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
        if isinstance(node, ast.If | ast.IfExp) and "sys.platform" in ast.unparse(node.test):
            skipped |= {node, *ast.walk(node.test)}
        if isinstance(node, ast.keyword) and node.arg in _KEYWORDS:
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
            if isinstance(node.value, int) and node.value >= _LARGE:
                continue
            yield node, ast.Constant(node.value + 1)
        elif isinstance(node, ast.Constant) and type(node.value) is bool:
            yield node, ast.Constant(not node.value)


def _is_type(node: ast.BinOp) -> bool:
    """Tells whether an operator may join types, as in isinstance(a, int | str), or text."""
    names = [each for each in ast.walk(node) if isinstance(each, ast.Name)]
    texts = [each for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    return bool(texts) or (isinstance(node.op, ast.BitOr) and any(name.id in dir(builtins) for name in names))


@cache
def ranked(module: Path) -> dict[str, tuple[int, int]]:
    """Returns the files of tests with their distance from a module: the kind, and how many folders lie between.

    The kind is 0 for those that bear its name, 1 for those that import it or bear the name of a module that does, 2 for
    those of its package, and 3 for all others.
    """
    relative = module.relative_to(ROOT)
    name = module.parent.name if module.stem == "__init__" else module.stem.strip("_")
    dotted = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
    package, _, last = dotted.rpartition(".")
    parts = relative.parts[1:-1] if relative.parts[0] == "deeppose_port" else relative.parts[:-1]
    own, around = (
        re.compile(rf"(from|import) {re.escape(one)}\b|from {re.escape(other)} import [^\n]*\b{two}\b")
        for one, other, two in ((dotted, package, last), (package, *package.rpartition(".")[::2]))
    )
    users = {f"test_{path.stem.strip('_')}" for path, text in _sources().items() if own.search(text)}

    def rank(path: str, text: str) -> tuple[int, int]:
        folders = Path(path).parts[1:-1]
        common = next((i for i, (a, b) in enumerate(zip(folders, parts, strict=False)) if a != b), len(folders))
        named = Path(path).stem in (f"test_{name}", f"test_{parts[-1:] and parts[-1]}_{name}")
        near = folders == parts[: len(folders)] and around.search(text)
        return 0 if named else 1 if own.search(text) or Path(path).stem in users else 2 if near else 3, len(
            folders
        ) + len(parts) - 2 * common

    return {path: rank(path, text) for path, text in _tests().items()}


@cache
def _sources() -> dict[Path, str]:
    """Returns the texts of all modules."""
    return {path: path.read_text(encoding="utf-8") for place in PACKAGES for path in (ROOT / place).rglob("*.py")}


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


def tests_of(edit: Edit, seconds: dict[str, float]) -> list[str]:
    """Returns the tests that run for an edit, in their order, out of all with the seconds that they take."""
    ranks = ranked(ROOT / edit.module)
    known = {test: ranks[test.partition("::")[0]] for test in seconds if not edit.tests or test.startswith(edit.tests)}
    return sorted(known, key=lambda test: (known[test][0], seconds[test], known[test][1], test))


class Loaded:
    """A process in which all tests of a copy of the checkout are loaded; others are forked from it to run some."""

    def __init__(self, folder: Path) -> None:
        """Starts it."""
        self._connection, other = Pipe()
        self._process = os.fork()
        if not self._process:
            self._connection.close()  # or it would never see the end of it
            _enter(folder)
            pytest.main([*_OPTIONS, "--capture=no", *_tests()], plugins=[_Server(other)])
            os._exit(1)
        other.close()
        #: All tests, and the seconds that each takes.
        self.seconds: dict[str, float] = dict.fromkeys(self._connection.recv(), _UNKNOWN)

    def failing(self, tests: Iterable[str], edit: Edit | None = None) -> str | None:
        """Runs tests until one fails; returns it, or what else ended them; None if all pass."""
        tests = tuple(tests)
        if not tests:
            return None
        self._connection.send((tests, edit))
        failed, seconds = self._connection.recv()
        self.seconds.update(seconds)
        return failed

    def close(self) -> None:
        """Ends it."""
        self._connection.close()
        os.waitpid(self._process, 0)


class _Server:
    """A plugin of pytest that runs tests as it is told to, each time in a process of its own."""

    def __init__(self, connection: Connection) -> None:
        """Takes where it is told."""
        self._connection = connection
        self._failed = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Looks whether a test failed."""
        self._failed = self._failed or report.failed

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Answers until nothing more is asked."""
        items = {item.nodeid: item for item in session.items}
        self._connection.send(list(items))
        functions: dict[tuple[str, str, int], list[FunctionType]] = {}
        for each in gc.get_objects():
            if type(each) is FunctionType and each.__code__.co_filename.startswith(os.getcwd()):
                functions.setdefault(_place(Path.cwd(), each.__code__), []).append(each)
        gc.freeze()
        while True:
            try:
                tests, edit = self._connection.recv()
            except EOFError:
                os._exit(0)
            receiving, sending = Pipe(duplex=False)
            with tempfile.TemporaryDirectory(prefix="deeppose-port-mutants-") as place:
                child = os.fork()
                if not child:
                    try:
                        self._become(session, [items[test] for test in tests], edit, functions, Path(place), sending)
                    finally:
                        os._exit(1)
                sending.close()
                answer: tuple[str | None, dict[str, float]] = (None, {})
                if not receiving.poll(_PATIENCE):
                    os.kill(child, signal.SIGKILL)
                with contextlib.suppress(EOFError):
                    answer = receiving.recv()
                receiving.close()
                status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            self._connection.send(answer if status == 0 else (f"status {status}", {}))

    def _become(
        self,
        session: pytest.Session,
        items: list[pytest.Item],
        edit: Edit | None,
        functions: dict[tuple[str, str, int], list[FunctionType]],
        folder: Path,
        connection: Connection,
    ) -> None:
        """Becomes a process that runs tests until one fails."""
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
        session.config._tmp_path_factory._given_basetemp = folder / "tests"  # else pytest clears up among them
        if edit is not None:
            code = _code(Path.cwd(), edit, edit.text)
            for function in functions.get(edit.function, ()):
                function.__code__ = code
        seconds: dict[str, float] = {}
        begun = time.process_time()
        for item, following in zip(items, [*items[1:], None], strict=True):
            start = time.process_time()
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            seconds[item.nodeid] = time.process_time() - start
            if self._failed or time.process_time() - begun > _WORK:
                break
        connection.send((item.nodeid if self._failed else None, seconds))
        connection.close()
        os._exit(0)


def failing(folder: Path, tests: Iterable[str]) -> str | None:
    """Runs tests in a process of their own until one fails; returns it, or what else ended them; None if all pass."""
    with tempfile.TemporaryFile("w+") as said:
        child = os.fork()
        if not child:
            _run(folder, tuple(tests), said.fileno())
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said.seek(0)
        found = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", said.read(), re.MULTILINE)
    if found:
        return found[1]
    return None if status in _UNNOTICED else f"status {status}"


class _Selection:
    """A plugin of pytest that runs some tests, if they are there, and stops when the seconds of work are over."""

    def __init__(self, tests: tuple[str, ...]) -> None:
        """Takes them in their order, and starts the clock."""
        self._tests = tests
        self._end = time.process_time() + _WORK

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leaves the tests out of those that were found."""
        found = {item.nodeid: item for item in items}
        items[:] = [found[test] for test in self._tests if test in found]

    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        """Looks at it."""
        if time.process_time() > self._end:
            item.session.shouldstop = "so much work is enough"


def _run(folder: Path, tests: tuple[str, ...], output: int) -> None:
    """Becomes a process that loads tests of a copy of the checkout and runs them."""
    _enter(folder)
    os.dup2(output, 1)
    os.dup2(output, 2)
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    status = 1
    try:
        files = dict.fromkeys(test.partition("::")[0] for test in tests)
        status = pytest.main([*_OPTIONS, "-x", "-rfE", *files], plugins=[_Selection(tests)])
    finally:
        os._exit(status)


def _enter(folder: Path) -> None:
    """Makes a process that was forked one of a copy of the checkout."""
    os.chdir(folder)
    os.environ.update(PYTHONPATH=str(folder), PYTHONDONTWRITEBYTECODE="1")
    sys.dont_write_bytecode = True
    sys.path[:] = [str(folder), *(place for place in sys.path if Path(place or ".").resolve() not in (ROOT, folder))]
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]


class Bench:
    """A copy of the checkout in which edits are made."""

    def __init__(self, folder: Path) -> None:
        """Makes it."""
        copy_to(folder)
        self._folder = folder
        self._loaded = Loaded(folder)

    def noticed_by(self, edit: Edit) -> str | None:
        """Makes an edit; returns the test that fails of it, None if none does."""
        target, original = self._folder / edit.module, (ROOT / edit.module).read_bytes()
        tests = tests_of(edit, self._loaded.seconds)
        old, new = (_code(self._folder, edit, text) for text in (original.decode(), edit.text))
        put = old is not None and new is not None and old.co_freevars == new.co_freevars
        while True:
            target.unlink()
            target.write_text(edit.text, encoding="utf-8")
            try:
                failed = self._loaded.failing(tests, edit) if put else failing(self._folder, self._few(tests))
            finally:
                target.write_bytes(original)
            if failed not in self._loaded.seconds or self._loaded.failing([failed]) is None:
                return failed
            print(f"{failed} fails without any edit", file=sys.stderr)
            del tests[: tests.index(failed) + 1]
            del self._loaded.seconds[failed]

    def _few(self, tests: list[str]) -> list[str]:
        """Returns the first tests, whose files are loaded in no time."""
        files = list(dict.fromkeys(test.partition("::")[0] for test in tests))[:_MOST_FILES]
        found, work = [], 0.0
        for test in tests:
            work += self._loaded.seconds[test]
            if work > _WORK:
                break
            if test.partition("::")[0] in files:
                found.append(test)
        return found

    def close(self) -> None:
        """Ends its process."""
        self._loaded.close()


def main() -> int:
    """Makes the edits, and prints those that no test noticed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", type=Path, metavar="MODULE", help="files or folders; all without any")
    parser.add_argument("--count", type=int, default=200, help="of all edits together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, metavar="FILE", help="JSON lines of what became of each")
    options = parser.parse_args()

    places = [ROOT / place for place in options.modules or map(Path, PACKAGES)]
    all_edits = [edit for edit in chosen() if any((ROOT / edit.module).is_relative_to(place) for place in places)]
    all_edits += drawn(places, max(0, options.count - len(all_edits)), options.seed)
    del all_edits[options.count :]
    results: dict[str, str | None] = {}
    if options.results and options.results.exists():
        results = dict(json.loads(line) for line in options.results.read_text().splitlines())
    left = [edit for edit in all_edits if edit.key not in results]
    for library in _LIBRARIES if left else ():
        __import__(library)
    with tempfile.TemporaryDirectory(prefix="deeppose-port-mutants-") as place:
        bench = Bench(Path(place)) if left else None
        for edit in left if bench else ():
            begun = time.monotonic()
            noticed = results[edit.key] = bench.noticed_by(edit)
            print(f"{noticed or 'SURVIVED'}, {time.monotonic() - begun:.0f} s: {edit.key}", flush=True)
            if options.results:
                with options.results.open("a") as stream:
                    stream.write(json.dumps([edit.key, noticed]) + "\n")
        if bench:
            bench.close()
    survivors = [edit for edit in all_edits if results[edit.key] is None]
    count = len(all_edits) - len(survivors)
    print(f"{count} of {len(all_edits)} edits were noticed ({100 * count / max(len(all_edits), 1):.0f} %); not these:")
    for edit in survivors:
        print(f"  {edit.key}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
