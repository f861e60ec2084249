"""What Keras's own configuration of a whole model says, against the network into which its arrays are read."""

import copy
import gzip
import json

import numpy as np
import pytest

import converters
from converters.families.hourglass import stacked_hourglass
from converters.families.keras_configuration import contradictions
from converters.networks import Architecture, OwnTable
from tests.helpers.checkpoint_files import refused
from tests.helpers.keras import fill

#: A convolution within a bottleneck with its neighbours, in Keras's own numbers of this file: the kinds begin there.
CONVOLUTION, NORMALIZATION = ("conv2d", 194), ("batch_normalization", 185)
#: What Keras calls the arrays of a batch normalisation.
PARTS = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
TABLE = stacked_hourglass(4, 1, 16, (8, 8, 16))


@pytest.fixture(scope="module")
def config(golden):
    """What Keras 2.15 wrote of a narrow hourglass of 4 stacks."""
    return json.loads(gzip.decompress((golden / "keras-hourglass" / "model_config.json.gz").read_bytes()))


def layer_of(config, kind, number):
    first = kind[1]
    (found,) = (each for each in config["config"]["layers"] if each["name"] == f"{kind[0]}_{first + number}")
    return found


def called(config):
    """Returns the names of layers as they are here, each kind numbered from 0."""
    names = {}
    for kind, first in (CONVOLUTION, NORMALIZATION):
        for layer in config["config"]["layers"]:
            head, _, number = layer["name"].rpartition("_")
            if head == kind and number.isdigit():
                names[layer["name"]] = f"{kind}_{int(number) - first}" if int(number) > first else kind
    return names


def said(config):
    return contradictions({"model_config": config, "layer_names": called(config)}, TABLE)


@pytest.fixture
def edited(config):
    return copy.deepcopy(config)


def test_keras_own_agrees(config):
    assert said(config) == []


@pytest.mark.parametrize("as_text", [False, True])
def test_operators_as_earlier_versions_of_tensorflow_write_them_agree(edited, as_text):
    for layer in edited["config"]["layers"]:
        if layer["class_name"] == "TFOpLambda":
            ((x, _, _, told),) = layer["inbound_nodes"]
            node = {"name": "add", "op": "AddV2"}
            layer["class_name"], layer["config"] = (
                "TensorFlowOpLayer",
                {"node_def": json.dumps(node) if as_text else node},
            )
            layer["inbound_nodes"] = [[[x, 0, 0, {}], [told["y"][0], 0, 0, {}]]]
        elif layer["class_name"] == "ReLU":
            layer["class_name"], layer["config"] = "TFOpLambda", {"function": "nn.relu"}
    assert said(edited) == []


@pytest.mark.parametrize(
    ("kind", "number", "settings", "phrase"),
    [
        (CONVOLUTION, 5, {"strides": [2, 2]}, "conv2d_5 with stride 2 instead of 1"),
        (CONVOLUTION, 3, {"padding": "valid"}, "conv2d_3 with pad 0 instead of 1"),
        (CONVOLUTION, 5, {"dilation_rate": [2, 2]}, "conv2d_5 with dilation 2 instead of 1"),
        (CONVOLUTION, 5, {"activation": "relu"}, "ReLU besides"),
        (CONVOLUTION, 5, {"use_bias": False}, "conv2d_5 with bias False instead of True"),
        (NORMALIZATION, 5, {"epsilon": 1e-5}, "batch_normalization_5 with eps 1e-05 instead of 0.001"),
        (NORMALIZATION, 5, {"scale": False}, "batch_normalization_5 with gamma False instead of True"),
    ],
)
def test_other_settings_are_told(edited, kind, number, settings, phrase):
    layer_of(edited, kind, number)["config"].update(settings)
    assert phrase in said(edited)


@pytest.mark.parametrize(
    ("before", "changes", "phrase"),
    [
        ("ReLU", {"class_name": "Lambda"}, "Lambda instead of ReLU"),
        ("ReLU", {"config": {"negative_slope": 0.1}}, "ReLU with negative_slope 0.1 instead of ReLU"),
        ("ReLU", {"class_name": "Activation", "config": {"activation": "tanh"}}, "tanh instead of ReLU"),
        (
            "MaxPooling2D",
            {"class_name": "AveragePooling2D"},
            "AveragePooling2D instead of MaxPooling kernel 2 stride 2",
        ),
        ("UpSampling2D", {"config": {"size": [2, 2], "interpolation": "bilinear"}}, "bilinear besides"),
    ],
)
def test_other_layers_without_weights_are_told(edited, before, changes, phrase):
    next(layer for layer in edited["config"]["layers"] if layer["class_name"] == before).update(changes)
    (told,) = said(edited)
    assert told.startswith(phrase)


def test_other_ways_through_the_same_layers_are_told(edited):
    swapped = layer_of(edited, CONVOLUTION, 2), layer_of(edited, CONVOLUTION, 5)
    nodes = [layer["inbound_nodes"] for layer in swapped]
    for layer, node in zip(swapped, reversed(nodes), strict=True):
        layer["inbound_nodes"] = node
    assert said(edited) in (
        ["conv2d_2 of ReLU of batch_normalization_4 instead of ReLU of batch_normalization_1"],
        ["it cannot be followed"],  # as what it is given comes later in the file
    )


def test_other_orders_of_stacks_are_told(edited):
    edited["config"]["output_layers"].reverse()
    (phrase,) = said(edited)
    assert "as the answer instead of concat of (conv2d_67" in phrase


@pytest.mark.parametrize("damage", [lambda c: c["config"].pop("output_layers"), lambda c: c["config"]["layers"].pop(3)])
def test_what_cannot_be_followed_contradicts(edited, damage):
    damage(edited)
    assert said(edited) == ["it cannot be followed"]


@pytest.fixture(scope="module")
def file(config, tmp_path_factory):
    """A whole model with Keras's configuration."""
    h5py = pytest.importorskip("h5py")
    layers = {layer["name"]: {} for layer in config["config"]["layers"]}
    names = {here: name for name, here in called(config).items()}
    for key, shape in Architecture("hourglass", 16, own=OwnTable(TABLE, (128, 128))).shapes.items():
        here, _, part = key.rpartition(".")
        if part != "num_batches_tracked":
            part = {"weight": "kernel"}.get(part, part) if here.startswith("conv2d") else PARTS[part]
            shape = [shape[i] for i in (2, 3, 1, 0)] if len(shape) == 4 else shape
            layers[names[here]][part] = np.ones(shape, "f")
    path = tmp_path_factory.mktemp("keras") / "whole.h5"
    with h5py.File(path, "w") as content:
        fill(content.create_group("model_weights"), layers)
        content.attrs["model_config"] = json.dumps(config).encode()
    return path


class TestFiles:
    def test_one_that_agrees_tells_all(self, file):
        checkpoint = converters.read(file)
        assert checkpoint.architecture.stacks == 4
        assert checkpoint.notices == ()

    def test_one_that_contradicts_is_refused_by_what_it_says_last(self, file, edited):
        h5py = pytest.importorskip("h5py")
        path = file.with_name("edited.h5")
        path.write_bytes(file.read_bytes())
        for number in (4, 5):
            layer_of(edited, NORMALIZATION, number)["config"]["epsilon"] = 1e-5
        with h5py.File(path, "a") as content:
            content.attrs["model_config"] = json.dumps(edited).encode()
        told = r"model_config is another network than.*: batch_normalization_4 with eps 1e-05 instead of 0.001; batch_"
        refused(path, told)

    def test_one_that_cannot_be_read_is_said(self, file):
        h5py = pytest.importorskip("h5py")
        path = file.with_name("damaged.h5")
        path.write_bytes(file.read_bytes())
        with h5py.File(path, "a") as content:
            content.attrs["model_config"] = b'{"class_name": "Functional", "config": {"layers": ['
        told = converters.read(path).notices
        assert "its model_config cannot be read, and was not compared with its network" in told
        assert any("halve their maps 4 times" in notice for notice in told)
