"""Files that are no checkpoints, under a checkpoint's name."""

import errno
import io
import os
import tarfile
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import converters
from converters.folders import survey
from tests.helpers.checkpoint_files import alexnet, refused, save_npz, save_zip

NAMES = ["epoch-1.model", "weights.npz", "weights.pt", "weights.safetensors", "no suffix"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("content", "phrase"),
    [
        (b"", r"the file is empty \(look for another copy: its writer was interrupted\)"),
        (b"<!DOCTYPE html><html>404 Not Found</html>", r"this is a web page, not a checkpoint \(was a download's"),
        (b"INFO:root:epoch:10, main/loss:0.028\n" * 100, "this is text, not a checkpoint"),
        (b"short", "this is text, not a checkpoint"),
        (
            b"\n\x16\x12\x0bCaffeNet\x1a\x04data\xff" + bytes(500),
            "this is no PyTorch, safetensors, Chainer npz, Keras HDF5, Chainer HDF5, Chainer pickle of 2015 or",
        ),
        (b"\x89PNX\r\n\x1a\n" + bytes(100), "this is no PyTorch, safetensors"),
        (bytes(1000), "this is no PyTorch, safetensors"),
        (b"\x00", "this is no PyTorch, safetensors"),
    ],
)
def test_strangers_are_refused_by_their_content(content, phrase, name, tmp_path):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, phrase)


def test_a_tar_is_named(tmp_path):
    with tarfile.open(tmp_path / "old.pt", "w") as archive:
        archive.addfile(tarfile.TarInfo("pickle"), io.BytesIO(b""))
    refused(tmp_path / "old.pt", r"this is a tar file, but not one that PyTorch before 0\.2 wrote \(unpack it first\)")


def test_a_missing_file(tmp_path):
    refused(tmp_path / "none.model", "there is no such file")
    refused(tmp_path / "none" / "none.model", "there is no such file")
    refused(tmp_path / "none.state", "there is no such file")


def test_a_folder(tmp_path):
    (tmp_path / "a").mkdir()
    refused(tmp_path / "a", r"this is a folder \(name a file; `deeppose-port convert` takes a folder too\)")


def test_a_file_taken_for_a_folder(tmp_path):
    (tmp_path / "a").write_text("")
    refused(tmp_path / "a" / "b.model", "it cannot be read: Not a directory")


def test_a_name_that_is_too_long(tmp_path):
    refused(tmp_path / ("a" * 300), "it cannot be read: File name too long")
    for look in (converters.inspect, partial(converters.convert, dry_run=True)):
        with pytest.raises(converters.CheckpointError, match="it cannot be read: File name too long"):
            look(tmp_path / ("a" * 300))


def test_a_folder_that_nobody_may_look_into(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    model = save_npz(tmp_path / "a.model", alexnet())
    iterdir = Path.iterdir

    def denied(folder):
        if folder.name == "closed":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        return iterdir(folder)

    monkeypatch.setattr(Path, "iterdir", denied)
    assert [found.path for found in survey([tmp_path], recursive=True).found] == [model]


def test_a_link_to_itself(tmp_path):
    (tmp_path / "a.model").symlink_to(tmp_path / "a.model")
    refused(tmp_path / "a.model", "it cannot be read: Too many levels of symbolic links")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_the_right_to_read(tmp_path):
    path = save_npz(tmp_path / "a.model", alexnet())
    path.chmod(0)
    with pytest.raises(ValueError, match="it cannot be read: Permission denied"):
        __import__("converters").read(path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.model")
    refused(tmp_path / "a.model", r"this is a device or a pipe, not a file \(copy what it gives into a file\)")
    refused("/dev/zero", "this is a device or a pipe")


def test_a_pipe_beside_a_file_is_not_waited_for(tmp_path):
    path = save_npz(tmp_path / "a.model", alexnet())
    for name in ("a.state", "log.txt"):
        os.mkfifo(tmp_path / name)
    assert __import__("converters").read(path).joints == 7


@pytest.mark.parametrize(
    ("members", "phrase"),
    [
        ([("readme.txt", b"hello")], r"neither an npz nor a PyTorch file: it holds 'readme\.txt', which is no array"),
        ([("a.npy", b"x"), ("word/document.xml", b"x")], "it holds 'word/document.xml', which is no array"),
        ([("folder/", b"")], "neither an npz nor a PyTorch file: it is empty"),
    ],
)
def test_a_zip_of_something_else(members, phrase, tmp_path):
    refused(save_zip(tmp_path / "a.npz", members), phrase + r" \(unpack it if the checkpoint is inside\)")


def test_a_zip_of_nothing(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w"):
        pass
    refused(tmp_path / "a.npz", "this is a zip file, but neither an npz nor a PyTorch file: it is empty")


def test_an_npz_of_another_program(tmp_path):
    refused(
        save_npz(tmp_path / "a.npz", {"x": np.arange(10.0), "y": np.arange(10)}),
        r"its arrays fit no architecture, none has a name of one: unexpected \{x,y\} \(nothing is loaded in part;",
    )
