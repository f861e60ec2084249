"""github Naman-ntc/Pytorch-Human-Pose-Estimation: torchvision's ResNets as `resnet`."""

from dataclasses import replace

from converters.checkpoint import Preprocessing
from converters.families.family import Family, register
from converters.families.joints import COCO
from converters.families.torchvision import RESNETS

_PREPROCESSING = Preprocessing(im_size=256, gcn="none", colour="RGB", part="letterbox", scale=256.0)

register(
    Family(
        name="resnet-naman-ntc",
        title="Naman-ntc/Pytorch-Human-Pose-Estimation",
        recognised="`resnet.conv1.weight` … `resnet.fc.*`, torchvision's names under `resnet.`; the depth by the "
        "number of blocks",
        done="torchvision's ResNet 18 to 152, PyTorch only; RGB / 256 (a version of 2018 left OpenCV's BGR), a "
        "letterbox of 256 pixels, answers from -0.5 to 0.5 (0 to 1 with COCO's 17 joints)",
        tables=RESNETS,
        wrappers=("resnet.",),
        recognise=lambda found: "resnet." in found.wrappers,
        preprocessing=_PREPROCESSING,
        by_joints={len(COCO): replace(_PREPROCESSING, frame="unit", joints=COCO)},
        engines=("torch",),
    )
)
