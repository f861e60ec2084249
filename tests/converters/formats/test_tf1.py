"""TensorFlow 1's checkpoints: a golden one that TensorFlow wrote, and small ones with one thing wrong each."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from converters import CheckpointError
from converters.files import CHUNK
from converters.formats import _leveldb, _protobuf, tf1
from converters.stored import read_all
from tests.helpers import tensorflow1 as tf

ONE = np.arange(12, dtype="f").reshape(3, 4)
SIZE = ONE.nbytes


def load(index: Path) -> dict[str, np.ndarray]:
    contents = tf1.read(index)
    return read_all({key: contents.stored(index, key) for key in contents.headers})


def write(folder: Path, index: bytes, data: bytes | None = ONE.tobytes()) -> Path:
    (folder / "c-1.index").write_bytes(index)
    if data is not None:
        (folder / "c-1.data-00000-of-00001").write_bytes(data)
    return folder / "c-1.index"


def one(folder: Path, *items: tf.Item, header: tf.Item | None = None, data: bytes | None = ONE.tobytes()) -> Path:
    """Writes a checkpoint of these entries."""
    return write(folder, tf.table([[header or tf.header(), *items]]), data)


def _of_one_block(content: bytes) -> bytes:
    """Returns a table whose data block has this content."""
    return tf.closed(tf.packed(content), tf.block([(b"a", tf.place(0, len(content)))]))


class TestGolden:
    def test_variables_arrive_with_the_axes_of_pytorch(self, golden):
        index = golden / "tf1-asanakoy" / "checkpoint-1000.index"
        arrays = load(index)
        assert len(arrays) == 35
        data = (golden / "tf1-asanakoy" / "checkpoint-1000.data-00000-of-00001").read_bytes()
        kernel = np.frombuffer(data, "<f4", 11 * 11 * 3 * 8, 64).reshape(11, 11, 3, 8)  # as its index says
        np.testing.assert_array_equal(arrays["conv1/weight"], np.moveaxis(kernel, (3, 2), (0, 1)))
        matrix = np.frombuffer(data, "<f4", 32 * 28, 182948).reshape(32, 28)
        np.testing.assert_array_equal(arrays["fc_regression/weight"], matrix.T)
        assert arrays["global_iter_counter"].shape == ()
        assert arrays["global_iter_counter"] == 1000

    @pytest.mark.parametrize("suffix", ["", ".index", ".meta", ".data-00000-of-00001", None])
    def test_any_of_its_names_means_the_checkpoint(self, suffix, golden):
        """The path in the file `checkpoint` is another machine's, and there is no .meta."""
        folder = golden / "tf1-asanakoy"
        name = "checkpoint" if suffix is None else f"checkpoint-1000{suffix}"
        assert tf1.index_of(folder / name) == folder / "checkpoint-1000.index"

    def test_a_changed_number_is_seen(self, golden, tmp_path):
        for file in (golden / "tf1-asanakoy").iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        data = tmp_path / "checkpoint-1000.data-00000-of-00001"
        content = bytearray(data.read_bytes())
        content[70] ^= 1
        data.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"data-00000-of-00001: 'conv1/weight' does not have its checksum"):
            load(tmp_path / "checkpoint-1000.index")


class TestNames:
    def test_a_windows_path_is_cut_to_its_last_part(self, tmp_path):
        tf.save(tmp_path, {"a": ONE})
        (tmp_path / "checkpoint").write_text('model_checkpoint_path: "out\\\\lsp\\\\checkpoint-1000"\n')
        assert tf1.index_of(tmp_path / "checkpoint") == tmp_path / "checkpoint-1000.index"

    def test_the_newest_is_meant_not_the_first(self, tmp_path):
        tf.save(tmp_path, {"a": ONE}, "checkpoint-10")
        tf.save(tmp_path, {"a": ONE}, "checkpoint-20")
        text = 'model_checkpoint_path: "checkpoint-20"\nall_model_checkpoint_paths: "checkpoint-10"\n'
        (tmp_path / "checkpoint").write_text(text)
        assert tf1.index_of(tmp_path / "checkpoint") == tmp_path / "checkpoint-20.index"

    def test_a_newest_that_is_not_there_is_named(self, tmp_path):
        (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/a/checkpoint-30"\n')
        with pytest.raises(CheckpointError, match=r"names 'checkpoint-30', but there is no checkpoint-30\.index"):
            tf1.index_of(tmp_path / "checkpoint")

    @pytest.mark.parametrize("name", ["checkpoint", "epoch-1.model", ".index", "nothing"])
    def test_other_files_are_none(self, name, tmp_path):
        (tmp_path / "checkpoint").write_text("epochs done: 7\n")
        (tmp_path / "epoch-1.model").write_bytes(b"PK")
        assert tf1.index_of(tmp_path / name) is None


class TestTables:
    def test_the_checksum_is_castagnolis_masked(self):
        """RFC 3720 gives the CRC of these; the mask is LevelDB's."""
        assert tf.crc32c(b"123456789") == 0xE3069283
        assert tf.crc32c(bytes(32)) == 0x8A9136AA
        for content in (b"", b"123456789", bytes(32), bytes(range(256))):
            assert _leveldb.masked_crc32c(content) == tf.masked(content)

    def test_keys_are_put_together_over_restarts_and_blocks(self):
        items = [(f"layer{i:03}/weight/Adagrad".encode(), str(i).encode()) for i in range(100)]
        assert list(_leveldb.entries(tf.table([items[:50], items[50:51], items[51:]]))) == items

    @pytest.mark.parametrize(
        ("table", "problem"),
        [
            (tf.table([[(b"a", b"1")]])[:-1], "its end is not that of a table"),
            (tf.table([[(b"a", b"1")]], crc=1), "does not have its checksum"),
            (tf.table([[(b"a", b"1")]], kind=1), "compressed by snappy"),
            (tf.table([[(b"a", b"1")]], kind=7), "packed in the unknown way 7"),
            (tf.table([[(b"b", b"1"), (b"a", b"1")]]), "keys are not in their order"),
            (tf.table([[(b"a", b"1")], [(b"a", b"1")]]), "keys are not in their order"),
            (tf.table([[(f"{i:06}".encode(), b"") for i in range(20_001)]]), "more than 20,000 entries"),
            (tf.table([[(b"a" * 1025, b"1")]]), "reaches out of its block"),
            (tf.closed(b"", tf.block([(b"a", tf.place(10**9, 8))])), "lies beyond its end"),
            (tf.closed(b"", tf.block([(b"a", tf.place(0, 2**63))])), "lies beyond its end"),
            (tf.closed(b"", tf.block([(b"a", b"\xff" * 30)])), "has no end"),
            (_of_one_block(b"\x00\x05"), "block of it is too short"),
            (_of_one_block(struct.pack("<I", 2**31)), "out of its block"),
            (_of_one_block(b"\x05\x01\x00a" + bytes(8)), "out of its block"),
            (_of_one_block(b"\x00\x01\x7fa" + bytes(8)), "out of its block"),
        ],
    )
    def test_a_damaged_table_is_refused(self, table, problem):
        with pytest.raises(ValueError, match=problem):
            list(_leveldb.entries(table))

    def test_a_block_is_not_read_again_and_again(self):
        """A hundred thousand places of one block without entries would each cost its checksum."""
        empty = struct.pack("<I", 0) * 1000 + struct.pack("<I", 1000)
        places = [(f"{i:03}".encode(), tf.place(0, len(empty))) for i in range(3)]
        with pytest.raises(ValueError, match="blocks are not in their order"):
            list(_leveldb.entries(tf.closed(tf.packed(empty), tf.block(places))))


class TestMessages:
    def test_fields_of_every_kind(self):
        message = tf.field(1, 300) + tf.field(2, b"ab") + bytes([3 << 3 | 5, 1, 0, 0, 0, 4 << 3 | 1, *[0] * 7, 128])
        assert list(_protobuf.fields(message)) == [(1, 300), (2, b"ab"), (3, 1), (4, 1 << 63)]
        assert _protobuf.signed(2**64 - 5) == -5

    @pytest.mark.parametrize(
        ("message", "problem"),
        [
            (b"\x08" + b"\xff" * 100, "no end"),
            (b"\x08\xff", "no end"),
            (b"\x08" + b"\xff" * 9 + b"\x7f", "no end"),
            (b"\x0a\x05ab", "cut short"),
            (b"\x0a" + tf.varint(2**62), "cut short"),
            (b"\x0d\x01\x02", "cut short"),
            (b"\x0b", "unknown kind 3"),
        ],
    )
    def test_a_damaged_message_is_refused(self, message, problem):
        with pytest.raises(ValueError, match=problem):
            list(_protobuf.fields(message))


class TestVariables:
    @pytest.mark.parametrize("shards", [1, 3])
    @pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i1", "i2", "i4", "i8", "u1", "?"])
    def test_every_shard_and_kind_of_number(self, shards, dtype, tmp_path):
        arrays = {name: np.arange(6).reshape(2, 3).astype(dtype) for name in "abcd"}
        read = load(tf.save(tmp_path, arrays, shards=shards))
        for name in "abcd":
            assert read[name].dtype == dtype
            np.testing.assert_array_equal(read[name], arrays[name].T)

    def test_large_kernels_come_in_pieces(self, tmp_path):
        kernel = np.random.default_rng(0).standard_normal((3, 3, 64, 600)).astype("f")
        index = tf.save(tmp_path, {"k": kernel})
        pieces = [bytes(piece) for piece in tf1.read(index).chunks("k")]
        assert len(pieces) > 1
        assert max(map(len, pieces)) <= CHUNK
        np.testing.assert_array_equal(load(index)["k"], kernel.transpose(3, 2, 0, 1))

    @pytest.mark.parametrize(
        ("other", "problem"),
        [
            ({"size": SIZE - 4}, "says that it has 44 bytes"),
            ({"size": 0}, "says that it has 0 bytes"),
            ({"shape": (2**40, 2**40)}, "says that it has 48 bytes"),
            ({"shape": (2**62, 4, 0)}, "says that it has 48 bytes"),
            ({"shape": (-3, -4)}, "a shape that no array has"),
            ({"shape": (1,) * 20 + (12,)}, "a shape that no array has"),
            ({"dtype": 7}, "TensorFlow's dtype 7, which is not read"),
            ({"dtype": 101}, "TensorFlow's dtype 101, which is not read"),
            ({"shard": 1}, "is in data file 1, and there are 1"),
            ({"more": tf.field(7, b"\x0a\x00")}, "stored in slices"),
            ({"offset": 4}, "is cut short"),
            ({"offset": 2**62}, "is cut short"),
            ({"offset": 2**64 - 48}, "is cut short"),
            ({"crc": 5}, "does not have its checksum"),
        ],
    )
    def test_what_cannot_be_is_refused(self, other, problem, tmp_path):
        index = one(tmp_path, (b"weight", tf.variable(ONE, **other)))
        with pytest.raises(CheckpointError, match=problem):
            load(index)

    def test_variables_do_not_share_bytes(self, tmp_path):
        """Else a small file could ask for any amount of memory."""
        index = one(tmp_path, *((f"a{i}".encode(), tf.variable(ONE)) for i in range(3)))
        with pytest.raises(CheckpointError, match="the bytes of 'a1' are those of another variable, too"):
            load(index)

    @pytest.mark.parametrize(
        ("header", "problem"),
        [
            ((b"", b""), "does not say how many data files"),
            ((b"", tf.field(1, 2**40)), "does not say how many data files"),
            ((b"!", tf.field(1, 1)), "does not say how many data files"),
            ((b"", b"\xff" * 20), "no end"),
            (tf.header(more=tf.field(2, 1)), "big-endian"),
            ((b"", tf.field(1, b"")), r"TensorFlow's first format \(V1\)"),
        ],
    )
    def test_headers_are_looked_at(self, header, problem, tmp_path):
        with pytest.raises(CheckpointError, match=problem):
            load(one(tmp_path, (b"weight", tf.variable(ONE)), header=header))

    def test_an_empty_table_has_no_header(self, tmp_path):
        with pytest.raises(CheckpointError, match="does not say how many data files"):
            load(write(tmp_path, tf.table([])))

    def test_tensorflow_2_is_named(self, tmp_path):
        items = [(b"_CHECKPOINTABLE_OBJECT_GRAPH", tf.variable(ONE, dtype=7))]
        with pytest.raises(CheckpointError, match="TensorFlow 2"):
            load(one(tmp_path, *items))

    def test_names_that_are_no_text_are_refused(self, tmp_path):
        with pytest.raises(CheckpointError, match="the index cannot be read"):
            load(one(tmp_path, (b"\xff\xfe", tf.variable(ONE))))

    def test_a_missing_data_file_is_named(self, tmp_path):
        index = tf.save(tmp_path, {"a": ONE, "b": ONE}, shards=2)
        (tmp_path / "checkpoint-1000.data-00001-of-00002").unlink()
        with pytest.raises(CheckpointError, match=r"no checkpoint-1000\.data-00001-of-00002 beside it, which has 'b'"):
            load(index)

    def test_a_file_that_is_cut_while_it_is_read_is_refused(self, tmp_path):
        index = tf.save(tmp_path, {"a": ONE})
        contents = tf1.read(index)
        (tmp_path / "checkpoint-1000.data-00000-of-00001").write_bytes(b"\0" * 8)
        with pytest.raises(CheckpointError, match="does not have its checksum"):
            contents.stored(index, "a").read()

    def test_an_endless_index_is_not_read(self, tmp_path):
        index = write(tmp_path, b"")
        with index.open("wb") as stream:
            stream.truncate(1 << 40)
        with pytest.raises(CheckpointError, match="which no network's has"):
            load(index)
