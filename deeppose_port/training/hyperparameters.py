"""What an optimizer does, and the options that say it, under their legacy names where those survive."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from converters.errors import DeepPoseError
from converters.values import dataclass
from deeppose_port.options import Option, described, options_of, refuse_outside, refuse_unknown

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
#: What the legacy program wrote into log.txt but did not use with that optimizer.
_UNUSED = {
    "Adam": ("lr", "weight_decay", "lr_decay_freq", "lr_decay_ratio"),
    "AdaGrad": ("weight_decay",),
    "RMSprop": ("weight_decay", "lr_decay_freq", "lr_decay_ratio"),
}
#: How the learning rate falls.
SCHEDULES = ("step", "cosine")


def state_of(algorithm: str) -> str:
    """Returns the algorithm in checkpoints that has the state of one: AdamW's is Adam's."""
    return _STATES.get(algorithm, algorithm)


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


def _value_of(option: Option, said: object) -> Any:
    """Returns what a log says of an option; None for nothing that can be."""
    try:
        return None if said is None else option.value_of(said)
    except ValueError:
        return None


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
    def from_log(cls, options: Mapping[str, object]) -> HyperparameterOptions:
        """Takes what a `log.txt` says; the legacy program wrote every option there, used or not.

        What is no value of an option, and an optimizer that we do not have, another program wrote: it is left out.
        """
        known = {name: _value_of(option, options.get(name)) for name, option in options_of(cls).items()}
        if str(known["opt"]).lower() not in map(str.lower, OPTIMIZERS.values()):
            known["opt"] = None
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

    def in_vain(self, made: Hyperparameters) -> list[str]:
        """Returns the options that were said and do nothing in a run that starts with what was made of them."""
        others_than_adam, without_steps = made.algorithm not in _ADAMS, made.schedule != "step"
        idle = {
            "momentum": made.algorithm != "momentumsgd",
            "lr": not others_than_adam and self.adam_alpha not in (None, self.lr),
            "adam_alpha": others_than_adam,
            **dict.fromkeys((f"adam_{name}" for name in _OF_ADAM), others_than_adam),
            "lr_decay_freq": without_steps,
            "lr_decay_ratio": without_steps or not made.lr_decay_freq,
        }
        return [f"--{name.replace('_', '-')}" for name, nothing in idle.items() if nothing and getattr(self, name)]

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
        from_0 = "weight_decay", "lr_decay_freq", "warmup"
        refuse_outside(result, lambda n: 0 <= n < math.inf, "it has to be 0 or more, and finite", *from_0)
        return result
