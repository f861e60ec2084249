import builtins
import errno
import json
import os
import shutil
import signal
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import converters
from converters import CheckpointError, conversion, formats, interrupts, plan
from converters.conversion import default_target
from tests.helpers.checkpoint_files import (
    PLAIN_ALEXNET,
    adam_state,
    alexnet,
    assert_same_arrays,
    in_torch_names,
    let_write,
    listing,
    load_npz,
    save_npz,
    sha256,
    vgg_bn,
    wrapped,
)

FORMATS = {"pt": ".pt", "safetensors": ".safetensors", "chainer-npz": ".npz"}


@pytest.fixture(params=FORMATS)
def format(request):
    if request.param == "pt":
        pytest.importorskip("torch")
    return request.param


@pytest.fixture
def model(tmp_path):
    return save_npz(tmp_path / "epoch-1.model", wrapped(alexnet()))


@pytest.fixture
def refused(tmp_path):
    """Converts what has to be refused in one line; the folder stays as it was."""

    def convert(source, target, phrase, *, culprit=None, **options):
        before = listing(tmp_path)
        with pytest.raises(CheckpointError, match=phrase) as caught:
            converters.convert(source, target, **options)
        assert str(caught.value).startswith(f"{culprit or target}: ")
        assert len(str(caught.value).splitlines()) == 1
        assert listing(tmp_path) == before

    return convert


class TestTargets:
    @pytest.mark.parametrize(
        ("source", "format", "target"),
        [
            ("epoch-1.model", "pt", "epoch-1.pt"),
            ("epoch-1.state", "pt", "epoch-1.pt"),
            ("epoch-1.model", "safetensors", "epoch-1.safetensors"),
            ("epoch-1.model", "chainer-npz", "epoch-1.npz"),
            ("snapshot_iter_900", "pt", "snapshot_iter_900.pt"),
            ("model_epoch_1.5", "pt", "model_epoch_1.5.pt"),
            ("a.b.h5", "pt", "a.b.pt"),
            ("FunctionSet_epoch_1.chainermodel", "pt", "FunctionSet_epoch_1.pt"),
            ("a.pth", "safetensors", "a.safetensors"),
        ],
    )
    def test_default_is_the_sources_name_with_the_formats_suffix(self, source, format, target, tmp_path):
        assert default_target(tmp_path / source, format) == tmp_path / target

    def test_pt_is_the_default_format(self, model):
        pytest.importorskip("torch")
        report = converters.convert(model)
        assert report.output == str(model.with_suffix(".pt"))
        assert report.output_format == "pt"
        assert sha256(model.with_suffix(".pt")) == report.output_sha256

    def test_a_format_names_the_default_target(self, model):
        assert converters.convert(model, format="safetensors").output == str(model.with_suffix(".safetensors"))

    @pytest.mark.parametrize("name", ["a.pt", "a.pth", "a.safetensors", "a.npz", "a.model", "a.state"])
    def test_the_suffix_tells_the_format(self, name, model):
        if name.startswith("a.pt"):
            pytest.importorskip("torch")
        save_npz(model.with_suffix(".state"), adam_state(wrapped(alexnet())))
        target = model.with_name(name)
        converters.convert(model, target)
        assert target.suffix in formats.format_of(target).suffixes

    def test_an_unknown_suffix_asks_for_the_format(self, model, refused):
        refused(
            model,
            model.with_name("new.tflite"),
            r"the suffix '\.tflite' names no format \(name it with --to pt \| safetensors \| chainer-npz",
        )
        converters.convert(model, model.with_name("new.tflite"), format="safetensors")

    def test_an_unknown_format_is_refused(self, model):
        for format in ("tflite", "chainer-hdf5"):
            with pytest.raises(ValueError, match=f"there is no format '{format}' to write; there are pt, safetensors"):
                converters.convert(model, format=format)

    def test_a_layout_is_for_chainer_alone(self, model, refused):
        refused(model, model.with_name("a.safetensors"), "only chainer-npz has a layout", layout="head")


class TestReport:
    def test_it_says_what_was_done(self, golden, tmp_path, format):
        source = golden / "checkpoints" / "1.13.0" / "alexnet-adam" / "epoch-1.model"
        target = tmp_path / f"new{FORMATS[format]}"
        report = converters.convert(source, target)
        assert report.source.path == str(source)
        assert report.source.sha256 == sha256(source)
        assert report.source.state_path == str(source.with_suffix(".state"))
        assert report.source.wrappers == ("predictor/",)
        assert report.source.writer == "chainer-1.13.0"
        assert (report.output, report.output_format) == (str(target), format)
        assert report.output_sha256 == sha256(target)
        assert (report.architecture, report.joints, report.tensors) == ("alexnet", 16, 16)
        assert report.parameters == sum(array.size for array in load_npz(source).values())
        assert (report.optimizer, report.progress) == ("adam", {"epoch": 1, "iteration": 3})
        assert report.preprocessing["im_size"] == 220
        assert report.verified
        assert json.loads(json.dumps(report.as_dict())) == report.as_dict()

    def test_repairs_and_the_choice_of_writer_are_in_it(self, tmp_path):
        arrays = wrapped(vgg_bn())
        arrays["predictor/fc8/b"][:2] = np.nan, np.inf
        report = converters.convert(save_npz(tmp_path / "a.model", arrays), tmp_path / "a.npz")
        assert report.as_dict()["repairs"] == [{"tensor": "fc8.bias", "nan": 1, "inf": 1, "became": 0.0}]
        assert report.as_dict()["source"]["writer_told_by"] == "assumed"
        assert any("eps 0" in notice for notice in report.as_dict()["notices"])
        refused = pytest.raises(CheckpointError, match="hold NaN or Inf")
        with refused:
            converters.convert(tmp_path / "a.model", tmp_path / "b.npz", nonfinite="error")
        kept = converters.convert(tmp_path / "a.model", tmp_path / "b.npz", nonfinite="keep")
        assert kept.repairs[0].became is None
        assert_same_arrays(load_npz(tmp_path / "b.npz"), arrays)

    def test_options_reach_the_reader(self, tmp_path):
        path = save_npz(tmp_path / "a.model", wrapped(vgg_bn()))
        report = converters.convert(path, tmp_path / "a.npz", writer="chainer-5.4.0", architecture="vgg_bn")
        assert (report.source.writer, report.source.writer_told_by) == ("chainer-5.4.0", "the option --writer")
        with pytest.raises(CheckpointError, match="not those of alexnet"):
            converters.convert(path, tmp_path / "b.npz", architecture="alexnet")

    @pytest.mark.parametrize(
        ("suffix", "phrase"),
        [
            (
                ".safetensors",
                "safetensors holds weights only: the optimizer's state was left out; pt and chainer-npz take it",
            ),
            (".npz", "chainer-npz holds weights only: the optimizer's state was left out; --layout state takes it"),
            (".state", None),
        ],
    )
    def test_what_the_format_leaves_out_is_said(self, suffix, phrase, model):
        state = save_npz(model.with_suffix(".state"), adam_state(wrapped(alexnet())))
        target = model.with_name(f"new{suffix}")
        notices = converters.convert(model, target).notices
        assert any(phrase in notice for notice in notices) if phrase else notices == (PLAIN_ALEXNET,)
        assert converters.convert(model, target, state=False, force=True, layout="head" if phrase is None else None)
        assert state.is_file()

    def test_without_a_state_nothing_is_left_out(self, model, format):
        assert converters.convert(model, model.with_name(f"new{FORMATS[format]}")).notices == (PLAIN_ALEXNET,)

    def test_progress_names_its_steps(self, model, format):
        calls = []
        converters.convert(
            model, model.with_name(f"new{FORMATS[format]}"), progress=lambda *arguments: calls.append(arguments)
        )
        assert list(dict.fromkeys(name for name, _, _ in calls)) == ["reading", "writing", "verifying"]
        total = sum(array.nbytes for array in alexnet().values())
        for step in ("reading", "verifying"):
            assert max(done for name, done, _ in calls if name == step) == total
            assert {given for name, _, given in calls if name == step} == {total}


class TestDryRun:
    def test_nothing_is_written(self, model, tmp_path):
        before = listing(tmp_path)
        report = converters.convert(model, dry_run=True)
        assert listing(tmp_path) == before
        assert (report.output, report.output_sha256, report.verified) == (str(model.with_suffix(".pt")), None, False)
        assert report.architecture == "alexnet"

    def test_a_target_that_exists_does_not_matter(self, model):
        model.with_suffix(".pt").write_text("mine")
        assert not converters.convert(model, dry_run=True).verified
        assert model.with_suffix(".pt").read_text() == "mine"

    def test_a_bad_source_is_refused_all_the_same(self, tmp_path):
        with pytest.raises(CheckpointError, match="there is no such file"):
            converters.convert(tmp_path / "none.model", dry_run=True)


class TestRefusals:
    def test_a_file_is_replaced_only_with_force(self, model, format, refused):
        target = model.with_name(f"new{FORMATS[format]}")
        target.write_text("mine")
        refused(model, target, r"it exists already \(--force replaces it, -o names another\)")
        converters.convert(model, target, force=True)
        assert_same_arrays(converters.read(target).weights, in_torch_names(alexnet()))

    def test_write_replaces_only_with_force(self, model, tmp_path):
        checkpoint = converters.read(model)
        (tmp_path / "a.npz").write_text("mine")
        with pytest.raises(CheckpointError, match="it exists already"):
            converters.write(checkpoint, tmp_path / "a.npz")
        assert (tmp_path / "a.npz").read_text() == "mine"
        converters.write(checkpoint, tmp_path / "a.npz", force=True)
        assert_same_arrays(load_npz(tmp_path / "a.npz"), wrapped(alexnet()))

    @pytest.mark.parametrize("name", ["epoch-1.model", "link.model", "hard.model", "sub/../epoch-1.model"])
    def test_the_input_is_never_replaced(self, name, model, refused):
        model.with_name("sub").mkdir()
        model.with_name("link.model").symlink_to(model)
        os.link(model, model.with_name("hard.model"))
        refused(model, model.parent / name, "this is the input itself, which is never changed", force=True)
        refused(model, model.parent / name, "this is the input itself", force=True, dry_run=True)

    def test_the_model_and_the_state_are_both_inputs(self, model, refused):
        state = save_npz(model.with_suffix(".state"), adam_state(wrapped(alexnet())))
        refused(model, state, "this is the input itself", force=True)
        refused(state, model, "this is the input itself", force=True)

    def test_a_folder_is_no_target(self, model, refused):
        (model.parent / "folder.npz").mkdir()
        refused(model, model.parent / "folder.npz", r"this is a folder \(name a file in it\)", force=True)

    @pytest.mark.skipif(sys.platform == "darwin", reason="names are UTF-8 there")
    def test_names_that_are_not_utf_8(self, model, format):
        source = model.rename(model.with_name(os.fsdecode(b"epoch-1 \xff.model")))
        report = converters.convert(source, format=format)
        assert report.verified
        converted = converters.read(source.with_suffix(FORMATS[format]))
        assert converted.source.origin["path"] == f"{model.parent}/epoch-1 \\xff.model"
        assert_same_arrays(converted.weights, in_torch_names(alexnet()))

    def test_a_missing_folder_is_said(self, model, format, refused):
        refused(model, model.parent / "none" / f"a{FORMATS[format]}", "it cannot be written: No such file or directory")

    def test_a_file_is_no_folder(self, model, format, refused):
        refused(model, model / f"a{FORMATS[format]}", "it cannot be written: Not a directory .*nothing was left behind")

    def test_a_name_that_is_too_long_is_said(self, model, format, refused):
        for length in (256, 300):
            refused(
                model,
                model.parent / ("a" * length + FORMATS[format]),
                "it cannot be written: File name too long",
                format=format,
            )

    def test_write_says_the_same(self, model, tmp_path):
        checkpoint = converters.read(model)
        with pytest.raises(CheckpointError, match=r"none/a\.npz: it cannot be written: No such file"):
            converters.write(checkpoint, tmp_path / "none" / "a.npz")
        with pytest.raises(CheckpointError, match="this is a folder"):
            converters.write(checkpoint, tmp_path, format="chainer-npz", force=True)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_a_folder_without_the_right_to_write_is_said(self, model, refused):
        folder = model.parent / "locked"
        folder.mkdir(mode=0o500)
        refused(model, folder / "a.npz", "it cannot be written: Permission denied")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may look anywhere")
    def test_a_folder_without_the_right_to_look_is_said(self, model, refused):
        folder = model.parent / "locked"
        folder.mkdir(mode=0o000)
        try:
            with pytest.raises(CheckpointError, match="it cannot be written: Permission denied"):
                converters.convert(model, folder / "a.npz")
        finally:
            folder.chmod(0o700)

    def test_without_torch_pt_is_read_but_not_written(self, model, refused, monkeypatch):
        pytest.importorskip("torch")  # to write one to read
        converters.convert(model, model.with_name("a.pt"))
        monkeypatch.setitem(sys.modules, "torch", None)
        assert_same_arrays(converters.read(model.with_name("a.pt")).weights, in_torch_names(alexnet()))
        refused(model, model.with_name("new.pt"), "it cannot be written as .pt without PyTorch: .*torch", culprit=model)


class TestFailures:
    def test_a_full_disk_leaves_nothing(self, model, format, refused, monkeypatch):
        """The real writer, with a disk that is full after some bytes."""
        opened = builtins.open

        class Full:
            def __init__(self, file):
                self.file, self.room = file, 3000

            def write(self, data):
                self.room -= len(memoryview(data).cast("B"))
                if self.room < 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return self.file.write(data)

            def __getattr__(self, name):
                return getattr(self.file, name)

            def __enter__(self):
                return self

            def __exit__(self, *error):
                self.file.close()

        def open_full(path, mode="r", *arguments, **options):
            file = opened(path, mode, *arguments, **options)
            return Full(file) if "x" in mode or "w" in mode else file

        monkeypatch.setattr("io.open", open_full)
        monkeypatch.setattr(Path, "open", open_full)  # Python 3.10's has an io.open of its own
        refused(
            model,
            model.with_name(f"new{FORMATS[format]}"),
            r"it cannot be written: No space left on device \(nothing was left behind; see to the place, or name",
        )

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
    @pytest.mark.parametrize("step", ["reading", "writing", "verifying"])
    def test_an_interrupt_at_any_step_leaves_nothing(self, error, step, model, format, tmp_path):
        before = listing(tmp_path)

        def interrupt(name, done, total):
            if name == step:
                raise error

        with pytest.raises(error):
            converters.convert(model, format=format, progress=interrupt)
        assert listing(tmp_path) == before

    def test_an_interrupt_while_bytes_are_written_leaves_nothing(self, model, format, tmp_path, monkeypatch):
        before = listing(tmp_path)
        written = formats.FORMATS[format].write

        def write(checkpoint, path, **options):
            written(checkpoint, path, **options)
            assert path.exists()
            raise KeyboardInterrupt

        let_write(monkeypatch, format, write)
        with pytest.raises(KeyboardInterrupt):
            converters.convert(model, format=format)
        with pytest.raises(KeyboardInterrupt):
            converters.write(converters.read(model), tmp_path / f"b{FORMATS[format]}")
        assert listing(tmp_path) == before

    def test_a_signal_that_ends_nothing_lets_the_file_become_whole(self, model, format, tmp_path, monkeypatch):
        """As of a training, which notes that it shall end after this epoch."""
        heard, written = [], interrupts.Stream.write
        before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))

        def write(self, data):
            if not heard:
                signal.raise_signal(signal.SIGTERM)
            return written(self, data)

        monkeypatch.setattr(interrupts.Stream, "write", write)
        try:
            converters.write(converters.read(model), tmp_path / f"new{FORMATS[format]}")
        finally:
            signal.signal(signal.SIGTERM, before)
        assert heard == [signal.SIGTERM] * (format != "safetensors")
        assert_same_arrays(converters.read(tmp_path / f"new{FORMATS[format]}").weights, converters.read(model).weights)

    def test_the_target_appears_only_when_it_is_whole(self, model, format, monkeypatch):
        target = model.with_suffix(FORMATS[format])
        seen = []
        verified = conversion.verify

        def verify(*arguments):
            seen.append((target.exists(), [item.name for item in target.parent.iterdir() if item.name[0] == "."]))
            verified(*arguments)

        monkeypatch.setattr(conversion, "verify", verify)
        converters.convert(model, format=format)
        ((there, temporary),) = seen
        assert not there
        assert len(temporary) == 1
        assert sorted(item.name for item in target.parent.iterdir()) == sorted([model.name, target.name])

    def test_a_failure_leaves_the_old_target_alone(self, model, format, monkeypatch):
        target = model.with_suffix(FORMATS[format])
        target.write_text("mine")
        monkeypatch.setattr(conversion, "verify", _fail)
        with pytest.raises(CheckpointError, match="failed"):
            converters.convert(model, format=format, force=True)
        assert target.read_text() == "mine"

    def test_a_disk_that_cannot_be_read_is_said(self, model, monkeypatch):
        def fail(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(plan, "hash_file", fail)
        with pytest.raises(CheckpointError, match=r"epoch-1\.model: it cannot be read: Input/output error"):
            converters.read(model)


def _fail(checkpoint, path, target, *arguments):
    raise CheckpointError(target, "failed")


class TestVerification:
    """What reads back otherwise is not kept, whichever byte it is."""

    @pytest.fixture
    def corrupt(self, monkeypatch, tmp_path):
        """Lets the writer of a format write another checkpoint than the one it is given."""

        def patch(format, change):
            written = formats.FORMATS[format].write
            let_write(
                monkeypatch,
                format,
                lambda checkpoint, path, **options: written(change(checkpoint), path, **options),
            )

        return patch

    @pytest.mark.parametrize(
        ("change", "culprit"),
        [
            (lambda a: np.nextafter(a, np.float32(9), dtype=a.dtype), "fc7"),
            (lambda a: a.astype(np.float64), "fc7"),
            (lambda a: a.reshape(3, 2), "fc7"),
            (lambda a: np.append(a, a[:1]), "fc7"),
            (lambda a: a[:-1], "fc7"),
        ],
    )
    def test_one_changed_array_is_found(self, change, culprit, model, format, corrupt, refused):
        def replaced(checkpoint):
            weights = {**checkpoint.weights, "fc7.bias": change(checkpoint.weights["fc7.bias"])}
            return checkpoint.replace(weights=weights)

        corrupt(format, replaced)
        refused(
            model,
            model.with_name(f"new{FORMATS[format]}"),
            rf"what was written does not read back the same: (predictor/)?{culprit}.* \(nothing was left behind",
        )

    def test_a_missing_array_is_found(self, model, format, corrupt, refused):
        corrupt(format, lambda c: c.replace(weights={k: v for k, v in c.weights.items() if k != "conv1.bias"}))
        refused(model, model.with_name(f"new{FORMATS[format]}"), "does not read back the same: .*conv1")

    def test_a_negative_zero_is_not_a_zero(self, model, format, corrupt, refused):
        arrays = wrapped({**alexnet(), "fc7/b": np.zeros(6, np.float32)})
        save_npz(model, arrays)
        corrupt(format, lambda c: c.replace(weights={**c.weights, "fc7.bias": -c.weights["fc7.bias"]}))
        refused(model, model.with_name(f"new{FORMATS[format]}"), "does not read back the same")

    @pytest.mark.parametrize("what", ["slot", "step", "trainer"])
    def test_a_changed_training_is_found_in_pt(self, what, golden, tmp_path, corrupt):
        pytest.importorskip("torch")
        source = golden / "checkpoints" / "1.13.0" / "trainer-serial" / "snapshot_iter_2"

        def change(checkpoint):
            optimizer = checkpoint.optimizer
            if what == "trainer":
                return checkpoint.replace(trainer={**checkpoint.trainer, "updater/iteration": np.array(9)})
            if what == "step":
                return checkpoint.replace(optimizer=type(optimizer)("adam", 9, optimizer.slots))
            slots = {**optimizer.slots, "m": {**optimizer.slots["m"], "fc8.bias": np.zeros(32, np.float32)}}
            return checkpoint.replace(optimizer=type(optimizer)("adam", optimizer.step, slots))

        corrupt("pt", change)
        culprit = {"slot": "optimizer.m.fc8.bias", "step": "optimizer", "trainer": "updater/iteration"}[what]
        with pytest.raises(CheckpointError, match=rf"new\.pt: what was written does not read back the same: {culprit}"):
            converters.convert(source, tmp_path / "new.pt")
        assert list(tmp_path.iterdir()) == []

    def test_a_changed_state_is_found_in_npz(self, model, corrupt, refused):
        save_npz(model.with_suffix(".state"), adam_state(wrapped(alexnet())))

        def change(checkpoint):
            optimizer = checkpoint.optimizer
            return checkpoint.replace(optimizer=type(optimizer)("adam", 9, optimizer.slots))

        corrupt("chainer-npz", change)
        refused(model, model.with_name("new.npz"), "does not read back the same: t", layout="state")

    @pytest.mark.parametrize("position", [0.3, 0.6, 0.9])
    def test_a_byte_that_the_disk_flipped_is_found(self, position, model, format, monkeypatch, refused):
        written = formats.FORMATS[format].write

        def write(checkpoint, path, **options):
            written(checkpoint, path, **options)
            content = bytearray(path.read_bytes())
            content[int(len(content) * position)] ^= 0x10
            path.write_bytes(content)

        let_write(monkeypatch, format, write)
        try:
            refused(model, model.with_name(f"new{FORMATS[format]}"), "what was written (does not|cannot be) read")
        except pytest.fail.Exception:
            # Then the byte was none of an array's, as a date in a zip's directory.
            assert_same_arrays(
                converters.read(model.with_name(f"new{FORMATS[format]}")).weights, in_torch_names(alexnet())
            )

    def test_a_file_that_was_torn_off_is_found(self, model, format, monkeypatch, refused):
        written = formats.FORMATS[format].write

        def write(checkpoint, path, **options):
            written(checkpoint, path, **options)
            path.write_bytes(path.read_bytes()[:-40])

        let_write(monkeypatch, format, write)
        refused(model, model.with_name(f"new{FORMATS[format]}"), "what was written cannot be read again: .*sound")


class TestFolders:
    def test_a_folders_checkpoints_are_found_by_content(self, golden, tmp_path):
        for suffix in ("model", "state"):
            shutil.copy(golden / "checkpoints" / "1.13.0" / "alexnet-adam" / f"epoch-1.{suffix}", tmp_path)
        shutil.copy(golden / "checkpoints" / "1.13.0" / "trainer-serial" / "snapshot_iter_2", tmp_path)
        shutil.copy(golden / "checkpoints" / "1.13.0" / "alexnet-adam" / "epoch-1.state", tmp_path / "lonely.state")
        (tmp_path / "log.txt").write_text("INFO:root:chainer version: 1.13.0\n")
        (tmp_path / "empty").write_bytes(b"")
        (tmp_path / "folder").mkdir()
        (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
        found = converters.checkpoints_in(tmp_path)
        assert [file.name for file in found] == ["epoch-1.model", "lonely.state", "snapshot_iter_2"]

    def test_what_is_of_the_format_already_is_left_out(self, model):
        converters.convert(model, format="safetensors")
        assert converters.checkpoints_in(model.parent, "safetensors") == [model]
        assert converters.checkpoints_in(model.parent, "pt") == [model, model.with_suffix(".safetensors")]

    def test_a_file_is_taken_as_it_is(self, tmp_path):
        assert converters.checkpoints_in(tmp_path / "none") == [tmp_path / "none"]


def test_a_written_npz_is_deflated_and_in_chainers_order_of_bytes(model):
    converters.convert(model, model.with_name("a.npz"))
    with zipfile.ZipFile(model.with_name("a.npz")) as archive:
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_DEFLATED}
        assert archive.testzip() is None
