import pytest

from converters import Architecture, DeepPoseError
from converters.networks import batch_normalization_rules, chainer_version, feature_size
from tests.helpers.checkpoint_files import alexnet, in_torch_names, vgg_bn


class TestShapes:
    @pytest.mark.parametrize(
        ("name", "joints", "parameters", "tensors"),
        [("alexnet", 16, 58_412_448, 16), ("resnet50", 16, 23_573_600, 320), ("vgg_bn", 16, 134_400_096, 97)],
    )
    def test_full_size_has_the_legacy_number_of_parameters(self, name, joints, parameters, tensors):
        """The numbers of the legacy program's own networks."""
        shapes = Architecture.full_size(name, joints).shapes
        count = 0
        for key, shape in shapes.items():
            if not key.endswith(("running_mean", "running_var", "num_batches_tracked")):
                size = 1
                for length in shape:
                    size *= length
                count += size
        assert count == parameters
        assert len(shapes) == tensors

    def test_the_last_layer_has_two_outputs_a_joint(self):
        for name, last in (("alexnet", "fc8"), ("resnet50", "out_fc"), ("vgg_bn", "fc8")):
            assert Architecture.full_size(name, 14).shapes[f"{last}.bias"] == (28,)

    def test_widths_replace_the_tables(self):
        widths = {"conv1": 2, "conv2": 3, "conv3": 4, "conv4": 4, "conv5": 3, "fc6": 5, "fc7": 6}
        shapes = Architecture("alexnet", 7, widths, feature_size=6).shapes
        assert shapes == {name: array.shape for name, array in in_torch_names(alexnet()).items()}
        narrow = dict.fromkeys([key.split("/")[0] for key in vgg_bn() if key.startswith(("conv", "fc6", "fc7"))], 1)
        shapes = Architecture("vgg_bn", 2, narrow, feature_size=7).shapes
        assert shapes == {name: array.shape for name, array in in_torch_names(vgg_bn()).items()}


class TestSizes:
    @pytest.mark.parametrize(
        ("name", "smallest", "largest", "side"), [("alexnet", 197, 228, 6), ("vgg_bn", 193, 224, 7)]
    )
    def test_inputs_that_the_fully_connected_layer_fits(self, name, smallest, largest, side):
        """The ranges that were measured on Chainer 1.13."""
        architecture = Architecture.full_size(name, 7)
        assert architecture.feature_size == side
        assert architecture.input_sizes() == (smallest, largest)
        for size in (smallest, 220, largest):
            assert architecture.accepts(size)
        for size in (smallest - 1, largest + 1):
            assert not architecture.accepts(size)

    def test_a_resnet_takes_any_size(self):
        architecture = Architecture.full_size("resnet50", 7)
        assert architecture.input_sizes() is None
        assert all(architecture.accepts(size) for size in (64, 220, 500))

    @pytest.mark.parametrize(
        ("name", "sides"),
        [("alexnet", {200: 6, 224: 6, 227: 6, 256: 7}), ("vgg_bn", {200: 7, 224: 7, 227: 8, 256: 8})],
    )
    def test_maps_have_chainers_sizes(self, name, sides):
        assert {size: feature_size(name, size) for size in sides} == sides

    @pytest.mark.parametrize("name", ["alexnet", pytest.param("vgg_bn", marks=pytest.mark.slow)])
    def test_every_feature_size_has_inputs(self, name):
        for side in (*range(1, 14), 39):
            smallest, largest = Architecture(name, 7, feature_size=side).input_sizes()
            assert feature_size(name, smallest) == feature_size(name, largest) == side


class TestDescription:
    def test_it_survives_a_dict(self):
        architecture = Architecture("alexnet", 7, {"conv1": 8}, 6, "chainer-5.4.0")
        assert Architecture.from_dict(architecture.as_dict()) == architecture
        assert hash(Architecture.from_dict(architecture.as_dict())) == hash(architecture)

    @pytest.mark.parametrize(
        ("change", "phrase"),
        [
            ({"name": "lenet"}, "there is no architecture 'lenet'; there are alexnet, resnet50, vgg_bn"),
            ({"joints": 0}, "an architecture has at least one joint, not 0"),
            ({"writer": "keras-2"}, "'keras-2' is no writer"),
            ({"widths": None}, "this does not describe an architecture"),
            ({"joints": None}, "this does not describe an architecture"),
            ({"joints": "many"}, "this does not describe an architecture"),
            ({"joints": float("inf")}, "this does not describe an architecture"),
            ({"widths": "conv1"}, "this does not describe an architecture"),
        ],
    )
    def test_what_describes_none_is_refused(self, change, phrase):
        described = {**Architecture.full_size("alexnet", 7).as_dict(), **change}
        with pytest.raises(DeepPoseError, match=phrase):
            Architecture.from_dict(described)
        for nothing in ({}, "{", "[]"):
            with pytest.raises(DeepPoseError, match="does not describe"):
                Architecture.of(nothing)


class TestWriter:
    @pytest.mark.parametrize("writer", ["chainer-1.0.0", "chainer-1.13.0", "chainer-7.8.1", "chainer-7.8.1.post1"])
    def test_versions_are_read(self, writer):
        assert str(chainer_version(writer)) == writer.removeprefix("chainer-")

    @pytest.mark.parametrize("writer", ["", "chainer", "chainer-", "1.13.0", "chainer-0.9", "chainer-8", "Keras-2.0"])
    def test_others_are_refused(self, writer):
        for ask in (chainer_version, batch_normalization_rules):
            with pytest.raises(ValueError, match=r"is no writer; it is spelled chainer-X\.Y\.Z, from chainer-1\.0\.0"):
                ask(writer)
