"""A short run of fuzz.py, and that it sees what it looks for. `make fuzz` runs 10,000 mutations of each format."""

import sys
import textwrap

import pytest

import converters
from tests.hostile import fuzz, structures

NEEDS = {"chainer-hdf5": "h5py", "keras-hdf5": "h5py", "pt": "torch"}


@pytest.fixture(params=[*fuzz.kinds(), *(f"{format}/structure" for format in structures.STRUCTURES)])
def kind(request):
    """A format whose files are mutated, or FORMAT/structure, of which its own library makes odd ones."""
    if (format := request.param.partition("/")[0]) in NEEDS:
        pytest.importorskip(NEEDS[format])
    return request.param


def test_the_first_mutations_end_in_a_checkpoint_or_one_line(kind, tmp_path):
    files = fuzz.seeds(kind.partition("/")[0], tmp_path)
    path = tmp_path / "mutated"
    for n in range(40):
        path.write_bytes(fuzz.nth(kind, files, 1, n))
        assert fuzz._problem(converters, path, "/" in kind) is None, n


@pytest.mark.end_to_end
def test_in_a_process_of_its_own_none_ends_in_anything_else_or_takes_memory(kind):
    assert fuzz.run(kind, 150, seed=1) == []


def test_every_mutation_is_the_same_in_every_run(tmp_path):
    files = fuzz.seeds("chainer-npz", tmp_path)
    mutations = [fuzz.nth("chainer-npz", files, 1, n) for n in range(50)]
    assert mutations == [fuzz.nth("chainer-npz", files, 1, n) for n in range(50)]
    assert len(set(mutations) - set(files)) > 45


def test_crashes_hangs_and_complaints_are_seen_and_the_rest_is_read_all_the_same(tmp_path, monkeypatch):
    """A process that stands for the one that reads: it complains of 2, dies of 4, sleeps at 7, works on at 8."""
    monkeypatch.setattr(fuzz, "SECONDS", 0.3)
    program = f"""
        import os, sys, time
        start, stop = map(int, sys.argv[3:5])
        for n in range(start, stop):
            print(n, flush=True)
            with open({str(tmp_path / "log")!r}, "a") as log:
                log.write(f"{{n}} ")
            if n == 2:
                print("2 took 300 MB", flush=True)
            if n == 4:
                os.abort()
            if n == 7:
                time.sleep(60)
            while n == 8:
                pass
    """
    failures = fuzz.run("any", 10, child=[sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(program)])
    assert [(failure.number, failure.problem[:24]) for failure in failures] == [
        (2, "took 300 MB"),
        (4, "ended by status -6: Fata"),
        (7, "hangs for more than 0.3 "),
        (8, "hangs for more than 0.3 "),
    ]
    assert (tmp_path / "log").read_text() == "0 1 2 3 4 5 6 7 8 9 "


def test_another_error_than_a_refusal_is_a_failure(tmp_path, monkeypatch):
    def fail(path, **options):
        raise KeyError("a\nb")

    (tmp_path / "a").write_bytes(b"")
    assert fuzz._problem(converters, tmp_path / "a") is None
    monkeypatch.setattr(converters, "inspect", fail)
    assert fuzz._problem(converters, tmp_path / "a").startswith("KeyError: 'a\\nb' (")
