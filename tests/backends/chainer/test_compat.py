"""Chainer 7.8.1 on today's packages, with the mends and without each of them."""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
import textwrap
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest
from packaging.version import Version

from deeppose_port.backends.chainer import compat, compat_caffe

if importlib.util.find_spec("chainer") is None:
    pytest.skip("Chainer is not installed", allow_module_level=True)

ITEMS = {item.name: item for item in (*compat.BEFORE_IMPORT, *compat.AFTER_IMPORT, *compat.FOR_TESTING)}
NUMPY_2 = Version(np.__version__).major >= 2
H5PY_3 = importlib.util.find_spec("h5py") is not None and Version(importlib.metadata.version("h5py")).major >= 3

needs_numpy_2 = pytest.mark.skipif(not NUMPY_2, reason="NumPy 1 does not need this mend")
needs_h5py_3 = pytest.mark.skipif(not H5PY_3, reason="h5py 3 is not installed")


#: Runs programs, each in a fork of its own: what Chainer imports of others, half of its time, is loaded once, and with
#: the word `imported` Chainer itself, as it is between the mends before its import and those after it.
SERVER = """
import contextlib, importlib, json, os, sys, tempfile, traceback, warnings
for name in ("filelock", "h5py", "PIL.Image", "scipy.sparse", "scipy.special", "scipy.stats", "six", "unittest.mock"):
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
from deeppose_port.backends.chainer import compat
assert not {"chainer", "pkg_resources", "cupy"} & sys.modules.keys()
if sys.argv[1] == "imported":
    with warnings.catch_warnings():
        compat._apply(compat.BEFORE_IMPORT)
        compat._import_chainer()
for order in map(json.loads, sys.stdin):
    with tempfile.TemporaryFile("w+") as said:
        child = os.fork()
        if not child:
            os.dup2(said.fileno(), 2)
            for stage in ("BEFORE_IMPORT", "AFTER_IMPORT", "FOR_TESTING"):
                kept = tuple(item for item in getattr(compat, stage) if item.name != order["without"])
                setattr(compat, stage, kept)
            sys.path[:0] = order["path"]
            status = 1
            try:
                exec(order["code"], {"__name__": "__main__", "compat": compat, "sys": sys})
                status = 0
            except BaseException:
                traceback.print_exc()
            sys.stderr.flush()
            os._exit(status)
        _, status = os.waitpid(child, 0)
        said.seek(0)
        print(json.dumps([status, said.read()]), flush=True)
"""


@contextlib.contextmanager
def programs(stage: str):
    """Runs a program with one item left out, Chainer `imported` or not; returns its status and what it said."""
    environment = {name: value for name, value in os.environ.items() if name != "CHAINER_CUDNN"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", SERVER, stage], env=environment, text=True, **pipes) as server:

        def run(code: str, without: str | None = None, path: Path | None = None) -> tuple[int, str]:
            order = {"code": textwrap.dedent(code), "without": without, "path": [str(path)] if path else []}
            server.stdin.write(json.dumps(order) + "\n")
            server.stdin.flush()
            status, said = json.loads(server.stdout.readline())
            return status, said

        yield run
        server.stdin.close()


@pytest.fixture(scope="module")
def forked():
    """Runs a program where Chainer is not imported."""
    with programs("fresh") as run:
        yield run


@pytest.fixture(scope="module")
def forked_later():
    """Runs a program where Chainer is imported and not yet mended further."""
    with programs("imported") as run:
        yield run


@pytest.fixture
def holds(request):
    """Asserts that a program ends well with an item and fails without it."""

    def holds(code: str, name: str, path: Path | None = None) -> None:
        assert name in ITEMS
        forked = request.getfixturevalue("forked" if ITEMS[name] in compat.BEFORE_IMPORT else "forked_later")
        status, said = forked(code, path=path)
        assert status == 0, said
        status, _ = forked(code, without=name, path=path)
        assert status != 0, f"nothing fails without {name}"

    return holds


@needs_numpy_2
def test_chainer_cannot_be_imported_as_it_is(forked) -> None:
    status, said = forked("import chainer")
    assert status != 0
    assert "sctypes" in said


def test_chainer_is_imported_and_computes_without_a_warning() -> None:
    program = """if True:
        from deeppose_port.backends.chainer import compat
        compat.install()
        import chainer, numpy
        x = chainer.Variable(numpy.ones((2, 3, 8, 8), "f"))
        y = chainer.functions.max_pooling_2d(chainer.links.Convolution2D(3, 4, 3)(x), 2)
        chainer.functions.sum(y).backward()
        assert x.grad.dtype == numpy.float32
    """
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


@needs_numpy_2
def test_a_failed_import_of_chainer_is_forgotten(forked) -> None:
    status, said = forked(
        """
        try:
            import chainer
        except AttributeError:
            pass
        compat.install()
        import chainer
        chainer.functions.relu, chainer.utils.WalkerAlias
        """
    )
    assert status == 0, said


class TestEachItem:
    """Every item, and what goes wrong when it is taken away."""

    @needs_numpy_2
    def test_sctypes(self, holds) -> None:
        holds(
            """
            compat.install()
            import chainer, numpy
            view = chainer.functions.as_strided(numpy.arange(4, dtype="f"), (2, 2), (1, 1), 0)
            assert view.array.tolist() == [[0, 1], [1, 2]]
            """,
            "numpy.sctypes",
        )

    def test_float_for_resize_images(self, holds) -> None:
        holds(
            """
            compat.install()
            import chainer, numpy
            picture = numpy.arange(4, dtype="f").reshape(1, 1, 2, 2)
            resized = chainer.functions.resize_images(picture, (3, 3)).array
            assert resized.tolist() == [[[[0, .5, 1], [1, 1.5, 2], [2, 2.5, 3]]]], resized
            """,
            "numpy.float",
        )

    @pytest.mark.parametrize("missing", ["pkg_resources", "numpy.distutils"])
    def test_environment_check(self, holds, missing: str) -> None:
        holds(
            f"""
            sys.modules[{missing!r}] = None  # as with newer setuptools, and with newer Python and NumPy
            compat.install()
            import chainer
            """,
            "environment check",
        )

    def test_cudnn_is_off_where_cupy_has_none(self, holds, fake_cupy: Path) -> None:
        holds(
            """
            import warnings
            warnings.simplefilter("error")
            compat.install()
            import chainer
            assert chainer.backends.cuda.available
            chainer.backends.cuda.check_cuda_available()
            """,
            "cuDNN",
            path=fake_cupy,
        )

    def test_warnings_of_cupy(self, holds, fake_cupy: Path) -> None:
        holds(
            """
            import warnings
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                compat.install()
            assert not [each for each in caught if "could not be loaded" in str(each.message)]
            """,
            "CuPy's warnings",
            path=fake_cupy,
        )

    @needs_numpy_2
    def test_step_shift_sets_a_python_float(self, holds) -> None:
        holds(
            """
            compat.install()
            from chainer.optimizers import MomentumSGD
            from chainer.training.extensions import StepShift
            optimizer = MomentumSGD(lr=0.5)
            shift = StepShift("lr", 0.1, 2, optimizer=optimizer)
            shift.initialize(None)
            for _ in range(4):
                shift(None)
            assert abs(optimizer.lr - 0.5 * 0.1 ** 2) < 1e-17
            assert type(optimizer.lr) is float, type(optimizer.lr)
            """,
            "StepShift",
        )

    @needs_numpy_2
    def test_means_are_summed_in_double(self, holds) -> None:
        holds(
            """
            compat.install()
            import chainer, numpy
            values = numpy.random.RandomState(0).rand(1000).astype("f")
            arrays, scalars = chainer.reporter.Summary(), chainer.reporter.DictSummary()
            for value in values:
                arrays.add(numpy.array(value))
                scalars.add({"loss": value, "weighted": (value, numpy.float32(0.1))})
            mean, deviation = values.mean(dtype="d"), values.std(dtype="d")
            for summary in (arrays.compute_mean(), *scalars.compute_mean().values()):
                assert abs(summary - mean) < 1e-12, (summary, mean)
            assert abs(arrays.make_statistics()[1] - deviation) < 1e-9
            """,
            "Summary",
        )

    @needs_h5py_3
    def test_text_comes_back_from_hdf5(self, holds, tmp_path: Path) -> None:
        holds(
            f"""
            compat.install()
            import h5py
            from chainer.serializers import HDF5Deserializer, HDF5Serializer
            with h5py.File({str(tmp_path / "state.h5")!r}, "w") as file:
                file["log"] = '[{{"loss": "é"}}]'
                HDF5Serializer(file)("none", None)
                HDF5Serializer(file)("number", 7)
                read = HDF5Deserializer(file)
                assert read("none", "a") is None
                assert read("number", 0) == 7
                assert HDF5Deserializer(file, strict=False)("absent", "a") == "a"
                assert HDF5Deserializer(None, strict=False)("absent", "a") == "a"
                assert read("log", "") == '[{{"loss": "é"}}]', read("log", "")
            """,
            "text in HDF5",
        )

    def test_set_daemon_does_not_warn(self, holds) -> None:
        holds(
            """
            import warnings
            warnings.filterwarnings("error", module="chainer")
            compat.install()
            from chainer.iterators import MultiprocessIterator
            iterator = MultiprocessIterator([1, 2, 3], 1, shuffle=False, n_processes=1, shared_mem=1000)
            assert iterator.next() == [1]
            iterator.finalize()
            """,
            "Thread.setDaemon",
        )

    def test_testing_helpers_without_pkg_resources(self, holds) -> None:
        holds(
            """
            sys.modules["pkg_resources"] = None  # as with newer setuptools
            compat.install(testing=True)
            import chainer.testing, chainer.gradient_check
            from chainer.testing import with_requires, without_requires
            skipped = lambda decorate: getattr(decorate(type("Case", (), {})), "__unittest_skip__", False)
            assert not skipped(with_requires("numpy>=1.10", "nothing; python_version < '3'"))
            assert skipped(with_requires("numpy<1.10"))
            assert skipped(with_requires("no-such-package"))
            assert skipped(without_requires("numpy"))
            assert sys.modules.get("pkg_resources") is None
            """,
            "pkg_resources",
        )


@needs_numpy_2
class TestIntegersOutOfRange:
    """Modulo the type's size, as in NumPy 1 and in C; each place refuses them without its mend."""

    compat.install()
    pad = importlib.import_module("chainer.functions.array.pad_sequence").PadSequence
    convert = importlib.import_module("chainer.dataset.convert")
    math = importlib.import_module("chainer.functions.math.basic_math")

    @pytest.mark.parametrize(("dtype", "padding", "padded"), [("u1", -1, 255), ("u4", -1, 2**32 - 1), ("i1", 200, -56)])
    def test_padded_sequences(self, dtype: str, padding: int, padded: int) -> None:
        arrays = np.array([1, 2], dtype), np.array([3], dtype)
        assert self.pad(None, padding).apply(arrays)[0].array.tolist() == [[1, 2], [3, padded]]
        with pytest.raises(OverflowError):
            self.pad.forward.__wrapped__(self.pad(None, padding), arrays)

    @pytest.mark.parametrize("padding", [-1, -1.5, np.float32(0.1), 2**40])
    def test_other_padding_stays_as_it_is(self, padding: float) -> None:
        padded = self.pad(None, padding).apply((np.ones(2, "f"), np.ones(1, "f")))[0].array
        assert (padded[1, 1], padded.dtype) == (np.float32(padding), np.float32)

    @pytest.mark.filterwarnings("ignore:Passing more than 2 positional arguments:DeprecationWarning")
    def test_padded_batches(self) -> None:
        arrays = [np.array([1], "u2"), np.array([2, 3], "u2")]
        assert self.convert.concat_examples(arrays, padding=-1).tolist() == [[1, 65535], [2, 3]]
        with pytest.raises(OverflowError):
            self.convert._concat_arrays_with_padding.__wrapped__(arrays, -1)

    def test_constants(self) -> None:
        variable = importlib.import_module("chainer").Variable(np.array([1, 2], "u1"))
        assert (variable + -1).array.tolist() == [0, 1]
        assert (300 - variable).array.tolist() == [43, 42]
        assert (variable * -1).array.tolist() == [255, 254]
        assert (variable + -1).dtype == np.uint8
        with pytest.raises(OverflowError):
            self.math._preprocess_const.__wrapped__(variable.array, -1)


@needs_numpy_2
class TestCategorical:
    def test_log_prob(self) -> None:
        distributions = importlib.import_module("chainer.distributions")
        table = np.array([[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]])
        categorical = distributions.Categorical(table)
        drawn = np.array([[2, 0], [0, 2], [1, 1]])
        expected = np.log([[0.25, 0.125], [0.5, 0.75], [0.25, 0.125]])
        for x in (drawn, importlib.import_module("chainer").Variable(drawn)):
            np.testing.assert_allclose(categorical.log_prob(x).array, expected, rtol=1e-15)
        assert np.isclose(distributions.Categorical(table[0]).log_prob(np.array(1)).array, np.log(0.25))
        with pytest.raises(TypeError, match="concatenate"):
            distributions.Categorical.log_prob.__wrapped__(categorical, drawn)


@needs_numpy_2
def test_debug_print_says_where_an_array_is() -> None:
    Variable = importlib.import_module("chainer").Variable  # noqa: N806
    variable = Variable(np.zeros((2, 3), "f"), name="x\n- device: cpu\n")
    assert "\n- device: CPU\n- backend: <class 'numpy.ndarray'>\n- shape: (2, 3)\n" in variable.debug_print()
    assert "- device: cpu\n- backend" in Variable.debug_print.__wrapped__(variable)
    assert "\n- device: None\n" in Variable().debug_print()


def test_sparse_matrices_of_float16_are_multiplied() -> None:
    """The factors are whole numbers and the largest sum is 2051, which float16 has not: it is rounded once, to even."""
    compat.install()
    module = importlib.import_module("chainer.functions.math.sparse_matmul")
    left, right = np.array([[0, 2000, 51], [3, 0, 0]], "e"), np.array([[1, 2], [1, 0], [1, 4]], "e")
    to_coo = importlib.import_module("chainer.utils").to_coo
    for dtype in ("e", "f", "d"):
        x, y = to_coo(left, requires_grad=True), importlib.import_module("chainer").Variable(right.astype(dtype))
        product = module.sparse_matmul(x, y)
        assert (product.array.tolist(), product.dtype) == ([[2052 if dtype == "e" else 2051, 204], [3, 6]], dtype)
    batch = module.sparse_matmul(to_coo(left[None]), right[None]).array
    assert batch.tolist() == [[[2052, 204], [3, 6]]]
    if ITEMS["sparse_matmul"].needed():
        with pytest.raises(ValueError, match="float16"):
            module._coo_matmul_cpu.__wrapped__(left[0], np.zeros(3, "i"), np.arange(3), (1, 3), right, np.float16)


@pytest.mark.skipif(compat_caffe.NAME not in sys.modules, reason="protobuf does not need this mend")
class TestCaffe:
    def test_messages_are_those_of_the_generated_module(self) -> None:
        messages = importlib.import_module(compat_caffe.NAME)
        net = messages.NetParameter.FromString(b"\x0a\x03net\xa2\x06\x06\x0a\x01a\x12\x01b")  # name, layer (100)
        assert (net.name, net.layer[0].name, net.layer[0].type) == ("net", "a", "b")
        assert (messages.TRAIN, messages.Phase.Value("TEST")) == (0, 1)
        assert (messages.PoolingParameter.AVE, messages.V1LayerParameter.INNER_PRODUCT) == (1, 14)
        with pytest.raises(AttributeError, match="caffe_pb2' has no attribute 'Nothing'"):
            messages.Nothing  # noqa: B018 - the access is the test

    def test_the_generated_module_is_refused(self) -> None:
        spec = importlib.util.spec_from_file_location("generated", sys.modules[compat_caffe.NAME].__file__)
        assert spec is not None
        assert spec.loader is not None
        with pytest.raises(TypeError, match=r"Descriptors cannot be created directly|duplicate file name"):
            spec.loader.exec_module(importlib.util.module_from_spec(spec))

    def test_a_network_goes_out_and_comes_back(self, tmp_path: Path) -> None:
        chainer = importlib.import_module("chainer")
        weights, bias = np.array([[1, 2], [3, 4]], "f"), np.array([5, 6], "f")
        linear = chainer.links.Linear(2, 2, initialW=weights, initial_bias=bias)
        x = np.array([[1, -1], [0.5, 2]], "f")
        caffe = importlib.import_module("chainer.exporters.caffe")
        with chainer.using_config("train", False):
            caffe.export(chainer.Sequential(linear), [chainer.Variable(x)], str(tmp_path), export_params=True)
            function = importlib.import_module("chainer.links.caffe").CaffeFunction(
                str(tmp_path / "chainer_model.caffemodel")
            )
            (read,) = function(inputs={"data": x}, outputs=[function.layers[-1][0]])
        np.testing.assert_array_equal(read.array, [[4, 5], [9.5, 15.5]])

    def test_a_module_without_a_description_is_refused(self) -> None:
        with pytest.raises(LookupError, match="no serialized_pb"):
            compat_caffe.serialized_description("serialized_pb = 3\n  serialized_pb=_b(b'')")


@pytest.fixture
def fake_cupy(tmp_path: Path) -> Path:
    """A folder with a CuPy that Chainer takes for one. It has no cuDNN, and warns of a missing NCCL as CuPy does."""
    files = {
        "cupy/__init__.py": """
            from unittest import mock
            from cupy import cuda
            __version__ = "14.2.0"
            ndarray = type("ndarray", (), {})

            def __getattr__(name):
                if name.startswith("__") or name == "cudnn":
                    raise AttributeError(name)
                return mock.MagicMock()
            """,
        "cupy/_util.py": "class PerformanceWarning(Warning): pass",
        "cupy/cuda/__init__.py": "class Device: pass\nclass Event: pass\nclass Stream: pass\nclass cublas: pass",
        "cupy/cuda/nccl.py": r"""
            import warnings
            warnings.warn("\nnccl library could not be loaded.\n\nReason: ImportError (libnccl.so.2)")
            """,
        "cupyx/__init__.py": "",
        "cupyx/scipy/__init__.py": "",
        "cupyx/scipy/linalg.py": "",
        "cupyx/scipy/special.py": "",
    }
    for name, text in files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
    return tmp_path


class TestAnOldStack:
    """No gate opens where nothing is missing."""

    def test_names_that_numpy_has(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(np, "sctypes", {"int": []}, raising=False)
        monkeypatch.setattr(np, "float", float, raising=False)
        assert not ITEMS["numpy.sctypes"].needed()
        assert not ITEMS["numpy.float"].needed()

    def test_names_that_numpy_lacks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(np, "sctypes", raising=False)
        monkeypatch.delattr(np, "float", raising=False)
        assert ITEMS["numpy.sctypes"].needed()
        assert ITEMS["numpy.float"].needed()

    @pytest.mark.parametrize(("version", "needed"), [("1.26.4", False), ("2.0.0rc1", True), ("2.5.5", True)])
    def test_promotion(self, version: str, needed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(np, "__version__", version)
        assert ITEMS["StepShift"].needed() is needed
        assert ITEMS["Summary"].needed() is needed
        assert ITEMS["integers out of range"].needed() is needed
        assert ITEMS["Categorical"].needed() is needed
        assert ITEMS["debug_print"].needed() is needed

    @pytest.mark.parametrize(("version", "needed"), [("3.20.3", False), ("4.21.12", False), ("7.36.2", True)])
    def test_protobuf(self, version: str, needed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(sys.modules, compat_caffe.NAME, raising=False)
        monkeypatch.setattr(compat, "_installed", lambda module: True)
        monkeypatch.setattr(importlib.metadata, "version", {"protobuf": version}.__getitem__)
        assert ITEMS["Caffe's messages"].needed() is needed
        monkeypatch.setattr(compat, "_installed", lambda module: False)
        assert not ITEMS["Caffe's messages"].needed()

    def test_environment_check_that_works(self, monkeypatch: pytest.MonkeyPatch) -> None:
        without_chainer(monkeypatch)
        for name in ("numpy.distutils", "numpy.distutils.system_info", "pkg_resources"):
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        assert not ITEMS["environment check"].needed()
        monkeypatch.setitem(sys.modules, "pkg_resources", None)
        assert ITEMS["environment check"].needed()

    def test_environment_check_that_warns(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        without_chainer(monkeypatch)
        for name in ("numpy.distutils", "numpy.distutils.system_info"):
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        monkeypatch.delitem(sys.modules, "pkg_resources", raising=False)
        (tmp_path / "pkg_resources.py").write_text("import warnings; warnings.warn('deprecated', DeprecationWarning)")
        monkeypatch.syspath_prepend(tmp_path)
        assert not ITEMS["environment check"].needed()
        del sys.modules["pkg_resources"]

    def test_an_imported_chainer_needs_nothing_for_its_import(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "chainer", types.ModuleType("chainer"))
        monkeypatch.setitem(sys.modules, "pkg_resources", None)
        monkeypatch.setitem(sys.modules, "cupy", types.ModuleType("cupy"))
        assert not ITEMS["environment check"].needed()
        assert not ITEMS["cuDNN"].needed()
        assert not ITEMS["CuPy's warnings"].needed()

    def test_cudnn_that_works(self, monkeypatch: pytest.MonkeyPatch) -> None:
        without_chainer(monkeypatch)
        monkeypatch.delenv("CHAINER_CUDNN", raising=False)
        for name in ("cupy", "cupy.cuda", "cupy.cuda.cudnn", "cupy.cudnn"):
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        assert not ITEMS["cuDNN"].needed()
        monkeypatch.setitem(sys.modules, "cupy.cudnn", None)
        assert ITEMS["cuDNN"].needed()

    @pytest.mark.parametrize("choice", ["0", "1"])
    def test_cudnn_that_the_user_chose(self, choice: str, monkeypatch: pytest.MonkeyPatch) -> None:
        without_chainer(monkeypatch)
        monkeypatch.setenv("CHAINER_CUDNN", choice)
        monkeypatch.setitem(sys.modules, "cupy", types.ModuleType("cupy"))
        assert not ITEMS["cuDNN"].needed()

    def test_no_cupy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        without_chainer(monkeypatch)
        monkeypatch.delenv("CHAINER_CUDNN", raising=False)
        monkeypatch.setitem(sys.modules, "cupy", None)
        assert not ITEMS["cuDNN"].needed()

    def test_a_cupy_that_cannot_be_imported(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        without_chainer(monkeypatch)
        monkeypatch.delenv("CHAINER_CUDNN", raising=False)
        monkeypatch.delitem(sys.modules, "cupy", raising=False)
        (tmp_path / "cupy.py").write_text("raise OSError('libcuda.so.1: cannot open shared object file')")
        monkeypatch.syspath_prepend(tmp_path)
        assert not ITEMS["cuDNN"].needed()

    @pytest.mark.parametrize(("version", "needed"), [("2.10.0", False), ("3.0.0", True), ("3.16.0", True)])
    def test_h5py(self, version: str, needed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "h5py", types.ModuleType("h5py"))
        monkeypatch.setattr(importlib.metadata, "version", {"h5py": version}.__getitem__)
        assert ITEMS["text in HDF5"].needed() is needed

    def test_no_h5py(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        assert not ITEMS["text in HDF5"].needed()

    def test_set_daemon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(sys, "version_info", (3, 9, 18, "final", 0))
            needed = ITEMS["Thread.setDaemon"].needed()
        assert not needed
        assert ITEMS["Thread.setDaemon"].needed()

    def test_pkg_resources(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(sys.modules, "chainer.testing", raising=False)
        monkeypatch.setitem(sys.modules, "pkg_resources", types.ModuleType("pkg_resources"))
        assert not ITEMS["pkg_resources"].needed()
        monkeypatch.setitem(sys.modules, "pkg_resources", None)
        assert ITEMS["pkg_resources"].needed()

    def test_nothing_is_applied(self, monkeypatch: pytest.MonkeyPatch) -> None:
        compat.install()
        summary = importlib.import_module("chainer.reporter").Summary.add
        monkeypatch.setattr(compat, "_applied", {})
        monkeypatch.setattr(np, "__version__", "1.26.4")
        monkeypatch.setattr(np, "sctypes", {"int": []}, raising=False)
        monkeypatch.setattr(np, "float", float, raising=False)
        monkeypatch.setitem(sys.modules, "scipy.sparse", None)
        monkeypatch.setattr(importlib.metadata, "version", {"h5py": "2.10.0"}.__getitem__)
        monkeypatch.setitem(sys.modules, "pkg_resources", types.ModuleType("pkg_resources"))
        with monkeypatch.context() as patched:
            patched.setattr(sys, "version_info", (3, 9, 18, "final", 0))
            applied = compat.install(testing=True)
        assert applied == ()
        assert importlib.import_module("chainer.reporter").Summary.add is summary


def without_chainer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the gates believe that Chainer is not imported yet."""
    monkeypatch.delitem(sys.modules, "chainer", raising=False)


class TestInstall:
    def test_a_second_call_changes_nothing(self) -> None:
        first = compat.install()
        extensions = importlib.import_module("chainer.training.extensions")
        shift = extensions.StepShift._update_value
        assert compat.install() == first == compat.applied()
        assert extensions.StepShift._update_value is shift

    def test_every_mend_is_listed_once_with_a_place_in_chainer(self) -> None:
        applied = compat.install()
        assert "numpy.float" in [mend.name for mend in applied]
        assert len({mend.name for mend in applied}) == len(applied)
        folder = Path(importlib.import_module("chainer").__path__[0])
        for item in ITEMS.values():
            assert item.reason
            for place in re.findall(r"([\w/]+\.py):([\d\-, ]+)", item.where):
                lines = (folder / place[0]).read_text().splitlines()
                assert all(int(number) <= len(lines) for number in re.findall(r"\d+", place[1]))

    def test_it_can_be_tried_again(self, forked) -> None:
        status, said = forked(
            """
            sys.modules["pkg_resources"] = sys.modules["six"] = None
            try:
                compat.install()
            except ImportError:
                del sys.modules["six"]
            else:
                raise AssertionError("Chainer does without six")
            compat.install()
            """
        )
        assert status == 0, said

    def test_threads_do_not_apply_an_item_twice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls, start = [], threading.Barrier(4)

        def apply() -> None:
            calls.append(threading.get_ident())
            time.sleep(0.05)

        def call() -> None:
            start.wait()
            compat.install()

        monkeypatch.setattr(compat, "_applied", dict(compat._applied))
        monkeypatch.setattr(compat, "AFTER_IMPORT", (compat.Item("slow", "", "", lambda: True, apply),))
        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(calls) == 1

    def test_threads_share_one_installation(self, forked) -> None:
        status, said = forked(
            """
            import threading
            counts, start = [], threading.Barrier(8)
            def call():
                start.wait()
                counts.append(compat.install())
            threads = [threading.Thread(target=call) for _ in range(8)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            assert len(counts) == 8 and len(set(counts)) == 1, counts
            import chainer
            assert not hasattr(getattr(chainer.Summary.add, "__wrapped__", None), "__wrapped__")
            """
        )
        assert status == 0, said

    def test_an_item_that_fails_is_logged_and_left_out(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail() -> None:
            raise RuntimeError("no such method")

        broken = compat.Item("broken", "", "", needed=lambda: True, apply=fail)
        undecided = compat.Item("undecided", "", "", needed=fail, apply=lambda: None)  # type: ignore[arg-type]
        monkeypatch.setattr(compat, "AFTER_IMPORT", (broken, undecided))
        assert {"broken", "undecided"}.isdisjoint(mend.name for mend in compat.install())
        assert [record.args for record in caplog.records] == [("broken",), ("undecided",)]

    def test_a_missing_chainer_is_an_import_error_of_that_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "chainer", None)
        with pytest.raises(ImportError, match="Chainer is not installed") as caught:
            compat.install()
        assert caught.value.name == "chainer"

    def test_a_chainer_that_cannot_be_imported_says_why(self, forked, tmp_path: Path) -> None:
        (tmp_path / "chainer.py").write_text("import no_such_module_at_all")
        status, said = forked("compat.install()", path=tmp_path)
        assert status != 0
        assert "ImportError: Chainer cannot be imported: ModuleNotFoundError: No module named 'no_such_" in said

    def test_filters_of_the_import_do_not_outlive_it(self, forked) -> None:
        status, said = forked(
            """
            import warnings
            before = list(warnings.filters)
            compat.install()
            assert not [each for each in warnings.filters if each not in before and "setDaemon" not in str(each[1])]
            """
        )
        assert status == 0, said


def run_script(*arguments, folder):
    command = [sys.executable, "-m", "deeppose_port.backends.chainer.compat", *arguments]
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_an_old_script_runs_as_it_is(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "beside.py").write_text("SIZE = 3\n")
    (tmp_path / "old" / "train.py").write_text(
        "import sys\nimport chainer\nimport chainer.links as L\nimport numpy as np\nimport beside\n"
        "if __name__ == '__main__':\n"
        "    print(chainer.__version__, sys.argv[1:], L.Linear(beside.SIZE, 2)(np.ones((4, 3), 'f')).shape)\n"
    )
    done = run_script("old/train.py", "--gpu", "-1", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "7.8.1 ['--gpu', '-1'] (4, 2)\n"), done.stderr


def test_a_script_that_is_not_there_is_told(tmp_path):
    done = run_script("nothing.py", folder=tmp_path)
    assert (done.returncode, done.stderr) == (1, "nothing.py: there is no such script\n")
