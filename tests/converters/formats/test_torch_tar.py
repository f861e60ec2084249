import io
import pickle
import struct
import tarfile

import numpy as np
import pytest

import converters
from tests.helpers.checkpoint_files import assert_same_arrays, in_torch_names, refused, vgg_bn

TYPES = {"float32": "Float", "float64": "Double", "int64": "Long", "float16": "Half"}


class Global:
    """Pickled, it is a name and nothing else."""

    def __init__(self, module, name):
        self.module, self.name = module, name


def dumps(value, refer=None):
    """A pickle of protocol 2 with names and references, as PyTorch of that time wrote it."""
    out = bytearray(b"\x80\x02")

    def write(value):
        if isinstance(value, Global):
            out.extend(f"c{value.module}\n{value.name}\n".encode())
        elif isinstance(value, np.ndarray):
            write(str(refer(value)))
            out.extend(b"Q")
        elif isinstance(value, dict):
            out.extend(b"ccollections\nOrderedDict\n)R(")
            for key, item in value.items():
                write(key)
                write(item)
            out.extend(b"u")
        elif isinstance(value, tuple | list):
            out.extend(b"(" if isinstance(value, tuple) else b"](")
            for item in value:
                write(item)
            out.extend(b"t" if isinstance(value, tuple) else b"e")
        else:
            out.extend(pickle.dumps(value, 2)[2:-1])

    write(value)
    return bytes(out) + b"."


def torch_tar(path, payload, change=lambda name, content: content):
    """What torch.save of 0.1 left: a tar of sys_info, pickle, tensors and storages."""
    arrays = []

    def refer(array):
        arrays.append(array)
        return 1000 + len(arrays)

    content = {"sys_info": dumps({"protocol_version": 1000}), "pickle": dumps(payload, refer)}
    tensors, storages = bytearray(dumps(len(arrays))), bytearray(dumps(len(arrays)))
    for i, array in enumerate(arrays, start=1):
        kind = TYPES[array.dtype.name]
        tensors += dumps((1000 + i, 2**40 + i, Global("torch.cuda", f"{kind}Tensor")))
        tensors += struct.pack("<i", array.ndim) + bytes(4) + struct.pack(f"<{array.ndim}q", *array.shape)
        tensors += struct.pack(f"<{array.ndim}q", *(n // array.itemsize for n in array.strides)) + struct.pack("<q", 1)
        storages += dumps((2**40 + i, "cuda:0", Global("torch.cuda", f"{kind}Storage")))
        storages += struct.pack("<q", array.size + 1) + bytes(array.itemsize) + array.tobytes()
    content |= {"tensors": bytes(tensors), "storages": bytes(storages) + dumps([])}
    with tarfile.open(path, "w:", format=tarfile.PAX_FORMAT) as archive:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            data = change(name, data)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture
def arrays():
    """A network's, without the counters, which PyTorch did not have yet."""
    named = in_torch_names(vgg_bn()).items()
    return {key: np.ascontiguousarray(array) for key, array in named if "num_batches" not in key}


def test_a_state_dict_is_read_bit_for_bit(arrays, tmp_path):
    checkpoint = converters.read(torch_tar(tmp_path / "epoch-3.model", arrays))
    assert_same_arrays(checkpoint.weights, in_torch_names(vgg_bn()))
    assert (checkpoint.source.format, checkpoint.source.wrappers) == ("pt", ())


def test_a_trainings_dictionary_is_read(arrays, tmp_path):
    payload = {"epoch": 7, "state_dict": arrays, "loss": 0.25, "best": None, "optimizer": {"state": {12: [1, 2.5]}}}
    checkpoint = converters.read(torch_tar(tmp_path / "a.pth", payload))
    assert_same_arrays(checkpoint.weights, in_torch_names(vgg_bn()))
    assert checkpoint.progress.epoch == 7


@pytest.mark.filterwarnings("ignore:Python 3.14 will:DeprecationWarning")  # of tars that PyTorch unpacks
def test_pytorchs_own_loader_reads_the_files_of_these_tests_alike(arrays, tmp_path):
    """So that they are what PyTorch wrote. It runs the pickle: only for a file that was just made here."""
    torch = pytest.importorskip("torch")

    def on_the_cpu(name, content):
        content = content.replace(b"ctorch.cuda\n", b"ctorch\n")
        return content.replace(b"X\x06\x00\x00\x00cuda:0", b"X\x03\x00\x00\x00cpu")

    path = torch_tar(tmp_path / "a.pt", arrays, on_the_cpu)
    loaded = torch.load(path, weights_only=False)
    assert list(loaded) == list(arrays)
    assert all(np.array_equal(loaded[key].numpy(), array) for key, array in arrays.items())
    assert_same_arrays(converters.read(path).weights, in_torch_names(vgg_bn()))


def test_an_ordered_dict_of_python_2_is_read(tmp_path):
    def of_python_2(name, content):
        if name != "pickle":
            return content
        return b"\x80\x02ccollections\nOrderedDict\n](](U\x01aU\x041001Qee\x85R."

    path = torch_tar(tmp_path / "a.pt", {"a": np.ones(3, np.float32)}, of_python_2)
    refused(path, "unexpected a")  # it was read; it is no network


@pytest.mark.parametrize(
    ("member", "old", "new", "phrase"),
    [
        ("pickle", b"ccollections\nOrderedDict\n", b"cos\nsystem\n", r"it asks for os\.system"),
        (
            "pickle",
            b"ccollections\nOrderedDict\n",
            b"ctorch._utils\n_rebuild\n",
            r"it asks for torch\._utils\._rebuild",
        ),
        ("pickle", b"ccollections\nOrderedDict\n)R", b"ccollections\nOrderedDict\n)\x81", "makes something"),
        ("pickle", b"ccollections\nOrderedDict\n)R", b"ccollections\nOrderedDict\nK\x01\x85R", "calls something"),
        ("pickle", b"ccollections\nOrderedDict\n)R", b"ccollections\nOrderedDict\nK\x01R", "calls something"),
        ("pickle", b"ccollections\nOrderedDict\n)R", b"ccollections\nOrderedDict\n]]\x86R", "calls something"),
        ("pickle", b"ccollections\nOrderedDict\n)R", b"ctorch\nFloatTensor\n)R", "calls something"),
        ("pickle", b"Q", b"0ctorch\nFloatTensor\n", "the instruction b'0'"),
        ("pickle", dumps("1001")[2:-1] + b"Q", b"ctorch\nFloatTensor\n", "holds a type where a value should be"),
        ("storages", b"](e.", b"](K\x01e.", "its storages have views"),
        ("tensors", b"(M\xe9\x03", b"(K\x00M\xe9\x03", "something else where a tensor should be"),
        ("pickle", b"1001", b"9999", "9999"),
        ("pickle", b"1001", b"none", "a tensor without a key"),
        ("pickle", b".", b"", "cut short"),
        ("storages", b"FloatStorage", b"EvilStorage\n", "it asks for torch"),
        ("storages", struct.pack("<q", 4), struct.pack("<q", 1 << 60), "says that it has 1152921504606846976 numbers"),
        ("storages", struct.pack("<q", 4), struct.pack("<q", -4), "says that it has -4 numbers"),
        ("storages", struct.pack("<q", 4), struct.pack("<q", 3), r"\w"),
        ("tensors", struct.pack("<i4xq", 1, 3), struct.pack("<i4xq", 1, 30), r"'a' of shape \(30,\) has only 16 bytes"),
        (
            "tensors",
            struct.pack("<i4xq", 1, 3),
            struct.pack("<i4xq", 1, 4),
            r"\(4,\) ends after the 16 bytes",
        ),
        ("tensors", struct.pack("<i4xq", 1, 3), struct.pack("<i4xq", 1, -3), "a tensor that cannot be"),
        ("tensors", struct.pack("<i4xq", 1, 3), struct.pack("<i4xq", 99, 3), "a tensor has 99 dimensions"),
        ("tensors", struct.pack("<qqq", 3, 1, 1), struct.pack("<qqq", 3, 2, 1), r"\(3,\) ends after the 16 bytes"),
        ("tensors", b"K\x01.", b"J\xff\xff\xff\x7f.", "does not say how many tensors"),
    ],
)
def test_what_is_damaged_or_asks_for_more_is_refused(member, old, new, phrase, tmp_path):
    def changed(name, content):
        if name != member:
            return content
        assert old in content
        at = content.rindex(old) if old == b"." else content.index(old)
        return content[:at] + new + content[at + len(old) :]

    path = torch_tar(tmp_path / "a.pt", {"a": np.ones(3, np.float32)}, changed)
    refused(path, phrase)


def test_one_storage_for_many_tensors_is_refused(tmp_path):
    def shared(name, content):
        if name == "tensors":
            record = content[content.index(b".") + 1 :]
            return dumps(200) + b"".join(
                record.replace(struct.pack("<H", 1001), struct.pack("<H", 1001 + i)) for i in range(200)
            )
        if name == "pickle":
            entries = b"".join(b"U\x04%dU\x04%dQ" % (i, i) for i in range(1001, 1201))
            return b"\x80\x02ccollections\nOrderedDict\n)R(" + entries + b"u."
        return content

    path = torch_tar(tmp_path / "a.pt", {"a": np.ones(3000, np.float32)}, shared)
    refused(path, "its tensors have 2400000 bytes, but are the same 12004 of the file")


def test_members_that_are_no_plain_files_are_refused(tmp_path):
    with tarfile.open(tmp_path / "a.pt", "w:") as archive:
        for name in ("storages", "tensors", "pickle"):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(member)
    refused(tmp_path / "a.pt", "its 'storages' is no plain file")


@pytest.mark.parametrize("name", ["pickle", "storages", "sys_info"])
def test_a_member_that_is_there_twice_is_refused(name, tmp_path):
    """PyTorch takes the last of them, other readers the first."""
    path = torch_tar(tmp_path / "a.pt", {"a": np.ones(3, np.float32)})
    with tarfile.open(path, "a:") as archive:
        archive.addfile(archive.getmember(name), io.BytesIO(bytes(1000)))
    refused(path, f"it has a member twice: {name}")
