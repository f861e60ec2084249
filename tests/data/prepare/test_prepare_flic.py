import string

import numpy as np
import pytest
from scipy.io import savemat

from deeppose_port.data import read_csv
from deeppose_port.data.prepare import PrepareError, flic, matlab, prepare
from deeppose_port.data.prepare.source import Wanted, unexpected
from deeppose_port.data.references import read_beside
from tests.helpers.matfiles import read_here, structs, write_flic

# Columns of coords.
LSHO, LELB, LWRI, RSHO, RELB, RWRI, RHIP, LEYE, REYE, NOSE = 0, 1, 2, 3, 4, 5, 9, 12, 13, 16
WRITTEN = [LSHO, LELB, LWRI, RSHO, RELB, RWRI, RHIP, LEYE, REYE, NOSE]


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch):
    monkeypatch.setattr(matlab, "read", read_here)


def persons(count):
    """Coordinates as FLIC has them: most columns are NaN."""
    coords = np.full((count, 2, 29), np.nan)
    coords[:, :, WRITTEN] = np.random.RandomState(0).uniform(5, 75, (count, 2, len(WRITTEN)))
    return coords


@pytest.fixture
def mat(tmp_path):
    """Writes examples.mat of ten persons, two to a film, and tr_plus_indices.mat."""

    def write(indices=None, coords=None, films=None, **options):
        coords = persons(10) if coords is None else coords
        films = films or [f"film-{i // 2}" for i in range(len(coords))]
        files = [f"{film}-{i:08}.jpg" for i, film in enumerate(films)]
        write_flic(tmp_path / "examples.mat", coords, files, films, **options)
        if indices is not None:
            savemat(tmp_path / "tr_plus_indices.mat", {"tr_plus_indices": np.array([indices]).T})
        return tmp_path

    return write


def numbers(source):
    """Returns the examples' numbers from 0 in each split."""
    return {name: [int(p.file[-12:-4]) for p in split] for name, split in source.splits.items()}


class TestJoints:
    def test_head_is_the_mean_of_eyes_and_nose_between_the_arms(self, mat, tmp_path):
        coords = persons(10)
        prepare("flic", mat(range(1, 6), coords), tmp_path / "out")
        (first, *_) = read_csv(tmp_path / "out" / "train_joints.csv", 7)
        example = coords[1].T
        head = (example[REYE] + example[LEYE] + example[NOSE]) / 3
        expected = [*example[[LWRI, LELB, LSHO]], head, *example[[RSHO, RELB, RWRI]]]
        assert first.joints.tolist() == np.array(expected).tolist()

    def test_torso_is_from_the_left_shoulder_to_the_right_hip(self, mat, tmp_path):
        coords = persons(10)
        coords[:, :, LSHO] = [10, 20]
        coords[:, :, RHIP] = [[10 + 3 * (i + 1), 20 + 4 * (i + 1)] for i in range(10)]
        coords[4, :, RHIP] = np.nan
        result = prepare("flic", mat(range(1, 10), coords), tmp_path / "out")
        train = read_beside(tmp_path / "out" / "train_joints.csv").torso_lengths
        assert train == pytest.approx([5.0 * (i + 1) if i != 4 else np.nan for i in range(1, 10)], nan_ok=True)
        assert read_beside(tmp_path / "out" / "test_joints.csv").torso_lengths.tolist() == [5]
        assert {row.what: row.count for row in result.rows}["without a torso length"] == 1

    def test_joint_that_is_not_annotated_is_ignored(self, mat, tmp_path):
        coords = persons(10)
        coords[3, :, RELB] = np.nan
        prepare("flic", mat(range(1, 10), coords), tmp_path / "out")
        visible = [p.visible.tolist() for p in read_csv(tmp_path / "out" / "train_joints.csv", 7)]
        assert visible[2] == [True] * 5 + [False, True]
        assert all(all(row) for i, row in enumerate(visible) if i != 2)

    def test_fields_of_other_names_are_taken_by_position(self, mat):
        by_name = flic.read(mat([1, 2]), Wanted())
        by_position = flic.read(mat([1, 2], names=("a", "b", "c", "d")), Wanted())
        assert numbers(by_name) == numbers(by_position)
        pairs = zip(by_name.splits["test"], by_position.splits["test"], strict=True)
        assert all(np.array_equal(a.joints, b.joints) for a, b in pairs)


class TestSplit:
    def test_legacy_split_reads_the_indices_as_counting_from_0(self, mat):
        source = flic.read(mat([1, 2, 3, 10]), Wanted())
        assert numbers(source) == {"train": [1, 2, 3], "test": [0, 4, 5, 6, 7, 8, 9]}
        assert any("off by one" in note and "--split corrected" in note for note in source.notes)

    def test_indices_may_be_in_another_folder_than_the_examples(self, mat):
        folder = mat([1, 2, 3, 7])
        expected = [person.file for person in flic.read(folder / "examples.mat", Wanted()).splits["train"]]
        (folder / "FLIC-full").mkdir()
        (folder / "examples.mat").rename(folder / "FLIC-full" / "examples.mat")
        assert [person.file for person in flic.read(folder, Wanted()).splits["train"]] == expected
        assert [person.file for person in flic.read(folder, Wanted(split="film")).splits["train"]] != expected

    def test_corrected_split_reads_them_as_counting_from_1(self, mat):
        source = flic.read(mat([1, 2, 3, 10]), Wanted(split="corrected"))
        assert numbers(source) == {"train": [0, 1, 2, 9], "test": [3, 4, 5, 6, 7, 8]}
        assert not any("off by one" in note for note in source.notes)

    def test_without_indices_no_film_is_on_both_sides(self, mat):
        films = [name for i, name in enumerate("abcdefghijkl") for _ in range(3 + i % 4)]
        source = flic.read(mat(coords=persons(len(films)), films=films), Wanted())
        sides = {name: {p.file.split("-")[0] for p in split} for name, split in source.splits.items()}
        assert not sides["train"] & sides["test"]
        assert len(source.splits["test"]) == pytest.approx(0.1 * len(films), abs=3)
        assert any("tr_plus_indices.mat" in note and "own, by film" in note for note in source.notes)

    def test_split_by_film_is_there_with_indices_too(self, mat):
        assert flic.read(mat([1, 2]), Wanted(split="film")).splits["test"]

    @pytest.mark.parametrize(("counts", "test"), [((3, 4, 5, 6) * 3, "b"), ((1,) * 30, "fhs"), ((9, 9, 9), "b")])
    def test_split_by_film_is_always_the_same(self, counts, test, mat):
        """Whoever prepares FLIC tests on the same films: the names are those that every release has chosen."""
        letters = string.ascii_letters[: len(counts)]
        films = [name for name, count in zip(letters, counts, strict=True) for _ in range(count)]
        split = flic.read(mat(coords=persons(len(films)), films=films), Wanted()).splits["test"]
        assert {person.file.split("-")[0] for person in split} == set(test)

    def test_film_is_told_by_the_pictures_name_where_no_field_says(self, mat):
        split = flic.read(mat(names=("a", "b", "c", "d")), Wanted()).splits
        sides = {name: {p.file.rsplit("-", 1)[0] for p in persons} for name, persons in split.items()}
        assert sides["train"] | sides["test"] == {f"film-{i}" for i in range(5)}
        assert not sides["train"] & sides["test"]

    def test_authors_split_is_what_each_example_says(self, tmp_path):
        rows = [(1, 0), (0, 1), (0, 0), (1, 0), (0, 1)]
        examples = [
            {"coords": xy, "filepath": f"{i}.jpg", "istrain": np.uint8(train), "istest": np.uint8(test)}
            for i, (xy, (train, test)) in enumerate(zip(persons(5), rows, strict=True))
        ]
        savemat(tmp_path / "examples.mat", {"examples": structs(*examples)})
        savemat(tmp_path / "tr_plus_indices.mat", {"tr_plus_indices": [[1]]})
        source = flic.read(tmp_path, Wanted(split="authors"))
        assert {name: [p.file for p in split] for name, split in source.splits.items()} == {
            "train": ["0.jpg", "3.jpg"],
            "test": ["1.jpg", "4.jpg"],
        }
        assert {row.what: row.count for row in source.rows}["left out: neither trains nor tests"] == 1

    def test_authors_split_of_a_file_that_does_not_say_is_refused(self, mat):
        with pytest.raises(
            PrepareError, match=r"example 1 does not say whether it trains or tests \(istrain, istest\)"
        ):
            flic.read(mat(), Wanted(split="authors"))

    @pytest.mark.parametrize("count", [5003, 20928])
    def test_both_releases_have_their_number_of_examples(self, count):
        assert list(unexpected("examples", count, *flic.PERSONS.values())) == []

    @pytest.mark.parametrize("split", ["legacy", "corrected"])
    def test_split_of_missing_indices_is_refused_with_what_works(self, mat, split):
        with pytest.raises(PrepareError, match=r"no tr_plus_indices\.mat in it.*published at.*--split film"):
            flic.read(mat(), Wanted(split=split))

    @pytest.mark.parametrize("indices", [[0, 1], [11], [1.5]])
    def test_indices_of_something_else_are_refused(self, mat, indices):
        with pytest.raises(PrepareError, match=r"tr_plus_indices\.mat: .* whole numbers from 1 to 10, but"):
            flic.read(mat(indices), Wanted())

    def test_one_film_cannot_be_split_by_film(self, mat):
        with pytest.raises(PrepareError, match="all examples are of one film"):
            flic.read(mat(films=["a"] * 10), Wanted())

    def test_unknown_split_is_refused(self, mat):
        with pytest.raises(PrepareError, match="no split 'random' of FLIC; there are legacy, corrected, film, authors"):
            flic.read(mat(), Wanted(split="random"))


class TestRefusals:
    def test_missing_file_says_its_name_its_publisher_and_what_works_without(self, tmp_path):
        with pytest.raises(PrepareError, match=r"no examples\.mat in it.*bensapp\.github\.io.*without it"):
            flic.read(tmp_path, Wanted())

    def test_other_structs_are_refused_by_example(self, mat, tmp_path):
        with pytest.raises(PrepareError, match=r"examples\.mat: example 1: .* \(2, 28\) where FLIC has \(2, 29\)"):
            flic.read(mat(coords=persons(10)[:, :, :28]), Wanted())
        savemat(tmp_path / "examples.mat", {"examples": np.ones(3)})
        with pytest.raises(PrepareError, match="no array of structs"):
            flic.read(tmp_path, Wanted())
