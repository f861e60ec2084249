"""Checkpoints whose network is in the Python file that their owner trained them with."""

import json
import shutil

import numpy as np
import pytest

import converters
import deeppose_port
from converters import CheckpointError
from tests.helpers.networks import error, load_in, narrow_inputs, runners

#: Result folder -> its checkpoint. That of g5 is not shipped.
FOLDERS = {
    "g1_lrn_before_pool-chainer1.13.0": "epoch-10.model",
    "g2_bn_elu-chainer1.13.0": "epoch-10.model",
    "g3_residual-chainer1.13.0": "epoch-10.model",
    "g4_init_scope-chainer7.8.1": "epoch-10.model",
    "t1_sequential-torch": "model_best.pth.tar",
    "t2_functional-torch": "epoch_3.pth",
}
G1 = "g1_lrn_before_pool-chainer1.13.0"
#: What an answer may differ by, as a part of the largest one.
BOUND = 4e-6


def expected(folder):
    with np.load(folder / "expected.npz") as arrays:
        (outputs,) = arrays.values()
    return outputs.reshape(len(outputs), -1)


@pytest.fixture
def g1(golden, tmp_path):
    """A copy of the folder whose owner edited AlexNet.py."""
    shutil.copytree(golden / "own-networks" / G1, tmp_path / "g1")
    return tmp_path / "g1"


class TestGolden:
    @pytest.mark.parametrize("runner", runners())
    @pytest.mark.parametrize("name", FOLDERS)
    def test_it_answers_as_the_real_framework(self, name, runner, golden):
        folder = golden / "own-networks" / name
        outputs = load_in(folder / FOLDERS[name], runner)(narrow_inputs())
        assert error(outputs, expected(folder)) <= BOUND

    @pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".npz"])
    @pytest.mark.parametrize("name", FOLDERS)
    def test_what_it_becomes_needs_no_source(self, name, suffix, golden, tmp_path):
        folder = golden / "own-networks" / name
        converters.convert(folder / FOLDERS[name], tmp_path / f"model{suffix}")
        again = converters.read(tmp_path / f"model{suffix}")
        assert again.architecture == converters.read(folder / FOLDERS[name]).architecture
        assert again.architecture.source.text == (folder / again.architecture.source.file).read_text()
        assert error(deeppose_port.load(again)(narrow_inputs()), expected(folder)) <= BOUND

    def test_code_outside_of_the_network_is_not_run_and_the_network_loads(self, shared_golden, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        folder = shared_golden / "own-networks" / "g5_hostile-chainer1.13.0"
        outputs = deeppose_port.load(folder / "epoch-10.model")(narrow_inputs())
        assert error(outputs, expected(folder)) <= BOUND
        assert not list(tmp_path.iterdir())


class TestSaid:
    def test_what_the_source_says_otherwise(self, g1):
        checkpoint = converters.read(g1 / "epoch-10.model")
        assert checkpoint.architecture.name == "AlexNet"
        assert checkpoint.source.generation == "source"
        said = " ".join(checkpoint.notices)
        assert "AlexNet.py:AlexNet" in said
        assert "conv1 with pad 0 instead of 1, LRN before pooling" in said
        assert "sigmoid at the end" in said

    def test_inputs_are_those_of_the_log(self, g1):
        assert converters.read(g1 / "epoch-10.model").preprocessing == converters.Preprocessing()
        log = (g1 / "log.txt").read_text().replace("gcn=True", "gcn=False").replace("im_size=220", "im_size=224")
        (g1 / "log.txt").write_text(log)
        preprocessing = converters.read(g1 / "epoch-10.model").preprocessing
        assert (preprocessing.gcn, preprocessing.im_size) == ("none", 224)

    def test_without_a_log_a_notice_says_what_inputs_are_taken(self, g1):
        (g1 / "log.txt").unlink()
        assert any("inputs" in notice for notice in converters.read(g1 / "epoch-10.model").notices)


class TestWhichFile:
    def test_the_one_that_the_log_names(self, g1):
        (g1 / "other.py").write_text((g1 / "AlexNet.py").read_text().replace("F.sigmoid(self.fc8(h))", "self.fc8(h)"))
        assert converters.read(g1 / "epoch-10.model").architecture.source.file == "AlexNet.py"

    def test_any_beside_it_where_no_log_does(self, g1):
        (g1 / "log.txt").unlink()
        (g1 / "train.py").write_text("import os\nos.abort()\n")
        (g1 / "AlexNet.py").rename(g1 / "mine.py")
        assert converters.read(g1 / "epoch-10.model").architecture.source.file == "mine.py"

    def test_several_that_compute_something_else_are_refused(self, g1):
        (g1 / "log.txt").unlink()
        (g1 / "other.py").write_text((g1 / "AlexNet.py").read_text().replace("F.sigmoid(self.fc8(h))", "self.fc8(h)"))
        with pytest.raises(CheckpointError, match=r"AlexNet\.py:AlexNet, other\.py:AlexNet .*--model-file"):
            converters.read(g1 / "epoch-10.model")
        named = converters.read(g1 / "epoch-10.model", model_file=g1 / "other.py")
        assert type(named.architecture.layers[-1]).__name__ == "Linear"

    def test_several_that_compute_the_same_are_one(self, g1):
        (g1 / "log.txt").unlink()
        shutil.copy(g1 / "AlexNet.py", g1 / "copy.py")
        assert converters.read(g1 / "epoch-10.model").architecture.name == "AlexNet"

    def test_a_class_of_a_file(self, g1):
        text = (g1 / "AlexNet.py").read_text()
        other = text[text.index("class AlexNet") :].replace("AlexNet", "Other").replace("F.sigmoid", "F.tanh")
        (g1 / "AlexNet.py").write_text(text + "\n\n" + other)
        with pytest.raises(CheckpointError, match=r"AlexNet\.py:AlexNet, AlexNet\.py:Other"):
            converters.read(g1 / "epoch-10.model")
        checkpoint = converters.read(g1 / "epoch-10.model", model_file=f"{g1 / 'AlexNet.py'}:Other")
        assert checkpoint.architecture.name == "Other"
        assert type(checkpoint.architecture.layers[-1]).__name__ == "Tanh"

    def test_none_that_fits_is_refused_and_the_nearest_named(self, g1):
        (g1 / "AlexNet.py").write_text((g1 / "AlexNet.py").read_text().replace("(432, 32)", "(432, 33)"))
        message = r"AlexNet in AlexNet\.py: its fc6\.bias is of \(33,\), the checkpoint's of \(32,\)"
        with pytest.raises(CheckpointError, match=message):
            converters.read(g1 / "epoch-10.model")

    def test_a_network_of_something_else_beside_it_is_no_reason_to_refuse(self, g1):
        (g1 / "log.txt").unlink()
        (g1 / "AlexNet.py").write_text(
            "import torch.nn as nn\nclass Critic(nn.Module):\n    def __init__(self):\n"
            "        super().__init__()\n        self.body = nn.Linear(3, 4)\n"
        )
        assert converters.read(g1 / "epoch-10.model").architecture.name == "alexnet"

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("import os\n\nclass AlexNet(object):\n    pass\n", "AlexNet.py, line 3: AlexNet is not its network"),
            ("from models import AlexNet\n", "AlexNet.py beside it defines no network"),
            ("class AlexNet(\n", "AlexNet.py, line 1: this is not Python"),
        ],
    )
    def test_a_file_that_defines_no_network_is_named_where_no_family_s_fits(self, text, said, g1):
        (g1 / "AlexNet.py").write_text(text)
        if "not Python" not in said:
            assert converters.read(g1 / "epoch-10.model").architecture.name == "alexnet"
        with np.load(g1 / "epoch-10.model") as arrays:
            np.savez(g1 / "epoch-10.npz", **{key: array for key, array in arrays.items() if "conv1" not in key})
        with pytest.raises(CheckpointError) as caught:
            converters.read(g1 / "epoch-10.npz")
        assert said in str(caught.value)

    def test_an_architecture_that_is_named_leaves_the_source_out(self, g1):
        checkpoint = converters.read(g1 / "epoch-10.model", architecture="alexnet")
        assert (checkpoint.architecture.name, checkpoint.architecture.own) == ("alexnet", None)

    def test_both_are_refused(self, g1):
        with pytest.raises(ValueError, match="either alexnet or the one of"):
            converters.read(g1 / "epoch-10.model", architecture="alexnet", model_file=g1 / "AlexNet.py")

    def test_a_file_that_is_not_there(self, g1):
        with pytest.raises(CheckpointError, match=r"nowhere\.py.*there is no such file"):
            converters.read(g1 / "epoch-10.model", model_file=g1 / "nowhere.py")


class TestKnown:
    def test_a_source_that_computes_what_a_family_s_does_is_that_family_s(self, golden, tmp_path):
        shutil.copytree(golden / "checkpoints" / "1.13.0" / "alexnet-adam", tmp_path / "run")
        source = (golden / "own-networks" / G1 / "AlexNet.py").read_text()
        body = source.replace("11, stride=4)", "11, stride=4, pad=1)")
        for block in ("conv1(x)", "conv2(h)"):
            old = f"F.max_pooling_2d(F.local_response_normalization(F.relu(self.{block})), 3, stride=2)"
            new = f"F.local_response_normalization(F.max_pooling_2d(F.relu(self.{block}), 3, stride=2))"
            body = body.replace(old, new)
        body = body.replace("train=self.train)", "ratio=0.6, train=self.train)").replace(
            "F.sigmoid(self.fc8(h))", "self.fc8(h)"
        )
        (tmp_path / "run" / "AlexNet.py").write_text(body)
        checkpoint = converters.read(tmp_path / "run" / "epoch-1.model")
        assert (checkpoint.architecture.name, checkpoint.architecture.own) == ("alexnet", None)
        assert checkpoint.architecture.source.file == "AlexNet.py"
        assert checkpoint.source.generation == "head"


class TestOptimizer:
    def test_the_state_beside_it_is_read_too(self, golden, tmp_path):
        run = tmp_path / "run"
        shutil.copytree(golden / "checkpoints" / "1.13.0" / "alexnet-adam", run)
        source = (golden / "own-networks" / G1 / "AlexNet.py").read_text()
        (run / "AlexNet.py").write_text(source.replace("11, stride=4)", "11, stride=4, pad=1)"))
        checkpoint = converters.read(run / "epoch-1.model")
        assert checkpoint.architecture.own is not None
        assert checkpoint.optimizer.algorithm == "adam"


def test_tampered_tables_are_refused(g1, tmp_path):
    converters.convert(g1 / "epoch-10.model", tmp_path / "model.safetensors")
    raw = (tmp_path / "model.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    architecture = json.loads(header["__metadata__"]["architecture"])
    architecture["own"]["layers"][0]["channels"] = 9
    header["__metadata__"]["architecture"] = json.dumps(architecture)
    changed = json.dumps(header).encode()
    (tmp_path / "changed.safetensors").write_bytes(len(changed).to_bytes(8, "little") + changed + raw[8 + length :])
    with pytest.raises(CheckpointError, match="not those of the table of AlexNet"):
        converters.read(tmp_path / "changed.safetensors")


def test_inspect_names_the_layers_in_order_with_their_shapes(g1):
    inspection = converters.inspect(g1 / "epoch-10.model")
    assert inspection.layers[:4] == [
        ("conv1", "Convolution", (8, 53, 53)),
        ("", "ReLU", (8, 53, 53)),
        ("norm1", "LocalResponseNormalization", (8, 53, 53)),
        ("", "MaxPooling", (8, 26, 26)),
    ]
    assert inspection.layers[-1] == ("", "Sigmoid", (14,))
    assert inspection.as_dict()["layers"][0] == {"name": "conv1", "layer": "Convolution", "output": [8, 53, 53]}
