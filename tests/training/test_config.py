import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from converters.errors import DeepPoseError
from deeppose_port.cli.training import TrainOptions
from deeppose_port.options import build, described, options_of
from deeppose_port.training.config import completed, read_config, write_config
from deeppose_port.training.names import CONFIG
from deeppose_port.training.options import TrainingOptions
from tests.helpers.trainings import small_options

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ODD = 'a "b" \\ c\n\té\x7f.csv'


def told(tmp_path, text):
    (tmp_path / "mine.toml").write_text(text)
    return read_config(tmp_path / "mine.toml", TrainOptions)


class TestFile:
    def test_every_option_comes_back_as_it_was(self, tmp_path, pictures, monkeypatch):
        given = {"lr": 1e-8, "freeze": ("conv*", "fc6.bias"), "gcn": False, "fliplr": True, "cache": 1 << 20}
        given |= {"test_csv": tmp_path / ODD, "keep": 2, "best": "pcp", "amp": "bf16", "method": "legacy"}
        options = small_options(tmp_path, pictures, **given)
        write_config(tmp_path / "a.toml", "torch", options)
        read = read_config(tmp_path / "a.toml", TrainOptions)
        assert read.pop("backend") == "torch"
        assert build(TrainingOptions, {**read, "output": options.output}) == options

    def test_it_is_toml_for_others_under_the_command_lines_names(self, tmp_path, pictures):
        options = small_options(tmp_path, pictures, train_csv=Path("/" + ODD), lr=0.5, freeze=("a", "b"), workers=2)
        write_config(tmp_path / "a.toml", "torch", options)
        read = tomllib.loads((tmp_path / "a.toml").read_text())
        expected = {"backend": "torch", "train_csv": "/" + ODD, "lr": 0.5, "freeze": ["a", "b"], "augment": "fast"}
        assert expected.items() <= read.items()
        assert read["fliplr"] is False

    def test_paths_are_found_from_everywhere(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "mine.json").write_text("{}")
        write_config(
            tmp_path / "a.toml", "torch", TrainingOptions(Path("a.csv"), Path("img"), "mine.json", width="img")
        )
        read = read_config(tmp_path / "a.toml", TrainOptions)
        expected = {"images": tmp_path / "img", "skeleton": str(tmp_path / "mine.json"), "width": "img"}
        assert expected.items() <= read.items()

    def test_what_is_of_one_start_alone_is_left_out(self, tmp_path, pictures):
        options = small_options(tmp_path, pictures, resume=Path("a"), start_epoch=1, eval_only=True, profile=True)
        write_config(tmp_path / "a.toml", "torch", options)
        read = read_config(tmp_path / "a.toml", TrainOptions)
        assert not {"resume", "output", "start_epoch", "eval_only", "profile"} & read.keys()

    def test_dashes_and_amounts_are_taken_as_on_the_command_line(self, tmp_path):
        text = 'batch-size = 5\ncache = "1.5M"\nlr = 1\ntrain-csv = "a.csv"\npace = 1\n'
        with pytest.raises(DeepPoseError, match="there is no option 'pace' for a file"):
            told(tmp_path, text)
        read = told(tmp_path, text.replace("pace = 1\n", ""))
        assert read == {"batch_size": 5, "cache": 3 << 19, "lr": 1.0, "train_csv": Path("a.csv")}
        assert type(read["lr"]) is float

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("epochs = 1.5", "epochs: 1.5 is not a whole number"),
            ("epochs = true", "epochs: True is not a whole number"),
            ('fliplr = "yes"', "fliplr: 'yes' is not true or false"),
            ("lr = [1]", r"lr: \[1\] is not a number"),
            ("min_dim = nan", "min_dim: nan is no number"),
            ("images = 3", "images: 3 is not a path"),
            ('freeze = "conv*"', "freeze: it has to be a list of texts"),
            ('augment = "slow"', "augment: 'slow' is not 'fast', 'legacy'"),
            ('cache = "much"', "cache: 'much' is not a number of bytes"),
            ('resume = "a"', "resume is of one start alone"),
            ("[train]\nepochs = 1", "there is no option 'train' for a file"),
            ("epochs", "it cannot be read: "),
            ("a = " + "[" * 20000, "it cannot be read: "),
            ("#" * (1 << 20) + "\n", "mine.toml"),
        ],
    )
    def test_what_is_no_option_is_refused_with_file_and_key(self, text, problem, tmp_path):
        with pytest.raises(DeepPoseError, match=problem) as refused:
            told(tmp_path, text)
        assert str(refused.value).startswith(str(tmp_path / "mine.toml"))

    def test_what_is_no_file_is_refused(self, tmp_path):
        for path in (tmp_path, tmp_path / "nothing.toml"):
            with pytest.raises(DeepPoseError):
                read_config(path, TrainOptions)


class TestCompleted:
    @pytest.fixture
    def folder(self, tmp_path):
        folder = tmp_path / "run"
        folder.mkdir()
        text = 'backend = "chainer"\nepochs = 5\nlr = 0.5\ninit = "/a.model"\nbatch_size = 4\n'
        (folder / CONFIG).write_text(text)
        return folder

    def test_a_folder_alone_says_all(self, folder):
        values, notices = completed({"resume": folder}, TrainOptions)
        assert values == {
            "backend": "chainer", "epochs": 5, "lr": 0.5, "batch_size": 4, "resume": folder, "output": folder,
        }  # fmt: skip
        assert notices == [f"the run is resumed with the options in {folder / CONFIG}"]

    def test_a_checkpoint_in_it_says_all_but_the_folder(self, folder):
        values, _ = completed({"resume": folder / "epoch-3.pt"}, TrainOptions)
        assert values["batch_size"] == 4
        assert "output" not in values

    def test_what_is_said_beside_it_comes_first_and_is_told(self, folder, tmp_path):
        (tmp_path / "mine.toml").write_text("epochs = 9\nlr = 0.25\nseed = 3\n")
        said = {"resume": folder, "config": tmp_path / "mine.toml", "lr": 0.125, "batch_size": 4, "output": tmp_path}
        values, notices = completed(said, TrainOptions)
        assert (values["epochs"], values["lr"], values["seed"], values["output"]) == (9, 0.125, 3, tmp_path)
        assert notices[1:] == [
            "--epochs is 9, no longer 5", "--lr is 0.125, no longer 0.5", "--seed is 3, no longer 1701",
        ]  # fmt: skip

    def test_a_legacy_folder_says_nothing(self, tmp_path):
        assert completed({"resume": tmp_path}, TrainOptions) == ({"resume": tmp_path}, [])

    @pytest.mark.parametrize("name", ["width", "stacks"])
    def test_another_network_than_its_own_is_refused(self, name, folder, tmp_path):
        """Nothing would come of it."""
        with (folder / CONFIG).open("a") as stream:
            stream.write('width = "0.5"\nstacks = 2\n')
        same = {"width": "0.5", "stacks": 2}
        assert completed({"resume": folder, **same}, TrainOptions)[1][1:] == []
        for place in (folder, tmp_path):
            with pytest.raises(DeepPoseError, match=f"--{name} is of a network that is made anew, and the one that"):
                completed({"resume": place, name: {"width": "0.25", "stacks": 1}[name]}, TrainOptions)

    def test_a_run_that_is_not_there_is_named_before_options_are_missed(self, tmp_path):
        with pytest.raises(DeepPoseError, match="none: there is no such file or folder to resume"):
            completed({"resume": tmp_path / "none"}, TrainOptions)


def test_every_option_of_a_training_can_stand_in_a_file():
    @dataclass
    class Odd:
        numbers: complex = described("Odd.", default=0j)

    for option in options_of(TrainOptions).values():
        plain = {bool: True, int: 1, float: 1.5}
        for kind, value in plain.items():
            if kind in {option.type, *getattr(option.type, "__args__", ())}:
                assert option.value_of(value) == value
    with pytest.raises(ValueError, match="is not"):
        options_of(Odd)["numbers"].value_of(1)
