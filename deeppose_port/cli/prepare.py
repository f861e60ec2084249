"""`prepare`: the legacy CSVs from what a data set's authors ship."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from converters.values import dataclass
from deeppose_port.cli import display
from deeppose_port.cli.command import command
from deeppose_port.cli.options import JsonOptions, overwriting, skeletons
from deeppose_port.data.options import picture_folder
from deeppose_port.options import described

if TYPE_CHECKING:
    from deeppose_port.data.prepare import Preparation


def _datasets() -> Iterable[str]:
    from deeppose_port.data.prepare import DATASETS

    return DATASETS


def _splits() -> Iterable[str]:
    from deeppose_port.data.prepare import DATASETS

    return dict.fromkeys(split for dataset in DATASETS.values() for split in dataset.splits)


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """What `prepare` is told."""

    dataset: str = described("The kind of data set.", names=("DATASET",), choices=_datasets)
    source: Path = described("The authors' annotation file, or a folder with it.", names=("SOURCE",))
    target: Path = described("The folder to write.", names=("TARGET",))
    images: Path | None = picture_folder(default=None, show_default="images, beside the annotations or one folder up")
    split: str | None = described(
        "FLIC's split: the legacy program's, which is off by one; the same corrected; by film; or the file's own.",
        default=None,
        choices=_splits,
        show_default="legacy with tr_plus_indices.mat, else film",
    )
    skeleton: str | None = described(
        "For COCO, LabelMe and CVAT: the joints and their order; a known skeleton, or a .toml or .json "
        "file of your own.",
        default=None,
        choices=skeletons,
        show_default="told by the labels' names",
    )
    min_joints: int | None = described(
        "Skip persons with fewer annotated joints.",
        default=None,
        metavar="N",
        show_default="16 for MPII's MATLAB file, as in the legacy program; else 1",
    )
    verify: bool = described(
        "Decode every picture completely, not only its header.", default=False, names=("--verify",)
    )
    jobs: int | None = described(
        "How many parts of the picture list to check at a time.",
        default=None,
        metavar="N",
        show_default="one for each CPU",
    )
    engine: str = described(
        "What checks the pictures: threads, or Ray's processes.", default="threads", choices=("threads", "ray")
    )
    force: bool = overwriting()
    shown: JsonOptions


@command(lambda: PrepareOptions)
def prepare(options: PrepareOptions) -> int:
    """Makes train_joints.csv and test_joints.csv of a data set, in the legacy split and order.

    SOURCE is the authors' own file, or a folder with it: FLIC's examples.mat (with tr_plus_indices.mat); the joints.mat
    of LSP, LSP extended or HR-LSPET; mpii_human_pose_v1_u12_1.mat, MPII's train.json and validation.json, or
    mpii_annotations.json; COCO's person_keypoints_train2017.json and val2017.json, or a file like them; a folder of
    LabelMe files; CVAT's annotations.xml, exported as "CVAT for images 1.1"; or, with tfrecords, the shards of the
    Keras course on MPII, whose pictures go into TARGET/images. Nothing is downloaded.

    A file beside each CSV holds what a CSV cannot, and `eval` finds it: head boxes for PCKh, torso lengths for FLIC's
    PDJ, visibility.

    \b
    Example:
      deeppose-port prepare mpii ~/mpii data/mpii
      deeppose-port train --backend torch --skeleton mpii \\
          --train-csv data/mpii/train_joints.csv --images ~/mpii/images
      deeppose-port prepare labelme ~/labels data/own --skeleton own.toml
    """
    from deeppose_port.data import prepare as library

    with display.steps("", quiet=options.shown.as_json, unit="pictures") as step:
        result = library.prepare(
            options.dataset,
            options.source,
            options.target,
            images=options.images,
            split=options.split,
            skeleton=options.skeleton,
            min_joints=options.min_joints,
            verify=options.verify,
            jobs=options.jobs,
            engine=options.engine,
            force=options.force,
            progress=step,
        )
    if options.shown.as_json:
        display.as_json(result.as_dict())
    else:
        _show(result)
    return 0


def _show(result: Preparation) -> None:
    """Shows what was read, left out and written."""
    table = display.table("", "count", "", text=(0, 2))
    for row in result.rows:
        table.add_row(row.what, f"{row.count:,}", row.why)
    for name, persons in result.persons.items():
        table.add_row(f"persons to {name}", f"{persons:,}", style="bold")
    display.show(table)
    display.notices(result.notes)
    for file in result.files:
        display.say(f"wrote {file}")
