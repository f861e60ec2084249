"""What the tests of small trainings in Chainer share."""

import pytest

from tests.helpers.streams import loader_threads, wait_until


@pytest.fixture
def no_plots(monkeypatch):
    """Plots take longer than such a training."""
    from deeppose_port.backends.chainer.networks import chainer

    monkeypatch.setattr(chainer.training.extensions.PlotReport, "available", staticmethod(lambda: False))


@pytest.fixture
def no_thread_survives():
    """Every thread of a loader has ended when the test has."""
    yield
    assert wait_until(lambda: not loader_threads())
