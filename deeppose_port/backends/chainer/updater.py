"""One update: several devices give the gradient of one, and nothing that is not finite reaches the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from deeppose_port.backends.chainer import compat

compat.install()

import chainer  # noqa: E402 - not before compat
from chainer import training  # noqa: E402

from deeppose_port.backends.chainer.iterator import concat_poses  # noqa: E402
from deeppose_port.backends.chainer.optimizers import Rates  # noqa: E402
from deeppose_port.training.guard import Guard  # noqa: E402


class PoseUpdater(training.updaters.ParallelUpdater):  # type: ignore[misc]
    """ParallelUpdater for the masked loss.

    It differs from Chainer's in that

    - the loss of each device's part is divided by the mask's count over the whole batch, so that the sum of the
      devices' gradients is the gradient of one device on that batch (`gradient_sum` divides by the part's own count,
      as the legacy program did);
    - a loss or gradient that is not finite ends the run, or is left out and counted, before it reaches the weights;
    - the gradient's norm may be limited, before weight decay as in the PyTorch backend;
    - dropout's random numbers follow from the seed and the iteration alone, so that a run that was resumed draws what
      an uninterrupted one draws.

    BatchNormalization's running statistics are those of the first device's part of each batch; Chainer throws those
    of the others away.

    Args:
        iterator: Of the training examples.
        optimizer: Set up with a `PoseEstimationError`.
        devices: `{'main': device, '1': device, …}`.
        seed: Of dropout.
        rate: The learning rate where so many epochs are done.
        scales: Factors on it, see `Rates`.
        guard: What becomes of a step that is not finite.
        notice: Told of the first such step that is left out.
        gradient_sum: See above.
        grad_clip: The largest norm of the gradient; None for no limit.
        iteration: Updates that a resumed run has behind it.
        updated: Called after each update that was made; None for nothing.

    Attributes:
        loss: Of the last batch.
        rate: The learning rate of the last update.
        gradient_norm: Of all that is trained, in the last update.
    """

    def __init__(
        self,
        iterator: chainer.dataset.Iterator,
        optimizer: chainer.Optimizer,
        devices: Mapping[str, chainer.backend.Device],
        *,
        seed: int,
        rate: Callable[[float], float],
        guard: Guard,
        notice: Callable[[str], None] = lambda sentence: None,
        gradient_sum: bool = False,
        grad_clip: float | None = None,
        iteration: int = 0,
        scales: Mapping[str, float] | None = None,
        updated: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(iterator, optimizer, devices=dict(devices))
        self.seed = seed
        self.rate_at = rate
        self.rates = Rates(optimizer, scales)
        self.updated = updated
        self.guard = guard
        self.notice = notice
        self.gradient_sum = gradient_sum
        self.grad_clip = grad_clip
        self.iteration = iteration
        self.loss = self.rate = self.gradient_norm = float("nan")

    def update_core(self) -> None:
        """Runs the batch's parts on their devices and updates once."""
        optimizer, iterator = self.get_optimizer("main"), self.get_iterator("main")
        # Of the place before the batch.
        self.rate = self.rate_at(iterator.epoch_detail)
        self.rates.set(self.rate)
        batch = iterator.next()
        count = None if self.gradient_sum else int(np.count_nonzero(batch.arrays[2]))
        parts = len(self._models)
        self._seed_dropout()
        main = optimizer.target
        statistics = _statistics_of(main)
        losses = []
        for i, (name, model) in enumerate(self._models.items()):
            model.cleargrads()
            device = self._devices[name]
            with chainer.using_device(device):
                losses.append(model(*concat_poses(batch[i::parts], device), count=count))
        for loss in losses:
            loss.backward()
        # One device: its loss. Several: with the batch's count the parts add up, with their own they average.
        values = [float(model.answers.array) for model in self._models.values()]
        self.loss = sum(values) / (parts if self.gradient_sum else 1)
        others = [model for model in self._models.values() if model is not main]
        for model in others:
            main.addgrads(model)
        self.gradient_norm = _norm(main)
        culprit = self.guard.culprit(self.loss, _largest(main))
        if culprit is None:
            self.guard.passed()
            self._clip(main)
            optimizer.update()
            for model in others:
                model.copyparams(main)
            if self.updated is not None:
                self.updated()
            chainer.report({"loss": self.loss}, main)
        else:
            for layer, name, before in statistics:
                getattr(layer, name)[...] = before
            first = self.guard.refuse(culprit, self.iteration + 1)
            if first is not None:
                self.notice(first)
        if self.auto_new_epoch and iterator.is_new_epoch:
            optimizer.new_epoch(auto=True)

    def _seed_dropout(self) -> None:
        """Seeds the generators that Chainer's dropout draws from, which nothing saves."""
        seeds = np.random.SeedSequence([self.seed, self.iteration]).generate_state(len(self._devices))
        np.random.seed(seeds[0])  # that of all parts on the CPU, one after the other
        for seed, device in zip(seeds, self._devices.values(), strict=True):
            if device.xp is not np:
                with chainer.using_device(device):
                    device.xp.random.seed(int(seed))

    def _clip(self, model: chainer.Link) -> None:
        """Scales the gradient down to the largest norm, as `torch.nn.utils.clip_grad_norm_` does."""
        if self.grad_clip is None:
            return
        gradients = [parameter.grad for _, parameter in _trained(model) if parameter.grad is not None]
        norm = sum(float((gradient.astype("f8") ** 2).sum()) for gradient in gradients) ** 0.5
        factor = self.grad_clip / (norm + 1e-6)
        if factor < 1:
            for gradient in gradients:
                gradient *= np.float32(factor)


def _norm(model: chainer.Link) -> float:
    """Returns the norm of the gradient of all that is trained."""
    gradients = [parameter.grad.ravel() for _, parameter in _trained(model) if parameter.grad is not None]
    with np.errstate(over="ignore", invalid="ignore"):
        return math.sqrt(sum(float(gradient.dot(gradient)) for gradient in gradients))


def _trained(model: chainer.Link) -> Iterator[tuple[str, chainer.Parameter]]:
    """Yields the parameters that are not frozen, by their names."""
    for name, parameter in model.namedparams():
        if parameter.update_rule.enabled:
            yield name, parameter


def _largest(model: chainer.Link) -> Iterator[tuple[str, float]]:
    """Yields the largest number, by its size, of each trained parameter's gradient, NaN if one is, by their names."""
    for name, parameter in sorted(_trained(model)):
        if parameter.grad is not None:
            yield name.lstrip("/"), float(abs(parameter.grad).max())


def _statistics_of(model: chainer.Link) -> list[tuple[chainer.links.BatchNormalization, str, chainer.types.NdArray]]:
    """Returns copies of BatchNormalization's running statistics, which the forward pass moves: layer, name, copy."""
    layers = [link for link in model.links() if isinstance(link, chainer.links.BatchNormalization)]
    return [(layer, name, getattr(layer, name).copy()) for layer in layers for name in ("avg_mean", "avg_var")]
