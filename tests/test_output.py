import pytest

from deeppose_port.output import checked_folder, refuse_existing, staged, whole


def interrupted(writing):
    """Writes a half of something."""
    with writing as path:
        (path / "half" if path.is_dir() else path).write_text("half")
        raise KeyboardInterrupt


def test_files_that_exist_are_refused_unless_forced(tmp_path):
    (tmp_path / "there").write_text("old")
    with pytest.raises(ValueError, match=r"there: it exists already \(--force replaces it, --to names another\)"):
        refuse_existing([None, tmp_path / "new", tmp_path / "there"], False, instead="--to names another")
    refuse_existing([tmp_path / "there"], True)


def test_inputs_are_refused_even_if_forced(tmp_path):
    (tmp_path / "picture").write_text("input")
    (tmp_path / "link").symlink_to("picture")
    with pytest.raises(ValueError, match="link: it would be replaced, but it is read too"):
        refuse_existing([tmp_path / "link"], True, read=[tmp_path / "picture"])


def test_file_is_written_whole_or_not_at_all(tmp_path):
    target = tmp_path / "file"
    with whole(target) as temporary:
        temporary.write_text("first")
        assert not target.exists()
    with pytest.raises(KeyboardInterrupt):
        interrupted(whole(target))
    assert target.read_text() == "first"
    assert list(tmp_path.iterdir()) == [target]


def test_files_of_a_folder_get_their_names_together_or_not_at_all(tmp_path):
    with staged(tmp_path / "made" / "here") as stage:
        (stage / "a").write_text("1")
        (stage / "b").write_text("2")
        assert not (tmp_path / "made" / "here" / "a").exists()
    assert sorted(path.name for path in (tmp_path / "made" / "here").iterdir()) == ["a", "b"]
    with pytest.raises(KeyboardInterrupt):
        interrupted(staged(tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_folders_are_made_and_files_in_their_place_refused(tmp_path):
    with whole(tmp_path / "made" / "here" / "file") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "made" / "here" / "file").read_text() == "new"
    for write in (checked_folder, lambda path: staged(path).__enter__(), lambda path: whole(path / "x").__enter__()):
        with pytest.raises(ValueError, match="file: this is a file; name a folder"):
            write(tmp_path / "made" / "here" / "file")
