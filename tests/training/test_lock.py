import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from converters.errors import DeepPoseError
from deeppose_port.training import lock
from deeppose_port.training.folder import ResultFolder
from deeppose_port.training.lock import Lock
from deeppose_port.training.names import LOCK
from tests.conftest import ROOT
from tests.helpers.trainings import interrupt, run
from tests.training.test_folder import options_for, start_of

HOLDER = """
import sys, time
from pathlib import Path
from deeppose_port.training.lock import Lock
lock = Lock(Path(sys.argv[1]), print)
print("locked", flush=True)
time.sleep(300)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of the folder."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.communicate()


def refuse(sentence):
    pytest.fail(sentence)


class TestLock:
    def test_another_process_is_refused_and_told_who_has_it(self, holder, tmp_path):
        told = rf"^.*: process {holder.pid} of {socket.gethostname()}, since \d{{4}}-.*, is training into this folder"
        with pytest.raises(DeepPoseError, match=told):
            Lock(tmp_path, refuse)
        assert json.loads((tmp_path / LOCK).read_text())["process"] == holder.pid

    def test_one_that_was_killed_is_said_and_its_lock_taken_over(self, holder, tmp_path):
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        told = []
        taken = Lock(tmp_path, told.append)
        assert len(told) == 1
        assert f"process {holder.pid} of" in told[0]
        assert "is gone; its lock is taken over" in told[0]
        with pytest.raises(DeepPoseError, match=f"process {os.getpid()} of"):
            Lock(tmp_path, refuse)
        taken.release()
        taken.release()
        assert list(tmp_path.iterdir()) == []
        Lock(tmp_path, refuse).release()

    @pytest.mark.parametrize("text", ["", "{", "[1]", '{"process": "\\u001b[2J"}', "9" * 5000])
    def test_whatever_stands_in_the_file_is_no_hindrance(self, text, tmp_path):
        (tmp_path / LOCK).write_text(text)
        told = []
        Lock(tmp_path, told.append).release()
        assert "".join(told).isprintable()

    @pytest.mark.parametrize(
        ("host", "process", "free"),
        [("elsewhere", 1, False), (None, "own", False), (None, 2**22 + 1, True), (None, "x", False)],
    )
    def test_without_locks_of_the_system_the_file_tells(self, host, process, free, tmp_path, monkeypatch):
        monkeypatch.setattr(lock, "_lock", lambda descriptor: None)
        process = os.getpid() if process == "own" else process
        (tmp_path / LOCK).write_text(json.dumps({"host": host or socket.gethostname(), "process": process}))
        if free:
            Lock(tmp_path, lambda sentence: None).release()
        else:
            with pytest.raises(DeepPoseError, match=r"is training into this folder.*if it is gone, delete .*lock"):
                Lock(tmp_path, refuse)


class TestFolder:
    def test_two_trainings_do_not_mix_their_files(self, tmp_path, pictures):
        """The second is started while the first is at work, and is refused before it writes."""
        second = []

        def start_another():
            with pytest.raises(DeepPoseError, match="is training into this folder") as refused:
                run(tmp_path, pictures, epochs=1)
            second.append(refused.value)

        run(tmp_path, pictures, at={2: start_another}, epochs=2)
        assert len(second) == 1
        assert (tmp_path / "results" / "log.txt").read_text().count("Namespace(") == 1
        assert not (tmp_path / "results" / LOCK).exists()

    def test_it_is_released_however_a_run_ends(self, tmp_path, pictures):
        with pytest.raises(ValueError, match="leaves nothing to train"):
            run(tmp_path, pictures, freeze=("*",))
        run(tmp_path, pictures, at={1: interrupt})
        with pytest.raises(ValueError, match="holds another run"):
            run(tmp_path, pictures)
        run(tmp_path, pictures, resume=tmp_path / "results")
        assert not (tmp_path / "results" / LOCK).exists()

    @pytest.mark.skipif(sys.platform == "win32", reason="files that are open cannot be removed there anyway")
    def test_what_another_process_is_writing_there_stays(self, tmp_path):
        from converters.files import atomic

        with atomic(tmp_path / "epoch-3.model", force=True) as temporary:
            ResultFolder.open(options_for(tmp_path), start_of()).close()
            assert temporary.exists()
            temporary.write_text("whole")
        assert (tmp_path / "epoch-3.model").read_text() == "whole"
