"""Pooling as both frameworks write it: windows that are the whole map are global pooling."""

from __future__ import annotations

from converters.networks.layers import (
    AveragePooling,
    GlobalAveragePooling,
    GlobalMaxPooling,
    Layer,
    MaxPooling,
)
from converters.networks.source.context import Context
from converters.networks.source.values import Side, Tensor, Traced


def pooled(
    c: Context,
    value: object,
    kernel: object,
    stride: object,
    pad: object,
    *,
    average: bool,
    cover_all: bool = False,
    ceil_mode: bool = False,
    count_pad: bool = True,
) -> Tensor:
    """Returns what a pooling makes of a value; the arguments are the framework's."""
    tensor = c.tensor(value)
    if _is_whole(tensor, kernel) and pad in (0, (0, 0)):
        return c.layer(tensor, GlobalAveragePooling() if average else GlobalMaxPooling())
    size = c.sizes(kernel, "the kernel")
    step = size if stride is None or stride == () else c.sizes(stride, "the stride")
    margin = c.sizes(pad, "the pad")
    layer: Layer = (
        AveragePooling(size, step, margin, count_pad, ceil_mode)
        if average
        else MaxPooling(size, step, margin, cover_all, ceil_mode and not cover_all)
    )
    return c.layer(tensor, layer)


def _is_whole(tensor: Tensor, kernel: object) -> bool:
    """Tells whether a window is written as the map's own sides."""
    sides = list(kernel) if isinstance(kernel, tuple | list) else [kernel, kernel]
    if len(sides) != 2 or len(tensor.node.shape) != 3:
        return False
    own = [isinstance(side, Traced) and side.origin in (Side(tensor.node, 1), Side(tensor.node, 2)) for side in sides]
    return all(own) and tuple(sides) == tensor.node.shape[1:]
