"""Networks that PyTorch compiles, whole and without a break, learn as they do otherwise."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from converters import Preprocessing
from converters.networks import TABLES, BatchNormalization, Convolution, GlobalAveragePooling, Linear, ReLU
from deeppose_port.backends.torch import load
from deeppose_port.training.initial import initial_architecture, initial_checkpoint
from tests.helpers.layers import network_of

#: Sides of inputs that some architectures cannot do without; others take 197 pixels.
SIDES = {"resfpn-softargmax": 64, "alexnet-ynaka81": 227}
#: Those with the blocks of another one, and more of them.
DEEPER = ("resnet34-torchvision", "resnet101-torchvision", "resnet152-torchvision")


def compare(checkpoint, inputs):
    """Makes two steps with a network as it is and with its compiled one."""
    torch._dynamo.reset()
    plain, network = (load(checkpoint, 0.0).train() for _ in range(2))
    # Without what makes code of the graph, which needs a compiler and minutes.
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    for _ in range(2):
        for answer in (plain, compiled):
            answer(torch.from_numpy(inputs)).square().mean().backward()
    for one, other in zip(plain.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)
    for one, other in zip(plain.buffers(), network.buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "writer",
    [
        "chainer-1.13.0",
        *(pytest.param(w, marks=pytest.mark.slow) for w in ("chainer-1.22.0", "chainer-7.8.1", "torch")),
    ],
)
def test_each_writers_batch_normalization_compiles(writer):
    layers = (Convolution("conv", 4, 3), BatchNormalization("bn"), ReLU(), GlobalAveragePooling(), Linear("fc", 2))
    compare(*network_of(*layers, writer=writer))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TABLES if name not in DEEPER])
def test_each_architecture_compiles(name):
    side = SIDES.get(name, 197)
    architecture = initial_architecture(name, 5, side, "0.0625")
    checkpoint = initial_checkpoint(architecture, Preprocessing(im_size=side), 1)
    compare(checkpoint, np.random.RandomState(2).randn(3, 3, side, side).astype("f"))


@pytest.mark.end_to_end
def test_the_compiler_is_not_loaded_to_predict():
    program = "import sys, deeppose_port.backends.torch.training; print('torch._dynamo' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"
