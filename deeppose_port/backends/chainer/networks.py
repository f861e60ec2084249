"""The networks in today's Chainer style, built from the tables in `converters.networks`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from converters.checkpoint import Array, Checkpoint
from converters.keys import chainer_names
from converters.networks import (
    Architecture,
    BatchNormalizationRules,
    Join,
    Layer,
    Step,
    pair,
    parts_of,
    pooled_side,
    same_margin,
)
from converters.networks import layers as kinds
from converters.networks.flow import Flow, learned_in
from converters.networks.formula import Formula, Learned
from deeppose_port.backends import BackendError, refuse_foreign
from deeppose_port.backends.chainer import compat
from deeppose_port.backends.chainer.arrays import ChainerArrays

compat.install()

import chainer  # noqa: E402 - not before compat
import chainer.functions as F  # noqa: E402, N812 - Chainer's own name for it
import chainer.links as L  # noqa: E402, N812
from chainer import Variable  # noqa: E402

_ARRAYS = ChainerArrays()


class BatchNorm(L.BatchNormalization):  # type: ignore[misc]
    """Batch normalisation with the arithmetic of the Chainer that wrote a checkpoint.

    It differs from `chainer.links.BatchNormalization` in that test time may have another eps than training (none at
    all before Chainer 1.21), and in that the running variance may accumulate the eps (before Chainer 4).
    """

    def __init__(
        self, channels: int, rules: BatchNormalizationRules, layer: kinds.BatchNormalization | None = None
    ) -> None:
        layer = layer or kinds.BatchNormalization("")
        super().__init__(
            channels,
            decay=layer.decay,
            eps=rules.eps,
            use_gamma=layer.gamma,
            use_beta=layer.beta,
            initial_avg_var=rules.initial_variance,
        )
        self.rules = rules
        self.batch = layer.batch

    def forward(self, x: Variable, **kwargs: bool) -> Variable:
        """Normalises (N, C, H, W) maps or (N, F) features."""
        if not chainer.config.train:
            eps = self.rules.eps if self.batch else self.rules.test_eps
            gamma, beta = self._factor_and_offset()
            # cuDNN refuses an eps below 1e-5.
            with chainer.using_config("use_cudnn", "never" if eps < 1e-5 else chainer.config.use_cudnn):
                if self.batch:
                    return F.batch_normalization(x, gamma, beta, eps=eps)
                return F.fixed_batch_normalization(x, gamma, beta, self.avg_mean, self.avg_var, eps)
        result = super().forward(x, **kwargs)
        if self.rules.eps_in_running_variance and not chainer.config.in_recomputing:
            samples = x.size // x.shape[1]
            # The old versions scaled the sum of variance and eps by m / (m - 1).
            self.avg_var += (1 - self.decay) * self.rules.eps * samples / max(samples - 1, 1)
        return result

    def _factor_and_offset(self) -> tuple[Variable, Variable]:
        """Returns gamma and beta; ones and zeros for what this layer does not have."""
        size, kind = self.avg_mean.size, self.avg_mean.dtype
        gamma = self.xp.ones(size, kind) if self.gamma is None else self.gamma
        return gamma, self.xp.zeros(size, kind) if self.beta is None else self.beta


class ScaleBias(chainer.Chain):  # type: ignore[misc]
    """A learned factor on the first axes of an example's value, and an offset, as `chainer.links.Scale` names them."""

    def __init__(self, layer: kinds.Scale) -> None:
        super().__init__()
        with self.init_scope():
            self.W = chainer.Parameter(1.0, layer.shape)
            if layer.bias:
                self.bias = chainer.Chain()
                with self.bias.init_scope():
                    self.bias.b = chainer.Parameter(0.0, layer.shape)

    def forward(self, x: Variable) -> Variable:
        """Returns x * factor + offset."""
        x = F.scale(x, self.W)
        return F.bias(x, self.bias.b) if hasattr(self, "bias") else x


class SlopedPReLU(chainer.Chain):  # type: ignore[misc]
    """Chainer's PReLU, and PyTorch's with its vector of one slope for all channels."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        with self.init_scope():
            self.W = chainer.Parameter(0.25, shape)

    def forward(self, x: Variable) -> Variable:
        """Returns max(x, 0) + slope * min(x, 0)."""
        return F.prelu(x, F.reshape(self.W, ()) if self.W.size == 1 else self.W)


class DeepPose(Flow[Variable], chainer.Chain):  # type: ignore[misc]
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
        refuse_foreign("chainer", architecture)
        super().__init__()
        self.architecture = architecture
        self.dropout = dropout
        self.initial_weights = initial_weights
        self.relu_nan = "nan"
        added: set[str] = set()
        for step in architecture.steps:
            link = self._link(step)
            if link is not None:
                name: str = step.layer.name  # type: ignore[union-attr]  # links are made of layers with names
                if name not in added:  # a layer may stand in several places
                    self._add(name, link)
                    added.add(name)
        for name, learned in learned_in(architecture.steps).items():
            self._learn(name, learned)

    def forward(self, x: Variable) -> Variable:
        """Returns the joints of (N, 3, H, W) inputs as a Variable of (N, 2 * joints)."""
        outputs = self._run(self.architecture.layers, x, {})
        return F.reshape(outputs, (len(outputs), -1)) if outputs.ndim > 2 else outputs

    def maps_and_joints(self, x: Variable) -> tuple[Variable, Variable]:
        """Returns what the last layer of a network is given, the maps of a soft-argmax, and what `forward` does."""
        maps = self._run(self.architecture.layers[:-1], x, {})
        return maps, self._run(self.architecture.layers[-1:], maps, {})

    def _joined(self, values: list[Variable], join: Join) -> Variable:
        if join == "concat":
            return F.concat(values, axis=1)
        result = values[0]
        for value in values[1:]:
            if join == "sum":
                result = result + value
            else:
                one, other = F.broadcast(result, value)  # Chainer multiplies values of one shape only
                result = one * other
        return result

    def _layer(self, layer: Layer, x: Variable) -> Variable:
        match layer:
            case Formula():
                value = x.shape[1:]
                tensors = {name: self._placed(name, learned) for name, learned in layer.tensors(value).items()}
                return layer.formula(_ARRAYS, x, value, tensors)
            case kinds.ReLU():
                return F.relu(x) if self.relu_nan == "nan" else F.where(x.array > 0, x, self.xp.zeros_like(x.array))
            case kinds.LeakyReLU():
                return F.leaky_relu(x, layer.slope)
            case kinds.ClippedReLU():
                return F.clipped_relu(x, layer.maximum)
            case kinds.ELU():
                return F.elu(x, layer.alpha)
            case kinds.SELU():
                return F.selu(x)
            case kinds.Sigmoid():
                return F.sigmoid(x)
            case kinds.Tanh():
                return F.tanh(x)
            case kinds.Softplus():
                return F.softplus(x, layer.beta)
            case kinds.MaxPooling():
                return max_pool(x, layer)
            case kinds.AveragePooling():
                return average_pool(x, layer)
            case kinds.AdaptiveAveragePooling():
                return _adaptive(F.average, x, pair(layer.side))
            case kinds.AdaptiveMaxPooling():
                return _adaptive(F.max, x, pair(layer.side))
            case kinds.GlobalAveragePooling():
                return F.average_pooling_2d(x, x.shape[2:])
            case kinds.GlobalMaxPooling():
                return F.max_pooling_2d(x, x.shape[2:])
            case kinds.Upsample():
                height, width = pair(layer.factor)
                return F.repeat(F.repeat(x, height, 2), width, 3)
            case kinds.Padding():
                return F.pad(x, ((0, 0), (0, 0), (layer.top, layer.bottom), (layer.left, layer.right)), "constant")
            case kinds.SamePadding():
                margins = (same_margin(side, layer.kernel, layer.stride) for side in x.shape[2:])
                return F.pad(x, ((0, 0), (0, 0), *margins), "constant")
            case kinds.LocalResponseNormalization():
                return self._normalized(layer, x)
            case kinds.Dropout():
                return self._dropped(layer, x)
            case kinds.Affine():
                return x * layer.factor + layer.offset
            case kinds.Flatten():
                return F.reshape(x, (len(x), -1))
            case kinds.Reshape():
                return F.reshape(x, (len(x), *layer.shape))
            case kinds.Transpose():
                return F.transpose(x, (0, *(axis + 1 for axis in layer.axes)))
            case kinds.Slice():
                return x[:, layer.start : layer.stop]
            case kinds.SoftArgmax():
                return soft_argmax(x)
        return self.link(layer.name)(x)  # type: ignore[union-attr]  # a layer with weights

    def _normalized(self, layer: kinds.LocalResponseNormalization, x: Variable) -> Variable:
        if layer.n % 2:
            return F.local_response_normalization(x, layer.n, layer.k, layer.alpha, layer.beta)
        # Chainer's window is odd; this one leans to the channels before.
        before = layer.n // 2
        squares = F.pad(F.square(x), ((0, 0), (before, before - 1), (0, 0), (0, 0)), "constant")
        total = sum(squares[:, i : i + x.shape[1]] for i in range(layer.n))
        return x * (layer.k + layer.alpha * total) ** -layer.beta

    def _dropped(self, layer: kinds.Dropout, x: Variable) -> Variable:
        ratio = layer.ratio if self.dropout is None else self.dropout
        # cuDNN would draw from a state of its own, which no seed of ours reaches.
        with chainer.using_config("use_cudnn", "never"):
            if not layer.channels:
                return F.dropout(x, ratio)
            kept = F.dropout(self.xp.ones((*x.shape[:2], 1, 1), x.dtype), ratio)
        return x * F.broadcast_to(kept, x.shape)

    def _link(self, step: Step) -> chainer.Link | None:
        """Returns the link of a layer; None where it has no weights."""
        layer, channels = step.layer, step.before[0] or 0
        initial = self.initial_weights
        match layer:
            case kinds.Convolution():
                return L.Convolution2D(
                    channels,
                    layer.channels,
                    layer.kernel,
                    layer.stride,
                    layer.pad,
                    nobias=not layer.bias,
                    initialW=initial,
                    dilate=layer.dilation,
                    groups=layer.groups,
                )
            case kinds.DepthwiseConvolution():
                return L.DepthwiseConvolution2D(
                    channels, layer.multiplier, layer.kernel, layer.stride, layer.pad, not layer.bias, initial
                )
            case kinds.TransposedConvolution():
                sides = None if None in step.after else step.after[1:]
                return L.Deconvolution2D(
                    channels,
                    layer.channels,
                    layer.kernel,
                    layer.stride,
                    layer.pad,
                    nobias=not layer.bias,
                    outsize=sides if any(pair(layer.output_pad)) else None,
                    initialW=initial,
                    dilate=layer.dilation,
                    groups=layer.groups,
                )
            case kinds.Linear():
                inputs = math.prod(side or 0 for side in step.before)
                return L.Linear(inputs, layer.channels, nobias=not layer.bias, initialW=initial)
            case kinds.BatchNormalization():
                return BatchNorm(channels, self.architecture.batch_normalization.of(layer), layer)
            case kinds.PReLU():
                return SlopedPReLU(layer.shape)
            case kinds.Scale():
                return ScaleBias(layer)
        return None

    def link(self, name: str) -> chainer.Link:
        """Returns the link of a layer by its dotted name."""
        found: chainer.Link = self
        for part in name.split("."):
            found = found[part]
        return found

    def _add(self, name: str, link: chainer.Link) -> None:
        """Adds a link under a dotted name such as `res2.b_1.conv1`."""
        parent, last = self._parent(name)
        _check_free(parent, last)
        parent.add_link(last, link)

    def _learn(self, name: str, learned: Learned) -> None:
        """Adds a tensor of a formula, under its dotted name in Chainer."""
        parent, _ = self._parent(name)
        _check_free(parent, learned.chainer)
        if not learned.trained:
            parent.add_persistent(learned.chainer, learned.begins)
            return
        with parent.init_scope():
            setattr(parent, learned.chainer, chainer.Parameter(learned.begins))

    def _placed(self, name: str, learned: Learned) -> Variable:
        parent, _ = self._parent(name)
        return F.reshape(getattr(parent, learned.chainer), learned.placed)

    def _parent(self, name: str) -> tuple[chainer.Chain, str]:
        """Returns the chain that what has a dotted name stands in, made if need be, and its last part."""
        *path, last = name.split(".")
        parent: chainer.Chain = self
        for part in path:
            if part not in parent._children:
                _check_free(parent, part)
                parent.add_link(part, chainer.Chain())
            parent = parent[part]
        return parent, last


def _check_free(parent: chainer.Chain, name: str) -> None:
    if hasattr(parent, name):
        raise BackendError(f"Chainer cannot have a layer named {name!r}: its networks use that word themselves")


def max_pool(x: Variable, layer: kinds.MaxPooling) -> Variable:
    """Returns the largest of each window."""
    kernel, stride, pad = pair(layer.kernel), pair(layer.stride), pair(layer.pad)
    if layer.cover_all or not layer.ceil_mode:
        return F.max_pooling_2d(x, kernel, stride, pad, cover_all=layer.cover_all)
    pooled = F.max_pooling_2d(x, kernel, stride, pad, cover_all=True)
    height, width = (pooled_side(*side, False, True) for side in zip(x.shape[2:], kernel, stride, pad, strict=True))
    return pooled[:, :, :height, :width]


def average_pool(x: Variable, layer: kinds.AveragePooling) -> Variable:
    """Returns the mean of each window."""
    kernel, stride, pad = pair(layer.kernel), pair(layer.stride), pair(layer.pad)
    if layer.count_pad and not layer.ceil_mode:
        return F.average_pooling_2d(x, kernel, stride, pad)
    sides = [pooled_side(*side, False, layer.ceil_mode) for side in zip(x.shape[2:], kernel, stride, pad, strict=True)]
    # Chainer rounds down and counts the margin: what it leaves out is added, and its divisor is replaced.
    counts, margins = [], []
    for side, size, step, margin, windows in zip(x.shape[2:], kernel, stride, pad, sides, strict=True):
        starts = np.arange(windows) * step - margin
        low, high = (-margin, side + margin) if layer.count_pad else (0, side)
        counts.append(np.minimum(starts + size, high) - np.maximum(starts, low))
        margins.append((margin, max(0, (windows - 1) * step + size - side - margin)))
    means = F.average_pooling_2d(F.pad(x, ((0, 0), (0, 0), *margins), "constant"), kernel, stride)
    xp = chainer.backend.get_array_module(x)
    factors = (kernel[0] * kernel[1] / np.outer(*counts)).astype(np.float32)
    return means[:, :, : sides[0], : sides[1]] * F.broadcast_to(xp.asarray(factors), (*x.shape[:2], *sides))


def soft_argmax(maps: Variable) -> Variable:
    """Returns where (N, J, H, W) maps are large as (N, 2 * J), see `SoftArgmax`."""
    count, joints, height, width = maps.shape
    weights = F.softmax(F.reshape(maps, (count * joints, height * width)), axis=1)
    weights = F.reshape(weights, (count * joints, height, width))
    xp = chainer.backend.get_array_module(maps)
    columns, rows = (((xp.arange(side) + 0.5) / side - 0.5).astype(maps.dtype)[:, None] for side in (width, height))
    x, y = F.matmul(F.sum(weights, axis=1), columns), F.matmul(F.sum(weights, axis=2), rows)
    return F.reshape(F.concat([x, y], axis=1), (count, 2 * joints))


def _adaptive(pool: Callable[..., Variable], x: Variable, sides: tuple[int, int]) -> Variable:
    """Returns what `pool` makes of a map's parts."""
    rows = [
        [
            pool(x[:, :, top:bottom, left:right], axis=(2, 3), keepdims=True)
            for left, right in parts_of(x.shape[3], sides[1])
        ]
        for top, bottom in parts_of(x.shape[2], sides[0])
    ]
    return F.concat([F.concat(row, axis=3) for row in rows], axis=2)


def build(architecture: Architecture | Mapping[str, object] | str, dropout: float | None = None) -> DeepPose:
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


def load_weights(network: DeepPose, weights: Mapping[str, Array]) -> None:
    """Copies a checkpoint's weights, by canonical name, into a network."""
    arrays = {key: weights[name] for name, key in chainer_names(network.architecture).items()}
    chainer.serializers.NpzDeserializer(arrays).load(network)


def read_weights(network: DeepPose) -> dict[str, Array]:
    """Returns copies of a network's weights by canonical name, as NumPy arrays."""
    saved = chainer.serializers.DictionarySerializer()
    saved.save(network)
    return {name: np.array(saved.target[key]) for name, key in chainer_names(network.architecture).items()}
