"""Folding, in closed form: one pixel, one channel."""

import numpy as np
import pytest

from converters.networks import BatchNormalization, Convolution, Linear, Residual, batch_normalization_rules
from converters.networks.fold import fold

WEIGHTS = {
    "conv.weight": np.full((1, 1, 1, 1), 3.0, np.float32),
    "conv.bias": np.array([5.0], np.float32),
    "bn.weight": np.array([2.0], np.float32),
    "bn.bias": np.array([7.0], np.float32),
    "bn.running_mean": np.array([11.0], np.float32),
    "bn.running_var": np.array([4.0], np.float32),
    "bn.num_batches_tracked": np.array(0),
}
LAYERS = (Convolution("conv", 1, 1), BatchNormalization("bn"))
NO_EPS, EPS = batch_normalization_rules("chainer-1.13.0"), batch_normalization_rules("chainer-7.8.1")


def test_one_pixel():
    layers, weights = fold(LAYERS, WEIGHTS, NO_EPS)
    assert layers == LAYERS[:1]
    # 2 * (3 x + 5 - 11) / sqrt(4) + 7 = 3 x + 1
    assert {name: array.item() for name, array in weights.items()} == {"conv.weight": 3.0, "conv.bias": 1.0}


def test_the_writers_eps_counts():
    _, weights = fold(LAYERS, {**WEIGHTS, "bn.running_var": np.array([1e-5], np.float32)}, EPS)
    assert weights["conv.weight"].item() == pytest.approx(
        3 * 2 / np.sqrt(np.float64(np.float32(1e-5)) + 2e-5), rel=1e-7
    )


def test_a_layer_without_bias_gets_one():
    without = {name: array for name, array in WEIGHTS.items() if name != "conv.bias"}
    layers, weights = fold((Convolution("conv", 1, 1, bias=False), LAYERS[1]), without, NO_EPS)
    assert layers == LAYERS[:1]
    assert weights["conv.bias"].item() == 7 - 11


def test_it_goes_into_blocks_and_leaves_the_weights_as_they_are():
    before = {name: array.copy() for name, array in WEIGHTS.items()}
    layers, _ = fold((Residual(LAYERS),), WEIGHTS, NO_EPS)
    assert layers == (Residual(LAYERS[:1]),)
    assert all(np.array_equal(before[name], array) for name, array in WEIGHTS.items())


@pytest.mark.parametrize(
    "layers",
    [
        (BatchNormalization("bn"), Convolution("conv", 1, 1)),
        (Convolution("conv", 1, 1), BatchNormalization("bn", batch=True)),
        (Residual((Convolution("conv", 1, 1),)), BatchNormalization("bn")),
        (BatchNormalization("bn"), Linear("conv", 1)),
    ],
)
def test_what_does_not_follow_a_layer_with_a_matrix_stays(layers):
    assert fold(layers, WEIGHTS, NO_EPS) == (layers, WEIGHTS)


def test_what_is_not_finite_stays():
    assert fold(LAYERS, {**WEIGHTS, "bn.running_var": np.zeros(1, np.float32)}, NO_EPS)[0] == LAYERS
