"""PyTorch files that are damaged, or that lie; pickles are in test_hostile_pickles.py."""

import zipfile

import numpy as np
import pytest
from checkpoint_files import adam_state, alexnet, in_torch_names, refused, save_npz, save_zip

import converters
from converters import CheckpointError

torch = pytest.importorskip("torch")


def tensors():
    return {name: torch.from_numpy(array.copy()) for name, array in in_torch_names(alexnet()).items()}


@pytest.fixture
def save(tmp_path):
    def write(payload, **options):
        torch.save(payload, tmp_path / "a.pt", **options)
        return tmp_path / "a.pt"

    return write


@pytest.fixture
def ours(tmp_path):
    """A file of our own with an optimizer and a trainer, as a payload to change."""
    arrays = {f"updater/model:main/{key}": array for key, array in alexnet().items()}
    arrays |= {f"updater/optimizer:main/{key}": array for key, array in adam_state(alexnet()).items()}
    converters.convert(save_npz(tmp_path / "a", {**arrays, "updater/iteration": np.array(3)}), tmp_path / "a.pt")
    return torch.load(tmp_path / "a.pt", weights_only=True)


def test_a_dictionary_in_itself(save):
    payload = {"epoch": 1}
    payload["model"] = payload
    refused(save(payload), r"its state dict is nested too deep: model/model/.* \(save it as a bare one\)")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.7, 0.99])
def test_a_file_that_was_cut_short(part, legacy, save):
    path = save(tensors(), _use_new_zipfile_serialization=not legacy)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    refused(path, r"cut short|the PyTorch file cannot be read: .* \(look for a whole copy\)|more than tensors")


@pytest.mark.parametrize(
    "content", [b"", b".", b"(", b"N.", b"\x80\x02}q\x00.", b"\x80\x02" + b"(" * 5000, b"\xff" * 50]
)
def test_a_zip_with_another_pickle(content, tmp_path):
    path = save_zip(tmp_path / "a.pt", [("a/data.pkl", content), ("a/version", b"3\n")], zipfile.ZIP_STORED)
    refused(path, r"the PyTorch file cannot be read|it holds")


def test_a_missing_storage(save, tmp_path):
    with zipfile.ZipFile(save(tensors())) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist() if not name.endswith("data/3")]
    refused(save_zip(tmp_path / "b.pt", members, zipfile.ZIP_STORED), "the PyTorch file cannot be read")


def test_a_tensor_larger_than_its_storage(save):
    state = tensors()
    state["fc8.bias"] = torch.ones(1).expand(14)
    refused(save(state), r"'fc8\.bias' of shape \(14,\) has only 4 bytes")


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        ({"optimizer": {}}, "its optimizer or trainer cannot be read"),
        ({"optimizer": 5}, "its optimizer or trainer cannot be read"),
        ({"optimizer": {"algorithm": "adam", "step": 3, "slots": {"m": {}, "v": {}}}}, "the optimizer's 'm' lacks"),
        ({"optimizer": {"algorithm": "adam", "step": 3, "slots": {}}}, "no known optimizer has the state"),
        ({"optimizer": {"algorithm": "adam", "step": 3, "slots": {5: {}}}}, "no known optimizer has the state 5"),
        ({"optimizer": {"algorithm": "lion", "step": 3, "slots": {"v": {}}}}, "no known optimizer has the state v"),
        ({"optimizer": {"algorithm": "momentumsgd", "step": "3", "slots": {"v": {}}}}, "counters are '3' and 0"),
        (
            {"optimizer": {"algorithm": "adagrad", "step": 3, "epoch": 0.5, "slots": {"h": {}}}},
            "counters are 3 and 0.5",
        ),
        ({"optimizer": {"algorithm": "momentumsgd", "step": 3, "slots": {"v": {"x": 5}}}}, "cannot be read"),
        ({"optimizer": {"algorithm": "adam", "step": 3, "slots": [], "magic": 1}}, "cannot be read"),
        ({"trainer": [1]}, "its optimizer or trainer cannot be read"),
        ({"trainer": {"a": 5}}, "its optimizer or trainer cannot be read"),
        ({"trainer": {"a": torch.ones(1).expand(10**12)}}, r"cannot be read: of shape \(1000000000000,\) has only 4"),
        ({"trainer": {"a": torch.ones(3).to_sparse()}}, "cannot be read: is a sparse tensor"),
    ],
)
def test_a_training_of_ours_that_was_changed(change, phrase, ours, save):
    path = save({**ours, **change})
    with pytest.raises(CheckpointError, match=rf"a\.pt: .*{phrase}.*read the weights alone with --no-state"):
        converters.read(path)
    assert converters.read(path, state=False).joints == 7


def test_a_slot_of_another_shape(ours, save):
    ours["optimizer"]["slots"]["m"]["fc8.bias"] = torch.ones(13)
    refused(save(ours), r"the optimizer's 'm' of fc8\.bias is a float32 of shape \(13,\) instead of float32 \(14,\)")
    ours["optimizer"]["slots"]["m"]["fc8.bias"] = torch.ones(14)
    ours["optimizer"]["slots"]["m"]["fc9.bias"] = torch.ones(14)
    refused(save(ours), r"the optimizer's 'm' has a strange fc9\.bias")
