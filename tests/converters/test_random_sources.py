"""Random networks as source: what is read from it answers as the real framework that runs it."""

import importlib.util
import random
import textwrap

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


def check(text, seed, framework, tmp_path):
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
        (tmp_path / "log.txt").write_text(f"INFO:root:chainer version: 7.8.1\nINFO:root:Namespace(im_size={SIDE})\n")
        with chainer.using_config("train", False):
            expected = network(inputs).array
    pose = deeppose_port.load(path, preprocessing=converters.Preprocessing(im_size=SIDE))
    assert error(pose(inputs), expected) <= BOUND, text


@pytest.mark.parametrize("framework", ["torch", "chainer"])
@pytest.mark.parametrize("seed", [*range(8), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(8, 100))])
def test_a_random_network_answers_as_its_framework(seed, framework, tmp_path):
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    check(Maker(seed, framework == "chainer").text(), seed, framework, tmp_path)


#: What may be done with a map `h` of six channels -> the channels of what comes of it, which is a map or features.
WORDS = {
    "torch": {
        "h.mean((2, 3), keepdim=True)": 6,
        "h.amax((2, 3), keepdim=True)": 6,
        "h.mean(3, keepdim=True).mean(2, keepdim=True)": 6,
        "h.mean(2, keepdim=True).mean(3, keepdim=True)": 6,
        "F.adaptive_max_pool2d(h, (2, 3))": 6,
        "F.adaptive_avg_pool2d(h, 3)": 6,
        "F.leaky_relu(h)": 6,
        "F.hardtanh(h, 0.0, 2.0)": 6,
        "self._modules['side'](h)": 5,
        "torch.chunk(h, 3, 1)[2]": 2,
        "torch.split(h, [1, 5], 1)[1]": 5,
        "torch.split(h, 4, 1)[1]": 2,
        "h[:, 1:3]": 2,
        "h[:, :-2]": 4,
        "F.interpolate(h, scale_factor=2)": 6,
        "F.pad(h, (1, 0, 2, 1))": 6,
        "F.hardtanh(h)": 6,
        "h[:, ::2]": 3,
        "h[:, [5, 0, 1, 2]]": 4,
        "h.flip(1) * h": 6,
        "torch.clamp(h, -0.1, 0.2)": 6,
        "h.clamp(max=0.1)": 6,
        "torch.add(h, h.tanh(), alpha=2)": 6,
        "h * h.mean((2, 3))[:, :, None, None]": 6,
        "h + F.adaptive_avg_pool2d(h, 1).expand_as(h)": 6,
        "F.gelu(h)": 6,
        "F.gelu(h, approximate='tanh')": 6,
        "F.mish(h) + F.silu(h) - F.hardswish(h)": 6,
        "F.celu(h, 0.5) + F.logsigmoid(h) * F.tanhshrink(h)": 6,
        "F.glu(h, 1)": 3,
        "self.groups(h) * 2": 6,
        "self.instances(h)": 6,
        "self.own(h)": 6,
        "self.last(h.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)": 6,
        "self.whole(h)": 6,
        "self.up(h)": 6,
        "self.corners(h)": 6,
        "F.interpolate(h[:, :, 1:, 1:], scale_factor=0.5, mode='bilinear', align_corners=False)": 6,
        "F.interpolate(F.adaptive_avg_pool2d(h, 5), size=(9, 7), mode='bilinear')": 6,
        "F.interpolate(F.adaptive_avg_pool2d(h, 5), (9, 7))": 6,
        "F.interpolate(F.adaptive_avg_pool2d(h, 6), size=(4, 3), mode='area')": 6,
        "F.normalize(h) + F.normalize(h, p=1, dim=3)": 6,
        "h / (h.abs() + 1) + 1 / (h ** 2 + 2)": 6,
        "torch.sqrt(torch.exp(h) + 1) * h.sin() - torch.log(h.square() + 1).cos()": 6,
        "h.sum((2, 3), keepdim=True) / 99 + h.mean(1, keepdim=True)": 6,
        "h.max(1, keepdim=True)[0] - h.min(3, keepdim=True)[0]": 6,
        "torch.max(h, -h) + torch.minimum(h, h.tanh())": 6,
        "F.softmax(h.flatten(2), dim=2).view(h.shape) * 99": 6,
        "F.softmax(h, 1) + self.shares(h)": 6,
        "F.pixel_shuffle(h[:, :4], 2)": 1,
        "self.mirror(h) + self.border(h) + F.pad(h, (1, 2, 3, 0), mode='circular')": 6,
        "self.circle(h)": 4,
        "self.shared(h)": 6,
        "self.shuffle(h[:, :4])": 1,
        "(h * self.gain + self.level - self.gain) / self.level": 6,
        "(self.mean - h) / self.std + 2 / (h.abs() + self.std[0])": 6,
        "F.softsign(h) + F.softshrink(h, 0.2) - F.log_softmax(h, 1)": 6,
        "F.layer_norm(h.permute(0, 2, 3, 1), (6,), self.gamma, eps=1e-2).permute(0, 3, 1, 2)": 6,
        "F.group_norm(h, 2, bias=self.gamma) + F.instance_norm(h)": 6,
        "h.var((2, 3), keepdim=True) + h.std(1, unbiased=False, keepdim=True)": 6,
        "h.clamp(min=1e-3).pow(1 / 3) + (h.abs() + 1) ** -0.7": 6,
        "F.adaptive_avg_pool2d(h, (None, 1)) * F.adaptive_max_pool2d(h, (1, None))": 6,
        "(self.gamma * h.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)": 6,
        "h * torch.arange(h.size(3), device=h.device).float() / h.size(3) - torch.linspace(0, 1, 31)[None, :, None]": 6,
        "h - torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).view(1, 6, 1, 1).to(h)": 6,
        "torch.cat([h, torch.stack(torch.meshgrid(torch.linspace(-1, 1, h.shape[2]), torch.arange(31) / 30, "
        "indexing='ij')).unsqueeze(0).expand(h.size(0), -1, -1, -1)], 1)": 8,
    },
    "chainer": {
        "F.mean(h, axis=(2, 3), keepdims=True)": 6,
        "F.max(h, axis=(2, 3), keepdims=True)": 6,
        "F.unpooling_2d(h, 2, cover_all=False)": 6,
        "F.unpooling_2d(h, 2, outsize=(62, 62))": 6,
        "self.side(h)": 5,
        "F.split_axis(h, 3, 1)[1]": 2,
        "F.split_axis(h, [1, 4], 1)[1]": 3,
        "F.leaky_relu(h)": 6,
        "F.local_response_normalization(h, n=4)": 6,
        "F.pad(h, ((0, 0), (0, 0), (2, 1), (0, 1)), 'constant')": 6,
        "h[:, 1:3]": 2,
        "self.groups(h) * 2": 6,
        "self.own(h) + 1": 6,
        "self.offset(h) + self.rows(h)": 6,
        "F.resize_images(h, (9, 40))": 6,
        "F.resize_images(h, h.shape[2:])": 6,
        "F.resize_images(h, (9, 40), align_corners=False)": 6,
        "F.resize_images(h, (40, 9), mode='nearest')": 6,
        "F.softmax(h) + F.softmax(h, axis=3)": 6,
        "F.normalize(h) + F.normalize(h, axis=2)": 6,
        "F.depth2space(h[:, :4], 2)": 1,
        "F.maximum(h, F.tanh(h)) - F.minimum(h, -h)": 6,
        "F.min(h, axis=1, keepdims=True)": 1,
        "F.sqrt(F.exp(h)) / (F.sin(h) + 2) - F.log(h ** 2 + 1) * F.cos(h)": 6,
        "F.mean(h, axis=1, keepdims=True)": 1,
        "F.sum(h, axis=1, keepdims=True)": 1,
        "self.shared(h, n_batch_axes=3)": 6,
        "h * F.broadcast_to(self.gain, h.shape) - self.gain": 6,
        "h * F.broadcast_to(self.plain(), h.shape)": 6,
        "F.scale(h, self.slope) + F.bias(h, self.slope) / (1 + h ** 2)": 6,
        "F.bias(h, F.mean(h, axis=(2, 3)), axis=0) - self.mean": 6,
        "self.swish(h)": 6,
        "F.concat([h, self.xp.broadcast_to(self.xp.arange(31).astype('f') / 30, (len(h), 1, 31, 31))])": 7,
    },
}
#: What is made for these words: normalisations of each example by itself, and new sizes.
MADE = {
    "torch": """
        self.groups, self.instances = nn.GroupNorm(3, 6, eps=1e-2), nn.InstanceNorm2d(6)
        self.own = nn.InstanceNorm2d(6, affine=True)
        self.last, self.whole = nn.LayerNorm(6), nn.LayerNorm([6, 31, 31], elementwise_affine=False)
        self.up = nn.Upsample(scale_factor=2, mode='bilinear')
        self.corners = nn.UpsamplingBilinear2d(scale_factor=(2, 3))
        self.shares, self.shuffle = nn.Softmax(dim=-1), nn.PixelShuffle(2)
        self.mirror, self.border = nn.ReflectionPad2d((1, 2, 3, 0)), nn.ReplicationPad2d((1, 2, 3, 0))
        self.circle = nn.Conv2d(6, 4, 3, padding=1, padding_mode='circular')
        self.shared = nn.Linear(31, 4)
        self.gain, self.gamma = nn.Parameter(torch.ones(6, 1, 1) * 1e-2), nn.Parameter(torch.rand(6))
        self.level = nn.Parameter(torch.Tensor(1, 6, 1, 1).fill_(0.5))
        self.register_buffer('mean', torch.randn(6, 1, 1))
        self.register_buffer('std', torch.tensor([0.5, 0.25, 1, 2, 3, 4]).view(1, 6, 1, 1))
    """,
    "chainer": """
        self.groups, self.own = L.GroupNormalization(3, eps=1e-2), L.GroupNormalization(6, 6)
        self.offset, self.rows = L.Bias(shape=(6,)), L.Bias(2, 31)
        self.shared, self.swish = L.Linear(31, 4), L.Swish((6,))
        self.gain, self.slope = chainer.Parameter(1.0, (1, 6, 1, 1)), chainer.Parameter(self.xp.ones(6, 'f'))
        self.plain = L.Parameter(self.xp.ones((1, 6, 1, 1), 'f'))
        self.add_persistent('mean', self.xp.arange(6).astype('f').reshape(1, 6, 1, 1))
    """,
}


@pytest.mark.parametrize("framework", WORDS)
def test_each_word_means_what_it_means_in_its_framework(framework, tmp_path):
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    maker = Maker(0, framework == "chainer")
    maker.init.append(f"self.side = {'L.Convolution2D' if framework == 'chainer' else 'nn.Conv2d'}(6, 5, 3)")
    maker.body.append(f"h = {maker.layer('nn.Conv2d(3, 6, 5, 2, 1)', 'L.Convolution2D(3, 6, 5, 2, 1)')}(x)")
    maker.init += textwrap.dedent(MADE[framework]).strip().splitlines()
    maker.body.append("m = F.mean(h)" if framework == "chainer" else "m = h.mean()")  # which nothing is made of
    for i, (word, channels) in enumerate(WORDS[framework].items()):
        last = maker.layer(f"nn.Linear({channels}, joints * 2)", f"L.Linear({channels}, joints * 2)")
        maker.body.append(f"p = F.relu({word})")
        maker.body.append(f"q = {last}({'F.mean(p, axis=(2, 3))' if framework == 'chainer' else 'p.mean((2, 3))'})")
        maker.body.append("a = a + q" if i else "a = q")
    maker.body.append("return a")
    check(maker.written(), 0, framework, tmp_path)
