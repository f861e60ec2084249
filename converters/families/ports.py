"""Ports of DeepPose to PyTorch, with the names of their own state dicts.

Sources: the ports' own programs, and torchvision.
"""

from __future__ import annotations

from converters.families.sizes import ALEXNET, VGG16, fully_connected
from converters.networks.layers import (
    OUTPUTS,
    AdaptiveAveragePooling,
    BatchNormalization,
    Convolution,
    Dropout,
    GlobalAveragePooling,
    Layer,
    Linear,
    LocalResponseNormalization,
    MaxPooling,
    ReLU,
    Residual,
)


def _torch_pooling(kernel: int = 3, pad: int = 0) -> MaxPooling:
    return MaxPooling(kernel, 2, pad, cover_all=False)


def torchvision_alexnet() -> tuple[Layer, ...]:
    """Torchvision's AlexNet as a regressor, as in github voqtuyen/DeepPose.pytorch."""
    rows = ((0, 64, 11, 4, 2), (3, 192, 5, 1, 2), (6, 384, 3, 1, 1), (8, 256, 3, 1, 1), (10, 256, 3, 1, 1))
    layers: tuple[Layer, ...] = ()
    for number, channels, kernel, stride, pad in rows:
        layers += (Convolution(f"features.{number}", channels, kernel, stride, pad), ReLU())
        if number in (0, 3, 10):
            layers += (_torch_pooling(),)
    return (
        *(*layers, AdaptiveAveragePooling(6), Dropout(0.5), Linear("classifier.1", 4096), ReLU(), Dropout(0.5)),
        *(Linear("classifier.4", 4096), ReLU(), Linear("classifier.6", OUTPUTS)),
    )


def torchvision_vgg16_bn() -> tuple[Layer, ...]:
    """Torchvision's vgg16_bn as a regressor, as in github JindongJiang/WeightedLoss_DeepPose_PyTorch."""
    layers: tuple[Layer, ...] = ()
    number = 0
    for convolutions, channels in VGG16:
        for _ in range(convolutions):
            layers += (
                Convolution(f"features.{number}", channels, 3, 1, 1),
                BatchNormalization(f"features.{number + 1}"),
            )
            layers += (ReLU(),)
            number += 3
        layers += (_torch_pooling(kernel=2),)
        number += 1
    return (*layers, AdaptiveAveragePooling(7), *fully_connected("classifier.0", "classifier.3", "classifier.6", 0.5))


def torchvision_resnet(blocks: tuple[int, int, int, int], bottleneck: bool) -> tuple[Layer, ...]:
    """Torchvision's ResNet as a regressor: a bottleneck's stride is on its 3x3 convolution."""
    layers: tuple[Layer, ...] = (
        Convolution("conv1", 64, kernel=7, stride=2, pad=3, bias=False),
        *(BatchNormalization("bn1"), ReLU(), _torch_pooling(pad=1)),
    )
    channels = 64
    for stage, count in enumerate(blocks, start=1):
        middle = 32 * 2**stage
        out = 4 * middle if bottleneck else middle
        for block in range(count):
            stride = 2 if stage > 1 and block == 0 else 1
            rows = ((middle, 1, 1), (middle, 3, stride), (out, 1, 1)) if bottleneck else ((out, 3, stride), (out, 3, 1))
            layers += _torchvision_block(f"layer{stage}.{block}", rows, stride, project=stride > 1 or channels != out)
            channels = out
    return (*layers, GlobalAveragePooling(), Linear("fc", OUTPUTS))


def _torchvision_block(
    name: str, rows: tuple[tuple[int, int, int], ...], stride: int, project: bool
) -> tuple[Layer, ...]:
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


def hosseinpai() -> tuple[Layer, ...]:
    """The AlexNet of github HosseinPAI: ReLU, LRN, pooling; `torch.nn.LocalResponseNorm(5)`, which divides by n."""
    layers: tuple[Layer, ...] = ()
    for i, (channels, kernel, stride, pad) in enumerate(ALEXNET, start=1):
        layers += (Convolution(f"Conv{i}", channels, kernel, stride, pad if i > 1 else 4), ReLU())
        if i < 3:
            layers += (LocalResponseNormalization(f"norm{i}", k=1.0, alpha=1e-4 / 5), _torch_pooling())
    layers += (_torch_pooling(), Dropout(0.6, channels=True))
    return (*layers, Linear("FC1", 4096), ReLU(), Linear("FC2", 4096), ReLU(), Linear("FC3", OUTPUTS))
