import json
import re
import shutil
from functools import cache

import numpy as np
import pytest
from safetensors.numpy import save_file

import converters
from converters import Preprocessing, Progress
from converters.families import Family
from converters.files import hash_file
from converters.networks import TABLES
from tests.helpers.checkpoint_files import (
    GOLDEN_MODELS,
    GOLDEN_NPZ,
    GOLDEN_SNAPSHOTS,
    GOLDEN_STATES,
    PLAIN_ALEXNET,
    adam_state,
    alexnet,
    assert_same_arrays,
    canonical,
    golden_file,
    in_torch_names,
    load_npz,
    refused,
    save_npz,
    sha256,
    vgg_bn,
    wrapped,
)
from tests.helpers.families import registered

MODEL = "updater/model:main/"
OPTIMIZER = "updater/optimizer:main/"
SLOTS = {"adam": {"m", "v"}, "momentumsgd": {"v"}, "adagrad": {"h"}, "rmsprop": {"ms"}}


def network_of(name):
    """The architecture and joints of a golden file, by its folder's name."""
    bare = name.startswith("1.10.0")
    network = next((network for network in ("resnet50", "vgg_bn") if network in name), "alexnet")
    return network, 7 if bare else 16


@cache
def weights_alone(path):
    """What a golden model's file is, read once for all that is asked of it."""
    return converters.read(path, state=False)


class TestGoldenModels:
    @pytest.mark.parametrize("name", GOLDEN_NPZ)
    def test_every_weight_arrives_bit_for_bit_under_its_canonical_name(self, name, request):
        path = golden_file(name, request)
        checkpoint = weights_alone(path)
        raw = {key: array for key, array in load_npz(path).items() if not name.startswith("trainer") or MODEL in key}
        weights = {
            canonical(key): array
            for key, array in raw.items()
            if ("/" in key and key.startswith((MODEL, "predictor/"))) or "bare" in name
        }
        assert_same_arrays(checkpoint.weights, weights)
        assert list(checkpoint.weights) == list(checkpoint.architecture.shapes)
        assert (checkpoint.architecture.name, checkpoint.joints) == network_of(name)
        assert checkpoint.repairs == ()

    @pytest.mark.parametrize("name", GOLDEN_NPZ)
    def test_source_says_what_the_file_is(self, name, request):
        path = golden_file(name, request)
        source = weights_alone(path).source
        snapshot = name in GOLDEN_SNAPSHOTS
        assert (source.path, source.sha256, source.format) == (str(path), sha256(path), "chainer-npz")
        assert source.layout == ("snapshot" if snapshot else "model")
        wrappers = () if "bare" in name else ("predictor/",)
        assert source.wrappers == ((MODEL, *wrappers) if snapshot else wrappers)
        assert source.names == ("mid-2016" if name.startswith("1.10.0/resnet50") else "head")
        assert source.state_path is None
        assert source.origin is None

    @pytest.mark.parametrize("name", [name for name in GOLDEN_MODELS if "alexnet-mpii" not in name])
    def test_widths_are_read_off_the_weights(self, name, request):
        architecture = weights_alone(golden_file(name, request)).architecture
        if architecture.name == "alexnet":
            narrow = {"conv1": 8, "conv2": 12, "conv3": 16, "conv4": 16, "conv5": 12, "fc6": 32, "fc7": 32}
            assert architecture.widths == narrow
        if architecture.name == "resnet50":
            assert architecture.widths["conv1"] == 4  # of 64
            assert architecture.widths["res5.a.conv3"] == 128  # of 2048
        assert architecture.feature_size == {"alexnet": 6, "resnet50": 1, "vgg_bn": 7}[architecture.name]

    def test_full_width_is_no_exception_from_the_table(self, shared_golden):
        path = shared_golden / "checkpoints" / "alexnet-mpii-chainer1.13" / "epoch-100.model"
        checkpoint = converters.read(path)
        assert checkpoint.architecture.widths == {}
        assert checkpoint.parameters == 58_412_448
        assert checkpoint.progress is None

    def test_hdf5_is_read_with_its_state(self, golden):
        h5py = pytest.importorskip("h5py")
        path = golden / "checkpoints" / "1.5.1" / "alexnet_flic-hdf5" / "epoch-1.model"
        checkpoint = converters.read(path)
        with h5py.File(path) as file:
            raw = {f"{layer}/{part}": file[layer][part][()] for layer in file for part in file[layer]}
        assert_same_arrays(checkpoint.weights, in_torch_names(raw))
        assert (checkpoint.architecture.name, checkpoint.joints) == ("alexnet", 7)
        assert checkpoint.source.format == "chainer-hdf5"
        assert checkpoint.source.wrappers == ()
        with h5py.File(path.with_suffix(".state")) as file:
            slot = {
                f"{layer}/{part}": file[layer][part]["h"][()]
                for layer in file
                if layer[:2] in ("co", "fc")
                for part in file[layer]
            }
            assert checkpoint.optimizer.step == file["t"][()] == 3
        assert checkpoint.optimizer.algorithm == "adagrad"
        assert_same_arrays(checkpoint.optimizer.slots["h"], in_torch_names(slot))


class TestTraining:
    @pytest.mark.parametrize("name", GOLDEN_STATES)
    @pytest.mark.parametrize("asked", ["model", "state"])
    def test_model_and_state_are_read_together_whichever_is_named(self, name, asked, request):
        state = golden_file(name, request)
        model = state.with_suffix(".model")
        checkpoint = converters.read(model if asked == "model" else state)
        raw = load_npz(state)
        optimizer = checkpoint.optimizer
        assert optimizer.algorithm == state.parent.name.partition("-")[2]
        assert optimizer.step == raw["t"]
        assert optimizer.epoch == raw["epoch"]
        assert optimizer.slots.keys() == SLOTS[optimizer.algorithm]
        for slot, arrays in optimizer.slots.items():
            assert_same_arrays(
                arrays,
                {canonical(k.removesuffix(f"/{slot}")): a for k, a in raw.items() if k.endswith(f"/{slot}")},
            )
        assert_same_arrays(checkpoint.weights, {canonical(key): array for key, array in load_npz(model).items()})
        assert checkpoint.source.path == str(model)
        assert checkpoint.source.state_path == str(state)
        assert checkpoint.progress == Progress(epoch=1, iteration=int(raw["t"]))
        assert checkpoint.trainer == {}

    @pytest.mark.parametrize("name", GOLDEN_SNAPSHOTS)
    def test_snapshot_gives_optimizer_progress_and_the_rest_of_its_trainer(self, name, request):
        path = golden_file(name, request)
        checkpoint = converters.read(path)
        raw = load_npz(path)
        optimizer = checkpoint.optimizer
        assert optimizer.algorithm == ("momentumsgd" if "momentumsgd" in name else "adam")
        assert optimizer.step == raw[OPTIMIZER + "t"]
        assert optimizer.epoch == raw[OPTIMIZER + "epoch"]
        for slot, arrays in optimizer.slots.items():
            expected = {
                canonical(key.removeprefix(OPTIMIZER).removesuffix(f"/{slot}")): array
                for key, array in raw.items()
                if key.startswith(OPTIMIZER) and key.endswith(f"/{slot}")
            }
            assert_same_arrays(arrays, expected)
        assert checkpoint.progress.iteration == raw["updater/iteration"]
        assert checkpoint.progress.epoch == raw["updater/iterator:main/epoch"]
        rest = {key: array for key, array in raw.items() if not key.startswith((MODEL, OPTIMIZER))}
        assert_same_arrays(checkpoint.trainer, rest)

    def test_state_can_be_left_out(self, golden):
        folder = golden / "checkpoints" / "1.13.0"
        for path in ("alexnet-adam/epoch-1.model", "alexnet-adam/epoch-1.state", "trainer-serial/snapshot_iter_2"):
            checkpoint = converters.read(folder / path, state=False)
            assert (checkpoint.optimizer, checkpoint.trainer, checkpoint.progress) == (None, {}, None)
            assert checkpoint.source.state_path is None
            assert len(checkpoint.weights) == 16

    def test_state_alone_says_which_model_it_needs(self, golden, tmp_path):
        path = tmp_path / "epoch-7.state"
        shutil.copy(golden / "checkpoints" / "1.13.0" / "alexnet-adam" / "epoch-1.state", path)
        refused(path, r"an optimizer's state, without the network's weights \(put epoch-7\.model beside it")

    def test_state_under_another_suffix_says_which_model_it_needs(self, golden, tmp_path):
        path = tmp_path / "optimizer.model"
        shutil.copy(golden / "checkpoints" / "1.13.0" / "alexnet-adam" / "epoch-1.state", path)
        refused(path, "an optimizer's state, without the network's weights")

    def test_two_states_under_both_names_are_refused(self, golden, tmp_path):
        for name in ("epoch-1.model", "epoch-1.state"):
            shutil.copy(golden / "checkpoints" / "1.13.0" / "alexnet-adam" / "epoch-1.state", tmp_path / name)
        refused(tmp_path / "epoch-1.state", "an optimizer state but no network", culprit=tmp_path / "epoch-1.model")

    @pytest.mark.parametrize(
        ("state", "phrase"),
        [
            (adam_state(wrapped(vgg_bn())), "the optimizer's predictor/conv1_{1,2}/W/{m,v}"),
            (wrapped(alexnet()), "this is no optimizer's state"),
        ],
        ids=["of another network", "a model"],
    )
    def test_another_file_in_the_states_place_is_left_out(self, state, phrase, tmp_path):
        path = save_npz(tmp_path / "epoch-1.model", wrapped(alexnet()))
        save_npz(tmp_path / "epoch-1.state", state)
        checkpoint = converters.read(path)
        assert_same_arrays(checkpoint.weights, in_torch_names(alexnet()))
        assert (checkpoint.optimizer, checkpoint.source.state_path) == (None, None)
        assert any(phrase in notice and notice.endswith("read without it") for notice in checkpoint.notices)

    @pytest.mark.parametrize("damage", ["torn", "flipped"])
    def test_a_damaged_state_does_not_keep_the_weights_back(self, damage, golden, tmp_path):
        for name in ("epoch-1.model", "epoch-1.state"):
            shutil.copy(golden / "checkpoints" / "1.13.0" / "alexnet-adam" / name, tmp_path / name)
        state = tmp_path / "epoch-1.state"
        content = bytearray(state.read_bytes())
        content[len(content) // 2] ^= 1
        state.write_bytes(content if damage == "flipped" else content[:5000])
        checkpoint = converters.read(tmp_path / "epoch-1.model")
        assert_same_arrays(checkpoint.weights, converters.read(tmp_path / "epoch-1.model", state=False).weights)
        assert checkpoint.optimizer is None
        (notice,) = [notice for notice in checkpoint.notices if "without it" in notice]
        assert re.fullmatch(rf"{state}: .*damaged.*; the weights are read without it", notice)

    def test_state_of_before_the_first_update_is_told(self, tmp_path):
        path = save_npz(tmp_path / "epoch-0.model", wrapped(alexnet()))
        save_npz(tmp_path / "epoch-0.state", {"t": np.array(0), "epoch": np.array(0)})
        checkpoint = converters.read(path)
        assert checkpoint.optimizer is None
        assert any("epoch-0.state was saved before the first update" in notice for notice in checkpoint.notices)

    def test_files_without_an_epoch_in_their_name_have_none(self, tmp_path):
        path = save_npz(tmp_path / "final.model", wrapped(alexnet()))
        save_npz(tmp_path / "final.state", adam_state(wrapped(alexnet()), step=77))
        assert converters.read(path).progress == Progress(epoch=None, iteration=77)

    def test_a_model_without_state_has_no_progress(self, tmp_path):
        assert converters.read(save_npz(tmp_path / "epoch-9.model", wrapped(alexnet()))).progress is None


class TestContent:
    @pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors", "weights.txt", "weights", "w.state", "w.h5"])
    def test_npz_is_told_by_its_bytes_whatever_its_name(self, name, tmp_path):
        checkpoint = converters.read(save_npz(tmp_path / name, wrapped(alexnet())))
        assert checkpoint.source.format == "chainer-npz"
        assert_same_arrays(checkpoint.weights, in_torch_names(alexnet()))

    @pytest.mark.parametrize("format", ["pt", "safetensors", "chainer-npz"])
    def test_what_is_written_is_told_by_its_bytes(self, format, tmp_path):
        if format == "pt":
            pytest.importorskip("torch")
        checkpoint = converters.read(save_npz(tmp_path / "old.model", wrapped(alexnet())))
        converters.write(checkpoint, tmp_path / "epoch-1.model", format=format)
        again = converters.read(tmp_path / "epoch-1.model")
        assert again.source.format == format
        assert_same_arrays(again.weights, checkpoint.weights)

    def test_hdf5_is_told_by_its_bytes(self, golden, tmp_path):
        pytest.importorskip("h5py")
        shutil.copy(golden / "checkpoints" / "1.5.1" / "alexnet_flic-hdf5" / "epoch-1.model", tmp_path / "x.npz")
        assert converters.read(tmp_path / "x.npz").source.format == "chainer-hdf5"

    def test_a_path_may_be_text(self, tmp_path):
        assert converters.read(str(save_npz(tmp_path / "a.model", alexnet()))).joints == 7

    def test_the_file_stays_as_it_is(self, golden, tmp_path):
        arrays = wrapped(alexnet())
        arrays["predictor/fc8/b"][:3] = np.nan, np.inf, -np.inf
        path = save_npz(tmp_path / "epoch-1.model", arrays)
        before = sha256(path)
        assert converters.read(path).source.sha256 == before == sha256(path) == hash_file(path)
        assert [item.name for item in tmp_path.iterdir()] == ["epoch-1.model"]

    def test_hash_is_of_the_whole_of_a_large_file(self, tmp_path):
        path = tmp_path / "large"
        path.write_bytes(bytes(range(256)) * 10_000)
        assert hash_file(path) == sha256(path)

    def test_progress_counts_every_byte_once(self, golden):
        calls = []
        path = golden / "checkpoints" / "1.13.0" / "alexnet-adam" / "epoch-1.model"
        checkpoint = converters.read(path, progress=lambda done, total: calls.append((done, total)))
        total = sum(array.nbytes for _, array in checkpoint.tensors())
        assert {given for _, given in calls} == {total}
        assert max(done for done, _ in calls) == total


class TestArchitecture:
    def test_the_choice_can_be_given(self, tmp_path):
        path = save_npz(tmp_path / "a.model", wrapped(alexnet()))
        assert converters.read(path, architecture="alexnet").architecture.name == "alexnet"

    def test_a_wrong_choice_is_refused_with_the_difference(self, tmp_path):
        path = save_npz(tmp_path / "a.model", wrapped(alexnet()))
        refused(path, r"its arrays are not those of vgg_bn: missing predictor/", architecture="vgg_bn")

    def test_another_network_is_compared_with_the_nearest(self, tmp_path):
        path = save_npz(tmp_path / "a.model", {**alexnet(), "layer/W": np.ones((4, 3), np.float32)})
        message = refused(path, r"its arrays fit no architecture; nearest is alexnet: unexpected layer/W ")
        assert message.endswith("(nothing is loaded in part; docs/families.md tells what is read)")

    def test_arrays_that_have_no_name_in_common_with_any_are_named(self, tmp_path):
        path = save_npz(tmp_path / "a.model", {"layer/W": np.ones((4, 3), np.float32), "layer/b": np.ones(4, "f")})
        refused(
            path,
            r"its arrays fit no architecture, none has a name of one: unexpected layer/\{W,b\} \(nothing is",
        )

    def test_a_wrong_choice_is_told_from_a_wrong_file(self, tmp_path):
        path = save_npz(tmp_path / "a.model", wrapped(alexnet()))
        message = refused(path, r"its arrays are not those of resnet50: ", architecture="resnet50")
        assert message.endswith("(they are those of alexnet: leave --architecture out)")

    @pytest.mark.parametrize("other", ["loss.weight", "ema_model.conv1.weight"])
    def test_a_network_among_others_is_found_but_not_loaded(self, other, tmp_path):
        arrays = {**wrapped(in_torch_names(alexnet()), "model."), other: np.ones(3, np.float32)}
        save_file(arrays, tmp_path / "a.safetensors")
        advice = r"\(those under 'model.' alone are alexnet: --part model reads them; nothing is loaded"
        refused(tmp_path / "a.safetensors", rf"its arrays fit no architecture, .*{other}.* {advice}")
        part = converters.read(tmp_path / "a.safetensors", part="model")
        assert_same_arrays(part.weights, in_torch_names(alexnet()))

    @pytest.mark.parametrize(("outputs", "told"), [(27, "27 outputs"), (1, "1 output")])
    def test_an_odd_number_of_outputs_is_no_pose(self, outputs, told, tmp_path):
        arrays = {**alexnet(), "fc8/W": np.ones((outputs, 6), np.float32), "fc8/b": np.ones(outputs, np.float32)}
        path = save_npz(tmp_path / "a.model", arrays)
        refused(path, rf"nearest is alexnet: the last layer has {told}, which is not two for each joint \(nothing")

    def test_a_missing_layer_is_named_in_the_files_own_spelling(self, tmp_path):
        arrays = wrapped(alexnet())
        del arrays["predictor/conv3/W"], arrays["predictor/conv3/b"], arrays["predictor/fc7/b"]
        path = save_npz(tmp_path / "a.model", arrays)
        refused(path, r"nearest is alexnet: missing predictor/conv3/\{W,b\}, predictor/fc7/b")

    def test_one_key_too_many_is_named(self, tmp_path):
        path = save_npz(tmp_path / "a.model", wrapped({**alexnet(), "bn1/gamma": np.ones(2, "f")}))
        refused(path, r"nearest is alexnet: unexpected predictor/bn1/gamma")

    @pytest.mark.parametrize(
        ("key", "shape", "phrase"),
        [
            ("conv2/W", (3, 2, 3, 3), r"predictor/conv2/W of shape \(3, 2, 3, 3\) instead of \(3, 2, 5, 5\)"),
            ("conv2/W", (3, 3, 5, 5), r"predictor/conv2/W of shape \(3, 3, 5, 5\) instead of \(3, 2, 5, 5\)"),
            ("conv2/b", (4,), r"predictor/conv2/b of shape \(4,\) instead of \(3,\)"),
            ("conv2/b", (3, 1), r"predictor/conv2/b of shape \(3, 1\) instead of \(3,\)"),
            ("conv1/W", (2, 1, 11, 11), r"predictor/conv1/W of shape \(2, 1, 11, 11\) instead of \(2, 3, 11, 11\)"),
            ("fc6/W", (5, 107), r"predictor/fc6/W of shape \(5, 107\) instead of \(5, 108\)"),
            ("fc6/W", (5, 150), r"predictor/fc6/W of shape \(5, 150\) instead of \(5, 108\)"),
            ("fc6/W", (5, 0), r"predictor/fc6/W of shape \(5, 0\) instead of \(5, 108\)"),
            ("fc7/W", (6, 4), r"predictor/fc7/W of shape \(6, 4\) instead of \(6, 5\)"),
            ("fc8/W", (14, 5), r"predictor/fc8/W of shape \(14, 5\) instead of \(14, 6\)"),
            ("fc8/b", (12,), r"predictor/fc8/b of shape \(12,\) instead of \(14,\)"),
            ("fc8/W", (0, 6), r"predictor/fc8/W of shape \(0, 6\)"),
            ("conv1/W", (), r"predictor/conv1/W of shape \(\) instead of"),
        ],
    )
    def test_a_wrong_shape_is_named_with_the_right_one(self, key, shape, phrase, tmp_path):
        path = save_npz(tmp_path / "a.model", wrapped({**alexnet(), key: np.zeros(shape, np.float32)}))
        refused(path, phrase)

    @pytest.mark.parametrize("dtype", ["i8", "u1", "?", "c8", "U3", "M8[s]", "i4"])
    def test_a_weight_that_is_no_float_is_refused(self, dtype, tmp_path):
        arrays = wrapped({**alexnet(), "conv2/W": np.zeros((3, 2, 5, 5), dtype)})
        name = np.dtype(dtype).name.replace("[", r"\[")
        refused(
            save_npz(tmp_path / "a.model", arrays),
            rf"predictor/conv2/W of dtype {name} instead of a floating-point number",
        )

    def test_a_longdouble_weight_is_refused(self, tmp_path):
        if np.dtype(np.longdouble).itemsize == 8:
            pytest.skip("long double is double here")
        arrays = wrapped({**alexnet(), "conv2/b": np.zeros(3, np.longdouble)})
        refused(save_npz(tmp_path / "a.model", arrays), "predictor/conv2/b of dtype (float128|float96) instead of")

    def test_a_counter_that_is_no_integer_is_refused(self, tmp_path):
        arrays = wrapped({**vgg_bn(), "bn1_1/N": np.array(0.5)})
        refused(save_npz(tmp_path / "a.model", arrays), "predictor/bn1_1/N of dtype float64 instead of an integer")

    def test_an_odd_number_of_outputs_is_refused(self, tmp_path):
        arrays = {**alexnet(), "fc8/W": np.zeros((15, 6), "f"), "fc8/b": np.zeros(15, "f")}
        refused(
            save_npz(tmp_path / "a.model", wrapped(arrays)),
            "the last layer has 15 outputs, which is not two for each joint",
        )

    def test_a_file_that_fits_two_asks_which(self, tmp_path):
        path = save_npz(tmp_path / "a.model", wrapped(alexnet()))
        with registered(Family("twin", "", "", "", {"twin": TABLES["alexnet"]})):
            refused(path, r"its keys and shapes fit alexnet and twin \(say which with --architecture alexnet\)")
            assert converters.read(path, architecture="twin").architecture.name == "twin"

    @pytest.mark.parametrize("joints", [1, 7, 14, 16, 100])
    def test_joints_are_half_the_outputs(self, joints, tmp_path):
        assert converters.read(save_npz(tmp_path / "a.model", wrapped(alexnet(joints)))).joints == joints

    def test_arguments_that_are_none_of_those_listed_are_refused(self, tmp_path):
        path = save_npz(tmp_path / "a.model", wrapped(alexnet()))
        with pytest.raises(ValueError, match="there is no architecture 'vgg'; there are alexnet, resnet50, vgg_bn"):
            converters.read(path, architecture="vgg")
        with pytest.raises(ValueError, match="nonfinite is 'nan'; it is one of zero, error, keep"):
            converters.read(path, nonfinite="nan")
        for writer in ("1.13.0", "chainer-8.0.0", "chainer-0.9", "chainer-", "torch-2.0", "chainer-new"):
            with pytest.raises(ValueError, match=rf"'{writer}' is no writer; it is spelled chainer-X\.Y\.Z"):
                converters.read(path, writer=writer)

    def test_a_file_without_arrays_is_refused(self, tmp_path):
        names = {"updater/optimizer:main/t": np.array(3), "updater/model:main/": np.array(1)}
        refused(save_npz(tmp_path / "a.model", names), "its arrays fit no architecture|it holds no arrays")


class TestLaterGenerations:
    def test_a_parameter_without_a_value_is_named(self, golden):
        path = golden / "checkpoints" / "7.8.1" / "uninitialised-epoch-0.model"
        refused(path, r"predictor/out_fc/W had no value yet when this was saved .*take a later checkpoint")


class TestPreprocessing:
    def test_the_shells_options_are_the_default(self, tmp_path):
        checkpoint = converters.read(save_npz(tmp_path / "a.model", wrapped(alexnet())))
        assert checkpoint.preprocessing == Preprocessing(220, 1.5, True, "divide", "BGR", "linear", "xy")
        assert checkpoint.notices == (PLAIN_ALEXNET,)

    @pytest.mark.parametrize("name", ["alexnet-bare", "resnet50-bare"])
    def test_bare_names_mean_the_input_of_mid_2016(self, name, golden):
        checkpoint = converters.read(golden / "checkpoints" / "1.10.0" / name / "epoch-1.model")
        assert checkpoint.preprocessing == Preprocessing(gcn="subtract", interpolation="nearest")
        assert any("no predictor/ before them, as in mid-2016" in notice for notice in checkpoint.notices)

    def test_hdf5_means_the_input_of_early_2016(self, golden):
        pytest.importorskip("h5py")
        path = golden / "checkpoints" / "1.5.1" / "alexnet_flic-hdf5" / "epoch-1.model"
        checkpoint = converters.read(path)
        assert checkpoint.preprocessing == Preprocessing(gcn="divide", interpolation="nearest")

    def test_log_beside_the_file_tells_the_options(self, tmp_path):
        options = "base_zoom=1.25, coord_normalize=False, gcn=False, im_size=224"
        (tmp_path / "log.txt").write_text(f"INFO:root:Namespace({options}, opt='Adam')\n")
        checkpoint = converters.read(save_npz(tmp_path / "a.model", wrapped(alexnet())))
        assert checkpoint.preprocessing == Preprocessing(224, 1.25, False, "none")

    def test_log_of_mid_2016_spells_gcn_as_a_number(self, tmp_path):
        for gcn, meant in ((1, "subtract"), (0, "none")):
            (tmp_path / "log.txt").write_text(f"Namespace(gcn={gcn})\n")
            path = save_npz(tmp_path / f"a{gcn}.model", alexnet())
            assert converters.read(path).preprocessing.gcn == meant

    def test_options_that_make_no_sense_are_passed_over(self, tmp_path):
        (tmp_path / "log.txt").write_text("Namespace(im_size='large', base_zoom=-1, coord_normalize=None)\n")
        checkpoint = converters.read(save_npz(tmp_path / "a.model", wrapped(alexnet())))
        assert checkpoint.preprocessing == Preprocessing()

    def test_a_network_for_larger_inputs_says_so(self, tmp_path):
        arrays = {**alexnet(), "fc6/W": np.zeros((5, 3 * 7 * 7), np.float32)}
        checkpoint = converters.read(save_npz(tmp_path / "a.model", wrapped(arrays)))
        assert checkpoint.architecture.feature_size == 7
        assert checkpoint.preprocessing.im_size == 260
        assert any(
            "made for inputs of 229 to 260 pixels a side, not 220: im_size is taken as 260; override" in notice
            for notice in checkpoint.notices
        )


class TestMetadata:
    def test_what_a_file_says_of_itself_wins(self, tmp_path):
        (tmp_path / "log.txt").write_text("INFO:root:chainer version: 1.13.0\n")
        first = converters.read(save_npz(tmp_path / "a.model", alexnet()), writer="chainer-5.4.0")
        converters.write(first, tmp_path / "b.model")
        second = converters.read(tmp_path / "b.model")
        assert (second.source.writer, second.source.writer_told_by) == ("chainer-5.4.0", "the file's own metadata")
        assert second.preprocessing == first.preprocessing
        assert second.source.origin == json.loads(json.dumps(first.source.as_dict()))
        third = converters.read(tmp_path / "b.model", writer="chainer-1.14.0")
        assert (third.source.writer, third.source.writer_told_by) == ("chainer-1.14.0", "the option --writer")
