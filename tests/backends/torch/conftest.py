"""What several modules of PyTorch's tests need."""

import pytest
import torch


@pytest.fixture(scope="module")
def one_thread():
    """PyTorch computes in one thread: several would wait for each other on a machine that has more to do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
