"""github WZMIAOMIAO/deep-learning-for-image-processing: torchvision's ResNet as it is."""

from dataclasses import replace

from converters.families.family import Family, register
from converters.families.torchvision import PREPROCESSING, RESNETS

register(
    Family(
        name="resnet-torchvision",
        title="WZMIAOMIAO/deep-learning-for-image-processing, and other regressors made of torchvision's ResNet",
        recognised="torchvision's names (`layer1.0.conv1.weight` … `fc.*`), the depth by the number of blocks",
        done="torchvision's ResNet 18 to 152, PyTorch only; RGB with ImageNet's mean and deviation, a letterbox of 256 "
        "pixels, answers from 0 to 1",
        tables=RESNETS,
        preprocessing=replace(PREPROCESSING, im_size=256, part="letterbox-corners", frame="unit"),
        engines=("torch",),
        notice="torchvision's names alone do not say how inputs were made: they are taken as those of WZMIAOMIAO (RGB, "
        "ImageNet's mean and deviation, a letterbox of 256 pixels), and answers as 0 .. 1 of it",
    )
)
