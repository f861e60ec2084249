"""What answers in each backend: its inputs and outputs, however they lie in memory."""

from importlib.util import find_spec

import numpy as np
import pytest

from deeppose_port import backends
from tests.helpers.networks import narrow_inputs, random_checkpoint

#: Backend -> the module that it needs.
NEEDS = {"torch": "torch", "chainer": "chainer", "onnx": "onnxruntime"}


@pytest.fixture(scope="module", params=NEEDS)
def predict(request):
    """Runs a narrow network in a backend."""
    if find_spec(NEEDS[request.param]) is None:
        pytest.skip(f"{NEEDS[request.param]} is not installed")
    predictor = backends.get(request.param).predictor(random_checkpoint())
    for _ in range(3):  # by then PyTorch's order of axes is measured and chosen
        predictor(narrow_inputs())
    return predictor


def test_each_person_has_an_answer_of_its_own(predict):
    both = predict(narrow_inputs())
    for i in (0, 1):
        np.testing.assert_allclose(predict(narrow_inputs()[i : i + 1])[0], both[i], rtol=0, atol=1e-6)


def test_the_same_inputs_have_the_same_answer_to_the_bit(predict):
    assert np.array_equal(predict(narrow_inputs()), predict(narrow_inputs()))


@pytest.mark.parametrize(
    "arrange",
    [
        lambda x: x.astype(np.float64),
        lambda x: np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
        lambda x: np.asfortranarray(x),
        lambda x: x[::-1, :, :, ::-1],
        lambda x: np.concatenate([x, x])[::2],
    ],
    ids=["float64", "channels last", "fortran order", "backwards", "strided"],
)
def test_inputs_may_lie_in_memory_as_they_like(predict, arrange):
    inputs = arrange(narrow_inputs())
    assert np.array_equal(predict(inputs), predict(np.ascontiguousarray(inputs, np.float32)))


def test_inputs_are_not_changed_and_may_be_read_only(predict):
    inputs = narrow_inputs().copy()
    inputs.flags.writeable = False
    predict(inputs)
    assert np.array_equal(inputs, narrow_inputs())


def test_answers_are_the_callers_own(predict):
    first = predict(narrow_inputs())
    kept = first.copy()
    predict(-narrow_inputs())
    first += 1
    assert np.array_equal(first, kept + 1)
