"""The ports of DeepPose to PyTorch that people hold: each is built here anew, from its source's description.

Every network is written in plain torch.nn, narrow, with random weights (tests/helpers/ports.py), and saved as its
program saved it. Pictures are made into inputs, and outputs into points, by the tests themselves: from the picture on,
the answer has to be the same.
"""

from collections import OrderedDict
from importlib.util import find_spec

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import converters
import deeppose_port
from converters import CheckpointError
from deeppose_port.backends import BackendError
from deeppose_port.cli import main
from deeppose_port.data.skeletons import FLIC
from tests.helpers.ports import (
    IMAGENET,
    HosseinPai,
    MMPose,
    ResNet,
    Ynaka81,
    answer,
    assert_same,
    back,
    drawn,
    letterbox,
    to_tensor,
    torchvision_alexnet,
    vgg16_bn,
)


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
    of_joints, of_colours = sorted(pose.checkpoint.notices)
    assert (of_joints[:31], of_colours) == ("its last layer has 32 rows, and", told)


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
    pose = deeppose_port.load(tmp_path / "epoch-9.model")
    assert pose.checkpoint.architecture.name == "alexnet-ynaka81"
    (notice,) = pose.checkpoint.notices
    assert "its name is one of ynaka81/DeepPoseComparison" in notice
    assert "taken as alexnet-ynaka81; override with --architecture alexnet" in notice
    assert_same(pose.predict(picture, (100, 60, 227, 227)), expected)
    (tmp_path / "epoch-9.model").rename(tmp_path / "named.pt")
    asked = deeppose_port.load(tmp_path / "named.pt", architecture="alexnet-ynaka81")
    assert_same(asked.predict(picture, (100, 60, 227, 227)), expected)


@pytest.mark.parametrize(("name", "prefix"), [("a.pt", ""), ("epoch-9.pth", ""), ("epoch-9.model", "module.")])
def test_under_another_name_it_is_taken_as_the_main_lines_with_a_notice(name, prefix, tmp_path):
    torch.save(wrapped(drawn(Ynaka81(28)).state_dict(), prefix), tmp_path / name)
    checkpoint = converters.read(tmp_path / name)
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
    few = folder.with_name("few.csv")
    few.write_text("".join((pictures / "free.csv").read_text().splitlines(keepends=True)[:3]))
    data = ["--train-csv", few, "--images", pictures, "--skeleton", "flic"]
    how = ["--epochs", 1, "--batch-size", 3, "--valid-freq", 0, "--threads", 1, "--recipe", "legacy"]
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
    assert (after.preprocessing.joints, after.preprocessing.limbs) == (FLIC.joints, FLIC.limbs)
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
