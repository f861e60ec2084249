import numpy as np
import pytest
from scipy.io import savemat

from deeppose_port.data import read_csv
from deeppose_port.data.prepare import PrepareError, lsp, matlab, prepare
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
        source = lsp.read(mat(np.random.RandomState(0).uniform(1, 9, (3, 14, 6))))
        assert {name: len(split) for name, split in source.splits.items()} == {"train": 3, "test": 3}
        assert "6 persons in joints.mat, where the authors publish 2,000" in source.notes[0]


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
        source = lsp.read(mat(np.random.RandomState(0).uniform(1, 9, (14, 3, 57))))
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
        assert lsp.read(mat(joints)).splits["test"][0].is_visible == (0, 0, 0, 1) + (0,) * 10


@pytest.mark.parametrize("shape", [(14, 2, 10), (2, 14, 10), (14, 3, 0), (14, 3, 2, 2), (14,)])
def test_other_shapes_are_refused(mat, shape):
    with pytest.raises(PrepareError, match=r"joints\.mat: .*shape .* LSP's is \(3, 14, N\), LSP extended's"):
        lsp.read(mat(np.ones(shape)))


def test_what_is_no_number_is_refused(mat):
    with pytest.raises(PrepareError, match=r"joints\.mat: `joints` is no array of numbers"):
        lsp.read(mat({"a": 1.0}))


def test_missing_file_says_its_name_its_publisher_and_what_works_without(tmp_path):
    with pytest.raises(PrepareError, match=r"no joints\.mat in it.*sam\.johnson\.io.*lspet.*without it"):
        lsp.read(tmp_path)


def test_two_files_are_the_users_choice(tmp_path):
    for name in ("lsp_dataset", "lspet_dataset"):
        (tmp_path / name).mkdir()
        savemat(tmp_path / name / "joints.mat", {"joints": np.ones((14, 3, 20))})
    with pytest.raises(PrepareError, match=r"several files would do .*lsp_dataset.*lspet_dataset.* name one"):
        lsp.read(tmp_path)
