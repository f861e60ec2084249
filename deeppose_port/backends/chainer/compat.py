"""What Chainer 7.8.1 needs to run on today's Python, NumPy, h5py and CuPy.

    from deeppose_port.backends.chainer import compat
    compat.install()
    import chainer

Chainer's last release is of January 2022. Each item here mends one place where it and a newer package disagree; it
looks for the disagreement first and leaves everything as it is where there is none. Nothing here is about DeepPose:
any Chainer program may call `install`, or be run by it as it is:

    python -m deeppose_port.backends.chainer.compat train_mnist.py --gpu -1
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import logging
import os
import runpy
import sys
import threading
import types
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from packaging.requirements import Requirement
from packaging.version import Version

from converters.values import dataclass
from deeppose_port.backends.chainer import compat_caffe

if TYPE_CHECKING:
    import chainer
    import numpy.typing as npt

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Applied:
    """A mend that was made.

    Attributes:
        name: What was mended.
        reason: Why Chainer needs it.
        where: The place in Chainer 7.8.1 that does.
    """

    name: str
    reason: str
    where: str


@dataclass(frozen=True)
class Item:
    """A mend and when it is due.

    Attributes:
        name: What it mends.
        reason: Why Chainer needs it.
        where: The place in Chainer 7.8.1 that does.
        needed: Whether Chainer and what is installed disagree here.
        apply: Makes the mend.
    """

    name: str
    reason: str
    where: str
    needed: Callable[[], bool]
    apply: Callable[[], None]


_lock = threading.RLock()
_applied: dict[str, Applied] = {}


def install(*, testing: bool = False) -> tuple[Applied, ...]:
    """Imports Chainer, mended so that it runs on what is installed.

    It takes the place of the first `import chainer`. It may be called again, and from any thread.

    Args:
        testing: Imports `chainer.testing` and `chainer.gradient_check` as well, which need a `pkg_resources`.

    Returns:
        Every mend made up to now, in the order in which they were made.

    Raises:
        ImportError: Chainer is not installed, or cannot be imported all the same. Its name is `chainer`.
    """
    with _lock:
        with warnings.catch_warnings():
            _forget_failed_import()
            _apply(BEFORE_IMPORT)
            _import_chainer()
        _apply(AFTER_IMPORT)
        if testing:
            _apply(FOR_TESTING)
        return applied()


def applied() -> tuple[Applied, ...]:
    """Returns the mends made up to now, in the order in which they were made."""
    return tuple(_applied.values())


def _apply(items: tuple[Item, ...]) -> None:
    """Makes the mends that are due and not yet made; one that cannot be made is logged, and Chainer tried without."""
    for item in items:
        if item.name in _applied:
            continue
        try:
            if not item.needed():
                continue
            item.apply()
        except Exception:
            _logger.warning("Chainer could not be mended for %s", item.name, exc_info=True)
        else:
            _applied[item.name] = Applied(item.name, item.reason, item.where)


def _import_chainer() -> None:
    try:
        importlib.import_module("chainer")
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "chainer":
            message = "Chainer is not installed"
        else:
            message = f"Chainer cannot be imported: {type(error).__name__}: {error}"
        raise ImportError(message, name="chainer") from error


def _forget_failed_import() -> None:
    """Drops what a failed `import chainer` left behind: imported again, Chainer would trip over it."""
    if "chainer" in sys.modules:
        return
    for name in list(sys.modules):
        if name.split(".")[0] in ("chainer", "chainerx") and name != _ENVIRONMENT_CHECK:
            del sys.modules[name]


def _before_import() -> bool:
    return "chainer" not in sys.modules


def _installed(module: str) -> bool:
    """Tells whether a top-level module is there, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # ValueError: it is loaded and has no spec
        return module in sys.modules


def _importable(*modules: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for module in modules:
                importlib.import_module(module)
    except Exception:  # CuPy may raise anything, OSError of a missing library among it
        return False
    return True


def _set_sctypes() -> None:
    np.sctypes = {  # type: ignore[attr-defined]
        "int": [np.int8, np.int16, np.int32, np.int64],
        "uint": [np.uint8, np.uint16, np.uint32, np.uint64],
        "float": [np.float16, np.float32, np.float64, np.longdouble],
        "complex": [np.complex64, np.complex128, np.clongdouble],
        "others": [bool, object, bytes, str, np.void],
    }


def _set_float() -> None:
    np.float = float  # type: ignore[attr-defined]


_ENVIRONMENT_CHECK = "chainer._environment_check"


def _environment_check_fails() -> bool:
    return _before_import() and not _importable("numpy.distutils.system_info", "pkg_resources")


def _skip_environment_check() -> None:
    stub = types.ModuleType(_ENVIRONMENT_CHECK, "Stands in for a check of Python 3.5.0, Accelerate and CuPy 7.")
    stub.check = lambda: None  # type: ignore[attr-defined]
    sys.modules[_ENVIRONMENT_CHECK] = stub


def _cudnn_missing() -> bool:
    if not _before_import() or "CHAINER_CUDNN" in os.environ:
        return False
    # The two that Chainer imports: CuPy 13 fails at the second, CuPy 14 has neither.
    return _importable("cupy") and not _importable("cupy.cuda.cudnn", "cupy.cudnn")


def _disable_cudnn() -> None:
    os.environ["CHAINER_CUDNN"] = "0"


def _silence_cupy() -> None:
    """Lasts for the import of Chainer, which `install` surrounds with `warnings.catch_warnings`."""
    warnings.filterwarnings("ignore", r"\s*(cudnn|nccl) library could not be loaded", UserWarning)


def _promotion_by_dtype() -> bool:
    """Tells whether NumPy promotes by NEP 50, where a NumPy scalar counts like an array."""
    return Version(np.__version__).major >= 2


def _keep_step_shift_float() -> None:
    StepShift = importlib.import_module("chainer.training.extensions").StepShift  # noqa: N806
    original = StepShift._update_value

    @functools.wraps(original)
    def _update_value(self: chainer.training.extensions.StepShift, optimizer: object, value: object) -> None:
        original(self, optimizer, value.item() if isinstance(value, np.generic) else value)

    StepShift._update_value = _update_value


def _sum_in_double() -> None:
    Summary = importlib.import_module("chainer.reporter").Summary  # noqa: N806
    original = Summary.add

    @functools.wraps(original)
    def add(self: chainer.reporter.Summary, value: object, weight: object = 1) -> None:
        original(self, _double(value), _double(weight))

    Summary.add = add


def _double(value: object) -> object:
    """Returns a NumPy float of less than 64 bits as float64, anything else as it is."""
    if isinstance(value, (np.generic, np.ndarray)) and value.dtype in (np.float16, np.float32):
        return value.astype(np.float64)
    return value


def _wrap_integers() -> None:
    """Takes a whole number that an integer type cannot hold modulo the type's size, in the places that meet one."""
    PadSequence = importlib.import_module("chainer.functions.array.pad_sequence").PadSequence  # noqa: N806
    forward = PadSequence.forward

    @functools.wraps(forward)
    def forward_wrapped(self: chainer.FunctionNode, arrays: tuple[npt.NDArray[np.generic], ...]) -> object:
        self.padding = _in_range(self.padding, arrays[0].dtype)
        return forward(self, arrays)

    PadSequence.forward = forward_wrapped

    convert = importlib.import_module("chainer.dataset.convert")
    concatenate = convert._concat_arrays_with_padding

    @functools.wraps(concatenate)
    def concatenate_wrapped(arrays: Sequence[npt.NDArray[np.generic]], padding: object) -> object:
        return concatenate(arrays, _in_range(padding, arrays[0].dtype))

    convert._concat_arrays_with_padding = concatenate_wrapped  # type: ignore[attr-defined]

    basic_math = importlib.import_module("chainer.functions.math.basic_math")
    constant = basic_math._preprocess_const

    @functools.wraps(constant)
    def constant_wrapped(array: npt.NDArray[np.generic], value: object) -> object:
        return constant(array, _in_range(value, array.dtype))

    basic_math._preprocess_const = constant_wrapped  # type: ignore[attr-defined]


def _in_range(value: object, dtype: np.dtype[np.generic]) -> object:
    """Returns a Python integer as a number of an integer type, modulo its size; anything else as it is."""
    if isinstance(value, int) and dtype.kind in "iu":
        return np.array(value).astype(dtype)[()]
    return value


def _index_by_list() -> None:
    Categorical = importlib.import_module("chainer.distributions").Categorical  # noqa: N806

    @functools.wraps(Categorical.log_prob)
    def log_prob(self: chainer.distributions.Categorical, x: chainer.Variable | npt.NDArray[np.generic]) -> object:
        places = np.meshgrid(*map(range, self.batch_shape), indexing="ij")
        chosen = getattr(x, "array", x)  # of a Variable
        return self.log_p[[*places, chosen.astype(np.int32)]]

    Categorical.log_prob = log_prob


def _name_the_device() -> None:
    Variable = importlib.import_module("chainer").Variable  # noqa: N806
    original = Variable.debug_print

    @functools.wraps(original)
    def debug_print(self: chainer.Variable) -> str:
        text: str = original(self)
        return text.replace("\n- device: cpu\n- backend: ", "\n- device: CPU\n- backend: ", 1)

    Variable.debug_print = debug_print


def _half_refused() -> bool:
    """Tells whether SciPy refuses sparse matrices of float16; Chainer has imported it, where it is there."""
    sparse = sys.modules.get("scipy.sparse")
    if sparse is None:
        return False
    try:
        sparse.coo_matrix((np.ones(1, np.float16), ([0], [0])))
    except ValueError:
        return True
    return False


def _multiply_half_in_single() -> None:
    sparse_matmul = importlib.import_module("chainer.functions.math.sparse_matmul")
    original = sparse_matmul._coo_matmul_cpu

    @functools.wraps(original)
    def _coo_matmul_cpu(data: npt.NDArray[np.generic], *others: object) -> object:
        # SciPy computed so too while it took float16; the product is rounded to the type that is asked for after it.
        return original(data.astype(np.float32) if data.dtype == np.float16 else data, *others)

    sparse_matmul._coo_matmul_cpu = _coo_matmul_cpu  # type: ignore[attr-defined]


def _old_messages_refused() -> bool:
    if compat_caffe.NAME in sys.modules or not _installed("google.protobuf"):
        return False
    # 4.21 refuses the generated code too, but does not build messages from a description yet.
    return Version(importlib.metadata.version("protobuf")) >= Version("4.22")


def _replace_messages() -> None:
    sys.modules[compat_caffe.NAME] = compat_caffe.Messages()


def _hdf5_reads_bytes() -> bool:
    return _installed("h5py") and Version(importlib.metadata.version("h5py")).major >= 3


def _read_hdf5_text() -> None:
    h5py = importlib.import_module("h5py")
    HDF5Deserializer = importlib.import_module("chainer.serializers").HDF5Deserializer  # noqa: N806
    original = HDF5Deserializer.__call__

    @functools.wraps(original)
    def __call__(self: chainer.serializers.HDF5Deserializer, key: str, value: object) -> object:  # noqa: N807
        if isinstance(value, str) and self.group is not None and key in self.group:
            dataset = self.group[key]
            if h5py.check_string_dtype(dataset.dtype) is not None:
                return dataset.asstr()[()]
        return original(self, key, value)

    HDF5Deserializer.__call__ = __call__


def _set_daemon_warns() -> bool:
    return sys.version_info >= (3, 10)


def _silence_set_daemon() -> None:
    warnings.filterwarnings(
        "ignore", r"setDaemon\(\) is deprecated", DeprecationWarning, r"chainer\.iterators\.multiprocess_iterator"
    )


class ResolutionError(Exception):
    """A requirement is not met; stands in for the class of that name in pkg_resources."""


class WorkingSet:
    """What is installed; stands in for the class of that name in pkg_resources."""

    def require(self, *requirements: str) -> None:
        """Checks requirements such as `numpy>=1.10`.

        Raises:
            ResolutionError: One is not met.
        """
        for text in requirements:
            requirement = Requirement(text)
            if requirement.marker is not None and not requirement.marker.evaluate():
                continue
            try:
                version = importlib.metadata.version(requirement.name)
            except importlib.metadata.PackageNotFoundError as error:
                raise ResolutionError(f"{requirement.name} is not installed") from error
            if not requirement.specifier.contains(version, prereleases=True):
                raise ResolutionError(f"{requirement.name} {version} is installed, which is not {text}")


def _pkg_resources_missing() -> bool:
    return "chainer.testing" not in sys.modules and not _importable("pkg_resources")


def _import_testing() -> None:
    """Imports Chainer's testing modules over a pkg_resources that no one else gets to see."""
    stub = types.ModuleType("pkg_resources")
    stub.WorkingSet = WorkingSet  # type: ignore[attr-defined]
    stub.ResolutionError = ResolutionError  # type: ignore[attr-defined]
    sys.modules["pkg_resources"] = stub
    try:
        for name in ("chainer.testing", "chainer.testing.doctest_helper", "chainer.gradient_check"):
            importlib.import_module(name)
    finally:
        del sys.modules["pkg_resources"]


BEFORE_IMPORT: tuple[Item, ...] = (
    Item(
        "numpy.sctypes",
        "NumPy 2.0 removed it, and Chainer reads it while it is imported",
        "functions/array/as_strided.py:10, 252",
        needed=lambda: not hasattr(np, "sctypes"),
        apply=_set_sctypes,
    ),
    Item(
        "numpy.float",
        "NumPy 1.24 removed it, and resize_images computes in it",
        "functions/array/resize_images.py:179-196",
        needed=lambda: not hasattr(np, "float"),
        apply=_set_float,
    ),
    Item(
        "environment check",
        "it imports numpy.distutils and pkg_resources, which newer Python, NumPy and setuptools do not have",
        "_environment_check.py:6-7",
        needed=_environment_check_fails,
        apply=_skip_environment_check,
    ),
    Item(
        "cuDNN",
        "CuPy 14 has no cuDNN, and CuPy 13 none without libcudnn.so.8: CHAINER_CUDNN=0 says that this is known",
        "backends/cuda.py:124-138, 152",
        needed=_cudnn_missing,
        apply=_disable_cudnn,
    ),
    Item(
        "CuPy's warnings",
        "CuPy warns at its import of a missing cuDNN or NCCL, which Chainer does without",
        "backends/cuda.py:55, training/updaters/multiprocess_parallel_updater.py:15",
        needed=lambda: _before_import() and _installed("cupy"),
        apply=_silence_cupy,
    ),
)

AFTER_IMPORT: tuple[Item, ...] = (
    Item(
        "StepShift",
        "it sets a numpy.float64, with which NumPy 2 computes every update in float64 temporaries",
        "training/extensions/step_shift.py:63",
        needed=_promotion_by_dtype,
        apply=_keep_step_shift_float,
    ),
    Item(
        "Summary",
        "NumPy 2 sums float32 observations in float32, NumPy 1 in float64: reported means would change",
        "reporter.py:298-306",
        needed=_promotion_by_dtype,
        apply=_sum_in_double,
    ),
    Item(
        "integers out of range",
        "NumPy 2 refuses -1 in an unsigned type, NumPy 1 wraps it: padding, and constants added to integers",
        "functions/array/pad_sequence.py:55, dataset/convert.py:327, functions/math/basic_math.py:39",
        needed=_promotion_by_dtype,
        apply=_wrap_integers,
    ),
    Item(
        "Categorical",
        "numpy.meshgrid gives a tuple since NumPy 2, to which log_prob adds a list; KL divergences call it",
        "distributions/categorical.py:70-76",
        needed=_promotion_by_dtype,
        apply=_index_by_list,
    ),
    Item(
        "debug_print",
        "arrays of NumPy 2 have a device, which is called cpu: what is printed was CPU",
        "variable.py:820",
        needed=_promotion_by_dtype,
        apply=_name_the_device,
    ),
    Item(
        "sparse_matmul",
        "newer SciPy refuses sparse matrices of float16, which it had multiplied in float32",
        "functions/math/sparse_matmul.py:68, 75",
        needed=_half_refused,
        apply=_multiply_half_in_single,
    ),
    Item(
        "Caffe's messages",
        "protobuf 4 refuses code generated in 2016: CaffeFunction and exporters.caffe could not be imported",
        "links/caffe/protobuf3/caffe_pb2.py:19",
        needed=_old_messages_refused,
        apply=_replace_messages,
    ),
    Item(
        "text in HDF5",
        "h5py 3 reads text as bytes, so that it comes back as \"b'...'\"",
        "serializers/hdf5.py:166",
        needed=_hdf5_reads_bytes,
        apply=_read_hdf5_text,
    ),
    Item(
        "Thread.setDaemon",
        "Python 3.10 deprecated it, and MultiprocessIterator calls it",
        "iterators/multiprocess_iterator.py:475",
        needed=_set_daemon_warns,
        apply=_silence_set_daemon,
    ),
)

FOR_TESTING: tuple[Item, ...] = (
    Item(
        "pkg_resources",
        "setuptools 82 removed it, and Chainer's testing helpers import it",
        "testing/helper.py:6, testing/doctest_helper.py:3",
        needed=_pkg_resources_missing,
        apply=_import_testing,
    ),
)


def run(arguments: list[str]) -> None:
    """Runs a script as `python SCRIPT ARGUMENT…` does, after `install`.

    Args:
        arguments: The script's path, and what it is given.
    """
    install()
    sys.argv = arguments
    sys.path[0] = str(Path(arguments[0]).resolve().parent)
    runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit("usage: python -m deeppose_port.backends.chainer.compat SCRIPT [ARGUMENT]…")
    if not Path(sys.argv[1]).is_file():
        sys.exit(f"{sys.argv[1]}: there is no such script")
    run(sys.argv[1:])
