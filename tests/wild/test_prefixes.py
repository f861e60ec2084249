"""Files whose keys stand under a prefix that no known program puts there, or have a wrapper inside."""

import numpy as np
import pytest

import converters
from tests.helpers.checkpoint_files import (
    PLAIN_ALEXNET,
    adam_state,
    alexnet,
    assert_same_arrays,
    in_torch_names,
    refused,
    save_npz,
    wrapped,
)

torch = pytest.importorskip("torch")
import deeppose_port  # noqa: E402
from tests.helpers.ports import ResNet, answer, assert_same, drawn, torchvision_alexnet  # noqa: E402

PREFIXES = (
    *("alexnet.", "backbone.", "base.", "base_model.", "cnn.", "encoder.", "feature_extractor.", "generator.", "m."),
    *("pretrained.", "regressor.", "resnet18.", "resnet50.", "self.", "student.", "_forward_module."),
    *("_fsdp_wrapped_module.", "ddp.module.", "module.student.", "lightning.model.encoder."),
)


def answers_as(path, network, side=64):
    """Whether a file's network is that one, in what it answers."""
    inputs = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    pose = deeppose_port.load(path)
    assert_same(pose(inputs.numpy()).reshape(-1), answer(network, inputs))
    return pose.checkpoint


@pytest.mark.parametrize("prefix", PREFIXES)
def test_any_prefix_of_every_key_is_stripped_and_said(prefix, tmp_path):
    network = drawn(ResNet(18, 28))
    torch.save(wrapped(network.state_dict(), prefix), tmp_path / "a.pth")
    checkpoint = answers_as(tmp_path / "a.pth", network)
    assert "".join(checkpoint.source.wrappers) == prefix
    assert checkpoint.architecture.name == "resnet18-torchvision"
    told = f"every key begins with {prefix!r}, which was stripped: the rest is one network"
    assert told in checkpoint.notices


@pytest.mark.parametrize(
    "prefix", ["0/", "Alex/", "alexnet/", "cnn/", "main/", "net/", "target/", "updater/model:gen/"]
)
def test_so_is_a_chainer_files_and_it_comes_back(prefix, tmp_path):
    save_npz(tmp_path / "a.model", wrapped(alexnet(), prefix))
    save_npz(tmp_path / "a.state", adam_state(wrapped(alexnet(), prefix)))
    checkpoint = converters.read(tmp_path / "a.model")
    assert_same_arrays(checkpoint.weights, in_torch_names(alexnet()))
    assert f"every key begins with {prefix!r}, which was stripped: the rest is one network" in checkpoint.notices
    assert PLAIN_ALEXNET in checkpoint.notices
    assert checkpoint.optimizer.slots["m"].keys() == checkpoint.weights.keys()
    converters.convert(tmp_path / "a.model", tmp_path / "b.pt")
    converters.convert(tmp_path / "b.pt", tmp_path / "c.npz")
    with np.load(tmp_path / "c.npz") as back, np.load(tmp_path / "a.model") as old:
        assert set(back.files) == set(old.files)


def with_inner(state, layer, inner):
    return {key.replace(layer, f"{layer}{inner}", 1): tensor for key, tensor in state.items()}


@pytest.mark.parametrize("inner", ["module.", "_orig_mod.", "_fsdp_wrapped_module.", "module._orig_mod."])
@pytest.mark.parametrize("prefix", ["", "module.", "student."])
def test_wrappers_inside_of_keys_are_dropped_and_said(inner, prefix, tmp_path):
    network = drawn(torchvision_alexnet(28))
    torch.save(wrapped(with_inner(network.state_dict(), "features.", inner), prefix), tmp_path / "a.pth")
    checkpoint = answers_as(tmp_path / "a.pth", network)
    for part in inner.split(".")[:-1]:
        assert any(f"'{part}.'" in notice and "was dropped" in notice for notice in checkpoint.notices)


def test_each_block_may_have_its_own(tmp_path):
    network = drawn(ResNet(18, 28))
    state = network.state_dict()
    for stage in range(1, 5):
        for block in range(2):
            state = with_inner(state, f"layer{stage}.{block}.", "_orig_mod.")
    torch.save(state, tmp_path / "a.pth")
    answers_as(tmp_path / "a.pth", network)


def test_two_networks_under_two_prefixes_are_not_one(tmp_path):
    one, other = drawn(ResNet(18, 28)).state_dict(), drawn(ResNet(18, 28), seed=1).state_dict()
    torch.save({**wrapped(one, "student."), **wrapped(other, "teacher.")}, tmp_path / "a.pth")
    refused(tmp_path / "a.pth", "it holds several networks: 'student', 'teacher' .say which with --part student")


def test_a_wrapper_without_which_two_keys_would_be_one_is_not_dropped(tmp_path):
    state = drawn(torchvision_alexnet(28)).state_dict()
    state["features.module.0.weight"] = state["features.0.weight"] + 1
    torch.save(state, tmp_path / "a.pth")
    refused(tmp_path / "a.pth", r"unexpected features\.module\.0\.weight")


def test_what_a_file_under_a_prefix_lacks_is_named_in_its_own_spelling(tmp_path):
    state = wrapped(drawn(ResNet(18, 28)).state_dict(), "student.")
    del state["student.fc.bias"]
    torch.save(state, tmp_path / "a.pth")
    refused(tmp_path / "a.pth", r"nearest is resnet18-torchvision: missing student\.fc\.bias")


def test_a_classifier_under_a_prefix_is_still_one(tmp_path):
    torch.save(wrapped(drawn(ResNet(18, 1000)).state_dict(), "student."), tmp_path / "a.pth")
    refused(tmp_path / "a.pth", "it classifies ImageNet and answers no joints")


def test_advice_loses_no_layers(tmp_path):
    state = wrapped(drawn(ResNet(34, 256)).state_dict(), "model.")
    state |= {"pose.weight": torch.zeros(28, 256), "pose.bias": torch.zeros(28)}
    torch.save(state, tmp_path / "a.pth")
    message = refused(tmp_path / "a.pth", r"those under 'model\.' are resnet34-torchvision, but pose\.\{bias,weight\}")
    assert "save them by themselves" not in message
    assert "--model-file" in message


def test_a_network_among_another_and_counters_is_one_part(tmp_path):
    """As ema-pytorch saves a network with its average."""
    one, other = drawn(ResNet(18, 28)).state_dict(), drawn(ResNet(18, 28), seed=1).state_dict()
    both = {**wrapped(one, "online_model."), **wrapped(other, "ema_model.")}
    torch.save({**both, "initted": torch.tensor(True), "step": torch.tensor(3)}, tmp_path / "a.pth")
    refused(
        tmp_path / "a.pth", r"\(those under 'online_model\.' alone are .*: --part online_model reads them; nothing is"
    )
    checkpoint = converters.read(tmp_path / "a.pth", part="ema_model")
    np.testing.assert_array_equal(checkpoint.weights["fc.weight"], other["fc.weight"].numpy())
