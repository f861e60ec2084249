"""Networks that are known and are no DeepPose, or not one that can be read: refused by name, with what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from converters.errors import CheckpointError
from converters.keys import Header

Headers = Mapping[str, Header]


@dataclass(frozen=True)
class Stranger:
    """A network that is refused.

    Attributes:
        title: Whose it is.
        recognised: How a file is told to be one.
        holds: Tells whether a file's arrays, by their keys without wrappers, are it.
        problem: What it is, as a message says it.
        advice: What to do.
        test: The test that shows it.
    """

    title: str
    recognised: str
    holds: Callable[[Headers], bool]
    problem: str
    advice: str
    test: str


def _has(pattern: str) -> Callable[[Headers], bool]:
    return lambda headers: any(re.search(pattern, key) for key in headers)


_LAST_LAYERS = (
    *("fc8/W", "fc/W", "out_fc/W", "pred/W", "fc8.weight", "fc.weight"),
    *("classifier.6.weight", "head.fc.weight", "keypoint_head.fc.weight"),
)


def _classifies(headers: Headers) -> bool:
    """Tells whether it has ImageNet's 1000 classes, as the networks that these ones were started from."""
    return any(headers[key].shape[:1] == (1000,) for key in _LAST_LAYERS if key in headers)


_TESTS = "tests/converters/families/test_unsupported.py::test_each_stranger_is_refused_by_name"
STRANGERS = (
    Stranger(
        "ResNet152 of mitmul/deeppose, 2016-06 to 2016-08",
        "Chainer's `res4/b35/…` with `fc/…`",
        _has(r"^res4/b_?3\d/"),
        "this is ResNet152, which the program could not train for poses: it classified, with a softmax",
        "there are no joints in it",
        f"{_TESTS}[ResNet152]",
    ),
    Stranger(
        "networks for ImageNet: mitmul's ResNet50 before 2016-06-30, Caffe's, ChainerCV's, torchvision's, MMPretrain's",
        "a last layer (`fc8`, `fc`, `classifier.6`, `head.fc`) with 1000 rows",
        _classifies,
        "its last layer has 1000 outputs: it classifies ImageNet and answers no joints",
        "take a checkpoint of a pose network",
        f"{_TESTS}[classifier]",
    ),
    Stranger(
        "HosseinPAI's variant with six convolutions",
        "`Conv6.*` or `FC4.*` beside `Conv1.*`",
        lambda headers: "Conv1.weight" in headers and ("Conv6.weight" in headers or "FC4.weight" in headers),
        "this is the variant of HosseinPAI's network with Conv6 and FC4, whose layers between them nothing tells",
        "the one with Conv1 to Conv5 and FC1 to FC3 is read",
        f"{_TESTS}[HosseinPAI with Conv6]",
    ),
    Stranger(
        "MMPose's regression with RLE",
        "`head.loss_module.flow…`, `head.loss.flow…`",
        _has(r"(?:^|\.)(?:keypoint_)?head\.loss(?:_module)?\.flow"),
        "this is MMPose's regression with residual log-likelihood (RLE), another network: half its outputs are widths",
        "MMPose itself reads it",
        f"{_TESTS}[MMPose with RLE]",
    ),
    Stranger(
        "MMPose's networks with heat maps",
        "`head.deconv_layers…`, `head.final_layer…`",
        _has(r"(?:^|\.)(?:keypoint_)?head\.(?:deconv_layers|final_layer)\."),
        "this is a network of MMPose with heat maps, no regression of coordinates as DeepPose is",
        "MMPose itself reads it",
        f"{_TESTS}[MMPose with heat maps]",
    ),
)


def refuse_known_strangers(path: Path, headers: Headers) -> None:
    """Refuses a file whose arrays are those of a network that is known to be another.

    Args:
        path: The file, for the message.
        headers: Its arrays by key, without wrappers.

    Raises:
        CheckpointError: They are.
    """
    for stranger in STRANGERS:
        if stranger.holds(headers):
            raise CheckpointError(path, stranger.problem, stranger.advice)
