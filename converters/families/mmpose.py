"""MMPose's DeepPose: torchvision's ResNets as `backbone`, and a head."""

from dataclasses import replace

from converters.checkpoint import Preprocessing
from converters.families.family import Family, register
from converters.families.joints import COCO
from converters.families.torchvision import RESNETS

#: Where its two great versions keep the last layer.
_HEADS = {"mmpose": "head", "mmpose-0": "keypoint_head"}
_PREPROCESSING = Preprocessing(
    im_size=256,
    base_zoom=1.25,
    gcn="none",
    colour="RGB",
    part="letterbox",
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
    frame="unit",
)

register(
    Family(
        name="resnet-mmpose",
        title="MMPose's DeepPose, 0.x and 1.x",
        recognised="`backbone.*` with `head.fc.*` or `keypoint_head.fc.*`",
        done="torchvision's ResNet 18 to 152, PyTorch only; RGB with ImageNet's mean and deviation (or the "
        "`data_preprocessor.mean` and `std` that are in the file), a letterbox of 256 pixels (256 high and 192 wide "
        "with COCO's 17 joints), answers from 0 to 1",
        tables=RESNETS,
        naming={
            names: dict.fromkeys(RESNETS, ((r"^(?!fc\.)", "backbone."), (r"^fc\.", f"{head}.fc.")))
            for names, head in _HEADS.items()
        },
        recognise=lambda found: found.names in _HEADS,
        preprocessing=_PREPROCESSING,
        by_joints={len(COCO): replace(_PREPROCESSING, im_width=192, joints=COCO)},
        engines=("torch",),
    )
)
