"""A training from its options to its end, in whichever backend."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from converters.checkpoint import Preprocessing, trained_in
from converters.errors import DeepPoseError
from converters.interrupts import asked_to_end
from deeppose_port import backends
from deeppose_port.backends.protocol import Description
from deeppose_port.backends.stages import stage_data
from deeppose_port.backends.torchrun import rank_and_size, speaks
from deeppose_port.data import PoseDataset, skeletons
from deeppose_port.data.annotations import joints_in
from deeppose_port.data.cache import PictureCache
from deeppose_port.data.dataset import DatasetOptions
from deeppose_port.data.displacements import CloseUps, DrawnCloseUps
from deeppose_port.data.pack import PackedDataset
from deeppose_port.data.skeletons import Skeleton
from deeppose_port.metrics import registry
from deeppose_port.metrics.evaluation import missing_for
from deeppose_port.options import changed
from deeppose_port.text import counted
from deeppose_port.training.folder import ResultFolder
from deeppose_port.training.mean_pose import mean_pose, predictions_of_pose
from deeppose_port.training.names import CheckpointName, joint_folder
from deeppose_port.training.options import TrainingOptions
from deeppose_port.training.parameters import frozen, scales_of
from deeppose_port.training.run import Callbacks, Header, Run
from deeppose_port.training.stage import displacements_json
from deeppose_port.training.start import Start, starting_point
from deeppose_port.training.validation import numbers_of


def train(options: TrainingOptions, backend: str = "torch", callbacks: Callbacks | None = None) -> Run:
    """Trains a network.

    Args:
        options: The training.
        backend: The name of one that can train: `torch` or `chainer`.
        callbacks: What is called while it goes on.

    Returns:
        The run, ended; `run.stop` tells whether the user ended it.

    Raises:
        TrainingError: The loss or a gradient is not finite.
        ValueError: Options, data or files are refused.
    """
    description = backends.described(backend)
    _refuse_unable(options, description)
    # Of the processes that torchrun started, one writes and speaks.
    first = speaks() or "processes" not in description.abilities
    callbacks = callbacks if callbacks is not None and first else Callbacks()
    engine = backends.get(backend)
    if options.skeleton is None:
        options = replace(options, skeleton=_told_skeleton(options.train_csv))
        callbacks.notice(
            f"by their number the joints are taken as those of {options.skeleton}; override with --skeleton"
        )
    skeleton = skeletons.get(options.skeleton or "")
    start = starting_point(options, len(skeleton.joints))
    first_stage = start.checkpoint if start.later is None else start.later.before.first
    skeleton.refuse_other_order(first_stage.preprocessing.told_joints, first_stage.source.path)
    per_joint = options.cascade.per_joint
    if not per_joint:
        skeleton.refuse_other_order(start.checkpoint.preprocessing.told_joints, start.checkpoint.source.path)
        start = _naming(start, skeleton.joints, skeleton.limbs)
        first_stage = start.checkpoint if start.later is None else first_stage
    for notice in start.notices:
        callbacks.notice(notice)
    _refuse_start(start, options, backend)
    persons, validated = _opened(options, skeleton, first_stage.preprocessing)
    _refuse_unmeasured(options, validated)
    train_set: PoseDataset | DrawnCloseUps = persons
    test_set: PoseDataset | CloseUps | None = validated
    mean: dict[str, float] = {}
    if start.later is not None:
        made = stage_data(start, start.later, persons, validated, backend, options)
        start, train_set, test_set = made.start, made.train, made.test
        for notice in made.notices:
            callbacks.notice(notice)
    elif first:
        mean = _mean_pose_numbers(persons, validated, options)
    # What is refused is so before a folder is made, or the settings of an old one are written over.
    if "devices" in description.abilities:
        engine.refuse_device(options.device)
    names = trained_in(start.checkpoint.architecture)
    frozen(names, options.freeze), scales_of(names, options.lr_scale)
    told = options
    of_joints: list[DrawnCloseUps] = []
    if not per_joint:
        options = _with_whole_batches(options, train_set, description, callbacks)
    elif isinstance(train_set, DrawnCloseUps):
        of_joints = [train_set.of_joint(joint) for joint in range(len(skeleton.joints))]
    writes = first and not options.eval_only
    # No other file that goes on with a training holds a cascade.
    files = description.files if start.later is None else "pt"
    begin = partial(_begin_joints, options, start)
    with ResultFolder.open(options, start, files, writes, callbacks.notice, begin) as folder:
        run = Run(options, start, folder, train_set, test_set, callbacks, mean)
        if folder.writes:
            folder.write_config(backend, told)
            if isinstance(train_set, DrawnCloseUps):
                folder.write_displacements(displacements_json(train_set))
        with asked_to_end(run.stop.set):
            if per_joint:
                _train_joints(engine.train, run, of_joints, description)
            else:
                if first:
                    callbacks.begin(_header(run, description))
                engine.train(run)
    return run


def _refuse_start(start: Start, options: TrainingOptions, backend: str) -> None:
    """Refuses a network that the backend or the loss is not for, and a run that has ended."""
    architecture = start.checkpoint.architecture
    backends.refuse_foreign(backend, architecture, start.checkpoint.source.path)
    if architecture.stacks and options.loss != "l2":
        problem = f"--loss {options.loss} is of coordinates, and this {architecture.name} has heat maps"
        raise DeepPoseError(problem, advice="leave it out, or say --recipe course")
    if start.epoch >= options.epochs and not options.eval_only and not options.cascade.per_joint:
        raise DeepPoseError(
            f"{start.resumed}: it has {start.epoch} epochs behind it and --epochs is {options.epochs}: nothing to do"
        )


def _opened(
    options: TrainingOptions, skeleton: Skeleton, preprocessing: Preprocessing
) -> tuple[PoseDataset, PoseDataset | None]:
    """Returns the persons to learn from, and those to validate with."""
    about: DatasetOptions = {
        "preprocessing": preprocessing,
        "min_dim": options.counting.min_dim,
        "ignore_label": options.counting.ignore_label,
        "cache": PictureCache(options.cache),
        "max_pixels": options.counting.max_pixels,
    }
    opened = partial(PoseDataset, images=options.images, skeleton=skeleton, **about)
    if options.pack is None:
        persons = opened(options.train_csv)
    else:
        packed = partial(PackedDataset, pack=options.pack, augmentation=options.augmentation)
        persons = packed(options.train_csv, images=options.images, skeleton=skeleton, **about)
    return persons, None if options.test_csv is None else opened(options.test_csv)


def _train_joints(
    train: Callable[[Run], None], run: Run, examples: Sequence[DrawnCloseUps], backend: Description
) -> None:
    """Trains a stage of one network a joint, one after the other, each in a result folder of its own."""
    options, folder, callbacks = run.options, run.folder, run.callbacks
    assert not isinstance(run.test, PoseDataset)
    joints = examples[0].skeleton.joints

    for joint, name in enumerate(joints):
        own = joint_folder(folder.path, joint)
        if ResultFolder(own).has_ended(options.epochs):
            continue
        start = _start_of_joint(options, run.start, joint)
        if start.epoch >= options.epochs:
            continue
        if start is not run.start:
            for notice in start.notices:
                callbacks.notice(notice)
        if not folder.goes_on_with_joints(start):
            start = replace(start, resumed=own / str(CheckpointName("epoch", start.epoch, ".pt")))
        start = replace(_naming(start, (name,), ()), later=None)
        told = _with_whole_batches(options, examples[joint], backend, callbacks)
        with ResultFolder.open(replace(told, output=own), start, "pt", folder.writes, callbacks.notice) as inner:
            test = None if run.test is None else run.test.of_joint(joint)
            one = replace(run, options=told, start=start, folder=inner, train=examples[joint], test=test)
            callbacks.begin(_header(one, backend, name))
            train(one)
            if run.stop.is_set():
                return
            if inner.writes:
                inner.end(options.epochs)
    if folder.writes:
        callbacks.saved(folder.join(len(joints)))
        folder.end(options.epochs)


def _begin_joints(options: TrainingOptions, start: Start, folder: ResultFolder) -> None:
    """Writes the starts of a stage of one network a joint, unless the run goes on where they are.

    Raises:
        DeepPoseError: There is nothing to do.
    """
    if not options.cascade.per_joint:
        return
    assert start.later is not None
    if not folder.goes_on_with_joints(start):
        joints = range(start.later.before.joints)
        folder.begin_joints((_start_of_joint(options, start, joint) for joint in joints), options.epochs)
    elif folder.has_ended(options.epochs):
        problem = f"each joint has {counted(options.epochs, 'epoch')} behind it, or has ended before: nothing to do"
        raise DeepPoseError(problem, where=folder.path, advice="a larger --epochs goes on")


def _start_of_joint(options: TrainingOptions, start: Start, joint: int) -> Start:
    """Returns what a joint's network starts from: anew from the same weights as the first joint's."""
    if options.resume is None or joint == 0:
        return start
    assert start.later is not None
    return starting_point(options, start.later.before.joints, joint=joint, later=start.later)


def _naming(start: Start, joints: tuple[str, ...], limbs: tuple[tuple[int, int], ...]) -> Start:
    """Returns a start whose network knows what its joints are called."""
    named = replace(start.checkpoint.preprocessing, joints=joints, limbs=limbs, joints_assumed=False)
    return replace(start, checkpoint=start.checkpoint.replace(preprocessing=named))


def _with_whole_batches(
    options: TrainingOptions, examples: PoseDataset | DrawnCloseUps, backend: Description, callbacks: Callbacks
) -> TrainingOptions:
    """Returns options whose batches are no larger than the training set, and says so where they were.

    Raises:
        DeepPoseError: A batch has less than one example for each device, or for each process.
    """
    count = len(examples)
    if options.batch_size > count:
        what = "persons" if isinstance(examples, PoseDataset) else "close-ups"
        callbacks.notice(f"there are {count} {what}, fewer than a batch of {options.batch_size}: all are one")
        options = replace(options, batch_size=count)
    parts = {"devices": options.device.count(",") + 1}
    if "processes" in backend.abilities:
        parts["processes"] = rank_and_size()[1]
    for what, number in parts.items():
        if number > options.batch_size:
            raise DeepPoseError(f"a batch of {options.batch_size} cannot be split over {number} {what}")
    return options


def _told_skeleton(csv: Path) -> str:
    """Returns the name of the skeleton that the number of joints in a CSV tells.

    Raises:
        DeepPoseError: It tells none.
    """
    joints = joints_in(csv)
    skeleton = skeletons.of_network(joints)
    if skeleton is None:
        raise DeepPoseError(f"nothing says what its {joints} joints are", where=csv, advice=skeletons.WHICH)
    return skeleton.name


def _mean_pose_numbers(train: PoseDataset, test: PoseDataset | None, options: TrainingOptions) -> dict[str, float]:
    """Returns the numbers of answering the mean pose to every picture of the test set."""
    if test is None:
        return {}
    numbers = numbers_of(predictions_of_pose(mean_pose(train), test), test, options, "pck")
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def _header(run: Run, backend: Description, joint: str | None = None) -> Header:
    checkpoint = run.start.checkpoint
    return Header(
        persons=len(_persons_of(run.train)),
        validation_persons=None if run.test is None else len(_persons_of(run.test)),
        architecture=checkpoint.architecture.name,
        parameters=checkpoint.parameters,
        im_size=checkpoint.preprocessing.im_size,
        device=run.options.device,
        backend=backend.title,
        epoch=run.start.epoch,
        epochs=run.options.epochs,
        recipe=run.options.recipe,
        mean_pose=run.mean_pose,
        joint=joint,
    )


def _persons_of(examples: PoseDataset | DrawnCloseUps | CloseUps) -> PoseDataset:
    return examples if isinstance(examples, PoseDataset) else examples.persons


def _refuse_unable(options: TrainingOptions, backend: Description) -> None:
    """Refuses options that a backend cannot follow.

    Raises:
        DeepPoseError: It says which, and which backends can.
    """
    if "train" not in backend.abilities:
        raise DeepPoseError(f"{backend.title} does not train: --backend is one of {_names(backends.able('train'))}")
    for option in changed(options):
        needs = option.description.needs
        if needs and needs not in backend.abilities:
            raise DeepPoseError(f"{option.spelled}: only with --backend {_names(backends.able(needs))}")


def _names(descriptions: list[Description]) -> str:
    return " or ".join(description.name for description in descriptions)


def _refuse_unmeasured(options: TrainingOptions, test: PoseDataset | None) -> None:
    """Refuses options on validations where there are none, or none of that kind.

    Raises:
        DeepPoseError: See there.
    """
    if options.eval_only and test is None:
        raise DeepPoseError("there is nothing to validate on: name a --test-csv")
    if (test is None or not options.valid_freq) and not options.eval_only:
        followed = {"patience": options.patience, "best": options.best != "loss", "best-after": options.best_after}
        for name in (name for name, asks in followed.items() if asks):
            raise DeepPoseError(f"--{name} follows validations: name a --test-csv, and a --valid-freq that is not 0")
    missing = None if test is None else missing_for(registry.find(options.best), test)
    if missing is not None:
        raise DeepPoseError(f"--best {options.best}: {missing}; take another metric")
