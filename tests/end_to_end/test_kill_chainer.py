import importlib.util

import pytest

from tests.helpers.kills import kill_again_and_again

if importlib.util.find_spec("chainer") is None:
    pytest.skip("Chainer is not installed", allow_module_level=True)


def test_a_killed_run_loses_an_epoch_at_most_and_ends_the_same(tmp_path, pictures):
    kill_again_and_again(tmp_path, pictures, "chainer", kills=3, epochs=16, seed=5)


@pytest.mark.slow
def test_twenty_kills(tmp_path, pictures):
    kill_again_and_again(tmp_path, pictures, "chainer", kills=20, epochs=60, seed=6)
