"""Every generation, fork and port of DeepPose whose files are known: how one is recognised, and what is done with it.

One row each. What is common to the files of a row, and not in them, is how their networks' inputs and labels were made:
a row carries its preprocessing. docs/generations.md is this table with the files that are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from converters.checkpoint import Preprocessing
from converters.families.tables import ON_REQUEST
from converters.networks import engines_of

_COCO_JOINTS = (
    *("nose", "left eye", "right eye", "left ear", "right ear"),
    *("left shoulder", "right shoulder", "left elbow", "right elbow", "left wrist", "right wrist"),
    *("left hip", "right hip", "left knee", "right knee", "left ankle", "right ankle"),
)
_TAKIYU_JOINTS = (
    *("left shoulder", "left elbow", "left wrist", "right shoulder", "right elbow", "right wrist"),
    *("left hip", "right hip", "head"),
)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Generation:
    """The files of one program, in one time.

    Attributes:
        name: A short name.
        title: Whose they are.
        recognised: How a file is told to be one of them.
        done: What is done with it.
        tests: The tests that show it, as `path::test`.
        preprocessing: How its networks' inputs and labels were made.
        notice: What a user should know of how inputs are made, where the file does not say.
    """

    name: str
    title: str
    recognised: str
    done: str
    tests: tuple[str, ...]
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    notice: str | None = None


def _row(name: str, title: str, recognised: str, done: str, *tests: str, **rest: object) -> Generation:
    return Generation(name, title, recognised, done, tests, **rest)  # type: ignore[arg-type]


_ANSWERS = "tests/helpers/networks.py::AgainstChainer::test_narrow_networks_answer_as_the_chainer_that_wrote_them"
_PORTS = "tests/backends/torch/test_ports.py"
_OLD = "tests/converters/families/test_generations.py"
_PICKLES = "tests/converters/formats/test_chainer_pickle.py"
_ROWS = (
    _row(
        "head",
        "mitmul/deeppose, 2016-08 to its end in 2017, and Chainer 2 to 7 after it",
        "npz whose keys begin with `predictor/`; a trainer's snapshot (`updater/model:main/predictor/`), a `.state`",
        "AlexNet, ResNet50 or VGG-BN by keys and shapes; contrast normalisation divides, crops are resized linearly",
        "tests/converters/test_reading.py::TestGoldenModels::test_every_weight_arrives_bit_for_bit_under_its_canonical_name",
        _ANSWERS,
    ),
    _row(
        "mid-2016",
        "mitmul/deeppose, 2016-06-30 to 2016-08-22",
        "npz with bare keys (`conv1/W`); ResNet50 with `res2/b1/…` and `fc`",
        "the same networks; contrast normalisation subtracts the deviation, crops are resized to the nearest pixel",
        "tests/converters/test_reading.py::TestPreprocessing::test_bare_names_mean_the_input_of_mid_2016",
        preprocessing=Preprocessing(gcn="subtract", interpolation="nearest"),
        notice="its keys have no predictor/ before them, as in mid-2016: inputs are made as the program of that time "
        "made them (the contrast normalisation subtracts the deviation, crops are resized to the nearest pixel)",
    ),
    _row(
        "early-2016",
        "mitmul/deeppose, 2015-12-16 to 2016-06-30",
        "HDF5 (also named `.model`)",
        "AlexNet, VGG-BN or VGG; crops are resized to the nearest pixel",
        "tests/converters/test_reading.py::TestPreprocessing::test_hdf5_means_the_input_of_early_2016",
        preprocessing=Preprocessing(interpolation="nearest"),
        notice="it is HDF5, as in early 2016: inputs are made as the program of that time made them (crops are "
        "resized to the nearest pixel)",
    ),
    _row(
        "2015",
        "mitmul/deeppose, 2015-06-21 to 2015-12-16",
        "a Python 2 pickle of a FunctionSet (`.chainermodel`)",
        "AlexNet, with bn1 and bn2, with PReLU too, or VGG (`conv1` … `conv13`, `fc14`, `fc15`, `pred`); no pickle is "
        "opened: a machine of its own makes arrays, numbers and stand-ins alone; the gradients in it are passed over; "
        "crops are resized to the nearest pixel",
        f"{_PICKLES}::test_every_weight_arrives_bit_for_bit_under_its_canonical_name",
        _ANSWERS,
        preprocessing=Preprocessing(interpolation="nearest"),
        notice="it is a pickle of 2015: inputs are made as the program of that time made them (crops are resized to "
        "the nearest pixel)",
    ),
    _row(
        "alexnet-2015-tanh",
        "mitmul/deeppose, its first weeks in June 2015",
        "the file cannot tell: `--architecture alexnet-2015-tanh` for a file with bn1 and bn2",
        "the outputs are squashed by tanh, the inputs are not normalised (that code only touched three rows of pixels)",
        f"{_OLD}::TestOnRequest::test_the_first_network_of_2015_squashes_its_outputs",
        preprocessing=Preprocessing(gcn="none", interpolation="nearest"),
    ),
    _row(
        "2019",
        "the rewrite of 2019 (pull request, Chainer 6 and ChainerCV)",
        "npz with `model/extractor/…` and `model/fc/…`, a trainer's snapshot of them",
        "its own AlexNet (conv2 with stride 2, no ReLU after fc6 and fc7); 0 to 255 in RGB, pixels as answers, y first",
        _ANSWERS,
        f"{_OLD}::TestRewriteOf2019::test_its_answers_are_pixels_y_first",
        preprocessing=Preprocessing(coord_normalize=False, gcn="none", colour="RGB", axes="yx"),
    ),
    _row(
        "alexnet-takiyu",
        "takiyu/DeepPose (Chainer)",
        "the same names and shapes as AlexNet: `--architecture alexnet-takiyu`",
        "conv1 without pad, LRN before ReLU and pooling; BGR from 0 to 1; nine joints, left first, or one",
        f"{_OLD}::TestOnRequest::test_forks_answer_as_their_networks",
        preprocessing=Preprocessing(gcn="none", scale=255.0),
        notice="the program of takiyu cut persons out by their faces, which is not done here: inputs are the box of "
        "the joints, as the legacy program's",
    ),
    _row(
        "alexnet-ynaka81",
        "ynaka81/DeepPoseComparison, its Chainer and its PyTorch files",
        "the same names and shapes as AlexNet: `--architecture alexnet-ynaka81`",
        "conv1 without pad, no LRN; RGB from 0 to 1, a window of 227 pixels around the joints that is not resized, "
        "answers are fractions of it from 0 to 1",
        f"{_OLD}::TestOnRequest::test_forks_answer_as_their_networks",
        f"{_PORTS}::test_ynaka81_answers_from_the_picture_on",
        preprocessing=Preprocessing(im_size=227, gcn="none", colour="RGB", scale=255.0, part="window", frame="unit"),
    ),
    _row(
        "alexnet-torchvision",
        "voqtuyen/DeepPose.pytorch, and other regressors made of torchvision's AlexNet",
        "`features.{0,3,6,8,10}.*` and `classifier.{1,4,6}.*`",
        "torchvision's AlexNet, PyTorch only; RGB with ImageNet's mean and deviation, 224 pixels",
        f"{_PORTS}::test_torchvision_alexnet_answers_from_the_picture_on",
        preprocessing=Preprocessing(
            im_size=224, gcn="none", colour="RGB", scale=255.0, mean=_IMAGENET_MEAN, std=_IMAGENET_STD
        ),
        notice="these networks were published without their training: inputs are taken as torchvision makes them (RGB, "
        "ImageNet's mean and deviation, 224 pixels), of the box of the joints, and answers as -0.5 .. 0.5 of it",
    ),
    _row(
        "vgg16_bn-torchvision",
        "JindongJiang/WeightedLoss_DeepPose_PyTorch",
        "`features.{0..41}.*` and `classifier.{0,3,6}.*` (under `model.`)",
        "torchvision's vgg16_bn, PyTorch only; the whole picture, 224 pixels, RGB with ImageNet's mean and deviation; "
        "answers from -1 to 1, all x, then all y",
        f"{_PORTS}::test_vgg16_bn_answers_from_the_picture_on",
        preprocessing=Preprocessing(
            im_size=224,
            gcn="none",
            colour="RGB",
            part="picture",
            scale=255.0,
            mean=_IMAGENET_MEAN,
            std=_IMAGENET_STD,
            frame="symmetric",
            order="planar",
        ),
    ),
    _row(
        "alexnet-hosseinpai",
        "HosseinPAI, jayc9135/DeepPose-Human-Pose-Estimation-Modified",
        "`Conv1` … `Conv5`, `FC1` … `FC3`",
        "their AlexNet with `torch.nn.LocalResponseNorm(5)`, PyTorch only; the whole picture, 220 pixels, resized as "
        "Pillow does, RGB with their mean and deviation; answers from -0.5 to 0.5",
        f"{_PORTS}::test_hosseinpai_answers_from_the_picture_on",
        preprocessing=Preprocessing(
            gcn="none",
            colour="RGB",
            part="picture",
            interpolation="antialiased",
            scale=255.0,
            mean=(0.452, 0.445, 0.379),
            std=(0.216, 0.201, 0.203),
        ),
    ),
    _row(
        "resnet-naman-ntc",
        "Naman-ntc/Pytorch-Human-Pose-Estimation",
        "`resnet.conv1.weight` … `resnet.fc.*`, torchvision's names under `resnet.`; the depth by the number of blocks",
        "torchvision's ResNet 18 to 152, PyTorch only; RGB / 256 (a version of 2018 left OpenCV's BGR), a letterbox of "
        "256 pixels, answers from -0.5 to 0.5 (0 to 1 with COCO's 17 joints)",
        f"{_PORTS}::test_naman_ntc_answers_from_the_picture_on",
        preprocessing=Preprocessing(im_size=256, gcn="none", colour="RGB", part="letterbox", scale=256.0),
    ),
    _row(
        "resnet-mmpose",
        "MMPose's DeepPose, 0.x and 1.x",
        "`backbone.*` with `head.fc.*` or `keypoint_head.fc.*`",
        "torchvision's ResNet 18 to 152, PyTorch only; RGB with ImageNet's mean and deviation (or the "
        "`data_preprocessor.mean` and `std` that are in the file), a letterbox of 256 pixels (256 high and 192 wide "
        "with COCO's 17 joints), answers from 0 to 1",
        f"{_PORTS}::test_mmpose_answers_from_the_picture_on",
        preprocessing=Preprocessing(
            im_size=256,
            base_zoom=1.25,
            gcn="none",
            colour="RGB",
            part="letterbox",
            mean=(123.675, 116.28, 103.53),
            std=(58.395, 57.12, 57.375),
            frame="unit",
        ),
    ),
    _row(
        "resnet-torchvision",
        "WZMIAOMIAO/deep-learning-for-image-processing, and other regressors made of torchvision's ResNet",
        "torchvision's names (`layer1.0.conv1.weight` … `fc.*`), the depth by the number of blocks",
        "torchvision's ResNet 18 to 152, PyTorch only; RGB with ImageNet's mean and deviation, a letterbox of 256 "
        "pixels, answers from 0 to 1",
        f"{_PORTS}::test_wzmiaomiao_answers_from_the_picture_on",
        preprocessing=Preprocessing(
            im_size=256,
            gcn="none",
            colour="RGB",
            part="letterbox-corners",
            scale=255.0,
            mean=_IMAGENET_MEAN,
            std=_IMAGENET_STD,
            frame="unit",
        ),
        notice="torchvision's names alone do not say how inputs were made: they are taken as those of WZMIAOMIAO (RGB, "
        "ImageNet's mean and deviation, a letterbox of 256 pixels), and answers as 0 .. 1 of it",
    ),
    _row(
        "state-dict",
        "conversions of the main line that others made",
        "PyTorch or safetensors with the main line's names (`conv1.weight`, `fc8.bias`)",
        "read as the main line's network; its inputs are those of the program's last version",
        "tests/converters/formats/test_pt.py::TestReading",
    ),
    _row(
        "own",
        "what `deeppose-port` wrote: .pt, safetensors, npz",
        "`deeppose_port` among its metadata",
        "read as it says of itself: architecture, writer, preprocessing, where it came from",
        "tests/converters/test_reading.py::TestMetadata::test_what_a_file_says_of_itself_wins",
    ),
)

#: Every generation that is read, by name.
GENERATIONS = {row.name: row for row in _ROWS}


def generation_of(format: str, wrappers: Sequence[str], architecture: str, names: str, *, own: bool) -> Generation:
    """Returns the row that a file falls into.

    Args:
        format: Its format, as `Source.format`.
        wrappers: The prefixes that its keys bore.
        architecture: Name of its architecture.
        names: Generation of its layers' names.
        own: Whether it says of itself that we wrote it.
    """
    return GENERATIONS[_name(format, wrappers, architecture, names, own)]


def adapted(generation: Generation, joints: int, colours: Mapping[str, tuple[float, ...]]) -> Preprocessing:
    """Returns a generation's preprocessing for one file.

    Args:
        generation: The row.
        joints: Number of joints: two programs made other inputs and labels for COCO, which has 17.
        colours: `mean` and `std` of the channels, where the file has them.
    """
    preprocessing = replace(generation.preprocessing, **colours)  # type: ignore[arg-type]
    if generation.name == "alexnet-takiyu" and joints == len(_TAKIYU_JOINTS):
        return replace(preprocessing, joints=_TAKIYU_JOINTS)
    if joints != len(_COCO_JOINTS):
        return preprocessing
    if generation.name == "resnet-mmpose":
        return replace(preprocessing, im_width=192, joints=_COCO_JOINTS)
    if generation.name == "resnet-naman-ntc":
        return replace(preprocessing, frame="unit", joints=_COCO_JOINTS)
    return preprocessing


def _name(format: str, wrappers: Sequence[str], architecture: str, names: str, own: bool) -> str:
    if own:
        return "own"
    if architecture in ON_REQUEST:
        return architecture
    if architecture == "deeppose2019":
        return "2019"
    if "chainer" not in engines_of(architecture):
        return _port(wrappers, architecture, names)
    if format == "chainer-npz":
        return "head" if wrappers else "mid-2016"
    return {"chainer-pickle": "2015", "chainer-hdf5": "early-2016"}.get(format, "state-dict")


def _port(wrappers: Sequence[str], architecture: str, names: str) -> str:
    if not architecture.startswith("resnet"):
        return architecture
    if names.startswith("mmpose"):
        return "resnet-mmpose"
    return "resnet-naman-ntc" if "resnet." in wrappers else "resnet-torchvision"
