"""What test_distributed.py runs in each of two processes: one training after the other, each of which joins them."""

import os
import sys
from pathlib import Path

import torch

from tests.helpers.trainings import run


def main(folder, pictures):
    """Trains twice, from the second's start on with what the first left."""
    torch.set_num_threads(1)
    given = {"train_csv": folder / "train.csv", "opt": "MomentumSGD", "valid_freq": 0}
    run(folder, pictures, **given, epochs=1, output=folder / "first")
    assert not torch.distributed.is_initialized()
    run(folder, pictures, **given, epochs=2, output=folder / "second", resume=folder / "first" / "last.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
    # As `deeppose-port` itself ends: a thread of Gloo's that still has a tensor when the interpreter is taken apart
    # aborts the process now and then (https://github.com/pytorch/pytorch/pull/179291).
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)
