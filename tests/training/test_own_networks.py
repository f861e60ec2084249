"""Trainings of networks that are in no family: anew from their source, and going on with it."""

import shutil

import numpy as np
import pytest

import converters
import deeppose_port
from deeppose_port.cli import main
from tests.helpers.networks import error, narrow_inputs
from tests.helpers.trainings import no_plots

MINE = """
import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, joints=16):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 7, 4), nn.BatchNorm2d(4), nn.ELU(), nn.AdaptiveAvgPool2d(4))
        self.norm = nn.Sequential(nn.GroupNorm(2, 4), nn.GELU())
        self.gain = nn.Parameter(torch.full((4, 1, 1), 0.5))
        self.register_buffer("mean", torch.tensor([0.5, 0.25, 0.125]).view(3, 1, 1))
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(64, joints * 2))

    def forward(self, x):
        return self.head(self.norm(self.body(x - self.mean)) * self.gain)
"""


def train(pictures, tmp_path, backend, *arguments):
    pytest.importorskip(f"deeppose_port.backends.{backend}.networks")
    data = ["--train-csv", pictures / "free.csv", "--images", pictures, "--skeleton", "flic", "--backend", backend]
    few = ["--batch-size", "4", "--snapshot", "1", "--valid-freq", "0", "--threads", "1", "-o", tmp_path / "run"]
    with no_plots():
        return main([str(argument) for argument in ("train", *data, *few, *arguments)])


@pytest.mark.parametrize("backend", ["torch", "chainer"])
@pytest.mark.parametrize("option", ["--model-file", "--model"])
def test_a_network_starts_anew_from_its_file(backend, option, pictures, tmp_path):
    (tmp_path / "net.py").write_text(MINE)
    assert train(pictures, tmp_path, backend, option, f"{tmp_path / 'net.py'}:Net", "--epochs", "1") == 0
    assert (tmp_path / "run" / "net.py").read_text() == MINE
    name = "epoch-1.pt" if backend == "torch" else "epoch-1.model"
    checkpoint = converters.read(tmp_path / "run" / name)
    assert (checkpoint.architecture.name, checkpoint.joints) == ("Net", 7)
    assert checkpoint.weights["mean"].reshape(-1).tolist() == [0.5, 0.25, 0.125]  # as its source has it
    gain = checkpoint.weights["gain"]
    assert (np.abs(gain - 0.5) < 0.1).all()
    assert (gain != 0.5).any()
    # It goes on from the folder, which holds all that is needed.
    (tmp_path / "net.py").unlink()
    assert train(pictures, tmp_path, backend, "--resume", tmp_path / "run", "--epochs", "2") == 0
    assert converters.read(tmp_path / "run" / name.replace("1", "2")).architecture.own == checkpoint.architecture.own


def test_an_old_run_goes_on_with_the_network_of_its_source(golden, pictures, tmp_path):
    folder = tmp_path / "g1"
    shutil.copytree(golden / "own-networks" / "g1_lrn_before_pool-chainer1.13.0", folder)
    slow = ("--epochs", "1", "--lr", "1e-12")
    assert train(pictures, tmp_path, "torch", "--init", folder / "epoch-10.model", *slow) == 0
    with np.load(folder / "expected.npz") as arrays:
        (expected,) = arrays.values()
    outputs = deeppose_port.load(tmp_path / "run" / "epoch-1.pt")(narrow_inputs())
    assert error(outputs, expected) <= 4e-6


def test_a_file_of_no_such_network_is_refused(pictures, tmp_path, capsys):
    (tmp_path / "net.py").write_text(MINE.replace("joints=16", "size=16").replace("joints * 2", "3"))
    assert train(pictures, tmp_path, "torch", "--model-file", tmp_path / "net.py") == 2
    assert "net.py:Net gives 3 numbers, not 14: two for each joint" in capsys.readouterr().err


def test_the_last_layer_is_drawn_anew_for_other_joints(golden, pictures, tmp_path):
    folder = golden / "own-networks" / "g2_bn_elu-chainer1.13.0"
    assert train(pictures, tmp_path, "torch", "--finetune", folder / "epoch-10.model", "--epochs", "1") == 0
    assert converters.read(tmp_path / "run" / "epoch-1.pt").joints == 7
