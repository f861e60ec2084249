"""The options of a training, under their legacy names where those survive.

Each is declared once, by its field: `options.described` says what else the command line tells of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field, fields, replace
from pathlib import Path
from typing import Any

from converters.errors import DeepPoseError
from converters.files import byte_count
from converters.networks import TABLES
from converters.values import dataclass
from deeppose_port.data.augmentation import Augmentation
from deeppose_port.data.pictures import MAX_PIXELS
from deeppose_port.data.skeletons import SKELETONS
from deeppose_port.metrics import registry
from deeppose_port.metrics.losses import LOSSES
from deeppose_port.options import RARE_GROUP, described
from deeppose_port.training.parameters import scale_factors
from deeppose_port.training.recipes import RECIPES

#: Algorithm -> the legacy program's `--opt`, and that of AdamW, which it did not have.
OPTIMIZERS = {
    "adam": "Adam",
    "adamw": "AdamW",
    "momentumsgd": "MomentumSGD",
    "adagrad": "AdaGrad",
    "rmsprop": "RMSprop",
}
#: Algorithms whose state in checkpoints is another one's.
_STATES = {"adamw": "adam"}
_ADAMS = ("adam", "adamw")
#: How the learning rate falls.
SCHEDULES = ("step", "cosine")
#: What becomes of a step whose loss or gradient is not finite: the end of the run, before it
#: reaches the weights, or it is left out.
NONFINITE_GRADIENTS = ("error", "skip")
#: What an engine may compute in where that is safe, beside float32.
PRECISIONS = ("bf16", "fp16")


def state_of(algorithm: str) -> str:
    """Returns the algorithm in checkpoints that has the state of one: AdamW's is Adam's."""
    return _STATES.get(algorithm, algorithm)


#: What the legacy program wrote into log.txt but did not use with that optimizer.
_UNUSED = {
    "Adam": ("lr", "weight_decay", "lr_decay_freq", "lr_decay_ratio"),
    "AdaGrad": ("weight_decay",),
    "RMSprop": ("weight_decay", "lr_decay_freq", "lr_decay_ratio"),
}


@dataclass(frozen=True)
class Hyperparameters:
    """What an optimizer does, with the legacy program's defaults.

    Attributes:
        algorithm: A key of `OPTIMIZERS`.
        lr: The learning rate of the first epoch; Adam's alpha.
        momentum: MomentumSGD's.
        beta1: Adam's decay of the first moment.
        beta2: Adam's decay of the second moment.
        eps: Adam's, outside of the bias correction.
        weight_decay: Rate at which every parameter is added to its gradient; with AdamW the share of the learning rate
            by which every tensor of more than one dimension shrinks at each update.
        lr_decay_freq: Epochs after which the learning rate is multiplied by `lr_decay_ratio`, each time; 0 for never.
        lr_decay_ratio: See there.
        schedule: `step` for that decay, `cosine` for half a cosine from `lr` to 0 over the training.
        warmup: Epochs over which the learning rate rises linearly at first, from a thousandth.
    """

    algorithm: str = "adam"
    lr: float = 0.001
    momentum: float = 0.9
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    lr_decay_freq: int = 0
    lr_decay_ratio: float = 0.1
    schedule: str = "step"
    warmup: float = 0.0

    def said(self) -> dict[str, float | str | None]:
        """Returns what `HyperparameterOptions` has to say for them, as `log.txt` holds it."""
        return {
            "opt": OPTIMIZERS[self.algorithm],
            "lr": self.lr,
            "adam_alpha": self.lr if self.algorithm in _ADAMS else None,
            "adam_beta1": self.beta1,
            "adam_beta2": self.beta2,
            "adam_eps": self.eps,
            "momentum": self.momentum,
            "weight_decay": self.weight_decay,
            "lr_decay_freq": self.lr_decay_freq,
            "lr_decay_ratio": self.lr_decay_ratio,
            "schedule": self.schedule,
            "warmup": self.warmup,
        }

    def learning_rate(self, epoch: float, epochs: int) -> float:
        """Returns the learning rate at a point of a training of `epochs` epochs, `epoch` of which are done."""
        if epoch < self.warmup:
            return self.lr * max(epoch / self.warmup, 0.001)
        if self.schedule == "cosine":
            done = min(1.0, (epoch - self.warmup) / max(epochs - self.warmup, 1e-9))
            return self.lr * 0.5 * (1 + math.cos(math.pi * done))
        return self.lr * self.lr_decay_ratio ** (int(epoch) // self.lr_decay_freq if self.lr_decay_freq else 0)


@dataclass(frozen=True)
class HyperparameterOptions:
    """What the user said of the optimizer; None where nothing was said."""

    opt: str | None = field(
        default=None,
        metadata=described(
            "Adam, AdamW, MomentumSGD, AdaGrad or RMSprop.",
            metavar="NAME",
            choices=tuple(OPTIMIZERS.values()),
            names=("--opt", "--optimizer"),
            default="Adam",
            section="Optimizer",
            rare=True,
        ),
    )
    lr: float | None = field(
        default=None, metadata=described("Learning rate.", default="0.001 for Adam and AdamW, else 0.01")
    )
    adam_alpha: float | None = field(default=None, metadata=described("Adam's own name for it.", rare=True))
    adam_beta1: float | None = field(
        default=None, metadata=described("Decay of the first moment.", default="0.9", rare=True)
    )
    adam_beta2: float | None = field(
        default=None, metadata=described("Decay of the second moment.", default="0.999", rare=True)
    )
    adam_eps: float | None = field(
        default=None, metadata=described("Outside of the bias correction.", default="1e-8", rare=True)
    )
    momentum: float | None = field(default=None, metadata=described("MomentumSGD's.", default="0.9", rare=True))
    weight_decay: float | None = field(
        default=None,
        metadata=described(
            "Rate at which every parameter is added to its gradient; with AdamW that at which weights shrink by "
            "themselves, but for biases and normalisation.",
            default="0.01 for AdamW, 0.0005 for MomentumSGD, else 0",
            rare=True,
        ),
    )
    lr_decay_freq: int | None = field(
        default=None,
        metadata=described(
            "Epochs after which the learning rate is multiplied by --lr-decay-ratio, each time.",
            metavar="EPOCHS",
            default="10 for MomentumSGD and AdaGrad, else 0: never",
            rare=True,
        ),
    )
    lr_decay_ratio: float | None = field(default=None, metadata=described("See there.", default="0.1", rare=True))
    schedule: str | None = field(
        default=None,
        metadata=described(
            "How the learning rate falls: in these steps, or in half a cosine to 0 over the training.",
            choices=SCHEDULES,
            default="step",
            rare=True,
        ),
    )
    warmup: float | None = field(
        default=None,
        metadata=described(
            "It rises linearly over these first, from a thousandth.", metavar="EPOCHS", default="0", rare=True
        ),
    )

    @classmethod
    def from_log(cls, options: Mapping[str, Any]) -> HyperparameterOptions:
        """Takes what a `log.txt` says; the legacy program wrote every option there, used or not."""
        known = {field.name: options.get(field.name) for field in fields(cls)}
        if "momentum" not in options:  # which that program did not have
            known |= dict.fromkeys(_UNUSED.get(str(known["opt"]), ()))
        return cls(**known)

    def over(self, other: HyperparameterOptions) -> HyperparameterOptions:
        """Returns these options, and the other's where these say nothing."""
        said = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        if "lr" in said or "adam_alpha" in said:  # one idea under two names
            other = replace(other, lr=None, adam_alpha=None)
        return replace(other, **said)

    @property
    def algorithm(self) -> str | None:
        """The key of `OPTIMIZERS` that `opt` names.

        Raises:
            DeepPoseError: It names none.
        """
        if self.opt is None:
            return None
        for algorithm, name in OPTIMIZERS.items():
            if self.opt.lower() == name.lower():
                return algorithm
        raise DeepPoseError(f"there is no optimizer {self.opt!r}; there are {', '.join(OPTIMIZERS.values())}")

    def learning_rate(self, algorithm: str) -> float | None:
        """Returns what was said of an algorithm's learning rate; `--adam-alpha` is Adam's own name for it."""
        return self.adam_alpha if algorithm in _ADAMS and self.adam_alpha is not None else self.lr

    def complete(self, algorithm: str) -> Hyperparameters:
        """Fills what was not said with the legacy program's defaults for an algorithm.

        The program decayed weights and learning rate with MomentumSGD, and the learning rate with AdaGrad too.

        Raises:
            DeepPoseError: A number is out of range.
        """
        default_lr = 0.001 if algorithm in _ADAMS else 0.01
        default_decay = {"adamw": 0.01, "momentumsgd": 0.0005}.get(algorithm, 0.0)
        decays = algorithm in ("momentumsgd", "adagrad")
        result = Hyperparameters(
            algorithm=algorithm,
            lr=_or(self.learning_rate(algorithm), default_lr),
            momentum=_or(self.momentum, 0.9),
            beta1=_or(self.adam_beta1, 0.9),
            beta2=_or(self.adam_beta2, 0.999),
            eps=_or(self.adam_eps, 1e-8),
            weight_decay=_or(self.weight_decay, default_decay),
            lr_decay_freq=int(_or(self.lr_decay_freq, 10 if decays else 0)),
            lr_decay_ratio=_or(self.lr_decay_ratio, 0.1),
            schedule=self.schedule or "step",
            warmup=_or(self.warmup, 0.0),
        )
        if result.schedule not in SCHEDULES:
            raise DeepPoseError(f"there is no schedule {result.schedule!r}; there are {', '.join(SCHEDULES)}")
        for name in ("lr", "eps", "lr_decay_ratio"):
            if not getattr(result, name) > 0:
                raise DeepPoseError(f"{name} is {getattr(result, name)}; it has to be positive")
        for name in ("momentum", "beta1", "beta2"):
            if not 0 <= getattr(result, name) < 1:
                raise DeepPoseError(f"{name} is {getattr(result, name)}; it has to be at least 0 and below 1")
        for name in ("weight_decay", "lr_decay_freq", "warmup"):
            if getattr(result, name) < 0:
                raise DeepPoseError(f"{name} is {getattr(result, name)}; it cannot be negative")
        return result


def _or(value: float | None, default: float) -> float:
    # A Python float: a NumPy scalar would make every update a float64 temporary under NumPy 2.
    return default if value is None else float(value)


@dataclass(frozen=True)
class EngineOptions:
    """How an engine computes; not every backend can do each."""

    workers: int = field(
        default=0,
        metadata=described(
            "Processes that make examples, in place of threads in this one.",
            needs="workers",
            section="Engine",
        ),
    )
    amp: str | None = field(
        default=None,
        metadata=described(
            "Compute in bfloat16, or in float16 with a scaled loss, where that is safe.",
            choices=PRECISIONS,
            names=("--amp", "--precision"),
            needs="amp",
        ),
    )
    channels_last: bool = field(
        default=True,
        metadata=described("The memory format of maps.", default="on", needs="channels-last"),
    )
    compile: bool = field(default=False, metadata=described("Compile the network.", needs="compile"))
    sync_bn: bool = field(
        default=False,
        metadata=described(
            "BatchNormalization over the whole batch of all processes, in place of each one's own part.",
            needs="sync-bn",
        ),
    )
    profile: bool = field(default=False, metadata=described("Tell where a step's time goes.", needs="profile"))
    legacy_gradient_sum: bool = field(
        default=False,
        metadata=described("Sum the gradients of several devices, as the old program did.", needs="gradient-sum"),
    )

    def __post_init__(self) -> None:
        if self.amp not in (None, *PRECISIONS):
            raise DeepPoseError(f"amp is {self.amp!r}; it is {' or '.join(PRECISIONS)}, or nothing")
        if self.workers < 0:
            raise DeepPoseError("workers cannot be negative")


@dataclass(frozen=True)
class StageOptions:
    """Which stage of a cascade is trained, and on which close-ups a later one."""

    stage: int = field(
        default=1,
        metadata=described(
            "Which stage of a cascade: 2 and later ones look at close-ups of the joints.",
            metavar="N",
            section="Cascade",
        ),
    )
    before: Path | None = field(
        default=None,
        metadata=described("The stages before it: any checkpoint, or a cascade.", names=("--from",)),
    )
    per_joint: bool = field(
        default=False,
        metadata=described("One network a joint, trained one after the other, in place of one for all joints."),
    )
    draws: int = field(
        default=40, metadata=described("Close-ups of each person's each joint in an epoch.", metavar="N")
    )
    sigma: float | None = field(
        default=None,
        metadata=described(
            "Side of a close-up, in diameters of the person.",
            default="2; of FLIC 1, of its 7 joints 1.1",
        ),
    )
    opposing: tuple[str, ...] = field(
        default=(),
        metadata=described(
            "Two joints whose distance is the diameter; of several pairs it is the mean.",
            metavar="JOINT,JOINT",
            default="left shoulder,right hip; of FLIC's 7 joints each shoulder,other elbow",
        ),
    )

    def __post_init__(self) -> None:
        for name in ("stage", "draws"):
            if getattr(self, name) < 1:
                raise DeepPoseError(f"{name} is {getattr(self, name)}; it has to be at least 1")
        if self.sigma is not None and not 0 < self.sigma < math.inf:
            raise DeepPoseError(f"sigma is {self.sigma}; the side of a close-up has to be positive")
        if self.before is not None and self.stage == 1:
            raise DeepPoseError("--from names the stages before a later one: say which that is, as --stage 2")
        if self.per_joint and self.stage == 1:
            raise DeepPoseError("the first stage is one network: --per-joint is of a later one, as --stage 2")


@dataclass(frozen=True)
class TrainingOptions:
    """A training."""

    train_csv: Path = field(
        metadata=described(
            "The persons to learn from.", names=("--train-csv", "--train-csv-fn"), elsewhere=True, section="Data"
        )
    )
    images: Path = field(metadata=described("The pictures' folder.", names=("--images", "--img-dir"), elsewhere=True))
    skeleton: str | None = field(
        default=None,
        metadata=described(
            "What the joints are, or a file that says. FLIC's 7, LSP's 14 and MPII's 16 need none.",
            choices=lambda: SKELETONS,
        ),
    )
    recipe: str | None = field(
        default=None,
        metadata=described(
            "The options where nothing is said.",
            metavar="NAME",
            choices=tuple(RECIPES),
            default="modern; course for an hourglass; a resumed run's own",
            section="Run",
        ),
    )
    test_csv: Path | None = field(
        default=None,
        metadata=described("The persons to validate on.", names=("--test-csv", "--test-csv-fn"), section="Data"),
    )
    output: Path | None = field(
        default=None,
        metadata=described(
            "Result folder.",
            names=("-o", "--output"),
            default="a new one in results, or the resumed run's",
            section="Run",
        ),
    )
    device: str = field(
        default="cpu",
        metadata=described("Where; several share each batch.", metavar="cpu|cuda:N|cuda:0,cuda:1"),
    )
    architecture: str | None = field(
        default=None,
        metadata=described(
            "What starts anew, resnet50 say; or what a file is that leaves a choice.",
            metavar="NAME",
            choices=lambda: TABLES,
            default="alexnet",
            section="Network",
        ),
    )
    model_file: str | None = field(
        default=None,
        metadata=described(
            "The Python file that defines the network, which is read and never run: what starts anew, or what the file "
            "is that a run starts from.",
            metavar="FILE[:CLASS]",
            names=("--model-file", "--model"),
            rare=True,
        ),
    )
    width: str | None = field(
        default=None,
        metadata=described(
            "Factor on all channels, or those of each layer but the last.", metavar="FACTOR|N,N,…", rare=True
        ),
    )
    stacks: int | None = field(
        default=None,
        metadata=described("Of an hourglass that starts anew: how many.", metavar="N", default="4", rare=True),
    )
    dropout: float | None = field(
        default=None, metadata=described("Share that dropout zeroes, in place of the architecture's.", rare=True)
    )
    init: Path | None = field(default=None, metadata=described("Start from any checkpoint's weights."))
    finetune: Path | None = field(
        default=None,
        metadata=described("The same; the last layer anew for other joints."),
    )
    resume: Path | None = field(
        default=None,
        metadata=described("Go on where a result folder or checkpoint stopped, old ones too."),
    )
    state: bool = field(
        default=True,
        metadata=described("Whether a resumed file's optimizer goes on; otherwise it begins anew.", rare=True),
    )
    start_epoch: int | None = field(
        default=None, metadata=described("Epochs that a resumed file has behind it, where nothing says.", rare=True)
    )
    epochs: int = field(
        default=100,
        metadata=described("Epochs, those of a resumed run counted in.", names=("--epochs", "--epoch"), section="Run"),
    )
    batch_size: int = field(
        default=128,
        metadata=described("Persons in a step, over all devices.", names=("--batch-size", "--batchsize")),
    )
    cache: int = field(
        default=0,
        metadata=described(
            "Memory for decoded pictures, of each process.", metavar="512M", parse=byte_count, section="Data", rare=True
        ),
    )
    pack: Path | None = field(
        default=None,
        metadata=described(
            "Train from a pack of --train-csv (see `deeppose-port pack`); one of shards has its persons itself.",
            rare=True,
        ),
    )
    seed: int = field(
        default=1701, metadata=described("Of weights, order, augmentation and dropout.", section="Run", rare=True)
    )
    threads: int | None = field(
        default=None,
        metadata=described(
            "Threads that make examples; by default as many as the machine runs.", section="Data", rare=True
        ),
    )
    snapshot: int = field(
        default=10,
        metadata=described("Epochs between checkpoints; the last always writes one.", section="Run", rare=True),
    )
    valid_freq: int = field(default=5, metadata=described("Epochs between validations; 0 for none.", rare=True))
    show_log_iter: int = field(default=10, metadata=described("Iterations between lines of the log.", rare=True))
    min_dim: float = field(
        default=0.0,
        metadata=described(
            "Leave out persons whose box of joints is smaller than this many pixels.", section="Data", rare=True
        ),
    )
    ignore_label: float = field(
        default=-1.0, metadata=described("The coordinate in the CSV that means: not annotated.", rare=True)
    )
    max_pixels: int = field(
        default=MAX_PIXELS, metadata=described("The most pixels of a picture that is decoded.", metavar="N", rare=True)
    )
    im_size: int | None = field(
        default=None,
        metadata=described(
            "Side of the network's input.", metavar="PIXELS", default="220, or its own", section="Inputs", rare=True
        ),
    )
    base_zoom: float | None = field(
        default=None,
        metadata=described("Factor on the box of a person's joints.", default="1.5, or its own", rare=True),
    )
    coord_normalize: bool | None = field(
        default=None, metadata=described("Labels in fractions of the crop.", default="on", rare=True)
    )
    gcn: bool | None = field(
        default=None, metadata=described("Global contrast normalisation.", default="on", rare=True)
    )
    augmentation: Augmentation = field(default_factory=Augmentation, metadata=RARE_GROUP)
    hyperparameters: HyperparameterOptions = field(default_factory=HyperparameterOptions)
    nonfinite_gradients: str = field(
        default="error",
        metadata=described(
            "What becomes of a step whose loss or gradient is not finite: the end, or it is left out.",
            choices=NONFINITE_GRADIENTS,
            section="Optimizer",
            rare=True,
        ),
    )
    nonfinite_limit: int = field(
        default=20, metadata=described("With skip: end after so many such steps in a row.", metavar="STEPS", rare=True)
    )
    grad_clip: float | None = field(
        default=None, metadata=described("The largest norm of the gradient.", metavar="NORM", rare=True)
    )
    loss: str = field(
        default="l2",
        metadata=described(
            "What is minimised over the annotated coordinates: the mean of squares, of distances, or of squares up to "
            "--loss-beta and distances beyond.",
            choices=tuple(LOSSES),
            rare=True,
        ),
    )
    loss_beta: float = field(
        default=0.05,
        metadata=described("Where smooth-l1 goes over from squares, in units of the labels.", metavar="B", rare=True),
    )
    heatmap_loss: float = field(
        default=0.0,
        metadata=described(
            "Weight of the cross-entropy of a soft-argmax's maps and Gaussians around the joints, beside the loss; "
            "0 for none.",
            metavar="WEIGHT",
            rare=True,
        ),
    )
    ema: float = field(
        default=0.0,
        metadata=described(
            "Average the weights over the updates with this decay, and validate and save the average; 0 for none.",
            metavar="DECAY",
            rare=True,
        ),
    )
    accumulate: int = field(
        default=1,
        metadata=described(
            "Compute each batch in N parts, one after the other: less memory, the same update but for "
            "BatchNormalization, whose batch is a part.",
            metavar="N",
            needs="accumulate",
            rare=True,
        ),
    )
    lr_scale: tuple[str, ...] = field(
        default=(),
        metadata=described(
            "Factor on the learning rate of some parameters, as 'conv*=0.1'; the last that matches counts.",
            metavar="PATTERN=FACTOR",
            rare=True,
        ),
    )
    freeze: tuple[str, ...] = field(
        default=(), metadata=described("Parameters not to train, as 'conv*'.", metavar="PATTERN", rare=True)
    )
    best: str = field(
        default="loss",
        metadata=described(
            "Which checkpoint is the best: by loss, mean_error_px, pdj@0.2, pcp, or another metric of eval.",
            metavar="METRIC",
            choices=lambda: [metric.name for metric in registry.METRICS.values()],
            section="Checkpoints",
            rare=True,
        ),
    )
    best_after: int = field(default=0, metadata=described("None is before this epoch.", metavar="EPOCH", rare=True))
    keep: int | None = field(
        default=None,
        metadata=described("Keep the last N epochs' checkpoints.", metavar="N", default="all", rare=True),
    )
    patience: int | None = field(
        default=None, metadata=described("End after N validations without a better one.", metavar="N", rare=True)
    )
    tensorboard: bool = field(default=False, metadata=described("Write for TensorBoard too.", section="Run", rare=True))
    eval_only: bool = field(
        default=False, metadata=described("Validate what the run starts from, and no more.", rare=True)
    )
    stop_collapsed: bool = field(
        default=False,
        metadata=described(
            "End a run whose answers do not depend on the picture after an epoch and 200 updates.", rare=True
        ),
    )
    cascade: StageOptions = field(default_factory=StageOptions, metadata=RARE_GROUP)
    engine: EngineOptions = field(default_factory=EngineOptions, metadata=RARE_GROUP)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "snapshot", "show_log_iter", "nonfinite_limit", "accumulate"):
            if getattr(self, name) < 1:
                raise DeepPoseError(f"{name} is {getattr(self, name)}; it has to be at least 1")
        for name in ("valid_freq", "seed", "start_epoch", "best_after"):
            if (getattr(self, name) or 0) < 0:
                raise DeepPoseError(f"{name} is {getattr(self, name)}; it has to be 0 or more")
        if self.cache < 0:
            raise DeepPoseError(f"cache is {self.cache}; it has to be a number of bytes, or 0 for none")
        if self.threads is not None and self.threads < 1:
            raise DeepPoseError(f"threads is {self.threads}; it has to be at least 1")
        for name in ("keep", "patience", "grad_clip"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise DeepPoseError(f"{name} is {value}; it has to be positive")
        if self.loss not in LOSSES:
            raise DeepPoseError(f"there is no loss {self.loss!r}; there are {', '.join(LOSSES)}")
        if not 0 < self.loss_beta < math.inf:
            raise DeepPoseError(f"loss_beta is {self.loss_beta}; it has to be positive")
        if not 0 <= self.heatmap_loss < math.inf:
            raise DeepPoseError(f"heatmap_loss is {self.heatmap_loss}; it cannot be negative")
        if not 0 <= self.ema < 1:
            raise DeepPoseError(f"ema is {self.ema}; it has to be at least 0 and below 1")
        if self.accumulate > self.batch_size:
            raise DeepPoseError(f"a batch of {self.batch_size} cannot be computed in {self.accumulate} parts")
        scale_factors(self.lr_scale)
        if self.cascade.per_joint and registry.find(self.best).columns == "limbs":
            raise DeepPoseError(
                f"--best {self.best} is of limbs, and a network of one joint has none; take another metric"
            )
        if self.cascade.per_joint and self.eval_only:
            raise DeepPoseError(
                "--eval-only is of one network; `deeppose-port eval` tells what a whole cascade is worth"
            )
        registry.find(self.best)
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise DeepPoseError(f"dropout is {self.dropout}; it has to be at least 0 and below 1")
        if self.nonfinite_gradients not in NONFINITE_GRADIENTS:
            raise DeepPoseError(f"nonfinite_gradients is one of {', '.join(NONFINITE_GRADIENTS)}")
        if self.model_file is not None and (self.architecture is not None or self.width is not None):
            raise DeepPoseError("a network is that of its model_file, or an architecture with its width: choose one")
        if sum(path is not None for path in (self.init, self.finetune, self.resume)) > 1:
            raise DeepPoseError("init and finetune start anew from weights, resume goes on with a run: choose one")
