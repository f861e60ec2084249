"""Recipes: what `train` takes where nothing is said, and what is left of it where something is."""

from pathlib import Path

import numpy as np
import pytest

import converters
from converters import Preprocessing
from converters.cascade import Cascade, CloseUp, Stage
from converters.errors import DeepPoseError
from converters.families import starting_preprocessing
from deeppose_port.cli import main
from deeppose_port.cli.train import _complete
from deeppose_port.data.augmentation import BOX
from deeppose_port.data.spread import Spread
from deeppose_port.options import build, options_of
from deeppose_port.training.initial import initial_architecture, initial_checkpoint
from deeppose_port.training.options import TrainingOptions
from deeppose_port.training.recipes import RECIPES, with_recipe
from deeppose_port.training.stage import network_before
from deeppose_port.training.start import starting_point
from tests.helpers.networks import random_checkpoint
from tests.helpers.trainings import run, same_bits, small_options, write_csv

DATA = {"train_csv": "a.csv", "images": "b", "skeleton": "lsp"}


def made(name, **said):
    return build(TrainingOptions, with_recipe(name, {**DATA, **said}))


class TestOptions:
    @pytest.mark.parametrize("name", RECIPES)
    def test_each_makes_a_training(self, name):
        assert RECIPES[name].keys() <= options_of(TrainingOptions).keys()
        assert made(name).recipe == name
        assert name in options_of(TrainingOptions)["recipe"].description.listed()

    def test_legacy_is_the_options_as_they_are(self):
        assert made("legacy") == build(TrainingOptions, {**DATA, "recipe": "legacy"})

    def test_what_is_said_counts(self):
        options = made("modern", loss="l2", batch_size=7)
        assert (options.loss, options.batch_size, options.ema) == ("l2", 7, 0.999)

    def test_another_optimizer_has_its_own_rates(self):
        said = made("modern", opt="MomentumSGD").hyperparameters
        assert (said.lr, said.weight_decay, said.schedule) == (None, None, "cosine")
        assert made("modern", opt="AdamW", architecture="vgg_bn").hyperparameters.lr == 0.002
        assert made("modern", adam_alpha=0.5).hyperparameters.complete("adamw").lr == 0.5
        assert made("modern", lr_decay_freq=3).hyperparameters.schedule is None

    def test_maps_have_a_loss_where_there_are_maps(self):
        assert made("modern", architecture="resfpn-softargmax").heatmap_loss == 0.02
        assert made("modern", architecture="resfpn-softargmax", heatmap_loss=0.0).heatmap_loss == 0
        assert made("modern").heatmap_loss == made("modern", architecture="resnet50").heatmap_loss == 0

    @pytest.mark.parametrize("old", [{"rotate": True}, {"zoom": True}, {"translate": True}, {"method": "legacy"}])
    def test_the_old_programs_geometry_takes_the_place_of_todays(self, old):
        augmentation = made("modern", **old).augmentation
        assert all(getattr(augmentation, name) is None for name in BOX)
        assert augmentation.colour is not None

    def test_a_pack_has_the_pixels_of_its_own_box(self):
        options = made("modern", pack="p")
        assert (options.base_zoom, options.augmentation.moves_box) == (None, False)

    @pytest.mark.parametrize("how", [{"init": "a.pt"}, {"finetune": "a.pt"}])
    def test_a_network_that_has_learned_keeps_its_inputs_and_learns_carefully(self, how):
        options = made("modern", architecture="vgg_bn", **how)
        assert (options.base_zoom, options.hyperparameters.lr) == (None, 0.0003)

    @pytest.mark.parametrize(
        ("network", "rate"),
        [({}, 0.0003), ({"model_file": "a.py"}, 0.0003), ({"architecture": "resnet50"}, 0.002)],
    )
    def test_the_rate_is_for_what_normalises(self, network, rate):
        assert made("modern", **network).hyperparameters.lr == rate

    @pytest.mark.parametrize(("kind", "rate"), [("resfpn-softargmax", 0.002), ("vgg_bn", 0.002), ("alexnet", 0.0003)])
    def test_a_later_stage_is_of_the_kind_before_it(self, kind, rate, tmp_path):
        """As the command does it: the network is the one before, and so are its rate and its loss of maps."""
        first = tmp_path / "first.pt"
        told = starting_preprocessing(kind)
        network = initial_checkpoint(initial_architecture(kind, 7, told.im_size, "0.05"), told, 0)
        converters.write(network, first)
        second = Stage((random_checkpoint("resnet50"),), CloseUp(1.0, ((2, 4),)))
        converters.write(Cascade((Stage((network,)), second)), tmp_path / "two.pt")
        said = {**DATA, "backend": "torch", "before": first, "stage": 2}
        whole = _complete(said)
        assert whole["lr"] == rate
        assert ("heatmap_loss" in whole) == (kind == "resfpn-softargmax")
        assert _complete({**said, "before": tmp_path / "two.pt", "stage": 3})["lr"] == 0.002, "stage 2 is a ResNet50"
        assert _complete({**said, "architecture": "alexnet"})["lr"] == 0.0003
        assert _complete({**said, "init": "a.pt"})["lr"] == 0.0003
        assert network_before(tmp_path / "two.pt", 4) is None, "there is no stage 3: the training says so"

    @pytest.mark.parametrize(("part", "moved"), [("picture", False), ("window", False), ("letterbox", True)])
    def test_a_network_that_sees_no_box_has_none_moved(self, part, moved, tmp_path, pictures):
        """As the command does it; what was said nevertheless is refused before there is a folder."""
        told = Preprocessing(part=part)
        converters.write(random_checkpoint(preprocessing=told), tmp_path / "a.pt")
        whole = _complete({**DATA, "backend": "torch", "init": tmp_path / "a.pt"})
        assert ("rotation" in whole, "cutout" in whole) == (moved, True)
        options = small_options(tmp_path, pictures, init=tmp_path / "a.pt", shift=Spread(0.1))
        if moved:
            starting_point(options, 7)
            return
        with pytest.raises(
            DeepPoseError, match=f"--shift move the box of the joints, and this network sees the {part}"
        ):
            starting_point(options, 7)

    def test_stages_before_that_are_not_there_are_refused(self, tmp_path):
        with pytest.raises(DeepPoseError, match=r"nothing\.pt"):
            _complete({**DATA, "backend": "torch", "before": tmp_path / "nothing.pt", "stage": 2})

    def test_there_is_no_other(self):
        with pytest.raises(DeepPoseError, match="there is no recipe 'best'; there are legacy, paper, modern"):
            with_recipe("best", {})


def test_the_documentation_has_their_options():
    text = (Path(__file__).resolve().parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    text = text[text.index("## Recipes") : text.index("## The two backends")]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| `--")]
    spelled = {option.spelled: option for option in options_of(TrainingOptions).values()}
    told = {name: {} for name in ("legacy", "paper", "modern")}
    for option, *cells in rows:
        for name, cell in zip(told, cells, strict=True):
            if cell:
                told[name][spelled[option.strip("`")].name] = cell

    def shown(value):
        return {True: "yes", False: "no"}[value] if isinstance(value, bool) else f"{value:g}".rstrip()

    for name in ("paper", "modern"):
        expected = {
            option: value if isinstance(value, str) else shown(value) if isinstance(value, int | float) else str(value)
            for option, value in RECIPES[name].items()
        }
        assert told[name] == expected
    legacy = build(TrainingOptions, DATA)
    assert legacy.hyperparameters.complete("adam").lr == float(told["legacy"]["lr"])
    assert (legacy.epochs, legacy.batch_size, legacy.loss) == (100, 128, told["legacy"]["loss"])


class TestCommand:
    @pytest.fixture
    def train(self, tmp_path, pictures):
        pytest.importorskip("torch")
        csv = write_csv(tmp_path / "train.csv", pictures)
        data = ["--train-csv", csv, "--images", pictures, "--skeleton", "flic", "--backend", "torch", "--threads", 1]
        size = ["--im-size", 64, "--width", "2,2,2,2,2,4,4", "--batch-size", 4, "--valid-freq", 0, "--snapshot", 1]

        def train(*more, anew=True):
            given = [*data, *size] if anew else []
            return main([str(part) for part in ("train", *given, "-o", tmp_path / "run", *more)])

        return train

    def test_modern_is_taken_and_shown_and_stored_and_goes_on(self, train, tmp_path, capsys):
        assert train("--epochs", 1) == 0
        shown = capsys.readouterr().err
        assert "recipe modern: --epochs" not in shown  # which was said
        assert "--loss l1, --opt AdamW, --lr 0.0003" in shown
        assert ", recipe modern\n" in shown
        stored = (tmp_path / "run" / "config.toml").read_text()
        assert 'recipe = "modern"\n' in stored
        assert 'rotation = "normal:30@0.6"\n' in stored
        assert train("--resume", tmp_path / "run", "--epochs", 2, anew=False) == 0
        assert (tmp_path / "run" / "config.toml").read_text() == stored.replace("epochs = 1", "epochs = 2")

    def test_a_run_keeps_its_own(self, train, tmp_path, capsys):
        assert train("--epochs", 1, "--recipe", "legacy") == 0
        assert train("--resume", tmp_path / "run", "--epochs", 2, "--recipe", "legacy", anew=False) == 0
        assert train("--resume", tmp_path / "run", "--epochs", 3, "--recipe", "modern", anew=False) == 2
        assert "--recipe modern is for a new run" in capsys.readouterr().err


@pytest.mark.parametrize("backend", ["torch", "chainer"])
def test_a_run_goes_on_to_the_bit_with_each_option(backend, tmp_path, pictures):
    pytest.importorskip(f"deeppose_port.backends.{backend}.networks")
    said = {"ema": 0.9, "lr_scale": ("conv*=0.5",), "loss": "smooth-l1", "warmup": 1.0, "base_zoom": None, "epochs": 4}
    said |= {"accumulate": 2, "amp": "fp16"} if backend == "torch" else {}
    whole = with_recipe("modern", {**said, "batch_size": 4, "snapshot": 2})
    run(tmp_path, pictures, backend, **whole, output=tmp_path / "whole")
    middle = tmp_path / "whole" / ("epoch-2.pt" if backend == "torch" else "snapshot_iter_3")
    run(tmp_path, pictures, backend, **whole, resume=middle, output=tmp_path / "parts")
    last = "last.pt" if backend == "torch" else "snapshot_iter_6"
    assert same_bits(tmp_path / "whole" / last, tmp_path / "parts" / last)
    one, other = (converters.read(tmp_path / folder / last) for folder in ("whole", "parts"))
    beside = {key for key in one.trainer if key.startswith(("average/", "scaler/"))}
    assert len(beside) > len(one.weights)
    assert all(np.array_equal(one.trainer[key], other.trainer[key]) for key in beside)
    assert not np.array_equal(one.weights["conv1.weight"], one.trainer["average/trained/conv1.weight"])
