import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import converters
from converters import CheckpointError, Preprocessing, Progress
from tests.helpers.checkpoint_files import (
    adam_state,
    alexnet,
    assert_same_arrays,
    in_torch_names,
    refused,
    save_npz,
    sha256,
    vgg_bn,
    wrapped,
)

torch = pytest.importorskip("torch")


def tensors(arrays=None, prefix=""):
    """A state dict."""
    arrays = in_torch_names(vgg_bn() if arrays is None else arrays)
    return {prefix + name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


@pytest.fixture
def save(tmp_path):
    def write(payload, name="a.pt", **options):
        torch.save(payload, tmp_path / name, **options)
        return tmp_path / name

    return write


class TestReading:
    @pytest.mark.parametrize("legacy", [False, True])
    def test_a_bare_state_dict(self, legacy, save):
        checkpoint = converters.read(save(tensors(), _use_new_zipfile_serialization=not legacy))
        assert_same_arrays(checkpoint.weights, in_torch_names(vgg_bn()))
        assert checkpoint.source.format == "pt"
        assert checkpoint.source.wrappers == ()
        assert checkpoint.progress is None

    @pytest.mark.parametrize(
        "key", ["state_dict", "model", "model_state", "model_state_dict", "network", "net", "weights", "params", "mine"]
    )
    def test_a_state_dict_in_a_training_dictionary(self, key, save):
        payload = {"epoch": 12, key: tensors(), "loss": 0.25, "name": "resnet", "args": {"lr": 0.1}}
        checkpoint = converters.read(save(payload))
        assert_same_arrays(checkpoint.weights, in_torch_names(vgg_bn()))
        assert checkpoint.source.wrappers == (key,)
        assert checkpoint.progress == Progress(epoch=12)

    @pytest.mark.parametrize("legacy", [False, True])
    @pytest.mark.parametrize(
        "value",
        [
            argparse.Namespace(lr=0.1, out=Path("results"), sizes=[1, 2]),
            np.float64(0.25),
            np.int64(3),
            np.arange(6.0).reshape(2, 3),
            Path("best.pth"),
        ],
        ids=["Namespace", "float64", "int64", "array", "path"],
    )
    def test_options_numbers_of_numpy_and_paths_beside_it_are_passed_over(self, value, legacy, save):
        path = save({"epoch": 12, "state_dict": tensors(), "args": value}, _use_new_zipfile_serialization=not legacy)
        checkpoint = converters.read(path)
        assert_same_arrays(checkpoint.weights, in_torch_names(vgg_bn()))
        assert checkpoint.progress == Progress(epoch=12)

    def test_a_number_of_numpys_is_no_tensor(self, save):
        with pytest.raises(CheckpointError, match=r"holds 'extra' \(an object of numpy.*scalar\), which are no"):
            converters.read(save({**tensors(), "extra": np.float64(1)}))

    @pytest.mark.parametrize("epoch", [-1, 10**30, True])
    def test_counts_of_epochs_that_cannot_be_say_nothing(self, epoch, save):
        assert converters.read(save({"epoch": epoch, "state_dict": tensors()})).progress is None

    def test_nested_wrappers(self, save):
        checkpoint = converters.read(save({"model": {"state_dict": tensors(prefix="module._orig_mod.")}}))
        assert checkpoint.source.wrappers == ("model", "state_dict", "module.", "_orig_mod.")

    def test_single_tensors_beside_the_state_dict_are_no_state_dict(self, save):
        """PyTorch's own tutorial keeps the last loss, a tensor, beside `model_state_dict`."""
        payload = {"model_state_dict": tensors(), "loss": torch.tensor(0.5), "epoch": 3}
        assert_same_arrays(converters.read(save(payload)).weights, in_torch_names(vgg_bn()))

    def test_the_usual_key_wins_over_another_network(self, save):
        payload = {"state_dict": tensors(), "teacher": tensors(alexnet())}
        assert converters.read(save(payload)).architecture.name == "vgg_bn"

    def test_an_optimizer_of_pytorchs_is_said_not_to_be_read(self, save):
        network = torch.nn.Linear(2, 2)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
        payload = {"state_dict": tensors(), "optimizer": optimizer.state_dict(), "epoch": 3}
        checkpoint = converters.read(save(payload))
        assert checkpoint.optimizer is None
        assert any("'optimizer' is an optimizer state of PyTorch's and was not read" in n for n in checkpoint.notices)

    def test_parameters_and_views_are_tensors(self, save):
        state = tensors()
        state["fc8.weight"] = torch.nn.Parameter(state["fc8.weight"])
        state["conv1_1.weight"] = state["conv1_1.weight"].permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        assert_same_arrays(converters.read(save(state)).weights, in_torch_names(vgg_bn()))

    @pytest.mark.parametrize("dtype", ["float16", "float64"])
    def test_other_floats_keep_their_kind(self, dtype, save):
        arrays = alexnet(dtype=dtype)
        assert_same_arrays(converters.read(save(tensors(arrays))).weights, in_torch_names(arrays))

    def test_bfloat16_becomes_float32_with_the_same_values(self, save):
        state = {name: tensor.bfloat16() for name, tensor in tensors(alexnet()).items()}
        checkpoint = converters.read(save(state))
        assert_same_arrays(checkpoint.weights, {name: tensor.float().numpy() for name, tensor in state.items()})
        assert "bfloat16 became float32, which holds each of its values" in checkpoint.notices

    def test_an_old_pytorch_had_no_counters(self, save):
        state = {name: tensor for name, tensor in tensors().items() if "num_batches" not in name}
        checkpoint = converters.read(save(state))
        assert_same_arrays(checkpoint.weights, in_torch_names(vgg_bn()))

    def test_nan_in_weights_and_optimizer_is_repaired_but_not_in_the_file(self, tmp_path):
        arrays = wrapped(alexnet())
        state = adam_state(arrays)
        arrays["predictor/fc8/b"][0] = state["predictor/fc8/b/v"][1] = np.nan
        save_npz(tmp_path / "a.model", arrays)
        save_npz(tmp_path / "a.state", state)
        converters.convert(tmp_path / "a.model", tmp_path / "b.pt", nonfinite="keep")
        before = sha256(tmp_path / "b.pt")
        checkpoint = converters.read(tmp_path / "b.pt")
        assert np.isfinite(checkpoint.weights["fc8.bias"]).all()
        assert np.isfinite(checkpoint.optimizer.slots["v"]["fc8.bias"]).all()
        assert sha256(tmp_path / "b.pt") == before
        assert [r.became for r in checkpoint.repairs] == [None, None, 0.0, 0.0]  # what was kept, what became 0


class TestRefusals:
    def test_several_networks(self, save):
        refused(
            save({"generator": tensors(), "teacher": tensors()}),
            r"it holds several networks: 'generator', 'teacher' \(say which with --part generator\)",
        )
        refused(save({"model": tensors(), "net": tensors()}), "it holds several networks: 'model', 'net'")

    @pytest.mark.parametrize(
        ("payload", "phrase"),
        [
            ({"epoch": 3, "lr": 0.1}, "it holds no state dict, only 'epoch', 'lr'"),
            ({}, "it holds no state dict, only nothing"),
            ({"state_dict": {}}, "it holds no state dict, only nothing"),
            ({"state_dict": {"a": 1}}, "it holds no state dict, only 'a'"),
            ([1, 2], r"it holds a list, not a state dict \(save `model\.state_dict\(\)`\)"),
            (torch.ones(3), "it holds a Tensor, not a state dict"),
        ],
    )
    def test_no_network(self, payload, phrase, save):
        refused(save(payload), phrase)

    @pytest.mark.parametrize(
        ("name", "stranger"), [("fc8.bias", 5), ("fc8.more", "text"), ("extra", None), ("extra", [1])]
    )
    def test_a_state_dict_with_something_else_in_it(self, name, stranger, save):
        refused(save({**tensors(), name: stranger}), f"its state dict holds '{name}', which are no tensors with a name")

    def test_names_that_are_no_text(self, save):
        refused(save({**tensors(), 5: torch.ones(2)}), "its state dict holds 5, which are no tensors with a name")

    @pytest.mark.parametrize(
        "tensor",
        [
            torch.ones(4, dtype=torch.complex64),
            torch.eye(4).to_sparse(),
            torch.ones(4).to(torch.float8_e4m3fn),
            torch.ones(4, device="meta"),
        ],
        ids=["complex", "sparse", "float8", "meta"],
    )
    def test_tensors_of_other_kinds(self, tensor, save):
        with pytest.raises(CheckpointError, match=r"a\.pt: ") as caught:
            converters.read(save({**tensors(), "fc8.bias": tensor}))
        assert "fc8.bias" in str(caught.value) or "PyTorch file" in str(caught.value) or "plain" in str(caught.value)

    def test_a_tensor_of_integers(self, save):
        state = {**tensors(), "fc8.bias": torch.ones(4, dtype=torch.int32)}
        refused(save(state), r"fc8\.bias of dtype int32 instead of a floating-point number")


class TestWriting:
    @pytest.fixture
    def written(self, golden, tmp_path):
        source = golden / "checkpoints" / "5.4.0" / "trainer-serial" / "snapshot_iter_2"
        checkpoint = converters.read(source)
        converters.write(checkpoint, tmp_path / "a.pt")
        return checkpoint, torch.load(tmp_path / "a.pt", weights_only=True)

    def test_it_is_a_plain_dict_that_loads_with_weights_only(self, written):
        checkpoint, payload = written
        assert type(payload) is dict
        assert {name: tensor.numpy().tobytes() for name, tensor in payload["state_dict"].items()} == {
            name: array.tobytes() for name, array in checkpoint.weights.items()
        }
        assert payload["deeppose_port"] == converters.__version__
        for name, value in checkpoint.metadata().items():
            assert payload[name] == value
        assert payload["architecture"]["name"] == "alexnet"
        assert payload["writer"] == "chainer-5.4.0"
        assert Preprocessing.from_dict(payload["preprocessing"]) == checkpoint.preprocessing

    def test_it_holds_only_plain_values(self, written):
        def kinds(value):
            if isinstance(value, dict):
                return {type(value)} | {k for key, v in value.items() for k in kinds(key) | kinds(v)}
            if isinstance(value, list):
                return {list} | {k for item in value for k in kinds(item)}
            return {type(value)}

        assert kinds(written[1]) <= {dict, list, str, int, float, bool, type(None), torch.Tensor}

    def test_it_holds_optimizer_and_trainer(self, written):
        checkpoint, payload = written
        optimizer = payload["optimizer"]
        assert (optimizer["algorithm"], optimizer["step"], optimizer["epoch"]) == ("adam", 2, 1)
        assert optimizer["slots"]["m"]["fc8.bias"].tolist() == checkpoint.optimizer.slots["m"]["fc8.bias"].tolist()
        assert payload["trainer"]["updater/iteration"] == 2
        assert payload["trainer"]["extensions/LogReport/_log"].startswith("[")

    def test_without_training_there_is_none(self, tmp_path):
        converters.convert(save_npz(tmp_path / "a.model", alexnet()), tmp_path / "a.pt")
        payload = torch.load(tmp_path / "a.pt", weights_only=True)
        assert "optimizer" not in payload
        assert "trainer" not in payload

    def test_a_trainers_array_that_no_tensor_can_be_is_refused(self, tmp_path):
        arrays = {
            **wrapped(alexnet(), "updater/model:main/"),
            **wrapped(adam_state(alexnet()), "updater/optimizer:main/"),
            "updater/iteration": np.array(1),
            "extensions/names": np.array(["a", "b"]),
        }
        path = save_npz(tmp_path / "snapshot_iter_1", arrays)
        with pytest.raises(
            CheckpointError,
            match=r"snapshot_iter_1: its trainer's 'extensions/names' is an array of <U1.*--no-state",
        ):
            converters.convert(path)
        assert [item.name for item in tmp_path.iterdir()] == ["snapshot_iter_1"]
        assert converters.convert(path, state=False).verified


def test_torch_is_loaded_for_pt_alone(tmp_path):
    path = save_npz(tmp_path / "a.model", wrapped(alexnet()))
    program = (
        "import sys, converters;"
        f"converters.convert({str(path)!r}, format='safetensors');"
        f"converters.convert({str(path)!r}, format='chainer-npz');"
        f"converters.inspect({str(path.with_suffix('.safetensors'))!r});"
        "print([name for name in ('torch', 'chainer', 'cupy', 'h5py', 'cv2', 'deeppose_port') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
