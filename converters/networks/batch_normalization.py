"""What BatchNormalization computed in the program that wrote a file."""

from __future__ import annotations

from dataclasses import replace

from packaging.version import InvalidVersion, Version

from converters.errors import DeepPoseError
from converters.networks.layers import BatchNormalization
from converters.values import dataclass


@dataclass(frozen=True)
class BatchNormalizationRules:
    """The arithmetic of `chainer.links.BatchNormalization` in one range of versions, or of `torch.nn.BatchNorm2d`.

    Attributes:
        eps: Added to the batch's variance in training.
        test_eps: Added to the running variance at test time.
        eps_in_running_variance: Whether `eps` is part of what the running variance accumulates.
        initial_variance: What the running variance starts from.
    """

    eps: float
    test_eps: float
    eps_in_running_variance: bool
    initial_variance: float

    def of(self, layer: BatchNormalization) -> BatchNormalizationRules:
        """Returns the arithmetic of one layer, which may have an eps of its own."""
        if layer.eps is None:
            return self
        return replace(self, eps=layer.eps, test_eps=layer.eps if self.test_eps else 0.0)


#: First version of each range; measured on the published packages.
_RULES_SINCE: tuple[tuple[Version, BatchNormalizationRules], ...] = (
    (Version("1.0.0"), BatchNormalizationRules(1e-5, 0.0, True, 0.0)),
    (Version("1.14.0"), BatchNormalizationRules(2e-5, 0.0, True, 0.0)),
    (Version("1.21.0"), BatchNormalizationRules(2e-5, 2e-5, True, 0.0)),
    (Version("4.0.0"), BatchNormalizationRules(2e-5, 2e-5, False, 0.0)),
    (Version("5.0.0"), BatchNormalizationRules(2e-5, 2e-5, False, 1.0)),
)


#: The writers that have no version: of a network that is trained in PyTorch, and in TensorFlow or Keras.
TORCH_WRITER, TENSORFLOW_WRITER = "torch", "tensorflow"
_RULES = {
    TORCH_WRITER: BatchNormalizationRules(1e-5, 1e-5, False, 1.0),
    TENSORFLOW_WRITER: BatchNormalizationRules(1e-3, 1e-3, False, 1.0),
}


def check_writer(writer: str) -> None:
    """Raises ValueError where a writer is neither PyTorch nor TensorFlow nor a version that Chainer had."""
    if writer not in _RULES:
        chainer_version(writer)


def chainer_version(writer: str) -> Version:
    """Returns the version in a writer's name such as `chainer-1.13.0`.

    Raises:
        DeepPoseError: It is no such name, or no version that Chainer had.
    """
    program, _, number = writer.partition("-")
    try:
        version = Version(number)
    except InvalidVersion:
        version = Version("0")
    if program != "chainer" or not _RULES_SINCE[0][0] <= version < Version("8"):
        raise DeepPoseError(
            f"{writer!r} is no writer; it is spelled chainer-X.Y.Z, from chainer-1.0.0 to chainer-7.8.1"
        )
    return version


def batch_normalization_rules(writer: str) -> BatchNormalizationRules:
    """Returns what BatchNormalization did in the version that wrote a file.

    Raises:
        DeepPoseError: `writer` is none of `torch`, `tensorflow` and the form `chainer-X.Y.Z`.
    """
    if writer in _RULES:
        return _RULES[writer]
    version = chainer_version(writer)
    return [rules for since, rules in _RULES_SINCE if since <= version][-1]
