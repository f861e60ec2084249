"""What is behind an address: a picture's bytes, as many as there may be and no longer than that may take.

Buckets are read by fsspec and what it needs for each, which are asked for when there is one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from converters.errors import DeepPoseError, reason_of

if TYPE_CHECKING:
    from http.client import HTTPResponse

    from fsspec import AbstractFileSystem

#: The schemes of buckets.
BUCKETS = ("s3", "gs", "gcs", "az", "abfs")

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
        DeepPoseError: It is neither http(s) nor in a bucket, cannot be fetched, is no picture by what its server says,
            is too large, or takes too long.
    """
    if is_bucket(url):
        return _from_bucket(url)
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


def is_bucket(url: str) -> bool:
    """Tells whether an address is in a bucket."""
    return url.partition("://")[0].lower() in BUCKETS


def listed_in(url: str) -> list[str]:
    """Returns the addresses of the files under one in a bucket, sorted.

    Raises:
        DeepPoseError: It cannot be listed.
    """
    system, path = _bucket(url)
    try:
        return sorted(system.unstrip_protocol(name) for name in system.find(path))
    except Exception as error:  # each kind of bucket has its own
        raise DeepPoseError(f"cannot be listed: {reason_of(error)}", where=url) from error


def _from_bucket(url: str) -> npt.NDArray[np.uint8]:
    system, path = _bucket(url)
    try:
        with system.open(path, "rb") as file:
            data: bytes = file.read(_LARGEST + 1)
    except Exception as error:  # as above
        raise DeepPoseError(f"cannot be fetched: {reason_of(error)}", where=url) from error
    if len(data) > _LARGEST:
        raise DeepPoseError(f"it has more than {_LARGEST:,} bytes", where=url)
    return np.frombuffer(data, np.uint8)


def _bucket(url: str) -> tuple[AbstractFileSystem, str]:
    """Opens a bucket."""
    scheme = url.partition("://")[0].lower()
    try:
        from fsspec.core import url_to_fs

        if "::" in url:  # which fsspec takes for one address in another
            raise DeepPoseError("`::` stands in it")
        system, path = url_to_fs(url)
    except ImportError as error:
        advice = f"pip install fsspec and what it needs for {scheme}, s3fs for s3"
        raise DeepPoseError(f"buckets are read by fsspec: {reason_of(error)}", where=url, advice=advice) from error
    except Exception as error:  # as above
        raise DeepPoseError(f"cannot be opened: {reason_of(error)}", where=url) from error
    return system, str(path)


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
    import http.client  # later: what speaks HTTP takes a while to load
    import urllib.error
    import urllib.request

    if not url.lower().startswith(("http://", "https://")):
        told = ", ".join(("http", "https", *BUCKETS))
        raise DeepPoseError(f"this is not fetched; there are {told}", where=url)
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
