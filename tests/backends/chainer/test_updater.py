import importlib.util

import numpy as np
import pytest

from deeppose_port.training.guard import Guard
from deeppose_port.training.hyperparameters import Hyperparameters
from deeppose_port.training.run import TrainingError
from tests.helpers.networks import random_checkpoint

if importlib.util.find_spec("chainer") is None:
    pytest.skip("Chainer is not installed", allow_module_level=True)

from deeppose_port.backends.chainer import load
from deeppose_port.backends.chainer.iterator import PoseBatch
from deeppose_port.backends.chainer.loss import MaskedLoss, PoseEstimationError
from deeppose_port.backends.chainer.networks import chainer
from deeppose_port.backends.chainer.optimizers import make_optimizer
from deeppose_port.backends.chainer.updater import PoseUpdater

CPU = chainer.get_device("@numpy")
F, L = chainer.functions, chainer.links


class Batches(chainer.dataset.Iterator):
    """The batches that it is given, each a list of inputs, targets and mask."""

    epoch, epoch_detail, is_new_epoch = 0, 0.0, False

    def __init__(self, batches):
        self.batches = iter(batches)

    def next(self):
        return PoseBatch(next(self.batches))


class Poison(chainer.FunctionNode):
    """Passes an array on, and gives its gradient other numbers."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, inputs):
        return inputs

    def backward(self, indexes, gradients):
        return (chainer.Variable(np.full_like(gradients[0].array, self.value)),)


class Tiny(chainer.Chain):
    """A network of a few numbers with its loss, in the place of a PoseEstimationError.

    Attributes:
        poison: What the gradient of the last bias is made of instead; None for itself.
    """

    def __init__(self, seed=0):
        super().__init__()
        random = np.random.RandomState(seed)
        with self.init_scope():
            self.norm = L.BatchNormalization(3)
            self.fc = L.Linear(3 * 2 * 2, 4, initialW=random.randn(4, 12).astype("f"))
            self.last = L.Bias(1, (4,))
        self.last.b.array[...] = random.randn(4)
        self.poison = None

    def forward(self, x, t, mask, count=None):
        bias = self.last.b if self.poison is None else Poison(self.poison).apply((self.last.b,))[0]
        y = F.dropout(self.fc(self.norm(x)), 0.5) + F.broadcast_to(bias, (len(x), 4))
        (self.answers,) = MaskedLoss(count).apply((y, t, mask))
        return self.answers


def batch(seed=0, size=4, joints=2, side=2):
    random = np.random.RandomState(seed)
    inputs = random.randn(size, 3, side, side).astype(np.float32)
    targets = (random.randn(size, 2 * joints) * 0.3).astype(np.float32)
    return [inputs, targets, np.ones((size, 2 * joints), np.int32)]


def spoiled(value=np.nan, seed=9):
    """A batch with a number that is not finite among its inputs."""
    made = batch(seed)
    made[0][1, 2, 0, 1] = value
    return made


def updater_of(model, batches, devices=1, lr=0.1, **options):
    optimizer = chainer.optimizers.MomentumSGD(lr).setup(model)
    names = ["main", *map(str, range(1, devices))]
    given = {"seed": 3, "guard": Guard(skips=options.pop("skip_nonfinite", False)), "rate": lambda epoch: lr}
    return PoseUpdater(Batches(batches), optimizer, dict.fromkeys(names, CPU), **{**given, **options})


def arrays_of(model):
    """Copies of all a model's arrays, BatchNormalization's statistics too."""
    saved = chainer.serializers.DictionarySerializer()
    saved.save(model)
    return {key: np.array(array) for key, array in saved.target.items()}


def gradients_of(model):
    return {name: parameter.grad.copy() for name, parameter in model.namedparams()}


def same_bits(a, b):
    return a.keys() == b.keys() and all(np.array_equal(array, b[key]) for key, array in a.items())


def assert_close(a, b, tolerance=2e-6):
    """The same names, and arrays that differ by rounding only, as a part of the largest number of any."""
    assert a.keys() == b.keys()
    scale = max(np.abs(array).max() for array in b.values())
    for key, array in a.items():
        assert np.abs(array - b[key]).max() <= tolerance * scale, key


@pytest.fixture
def no_dropout(monkeypatch):
    monkeypatch.setattr(F, "dropout", lambda x, ratio: x)


def alexnet():
    return PoseEstimationError(load(random_checkpoint(), dropout=0.0))


def alexnet_batches(steps=3, size=4):
    """Batches in whose even rows few coordinates count, and in whose odd rows all."""
    for step in range(steps):
        inputs, targets, mask = batch(step, size, joints=7, side=220)
        mask[::2, 3:] = 0
        yield [inputs, targets, mask]


class TestSeveralDevices:
    def run(self, devices, size=4, **options):
        updater = updater_of(alexnet(), alexnet_batches(size=size), devices, lr=0.01, **options)
        gradients, losses = [], []
        for _ in range(3):
            updater.update()
            gradients.append(gradients_of(updater.get_optimizer("main").target))
            losses.append(updater.loss)
        return updater, gradients, losses

    @pytest.mark.parametrize(("devices", "size"), [(2, 4), (2, 5), (3, 4)])
    def test_they_give_the_gradients_losses_and_weights_of_one(self, devices, size):
        one, gradients, losses = self.run(1, size)
        several, parts, sums = self.run(devices, size)
        for expected, found in zip(gradients, parts, strict=True):
            assert_close(found, expected)
        assert sums == pytest.approx(losses, rel=1e-6)
        model, other = one.get_optimizer("main").target, several.get_optimizer("main").target
        assert_close(arrays_of(other), arrays_of(model))

    def test_replicas_have_the_weights_of_the_first_after_each_update(self):
        updater, _, _ = self.run(2)
        first, second = updater._models.values()
        assert first is not second
        assert same_bits(arrays_of(first), arrays_of(second))

    def test_the_legacy_sum_of_equal_parts_is_a_multiple(self):
        gradients, losses = [], []
        for devices in (1, 2):
            updater = updater_of(alexnet(), [batch(joints=7, side=220)], devices, gradient_sum=True)
            updater.update()
            gradients.append(gradients_of(updater.get_optimizer("main").target))
            losses.append(updater.loss)
        assert_close(gradients[1], {name: 2 * gradient for name, gradient in gradients[0].items()})
        assert losses[1] == pytest.approx(losses[0], rel=1e-6)

    def test_the_legacy_sum_adds_the_gradients_of_the_parts_each_over_its_own_count(self):
        (whole,) = alexnet_batches(1)
        parts = []
        for part in ([array[i::2] for array in whole] for i in (0, 1)):
            updater = updater_of(alexnet(), [part])
            updater.update()
            parts.append((gradients_of(updater.get_optimizer("main").target), updater.loss))
        updater = updater_of(alexnet(), [whole], 2, gradient_sum=True)
        updater.update()
        summed = {name: gradient + parts[1][0][name] for name, gradient in parts[0][0].items()}
        assert_close(gradients_of(updater.get_optimizer("main").target), summed)
        assert updater.loss == pytest.approx((parts[0][1] + parts[1][1]) / 2, rel=1e-6)

    def test_statistics_are_those_of_the_first_devices_part(self, no_dropout):
        updater = updater_of(Tiny(), [batch()], 2)
        updater.update()
        mean = batch()[0][::2].mean((0, 2, 3))
        for model in updater._models.values():
            np.testing.assert_allclose(model.norm.avg_mean, 0.1 * mean, rtol=1e-5)


NONFINITE = pytest.mark.filterwarnings("ignore:(invalid value|overflow) encountered:RuntimeWarning")


@NONFINITE
class TestNotFinite:
    @pytest.mark.parametrize("devices", [1, 2])
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_a_loss_ends_the_run_before_it_reaches_the_weights(self, value, devices):
        model = Tiny()
        updater = updater_of(model, [batch(), spoiled(value)], devices)
        updater.update()
        before = arrays_of(model), arrays_of(updater.get_optimizer("main"))
        with pytest.raises(TrainingError, match=r"^iteration 2: the loss is not finite; .*--nonfinite-gradients skip"):
            updater.update()
        assert same_bits(arrays_of(model), before[0])
        assert same_bits(arrays_of(updater.get_optimizer("main")), before[1])

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_a_gradient_ends_the_run_with_the_name_of_its_tensor(self, value):
        model = Tiny()
        updater = updater_of(model, [batch(), batch(1)], iteration=40)
        updater.update()
        before = arrays_of(model)
        model.poison = value
        with pytest.raises(TrainingError, match=r"^iteration 42: the gradient of last/b is not finite; "):
            updater.update()
        assert np.isfinite(updater.loss)
        assert same_bits(arrays_of(model), before)

    def test_infinities_that_cancel_are_found(self):
        model = Tiny()
        model.poison = np.array([np.inf, -np.inf, 1, 1])
        with pytest.raises(TrainingError, match="the gradient of last/b"):
            updater_of(model, [batch()]).update()

    def test_a_gradient_of_another_device_is_found(self):
        updater = updater_of(Tiny(), [batch()], 2)
        updater._models["1"].poison = np.nan
        with pytest.raises(TrainingError, match="the gradient of last/b"):
            updater.update()

    def test_a_finite_gradient_whose_sum_overflows_is_none(self):
        model = Tiny()
        model.poison = 3e38
        updater = updater_of(model, [batch()], lr=1e-39)
        updater.update()
        assert updater.get_optimizer("main").t == 1

    def test_what_is_masked_may_be_anything(self):
        spoiled = batch()
        spoiled[1][1, 2], spoiled[2][1, 2] = np.nan, 0
        updater = updater_of(Tiny(), [spoiled])
        updater.update()
        assert np.isfinite(updater.loss)


@NONFINITE
class TestSkip:
    def test_such_steps_are_left_out_and_counted(self, no_dropout):
        models = Tiny(), Tiny()
        skipping = updater_of(models[0], [batch(0), spoiled(), batch(1)], skip_nonfinite=True)
        plain = updater_of(models[1], [batch(0), batch(1)])
        for _ in range(3):
            skipping.update()
        for _ in range(2):
            plain.update()
        assert (skipping.guard.skipped, skipping.iteration, skipping.get_optimizer("main").t) == (1, 3, 2)
        assert plain.guard.skipped == 0
        assert same_bits(arrays_of(models[0]), arrays_of(models[1]))
        assert same_bits(arrays_of(skipping.get_optimizer("main")), arrays_of(plain.get_optimizer("main")))

    def test_gradients_too(self, no_dropout):
        model = Tiny()
        updater = updater_of(model, [batch(), batch(1)], 2, skip_nonfinite=True)
        updater.update()
        before = arrays_of(model)
        model.poison = np.inf
        updater.update()
        assert updater.guard.skipped == 1
        assert same_bits(arrays_of(model), before)

    def test_statistics_of_batch_normalization_stay_finite(self):
        model = Tiny()
        updater = updater_of(model, [batch(), spoiled()], skip_nonfinite=True)
        updater.update()
        before = arrays_of(model)
        assert model.norm.avg_mean.any()
        updater.update()
        assert same_bits(arrays_of(model), before)

    def test_the_log_has_no_loss_of_them(self):
        updater = updater_of(Tiny(), [batch(), spoiled()], skip_nonfinite=True)
        reporter = chainer.Reporter()
        reporter.add_observer("main", updater.get_optimizer("main").target)
        seen = []
        for _ in range(2):
            observation = {}
            with reporter, reporter.scope(observation):
                updater.update()
            seen.append(observation)
        assert seen[0].keys() == {"main/loss"}
        assert seen[1] == {}
        assert np.isnan(updater.loss)


class TestDropout:
    def losses(self, steps=3, **options):
        updater = updater_of(Tiny(), [batch()] * steps, lr=0, **options)
        return [updater.update() or updater.loss for _ in range(steps)]

    def test_it_follows_from_the_seed_and_the_iteration_alone(self):
        np.random.seed(1)
        losses = self.losses()
        assert len(set(losses)) == 3
        np.random.seed(2)
        assert self.losses() == losses
        assert self.losses(1, iteration=2) == losses[2:]
        assert self.losses(seed=4) != losses

    def test_parts_on_the_cpu_draw_numbers_of_their_own(self, monkeypatch):
        drawn = []
        dropout = F.dropout
        monkeypatch.setattr(F, "dropout", lambda x, ratio: drawn.append(dropout(x, ratio).array == 0) or x)
        updater_of(Tiny(), [batch(size=40)], 2).update()
        assert len(drawn) == 2
        assert (drawn[0] != drawn[1]).any()


class TestOptimizers:
    @pytest.mark.parametrize("algorithm", ["adam", "momentumsgd", "adagrad", "rmsprop"])
    def test_hyperparameters_and_arrays_keep_their_kinds(self, algorithm):
        """Under NumPy 2 a float64 scalar would turn every update into float64."""
        model = Tiny()
        optimizer = make_optimizer(Hyperparameters(algorithm, lr=0.01)).setup(model)
        optimizer.add_hook(chainer.optimizer_hooks.WeightDecay(0.1))
        given = {"seed": 0, "guard": Guard(skips=False), "rate": lambda epoch: 0.01}
        updater = PoseUpdater(Batches([batch(i) for i in range(3)]), optimizer, {"main": CPU}, **given)
        for _ in range(3):
            updater.update()
        kinds = {type(value) for value in optimizer.hyperparam.get_dict().values()}
        assert kinds <= {float, int, bool}
        for parameter in model.params():
            state = [array for key, array in parameter.update_rule.state.items()]
            assert {array.dtype for array in (parameter.array, parameter.grad, *state)} == {np.dtype(np.float32)}

    @pytest.mark.parametrize(
        ("hyper", "expected"),
        [
            (Hyperparameters("adam", 0.1, beta1=0.2, beta2=0.3, eps=0.4), {"alpha": 0.1, "beta1": 0.2, "beta2": 0.3}),
            (Hyperparameters("adam", 0.1, eps=0.4), {"eps": 0.4, "beta1": 0.9, "beta2": 0.999, "amsgrad": False}),
            (Hyperparameters("momentumsgd", 0.1, momentum=0.2), {"lr": 0.1, "momentum": 0.2}),
            (Hyperparameters("adagrad", 0.1), {"lr": 0.1, "eps": 1e-8}),
            (Hyperparameters("rmsprop", 0.1), {"lr": 0.1, "alpha": 0.99, "eps": 1e-8, "eps_inside_sqrt": False}),
        ],
    )
    def test_they_are_made_of_the_hyperparameters_and_the_legacy_defaults(self, hyper, expected):
        made = make_optimizer(hyper).hyperparam.get_dict()
        assert {name: made[name] for name in expected} == expected

    def test_epochs_are_counted(self):
        updater = updater_of(Tiny(), [batch(), batch()])
        updater.get_iterator("main").is_new_epoch = True
        updater.update()
        assert updater.get_optimizer("main").epoch == 1
