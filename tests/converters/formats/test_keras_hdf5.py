"""Keras 2's HDF5: golden files that Keras wrote, and small ones with one thing wrong each."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from converters import CheckpointError, formats
from converters.formats import keras_hdf5
from converters.stored import read_all
from tests.helpers.keras import fill

h5py = pytest.importorskip("h5py")

KERNEL = np.arange(3 * 3 * 2 * 4, dtype="f").reshape(3, 3, 2, 4)
BIAS = np.arange(4, dtype="f")
CONVOLUTION = {"kernel": KERNEL, "bias": BIAS}


def load(path: Path) -> dict[str, np.ndarray]:
    contents = keras_hdf5.read(path)
    return read_all({key: contents.stored(path, key) for key in contents.headers})


@pytest.fixture
def save(tmp_path):
    """Writes a file of these layers, which `change` then makes as it likes."""

    def write(layers=None, change=lambda file: None):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            fill(file, {"conv2d": CONVOLUTION} if layers is None else layers)
            change(file)
        return tmp_path / "a.h5"

    return write


class TestGolden:
    @pytest.mark.parametrize(
        ("name", "convolutions", "last", "first"),
        [
            ("hourglass-2stack-narrow", 126, "conv2d_125", "conv2d"),
            ("hourglass-1stack-narrow-later", 68, "conv2d_193", "conv2d_126"),
        ],
    )
    def test_layers_are_numbered_from_0_and_axes_are_pytorchs(self, name, convolutions, last, first, golden):
        path = golden / "keras-hourglass" / f"{name}.h5"
        assert formats.format_of(path).name == "keras-hdf5"
        arrays = load(path)
        assert {key for key in arrays if key.endswith("/kernel")} == {
            f"conv2d{'' if i == 0 else f'_{i}'}/kernel" for i in range(convolutions)
        }
        with h5py.File(path) as file:
            for ours, theirs in (("conv2d", first), (f"conv2d_{convolutions - 1}", last)):
                kernel = file[f"{theirs}/{theirs}/kernel:0"][()]
                np.testing.assert_array_equal(arrays[f"{ours}/kernel"], kernel.transpose(3, 2, 0, 1))
                np.testing.assert_array_equal(arrays[f"{ours}/bias"], file[f"{theirs}/{theirs}/bias:0"])

    def test_a_whole_model_holds_the_same(self, shared_golden):
        folder = shared_golden / "keras-hourglass"
        weights, whole = (load(folder / f"hourglass-4stack-{name}.h5") for name in ("narrow", "whole-model"))
        assert weights.keys() == whole.keys()
        for key in weights:
            np.testing.assert_array_equal(weights[key], whole[key])


def test_each_kind_is_numbered_by_its_own_numbers_not_in_the_order_of_the_names(save):
    """`layer_names` is in the order of what is computed; the numbers are in the order of what was built."""
    layers = {f"conv2d_{n}": {"bias": BIAS + n} for n in (9, 10, 8)} | {f"batch_normalization_{3}": {"gamma": BIAS}}
    arrays = load(save({"input_1": {}, **layers}))
    assert set(arrays) == {"conv2d_1/bias", "conv2d_2/bias", "conv2d/bias", "batch_normalization/gamma"}
    np.testing.assert_array_equal(arrays["conv2d/bias"], BIAS + 8)


@pytest.mark.parametrize(
    ("numbers", "doubts"),
    [
        ((0, 1, 2), ()),
        ((0, 2, 3, 5), ("there is no dense_1, dense_4 among the others of the kind",)),
        ((7, 8), ("its dense_7 is called dense here, and so on",)),
        ((0, 10**8), ()),  # numbered in another way, and not a hundred million layers missing
    ],
)
def test_numbers_that_are_left_out_are_told_where_it_is_no_network(save, numbers, doubts):
    layers = {f"dense_{number}" if number else "dense": {"bias": BIAS} for number in numbers}
    assert keras_hdf5.read(save(layers)).doubts == doubts


def test_a_whole_model_is_found_under_model_weights_and_its_optimizer_named(tmp_path):
    path = tmp_path / "whole.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": {"layers": []}})
        fill(file.create_group("model_weights"), {"dense": {"kernel": np.ones((2, 3), "f")}})
        file.create_group("optimizer_weights")
    assert formats.format_of(path).name == "keras-hdf5"
    contents = keras_hdf5.read(path)
    assert {key: header.shape for key, header in contents.headers.items()} == {"dense/kernel": (3, 2)}
    assert contents.notices == ("its optimizer's state is Keras's and was not read",)


@pytest.mark.parametrize("group", ["layers/conv2d/vars", "_layer_checkpoint_dependencies/conv2d/vars"])
def test_a_later_keras_is_named(group, tmp_path):
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        file[f"{group}/0"] = KERNEL
    assert formats.format_of(tmp_path / "a.weights.h5").name == "keras-hdf5"
    with pytest.raises(CheckpointError, match="HDF5 of a later Keras"):
        keras_hdf5.read(tmp_path / "a.weights.h5")


def test_an_archive_of_keras_3_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        for name in ("metadata.json", "config.json", "model.weights.h5"):
            archive.writestr(name, b"{}")
    with pytest.raises(CheckpointError, match=r"an archive of Keras 3 \(`\.keras`\)"):
        formats.format_of(tmp_path / "a.keras")


def test_chainers_is_another(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["predictor/conv1/W"] = KERNEL
    assert formats.format_of(tmp_path / "a.h5").name == "chainer-hdf5"


class TestHostile:
    @pytest.fixture
    def other(self, tmp_path):
        """Another file of this machine, whose numbers must not be read."""
        with h5py.File(tmp_path / "other.h5", "w") as file:
            fill(file, {"conv2d": CONVOLUTION})
        return str(tmp_path / "other.h5")

    @pytest.mark.parametrize("place", ["conv2d", "conv2d/conv2d", "conv2d/conv2d/bias:0"])
    def test_what_lies_in_another_file(self, place, save, other):
        def link(file):
            del file[place]
            file[place] = h5py.ExternalLink(other, place)

        with pytest.raises(CheckpointError, match="is a link, which no checkpoint has"):
            keras_hdf5.read(save(change=link))

    def test_an_array_that_is_there_twice(self, save):
        def change(file):
            file["conv2d/more/bias:0"] = BIAS

        with pytest.raises(CheckpointError, match="'conv2d' has 'conv2d/bias' twice"):
            keras_hdf5.read(save(change=change))

    def test_a_group_in_itself(self, save):
        def change(file):
            file["conv2d/loop"] = file["conv2d"]

        with pytest.raises(CheckpointError, match="'conv2d/loop' is no array and no group of its own"):
            keras_hdf5.read(save(change=change))

    def test_an_array_that_claims_more_than_is_stored(self, save):
        def change(file):
            del file["conv2d/conv2d/bias:0"]
            file.create_dataset("conv2d/conv2d/bias:0", (1 << 40,), "f", chunks=(1 << 10,))

        with pytest.raises(CheckpointError, match="says that it has"):
            keras_hdf5.read(save(change=change))
