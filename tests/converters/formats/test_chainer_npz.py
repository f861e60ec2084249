import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

import converters
from converters import Repair
from converters.formats import chainer_npz
from tests.helpers.checkpoint_files import (
    alexnet,
    assert_same_arrays,
    in_torch_names,
    load_npz,
    members,
    npy,
    npy_claiming,
    save_npz,
    save_zip,
    vgg_bn,
    wrapped,
)


def read_bytes(path):
    """The weights as read, in native order."""
    return converters.read(path).weights


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f2", ">f4", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_kind_of_float_is_read_right(dtype, order, tmp_path):
    arrays = {key: np.asarray(array.astype(dtype), order=order) for key, array in alexnet().items()}
    weights = read_bytes(save_npz(tmp_path / "a.model", arrays))
    expected = {key: array.astype(array.dtype.newbyteorder("=")) for key, array in in_torch_names(arrays).items()}
    assert_same_arrays(weights, expected)
    assert all(array.flags.c_contiguous and array.dtype.isnative for array in weights.values())


def test_big_endian_counters_are_read_right(tmp_path):
    arrays = {**vgg_bn(), "bn1_1/N": np.array(7, ">i8")}
    assert read_bytes(save_npz(tmp_path / "a.model", arrays))["bn1_1.num_batches_tracked"] == 7


def test_stored_members_are_read_too(tmp_path):
    path = save_zip(tmp_path / "a.npz", members(alexnet()), zipfile.ZIP_STORED)
    assert_same_arrays(read_bytes(path), in_torch_names(alexnet()))


def test_shapes_that_python_2_spelled_are_read(tmp_path):
    """NumPy there wrote `(2L, 3L)` on some machines."""
    arrays = alexnet()
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L, 11L, 11L), }"
    content = dict(members(arrays))
    content["conv1/W.npy"] = npy_claiming(header, arrays["conv1/W"].tobytes())
    assert_same_arrays(read_bytes(save_zip(tmp_path / "a.npz", content.items())), in_torch_names(arrays))


def test_arrays_of_many_chunks_are_read_whole(tmp_path):
    arrays = {**alexnet(), "fc6/W": np.random.RandomState(0).randn(5000, 108).astype("f")}
    arrays["fc6/b"], arrays["fc7/W"] = np.zeros(5000, "f"), np.zeros((6, 5000), "f")
    assert_same_arrays(read_bytes(save_npz(tmp_path / "a.model", arrays)), in_torch_names(arrays))
    converters.convert(tmp_path / "a.model", tmp_path / "b.npz")
    assert_same_arrays(load_npz(tmp_path / "b.npz"), arrays)


def test_reading_headers_reads_no_arrays(tmp_path):
    path = save_npz(tmp_path / "a.model", wrapped(alexnet()))
    contents = chainer_npz.read(path)
    assert {key: (h.dtype, h.shape) for key, h in contents.headers.items()} == {
        key: (array.dtype, array.shape) for key, array in wrapped(alexnet()).items()
    }
    path.unlink()
    with pytest.raises(converters.CheckpointError, match="'predictor/conv1/W' cannot be read: No such file"):
        contents.stored(path, "predictor/conv1/W").read()


def test_uninitialised_parameters_are_told_from_the_header(golden):
    contents = chainer_npz.read(golden / "checkpoints" / "7.8.1" / "uninitialised-epoch-0.model")
    assert contents.uninitialised == ("predictor/out_fc/W",)
    assert "predictor/out_fc/b" in contents.headers


class TestComment:
    def test_it_carries_what_is_known_and_numpy_ignores_it(self, tmp_path):
        checkpoint = converters.read(save_npz(tmp_path / "a.model", wrapped(vgg_bn())), writer="chainer-5.4.0")
        converters.write(checkpoint, tmp_path / "b.npz")
        with zipfile.ZipFile(tmp_path / "b.npz") as archive:
            comment = json.loads(archive.comment)
        assert comment["deeppose_port"] == converters.__version__
        assert comment["writer"] == "chainer-5.4.0"
        assert comment["architecture"]["name"] == "vgg_bn"
        assert comment["preprocessing"]["im_size"] == 220
        assert comment["source"]["path"] == str(tmp_path / "a.model")
        assert_same_arrays(load_npz(tmp_path / "b.npz"), wrapped(vgg_bn()))

    def test_repairs_that_do_not_fit_are_left_out(self, tmp_path):
        checkpoint = converters.read(save_npz(tmp_path / "a.model", wrapped(alexnet())))
        many = tuple(Repair(f"optimizer.m.layer{i}.weight", 1, 2) for i in range(2000))
        converters.write(checkpoint.replace(repairs=many), tmp_path / "b.npz")
        again = converters.read(tmp_path / "b.npz")
        assert again.repairs == ()
        assert again.source.origin["path"] == str(tmp_path / "a.model")
        converters.write(checkpoint.replace(repairs=many[:20]), tmp_path / "c.npz")
        assert converters.read(tmp_path / "c.npz").repairs == many[:20]

    @pytest.mark.parametrize("comment", [b"", b"made by hand", b"{}", b'{"writer": "chainer-5.4.0"}', b"[1]", b"\xff"])
    def test_somebody_elses_comment_says_nothing(self, comment, tmp_path):
        path = save_npz(tmp_path / "a.model", wrapped(vgg_bn()))
        with zipfile.ZipFile(path, "a") as archive:
            archive.comment = comment
        assert converters.read(path).source.writer_told_by == "assumed"


def test_objects_are_never_written(tmp_path):
    checkpoint = converters.read(save_npz(tmp_path / "a.model", wrapped(alexnet())))
    weights = {**checkpoint.weights, "fc8.bias": np.array([None])}
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        converters.write(checkpoint.replace(weights=weights), tmp_path / "b.npz")
    assert [item.name for item in Path(tmp_path).iterdir()] == ["a.model"]


def test_npy_of_a_test_is_as_numpy_writes_it(tmp_path):
    """The helper of these tests, against np.save."""
    np.save(tmp_path / "a.npy", alexnet()["conv1/W"])
    assert (tmp_path / "a.npy").read_bytes() == npy(alexnet()["conv1/W"])
