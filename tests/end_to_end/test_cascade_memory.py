"""What `eval` of a cascade holds in memory does not grow with persons or stages but by their numbers."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

import converters
from converters import Preprocessing
from converters.cascade import Cascade, CloseUp, Stage
from deeppose_port.training.initial import initial_architecture, initial_checkpoint
from tests.conftest import ROOT

pytest.importorskip("resource")
JOINTS, SIDE, FEW, MANY, STAGES = 7, 64, 16, 1200, 4
#: What a person's numbers may take: joints, labels, masks and metrics of every stage.
PERSON = 512 * JOINTS * STAGES
#: Batches on their way, what allocators keep, and code that is loaded late.
BESIDE = 24 << 20
#: One more input of each person, of the first stage alone, is too much.
INPUT = 3 * SIDE * SIDE * 4

PROGRAM = """
import resource, sys
from pathlib import Path
from deeppose_port.cli import main

def held(what):
    return int(Path("/proc/self/status").read_text().split(what)[1].split()[0]) * 1024

folder, bound = sys.argv[1], int(sys.argv[2])
run = ["eval", f"{folder}/cascade.pt", "--images", folder, "--skeleton", "flic", "--json", "--csv"]
assert main([*run, f"{folder}/few.csv"]) == 0
before = held("VmHWM:")
resource.setrlimit(resource.RLIMIT_AS, (held("VmSize:") + 2 * bound,) * 2)
assert main([*run, f"{folder}/many.csv"]) == 0
print("grew", held("VmHWM:") - before, file=sys.stderr)
"""


@pytest.fixture
def folder(tmp_path):
    """A cascade whose first stage spreads the joints, and persons in one picture."""
    told = Preprocessing(im_size=SIDE)
    drawn = initial_checkpoint(initial_architecture("alexnet", JOINTS, SIDE, "2,2,2,2,2,4,4"), told, 0)
    bias = np.linspace(-0.4, 0.4, 2 * JOINTS, dtype=np.float32)
    first = drawn.replace(weights={**drawn.weights, "fc8.bias": bias})
    later = (Stage((drawn,), CloseUp(1.0, ((2, 4),))),) * (STAGES - 1)
    converters.write(Cascade((Stage((first,)), *later)), tmp_path / "cascade.pt")
    random = np.random.default_rng(0)
    cv2.imwrite(str(tmp_path / "a.png"), random.integers(0, 256, (96, 96, 3), np.uint8))
    for name, count in (("few", FEW), ("many", MANY)):
        joints = random.uniform(5, 90, (count, 2 * JOINTS)).round(1)
        (tmp_path / f"{name}.csv").write_text("".join(f"a.png,{','.join(map(str, row))}\n" for row in joints))
    return tmp_path


def test_it_does_not_grow(folder):
    bound = MANY * PERSON + BESIDE
    assert bound < MANY * INPUT, "else inputs could be kept"
    # One arena, or virtual memory would be that of the allocator's threads.
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM, str(folder), str(bound)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=ROOT, timeout=600)
    assert run.returncode == 0, run.stderr
    assert int(run.stderr.split("grew")[1]) < bound
