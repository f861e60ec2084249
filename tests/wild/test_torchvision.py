"""Regressors that people made of torchvision's networks: whatever they named the parts, the answers are the network's.

The same was seen with torchvision 0.29's own networks at full size: differences of at most 5e-6 of the largest answer.
"""

import itertools
import re

import numpy as np
import pytest

import converters
from tests.helpers.checkpoint_files import refused

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

import deeppose_port  # noqa: E402
from deeppose_port.cli import main  # noqa: E402
from tests.helpers.ports import (  # noqa: E402
    IMAGENET,
    ResNet,
    Vgg,
    answer,
    assert_same,
    drawn,
    to_tensor,
    torchvision_alexnet,
)

JOINTS = 14
#: BatchNormalization is folded into the convolutions, which rounds otherwise.
ROUNDING = 5e-6


def linear(inputs, outputs=2 * JOINTS):
    return nn.Linear(inputs, outputs)


def dropped(inputs):
    return nn.Sequential(nn.Dropout(), linear(inputs))


def two(inputs):
    return nn.Sequential(linear(inputs, 24), nn.ReLU(), nn.Dropout(), linear(24))


def two_without_dropout(inputs):
    return nn.Sequential(linear(inputs, 24), nn.ReLU(), linear(24))


def normalized(inputs):
    return nn.Sequential(linear(inputs, 24), nn.BatchNorm1d(24), nn.ReLU(), linear(24))


def torchvisions(inputs):
    return nn.Sequential(*two(inputs)[:3], linear(24, 20), nn.ReLU(), nn.Dropout(), linear(20))


def normalized_after(inputs):
    return nn.Sequential(linear(inputs, 24), nn.ReLU(), nn.BatchNorm1d(24), nn.Dropout(), linear(24))


def normalized_first(inputs):
    return nn.Sequential(nn.BatchNorm1d(inputs), nn.Dropout(), linear(inputs))


def pooled_inside(inputs):
    return nn.Sequential(nn.Identity(), nn.Identity(), nn.Flatten(), nn.Dropout(), linear(inputs))


def nested(inputs):
    return nn.Sequential(nn.Sequential(linear(inputs, 24), nn.ReLU(), nn.Dropout()), linear(24))


class Regressor(nn.Module):
    """Somebody's module: a body under some name, and a head."""

    def __init__(self, body, head, name="backbone", head_name="fc"):
        super().__init__()
        self.names = name, head_name
        setattr(self, name, body)
        setattr(self, head_name, head)

    def forward(self, x):
        name, head_name = self.names
        return getattr(self, head_name)(torch.flatten(getattr(self, name)(x), 1))


def cut(network, last=1):
    """`list(children())[:-1]`: torchvision's names become numbers."""
    return nn.Sequential(*list(network.children())[:-last])


def with_head(network, head):
    network.fc = head(network.fc.in_features)
    return network


def read_as(path, network, side=64):
    """The checkpoint, of which the answers are the network's; what is written of it is the same."""
    torch.save(network.state_dict(), path)
    inputs = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    expected = answer(network, inputs)
    pose = deeppose_port.load(path)
    assert_same(pose(inputs.numpy()).reshape(-1), expected, ROUNDING)
    converters.write(pose.checkpoint, path.with_suffix(".safetensors"))
    converted = converters.read(path.with_suffix(".safetensors"))
    weights = pose.checkpoint.weights
    assert converted.weights.keys() == weights.keys()
    assert all(np.array_equal(array, weights[name]) for name, array in converted.weights.items())
    assert converted.architecture == pose.checkpoint.architecture
    assert converted.preprocessing == pose.preprocessing
    return pose.checkpoint


HEADS = {
    "fc": linear,
    "fc.1": dropped,
    "fc.{0,3}": two,
    "fc.{0,2}": two_without_dropout,
    "fc.{0,1,3}": normalized,
    "fc.{0,2,4}": normalized_after,
    "fc.{0,2}, normalized": normalized_first,
    "fc.4": pooled_inside,
    "fc.0.0, fc.1": nested,
}


def quick(pairs, chosen):
    """Parameters of a test: pairs, of which those that are not chosen are slow."""
    return [pair if chosen(*pair) else pytest.param(*pair, marks=pytest.mark.slow) for pair in pairs]


@pytest.mark.parametrize(
    ("name", "head"),
    quick(
        itertools.product(["backbone", "resnet", "features", "feature_extractor"], HEADS),
        lambda name, head: name == "backbone" or head in ("fc", "fc.{0,3}"),
    ),
)
def test_children_of_a_resnet_by_their_numbers(name, head, tmp_path):
    body = ResNet(18, 1)
    network = drawn(Regressor(cut(body), HEADS[head](body.fc.in_features), name))
    checkpoint = read_as(tmp_path / "a.pth", network)
    assert checkpoint.joints == JOINTS
    assert checkpoint.source.generation == "torchvision"
    assert {"conv1.weight", "layer4.1.bn2.bias"} <= checkpoint.weights.keys()
    guessed = [notice for notice in checkpoint.notices if " is taken; --model-file" in notice]
    assert len(guessed) == (head not in ("fc", "fc.1", "fc.4"))


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_resnets_of_any_depth(depth, tmp_path):
    body = ResNet(depth, 1)
    network = drawn(Regressor(cut(body), linear(body.fc.in_features)))
    assert read_as(tmp_path / "a.pth", network).architecture.name == f"resnet{depth}-torchvision"


@pytest.mark.parametrize(
    ("depth", "head"), quick(itertools.product([34, 50], HEADS), lambda depth, head: depth == 50 or head == "fc")
)
def test_torchvisions_names_with_another_head(depth, head, tmp_path):
    checkpoint = read_as(tmp_path / "a.pth", drawn(with_head(ResNet(depth, 1), HEADS[head])))
    assert checkpoint.architecture.name.startswith(f"resnet{depth}-torchvision")


@pytest.mark.parametrize("head_name", ["fc", "head", "regressor", "classifier"])
def test_a_resnet_as_a_body_with_a_head_beside_it(head_name, tmp_path):
    body = ResNet(50, 1)
    channels, body.fc = body.fc.in_features, nn.Identity()
    read_as(tmp_path / "a.pth", drawn(Regressor(body, linear(channels), "encoder", head_name)))


@pytest.mark.parametrize(("depth", "groups", "factor"), [(50, 2, 2), (50, 4, 1), (101, 4, 2)])
@pytest.mark.parametrize("numbered", [False, True])
def test_resnexts_have_groups(depth, groups, factor, numbered, tmp_path):
    network = ResNet(depth, 2 * JOINTS, groups, factor)
    if numbered:
        network = Regressor(cut(network), network.fc)
    checkpoint = read_as(tmp_path / "a.pth", drawn(network))
    assert checkpoint.architecture.name == f"resnext{depth}_{groups}x{4 * factor // groups}d-torchvision"
    assert checkpoint.source.writer == "torch"


def test_a_resnet_and_its_head_in_one_sequential(tmp_path):
    body = ResNet(18, 1)
    network = nn.Sequential(*cut(body), nn.Flatten(), linear(body.fc.in_features))
    assert "fc.weight" in read_as(tmp_path / "a.pth", drawn(network)).weights


@pytest.mark.parametrize("depth", [50, 101])
def test_wide_resnets_are_wide(depth, tmp_path):
    network = drawn(ResNet(depth, 2 * JOINTS, factor=2))
    assert read_as(tmp_path / "a.pth", network).architecture.name == f"resnet{depth}-torchvision"


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
@pytest.mark.parametrize("batch_normalization", [False, True])
def test_vggs_of_any_depth(depth, batch_normalization, tmp_path):
    network = drawn(Vgg(depth, batch_normalization, torchvisions(8 * 49)))
    checkpoint = read_as(tmp_path / "a.pth", network)
    assert checkpoint.architecture.name == f"vgg{depth}{'_bn' * batch_normalization}-torchvision"
    assert not any("--model-file" in notice for notice in checkpoint.notices)
    assert checkpoint.preprocessing.shape == (224, 224)


@pytest.mark.parametrize("side", [1, 7])
@pytest.mark.parametrize("head", [linear, dropped, two, two_without_dropout, normalized])
def test_vggs_with_another_head(head, side, tmp_path):
    read_as(tmp_path / "a.pth", drawn(Vgg(16, True, head(8 * side**2), side)))


def test_torchvisions_head_whose_last_layer_is_a_sequential(tmp_path):
    network = Vgg(11, False, torchvisions(8 * 49))
    network.classifier[6] = dropped(20)
    read_as(tmp_path / "a.pth", drawn(network))


def test_a_head_that_is_cut_and_another_beside_it(tmp_path):
    network = Vgg(11, True, torchvisions(8 * 49))
    last, network.classifier = network.classifier[6], network.classifier[:6]
    whole = nn.Module()
    whole.backbone, whole.regressor = network, nn.Sequential(nn.Dropout(), last)
    whole.forward = lambda x: whole.regressor(network(x))
    read_as(tmp_path / "a.pth", drawn(whole))


@pytest.mark.parametrize("name", ["features", "backbone"])
@pytest.mark.parametrize("head", [linear, dropped, two, two_without_dropout])
def test_an_alexnet_with_another_head(head, name, tmp_path):
    network = torchvision_alexnet(1)
    network.classifier = head(12 * 36)
    drawn(network)
    state = {key.replace("features", name): tensor for key, tensor in network.state_dict().items()}
    torch.save(state, tmp_path / "a.pth")
    inputs = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    pose = deeppose_port.load(tmp_path / "a.pth")
    assert_same(pose(inputs.numpy()).reshape(-1), answer(network, inputs))
    assert pose.checkpoint.architecture.name.startswith("alexnet-torchvision-")


@pytest.mark.parametrize("name", ["backbone.", "features.", "vgg.features.", "0."])
def test_a_vggs_features_as_a_body(name, tmp_path):
    network = drawn(Vgg(11, False, dropped(8 * 49)))
    renamed = {"features.": name, "classifier.": "fc."}
    state = {re.sub(r"^\w+\.", lambda m: renamed[m[0]], key): tensor for key, tensor in network.state_dict().items()}
    torch.save(state, tmp_path / "a.pth")
    inputs = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    assert_same(deeppose_port.load(tmp_path / "a.pth")(inputs.numpy()).reshape(-1), answer(network, inputs))


def test_from_the_picture_on(tmp_path, picture):
    import cv2

    network = drawn(Regressor(cut(ResNet(50, 1)), linear(128)))
    torch.save(network.state_dict(), tmp_path / "a.pth")
    pose = deeppose_port.load(tmp_path / "a.pth")
    square = cv2.resize(picture, (224, 224))
    expected = (answer(network, to_tensor(square, 255.0, *IMAGENET)).reshape(JOINTS, 2) + 0.5) * (480, 400)
    assert_same(pose.predict(picture), expected)
    assert any("nothing says how these inputs were made" in notice for notice in pose.checkpoint.notices)
    assert converters.convert(tmp_path / "a.pth").verified


def test_what_was_built_is_written_and_trained_on(tmp_path, pictures):
    torch.save(
        drawn(with_head(ResNet(50, 1, groups=2), lambda n: nn.Sequential(*two(n)[:3], linear(24, 14)))).state_dict(),
        tmp_path / "a.pth",
    )
    data = ["--train-csv", pictures / "free.csv", "--images", pictures, "--skeleton", "flic"]
    how = ["--epochs", 1, "--batch-size", 13, "--valid-freq", 0, "--threads", 1, "--init", tmp_path / "a.pth"]
    how += ["--recipe", "legacy"]
    assert main(["train", "--backend", "torch", *map(str, (*data, *how, "-o", tmp_path / "run"))]) == 0
    before, after = converters.read(tmp_path / "a.pth"), converters.read(tmp_path / "run" / "epoch-1.pt")
    assert after.architecture == before.architecture
    assert not np.array_equal(after.weights["fc.3.weight"], before.weights["fc.3.weight"])


# --- Naman-ntc's released networks ------------------------------------------------------------------------------------


class Naman(nn.Module):
    """Its ResNet of 2018: torchvision 0.2's, whose pooling of 7 leaves 2 x 2 of a map of 8."""

    def __init__(self, depth, joints, sequential):
        super().__init__()
        self.resnet = ResNet(depth, 1)
        self.resnet.avgpool = nn.AvgPool2d(7, stride=1)
        last = nn.Linear(4 * self.resnet.fc.in_features, 2 * joints)
        self.resnet.fc = nn.Sequential(last) if sequential else last

    def forward(self, x):
        return self.resnet(x)


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("joints", [16, 17])
def test_naman_ntcs_released_networks(depth, sequential, joints, tmp_path):
    network = drawn(Naman(depth, joints, sequential))
    checkpoint = read_as(tmp_path / "a.pth", network, side=256)
    assert checkpoint.source.generation == "resnet-naman-ntc"
    assert checkpoint.preprocessing.shape == (256, 256)
    assert checkpoint.preprocessing.scale == 256
    assert checkpoint.preprocessing.frame == {16: "centred", 17: "unit"}[joints]
    assert (checkpoint.joints, checkpoint.architecture.accepts(256)) == (joints, True)
    assert not checkpoint.architecture.accepts(220)


def test_its_last_layer_may_stand_in_a_sequential(tmp_path):
    network = Naman(50, 16, sequential=True)
    network.resnet.avgpool, network.resnet.fc = nn.AdaptiveAvgPool2d(1), nn.Sequential(nn.Linear(128, 32))
    checkpoint = read_as(tmp_path / "a.pth", drawn(network))
    assert (checkpoint.architecture.name, checkpoint.source.generation) == ("resnet50-torchvision", "resnet-naman-ntc")


def test_its_networks_have_any_number_of_blocks(tmp_path):
    network = Naman(50, 16, sequential=False)
    network.resnet.avgpool, network.resnet.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(128, 32)
    network.resnet.layer3 = network.resnet.layer3[:2]
    checkpoint = read_as(tmp_path / "a.pth", drawn(network))
    assert checkpoint.source.generation == "resnet-naman-ntc"
    assert checkpoint.preprocessing.part == "letterbox"


@pytest.mark.parametrize("as_numbers", [True, False])
def test_second_names_of_the_same_arrays(as_numbers, tmp_path):
    network = drawn(Naman(18, 16, sequential=True))
    network.feat = cut(network.resnet, last=2) if as_numbers else network.resnet
    checkpoint = read_as(tmp_path / "a.pth", network, side=256)
    assert any("feat." in notice and "second names" in notice for notice in checkpoint.notices)
    assert not any(name.startswith("feat") for name in checkpoint.weights)


def test_second_names_of_other_numbers_are_refused(tmp_path):
    network = drawn(Naman(18, 16, sequential=True))
    network.feat = cut(network.resnet, last=2)
    state = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    state["feat.4.0.conv1.weight"][0, 0, 0, 0] += 1
    torch.save(state, tmp_path / "a.pth")
    refused(tmp_path / "a.pth", r"feat\.4\.0\.conv1\.weight look like second names .* and are not equal")


def test_a_wider_head_that_is_not_naman_ntcs_is_refused(tmp_path):
    state = drawn(Naman(18, 16, sequential=False)).state_dict()
    torch.save({key.removeprefix("resnet."): tensor for key, tensor in state.items()}, tmp_path / "a.pth")
    refused(
        tmp_path / "a.pth", r"nearest is resnet18-torchvision: fc\.weight of shape \(32, 128\) instead of \(32, 32\)"
    )


# --- what is none of them ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.update({"fc.5.weight": torch.ones(28, 28), "fc.5.bias": torch.ones(28)}),
        lambda state: state.update({"attention.weight": torch.ones(4, 4, 1, 1)}),
        lambda state: state.pop("backbone.4.1.bn1.weight"),
        lambda state: state.pop("backbone.5.0.conv1.weight"),
        lambda state: state.update({"backbone.4.0.conv1.weight": torch.ones(4, 3, 3, 3)}),
        lambda state: state.update({"backbone.4.0.conv1.weight": torch.ones(4, 0, 3, 3)}),
        lambda state: state.update({"backbone.4.0.conv1.weight": torch.ones(4)}),
        lambda state: state.update({"fc.weight": torch.ones(27, 32), "fc.bias": torch.ones(27)}),
        lambda state: state.update({"backbone.9.weight": torch.ones(28, 32)}),
        lambda state: state.update({"backbone.4.0.conv2.weight": torch.ones(8, 4, 3, 3)}),
    ],
)
def test_anything_else_is_refused(change, tmp_path):
    state = drawn(Regressor(cut(ResNet(18, 1)), linear(32))).state_dict()
    change(state)
    torch.save(state, tmp_path / "a.pth")
    refused(tmp_path / "a.pth", "its arrays fit no architecture")


@pytest.mark.parametrize(
    "change",
    [
        lambda state: [state.pop(f"features.28.{part}") for part in ("weight", "bias")],
        lambda state: [state.pop(f"classifier.{part}") for part in ("weight", "bias")],
        lambda state: state.update({"features.2.weight": torch.ones(4, 2, 3, 3)}),
        lambda state: state.update({"classifier.weight": torch.ones(28, 8 * 48)}),
    ],
)
def test_any_other_vgg_is_refused(change, tmp_path):
    state = drawn(Vgg(16, False, linear(8 * 49))).state_dict()
    change(state)
    torch.save(state, tmp_path / "a.pth")
    refused(tmp_path / "a.pth", "its arrays fit no architecture")


def test_an_odd_number_of_outputs_is_no_pose(tmp_path):
    torch.save(drawn(ResNet(50, 27, groups=2)).state_dict(), tmp_path / "a.pth")
    refused(tmp_path / "a.pth", "its arrays fit no architecture")


def test_a_block_whose_branches_do_not_fit_is_refused(tmp_path):
    state = drawn(ResNet(50, 28, groups=2)).state_dict()
    for key in ("layer1.1.conv3.weight", *(f"layer1.1.bn3.{part}" for part in ("weight", "bias", "running_mean"))):
        state[key] = state[key][:8].clone()
    torch.save(state, tmp_path / "a.pth")
    refused(tmp_path / "a.pth", "its arrays fit no architecture")


def test_two_bare_layers_do_not_tell_what_is_between_them(tmp_path):
    """A forward pass may have a ReLU between `fc1` and `fc2`, or none: only a Sequential's gaps tell."""
    network = nn.Module()
    body = ResNet(18, 1)
    network.backbone, network.fc1, network.fc2 = cut(body), linear(body.fc.in_features, 24), linear(24)
    torch.save(network.state_dict(), tmp_path / "a.pth")
    refused(tmp_path / "a.pth", "its arrays fit no architecture")


def test_layers_that_are_neighbours_may_have_something_between_them_all_the_same(tmp_path):
    network = ResNet(18, 1)
    features = network.fc.in_features
    network.fc = nn.Sequential(linear(features, 24), nn.BatchNorm1d(24), linear(24))
    torch.save(drawn(network).state_dict(), tmp_path / "a.pth")
    (notice,) = (notice for notice in converters.read(tmp_path / "a.pth").notices if "--model-file" in notice)
    assert "whose numbers follow each other, and the file does not tell whether" in notice


def test_what_may_follow_the_first_of_a_sequential_is_said(tmp_path):
    network = ResNet(18, 1)
    network.fc = nn.Sequential(linear(network.fc.in_features), nn.Sigmoid())
    torch.save(drawn(network).state_dict(), tmp_path / "a.pth")
    notices = converters.read(tmp_path / "a.pth").notices
    assert any("the file does not tell what follows it: nothing is taken; --model-file" in notice for notice in notices)
