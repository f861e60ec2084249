import numpy as np
import pytest

import converters
from converters.keys import (
    Header,
    Stripping,
    canonical_name,
    chainer_names,
    set_aside,
    spelled_names,
    strippings,
)
from tests.helpers.checkpoint_files import (
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
        (way,) = next(strippings(wrapped(in_torch_names(alexnet()), prefix)))
        assert way.wrappers == wrappers
        assert set(way.bare.values()) == set(in_torch_names(alexnet()))
        assert all(key == prefix + bare for key, bare in way.bare.items())

    def test_names_of_pytorch_are_read_from_npz_too(self, tmp_path):
        checkpoint = converters.read(save_npz(tmp_path / "a.npz", wrapped(in_torch_names(vgg_bn()), "module.")))
        assert checkpoint.source.wrappers == ("module.",)
        assert_same_arrays(checkpoint.weights, in_torch_names(vgg_bn()))

    @pytest.mark.parametrize("prefix", ["predictor/", "module.", "/"])
    def test_a_wrapper_that_one_key_lacks_is_not_stripped(self, prefix, tmp_path):
        arrays = wrapped(alexnet(), prefix)
        arrays["conv3/b"] = arrays.pop(f"{prefix}conv3/b")
        assert next(strippings(arrays))[0].wrappers == ()
        if prefix == "/":
            return  # a leading slash is no part of a name: nothing is lost
        message = refused(save_npz(tmp_path / "a.model", arrays), "its arrays fit no architecture")
        assert f"unexpected {prefix}conv" in message

    def test_other_ways_follow_the_known_one(self):
        (known,), others, inner = strippings(["module.a.b.module.c.weight", "module.a.b.d.weight"])
        assert known.wrappers == ("module.",)
        assert [way.wrappers for way in others] == [("module.", "a."), ("module.", "a.", "b."), ()]
        assert {way.inner for way in inner} == {("module",)}
        assert set(inner[0].bare.values()) == {"a.b.c.weight", "a.b.d.weight"}

    def test_only_so_many_parts_are_wrappers(self):
        keys = [f"{'a.' * 20}{name}" for name in ("weight", "bias")]
        assert max(len(way.wrappers) for ways in strippings(keys) for way in ways) == 8

    def test_no_keys_have_no_wrapper(self):
        assert list(strippings([])) == [[Stripping({})]]

    def test_a_key_that_is_only_a_wrapper_does_not_loop(self):
        assert next(strippings(["predictor/"])) == [Stripping({"predictor/": ""}, ("predictor/",))]


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
        assert list(spelled_names("resnet50", "mid-2016", names).values()) == [
            "res2.b1.conv1.weight",
            "res2.a.conv1.weight",
            "fc.bias",
            "conv1.weight",
        ]
        assert list(spelled_names("resnet50", "head", names).values()) == names


def test_header_counts_its_bytes():
    assert Header(np.dtype("f4"), (2, 3)).nbytes == 24
    assert Header(np.dtype("i8"), ()).nbytes == 8
    assert Header(np.dtype("f8"), (10**6, 10**6, 10**6)).nbytes == 8 * 10**18


def test_a_counter_stands_beside_a_network_and_a_layer_of_its_name_does_not():
    keys = ["n_averaged", "module.n_averaged", "steps", "steps.0.weight", "steps_out.bias", "conv1.weight"]
    assert set_aside(keys, "pt") == ["n_averaged", "module.n_averaged", "steps"]
