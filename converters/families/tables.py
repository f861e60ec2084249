"""Every architecture by name."""

from __future__ import annotations

from converters.families import forks, ports
from converters.families import mitmul as legacy
from converters.networks.layers import Layer, Linear, side_after

#: Every architecture by name, at full width.
TABLES: dict[str, tuple[Layer, ...]] = {
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
    "alexnet-torchvision": ports.torchvision_alexnet(),
    "alexnet-hosseinpai": ports.hosseinpai(),
    "vgg16_bn-torchvision": ports.torchvision_vgg16_bn(),
    "resnet18-torchvision": ports.torchvision_resnet((2, 2, 2, 2), bottleneck=False),
    "resnet34-torchvision": ports.torchvision_resnet((3, 4, 6, 3), bottleneck=False),
    "resnet50-torchvision": ports.torchvision_resnet((3, 4, 6, 3), bottleneck=True),
    "resnet101-torchvision": ports.torchvision_resnet((3, 4, 23, 3), bottleneck=True),
    "resnet152-torchvision": ports.torchvision_resnet((3, 8, 36, 3), bottleneck=True),
}

#: Networks whose files cannot be told from another's: they are taken only where a user names them.
ON_REQUEST = {"alexnet-2015-tanh": "alexnet_bn", "alexnet-takiyu": "alexnet", "alexnet-ynaka81": "alexnet"}

#: Networks that exist in PyTorch alone, with its BatchNormalization.
TORCH_ONLY = frozenset(name for name in TABLES if name.endswith("-torchvision") or name == "alexnet-hosseinpai")


def automatic() -> list[str]:
    """Returns the architectures that a file can be told to be, by its keys and shapes alone."""
    return [name for name in TABLES if name not in ON_REQUEST]


def outputs_layer(name: str) -> str:
    """Returns the name of an architecture's last layer with weights."""
    return [layer.name for layer in TABLES[name] if isinstance(layer, Linear)][-1]


def feature_size(name: str, im_size: int) -> int:
    """Returns the side of the map that the first fully connected layer flattens, for an input of side `im_size`."""
    return side_after(TABLES[name], im_size)
