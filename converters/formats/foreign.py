"""Files that are known and are no checkpoint of DeepPose's: each is named for what it is, with what to do about it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from converters.errors import CheckpointError
from converters.formats.format import Beginning


@dataclass(frozen=True)
class Foreign:
    """A kind of file that is not read.

    Attributes:
        tells: Tells whether a file is one.
        problem: What it is, as a message says it.
        advice: What to do.
    """

    tells: Callable[[Beginning], object]
    problem: str
    advice: str


def _starts(*starts: bytes) -> Callable[[Beginning], object]:
    return lambda beginning: beginning.start.startswith(starts)


def _matches(pattern: bytes) -> Callable[[Beginning], object]:
    compiled = re.compile(pattern, re.DOTALL)
    return lambda beginning: compiled.match(beginning.start)


def _holds(*names: str) -> Callable[[Beginning], object]:
    """Tells whether a zip has a member that ends in one of some names."""
    return lambda beginning: any(member.endswith(names) for member in beginning.members)


def _is_text(beginning: Beginning) -> bool:
    return all(byte in b"\t\n\r\x1b" or 32 <= byte < 127 for byte in beginning.start[:256])


_TAKE_SOURCE = "take the checkpoint that it was made of"
FOREIGN = (
    Foreign(
        _holds("/archive_format"),
        "this is an archive of torch.export: a program, which is written but never read",
        _TAKE_SOURCE,
    ),
    Foreign(
        _holds("model.weights.h5"),
        "this is an archive of Keras 3 (`.keras`), which does not name its layers",
        "save it with Keras 2: model.save_weights('model.h5')",
    ),
    Foreign(
        _starts(b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
        "this is a Python pickle, which could run code when read; it was not opened",
        "save it as npz first",
    ),
    Foreign(  # a `.caffemodel` has a name, then layers or inputs; a `.solverstate` a count, then the name of one
        _matches(
            rb"\n[\x01-\x7f][ -~]{1,127}?(?:\x12|\x1a|\x22|\xa2\x06)|\x08.{1,6}\x12.[ -~]+\.caffemodel",
        ),
        "this is a Caffe file, from before the program was written for Chainer (2014-11 to 2015-01), or not of it",
        "it is another network (its conv1 has no pad, its outputs go through a sigmoid), and it is not read",
    ),
    Foreign(  # the version of its format, then the name of the program that wrote it
        _matches(rb"\x08[\x01-\x1f]\x12[\x01-\x7f][ -~]+"),
        "this is an ONNX model, which is written but not read",
        _TAKE_SOURCE,
    ),
    Foreign(
        lambda beginning: b"ustar" in beginning.start[257:263],
        "this is a tar file, but not one that PyTorch before 0.2 wrote",
        "unpack it first",
    ),
    Foreign(_is_text, "this is text, not a checkpoint", "was a log or a download's error page saved under this name?"),
)


def foreign(beginning: Beginning) -> CheckpointError | None:
    """Returns what refuses a file of no known format, if it is known what it is."""
    for kind in FOREIGN:
        if kind.tells(beginning):
            return CheckpointError(beginning.path, kind.problem, kind.advice)
    if beginning.is_zip:
        stranger = next((name for name in beginning.members if not name.endswith(".npy")), None)
        what = "it is empty" if stranger is None else f"it holds {stranger!r}, which is no array"
        problem = f"this is a zip file, but neither an npz nor a PyTorch file: {what}"
        return CheckpointError(beginning.path, problem, "unpack it if the checkpoint is inside")
    return None
