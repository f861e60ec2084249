"""COCO's keypoints, and the files of tools for labelling pictures."""

import json
import tracemalloc
from itertools import chain

import cv2
import numpy as np
import pytest

from deeppose_port.cli import main
from deeppose_port.data import PoseDataset, read_csv, skeletons
from deeppose_port.data.prepare import PrepareError, prepare
from deeppose_port.data.references import read_beside

COCO = skeletons.COCO
NAMES = [name.replace(" ", "_") for name in COCO.joints]


@pytest.fixture
def pictures(tmp_path):
    """Five pictures of noise, of 100 x 80 pixels."""
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(5):
        cv2.imwrite(str(folder / f"{i}.png"), np.random.RandomState(i).randint(0, 256, (80, 100, 3), np.uint8))
    return folder


@pytest.fixture
def own(tmp_path):
    """A skeleton of a user's own."""
    path = tmp_path / "own.json"
    joints = ["nose", "left paw", "right paw"]
    path.write_text(json.dumps({"joints": joints, "limbs": [["nose", "left paw"], ["nose", "right paw"]]}))
    return path


def counts(result):
    return {row.what: (row.count, row.why) for row in result.rows}


def keypoints(seed, joints=17):
    """Numbers as COCO has them: the first joint not labelled, the second not seen."""
    points = np.random.RandomState(seed).randint(5, 75, (joints, 2))
    flags = np.full((joints, 1), 2)
    flags[0], flags[1], points[0] = 0, 1, 0
    return np.hstack([points, flags]).ravel().tolist()


def person(number, image=0, **changes):
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "iscrowd": 0,
        "num_keypoints": 16,
        "bbox": [10, 20, 30.5, 40],
        "keypoints": keypoints(number),
        **changes,
    }


def coco(path, persons, images=5, names=NAMES, prefix=""):
    path.parent.mkdir(exist_ok=True)
    content = {
        "images": [{"id": i, "file_name": f"{prefix}{i}.png"} for i in range(images)],
        "annotations": persons,
        "categories": [{"id": 1, "name": "person", "keypoints": names, "skeleton": [[1, 2]]}],
    }
    path.write_text(json.dumps(content))
    return path


class TestCoco:
    def test_a_joint_at_the_ignore_label_is_told(self, pictures, tmp_path):
        at = keypoints(1)
        at[6:9] = [-1, 30, 2]
        source = coco(tmp_path / "person_keypoints_val2017.json", [person(1, keypoints=at), person(2)])
        result = prepare("coco", source, tmp_path / "out")
        assert counts(result)["joints annotated at -1"][0] == 1
        first, second = read_csv(tmp_path / "out" / "test_joints.csv", 17)
        assert not first.visible[2]
        assert second.visible[2]

    def test_numbers_flags_and_boxes_are_those_of_the_file(self, pictures, tmp_path):
        source = coco(tmp_path / "person_keypoints_val2017.json", [person(1), person(2), person(3, image=4)])
        result = prepare("coco", source, tmp_path / "out")
        assert result.persons == {"test": 3}
        found = read_csv(tmp_path / "out" / "test_joints.csv", 17)
        assert [one.file for one in found] == ["0.png", "0.png", "4.png"]
        for one, seed in zip(found, (1, 2, 3), strict=True):
            expected = np.reshape(keypoints(seed), (17, 3))
            assert (one.joints[0] == -1).all()
            assert not one.visible[0]
            np.testing.assert_array_equal(one.joints[1:], expected[1:, :2])
        beside = read_beside(tmp_path / "out" / "test_joints.csv")
        assert beside.skeleton == "coco"
        assert np.isnan(beside.is_visible[:, 0]).all()
        assert (beside.is_visible[:, 1] == 0).all()
        assert (beside.is_visible[:, 2:] == 1).all()
        np.testing.assert_array_equal(beside.centres, [[25.25, 40]] * 3)
        np.testing.assert_array_equal(beside.scales, [0.2] * 3)

    @pytest.mark.parametrize("prefix", ["", "val2017/"])
    def test_names_are_the_same_whatever_folder_one_works_in(self, tmp_path, monkeypatch, prefix):
        (tmp_path / "val2017").mkdir()
        cv2.imwrite(str(tmp_path / "val2017" / "0.png"), np.zeros((80, 100, 3), np.uint8))
        name = "person_keypoints_val2017.json"
        coco(tmp_path / "annotations" / name, [person(1)], 1, prefix=prefix)
        monkeypatch.chdir(tmp_path / "annotations")
        prepare("coco", name, tmp_path / "out")
        assert [one.file for one in read_csv(tmp_path / "out" / "test_joints.csv", 17)] == ["val2017/0.png"]

    def test_a_folder_has_both_splits_and_pictures_in_folders_of_their_names(self, tmp_path):
        for split in ("train2017", "val2017"):
            (tmp_path / split).mkdir()
            for i in range(2):
                cv2.imwrite(str(tmp_path / split / f"{i}.png"), np.zeros((80, 100, 3), np.uint8))
            coco(tmp_path / "annotations" / f"person_keypoints_{split}.json", [person(1), person(2, image=1)], 2)
        result = prepare("coco", tmp_path, tmp_path / "out")
        assert result.persons == {"train": 2, "test": 2}
        assert (result.images, counts(result)["pictures on both sides of the split"][0]) == (tmp_path, 0)
        assert read_csv(tmp_path / "out" / "train_joints.csv")[0].file == "train2017/0.png"

    def test_a_file_of_another_name_is_parted_by_pictures(self, pictures, tmp_path):
        persons = [person(10 * i + j, image=i) for i in range(5) for j in range(3)]
        for i in range(5, 20):
            cv2.imwrite(str(pictures / f"{i}.png"), np.zeros((80, 100, 3), np.uint8))
            persons += [person(10 * i, image=i), person(10 * i + 1, image=i)]
        result = prepare("coco", coco(tmp_path / "mine.json", persons, 20), tmp_path / "out")
        parts = {p.file for p in read_csv(tmp_path / "out" / "test_joints.csv")}
        assert len(parts) == 2
        assert counts(result)["pictures on both sides of the split"][0] == 0
        assert sum(result.persons.values()) == len(persons)

    def test_what_is_no_person_is_left_out_and_named(self, pictures, tmp_path):
        bad = {
            "`keypoints` that are not 17 times x, y and a flag": [
                {"keypoints": [1, 2]},
                {"keypoints": [float("nan")] * 51},
                {"keypoints": [10**400] * 51},
            ],
            "a flag of a keypoint that is none of 0, 1 and 2": [{"keypoints": [9] * 51}],
            "an `image_id` of no picture": [{"image_id": 99}, {"image_id": [1]}],
            "a `bbox` that is not x, y, width and height": [{"bbox": [1, 2, -3, 4]}, {"bbox": "all"}],
        }
        persons = [person(1), person(1), person(2, iscrowd=1), person(3, category_id=7), "nobody"]
        persons.append(person(4, num_keypoints=0, keypoints=[0] * 51, bbox=None))
        persons += [person(100 + i, **each) for i, each in enumerate(chain.from_iterable(bad.values()))]
        result = prepare("coco", coco(tmp_path / "val.json", persons), tmp_path / "out")
        assert result.persons == {"test": 1}
        told = counts(result)
        for reason, several in bad.items():
            assert told[f"left out: {reason}"][0] == len(several)
        assert "val.json, annotation 100; val.json, annotation 101" in told[f"left out: {next(iter(bad))}"][1]
        assert told["left out: crowds"][0] == 1
        assert told["left out: an `id` that an entry before has"] == (1, "val.json, annotation 1")
        assert told["left out: an entry that is no object"] == (1, "val.json, annotation nobody")
        assert told["left out: fewer than 1 joints"][0] == 1

    def test_joints_of_a_users_own_are_found_by_their_names(self, pictures, own, tmp_path):
        names = ["right_paw", "tail", "nose", "Left-Paw"]
        one = person(1, keypoints=[1, 2, 2, 3, 4, 2, 5, 6, 1, 7, 8, 0])
        two = person(2, keypoints=[11, 12, 2, 0, 0, 0, 15, 26, 2, 17, 18, 2])
        source = coco(tmp_path / "val.json", [one, two], names=names)
        prepare("coco", source, tmp_path / "out", skeleton=own, min_joints=3)
        (found,) = read_csv(tmp_path / "out" / "test_joints.csv", 3)
        assert found.joints.tolist() == [[15, 26], [17, 18], [11, 12]]
        assert read_beside(tmp_path / "out" / "test_joints.csv").skeleton == "own"
        with pytest.raises(PrepareError, match=r"nothing tells what its joints are.*--skeleton does.*left paw, nose"):
            prepare("coco", source, tmp_path / "other")
        with pytest.raises(PrepareError, match=r"has no keypoint left eye, right eye, .*, which coco has"):
            prepare("coco", source, tmp_path / "other", skeleton="coco")

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            ("{", "not JSON text"),
            ("[" * 100_000, "not JSON text"),
            ("[]", "it has no `images`, `annotations` and `categories`"),
            ('{"images": [], "annotations": [], "categories": [{"id": 1}]}', "none of its categories has `keypoints`"),
            ('{"images": [], "annotations": [], "categories": [{"keypoints": [1]}]}', "of a category are not names"),
        ],
    )
    def test_other_files_are_refused_by_name(self, content, problem, tmp_path):
        (tmp_path / "val.json").write_text(content)
        with pytest.raises(PrepareError, match=f"val.json: .*{problem}"):
            prepare("coco", tmp_path / "val.json", tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_a_folder_without_annotations_says_where_they_are(self, tmp_path):
        with pytest.raises(PrepareError, match=r"no person_keypoints_train\*\.json or .*cocodataset\.org"):
            prepare("coco", tmp_path, tmp_path / "out")
        for name in ("person_keypoints_train1.json", "person_keypoints_train2.json"):
            coco(tmp_path / name, [])
        with pytest.raises(PrepareError, match="several files would do"):
            prepare("coco", tmp_path, tmp_path / "out")


def shape(label, *point, group=None, kind="point", **more):
    return {"label": label, "points": [list(point)], "group_id": group, "shape_type": kind, "flags": {}, **more}


def labelme(path, shapes, picture):
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(json.dumps({"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": picture}))


def animal(x, group=None):
    return [
        shape("nose", x, 10, group=group),
        shape("Left_paw", x, 40, group=group),
        shape("right paw", x + 9, 41, group=group),
    ]


class TestLabelMe:
    def test_groups_are_persons_and_labels_joints(self, pictures, own, tmp_path):
        hidden = shape("left paw", 5, 6, group=2, flags={"occluded": True})
        box = {"label": "animal", "points": [[0, 0], [9, 9]], "group_id": 1, "shape_type": "rectangle"}
        labelme(pictures / "0.json", [*animal(20, 1), shape("nose", 1, 2, group=2), hidden, box], "0.png")
        labelme(tmp_path / "images" / "deep" / "1.json", animal(30), "..\\1.png")
        result = prepare("labelme", pictures, tmp_path / "out", skeleton=own)
        found = read_csv(tmp_path / "out" / "train_joints.csv", 3)
        assert [(one.file, one.joints.tolist()) for one in found] == [
            ("0.png", [[20, 10], [20, 40], [29, 41]]),
            ("0.png", [[1, 2], [5, 6], [-1, -1]]),
            ("1.png", [[30, 10], [30, 40], [39, 41]]),
        ]
        seen = read_beside(tmp_path / "out" / "train_joints.csv").is_visible
        assert seen[1, 1] == 0
        assert np.isnan(seen).sum() == 8
        assert counts(result)["LabelMe's files"][0] == 2
        assert any("too few persons to test" in note for note in result.notes)

    def test_folders_are_the_split(self, pictures, own, tmp_path):
        for i, split in enumerate(("train", "train", "val")):
            labelme(tmp_path / "labels" / split / f"{i}.json", animal(20 + i), f"../../pictures/{i}.png")
        result = prepare("labelme", tmp_path / "labels", tmp_path / "out", images=pictures, skeleton=own)
        assert result.persons == {"train": 2, "test": 1}

    def test_what_is_wrong_is_left_out_and_named(self, pictures, own, tmp_path):
        labelme(pictures / "0.json", animal(20), "0.png")
        labelme(pictures / "1.json", [*animal(20), *animal(50)], "1.png")
        labelme(pictures / "2.json", [shape("nose", 1, 2), shape("whisker", 3, 4), shape("left paw", 5, 9)], "2.png")
        labelme(pictures / "3.json", animal(20), "gone.png")
        labelme(pictures / "4.json", [shape("nose", None, 2)], "4.png")
        (pictures / "5.json").write_text("{")
        (pictures / "6.json").write_text("[1]")
        labelme(pictures / "7.json", [{"points": []}], "4.png")
        result = prepare("labelme", pictures, tmp_path / "out", skeleton=own)
        assert result.persons == {"train": 2}
        told = counts(result)
        assert told["left out: a joint twice (several persons need group ids)"] == (1, "1.json: nose")
        assert told["left out: a label that is no joint"] == (1, "2.json: whisker")
        assert told["left out: a file that is none of LabelMe's"][0] == 4
        assert "4.json: the point 'nose' is not two numbers" in told["left out: a file that is none of LabelMe's"][1]
        assert "gone.png" in next(why for what, (_, why) in told.items() if what.startswith("left out: there is no"))

    def test_labels_that_are_those_of_a_known_skeleton_tell_it(self, pictures, own, tmp_path):
        labelme(
            pictures / "0.json", [shape(f"  {name.upper()}", 10 + i, 2 * i) for i, name in enumerate(NAMES)], "0.png"
        )
        prepare("labelme", pictures, tmp_path / "out")
        assert read_beside(tmp_path / "out" / "train_joints.csv").skeleton == "coco"
        labelme(pictures / "1.json", animal(3), "1.png")
        with pytest.raises(PrepareError, match="nothing tells what its joints are"):
            prepare("labelme", pictures, tmp_path / "other")
        labelme(tmp_path / "labels" / "1.json", [shape("eye", 1, 2)], "1.png")
        with pytest.raises(PrepareError, match="none of its labels is a joint of own"):
            prepare("labelme", tmp_path / "labels", tmp_path / "other", skeleton=own)

    def test_a_folder_without_a_file_is_refused(self, pictures, tmp_path):
        with pytest.raises(PrepareError, match="no file of LabelMe's in it"):
            prepare("labelme", pictures, tmp_path / "out")
        with pytest.raises(PrepareError, match="there is no such folder"):
            prepare("labelme", tmp_path / "gone", tmp_path / "out")


EXPORT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version>
<image id="0" name="0.png" width="100" height="80">
 <skeleton label="animal"><points label="nose" occluded="0" outside="0" points="1.5,2.25"/>
  <points label="left paw" occluded="1" outside="0" points="30.00,40.00"/>
  <points label="right_paw" occluded="0" outside="1" points="0.00,0.00"/></skeleton>
 <skeleton label="animal"><points label="nose" occluded="0" points="50,60"/>
  <points label="left paw" points="10,20"/></skeleton>
 <box label="animal" xtl="1" ytl="2" xbr="3" ybr="4"/>
</image>
<image id="1" name="1.png" width="100" height="80">
 <points label="animal" occluded="0" points="1,2;3,4;50,60"/>
 <points label="nose" group_id="5" points="7,8"/><points label="right paw" group_id="5" points="9,18"/>
</image>
</annotations>
"""


class TestCvat:
    def test_skeletons_lists_of_points_and_groups_are_persons(self, pictures, own, tmp_path):
        (tmp_path / "annotations.xml").write_text(EXPORT)
        prepare("cvat", tmp_path, tmp_path / "out", skeleton=own)
        found = read_csv(tmp_path / "out" / "train_joints.csv", 3)
        assert [(one.file, one.joints.tolist()) for one in found] == [
            ("0.png", [[1.5, 2.25], [30, 40], [-1, -1]]),
            ("0.png", [[50, 60], [10, 20], [-1, -1]]),
            ("1.png", [[7, 8], [-1, -1], [9, 18]]),
            ("1.png", [[1, 2], [3, 4], [50, 60]]),
        ]
        seen = read_beside(tmp_path / "out" / "train_joints.csv").is_visible
        np.testing.assert_array_equal(seen[0], [1, 0, np.nan])

    def test_what_is_wrong_is_left_out_and_named(self, pictures, own, tmp_path):
        more = '<points label="animal" points="1,2;3,4"/><points label="nose" points="1,nan"/><points label="nose"/>'
        (tmp_path / "annotations.xml").write_text(EXPORT.replace("</image>", f"{more}</image>", 1))
        told = counts(prepare("cvat", tmp_path, tmp_path / "out", skeleton=own))
        assert told["left out: points that are no person"] == (1, "0.png: animal, 2 points where 3 are joints")
        assert told["left out: a place that is no number"][0] == 2

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            ('<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "lol">]><annotations/>', "a document type, which CVAT's"),
            ('<!DOCTYPE annotations SYSTEM "file:///etc/passwd"><annotations/>', "a document type"),
            ("<annotations><track/></annotations>", "an export for videos, with tracks; export the task as"),
            ("<annotations><image></annotations>", "an `image` has no name"),
            ("<annotations><image name='a'></annotations>", "not XML text"),
            ("<annotations/>", "no `image` in it"),
            ("<?xml version='1.0' encoding='no-such'?><a/>", "not XML text"),
            ("PK\x03\x04", "not XML text"),
        ],
    )
    def test_other_files_are_refused_by_name(self, content, problem, tmp_path):
        (tmp_path / "annotations.xml").write_text(content)
        with pytest.raises(PrepareError, match=f"annotations.xml: .*{problem}"):
            prepare("cvat", tmp_path, tmp_path / "out")

    def test_entities_that_expand_without_end_take_no_memory(self, tmp_path):
        entities = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 12))
        bomb = f'<!DOCTYPE a [<!ENTITY l0 "lol">{entities}]><annotations><image name="&l11;"/></annotations>'
        (tmp_path / "annotations.xml").write_text(bomb)
        tracemalloc.start()
        with pytest.raises(PrepareError, match="nothing was read"):
            prepare("cvat", tmp_path, tmp_path / "out")
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
        tracemalloc.stop()

    def test_a_folder_without_an_export_says_which(self, tmp_path):
        with pytest.raises(PrepareError, match=r"no annotations\.xml in it: export the task as `CVAT for images 1\.1`"):
            prepare("cvat", tmp_path, tmp_path / "out")


def test_a_skeleton_is_for_labels_of_a_users_own(tmp_path):
    with pytest.raises(PrepareError, match="lsp has joints of its own; --skeleton is for coco, cvat, labelme"):
        prepare("lsp", tmp_path, tmp_path / "out", skeleton="lsp")


def test_what_is_prepared_is_a_dataset_by_the_same_skeleton(pictures, own, tmp_path):
    for i in range(5):
        labelme(pictures / f"{i}.json", animal(20 + 5 * i), f"{i}.png")
    assert main(["prepare", "labelme", str(pictures), str(tmp_path / "out"), "--skeleton", str(own)]) == 0
    dataset = PoseDataset(tmp_path / "out" / "train_joints.csv", images=pictures, skeleton=own)
    assert len(dataset) == 5
    assert dataset[0][0].shape == (3, 220, 220)


@pytest.mark.slow
def test_what_is_prepared_trains_and_is_evaluated(pictures, own, tmp_path):
    pytest.importorskip("torch")
    for i in range(5):
        labelme(pictures / ("val" if i > 3 else "train") / f"{i}.json", animal(20 + 5 * i), f"../{i}.png")
    out = tmp_path / "out"
    assert main(["prepare", "labelme", str(pictures), str(out), "--skeleton", str(own)]) == 0
    persons = ["--images", str(pictures), "--skeleton", str(own)]
    csvs = ["--train-csv", str(out / "train_joints.csv"), "--test-csv", str(out / "test_joints.csv")]
    network = ["--architecture", "resfpn-softargmax", "--width", "0.25", "--im-size", "48", "--epochs", "1"]
    results = ["--backend", "torch", "--snapshot", "1", "-o", str(tmp_path / "results")]
    assert main(["train", *csvs, *persons, *network, *results]) == 0
    assert (
        main(["eval", str(tmp_path / "results" / "epoch-1.pt"), "--csv", str(out / "test_joints.csv"), *persons]) == 0
    )
