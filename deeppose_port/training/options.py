"""The options of a training, under their legacy names where those survive.

Each is declared once, by its field: `options.described` says what the command line tells of it.
"""

from __future__ import annotations

import math
from dataclasses import field
from pathlib import Path

from converters.errors import DeepPoseError
from converters.files import byte_count
from converters.networks import TABLES
from converters.values import dataclass
from deeppose_port.data.augmentation import Augmentation
from deeppose_port.data.options import BASE_ZOOM, CountingOptions, picture_folder
from deeppose_port.data.skeletons import SKELETONS
from deeppose_port.metrics import registry
from deeppose_port.metrics.losses import LOSSES
from deeppose_port.options import RARE_GROUP, changed, described, refuse_outside, refuse_unknown
from deeppose_port.training.hyperparameters import HyperparameterOptions
from deeppose_port.training.parameters import scale_factors
from deeppose_port.training.recipes import RECIPES

#: What becomes of a step whose loss or gradient is not finite: the end of the run, before it
#: reaches the weights, or it is left out.
NONFINITE_GRADIENTS = ("error", "skip")
#: What an engine may compute in where that is safe, beside float32.
PRECISIONS = ("bf16", "fp16")


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
    images: Path = picture_folder(elsewhere=True)
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
    state: bool = described(
        "Whether to resume the optimizer's state too, or start it afresh.",
        default=True,
        rare=True,
    )
    start_epoch: int | None = described(
        "Epochs that a resumed file has been trained for, if nothing tells.",
        default=None,
        rare=True,
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
    counting: CountingOptions = field(default_factory=CountingOptions)
    snapshot: int = described(
        "Epochs between checkpoints; the last epoch always writes one.", default=10, section="Run", rare=True
    )
    valid_freq: int = described(
        "Epochs between validations; 0 for none.", default=5, rare=True, goes_with=("test_csv",)
    )
    show_log_iter: int = described("Iterations between lines in the log.", default=10, rare=True)
    im_size: int | None = described(
        "Side of the network's input.",
        default=None,
        metavar="PIXELS",
        show_default="220, or the network's own",
        section="Inputs",
        rare=True,
    )
    base_zoom: float | None = described(
        BASE_ZOOM,
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
        "With skip: stop after this many skipped steps in a row.",
        default=20,
        metavar="STEPS",
        rare=True,
        goes_with=("nonfinite_gradients=skip",),
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
        "Where smooth-l1 turns from quadratic to linear, in units of the labels.",
        default=0.05,
        metavar="B",
        rare=True,
        goes_with=("loss=smooth-l1",),
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
        goes_with=("test_csv",),
    )
    best_after: int = described(
        "Choose the best checkpoint from this epoch on.",
        default=0,
        metavar="EPOCH",
        rare=True,
        goes_with=("test_csv",),
    )
    keep: int | None = described(
        "Keep only the checkpoints of the last N epochs.", default=None, metavar="N", show_default="all", rare=True
    )
    patience: int | None = described(
        "Stop after N validations without improvement.",
        default=None,
        metavar="N",
        rare=True,
        goes_with=("test_csv",),
    )
    tensorboard: bool = described("Write TensorBoard logs too.", default=False, section="Run", rare=True)
    eval_only: bool = described(
        "Only validate what the run would start from.", default=False, rare=True, goes_with=("test_csv",)
    )
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
        if self.resume is None and (self.start_epoch or not self.state):
            name = "--start-epoch" if self.start_epoch else "--no-state"
            raise DeepPoseError(f"{name} is of a file that is resumed: name it with --resume")
        if (self.width or self.stacks) is not None and (self.init or self.finetune) is not None:
            start = "--init" if self.finetune is None else "--finetune"
            name = "--stacks" if self.width is None else "--width"
            raise DeepPoseError(f"{name} is of a network that is made anew, and {start} has its own: leave it out")
        if self.resume is None and self.cascade.stage == 1:
            for option in changed(self.cascade):
                problem = f"{option.spelled} is of close-ups, which later stages see: say which to train, as --stage 2"
                raise DeepPoseError(problem)
        if self.cache and self.pack is not None and self.test_csv is None:
            raise DeepPoseError(
                "--cache keeps decoded pictures, and a --pack has them: it is for a --test-csv beside it"
            )
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
