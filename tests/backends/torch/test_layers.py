import numpy as np
import pytest
import torch
from torch import distributed
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from converters.networks import LocalResponseNormalization, batch_normalization_rules
from deeppose_port.backends.torch import load
from deeppose_port.backends.torch.layers import BatchNorm, LocalResponseNorm
from tests.helpers.networks import narrow_inputs, random_checkpoint

#: LEGACY measurements of Chainer on the CPU: the first and the last version of each range, eps in training, eps at test
#: time, whether the running variance accumulates the eps, what it starts from.
WRITERS = [
    ("1.0.0", 1e-5, 0.0, True, 0.0),
    ("1.13.0", 1e-5, 0.0, True, 0.0),
    ("1.14.0", 2e-5, 0.0, True, 0.0),
    ("1.20.0.1", 2e-5, 0.0, True, 0.0),
    ("1.21.0", 2e-5, 2e-5, True, 0.0),
    ("3.5.0", 2e-5, 2e-5, True, 0.0),
    ("4.0.0", 2e-5, 2e-5, False, 0.0),
    ("4.5.0", 2e-5, 2e-5, False, 0.0),
    ("5.0.0", 2e-5, 2e-5, False, 1.0),
    ("7.8.1", 2e-5, 2e-5, False, 1.0),
]


def batch_norm(version, synchronized=False):
    layer = BatchNorm(5, batch_normalization_rules(f"chainer-{version}")).double()
    if synchronized:  # which nobody's own network is
        layer.synchronized = True
    return layer


class TestBatchNorm:
    @pytest.fixture(scope="class", params=[False, True], ids=["own", "synchronized"])
    @classmethod
    def synchronized(cls, request):
        """Whether the batch is that of all processes, of which there is one here; test_distributed.py has two."""
        if request.param and not distributed.is_gloo_available():
            pytest.skip("this PyTorch has no gloo")
        if request.param:
            distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
        yield request.param
        if request.param:
            distributed.destroy_process_group()

    # Variances near the eps, so that each of the rules shows.
    maps = np.random.RandomState(0).randn(3, 4, 5, 7, 6) * 5e-3 + np.arange(5).reshape(5, 1, 1)

    @pytest.mark.parametrize(("version", "eps", "test_eps", "eps_inside", "start"), WRITERS)
    def test_training_statistics_are_those_of_the_writer(self, version, eps, test_eps, eps_inside, start, synchronized):
        layer = batch_norm(version, synchronized)
        assert layer.running_var.tolist() == [start] * 5
        mean, variance = np.zeros(5), np.full(5, start)
        for maps in self.maps:
            m = maps.size / 5
            batch_mean, batch_variance = maps.mean((0, 2, 3)), maps.var((0, 2, 3))
            outputs = layer(torch.from_numpy(maps)).detach().numpy()
            centred = maps - batch_mean.reshape(5, 1, 1)
            np.testing.assert_allclose(
                outputs, centred / np.sqrt(batch_variance.reshape(5, 1, 1) + eps), rtol=1e-9, atol=1e-9
            )
            mean = 0.9 * mean + 0.1 * batch_mean
            variance = 0.9 * variance + 0.1 * m / (m - 1) * (batch_variance + (eps if eps_inside else 0))
            np.testing.assert_allclose(layer.running_mean, mean, rtol=1e-9)
            np.testing.assert_allclose(layer.running_var, variance, rtol=1e-9)

    @pytest.mark.parametrize(("version", "eps", "test_eps", "eps_inside", "start"), WRITERS)
    def test_one_value_a_channel_has_no_variance(self, version, eps, test_eps, eps_inside, start):
        """As in Chainer, which then divides by 1; PyTorch's own layer refuses it."""
        layer = batch_norm(version)
        with torch.no_grad():
            layer.bias.copy_(torch.arange(5))
        one = torch.from_numpy(self.maps[0][:1, :, :1, :1])
        assert layer(one).flatten().tolist() == [0, 1, 2, 3, 4]
        np.testing.assert_allclose(layer.running_mean, 0.1 * one.flatten(), rtol=1e-9)
        np.testing.assert_allclose(layer.running_var, 0.9 * start + 0.1 * (eps if eps_inside else 0), rtol=1e-9)

    @pytest.mark.parametrize(("version", "eps", "test_eps", "eps_inside", "start"), WRITERS)
    def test_test_time_is_that_of_the_writer(self, version, eps, test_eps, eps_inside, start):
        random = np.random.RandomState(1)
        layer = batch_norm(version).eval()
        values = {
            "weight": random.randn(5),
            "bias": random.randn(5),
            "running_mean": random.randn(5),
            "running_var": random.uniform(1e-6, 1e-4, 5),
        }
        layer.load_state_dict({name: torch.from_numpy(value) for name, value in values.items()}, strict=False)
        gamma, beta, mean, variance = (value.reshape(5, 1, 1) for value in values.values())
        outputs = layer(torch.from_numpy(self.maps[0])).detach().numpy()
        expected = gamma * (self.maps[0] - mean) / np.sqrt(variance + test_eps) + beta
        np.testing.assert_allclose(outputs, expected, rtol=1e-9)
        assert np.array_equal(layer.running_var, values["running_var"])

    @pytest.mark.parametrize("version", ["1.13.0", "3.5.0", "4.5.0", "7.8.1"])
    def test_gradients_pass_through_training(self, version, synchronized):
        layer = batch_norm(version, synchronized)
        inputs = torch.from_numpy(self.maps[0][:, :, :1, :2] * 100).requires_grad_()
        assert torch.autograd.gradcheck(layer, inputs)

    def test_two_passes_before_one_backward(self):
        layer = batch_norm("1.13.0")
        (layer(torch.from_numpy(self.maps[0])) * layer(torch.from_numpy(self.maps[1]))).sum().backward()
        assert layer.weight.grad.isfinite().all()

    def test_its_text_names_both_eps(self):
        assert str(batch_norm("1.13.0")) == "BatchNorm(5, eps=1e-05, test_eps=0.0)"


class TestLocalResponseNorm:
    rule = LocalResponseNormalization("norm")

    @pytest.mark.parametrize(("channels", "scale"), [(1, 1), (3, 100), (96, 1), (96, 100), (17, 1000)])
    def test_it_is_pytorchs_with_alpha_times_n(self, channels, scale):
        maps = torch.from_numpy(np.random.RandomState(0).randn(2, channels, 7, 6) * scale)
        outputs = LocalResponseNorm(self.rule, channels).double()(maps)
        expected = functional.local_response_norm(maps, 5, alpha=5e-4, beta=0.75, k=2.0)
        torch.testing.assert_close(outputs, expected, rtol=1e-7, atol=0)

    def test_it_is_chainers_formula(self):
        maps = np.random.RandomState(0).randn(1, 8, 3, 2) * 50
        squares = np.pad(maps**2, ((0, 0), (2, 2), (0, 0), (0, 0)))
        summed = sum(squares[:, i : i + 8] for i in range(5))
        outputs = LocalResponseNorm(self.rule, 8).double()(torch.from_numpy(maps))
        np.testing.assert_allclose(outputs, maps * (2 + 1e-4 * summed) ** -0.75, rtol=1e-7)

    def test_other_rules_are_followed(self):
        rule = LocalResponseNormalization("norm", n=3, k=1.0, alpha=0.25, beta=0.5)
        maps = torch.from_numpy(np.random.RandomState(0).randn(2, 6, 4, 5))
        expected = functional.local_response_norm(maps, 3, alpha=0.75, beta=0.5, k=1.0)
        torch.testing.assert_close(LocalResponseNorm(rule, 6).double()(maps), expected, rtol=1e-7, atol=0)

    @pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
    def test_float32_is_as_exact_as_float32_can_be(self, memory_format):
        maps = torch.from_numpy(np.random.RandomState(0).randn(4, 96, 26, 26) * 30)
        outputs = LocalResponseNorm(self.rule, 96)(maps.float().contiguous(memory_format=memory_format))
        exact = LocalResponseNorm(self.rule, 96).double()(maps.float().double())
        assert ((outputs - exact).abs() <= 1e-6 * exact.abs()).all()

    def test_gradient_is_pytorchs(self):
        maps = torch.from_numpy(np.random.RandomState(0).randn(2, 8, 3, 3) * 40)
        weight = torch.from_numpy(np.random.RandomState(1).randn(2, 8, 3, 3))
        layer = LocalResponseNorm(self.rule, 8).double()
        gradients = []
        for normalise in (layer, lambda x: functional.local_response_norm(x, 5, alpha=5e-4, beta=0.75, k=2.0)):
            inputs = maps.clone().requires_grad_()
            (normalise(inputs) * weight).sum().backward()
            gradients.append(inputs.grad)
        torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-6, atol=1e-9)
        assert torch.autograd.gradcheck(layer, maps[:1].clone().requires_grad_())

    def test_it_has_no_state_and_needs_no_checkpoint(self):
        with torch.device("meta"):
            layer = LocalResponseNorm(self.rule, 4)
        assert not layer.state_dict()
        assert not list(layer.parameters())
        maps = torch.ones(1, 4, 1, 1)
        # Three of the five channels of the border's window exist, four of its neighbour's.
        expected = (2 + 1e-4 * torch.tensor([3.0, 4.0, 4.0, 3.0])) ** -0.75
        torch.testing.assert_close(layer(maps).flatten(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["alexnet", "resnet50", "vgg_bn"])
def test_networks_keep_away_from_functions_that_mkl_may_answer_coarsely(name):
    """The first call of such a function in a process may be right to 11 bits only (PyTorch issue 188792)."""
    coarse = {"acos", "asin", "atan", "cos", "erf", "exp", "log", "log10", "sin", "sqrt", "tan", "tanh", "pow"}
    seen = set()

    class Record(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.add(func.overloadpacket.__name__.rstrip("_"))
            return func(*args, **(kwargs or {}))

    with torch.no_grad(), Record():
        load(random_checkpoint(name))(torch.from_numpy(narrow_inputs()[:1]))
    assert "convolution" in seen
    assert not coarse & seen
