import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import onnx
import pytest

import converters
import deeppose_port
from converters.networks import TABLES, BatchNormalization, Convolution, Linear, ReLU, SoftArgmax
from deeppose_port.backends import BackendError, get
from deeppose_port.backends.onnx import engines, model_of, predictor
from deeppose_port.backends.onnx.engines import engine as engine_of
from tests.backends.test_exporting import narrow
from tests.conftest import ROOT
from tests.helpers.layers import network_of
from tests.helpers.networks import AgainstChainer, error, narrow_inputs, random_checkpoint


class TestAgainstChainer(AgainstChainer):
    runner = "onnxruntime"


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
class TestOpenVinoAgainstChainer(AgainstChainer):
    runner = "openvino"


@pytest.mark.parametrize(
    "name", [name for name in TABLES if name not in ("resnet101-torchvision", "resnet152-torchvision")]
)
def test_every_network_answers_as_in_pytorch(name, engine):
    checkpoint = narrow(name)
    inputs = np.random.RandomState(4).randn(3, 3, *checkpoint.preprocessing.shape).astype(np.float32)
    outputs = predictor(checkpoint, engine=engine)(inputs)
    expected = deeppose_port.load(checkpoint)(inputs)
    if isinstance(checkpoint.architecture.layers[-1], SoftArgmax):
        # Of random maps it answers the middle of the crop, whatever it is shown: its answers span -0.5 to 0.5.
        np.testing.assert_allclose(outputs, expected, rtol=0, atol=0.5e-5)
    else:
        assert error(outputs, expected) < 1e-5


@pytest.mark.parametrize("large", [0, 1 << 40], ids=["large matrices", "no large ones"])
def test_matrices_are_laid_out_when_there_are_several_examples(large, monkeypatch):
    runtime = pytest.importorskip("onnxruntime")
    made = []

    class Options(runtime.SessionOptions):
        def __init__(self):
            super().__init__()
            made.append([])

        def add_session_config_entry(self, name, value):
            made[-1].append(name)
            super().add_session_config_entry(name, value)

    monkeypatch.setattr(runtime, "SessionOptions", Options)
    monkeypatch.setattr(engines, "_LARGE_MATRICES", large)
    checkpoint, inputs = random_checkpoint(), narrow_inputs()
    predict, expected = predictor(checkpoint, engine="onnxruntime"), deeppose_port.load(checkpoint)(inputs)
    for some in (inputs[:1], inputs[:1], inputs, inputs):
        assert error(predict(some), expected[: len(some)]) < 1e-5
    assert ["session.disable_prepacking" in names for names in made] == ([True, False] if not large else [False])


class TestGraph:
    def test_the_same_checkpoint_gives_the_same_bytes(self):
        one, other = (model_of(random_checkpoint("resnet50")).SerializeToString() for _ in range(2))
        assert one == other

    def test_nothing_of_this_machine_is_in_it(self):
        written = model_of(random_checkpoint("alexnet")).SerializeToString()
        assert not any(os.fsencode(place) in written for place in (ROOT, sys.prefix, Path.home(), os.getcwd()))

    def test_normalisation_is_folded_away(self):
        model = model_of(random_checkpoint("resnet50"))
        operators = {node.op_type for node in model.graph.node}
        assert operators == {"Conv", "Relu", "MaxPool", "Add", "GlobalAveragePool", "Flatten", "Gemm", "Identity"}

    def test_folding_is_exact_to_the_rounding_of_float32(self):
        layers = (Convolution("conv", 5, 3), BatchNormalization("bn"), ReLU(), Linear("fc", 2))
        checkpoint, inputs = network_of(*layers)
        outputs = predictor(checkpoint)(inputs)
        looked_at = list(get("onnx").predictor(checkpoint).activations(inputs))[-1][1]
        assert error(outputs, looked_at) < 2e-6

    def test_the_batch_may_have_any_size_and_the_input_another_side(self):
        checkpoint = random_checkpoint("resnet50")
        answer, expected = predictor(checkpoint), deeppose_port.load(checkpoint)
        for shape in ((1, 3, 220, 220), (5, 3, 220, 220), (2, 3, 160, 160)):
            inputs = np.random.RandomState(0).randn(*shape).astype("f")
            assert error(answer(inputs), expected(inputs)) < 1e-5

    def test_it_says_what_it_is(self):
        checkpoint = random_checkpoint("alexnet")
        props = {each.key: each.value for each in model_of(checkpoint).metadata_props}
        assert props["writer"] == checkpoint.source.writer
        assert converters.Architecture.of(props["architecture"]) == checkpoint.architecture

    def test_it_is_made_without_pytorch(self, tmp_path):
        converters.write(random_checkpoint("alexnet"), tmp_path / "a.safetensors")
        program = f"""
            import sys
            sys.modules["torch"] = None
            import converters, numpy as np
            from deeppose_port.backends.onnx import predictor
            checkpoint = converters.read({str(tmp_path / "a.safetensors")!r})
            print(predictor(checkpoint)(np.zeros((1, 3, 220, 220), "f")).shape)
        """
        result = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False
        )
        assert result.stdout.strip() == "(1, 14)", result.stderr


class TestNan:
    @pytest.fixture
    def checkpoint(self):
        checkpoint = random_checkpoint("alexnet")
        checkpoint.weights["conv2.weight"][0, 0, 0, 0] = np.nan
        return checkpoint

    def test_it_reaches_the_answers(self, checkpoint):
        assert np.isnan(predictor(checkpoint)(narrow_inputs())).all()

    def test_the_emulation_of_an_old_gpu_is_refused(self, checkpoint):
        with pytest.raises(BackendError, match="--backend torch"):
            predictor(checkpoint, relu_nan="zero")


class TestEngines:
    def test_an_unknown_one_is_refused(self):
        with pytest.raises(BackendError, match="there are onnxruntime and openvino"):
            engine_of("tensorrt")

    def test_one_that_is_not_installed_is_named(self, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(BackendError, match=r"openvino is not installed: pip install 'openvino"):
            engine_of("openvino")

    def test_a_gpu_that_is_not_there_is_refused(self):
        with pytest.raises(BackendError, match="CUDA provider"):
            predictor(random_checkpoint("alexnet"), device="cuda:0")

    def test_graphs_pass_the_checker(self):
        onnx.checker.check_model(model_of(random_checkpoint("vgg_bn")), full_check=True)


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
def test_a_signal_is_heard_when_networks_of_openvino_are_gone():
    program = f"""
        import gc, signal
        from deeppose_port import load
        file = {str(ROOT / "examples" / "astronaut" / "epoch-300.model")!r}
        poses = [load(file, backend="onnx", engine="openvino") for _ in range(3)]
        while poses:
            del poses[0]
            gc.collect()
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            print("heard")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr
