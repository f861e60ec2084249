"""Pictures a second of the full-size AlexNet, over the same network as one would write it down in PyTorch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.timing import Row, seconds_of, take_turns
from converters import Architecture, Checkpoint, Preprocessing, Source
from deeppose_port.backends.torch import build, predictor

BATCH = 32
ROUNDS = 7


class PlainAlexNet(nn.Module):
    """The same network from PyTorch's own parts: `local_response_norm`, contiguous memory."""

    def __init__(self, joints: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, 11, stride=4, padding=1)
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1)
        self.fc6 = nn.Linear(9216, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.fc8 = nn.Linear(4096, 2 * joints)

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns (N, 2 * joints) of (N, 3, 220, 220)."""
        x = _normalized(_pooled(functional.relu(self.conv1(inputs))))
        x = _normalized(_pooled(functional.relu(self.conv2(x))))
        x = functional.relu(self.conv4(functional.relu(self.conv3(x))))
        x = _pooled(functional.relu(self.conv5(x))).flatten(1)
        x = functional.dropout(functional.relu(self.fc6(x)), 0.6, self.training)
        x = functional.dropout(functional.relu(self.fc7(x)), 0.6, self.training)
        outputs: Tensor = self.fc8(x)
        return outputs


def _pooled(x: Tensor) -> Tensor:
    return functional.max_pool2d(x, 3, 2, ceil_mode=True)


def _normalized(x: Tensor) -> Tensor:
    # PyTorch divides alpha by the five channels of the window, Chainer does not.
    return functional.local_response_norm(x, 5, alpha=5e-4, beta=0.75, k=2.0)


def run() -> list[Row]:
    """Measures both in turns; the best round of each counts."""
    torch.manual_seed(0)
    architecture = Architecture.full_size("alexnet", joints=16)
    state = build(architecture).state_dict()
    weights = {name: tensor.numpy() for name, tensor in state.items()}
    source = Source("random weights", "", "pt", writer=architecture.writer)
    ours = predictor(Checkpoint(architecture, weights, Preprocessing(), source))
    plain = PlainAlexNet(joints=16).eval()
    plain.load_state_dict(state)
    inputs = np.random.default_rng(0).standard_normal((BATCH, 3, 220, 220), np.float32)

    def reference() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        with torch.inference_mode():
            outputs: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = plain(torch.from_numpy(inputs)).numpy()
        return outputs

    expected = reference()
    if np.abs(ours(inputs) - expected).max() > 1e-5 * np.abs(expected).max():
        raise RuntimeError("the two networks do not answer the same")
    times = take_turns(ROUNDS, lambda: seconds_of(lambda: ours(inputs)), lambda: seconds_of(reference))
    mine, theirs = (BATCH / min(seconds) for seconds in times)
    return [Row(f"AlexNet in test mode, batch {BATCH}, CPU: pictures a second", mine, theirs, "/s", "ratio", ">=", 1.1)]
