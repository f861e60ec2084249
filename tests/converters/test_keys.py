import numpy as np
import pytest
from checkpoint_files import (
    alexnet,
    assert_same_arrays,
    golden_file,
    in_torch_names,
    load_npz,
    refused,
    save_npz,
    vgg_bn,
    wrapped,
)

import converters
from converters import Architecture
from converters.keys import (
    Header,
    canonical_name,
    chainer_names,
    fold,
    fold_groups,
    generation_names,
    match,
    strip_wrappers,
)


def headers(arrays):
    return {key: Header(array.dtype, array.shape) for key, array in arrays.items()}


class TestWrappers:
    @pytest.mark.parametrize(
        "prefix", ["predictor/", "/", "/predictor/", "module.", "_orig_mod.", "model.", "net.", "predictor."]
    )
    def test_each_wrapper_is_stripped_and_said(self, prefix, tmp_path):
        checkpoint = converters.read(save_npz(tmp_path / "a.model", wrapped(alexnet(), prefix)))
        assert "".join(checkpoint.source.wrappers) == prefix
        assert_same_arrays(checkpoint.weights, in_torch_names(alexnet()))

    @pytest.mark.parametrize(
        ("prefix", "wrappers"),
        [
            ("module.model.", ("module.", "model.")),
            ("_orig_mod.module.", ("_orig_mod.", "module.")),
            ("module._orig_mod.net.", ("module.", "_orig_mod.", "net.")),
            ("module.module.", ("module.", "module.")),
            ("/updater/model:main/predictor/", ("/", "updater/model:main/", "predictor/")),
        ],
    )
    def test_nested_wrappers_are_stripped_outermost_first(self, prefix, wrappers):
        stripped, found = strip_wrappers(wrapped(in_torch_names(alexnet()), prefix))
        assert found == wrappers
        assert set(stripped.values()) == set(in_torch_names(alexnet()))
        assert all(key == prefix + bare for key, bare in stripped.items())

    def test_names_of_pytorch_are_read_from_npz_too(self, tmp_path):
        checkpoint = converters.read(save_npz(tmp_path / "a.npz", wrapped(in_torch_names(vgg_bn()), "module.")))
        assert checkpoint.source.wrappers == ("module.",)
        assert_same_arrays(checkpoint.weights, in_torch_names(vgg_bn()))

    @pytest.mark.parametrize("prefix", ["predictor/", "module.", "/"])
    def test_a_wrapper_that_one_key_lacks_is_not_stripped(self, prefix, tmp_path):
        arrays = wrapped(alexnet(), prefix)
        arrays["conv3/b"] = arrays.pop(f"{prefix}conv3/b")
        assert strip_wrappers(arrays)[1] == ()
        if prefix == "/":
            return  # a leading slash is no part of a name: nothing is lost
        message = refused(save_npz(tmp_path / "a.model", arrays), "its arrays fit no architecture")
        assert f"unexpected {prefix}conv" in message

    def test_no_keys_have_no_wrapper(self):
        assert strip_wrappers([]) == ({}, ())

    def test_a_key_that_is_only_a_wrapper_does_not_loop(self):
        assert strip_wrappers(["predictor/"]) == ({"predictor/": ""}, ("predictor/",))


class TestNames:
    @pytest.mark.parametrize(
        ("key", "name"),
        [
            ("conv1/W", "conv1.weight"),
            ("fc8/b", "fc8.bias"),
            ("res2/a/bn1/gamma", "res2.a.bn1.weight"),
            ("res2/b_1/bn3/beta", "res2.b_1.bn3.bias"),
            ("bn1_1/avg_mean", "bn1_1.running_mean"),
            ("bn1_1/avg_var", "bn1_1.running_var"),
            ("bn1_1/N", "bn1_1.num_batches_tracked"),
            ("conv1.weight", "conv1.weight"),
        ],
    )
    def test_canonical_names_are_pytorchs(self, key, name):
        assert canonical_name(key) == name

    @pytest.mark.parametrize(
        ("name", "generation"),
        [
            ("1.13.0/alexnet-adam/epoch-1.model", "head"),
            ("1.24.0/resnet50-adam/epoch-1.model", "head"),
            ("1.10.0/resnet50-bare/epoch-1.model", "mid-2016"),
            ("1.13.0/vgg_bn-adam/epoch-1.model", "head"),
        ],
    )
    def test_chainer_names_are_those_of_real_files(self, name, generation, request):
        path = golden_file(name, request)
        raw = {key.removeprefix("predictor/") for key in load_npz(path)}
        architecture = converters.read(path, state=False).architecture
        names = chainer_names(architecture, generation)
        assert set(names.values()) == raw
        assert list(names) == list(architecture.shapes)

    def test_mid_2016_spells_two_things_otherwise(self):
        names = ["res2.b_1.conv1.weight", "res2.a.conv1.weight", "out_fc.bias", "conv1.weight"]
        assert list(generation_names("resnet50", "mid-2016", names).values()) == [
            "res2.b1.conv1.weight",
            "res2.a.conv1.weight",
            "fc.bias",
            "conv1.weight",
        ]
        assert list(generation_names("resnet50", "head", names).values()) == names


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


class TestFold:
    @pytest.mark.parametrize(
        ("keys", "folded"),
        [
            ([], ""),
            (["conv1/W"], "conv1/W"),
            (["fc6/W", "fc6/b", "fc7/W", "fc7/b"], "fc{6,7}/{W,b}"),
            (["fc6/W", "fc6/b", "fc7/W"], "fc6/{W,b}, fc7/W"),
            ([f"conv{i}/W" for i in (1, 2, 3)], "conv{1..3}/W"),
            ([f"conv{i}/W" for i in (1, 3, 5)], "conv{1,3,5}/W"),
            ([f"conv{i}/W" for i in (9, 10, 11)], "conv{9..11}/W"),
            ([f"conv{a}_{b}/W" for a in (1, 2) for b in (1, 2)], "conv{1,2}_{1,2}/W"),
            (["conv1_1/W", "conv1_2/W", "conv2_1/W"], "conv1_{1,2}/W, conv2_1/W"),
            (["conv1.weight", "conv1.bias"], "conv1.{bias,weight}"),
            (["a/W", "b/W"], "a/W, b/W"),
            (["t"], "t"),
            (["a01/W", "a1/W"], "a{01,1}/W"),
        ],
    )
    def test_patterns_stand_for_exactly_the_keys(self, keys, folded):
        assert fold(keys) == folded
        assert sorted(key for group in fold_groups(keys).values() for key in group) == sorted(keys)

    def test_many_patterns_are_counted(self):
        keys = [f"{letter}/W" for letter in "abcdefghij"]
        assert fold(keys) == "a/W, b/W, c/W, d/W, e/W, f/W and 4 more patterns"
        assert fold(keys, most=10).endswith("i/W, j/W")

    def test_a_whole_resnet_is_few_patterns(self):
        names = chainer_names(Architecture.full_size("resnet50", 7))
        assert len(fold_groups(names.values())) <= 20

    def test_numbers_without_end_do_not_take_memory_or_time(self):
        keys = [f"a{i}/W" for i in (0, 999_999_998, 999_999_999)] + ["b" + "9" * 6000 + "/W", "b" + "8" * 6000 + "/W"]
        assert "a{0,999999998,999999999}/W" in fold_groups(keys)
        each_its_own = ["/".join("1" if i == j else "0" for j in range(1200)) + "/W" for i in range(1200)]
        assert len(fold_groups(each_its_own)) == 1200
        deep = ["/".join(f"{j}" for j in range(i, i + 1500)) + "/W" for i in range(3)]
        assert len(fold_groups(deep)) == 3


def test_header_counts_its_bytes():
    assert Header(np.dtype("f4"), (2, 3)).nbytes == 24
    assert Header(np.dtype("i8"), ()).nbytes == 8
    assert Header(np.dtype("f8"), (10**6, 10**6, 10**6)).nbytes == 8 * 10**18
