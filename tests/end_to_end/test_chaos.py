"""A short run of chaos.py, and that it sees what it looks for. `make chaos` sends 200 signals."""

import importlib.util
import re
import signal
from pathlib import Path

import pytest

from tests.end_to_end import chaos

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")


@pytest.mark.parametrize(
    "name", ["convert", "convert a folder", "pack", "prepare", "train in PyTorch", "train in Chainer", "eval --report"]
)
def test_what_is_interrupted_ends_the_same(name):
    if importlib.util.find_spec("chainer") is None and "Chainer" in name:
        pytest.skip("Chainer is not installed")
    account = chaos.run(name, 2, seed=1)
    assert account.problems == []
    assert account.signals.total() == 2


def test_half_a_file_and_a_temporary_one_are_seen(tmp_path):
    work = chaos.Work(lambda folder: [])
    (tmp_path / "a.pt").write_bytes(b"half")
    assert chaos._looked_at(tmp_path, signal.SIGINT, work, {}).startswith("it left a broken file: ")
    (tmp_path / "a.pt").rename(tmp_path / ".a.pt.01234567.tmp")
    assert chaos._looked_at(tmp_path, signal.SIGTERM, work, {}) == "it left .a.pt.01234567.tmp"
    assert chaos._looked_at(tmp_path, signal.SIGKILL, work, {}) == ""
    (tmp_path / "b.csv").write_text("half")
    assert chaos._looked_at(tmp_path, signal.SIGKILL, work, {}) == ""
    (tmp_path / ".a.pt.01234567.tmp").unlink()
    assert re.fullmatch(r"it left b\.csv, a part of the whole", chaos._looked_at(tmp_path, signal.SIGINT, work, {}))
