import json
import os
import stat
import struct

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import converters
from converters.formats.safetensors import places
from tests.helpers.checkpoint_files import (
    alexnet,
    assert_same_arrays,
    in_torch_names,
    refused,
    save_npz,
    vgg_bn,
    wrapped,
)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_weights_are_read_bit_for_bit(dtype, tmp_path):
    arrays = in_torch_names({key: array.astype(dtype) for key, array in alexnet().items()})
    save_file(arrays, tmp_path / "a.safetensors")
    checkpoint = converters.read(tmp_path / "a.safetensors")
    assert_same_arrays(checkpoint.weights, arrays)
    assert checkpoint.source.format == "safetensors"
    assert (checkpoint.optimizer, checkpoint.progress, checkpoint.source.origin) == (None, None, None)


def test_wrappers_are_stripped(tmp_path):
    save_file(wrapped(in_torch_names(vgg_bn()), "module.model."), tmp_path / "a.safetensors")
    assert converters.read(tmp_path / "a.safetensors").source.wrappers == ("module.", "model.")


def test_what_is_written_is_read_by_safetensors_itself(tmp_path):
    checkpoint = converters.read(save_npz(tmp_path / "a.model", wrapped(vgg_bn())), writer="chainer-5.4.0")
    converters.write(checkpoint, tmp_path / "b.safetensors")
    assert_same_arrays(load_file(tmp_path / "b.safetensors"), in_torch_names(vgg_bn()))
    with safe_open(tmp_path / "b.safetensors", framework="np") as file:
        metadata = file.metadata()
    assert metadata["format"] == "pt"
    assert metadata["deeppose_port"] == converters.__version__
    assert metadata["writer"] == "chainer-5.4.0"
    assert json.loads(metadata["architecture"]) == checkpoint.architecture.as_dict()
    assert json.loads(metadata["preprocessing"]) == checkpoint.preprocessing.as_dict()
    assert json.loads(metadata["source"]) == checkpoint.source.as_dict()


def test_somebody_elses_metadata_says_nothing(tmp_path):
    save_file(in_torch_names(vgg_bn()), tmp_path / "a.safetensors", {"writer": "chainer-5.4.0", "format": "pt"})
    checkpoint = converters.read(tmp_path / "a.safetensors")
    assert (checkpoint.source.writer, checkpoint.source.writer_told_by) == ("chainer-1.13.0", "assumed")


def test_other_kinds_of_numbers_are_refused(tmp_path):
    header = json.dumps({"fc8.bias": {"dtype": "F8_E5M2", "shape": [4], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    refused(tmp_path / "a.safetensors", r"'fc8\.bias' is of dtype F8_E5M2, which is not read \(save it as float32\)")


def test_arrays_of_many_chunks_are_read_whole(tmp_path):
    arrays = {**alexnet(), "fc6/W": np.random.RandomState(0).randn(5000, 108).astype("f")}
    arrays["fc6/b"], arrays["fc7/W"] = np.zeros(5000, "f"), np.zeros((6, 5000), "f")
    save_file(in_torch_names(arrays), tmp_path / "a.safetensors")
    assert_same_arrays(converters.read(tmp_path / "a.safetensors").weights, in_torch_names(arrays))


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pt"])
def test_a_written_file_has_the_users_mode(suffix, tmp_path):
    if suffix == ".pt":
        pytest.importorskip("torch")
    path = save_npz(tmp_path / "a.model", alexnet())
    umask = os.umask(0o027)
    try:
        converters.convert(path, tmp_path / f"b{suffix}")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / f"b{suffix}").stat().st_mode) == 0o640


def test_numbers_lie_where_their_kind_may():
    """The larger kinds first: an array that is mapped is aligned."""
    kinds = {"a": "f2", "b": "f8", "c": "u1", "d": "f4", "e": "i8"}
    arrays = {name: np.zeros(3, kind) for name, kind in kinds.items()}
    found = places(arrays)
    assert list(found) == ["b", "e", "d", "a", "c"]
    assert all(start % arrays[name].dtype.itemsize == 0 for name, (start, _) in found.items())
    ends = [end for _, end in found.values()]
    assert [start for start, _ in found.values()] == [0, *ends[:-1]]
