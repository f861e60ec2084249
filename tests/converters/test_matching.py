import numpy as np
import pytest

import converters
from converters import Architecture
from converters.families import automatic, naming
from converters.keys import Header, spelled_names
from converters.matching import fitting, match
from tests.helpers.checkpoint_files import (
    alexnet,
    assert_same_arrays,
    in_torch_names,
    load_npz,
    refused,
    save_npz,
    vgg_bn,
    wrapped,
)


def headers(arrays):
    return {key: Header(array.dtype, array.shape) for key, array in arrays.items()}


class TestFitting:
    @pytest.mark.parametrize(
        ("name", "without"),
        [*((name, "") for name in automatic()), ("resnet18-torchvision", ".num_batches_tracked")],  # as before 0.4.1
    )
    def test_it_finds_what_the_comparison_with_all_finds(self, name, without):
        shapes = Architecture.full_size(name, joints=3).shapes
        for names in naming(name):
            file = {
                spelled: Header(np.dtype("i8" if key.endswith("tracked") else "f4"), shapes[key])
                for key, spelled in spelled_names(name, names, shapes).items()
                if not without or not key.endswith(without)
            }
            found = fitting(file)
            assert [(m.architecture.name, m.names) for m in found] == [
                (m.architecture.name, m.names) for m in match(file) if m.fits
            ]
            assert name in [m.architecture.name for m in found]

    @pytest.mark.parametrize("change", ["missing", "unexpected", "different"])
    def test_what_fits_nothing_is_not_found(self, change):
        file = headers(alexnet())
        if change == "missing":
            del file["fc7/b"]
        else:
            file["conv9/W" if change == "unexpected" else "fc7/b"] = Header(np.dtype("f4"), (3,))
        assert fitting(file) == []


class TestMatch:
    def test_the_one_that_fits_comes_first_then_the_nearest(self):
        matches = match(headers(alexnet()))
        assert [m.architecture.name for m in matches if m.fits] == ["alexnet"]
        assert matches[0].fits
        assert [m.distance for m in matches[1:]] == sorted(m.distance for m in matches[1:])

    def test_both_generations_of_a_resnet_are_told_apart(self, golden):
        head = load_npz(golden / "checkpoints" / "1.24.0" / "resnet50-adam" / "epoch-1.model")
        matches = match(headers({key.removeprefix("predictor/"): array for key, array in head.items()}))
        assert [(m.architecture.name, m.names) for m in matches if m.fits] == [("resnet50", "head")]
        mid = load_npz(golden / "checkpoints" / "1.10.0" / "resnet50-bare" / "epoch-1.model")
        matches = match(headers(mid))
        assert [(m.architecture.name, m.names) for m in matches if m.fits] == [("resnet50", "mid-2016")]

    def test_a_mixture_of_generations_fits_neither(self, golden):
        arrays = load_npz(golden / "checkpoints" / "1.10.0" / "resnet50-bare" / "epoch-1.model")
        arrays["out_fc/W"] = arrays.pop("fc/W")
        assert not any(m.fits for m in match(headers(arrays)))

    def test_only_what_is_asked_is_compared(self):
        assert [m.architecture.name for m in match(headers(alexnet()), ["vgg_bn"])] == ["vgg_bn"]

    def test_two_keys_of_one_meaning_do_not_fit(self, tmp_path):
        arrays = {**alexnet(), "conv1.weight": alexnet()["conv1/W"]}
        refused(save_npz(tmp_path / "a.npz", arrays), r"nearest is alexnet: unexpected conv1\.weight")

    def test_residual_widths_come_from_the_projection(self, golden):
        arrays = load_npz(golden / "checkpoints" / "1.24.0" / "resnet50-adam" / "epoch-1.model")
        bare = {key.removeprefix("predictor/"): array for key, array in arrays.items()}
        bare["res2/b_1/conv3/W"] = np.zeros((8, 4, 1, 1), np.float32)
        different = match(headers(bare), ["resnet50"])[0].different
        assert different == {"res2/b_1/conv3/W": "of shape (8, 4, 1, 1) instead of (16, 4, 1, 1)"}

    def test_a_mean_over_the_map_leaves_no_side_to_measure(self, golden):
        arrays = load_npz(golden / "checkpoints" / "1.24.0" / "resnet50-adam" / "epoch-1.model")
        bare = {key.removeprefix("predictor/"): array for key, array in arrays.items()}
        bare["out_fc/W"] = np.zeros((32, 4 * 128), np.float32)
        different = match(headers(bare), ["resnet50"])[0].different
        assert different == {"out_fc/W": "of shape (32, 512) instead of (32, 128)"}

    def test_counters_may_be_missing_together(self, tmp_path):
        arrays = {key: array for key, array in in_torch_names(vgg_bn()).items() if "num_batches" not in key}
        checkpoint = converters.read(save_npz(tmp_path / "a.npz", arrays))
        assert_same_arrays(checkpoint.weights, in_torch_names(vgg_bn()))
        assert any("13 BatchNormalization layers have no num_batches_tracked" in n for n in checkpoint.notices)

    def test_one_missing_counter_is_a_missing_key(self, tmp_path):
        arrays = wrapped(vgg_bn())
        del arrays["predictor/bn3_2/N"]
        refused(save_npz(tmp_path / "a.model", arrays), "missing predictor/bn3_2/N")

    @pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.int64])
    @pytest.mark.parametrize("shape", [(), (1,)])
    def test_counters_of_other_integers_become_a_scalar_int64(self, dtype, shape, tmp_path):
        arrays = {**vgg_bn(), "bn1_1/N": np.full(shape, 7, dtype)}
        counter = converters.read(save_npz(tmp_path / "a.model", arrays)).weights["bn1_1.num_batches_tracked"]
        assert (counter.dtype, counter.shape, int(counter)) == (np.int64, (), 7)


class TestDescription:
    def test_differences_are_folded_and_spelled_as_in_the_file(self, tmp_path):
        arrays = wrapped(vgg_bn())
        for stage in (3, 4):
            for layer in (1, 2, 3):
                del arrays[f"predictor/conv{stage}_{layer}/b"]
        arrays["predictor/extra/W"] = np.zeros(1, np.float32)
        message = refused(save_npz(tmp_path / "a.model", arrays), "nearest is vgg_bn")
        assert "missing predictor/conv{3,4}_{1..3}/b; unexpected predictor/extra/W" in message

    def test_alike_differences_are_said_once(self, tmp_path):
        arrays = wrapped({**alexnet(), "fc6/b": np.zeros(9, np.float32), "fc7/W": np.zeros((6, 9), np.int64)})
        message = refused(save_npz(tmp_path / "a.model", arrays), "nearest is alexnet")
        assert "predictor/fc6/b of shape (9,) instead of (5,)" in message
        assert "predictor/fc7/W of dtype int64 instead of a floating-point number" in message

    def test_pytorchs_files_are_described_in_pytorchs_names(self, tmp_path):
        from safetensors.numpy import save_file

        arrays = wrapped(in_torch_names(vgg_bn()), "module.")
        del arrays["module.bn1_2.running_var"], arrays["module.fc6.bias"]
        save_file(arrays, tmp_path / "a.safetensors")
        refused(
            tmp_path / "a.safetensors",
            r"nearest is vgg_bn: missing module\.bn1_2\.running_var, module\.fc6\.bias \(",
        )

    def test_mid_2016s_files_are_described_in_its_names(self, golden, tmp_path):
        arrays = load_npz(golden / "checkpoints" / "1.10.0" / "resnet50-bare" / "epoch-1.model")
        del arrays["fc/b"], arrays["res2/b1/conv1/W"]
        refused(save_npz(tmp_path / "a.model", arrays), r"nearest is resnet50: missing res2/b1/conv1/W, fc/b;")
