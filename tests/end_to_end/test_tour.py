"""The notebook runs from end to end, as a user's would."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("torch", reason="the notebook uses the PyTorch backend")
pytestmark = pytest.mark.end_to_end

TOUR = ROOT / "examples" / "tour.ipynb"
#: In a process of its own: the loop of nbclient leaves warnings of others.
RUN = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], 4)
NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": sys.argv[2]}}).execute()
nbformat.write(notebook, sys.argv[3])
"""


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """What each cell of code shows: its outputs by their types."""
    target = tmp_path_factory.mktemp("tour") / "tour.ipynb"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", RUN, TOUR, TOUR.parent, target]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert ended.returncode == 0, ended.stderr
    return [cell for cell in nbformat.read(target, 4).cells if cell.cell_type == "code"]


def shown(cell):
    return {kind: text for output in cell.outputs for kind, text in output.get("data", {}).items()}


def test_it_is_kept_without_what_it_shows():
    notebook = nbformat.read(TOUR, 4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    assert TOUR.stat().st_size < 20_000


def test_values_are_tables_and_drawings(cells):
    tables = [shown(cell)["text/html"] for cell in cells if "text/html" in shown(cell)]
    assert len(tables) >= 6
    for text in ("22 layers", "every byte equal", "torch on cpu", "<svg", "13 persons of flic", "mean_error_px"):
        assert any(text in table for table in tables), text
    assert not any("array(" in table for table in tables)


def test_pictures_are_drawn(cells):
    drawn = [cell for cell in cells if "image/png" in shown(cell) or "image/jpeg" in shown(cell)]
    assert len(drawn) == 3


def test_nothing_is_warned_of(cells):
    streams = [out for cell in cells for out in cell.outputs if out.output_type == "stream" and out.name == "stderr"]
    assert [stream.text for stream in streams] == []
