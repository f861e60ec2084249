"""What the tests of trainings in several backends share."""

from contextlib import nullcontext
from importlib.util import find_spec

import pytest

from deeppose_port import backends
from tests.helpers.trainings import no_plots


@pytest.fixture(params=[description.name for description in backends.able("train")])
def backend(request):
    """Each backend that trains."""
    if find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    with no_plots() if request.param == "chainer" else nullcontext():
        yield request.param
