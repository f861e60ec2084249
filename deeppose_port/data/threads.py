"""OpenCV starts no threads of its own beside those that make examples."""

from __future__ import annotations

import threading

import cv2


class _WithoutOpenCVThreads:
    """Switches OpenCV's own threads off while anybody is within it. The setting is one for the whole process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before = 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._users:
                self._before = cv2.getNumThreads()
                cv2.setNumThreads(0)
            self._users += 1

    def __exit__(self, *raised: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                cv2.setNumThreads(self._before)


#: For pools of threads that call OpenCV: both kinds of threads together would only compete. May be entered by several
#: at a time; the last to leave brings the setting back.
without_opencv_threads = _WithoutOpenCVThreads()
