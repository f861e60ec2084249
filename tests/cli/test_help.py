"""What the command line says of itself, and what it makes of what is typed."""

import inspect
import json
import os
import re
import subprocess
import sys

import click
import pytest

from deeppose_port.cli import cli, legacy, main
from tests.conftest import PICTURES, ROOT
from tests.helpers.checkpoint_files import alexnet, save_npz
from tests.helpers.commands import context_of

ASTRONAUT = ROOT / "examples" / "astronaut" / "epoch-300.model"
PERSONS = ("--csv", PICTURES / "free.csv", "--images", PICTURES)


def commands(group=cli, names=()):
    for name, command in group.commands.items():
        yield (*names, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*names, name))


COMMANDS = dict(commands())
every_command = pytest.mark.parametrize("names", COMMANDS, ids=" ".join)


class TestHelp:
    @every_command
    def test_help_as_a_command_says_the_same(self, names, run):
        shown = run(*names, "--help").out
        assert shown.startswith(f"Usage: deeppose-port {' '.join(names)} ")
        assert run("help", *names).out == shown
        assert run("help").out == run("--help").out

    def test_the_list_of_commands_has_whole_sentences(self, run, monkeypatch):
        monkeypatch.setenv("COLUMNS", "80")
        listed = " ".join(run("--help").out.partition("Commands:")[2].split())
        for (name, *inner), command in COMMANDS.items():
            if not inner:
                sentence = " ".join(inspect.cleandoc(command.help).partition("\n\n")[0].split())
                assert f"{name} {sentence}" in listed

    def test_a_command_that_there_is_not(self, run):
        assert "No such command 'fly'" in run("help", "fly", status=2).err

    @every_command
    def test_examples_are_not_wrapped(self, names, run, monkeypatch):
        monkeypatch.setenv("COLUMNS", "80")
        shown = run(*names, "--help").out.splitlines()
        _, _, examples = inspect.cleandoc(COMMANDS[names].help).partition("Example:\n")
        assert examples, "there is no example"
        for line in examples.splitlines():
            assert f"  {line}" in shown
            assert len(line) <= 76

    @every_command
    @pytest.mark.parametrize("columns", [50, 80, 200])
    def test_columns_is_obeyed(self, names, columns, run, monkeypatch):
        monkeypatch.setenv("COLUMNS", str(columns))
        _, _, options = run(*names, "--help").out.partition("\n\n")
        lines = [line for line in options.splitlines() if "|" not in line and "deeppose-port" not in line]
        assert max(map(len, lines)) <= max(columns, 80)
        assert lines == [line.rstrip() for line in lines]

    @every_command
    def test_all_options_are_shown_when_asked_for(self, names, run):
        command = COMMANDS[names]
        context = context_of(command)
        if isinstance(command, click.Group):
            return
        shown = [option for option in command.get_params(context) if not getattr(option, "hidden", False)]
        spelled = {name for option in shown for name in option.opts if name.startswith("--")}
        short, whole = (run(*names, option).out for option in ("--help", "--help-all"))
        left_out = {name for name in spelled if f"{name} " not in short.replace(",", " ")}
        if not left_out:
            assert (whole, "--help-all" in short) == (short, False)
            return
        assert all(f"{name} " in whole.replace(",", " ") for name in spelled)
        assert re.search(rf"[0-9] more options?: deeppose-port {' '.join(names)} --help-all", short)

    @pytest.mark.parametrize(("names", "most"), [(("train",), 60), (("eval",), 70), (("predict",), 100)])
    def test_it_is_short_until_all_is_asked_for(self, names, most, run, monkeypatch):
        monkeypatch.setenv("COLUMNS", "80")
        short, whole = (run(*names, option).out for option in ("--help", "--help-all"))
        assert len(short.splitlines()) <= most
        assert not {"--batchsize", "--test-csv-fn", "--img-dir", "--architecture NAME|"} & set(short.split())
        if names == ("train",):
            needed = ("backend", "recipe", "train-csv", "images", "test-csv", "skeleton", "output", "device", "epochs")
            assert [name for name in needed if f"--{name} " not in short.replace(",", " ")] == []
            assert {"--batchsize", "--img-dir", "--fliplr"} <= set(whole.replace(",", " ").split())
            assert "augmentation, optimizer, checkpoints, cascade, engine)" in " ".join(short.split())

    def test_options_stand_in_sections(self, run):
        shown = run("eval", "--help").out.splitlines()
        places = [shown.index(f"{title}:") for title in ("Arguments", "Annotated persons", "Engine", "Answer", "Other")]
        assert places == sorted(places)
        assert places[1] < next(i for i, line in enumerate(shown) if "--csv" in line and i > places[1]) < places[2]

    def test_the_version(self, run):
        assert run("-V").out == run("--version").out != ""


class TestOldSpellings:
    @pytest.mark.parametrize("option", legacy.BECAME)
    def test_they_say_what_became_of_them(self, option, run):
        for spelled in (option, f"--{option[2:].replace('-', '_')}"):
            error = run("train", spelled, "0,1", status=2).err
            assert f"'{option}'" in error or f"'{spelled}'" in error
            assert f"it became {legacy.BECAME[option]}" in error

    def test_what_they_became_is_there(self):
        options = {o for c in COMMANDS.values() for p in c.get_params(context_of(c)) for o in p.opts}
        for became in legacy.BECAME.values():
            named = [word.strip(",:`") for word in became.split() if word.strip("`").startswith("--")]
            assert [name for name in named if name not in options | legacy.BECAME.keys() | {"--n_imgs"}] == []

    def test_others_are_only_refused(self, run):
        assert "it became" not in run("train", "--wings", status=2).err


class TestValues:
    @pytest.mark.parametrize(
        ("given", "meant"),
        [
            (("--skeleton", "FLIC"), "skeleton"),
            (("--skeleton", "flic", "--backend", "Torch"), "backend"),
            ((), "the skeleton, by the number of joints"),
        ],
    )
    def test_they_may_be_written_in_capitals(self, given, meant, run):
        pytest.importorskip("torch")
        expected = json.loads(run("eval", ASTRONAUT, *PERSONS, "--skeleton", "flic", "--json").out)
        assert json.loads(run("eval", ASTRONAUT, *PERSONS, *given, "--json").out) == expected, meant

    @pytest.mark.parametrize(
        ("name", "meant"), [("resnet18", "resnet18-torchvision"), ("VGG16_BN", "vgg16_bn-torchvision")]
    )
    def test_a_name_need_not_have_its_suffix(self, name, meant, run, tmp_path):
        plain = save_npz(tmp_path / "a.model", alexnet())
        error = run("convert", plain, "--architecture", name, "--dry-run", status=2).err
        assert meant in error

    def test_a_beginning_of_several_is_none_of_them(self, run, tmp_path):
        plain = save_npz(tmp_path / "a.model", alexnet())
        run("convert", plain, "--architecture", "alexnet", "--dry-run")
        assert "there is no architecture 'alex'" in run("convert", plain, "--architecture", "alex", status=2).err

    @pytest.mark.parametrize("size", ["1.5G", "64 KiB", "1000000", "2t"])
    def test_sizes_are_written_one_way(self, size, run):
        run("inspect", ASTRONAUT, "--max-bytes", size, status=2 if size == "64 KiB" else 0)


class TestHowMuchIsShown:
    def test_quiet_leaves_notes_out(self, run, tmp_path):
        plain = save_npz(tmp_path / "a.model", alexnet())
        shown = run("convert", plain, "--dry-run")
        assert "note: " in shown.err
        for arguments in (("-q", "convert", plain, "--dry-run"), ("convert", plain, "--dry-run", "--quiet")):
            assert run(*arguments) == (shown.out, "")

    def test_quiet_says_errors(self, run):
        assert run("-q", "inspect", "none", status=2).err == "error: none: there is no such file\n"

    def test_it_is_forgotten_by_the_next(self, run, tmp_path):
        plain = save_npz(tmp_path / "a.model", alexnet())
        run("-q", "convert", plain, "--dry-run")
        assert "note: " in run("convert", plain, "--dry-run").err

    def test_verbose_tells_seconds_and_where_an_error_was_raised(self, run):
        assert " s\n" in run("-v", "convert", ASTRONAUT, "--dry-run").err
        error = run("inspect", "none", "-v", status=2).err
        assert error.startswith("error: none: there is no such file\nTraceback (most recent call last):\n")
        assert "converters" in error

    def test_a_log_has_all_that_was_shown_and_the_command(self, run, tmp_path):
        log = tmp_path / "log"
        log.write_text("before\n")
        shown = run("--log-file", log, "-q", "convert", ASTRONAUT, "--dry-run")
        run("inspect", "none\x1b[2J", "--log-file", log, status=2)
        before, *lines = log.read_text().splitlines()
        assert before == "before"
        texts = [line[len("2026-01-01 00:00:00 ") :] for line in lines]
        assert texts[0].startswith("deeppose-port --log-file")
        assert texts[0].endswith("--dry-run")
        assert set(shown.out.splitlines()) <= set(texts)
        assert any(text.startswith("error: none\\x1b[2J: there is no such file") for text in texts)
        assert "\x1b" not in log.read_text()

    def test_a_log_that_cannot_be_written_is_an_error(self, run, tmp_path):
        for order in (["--log-file", tmp_path, "inspect", ASTRONAUT], ["inspect", ASTRONAUT, "--log-file", tmp_path]):
            said = run(*order, status=2).err
            assert f"{tmp_path}: the log cannot be written: Is a directory" in said


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("deeppose-port eval a --skel", "--skeleton"),
        ("deeppose-port eval a --skeleton m", "mpii"),
        ("deeppose-port convert a --to onn", "onnx"),
        ("deeppose-port train --backend ch", "chainer"),
        ("deeppose-port train --architecture resfpn-s", "resfpn-softargmax"),
        ("deeppose-port predict --people h", "hog"),
        ("deeppose-port eval a --by los", "loss"),
    ],
)
def test_a_shell_completes(typed, expected, monkeypatch, capsys):
    for name, value in asked_by_a_shell(typed).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        main([])
    shown = capsys.readouterr()
    assert (ended.value.code, shown.err) == (0, "")
    assert f"plain,{expected}" in shown.out.splitlines()


def test_a_shell_asks_the_program():
    environment = {**os.environ, **asked_by_a_shell("deeppose-port prep")}
    ended = subprocess.run(
        [sys.executable, "-m", "deeppose_port"], env=environment, capture_output=True, text=True, timeout=300
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "plain,prepare\n", "")


def asked_by_a_shell(typed):
    """What bash sets to have a line completed."""
    words = str(len(typed.split(" ")) - 1)
    return {"_DEEPPOSE_PORT_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": words}
