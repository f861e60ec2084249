"""What will be read: a file that is understood, whose arrays are still in it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from converters.checkpoint import Array, Checkpoint, Repair
from converters.errors import CheckpointError, DeepPoseError, reason_of
from converters.files import CHUNK, Identity, hash_file, identity_of
from converters.layouts import Training
from converters.repair import POLICIES, refuse_nonfinite, repair, repair_slots
from converters.stored import Stored, read_all

#: Called with the bytes done and the bytes to do; from several threads.
ProgressCallback = Callable[[int, int], None]
_COUNTER = ".num_batches_tracked"


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
    def is_large(self) -> bool:
        """Whether there is a tensor that is better read in pieces."""
        return any(tensor is not None and _is_large(tensor) for tensor in self.weights.values())

    def load(self, nonfinite: str = "zero", progress: ProgressCallback | None = None) -> Checkpoint:
        """Reads all of it.

        Args:
            nonfinite: As for `converters.read`.
            progress: Called with the bytes done and the bytes to do.

        Raises:
            CheckpointError: A file is damaged, or changed meanwhile, or holds NaN and `nonfinite` is `error`.
            DeepPoseError: There is no such policy.
        """
        check_policy(nonfinite)
        self._refuse_other_aliases()
        trainer = {key: one for key, one in self.training.trainer.items() if isinstance(one, Stored)}
        wanted = {**self._tensors(), **{f"trainer.{key}": one for key, one in trainer.items()}}
        total, done = sum(one.nbytes for one in wanted.values()), 0

        def advance(nbytes: int) -> None:
            nonlocal done
            done += nbytes
            if progress is not None:
                progress(done, total)

        try:
            with ThreadPoolExecutor(1) as pool:
                sha256 = pool.submit(self.hash)
                arrays = read_all(wanted, advance)
        except CheckpointError as error:
            if self.state is None or error.where != self.state:
                raise
            return self.without_state(error).load(nonfinite, progress)
        optimizer = self.outline.optimizer
        if optimizer is not None:
            slots = self.training.slots.items()
            named = {slot: {name: arrays[f"optimizer.{slot}.{name}"] for name in tensors} for slot, tensors in slots}
            optimizer = replace(optimizer, slots=named)
        checkpoint = self.described(sha256.result()).replace(
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
        small |= {name: completed(name, small.get(name)) for name in self.weights if name.endswith(_COUNTER)}
        return {name: small[name] if name in small else tensors[name] for name in (*self.weights, *tensors)}

    def described(self, sha256: str, repairs: tuple[Repair, ...] = ()) -> Checkpoint:
        """Returns the outline with what is known when the file was read."""
        source = replace(self.outline.source, sha256=sha256)
        return self.outline.replace(source=source, repairs=self.outline.repairs + repairs)

    def hash(self) -> str:
        """Returns the hash of the network's file.

        Raises:
            CheckpointError: It cannot be read.
        """
        try:
            return hash_file(self.path)
        except OSError as error:
            raise CheckpointError(self.path, f"it cannot be read: {reason_of(error)}", "is the disk sound?") from error

    def without_state(self, error: DeepPoseError) -> Plan:
        """Returns the same without the optimizer's state, which cannot be read, and says so."""
        notice = f"{error.where}: {error.problem}; the weights are read without it"
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

    def _tensors(self) -> dict[str, Stored]:
        tensors = {name: one for name, one in self.weights.items() if one is not None}
        for slot, named in self.training.slots.items():
            tensors |= {f"optimizer.{slot}.{name}": one for name, one in named.items()}
        return tensors


def check_policy(nonfinite: str) -> None:
    """Refuses what is no policy for NaN and Inf.

    Raises:
        DeepPoseError: It is none.
    """
    if nonfinite not in POLICIES:
        raise DeepPoseError(f"nonfinite is {nonfinite!r}; it is one of {', '.join(POLICIES)}")


def completed(name: str, array: Array | None) -> Array:
    """Returns a tensor as the network has it: a counter is a 0-d int64, and 0 where the file has none."""
    if not name.endswith(_COUNTER):
        assert array is not None
        return array
    return np.array(0 if array is None else array, np.int64).reshape(())


def _is_large(tensor: Stored) -> bool:
    return tensor.dtype.kind == "f" and tensor.nbytes >= CHUNK
