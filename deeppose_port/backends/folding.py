"""What a network answers with the fewest steps: its BatchNormalization folded into its convolutions."""

from __future__ import annotations

from dataclasses import replace

from converters import Checkpoint
from converters.networks import OwnTable
from converters.networks.fold import fold


def folded(checkpoint: Checkpoint) -> Checkpoint:
    """Returns a checkpoint whose BatchNormalization is folded into its convolutions: for prediction alone."""
    architecture = checkpoint.architecture
    layers, weights = fold(architecture.layers, checkpoint.weights, architecture.batch_normalization)
    if layers == architecture.layers:
        return checkpoint
    table = OwnTable(layers, checkpoint.preprocessing.shape)
    return checkpoint.replace(architecture=replace(architecture, own=table), weights=weights)
