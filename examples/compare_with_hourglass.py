"""Sets a DeepPose network, its cascade and a stacked hourglass side by side: one report on the same persons.

    python examples/compare_with_hourglass.py FOLDER
    python examples/compare_with_hourglass.py FOLDER --networks stage1.pt cascade.pt model-v0.0.1-epoch-5-loss-1.h5 \
        --csv test_joints.csv --images images --skeleton mpii

Any checkpoints will do, of any format. Each network sees the persons by its own preprocessing: DeepPose the box of the
joints, the hourglass a margin around them, in other sizes and colours. Their answers are pixels of the pictures, so
that one set of metrics measures all. Without --networks three small ones are trained on drawn stick figures first, in
some minutes of one processor; few persons and epochs (--train, --epochs) show how it goes, not how good they are.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import stick_figures

import deeppose_port
from deeppose_port.backends.training import train
from deeppose_port.cascade import CascadePose
from deeppose_port.data import PoseDataset
from deeppose_port.drawing.report import write_side_by_side
from deeppose_port.evaluate.evaluate import evaluate
from deeppose_port.evaluate.stages import evaluate_stages
from deeppose_port.metrics.evaluation import Evaluation
from deeppose_port.options import build
from deeppose_port.pose import Pose
from deeppose_port.training.options import TrainingOptions
from deeppose_port.training.recipes import with_recipe

NAMES = ("DeepPose", "its cascade", "hourglass")


def trained(folder: Path, train_persons: int, test_persons: int, epochs: int) -> list[Path]:
    """Trains a first stage, a second one after it, and a hourglass on stick figures; returns their files."""
    stick_figures.write(folder, train_persons, test_persons)
    first = folder / "first" / f"epoch-{epochs}.pt"
    second = folder / "second" / "epoch-2.pt"
    about = {"train_csv": folder / "train.csv", "images": folder / "pictures", "skeleton": "lsp", "cache": 512 << 20}
    anew: dict[str, object] = {"epochs": epochs, "schedule": "cosine"}
    networks: list[dict[str, object]] = [
        {"architecture": "resfpn-softargmax", "width": "0.25", "im_size": 48, "recipe": "modern", **anew},
        {"stage": 2, "before": first, "draws": 1, "epochs": 2, "recipe": "modern"},
        {"architecture": "hourglass", "stacks": 1, "width": "8,16,32", "im_size": 64, "recipe": "course", **anew},
    ]
    for name, network in zip(("first", "second", "hourglass"), networks, strict=True):
        print(f"training the {name}")
        options = with_recipe(str(network["recipe"]), {**about, **network, "output": folder / name})
        train(build(TrainingOptions, options))
    return [first, second, folder / "hourglass" / f"epoch-{epochs}.pt"]


def asked(network: Path, csv: Path, images: Path, skeleton: str) -> tuple[Pose | CascadePose, Evaluation, PoseDataset]:
    """Asks a network, or a cascade's last stage, of the persons as it sees them."""
    pose = deeppose_port.load(network)
    persons = PoseDataset(csv, images=images, skeleton=skeleton, preprocessing=pose.preprocessing)
    evaluation = evaluate_stages(pose, persons)[-1] if isinstance(pose, CascadePose) else evaluate(pose, persons)
    return pose, evaluation, persons


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--networks", nargs=3, type=Path, metavar=("DEEPPOSE", "CASCADE", "HOURGLASS"))
    parser.add_argument("--csv", type=Path, help="the persons to ask them of")
    parser.add_argument("--images", type=Path, help="the pictures' folder")
    parser.add_argument("--skeleton", default="lsp", help="what the joints are")
    parser.add_argument("--train", type=int, default=300, help="stick figures to learn from")
    parser.add_argument("--test", type=int, default=150, help="stick figures that none learns from")
    parser.add_argument("--epochs", type=int, default=25, help="of the first stage and of the hourglass")
    told = parser.parse_args()
    if told.networks and not (told.csv and told.images):
        parser.error("--networks are asked of persons: name their --csv and --images")

    networks = told.networks or trained(told.folder, told.train, told.test, told.epochs)
    csv, images = told.csv or told.folder / "test.csv", told.images or told.folder / "pictures"
    files = zip(NAMES, networks, strict=True)
    answers = {name: asked(file, csv, images, told.skeleton) for name, file in files}
    print(f"\n{'network':12}  {'mean error, px':>14}  {'PDJ@0.2':>8}  {'PCP@0.5':>8}")
    for name, (_, evaluation, _persons) in answers.items():
        error, pdj, pcp = (evaluation[key].overall for key in ("mean_error_px", "pdj@0.2", "pcp"))
        print(f"{name:12}  {error:14.2f}  {pdj:8.1%}  {pcp:8.1%}")
    page = write_side_by_side(answers, told.folder / "report", command=shlex.join(sys.argv), force=True)
    print(f"report: {page}")
