import json

import numpy as np
import pytest

import converters
from converters import CheckpointError
from tests.helpers.checkpoint_files import adam_state, alexnet, listing, save_npz, sha256, vgg_bn, wrapped


def test_it_says_what_a_checkpoint_holds(golden):
    path = golden / "checkpoints" / "1.13.0" / "trainer-serial" / "snapshot_iter_2"
    inspection = converters.inspect(path)
    assert (inspection.path, inspection.format, inspection.problem) == (str(path), "chainer-npz", None)
    said = inspection.as_dict()
    assert json.loads(json.dumps(said)) == said
    assert said["architecture"]["name"] == "alexnet"
    assert said["joints"] == 16
    assert said["optimizer"] == {"algorithm": "adam", "step": 2, "slots": ["m", "v"]}
    assert said["progress"] == {"epoch": 1, "iteration": 2}
    assert said["nonfinite"] == {}
    assert len(said["tensors"]) == 16 * 3


def test_ranges_are_of_the_finite_numbers(tmp_path):
    arrays = wrapped(alexnet())
    arrays["predictor/fc7/b"] = np.array([1, np.nan, -3, np.inf, -np.inf, 2], np.float32)
    arrays["predictor/conv1/b"][:] = np.nan
    path = save_npz(tmp_path / "a.model", arrays)
    before = listing(tmp_path)
    inspection = converters.inspect(path)
    tensors = {tensor.name: tensor for tensor in inspection.tensors}
    seen = tensors["fc7.bias"]
    assert (seen.shape, seen.dtype, seen.minimum, seen.maximum, seen.nan, seen.inf) == ((6,), "float32", -3, 2, 1, 2)
    assert (tensors["conv1.bias"].minimum, tensors["conv1.bias"].maximum) == (None, None)
    assert inspection.as_dict()["nonfinite"] == {"fc7.bias": {"nan": 1, "inf": 2}, "conv1.bias": {"nan": 2, "inf": 0}}
    assert listing(tmp_path) == before


def test_what_is_no_known_network_is_shown_with_the_problem(tmp_path):
    arrays = {"layer/W": np.ones((2, 3), "f"), "name": np.array("text"), "count": np.array(3)}
    inspection = converters.inspect(save_npz(tmp_path / "a.npz", arrays))
    assert inspection.checkpoint is None
    assert "fit no architecture" in inspection.problem
    assert {tensor.name: tensor.dtype for tensor in inspection.tensors} == {
        "layer/W": "float32",
        "name": "<U4",
        "count": "int64",
    }
    assert inspection.as_dict()["problem"] == inspection.problem


def test_uninitialised_parameters_are_told(golden):
    inspection = converters.inspect(golden / "checkpoints" / "7.8.1" / "uninitialised-epoch-0.model")
    assert "predictor/out_fc/W had no value yet" in inspection.problem
    assert "predictor/out_fc/W" not in {tensor.name for tensor in inspection.tensors}
    assert len(inspection.tensors) > 0


def test_a_state_alone_is_shown(tmp_path):
    path = save_npz(tmp_path / "a.state", adam_state(alexnet()))
    inspection = converters.inspect(path)
    assert inspection.sha256 == sha256(path)
    assert "without the network's weights" in inspection.problem
    assert "conv1/W/m" in {tensor.name for tensor in inspection.tensors}


def test_options_are_those_of_read(tmp_path):
    path = save_npz(tmp_path / "a.model", wrapped(vgg_bn()))
    assert converters.inspect(path, writer="chainer-5.4.0").as_dict()["writer"] == "chainer-5.4.0"
    assert "not those of alexnet" in converters.inspect(path, architecture="alexnet").problem


def test_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "a.model").write_text("hello")
    with pytest.raises(CheckpointError, match="this is text, not a checkpoint"):
        converters.inspect(tmp_path / "a.model")


@pytest.mark.parametrize(
    ("file", "generation"),
    [
        ("1.13.0/alexnet-adam/epoch-1.model", "head"),
        ("1.13.0/trainer-serial/snapshot_iter_2", "head"),
        ("1.10.0/resnet50-bare/epoch-1.model", "mid-2016"),
        ("1.5.1/alexnet_flic-hdf5/epoch-1.model", "early-2016"),
        ("1.1.0/AlexNet_flic-pickle/FunctionSet_epoch_1.chainermodel", "2015"),
        ("6.7.0/deeppose2019/model_epoch_1", "2019"),
    ],
)
def test_it_names_the_row_of_the_table_that_a_file_falls_into(file, generation, golden, tmp_path):
    if "hdf5" in file:
        pytest.importorskip("h5py")
    path = golden / "checkpoints" / file
    inspection = converters.inspect(path)
    assert inspection.generation.name == generation
    assert inspection.as_dict()["generation"]["name"] == generation
    converters.convert(path, tmp_path / "a.safetensors", state=False)
    converted = converters.inspect(tmp_path / "a.safetensors")
    assert converted.generation.name == "own"
    assert converted.checkpoint.source.origin["generation"] == generation


def test_the_row_is_that_of_the_network_that_was_asked_for(golden, tmp_path):
    path = golden / "checkpoints" / "1.13.0" / "alexnet-adam" / "epoch-1.model"
    converters.convert(path, tmp_path / "a.safetensors", state=False)
    inspection = converters.inspect(tmp_path / "a.safetensors", architecture="alexnet-takiyu")
    assert inspection.generation.name == "alexnet-takiyu"
    assert inspection.checkpoint.preprocessing == inspection.generation.preprocessing


def test_a_file_that_is_no_network_falls_into_no_row(tmp_path):
    inspection = converters.inspect(save_npz(tmp_path / "a.npz", {"a": np.ones(3)}))
    assert inspection.generation is None
    assert "generation" not in inspection.as_dict()
