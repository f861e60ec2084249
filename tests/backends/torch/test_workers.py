"""Each thread computes a part by itself, and nobody else's number of threads changes."""

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from deeppose_port.backends.torch.workers import each


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture
def several():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_parts_come_back_in_their_order_from_threads_that_are_alone(threads):
    alike = threading.Barrier(threads)

    def compute(part):
        alike.wait(30)  # all of them are at it
        return torch.stack([part.sum(), torch.tensor(float(torch.get_num_threads()))])

    with torch.inference_mode():
        outputs = each(compute, torch.arange(12.0).split(12 // (2 * threads)))
    sums, alone = zip(*(output.tolist() for output in outputs), strict=True)
    assert (sum(sums), list(sums), set(alone)) == (66, sorted(sums), {1.0})


def test_nothing_is_kept_for_gradients(several):
    weight = torch.ones(1, requires_grad=True)
    with torch.inference_mode():
        assert not each(lambda part: weight * part, [torch.ones(1)])[0].requires_grad


def test_other_threads_have_as_many_as_before(threads):
    each(lambda part: part, [torch.zeros(1)])
    assert torch.get_num_threads() == threads
    with ThreadPoolExecutor(1) as another:
        assert another.submit(torch.get_num_threads).result() == threads


def test_what_fails_is_raised(threads):
    def compute(part):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        each(compute, [torch.zeros(1)])


def _doubled():
    assert torch.equal(each(lambda part: 2 * part, [torch.ones(1)])[0], torch.full((1,), 2.0))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no process is forked here")
def test_a_process_that_is_forked_has_threads_of_its_own(several):
    _doubled()
    child = multiprocessing.get_context("fork").Process(target=_doubled, daemon=True)
    child.start()
    child.join(30)
    assert child.exitcode == 0
