import re
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from deeppose_port.backends.torch.profiling import Profile
from deeppose_port.data import PoseDataset
from tests.helpers.trainings import run

pytestmark = pytest.mark.usefixtures("one_thread")

PARTS = ["data", "copy", "forward", "backward", "optimizer"]


def spend(profile, parts):
    """Makes a step that spends so many seconds in each part."""
    with profile:
        for name, seconds in parts.items():
            with profile.range(name):
                time.sleep(seconds)


def table(report):
    """The first line, {part: (milliseconds, percent)} and the last line of a report."""
    first, *rows, last = report.splitlines()
    found = [re.fullmatch(r"  (\w+) +([\d.]+) ms +([\d.]+)%", row) for row in rows]
    return first, {m[1]: (float(m[2]), float(m[3])) for m in found}, last


class TestProfile:
    def test_it_tells_where_the_time_went_and_what_to_change(self):
        profile = Profile()
        for step in range(Profile.warmup + Profile.steps):
            assert not profile.step()
            warm = step < Profile.warmup
            spend(profile, {"data": 0.15, "optimizer": 0.001} if warm else {"data": 0.001, "backward": 0.02})
        assert profile.step()
        first, rows, last = table(profile.report())
        assert list(rows) == PARTS
        assert rows["backward"][0] >= 20
        assert 1 <= rows["data"][0] < rows["backward"][0]  # with the steps that warm up it would be 45 ms and more
        assert rows["forward"] == (0, 0)
        assert sum(share for _, share in rows.values()) == pytest.approx(100, abs=0.5)
        total = float(re.search(r"a step takes ([\d.]+) ms, the mean of 10", first)[1])
        assert total == pytest.approx(sum(milliseconds for milliseconds, _ in rows.values()), abs=0.1)
        assert last.startswith("the backward pass takes the most: --amp bf16, --compile or --freeze")

    @pytest.mark.parametrize("part", PARTS)
    def test_the_advice_is_for_the_longest_part(self, part):
        """Of times that are given: on a busy machine any part may be the longest."""
        profile = Profile()
        seconds = {name: 0.2 if name == part else 0.1 for name in PARTS}
        events = [SimpleNamespace(key=f"deeppose: {name}", cpu_time_total=1e6 * s) for name, s in seconds.items()]
        profile._profile = SimpleNamespace(key_averages=lambda: events)
        advice = {"data": "--threads", "copy": "--batch-size", "optimizer": "--batch-size"}
        _, rows, last = table(profile.report())
        assert rows == {name: (100 * s, 33.3 if name == part else 16.7) for name, s in seconds.items()}
        assert advice.get(part, "--amp bf16") in last
        assert "\n" not in last

    def test_fewer_steps_are_enough(self):
        profile = Profile()
        for _ in range(Profile.warmup + 2):
            spend(profile, {"forward": 0.005})
        first, rows, _ = table(profile.finish())
        assert "the mean of 2" in first
        assert rows["forward"][0] >= 5

    def test_a_run_may_be_too_short(self):
        profile = Profile()
        spend(profile, {"forward": 0.001})
        assert profile.finish() == "the run of 1 steps was too short to profile: 3 warm up first"

    def test_an_error_in_a_step_ends_it(self):
        profile = Profile()
        for _ in range(Profile.warmup):
            spend(profile, {})
        with pytest.raises(KeyError), profile:
            raise KeyError
        assert not torch.autograd._profiler_enabled()


class TestTraining:
    def test_a_run_that_waits_is_told_so(self, tmp_path, pictures, monkeypatch):
        decode = PoseDataset.picture

        def slow(dataset, index):
            time.sleep(0.1)
            return decode(dataset, index)

        monkeypatch.setattr(PoseDataset, "picture", slow)
        watch = run(tmp_path, pictures, epochs=3, valid_freq=0, snapshot=3, profile=True)
        (report,) = watch.notices
        _, rows, last = table(report)
        assert all(milliseconds > 0 for milliseconds, _ in rows.values())
        assert last == "the step waits for data: more --threads or --workers, or a smaller --im-size"
        assert 0 < watch.steps[-1].waiting <= 1

    def test_it_changes_nothing_else(self, tmp_path, pictures):
        given = {"epochs": 2, "dropout": 0.5}
        plain = run(tmp_path, pictures, output=tmp_path / "plain", **given)
        profiled = run(tmp_path, pictures, output=tmp_path / "profiled", profile=True, **given)
        assert np.array_equal(profiled.losses, plain.losses)
        assert len(profiled.notices) == len(plain.notices) + 1
