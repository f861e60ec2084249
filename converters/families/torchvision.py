"""Torchvision's networks as regressors, under its own names: what most ports to PyTorch are made of.

Source: torchvision. They exist in PyTorch alone: its poolings round down, and nobody trained them in Chainer.
"""

from __future__ import annotations

from collections.abc import Collection

from converters.checkpoint import Preprocessing
from converters.families.sizes import VGG16, fully_connected
from converters.networks import (
    OUTPUTS,
    AdaptiveAveragePooling,
    BatchNormalization,
    Convolution,
    Dropout,
    GlobalAveragePooling,
    Layer,
    Linear,
    MaxPooling,
    ReLU,
    Residual,
)

#: The colours of ImageNet's pictures, from 0 to 1.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: Inputs as torchvision makes them.
PREPROCESSING = Preprocessing(im_size=224, gcn="none", colour="RGB", scale=255.0, mean=MEAN, std=STD)


def pooling(kernel: int = 3, pad: int = 0) -> MaxPooling:
    """Max pooling with stride 2, rounded down as in PyTorch."""
    return MaxPooling(kernel, 2, pad, cover_all=False)


def alexnet_features() -> tuple[Layer, ...]:
    """The convolutions of `torchvision.models.alexnet`."""
    rows = ((0, 64, 11, 4, 2), (3, 192, 5, 1, 2), (6, 384, 3, 1, 1), (8, 256, 3, 1, 1), (10, 256, 3, 1, 1))
    layers: tuple[Layer, ...] = ()
    for number, channels, kernel, stride, pad in rows:
        layers += (Convolution(f"features.{number}", channels, kernel, stride, pad), ReLU())
        if number in (0, 3, 10):
            layers += (pooling(),)
    return layers


def alexnet() -> tuple[Layer, ...]:
    """`torchvision.models.alexnet`."""
    return (
        *(
            *alexnet_features(),
            AdaptiveAveragePooling(6),
            Dropout(0.5),
            Linear("classifier.1", 4096),
            ReLU(),
            Dropout(0.5),
        ),
        *(Linear("classifier.4", 4096), ReLU(), Linear("classifier.6", OUTPUTS)),
    )


def vgg(stages: tuple[int, ...], normalized: bool) -> tuple[Layer, ...]:
    """The convolutions of `torchvision.models.vgg…`.

    Args:
        stages: How many convolutions come before each pooling.
        normalized: Whether each is followed by BatchNormalization, as in `vgg…_bn`.
    """
    layers: tuple[Layer, ...] = ()
    number = 0
    for convolutions, (_, channels) in zip(stages, VGG16, strict=True):
        for _ in range(convolutions):
            layers += (Convolution(f"features.{number}", channels, 3, 1, 1),)
            layers += (BatchNormalization(f"features.{number + 1}"),) if normalized else ()
            layers += (ReLU(),)
            number += 3 if normalized else 2
        layers += (pooling(kernel=2),)
        number += 1
    return layers


def resnet(blocks: tuple[int, ...], bottleneck: bool, projections: Collection[str] | None = None) -> tuple[Layer, ...]:
    """`torchvision.models.resnet…` up to its pooling: a bottleneck's stride is on its 3x3 convolution.

    Args:
        blocks: How many blocks each stage has.
        bottleneck: Whether they have three convolutions.
        projections: Names of the blocks whose shortcut is a convolution; None for torchvision's own.
    """
    layers: tuple[Layer, ...] = (
        Convolution("conv1", 64, kernel=7, stride=2, pad=3, bias=False),
        *(BatchNormalization("bn1"), ReLU(), pooling(pad=1)),
    )
    channels = 64
    for stage, count in enumerate(blocks, start=1):
        middle = 32 * 2**stage
        out = 4 * middle if bottleneck else middle
        for block in range(count):
            name = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            project = stride > 1 or channels != out if projections is None else name in projections
            rows = ((middle, 1, 1), (middle, 3, stride), (out, 1, 1)) if bottleneck else ((out, 3, stride), (out, 3, 1))
            layers += _block(name, rows, stride, project)
            channels = out
    return layers


def _block(name: str, rows: tuple[tuple[int, int, int], ...], stride: int, project: bool) -> tuple[Layer, ...]:
    branch: tuple[Layer, ...] = ()
    for i, (channels, kernel, step) in enumerate(rows, start=1):
        branch += (ReLU(),) if i > 1 else ()
        branch += (Convolution(f"{name}.conv{i}", channels, kernel, step, kernel // 2, bias=False),)
        branch += (BatchNormalization(f"{name}.bn{i}"),)
    shortcut: tuple[Layer, ...] = ()
    if project:
        projection = Convolution(f"{name}.downsample.0", rows[-1][0], kernel=1, stride=stride, bias=False)
        shortcut = (projection, BatchNormalization(f"{name}.downsample.1"))
    return Residual(branch, shortcut), ReLU()


#: Blocks of torchvision's ResNets: how many in each stage, and whether they have three convolutions.
BLOCKS = {
    "resnet18-torchvision": ((2, 2, 2, 2), False),
    "resnet34-torchvision": ((3, 4, 6, 3), False),
    "resnet50-torchvision": ((3, 4, 6, 3), True),
    "resnet101-torchvision": ((3, 4, 23, 3), True),
    "resnet152-torchvision": ((3, 8, 36, 3), True),
}
#: The ResNets as regressors, which several families have.
RESNETS = {
    name: (*resnet(blocks, bottleneck), GlobalAveragePooling(), Linear("fc", OUTPUTS))
    for name, (blocks, bottleneck) in BLOCKS.items()
}
#: vgg16_bn as a regressor, which two families have.
VGG16_BN = {
    "vgg16_bn-torchvision": (
        *vgg((2, 2, 3, 3, 3), normalized=True),
        AdaptiveAveragePooling(7),
        *fully_connected("classifier.0", "classifier.3", "classifier.6", 0.5),
    )
}
