"""A window that shows pictures, where this OpenCV has windows."""

from __future__ import annotations

import os
import sys

import cv2

from converters.errors import DeepPoseError, reason_of
from deeppose_port.data.pictures import Picture

_TITLE = "deeppose-port: q ends"
_ENDS = (ord("q"), 27)  # and Escape


class Window:
    """A window; it opens with the first picture.

    Raises:
        DeepPoseError: This OpenCV has no windows, or there is no display.
    """

    def __init__(self) -> None:
        if not _has_windows():
            raise DeepPoseError(
                "--show takes an OpenCV with windows, and this one has none",
                advice="pip uninstall -y opencv-python-headless; pip install opencv-python",
            )
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise DeepPoseError("--show takes a display, and there is none", advice="leave --show out")

    def show(self, picture: Picture) -> bool:
        """Shows a picture, (H, W, 3) uint8 in BGR; tells whether to go on: q and Escape end, and closing it.

        Raises:
            DeepPoseError: It cannot be shown.
        """
        try:
            cv2.imshow(_TITLE, picture)
            if cv2.waitKey(1) & 0xFF in _ENDS:
                return False
            return cv2.getWindowProperty(_TITLE, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error as error:
            raise DeepPoseError(f"--show: OpenCV cannot show a window here: {reason_of(error)}") from error

    def close(self) -> None:
        """Closes the window."""
        cv2.destroyAllWindows()


def _has_windows() -> bool:
    """Tells what OpenCV says of itself: of a build without windows, that its GUI is NONE."""
    lines = [line.split() for line in cv2.getBuildInformation().splitlines()]
    return not any(line[:2] == ["GUI:", "NONE"] for line in lines)
