"""Where a training step's time goes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType

import torch
from torch.profiler import ProfilerActivity, profile, record_function

_PREFIX = "deeppose: "
_ADVICE = {
    "data": "the step waits for data: more --threads or --workers, or a smaller --im-size",
    "copy": "the step waits for the copy to the device: a larger --batch-size, or --workers with a GPU",
    "forward": "the forward pass takes the most: --amp bf16 or --compile may help",
    "backward": "the backward pass takes the most: --amp bf16, --compile or --freeze may help",
    "optimizer": "the update takes the most: a larger --batch-size spreads it over more pictures",
}


class Profile:
    """Profiles some steps after a few that warm up; a context manager around each step.

    Attributes:
        steps: Steps that are measured.
    """

    warmup = 3
    steps = 10

    def __init__(self) -> None:
        self.done = 0
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
        self._profile = profile(activities=activities)

    @staticmethod
    def range(name: str) -> AbstractContextManager[None]:
        """Names a part of a step for the profiler, and on a GPU for NVTX."""
        return _Range(name)

    def __enter__(self) -> None:
        if self.done == self.warmup:
            self._profile.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.done += 1
        if self.done == self.warmup + self.steps or (error is not None and self.done > self.warmup):
            self._profile.stop()

    def finish(self) -> str:
        """Ends the profile of a run that ended before it; returns the report of the steps that were measured."""
        measured = self.done - self.warmup
        if measured <= 0:
            return f"the run of {self.done} steps was too short to profile: {self.warmup} warm up first"
        if measured < self.steps:
            self._profile.stop()
            self.steps = measured
        return self.report()

    def step(self) -> bool:
        """Tells whether the last step to measure is done."""
        return self.done == self.warmup + self.steps

    def report(self) -> str:
        """Returns a line for each part of a step, and a sentence on what to change."""
        seconds = dict.fromkeys(_ADVICE, 0.0)
        for event in self._profile.key_averages():
            if event.key.startswith(_PREFIX):
                seconds[event.key.removeprefix(_PREFIX)] = event.cpu_time_total / 1e6 / self.steps
        total = sum(seconds.values())
        lines = [f"a step takes {1000 * total:.1f} ms, the mean of {self.steps}:"]
        lines += [f"  {name:9} {1000 * s:9.2f} ms {s / total:6.1%}" for name, s in seconds.items()]
        most = max(seconds, key=lambda name: seconds[name])
        return "\n".join([*lines, _ADVICE[most]])


class _Range:
    def __init__(self, name: str) -> None:
        self._name = name
        self._record = record_function(_PREFIX + name)
        self._nvtx = torch.cuda.is_available()

    def __enter__(self) -> None:
        self._record.__enter__()  # type: ignore[no-untyped-call]
        if self._nvtx:
            torch.cuda.nvtx.range_push(self._name)  # type: ignore[no-untyped-call]

    def __exit__(self, *error: object) -> None:
        if self._nvtx:
            torch.cuda.synchronize()  # the part's own work, not only its launching
            torch.cuda.nvtx.range_pop()  # type: ignore[no-untyped-call]
        self._record.__exit__(*error)
