import numpy as np
import pytest

import deeppose_port
from converters.networks import TABLES
from deeppose_port.backends.activations import layer_names
from tests.helpers.networks import NARROW, random_checkpoint


@pytest.fixture
def inputs():
    return np.random.RandomState(0).randn(1, 3, 220, 220).astype(np.float32)


def load(checkpoint, backend):
    pytest.importorskip(f"deeppose_port.backends.{backend}.prediction")
    return deeppose_port.load(checkpoint, backend=backend)


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_layer_of_every_architecture_has_a_name_of_its_own(name):
    names = layer_names(TABLES[name])
    assert all(names)
    assert len(set(names)) == len(names)


def test_layers_without_weights_are_named_after_the_last_one_with():
    names = layer_names(TABLES["alexnet"])
    assert names[:5] == ["conv1", "conv1.relu", "conv1.max_pooling", "norm1", "conv2"]
    assert names[-4:] == ["fc7", "fc7.relu", "fc7.dropout", "fc8"]


def test_residual_blocks_come_after_their_parts():
    names = layer_names(TABLES["resnet50"])
    first = names.index("res2.a.conv1")
    assert names[first + 7 : first + 12] == ["res2.a.bn3", "res2.a.conv4", "res2.a.bn4", "res2.a", "res2.a.relu"]


@pytest.mark.parametrize("backend", ["torch", "chainer", "onnx"])
@pytest.mark.parametrize("name", sorted(NARROW))
def test_last_layer_s_output_is_the_network_s(name, backend, inputs):
    pose = load(random_checkpoint(name), backend)
    steps = list(pose.activations(inputs))
    assert [layer for layer, _ in steps] == layer_names(TABLES[name])
    last, outputs = steps[-1][1], pose(inputs)
    if name == "alexnet":  # whose products another library makes where nobody looks at them, but in Chainer
        assert np.abs(last - outputs).max() <= (0 if backend == "chainer" else 1e-6 * np.abs(outputs).max())
    else:  # whose BatchNormalization is folded to answer, not to be looked at
        assert np.abs(last - outputs).max() <= 2e-6 * np.abs(outputs).max()
    assert all(output.dtype == np.float32 for _, output in steps)
    outputs = dict(steps)
    if name == "alexnet":
        assert np.array_equal(outputs["conv3.relu"], outputs["conv3"].clip(min=0)), "each is kept as it was"
    if name == "resnet50":
        total = outputs["res3.a.bn3"] + outputs["res3.a.bn4"]  # which an engine may fuse with what is before it
        assert np.abs(outputs["res3.a"] - total).max() <= (2e-6 * np.abs(total).max() if backend == "onnx" else 0)


@pytest.mark.parametrize("backend", ["torch", "chainer"])
def test_nudged_layers_are_moved_by_one_unit_in_the_last_place(backend, inputs):
    pose = load(random_checkpoint(), backend)
    nudged = list(pose.activations(inputs, nudged=True))
    assert all(
        np.array_equal(one, other) for (_, one), (_, other) in zip(nudged, pose.activations(inputs, True), strict=True)
    )
    outputs = dict(nudged)
    # ReLU of a map that was moved, and then moved itself: two units at most, and none where nothing was positive.
    before, after = outputs["conv3"].clip(min=0), outputs["conv3.relu"]
    assert (before != after).mean() > 0.4
    np.testing.assert_array_max_ulp(before[before > 0], after[before > 0], maxulp=1)
