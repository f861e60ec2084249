"""Pickles are never opened, wherever they are."""

import pickle
import re
import struct

import numpy as np
import pytest

import converters
from converters import CheckpointError
from tests.helpers.checkpoint_files import (
    adam_state,
    alexnet,
    in_torch_names,
    members,
    npy,
    npy_claiming,
    refused,
    save_npz,
    save_zip,
    wrapped,
)


@pytest.mark.parametrize("protocol", range(6))
def test_a_bare_pickle_is_not_opened(protocol, bait, tmp_path):
    (tmp_path / "a.model").write_bytes(pickle.dumps({"conv1/W": bait}, protocol))
    if protocol == 1:
        refused(tmp_path / "a.model", "this is no PyTorch")
    else:
        refused(tmp_path / "a.model", r"this is a Python pickle.*(was not opened|nothing in it was run)")


def test_a_pickle_of_2015_is_not_opened(bait, tmp_path):
    content = b"\x80\x02cAlexNet_flic\nAlexNet_flic\nq\x01)\x81q\x02" + pickle.dumps(bait, 2)[2:]
    (tmp_path / "a.chainermodel").write_bytes(content)
    refused(tmp_path / "a.chainermodel", r"a Python pickle of a whole network, as the program of 2015 wrote it")


@pytest.mark.parametrize("key", ["fc8/b", "conv1/W", "extra"])
@pytest.mark.parametrize("shape", [(), (14,)])
def test_an_object_array_in_an_npz_is_not_opened(key, shape, bait, tmp_path):
    arrays = wrapped({**alexnet(), key: np.full(shape, bait, object)})
    path = save_npz(tmp_path / "a.model", arrays)
    assert b"mkdir" in npy(arrays[f"predictor/{key}"])
    refused(path, f"predictor/{key} had no value yet when this was saved")
    inspection = converters.inspect(path)
    assert f"predictor/{key}" not in {tensor.name for tensor in inspection.tensors}
    with pytest.raises(CheckpointError):
        converters.convert(path, tmp_path / "b.npz")


def test_an_object_array_in_a_trainer_is_not_opened(bait, tmp_path):
    arrays = {
        **wrapped(alexnet(), "updater/model:main/"),
        "updater/iteration": np.array(3),
        "extensions/bait": np.array(bait, object),
    }
    arrays |= wrapped(adam_state(alexnet()), "updater/optimizer:main/")
    checkpoint = converters.read(save_npz(tmp_path / "a", arrays))
    assert set(checkpoint.trainer) == {"updater/iteration"}
    assert "its trainer's extensions/bait are Python objects, which are never read" in checkpoint.notices


def test_an_object_array_in_a_state_is_not_opened(bait, tmp_path):
    save_npz(tmp_path / "a.model", alexnet())
    save_npz(tmp_path / "a.state", {"t": np.array(3), "conv1/W/h": np.array(bait, object)})
    checkpoint = converters.read(tmp_path / "a.model")
    assert checkpoint.optimizer is None
    said = f"{tmp_path / 'a.state'}: conv1/W/h are Python objects, which are never read"
    assert any(said in notice for notice in checkpoint.notices)


def test_a_kind_with_objects_inside_is_not_opened(bait, tmp_path):
    header = {"descr": [("a", "<f4"), ("b", "|O")], "fortran_order": False, "shape": (14,)}
    content = dict(members(alexnet()))
    content["fc8/b.npy"] = npy_claiming(header, pickle.dumps(bait))
    refused(save_zip(tmp_path / "a.npz", content.items()), "fc8/b had no value yet")


def test_a_state_dict_that_runs_code_is_not_opened(bait, tmp_path):
    torch = pytest.importorskip("torch")
    for legacy in (False, True):
        state = {name: torch.from_numpy(array) for name, array in in_torch_names(alexnet()).items()}
        payload = {"state_dict": state, "args": bait}
        torch.save(payload, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
        notices = converters.read(tmp_path / "a.pt").notices
        assert any(re.search(r"it names (posix|os)\.mkdir, of which nothing was made or run", n) for n in notices)
        torch.save({**state, "fc8.bias": bait}, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
        refused(
            tmp_path / "a.pt", r"its state dict holds 'fc8\.bias' \(an object of (posix|os)\.mkdir\), which are no t"
        )


def test_a_whole_network_is_not_opened(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "a.pt")
    refused(
        tmp_path / "a.pt",
        r"it holds an object of torch\.nn\.modules\.linear\.Linear, which only code could make again \(nothing in it "
        r"was run; where it was made, save `model\.state_dict\(\)` alone\)",
    )


def test_a_pickle_in_a_pytorch_zip_of_ones_own_is_not_opened(bait, tmp_path):
    pytest.importorskip("torch")
    save_zip(tmp_path / "a.pt", [("a/data.pkl", pickle.dumps(bait)), ("a/version", b"3\n")], 0)
    refused(tmp_path / "a.pt", "more than tensors and plain values|PyTorch file cannot be read")


def test_a_pickle_in_our_own_files_is_not_opened(bait, tmp_path):
    torch = pytest.importorskip("torch")
    converters.convert(save_npz(tmp_path / "a.model", alexnet()), tmp_path / "a.pt")
    payload = torch.load(tmp_path / "a.pt", weights_only=True)
    torch.save({**payload, "optimizer": bait}, tmp_path / "a.pt")
    refused(tmp_path / "a.pt", "its optimizer or trainer cannot be read")


def test_a_pickle_behind_a_safetensors_header_is_not_opened(bait, tmp_path):
    content = pickle.dumps(bait)
    header = b'{"fc8.bias":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (len(content), len(content))
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + content)
    refused(tmp_path / "a.safetensors", "its arrays fit no architecture")
