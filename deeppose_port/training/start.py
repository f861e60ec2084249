"""What a run starts from: anew, from another run's weights, or where another run stopped."""

from __future__ import annotations

from dataclasses import field, replace
from pathlib import Path

import numpy as np

import converters
from converters import Checkpoint, CheckpointError, Optimizer, Preprocessing, Progress, takiyu_folder
from converters.cascade import Cascade, one_network
from converters.checkpoint import Array, trained_in
from converters.errors import DeepPoseError
from converters.families import grown, starting_preprocessing
from converters.folding import fold
from converters.layouts import WITHOUT_STATE, frozen
from converters.legacy_log import read_beside
from converters.networks import Dropout, SoftArgmax, walk
from converters.sourced import architecture_of_source, for_size
from converters.values import dataclass
from deeppose_port.data import skeletons
from deeppose_port.data.augmentation import BOX, is_on, refuse_no_box
from deeppose_port.training.average import trained_of
from deeppose_port.training.hyperparameters import OPTIMIZERS, HyperparameterOptions, Hyperparameters, state_of
from deeppose_port.training.initial import WRITER, initial_architecture, initial_checkpoint
from deeppose_port.training.logs import entries_of
from deeppose_port.training.names import BEFORE, DISPLACEMENTS, CheckpointName, checkpoints_in, joint_folder
from deeppose_port.training.options import TrainingOptions
from deeppose_port.training.recipes import RECIPES
from deeppose_port.training.stage import LaterStage, close_up_in, stage_preprocessing, stages_before

#: What starts anew where nothing is said.
DEFAULT_ARCHITECTURE = "alexnet"
_ITERATOR = "updater/iterator:main/"
_WITHOUT = "go on with a new optimizer by --no-state, or start anew from its weights with --init"
_ALGORITHMS = " or ".join(", ".join(OPTIMIZERS.values()).rsplit(", ", 1))


@dataclass(frozen=True)
class Start:
    """Where a run starts.

    Attributes:
        checkpoint: The weights, and the optimizer's state where a run goes on.
        hyperparameters: Of the optimizer.
        epoch: Epochs behind it.
        iteration: Updates behind it.
        iterator: State of a resumed snapshot's iterator, by Chainer's key; empty for anything else.
        resumed: The file whose run goes on, or None.
        notices: What was taken from where, one sentence each.
        later: What there is of a cascade beside the network, where a later stage is trained; None for whole persons.
    """

    checkpoint: Checkpoint
    hyperparameters: Hyperparameters
    epoch: int = 0
    iteration: int = 0
    iterator: dict[str, Array] = field(default_factory=dict)
    resumed: Path | None = None
    notices: tuple[str, ...] = ()
    later: LaterStage | None = None

    def log(self) -> list[dict[str, object]]:
        """Returns the log that a resumed snapshot holds; none if it holds none that can be read."""
        log = self.checkpoint.trainer.get("extensions/LogReport/_log")
        return [] if log is None or log.size != 1 else entries_of(log.item())

    def position(self, persons: int, batch_size: int) -> tuple[tuple[int, int], Array | None]:
        """Returns where in the stream of examples the run starts.

        Args:
            persons: Size of the training set.
            batch_size: Persons in a step.

        Returns:
            Epoch and place in its order, and that order if the resumed snapshot holds one of this training set.
        """
        order = self.iterator.get("order", self.iterator.get("_order"))
        position = self.iterator.get("current_position")
        if position is not None and order is not None and np.array_equal(np.sort(order, axis=None), np.arange(persons)):
            return (self.epoch, int(position)), order
        # At an epoch's edge a batch is filled up with the next epoch's first examples: those are behind it.
        offset = self.iteration * batch_size - self.epoch * persons
        return (self.epoch, offset if 0 <= offset < persons else 0), None


def starting_point(options: TrainingOptions, joints: int, *, joint: int = 0, later: LaterStage | None = None) -> Start:
    """Reads or draws what a run starts from.

    Args:
        options: The run's.
        joints: How many joints the persons have.
        joint: Whose network is started, of a stage of one network a joint.
        later: What there is of such a stage, where it is known already.

    Raises:
        CheckpointError: The file is refused, holds no run to go on with, or does not say how the run went on.
        DeepPoseError: The options contradict each other or the file.
    """
    answered = 1 if options.cascade.per_joint else joints
    if options.resume is None:
        start = _new(options, answered)
    elif options.cascade.per_joint:
        start = _resume_joint(options, options.resume, joint, later)
    else:
        path, checkpoint, later = _read_latest(options.resume, options)
        _refuse_other_before(options, path)
        start = _resume(options, path, checkpoint, later)
    checkpoint, later = start.checkpoint, start.later
    if options.heatmap_loss and not isinstance(checkpoint.architecture.layers[-1], SoftArgmax):
        problem = f"{checkpoint.architecture.name} does not end with the soft-argmax of heat maps"
        where = checkpoint.source.path or None
        raise DeepPoseError(f"{problem}: there is no --heatmap-loss for it", where=where)
    if later is not None and later.before.joints != joints:
        raise _of_other_joints(later.before.first.source.path, later.before.joints, f"{options.skeleton} has {joints}")
    if checkpoint.joints != answered:
        wanted = f"{options.skeleton} has {joints}" if answered == joints else "a network of one joint is trained"
        advice = "--finetune in place of --init draws its last layer anew" if options.init is not None else None
        if checkpoint.joints == 1 and options.resume is not None:
            advice = "a stage of one network a joint goes on by --resume FOLDER --per-joint"
        raise _of_other_joints(checkpoint.source.path, checkpoint.joints, wanted, advice)
    preprocessing = _preprocessing(checkpoint.preprocessing, options)
    _refuse_in_vain(options, checkpoint, preprocessing)
    unused = options.hyperparameters.in_vain(start.hyperparameters) if options.resume is None else ()
    if unused:
        told = f"{', '.join(unused)}: of no use to {OPTIMIZERS[start.hyperparameters.algorithm]} as it is told here"
        start = replace(start, notices=(*start.notices, told))
    if later is not None:
        _refuse_of_first_stage(options)
        if checkpoint.architecture.stacks:
            name = checkpoint.architecture.name
            raise DeepPoseError(f"{name} answers heat maps, a later stage answers displacements: take another network")
        preprocessing = stage_preprocessing(preprocessing)
    if len(preprocessing.joints) != answered:  # another network's, as of the stage before one network a joint
        preprocessing = replace(preprocessing, joints=(), limbs=(), joints_assumed=False)
    checkpoint = for_size(checkpoint, preprocessing.im_size)
    if not checkpoint.architecture.accepts(preprocessing.im_size):
        problem = f"its network takes {checkpoint.architecture.takes}, not {preprocessing.im_size}"
        raise CheckpointError(checkpoint.source.path, problem)
    if options.augmentation.moves_box:
        refuse_no_box(preprocessing.part, [name for name in BOX if is_on(getattr(options.augmentation, name))])
    notices = start.notices
    if options.dropout and not any(isinstance(layer, Dropout) for layer in walk(checkpoint.architecture.layers)):
        notices += (f"{checkpoint.architecture.name} has no dropout, so that --dropout changes nothing",)
    return replace(start, checkpoint=checkpoint.replace(preprocessing=preprocessing), notices=notices)


def _refuse_in_vain(options: TrainingOptions, checkpoint: Checkpoint, preprocessing: Preprocessing) -> None:
    """Refuses what was said of a part that the network's inputs do not have; a recipe may say it of any."""
    recipe, name, where = RECIPES.get(options.recipe or "", {}), checkpoint.architecture.name, checkpoint.source.path
    varied = options.augmentation.margin_range not in (0, recipe.get("margin_range"))
    if varied and preprocessing.part != "joints-margin":
        raise DeepPoseError(f"{name} sees no margin around the joints: leave --margin-range out", where=where or None)
    if options.base_zoom not in (None, recipe.get("base_zoom")) and not preprocessing.zooms:
        problem = f"{name} does not see a person's box times a factor: leave --base-zoom out"
        raise DeepPoseError(problem, where=where or None)


def _new(options: TrainingOptions, joints: int) -> Start:
    """Starts anew: from drawn weights, or from those of another network."""
    later = _later_stage(options)
    hyperparameters = _anew(options.hyperparameters)
    if options.finetune is not None:
        return replace(_finetune(options, options.finetune, joints), later=later)
    if options.init is not None:
        checkpoint = _read(options.init, options, state=False)
        return Start(checkpoint, hyperparameters, notices=_notices(checkpoint), later=later)
    before = None if later is None else later.before.stages[-1].networks[0]
    own = options.model_file is not None or options.architecture is not None or options.width is not None
    family = options.architecture or (DEFAULT_ARCHITECTURE if before is None else before.architecture.name)
    preprocessing = starting_preprocessing(family) if before is None or own else before.preprocessing
    preprocessing = _preprocessing(preprocessing, options)
    if options.model_file is not None:
        architecture = architecture_of_source(options.model_file, joints, preprocessing.shape, WRITER)
    elif before is None or own:
        architecture = initial_architecture(family, joints, preprocessing.im_size, options.width, options.stacks)
    else:
        architecture = before.architecture.with_joints(joints)
    drawn = initial_checkpoint(architecture, preprocessing, options.seed)
    return Start(drawn, hyperparameters, later=later)


def _later_stage(options: TrainingOptions) -> LaterStage | None:
    """Reads the stages before the one that is to be trained; None for the first."""
    cascade = options.cascade
    if cascade.stage == 1:
        return None
    if cascade.before is None:
        raise DeepPoseError(
            f"stage {cascade.stage} looks around where the stages before it have the joints: name them with --from"
        )
    found = converters.read(cascade.before, state=False)
    return stages_before(found, cascade.before, cascade.stage)


def _of_other_joints(path: str, found: int, wanted: str, advice: str | None = None) -> CheckpointError:
    return CheckpointError(path, f"it has {found} {'joint' if found == 1 else 'joints'}, but {wanted}", advice)


def _refuse_of_first_stage(options: TrainingOptions) -> None:
    for name in ("base_zoom", "coord_normalize"):
        if getattr(options, name) is not None:
            spelled = name.replace("_", "-")
            raise DeepPoseError(f"--{spelled} is of the first stage, which sees whole persons; leave it out")


def _finetune(options: TrainingOptions, path: Path, joints: int) -> Start:
    """Starts from a checkpoint's weights; the last layer's are drawn anew where the number of joints differs."""
    checkpoint = _read(path, options, state=False)
    notices = _notices(checkpoint)
    if checkpoint.joints != joints:
        architecture = checkpoint.architecture.with_joints(joints)
        drawn = initial_checkpoint(architecture, checkpoint.preprocessing, options.seed)
        others = {
            name.rpartition(".")[0] for name, w in checkpoint.weights.items() if w.shape != drawn.weights[name].shape
        }
        weights = {n: drawn.weights[n] if n.rpartition(".")[0] in others else w for n, w in checkpoint.weights.items()}
        notices = (
            *notices,
            f"{path} has {checkpoint.joints} joints, not {joints}: its {_listed(sorted(others))} drawn anew, all other "
            "layers start from its weights",
        )
        checkpoint = checkpoint.replace(architecture=architecture, weights=weights)
    return Start(checkpoint, _anew(options.hyperparameters), notices=notices)


def _listed(layers: list[str]) -> str:
    return f"{', '.join(layers)} {'is' if len(layers) == 1 else 'are'}"


def _notices(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Returns the choices and the repairs that were made when a checkpoint was read, one sentence each."""
    repairs = (f"{r.tensor}: {r.nan} NaN and {r.inf} Inf became {r.became:g}" for r in checkpoint.repairs)
    return (*checkpoint.notices, *repairs)


def _anew(said: HyperparameterOptions) -> Hyperparameters:
    return said.complete(said.algorithm or "adam")


def _preprocessing(preprocessing: Preprocessing, options: TrainingOptions) -> Preprocessing:
    """Puts what the options say over what a checkpoint was trained on."""
    return preprocessing.overridden(
        im_size=options.im_size,
        base_zoom=options.base_zoom,
        coord_normalize=options.coord_normalize,
        gcn=options.gcn,
    )


def _optimizer_of(path: Path, checkpoint: Checkpoint, said: HyperparameterOptions) -> Optimizer:
    """Returns the optimizer's state that a run goes on with.

    Raises:
        CheckpointError: There is none, or none that goes on here.
    """
    optimizer = checkpoint.optimizer
    if optimizer is None:
        reason = next((f": {notice}" for notice in checkpoint.notices if notice.endswith(WITHOUT_STATE)), "")
        problem = f"it holds no optimizer's state, so its run cannot go on{reason}"
        raise CheckpointError(path, problem, f"put the .state beside the .model, or {_WITHOUT}")
    if optimizer.algorithm not in OPTIMIZERS:
        problem = (
            f"it holds the state of {optimizer.algorithm}, with which no training goes on here, only with {_ALGORITHMS}"
        )
        raise CheckpointError(path, problem, _WITHOUT)
    if unmoved := frozen(optimizer.slots, trained_in(checkpoint.architecture)):
        problem = f"its run did not update {fold(unmoved)}, and every weight would be updated here"
        raise CheckpointError(path, problem, _WITHOUT)
    if said.algorithm is not None and state_of(said.algorithm) != optimizer.algorithm:
        problem = f"it holds the state of {OPTIMIZERS[optimizer.algorithm]}, not of {said.opt}"
        raise CheckpointError(path, problem, f"leave --opt out, or {_WITHOUT}")
    return optimizer


def _resume_joint(options: TrainingOptions, folder: Path, joint: int, later: LaterStage | None) -> Start:
    """Goes on with one joint's network: of a result folder, or of what takiyu/DeepPose left."""
    if not folder.is_dir():
        problem = "this is no folder, and a stage of one network a joint goes on with all of them"
        raise CheckpointError(folder, problem, "name the folder that they are in")
    if (folder / BEFORE).is_file():
        _refuse_other_before(options, folder)
        later = later or _began(folder, options)
        path, checkpoint, _ = _read_latest(joint_folder(folder, joint), options)
        if checkpoint.optimizer is None and options.state:  # where its training begins
            _refuse_other_stage(options, path, later)
            progress = checkpoint.progress or Progress(0, 0)
            behind = progress.epoch or 0, progress.iteration or 0
            return Start(checkpoint, _anew(options.hyperparameters), *behind, resumed=path, later=later)
        return _resume(options, path, checkpoint, later)
    if not takiyu_folder.holds_resumed(folder):
        problem = "it holds no stage of one network a joint to go on with"
        raise CheckpointError(folder, problem, "name the result folder of one, or takiyu's `resume`")
    later = later or _later_stage(options)
    path = takiyu_folder.resumed_file(folder, options.cascade.stage - 1, joint)
    found = converters.read(path, architecture=takiyu_folder.ARCHITECTURE, state=options.state)
    return _resume(options, path, one_network(found), later)


def _began(folder: Path, options: TrainingOptions) -> LaterStage:
    """Reads what a result folder has of a stage of one network a joint, beside the networks."""
    before = converters.read(folder / BEFORE, state=False)
    if not isinstance(before, Cascade):
        raise CheckpointError(folder / BEFORE, "this is no cascade, and the stages before are one", "start anew")
    for own in (joint_folder(folder, joint) for joint in range(before.joints)):
        if not own.is_dir():
            raise CheckpointError(own, "there is no such folder, and the stage needs it", "start anew")
    return LaterStage(before, close_up_in(folder / DISPLACEMENTS, skeletons.get(options.skeleton or "")))


def _refuse_other_before(options: TrainingOptions, path: Path) -> None:
    if options.cascade.before is not None:
        problem = "its run began with the stages before it, and --from names some for a new stage"
        raise CheckpointError(path, problem, "leave --from out")


def _refuse_other_stage(options: TrainingOptions, path: Path, later: LaterStage | None) -> None:
    number, said = 1 if later is None else later.number, options.cascade.stage
    if said not in (1, number):
        raise CheckpointError(path, f"it is of stage {number}, not of {said}", "leave --stage out")


def _resume(options: TrainingOptions, path: Path, checkpoint: Checkpoint, later: LaterStage | None) -> Start:
    _refuse_other_stage(options, path, later)
    said, step = options.hyperparameters, checkpoint.optimizer.step if checkpoint.optimizer else 0
    notices = list(_notices(checkpoint))
    algorithm = said.algorithm
    if options.state:
        algorithm = _optimizer_of(path, checkpoint, said).algorithm
    else:
        checkpoint = checkpoint.replace(optimizer=None)
        notices.append("its optimizer starts afresh")
    log = read_beside(path)
    if log is not None and log.options:
        logged = HyperparameterOptions.from_log(log.options)
        algorithm = algorithm or logged.algorithm
        if logged.algorithm is not None and algorithm is not None and state_of(logged.algorithm) == state_of(algorithm):
            said = said.over(logged)
            notices.append(f"hyper-parameters that were not given come from {log.path}")
    if options.ema and log is not None and log.options.get("ema") and trained_of(checkpoint) is None:
        problem = "of its run it holds the running average of the weights alone, and not those that were trained"
        raise CheckpointError(path, problem, "resume a snapshot_iter_N, or go on from the average with --ema 0")
    algorithm = said.algorithm or algorithm or "adam"
    if options.state and said.learning_rate(algorithm) is None:
        option = "--adam-alpha" if state_of(algorithm) == "adam" else "--lr"
        problem = "no file of this kind holds the learning rate, and no log.txt beside it tells"
        raise CheckpointError(path, problem, f"say it with {option}")
    progress = checkpoint.progress
    named = CheckpointName.parse(path.name)
    told = options.start_epoch, progress.epoch if progress else None, named.epoch if named else None
    epoch = next((each for each in told if each is not None), None)
    if epoch is None:
        problem = "neither it nor its name says how many epochs are behind it"
        raise CheckpointError(path, problem, "say it with --start-epoch")
    iteration = progress.iteration if progress and progress.iteration is not None else step
    iterator = {k.removeprefix(_ITERATOR): v for k, v in checkpoint.trainer.items() if k.startswith(_ITERATOR)}
    return Start(checkpoint, said.complete(algorithm), epoch, iteration, iterator, path, tuple(notices), later)


def _read(path: Path, options: TrainingOptions, state: bool = True) -> Checkpoint:
    """Reads a checkpoint as the options say."""
    found = converters.read(
        path, architecture=told_architecture(options.architecture), model_file=options.model_file, state=state
    )
    return _of_its_kind(one_network(found), options)


def told_architecture(said: str | None) -> str | None:
    """Returns what is said of a file's architecture: nothing by one that is made of any number of stacks."""
    return None if grown(said or "") else said


def _of_its_kind(checkpoint: Checkpoint, options: TrainingOptions) -> Checkpoint:
    """Returns a checkpoint of such an architecture, which no file leaves a choice of.

    Raises:
        CheckpointError: It is of another, and one such was said.
    """
    if grown(options.architecture or "") and checkpoint.architecture.name != options.architecture:
        problem = f"it is {checkpoint.architecture.name}, not {options.architecture}"
        raise CheckpointError(checkpoint.source.path, problem, "leave --architecture out")
    return checkpoint


def _read_any(path: Path, options: TrainingOptions, state: bool = True) -> tuple[Checkpoint, LaterStage | None]:
    """Reads a checkpoint, or the last stage of a cascade with what there is beside it."""
    # A cascade of ours says what its networks are; the options said that of the last alone.
    own = options.resume is not None and options.cascade.stage > 1
    architecture, model_file = (None, None) if own else (told_architecture(options.architecture), options.model_file)
    found = converters.read(path, architecture=architecture, model_file=model_file, state=state)
    if not isinstance(found, Cascade):
        return _of_its_kind(found, options), None
    *before, last = found.stages
    if not last.shared:
        problem = "its last stage has one network a joint, and each one's run is in a folder of its own"
        raise CheckpointError(path, problem, "name the result folder that it is in")
    return last.networks[0], LaterStage(Cascade(tuple(before)), last.close_up) if before else None


def _read_latest(path: Path, options: TrainingOptions) -> tuple[Path, Checkpoint, LaterStage | None]:
    """Reads a file, or of a result folder the checkpoint with the most behind it."""
    if not path.is_dir():
        return path, *_read_any(path, options)
    found = [(name, file) for name, file in checkpoints_in(path) if name.has_weights]
    snapshot, epoch = (
        max(((name.number, file) for name, file in found if name.kind == kind), default=None)
        for kind in ("snapshot", "epoch")
    )
    if snapshot is not None:
        checkpoint, later = _read_any(snapshot[1], options)
        # A snapshot of the same epoch is at its end or after it; of a running average it alone holds what goes on.
        alone = epoch is not None and epoch[1].suffix == ".model" and trained_of(checkpoint) is not None
        if alone or epoch is None or checkpoint.progress is None or epoch[0] <= (checkpoint.progress.epoch or 0):
            return snapshot[1], checkpoint, later
    if epoch is None and ((path / BEFORE).is_file() or takiyu_folder.holds_resumed(path)):
        raise CheckpointError(path, "this folder holds a stage of one network a joint", "--per-joint goes on with it")
    if epoch is None:
        raise CheckpointError(path, "this folder holds no snapshot_iter_N and no epoch-N.model to go on with")
    return epoch[1], *_read_any(epoch[1], options)
