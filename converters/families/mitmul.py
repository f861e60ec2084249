"""mitmul/deeppose, the main line: its networks and its files from 2015 to 2017.

Source: its model files from 2015 to its last commit (2017-01), checked against the outputs of Chainer 1.1 to 7.8.1.
"""

from __future__ import annotations

from packaging.version import Version

from converters.checkpoint import Preprocessing
from converters.families.family import Family, Writers, register
from converters.families.sizes import ALEXNET, VGG16, fully_connected
from converters.networks import (
    OUTPUTS,
    BatchNormalization,
    Convolution,
    Dropout,
    GlobalAveragePooling,
    Layer,
    Linear,
    LocalResponseNormalization,
    MaxPooling,
    PReLU,
    ReLU,
    Residual,
    Tanh,
)


def alexnet(normalized: bool = False, prelu: bool = False, tanh: bool = False) -> tuple[Layer, ...]:
    """Pooling before LRN, conv1 with pad 1: this is not the AlexNet of Caffe or torchvision.

    Args:
        normalized: Whether conv1 and conv2 are followed by BatchNormalization, as in two networks of 2015.
        prelu: Whether PReLU stands for ReLU, as in one of them.
        tanh: Whether the outputs are squashed, as in the first weeks.
    """

    def activation(number: int) -> Layer:
        return PReLU(f"prelu{number}") if prelu else ReLU()

    layers: tuple[Layer, ...] = ()
    for i, row in enumerate(ALEXNET, start=1):
        layers += (Convolution(f"conv{i}", *row),)
        if normalized and i < 3:
            layers += (BatchNormalization(f"bn{i}"),)
        layers += (activation(i),)
        if i < 3:
            layers += (MaxPooling(3, 2), LocalResponseNormalization(f"norm{i}"))
    layers += (MaxPooling(3, 2),)
    for i in (6, 7):
        layers += (Linear(f"fc{i}", 4096), activation(i), Dropout(0.6))
    return (*layers, Linear("fc8", OUTPUTS), *((Tanh(),) if tanh else ()))


#: Scale of ResNet's initial weights: the legacy program asked Chainer 1.13 for sqrt(2), which took its square root.
_RESNET_SCALE = 2**0.25


def _bottleneck(name: str, middle: int, out: int, stride: int, projection: bool) -> tuple[Layer, ...]:
    """A bottleneck block; unlike torchvision's, its stride is on the first 1x1 convolution."""

    def convolution(number: int, channels: int, kernel: int, stride: int = 1) -> Convolution:
        pad = kernel // 2
        return Convolution(f"{name}.conv{number}", channels, kernel, stride, pad, bias=False, scale=_RESNET_SCALE)

    return (
        Residual(
            branch=(
                convolution(1, middle, kernel=1, stride=stride),
                BatchNormalization(f"{name}.bn1"),
                ReLU(),
                convolution(2, middle, kernel=3),
                BatchNormalization(f"{name}.bn2"),
                ReLU(),
                convolution(3, out, kernel=1),
                BatchNormalization(f"{name}.bn3"),
            ),
            shortcut=(
                convolution(4, out, kernel=1, stride=stride),
                BatchNormalization(f"{name}.bn4"),
            )
            if projection
            else (),
        ),
        ReLU(),
    )


def resnet50() -> tuple[Layer, ...]:
    """ResNet50 without biases but in the last layer; its first pooling has no pad."""
    layers: tuple[Layer, ...] = (
        Convolution("conv1", 64, kernel=7, stride=2, pad=3, bias=False, scale=_RESNET_SCALE),
        BatchNormalization("bn1"),
        ReLU(),
        MaxPooling(3, 2),
    )
    for stage, blocks, middle, stride in ((2, 3, 64, 1), (3, 4, 128, 2), (4, 6, 256, 2), (5, 3, 512, 2)):
        layers += _bottleneck(f"res{stage}.a", middle, 4 * middle, stride, projection=True)
        for block in range(1, blocks):
            layers += _bottleneck(f"res{stage}.b_{block}", middle, 4 * middle, 1, projection=False)
    return (*layers, GlobalAveragePooling(), Linear("out_fc", OUTPUTS))


def vgg(normalized: bool) -> tuple[Layer, ...]:
    """VGG16; with BatchNormalization, as at the last commit, it has no dropout."""
    layers: tuple[Layer, ...] = ()
    for stage, (convolutions, channels) in enumerate(VGG16, start=1):
        for i in range(1, convolutions + 1):
            layers += (Convolution(f"conv{stage}_{i}", channels, kernel=3, pad=1),)
            if normalized:
                layers += (BatchNormalization(f"bn{stage}_{i}"),)
            layers += (ReLU(),)
        layers += (MaxPooling(2, 2),)
    if not normalized:
        return (*layers, *fully_connected("fc6", "fc7", "fc8", 0.6))
    return (*layers, Linear("fc6", 4096), ReLU(), Linear("fc7", 4096), ReLU(), Linear("fc8", OUTPUTS))


_TABLES = {
    "alexnet": alexnet(),
    "resnet50": resnet50(),
    "vgg_bn": vgg(normalized=True),
    "alexnet_bn": alexnet(normalized=True),
    "alexnet_bn_prelu": alexnet(normalized=True, prelu=True),
    "vgg16": vgg(normalized=False),
}
_VGG_ROWS = [f"{stage}_{i}" for stage, (count, _) in enumerate(VGG16, start=1) for i in range(1, count + 1)]


register(
    Family(
        name="head",
        title="mitmul/deeppose, 2016-08 to its end in 2017, and Chainer 2 to 7 after it",
        recognised="npz or HDF5 whose keys begin with `predictor/`; a trainer's snapshot "
        "(`updater/model:main/predictor/`), a `.state`",
        done="AlexNet, ResNet50 or VGG-BN by keys and shapes; contrast normalisation divides, crops are resized "
        "linearly",
        tables=_TABLES,
        wrappers=("predictor/", "predictor."),
        formats=("chainer-npz", "chainer-hdf5"),
        recognise=lambda found: any(wrapper != "/" for wrapper in found.wrappers),
    )
)
register(
    Family(
        name="mid-2016",
        title="mitmul/deeppose, 2016-06-30 to 2016-08-22",
        recognised="npz with bare keys (`conv1/W`); ResNet50 with `res2/b1/…` and `fc`",
        done="the same networks; contrast normalisation subtracts the deviation, crops are resized to the nearest "
        "pixel",
        tables=_TABLES,
        naming={"mid-2016": {"resnet50": ((r"\.b_(\d+)\.", r".b\1."), (r"^out_fc\.", "fc."))}},
        formats=("chainer-npz",),
        preprocessing=Preprocessing(gcn="subtract", interpolation="nearest"),
        notice="its keys have no predictor/ before them, as in mid-2016: inputs are made as the program of that time "
        "made them (the contrast normalisation subtracts the deviation, crops are resized to the nearest pixel)",
    )
)
register(
    Family(
        name="early-2016",
        title="mitmul/deeppose, 2015-12-16 to 2016-06-30",
        recognised="HDF5 with bare keys (also named `.model`)",
        done="AlexNet, VGG-BN or VGG; crops are resized to the nearest pixel",
        tables=_TABLES,
        formats=("chainer-hdf5",),
        preprocessing=Preprocessing(interpolation="nearest"),
        notice="it is HDF5, as in early 2016: inputs are made as the program of that time made them (crops are "
        "resized to the nearest pixel)",
    )
)
register(
    Family(
        name="2015",
        title="mitmul/deeppose, 2015-06-21 to 2015-12-16",
        recognised="a Python 2 pickle of a FunctionSet (`.chainermodel`)",
        done="AlexNet, with bn1 and bn2, with PReLU too, or VGG (`conv1` … `conv13`, `fc14`, `fc15`, `pred`); no "
        "pickle is opened: a machine of its own makes arrays, numbers and stand-ins alone; the gradients in it are "
        "passed over; crops are resized to the nearest pixel",
        tables=_TABLES,
        naming={
            "2015": {
                "vgg16": (
                    *((rf"^conv{row}\.", f"conv{i}.") for i, row in enumerate(_VGG_ROWS, start=1)),
                    *((rf"^fc{i}\.", f"{name}.") for i, name in ((6, "fc14"), (7, "fc15"), (8, "pred"))),
                )
            }
        },
        formats=("chainer-pickle",),
        preprocessing=Preprocessing(interpolation="nearest"),
        writers=Writers(until=Version("1.5.0"), told_by="a pickled network"),
        notice="it is a pickle of 2015: inputs are made as the program of that time made them (crops are resized to "
        "the nearest pixel)",
    )
)
register(
    Family(
        name="alexnet-2015-tanh",
        title="mitmul/deeppose, its first weeks in June 2015",
        recognised="the file cannot tell: `--architecture alexnet-2015-tanh` for a file with bn1 and bn2",
        done="the outputs are squashed by tanh, the inputs are not normalised (that code only touched three rows of "
        "pixels)",
        tables={"alexnet-2015-tanh": alexnet(normalized=True, tanh=True)},
        preprocessing=Preprocessing(gcn="none", interpolation="nearest"),
        alike="alexnet_bn",
    )
)
register(
    Family(
        name="state-dict",
        title="conversions of the main line that others made",
        recognised="PyTorch or safetensors with the main line's names (`conv1.weight`, `fc8.bias`)",
        done="read as the main line's network; its inputs are those of the program's last version",
        tables=_TABLES,
    )
)
