"""Layers that add and rectify in one pass answer as the same layers one by one."""

import copy
import pickle

import pytest
import torch

from converters import Architecture
from converters.networks import (
    BatchNormalization,
    Convolution,
    Linear,
    MaxPooling,
    Name,
    OwnTable,
    Parallel,
    ReLU,
    Residual,
    Take,
)
from deeppose_port.backends.torch import build, fused
from deeppose_port.backends.torch.fused import Fused, can_fuse

#: Sums of every kind: of a branch and its input, of two branches, of one that ends otherwise, of a value with a name.
LAYERS = (
    Convolution("conv1", 6, 3, pad=1),
    ReLU(),
    Name("early"),
    Residual((Convolution("a1", 4, 1, bias=False), ReLU(), Convolution("a2", 6, (3, 1), pad=(1, 0))), ()),
    ReLU(),
    Residual((Convolution("b1", 8, 3, stride=2, pad=1),), (Convolution("b2", 8, 1, stride=2),)),
    Residual((MaxPooling(3, 1, 1),), (Convolution("c2", 8, 3, pad=2, dilation=2, groups=2),)),
    ReLU(),
    Parallel(((Convolution("d1", 4, 1), ReLU()), ()), "concat"),
    Name("late"),
    Take(("early",), "sum"),
    Convolution("e1", 12, 2, stride=2),
    Take(("late",), "sum"),
    ReLU(),
    Linear("fc1", 9, bias=False),
    ReLU(),
    Linear("fc", 6),
)


INPUTS = torch.randn(3, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def built(dtype=torch.float32, layers=LAYERS):
    torch.manual_seed(0)
    network = build(Architecture("own", 3, own=OwnTable(layers, (12, 12)))).eval().to(dtype)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.fill_(1)
    return network


def test_it_answers_as_layer_by_layer():
    network = built()
    if not can_fuse(network):
        pytest.skip("oneDNN is not here, or this is no x86")
    calls = []
    fused = Fused(network)
    fused._network._layer = lambda layer, x: calls.append(layer) or type(network)._layer(network, layer, x)
    with torch.inference_mode():
        expected = built(torch.float64)(INPUTS.double())
        for inputs in (INPUTS, INPUTS.contiguous(memory_format=torch.channels_last), INPUTS[:1]):
            before = inputs.clone()
            outputs = fused(inputs)
            assert (outputs - expected[: len(inputs)]).abs().max() <= 1e-5 * expected.abs().max()
            assert torch.equal(inputs, before)
    assert not any(isinstance(layer, Convolution | Linear) for layer in calls)
    assert sum(isinstance(layer, ReLU) for layer in calls) == 3  # behind a `Take`, of each call


@pytest.mark.parametrize(
    ("layers", "threads", "parts"),
    [
        (LAYERS, 1, [2, 2, 1]),
        (LAYERS, 2, [2, 2, 1]),
        (LAYERS, 3, [5]),
        (LAYERS[:-3], 1, [2, 2, 1]),
        ((LAYERS[0], BatchNormalization("bn1", batch=True), *LAYERS[1:]), 1, [5]),
        ((*LAYERS[:3], Linear("fc1", 6), Take(("early",), "sum"), Linear("fc2", 6)), 1, [5]),
    ],
    ids=[
        "features",
        "by two threads",
        "less than two pictures for each thread",
        "maps alone",
        "pictures that depend on each other",
        "maps that are used behind",
    ],
)
def test_maps_of_a_large_batch_are_made_in_parts_and_features_at_once(monkeypatch, layers, threads, parts):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(fused, "_MAPS", 2 * 6 * 12 * 12 * 4)  # the largest of two pictures
    network = built(layers=layers)
    if not can_fuse(network):
        pytest.skip("oneDNN is not here, or this is no x86")
    counts = {"fc": []}
    runs = Fused(network)

    def counted(compute):
        def wrapped(layer, x, *more):
            counts.setdefault(layer.name, []).append(len(x))
            return compute(layer, x, *more)

        return wrapped

    for method in ("_convolution", "_linear"):
        monkeypatch.setattr(runs, method, counted(getattr(runs, method)))

    inputs = torch.randn(5, 3, 12, 12, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected = built(torch.float64, layers)(inputs.double())
        outputs = runs(inputs)
    assert (outputs - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert sorted(counts["conv1"], reverse=True) == parts
    assert counts["fc"] in ([], [5])


@pytest.mark.parametrize("what", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_left_to_the_layers(what):
    network = built()
    with torch.no_grad():
        network.get_parameter("fc.bias")[0] = what
    assert not can_fuse(network)


def test_a_diverged_network_whose_sums_overflow_is_left_to_the_layers():
    network = built()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1e20)
        assert network(INPUTS).isnan().all()
    assert not can_fuse(network)


def test_it_is_copied_and_sent_after_it_has_answered():
    network = built()
    if not can_fuse(network):
        pytest.skip("oneDNN is not here, or this is no x86")
    fused = Fused(network)
    with torch.inference_mode():
        answer = fused(INPUTS)
        assert torch.equal(copy.deepcopy(fused)(INPUTS), answer)
        assert torch.equal(pickle.loads(pickle.dumps(fused))(INPUTS), answer)
