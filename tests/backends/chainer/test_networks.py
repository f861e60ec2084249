import importlib.util
import json
import random

import numpy as np
import pytest

import converters
from converters.keys import chainer_names
from converters.networks import batch_normalization_rules
from tests.helpers.networks import (
    ARCHITECTURES,
    NARROW,
    AgainstChainer,
    checkpoint_of,
    error,
    narrow_file,
    narrow_inputs,
    random_checkpoint,
)

if importlib.util.find_spec("chainer") is None:
    pytest.skip("Chainer is not installed", allow_module_level=True)

from deeppose_port import backends
from deeppose_port.backends.chainer import DeepPose, build, load
from deeppose_port.backends.chainer.networks import BatchNorm, chainer, load_weights, read_weights

F, L = chainer.functions, chainer.links


def answer(network, train=False):
    """What a network answers to `narrow_inputs()`."""
    with chainer.using_config("train", train), chainer.no_backprop_mode():
        return network(narrow_inputs()).array


class TestAgainstChainer(AgainstChainer):
    runner = "chainer"


class TestBuild:
    @pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
    def test_arrays_have_the_legacy_names_and_the_tables_shapes_and_kinds(self, architecture):
        network = DeepPose(architecture, initial_weights=0)
        saved = chainer.serializers.DictionarySerializer()
        saved.save(network)
        keys = chainer_names(architecture)
        assert {key: np.shape(array) for key, array in saved.target.items()} == {
            keys[name]: shape for name, shape in architecture.shapes.items()
        }
        kinds = {np.asarray(array).dtype for key, array in saved.target.items() if not key.endswith("/N")}
        assert kinds == {np.dtype(np.float32)}

    @pytest.mark.parametrize("name", ["alexnet", "resnet50", "vgg_bn"])
    def test_names_are_those_of_the_files_of_chainer(self, name, request):
        file = {
            "alexnet": "1.13.0/alexnet-adam/epoch-1.model",
            "resnet50": "7.8.1/resnet50-adam/epoch-1.model",
            "vgg_bn": "1.13.0/vgg_bn-adam/epoch-1.model",
        }[name]
        path = narrow_file(file, request).path
        network = DeepPose(converters.read(path, state=False).architecture, initial_weights=0)
        saved = chainer.serializers.DictionarySerializer()
        saved["predictor"].save(network)
        with np.load(path) as arrays:
            assert {key: np.shape(array) for key, array in saved.target.items()} == {
                key: arrays[key].shape for key in arrays.files
            }

    @pytest.mark.parametrize("name", ["narrow alexnet", "alexnet for other inputs"])
    def test_a_network_is_built_from_what_files_say_of_it(self, name):
        architecture = ARCHITECTURES[name]
        for described in (architecture, architecture.as_dict(), json.dumps(architecture.as_dict())):
            assert build(described).architecture == architecture

    @pytest.mark.parametrize("described", [{}, {"name": "alexnet"}, "[]", "3", "alexnet", {"name": "lenet"}])
    def test_what_describes_no_architecture_is_refused(self, described):
        with pytest.raises(ValueError, match=r"architecture|Expecting value"):
            build(described)

    def test_new_weights_are_random_and_finite(self):
        network = build(random_checkpoint("vgg_bn").architecture)
        assert all(np.isfinite(array).all() for array in read_weights(network).values())
        assert network.link("conv1_1").W.array.std() > 0

    def test_layers_are_found_by_their_dotted_name(self):
        network = DeepPose(ARCHITECTURES["resnet50"], initial_weights=0)
        assert network.link("res2.b_1.conv1") is network.res2.b_1.conv1
        assert network.link("res2.b_1.conv1").W.shape == (64, 256, 1, 1)


class TestLoad:
    def test_weights_are_the_checkpoints(self):
        checkpoint = random_checkpoint("resnet50")
        network = load(checkpoint)
        assert isinstance(network, DeepPose)
        read = read_weights(network)
        assert read.keys() == checkpoint.weights.keys()
        for name, array in checkpoint.weights.items():
            assert np.array_equal(read[name], array)
            assert read[name].dtype == array.dtype

    def test_no_memory_is_shared(self):
        checkpoint = random_checkpoint("vgg_bn")
        before = {name: array.copy() for name, array in checkpoint.weights.items()}
        network = load(checkpoint)
        read = read_weights(network)
        for parameter in network.params():
            parameter.array[...] = 7
        for link in network.links():
            if isinstance(link, BatchNorm):
                link.avg_mean[...] = link.avg_var[...] = 7
        for arrays in (checkpoint.weights, read):
            assert all(np.array_equal(array, before[name]) for name, array in arrays.items())

    @pytest.mark.parametrize("dtype", [np.float16, np.float64])
    def test_other_precisions_become_float32(self, dtype):
        checkpoint = random_checkpoint()
        other = {name: array.astype(dtype) for name, array in checkpoint.weights.items()}
        network = load(checkpoint_of(checkpoint.architecture, other))
        for name, array in read_weights(network).items():
            assert array.dtype == np.float32
            assert np.array_equal(array, other[name].astype(np.float32))
        assert answer(network).dtype == np.float32

    def test_read_only_and_fortran_ordered_weights_load(self):
        checkpoint = random_checkpoint()
        odd = {name: np.asfortranarray(array) for name, array in checkpoint.weights.items()}
        for array in odd.values():
            array.flags.writeable = False
        outputs = answer(load(checkpoint_of(checkpoint.architecture, odd)))
        assert np.array_equal(outputs, answer(load(checkpoint)))

    def test_random_numbers_are_left_alone(self):
        np.random.seed(3)
        random.seed(3)
        expected = np.random.get_state()[1].tolist(), np.random.get_state()[2], random.getstate()
        load(random_checkpoint())
        assert (np.random.get_state()[1].tolist(), np.random.get_state()[2], random.getstate()) == expected

    def test_a_checkpoint_that_is_not_its_architecture_is_refused(self):
        checkpoint = random_checkpoint()
        del checkpoint.weights["fc8.bias"]
        with pytest.raises(KeyError, match=r"fc8\.bias"):
            load(checkpoint)


class TestDropout:
    def test_evaluation_has_none(self):
        network = load(random_checkpoint())
        assert np.array_equal(answer(network), answer(network))

    def test_training_drops_what_the_table_says(self):
        checkpoint = random_checkpoint(fc7=4096)
        checkpoint.weights["fc7.weight"][:] = 0
        checkpoint.weights["fc7.bias"][:] = 1
        checkpoint.weights["fc8.weight"][:] = 1 / 4096
        checkpoint.weights["fc8.bias"][:] = 0
        np.random.seed(0)
        # fc8 is the mean of 4096 ones, of which a share of 0.4 is kept and scaled by 1 / 0.4.
        share = answer(load(checkpoint), train=True) * 0.4
        assert (np.abs(share - 0.4) < 5 * np.sqrt(0.4 * 0.6 / 4096)).all()
        assert (share != 0.4).all()

    def test_it_can_be_overridden(self):
        checkpoint = random_checkpoint()
        assert np.array_equal(answer(load(checkpoint, dropout=0.0), train=True), answer(load(checkpoint)))
        assert build(checkpoint.architecture, dropout=0.3).dropout == 0.3


#: Version -> eps in training, eps at test time, whether it is added to the running variance, its first value; measured
#: on the published packages.
RULES = {
    "1.0.0": (1e-5, 0, True, 0),
    "1.13.0": (1e-5, 0, True, 0),
    "1.14.0": (2e-5, 0, True, 0),
    "1.20.0": (2e-5, 0, True, 0),
    "1.21.0": (2e-5, 2e-5, True, 0),
    "3.5.0": (2e-5, 2e-5, True, 0),
    "4.0.0": (2e-5, 2e-5, False, 0),
    "4.5.0": (2e-5, 2e-5, False, 0),
    "5.0.0": (2e-5, 2e-5, False, 1),
    "7.8.1": (2e-5, 2e-5, False, 1),
}


@pytest.mark.parametrize("version", RULES)
class TestBatchNormalization:
    """In closed form, on maps whose variance is of the size of eps, so that every eps shows."""

    def layer(self, version):
        layer = BatchNorm(3, batch_normalization_rules(f"chainer-{version}"))
        layer.gamma.array[:] = [0.5, 1, 2]
        layer.beta.array[:] = [1, 0, -1]
        return layer

    def maps(self):
        return (np.random.RandomState(1).randn(2, 3, 3, 4) * 3e-3 + [[[[0.5]], [[-1]], [[2]]]]).astype(np.float32)

    def normalized(self, x, mean, variance):
        shape = (1, 3, 1, 1)
        scale = np.array([0.5, 1, 2]) / np.sqrt(variance)
        return (x.astype(float) - mean.reshape(shape)) * scale.reshape(shape) + np.array([1, 0, -1]).reshape(shape)

    def test_training_normalizes_by_the_batch_and_moves_the_running_statistics(self, version):
        eps, _, eps_in_running, initial = RULES[version]
        layer, x = self.layer(version), self.maps()
        axes, m = (0, 2, 3), 2 * 3 * 4
        mean, variance = x.mean(axes, dtype=float), x.var(axes, dtype=float)
        running_mean, running_variance = np.zeros(3), np.full(3, float(initial))
        for _ in range(3):
            with chainer.using_config("train", True):
                y = layer(x)
            np.testing.assert_allclose(y.array, self.normalized(x, mean, variance + eps), rtol=0, atol=2e-4)
            running_mean = 0.9 * running_mean + 0.1 * mean
            running_variance = 0.9 * running_variance + 0.1 * m / (m - 1) * (variance + eps * eps_in_running)
            np.testing.assert_allclose(layer.avg_mean, running_mean, rtol=1e-5)
            np.testing.assert_allclose(layer.avg_var, running_variance, rtol=1e-5)
        assert (layer.avg_mean.dtype, layer.avg_var.dtype) == (np.float32, np.float32)
        assert layer.N == 0

    def test_test_time_normalizes_by_the_running_statistics_and_leaves_them(self, version):
        _, test_eps, _, _ = RULES[version]
        layer, x = self.layer(version), self.maps()
        mean, variance = np.array([0.5, -1, 2]), np.array([1e-5, 2e-5, 4e-5])
        layer.avg_mean[:], layer.avg_var[:] = mean, variance
        with chainer.using_config("train", False):
            y = layer(x)
        expected = self.normalized(x, mean, variance + test_eps)
        np.testing.assert_allclose(y.array, expected, rtol=0, atol=2e-4)
        np.testing.assert_array_equal(layer.avg_mean, mean.astype(np.float32))
        np.testing.assert_array_equal(layer.avg_var, variance.astype(np.float32))


class Plain(chainer.Chain):
    """A layer under a name, as in a user's own program."""

    def __init__(self, **links):
        super().__init__()
        with self.init_scope():
            for name, link in links.items():
                setattr(self, name, link)


class PlainAlexNet(Plain):
    """AlexNet as a user of Chainer writes it down, without this project."""

    def __init__(self):
        widths = NARROW["alexnet"]
        super().__init__(
            conv1=L.Convolution2D(None, widths["conv1"], 11, stride=4, pad=1),
            conv2=L.Convolution2D(None, widths["conv2"], 5, pad=2),
            conv3=L.Convolution2D(None, widths["conv3"], 3, pad=1),
            conv4=L.Convolution2D(None, widths["conv4"], 3, pad=1),
            conv5=L.Convolution2D(None, widths["conv5"], 3, pad=1),
            fc6=L.Linear(None, widths["fc6"]),
            fc7=L.Linear(None, widths["fc7"]),
            fc8=L.Linear(None, 14),
        )

    def forward(self, x):
        def pooled(x):
            return F.max_pooling_2d(F.relu(x), 3, stride=2)

        x = F.local_response_normalization(pooled(self.conv1(x)))
        x = F.local_response_normalization(pooled(self.conv2(x)))
        x = pooled(self.conv5(F.relu(self.conv4(F.relu(self.conv3(x))))))
        return self.fc8(F.relu(self.fc7(F.relu(self.fc6(x)))))


class TestRealChainer:
    def test_a_plain_chain_loads_what_is_written_and_answers_the_same(self, tmp_path):
        checkpoint = random_checkpoint()
        converters.write(checkpoint, tmp_path / "epoch-1.model", layout="head")
        model = Plain(predictor=PlainAlexNet())
        chainer.serializers.load_npz(tmp_path / "epoch-1.model", model)
        outputs = answer(model.predictor)
        assert error(outputs, answer(load(checkpoint))) <= 1e-6

    @pytest.mark.parametrize("name", ["alexnet", "vgg_bn", "resnet50"])
    def test_what_real_chainer_saves_is_read_again(self, name, tmp_path):
        checkpoint = random_checkpoint(name, writer="chainer-7.8.1")
        chainer.serializers.save_npz(str(tmp_path / "epoch-1.model"), Plain(predictor=load(checkpoint)))
        read = converters.read(tmp_path / "epoch-1.model", writer="chainer-7.8.1")
        assert read.architecture.shapes == checkpoint.architecture.shapes
        assert read.source.wrappers == ("predictor/",)
        for key, array in checkpoint.weights.items():
            assert np.array_equal(read.weights[key], array)

    def test_a_network_takes_the_weights_of_another_of_its_kind(self):
        checkpoint = random_checkpoint()
        network = build(checkpoint.architecture)
        assert error(answer(network), answer(load(checkpoint))) > 0.01
        load_weights(network, checkpoint.weights)
        assert np.array_equal(answer(network), answer(load(checkpoint)))


class TestGradients:
    @pytest.mark.parametrize("name", ["alexnet", "resnet50", "vgg_bn"])
    def test_every_parameter_gets_one(self, name):
        network = load(random_checkpoint(name), dropout=0.0)
        network.cleargrads()
        with chainer.using_config("train", True):
            F.sum(network(narrow_inputs()) ** 2).backward()
        for key, parameter in network.namedparams():
            assert parameter.grad is not None, key
            assert np.isfinite(parameter.grad).all(), key
            assert parameter.grad.any(), key

    def test_inputs_are_not_changed(self):
        inputs = narrow_inputs().copy()
        with chainer.using_config("train", True):
            load(random_checkpoint())(inputs)
        assert np.array_equal(inputs, narrow_inputs())


class TestBackends:
    def test_backend_is_found_by_name(self):
        assert backends.get("chainer").build is build
        assert backends.chainer.build is build

    def test_other_input_sizes_run_where_the_architecture_takes_them(self):
        network = load(random_checkpoint("alexnet", 5))
        with chainer.using_config("train", False):
            assert network(np.zeros((1, 3, 197, 197), np.float32)).shape == (1, 10)
