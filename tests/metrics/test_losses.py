import numpy as np
import pytest

from converters.errors import DeepPoseError
from deeppose_port.metrics import masked_mse
from deeppose_port.metrics.losses import HEATMAP_DEVIATION, LOSSES, heatmap_targets, masked_loss


@pytest.fixture
def arrays():
    random = np.random.default_rng(0)
    return random.normal(0, 0.1, (5, 8)), random.normal(0, 0.1, (5, 8)), random.random((5, 8)) < 0.7


def test_l2_is_the_legacy_loss(arrays):
    assert masked_loss(*arrays) == pytest.approx(masked_mse(*arrays), rel=1e-12)


@pytest.mark.parametrize("beta", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("loss", ["l1", "smooth-l1"])
def test_they_are_pytorchs(loss, beta, arrays):
    torch = pytest.importorskip("torch")
    outputs, targets, mask = map(torch.from_numpy, arrays)
    expected = {
        "l1": torch.nn.functional.l1_loss(outputs[mask], targets[mask]),
        "smooth-l1": torch.nn.functional.smooth_l1_loss(outputs[mask], targets[mask], beta=beta),
    }
    assert masked_loss(*arrays, loss, beta) == pytest.approx(expected[loss].item(), rel=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_what_does_not_count_is_not_seen(loss, arrays):
    outputs, targets, mask = arrays
    expected = masked_loss(outputs, targets, mask, loss)
    assert masked_loss(np.where(mask, outputs, np.nan), targets, mask, loss) == expected
    assert masked_loss(outputs, targets, np.zeros_like(mask), loss) == 0


def test_shapes_have_to_agree(arrays):
    with pytest.raises(DeepPoseError, match="must have one shape"):
        masked_loss(arrays[0][:2], *arrays[1:])


def test_a_joint_in_the_middle_of_a_pixel_is_a_gaussian_around_it():
    # The middle of pixel (5, 2) of 9 columns and 7 rows.
    maps = heatmap_targets([[5.5 / 9 - 0.5, 2.5 / 7 - 0.5]], 7, 9)
    rows, columns = np.mgrid[:7, :9]
    wanted = np.exp(-((columns - 5) ** 2 + (rows - 2) ** 2) / (2 * HEATMAP_DEVIATION**2))
    np.testing.assert_allclose(maps[0, 0], wanted / wanted.sum(), rtol=1e-12)


def test_each_map_is_its_own_joints():
    maps = heatmap_targets([[-0.35, 0.45, 0.45, -0.25]], 10, 10)
    assert maps.shape == (1, 2, 10, 10)
    assert [np.unravel_index(one.argmax(), one.shape) for one in maps[0]] == [(9, 1), (2, 9)]
    np.testing.assert_allclose(maps.sum((2, 3)), 1)


def test_a_joint_that_no_pixel_is_near_asks_for_nothing():
    assert not heatmap_targets([[3.0, 0.0]], 8, 8).any()
