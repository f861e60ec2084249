"""Where the persons of a picture are: told by the user, by a file of boxes, or by a detector."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from converters.errors import DeepPoseError, reason_of
from converters.files import refuse_no_file
from converters.values import dataclass
from deeppose_port.data.crop import Box
from deeppose_port.data.pictures import Picture

#: A detector: takes a picture, (H, W, 3) uint8 in BGR, and returns (N, 4) boxes x, y, width, height in its pixels, or
#: (N, 5) with a score each.
Detector: TypeAlias = Callable[[Picture], npt.ArrayLike]

#: Boxes of a smaller score are left out, where they have scores.
MIN_SCORE = 0.5


@dataclass(frozen=True)
class Found:
    """A person of a picture.

    Attributes:
        box: Where; None is the whole picture, or for takiyu's cascades where the face is.
        score: How sure that is, as whoever found the person says; None where nobody does.
        face: Where the face is, for takiyu's cascades; None to look for it.
    """

    box: Box | None
    score: float | None = None
    face: Box | None = None


class People:
    """Who is in a picture: by itself one person, who is the whole picture.

    Attributes:
        numbered: Whether there may be several: they are numbered in drawings and tables.
        by_pixels: Whether it takes the picture's pixels to tell, or its size.
        path: The file that tells it; None for none.
    """

    numbered = False
    by_pixels = False
    path: Path | None = None

    def of(self, file: Path, image: Picture) -> Sequence[Found]:
        """Returns the persons of a picture, or of a frame of a video.

        Args:
            file: The picture, or the video.
            image: (H, W, 3) uint8, BGR.

        Raises:
            DeepPoseError: It cannot be told.
        """
        return (Found(None),)

    @property
    def told(self) -> str:
        """What tells who they are, in words: alike where the same persons are found in the same pictures."""
        return type(self).__name__


class Given(People):
    """The same boxes in every picture.

    Args:
        boxes: x, y, width, height of each.
        faces: In place of boxes the same of faces, for takiyu's cascades.
    """

    def __init__(self, boxes: Sequence[Box], faces: Sequence[Box] = ()) -> None:
        self._found = (*(Found(box) for box in boxes), *(Found(None, face=face) for face in faces))
        self.numbered = len(self._found) > 1

    def of(self, file: Path, image: Picture) -> Sequence[Found]:
        """Returns the boxes or faces."""
        return self._found

    @property
    def told(self) -> str:
        """See `People.told`."""
        boxes = ((person.box, "") if person.face is None else (person.face, "the face ") for person in self._found)
        return "; ".join(f"{face}{','.join(map(repr, box or ()))}" for box, face in boxes)


class Listed(People):
    """The boxes of a file, by picture; see `boxes`.

    Args:
        path: The file, for messages.
        by_name: The persons of each picture, by its name as the file has it, or by its number.
        fractions: Whether boxes are fractions of the picture's width and height.
    """

    numbered = True

    def __init__(self, path: Path, by_name: Mapping[str, Sequence[Found]], *, fractions: bool = False) -> None:
        self.path = path
        self._by_name = by_name
        self._fractions = self.by_pixels = fractions
        #: Names without their folders -> names; None where several pictures have it.
        self._by_base: dict[str, str | None] = {}
        for name in by_name:
            base = name.rsplit("/", 1)[-1]
            self._by_base[base] = None if base in self._by_base else name

    def of(self, file: Path, image: Picture) -> Sequence[Found]:
        """Returns the boxes of a picture.

        Raises:
            DeepPoseError: The file names no such picture, or several.
        """
        found = self._by_name[self._name_of(file)]
        if not self._fractions:
            return found
        size = (image.shape[1], image.shape[0]) * 2
        scaled = ((person.score, person.box) for person in found if person.box is not None)
        return [Found((b[0] * size[0], b[1] * size[1], b[2] * size[2], b[3] * size[3]), s) for s, b in scaled]

    @property
    def told(self) -> str:
        """See `People.told`."""
        digest = hashlib.sha256()
        for name, found in self._by_name.items():
            digest.update(repr((name, [(person.box, person.score) for person in found])).encode())
        return f"boxes {digest.hexdigest()}"

    def _name_of(self, file: Path) -> str:
        """Returns what the file of boxes calls a picture: its path, or as much of its end as is there."""
        parts = spelled(file.as_posix()).split("/")
        for name in ("/".join(parts[i:]) for i in range(len(parts))):
            if name in self._by_name:
                return name
        stem = spelled(file.stem)
        for name in (parts[-1], stem, str(int(stem)) if stem.isdecimal() else stem):
            if name in self._by_name:
                return name
            if name in self._by_base:
                full = self._by_base[name]
                if full is None:
                    raise DeepPoseError(f"{self.path} has several pictures that are called {name}")
                return full
        raise DeepPoseError(f"{self.path} has no boxes of it")


class Detected(People):
    """What a detector finds.

    Args:
        detector: The detector.
        name: What it is called, for messages.
        min_score: Boxes of a smaller score are left out.
    """

    numbered = True
    by_pixels = True

    def __init__(self, detector: Detector, name: str, min_score: float = MIN_SCORE) -> None:
        self._detector = detector
        self.name = name
        self._min_score = min_score

    @property
    def told(self) -> str:
        """See `People.told`."""
        return f"the detector {self.name}, from a score of {self._min_score:g} on"

    def of(self, file: Path, image: Picture) -> Sequence[Found]:
        """Returns what the detector finds, the most certain first.

        Raises:
            DeepPoseError: It raised an error, or answered something else.
        """
        try:
            answer = self._detector(image)
        except Exception as error:
            problem = f"the detector {self.name} failed: {type(error).__name__}: {reason_of(error)}"
            raise DeepPoseError(problem) from error
        try:
            boxes = np.asarray(answer, np.float64)
        except (TypeError, ValueError):
            boxes = np.empty(0, object)
        if boxes.size == 0 and boxes.dtype == np.float64:
            return ()
        if boxes.ndim != 2 or boxes.shape[1] not in (4, 5):
            told = f"an array of {boxes.shape}" if boxes.dtype == np.float64 else f"a {type(answer).__name__}"
            raise DeepPoseError(f"the detector {self.name} answered {told}, not (N, 4) or (N, 5) boxes")
        if boxes.shape[1] == 5 and not np.isfinite(boxes[:, 4]).all():
            raise DeepPoseError(f"the detector {self.name} answered a score that is no number")
        scores = boxes[:, 4].tolist() if boxes.shape[1] == 5 else [None] * len(boxes)
        found = [Found((x, y, w, h), s) for (x, y, w, h), s in zip(boxes[:, :4].tolist(), scores, strict=True)]
        kept = [person for person in found if person.score is None or person.score >= self._min_score]
        return sorted(kept, key=lambda person: -(person.score or 0.0))


def detector(
    name: str, min_score: float = MIN_SCORE, weights: str | os.PathLike[str] | None = None, device: str = "cpu"
) -> Detected:
    """Returns a detector by its name.

    Args:
        name: A key of `DETECTORS`, or of torchvision's; an ONNX file, see `backends.onnx.detectors` for its layouts; or
            a user's own function, `module:function` or `file.py:function`, see `Detector`.
        min_score: As for `Detected`.
        weights: For torchvision's, a file of weights; None for those in torchvision's own cache.
        device: Where torchvision's or an ONNX file runs.

    Raises:
        DeepPoseError: There is none, or it cannot be loaded.
    """
    if weights is not None and name not in TORCHVISIONS:
        raise DeepPoseError(f"--people-weights is for {', '.join(TORCHVISIONS)}, not for {name}")
    if name in DETECTORS:
        return Detected(DETECTORS[name](), name, min_score)
    if name in TORCHVISIONS:
        return Detected(_torchvision(name, None if weights is None else Path(weights), device), name, min_score)
    if name.lower().endswith(".onnx"):
        return Detected(_onnx(Path(name), device), name, min_score)
    module, _, function = name.rpartition(":")
    if not module or not function:
        several = ", ".join((*DETECTORS, *TORCHVISIONS))
        raise DeepPoseError(
            f"there is no detector {name!r}; there are {several}, an ONNX file is named by its path, and a function of "
            "your own is module:function"
        )
    try:
        found = getattr(_module(module), function)
    except DeepPoseError:
        raise
    except Exception as error:
        raise DeepPoseError(f"the detector {name} cannot be loaded: {reason_of(error)}") from error
    if not callable(found):
        raise DeepPoseError(f"the detector {name} is no function")
    return Detected(found, name, min_score)


def _module(name: str) -> object:
    """Imports a user's module, by its name or its file."""
    if not name.endswith(".py"):
        return importlib.import_module(name)
    refuse_no_file(name)
    specification = importlib.util.spec_from_file_location(Path(name).stem, name)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules.setdefault(module.__name__, module)  # dataclasses look theirs up
    specification.loader.exec_module(module)
    return module


def _hog() -> Detector:
    """Returns OpenCV's detector of pedestrians: whole persons who stand, at least 128 pixels high.

    Dalal and Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005. A score is the distance from
    the plane of its support vector machine; boxes that overlap are one.
    """
    if not hasattr(cv2, "HOGDescriptor"):
        raise DeepPoseError("this OpenCV has no HOG detector; name a function of your own, as module:function")
    people = cv2.HOGDescriptor()
    people.setSVMDetector(np.asarray(cv2.HOGDescriptor.getDefaultPeopleDetector()))

    def detect(image: Picture) -> npt.ArrayLike:
        boxes, scores = people.detectMultiScale(image, winStride=(4, 4), padding=(8, 8), scale=1.05)
        if not len(boxes):
            return ()
        both = np.column_stack([np.asarray(boxes, np.float64), np.ravel(scores)])
        kept = cv2.dnn.NMSBoxes(both[:, :4].tolist(), both[:, 4].tolist(), 0.0, 0.5)
        return np.asarray(both[np.ravel(kept)], np.float64)

    return detect


#: The detectors that need nothing but what is installed; each is made when it is asked for.
DETECTORS: dict[str, Callable[[], Detector]] = {"hog": _hog}


#: torchvision's, which take its weights.
TORCHVISIONS = ("fcos", "fasterrcnn", "keypointrcnn")


def _torchvision(name: str, weights: Path | None, device: str) -> Detector:
    """Makes a detector of torchvision's, in PyTorch."""
    from deeppose_port import backends

    backends.get("torch")  # says what to install
    from deeppose_port.backends.torch.detectors import torchvision_detector

    return torchvision_detector(name, weights, device)


def _onnx(path: Path, device: str) -> Detector:
    """Makes a detector of an ONNX file, in ONNX Runtime."""
    from deeppose_port import backends

    backends.engine_named(backends.described("onnx"), "onnxruntime")  # says what to install
    backends.get("onnx")
    from deeppose_port.backends.onnx.detectors import onnx_detector

    return onnx_detector(path, device)


def spelled(name: str) -> str:
    """Returns a picture's name as every system spells it: folders parted by `/`, accents composed."""
    import unicodedata

    return unicodedata.normalize("NFC", os.fspath(name)).replace("\\", "/")
