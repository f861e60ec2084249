"""What a file is, told before any of its arrays is read: which network, whose, for which input, how far trained."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from packaging.version import Version

from converters import evidence, formats, layouts, parts
from converters.checkpoint import LARGEST_NUMBER, Checkpoint, Preprocessing, Progress, Repair, Source, trained_in
from converters.errors import CheckpointError, DeepPoseError, reason_of
from converters.families import Writers, others_alike
from converters.files import Identity, identity_of
from converters.folding import fold
from converters.formats import Contents, Format
from converters.keys import chainer_names, links
from converters.layouts import NO_STATE, WITHOUT_STATE, Sections, Training
from converters.legacy_log import LegacyLog, read_beside
from converters.networks import (
    TABLES,
    TENSORFLOW_WRITER,
    TORCH_WRITER,
    Architecture,
    BatchNormalization,
    ModelSource,
    batch_normalization_rules,
    chainer_version,
    check_writer,
    walk,
)
from converters.plan import Plan
from converters.preprocessing import preprocessing_of
from converters.recognition import Network, recognise
from converters.sourced import candidates, makers, recognise_by_source, why_no_source
from converters.stored import Stored
from converters.values import dataclass

#: Where takiyu/DeepPose goes on: `resume/model_s0.npz`, `model_s1_j0.npz`, and each one's optimizer and losses.
_RESUMED = re.compile(r"model(_s\d+(?:_j\d+)?\.npz)")
_RESUMED_STATE = re.compile(r"optimizer(_s\d+(?:_j\d+)?\.npz)")


@dataclass(frozen=True)
class Options:
    """What a user says of a file; see `converters.read`.

    Raises:
        DeepPoseError: There is no such architecture, or a source is named beside it, or the writer is none.
    """

    architecture: str | None = None
    model_file: str | os.PathLike[str] | None = None
    writer: str | None = None
    state: bool = True
    max_bytes: int = formats.MAX_BYTES
    part: str | None = None

    def __post_init__(self) -> None:
        if self.architecture is not None and self.architecture not in TABLES:
            raise DeepPoseError(f"there is no architecture {self.architecture!r}; there are {', '.join(TABLES)}")
        if self.architecture is not None and self.model_file is not None:
            problem = f"the network is either {self.architecture} or the one of {self.model_file}, not both"
            raise DeepPoseError(problem)
        if self.writer is not None:
            chainer_version(self.writer)


def identify(path: Path, options: Options, contents: Contents | None = None, identity: Identity | None = None) -> Plan:
    """Finds out what a file is, with what lies beside it. Of its arrays only counters and colours are read.

    Args:
        path: The file.
        options: What a user says of it.
        contents: What it holds; None to look.
        identity: Which file it was before that was looked at.

    Raises:
        CheckpointError: The file is refused; the message says what is wrong, where, and what to do.
    """
    try:
        return _Identification(path, options, contents, identity).plan()
    except OSError as error:
        raise CheckpointError(path, f"it cannot be read: {reason_of(error)}", "is the disk sound?") from error


@dataclass(frozen=True)
class _File:
    """A file's contents, its keys sorted by what they belong to."""

    path: Path
    format: Format
    contents: Contents
    sections: Sections

    @property
    def metadata(self) -> dict[str, object]:
        """What `converters` wrote into it; empty for anybody else's file."""
        return self.contents.metadata or {}

    @property
    def _own(self) -> dict[str, object]:
        """What it says of its architecture, if we wrote it."""
        told = self.metadata.get("architecture")
        return told if isinstance(told, dict) else {}

    @property
    def own_architecture(self) -> Architecture | str | None:
        """The architecture that it says it is, if we wrote it: a table of its own, or a name."""
        if not self._own:
            return None
        try:
            return Architecture.from_dict(self._own) if self._own.get("own") is not None else str(self._own.get("name"))
        except DeepPoseError as error:
            raise _not_understood(self.path, error) from error

    @property
    def own_rules(self) -> str | None:
        """The writer whose arithmetic its network has, if we wrote it: weights may be trained on by another program."""
        writer = self._own.get("writer")
        return writer if isinstance(writer, str) else None

    @property
    def own_source(self) -> ModelSource | None:
        """The source of its network, if we wrote it and there was one."""
        source = self._own.get("source")
        try:
            return None if source is None else ModelSource.from_dict(source)
        except DeepPoseError as error:
            raise _not_understood(self.path, error) from error

    def stored(self, keys: Mapping[str, str]) -> dict[str, Stored]:
        """Returns its arrays by other names: `{key: name}`."""
        there = {key: name for key, name in keys.items() if key in self.contents.headers}
        return {name: self.contents.stored(self.path, key) for key, name in there.items()}


class _Identification:
    """Finds out what one file is, with what lies beside it."""

    def __init__(
        self, path: Path, options: Options, contents: Contents | None = None, identity: Identity | None = None
    ) -> None:
        self.path = formats.resolve(path)
        self.options = options
        self.contents = contents
        self.notices: list[str] = []
        self.identities: dict[Path, Identity | None] = {} if identity is None else {self.path: identity}

    def plan(self) -> Plan:
        """Returns what was found out."""
        file, beside = self._open_both()
        log = read_beside(self.path) if file.format.chainer else None
        network = self._recognise(file, beside, log)
        known = evidence.range_of((beside or file).sections, network.writers or network.family.writers)
        writer, told_by = self._tell_writer(network.match.architecture, file, known, log)
        architecture = replace(network.match.architecture, writer=self.options.writer or file.own_rules or writer)
        preprocessing = self._preprocessing(architecture, network, file, log)
        weights = self._weights(file, network, architecture)
        aliases = self._aliases(file, network)
        training, progress = self._training(file, beside, network, architecture, log)
        state = beside.path if beside is not None and self.options.state and training.optimizer is not None else None
        outline = Checkpoint(
            architecture=architecture,
            weights={},
            preprocessing=preprocessing,
            source=Source(
                path=_text_of(self.path),
                sha256="",
                format=file.contents.format,
                layout=file.sections.layout,
                wrappers=(*file.contents.wrappers, *network.wrappers),
                names=network.match.names,
                generation=network.family.name,
                writer=writer,
                writer_told_by=told_by,
                state_path=None if state is None else _text_of(state),
                origin=_origin(file.metadata),
            ),
            optimizer=training.optimizer,
            progress=progress,
            repairs=_repairs(file.metadata),
            notices=tuple(self.notices),
        )
        return Plan(self.path, state, outline, weights, aliases, training, self.identities)

    # --- what the files are ------------------------------------------------------------------------------------------

    def _open_both(self) -> tuple[_File, _File | None]:
        """Opens the model's file, and the optimizer's state beside it where there is one."""
        file = self._open(self.path, self.options.part, self.contents)
        if file.sections.layout == "state":
            self.path = _model_beside(file.path)
            return self._open(self.path), file
        state = _state_beside(self.path)
        if file.sections.layout != "model" or not file.format.chainer or state == self.path or not state.is_file():
            return file, None
        try:
            beside = self._open(state)
            if beside.sections.layout != "state":
                raise CheckpointError(state, "this is no optimizer's state", NO_STATE)
        except CheckpointError as error:
            del self.identities[state]
            self._without_state(error)
            return file, None
        return file, beside

    def _without_state(self, error: CheckpointError) -> None:
        """Says that the optimizer's state is not read, where anybody wanted it."""
        if self.options.state:
            self.notices.append(f"{error.where}: {error.problem}; {WITHOUT_STATE}")

    def _open(self, path: Path, part: str | None = None, contents: Contents | None = None) -> _File:
        self.identities.setdefault(path, identity_of(path))
        contents = formats.opened(path) if contents is None else contents
        contents = parts.chosen(path, contents, part)
        self.identities |= {file: identity_of(file) for file in contents.files}
        formats.refuse_many(path, len(contents.headers))
        formats.refuse_long_names(path, contents)
        formats.refuse_large(path, contents, self.options.max_bytes)
        self.notices += contents.notices
        _check_metadata(path, contents.metadata or {})
        keys = [*contents.headers, *contents.uninitialised]
        sections = contents.sections or Sections("model", model={key: key for key in keys})
        return _File(path, formats.FORMATS[contents.format], contents, sections)

    def _recognise(self, file: _File, beside: _File | None, log: LegacyLog | None) -> Network:
        model, writer = file.sections.model, self.options.writer
        if not model:
            problem = f"it holds {'an optimizer state but no network' if file.sections.optimizer else 'no arrays'}"
            raise CheckpointError(self.path, problem, "was the training interrupted before it saved?")
        network = self._by_source(file, beside, log)
        if network is None:
            try:
                network = recognise(self.path, file.contents, model, self.options.architecture, file.own_architecture)
            except CheckpointError as error:
                parts.refuse_several(self.path, file.contents)
                raise self._with_sources(error, log) from error
            network = network.with_source(file.own_source if network.own else None)
        if writer is not None and network.match.architecture.writer == TORCH_WRITER:
            problem = f"{network.match.architecture.name} exists in PyTorch alone, so {writer} did not write it"
            raise CheckpointError(self.path, problem, "leave --writer out")
        if writer is not None and file.contents.writer is not None:
            problem = f"{file.contents.writer} wrote it, not {writer}"
            raise CheckpointError(self.path, problem, "leave --writer out")
        self.notices += network.notices
        return network

    def _by_source(self, file: _File, beside: _File | None, log: LegacyLog | None) -> Network | None:
        """Returns the network that the file's source says it is; None if there is no source."""
        model_file = self.options.model_file
        if self.options.architecture is not None or (model_file is None and file.own_architecture is not None):
            return None

        def version(writers: Writers) -> Version:
            if self.options.writer is not None:
                return chainer_version(self.options.writer)
            known = evidence.range_of((beside or file).sections, writers)
            return chainer_version(evidence.tell_writer(known, log.version if log else None, "log.txt")[0])

        files = candidates(self.path, model_file, log or read_beside(self.path))
        functions = makers(self.path, model_file)
        model = file.sections.model
        return recognise_by_source(self.path, file.contents, model, files, functions, log, version, self.notices)

    def _with_sources(self, error: CheckpointError, log: LegacyLog | None) -> CheckpointError:
        """Returns a refusal with why the source beside the file does not tell its network, where there is one."""
        if self.options.architecture is not None:
            return error
        why = why_no_source(candidates(self.path, None, log or read_beside(self.path)))
        if why is None:
            return error
        advice = "name the file that it was trained with by --model-file"
        return CheckpointError(error.where, f"{error.problem}; {why}", advice)

    # --- who wrote it, and for what input ----------------------------------------------------------------------------

    def _tell_writer(
        self, architecture: Architecture, file: _File, known: Writers, log: LegacyLog | None
    ) -> tuple[str, str]:
        if self.options.writer is not None:
            return self.options.writer, "the option --writer"
        if isinstance(file.metadata.get("writer"), str):
            return str(file.metadata["writer"]), "the file's own metadata"
        if file.contents.writer is not None:
            return file.contents.writer, "its format"
        if architecture.writer == TORCH_WRITER:
            told_by = "its network, which exists in PyTorch alone" if architecture.source is None else "its source"
            return TORCH_WRITER, told_by
        try:
            writer, told_by, certain = evidence.tell_writer(known, log.version if log else None, "log.txt")
        except DeepPoseError as error:
            raise CheckpointError(self.path, str(error), "say which it was with --writer chainer-X.Y.Z") from error
        normalizes = any(isinstance(layer, BatchNormalization) for layer in walk(architecture.layers))
        if normalizes and not certain:
            self.notices.append(
                f"nothing says which Chainer wrote it: taken as {writer} "
                f"(BatchNormalization at test time with eps {batch_normalization_rules(writer).test_eps:g}); "
                "override with --writer chainer-X.Y.Z"
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
        chosen = network.own or self.options.architecture is not None or architecture.source is not None
        if not chosen:
            self._say_what_else_it_may_be(architecture.name, file.contents.format, log)
            self._ask_its_family(network, architecture, file.contents)
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

    def _say_what_else_it_may_be(self, name: str, format: str, log: LegacyLog | None) -> None:
        """Says that names and shapes alone told a network that others share them with, edited ones among these."""
        named = log is not None and log.options.get("architecture") == name  # by this project's own training
        if named or not others_alike(name):
            return
        others = others_alike(name, format) if log is None else []  # the main line's program alone writes such a log
        told, otherwise = (
            ("its keys and shapes are those of several networks", f"--architecture {' or '.join(others)}")
            if others
            else ("its keys and shapes do not show whether its network was edited", "--model-file FILE.py")
        )
        self.notices.append(f"{told}: taken as the {name} of mitmul/deeppose; override with {otherwise}")

    def _ask_its_family(self, network: Network, architecture: Architecture, contents: Contents) -> None:
        """Says what else its family knows that it may be, or that it is another network."""
        try:
            otherwise = network.family.otherwise(architecture, contents.values)
        except DeepPoseError as error:
            raise CheckpointError(self.path, error.problem, error.advice) from error
        self.notices += [] if otherwise is None else [otherwise]

    def _colours(self, beside: Iterable[str], file: _File) -> dict[str, tuple[str, tuple[float, ...]]]:
        """Returns the mean and deviation of the inputs' channels that MMPose keeps in the file, each with its key."""
        told = {}
        for key in beside:
            name, header = key.rpartition(".")[2], file.contents.headers[key]
            if name in ("mean", "std") and header.dtype.kind == "f" and header.nbytes < 1000:
                told[name] = (key, tuple(file.contents.stored(self.path, key).read().reshape(-1).tolist()))
        sound = all(len(channels) == 3 and all(np.isfinite(channels)) for _, channels in told.values())
        return told if sound and all(told.get("std", ("", (1.0,)))[1]) else {}

    # --- where its arrays are, and how far it was --------------------------------------------------------------------

    def _weights(self, file: _File, network: Network, architecture: Architecture) -> dict[str, Stored | None]:
        """Returns where the network's tensors are, in its order; old PyTorch had no counters."""
        stored = file.stored(network.canonical)
        missing = [name for name in architecture.shapes if name not in stored]
        if missing and architecture.writer != TENSORFLOW_WRITER:  # which counts no batches
            self.notices.append(
                f"its {len(missing)} BatchNormalization layers have no num_batches_tracked, which became 0"
            )
        return {name: stored.get(name) for name in architecture.shapes}

    def _aliases(self, file: _File, network: Network) -> list[tuple[Stored, Stored]]:
        """Returns second names of arrays, each with the first."""
        if network.aliases:
            self.notices.append(
                f"{fold(network.aliases)} are second names of {fold(dict.fromkeys(network.aliases.values()))}"
            )
        pairs = network.aliases.items()
        return [(file.contents.stored(self.path, one), file.contents.stored(self.path, two)) for one, two in pairs]

    def _training(
        self, file: _File, beside: _File | None, network: Network, architecture: Architecture, log: LegacyLog | None
    ) -> tuple[Training, Progress | None]:
        """Returns the optimizer, the rest of the trainer and the progress, each as far as the files hold it."""
        if not self.options.state:
            return Training(), None
        told = file.metadata.get("progress")
        progress = Progress.from_dict(told) if isinstance(told, dict) else None
        source = beside or file
        if source.sections.optimizer:
            known = bool(log and log.options.get("opt")) or file.contents.metadata is not None
            return self._chainer_training(file, source, network, architecture, progress, known)
        if file.contents.metadata is None:
            epoch = file.contents.values.get("epoch")
            if file.format.name == "keras-hdf5":  # whose program named its weights by what they have behind them
                epoch = _epoch_of_name(self.path)
            if not isinstance(epoch, int) or isinstance(epoch, bool) or not 0 <= epoch <= LARGEST_NUMBER:
                return Training(), None  # anybody's program says anything
            return Training(), Progress(epoch=epoch)
        return self._own_training(file.contents, architecture), progress

    def _own_training(self, contents: Contents, architecture: Architecture) -> Training:
        if contents.training is None:
            return Training()
        try:
            training = contents.training()
        except ValueError as error:
            problem = f"its optimizer or trainer cannot be read: {reason_of(error)}"
            raise CheckpointError(self.path, problem, NO_STATE) from error
        if training.optimizer is not None:
            layouts.check_optimizer(training.optimizer, training.slots, architecture.shapes, str(self.path))
        return training

    def _chainer_training(
        self,
        file: _File,
        source: _File,
        network: Network,
        architecture: Architecture,
        progress: Progress | None,
        known: bool,
    ) -> tuple[Training, Progress | None]:
        """The same where the optimizer is as Chainer saves one; `known` is whether a log tells which it is."""
        state = source.stored(source.sections.optimizer)
        trainer = file.stored(file.sections.trainer)
        if objects := file.sections.trainer.keys() & file.contents.uninitialised:
            self.notices.append(f"its trainer's {fold(sorted(objects))} are Python objects, which are never read")
        optimizer, slots = None, dict[str, dict[str, Stored]]()
        try:
            if objects := source.sections.optimizer.keys() & source.contents.uninitialised:
                problem = f"{fold(sorted(objects))} are Python objects, which are never read"
                raise CheckpointError(source.path, problem, NO_STATE)
            names = network.canonical
            if file.format.chainer:
                keys, prefix = chainer_names(architecture, network.match.names), links(network.wrappers)
                names = {prefix + keys[name]: name for name in trained_in(architecture)}
            state = {key: one for key, one in state.items() if key.rpartition("/")[0] not in network.beside}
            optimizer, slots = layouts.parse_optimizer(state, names, architecture.shapes, str(source.path))
            if optimizer is None:
                self.notices.append(f"{source.path} was saved before the first update: it holds no optimizer state")
            else:
                self.notices += layouts.said_of(optimizer.algorithm, slots, trained_in(architecture), known)
        except CheckpointError as error:
            self._without_state(error)
        training = Training(optimizer, slots, dict(trainer))
        if trainer:
            counters = ("updater/iterator:main/epoch", "updater/iteration")
            counts = [layouts.count_of(trainer, key, str(self.path)) if key in trainer else None for key in counters]
            return training, Progress(*counts)
        return training, progress or Progress(self._epoch_beside(), _step(state))

    def _epoch_beside(self) -> int | None:
        """Returns the epochs that are behind a model, as its name says or takiyu's losses: one an epoch."""
        resumed = _RESUMED.fullmatch(self.path.name)
        losses = self.path if resumed is None else self.path.with_name(f"loss{resumed[1]}")
        if losses == self.path or not losses.is_file():
            return _epoch_of_name(self.path)
        try:
            shapes = {key: formats.opened(losses).headers[key].shape for key in ("train", "test")}
            (epochs,) = shapes["train"]
        except (CheckpointError, KeyError, ValueError) as error:
            reason = error.problem if isinstance(error, CheckpointError) else "it holds no losses of training and test"
            self.notices.append(f"{losses}: {reason}; how many epochs are behind the network is not told")
            return None
        return epochs


def _text_of(path: Path) -> str:
    """Returns a path as text that any file can hold: what of it is not UTF-8 is escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _step(state: Mapping[str, Stored]) -> int | None:
    """Returns how many updates an optimizer counts, if it does."""
    try:
        return layouts.count_of(state, "t", "")
    except CheckpointError:
        return None


def _not_understood(path: Path, error: DeepPoseError) -> CheckpointError:
    problem = f"what it says of itself cannot be understood: {error.problem}"
    return CheckpointError(path, problem, "was it edited? convert the original again")


def _state_beside(model: Path) -> Path:
    """Returns where the optimizer's state of a model is: as Chainer's users name it, or as takiyu/DeepPose does."""
    resumed = _RESUMED.fullmatch(model.name)
    return model.with_suffix(".state") if resumed is None else model.with_name(f"optimizer{resumed[1]}")


def _model_beside(state: Path) -> Path:
    """Returns the model that an optimizer's state belongs to."""
    resumed = _RESUMED_STATE.fullmatch(state.name)
    model = state.with_suffix(".model") if resumed is None else state.with_name(f"model{resumed[1]}")
    if model == state or not model.is_file():
        problem = "this is an optimizer's state, without the network's weights"
        raise CheckpointError(state, problem, f"put {model.name} beside it, which has them")
    return model


def _check_metadata(path: Path, metadata: Mapping[str, object]) -> None:
    """Refuses what a file says of itself if it is not as we write it."""
    try:
        for told in (metadata, metadata.get("architecture")):
            if isinstance(told, dict) and isinstance(told.get("writer"), str):
                check_writer(told["writer"])
        for name, kind in (("preprocessing", Preprocessing), ("progress", Progress), ("source", Source)):
            if metadata.get(name) is not None:
                kind.from_dict(metadata[name])
        _origin(metadata)
        _repairs(metadata)
    except DeepPoseError as error:
        raise _not_understood(path, error) from error


def _repairs(metadata: Mapping[str, object]) -> tuple[Repair, ...]:
    """Returns what a file of ours says was changed on reading what it was made of."""
    told = metadata.get("repairs") or ()
    if not isinstance(told, list | tuple):
        raise DeepPoseError(f"its repairs are {told!r}")
    return tuple(map(Repair.from_dict, told))


def _epoch_of_name(path: Path) -> int | None:
    """Returns the epoch that a file's name says, as in `epoch-100.model`; the state's own count is always 0."""
    found = re.search(r"epoch[-_](\d{1,15})(?!\d)", path.name)
    return int(found[1]) if found else None


def _origin(metadata: Mapping[str, object]) -> dict[str, object] | None:
    """Returns the Source that a file of ours was first converted from."""
    source = metadata.get("source")
    if not isinstance(source, dict):
        return None
    return Source.from_dict(source.get("origin") or source).as_dict()
