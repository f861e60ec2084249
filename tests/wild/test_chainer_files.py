"""Chainer's files that look like another time's."""

import numpy as np
import pytest

import converters
from tests.helpers.checkpoint_files import adam_state, alexnet, assert_same_arrays, in_torch_names, wrapped

h5py = pytest.importorskip("h5py")


def save_hdf5(path, arrays):
    """As Chainer's `save_hdf5` writes it."""
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file.create_dataset(key, data=array, compression=4 if np.ndim(array) else None)
    return path


@pytest.mark.parametrize("prefix", ["predictor/", "updater/model:main/predictor/", "updater/model:main/", "Alex/"])
def test_hdf5_under_a_prefix_is_of_2016_08_or_later(prefix, tmp_path):
    path = save_hdf5(tmp_path / "epoch-9.model", wrapped(alexnet(), prefix))
    checkpoint = converters.read(path)
    assert_same_arrays(checkpoint.weights, in_torch_names(alexnet()))
    assert checkpoint.source.generation == "head"
    assert (checkpoint.preprocessing.interpolation, checkpoint.preprocessing.gcn) == ("linear", "divide")
    assert not any("early 2016" in notice for notice in checkpoint.notices)


def test_hdf5_with_bare_keys_is_of_early_2016(tmp_path):
    checkpoint = converters.read(save_hdf5(tmp_path / "epoch-9.model", alexnet()))
    assert checkpoint.source.generation == "early-2016"
    assert checkpoint.preprocessing.interpolation == "nearest"


def test_its_optimizer_is_read_with_it(tmp_path):
    model = wrapped(alexnet(), "predictor/")
    save_hdf5(tmp_path / "epoch-9.model", model)
    save_hdf5(tmp_path / "epoch-9.state", adam_state(model))
    assert converters.read(tmp_path / "epoch-9.model").optimizer.algorithm == "adam"
