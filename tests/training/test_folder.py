import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import converters
from converters import Optimizer, Preprocessing, Progress
from converters.checkpoint import is_parameter
from converters.legacy_log import read_beside
from deeppose_port.data.augmentation import Augmentation
from deeppose_port.training.folder import ResultFolder
from deeppose_port.training.hyperparameters import HyperparameterOptions
from deeppose_port.training.logs import read_log
from deeppose_port.training.options import TrainingOptions
from deeppose_port.training.start import Start
from tests.helpers.networks import random_checkpoint
from tests.helpers.trainings import KilledError


def options_for(output=None, **given):
    return TrainingOptions(Path("train.csv"), Path("images"), "flic", output=output, **given)


def start_of(epoch=0, iteration=0, resumed=None, hyper=HyperparameterOptions(), checkpoint=None):  # noqa: B008
    algorithm = hyper.algorithm or "adam"
    return Start(checkpoint or random_checkpoint(), hyper.complete(algorithm), epoch, iteration, {}, resumed)


def trained(epoch=2, iteration=7, **given):
    """A checkpoint in the middle of a training."""
    checkpoint = random_checkpoint(writer="chainer-7.8.1", **given)
    parameters = {name: array for name, array in checkpoint.weights.items() if is_parameter(name)}
    slots = {slot: {name: array * 0 + i for name, array in parameters.items()} for i, slot in enumerate(("m", "v"))}
    return checkpoint.replace(
        optimizer=Optimizer("adam", iteration, slots, epoch, step_per_parameter=True),
        progress=Progress(epoch, iteration),
        trainer={"updater/iteration": np.array(iteration), "updater/iterator:main/epoch": np.array(epoch)},
    )


def chainers(path):
    """A folder with the files of Chainer."""
    return ResultFolder(path, "chainer-npz")


def touch(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(name)
    return folder


def names_in(folder):
    return sorted(file.name for file in folder.iterdir())


class TestOpen:
    def test_a_folder_is_made(self, tmp_path):
        folder = ResultFolder.open(options_for(tmp_path / "a" / "b"), start_of())
        folder.close()
        assert folder.path == tmp_path / "a" / "b"
        assert folder.path.is_dir()

    @pytest.mark.parametrize("written", [False, True])
    def test_one_that_was_made_for_a_run_that_fails_goes_again_while_it_is_empty(self, written, tmp_path):
        folder = ResultFolder.open(options_for(tmp_path / "a" / "b"), start_of())
        if written:
            touch(folder.path, "log.txt")
        with pytest.raises(OSError, match="full"), folder:
            raise OSError("full")
        assert (tmp_path / "a" / "b").exists() is written
        assert (tmp_path / "a").exists() is written

    def test_without_a_name_it_is_named_after_the_architecture_and_the_time(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        folder = ResultFolder.open(options_for(), start_of())
        folder.close()
        assert re.fullmatch(r"alexnet_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", folder.path.name)
        assert (tmp_path / "results" / folder.path.name).is_dir()

    def test_a_folder_of_other_things_is_taken(self, tmp_path):
        touch(tmp_path, "notes.txt", "log.txt", "model.pth")
        ResultFolder.open(options_for(tmp_path), start_of()).close()
        assert names_in(tmp_path) == ["log.txt", "model.pth", "notes.txt"]

    @pytest.mark.parametrize("name", ["epoch-3.model", "snapshot_iter_9", "epoch-3.pt", "snapshot_iter_9.pt"])
    def test_another_runs_folder_is_refused(self, name, tmp_path):
        touch(tmp_path / "other", name)
        for resumed in (None, tmp_path / "snapshot_iter_99"):
            with pytest.raises(ValueError, match=r"other: this folder holds another run \(resume from it, or name"):
                ResultFolder.open(options_for(tmp_path / "other"), start_of(9, 99, resumed)).close()

    def test_a_log_without_checkpoints_says_what_to_do(self, tmp_path):
        """A run was killed before its first checkpoint."""
        touch(tmp_path, "log")
        with pytest.raises(ValueError, match=r"another run \(delete its log, it has no checkpoint to resume from, or"):
            ResultFolder.open(options_for(tmp_path), start_of()).close()

    def test_going_on_where_the_run_stopped_is_allowed(self, tmp_path):
        touch(tmp_path, "epoch-1.model", "epoch-1.state", "epoch-2.model", "epoch-2.state", "snapshot_iter_7", "log")
        for name in ("epoch-2.model", "snapshot_iter_7"):
            ResultFolder.open(options_for(tmp_path), start_of(2, 7, tmp_path / name)).close()

    def test_going_on_by_another_spelling_of_the_folder(self, tmp_path):
        touch(tmp_path / "run", "snapshot_iter_7")
        os.symlink(tmp_path / "run", tmp_path / "link")
        ResultFolder.open(options_for(tmp_path / "link"), start_of(2, 7, tmp_path / "run" / "snapshot_iter_7")).close()

    @pytest.mark.parametrize(
        "later", [("epoch-3.model", "epoch-3.state"), ("snapshot_iter_8",), ("snapshot_iter_10",), ("epoch-10.pt",)]
    )
    def test_later_checkpoints_are_refused_and_named(self, later, tmp_path):
        touch(tmp_path, "epoch-2.model", "snapshot_iter_7", *later)
        with pytest.raises(ValueError, match="would overwrite later checkpoints") as refused:
            ResultFolder.open(options_for(tmp_path), start_of(2, 7, tmp_path / "snapshot_iter_7")).close()
        assert str(refused.value).split("; there is ")[1].rstrip(")") == ", ".join(later)
        assert names_in(tmp_path) == sorted(["epoch-2.model", "snapshot_iter_7", *later])

    def test_a_state_without_its_model_is_half_a_checkpoint(self, tmp_path):
        """A run was killed between the two."""
        touch(tmp_path, "epoch-2.model", "epoch-2.state", "epoch-3.state", "snapshot_iter_7")
        ResultFolder.open(options_for(tmp_path), start_of(2, 7, tmp_path / "snapshot_iter_7")).close()
        touch(tmp_path / "new", "epoch-1.state")
        ResultFolder.open(options_for(tmp_path / "new"), start_of()).close()

    @pytest.mark.parametrize("resumed", [True, False])
    def test_what_a_killed_run_was_writing_is_swept_away(self, resumed, tmp_path):
        remnants = [".epoch-3.model.0123abcd.tmp", ".snapshot_iter_9.89abcdef.tmp", ".log.00000000.tmp"]
        others = [".notes.tmp", "epoch-3.0123abcd.tmp", ".a.0123abcg.tmp"]
        touch(tmp_path, *remnants, *others, *["snapshot_iter_7"] * resumed)
        ResultFolder.open(
            options_for(tmp_path), start_of(2, 7, tmp_path / "snapshot_iter_7" if resumed else None)
        ).close()
        assert names_in(tmp_path) == sorted([*others, *["snapshot_iter_7"] * resumed])


class TestSave:
    def test_at_an_epochs_end_state_model_and_snapshot_are_written_in_this_order(self, tmp_path, monkeypatch):
        written = []
        write = converters.write
        monkeypatch.setattr(converters, "write", lambda *args, **kw: written.append(args[1]) or write(*args, **kw))
        files = chainers(tmp_path).save(trained(), epoch_ended=True)
        assert [file.name for file in files] == ["epoch-2.state", "epoch-2.model", "snapshot_iter_7"]
        assert written == files
        assert names_in(tmp_path) == sorted(file.name for file in files)

    def test_within_an_epoch_a_snapshot_is_written(self, tmp_path):
        files = chainers(tmp_path).save(trained(), epoch_ended=False)
        assert files == [tmp_path / "snapshot_iter_7"]
        assert names_in(tmp_path) == ["snapshot_iter_7"]

    @pytest.mark.parametrize("name", ["epoch-2.model", "epoch-2.state", "snapshot_iter_7"])
    def test_each_holds_all_of_it(self, name, tmp_path):
        checkpoint = trained()
        chainers(tmp_path).save(checkpoint, epoch_ended=True)
        read = converters.read(tmp_path / name)
        expected = dict(checkpoint.tensors())
        assert {key: array.tobytes() for key, array in read.tensors()} == {k: a.tobytes() for k, a in expected.items()}
        assert (read.progress, read.optimizer.step, read.source.writer) == (Progress(2, 7), 7, "chainer-7.8.1")

    def test_a_failure_leaves_what_was_there(self, tmp_path, monkeypatch):
        folder = chainers(tmp_path)
        folder.save(trained(), epoch_ended=True)
        before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

        def full(*args, **kwargs):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(np.lib.format, "write_array", full)
        with pytest.raises((OSError, ValueError), match="No space left"):
            folder.save(trained(), epoch_ended=True)
        assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


class TestBest:
    """Of Chainer's files."""

    def test_one_that_is_due_has_two_names(self, tmp_path):
        files = chainers(tmp_path).save(trained(), epoch_ended=True, best=True)
        names = ["epoch-2.state", "epoch-2.model", "snapshot_iter_7", "best.state", "best.model"]
        assert [file.name for file in files] == names
        assert (tmp_path / "best.model").read_bytes() == (tmp_path / "epoch-2.model").read_bytes()

    @pytest.mark.parametrize("files", ["pt", "chainer-npz"])
    def test_a_run_that_is_killed_meanwhile_goes_on_from_before_it(self, files, tmp_path, monkeypatch):
        """After it the log would say that it was the best, and no file would hold it."""

        def kill(source, target):
            raise KilledError

        monkeypatch.setattr("deeppose_port.training.folder.same_file", kill)
        with pytest.raises(KilledError):
            ResultFolder(tmp_path, files).save(trained(), epoch_ended=True, best=True)
        assert names_in(tmp_path) == {"pt": ["best.pt"], "chainer-npz": ["best.model", "best.state"]}[files]

    def test_one_that_is_not_due_is_kept_under_that_name_alone(self, tmp_path):
        chainers(tmp_path).save(trained(), epoch_ended=True, due=False, best=True)
        assert names_in(tmp_path) == ["best.model", "best.state"]
        read = converters.read(tmp_path / "best.model")
        assert (read.progress, read.optimizer.step) == (Progress(2, 7), 7)


class TestKeep:
    @pytest.mark.parametrize("keep", [1, 2])
    def test_chainers_last_epochs_and_snapshots_are_kept(self, keep, tmp_path):
        """By their numbers: 9 is before 10."""
        for epoch in (8, 9, 10):
            chainers(tmp_path).save(trained(epoch, 3 * epoch), epoch_ended=True, best=epoch == 8, keep=keep)
        kept = (10, 9)[:keep]
        epochs = [f"epoch-{epoch}.{kind}" for epoch in kept for kind in ("model", "state")]
        snapshots = [f"snapshot_iter_{3 * epoch}" for epoch in kept]
        assert names_in(tmp_path) == sorted([*epochs, *snapshots, "best.model", "best.state"])
        assert converters.read(tmp_path / "best.model").progress.epoch == 8

    def test_of_pytorchs_files_the_epochs(self, tmp_path):
        for epoch in (9, 10):
            ResultFolder(tmp_path).save(trained(epoch, epoch), epoch_ended=True, keep=1)
        assert names_in(tmp_path) == ["epoch-10.pt", "last.pt"]


HYPER = {
    "Adam": {"adam_alpha": 0.002, "adam_beta1": 0.8, "adam_beta2": 0.99, "adam_eps": 1e-7},
    "MomentumSGD": {"lr": 0.03, "momentum": 0.7, "weight_decay": 0.25, "lr_decay_freq": 3, "lr_decay_ratio": 0.5},
    "AdaGrad": {"lr": 0.03, "weight_decay": 0.25},
    "RMSprop": {"lr": 0.03, "lr_decay_freq": 4, "weight_decay": 0.5},
}


class TestHeader:
    @pytest.mark.parametrize("name", HYPER)
    def test_a_resumed_run_finds_the_same_hyperparameters(self, name, tmp_path):
        start = start_of(hyper=HyperparameterOptions(opt=name, **HYPER[name]))
        chainers(tmp_path).begin(options_for(tmp_path), start, "chainer version: 7.8.1", [])
        log = read_beside(tmp_path / "snapshot_iter_1")
        assert log.version == "7.8.1"
        logged = HyperparameterOptions.from_log(log.options)
        assert logged.complete(logged.algorithm) == start.hyperparameters

    def test_weight_decay_that_was_asked_for_with_adam_is_found_again(self, tmp_path):
        start = start_of(hyper=HyperparameterOptions(opt="Adam", weight_decay=0.25, lr_decay_freq=3))
        chainers(tmp_path).begin(options_for(tmp_path), start, "chainer version: 7.8.1", [])
        logged = HyperparameterOptions.from_log(read_beside(tmp_path / "log.txt").options)
        assert logged.complete("adam") == start.hyperparameters

    def test_files_without_metadata_are_read_with_its_preprocessing_and_version(self, tmp_path):
        preprocessing = Preprocessing(im_size=200, base_zoom=1.25, coord_normalize=False, gcn="none")
        folder = chainers(tmp_path)
        checkpoint = trained(preprocessing=preprocessing)
        folder.begin(options_for(tmp_path), start_of(checkpoint=checkpoint), "chainer version: 7.8.1", [])
        (model, *_) = (file for file in folder.save(checkpoint, epoch_ended=True) if file.suffix == ".model")
        with np.load(model) as arrays, (tmp_path / "bare").open("wb") as stream:
            np.savez(stream, **arrays)
        read = converters.read(tmp_path / "bare")
        assert read.preprocessing == preprocessing
        assert (read.source.writer, read.source.writer_told_by) == ("chainer-7.8.1", "log.txt beside the file")

    def test_options_of_all_kinds_come_back(self, tmp_path):
        odd = Path("a 'b' (c), d=1\n\"é\".csv")
        given = {"test_csv": odd, "width": "8,12", "augmentation": Augmentation(fliplr=True, zoom_range=0.5)}
        chainers(tmp_path).begin(options_for(tmp_path, **given), start_of(), "chainer version: 7.8.1", [])
        assert len((tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()) == 2
        options = read_beside(tmp_path / "log.txt").options
        assert options["test_csv"] == str(odd)
        assert (options["width"], options["resume"], options["threads"]) == ("8,12", None, None)
        assert (options["fliplr"], options["rotate"], options["zoom_range"], options["augment"]) == (
            *(True, False, 0.5, "fast"),
        )
        assert options["n_joints"] == 7

    def test_the_last_of_several_runs_counts(self, tmp_path):
        folder = chainers(tmp_path)
        for rate in (0.1, 0.2):
            start = start_of(hyper=HyperparameterOptions(opt="RMSprop", lr=rate))
            folder.begin(options_for(tmp_path), start, "chainer version: 7.8.1", [])
        assert read_beside(tmp_path / "log.txt").options["lr"] == 0.2


ENTRIES = [
    {"main/loss": 0.5, "epoch": 0, "iteration": 1, "elapsed_time": 1.5},
    {"main/loss": 0.25, "validation/main/loss": 0.75, "epoch": 1, "iteration": 2},
]


class TestLog:
    def test_losses_are_spelled_as_the_legacy_program_did(self, tmp_path):
        for count in (1, 2):
            chainers(tmp_path).log(ENTRIES[:count])
        assert (tmp_path / "log.txt").read_text() == (
            "INFO:root:epoch:0, main/loss:0.5, \nINFO:root:epoch:1, main/loss:0.25, validation/main/loss:0.75, \n"
        )

    def test_chainers_list_and_lines_of_json_are_read(self, tmp_path):
        chainers(tmp_path).log(ENTRIES)
        assert json.loads((tmp_path / "log").read_text()) == ENTRIES == read_log(tmp_path / "log")
        folder = ResultFolder(tmp_path, "pt")
        folder.begin(options_for(tmp_path), start_of(), "torch version: 2.13.0", ENTRIES[:1])
        folder.log(ENTRIES)
        assert read_log(tmp_path / "log") == ENTRIES
        assert [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()] == ENTRIES
        assert names_in(tmp_path) == ["log", "log.txt"]

    def test_it_is_strict_json_and_log_txt_says_nan(self, tmp_path):
        entry = {"main/loss": None, "epoch": 1, "iteration": 2}
        for files in ("pt", "chainer-npz"):
            folder = ResultFolder(tmp_path / files, files)
            folder.path.mkdir()
            folder.log([entry])
            assert read_log(folder.path / "log") == [entry]
            assert (folder.path / "log.txt").read_text() == "INFO:root:epoch:1, main/loss:nan, \n"
            with pytest.raises(ValueError, match="JSON"):
                folder.log([{**entry, "main/loss": float("inf")}])

    def test_what_is_later_than_the_resumed_checkpoint_is_left_out(self, tmp_path):
        folder = chainers(tmp_path)
        assert folder.earlier_log(start_of(1, 5)) == []
        folder.log(ENTRIES)
        assert folder.earlier_log(start_of(1, 1)) == ENTRIES[:1]
        assert folder.earlier_log(start_of(1, 2)) == ENTRIES

    def test_what_is_no_json_in_it_is_null_when_a_run_goes_on(self, tmp_path):
        folder = chainers(tmp_path)
        (tmp_path / "log").write_text('[{"iteration": 1, "main/loss": NaN, "lr": 1e999, "a": [NaN], "b": "c"}]')
        (entry,) = folder.earlier_log(start_of(1, 1))
        assert entry == {"iteration": 1, "main/loss": None, "lr": None, "a": None, "b": None}
        folder.log([entry, {"epoch": 1, "main/loss": 0.5}])
        assert json.loads((tmp_path / "log").read_text(), parse_constant=pytest.fail)[0] == entry


def test_a_copy_of_a_folder_can_be_gone_on_with(tmp_path):
    """Nothing in it knows where it lay."""
    with ResultFolder.open(options_for(tmp_path / "a"), start_of(), "chainer-npz") as folder:
        folder.save(trained(), epoch_ended=True)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    start = replace(start_of(2, 7), resumed=tmp_path / "b" / "snapshot_iter_7")
    with ResultFolder.open(options_for(tmp_path / "b"), start) as folder:
        assert folder.path == tmp_path / "b"
