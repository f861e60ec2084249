"""github JindongJiang/WeightedLoss_DeepPose_PyTorch: torchvision's vgg16_bn."""

from dataclasses import replace

from converters.families.family import Family, register
from converters.families.torchvision import PREPROCESSING, VGG16_BN

register(
    Family(
        name="vgg16_bn-torchvision",
        title="JindongJiang/WeightedLoss_DeepPose_PyTorch",
        recognised="`features.{0..41}.*` and `classifier.{0,3,6}.*` under `model.`",
        done="torchvision's vgg16_bn, PyTorch only; the whole picture, 224 pixels, RGB with ImageNet's mean and "
        "deviation; answers from -1 to 1, all x, then all y",
        tables=VGG16_BN,
        recognise=lambda found: "model." in found.wrappers,
        preprocessing=replace(PREPROCESSING, part="picture", frame="symmetric", order="planar"),
        engines=("torch",),
    )
)
