"""Many conversions in one call."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import converters
from converters import CheckpointError, Report, several
from tests.helpers.checkpoint_files import alexnet, in_torch_names, listing, save_npz, wrapped
from tests.helpers.streams import wait_until


@pytest.fixture
def files(tmp_path):
    """Ten files that differ, the fourth of which is cut short, and where they go."""
    jobs = []
    for i in range(10):
        arrays = wrapped({**alexnet(), "fc8/b": np.full(14, i, np.float32)})
        source = save_npz(tmp_path / f"epoch-{i}.model", arrays)
        jobs.append((source, source.with_suffix(".safetensors")))
    jobs[3][0].write_bytes(jobs[3][0].read_bytes()[:3000])
    return jobs


@pytest.mark.parametrize("processes", [1, 2, None])
def test_each_file_has_its_outcome_in_its_place(processes, files):
    outcomes = list(converters.convert_several(files, processes=processes, format="safetensors"))
    assert [isinstance(outcome, Report) for outcome in outcomes] == [i != 3 for i in range(10)]
    assert isinstance(outcomes[3], CheckpointError)
    assert str(outcomes[3]).startswith(f"{files[3][0]}: this zip file is cut short")
    for i, (source, target) in enumerate(files):
        if i != 3:
            assert (outcomes[i].source.path, outcomes[i].output) == (str(source), str(target))
            assert (load_file(target)["fc8.bias"] == i).all()
    assert not files[3][1].exists()


def test_a_refusal_passes_between_processes_whole(files):
    (error,) = converters.convert_several(files[3:4], processes=2)
    (again,) = converters.convert_several(files[3:4], processes=1)
    assert (str(error), error.path, error.advice) == (str(again), again.path, again.advice)


@pytest.mark.parametrize("processes", [1, 2])
def test_no_file_is_written_over_anothers(processes, files, tmp_path):
    target = tmp_path / "one.safetensors"
    first, second = converters.convert_several([(files[0][0], target), (files[1][0], target)], processes=processes)
    assert isinstance(first, Report)
    assert str(second) == (
        f"{files[1][0]}: it would be written to {target}, as {files[0][0]} is (convert it by itself, with -o)"
    )
    assert (load_file(target)["fc8.bias"] == 0).all()


def test_processes_are_started_where_they_are_worth_it(files, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    sources = [source for source, _ in files]
    assert several._worthwhile(sources[:2]) == 1
    assert several._worthwhile(sources * 10) == 7
    assert several._worthwhile(sources * 100) == 8
    with (tmp_path / "large").open("wb") as stream:
        stream.truncate(1 << 30)
    assert several._worthwhile([tmp_path / "large", *sources[:2]]) == 3
    assert several._worthwhile([tmp_path / "none"]) == 1


def _die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_is_said(files, monkeypatch):
    monkeypatch.setattr(several, "_convert_here", _die)
    outcomes = list(converters.convert_several(files[:2], processes=2))
    assert [str(outcome) for outcome in outcomes] == [
        f"{source}: the process that converts was killed (is there memory enough?)" for source, _ in files[:2]
    ]


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    ("send", "number", "status"),
    [
        ([os.killpg], signal.SIGINT, 130),
        ([os.killpg] * 5, signal.SIGINT, 130),
        ([os.kill], signal.SIGINT, 130),
        ([os.kill], signal.SIGTERM, 143),
        ([os.killpg], signal.SIGTERM, 143),
    ],
    ids=["Ctrl-C", "Ctrl-C again and again", "the program alone", "SIGTERM", "SIGTERM to all"],
)
def test_an_interrupt_leaves_nothing_half_written(send, number, status, tmp_path):
    """The program itself with two processes, by a signal as the terminal sends it, or to the program alone.

    Each of the two waits in the middle of a file until it hears of the signal.
    """
    for i in range(6):
        save_file(in_torch_names(alexnet()), tmp_path / f"epoch-{i}.safetensors")
    before = listing(tmp_path)
    begun = tmp_path.parent / f"{tmp_path.name}-begun"
    begun.mkdir()
    program = f"""
        import os, sys, time
        from pathlib import Path
        from converters import several
        from converters.interrupts import Stream
        from deeppose_port.cli import main
        several._worthwhile = lambda sources: 2
        plain = Stream.write
        def write(stream, data):
            (Path({str(begun)!r}) / str(os.getpid())).touch()
            end = time.monotonic() + 120
            while not stream._interrupts.waiting and time.monotonic() < end:
                time.sleep(0.001)
            return plain(stream, data)
        Stream.write = write
        if __name__ == "__main__":
            sys.exit(main(["convert", {str(tmp_path)!r}, "--to", "chainer-npz"]))
    """
    script = tmp_path.parent / f"{tmp_path.name}.py"
    script.write_text(textwrap.dedent(program))
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert wait_until(lambda: process.poll() is not None or len(list(begun.iterdir())) == 2, 300)
    for signalled in send:
        signalled(process.pid, number)
        time.sleep(0.02)
    _, errors = process.communicate(timeout=300)
    told = "interrupted: nothing was left behind" if number == signal.SIGINT else ""
    assert errors.strip().startswith(told) or len(send) > 1, errors
    assert process.returncode == status or len(send) > 1  # the last of many may hit the program when it has tidied up
    assert listing(tmp_path) == before, errors
