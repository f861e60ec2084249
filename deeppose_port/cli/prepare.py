"""`prepare`: the legacy CSVs from what a data set's authors ship."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from converters.values import dataclass
from deeppose_port.cli import display
from deeppose_port.cli.command import command
from deeppose_port.cli.options import JsonOptions, skeletons
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

    dataset: str = described("The data set.", names=("DATASET",), choices=_datasets)
    source: Path = described("The authors' file or a folder with it.", names=("SOURCE",))
    target: Path = described("The folder to write.", names=("TARGET",))
    images: Path | None = described(
        "The pictures' folder.",
        default=None,
        names=("--images", "--img-dir"),
        show_default="images, beside the annotations or one folder up",
    )
    split: str | None = described(
        "FLIC: the legacy split, which is off by one; the same without that; whole films; what its file says.",
        default=None,
        choices=_splits,
        show_default="legacy with tr_plus_indices.mat, else film",
    )
    skeleton: str | None = described(
        "Of COCO's, LabelMe's and CVAT's labels: what the joints are, in their order, or a .toml or .json file "
        "that says.",
        default=None,
        choices=skeletons,
        show_default="what their names tell",
    )
    min_joints: int | None = described(
        "Leave out persons with fewer joints.",
        default=None,
        metavar="N",
        show_default="16 of MPII's MATLAB file, as the legacy program; else 1",
    )
    verify: bool = described("Decode each picture whole, and not only its header.", default=False, names=("--verify",))
    jobs: int | None = described(
        "Shards of pictures at a time.", default=None, metavar="N", show_default="a processor each"
    )
    engine: str = described("What looks at the pictures.", default="threads", choices=("threads", "ray"))
    force: bool = described("Replace files that exist.", default=False, names=("--force",))
    shown: JsonOptions


@command(lambda: PrepareOptions)
def prepare(options: PrepareOptions) -> int:
    """Prepares a data set that you have: train_joints.csv and test_joints.csv, in the legacy split and order.

    SOURCE is the authors' own file, or a folder with it: FLIC's examples.mat (with tr_plus_indices.mat), joints.mat of
    LSP, LSP extended or HR-LSPET, mpii_human_pose_v1_u12_1.mat, MPII's train.json and validation.json, or
    mpii_annotations.json; COCO's person_keypoints_train2017.json and val2017.json, or a file of their form; a folder of
    LabelMe's files; CVAT's annotations.xml, exported as CVAT for images 1.1; with tfrecords the shards of the Keras
    course on MPII, whose pictures go into TARGET/images. Nothing is downloaded.

    Beside each CSV goes a file that eval finds: head boxes for PCKh, torso lengths for FLIC's PDJ, visibility.

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
