import importlib.util

import numpy as np
import pytest

from deeppose_port.training.average import decay_at, stored, trained_of, without
from tests.helpers.networks import random_checkpoint


def test_the_decay_grows_to_its_own():
    assert [decay_at(n, 0.3) for n in (1, 2, 3)] == [2 / 11, 3 / 12, 0.3]


def test_a_checkpoint_of_an_average_holds_what_is_trained():
    checkpoint = random_checkpoint()
    trained = {name: array + 1 for name, array in checkpoint.weights.items()}
    held = checkpoint.replace(trainer=stored(trained, 7))
    found, updates = trained_of(held)
    assert updates == 7
    assert all(np.array_equal(found[name], array) for name, array in trained.items())
    assert without(held).weights.keys() == checkpoint.weights.keys()
    assert trained_of(checkpoint) is None
    assert without(checkpoint) is checkpoint


@pytest.mark.parametrize("backend", ["torch", "chainer"])
def test_it_is_the_closed_form(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    name = f"deeppose_port.backends.{backend}"
    average = importlib.import_module(f"{name}.average")
    networks = importlib.import_module(f"{name}.networks")
    checkpoint = random_checkpoint("vgg_bn")
    network = networks.load(checkpoint)
    kept = average.Average(network, 0.24)
    expected, updates = dict(checkpoint.weights), 3
    for update in range(1, updates + 1):
        moved = {
            name: array + 1 if array.dtype.kind in "iu" else array + np.float32(update)
            for name, array in checkpoint.weights.items()
        }
        kept.update(networks.load(checkpoint.replace(weights=moved)))
        share = min(0.24, (1 + update) / (10 + update))
        expected = {
            name: moved[name] if array.dtype.kind in "iu" else share * array + (1 - share) * moved[name]
            for name, array in expected.items()
        }
    found = {name: array.numpy() for name, array in kept.network.state_dict().items()} if backend == "torch" else None
    found = networks.read_weights(kept.network) if found is None else found
    assert kept.updates == updates
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=2e-6, err_msg=name)
    original = network.state_dict()["conv1_1.weight"].numpy() if backend == "torch" else None
    assert original is None or np.array_equal(original, checkpoint.weights["conv1_1.weight"])
