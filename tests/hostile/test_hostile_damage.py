"""Any byte may be flipped, any end cut off: a file is refused, or read as it was; it never ends in another error."""

import random
import zipfile

import numpy as np
import pytest

import converters
from converters import CheckpointError
from tests.helpers.checkpoint_files import (
    adam_state,
    alexnet,
    in_torch_names,
    members,
    save_npz,
    save_zip,
    vgg_bn,
    wrapped,
)

TRIES = 60


def damaged(content):
    """Yields the same damages of a file in every run."""
    chance = random.Random(7)
    for _ in range(TRIES):
        position = chance.randrange(len(content))
        yield content[:position] + bytes([content[position] ^ (1 << chance.randrange(8))]) + content[position + 1 :]
    for _ in range(TRIES // 3):
        yield content[: chance.randrange(len(content))]
    for _ in range(TRIES // 3):
        start = chance.randrange(len(content))
        yield content[:start] + chance.randbytes(8) + content[start + 8 :]


def survives(path, checksummed=True):
    """Reads every damage of a file; where bytes are checksummed, what is read is what was there."""
    content = path.read_bytes()
    whole = converters.read(path).weights
    refusals = 0
    for other in damaged(content):
        path.write_bytes(other)
        checkpoint, error = read_or_error(path, nonfinite="keep")
        refusals += error is not None
        if checkpoint is not None and checksummed:
            assert {name: array.tobytes() for name, array in checkpoint.weights.items()} == {
                name: array.tobytes() for name, array in whole.items()
            }
    return refusals


def read_or_error(path, **options):
    """Returns the checkpoint, or the one line that refuses it; any other error is a failure."""
    try:
        return converters.read(path, **options), None
    except CheckpointError as refusal:
        error = str(refusal)
    assert error.isprintable()
    return None, error


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_npz(compression, tmp_path):
    refusals = survives(save_zip(tmp_path / "a.npz", members(wrapped(alexnet())), compression))
    assert refusals > TRIES // 2


def test_our_own_npz(tmp_path):
    converters.convert(save_npz(tmp_path / "a.model", vgg_bn()), tmp_path / "b.npz")
    assert survives(tmp_path / "b.npz") > TRIES // 2


@pytest.mark.parametrize("flip", [0x01, pytest.param(0x80, marks=pytest.mark.slow)])
def test_the_directory_of_an_npz(flip, tmp_path):
    """The part of a zip that says where everything is: damaged in every byte."""
    path = save_npz(tmp_path / "a.npz", {"conv1/W": np.ones((2, 3), np.float32), "conv1/b": np.ones(2, np.float32)})
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        start = archive.start_dir
    for position in [*range(140), *range(start, len(content))]:
        path.write_bytes(content[:position] + bytes([content[position] ^ flip]) + content[position + 1 :])
        assert (
            read_or_error(path, architecture="alexnet")[1] is not None
        )  # not compared with all others, which takes time


def test_a_state(tmp_path):
    model = save_npz(tmp_path / "a.model", alexnet())
    state = save_npz(tmp_path / "a.state", adam_state(alexnet()))
    for content in damaged(state.read_bytes()):
        state.write_bytes(content)
        checkpoint, error = read_or_error(model)
        if error is None:
            assert checkpoint.weights["fc8.bias"].tobytes() == alexnet()["fc8/b"].tobytes()
        else:
            assert error.startswith(f"{state}: ")


def test_safetensors(tmp_path):
    from safetensors.numpy import save_file

    save_file(in_torch_names(alexnet()), tmp_path / "a.safetensors")
    refusals = survives(tmp_path / "a.safetensors", checksummed=False)
    assert refusals > TRIES // 3  # all that are cut


@pytest.mark.parametrize("legacy", [False, True])
def test_pt(legacy, tmp_path):
    torch = pytest.importorskip("torch")
    state = {name: torch.from_numpy(array) for name, array in in_torch_names(alexnet()).items()}
    torch.save(state, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
    refusals = survives(tmp_path / "a.pt", checksummed=not legacy)
    assert refusals > TRIES // (2 if legacy else 1)


@pytest.mark.parametrize("options", [{}, {"compression": 4}])
def test_hdf5(options, tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.model", "w") as file:
        for key, array in alexnet().items():
            file.create_dataset(key, data=array, **options)
    assert survives(tmp_path / "a.model", checksummed=False) > TRIES // 3


def test_a_log(tmp_path):
    path = save_npz(tmp_path / "a.model", wrapped(alexnet()))
    text = b"INFO:root:chainer version: 1.13.0\nINFO:root:Namespace(im_size=220, base_zoom=1.5, gcn=True, opt='Adam')\n"
    for content in damaged(text * 3):
        (tmp_path / "log.txt").write_bytes(content)
        _, error = read_or_error(path)
        assert error is None or "--writer chainer-X.Y.Z" in error
