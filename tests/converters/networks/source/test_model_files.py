"""Networks that people published, written down as source in their time's style: they give the tables that exist."""

import dataclasses
from pathlib import Path

import pytest
from packaging.version import Version

from converters.errors import DeepPoseError
from converters.families import naming
from converters.networks import (
    Architecture,
    AveragePooling,
    BatchNormalization,
    ClippedReLU,
    Convolution,
    Dropout,
    Flatten,
    GlobalAveragePooling,
    Linear,
    MaxPooling,
    ReLU,
    Residual,
    Take,
    walk,
)
from converters.networks.source import Candidate, choose, differences
from converters.networks.source.forward import follow
from converters.networks.source.making import Source, make
from converters.networks.source.text import parse, read_text
from tests.helpers import sources
from tests.helpers.sources import TORCH, reads_as, renamed, shapes_of

FOLDER = Path(__file__).parent / "model_files"


def read(name, shapes, *, version="1.13.0", size=220, class_name=None):
    file = Candidate(FOLDER / name, class_name, asked=True)
    return choose([file], shapes, lambda era: Version(version), (size, size)).network


def anew(name, class_name, *, version="7.8.1", size=220):
    """A network as its file alone gives it."""
    source = Source(name, parse(read_text(FOLDER / name), name), Version(version))
    return follow(make(source, class_name, {}), {}, (size, size))


#: File -> architecture, joints that the file can have, Chainer's version, side of the input, names of the layers there.
HISTORY = [
    ("alexnet_functionset.py", "alexnet_bn", 7, "1.1.0", 220, ()),
    ("alexnet_functionset_tanh.py", "alexnet-2015-tanh", 7, "1.1.0", 220, ()),
    ("alexnet_prelu.py", "alexnet_bn_prelu", 7, "1.1.0", 220, ()),
    ("alexnet_flic.py", "alexnet", 7, "1.5.1", 220, ()),
    ("alexnet.py", "alexnet", 16, "1.13.0", 220, ()),
    ("vgg_functionset.py", "vgg16", 7, "1.1.0", 220, "2015"),
    ("vgg_bn.py", "vgg_bn", 16, "1.13.0", 220, ()),
    ("resnet50.py", "resnet50", 14, "1.13.0", 220, ()),
    ("rewrite2019.py", "deeppose2019", 11, "6.7.0", 220, "2019"),
    ("takiyu.py", "alexnet-takiyu", 9, "1.13.0", 220, ()),
    ("ynaka81_chainer.py", "alexnet-ynaka81", 14, "1.19.0", 227, ()),
    ("hosseinpai.py", "alexnet-hosseinpai", 14, "7.8.1", 220, ()),
    ("voqtuyen.py", "alexnet-torchvision", 14, "7.8.1", 224, ()),
]


@pytest.mark.parametrize(("file", "name", "joints", "version", "size", "names"), HISTORY)
def test_it_is_the_table_that_exists_layer_for_layer(file, name, joints, version, size, names):
    expected = Architecture.full_size(name, joints, im_size=size).layers
    if names:
        expected = renamed(expected, naming(name)[names])
    network = read(file, shapes_of(expected, (size, size)), version=version, size=size)
    assert network.layers == expected
    assert network.outputs == 2 * joints


def test_the_resnet_of_mid_2016_has_its_own_names_and_a_window_of_7():
    expected = renamed(Architecture.full_size("resnet50", 14).layers, naming("resnet50")["mid-2016"])
    network = read("resnet50_mid_2016.py", shapes_of(expected), version="1.10.0")
    assert network.layers == tuple(
        AveragePooling(7, 1) if isinstance(layer, GlobalAveragePooling) else layer for layer in expected
    )
    assert differences(expected, network.layers, (220, 220)) == []


def test_ynaka81_s_network_in_pytorch_is_the_one_in_chainer_at_its_own_size():
    expected = Architecture.full_size("alexnet-ynaka81", 14, im_size=227).layers
    network = read("ynaka81_torch.py", shapes_of(expected, (227, 227)))  # which finds the size, too
    assert network.input_size == (227, 227)
    assert differences(expected, network.layers, (227, 227)) == []
    assert {layer.cover_all for layer in network.layers if isinstance(layer, MaxPooling)} == {False}


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_naman_ntc_s_depth_is_told_by_the_shapes(depth):
    expected = renamed(Architecture.full_size(f"resnet{depth}-torchvision", 16, im_size=256).layers, [("^", "resnet.")])
    assert read("naman_ntc.py", shapes_of(expected), size=256).layers == expected


def test_naman_ntc_s_network_of_torchvision_0_2_pools_by_a_window(tmp_path):
    table = renamed(Architecture.full_size("resnet50-torchvision", 16, im_size=256).layers, [("^", "resnet.")])
    pooled = tuple(AveragePooling(7, 1) if isinstance(layer, GlobalAveragePooling) else layer for layer in table)
    shapes = shapes_of(pooled, (256, 256))
    assert shapes["resnet.fc.weight"] == (32, 4 * 2048)
    text = (FOLDER / "naman_ntc.py").read_text().replace("512 * (4", "4 * 512 * (4")
    assert "4 * 512" in text
    assert reads_as(tmp_path, text, pooled, size=(256, 256)) == pooled


def test_jindongjiang_s_vgg_with_a_replaced_last_layer():
    expected = renamed(Architecture.full_size("vgg16_bn-torchvision", 14, im_size=224).layers, [("^", "model.")])
    assert read("jindongjiang.py", shapes_of(expected, (224, 224)), size=224).layers == expected


def test_a_resnet_cut_by_its_children_is_numbered_anew():
    numbers = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
    cut = [(rf"^{name}(\.|$)", rf"backbone.{number}\1") for name, number in numbers.items()]
    expected = renamed(Architecture.full_size("resnet34-torchvision", 16, im_size=224).layers, cut)
    assert read("children_cut.py", shapes_of(expected), size=224).layers == expected


def test_a_vgg_s_features_with_another_head():
    network = anew("vgg_head.py", "Regressor", size=224)
    names = [layer.name for layer in network.layers if hasattr(layer, "name")]
    assert (names[0], names[-3:]) == ("features.0", ["features.34", "fc.0", "fc.3"])
    assert sum(isinstance(layer, Convolution) for layer in network.layers) == 16


def test_a_student_s_mobilenet():
    network = anew("mobilenet.py", "MobileNet")
    convolutions = [layer for layer in network.layers if isinstance(layer, Convolution)]
    assert [c.groups for c in convolutions[:5]] == [1, 32, 1, 64, 1]
    assert sum(isinstance(layer, ClippedReLU) and layer.maximum == 6.0 for layer in network.layers) == 27
    assert shapes_of(network.layers)["regress.weight"] == (34, 1024)


def test_stages_that_share_features_have_named_values():
    network = anew("boyu_ai.py", "DeepPose")
    shapes = shapes_of(network.layers)
    assert shapes["regression_layers.1.0.weight"] == (512, 2048 + 34, 3, 3)
    assert shapes["fc_layers.2.weight"] == (34, 34)
    assert "backbone.7.2.conv3.weight" in shapes
    assert any("3 answers" in notice for notice in network.notices)
    # The other stages' answers lead nowhere.
    assert not any(name.startswith(("fc_layers.0.", "fc_layers.1.")) for name in shapes)


def test_what_a_network_is_made_with_is_solved_from_the_shapes():
    narrow = tuple(
        dataclasses.replace(layer, channels=layer.channels // 2, groups=max(1, layer.groups // 2))
        if isinstance(layer, Convolution)
        else dataclasses.replace(layer, channels=2 * 9)
        if isinstance(layer, Linear)
        else layer
        for layer in anew("mobilenet.py", "MobileNet").layers
    )
    network = read("mobilenet.py", shapes_of(narrow))
    assert network.layers == narrow
    assert network.outputs == 18


def test_residual_blocks_are_blocks():
    network = anew("resnet50.py", "ResNet50", version="1.13.0")
    assert sum(isinstance(layer, Residual) for layer in network.layers) == 16
    assert not any(isinstance(layer, Take | Flatten) for layer in walk(network.layers))
    assert [type(layer) for layer in network.layers[:4]] == [Convolution, BatchNormalization, ReLU, MaxPooling]
    assert not any(isinstance(layer, Dropout) for layer in network.layers)


def test_a_file_may_have_many_statements_none_of_which_is_long():
    parse("x = f(1, 2)\n" * 2000, "net.py")
    with pytest.raises(DeepPoseError, match="longer or nested deeper than any network's"):
        parse(f"x = [{'1, ' * 9000}]\n", "net.py")


@pytest.mark.parametrize(
    ("word", "fixed"),
    [
        ("h.flatten(1)", False),
        ("h.view(-1, 900)", False),
        ("h.unsqueeze(1).flatten(1)", True),
        ("h.squeeze(1).flatten(1)", True),
    ],
)
def test_a_side_that_is_added_or_dropped_makes_a_network_one_for_a_single_size(word, fixed, tmp_path):
    text = f"""{TORCH}
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 1, 3), nn.Linear(900, 14)

    def forward(self, x):
        h = self.conv(x)
        return self.fc({word})
"""
    shapes = {"conv.weight": (1, 3, 3, 3), "conv.bias": (1,), "fc.weight": (14, 900), "fc.bias": (14,)}
    assert sources.read(tmp_path, text, shapes, size=(32, 32)).network.fixed is fixed
