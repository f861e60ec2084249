"""A `.state` that this project does not train with never keeps the weights back, and its slots stay where they can."""

import numpy as np
import pytest

import converters
from tests.helpers.checkpoint_files import (
    alexnet,
    assert_same_arrays,
    in_torch_names,
    load_npz,
    save_npz,
    wrapped,
)

#: The arrays of one parameter that Chainer 7.8.1 was seen to write, by its optimizer; and what they are read as.
SLOTS = {
    "SGD": ((), "sgd"),
    "MomentumSGD": (("v",), "momentumsgd"),
    "NesterovAG": (("v",), "momentumsgd"),
    "CorrectedMomentumSGD": (("v",), "momentumsgd"),
    "Adam": (("m", "v"), "adam"),
    "AdaBound": (("m", "v"), "adam"),
    "AMSGrad": (("m", "v", "vhat"), "amsgrad"),
    "AMSBound": (("m", "v", "vhat"), "amsgrad"),
    "AdaDelta": (("msg", "msdx"), "adadelta"),
    "AdaGrad": (("h",), "adagrad"),
    "RMSprop": (("ms",), "rmsprop"),
    "RMSpropGraves": (("n", "g", "delta"), "rmspropgraves"),
    "SMORMS3": (("mem", "g", "g2"), "smorms3"),
}
ALIKE = "nothing tells it from NesterovAG's and CorrectedMomentumSGD's: taken as momentumsgd"


def saved(folder, slots, *, frozen=(), per_parameter=True):
    """A model with the state beside it that an optimizer of these slots leaves after three updates."""
    model, random = wrapped(alexnet()), np.random.RandomState(3)
    state = {"t": np.array(3), "epoch": np.array(0)}
    for key, array in model.items():
        moved = key.split("/")[1] not in frozen
        state |= {f"{key}/{slot}": random.rand(*array.shape).astype("f") for slot in slots if moved}
        if per_parameter:
            state[f"{key}/t"] = np.array(3 if moved else 0)
    save_npz(folder / "epoch-9.model", model)
    save_npz(folder / "epoch-9.state", state)
    return folder / "epoch-9.model", state


@pytest.mark.parametrize("per_parameter", [False, True], ids=["before Chainer 3.4", "since"])
@pytest.mark.parametrize("name", SLOTS)
def test_weights_and_slots_arrive(name, per_parameter, tmp_path):
    slots, algorithm = SLOTS[name]
    path, state = saved(tmp_path, slots, per_parameter=per_parameter)
    checkpoint = converters.read(path)
    assert_same_arrays(checkpoint.weights, in_torch_names(alexnet()))
    assert (checkpoint.optimizer.algorithm, checkpoint.optimizer.step) == (algorithm, 3)
    for slot in slots:
        kept = checkpoint.optimizer.slots[slot]["fc8.weight"]
        np.testing.assert_array_equal(kept, state[f"predictor/fc8/W/{slot}"])
    assert any(ALIKE in notice for notice in checkpoint.notices) == (algorithm == "momentumsgd")
    assert not any("frozen" in notice for notice in checkpoint.notices)
    # The state alone stands for both, and it can be written again.
    assert converters.read(path.with_suffix(".state")).optimizer.algorithm == algorithm
    if slots:
        converters.write(checkpoint, tmp_path / "again.state")
        assert_same_arrays(load_npz(tmp_path / "again.state"), state)


def test_a_log_that_says_the_optimizer_is_enough(tmp_path):
    path, _ = saved(tmp_path, ("v",))
    (tmp_path / "log.txt").write_text("INFO:root:chainer version: 5.4.0\nINFO:root:Namespace(opt='MomentumSGD')\n")
    assert not any(ALIKE in notice for notice in converters.read(path).notices)


@pytest.mark.parametrize("name", ["Adam", "MomentumSGD", "AdaDelta"])
def test_frozen_layers_are_named(name, tmp_path):
    slots, algorithm = SLOTS[name]
    path, state = saved(tmp_path, slots, frozen=("conv1", "conv2"))
    checkpoint = converters.read(path)
    assert_same_arrays(checkpoint.weights, in_torch_names(alexnet()))
    assert checkpoint.optimizer.algorithm == algorithm
    assert (
        "its optimizer has no state of conv{1,2}.{bias,weight}: these layers were not updated (frozen)"
        in checkpoint.notices
    )
    converters.write(checkpoint, tmp_path / "again.state")
    assert_same_arrays(load_npz(tmp_path / "again.state"), state)


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        (lambda state: state | {"predictor/fc9/W/m": np.zeros(3, "f")}, "belong to no parameter of the network"),
        (lambda state: {k: v for k, v in state.items() if k != "predictor/fc8/W/m"}, "the optimizer's 'm' lacks"),
        (lambda state: state | {"predictor/fc8/W/m": np.zeros(3, "f")}, "is a float32 of shape"),
        (lambda state: state | {"predictor/fc8/W/foo": np.zeros(3, "f")}, "this is no optimizer's state"),
        (lambda state: {k: v for k, v in state.items() if k != "t"}, "this is no optimizer's state"),
    ],
    ids=["another network's", "one is missing", "another shape", "nobody's slot", "no count"],
)
def test_a_state_that_cannot_be_used_is_named_and_the_weights_are_read(change, phrase, tmp_path):
    path, state = saved(tmp_path, ("m", "v"))
    save_npz(path.with_suffix(".state"), change(state))
    checkpoint = converters.read(path)
    assert_same_arrays(checkpoint.weights, in_torch_names(alexnet()))
    assert checkpoint.optimizer is None
    (notice,) = [notice for notice in checkpoint.notices if "the weights are read without it" in notice]
    assert phrase in notice
    assert str(path.with_suffix(".state")) in notice


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"<html>no</html>"])
def test_so_is_a_damaged_one(content, tmp_path):
    path, _ = saved(tmp_path, ("m", "v"))
    path.with_suffix(".state").write_bytes(content)
    checkpoint = converters.read(path)
    assert_same_arrays(checkpoint.weights, in_torch_names(alexnet()))
    assert any("the weights are read without it" in notice for notice in checkpoint.notices)


def test_chainers_unset_parameter_in_hdf5(tmp_path):
    """Chainer writes `h5py.Empty` for a parameter that had no value yet."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "epoch-0.model", "w") as file:
        for key, array in wrapped(alexnet()).items():
            file.create_dataset(key, data=h5py.Empty("f") if key.endswith("fc6/W") else array)
    with pytest.raises(converters.CheckpointError, match="predictor/fc6/W had no value yet when this was saved"):
        converters.read(tmp_path / "epoch-0.model")
