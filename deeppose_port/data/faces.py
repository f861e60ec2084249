"""Faces, found as takiyu/DeepPose finds them: by the detector of Viola and Jones that comes with OpenCV."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from converters.errors import DeepPoseError
from deeppose_port.data.crop import Box
from deeppose_port.data.pictures import Picture

_DETECTOR = "haarcascade_frontalface_alt.xml"
#: The largest face that the program looks for, in pixels.
_LARGEST = (100, 100)


class NoFaceError(DeepPoseError):
    """A picture in which no face is found."""


def find_face(picture: Picture) -> Box:
    """Finds the largest face of a picture.

    Grey is made of the picture in float32 and truncated, as in the program: an ordinary grey moves the box by a pixel.

    Args:
        picture: (H, W, 3) uint8, BGR.

    Returns:
        x, y, width and height of its box, in pixels.

    Raises:
        NoFaceError: There is none.
        DeepPoseError: OpenCV is 5 or later, which has no such detector.
    """
    if not hasattr(cv2, "CascadeClassifier"):
        problem = f"OpenCV {cv2.__version__} has no detector of Viola and Jones"
        raise DeepPoseError(problem, advice="pip install 'opencv-python-headless<5', or give the box of the face")
    grey = cv2.cvtColor(picture.astype(np.float32) / np.float32(255), cv2.COLOR_BGR2GRAY) * np.float32(255)
    equalized = cv2.equalizeHist(grey.astype(np.uint8))
    detector = cv2.CascadeClassifier(str(Path(cv2.__file__).parent / "data" / _DETECTOR))
    faces = detector.detectMultiScale(equalized, scaleFactor=1.1, minNeighbors=3, maxSize=_LARGEST)
    if len(faces) == 0:
        raise NoFaceError("no face is found in it: give its box with face=(x, y, width, height), --face x,y,w,h")
    x, y, width, height = max(np.asarray(faces, np.float64).tolist(), key=lambda face: face[2] * face[3])
    return x, y, width, height
