"""Several persons in a picture, and the same ones from frame to frame."""

import csv
import json
import math

import cv2
import numpy as np
import pytest

import converters
import deeppose_port
from deeppose_port.cli import main
from deeppose_port.data import skeletons
from deeppose_port.drawing import draw
from deeppose_port.drawing.lines import write_line
from deeppose_port.drawing.sheet import ContactSheet
from deeppose_port.predict import Detected, Given, predict_files, read_boxes
from deeppose_port.predict.tracks import Kalman, OneEuro
from tests.helpers.networks import checkpoint_of, random_checkpoint

LEFT, RIGHT = (0.0, 0.0, 40.0, 80.0), (50.0, 10.0, 40.0, 60.0)


@pytest.fixture
def checkpoint():
    """A network that answers the middle of the box for every joint."""
    checkpoint = random_checkpoint()
    weights = dict(checkpoint.weights)
    weights["fc8.weight"] = np.zeros_like(weights["fc8.weight"])
    weights["fc8.bias"] = np.zeros_like(weights["fc8.bias"])
    return checkpoint_of(checkpoint.architecture, weights)


@pytest.fixture
def pose(checkpoint):
    return deeppose_port.load(checkpoint)


@pytest.fixture
def photo(tmp_path):
    picture = np.random.RandomState(0).randint(0, 256, (90, 100, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), picture)
    return tmp_path / "photo.png"


@pytest.fixture
def film(tmp_path):
    """Ten frames of 160 x 120, 5 a second: a white square goes right by 8, a grey one left by 4; it is gone at last."""
    writer = cv2.VideoWriter(str(tmp_path / "film.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 5.0, (160, 120))
    for i in range(10):
        frame = np.zeros((120, 160, 3), np.uint8)
        frame[10:50, 8 * i : 8 * i + 40] = 255
        if i < 8:
            frame[60:100, 110 - 4 * i : 150 - 4 * i] = 120
        writer.write(frame)
    writer.release()
    return tmp_path / "film.mp4"


def squares(image):
    """A detector of the squares, those of a frame in the order of its brightness's parity: as good as any."""
    found = []
    for low, high in ((200, 256), (80, 160)):
        rows, columns = np.nonzero((image[..., 0] >= low) & (image[..., 0] < high))
        if len(rows) > 600:
            found.append([columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1])
    return found[:: 1 if image[5, 5, 0] < 3 else -1]


def rows_of(path):
    return list(csv.reader(path.read_text().splitlines()))


def middle(box):
    return [box[0] + box[2] / 2, box[1] + box[3] / 2]


class TestPictures:
    def test_every_person_has_an_entry_and_all_are_in_one_drawing(self, pose, photo, tmp_path):
        sheet = ContactSheet(2, 1)
        result = predict_files(pose, [photo], tmp_path / "out", people=Given([LEFT, RIGHT]), sheet=sheet)
        assert [(p.person, p.box) for p in result.pictures] == [(1, LEFT), (2, RIGHT)]
        for prediction in result.pictures:
            np.testing.assert_allclose(prediction.points, [middle(prediction.box)] * 7, atol=1e-4)
        assert {p.drawing for p in result.pictures} == {tmp_path / "out" / "photo_pose.png"}
        written = json.loads((tmp_path / "out" / "predictions.json").read_text())
        assert [entry["box"] for entry in written["pictures"]] == [list(LEFT), list(RIGHT)]
        assert [entry["person"] for entry in written["pictures"]] == [1, 2]
        assert written == result.as_dict()
        drawing, picture = (cv2.imread(str(path)).astype(int) for path in (result.pictures[0].drawing, photo))
        for person in result.pictures:
            x, y = np.rint(person.points[0]).astype(int)
            assert np.abs(drawing[y, x] - draw.CENTRE).max() < 60 or np.abs(drawing[y, x] - picture[y, x]).max() > 0
        tile = cv2.imread(str(tmp_path / "out" / "tile.png"))
        assert tile.shape[1] == 442
        for x, number in ((4, 1), (226, 2)):
            caption = np.zeros((16, 212, 3), np.uint8)
            write_line(caption, f"photo.png, person {number}", 0, 0, 212)
            assert np.array_equal(tile[220:236, x : x + 212], caption)

    def test_boxes_and_numbers_are_drawn(self):
        image = np.full((200, 300, 3), 90, np.uint8)
        points = np.full((7, 2), math.nan)
        plain = draw.draw_persons(image, [(1, None, points)], skeletons.FLIC)
        boxed = draw.draw_persons(
            image, [(1, (60, 50, 100, 120), points), (2, (-50, 10, 80, 500), points)], skeletons.FLIC
        )
        changed = (boxed != image).any(axis=2)
        for x, y in ((60, 110), (160, 110), (110, 50), (110, 170), (30, 100)):  # the boxes' edges
            assert changed[y, x], (x, y)
        assert changed[52:80, 66:90].any(), "the number in the box's corner"
        assert not changed[60:160, 200:].any()
        assert (plain != image).any()
        assert (image == 90).all()

    def test_a_table_numbers_them_where_there_may_be_several(self, pose, photo, tmp_path):
        predict_files(pose, [photo], tmp_path / "one", box=LEFT, format="csv")
        predict_files(pose, [photo], tmp_path / "two", people=Given([LEFT, RIGHT]), format="csv")
        one, two = (rows_of(tmp_path / name / "predictions.csv") for name in ("one", "two"))
        assert two[0] == [*one[0], "person", "box x", "box y", "box width", "box height"]
        assert two[1] == [*one[1], "1", "0", "0", "40", "80"]
        assert two[2][-5:] == ["2", "50", "10", "40", "60"]

    def test_one_wrong_box_does_not_keep_the_others(self, pose, photo, tmp_path):
        boxes = [LEFT, (500, 0, 10, 10), (0, 0, math.nan, 5), (0, 0, 0, 0), RIGHT]
        result = predict_files(pose, [photo], tmp_path / "out", people=Given(boxes))
        assert [p.person for p in result.pictures] == [1, 5]
        assert [f.source for f in result.failures] == [photo] * 3
        for failure, (number, phrase) in zip(
            result.failures, ((2, "nothing is left"), (3, "not four finite"), (4, "nothing is left")), strict=True
        ):
            assert failure.reason.startswith(f"{photo}: person {number}: ")
            assert phrase in failure.reason

    def test_pictures_of_which_nothing_tells_do_not_keep_the_others(self, pose, photo, tmp_path):
        other, empty = tmp_path / "other.png", tmp_path / "empty.png"
        for path in (other, empty):
            cv2.imwrite(str(path), np.zeros((50, 50, 3), np.uint8))
        content = {
            "images": [{"id": 1, "file_name": "photo.png"}, {"id": 2, "file_name": "empty.png"}],
            "annotations": [{"image_id": 1, "bbox": list(RIGHT)}, {"image_id": 1, "bbox": list(LEFT)}],
        }
        (tmp_path / "boxes.json").write_text(json.dumps(content))
        people = read_boxes(tmp_path / "boxes.json")
        result = predict_files(pose, [photo, other, empty], tmp_path / "out", people=people)
        assert [p.box for p in result.pictures] == [RIGHT, LEFT]
        assert [f.reason for f in result.failures] == [f"{other}: {tmp_path / 'boxes.json'} has no boxes of it"]
        assert result.nobody == (empty,)
        assert result.as_dict()["nobody"] == [str(empty)]
        assert not (tmp_path / "out" / "empty_pose.png").exists()

    def test_nobody_anywhere_is_an_error(self, pose, photo, tmp_path):
        with pytest.raises(ValueError, match=r"photo\.png: nobody was found in it$"):
            predict_files(pose, [photo], tmp_path / "out", people=Detected(lambda image: [], "mine"))
        assert not (tmp_path / "out").exists()

    def test_many_persons_of_many_pictures_meet_their_own_answers(self, tmp_path):
        random = np.random.RandomState(3)
        pose = deeppose_port.load(random_checkpoint())
        pictures = {}
        for i, count in enumerate((0, 5, 40, 1, 0, 17)):
            image = random.randint(0, 256, (60, 80, 3)).astype(np.uint8)
            cv2.imwrite(str(tmp_path / f"{i}.png"), image)
            boxes = np.column_stack([random.uniform(0, 40, (count, 2)), random.uniform(15, 40, (count, 2))])
            pictures[image.tobytes()] = boxes
        people = Detected(lambda image: pictures[image.tobytes()], "mine")
        result = predict_files(pose, [tmp_path], tmp_path / "out", people=people)
        found = {}
        for p in result.pictures:
            found.setdefault(p.image.name, []).append(p)
        assert {name: [p.person for p in several] for name, several in found.items()} == {
            f"{i}.png": list(range(1, count + 1)) for i, count in ((1, 5), (2, 40), (3, 1), (5, 17))
        }
        for p in result.pictures[::9]:
            np.testing.assert_allclose(p.points, pose.predict(cv2.imread(str(p.image)), p.box), atol=1e-3)
        assert [path.name for path in result.nobody] == ["0.png", "4.png"]

    def test_a_crowd_is_done_person_by_person(self, pose, photo, tmp_path):
        other = tmp_path / "other.png"
        cv2.imwrite(str(other), np.zeros((50, 50, 3), np.uint8))
        done = []
        crowd = Given([(i % 50, i % 40, 30, 30) for i in range(50)])
        predict_files(pose, [photo, other], tmp_path / "out", people=crowd, progress=lambda *told: done.append(told))
        assert [count for count, _ in done] == sorted(count for count, _ in done)
        assert done[0] == (16, 51)
        assert done[-1] == (100, 100)
        assert len(done) >= 6

    def test_one_answer_alone_says_where_persons_are(self, pose, photo, tmp_path):
        with pytest.raises(ValueError, match="box and people both say where persons are"):
            predict_files(pose, [photo], tmp_path / "out", box=LEFT, people=Given([RIGHT]))


class TestVideos:
    def lines(self, path):
        return [json.loads(line) for line in path.read_text().splitlines()]

    def test_persons_keep_their_numbers(self, pose, film, tmp_path):
        result = predict_files(pose, [film], tmp_path / "out", people=Detected(squares, "squares"))
        (video,) = result.videos
        assert (video.frames, video.persons) == (10, 2)
        rows = self.lines(video.file)
        for start, step, last in ((0, 8, 10), (110, -4, 8)):
            own = [row for row in rows if abs(row["box"][1] - (10 if start == 0 else 60)) < 8]
            assert {row["person"] for row in own} == {own[0]["person"]}
            assert [row["frame"] for row in own] == list(range(last))
            assert [row["box"][0] for row in own] == pytest.approx([start + step * i for i in range(last)], abs=4)
        assert {row["person"] for row in rows} == {1, 2}

    def test_every_third_frame(self, pose, film, tmp_path):
        result = predict_files(pose, [film], tmp_path / "out", every=3)
        (video,) = result.videos
        assert (video.frames, video.announced) == (4, 4)
        assert [row["frame"] for row in self.lines(video.file)] == [0, 3, 6, 9]
        assert [row["time"] for row in self.lines(video.file)] == pytest.approx([0, 0.6, 1.2, 1.8])
        capture = cv2.VideoCapture(str(video.drawing))
        assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(5 / 3, rel=1e-3)
        assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 4
        with pytest.raises(ValueError, match="every 0 frames: it has to be 1 or more"):
            predict_files(pose, [film], tmp_path / "none", every=0)

    @pytest.mark.parametrize("make", [OneEuro, Kalman])
    def test_each_persons_joints_are_smoothed_by_their_own_filter(self, pose, film, tmp_path, make):
        people = Detected(squares, "squares")
        plain = predict_files(pose, [film], tmp_path / "plain", people=people).videos[0]
        smooth = predict_files(pose, [film], tmp_path / "smooth", people=people, smooth=make).videos[0]
        before, after = self.lines(plain.file), self.lines(smooth.file)
        assert [(row["frame"], row["person"], row["box"]) for row in before] == [
            (row["frame"], row["person"], row["box"]) for row in after
        ]
        filters = {1: make(), 2: make()}
        for row, smoothed in zip(before, after, strict=True):
            made = filters[row["person"]](np.array(row["points"]), row["time"], max(row["box"][2:]))
            np.testing.assert_allclose(smoothed["points"], made, atol=2e-3)

    def test_a_video_of_one_person_has_the_lines_it_had(self, pose, film, tmp_path):
        (video,) = predict_files(pose, [film], tmp_path / "out", box=LEFT, format="csv").videos
        rows = rows_of(video.file)
        assert len(rows) == 11
        assert len(rows[0]) == 2 + 14

    def test_wrong_boxes_are_said_once_with_their_frame(self, pose, film, tmp_path):
        people = Given([LEFT, (500, 0, 10, 10)])
        result = predict_files(pose, [film], tmp_path / "out", people=people)
        assert result.videos[0].frames == 10
        (failure,) = result.failures
        assert failure.reason.startswith(f"{film}, frame 0: person 2: nothing is left of the box")

    def test_a_detector_that_fails_in_some_frames_does_not_keep_the_others(self, pose, film, photo, tmp_path):
        def failing(image):
            if image.shape[0] == 120 and image[20, 100, 0] > 100:
                raise RuntimeError("out of memory")
            return [[0, 0, 40, 40]]

        result = predict_files(pose, [film, photo], tmp_path / "out", people=Detected(failing, "mine"))
        assert len(result.pictures) == 1
        (failure,) = result.failures
        assert failure.reason.startswith(f"{film}, frame 8: the detector mine failed: RuntimeError: out of memory")
        assert failure.reason.endswith("(and so it is with 1 more frame)")
        assert result.videos[0].frames == 10
        assert [row["frame"] for row in self.lines(result.videos[0].file)] == list(range(8))

    def test_a_detector_that_fails_in_every_frame_is_a_failure(self, pose, film, tmp_path):
        def failing(image):
            raise RuntimeError("out of memory")

        with pytest.raises(ValueError, match=r"frame 0: the detector mine failed.* with 9 more frames\)"):
            predict_files(pose, [film], tmp_path / "out", people=Detected(failing, "mine"))
        assert not (tmp_path / "out").exists()


class TestCommand:
    @pytest.fixture
    def run(self, checkpoint, tmp_path, capsys):
        converters.write(checkpoint, tmp_path / "some.pt")

        def command(*arguments):
            status = main(["predict", str(tmp_path / "some.pt"), *map(str, arguments), "-o", str(tmp_path / "out")])
            captured = capsys.readouterr()
            return status, captured.out, captured.err

        return command

    def test_boxes_may_be_said_several_times(self, run, photo, tmp_path):
        status, out, err = run(photo, "--box", "0,0,40,80", "--box", "50,10,40,60")
        assert status == 0
        assert f"{photo} -> {tmp_path / 'out' / 'photo_pose.png'}, 2 persons" in out
        assert "no box was given" not in err
        written = json.loads((tmp_path / "out" / "predictions.json").read_text())
        assert [entry["box"] for entry in written["pictures"]] == [list(LEFT), list(RIGHT)]

    def test_whole_pictures_are_said_to_be_so(self, run, photo):
        status, _, err = run(photo)
        assert status == 0
        assert "note: no box was given, so each picture is taken as one person; see --box, --boxes and --people" in err

    def test_a_file_of_boxes(self, run, photo, tmp_path):
        (tmp_path / "boxes.csv").write_text("photo.png,0,0,40,80,0.9\nphoto.png,50,10,40,60,0.2\n")
        assert "1 person" in run(photo, "--boxes", tmp_path / "boxes.csv")[1]
        assert "2 persons" in run(photo, "--boxes", tmp_path / "boxes.csv", "--min-score", "0.1", "--force")[1]

    def test_a_detector_and_smoothing(self, run, film, tmp_path):
        (tmp_path / "mine.py").write_text("def whole(image):\n    return [[0, 0, image.shape[1], image.shape[0]]]\n")
        given = ("--people", f"{tmp_path / 'mine.py'}:whole", "--smooth", "kalman", "--error-px", "5", "--every", "2")
        status, out, _ = run(film, *given)
        assert status == 0
        assert "5 frames" in out

    @pytest.mark.parametrize(
        ("arguments", "phrase"),
        [
            (("--box", "1,2,3,4", "--people", "hog"), "--box and --people both say where persons are"),
            (("--boxes", "a.json", "--people", "hog"), "--boxes and --people both say where persons are"),
            (("--people", "nobody"), "there is no detector 'nobody'"),
            (("--boxes", "gone.json"), "gone.json: there is no such file"),
            (("--smooth", "mean"), "there is no smoother 'mean'"),
            (("--error-px", "3"), "--error-px goes with --smooth kalman"),
            (("--smooth", "one-euro", "--error-px", "3"), "--error-px goes with --smooth kalman"),
            (("--every", "0"), "--every is for videos, cameras and streams"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, run, photo, tmp_path, arguments, phrase):
        status, _, err = run(photo, *arguments)
        assert status == 2
        assert phrase in err
        assert not (tmp_path / "out").exists()
