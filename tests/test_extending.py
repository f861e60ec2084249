"""What a newcomer adds, added here from outside in the stated number of places, and used."""

import numpy as np
import pytest

import converters
import deeppose_port
from converters import Preprocessing
from converters.families import Family
from converters.networks import OUTPUTS, Convolution, GlobalAveragePooling, Linear, MaxPooling, ReLU
from tests.helpers.families import registered


class TestFamily:
    """An architecture, a fork or a port: one value."""

    family = Family(
        name="toy",
        title="somebody's student",
        recognised="`toy.*`",
        done="a convolution and two layers",
        tables={
            "toynet": (
                *(Convolution("conv", 16, 5, 2, 2), ReLU(), MaxPooling(2, 2, cover_all=False), GlobalAveragePooling()),
                *(Linear("hidden", 32), ReLU(), Linear("out", OUTPUTS)),
            )
        },
        naming={"short": {"toynet": ((r"^hidden\.", "h."), (r"^out\.", "o."))}},
        wrappers=("toy.",),
        preprocessing=Preprocessing(im_size=64, gcn="none", colour="RGB", part="picture", scale=255.0, frame="unit"),
        by_joints={2: Preprocessing(im_size=32, gcn="none", part="picture", joints=("hand", "foot"))},
        engines=("torch",),
        notice="nobody knows its inputs",
    )

    @pytest.fixture(autouse=True)
    def added(self):
        with registered(self.family):
            yield

    def network(self, joints):
        nn = pytest.importorskip("torch.nn")

        class Toy(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv, self.h, self.o = nn.Conv2d(3, 8, 5, 2, 2), nn.Linear(8, 12), nn.Linear(12, 2 * joints)

            def forward(self, x):
                x = nn.functional.max_pool2d(self.conv(x).relu(), 2).mean((2, 3))
                return self.o(self.h(x).relu())

        return Toy().eval()

    def test_a_file_of_it_is_read_and_answers(self, tmp_path):
        import torch

        network = self.network(joints=3)
        torch.save({f"toy.{key}": tensor for key, tensor in network.state_dict().items()}, tmp_path / "student.pth")
        pose = deeppose_port.load(tmp_path / "student.pth")
        assert pose.checkpoint.architecture.name == "toynet"
        assert pose.checkpoint.source.generation == "toy"
        assert pose.checkpoint.source.wrappers == ("toy.",)
        assert pose.checkpoint.source.writer == "torch"
        assert pose.preprocessing == self.family.preprocessing
        assert "nobody knows its inputs" in pose.checkpoint.notices
        inputs = np.random.RandomState(0).randn(2, 3, 64, 64).astype(np.float32)
        with torch.inference_mode():
            expected = network(torch.from_numpy(inputs)).numpy()
        np.testing.assert_allclose(pose(inputs), expected, rtol=0, atol=1e-6 * np.abs(expected).max())

    def test_a_number_of_joints_may_have_other_inputs(self, tmp_path):
        import torch

        torch.save(self.network(joints=2).state_dict(), tmp_path / "student.pth")
        assert converters.read(tmp_path / "student.pth").preprocessing == self.family.by_joints[2]

    def test_what_it_became_is_read_again(self, tmp_path):
        import torch

        torch.save(self.network(joints=3).state_dict(), tmp_path / "student.pth")
        converters.convert(tmp_path / "student.pth", tmp_path / "a.safetensors")
        inspection = converters.inspect(tmp_path / "a.safetensors")
        assert inspection.generation.name == "own"
        assert inspection.checkpoint.architecture == converters.read(tmp_path / "student.pth").architecture
