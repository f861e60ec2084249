"""Chainer on a GPU against Chainer on the CPU."""

import importlib.util

import numpy as np
import pytest

import converters
from deeppose_port.data.arrays import Levels
from deeppose_port.training.run import TrainingError
from tests.helpers.networks import error, narrow_inputs, random_checkpoint
from tests.helpers.trainings import interrupt, run, weight_error, weights_of

if importlib.util.find_spec("chainer") is None:
    pytest.skip("Chainer is not installed", allow_module_level=True)

from deeppose_port.backends.chainer import predictor
from deeppose_port.backends.chainer.networks import chainer
from deeppose_port.backends.chainer.probe import gpu_problem

PROBLEM = gpu_problem("cuda:0")

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(PROBLEM is not None, reason=f"Chainer cannot use cuda:0: {PROBLEM}")]


@pytest.fixture
def small(tmp_path, pictures):
    """Runs a small training in Chainer, on the GPU unless said, and returns what it told."""

    def training(output, at=None, **given):
        given = {"device": "cuda:0", "opt": "MomentumSGD", "batch_size": 4, **given}
        return run(tmp_path, pictures, "chainer", at, **{"output": tmp_path / output, **given})

    return training


class TestOutputs:
    @pytest.mark.parametrize("writer", ["chainer-1.13.0", "chainer-7.8.1"])
    @pytest.mark.parametrize("name", ["alexnet", "resnet50", "vgg_bn"])
    def test_they_are_the_cpus(self, name, writer):
        checkpoint = random_checkpoint(name, writer=writer)
        predict = predictor(checkpoint, "cuda:0")
        assert {parameter.device.name for parameter in predict.network.params()} == {"@cupy:0"}
        outputs = predict(narrow_inputs())
        assert type(outputs) is np.ndarray
        assert error(outputs, predictor(checkpoint)(narrow_inputs())) <= 1e-4

    def test_levels_are_looked_up_to_the_same_bits(self):
        random = np.random.default_rng(2)
        tables = random.standard_normal((2, 3, 256), np.float32)
        levels = Levels(random.integers(0, 256, (2, 3, 220, 220), np.uint8), tables)
        predict = predictor(random_checkpoint(), "cuda:0")
        assert predict.by_level
        assert chainer.backends.cuda.to_cpu(predict._batch(levels).array).tobytes() == np.asarray(levels).tobytes()
        assert error(predict(levels), predict(np.asarray(levels))) <= 1e-5


class TestTraining:
    def test_it_follows_the_cpu(self, small, tmp_path):
        watches = [small(device, device=device) for device in ("cpu", "cuda:0")]
        assert watches[1].losses == pytest.approx(watches[0].losses, rel=1e-3)
        weights = [weights_of(tmp_path / device / "epoch-3.model") for device in ("cpu", "cuda:0")]
        assert weight_error(weights[1], weights[0]) <= 1e-4

    def test_validation_is_that_of_the_cpu(self, small, tmp_path):
        watches = [small(device, device=device, test_csv=tmp_path / "train.csv") for device in ("cpu", "cuda:0")]
        losses = [[entry.get("validation/main/loss") for entry in watch.entries] for watch in watches]
        assert any(losses[0])
        assert [loss for loss in losses[1] if loss] == pytest.approx([loss for loss in losses[0] if loss], rel=1e-3)

    @pytest.mark.parametrize("optimizer", ["Adam", "MomentumSGD", "AdaGrad", "RMSprop"])
    def test_a_resumed_run_follows_an_uninterrupted_one_in_dropout_too(self, optimizer, small, tmp_path):
        given = {"opt": optimizer, "dropout": 0.5, "lr": 0.001}
        whole = small("whole", **given)
        small("parts", at={2: interrupt}, **given)
        parts = small("parts", resume=tmp_path / "parts", **given)
        assert parts.losses == pytest.approx(whole.losses[2:], rel=1e-2)
        read = converters.read(tmp_path / "parts" / "epoch-3.model")
        assert read.optimizer.step == len(whole.losses)

    def test_several_devices_give_what_one_gives(self, small, tmp_path):
        if chainer.backends.cuda.cupy.cuda.runtime.getDeviceCount() < 2:
            pytest.skip("there is one GPU")
        one, two = small("one"), small("two", device="cuda:0,cuda:1")
        assert two.losses == pytest.approx(one.losses, rel=1e-3)
        weights = [weights_of(tmp_path / name / "epoch-3.model") for name in ("one", "two")]
        assert weight_error(weights[1], weights[0]) <= 1e-4

    def test_a_loss_that_is_not_finite_ends_the_run(self, small, tmp_path):
        checkpoint = random_checkpoint()
        checkpoint.weights["fc8.bias"][0] = 3e38  # its square is Inf
        converters.write(checkpoint, tmp_path / "first.model")
        with pytest.raises(TrainingError, match="iteration 1: the loss is not finite"):
            small("ended", init=tmp_path / "first.model")
