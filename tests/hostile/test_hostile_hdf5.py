"""HDF5 that points elsewhere, or holds what no Chainer wrote."""

import os

import numpy as np
import pytest

import converters
from tests.helpers.checkpoint_files import adam_state, alexnet, refused

h5py = pytest.importorskip("h5py")


@pytest.fixture
def save(tmp_path):
    """Writes an AlexNet without fc8/b, which the test then makes as it likes."""

    def write(change, name="a.model", arrays=None, leave_out="fc8/b"):
        with h5py.File(tmp_path / name, "w") as file:
            for key, array in (alexnet() if arrays is None else arrays).items():
                if key != leave_out:
                    file.create_dataset(key, data=array)
            change(file)
        return tmp_path / name

    return write


@pytest.fixture
def other(tmp_path):
    """Another file of this machine, whose numbers must not be read."""
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = alexnet()["fc8/b"]
    (tmp_path / "other.bin").write_bytes(alexnet()["fc8/b"].tobytes())
    return tmp_path


def test_the_fixture_makes_a_good_file(save):
    assert converters.read(save(lambda file: file.create_dataset("fc8/b", data=alexnet()["fc8/b"]))).joints == 7


def test_an_external_link(save, other):
    def link(file):
        file["fc8/b"] = h5py.ExternalLink(str(other / "other.h5"), "/secret")

    refused(save(link), r"'fc8/b' is a link, which no checkpoint has \(nothing was read\)")


def test_an_external_link_to_a_group(save, other):
    def link(file):
        file["fc9"] = h5py.ExternalLink(str(other / "other.h5"), "/")

    refused(save(link), "'fc9' is a link, which no checkpoint has")


@pytest.mark.parametrize("target", ["/fc7/b", "/nowhere", "/fc8/b"])
def test_a_soft_link(target, save):
    def link(file):
        file["fc8/b"] = h5py.SoftLink(target)

    refused(save(link), "'fc8/b' is a link, which no checkpoint has")


def test_a_virtual_dataset(save, other):
    def make(file):
        layout = h5py.VirtualLayout((14,), "f4")
        layout[:] = h5py.VirtualSource(str(other / "other.h5"), "secret", (14,))
        file.create_virtual_dataset("fc8/b", layout)

    refused(save(make), r"'fc8/b' has its data in another file \(nothing was read\)")


def test_external_storage(save, other):
    def make(file):
        file.create_dataset("fc8/b", (14,), "f4", external=[(str(other / "other.bin"), 0, 56)])

    refused(save(make), "'fc8/b' has its data in another file")


def test_a_group_in_itself(save):
    def loop(file):
        file["fc8/loop"] = file["fc8"]
        file["fc8/root"] = file["/"]

    refused(save(loop), "'fc8/loop' is no array and no group of its own, which no checkpoint has")


def test_groups_that_double_at_each_level(save):
    def double(file):
        group = file
        for level in range(60):
            group = group.create_group("a")
            group.parent["b"] = group
            assert level < 60

    refused(save(double), "is no array and no group of its own")


@pytest.mark.parametrize(
    ("make", "phrase"),
    [
        (lambda f: f.create_dataset("fc8/b", data=h5py.Empty("f4")), "fc8/b had no value yet when this was saved"),
        (lambda f: f.create_dataset("fc8/b", data=["a"] * 14), "'fc8/b' is no array of numbers"),
        (lambda f: f.create_dataset("fc8/b", (14,), h5py.vlen_dtype("f4")), "'fc8/b' is no array of numbers"),
        (lambda f: f.create_dataset("fc8/b", (14,), h5py.ref_dtype), "'fc8/b' is no array of numbers"),
        (lambda f: f.__setitem__("fc8/b", np.dtype("f4")), "'fc8/b' is no array and no group of its own"),
        (lambda f: f.create_dataset("fc8/b", data=np.zeros(14, "S4")), "fc8/b of dtype bytes32 instead of"),
        (lambda f: f.create_dataset("fc8/b", data=np.zeros(14, [("a", "f4")])), "fc8/b of dtype void32 instead of"),
        (lambda f: f.create_dataset("fc8/b", (14,), "f4", chunks=(7,)), "says that it has 56 bytes, of which 0 are st"),
        (lambda f: f.create_dataset("fc8/b", (10**12,), "f4"), "says that it has 4000000000000 bytes, of which 0"),
        (lambda f: None, "missing fc8/b"),
    ],
    ids=["empty", "text", "ragged", "references", "type", "bytes", "records", "unwritten", "huge", "missing"],
)
def test_what_no_chainer_wrote(make, phrase, save):
    refused(save(make), phrase)


def test_a_state_of_another_kind(save):
    save(lambda file: file.create_dataset("fc8/b", data=alexnet()["fc8/b"]))
    save(lambda file: file.create_dataset("t", data="three"), "a.state", adam_state(alexnet()), leave_out="t")
    checkpoint = converters.read(save(lambda file: file.create_dataset("fc8/b", data=alexnet()["fc8/b"])))
    assert checkpoint.optimizer is None
    assert any("a.state: 't' is no array of numbers" in notice for notice in checkpoint.notices)


@pytest.mark.parametrize("length", [8, 9, 60, 100, 600, 2000, 8000])
def test_a_file_that_was_cut_short(length, save):
    path = save(lambda file: file.create_dataset("fc8/b", data=alexnet()["fc8/b"]))
    assert path.stat().st_size > 2 * 8000
    os.truncate(path, length)
    refused(path, r"the HDF5 file cannot be read: .* \(the file is damaged; look for another copy\)")


def test_deflated_bytes_that_are_damaged(tmp_path):
    with h5py.File(tmp_path / "a.model", "w") as file:
        for key, array in alexnet().items():
            file.create_dataset(key, data=array, compression="gzip")
        start = file["conv1/W"].id.get_chunk_info(0).byte_offset
    content = bytearray((tmp_path / "a.model").read_bytes())
    content[start : start + 100] = bytes(100)
    (tmp_path / "a.model").write_bytes(content)
    refused(tmp_path / "a.model", r"'conv1/W' cannot be read: .* \(the file is damaged; look for another copy\)")


class TestFilters:
    """A filter is a program: HDF5 looks for those that it does not know in folders of this machine."""

    def dataset(self, file, filters, data=None, chunks=(14,), shape=(14,)):
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk(chunks)
        for number, values in filters:
            properties.set_filter(number, h5py.h5z.FLAG_OPTIONAL, values)
        space = h5py.h5s.create_simple(shape)
        h5py.h5d.create(file["fc8"].id, b"b", h5py.h5t.IEEE_F32LE, space, properties)
        file["fc8/b"][...] = alexnet()["fc8/b"] if data is None else data

    def test_gzip_with_what_h5py_adds_is_read(self, save):
        path = save(lambda file: self.dataset(file, [(2, (4,)), (1, (4,)), (3, ())]))
        assert converters.read(path).weights["fc8.bias"].tobytes() == alexnet()["fc8/b"].tobytes()

    @pytest.mark.parametrize(
        "filters",
        [[(256, ())], [(305, ())], [(6, ())], [(1, (9,)), (1, (9,))], [(2, (4,))] * 4],
        ids=["unknown", "a plugin's", "scale-offset", "deflate twice", "many"],
    )
    def test_others_are_refused_by_number(self, filters, save):
        def make(file):
            try:
                self.dataset(file, filters)
            except (OSError, ValueError):  # this HDF5 cannot even write it
                pytest.skip("HDF5 does not write this filter")

        numbers = ", ".join(str(number) for number, _ in filters)
        refused(save(make), rf"'fc8/b' is packed by HDF5's filters {numbers}, which no checkpoint is \(nothing was")

    def test_chunks_larger_than_the_array_are_refused(self, save):
        """Each chunk is unpacked as a whole."""

        def make(file):
            file.create_dataset("fc8/b", (14,), "f4", chunks=(1 << 28,), maxshape=(None,), compression=9)

        refused(save(make), r"'fc8/b' is stored in chunks of 1073741824 bytes, but has 56 \(the file is damaged")


@pytest.mark.parametrize("chunks", [(7, 5), (100, 108), (5000, 1), (1, 108), None])
def test_arrays_are_read_whole_however_they_are_cut(chunks, tmp_path):
    """Closed-form: each number is its place."""
    arrays = {**alexnet(), "fc6/W": np.arange(5000 * 108, dtype="f").reshape(5000, 108), "fc6/b": np.zeros(5000, "f")}
    arrays["fc7/W"] = np.zeros((6, 5000), "f")
    with h5py.File(tmp_path / "a.model", "w") as file:
        for key, array in arrays.items():
            file.create_dataset(key, data=array, chunks=chunks if key == "fc6/W" else None)
    assert np.array_equal(converters.read(tmp_path / "a.model").weights["fc6.weight"], arrays["fc6/W"])
