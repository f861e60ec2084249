"""From a file to a Checkpoint."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from converters import evidence, formats, layouts
from converters.architectures import (
    TABLES,
    Architecture,
    BatchNormalization,
    batch_normalization_rules,
    chainer_version,
    walk,
)
from converters.checkpoint import (
    Array,
    Checkpoint,
    CheckpointError,
    Optimizer,
    Preprocessing,
    Progress,
    Repair,
    Source,
    is_parameter,
)
from converters.formats import Contents
from converters.keys import Match, chainer_names, fold, generation_names, match, strip_wrappers
from converters.legacy_log import LegacyLog, read_beside
from converters.repair import POLICIES, repair

#: Called with the bytes done and the bytes to do.
ProgressCallback = Callable[[int, int], None]


def read(
    path: str | os.PathLike[str],
    *,
    architecture: str | None = None,
    writer: str | None = None,
    nonfinite: str = "zero",
    state: bool = True,
    progress: ProgressCallback | None = None,
) -> Checkpoint:
    """Reads a checkpoint of any format, told by its content.

    A legacy `.model` with a `.state` of the same name beside it is read together with it, and so is the `.state`. The
    file is never changed, and nothing in it is run.

    Args:
        path: The file.
        architecture: A name from `architectures.TABLES`, where the file itself leaves a choice.
        writer: The version that wrote it, as `chainer-1.13.0`; it decides BatchNormalization's test-time arithmetic.
            None: from the file's own metadata, a `log.txt` beside it, or keys that only some versions write, else
            Chainer 1.13 with a notice.
        nonfinite: `zero` makes NaN and Inf 0 and reports them, `error` refuses the file, `keep` leaves and reports
            them.
        state: Whether the optimizer's state is read where there is one.
        progress: Called with the bytes done and the bytes to do; from several threads.

    Returns:
        The whole checkpoint: nothing is ever loaded in part.

    Raises:
        CheckpointError: The file is refused; the message says what is wrong, where, and what to do.
        ValueError: An argument is none of those listed.
    """
    if nonfinite not in POLICIES:
        raise ValueError(f"nonfinite is {nonfinite!r}; it is one of {', '.join(POLICIES)}")
    if architecture is not None and architecture not in TABLES:
        raise ValueError(f"there is no architecture {architecture!r}; there are {', '.join(TABLES)}")
    if writer is not None:
        chainer_version(writer)
    checkpoint = _Reader(Path(path), architecture, writer, state).read(progress)
    repairs = repair(checkpoint.tensors(), nonfinite)
    if repairs and nonfinite == "error":
        counts = ", ".join(f"{r.tensor} {_count(r)}" for r in repairs[:5]) + (", …" if len(repairs) > 5 else "")
        problem = f"{len(repairs)} of its tensors hold NaN or Inf: {counts}"
        advice = "--nonfinite zero makes them 0, --nonfinite keep leaves them"
        raise CheckpointError(checkpoint.source.path, problem, advice)
    return checkpoint.replace(repairs=checkpoint.repairs + repairs)


def hash_file(path: Path) -> str:
    """Returns a file's SHA-256 in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(formats.CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _count(found: Repair) -> str:
    return " and ".join(f"{n} {what}" for n, what in ((found.nan, "NaN"), (found.inf, "Inf")) if n)


@dataclass
class _Found:
    """A file, its keys by section, and the network that they are."""

    path: Path
    contents: Contents
    sections: layouts.Sections
    wrappers: tuple[str, ...]
    match: Match


class _Reader:
    """Reads one file, with what lies beside it."""

    def __init__(self, path: Path, architecture: str | None, writer: str | None, state: bool) -> None:
        self.path = path
        self.architecture = architecture
        self.writer = writer
        self.state = state
        self.notices: list[str] = []

    def read(self, progress: ProgressCallback | None) -> Checkpoint:
        contents, sections = self._open(self.path)
        state_path = None
        if sections.layout == "state":
            state_path, self.path = self.path, _model_beside(self.path)
            contents, sections = self._open(self.path)
        elif self.state and sections.layout == "model" and contents.format.startswith("chainer"):
            beside = self.path.with_suffix(".state")
            state_path = beside if beside != self.path and beside.is_file() else None
        metadata = contents.metadata or {}
        found = self._find(contents, sections, metadata)
        beside_contents, beside_sections = (None, None) if state_path is None else self._open(state_path)
        if state_path is not None and (beside_sections is None or beside_sections.layout != "state"):
            raise CheckpointError(state_path, "this is no optimizer state", "read the weights alone with --no-state")

        log = read_beside(self.path) if contents.format.startswith("chainer") else None
        known = evidence.range_of(sections if beside_sections is None else beside_sections)
        writer, told_by = self._tell_writer(found.match.architecture, metadata, known, log)
        architecture = replace(found.match.architecture, writer=writer)
        preprocessing = self._preprocessing(architecture, found, metadata, log)

        weights_at = {key: found.match.canonical[bare] for key, bare in self._bare(found).items()}
        wanted = [*weights_at, *((*sections.optimizer, *sections.trainer) if self.state else ())]
        jobs = [(self.path, contents, [key for key in wanted if key in contents.headers])]
        if state_path is not None and beside_contents is not None:
            jobs.append((state_path, beside_contents, list(beside_contents.headers)))
        with ThreadPoolExecutor(1) as pool:
            sha256 = pool.submit(hash_file, self.path)
            arrays = _load(jobs, progress)

        weights = {name: arrays[0][key] for key, name in weights_at.items()}
        optimizer, trainer, how_far = self._training(
            found, arrays[0], arrays[-1], beside_sections, state_path, architecture
        )
        wrappers = (*contents.wrappers, *found.wrappers)
        source = Source(
            path=str(self.path),
            sha256=sha256.result(),
            format=contents.format,
            layout=sections.layout,
            wrappers=wrappers,
            names=found.match.names,
            writer=writer,
            writer_told_by=told_by,
            state_path=None if state_path is None else str(state_path),
            origin=_origin(metadata),
        )
        return Checkpoint(
            architecture=architecture,
            weights=self._complete(weights, architecture),
            preprocessing=preprocessing,
            source=source,
            optimizer=optimizer,
            progress=how_far,
            trainer=trainer,
            repairs=tuple(Repair.from_dict(r) for r in metadata.get("repairs") or ()),
            notices=tuple(self.notices),
        )

    # --- what the file is ----------------------------------------------------------------------------------------

    def _open(self, path: Path) -> tuple[Contents, layouts.Sections]:
        contents = formats.module(formats.sniff(path)).read(path)
        self.notices += contents.notices
        keys = [*contents.headers, *contents.uninitialised]
        if contents.format.startswith("chainer"):
            return contents, layouts.split(keys)
        return contents, layouts.Sections("model", model={key: key for key in keys})

    def _find(self, contents: Contents, sections: layouts.Sections, metadata: Mapping[str, Any]) -> _Found:
        """Finds the one architecture that the model's keys and shapes are, or refuses the file."""
        empty = sorted(set(contents.uninitialised) & sections.model.keys())
        if empty:
            problem = f"{fold(empty)} had no value yet when this was saved (before the network's first forward pass)"
            raise CheckpointError(self.path, problem, "there is nothing to convert; take a later checkpoint")
        if not sections.model:
            raise CheckpointError(self.path, "it holds no arrays", "was the training interrupted before it saved?")
        stripped, wrappers = strip_wrappers(sections.model)
        headers = {bare: contents.headers[key] for key, bare in stripped.items()}
        _refuse_known_strangers(self.path, headers)
        own = metadata.get("architecture")
        chosen = self.architecture or (str(own.get("name")) if isinstance(own, dict) else None)
        matches = match(headers, [chosen] if chosen in TABLES else TABLES)
        fitting = [m for m in matches if m.fits]
        if len(fitting) > 1:
            names = " and ".join(m.architecture.name for m in fitting)
            problem = f"its keys and shapes fit {names}"
            raise CheckpointError(self.path, problem, f"say which with --architecture {fitting[0].architecture.name}")
        if not fitting:
            raise self._misfit(matches[0], headers, wrappers, contents.format, chosen)
        return _Found(self.path, contents, sections, wrappers, fitting[0])

    def _misfit(
        self,
        nearest: Match,
        headers: Mapping[str, Any],
        wrappers: tuple[str, ...],
        kind: str,
        chosen: str | None,
    ) -> CheckpointError:
        prefix = "".join(wrappers)
        architecture = nearest.architecture
        slashes = sum("/" in key for key in headers) * 2 > len(headers) or kind.startswith("chainer")
        names = (
            chainer_names(architecture, nearest.names)
            if slashes
            else generation_names(architecture.name, nearest.names, architecture.shapes)
        )
        spell = {name: prefix + key for name, key in names.items()}
        nearest.unexpected = [prefix + key for key in nearest.unexpected]
        nearest.different = {prefix + key: what for key, what in nearest.different.items()}
        fits = (
            f"its arrays are not those of {chosen}"
            if chosen
            else f"its arrays fit no architecture; nearest is {architecture.name}"
        )
        return CheckpointError(
            self.path,
            f"{fits}: {nearest.describe(spell)}",
            f"--architecture takes {', '.join(TABLES)}; nothing is loaded in part",
        )

    def _bare(self, found: _Found) -> dict[str, str]:
        return strip_wrappers(found.sections.model)[0]

    # --- who wrote it, and for what input --------------------------------------------------------------------------

    def _tell_writer(
        self,
        architecture: Architecture,
        metadata: Mapping[str, Any],
        known: evidence.Range,
        log: LegacyLog | None,
    ) -> tuple[str, str]:
        if self.writer is not None:
            return self.writer, "the option --writer"
        if isinstance(metadata.get("writer"), str):
            return str(metadata["writer"]), "the file's own metadata"
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
        self, architecture: Architecture, found: _Found, metadata: Mapping[str, Any], log: LegacyLog | None
    ) -> Preprocessing:
        if isinstance(metadata.get("preprocessing"), dict):
            return Preprocessing.from_dict(metadata["preprocessing"])
        preprocessing = Preprocessing()
        if found.contents.format == "chainer-npz" and not found.wrappers:
            preprocessing = replace(preprocessing, gcn="subtract", interpolation="nearest")
            self.notices.append(
                "its keys have no predictor/ before them, as in mid-2016: inputs are made as the program of that time "
                "made them (the contrast normalisation subtracts the deviation, crops are resized to the nearest pixel)"
            )
        if log is not None and log.options:
            preprocessing = _from_log(preprocessing, log.options)
        if architecture.accepts(preprocessing.im_size):
            return preprocessing
        sizes = architecture.input_sizes()
        assert sizes is not None
        self.notices.append(
            f"its first fully connected layer is made for inputs of {sizes[0]} to {sizes[1]} pixels a side, "
            f"not {preprocessing.im_size}: im_size is taken as {sizes[1]}; --im-size says otherwise"
        )
        return replace(preprocessing, im_size=sizes[1])

    # --- how far it was ----------------------------------------------------------------------------------------------

    def _training(
        self,
        found: _Found,
        arrays: dict[str, Array],
        beside: dict[str, Array],
        beside_sections: layouts.Sections | None,
        state_path: Path | None,
        architecture: Architecture,
    ) -> tuple[Optimizer | None, dict[str, Array], Progress | None]:
        """Returns the optimizer, the rest of the trainer and the progress, each as far as the files hold it."""
        values = found.contents.values
        if found.contents.metadata is not None and found.contents.format == "pt":
            return _own_training(self.path, found.contents) if self.state else (None, {}, None)
        if not self.state:
            return None, {}, None
        if not found.contents.format.startswith("chainer"):
            epoch = values.get("epoch")
            known = isinstance(epoch, int) and not isinstance(epoch, bool)
            return None, {}, Progress(epoch=epoch) if known else None
        metadata = found.contents.metadata or {}
        own = Progress.from_dict(metadata["progress"]) if isinstance(metadata.get("progress"), dict) else None
        sections = beside_sections or found.sections
        if not sections.optimizer:
            return None, {}, own
        prefix = "predictor/" if "predictor/" in found.wrappers else ""
        names = {
            prefix + key: name
            for name, key in chainer_names(architecture, found.match.names).items()
            if is_parameter(name)
        }
        path = str(state_path or self.path)
        state = {bare: beside[key] for key, bare in sections.optimizer.items()}
        optimizer = layouts.parse_optimizer(state, names, path)
        if optimizer is None:
            self.notices.append(f"{path} was saved before the first update: it holds no optimizer state")
        trainer = {key: arrays[k] for k, key in found.sections.trainer.items()}
        if found.sections.layout == "snapshot":
            epoch, iteration = trainer.get("updater/iterator:main/epoch"), trainer.get("updater/iteration")
            how_far = Progress(*(None if n is None else int(n) for n in (epoch, iteration)))
        else:
            step = state.get("t")
            how_far = own or Progress(_epoch_of_name(self.path), None if step is None else int(step))
        return optimizer, trainer, how_far

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


def _refuse_known_strangers(path: Path, headers: Mapping[str, Any]) -> None:
    """Refuses by name the generations that are known but not read."""
    if any(key.startswith(("model/extractor/", "extractor/")) for key in headers):
        problem = "this is the DeepPose rewrite of 2019 (extractor/…), another network, which is not read yet"
        raise CheckpointError(path, problem, "it cannot be taken for the AlexNet of 2016")


def _from_log(preprocessing: Preprocessing, options: Mapping[str, Any]) -> Preprocessing:
    """Takes what a log.txt says of the training's preprocessing."""
    changes: dict[str, Any] = {}
    for name, kind in (("im_size", int), ("base_zoom", float), ("coord_normalize", bool)):
        value = options.get(name)
        if isinstance(value, int | float) and (kind is bool or value > 0):
            changes[name] = kind(value)
    if options.get("gcn") in (False, 0):
        changes["gcn"] = "none"
    return replace(preprocessing, **changes)


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


def _own_training(path: Path, contents: Contents) -> tuple[Optimizer | None, dict[str, Array], Progress | None]:
    from converters.formats import pt

    metadata, values = contents.metadata or {}, contents.values
    try:
        progress = Progress.from_dict(metadata["progress"]) if metadata.get("progress") else None
        optimizer = Optimizer(**pt.optimizer_values(values["optimizer"])) if values.get("optimizer") else None
        return optimizer, pt.trainer_values(values.get("trainer") or {}), progress
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        problem = f"its optimizer or progress cannot be read: {error}"
        raise CheckpointError(path, problem, "read the weights alone with --no-state") from error


def _load(jobs: list[tuple[Path, Contents, list[str]]], progress: ProgressCallback | None) -> list[dict[str, Array]]:
    """Reads the arrays of one or two files, with one count of bytes."""
    total = sum(contents.headers[key].nbytes for _, contents, keys in jobs for key in keys)
    done = 0

    def advance(nbytes: int) -> None:
        nonlocal done
        done += nbytes
        if progress is not None:
            progress(done, total)

    return [formats.load(path, contents, keys, advance) for path, contents, keys in jobs]
