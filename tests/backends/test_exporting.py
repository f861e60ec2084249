"""ONNX and torch.export: what other programs run answers as the old network did."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import converters
import deeppose_port
from converters import Architecture, CheckpointError, Preprocessing
from converters.networks import TABLES, Convolution, GlobalAveragePooling, Linear, OwnTable, outputs_layer, walk
from deeppose_port.backends import BACKENDS, proof
from deeppose_port.cli import main
from tests.helpers.checkpoint_files import listing, sha256
from tests.helpers.networks import NARROW_FILES, checkpoint_of, error, narrow_file, narrow_inputs, random_checkpoint

torch = pytest.importorskip("torch")
pytest.importorskip("deeppose_port.backends.torch.exporting")
onnxruntime = pytest.importorskip("onnxruntime", reason="pip install 'deeppose-port[onnx]'")

SUFFIXES = {name: suffix for backend in BACKENDS.values() for name, suffix in backend.exports.items()}
#: With LRN and pooling that covers all, one with BatchNormalization and PReLU too.
QUICK = (
    "1.13.0/alexnet-adam/epoch-1.model",
    "1.1.0/AlexNet_flic_BN_PReLU-pickle/FunctionSet_epoch_1.chainermodel",
)
ASTRONAUT = Path(__file__).resolve().parents[2] / "examples" / "astronaut" / "epoch-300.model"


def onnx_outputs(path, inputs):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["joints"], {"inputs": inputs})[0]


def torch_outputs(path, inputs):
    with path.open("rb") as stream:
        program = torch.export.load(stream).module()
    with torch.inference_mode():
        return program(torch.from_numpy(inputs)).numpy()


RUNS = {"onnx": onnx_outputs, "torch-export": torch_outputs}


@pytest.fixture(params=RUNS)
def format(request):
    return request.param


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NARROW_FILES]
)
def test_it_answers_as_the_chainer_that_wrote_the_checkpoint(name, format, request, tmp_path):
    file = narrow_file(name, request)
    target = tmp_path / f"a{SUFFIXES[format]}"
    report = converters.convert(file.path, target, format=format, writer=file.writer)
    assert error(RUNS[format](target, file.inputs), file.outputs) <= file.bound
    assert (report.verified, report.output_format, report.output_sha256) == (True, format, sha256(target))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The astronaut's network in both formats."""
    folder = tmp_path_factory.mktemp("exports")
    for name, suffix in SUFFIXES.items():
        converters.convert(ASTRONAUT, folder / f"pose{suffix}", format=name)
    return folder


@pytest.mark.parametrize("batch", [1, 5])
def test_the_batch_may_have_any_size(batch, format, written):
    inputs = np.concatenate([narrow_inputs()] * 3)[:batch]
    assert RUNS[format](written / f"pose{SUFFIXES[format]}", inputs).shape == (batch, 14)


def test_the_metadata_say_what_it_is_and_how_its_input_is_made(written):
    session = onnxruntime.InferenceSession(str(written / "pose.onnx"), providers=["CPUExecutionProvider"])
    of_onnx = session.get_modelmeta().custom_metadata_map
    extra = {"deeppose_port.json": ""}
    with (written / "pose.pt2").open("rb") as stream:
        torch.export.load(stream, extra_files=extra)
    checkpoint = converters.read(ASTRONAUT)
    for said in ({k: v if k == "writer" else json.loads(v) for k, v in of_onnx.items() if k != "deeppose_port"},):
        assert said == checkpoint.metadata()
    assert json.loads(extra["deeppose_port.json"]) == {
        "deeppose_port": converters.__version__,
        **checkpoint.metadata(),
    }


@pytest.mark.parametrize(
    ("suffix", "phrase"),
    [(".onnx", r"this is an ONNX model, which is written but not"), (".pt2", "this is an archive of torch.export")],
)
def test_it_is_not_read_again(suffix, phrase, written):
    with pytest.raises(CheckpointError, match=phrase + r".* \(take the checkpoint that it was made of\)"):
        converters.read(written / f"pose{suffix}")


def test_onnx_is_of_an_opset_that_runs_widely(written):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(written / "pose.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert {opset.domain: opset.version for opset in model.opset_import} == {"": 17}
    (inputs,) = model.graph.input
    assert [d.dim_param or d.dim_value for d in inputs.type.tensor_type.shape.dim] == ["batch", 3, 220, 220]


def test_the_input_has_the_size_that_the_network_was_trained_on(tmp_path):
    checkpoint = random_checkpoint("alexnet", preprocessing=Preprocessing(im_size=200))
    converters.write(checkpoint, tmp_path / "a.safetensors")
    converters.convert(tmp_path / "a.safetensors", format="torch-export")
    assert torch_outputs(tmp_path / "a.pt2", np.zeros((1, 3, 200, 200), np.float32)).shape == (1, 14)


def test_nor_need_that_be_a_square(tmp_path):
    layers = (Convolution("conv", 4, 3), GlobalAveragePooling(), Linear("fc", 14))
    architecture = Architecture("own", 7, writer="torch", own=OwnTable(layers, (32, 24)))
    weights = {name: np.ones(shape, np.float32) for name, shape in architecture.shapes.items()}
    checkpoint = checkpoint_of(architecture, weights, Preprocessing(im_size=32, im_width=24, part="letterbox"))
    converters.write(checkpoint, tmp_path / "a.pt2", format="torch-export")
    inputs = np.random.default_rng(0).standard_normal((2, 3, 32, 24), np.float32)
    assert error(torch_outputs(tmp_path / "a.pt2", inputs), deeppose_port.load(checkpoint)(inputs)) < 1e-5


def test_nan_that_was_kept_is_nan_there_too(format, tmp_path):
    checkpoint = random_checkpoint()
    checkpoint.weights["fc8.bias"][:2] = np.nan, np.inf
    converters.write(checkpoint, tmp_path / "a.safetensors")
    report = converters.convert(tmp_path / "a.safetensors", format=format, nonfinite="keep")
    outputs = RUNS[format](tmp_path / f"a{SUFFIXES[format]}", narrow_inputs())
    assert np.isfinite(outputs).all(0).tolist() == [False, False, *[True] * 12]
    assert [repair.tensor for repair in report.repairs] == ["fc8.bias"]


@pytest.mark.parametrize(
    ("difference", "expected", "agrees"),
    [
        ([0.1, np.nan], [1, np.nan], True),
        ([0.1, np.nan], [1, np.inf], True),
        ([0.3, np.nan], [1, np.nan], False),
        ([0.1, np.nan], [1, 2], False),
        ([0.1, 0.1], [1, np.nan], False),
    ],
)
def test_an_export_agrees_where_nan_is_where_it_was(difference, expected, agrees):
    assert proof._agree(np.float32(difference), np.float32(expected), 0.2) is agrees


class TestRefusals:
    @pytest.fixture
    def model(self, tmp_path):
        converters.convert(ASTRONAUT, tmp_path / "a.safetensors")
        return tmp_path / "a.safetensors"

    def refused(self, model, phrase, format, **options):
        before = listing(model.parent)
        with pytest.raises(CheckpointError, match=phrase):
            converters.convert(model, format=format, **options)
        assert listing(model.parent) == before

    def test_a_graph_that_answers_otherwise_is_not_kept(self, model, monkeypatch):
        from deeppose_port.backends.onnx import exporting

        written = exporting.model_of

        def model_of(checkpoint):
            weights = {**checkpoint.weights, "fc8.bias": checkpoint.weights["fc8.bias"] + np.float32(2e-5)}
            return written(checkpoint.replace(weights=weights))

        monkeypatch.setattr(exporting, "model_of", model_of)
        self.refused(model, "answers otherwise than the network, by up to 2", "onnx")

    def test_a_program_that_answers_otherwise_is_not_kept(self, model, monkeypatch):
        from deeppose_port.backends.torch import exporting as engine

        load = engine.load

        def loaded(checkpoint):
            network = load(checkpoint)
            exporting = torch.compiler.is_exporting
            network.register_forward_hook(lambda module, inputs, output: output if exporting() else output + 2e-5)
            return network

        monkeypatch.setattr(engine, "load", loaded)
        self.refused(model, "torch.export answers otherwise than the network, by up to 2", "torch-export")

    def test_a_target_that_exists_is_replaced_only_with_force(self, format, model):
        target = model.with_suffix(SUFFIXES[format])
        target.write_text("mine")
        self.refused(model, r"it exists already \(--force replaces it", format)
        assert not converters.convert(model, format=format, dry_run=True, force=True).verified
        assert target.read_text() == "mine"

    def test_the_input_is_never_replaced(self, format, model):
        os.link(model, model.with_suffix(SUFFIXES[format]))
        self.refused(model, "this is the input itself", format, force=True)

    def test_a_place_that_cannot_be_written_is_said(self, model):
        target = model.parent / "none" / "a"
        with pytest.raises(CheckpointError, match="it cannot be written: No such file or directory"):
            converters.convert(model, target, format="torch-export")

    def test_what_is_not_installed_is_named(self, model, monkeypatch):
        for name in [name for name in sys.modules if name.startswith("deeppose_port.backends.onnx")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "onnx", None)
        self.refused(model, r"cannot become onnx: .*pip install 'deeppose-port\[onnx\]'", "onnx")

    def test_an_unknown_format(self, model):
        with pytest.raises(ValueError, match=r"no format 'tflite' to write; there are pt, .*torch-export.*onnx"):
            converters.convert(model, format="tflite")


class TestCommand:
    def test_the_suffix_tells_the_format(self, tmp_path, capsys):
        assert main(["convert", str(ASTRONAUT), "-o", str(tmp_path / "pose.pt2")]) == 0
        assert "run again in PyTorch, the outputs are the network's to 1e-5" in capsys.readouterr().out
        assert (tmp_path / "pose.pt2").is_file()

    def test_a_folder_and_json(self, tmp_path, capsys):
        (tmp_path / "in").mkdir()
        converters.convert(ASTRONAUT, tmp_path / "in" / "a.safetensors")
        (tmp_path / "b.safetensors").write_bytes((tmp_path / "in" / "a.safetensors").read_bytes()[:50_000])
        arguments = ["convert", str(tmp_path / "in"), str(tmp_path / "b.safetensors"), "--to", "torch-export", "--json"]
        assert main([*arguments, "-o", str(tmp_path / "out")]) == 3
        said = json.loads(capsys.readouterr().out)
        assert (said["converted"], said["failed"]) == (1, 1)
        assert said["files"][0]["output"] == str(tmp_path / "out" / "a.pt2")

    def test_nothing_but_the_report_is_printed_and_nothing_is_warned_of(self, tmp_path):
        """In a process of its own: the exporters talk, when they are used for the first time."""
        command = [sys.executable, "-W", "error", "-m", "deeppose_port", "convert", str(ASTRONAUT), "--json"]
        command += ["--architecture", "alexnet"]
        run = subprocess.run([*command, "-o", str(tmp_path / "a.onnx")], capture_output=True, text=True, check=True)
        assert run.stderr == ""
        assert json.loads(run.stdout)["verified"] is True

    def test_options_that_make_no_sense(self, capsys, tmp_path):
        assert main(["convert", str(ASTRONAUT), "--to", "onnx", "--layout", "head"]) == 2
        assert "only chainer-npz has a layout, not onnx (leave --layout out)" in capsys.readouterr().err


def narrow(name):
    """Any network with at most 12 channels a layer and random weights."""
    full_size = Architecture.full_size(name, 7)
    outputs = outputs_layer(name)
    rows = [row for row in walk(full_size.layers) if isinstance(row, Convolution | Linear) and row.name != outputs]
    architecture = replace(full_size, widths={row.name: min(row.channels, 12) for row in rows})
    random = np.random.RandomState(3)
    weights = {}
    for key, shape in architecture.shapes.items():
        if key.endswith("num_batches_tracked"):
            weights[key] = np.zeros(shape, np.int64)
        elif key.endswith("running_var"):
            weights[key] = random.uniform(0.5, 1.5, shape).astype(np.float32)
        else:
            scale = (1.5 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.3
            weights[key] = np.asarray(random.standard_normal(shape) * scale, np.float32)
    sizes = architecture.input_sizes()
    return checkpoint_of(architecture, weights, Preprocessing(im_size=64 if sizes is None else sizes[1]))


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_every_network_can_be_exported(name, format, tmp_path):
    checkpoint = narrow(name)
    converters.write(checkpoint, tmp_path / "a.safetensors")
    converters.convert(tmp_path / "a.safetensors", format=format)
    side = checkpoint.preprocessing.im_size
    inputs = np.random.RandomState(4).randn(4, 3, side, side).astype(np.float32)
    outputs = RUNS[format](tmp_path / f"a{SUFFIXES[format]}", inputs)
    assert error(outputs, deeppose_port.load(checkpoint)(inputs)) < 1e-5
