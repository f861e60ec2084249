"""Large checkpoints go into safetensors in pieces; what comes out is what reading them as a whole gives."""

import errno
import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

import converters
from converters import CheckpointError, formats, plan, streaming
from converters.identify import Options, identify
from converters.stored import Header, Stored
from tests.helpers.checkpoint_files import (
    adam_state,
    alexnet,
    assert_same_arrays,
    in_torch_names,
    listing,
    load_npz,
    save_npz,
    sha256,
    wrapped,
)

ROWS = 5000  # fc6/W then takes two blocks and a part of a third


def large(dtype=np.float32, order="C", rows=ROWS):
    """An AlexNet whose fc6/W, of 108 columns, is larger than what is read at a time."""
    arrays = alexnet(dtype=dtype)
    random = np.random.RandomState(0)
    arrays["fc6/W"] = np.asarray(random.randn(rows, 108).astype(dtype), order=order)
    arrays["fc6/b"], arrays["fc7/W"] = random.randn(rows).astype(dtype), random.randn(6, rows).astype(dtype)
    return arrays


def native(arrays):
    return {name: array.astype(array.dtype.newbyteorder("=")) for name, array in in_torch_names(arrays).items()}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A large file, to be copied: to deflate it anew for each test takes longer than to convert it."""
    return save_npz(tmp_path_factory.mktemp("large") / "epoch-4.model", wrapped(large()))


@pytest.fixture
def model(written, tmp_path):
    return Path(shutil.copy(written, tmp_path))


@pytest.fixture
def refused(tmp_path):
    """Converts what has to be refused in one line; the folder stays as it was."""

    def convert(source, phrase, culprit=None, **options):
        before = listing(tmp_path)
        target = tmp_path / "new.safetensors"
        with pytest.raises(CheckpointError, match=phrase) as caught:
            converters.convert(source, target, **options)
        assert str(caught.value).startswith(f"{culprit or target}: ")
        assert len(str(caught.value).splitlines()) == 1
        assert listing(tmp_path) == before

    return convert


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", "<f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_kind_of_float_arrives_bit_for_bit(dtype, order, tmp_path):
    path = save_npz(tmp_path / "a.model", large(dtype, order))
    assert identify(path, Options()).is_large
    report = converters.convert(path, tmp_path / "b.safetensors")
    assert_same_arrays(load_file(tmp_path / "b.safetensors"), native(large(dtype)))
    assert report.verified
    assert report.output_sha256 == sha256(tmp_path / "b.safetensors")
    assert report.source.sha256 == sha256(path)


@pytest.mark.parametrize("rows", [2427, 2428, 4855, 7282])
def test_arrays_about_whole_blocks_arrive_whole(rows, tmp_path):
    path = save_npz(tmp_path / "a.model", large(rows=rows))
    converters.convert(path, tmp_path / "b.safetensors")
    assert_same_arrays(load_file(tmp_path / "b.safetensors"), in_torch_names(large(rows=rows)))


@pytest.mark.parametrize("suffix", [".h5", ".pt", ".safetensors"])
def test_every_format_can_be_read_in_pieces(suffix, model, tmp_path):
    if suffix == ".h5":
        h5py = pytest.importorskip("h5py")
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for key, array in wrapped(large()).items():
                file.create_dataset(key, data=array, compression=4)
    else:
        if suffix == ".pt":
            pytest.importorskip("torch")
        converters.convert(model, tmp_path / f"a{suffix}")
    converters.convert(tmp_path / f"a{suffix}", tmp_path / "b.safetensors")
    assert_same_arrays(load_file(tmp_path / "b.safetensors"), in_torch_names(large()))


def test_the_metadata_are_those_of_a_file_that_was_written_as_a_whole(model, tmp_path):
    converters.convert(model, tmp_path / "a.safetensors")
    converters.write(converters.read(model), tmp_path / "b.safetensors")
    metadata = []
    for name in "ab":
        with safe_open(tmp_path / f"{name}.safetensors", framework="np") as file:
            metadata.append(file.metadata())
    assert metadata[0] == metadata[1]


class TestNonfinite:
    @pytest.fixture
    def broken(self, tmp_path):
        """NaN and Inf in every block of fc6/W, in a small array, and in the optimizer's state."""
        arrays = wrapped(large())
        for i, value in ((0, np.nan), (300_000, np.inf), (539_999, -np.inf)):
            arrays["predictor/fc6/W"].flat[i] = value
        arrays["predictor/fc8/b"][3] = np.nan
        arrays["predictor/fc7/b"][:2] = np.inf
        state = adam_state(wrapped(large()))
        state["predictor/fc6/W/v"].flat[7] = np.nan
        save_npz(tmp_path / "a.state", state)
        return save_npz(tmp_path / "a.model", arrays)

    @pytest.mark.parametrize("policy", ["zero", "keep"])
    def test_it_is_counted_and_repaired_as_in_memory(self, policy, broken, tmp_path):
        report = converters.convert(broken, tmp_path / "b.safetensors", nonfinite=policy)
        expected = converters.read(broken, nonfinite=policy)
        assert report.repairs == expected.repairs
        assert [(r.tensor, r.nan, r.inf) for r in report.repairs] == [
            ("fc6.weight", 1, 2),
            ("fc7.bias", 0, 2),
            ("fc8.bias", 1, 0),
            ("optimizer.v.fc6.weight", 1, 0),
        ]
        assert_same_arrays(load_file(tmp_path / "b.safetensors"), expected.weights)
        assert report.output_sha256 == sha256(tmp_path / "b.safetensors")
        with safe_open(tmp_path / "b.safetensors", framework="np") as file:
            assert json.loads(file.metadata()["repairs"]) == [repair.as_dict() for repair in report.repairs]

    def test_it_is_refused_where_that_is_asked_for(self, broken, refused):
        refused(broken, "4 of its tensors hold NaN or Inf: fc6.weight 1 NaN and 2 Inf", broken, nonfinite="error")


@pytest.mark.parametrize("bytes_there", [0, 15, 17])
@pytest.mark.parametrize("read", [lambda stored: stored.read(), lambda stored: list(stored.blocks())])
def test_a_reader_that_gives_other_bytes_than_the_header_says(read, bytes_there, tmp_path):
    header = Header(np.dtype("<f4"), (2, 2))
    stored = Stored(
        tmp_path / "a", "conv1/W", header, lambda: iter([b"12345678", bytes(bytes_there)[8:]][: 1 + bytes_there])
    )
    with pytest.raises(CheckpointError, match=r"'conv1/W' does not have the 16 bytes that its header says"):
        read(stored)


class TestFailures:
    def test_damage_in_the_source_is_found(self, model, refused):
        content = bytearray(model.read_bytes())
        content[len(content) // 2] ^= 1
        model.write_bytes(content)
        refused(model, "'predictor/fc6/W' is damaged: ", model)

    def test_damage_in_a_state_that_is_left_out_is_said(self, model, tmp_path):
        state = save_npz(model.with_suffix(".state"), adam_state(wrapped(large())))
        content = bytearray(state.read_bytes())
        content[len(content) // 2] ^= 1
        state.write_bytes(content)
        report = converters.convert(model, tmp_path / "b.safetensors")
        assert_same_arrays(load_file(tmp_path / "b.safetensors"), in_torch_names(large()))
        assert report.optimizer is None
        assert any(f"{state}: 'predictor/fc6/W/" in notice and "is damaged" in notice for notice in report.notices)

    @pytest.mark.parametrize("change", ["appended", "rewritten", "replaced", "removed"])
    def test_a_source_that_changes_meanwhile_is_refused(self, change, model, refused):
        other, once = model.read_bytes(), threading.Lock()

        def meddle(name, done, total):
            if not once.acquire(blocking=False):
                return
            if change == "appended":
                with model.open("ab") as stream:
                    stream.write(b"more")
            elif change == "rewritten":
                model.write_bytes(other)
            elif change == "replaced":
                model.with_name("b.model").write_bytes(other)
                os.replace(model.with_name("b.model"), model)
            else:
                model.unlink()

        before = {item.name for item in model.parent.iterdir()}
        with pytest.raises(
            CheckpointError, match=r"epoch-4\.model: .*(changed while it was read|cannot be read|is damaged)"
        ):
            converters.convert(model, model.with_name("new.safetensors"), progress=meddle)
        assert {item.name for item in model.parent.iterdir()} <= before

    @pytest.mark.parametrize("position", [0, 1_000_000, 2_100_000])
    def test_a_byte_that_the_disk_flipped_is_found(self, position, model, refused, monkeypatch):
        write = os.pwrite

        def flip(file, data, offset):
            start = position + 40_000  # past the header and the convolutions
            if offset <= start < offset + len(data):
                data = bytearray(data)
                data[start - offset] ^= 0x10
            return write(file, data, offset)

        monkeypatch.setattr(os, "pwrite", flip)
        refused(model, r"what was written does not read back the same: fc6\.\w+ \(nothing was left behind; is the disk")

    @pytest.mark.parametrize("word", [b"fc6.weight", b"chainer-1.13.0", b"alexnet"])
    def test_a_header_that_reads_back_otherwise_is_found(self, word, model, refused, monkeypatch):
        header = formats.safetensors.header
        other = word[:-1] + b"x"
        monkeypatch.setattr(formats.safetensors, "header", lambda *a: header(*a).replace(word, other))
        refused(model, "what was written (does not|cannot be) read")

    def test_a_full_disk_leaves_nothing(self, model, refused, monkeypatch):
        write, room = os.pwrite, [1_500_000]

        def full(file, data, offset):
            room[0] -= len(data)
            if room[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(file, data, offset)

        monkeypatch.setattr(os, "pwrite", full)
        refused(model, "it cannot be written: No space left on device")

    def test_a_write_that_takes_only_a_part_is_gone_on_with(self, model, tmp_path, monkeypatch):
        write = os.pwrite
        monkeypatch.setattr(os, "pwrite", lambda file, data, offset: write(file, data[:100_000], offset))
        converters.convert(model, tmp_path / "b.safetensors")
        assert_same_arrays(load_file(tmp_path / "b.safetensors"), in_torch_names(large()))

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
    def test_an_interrupt_leaves_nothing(self, error, model, tmp_path):
        before = listing(tmp_path)

        def interrupt(name, done, total):
            assert name == "converting"
            if done > total // 2:
                raise error

        with pytest.raises(error):
            converters.convert(model, tmp_path / "b.safetensors", progress=interrupt)
        assert listing(tmp_path) == before

    def test_the_target_appears_only_when_it_is_whole(self, model, tmp_path, monkeypatch):
        compared = streaming.differing_headers
        seen = []

        def compare(*arguments):
            seen.append((tmp_path / "b.safetensors").exists())
            return compared(*arguments)

        monkeypatch.setattr(streaming, "differing_headers", compare)
        converters.convert(model, tmp_path / "b.safetensors")
        assert seen == [False]

    def test_a_source_that_cannot_be_hashed_is_said(self, model, refused, monkeypatch):
        def fail(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(plan, "hash_file", fail)
        refused(model, "it cannot be read: Input/output error", model)


def test_progress_counts_every_byte(model, tmp_path):
    calls = []
    converters.convert(model, tmp_path / "b.safetensors", progress=lambda *arguments: calls.append(arguments))
    total = sum(array.nbytes for array in large().values())
    assert {(name, given) for name, _, given in calls} == {("converting", total)}
    assert max(done for _, done, _ in calls) == total


def test_large_tensors_stay_in_their_file_and_small_ones_are_read(model):
    tensors = identify(model, Options()).stream()
    stored, array = tensors["fc6.weight"], large()["fc6/W"]
    assert isinstance(stored, Stored)
    assert (stored.shape, stored.dtype, stored.size, stored.nbytes) == (
        array.shape,
        array.dtype,
        array.size,
        array.nbytes,
    )
    assert np.array_equal(stored.read(), array)
    assert np.array_equal(tensors["fc6.bias"], large()["fc6/b"])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_far_below_the_largest_tensor(tmp_path):
    """In a process of its own: a tensor of 130 MB that deflates to nothing."""
    arrays = {**large(), "fc6/W": np.zeros((300_000, 108), "f"), "fc6/b": np.zeros(300_000, "f")}
    arrays["fc7/W"] = np.zeros((6, 300_000), "f")
    save_npz(tmp_path / "a.model", arrays)
    program = f"""
        import safetensors
        import converters
        peak = lambda: int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) * 1024
        converters.convert({str(save_npz(tmp_path / "small.model", alexnet()))!r}, format="safetensors")
        before = peak()
        converters.convert({str(tmp_path / "a.model")!r}, format="safetensors")
        print(peak() - before)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 40_000_000
    assert load_npz(tmp_path / "a.model")["fc6/W"].nbytes > 3 * 40_000_000
