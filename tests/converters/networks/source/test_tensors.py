"""What is done with a value of the network, whose shapes follow from PyTorch's own documentation."""

import textwrap

import pytest

from converters.networks import Slice
from tests.helpers.sources import TORCH, read

NET = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 1)
        self.fc = nn.Linear(6, 14)

    def forward(self, x):
        h = {part}
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(h, 1), 1))
"""


@pytest.mark.parametrize(
    ("part", "start", "stop"),
    [
        ("torch.chunk(self.conv(x), 2, 3)[1]", 110, 220),
        ("self.conv(x).chunk(3, dim=-2)[1]", 74, 148),  # two of 74, and what is left
        ("self.conv(x).split(50, 2)[4]", 200, 220),
        ("torch.split(self.conv(x), [20, 30, 170], dim=-1)[1]", 20, 50),
    ],
)
def test_parts_along_a_side_are_of_that_side_s_length(part, start, stop, tmp_path):
    shapes = {"conv.weight": (6, 3, 1, 1), "conv.bias": (6,), "fc.weight": (14, 6), "fc.bias": (14,)}
    network = read(tmp_path, TORCH + textwrap.dedent(NET.format(part=part)), shapes).network
    assert [layer for layer in network.layers if isinstance(layer, Slice)] == [Slice(start, stop)]
