"""The ports of DeepPose to PyTorch that people hold: each is built here anew, from its source's description.

Every network is written in plain torch.nn, narrow, with random weights, and saved as its program saved it. Pictures are
made into inputs, and outputs into points, by the test itself: from the picture on, the answer has to be the same.
"""

from collections import OrderedDict
from importlib.util import find_spec

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

import converters
import deeppose_port
from converters import CheckpointError
from deeppose_port.backends import BackendError
from deeppose_port.cli import main

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BOUND = 1e-6


# --- the networks -----------------------------------------------------------------------------------------------------


def torchvision_alexnet(outputs):
    """torchvision.models.alexnet, narrow."""

    class AlexNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(
                *(nn.Conv2d(3, 8, 11, 4, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)),
                *(nn.Conv2d(8, 12, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)),
                *(nn.Conv2d(12, 16, 3, padding=1), nn.ReLU(inplace=True)),
                *(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(inplace=True)),
                *(nn.Conv2d(16, 12, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)),
            )
            self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
            self.classifier = nn.Sequential(
                *(nn.Dropout(), nn.Linear(12 * 36, 32), nn.ReLU(inplace=True)),
                *(nn.Dropout(), nn.Linear(32, 24), nn.ReLU(inplace=True), nn.Linear(24, outputs)),
            )

        def forward(self, x):
            return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))

    return AlexNet()


def vgg16_bn(outputs):
    """The network of WeightedLoss_DeepPose_PyTorch: torchvision's vgg16_bn as `model`, narrow."""

    class Vgg(nn.Module):
        def __init__(self):
            super().__init__()
            layers, channels = [], 3
            for width in (4, 4, "M", 6, 6, "M", 8, 8, 8, "M", 8, 8, 8, "M", 8, 8, 8, "M"):
                if width == "M":
                    layers.append(nn.MaxPool2d(2, 2))
                else:
                    layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
                    channels = width
            self.features = nn.Sequential(*layers)
            self.classifier = nn.Sequential(
                *(nn.Linear(8 * 49, 20), nn.ReLU(True), nn.Dropout()),
                *(nn.Linear(20, 16), nn.ReLU(True), nn.Dropout(), nn.Linear(16, outputs)),
            )

        def forward(self, x):
            return self.classifier(self.features(x).flatten(1))

    class HumanPoseNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = Vgg()

        def forward(self, x):
            return self.model(x)

    return HumanPoseNet()


class Block(nn.Module):
    """torchvision's BasicBlock and Bottleneck: the stride is on the 3x3 convolution."""

    def __init__(self, channels, middle, out, stride):
        super().__init__()
        self.bottleneck = out != middle
        kernels = (1, 3, 1) if self.bottleneck else (3, 3)
        widths = (middle, middle, out) if self.bottleneck else (out, out)
        strided = 1 if self.bottleneck else 0
        for i, (kernel, width) in enumerate(zip(kernels, widths, strict=True)):
            step = stride if i == strided else 1
            inputs = channels if i == 0 else widths[i - 1]
            setattr(self, f"conv{i + 1}", nn.Conv2d(inputs, width, kernel, step, kernel // 2, bias=False))
            setattr(self, f"bn{i + 1}", nn.BatchNorm2d(width))
        self.downsample = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.bottleneck:
            y = self.bn3(self.conv3(torch.relu(y)))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """torchvision's ResNet of any depth, narrow."""

    def __init__(self, depth, outputs):
        super().__init__()
        blocks = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}[depth]
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 7, 2, 3, bias=False), nn.BatchNorm2d(4)
        channels = 4
        for stage, count in enumerate(blocks, start=1):
            middle = 2 * 2**stage
            out = 4 * middle if depth >= 50 else middle
            layers = []
            for i in range(count):
                layers.append(Block(channels, middle, out, 2 if stage > 1 and i == 0 else 1))
                channels = out
            setattr(self, f"layer{stage}", nn.Sequential(*layers))
        self.fc = nn.Linear(channels, outputs)

    def maps(self, x):
        x = functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, x):
        return self.fc(functional.adaptive_avg_pool2d(self.maps(x), 1).flatten(1))


class HosseinPai(nn.Module):
    """CNN_Pos_D of HosseinPAI, narrow."""

    def __init__(self, outputs):
        super().__init__()
        self.Conv1 = nn.Conv2d(3, 8, 11, stride=4, padding=4)
        self.LRN1, self.MaxP1 = nn.LocalResponseNorm(5), nn.MaxPool2d(3, 2)
        self.Conv2 = nn.Conv2d(8, 12, 5, padding=2)
        self.LRN2, self.MaxP2 = nn.LocalResponseNorm(5), nn.MaxPool2d(3, 2)
        self.Conv3, self.Conv4 = nn.Conv2d(12, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.Conv5 = nn.Conv2d(16, 12, 3, padding=1)
        self.MaxP3, self.Dpout0 = nn.MaxPool2d(3, 2), nn.Dropout2d(0.6)
        self.FC1, self.FC2, self.FC3 = nn.Linear(12 * 36, 32), nn.Linear(32, 24), nn.Linear(24, outputs)

    def forward(self, x):
        x = self.MaxP1(self.LRN1(torch.relu(self.Conv1(x))))
        x = self.MaxP2(self.LRN2(torch.relu(self.Conv2(x))))
        x = torch.relu(self.Conv5(torch.relu(self.Conv4(torch.relu(self.Conv3(x))))))
        x = torch.flatten(self.Dpout0(self.MaxP3(x)), 1)
        return self.FC3(torch.relu(self.FC2(torch.relu(self.FC1(x)))))


class Ynaka81(nn.Module):
    """The AlexNet of DeepPoseComparison, narrow."""

    def __init__(self, outputs):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 8, 11, stride=4), nn.Conv2d(8, 12, 5, padding=2)
        self.conv3, self.conv4 = nn.Conv2d(12, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.conv5 = nn.Conv2d(16, 12, 3, padding=1)
        self.fc6, self.fc7, self.fc8 = nn.Linear(12 * 36, 32), nn.Linear(32, 24), nn.Linear(24, outputs)

    def forward(self, x):
        x = functional.max_pool2d(torch.relu(self.conv1(x)), 3, stride=2)
        x = functional.max_pool2d(torch.relu(self.conv2(x)), 3, stride=2)
        x = torch.relu(self.conv5(torch.relu(self.conv4(torch.relu(self.conv3(x))))))
        x = functional.max_pool2d(x, 3, stride=2).view(-1, 12 * 36)
        return self.fc8(torch.relu(self.fc7(torch.relu(self.fc6(x))))).view(-1, self.fc8.out_features // 2, 2)


def drawn(network, seed=0):
    """The network in evaluation mode, with random weights that let something through, and BatchNormalization's too."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if tensor.dim() > 1:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * (1.5 / tensor[0].numel()) ** 0.5)
        elif name.endswith("running_var") or (name.endswith("weight") and tensor.dim() == 1):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        elif tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
    return network.eval()


# --- the pictures -----------------------------------------------------------------------------------------------------


@pytest.fixture
def picture(pictures):
    """A picture that is no square: the astronaut's upper part."""
    return np.ascontiguousarray(cv2.imread(str(pictures / "astronaut.png"))[:400, 20:500])


def to_tensor(square, scale=255.0, mean=(0.0,) * 3, std=(1.0,) * 3):
    """torchvision's ToTensor and Normalize of a BGR picture, in RGB."""
    tensor = torch.from_numpy(square[:, :, ::-1].copy()).permute(2, 0, 1).float() / scale
    return ((tensor - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None])[None]


def letterbox(picture, width, height, corners=False, box=None):
    """A box of a picture in an input of another shape, black around it, and the matrix from one to the other."""
    x, y, w, h = box or (0, 0, picture.shape[1], picture.shape[0])
    wide = max(w, h * width / height)
    less = 1 if corners else 0
    sx, sy = (width - less) / wide, (height - less) / (wide * height / width)
    matrix = np.array([[sx, 0, (width - less) / 2 - sx * (x + w / 2)], [0, sy, (height - less) / 2 - sy * (y + h / 2)]])
    return cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR), matrix


def answer(network, inputs):
    with torch.inference_mode():
        return network(inputs).numpy().astype(np.float64).reshape(-1)


def back(points, matrix):
    return (points - matrix[:, 2]) / matrix.diagonal()


def assert_same(found, expected):
    """The same points to a millionth of the largest coordinate."""
    assert found.shape == expected.shape
    assert np.abs(expected).max() > 0
    assert np.abs(found - expected).max() <= BOUND * np.abs(expected).max()


# --- the ports --------------------------------------------------------------------------------------------------------


def test_torchvision_alexnet_answers_from_the_picture_on(tmp_path, picture):
    network = drawn(torchvision_alexnet(28))
    torch.save(network.state_dict(), tmp_path / "a.pth")
    square = cv2.resize(picture, (224, 224))
    expected = (answer(network, to_tensor(square, 255.0, *IMAGENET)).reshape(14, 2) + 0.5) * (480, 400)
    pose = deeppose_port.load(tmp_path / "a.pth")
    assert pose.checkpoint.architecture.name == "alexnet-torchvision"
    assert_same(pose.predict(picture), expected)
    assert any("published without their training" in notice for notice in pose.checkpoint.notices)


@pytest.mark.parametrize("side", [100, 227, 300])
def test_torchvision_alexnet_takes_inputs_of_any_size(side, tmp_path):
    network = drawn(torchvision_alexnet(28))
    torch.save(network.state_dict(), tmp_path / "a.pth")
    inputs = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    found = deeppose_port.load(tmp_path / "a.pth")(inputs.numpy())
    assert_same(found.reshape(-1), answer(network, inputs))
    with pytest.raises(ValueError, match="takes larger inputs, not 20"):
        deeppose_port.load(tmp_path / "a.pth")(np.zeros((1, 3, 20, 20)))


@pytest.mark.parametrize("counters", [True, False], ids=["today's PyTorch", "PyTorch 0.2"])
def test_vgg16_bn_answers_from_the_picture_on(counters, tmp_path, picture):
    network = drawn(vgg16_bn(28))
    state = {k: v for k, v in network.state_dict().items() if counters or "num_batches_tracked" not in k}
    rest = {"global_step": 9, "epoch": 3.5, "count": 1, "batch_size": 100, "weighted": False, "bandwidth": 50}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1).state_dict()
    torch.save(
        {**rest, "state_dict": state, "optimizer": optimizer, "dataset_size": 9000}, tmp_path / "ckpt_epoch_3.50.pth"
    )
    square = cv2.resize(picture, (224, 224))
    outputs = answer(network, to_tensor(square, 255.0, *IMAGENET))
    expected = (outputs.reshape(2, 14).T + 1) / 2 * (480, 400)  # all x, then all y
    pose = deeppose_port.load(tmp_path / "ckpt_epoch_3.50.pth")
    assert pose.checkpoint.source.wrappers == ("state_dict", "model.")
    assert_same(pose.predict(picture), expected)


def test_hosseinpai_answers_from_the_picture_on(tmp_path, picture):
    network = drawn(HosseinPai(28))
    torch.save(network.state_dict(), tmp_path / "model_epoch_7.pt")
    square = np.asarray(Image.fromarray(picture[:, :, ::-1]).resize((220, 220), Image.Resampling.BILINEAR))[:, :, ::-1]
    inputs = to_tensor(square, 255.0, (0.452, 0.445, 0.379), (0.216, 0.201, 0.203))
    expected = (answer(network, inputs).reshape(14, 2) + 0.5) * (480, 400)
    pose = deeppose_port.load(tmp_path / "model_epoch_7.pt")
    assert pose.checkpoint.architecture.name == "alexnet-hosseinpai"
    assert_same(pose.predict(picture), expected)


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
@pytest.mark.parametrize("joints", [16, 17])
def test_naman_ntc_answers_from_the_picture_on(depth, joints, tmp_path, picture):
    network = nn.Module()
    network.resnet = drawn(ResNet(depth, 2 * joints))
    torch.save(
        {"epoch": 4, "model_state": network.state_dict(), "optimizer_state": {"state": {}, "param_groups": []}},
        tmp_path / "a.pth",
    )
    square, matrix = letterbox(picture, 256, 256)
    outputs = answer(network.resnet, to_tensor(square, 256.0)).reshape(joints, 2)
    expected = back((outputs + (0.5 if joints == 16 else 0)) * 256, matrix)
    pose = deeppose_port.load(tmp_path / "a.pth")
    assert pose.checkpoint.architecture.name == f"resnet{depth}-torchvision"
    assert pose.checkpoint.source.wrappers == ("model_state", "resnet.")
    assert_same(pose.predict(picture), expected)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_wzmiaomiao_answers_from_the_picture_on(prefix, tmp_path, picture):
    network = drawn(ResNet(50, 2 * 98))
    state = {prefix + key: tensor for key, tensor in network.state_dict().items()}
    rest = {"optimizer": {"state": {}, "param_groups": []}, "lr_scheduler": {"last_epoch": 3}, "epoch": 3}
    torch.save({"model": state, **rest}, tmp_path / "model_weights_3.pth")
    square, matrix = letterbox(picture, 256, 256, corners=True)
    outputs = answer(network, to_tensor(square, 255.0, *IMAGENET)).reshape(98, 2)
    pose = deeppose_port.load(tmp_path / "model_weights_3.pth")
    assert pose.joints == 98
    assert_same(pose.predict(picture), back(outputs * 256, matrix))


class MMPose(nn.Module):
    """TopdownPoseEstimator with a ResNet and a RegressionHead."""

    def __init__(self, depth, outputs, head):
        super().__init__()
        self.backbone = ResNet(depth, outputs)
        regression = nn.Module()
        regression.fc = self.backbone.fc
        del self.backbone.fc
        setattr(self, head, regression)

    def forward(self, x):
        head = self.head if hasattr(self, "head") else self.keypoint_head
        return head.fc(functional.adaptive_avg_pool2d(self.backbone.maps(x), 1).flatten(1))


MMPOSE_COLOURS = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@pytest.mark.parametrize(
    ("depth", "joints", "width", "head"),
    [(50, 16, 256, "head"), (50, 17, 192, "head"), (101, 16, 256, "keypoint_head"), (152, 17, 192, "keypoint_head")],
)
def test_mmpose_answers_from_the_picture_on(depth, joints, width, head, tmp_path, picture):
    network = drawn(MMPose(depth, 2 * joints, head))
    torch.save({"meta": {"epoch": 210}, "state_dict": network.state_dict()}, tmp_path / "res-0123abcd_20210101.pth")
    inputs, matrix = letterbox(picture, width, 256)
    outputs = answer(network, to_tensor(inputs, 1.0, *MMPOSE_COLOURS)).reshape(joints, 2)
    expected = back(outputs * (width, 256), matrix)
    pose = deeppose_port.load(tmp_path / "res-0123abcd_20210101.pth")
    assert pose.preprocessing.shape == (256, width)
    assert_same(pose.predict(picture), expected)
    inputs, matrix = letterbox(picture, width, 256, box=(30, -10, 200, 390))
    outputs = answer(network, to_tensor(inputs, 1.0, *MMPOSE_COLOURS)).reshape(joints, 2)
    assert_same(pose.predict(picture, (30, -10, 200, 390)), back(outputs * (width, 256), matrix))


def test_mmpose_keeps_its_colours_in_the_file(tmp_path, picture):
    network = drawn(MMPose(50, 32, "head"))
    mean, std = (100.0, 110.0, 120.0), (50.0, 55.0, 60.0)
    state = {
        "data_preprocessor.mean": torch.tensor(mean)[:, None, None],
        "data_preprocessor.std": torch.tensor(std)[:, None, None],
        **network.state_dict(),
    }
    torch.save({"meta": {}, "state_dict": state}, tmp_path / "a.pth")
    inputs, matrix = letterbox(picture, 256, 256)
    outputs = answer(network, to_tensor(inputs, 1.0, mean, std)).reshape(16, 2)
    pose = deeppose_port.load(tmp_path / "a.pth")
    assert_same(pose.predict(picture), back(outputs * 256, matrix))
    told = "the mean and deviation of its inputs' colours are those in data_preprocessor.{mean,std}"
    assert pose.checkpoint.notices == (told,)


@pytest.mark.parametrize("std", [(0.0, 1.0, 1.0), (float("nan"), 1.0, 1.0), (1.0, 1.0), (1.0,) * 4])
def test_colours_that_cannot_be_are_passed_over(std, tmp_path):
    state = {"data_preprocessor.std": torch.tensor(std), **drawn(MMPose(50, 32, "head")).state_dict()}
    torch.save({"state_dict": state}, tmp_path / "a.pth")
    assert converters.read(tmp_path / "a.pth").preprocessing.std == MMPOSE_COLOURS[1]


def test_ynaka81_answers_from_the_picture_on(tmp_path, picture):
    network = drawn(Ynaka81(28))
    torch.save(network.state_dict(), tmp_path / "epoch-9.model")
    window = picture[60:287, 100:327]  # 227 pixels of it
    expected = answer(network, to_tensor(window)).reshape(14, 2) * 227 + (100, 60)
    pose = deeppose_port.load(tmp_path / "epoch-9.model", architecture="alexnet-ynaka81")
    assert_same(pose.predict(picture, (100, 60, 227, 227)), expected)


def test_a_file_of_ynaka81_is_taken_as_the_main_lines_with_a_notice(tmp_path):
    torch.save(drawn(Ynaka81(28)).state_dict(), tmp_path / "epoch-9.model")
    checkpoint = converters.read(tmp_path / "epoch-9.model")
    assert checkpoint.architecture.name == "alexnet"
    told = [notice for notice in checkpoint.notices if "--architecture alexnet-takiyu or alexnet-ynaka81" in notice]
    assert len(told) == 1


# --- what is around them ----------------------------------------------------------------------------------------------


def wrapped(state, prefix):
    return OrderedDict((prefix + key, tensor) for key, tensor in state.items())


@pytest.mark.parametrize(
    ("payload", "wrappers"),
    [
        (
            lambda state: {"state_dict": wrapped(state, "model."), "hyper_parameters": {"lr": 0.1}, "epoch": 3},
            ("state_dict", "model."),
        ),
        (
            lambda state: {"state_dict": wrapped(state, "net."), "pytorch-lightning_version": "2.1"},
            ("state_dict", "net."),
        ),
        (lambda state: wrapped(state, "module._orig_mod."), ("module.", "_orig_mod.")),
        (lambda state: wrapped(state, "_orig_mod.module."), ("_orig_mod.", "module.")),
        (lambda state: {"ema_state_dict": state}, ("ema_state_dict",)),
        (lambda state: {"state_dict_ema": wrapped(state, "module."), "epoch": 3}, ("state_dict_ema", "module.")),
        (lambda state: {"ema": {"shadow": state}}, ("ema", "shadow")),
        (lambda state: {"n_averaged": torch.tensor(3), **wrapped(state, "module.")}, ("module.",)),
    ],
    ids=["Lightning", "Lightning with net", "compiled", "compiled outside", "ema", "timm", "shadow", "averaged"],
)
def test_wrappers_are_stripped_and_said(payload, wrappers, tmp_path):
    network = drawn(torchvision_alexnet(28))
    torch.save(payload(network.state_dict()), tmp_path / "a.pt")
    checkpoint = converters.read(tmp_path / "a.pt")
    assert checkpoint.source.wrappers == wrappers
    assert checkpoint.weights.keys() == network.state_dict().keys()
    for name, tensor in network.state_dict().items():
        assert np.array_equal(checkpoint.weights[name], tensor.numpy())


def test_an_average_beside_the_weights_is_passed_over_and_said(tmp_path):
    network, average = drawn(torchvision_alexnet(28)), drawn(torchvision_alexnet(28), seed=1)
    torch.save({"state_dict": network.state_dict(), "ema_state_dict": average.state_dict()}, tmp_path / "a.pt")
    checkpoint = converters.read(tmp_path / "a.pt")
    assert np.array_equal(checkpoint.weights["features.0.weight"], network.features[0].weight.detach().numpy())
    said = "'ema_state_dict', where a training keeps a running average, was not read"
    assert any(said in notice for notice in checkpoint.notices)


def test_no_chainer_wrote_a_port(tmp_path):
    torch.save(drawn(ResNet(18, 32)).state_dict(), tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"exists in PyTorch alone, so chainer-1.13.0 did not write it \(leave"):
        converters.read(tmp_path / "a.pth", writer="chainer-1.13.0")


def test_half_precision_is_kept_and_computed_in_full(tmp_path):
    network = drawn(ResNet(18, 32)).half()
    torch.save(network.state_dict(), tmp_path / "a.pth")
    pose = deeppose_port.load(tmp_path / "a.pth")
    assert {str(w.dtype) for w in pose.checkpoint.weights.values()} == {"float16", "int64"}
    inputs = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(1))
    assert_same(pose(inputs.numpy()).reshape(-1), answer(network.float(), inputs))


def test_an_optimizer_of_pytorchs_alone_is_told(tmp_path):
    torch.save(torch.optim.Adam(drawn(Ynaka81(28)).parameters()).state_dict(), tmp_path / "epoch-9.state")
    with pytest.raises(CheckpointError, match="the state of an optimizer of PyTorch's, without the network's weights"):
        converters.read(tmp_path / "epoch-9.state")


def test_chainer_says_that_a_port_is_pytorchs_alone(tmp_path):
    if find_spec("chainer") is None:
        pytest.skip("chainer is not installed")
    torch.save(drawn(ResNet(18, 32)).state_dict(), tmp_path / "a.pth")
    with pytest.raises(BackendError, match="resnet18-torchvision exists in PyTorch alone: --backend torch runs it"):
        deeppose_port.load(tmp_path / "a.pth", backend="chainer")
    with pytest.raises(CheckpointError, match=r"resnet18-torchvision exists in PyTorch alone.*choose pt or"):
        converters.convert(tmp_path / "a.pth", tmp_path / "a.npz")


def train(backend, start, folder, pictures):
    data = ["--train-csv", pictures / "free.csv", "--images", pictures, "--skeleton", "flic"]
    how = ["--epochs", 1, "--batch-size", 13, "--valid-freq", 0, "--threads", 1]
    return main(["train", "--backend", backend, *map(str, (*data, "--init", start, "-o", folder, *how))])


@pytest.mark.parametrize(
    "network",
    [torchvision_alexnet, vgg16_bn, HosseinPai, lambda outputs: ResNet(18, outputs), lambda o: MMPose(50, o, "head")],
    ids=["AlexNet", "VGG", "HosseinPAI", "ResNet18", "MMPose"],
)
def test_a_port_is_trained_on_with_its_own_inputs(network, tmp_path, pictures):
    torch.save(drawn(network(14)).state_dict(), tmp_path / "a.pth")
    assert train("torch", tmp_path / "a.pth", tmp_path / "run", pictures) == 0
    before, after = converters.read(tmp_path / "a.pth"), converters.read(tmp_path / "run" / "epoch-1.pt")
    assert after.architecture == before.architecture
    assert after.preprocessing == before.preprocessing
    assert (after.progress.epoch, after.progress.iteration) == (1, 1)
    changed = [key for key, weight in after.weights.items() if not np.array_equal(weight, before.weights[key])]
    assert {key.rpartition(".")[0] for key in changed} == {key.rpartition(".")[0] for key in before.weights}


def test_chainer_refuses_to_train_a_port_before_it_makes_a_folder(tmp_path, pictures, capsys):
    if find_spec("chainer") is None:
        pytest.skip("chainer is not installed")
    torch.save(drawn(torchvision_alexnet(14)).state_dict(), tmp_path / "a.pth")
    assert train("chainer", tmp_path / "a.pth", tmp_path / "run", pictures) == 2
    assert "alexnet-torchvision exists in PyTorch alone: --backend torch runs it" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_port_keeps_its_preprocessing_where_it_is_written(suffix, tmp_path, picture):
    torch.save({"meta": {}, "state_dict": drawn(MMPose(50, 34, "head")).state_dict()}, tmp_path / "a.pth")
    converters.convert(tmp_path / "a.pth", tmp_path / f"b.{suffix}")
    first, second = deeppose_port.load(tmp_path / "a.pth"), deeppose_port.load(tmp_path / f"b.{suffix}")
    assert second.preprocessing == first.preprocessing
    assert second.checkpoint.architecture == first.checkpoint.architecture
    assert np.array_equal(second.predict(picture), first.predict(picture))
