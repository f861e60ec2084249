"""What the tests of trainings in several backends share."""

from importlib.util import find_spec

import pytest

from deeppose_port import backends


@pytest.fixture(params=[description.name for description in backends.able("train")])
def backend(request, monkeypatch):
    """Each backend that trains."""
    if find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    if request.param == "chainer":  # plots take longer than such a training
        from deeppose_port.backends.chainer.networks import chainer

        monkeypatch.setattr(chainer.training.extensions.PlotReport, "available", staticmethod(lambda: False))
    return request.param
