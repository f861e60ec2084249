"""This project's own small network: residual blocks, a feature pyramid, and a soft-argmax over one map for each joint.

He, Zhang, Ren and Sun, "Deep residual learning for image recognition", CVPR 2016; Lin, Dollár, Girshick, He, Hariharan
and Belongie, "Feature pyramid networks for object detection", CVPR 2017; Sun, Xiao, Wei, Liang and Wei, "Integral human
pose regression", ECCV 2018.
"""

from __future__ import annotations

import math

from packaging.version import Version

from converters.checkpoint import Preprocessing
from converters.families.family import Family, Writers, register
from converters.networks import (
    OUTPUTS,
    BatchNormalization,
    Convolution,
    Layer,
    Name,
    ReLU,
    Residual,
    SoftArgmax,
    Take,
    Upsample,
)

#: Channels of the stages, whose maps are 4, 8 and 16 times smaller than the input, and their residual blocks.
_STAGES = ((32, 1), (64, 2), (108, 2))
_STEM, _PYRAMID = 16, 48
#: The standard deviation of the last layer's first weights: every answer begins near the middle of the crop.
_LAST_DEVIATION = 0.01


def _convolution(name: str, before: int, channels: int, kernel: int = 3, stride: int = 1, bias: bool = False) -> Layer:
    """A convolution whose weights begin as He et al. (ICCV 2015) say, by what goes out of it."""
    # Its scale is that of 1 / sqrt(fan-in): sqrt(2 / fan-out) times the root of the fan-in.
    return Convolution(name, channels, kernel, stride, kernel // 2, bias, scale=math.sqrt(2 * before / channels))


def _normalized(name: str, number: str, before: int, channels: int, stride: int = 1) -> tuple[Layer, ...]:
    convolution = _convolution(f"{name}.conv{number}", before, channels, stride=stride)
    return convolution, BatchNormalization(f"{name}.bn{number}"), ReLU()


def _block(name: str, channels: int) -> tuple[Layer, ...]:
    first = _normalized(name, "1", channels, channels)
    second = _normalized(name, "2", channels, channels)
    return Residual((*first, *second[:-1])), ReLU()


def resfpn() -> tuple[Layer, ...]:
    """(3, H, W) -> (2 * joints,) in -0.5 .. 0.5, by maps of a quarter of H and W, which are multiples of 16."""
    channels = _STAGES[0][0]
    layers = _normalized("stem", "1", 3, _STEM, stride=2) + _normalized("stem", "2", _STEM, channels, stride=2)
    for stage, (width, blocks) in enumerate(_STAGES, start=1):
        if stage > 1:
            layers += _normalized(f"stage{stage}", "", channels, width, stride=2)
        for block in range(1, blocks + 1):
            layers += _block(f"stage{stage}.block{block}", width)
        layers += (Name(f"stage{stage}"),) if stage < len(_STAGES) else ()
        channels = width
    for stage in range(len(_STAGES), 0, -1):
        lateral = _convolution(f"lateral{stage}", _STAGES[stage - 1][0], _PYRAMID, kernel=1, bias=True)
        if stage == len(_STAGES):
            layers += (lateral,)
        else:
            layers += (Upsample(2), Name(f"above{stage}"), Take((f"stage{stage}",)), lateral)
            layers += (Name(f"lateral{stage}"), Take((f"lateral{stage}", f"above{stage}")))
            layers += _normalized(f"smooth{stage}", "", _PYRAMID, _PYRAMID)
    return (*layers, Convolution("out", OUTPUTS, 1, scale=_LAST_DEVIATION * math.sqrt(_PYRAMID)), SoftArgmax())


register(
    Family(
        name="resfpn-softargmax",
        title="this project's own small network, for training anew",
        recognised="the names of its layers (`stem.conv1`, `lateral1`, `smooth1.conv`, `out`)",
        done="0.73 million parameters; joints as the mean of the pixels of a map, weighted by its softmax; inputs of "
        "multiples of 16 pixels",
        tables={"resfpn-softargmax": resfpn()},
        preprocessing=Preprocessing(im_size=112, base_zoom=1.25),
        anew=True,
        writers=Writers(Version("7.0.0"), told_by="the architecture resfpn-softargmax"),
    )
)
