"""Networks that are known and are no DeepPose, or not one that can be read: refused by name, with what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from converters.errors import CheckpointError
from converters.families.asanakoy import is_edited
from converters.families.mmpose import HEADS
from converters.families.mmpose_configuration import configuration, joints_in, setting
from converters.networks import Shape
from converters.values import dataclass

Shapes: TypeAlias = Mapping[str, Shape]
Values: TypeAlias = Mapping[str, object]
#: What a TensorFlow graph computes, among the values beside a file's arrays.
GRAPH = "graph"


@dataclass(frozen=True)
class UnsupportedModel:
    """A network that is refused.

    Attributes:
        name: A short name.
        title: Whose it is.
        recognised: How a file is told to be one.
        holds: Tells whether a file's arrays, by the shapes of their keys without wrappers, are it; or what is known of
            the plain values beside them.
        problem: What it is, as a message says it.
        advice: What to do.
        certain: Whether it can be nothing else: what a user names is then refused too.
    """

    name: str
    title: str
    recognised: str
    holds: Callable[[Shapes, Values], bool]
    problem: str
    advice: str
    certain: bool = True


def _has(pattern: str) -> Callable[[Shapes, Values], bool]:
    return lambda shapes, values: any(re.search(pattern, key) for key in shapes)


#: The kernel of a layer as Keras names it, and the layers of the one network of Keras's that is read.
_KERAS, _HOURGLASS = re.compile(r"[^/]+/kernel"), re.compile(r"(?:conv2d|batch_normalization)(?:_\d+)?/")

#: The arrays of a layer in Caffe's HDF5.
_CAFFE = re.compile(r"data/.+/\d+", re.DOTALL)

_LAST_LAYERS = (
    *("fc8/W", "fc/W", "out_fc/W", "pred/W", "fc8.weight", "fc.weight"),
    *("classifier.6.weight", "head.fc.weight", "keypoint_head.fc.weight"),
)


def _classifies(shapes: Shapes, values: Values) -> bool:
    """Tells whether it has ImageNet's 1000 classes, as the networks that these ones were started from."""
    return any(shapes[key][:1] == (1000,) for key in _LAST_LAYERS if key in shapes)


#: The last layers of MMPose's networks with heat maps.
_HEATMAPS = r"(?:^|\.)(?:keypoint_)?head\.(?:simplebaseline_head\.)?(?:deconv_layers|final_layer)\."


#: A block of three convolutions, whose stride is on the second in torchvision's style and on the first in Caffe's.
_BOTTLENECK, _IN_CAFFES_STYLE = r"(?:^|\.)backbone\.layer1\.0\.conv3\.", setting("style") + r"[\"']caffe\b"
_STRIDED = (
    setting("strides")
    + r"[\[(]\s*\d+\s*,(?!\s*2\s*,\s*2\s*,\s*2\s*,?\s*[\])])|"
    + setting("dilations")
    + r"[\[(](?!\s*1\s*,\s*1\s*,\s*1\s*,\s*1\s*,?\s*[\])])"
)


def _says(values: Values, pattern: str) -> bool:
    """Tells whether the configuration inside of a file has something in it."""
    return re.search(pattern, configuration(values)) is not None


def _is_true(name: str) -> str:
    return setting(name) + r"[Tt]rue\b"


def _is_of_mmpose(shapes: Shapes) -> bool:
    return any(re.search(r"(?:^|\.)(?:keypoint_)?head\.", key) for key in shapes)


#: Joints of the data sets of bodies, hands and faces that MMPose regresses. Twice as many are those of none.
_RLE_JOINTS = (14, 16, 17, 19, 21, 26, 29, 68, 98, 106, 133)


def _is_stripped_rle(shapes: Shapes, values: Values) -> bool:
    """Tells whether MMPose's last layer has two coordinates and two widths for each joint.

    Its configuration says so, where it is there; otherwise the rows of the last layer do: they are four for each joint
    of a data set that MMPose regresses, and there is none of twice as many joints.
    """
    rows = next((shapes[f"{head}.fc.weight"][:1] for head in HEADS if f"{head}.fc.weight" in shapes), ())
    if not rows or not any(key.startswith("backbone.") for key in shapes):
        return False
    if text := configuration(values):
        by_name = re.search(rf"\bRLE(?:Loss|Head)\b|{_is_true('out_sigma')}", text) is not None
        return by_name or rows[0] == 4 * (joints_in(text) or 0)
    return rows[0] in [4 * joints for joints in _RLE_JOINTS]


UNSUPPORTED = (
    UnsupportedModel(
        "ResNet152",
        "ResNet152 of mitmul/deeppose, 2016-06 to 2016-08",
        "Chainer's `res4/b35/…` with `fc/…`",
        _has(r"^res4/b_?3\d/"),
        "this is ResNet152, which the program could not train for poses: it classified, with a softmax",
        "there are no joints in it",
    ),
    UnsupportedModel(
        "classifier",
        "networks for ImageNet: mitmul's ResNet50 before 2016-06-30, Caffe's, ChainerCV's, torchvision's, MMPretrain's",
        "a last layer (`fc8`, `fc`, `classifier.6`, `head.fc`) with 1000 rows",
        _classifies,
        "its last layer has 1000 outputs: it classifies ImageNet and answers no joints",
        "take a checkpoint of a pose network",
    ),
    UnsupportedModel(
        "HosseinPAI with Conv6",
        "HosseinPAI's variant with six convolutions",
        "`Conv6.*` or `FC4.*` beside `Conv1.*`",
        lambda shapes, values: "Conv1.weight" in shapes and ("Conv6.weight" in shapes or "FC4.weight" in shapes),
        "this is the variant of HosseinPAI's network with Conv6 and FC4, whose layers between them nothing tells",
        "the one with Conv1 to Conv5 and FC1 to FC3 is read",
    ),
    UnsupportedModel(
        "Keras",
        "other networks of Keras's than the stacked hourglass",
        "HDF5 of Keras 2 with layers that are neither `conv2d` nor `batch_normalization`",
        lambda shapes, values: any(_KERAS.fullmatch(key) for key in shapes) and not all(map(_HOURGLASS.match, shapes)),
        "this is a network of Keras's with other layers than a stacked hourglass, the only one of Keras's that is read",
        "where it was made, save it as PyTorch's or safetensors, with the names of a network that is read",
    ),
    UnsupportedModel(
        "Caffe",
        "Caffe's networks in HDF5",
        "`data/LAYER/0`, `data/LAYER/1` for every layer",
        lambda shapes, values: bool(shapes) and all(map(_CAFFE.fullmatch, shapes)),
        "this is a network of Caffe's in HDF5, which is not read",
        "it is another network than those that are read: docs/families.md",
    ),
    UnsupportedModel(
        "asanakoy, edited",
        "networks with the variables of asanakoy/deeppose_tf's that compute something else",
        "`fc_regression/weight`, and a graph (`NAME.meta`) with other padding, normalisation, pooling or activations",
        lambda shapes, values: _has(r"(?:^|/)fc_regression/weight$")(shapes, values) and is_edited(values.get(GRAPH)),
        "the graph beside it (.meta) has other padding, normalisation, pooling or activations than the network of "
        "asanakoy/deeppose_tf, whose variables it has",
        "--architecture alexnet-asanakoy takes it for that network all the same",
        certain=False,
    ),
    UnsupportedModel(
        "MMPose with RLE",
        "MMPose's regression with RLE",
        "`head.loss_module.flow…`, `head.loss.flow…`",
        _has(r"(?:^|\.)(?:keypoint_)?head\.loss(?:_module)?\.flow"),
        "this is MMPose's regression with residual log-likelihood (RLE), another network: half its outputs are widths",
        "MMPose itself reads it",
    ),
    UnsupportedModel(
        "MMPose with RLE, stripped",
        "MMPose's regression with RLE, stripped for inference",
        "`RLELoss` or `RLEHead` in the configuration inside of the file; without one a `head.fc` with four rows for "
        ""
        f"each of {', '.join(map(str, _RLE_JOINTS[:-1]))} or {_RLE_JOINTS[-1]} joints",
        _is_stripped_rle,
        "its last layer has four rows a joint: this is MMPose's regression with residual log-likelihood (RLE), "
        "stripped for inference, another network: half its outputs are widths",
        "MMPose itself reads it; if it is DeepPose with twice as many joints, say --architecture NAME, as "
        "resnet50-torchvision",
        certain=False,
    ),
    UnsupportedModel(
        "MMPose with UDP",
        "MMPose's networks whose inputs are made by UDP",
        "`use_udp=True` or `UDPHeatmap` in the configuration inside of a file with `head.…` or `keypoint_head.…`",
        lambda shapes, values: _is_of_mmpose(shapes) and _says(values, rf"{_is_true('use_udp')}|\bUDPHeatmap\b"),
        "this is a network of MMPose's with UDP, whose inputs and joints lie otherwise in their pixels",
        "MMPose itself reads it",
    ),
    UnsupportedModel(
        "MMPose without bias",
        "MMPose's integral regression without its bias, or with maps that are multiplied",
        "`debias=True`, or a `beta` other than 1, in the configuration inside of a file with "
        "`head.simplebaseline_head…`",
        lambda shapes, values: (
            _has(r"(?:^|\.)head\.simplebaseline_head\.")(shapes, values)
            and _says(values, rf"{_is_true('debias')}|{setting('beta')}(?!1(?:\.0*)?(?![\d.]))\d")
        ),
        "this is MMPose's integral regression whose bias was removed (debias), or whose maps are multiplied (beta), "
        "before the softmax, which is not done here",
        "MMPose itself reads it",
    ),
    UnsupportedModel(
        "MMPose in Caffe's style",
        "MMPose's networks on ResNets with strides or dilations in other places than torchvision's",
        "`style='caffe'`, other `strides` than 1, 2, 2, 2 or other `dilations` than 1 in the configuration inside of a "
        "file with `backbone.layer1.…` and `head.…` or `keypoint_head.…`",
        lambda shapes, values: (
            _is_of_mmpose(shapes)
            and _has(r"(?:^|\.)backbone\.layer1\.")(shapes, values)
            and (_says(values, _STRIDED) or (_has(_BOTTLENECK)(shapes, values) and _says(values, _IN_CAFFES_STYLE)))
        ),
        "this is a network of MMPose's on a ResNet whose strides or dilations are not torchvision's, as its "
        "configuration says, and its arrays are the same",
        "MMPose itself reads it",
    ),
    UnsupportedModel(
        "MMPose with heat maps",
        "MMPose's other networks with heat maps",
        "`head.deconv_layers…`, `head.final_layer…` without a ResNet's `backbone.layer4…`",
        lambda shapes, values: (
            _has(_HEATMAPS)(shapes, values) and not _has(r"(?:^|\.)backbone\.layer4\.\d+\.conv2\.")(shapes, values)
        ),
        "this is a network of MMPose with heat maps on another backbone than a ResNet",
        "MMPose itself reads it",
    ),
)


def refuse_unsupported(path: Path, shapes: Shapes, values: Values, asked: bool) -> None:
    """Refuses a file whose arrays are those of a network that is known to be another.

    Args:
        path: The file, for the message.
        shapes: Shapes of its arrays by key, without wrappers.
        values: The plain values beside them.
        asked: Whether a user named an architecture.

    Raises:
        CheckpointError: They are.
    """
    for model in UNSUPPORTED:
        if (model.certain or not asked) and model.holds(shapes, values):
            raise CheckpointError(path, model.problem, model.advice)
