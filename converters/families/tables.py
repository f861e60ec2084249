"""Every architecture by name."""

from __future__ import annotations

from converters.families import forks, ports
from converters.families import mitmul as legacy
from converters.networks.tables import TABLES as TABLES
from converters.networks.tables import add_table

for _name, _layers in {
    "alexnet": legacy.alexnet(),
    "resnet50": legacy.resnet50(),
    "vgg_bn": legacy.vgg(normalized=True),
    "alexnet_bn": legacy.alexnet(normalized=True),
    "alexnet_bn_prelu": legacy.alexnet(normalized=True, prelu=True),
    "alexnet-2015-tanh": legacy.alexnet(normalized=True, tanh=True),
    "vgg16": legacy.vgg(normalized=False),
    "deeppose2019": legacy.deeppose2019(),
    "alexnet-takiyu": forks.takiyu(),
    "alexnet-ynaka81": forks.ynaka81(),
}.items():
    add_table(_name, _layers)
for _name, _layers in {
    "alexnet-torchvision": ports.torchvision_alexnet(),
    "alexnet-hosseinpai": ports.hosseinpai(),
    "vgg16_bn-torchvision": ports.torchvision_vgg16_bn(),
    "resnet18-torchvision": ports.torchvision_resnet((2, 2, 2, 2), bottleneck=False),
    "resnet34-torchvision": ports.torchvision_resnet((3, 4, 6, 3), bottleneck=False),
    "resnet50-torchvision": ports.torchvision_resnet((3, 4, 6, 3), bottleneck=True),
    "resnet101-torchvision": ports.torchvision_resnet((3, 4, 23, 3), bottleneck=True),
    "resnet152-torchvision": ports.torchvision_resnet((3, 8, 36, 3), bottleneck=True),
}.items():
    add_table(_name, _layers, engines=("torch",))

#: Networks whose files cannot be told from another's: they are taken only where a user names them.
ON_REQUEST = {"alexnet-2015-tanh": "alexnet_bn", "alexnet-takiyu": "alexnet", "alexnet-ynaka81": "alexnet"}


def automatic() -> list[str]:
    """Returns the architectures that a file can be told to be, by its keys and shapes alone."""
    return [name for name in TABLES if name not in ON_REQUEST]
