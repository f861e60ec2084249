"""From a Checkpoint to a file, and from file to file with a proof that nothing was lost."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path

from converters import formats, stages, streaming, words
from converters.cascade import Cascade
from converters.checkpoint import Checkpoint, Repair, Source, parameters_of
from converters.errors import CheckpointError, DeepPoseError, printable, told_as_checkpoints
from converters.files import atomic, checked_folder, hash_file, refuse_targets, staged
from converters.formats import FORMATS, Format
from converters.identify import Options
from converters.plan import CascadePlan, Plan, check_policy
from converters.progress import ProgressCallback, StepCallback
from converters.values import dataclass
from converters.verification import verify

#: Returns what is called in a step; None for nothing.
Step = Callable[[str], ProgressCallback | None]


@dataclass(frozen=True)
class Report:
    """What a conversion did.

    Attributes:
        source: The file that was read.
        output: The file that was written, or would have been.
        output_format: Its format.
        output_sha256: Its hash; None if nothing was written.
        architecture: Name of the architecture.
        joints: Number of joints.
        tensors: Number of tensors of the network.
        parameters: Number of trained numbers.
        optimizer: Algorithm of the optimizer's state, or None.
        progress: Epoch and iteration, or None.
        preprocessing: What the network was trained on.
        repairs: Non-finite numbers found.
        notices: What the user should know.
        verified: Whether the written bytes were read again and found equal.
        stages: Of a cascade, what each stage is, see `cascade.Stage.as_dict`. None of a checkpoint.
    """

    source: Source
    output: str
    output_format: str
    output_sha256: str | None
    architecture: str
    joints: int
    tensors: int
    parameters: int
    optimizer: str | None
    progress: dict[str, object] | None
    preprocessing: dict[str, object]
    repairs: tuple[Repair, ...]
    notices: tuple[str, ...]
    verified: bool
    stages: tuple[dict[str, object], ...] | None = None

    def __repr__(self) -> str:
        """Returns what was done, in a line."""
        done = "verified" if self.verified else "dry run"
        files = f"{printable(self.source.path)} -> {printable(self.output)}"
        return f"<Report {files}: {self.architecture}, {self.joints} joints, {done}>"

    def _repr_html_(self) -> str:
        """Returns what was done as a notebook shows it."""
        facts = words.facts_of_report(self)
        notices = {f"note {number}": notice for number, notice in enumerate(self.notices, start=1)}
        return words.html_of_facts(f"{self.source.path} \N{RIGHTWARDS ARROW} {self.output}", {**facts, **notices})

    def as_dict(self) -> dict[str, object]:
        """Returns the report as JSON-ready values."""
        values = {
            **asdict(self),
            "source": self.source.as_dict(),
            "repairs": [repair.as_dict() for repair in self.repairs],
            "notices": list(self.notices),
            "stages": list(self.stages or ()),
        }
        return values if self.stages is not None else {key: one for key, one in values.items() if key != "stages"}


def write(
    checkpoint: Checkpoint | Cascade,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    layout: str | None = None,
    force: bool = False,
) -> None:
    """Writes a checkpoint or a cascade: to a temporary name beside `path`, which is renamed when it is whole.

    Args:
        checkpoint: What is written.
        path: The target. A cascade becomes a folder of that name, a file a network, where the format is neither `pt`
            nor `safetensors`.
        format: `pt`, `safetensors` or `chainer-npz`; None tells it by the suffix.
        layout: For `chainer-npz`: `head` forces `predictor/` and the last names, `state` writes the optimizer's state,
            `snapshot` a trainer's snapshot; None the model with the wrapper and names that were read (for a path
            that ends in `.state`: the state). A cascade has none.
        force: Whether a file that exists may be replaced.

    Raises:
        CheckpointError: The target exists or cannot be written, or the checkpoint lacks what is asked for.
    """
    target = Path(path)
    kind, layout = _kind(target, format, layout)
    assert kind.write is not None
    if isinstance(checkpoint, Cascade):
        _refuse_for_cascade(target, kind, layout)
        _write_cascade(checkpoint, target, kind, [], force, lambda name: None)
        return
    _refuse_target(target, kind.folder, [], force)
    with told_as_checkpoints(), (staged if kind.folder else atomic)(target, force=force) as temporary:
        kind.write(checkpoint, temporary, layout=layout)


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str] | None = None,
    *,
    format: str | None = None,
    layout: str | None = None,
    architecture: str | None = None,
    model_file: str | os.PathLike[str] | None = None,
    part: str | None = None,
    writer: str | None = None,
    nonfinite: str = "zero",
    state: bool = True,
    max_bytes: int = formats.MAX_BYTES,
    force: bool = False,
    dry_run: bool = False,
    progress: StepCallback | None = None,
) -> Report:
    """Reads a checkpoint or a cascade, writes it in another format, and reads that again to compare every byte.

    Args:
        source: The file to convert, or the folder of a cascade; it is never changed.
        target: The file to write, see `write`; None for the source's name with the format's suffix.
        format: As for `write`; with neither target nor format, `pt`.
        layout: As for `write`.
        architecture: As for `read`.
        model_file: As for `read`.
        part: As for `read`.
        writer: As for `read`.
        nonfinite: As for `read`.
        state: As for `read`.
        max_bytes: As for `read`.
        force: Whether a target that exists may be replaced.
        dry_run: Whether to stop before anything is written.
        progress: Called with the step's name, the bytes done and the bytes to do.

    Returns:
        What was done.

    Raises:
        CheckpointError: The source is refused, or the target cannot be written.
    """
    source = Path(source)
    target = default_target(source, format or "pt") if target is None else Path(target)
    kind, layout = _kind(target, format, layout)
    check_policy(nonfinite)

    def step(name: str) -> ProgressCallback | None:
        return None if progress is None else lambda done, total: progress(name, done, total)

    # What is not read again is a program for others to run: it goes on with no training.
    state = state and kind.read is not None
    plan = stages.plan_of(source, Options(architecture, model_file, writer, state, max_bytes, part))
    is_folder = kind.folder
    if isinstance(plan, CascadePlan):
        _refuse_for_cascade(target, kind, layout)
        is_folder = kind.write_cascade is None
    _refuse_target(target, is_folder, [source, *plan.files, plan.state], force or dry_run)
    with told_as_checkpoints():
        if dry_run:
            checkpoint, digest = plan.load(nonfinite, step("reading")), None
        elif kind.pieces and plan.is_large and streaming.AVAILABLE:
            checkpoint, digest = _in_pieces(plan, target, kind, nonfinite, force, step)
        elif isinstance(plan, CascadePlan):
            checkpoint = plan.load(nonfinite, step("reading"))
            digest = _write_cascade(checkpoint, target, kind, plan.files, force, step)
        else:
            checkpoint = plan.load(nonfinite, step("reading"))
            digest = _whole(checkpoint, target, kind, layout, force, step)
    return _report(checkpoint, target, kind, layout, digest)


def _whole(checkpoint: Checkpoint, target: Path, kind: Format, layout: str | None, force: bool, step: Step) -> str:
    """Writes a checkpoint, reads it again where its format can be, and returns the file's hash."""
    assert kind.write is not None
    if kind.folder:
        with staged(target, force=force) as stage:
            kind.write(checkpoint, stage, layout=layout)
            return _hash_of_largest(stage)
    return _one_file(partial(kind.write, checkpoint, layout=layout), checkpoint, target, kind, layout, force, step)


def _one_file(
    write: Callable[[Path], None],
    checkpoint: Checkpoint | Cascade,
    target: Path,
    kind: Format,
    layout: str | None,
    force: bool,
    step: Step,
) -> str:
    """Writes a file, reads it again where its format can be, and returns its hash."""
    with atomic(target, force=force) as temporary, ThreadPoolExecutor(1) as pool:
        if (writing := step("writing")) is not None:
            writing(0, 0)
        write(temporary)
        sha256 = pool.submit(hash_file, temporary)
        if kind.read is not None:
            verify(checkpoint, temporary, target, kind, layout, step("verifying"))
        return sha256.result()


def _write_cascade(cascade: Cascade, target: Path, kind: Format, read: Iterable[Path], force: bool, step: Step) -> str:
    """Writes a cascade, reads it again where its format can be, and returns the hash of the (largest) file."""
    if kind.write_cascade is not None:
        with told_as_checkpoints():
            return _one_file(partial(kind.write_cascade, cascade), cascade, target, kind, None, force, step)
    assert kind.write is not None
    networks, others = stages.files_of(cascade, kind)
    with told_as_checkpoints():
        stages.refuse_others(target, {*networks, *others})
        refuse_targets([target / name for name in (*networks, *others)], force, read=read)
        with staged(target, force=force) as stage:
            for name, network in networks.items():
                (stage / name).touch()
                kind.write(network, stage / name, layout=None)
                if kind.read is not None:
                    verify(network, stage / name, target / name, kind, None, step(f"verifying {name}"))
            for name, content in others.items():
                (stage / name).write_bytes(content)
            return _hash_of_largest(stage)


def _hash_of_largest(folder: Path) -> str:
    return hash_file(max(folder.iterdir(), key=lambda file: file.stat().st_size))


def _refuse_for_cascade(target: Path, kind: Format, layout: str | None) -> None:
    """Refuses a format or layout in which there is no cascade."""
    if kind.folder:
        advice = "--part stage1 takes one network of it"
        raise CheckpointError(target, f"a cascade has several networks, and {kind.name} is of one", advice)
    if layout is not None:
        raise CheckpointError(target, "a cascade has no layouts", "leave --layout out, or take one network with --part")


def _in_pieces(
    plan: Plan | CascadePlan, target: Path, kind: Format, nonfinite: str, force: bool, step: Step
) -> tuple[Checkpoint | Cascade, str]:
    """Does the same piece by piece; returns the checkpoint or cascade without its arrays, and the hash."""
    try:
        with atomic(target, force=force) as temporary:
            return streaming.write(plan, temporary, target, kind, nonfinite, step("converting"))
    except CheckpointError as error:
        if isinstance(plan, CascadePlan) or plan.state is None or error.where != plan.state:
            raise
        return _in_pieces(plan.without_state(error), target, kind, nonfinite, force, step)


def _report(
    checkpoint: Checkpoint | Cascade, target: Path, kind: Format, layout: str | None, digest: str | None
) -> Report:
    """Returns what is reported of a checkpoint, whose arrays are not looked at, that became a file of a hash."""
    networks = list(checkpoint.networks.values()) if isinstance(checkpoint, Cascade) else [checkpoint]
    first = networks[0]
    trained = next((network for network in reversed(networks) if network.optimizer), networks[-1])
    return Report(
        source=checkpoint.source,
        output=str(target),
        output_format=kind.name,
        output_sha256=digest,
        architecture=first.architecture.name,
        joints=checkpoint.joints,
        tensors=sum(len(network.architecture.shapes) for network in networks),
        parameters=sum(parameters_of(network.architecture) for network in networks),
        optimizer=trained.optimizer.algorithm if trained.optimizer else None,
        progress=trained.progress.as_dict() if trained.progress else None,
        preprocessing=first.preprocessing.as_dict(),
        repairs=checkpoint.repairs,
        notices=checkpoint.notices + _left_out(trained, kind, layout),
        verified=digest is not None,
        stages=tuple(stage.as_dict() for stage in checkpoint.stages) if isinstance(checkpoint, Cascade) else None,
    )


def _left_out(checkpoint: Checkpoint, kind: Format, layout: str | None) -> tuple[str, ...]:
    """Says what of a checkpoint its new format does not hold."""
    if checkpoint.optimizer is None or "optimizer" in kind.held(layout):
        return ()
    lost = f"{kind.name} holds weights only: the optimizer's state was left out"
    takers = [f"--layout {layout}" for layout, held in kind.layouts.items() if "optimizer" in held][:1]
    for other in formats.writable() if not takers else ():
        takers += [other.name] * any("optimizer" in held for held in (other.holds, *other.layouts.values()))
    return (f"{lost}; {' and '.join(takers)} take{'s' * (len(takers) == 1)} it",)


def default_target(source: Path, format: str) -> Path:
    """Returns the source's name with the format's suffix, in place of a checkpoint's suffix if it has one.

    Raises:
        DeepPoseError: There is no such format.
    """
    suffix = formats.written_as(format, source).suffixes[0]
    known, source = {suffix for kind in FORMATS.values() for suffix in kind.suffixes}, formats.resolve(source)
    return source.with_suffix(suffix) if source.suffix in known else source.with_name(source.name + suffix)


def _kind(target: Path, format: str | None, layout: str | None) -> tuple[Format, str | None]:
    """Returns the format and layout that a target asks for."""
    kind = formats.written_as(format, target)
    known = dict.fromkeys(name for other in FORMATS.values() for name in other.layouts)
    if layout is not None and layout not in known:
        raise DeepPoseError(f"there is no layout {layout!r}; there are {', '.join(known)}")
    if layout is not None and layout not in kind.layouts:
        takers = " and ".join(other.name for other in FORMATS.values() if layout in other.layouts)
        raise CheckpointError(target, f"only {takers} has a layout, not {kind.name}", "leave --layout out")
    if layout is None and target.suffix == ".state" and "state" in kind.layouts:
        layout = "state"
    return kind, layout


def _refuse_target(target: Path, folder: bool, read: Iterable[Path | None], force: bool) -> None:
    """Refuses a target that is there already, or among the files that are read under whatever name."""
    with told_as_checkpoints():
        if folder:  # its own files are looked for when they are put there
            checked_folder(target)
        else:
            refuse_targets([target], force, read=read)
