"""Forks of DeepPose in Chainer whose files have the names and shapes of its AlexNet, and another network."""

from __future__ import annotations

from converters.families.sizes import ALEXNET, fully_connected
from converters.networks.layers import (
    Convolution,
    Layer,
    LocalResponseNormalization,
    MaxPooling,
    ReLU,
)


def takiyu() -> tuple[Layer, ...]:
    """The AlexNet of github takiyu/DeepPose: LRN before ReLU and pooling, no pad at conv1."""
    layers: tuple[Layer, ...] = ()
    for i, (channels, kernel, stride, pad) in enumerate(ALEXNET, start=1):
        layers += (Convolution(f"conv{i}", channels, kernel, stride, pad if i > 1 else 0),)
        if i < 3:
            layers += (LocalResponseNormalization(f"norm{i}"), ReLU(), MaxPooling(3, 2))
        else:
            layers += (ReLU(),)
    return (*layers, MaxPooling(3, 2), *fully_connected("fc6", "fc7", "fc8", 0.6))


def ynaka81() -> tuple[Layer, ...]:
    """The AlexNet of github ynaka81/DeepPoseComparison, in Chainer and PyTorch: no LRN, no pad at conv1."""
    layers: tuple[Layer, ...] = ()
    for i, (channels, kernel, stride, pad) in enumerate(ALEXNET, start=1):
        layers += (Convolution(f"conv{i}", channels, kernel, stride, pad if i > 1 else 0), ReLU())
        if i in (1, 2, 5):
            # Chainer's pooling rounds up and PyTorch's down; for its inputs of 227 pixels both are the same.
            layers += (MaxPooling(3, 2),)
    return (*layers, *fully_connected("fc6", "fc7", "fc8", 0.5))
