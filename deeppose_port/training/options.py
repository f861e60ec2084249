"""The options of a training, under their legacy names where those survive.

Each is declared once, by its field: `options.described` says what the command line tells of it.
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

    opt: str | None = described(
        "Adam, AdamW, MomentumSGD, AdaGrad or RMSprop.",
        default=None,
        metavar="NAME",
        choices=tuple(OPTIMIZERS.values()),
        names=("--opt", "--optimizer"),
        show_default="Adam",
        section="Optimizer",
        rare=True,
    )
    lr: float | None = described("Learning rate.", default=None, show_default="0.001 for Adam and AdamW, else 0.01")
    adam_alpha: float | None = described("Adam's own name for it.", default=None, rare=True)
    adam_beta1: float | None = described("Decay of the first moment.", default=None, show_default="0.9", rare=True)
    adam_beta2: float | None = described("Decay of the second moment.", default=None, show_default="0.999", rare=True)
    adam_eps: float | None = described("Outside of the bias correction.", default=None, show_default="1e-8", rare=True)
    momentum: float | None = described("MomentumSGD's.", default=None, show_default="0.9", rare=True)
    weight_decay: float | None = described(
        "Rate at which every parameter is added to its gradient; with AdamW that at which weights shrink by "
        "themselves, but for biases and normalisation.",
        default=None,
        show_default="0.01 for AdamW, 0.0005 for MomentumSGD, else 0",
        rare=True,
    )
    lr_decay_freq: int | None = described(
        "Epochs after which the learning rate is multiplied by --lr-decay-ratio, each time.",
        default=None,
        metavar="EPOCHS",
        show_default="10 for MomentumSGD and AdaGrad, else 0: never",
        rare=True,
    )
    lr_decay_ratio: float | None = described("See there.", default=None, show_default="0.1", rare=True)
    schedule: str | None = described(
        "How the learning rate falls: in these steps, or in half a cosine to 0 over the training.",
        default=None,
        choices=SCHEDULES,
        show_default="step",
        rare=True,
    )
    warmup: float | None = described(
        "It rises linearly over these first, from a thousandth.",
        default=None,
        metavar="EPOCHS",
        show_default="0",
        rare=True,
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

    workers: int = described(
        "Processes that make examples, in place of threads in this one.", default=0, needs="workers", section="Engine"
    )
    amp: str | None = described(
        "Compute in bfloat16, or in float16 with a scaled loss, where that is safe.",
        default=None,
        choices=PRECISIONS,
        names=("--amp", "--precision"),
        needs="amp",
    )
    channels_last: bool = described(
        "The memory format of maps.", default=True, show_default="on", needs="channels-last"
    )
    compile: bool = described("Compile the network.", default=False, needs="compile")
    sync_bn: bool = described(
        "BatchNormalization over the whole batch of all processes, in place of each one's own part.",
        default=False,
        needs="sync-bn",
    )
    profile: bool = described("Tell where a step's time goes.", default=False, needs="profile")
    legacy_gradient_sum: bool = described(
        "Sum the gradients of several devices, as the old program did.", default=False, needs="gradient-sum"
    )

    def __post_init__(self) -> None:
        if self.amp not in (None, *PRECISIONS):
            raise DeepPoseError(f"amp is {self.amp!r}; it is {' or '.join(PRECISIONS)}, or nothing")
        if self.workers < 0:
            raise DeepPoseError("workers cannot be negative")


@dataclass(frozen=True)
class StageOptions:
    """Which stage of a cascade is trained, and on which close-ups a later one."""

    stage: int = described(
        "Which stage of a cascade: 2 and later ones look at close-ups of the joints.",
        default=1,
        metavar="N",
        section="Cascade",
    )
    before: Path | None = described(
        "The stages before it: any checkpoint, or a cascade.", default=None, names=("--from",)
    )
    per_joint: bool = described(
        "One network a joint, trained one after the other, in place of one for all joints.", default=False
    )
    draws: int = described("Close-ups of each person's each joint in an epoch.", default=40, metavar="N")
    sigma: float | None = described(
        "Side of a close-up, in diameters of the person.",
        default=None,
        show_default="2; of FLIC 1, of its 7 joints 1.1",
    )
    opposing: tuple[str, ...] = described(
        "Two joints whose distance is the diameter; of several pairs it is the mean.",
        default=(),
        metavar="JOINT,JOINT",
        show_default="left shoulder,right hip; of FLIC's 7 joints each shoulder,other elbow",
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

    train_csv: Path = described(
        "The persons to learn from.", names=("--train-csv", "--train-csv-fn"), elsewhere=True, section="Data"
    )
    images: Path = described("The pictures' folder.", names=("--images", "--img-dir"), elsewhere=True)
    skeleton: str | None = described(
        "What the joints are, or a file that says. FLIC's 7, LSP's 14 and MPII's 16 need none.",
        default=None,
        choices=lambda: SKELETONS,
    )
    recipe: str | None = described(
        "The options where nothing is said.",
        default=None,
        metavar="NAME",
        choices=tuple(RECIPES),
        show_default="modern; course for an hourglass; a resumed run's own",
        section="Run",
    )
    test_csv: Path | None = described(
        "The persons to validate on.", default=None, names=("--test-csv", "--test-csv-fn"), section="Data"
    )
    output: Path | None = described(
        "Result folder.",
        default=None,
        names=("-o", "--output"),
        show_default="a new one in results, or the resumed run's",
        section="Run",
    )
    device: str = described("Where; several share each batch.", default="cpu", metavar="cpu|cuda:N|cuda:0,cuda:1")
    architecture: str | None = described(
        "What starts anew, resnet50 say; or what a file is that leaves a choice.",
        default=None,
        metavar="NAME",
        choices=lambda: TABLES,
        show_default="alexnet",
        section="Network",
    )
    model_file: str | None = described(
        "The Python file that defines the network, which is read and never run: what starts anew, or what the file "
        "is that a run starts from.",
        default=None,
        metavar="FILE[:CLASS]",
        names=("--model-file", "--model"),
        rare=True,
    )
    width: str | None = described(
        "Factor on all channels, or those of each layer but the last.", default=None, metavar="FACTOR|N,N,…", rare=True
    )
    stacks: int | None = described(
        "Of an hourglass that starts anew: how many.", default=None, metavar="N", show_default="4", rare=True
    )
    dropout: float | None = described(
        "Share that dropout zeroes, in place of the architecture's.", default=None, rare=True
    )
    init: Path | None = described("Start from any checkpoint's weights.", default=None)
    finetune: Path | None = described("The same; the last layer anew for other joints.", default=None)
    resume: Path | None = described("Go on where a result folder or checkpoint stopped, old ones too.", default=None)
    state: bool = described(
        "Whether a resumed file's optimizer goes on; otherwise it begins anew.", default=True, rare=True
    )
    start_epoch: int | None = described(
        "Epochs that a resumed file has behind it, where nothing says.", default=None, rare=True
    )
    epochs: int = described(
        "Epochs, those of a resumed run counted in.", default=100, names=("--epochs", "--epoch"), section="Run"
    )
    batch_size: int = described(
        "Persons in a step, over all devices.", default=128, names=("--batch-size", "--batchsize")
    )
    cache: int = described(
        "Memory for decoded pictures, of each process.",
        default=0,
        metavar="512M",
        parse=byte_count,
        section="Data",
        rare=True,
    )
    pack: Path | None = described(
        "Train from a pack of --train-csv (see `deeppose-port pack`); one of shards has its persons itself.",
        default=None,
        rare=True,
    )
    seed: int = described("Of weights, order, augmentation and dropout.", default=1701, section="Run", rare=True)
    threads: int | None = described(
        "Threads that make examples; by default as many as the machine runs.", default=None, section="Data", rare=True
    )
    snapshot: int = described(
        "Epochs between checkpoints; the last always writes one.", default=10, section="Run", rare=True
    )
    valid_freq: int = described("Epochs between validations; 0 for none.", default=5, rare=True)
    show_log_iter: int = described("Iterations between lines of the log.", default=10, rare=True)
    min_dim: float = described(
        "Leave out persons whose box of joints is smaller than this many pixels.",
        default=0.0,
        section="Data",
        rare=True,
    )
    ignore_label: float = described("The coordinate in the CSV that means: not annotated.", default=-1.0, rare=True)
    max_pixels: int = described(
        "The most pixels of a picture that is decoded.", default=MAX_PIXELS, metavar="N", rare=True
    )
    im_size: int | None = described(
        "Side of the network's input.",
        default=None,
        metavar="PIXELS",
        show_default="220, or its own",
        section="Inputs",
        rare=True,
    )
    base_zoom: float | None = described(
        "Factor on the box of a person's joints.", default=None, show_default="1.5, or its own", rare=True
    )
    coord_normalize: bool | None = described(
        "Labels in fractions of the crop.", default=None, show_default="on", rare=True
    )
    gcn: bool | None = described("Global contrast normalisation.", default=None, show_default="on", rare=True)
    augmentation: Augmentation = field(default_factory=Augmentation, metadata=RARE_GROUP)
    hyperparameters: HyperparameterOptions = field(default_factory=HyperparameterOptions)
    nonfinite_gradients: str = described(
        "What becomes of a step whose loss or gradient is not finite: the end, or it is left out.",
        default="error",
        choices=NONFINITE_GRADIENTS,
        section="Optimizer",
        rare=True,
    )
    nonfinite_limit: int = described(
        "With skip: end after so many such steps in a row.", default=20, metavar="STEPS", rare=True
    )
    grad_clip: float | None = described("The largest norm of the gradient.", default=None, metavar="NORM", rare=True)
    loss: str = described(
        "What is minimised over the annotated coordinates: the mean of squares, of distances, or of squares up to "
        "--loss-beta and distances beyond.",
        default="l2",
        choices=tuple(LOSSES),
        rare=True,
    )
    loss_beta: float = described(
        "Where smooth-l1 goes over from squares, in units of the labels.", default=0.05, metavar="B", rare=True
    )
    heatmap_loss: float = described(
        "Weight of the cross-entropy of a soft-argmax's maps and Gaussians around the joints, beside the loss; "
        "0 for none.",
        default=0.0,
        metavar="WEIGHT",
        rare=True,
    )
    ema: float = described(
        "Average the weights over the updates with this decay, and validate and save the average; 0 for none.",
        default=0.0,
        metavar="DECAY",
        rare=True,
    )
    accumulate: int = described(
        "Compute each batch in N parts, one after the other: less memory, the same update but for "
        "BatchNormalization, whose batch is a part.",
        default=1,
        metavar="N",
        needs="accumulate",
        rare=True,
    )
    lr_scale: tuple[str, ...] = described(
        "Factor on the learning rate of some parameters, as 'conv*=0.1'; the last that matches counts.",
        default=(),
        metavar="PATTERN=FACTOR",
        rare=True,
    )
    freeze: tuple[str, ...] = described(
        "Parameters not to train, as 'conv*'.", default=(), metavar="PATTERN", rare=True
    )
    best: str = described(
        "Which checkpoint is the best: by loss, mean_error_px, pdj@0.2, pcp, or another metric of eval.",
        default="loss",
        metavar="METRIC",
        choices=lambda: [metric.name for metric in registry.METRICS.values()],
        section="Checkpoints",
        rare=True,
    )
    best_after: int = described("None is before this epoch.", default=0, metavar="EPOCH", rare=True)
    keep: int | None = described(
        "Keep the last N epochs' checkpoints.", default=None, metavar="N", show_default="all", rare=True
    )
    patience: int | None = described(
        "End after N validations without a better one.", default=None, metavar="N", rare=True
    )
    tensorboard: bool = described("Write for TensorBoard too.", default=False, section="Run", rare=True)
    eval_only: bool = described("Validate what the run starts from, and no more.", default=False, rare=True)
    stop_collapsed: bool = described(
        "End a run whose answers do not depend on the picture after an epoch and 200 updates.", default=False, rare=True
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
