"""What the tests of trainings in several backends share."""

from contextlib import nullcontext
from importlib.util import find_spec
from unittest import mock

import pytest

from deeppose_port import backends
from tests.helpers.trainings import no_plots


@pytest.fixture(autouse=True, scope="session")
def _channels_last():
    """PyTorch stays channels last: on a busy machine the other order may seem faster, and it rounds otherwise."""
    if find_spec("torch") is None:
        yield
        return
    from deeppose_port.backends.torch import memory_format

    def equal(run, device):
        run()
        return 1.0

    with mock.patch.object(memory_format, "_seconds", equal):
        yield


@pytest.fixture(params=[description.name for description in backends.able("train")])
def backend(request):
    """Each backend that trains."""
    if find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    with no_plots() if request.param == "chainer" else nullcontext():
        yield request.param
