import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import converters
from converters import conversion, formats
from deeppose_port.cli import main
from tests.helpers.checkpoint_files import (
    PLAIN_ALEXNET,
    adam_state,
    alexnet,
    assert_same_arrays,
    in_torch_names,
    let_write,
    listing,
    load_npz,
    npy,
    save_npz,
    save_zip,
    sha256,
    vgg_bn,
    wrapped,
)


@pytest.fixture
def run(capsys):
    """Runs the command line; returns the exit status, standard output and the lines of standard error."""

    def command(*arguments):
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err.splitlines()

    return command


@pytest.fixture
def model(tmp_path):
    return save_npz(tmp_path / "epoch-1.model", wrapped(alexnet()))


def facts(output):
    """The lines of a report, by their first word."""
    return [line.rstrip().split(maxsplit=1) for line in output.splitlines() if line.strip()]


class TestConvert:
    def test_pt_beside_the_file_is_the_default(self, run, model):
        torch = pytest.importorskip("torch")
        status, output, errors = run("convert", model)
        assert (status, errors) == (0, [f"note: {PLAIN_ALEXNET}"])
        payload = torch.load(model.with_suffix(".pt"), weights_only=True)
        assert {name: t.numpy().tobytes() for name, t in payload["state_dict"].items()} == {
            name: array.tobytes() for name, array in in_torch_names(alexnet()).items()
        }
        assert str(model.with_suffix(".pt")) in output

    @pytest.mark.parametrize(
        ("options", "name", "format"),
        [
            (["-o", "new.safetensors"], "new.safetensors", "safetensors"),
            (["--output", "new.npz"], "new.npz", "chainer-npz"),
            (["-o", "new", "--to", "safetensors"], "new", "safetensors"),
            (["--to", "safetensors"], "epoch-1.safetensors", "safetensors"),
            (["--to", "chainer-npz"], "epoch-1.npz", "chainer-npz"),
        ],
    )
    def test_name_and_format_can_be_given(self, options, name, format, run, model, monkeypatch):
        monkeypatch.chdir(model.parent)
        assert run("convert", model, *options)[0] == 0
        assert formats.format_of(model.with_name(name)).name == format
        assert_same_arrays(converters.read(model.with_name(name)).weights, in_torch_names(alexnet()))

    def test_the_report_says_all_that_matters(self, run, golden, tmp_path):
        source = golden / "checkpoints" / "1.13.0" / "alexnet-adam" / "epoch-1.model"
        target = tmp_path / "new.safetensors"
        status, output, errors = run("convert", source, "-o", target)
        assert status == 0
        lines = facts(output)
        assert ["source", str(source)] in lines
        assert ["sha256", sha256(source)] in lines
        assert ["format", "chainer-npz (model)"] in lines
        assert ["writer", "chainer-1.13.0 (assumed)"] in lines
        assert ["wrappers", "predictor/"] in lines
        assert ["joints", "16"] in lines
        assert ["optimizer", "adam, epoch 1, iteration 3"] in lines
        assert ["output", f"{target} (safetensors; read again, every byte equal)"] in lines
        assert ["sha256", sha256(target)] in lines
        assert any(line[0] == "architecture" and line[1].startswith("alexnet, ") for line in lines)
        assert errors == [
            f"note: {PLAIN_ALEXNET}",
            "note: safetensors holds weights only: the optimizer's state was left out; pt and chainer-npz take it",
        ]

    def test_the_assumed_eps_is_said(self, run, tmp_path):
        path = save_npz(tmp_path / "a.model", wrapped(vgg_bn()))
        status, _, errors = run("convert", path, "--to", "safetensors")
        assert status == 0
        assert errors == [
            "note: nothing says which Chainer wrote it: taken as chainer-1.13.0 (BatchNormalization at test time with "
            "eps 0); override with --writer chainer-X.Y.Z"
        ]
        assert run("convert", path, "--to", "safetensors", "--writer", "chainer-5.4.0", "--force")[2] == []
        assert converters.read(tmp_path / "a.safetensors").source.writer == "chainer-5.4.0"

    def test_numbers_that_are_not_finite_are_counted(self, run, tmp_path):
        arrays = wrapped(alexnet())
        arrays["predictor/fc8/b"][:3] = np.nan, np.nan, np.inf
        path = save_npz(tmp_path / "a.model", arrays)
        status, output, errors = run("convert", path, "--to", "safetensors")
        probed = "note: a fixed input through the repaired network: every answer is finite"
        repaired = "note: fc8.bias: 2 NaN and 1 Inf became 0"
        assert (status, errors) == (0, [f"note: {PLAIN_ALEXNET}", probed, repaired])
        assert ["repairs", "2 NaN and 1 Inf in 1 tensors became 0"] in facts(output)
        status, output, errors = run("convert", path, "-o", tmp_path / "b.npz", "--nonfinite", "keep")
        assert (status, errors) == (0, [f"note: {PLAIN_ALEXNET}", "note: fc8.bias: 2 NaN and 1 Inf kept"])
        assert_same_arrays(load_npz(tmp_path / "b.npz"), arrays)

    def test_json_is_the_report(self, run, model):
        status, output, errors = run("convert", model, "--to", "safetensors", "--json")
        report = json.loads(output)
        assert (status, errors) == (0, [f"note: {PLAIN_ALEXNET}"])
        assert report["source"]["sha256"] == sha256(model)
        assert report["output_sha256"] == sha256(model.with_suffix(".safetensors"))
        assert (report["architecture"], report["joints"], report["verified"]) == ("alexnet", 7, True)

    def test_a_dry_run_writes_nothing(self, run, model):
        before = listing(model.parent)
        status, output, _ = run("convert", model, "--dry-run")
        assert status == 0
        assert ["output", f"{model.with_suffix('.pt')} (pt; not written (dry run))"] in facts(output)
        assert listing(model.parent) == before
        report = json.loads(run("convert", model, "--dry-run", "--json")[1])
        assert (report["verified"], report["output_sha256"]) == (False, None)

    def test_layouts(self, run, golden, tmp_path):
        source = golden / "checkpoints" / "7.8.1" / "trainer-multiprocess" / "snapshot_iter_2"
        assert run("convert", source, "-o", tmp_path / "a.npz", "--layout", "snapshot")[0] == 0
        assert_same_arrays(load_npz(tmp_path / "a.npz"), load_npz(source))
        assert run("convert", source, "-o", tmp_path / "b.npz", "--layout", "head")[0] == 0
        assert load_npz(tmp_path / "b.npz").keys() == {f"predictor/{key}" for key in alexnet()}

    def test_legacy_spelling_of_options(self, run, model):
        assert run("convert", model, "--dry_run", "--no_state")[0] == 0

    def test_replacing_needs_force(self, run, model):
        target = model.with_suffix(".safetensors")
        target.write_text("mine")
        status, output, errors = run("convert", model, "--to", "safetensors")
        assert (status, output) == (2, "")
        assert errors == [f"error: {target}: it exists already (--force replaces it, -o names another)"]
        assert target.read_text() == "mine"
        assert run("convert", model, "--to", "safetensors", "--force")[0] == 0


class TestSeveral:
    @pytest.fixture
    def results(self, golden, tmp_path):
        """A result folder: two checkpoints, a state, a log, and one that is cut short."""
        folder = tmp_path / "results"
        folder.mkdir()
        for suffix in ("model", "state"):
            shutil.copy(golden / "checkpoints" / "1.13.0" / "alexnet-adam" / f"epoch-1.{suffix}", folder)
        shutil.copy(golden / "checkpoints" / "1.13.0" / "trainer-serial" / "snapshot_iter_2", folder)
        (folder / "log.txt").write_text("INFO:root:chainer version: 1.13.0\n")
        return folder

    def test_a_folder_is_a_line_each_and_a_summary(self, run, results):
        status, output, errors = run("convert", results, "--to", "safetensors")
        lines = output.splitlines()
        assert (status, errors) == (0, [])
        assert lines == [
            f"{results / 'epoch-1.model'} -> {results / 'epoch-1.safetensors'}: alexnet, 16 joints, chainer-1.13.0",
            f"{results / 'snapshot_iter_2'} -> {results / 'snapshot_iter_2.safetensors'}: "
            "alexnet, 16 joints, chainer-1.13.0",
            "2 of 2 checkpoints converted",
            "1 file passed over",
        ]

    def test_one_that_is_refused_does_not_keep_the_others(self, run, results, tmp_path):
        torn = results / "epoch-2.model"
        torn.write_bytes((results / "epoch-1.model").read_bytes()[:5000])
        out = tmp_path / "out"
        status, output, errors = run(
            "convert", results / "epoch-1.model", torn, results / "snapshot_iter_2", "-o", out, "--to", "safetensors"
        )
        assert status == 3
        assert len(errors) == 1
        assert errors[0].startswith(f"error: {torn}: this zip file is cut short or damaged")
        assert output.splitlines()[-2:] == [
            "2 of 3 checkpoints converted",
            "  1 refused: this zip file is cut short or damaged",
        ]
        assert sorted(item.name for item in out.iterdir()) == ["epoch-1.safetensors", "snapshot_iter_2.safetensors"]

    def test_json_has_each_file(self, run, results):
        (results / "bad.npz").write_bytes((results / "epoch-1.model").read_bytes()[:5000])
        status, output, _ = run("convert", results, results / "bad.npz", "--to", "safetensors", "--json")
        said = json.loads(output)
        assert (status, said["converted"], said["failed"]) == (3, 2, 1)
        (bad,) = [file for file in said["files"] if "error" in file]
        assert bad["source"]["path"] == str(results / "bad.npz")
        assert "cut short" in bad["error"]

    def test_a_dry_run_writes_nothing(self, run, results, tmp_path):
        before = listing(tmp_path)
        status, output, _ = run("convert", results, "-o", tmp_path / "out", "--dry-run")
        assert status == 0
        assert output.count("(dry run)") == 2
        assert listing(tmp_path) == before

    def test_a_folder_without_checkpoints_is_said(self, run, tmp_path):
        (tmp_path / "log.txt").write_text("hello")
        status, output, errors = run("convert", tmp_path)
        assert (status, output) == (2, "")
        assert errors == [f"error: {tmp_path}: there is no checkpoint to convert in here"]


def _bad_inputs():
    """Every bad input: a name, what makes it in a folder, and the sentence that refuses it."""
    arrays = wrapped(alexnet())

    def npz(change=None, **changes):
        return lambda path: save_npz(path, {**arrays, **(change or {}), **changes})

    def torn(path):
        save_npz(path, arrays)
        path.write_bytes(path.read_bytes()[:3000])

    def flipped(path):
        save_npz(path, arrays)
        content = bytearray(path.read_bytes())
        content[1500] ^= 1
        path.write_bytes(content)

    key = "predictor/fc8/b"
    return {
        "missing": (lambda path: None, "there is no such file"),
        "empty": (lambda path: path.write_bytes(b""), r"the file is empty \(look for another copy"),
        "text": (lambda path: path.write_text("404 Not Found\n"), r"this is text, not a checkpoint \(was a log"),
        "torn": (torn, r"this zip file is cut short or damaged \(look for a whole copy"),
        "flipped": (flipped, r"is damaged: its CRC-32 checksum is wrong \(look for a"),
        "zip": (lambda path: save_zip(path, [("a.txt", b"a")]), r"it holds 'a\.txt', which is no array \(unpack it"),
        "another network": (
            lambda path: save_npz(path, {"l/W": np.ones((3, 2), "f")}),
            r"its arrays fit no architecture, none has a name of one: unexpected l/W \(nothing is loaded in part",
        ),
        "wrong shape": (
            npz({key: np.ones(13, "f")}),
            rf"{key} of shape \(13,\) instead of \(14,\) \(nothing is loaded in part",
        ),
        "wrong dtype": (npz({key: np.ones(14, "i8")}), rf"{key} of dtype int64 instead of a floating-point number \("),
        "objects": (
            npz({key: np.array(None)}),
            rf"{key} had no value yet .* \(there is nothing to convert; take a later",
        ),
        "twice": (
            lambda path: save_zip(path, [(f"{key}.npy", npy(arrays[key]))] * 2),
            rf"it holds '{key}' twice \(one of them would be lost",
        ),
        "a pickle": (
            lambda path: path.write_bytes(b"\x80\x02}q\x00."),
            "this is a Python pickle, which could run code",
        ),
        "lone state": (
            lambda path: save_npz(path, adam_state(arrays)),
            r"an optimizer's state, without the network's weights \(put bad\.model beside it",
        ),
    }


class TestBadInput:
    @pytest.mark.parametrize("case", _bad_inputs())
    @pytest.mark.parametrize("target", ["new.safetensors", "new.npz"])
    def test_one_clear_line_and_nothing_written(self, case, target, run, tmp_path):
        make, phrase = _bad_inputs()[case]
        source = tmp_path / ("bad.model" if case != "lone state" else "bad.state")
        make(source)
        before = listing(tmp_path)
        status, output, errors = run("convert", source, "-o", tmp_path / target)
        assert (status, output) == (2, "")
        (line,) = errors
        assert line.startswith(f"error: {source}: ")
        assert len(line) < 500
        assert re.search(phrase, line), line
        assert listing(tmp_path) == before

    def test_inspect_refuses_what_convert_refuses(self, run, tmp_path):
        (tmp_path / "bad.model").write_text("hello")
        status, _, errors = run("inspect", tmp_path / "bad.model")
        assert status == 2
        assert errors == [
            f"error: {tmp_path / 'bad.model'}: this is text, not a checkpoint (was a log or a download's error page "
            "saved under this name?)"
        ]

    def test_a_folder_without_checkpoints_has_nothing_to_inspect(self, run, tmp_path):
        status, _, errors = run("inspect", tmp_path)
        assert (status, errors) == (2, [f"error: {tmp_path}: there is no checkpoint in here"])
        (tmp_path / "inner").mkdir()
        for option, advice in (((), " (-r looks into subfolders too)"), (("-r",), "")):
            status, _, errors = run("inspect", tmp_path, *option)
            assert (status, errors) == (2, [f"error: {tmp_path}: there is no checkpoint in here{advice}"])

    @pytest.mark.parametrize("target", ["none/new.npz", "epoch-1.model/new.npz", "a" * 300 + ".npz"])
    def test_a_target_that_cannot_be_written(self, target, run, model):
        before = listing(model.parent)
        status, output, errors = run("convert", model, "-o", model.parent / target)
        assert (status, output) == (2, "")
        assert errors[0].startswith(f"error: {model.parent / target}: it cannot be written: ")
        assert errors[0].endswith("(nothing was left behind; see to the place, or name another)")
        assert listing(model.parent) == before

    def test_the_input_as_target(self, run, model):
        before = sha256(model)
        status, _, errors = run("convert", model, "-o", model, "--force")
        assert status == 2
        assert errors == [f"error: {model}: this is the input itself, which is never changed (-o names another)"]
        assert sha256(model) == before

    @pytest.mark.parametrize(
        ("options", "phrase"),
        [
            (["--nonfinite", "drop"], "nonfinite is 'drop'; it is one of zero, error, keep"),
            (["--writer", "1.13"], "'1.13' is no writer; it is spelled chainer-X.Y.Z, from chainer-1.0.0 to chainer-7"),
            (["--architecture", "lenet"], "there is no architecture 'lenet'; there are alexnet, resnet50, vgg_bn"),
            (
                ["--to", "tflite"],
                "there is no format 'tflite' to write; there are pt, safetensors, chainer-npz, torch-export, ",
            ),
            (["--layout", "tail", "--to", "chainer-npz"], "there is no layout 'tail'; there are head, state, snapshot"),
            (["--layout", "head"], "only chainer-npz has a layout, not pt (leave --layout out)"),
            (
                ["-o", "new.tflite"],
                "the suffix '.tflite' names no format (name it with --to pt | safetensors | chainer-npz | ",
            ),
        ],
    )
    def test_options_that_make_no_sense(self, options, phrase, run, model):
        before = listing(model.parent)
        status, output, errors = run("convert", model, *options)
        assert (status, output) == (2, "")
        assert len(errors) == 1
        assert errors[0].startswith("error: ")
        assert phrase in errors[0]
        assert listing(model.parent) == before

    @pytest.mark.parametrize(
        ("arguments", "phrase"),
        [
            (["convert", "MODEL", "--results", "none/results.csv"], "there is no such folder to write it into"),
            (["convert", ""], "'' names nothing; the current folder is ."),
            (["inspect", ""], "'' names nothing"),
        ],
    )
    def test_nothing_is_done_for_what_cannot_be(self, arguments, phrase, run, model, monkeypatch):
        monkeypatch.chdir(model.parent)
        before = listing(model.parent)
        status, output, errors = run(*(model if argument == "MODEL" else argument for argument in arguments))
        assert (status, output) == (2, "")
        assert phrase in errors[-1]
        assert listing(model.parent) == before

    def test_a_full_disk(self, run, model, monkeypatch):
        def full(*arguments, **options):
            raise OSError(28, "No space left on device")

        let_write(monkeypatch, "chainer-npz", full)
        before = listing(model.parent)
        status, output, errors = run("convert", model, "-o", model.with_name("new.npz"))
        assert (status, output) == (2, "")
        assert errors[0].startswith(
            f"error: {model.with_name('new.npz')}: it cannot be written: No space left on device"
        )
        assert listing(model.parent) == before

    def test_what_does_not_read_back(self, run, model, monkeypatch):
        written = formats.FORMATS["chainer-npz"].write

        def write(checkpoint, path, **options):
            weights = {**checkpoint.weights, "fc8.bias": checkpoint.weights["fc8.bias"] + 1}
            written(checkpoint.replace(weights=weights), path, **options)

        let_write(monkeypatch, "chainer-npz", write)
        status, _, errors = run("convert", model, "-o", model.with_name("new.npz"))
        assert status == 2
        assert "what was written does not read back the same: predictor/fc8/b" in errors[0]
        assert not model.with_name("new.npz").exists()


#: Runs the program, and sends it a signal when it has made a file, or at the second piece that it writes to it.
IN_THE_MIDDLE = """
import os, sys
from converters import files
from converters.interrupts import Stream
from deeppose_port.__main__ import program
moment, number = sys.argv[1], int(sys.argv[2])
del sys.argv[1:3]
pieces, write, new_file = [], Stream.write, files._new_file
def written(stream, data):
    pieces.append(len(data))
    if moment == "write" and len(pieces) == 2:
        os.kill(os.getpid(), number)
    elif moment == "write" and len(pieces) > 2:
        print("it wrote on", file=sys.stderr)
    return write(stream, data)
def made(path):
    descriptor = new_file(path)
    if moment == "begin":
        os.kill(os.getpid(), number)
    return descriptor
Stream.write, files._new_file = written, made
program()
"""


class TestInterrupt:
    @pytest.mark.parametrize("place", ["write", "verify"])
    def test_ctrl_c_leaves_nothing_and_is_status_130(self, place, run, model, monkeypatch):
        def interrupt(*arguments, **options):
            raise KeyboardInterrupt

        if place == "write":
            let_write(monkeypatch, "chainer-npz", interrupt)
        else:
            monkeypatch.setattr(conversion, "verify", interrupt)
        before = listing(model.parent)
        status, output, errors = run("convert", model, "-o", model.with_name("new.npz"))
        assert (status, output) == (130, "")
        assert errors[-1] == "interrupted: nothing was left behind"
        assert listing(model.parent) == before

    def test_ctrl_c_stops_several(self, run, model, monkeypatch):
        other = shutil.copy(model, model.with_name("other.model"))

        def interrupt(*arguments, **options):
            raise KeyboardInterrupt

        let_write(monkeypatch, "safetensors", interrupt)
        before = listing(model.parent)
        assert run("convert", model, other, "--to", "safetensors")[0] == 130
        assert listing(model.parent) == before

    @pytest.mark.end_to_end
    @pytest.mark.parametrize(
        ("format", "moment", "number", "status"),
        [
            ("chainer-npz", "write", signal.SIGINT, 130),
            ("chainer-npz", "write", signal.SIGTERM, 143),
            ("pt", "begin", signal.SIGINT, 130),
            ("pt", "begin", signal.SIGTERM, 143),
            ("pt", "write", signal.SIGINT, 130),
        ],
    )
    def test_a_real_signal(self, format, moment, number, status, model):
        """The program itself, in the middle of the file that it writes, or when there is nothing in it yet."""
        before = listing(model.parent)
        command = [sys.executable, "-c", IN_THE_MIDDLE, moment, str(int(number)), "convert", str(model), "--to", format]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert (ended.returncode, ended.stdout) == (status, ""), ended.stderr
        told = ended.stderr.splitlines()
        assert ("interrupted: nothing was left behind" in told) == (number == signal.SIGINT)
        assert "Traceback" not in ended.stderr
        assert "it wrote on" not in told
        assert listing(model.parent) == before


class TestInspect:
    def test_it_shows_what_a_file_holds(self, run, golden):
        path = golden / "checkpoints" / "1.13.0" / "trainer-serial" / "snapshot_iter_2"
        status, output, _ = run("inspect", path)
        assert status == 0
        lines = facts(output)
        assert ["file", str(path)] in lines
        assert ["format", "chainer-npz"] in lines
        assert ["layout", "snapshot"] in lines
        assert ["sha256", sha256(path)] in lines
        assert any(line[0] == "joints" and line[1].startswith("16: right ankle, ") for line in lines)
        assert ["optimizer", "adam, epoch 1, iteration 2"] in lines
        assert ["writer", "chainer-1.13.0 (the keys, as a Chainer before 1.18.0 writes them)"] in lines
        assert "conv1.weight" in output
        assert "8 x 3 x 11 x 11" in output
        assert "optimizer m" in output

    def test_the_hash_of_a_state_is_its_own(self, run, golden):
        path = golden / "checkpoints" / "1.13.0" / "alexnet-adam" / "epoch-1.state"
        status, output, _ = run("inspect", path)
        model = path.with_suffix(".model")
        assert status == 0
        assert ["sha256", sha256(path)] in facts(output)
        assert f"weights in {model}, sha256 {sha256(model)}" in " ".join(output.split())
        said = json.loads(run("inspect", path, "--json")[1])
        assert (said["path"], said["sha256"]) == (str(path), sha256(path))
        assert (said["source"]["path"], said["source"]["sha256"]) == (str(model), sha256(model))

    def test_it_counts_and_changes_nothing(self, run, tmp_path):
        arrays = wrapped(alexnet())
        arrays["predictor/fc8/W"].flat[:5] = np.nan
        arrays["predictor/fc8/W"].flat[5] = np.inf
        path = save_npz(tmp_path / "a.model", arrays)
        before = listing(tmp_path)
        status, output, _ = run("inspect", path)
        assert status == 0
        (line,) = [line for line in output.splitlines() if "fc8.weight" in line]
        assert line.split()[-2:] == ["5", "1"]
        assert listing(tmp_path) == before

    def test_json(self, run, model):
        status, output, errors = run("inspect", model, "--json")
        said = json.loads(output)
        assert (status, errors) == (0, [])
        assert said["architecture"]["name"] == "alexnet"
        assert {tensor["name"]: tuple(tensor["shape"]) for tensor in said["tensors"]} == {
            name: array.shape for name, array in in_torch_names(alexnet()).items()
        }

    def test_json_has_no_nan(self, run, tmp_path):
        arrays = wrapped(alexnet())
        arrays["predictor/fc8/b"][:] = np.nan
        status, output, _ = run("inspect", save_npz(tmp_path / "a.model", arrays), "--json")
        said = json.loads(output, parse_constant=pytest.fail)
        assert status == 0
        assert said["nonfinite"] == {"fc8.bias": {"nan": 14, "inf": 0}}

    def test_what_is_no_known_network_is_shown_with_the_problem(self, run, tmp_path):
        path = save_npz(tmp_path / "a.npz", {"layer/W": np.ones((2, 3), np.float32)})
        status, output, errors = run("inspect", path)
        assert status == 2
        assert "layer/W" in output
        assert "2 x 3" in output
        assert errors[0].startswith(f"error: {path}: its arrays fit no architecture")


class TestImports:
    """What is slow to load is loaded only where it is needed."""

    def test_what_needs_no_engine_loads_none(self, model, tmp_path):
        (tmp_path / "bad.model").write_bytes(b"")
        safetensors, npz = (model.with_suffix(suffix) for suffix in (".safetensors", ".npz"))
        commands = {
            ("--help",): 0,
            ("convert", "--help"): 0,
            ("inspect", model): 0,
            ("convert", tmp_path / "bad.model"): 2,
            ("convert", model, "-o", safetensors): 0,
            ("convert", safetensors, "-o", npz): 0,
        }
        program = """
            import json, sys
            from deeppose_port.cli import main
            for arguments in json.loads(sys.argv[1]):
                status = main(arguments)
                loaded = [name for name in ("torch", "chainer", "cupy", "cv2") if name in sys.modules]
                print(f"told: {json.dumps([arguments, loaded, status])}")
        """
        lines = [[*map(str, arguments)] for arguments in commands]
        process = [sys.executable, "-c", textwrap.dedent(program), json.dumps(lines)]
        run = subprocess.run(process, capture_output=True, text=True, check=True)
        told = [json.loads(line[6:]) for line in run.stdout.splitlines() if line.startswith("told: ")]
        assert told == [[arguments, [], status] for arguments, status in zip(lines, commands.values(), strict=True)]


def test_the_program_is_the_function(model):
    program = [sys.executable, "-m", "deeppose_port"]
    run = subprocess.run([*program, "convert", str(model), "--to", "safetensors"], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, f"note: {PLAIN_ALEXNET}\n")
    run = subprocess.run([*program, "convert", os.devnull], capture_output=True, text=True)
    assert run.returncode == 2
    assert (
        run.stderr == f"error: {os.devnull}: this is a device or a pipe, not a file (copy what it gives into a file)\n"
    )


class TestNamesInTables:
    def test_brackets_in_a_path_are_shown(self, run, tmp_path):
        path = save_npz(tmp_path / "[bold]epoch[1].model", wrapped(alexnet()))
        _, output, _ = run("convert", path, "--dry-run")
        assert ["source", str(path)] in facts(output)

    def test_brackets_in_a_key_end_in_no_traceback(self, run, tmp_path):
        status, output, _ = run("inspect", save_npz(tmp_path / "a.npz", {"[/bold]/W": np.ones(2, np.float32)}))
        assert status == 2
        assert "[/bold]/W" in output

    def test_keys_do_not_write_lines_of_their_own(self, run, tmp_path):
        path = save_npz(tmp_path / "a.npz", {"a\nfine\x1b[31m/W": np.ones(2, np.float32)})
        _, output, _ = run("inspect", path)
        assert "\x1b" not in output
        assert not any(line.startswith("fine") for line in output.splitlines())
