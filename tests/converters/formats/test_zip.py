"""Members of a zip, inflated by each library, against Python's own zipfile."""

import sys
import zipfile
import zlib

import numpy as np
import pytest

import converters
from converters.formats import _zip
from tests.helpers.checkpoint_files import alexnet, assert_same_arrays, in_torch_names, save_npz, save_zip

CONTENT = {
    "empty": b"",
    "one byte": b"a",
    "zeros": bytes(3_000_000),
    "noise": np.random.RandomState(0).bytes(1_000_000),
    "weights": np.random.RandomState(0).randn(300_000).astype("f").tobytes(),
}


@pytest.fixture(params=_zip._LIBRARIES)
def library(request, monkeypatch):
    """Makes one library the fastest that there is."""
    pytest.importorskip(request.param.split(".")[0])
    for name in _zip._LIBRARIES[: _zip._LIBRARIES.index(request.param)]:
        monkeypatch.setitem(sys.modules, name, None)
    _zip.library.cache_clear()
    yield _zip.library()
    _zip.library.cache_clear()


def read(path, most=1 << 20, **changes):
    """Reads the members of a zip, of whose directory something is changed."""
    result = {}
    for member in _zip.directory(path)[0]:
        for name, change in changes.items():
            setattr(member, name, change(getattr(member, name)))
        pieces = list(_zip.read_member(path, member, most))
        assert all(0 < len(piece) <= most for piece in pieces)
        result[member.filename] = b"".join(pieces)
    return result


def test_the_fastest_is_taken(library, request):
    assert library.__name__ == request.node.callspec.params["library"]


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
@pytest.mark.parametrize("most", [1000, 1 << 20])
def test_members_are_read_as_zipfile_reads_them(most, compression, library, tmp_path):
    path = save_zip(tmp_path / "a.zip", CONTENT.items(), compression)
    assert read(path, most) == CONTENT


def test_a_checkpoint_is_the_same_with_each(library, tmp_path):
    path = save_npz(tmp_path / "a.model", alexnet())
    assert_same_arrays(converters.read(path).weights, in_torch_names(alexnet()))


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
@pytest.mark.parametrize(
    ("changes", "phrase"),
    [
        ({"CRC": lambda crc: crc ^ 1}, "CRC-32"),
        ({"file_size": lambda size: size + 1}, "fewer bytes than the zip's directory says"),
        ({"file_size": lambda size: size - 1}, "more bytes than the zip's directory says"),
        ({"file_size": lambda size: 0}, "more bytes than the zip's directory says"),
        ({"compress_size": lambda size: size - 1}, "cut short|fewer bytes"),
        ({"compress_size": lambda size: size + 10**9}, "the file ends|more bytes"),
        ({"header_offset": lambda offset: offset + 1}, "there is no member"),
        ({"header_offset": lambda offset: 10**9}, "there is no member"),
        ({"orig_filename": lambda name: name + "x"}, "there is another member"),
        ({"flag_bits": lambda flags: flags | 1}, "contradict each other"),
        ({"compress_type": lambda method: 8 - method}, "contradict each other"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_directory_that_lies_is_found_out(changes, phrase, compression, library, tmp_path):
    path = save_zip(tmp_path / "a.zip", [("a", CONTENT["weights"])], compression)
    if "compress_size" in changes and "ends" in phrase and compression == zipfile.ZIP_DEFLATED:
        assert read(path, **changes)["a"] == CONTENT["weights"]  # what comes after its end is not looked at
        return
    with pytest.raises(_zip.DamagedError, match=phrase):
        read(path, **changes)


def test_damaged_bytes_are_found_out(library, tmp_path):
    path = save_zip(tmp_path / "a.zip", [("a", CONTENT["weights"])])
    content = bytearray(path.read_bytes())
    content[1000:1100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises((_zip.DamagedError, library.error, zlib.error)):
        read(path)
