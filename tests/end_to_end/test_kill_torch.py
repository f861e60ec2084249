import pytest

from tests.helpers.kills import kill_again_and_again


def test_a_killed_run_loses_an_epoch_at_most_and_ends_the_same(tmp_path, pictures):
    kill_again_and_again(tmp_path, pictures, "torch", kills=3, epochs=25, seed=5)


@pytest.mark.slow
def test_twenty_kills(tmp_path, pictures):
    kill_again_and_again(tmp_path, pictures, "torch", kills=20, epochs=800, seed=6)
