"""The layers that are told by a formula: one module for each idea."""

from converters.networks.formulas.activations import GELU
from converters.networks.formulas.learned import Weighting
from converters.networks.formulas.normalization import GroupNormalization, LayerNormalization
from converters.networks.formulas.resizing import Resize

__all__ = ["GELU", "GroupNormalization", "LayerNormalization", "Resize", "Weighting"]
