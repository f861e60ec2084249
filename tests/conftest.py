"""Where the tests find their golden data, and which of them start whole processes."""

import gc
import importlib.util
import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from converters import CheckpointError
from deeppose_port.backends import BackendError

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = Path(__file__).parent / "golden"
SHARED_GOLDEN = ROOT.parent / "shared" / "golden"
PICTURES = ROOT / "examples" / "pictures"
END_TO_END = Path(__file__).parent / "end_to_end"

# Tables are as wide as they like, whatever the tests are started from: readline, which pytest loads, sets the size of a
# terminal behind Python's back, for processes that are started too.
for _name in ("COLUMNS", "LINES"):
    os.environ.pop(_name, None)
    os.unsetenv(_name)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """Spares the collector of garbage what is collected here: it stays to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)  # before the marks are asked for
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests of one folder into the tier of its name."""
    for item in items:
        if END_TO_END in item.path.parents:
            item.add_marker(pytest.mark.end_to_end)


if importlib.util.find_spec("torch") is None:

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call() -> Iterator[None]:
        """Skips what turns out to need PyTorch: a format or an engine among several that a test goes through."""
        try:
            return (yield)
        except (CheckpointError, BackendError, ModuleNotFoundError) as error:
            if getattr(error, "name", "") == "torch" or re.search(r"PyTorch|No module named 'torch'", str(error)):
                pytest.skip("PyTorch is not installed")
            raise


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard() -> None:
    """Has Ctrl-C heard, which is ignored where the tests run in the background, and after an end of the program."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _the_free_pictures_are_decoded_once() -> Iterator[None]:
    """Keeps what OpenCV makes of them: most tests with persons decode all three, which takes longer than a network."""
    import cv2

    decode, sizes = cv2.imdecode, {path.stat().st_size for path in PICTURES.glob("*.png")}
    kept = {}

    def decoded(data, flags):
        if data.size not in sizes:
            return decode(data, flags)
        key = data.tobytes(), flags
        if key not in kept:
            kept[key] = decode(data, flags)
        return None if kept[key] is None else kept[key].copy()  # None: a picture of that size that is damaged

    with mock.patch.object(cv2, "imdecode", decoded):
        yield


@pytest.fixture(scope="session")
def golden() -> Path:
    """The golden data that come with the project."""
    return GOLDEN


@pytest.fixture(scope="session")
def pictures() -> Path:
    """The three free pictures and free.csv, 13 persons of 7 joints on them."""
    return PICTURES


@pytest.fixture(scope="session")
def shared_golden() -> Path:
    """The golden data that cannot be copied into the project (other people's pictures and predictions)."""
    if not SHARED_GOLDEN.is_dir():
        pytest.skip(f"{SHARED_GOLDEN} is not here: it holds other people's pictures and predictions")
    return SHARED_GOLDEN


@pytest.fixture
def picture(pictures):
    """A picture that is no square: the astronaut's upper part, as OpenCV reads it."""
    import cv2
    import numpy as np

    return np.ascontiguousarray(cv2.imread(str(pictures / "astronaut.png"))[:400, 20:500])
