import os
import runpy
import sys
import types
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import deeppose_port.backends.torch
from deeppose_port.backends import BackendError
from deeppose_port.backends.torch import load, memory_format, prediction, predictor
from deeppose_port.backends.torch.fused import can_fuse
from deeppose_port.backends.torch.prediction import TorchPredictor, full_precision, usable_device
from deeppose_port.data.arrays import Levels
from tests.helpers.networks import narrow_inputs, random_checkpoint


@pytest.fixture(scope="module")
def checkpoint():
    return random_checkpoint()


SWITCHES = (
    torch.backends,
    *(torch.backends.cudnn, torch.backends.mkldnn),
    *(torch.backends.cudnn.conv, torch.backends.cudnn.rnn, torch.backends.cuda.matmul),
    *(torch.backends.mkldnn.conv, torch.backends.mkldnn.matmul),
)


@pytest.fixture
def precision():
    """What is set in this test stays in it."""
    before = [switch.fp32_precision for switch in SWITCHES]
    yield
    for switch, value in zip(SWITCHES, before, strict=True):
        switch.fp32_precision = value


class TestPrecision:
    @pytest.mark.parametrize("chosen", ["tf32", "bf16", "ieee"])
    def test_what_the_caller_has_set_changes_no_answer_and_comes_back(self, checkpoint, chosen, precision):
        predict = predictor(checkpoint)
        expected = predict(narrow_inputs())
        torch.backends.fp32_precision = chosen
        before = self.choices()
        assert np.array_equal(predict(narrow_inputs()), expected)
        assert self.choices() == before
        torch.backends.fp32_precision = "ieee"  # what was not set by itself follows
        assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"

    def test_within_it_products_are_exact(self):
        with full_precision():
            assert set(self.choices()) == {"ieee"}

    @staticmethod
    def choices():
        return [switch.fp32_precision for switch in SWITCHES[3:]]


class TestFolding:
    @pytest.mark.parametrize("name", ["resnet50", "vgg_bn"])
    @pytest.mark.parametrize("writer", ["chainer-1.13.0", "chainer-7.8.1"])
    def test_it_answers_as_the_network_without(self, name, writer):
        checkpoint = random_checkpoint(name, writer=writer)
        predict = predictor(checkpoint)
        with torch.inference_mode():
            expected = load(checkpoint)(torch.from_numpy(narrow_inputs())).numpy()
        outputs = predict(narrow_inputs())
        np.testing.assert_allclose(outputs, expected, rtol=0, atol=2e-6 * np.abs(expected).max())
        kinds = {type(module).__name__ for module in predict._fast.modules()}
        assert "BatchNorm" not in kinds

    def test_what_is_looked_at_is_every_layer(self):
        checkpoint = random_checkpoint("resnet50")
        assert "bn1" in dict(predictor(checkpoint).activations(narrow_inputs()))

    def test_a_variance_of_zero_is_not_hidden(self):
        checkpoint = random_checkpoint("resnet50")  # of a Chainer that added no eps
        checkpoint.weights["bn1.running_var"][0] = 0
        with torch.inference_mode():
            expected = load(checkpoint)(torch.from_numpy(narrow_inputs())).numpy()
        assert np.array_equal(np.isnan(predictor(checkpoint)(narrow_inputs())), np.isnan(expected))


class TestPredictor:
    def test_it_answers_as_the_network(self, checkpoint):
        outputs = predictor(checkpoint)(narrow_inputs())
        assert (outputs.shape, outputs.dtype) == ((2, 14), np.float32)
        with torch.inference_mode():
            expected = load(checkpoint)(torch.from_numpy(narrow_inputs())).numpy()
        np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-6 * np.abs(expected).max())

    def test_network_is_in_evaluation_mode_and_channels_last(self, checkpoint):
        predict = predictor(checkpoint, "cpu")
        assert not predict.network.training
        assert predict.device == torch.device("cpu")
        assert predict.network.get_parameter("conv2.weight").is_contiguous(memory_format=torch.channels_last)

    def test_global_settings_stay_the_callers(self, checkpoint):
        before = torch.backends.cudnn.allow_tf32, torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        predictor(checkpoint)(narrow_inputs())
        after = torch.backends.cudnn.allow_tf32, torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        assert after == before

    @pytest.mark.gpu
    def test_gpu_answers_as_the_cpu(self, checkpoint):
        if not torch.cuda.is_available():
            pytest.skip("there is no CUDA device")
        expected = predictor(checkpoint)(narrow_inputs())
        outputs = predictor(checkpoint, "cuda")(narrow_inputs())
        assert np.abs(outputs - expected).max() <= 1e-5 * np.abs(expected).max()


class TestByLevel:
    """What a GPU does is done by the CPU's device, which is told that levels come by themselves."""

    @pytest.fixture
    def levels(self):
        random = np.random.default_rng(2)
        return Levels(
            random.integers(0, 256, (3, 3, 220, 220), np.uint8),
            random.standard_normal((3, 3, 256), np.float32),
        )

    def test_it_is_for_gpus(self, checkpoint, monkeypatch):
        assert not predictor(checkpoint).by_level
        monkeypatch.setattr(prediction, "usable_device", lambda name: SimpleNamespace(type="cuda"))
        monkeypatch.setattr(TorchPredictor, "_placed", lambda self, checkpoint: None)
        assert predictor(checkpoint, "cuda").by_level

    def test_the_same_bits_reach_the_network_and_it_answers_the_same(self, checkpoint, levels, monkeypatch):
        monkeypatch.setattr(prediction, "can_fuse", lambda network: False)
        seen, answers = [], []
        for inputs in (np.asarray(levels), levels):
            predict = predictor(checkpoint)
            run = predict._format.run
            predict._format.run = lambda network, batch, run=run: seen.append(batch) or run(network, batch)
            answers.append(predict(inputs))
        assert all(batch.is_contiguous(memory_format=torch.channels_last) for batch in seen)
        assert seen[1].numpy().tobytes() == seen[0].numpy().tobytes() == np.asarray(levels).tobytes()
        assert np.array_equal(*answers)
        looked_at = [[array for _, array in predict.activations(inputs)] for inputs in (np.asarray(levels), levels)]
        assert all(map(np.array_equal, *looked_at))

    def test_bytes_and_their_tables_are_what_is_copied(self, monkeypatch):
        copied = []
        monkeypatch.setattr(torch.Tensor, "to", lambda self, device: copied.append(self) or self)
        pixels = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)
        tables = np.random.default_rng(2).standard_normal((2, 3, 256), np.float32)
        found = prediction.looked_up(Levels(pixels, tables), torch.device("cpu"))
        assert [(part.dtype, part.shape) for part in copied] == [
            (torch.uint8, (2, 3, 4, 5)),
            (torch.float32, (2, 3, 256)),
        ]
        for place in np.ndindex(pixels.shape):
            assert found[place] == tables[(*place[:2], pixels[place])]

    @pytest.mark.gpu
    def test_a_gpu_looks_up_the_same_bits(self, checkpoint, levels):
        if not torch.cuda.is_available():
            pytest.skip("there is no CUDA device")
        predict = predictor(checkpoint, "cuda")
        assert predict.by_level
        assert predict._batch(levels).is_cuda
        assert predict._batch(levels).cpu().numpy().tobytes() == np.asarray(levels).tobytes()
        # The order of a network's axes is measured at the second call.
        by_level, expected = ([predict(inputs) for _ in range(2)][1] for inputs in (levels, np.asarray(levels)))
        assert np.abs(by_level - expected).max() <= 1e-5 * np.abs(expected).max()


class TestDevices:
    def test_cpu_is_usable(self):
        assert usable_device("cpu") == torch.device("cpu")

    @pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "cuda:-2"])
    def test_what_is_no_device_is_refused(self, name):
        with pytest.raises(BackendError, match=f"^'{name}' is no device; devices are cpu, cuda and cuda:N$"):
            usable_device(name)

    @pytest.mark.parametrize("name", ["mps", "meta", "xpu:0"])
    def test_other_devices_are_refused(self, name):
        with pytest.raises(BackendError, match=f"^'{name}' is not supported; devices are cpu, cuda and cuda:N$"):
            usable_device(name)

    @pytest.mark.parametrize("name", ["cuda", "cuda:0"])
    def test_cuda_without_cuda_says_why(self, name, monkeypatch, checkpoint):
        monkeypatch.setattr(torch.version, "cuda", None)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(BackendError) as refused:
            predictor(checkpoint, name)
        assert str(refused.value) == (
            f"PyTorch cannot use {name}: this PyTorch is built without CUDA; `deeppose-port doctor --device {name}` "
            "tells more"
        )

    def test_gpu_that_is_not_there_says_how_many_are(self, monkeypatch):
        monkeypatch.setattr(torch.version, "cuda", "12.6")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        assert usable_device("cuda:1") == torch.device("cuda:1")
        with pytest.raises(BackendError, match=r"^PyTorch cannot use cuda:2: it sees 2 GPUs; "):
            usable_device("cuda:2")


class TestMemoryFormat:
    """Which order is the faster one is feigned: the clock advances as told."""

    @pytest.fixture
    def feigned(self, checkpoint, monkeypatch):
        def feign(last, first):
            monkeypatch.setattr(memory_format, "_found", {})
            monkeypatch.setattr(prediction, "can_fuse", lambda network: False)
            seconds = {torch.channels_last: last, torch.contiguous_format: first}
            measured = []

            def clock(run, device):
                measured.append(run().shape)
                order = (torch.contiguous_format, torch.channels_last)[(len(measured) - 1) // memory_format._ROUNDS]
                return seconds[order]

            monkeypatch.setattr(memory_format, "_seconds", clock)
            return TorchPredictor(checkpoint), measured

        return feign

    @pytest.mark.parametrize(
        ("last", "first", "expected"), [(2, 1, False), (1, 2, True), (1.1, 1, True), (9e-4, 3e-4, True)]
    )
    def test_the_faster_one_is_taken_for_good_where_it_is_clear(self, last, first, expected, feigned):
        predict, measured = feigned(last, first)
        answers = [predict(narrow_inputs()) for _ in range(4)]
        assert len(measured) == 2 * memory_format._ROUNDS
        weight = predict._fast.get_parameter("conv2.weight")
        assert weight.is_contiguous(memory_format=torch.channels_last) is expected
        for answer in answers[1:]:
            np.testing.assert_allclose(answer, answers[0], rtol=0, atol=1e-6 * np.abs(answers[0]).max())

    def test_a_single_picture_does_not_wait_for_it(self, feigned):
        predict, measured = feigned(1, 1)
        predict(narrow_inputs())
        assert not measured

    def test_what_is_fused_answers_the_same_bits_without_it(self, checkpoint, feigned, monkeypatch):
        _, measured = feigned(2, 1)
        monkeypatch.setattr(prediction, "can_fuse", can_fuse)
        predict = TorchPredictor(checkpoint)
        if predict._fused is None:
            pytest.skip("oneDNN is not here, or this is no x86")
        answers = [predict(narrow_inputs()) for _ in range(3)]
        assert not measured
        assert all(np.array_equal(answer, answers[0]) for answer in answers)

    def test_networks_of_one_table_share_it(self, feigned, checkpoint):
        predict, measured = feigned(1, 1)
        other = TorchPredictor(checkpoint)
        for _ in range(3):
            predict(narrow_inputs())
            other(narrow_inputs())
        assert len(measured) == 2 * memory_format._ROUNDS


@pytest.mark.parametrize(
    "told", [{}, {"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "5"}], ids=["nothing", "a policy", "a count"]
)
def test_threads_spin_for_a_moment_alone_unless_the_caller_says_otherwise(told, monkeypatch):
    seen = {}

    class Seen(types.ModuleType):
        """What is there when the first module is asked for that imports PyTorch."""

        def __getattr__(self, name):
            seen.update({key: os.environ[key] for key in names & os.environ.keys()})
            return None

    names = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}
    monkeypatch.setattr(os, "environ", {**{k: v for k, v in os.environ.items() if k not in names}, **told})
    monkeypatch.setitem(sys.modules, "deeppose_port.backends.torch.networks", Seen("networks"))
    runpy.run_path(deeppose_port.backends.torch.__file__)
    assert seen == (told or {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "2000"})
