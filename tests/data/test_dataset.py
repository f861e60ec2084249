import hashlib
import json
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from converters.checkpoint import Preprocessing
from deeppose_port.data import AnnotationError, Crop, DatasetError, PoseDataset, skeletons
from deeppose_port.data import dataset as dataset_module
from deeppose_port.data.pictures import read_picture
from deeppose_port.data.pixels import cut

SETS = {"free": "flic", "mpii": "mpii", "lspet": "lsp"}
SOME = ",10,20,50,20,50,60,10,60,30,30,40,40,-1,-1"


def sha256(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


@pytest.fixture(params=SETS)
def legacy(request, golden):
    """What the legacy program made of one CSV, and a function that opens the same CSV here."""
    name = request.param
    if name == "free":
        csv = images = request.getfixturevalue("pictures")
        csv = csv / "free.csv"
    else:
        folder = request.getfixturevalue("shared_golden") / "images"
        csv, images = folder / f"{name}.csv", folder / name
    manifest = "manifest_free.json" if name == "free" else "manifest.json"
    expected = json.loads((golden / "preprocessing" / manifest).read_text())["sets"][name]
    for file, key in (("targets", "targets"), ("targets", "mask"), ("crop_targets_px", "targets")):
        with np.load(golden / "preprocessing" / f"{name}_{file}.npz") as arrays:
            expected[key if file == "targets" else "pixels"] = arrays[key]
    return expected, lambda **options: PoseDataset(csv, images=images, skeleton=SETS[name], **options)


@pytest.fixture
def free(pictures):
    return PoseDataset(pictures / "free.csv", images=pictures, skeleton="flic")


@pytest.fixture
def make(tmp_path):
    """A dataset of CSV lines and 80 x 100 pictures, each of one grey level."""

    def build(*lines, grey=None, **options):
        (tmp_path / "persons.csv").write_text("\n".join(lines), encoding="utf-8")
        for name, level in (grey or {"a.png": 100}).items():
            cv2.imwrite(str(tmp_path / name), np.full((100, 80, 3), level, np.uint8))
        return PoseDataset(tmp_path / "persons.csv", images=tmp_path, **{"skeleton": "flic", **options})

    return build


class TestLegacy:
    def test_inputs_are_the_legacy_programs_bits(self, legacy):
        expected, build = legacy
        dataset = build(im_size=220, base_zoom=1.5, coord_normalize=True, gcn=True)
        assert len(dataset) == expected["n"] == len(expected["input_sha256"])
        assert [sha256(inputs) for inputs, _, _ in dataset] == expected["input_sha256"]

    def test_crops_are_the_legacy_programs_bits(self, legacy):
        expected, build = legacy
        dataset = build()
        made = [sha256(cut(dataset.picture(i), dataset.view(i).crop)) for i in range(len(dataset))]
        assert made == expected["crop_uint8_sha256"]

    def test_targets_and_masks_are_the_legacy_programs_bits(self, legacy):
        expected, build = legacy
        _, targets, mask = zip(*build(), strict=True)
        assert targets[0].dtype == np.float32
        assert mask[0].dtype == np.int32
        assert np.array_equal(targets, expected["targets"])
        assert np.array_equal(mask, expected["mask"])

    def test_targets_in_pixels_are_the_legacy_programs_bits(self, legacy):
        expected, build = legacy
        assert np.array_equal([targets for _, targets, _ in build(coord_normalize=False)], expected["pixels"])


class TestExamples:
    def test_shapes_and_types(self, free):
        inputs, targets, mask = free[0]
        assert (inputs.shape, inputs.dtype) == ((3, 220, 220), np.float32)
        assert (targets.shape, targets.dtype) == ((14,), np.float32)
        assert (mask.shape, mask.dtype) == ((14,), np.int32)

    def test_indices_are_those_of_a_sequence(self, free):
        assert len(free) == 13
        assert np.array_equal(free[-1][0], free[12][0])
        assert np.array_equal(free[np.int64(3)][1], free[3][1])
        assert len(list(free)) == 13
        for index in (13, -14):
            with pytest.raises(IndexError, match=f"index {index} of a dataset of 13"):
                free[index]
        with pytest.raises(TypeError):
            free["first"]

    def test_stored_joints_never_drift(self, free):
        before = free.joints.copy()
        first = free[0]
        for _ in range(5):
            for inputs, targets, mask in free:
                inputs += 1
                targets += 1
                mask[:] = 7
        assert np.array_equal(free.joints, before)
        for again, once in zip(free[0], first, strict=True):
            assert np.array_equal(again, once)

    def test_stored_arrays_refuse_writing(self, free):
        for array in (free.joints, free.visible, free.picture(0), free.person(0).joints):
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0

    def test_joints_are_those_of_the_csv_in_pixels_of_the_picture(self, free):
        assert free.joints.shape == (13, 7, 2)
        assert free.joints.dtype == np.float64
        assert free.joints[0, :2].tolist() == [[165, 490], [45, 455]]
        assert free.person(0).file == "astronaut.png"
        assert [free.person(i).line for i in range(13)] == list(range(1, 14))

    def test_visible_wants_both_coordinates_and_the_mask_each(self, free):
        assert free.visible.shape == (13, 7)
        assert free.visible[4].tolist() == [False, True, True, True, True, True, True]  # x 227.7, y -1
        assert free[4][2].tolist() == [1, 0, *[1] * 12]
        assert free[0][2].tolist() == [*[1] * 12, 0, 0]

    def test_ignore_label_is_the_callers(self, make):
        dataset = make("a.png" + SOME.replace("-1", "0"), ignore_label=0)
        assert dataset.visible[0].tolist() == [True] * 6 + [False]
        assert dataset[0][2].tolist() == [1] * 12 + [0, 0]

    def test_picture_and_crop(self, free, pictures):
        assert np.array_equal(free.picture(0), cv2.imread(str(pictures / "astronaut.png")))
        # Joints span 45..352 and 100..490, so the box is 198.5 -+ 230.25 and 295 -+ 292.5 in 512 x 512.
        assert free.view(0).crop == Crop(0, 2, 428, 512, 220)

    def test_skeleton_by_name_or_value(self, free, pictures):
        assert free.skeleton is skeletons.FLIC
        same = PoseDataset(pictures / "free.csv", images=pictures, skeleton=skeletons.FLIC)
        assert np.array_equal(same.joints, free.joints)
        with pytest.raises(ValueError, match="no skeleton is called 'animals'"):
            PoseDataset(pictures / "free.csv", images=pictures, skeleton="animals")

    def test_persons_of_one_picture_decode_it_once(self, free, monkeypatch):
        decoded = []
        monkeypatch.setattr(
            dataset_module, "read_picture", lambda path, **how: decoded.append(Path(path).name) or read_picture(path)
        )
        for i in range(13):
            free[i]
        for i in range(13):
            free.view(i)
        assert decoded == ["astronaut.png", "chelsea.png", "coffee.png"]

    def test_without_a_cache_nothing_is_kept(self, pictures, monkeypatch):
        free = PoseDataset(pictures / "free.csv", images=pictures, skeleton="flic", cache=0)
        decoded = []
        monkeypatch.setattr(
            dataset_module, "read_picture", lambda path, **how: decoded.append(Path(path).name) or read_picture(path)
        )
        free[0], free[0]
        assert decoded == ["astronaut.png"] * 2

    def test_dataset_can_be_sent_to_another_process(self, free):
        again = pickle.loads(pickle.dumps(free))
        assert np.array_equal(again[3][0], free[3][0])

    def test_threads_get_their_own_persons_picture(self, make):
        levels = {f"{k}.png": 25 * k for k in range(8)}
        dataset = make(*(name + SOME for name in levels), grey=levels)
        order = np.random.RandomState(0).randint(0, 8, 4000).tolist()
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            with ThreadPoolExecutor(8) as pool:
                seen = list(pool.map(lambda i: int(dataset.picture(i)[0, 0, 0]), order))
        finally:
            sys.setswitchinterval(interval)
        assert seen == [25 * i for i in order]


class TestPreprocessing:
    def test_default_is_that_of_the_legacy_shells(self, free):
        assert free.preprocessing == Preprocessing()

    @pytest.mark.parametrize(
        ("gcn", "means"), [(True, "divide"), (False, "none"), ("subtract", "subtract"), ("none", "none")]
    )
    def test_gcn_is_a_switch_or_a_kind(self, make, gcn, means):
        assert make("a.png" + SOME, gcn=gcn).preprocessing == Preprocessing(gcn=means)

    def test_checkpoints_preprocessing_is_followed(self, make):
        told = Preprocessing(64, 2.0, False, "none", "RGB", "nearest", "yx")
        dataset = make("a.png" + SOME, preprocessing=told)
        inputs, targets, mask = dataset[0]
        assert dataset.preprocessing == told
        assert inputs.shape == (3, 64, 64)
        assert (inputs == 100).all()
        assert dataset.view(0).crop == Crop(0, 0, 70, 80, 64)
        np.testing.assert_allclose(targets[:4], [16, 64 / 7, 16, 320 / 7], rtol=1e-6)  # y, x of (10, 20), (50, 20)
        assert mask.tolist() == [1] * 12 + [0, 0]

    def test_mask_follows_the_axes(self, make):
        lines = ["a.png" + SOME.replace("10,20", "10,-1")]
        assert make(*lines)[0][2].tolist() == [1, 0] + [1] * 10 + [0, 0]
        assert make(*lines, preprocessing=Preprocessing(axes="yx"))[0][2].tolist() == [0, 1] + [1] * 10 + [
            0,
            0,
        ]

    def test_options_override_it(self, make):
        told = Preprocessing(64, 2.0, False, "none", axes="yx")
        dataset = make("a.png" + SOME, preprocessing=told, im_size=32, coord_normalize=True, gcn=True, base_zoom=1)
        assert dataset.preprocessing == Preprocessing(32, 1, True, "divide", axes="yx")

    def test_nonsense_is_refused(self, make):
        with pytest.raises(ValueError, match="im_size is 0"):
            make("a.png" + SOME, im_size=0)
        with pytest.raises(ValueError, match="gcn is 'maybe'"):
            make("a.png" + SOME, gcn="maybe")


class TestPersonsLeftOut:
    small = "a.png" + ",5,5" + ",7,60" * 6
    point = "a.png,5,5" + ",-1,-1" * 6
    nobody = "a.png" + ",-1,-1" * 7

    def test_min_dim_leaves_out_the_narrow_and_the_low_and_says_so_once(self, make, caplog):
        dataset = make(self.small, "a.png" + SOME, self.nobody, self.point, min_dim=3)
        assert len(dataset) == len(dataset.joints) == len(dataset.visible) == 1
        assert dataset.person(0).line == 2
        assert [person.line for person in dataset.skipped] == [1, 3, 4]
        (notice,) = caplog.messages
        assert "persons.csv: left out 3 of 4 persons, smaller than min_dim 3: lines 1, 3, 4" in notice

    def test_side_of_exactly_min_dim_stays(self, make, caplog):
        assert len(make(self.small, min_dim=2)) == 1
        assert not caplog.messages

    def test_long_lists_of_lines_are_cut(self, make, caplog):
        make(*[self.small] * 12, "a.png" + SOME, min_dim=3)
        assert "lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, ..." in caplog.messages[0]

    @pytest.mark.parametrize("name", ["min_dim", "ignore_label"])
    def test_numbers_that_compare_with_nothing_are_refused(self, name, make):
        with pytest.raises(ValueError, match=f"{name} is nan; it has to be finite"):
            make("a.png" + SOME, **{name: float("nan")})

    def test_nobody_left_is_an_error(self, make):
        with pytest.raises(DatasetError, match="all persons are smaller than min_dim 3"):
            make(self.small, min_dim=3)

    @pytest.mark.parametrize(
        ("line", "phrase"),
        [
            (nobody, "no area to crop, 0 of 7 joints count"),
            (point, "no area to crop, 1 of 7 joints count"),
            ("a.png" + ",5,5,5,60" * 3 + ",-1,5", "no area to crop, 6 of 7 joints count"),
        ],
    )
    def test_person_without_a_box_is_an_error_that_names_the_option(self, make, line, phrase):
        with pytest.raises(DatasetError, match=rf"persons\.csv, line 2, picture .*a\.png: {phrase}; .*--min-dim 1"):
            make("a.png" + SOME, line)
        assert len(make("a.png" + SOME, line, min_dim=1)) == 1

    @pytest.mark.parametrize("part", ["picture", "window"])
    def test_one_joint_is_enough_where_no_box_is_cut_out(self, make, part):
        told = {"preprocessing": Preprocessing(part=part, im_size=60), "skeleton": "flic"}
        inputs, _, mask = make("a.png" + SOME, self.point, **told)[1]
        assert inputs.shape == (3, 60, 60)
        assert mask.sum() == 2
        with pytest.raises(DatasetError, match=r"line 1, .* 0 of 7 joints count"):
            make(self.nobody, **told)

    def test_all_persons_without_a_box_are_named(self, make):
        with pytest.raises(DatasetError, match=r"line 1, .*\(and 2 more: lines 3, 4\)"):
            make(self.nobody, "a.png" + SOME, self.point, self.nobody)


class TestErrors:
    def test_missing_pictures_are_named_at_construction(self, make):
        lines = [name + SOME for name in ("a.png", "b.png", "b.png", "c.png")]
        with pytest.raises(
            DatasetError,
            match=r"line 2, picture .*b\.png: there is no such file \(and 1 more: line 4\); .*--images",
        ):
            make(*lines)

    def test_a_name_that_no_file_can_have_is_a_missing_picture(self, make):
        with pytest.raises(DatasetError, match=r"line 2, picture .*aaa\.png: there is no such file"):
            make("a.png" + SOME, "a" * 300 + ".png" + SOME)

    def test_picture_that_cannot_be_decoded_is_an_error_on_access(self, make, tmp_path):
        (tmp_path / "text.png").write_text("not a picture")
        dataset = make("a.png" + SOME, "text.png" + SOME)
        assert len(dataset) == 2
        for access in (dataset.__getitem__, dataset.view, dataset.picture):
            with pytest.raises(DatasetError, match=r"line 2, picture .*text\.png: cannot be decoded"):
                access(1)

    def test_opencvs_own_errors_are_translated(self, make, monkeypatch):
        def fail(data, flags):
            raise cv2.error("too large")

        dataset = make("a.png" + SOME)
        monkeypatch.setattr(cv2, "imdecode", fail)
        with pytest.raises(DatasetError, match=r"line 1, picture .*a\.png: cannot be decoded"):
            dataset[0]

    @pytest.mark.parametrize("part", [0.3, 0.9, 0.999])
    @pytest.mark.parametrize("progressive", [0, 1])
    def test_jpeg_that_is_cut_off_is_refused_by_file_and_line(self, make, tmp_path, part, progressive, capfd):
        noise = np.random.RandomState(0).randint(0, 256, (100, 80, 3)).astype(np.uint8)
        _, jpeg = cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive])
        (tmp_path / "cut.jpg").write_bytes(jpeg.tobytes()[: int(part * jpeg.size)])
        assert cv2.imread(str(tmp_path / "cut.jpg")) is not None  # which is why the dataset does not read it so
        dataset = make("a.png" + SOME, "cut.jpg" + SOME)
        with pytest.raises(DatasetError, match=r"persons\.csv, line 2, picture .*cut\.jpg: cannot be .* cut off"):
            dataset[1]

    def test_jpeg_with_something_after_its_end_is_whole(self, make, tmp_path):
        _, jpeg = cv2.imencode(".jpg", np.full((100, 80, 3), 50, np.uint8))
        (tmp_path / "more.jpg").write_bytes(jpeg.tobytes() + b"a camera's own data" * 100)
        assert (make("more.jpg" + SOME, grey={}).picture(0) == 50).all()

    def test_empty_file_and_folder_are_refused_by_file_and_line(self, make, tmp_path):
        (tmp_path / "empty.jpg").touch()
        dataset = make("a.png" + SOME, "empty.jpg" + SOME)
        with pytest.raises(DatasetError, match=r"line 2, picture .*empty\.jpg: .* the file is empty"):
            dataset[1]
        (tmp_path / "a.png").unlink()
        (tmp_path / "a.png").mkdir()
        with pytest.raises(DatasetError, match=r"picture .*a\.png: cannot be read: this is a folder, not a file"):
            dataset[0]

    def test_person_outside_the_picture_is_an_error_on_access(self, make):
        dataset = make("a.png" + ",500,5,600,50" * 3 + ",-1,-1")
        with pytest.raises(
            DatasetError,
            match=r"line 1, picture .*a\.png: nothing is left of the box .* 80 x 100 .*delete the line",
        ):
            dataset[0]

    def test_wrong_skeleton_is_an_error_that_names_the_right_one(self, pictures):
        with pytest.raises(AnnotationError, match="7 joints where 14 are needed; the skeleton with 7 is flic"):
            PoseDataset(pictures / "free.csv", images=pictures, skeleton="lsp")

    def test_pictures_with_any_name_and_grey_ones_are_read(self, make):
        dataset = make('"Müller, 写真.png"' + SOME, grey={"Müller, 写真.png": 50})
        assert dataset.picture(0).shape == (100, 80, 3)


def test_a_notebook_shows_a_line_a_table_and_figures(tmp_path):
    (tmp_path / "<b>.csv").write_text("a.png,1,2,3,4,5,6,7,8,9,10,11,12,-1,-1\n" * 2 + "a.png" + ",1,2" * 7 + "\n")
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((20, 20, 3), np.uint8))
    dataset = PoseDataset(tmp_path / "<b>.csv", images=tmp_path, skeleton="flic", min_dim=1)
    assert repr(dataset) == "<PoseDataset <b>.csv, 2 persons of flic, inputs of 220 x 220>"
    shown = dataset._repr_html_()
    assert "&lt;b&gt;.csv" in shown
    assert "<b>.csv" not in shown
    for text in ("2 in 1 picture", "1, smaller than min_dim", "left wrist, left elbow", "85.7% of the joints"):
        assert text in shown
    assert shown.count("<circle") == 12
    # Both elbows' lower arms but the one without a wrist, and what else hangs on shoulders and head.
    assert shown.count("<line") == 2 * sum(6 not in limb for limb in dataset.skeleton.limbs)
    figure = ElementTree.fromstring(shown[shown.index("<svg") :])
    width, height = float(figure.get("width")), float(figure.get("height"))
    for dot in figure.iter("{http://www.w3.org/2000/svg}circle"):
        assert 0 < float(dot.get("cx")) < width
        assert 0 < float(dot.get("cy")) < height
