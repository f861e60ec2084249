"""github voqtuyen/DeepPose.pytorch: torchvision's AlexNet, published without its training."""

from converters.families.family import Family, register
from converters.families.torchvision import PREPROCESSING, alexnet

register(
    Family(
        name="alexnet-torchvision",
        title="voqtuyen/DeepPose.pytorch, and other regressors made of torchvision's AlexNet",
        recognised="`features.{0,3,6,8,10}.*` and `classifier.{1,4,6}.*`",
        done="torchvision's AlexNet, PyTorch only; RGB with ImageNet's mean and deviation, 224 pixels",
        tables={"alexnet-torchvision": alexnet()},
        preprocessing=PREPROCESSING,
        engines=("torch",),
        notice="these networks were published without their training: inputs are taken as torchvision makes them (RGB, "
        "ImageNet's mean and deviation, 224 pixels), of the box of the joints, and answers as -0.5 .. 0.5 of it",
    )
)
