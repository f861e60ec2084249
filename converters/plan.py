"""What will be read: a file that is understood, whose arrays are still in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from converters.cascade import Cascade, Rules
from converters.checkpoint import Array, Checkpoint, Repair
from converters.errors import CheckpointError, DeepPoseError, reason_of
from converters.files import CHUNK, Identity, hash_file, identity_of
from converters.keys import COUNTER
from converters.layouts import WITHOUT_STATE, Training
from converters.progress import ProgressCallback
from converters.repair import POLICIES, refuse_nonfinite, repair, repair_slots
from converters.stored import Stored, read_all
from converters.values import dataclass


@dataclass(frozen=True)
class Plan:
    """What a file is, and where its arrays are.

    Attributes:
        path: The file that the network is in.
        state: The optimizer's state beside it, if it is read.
        outline: What the checkpoint will be, but for its arrays and its source's hash.
        weights: Where the network's tensors are, by canonical name in its order; None for a counter that is in none.
        aliases: Second names of arrays that the file has as well, each with the first: they have to be equal.
        training: Where the optimizer's slots and the rest of a trainer are.
        identities: What tells, of each file that is read, whether it is still the same.
    """

    path: Path
    state: Path | None
    outline: Checkpoint
    weights: dict[str, Stored | None]
    aliases: list[tuple[Stored, Stored]]
    training: Training
    identities: dict[Path, Identity | None]

    @property
    def files(self) -> tuple[Path, ...]:
        """The files whose hashes are told."""
        return (self.path,)

    @property
    def nbytes(self) -> int:
        """How many bytes all that `load` reads takes in memory."""
        return sum(tensor.nbytes for tensor in self._wanted().values())

    @property
    def is_large(self) -> bool:
        """Whether there is a tensor that is better read in pieces."""
        return any(tensor is not None and _is_large(tensor) for tensor in self.weights.values())

    def load(
        self,
        nonfinite: str = "zero",
        progress: ProgressCallback | None = None,
        hashed: Callable[[Path], str] | None = None,
    ) -> Checkpoint:
        """Reads all of it.

        Args:
            nonfinite: As for `converters.read`.
            progress: Called with the bytes done and the bytes to do.
            hashed: Returns the hash of the network's file, where that is known already.

        Raises:
            CheckpointError: A file is damaged, or changed meanwhile, or holds NaN and `nonfinite` is `error`.
            DeepPoseError: There is no such policy.
        """
        check_policy(nonfinite)
        self._refuse_other_aliases()
        wanted = self._wanted()
        total, done = sum(one.nbytes for one in wanted.values()), 0

        def advance(nbytes: int) -> None:
            nonlocal done
            done += nbytes
            if progress is not None:
                progress(done, total)

        try:
            with ThreadPoolExecutor(1) as pool:
                sha256 = pool.submit(_hash if hashed is None else hashed, self.path)
                arrays = read_all(wanted, advance)
        except CheckpointError as error:
            if self.state is None or error.where != self.state:
                raise
            return self.without_state(error).load(nonfinite, progress, hashed)
        optimizer = self.outline.optimizer
        if optimizer is not None:
            slots = self.training.slots.items()
            named = {slot: {name: arrays[f"optimizer.{slot}.{name}"] for name in tensors} for slot, tensors in slots}
            optimizer = replace(optimizer, slots=named)
        checkpoint = self.described({self.path: sha256.result()}).replace(
            weights={name: completed(name, arrays.get(name)) for name in self.weights},
            optimizer=optimizer,
            trainer={
                key: arrays[f"trainer.{key}"] if isinstance(one, Stored) else one
                for key, one in self.training.trainer.items()
            },
        )
        self.refuse_changed()
        reset = repair_slots(checkpoint.weights, optimizer.slots) if optimizer and nonfinite == "zero" else 0
        repairs = repair(checkpoint.tensors(), nonfinite)
        if nonfinite == "error":
            refuse_nonfinite(self.path, repairs)
        notices = checkpoint.notices
        if reset:
            notices += (
                f"{reset:,} elements of the optimizer's state begin anew: they or their weights were not finite",
            )
        return checkpoint.replace(repairs=checkpoint.repairs + repairs, notices=notices)

    def stream(self) -> dict[str, Stored | Array]:
        """Returns the network's tensors and the optimizer's slots by their names in reports, large ones in their file.

        Raises:
            CheckpointError: A file is damaged.
        """
        self._refuse_other_aliases()
        tensors = self._tensors()
        small = read_all({name: one for name, one in tensors.items() if not _is_large(one)})
        small |= {name: completed(name, small.get(name)) for name in self.weights if name.endswith(COUNTER)}
        return {name: small[name] if name in small else tensors[name] for name in (*self.weights, *tensors)}

    def described(self, hashes: Mapping[Path, str], repairs: tuple[Repair, ...] = ()) -> Checkpoint:
        """Returns the outline with what is known when the file was read."""
        source = replace(self.outline.source, sha256=hashes.get(self.path, ""))
        return self.outline.replace(source=source, repairs=self.outline.repairs + repairs)

    def hashes(self) -> dict[Path, str]:
        """Returns the hash of the network's file.

        Raises:
            CheckpointError: It cannot be read.
        """
        return {self.path: _hash(self.path)}

    def without_state(self, error: DeepPoseError) -> Plan:
        """Returns the same without the optimizer's state, which cannot be read, and says so."""
        notice = f"{error.where}: {error.problem}; {WITHOUT_STATE}"
        outline = self.outline.replace(
            optimizer=None,
            source=replace(self.outline.source, state_path=None),
            notices=(*self.outline.notices, notice),
        )
        return replace(self, state=None, outline=outline, training=replace(self.training, optimizer=None, slots={}))

    def refuse_changed(self) -> None:
        """Refuses files that somebody wrote to while they were read.

        Raises:
            CheckpointError: One did change.
        """
        for path, identity in self.identities.items():
            if identity_of(path) != identity:
                raise CheckpointError(path, "it changed while it was read", "try again when its writer is done")

    def _refuse_other_aliases(self) -> None:
        """Refuses second names of arrays that are not the arrays'."""
        for alias, first in self.aliases:
            one, other = alias.read(), first.read()
            if not np.array_equal(one, other, equal_nan=one.dtype.kind == "f"):
                problem = (
                    f"{alias.key} and {first.key} are two names of one tensor in its source, and differ in the file"
                )
                raise CheckpointError(self.path, problem, "was it trained with another version of the source?")

    def _wanted(self) -> dict[str, Stored]:
        trainer = {f"trainer.{key}": one for key, one in self.training.trainer.items() if isinstance(one, Stored)}
        return {**self._tensors(), **trainer}

    def _tensors(self) -> dict[str, Stored]:
        tensors = {name: one for name, one in self.weights.items() if one is not None}
        for slot, named in self.training.slots.items():
            tensors |= {f"optimizer.{slot}.{name}": one for name, one in named.items()}
        return tensors


@dataclass(frozen=True)
class CascadePlan:
    """What a cascade is, and where the arrays of its networks are.

    Attributes:
        path: The file, or the folder.
        rules: What it is apart from its networks.
        networks: The plan of each by its name in `rules`.
    """

    path: Path
    rules: Rules
    networks: dict[str, Plan]

    def __post_init__(self) -> None:
        self.described({})  # networks that do not go together are found out before they are read

    #: Optimizers' states are in the networks' own files.
    state: ClassVar[None] = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the networks are in."""
        return tuple(dict.fromkeys(plan.path for plan in self.networks.values()))

    @property
    def is_large(self) -> bool:
        """Whether there is a tensor that is better read in pieces."""
        return any(plan.is_large for plan in self.networks.values())

    @property
    def weights(self) -> dict[str, Stored | None]:
        """Where the tensors of all networks are, by their names in `Cascade.weights`."""
        networks = self.networks.items()
        return {f"{part}.{name}": one for part, plan in networks for name, one in plan.weights.items()}

    def load(self, nonfinite: str = "zero", progress: ProgressCallback | None = None) -> Cascade:
        """Reads all of it; arguments and errors are those of `Plan.load`."""
        hashed = cache(_hash)  # several networks may be in one file
        total, behind = sum(plan.nbytes for plan in self.networks.values()), 0
        loaded = {}
        for part, plan in self.networks.items():

            def advance(done: int, _: int, behind: int = behind) -> None:
                if progress is not None:
                    progress(behind + done, total)

            loaded[part] = plan.load(nonfinite, advance, hashed)
            behind += plan.nbytes
        return self._cascade(loaded)

    def stream(self) -> dict[str, Stored | Array]:
        """Returns what `Plan.stream` does, of all networks."""
        networks = self.networks.items()
        return {f"{part}.{name}": one for part, plan in networks for name, one in plan.stream().items()}

    def described(self, hashes: Mapping[Path, str], repairs: tuple[Repair, ...] = ()) -> Cascade:
        """Returns the networks' outlines with what is known when their files were read."""
        loaded = {}
        for part, plan in self.networks.items():
            own = [repair for repair in repairs if repair.tensor.startswith(f"{part}.")]
            own = [replace(repair, tensor=repair.tensor.removeprefix(f"{part}.")) for repair in own]
            loaded[part] = plan.described(hashes, tuple(own))
        return self._cascade(loaded)

    def hashes(self) -> dict[Path, str]:
        """Returns the hash of every file.

        Raises:
            CheckpointError: One cannot be read.
        """
        return {path: _hash(path) for path in self.files}

    def refuse_changed(self) -> None:
        """Refuses files that somebody wrote to while they were read.

        Raises:
            CheckpointError: One did change.
        """
        for plan in self.networks.values():
            plan.refuse_changed()

    def _cascade(self, networks: Mapping[str, Checkpoint]) -> Cascade:
        try:
            return self.rules.cascade(networks)
        except DeepPoseError as error:
            raise CheckpointError(self.path, error.problem, "are they those of two trainings?") from error


def check_policy(nonfinite: str) -> None:
    """Refuses what is no policy for NaN and Inf.

    Raises:
        DeepPoseError: It is none.
    """
    if nonfinite not in POLICIES:
        raise DeepPoseError(f"nonfinite is {nonfinite!r}; it is one of {', '.join(POLICIES)}")


def completed(name: str, array: Array | None) -> Array:
    """Returns a tensor as the network has it: a counter is a 0-d int64, and 0 where the file has none."""
    if not name.endswith(COUNTER):
        assert array is not None
        return array
    return np.array(0 if array is None else array, np.int64).reshape(())


def _hash(path: Path) -> str:
    try:
        return hash_file(path)
    except OSError as error:
        raise CheckpointError(path, f"it cannot be read: {reason_of(error)}", "is the disk sound?") from error


def _is_large(tensor: Stored) -> bool:
    return tensor.dtype.kind == "f" and tensor.nbytes >= CHUNK
