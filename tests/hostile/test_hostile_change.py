"""A file that changes while it is read is refused, whatever its format: what was read may be of two files."""

import os
import threading

import pytest
from safetensors.numpy import save_file

import converters
from converters import CheckpointError, formats
from tests.helpers.checkpoint_files import adam_state, alexnet, in_torch_names, save_npz, wrapped


def rewrite(path):
    path.write_bytes(path.read_bytes())


def replace(path):
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.replace(other, path)


def append(path):
    with path.open("ab") as stream:
        stream.write(b"more")


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


@pytest.fixture(params=["npz", "h5", "pt", "safetensors"])
def path(request, tmp_path):
    """A good file of each format."""
    path = tmp_path / f"a.{request.param}"
    if request.param == "npz":
        save_npz(path, alexnet())
    elif request.param == "h5":
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            for key, array in alexnet().items():
                file.create_dataset(key, data=array)
    elif request.param == "pt":
        torch = pytest.importorskip("torch")
        torch.save({name: torch.from_numpy(array) for name, array in in_torch_names(alexnet()).items()}, path)
    else:
        save_file(in_torch_names(alexnet()), path)
    return path


@pytest.mark.parametrize("change", [rewrite, replace, append, cut, os.unlink])
def test_a_file_that_changes_is_refused(change, path):
    once = threading.Lock()

    def meddle(done, total):
        if once.acquire(blocking=False):
            change(path)

    with pytest.raises(CheckpointError) as caught:
        converters.read(path, progress=meddle)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_does_not_change_is_read(path):
    assert converters.read(path, progress=lambda done, total: None).joints == 7


def test_a_state_that_changes_is_refused(tmp_path):
    model = save_npz(tmp_path / "a.model", wrapped(alexnet()))
    state = save_npz(tmp_path / "a.state", adam_state(wrapped(alexnet())))
    with pytest.raises(CheckpointError, match=r"a\.state: it changed while it was read \(try again when its writer"):
        converters.read(model, progress=lambda done, total: os.utime(state))


@pytest.mark.parametrize("change", [rewrite, replace])
def test_a_file_that_changes_before_its_arrays_are_read_is_refused(change, path, monkeypatch):
    opened = formats.opened

    def meddle(file):
        contents = opened(file)
        change(file)
        return contents

    monkeypatch.setattr(formats, "opened", meddle)
    with pytest.raises(CheckpointError, match="changed while"):
        converters.read(path)
