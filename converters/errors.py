"""What is refused: one tree of errors, each a sentence for the user. Anything else that is raised is a bug.

    ValueError
    └── DeepPoseError              options, files and folders that nothing more is said of
        ├── CheckpointError        a checkpoint file
        ├── SourceError            a Python file that defines a network        converters.networks.source
        │   └── FeaturesError      a layer that does not fit before it         converters.networks.source
        ├── UnfollowedError        a network that cannot be followed           converters.networks.source
        ├── ExhaustedError         a source that makes too much                converters.networks.source
        ├── AnnotationError        a CSV                                       deeppose_port.data.annotations
        ├── ReferencesError        the side file of a CSV                      deeppose_port.data.references
        ├── PictureError           a picture                                   deeppose_port.data.pictures
        ├── NoFaceError            a picture in which no face is found          deeppose_port.data.faces
        ├── CloseUpError           a close-up that cannot be cut               deeppose_port.data.close_up
        ├── DatasetError           persons and their pictures                  deeppose_port.data.dataset
        │   └── PackError          a pack of them                              deeppose_port.data.pack.index
        ├── BoxesError             a file of boxes                             deeppose_port.predict.boxes
        ├── PrepareError           a data set as its authors publish it        deeppose_port.data.prepare.source
        ├── BackendError           a backend or device                         deeppose_port.backends
        └── TrainingError          a run that cannot go on                     deeppose_port.training.run

What stands behind a name is where it is defined; the first two are here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LONGEST = 1200


class DeepPoseError(ValueError):
    """Something that is refused. `str` of it is one line: what is wrong, where, and what to do.

    Args:
        problem: What is wrong.
        where: The file, if it is one file's fault.
        advice: What to do.
    """

    def __init__(self, problem: str, *, where: str | os.PathLike[str] | None = None, advice: str | None = None) -> None:
        self.where = None if where is None else Path(where)
        self.problem = problem
        self.advice = advice
        place = "" if where is None else f"{os.fspath(where)}: "
        super().__init__(one_line(f"{place}{problem}" + (f" ({advice})" if advice else "")))

    def __reduce__(self) -> tuple[object, ...]:
        # An error goes from process to process whole, whatever its constructor takes.
        return _again, (type(self), self.problem, self.where, self.advice)


class CheckpointError(DeepPoseError):
    """A checkpoint file that is refused. The message says what is wrong, in which file and key, and what to do."""

    def __init__(self, path: str | os.PathLike[str] | None, problem: str, advice: str | None = None) -> None:
        super().__init__(problem, where=path, advice=advice)

    @property
    def path(self) -> Path | None:
        """The file."""
        return self.where


@contextmanager
def told_as_checkpoints() -> Iterator[None]:
    """Tells of any file that is refused meanwhile as of a checkpoint.

    Raises:
        CheckpointError: One is.
    """
    try:
        yield
    except CheckpointError:
        raise
    except DeepPoseError as error:
        raise CheckpointError(error.where, error.problem, error.advice) from error


def _again(kind: type[DeepPoseError], problem: str, where: Path | None, advice: str | None) -> DeepPoseError:
    """Makes an error anew."""
    error = kind.__new__(kind)
    DeepPoseError.__init__(error, problem, where=where, advice=advice)
    return error


def printable(text: object) -> str:
    """Returns a text from outside in printable characters: it must not write lines of its own, or turn one around."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def reason_of(error: BaseException) -> str:
    """Returns the first line of another program's error, cut to a readable length; its kind where it says nothing."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def in_a_line(error: BaseException) -> str:
    """Returns another program's error in one line, with its kind."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def one_line(text: object) -> str:
    """Returns a text from outside in printable characters, what is endless cut."""
    text = printable(text)
    return text if len(text) <= _LONGEST else f"{text[:900]} … {text[-250:]}"
