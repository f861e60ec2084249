"""A file format from outside: a line, a header in JSON, the arrays. To import this module is all that is needed."""

import json
import math

import numpy as np

from converters.formats import Contents, Format, encode_metadata, register
from converters.keys import Header

MAGIC = b"TOY 1\n"


def write(checkpoint, path, *, layout=None):
    place, tensors = 0, {}
    for name, array in checkpoint.weights.items():
        tensors[name] = [array.dtype.str, array.shape, place]
        place += array.nbytes
    header = {"tensors": tensors, "said": encode_metadata(checkpoint)}
    with path.open("wb") as stream:
        stream.write(MAGIC + json.dumps(header).encode() + b"\n")
        for array in checkpoint.weights.values():
            stream.write(array.tobytes())


def read(path):
    with path.open("rb") as stream:
        stream.readline()
        header = json.loads(stream.readline())
        start = stream.tell()
    headers = {name: Header(np.dtype(kind), tuple(shape)) for name, (kind, shape, _) in header["tensors"].items()}

    def chunks(name):
        with path.open("rb") as stream:
            stream.seek(start + header["tensors"][name][2])
            yield stream.read(headers[name].dtype.itemsize * math.prod(headers[name].shape))

    return Contents("toy", headers, chunks, header["said"])


register(
    Format(
        name="toy",
        title="toy",
        suffixes=(".toy",),
        tells=lambda beginning: beginning.start.startswith(MAGIC),
        read=read,
        write=write,
        holds=frozenset({"metadata"}),
    )
)
