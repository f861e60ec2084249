"""The metrics give the published numbers of published predictions and follow their definitions."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from deeppose_port import metrics
from deeppose_port.data.skeletons import LSP, MPII, Limb

Float64Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
NAN = math.nan

ARM: list[Limb] = [(0, 1)]


def percent(fraction: float, digits: int) -> float:
    return round(100 * fraction, digits)


# Published predictions


@pytest.fixture(scope="module")
def lsp(shared_golden: Path) -> dict[str, Float64Array]:
    """The 1000 test persons of LSP, observer-centric, and what Yang et al. (CVPR 2016) predicted for them."""
    loadmat = pytest.importorskip("scipy.io").loadmat
    folder = shared_golden / "metrics"
    joints = loadmat(folder / "lsp-joints-OC.mat")["joints"]
    return {
        "true": joints[:2, :, 1000:].transpose(2, 1, 0),
        "predicted": loadmat(folder / "pred_keypoints_lsp_oc.mat")["pred"].transpose(2, 1, 0),
        "sticks": loadmat(folder / "pred_sticks_lsp_oc.mat")["pred"].transpose(2, 1, 0),
    }


@pytest.fixture(scope="module")
def mpii(shared_golden: Path) -> dict[str, Any]:
    """The 2958 persons of MPII's validation set and what the 8-stack hourglass predicted for them."""
    with np.load(shared_golden / "metrics" / "mpii_val_hg_s8.npz") as arrays:
        return dict(arrays)


LSP_STRICT = {
    ("left lower leg", "right lower leg"): 81.7,
    ("left upper leg", "right upper leg"): 88.7,
    ("left lower arm", "right lower arm"): 66.7,
    ("left upper arm", "right upper arm"): 78.75,
    ("head",): 83.1,
    ("torso",): 96.5,
}


def test_strict_pcp_on_lsp_is_as_published(lsp: dict[str, Float64Array]) -> None:
    fractions = metrics.pcp(lsp["predicted"], lsp["true"], list(LSP.pcp_limbs.values()))
    by_name = dict(zip(LSP.pcp_limbs, fractions, strict=True))
    assert {
        names: percent(metrics.mean_over_joints([by_name[name] for name in names]), 2) for names in LSP_STRICT
    } == LSP_STRICT
    assert percent(metrics.mean_over_joints(fractions), 2) == 81.13


def test_strict_pcp_of_the_published_sticks_is_that_of_their_joints(lsp: dict[str, Float64Array]) -> None:
    sides = [[joint if isinstance(joint, tuple) else (joint,) for joint in limb] for limb in LSP.pcp_limbs.values()]
    true = np.stack([lsp["true"][:, end].mean(axis=1) for limb in sides for end in limb], axis=1)
    fractions = metrics.pcp(lsp["sticks"], true, [(2 * stick, 2 * stick + 1) for stick in range(10)])
    np.testing.assert_array_equal(fractions, metrics.pcp(lsp["predicted"], lsp["true"], list(LSP.pcp_limbs.values())))


def test_relaxed_pcp_on_lsp_is_as_published(lsp: dict[str, Float64Array]) -> None:
    fractions = metrics.pcp(lsp["predicted"], lsp["true"], list(LSP.pcp_limbs.values()), rule="relaxed")
    assert percent(metrics.mean_over_joints(fractions), 2) == 85.73


def test_pdj_on_lsp_is_as_published(lsp: dict[str, Float64Array]) -> None:
    assert LSP.torso is not None
    torso = metrics.torso_lengths(lsp["true"], LSP.torso)
    fractions = metrics.pdj(lsp["predicted"], lsp["true"], torso, thresholds=(0.2,))
    assert percent(metrics.mean_over_joints(fractions[0]), 1) == 81.5


def test_pck_on_lsp_is_as_published_and_its_area_that_of_the_trapezoids_below_it(lsp: dict[str, Float64Array]) -> None:
    assert LSP.torso is not None
    torso = metrics.torso_lengths(lsp["true"], LSP.torso)
    assert percent(metrics.pck_total(lsp["predicted"], lsp["true"], torso), 1) == 81.5
    curve = [metrics.pck_total(lsp["predicted"], lsp["true"], torso, threshold=i / 100) for i in range(21)]
    area = (sum(curve) - (curve[0] + curve[-1]) / 2) / 20
    assert metrics.auc_total(lsp["predicted"], lsp["true"], torso) == pytest.approx(area, abs=1e-9)


@pytest.mark.parametrize("rule", ["strict", "relaxed"])
def test_the_zero_length_leg_of_lsp_counts_and_is_never_correct(lsp: dict[str, Float64Array], rule: Any) -> None:
    fractions = metrics.pcp(lsp["true"], lsp["true"], list(LSP.pcp_limbs.values()), rule=rule)
    assert fractions.tolist() == [0.999] + [1.0] * 9


MPII_PCKH = {
    ("head",): 96.79,
    ("left shoulder", "right shoulder"): 95.19,
    ("left elbow", "right elbow"): 90.08,
    ("left wrist", "right wrist"): 85.32,
    ("left hip", "right hip"): 87.48,
    ("left knee", "right knee"): 84.26,
    ("left ankle", "right ankle"): 80.73,
}


def test_pckh_on_mpii_is_as_published(mpii: dict[str, Any]) -> None:
    fractions = metrics.pckh(mpii["predicted"], mpii["true"], mpii["head_sizes"], mpii["annotated"])
    by_name = dict(zip(MPII.joints, fractions, strict=True))
    assert {
        names: percent(metrics.mean_over_joints([by_name[name] for name in names]), 2) for names in MPII_PCKH
    } == MPII_PCKH


def test_the_pckh_total_on_mpii_is_as_published(mpii: dict[str, Any]) -> None:
    total = metrics.pckh_total(
        mpii["predicted"],
        mpii["true"],
        mpii["head_sizes"],
        mpii["annotated"],
        excluded=MPII.pckh_total_excluded,
    )
    assert percent(total, 2) == 89.09


@pytest.mark.parametrize("pictures", ["mpii", "lspet", "free"])
@pytest.mark.parametrize("network", ["alexnet", "resnet50"])
def test_the_masked_mse_of_recorded_outputs_is_the_legacy_loss(
    shared_golden: Path, pictures: str, network: str
) -> None:
    folder = shared_golden / "preprocessing"
    manifest = json.loads((folder / f"manifest{'_free' * (pictures == 'free')}.json").read_text())
    with np.load(folder / f"{pictures}_targets.npz") as arrays:
        targets, mask = arrays["targets"], arrays["mask"]
    with np.load(shared_golden / "outputs" / f"{pictures}_{network}_outputs.npz") as arrays:
        outputs = arrays["outputs"]
    expected = manifest["archs"][f"{pictures}_{network}"]["loss"]
    # Legacy sums in float32.
    assert metrics.masked_mse(outputs, targets, mask) == pytest.approx(expected, rel=5e-7)


# PCP


def test_strict_pcp_wants_both_ends_and_relaxed_pcp_their_mean() -> None:
    true = np.array([[[0.0, 0], [10, 0]]] * 4)
    predicted = np.array(
        [
            [[0, 5], [10, 5]],  # both on the border
            [[0, 5.001], [10, 0]],  # one just outside, the mean inside
            [[0, 7], [10, 3]],  # the mean on the border
            [[0, 7], [10, 3.001]],
        ]
    )
    persons = [slice(person, person + 1) for person in range(4)]
    strict = [metrics.pcp(predicted[one], true[one], ARM)[0] for one in persons]
    relaxed = [metrics.pcp(predicted[one], true[one], ARM, rule="relaxed")[0] for one in persons]
    assert strict == [1, 0, 0, 0]
    assert relaxed == [1, 1, 1, 0]
    assert metrics.pcp(predicted, true, ARM).tolist() == [0.25]
    assert metrics.pcp(predicted, true, ARM, rule="relaxed").tolist() == [0.75]


def test_pcp_measures_each_limb_by_its_own_true_length() -> None:
    true = [[[0, 0], [10, 0], [0, 50], [40, 50]]]
    predicted = [[[0, 0], [100, 0], [0, 50], [40, 65]]]  # 90 off a limb of 10 that is predicted as 100; 15 off 40
    assert metrics.pcp(predicted, true, [(0, 1), (2, 3)]).tolist() == [0, 1]


def test_pcp_takes_another_threshold() -> None:
    true, predicted = [[[0, 0], [10, 0]]], [[[0, 2], [10, 0]]]
    assert metrics.pcp(predicted, true, ARM, threshold=0.2).tolist() == [1]
    assert metrics.pcp(predicted, true, ARM, threshold=0.1).tolist() == [0]


@pytest.mark.parametrize("rule", ["strict", "relaxed"])
def test_a_limb_of_zero_length_is_never_correct_but_counts(rule: Any) -> None:
    true = [[[3, 4], [3, 4]], [[0, 0], [10, 0]]]
    assert metrics.pcp(true, true, ARM, rule=rule).tolist() == [0.5]


def test_an_end_of_several_joints_is_their_mean() -> None:
    true = [[[0, 0], [4, 0], [0, 10], [4, 10]]]
    predicted = [[[-20, 0], [24, 0], [0, 10], [4, 10]]]  # the hips are off, their middle is not
    limbs: list[Limb] = [((0, 1), (2, 3)), (0, 2)]
    assert metrics.pcp(predicted, true, limbs).tolist() == [1, 0]


def test_an_end_with_no_mean_is_a_miss() -> None:
    true = [[[0, 0], [4, 0], [0, 10]]]
    predicted = np.array([[[-math.inf, 0], [math.inf, 0], [0, 10]]])
    assert metrics.pcp(predicted, true, [((0, 1), 2)]).tolist() == [0]


def test_a_limb_counts_where_all_joints_of_both_ends_are_visible() -> None:
    true = np.tile([[0.0, 0], [4, 0], [0, 10], [4, 10]], (3, 1, 1))
    predicted = true.copy()
    predicted[0] += 100  # wrong in the only person with all four joints
    visible = [[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 1, 0]]
    limbs: list[Limb] = [((0, 1), (2, 3)), (0, 2)]
    np.testing.assert_array_equal(metrics.pcp(predicted, true, limbs, visible), [0, 2 / 3])


def test_a_limb_that_no_person_shows_has_no_pcp() -> None:
    true = [[[0, 0], [10, 0], [20, 0]]]
    assert metrics.pcp(true, true, [(0, 1), (1, 2)], [[True, True, False]]).tolist() == pytest.approx(
        [1, NAN], nan_ok=True
    )


def test_limbs_may_be_none_or_an_array() -> None:
    true = [[[0, 0], [10, 0]]]
    assert metrics.pcp(true, true, []).shape == (0,)
    assert metrics.pcp(true, true, np.array(ARM)).tolist() == [1]  # type: ignore[arg-type]


def test_pcp_equals_its_definition_person_by_person() -> None:
    random = np.random.default_rng(0)
    true = random.uniform(0, 100, (40, 14, 2))
    predicted = true + random.normal(0, 15, true.shape)
    visible = random.random((40, 14)) > 0.2
    for name, limb in LSP.pcp_limbs.items():
        ends = [list(end) if isinstance(end, tuple) else [end] for end in limb]
        strict, relaxed = [], []
        for p, t, v in zip(predicted, true, visible, strict=True):
            if all(v[joint] for end in ends for joint in end):
                length = math.dist(*(t[end].mean(axis=0) for end in ends))
                errors = [math.dist(p[end].mean(axis=0), t[end].mean(axis=0)) / length for end in ends]
                strict.append(max(errors) <= 0.5)
                relaxed.append(sum(errors) / 2 <= 0.5)
        assert 0 < sum(strict) < sum(relaxed) < len(strict) < 40, name
        assert metrics.pcp(predicted, true, [limb], visible)[0] == sum(strict) / len(strict)
        assert metrics.pcp(predicted, true, [limb], visible, rule="relaxed")[0] == sum(relaxed) / len(relaxed)


@pytest.mark.parametrize(
    ("limbs", "message"),
    [
        ([(0, 1, 2)], r"a limb must be a pair of ends, not \(0, 1, 2\)"),
        ([0], "a limb must be a pair of ends, not 0"),
        ({"torso": (0, 1)}, "a limb must be a pair of ends, not 'torso'"),
        ([(0, 2)], "there is no joint 2: the poses have 2"),
        ([(0, -1)], "there is no joint -1"),
        ([(0, 0.5)], "by its index, not 0.5"),
        ([(0, ())], "at least one joint"),
    ],
)
def test_a_limb_that_is_none_is_refused(limbs: Any, message: str) -> None:
    true = [[[0, 0], [10, 0]]]
    with pytest.raises(ValueError, match=message):
        metrics.pcp(true, true, limbs)


def test_an_unknown_rule_is_refused() -> None:
    true = [[[0, 0], [10, 0]]]
    with pytest.raises(ValueError, match="'strict' or 'relaxed', not 'loose'"):
        metrics.pcp(true, true, ARM, rule="loose")  # type: ignore[arg-type]


# PDJ


def test_pdj_counts_the_border_as_detected() -> None:
    true = np.zeros((1, 3, 2))
    predicted = np.array([[[3, 4], [3, 4.001], [0, 0]]])
    assert metrics.pdj(predicted, true, [25]).tolist() == [[1, 0, 1]]


def test_pdj_has_a_row_for_each_threshold() -> None:
    true = np.zeros((2, 2, 2))
    predicted = [[[3, 0], [0, 1]], [[0, 5], [9, 0]]]
    fractions = metrics.pdj(predicted, true, [10, 10], thresholds=(0.1, 0.3, 0.5))
    assert fractions.tolist() == [[0, 0.5], [0.5, 0.5], [1, 0.5]]
    assert metrics.pdj(predicted, true, [10, 10], thresholds=()).shape == (0, 2)


def test_pdj_leaves_out_a_person_without_a_torso() -> None:
    true = np.zeros((3, 1, 2))
    predicted = [[[1, 0]], [[1, 0]], [[9, 0]]]
    assert metrics.pdj(predicted, true, [10, NAN, 10]).tolist() == [[0.5]]
    assert np.isnan(metrics.pdj(predicted, true, [NAN] * 3)).all()


def test_a_joint_that_does_not_count_is_in_neither_part_of_the_fraction() -> None:
    true = np.zeros((3, 2, 2))
    predicted = [[[0, 0], [0, 0]], [[99, 0], [0, 0]], [[0, 0], [0, 0]]]
    visible = np.array([[1, 0], [1, 0], [0, 0]])  # right, wrong, hidden; hidden in all
    for fractions in (
        metrics.pdj(predicted, true, [10] * 3, visible)[0],
        metrics.pckh(predicted, true, [10] * 3, visible),
    ):
        np.testing.assert_array_equal(fractions, [0.5, NAN])


def test_a_tiny_torso_needs_no_guard() -> None:
    true = np.zeros((1, 2, 2))
    assert metrics.pdj([[[0, 0], [1, 0]]], true, [0.0]).tolist() == [[1, 0]]


def test_the_torso_is_measured_between_its_ends_where_both_are_visible() -> None:
    true = np.array([[[0.0, 0], [3, 4], [9, 9]]] * 3)
    visible = np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1]])
    np.testing.assert_array_equal(metrics.torso_lengths(true, (1, 0), visible), [5, NAN, NAN])
    np.testing.assert_array_equal(metrics.torso_lengths(true, (1, 0)), [5, 5, 5])


def test_a_torso_may_have_ends_of_several_joints() -> None:
    true = [[[0, 0], [4, 0], [0, 10], [4, 10]]]
    assert metrics.torso_lengths(true, ((0, 1), (2, 3))).tolist() == [10]
    np.testing.assert_array_equal(metrics.torso_lengths(true, ((0, 1), (2, 3)), [[1, 0, 1, 1]]), [NAN])


def test_a_prediction_does_not_widen_its_own_tolerance() -> None:
    true = np.array([[[0.0, 0], [0, 10], [50, 50]]])
    predicted = np.array([[[0.0, 0], [0, 1000], [50, 60]]])
    torso = metrics.torso_lengths(true, (0, 1))
    assert metrics.pdj(predicted, true, torso).tolist() == [[1, 0, 0]]


def test_a_skeleton_without_a_torso_is_refused_clearly() -> None:
    with pytest.raises(ValueError, match="a pair of ends, not None"):
        metrics.torso_lengths(np.zeros((1, 7, 2)), None)  # type: ignore[arg-type]


# PCKh


def test_pckh_counts_the_border_as_detected_and_scales_by_each_head() -> None:
    true = np.zeros((2, 2, 2))
    predicted = np.array([[[3, 4], [3, 4.001]], [[3, 4], [3, 4]]])
    assert metrics.pckh(predicted, true, [10, 10]).tolist() == [1, 0.5]
    assert metrics.pckh(predicted, true, [10, 9.99]).tolist() == [0.5, 0]
    assert metrics.pckh(predicted, true, [10, 10], threshold=0.4).tolist() == [0, 0]
    assert metrics.pckh_total(predicted, true, [10, 10], excluded=()) == 0.75


def test_pckh_leaves_out_a_person_without_a_head() -> None:
    true = np.zeros((2, 1, 2))
    assert metrics.pckh([[[1, 0]], [[99, 0]]], true, [10, NAN]).tolist() == [1]


def test_the_pckh_total_pools_the_joints_instead_of_averaging_their_fractions() -> None:
    true = np.zeros((4, 3, 2))
    predicted = true.copy()
    predicted[0, 1] = predicted[:, 2] = 99
    visible = np.array([[1, 1, 1], [1, 0, 1], [1, 0, 1], [1, 0, 1]])
    sizes = [10.0] * 4
    assert metrics.pckh(predicted, true, sizes, visible).tolist() == [1, 0, 0]
    assert metrics.pckh_total(predicted, true, sizes, visible, excluded=(2,)) == 4 / 5
    assert metrics.pckh_total(predicted, true, sizes, visible, excluded=()) == 4 / 9
    assert math.isnan(metrics.pckh_total(predicted, true, sizes, visible, excluded=(0, 1, 2)))


def test_the_pckh_total_leaves_the_mask_of_its_caller_alone() -> None:
    visible = np.ones((1, 2), dtype=bool)
    metrics.pckh_total(np.zeros((1, 2, 2)), np.zeros((1, 2, 2)), [1.0], visible, excluded=(1,))
    assert visible.all()


def test_the_pckh_total_refuses_to_leave_out_a_joint_that_is_none() -> None:
    with pytest.raises(ValueError, match="there is no joint 7"):
        metrics.pckh_total(np.zeros((1, 7, 2)), np.zeros((1, 7, 2)), [1.0], excluded=(6, 7))


# PCK and the area under its curve


def test_pck_at_a_threshold_is_pdj_and_pckh_at_theirs() -> None:
    random = np.random.default_rng(1)
    true = random.uniform(0, 100, (30, 5, 2))
    predicted, visible = true + random.normal(0, 9, true.shape), random.random((30, 5)) > 0.2
    lengths = random.uniform(20, 60, 30)
    poses = predicted, true, lengths, visible
    np.testing.assert_array_equal(metrics.pck(*poses), metrics.pdj(*poses)[0])
    np.testing.assert_array_equal(metrics.pck(*poses, threshold=0.5), metrics.pckh(*poses))
    assert metrics.pck_total(*poses, 0.5, excluded=[1]) == metrics.pckh_total(*poses, excluded=[1])


def test_the_box_is_that_of_the_joints_that_count() -> None:
    true = np.array([[[1.0, 2], [4, 9], [50, 50]], [[1, 2], [9, 3], [NAN, 0]], [[0, 0], [0, 0], [0, 0]]])
    visible = [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    np.testing.assert_array_equal(metrics.box_sizes(true, visible), [7, 8, NAN])
    assert metrics.box_sizes(true[:1]).tolist() == [49]


def test_one_joint_has_no_box() -> None:
    true, visible = np.array([[[1.0, 2], [4, 9]], [[5, 5], [5, 5]]]), [[1, 0], [1, 1]]
    sizes = metrics.box_sizes(true, visible)
    np.testing.assert_array_equal(sizes, [NAN, 0])
    np.testing.assert_array_equal(metrics.pck(true + 1, true, sizes, visible), [0, 0])
    assert metrics.pck_tally(true, true, sizes, visible).counts.tolist() == [[0, 0], [1, 1]]


def test_the_area_under_the_curve_is_that_of_its_samples() -> None:
    # A joint found from t on gives the trapezoids from there: all but the last step before it, that one by half.
    true = np.zeros((1, 6, 2))
    errors = np.array([0, 0.5, 1, 1.5, 10, 10.5])  # per cent of the length
    predicted = np.stack([errors, np.zeros(6)], axis=1)[np.newaxis]
    area = metrics.auc(predicted, true, [100.0], threshold=0.1, step=0.01)
    np.testing.assert_allclose(area, [1, 0.95, 0.95, 0.85, 0.05, 0], rtol=0, atol=1e-12)


def test_the_area_of_the_total_is_the_integral_of_the_total() -> None:
    random = np.random.default_rng(2)
    true = random.uniform(0, 100, (40, 6, 2))
    predicted, visible = true + random.normal(0, 8, true.shape), random.random((40, 6)) > 0.3
    heads = random.uniform(15, 40, 40)
    thresholds = np.linspace(0, 0.5, 51)
    totals = [metrics.pckh_total(predicted, true, heads, visible, t, excluded=(1, 2)) for t in thresholds]
    joints = np.array([metrics.pckh(predicted, true, heads, visible, t) for t in thresholds])
    weights = np.full(51, 1 / 50)
    weights[[0, -1]] /= 2
    assert metrics.auc_total(predicted, true, heads, visible, 0.5, excluded=(1, 2)) == pytest.approx(weights @ totals)
    np.testing.assert_allclose(metrics.auc(predicted, true, heads, visible, 0.5), weights @ joints)


@pytest.mark.parametrize(("threshold", "step"), [(0.2, 0.03), (0, 0.01), (-0.1, 0.01), (0.2, 0), (NAN, 0.1)])
def test_an_area_without_whole_steps_is_refused(threshold: float, step: float) -> None:
    with pytest.raises(ValueError, match=r"^the area"):
        metrics.auc(np.zeros((1, 1, 2)), np.zeros((1, 1, 2)), [1.0], threshold=threshold, step=step)


# Errors


def test_the_normalised_mean_error_is_the_mean_of_errors_over_lengths() -> None:
    true = np.zeros((3, 2, 2))
    predicted = np.array([[[3, 4], [6, 8]], [[0, 30], [NAN, 99]], [[1, 1], [1, 1]]])
    visible, lengths = [[1, 1], [1, 0], [1, 1]], [10.0, 20.0, NAN]
    errors = [[0.5, 1], [1.5, NAN], [NAN, NAN]]
    np.testing.assert_array_equal(metrics.normalized_errors(predicted, true, lengths, visible), errors)
    assert metrics.nme(predicted, true, lengths, visible).tolist() == [1, 1]
    assert metrics.nme_total(predicted, true, lengths, visible) == 1


def test_a_person_of_zero_length_is_in_no_normalised_error() -> None:
    true = np.zeros((2, 1, 2))
    assert metrics.nme([[[3, 4]], [[3, 4]]], true, [10.0, 0.0]).tolist() == [0.5]
    np.testing.assert_array_equal(metrics.normalized_errors([[[3, 4]]] * 2, true, [10.0, 0.0]), [[0.5], [NAN]])
    assert math.isnan(metrics.nme_total([[[3, 4]], [[3, 4]]], true, [0.0, NAN]))


def test_the_legacy_error_is_the_norm_of_the_whole_pose_over_its_joints() -> None:
    true = np.array([[[10.9, 20.2], [30.0, 40.0], [50.5, 60.5]]])
    predicted = np.array([[[13.1, 24.9], [30.9, 40.9], [50.0, 72.0]]])
    # Cut off: (3, 4), (0, 0) and (0, 12); sqrt(9 + 16 + 144) = 13.
    assert metrics.legacy_error(predicted, true).tolist() == [13 / 3]
    # Toward zero on both sides of it, as int() does.
    assert metrics.legacy_error([[[-0.9, 0.9]]], [[[0.9, -0.9]]]).tolist() == [0]
    visible = [[True, True, False], [False, False, False]]
    both = np.concatenate([predicted, predicted]), np.concatenate([true, true])
    np.testing.assert_array_equal(metrics.legacy_error(*both, visible), [2.5, NAN])


def test_the_legacy_error_of_nan_is_nan() -> None:
    assert np.isnan(metrics.legacy_error([[[NAN, 0], [0, 0]]], np.zeros((1, 2, 2)))).all()


# Pixel errors


def test_pixel_errors_are_distances_of_whole_precision() -> None:
    true = [[[0, 0], [1, 1], [5, 5]]]
    predicted = np.array([[[3, 4], [1.75, 1], [9, 9]]])
    np.testing.assert_array_equal(metrics.pixel_errors(predicted, true, [[True, True, False]]), [[5, 0.75, NAN]])


def test_the_mean_error_is_the_mean_distance_of_the_joints_that_count() -> None:
    true = np.zeros((2, 2, 2))
    predicted = np.array([[[3, 4], [6, 8]], [[0, 30], [99, 99]]])
    assert metrics.mean_error(predicted, true, [[1, 1], [1, 0]]) == 15  # (5 + 10 + 30) / 3
    assert math.isnan(metrics.mean_error(predicted, true, np.zeros((2, 2))))


def test_mean_over_joints_leaves_out_what_no_person_has() -> None:
    assert metrics.mean_over_joints([1, NAN, 0.5]) == 0.75
    assert math.isnan(metrics.mean_over_joints([NAN, NAN]))
    assert math.isnan(metrics.mean_over_joints([]))
    with pytest.raises(ValueError, match=r"one axis, not the shape \(1, 2\)"):
        metrics.mean_over_joints([[1, 0]])


# The legacy loss


def test_masked_mse_is_the_mean_square_over_the_coordinates_that_count() -> None:
    outputs = np.array([[1, 9, 3, 4]], dtype=np.float32)
    assert metrics.masked_mse(outputs, np.zeros((1, 4)), [[1, 0, 1, 1]]) == pytest.approx((1 + 9 + 16) / 3)


def test_masked_mse_is_over_the_batch_and_not_the_mean_of_its_persons() -> None:
    assert metrics.masked_mse([[1, 1], [3, 99]], np.zeros((2, 2)), [[1, 1], [1, 0]]) == 11 / 3


def test_masked_mse_of_an_all_zero_mask_is_zero() -> None:
    assert metrics.masked_mse([[1.0, 2.0]], [[0.0, 0.0]], [[0, 0]]) == 0.0


@pytest.mark.parametrize("broken", [NAN, math.inf])
def test_masked_mse_does_not_see_what_is_masked_but_shows_what_is_not(broken: float) -> None:
    assert metrics.masked_mse([1, broken, 0], [0, 0, broken], [1, 0, 0]) == 1
    assert not math.isfinite(metrics.masked_mse([1, broken], [0, 0], [1, 1]))
    assert math.isnan(metrics.masked_mse([1, broken], [0, broken], [1, 1]))


def test_masked_mse_accumulates_in_double_precision() -> None:
    outputs = np.full((1000, 1000), 0.1, dtype=np.float32)
    expected = float(np.float32(0.1)) ** 2
    loss = metrics.masked_mse(outputs, np.zeros_like(outputs), np.ones(outputs.shape, dtype=np.int32))
    assert loss == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("shapes", [((2, 4), (2, 4), (2, 2)), ((2, 4), (2, 2), (2, 4)), ((4,), (1, 4), (1, 4))])
def test_masked_mse_wants_three_equal_shapes(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match="must have one shape"):
        metrics.masked_mse(*(np.zeros(shape) for shape in shapes))


def test_masked_mse_refuses_a_mask_of_weights() -> None:
    with pytest.raises(ValueError, match="mask must hold only 0 and 1"):
        metrics.masked_mse([1.0, 1.0], [0.0, 0.0], [0.5, 1.0])


# What holds for all

Measure = Callable[..., Any]
MEASURES: dict[str, Measure] = {
    "pcp": lambda p, t, v=None: metrics.pcp(p, t, ARM, v),
    "relaxed pcp": lambda p, t, v=None: metrics.pcp(p, t, ARM, v, rule="relaxed"),
    "pdj": lambda p, t, v=None: metrics.pdj(p, t, np.full(len(t), 10.0), v)[0],
    "pckh": lambda p, t, v=None: metrics.pckh(p, t, np.full(len(t), 10.0), v),
    "pckh_total": lambda p, t, v=None: metrics.pckh_total(p, t, np.full(len(t), 10.0), v, excluded=()),
    "pck": lambda p, t, v=None: metrics.pck(p, t, np.full(len(t), 10.0), v),
    "pck_total": lambda p, t, v=None: metrics.pck_total(p, t, np.full(len(t), 10.0), v),
    "auc": lambda p, t, v=None: metrics.auc(p, t, np.full(len(t), 10.0), v),
    "auc_total": lambda p, t, v=None: metrics.auc_total(p, t, np.full(len(t), 10.0), v),
    "pixel_errors": metrics.pixel_errors,
    "mean_error": metrics.mean_error,
    "normalized_errors": lambda p, t, v=None: metrics.normalized_errors(p, t, np.full(len(t), 10.0), v),
    "nme": lambda p, t, v=None: metrics.nme(p, t, np.full(len(t), 10.0), v),
    "nme_total": lambda p, t, v=None: metrics.nme_total(p, t, np.full(len(t), 10.0), v),
    "legacy_error": metrics.legacy_error,
}
FRACTIONS = ["pcp", "relaxed pcp", "pdj", "pckh", "pckh_total", "pck", "pck_total", "auc", "auc_total"]


@pytest.fixture(params=list(MEASURES.values()), ids=list(MEASURES))
def measure(request: pytest.FixtureRequest) -> Measure:
    measure: Measure = request.param
    return measure


@pytest.mark.parametrize("name", FRACTIONS)
@pytest.mark.parametrize("broken", [NAN, math.inf, -math.inf])
def test_a_prediction_that_is_not_finite_is_a_miss(name: str, broken: float) -> None:
    true = np.array([[[0.0, 0], [10, 0]]] * 2)
    predicted = true.copy()
    predicted[0] = broken
    assert np.all(MEASURES[name](predicted, true) == 0.5)


@pytest.mark.parametrize("broken", [NAN, math.inf])
def test_a_prediction_that_is_not_finite_does_not_drop_out_of_the_mean_error(broken: float) -> None:
    true = np.zeros((1, 2, 2))
    assert not math.isfinite(metrics.mean_error(np.array([[[broken, 0], [0, 0]]]), true))


def test_what_does_not_count_may_be_anything(measure: Measure) -> None:
    true = np.array([[[0.0, 0], [10, 0]]] * 2)
    predicted, visible = true + 1, np.array([[True, True], [False, False]])
    expected = measure(predicted, true, visible)
    for broken in (NAN, math.inf, -1.0):
        true[1] = predicted[1] = broken
        np.testing.assert_array_equal(measure(predicted, true, visible), expected)


def test_without_a_mask_joints_of_unknown_position_do_not_count(measure: Measure) -> None:
    true = np.array([[[0.0, 0], [10, 0]]] * 2)
    predicted = true + 1
    true[1, :, 1] = NAN
    visible = [[True, True], [False, False]]
    np.testing.assert_array_equal(measure(predicted, true), measure(predicted, true, visible))


def test_a_joint_that_counts_must_have_a_position(measure: Measure) -> None:
    true = np.zeros((3, 2, 2))
    true[2, 1, 0] = NAN
    with pytest.raises(ValueError, match="no finite position for joint 1 of person 2"):
        measure(np.zeros((3, 2, 2)), true, np.ones((3, 2)))


@pytest.mark.parametrize("name", FRACTIONS)
def test_every_person_counts_to_the_last(name: str) -> None:
    true = np.array([[[0.0, 0], [10, 0]]] * 1001)
    predicted = true.copy()
    predicted[-1] += 99
    assert np.all(MEASURES[name](predicted, true) == 1000 / 1001)


def test_integers_neither_wrap_nor_truncate(measure: Measure) -> None:
    true = np.array([[[0, 0], [200, 0]]], dtype=np.uint8)
    predicted = np.array([[[1, 0], [250, 100]]], dtype=np.uint8)
    expected = measure(predicted.astype(float), true.astype(float))
    np.testing.assert_array_equal(measure(predicted, true), expected)


def test_inputs_stay_as_they_are(measure: Measure) -> None:
    random = np.random.default_rng(0)
    true, predicted = random.random((2, 5, 2, 2)) * 50
    visible = random.random((5, 2)) > 0.3
    copies = predicted.copy(), true.copy(), visible.copy()
    measure(predicted, true, visible)
    for array, copy in zip((predicted, true, visible), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_no_persons_give_no_numbers(measure: Measure) -> None:
    assert np.isnan(measure(np.zeros((0, 2, 2)), np.zeros((0, 2, 2)))).all()


@pytest.mark.parametrize(
    ("predicted", "true", "visible", "message"),
    [
        ((2, 4), (2, 4), None, r"predicted must have the shape \(persons, joints, 2\), not \(2, 4\)"),
        ((2, 2, 3), (2, 2, 3), None, r"not \(2, 2, 3\)"),
        ((4, 2), (4, 2), None, r"not \(4, 2\)"),
        ((2, 2, 2), (2, 4), None, "true must have the shape"),
        ((2, 2, 2), (1, 2, 2), None, "must have one shape"),
        ((2, 2, 2), (2, 2, 2), (2, 2, 2), r"visible must have the shape \(persons, joints\), \(2, 2\)"),
        ((2, 2, 2), (2, 2, 2), (2, 1), "visible must have the shape"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    measure: Measure,
    predicted: tuple[int, ...],
    true: tuple[int, ...],
    visible: tuple[int, ...] | None,
    message: str,
) -> None:
    mask = None if visible is None else np.ones(visible, dtype=bool)
    with pytest.raises(ValueError, match=message):
        measure(np.zeros(predicted), np.zeros(true), mask)


def test_a_mask_of_other_numbers_is_refused(measure: Measure) -> None:
    with pytest.raises(ValueError, match="visible must hold only 0 and 1"):
        measure(np.zeros((1, 2, 2)), np.zeros((1, 2, 2)), [[2, -1]])


@pytest.mark.parametrize("name", ["pdj", "pckh"])
@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([[1.0], [1.0]], "one length a person"),
        ([1.0], "one length a person"),
        ([1.0, -1.0], "not negative"),
        ([1.0, math.inf], "finite lengths"),
    ],
)
def test_reference_lengths_that_are_none_are_refused(name: str, lengths: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(metrics, name)(np.zeros((2, 3, 2)), np.zeros((2, 3, 2)), lengths)


@pytest.mark.parametrize("threshold", [-0.1, NAN, math.inf])
def test_thresholds_that_are_none_are_refused(threshold: float) -> None:
    poses = np.zeros((1, 2, 2))
    for call in (
        lambda: metrics.pcp(poses, poses, ARM, threshold=threshold),
        lambda: metrics.pdj(poses, poses, [1.0], thresholds=(0.2, threshold)),
        lambda: metrics.pckh(poses, poses, [1.0], threshold=threshold),
        lambda: metrics.pckh_total(poses, poses, [1.0], threshold=threshold, excluded=()),
    ):
        with pytest.raises(ValueError, match="a finite number and not negative"):
            call()
    with pytest.raises(ValueError, match=r"a sequence of numbers, not 0\.2"):
        metrics.pdj(poses, poses, [1.0], thresholds=0.2)  # type: ignore[arg-type]
