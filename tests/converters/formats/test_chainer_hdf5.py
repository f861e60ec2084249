import sys

import numpy as np
import pytest

import converters
from converters import CheckpointError, Progress, formats
from tests.helpers.checkpoint_files import (
    adam_state,
    alexnet,
    assert_same_arrays,
    in_torch_names,
    save_npz,
    vgg_bn,
    wrapped,
)


@pytest.fixture
def save(tmp_path):
    """Writes HDF5 as `chainer.serializers.save_hdf5` does."""
    h5py = pytest.importorskip("h5py")

    def write(arrays, name="epoch-1.model", **options):
        with h5py.File(tmp_path / name, "w") as file:
            for key, array in arrays.items():
                file.create_dataset(key, data=array, **(options if array.shape else {}))
        return tmp_path / name

    return write


@pytest.mark.parametrize("options", [{}, {"compression": 4}, {"compression": "lzf"}, {"chunks": True, "shuffle": True}])
def test_datasets_are_read_however_they_are_stored(options, save):
    checkpoint = converters.read(save(alexnet(), **options))
    assert checkpoint.source.format == "chainer-hdf5"
    assert_same_arrays(checkpoint.weights, in_torch_names(alexnet()))


def test_deflated_zeros_are_read(save):
    """Zeros inflate more than anything: what claims more than that is refused."""
    arrays = {**alexnet(), "fc6/W": np.zeros((5000, 108), "f"), "fc6/b": np.zeros(5000, "f")}
    arrays["fc7/W"] = np.zeros((6, 5000), "f")
    assert_same_arrays(converters.read(save(arrays, compression=9)).weights, in_torch_names(arrays))


@pytest.mark.parametrize("dtype", [">f4", "<i8"])
def test_a_number_by_itself_has_its_files_order_of_bytes(dtype, save):
    arrays = {"conv1/W": np.ones((2, 2), dtype), "t": np.array(258, dtype)}
    contents = formats.opened(save(arrays))
    (stored,) = map(bytes, contents.chunks("t"))
    assert stored == arrays["t"].tobytes()
    assert contents.headers["t"].dtype == dtype


@pytest.mark.parametrize("dtype", [">f4", "<f8", "<f2"])
def test_other_floats_are_read_right(dtype, save):
    arrays = {key: array.astype(dtype) for key, array in alexnet().items()}
    native = {key: array.astype(np.dtype(dtype).newbyteorder("=")) for key, array in in_torch_names(arrays).items()}
    assert_same_arrays(converters.read(save(arrays)).weights, native)


def test_statistics_and_counters_are_read(save):
    checkpoint = converters.read(save(wrapped(vgg_bn())))
    assert_same_arrays(checkpoint.weights, in_torch_names(vgg_bn()))
    assert checkpoint.source.wrappers == ("predictor/",)


def test_a_state_is_read_with_its_model(save):
    save(adam_state(alexnet(), step=9), "epoch-4.state")
    checkpoint = converters.read(save(alexnet(), "epoch-4.model"))
    assert (checkpoint.optimizer.algorithm, checkpoint.optimizer.step) == ("adam", 9)
    assert checkpoint.progress == Progress(4, 9)


def test_model_and_state_may_be_of_two_formats(save, tmp_path):
    save(adam_state(alexnet()), "epoch-4.state")
    save_npz(tmp_path / "epoch-4.model", alexnet())
    assert converters.read(tmp_path / "epoch-4.model").optimizer.step == 3


def test_without_h5py_it_says_what_to_install(golden, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    path = golden / "checkpoints" / "1.5.1" / "alexnet_flic-hdf5" / "epoch-1.model"
    with pytest.raises(CheckpointError, match=r"h5py is needed to read it \(pip install 'deeppose-port\[hdf5\]'\)"):
        converters.read(path)


def test_it_is_not_written(tmp_path):
    checkpoint = converters.read(save_npz(tmp_path / "a.model", alexnet()))
    with pytest.raises(CheckpointError, match=r"the suffix '\.h5' names no format \(name it with --to pt"):
        converters.write(checkpoint, tmp_path / "b.h5")
