import pytest
from checkpoint_files import alexnet, save_npz, wrapped

import converters
from converters.legacy_log import read_beside

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


def test_without_a_log_there_is_none(tmp_path):
    assert read_beside(tmp_path / "epoch-1.model") is None
    (tmp_path / "log.txt").mkdir()
    assert read_beside(tmp_path / "epoch-1.model") is None


def test_a_log_beside_the_file_is_used_by_read(tmp_path):
    (tmp_path / "log.txt").write_text(LOG.replace("im_size=220", "im_size=200"))
    source = converters.read(save_npz(tmp_path / "epoch-1.model", wrapped(alexnet()))).source
    assert (source.writer, source.writer_told_by) == ("chainer-1.13.0", "log.txt beside the file")
