"""The folder of a cascade by github takiyu/DeepPose: a file a network, and how persons are cut out by their faces."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from converters.cascade import Cascade, CloseUp, FaceCrop, Stage
from converters.checkpoint import Checkpoint
from converters.errors import CheckpointError, reason_of
from converters.reading import read

#: `best_model_s0.npz` answers all joints, `best_model_s1_j0.npz` moves the first.
_MODEL = re.compile(r"best_model_s(\d{1,3})(?:_j(\d{1,3}))?\.npz")
_NORMALIZER = "facial_normalizer.npy"
_ARCHITECTURE = "alexnet-takiyu"
#: lsho lelb lwri rsho relb rwri lhip rhip head: the diameter is the mean of both diagonals of the torso.
_JOINTS = 9
_OPPOSING = ((0, 7), (3, 6))
_SHOULDERS = (0, 3)
_SWAPPED = ((0, 3), (1, 4), (2, 5), (6, 7))
#: The side of its close-ups in diameters.
_SIGMA = 1.5
_MOST_BYTES = 4096


def holds_cascade(folder: Path) -> bool:
    """Tells whether a folder is one of this program's cascades, whole or not."""
    return folder.is_dir() and any(_MODEL.fullmatch(path.name) for path in folder.iterdir())


def read_folder(folder: Path, nonfinite: str = "zero", writer: str | None = None) -> Cascade:
    """Reads a whole cascade.

    Args:
        folder: With `best_model_s0.npz`, `best_model_s1_j0.npz` … and `facial_normalizer.npy`.
        nonfinite: As for `converters.read`.
        writer: Likewise.

    Raises:
        CheckpointError: A stage or a joint has no file, or one is refused; the message names it.
    """
    found: dict[int, set[int | None]] = {}
    for path in folder.iterdir():
        if match := _MODEL.fullmatch(path.name):
            found.setdefault(int(match[1]), set()).add(None if match[2] is None else int(match[2]))
    face = _face_crop(folder / _NORMALIZER)
    stages = [Stage((_network(folder / "best_model_s0.npz", _JOINTS, nonfinite, writer),))]
    for number in range(1, max(found, default=0) + 1):
        beyond = sorted(joint for joint in found.get(number, ()) if joint is not None and joint >= _JOINTS)
        if None in found.get(number, ()) or beyond:
            name = f"best_model_s{number}.npz" if not beyond else f"best_model_s{number}_j{beyond[0]}.npz"
            problem = f"a later stage of this program has one network for each of its {_JOINTS} joints, j0 to j8"
            raise CheckpointError(folder / name, problem, "are the files of two trainings in one folder?")
        paths = [folder / f"best_model_s{number}_j{joint}.npz" for joint in range(_JOINTS)]
        networks = tuple(_network(path, 1, nonfinite, writer) for path in paths)
        stages.append(Stage(networks, CloseUp(_SIGMA, _OPPOSING)))
    _refuse_mixed(folder, stages)
    return Cascade(tuple(stages), face)


def _network(path: Path, joints: int, nonfinite: str, writer: str | None) -> Checkpoint:
    """Reads one network of the cascade."""
    if not path.is_file():
        advice = "put it into the folder with the others; a cascade is not run in part"
        raise CheckpointError(path, "there is no such file, and the cascade needs it", advice)
    checkpoint = read(path, architecture=_ARCHITECTURE, nonfinite=nonfinite, writer=writer, state=False)
    if checkpoint.joints != joints:
        problem = f"it answers {checkpoint.joints} joints where this place of the cascade has {joints}"
        raise CheckpointError(path, problem, "are the files of two trainings in one folder?")
    return checkpoint


def _refuse_mixed(folder: Path, stages: list[Stage]) -> None:
    """Refuses networks of other widths than the first: they are of another training."""
    first = stages[0].networks[0].architecture
    for stage in stages:
        for network in stage.networks:
            if network.architecture.widths != first.widths:
                path = network.source.path
                problem = f"its layers are not as wide as those of {folder / 'best_model_s0.npz'}"
                raise CheckpointError(path, problem, "are the files of two trainings in one folder?")


def _face_crop(path: Path) -> FaceCrop:
    """Reads the shift and the scale that make a person's rectangle of a face."""
    advice = "take the one that its training wrote beside the networks"
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise CheckpointError(path, "it is too large for two rows of two numbers", advice)
        values = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise CheckpointError(path, "there is no such file: it says how persons are cut out", advice) from None
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise CheckpointError(path, f"it cannot be read: {reason_of(error)}", advice) from error
    if not isinstance(values, np.ndarray) or values.shape != (2, 2) or values.dtype.kind != "f":
        raise CheckpointError(path, "it does not hold two rows of two numbers, a shift and a scale", advice)
    shift, scale = values.astype(np.float64).tolist()
    if not np.isfinite(values).all() or min(scale) <= 0:
        raise CheckpointError(path, f"a shift of {shift} and a scale of {scale} make no rectangle", advice)
    return FaceCrop(tuple(shift), tuple(scale), _SHOULDERS, _SWAPPED)
