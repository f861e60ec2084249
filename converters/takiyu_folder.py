"""The folder of a cascade by github takiyu/DeepPose: a file a network, and how persons are cut out by their faces."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from converters.cascade import Cascade, CloseUp, FaceCrop, Rules, parts_of
from converters.checkpoint import Checkpoint
from converters.errors import CheckpointError, reason_of
from converters.families import takiyu
from converters.identify import Options, identify
from converters.plan import CascadePlan, Plan

#: `best_model_s0.npz` answers all joints, `best_model_s1_j0.npz` moves the first.
_MODEL = re.compile(r"best_model_s(\d{1,3})(?:_j(\d{1,3}))?\.npz")
#: What is gone on with, apart from the first stage's: `resume/model_s1_j0.npz`.
_RESUMED = re.compile(r"model_s\d{1,3}_j\d{1,3}\.npz")
_NORMALIZER = "facial_normalizer.npy"
(ARCHITECTURE,) = takiyu.FAMILY.tables
#: Its joints are lsho lelb lwri rsho relb rwri lhip rhip head: the diameter is the mean of both diagonals of the torso.
_JOINTS = len(takiyu.JOINTS)
_OPPOSING = ((0, 7), (3, 6))
_SHOULDERS = (0, 3)
_SWAPPED = ((0, 3), (1, 4), (2, 5), (6, 7))
#: The side of its close-ups in diameters.
_SIGMA = 1.5
CLOSE_UP = CloseUp(_SIGMA, _OPPOSING)
_MOST_BYTES = 4096
_TWO_TRAININGS = "are the files of two trainings in one folder?"


def holds_cascade(folder: Path) -> bool:
    """Tells whether a folder is one of this program's cascades, whole or not."""
    try:
        return bool(files_in(folder))
    except OSError:  # none, or one that nobody may look into
        return False


def files_in(folder: Path) -> set[str]:
    """Returns the names of those files in a folder that are called as the program calls its networks."""
    return {path.name for path in folder.iterdir() if _MODEL.fullmatch(path.name)}


def plan_of(folder: Path, options: Options) -> CascadePlan:
    """Finds out what a whole cascade is.

    Args:
        folder: With `best_model_s0.npz`, `best_model_s1_j0.npz` … and `facial_normalizer.npy`.
        options: What a user says of its files.

    Raises:
        CheckpointError: A stage or a joint has no file, or one is refused; the message names it.
    """
    if options.architecture not in (None, ARCHITECTURE) or options.model_file is not None:
        problem = f"its networks are the {ARCHITECTURE} of the program whose files it has"
        raise CheckpointError(folder, problem, "leave --architecture and --model-file out")
    options = replace(options, architecture=ARCHITECTURE)
    found: dict[int, set[int | None]] = {}
    for name in files_in(folder):
        if match := _MODEL.fullmatch(name):
            found.setdefault(int(match[1]), set()).add(None if match[2] is None else int(match[2]))
    face = _face_crop(folder / _NORMALIZER)
    counts = [0]
    networks = {"stage1": _network(folder / _name(0), _JOINTS, options)}
    for number in range(1, max(found, default=0) + 1):
        beyond = sorted(joint for joint in found.get(number, ()) if joint is not None and joint >= _JOINTS)
        if None in found.get(number, ()) or beyond:
            name = _name(number) if not beyond else _name(number, beyond[0])
            problem = f"a later stage of this program has one network for each of its {_JOINTS} joints, j0 to j8"
            raise CheckpointError(folder / name, problem, _TWO_TRAININGS)
        for joint in range(_JOINTS):
            plan = _network(folder / _name(number, joint), 1, options)
            networks[f"stage{number + 1}.joint{joint}"] = plan
        counts.append(_JOINTS)
    _refuse_mixed(folder, networks)
    rules = Rules((None, *[CLOSE_UP] * (len(counts) - 1)), parts_of(counts), face)
    return CascadePlan(folder, rules, networks)


def is_of_program(cascade: Cascade) -> bool:
    """Tells whether a cascade is one that this program has, with nothing that its folder could not hold."""
    return (
        cascade.face is not None
        and (cascade.face.shoulders, cascade.face.swapped) == (_SHOULDERS, _SWAPPED)
        and cascade.joints == _JOINTS
        and all(network.architecture.name == ARCHITECTURE for network in cascade.networks.values())
        and all(stage.close_up == CLOSE_UP and not stage.shared for stage in cascade.stages[1:])
    )


def files_of(cascade: Cascade) -> tuple[dict[str, Checkpoint], dict[str, bytes]]:
    """Returns what the program's folder holds of a cascade: its networks by their files' names, and other files."""
    assert cascade.face is not None
    networks = {_name(0): cascade.first}
    for number, stage in enumerate(cascade.stages[1:], start=1):
        networks |= {_name(number, joint): network for joint, network in enumerate(stage.networks)}
    normalizer = io.BytesIO()
    np.save(normalizer, np.array([cascade.face.shift, cascade.face.scale], np.float64), allow_pickle=False)
    return networks, {_NORMALIZER: normalizer.getvalue()}


def _name(stage: int, joint: int | None = None) -> str:
    return f"best_model_s{stage}.npz" if joint is None else f"best_model_s{stage}_j{joint}.npz"


def holds_resumed(folder: Path) -> bool:
    """Tells whether a folder has networks of single joints that the program goes on with."""
    return any(_RESUMED.fullmatch(path.name) for path in folder.iterdir())


def resumed_file(folder: Path, number: int, joint: int) -> Path:
    """Returns the file from which the program goes on with one joint's network.

    Args:
        folder: Its `resume`.
        number: The stage, from 1 on for the second.
        joint: The joint.

    Raises:
        CheckpointError: It is not there.
    """
    path = folder / f"model_s{number}_j{joint}.npz"
    if not path.is_file():
        raise CheckpointError(
            path, "there is no such file, and the stage needs it", "a stage is not gone on with in part"
        )
    return path


def network_in(path: Path, options: Options) -> Plan:
    """Finds out what one network of a cascade's folder is.

    Raises:
        CheckpointError: It is not there, or refused.
    """
    if not path.is_file():
        advice = "put it into the folder with the others; a cascade is not run in part"
        raise CheckpointError(path, "there is no such file, and the cascade needs it", advice)
    return identify(path, options)


def _network(path: Path, joints: int, options: Options) -> Plan:
    plan = network_in(path, options)
    if plan.outline.joints != joints:
        problem = f"it answers {plan.outline.joints} joints where this place of the cascade has {joints}"
        raise CheckpointError(path, problem, _TWO_TRAININGS)
    # Persons are cut out as the program does: what is said of its networks by themselves is not so here.
    notices = tuple(notice for notice in plan.outline.notices if notice != takiyu.FAMILY.notice)
    return replace(plan, outline=plan.outline.replace(notices=notices))


def _refuse_mixed(folder: Path, networks: dict[str, Plan]) -> None:
    """Refuses networks of other widths than the first: they are of another training."""
    first = networks["stage1"].outline.architecture
    for plan in networks.values():
        if plan.outline.architecture.widths != first.widths:
            problem = f"its layers are not as wide as those of {folder / _name(0)}"
            raise CheckpointError(plan.path, problem, _TWO_TRAININGS)


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
