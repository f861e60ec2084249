"""github takiyu/DeepPose, a fork in Chainer whose AlexNet has the names and shapes of the main line's."""

from __future__ import annotations

import re
from dataclasses import replace

from converters.checkpoint import Preprocessing
from converters.families.family import Family, register
from converters.families.sizes import ALEXNET, fully_connected
from converters.networks import Convolution, Layer, LocalResponseNormalization, MaxPooling, ReLU

#: The program's joints, in their order.
JOINTS = (
    *("left shoulder", "left elbow", "left wrist", "right shoulder", "right elbow", "right wrist"),
    *("left hip", "right hip", "head"),
)
#: What its program calls its networks' files.
_FILE = re.compile(r"(?:best_)?model_s\d{1,3}(?:_j\d{1,3})?\.npz")
_PREPROCESSING = Preprocessing(gcn="none", scale=255.0)


def alexnet() -> tuple[Layer, ...]:
    """LRN before ReLU and pooling, no pad at conv1."""
    layers: tuple[Layer, ...] = ()
    for i, (channels, kernel, stride, pad) in enumerate(ALEXNET, start=1):
        layers += (Convolution(f"conv{i}", channels, kernel, stride, pad if i > 1 else 0),)
        if i < 3:
            layers += (LocalResponseNormalization(f"norm{i}"), ReLU(), MaxPooling(3, 2))
        else:
            layers += (ReLU(),)
    return (*layers, MaxPooling(3, 2), *fully_connected("fc6", "fc7", "fc8", 0.6))


FAMILY = Family(
    name="alexnet-takiyu",
    title="takiyu/DeepPose (Chainer)",
    recognised="the same names and shapes as AlexNet: `--architecture alexnet-takiyu`, or npz with bare names that is "
    "named as its program does, `best_model_s0.npz`, `best_model_s1_j0.npz` and so on, or `model_…` of what it goes on "
    "with",
    done="conv1 without pad, LRN before ReLU and pooling; BGR from 0 to 1; nine joints, left first, or one",
    tables={"alexnet-takiyu": alexnet()},
    formats=("chainer-npz", "pt", "safetensors"),
    recognise=lambda found: bool(found.format == "chainer-npz" and not found.wrappers and _FILE.fullmatch(found.file)),
    preprocessing=_PREPROCESSING,
    by_joints={len(JOINTS): replace(_PREPROCESSING, joints=JOINTS)},
    alike="alexnet",
    notice="the program of takiyu cut persons out by their faces, which is not done here: inputs are the box of "
    "the joints, as the legacy program's",
)
register(FAMILY)
