"""Arrows between modules run one way, and engines are loaded only where they belong."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def imports(path: Path) -> Iterator[str]:
    """Yields the modules that a file imports anywhere in it, but for type checkers' eyes only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            skipped |= set(ast.walk(node))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module


def importers(package: str, *roots: str) -> set[str]:
    """Returns the files under `package` that import something of `roots`."""
    found = set()
    for path in sorted((ROOT / package).rglob("*.py")):
        if any(name.split(".")[0] in roots for name in imports(path)):
            found.add(path.relative_to(ROOT).as_posix())
    return found


def test_converters_know_nothing_of_deeppose_port() -> None:
    assert importers("converters", "deeppose_port") == set()


def test_converters_import_torch_in_one_module_and_chainer_nowhere() -> None:
    assert importers("converters", "torch") == {"converters/formats/pt.py"}
    assert importers("converters", "chainer", "cupy") == set()


@pytest.mark.parametrize(("engine", "roots"), [("torch", ("torch",)), ("chainer", ("chainer", "cupy"))])
def test_an_engine_is_imported_only_by_its_backend(engine: str, roots: tuple[str, ...]) -> None:
    found = importers("deeppose_port", *roots)
    assert found, "the scan sees nothing"
    assert all(name.startswith(f"deeppose_port/backends/{engine}/") for name in found), found


def test_data_and_metrics_know_neither_backends_nor_commands() -> None:
    files = [*(ROOT / "deeppose_port" / "data").glob("*.py"), *(ROOT / "deeppose_port" / "metrics").glob("*.py")]
    above = (
        "deeppose_port.backends",
        "deeppose_port.cli",
        "deeppose_port.evaluate",
        "deeppose_port.training",
    )
    assert not [f.name for f in files for name in imports(f) if name.startswith(above)]


@pytest.mark.parametrize("module", ["converters", "deeppose_port", "deeppose_port.cli", "deeppose_port.data"])
def test_importing_loads_no_engine(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'torch', 'chainer', 'cupy', 'h5py'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
