"""What a file says of itself is checked like everything else in it."""

import json
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save_file

import converters
from tests.helpers.checkpoint_files import adam_state, alexnet, in_torch_names, refused, save_npz, vgg_bn


@pytest.fixture(params=["npz", "safetensors", "pt"])
def save(request, tmp_path):
    """Writes a file with metadata of one's own, in each format."""

    def write(**changes):
        path = tmp_path / f"a.{request.param}"
        metadata = {"deeppose_port": "0.1.0", **changes}
        if request.param == "npz":
            save_npz(path, vgg_bn())
            with zipfile.ZipFile(path, "a") as archive:
                archive.comment = json.dumps(metadata).encode()
        elif request.param == "safetensors":
            strings = {key: v if isinstance(v, str) else json.dumps(v) for key, v in metadata.items()}
            save_file(in_torch_names(vgg_bn()), path, strings)
        else:
            torch = pytest.importorskip("torch")
            state = {name: torch.from_numpy(array) for name, array in in_torch_names(vgg_bn()).items()}
            torch.save({"state_dict": state, **metadata}, path)
        return path

    return write


SOURCE = {"path": "a", "sha256": "0", "format": "chainer-npz"}


def test_the_fixture_makes_a_good_file(save):
    checkpoint = converters.read(save(writer="chainer-5.4.0", source=SOURCE, progress={"epoch": 3}))
    assert checkpoint.source.writer_told_by == "the file's own metadata"
    assert checkpoint.progress.epoch == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"writer": "chainer-99"},
        {"writer": "me"},
        {"preprocessing": {"im_size": 0}},
        {"preprocessing": {"im_size": "large"}},
        {"preprocessing": {"gcn": "multiply"}},
        {"preprocessing": [1]},
        {"preprocessing": {"im_size": 4097}},
        {"preprocessing": {"im_size": 256, "im_width": 2**40, "part": "letterbox"}},
        {"preprocessing": {"joints": ["=HYPERLINK(1)", *"abcdef"]}},
        {"preprocessing": {"joints": ["@SUM(A1)", *"abcdef"]}},
        {"preprocessing": {"joints": ["a\n", *"bcdefg"]}},
        {"preprocessing": {"joints": ["a", "a", *"bcdef"]}},
        {"preprocessing": {"joints": ["a" * 101, *"bcdefg"]}},
        {"progress": {"epoch": "three"}},
        {"progress": {"iteration": 2**100}},
        {"progress": {"epoch": -1}},
        {"progress": {"iteration": -5}},
        {"preprocessing": {"base_zoom": float("inf")}},
        {"preprocessing": {"base_zoom": float("nan")}},
        {"preprocessing": {"gcn": "none", "mean": [float("nan"), 0.0, 0.0]}},
        {"preprocessing": {"gcn": "none", "std": [float("inf"), 1.0, 1.0]}},
        {"progress": 5},
        {"source": {"path": "a"}},
        {"source": {**SOURCE, "wrappers": 5}},
        {"source": {**SOURCE, "origin": {"path": "b"}}},
        {"source": {**SOURCE, "origin": {**SOURCE, "origin": SOURCE}}},
        {"source": 5},
        {"repairs": [{"tensor": "a"}]},
        {"repairs": [{"tensor": "a", "nan": "1", "inf": 0}]},
        {"repairs": [{"tensor": "a", "nan": -1, "inf": 0}]},
        {"repairs": [{"tensor": "a", "nan": 10**30, "inf": 0}]},
        {"repairs": [5]},
        {"repairs": 5},
        {"repairs": {"a": 1}},
    ],
)
def test_values_that_make_no_sense_are_refused(changes, save):
    refused(
        save(**changes),
        r"what it says of itself cannot be understood: .* \(was it edited\? convert the original again\)",
    )


def test_an_origin_of_an_origin_without_end(tmp_path):
    nested = SOURCE
    for _ in range(495):
        nested = {**SOURCE, "origin": nested}
    save_file(
        in_torch_names(vgg_bn()), tmp_path / "a.safetensors", {"deeppose_port": "1", "source": json.dumps(nested)}
    )
    refused(tmp_path / "a.safetensors", "what it says of itself cannot be understood: origin has an origin")


def test_numbers_of_thousands_of_digits(tmp_path):
    for digits in (4_000, 100_000):
        progress = '{"iteration": ' + "1" * digits + "}"
        save_file(in_torch_names(vgg_bn()), tmp_path / "a.safetensors", {"deeppose_port": "1", "progress": progress})
        refused(tmp_path / "a.safetensors", "what it says of itself cannot be understood")


def test_of_an_origin_what_is_known_is_kept(save):
    checkpoint = converters.read(save(source={**SOURCE, "origin": {**SOURCE, "path": "b", "more": [[[]]]}}))
    assert checkpoint.source.origin["path"] == "b"
    assert "more" not in checkpoint.source.origin


@pytest.mark.parametrize("count", [np.array(2**64 - 1, np.uint64), np.array(-3)])
def test_counters_that_cannot_be(count, tmp_path):
    arrays = {f"updater/model:main/{key}": array for key, array in alexnet().items()}
    arrays |= {f"updater/optimizer:main/{key}": array for key, array in adam_state(alexnet()).items()}
    path = save_npz(tmp_path / "a", {**arrays, "updater/iteration": count})
    with pytest.raises(
        converters.CheckpointError, match=rf"'updater/iteration' is {count}, which cannot be \(read the w"
    ):
        converters.read(path)
    assert converters.read(path, state=False).joints == 7
    path = save_npz(tmp_path / "b", {**arrays, "updater/optimizer:main/t": count, "updater/iteration": np.array(3)})
    checkpoint = converters.read(path)
    assert checkpoint.optimizer is None
    assert any(f"'t' is {count}, which cannot be" in notice for notice in checkpoint.notices)


def test_names_of_as_many_joints_as_there_are(save):
    own = {"architecture": converters.read(save()).architecture.as_dict()}
    named = converters.read(save(**own, preprocessing={"joints": ["a", "b"]}))
    assert named.preprocessing.joints == ("a", "b")
    refused(save(**own, preprocessing={"joints": list("abcd")}), "it names 4 joints, and its network answers 2")


def test_an_architecture_that_it_is_not_is_refused(save):
    refused(save(architecture={"name": "alexnet"}), "its arrays fit no architecture; nearest is alexnet|are not those")


@pytest.mark.parametrize("architecture", ["vgg_bn", {"name": "lenet"}, {"name": ["vgg_bn"]}, 5, {}])
def test_an_architecture_that_is_none_is_told_by_the_weights(architecture, save):
    assert converters.read(save(architecture=architecture)).architecture.name == "vgg_bn"


@pytest.mark.parametrize("text", ["[" * 60_000, '{"deeppose_port":' + "[" * 60_000, '{"deeppose_port": "0.1.0"'])
def test_json_without_end(text, tmp_path):
    path = save_npz(tmp_path / "a.npz", vgg_bn())
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = text.encode()
    if text.startswith("{"):
        refused(path, "what it says of itself at its end is cut short or damaged")
    else:
        assert converters.read(path).source.writer_told_by == "assumed"


def test_json_without_end_in_safetensors(tmp_path):
    save_file(in_torch_names(vgg_bn()), tmp_path / "a.safetensors", {"deeppose_port": "1", "source": "[" * 100_000})
    refused(tmp_path / "a.safetensors", "what it says of itself cannot be understood")
