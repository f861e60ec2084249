import numpy as np
import pytest

from converters import Architecture, Preprocessing
from deeppose_port.training.initial import initial_architecture, initial_checkpoint


def drawn(name="alexnet", joints=7, im_size=220, width=None, seed=1):
    return initial_checkpoint(initial_architecture(name, joints, im_size, width), Preprocessing(im_size=im_size), seed)


class TestArchitecture:
    @pytest.mark.parametrize("name", ["alexnet", "resnet50", "vgg_bn"])
    def test_it_is_the_tables(self, name):
        architecture = initial_architecture(name, 14, 220)
        assert architecture.shapes == Architecture.full_size(name, 14).shapes
        assert architecture.writer == "chainer-7.8.1"

    def test_the_first_linear_layer_is_made_for_the_input(self):
        assert initial_architecture("alexnet", 7, 227).shapes["fc6.weight"] == (4096, 256 * 6 * 6)
        assert initial_architecture("alexnet", 7, 64).shapes["fc6.weight"] == (4096, 256 * 1 * 1)
        assert initial_architecture("vgg_bn", 7, 96).shapes["fc6.weight"] == (4096, 512 * 3 * 3)

    def test_a_factor_narrows_every_layer_but_the_last(self):
        shapes = initial_architecture("alexnet", 7, 220, "0.25").shapes
        assert [shapes[f"{layer}.weight"][0] for layer in ("conv1", "conv2", "conv3", "fc7", "fc8")] == [
            *(24, 64, 96, 1024, 14)
        ]
        assert initial_architecture("alexnet", 7, 220, "1e-9").shapes["conv1.weight"][0] == 1

    def test_channels_go_to_the_layers_in_their_order(self):
        shapes = initial_architecture("alexnet", 7, 220, "8,12,16,17,13,32,33").shapes
        layers = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
        assert [shapes[f"{layer}.weight"][0] for layer in layers] == [8, 12, 16, 17, 13, 32, 33, 14]

    def test_a_factor_narrows_resnets_branches_alike(self):
        shapes = initial_architecture("resnet50", 7, 220, "0.0625").shapes
        assert shapes["res2.a.conv3.weight"][0] == shapes["res2.a.conv4.weight"][0] == 16

    @pytest.mark.parametrize(
        ("name", "width", "message"),
        [
            ("alexnet", "wide", "the width 'wide' is neither a factor nor channels with commas between"),
            ("alexnet", "", "the width '' is neither"),
            ("alexnet", "8,12,", "is neither"),
            ("alexnet", "8,12,16,16.5,12,32,32", "is neither"),
            ("alexnet", "8,12", r"alexnet has 7 layers before the last \(conv1, .*, fc7\), not 2"),
            ("alexnet", "0", "the width '0' has to be positive"),
            ("alexnet", "-1", "has to be positive"),
            ("alexnet", "nan", "has to be positive"),
            ("alexnet", "inf", "has to be positive"),
            ("alexnet", "8,12,0,16,12,32,32", "has to be positive"),
            ("alexnet", "8,12,-3,16,12,32,32", "has to be positive"),
            ("resnet50", ",".join(str(4 + n) for n in range(53)), "the branches of resnet50 do not fit each other"),
        ],
    )
    def test_a_width_that_does_not_fit_is_refused(self, name, width, message):
        with pytest.raises(ValueError, match=message):
            initial_architecture(name, 7, 220, width)

    def test_an_unknown_architecture_is_refused(self):
        with pytest.raises(ValueError, match="there is no architecture 'lenet'; there are alexnet"):
            initial_architecture("lenet", 7, 220)

    def test_an_input_that_is_too_small_is_refused(self):
        with pytest.raises(ValueError, match="im_size 8 is too small for alexnet"):
            initial_architecture("alexnet", 7, 8)


class TestWeights:
    @pytest.mark.parametrize(("name", "width"), [("alexnet", "0.5"), ("vgg_bn", "0.25"), ("resnet50", "0.5")])
    def test_they_are_normal_with_chainers_deviation(self, name, width):
        """1 / sqrt(fan-in) as LeCun; ResNet50's convolutions 2 ** 0.25 of that, measured on Chainer 1.13."""
        checked = 0
        for key, array in drawn(name, width=width).weights.items():
            if array.ndim < 2 or array.size < 3000:
                continue
            scale = 2**0.25 if name == "resnet50" and ".conv" in f".{key}" else 1
            numbers = array.ravel().astype(float) * np.sqrt(np.prod(array.shape[1:])) / scale
            tolerance = 5 / np.sqrt(numbers.size)
            assert abs(numbers.mean()) < tolerance, key
            assert abs(numbers.std() - 1) < tolerance, key
            assert 2 < np.abs(numbers).max() < 7, key
            checked += 1
        assert checked >= 5

    @pytest.mark.parametrize(("name", "width"), [("alexnet", "0.1"), ("vgg_bn", "0.1"), ("resnet50", "0.125")])
    def test_all_else_begins_as_in_chainer_7(self, name, width):
        checkpoint = drawn(name, width=width)
        assert checkpoint.weights.keys() == checkpoint.architecture.shapes.keys()
        for key, array in checkpoint.weights.items():
            assert array.shape == checkpoint.architecture.shapes[key]
            assert array.dtype == (np.int64 if key.endswith("num_batches_tracked") else np.float32)
            if array.ndim < 2:
                one = key.endswith("running_var") or (key.endswith("weight") and "bn" in key)
                assert (array == one).all(), key

    def test_the_seed_decides(self):
        width = "2,2,2,2,2,4,4"
        first, again, other = (drawn(width=width, seed=seed).weights["conv1.weight"] for seed in (1, 1, 2))
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)

    def test_layers_have_numbers_of_their_own(self):
        weights = drawn(width="8,8,8,8,8,32,32").weights
        assert not np.array_equal(weights["conv3.weight"], weights["conv4.weight"])

    def test_it_is_a_checkpoint_of_the_last_chainer(self):
        checkpoint = drawn(joints=16, im_size=64, width="2,2,2,2,2,4,4")
        assert (checkpoint.joints, checkpoint.preprocessing.im_size) == (16, 64)
        assert checkpoint.source.writer == "chainer-7.8.1"
        assert (checkpoint.optimizer, checkpoint.progress) == (None, None)
