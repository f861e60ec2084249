"""What test_distributed.py runs in each of several processes: torchrun tests/end_to_end/together.py FOLDER PICTURES."""

import json
import os
import signal
import sys
from pathlib import Path

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from converters import Preprocessing
from deeppose_port.backends.torch import load
from deeppose_port.backends.torch.layers import BatchNorm
from deeppose_port.data import DatasetError, PoseDataset
from deeppose_port.training.initial import initial_architecture, initial_checkpoint
from tests.helpers.trainings import interrupt, run

RANK = int(os.environ.get("RANK", "0"))
PERSONS = 5
RESNET = {"architecture": "resnet50", "width": "0.0625", "batch_size": PERSONS, "opt": "MomentumSGD"}
#: Parts of 2 persons here and 1 there, then of one and one; as of 3 and 2 in one process.
SOFTARGMAX = {
    "architecture": "resfpn-softargmax",
    "width": "0.25",
    "batch_size": PERSONS,
    "accumulate": 2,
    "heatmap_loss": 0.1,
    "opt": "MomentumSGD",
    "epochs": 2,
}


def undecodable(dataset, index):
    """What decodes pictures where none can be."""
    raise DatasetError(f"picture {index} cannot be decoded by process {RANK}")


def gradients(rank=0, size=1):
    """The gradients, and after them the buffers, of a process's part of a batch in float64, of a whole ResNet50."""
    architecture = initial_architecture("resnet50", 7, 64, "0.0625")
    network = load(initial_checkpoint(architecture, Preprocessing(), 1), 0.0).double().train()
    random = torch.Generator().manual_seed(3)
    inputs, targets = (
        torch.randn(PERSONS, *shape, dtype=torch.float64, generator=random) for shape in ((3, 64, 64), (14,))
    )
    for module in network.modules():
        if isinstance(module, BatchNorm):
            module.synchronized = size > 1
    model = network if size == 1 else DistributedDataParallel(network)
    errors = model(inputs[rank::size]) - targets[rank::size]
    ((errors * errors).sum() / targets.numel() * size).backward()
    return {name: p.grad for name, p in network.named_parameters()}, dict(network.named_buffers())


def main(folder, pictures):
    """Runs one training after the other, each in a folder of its own; writes what every process saw."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
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

    found = gradients(RANK, distributed.get_world_size())
    if RANK == 0:
        torch.save(found, folder / "synchronized.pt")
    train("synchronized", sync_bn=True, **SOFTARGMAX)
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
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
