"""github asanakoy/deeppose_tf, in TensorFlow 1: the port that published its scores."""

from __future__ import annotations

from converters.checkpoint import Preprocessing
from converters.families.family import Family, register
from converters.networks import (
    OUTPUTS,
    Convolution,
    Dropout,
    Layer,
    Linear,
    LocalResponseNormalization,
    MaxPooling,
    ReLU,
    SamePadding,
    Transpose,
)

#: Of the five convolutions: output channels, kernel, stride, groups.
_CONVOLUTIONS = ((96, 11, 4, 1), (256, 5, 1, 2), (384, 3, 1, 1), (384, 3, 1, 2), (256, 3, 1, 2))


def alexnet() -> tuple[Layer, ...]:
    """Caffe's AlexNet in groups, padded as TensorFlow's SAME; ReLU, LRN, pooling; the map is flattened as (H, W, C).

    The columns of fc6 stay in that order, so that its weights are the file's, transposed.
    """
    pooling = MaxPooling(3, 2, cover_all=False)
    layers: tuple[Layer, ...] = ()
    for i, (channels, kernel, stride, groups) in enumerate(_CONVOLUTIONS, start=1):
        layers += (
            SamePadding(kernel, stride),
            Convolution(f"conv{i}", channels, kernel, stride, groups=groups),
            ReLU(),
        )
        if i < 3:
            layers += (LocalResponseNormalization(f"norm{i}", k=1.0, alpha=2e-5), pooling)
    layers += (pooling, Transpose((1, 2, 0)))
    for name in ("fc6", "fc7"):
        layers += (Linear(name, 4096), ReLU(), Dropout(0.6))
    return (*layers, Linear("fc_regression", OUTPUTS))


#: What a graph has on the way to its last layer, as `formats._tf_graph.operations` says it.
_NORMALISATION = "LRN depth_radius 2 bias 1 alpha 2e-05 beta 0.75"
_POOLING = "MaxPool ksize 1,3,3,1 strides 1,2,2,1 padding VALID"
_KNOWN = frozenset(
    (
        *("Conv2D strides 1,4,4,1 padding SAME", "Conv2D strides 1,1,1,1 padding SAME"),
        *("Relu", "MatMul", _NORMALISATION, _POOLING),
    )
)


def is_edited(operations: object) -> bool:
    """Tells whether the graph beside a checkpoint computes something else than this network, of the same variables."""
    if not isinstance(operations, tuple):
        return False
    if not _KNOWN.issuperset(operations) or operations[-1:] != ("MatMul",) or _NORMALISATION not in operations:
        return True
    return _POOLING not in operations or operations.index(_POOLING) < operations.index(_NORMALISATION)


register(
    Family(
        name="asanakoy",
        title="asanakoy/deeppose_tf (TensorFlow 1)",
        recognised="a checkpoint of TensorFlow's Saver (`checkpoint-N.index`, `.data-…`) with `fc_regression/weight`; "
        "any of its files, their common name or the text `checkpoint` may be named",
        done="its AlexNet in groups; fc8, which it never used, is left out; Adagrad's slots are kept",
        tables={"alexnet-asanakoy": alexnet()},
        formats=("tf1", "pt", "safetensors", "chainer-npz"),
        beside={"tf1": r"(?:.*/)?fc8/(?:weight|bias)"},
        preprocessing=Preprocessing(
            im_size=227, base_zoom=1.2, part="joints-whole", frame="middle", clip=True, whole_pixels=True
        ),
        notice="asanakoy/deeppose_tf trained on the box of the joints times 1 to 1.5, and tested on it times 1, 1.2 "
        "and 1.5: taken as 1.2; override with --base-zoom",
    )
)
