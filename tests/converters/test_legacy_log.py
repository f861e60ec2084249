import json

import numpy as np
import pytest

import converters
from converters.legacy_log import read_beside, read_runs
from tests.helpers.checkpoint_files import alexnet, save_npz, wrapped
from tests.hostile.conftest import refusals

LOG = """INFO:root:sys.version_info(major=3, minor=6, micro=15, releaselevel='final', serial=0)
INFO:root:chainer version: 1.13.0
INFO:root:cuda: False, cudnn: False
INFO:root:Namespace(base_zoom=1.5, epoch=300, gcn=True, im_size=220, symmetric_joints='[[2, 4], [1, 5]]', resume=None)
INFO:root:epoch:10, main/loss:0.028039153292775156,
"""


@pytest.fixture
def log(tmp_path):
    """Writes a log.txt and reads what it says for a checkpoint in its folder."""

    def write(content):
        (tmp_path / "log.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_beside(tmp_path / "epoch-1.model")

    return write


def test_version_and_options_are_read(log):
    found = log(LOG)
    assert found.version == "1.13.0"
    assert found.options == {
        "base_zoom": 1.5,
        "epoch": 300,
        "gcn": True,
        "im_size": 220,
        "symmetric_joints": "[[2, 4], [1, 5]]",
        "resume": None,
    }


def test_a_real_log_is_read(shared_golden):
    found = read_beside(shared_golden / "results" / "AlexNet_2026" / "epoch-300.model")
    assert found.version == "1.13.0"
    assert (found.options["n_joints"], found.options["opt"], found.options["lr"]) == (7, "Adam", 0.01)


def test_the_last_run_counts_where_one_was_resumed(log):
    found = log(LOG + LOG.replace("1.13.0", "1.14.0").replace("im_size=220", "im_size=227"))
    assert (found.version, found.options["im_size"]) == ("1.14.0", 227)


def test_the_last_run_may_have_torn_off(log):
    found = log(LOG + "INFO:root:Namespace(base_zoom=2.0, im_size=")
    assert found.options["base_zoom"] == 1.5


@pytest.mark.parametrize(
    "content", ["", "nothing here\n", "chainer version:\nNamespace()\n", b"\xff\xfe\x00binary\x00"]
)
def test_a_log_may_say_nothing(content, log):
    found = log(content)
    assert (found.version, found.options) == (None, {})


@pytest.mark.parametrize(
    "line",
    [
        "Namespace(im_size=__import__('os').system('touch ran'))",
        "Namespace(im_size=open('ran', 'w'))",
        "Namespace(im_size=220)(gcn=False)",
        "Namespace(im_size=220, **{})",
        "Namespace(im_size=)",
        "Namespace(im_size=[" + "[" * 5000 + ")",
        "Namespace(im_size=" + "-" * 50_000 + "1)",
        "Namespace(im_size='\0')",
    ],
)
def test_nothing_in_a_log_is_run(line, log, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = log(f"INFO:root:{line}\n")
    assert found.options.get("im_size") in (None, 220, "\0")
    assert not (tmp_path / "ran").exists()


def test_what_stands_in_brackets_is_passed_over(log):
    found = log("Namespace(a=1, b=[1, (2, 3)], c='x, d=3', e=<class 'f'>, g={'h': 2}, i=-1e-05, j=.5, k=inf, l=1_0)")
    assert found.options == {"a": 1, "c": "x, d=3", "i": -1e-5, "j": 0.5}


@pytest.mark.parametrize("line", ["Namespace(a=1)(b=2)", "Namespace(a=1,, b=2)", "Namespace(**{})", "Namespace(a=)"])
def test_what_is_no_namespace_says_nothing(line, log):
    assert log(line).options == {}


#: Logs that are large or slow to read, none of which says anything.
LARGE = {
    "a line of 4 MB": b"Namespace(a=[" + b"1, " * 1_300_000 + b"])\n",
    "brackets": (b"Namespace(a=[, " * 1000 + b")\n") * 50,
    "a text without an end": (b"Namespace(a='" + b"\\" * 16_000 + b")\n") * 50,
    "losses": (b"epoch:1" + b",:" * 8000 + b"\n") * 50,
}


def test_large_logs_take_little_time_and_memory(tmp_path):
    paths = []
    for name, content in LARGE.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "log.txt").write_bytes(content)
        paths.append(save_npz(tmp_path / name / "epoch-1.model", {**wrapped(alexnet()), "x": np.ones(1, "f")}))
        assert read_runs(tmp_path / name / "log.txt") == []
    assert len(refusals(paths)) == len(LARGE)


def test_the_rest_of_a_long_line_is_passed_over(log):
    assert log("x" * 100_000 + "chainer version: 1.2\n" + LOG).version == "1.13.0"
    assert log("x" * 100_000 + "chainer version: 1.2\n").version is None


def test_without_a_log_there_is_none(tmp_path):
    assert read_beside(tmp_path / "epoch-1.model") is None
    (tmp_path / "log.txt").mkdir()
    assert read_beside(tmp_path / "epoch-1.model") is None


def test_a_log_beside_the_file_is_used_by_read(tmp_path):
    (tmp_path / "log.txt").write_text(LOG.replace("im_size=220", "im_size=200"))
    source = converters.read(save_npz(tmp_path / "epoch-1.model", wrapped(alexnet()))).source
    assert (source.writer, source.writer_told_by) == ("chainer-1.13.0", "log.txt beside the file")


class TestRuns:
    def test_losses_of_a_real_log_are_those_of_its_json(self, shared_golden):
        folder = shared_golden / "results" / "AlexNet_2026"
        (run,) = read_runs(folder / "log.txt")
        expected = [
            {key: value for key, value in entry.items() if key != "iteration"}
            for entry in json.loads((folder / "log").read_text())
        ]
        assert run.entries == expected
        assert (run.version, run.options["resume_model"]) == ("1.13.0", None)

    def test_each_header_begins_a_run(self, tmp_path):
        (tmp_path / "log.txt").write_text(LOG + LOG.replace("1.13.0", "1.14.0").replace("epoch:10,", "epoch:20,"))
        first, second = read_runs(tmp_path / "log.txt")
        assert (first.version, second.version) == ("1.13.0", "1.14.0")
        assert ([e["epoch"] for e in first.entries], [e["epoch"] for e in second.entries]) == ([10], [20])

    def test_runs_that_wrote_no_loss_are_none(self, tmp_path):
        (tmp_path / "log.txt").write_text(LOG.replace("epoch:10,", "") * 2)
        assert read_runs(tmp_path / "log.txt") == []
        assert read_runs(tmp_path / "gone.txt") == []

    @pytest.mark.parametrize(
        ("line", "losses"),
        [
            ("epoch:1, main/loss:1e-05, ", {"main/loss": 1e-5}),
            ("epoch: 1, main/loss: 2, validation/main/loss: 3.", {"main/loss": 2, "validation/main/loss": 3}),
            ("epoch:1, main/loss:inf, ", {"main/loss": float("inf")}),
            ("epoch:1, main/loss:1.2.3, validation/main/loss:4, ", {"validation/main/loss": 4}),
            ("test epoch:1\tloss:0.5", {"validation/main/loss": 0.5}),
        ],
    )
    def test_lines_of_losses_are_understood(self, tmp_path, line, losses):
        (tmp_path / "log.txt").write_text(f"INFO:root:{line}\n")
        (run,) = read_runs(tmp_path / "log.txt")
        assert run.entries == [{"epoch": 1, **losses}]

    @pytest.mark.parametrize("line", ["epoch:x, main/loss:1", "epoch:1, lr:0.1", "epoch:1", "main/loss:1"])
    def test_other_lines_are_none(self, tmp_path, line):
        (tmp_path / "log.txt").write_text(line + "\n")
        assert read_runs(tmp_path / "log.txt") == []
