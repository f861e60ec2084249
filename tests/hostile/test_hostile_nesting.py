"""Pickles that are small and would become large, deep or endless: none may take the time, the memory or the stack."""

import io
import pickle
import struct
import tarfile
import zipfile

import pytest

from tests.helpers.checkpoint_files import save_zip
from tests.hostile.conftest import refusals

DEEP = 1_000_000


def text(content):
    """The instruction that makes a text."""
    return b"X" + struct.pack("<I", len(content)) + content


#: Instructions that follow `}` (an empty dict) and leave a value for the key "a".
BOMBS = {
    "lists in lists": b"X\1\0\0\0a" + b"]" * DEEP + b"a" * (DEEP - 1) + b"s",
    "tuples in tuples": b"X\1\0\0\0a)" + b"\x85" * DEEP + b"s",
    "tuples in tuples as a key, whose hash goes down to the last": b")" + b"\x85" * DEEP + b"K\1s",
    "a few hundred thousand tuples as a key": b")" + b"\x85" * 400_000 + b"K\1s",
    "dicts in dicts": b"X\1\0\0\0a" + b"}X\1\0\0\0b" * DEEP + b"N" + b"s" * DEEP + b"s",
    "marks": b"(" * DEEP + b"X\1\0\0\0aNs",
    "lists that hold one list a hundred times, 50 levels": (
        b"X\1\0\0\0a]]q\1a" + (b"](" + b"h\1" * 100 + b"eq\1a") * 50 + b"s"
    ),
    "tuples that hold one tuple twice, 50 levels": b"X\1\0\0\0a])q\1a" + b"h\1h\1\x86q\1a" * 50 + b"s",
    "dicts that hold one dict twice, 50 levels": (
        b"X\1\0\0\0a]}q\1a" + b"}(X\1\0\0\0bh\1X\1\0\0\0ch\1uq\1a" * 50 + b"s"
    ),
    "a list in itself": b"X\1\0\0\0a]q\1h\1as",
    "a memo of four billion": b"X\1\0\0\0aNr\xff\xff\xff\xffs",
    "a string of four billion": b"X\1\0\0\0aX\xff\xff\xff\xffabcs",
    "a number of two billion bytes": b"X\1\0\0\0a\x8b\xff\xff\xff\x7f\1s",
    "a number of 255 bytes": b"X\1\0\0\0a\x8a\xff" + b"\x7f" * 255 + b"s",
    "bytearray(2 ** 31 - 1)": b"X\1\0\0\0acbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85Rs",
    "a call of a call of a call": (
        b"X\1\0\0\0a" + b"ctorch._tensor\n_rebuild_from_type_v2\n" * 1000 + b")" + b"R" * 1000 + b"s"
    ),
    "a text that is referred to 20,000 times": b"X\1\0\0\0a]("
    + text(b"\xff" * 60_000)
    + b"q\1"
    + b"h\1" * 20_000
    + b"es",
    "a long text as a key 80,000 times": text(b"a" * 900_000) + b"q\1Ns" + b"h\1Ns" * 80_000,
    "a short text as a key 160,000 times": text(b"a" * 190) + b"q\1Ns" + b"h\1Ns" * 160_000,
    "numbers as keys whose hashes are the same": b"".join(
        b"\x8a\x0b" + (i * (2**61 - 1)).to_bytes(11, "little") + b"Ns" for i in range(1, 40_000)
    ),
    "fractions as keys whose hashes are the same": b"".join(
        b"G" + struct.pack(">d", i * 2.0**61) + b"Ns" for i in range(1, 40_000)
    ),
    "tuples as keys": b"".join(b"J" + struct.pack("<i", i) + b"\x85Ns" for i in range(40_000)),
    "names without an end": b"X\1\0\0\0ac" + b"x" * DEEP,
}
#: By the end of its file's name: how a pickle lies in it.
FILES = {}


def file_kind(function):
    FILES[function.__name__.removeprefix("as_")] = function
    return function


@file_kind
def as_pt_zip(path, content):
    save_zip(path, [("a/data.pkl", b"\x80\2}" + content + b"."), ("a/version", b"3\n")], zipfile.ZIP_STORED)


@file_kind
def as_pt_before_1_6(path, content):
    magic, version = pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2)
    facts = pickle.dumps({"little_endian": True}, 2)
    path.write_bytes(magic + version + facts + b"\x80\2}" + content + b"." + pickle.dumps([], 2))


@file_kind
def as_pt_tar(path, content):
    with tarfile.open(path, "w") as archive:
        empty = pickle.dumps(0, 2)
        for name, data in (
            ("storages", empty + pickle.dumps([], 2)),
            ("tensors", empty),
            ("pickle", b"\x80\2}" + content + b"."),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


@file_kind
def as_pickle_of_2015(path, content):
    path.write_bytes(b"\x80\2cAlexNet_flic\nAlexNet_flic\n)\x81}" + content + b"b.")


@pytest.mark.parametrize(
    "kind", [kind if kind == "pt_zip" else pytest.param(kind, marks=pytest.mark.slow) for kind in FILES]
)
def test_a_pickle_that_grows_is_refused_in_little_time_and_memory(kind, tmp_path):
    paths = []
    for i, bomb in enumerate(BOMBS.values()):
        paths.append(tmp_path / f"{i}.model")
        FILES[kind](paths[-1], bomb)
    for name, path, line in zip(BOMBS, paths, refusals(paths), strict=True):
        assert line.startswith(f"{path}: "), name


def test_the_bombs_are_pickles():
    """Python's own unpickler makes of them what they say: they are not refused as noise."""

    def load(name):
        return pickle.loads(b"\x80\2}" + BOMBS[name] + b".")

    nested = load("tuples that hold one tuple twice, 50 levels")["a"][-1]
    assert nested[0] is nested[1]
    assert nested[0][0] is nested[1][1]
    assert len(load("lists that hold one list a hundred times, 50 levels")["a"][-1]) == 100
    assert list(load("dicts that hold one dict twice, 50 levels")["a"][-1]) == ["b", "c"]
    itself = load("a list in itself")["a"]
    assert itself[0] is itself
    assert load("a number of 255 bytes")["a"].bit_length() == 2039
