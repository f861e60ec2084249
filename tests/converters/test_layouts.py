import re

import numpy as np
import pytest

import converters
from converters import CheckpointError
from converters.layouts import arrays_of, is_state, split
from tests.helpers.checkpoint_files import (
    GOLDEN_SNAPSHOTS,
    GOLDEN_STATES,
    adam_state,
    alexnet,
    assert_same_arrays,
    golden_file,
    in_torch_names,
    load_npz,
    refused,
    save_npz,
    vgg_bn,
    wrapped,
)

MODEL, OPTIMIZER = "updater/model:main/", "updater/optimizer:main/"


def snapshot(arrays=None, **changes):
    """The arrays of a trainer's snapshot as Chainer 1.13 writes it."""
    arrays = wrapped(alexnet()) if arrays is None else arrays
    return {
        **wrapped(arrays, MODEL),
        **wrapped(adam_state(arrays), OPTIMIZER),
        "updater/iteration": np.array(30),
        "updater/iterator:main/epoch": np.array(4),
        "extensions/LogReport/_log": np.array('[{"main/loss": 0.5}]'),
        **changes,
    }


class TestSplit:
    def test_a_model_is_neither_state_nor_snapshot(self):
        assert split(wrapped(alexnet())).layout == "model"
        assert split(alexnet()).model.keys() == alexnet().keys()
        assert split([]).layout == "model"

    def test_a_state_counts_updates(self):
        assert split(adam_state(alexnet())).layout == "state"
        assert split(["t", "epoch"]).layout == "state"
        assert split(["epoch"]).layout == "model"
        assert split(["t", "conv1/W"]).layout == "model"
        assert is_state(["t", "epoch", "conv1/W/m", "conv1/W/t"])

    def test_a_snapshot_has_three_sections(self):
        sections = split(snapshot())
        assert sections.layout == "snapshot"
        assert sections.model.keys() == wrapped(wrapped(alexnet()), MODEL).keys()
        assert set(sections.optimizer.values()) == adam_state(wrapped(alexnet())).keys()
        assert set(sections.trainer) == {
            "updater/iteration",
            "updater/iterator:main/epoch",
            "extensions/LogReport/_log",
        }

    def test_a_leading_slash_changes_nothing(self, tmp_path):
        plain = converters.read(save_npz(tmp_path / "a", snapshot()))
        slashed = converters.read(save_npz(tmp_path / "b", wrapped(snapshot(), "/")))
        assert_same_arrays(slashed.weights, plain.weights)
        assert_same_arrays(slashed.trainer, plain.trainer)
        assert slashed.optimizer.step == plain.optimizer.step
        assert slashed.source.wrappers == ("/", MODEL, "predictor/")
        save_npz(tmp_path / "c.model", wrapped(alexnet(), "/"))
        save_npz(tmp_path / "c.state", wrapped(adam_state(alexnet()), "/"))
        assert converters.read(tmp_path / "c.model").optimizer.algorithm == "adam"


def assert_read_without_state(model, phrase):
    """Reads a model whose state is of no use: the weights arrive, and it is said why nothing else does."""
    checkpoint = converters.read(model)
    assert_same_arrays(checkpoint.weights, in_torch_names(alexnet()))
    assert checkpoint.optimizer is None
    assert checkpoint.source.state_path is None
    (notice,) = [notice for notice in checkpoint.notices if "the weights are read without it" in notice]
    assert re.fullmatch(rf"{model.with_suffix('.state')}: .*{phrase}.*; the weights are read without it", notice)
    assert not any("without it" in notice for notice in converters.read(model, state=False).notices)


class TestOptimizer:
    @pytest.mark.parametrize(
        ("slots", "algorithm"), [("mv", "adam"), ("v", "momentumsgd"), ("h", "adagrad"), (["ms"], "rmsprop")]
    )
    def test_slots_tell_the_algorithm(self, slots, algorithm, tmp_path):
        save_npz(tmp_path / "a.model", alexnet())
        state = {f"{key}/{slot}": array for key, array in alexnet().items() for slot in slots}
        save_npz(tmp_path / "a.state", {"t": np.array(5), "epoch": np.array(2), **state})
        optimizer = converters.read(tmp_path / "a.model").optimizer
        assert (optimizer.algorithm, optimizer.step, optimizer.epoch) == (algorithm, 5, 2)
        assert optimizer.slots.keys() == set(slots)
        assert not optimizer.step_per_parameter

    @pytest.mark.parametrize(
        ("change", "phrase"),
        [
            (
                {"conv1/W/h": np.zeros((2, 3, 11, 11), "f")},
                r"no known optimizer has the state h, m, v: adam \(m, v\)",
            ),
            ({"conv1/W/v": None}, r"the optimizer's 'v' lacks conv1\.weight"),
            ({"conv9/W/m": np.zeros(1, "f")}, "the optimizer's conv9/W/m belong to no parameter of the network"),
            (
                {"conv1/W/m": np.zeros((2, 3, 11, 10), "f")},
                r"'m' of conv1\.weight is a float32 of shape \(2, 3, 11, 10\)",
            ),
            (
                {"conv1/b/m": np.zeros(2, "i4")},
                r"'m' of conv1\.bias is a int32 of shape \(2,\) instead of float32 \(2,\)",
            ),
            ({"t": np.array([3])}, r"the counter 't' is a int64 of shape \(1,\), not a whole number"),
            ({"t": np.array(np.nan)}, "the counter 't' is a float64 of shape"),
            ({"epoch": np.array("one")}, "the counter 'epoch' is a <U3 of shape"),
            ({"conv9/W/t": np.array(3)}, "the optimizer's conv9/W/t belong to no parameter of the network"),
            ({"conv1/W/t": np.array(2)}, "conv1/W had 2 updates where the optimizer counts 3"),
            ({"conv1/W/t": np.zeros(2, "i8")}, r"the counter 'conv1/W/t' is a int64 of shape \(2,\)"),
        ],
    )
    def test_a_state_that_is_not_whole_does_not_keep_the_weights_back(self, change, phrase, tmp_path):
        model = save_npz(tmp_path / "a.model", alexnet())
        state = {key: array for key, array in {**adam_state(alexnet()), **change}.items() if array is not None}
        save_npz(tmp_path / "a.state", state)
        assert_read_without_state(model, phrase)

    def test_slots_may_be_of_another_float(self, tmp_path):
        save_npz(tmp_path / "a.model", alexnet(dtype=np.float64))
        state = {k: a.astype(np.float64) if a.shape else a for k, a in adam_state(alexnet()).items()}
        save_npz(tmp_path / "a.state", state)
        assert converters.read(tmp_path / "a.model").optimizer.slots["m"]["fc8.bias"].dtype == np.float64

    @pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="long double is double here")
    def test_slots_of_long_doubles_are_refused(self, tmp_path):
        save_npz(tmp_path / "a.model", alexnet())
        save_npz(tmp_path / "a.state", {**adam_state(alexnet()), "fc8/b/m": np.zeros(14, np.longdouble)})
        assert_read_without_state(tmp_path / "a.model", r"'m' of fc8\.bias is a float\d+ of shape")

    def test_a_state_may_lack_the_epoch(self, tmp_path):
        save_npz(tmp_path / "a.model", alexnet())
        save_npz(tmp_path / "a.state", {key: a for key, a in adam_state(alexnet()).items() if key != "epoch"})
        assert converters.read(tmp_path / "a.model").optimizer.epoch == 0

    def test_statistics_have_no_slots(self, tmp_path):
        save_npz(tmp_path / "a.model", vgg_bn())
        save_npz(tmp_path / "a.state", adam_state(vgg_bn()))
        optimizer = converters.read(tmp_path / "a.model").optimizer
        assert "bn1_1.weight" in optimizer.slots["m"]
        assert "bn1_1.running_mean" not in optimizer.slots["m"]

    @pytest.mark.parametrize(
        ("change", "phrase"),
        [
            ({"updater/iteration": np.array([1, 2])}, "the counter 'updater/iteration' is a int64 of shape"),
            ({"updater/iterator:main/epoch": np.array("x")}, "the counter 'updater/iterator:main/epoch' is a <U1"),
        ],
    )
    def test_a_snapshot_with_other_counters_is_refused(self, change, phrase, tmp_path):
        arrays = {key: array for key, array in snapshot(**change).items() if array is not None}
        refused(save_npz(tmp_path / "snapshot_iter_30", arrays), phrase)

    def test_a_snapshot_may_lack_the_epoch(self, tmp_path):
        arrays = snapshot()
        del arrays["updater/iterator:main/epoch"]
        progress = converters.read(save_npz(tmp_path / "snapshot_iter_30", arrays)).progress
        assert (progress.epoch, progress.iteration) == (None, 30)


class TestWriting:
    @pytest.mark.parametrize("name", GOLDEN_STATES)
    def test_a_state_comes_back_as_chainer_wrote_it(self, name, request, tmp_path):
        path = golden_file(name, request)
        checkpoint = converters.read(path)
        converters.write(checkpoint, tmp_path / "a.npz", layout="state")
        assert_same_arrays(load_npz(tmp_path / "a.npz"), load_npz(path))

    @pytest.mark.parametrize("name", GOLDEN_SNAPSHOTS)
    def test_a_snapshot_comes_back_as_chainer_wrote_it(self, name, request, tmp_path):
        path = golden_file(name, request)
        checkpoint = converters.read(path)
        converters.write(checkpoint, tmp_path / "a.npz", layout="snapshot")
        assert_same_arrays(load_npz(tmp_path / "a.npz"), load_npz(path))

    @pytest.mark.parametrize("writer", ["chainer-3.0.0", "chainer-1.13.0"])
    def test_updates_are_counted_for_each_parameter_only_where_they_were(self, writer, tmp_path):
        for per_parameter in (False, True):
            save_npz(tmp_path / "a.model", alexnet())
            save_npz(tmp_path / "a.state", adam_state(alexnet(), per_parameter=per_parameter))
            checkpoint = converters.read(tmp_path / "a.model", writer=writer)
            converters.write(checkpoint, tmp_path / "b.state", force=True)
            assert_same_arrays(load_npz(tmp_path / "b.state"), load_npz(tmp_path / "a.state"))

    def test_the_suffix_state_means_the_state(self, golden, tmp_path):
        checkpoint = converters.read(golden / "checkpoints" / "1.13.0" / "alexnet-adam" / "epoch-1.model")
        converters.write(checkpoint, tmp_path / "new.state")
        assert load_npz(tmp_path / "new.state").keys() == {"t", "epoch"} | {
            f"predictor/{key}/{slot}" for key in alexnet() for slot in "mv"
        }

    def test_head_forces_predictor_and_the_last_names(self, golden, tmp_path):
        checkpoint = converters.read(golden / "checkpoints" / "1.10.0" / "resnet50-bare" / "epoch-1.model")
        converters.write(checkpoint, tmp_path / "a.npz", layout="head")
        head = load_npz(golden / "checkpoints" / "1.24.0" / "resnet50-adam" / "epoch-1.model")
        written = load_npz(tmp_path / "a.npz")
        assert written.keys() == head.keys()
        assert_same_arrays(converters.read(tmp_path / "a.npz").weights, checkpoint.weights)

    def test_bare_names_of_a_state_stay_bare(self, golden, tmp_path):
        pytest.importorskip("h5py")
        checkpoint = converters.read(golden / "checkpoints" / "1.5.1" / "alexnet_flic-hdf5" / "epoch-1.model")
        converters.write(checkpoint, tmp_path / "a.state")
        assert load_npz(tmp_path / "a.state").keys() == {"t", "epoch"} | {f"{key}/h" for key in alexnet()}

    def test_what_a_layout_needs_has_to_be_there(self, tmp_path):
        path = save_npz(tmp_path / "a.model", alexnet())
        checkpoint = converters.read(path)
        with pytest.raises(CheckpointError, match=r"a\.model: it holds no optimizer state to write .*`\.state` beside"):
            converters.write(checkpoint, tmp_path / "b.state")
        save_npz(tmp_path / "a.state", adam_state(alexnet()))
        with pytest.raises(
            CheckpointError, match=r"a snapshot also holds the trainer's .*write the model, and its opt"
        ):
            converters.write(converters.read(path), tmp_path / "b.npz", layout="snapshot")
        assert {item.name for item in tmp_path.iterdir()} == {"a.model", "a.state"}

    def test_an_unknown_layout_is_refused(self, tmp_path):
        checkpoint = converters.read(save_npz(tmp_path / "a.model", alexnet()))
        with pytest.raises(ValueError, match="there is no layout 'tail'; there are head, state, snapshot"):
            converters.write(checkpoint, tmp_path / "b.npz", layout="tail")
        with pytest.raises(ValueError, match="there is no layout 'tail'"):
            arrays_of(checkpoint, "tail")
        with pytest.raises(
            CheckpointError, match=r"only chainer-npz has a layout, not safetensors .*leave --layout out"
        ):
            converters.write(checkpoint, tmp_path / "b.safetensors", layout="head")
