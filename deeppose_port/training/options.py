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
from deeppose_port.options import RARE_GROUP, described, refuse_outside, refuse_unknown
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
#: What the legacy program did in place of its defaults: it decayed weights and learning rate with MomentumSGD, and the
#: learning rate with AdaGrad too. AdamW, which it did not have, decays as PyTorch's.
_DEFAULTS: Mapping[str, Mapping[str, float]] = {
    "adamw": {"weight_decay": 0.01},
    "momentumsgd": {"lr": 0.01, "weight_decay": 0.0005, "lr_decay_freq": 10},
    "adagrad": {"lr": 0.01, "lr_decay_freq": 10},
    "rmsprop": {"lr": 0.01},
}
#: Hyperparameters whose options are called `adam_…`.
_OF_ADAM = ("beta1", "beta2", "eps")
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
        numbers = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "algorithm"}
        return {
            "opt": OPTIMIZERS[self.algorithm],
            "adam_alpha": self.lr if self.algorithm in _ADAMS else None,
            **{f"adam_{name}" if name in _OF_ADAM else name: value for name, value in numbers.items()},
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
    adam_alpha: float | None = described("Another name for --lr, of Adam and AdamW.", default=None, rare=True)
    adam_beta1: float | None = described(
        "Adam's decay of the first moment.", default=None, show_default="0.9", rare=True
    )
    adam_beta2: float | None = described(
        "Adam's decay of the second moment.", default=None, show_default="0.999", rare=True
    )
    adam_eps: float | None = described(
        "Adam's epsilon, outside the bias correction.", default=None, show_default="1e-8", rare=True
    )
    momentum: float | None = described("MomentumSGD's momentum.", default=None, show_default="0.9", rare=True)
    weight_decay: float | None = described(
        "Weight decay: this times each parameter is added to its gradient. With AdamW it is decoupled, "
        "and spares biases and normalisation.",
        default=None,
        show_default="0.01 for AdamW, 0.0005 for MomentumSGD, else 0",
        rare=True,
    )
    lr_decay_freq: int | None = described(
        "Multiply the learning rate by --lr-decay-ratio every so many epochs.",
        default=None,
        metavar="EPOCHS",
        show_default="10 for MomentumSGD and AdaGrad, else 0: never",
        rare=True,
    )
    lr_decay_ratio: float | None = described(
        "The factor of --lr-decay-freq.", default=None, show_default="0.1", rare=True
    )
    schedule: str | None = described(
        "How the learning rate falls: in steps (--lr-decay-freq), or along half a cosine to 0 at the last epoch.",
        default=None,
        choices=SCHEDULES,
        show_default="step",
        rare=True,
    )
    warmup: float | None = described(
        "Epochs at the start over which the learning rate rises linearly, from a thousandth.",
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

        Raises:
            DeepPoseError: A number is out of range.
        """
        said = {f.name.removeprefix("adam_"): getattr(self, f.name) for f in fields(self)}
        said |= {"lr": self.learning_rate(algorithm)}
        defaults = {**vars(Hyperparameters(algorithm)), **_DEFAULTS.get(algorithm, {})}
        # Python's own numbers: a NumPy scalar would make every update a float64 temporary under NumPy 2.
        known = {name: value for name, value in said.items() if value is not None and name in defaults}
        given = {name: type(defaults[name])(value) for name, value in known.items()}
        result = Hyperparameters(**{**defaults, **given})
        refuse_unknown("schedule", result.schedule, SCHEDULES)
        refuse_outside(
            result, lambda n: 0 < n < math.inf, "it has to be positive and finite", "lr", "eps", "lr_decay_ratio"
        )
        moments = "momentum", "beta1", "beta2"
        refuse_outside(result, lambda n: 0 <= n < 1, "it has to be at least 0 and below 1", *moments)
        refuse_outside(result, lambda n: n >= 0, "it cannot be negative", "weight_decay", "lr_decay_freq", "warmup")
        return result


@dataclass(frozen=True)
class EngineOptions:
    """How an engine computes; not every backend can do each."""

    workers: int = described(
        "Make examples in this many processes instead of threads.", default=0, needs="workers", section="Engine"
    )
    amp: str | None = described(
        "Mixed precision: bfloat16, or float16 with loss scaling.",
        default=None,
        choices=PRECISIONS,
        names=("--amp", "--precision"),
        needs="amp",
    )
    channels_last: bool = described(
        "Use the channels-last memory format.", default=True, show_default="on", needs="channels-last"
    )
    compile: bool = described("Compile the network with torch.compile.", default=False, needs="compile")
    sync_bn: bool = described(
        "Normalise over the batch of all processes, not over each one's part (synchronised BatchNormalization).",
        default=False,
        needs="sync-bn",
    )
    profile: bool = described("Report where the time of a step goes.", default=False, needs="profile")
    legacy_gradient_sum: bool = described(
        "Sum the gradients of several devices, as the legacy program did.", default=False, needs="gradient-sum"
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
        "Which stage of a cascade to train. From 2 on, stages see close-ups around the joints.",
        default=1,
        metavar="N",
        section="Cascade",
    )
    before: Path | None = described(
        "The stages before it: any checkpoint, or a cascade.", default=None, names=("--from",)
    )
    per_joint: bool = described(
        "Train one network for each joint, one after the other, instead of one for all joints.", default=False
    )
    draws: int = described("Close-ups of every joint of every person in an epoch.", default=40, metavar="N")
    sigma: float | None = described(
        "Side of a close-up, in pose diameters.",
        default=None,
        show_default="2; for FLIC 1, for its 7 joints 1.1",
    )
    opposing: tuple[str, ...] = described(
        "Two joints whose distance is the pose's diameter; repeat it for the mean of several pairs.",
        default=(),
        metavar="JOINT,JOINT",
        show_default="left shoulder,right hip; for FLIC's 7 joints each shoulder,other elbow",
    )

    def __post_init__(self) -> None:
        refuse_outside(self, lambda n: n >= 1, "it has to be at least 1", "stage", "draws")
        refuse_outside(self, lambda n: 0 < n < math.inf, "the side of a close-up has to be positive", "sigma")
        if self.before is not None and self.stage == 1:
            raise DeepPoseError("--from names the stages before a later one: say which stage to train, as --stage 2")
        if self.per_joint and self.stage == 1:
            raise DeepPoseError("the first stage is one network: --per-joint is for later ones, as --stage 2")


@dataclass(frozen=True)
class TrainingOptions:
    """A training."""

    train_csv: Path = described(
        "The annotated persons to train on (CSV).",
        names=("--train-csv", "--train-csv-fn"),
        elsewhere=True,
        section="Data",
    )
    images: Path = described("The folder with the pictures.", names=("--images", "--img-dir"), elsewhere=True)
    skeleton: str | None = described(
        "The joints: a known skeleton, or a .toml or .json file of your own. Not needed for FLIC's 7, "
        "LSP's 14 and MPII's 16 joints.",
        default=None,
        choices=lambda: SKELETONS,
    )
    recipe: str | None = described(
        "The set of options to start from; options that you give override it.",
        default=None,
        metavar="NAME",
        choices=tuple(RECIPES),
        show_default="modern; course for an hourglass; a resumed run keeps its own",
        section="Run",
    )
    test_csv: Path | None = described(
        "The annotated persons to validate on (CSV).",
        default=None,
        names=("--test-csv", "--test-csv-fn"),
        section="Data",
    )
    output: Path | None = described(
        "The result folder.",
        default=None,
        names=("-o", "--output"),
        show_default="a new one in results, or the resumed run's",
        section="Run",
    )
    device: str = described("The device; several share each batch.", default="cpu", metavar="cpu|cuda:N|cuda:0,cuda:1")
    architecture: str | None = described(
        "The network to train, for example resnet50; or what the file is that training starts from, if it"
        " leaves a choice.",
        default=None,
        metavar="NAME",
        choices=lambda: TABLES,
        show_default="alexnet",
        section="Network",
    )
    model_file: str | None = described(
        "The Python file that defines the network to train, or that of the file training starts from. It "
        "is read, never run.",
        default=None,
        metavar="FILE[:CLASS]",
        names=("--model-file", "--model"),
        rare=True,
    )
    width: str | None = described(
        "Multiply all channels by this factor; or the channels of each layer but the last.",
        default=None,
        metavar="FACTOR|N,N,…",
        rare=True,
    )
    stacks: int | None = described("Stacks of a new hourglass.", default=None, metavar="N", show_default="4", rare=True)
    dropout: float | None = described("Dropout ratio, in place of the architecture's own.", default=None, rare=True)
    init: Path | None = described("Start from the weights of any checkpoint.", default=None)
    finetune: Path | None = described("The same, with a new last layer for other joints.", default=None)
    resume: Path | None = described("Resume a result folder or a checkpoint, the legacy program's too.", default=None)
    state: bool = described("Whether to resume the optimizer's state too, or start it afresh.", default=True, rare=True)
    start_epoch: int | None = described(
        "Epochs that a resumed file has been trained for, if nothing tells.", default=None, rare=True
    )
    epochs: int = described(
        "Epochs in all, including those of a resumed run.", default=100, names=("--epochs", "--epoch"), section="Run"
    )
    batch_size: int = described(
        "Persons in a batch, over all devices.", default=128, names=("--batch-size", "--batchsize")
    )
    cache: int = described(
        "Memory for decoded pictures, in each process.",
        default=0,
        metavar="512M",
        parse=byte_count,
        section="Data",
        rare=True,
    )
    pack: Path | None = described(
        "Train from a pack of --train-csv, see `deeppose-port pack`. A pack of shards needs no --train-csv.",
        default=None,
        rare=True,
    )
    seed: int = described(
        "Random seed of weights, order, augmentation and dropout.", default=1701, section="Run", rare=True
    )
    threads: int | None = described(
        "Threads that make examples; by default one for each CPU.", default=None, section="Data", rare=True
    )
    snapshot: int = described(
        "Epochs between checkpoints; the last epoch always writes one.", default=10, section="Run", rare=True
    )
    valid_freq: int = described("Epochs between validations; 0 for none.", default=5, rare=True)
    show_log_iter: int = described("Iterations between lines in the log.", default=10, rare=True)
    min_dim: float = described(
        "Skip persons whose box of joints is smaller than this many pixels.",
        default=0.0,
        section="Data",
        rare=True,
    )
    ignore_label: float = described(
        "The coordinate that marks a joint as not annotated in the CSV.", default=-1.0, rare=True
    )
    max_pixels: int = described(
        "Refuse pictures with more pixels than this.", default=MAX_PIXELS, metavar="N", rare=True
    )
    im_size: int | None = described(
        "Side of the network's input.",
        default=None,
        metavar="PIXELS",
        show_default="220, or the network's own",
        section="Inputs",
        rare=True,
    )
    base_zoom: float | None = described(
        "Enlarge the box of a person's joints by this factor.",
        default=None,
        show_default="1.5, or the network's own",
        rare=True,
    )
    coord_normalize: bool | None = described(
        "Train on joints as fractions of the crop, not pixels.", default=None, show_default="on", rare=True
    )
    gcn: bool | None = described(
        "Normalise the contrast of inputs (global contrast normalisation).", default=None, show_default="on", rare=True
    )
    augmentation: Augmentation = field(default_factory=Augmentation, metadata=RARE_GROUP)
    hyperparameters: HyperparameterOptions = field(default_factory=HyperparameterOptions)
    nonfinite_gradients: str = described(
        "What to do when a loss or gradient is not finite: stop, or skip the step.",
        default="error",
        choices=NONFINITE_GRADIENTS,
        section="Optimizer",
        rare=True,
    )
    nonfinite_limit: int = described(
        "With skip: stop after this many skipped steps in a row.", default=20, metavar="STEPS", rare=True
    )
    grad_clip: float | None = described("Clip the gradient to this norm.", default=None, metavar="NORM", rare=True)
    loss: str = described(
        "The loss over the annotated coordinates: mean squared error, mean absolute error, or smooth L1 "
        "with --loss-beta.",
        default="l2",
        choices=tuple(LOSSES),
        rare=True,
    )
    loss_beta: float = described(
        "Where smooth-l1 turns from quadratic to linear, in units of the labels.", default=0.05, metavar="B", rare=True
    )
    heatmap_loss: float = described(
        "Weight of an extra loss for soft-argmax networks: the cross-entropy between their maps and "
        "Gaussians around the joints; 0 for none.",
        default=0.0,
        metavar="WEIGHT",
        rare=True,
    )
    ema: float = described(
        "Keep an exponential moving average of the weights with this decay, and validate and save that; 0 for none.",
        default=0.0,
        metavar="DECAY",
        rare=True,
    )
    accumulate: int = described(
        "Compute each batch in N parts, to save memory. The update is the same, except that "
        "BatchNormalization sees the parts.",
        default=1,
        metavar="N",
        needs="accumulate",
        rare=True,
    )
    lr_scale: tuple[str, ...] = described(
        "Multiply the learning rate of the parameters that match, as 'conv*=0.1'; the last match counts.",
        default=(),
        metavar="PATTERN=FACTOR",
        rare=True,
    )
    freeze: tuple[str, ...] = described(
        "Do not train the parameters that match, as 'conv*'.", default=(), metavar="PATTERN", rare=True
    )
    best: str = described(
        "The metric that decides which checkpoint is the best: loss, mean_error_px, pdj@0.2, pcp, or any "
        "other of eval's.",
        default="loss",
        metavar="METRIC",
        choices=lambda: [metric.name for metric in registry.METRICS.values()],
        section="Checkpoints",
        rare=True,
    )
    best_after: int = described("Choose the best checkpoint from this epoch on.", default=0, metavar="EPOCH", rare=True)
    keep: int | None = described(
        "Keep only the checkpoints of the last N epochs.", default=None, metavar="N", show_default="all", rare=True
    )
    patience: int | None = described(
        "Stop after N validations without improvement.", default=None, metavar="N", rare=True
    )
    tensorboard: bool = described("Write TensorBoard logs too.", default=False, section="Run", rare=True)
    eval_only: bool = described("Only validate what the run would start from.", default=False, rare=True)
    stop_collapsed: bool = described(
        "Stop if the answers still do not depend on the picture after an epoch and 200 updates.",
        default=False,
        rare=True,
    )
    cascade: StageOptions = field(default_factory=StageOptions, metadata=RARE_GROUP)
    engine: EngineOptions = field(default_factory=EngineOptions, metadata=RARE_GROUP)

    def __post_init__(self) -> None:
        at_least_1 = "epochs", "batch_size", "snapshot", "show_log_iter", "nonfinite_limit", "accumulate", "threads"
        refuse_outside(self, lambda n: n >= 1, "it has to be at least 1", *at_least_1)
        from_0 = "valid_freq", "seed", "start_epoch", "best_after"
        refuse_outside(self, lambda n: n >= 0, "it has to be 0 or more", *from_0)
        refuse_outside(self, lambda n: n >= 0, "it has to be a number of bytes, or 0 for none", "cache")
        refuse_outside(self, lambda n: n > 0, "it has to be positive", "keep", "patience", "grad_clip")
        refuse_outside(self, lambda n: 0 < n < math.inf, "it has to be positive", "loss_beta")
        refuse_outside(self, lambda n: 0 <= n < math.inf, "it cannot be negative", "heatmap_loss")
        refuse_outside(self, lambda n: 0 <= n < 1, "it has to be at least 0 and below 1", "ema", "dropout")
        refuse_unknown("loss", self.loss, LOSSES)
        if self.accumulate > self.batch_size:
            raise DeepPoseError(f"a batch of {self.batch_size} cannot be computed in {self.accumulate} parts")
        scale_factors(self.lr_scale)
        if self.cascade.per_joint and registry.find(self.best).columns == "limbs":
            raise DeepPoseError(
                f"--best {self.best} is about limbs, and a network of one joint has none; take another metric"
            )
        if self.cascade.per_joint and self.eval_only:
            raise DeepPoseError("--eval-only is for a single network; `deeppose-port eval` evaluates a whole cascade")
        registry.find(self.best)
        if self.nonfinite_gradients not in NONFINITE_GRADIENTS:
            raise DeepPoseError(f"nonfinite_gradients is one of {', '.join(NONFINITE_GRADIENTS)}")
        if self.model_file is not None and (self.architecture is not None or self.width is not None):
            raise DeepPoseError("--model-file and --architecture (or --width) both say what the network is: choose one")
        if sum(path is not None for path in (self.init, self.finetune, self.resume)) > 1:
            raise DeepPoseError("--init and --finetune start from weights, --resume continues a run: choose one")
