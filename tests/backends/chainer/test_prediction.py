import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest

import converters
from converters.networks import outputs_layer
from deeppose_port import cli
from deeppose_port.evaluate import evaluate as evaluation_module
from tests.helpers.networks import SKELETONS, dataset_of, error, narrow_inputs, random_checkpoint

if importlib.util.find_spec("chainer") is None:
    pytest.skip("Chainer is not installed", allow_module_level=True)

from deeppose_port.backends import BackendError
from deeppose_port.backends.chainer import load, predictor
from deeppose_port.backends.chainer.devices import usable_device, usable_devices
from deeppose_port.backends.chainer.networks import chainer
from deeppose_port.data.arrays import Levels

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


@pytest.fixture(scope="module")
def checkpoint():
    return random_checkpoint()


class TestByLevel:
    """What CuPy does is done by NumPy, which has the same functions."""

    def test_the_same_bits_reach_the_network_and_it_answers_the_same(self, checkpoint):
        random = np.random.default_rng(2)
        tables = random.standard_normal((3, 3, 256), np.float32)
        levels = Levels(random.integers(0, 256, (3, 3, 220, 220), np.uint8), tables)
        predict = predictor(checkpoint)
        assert not predict.by_level
        assert predict._batch(levels).array.tobytes() == np.asarray(levels).tobytes()
        assert np.array_equal(predict(levels), predict(np.asarray(levels)))

    def test_bytes_and_their_tables_are_what_is_copied(self, checkpoint, monkeypatch):
        predict, sent = predictor(checkpoint), []
        monkeypatch.setattr(type(predict.device), "send", lambda self, arrays: sent.extend(arrays) or arrays)
        predict._batch(Levels(np.ones((2, 3, 4, 5), np.uint8), np.ones((2, 3, 256), np.float32)))
        assert [array.dtype for array in sent] == [np.uint8, np.float32]


class TestPredictor:
    @pytest.mark.parametrize("name", ["resnet50", "vgg_bn"])
    def test_normalisation_is_folded_to_answer_and_seen_where_it_is_looked_at(self, name):
        checkpoint = random_checkpoint(name)
        predict = predictor(checkpoint)
        answered = {type(link).__name__ for link in predict._fast.links()}
        assert "BatchNorm" not in answered
        with chainer.using_config("train", False):
            expected = load(checkpoint)(narrow_inputs()).array
        assert error(predict(narrow_inputs()), expected) < 2e-6
        *_, (_, last) = predict.activations(narrow_inputs())
        assert np.array_equal(last, expected)

    def test_it_answers_as_the_network(self, checkpoint):
        outputs = predictor(checkpoint)(narrow_inputs())
        assert (type(outputs), outputs.shape, outputs.dtype) == (np.ndarray, (2, 14), np.float32)
        with chainer.using_config("train", False):
            expected = load(checkpoint)(narrow_inputs()).array
        assert np.array_equal(outputs, expected)

    def test_it_evaluates_whatever_the_callers_configuration_is_and_leaves_it(self, checkpoint):
        expected = predictor(checkpoint)(narrow_inputs())
        with chainer.using_config("train", True), chainer.using_config("enable_backprop", True):
            assert np.array_equal(predictor(checkpoint)(narrow_inputs()), expected)
            assert (chainer.config.train, chainer.config.enable_backprop) == (True, True)


class TestDevices:
    def test_cpu_is_usable(self):
        assert usable_device("cpu").xp is np

    def test_the_cpu_may_be_several_devices_where_several_are_of_use(self):
        assert [device.xp for device in usable_devices("cpu,cpu", several=True)] == [np, np]
        with pytest.raises(BackendError, match="cpu,cpu"):
            usable_device("cpu,cpu")

    @pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "cuda:-2"])
    def test_what_is_no_device_is_refused(self, name, checkpoint):
        with pytest.raises(BackendError, match=f"'{name}' is no device"):
            predictor(checkpoint, name)

    def test_gpus_without_cupy_are_refused_with_the_reason(self, checkpoint):
        if importlib.util.find_spec("cupy") is not None:
            pytest.skip("CuPy is installed")
        with pytest.raises(BackendError, match=r"Chainer cannot use cuda:0: .+"):
            predictor(checkpoint, "cuda:0")


class TestGpus:
    """What is set before CUDA's libraries are first used, on a machine without them."""

    def test_tf32_is_off_before_a_gpu_is_tried(self, checkpoint, monkeypatch):
        monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
        seen = []
        monkeypatch.setattr(
            "deeppose_port.backends.chainer.probe.gpu_problem",
            lambda name: seen.append(os.environ.get("NVIDIA_TF32_OVERRIDE")) or "it is feigned",
        )
        with pytest.raises(BackendError, match="it is feigned"):
            predictor(checkpoint, "cuda:0")
        assert seen == ["0"]
        predictor(checkpoint)

    def test_dropout_draws_from_chainers_own_state_and_not_from_cudnns(self, checkpoint, monkeypatch):
        used = []
        drop = chainer.functions.dropout
        monkeypatch.setattr(
            chainer.functions, "dropout", lambda *a: (used.append(chainer.config.use_cudnn), drop(*a))[1]
        )
        with chainer.using_config("use_cudnn", "always"):
            load(checkpoint)(narrow_inputs())
            assert chainer.config.use_cudnn == "always"
        assert used == ["never", "never"]


def guess(network, persons):
    """A network with random weights that answers about the mean pose: it finds some joints and misses others."""
    checkpoint = random_checkpoint(network, len(persons.skeleton.joints))
    poses = np.stack([persons[i][1] for i in range(len(persons))])
    last = outputs_layer(network)
    checkpoint.weights[f"{last}.weight"] *= np.float32(5e-4 if network == "resnet50" else 0.1)
    checkpoint.weights[f"{last}.bias"] = np.median(poses, axis=0).astype(np.float32)
    return checkpoint


def assert_close(found, expected):
    """Compares a metric that is a length, not a fraction: of each joint and in total."""
    if not isinstance(found, dict):
        assert found == expected or found == pytest.approx(expected, rel=1e-6)
        return
    assert found.keys() == expected.keys()
    for key in found:
        assert_close(found[key], expected[key])


class TestEval:
    """`eval` with both backends, on the same files."""

    @pytest.fixture
    def evaluate(self, request, capsys, monkeypatch):
        """Runs `eval` and returns what it prints; the same file on the same persons is evaluated once."""
        found, real = {}, evaluation_module.evaluate

        def once(pose, dataset, **options):
            key = pose.checkpoint.source.path, pose.backend, dataset.csv
            if key not in found:
                found[key] = real(pose, dataset, **options)
            return found[key]

        monkeypatch.setattr(evaluation_module, "evaluate", once)

        def run(model, dataset, backend, *options):
            persons = dataset_of(dataset, request)
            data = ["--csv", str(persons.csv), "--images", str(persons.images), "--skeleton", SKELETONS[dataset]]
            assert cli.main(["eval", str(model), *data, "--backend", backend, *options]) == 0
            return capsys.readouterr().out

        return run

    @pytest.fixture
    def compare(self, evaluate):
        """Compares what `eval` prints with both backends: every digit of the table, and of the JSON all metrics."""
        pytest.importorskip("torch")

        def run(model, dataset):
            torch, chainer = (evaluate(model, dataset, b).replace(f", {b})", ")").split() for b in ("torch", "chainer"))
            losses = [float(words.pop(words.index("Loss") + 1)) for words in (torch, chainer)]
            assert losses[0] == pytest.approx(losses[1], rel=2e-5)  # its last digit may be rounded either way
            assert torch == chainer
            torch, chainer = (json.loads(evaluate(model, dataset, b, "--json")) for b in ("torch", "chainer"))
            assert (torch.pop("backend"), chainer.pop("backend")) == ("torch", "chainer")
            assert torch.pop("loss") == pytest.approx(chainer.pop("loss"), rel=1e-6)
            for name in [name for name in torch if "error" in name or name.startswith("nme")]:
                assert_close(torch.pop(name), chainer.pop(name))
            assert torch == chainer
            return torch

        return run

    @pytest.mark.parametrize(
        ("network", "dataset"),
        [("alexnet", "free"), ("resnet50", "free"), ("vgg_bn", "free"), ("alexnet", "mpii"), ("alexnet", "lspet")],
    )
    def test_prints_what_torch_prints(self, network, dataset, tmp_path, request, compare):
        converters.write(guess(network, dataset_of(dataset, request)), tmp_path / "epoch-1.model")
        found = compare(tmp_path / "epoch-1.model", dataset)
        assert 0 < found["pcp"]["mean"] < 1

    def test_prints_what_torch_prints_for_a_legacy_checkpoint(self, compare):
        assert compare(EXAMPLES / "astronaut" / "epoch-300.model", "free")["pcp"]["mean"] > 0

    def test_prints_what_torch_prints_for_a_full_size_legacy_checkpoint(self, shared_golden, compare):
        compare(shared_golden / "checkpoints" / "alexnet-mpii-chainer1.13" / "epoch-100.model", "mpii")

    @pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
    def test_reads_what_was_converted_for_torch(self, suffix, checkpoint, tmp_path, evaluate):
        if suffix == ".pt":
            pytest.importorskip("torch")
        for name in ("epoch-1.model", f"converted{suffix}"):
            converters.write(checkpoint, tmp_path / name)
        model, converted = (
            json.loads(evaluate(tmp_path / name, "free", "chainer", "--json"))
            for name in ("epoch-1.model", f"converted{suffix}")
        )
        assert {**model, "checkpoint": ""} == {**converted, "checkpoint": ""}
