"""The options of a training, under their legacy names where those survive."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from converters.errors import DeepPoseError
from deeppose_port.data.augmentation import Augmentation

#: Algorithm in checkpoints -> the legacy program's `--opt`.
OPTIMIZERS = {"adam": "Adam", "momentumsgd": "MomentumSGD", "adagrad": "AdaGrad", "rmsprop": "RMSprop"}
#: How the learning rate falls.
SCHEDULES = ("step", "cosine")
#: Metrics of a validation -> whether more is better.
METRICS = {"loss": False, "mean_error_px": False, "pdj@0.2": True}
#: What becomes of a step whose loss or gradient is not finite.
NONFINITE_GRADIENTS = ("error", "skip")

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
        weight_decay: Rate at which every parameter is added to its gradient.
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
    """What the user said of the optimizer; None where nothing was said. Names are the command line's."""

    opt: str | None = None
    lr: float | None = None
    adam_alpha: float | None = None
    adam_beta1: float | None = None
    adam_beta2: float | None = None
    adam_eps: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    lr_decay_freq: int | None = None
    lr_decay_ratio: float | None = None
    schedule: str | None = None
    warmup: float | None = None

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
        return self.adam_alpha if algorithm == "adam" and self.adam_alpha is not None else self.lr

    def complete(self, algorithm: str) -> Hyperparameters:
        """Fills what was not said with the legacy program's defaults for an algorithm.

        The program decayed weights and learning rate with MomentumSGD, and the learning rate with AdaGrad too.

        Raises:
            DeepPoseError: A number is out of range.
        """
        default_lr = 0.001 if algorithm == "adam" else 0.01
        decays = algorithm in ("momentumsgd", "adagrad")
        result = Hyperparameters(
            algorithm=algorithm,
            lr=_or(self.learning_rate(algorithm), default_lr),
            momentum=_or(self.momentum, 0.9),
            beta1=_or(self.adam_beta1, 0.9),
            beta2=_or(self.adam_beta2, 0.999),
            eps=_or(self.adam_eps, 1e-8),
            weight_decay=_or(self.weight_decay, 0.0005 if algorithm == "momentumsgd" else 0.0),
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
class TorchOptions:
    """What only the PyTorch backend does.

    Attributes:
        workers: Processes of a DataLoader that make examples; 0 for threads in this process.
        amp: `bf16` computes in bfloat16 where that is safe; None in float32.
        channels_last: Whether maps lie channels last in memory, which is faster on most machines.
        compile: Whether the network is compiled.
        grad_clip: The largest norm of the gradient; None for no limit.
        freeze: Patterns of parameters that are not trained, as `conv*`.
        best: The metric of the best checkpoint: `loss`, `mean_error_px` or `pdj@0.2`.
        best_after: Epochs before which no checkpoint is the best.
        keep: Number of epochs' checkpoints to keep; None for all.
        patience: Validations without a better one after which the training ends; None for never.
        tensorboard: Whether to write for TensorBoard too.
        eval_only: Whether to validate what the run starts from, and no more.
        profile: Whether to tell where a step's time goes.
    """

    workers: int = 0
    amp: str | None = None
    channels_last: bool = True
    compile: bool = False
    grad_clip: float | None = None
    freeze: tuple[str, ...] = ()
    best: str = "loss"
    best_after: int = 0
    keep: int | None = None
    patience: int | None = None
    tensorboard: bool = False
    eval_only: bool = False
    profile: bool = False

    def __post_init__(self) -> None:
        if self.amp not in (None, "bf16"):
            raise DeepPoseError(f"amp is {self.amp!r}; it is bf16 or nothing")
        if self.best not in METRICS:
            raise DeepPoseError(f"there is no metric {self.best!r}; there are {', '.join(METRICS)}")
        if self.workers < 0 or self.best_after < 0:
            raise DeepPoseError("workers and best_after cannot be negative")
        for name in ("keep", "patience", "grad_clip"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise DeepPoseError(f"{name} is {value}; it has to be positive")

    def used(self) -> list[str]:
        """Returns the options that are not at their default, as the command line spells them."""
        defaults = TorchOptions()
        return [
            f"--{field.name.replace('_', '-')}"
            for field in fields(self)
            if getattr(self, field.name) != getattr(defaults, field.name)
        ]


@dataclass(frozen=True)
class TrainingOptions:
    """A training.

    Attributes:
        train_csv: The persons to learn from.
        images: The folder of their pictures, and of the test set's.
        skeleton: `flic`, `lsp` or `mpii`.
        test_csv: The persons to validate on; None for no validation.
        output: The result folder; None makes one under `results/`.
        device: `cpu`, `cuda:0`, or several as `cuda:0,cuda:1` (Chainer also takes `cpu,cpu`).
        architecture: A key of `architectures.TABLES`: of a run that starts anew, None for AlexNet; or which network a
            file is that leaves a choice, as for `converters.read`.
        width: A factor on every layer's channels, or the channels of each layer but the last; None for the table's.
        dropout: The share that dropout zeroes, in place of the table's.
        init: A checkpoint whose weights the run starts from.
        finetune: The same, but for the last layer where the number of joints differs.
        resume: A checkpoint or result folder whose run goes on.
        start_epoch: Epochs that a resumed file has behind it, where nothing says.
        epochs: Epochs to train, those of a resumed run counted in.
        batch_size: Persons in a step, over all devices.
        cache: Bytes of decoded pictures that each process keeps at most, for training and validation together; 0 keeps
            none.
        pack: A pack of the training set, to train without decoding pictures; None for the pictures themselves.
        seed: Of weights, order, augmentation and dropout.
        threads: Threads that make examples; None for what the machine has.
        snapshot: Epochs between checkpoints; the last epoch always writes one.
        valid_freq: Epochs between validations; 0 for none.
        show_log_iter: Iterations between lines of the log.
        min_dim: Leaves out persons whose box of joints is smaller, in pixels.
        ignore_label: The coordinate that means: not annotated.
        im_size: Side of the input; None, here and below, for the checkpoint's or the legacy default.
        base_zoom: Factor on the box of a person's joints.
        coord_normalize: Whether labels are fractions of the crop.
        gcn: Global contrast normalisation.
        augmentation: What is done to training examples.
        hyperparameters: What was said of the optimizer.
        legacy_gradient_sum: Whether several devices sum their gradients, as the legacy program did.
        nonfinite_gradients: `error` ends the run before such a step reaches the weights, `skip` leaves it out.
        torch: What only the PyTorch backend does.
    """

    train_csv: Path
    images: Path
    skeleton: str
    test_csv: Path | None = None
    output: Path | None = None
    device: str = "cpu"
    architecture: str | None = None
    width: str | None = None
    dropout: float | None = None
    init: Path | None = None
    finetune: Path | None = None
    resume: Path | None = None
    start_epoch: int | None = None
    epochs: int = 100
    batch_size: int = 128
    cache: int = 0
    pack: Path | None = None
    seed: int = 1701
    threads: int | None = None
    snapshot: int = 10
    valid_freq: int = 5
    show_log_iter: int = 10
    min_dim: float = 0.0
    ignore_label: float = -1.0
    im_size: int | None = None
    base_zoom: float | None = None
    coord_normalize: bool | None = None
    gcn: bool | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)
    hyperparameters: HyperparameterOptions = field(default_factory=HyperparameterOptions)
    legacy_gradient_sum: bool = False
    nonfinite_gradients: str = "error"
    torch: TorchOptions = field(default_factory=TorchOptions)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "snapshot", "show_log_iter"):
            if getattr(self, name) < 1:
                raise DeepPoseError(f"{name} is {getattr(self, name)}; it has to be at least 1")
        for name in ("valid_freq", "seed", "start_epoch"):
            if (getattr(self, name) or 0) < 0:
                raise DeepPoseError(f"{name} is {getattr(self, name)}; it has to be 0 or more")
        if self.cache < 0:
            raise DeepPoseError(f"cache is {self.cache}; it has to be a number of bytes, or 0 for none")
        if self.threads is not None and self.threads < 1:
            raise DeepPoseError(f"threads is {self.threads}; it has to be at least 1")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise DeepPoseError(f"dropout is {self.dropout}; it has to be at least 0 and below 1")
        if self.nonfinite_gradients not in NONFINITE_GRADIENTS:
            raise DeepPoseError(f"nonfinite_gradients is one of {', '.join(NONFINITE_GRADIENTS)}")
        if sum(path is not None for path in (self.init, self.finetune, self.resume)) > 1:
            raise DeepPoseError("init and finetune start anew from weights, resume goes on with a run: choose one")
