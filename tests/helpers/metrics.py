"""What the tests read of evaluations."""

import cv2
import numpy as np

from deeppose_port.data import PoseDataset
from deeppose_port.data.references import References, encode, path_beside

PDJ_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)


def pdj(evaluation):
    """(thresholds, J) fractions of the joints detected."""
    return np.stack([evaluation[f"pdj@{threshold:g}"].values for threshold in PDJ_THRESHOLDS])


def mpii_persons(folder, count=12):
    """Writes persons of MPII's 16 joints with head sizes beside them, some joints not annotated; returns the dataset.

    Their pictures are made up. Torsos, heads and boxes are of other sizes for each person.
    """
    random = np.random.RandomState(4)
    scale = np.linspace(60, 110, count)[:, np.newaxis, np.newaxis]
    joints = (150 + scale * random.uniform(-1, 1, (count, 16, 2))).round(1)
    joints[random.rand(count, 16) < 0.1] = -1
    csv = folder / "mpii.csv"
    csv.write_text("".join(f"{i % 3}.png,{','.join(map(str, one.ravel()))}\n" for i, one in enumerate(joints)))
    for i in range(3):
        cv2.imwrite(str(folder / f"{i}.png"), random.randint(0, 256, (300, 310, 3), np.uint8))
    references = References("mpii", count, head_sizes=np.linspace(25, 60, count), head_sizes_from="head boxes")
    path_beside(csv).write_bytes(encode(references, csv.read_bytes()))
    return PoseDataset(csv, images=folder, skeleton="mpii")


def nearly_right(dataset, worst=0.35):
    """Answers of a network that is off by another part of the crop in each joint and person, (N, 2 * J)."""
    targets = np.stack([dataset[i][1] for i in range(len(dataset))])
    random = np.random.RandomState(5)
    spread = np.linspace(0.2, 1, targets.shape[1] // 2).repeat(2) * np.linspace(0.3, 1, len(targets))[:, np.newaxis]
    return (targets + worst * spread * random.uniform(-1, 1, targets.shape)).astype(np.float32)


class AnsweringBackend:
    """A backend whose network gives known answers, one person after the other, whatever it is shown."""

    def __init__(self, rows):
        self.rows, self.seen = np.asarray(rows, np.float32), []

    def predictor(self, checkpoint, device, **options):
        """The network."""
        self.seen = []
        return self.answer

    def answer(self, inputs):
        """The next answers."""
        start = len(self.seen)
        self.seen.extend(inputs)
        return self.rows[start : start + len(inputs)]


def maps_and_their_loss():
    """(N, J, h, w) maps, labels, a mask, and the loss of `--heatmap-loss` by its definition, joint by joint."""
    random = np.random.RandomState(3)
    maps = random.randn(3, 4, 6, 7).astype(np.float32)
    labels = random.uniform(-0.6, 0.6, (3, 8))
    mask = np.ones((3, 8), int)
    mask[0, :2] = mask[1, 3] = 0  # a joint that does not count, and one of which half does
    labels[0, :2] = np.nan
    total = 0.0
    for n in range(3):
        for joint in range(4):
            if not mask[n, 2 * joint : 2 * joint + 2].all():
                continue
            x, y = labels[n, 2 * joint], labels[n, 2 * joint + 1]
            column, row = (x + 0.5) * 7 - 0.5, (y + 0.5) * 6 - 0.5
            near = np.array([[np.exp(-((c - column) ** 2 + (r - row) ** 2) / 4.5) for c in range(7)] for r in range(6)])
            odds = np.exp(maps[n, joint].astype(float))
            total -= (near / near.sum() * np.log(odds / odds.sum())).sum()
    return maps, labels, mask, total / (mask.sum() / 2)
