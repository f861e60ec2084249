"""The Keras course's shards, see tests/helpers/tfrecords.py."""

import struct

import numpy as np
import pytest

from converters.formats._leveldb import masked_crc32c
from deeppose_port.data import PoseDataset
from deeppose_port.data.prepare import prepare, tfrecords
from deeppose_port.data.prepare.source import PrepareError
from deeppose_port.data.references import read_beside
from tests.helpers.tfrecords import JPEG, framed, record


@pytest.fixture
def shards(tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    (folder / "train_0001_of_0002.tfrecords").write_bytes(framed(record(), record(image_filename=b"b.jpg")))
    (folder / "train_0002_of_0002.tfrecords").write_bytes(framed(record()))
    (folder / "val_0001_of_0001.tfrecords").write_bytes(framed(record(image_filename=b"c.jpg")))
    return folder


def test_they_become_csvs_with_their_pictures(shards, tmp_path):
    result = prepare("tfrecords", shards, tmp_path / "out")
    assert result.persons == {"train": 3, "test": 1}
    assert sorted(path.name for path in (tmp_path / "out" / "images").iterdir()) == ["a.jpg", "b.jpg", "c.jpg"]
    assert (tmp_path / "out" / "images" / "a.jpg").read_bytes() == JPEG
    first = (tmp_path / "out" / "train_joints.csv").read_text().splitlines()[0]
    assert first.startswith("a.jpg,-1,-1,9.0,8.0,13.0,11.0,")
    beside = read_beside(tmp_path / "out" / "train_joints.csv")
    np.testing.assert_array_equal(beside.scales, [0.25] * 3)
    np.testing.assert_array_equal(beside.centres, [[40, 30]] * 3)
    dataset = PoseDataset(tmp_path / "out" / "test_joints.csv", images=tmp_path / "out" / "images", skeleton="mpii")
    assert dataset[0][0].shape == (3, 220, 220)


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        (lambda content: content[:5], "record 1: the file ends within it"),
        (lambda content: content[:-3], "record 2: the file ends within it"),
        (lambda content: b"x" + content[1:], "record 1: the checksum of its length is wrong"),
        (lambda content: content[:-1] + b"x", "record 2: its checksum is wrong"),
        (lambda content: content[:100] + bytes([content[100] ^ 1]) + content[101:], "record 1: its checksum is wrong"),
        (lambda content: framed(b"\x0a\x05abc"), r"record 1: it is no tf\.train\.Example"),
        (lambda content: framed(record(image_object_parts_x=None)), "record 1: it has no joints"),
        (lambda content: framed(record(image_object_parts_x=np.arange(14))), "its joints are 14 x, 16 y and 16 v"),
        (lambda content: framed(record(image_encoded=None)), "record 1: it has no picture"),
        (lambda content: framed(record(image_width=None)), "record 1: it does not say how large"),
    ],
)
def test_a_damaged_record_is_named_by_file_and_number(change, phrase, shards, tmp_path):
    path = shards / "train_0001_of_0002.tfrecords"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(PrepareError, match=rf"train_0001_of_0002\.tfrecords: .*{phrase}|{phrase}"):
        prepare("tfrecords", shards, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_length_beyond_all_pictures_is_refused_before_it_is_read(tmp_path):
    length = struct.pack("<Q", 1 << 40)
    (tmp_path / "train.tfrecords").write_bytes(length + struct.pack("<I", masked_crc32c(length)) + bytes(100))
    with pytest.raises(PrepareError, match="record 1: it has 1,099,511,627,776 bytes"):
        list(tfrecords.records(tmp_path / "train.tfrecords"))


def test_names_that_do_not_tell(tmp_path):
    (tmp_path / "a.tfrecords").write_bytes(framed(record()))
    with pytest.raises(PrepareError, match="does not tell whether its persons train or test"):
        prepare("tfrecords", tmp_path, tmp_path / "out")
    with pytest.raises(PrepareError, match="there is no shard in it"):
        prepare("tfrecords", tmp_path / "none", tmp_path / "out")
