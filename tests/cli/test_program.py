"""The program as shells run it: signals at any moment, readers that go away, names and texts that anybody wrote."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.helpers.checkpoint_files import alexnet, save_npz

pytestmark = pytest.mark.end_to_end

PROGRAM = (sys.executable, "-m", "deeppose_port")
CSV = ("--csv", "a", "--images", "b", "--skeleton", "lsp")
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")


def handles(pid, number):
    """Tells whether a process has a handler of its own for a signal."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
    return bool(caught >> (number - 1) & 1)


@pytest.fixture
def model(tmp_path):
    (tmp_path / "in").mkdir()
    return save_npz(tmp_path / "in" / "a.model", alexnet())


#: Runs the program, and sends it a signal when it asks for a module.
AT_AN_IMPORT = """
import os, sys, time
from deeppose_port import __main__ as ours
module, number = sys.argv[1], int(sys.argv[2])
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), number)
sys.meta_path.insert(0, Finder())
flushed = ours._flushed
def at_the_end(status):
    while ours._held_back:  # it is heard a moment after the imports, which the program has not got here
        time.sleep(0.001)
    return flushed(status)
ours._flushed = at_the_end
del sys.argv[1:3]
ours.program()
"""


@pytest.mark.parametrize(("number", "status", "word"), [(2, 130, "interrupted"), (15, 143, "terminated")])
@pytest.mark.parametrize(
    "module", ["converters", "numpy", "click", "deeppose_port.cli.evaluating", "cv2", "deeppose_port.evaluate.evaluate"]
)
def test_a_signal_during_imports_ends_it_with_its_status(module, number, status, word, model):
    before = sorted(model.parent.iterdir())
    command = [sys.executable, "-c", AT_AN_IMPORT, module, str(number), "eval", str(model), *CSV]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in ended.stderr
    assert (ended.returncode, ended.stdout) == (status, "")
    assert word in ended.stderr or ended.stderr == "" or "there is no such file" in ended.stderr
    assert sorted(model.parent.iterdir()) == before


@needs_proc
@pytest.mark.parametrize("delay", [0, 0.1])
def test_a_signal_at_any_moment_ends_it_with_a_status_of_its_own(delay, model):
    before = sorted(model.parent.iterdir())
    process = subprocess.Popen([*PROGRAM, "eval", str(model), *CSV], stdout=-1, stderr=-1, text=True)
    while process.poll() is None and not handles(process.pid, signal.SIGTERM):
        time.sleep(0.001)
    time.sleep(delay)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=300)
    assert "Traceback" not in errors
    assert output == ""
    if process.returncode != 2:  # it was through already: the CSV is not there
        assert process.returncode == 143
        assert "terminated" in errors or errors == "" or "there is no such file" in errors
    assert sorted(model.parent.iterdir()) == before


@pytest.mark.parametrize(
    "arguments", [("inspect", "{}"), ("inspect", "{}", "--json"), ("convert", "{}", "--dry-run"), ("--help",)]
)
def test_a_reader_that_goes_away_is_no_error(arguments, model):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(
            [*PROGRAM, *(a.format(model) for a in arguments)], stdout=writing, stderr=-1, text=True, timeout=300
        )
    finally:
        os.close(writing)
    assert ended.returncode == 141
    assert all(line.startswith("note: ") for line in ended.stderr.splitlines())


@pytest.fixture
def named_badly(model):
    """A checkpoint whose name is not UTF-8, moves the cursor and writes a line of its own."""
    path = os.path.join(os.fsencode(model.parent), b"b\xff\x1b[2J\nfake: all is well.model")
    os.rename(model, path)
    return path


class TestNames:
    def run(self, *arguments):
        return subprocess.run([*map(os.fsencode, PROGRAM), *arguments], capture_output=True, timeout=300)

    @pytest.mark.parametrize(
        "arguments",
        [("inspect",), ("convert", "--dry-run"), ("convert", "--to", "safetensors")],
    )
    def test_they_reach_a_terminal_in_printable_characters(self, arguments, named_badly):
        ended = self.run(*arguments, named_badly)
        assert b"Traceback" not in ended.stderr
        for shown in (ended.stdout.decode(), ended.stderr.decode()):
            assert all(c.isprintable() or c == "\n" for c in shown)
            assert not any(line.startswith("fake") for line in shown.splitlines())
        assert b"\\udcff\\x1b[2J\\nfake" in ended.stdout + ended.stderr

    def test_so_do_those_of_a_folder(self, named_badly):
        ended = self.run("convert", os.path.dirname(named_badly), "--to", "safetensors")
        assert ended.returncode == 0
        assert all(c.isprintable() or c == "\n" for c in ended.stdout.decode())

    def test_json_has_them_as_they_are(self, named_badly):
        ended = self.run("inspect", "--json", named_badly)
        assert all(c.isprintable() or c == "\n" for c in ended.stdout.decode())
        assert os.fsencode(json.loads(ended.stdout)["path"]) == named_badly


@pytest.mark.parametrize("encoding", ["latin-1", "cp437"])
def test_a_terminal_that_knows_few_characters_gets_those(encoding, model):
    ended = subprocess.run(
        [*PROGRAM, "train", "--help"],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        timeout=300,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout.decode(encoding)


class TestNamesake:
    """Another distribution has a package `converters` too; pip lets the one overwrite the other."""

    def run(self, folder, *path, **environment):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), **environment}
        return subprocess.run(
            [*PROGRAM, "--version"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    @pytest.fixture
    def stranger(self, tmp_path):
        (tmp_path / "converters").mkdir()
        (tmp_path / "converters" / "__init__.py").write_text("def convert(): pass\n")
        return tmp_path

    @pytest.mark.parametrize("command", [["--version"], ["doctor"]])
    def test_its_package_in_our_place_is_told_with_its_mend(self, command, stranger, tmp_path):
        code = "import sys; from deeppose_port.__main__ import main; sys.exit(main())"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(stranger), str(ROOT)])}
        ended = subprocess.run(
            [sys.executable, "-c", code, *command],
            cwd="/",
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        place = stranger / "converters" / "__init__.py"
        mend = "pip uninstall -y converters; pip install --force-reinstall --no-deps deeppose-port"
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr == f"deeppose-port: {place}: this package `converters` is another program's ({mend})\n"

    def test_a_package_that_is_gone_is_told_too(self, tmp_path):
        shutil.copytree(
            ROOT / "deeppose_port", tmp_path / "deeppose_port", ignore=shutil.ignore_patterns("__pycache__")
        )
        code = "import sys; sys.modules['converters'] = None; from deeppose_port.__main__ import main; sys.exit(main())"
        ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert ended.returncode == 2
        assert ended.stderr.startswith("deeppose-port: its package `converters` cannot be imported: ")

    def test_a_folder_of_that_name_in_the_current_one_leads_nobody_astray(self, stranger):
        ended = self.run(stranger, ROOT)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout.startswith("deeppose-port")


@pytest.mark.parametrize(("ends", "status", "error"), [("3", 3, ""), ("1 / 0", 1, "ZeroDivisionError")])
def test_it_ends_with_its_status_when_all_is_tidied_up(ends, status, error):
    code = (
        "import atexit, sys; from deeppose_port import __main__ as ours\n"
        f"def main(): atexit.register(print, 'tidied up'); return {ends}\n"
        "ours.main = main; ours.program()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (status, "tidied up\n")
    assert error in ended.stderr
