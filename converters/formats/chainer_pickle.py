"""Python 2 pickles of 2015 (`.chainermodel`): a whole FunctionSet of Chainer 1.0 to 1.4, read without unpickling it.

A machine of our own reads it, see `_pickle`. It can make numbers, strings, tuples, lists, dicts, NumPy arrays of
numbers and stand-ins that do nothing for the named classes of layers, and it calls nothing. The gradients that lie
beside the weights are passed over.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path

import numpy as np

from converters.errors import CheckpointError
from converters.files import CHUNK
from converters.formats._pickle import ARRAY_NAMES, Array, ArrayMachine, Dtype, Encoded, Text, UnpicklingError
from converters.formats.format import Contents, Format, register
from converters.keys import Header
from converters.layouts import split
from converters.values import dataclass

#: The classes of layers -> what of them is the network: attribute -> name in Chainer's later files.
_PARAMETERS = {"W": "W", "b": "b"}
_LAYERS = {
    "Convolution2D": _PARAMETERS,
    "Linear": _PARAMETERS,
    "PReLU": {"W": "W"},
    "BatchNormalization": {part: part for part in ("gamma", "beta", "avg_mean", "avg_var", "N")},
}
#: Where Chainer 1.0 to 1.2 and 1.3 to 1.4 had them.
_MODULES = {
    "Convolution2D": ("chainer.functions.convolution_2d", "chainer.functions.connection.convolution_2d"),
    "Linear": ("chainer.functions.linear", "chainer.functions.connection.linear"),
    "PReLU": ("chainer.functions.prelu", "chainer.functions.activation.prelu"),
    "BatchNormalization": (
        "chainer.functions.batch_normalization",
        "chainer.functions.normalization.batch_normalization",
    ),
}
#: The program's own model files, each with a class of its name, and what they derive from.
_NETWORKS = (
    *("AlexNet", "AlexNet_flic", "AlexNet_flic_BN", "AlexNet_flic_BN_PReLU", "AlexNet_lsp", "AlexNet_mpii"),
    *("VGG", "VGG_flic", "chainer.function_set.FunctionSet"),
)
_GPU = ("pycuda", "cupy", "chainer.cuda")
_NDARRAY = "numpy.ndarray"


@dataclass(frozen=True)
class _Class:
    """A class by its name; it is never looked for."""

    name: str


@dataclass(eq=False)
class _Object:
    """A stand-in for an object: the name of its class, and its attributes."""

    kind: str
    attributes: dict[str, object] = field(default_factory=dict)


def read(path: Path) -> Contents:
    """Finds the layers' arrays of a pickled FunctionSet.

    Raises:
        CheckpointError: It is damaged, or holds anything else than such a network; nothing in it is run.
    """
    size = os.path.getsize(path)
    try:
        with path.open("rb") as stream:
            headers, places, numbers = _network(_Network(stream, size).run())
        if sum(place.length for place in places.values()) > size:
            raise UnpicklingError("several of its layers are one array")
    except UnpicklingError as error:
        problem = f"this is a Python pickle of a whole network, as the program of 2015 wrote it, but {error}"
        raise CheckpointError(path, problem, "nothing in it was run") from error

    def chunks(key: str) -> Iterator[bytes]:
        if key in numbers:
            yield numbers[key]
            return
        place = places[key]
        with path.open("rb") as stream:
            stream.seek(place.start)
            for position in range(0, place.length, CHUNK):
                yield stream.read(min(CHUNK, place.length - position))

    return Contents("chainer-pickle", headers, chunks, sections=split(headers))


def _network(network: object) -> tuple[dict[str, Header], dict[str, Text], dict[str, bytes]]:
    """Returns each array's header and place, and the counters, which are numbers of the pickle itself, as bytes."""
    headers: dict[str, Header] = {}
    places: dict[str, Text] = {}
    numbers: dict[str, bytes] = {}
    if not isinstance(network, _Object) or network.kind in _LAYERS:
        raise UnpicklingError("it is none: it makes no FunctionSet")
    for layer, stand_in in network.attributes.items():
        if not isinstance(stand_in, _Object) or stand_in.kind not in _LAYERS:
            continue  # as a name or a flag of the network
        for attribute, name in _LAYERS[stand_in.kind].items():
            value = stand_in.attributes.get(attribute)
            key = f"{layer}/{name}"
            if name == "N" and type(value) is list and len(value) == 1:
                value = value[0]  # in a list, so that it could be counted up
            if type(value) is int and abs(value) < 1 << 63:
                headers[key] = Header(np.dtype("<i8"), ())
                numbers[key] = value.to_bytes(8, "little", signed=True)
            elif isinstance(value, Array) and value.dtype is not None:
                # The parameters of BatchNormalization were (1, channels, 1).
                flat = stand_in.kind == "BatchNormalization" and len(value.shape) == 3
                shape = (math.prod(value.shape),) if flat else value.shape
                headers[key] = Header(value.dtype, shape, value.fortran and len(shape) > 1)
                places[key] = value.data
            elif value is not None:
                raise UnpicklingError(f"its {key} is neither an array nor a number")
    return headers, places, numbers


class _Network(ArrayMachine):
    """Makes stand-ins for a FunctionSet, its layers, and their arrays."""

    def name(self, module: str, name: str) -> object:
        """Returns a class's name, if a network of 2015 is made of it."""
        full = f"{module}.{name}"
        if module in _MODULES.get(name, ()):
            return _Class(name)
        if full in (*ARRAY_NAMES, _NDARRAY, *_NETWORKS) or (module == name and name in _NETWORKS):
            return _Class(full)
        if module.startswith(_GPU):
            raise UnpicklingError(
                f"its arrays are those of a GPU ({module}.{name}), as it was pickled without to_cpu(); only the "
                "program that wrote it can read them"
            )
        return super().name(module, name)

    def make(self, kind: object, arguments: object) -> _Object:
        """Returns a stand-in for a layer or the network."""
        if not isinstance(kind, _Class) or kind.name in (*ARRAY_NAMES, _NDARRAY) or arguments != ():
            raise UnpicklingError("it makes something that none of them is made of")
        return _Object(kind.name)

    def call(self, function: object, arguments: object) -> Array | Dtype | Encoded:
        """Returns an empty array or a dtype, the only things that are called for."""
        if not isinstance(function, _Class) or function.name not in ARRAY_NAMES:
            raise UnpicklingError("it calls something that none of them calls")
        return self.array_or_dtype(function.name, arguments)

    def fill(self, value: object, state: object) -> None:
        """Gives a stand-in its attributes, an array its shape and place, a dtype its order of bytes."""
        if isinstance(value, _Object) and type(state) is dict and not value.attributes:
            value.attributes = state
        elif isinstance(value, Array | Dtype):
            self.fill_array_or_dtype(value, state)
        else:
            super().fill(value, state)


register(
    Format(
        name="chainer-pickle",
        title="Chainer pickle of 2015",
        suffixes=(".chainermodel",),
        tells=lambda beginning: beginning.start.startswith(b"\x80\x02c"),  # of a class: a whole network
        read=read,
        chainer=True,
    )
)
