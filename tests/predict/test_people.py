"""Who is in a picture: boxes of the user's, of files, of detectors."""

import json
import math
import os
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest

from deeppose_port.predict import Found, Given, People, detector, read_boxes
from deeppose_port.predict.people import Detected

IMAGE = np.zeros((200, 400, 3), np.uint8)


def boxes_of(people, name):
    return [person.box for person in people.of(Path(name), IMAGE)]


class TestGiven:
    def test_the_whole_picture_is_one_person(self):
        assert People().of(Path("a.png"), IMAGE) == (Found(None),)
        assert not People().numbered

    def test_one_box_is_not_numbered_and_several_are(self):
        one, two = Given([(1, 2, 3, 4)]), Given([(1, 2, 3, 4), (5, 6, 7, 8)])
        assert boxes_of(two, "a.png") == [(1, 2, 3, 4), (5, 6, 7, 8)]
        assert (one.numbered, two.numbered) == (False, True)


class TestCoco:
    ANNOTATIONS: ClassVar = {
        "images": [{"id": 7, "file_name": "val/a.jpg"}, {"id": 9, "file_name": "val\\b.jpg"}],
        "categories": [{"id": 3, "name": "person"}, {"id": 1, "name": "dog"}],
        "annotations": [
            {"image_id": 7, "category_id": 3, "bbox": [1, 2, 30, 40]},
            {"image_id": 7, "category_id": 1, "bbox": [0, 0, 9, 9]},
            {"image_id": 7, "category_id": 3, "bbox": [5, 6, 7, 8], "iscrowd": 1},
            {"image_id": 7, "category_id": 3, "bbox": [50.5, 2, 30, 40]},
        ],
    }

    @pytest.fixture
    def read(self, tmp_path):
        def read(content, **options):
            (tmp_path / "boxes.json").write_text(content if isinstance(content, str) else json.dumps(content))
            return read_boxes(tmp_path / "boxes.json", **options)

        return read

    @pytest.mark.parametrize("name", ["val/a.jpg", "/data/coco/val/a.jpg", "other/a.jpg", "a.jpg"])
    def test_annotations_name_their_pictures_and_persons(self, read, name):
        people = read(self.ANNOTATIONS)
        assert people.numbered
        assert boxes_of(people, name) == [(1, 2, 30, 40), (50.5, 2, 30, 40)]
        assert boxes_of(people, "x/b.jpg") == []

    @pytest.mark.parametrize("image", [139, "139", "000000000139.jpg", "a/000000000139.jpg"])
    def test_detections_are_those_of_the_number_in_the_name(self, read, image):
        people = read(
            [
                {"image_id": image, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.9},
                {"image_id": image, "category_id": 1, "bbox": [2, 2, 3, 4], "score": 0.4},
                {"image_id": image, "category_id": 2, "bbox": [3, 2, 3, 4], "score": 0.9},
                {"image_id": image, "bbox": [4, 2, 3, 4]},
            ]
        )
        found = people.of(Path("some/000000000139.jpg"), IMAGE)
        assert found == [Found((1, 2, 3, 4), 0.9), Found((4, 2, 3, 4))]

    def test_the_least_score_can_be_moved(self, read):
        content = [{"image_id": 1, "bbox": [i, 2, 3, 4], "score": i / 10} for i in range(10)]
        assert [box[0] for box in boxes_of(read(content, min_score=0.7), "1.png")] == [7, 8, 9]

    def test_pictures_that_it_does_not_name_are_told(self, read):
        with pytest.raises(ValueError, match=r"boxes\.json has no boxes of it"):
            boxes_of(read(self.ANNOTATIONS), "c.jpg")

    def test_pictures_of_one_name_in_two_folders_are_not_guessed(self, read):
        content = [{"image_id": f"{folder}/a.jpg", "bbox": [1, 2, 3, 4]} for folder in "xy"]
        assert boxes_of(read(content), "any/x/a.jpg") == [(1, 2, 3, 4)]
        with pytest.raises(ValueError, match=r"boxes\.json has several pictures that are called a\.jpg"):
            boxes_of(read(content), "z/a.jpg")

    @pytest.mark.parametrize(
        ("content", "phrase"),
        [
            ("", "not JSON text"),
            ("[" * 100_000, "not JSON text"),
            ("3", "no list of boxes"),
            ("{}", "no list of boxes"),
            ("[3]", "entry 1 of `annotations` is no object"),
            ([{"image_id": 1}], "box 1: None is not a box of four numbers"),
            ([{"image_id": 1, "bbox": [1, 2, 3]}], "box 1: .* is not a box of four numbers"),
            ([{"image_id": 1, "bbox": [1, 2, 3, "x"]}], "box 1: .* is not a box of four numbers"),
            ([{"image_id": 1, "bbox": [1, 2, 3, True]}], "box 1: .* is not a box of four numbers"),
            ([{"image_id": 1, "bbox": [1, 2, 3, 4], "score": "high"}], "box 1: 'high' is not a score"),
            ([{"image_id": [1], "bbox": [1, 2, 3, 4]}], r"box 1: image_id \[1\] is none of its images"),
            ({"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 2}]}, "image_id 2 is none of its"),
            ({"images": [{"id": 1}], "annotations": []}, "has no `id` or no `file_name`"),
        ],
    )
    def test_what_is_no_list_of_boxes_is_refused(self, read, content, phrase):
        with pytest.raises(ValueError, match=rf"boxes\.json: .*{phrase}"):
            read(content)


class TestYolo:
    def test_texts_beside_the_pictures_are_fractions(self, tmp_path):
        (tmp_path / "a.txt").write_text(
            "0 0.5 0.5 0.25 0.5\n\n16 0.1 0.1 0.1 0.1\n0 0.25 0.5 0.5 1 0.9\n0 .5 .5 1 1 0.1\n"
        )
        (tmp_path / "empty.txt").write_text("")
        people = read_boxes(tmp_path)
        assert boxes_of(people, "pictures/a.png") == [(150, 50, 100, 100), (0, 0, 200, 200)]
        assert boxes_of(people, "empty.jpg") == []
        assert boxes_of(read_boxes(tmp_path / "a.txt"), "a.jpg") == boxes_of(people, "a.jpg")
        with pytest.raises(ValueError, match="has no boxes of it"):
            boxes_of(people, "b.png")

    @pytest.mark.parametrize(
        ("line", "phrase"),
        [
            ("0 1 2 3", "line 1: 4 fields, not class x y"),
            ("0 1 2 3 x", "line 1: .* is not a box of four numbers"),
            ("person 1 2 3 4", "line 1: the class 'person' is no number; a person's is 0"),
        ],
    )
    def test_what_is_none_is_refused(self, tmp_path, line, phrase):
        (tmp_path / "a.txt").write_text(line)
        with pytest.raises(ValueError, match=rf"a\.txt: {phrase}"):
            read_boxes(tmp_path)

    def test_names_of_classes_beside_the_texts_are_passed_over(self, tmp_path):
        (tmp_path / "a.txt").write_text("0.0 0.5 0.5 0.5 1\n1 0.5 0.5 1 1\n")
        (tmp_path / "classes.txt").write_text("person\ndog\n")
        assert boxes_of(read_boxes(tmp_path), "a.jpg") == [
            (0.25 * IMAGE.shape[1], 0, 0.5 * IMAGE.shape[1], IMAGE.shape[0])
        ]

    def test_a_folder_without_texts_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match=r"there is no \.txt in this folder"):
            read_boxes(tmp_path)


class TestCsv:
    @pytest.mark.parametrize("heading", ["", "file,x,y,width,height,score\n", "\ufeff"])
    def test_a_line_is_a_box(self, tmp_path, heading):
        text = heading + 'a.png, 1,2,3,4\n\n"b, c.png",5,6,7,8,0.9\nb\\d.png,5,6,7,8,0.2\na.png,2,2,3,4,0.7\n'
        (tmp_path / "boxes.csv").write_text(text, encoding="utf-8")
        people = read_boxes(tmp_path / "boxes.csv")
        assert boxes_of(people, "a.png") == [(1, 2, 3, 4), (2, 2, 3, 4)]
        assert people.of(Path("b, c.png"), IMAGE) == [Found((5, 6, 7, 8), 0.9)]
        assert boxes_of(people, "b/d.png") == []

    @pytest.mark.parametrize(
        ("text", "phrase"),
        [
            ("", "no box in it"),
            ("a.png,1,2,3\n", "line 1: 4 fields"),
            ("a.png,1,2,3,4,nan\n", "line 1: 'nan' is not a score"),
            ("a.png,1,2,3,x\n", r"line 1: \['1', '2', '3', 'x'\] is not a box"),
            ("a.png,1,2,3,4\nb.png,1,,3,4\n", "line 2: .* is not a box"),
            ('a.png,1,2,3,4\n"b.png,1,2,3,4\n', "line 2: unexpected end of data"),
        ],
    )
    def test_what_is_none_is_refused(self, tmp_path, text, phrase):
        (tmp_path / "boxes.csv").write_text(text)
        with pytest.raises(ValueError, match=rf"boxes\.csv: .*{phrase}"):
            read_boxes(tmp_path / "boxes.csv")


class TestFiles:
    def test_what_is_no_file_of_boxes_is_refused(self, tmp_path):
        (tmp_path / "boxes.xml").write_text("<a/>")
        os.mkfifo(tmp_path / "pipe.json")
        (tmp_path / "latin.csv").write_bytes(b"\xe9.png,1,2,3,4")
        for name, phrase in {
            "boxes.xml": r"COCO's \.json, YOLO's \.txt or a \.csv",
            "pipe.json": "this is a device or a pipe",
            "gone.json": "there is no such file",
            "latin.csv": "not UTF-8 text",
        }.items():
            with pytest.raises(ValueError, match=rf"{name}: .*{phrase}"):
                read_boxes(tmp_path / name)


class TestDetectors:
    def test_a_users_function_is_taken_from_a_module_or_a_file(self, tmp_path, monkeypatch):
        answer = "[0, 0, w / 2, h, 0.6], [w / 2, 0, w / 2, h, 0.9]"
        lines = ("def halves(image):", "    h, w = image.shape[:2]", f"    return {answer}")
        (tmp_path / "my_detectors.py").write_text("\n".join(lines))
        monkeypatch.syspath_prepend(str(tmp_path))
        for name in ("my_detectors:halves", f"{tmp_path}/my_detectors.py:halves"):
            found = detector(name).of(Path("a.png"), IMAGE)
            assert found == [Found((200, 0, 200, 200), 0.9), Found((0, 0, 200, 200), 0.6)]
            assert len(detector(name, 0.7).of(Path("a.png"), IMAGE)) == 1

    @pytest.mark.parametrize("answer", [[], np.zeros((0, 4)), np.zeros((0, 5), np.float32), ()])
    def test_it_may_find_nobody(self, answer):
        assert Detected(lambda image: answer, "mine").of(Path("a.png"), IMAGE) == ()

    @pytest.mark.parametrize(
        ("answer", "told"),
        [
            (None, r"an array of \(\)"),
            ([1, 2, 3, 4], r"an array of \(4,\)"),
            (np.zeros((2, 6)), r"an array of \(2, 6\)"),
            ("boxes", "a str"),
            ([[1, 2], [3]], "a list"),
            ({"boxes": []}, "a dict"),
        ],
    )
    def test_other_answers_are_told(self, answer, told):
        with pytest.raises(ValueError, match=rf"the detector mine answered {told}, not \(N, 4\) or \(N, 5\) boxes"):
            Detected(lambda image: answer, "mine").of(Path("a.png"), IMAGE)

    @pytest.mark.parametrize("score", [math.nan, math.inf])
    def test_a_score_that_is_no_number_is_told(self, score):
        with pytest.raises(ValueError, match="the detector mine answered a score that is no number"):
            Detected(lambda image: [[0, 0, 9, 9, score]], "mine").of(Path("a.png"), IMAGE)

    def test_its_own_errors_are_told(self):
        def broken(image):
            raise RuntimeError("no weights\nat all")

        with pytest.raises(ValueError, match=r"^the detector mine failed: RuntimeError: no weights$"):
            Detected(broken, "mine").of(Path("a.png"), IMAGE)

    @pytest.mark.parametrize(
        ("name", "phrase"),
        [
            ("yolo", "there is no detector 'yolo'; there are hog, fcos, fasterrcnn, keypointrcnn, an ONNX file"),
            (":f", "there is no detector ':f'"),
            ("no_such_module:f", "cannot be loaded: No module named 'no_such_module'"),
            ("json:no_such_function", "cannot be loaded"),
            ("json:__name__", "is no function"),
            ("gone.py:f", r"gone\.py: there is no such file"),
        ],
    )
    def test_what_is_no_detector_is_refused(self, name, phrase):
        with pytest.raises(ValueError, match=phrase):
            detector(name)

    def test_hog_finds_who_stands(self):
        def figure(image, x, y, height):
            part = height / 8

            def at(*places):
                return np.array([[x + part * dx, y + part * dy] for dx, dy in places]).round().astype(np.int32)

            right = [(0.95, 1.4), (0.75, 2.6), (0.7, 4.2), (0.75, 6), (0.55, 8), (0.1, 8)]
            left = [(-dx, dy) for dx, dy in reversed(right)]
            cv2.fillPoly(image, [at(*right, (0, 4.8), *left)], (40, 40, 40), cv2.LINE_AA)
            cv2.circle(image, at((0, 0.55))[0].tolist(), round(0.5 * part), (40, 40, 40), -1, cv2.LINE_AA)
            for k in (-1, 1):
                arm = at((0.85 * k, 1.6), (1.1 * k, 3.2), (k, 4.4))
                cv2.polylines(image, [arm], False, (40, 40, 40), round(0.4 * part), cv2.LINE_AA)

        image = np.full((400, 600, 3), 200, np.uint8)
        figure(image, 150, 80, 240)
        figure(image, 430, 100, 200)
        found = detector("hog").of(Path("a.png"), cv2.GaussianBlur(image, (0, 0), 1.5))
        assert len(found) == 2
        for x, y, height in ((150, 80, 240), (430, 100, 200)):
            (box,) = (f.box for f in found if f.box[0] < x < f.box[0] + f.box[2])
            assert box[1] < y + 0.1 * height
            assert box[1] + box[3] > y + 0.9 * height
