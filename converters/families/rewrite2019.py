"""The rewrite of mitmul/deeppose for Chainer 6 and ChainerCV, a pull request of 2019."""

from __future__ import annotations

from dataclasses import replace

from packaging.version import Version

from converters.checkpoint import Preprocessing
from converters.families.family import Family, Writers, register
from converters.families.joints import FLIC11
from converters.families.sizes import ALEXNET
from converters.networks import (
    OUTPUTS,
    Convolution,
    Dropout,
    Layer,
    Linear,
    LocalResponseNormalization,
    MaxPooling,
    ReLU,
)

_PREPROCESSING = Preprocessing(coord_normalize=False, gcn="none", colour="RGB", axes="yx")


def deeppose2019() -> tuple[Layer, ...]:
    """ReLU, LRN, pooling; conv2 with stride 2 and no pad; nothing but dropout between the fully connected layers."""
    layers: tuple[Layer, ...] = ()
    for i, (channels, kernel, stride, pad) in enumerate(ALEXNET, start=1):
        layers += (Convolution(f"conv{i}", channels, kernel, stride if i != 2 else 2, pad if i > 2 else 0), ReLU())
        if i < 3:
            layers += (LocalResponseNormalization(f"norm{i}"), MaxPooling(3, 2))
    layers += (MaxPooling(3, 2), Linear("fc6", 4096), Dropout(0.6), Linear("fc7", 4096), Dropout(0.6))
    return (*layers, Linear("fc", OUTPUTS))


register(
    Family(
        name="2019",
        title="the rewrite of 2019 (pull request, Chainer 6 and ChainerCV)",
        recognised="npz with `model/extractor/…` and `model/fc/…`, a trainer's snapshot of them",
        done="its own AlexNet (conv2 with stride 2, no ReLU after fc6 and fc7); 0 to 255 in RGB, pixels as answers, y "
        "first",
        tables={"deeppose2019": deeppose2019()},
        naming={
            "2019": {
                "deeppose2019": (
                    (r"^conv(\d)\.", r"extractor.conv\1.conv."),
                    (r"^fc([67])\.", r"extractor.fc\1."),
                )
            }
        },
        wrappers=("model/",),
        preprocessing=_PREPROCESSING,
        by_joints={len(FLIC11.names): replace(_PREPROCESSING, joints=FLIC11.names)},
        writers=Writers(since=Version("6.0.0"), told_by="the rewrite of 2019"),
    )
)
