"""Small networks of each layer that tables know, for the tests of both backends."""

import numpy as np

from converters import Architecture
from converters.networks import (
    ELU,
    SELU,
    AdaptiveAveragePooling,
    AdaptiveMaxPooling,
    Affine,
    AveragePooling,
    BatchNormalization,
    ClippedReLU,
    Convolution,
    DepthwiseConvolution,
    Dropout,
    Flatten,
    GlobalAveragePooling,
    GlobalMaxPooling,
    LeakyReLU,
    Linear,
    LocalResponseNormalization,
    MaxPooling,
    Name,
    OwnTable,
    Padding,
    Parallel,
    PReLU,
    ReLU,
    Reshape,
    Residual,
    Scale,
    Sigmoid,
    Slice,
    SoftArgmax,
    Softplus,
    Take,
    Tanh,
    Transpose,
    TransposedConvolution,
    Upsample,
)
from converters.networks.formulas import (
    FUNCTIONS,
    GELU,
    Constant,
    Function,
    GroupNormalization,
    LayerNormalization,
    LinearAlongLast,
    Margin,
    Reduction,
    Resize,
    Softmax,
    Weighting,
)
from tests.helpers.networks import checkpoint_of

HEIGHT, WIDTH, CHANNELS = 13, 11, 6

#: Name -> a layer that takes (6, 13, 11) maps.
LAYERS = {
    "convolution": Convolution("conv", 8, (3, 2), (2, 1), (1, 2)),
    "grouped": Convolution("conv", 8, 3, groups=2, bias=False),
    "dilated": Convolution("conv", 4, 3, pad=2, dilation=2),
    "depthwise": DepthwiseConvolution("conv", 2, 3, 2, 1),
    "transposed": TransposedConvolution("conv", 4, (3, 2), 2, 1),
    "transposed more": TransposedConvolution("conv", 4, 3, 2, 1, groups=2, output_pad=1, bias=False),
    "linear": Linear("fc", 5),
    "linear without bias": Linear("fc", 5, bias=False),
    "normalised": BatchNormalization("bn"),
    "normalised with its own eps": BatchNormalization("bn", eps=1e-3),
    "normalised without gamma": BatchNormalization("bn", gamma=False),
    "normalised without beta": BatchNormalization("bn", beta=False),
    "normalised by the batch": BatchNormalization("bn", eps=1e-2, batch=True),
    "prelu": PReLU("prelu"),
    "prelu of a vector": PReLU("prelu", (1,)),
    "prelu per channel": PReLU("prelu", (CHANNELS,)),
    "scale": Scale("scale", (CHANNELS,)),
    "scale with bias": Scale("scale", (CHANNELS,), bias=True),
    "relu": ReLU(),
    "leaky relu": LeakyReLU(0.2),
    "clipped relu": ClippedReLU(0.5),
    "elu": ELU(0.7),
    "selu": SELU(),
    "sigmoid": Sigmoid(),
    "tanh": Tanh(),
    "softplus": Softplus(2.0),
    "gelu": GELU(),
    **{name: Function(name) for name in FUNCTIONS if name not in ("log", "sqrt")},
    "mean along an axis": Reduction("mean", (1,)),
    "sum along axes": Reduction("sum", (1, 2), keep=True),
    "largest along all": Reduction("max", (0, 1, 2)),
    "softmax": Softmax(2),
    "linear along the last axis": LinearAlongLast("fc", 4),
    "margin as in a mirror": Margin("reflect", 1, 2, 3, 0),
    "margin of the border": Margin("replicate", 0, 14, 1, 1),
    "margin of the other side": Margin("circular", 3, 1, 0, 11),
    "a factor": Weighting("a.b", (CHANNELS, 1), (CHANNELS, 1, 1), "product", "b"),
    "a difference": Weighting("a.b", (CHANNELS,), (CHANNELS, 1, 1), "difference", "b"),
    "a quotient by a buffer": Weighting(
        "a.b", (CHANNELS,), (CHANNELS, 1, 1), "quotient", "b", False, (0.5, 2.0, 1.0, 3.0, 0.25, -1.0)
    ),
    "numbers": Constant((0.5, 2.0, -1.0, 3.0, 0.25, 1.0), (CHANNELS, 1, 1), "product"),
    "coordinates": Constant(tuple(i / WIDTH for i in range(WIDTH)), (1, 1, WIDTH), "sum"),
    "an offset": Weighting("offset", (1, HEIGHT, WIDTH), (1, HEIGHT, WIDTH), "sum", "offset"),
    "bilinear": Resize("bilinear", scale=(2.0, 3.0)),
    "bilinear by corners": Resize("bilinear", (17, 25), corners=True),
    "bilinear and smaller": Resize("bilinear", (5, 4)),
    "bilinear to a line": Resize("bilinear", (1, 30), corners=True),
    "nearest": Resize("nearest", (29, 7)),
    "group normalised": GroupNormalization("gn", 3, 1e-2),
    "group normalised without gamma": GroupNormalization("gn", 2, gamma=False),
    "instance normalised": GroupNormalization("gn", CHANNELS, gamma=False, beta=False),
    "layer normalised": LayerNormalization("ln", (HEIGHT, WIDTH), 1e-2),
    "layer normalised without beta": LayerNormalization("ln", (CHANNELS, HEIGHT, WIDTH), beta=False),
    "layer normalised by the last axis": LayerNormalization("ln", (WIDTH,)),
    "max pooling": MaxPooling((3, 2), 2, 1, cover_all=False),
    "max pooling that covers": MaxPooling(3, 2, 1),
    "max pooling that covers with a margin alone": MaxPooling(2, 3, 1),
    "max pooling that rounds up": MaxPooling(2, 3, 1, cover_all=False, ceil_mode=True),
    "average pooling": AveragePooling((3, 2), 2, 1),
    "average pooling of what is there": AveragePooling(3, 2, 1, count_pad=False),
    "average pooling that rounds up": AveragePooling(3, 2, 1, ceil_mode=True),
    "average pooling that rounds up what is there": AveragePooling(2, 3, 1, count_pad=False, ceil_mode=True),
    "adaptive average pooling": AdaptiveAveragePooling((4, 3)),
    "adaptive max pooling": AdaptiveMaxPooling(5),
    "global average pooling": GlobalAveragePooling(),
    "global max pooling": GlobalMaxPooling(),
    "upsampling": Upsample((2, 3)),
    "padding": Padding(1, 2, 0, 3),
    "lrn": LocalResponseNormalization("norm", 5, 1.5, 0.3, 0.6),
    "even lrn": LocalResponseNormalization("norm", 4, 1.0, 0.3, 0.75),
    "dropout": Dropout(0.5),
    "affine": Affine(0.25, -3.0),
    "flatten": Flatten(),
    "reshape": Reshape((2, -1, WIDTH)),
    "transpose": Transpose((1, 2, 0)),
    "slice": Slice(1, 4),
    "soft-argmax": SoftArgmax(),
    "residual": Residual((ReLU(), Convolution("conv", CHANNELS, 3, pad=1))),
    "product": Parallel(((), (GlobalAveragePooling(), Sigmoid())), "product"),
    "concat": Parallel(((), (Convolution("conv", 2, 1), Tanh())), "concat"),
    "named": Parallel(((Name("v1"), Tanh(), Name("v2"), ReLU(), Take(("v1", "v2", "v2"), "sum")),), "sum"),
}


def network_of(*layers, height=HEIGHT, width=WIDTH, writer="chainer-7.8.1", seed=0, joints=1):
    """A checkpoint of layers that take (6, height, width) maps, after a convolution of 1 x 1 that copies the input.

    Returns:
        The checkpoint, and inputs whose first two channels are those of the maps, three times.
    """
    table = (Convolution("first", CHANNELS, 1, bias=False), *layers)
    architecture = Architecture("Own", joints, writer=writer, own=OwnTable(table, (height, width)))
    random = np.random.RandomState(seed)
    weights = {}
    for name, shape in architecture.shapes.items():
        if name.endswith("num_batches_tracked"):
            weights[name] = np.zeros((), np.int64)
        elif name.endswith("running_var"):
            weights[name] = random.uniform(1e-3, 1, shape).astype("f")
        else:
            weights[name] = (random.randn(*shape) / np.sqrt(np.prod(shape[1:]) if len(shape) > 1 else 1)).astype("f")
    weights["first.weight"][:] = np.tile(np.eye(3), (2, 1))[:, :, None, None] * np.array([1, 1, 1, -1, -1, -1]).reshape(
        6, 1, 1, 1
    )
    inputs = random.randn(4, 3, height, width).astype("f")
    return checkpoint_of(architecture, weights), inputs


def maps_of(inputs):
    """What goes into the layers of `network_of`."""
    return np.concatenate([inputs, -inputs], 1)
