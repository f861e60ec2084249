"""Chainer -> another format -> Chainer: the same keys, dtypes, shapes and bytes."""

import shutil
from importlib.util import find_spec

import numpy as np
import pytest

import converters
from converters import Preprocessing, Progress
from tests.helpers.checkpoint_files import (
    GOLDEN_NPZ,
    adam_state,
    alexnet,
    assert_same_arrays,
    golden_file,
    in_torch_names,
    load_npz,
    save_npz,
    vgg_bn,
    wrapped,
)

MODEL = "updater/model:main/"
RESULTS = ("epoch-150.model", "epoch-300.model", "snapshot_iter_900")


#: Formats that a file goes through on its way.
SUFFIXES = [".pt", ".safetensors"] if find_spec("torch") else [".safetensors"]


def there_and_back(path, folder, suffixes=SUFFIXES):
    """Converts a file to another format, that to the next and that back, and returns the arrays that come out."""
    for suffix in suffixes:
        converters.convert(path, folder / f"there{suffix}", state=False)
        path = folder / f"there{suffix}"
    converters.convert(path, folder / "back.npz")
    return load_npz(folder / "back.npz")


def model_of(arrays):
    """The model's part of a file."""
    snapshot = any(key.startswith(MODEL) for key in arrays)
    return {k.removeprefix(MODEL): array for k, array in arrays.items() if k.startswith(MODEL) or not snapshot}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if "mpii" in name else ()) for name in GOLDEN_NPZ]
)
def test_every_golden_model_comes_back(name, request, tmp_path):
    path = golden_file(name, request)
    assert_same_arrays(there_and_back(path, tmp_path), model_of(load_npz(path)))


@pytest.mark.parametrize("name", RESULTS)
def test_a_real_result_folder_comes_back(name, shared_golden, tmp_path):
    path = shared_golden / "results" / "AlexNet_2026" / name
    assert_same_arrays(there_and_back(path, tmp_path), model_of(load_npz(path)))


@pytest.mark.parametrize("name", RESULTS)
def test_a_real_training_comes_back_through_pt(name, shared_golden, tmp_path):
    pytest.importorskip("torch")
    path = shared_golden / "results" / "AlexNet_2026" / name
    converters.convert(path, tmp_path / "there.pt")
    layout, original = ("snapshot", path) if "snapshot" in name else ("state", path.with_suffix(".state"))
    converters.convert(tmp_path / "there.pt", tmp_path / "back.npz", layout=layout)
    assert_same_arrays(load_npz(tmp_path / "back.npz"), load_npz(original))


def test_hdf5_comes_back_as_npz_with_the_same_keys(golden, tmp_path):
    h5py = pytest.importorskip("h5py")
    path = golden / "checkpoints" / "1.5.1" / "alexnet_flic-hdf5" / "epoch-1.model"
    with h5py.File(path) as file:
        raw = {f"{layer}/{part}": file[layer][part][()] for layer in file for part in file[layer]}
    assert_same_arrays(there_and_back(path, tmp_path), raw)
    converters.convert(path, tmp_path / "direct.npz")
    assert_same_arrays(load_npz(tmp_path / "direct.npz"), raw)


@pytest.mark.parametrize(
    "name",
    [
        "1.13.0/alexnet-rmsprop/epoch-1.model",
        "7.8.1/alexnet-adam/epoch-1.model",
        "1.13.0/trainer-serial/snapshot_iter_2",
        "1.24.0/trainer-multiprocess/snapshot_iter_2",
        "5.4.0/trainer-serial/snapshot_iter_2",
        "7.8.1/trainer-multiprocess/snapshot_iter_2",
    ],
)
def test_training_comes_back_through_pt(name, golden, tmp_path):
    pytest.importorskip("torch")
    path = golden / "checkpoints" / name
    first = converters.read(path)
    converters.convert(path, tmp_path / "there.pt")
    there = converters.read(tmp_path / "there.pt")
    assert there.progress == first.progress
    assert (there.optimizer.algorithm, there.optimizer.step, there.optimizer.epoch) == (
        first.optimizer.algorithm,
        first.optimizer.step,
        first.optimizer.epoch,
    )
    layout, original = ("snapshot", path) if first.trainer else ("state", path.with_suffix(".state"))
    converters.convert(tmp_path / "there.pt", tmp_path / "back.npz", layout=layout)
    assert_same_arrays(load_npz(tmp_path / "back.npz"), load_npz(original))


def test_a_snapshot_of_python_2_comes_back_through_pt(tmp_path):
    """There the log is bytes, not text."""
    pytest.importorskip("torch")
    arrays = {
        **wrapped(alexnet(), MODEL + "predictor/"),
        **wrapped(adam_state(wrapped(alexnet())), "updater/optimizer:main/"),
        "updater/iteration": np.array(3),
        "updater/iterator:main/epoch": np.array(1),
        "updater/iterator:main/is_new_epoch": np.array(True),
        "updater/iterator:main/order": np.arange(8),
        "extensions/LogReport/_log": np.array(b'[{"main/loss": 0.5}]'),
        "extensions/LogReport/text": np.array("[\N{GREEK SMALL LETTER ALPHA}]"),
        "extensions/LogReport/time": np.array(0.25),
    }
    path = save_npz(tmp_path / "snapshot_iter_3", arrays)
    converters.convert(path, tmp_path / "there.pt")
    converters.convert(tmp_path / "there.pt", tmp_path / "back", format="chainer-npz", layout="snapshot")
    assert_same_arrays(load_npz(tmp_path / "back"), arrays)


@pytest.mark.parametrize("stop", ["model", "state"])
def test_one_model_beside_another_is_not_touched(stop, golden, tmp_path):
    for kind in ("model", "state"):
        shutil.copy(golden / "checkpoints" / "1.13.0" / "alexnet-adam" / f"epoch-1.{kind}", tmp_path)
    raw = load_npz(tmp_path / "epoch-1.model")
    converters.convert(tmp_path / f"epoch-1.{stop}", tmp_path / "new.npz", format="chainer-npz", layout="head")
    assert_same_arrays(load_npz(tmp_path / "new.npz"), raw)


@pytest.mark.parametrize("dtype", ["f2", "f8"])
def test_other_floats_keep_their_kind(dtype, tmp_path):
    arrays = wrapped(alexnet(dtype=dtype))
    path = save_npz(tmp_path / "a.model", arrays)
    assert_same_arrays(there_and_back(path, tmp_path, [*SUFFIXES, ".npz"]), arrays)


def test_foreign_weights_get_the_last_legacy_names(tmp_path):
    from safetensors.numpy import save_file

    save_file(wrapped(in_torch_names(vgg_bn()), "module."), tmp_path / "foreign.safetensors")
    assert_same_arrays(there_and_back(tmp_path / "foreign.safetensors", tmp_path), wrapped(vgg_bn()))


def test_what_is_known_of_the_first_file_survives_every_format(golden, tmp_path):
    path = golden / "checkpoints" / "1.10.0" / "resnet50-bare" / "epoch-1.model"
    first = converters.read(path, writer="chainer-1.10.0")
    previous = path
    targets = [f"a{SUFFIXES[0]}", "b.npz", "c.safetensors", "d.npz"]
    for target in targets:
        converters.convert(previous, tmp_path / target, **({"writer": "chainer-1.10.0"} if previous is path else {}))
        previous = tmp_path / target
        again = converters.read(previous)
        assert (again.source.writer, again.source.writer_told_by) == ("chainer-1.10.0", "the file's own metadata")
        assert again.preprocessing == first.preprocessing == Preprocessing(gcn="subtract", interpolation="nearest")
        assert again.architecture == first.architecture
        assert again.source.origin["path"] == str(path)
        assert again.source.origin["sha256"] == first.source.sha256
        assert again.chainer_source is not None
        assert again.notices == ()
    assert_same_arrays(load_npz(previous), load_npz(path))


def test_progress_survives_every_format(golden, tmp_path):
    path = golden / "checkpoints" / "1.13.0" / "alexnet-adam" / "epoch-1.model"
    for suffix in SUFFIXES:
        converters.convert(path, tmp_path / f"a{suffix}")
        assert converters.read(tmp_path / f"a{suffix}").progress == Progress(1, 3)


def test_the_same_checkpoint_gives_the_same_npz(tmp_path):
    path = save_npz(tmp_path / "a.model", wrapped(alexnet()))
    hashes = {converters.convert(path, tmp_path / "b.npz", force=True).output_sha256 for _ in range(2)}
    assert len(hashes) == 1
