import importlib.util

import numpy as np
import pytest

from converters import Preprocessing
from deeppose_port import metrics
from deeppose_port.training.initial import initial_architecture, initial_checkpoint
from tests.helpers.metrics import maps_and_their_loss
from tests.helpers.networks import narrow_inputs, random_checkpoint

if importlib.util.find_spec("chainer") is None:
    pytest.skip("Chainer is not installed", allow_module_level=True)

from deeppose_port.backends.chainer import load
from deeppose_port.backends.chainer.loss import MaskedLoss, PoseEstimationError, heatmap_loss
from deeppose_port.backends.chainer.networks import chainer


def loss_of(x, t, mask, count=None):
    """The loss, and its gradient with respect to x."""
    x = chainer.Parameter(np.array(x, np.float32))
    (loss,) = MaskedLoss(count).apply((x, np.array(t, np.float32), np.array(mask, np.int32)))
    loss.backward()
    return loss, x.grad


def random_batch(seed=0, shape=(5, 14)):
    random = np.random.RandomState(seed)
    x, t = random.randn(2, *shape).astype(np.float32)
    return x, t, (random.rand(*shape) < 0.7).astype(np.int32)


class TestClosedForm:
    def test_value_and_gradient_are_the_legacy_ones(self):
        # (1² + 3² + 4²) / 3, and 2 / 3 of each difference that counts
        loss, gradient = loss_of([[1, 2, 3, 4]], [[0, -5, 0, 0]], [[1, 0, 1, 1]])
        assert loss.array == pytest.approx(26 / 3)
        np.testing.assert_allclose(gradient, [[2 / 3, 0, 2, 8 / 3]], rtol=1e-6)

    def test_the_sum_is_divided_by_the_coordinates_that_count_in_the_whole_batch(self):
        loss, gradient = loss_of([[1, 1, 1, 1], [2, 2, 2, 2]], np.zeros((2, 4)), [[1, 0, 0, 0], [1, 1, 1, 1]])
        assert loss.array == pytest.approx((1 + 4 * 4) / 5)
        np.testing.assert_allclose(gradient, [[0.4, 0, 0, 0], [0.8] * 4], rtol=1e-6)

    def test_it_is_the_loss_that_evaluation_reports(self):
        x, t, mask = random_batch()
        loss, _ = loss_of(x, t, mask)
        assert loss.array == pytest.approx(metrics.masked_mse(x, t, mask), rel=1e-6)

    def test_a_count_replaces_the_masks(self):
        x, t, mask = random_batch()
        loss, gradient = loss_of(x, t, mask)
        counted, counted_gradient = loss_of(x, t, mask, count=2 * int(mask.sum()))
        assert counted.array == pytest.approx(loss.array / 2)
        np.testing.assert_allclose(counted_gradient, gradient / 2, rtol=1e-6)

    def test_parts_with_the_batchs_count_add_up_to_the_batch(self):
        x, t, mask = random_batch()
        loss, gradient = loss_of(x, t, mask)
        count = int(mask.sum())
        parts = [loss_of(x[i::2], t[i::2], mask[i::2], count) for i in (0, 1)]
        assert sum(float(part.array) for part, _ in parts) == pytest.approx(float(loss.array))
        for i, (_, part) in enumerate(parts):
            np.testing.assert_allclose(part, gradient[i::2], rtol=1e-6)

    @pytest.mark.filterwarnings("ignore:pkg_resources is deprecated:UserWarning")  # which chainer.testing imports
    def test_gradient_is_the_derivative(self):
        gradient_check = pytest.importorskip("chainer.gradient_check")
        x, t, mask = random_batch(shape=(2, 6))
        arrays = x.astype(np.float64), t.astype(np.float64)
        for count in (None, 17):
            gradient_check.check_backward(
                lambda x, t, count=count: MaskedLoss(count).apply((x, t, mask))[0],
                arrays,
                np.array(1.5),
                no_grads=[False, True],
                atol=1e-6,
                rtol=1e-6,
            )

    def test_the_gradient_that_comes_in_is_a_factor(self):
        x, t, mask = random_batch()
        _, gradient = loss_of(x, t, mask)
        scaled = chainer.Parameter(x)
        (MaskedLoss().apply((scaled, t, mask))[0] * 3).backward()
        np.testing.assert_allclose(scaled.grad, 3 * gradient, rtol=1e-6)


class TestFaultsMended:
    @pytest.mark.parametrize("count", [None, 0])
    def test_a_mask_of_zeros_gives_zero_and_no_gradient(self, count):
        x, t, mask = random_batch()
        loss, gradient = loss_of(x, t, np.zeros_like(mask), count)
        assert loss.array == 0
        assert not gradient.any()

    @pytest.mark.parametrize("where", ["outputs", "targets"])
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_what_is_not_finite_under_a_zero_does_not_leak(self, where, value):
        x, t, mask = random_batch()
        expected = loss_of(x, t, mask)
        (x if where == "outputs" else t)[mask == 0] = value
        loss, gradient = loss_of(x, t, mask)
        assert loss.array == expected[0].array
        assert np.array_equal(gradient, expected[1])

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_what_is_not_finite_under_a_one_shows(self, value):
        x, t, mask = random_batch()
        x[0, 0], mask[0, 0] = value, 1
        loss, gradient = loss_of(x, t, mask)
        assert not np.isfinite(loss.array)
        assert not np.isfinite(gradient[0, 0])
        assert np.isfinite(gradient.ravel()[1:]).all()


class TestKinds:
    def test_float32_comes_in_and_goes_out(self):
        loss, gradient = loss_of(*random_batch())
        assert (loss.dtype, loss.shape) == (np.float32, ())
        assert gradient.dtype == np.float32

    def test_targets_and_mask_have_no_gradient(self):
        x, t, mask = random_batch()
        x, t = chainer.Parameter(x), chainer.Parameter(t)
        MaskedLoss().apply((x, t, mask))[0].backward()
        assert t.grad is None

    def test_arguments_are_not_changed(self):
        batch = random_batch()
        copies = [array.copy() for array in batch]
        loss_of(*batch)
        assert all(np.array_equal(array, before) for array, before in zip(batch, copies, strict=True))


class TestPoseEstimationError:
    def test_it_is_the_loss_of_the_networks_answer(self):
        network = load(random_checkpoint(), dropout=0.0)
        _, t, mask = random_batch(shape=(2, 14))
        model = PoseEstimationError(network)
        loss = model(narrow_inputs(), t, mask)
        expected, _ = loss_of(network(narrow_inputs()).array, t, mask)
        assert loss.array == expected.array
        assert model(narrow_inputs(), t, mask, count=3).array == pytest.approx(loss.array * mask.sum() / 3)

    def test_the_network_is_its_predictor(self):
        model = PoseEstimationError(load(random_checkpoint()))
        assert {name.split("/")[1] for name, _ in model.namedparams()} == {"predictor"}


class TestHeatmaps:
    def test_their_loss_is_the_cross_entropy_of_a_map_and_a_gaussian(self):
        maps, t, mask, wanted = maps_and_their_loss()
        loss = heatmap_loss(chainer.Variable(maps), t.astype(np.float32), mask.astype(np.int32))
        assert float(loss.array) == pytest.approx(wanted, rel=1e-5)

    def test_it_is_added_to_that_of_the_answers(self):
        architecture = initial_architecture("resfpn-softargmax", 5, 32, "0.25")
        checkpoint = initial_checkpoint(architecture, Preprocessing(im_size=32), seed=0)
        x = np.random.RandomState(0).randn(2, 3, 32, 32).astype(np.float32)
        t = np.random.RandomState(1).uniform(-0.4, 0.4, (2, 2 * checkpoint.joints)).astype(np.float32)
        mask = np.ones(t.shape, np.int32)
        network = load(checkpoint)
        model = PoseEstimationError(network, heatmaps=0.5)
        total = model(x, t, mask)
        maps, _ = network.maps_and_joints(x)
        more = heatmap_loss(maps, t, mask)
        assert float(total.array) == pytest.approx(float(model.answers.array) + 0.5 * float(more.array), rel=1e-5)
        assert float(more.array) > 0
