import math
import pickle
import struct
import tracemalloc

import numpy as np
import pytest

import converters
from converters.formats import chainer_pickle
from tests.helpers.checkpoint_files import assert_same_arrays, golden_file, refused

PICKLES = {
    "AlexNet_flic-pickle": "alexnet",
    "AlexNet_flic_BN-pickle": "alexnet_bn",
    "AlexNet_flic_BN_PReLU-pickle": "alexnet_bn_prelu",
    "VGG-pickle": "vgg16",
}
PARTS = {
    **{"W": "weight", "b": "bias", "gamma": "weight", "beta": "bias"},
    **{"avg_mean": "running_mean", "avg_var": "running_var", "N": "num_batches_tracked"},
}
VGG_ROWS = ("1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "4_1", "4_2", "4_3", "5_1", "5_2", "5_3")
VGG_LAYERS = {f"conv{i}": f"conv{row}" for i, row in enumerate(VGG_ROWS, start=1)} | {
    "fc14": "fc6",
    "fc15": "fc7",
    "pred": "fc8",
}
START = b"\x80\x02cAlexNet_flic\nAlexNet_flic\n)\x81}("
LAYER = b"cchainer.functions.linear\nLinear\n)\x81}("
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
FLOAT32 = b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
END = b"ub."


def array(shape, data, dtype=FLOAT32):
    """An array's instructions, as cPickle of Python 2 writes them."""
    dimensions = b"".join(b"J" + struct.pack("<i", length) for length in shape)
    return ARRAY + b"(K\x01(" + dimensions + b"t" + dtype + b"\x89T" + struct.pack("<i", len(data)) + data + b"tb"


def network(**layers):
    """A FunctionSet of layers, each given as the instructions of its attributes' values by name."""
    content = START
    for name, attributes in layers.items():
        content += text(name) + LAYER
        for attribute, value in attributes.items():
            content += text(attribute) + value
        content += b"ub"
    return content + END


def text(value):
    return b"U" + bytes([len(value)]) + value.encode()


def written(tmp_path, content):
    path = tmp_path / "a.chainermodel"
    path.write_bytes(content)
    return path


class Stub:
    """Stands for any class in the test's own unpickling."""


def unpickled(path):
    """The arrays of a golden pickle by canonical name, read with Python's own unpickler."""

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            return super().find_class(module, name) if module.startswith("numpy") else type(name, (Stub,), {})

    with path.open("rb") as stream:
        root = Unpickler(stream, encoding="latin1").load()
    vgg = hasattr(root, "conv13")
    arrays = {}
    for layer, values in vars(root).items():
        for part, value in vars(values).items() if isinstance(values, Stub) else ():
            if part in PARTS:
                name = f"{VGG_LAYERS[layer] if vgg else layer}.{PARTS[part]}"
                value = np.array(value)
                arrays[name] = value.reshape(-1) if type(values).__name__ == "BatchNormalization" else value
                if part == "N":
                    arrays[name] = np.array(value.item(), np.int64)
    return arrays


@pytest.mark.parametrize("folder", PICKLES)
def test_every_weight_arrives_bit_for_bit_under_its_canonical_name(folder, request):
    path = golden_file(f"1.1.0/{folder}/FunctionSet_epoch_1.chainermodel", request)
    checkpoint = converters.read(path)
    assert_same_arrays(checkpoint.weights, unpickled(path))
    assert (checkpoint.architecture.name, checkpoint.joints) == (PICKLES[folder], 7)
    source = checkpoint.source
    assert (source.format, source.layout, source.wrappers) == ("chainer-pickle", "model", ())
    assert source.writer == "chainer-1.4.1"
    assert "before 1.5" in source.writer_told_by
    assert not any("--writer" in notice for notice in checkpoint.notices)  # all versions of that time compute the same


@pytest.mark.parametrize("folder", PICKLES)
@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_a_pickle_is_converted_and_read_again(folder, suffix, request, tmp_path):
    path = golden_file(f"1.1.0/{folder}/FunctionSet_epoch_1.chainermodel", request)
    assert converters.convert(path, tmp_path / f"a.{suffix}").verified
    first, second = converters.read(path), converters.read(tmp_path / f"a.{suffix}")
    assert_same_arrays(second.weights, first.weights)
    assert second.preprocessing == first.preprocessing
    assert second.architecture == first.architecture


@pytest.mark.parametrize("numbered", [True, False], ids=["conv1 to pred", "conv1_1 to fc8"])
def test_vgg_is_read_under_both_generations_of_its_names(numbered, tmp_path):
    layers, channels = {}, 3
    for i, row in enumerate(VGG_ROWS, start=1):
        shape = (1, channels, 3, 3)
        weight = np.full(shape, i, "f4")
        layers[f"conv{i}" if numbered else f"conv{row}"] = {
            "W": array(shape, weight.tobytes()),
            "b": array((1,), np.float32([-i]).tobytes()),
        }
        channels = 1
    for i, (name, shape) in enumerate({"fc14": (2, 49), "fc15": (3, 2), "pred": (14, 3)}.items(), start=14):
        weight, bias = np.full(shape, i, "f4"), np.full(shape[:1], -i, "f4")
        layers[name if numbered else VGG_LAYERS[name]] = {
            "W": array(shape, weight.tobytes()),
            "b": array(shape[:1], bias.tobytes()),
        }
    checkpoint = converters.read(written(tmp_path, network(**layers)))
    assert (checkpoint.architecture.name, checkpoint.joints) == ("vgg16", 7)
    assert checkpoint.source.names == ("2015" if numbered else "head")
    assert [int(array.flat[0]) for name, array in checkpoint.weights.items() if "weight" in name] == list(range(1, 17))


def test_gradients_are_passed_over(request):
    path = golden_file("1.1.0/AlexNet_flic-pickle/FunctionSet_epoch_1.chainermodel", request)
    headers = chainer_pickle.read(path).headers
    assert len(headers) == 16
    assert sum(header.nbytes for header in headers.values()) < path.stat().st_size / 1.9


def test_arrays_of_other_orders_arrive_as_they_are_meant(tmp_path):
    values = np.arange(6, dtype=">f8").reshape(2, 3)
    big = FLOAT32.replace(b"f4", b"f8").replace(b"U\x01<", b"U\x01>")
    fortran = array((2, 3), values.tobytes("F"), big).replace(b"\x89T", b"\x88T")
    contents = chainer_pickle.read(written(tmp_path, network(fc={"W": fortran})))
    header = contents.headers["fc/W"]
    assert (header.dtype, header.shape, header.fortran) == (np.dtype(">f8"), (2, 3), True)
    loaded = np.frombuffer(b"".join(contents.chunks("fc/W")), ">f8").reshape(2, 3, order="F")
    assert np.array_equal(loaded, values)


class Bait:
    def __reduce__(self):
        import os

        return os.mkdir, ("/tmp/a-pickle-was-run",)


EVIL = pickle.dumps(Bait(), 2)[2:-1]


@pytest.mark.parametrize(
    ("content", "phrase"),
    [
        (network(fc={"W": EVIL}), r"it asks for (posix|nt)\.mkdir"),
        (network(fc={"W": b"cbuiltins\neval\nU\x0151R"}), r"it asks for builtins\.eval"),
        (network(fc={"W": b"cnumpy\nload\nU\x01a\x85R"}), r"it asks for numpy\.load"),
        (network(fc={"W": b"cchainer.functions.linear\nLinear\nK\x01\x85R"}), "calls something"),
        (network(fc={"W": b"cchainer.functions.linear\nLinear\nK\x01\x85\x81"}), "makes something"),
        (b"\x80\x02cchainer.functions.linear\nLinear\n)\x81.", "makes no FunctionSet"),
        (b"\x80\x02cos\nsystem\n.", r"it asks for os\.system"),
        (b"\x80\x02c__main__\nNet\n)\x81.", r"it asks for __main__\.Net"),
        (b"\x80\x02ca\x1b[2J\nb\n.", r"it asks for a\\x1b\[2J\.b"),
        (b"\x80\x02c" + b"a" * 10_000 + b"\nb\n.", "names a class without an end"),
        (network(fc={"W": b"cpycuda.gpuarray\nGPUArray\n)\x81"}), "those of a GPU .*to_cpu"),
        (network(fc={"W": b"ccupy.core.core\nndarray\n)\x81"}), "those of a GPU .*to_cpu"),
        (network(fc={"W": text("no array")}), "fc/W is neither an array nor a number"),
        (network(fc={"W": array((2, 2), b"12345678")}), r"shape \(2, 2\) with 8 bytes instead of 16"),
        (network(fc={"W": array((1 << 30, 1 << 30), b"1234")}), "an array that cannot be"),
        (network(fc={"W": array((-1, -4), b"1" * 16)}), "an array that cannot be"),
        (network(fc={"W": array((1,), b"1234").replace(b"f4", b"O8")}), "an array of b'O8', which are no numbers"),
        (network(fc={"W": array((1,), b"1234").replace(b"U\x01<", b"U\x01x")}), "bytes are in the order b'x'"),
        (START + b"T\xff\xff\xff\x7f", "a string of 2147483647 bytes where 0 are left"),
        (START + b"T\xff\xff\xff\xff", "a string of -1 bytes"),
        (START + b"X\xff\xff\xff\xff", "a string of 4294967295 bytes"),
        (START + b"\x8d" + b"\xff" * 8, r"the instruction b'\\x8d'"),
        (START + b"\x8b\xff\xff\xff\x7f", r"the instruction b'\\x8b'"),
        (START + b"h\x07", "takes what it has not made"),
        (b"\x80\x02cVGG\nVGG\n" + b"u" * 3, "takes what it has not made"),
        (START + text("fc") + END, "a name without a value"),
        (b"\x80\x02cVGG\nVGG\nt.", "takes what it has not made"),
        (b"\x80\x02cVGG\nVGG\n)\x81K\x01a.", "puts something into a"),
        (network(fc={"W": b"K\x01Q"}), "refers to something outside"),
        (START + b"K\x01K\x02" + END, "something else where a name should be"),
        (b"\x80\x02cVGG\nVGG\n)\x81K\x01b.", "fills something"),
        (b"\x80\x02cVGG\nVGG\n\x80\x04.", "not of protocol 2"),
        (b"\x80\x02cVGG\nVGG\n)(R.", "takes what it has not made"),  # from before its mark
        (START, "it is cut short"),
    ],
)
def test_what_no_network_of_2015_holds_is_refused(content, phrase, tmp_path):
    message = refused(written(tmp_path, content), rf"a Python pickle of a whole network, .*2015.*{phrase}")
    assert message.endswith("(nothing in it was run)")


@pytest.mark.parametrize(
    "deep",
    [
        b"(" * 10**6,
        b"]" * 10**6,
        b"]" + b"]a" * 10**6,
        b"N" + b"\x85" * 10**6,
        b"}" + b"U\x01a}" * 10**6 + b"s" * 10**6,
    ],
    ids=["marks", "lists", "lists in a list", "tuples", "dicts"],
)
def test_a_pickle_nested_a_million_deep_neither_crashes_nor_takes_memory(deep, tmp_path):
    path = written(tmp_path, START + text("fc") + deep + END)
    tracemalloc.start()
    refused(path, "more than 100,000 instructions")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6


@pytest.mark.parametrize("wide", [b"r\xff\xff\xff\xff", b"r\xff\xff\xff\x7f"])
def test_a_memo_of_any_number_takes_no_memory(wide, tmp_path):
    tracemalloc.start()
    chainer_pickle.read(written(tmp_path, network(fc={"W": array((1,), b"1234") + wide})))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6


def test_attributes_given_again_and_again_are_not_copied(tmp_path):
    shared = b"}(" + b"".join(text(f"{i}") + b"N" for i in range(20_000)) + b"uq\x00"
    content = START + text("a") + shared
    content += b"".join(text(f"l{i}") + b"cVGG\nVGG\n)\x81h\x00b" for i in range(3000)) + END
    tracemalloc.start()
    chainer_pickle.read(written(tmp_path, content))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6


def test_one_array_for_many_layers_is_refused(tmp_path):
    data = bytes(4000)
    content = START + text("fc0") + LAYER + text("W") + array((1000,), data) + b"q\x00ub"
    content += b"".join(text(f"l{i}") + LAYER + text("W") + b"h\x00ub" for i in range(200)) + END
    refused(written(tmp_path, content), "several of its layers are one array")


def test_a_file_cut_anywhere_is_refused_in_one_line(request, tmp_path):
    path = golden_file("1.1.0/AlexNet_flic-pickle/FunctionSet_epoch_1.chainermodel", request)
    content = path.read_bytes()
    random = np.random.RandomState(0)
    for position in (*range(3, 300, 7), *random.randint(300, len(content) - 1, 40)):
        refused(written(tmp_path, content[:position]), r"pickle|it is empty|no PyTorch")


def test_a_damaged_file_is_read_or_refused_in_one_line(request, tmp_path):
    path = golden_file("1.1.0/AlexNet_flic_BN_PReLU-pickle/FunctionSet_epoch_1.chainermodel", request)
    content = path.read_bytes()
    random = np.random.RandomState(1)
    for _ in range(150):
        damaged = bytearray(content)
        for position in random.randint(3, 3000, 3):
            damaged[position] = random.randint(256)
        try:
            converters.read(written(tmp_path, bytes(damaged)))
        except converters.CheckpointError as error:
            assert len(str(error).splitlines()) == 1  # noqa: PT017 - some are read


def test_pickles_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="there is no format 'chainer-pickle' to write; there are pt, safetensors"):
        converters.convert(tmp_path / "a", format="chainer-pickle")


def test_pickles_of_other_protocols_are_not_opened(tmp_path):
    for protocol in (3, 4, 5):
        refused(written(tmp_path, pickle.dumps(math.pi, protocol)), "a Python pickle, .*it was not opened")
