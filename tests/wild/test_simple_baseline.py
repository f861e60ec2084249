"""MMPose's heat maps on a ResNet: from files as MMPose writes them to joints, against the same network in torch.nn."""

import numpy as np
import pytest

import converters
from tests.helpers.checkpoint_files import refused

torch = pytest.importorskip("torch")
import deeppose_port  # noqa: E402
from deeppose_port.data.view import View  # noqa: E402
from tests.helpers.networks import load_in, runners  # noqa: E402
from tests.helpers.ports import ResNet, assert_same, back, drawn, letterbox, to_tensor  # noqa: E402

COLOURS = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
#: As mmcv's Config.pretty_text writes it, and mmengine's.
CONFIGURATION = "codec = dict(type='MSRAHeatmap', input_size=({width}, {height}), heatmap_size=(48, 64), sigma=2)"


class Head(torch.nn.Module):
    """Its HeatmapHead: transposed convolutions that double the maps, and a last convolution."""

    def __init__(self, channels, joints, kernels=(4, 4, 4), final=1):
        super().__init__()
        layers = []
        for kernel in kernels:
            pad, more = {4: (1, 0), 3: (1, 1), 2: (0, 0)}[kernel]
            layers += [
                torch.nn.ConvTranspose2d(channels, 8, kernel, 2, pad, more, bias=False),
                torch.nn.BatchNorm2d(8),
                torch.nn.ReLU(inplace=True),
            ]
            channels = 8
        self.deconv_layers = torch.nn.Sequential(*layers)
        self.final_layer = torch.nn.Conv2d(channels, joints, final, padding=final // 2)

    def forward(self, x):
        return self.final_layer(self.deconv_layers(x))


class SimpleBaseline(torch.nn.Module):
    """TopdownPoseEstimator with a ResNet and a HeatmapHead, or an IntegralRegressionHead around one."""

    def __init__(self, depth, joints, head="head", integral=False, **about):
        super().__init__()
        self.backbone = ResNet(depth, 1)
        channels = self.backbone.fc.in_features
        del self.backbone.fc
        self.name = head
        made = Head(channels, joints, **about)
        if integral:
            outer = torch.nn.Module()
            outer.simplebaseline_head = made
            outer.linspace_x = torch.nn.Parameter(torch.arange(64.0).reshape(1, 64) / 64, requires_grad=False)
            outer.linspace_y = torch.nn.Parameter(torch.arange(64.0).reshape(64, 1) / 64, requires_grad=False)
            made = outer
        setattr(self, head, made)

    def forward(self, x):
        head = getattr(self, self.name)
        return getattr(head, "simplebaseline_head", head)(self.backbone.maps(x))


def saved(path, network, **meta):
    torch.save({"meta": {"epoch": 210, **meta}, "state_dict": network.state_dict()}, path)
    return path


def maps_of(network, inputs):
    with torch.inference_mode():
        return network(torch.from_numpy(inputs)).numpy()


@pytest.mark.parametrize("runner", runners("torch", "onnxruntime"))
@pytest.mark.parametrize(
    ("depth", "head", "about"),
    [
        (18, "head", {}),
        (18, "keypoint_head", {"kernels": (4, 3, 2), "final": 3}),
        (50, "keypoint_head", {}),
        (50, "head", {"kernels": ()}),
    ],
)
def test_heat_maps_are_its_own(runner, depth, head, about, tmp_path):
    network = drawn(SimpleBaseline(depth, 16, head, **about))
    pose = load_in(saved(tmp_path / "a.pth", network), runner)
    inputs = np.random.RandomState(1).randn(2, 3, 64, 64).astype("f")
    found, expected = pose.heatmaps(inputs)[0], maps_of(network, inputs)
    assert found.shape == expected.shape == (2, 16, *(2 * [2 * 2 ** len(about.get("kernels", "444"))]))
    assert np.abs(found - expected).max() <= 2e-6 * np.abs(expected).max()
    assert (pose.checkpoint.architecture.name, pose.joints) == (f"simplebaseline-resnet{depth}", 16)


@pytest.mark.parametrize(("width", "height"), [(192, 256), (96, 128)])
def test_joints_are_where_its_codec_says(width, height, tmp_path, picture):
    """MSRAHeatmap: pixel i of W is at i / W of the input, and a quarter toward the larger neighbour."""
    network = drawn(SimpleBaseline(18, 17))
    text = CONFIGURATION.format(width=width, height=height)
    pose = deeppose_port.load(saved(tmp_path / "a.pth", network, cfg=text))
    assert pose.preprocessing.shape == (height, width)
    inputs, matrix = letterbox(picture, width, height)
    (maps,) = maps_of(network, to_tensor(inputs, 1.0, *COLOURS).numpy())
    points = []
    for one in maps:
        row, column = np.unravel_index(one.argmax(), one.shape)
        inner = 0 < row < one.shape[0] - 1 and 0 < column < one.shape[1] - 1
        dx = np.sign(one[row, column + 1] - one[row, column - 1]) if inner else 0
        dy = np.sign(one[row + 1, column] - one[row - 1, column]) if inner else 0
        points.append(((column + 0.25 * dx) * width / one.shape[1], (row + 0.25 * dy) * height / one.shape[0]))
    assert_same(pose.predict(picture), back(np.array(points), matrix))


def test_an_integral_head_takes_the_mean(tmp_path, picture):
    network = drawn(SimpleBaseline(18, 16, integral=True))
    pose = deeppose_port.load(saved(tmp_path / "a.pth", network))
    assert pose.checkpoint.source.generation == "integral-mmpose"
    assert any("linspace" in notice for notice in pose.checkpoint.notices)
    inputs, matrix = letterbox(picture, 256, 256)
    (maps,) = maps_of(network, to_tensor(inputs, 1.0, *COLOURS).numpy())
    weights = torch.from_numpy(maps).double().flatten(1).softmax(1).reshape(maps.shape).numpy()
    places = np.arange(64) / 64
    points = np.stack([weights.sum(axis=1) @ places, weights.sum(axis=2) @ places], axis=1) * 256
    assert_same(pose.predict(picture), back(points, matrix), 1e-5)  # of maps that the softmax magnifies


def test_what_it_is_goes_along(tmp_path):
    path = saved(tmp_path / "a.pth", drawn(SimpleBaseline(18, 17)))
    checkpoint = converters.read(path)
    assert checkpoint.preprocessing.shape == (256, 192)
    for name in ("b.pt", "b.safetensors"):
        assert converters.convert(path, tmp_path / name).verified
        again = converters.read(tmp_path / name)
        assert (again.architecture, again.preprocessing) == (checkpoint.architecture, checkpoint.preprocessing)
    picture = np.random.RandomState(0).randint(0, 256, (90, 60, 3), np.uint8)
    view = View.of_box(None, 60, 90, again.preprocessing)
    inputs = view.input(picture)[None]
    one, other = (deeppose_port.load(file).heatmaps(inputs) for file in (path, tmp_path / "b.pt"))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("given", "text", "phrase"),
    [
        ({}, "data_cfg = dict(use_udp=True)", "with UDP"),
        ({}, "codec = dict(type='UDPHeatmap')", "with UDP"),
        ({"integral": True}, "head=dict(type='DSNTHead', debias=True, beta=10.)", "whose bias was removed"),
        ({"integral": True}, "head=dict(type='DSNTHead', beta=10.)", r"whose maps are multiplied \(beta\)"),
    ],
)
def test_what_is_decoded_otherwise_is_refused(given, text, phrase, tmp_path):
    refused(saved(tmp_path / "a.pth", drawn(SimpleBaseline(18, 17, **given)), cfg=text), phrase)


@pytest.mark.parametrize("text", ["beta=1.0, debias=False", "use_udp=False, unbiased=False, post_process='default'"])
def test_what_is_decoded_so_is_read_without_a_word(text, tmp_path):
    network = drawn(SimpleBaseline(18, 17, integral="beta" in text))
    notices = converters.read(saved(tmp_path / "a.pth", network, cfg=text)).notices
    assert not any("configuration" in notice for notice in notices)


@pytest.mark.parametrize("text", ["codec=dict(unbiased=True)", "test_cfg=dict(post_process='unbiased')"])
def test_darkpose_is_said(text, tmp_path):
    notices = converters.read(saved(tmp_path / "a.pth", drawn(SimpleBaseline(18, 17)), cfg=text)).notices
    assert any("found as DarkPose does" in notice for notice in notices)


def test_a_layer_that_is_missing_is_named(tmp_path):
    network = drawn(SimpleBaseline(18, 17))
    state = network.state_dict()
    del state["head.deconv_layers.4.running_mean"]
    torch.save({"state_dict": state}, tmp_path / "a.pth")
    refused(tmp_path / "a.pth", r"deconv_layers\.4")
