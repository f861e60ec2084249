"""What the tests of reports share: persons on made-up pictures, and a page taken apart."""

from html.parser import HTMLParser

import cv2
import numpy as np

import deeppose_port
from deeppose_port.data import PoseDataset
from deeppose_port.evaluate.evaluate import evaluate
from tests.helpers.networks import random_checkpoint

HOSTILE = "<script>hacked=1<\\script>\"' onerror=hacked=1 &amp;.png"


def persons(folder, names=("a.png", "b.png", "c.png"), count=9):
    """A dataset of LSP's 14 joints in pictures of noise; some joints are not annotated."""
    random = np.random.RandomState(2)
    joints = random.uniform(20, 130, (count, 14, 2)).round(2)
    joints[random.rand(count, 14) < 0.1] = -1
    joints[:, [2, 9]] = random.uniform(40, 100, (count, 2, 2)).round(2)
    rows = [f'"{names[i % len(names)].replace(chr(34), chr(34) * 2)}",' for i in range(count)]
    lines = [row + ",".join(map(str, person.ravel())) for row, person in zip(rows, joints, strict=True)]
    (folder / "persons.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name in names:
        picture = cv2.imencode(".png", random.randint(0, 256, (150, 170, 3), np.uint8))[1]
        (folder / name).write_bytes(picture.tobytes())
    return PoseDataset(folder / "persons.csv", images=folder, skeleton="lsp")


def evaluated(dataset, checkpoint=None):
    """A pose and its evaluation on a dataset."""
    pose = deeppose_port.load(checkpoint or random_checkpoint(joints=len(dataset.skeleton.joints)))
    return pose, evaluate(pose, dataset)


class Page(HTMLParser):
    """A page's elements as (tag, attributes), and its text without scripts and styles."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.text, self._inside = [], "", None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside not in ("script", "style"):
            self.text += data

    def all(self, tag):
        """The attributes of every element of a tag."""
        return [attributes for name, attributes in self.elements if name == tag]
