"""Converting a full-size AlexNet, over the least that a script of one's own would do with NumPy."""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.timing import Row, Usage, take_turns, usage_of
from converters import Architecture
from converters.keys import chainer_names

ROUNDS = 3

#: Reads every array, replaces NaN and Inf, writes them uncompressed: no hash, no names, no shapes, no second look.
_REFERENCE = """
import sys
import numpy as np
with np.load(sys.argv[1]) as arrays:
    np.savez(sys.argv[2], **{key: np.nan_to_num(arrays[key]) for key in arrays.files})
"""


def run() -> list[Row]:
    """Measures both in turns, each in a process of its own and with the file in the page cache; the median counts."""
    with tempfile.TemporaryDirectory(prefix="deeppose-port-benchmark-") as folder:
        source = Path(folder) / "epoch-100.model"
        largest = _write_alexnet(source)
        command = Path(sys.executable).with_name("deeppose-port")
        target, other = Path(folder) / "ours.safetensors", Path(folder) / "reference.npz"

        def ours() -> Usage:
            target.unlink(missing_ok=True)
            return usage_of([str(command), "convert", str(source), "-o", str(target)])

        def reference() -> Usage:
            other.unlink(missing_ok=True)
            return usage_of([sys.executable, "-c", _REFERENCE, str(source), str(other)])

        take_turns(1, ours, reference)
        mine, theirs = take_turns(ROUNDS, ours, reference)
        size = source.stat().st_size / 1e6
    seconds, theirs_seconds = (statistics.median(usage.seconds for usage in usages) for usages in (mine, theirs))
    peak = max(usage.peak_bytes for usage in mine)
    what = f"convert a {size:.0f} MB AlexNet to safetensors"
    return [
        Row(f"{what}: time", seconds, theirs_seconds, "s", "ratio", "<=", 0.95),
        Row(f"{what}: peak memory", peak / 1e6, largest / 1e6, "MB", "difference", "<=", 250),
    ]


def _write_alexnet(path: Path) -> int:
    """Writes a checkpoint of random weights as Chainer does; returns the bytes of its largest tensor."""
    architecture = Architecture.full_size("alexnet", joints=16)
    random = np.random.default_rng(0)
    keys = chainer_names(architecture)
    arrays = {
        f"predictor/{keys[name]}": random.standard_normal(shape, np.float32) * np.float32(0.01)
        for name, shape in architecture.shapes.items()
    }
    with path.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)
    return max(int(array.nbytes) for array in arrays.values())
