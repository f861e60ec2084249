"""From a file to a Checkpoint."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from packaging.version import Version

from converters import evidence, formats, layouts
from converters.checkpoint import Array, Checkpoint, Optimizer, Preprocessing, Progress, Repair, Source, is_parameter
from converters.errors import CheckpointError, DeepPoseError, reason_of
from converters.families import Writers, others_alike
from converters.files import Identity, hash_file, identity_of
from converters.folding import fold
from converters.formats import Contents
from converters.keys import chainer_names, links
from converters.legacy_log import LegacyLog, read_beside
from converters.networks import (
    TABLES,
    TORCH_WRITER,
    Architecture,
    BatchNormalization,
    ModelSource,
    batch_normalization_rules,
    chainer_version,
    check_writer,
    walk,
)
from converters.preprocessing import preprocessing_of
from converters.recognition import Network, recognise
from converters.repair import POLICIES, repair
from converters.sourced import candidates, recognise_by_source

#: Called with the bytes done and the bytes to do.
ProgressCallback = Callable[[int, int], None]
#: A file and the keys of its arrays that are wanted.
Job: TypeAlias = "tuple[_File, list[str]]"
#: Gives the arrays of one or two files by key, and the hash of the first file ("": told later).
Load: TypeAlias = Callable[[list[Job]], tuple[list[dict[str, Array]], str]]


def read(
    path: str | os.PathLike[str],
    *,
    architecture: str | None = None,
    model_file: str | os.PathLike[str] | None = None,
    writer: str | None = None,
    nonfinite: str = "zero",
    state: bool = True,
    max_bytes: int = formats.MAX_BYTES,
    progress: ProgressCallback | None = None,
) -> Checkpoint:
    """Reads a checkpoint of any format, told by its content.

    A legacy `.model` with a `.state` of the same name beside it is read together with it, and so is the `.state`. The
    file is never changed, and nothing in it is run.

    Args:
        path: The file.
        architecture: A name from `networks.TABLES`, where the file itself leaves a choice.
        model_file: The Python file that defined its network, as FILE or FILE:CLASS; the network is read from it, and it
            is never run. None: the model file that a `log.txt` beside the checkpoint names, else every `.py` beside it
            that defines a network; `architecture` leaves those out.
        writer: The version that wrote it, as `chainer-1.13.0`; it decides BatchNormalization's test-time arithmetic.
            None: from the file's own metadata, a `log.txt` beside it, or keys that only some versions write, else
            Chainer 1.13 with a notice.
        nonfinite: `zero` makes NaN and Inf 0 and reports them, `error` refuses the file, `keep` leaves and reports
            them.
        state: Whether the optimizer's state is read where there is one.
        max_bytes: The most that the arrays of one file may take in memory.
        progress: Called with the bytes done and the bytes to do; from several threads.

    Returns:
        The whole checkpoint: nothing is ever loaded in part.

    Raises:
        CheckpointError: The file is refused; the message says what is wrong, where, and what to do.
        DeepPoseError: An argument is none of those listed.
    """
    if nonfinite not in POLICIES:
        raise DeepPoseError(f"nonfinite is {nonfinite!r}; it is one of {', '.join(POLICIES)}")
    opened = open_checkpoint(
        Path(path), architecture, model_file, writer, state, max_bytes, lambda jobs: _load(jobs, progress)
    )
    return opened.repaired(nonfinite)


@dataclass(frozen=True)
class Opened:
    """A checkpoint as its files hold it, NaN included.

    Attributes:
        checkpoint: The checkpoint.
        identities: What tells, for each file that was read, whether it is still the same.
    """

    checkpoint: Checkpoint
    identities: dict[Path, Identity | None]

    def repaired(self, nonfinite: str) -> Checkpoint:
        """Returns the checkpoint, all of whose arrays have to be in memory, with NaN and Inf dealt with."""
        self.refuse_changed()
        repairs = repair(self.checkpoint.tensors(), nonfinite)
        if nonfinite == "error":
            refuse_nonfinite(self.checkpoint.source.path, repairs)
        return self.checkpoint.replace(repairs=self.checkpoint.repairs + repairs)

    def refuse_changed(self) -> None:
        """Refuses files that somebody wrote to while they were read."""
        for path, identity in self.identities.items():
            if identity_of(path) != identity:
                raise CheckpointError(path, "it changed while it was read", "try again when its writer is done")


def open_checkpoint(
    path: Path,
    architecture: str | None,
    model_file: str | os.PathLike[str] | None,
    writer: str | None,
    state: bool,
    max_bytes: int,
    load: Load,
) -> Opened:
    """Reads a checkpoint with `load` for its arrays; the other arguments and what is raised are as for `read`."""
    if architecture is not None and architecture not in TABLES:
        raise DeepPoseError(f"there is no architecture {architecture!r}; there are {', '.join(TABLES)}")
    if architecture is not None and model_file is not None:
        raise DeepPoseError(f"the network is either {architecture} or the one of {model_file}, not both")
    if writer is not None:
        chainer_version(writer)
    try:
        reader = _Reader(path, architecture, model_file, writer, state, max_bytes, load)
        return Opened(reader.read(), reader.identities)
    except OSError as error:
        raise CheckpointError(path, f"it cannot be read: {reason_of(error)}", "is the disk sound?") from error


def refuse_nonfinite(path: str, repairs: Sequence[Repair]) -> None:
    """Refuses a file whose tensors hold NaN or Inf.

    Raises:
        CheckpointError: There are any.
    """
    if repairs:
        counts = ", ".join(f"{r.tensor} {_count(r)}" for r in repairs[:5]) + (", …" if len(repairs) > 5 else "")
        problem = f"{len(repairs)} of its tensors hold NaN or Inf: {counts}"
        raise CheckpointError(path, problem, "--nonfinite zero makes them 0, --nonfinite keep leaves them")


def _count(found: Repair) -> str:
    return " and ".join(f"{n} {what}" for n, what in ((found.nan, "NaN"), (found.inf, "Inf")) if n)


@dataclass(frozen=True)
class _File:
    """A file's contents, its keys sorted by what they belong to."""

    path: Path
    contents: Contents
    sections: layouts.Sections

    @property
    def is_chainer(self) -> bool:
        return self.contents.format.startswith("chainer")

    @property
    def metadata(self) -> dict[str, Any]:
        """What `converters` wrote into it; empty for anybody else's file."""
        return self.contents.metadata or {}

    @property
    def own_architecture(self) -> Architecture | str | None:
        """The architecture that it says it is, if we wrote it: a table of its own, or a name."""
        own = self.metadata.get("architecture")
        if not isinstance(own, dict):
            return None
        try:
            return Architecture.from_dict(own) if own.get("own") is not None else str(own.get("name"))
        except DeepPoseError as error:
            problem = f"what it says of itself cannot be understood: {reason_of(error)}"
            raise CheckpointError(self.path, problem, "was it edited? convert the original again") from error

    @property
    def own_source(self) -> ModelSource | None:
        """The source of its network, if we wrote it and there was one."""
        own = self.metadata.get("architecture")
        source = own.get("source") if isinstance(own, dict) else None
        try:
            return None if source is None else ModelSource.from_dict(source)
        except DeepPoseError as error:
            problem = f"what it says of itself cannot be understood: {reason_of(error)}"
            raise CheckpointError(self.path, problem, "was it edited? convert the original again") from error


class _Reader:
    """Reads one file, with what lies beside it."""

    def __init__(
        self,
        path: Path,
        architecture: str | None,
        model_file: str | os.PathLike[str] | None,
        writer: str | None,
        state: bool,
        max_bytes: int,
        load: Load,
    ) -> None:
        self.path = formats.resolve(path)
        self.architecture = architecture
        self.model_file = model_file
        self.writer = writer
        self.state = state
        self.max_bytes = max_bytes
        self.load = load
        self.notices: list[str] = []
        self.identities: dict[Path, Identity | None] = {}

    def read(self) -> Checkpoint:
        file, beside = self._open_both()
        log = read_beside(self.path) if file.is_chainer else None
        network = self._recognise(file, beside, log)
        known = evidence.range_of((beside or file).sections, network.writers or network.family.writers)
        writer, told_by = self._tell_writer(network.match.architecture, file, known, log)
        architecture = replace(network.match.architecture, writer=writer)
        preprocessing = self._preprocessing(architecture, network, file, log)

        training = (*file.sections.optimizer, *file.sections.trainer) if self.state else ()
        jobs = [(file, [key for key in (*network.canonical, *training) if key in file.contents.headers])]
        if self.state and beside is not None:
            jobs.append((beside, list(beside.contents.headers)))
        arrays, sha256 = self.load(jobs)
        self._check_aliases(file, network)
        optimizer, trainer, how_far = self._training(file, beside, network, architecture, arrays)
        return Checkpoint(
            architecture=architecture,
            weights=self._complete({name: arrays[0][key] for key, name in network.canonical.items()}, architecture),
            preprocessing=preprocessing,
            source=Source(
                path=str(self.path),
                sha256=sha256,
                format=file.contents.format,
                layout=file.sections.layout,
                wrappers=(*file.contents.wrappers, *network.wrappers),
                names=network.match.names,
                generation=network.family.name,
                writer=writer,
                writer_told_by=told_by,
                state_path=None if beside is None or not self.state else str(beside.path),
                origin=_origin(file.metadata),
            ),
            optimizer=optimizer,
            progress=how_far,
            trainer=trainer,
            repairs=tuple(Repair.from_dict(r) for r in file.metadata.get("repairs") or ()),
            notices=tuple(self.notices),
        )

    # --- what the files are ------------------------------------------------------------------------------------------

    def _open_both(self) -> tuple[_File, _File | None]:
        """Opens the model's file, and the optimizer's state beside it where there is one."""
        file = self._open(self.path)
        if file.sections.layout == "state":
            self.path = _model_beside(file.path)
            return self._open(self.path), file
        state = self.path.with_suffix(".state")
        if file.sections.layout != "model" or not file.is_chainer or state == self.path or not state.is_file():
            return file, None
        try:
            beside = self._open(state)
            if beside.sections.layout != "state":
                raise CheckpointError(state, "this is no optimizer's state", "read the weights alone with --no-state")
        except CheckpointError:
            if self.state:
                raise
            return file, None  # it would only have told more of the writer
        return file, beside

    def _open(self, path: Path) -> _File:
        kind = formats.sniff(path)
        self.identities[path] = identity_of(path)
        contents = formats.module(kind).read(path)
        formats.refuse_large(path, contents, self.max_bytes)
        self.notices += contents.notices
        _check_metadata(path, contents.metadata or {})
        keys = [*contents.headers, *contents.uninitialised]
        if contents.format.startswith("chainer"):
            return _File(path, contents, layouts.split(keys))
        model = {key: key for key in keys if key not in contents.slots}
        return _File(path, contents, layouts.Sections("model", model, contents.slots))

    def _recognise(self, file: _File, beside: _File | None, log: LegacyLog | None) -> Network:
        model = file.sections.model
        if not model:
            problem = f"it holds {'an optimizer state but no network' if file.sections.optimizer else 'no arrays'}"
            raise CheckpointError(self.path, problem, "was the training interrupted before it saved?")
        network = self._by_source(file, beside, log)
        if network is None:
            network = recognise(self.path, file.contents, model, self.architecture, file.own_architecture)
            network = network.with_source(file.own_source if network.own else None)
        name = network.match.architecture.name
        if self.writer is not None and network.match.architecture.writer == TORCH_WRITER:
            problem = f"{name} exists in PyTorch alone, so {self.writer} did not write it"
            raise CheckpointError(self.path, problem, "leave --writer out")
        if self.writer is not None and file.contents.writer is not None:
            problem = f"{file.contents.writer} wrote it, not {self.writer}"
            raise CheckpointError(self.path, problem, "leave --writer out")
        self.notices += network.notices
        return network

    def _by_source(self, file: _File, beside: _File | None, log: LegacyLog | None) -> Network | None:
        """Returns the network that the file's source says it is; None if there is no source."""
        if self.architecture is not None or (self.model_file is None and file.own_architecture is not None):
            return None

        def version(writers: Writers) -> Version:
            if self.writer is not None:
                return chainer_version(self.writer)
            known = evidence.range_of((beside or file).sections, writers)
            return chainer_version(evidence.tell_writer(known, log.version if log else None, "log.txt")[0])

        files = candidates(self.path, self.model_file, log or read_beside(self.path))
        return recognise_by_source(self.path, file.contents, file.sections.model, files, log, version)

    def _check_aliases(self, file: _File, network: Network) -> None:
        """Refuses second names of arrays that are not the arrays'."""
        for alias, key in network.aliases.items():
            one, other = (formats.load_one(self.path, file.contents, name) for name in (alias, key))
            if not np.array_equal(one, other, equal_nan=one.dtype.kind == "f"):
                problem = f"{alias} and {key} are two names of one tensor in its source, and differ in the file"
                raise CheckpointError(self.path, problem, "was it trained with another version of the source?")
        if network.aliases:
            self.notices.append(f"{fold(network.aliases)} are second names of {fold(network.aliases.values())}")

    # --- who wrote it, and for what input ----------------------------------------------------------------------------

    def _tell_writer(
        self,
        architecture: Architecture,
        file: _File,
        known: Writers,
        log: LegacyLog | None,
    ) -> tuple[str, str]:
        if self.writer is not None:
            return self.writer, "the option --writer"
        if isinstance(file.metadata.get("writer"), str):
            return str(file.metadata["writer"]), "the file's own metadata"
        if file.contents.writer is not None:
            return file.contents.writer, "its format"
        if architecture.writer == TORCH_WRITER:
            told_by = "its network, which exists in PyTorch alone" if architecture.source is None else "its source"
            return TORCH_WRITER, told_by
        try:
            writer, told_by, certain = evidence.tell_writer(known, log.version if log else None, "log.txt")
        except ValueError as error:
            raise CheckpointError(self.path, str(error), "say which it was with --writer chainer-X.Y.Z") from error
        normalizes = any(isinstance(layer, BatchNormalization) for layer in walk(architecture.layers))
        if normalizes and not certain:
            self.notices.append(
                f"nothing says which Chainer wrote it: taken as {writer} "
                f"(BatchNormalization at test time with eps {batch_normalization_rules(writer).test_eps:g}); "
                "--writer chainer-X.Y.Z says otherwise"
            )
        return writer, told_by

    def _preprocessing(
        self, architecture: Architecture, network: Network, file: _File, log: LegacyLog | None
    ) -> Preprocessing:
        told = file.metadata.get("preprocessing") if network.own else None
        colours = self._colours(network.beside, file)
        if kept := sorted(set(network.beside) - {key for key, _ in colours.values()}):
            self.notices.append(f"no part of the network and not read: {fold(kept)}")
        if colours:
            keys = fold(key for key, _ in colours.values())
            self.notices.append(f"the mean and deviation of its inputs' colours are those in {keys}")
        others = others_alike(architecture.name, file.contents.format)
        chosen = network.own or self.architecture is not None or architecture.source is not None
        if others and not chosen and log is None:
            self.notices.append(
                f"its keys and shapes are those of several networks: taken as the {architecture.name} of "
                f"mitmul/deeppose; --architecture {' or '.join(others)} says otherwise"
            )
        preprocessing, notices = preprocessing_of(
            network.family,
            architecture,
            told if isinstance(told, dict) else None,
            log.options if log else None,
            {name: channels for name, (_, channels) in colours.items()},
            file.contents.values,
        )
        self.notices += notices
        if preprocessing.joints and len(preprocessing.joints) != architecture.joints:
            problem = f"it names {len(preprocessing.joints)} joints, and its network answers {architecture.joints}"
            raise CheckpointError(self.path, problem, "was it edited? convert the original again")
        return preprocessing

    def _colours(self, beside: Iterable[str], file: _File) -> dict[str, tuple[str, tuple[float, ...]]]:
        """Returns the mean and deviation of the inputs' channels that MMPose keeps in the file, each with its key."""
        told = {}
        for key in beside:
            name, header = key.rpartition(".")[2], file.contents.headers[key]
            if name in ("mean", "std") and header.dtype.kind == "f" and header.nbytes < 1000:
                told[name] = (key, tuple(formats.load_one(self.path, file.contents, key).reshape(-1).tolist()))
        sound = all(len(channels) == 3 and all(np.isfinite(channels)) for _, channels in told.values())
        return told if sound and all(told.get("std", ("", (1.0,)))[1]) else {}

    # --- how far it was ----------------------------------------------------------------------------------------------

    def _training(
        self,
        file: _File,
        beside: _File | None,
        network: Network,
        architecture: Architecture,
        arrays: list[dict[str, Array]],
    ) -> tuple[Optimizer | None, dict[str, Array], Progress | None]:
        """Returns the optimizer, the rest of the trainer and the progress, each as far as the files hold it."""
        if not self.state:
            return None, {}, None
        told = file.metadata.get("progress")
        progress = Progress.from_dict(told) if isinstance(told, dict) else None
        if not file.is_chainer and not file.contents.slots:
            return self._torch_training(file.contents, architecture, progress)
        source = beside or file
        if not source.sections.optimizer:
            return None, {}, progress
        if objects := source.sections.optimizer.keys() & source.contents.uninitialised:
            problem = f"{fold(sorted(objects))} are Python objects, which are never read"
            raise CheckpointError(source.path, problem, "read the weights alone with --no-state")
        if file.is_chainer:
            prefix = links(network.wrappers)
            keys = chainer_names(architecture, network.match.names)
            names = {prefix + key: name for name, key in keys.items() if is_parameter(name)}
        else:
            names = network.canonical
        state = {
            bare: arrays[-1][key]
            for key, bare in source.sections.optimizer.items()
            if key in arrays[-1] and bare.rpartition("/")[0] not in network.beside
        }
        try:
            optimizer = layouts.parse_optimizer(state, names, architecture.shapes, str(source.path))
        except CheckpointError as error:
            if file.is_chainer:
                raise
            self.notices.append(f"{error.problem}: its optimizer's state was not read")
            return None, {}, Progress(iteration=layouts.count_of(state, "t", str(source.path)))
        if optimizer is None:
            self.notices.append(f"{source.path} was saved before the first update: it holds no optimizer state")
        trainer = {key: arrays[0][k] for k, key in file.sections.trainer.items() if k in arrays[0]}
        if objects := file.sections.trainer.keys() & file.contents.uninitialised:
            self.notices.append(f"its trainer's {fold(sorted(objects))} are Python objects, which are never read")
        if trainer:
            counters = ("updater/iterator:main/epoch", "updater/iteration")
            counts = [layouts.count_of(trainer, key, str(self.path)) if key in trainer else None for key in counters]
            return optimizer, trainer, Progress(*counts)
        return optimizer, {}, progress or Progress(_epoch_of_name(self.path), int(state["t"]))

    def _torch_training(
        self, contents: Contents, architecture: Architecture, progress: Progress | None
    ) -> tuple[Optimizer | None, dict[str, Array], Progress | None]:
        """The same for PyTorch's formats: our own files have it all, others at most an epoch."""
        if contents.metadata is None:
            epoch = contents.values.get("epoch")
            return None, {}, Progress(epoch=epoch) if type(epoch) is int else None
        from converters.formats import pt

        try:
            optimizer, trainer = pt.training_of(contents.values)
        except ValueError as error:
            problem = f"its optimizer or trainer cannot be read: {reason_of(error)}"
            raise CheckpointError(self.path, problem, "read the weights alone with --no-state") from error
        if optimizer is not None:
            layouts.check_optimizer(optimizer, architecture.shapes, str(self.path))
        return optimizer, trainer, progress

    def _complete(self, weights: dict[str, Array], architecture: Architecture) -> dict[str, Array]:
        """Puts the weights into the table's order; counters become 0-d int64, and 0 where PyTorch had none yet."""
        result = {}
        added = 0
        for name in architecture.shapes:
            if not name.endswith(".num_batches_tracked"):
                result[name] = weights[name]
            else:
                added += name not in weights
                result[name] = np.array(weights.get(name, 0), np.int64).reshape(())
        if added:
            self.notices.append(f"its {added} BatchNormalization layers have no num_batches_tracked, which became 0")
        return result


def _model_beside(state: Path) -> Path:
    """Returns the model that an optimizer's state belongs to."""
    model = state.with_suffix(".model")
    if model == state or not model.is_file():
        problem = "this is an optimizer's state, without the network's weights"
        raise CheckpointError(state, problem, f"put {model.name} beside it, which has them")
    return model


def _check_metadata(path: Path, metadata: Mapping[str, Any]) -> None:
    """Refuses what a file says of itself if it is not as we write it."""
    try:
        if isinstance(metadata.get("writer"), str):
            check_writer(metadata["writer"])
        for name, kind in (("preprocessing", Preprocessing), ("progress", Progress), ("source", Source)):
            if metadata.get(name) is not None:
                kind.from_dict(metadata[name])
        if _origin(metadata) is not None:
            Source.from_dict(_origin(metadata) or {})
        for found in metadata.get("repairs") or ():
            Repair.from_dict(found)
    except (ValueError, TypeError, AttributeError) as error:
        problem = f"what it says of itself cannot be understood: {reason_of(error)}"
        raise CheckpointError(path, problem, "was it edited? convert the original again") from error


def _epoch_of_name(path: Path) -> int | None:
    """Returns the epoch that a file's name says, as in `epoch-100.model`; the state's own count is always 0."""
    found = re.search(r"epoch[-_](\d+)", path.name)
    return int(found[1]) if found else None


def _origin(metadata: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the Source that a file of ours was first converted from."""
    source = metadata.get("source")
    if not isinstance(source, dict):
        return None
    return source.get("origin") or source


def _load(jobs: list[Job], progress: ProgressCallback | None) -> tuple[list[dict[str, Array]], str]:
    """Reads the arrays of one or two files, with one count of bytes, and the hash of the first."""
    total = sum(file.contents.headers[key].nbytes for file, keys in jobs for key in keys)
    done = 0

    def advance(nbytes: int) -> None:
        nonlocal done
        done += nbytes
        if progress is not None:
            progress(done, total)

    with ThreadPoolExecutor(1) as pool:
        sha256 = pool.submit(hash_file, jobs[0][0].path)
        arrays = [formats.load(file.path, file.contents, keys, advance) for file, keys in jobs]
    return arrays, sha256.result()
