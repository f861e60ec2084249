"""Lists that other systems wrote name their files in other ways; what is no file is not opened."""

import os
import unicodedata

import cv2
import numpy as np
import pytest

from converters.files import refuse_no_file
from deeppose_port.data import AnnotationError, PoseDataset, read_csv
from deeppose_port.data.pictures import find_picture
from deeppose_port.data.references import ReferencesError, read_beside

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Zoë/été.png") for form in ("NFC", "NFD"))
PERSON = ",10,20,50,60,30,40"


class TestNames:
    @pytest.mark.parametrize("there", [COMPOSED, DECOMPOSED])
    @pytest.mark.parametrize(
        "written", [COMPOSED, DECOMPOSED, COMPOSED.replace("/", "\\"), DECOMPOSED.replace("/", "\\")]
    )
    def test_a_picture_is_found_under_the_names_of_other_systems(self, there, written, tmp_path):
        assert COMPOSED != DECOMPOSED
        path = tmp_path / there
        path.parent.mkdir()
        cv2.imwrite(str(path), np.full((80, 90, 3), 7, np.uint8))
        (tmp_path / "persons.csv").write_text(written + PERSON + "\n", encoding="utf-8")
        skeleton = tmp_path / "three.toml"
        skeleton.write_text('joints = ["a", "b", "c"]')
        dataset = PoseDataset(tmp_path / "persons.csv", images=tmp_path, skeleton=skeleton)
        assert dataset.path(0).samefile(path)
        assert dataset.picture(0).shape == (80, 90, 3)
        assert dataset.person(0).file == written

    def test_a_name_that_is_there_as_written_comes_first(self, tmp_path):
        (tmp_path / "a").mkdir()
        for name in ("a\\b.png", "a/b.png"):
            (tmp_path / name).write_bytes(b"")
        assert find_picture(tmp_path, "a\\b.png") == tmp_path / "a\\b.png"

    def test_a_file_that_is_nowhere_keeps_its_name(self, tmp_path):
        assert find_picture(tmp_path, "a\\b.png") == tmp_path / "a\\b.png"


class TestFiles:
    def test_a_pipe_is_not_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / "persons.csv")
        with pytest.raises(AnnotationError, match=r"persons\.csv: cannot be read: this is a device or a pipe"):
            read_csv(tmp_path / "persons.csv")

    def test_a_device_is_not_read(self, tmp_path):
        try:
            os.mknod(tmp_path / "zero.csv", 0o20600, os.makedev(1, 5))
        except PermissionError:
            pytest.skip("only root makes devices")
        with pytest.raises(AnnotationError, match=r"zero\.csv: cannot be read: this is a device or a pipe"):
            read_csv(tmp_path / "zero.csv")

    def test_a_side_file_that_is_none_is_not_waited_for(self, tmp_path):
        (tmp_path / "persons.csv").write_text("a.png" + PERSON)
        os.mkfifo(tmp_path / "persons.references.json")
        with pytest.raises(ReferencesError, match=r"persons\.references\.json: cannot be read: this is a device"):
            read_beside(tmp_path / "persons.csv")

    def test_a_csv_larger_than_any_is_not_read(self, tmp_path):
        with (tmp_path / "persons.csv").open("wb") as file:
            file.truncate((1 << 28) + 1)
        with pytest.raises(AnnotationError, match=r"it has 268,435,457 bytes, and such a file has at most 268,435,456"):
            read_csv(tmp_path / "persons.csv")

    def test_names_that_no_system_takes_are_refused(self, tmp_path):
        with pytest.raises(ValueError, match="cannot be read"):
            refuse_no_file(tmp_path / "a\0b")
        with pytest.raises(ValueError, match="cannot be read: File name too long"):
            refuse_no_file(tmp_path / ("a" * 300))
