"""github Naman-ntc/Pytorch-Human-Pose-Estimation: torchvision's ResNets as `resnet`.

From 2018-10 to 2019-05 it was made with torchvision 0.2, whose last pooling is `AvgPool2d(7, stride=1)`: of its inputs
of 256 pixels that leaves 2 x 2, so that the last layer takes four times as many numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from converters.checkpoint import Preprocessing
from converters.families.family import Built, Family, register
from converters.families.joints import COCO
from converters.families.shapes import head_in, resnet_in
from converters.families.torchvision import RESNETS
from converters.networks import AveragePooling, GlobalAveragePooling, Shape

_PREPROCESSING = Preprocessing(im_size=256, gcn="none", colour="RGB", part="letterbox", scale=256.0)


def _build(shapes: Mapping[str, Shape]) -> Built | None:
    body = resnet_in(shapes)
    head = None if body is None else head_in(body.rest, "fc")
    if body is None or head is None or not head.linear or head.places not in ((), (0,)):
        return None
    canonical = {**body.canonical, **head.canonical}
    if head.inputs == 4 * body.channels:
        layers = (*body.layers, AveragePooling(7, 1), *head.layers)
        return Built(f"{body.name}-naman-ntc", canonical, layers, input_size=_PREPROCESSING.im_size)
    if body.standard:
        return Built(f"{body.name}-torchvision", canonical)
    return Built(f"{body.name}-torchvision", canonical, (*body.layers, GlobalAveragePooling(), *head.layers))


register(
    Family(
        name="resnet-naman-ntc",
        title="Naman-ntc/Pytorch-Human-Pose-Estimation",
        recognised="`resnet.conv1.weight` … `resnet.fc.*` or `resnet.fc.0.*`, torchvision's names under `resnet.`; the "
        "depth by the number of blocks, the last pooling by the width of `fc`; `feat.*`, second names of the same "
        "arrays, have to be equal",
        done="torchvision's ResNet 18 to 152, PyTorch only; RGB / 256 (a version of 2018 left OpenCV's BGR), a "
        "letterbox of 256 pixels, answers from -0.5 to 0.5 (0 to 1 with COCO's 17 joints)",
        tables=RESNETS,
        wrappers=("resnet.",),
        recognise=lambda found: "resnet." in found.wrappers,
        preprocessing=_PREPROCESSING,
        by_joints={len(COCO.names): replace(_PREPROCESSING, frame="unit", joints=COCO.names)},
        engines=("torch",),
        build=_build,
    )
)
