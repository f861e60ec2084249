import shutil

import numpy as np
import pytest
from packaging.version import Version

import converters
from converters.evidence import range_of
from converters.families import Writers
from converters.layouts import split
from tests.helpers.checkpoint_files import (
    GOLDEN_SNAPSHOTS,
    GOLDEN_STATES,
    PLAIN_ALEXNET,
    adam_state,
    alexnet,
    golden_file,
    load_npz,
    refused,
    save_npz,
    vgg_bn,
    wrapped,
)

MODEL, OPTIMIZER = "updater/model:main/", "updater/optimizer:main/"


def log(folder, version):
    (folder / "log.txt").write_text(f"INFO:root:chainer version: {version}\n")


def told(path, **options):
    source = converters.read(path, **options).source
    return source.writer, source.writer_told_by


class TestKeys:
    @pytest.mark.parametrize("name", [*GOLDEN_STATES, *GOLDEN_SNAPSHOTS])
    def test_the_range_holds_the_version_that_wrote_the_file(self, name, request):
        known = range_of(split(load_npz(golden_file(name, request))))
        assert known.holds(Version(name.split("/")[0]))

    @pytest.mark.parametrize(
        ("name", "since", "until"),
        [
            ("1.13.0/alexnet-adam/epoch-1.state", "1.0.0", "3.4.0"),
            ("7.8.1/alexnet-adam/epoch-1.state", "3.4.0", None),
            ("1.13.0/trainer-serial/snapshot_iter_2", "1.0.0", "1.18.0"),
            ("1.13.0/trainer-multiprocess/snapshot_iter_2", "1.0.0", "1.18.0"),
            ("1.24.0/trainer-multiprocess/snapshot_iter_2", "1.23.0", "3.0.0"),
            ("5.4.0/trainer-serial/snapshot_iter_2", "4.0.0", "6.0.0"),
            ("7.8.1/trainer-multiprocess/snapshot_iter_2", "6.0.0", None),
        ],
    )
    def test_each_generation_is_told_as_narrowly_as_its_keys_allow(self, name, since, until, request):
        known = range_of(split(load_npz(golden_file(name, request))))
        assert (known.since, known.until) == (Version(since), until and Version(until))

    def test_a_model_alone_tells_nothing(self):
        known = range_of(split(wrapped(vgg_bn())))
        assert (known, known.told_by) == (Writers(), "")
        assert known.holds(Version("1.0.0"))
        assert known.holds(Version("7.8.1"))

    def test_what_a_file_has_no_reason_to_hold_tells_nothing_by_its_absence(self):
        assert range_of(split(["t", "epoch"])) == Writers()  # before the first update
        without_log = range_of(split([MODEL + "conv1/W", "updater/iteration", "_snapshot_elapsed_time"]))
        assert (without_log.since, without_log.until) == (Version("1.18.0"), Version("3.0.0"))
        assert range_of(split([MODEL + "conv1/W"])) == Writers()

    def test_what_a_later_version_stopped_to_write_does_not_widen_the_range(self):
        keys = [
            MODEL + "conv1/W",
            "_snapshot_elapsed_time",
            "updater/iteration",
            "stop_trigger/previous_iteration",
            "extensions/LogReport/_log",
            "extensions/LogReport/_summary/_names",
            "extension_triggers/snapshot/previous_iteration",
        ]
        known = range_of(split(keys))
        assert (known.since, known.until) == (Version("3.3.0"), Version("4.0.0"))

    @pytest.mark.parametrize(
        ("name", "writer", "phrase"),
        [
            ("1.13.0/trainer-serial/snapshot_iter_2", "1.13.0", "the keys, as a Chainer before 1.18.0 writes them"),
            (
                "1.24.0/trainer-multiprocess/snapshot_iter_2",
                "2.1.0",
                "the key 'updater/iterator:main/previous_epoch_detail', "
                "a mark of a Chainer from 1.23.0 to before 3.0.0",
            ),
            (
                "7.8.1/trainer-multiprocess/snapshot_iter_2",
                "7.8.1",
                "the key 'extension_triggers/_Snapshot/previous_iteration', a mark of Chainer 6.0.0 or later",
            ),
        ],
    )
    def test_the_phrase_says_which_key_told(self, name, writer, phrase, golden):
        assert told(golden / "checkpoints" / name) == (f"chainer-{writer}", phrase)

    def test_what_a_state_beside_the_model_tells_counts_even_if_it_is_left_out(self, golden):
        path = golden / "checkpoints" / "7.8.1" / "alexnet-adam" / "epoch-1.model"
        assert told(path, state=False) == told(path)
        assert told(path)[0] == "chainer-7.8.1"

    @pytest.mark.parametrize(
        ("version", "keys"),
        [
            ("1.17.0", ()),
            ("1.22.0", ("_snapshot_elapsed_time",)),
            ("2.1.0", ("_snapshot_elapsed_time", "updater/iterator:main/previous_epoch_detail")),
            (
                "3.2.0",
                (
                    "_snapshot_elapsed_time",
                    "updater/iterator:main/previous_epoch_detail",
                    "stop_trigger/previous_iteration",
                ),
            ),
            (
                "3.3.0",
                (
                    "_snapshot_elapsed_time",
                    "updater/iterator:main/previous_epoch_detail",
                    "stop_trigger/previous_iteration",
                    "extensions/LogReport/_summary/_names",
                ),
            ),
        ],
    )
    def test_snapshots_between_the_golden_ones_are_told_by_what_their_versions_added(self, version, keys, tmp_path):
        arrays = {
            **wrapped(alexnet(), MODEL + "predictor/"),
            **wrapped(adam_state(wrapped(alexnet())), OPTIMIZER),
            **dict.fromkeys(
                ("updater/iteration", "updater/iterator:main/epoch", "extensions/LogReport/_log", *keys), np.array(1)
            ),
        }
        path = save_npz(tmp_path / "snapshot_iter_1", arrays)
        writer, told_by = told(path)
        assert range_of(split(arrays)).holds(Version(version))
        assert writer == f"chainer-{'1.13.0' if version == '1.17.0' else version}"
        assert told_by.startswith("the key")

    def test_keys_that_no_version_writes_together_ask_for_the_option(self, tmp_path):
        arrays = {
            **wrapped(alexnet(), MODEL),
            **wrapped(adam_state(alexnet(), per_parameter=True), OPTIMIZER),
            "updater/iteration": np.array(1),
        }
        path = save_npz(tmp_path / "snapshot_iter_1", arrays)
        refused(
            path, r"its keys contradict each other: .*conv1/W/t.* \(say which it was with --writer chainer-X\.Y\.Z\)"
        )
        assert told(path, writer="chainer-7.8.1") == ("chainer-7.8.1", "the option --writer")


class TestLog:
    @pytest.mark.parametrize("version", ["1.13.0", "1.24.0", "2.1.0"])
    def test_a_log_that_agrees_decides(self, version, golden, tmp_path):
        for suffix in ("model", "state"):
            shutil.copy(golden / "checkpoints" / "1.13.0" / "alexnet-adam" / f"epoch-1.{suffix}", tmp_path)
        log(tmp_path, version)
        assert told(tmp_path / "epoch-1.model") == (f"chainer-{version}", "log.txt beside the file")

    def test_a_log_that_contradicts_the_keys_is_refused_until_the_option_settles_it(self, golden, tmp_path):
        for suffix in ("model", "state"):
            shutil.copy(golden / "checkpoints" / "7.8.1" / "alexnet-adam" / f"epoch-1.{suffix}", tmp_path)
        log(tmp_path, "1.13.0")
        path = tmp_path / "epoch-1.model"
        refused(
            path,
            r"log\.txt says Chainer 1\.13\.0, but the key 'predictor/.*/t' is a mark of Chainer 3\.4\.0 or later "
            r"\(say which it was with --writer chainer-X\.Y\.Z\)",
        )
        assert told(path, writer="chainer-5.4.0") == ("chainer-5.4.0", "the option --writer")

    def test_a_log_that_is_too_new_for_the_keys_is_refused(self, golden, tmp_path):
        shutil.copy(golden / "checkpoints" / "1.13.0" / "trainer-serial" / "snapshot_iter_2", tmp_path)
        log(tmp_path, "7.8.1")
        refused(
            tmp_path / "snapshot_iter_2",
            r"log\.txt says Chainer 7\.8\.1, but the lack of a key '.*' is a mark of a Chainer before 1\.18\.0",
        )

    @pytest.mark.parametrize("version", ["9.0.0", "0.5", "1.13.0.x.y"])
    def test_a_version_that_chainer_never_had_is_refused(self, version, tmp_path):
        log(tmp_path, version)
        refused(save_npz(tmp_path / "a.model", alexnet()), rf"'chainer-{version}' is no writer.*--writer chainer-X")

    def test_a_log_does_not_speak_of_pytorchs_files(self, tmp_path):
        from safetensors.numpy import save_file

        save_file(
            {key.replace("/W", ".weight").replace("/b", ".bias"): a for key, a in alexnet().items()},
            tmp_path / "a.safetensors",
        )
        log(tmp_path, "7.8.1")
        assert told(tmp_path / "a.safetensors")[0] == "chainer-1.13.0"


class TestBatchNormalization:
    @pytest.mark.parametrize(
        ("writer", "eps", "test_eps", "initial"),
        [
            ("chainer-1.0.0", 1e-5, 0, 0),
            ("chainer-1.13.0", 1e-5, 0, 0),
            ("chainer-1.14.0", 2e-5, 0, 0),
            ("chainer-1.20.0", 2e-5, 0, 0),
            ("chainer-1.21.0", 2e-5, 2e-5, 0),
            ("chainer-3.5.0", 2e-5, 2e-5, 0),
            ("chainer-4.0.0", 2e-5, 2e-5, 0),
            ("chainer-5.0.0", 2e-5, 2e-5, 1),
            ("chainer-7.8.1", 2e-5, 2e-5, 1),
        ],
    )
    def test_arithmetic_follows_the_writer(self, writer, eps, test_eps, initial, tmp_path):
        path = save_npz(tmp_path / "a.model", wrapped(vgg_bn()))
        checkpoint = converters.read(path, writer=writer)
        rules = checkpoint.architecture.batch_normalization
        assert (rules.eps, rules.test_eps, rules.initial_variance) == (eps, test_eps, initial)
        assert rules.eps_in_running_variance == (Version(writer.split("-")[1]) < Version("4"))
        assert checkpoint.architecture.writer == checkpoint.source.writer == writer
        assert checkpoint.notices == ()

    def test_an_assumption_is_said_with_its_eps_and_the_option(self, tmp_path):
        checkpoint = converters.read(save_npz(tmp_path / "a.model", wrapped(vgg_bn())))
        assert (checkpoint.source.writer, checkpoint.source.writer_told_by) == ("chainer-1.13.0", "assumed")
        assert checkpoint.notices == (
            "nothing says which Chainer wrote it: taken as chainer-1.13.0 "
            "(BatchNormalization at test time with eps 0); override with --writer chainer-X.Y.Z",
        )

    def test_a_state_of_before_3_4_leaves_the_choice_open(self, tmp_path):
        path = save_npz(tmp_path / "a.model", wrapped(vgg_bn()))
        save_npz(tmp_path / "a.state", adam_state(wrapped(vgg_bn())))
        assert any("nothing says which Chainer wrote it" in notice for notice in converters.read(path).notices)

    def test_a_state_of_3_4_or_later_leaves_no_choice(self, tmp_path):
        path = save_npz(tmp_path / "a.model", wrapped(vgg_bn()))
        save_npz(tmp_path / "a.state", adam_state(wrapped(vgg_bn()), per_parameter=True))
        checkpoint = converters.read(path)
        assert checkpoint.notices == ()
        assert checkpoint.architecture.batch_normalization.test_eps == 2e-5

    def test_a_network_without_it_needs_no_such_notice(self, tmp_path):
        checkpoint = converters.read(save_npz(tmp_path / "a.model", wrapped(alexnet())))
        assert (checkpoint.source.writer_told_by, checkpoint.notices) == ("assumed", (PLAIN_ALEXNET,))
