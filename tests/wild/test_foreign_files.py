"""Files that are no checkpoints of a pose network here: each is named for what it is, with what to do."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import warnings
import zipfile

import numpy as np
import pytest

import converters
from tests.helpers.checkpoint_files import refused


def field(number, content):
    """A field of a protocol buffer: a number, or bytes with their length."""
    if isinstance(content, int):
        return bytes([number << 3, content])
    length = len(content)
    return (
        bytes([number << 3 | 2])
        + (bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7]))
        + content
    )


def zipped(*members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in members:
            archive.writestr(name, b"{}")
    return stream.getvalue()


def onnx_without_a_producer():
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [value], [])
    return onnx.helper.make_model(graph, producer_name="").SerializeToString()


def tar():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("README"), io.BytesIO(b""))
    return stream.getvalue()


def npy(array=None):
    stream = io.BytesIO()
    np.save(stream, np.ones(3) if array is None else array, allow_pickle=True)
    return stream.getvalue()


NODE = field(1, field(1, b"input") + field(2, b"Placeholder"))
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
FILES = {
    "git-LFS": (POINTER, r"this is a pointer of git-LFS, not the file itself \(`git lfs pull` fetches it\)"),
    "a web page": (b"\n<!DOCTYPE html><title>404</title>", r"this is a web page, not a checkpoint \(was a download's"),
    "gzip": (gzip.compress(b"x" * 100), r"this is compressed by gzip \(unpack it"),
    "xz": (lzma.compress(b"x" * 100), r"this is compressed by xz \(unpack it"),
    "bzip2": (bz2.compress(b"x" * 100), r"this is compressed by bzip2 \(unpack it"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(50), "this is compressed by zstd"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4" + bytes(50), "this is a 7z archive"),
    "rar": (b"Rar!\x1a\x07\x01\x00" + bytes(50), "this is a RAR archive"),
    "tar": (tar, "this is a tar file, but not one that PyTorch"),
    "Keras 3": (
        lambda: zipped("metadata.json", "config.json", "model.weights.h5"),
        r"this is an archive of Keras 3",
    ),
    "Core ML": (field(1, 4) + field(2, field(1, field(1, b"image")) + bytes(200)), "this is a Core ML model"),
    "a Core ML package": (
        lambda: zipped("a.mlpackage/Manifest.json", "a.mlpackage/Data/m.mlmodel"),
        "a Core ML package",
    ),
    "TensorFlow Lite": (struct.pack("<I", 28) + b"TFL3" + bytes(100), "this is a TensorFlow Lite model"),
    "a frozen graph": (
        NODE + field(4, b"\x08\x87"),
        r"this is a frozen graph of TensorFlow \(\.pb\).*take its checkpoint",
    ),
    "Torch 7": (struct.pack("<iii", 4, 1, 3) + b"V 1" + struct.pack("<i", 17) + b"nn.Sequential", r"Torch 7 \(\.t7\)"),
    "a table of Torch 7": (struct.pack("<iii", 3, 1, 2), r"this is a file of Torch 7 \(\.t7\)"),
    "Torch 7 as text": (b"4\n1\n3\nV 1\n17\nnn.Sequential\n", r"this is a file of Torch 7 \(\.t7\)"),
    "ONNX without a producer": (onnx_without_a_producer, "this is an ONNX model, which is written but not read"),
    "one array": (npy, r"this is one array of NumPy's \(\.npy\)"),
    "a pickled object of NumPy's": (
        lambda: npy(np.array({"conv1": np.ones(3)}, dtype=object)),
        r"this is a Python object that NumPy pickled \(\.npy\)",
    ),
    "MATLAB": (b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x01IM", "this is a MATLAB file"),
    "a PNG": (b"\x89PNG\r\n\x1a\n" + bytes(50), "this is a picture"),
    "a JPEG": (b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(50), "this is a picture"),
    "Caffe's weights without a name": (b"\xa2\x06\x80\x01\n\x05conv1" + bytes(200), "this is a Caffe file"),
    "a graph as text": (
        b'node {\n  name: "input"\n',
        r"this is a graph of TensorFlow as text \(\.pbtxt\).*NAME\.index",
    ),
    "a Keras network as JSON": (
        b'{"class_name": "Functional", "config": {',
        "this is the description of a Keras network",
    ),
    "TorchServe": (lambda: zipped("MAR-INF/MANIFEST.json", "model.pth"), "this is an archive of TorchServe's"),
    "lz4": (b"\x04\x22\x4d\x18" + bytes(50), "this is compressed by lz4"),
    "MXNet": (struct.pack("<QQQI", 0x112, 0, 2, 0xF993FAC9) + bytes(99), r"this is a file of MXNet's \(\.params\)"),
    "an MXNet network": (b'{\n  "nodes": [\n    {', "this is the description of an MXNet network"),
    "Flax": (b"\x81\xa6params\x81\xa5conv1" + bytes(50), "this is a file of Flax's"),
    "TensorRT": (b"ftrt" + bytes(99), "this is an engine of TensorRT's"),
    "GGUF": (b"GGUF\x03" + bytes(99), "this is a file of llama.cpp's"),
    "OpenVINO": (b'<?xml version="1.0"?>\n<net name="a">', "this is the description of an OpenVINO model"),
    "ncnn": (b"7767517\n3 3\n", "this is the description of an ncnn network"),
    "a pickle as text": (b"(dp0\nS'W'\np1\n", "this is a Python pickle"),
    "a later MATLAB": (b"MATLAB 7.3 MAT-file, Platform: x".ljust(512) + b"\x89HDF\r\n\x1a\n", "this is a MATLAB file"),
    "a log": (b"INFO:root:epoch:1\n", "this is text, not a checkpoint"),
}


@pytest.mark.parametrize("name", FILES)
def test_each_is_named(name, tmp_path):
    content, phrase = FILES[name]
    (tmp_path / "a.model").write_bytes(content() if callable(content) else content)
    refused(tmp_path / "a.model", phrase)


@pytest.mark.parametrize(
    ("name", "content", "phrase"),
    [
        ("a.caffemodel", b"\x1a\x04data\x20\x01" + bytes(99), "this is a Caffe file"),
        ("a.caffemodel", b"\x12\x50\x12\x04data" + bytes(99), "this is a Caffe file"),
        ("mean.binaryproto", b"\x08\x01\x10\x03" + bytes(99), "this is a Caffe file"),
        ("deploy.prototxt", b'name: "CaffeNet"\n', r"this is the description of a Caffe network or solver"),
        ("checkpoint-1.meta", b"\n\x8c\x02\n" + bytes(99), r"this is the graph of a TensorFlow checkpoint \(\.meta\)"),
        ("a.caffemodel", b"<html>404", "this is a web page"),
        ("model.pdparams", b"\x80\x02}q\x00.", "this is a file of PaddlePaddle's"),
        ("yolo.weights", struct.pack("<iiiq", 0, 2, 5, 32013312) + bytes(99), "this is a file of Darknet's"),
        ("pose.plan.engine", bytes(99), "this is an engine of TensorRT's"),
        ("pose.rknn", b"RKNN" + bytes(99), "this is a program for a phone or another device"),
        ("pose.onnx.data", bytes(99), "these are weights that an ONNX model has in a file of their own"),
        ("variables.data-00000-of-00001", bytes(99), r"numbers of a TensorFlow checkpoint.*put its NAME\.index beside"),
        ("fingerprint.pb", b"\x08\xa1\xd3\x83\x90\x01\x10\x01", r"this belongs to a SavedModel.*take its checkpoint"),
        ("keras_metadata.pb", b"\n\x05\x08\x00\x12\x04root", "this belongs to a SavedModel"),
        ("saved_model.pbtxt", b"saved_model_schema_version: 1\n", "this belongs to a SavedModel"),
        ("events.out.tfevents.1693.host", bytes(99), "this is a log for TensorBoard"),
        ("labels.pbtxt", b"item {\n", r"as text \(\.pbtxt\), without weights"),
        ("config.json", b'{"model_type": "vitpose"}', "this is a configuration or a description as text"),
        ("yolo.cfg", b"[net]\nbatch=1\n", "this is a configuration or a description as text"),
    ],
)
def test_by_its_suffix_where_its_bytes_do_not_tell(name, content, phrase, tmp_path):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, phrase)


def test_caffe_in_hdf5(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.caffemodel.h5", "w") as file:
        file["data/conv1/0"], file["data/conv1/1"] = np.ones((4, 3, 3, 3), "f"), np.ones(4, "f")
    refused(tmp_path / "a.caffemodel.h5", "this is a network of Caffe's in HDF5")


def test_the_state_of_caffes_solver_in_hdf5(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.solverstate.h5", "w") as file:
        file["iter"], file["learned_net"], file["history/0"] = 10, "a.caffemodel.h5", np.ones(4, "f")
    refused(tmp_path / "a.solverstate.h5", r"state of a Caffe solver.*they are in its \.caffemodel\.h5")


def test_the_weights_beside_an_openvino_model(tmp_path):
    (tmp_path / "a.bin").write_bytes(bytes(99))
    refused(tmp_path / "a.bin", "its first bytes belong to no format")
    (tmp_path / "a.xml").write_text("<net />")
    refused(tmp_path / "a.bin", r"weights of the OpenVINO model \(\.xml\) beside it")


def test_a_models_source_goes_elsewhere(tmp_path):
    (tmp_path / "AlexNet.py").write_text("import chainer\n")
    refused(tmp_path / "AlexNet.py", r"this is Python source, not a checkpoint \(name .* this file with --model-file\)")


def test_a_saved_model_is_a_folder(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(field(1, 1) + field(2, field(1, b"\n\x05serve")))
    (tmp_path / "variables").mkdir()
    for path in (tmp_path / "saved_model.pb", tmp_path):
        with pytest.raises(converters.CheckpointError, match="this is a SavedModel of TensorFlow, which is not read"):
            converters.read(path)


def test_a_torchscript_program_is_named(tmp_path):
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own, of its age
        torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)).save(str(tmp_path / "a.pt"))
    refused(tmp_path / "a.pt", "it holds more than tensors and plain values: a TorchScript program")
