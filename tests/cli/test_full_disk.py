"""A disk that is full, for every command that writes: one line that names the file, and nothing left.

No file may grow beyond some bytes: the system then refuses as it does where a disk is full, without a name.
"""

import contextlib
import importlib.util
import signal
import subprocess
import sys

import pytest

from deeppose_port.cli import display, main
from tests.conftest import PICTURES, ROOT
from tests.helpers.checkpoint_files import alexnet, listing, save_npz, wrapped
from tests.helpers.trainings import write_csv

resource = pytest.importorskip("resource")
if not hasattr(signal, "SIGXFSZ"):
    pytest.skip("needs a limit on the size of files", allow_module_level=True)

PERSONS = ("--csv", PICTURES / "free.csv", "--images", PICTURES, "--skeleton", "flic")
TRAINING = ("--images", PICTURES, "--skeleton", "flic", "--epochs", 1, "--batch-size", 4, "--width", "2,2,2,2,2,4,4")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    write_csv(folder / "train.csv", PICTURES)
    (folder / "run").mkdir()
    (folder / "run" / "log").write_text('[{"epoch": 1, "main/loss": 1.0}, {"epoch": 2, "main/loss": 0.5}]')
    save_npz(folder / "epoch-1.model", wrapped(alexnet()))
    return folder


@contextlib.contextmanager
def no_more_than(size):
    """Lets no file grow beyond so many bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def convert(to):
    return pytest.param(("convert", "{files}/epoch-1.model", "-o", "{out}/new", "--to", to), "new", id=to)


@pytest.mark.parametrize("size", [0, 1500])
@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        *map(convert, ("pt", "safetensors", "chainer-npz", "onnx", "pytorch-module")),
        pytest.param(*convert("torch-export").values, marks=pytest.mark.slow, id="torch-export"),
        (("eval", "{files}/epoch-1.model", *PERSONS, "--report", "{out}/page"), "page/index.html"),
        (("predict", "{files}/epoch-1.model", PICTURES / "astronaut.png", "-o", "{out}/p"), "p"),
        (("persons", "{files}/epoch-1.model", *PERSONS, "-o", "{out}/p"), "p"),
        (("plot", "{files}/run", "-o", "{out}/a/plot.png"), "a/plot.png"),
        (("show", "{files}/epoch-1.model", "-o", "{out}/s"), "s"),
    ],
)
def test_a_full_disk_is_one_line_with_the_name_and_nothing_is_left(arguments, name, size, files, tmp_path, capsys):
    if {"pytorch-module", "torch-export", "eval", "predict", "persons"} & {*map(str, arguments)}:
        pytest.importorskip("torch")
    if "onnx" in arguments:
        pytest.importorskip("onnx")
    arguments = [str(argument).format(files=files, out=tmp_path) for argument in arguments]
    with no_more_than(size):
        assert main(arguments) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note: ")]
    assert errors == [
        f"error: {tmp_path / name}: it cannot be written: File too large "
        "(nothing was left behind; see to the place, or name another)"
    ]
    assert listing(tmp_path) == {}


@pytest.mark.parametrize("backend", ["torch", "chainer"])
@pytest.mark.parametrize(("size", "name"), [(0, ".lock"), (200, "config.toml")])
def test_a_training_that_cannot_begin_leaves_no_folder(backend, size, name, files, tmp_path, capsys):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    csv = files / "train.csv"
    command = ["train", "--backend", backend, "--train-csv", csv, *TRAINING, "-o", tmp_path / "results" / "run"]
    with no_more_than(size):
        assert main(list(map(str, command))) == 2
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .startswith(f"error: {tmp_path}/results/run/{name}: it cannot be written: File too large (")
    )
    assert listing(tmp_path) == {}


def test_the_log_that_cannot_be_written_ends_a_command_with_its_name(files, tmp_path, capsys):
    with no_more_than(10):
        assert main(["inspect", str(files / "epoch-1.model"), "--log-file", str(tmp_path / "log")]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'log'}: the log cannot be written: File too large\n"
    assert display.settings.log is None


def test_standard_output_that_cannot_be_written_is_told(files, tmp_path):
    for arguments in (["inspect", str(files / "epoch-1.model")], ["inspect", "--help"], ["--version"]):
        with (tmp_path / "out").open("w") as output:
            ended = subprocess.run(
                [sys.executable, "-m", "deeppose_port", *arguments],
                stdout=output,
                stderr=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                timeout=300,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
                check=False,
            )
        errors = [line for line in ended.stderr.splitlines() if not line.startswith("note: ")]
        assert (ended.returncode, errors) == (2, ["error: standard output cannot be written: File too large"])
