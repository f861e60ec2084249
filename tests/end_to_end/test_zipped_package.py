"""The packages run from a zip file too, data files and all."""

import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from scipy.io import savemat

from tests.conftest import PICTURES, ROOT


@pytest.fixture(scope="module")
def zipped(tmp_path_factory):
    """Both packages in one zip file."""
    path = tmp_path_factory.mktemp("zipped") / "packages.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for package in ("converters", "deeppose_port"):
            for file in sorted((ROOT / package).rglob("*")):
                if file.is_file() and "__pycache__" not in file.parts:
                    archive.write(file, file.relative_to(ROOT))
    return path


def run_zipped(zipped, folder, *arguments):
    """Runs the command line out of the zip file; returns what it wrote, after where it was run from."""
    code = "import sys, deeppose_port.cli; print(deeppose_port.__file__); sys.exit(deeppose_port.cli.main())"
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(zipped)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(str(zipped)), "it is run from elsewhere"
    return result


def test_the_network_that_comes_along_predicts_from_a_zip_file(zipped, tmp_path):
    result = run_zipped(zipped, tmp_path, "predict", PICTURES / "astronaut.png", "-o", tmp_path / "out")
    assert "the included lspet-small.safetensors" in result.stderr
    assert (tmp_path / "out" / "astronaut_pose.png").is_file()


def test_a_data_set_is_prepared_from_a_zip_file(zipped, tmp_path):
    (tmp_path / "lsp" / "images").mkdir(parents=True)
    joints = np.random.default_rng(0).uniform(5, 90, (3, 14, 2000))
    savemat(tmp_path / "lsp" / "joints.mat", {"joints": joints})
    result = run_zipped(zipped, tmp_path, "prepare", "lsp", tmp_path / "lsp", tmp_path / "out")
    assert (tmp_path / "out" / "train_joints.csv").is_file(), result.stderr


def test_a_report_is_written_from_a_zip_file(zipped, tmp_path):
    model = ROOT / "examples" / "astronaut" / "epoch-300.model"
    data = ("--csv", PICTURES / "free.csv", "--images", PICTURES, "--skeleton", "flic")
    run_zipped(zipped, tmp_path, "eval", model, *data, "--report", tmp_path / "page")
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert "--photo-a" in page
    assert "showModal" in page
