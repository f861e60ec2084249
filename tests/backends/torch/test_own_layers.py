"""Each layer that tables know, against PyTorch's own function of that name."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

import deeppose_port
from converters.networks.formulas import FUNCTIONS
from deeppose_port.backends.torch import load
from tests.helpers.layers import CHANNELS, LAYERS, WIDTH, maps_of, network_of


def depthwise(x, w):
    weight = w["conv.weight"].permute(1, 0, 2, 3).reshape(12, 1, 3, 3)
    return F.conv2d(x, weight, w["conv.bias"], 2, 1, groups=6)


def normalised(x, w, eps=2e-5, gamma=True, beta=True):
    factor = w["bn.weight"] if gamma else None
    return F.batch_norm(
        x, w["bn.running_mean"], w["bn.running_var"], factor, w["bn.bias"] if beta else None, False, 0, eps
    )


def lrn(x, n, alpha, beta, k):
    return F.local_response_norm(x, n, alpha * n, beta, k)


def soft_argmax(x):
    weights = x.double().flatten(2).softmax(2).reshape(x.shape)
    rows, columns = ((torch.arange(side) + 0.5) / side - 0.5 for side in x.shape[2:])
    x, y = (weights * columns).sum((2, 3)), (weights * rows[:, None]).sum((2, 3))
    return torch.stack([x, y], 2).float()


def channels(vector):
    return vector.reshape(1, -1, 1, 1)


#: Name of a layer -> what PyTorch computes.
EXPECTED = {
    "convolution": lambda x, w: F.conv2d(x, w["conv.weight"], w["conv.bias"], (2, 1), (1, 2)),
    "grouped": lambda x, w: F.conv2d(x, w["conv.weight"], groups=2),
    "dilated": lambda x, w: F.conv2d(x, w["conv.weight"], w["conv.bias"], 1, 2, 2),
    "depthwise": depthwise,
    "transposed": lambda x, w: F.conv_transpose2d(x, w["conv.weight"], w["conv.bias"], 2, 1),
    "transposed more": lambda x, w: F.conv_transpose2d(x, w["conv.weight"], None, 2, 1, 1, 2),
    "linear": lambda x, w: F.linear(x.flatten(1), w["fc.weight"], w["fc.bias"]),
    "linear without bias": lambda x, w: F.linear(x.flatten(1), w["fc.weight"]),
    "normalised": normalised,
    "normalised with its own eps": lambda x, w: normalised(x, w, 1e-3),
    "normalised without gamma": lambda x, w: normalised(x, w, gamma=False),
    "normalised without beta": lambda x, w: normalised(x, w, beta=False),
    "normalised by the batch": lambda x, w: F.batch_norm(x, None, None, w["bn.weight"], w["bn.bias"], True, 0, 1e-2),
    "prelu": lambda x, w: F.prelu(x, w["prelu.weight"].reshape(1)),
    "prelu of a vector": lambda x, w: F.prelu(x, w["prelu.weight"]),
    "prelu per channel": lambda x, w: F.prelu(x, w["prelu.weight"]),
    "scale": lambda x, w: x * channels(w["scale.weight"]),
    "scale with bias": lambda x, w: x * channels(w["scale.weight"]) + channels(w["scale.bias.bias"]),
    "relu": lambda x, w: F.relu(x),
    "leaky relu": lambda x, w: F.leaky_relu(x, 0.2),
    "clipped relu": lambda x, w: x.clamp(0, 0.5),
    "elu": lambda x, w: F.elu(x, 0.7),
    "selu": lambda x, w: F.selu(x),
    "sigmoid": lambda x, w: torch.sigmoid(x),
    "tanh": lambda x, w: torch.tanh(x),
    "softplus": lambda x, w: torch.log1p(torch.exp(2 * x)) / 2,
    "gelu": lambda x, w: F.gelu(x),
    **{name: lambda x, w, name=name: getattr(torch, name)(x) for name in FUNCTIONS},
    "mean along an axis": lambda x, w: x.mean(2),
    "sum along axes": lambda x, w: x.sum((2, 3)),
    "largest along all": lambda x, w: x.amax((1, 2, 3))[:, None],
    "softmax": lambda x, w: F.softmax(x, 3),
    "linear along the last axis": lambda x, w: F.linear(x, w["fc.weight"], w["fc.bias"]),
    "margin as in a mirror": lambda x, w: F.pad(x, (3, 0, 1, 2), "reflect"),
    "margin of the border": lambda x, w: F.pad(x, (1, 1, 0, 14), "replicate"),
    "margin of the other side": lambda x, w: F.pad(x, (0, 11, 3, 1), "circular"),
    "a factor": lambda x, w: x * channels(w["a.b"]),
    "a difference": lambda x, w: x - channels(w["a.b"]),
    "a quotient by a buffer": lambda x, w: x / channels(w["a.b"]),
    "numbers": lambda x, w: x * channels(torch.tensor([0.5, 2.0, -1.0, 3.0, 0.25, 1.0])),
    "coordinates": lambda x, w: x + torch.arange(WIDTH) / WIDTH,
    "an offset": lambda x, w: x + w["offset"],
    "bilinear": lambda x, w: F.interpolate(x, scale_factor=(2, 3), mode="bilinear"),
    "bilinear by corners": lambda x, w: F.interpolate(x, (17, 25), mode="bilinear", align_corners=True),
    "bilinear and smaller": lambda x, w: F.interpolate(x, (5, 4), mode="bilinear"),
    "bilinear to a line": lambda x, w: F.interpolate(x, (1, 30), mode="bilinear", align_corners=True),
    "nearest": lambda x, w: F.interpolate(x, (29, 7)),
    "group normalised": lambda x, w: F.group_norm(x, 3, w["gn.weight"], w["gn.bias"], 1e-2),
    "group normalised without gamma": lambda x, w: F.group_norm(x, 2, None, w["gn.bias"]),
    "instance normalised": lambda x, w: F.instance_norm(x),
    "layer normalised": lambda x, w: F.layer_norm(x, x.shape[2:], w["ln.weight"], w["ln.bias"], 1e-2),
    "layer normalised without beta": lambda x, w: F.layer_norm(x, x.shape[1:], w["ln.weight"]),
    "layer normalised by the last axis": lambda x, w: F.layer_norm(x, (WIDTH,), w["ln.weight"], w["ln.bias"]),
    "max pooling": lambda x, w: F.max_pool2d(x, (3, 2), 2, 1),
    "max pooling that covers": lambda x, w: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
    "max pooling that covers with a margin alone": None,  # PyTorch has no such window
    "max pooling that rounds up": lambda x, w: F.max_pool2d(x, 2, 3, 1, ceil_mode=True),
    "average pooling": lambda x, w: F.avg_pool2d(x, (3, 2), 2, 1),
    "average pooling of what is there": lambda x, w: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "average pooling that rounds up": lambda x, w: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
    "average pooling that rounds up what is there": lambda x, w: F.avg_pool2d(
        x, 2, 3, 1, ceil_mode=True, count_include_pad=False
    ),
    "adaptive average pooling": lambda x, w: F.adaptive_avg_pool2d(x, (4, 3)),
    "adaptive max pooling": lambda x, w: F.adaptive_max_pool2d(x, 5),
    "global average pooling": lambda x, w: x.mean((2, 3)),
    "global max pooling": lambda x, w: x.amax((2, 3)),
    "upsampling": lambda x, w: F.interpolate(x, scale_factor=(2, 3), mode="nearest"),
    "padding": lambda x, w: F.pad(x, (0, 3, 1, 2)),
    "lrn": lambda x, w: lrn(x, 5, 0.3, 0.6, 1.5),
    "even lrn": lambda x, w: lrn(x, 4, 0.3, 0.75, 1.0),
    "dropout": lambda x, w: x,
    "affine": lambda x, w: x / 4 - 3,
    "flatten": lambda x, w: x,
    "reshape": lambda x, w: x.reshape(len(x), 2, -1, WIDTH),
    "transpose": lambda x, w: x.permute(0, 2, 3, 1),
    "slice": lambda x, w: x[:, 1:4],
    "soft-argmax": lambda x, w: soft_argmax(x),
    "residual": lambda x, w: x + F.conv2d(F.relu(x), w["conv.weight"], w["conv.bias"], 1, 1),
    "product": lambda x, w: x * torch.sigmoid(x.mean((2, 3), keepdim=True)),
    "concat": lambda x, w: torch.cat([x, torch.tanh(F.conv2d(x, w["conv.weight"], w["conv.bias"]))], 1),
    "named": lambda x, w: x + 2 * torch.tanh(x),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_is_pytorchs(name):
    if EXPECTED[name] is None:
        pytest.skip("PyTorch's own has no window of margin alone")
    checkpoint, inputs = network_of(LAYERS[name])
    expected = EXPECTED[name](
        torch.from_numpy(maps_of(inputs)), {k: torch.tensor(v) for k, v in checkpoint.weights.items()}
    )
    outputs = deeppose_port.backends.torch.predictor(checkpoint)(inputs)
    torch.testing.assert_close(torch.from_numpy(outputs), expected.flatten(1), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_trains(name):
    checkpoint, inputs = network_of(LAYERS[name])
    network = load(checkpoint).train()
    network(torch.from_numpy(inputs)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_a_buffer_is_not_trained():
    checkpoint, _ = network_of(LAYERS["a quotient by a buffer"])
    assert checkpoint.architecture.buffers == {"a.b"}
    assert "a.b" not in dict(load(checkpoint).named_parameters())
    assert checkpoint.parameters == checkpoint.weights["first.weight"].size


def test_relu_in_place_leaves_alone_what_another_branch_goes_on_with():
    from converters.networks import Name, ReLU, Take

    checkpoint, inputs = network_of(Name("x"), ReLU(), Take(("x",)))
    np.testing.assert_array_equal(
        deeppose_port.backends.torch.predictor(checkpoint)(inputs), maps_of(inputs).reshape(len(inputs), -1)
    )


@pytest.mark.parametrize("whole", [False, True])
def test_dropout_of_whole_maps(whole):
    from converters.networks import Dropout

    checkpoint, inputs = network_of(Dropout(0.5, channels=whole))
    torch.manual_seed(0)
    maps = maps_of(inputs)
    outputs = load(checkpoint).train()(torch.from_numpy(inputs)).detach().numpy().reshape(maps.shape)
    dropped = (outputs == 0) & (maps != 0)
    assert dropped.any()
    np.testing.assert_allclose(outputs[~dropped], 2 * maps[~dropped], rtol=1e-6)
    kept = (~dropped & (maps != 0)).any((2, 3))
    assert (dropped.any((2, 3)) & kept).any() != whole


def test_the_channels_are_those_of_the_helper():
    assert maps_of(network_of()[1]).shape[1] == CHANNELS
