import json
import math
import re
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import converters
import deeppose_port
from converters import Preprocessing
from deeppose_port.cli import main
from deeppose_port.data import PoseDataset, View
from deeppose_port.drawing.draw import RIGHT
from deeppose_port.inspecting.activity import Activity, LayerRow, activity
from deeppose_port.inspecting.subjects import (
    inputs_of_files,
    inputs_of_persons,
    inputs_of_synthetic,
    synthetic_pictures,
)
from deeppose_port.inspecting.weights import checked_targets, filters_picture, tensor_rows, write_pictures
from tests.helpers.networks import random_checkpoint


@pytest.fixture
def checkpoint():
    return random_checkpoint()


def look(checkpoint, count=6, **options):
    pose = deeppose_port.load(checkpoint, **options)
    return activity(pose, inputs_of_synthetic(pose.preprocessing, count), "synthetic pictures")


def layer(seen, name):
    return next(row for row in seen.layers if row.name == name)


class TestTensors:
    def test_numbers_are_those_of_the_tensor(self, checkpoint):
        weight = checkpoint.weights["conv3.weight"]
        weight[0] = 0
        row = next(row for row in tensor_rows(checkpoint) if row.name == "conv3.weight")
        assert (row.shape, row.size, row.zeros) == (weight.shape, weight.size, weight[0].size)
        assert row.mean == pytest.approx(weight.mean(dtype=float))
        assert row.std == pytest.approx(weight.std(dtype=float))
        assert (row.minimum, row.maximum) == (weight.min(), weight.max())
        assert list(row.histogram) == np.histogram(weight.astype(float), 40, (weight.min(), weight.max()))[0].tolist()
        assert (row.nan, row.inf, row.channels) == (0, 0, ())

    def test_nan_are_told_by_channel_and_left_out_of_the_rest(self, checkpoint):
        weight = checkpoint.weights["conv2.weight"]
        weight[3, :2, 0, 0] = np.nan
        weight[7, 0, 0, 0] = -np.inf
        checkpoint.weights["fc8.bias"][:] = np.nan
        rows = {row.name: row for row in tensor_rows(checkpoint)}
        row = rows["conv2.weight"]
        assert (row.nan, row.inf, row.channels) == (2, 1, ((3, 2), (7, 1)))
        finite = weight[np.isfinite(weight)]
        assert (row.minimum, row.maximum) == (finite.min(), finite.max())
        assert sum(row.histogram) == finite.size
        bias = rows["fc8.bias"]
        assert (bias.nan, bias.mean, bias.minimum, sum(bias.histogram)) == (14, None, None, 0)
        assert bias.channels == tuple((i, 1) for i in range(14))
        json.dumps([row.as_dict() for row in rows.values()], allow_nan=False)

    def test_every_tensor_of_numbers_is_there_and_counters_are_not(self):
        checkpoint = random_checkpoint("resnet50")
        names = {row.name for row in tensor_rows(checkpoint)}
        assert "bn1.running_var" in names
        assert "bn1.num_batches_tracked" not in names

    def test_constant_tensor_has_a_histogram_too(self, checkpoint):
        checkpoint.weights["fc7.weight"][:] = 0.5
        row = next(row for row in tensor_rows(checkpoint) if row.name == "fc7.weight")
        assert (row.std, sum(row.histogram), max(row.histogram)) == (0, row.size, row.size)


class TestActivity:
    def test_moments_are_those_of_all_pictures_together(self, checkpoint, monkeypatch):
        monkeypatch.setattr("deeppose_port.inspecting.activity._BATCH", 3)
        pose = deeppose_port.load(checkpoint)
        inputs = np.stack(list(inputs_of_synthetic(pose.preprocessing, 8)))
        seen = activity(pose, inputs, "synthetic pictures")
        assert seen.samples == 8
        whole = dict(pose.activations(inputs))
        assert [row.name for row in seen.layers] == list(whole)
        for row in seen.layers:
            values = whole[row.name].astype(float)
            deviation, typical = np.sqrt(values.var(axis=0).mean()), np.sqrt(np.square(values).mean())
            assert row.variation == pytest.approx(deviation / typical, rel=1e-4)
            if row.dead is not None:
                assert row.dead == (values.reshape(8, values.shape[1], -1).max(axis=(0, 2)) <= 0).sum()
                assert row.active == pytest.approx((values > 0).mean(), abs=1e-3)
        assert seen.output_std == pytest.approx(np.sqrt(whole["fc8"].astype(float).var(axis=0).mean()), rel=1e-4)

    def test_relus_have_dead_units_and_other_layers_do_not(self, checkpoint):
        checkpoint.weights["conv2.weight"][[2, 5]] = 0
        checkpoint.weights["conv2.bias"][[2, 5]] = -1
        seen = look(checkpoint)
        assert {2, 5} <= set(layer(seen, "conv2.relu").dead_units)
        assert layer(seen, "conv2.relu").as_dict()["dead"] == len(layer(seen, "conv2.relu").as_dict()["dead_units"])
        before = layer(look(random_checkpoint()), "conv2.relu").dead
        assert layer(seen, "conv2.relu").dead <= before + 2
        assert layer(seen, "conv2").dead is layer(seen, "fc8").dead is None

    def test_the_remark_on_dead_units_counts_them_by_layer(self, checkpoint):
        checkpoint.weights["conv1.weight"][[2, 5]] = 0
        checkpoint.weights["conv1.bias"][[2, 5]] = -1
        checkpoint.weights["fc6.bias"][:] = -1e4
        seen = look(checkpoint)
        rows = {row.name: row for row in seen.layers if row.dead is not None}
        assert (seen.dead, seen.units) == (
            sum(row.dead for row in rows.values()),
            sum(r.shape[0] for r in rows.values()),
        )
        assert seen.dead_sentence.startswith(
            f"{seen.dead} of the {seen.units} units of ReLUs are dead, above 0 nowhere in 6 synthetic pictures: all 32 "
        )
        assert "2 of 8 in conv1.relu" in seen.dead_sentence
        assert (seen.dead_filters(8), seen.dead_filters(9)) == ((2, 5), ())
        told = seen.as_dict()
        assert (told["dead"], told["units"], told["dead_sentence"]) == (seen.dead, seen.units, seen.dead_sentence)

    def test_where_no_unit_is_dead_or_can_be_that_is_said_or_not(self):
        def seen(*rows):
            return Activity(tuple(LayerRow(name, (4,), dead, 0.5, 1.0) for name, dead in rows), 3, "persons", 1.0, 9)

        none = "None of the 8 units of ReLUs is dead: each is above 0 somewhere in 3 persons."
        assert seen(("a.relu", ()), ("b", None), ("c.relu", ())).dead_sentence == none
        assert seen(("a", None)).dead_sentence == ""
        one = seen(("a.relu", (1,)), ("b", None)).dead_sentence
        assert one == "1 of the 4 units of ReLUs is dead, above 0 nowhere in 3 persons: 1 of 4 in a.relu."
        many = seen(*((f"{i}.relu", (0,)) for i in range(11))).dead_sentence
        assert many.endswith("1 of 4 in 7.relu, and some in 3 more layers.")

    def test_network_that_sees_has_not_collapsed(self, checkpoint):
        checkpoint.weights["fc8.weight"] *= 5
        seen = look(checkpoint)
        assert seen.output_std > 0.01
        assert (seen.verdict, seen.blind_from) == ("varies", None)
        assert seen.sentence.startswith(
            "The network has not collapsed to a constant answer: over 6 synthetic pictures its"
        )

    def test_network_of_biases_has_collapsed(self, checkpoint):
        checkpoint.weights["fc8.weight"][:] = 0
        seen = look(checkpoint)
        assert (seen.verdict, seen.output_std, seen.blind_from) == ("constant", 0, "fc8")
        assert seen.sentence == (
            "The network has collapsed to a constant answer: over 6 synthetic pictures its joints move by 0 px of the "
            "crop's 220 (standard deviation); from fc8 on nothing tells them apart."
        )

    def test_layer_whose_relus_all_died_is_named(self, checkpoint):
        checkpoint.weights["fc6.bias"][:] = -1e4
        seen = look(checkpoint)
        assert layer(seen, "fc6.relu").dead == 32
        assert layer(seen, "fc6.relu").active == 0
        assert seen.verdict == "constant"
        assert seen.blind_from in ("fc6", "fc6.relu")

    @pytest.mark.parametrize(("std", "verdict"), [(0.02, "varies"), (0.005, "nearly constant"), (0.0005, "constant")])
    def test_verdict_is_that_of_the_answers_deviation(self, checkpoint, std, verdict):
        checkpoint.weights["fc8.weight"] *= np.float32(std / look(checkpoint).output_std)
        seen = look(checkpoint)
        assert seen.output_std == pytest.approx(std, rel=1e-3)
        assert seen.verdict == seen.as_dict()["verdict"] == verdict

    def test_pixels_are_parts_of_the_crop_too(self, checkpoint):
        expected = look(checkpoint)
        scaled = random_checkpoint(preprocessing=Preprocessing(coord_normalize=False))
        for part in ("weight", "bias"):
            scaled.weights[f"fc8.{part}"] *= 220
        assert look(scaled).output_std == pytest.approx(expected.output_std, rel=1e-4)

    @pytest.mark.parametrize(
        ("frame", "part", "scale"), [("symmetric", "joints", 2), ("unit", "joints", 1), ("symmetric", "letterbox", 2)]
    )
    def test_a_network_of_another_frame_moves_as_far(self, checkpoint, frame, part, scale):
        expected = look(checkpoint)
        scaled = random_checkpoint(preprocessing=Preprocessing(frame=frame, part=part))
        for kind in ("weight", "bias"):
            scaled.weights[f"fc8.{kind}"] *= scale
        assert look(scaled).output_std == pytest.approx(expected.output_std, rel=1e-4)

    def test_pixels_across_are_those_of_an_input_that_is_not_square(self):
        told = Preprocessing(im_size=64, im_width=48, part="letterbox", frame="unit")
        answers = np.array([[0.0, 0.0], [1.0, 0.5]])  # of one joint to two pictures
        pose = SimpleNamespace(
            preprocessing=told, activations=lambda batch: [("fc", answers)], joints_of=lambda outputs: outputs
        )
        seen = activity(pose, np.zeros((2, 3, 64, 48), np.float32), "pictures")
        assert seen.output_std == pytest.approx(math.hypot(24, 16) / math.sqrt(2) / 64)

    def test_answer_of_nan_is_said(self, checkpoint):
        checkpoint.weights["conv1.weight"][0, 0, 0, 0] = np.nan
        seen = look(checkpoint)
        assert (seen.verdict, seen.as_dict()["output_std"]) == ("not finite", None)
        assert seen.sentence == "The network answers NaN or infinity to 6 synthetic pictures."
        json.dumps(seen.as_dict(), allow_nan=False)

    def test_huge_weights_are_no_error(self, checkpoint):
        checkpoint.weights["fc7.weight"][:] = 3e38
        assert look(checkpoint).verdict == "not finite"

    def test_both_backends_see_the_same(self, checkpoint):
        pytest.importorskip("deeppose_port.backends.chainer.networks")
        torch, chainer = (look(checkpoint, backend=name) for name in ("torch", "chainer"))
        assert [row.name for row in torch.layers] == [row.name for row in chainer.layers]
        assert [row.dead for row in torch.layers] == [row.dead for row in chainer.layers]
        assert torch.output_std == pytest.approx(chainer.output_std, rel=1e-4)

    def test_residual_networks_have_their_relus(self):
        seen = look(random_checkpoint("resnet50"), count=2)
        assert sum(row.dead is not None for row in seen.layers) == 49

    def test_real_network_that_learned_has_not_collapsed(self, shared_golden, pictures):
        folder = shared_golden / "results" / "AlexNet_2026"
        pose = deeppose_port.load(folder / "epoch-300.model", architecture="alexnet")
        persons = PoseDataset(pictures / "free.csv", images=pictures, skeleton="flic")
        seen = activity(pose, inputs_of_persons(persons, 64), "persons")
        assert (seen.verdict, seen.samples) == ("varies", 13)

    @pytest.mark.parametrize("count", [0, 1])
    def test_fewer_than_two_pictures_are_refused(self, checkpoint, count):
        with pytest.raises(ValueError, match=f"two synthetic pictures or more, not of {count}"):
            look(checkpoint, count=count)


class TestInputs:
    def test_synthetic_pictures_are_those_of_the_seed(self):
        first, again, other = (np.stack(list(synthetic_pictures(2, 32, 48, seed))) for seed in (1, 1, 2))
        assert (first.shape, first.dtype) == ((2, 32, 48, 3), np.uint8)
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)
        assert not np.array_equal(first[0], first[1])

    def test_synthetic_pictures_have_the_spectrum_of_photographs(self):
        pictures = np.stack(list(synthetic_pictures(20, 128, 128))).astype(float)
        amplitude = np.abs(np.fft.fft2(pictures, axes=(1, 2))).mean(axis=(0, 3))
        low, high = amplitude[0, 2:5].mean(), amplitude[0, 20:50].mean()
        assert math.log(low / high) / math.log(np.mean(range(20, 50)) / 3) == pytest.approx(1, abs=0.2)

    def test_pictures_become_inputs_as_in_prediction(self, pictures):
        told = Preprocessing(im_size=64, im_width=48, part="letterbox", gcn="none", frame="symmetric")
        assert [made.shape for made in inputs_of_synthetic(told, 2)] == [(3, 64, 48)] * 2
        (made,) = inputs_of_files(pictures / "coffee.png", told, 2)
        picture = cv2.imread(str(pictures / "coffee.png"))
        assert np.array_equal(made, View.of_box(None, picture.shape[1], picture.shape[0], told).input(picture))
        assert made.shape == (3, 64, 48)
        assert not made[:, :14].any()  # 600 x 400 pixels are not stretched to 48 x 64

    def test_pictures_and_persons_are_chosen_by_the_seed(self, pictures):
        told = Preprocessing()
        persons = PoseDataset(pictures / "free.csv", images=pictures, skeleton="flic")
        every = [inputs for inputs, _, _ in persons]
        chosen = [list(inputs_of_persons(persons, 4, seed)) for seed in (3, 3)]
        assert np.array_equal(chosen[0], chosen[1])
        assert len(chosen[0]) == 4
        places = [next(i for i, one in enumerate(every) if np.array_equal(one, inputs)) for inputs in chosen[0]]
        assert places == sorted(set(places))
        assert len(list(inputs_of_files(pictures, told, 64))) == 3
        assert len(list(inputs_of_files(pictures / "coffee.png", told, 64))) == 1


class TestPictures:
    def test_filters_have_the_colours_that_they_look_for(self, checkpoint):
        weight = checkpoint.weights["conv1.weight"]
        weight[:] = 0
        weight[0, 0] = 2  # blue, which is OpenCV's first
        weight[1, 2, 5, 5] = -1  # against red in the middle
        picture = filters_picture(checkpoint)
        first, second = (self.filter_of(picture, number) for number in (0, 1))
        assert first[20, 20].tolist() == [255, 128, 128]
        assert second[49, 49].tolist() == [128, 128, 0]
        assert second[0, 0].tolist() == [128, 128, 128]
        assert (picture[-6:] == 255).all()

    def filter_of(self, picture, number):
        """One of 8 filters of 11 x 11 in 3 columns, each pixel 9 x 9, below two lines and its own number."""
        y, x = 32 + number // 3 * (99 + 16 + 6) + 16, 6 + number % 3 * (99 + 6)
        assert (picture[y : y + 99, x - 6 : x] == 255).all()
        assert (picture[y : y + 99, x + 99 : x + 105] == 255).all()
        return picture[y : y + 99, x : x + 99]

    def test_filters_of_networks_trained_on_rgb_are_turned(self):
        checkpoint = random_checkpoint(preprocessing=Preprocessing(colour="RGB"))
        checkpoint.weights["conv1.weight"][:] = 0
        checkpoint.weights["conv1.weight"][0, 0] = 1
        assert self.filter_of(filters_picture(checkpoint), 0)[20, 20].tolist() == [128, 128, 255]

    def test_nan_show_in_the_filters(self, checkpoint):
        checkpoint.weights["conv1.weight"][0, 1, 0, 0] = np.nan
        block = self.filter_of(filters_picture(checkpoint), 0)[:9, :9]
        assert sorted(set(block.ravel().tolist())) == [0, 255]

    def test_filters_have_their_numbers_and_dead_ones_are_marked(self, checkpoint):
        plain, marked = filters_picture(checkpoint), filters_picture(checkpoint, (4,))[16:]  # one line more

        def number(picture, i):
            y, x = 32 + i // 3 * 121, 6 + i % 3 * 105
            return picture[y : y + 16, x : x + 99]

        written = [number(plain, i) for i in range(8)]
        assert all((each < 100).any() for each in written)
        assert len({each.tobytes() for each in written}) == 8
        for i in range(8):
            assert np.array_equal(number(marked, i), written[i]) == (i != 4)
        assert (number(marked, 4) == RIGHT).all(axis=2).any()
        assert np.array_equal(self.filter_of(marked, 4), self.filter_of(plain, 4))

    @pytest.mark.parametrize("name", ["alexnet", "resnet50", "vgg_bn"])
    def test_every_architecture_begins_with_filters(self, name):
        assert filters_picture(random_checkpoint(name)).ndim == 3

    def test_filters_and_histograms_are_written(self, checkpoint, tmp_path):
        files = write_pictures({"": (checkpoint, tensor_rows(checkpoint))}, tmp_path / "inside")
        assert [file.name for file in files] == ["filters.png", "histograms.png"]
        assert all(cv2.imread(str(file)) is not None for file in files)
        assert len(list((tmp_path / "inside").iterdir())) == 2

    def test_files_are_replaced_only_with_force(self, checkpoint, tmp_path):
        (tmp_path / "histograms.png").write_text("mine")
        with pytest.raises(ValueError, match=r"histograms\.png: it exists already"):
            write_pictures({"": (checkpoint, tensor_rows(checkpoint))}, tmp_path)
        assert [file.name for file in tmp_path.iterdir()] == ["histograms.png"]
        write_pictures({"": (checkpoint, tensor_rows(checkpoint))}, tmp_path, force=True)
        for read in (tmp_path, tmp_path / "filters.png"):
            with pytest.raises(ValueError, match=r"filters\.png: this is the input itself"):
                checked_targets(tmp_path, force=True, read=read)


class TestCommand:
    @pytest.fixture
    def run(self, checkpoint, tmp_path, capsys):
        checkpoint.weights["fc7.weight"][4, :3] = np.nan

        def command(*arguments):
            if not (tmp_path / "some.pt").exists():
                converters.write(checkpoint, tmp_path / "some.pt")
            status = main(["show", str(tmp_path / "some.pt"), *map(str, arguments)])
            captured = capsys.readouterr()
            return status, captured.out, captured.err

        return command

    def test_weights_nan_layers_and_verdict_are_shown(self, run, tmp_path):
        status, out, err = run("--samples", "3", "-o", tmp_path / "inside")
        assert status == 0
        assert "fc7.weight: 0.29% not finite, in 1 of 32 channels: 4 (3)" in out
        assert "fc6.relu" in out
        assert "constant answer: over 3 synthetic pictures" in out
        assert re.search(r"^(\d+|None) of the \d+ units of ReLUs (is|are) dead", out, re.MULTILINE)
        assert "note: fc7.weight: 3 NaN became 0" in err
        assert f"written: {tmp_path / 'inside' / 'filters.png'}" in out

    def test_json_has_the_same(self, run):
        values = json.loads(run("--samples", "3", "--json")[1])
        tensors = {row["name"]: row for row in values["tensors"]}
        assert (tensors["fc7.weight"]["nan"], tensors["fc7.weight"]["channels"]) == (3, [[4, 3]])
        assert values["verdict"] in ("varies", "nearly constant")
        assert values["layers"][-1]["name"] == "fc8"
        assert values["files"] == []

    def test_nan_that_are_kept_are_answered(self, run):
        assert json.loads(run("--samples", "3", "--json", "--nonfinite", "keep")[1])["verdict"] == "not finite"

    def test_pictures_and_persons_may_be_given(self, run, pictures):
        assert "over 3 pictures" in run("--images", pictures)[1]
        assert "over 5 persons" in run("--images", pictures, "--csv", pictures / "free.csv", "--samples", "5")[1]

    def test_csv_needs_its_pictures(self, run, pictures):
        status, _, err = run("--csv", pictures / "free.csv")
        assert status == 2
        assert "--csv needs --images" in err

    def test_no_seed_is_negative(self, run):
        status, _, err = run("--seed", "-1")
        assert (status, "error: the seed is -1; it has to be 0 or more" in err) == (2, True)

    def test_one_picture_is_too_few(self, run, pictures):
        status, _, err = run("--images", pictures / "coffee.png")
        assert status == 2
        assert "error: whether answers differ can be told of two pictures or more, not of 1" in err

    def test_persons_too_small_are_left_out_where_that_is_asked_for(self, run, pictures, tmp_path):
        lines = (pictures / "free.csv").read_text().splitlines()[:3]
        nobody = "astronaut.png" + 14 * ",-1"
        (tmp_path / "persons.csv").write_text("\n".join([*lines, nobody]) + "\n")
        persons = ("--images", pictures, "--csv", tmp_path / "persons.csv")
        status, _, err = run(*persons)
        assert status == 2
        assert "--min-dim 1" in err
        assert "over 3 persons" in run(*persons, "--min-dim", "1")[1]

    def test_what_is_not_finite_has_no_share(self, run):
        out = run("--samples", "3", "--nonfinite", "keep")[1]
        assert "The network answers NaN or infinity" in out
        assert "nan" not in out
