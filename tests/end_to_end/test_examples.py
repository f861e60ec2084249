"""The examples run as they are."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import converters
import deeppose_port
import deeppose_port.backends
from converters.cascade import Cascade, CloseUp, Stage
from deeppose_port.data import skeletons
from tests.helpers.networks import random_checkpoint

pytest.importorskip("torch", reason="the examples use the PyTorch backend")
ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> str:
    result = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("demo")
    return folder, run("examples/demo.py", "--output", str(folder))


def test_demo_names_pictures_that_exist(demo: tuple[Path, str]) -> None:
    folder, text = demo
    drawn = sorted(folder.glob("person-*.png"))
    assert len(drawn) == 6
    assert all(str(path) in text for path in drawn)


def test_demo_proves_the_conversion_and_prints_metrics(demo: tuple[Path, str]) -> None:
    _, text = demo
    assert "read again, every byte equal" in text
    assert "chainer-1.13.0 (log.txt beside the file)" in text
    assert "left upper arm" in text


def test_demo_finds_persons_that_no_network_saw(demo: tuple[Path, str]) -> None:
    folder, text = demo
    assert text.count("deeppose-port predict") == 3
    for name in ("astronaut/astronaut", "person/synthetic-person", "nobody/chelsea", "nobody/coffee"):
        assert (folder / "found" / f"{name}_pose.png").is_file()


def test_converted_checkpoint_loads_in_plain_pytorch(demo: tuple[Path, str]) -> None:
    text = run("examples/load_in_pytorch.py", str(demo[0] / "epoch-300.pt"))
    assert text.startswith("alexnet: 7 joints")


def test_old_checkpoint_finds_the_astronauts_shoulders() -> None:
    picture = "examples/pictures/astronaut.png"
    text = run("examples/predict_picture.py", "examples/astronaut/epoch-300.model", picture, "0", "2", "428", "510")
    found = {line[:15].strip(): [float(n) for n in line[15:].split()] for line in text.splitlines()}
    # Where free.csv has them; the network answers within a few pixels of a picture of 512.
    for name, (x, y) in {"left shoulder": (100, 250), "right shoulder": (330, 262), "head": (222, 100)}.items():
        assert abs(found[name][0] - x) < 10
        assert abs(found[name][1] - y) < 10


def test_a_picture_is_predicted_by_a_network_of_any_joints() -> None:
    checkpoint, picture = "examples/lspet-small.safetensors", "examples/pictures/astronaut.png"
    text = run("examples/predict_picture.py", checkpoint, picture, "36", "0", "422", "512")
    assert [line[:15].strip() for line in text.splitlines()] == list(skeletons.get("lsp").joints)


def test_onnx_needs_nothing_of_this_project_and_answers_the_same(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="pip install 'deeppose-port[onnx]'")
    checkpoint, picture, box = "examples/astronaut/epoch-300.model", "examples/pictures/astronaut.png", "0 2 428 510"
    converters.convert(ROOT / checkpoint, tmp_path / "pose.onnx")
    text = run("examples/onnx_predict.py", str(tmp_path / "pose.onnx"), picture, *box.split())
    expected = run("examples/predict_picture.py", checkpoint, picture, *box.split())
    assert [line[-16:] for line in text.splitlines()] == [line[-16:] for line in expected.splitlines()]


@pytest.mark.parametrize("joints", [(7,), (1,) * 7], ids=["one network", "one a joint"])
def test_the_stages_of_a_cascade_are_graphs_that_give_the_same_joints(joints: tuple[int, ...], tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="pip install 'deeppose-port[onnx]'")
    first, *later = (random_checkpoint(joints=count, seed=seed) for seed, count in enumerate((7, *joints), start=1))
    cascade = Cascade((Stage((first,)), Stage(tuple(later), CloseUp(2.0, ((2, 4), (0, 6))))))
    converters.write(cascade, tmp_path / "onnx", format="onnx")
    picture = "examples/pictures/astronaut.png"
    text = run("examples/onnx_cascade.py", str(tmp_path / "onnx"), picture, *["0", "2", "428", "510"])
    told = [np.array(line.partition(": ")[2].split(), float).reshape(-1, 2) for line in text.splitlines()]
    expected = deeppose_port.load(cascade).predict_stages(cv2.imread(str(ROOT / picture)), (0, 2, 428, 510))
    assert np.abs(told[0] - expected[0]).max() < 0.2
    assert np.abs(told[1] - expected[1]).max() < 2  # a warp quantises places, and these networks magnify that


def test_a_cascade_is_trained_on_stick_figures(tmp_path: Path) -> None:
    few = ("--train", "24", "--test", "8", "--epochs", "2", "--later-epochs", "1")
    text = run("examples/train_a_cascade.py", str(tmp_path), *few)
    assert [line.split()[0] for line in text.splitlines()[-4:]] == ["stage", "1", "2", "3"]
    cascade = converters.read(tmp_path / "torch-stage3" / "epoch-1.pt")
    assert isinstance(cascade, Cascade)
    assert [stage.close_up and stage.close_up.sigma for stage in cascade.stages] == [None, 2.0, 2.0]


def test_a_hourglass_stands_beside_deeppose_and_its_cascade(tmp_path: Path) -> None:
    few = ("--train", "24", "--test", "8", "--epochs", "2")
    text = run("examples/compare_with_hourglass.py", str(tmp_path), *few)
    told = {line[:12].strip(): line[12:].split() for line in text.splitlines()[-4:-1]}
    assert list(told) == ["DeepPose", "its cascade", "hourglass"]
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    for name, (error, *fractions) in told.items():
        assert name in page
        assert f"{error} px" in page
        assert all(f"{fraction[:-1]} %" in page for fraction in fractions)
