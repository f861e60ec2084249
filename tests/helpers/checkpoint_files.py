"""Makes checkpoint files for the tests of the converters, and compares them to the last bit."""

import hashlib
import io
import re
import struct
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import converters
from converters import CheckpointError, formats

#: Every npz of a model in golden/checkpoints that is read, as VERSION/FOLDER/FILE; some of them come with the project.
GOLDEN_NPZ = (
    "1.7.0/alexnet-adam/epoch-1.model",
    "1.7.0/resnet50-adam/epoch-1.model",
    "1.7.0/vgg_bn-adam/epoch-1.model",
    "1.10.0/alexnet-bare/epoch-1.model",
    "1.10.0/resnet50-bare/epoch-1.model",
    "1.13.0/alexnet-adagrad/epoch-1.model",
    "1.13.0/alexnet-adam/epoch-1.model",
    "1.13.0/alexnet-momentumsgd/epoch-1.model",
    "1.13.0/alexnet-rmsprop/epoch-1.model",
    "1.13.0/resnet50-adam/epoch-1.model",
    "1.13.0/trainer-multiprocess/epoch-1.model",
    "1.13.0/trainer-multiprocess/snapshot_iter_2",
    "1.13.0/trainer-resnet50-momentumsgd/snapshot_iter_12",
    "1.13.0/trainer-serial/epoch-1.model",
    "1.13.0/trainer-serial/snapshot_iter_2",
    "1.13.0/vgg_bn-adam/epoch-1.model",
    "1.24.0/alexnet-adam/epoch-1.model",
    "1.24.0/resnet50-adam/epoch-1.model",
    "1.24.0/trainer-multiprocess/epoch-1.model",
    "1.24.0/trainer-multiprocess/snapshot_iter_2",
    "1.24.0/trainer-serial/epoch-1.model",
    "1.24.0/trainer-serial/snapshot_iter_2",
    "1.24.0/vgg_bn-adam/epoch-1.model",
    "3.5.0/alexnet-adam/epoch-1.model",
    "3.5.0/resnet50-adam/epoch-1.model",
    "3.5.0/vgg_bn-adam/epoch-1.model",
    "5.4.0/alexnet-adam/epoch-1.model",
    "5.4.0/resnet50-adam/epoch-1.model",
    "5.4.0/trainer-multiprocess/epoch-1.model",
    "5.4.0/trainer-multiprocess/snapshot_iter_2",
    "5.4.0/trainer-serial/epoch-1.model",
    "5.4.0/trainer-serial/snapshot_iter_2",
    "5.4.0/vgg_bn-adam/epoch-1.model",
    "7.8.1/alexnet-adagrad/epoch-1.model",
    "7.8.1/alexnet-adam/epoch-1.model",
    "7.8.1/alexnet-momentumsgd/epoch-1.model",
    "7.8.1/alexnet-rmsprop/epoch-1.model",
    "7.8.1/resnet50-adam/epoch-1.model",
    "7.8.1/trainer-multiprocess/epoch-1.model",
    "7.8.1/trainer-multiprocess/snapshot_iter_2",
    "7.8.1/trainer-resnet50-momentumsgd/snapshot_iter_12",
    "7.8.1/trainer-serial/epoch-1.model",
    "7.8.1/trainer-serial/snapshot_iter_2",
    "7.8.1/vgg_bn-adam/epoch-1.model",
    "alexnet-mpii-chainer1.13/epoch-100.model",
)
GOLDEN_MODELS = tuple(name for name in GOLDEN_NPZ if name.endswith(".model"))
GOLDEN_SNAPSHOTS = tuple(name for name in GOLDEN_NPZ if not name.endswith(".model"))
GOLDEN_STATES = tuple(
    f"{folder}/epoch-1.state"
    for folder in (
        *(f"{version}/alexnet-adam" for version in ("1.7.0", "1.13.0", "1.24.0", "3.5.0", "5.4.0", "7.8.1")),
        *(f"{v}/alexnet-{name}" for v in ("1.13.0", "7.8.1") for name in ("adagrad", "momentumsgd", "rmsprop")),
        *(f"{version}/{network}-adam" for version in ("1.13.0", "7.8.1") for network in ("resnet50", "vgg_bn")),
    )
)

_PARTS = {
    **{"W": "weight", "b": "bias", "gamma": "weight", "beta": "bias"},
    **{"avg_mean": "running_mean", "avg_var": "running_var", "N": "num_batches_tracked"},
}

#: What is said of a plain AlexNet, whose names and shapes two forks have too.
PLAIN_ALEXNET = (
    "its keys and shapes are those of several networks: taken as the alexnet of mitmul/deeppose; "
    "override with --architecture alexnet-takiyu or alexnet-ynaka81"
)
#: What is said of one that is the main line's by its format or its log, and may have been edited there.
PERHAPS_EDITED = (
    "its keys and shapes do not show whether its network was edited: taken as the alexnet of mitmul/deeppose; "
    "override with --model-file FILE.py"
)


def golden_file(name, request):
    """Finds one of golden/checkpoints in tests/golden or beside the project; skips where it is in neither."""
    path = request.getfixturevalue("golden") / "checkpoints" / name
    if path.is_file():
        return path
    checkpoints = request.getfixturevalue("shared_golden") / "checkpoints"
    return checkpoints / name if name.startswith("alexnet-mpii") else checkpoints / "tiny" / name


# --- networks ---------------------------------------------------------------------------------------------------------


def alexnet(joints=7, dtype=np.float32):
    """A very narrow AlexNet's arrays by Chainer's bare names: 3,600 numbers that are all different."""
    shapes = {
        "conv1": (2, 3, 11, 11),
        "conv2": (3, 2, 5, 5),
        "conv3": (4, 3, 3, 3),
        "conv4": (4, 4, 3, 3),
        "conv5": (3, 4, 3, 3),
        "fc6": (5, 3 * 6 * 6),
        "fc7": (6, 5),
        "fc8": (2 * joints, 6),
    }
    random = np.random.RandomState(3)
    arrays = {}
    for layer, shape in shapes.items():
        arrays[f"{layer}/W"] = random.randn(*shape).astype(dtype)
        arrays[f"{layer}/b"] = random.randn(shape[0]).astype(dtype)
    return arrays


def vgg_bn(joints=2):
    """A VGG-BN of one channel a layer by Chainer's bare names: the smallest network with BatchNormalization."""
    random = np.random.RandomState(4)
    arrays, channels = {}, 3
    for stage, layers in enumerate((2, 2, 3, 3, 3), start=1):
        for layer in range(1, layers + 1):
            name = f"{stage}_{layer}"
            arrays[f"conv{name}/W"] = random.randn(1, channels, 3, 3).astype(np.float32)
            arrays[f"conv{name}/b"] = random.randn(1).astype(np.float32)
            for part in ("gamma", "beta", "avg_mean", "avg_var"):
                arrays[f"bn{name}/{part}"] = random.rand(1).astype(np.float32)
            arrays[f"bn{name}/N"] = np.array(0)
            channels = 1
    for layer, shape in (("fc6", (1, 7 * 7)), ("fc7", (1, 1)), ("fc8", (2 * joints, 1))):
        arrays[f"{layer}/W"] = random.randn(*shape).astype(np.float32)
        arrays[f"{layer}/b"] = random.randn(shape[0]).astype(np.float32)
    return arrays


def wrapped(arrays, prefix="predictor/"):
    """The arrays with a prefix before every key."""
    return {prefix + key: array for key, array in arrays.items()}


def canonical(key):
    """Chainer's key, wrappers included -> the name in PyTorch's spelling."""
    key = re.sub(r"^/?(updater/model:main/)?(predictor/)?", "", key)
    key = re.sub(r"(res\d)/b(\d)/", r"\1/b_\2/", re.sub(r"^fc/", "out_fc/", key))
    *layer, part = key.split("/")
    return ".".join([*layer, _PARTS[part]])


def in_torch_names(arrays):
    """The arrays by PyTorch's names."""
    return {canonical(key): array for key, array in arrays.items()}


def adam_state(arrays, step=3, per_parameter=False):
    """The arrays of Adam's `.state` for a model's arrays; `per_parameter` is how Chainer 3.4 and later count."""
    random = np.random.RandomState(5)
    state = {"t": np.array(step), "epoch": np.array(0)}
    for key, array in arrays.items():
        if key.endswith(("/avg_mean", "/avg_var", "/N")):
            continue
        for slot in ("m", "v"):
            state[f"{key}/{slot}"] = random.rand(*array.shape).astype(np.float32)
        if per_parameter:
            state[f"{key}/t"] = np.array(step)
    return state


# --- files ------------------------------------------------------------------------------------------------------------


def save_npz(path, arrays):
    """Writes an npz under any name."""
    with path.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    return path


def load_npz(path):
    """Reads an npz with NumPy alone."""
    with np.load(path, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}


def save_zip(path, members, compression=zipfile.ZIP_DEFLATED):
    """Writes a zip of (name, bytes), names as they are and as often as they are there."""
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", compression) as archive:
        warnings.simplefilter("ignore")  # a name that is there twice
        for name, content in members:
            archive.writestr(name, content)
    return path


def npy(array):
    """An array as an npy member."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asanyarray(array), allow_pickle=True)
    return stream.getvalue()


def npy_claiming(header, data=b"", version=(1, 0)):
    """An npy member with a header of one's own, as text or as a dict."""
    text = f"{header}\n".encode("latin1")
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text + data


def members(arrays):
    """An npz's members, for `save_zip`."""
    return [(f"{key}.npy", npy(array)) for key, array in arrays.items()]


def sha256(path):
    """A file's hash."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


# --- judgements -------------------------------------------------------------------------------------------------------


def assert_same_arrays(actual, expected):
    """The same keys, and for each the same dtype, shape and bytes."""
    assert actual.keys() == expected.keys()
    for key, array in expected.items():
        found = actual[key]
        assert (found.dtype, found.shape) == (array.dtype, array.shape), key
        assert found.tobytes() == array.tobytes(), key


def refused(path, phrase, *, culprit=None, **options):
    """Reads a file that has to be refused, in one line that names it; nothing is written or changed beside it."""
    path = Path(path)
    before = listing(path.parent) if path.parent.is_dir() else None
    with pytest.raises(CheckpointError, match=phrase) as caught:
        converters.read(path, **options)
    message = str(caught.value)
    assert message.startswith(f"{culprit or path}: ")
    assert len(message.splitlines()) == 1
    assert len(message) < 1500
    if before is not None:
        assert listing(path.parent) == before
    return message


def listing(folder):
    """What a folder holds: every file below it with its hash, symbolic links by name alone."""
    return {
        str(path.relative_to(folder)): sha256(path) if path.is_file() and not path.is_symlink() else None
        for path in sorted(folder.rglob("*"))
    }


def let_write(monkeypatch, format, write):
    """Lets something else write the files of a format."""
    monkeypatch.setitem(formats.FORMATS, format, replace(formats.FORMATS[format], write=write))
