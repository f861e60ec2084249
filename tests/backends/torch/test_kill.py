import pytest
from kills import survive


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_killed_training_leaves_whole_checkpoints_and_goes_on_as_if_it_had_not_been(kills, tmp_path, pictures):
    survive(tmp_path, pictures, "torch", kills)
