import importlib.util

import numpy as np
import pytest

from deeppose_port.training.hyperparameters import Hyperparameters
from tests.helpers.trainings import rule_error

if importlib.util.find_spec("chainer") is None:
    pytest.skip("Chainer is not installed", allow_module_level=True)

from deeppose_port.backends.chainer.networks import chainer
from deeppose_port.backends.chainer.optimizers import Rates, make_optimizer


class Two(chainer.Chain):
    """A matrix and a vector."""

    def __init__(self, matrix, vector):
        super().__init__()
        with self.init_scope():
            self.matrix = chainer.Parameter(np.array(matrix, np.float32))
            self.vector = chainer.Parameter(np.array(vector, np.float32))


@pytest.fixture
def start():
    random = np.random.default_rng(0)
    return random.normal(size=(7, 5)), random.normal(size=7)


def follow(optimizer, target, rates, steps=20):
    """Makes updates; returns the gradients."""
    random = np.random.default_rng(1)
    given = []
    for step in range(steps):
        rates.set(0.01 * (1 + step % 3))
        for parameter in (target.matrix, target.vector):
            parameter.grad = (random.normal(size=parameter.shape) * 10 ** random.uniform(-9, 0)).astype(np.float32)
        given.append((target.matrix.grad.copy(), target.vector.grad.copy()))
        optimizer.update()
    return given


def test_adamw_is_pytorchs_with_a_decay_of_what_has_dimensions(start):
    torch = pytest.importorskip("torch")
    target = Two(*start)
    optimizer = make_optimizer(Hyperparameters("adamw", lr=0.01, weight_decay=0.1)).setup(target)
    gradients = follow(optimizer, target, Rates(optimizer))
    theirs = [torch.nn.Parameter(torch.tensor(values, dtype=torch.float32)) for values in start]
    groups = [{"params": theirs[:1], "weight_decay": 0.1}, {"params": theirs[1:], "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, lr=0.01)
    for step, pair in enumerate(gradients):
        for group in reference.param_groups:
            group["lr"] = 0.01 * (1 + step % 3)
        for parameter, gradient in zip(theirs, pair, strict=True):
            parameter.grad = torch.from_numpy(gradient)
        reference.step()
    for mine, other, first in zip((target.matrix, target.vector), theirs, start, strict=True):
        assert rule_error(mine.array, other.detach().numpy(), first.astype(np.float32)) <= 1e-6


@pytest.mark.parametrize("algorithm", ["adamw", "adam", "momentumsgd", "adagrad", "rmsprop"])
def test_a_factor_on_one_rate_is_that_rate(algorithm, start):
    hyper = Hyperparameters(algorithm, lr=0.01, weight_decay=0.1 if algorithm == "adamw" else 0.0)
    scaled, whole, slow = Two(*start), Two(*start), Two(*start)
    for target, scales, factor in ((scaled, {"/matrix": 0.25}, 1.0), (whole, {}, 1.0), (slow, {}, 0.25)):
        optimizer = make_optimizer(hyper).setup(target)
        rates = Rates(optimizer, scales)
        rates.set, given = (lambda rate, set=rates.set, factor=factor: set(rate * factor)), None
        given = follow(optimizer, target, rates)
        assert len(given) == 20
    np.testing.assert_array_equal(scaled.matrix.array, slow.matrix.array)
    np.testing.assert_array_equal(scaled.vector.array, whole.vector.array)
    assert not np.array_equal(scaled.matrix.array, whole.matrix.array)
