"""Trains a cascade of three stages on drawn stick figures, and shows what each stage is worth on others.

    python examples/train_a_cascade.py FOLDER [--backend torch|chainer]

Every joint of a stick figure is known exactly, so that nothing but the stages makes the difference. With what is set
here it takes a minute or two of one processor. docs/cascade.md has the tables that it prints.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import stick_figures

import deeppose_port
from deeppose_port.backends.training import train
from deeppose_port.cascade import CascadePose
from deeppose_port.data import PoseDataset
from deeppose_port.evaluate.stages import evaluate_stages
from deeppose_port.options import build
from deeppose_port.training.options import TrainingOptions
from deeppose_port.training.run import Callbacks

STAGES = 3

parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
parser.add_argument("folder", type=Path)
parser.add_argument("--backend", default="torch")
parser.add_argument("--train", type=int, default=300, help="persons to learn from")
parser.add_argument("--test", type=int, default=150, help="persons that no stage learns from")
parser.add_argument("--epochs", type=int, default=25, help="of the first stage")
parser.add_argument("--later-epochs", type=int, default=2, help="of each later stage")
parser.add_argument("--per-joint", action="store_true", help="later stages of one network a joint")
parser.add_argument("--width", default="0.25", help="factor on the network's channels")
parser.add_argument("--im-size", type=int, default=48, help="side of its inputs")
told = parser.parse_args()

folder: Path = told.folder
images = folder / "pictures"
if not (folder / "test.csv").exists():
    stick_figures.write(folder, told.train, told.test)

result = folder
for stage in range(1, STAGES + 1):
    options: dict[str, object] = {
        "train_csv": folder / "train.csv",
        "images": images,
        "skeleton": "lsp",
        "output": folder / f"{told.backend}-stage{stage}",
        "cache": 512 << 20,
        "batch_size": 32,
        "schedule": "cosine",
        "lr": 0.002,
    }
    if stage == 1:
        options |= {"architecture": "resfpn-softargmax", "width": told.width, "im_size": told.im_size}
        options |= {"epochs": told.epochs}
    else:
        options |= {"stage": stage, "before": result, "draws": 1, "epochs": told.later_epochs}
        options |= {"per_joint": told.per_joint}
    run = train(build(TrainingOptions, options), told.backend, Callbacks(notice=print))
    name = f"epoch-{run.options.epochs}" if stage == 1 else "last"
    result = next(file for file in run.folder.path.glob(f"{name}.*") if file.suffix in (".pt", ".model"))

cascade = deeppose_port.load(result, told.backend)
assert isinstance(cascade, CascadePose)
persons = PoseDataset(folder / "test.csv", images=images, skeleton="lsp", preprocessing=cascade.preprocessing)
print(f"\n{'stage':5}  {'mean error, px':>14}  {'PDJ@0.2':>8}  {'PCP@0.5':>8}")
for number, evaluation in enumerate(evaluate_stages(cascade, persons), start=1):
    error, pdj, pcp = (evaluation[key].overall for key in ("mean_error_px", "pdj@0.2", "pcp"))
    print(f"{number:5}  {error:14.2f}  {pdj:8.1%}  {pcp:8.1%}")
