"""Reading PyTorch's files without PyTorch gives what PyTorch itself gives."""

import collections
import sys
import zipfile

import numpy as np
import pytest

import converters
from converters.formats import _torch_file

torch = pytest.importorskip("torch")

DTYPES = (
    *("float16", "bfloat16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool"),
    *("uint16", "uint32", "uint64", "complex64", "complex128"),
)


@pytest.fixture(params=[False, True], ids=["zip", "before 1.6"])
def both(request, tmp_path):
    """Saves a payload, and loads it with PyTorch and without."""

    def load(payload):
        path = tmp_path / "a.pt"
        torch.save(payload, path, _use_new_zipfile_serialization=not request.param)
        return torch.load(path, weights_only=True), _torch_file.load(path).payload

    return load


def same(theirs, ours):
    """Tells whether what was loaded is the same, tensors to the bit."""
    if isinstance(theirs, torch.Tensor):
        array = ours.stored("a").read()
        if theirs.dtype == torch.bfloat16:
            theirs = theirs.float()
        expected = theirs.detach().contiguous().numpy()
        assert array.flags.c_contiguous
        assert array.flags.writeable
        return (array.dtype, array.shape, array.tobytes()) == (expected.dtype, expected.shape, expected.tobytes())
    if isinstance(theirs, dict):
        assert list(theirs) == list(ours)
        return all(same(value, ours[key]) for key, value in theirs.items())
    if isinstance(theirs, list | tuple):
        return len(theirs) == len(ours) and all(same(a, b) for a, b in zip(theirs, ours, strict=True))
    return type(theirs) is type(ours) and theirs == ours


def numbers(*shape, dtype=torch.float32):
    return (torch.arange(np.prod(shape, dtype=int)).reshape(shape) * 3 - 7).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_kind_of_number(dtype, both, request):
    if dtype in ("uint16", "uint32", "uint64") and "before" in request.node.name:
        pytest.skip("PyTorch itself cannot save these in the old format")
    assert same(*both({"a": numbers(3, 5, dtype=getattr(torch, dtype))}))


@pytest.mark.parametrize(
    "tensor",
    [
        numbers(),
        numbers(0),
        numbers(3, 0, 2),
        numbers(1, 1, 7),
        numbers(4, 6).T,
        numbers(4, 6)[1:3],
        numbers(4, 6)[:, ::2],
        numbers(4, 6)[2:, 3:].T,
        numbers(2, 3, 4, 5).permute(0, 2, 3, 1),
        numbers(2, 3, 4, 5).to(memory_format=torch.channels_last),
        numbers(10, dtype=torch.bfloat16)[3:7],
        torch.nn.Parameter(numbers(3, 3)),
        numbers(600, 600),
        numbers(700, 600, dtype=torch.bfloat16).T,
    ],
    ids=lambda tensor: f"{tuple(tensor.shape)} {tensor.stride()}",
)
def test_views_and_shapes(tensor, both):
    assert same(*both([tensor]))


def test_what_stands_around_tensors(both):
    shared = numbers(5)
    network = torch.nn.BatchNorm2d(3)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(2, 3, 4, 4)).sum().backward()
    optimizer.step()
    payload = {
        "state_dict": network.state_dict(),  # an OrderedDict that carries _metadata
        "optimizer": optimizer.state_dict(),
        "epoch": 12,
        "negative": -3,
        "long": 2**40,
        "very long": -(2**70),
        "loss": 0.25,
        "name": "résumé — 腕",
        "bytes": b"\x00\xff",
        "none": None,
        "flags": [True, False],
        "tuple": (1, (2, "three"), []),
        "tied": [shared, shared],
        "counter": collections.Counter({30: 1}),
        "keys": {1: "a", 0.5: "b", None: "c"},
        "size": torch.Size([3, 4]),
    }
    theirs, ours = both(payload)
    assert same({k: v for k, v in theirs.items() if k != "size"}, {k: v for k, v in ours.items() if k != "size"})
    assert ours["size"] == (3, 4)
    assert ours["tied"][0] is ours["tied"][1]


@pytest.mark.parametrize(
    ("version", "arguments"),
    [
        *(("v2", arguments) for arguments in [(), (False,), (0, {}), (None, {}), (False, {}, {}, 1)]),
        *(("v3", arguments) for arguments in [(False, {}), (False, {}, torch.float32, {}, 1)]),
    ],
)
def test_a_tensor_that_pytorch_would_not_make(version, arguments, tmp_path):
    class Odd:
        def __init__(self, tensor):
            self.tensor = tensor

        def __reduce__(self):
            _, made = self.tensor.__reduce_ex__(2)
            return getattr(torch._utils, f"_rebuild_tensor_{version}"), (*made[:4], *arguments)

    torch.save({"a": Odd(numbers(3))}, tmp_path / "a.pt")
    with pytest.raises((TypeError, RuntimeError)):
        torch.load(tmp_path / "a.pt", weights_only=True)
    with pytest.raises(converters.CheckpointError, match=r"a\.pt: .*it has a tensor that cannot be"):
        converters.read(tmp_path / "a.pt")


def test_a_dict_of_something_else_than_pairs(tmp_path):
    class Odd:
        def __reduce__(self):
            return collections.OrderedDict, ([1, 2],)

    torch.save({"a": numbers(3), "b": Odd()}, tmp_path / "a.pt")
    with pytest.raises(TypeError):
        torch.load(tmp_path / "a.pt", weights_only=True)
    with pytest.raises(converters.CheckpointError, match=r"a\.pt: .*it has a dict of something else than pairs"):
        converters.read(tmp_path / "a.pt")


def test_a_thing_in_itself_stays_so(both):
    payload = {"epoch": 1}
    payload["self"] = payload
    _, ours = both(payload)
    assert ours["self"]["self"] is ours


@pytest.mark.skipif(sys.byteorder == "big", reason="PyTorch takes such a file to be of this machine's kind")
def test_without_a_word_of_their_order_bytes_are_as_machines_have_them(tmp_path):
    """PyTorch's files say it from 2.0 on."""
    torch.save({"a": numbers(4, 5)}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as source, zipfile.ZipFile(tmp_path / "b.pt", "w") as target:
        for name in source.namelist():
            if not name.endswith("byteorder"):
                target.writestr(name, source.read(name))
    assert same(torch.load(tmp_path / "b.pt", weights_only=True), _torch_file.load(tmp_path / "b.pt").payload)


def test_numbers_of_the_other_order_of_bytes(tmp_path):
    """As a machine of the other kind saves them: PyTorch swaps them back."""
    tensor = numbers(4, 5)
    torch.save({"a": tensor}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as source, zipfile.ZipFile(tmp_path / "b.pt", "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith("byteorder"):
                content = b"big"
            elif name.endswith("data/0"):
                content = tensor.numpy().byteswap().tobytes()
            target.writestr(name, content)
    assert same(torch.load(tmp_path / "b.pt", weights_only=True), _torch_file.load(tmp_path / "b.pt").payload)


def test_before_1_6_numbers_are_little_endian_whatever_the_machine(tmp_path):
    """PyTorch wrote them so on the others too, and takes them so."""
    torch.save({"a": numbers(4, 5)}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    content = (tmp_path / "a.pt").read_bytes()
    at = content.index(b"\x88", content.index(b"little_endian"))
    (tmp_path / "a.pt").write_bytes(content[:at] + b"\x89" + content[at + 1 :])
    assert same(torch.load(tmp_path / "a.pt", weights_only=True), _torch_file.load(tmp_path / "a.pt").payload)


@pytest.mark.parametrize(
    ("name", "content", "phrase"),
    [
        ("byteorder", b"middle", "its bytes are in the order b'middle'"),
        ("byteorder", b"", "its bytes are in the order b''"),
        ("version", b"11", "its version is b'11'"),
        ("version", b"0", "its version is b'0'"),
        ("version", b"-1", "its version is b'-1'"),
        ("version", b"three", "its version is b'three'"),
        ("version", None, "it does not say which version it is of"),
        (".storage_alignment", b"", "invalid literal for int"),
        (".storage_alignment", b"6\xc1", "invalid literal for int"),
        ("../b/data/9", b"", "its 'b/data/9' is not in 'a/', as all else"),
    ],
)
def test_what_pytorch_refuses_is_refused(name, content, phrase, tmp_path):
    torch.save({"a": numbers(3)}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as source, zipfile.ZipFile(tmp_path / "b.pt", "w") as target:
        for member in source.namelist():
            if member != f"a/{name}":
                target.writestr(member, source.read(member))
        if content is not None:
            target.writestr(f"a/{name}".replace("a/../", ""), content)
    with pytest.raises((RuntimeError, ValueError)):
        torch.load(tmp_path / "b.pt", weights_only=True)
    with pytest.raises(ValueError, match=phrase):
        _torch_file.load(tmp_path / "b.pt")


#: What is changed of a zip -> the signature of the record, and in it the place of a byte.
RECORDS = {
    "members of a large end": (b"PK\6\6", 39),
    "a member's disk": (b"PK\1\2", 35),
    "a size of what nobody asks for": (b"PK\1\2", 20),
    "a place of what nobody asks for": (b"PK\1\2", 43),
    "a name of what nobody asks for": (b"PK\1\2", 46),
    "the length of the last name": (b"PK\1\2", 28),
}


@pytest.mark.parametrize("what", RECORDS)
def test_directories_that_pytorch_refuses_are_refused(what, tmp_path):
    torch.save({"a": numbers(3)}, tmp_path / "a.pt")
    content = bytearray((tmp_path / "a.pt").read_bytes())
    signature, place = RECORDS[what]
    content[content.rindex(signature) + place] ^= 1  # the last member is its serialization_id
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(RuntimeError):
        torch.load(tmp_path / "a.pt", weights_only=True)
    with pytest.raises(converters.CheckpointError, match=r"a\.pt: "):
        converters.read(tmp_path / "a.pt")


@pytest.mark.parametrize("device", [b"conv2.weight", b"", b"CPU", b"cuda:"])
@pytest.mark.parametrize("before_1_6", [False, True])
def test_a_storage_on_no_device_is_refused(device, before_1_6, tmp_path):
    torch.save({"a": numbers(3)}, tmp_path / "a.pt", _use_new_zipfile_serialization=not before_1_6)
    path = tmp_path / "a.pt"
    text, other = b"X\3\0\0\0cpu", b"X" + len(device).to_bytes(4, "little") + device
    if before_1_6:
        path.write_bytes(path.read_bytes().replace(text, other))
    else:
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(tmp_path / "b.pt", "w") as target:
            for name in source.namelist():
                target.writestr(name, source.read(name).replace(text, other))
        path = tmp_path / "b.pt"
    with pytest.raises((RuntimeError, ValueError)):
        torch.load(path, weights_only=True)
    with pytest.raises(converters.CheckpointError, match="it has a storage that is on no device"):
        converters.read(path)


@pytest.mark.parametrize(
    ("tensor", "phrase"),
    [
        (numbers(3).to_sparse(), "is a sparse tensor, which is not read"),
        (torch.complex(numbers(3), numbers(3)).conj().imag, "is a negative view, which is not read"),
        (torch.complex(numbers(3), numbers(3)).conj(), "is a conjugate view, which is not read"),
        (numbers(3, dtype=torch.float8_e5m2), "is a torch.strided tensor of torch.float8_e5m2, which is not read"),
        (torch.ones(1).expand(1 << 20), r"of shape \(1048576,\) has only 4 bytes"),
    ],
    ids=["sparse", "negative", "conjugate", "float8", "expanded"],
)
def test_what_is_not_read_says_so_when_it_is_asked_for(tensor, phrase, tmp_path):
    torch.save({"a": tensor, "b": numbers(2)}, tmp_path / "a.pt")
    loaded = _torch_file.load(tmp_path / "a.pt").payload
    assert loaded["b"].stored("b").read().tolist() == [-7, -4]
    with pytest.raises(ValueError, match=phrase):
        loaded["a"].check()
