import json

import cv2
import numpy as np
import pytest

from deeppose_port.data import DatasetError, PoseDataset
from deeppose_port.data.references import (
    References,
    ReferencesError,
    encode,
    head_sizes_of,
    path_beside,
    read_beside,
)
from deeppose_port.metrics.evaluation import evaluation_of
from deeppose_port.metrics.predictions import Predictions
from tests.helpers.metrics import pdj

NAN = np.nan


@pytest.fixture
def persons(tmp_path):
    """Writes a CSV of persons with a side file, and opens it as a dataset."""

    def build(joints, skeleton, options=None, **lengths):
        csv = tmp_path / "persons.csv"
        csv.write_text("".join(f"a.png,{','.join(map(str, person.ravel()))}\n" for person in joints))
        path_beside(csv).write_bytes(encode(References(skeleton, len(joints), **lengths), csv.read_bytes()))
        cv2.imwrite(str(tmp_path / "a.png"), np.zeros((200, 200, 3), np.uint8))
        return PoseDataset(csv, images=tmp_path, skeleton=skeleton, **(options or {}))

    return build


@pytest.fixture
def random():
    return np.random.RandomState(3)


def answers(dataset, shift):
    """Answers that are off by `shift` pixels at every joint."""
    shape = (len(dataset), 2 * len(dataset.skeleton.joints))
    none = np.zeros(shape, np.float32)
    return Predictions(np.arange(len(dataset)), none, none, none.astype(np.int32), dataset.joints + np.asarray(shift))


class TestFile:
    def test_everything_written_is_read_back(self, tmp_path, random):
        boxes = random.uniform(0, 100, (3, 4))
        boxes[1] = NAN
        seen = np.array([[1.0, 0, NAN], [1, 1, 0], [NAN, NAN, NAN]])
        lengths = np.array([0.1, NAN, 3.0])
        written = References("flic", 3, boxes, lengths, "words", lengths * 2, seen)
        csv = tmp_path / "test.csv"
        csv.write_bytes(b"a.jpg,1,2\n")
        path_beside(csv).write_bytes(encode(written, csv.read_bytes()))
        read = read_beside(csv)
        assert (read.skeleton, read.persons, read.head_sizes_from) == ("flic", 3, "words")
        for name in ("head_boxes", "head_sizes", "torso_lengths", "is_visible"):
            assert np.array_equal(getattr(read, name), getattr(written, name), equal_nan=True), name

    def test_csv_without_a_side_file_has_none(self, tmp_path):
        assert read_beside(tmp_path / "test.csv") is None

    def test_name_is_the_csvs(self, tmp_path):
        assert path_beside(tmp_path / "a.b" / "test_joints.csv") == tmp_path / "a.b" / "test_joints.references.json"

    def test_changed_csv_refuses_its_side_file_by_name(self, persons, random):
        dataset = persons(random.randint(10, 190, (2, 7, 2)).astype(float), "flic", torso_lengths=np.array([10.0, 20]))
        dataset.csv.write_text(dataset.csv.read_text() + "\n")
        with pytest.raises(ReferencesError, match=r"persons\.references\.json: .* another persons\.csv .* prepare"):
            PoseDataset(dataset.csv, images=dataset.images, skeleton="flic")

    @pytest.mark.parametrize(
        ("change", "phrase"),
        [
            ({"format": "another"}, "not a side file"),
            ({"version": 2}, "not a side file"),
            ({"persons": "2"}, "`persons`"),
            ({"torso_lengths": [1.0]}, "`torso_lengths` is not a list of 2 entries"),
            ({"torso_lengths": [1.0, -1.0]}, "negative"),
            ({"torso_lengths": [1.0, "2"]}, "not 1 finite numbers or null"),
            ({"torso_lengths": [1.0, True]}, "not 1 finite numbers or null"),
            ({"head_boxes": [[1, 2, 3, 4], [1, 2, 3]]}, "not 4 finite numbers or null"),
            ({"head_boxes": [[1, 2, 3, 4], [1, 2, 3, 1e999]]}, "not 4 finite numbers or null"),
            ({"is_visible": [[1, 0], [1, 0, 1]]}, "not 2 finite numbers or null"),
        ],
    )
    def test_damage_is_refused_by_file_and_key(self, persons, random, change, phrase):
        dataset = persons(random.randint(10, 190, (2, 7, 2)).astype(float), "flic", torso_lengths=np.array([10.0, 20]))
        path = path_beside(dataset.csv)
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
        with pytest.raises(ReferencesError, match=f"persons.references.json: .*{phrase}"):
            read_beside(dataset.csv)

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
    def test_what_is_not_a_json_object_is_refused(self, tmp_path, content):
        (tmp_path / "test.csv").write_bytes(b"")
        (tmp_path / "test.references.json").write_bytes(content)
        with pytest.raises(ReferencesError, match=r"test\.references\.json: not "):
            read_beside(tmp_path / "test.csv")


class TestLengths:
    def test_head_size_is_six_tenths_of_the_boxs_diagonal(self):
        assert head_sizes_of(np.array([[10.0, 20, 40, 60], [NAN] * 4])).tolist() == pytest.approx(
            [30, NAN], nan_ok=True
        )

    def test_dataset_has_its_persons_lengths_and_not_those_that_were_left_out(self, persons, random):
        joints = random.randint(10, 190, (3, 7, 2)).astype(float)
        joints[1] = [100, 100]
        dataset = persons(joints, "flic", {"min_dim": 1}, torso_lengths=np.array([10.0, 20, 30]))
        assert dataset.torso_lengths.tolist() == [10, 30]
        assert dataset.head_sizes is None

    def test_another_skeleton_refuses_the_side_file(self, persons, random):
        dataset = persons(random.randint(10, 190, (1, 7, 2)).astype(float), "flic", torso_lengths=np.array([10.0]))
        path = path_beside(dataset.csv)
        path.write_text(path.read_text().replace('"flic"', '"mpii"'))
        with pytest.raises(DatasetError, match="persons of mpii, but the CSV has 1 and is read as flic"):
            PoseDataset(dataset.csv, images=dataset.images, skeleton="flic")


class TestEvaluation:
    def test_torso_lengths_give_flic_its_pdj(self, persons, random):
        # Every joint is off by 5 pixels; a tenth of the torsos is 4 px, 5 px, and not known.
        dataset = persons(
            random.randint(10, 190, (3, 7, 2)).astype(float), "flic", torso_lengths=np.array([40.0, 50, NAN])
        )
        result = evaluation_of(answers(dataset, [3, 4]), dataset)
        assert pdj(result)[:2].tolist() == [[0.5] * 7, [1.0] * 7]
        assert result.without_torso == 1

    def test_head_sizes_give_mpii_its_pckh(self, persons, random):
        # Off by 5 pixels everywhere; half of the heads is 5 px, 4.5 px, and not known.
        sizes = np.array([10.0, 9, NAN])
        dataset = persons(
            random.randint(10, 190, (3, 16, 2)).astype(float), "mpii", head_sizes=sizes, head_sizes_from="head boxes"
        )
        result = evaluation_of(answers(dataset, [3, 4]), dataset)
        assert result["pckh"].values.tolist() == [0.5] * 16
        assert result["pckh"].overall == 0.5

    def test_lengths_of_the_caller_come_before_the_side_files(self, persons, random):
        dataset = persons(random.randint(10, 190, (1, 16, 2)).astype(float), "mpii", head_sizes=np.array([9.0]))
        assert evaluation_of(answers(dataset, [3, 4]), dataset, [10.0])["pckh"].overall == 1

    def test_csv_without_a_side_file_has_neither(self, persons, random):
        dataset = persons(random.randint(10, 190, (1, 7, 2)).astype(float), "flic", torso_lengths=np.array([9.0]))
        path_beside(dataset.csv).unlink()
        dataset = PoseDataset(dataset.csv, images=dataset.images, skeleton="flic")
        result = evaluation_of(answers(dataset, [3, 4]), dataset)
        assert {"pdj@0.2", "pckh"}.isdisjoint(result.measures)
