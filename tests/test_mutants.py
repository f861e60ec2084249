"""The edits that somebody thought of can be made."""

from tests import mutants


def test_what_is_edited_is_there():
    assert all((mutants.ROOT / edit.module).read_text(encoding="utf-8") != edit.text for edit in mutants.chosen())
