"""MMPose's DeepPose: torchvision's ResNets as `backbone`, and a head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from converters.checkpoint import Preprocessing
from converters.families.family import Built, Family, register
from converters.families.joints import COCO
from converters.families.mmpose_configuration import IMAGENET, configuration, said
from converters.families.shapes import head_in, resnet_in
from converters.families.torchvision import RESNETS
from converters.networks import Architecture, GlobalAveragePooling, Shape

#: DeepFashion's landmarks of upper, lower and full clothes.
_CLOTHES = (
    ("left collar", "right collar", "left sleeve", "right sleeve", "left hem", "right hem"),
    ("left waistline", "right waistline", "left hem", "right hem"),
    (
        *("left collar", "right collar", "left sleeve", "right sleeve"),
        *("left waistline", "right waistline", "left hem", "right hem"),
    ),
)
#: Where its two great versions keep the last layer.
_NAMES = {"mmpose": "head", "mmpose-0": "keypoint_head"}
_PARTS = ("weight", "bias")
HEADS = tuple(_NAMES.values())
PREPROCESSING = Preprocessing(
    im_size=256,
    base_zoom=1.25,
    gcn="none",
    colour="RGB",
    part="letterbox",
    mean=IMAGENET["mean"],
    std=IMAGENET["std"],
    frame="unit",
)


def _build(shapes: Mapping[str, Shape]) -> Built | None:
    """Builds a network on a ResNet or ResNeXt that is in no table."""
    body = resnet_in(shapes)
    if body is None or not all(key.startswith("backbone.") for key in body.canonical):
        return None
    head = head_in(body.rest, "fc")
    if head is None or not head.linear or set(body.rest) - {f"{name}.fc.{part}" for name in HEADS for part in _PARTS}:
        return None
    layers = (*body.layers, GlobalAveragePooling(), *head.layers)
    return Built(f"{body.name}-torchvision", {**body.canonical, **head.canonical}, layers)


def _otherwise(architecture: Architecture, values: Mapping[str, object]) -> str | None:
    """Says that the rows of a last layer are those of RLE with half as many joints, where no configuration tells."""
    joints = architecture.joints
    if joints % 2 or configuration(values):
        return None
    return (
        f"its last layer has {2 * joints} rows, and no configuration inside of the file tells of what: taken as those "
        f"of {joints} joints; as MMPose's RLE has four each, they would be those of {joints // 2}"
    )


register(
    Family(
        name="resnet-mmpose",
        title="MMPose's DeepPose, 0.x and 1.x",
        recognised="`backbone.*` with `head.fc.*` or `keypoint_head.fc.*`",
        done="torchvision's ResNet 18 to 152, PyTorch only; RGB with ImageNet's mean and deviation (or the "
        "`data_preprocessor.mean` and `std` that are in the file), a letterbox as large as the configuration in the "
        "file says; without one 256 pixels (256 high and 192 wide with COCO's 17 joints and DeepFashion's 4, 6 and 8), "
        "answers from 0 to 1",
        tables=RESNETS,
        naming={
            names: dict.fromkeys(RESNETS, ((r"^(?!fc\.)", "backbone."), (r"^fc\.", f"{head}.fc.")))
            for names, head in _NAMES.items()
        },
        beside=dict.fromkeys(("pt", "safetensors"), r"(?:.*\.)?data_preprocessor\.(?:mean|std)"),
        recognise=lambda found: found.names in _NAMES or not found.architecture,
        preprocessing=PREPROCESSING,
        by_joints={len(names): replace(PREPROCESSING, im_width=192, joints=names) for names in (COCO.names, *_CLOTHES)},
        said=said,
        build=_build,
        otherwise=_otherwise,
        engines=("torch",),
    )
)
