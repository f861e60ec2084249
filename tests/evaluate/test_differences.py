"""What two networks differ in, row by row."""

from deeppose_port.evaluate.differences import MetricRow

EN_DASH = "\N{EN DASH}"


def test_metrics_agree_in_the_digits_that_are_shown():
    assert MetricRow("loss", 2.5282882e-05, 2.5282744e-05, "").agrees, "float32 rounding of a loss that is small"
    assert not MetricRow("loss", 2.5282e-05, 2.5284e-05, "").agrees
    assert MetricRow("pcp/mean", 0.615, None, "%").cells == ("61.5 %", EN_DASH, EN_DASH)
