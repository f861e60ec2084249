"""safetensors with headers that lie; the attacks of the format's own repository, and ours on its metadata."""

import json
import struct

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.helpers.checkpoint_files import alexnet, in_torch_names, refused


@pytest.fixture
def save(tmp_path):
    """Writes a header of one's own, and data."""

    def write(header, data=bytes(56), length=None):
        content = header if isinstance(header, bytes) else json.dumps(header).encode()
        path = tmp_path / "a.safetensors"
        path.write_bytes(struct.pack("<Q", len(content) if length is None else length) + content + data)
        return path

    return write


def tensor(start=0, end=56, shape=(14,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


@pytest.mark.parametrize(
    "header",
    [
        {"a": tensor(0, 57)},
        {"a": tensor(0, 52)},
        {"a": tensor(4, 60)},
        {"a": tensor(0, 56, (13,))},
        {"a": tensor(0, 56, (2**62, 2**62))},
        {"a": tensor(56, 0)},
        {"a": tensor(0, 56), "b": tensor(0, 56)},
        {"a": tensor(0, 32, (8,)), "b": tensor(28, 56, (7,))},
        {"a": tensor(-4, 52)},
        {"a": tensor(0, 2**64)},
        {"a": tensor(0, 56, (-14,))},
        {"a": tensor(0, 56, (14.5,))},
        {"a": tensor(dtype="F33")},
        {"a": {"dtype": "F32"}},
        {"a": None},
        {"a": tensor(0, 52, (13,))},
        {"__metadata__": {"a": {"b": "c"}}, "a": tensor()},
        {"__metadata__": [1], "a": tensor()},
        b'{"a"',
        b"{" * 1000,
        b'{"\xff\xfe": 1}',
        b'{"a": ' + b"[" * 100_000,
    ],
)
def test_a_header_that_lies(header, save):
    refused(save(header), r"the safetensors file cannot be opened: .* \(look for a whole copy\)")


@pytest.mark.parametrize("length", [0, 1, 5])
def test_a_length_that_lies(length, save):
    refused(save({"a": tensor()}, length=length), "the safetensors file cannot be opened")


@pytest.mark.parametrize("part", [0.05, 0.3, 0.7, 0.99])
def test_a_file_that_was_cut_short(part, tmp_path):
    path = tmp_path / "a.safetensors"
    save_file(in_torch_names(alexnet()), path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    refused(path, r"cut short|the safetensors file cannot be opened: .* \(look for a whole copy\)")


def test_no_tensors(save):
    refused(save({}, b""), r"it holds no arrays")


def test_names_do_not_write_lines_of_their_own(tmp_path):
    save_file({**in_torch_names(alexnet()), "x\nerror: well\x1b[31m": np.ones(1, "f")}, tmp_path / "a.safetensors")
    assert refused(tmp_path / "a.safetensors", "unexpected").isprintable()
