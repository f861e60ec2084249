"""Where training examples come from, in either backend: pictures, a cache of them, or a pack."""

import re
from importlib.util import find_spec

import pytest

from deeppose_port.backends.training import train
from deeppose_port.cli import main
from deeppose_port.data import PackError, PoseDataset
from deeppose_port.data import dataset as dataset_module
from deeppose_port.data.pack.index import PackOptions
from deeppose_port.data.pack.packing import pack
from deeppose_port.options import options_of
from deeppose_port.training.options import TrainingOptions
from tests.helpers.trainings import run, small_options, write_csv

ALL = {"fliplr": True, "rotate": True, "zoom": True, "translate": True}


@pytest.fixture(params=["torch", "chainer"])
def backend(request):
    if find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return request.param


@pytest.fixture
def packed(tmp_path, pictures):
    """An unreduced pack of the persons that `run(tmp_path, …)` trains on."""
    csv = write_csv(tmp_path / "train.csv", pictures)
    dataset = PoseDataset(csv, images=pictures, skeleton="flic")
    pack(dataset, tmp_path / "pack", PackOptions("flic", resolution=0))
    return tmp_path / "pack"


def decodes(monkeypatch):
    """Returns the list of the pictures that are decoded from now on."""
    decoded = []
    original = dataset_module.read_picture
    monkeypatch.setattr(dataset_module, "read_picture", lambda path, **how: decoded.append(path) or original(path))
    return decoded


def test_pack_trains_as_its_pictures_do_without_decoding_them(tmp_path, pictures, packed, backend, monkeypatch):
    expected = run(tmp_path, pictures, backend, epochs=1, output=tmp_path / "pictures")
    decoded = decodes(monkeypatch)
    ours = run(tmp_path, pictures, backend, epochs=1, pack=packed)
    assert ours.losses == expected.losses
    assert decoded == []


def test_pack_trains_with_augmentation(tmp_path, pictures, packed, backend):
    expected = run(tmp_path, pictures, backend, epochs=1, output=tmp_path / "pictures", **ALL)
    ours = run(tmp_path, pictures, backend, epochs=1, pack=packed, **ALL)
    assert ours.losses == pytest.approx(expected.losses, rel=1e-3)


def test_pack_trains_in_worker_processes(tmp_path, pictures, packed):
    expected = run(tmp_path, pictures, epochs=1, output=tmp_path / "pictures")
    assert run(tmp_path, pictures, epochs=1, pack=packed, workers=2).losses == expected.losses


def test_stale_pack_ends_a_training_before_it_begins(tmp_path, pictures, packed, backend):
    (tmp_path / "train.csv").write_text((tmp_path / "train.csv").read_text() + "\n")
    with pytest.raises(PackError, match=r"pack: it was made from another CSV than .*train\.csv is now"):
        run(tmp_path, pictures, backend, pack=packed)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(("cache", "times"), [(1 << 30, 1), (0, 2)])
def test_cache_keeps_pictures_between_epochs(tmp_path, pictures, monkeypatch, cache, times):
    decoded = decodes(monkeypatch)
    options = small_options(tmp_path, pictures, epochs=2, cache=cache, valid_freq=0)
    train(options)
    persons = (tmp_path / "train.csv").read_text().splitlines()
    names = {line.split(",")[0] for line in persons}
    if cache:
        assert len(decoded) == len(names)
    else:
        assert len(decoded) >= times * len(persons)


def test_command_takes_a_pack_and_a_cache_in_words(tmp_path, pictures, packed, capsys):
    arguments = ["train", "--backend", "torch", "--train-csv", str(tmp_path / "train.csv"), "--images", str(pictures)]
    arguments += [
        "--skeleton",
        "flic",
        "--pack",
        str(packed),
        "--width",
        "8,12,16,16,12,32,32",
        "--im-size",
        "64",
    ]
    arguments += ["--epochs", "1", "--batch-size", "3", "--threads", "1", "-o", str(tmp_path / "results")]
    arguments += ["--recipe", "legacy"]
    assert main([*arguments, "--cache", "much"]) == 2
    assert "'much' is not a number of bytes; write 512M" in capsys.readouterr().err
    assert main([*arguments, "--cache", "1M"]) == 2
    assert "it is for a --test-csv beside it" in capsys.readouterr().err
    assert main([*arguments, "--cache", "1M", "--test-csv", str(tmp_path / "train.csv")]) == 0
    log = (tmp_path / "results" / "log.txt").read_text()
    assert re.search(r"cache=1048576\b", log)
    assert f"pack='{packed}'" in log


def test_defaults_and_nonsense(tmp_path, pictures):
    assert options_of(TrainingOptions)["cache"].default == 0
    with pytest.raises(ValueError, match="cache is -1; it has to be a number of bytes, or 0"):
        small_options(tmp_path, pictures, cache=-1)
