"""Decoded pictures, kept for their next use in a bounded number of bytes."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict

from converters.errors import DeepPoseError
from deeppose_port.data.pictures import Picture

#: Bytes of decoded pictures that a dataset keeps unless told otherwise: 24 of 1280 x 720 pixels.
DEFAULT = 64 << 20


class PictureCache:
    """The pictures used last, as many as fit into a number of bytes.

    Threads share it. Processes do not: one that is forked or sent to begins with an empty one of its own, of the same
    limit.

    Args:
        limit: Bytes of pixels to keep at most; 0 keeps nothing. A picture that is larger by itself is not kept.

    Attributes:
        limit: The same.
        used: Bytes of pixels kept now.

    Raises:
        DeepPoseError: The limit is negative.
    """

    def __init__(self, limit: int = DEFAULT) -> None:
        if limit < 0:
            raise DeepPoseError(f"the cache's limit is {limit} bytes; it has to be 0 or more")
        self.limit = limit
        self.clear()
        _caches.add(self)

    def __len__(self) -> int:
        return len(self._pictures)

    def clear(self) -> None:
        """Forgets all pictures."""
        self._lock = threading.Lock()
        self._pictures: OrderedDict[str, Picture] = OrderedDict()  # the one used last at the end
        self.used = 0

    def get(self, name: str) -> Picture | None:
        """Returns a picture that is kept, or None."""
        with self._lock:
            picture = self._pictures.get(name)
            if picture is not None:
                self._pictures.move_to_end(name)
            return picture

    def put(self, name: str, picture: Picture) -> None:
        """Keeps a picture, and forgets those whose last use is the longest ago until it fits."""
        if picture.nbytes > self.limit:
            return
        with self._lock:
            if name in self._pictures:
                self.used -= self._pictures.pop(name).nbytes
            while self.used + picture.nbytes > self.limit:
                _, oldest = self._pictures.popitem(last=False)
                self.used -= oldest.nbytes
            self._pictures[name] = picture
            self.used += picture.nbytes

    def __reduce__(self) -> tuple[type[PictureCache], tuple[int]]:
        return type(self), (self.limit,)


_caches: weakref.WeakSet[PictureCache] = weakref.WeakSet()


def _start_over() -> None:
    """Empties the caches of a forked process, whose locks may be held by threads that it does not have."""
    for cache in list(_caches):
        cache.clear()


os.register_at_fork(after_in_child=_start_over)
