"""Each layer that tables know, against Chainer's own function where it has one, and against the PyTorch backend."""

import importlib.util

import numpy as np
import pytest

import deeppose_port.backends
from tests.helpers.layers import LAYERS, WIDTH, maps_of, network_of

if importlib.util.find_spec("chainer") is None:
    pytest.skip("Chainer is not installed", allow_module_level=True)

from deeppose_port.backends.chainer.networks import chainer, load
from deeppose_port.backends.chainer.training import _keys_of_parameters

F = chainer.functions

#: Name of a layer -> what Chainer computes.
EXPECTED = {
    "convolution": lambda x, w: F.convolution_2d(x, w["conv.weight"], w["conv.bias"], (2, 1), (1, 2)),
    "grouped": lambda x, w: F.convolution_2d(x, w["conv.weight"], groups=2),
    "dilated": lambda x, w: F.dilated_convolution_2d(x, w["conv.weight"], w["conv.bias"], 1, 2, 2),
    "depthwise": lambda x, w: F.depthwise_convolution_2d(x, w["conv.weight"], w["conv.bias"], 2, 1),
    "transposed": lambda x, w: F.deconvolution_2d(x, w["conv.weight"], w["conv.bias"], 2, 1),
    "linear": lambda x, w: F.linear(x, w["fc.weight"], w["fc.bias"]),
    "normalised": lambda x, w: F.fixed_batch_normalization(
        x, w["bn.weight"], w["bn.bias"], w["bn.running_mean"], w["bn.running_var"], 2e-5
    ),
    "normalised by the batch": lambda x, w: F.batch_normalization(x, w["bn.weight"], w["bn.bias"], eps=1e-2),
    "prelu per channel": lambda x, w: F.prelu(x, w["prelu.weight"]),
    "scale with bias": lambda x, w: F.bias(F.scale(x, w["scale.weight"]), w["scale.bias.bias"]),
    "leaky relu": lambda x, w: F.leaky_relu(x, 0.2),
    "clipped relu": lambda x, w: F.clipped_relu(x, 0.5),
    "elu": lambda x, w: F.elu(x, 0.7),
    "selu": lambda x, w: F.selu(x),
    "softplus": lambda x, w: F.softplus(x, 2.0),
    "bilinear": lambda x, w: F.resize_images(x, (26, 33), align_corners=False),
    "bilinear by corners": lambda x, w: F.resize_images(x, (17, 25)),
    "bilinear and smaller": lambda x, w: F.resize_images(x, (5, 4), align_corners=False),
    "bilinear to a line": lambda x, w: F.resize_images(x, (1, 30)),
    "nearest": lambda x, w: F.resize_images(x, (29, 7), mode="nearest"),
    "group normalised": lambda x, w: F.group_normalization(x, 3, w["gn.weight"], w["gn.bias"], 1e-2),
    "layer normalised by the last axis": lambda x, w: F.reshape(
        F.layer_normalization(F.reshape(x, (-1, WIDTH)), w["ln.weight"], w["ln.bias"], 1e-5), x.shape
    ),
    "max pooling": lambda x, w: F.max_pooling_2d(x, (3, 2), 2, 1, cover_all=False),
    "max pooling that covers": lambda x, w: F.max_pooling_2d(x, 3, 2, 1),
    "max pooling that covers with a margin alone": lambda x, w: F.max_pooling_2d(x, 2, 3, 1),
    "average pooling": lambda x, w: F.average_pooling_2d(x, (3, 2), 2, 1),
    "upsampling": lambda x, w: F.unpooling_2d(x, (2, 3), (2, 3), cover_all=False),
    "lrn": lambda x, w: F.local_response_normalization(x, 5, 1.5, 0.3, 0.6),
    "concat": lambda x, w: F.concat([x, F.tanh(F.convolution_2d(x, w["conv.weight"], w["conv.bias"]))]),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_layers_are_chainers(name):
    checkpoint, inputs = network_of(LAYERS[name])
    with chainer.using_config("train", False):
        expected = EXPECTED[name](chainer.Variable(maps_of(inputs)), checkpoint.weights).array
    outputs = deeppose_port.backends.get("chainer").predictor(checkpoint)(inputs)
    np.testing.assert_allclose(outputs, expected.reshape(len(inputs), -1), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_both_backends_compute_the_same(name):
    pytest.importorskip("torch")
    checkpoint, inputs = network_of(LAYERS[name])
    one, other = (deeppose_port.backends.get(backend).predictor(checkpoint)(inputs) for backend in ("torch", "chainer"))
    np.testing.assert_allclose(one, other, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_trains(name):
    checkpoint, inputs = network_of(LAYERS[name])
    network = load(checkpoint)
    with chainer.using_config("train", True):
        outputs = network(inputs)
        outputs.grad = np.ones_like(outputs.array)
        outputs.backward()
    assert all(parameter.grad is not None for parameter in network.params())


def test_a_buffer_is_not_trained():
    network = load(network_of(LAYERS["a quotient by a buffer"])[0])
    assert [name for name, _ in network.namedparams()] == ["/first/W"]
    assert _keys_of_parameters(network) == {"first.weight": "first/W"}


def test_dropout_of_whole_maps():
    from converters.networks import Dropout

    checkpoint, inputs = network_of(Dropout(0.5, channels=True))
    with chainer.using_config("train", True):
        outputs = load(checkpoint)(inputs).array.reshape(maps_of(inputs).shape)
    dropped = (outputs == 0).all((2, 3))
    assert dropped.any()
    assert not dropped.all()
    np.testing.assert_allclose(outputs[~dropped], 2 * maps_of(inputs)[~dropped], rtol=1e-6)


def test_a_name_that_chainer_uses_itself_is_refused():
    from converters.networks import Convolution

    checkpoint, _ = network_of(Convolution("copy", 3, 1))
    with pytest.raises(deeppose_port.backends.BackendError, match="cannot have a layer named 'copy'"):
        load(checkpoint)
