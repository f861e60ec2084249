"""Packs straight from the Keras course's shards."""

import cv2
import numpy as np
import pytest

from deeppose_port.cli import main
from deeppose_port.cli.train import _complete
from deeppose_port.data import PackedDataset, PackError, PoseDataset
from deeppose_port.data.pack.index import PackOptions
from deeppose_port.data.pack.packing import pack, verify
from deeppose_port.data.pack.shards import persons_of, read_shards
from deeppose_port.data.prepare import prepare
from deeppose_port.data.prepare.source import PrepareError
from tests.helpers.tfrecords import framed, record


def person(seed, name, **changes):
    """A person of 16 joints in a picture of noise."""
    random = np.random.RandomState(seed)
    noise = cv2.resize(random.randint(0, 256, (12, 16, 3)).astype(np.uint8), (320, 240))
    about = {
        "image_encoded": cv2.imencode(".jpg", noise)[1].tobytes(),
        "image_filename": name,
        "image_width": 320,
        "image_height": 240,
        "image_object_parts_x": random.randint(90, 200, 16),
        "image_object_parts_y": random.randint(60, 160, 16),
    }
    return record(**{**about, **changes})


@pytest.fixture
def shards(tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    second_of_a = person(2, b"a.jpg", image_encoded=b"not looked at")
    (folder / "train_0001_of_0002.tfrecords").write_bytes(framed(person(0, b"a.jpg"), person(1, b"b.jpg"), second_of_a))
    (folder / "train_0002_of_0002.tfrecords").write_bytes(framed(person(3, b"c.jpg")))
    (folder / "val_0001_of_0001.tfrecords").write_bytes(framed(person(4, b"d.jpg")))
    return folder


def made(shards, folder):
    dataset, notes = read_shards(shards, folder, writes=True)
    return pack(dataset, folder, PackOptions("mpii", resolution=0), threads=1).pack, dataset, notes


def test_it_is_the_pack_of_the_prepared_pictures(shards, tmp_path):
    ours, dataset, notes = made(shards, tmp_path / "pack")
    assert notes[-1] == "left out: 1 to test; `deeppose-port prepare tfrecords` has them"
    prepare("tfrecords", shards, tmp_path / "prepared")
    csv = tmp_path / "prepared" / "train_joints.csv"
    assert persons_of(ours.folder).read_bytes() == csv.read_bytes()
    pictures = PoseDataset(csv, images=tmp_path / "prepared" / "images", skeleton="mpii")
    theirs = pack(pictures, tmp_path / "other", PackOptions("mpii", resolution=0)).pack
    assert (ours.folder / "pack-00000.bin").read_bytes() == (theirs.folder / "pack-00000.bin").read_bytes()
    # The pictures' folder, where those of the validation are, is not looked at.
    packed = PackedDataset(persons_of(ours.folder), images=tmp_path, skeleton="mpii", pack=ours.folder)
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(packed, pictures, strict=True))
    verify(dataset, ours.folder)


def test_training_takes_its_persons(shards, tmp_path):
    made(shards, tmp_path / "pack")
    told = _complete({"backend": "torch", "pack": tmp_path / "pack"})
    assert told["train_csv"] == tmp_path / "pack" / "train_joints.csv"


def test_a_stopped_run_goes_on_and_other_shards_are_refused(shards, tmp_path):
    folder = tmp_path / "pack"
    dataset, _ = read_shards(shards, folder, writes=True)

    def stop(done, total):
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(dataset, folder, PackOptions("mpii"), threads=1, progress=stop)
    assert pack(read_shards(shards, folder, writes=True)[0], folder, PackOptions("mpii")).resumed == 2
    (shards / "train_0002_of_0002.tfrecords").write_bytes(framed(person(3, b"c.jpg", image_encoded=b"other")))
    with pytest.raises(PackError, match=r"c\.jpg: this picture in the shards has changed since"):
        pack(read_shards(shards, folder, writes=True)[0], folder, PackOptions("mpii"))
    (shards / "train_0002_of_0002.tfrecords").unlink()
    with pytest.raises(PackError, match=r"pack: it is of other shards than .*shards are now; delete"):
        read_shards(shards, folder, writes=True)


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        (lambda content: content[:-1] + b"x", "record 3: its checksum is wrong"),
        (lambda content: content[:-3], "record 3: the file ends within it"),
        (lambda content: framed(person(0, b"a.jpg", image_object_parts_y=None)), "record 1: it has no joints"),
    ],
)
def test_a_damaged_record_is_named_and_nothing_written(change, phrase, shards, tmp_path):
    path = shards / "train_0001_of_0002.tfrecords"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(PrepareError, match=rf"train_0001_of_0002\.tfrecords: {phrase}"):
        read_shards(shards, tmp_path / "pack", writes=True)
    assert not (tmp_path / "pack").exists()


def test_a_damaged_picture_is_named_by_its_record(shards, tmp_path):
    path = shards / "train_0002_of_0002.tfrecords"
    path.write_bytes(framed(person(3, b"c.jpg", image_encoded=b"no picture")))
    with pytest.raises(PackError.__base__, match=r"0002_of_0002\.tfrecords: record 1, picture c\.jpg: .*decoded"):
        made(shards, tmp_path / "pack")


def test_the_command_takes_them(shards, tmp_path, capsys):
    arguments = ["pack", str(shards), str(tmp_path / "pack"), "--architecture", "hourglass"]
    assert main(arguments) == 0
    assert main([*arguments, "--verify"]) == 0
    assert "whole and up to date" in capsys.readouterr().out
    assert main([*arguments, "--images", str(tmp_path)]) == 2
    assert "leave --images and --skeleton out" in capsys.readouterr().err
    assert main([*arguments, "--base-zoom", "2"]) == 2
    assert "leave --base-zoom out" in capsys.readouterr().err
    assert main(["pack", str(shards), str(tmp_path / "none"), "--verify"]) == 2
    assert "there is no pack of shards here" in capsys.readouterr().err
    assert main(["pack", str(shards), str(tmp_path / "none"), "--margin-range", "0.3"]) == 2
    assert "leave --margin-range out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "phrase"), [("thesis.doc", "thesis.doc, which is no part"), ("pack.json", "a pack of")]
)
def test_a_folder_of_something_else_stays_as_it_is(name, phrase, shards, tmp_path):
    (tmp_path / name).touch()
    before = set(tmp_path.iterdir())
    with pytest.raises(PackError, match=f"it holds {phrase}"):
        read_shards(shards, tmp_path, writes=True)
    assert set(tmp_path.iterdir()) == before
