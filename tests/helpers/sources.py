"""Sources of networks, read without a checkpoint or with made-up shapes; for the tests of networks.source."""

import dataclasses
import re
import textwrap

from packaging.version import Version

from converters.networks import LocalResponseNormalization, Residual
from converters.networks.flow import shapes_in, steps_of
from converters.networks.source import Candidate, choose

CHAINER = """
import chainer
import chainer.functions as F
import chainer.links as L
"""
TORCH = """
import torch
import torch.nn as nn
import torch.nn.functional as F
"""


def read(tmp_path, text, shapes, *, version="7.8.1", size=(220, 220), class_name=None, name="net.py"):
    """Reads a source for a checkpoint of some shapes; returns the network, its source and its era."""
    path = tmp_path / name
    path.write_text(textwrap.dedent(text))
    return choose([Candidate(path, class_name, asked=True)], shapes, lambda era: Version(version), size)


def shapes_of(layers, size=(220, 220)):
    """The shapes of a table's tensors."""
    return shapes_in(steps_of(layers, (3, *size)))


def reads_as(tmp_path, text, layers, **options):
    """Reads a source for a checkpoint with the shapes of a table; returns the table that was read."""
    return read(tmp_path, text, shapes_of(layers, options.get("size", (220, 220))), **options).network.layers


def renamed(layers, substitutions):
    """A table whose layers with weights have other names, by regular expressions in state dict names."""
    result = []
    for layer in layers:
        if isinstance(layer, Residual):
            layer = Residual(*(renamed(branch, substitutions) for branch in layer.branches))
        elif hasattr(layer, "name") and not isinstance(layer, LocalResponseNormalization):
            name = layer.name + ".weight"
            for pattern, replacement in substitutions:
                name = re.sub(pattern, replacement, name)
            layer = dataclasses.replace(layer, name=name.removesuffix(".weight"))
        result.append(layer)
    return tuple(result)
