import json
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import converters
import deeppose_port
from converters import Preprocessing
from converters.errors import DeepPoseError
from deeppose_port import backends
from deeppose_port.cli import main
from deeppose_port.data import DatasetError, PoseDataset, skeletons
from deeppose_port.evaluate.evaluate import evaluate
from deeppose_port.metrics.evaluation import evaluation_of
from deeppose_port.metrics.predictions import Predictions, predictions_of
from deeppose_port.metrics.registry import find
from tests.helpers.metrics import PDJ_THRESHOLDS, pdj
from tests.helpers.networks import checkpoint_of, random_checkpoint


@pytest.fixture
def free(pictures):
    return PoseDataset(pictures / "free.csv", images=pictures, skeleton="flic")


@pytest.fixture
def persons(tmp_path):
    """Nine persons of LSP's 14 joints in pictures of noise, some joints not annotated; one without a torso."""
    random = np.random.RandomState(2)
    joints = random.uniform(20, 130, (9, 14, 2)).round(2)
    joints[random.rand(9, 14) < 0.1] = -1
    joints[:, [2, 9]] = random.uniform(40, 100, (9, 2, 2)).round(2)
    joints[4, 2] = -1
    lines = [f"{i % 3}.png," + ",".join(map(str, person.ravel())) for i, person in enumerate(joints)]
    (tmp_path / "persons.csv").write_text("\n".join(lines) + "\n")
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), random.randint(0, 256, (150, 170, 3), np.uint8))

    def dataset(**options):
        return PoseDataset(tmp_path / "persons.csv", images=tmp_path, skeleton="lsp", **options)

    return dataset


@pytest.fixture
def answering(monkeypatch):
    """Makes a Pose whose network answers (N, 2 * J) rows one after the other, whatever it is shown."""

    def build(rows, preprocessing=None):
        rows = list(rows)
        seen = []

        def answer(inputs):
            answers = np.stack([rows[len(seen) + i] for i in range(len(inputs))])
            seen.extend(inputs)
            return answers.astype(np.float32)

        backend = SimpleNamespace(predictor=lambda checkpoint, device: answer)
        monkeypatch.setattr(backends, "get", lambda name: backend)
        joints = len(rows[0]) // 2
        pose = deeppose_port.load(random_checkpoint(joints=joints, preprocessing=preprocessing))
        return pose, seen

    return build


def targets(dataset):
    return [dataset[i][1] for i in range(len(dataset))]


class TestClosedForms:
    @pytest.mark.parametrize(
        "preprocessing",
        [
            Preprocessing(),
            Preprocessing(coord_normalize=False),
            Preprocessing(im_size=200, base_zoom=1.2, axes="yx", gcn="none", colour="RGB"),
        ],
        ids=["legacy", "pixels", "y first"],
    )
    def test_network_that_answers_the_targets_is_perfect(self, persons, answering, preprocessing):
        dataset = persons(preprocessing=preprocessing)
        pose, seen = answering(targets(dataset), preprocessing)
        result = evaluate(pose, dataset, batch_size=4, head_sizes=np.full(9, 10.0))
        assert np.array_equal(np.stack(seen), np.stack([inputs for inputs, _, _ in dataset]))
        assert result["loss"].overall == 0
        assert result["mean_error_px"].overall < 1e-4
        np.testing.assert_allclose(result.predicted[result.visible], result.true[result.visible], rtol=0, atol=1e-3)
        assert (pdj(result) == 1).all()
        assert (result["pcp"].values == 1).all()
        assert (result["pckh"].values == 1).all()
        assert result["pckh"].overall == 1

    def test_known_shift_gives_the_known_error_in_pixels_of_the_picture(self, persons, answering):
        dataset = persons()
        shift = np.tile(np.float32([0.1, 0]), 14)
        pose, _ = answering([target + shift for target in targets(dataset)])
        result = evaluate(pose, dataset)
        # A tenth of the crop to the right is a tenth of its columns in the picture.
        errors = np.array([0.1 * dataset.view(i).crop.width for i in range(9)])
        counts = dataset.visible.sum(axis=1)
        assert result["mean_error_px"].overall == pytest.approx((errors * counts).sum() / counts.sum(), rel=1e-5)
        mask = np.stack([mask for _, _, mask in dataset])
        assert result["loss"].overall == pytest.approx(0.01 * mask[:, ::2].sum() / mask.sum(), rel=1e-5)
        torso = np.linalg.norm(dataset.joints[:, 9] - dataset.joints[:, 2], axis=1)
        for threshold, fractions in zip(PDJ_THRESHOLDS, pdj(result), strict=True):
            found = errors <= threshold * torso
            for joint in range(14):
                who = dataset.visible[:, joint] & dataset.visible[:, 2]
                assert fractions[joint] == pytest.approx(found[who].mean())
        length = np.linalg.norm(dataset.joints[:, 0] - dataset.joints[:, 1], axis=1)
        both = dataset.visible[:, 0] & dataset.visible[:, 1]
        assert result["pcp"].values[0] == pytest.approx((errors <= 0.5 * length)[both].mean())

    def test_head_sizes_give_pckh(self, persons, answering):
        dataset = persons()
        shift = np.tile(np.float32([0, 0.1]), 14)
        pose, _ = answering([target + shift for target in targets(dataset)])
        errors = np.array([0.1 * dataset.view(i).crop.height for i in range(9)])
        sizes = np.where(np.arange(9) % 2, 2.1, 1.9) * errors  # half a head's size is just enough, or just not
        result = evaluate(pose, dataset, head_sizes=sizes)
        for joint in range(14):
            assert result["pckh"].values[joint] == pytest.approx((np.arange(9) % 2)[dataset.visible[:, joint]].mean())
        assert result["pckh"].overall == pytest.approx(dataset.visible[1::2].sum() / dataset.visible.sum())
        assert result.as_dict()["pckh"]["total"] == result["pckh"].overall

    def test_pckh_total_leaves_out_what_the_skeleton_says(self, tmp_path, answering):
        joints = np.random.RandomState(3).uniform(10, 90, (16, 2)).round()
        (tmp_path / "one.csv").write_text("a.png," + ",".join(map(str, joints.ravel())))
        cv2.imwrite(str(tmp_path / "a.png"), np.zeros((100, 100, 3), np.uint8))
        dataset = PoseDataset(tmp_path / "one.csv", images=tmp_path, skeleton="mpii")
        (row,) = targets(dataset)
        row[[12, 14]] += 9  # x of pelvis and thorax
        pose, _ = answering([row])
        result = evaluate(pose, dataset, head_sizes=[10.0])
        assert result["pckh"].values.tolist() == [1] * 6 + [0, 0] + [1] * 8
        assert result["pckh"].overall == 1

    def test_person_without_a_torso_is_in_no_pdj_and_is_counted(self, persons, answering):
        dataset = persons()
        rows = targets(dataset)
        rows[4] = rows[4] + 9
        pose, _ = answering(rows)
        result = evaluate(pose, dataset)
        assert result.without_torso == result.as_dict()["pdj_left_out"] == 1
        assert (pdj(result) == 1).all()
        assert result["mean_error_px"].overall > 10

    def test_only_joints_that_count_count(self, persons, answering):
        dataset = persons()
        garbage = [np.where(mask == 1, target, np.nan) for _, target, mask in dataset]
        pose, _ = answering(garbage)
        result = evaluate(pose, dataset)
        assert result["loss"].overall == 0
        assert result["mean_error_px"].overall < 1e-4
        assert np.nanmin(pdj(result)) == 1

    def test_network_that_answers_nan_is_not_perfect(self, persons, answering):
        dataset = persons()
        pose, _ = answering(np.full((9, 28), np.nan))
        values = evaluate(pose, dataset).as_dict()
        assert values["loss"] is None
        assert values["mean_error_px"] is None
        assert values["pdj"]["0.5"]["mean"] == 0
        assert values["pcp"]["mean"] == 0


class TestPass:
    @pytest.mark.parametrize("size", [1, 2, 4, 5, 9, 100])
    def test_every_person_is_counted_once(self, persons, answering, size):
        dataset = persons()
        pose, seen = answering(targets(dataset))
        done = []
        result = evaluate(pose, dataset, batch_size=size, progress=lambda *counts: done.append(counts))
        assert len(seen) == result.persons == len(result.outputs) == len(result.predicted) == 9
        assert result["mean_error_px"].overall < 1e-4  # so that each answer met its own person
        assert done == [(min(size * (i + 1), 9), 9) for i in range(-(-9 // size))]

    def test_metrics_do_not_depend_on_the_batches(self, free):
        checkpoint = random_checkpoint()
        pose = deeppose_port.load(checkpoint)
        one, *others = (numbers(evaluate(pose, free, batch_size=size)) for size in (32, 1, 5))
        assert all(other == one for other in others)

    def test_shares_of_several_processes_join_to_the_whole(self, free):
        pose = deeppose_port.load(random_checkpoint())
        parts = [predictions_of(pose, free, batch_size=2, part=(i, 3)) for i in (2, 0, 1)]
        assert [part.indices.tolist() for part in parts] == [[2, 5, 8, 11], [0, 3, 6, 9, 12], [1, 4, 7, 10]]
        whole = evaluation_of(Predictions.merge(parts), free)
        assert numbers(whole) == numbers(evaluate(pose, free))

    def test_more_processes_than_persons_join_too(self, free):
        pose = deeppose_port.load(random_checkpoint())
        parts = [predictions_of(pose, free, part=(i, 15)) for i in range(15)]
        assert [len(part.indices) for part in parts] == [1] * 13 + [0] * 2
        assert numbers(evaluation_of(Predictions.merge(parts), free)) == numbers(evaluate(pose, free))

    def test_checkpoint_of_another_number_of_joints_is_refused(self, free):
        pose = deeppose_port.load(random_checkpoint(joints=16))
        with pytest.raises(ValueError, match=r"^in memory has 16 joints, but flic has 7; choose the skeleton that"):
            evaluate(pose, free)

    @pytest.mark.parametrize("size", [0, -3])
    def test_batch_size_has_to_be_positive(self, free, size):
        with pytest.raises(ValueError, match=f"the batch size is {size}"):
            evaluate(deeppose_port.load(random_checkpoint()), free, batch_size=size)

    def test_failing_picture_ends_it_with_its_error(self, persons, tmp_path):
        dataset = persons()
        (tmp_path / "2.png").write_bytes(b"\x89PNG cut short")
        with pytest.raises(DatasetError, match=r"line 3, picture .*2\.png: cannot be decoded"):
            evaluate(deeppose_port.load(random_checkpoint(joints=14)), dataset, batch_size=2)


class TestFormats:
    def test_old_and_converted_files_evaluate_to_the_same_bits(self, free, tmp_path):
        converters.write(random_checkpoint(), tmp_path / "epoch-9.model")
        old = evaluate(deeppose_port.load(tmp_path / "epoch-9.model"), free)
        for suffix in (".pt", ".safetensors", ".npz"):
            new = tmp_path / f"new{suffix}"
            converters.convert(tmp_path / "epoch-9.model", new)
            result = evaluate(deeppose_port.load(new), free)
            assert np.array_equal(result.outputs, old.outputs)
            assert result.as_dict() == old.as_dict()

    def test_writer_and_preprocessing_travel_with_the_file(self, free, tmp_path):
        checkpoint = random_checkpoint("resnet50", writer="chainer-7.8.1", preprocessing=Preprocessing(im_size=100))
        checkpoint.weights["bn1.running_var"][:] = 1e-4  # so that the writer's eps shows
        dataset = PoseDataset(free.csv, images=free.images, skeleton="flic", im_size=100)
        expected = evaluate(deeppose_port.load(checkpoint), dataset)
        for suffix in (".pt", ".safetensors", ".npz"):
            converters.write(checkpoint, tmp_path / f"new{suffix}")
            pose = deeppose_port.load(tmp_path / f"new{suffix}")
            assert pose.preprocessing == checkpoint.preprocessing
            assert np.array_equal(evaluate(pose, dataset).outputs, expected.outputs)
        wrong = deeppose_port.load(checkpoint_of(random_checkpoint("resnet50").architecture, checkpoint.weights))
        assert not np.allclose(evaluate(wrong, dataset).outputs, expected.outputs, rtol=1e-3)


class TestAsDict:
    def test_it_has_every_number_under_its_name_and_is_json(self, persons, answering):
        dataset = persons()
        pose, _ = answering([target + 0.05 for target in targets(dataset)])
        result = evaluate(pose, dataset, head_sizes=np.full(9, 20.0))
        values = json.loads(json.dumps(result.as_dict(), allow_nan=False))
        lsp = skeletons.LSP
        assert (values["persons"], values["joints"]) == (9, 14)
        assert values["loss"] == result["loss"].overall
        assert values["mean_error_px"] == result["mean_error_px"].overall
        assert list(values["pdj"]) == ["0.1", "0.2", "0.3", "0.4", "0.5"]
        assert list(values["pdj"]["0.2"]) == [*lsp.joints, "mean"]
        assert list(values["pdj"]["0.2"].values())[:-1] == pdj(result)[1].tolist()
        assert values["pdj"]["0.2"]["mean"] == pytest.approx(pdj(result)[1].mean())
        assert list(values["pcp"]) == [*lsp.pcp_limbs, "mean"]
        assert values["pcp"]["mean"] == pytest.approx(result["pcp"].values.mean())
        assert list(values["pckh"]) == [*lsp.joints, "total"]

    @pytest.mark.parametrize("coord_normalize", [True, False])
    def test_legacy_error_is_in_whole_pixels_of_the_crop(self, persons, answering, coord_normalize):
        told = Preprocessing(coord_normalize=coord_normalize)
        dataset = persons(preprocessing=told)
        rows = targets(dataset)
        pose, _ = answering([row + (2.5 / 220 if coord_normalize else 2.5) for row in rows], told)
        result = evaluate(pose, dataset)
        errors = []
        for row, visible in zip(rows, dataset.visible, strict=True):
            true = np.float64(row) * 220 + 110 if coord_normalize else np.float64(row)
            moved = np.float64(row + np.float32(2.5 / 220)) * 220 + 110 if coord_normalize else true + 2.5
            off = (np.trunc(moved) - np.trunc(true)).reshape(14, 2)[visible]
            errors.append(np.linalg.norm(off) / visible.sum())
        assert result.as_dict()["legacy_error"] == pytest.approx(np.mean(errors), rel=1e-9)

    def test_bootstrap_gives_an_interval_for_every_number(self, persons, answering):
        dataset = persons()
        pose, _ = answering([target + 0.02 * i for i, target in enumerate(targets(dataset))])
        result = evaluate(pose, dataset)
        values = result.as_dict()
        boot = json.loads(json.dumps(result.bootstrap(200, seed=4).as_dict(), allow_nan=False))
        assert (boot["resamples"], boot["seed"], boot["level"]) == (200, 4, 0.95)
        compared = 0

        def walk(numbers, intervals):
            nonlocal compared
            if isinstance(numbers, dict):
                assert list(numbers) == list(intervals)
                for name, number in numbers.items():
                    walk(number, intervals[name])
            elif numbers is not None:
                compared += 1
                assert intervals[0] - 1e-9 <= numbers <= intervals[1] + 1e-9
            else:
                assert intervals in (None, [None, None])

        for name, intervals in boot["intervals"].items():
            walk(values[name], intervals)
        assert compared > 150
        assert boot == json.loads(json.dumps(result.bootstrap(200, seed=4).as_dict()))

    def test_what_nobody_can_give_is_none(self, free):
        values = evaluate(deeppose_port.load(random_checkpoint()), free).as_dict()
        assert values["pdj"] is None  # FLIC's seven joints have no torso
        assert values["pck"] is values["auc"] is values["nme"] is values["pckh_auc"] is None
        assert values["pckh"] is None
        assert values["pdj_left_out"] == 0

    def test_joint_that_nobody_has_is_none_and_not_in_the_mean(self, persons, answering, tmp_path):
        rows = [line.split(",") for line in (tmp_path / "persons.csv").read_text().splitlines()]
        for row in rows:
            row[1:3] = "-1", "-1"
        (tmp_path / "persons.csv").write_text("\n".join(map(",".join, rows)))
        dataset = persons()
        pose, _ = answering(targets(dataset))
        values = json.loads(json.dumps(evaluate(pose, dataset).as_dict(), allow_nan=False))
        assert values["pdj"]["0.2"]["right ankle"] is None
        assert values["pdj"]["0.2"]["mean"] == 1
        assert values["pcp"]["right lower leg"] is None
        assert values["pcp"]["mean"] == 1

    def test_summary_has_the_numbers_that_a_training_follows(self, persons, free, answering):
        dataset = persons()
        pose, _ = answering([target + 0.004 * i for i, target in enumerate(targets(dataset))])
        result = evaluate(pose, dataset)
        found = result.as_dict()["pdj"]
        assert 0 < found["0.1"]["mean"] < found["0.2"]["mean"] < found["0.3"]["mean"] < 1
        assert result.summary() == {
            "loss": result["loss"].overall,
            "mean_error_px": result["error_px"].overall,
            "pdj@0.2": found["0.2"]["mean"],
            "pcp": result["pcp"].overall,
        }
        assert list(result.summary(find("nme"), find("pckh"), find("loss")))[4:] == ["nme"], "no head sizes"
        pose, _ = answering(targets(free))
        assert list(evaluate(pose, free).summary()) == ["loss", "mean_error_px", "pcp", "pck_box@0.2"]


class TestInNotebooks:
    @pytest.fixture
    def result(self, persons, answering):
        pose, _ = answering([target + 0.05 for target in targets(persons())])
        return evaluate(pose, persons(), head_sizes=np.full(9, 20.0))

    def test_a_line_and_tables_without_arrays(self, result):
        assert repr(result).startswith("<Evaluation of 9 persons of lsp: Loss 0.0025, Mean error ")
        assert repr(result["loss"]) == "<Loss: 0.0025>"
        shown = result._repr_html_()
        assert "array" not in repr(result) + shown
        for name in (*skeletons.LSP.joints, *skeletons.LSP.pcp_limbs, "PCKh", "<summary>by limb"):
            assert name in shown

    def test_frames_have_the_numbers_of_json(self, result):
        pytest.importorskip("pandas")
        values = result.as_dict()
        joints = result.to_frame()
        assert joints.index.tolist() == [*skeletons.LSP.joints, "all"]
        assert joints["pdj@0.2"].tolist() == list(values["pdj"]["0.2"].values())
        assert joints.loc["left knee", "mean_error_px"] == values["error_px"]["left knee"]
        limbs = result.to_frame("limbs")
        assert limbs["pcp"].to_dict() == values["pcp"]
        whole = result.to_frame("all")
        assert whole.loc["loss", "value"] == values["loss"]
        assert whole.loc["mean_error_px", "unit"] == "px"
        with pytest.raises(DeepPoseError, match="no frame of 'persons'; there are all, joints and limbs"):
            result.to_frame("persons")

    def test_without_pandas_it_says_what_to_do(self, result, monkeypatch):
        monkeypatch.setitem(sys.modules, "pandas", None)
        with pytest.raises(DeepPoseError, match=r"a frame needs pandas \(pip install 'deeppose-port\[pandas\]'\)"):
            result.to_frame()


class TestCommand:
    @pytest.fixture
    def run(self, capsys, pictures, tmp_path):
        converters.write(random_checkpoint(), tmp_path / "some.pt")

        def command(*arguments):
            free = ["--csv", pictures / "free.csv", "--images", pictures, "--skeleton", "flic"]
            status = main(["eval", str(tmp_path / "some.pt"), *map(str, free), *arguments])
            captured = capsys.readouterr()
            return status, captured.out, captured.err

        return command

    def test_tables_have_the_metrics_and_their_intervals(self, run):
        status, out, _ = run("--bootstrap", "50")
        assert status == 0
        for text in ("Legacy error", "PCP@0.5, relaxed, mean of the limbs", "95 % interval (50", "box PCK@0.1"):
            assert text in out
        assert "interval" not in run()[1]

    def test_json_has_intervals_where_they_are_asked_for(self, run):
        plain = json.loads(run("--json")[1])
        values = json.loads(run("--json", "--bootstrap", "50", "--bootstrap-seed", "3")[1])
        boot = values.pop("bootstrap")
        assert values == plain
        assert (boot["resamples"], boot["seed"]) == (50, 3)
        low, high = boot["intervals"]["mean_error_px"]
        assert low < plain["mean_error_px"] < high

    def test_no_resample_is_refused(self, run):
        status, _, err = run("--bootstrap", "0")
        assert status == 2
        assert "--bootstrap is 0; it has to be at least 1" in err


def numbers(evaluation):
    """All numbers of an evaluation, to the five digits that are ever printed."""

    def rounded(value):
        if isinstance(value, dict):
            return {name: rounded(inner) for name, inner in value.items()}
        return f"{value:.5g}" if isinstance(value, float) else value

    return rounded(evaluation.as_dict())
