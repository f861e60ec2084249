"""BatchNormalization folded into the layer before it: what a network computes at test time, with fewer steps.

    gamma * (W x + b - mean) / sqrt(variance + eps) + beta  =  W' x + b'
    W' = W * gamma / sqrt(variance + eps),  b' = (b - mean) * gamma / sqrt(variance + eps) + beta

It is computed in float64 and rounded once, with the eps that the writer of the file added at test time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from converters.networks.batch_normalization import BatchNormalizationRules
from converters.networks.layers import (
    BatchNormalization,
    Convolution,
    DepthwiseConvolution,
    Layer,
    Linear,
    Parallel,
    Residual,
    TransposedConvolution,
)

_Array = npt.NDArray[np.number]
_Weighted = Convolution | DepthwiseConvolution | TransposedConvolution | Linear


def fold(
    layers: tuple[Layer, ...], weights: Mapping[str, _Array], rules: BatchNormalizationRules
) -> tuple[tuple[Layer, ...], dict[str, _Array]]:
    """Folds every BatchNormalization that follows a layer with a matrix into it.

    One stays that normalises by its batch, or whose numbers are not finite (a variance of 0 under a Chainer that added
    no eps): folding would hide which values it reaches.

    Args:
        layers: A network's table.
        weights: Its state dict; it is left as it is.
        rules: The arithmetic of its BatchNormalization.

    Returns:
        The table and the state dict without what was folded; what was folded into is float32.
    """
    folded = dict(weights)
    return _folded(layers, folded, rules), folded


def factors(
    layer: BatchNormalization, weights: Mapping[str, _Array], rules: BatchNormalizationRules
) -> tuple[_Array, _Array]:
    """Returns the factor and the offset, float64, that a BatchNormalization is at test time."""
    mean, variance = (
        np.asarray(weights[f"{layer.name}.{part}"], np.float64) for part in ("running_mean", "running_var")
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = 1 / np.sqrt(variance + rules.of(layer).test_eps)
        if layer.gamma:
            factor = factor * np.asarray(weights[f"{layer.name}.weight"], np.float64)
        offset = -mean * factor
    if layer.beta:
        offset = offset + np.asarray(weights[f"{layer.name}.bias"], np.float64)
    return factor, offset


def _folded(layers: tuple[Layer, ...], weights: dict[str, _Array], rules: BatchNormalizationRules) -> tuple[Layer, ...]:
    result: list[Layer] = []
    for layer in layers:
        before = result[-1] if result else None
        match layer:
            case BatchNormalization(batch=False) if isinstance(before, _Weighted):
                factor, offset = factors(layer, weights, rules)
                if np.isfinite(factor).all() and np.isfinite(offset).all():
                    result[-1] = _with_factor(before, factor, offset, weights)
                    for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
                        weights.pop(f"{layer.name}.{part}", None)
                    continue
                result.append(layer)
            case Residual() | Parallel():
                result.append(layer.with_branches(_folded(branch, weights, rules) for branch in layer.branches))
            case _:
                result.append(layer)
    return tuple(result)


def _with_factor(layer: _Weighted, factor: _Array, offset: _Array, weights: dict[str, _Array]) -> _Weighted:
    """Puts a factor and an offset of its outputs into a layer's weights; returns it with a bias."""
    weight = np.asarray(weights[f"{layer.name}.weight"], np.float64)
    match layer:
        case DepthwiseConvolution():  # (multiplier, C, h, w), whose outputs go channel by channel
            rows = factor.reshape(-1, layer.multiplier).T[:, :, None, None]
        case TransposedConvolution():  # (C, channels / groups, h, w)
            per_group = factor.reshape(layer.groups, 1, -1, 1, 1)
            rows = np.broadcast_to(per_group, (layer.groups, len(weight) // layer.groups, *per_group.shape[2:]))
            rows = rows.reshape(len(weight), -1, 1, 1)
        case _:
            rows = factor.reshape(-1, *(1,) * (weight.ndim - 1))
    bias = np.asarray(weights[f"{layer.name}.bias"], np.float64) if layer.bias else np.zeros(len(factor))
    weights[f"{layer.name}.weight"] = (weight * rows).astype(np.float32)
    weights[f"{layer.name}.bias"] = (bias * factor + offset).astype(np.float32)
    return dataclasses.replace(layer, bias=True)
