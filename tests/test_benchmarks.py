"""What the benchmarks compare with."""

from benchmarks import generated, legacy
from deeppose_port.data import PoseDataset


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
