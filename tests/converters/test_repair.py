import numpy as np
import pytest

import converters
from converters import Repair
from converters.repair import POLICIES, repair
from tests.helpers.checkpoint_files import (
    adam_state,
    alexnet,
    assert_same_arrays,
    canonical,
    in_torch_names,
    refused,
    save_npz,
    sha256,
    vgg_bn,
    wrapped,
)


@pytest.fixture
def damaged(tmp_path):
    """A checkpoint with non-finite numbers in three tensors and one slot, and its arrays."""
    arrays = wrapped(alexnet())
    arrays["predictor/conv3/W"].flat[[0, 7, 9]] = np.nan
    arrays["predictor/conv3/W"].flat[[1, -1]] = np.inf, -np.inf
    arrays["predictor/fc8/b"][:] = np.nan
    arrays["predictor/fc7/b"][2] = -np.inf
    state = adam_state(wrapped(alexnet()))
    state["predictor/fc6/W/v"].flat[5] = np.nan
    save_npz(tmp_path / "epoch-1.state", state)
    return save_npz(tmp_path / "epoch-1.model", arrays), in_torch_names(arrays)


COUNTS = {"conv3.weight": (3, 2), "fc7.bias": (0, 1), "fc8.bias": (14, 0), "optimizer.v.fc6.weight": (1, 0)}


def test_zero_is_what_happens_without_an_option(damaged):
    path, arrays = damaged
    before = sha256(path)
    checkpoint = converters.read(path)
    assert {r.tensor: (r.nan, r.inf) for r in checkpoint.repairs} == COUNTS
    assert {r.became for r in checkpoint.repairs} == {0.0}
    expected = {name: np.where(np.isfinite(array), array, np.float32(0)) for name, array in arrays.items()}
    assert_same_arrays(checkpoint.weights, expected)
    assert np.isfinite(checkpoint.optimizer.slots["v"]["fc6.weight"]).all()
    assert sha256(path) == before


def test_tensors_without_them_arrive_bit_for_bit(damaged):
    path, arrays = damaged
    weights = converters.read(path).weights
    for name in arrays.keys() - COUNTS.keys():
        assert weights[name].tobytes() == arrays[name].tobytes()


def test_keep_counts_and_leaves_every_bit(damaged):
    path, arrays = damaged
    arrays["fc7.bias"].view(np.uint32)[3] = 0x7FC12345  # a NaN with a payload
    save_npz(path, wrapped(arrays, "module."))
    path.with_suffix(".state").unlink()
    checkpoint = converters.read(path, nonfinite="keep")
    assert {r.tensor: (r.nan, r.inf) for r in checkpoint.repairs} == {
        "conv3.weight": (3, 2),
        "fc7.bias": (1, 1),
        "fc8.bias": (14, 0),
    }
    assert {r.became for r in checkpoint.repairs} == {None}
    assert_same_arrays(checkpoint.weights, arrays)


def test_error_refuses_with_the_counts(damaged):
    path, _ = damaged
    refused(
        path,
        r"4 of its tensors hold NaN or Inf: conv3\.weight 3 NaN and 2 Inf, fc7\.bias 1 Inf, fc8\.bias 14 NaN, "
        r"optimizer\.v\.fc6\.weight 1 NaN \(--nonfinite zero makes them 0, --nonfinite keep leaves them\)",
        nonfinite="error",
    )


def test_error_names_five_tensors_at_most(tmp_path):
    arrays = {key: np.full_like(array, np.nan) for key, array in alexnet().items()}
    refused(save_npz(tmp_path / "a.model", arrays), r"16 of its tensors .*: (.* NaN, ){5}… \(", nonfinite="error")


@pytest.mark.parametrize("policy", POLICIES)
def test_a_finite_file_needs_no_policy(policy, tmp_path):
    arrays = alexnet()
    arrays["fc8/b"][:4] = np.finfo("f").max, -np.finfo("f").max, np.finfo("f").smallest_subnormal, -0.0
    checkpoint = converters.read(save_npz(tmp_path / "a.model", arrays), nonfinite=policy)
    assert checkpoint.repairs == ()
    assert_same_arrays(checkpoint.weights, in_torch_names(arrays))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4"])
def test_every_kind_of_float_is_searched(dtype, tmp_path):
    arrays = {**alexnet(), "fc7/b": np.array([1, np.nan, np.inf, -np.inf, 2, 3], dtype)}
    checkpoint = converters.read(save_npz(tmp_path / "a.model", arrays))
    assert checkpoint.repairs == (Repair("fc7.bias", 1, 2),)
    assert checkpoint.weights[canonical("fc7/b")].tolist() == [1, 0, 0, 0, 2, 3]


def test_large_arrays_are_counted_across_blocks():
    array = np.zeros((3, 1 << 20), np.float32)
    array[:, -1] = np.nan
    array[1, 0] = np.inf
    assert repair([("a", array)], "zero") == (Repair("a", 3, 1),)
    assert not array.any()


def test_integers_and_scalars_are_let_alone():
    counter, scalar = np.array(5), np.array(np.nan, np.float32)
    assert repair([("n", counter), ("s", scalar)], "zero") == (Repair("s", 1, 0),)
    assert (counter, scalar) == (5, 0)


def test_statistics_are_told_too(tmp_path):
    arrays = {**vgg_bn(), "bn2_1/avg_var": np.array([np.inf], "f")}
    (found,) = converters.read(save_npz(tmp_path / "a.model", arrays)).repairs
    assert found == Repair("bn2_1.running_var", 0, 1, became=1.0, channels=(0,))


def test_repairs_are_remembered_by_what_is_written(damaged, tmp_path):
    path, _ = damaged
    converters.convert(path, tmp_path / "a.safetensors")
    again = converters.read(tmp_path / "a.safetensors")
    assert {r.tensor: (r.nan, r.inf, r.became) for r in again.repairs} == {k: (*v, 0.0) for k, v in COUNTS.items()}


class TestRoles:
    """What a number becomes depends on what it was."""

    @pytest.fixture
    def variance(self, tmp_path):
        arrays = wrapped(vgg_bn())
        arrays["predictor/bn3_2/avg_var"][0] = np.nan
        return save_npz(tmp_path / "epoch-1.model", arrays)

    @pytest.mark.parametrize("target", [None, "model.safetensors", "model.pt"])
    def test_a_variance_becomes_one_and_its_channel_is_named(self, variance, target, tmp_path):
        if target is None:
            checkpoint = converters.read(variance)
        else:
            converters.convert(variance, tmp_path / target)
            checkpoint = converters.read(tmp_path / target)
        assert checkpoint.weights["bn3_2.running_var"].tolist() == [1.0]
        assert checkpoint.repairs == (Repair("bn3_2.running_var", 1, 0, 1.0, (0,)),)

    def test_the_repaired_network_answers(self, variance):
        """Chainer 1.13 divided by the root of the variance with no eps: a 0 there made every answer NaN."""
        deeppose_port = pytest.importorskip("deeppose_port")
        pytest.importorskip("torch")
        pose = deeppose_port.load(variance)
        assert np.isfinite(pose(np.random.RandomState(0).randn(1, 3, 220, 220).astype("f"))).all()

    def test_a_large_variance_is_named_where_it_is_written_in_pieces(self, tmp_path):
        repairs = repair([("a.running_var", array := np.array([1, np.nan, 3, np.inf], np.float32))], "zero")
        assert array.tolist() == [1, 1, 3, 1]
        assert repairs == (Repair("a.running_var", 1, 1, 1.0, (1, 3)),)

    def test_all_slots_of_an_element_begin_anew_together(self, tmp_path):
        """In two updates of Adam a second moment of 0 beside a finite first one threw a weight to -33."""
        arrays, state = wrapped(alexnet()), adam_state(wrapped(alexnet()))
        state["predictor/fc6/W/v"].flat[5] = np.nan
        arrays["predictor/fc7/W"].flat[2] = np.inf
        expected = {slot: state[f"predictor/fc6/W/{slot}"].copy() for slot in ("m", "v")}
        save_npz(tmp_path / "epoch-1.state", state)
        checkpoint = converters.read(save_npz(tmp_path / "epoch-1.model", arrays))
        for slot in ("m", "v"):
            expected[slot].flat[5] = 0
            assert np.array_equal(checkpoint.optimizer.slots[slot]["fc6.weight"], expected[slot])
            assert checkpoint.optimizer.slots[slot]["fc7.weight"].flat[2] == 0
            assert np.count_nonzero(checkpoint.optimizer.slots[slot]["fc7.weight"].reshape(-1)[[0, 1, 3]]) == 3
        assert "2 elements of the optimizer's state begin anew" in " ".join(checkpoint.notices)

    def test_kept_numbers_keep_their_slots(self, tmp_path):
        state = adam_state(wrapped(alexnet()))
        state["predictor/fc6/W/v"].flat[5] = np.nan
        save_npz(tmp_path / "epoch-1.state", state)
        path = save_npz(tmp_path / "epoch-1.model", wrapped(alexnet()))
        slots = converters.read(path, nonfinite="keep").optimizer.slots
        assert slots["m"]["fc6.weight"].flat[5] == state["predictor/fc6/W/m"].flat[5]
