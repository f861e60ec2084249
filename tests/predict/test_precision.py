"""Less than float32, on request: measured on pictures, and refused above a bound."""

import importlib.util

import cv2
import numpy as np
import pytest

import deeppose_port
from deeppose_port.backends import get
from deeppose_port.cli import main
from deeppose_port.predict import Given
from deeppose_port.predict.precision import reduced
from tests.conftest import PICTURES, ROOT
from tests.helpers.networks import random_checkpoint

if importlib.util.find_spec("onnxruntime") is None:
    pytest.skip("onnxruntime is not installed", allow_module_level=True)

ASTRONAUT = ROOT / "examples" / "astronaut" / "epoch-300.model"
PICTURE = PICTURES / "astronaut.png"


@pytest.fixture(scope="module")
def pose():
    return deeppose_port.load(ASTRONAUT, backend="onnx", engine="onnxruntime")


def test_8_bits_move_joints_by_what_is_told(pose):
    smaller, moved = reduced(pose, "int8", [PICTURE], Given([(0, 2, 428, 510)]), max_moved=50)
    assert (smaller.backend, smaller.engine, moved.persons) == ("onnx", "onnxruntime", 1)
    picture = cv2.imread(str(PICTURE))
    points = [each.predict(picture, (0, 2, 428, 510)) for each in (pose, smaller)]
    distances = np.linalg.norm(points[0] - points[1], axis=1)
    assert moved.mean_px == pytest.approx(distances.mean(), abs=1e-3)
    assert moved.largest_px == pytest.approx(distances.max(), abs=1e-3)
    assert distances.max() > 0, "it is not another network"


def test_bfloat16_too_where_the_processor_has_it(pose):
    openvino = pytest.importorskip("openvino")
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bfloat16")
    smaller, moved = reduced(pose, "bf16", [PICTURE], max_moved=50)
    assert smaller.engine == "openvino"
    assert 0 < moved.mean_px < 50


def test_more_than_the_bound_is_refused(pose):
    with pytest.raises(
        ValueError, match=r"int8 moves joints by \d+\.\d\d px.* on 1 calibration person: more than 0 px"
    ):
        reduced(pose, "int8", [PICTURE], max_moved=0)


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_weights_that_are_not_finite_are_refused(value):
    checkpoint = random_checkpoint()
    checkpoint.weights["fc8.bias"][3] = value
    with pytest.raises(ValueError, match="a network with NaN or Inf among its weights has no reduced precision"):
        get("onnx").reduced(checkpoint, "int8", np.zeros((1, 3, 64, 64), np.float32))


def test_what_is_refused_later_anyway_is_passed_over(pose, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    _, moved = reduced(pose, "int8", [tmp_path / "a.png", PICTURE], max_moved=50, pass_over=True)
    assert moved.persons == 1
    with pytest.raises(ValueError, match=r"a\.png: cannot be decoded"):
        reduced(pose, "int8", [tmp_path / "a.png", PICTURE], max_moved=50)


def test_nobody_to_calibrate_on_is_said(pose):
    with pytest.raises(ValueError, match="name --calibration"):
        reduced(pose, "int8", [PICTURE], Given([]))


def test_the_command_tells_it(tmp_path, capsys):
    command = ["predict", ASTRONAUT, PICTURE, "-o", tmp_path / "out", "--precision", "int8", "--max-moved", "50"]
    assert main(list(map(str, command))) == 0
    assert "int8 moves joints by" in capsys.readouterr().err
    assert main([*map(str, command[:5]), "--calibration", str(PICTURE), "--force"]) == 2
    assert "--calibration goes with --precision" in capsys.readouterr().err
