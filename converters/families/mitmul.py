"""The networks of mitmul/deeppose, from 2015 to the rewrite of 2019.

Source: its model files from 2015 to its last commit (2017-01), checked against the outputs of Chainer 1.1 to 7.8.1.
"""

from __future__ import annotations

from converters.families.sizes import ALEXNET, VGG16, fully_connected
from converters.networks.layers import (
    OUTPUTS,
    BatchNormalization,
    Convolution,
    Dropout,
    GlobalAveragePooling,
    Layer,
    Linear,
    LocalResponseNormalization,
    MaxPooling,
    PReLU,
    ReLU,
    Residual,
    Tanh,
)


def alexnet(normalized: bool = False, prelu: bool = False, tanh: bool = False) -> tuple[Layer, ...]:
    """Pooling before LRN, conv1 with pad 1: this is not the AlexNet of Caffe or torchvision.

    Args:
        normalized: Whether conv1 and conv2 are followed by BatchNormalization, as in two networks of 2015.
        prelu: Whether PReLU stands for ReLU, as in one of them.
        tanh: Whether the outputs are squashed, as in the first weeks.
    """

    def activation(number: int) -> Layer:
        return PReLU(f"prelu{number}") if prelu else ReLU()

    layers: tuple[Layer, ...] = ()
    for i, row in enumerate(ALEXNET, start=1):
        layers += (Convolution(f"conv{i}", *row),)
        if normalized and i < 3:
            layers += (BatchNormalization(f"bn{i}"),)
        layers += (activation(i),)
        if i < 3:
            layers += (MaxPooling(3, 2), LocalResponseNormalization(f"norm{i}"))
    layers += (MaxPooling(3, 2),)
    for i in (6, 7):
        layers += (Linear(f"fc{i}", 4096), activation(i), Dropout(0.6))
    return (*layers, Linear("fc8", OUTPUTS), *((Tanh(),) if tanh else ()))


def deeppose2019() -> tuple[Layer, ...]:
    """The rewrite of 2019: ReLU, LRN, pooling; conv2 with stride 2 and no pad; nothing but dropout between fc's."""
    layers: tuple[Layer, ...] = ()
    for i, (channels, kernel, stride, pad) in enumerate(ALEXNET, start=1):
        layers += (Convolution(f"conv{i}", channels, kernel, stride if i != 2 else 2, pad if i > 2 else 0), ReLU())
        if i < 3:
            layers += (LocalResponseNormalization(f"norm{i}"), MaxPooling(3, 2))
    layers += (MaxPooling(3, 2), Linear("fc6", 4096), Dropout(0.6), Linear("fc7", 4096), Dropout(0.6))
    return (*layers, Linear("fc", OUTPUTS))


#: Scale of ResNet's initial weights: the legacy program asked Chainer 1.13 for sqrt(2), which took its square root.
_RESNET_SCALE = 2**0.25


def _bottleneck(name: str, middle: int, out: int, stride: int, projection: bool) -> tuple[Layer, ...]:
    """A bottleneck block; unlike torchvision's, its stride is on the first 1x1 convolution."""

    def convolution(number: int, channels: int, kernel: int, stride: int = 1) -> Convolution:
        pad = kernel // 2
        return Convolution(f"{name}.conv{number}", channels, kernel, stride, pad, bias=False, scale=_RESNET_SCALE)

    return (
        Residual(
            branch=(
                convolution(1, middle, kernel=1, stride=stride),
                BatchNormalization(f"{name}.bn1"),
                ReLU(),
                convolution(2, middle, kernel=3),
                BatchNormalization(f"{name}.bn2"),
                ReLU(),
                convolution(3, out, kernel=1),
                BatchNormalization(f"{name}.bn3"),
            ),
            shortcut=(
                convolution(4, out, kernel=1, stride=stride),
                BatchNormalization(f"{name}.bn4"),
            )
            if projection
            else (),
        ),
        ReLU(),
    )


def resnet50() -> tuple[Layer, ...]:
    """ResNet50 without biases but in the last layer; its first pooling has no pad."""
    layers: tuple[Layer, ...] = (
        Convolution("conv1", 64, kernel=7, stride=2, pad=3, bias=False, scale=_RESNET_SCALE),
        BatchNormalization("bn1"),
        ReLU(),
        MaxPooling(3, 2),
    )
    for stage, blocks, middle, stride in ((2, 3, 64, 1), (3, 4, 128, 2), (4, 6, 256, 2), (5, 3, 512, 2)):
        layers += _bottleneck(f"res{stage}.a", middle, 4 * middle, stride, projection=True)
        for block in range(1, blocks):
            layers += _bottleneck(f"res{stage}.b_{block}", middle, 4 * middle, 1, projection=False)
    return (*layers, GlobalAveragePooling(), Linear("out_fc", OUTPUTS))


def vgg(normalized: bool) -> tuple[Layer, ...]:
    """VGG16; with BatchNormalization, as at the last commit, it has no dropout."""
    layers: tuple[Layer, ...] = ()
    for stage, (convolutions, channels) in enumerate(VGG16, start=1):
        for i in range(1, convolutions + 1):
            layers += (Convolution(f"conv{stage}_{i}", channels, kernel=3, pad=1),)
            if normalized:
                layers += (BatchNormalization(f"bn{stage}_{i}"),)
            layers += (ReLU(),)
        layers += (MaxPooling(2, 2),)
    if not normalized:
        return (*layers, *fully_connected("fc6", "fc7", "fc8", 0.6))
    return (*layers, Linear("fc6", 4096), ReLU(), Linear("fc7", 4096), ReLU(), Linear("fc8", OUTPUTS))
