"""The layers that are told by a formula: one module for each idea."""

from converters.networks.formula import FUNCTIONS, FunctionName
from converters.networks.formulas.activations import GELU, Function
from converters.networks.formulas.learned import Constant, LinearAlongLast, Weighting
from converters.networks.formulas.normalization import GroupNormalization, LayerNormalization
from converters.networks.formulas.reductions import Reduction, Softmax
from converters.networks.formulas.resizing import Margin, Resize

__all__ = [
    "FUNCTIONS",
    "GELU",
    "Constant",
    "Function",
    "FunctionName",
    "GroupNormalization",
    "LayerNormalization",
    "LinearAlongLast",
    "Margin",
    "Reduction",
    "Resize",
    "Softmax",
    "Weighting",
]
