import base64
import dataclasses
import json
import re
import shlex
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import deeppose_port
from converters.checkpoint import Repair
from converters.errors import DeepPoseError
from converters.families import starting_preprocessing
from deeppose_port import metrics
from deeppose_port.cli import main
from deeppose_port.data import DatasetError, PoseDataset, skeletons
from deeppose_port.drawing.report import charts, gallery, pages, write_comparison, write_evaluation, write_side_by_side
from deeppose_port.drawing.report.gallery import paths_of
from deeppose_port.evaluate.comparison import compare
from deeppose_port.training.initial import initial_architecture, initial_checkpoint
from tests.helpers.networks import random_checkpoint
from tests.helpers.pages import HOSTILE, Page, evaluated, persons, tree_of


@pytest.fixture
def dataset(tmp_path):
    return persons(tmp_path)


def written(tmp_path, dataset, checkpoint=None, **options):
    pose, evaluation = evaluated(dataset, checkpoint)
    path = write_evaluation(pose, evaluation, dataset, tmp_path / "report", command="deeppose-port eval x", **options)
    return path, evaluation


class TestSideBySide:
    """A network, another one, and a hourglass."""

    def answers(self, tmp_path, dataset):
        hourglass = initial_architecture("hourglass", 14, 64, "4,4,8", stacks=1)
        checkpoints = {
            "DeepPose": None,
            "another": random_checkpoint(joints=14, seed=2),
            "hourglass": initial_checkpoint(
                hourglass, starting_preprocessing("hourglass").overridden(im_size=64), seed=1
            ),
        }
        answers = {}
        for name, checkpoint in checkpoints.items():
            sees = None if checkpoint is None else checkpoint.preprocessing
            seen = PoseDataset(dataset.csv, images=dataset.images, skeleton=dataset.skeleton, preprocessing=sees)
            answers[name] = (*evaluated(seen, checkpoint), seen)
        return answers

    def test_each_has_its_numbers_and_its_colour(self, tmp_path, dataset):
        answers = self.answers(tmp_path, dataset)
        crops = {str(seen.view(0).crop) for _, _, seen in answers.values()}
        assert len(crops) == 2  # DeepPose's, and the hourglass's
        page = Page(write_side_by_side(answers, tmp_path / "report", command="x"))
        for name, (_, evaluation, _) in answers.items():
            assert name in page.text
            assert f"{evaluation['mean_error_px'].overall:.2f} px" in page.text
        assert {a["class"][-1] for _, a in page.elements if a.get("class", "").startswith("swatch ")} == set("abct")
        tree = tree_of(tmp_path / "report" / "index.html")
        for name in ("joints", "limbs"):
            table = tree.one("section", id=name).one("table")
            spans = [int(cell.attributes.get("colspan", 1)) for cell in table.all("tr")[0].all("th")]
            assert sum(spans) == len(table.rows()[2]), "each heading is above its three columns"
            assert len(table.rows()[1]) == 3 * spans.count(3)
        at_one_place = tree.one("p", id="sides").all("span")[-1]
        assert at_one_place.text == "all at one place"
        assert [path.classes for path in at_one_place.all("path")] == [
            ["case", "a"],
            *([style, *right] for style in "abc" for right in ([], ["r"])),
        ]
        for figure in tree.one("div", "figures").all("figure")[:-1]:
            lows = [float(text.attributes["y"]) for text in figure.all("text", "number")]
            assert len(lows) == 3
            assert abs(lows[1] - lows[2]) > 12, "no number is written over another"
        assert not [a for a in page.all("a") if a.get("href") == "#certificate"]
        assert "difference" not in page.text

    def test_what_cannot_stand_side_by_side_is_refused(self, tmp_path, dataset):
        answers = self.answers(tmp_path, dataset)
        one = {"DeepPose": answers["DeepPose"]}
        with pytest.raises(DeepPoseError, match="two to 3 networks stand side by side, not 1"):
            write_side_by_side(one, tmp_path / "report", command="x")
        (tmp_path / "others").mkdir()
        others = persons(tmp_path / "others", names=("other.png",))
        with pytest.raises(DeepPoseError, match="DeepPose and other were asked of different persons"):
            write_side_by_side({**one, "other": (*evaluated(others), others)}, tmp_path / "report", command="x")


class TestOnePage:
    def test_everything_is_inside(self, tmp_path, dataset):
        path, _ = written(tmp_path, dataset)
        assert [file.name for file in path.parent.iterdir()] == ["index.html"]
        page = Page(path)
        addresses = [
            attributes[name] for _, attributes in page.elements for name in ("src", "href") if name in attributes
        ]
        assert all(address.startswith(("data:", "#", "https://")) for address in addresses)
        loading = [attributes for tag, attributes in page.elements if tag not in ("a",)]
        assert not [a for a in loading if any(str(v).startswith("http") for k, v in a.items() if k in ("src", "href"))]
        style = path.read_text(encoding="utf-8").partition("<style>")[2].partition("</style>")[0]
        assert "url(" not in style
        assert "@import" not in style
        (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; img-src data:;")

    def test_names_from_files_are_text(self, tmp_path):
        checkpoint = random_checkpoint(joints=14)
        source = dataclasses.replace(checkpoint.source, path="</title><b onclick=x>\u202e\udcff.pt", writer="</script>")
        path, _ = written(tmp_path, persons(tmp_path, names=(HOSTILE,)), checkpoint.replace(source=source))
        page = Page(path)
        assert len(page.all("script")) == 2
        assert not [attributes for _, attributes in page.elements if any(name.startswith("on") for name in attributes)]
        assert HOSTILE in page.text
        assert "</title><b onclick=x>\\u202e\\udcff.pt" in page.text
        assert "\u202e" not in path.read_text(encoding="utf-8")

    def test_numbers_are_the_evaluation_s(self, tmp_path, dataset):
        path, evaluation = written(tmp_path, dataset)
        text = Page(path).text
        assert f"{evaluation['mean_error_px'].overall:.2f} px" in text
        assert f"{100 * evaluation.measures['pdj@0.2'].overall:.1f} %" in text
        for name, fraction in zip(evaluation.skeleton.pcp_limbs, evaluation["pcp"].values, strict=True):
            assert re.search(rf"{name}\s*{100 * fraction:.1f}", text)

    def test_confidence_intervals_are_shown(self, tmp_path, dataset):
        pose, evaluation = evaluated(dataset)
        intervals = evaluation.bootstrap(50, seed=1)
        path = write_evaluation(pose, evaluation, dataset, tmp_path / "r", command="x", intervals=intervals)
        low, high = intervals.wholes["error_px"]
        assert f"{low:.2f} px to {high:.2f} px" in Page(path).text

    def test_repairs_environment_and_command_are_shown(self, tmp_path, dataset):
        repair = Repair("conv4.weight", nan=1234, inf=5)
        checkpoint = random_checkpoint(joints=14).replace(repairs=(repair,), notices=("taken as Chainer 1.13",))
        text = Page(written(tmp_path, dataset, checkpoint)[0]).text
        assert re.search(r"conv4\.weight\s*1,234\s*5\s*0", text)
        assert "taken as Chainer 1.13" in text
        assert np.__version__ in text
        assert "deeppose-port eval x" in text

    def test_what_a_network_is_shown_and_answers_is_told_in_words(self, tmp_path, dataset):
        facts = tree_of(written(tmp_path, dataset)[0]).one("section", id="provenance").all("dl")[0]
        told = {dt.text: dd.text for dt, dd in zip(facts.all("dt"), facts.all("dd"), strict=True)}
        assert told["looks at"] == "the box of the joints, its sides times 1.5"
        assert told["input"] == "220 pixels a side, linear; BGR, (x - mean) / (std + 1e-5)"
        assert told["answers"] == "fractions of it, -0.5 .. 0.5"
        assert "joints" not in told, "the file does not say"
        assert not re.search(r"im_|None|\[", " ".join(told[name] for name in ("looks at", "input", "answers")))

    def test_network_without_answers_is_said_so(self, tmp_path, dataset):
        checkpoint = random_checkpoint(joints=14)
        weights = {**checkpoint.weights, "fc8.bias": np.full(28, np.nan, np.float32)}
        text = Page(written(tmp_path, dataset, checkpoint.replace(weights=weights))[0]).text
        assert text.count("no answer") >= 9

    def test_a_skeleton_without_torso_has_a_page(self, tmp_path, pictures):
        free = deeppose_port.data.PoseDataset(pictures / "free.csv", images=pictures, skeleton="flic")
        page = Page(written(tmp_path, free)[0])
        assert "PDJ, mean of the joints" not in page.text
        assert "PCK by the person's box" in page.text

    def test_a_skeleton_without_limbs_has_no_part_of_them(self, tmp_path, pictures):
        (tmp_path / "a.csv").write_text("astronaut.png,100,100,200,300\n")
        skeleton = skeletons.Skeleton("two", ("head", "foot"))
        path, evaluation = written(tmp_path, PoseDataset(tmp_path / "a.csv", images=pictures, skeleton=skeleton))
        assert "pcp" not in evaluation.measures
        assert evaluation.as_dict()["pcp"] is None
        page = tree_of(path.read_text(encoding="utf-8"))
        assert not page.all("section", id="limbs")
        assert "#limbs" not in [link.attributes["href"] for link in page.all("a")]
        assert "Not defined: PCP@0.5, strict, PCP@0.5, relaxed, because two has no limbs." in page.text


class TestGallery:
    def test_worst_come_first(self, tmp_path, dataset):
        path, evaluation = written(tmp_path, dataset)
        errors = metrics.pixel_errors(evaluation.predicted, evaluation.true, evaluation.visible)
        worst = np.argsort(-np.nanmean(errors, axis=1) / metrics.box_sizes(evaluation.true, evaluation.visible))
        lines = [int(line) for line in re.findall(r'<span class="line">line (\d+)', path.read_text(encoding="utf-8"))]
        assert lines == (worst + 1).tolist()

    def test_only_so_many_are_shown(self, tmp_path, dataset, monkeypatch):
        monkeypatch.setattr(gallery, "GALLERY", 4)
        page = Page(written(tmp_path, dataset)[0])
        assert len(page.all("img")) == 4
        assert "Of 9 persons these are the 4 worst" in page.text

    @pytest.mark.parametrize(("limit", "loading"), [(8, "lazy"), (9, "eager")])
    def test_only_many_pictures_are_coarse_and_wait_until_they_are_in_sight(
        self, tmp_path, dataset, monkeypatch, limit, loading
    ):
        monkeypatch.setattr(gallery, "LAZY", limit)
        page = Page(written(tmp_path, dataset)[0])
        assert {picture["loading"] for picture in page.all("img")} == {loading}
        for picture in page.all("img"):
            encoded = np.frombuffer(base64.b64decode(picture["src"].partition(",")[2]), np.uint8)
            height, width = cv2.imdecode(encoded, cv2.IMREAD_COLOR).shape[:2]
            density = 1 if loading == "lazy" else 2
            assert (width, height) == (density * int(picture["width"]), density * int(picture["height"]))
        (persons,) = page.all("ol")
        assert persons["class"].split() == ["gallery", "many"][: 1 + (loading == "lazy")]

    def test_pictures_are_small_and_named(self, tmp_path, dataset):
        images = Page(written(tmp_path, dataset)[0]).all("img")
        assert all(image["src"].startswith("data:image/jpeg;base64,") for image in images)
        assert all(max(int(image["width"]), int(image["height"])) == 160 for image in images)
        assert sorted(image["alt"] for image in images)[0] == "a.png, line 1"

    def test_limbs_are_paths_in_the_thumbnail(self):
        points = np.array([[1, 2], [3, 4.04], [5.25, 6], [np.nan, 0], [70, 80], [9, 9], [1e9, -1e9]])
        drawn = np.array([True, True, True, True, True, False, True])
        # FLIC's limbs: 3-2 2-1 1-0 3-4 4-5 5-6; joint 3 is not finite, 5 is not drawn; 4 to 6 are on the right.
        left, right = paths_of(points, drawn, skeletons.FLIC)
        assert (left, right) == ("M5.2 6L3 4L1 2", "M70 80h0M1600 -1600h0")

    def test_limbs_are_on_the_side_where_they_end(self):
        points = np.arange(14.0).reshape(7, 2)
        left, right = paths_of(points, np.ones(7, bool), skeletons.FLIC)
        assert (left, right) == ("M6 7L4 5L2 3L0 1", "M6 7L8 9L10 11L12 13")


class TestWriting:
    def test_report_that_exists_is_not_replaced_unasked(self, tmp_path, dataset):
        page, _ = written(tmp_path, dataset)
        page.write_text("mine")
        with pytest.raises(ValueError, match="exists already \\(--force"):
            written(tmp_path, dataset)
        assert page.read_text() == "mine"
        written(tmp_path, dataset, force=True)
        assert page.read_text(encoding="utf-8").startswith("<!doctype html>")

    def test_file_in_the_folder_s_place_is_refused(self, tmp_path, dataset):
        (tmp_path / "report").write_text("mine")
        with pytest.raises(ValueError, match="this is a file"):
            written(tmp_path, dataset)

    def test_nothing_is_left_of_a_report_that_fails(self, tmp_path, dataset):
        pose, evaluation = evaluated(dataset)
        again = persons(tmp_path)
        (tmp_path / "b.png").write_bytes(b"no picture")
        with pytest.raises(DatasetError):
            write_evaluation(pose, evaluation, again, tmp_path / "report", command="x")
        assert not (tmp_path / "report").exists()

    def test_disk_that_is_full_leaves_the_old_report(self, tmp_path, dataset, monkeypatch):
        page, _ = written(tmp_path, dataset)
        before = page.read_bytes()

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(pages.os, "replace", full)
        with pytest.raises(DeepPoseError, match="No space left on device"):
            written(tmp_path, dataset, force=True)
        assert [file.name for file in page.parent.iterdir()] == ["index.html"]
        assert page.read_bytes() == before


class TestCharts:
    def test_chart_has_its_numbers_in_place(self):
        series = charts.Series("a", "prediction", np.array([0.0, 0.5, 1.0]))
        chart = charts.curves("PDJ", "torso", np.array([0, 0.25, 0.5]), [series], marked=0.25)
        assert 'class="a line" d="M34.0 230.0L233.0 120.0L432.0 10.0"' in chart
        assert 'aria-label="PDJ. prediction: 50.0 % at 0.25."' in chart

    def test_histogram_counts_every_error_once(self):
        errors = charts.Series("a", "prediction", np.array([0.5] * 6 + [3.5] * 2 + [np.inf, np.nan]))
        chart = charts.histogram("errors", "px", [errors], bins=4)
        heights = [float(y) for y in re.findall(r"V([\d.]+)H", chart)]
        assert [round((230 - y) / 220 * 0.6, 2) for y in heights] == [0.6, 0, 0, 0.4]

    def test_labels_are_text(self):
        series = charts.Series("a", "<b>", np.array([0.5]))
        assert "<b>" not in charts.bars("<b>", ["<b>"], [series])


class TestCommand:
    def test_watching_writes_no_report(self, tmp_path, pictures):
        dataset = ["--csv", str(pictures / "free.csv"), "--images", str(pictures), "--skeleton", "flic"]
        assert main(["eval", "--watch", str(tmp_path), *dataset, "--report", str(tmp_path / "page")]) == 2

    @pytest.fixture
    def run(self, pictures, capsys):
        def run(command, *arguments):
            model = str(pictures.parent / "astronaut" / "epoch-300.model")
            dataset = ["--csv", str(pictures / "free.csv"), "--images", str(pictures), "--skeleton", "flic"]
            line = [command, model, *dataset, *map(str, arguments)]
            return main(line), capsys.readouterr(), shlex.join(["deeppose-port", *line])

        return run

    def test_eval_writes_a_page_with_the_command_that_made_it(self, run, tmp_path):
        status, shown, line = run("eval", "--report", tmp_path / "a page")
        assert status == 0
        assert f"report: {tmp_path / 'a page' / 'index.html'}" in shown.out
        assert line in Page(tmp_path / "a page" / "index.html").text

    def test_json_stays_one_object(self, run, tmp_path):
        status, shown, _ = run("eval", "--report", tmp_path / "page", "--json")
        assert status == 0
        assert json.loads(shown.out)["persons"] == 13
        assert (tmp_path / "page" / "index.html").is_file()

    def test_report_that_exists_is_refused_before_anything_is_run(self, run, tmp_path, monkeypatch):
        (tmp_path / "index.html").write_text("mine")
        monkeypatch.setattr("deeppose_port.evaluate.evaluate.evaluate", lambda *_, **__: pytest.fail("it was run"))
        status, shown, _ = run("eval", "--report", tmp_path)
        assert status == 2
        assert "exists already" in shown.err
        assert (tmp_path / "index.html").read_text() == "mine"

    def test_compare_writes_both_sides(self, run, tmp_path, pictures):
        new = tmp_path / "new.pt"
        assert main(["convert", str(pictures.parent / "astronaut" / "epoch-300.model"), "-o", str(new)]) == 0
        model = pictures.parent / "astronaut" / "epoch-300.model"
        dataset = ["--csv", str(pictures / "free.csv"), "--images", str(pictures), "--skeleton", "flic"]
        assert main(["compare", str(model), str(new), *dataset, "--report", str(tmp_path / "page")]) == 0
        text = Page(tmp_path / "page" / "index.html").text
        assert "The same network" in text
        assert "epoch-300.model" in text
        assert "new.pt" in text


def test_comparison_names_where_two_networks_part(tmp_path, dataset):
    old = random_checkpoint(joints=14)
    weights = {name: array.copy() for name, array in old.weights.items()}
    weights["conv4.weight"][0, 0, 0, 0] += 1
    poses = deeppose_port.load(old), deeppose_port.load(old.replace(weights=weights))
    comparison = compare(*poses, (dataset, dataset))
    page = Page(write_comparison(comparison, tmp_path / "report", command="x"))
    assert "Not the same network" in page.text
    assert "They first differ at conv4" in page.text
    assert re.search(r"conv4\.weight\s*differing", page.text)
    assert comparison.old.input_sha256 in page.text


@pytest.mark.parametrize(
    ("paths", "backends", "title"),
    [
        (("a/x.model", "b/y.pt"), ("torch", "torch"), "x.model and y.pt"),
        (("a/x.model", "a/x.model"), ("chainer", "torch"), "x.model, chainer and torch"),
        (("a/x.model", "b/x.model"), ("torch", "torch"), "a/x.model and b/x.model"),
        (("a/x.model", "a/x.model"), ("torch", "torch"), "a/x.model, torch"),
        (("a/x.model",), ("torch",), "x.model"),
    ],
)
def test_title_tells_the_sides_apart(paths, backends, title):
    subjects = [
        SimpleNamespace(
            name=path.split("/")[-1],
            pose=SimpleNamespace(backend=backend, checkpoint=SimpleNamespace(source=SimpleNamespace(path=path))),
        )
        for path, backend in zip(paths, backends, strict=True)
    ]
    assert pages._title(subjects) == title


@pytest.mark.parametrize(
    ("old", "new", "moved"), [(np.nan, 0, -1), (0, np.inf, -1), (np.nan, np.nan, 0), (np.inf, np.inf, 0)]
)
def test_an_answer_that_one_side_alone_lacks_moved_the_farthest(tmp_path, dataset, old, new, moved):
    sides = []
    for more in (old, new):
        checkpoint = random_checkpoint(joints=14)
        checkpoint.weights["fc8.bias"][3] += more
        sides.append(deeppose_port.load(checkpoint))
    path = write_comparison(compare(*sides, (dataset, dataset)), tmp_path / "report", command="x")
    index = json.loads("".join(tree_of(path).one("script", type="application/json").inside))
    assert {person["moved"] for person in index["persons"]} == {moved}
