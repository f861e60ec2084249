"""What people save with PyTorch beside or around a state dict: objects, lists, arrays, shards, zips made anew."""

import argparse
import collections
import datetime
import enum
import functools
import json
import pathlib
import sys
import types
import zipfile
from typing import NamedTuple

import numpy as np
import pytest
from safetensors.numpy import save_file

import converters
from converters import CheckpointError
from tests.helpers.checkpoint_files import (
    alexnet,
    assert_same_arrays,
    in_torch_names,
    members,
    refused,
    save_npz,
    save_zip,
    wrapped,
)

torch = pytest.importorskip("torch")
import deeppose_port  # noqa: E402
from tests.helpers.ports import ResNet, answer, assert_same, drawn  # noqa: E402

OLD_AND_NEW = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before 1.6"])


def expected():
    return in_torch_names(alexnet())


def state(**changes):
    return {name: torch.from_numpy(array) for name, array in {**expected(), **changes}.items()}


@pytest.fixture
def save(tmp_path):
    def write(payload, legacy=False):
        torch.save(payload, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
        return tmp_path / "a.pth"

    return write


class Colour(enum.Enum):
    RED = 1


class AttributeDict(dict):
    """As Lightning's, EasyDict's, yacs's and Munch's."""

    def __init__(self, *arguments, **values):
        super().__init__(*arguments, **values)
        self.__dict__["frozen"] = True


class Slots:
    __slots__ = ("a", "b")

    def __init__(self):
        self.a, self.b = [1], {"two": 2}


class Point(NamedTuple):
    x: int
    y: int


#: What stands in the files of MMEngine, Lightning, omegaconf and trainings of one's own, beside their weights.
STRANGERS = {
    "a deque": collections.deque([1.5, 2.5], maxlen=10),
    "a time": datetime.datetime(2019, 5, 6, tzinfo=datetime.timezone.utc),
    "a time span": datetime.timedelta(days=2),
    "an enumeration's": Colour.RED,
    "a frozen set": frozenset({"a", "b"}),
    "a path": pathlib.PurePosixPath("/data"),
    "a path of Windows": pathlib.PureWindowsPath("C:\\data"),
    "a dict of lists": collections.defaultdict(list, {"loss": [0.5]}),
    "a named tuple": Point(1, 2),
    "options": argparse.Namespace(lr=0.1, model="AlexNet"),
    "hyperparameters": AttributeDict(lr=0.1, nested=AttributeDict(a=1)),
    "a criterion": torch.nn.MSELoss(),
    "a call to be": functools.partial(max, 3),
    "a function": torch.nn.functional.relu,
    "a class": Colour,
    "an object with slots": Slots(),
    "NumPy's number": np.float64(3),
    "NumPy's array": np.arange(6.0).reshape(2, 3),
    "NumPy's array of objects": np.array(["a", "b"], object),
    "an error": ValueError("no"),
    "a namespace": types.SimpleNamespace(a=1),
    "a counter": collections.Counter("abca"),
    "a complex number": 1 + 2j,
}


class TestObjectsBeside:
    @OLD_AND_NEW
    @pytest.mark.parametrize("name", STRANGERS)
    def test_they_do_not_keep_a_whole_state_dict_back(self, name, legacy, save):
        checkpoint = converters.read(save({"epoch": 7, "thing": STRANGERS[name], "state_dict": state()}, legacy))
        assert_same_arrays(checkpoint.weights, expected())
        assert checkpoint.progress.epoch == 7

    def test_they_are_named(self, save):
        checkpoint = converters.read(save({"state_dict": state(), "a": Slots(), "b": {Colour.RED: [Colour]}}))
        (notice,) = [notice for notice in checkpoint.notices if "nothing was made or run" in notice]
        assert f"{__name__}.Slots" in notice
        assert f"{__name__}.Colour" in notice

    @pytest.mark.parametrize("key", [Colour.RED, Colour, (1, 2), 2.5, -(2**70), None, frozenset({1})], ids=str)
    def test_keys_of_any_kind(self, key, save):
        """Lightning before 1.5 kept its callbacks by their classes."""
        payload = {"callbacks": {key: {"best": 0.5}}, key: 1, "state_dict": state()}
        assert_same_arrays(converters.read(save(payload)).weights, expected())

    def test_an_optimizer_a_scheduler_and_a_scaler(self, save):
        network = torch.nn.Linear(2, 2)
        optimizer = torch.optim.Adam(network.parameters())
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=10)
        payload = {"model": state(), "optimizer": optimizer, "scheduler": scheduler, "crit": torch.nn.MSELoss()}
        assert_same_arrays(converters.read(save(payload)).weights, expected())
        payload = {"model": state(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        checkpoint = converters.read(save(payload))
        assert_same_arrays(checkpoint.weights, expected())
        assert "its 'optimizer' is an optimizer state of PyTorch's and was not read" in checkpoint.notices

    def test_a_dictionary_of_a_class_of_its_own_is_one(self, save):
        for payload in (AttributeDict(state_dict=state()), {"state_dict": AttributeDict(state())}):
            checkpoint = converters.read(save(payload))
            assert_same_arrays(checkpoint.weights, expected())
            assert any(f"{__name__}.AttributeDict" in notice for notice in checkpoint.notices)

    def test_mmengines_message_hub(self, save, monkeypatch):
        """As every training file of MMPose 1.x has it."""

        class HistoryBuffer:
            def __init__(self):
                self._log_history, self._count_history = np.ones(3), np.arange(3)
                self._statistics_methods = {"mean": len}

        module = types.ModuleType("mmengine.logging.history_buffer")
        module.HistoryBuffer, HistoryBuffer.__module__ = HistoryBuffer, module.__name__
        HistoryBuffer.__qualname__ = "HistoryBuffer"
        for name in ("mmengine", "mmengine.logging", module.__name__):
            monkeypatch.setitem(sys.modules, name, module)
        network = drawn(ResNet(18, 34))
        names = {
            name: f"head.{name}" if name.startswith("fc.") else f"backbone.{name}" for name in network.state_dict()
        }
        payload = {
            "meta": {"epoch": 210, "cfg": "codec = dict(input_size=(192, 256))", "seed": 1},
            "message_hub": {"log_scalars": {"train/loss": HistoryBuffer()}, "runtime_info": {}, "resumed_keys": {}},
            "state_dict": {names[name]: tensor for name, tensor in network.state_dict().items()},
        }
        path = save(payload)
        for name in ("mmengine", "mmengine.logging", module.__name__):
            monkeypatch.delitem(sys.modules, name)
        pose = deeppose_port.load(path)
        inputs = torch.randn(2, 3, 256, 192, generator=torch.Generator().manual_seed(1))
        assert_same(pose(inputs.numpy()).reshape(-1), answer(network, inputs))
        assert any("mmengine.logging.history_buffer.HistoryBuffer" in notice for notice in pose.checkpoint.notices)

    @pytest.mark.parametrize("stranger", [Slots(), Colour.RED, torch.nn.MSELoss()])
    def test_within_the_state_dict_they_refuse_it(self, stranger, save):
        refused(
            save({"state_dict": {**state(), "fc9.bias": stranger}}), r"its state dict holds 'fc9\.bias' \(an object of"
        )

    def test_a_whole_network_is_named(self, save):
        path = save({"model": torch.nn.Linear(2, 2), "epoch": 3})
        refused(
            path, r"it holds no state dict, but an object of torch\.nn\.modules\.linear\.Linear as 'model', which only"
        )

    def test_nothing_is_made_of_them(self, save, tmp_path):
        class Trap:
            def __reduce__(self):
                return open, (str(tmp_path / "trap"), "w")

        assert converters.read(save({"state_dict": state(), "x": [Trap()]})).joints == 7
        assert not (tmp_path / "trap").exists()


class TestContainers:
    @pytest.mark.parametrize(
        "pack",
        [
            lambda weights: [weights, {"lr": 0.1}],
            lambda weights: (weights, 7),
            lambda weights: [7, weights],
            lambda weights: {"checkpoint": [weights, 7]},
            lambda weights: ({"state_dict": weights}, 7),
            lambda weights: {"a": {"model": {"net": {"params": weights}}}},
        ],
    )
    def test_a_state_dict_in_a_list(self, pack, save):
        assert_same_arrays(converters.read(save(pack(state()))).weights, expected())

    @OLD_AND_NEW
    def test_arrays_of_numpys(self, legacy, save):
        arrays = {**expected(), "conv2.weight": np.asfortranarray(expected()["conv2.weight"])}
        checkpoint = converters.read(save(arrays, legacy))
        assert_same_arrays(checkpoint.weights, expected())
        assert_same_arrays(converters.read(save({"state_dict": arrays, "n": 1}, legacy)).weights, expected())

    def test_large_arrays_of_numpys(self, save):
        arrays = {**expected(), "fc6.weight": np.random.RandomState(0).randn(5000, 108).astype("f")}
        arrays["fc6.bias"], arrays["fc7.weight"] = np.zeros(5000, "f"), np.zeros((6, 5000), "f")
        assert_same_arrays(converters.read(save(arrays)).weights, arrays)

    def test_one_array_many_times_is_no_checkpoint(self, save):
        array = np.ones(100_000, np.float32)
        refused(save({f"layer{i}.weight": array for i in range(100)}), "its tensors have .* but are the same")

    def test_arrays_that_are_no_numbers(self, save):
        refused(save({**expected(), "fc8.bias": np.array([None])}), r"'fc8\.bias' is an array that is not read")

    def test_expanded_tensors(self, save):
        """A bias that was made by `.expand()` is one number in the file."""
        bias = torch.tensor([0.25]).expand(14)
        checkpoint = converters.read(save({**state(), "fc8.bias": bias}))
        assert_same_arrays(checkpoint.weights, {**expected(), "fc8.bias": np.full(14, 0.25, np.float32)})


class TestShards:
    @pytest.fixture(params=["safetensors", "bin"])
    def folder(self, request, tmp_path):
        """A hub's folder with a checkpoint in two files."""
        stem = "model" if request.param == "safetensors" else "pytorch_model"
        names = [f"{stem}-0000{i}-of-00002.{request.param}" for i in (1, 2)]
        places = {name: names[i % 2] for i, name in enumerate(expected())}
        for file in names:
            held = {name: expected()[name] for name in places if places[name] == file}
            if request.param == "safetensors":
                save_file(held, tmp_path / file)
            else:
                torch.save({name: torch.from_numpy(array) for name, array in held.items()}, tmp_path / file)
        index = {"metadata": {"total_size": 1}, "weight_map": places}
        (tmp_path / f"{stem}.{request.param}.index.json").write_text(json.dumps(index, indent=2))
        (tmp_path / "config.json").write_text("{}")
        return tmp_path

    def index(self, folder):
        (path,) = folder.glob("*.index.json")
        return path

    def test_the_index_and_the_folder_are_read(self, folder):
        for path in (self.index(folder), folder):
            assert_same_arrays(converters.read(path).weights, expected())
        assert deeppose_port.load(folder).joints == 7

    def test_a_conversion_of_the_folder_is_of_one_checkpoint(self, folder):
        assert converters.checkpoints_in(folder) == [self.index(folder)]
        report = converters.convert(self.index(folder))
        assert report.verified
        assert_same_arrays(converters.read(report.output).weights, expected())

    @pytest.mark.parametrize(
        ("change", "phrase"),
        [
            (
                lambda places: {**places, "x": "../../etc/passwd"},
                r"it names '\.\./\.\./etc/passwd', which is not a file",
            ),
            (lambda places: {**places, "x": ""}, r"it names '', which is not a file"),
            (lambda places: {**places, "x": "a\0b"}, r"it names 'a\\x00b', which is not a file"),
            (lambda places: {**places, "x": "\ud800"}, r"it names '\\ud800', which is not a file"),
            (lambda places: {**places, "x": 100 * "abc"}, r"it names 'abcabc.*', which is not a file"),
            (lambda places: {**places, "x": "a.safetensors"}, r"it names a\.safetensors, which is not beside it"),
            (lambda places: {**places, "x": min(places.values())}, r"it lacks 'x', which .*index\.json says it has"),
            (lambda places: dict(list(places.items())[1:]), "of which it says nothing"),
            (lambda places: {name: max(places.values()) for name in places}, "it lacks"),
            (lambda places: {}, "no index of a checkpoint's files"),
            (lambda places: 5, "no index of a checkpoint's files"),
        ],
    )
    def test_an_index_that_lies(self, change, phrase, folder):
        index = self.index(folder)
        index.write_text(json.dumps({"weight_map": change(json.loads(index.read_text())["weight_map"])}))
        with pytest.raises(CheckpointError, match=phrase):
            converters.read(index)

    def test_a_file_that_is_missing_or_changes(self, folder, monkeypatch):
        index = self.index(folder)
        (first, *_) = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        content = (folder / first).read_bytes()
        (folder / first).unlink()
        refused(index, f"it names {first}, which is not beside it")
        (folder / first).write_bytes(content[:-8])
        with pytest.raises(CheckpointError, match=first):
            converters.read(index)
        (folder / first).write_bytes(content)

        def changed(done, total):
            (folder / first).write_bytes(content + b" ")

        with pytest.raises(CheckpointError, match=f"{first}: it changed while it was read"):
            converters.read(index, progress=changed)

    @pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
    def test_a_hubs_folder_with_one_file(self, name, tmp_path):
        if name.endswith("bin"):
            torch.save(state(), tmp_path / name)
        else:
            save_file(expected(), tmp_path / name)
        (tmp_path / "README.md").write_text("# DeepPose")
        assert_same_arrays(converters.read(tmp_path).weights, expected())
        assert converters.default_target(tmp_path, "chainer-npz").name == f"{name.partition('.')[0]}.npz"


def test_bfloat16_in_safetensors(tmp_path):
    from safetensors.torch import save_file as save_torch

    halves = {name: tensor.to(torch.bfloat16) for name, tensor in state().items()}
    save_torch(halves, tmp_path / "a.safetensors")
    checkpoint = converters.read(tmp_path / "a.safetensors")
    assert_same_arrays(checkpoint.weights, {name: tensor.float().numpy() for name, tensor in halves.items()})
    assert "bfloat16 became float32, which holds each of its values" in checkpoint.notices
    assert_same_arrays(
        converters.read(converters.convert(tmp_path / "a.safetensors", format="chainer-npz").output).weights,
        checkpoint.weights,
    )


def zipped_again(path, target, top="", notes=""):
    """What a file manager makes of an unpacked zip: folders, its own notes, all deflated."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        folders = {f"{top}{folder}/" for name in old.namelist() for folder in pathlib.PurePosixPath(name).parents}
        for folder in sorted(folders - {"./", f"{top}./"} | {top} - {""}):
            new.writestr(zipfile.ZipInfo(folder), b"")
        for name in old.namelist():
            new.writestr(f"{top}{name}", old.read(name))
        new.writestr(f"{top}{notes}.DS_Store", b"\0\0\0\1Bud1")
        if not notes:
            new.writestr(f"__MACOSX/{top}._.DS_Store", b"\0\5\26\7")
    return target


class TestZippedAgain:
    def test_a_pytorch_file(self, save, tmp_path):
        path = zipped_again(save({"state_dict": state(), "epoch": 3}), tmp_path / "b.pth", notes="a/")
        assert_same_arrays({k: t.numpy() for k, t in torch.load(path)["state_dict"].items()}, expected())
        assert_same_arrays(converters.read(path).weights, expected())

    @pytest.mark.parametrize("top", ["", "epoch-100/"])
    def test_an_npz(self, top, tmp_path):
        path = zipped_again(save_npz(tmp_path / "a.model", wrapped(alexnet())), tmp_path / "b.model", top)
        assert_same_arrays(converters.read(path).weights, expected())

    def test_what_has_a_folders_name_and_bytes_is_none(self, tmp_path):
        arrays = members(wrapped(alexnet()))
        (name, content), *rest = arrays
        path = save_zip(tmp_path / "a.model", [(f"{name.removesuffix('.npy')}/", content), *rest])
        with np.load(path) as archive:
            assert len(archive.files) == len(arrays)
        with pytest.raises(CheckpointError, match=r"a\.model: "):
            converters.read(path)

    def test_damage_is_found(self, save, tmp_path):
        path = zipped_again(save(state()), tmp_path / "b.pth")
        content = bytearray(path.read_bytes())
        place = content.index(b"/data/3") + 30
        content[place] ^= 0x40
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"b\.pth: "):
            converters.read(path)


class TestParts:
    @pytest.fixture
    def other(self):
        return {name: array + 1 for name, array in expected().items()}

    def test_averages_that_mmcv_keeps_beside(self, other, save, tmp_path):
        averages = {f"ema_{name.replace('.', '_')}": torch.from_numpy(array) for name, array in other.items()}
        path = save({"state_dict": {**state(), **averages}})
        checkpoint = converters.read(path)
        assert_same_arrays(checkpoint.weights, expected())
        assert any(
            notice.startswith("its 16 arrays ema_… are a second set of weights") and "--part ema reads them" in notice
            for notice in checkpoint.notices
        )
        checkpoint = converters.read(path, part="ema")
        assert_same_arrays(checkpoint.weights, other)
        assert any("its 16 weights are those in ema_…" in notice for notice in checkpoint.notices)

    @pytest.mark.parametrize("format", ["pt", "npz"])
    def test_two_networks_of_the_same_tensors(self, format, other, save, tmp_path):
        both = {**wrapped(expected(), "student."), **wrapped(other, "teacher.")}
        path = save({k: torch.from_numpy(a) for k, a in both.items()}) if format == "pt" else tmp_path / "a.npz"
        if format == "npz":
            save_npz(path, both)
        refused(path, r"it holds several networks: 'student', 'teacher' \(say which with --part student\)")
        assert_same_arrays(converters.read(path, part="student").weights, expected())
        checkpoint = converters.read(path, part="teacher")
        assert_same_arrays(checkpoint.weights, other)
        assert any("of it, teacher was read, and not student" in notice for notice in checkpoint.notices)
        refused(path, r"it has no part 'nobody' \(there is student, teacher\)", part="nobody")

    def test_networks_under_keys_of_their_own(self, other, save):
        other = {name: torch.from_numpy(array) for name, array in other.items()}
        path = save({"generator": state(), "teacher": other, "epoch": 3})
        refused(path, r"it holds several networks: 'generator', 'teacher' \(say which with --part generator\)")
        checkpoint = converters.read(path, part="teacher")
        assert_same_arrays(checkpoint.weights, {name: tensor.numpy() for name, tensor in other.items()})
        assert checkpoint.progress.epoch == 3

    @pytest.mark.parametrize(
        ("key", "average", "within"),
        [
            ("state_dict", "ema_state_dict", ()),
            ("model", "ema", ()),
            ("model", "ema", ("shadow",)),
            ("model", "ema", ("module",)),
            ("net", "model_ema", ("state_dict",)),
        ],
    )
    def test_a_running_average_under_a_key(self, key, average, within, other, save):
        inside = {name: torch.from_numpy(array) for name, array in other.items()}
        for word in within:
            inside = {word: inside, "decay": 0.999}
        path = save({key: state(), average: inside, "epoch": 2})
        checkpoint = converters.read(path)
        assert_same_arrays(checkpoint.weights, expected())
        assert any(
            f"{average!r}, where a training keeps a running average, was not" in one for one in checkpoint.notices
        )
        assert_same_arrays(converters.read(path, part=key).weights, expected())
        checkpoint = converters.read(path, part=average)
        assert_same_arrays(checkpoint.weights, other)
        assert sum("its weights are those of" in notice for notice in checkpoint.notices) == 1
        refused(path, rf"it has no part 'epoch' \(there is {key}, {average}\)", part="epoch")

    def test_a_second_set_under_another_key_is_said(self, other, save):
        inside = {name: torch.from_numpy(array) for name, array in other.items()}
        path = save({"model_state_dict": state(), "best": {"model": inside}, "criterion": {"weight": torch.ones(3)}})
        notices = converters.read(path).notices
        assert any("its 'best', a second set of weights, was not read; --part best reads it" in one for one in notices)
        assert not any("criterion" in notice for notice in notices)
        assert_same_arrays(converters.read(path, part="best").weights, other)

    def test_an_average_beside_an_object_is_read_and_said(self, save):
        checkpoint = converters.read(save({"model": Slots(), "ema": state()}))
        assert any("its weights are those of 'ema'" in notice for notice in checkpoint.notices)

    def test_a_pose_takes_it(self, other, save):
        inside = {name: torch.from_numpy(array) for name, array in other.items()}
        path = save({"model": state(), "ema": inside})
        for part, arrays in ((None, expected()), ("model", expected()), ("ema", other)):
            assert_same_arrays(deeppose_port.load(path, part=part).checkpoint.weights, arrays)
        with pytest.raises(converters.errors.DeepPoseError, match="writer and part say how a file is read"):
            deeppose_port.load(converters.read(path), part="ema")

    def test_counters_among_the_tensors(self, save):
        checkpoint = converters.read(save({**state(), "epoch": 3, "arch": "alexnet"}))
        assert_same_arrays(checkpoint.weights, expected())
        assert any("no tensors, beside them and not read: " in notice for notice in checkpoint.notices)

    def test_the_commands_take_it(self, other, tmp_path, capsys):
        from deeppose_port.cli import main

        save_npz(
            tmp_path / "a.npz", {**wrapped(alexnet(), "a/"), **wrapped({k: v + 1 for k, v in alexnet().items()}, "b/")}
        )
        assert main(["convert", str(tmp_path / "a.npz"), "--part", "b", "-o", str(tmp_path / "b.npz")]) == 0
        assert_same_arrays(converters.read(tmp_path / "b.npz").weights, other)
        assert main(["inspect", str(tmp_path / "a.npz"), "--part", "a"]) == 0
        assert main(["inspect", str(tmp_path / "a.npz")]) == 2
        assert "say which with --part a" in capsys.readouterr().err
