"""Each network as a table of layers: the one place that says what it is made of.

Both backends build their networks from these tables, and the readers compare files with them. Sources: the legacy
program's model files from 2015 to its last commit (2017-01), checked against the outputs of Chainer 1.1 to 7.8.1; for
the ports to PyTorch their own sources and torchvision's. Convolutions round down; max pooling rounds up in Chainer
(`cover_all=True`) and down in PyTorch.
"""

from converters.networks.architecture import Architecture
from converters.networks.batch_normalization import (
    TORCH_WRITER,
    BatchNormalizationRules,
    batch_normalization_rules,
    chainer_version,
    check_writer,
)
from converters.networks.layers import (
    OUTPUTS,
    AdaptiveAveragePooling,
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
    Shape,
    Tanh,
    walk,
)
from converters.networks.tables import TABLES, add_table, engines_of, feature_size, outputs_layer

__all__ = [
    "OUTPUTS",
    "TABLES",
    "TORCH_WRITER",
    "AdaptiveAveragePooling",
    "Architecture",
    "BatchNormalization",
    "BatchNormalizationRules",
    "Convolution",
    "Dropout",
    "GlobalAveragePooling",
    "Layer",
    "Linear",
    "LocalResponseNormalization",
    "MaxPooling",
    "PReLU",
    "ReLU",
    "Residual",
    "Shape",
    "Tanh",
    "add_table",
    "batch_normalization_rules",
    "chainer_version",
    "check_writer",
    "engines_of",
    "feature_size",
    "outputs_layer",
    "walk",
]
