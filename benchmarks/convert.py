"""Converting a full-size AlexNet to safetensors, over the least that could be done: inflating and writing its bytes."""

from __future__ import annotations

import math
import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.timing import Row, Usage, take_turns, usage_of
from converters import Architecture
from converters.formats._zip import library
from converters.keys import chainer_names

ROUNDS = 5
MANY = 100
#: Two million numbers.
NARROW = Architecture("alexnet", 16, {"conv2": 96, "conv3": 96, "conv4": 96, "conv5": 64, "fc6": 256}, feature_size=6)

#: Inflates every member in one thread with the fastest inflater that is here, and writes what comes out: no names, no
#: shapes, no checksums, no hashes, no NaN, no second look.
_REFERENCE = f"""
import os, sys, zipfile
from {library().__name__} import decompressobj
with zipfile.ZipFile(sys.argv[1]) as archive, open(sys.argv[1], "rb") as source, open(sys.argv[2], "wb") as target:
    for member in archive.infolist():
        source.seek(member.header_offset + 26)
        lengths = source.read(4)
        source.seek(int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little"), os.SEEK_CUR)
        inflater, left = decompressobj(-15), member.compress_size
        while left:
            data = source.read(min(left, 1 << 18))
            left -= len(data)
            target.write(inflater.decompress(data))
"""


#: Converts a folder's files to safetensors in a number of processes.
_SEVERAL = """
import sys
from pathlib import Path
from converters import Report, convert_several
if __name__ == "__main__":
    jobs = [(path, Path(sys.argv[2]) / f"{path.stem}.safetensors") for path in sorted(Path(sys.argv[1]).iterdir())]
    outcomes = list(convert_several(jobs, processes=int(sys.argv[3]) or None, force=True))
    sys.exit(0 if all(isinstance(outcome, Report) for outcome in outcomes) else 1)
"""


def run() -> list[Row]:
    """Measures ours and theirs in turns, each in a process of its own, files in the page cache; the median counts."""
    with tempfile.TemporaryDirectory(prefix="deeppose-port-benchmark-") as folder:
        return [*_one(Path(folder)), _many(Path(folder))]


def _one(folder: Path) -> list[Row]:
    command = str(Path(sys.executable).with_name("deeppose-port"))
    full_size = Architecture.full_size("alexnet", joints=16)
    source, broken, small = folder / "epoch-100.model", folder / "epoch-101.model", folder / "epoch-0.model"
    _write(source, full_size)
    _write(broken, full_size, nan=True)
    _write(small, NARROW)
    target, other = folder / "ours.safetensors", folder / "reference.bin"

    def ours(path: Path) -> Usage:
        target.unlink(missing_ok=True)
        return usage_of([command, "convert", str(path), "-o", str(target)])

    def reference() -> Usage:
        other.unlink(missing_ok=True)
        return usage_of([sys.executable, "-c", _REFERENCE, str(source), str(other)])

    measured = (lambda: ours(source), lambda: ours(broken), reference, lambda: ours(small))
    take_turns(1, *measured)
    mine, repaired, theirs, started = take_turns(ROUNDS, *measured)
    what = f"convert a {source.stat().st_size / 1e6:.0f} MB AlexNet to safetensors"
    bare = _seconds(theirs)
    largest = max(4 * math.prod(shape) for shape in full_size.shapes.values())
    peak = max(usage.peak_bytes for usage in mine) - min(usage.peak_bytes for usage in started)
    for path in (source, broken, small, target, other):
        path.unlink()
    return [
        Row(f"{what}: time", _seconds(mine), bare, "s", "ratio", "<=", 1.3),
        Row(f"{what}, with NaN: time", _seconds(repaired), bare, "s", "ratio", "<=", 3),
        Row(f"{what}: memory above a small file's", peak / 1e6, None, "MB", "ours", "<=", largest / 1e6 + 150),
    ]


def _many(folder: Path) -> Row:
    sources, targets, program = folder / "in", folder / "out", folder / "several.py"
    sources.mkdir()
    targets.mkdir()
    program.write_text(_SEVERAL, encoding="utf-8")
    _write(sources / "epoch-0.model", NARROW)
    for i in range(1, MANY):
        os.link(sources / "epoch-0.model", sources / f"epoch-{i}.model")

    def convert(processes: int) -> Usage:
        return usage_of([sys.executable, str(program), str(sources), str(targets), str(processes)])

    together, alone = take_turns(3, lambda: convert(0), lambda: convert(1))
    what = f"convert {MANY} files of 8 MB in one call: files a second, in processes and in one"
    return Row(what, MANY / _seconds(together), MANY / _seconds(alone), "", "ratio", ">=", 1.2)


def _seconds(usages: list[Usage]) -> float:
    return statistics.median(usage.seconds for usage in usages)


def _write(path: Path, architecture: Architecture, nan: bool = False) -> None:
    """Writes a checkpoint of random weights as Chainer does, if asked for with a NaN in every tensor."""
    random = np.random.default_rng(0)
    keys = chainer_names(architecture)
    arrays = {
        f"predictor/{keys[name]}": random.standard_normal(shape, np.float32) * np.float32(0.01)
        for name, shape in architecture.shapes.items()
    }
    if nan:
        for array in arrays.values():
            array.flat[0] = np.nan
    with path.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)
