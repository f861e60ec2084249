"""Modules and functions of PyTorch, read from sources without it."""

import pytest

from converters.errors import DeepPoseError
from converters.networks import Convolution
from tests.helpers.sources import TORCH, read

NET = (
    TORCH
    + """
class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 1)
        self.conv = nn.Conv2d(width, width, 3, groups=8)
        self.fc = nn.Linear(width, 14)

    def forward(self, x):
        h = self.conv(self.stem(x))
        {change}
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(h, 1), 1))
"""
)
SHAPES = {
    **{"stem.weight": (16, 3, 1, 1), "stem.bias": (16,), "conv.weight": (16, 2, 3, 3), "conv.bias": (16,)},
    **{"fc.weight": (14, 16), "fc.bias": (14,)},
}


def test_a_width_that_only_the_shapes_tell_goes_into_groups(tmp_path):
    network = read(tmp_path, NET.format(change="h = F.relu(h)"), SHAPES).network
    convolutions = [layer for layer in network.layers if isinstance(layer, Convolution)]
    assert [(layer.channels, layer.groups) for layer in convolutions] == [(16, 1), (16, 8)]


def test_some_of_a_list_of_modules_are_numbered_anew(tmp_path):
    text = f"""{TORCH}
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(3, 3, side) for side in (1, 3, 5)])[::-1]
        self.fc = nn.Linear(3, 14)

    def forward(self, x):
        for conv in self.convs:
            x = conv(x)
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))
"""
    sides = {"convs.0": 5, "convs.1": 3, "convs.2": 1}
    shapes = {f"{name}.weight": (3, 3, side, side) for name, side in sides.items()}
    shapes |= {**{f"{name}.bias": (3,) for name in sides}, "fc.weight": (14, 3), "fc.bias": (14,)}
    network = read(tmp_path, text, shapes).network
    kernels = [(layer.name, layer.kernel) for layer in network.layers if isinstance(layer, Convolution)]
    assert kernels == list(sides.items())


def test_a_power_that_whole_numbers_do_not_have_is_refused(tmp_path):
    with pytest.raises(DeepPoseError, match=r"net\.py, line 15: arrays under Pow: Integers to negative"):
        read(tmp_path, NET.format(change="h = h * torch.arange(2) ** -1"), SHAPES)


@pytest.mark.parametrize("change", ["h.add_(2, h)", "h.mul_()", "h.relu_(1, 2)", "torch.clamp_(h, lowest=0)"])
def test_arguments_of_what_works_in_place_that_are_not_known_are_refused(change, tmp_path):
    """`add_(2, h)`, the factor first, is how PyTorch before 1.5 was called."""
    with pytest.raises(DeepPoseError, match=r"net\.py, line 15: .*with these arguments is not known"):
        read(tmp_path, NET.format(change=change), SHAPES)
