"""Arrows between modules run one way, and engines are loaded only where they belong."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import ROOT

#: Every room of `deeppose_port` with the rooms that it may import: only such as stand above it in this table.
#: `converters`, `options`, `progress` and `text` are below all of them. One module of a room may stand lower than the
#: room: poses are drawn on pictures by what answers, and reports draw with what answers.
ROOMS: dict[str, set[str]] = {
    "data": set(),
    "metrics": {"data"},
    "training": {"data", "metrics"},
    "backends": {"data", "metrics", "training"},
    "drawing.lines": {"data"},
    "drawing.draw": {"data", "drawing.lines"},
    "pose": {"data", "backends", "drawing.draw"},
    "cascade": {"data", "backends", "drawing.draw", "pose"},
    "loading": {"pose", "cascade"},
    "evaluate": {"data", "metrics", "training", "backends", "pose", "cascade", "loading"},
    "drawing": {
        *("data", "metrics", "training", "backends", "drawing.draw", "drawing.lines"),
        *("pose", "cascade", "loading", "evaluate"),
    },
    "predict": {"data", "metrics", "backends", "pose", "cascade", "loading", "drawing", "drawing.draw"},
    "inspecting": {
        *("data", "metrics", "training", "backends", "pose", "cascade", "loading"),
        *("drawing", "drawing.draw", "drawing.lines", "predict"),
    },
    "cli": {
        *("data", "metrics", "training", "backends", "pose", "cascade", "loading"),
        *("evaluate", "drawing", "drawing.draw", "predict", "inspecting"),
    },
}
BELOW = {"options", "progress", "text"}
#: Arrows that are still to be turned, as (room, what it imports); an entry that is no longer needed fails.
STILL_OPEN: set[tuple[str, str]] = set()
#: The face of the package hands names on, and `python -m deeppose_port` runs the command line.
FACES = ("deeppose_port", "deeppose_port.__main__")
#: The one module that loads others of ours by a name: backends, by their list, when they are asked for. It reads the
#: names from there, which this test does not see.
LOADS_BY_NAME: set[str] = set()


def sources(package: str) -> list[Path]:
    """Returns the modules of a package."""
    return sorted((ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    """Returns a module's dotted name."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    """Returns the room of something in `deeppose_port`, as it is called in the table."""
    first, _, rest = module.partition(".")
    second = rest.partition(".")[0]
    return f"{first}.{second}" if f"{first}.{second}" in ROOMS else first


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Returns the modules and names that a file imports anywhere in it, but for type checkers' eyes only."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
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
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def importers(package: str, *roots: str) -> set[str]:
    """Returns the files under `package` that import something of `roots`."""
    found = set()
    for path in sources(package):
        if any(name.split(".")[0] in roots for name in imports(path)):
            found.add(path.relative_to(ROOT).as_posix())
    return found


def test_the_table_names_every_room() -> None:
    folder = ROOT / "deeppose_port"
    rooms = {path.name for path in folder.iterdir() if (path / "__init__.py").exists()}
    rooms |= {path.stem for path in folder.glob("*.py") if not path.stem.startswith("__")}
    assert rooms - BELOW <= set(ROOMS)
    assert len(list(folder.glob("*.py"))) <= 8, "a module beside the rooms: does it belong into one?"


def test_the_table_has_no_circle() -> None:
    order = list(ROOMS)
    assert all(order.index(below) < order.index(room) for room, allowed in ROOMS.items() for below in allowed)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_what_is_below_it(room: str) -> None:
    allowed = {room, *BELOW, *ROOMS[room]}
    open_arrows = {target for source, target in STILL_OPEN if source == room}
    wrong, found = [], set()
    for path in sources("deeppose_port"):
        name = name_of(path)
        if name in FACES or room_of(name.partition(".")[2]) != room:
            continue
        for imported in imports(path):
            package, _, rest = imported.partition(".")
            target = room_of(rest)
            if package == "deeppose_port" and target in open_arrows:
                found.add(target)
            elif package == "deeppose_port" and target not in {*allowed, "__version__"}:
                wrong.append(f"{name} imports {imported}")
    assert found == open_arrows, "take it out of STILL_OPEN"
    assert not wrong


def test_converters_know_nothing_of_deeppose_port() -> None:
    assert importers("converters", "deeppose_port") == set()


def test_converters_import_torch_in_one_module_and_no_other_engine() -> None:
    assert importers("converters", "torch") == {"converters/formats/pt.py"}
    assert importers("converters", "chainer", "cupy", "onnx", "onnxruntime") == set()


@pytest.mark.parametrize(
    ("engine", "roots"),
    [("torch", ("torch",)), ("chainer", ("chainer", "cupy")), ("onnx", ("onnx", "onnxruntime", "openvino"))],
)
def test_an_engine_is_imported_only_by_its_backend(engine: str, roots: tuple[str, ...]) -> None:
    found = importers("deeppose_port", *roots)
    assert found, "the scan sees nothing"
    assert all(name.startswith(f"deeppose_port/backends/{engine}/") for name in found), found


def test_no_arrow_is_hidden_in_a_name() -> None:
    hidden = set()
    for path in (*sources("deeppose_port"), *sources("converters")):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if "import_module" in text else ():
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
                names = [c.value for c in ast.walk(node.args[0]) if isinstance(c, ast.Constant)]
                if any(str(name).startswith(("deeppose_port", "converters")) for name in names):
                    hidden.add(path.relative_to(ROOT).as_posix())
    assert hidden == LOADS_BY_NAME


def test_importing_loads_no_engine() -> None:
    """One after the other in one process: what a module loads is told of it and of those after it."""
    light = [
        "converters",
        "deeppose_port",
        "deeppose_port.cli",
        "deeppose_port.inspecting.doctor",
        "deeppose_port.data",
    ]
    engines = {"torch", "chainer", "cupy", "h5py", "onnx", "onnxruntime", "openvino", "cv2"}
    code = f"""
import importlib, sys
for module in {[*light, "deeppose_port.data.dataset"]}:
    importlib.import_module(module)
    print(module, *sorted({engines} & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == [*light, "deeppose_port.data.dataset cv2"]


def test_a_picture_is_predicted_without_what_it_does_not_need(tmp_path: Path) -> None:
    picture = ROOT / "examples" / "pictures" / "astronaut.png"
    arguments = ["predict", str(ROOT / "examples" / "astronaut" / "epoch-300.model"), str(picture), "-o", str(tmp_path)]
    code = f"import json, sys; from deeppose_port.cli import main; main({arguments}); print(json.dumps([*sys.modules]))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(result.stdout.splitlines()[-1]))
    assert "onnxruntime" in loaded
    slow = {
        "onnx",
        "openvino",
        "torch",
        "chainer",
        "scipy",
        "rich",
        "pandas",
        "matplotlib",
        "PIL",
        "importlib.metadata",
        "converters.networks.source",  # what reads models' sources
    }
    assert not loaded & slow
    assert not {f"deeppose_port.cli.{name}" for name in ("convert", "evaluate", "train", "bench")} & loaded
