"""Sources of networks, read without a checkpoint or with made-up shapes; for the tests of networks.source."""

import textwrap

from packaging.version import Version

from converters.networks.flow import steps_of, tensors_of
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
    return dict(tensor for step in steps_of(layers, (3, *size)) for tensor in tensors_of(step))


def reads_as(tmp_path, text, layers, **options):
    """Reads a source for a checkpoint with the shapes of a table; returns the table that was read."""
    return read(tmp_path, text, shapes_of(layers, options.get("size", (220, 220))), **options).network.layers
