"""What test_distributed.py runs in each of several processes: torchrun tests/end_to_end/together.py FOLDER PICTURES."""

import json
import os
import signal
import sys
from pathlib import Path

import torch

from deeppose_port.data import DatasetError, PoseDataset
from tests.helpers.trainings import interrupt, run

RANK = int(os.environ["RANK"])
RESNET = {"architecture": "resnet50", "width": "0.0625", "batch_size": 5, "opt": "MomentumSGD"}


def undecodable(dataset, index):
    """What decodes pictures where none can be."""
    raise DatasetError(f"picture {index} cannot be decoded by process {RANK}")


def main(folder, pictures):
    """Runs one training after the other, each in a folder of its own; writes what every process saw."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    csv = folder / "train.csv"
    seen = {}

    def train(name, at=None, **given):
        watch, error = None, None
        try:
            watch = run(folder, pictures, at=at, train_csv=csv, test_csv=csv, output=folder / name, **given)
        except ValueError as problem:
            error = f"{type(problem).__name__}: {problem}"
        seen[name] = {"steps": watch and len(watch.steps), "losses": watch and watch.losses, "error": error}

    train("frozen", freeze=("conv1.*", "bn1.*", "res2*"), epochs=2, **RESNET)
    train("dropout", dropout=0.5, epochs=1, lr=1e-12, opt="MomentumSGD", batch_size=6, workers=1)
    train("impatient", opt="MomentumSGD", lr=1e-30, epochs=9, patience=2)
    decode = PoseDataset.picture
    PoseDataset.picture = undecodable if RANK == 1 else decode
    train("broken", epochs=9)
    train("invalid", eval_only=True)
    PoseDataset.picture = decode
    train("stopped", at={3: interrupt}, epochs=9)  # of the first process, whose watch is called
    (folder / f"seen-{RANK}.json").write_text(json.dumps(seen))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
