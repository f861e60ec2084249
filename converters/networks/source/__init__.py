"""A network's table, read from the Python file that defined it; no line of the file is ever run.

    text            its text and Python's own parse tree, within bounds
    program         the names in it: imports, definitions, constants
    evaluator       follows expressions, statements, calls and classes over names that are known:
    plain, tensors  what Python's own values and the network's may do,
    chainer_dialect, torch_dialect, torchvision    what the frameworks' names stand for
    making          the arguments that a class was made with, solved from a checkpoint's shapes
    forward         what the forward pass of an object computes
    untold          arguments that decide what is computed, and that no shape tells
    graph, table    what was computed on the way, as a table of layers
    choosing        which class of which file a checkpoint is
    differences     what a table has otherwise than another

Anything that the answer of the network depends on and that is not known is refused, with its line.
"""

from converters.networks.source.budget import Budget
from converters.networks.source.choosing import (
    Candidate,
    Found,
    at_size,
    candidates_in,
    choose,
    choose_anew,
    choose_made,
    makers_in,
    none_of,
)
from converters.networks.source.differences import differences
from converters.networks.source.era import Era
from converters.networks.source.errors import ExhaustedError, SourceError, UnfollowedError

__all__ = [
    "Budget",
    "Candidate",
    "Era",
    "ExhaustedError",
    "Found",
    "SourceError",
    "UnfollowedError",
    "at_size",
    "candidates_in",
    "choose",
    "choose_anew",
    "choose_made",
    "differences",
    "makers_in",
    "none_of",
]
