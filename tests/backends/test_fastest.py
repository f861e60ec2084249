"""`--backend auto`: which engine it takes, and that it never answers otherwise."""

import importlib.util
import json

import numpy as np
import pytest

import deeppose_port
from deeppose_port import Pose
from deeppose_port.backends import BACKENDS, BackendError, fastest
from deeppose_port.cli import main
from tests.conftest import PICTURES, ROOT
from tests.helpers.layers import LAYERS, network_of
from tests.helpers.networks import RUNNERS, error, narrow_inputs, random_checkpoint, runners

ASTRONAUT = ROOT / "examples" / "astronaut" / "epoch-300.model"


@pytest.fixture
def installed(monkeypatch):
    """Feigns that only these modules are installed."""

    def install(*names):
        true = importlib.util.find_spec
        known = {"openvino", "onnxruntime", "torch", "chainer"}
        monkeypatch.setattr(
            "importlib.util.find_spec",
            lambda name: (true("sys") if name in names else None) if name in known else true(name),
        )

    return install


def order(*arguments):
    return [candidate.engine or candidate.backend for candidate in fastest.candidates(*arguments)]


class TestOrder:
    @pytest.mark.parametrize(
        ("there", "pictures", "expected"),
        [
            (("openvino", "onnxruntime", "torch"), None, ["openvino", "onnxruntime", "torch"]),
            (("openvino", "onnxruntime", "torch"), 10_000, ["openvino", "onnxruntime", "torch"]),
            (("openvino", "onnxruntime", "torch"), 1, ["onnxruntime", "openvino", "torch"]),
            (("openvino",), 1, ["openvino"]),
            (("torch", "chainer"), None, ["torch", "chainer"]),
            ((), None, []),
        ],
    )
    def test_the_fastest_that_is_installed_comes_first(self, there, pictures, expected, installed):
        installed(*there)
        assert order("cpu", pictures) == expected

    def test_gpus_are_those_of_the_frameworks(self, installed):
        installed("openvino", "onnxruntime", "torch", "chainer")
        assert order("cuda:0") == ["torch", "chainer"]

    def test_everything_that_runs_networks_is_a_candidate(self):
        there = {candidate.engine or candidate.backend for candidate in fastest._ON_CPUS}
        assert there == {name for backend in BACKENDS.values() for name in backend.engines or (backend.name,)}
        assert there == set(RUNNERS), "every candidate is held to the golden data"


class TestAnswers:
    @pytest.mark.parametrize("runner", runners())
    @pytest.mark.parametrize("name", ["alexnet", "resnet50", "vgg_bn"])
    def test_auto_never_answers_otherwise(self, name, runner, installed):
        checkpoint = random_checkpoint(name)
        expected = deeppose_port.load(checkpoint)(narrow_inputs())
        installed(RUNNERS[runner][0])
        pose = Pose(checkpoint, "auto")
        assert (pose.engine or pose.backend) == runner
        assert error(pose(narrow_inputs()), expected) < 1e-5

    @pytest.mark.parametrize("change", ["nan", "relu_nan", "batch"])
    def test_what_an_engine_would_do_otherwise_is_left_to_pytorch(self, change):
        checkpoint, more = random_checkpoint(), {}
        if change == "batch":
            checkpoint, inputs = network_of(LAYERS["normalised by the batch"])
            inputs = inputs[..., : inputs.shape[-1], :]
        else:
            inputs = narrow_inputs()
            checkpoint.weights["conv2.weight"][0, 0, 0, 0] = np.nan
            more = {"relu_nan": "zero"} if change == "relu_nan" else {}
        pose = Pose(checkpoint, "auto", **more)
        assert (pose.backend, pose.engine) == ("torch", "")
        assert np.array_equal(pose(inputs), Pose(checkpoint, **more)(inputs), equal_nan=True)

    def test_nothing_installed_is_said(self, installed):
        installed()
        with pytest.raises(BackendError, match="no engine is installed"):
            Pose(random_checkpoint(), "auto")


class TestCommands:
    @pytest.mark.parametrize("runner", runners("onnxruntime", "openvino"))
    def test_an_engine_is_named(self, runner, tmp_path, capsys):
        arguments = ["--csv", PICTURES / "free.csv", "--images", PICTURES, "--json"]
        told = ["--backend", "onnx", "--engine", runner]
        assert main([str(each) for each in ("eval", ASTRONAUT, *arguments, *told)]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["backend"], found["engine"]) == ("onnx", runner)
        assert main([str(each) for each in ("eval", ASTRONAUT, *arguments)]) == 0
        before = json.loads(capsys.readouterr().out)
        assert (before["backend"], before["engine"]) == ("torch", None)
        assert found["loss"] == pytest.approx(before["loss"], rel=1e-4)
        out = tmp_path / "out"
        predicted = ["predict", ASTRONAUT, PICTURES / "astronaut.png", "-o", out, "--json", "--engine", runner]
        assert main([str(each) for each in predicted]) == 0

    def test_an_engine_of_another_backend_is_refused(self, capsys):
        arguments = ["--csv", PICTURES / "free.csv", "--images", PICTURES, "--engine", "onnxruntime"]
        assert main([str(each) for each in ("eval", ASTRONAUT, *arguments)]) == 2
        assert "onnxruntime runs networks of --backend onnx, not of torch" in capsys.readouterr().err

    def test_predict_takes_the_fastest_by_itself_and_answers_the_same(self, tmp_path, capsys):
        points = []
        for backend in ("auto", "torch"):
            told = [] if backend == "auto" else ["--backend", backend]
            out = tmp_path / backend
            command = ["predict", ASTRONAUT, PICTURES / "astronaut.png", "-o", out, "--json", *told]
            assert main([str(each) for each in command]) == 0
            points.append(json.loads(capsys.readouterr().out)["pictures"][0]["points"])
        np.testing.assert_allclose(*points, atol=2e-3)  # they are written with three digits

    @pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
    def test_compare_takes_one_for_each_side(self, capsys, monkeypatch):
        monkeypatch.setattr("deeppose_port.evaluate.comparison.LOOKED_AT", 1)  # layers are run one by one
        status = main(["compare", str(ASTRONAUT), "--engines", "onnxruntime,openvino", "--json"])
        sides = json.loads(capsys.readouterr().out)
        assert status == 0
        assert "OpenVINO" in json.dumps(sides)
