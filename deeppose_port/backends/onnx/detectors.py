"""Detectors of persons out of an ONNX file, as their makers export them.

Which of these layouts a file has is told by its outputs; N are detections, C classes, corners are x0, y0, x1, y1:

    boxes (N, 4) corners, labels (N,), scores (N,)     torchvision's, under these names; persons are label 1
    (1, N, 6) corners, score, class                    Ultralytics' end-to-end and NMS exports; persons are class 0
    (1, 4 + C, N) middle, size, scores                 Ultralytics' YOLO from v8 on; persons are class 0
    (1, N, 5 + C) middle, size, objectness, scores     YOLO v5 and v7; persons are class 0

There is one input, (1, 3, H, W) or (3, H, W) float32, RGB from 0 to 1. Where H and W are given, the picture is brought
to them with its shape kept, in the middle of grey. Where they are not, torchvision's layout gets the picture as it is,
the others as YOLO does: its longer side is 640, and both are multiples of 32. Where the file's metadata has `names`, as
Ultralytics writes them, these tell which class persons are, and
how many classes there are.

(1, N, 6) is end-to-end where the last column is whole numbers and the corners are in order, else YOLO v5's or v7's of
one class. What has another number of classes than `names`, or scores outside of 0 to 1, as keypoints are, is refused.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from converters.errors import DeepPoseError, reason_of
from converters.files import refuse_no_file
from deeppose_port.backends.onnx.engines import providers_of
from deeppose_port.data.arrays import Float64Array
from deeppose_port.data.pictures import Picture

_LARGEST = 1 << 31  # bytes: what protobuf can hold
_NAMED = ("boxes", "labels", "scores")
_YOLO_SIDE, _YOLO_STEP = 640, 32
_GREY = 114
_SCORE_OFF = 1e-3  # that a score may be outside of 0 to 1, as half precision rounds it
_LEAST_SCORE, _MOST_OVERLAP = 0.05, 0.7  # before non-maximum suppression, and after it
_LONGEST_NAMES = 100_000  # characters

_Answers: TypeAlias = Sequence[npt.NDArray[np.generic]]


@dataclass(frozen=True)
class _Fitted:
    """How a picture was brought to the input's size: x in the input is `scale * x + left`."""

    scale: float
    left: int
    top: int

    def back(self, corners: Float64Array) -> Float64Array:
        """Returns (N, 4) x, y, width, height in the picture, of corners in the input."""
        places = (corners - [self.left, self.top] * 2) / self.scale
        return np.column_stack([places[:, :2], places[:, 2:] - places[:, :2]])


def onnx_detector(path: Path, device: str = "cpu") -> Callable[[Picture], Float64Array]:
    """Makes a detector, which returns (N, 5) x, y, width, height and score of the persons in a picture.

    Args:
        path: The ONNX file.
        device: Where it runs.

    Raises:
        DeepPoseError: It is none, or its inputs or outputs are of another layout.
    """
    import onnxruntime as runtime  # type: ignore[import-untyped]

    refuse_no_file(path, DeepPoseError, _LARGEST)
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    providers = providers_of(runtime, device)
    try:
        session = runtime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # ONNX Runtime's own kinds are of no common one
        raise DeepPoseError(f"no ONNX file that can be run: {reason_of(error)}", where=path) from error
    name, batched, height, width = _input(session.get_inputs(), path)
    outputs = [output.name for output in session.get_outputs()]
    named = set(_NAMED) <= set(outputs)
    if not named and len(outputs) != 1:
        raise _other(path, f"its outputs are {', '.join(outputs)}")
    person, classes = _person(session.get_modelmeta().custom_metadata_map.get("names"), 1 if named else 0, path)

    def detect(image: Picture) -> Float64Array:
        inputs, fitted = _fitted(image, height, width, named)
        answers = session.run(list(_NAMED) if named else outputs, {name: inputs[np.newaxis] if batched else inputs})
        corners, scores = _told_apart(answers, person, path) if named else _persons(answers[0], person, classes, path)
        return np.column_stack([fitted.back(corners), scores])

    return detect


def _input(inputs: Sequence[object], path: Path) -> tuple[str, bool, int | None, int | None]:
    """Returns the input's name, whether it is of several pictures, and its height and width where they are given."""
    told = [(str(getattr(each, "name", "")), getattr(each, "type", ""), getattr(each, "shape", [])) for each in inputs]
    if len(told) != 1:
        raise _other(path, f"it has {len(told)} inputs")
    name, kind, shape = told[0]
    colours = shape[-3] if len(shape) in (3, 4) else None
    several = len(shape) == 4 and isinstance(shape[0], int) and shape[0] != 1
    if kind != "tensor(float)" or (colours != 3 and isinstance(colours, int)) or colours is None or several:
        raise _other(path, f"its input is {kind} {shape}")
    height, width = (side if isinstance(side, int) and side > 0 else None for side in shape[-2:])
    return name, len(shape) == 4, height, width


def _other(path: Path, what: str) -> DeepPoseError:
    return DeepPoseError(
        f"{what}: no layout of a detector that is understood",
        where=path,
        advice="docs/predict.md names them; a function of your own is module:function",
    )


def _person(names: str | None, otherwise: int, path: Path) -> tuple[int, int | None]:
    """Returns the number of the class of persons, and how many classes there are; None where nothing tells."""
    if names is None:
        return otherwise, None
    try:
        told = ast.literal_eval(names) if len(names) < _LONGEST_NAMES else None
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        told = None
    classes = dict(enumerate(told)) if isinstance(told, list) else told
    if not isinstance(classes, dict):
        raise DeepPoseError("its `names` tell no classes", where=path)
    for number, name in classes.items():
        if name == "person" and isinstance(number, int):
            return number, len(classes)
    raise DeepPoseError(f"none of its {len(classes)} classes is called person", where=path)


def _fitted(
    image: Picture, height: int | None, width: int | None, named: bool
) -> tuple[npt.NDArray[np.float32], _Fitted]:
    """Brings a picture to the input, (3, H, W)."""
    rows, columns = image.shape[:2]
    if named and height is None and width is None:
        fitted, canvas = _Fitted(1.0, 0, 0), image
    else:
        scale = min((height or _YOLO_SIDE) / rows, (width or _YOLO_SIDE) / columns)
        inner = max(1, round(columns * scale)), max(1, round(rows * scale))
        outer_height, outer_width = height or _stepped(inner[1]), width or _stepped(inner[0])
        left, top = (outer_width - inner[0]) // 2, (outer_height - inner[1]) // 2
        canvas = np.full((outer_height, outer_width, 3), _GREY, np.uint8)
        resized = cv2.resize(image, inner, interpolation=cv2.INTER_LINEAR)
        canvas[top : top + inner[1], left : left + inner[0]] = resized
        fitted = _Fitted(scale, left, top)
    return np.ascontiguousarray(canvas[:, :, ::-1].transpose(2, 0, 1), np.float32) / np.float32(255), fitted


def _stepped(side: int) -> int:
    return -(-side // _YOLO_STEP) * _YOLO_STEP


def _told_apart(answers: _Answers, person: int, path: Path) -> tuple[Float64Array, Float64Array]:
    """Returns the corners and scores of persons in torchvision's layout."""
    ranks = zip(answers, (2, 1, 1), strict=True)
    boxes, labels, scores = (answer[0] if answer.ndim == rank + 1 else answer for answer, rank in ranks)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or labels.shape != scores.shape or labels.shape != boxes.shape[:1]:
        raise _other(path, f"its outputs are {boxes.shape}, {labels.shape} and {scores.shape}")
    mine = labels == person
    return boxes[mine].astype(np.float64), scores[mine].astype(np.float64)


def _persons(
    answer: npt.NDArray[np.generic], person: int, classes: int | None, path: Path
) -> tuple[Float64Array, Float64Array]:
    """Returns the corners and scores of persons in one of YOLO's layouts."""
    if answer.ndim != 3 or answer.shape[0] != 1:
        raise _other(path, f"its output is {answer.shape}")
    rows = answer[0].astype(np.float64)
    if _is_end_to_end(rows):
        mine = rows[rows[:, 5] == person]
        return mine[:, :4], mine[:, 4]
    objectness = rows.shape[0] > rows.shape[1]
    rows = rows if objectness else rows.T
    told = rows[:, 4:]
    scores = told[:, 1:] * told[:, :1] if objectness else told
    if classes not in (None, scores.shape[1]):
        raise _other(path, f"its output is {answer.shape}, and its `names` are {classes}")
    if ((told < -_SCORE_OFF) | (told > 1 + _SCORE_OFF)).any():
        raise _other(path, f"its output is {answer.shape}, with scores that are not from 0 to 1")
    if person >= scores.shape[1]:
        raise _other(path, f"its output is {answer.shape}, which has no class {person}")
    kept = rows[(scores.argmax(axis=1) == person) & (scores[:, person] > _LEAST_SCORE)]
    certain = kept[:, 5 + person] * kept[:, 4] if objectness else kept[:, 4 + person]
    corners = np.column_stack([kept[:, :2] - kept[:, 2:4] / 2, kept[:, :2] + kept[:, 2:4] / 2])
    boxes = np.column_stack([corners[:, :2], kept[:, 2:4]])
    best = np.ravel(cv2.dnn.NMSBoxes(boxes.tolist(), certain.tolist(), _LEAST_SCORE, _MOST_OVERLAP)).astype(int)
    return corners[best], certain[best]


def _is_end_to_end(rows: Float64Array) -> bool:
    """Tells whether (N, 6) are corners, score and class, not middle, size, objectness and the score of one class."""
    if rows.shape[1] != 6:
        return False
    return bool((rows[:, 5] == np.round(rows[:, 5])).all() and (rows[:, 2:4] >= rows[:, :2]).all())
