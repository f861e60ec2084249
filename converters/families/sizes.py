"""What the networks of several programs share: sizes of AlexNet and VGG16, and how they end."""

from __future__ import annotations

from converters.networks.layers import OUTPUTS, Dropout, Layer, Linear, ReLU

#: Of AlexNet's five convolutions: output channels, kernel, stride, pad.
ALEXNET = ((96, 11, 4, 1), (256, 5, 1, 2), (384, 3, 1, 1), (384, 3, 1, 1), (256, 3, 1, 1))

#: VGG16's stages: convolutions, channels.
VGG16 = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


def fully_connected(first: str, second: str, last: str, dropout: float) -> tuple[Layer, ...]:
    """Two layers of 4096 with ReLU and dropout, and the outputs."""
    return (
        *(Linear(first, 4096), ReLU(), Dropout(dropout)),
        *(Linear(second, 4096), ReLU(), Dropout(dropout)),
        Linear(last, OUTPUTS),
    )
