"""Files that are known and are no checkpoint of DeepPose's: each is named for what it is, with what to do about it."""

from __future__ import annotations

import re
from collections.abc import Callable

from converters.errors import CheckpointError
from converters.formats.format import Beginning
from converters.values import dataclass


@dataclass(frozen=True)
class Foreign:
    """A kind of file that is not read.

    Attributes:
        tells: Tells whether a file is one.
        problem: What it is, as a message says it.
        advice: What to do.
    """

    tells: Callable[[Beginning], object]
    problem: str
    advice: str


def _starts(*starts: bytes) -> Callable[[Beginning], object]:
    return lambda beginning: beginning.start.startswith(starts)


def _matches(pattern: bytes) -> Callable[[Beginning], object]:
    return lambda beginning: re.match(pattern, beginning.start, re.DOTALL)  # most files need none of them


def _holds(*names: str) -> Callable[[Beginning], object]:
    """Tells whether a zip has a member that ends in one of some names."""
    return lambda beginning: any(member.endswith(names) for member in beginning.members)


def _called(pattern: str) -> Callable[[Beginning], object]:
    """Tells whether a file has a name, whose letters may be capitals, that a pattern is the end of."""
    return lambda beginning: re.search(rf"(?:{pattern})\Z", beginning.path.name.lower())


def _is_text(beginning: Beginning) -> bool:
    return all(byte in b"\t\n\r\x1b" or 32 <= byte < 127 for byte in beginning.start[:256])


_CAFFE = rb"\n[\x01-\x7f][ -~]{1,127}?(?:\x12|\x1a|\x22|\xa2\x06)|\xa2\x06|\x08.{1,6}\x12.[ -~]+\.caffemodel"
#: Of what Caffe writes: weights, a solver's state, the mean of pictures.
_CAFFE_SUFFIXES = (".caffemodel", ".solverstate", ".binaryproto")


def _is_caffe(beginning: Beginning) -> bool:
    return not _is_text(beginning) and (
        beginning.path.suffix in _CAFFE_SUFFIXES or re.match(_CAFFE, beginning.start, re.DOTALL) is not None
    )


#: What is in the folder of a SavedModel.
SAVED_MODEL = "saved_model.pb"
_TAKE_VARIABLES = "take its checkpoint, NAME.index beside NAME.data-00000-of-00001"
_TAKE_SOURCE = "take the checkpoint that it was made of"
_KERAS = "save it with Keras 2: model.save_weights('model.h5')"
_UNPACK = "unpack it; what is inside may be a checkpoint"
_NAME_THE_CHECKPOINT = "name the checkpoint"
_SAVE_ARRAYS = "where it was made, save its arrays as npz or safetensors, with the names of a network that is read"
FOREIGN = (
    # --- zips
    Foreign(
        _holds("/archive_format"),
        "this is an archive of torch.export: a program, which is written but never read",
        _TAKE_SOURCE,
    ),
    Foreign(
        _holds("model.weights.h5"), "this is an archive of Keras 3 (`.keras`), which does not name its layers", _KERAS
    ),
    Foreign(_holds("MAR-INF/MANIFEST.json"), "this is an archive of TorchServe's (.mar)", _UNPACK),
    Foreign(_holds("Manifest.json"), "this is a Core ML package, which is not read", _TAKE_SOURCE),
    # --- what to fetch or unpack first
    Foreign(
        _starts(b"version https://git-lfs.github.com/spec/"),
        "this is a pointer of git-LFS, not the file itself",
        "`git lfs pull` fetches it",
    ),
    Foreign(
        _matches(rb"(?i)\s*(?:<!DOCTYPE html|<html)"),
        "this is a web page, not a checkpoint",
        "was a download's error page saved under this name?",
    ),
    Foreign(_starts(b"\x1f\x8b"), "this is compressed by gzip", _UNPACK),
    Foreign(_starts(b"\xfd7zXZ\x00"), "this is compressed by xz", _UNPACK),
    Foreign(_starts(b"BZh"), "this is compressed by bzip2", _UNPACK),
    Foreign(_starts(b"\x28\xb5\x2f\xfd"), "this is compressed by zstd", _UNPACK),
    Foreign(_starts(b"\x04\x22\x4d\x18"), "this is compressed by lz4", _UNPACK),
    Foreign(_starts(b"7z\xbc\xaf\x27\x1c"), "this is a 7z archive", _UNPACK),
    Foreign(_starts(b"Rar!\x1a\x07"), "this is a RAR archive", _UNPACK),
    # --- other programs' models
    Foreign(
        _called(r"\.(?:pdparams|pdopt|pdmodel|pdiparams)"),
        "this is a file of PaddlePaddle's (.pdparams, .pdmodel), which is not read",
        _SAVE_ARRAYS,
    ),
    Foreign(_starts(b"\x12\x01\0\0\0\0\0\0"), "this is a file of MXNet's (.params), which is not read", _SAVE_ARRAYS),
    Foreign(
        _matches(rb'\s*\{\s*"nodes": ?\['),
        "this is the description of an MXNet network (-symbol.json), without weights",
        _NAME_THE_CHECKPOINT,
    ),
    Foreign(_called(r"\.weights"), "this is a file of Darknet's (.weights), which is not read", _TAKE_SOURCE),
    Foreign(  # a map whose first key is text
        _matches(rb"(?:[\x81-\x8f]|\xde.{2})[\xa1-\xbf][A-Za-z_]"),
        "this is a file of Flax's, for JAX (msgpack), which is not read",
        _SAVE_ARRAYS,
    ),
    Foreign(
        lambda beginning: beginning.start[:4] in (b"ftrt", b"ptrt") or _called(r"\.(?:engine|trt)")(beginning),
        "this is an engine of TensorRT's: a program for one GPU, which is not read",
        _TAKE_SOURCE,
    ),
    Foreign(
        _called(r"\.(?:dlc|hef|kmodel|mnn|nb|om|rknn)"),
        "this is a program for a phone or another device (.mnn, .rknn and the like), which is not read",
        _TAKE_SOURCE,
    ),
    Foreign(
        _starts(b"GGUF"), "this is a file of llama.cpp's (.gguf), which holds language models", _NAME_THE_CHECKPOINT
    ),
    Foreign(
        _called(r"\.onnx[._]data"), "these are weights that an ONNX model has in a file of their own", _TAKE_SOURCE
    ),
    Foreign(
        lambda beginning: _is_text(beginning) and re.match(rb"(?:<\?xml[^>]*>\s*)?<net ", beginning.start),
        "this is the description of an OpenVINO model (.xml), without weights",
        _TAKE_SOURCE,
    ),
    Foreign(
        lambda beginning: beginning.path.suffix == ".bin" and beginning.path.with_suffix(".xml").is_file(),
        "these are the weights of the OpenVINO model (.xml) beside it, without their names",
        _TAKE_SOURCE,
    ),
    Foreign(
        _starts(b"7767517\n"), "this is the description of an ncnn network (.param), without weights", _TAKE_SOURCE
    ),
    Foreign(
        _called(r"\.data-\d{5}-of-\d{5}"),
        "these are the numbers of a TensorFlow checkpoint, without the index that names them",
        "put its NAME.index beside it, and name that",
    ),
    Foreign(
        _called(r"\A(?:fingerprint\.pb|keras_metadata\.pb|saved_model\.pbtxt)"),
        "this belongs to a SavedModel of TensorFlow, and has no variables",
        _TAKE_VARIABLES,
    ),
    Foreign(
        _called(r"\Aevents\.out\.tfevents\..*"), "this is a log for TensorBoard, not a checkpoint", _NAME_THE_CHECKPOINT
    ),
    Foreign(
        _starts(b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
        "this is a Python pickle, which could run code when read; it was not opened",
        "save it as npz first",
    ),
    Foreign(  # the same as text: a list or a dict, or a class
        _matches(rb"\([dl]p\d+\n|c[a-z_][\w.]*\n[A-Za-z_]\w*\n[(p]"),
        "this is a Python pickle, which could run code when read; it was not opened",
        "save it as npz first",
    ),
    Foreign(
        lambda beginning: beginning.start[4:8] == b"TFL3",
        "this is a TensorFlow Lite model, which is not read",
        _TAKE_SOURCE,
    ),
    Foreign(  # a table or an object of Torch, then a number that stands for it
        _starts(b"\x03\0\0\0\x01\0\0\0", b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1", b"4\n1\n3\nV 1\n"),
        "this is a file of Torch 7 (.t7), Lua's Torch before PyTorch, which is not read",
        "convert it there, or with `torchfile`, and save the weights as npz",
    ),
    Foreign(  # a node: its name, then what it computes
        _matches(rb"\n[\x01-\xff]{1,2}\n[\x01-\x7f][ -~]+?\x12[\x01-\x7f][A-Z][A-Za-z0-9]+"),
        "this is a frozen graph of TensorFlow (.pb), which is not read",
        _TAKE_VARIABLES,
    ),
    Foreign(
        lambda beginning: beginning.path.name == SAVED_MODEL,
        "this is a SavedModel of TensorFlow, which is not read",
        _TAKE_VARIABLES,
    ),
    Foreign(
        lambda beginning: beginning.path.suffix == ".meta" and beginning.start[:1] == b"\n",
        "this is the graph of a TensorFlow checkpoint (.meta), without its variables",
        _TAKE_VARIABLES,
    ),
    Foreign(  # a `.caffemodel` has a name, then layers or inputs; a `.solverstate` a count, then the name of one
        _is_caffe,
        "this is a Caffe file, from before the program was written for Chainer (2014-11 to 2015-01), or not of it",
        "it is another network (its conv1 has no pad, its outputs go through a sigmoid), and it is not read",
    ),
    Foreign(  # the version of its format, then who wrote it, or the graph or the operators' version
        _matches(rb"\x08[\x01-\x1f](?:\x12[\x01-\x7f][ -~]+|\x12\x00|\x1a|\x22|\x28|\x32|\x3a|\x42\x02|\x42\x04)"),
        "this is an ONNX model, which is written but not read",
        _TAKE_SOURCE,
    ),
    Foreign(  # the version of its format, then what it is for
        _matches(rb"\x08[\x01-\x0f]\x12[\x01-\xff]{1,3}\n"), "this is a Core ML model, which is not read", _TAKE_SOURCE
    ),
    Foreign(
        _matches(rb"\x93NUMPY.{4,8}\{'descr': '\|O'"),
        "this is a Python object that NumPy pickled (.npy), which could run code when read; it was not opened",
        "save the arrays in it as npz, where it was made: np.savez('a.npz', **arrays)",
    ),
    Foreign(_starts(b"\x93NUMPY"), "this is one array of NumPy's (.npy)", "put all arrays of a network into one npz"),
    Foreign(
        _starts(b"MATLAB 5.0 MAT-file", b"MATLAB 7.3 MAT-file"), "this is a MATLAB file", "save the weights as npz"
    ),
    Foreign(_starts(b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8"), "this is a picture", "name the checkpoint"),
    Foreign(
        lambda beginning: b"ustar" in beginning.start[257:263],
        "this is a tar file, but not one that PyTorch before 0.2 wrote",
        "unpack it first",
    ),
    Foreign(
        lambda beginning: beginning.path.suffix == ".py" and _is_text(beginning),
        "this is Python source, not a checkpoint",
        "name the checkpoint, and this file with --model-file",
    ),
    Foreign(
        lambda beginning: beginning.path.suffix == ".prototxt" and _is_text(beginning),
        "this is the description of a Caffe network or solver (.prototxt), without weights",
        _NAME_THE_CHECKPOINT,
    ),
    Foreign(
        _matches(rb"\s*node \{"), "this is a graph of TensorFlow as text (.pbtxt), without weights", _TAKE_VARIABLES
    ),
    Foreign(
        lambda beginning: beginning.path.suffix == ".pbtxt" and _is_text(beginning),
        "this is a message of TensorFlow's as text (.pbtxt), without weights",
        _TAKE_VARIABLES,
    ),
    Foreign(
        _matches(rb'\s*\{"(?:module|class_name)": ?"'),
        "this is the description of a Keras network (.json), without weights",
        _NAME_THE_CHECKPOINT,
    ),
    Foreign(
        lambda beginning: _is_text(beginning) and _called(r"\.(?:cfg|ini|json|toml|xml|ya?ml)")(beginning),
        "this is a configuration or a description as text, without weights",
        _NAME_THE_CHECKPOINT,
    ),
    Foreign(_is_text, "this is text, not a checkpoint", "was a log or a download's error page saved under this name?"),
)


def foreign(beginning: Beginning) -> CheckpointError | None:
    """Returns what refuses a file of no known format, if it is known what it is."""
    for kind in FOREIGN:
        if kind.tells(beginning):
            return CheckpointError(beginning.path, kind.problem, kind.advice)
    if beginning.is_zip:
        stranger = next((name for name in beginning.members if not name.endswith(".npy")), None)
        what = "it is empty" if stranger is None else f"it holds {stranger!r}, which is no array"
        problem = f"this is a zip file, but neither an npz nor a PyTorch file: {what}"
        return CheckpointError(beginning.path, problem, "unpack it if the checkpoint is inside")
    return None
