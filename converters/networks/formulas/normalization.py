"""Normalisations of each example by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from converters.errors import DeepPoseError
from converters.networks.formula import Arrays, Calculated, Formula, Learned, Shape, Value
from converters.values import dataclass


def _tensors(name: str, gamma: bool, beta: bool, shape: Shape, placed: Shape) -> dict[str, Learned]:
    found = {}
    if gamma:
        found[f"{name}.weight"] = Learned(shape, placed, "gamma", first=(1.0,))
    if beta:
        found[f"{name}.bias"] = Learned(shape, placed, "beta")
    return found


def _scaled(arrays: Arrays[Calculated], x: Calculated, name: str, tensors: Mapping[str, Calculated]) -> Calculated:
    if f"{name}.weight" in tensors:
        x = arrays.multiply(x, tensors[f"{name}.weight"])
    return arrays.add(x, tensors[f"{name}.bias"]) if f"{name}.bias" in tensors else x


@dataclass(frozen=True)
class GroupNormalization(Formula):
    """Groups of channels, each with a mean of 0 and a variance of 1; then a factor and an offset a channel.

    Wu and He, "Group normalization" (ECCV 2018). As many groups as channels are instance normalisation.
    """

    word: ClassVar[str] = "group normalisation"
    name: str
    groups: int
    eps: float = 1e-5
    gamma: bool = True
    beta: bool = True

    def after(self, value: Value) -> Value:
        """Returns the same shape."""
        if len(value) < 1 or not value[0] or value[0] % self.groups:
            raise DeepPoseError(f"{self.name} cannot be {self.groups} groups of {value[0] if value else 0} channels")
        return value

    def tensors(self, value: Value) -> dict[str, Learned]:
        """Returns a factor and an offset a channel."""
        channels = value[0] or 0
        return _tensors(self.name, self.gamma, self.beta, (channels,), (channels, *(1,) * (len(value) - 1)))

    def formula(
        self, arrays: Arrays[Calculated], x: Calculated, value: Value, tensors: Mapping[str, Calculated]
    ) -> Calculated:
        """Normalises over the channels of a group and their maps."""
        groups = arrays.normalised(arrays.reshape(x, (self.groups, -1)), 1, self.eps)
        return _scaled(arrays, arrays.reshape(groups, tuple(side or 0 for side in value)), self.name, tensors)

    def module(self, value: Value) -> str | None:
        """Returns PyTorch's, which has both a factor and an offset, or neither."""
        if self.gamma != self.beta:
            return None
        return f"nn.GroupNorm({self.groups}, {value[0]}, {self.eps!r}{'' if self.gamma else ', affine=False'})"


@dataclass(frozen=True)
class LayerNormalization(Formula):
    """The last axes together with a mean of 0 and a variance of 1; then a factor and an offset for each place in them.

    Ba, Kiros and Hinton, "Layer normalization" (2016).

    Attributes:
        name: Its name.
        shape: The lengths of those axes.
        eps: What is added to the variance.
        gamma: Whether it has a factor.
        beta: Whether it has an offset.
    """

    word: ClassVar[str] = "layer normalisation"
    name: str
    shape: Shape
    eps: float = 1e-5
    gamma: bool = True
    beta: bool = True

    def after(self, value: Value) -> Value:
        """Returns the same shape."""
        if not self.shape or value[-len(self.shape) :] != self.shape:
            raise DeepPoseError(f"{self.name} is made for {self.shape}, and is given {value}")
        return value

    def tensors(self, value: Value) -> dict[str, Learned]:
        """Returns a factor and an offset of the shape."""
        return _tensors(self.name, self.gamma, self.beta, self.shape, self.shape)

    def formula(
        self, arrays: Arrays[Calculated], x: Calculated, value: Value, tensors: Mapping[str, Calculated]
    ) -> Calculated:
        """Normalises over the last axes."""
        return _scaled(arrays, arrays.normalised(x, len(self.shape), self.eps), self.name, tensors)

    def module(self, value: Value) -> str | None:
        """Returns PyTorch's."""
        if self.beta and not self.gamma:
            return None
        how = "" if self.gamma and self.beta else ", bias=False" if self.gamma else ", elementwise_affine=False"
        return f"nn.LayerNorm({self.shape}, {self.eps!r}{how})"
