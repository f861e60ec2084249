"""github ynaka81/DeepPoseComparison, whose AlexNet in Chainer and PyTorch has the main line's names and shapes."""

from __future__ import annotations

import re

from converters.checkpoint import Preprocessing
from converters.families.family import Family, register
from converters.families.sizes import ALEXNET, fully_connected
from converters.networks import Convolution, Layer, MaxPooling, ReLU


def alexnet() -> tuple[Layer, ...]:
    """No LRN, no pad at conv1."""
    layers: tuple[Layer, ...] = ()
    for i, (channels, kernel, stride, pad) in enumerate(ALEXNET, start=1):
        layers += (Convolution(f"conv{i}", channels, kernel, stride, pad if i > 1 else 0), ReLU())
        if i in (1, 2, 5):
            # Chainer's pooling rounds up and PyTorch's down; for its inputs of 227 pixels both are the same.
            layers += (MaxPooling(3, 2),)
    return (*layers, *fully_connected("fc6", "fc7", "fc8", 0.5))


register(
    Family(
        name="alexnet-ynaka81",
        title="ynaka81/DeepPoseComparison, its Chainer and its PyTorch files",
        recognised="the same names and shapes as AlexNet: `--architecture alexnet-ynaka81`; a PyTorch file with bare "
        "names is its own where it is named `epoch-N.model`, as its program does",
        done="conv1 without pad, no LRN; RGB from 0 to 1, a window of 227 pixels around the joints that is not "
        "resized, answers are fractions of it from 0 to 1",
        tables={"alexnet-ynaka81": alexnet()},
        formats=("chainer-npz", "pt", "safetensors"),
        recognise=lambda found: bool(
            found.format == "pt" and not found.wrappers and re.fullmatch(r"epoch-\d+\.model", found.file)
        ),
        preprocessing=Preprocessing(im_size=227, gcn="none", colour="RGB", scale=255.0, part="window", frame="unit"),
        alike="alexnet",
    )
)
