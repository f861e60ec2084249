"""Random networks as source: what is read from it answers as the real framework that runs it."""

import importlib.util
import random

import numpy as np
import pytest

import converters
import deeppose_port
from tests.helpers.networks import error

torch = pytest.importorskip("torch")

SIDE = 64
#: What an answer may differ by, as a part of the largest one.
BOUND = 4e-6


class Maker:
    """Writes a network's source: lines of `__init__` and of the forward pass, in one framework's words."""

    def __init__(self, seed, chainer):
        self.random, self.chainer = random.Random(seed), chainer
        self.init, self.body, self.count = [], [], 0

    def layer(self, torch_code, chainer_code):
        self.count += 1
        name = f"m{self.count}"
        self.init.append(f"self.{name} = {chainer_code if self.chainer else torch_code}")
        return f"self.{name}"

    def convolution(self, x, inputs, outputs):
        kernel = self.random.choice([1, 3, 5, (3, 1)])
        pad = tuple(k // 2 for k in kernel) if isinstance(kernel, tuple) else kernel // 2
        groups = self.random.choice([1, 1, 2])
        bias = self.random.random() < 0.5
        made = self.layer(
            f"nn.Conv2d({inputs}, {outputs}, {kernel}, padding={pad}, groups={groups}, bias={bias})",
            f"L.Convolution2D({inputs}, {outputs}, {kernel}, pad={pad}, groups={groups}, nobias={not bias})",
        )
        code = f"{made}({x})"
        if self.random.random() < 0.5:
            eps = self.random.choice(["", ", eps=1e-3"])
            code = f"{self.layer(f'nn.BatchNorm2d({outputs}{eps})', f'L.BatchNormalization({outputs}{eps})')}({code})"
        return self.activation(code)

    def activation(self, x):
        words = ["F.relu({})", "F.elu({})", "F.selu({})", "F.softplus({})"]
        words += ["F.tanh({})", "F.leaky_relu({}, 0.1)", "F.sigmoid({}) * 2 - 1"]
        return self.random.choice(words if self.chainer else [w.replace("F.tanh", "torch.tanh") for w in words]).format(
            x
        )

    def pooling(self, x):
        kernel, stride = self.random.choice([(2, 2), (3, 2), (3, 3)])
        if self.random.random() < 0.5:
            return (
                f"F.average_pooling_2d({x}, {kernel}, {stride})"
                if self.chainer
                else f"F.avg_pool2d({x}, {kernel}, {stride})"
            )
        if self.chainer:
            return f"F.max_pooling_2d({x}, {kernel}, {stride}, cover_all={self.random.random() < 0.5})"
        return f"F.max_pool2d({x}, {kernel}, {stride}, ceil_mode={self.random.random() < 0.5})"

    def text(self):

        first = self.random.choice([4, 6, 8])
        self.body.append(f"h = {self.stem(first)}")
        channels = first
        for _ in range(self.random.randint(1, 4)):
            match self.random.randrange(5):
                case 0:
                    channels, before = self.random.choice([4, 6, 8]), channels
                    self.body.append(f"h = {self.convolution('h', before, channels)}")
                case 1:
                    self.body += [f"s = {self.convolution('h', channels, channels)}", "h = h + s"]
                case 2:
                    more = self.random.choice([2, 4])
                    self.body.append(f"s = {self.convolution('h', channels, more)}")
                    self.body.append("h = F.concat([h, s])" if self.chainer else "h = torch.cat([h, s], 1)")
                    channels += more
                case 3:
                    one, other = (self.convolution(part, channels, channels) for part in ("h", "a"))
                    self.body += [f"a = {one}", f"b = {other}", "h = (a + b) * 0.5 + h + a"]
                case 4:
                    self.body.append(f"h = {self.pooling('h')}")
        if self.chainer:
            self.body.append("h = F.average_pooling_2d(h, h.shape[2:])")
        else:
            self.body.append(self.random.choice(["h = h.mean([2, 3])", "h = F.adaptive_avg_pool2d(h, 1).flatten(1)"]))
        hidden = self.layer(f"nn.Linear({channels}, 12)", "L.Linear(None, 12)")
        last = self.layer("nn.Linear(12, joints * 2)", "L.Linear(12, joints * 2)")
        drop = "F.dropout(h, 0.3)" if self.chainer else "F.dropout(h, 0.3, training=self.training)"
        self.body += [f"h = {self.activation(f'{hidden}(h)')}", f"h = {drop}", f"return {last}(h)"]
        return self.written()

    def stem(self, outputs):
        made = self.layer(f"nn.Conv2d(3, {outputs}, 5, 2, 1)", f"L.Convolution2D(3, {outputs}, 5, 2, 1)")
        return self.activation(f"{made}(x)")

    def written(self):
        head = "import chainer\nimport chainer.functions as F\nimport chainer.links as L\n"
        if not self.chainer:
            head = "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"
        scope = "        with self.init_scope():\n" if self.chainer else ""
        indent = " " * (12 if self.chainer else 8)
        init = "".join(f"{indent}{line}\n" for line in self.init)
        body = "".join(f"        {line}\n" for line in self.body)
        base = "chainer.Chain" if self.chainer else "nn.Module"
        made = "    def __init__(self, joints):\n        super().__init__()\n" + scope + init
        return f"{head}\n\nclass Net({base}):\n{made}\n    def forward(self, x):\n{body}"


def check(seed, framework, tmp_path):
    text = Maker(seed, framework == "chainer").text()
    (tmp_path / "net.py").write_text(text)
    names = {}
    inputs = np.random.RandomState(seed).randn(2, 3, SIDE, SIDE).astype("f")
    if framework == "torch":
        exec(text, names)
        torch.manual_seed(seed)
        network = names["Net"](5)
        for _ in range(2):  # running statistics that are no longer 0 and 1
            network(torch.randn(4, 3, SIDE, SIDE))
        path = tmp_path / "model.pth"
        torch.save({"state_dict": network.state_dict()}, path)
        with torch.inference_mode():
            expected = network.eval()(torch.from_numpy(inputs)).numpy()
    else:
        from deeppose_port.backends.chainer.networks import chainer

        exec(text, names)
        np.random.seed(seed)
        network = names["Net"](5)
        with chainer.using_config("train", True):
            for _ in range(2):
                network(np.random.randn(4, 3, SIDE, SIDE).astype("f"))
        path = tmp_path / "epoch-1.model"
        chainer.serializers.save_npz(str(path), network, compression=False)
        (tmp_path / "log.txt").write_text("INFO:root:chainer version: 7.8.1\n")
        with chainer.using_config("train", False):
            expected = network(inputs).array
    pose = deeppose_port.load(path, preprocessing=converters.Preprocessing(im_size=SIDE))
    assert error(pose(inputs), expected) <= BOUND, text


@pytest.mark.parametrize("framework", ["torch", "chainer"])
@pytest.mark.parametrize("seed", [*range(8), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(8, 100))])
def test_a_random_network_answers_as_its_framework(seed, framework, tmp_path):
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    check(seed, framework, tmp_path)
