"""What the benchmarks compare with."""

import itertools

import pytest

from benchmarks import generated, legacy
from deeppose_port.data import PoseDataset
from tests.helpers.networks import random_checkpoint


def test_reference_of_the_data_benchmark_makes_the_legacy_programs_bits():
    legacy.check()


def test_generated_pictures_are_those_that_the_bounds_are_for(tmp_path):
    csv = generated.write(tmp_path, 18)
    dataset = PoseDataset(csv, images=tmp_path, skeleton="mpii")
    assert len(dataset) == 18
    assert {dataset.person(i).file for i in range(18)} == {f"{i:06}.jpg" for i in range(18)}
    assert dataset.picture(17).shape == (720, 1280, 3)
    assert dataset.visible.all()
    assert (dataset.joints.min(axis=(0, 1)) >= 0).all()
    assert (dataset.joints.max(axis=(0, 1)) <= (1280, 720)).all()


def test_peers_answer_alike_and_everything_that_is_installed_takes_part():
    torch = pytest.importorskip("torch")
    from benchmarks import peers

    before = torch.get_num_threads()
    checkpoint = random_checkpoint("resnet50", writer="chainer-7.8.1")
    cells = list(peers.measure(checkpoint, 1, (1, 2), rounds=1, seconds=0))
    assert [(cell.batch, cell.threads) for cell in cells] == [(1, 1), (2, 1)]
    assert {"ours, PyTorch", "PyTorch alone"} <= cells[0].rates.keys()
    assert all(difference < 1e-5 for cell in cells for difference in cell.differences.values())
    assert all(row.ours > 0 for cell in cells for row in peers.rows(cell))
    assert peers.table(cells).row_count == 2
    assert torch.get_num_threads() == before


def test_a_peer_that_its_first_call_leaves_far_behind_has_no_other():
    from benchmarks import peers

    called = []
    first = {"ours, PyTorch": 9.0, "fast": 2.0, "near": 2.4, "slow": 3.0}
    candidates = {name: lambda inputs, name=name: called.append(name) for name in first}
    best = peers._race(candidates, None, rounds=1, seconds=60, first=first)
    assert sorted(called) == ["fast", "near", "ours, PyTorch"]  # in an order of chance
    assert best["slow"] == 3


def test_what_is_measured_on_gpus_is_measured_on_a_cpu_where_it_can_be():
    pytest.importorskip("torch")
    from benchmarks import gpu

    found = list(gpu.rows("cpu", random_checkpoint("alexnet", writer="chainer-7.8.1").architecture, batch=2))
    found += gpu._by_level("cpu", 2, 20)
    exact = [row for row in found if row.compared == "ours"]
    assert len(exact) >= 3
    assert all(row.passed for row in exact)


def test_every_stage_of_the_cascade_that_is_measured_has_something_to_see(tmp_path):
    pytest.importorskip("torch")
    from benchmarks import cascade

    csv = generated.write(tmp_path, 2)
    pose = cascade.cascade_of(random_checkpoint(joints=generated.JOINTS).architecture)
    stages = cascade.evaluate_stages(pose, PoseDataset(csv, images=tmp_path, skeleton="mpii"))
    assert len(stages) == 3
    crop = 440 * 1.5
    for before, after in itertools.pairwise(stages):
        diameters = ((before.predicted[:, 2] - before.predicted[:, 13]) ** 2).sum(axis=1) ** 0.5
        assert (diameters > 0.05 * crop).all()
        assert ((after.predicted - before.predicted) != 0).all()
