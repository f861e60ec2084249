"""Each layer that tables know, as ONNX, against the PyTorch backend, which is held to PyTorch's own functions."""

import numpy as np
import pytest

from deeppose_port.backends import BackendError, get
from deeppose_port.backends.onnx import predictor
from tests.helpers.layers import LAYERS, network_of

#: What is computed for the batch at hand is no part of a graph that is fixed; engines have no -Inf for an empty window.
REFUSED = ("normalised by the batch", "max pooling that covers with a margin alone")


@pytest.mark.parametrize("name", [name for name in LAYERS if name not in REFUSED])
def test_layers_are_those_of_pytorch(name, engine):
    checkpoint, inputs = network_of(LAYERS[name])
    expected = get("torch").predictor(checkpoint)(inputs)
    outputs = predictor(checkpoint, engine=engine)(inputs)
    np.testing.assert_allclose(outputs, expected, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_graph_can_do_is_said(name):
    checkpoint, inputs = network_of(LAYERS[name])
    with pytest.raises(BackendError, match="--backend torch"):
        predictor(checkpoint)(inputs)


@pytest.mark.parametrize("name", [name for name in LAYERS if name not in REFUSED])
def test_every_layer_can_be_looked_at(name):
    checkpoint, inputs = network_of(LAYERS[name])
    ours, theirs = (list(get(backend).predictor(checkpoint).activations(inputs)) for backend in ("onnx", "torch"))
    assert [name for name, _ in ours] == [name for name, _ in theirs]
    for (_, one), (_, other) in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=2e-6, atol=2e-6)
