"""Detectors out of ONNX files, made with known answers."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from deeppose_port.backends.onnx.detectors import onnx_detector  # noqa: E402
from deeppose_port.predict import detector  # noqa: E402

#: 200 x 100, and orange, BGR.
IMAGE = np.full((100, 200, 3), (0, 102, 255), np.uint8)


def written(path, shape, outputs, metadata=None, kind=TensorProto.FLOAT):
    """Writes a graph whose outputs are constants; `scores` have the mean of red as the last number."""
    nodes, constants, told = [], [], []
    for name, values in outputs.items():
        array = np.asarray(values, np.int64 if name == "labels" else np.float32)
        constants.append(numpy_helper.from_array(array, f"{name}_constant"))
        told.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), None))
        if name == "scores":
            axis = len(shape) - 3
            constants.append(numpy_helper.from_array(np.array([0]), "red"))
            nodes.append(helper.make_node("Gather", ["images", "red"], ["reds"], axis=axis))
            nodes.append(helper.make_node("ReduceMean", ["reds"], ["mean"], keepdims=0))
            constants.append(numpy_helper.from_array(np.array([1]), "one"))
            nodes.append(helper.make_node("Reshape", ["mean", "one"], ["last"]))
            nodes.append(helper.make_node("Concat", [f"{name}_constant", "last"], [name], axis=0))
        else:
            nodes.append(helper.make_node("Identity", [f"{name}_constant"], [name]))
    images = helper.make_tensor_value_info("images", kind, shape)
    graph = helper.make_graph(nodes, "detector", [images], told, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    if metadata:
        helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


CORNERS = [[10, 20, 30, 60], [0, 0, 5, 5], [100, 0, 200, 100]]
NAMED = {"boxes": CORNERS, "labels": [1, 3, 1], "scores": [0.9, 0.8]}


class TestTorchvisionsLayout:
    @pytest.mark.parametrize("shape", [(3, "h", "w"), (1, 3, "h", "w"), ("n", 3, None, None)])
    def test_the_picture_is_seen_as_it_is(self, tmp_path, shape):
        found = onnx_detector(written(tmp_path / "a.onnx", shape, NAMED))(IMAGE)
        np.testing.assert_allclose(found, [[10, 20, 20, 40, 0.9], [100, 0, 100, 100, 1.0]], rtol=1e-6)

    def test_a_side_that_is_given_is_obeyed(self, tmp_path):
        outputs = {**NAMED, "boxes": [[32, 16, 48, 48], [0, 0, 1, 1], [0, 16, 64, 48]]}
        found = onnx_detector(written(tmp_path / "a.onnx", (1, 3, 64, 64), outputs))(IMAGE)
        np.testing.assert_allclose(found[:, :4], [[100, 0, 50, 100], [0, 0, 200, 100]], atol=1e-4)
        assert found[1, 4] == pytest.approx((1.0 + 114 / 255) / 2, abs=1e-5)  # half of it is grey

    def test_outputs_that_do_not_fit_together(self, tmp_path):
        path = written(tmp_path / "a.onnx", (3, "h", "w"), {**NAMED, "labels": [1]})
        with pytest.raises(ValueError, match=r"its outputs are \(3, 4\), \(1,\) and \(3,\): no layout"):
            onnx_detector(path)(IMAGE)


class TestYolosLayouts:
    def test_end_to_end(self, tmp_path):
        rows = [[[0, 16, 64, 48, 0.9, 0], [0, 16, 32, 32, 0.7, 2], [32, 16, 64, 48, 0.3, 0]]]
        found = onnx_detector(written(tmp_path / "a.onnx", (1, 3, 64, 64), {"output0": rows}))(IMAGE)
        np.testing.assert_allclose(found, [[0, 0, 200, 100, 0.9], [100, 0, 100, 100, 0.3]], atol=1e-4)

    def raw(self, *rows):
        """Middle, size and scores of some detections; the others have none."""
        answer = np.zeros((12, len(rows[0])), np.float32)
        answer[: len(rows)] = rows
        return answer

    def test_scores_of_classes(self, tmp_path):
        rows = self.raw(
            (32, 32, 64, 32, 0.9, 0.2), (33, 32, 64, 32, 0.8, 0.1), (16, 24, 32, 16, 0.3, 0.7), (8, 24, 16, 16, 0.6, 0)
        )
        path = written(tmp_path / "a.onnx", (1, 3, 64, 64), {"output0": rows.T[np.newaxis]})
        np.testing.assert_allclose(onnx_detector(path)(IMAGE), [[0, 0, 200, 100, 0.9], [0, 0, 50, 50, 0.6]], atol=1e-4)

    def test_objectness(self, tmp_path):
        rows = self.raw((32, 32, 64, 32, 0.5, 0.9, 0.1), (8, 24, 16, 16, 0.9, 0.1, 0.8))
        path = written(tmp_path / "a.onnx", (1, 3, 64, 64), {"output0": rows[np.newaxis]})
        np.testing.assert_allclose(onnx_detector(path)(IMAGE), [[0, 0, 200, 100, 0.45]], atol=1e-4)

    def test_objectness_of_one_class(self, tmp_path):
        rows = self.raw((32, 32, 64, 32, 0.5, 0.9), (8, 24, 16, 16, 0.9, 0.8))
        path = written(tmp_path / "a.onnx", (1, 3, 64, 64), {"output0": rows[np.newaxis]})
        found = onnx_detector(path)(IMAGE)
        np.testing.assert_allclose(found, [[0, 0, 50, 50, 0.72], [0, 0, 200, 100, 0.45]], atol=1e-4)

    @pytest.mark.parametrize("transposed", [True, False])
    def test_keypoints_are_no_classes(self, tmp_path, transposed):
        rows = np.zeros((84, 56 if transposed else 57), np.float32)
        rows[0] = 40  # pixels
        rows[0, 4] = rows[0, 7] = 0.9
        told = rows.T if transposed else rows
        size = r"\(1, 56, 84\)" if transposed else r"\(1, 84, 57\)"
        path = written(tmp_path / "a.onnx", (1, 3, 64, 64), {"output0": told[np.newaxis]})
        with pytest.raises(ValueError, match=rf"its output is {size}, with scores that are not from 0 to 1: no layout"):
            onnx_detector(path)(IMAGE)
        names = {"names": "{0: 'person'}"}
        path = written(tmp_path / "b.onnx", (1, 3, 64, 64), {"output0": told[np.newaxis] * 0}, names)
        with pytest.raises(ValueError, match=rf"its output is {size}, and its `names` are 1: no layout"):
            onnx_detector(path)(IMAGE)

    def test_names_tell_which_class_persons_are(self, tmp_path):
        rows = [[[0, 16, 64, 48, 0.9, 0], [0, 16, 32, 32, 0.7, 2]]]
        told = (tmp_path / "a.onnx", (1, 3, 64, 64), {"output0": rows})
        found = onnx_detector(written(*told, {"names": "{0: 'dog', 2: 'person'}"}))(IMAGE)
        np.testing.assert_allclose(found, [[0, 0, 100, 50, 0.7]], atol=1e-4)
        with pytest.raises(ValueError, match=r"a\.onnx: none of its 1 classes is called person"):
            onnx_detector(written(*told, {"names": "['dog']"}))
        with pytest.raises(ValueError, match=r"a\.onnx: its `names` tell no classes"):
            onnx_detector(written(*told, {"names": "__import__('os')"}))

    def test_sides_that_are_free_are_multiples_of_32(self, tmp_path):
        rows = [[[0, 0, 640, 320, 0.9, 0]]]
        found = onnx_detector(written(tmp_path / "a.onnx", (1, 3, "h", "w"), {"output0": rows}))(IMAGE)
        np.testing.assert_allclose(found, [[0, 0, 200, 100, 0.9]], atol=1e-4)


class TestOthers:
    def test_what_is_no_detector_is_refused(self, tmp_path):
        (tmp_path / "text.onnx").write_text("no graph")
        for name, told, phrase in (
            (
                "bytes",
                ((1, 3, 9, 9), {"x": [[[1]]]}, None, TensorProto.UINT8),
                r"its input is tensor\(uint8\) \[1, 3, 9, 9\]",
            ),
            ("last", ((1, 9, 9, 3), {"x": [[[1]]]}), r"its input is tensor\(float\) \[1, 9, 9, 3\]"),
            ("two", ((1, 3, 9, 9), {"x": [1], "y": [1]}), "its outputs are x, y"),
        ):
            path = written(tmp_path / f"{name}.onnx", *told)
            with pytest.raises(ValueError, match=rf"{name}\.onnx: {phrase}: no layout of a detector that is"):
                onnx_detector(path)
        with pytest.raises(ValueError, match=r"flat\.onnx: its output is \(4,\)"):
            onnx_detector(written(tmp_path / "flat.onnx", (1, 3, 9, 9), {"x": [1, 2, 3, 4]}))(IMAGE)
        with pytest.raises(ValueError, match=r"text\.onnx: no ONNX file that can be run"):
            onnx_detector(tmp_path / "text.onnx")
        with pytest.raises(ValueError, match=r"gone\.onnx: there is no such file"):
            onnx_detector(tmp_path / "gone.onnx")

    def test_it_is_named_by_its_file(self, tmp_path):
        path = written(tmp_path / "a.onnx", (3, "h", "w"), NAMED)
        found = detector(str(path), 0.95).of(path, IMAGE)
        assert [person.box for person in found] == [(100, 0, 100, 100)]
        with pytest.raises(ValueError, match="--people-weights is for fcos, fasterrcnn, keypointrcnn"):
            detector(str(path), weights=path)
