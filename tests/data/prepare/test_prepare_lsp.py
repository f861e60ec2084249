import cv2
import numpy as np
import pytest
from scipy.io import savemat

from deeppose_port.data import read_csv
from deeppose_port.data.prepare import PrepareError, lsp, matlab, prepare
from deeppose_port.data.prepare.source import Wanted
from deeppose_port.data.references import read_beside
from tests.helpers.matfiles import read_here


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch):
    monkeypatch.setattr(matlab, "read", read_here)


@pytest.fixture
def mat(tmp_path):
    """Writes joints.mat."""

    def write(joints):
        savemat(tmp_path / "joints.mat", {"joints": joints}, do_compression=True)
        return tmp_path / "joints.mat"

    return write


def lines(path):
    return path.read_text().splitlines()


class TestLsp:
    def test_published_file_is_split_as_published(self, shared_golden, tmp_path):
        result = prepare("lsp", shared_golden / "metrics" / "lsp-joints-OC.mat", tmp_path, images=None)
        from scipy.io import loadmat

        joints = loadmat(shared_golden / "metrics" / "lsp-joints-OC.mat")["joints"].transpose(2, 1, 0)
        train, test = (read_csv(tmp_path / f"{name}_joints.csv", 14) for name in ("train", "test"))
        assert [p.file for p in train] == [f"im{i:04}.jpg" for i in range(1, 1001)]
        assert [p.file for p in test] == [f"im{i:04}.jpg" for i in range(1001, 2001)]
        assert np.array_equal([p.joints for p in train + test], joints[..., :2])
        assert all(p.visible.all() for p in train + test)
        # The flag of occluded joints is 1 in this file: 2,044 of 28,000.
        seen = np.concatenate([read_beside(p[0].csv).is_visible for p in (train, test)])
        assert np.array_equal(seen, 1 - joints[..., 2])
        assert (seen == 0).sum() == 2044
        assert not any("published" in note for note in result.notes if "images" not in note)

    def test_left_and_right_limbs_of_published_persons_are_alike(self, shared_golden, tmp_path):
        result = prepare("lsp", shared_golden / "metrics" / "lsp-joints-OC.mat", tmp_path)
        (row,) = (row for row in result.rows if row.what == "symmetric pairs compared")
        assert row.count == 2000
        assert not any("joints in their order" in note for note in result.notes)

    def test_other_number_of_persons_is_halved_and_noted(self, mat):
        source = lsp.read(mat(np.random.RandomState(0).uniform(1, 9, (3, 14, 6))), Wanted())
        assert {name: len(split) for name, split in source.splits.items()} == {"train": 3, "test": 3}
        assert "6 persons in joints.mat, where the authors publish 2,000" in source.notes[0]

    @pytest.mark.parametrize(("suffix", "written"), [(".png", ".png"), (".JPG", ".JPG"), (".jpg", ".jpg")])
    @pytest.mark.parametrize("folder", ["images", "."])
    def test_pictures_of_another_format_or_beside_the_file_are_found(self, mat, tmp_path, suffix, written, folder):
        path = mat(np.random.RandomState(0).uniform(1, 9, (3, 14, 4)))
        (tmp_path / folder).mkdir(exist_ok=True)
        for i in range(1, 5):
            cv2.imwrite(str(tmp_path / folder / f"im{i:04}{suffix}"), np.zeros((10, 10, 3), np.uint8))
        result = prepare("lsp", path, tmp_path / "out")
        assert result.images == tmp_path / folder
        found = [p.file for name in ("train", "test") for p in read_csv(tmp_path / "out" / f"{name}_joints.csv", 14)]
        assert found == [f"im{i:04}{written}" for i in range(1, 5)]


class TestHighResolution:
    NUMBERS = (2, 3, 7, 11, 12, 20, 31, 40, 41, 55)

    @pytest.fixture
    def pngs(self, tmp_path):
        for number in self.NUMBERS:
            cv2.imwrite(str(tmp_path / f"im{number:05}.png"), np.zeros((10, 10, 3), np.uint8))

    def test_persons_are_on_the_pictures_in_their_order(self, mat, pngs, tmp_path):
        joints = np.random.RandomState(0).uniform(1, 9, (14, 3, 10))
        source = lsp.read(mat(joints), Wanted())
        placed = {p.file: p.joints for split in source.splits.values() for p in split}
        assert sorted(placed) == [f"im{number:05}.png" for number in self.NUMBERS]
        for i, number in enumerate(self.NUMBERS):
            assert np.array_equal(placed[f"im{number:05}.png"], joints[:, :2, i])
        assert "on the next picture by name" in source.rows[0].why

    @pytest.mark.parametrize("persons", [9, 11])
    def test_other_counts_are_refused(self, mat, pngs, persons):
        with pytest.raises(PrepareError, match=rf"it has 10 PNG files, and .*joints\.mat has {persons} persons"):
            lsp.read(mat(np.ones((14, 3, persons))), Wanted())

    def test_its_persons_without_pictures_are_refused(self, mat):
        with pytest.raises(PrepareError, match=r"its 9,428 persons are those of HR-LSPET.*--images names"):
            lsp.read(mat(np.ones((14, 3, 9428))), Wanted())

    def test_jpegs_are_told_by_their_numbers(self, mat, pngs, tmp_path):
        cv2.imwrite(str(tmp_path / "im00001.jpg"), np.zeros((10, 10, 3), np.uint8))
        source = lsp.read(mat(np.ones((14, 3, 12))), Wanted())
        names = sorted(p.file for split in source.splits.values() for p in split)
        assert names[:4] == ["im00001.jpg", "im00002.png", "im00003.png", "im00004.jpg"]


class TestExtended:
    def test_golden_lines_come_back_to_the_letter(self, shared_golden, mat, tmp_path):
        golden = shared_golden / "images" / "lspet.csv"
        # What the legacy program wrote as -1 was 0 or negative before.
        joints = np.array([p.joints for p in read_csv(golden, 14)])
        joints[joints == -1] = np.random.RandomState(0).choice([0, -0.5, -20], (joints == -1).sum())
        path = mat(np.concatenate([joints, joints[..., :1] > 0], axis=2).transpose(1, 2, 0))
        prepare("lsp", path, tmp_path / "out", images=shared_golden / "images" / "lspet")
        train, test = (lines(tmp_path / "out" / f"{name}_joints.csv") for name in ("train", "test"))
        assert sorted(train + test) == lines(golden)
        assert train == sorted(train)
        assert test == sorted(test)

    def test_split_is_the_legacy_programs(self, mat):
        source = lsp.read(mat(np.random.RandomState(0).uniform(1, 9, (14, 3, 57))), Wanted())
        np.random.seed(1701)
        test = np.random.permutation(57)[:5]
        assert [p.file for p in source.splits["test"]] == [f"im{i + 1:05}.jpg" for i in sorted(test)]
        assert [p.file for p in source.splits["train"]] == [f"im{i + 1:05}.jpg" for i in range(57) if i not in test]

    def test_joint_can_lose_one_coordinate_by_itself(self, mat, tmp_path):
        joints = np.full((14, 3, 20), 5.5)
        joints[:, 0] += np.arange(14)[:, np.newaxis]
        joints[:, 1] += np.arange(14)[:, np.newaxis]
        joints[0, 0] = -3
        joints[1, 1] = 0
        prepare("lsp", mat(joints), tmp_path / "out")
        assert all(",-1,5.5,6.5,-1,7.5,7.5," in line for line in lines(tmp_path / "out" / "train_joints.csv"))

    def test_flag_says_seen(self, mat):
        joints = np.full((14, 3, 20), 5.0)
        joints[:, 2] = 0
        joints[3, 2] = 1
        assert lsp.read(mat(joints), Wanted()).splits["test"][0].is_visible == (0, 0, 0, 1) + (0,) * 10


@pytest.mark.parametrize("shape", [(14, 2, 10), (2, 14, 10), (14, 3, 0), (14, 3, 2, 2), (14,)])
def test_other_shapes_are_refused(mat, shape):
    with pytest.raises(PrepareError, match=r"joints\.mat: .*shape .* LSP's is \(3, 14, N\), LSP extended's"):
        lsp.read(mat(np.ones(shape)), Wanted())


def test_what_is_no_number_is_refused(mat):
    with pytest.raises(PrepareError, match=r"joints\.mat: `joints` is no array of numbers"):
        lsp.read(mat({"a": 1.0}), Wanted())


def test_missing_file_says_its_name_its_publisher_and_what_works_without(tmp_path):
    with pytest.raises(PrepareError, match=r"no joints\.mat in it.*sam\.johnson\.io.*lspet.*without it"):
        lsp.read(tmp_path, Wanted())


def test_two_files_are_the_users_choice(tmp_path):
    for name in ("lsp_dataset", "lspet_dataset"):
        (tmp_path / name).mkdir()
        savemat(tmp_path / name / "joints.mat", {"joints": np.ones((14, 3, 20))})
    with pytest.raises(PrepareError, match=r"several files would do .*lsp_dataset.*lspet_dataset.* name one"):
        lsp.read(tmp_path, Wanted())
