"""The Keras course's shards, written by the rules of TFRecord and protocol buffers, without TensorFlow."""

import struct

import cv2
import numpy as np

from converters.formats._leveldb import masked_crc32c

JPEG = cv2.imencode(".jpg", np.random.RandomState(0).randint(0, 256, (60, 80, 3), np.uint8))[1].tobytes()


def varint(value):
    value &= (1 << 64) - 1
    content = b""
    while value >= 0x80:
        content, value = content + bytes([value & 0x7F | 0x80]), value >> 7
    return content + bytes([value])


def field(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def feature(value):
    if isinstance(value, bytes):
        return field(1, field(1, value))
    if isinstance(value, float):
        return field(2, field(1, struct.pack("<f", value)))
    return field(3, field(1, b"".join(map(varint, np.atleast_1d(value).tolist()))))


def record(**changes):
    features = {
        "image/encoded": JPEG,
        "image/filename": b"/data/mpii/a.jpg",
        "image/width": 80,
        "image/height": 60,
        "image/object/parts/x": np.arange(16) * 4 + 5,
        "image/object/parts/y": np.arange(16) * 3 + 5,
        "image/object/parts/v": np.array([0, *[1] * 15]),
        "image/object/center/x": 40,
        "image/object/center/y": 30,
        "image/object/scale": 0.25,
    }
    features |= {name.replace("_", "/"): value for name, value in changes.items()}
    entries = (field(1, field(1, n.encode()) + field(2, feature(v))) for n, v in features.items() if v is not None)
    return field(1, b"".join(entries))


def framed(*contents):
    whole = b""
    for content in contents:
        length = struct.pack("<Q", len(content))
        whole += length + struct.pack("<I", masked_crc32c(length)) + content
        whole += struct.pack("<I", masked_crc32c(content))
    return whole
