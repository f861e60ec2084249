"""What the tests of small trainings in Chainer share."""

import pytest

from tests.helpers import trainings
from tests.helpers.streams import loader_threads, wait_until


@pytest.fixture
def no_plots():
    """Also where a test starts a training in another way than `run`."""
    with trainings.no_plots():
        yield


@pytest.fixture
def no_thread_survives():
    """Every thread of a loader has ended when the test has."""
    yield
    assert wait_until(lambda: not loader_threads())
