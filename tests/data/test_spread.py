import numpy as np
import pytest

from converters.errors import DeepPoseError
from deeppose_port.data.spread import CUT_OFF, Chance, Spread


@pytest.mark.parametrize("text", ["normal:30@0.6", "uniform:0.1", "normal:0.0001@0.30000000000000004", "none"])
def test_what_is_written_comes_back(text):
    assert str(Spread.parse(text)) == text


@pytest.mark.parametrize("text", ["1@0.5", "0.36", "none"])
def test_an_amount_comes_back(text):
    assert str(Chance.parse(text)) == text


def test_the_kind_may_be_left_out():
    assert Spread.parse("30@0.6") == Spread(30.0, 0.6, "normal")


@pytest.mark.parametrize("text", ["", "much", "cauchy:3", "normal:", "normal:3@2", "uniform:-1", "3@", "nan", "inf"])
def test_nonsense_is_refused(text):
    with pytest.raises(ValueError, match="is not normal or uniform:AMOUNT@SHARE or none"):
        Spread.parse(text)


@pytest.mark.parametrize("text", ["", "normal:3", "-1", "1@-1", "nan"])
def test_nonsense_of_an_amount_is_refused(text):
    with pytest.raises(ValueError, match="is not AMOUNT, AMOUNT@SHARE or none"):
        Chance.parse(text)
    with pytest.raises(DeepPoseError, match="share"):
        Chance(1.0, 2.0)


def test_numbers_are_distributed_as_they_say():
    random = np.random.default_rng(0)
    normal = np.array([Spread(30.0).draw(random) for _ in range(20000)])
    assert abs(normal).max() == 30 * CUT_OFF == Spread(30.0).reach
    # Of a normal distribution that is clipped there.
    assert normal.std() == pytest.approx(30 * 0.9854, rel=0.02)
    uniform = np.array([Spread(4.0, kind="uniform").draw(random) for _ in range(20000)])
    assert abs(uniform).max() <= 4
    assert uniform.std() == pytest.approx(4 / 3**0.5, rel=0.02)
    happened = np.mean([Chance(1.0, 0.3).happens(random) for _ in range(20000)])
    assert happened == pytest.approx(0.3, abs=0.015)
    assert not any(Chance(0.0).happens(random) for _ in range(100))
