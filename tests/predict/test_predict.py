import csv
import json
import os
import re
import shutil

import cv2
import numpy as np
import pytest

import converters
import deeppose_port
from converters import DeepPoseError
from converters.checkpoint import Preprocessing
from deeppose_port.cli import main
from deeppose_port.data import Crop, PoseDataset, skeletons
from deeppose_port.drawing import draw
from deeppose_port.drawing.sheet import ContactSheet, draw_crop
from deeppose_port.predict import Found, files_in, parse_box, predict_files, predict_persons, read_boxes
from deeppose_port.predict.inputs import Answer, Lettering, drawn
from deeppose_port.predict.results import as_lists, box_cells
from tests.helpers.networks import checkpoint_of, random_checkpoint

FLIC = skeletons.FLIC


@pytest.fixture
def constant():
    """A network that answers (0.25, -0.25) for every joint: three quarters to the right, one quarter down."""
    checkpoint = random_checkpoint()
    weights = dict(checkpoint.weights)
    weights["fc8.weight"] = np.zeros_like(weights["fc8.weight"])
    weights["fc8.bias"] = np.tile(np.float32([0.25, -0.25]), 7)
    return checkpoint_of(checkpoint.architecture, weights)


@pytest.fixture
def pose(constant):
    return deeppose_port.load(constant)


@pytest.fixture
def folder(tmp_path):
    """A folder with two pictures of noise, 80 x 60 and 40 x 100, and a text."""
    folder = tmp_path / "in"
    folder.mkdir()
    random = np.random.RandomState(0)
    for name, (width, height) in {"wide.png": (80, 60), "tall.jpg": (40, 100)}.items():
        cv2.imwrite(str(folder / name), random.randint(0, 256, (height, width, 3), np.uint8))
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def clip(tmp_path):
    """A video of 20 frames of 96 x 64 pixels, 8 a second, each brighter than the one before."""
    writer = cv2.VideoWriter(str(tmp_path / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 8.0, (96, 64))
    for i in range(20):
        writer.write(np.full((64, 96, 3), 10 * i, np.uint8))
    writer.release()
    return tmp_path / "clip.mp4"


def frames_of(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (frame := capture.read()[1]) is not None:
        frames.append(frame)
    return frames


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


class TestPictures:
    def test_folder_is_predicted_picture_by_picture(self, pose, folder, tmp_path):
        result = predict_files(pose, [folder], tmp_path / "out")
        assert names_in(tmp_path / "out") == ["predictions.json", "tall_pose.png", "wide_pose.png"]
        points = {p.image.name: p.points for p in result.pictures}
        np.testing.assert_allclose(points["wide.png"], [[60, 15]] * 7, atol=1e-4)
        np.testing.assert_allclose(points["tall.jpg"], [[30, 25]] * 7, atol=1e-4)
        drawn = cv2.imread(str(tmp_path / "out" / "wide_pose.png"))
        picture = cv2.imread(str(folder / "wide.png"))
        assert np.array_equal(drawn, draw.draw_pose(picture, points["wide.png"], FLIC, legend=True))

    def test_json_holds_what_the_result_says(self, pose, folder, tmp_path):
        result = predict_files(pose, [folder], tmp_path / "out")
        values = json.loads((tmp_path / "out" / "predictions.json").read_text())
        assert values == result.as_dict()
        assert values["joints"] == list(FLIC.joints)
        assert values["pictures"][1]["points"] == [[60, 15]] * 7

    def test_csv_has_a_line_a_picture(self, pose, folder, tmp_path):
        predict_files(pose, [folder / "wide.png"], tmp_path, format="csv")
        header, row = csv.reader((tmp_path / "predictions.csv").read_text().splitlines())
        assert header[:3] == ["image", "left wrist x", "left wrist y"]
        assert row == [str(folder / "wide.png"), *["60.000", "15.000"] * 7]

    def test_boxes_in_a_csv_keep_thousandths_of_pixels(self):
        assert box_cells(2, (12345.678, 0.5, 30.0, 1234567.891)) == ["2", "12345.678", "0.5", "30", "1234567.89"]

    def test_csv_has_names_that_are_no_utf8(self, pose, folder, tmp_path):
        name = os.fsdecode(b"caf\xe9.png")
        shutil.copy(folder / "wide.png", folder / name)
        predict_files(pose, [folder / name], tmp_path, format="csv")
        assert b"caf\xe9.png,60.000,15.000" in (tmp_path / "predictions.csv").read_bytes()

    def test_many_pictures_meet_their_own_answers(self, tmp_path):
        random = np.random.RandomState(3)
        pose = deeppose_port.load(random_checkpoint())
        (tmp_path / "in").mkdir()
        pictures = random.randint(0, 256, (19, 30, 40, 3), np.uint8)
        for i, picture in enumerate(pictures):
            cv2.imwrite(str(tmp_path / "in" / f"{i:02}.png"), picture)
        done = []
        result = predict_files(pose, [tmp_path / "in"], tmp_path / "out", progress=lambda *counts: done.append(counts))
        for prediction, picture in zip(result.pictures, pictures, strict=True):
            np.testing.assert_allclose(prediction.points, pose.predict(picture), atol=1e-3)
        assert done == [(i + 1, 19) for i in range(19)]

    def test_box_is_the_crop_of_every_picture(self, pose, folder, tmp_path):
        result = predict_files(pose, [folder], tmp_path / "out", box=(10, 20, 20, 40))
        for prediction in result.pictures:
            np.testing.assert_allclose(prediction.points, [[25, 30]] * 7, atol=1e-4)

    def test_same_names_in_two_folders_are_numbered(self, pose, folder, tmp_path):
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "wide.png").write_bytes((folder / "wide.png").read_bytes())
        (tmp_path / "other" / "wide.jpg").write_bytes((folder / "wide.png").read_bytes())
        sources = [folder / "wide.png", *(tmp_path / "other" / f"wide.{kind}" for kind in ("png", "jpg"))]
        result = predict_files(pose, [*sources, folder / "wide.png"], tmp_path / "out")
        assert [p.drawing.name for p in result.pictures] == ["wide_pose.png", "wide_2_pose.png", "wide_3_pose.png"]

    def test_only_pictures_of_a_folder_are_taken(self, folder, tmp_path):
        (folder / "inner.png").mkdir()
        assert [file.name for file in files_in(folder)] == ["tall.jpg", "wide.png"]
        (tmp_path / "empty").mkdir()
        with pytest.raises(ValueError, match=r"empty: there is no picture in this folder \(.*\.jpg"):
            files_in(tmp_path / "empty")

    def test_joints_that_no_skeleton_has_are_numbered(self, folder, tmp_path):
        result = predict_files(deeppose_port.load(random_checkpoint(joints=5)), [folder], tmp_path / "out")
        assert result.names == ("joint 0", "joint 1", "joint 2", "joint 3", "joint 4")

    def test_own_joints_have_the_limbs_that_their_checkpoint_has(self, folder, clip, tmp_path):
        told = Preprocessing(joints=("nose", "left paw", "right paw", "tail"), limbs=((0, 1), (0, 2), (1, 3)))
        pose = deeppose_port.load(random_checkpoint(joints=4, preprocessing=told))
        box, sheet, alone = (8, 4, 30, 50), ContactSheet(5, 5), ContactSheet(1, 1)
        result = predict_files(pose, [folder / "wide.png", clip], tmp_path / "out", box=box, sheet=sheet)
        assert result.names == told.joints
        own = skeletons.Skeleton("", told.joints, limbs=told.limbs)
        picture, (found,) = cv2.imread(str(folder / "wide.png")), result.pictures
        expected = draw.draw_pose(picture, found.points, own, legend=True)
        assert np.array_equal(cv2.imread(str(found.drawing)), expected)
        assert np.array_equal(pose.draw(picture, box, legend=True), expected[:, :, ::-1])
        alone.add(picture, pose.look(picture, box).crop, found.points, own)
        tile = cv2.imread(str(tmp_path / "out" / "tile.png"))
        assert np.array_equal(tile[:220, :220], alone.picture()[:220])
        black = np.zeros((64, 96, 3), np.uint8)
        frame = draw.draw_pose(black, pose.predict(black, box), own)
        assert np.abs(frames_of(tmp_path / "out" / "clip_pose.mp4")[0].astype(int) - frame).mean() < 3

    def test_other_skeleton_and_unknown_format_are_refused(self, pose, folder, tmp_path):
        with pytest.raises(ValueError, match="in memory has 7 joints, but lsp has 14"):
            predict_files(pose, [folder], tmp_path / "out", skeleton="lsp")
        with pytest.raises(ValueError, match="there is no format 'xml' for joints; there are json, csv"):
            predict_files(pose, [folder], tmp_path / "out", format="xml")
        with pytest.raises(ValueError, match="there is nothing to predict"):
            predict_files(pose, [], tmp_path / "out")
        assert not (tmp_path / "out").exists()


class TestFailures:
    def test_a_list_of_pictures_is_no_picture(self, pose, folder, tmp_path):
        (tmp_path / "list.txt").write_text("".join(f"{path}\n" for path in folder.iterdir()))
        with pytest.raises(DeepPoseError, match=r"list\.txt: .* this is text, .* `predict --manifest` takes a list"):
            predict_files(pose, [tmp_path / "list.txt"], tmp_path / "out")

    def test_picture_that_cannot_be_read_does_not_keep_the_others(self, pose, folder, tmp_path):
        (folder / "broken.png").write_bytes(b"\x89PNG cut short")
        result = predict_files(pose, [folder, tmp_path / "gone.png"], tmp_path / "out")
        assert [p.image.name for p in result.pictures] == ["tall.jpg", "wide.png"]
        reasons = [failure.reason for failure in result.failures]
        assert (
            reasons[0]
            == f"{folder / 'broken.png'}: cannot be decoded: it is no picture, or of a format that is not read"
        )
        assert reasons[1] == f"{tmp_path / 'gone.png'}: there is no such picture"
        assert [f["source"] for f in result.as_dict()["failures"]] == [
            str(folder / "broken.png"),
            str(tmp_path / "gone.png"),
        ]

    def test_jpeg_that_is_cut_off_is_refused_unless_it_is_wanted(self, pose, folder, tmp_path):
        picture = folder / "tall.jpg"
        picture.write_bytes(picture.read_bytes()[:2000])
        result = predict_files(pose, [folder], tmp_path / "out")
        assert [p.image.name for p in result.pictures] == ["wide.png"]
        (failure,) = result.failures
        assert failure.reason == f"{picture}: cannot be decoded; is it a whole picture, or cut off?"
        again = predict_files(pose, [folder], tmp_path / "again", allow_truncated=True)
        assert [p.image.name for p in again.pictures] == ["tall.jpg", "wide.png"]

    def test_picture_of_more_pixels_than_are_wanted_is_refused(self, pose, folder, tmp_path):
        result = predict_files(pose, [folder], tmp_path / "out", max_pixels=4000)
        assert [p.image.name for p in result.pictures] == ["tall.jpg"]
        assert "wide.png: 80 x 60 pixels are more than the 4,000" in result.failures[0].reason

    def test_box_outside_one_picture_does_not_keep_the_others(self, pose, folder, tmp_path):
        result = predict_files(pose, [folder], tmp_path / "out", box=(50, 0, 20, 20))
        assert [p.image.name for p in result.pictures] == ["wide.png"]
        assert re.search(r"tall\.jpg: nothing is left of the box", result.failures[0].reason)

    def test_nothing_is_left_where_nothing_can_be_read(self, pose, tmp_path):
        with pytest.raises(ValueError, match=r"gone\.png: there is no such picture$"):
            predict_files(pose, [tmp_path / "gone.png"], tmp_path / "out")
        with pytest.raises(ValueError, match=r"gone\.png: there is no such picture \(and so it is with 1 more\)"):
            predict_files(pose, [tmp_path / "gone.png", tmp_path / "too.png"], tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_nothing_is_left_of_a_run_that_is_interrupted(self, pose, folder, tmp_path):
        def interrupt(done, total):
            if done == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            predict_files(pose, [folder], tmp_path / "out", progress=interrupt)
        assert not (tmp_path / "out").exists()
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine.txt").write_text("kept")
        with pytest.raises(KeyboardInterrupt):
            predict_files(pose, [folder], tmp_path / "out", progress=interrupt)
        assert names_in(tmp_path / "out") == ["mine.txt"]

    @pytest.mark.parametrize("name", ["wide_pose.png", "predictions.json", "tile.png"])
    def test_files_are_replaced_only_with_force(self, pose, folder, tmp_path, name):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / name).write_text("mine")
        with pytest.raises(ValueError, match=rf"{re.escape(name)}: it exists already \(--force replaces it"):
            predict_files(pose, [folder], tmp_path / "out", sheet=ContactSheet(1, 1))
        assert (tmp_path / "out" / name).read_text() == "mine"
        assert names_in(tmp_path / "out") == [name]
        predict_files(pose, [folder], tmp_path / "out", sheet=ContactSheet(1, 1), force=True)
        assert (tmp_path / "out" / name).read_bytes() != b"mine"

    def test_inputs_are_never_replaced(self, pose, folder):
        (folder / "wide.png").rename(folder / "tile.png")
        with pytest.raises(ValueError, match=r"tile\.png: this is the input itself, which is never changed"):
            predict_files(pose, [folder], folder, sheet=ContactSheet(1, 1), force=True)

    def test_a_file_of_boxes_is_never_replaced(self, pose, folder, tmp_path):
        boxes = tmp_path / "predictions.json"
        boxes.write_text("[]")
        with pytest.raises(ValueError, match=r"predictions\.json: this is the input itself, which is never changed"):
            predict_files(pose, [folder], tmp_path, people=read_boxes(boxes), force=True)

    @pytest.mark.parametrize("text", ["1,2,3", "1,2,3,4,5", "a,b,c,d", ""])
    def test_box_that_is_none_is_refused(self, text):
        with pytest.raises(ValueError, match="is not four numbers; write it as x,y,width,height"):
            parse_box(text)


class TestVideos:
    def test_every_frame_has_a_line_with_its_number_and_time(self, pose, clip, tmp_path):
        result = predict_files(pose, [clip], tmp_path / "out")
        assert names_in(tmp_path / "out") == ["clip_pose.jsonl", "clip_pose.mp4"]
        assert result.file is None
        (video,) = result.videos
        assert (video.frames, video.announced, video.fps) == (20, 20, 8)
        lines = [json.loads(line) for line in video.file.read_text().splitlines()]
        assert [line["frame"] for line in lines] == list(range(20))
        assert [line["time"] for line in lines] == [i / 8 for i in range(20)]
        assert all(line["points"] == [[72, 16]] * 7 for line in lines)

    def test_frames_are_drawn_in_their_order(self, pose, clip, tmp_path):
        predict_files(pose, [clip], tmp_path / "out")
        before, drawn = frames_of(clip), frames_of(tmp_path / "out" / "clip_pose.mp4")
        assert len(drawn) == 20
        for frame, original in zip(drawn, before, strict=True):
            assert frame.shape == (64, 96, 3)
            assert abs(float(frame[40:, :40].mean()) - float(original[40:, :40].mean())) < 5
            assert np.abs(frame[16, 72].astype(int) - original[16, 72]).max() > 20  # the joints' dot

    def test_csv_of_a_video_has_a_line_a_frame(self, pose, clip, tmp_path):
        predict_files(pose, [clip], tmp_path / "out", format="csv")
        rows = list(csv.reader((tmp_path / "out" / "clip_pose.csv").read_text().splitlines()))
        assert rows[0][:3] == ["frame", "time", "left wrist x"]
        assert rows[2] == ["1", "0.125", *["72.000", "16.000"] * 7]
        assert len(rows) == 21

    def test_pictures_and_videos_go_together(self, pose, folder, clip, tmp_path, monkeypatch):
        done, lines = [], []
        monkeypatch.setattr("deeppose_port.drawing.sheet.write_line", lambda *told: lines.append(told[1]) or 0)
        sheet = ContactSheet(30, 1)
        result = predict_files(
            pose, [clip, folder], tmp_path / "out", sheet=sheet, progress=lambda *counts: done.append(counts)
        )
        assert (len(result.pictures), len(result.videos)) == (2, 1)
        assert done[-1] == (22, 22)
        assert cv2.imread(str(tmp_path / "out" / "tile.png")).shape[1] == 22 * 222 - 2
        legend = ["person's left", "person's right", "middle"]
        captions = ["tall.jpg", "wide.png", *(f"clip.mp4, frame {i}" for i in range(20))]
        assert sorted(lines) == sorted([*captions, *legend])

    @pytest.mark.parametrize("content", [b"", b"no video at all", None])
    def test_broken_video_does_not_keep_the_others(self, pose, folder, clip, tmp_path, content, capfd):
        broken = tmp_path / "broken.mp4"
        broken.write_bytes(clip.read_bytes()[:400] if content is None else content)
        result = predict_files(pose, [broken, folder], tmp_path / "out")
        assert [f.reason for f in result.failures] == [f"{broken}: cannot be decoded; is it a whole video?"]
        assert "WARN" not in capfd.readouterr().err, "what is wrong is said once, by us"
        assert names_in(tmp_path / "out") == ["predictions.json", "tall_pose.png", "wide_pose.png"]

    def test_video_without_a_frame_is_refused(self, pose, clip, tmp_path, monkeypatch):
        monkeypatch.setattr("deeppose_port.drawing.video.Video.__iter__", cut_short(0))
        with pytest.raises(ValueError, match=r"clip\.mp4: no frame of it can be decoded; is it a whole video"):
            predict_files(pose, [clip], tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_box_outside_a_video_is_said_with_the_frame(self, pose, clip, tmp_path):
        with pytest.raises(ValueError, match=r"clip\.mp4, frame 0: nothing is left of the box"):
            predict_files(pose, [clip], tmp_path / "out", box=(100, 0, 10, 10))
        assert not (tmp_path / "out").exists()

    def test_missing_video_is_refused(self, pose, tmp_path):
        with pytest.raises(ValueError, match=r"gone\.avi: there is no such video"):
            predict_files(pose, [tmp_path / "gone.avi"], tmp_path / "out")


class TestPersons:
    @pytest.fixture
    def persons(self, tmp_path):
        """Three persons, one with an ignored joint, in two pictures."""
        joints = np.tile([[20.0, 20], [60, 20], [60, 60], [20, 60], [30, 30], [40, 40], [50, 50]], (3, 1, 1))
        joints[1] += 10
        joints[2, 6] = -1
        rows = [",".join([f"{i // 2}.png", *map(str, person.ravel())]) for i, person in enumerate(joints)]
        (tmp_path / "persons.csv").write_text("\n".join(rows) + "\n")
        for i in range(2):
            cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((100, 100, 3), 90, np.uint8))
        return PoseDataset(tmp_path / "persons.csv", images=tmp_path, skeleton="flic")

    def test_errors_and_running_means_are_those_of_the_definitions(self, pose, persons, tmp_path):
        result = predict_persons(pose, persons, tmp_path / "out")
        errors, legacy = [], []
        for i, person in enumerate(result.persons):
            crop, visible = persons.view(i).crop, persons.visible[i]
            expected = [crop.x0 + 0.75 * crop.width, crop.y0 + 0.25 * crop.height]
            np.testing.assert_allclose(person.points, [expected] * 7, atol=1e-4)
            errors.append(np.linalg.norm(persons.joints[i][visible] - expected, axis=1).mean())
            truth = np.trunc(np.float64(persons[i][1]).reshape(7, 2) * 220 + 110)
            legacy.append(np.linalg.norm((truth - [165, 55])[visible]) / visible.sum())
        np.testing.assert_allclose([p.error_px for p in result.persons], errors, rtol=1e-5)
        np.testing.assert_allclose([p.legacy_error for p in result.persons], legacy, rtol=1e-9)
        assert [p.mean_error_px for p in result.persons][1:] == pytest.approx([np.mean(errors[:2]), np.mean(errors)])
        assert result.persons[2].mean_legacy_error == pytest.approx(np.mean(legacy))
        assert [p.line for p in result.persons] == [1, 2, 3]

    def test_prediction_and_label_are_drawn(self, pose, persons, tmp_path):
        result = predict_persons(pose, persons, tmp_path / "out")
        names = [f"{line}_{stem}_{what}.png" for line, stem in ((1, 0), (2, 0), (3, 1)) for what in ("label", "pred")]
        assert names_in(tmp_path / "out") == [*names, "predictions.json"]
        person, crop = result.persons[2], persons.view(2).crop
        cut = cv2.resize(persons.picture(2)[crop.y0 : crop.y1, crop.x0 : crop.x1], (220, 220))
        scale = 220 / np.array([crop.width, crop.height])
        predicted, true = ((p - [crop.x0, crop.y0]) * scale for p in (person.points, persons.joints[2]))
        assert np.array_equal(cv2.imread(str(person.drawing)), draw.draw_pose(cut, predicted, FLIC))
        label = draw.draw_pose(cut, true, FLIC, visible=persons.visible[2])
        assert np.array_equal(cv2.imread(str(person.label)), label)

    def test_large_crops_keep_their_pixels(self):
        image = np.zeros((600, 500, 3), np.uint8)
        points = np.full((7, 2), np.nan)
        points[3] = 150, 300
        drawn = draw_crop(image, Crop(100, 50, 400, 500, 220), points, FLIC)
        assert drawn.shape == (450, 300, 3)
        assert drawn[250, 50].tolist() == list(draw.CENTRE)

    def test_tables_hold_the_errors(self, pose, persons, tmp_path):
        result = predict_persons(pose, persons, tmp_path / "out")
        values = json.loads((tmp_path / "out" / "predictions.json").read_text())
        assert values == result.as_dict()
        predict_persons(pose, persons, tmp_path / "two", format="csv")
        header, *rows = csv.reader((tmp_path / "two" / "predictions.csv").read_text().splitlines())
        assert header[:6] == ["image", "line", "error_px", "legacy_error", "mean_error_px", "mean_legacy_error"]
        assert [float(row[3]) for row in rows] == pytest.approx([p["legacy_error"] for p in values["persons"]], 1e-5)

    def test_sheet_has_the_errors_and_the_truth_beside(self, pose, persons, tmp_path, monkeypatch):
        lines = []
        monkeypatch.setattr("deeppose_port.drawing.sheet.write_line", lambda *told: lines.append(told[1]) or 0)
        result = predict_persons(pose, persons, tmp_path / "out", sheet=ContactSheet(3, 1))
        assert result.tile == tmp_path / "out" / "tile.png"
        assert cv2.imread(str(result.tile)).shape[1] == 3 * 444 - 2
        for i, person in enumerate(result.persons):
            larger = np.ptp(persons.joints[i][persons.visible[i]], axis=0).max()
            assert f"network: {person.error_px:.1f} px, {100 * person.error_px / larger:.0f} %" in lines
        assert {"0.png, line 1", "0.png, line 2", "1.png, line 3", "truth", "truth: 6 of 7 joints"} < set(lines)

    def test_nan_is_null(self, persons, tmp_path, constant):
        constant.weights["fc8.bias"][0] = np.nan
        result = predict_persons(deeppose_port.load(constant), persons, tmp_path / "out").as_dict()
        assert result["persons"][0]["error_px"] is None
        assert result["persons"][0]["points"][0] == [
            None,
            pytest.approx(persons.view(0).crop.y0 + persons.view(0).crop.height / 4, abs=1e-3),
        ]
        json.dumps(result, allow_nan=False)

    def test_csv_is_never_replaced(self, pose, persons, tmp_path):
        (tmp_path / "persons.csv").rename(tmp_path / "predictions.csv")
        persons = PoseDataset(tmp_path / "predictions.csv", images=tmp_path, skeleton="flic")
        with pytest.raises(ValueError, match=r"predictions\.csv: this is the input itself, which is never changed"):
            predict_persons(pose, persons, tmp_path, format="csv", force=True)


class TestCommand:
    @pytest.fixture
    def run(self, constant, tmp_path, capsys):
        converters.write(constant, tmp_path / "some.pt")

        def command(*arguments):
            status = main(["predict", str(tmp_path / "some.pt"), *map(str, arguments)])
            captured = capsys.readouterr()
            return status, captured.out, captured.err

        return command

    def test_pictures_are_listed(self, run, folder, tmp_path):
        status, out, _ = run(folder, "-o", tmp_path / "out", "--tile", "2x2")
        assert status == 0
        assert f"{folder / 'wide.png'} -> {tmp_path / 'out' / 'wide_pose.png'}" in out
        assert f"contact sheet in {tmp_path / 'out' / 'tile.png'}" in out

    @pytest.mark.parametrize("options", [(), ("--names",), ("--no-legend",), ("--no-legend", "--names")])
    def test_drawings_have_a_legend_and_names_as_they_are_told(self, run, tmp_path, options):
        black = np.zeros((240, 200, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "black.png"), black)
        assert run(tmp_path / "black.png", *options, "-o", tmp_path / "out")[0] == 0
        (picture,) = json.loads((tmp_path / "out" / "predictions.json").read_text())["pictures"]
        told = {"legend": "--no-legend" not in options, "names": "--names" in options}
        expected = draw.draw_pose(black, picture["points"], FLIC, **told)
        assert np.array_equal(cv2.imread(str(tmp_path / "out" / "black_pose.png")), expected)

    @pytest.mark.parametrize("option", ["--names", "--no-legend"])
    def test_persons_of_a_csv_have_neither(self, run, pictures, tmp_path, option):
        told = run("--csv", pictures / "free.csv", "--images", pictures, option, "-o", tmp_path / "out")
        assert told[0] == 2
        assert f"{option} goes with SOURCE" in told[2]

    def test_the_legend_of_a_video_stays_in_its_corner(self):
        look, corner = (np.full((1, 7, 2), 590.0) * (0.01, 1)), np.zeros((600, 600, 3), np.uint8)
        persons = [(Answer(Found(None), 1, None, look), None, look[0])]
        moving, still = (drawn(corner, persons, FLIC, False, Lettering(), still=still) for still in (False, True))
        assert (moving[-60:, :150] != 0).any(axis=2).mean() > 0.05
        assert not still[-100:, 30:150].any()

    def test_unreadable_pictures_of_several_are_named_and_the_status_is_3(self, run, folder, tmp_path):
        (folder / "broken.png").write_bytes(b"")
        status, out, err = run(folder, "-o", tmp_path / "out", "--json")
        assert status == 3
        assert f"error: {folder / 'broken.png'}: cannot be decoded" in err
        assert len(json.loads(out)["pictures"]) == 2

    def test_persons_of_a_csv_have_their_errors(self, run, pictures, tmp_path):
        free = ["--csv", pictures / "free.csv", "--images", pictures]
        status, out, _ = run(*free, "-o", tmp_path / "out", "--tile", "3x3", "--seed", "9")
        assert status == 0
        assert "legacy error" in out
        assert "13 persons: a _pred.png and a _label.png each" in out
        values = json.loads(run(*free, "-o", tmp_path / "two", "--json")[1])
        assert len(values["persons"]) == 13

    @pytest.mark.parametrize(
        "arguments",
        [[], ["a.png", "--csv", "b.csv", "--images", "c"], ["--csv", "b.csv"], ["a.png", "--images", "c"]],
    )
    def test_what_is_predicted_has_to_be_said_once(self, run, tmp_path, arguments):
        status, _, err = run(*arguments, "-o", tmp_path / "out")
        assert status == 2
        assert "name pictures, folders or videos, or --csv with --images" in err

    def test_box_does_not_go_with_a_csv(self, run, pictures, tmp_path):
        status, _, err = run("--csv", pictures / "free.csv", "--images", pictures, "--box", "0,0,9,9", "-o", tmp_path)
        assert status == 2
        assert "--box does not go with --csv" in err

    @pytest.mark.parametrize(("tile", "message"), [("5", "COLUMNSxROWS"), ("0x3", "1 to 1600"), ("99x99", "1 to 1600")])
    def test_tile_that_is_none_is_refused(self, run, folder, tmp_path, tile, message):
        status, _, err = run(folder, "-o", tmp_path / "out", "--tile", tile)
        assert status == 2
        assert message in err
        assert not (tmp_path / "out").exists()

    def test_video_cut_short_is_said(self, run, clip, tmp_path, monkeypatch):
        monkeypatch.setattr("deeppose_port.drawing.video.Video.__iter__", cut_short(7))
        status, _, err = run(clip, "-o", tmp_path / "out")
        assert status == 3
        assert f"error: {clip}: 7 of 20 frames could be decoded; those are drawn" in err
        assert len((tmp_path / "out" / "clip_pose.jsonl").read_text().splitlines()) == 7


def cut_short(frames):
    """Video.__iter__ that ends after some frames, as that of a damaged video does."""
    from deeppose_port.drawing.video import Video

    whole = Video.__iter__
    return lambda video: (frame for frame, _ in zip(whole(video), range(frames), strict=False))


def test_joints_are_told_in_thousandths_of_a_pixel():
    assert as_lists(np.array([[1.23456, -0.00049], [np.nan, 2]])) == [[1.235, 0], [None, 2]]
