"""torchvision's models by name: against the tables that were checked with its own, and its published counts."""

import math

import pytest
from packaging.version import Version

from converters.networks import TABLES, Architecture
from converters.networks.source.forward import follow
from converters.networks.source.making import Source, make
from converters.networks.source.text import parse
from tests.helpers.sources import TORCH, reads_as, renamed, shapes_of

#: Model -> number of parameters, as torchvision publishes it.
PARAMETERS = {
    "alexnet": 61_100_840,
    "densenet121": 7_978_856,
    "densenet161": 28_681_000,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
    "mobilenet_v2": 3_504_872,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "squeezenet1_0": 1_248_424,
    "squeezenet1_1": 1_235_496,
    "vgg11": 132_863_336,
    "vgg11_bn": 132_868_840,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vgg19": 143_667_240,
    "vgg19_bn": 143_678_248,
    "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696,
}

NET = (
    TORCH
    + """
import torchvision

class Net(nn.Module):
    def __init__(self, name='{model}'):
        super().__init__()
        self.net = getattr(torchvision.models, name)(pretrained=True)

    def forward(self, x):
        return self.net(x)
"""
)


def network(text):
    source = Source("net.py", parse(text, "net.py"), Version("7.8.1"))
    return follow(make(source, "Net", {}), {}, (224, 224))


@pytest.mark.parametrize("model", PARAMETERS)
def test_models_have_the_published_number_of_parameters(model):
    read = network(NET.format(model=model))
    shapes = shapes_of(read.layers, (224, 224))
    counted = {name for name in shapes if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    assert sum(math.prod(shapes[name]) for name in counted) == PARAMETERS[model]
    assert read.outputs == 1000


REPLACED = (
    TORCH
    + """
import torchvision.models as models

class Net(nn.Module):
    def __init__(self, joints=16):
        super(Net, self).__init__()
        self.net = models.{model}(weights=None)
        {replace}

    def forward(self, x):
        return self.net(x)
"""
)


@pytest.mark.parametrize(
    ("table", "model", "replace"),
    [
        *(
            (
                f"resnet{depth}-torchvision",
                f"resnet{depth}",
                "self.net.fc = nn.Linear(self.net.fc.in_features, 2 * joints)",
            )
            for depth in (18, 34, 50, 101, 152)
        ),
        ("alexnet-torchvision", "alexnet", "self.net.classifier[6] = nn.Linear(4096, joints * 2)"),
        ("vgg16_bn-torchvision", "vgg16_bn", "self.net.classifier[-1] = nn.Linear(4096, joints * 2)"),
    ],
)
def test_they_are_the_tables_that_were_checked_with_torchvision_s_own(table, model, replace, tmp_path):
    assert table in TABLES
    expected = Architecture.full_size(table, 14, im_size=224).layers
    expected = renamed(expected, [("^", "net.")])
    text = REPLACED.format(model=model, replace=replace)
    assert reads_as(tmp_path, text, expected, size=(224, 224)) == expected
