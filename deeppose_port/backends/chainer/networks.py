"""The networks in today's Chainer style, built from the tables in `converters.networks`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from converters.checkpoint import Checkpoint
from converters.keys import chainer_names
from converters.networks import (
    Architecture,
    BatchNormalization,
    BatchNormalizationRules,
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
from deeppose_port.backends import refuse_foreign
from deeppose_port.backends.chainer import compat

compat.install()

import chainer  # noqa: E402 - not before compat
import chainer.functions as F  # noqa: E402, N812 - Chainer's own name for it
import chainer.links as L  # noqa: E402, N812


class BatchNorm(L.BatchNormalization):  # type: ignore[misc]
    """Batch normalisation with the arithmetic of the Chainer that wrote a checkpoint.

    It differs from `chainer.links.BatchNormalization` in that test time may have another eps than training (none at
    all before Chainer 1.21), and in that the running variance may accumulate the eps (before Chainer 4).
    """

    def __init__(self, channels: int, rules: BatchNormalizationRules) -> None:
        super().__init__(channels, decay=0.9, eps=rules.eps, initial_avg_var=rules.initial_variance)
        self.rules = rules

    def forward(self, x: Any, **kwargs: Any) -> Any:
        """Normalises (N, C, H, W) maps."""
        if not chainer.config.train:
            # cuDNN refuses an eps below 1e-5.
            with chainer.using_config("use_cudnn", "never" if self.rules.test_eps < 1e-5 else chainer.config.use_cudnn):
                return F.fixed_batch_normalization(
                    x, self.gamma, self.beta, self.avg_mean, self.avg_var, self.rules.test_eps
                )
        result = super().forward(x, **kwargs)
        if self.rules.eps_in_running_variance and not chainer.config.in_recomputing:
            samples = x.size // x.shape[1]
            # The old versions scaled the sum of variance and eps by m / (m - 1).
            self.avg_var += (1 - self.decay) * self.rules.eps * samples / max(samples - 1, 1)
        return result


class DeepPose(chainer.Chain):  # type: ignore[misc]
    """A network from a table of layers: (N, 3, H, W) float32 -> (N, 2 * joints) float32.

    Its parameters have the legacy program's names: `res2/b_1/conv1/W`.

    Attributes:
        architecture: What it was built from.
        dropout: The share that dropout zeroes in training, in place of the table's; None for the table's.
        initial_weights: What W begins as, as Chainer's links take it; None for Chainer's random numbers.
        relu_nan: What ReLU makes of NaN: `nan`, or `zero` to emulate a GPU of 2016; see `Pose`.

    Raises:
        BackendError: The network exists in PyTorch alone.
    """

    def __init__(
        self, architecture: Architecture, dropout: float | None = None, initial_weights: float | None = None
    ) -> None:
        refuse_foreign("chainer", architecture.name)
        super().__init__()
        self.architecture = architecture
        self.dropout = dropout
        self.initial_weights = initial_weights
        self.relu_nan = "nan"
        self._build(architecture.layers, channels=3)

    def forward(self, x: Any) -> Any:
        """Returns the joints of (N, 3, H, W) inputs as a Variable of (N, 2 * joints)."""
        return self._run(self.architecture.layers, x)

    def _run(self, layers: tuple[Layer, ...], x: Any) -> Any:
        for layer in layers:
            match layer:
                case Convolution() | BatchNormalization() | Linear() | PReLU():
                    x = self.link(layer.name)(x)
                case ReLU():
                    x = F.relu(x) if self.relu_nan == "nan" else F.where(x.array > 0, x, self.xp.zeros_like(x.array))
                case Tanh():
                    x = F.tanh(x)
                case MaxPooling():
                    x = F.max_pooling_2d(x, layer.kernel, layer.stride, layer.pad, cover_all=layer.cover_all)
                case GlobalAveragePooling():
                    x = F.average_pooling_2d(x, x.shape[2:])
                case LocalResponseNormalization():
                    x = F.local_response_normalization(x, layer.n, layer.k, layer.alpha, layer.beta)
                case Dropout():
                    x = F.dropout(x, layer.ratio if self.dropout is None else self.dropout)
                case Residual():
                    x = self._run(layer.branch, x) + self._run(layer.shortcut, x)
        return x

    def link(self, name: str) -> Any:
        """Returns the link of a layer by its dotted name."""
        found: Any = self
        for part in name.split("."):
            found = found[part]
        return found

    def _build(self, layers: tuple[Layer, ...], channels: int) -> int:
        """Adds the links of some layers fed with `channels` channels; returns the channels that leave them."""
        flat = False
        for layer in layers:
            match layer:
                case Convolution():
                    self._add(
                        layer.name,
                        L.Convolution2D(
                            channels,
                            layer.channels,
                            layer.kernel,
                            layer.stride,
                            layer.pad,
                            nobias=not layer.bias,
                            initialW=self.initial_weights,
                        ),
                    )
                    channels = layer.channels
                case Linear():
                    inputs = channels if flat else channels * self.architecture.feature_size**2
                    self._add(layer.name, L.Linear(inputs, layer.channels, initialW=self.initial_weights))
                    channels, flat = layer.channels, True
                case BatchNormalization():
                    self._add(layer.name, BatchNorm(channels, self.architecture.batch_normalization))
                case PReLU():
                    self._add(layer.name, L.PReLU())  # one slope for all channels
                case Residual():
                    self._build(layer.shortcut, channels)
                    channels = self._build(layer.branch, channels)
        return channels

    def _add(self, name: str, link: Any) -> None:
        """Adds a link under a dotted name such as `res2.b_1.conv1`."""
        *path, last = name.split(".")
        parent: Any = self
        for part in path:
            if not hasattr(parent, part):
                parent.add_link(part, chainer.Chain())
            parent = parent[part]
        parent.add_link(last, link)


def build(architecture: Architecture | Mapping[str, Any] | str, dropout: float | None = None) -> DeepPose:
    """Builds a network, with its writer's BatchNormalization and Chainer's initial weights.

    Args:
        architecture: An Architecture, or what a file says of it, as for the PyTorch backend.
        dropout: The share that dropout zeroes in training, in place of the architecture's own.

    Raises:
        DeepPoseError: The description is none of an architecture.
    """
    return DeepPose(Architecture.of(architecture), dropout)


def load(checkpoint: Checkpoint, dropout: float | None = None) -> DeepPose:
    """Builds a checkpoint's network with its weights, as float32."""
    network = DeepPose(checkpoint.architecture, dropout, initial_weights=0)  # drawing what is replaced takes seconds
    load_weights(network, checkpoint.weights)
    return network


def load_weights(network: DeepPose, weights: Mapping[str, Any]) -> None:
    """Copies a checkpoint's weights, by canonical name, into a network."""
    arrays = {key: weights[name] for name, key in chainer_names(network.architecture).items()}
    chainer.serializers.NpzDeserializer(arrays).load(network)


def read_weights(network: DeepPose) -> dict[str, Any]:
    """Returns copies of a network's weights by canonical name, as NumPy arrays."""
    saved = chainer.serializers.DictionarySerializer()
    saved.save(network)
    return {name: np.array(saved.target[key]) for name, key in chainer_names(network.architecture).items()}
