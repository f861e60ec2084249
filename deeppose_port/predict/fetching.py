"""What is behind an http(s) address: a picture's bytes, as many as there may be and no longer than that may take."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from converters.errors import DeepPoseError, reason_of

if TYPE_CHECKING:
    from http.client import HTTPResponse

_SECONDS = 30  # without a byte
_ALL_SECONDS = 300  # for a whole picture
_LARGEST = 1 << 28  # bytes
_CHUNK = 1 << 18
#: What servers say of a file that they know nothing of.
_UNKNOWN = ("", "application/octet-stream", "binary/octet-stream")
#: Content types of what has no end, or is played: a stream.
_STREAMS = ("video/", "multipart/x-mixed-replace", "application/vnd.apple.mpegurl", "application/x-mpegurl")


def fetched(url: str) -> npt.NDArray[np.uint8]:
    """Returns the bytes behind an address, (N,) uint8.

    Raises:
        DeepPoseError: It is not http or https, cannot be fetched, is no picture by what its server says, is too large,
            or takes too long.
    """
    parts: list[bytes] = []
    size, end = 0, time.monotonic() + _ALL_SECONDS
    with _answer(url) as answer:
        kind = _kind(answer)
        if kind not in _UNKNOWN and not kind.startswith("image/"):
            raise DeepPoseError(f"it is {kind}, not a picture", where=url)
        announced = answer.length
        if announced is not None and announced > _LARGEST:
            raise DeepPoseError(f"it has {announced:,} bytes, and {_LARGEST:,} are the most", where=url)
        while part := answer.read1(_CHUNK):
            parts.append(part)
            size += len(part)
            if size > _LARGEST:
                raise DeepPoseError(f"it has more than {_LARGEST:,} bytes", where=url)
            if time.monotonic() > end:
                raise DeepPoseError(f"it is not here after {_ALL_SECONDS} seconds", where=url)
        if announced is not None and size < announced:
            raise DeepPoseError(f"cannot be fetched: it ends after {size:,} of {announced:,} bytes", where=url)
    return np.frombuffer(b"".join(parts), np.uint8)


def is_stream(url: str) -> bool:
    """Tells whether a server says that what is behind an address is a stream; False where it says nothing."""
    try:
        with _answer(url) as answer:
            return _kind(answer).startswith(_STREAMS)
    except DeepPoseError:
        return False  # it is said where it is fetched


def _kind(answer: HTTPResponse) -> str:
    return (answer.headers.get("Content-Type") or "").partition(";")[0].strip().lower()


@contextmanager
def _answer(url: str) -> Iterator[HTTPResponse]:
    """Asks a server. No other scheme is followed, wherever it sends us."""
    if not url.startswith(("http://", "https://")):
        raise DeepPoseError("http and https are fetched; a bucket's signed URLs are such", where=url)
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    opener.addheaders = [("User-Agent", "deeppose-port")]
    try:
        with opener.open(url, timeout=_SECONDS) as answer:
            yield answer
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(error, DeepPoseError):
            raise
        if isinstance(error, urllib.error.HTTPError):  # which is an answer as well
            error.close()
        raise DeepPoseError(f"cannot be fetched: {reason_of(error)}", where=url) from error
