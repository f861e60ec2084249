import json
import random

import numpy as np
import pytest
import torch

import converters
from deeppose_port import backends
from deeppose_port.backends.torch import DeepPose, build, load
from tests.helpers.networks import (
    ARCHITECTURES,
    NARROW_FILES,
    AgainstChainer,
    checkpoint_of,
    narrow_inputs,
    random_checkpoint,
)


class TestAgainstChainer(AgainstChainer):
    runner = "torch"

    @pytest.mark.parametrize(("dataset", "network"), [("mpii", "resnet50"), ("lspet", "alexnet")])
    def test_full_size_networks_do_so_for_other_persons(self, dataset, network, golden, request):
        self.answers_as_chainer(dataset, network, golden, request)

    def test_no_narrow_network_is_left_out(self, shared_golden):
        tiny = shared_golden / "checkpoints" / "tiny"
        found = {file for answer in tiny.glob("*/*/expected.npz") for file in answer.parent.iterdir()}
        names = {
            file.relative_to(tiny).as_posix()
            for file in found
            if file.name not in ("expected.npz", "log") and file.suffix != ".state"
        }
        assert names == set(NARROW_FILES)


class TestBuild:
    @pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
    def test_state_dict_has_the_tables_names_shapes_and_kinds(self, architecture):
        with torch.device("meta"):
            state = build(architecture).state_dict()
        assert {name: tuple(tensor.shape) for name, tensor in state.items()} == architecture.shapes
        counters = {name for name in state if name.endswith("num_batches_tracked")}
        assert {name for name, tensor in state.items() if tensor.dtype == torch.int64} == counters
        assert {name for name, tensor in state.items() if tensor.dtype == torch.float32} == state.keys() - counters

    @pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
    def test_a_network_is_built_from_what_files_say_of_it(self, architecture):
        with torch.device("meta"):
            for described in (architecture, architecture.as_dict(), json.dumps(architecture.as_dict())):
                assert build(described).architecture == architecture

    @pytest.mark.parametrize("described", [{}, {"name": "alexnet"}, "[]", "3", "alexnet", {"name": "lenet"}])
    def test_what_describes_no_architecture_is_refused(self, described):
        with pytest.raises(ValueError, match=r"architecture|Expecting value"):
            build(described)

    def test_a_pt_loads_strictly_into_what_it_describes(self, tmp_path):
        checkpoint = random_checkpoint("resnet50", writer="chainer-7.8.1")
        converters.write(checkpoint, tmp_path / "model.pt")
        payload = torch.load(tmp_path / "model.pt", weights_only=True)
        network = build(payload["architecture"])
        network.load_state_dict(payload["state_dict"], strict=True)
        inputs = torch.from_numpy(narrow_inputs())
        with torch.inference_mode():
            assert torch.equal(network.eval()(inputs), load(checkpoint)(inputs))

    def test_new_weights_are_random_and_finite(self):
        network = build(random_checkpoint("vgg_bn").architecture)
        assert network.training
        assert all(tensor.isfinite().all() for tensor in network.state_dict().values())
        assert network.get_parameter("conv1_1.weight").std() > 0


class TestLoad:
    def test_weights_are_the_checkpoints_and_in_evaluation_mode(self):
        checkpoint = random_checkpoint("resnet50")
        network = load(checkpoint)
        assert isinstance(network, DeepPose)
        assert not network.training
        state = network.state_dict()
        assert state.keys() == checkpoint.weights.keys()
        for name, array in checkpoint.weights.items():
            assert np.array_equal(state[name].numpy(), array)
            assert state[name].numpy().dtype == array.dtype
        assert all(parameter.requires_grad for parameter in network.parameters())

    def test_no_memory_is_shared_with_the_checkpoint(self):
        checkpoint = random_checkpoint("resnet50")
        before = {name: array.copy() for name, array in checkpoint.weights.items()}
        with torch.no_grad():
            for tensor in load(checkpoint).state_dict().values():
                tensor.fill_(7)
        assert all(np.array_equal(array, before[name]) for name, array in checkpoint.weights.items())

    @pytest.mark.parametrize("dtype", [np.float16, np.float64])
    def test_other_precisions_become_float32(self, dtype):
        checkpoint = random_checkpoint()
        other = checkpoint_of(
            checkpoint.architecture, {name: array.astype(dtype) for name, array in checkpoint.weights.items()}
        )
        network = load(other)
        assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32}
        rounded = checkpoint_of(
            checkpoint.architecture, {name: array.astype(np.float32) for name, array in other.weights.items()}
        )
        inputs = torch.from_numpy(narrow_inputs())
        with torch.inference_mode():
            assert torch.equal(network(inputs), load(rounded)(inputs))

    def test_read_only_and_fortran_ordered_weights_load(self):
        checkpoint = random_checkpoint()
        odd = {name: np.asfortranarray(array) for name, array in checkpoint.weights.items()}
        for array in odd.values():
            array.flags.writeable = False
        inputs = torch.from_numpy(narrow_inputs())
        with torch.inference_mode():
            outputs = load(checkpoint_of(checkpoint.architecture, odd))(inputs)
            torch.testing.assert_close(outputs, load(checkpoint)(inputs), rtol=0, atol=1e-6)

    def test_random_numbers_are_left_alone(self):
        torch.manual_seed(3)
        np.random.seed(3)
        random.seed(3)
        expected = torch.get_rng_state()
        load(random_checkpoint())
        assert torch.equal(torch.get_rng_state(), expected)

    def test_a_checkpoint_that_is_not_its_architecture_is_refused(self):
        checkpoint = random_checkpoint()
        del checkpoint.weights["fc8.bias"]
        with pytest.raises(RuntimeError, match=r"fc8\.bias"):
            load(checkpoint)


class TestDropout:
    inputs = torch.from_numpy(narrow_inputs())

    def test_evaluation_has_none(self):
        network = load(random_checkpoint())
        with torch.inference_mode():
            assert torch.equal(network(self.inputs), network(self.inputs))

    def test_training_drops_what_the_table_says(self):
        checkpoint = random_checkpoint(joints=1000, fc7=2000)  # of which fc8 shows each unit by itself
        checkpoint.weights["fc7.weight"][:] = 0
        checkpoint.weights["fc7.bias"][:] = 1
        checkpoint.weights["fc8.weight"][:] = np.eye(2000)
        checkpoint.weights["fc8.bias"][:] = 0
        torch.manual_seed(0)
        outputs = load(checkpoint).train()(self.inputs).detach()
        assert set(outputs.flatten().tolist()) == {0, 2.5}
        assert (outputs == 0).float().mean().item() == pytest.approx(0.6, abs=5 * np.sqrt(0.6 * 0.4 / 4000))

    def test_it_can_be_overridden(self):
        checkpoint = random_checkpoint()
        evaluated = load(checkpoint)(self.inputs).detach()
        assert torch.equal(load(checkpoint, dropout=0.0).train()(self.inputs).detach(), evaluated)
        everything = load(checkpoint, dropout=1.0).train()(self.inputs).detach()
        assert torch.equal(everything, torch.from_numpy(checkpoint.weights["fc8.bias"]).expand(2, -1))
        assert build(checkpoint.architecture, dropout=0.3).dropout == 0.3


class TestGradients:
    @pytest.mark.parametrize("name", ["alexnet", "resnet50", "vgg_bn"])
    def test_every_parameter_gets_one(self, name):
        network = load(random_checkpoint(name), dropout=0.0).train()
        network(torch.from_numpy(narrow_inputs())).square().sum().backward()
        for parameter in network.parameters():
            assert parameter.grad is not None
            assert parameter.grad.isfinite().all()
            assert parameter.grad.any()

    def test_inputs_are_not_changed(self):
        inputs = torch.from_numpy(narrow_inputs().copy())
        load(random_checkpoint()).train()(inputs)
        assert torch.equal(inputs, torch.from_numpy(narrow_inputs()))


class TestBackends:
    def test_backends_are_found_by_name(self):
        assert backends.get("torch").build is build
        assert backends.torch.build is build

    def test_unknown_backend_is_refused(self):
        with pytest.raises(backends.BackendError, match="there is no backend 'jax'; there are torch and chainer"):
            backends.get("jax")
