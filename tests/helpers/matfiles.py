"""Data sets as their authors ship them, made up: MATLAB files with nested structs, and pictures."""

import json
import struct

import cv2
import numpy as np
from scipy.io import savemat

from deeppose_port.data.prepare import PrepareError, _matfile

EMPTY = np.empty((0, 0))


def read_here(path, variable, most=1 << 20):
    """`matlab.read` without its process, whose start is most of a small test's time."""
    try:
        return json.loads("".join(_matfile.plain(_matfile.read(str(path), variable, most))))
    except _matfile.UnreadableError as error:
        raise PrepareError(f"{path}: {error}") from error


def structs(*items):
    """A struct array of dictionaries with the same keys, as scipy.io.savemat writes one."""
    fields = list(items[0])
    array = np.empty((1, len(items)), [(field, object) for field in fields])
    for i, item in enumerate(items):
        assert list(item) == fields
        for field in fields:
            array[0, i][field] = item[field]
    return array


def point(joint, x, y, **fields):
    return {"x": x, "y": y, "id": joint, **fields}


def rectangle(points, box=(10, 20, 40, 60), **fields):
    """One entry of MPII's annorect; `points` are dictionaries, or what stands in the place of annopoints."""
    x1, y1, x2, y2 = box
    annopoints = structs({"point": structs(*points)}) if isinstance(points, list) else points
    return {"x1": x1, "y1": y1, "x2": x2, "y2": y2, "annopoints": annopoints, **fields}


def picture(name, *rectangles):
    return {"image": structs({"name": name}), "annorect": structs(*rectangles) if rectangles else EMPTY}


def write_mpii(path, pictures, trains=None):
    """Writes mpii_human_pose_v1_u12_1.mat."""
    flags = np.ones((1, len(pictures))) if trains is None else np.array([trains], np.uint8)
    release = {"annolist": structs(*pictures), "img_train": flags, "version": "12"}
    savemat(path, {"RELEASE": structs(release)}, do_compression=True)
    return path


def write_flic(path, coords, files, films=None, names=("poselet_hit_idx", "moviename", "coords", "filepath")):
    """Writes examples.mat of (N, 2, 29) coordinates."""
    films = films or ["film"] * len(files)
    rows = zip(films, coords, files, strict=True)
    examples = structs(*(dict(zip(names, (EMPTY, film, xy, file), strict=True)) for film, xy, file in rows))
    savemat(path, {"examples": examples}, do_compression=True)
    return path


def write_pictures(folder, names, width=100, height=80):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        cv2.imwrite(str(folder / name), np.zeros((height, width, 3), np.uint8))


def element(kind, data):
    """One element of a MATLAB 5 file."""
    return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)


def matrix_header(mx_class, dims, name=b""):
    flags = element(6, struct.pack("<II", mx_class, 0))
    return flags + element(5, struct.pack(f"<{len(dims)}i", *dims)) + element(1, name)


def mat5(content):
    """A MATLAB 5 file of raw elements."""
    return b"MATLAB 5.0 MAT-file".ljust(116) + bytes(8) + struct.pack("<H", 0x0100) + b"IM" + content


def nested_cells(depth, name=b"x"):
    """A cell in a cell in a cell."""
    inner, header = matrix_header(6, (0, 0)) + element(9, b""), matrix_header(1, (1, 1))
    size = 8 + len(inner)
    levels = []
    for _ in range(depth):
        levels.append(struct.pack("<II", 14, size + len(header)) + header)
        size += 8 + len(header)
    first = matrix_header(1, (1, 1), name)
    outer = struct.pack("<II", 14, size + len(first)) + first
    return outer + b"".join(reversed(levels)) + element(14, inner)
