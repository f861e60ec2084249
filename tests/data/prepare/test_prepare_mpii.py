import json

import numpy as np
import pytest
from scipy.io import savemat

from deeppose_port.data import read_csv
from deeppose_port.data.prepare import PrepareError, matlab, mpii, prepare
from deeppose_port.data.prepare.source import Wanted
from deeppose_port.data.references import read_beside
from tests.helpers.matfiles import EMPTY, picture, point, read_here, rectangle, structs, write_mpii, write_pictures


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch):
    monkeypatch.setattr(matlab, "read", read_here)


def whole(seed, **fields):
    """The 16 points of a person, at random."""
    x, y = np.random.RandomState(seed).uniform(1, 79, (2, 16)).round(4).tolist()
    return [point(joint, x[joint], y[joint], **fields) for joint in range(16)]


def joints_of(points):
    return [[p["x"], p["y"]] for p in sorted(points, key=lambda p: p["id"])]


@pytest.fixture
def mat(tmp_path):
    """Writes MPII's file of some pictures, and reads it."""

    def build(*pictures, trains=None, **options):
        return mpii.read(write_mpii(tmp_path / "mpii_human_pose_v1_u12_1.mat", pictures, trains), Wanted(**options))

    return build


@pytest.fixture
def annotations(tmp_path):
    """Writes a JSON file of persons."""

    def write(name, *persons):
        path = tmp_path / name
        path.write_text(json.dumps(persons))
        return path

    return write


def person(image="a.jpg", joints=None, vis=None):
    joints = np.arange(32.0).reshape(16, 2).tolist() if joints is None else joints
    return {"joints_vis": vis or [1] * 16, "joints": joints, "image": image, "scale": 1.5, "center": [50.0, 40.0]}


def everyone(source):
    return source.splits["train"] + source.splits["test"]


def counts(source):
    return {row.what: row.count for row in source.rows}


class TestLegacyFiles:
    def test_split_order_and_numbers_are_the_legacy_programs(self, tmp_path):
        people = [whole(seed, is_visible=1) for seed in range(30)]
        pictures = [picture(f"{i:09}.jpg", rectangle(people[i]), rectangle(people[i + 1])) for i in range(0, 30, 2)]
        write_mpii(tmp_path / "mpii_human_pose_v1_u12_1.mat", pictures)
        prepare("mpii", tmp_path, tmp_path / "out")

        np.random.seed(1701)
        order = np.random.permutation(30)
        lines = [
            ",".join([f"{i - i % 2:09}.jpg", *(str(float(v)) for xy in joints_of(people[i]) for v in xy)])
            for i in range(30)
        ]
        written = {name: (tmp_path / "out" / f"{name}_joints.csv").read_text() for name in ("train", "test")}
        assert written["test"] == "".join(lines[i] + "\n" for i in order[:3])
        assert written["train"] == "".join(lines[i] + "\n" for i in order[3:])

    def test_data_json_has_a_person_a_line_in_the_order_of_the_pictures(self, mat):
        first, second = whole(1, is_visible=1), whole(2, is_visible="0")
        first[3]["is_visible"] = EMPTY
        source = mat(picture("a.jpg", rectangle(first, (1, 2, 3, 4))), picture("b.jpg", rectangle(second)))
        lines = [json.loads(line) for line in source.files["data.json"].decode().splitlines()]
        assert [list(line) for line in lines] == [["filename", "train", "head_rect", "is_visible", "joint_pos"]] * 2
        assert (lines[0]["filename"], lines[0]["train"], lines[0]["head_rect"]) == ("a.jpg", 1, [1, 2, 3, 4])
        assert lines[0]["joint_pos"] == {str(i): xy for i, xy in enumerate(joints_of(first))}
        assert lines[0]["is_visible"] == {str(i): int(i != 3) for i in range(16)}
        assert lines[1]["is_visible"] == {str(i): 0 for i in range(16)}

    def test_whole_numbers_of_any_type_are_written_as_floats(self, mat):
        points = whole(0)
        points[0].update(x=np.uint16(804), y=np.int32(711))
        (only,) = everyone(mat(picture("a.jpg", rectangle(points))))
        assert only.joints[0].tolist() == [804.0, 711.0]
        assert b'"0": [804.0, 711.0]' in mat(picture("a.jpg", rectangle(points))).files["data.json"]

    def test_joints_are_in_the_order_of_their_ids(self, mat):
        points = whole(0)
        (only,) = everyone(mat(picture("a.jpg", rectangle(points[::-1]))))
        assert only.joints.tolist() == joints_of(points)


class TestIrregularities:
    @pytest.mark.parametrize(
        ("written", "read"),
        [
            pytest.param({}, None, id="missing"),
            pytest.param({"is_visible": ""}, None, id="empty characters"),
            pytest.param({"is_visible": EMPTY}, None, id="empty array"),
            pytest.param({"is_visible": "1"}, 1, id="character 1"),
            pytest.param({"is_visible": "0"}, 0, id="character 0"),
            pytest.param({"is_visible": 1}, 1, id="number 1"),
            pytest.param({"is_visible": np.uint8(0)}, 0, id="small number 0"),
            pytest.param({"is_visible": True}, 1, id="logical"),
            pytest.param({"is_visible": np.nan}, None, id="nan"),
        ],
    )
    def test_visibility_is_read_however_it_is_written(self, mat, written, read):
        (only,) = everyone(mat(picture("a.jpg", rectangle(whole(0, **written)))))
        assert only.is_visible == (read,) * 16

    def test_visibility_may_differ_in_kind_from_point_to_point(self, mat):
        points = whole(0, is_visible="1")
        for joint, value in enumerate([1, "0", "", EMPTY, 0.0]):
            points[joint]["is_visible"] = value
        (only,) = everyone(mat(picture("a.jpg", rectangle(points))))
        assert only.is_visible == (1, 0, None, None, 0) + (1,) * 11

    def test_picture_without_persons_is_counted_and_left_out(self, mat):
        source = mat(picture("a.jpg"), picture("b.jpg", rectangle(whole(0))))
        assert [p.file for p in everyone(source)] == ["b.jpg"]
        assert counts(source)["pictures without a person"] == 1

    def test_one_point_instead_of_an_array_is_a_person_of_one_joint(self, mat):
        one = rectangle([point(5, 30, 40)])
        source = mat(picture("a.jpg", one), picture("b.jpg", rectangle(whole(0))))
        assert counts(source)["left out: fewer than 16 joints"] == 1
        few = mat(picture("a.jpg", one), picture("b.jpg", rectangle(whole(0))), min_joints=1)
        (single,) = (p for p in everyone(few) if p.file == "a.jpg")
        assert np.isfinite(single.joints).all(axis=1).nonzero()[0].tolist() == [5]
        assert single.joints[5].tolist() == [30, 40]

    def test_persons_with_fewer_joints_are_left_out_and_counted(self, mat):
        source = mat(picture("a.jpg", rectangle(whole(0)[:15]), rectangle(whole(1)), rectangle(whole(2)[3:])))
        assert len(everyone(source)) == 1
        assert counts(source)["left out: fewer than 16 joints"] == 2
        assert counts(source)["persons in annorect"] == 3

    @pytest.mark.parametrize("points", [EMPTY, "", structs({"point": EMPTY})], ids=["array", "characters", "no point"])
    def test_person_without_points_is_left_out(self, mat, points):
        source = mat(picture("a.jpg", rectangle(points)), picture("b.jpg", rectangle(whole(0))))
        assert len(everyone(source)) == 1
        assert counts(source)["left out: no joints"] == 1

    def test_annorect_without_annopoints_is_left_out(self, mat):
        bare = structs({"scale": 1.0, "objpos": structs({"x": 5, "y": 6})})
        test = {"image": structs({"name": "t.jpg"}), "annorect": bare}
        source = mat(test, picture("b.jpg", rectangle(whole(0))), trains=[0, 1])
        assert [p.file for p in everyone(source)] == ["b.jpg"]
        assert counts(source)["left out: joints not published"] == 1

    def test_persons_of_one_picture_keep_their_own_boxes(self, mat):
        two = [rectangle(whole(1), (0, 0, 30, 40)), rectangle(whole(2), (5, 5, 11, 13))]
        source = mat(picture("a.jpg", *two))
        boxes = {tuple(p.joints[0]): p.head_box for p in everyone(source)}
        assert boxes == {
            tuple(joints_of(whole(1))[0]): (0, 0, 30, 40),
            tuple(joints_of(whole(2))[0]): (5, 5, 11, 13),
        }

    def test_missing_head_box_leaves_the_person_without_one(self, mat):
        broken = rectangle(whole(0))
        broken["x2"] = EMPTY
        source = mat(picture("a.jpg", broken))
        assert everyone(source)[0].head_box is None
        assert counts(source)["without a head box"] == 1
        assert json.loads(source.files["data.json"])["head_rect"] is None

    def test_lists_of_structs_may_be_cells(self, tmp_path):
        # What savemat makes of lists of dictionaries.
        entry = {"image": {"name": "a.jpg"}, "annorect": [rectangle(whole(0)), rectangle(whole(1))]}
        path = tmp_path / "mpii_human_pose_v1_u12_1.mat"
        savemat(path, {"RELEASE": {"annolist": [entry, entry], "img_train": [1, 1]}})
        assert len(everyone(mpii.read(path, Wanted()))) == 4

    def test_joint_that_comes_twice_counts_once(self, mat):
        points = [*whole(0)[:15], point(14, 7, 8)]
        assert (
            counts(mat(picture("a.jpg", rectangle(points)), picture("b.jpg", rectangle(whole(1)))))[
                "left out: fewer than 16 joints"
            ]
            == 1
        )


class TestSideFile:
    def test_head_sizes_follow_their_persons_through_the_split(self, tmp_path):
        # Person i is at (i + 1, …) with a head box of 3 (i + 1) x 4 (i + 1), so that PCKh's length is 3 (i + 1).
        pictures = []
        for i in range(20):
            points = [point(joint, i + 1.0, joint + 1.0, is_visible=joint % 2) for joint in range(16)]
            points[0]["x"] += 20
            pictures.append(picture(f"{i}.jpg", rectangle(points, (0, 0, 3 * (i + 1), 4 * (i + 1)))))
        write_mpii(tmp_path / "mpii_human_pose_v1_u12_1.mat", pictures)
        prepare("mpii", tmp_path, tmp_path / "out")
        for name, count in (("train", 18), ("test", 2)):
            csv = tmp_path / "out" / f"{name}_joints.csv"
            references = read_beside(csv)
            places = np.array([p.joints[1, 0] for p in read_csv(csv)])
            assert len(places) == count
            assert references.head_sizes == pytest.approx(3 * places)
            assert references.head_boxes[:, 3].tolist() == (4 * places).tolist()
            assert references.head_sizes_from == "head boxes"
            assert references.is_visible.tolist() == [[0.0, 1.0] * 8] * count


class TestJson:
    def test_golden_json_gives_the_golden_csv(self, shared_golden, tmp_path):
        images = shared_golden / "images"
        prepare("mpii", shared_golden / "metrics" / "test_mpii.json", tmp_path, images=images / "mpii")
        assert (tmp_path / "test_joints.csv").read_bytes() == (images / "mpii.csv").read_bytes()
        assert not (tmp_path / "train_joints.csv").exists()

    def test_coordinates_are_those_of_the_published_ground_truth(self, shared_golden):
        (first, *_) = mpii.read(shared_golden / "metrics" / "test_mpii.json", Wanted()).splits["test"]
        with np.load(shared_golden / "metrics" / "mpii_val_hg_s8.npz") as golden:
            assert np.abs(golden["true"][0] - first.joints).max() < 1e-4

    def test_head_size_is_three_quarters_of_neck_to_head(self, shared_golden):
        with np.load(shared_golden / "metrics" / "mpii_val_hg_s8.npz") as golden:
            true, annotated, published = (golden[name] for name in ("true", "annotated", "head_sizes"))
        both = annotated[:, 8] & annotated[:, 9]
        sizes = np.array([mpii._head_size(joints) for joints in true[both]])
        assert both.sum() == 2932
        assert (abs(sizes / published[both] - 1) < 0.01).mean() == pytest.approx(0.985, abs=0.0005)

    def test_folder_gives_each_file_its_side(self, annotations, tmp_path):
        annotations("train.json", person("a.jpg"), person("b.jpg"))
        annotations("validation.json", person("c.jpg"))
        source = mpii.read(tmp_path, Wanted())
        assert {name: [p.file for p in split] for name, split in source.splits.items()} == {
            "train": ["a.jpg", "b.jpg"],
            "test": ["c.jpg"],
        }

    @pytest.mark.parametrize("name", ["mpii/images/a.png", "images\\a.png", "a.png"])
    @pytest.mark.parametrize("has_pictures", [True, False])
    def test_folders_before_a_pictures_name_are_others(self, annotations, tmp_path, name, has_pictures):
        path = annotations("train.json", person(name))
        if has_pictures:
            write_pictures(tmp_path / "images", ["a.png"])
        prepare("mpii", path, tmp_path / "out")
        assert (tmp_path / "out" / "train_joints.csv").read_text().startswith("a.png,")

    def test_folders_that_are_there_stay(self, annotations, tmp_path):
        path = annotations("train.json", person("mpii/images/a.png"))
        write_pictures(tmp_path / "all" / "mpii" / "images", ["a.png"])
        prepare("mpii", path, tmp_path / "out", images=tmp_path / "all")
        assert (tmp_path / "out" / "train_joints.csv").read_text().startswith("mpii/images/a.png,")

    @pytest.mark.parametrize("name", ["mpii_annotations.json", "MPI_annotations.json"])
    @pytest.mark.parametrize("is_rooted", [True, False])
    def test_the_form_of_pose_machines_has_both_splits(self, tmp_path, name, is_rooted):
        def entry(file, test, joints):
            return {"dataset": "MPI", "isValidation": float(test), "img_paths": file, "joint_self": joints}

        joints = np.column_stack([np.arange(1.0, 33).reshape(16, 2), np.arange(16) % 2])
        joints[3] = 0
        persons = [entry("a.jpg", 0, joints.tolist()), entry("b.jpg", 1, (joints + np.array([100, 0, 0])).tolist())]
        (tmp_path / name).write_text(json.dumps({"root": persons} if is_rooted else persons))
        source = mpii.read(tmp_path, Wanted())
        assert {role: [p.file for p in split] for role, split in source.splits.items()} == {
            "train": ["a.jpg"],
            "test": ["b.jpg"],
        }
        (train,) = source.splits["train"]
        assert np.isnan(train.joints[3]).all()
        assert np.array_equal(np.delete(train.joints, 3, axis=0), np.delete(joints[:, :2], 3, axis=0))
        assert train.is_visible == (0, 1, 0, None, *[0, 1] * 6)
        assert train.head_size == pytest.approx(0.75 * np.hypot(2, 2))
        assert sum("has no head boxes" in note for note in source.notes) == 2

    def test_that_form_in_another_shape_is_refused(self, tmp_path):
        path = tmp_path / "mpii_annotations.json"
        for entry, phrase in (
            ({"joint_self": [[1, 2, 3]] * 16}, "person 1: it has no `img_paths`"),
            ({"joint_self": [[1, 2]] * 16, "img_paths": "a.jpg"}, r"person 1: .* shape \(16, 2\)"),
            ({"joint_self": "abc", "img_paths": "a.jpg"}, "person 1: `joint_self` is no numbers"),
        ):
            path.write_text(json.dumps([entry]))
            with pytest.raises(PrepareError, match=phrase):
                mpii.read(path, Wanted())

    def test_target_may_be_in_the_source(self, annotations, tmp_path):
        annotations("train.json", person("a.jpg"))
        prepare("mpii", tmp_path, tmp_path / "out")
        assert prepare("mpii", tmp_path, tmp_path / "out", force=True).persons == {"train": 1}

    def test_validation_comes_before_the_authors_test_set(self, annotations, tmp_path):
        annotations("valid.json", person("c.jpg"))
        annotations("test.json", {"image": "d.jpg", "center": [1, 2], "scale": 1})
        annotations("trainval.json", person("e.jpg"))
        assert [p.file for p in mpii.read(tmp_path, Wanted()).splits["test"]] == ["c.jpg"]

    def test_joints_that_are_not_annotated_are_not_written(self, annotations, tmp_path):
        joints = np.arange(1.0, 33).reshape(16, 2).tolist()
        joints[2] = [-1.0, -1.0]
        path = annotations("train.json", person(joints=joints, vis=[1, 1, 0, *[1] * 13]))
        prepare("mpii", path, tmp_path / "out")
        assert (tmp_path / "out" / "train_joints.csv").read_text().startswith("a.jpg,1.0,2.0,3.0,4.0,-1,-1,7.0,8.0,")

    @pytest.mark.parametrize("scale", [2.5, None, -1, "large"])
    def test_its_scales_lie_beside_the_csv(self, scale, annotations, tmp_path):
        path = annotations("train.json", {**person("a.jpg"), "scale": scale}, {**person("b.jpg"), "scale": 3})
        prepare("mpii", path, tmp_path / "out")
        scales = read_beside(tmp_path / "out" / "train_joints.csv").scales
        np.testing.assert_array_equal(scales, [2.5 if scale == 2.5 else np.nan, 3])

    def test_published_ground_truth_gives_the_head_boxes(self, annotations, tmp_path):
        truth = np.arange(64.0).reshape(2, 16, 2)
        path = annotations("valid.json", *(person(joints=joints.tolist()) for joints in truth))
        boxes = np.array([[[0.0, 0], [30, 40]], [[10, 10], [16, 18]]])
        content = {"headboxes_src": boxes.transpose(1, 2, 0), "pos_gt_src": truth.transpose(1, 2, 0)}
        savemat(tmp_path / "gt_valid.mat", content)
        prepare("mpii", path, tmp_path / "out")
        references = read_beside(tmp_path / "out" / "test_joints.csv")
        assert references.head_boxes.tolist() == [[0, 0, 30, 40], [10, 10, 16, 18]]
        assert references.head_sizes.tolist() == pytest.approx([30, 6])
        content["pos_gt_src"] = content["pos_gt_src"] + 5
        savemat(tmp_path / "gt_valid.mat", content)
        with pytest.raises(PrepareError, match=r"gt_valid\.mat: its joints are not those of valid\.json"):
            mpii.read(path, Wanted())

    def test_person_without_neck_or_head_has_no_head_size(self, annotations):
        vis = [1] * 16
        vis[8] = 0
        (only,) = mpii.read(annotations("val.json", person(vis=vis)), Wanted()).splits["test"]
        assert only.head_size is None

    @pytest.mark.parametrize(
        ("content", "phrase"),
        [
            ("", "not JSON text"),
            ("[" * 100_000, "not JSON text"),
            ("{}", "no array of persons"),
            ("[]", "no array of persons"),
            ("[3]", "person 1: it has no `image`"),
            (json.dumps([person(), {"image": "b.jpg"}]), "person 2: it has no `joints`"),
            (json.dumps([person(joints=[[1, 2]] * 14)]), r"person 1: .* shape \(14, 2\)"),
            (json.dumps([person(joints="abc")]), "person 1: .* no numbers"),
            (json.dumps([person(joints=[[1, 2], [3]] * 8)]), "person 1: .* no numbers"),
        ],
    )
    def test_unusable_json_is_refused_by_file_and_person(self, tmp_path, content, phrase):
        (tmp_path / "train.json").write_text(content)
        with pytest.raises(PrepareError, match=rf"train\.json: {phrase}"):
            mpii.read(tmp_path, Wanted())

    def test_name_that_does_not_tell_the_side_is_refused(self, annotations):
        with pytest.raises(PrepareError, match=r"persons\.json: its name does not tell"):
            mpii.read(annotations("persons.json", person()), Wanted())


class TestRefusals:
    def test_missing_file_says_its_name_its_publisher_and_what_works_without(self, tmp_path):
        with pytest.raises(PrepareError, match=r"mpii_human_pose_v1_u12_1\.mat.*human-pose\.mpi-inf.*without") as error:
            mpii.read(tmp_path, Wanted())
        assert str(error.value).startswith(str(tmp_path))
        with pytest.raises(PrepareError, match="there is no such file or folder"):
            mpii.read(tmp_path / "nowhere", Wanted())

    def test_both_forms_in_one_folder_are_the_users_choice(self, annotations, tmp_path):
        write_mpii(tmp_path / "mpii_human_pose_v1_u12_1.mat", [picture("a.jpg", rectangle(whole(0)))])
        annotations("train.json", person())
        with pytest.raises(PrepareError, match=r"several files .*u12_1\.mat.*train\.json.* name one"):
            mpii.read(tmp_path, Wanted())

    def test_other_structs_are_refused(self, tmp_path):
        path = tmp_path / "mpii_human_pose_v1_u12_1.mat"
        savemat(path, {"RELEASE": {"annolist": [{"image": {"name": "a.jpg"}}], "img_train": [1, 1, 1]}})
        with pytest.raises(PrepareError, match="1 pictures in annolist and 3 flags"):
            mpii.read(path, Wanted())
        savemat(path, {"RELEASE": {"annolist": [{"image": 3.0}], "img_train": [1]}})
        with pytest.raises(PrepareError, match=r"picture 1: it has no image\.name"):
            mpii.read(path, Wanted())
