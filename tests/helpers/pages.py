"""What the tests of reports share: persons on synthetic pictures, and a page taken apart."""

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


class Element:
    """A tag with its attributes, and what is in it: elements and texts."""

    def __init__(self, tag, attributes):
        self.tag, self.attributes, self.inside = tag, attributes, []

    @property
    def text(self):
        """All text in it, with single blanks, without scripts and styles."""
        return " ".join(" ".join(self._texts()).split())

    @property
    def classes(self):
        return self.attributes.get("class", "").split()

    def _texts(self):
        for one in self.inside:
            if isinstance(one, str):
                yield one
            elif one.tag not in ("script", "style"):
                yield from one._texts()

    def all(self, tag, *classes, **attributes):
        """The elements of a tag in it, with classes and attributes, in the order of the page."""
        found = []
        for one in self.inside:
            if isinstance(one, Element):
                here = {name: one.attributes.get(name.replace("_", "-")) for name in attributes} == attributes
                if one.tag == tag and set(classes) <= set(one.classes) and here:
                    found.append(one)
                found += one.all(tag, *classes, **attributes)
        return found

    def one(self, tag, *classes, **attributes):
        """The only one of them."""
        (found,) = self.all(tag, *classes, **attributes)
        return found

    def rows(self):
        """The texts of a table's cells, row by row, its head and foot among them."""
        return [[c.text for c in row.inside if isinstance(c, Element)] for row in self.all("tr")]


class Tree(HTMLParser):
    """Takes a page apart into elements."""

    VOID = ("meta", "link", "input", "img", "br", "hr")

    def __init__(self, text):
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        element = Element(tag, dict(attrs))
        self.open[-1].inside.append(element)
        if tag not in self.VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.open[-1].inside.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag):
        while self.open.pop().tag != tag:
            pass

    def handle_data(self, data):
        self.open[-1].inside.append(data)


def tree_of(page):
    """The elements of a page: a path, or its text."""
    return Tree(page if isinstance(page, str) else page.read_text(encoding="utf-8")).root


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
