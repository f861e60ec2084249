"""The `log` of a run, as far as it can be read."""

import json

import pytest

from deeppose_port.training.logs import entries_of, numbers_of, read_log

ENTRIES = [{"main/loss": 0.5, "epoch": 0, "iteration": 1}, {"main/loss": 0.25, "epoch": 1, "iteration": 2}]


def test_a_legacy_log_is_read(shared_golden):
    entries = read_log(shared_golden / "results" / "AlexNet_2026" / "log")
    assert entries[0] == {"main/loss": 0.028039153292775156, "epoch": 10, "iteration": 30}


def test_a_damaged_log_is_read_as_far_as_it_goes(tmp_path):
    lines = "".join(json.dumps(entry) + "\n" for entry in ENTRIES)
    (tmp_path / "log").write_text(lines[:-20])
    assert read_log(tmp_path / "log") == ENTRIES[:1]
    (tmp_path / "log").write_bytes(json.dumps(ENTRIES[0]).encode() + b'\n{"epoch": \xff')
    assert read_log(tmp_path / "log") == ENTRIES[:1]
    (tmp_path / "log").write_text('[{"epoch": 1}, ')
    assert read_log(tmp_path / "log") == []


@pytest.mark.parametrize("text", [7, None, "[" * 20000, b"\xff", "", '"epoch"', "[1, [2]]"])
def test_what_is_no_log_has_no_entries(text):
    assert entries_of(text) == []


def test_a_number_that_nothing_counts_to_is_none():
    assert numbers_of({"elapsed_time": 10**400, "lr": -1e999, "iteration": 3}) == {
        "elapsed_time": None,
        "lr": None,
        "iteration": 3,
    }
