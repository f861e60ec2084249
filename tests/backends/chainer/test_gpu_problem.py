"""Why Chainer cannot use a GPU, told on machines that have none."""

import importlib
import importlib.metadata
import importlib.util
from types import SimpleNamespace
from typing import Any

import pytest

from deeppose_port.backends import BackendError
from deeppose_port.backends.devices import Driver

if importlib.util.find_spec("chainer") is None:
    pytest.skip("Chainer is not installed", allow_module_level=True)

from deeppose_port.backends.chainer import compat, probe

CUDA_12 = Driver("550.54.15", (12, 4), ("NVIDIA A100",))
CUDA_13 = Driver("580.65.06", (13, 0), ("NVIDIA A100",))


class Runtime:
    """CuPy's CUDA runtime, with so many GPUs, or an error instead."""

    def __init__(self, count: int | Exception) -> None:
        self.count = count

    def getDeviceCount(self) -> int:  # noqa: N802
        if isinstance(self.count, Exception):
            raise self.count
        return self.count


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets up Chainer's view of CuPy, the distributions that bring it, and the driver."""
    compat.install()
    cuda = importlib.import_module("chainer.backends.cuda")

    def set_up(
        *,
        driver: Driver | None = CUDA_12,
        distributions: dict[str, str] | None = None,
        error: Exception | None = None,
        gpus: int | Exception = 1,
    ) -> None:
        monkeypatch.setattr("deeppose_port.backends.installed.cupy_distributions", lambda: distributions or {})
        monkeypatch.setattr(probe, "nvidia_driver", lambda: driver)
        monkeypatch.setattr(cuda, "available", error is None)
        monkeypatch.setattr(cuda, "_resolution_error", error, raising=False)
        monkeypatch.setattr(cuda, "cupy", SimpleNamespace(cuda=SimpleNamespace(runtime=Runtime(gpus))))

    return set_up


def test_the_cpu_has_no_problem() -> None:
    assert probe.gpu_problem("cpu") is None


def test_a_name_that_is_no_device() -> None:
    with pytest.raises(BackendError, match="'gpu' is no device"):
        probe.gpu_problem("gpu")


@pytest.mark.parametrize(
    ("driver", "package"),
    [(CUDA_12, "deeppose-port[cuda12]"), (CUDA_13, "cupy-cuda13x[ctk]"), (None, "deeppose-port[cuda12]")],
)
def test_no_cupy_is_mended_by_the_one_for_the_driver(machine: Any, driver: Driver | None, package: str) -> None:
    machine(driver=driver, error=ModuleNotFoundError("No module named 'cupy'", name="cupy"))
    problem = probe.gpu_problem("cuda")
    assert problem is not None
    assert problem.reason == "CuPy is not installed"
    assert problem.remedy.startswith("pip install '" + package)


def test_the_error_inside_cupys_banner_is_told(machine: Any) -> None:
    banner = ImportError("=====\nFailed to import CuPy.\n=====")
    banner.__cause__ = ImportError("libcublas.so.12: cannot open\nshared object file")
    machine(distributions={"cupy-cuda12x": "13.6.0"}, error=banner)
    assert str(probe.gpu_problem("cuda:0")) == (
        "CuPy cannot be imported: ImportError: libcublas.so.12: cannot open shared object file; "
        "pip install 'cupy-cuda12x[ctk]>=14,<15'"
    )


def test_a_cupy_built_here_is_replaced(machine: Any) -> None:
    machine(distributions={"cupy": "13.6.0"}, error=ImportError("libcublas.so.11"))
    problem = probe.gpu_problem("cuda:0")
    assert problem is not None
    assert problem.remedy == "pip uninstall -y cupy && pip install 'deeppose-port[cuda12]'"


def test_an_error_that_versions_explain_has_their_remedy(machine: Any) -> None:
    machine(distributions={"cupy-cuda13x": "14.2.0"}, error=ImportError("libnvrtc.so.13: no such file"))
    problem = probe.gpu_problem("cuda:0")
    assert problem is not None
    assert "libnvrtc.so.13" in problem.reason
    assert "cupy-cuda13x is for drivers of CUDA 13; this one has CUDA 12" in problem.reason
    assert problem.remedy == "pip uninstall -y cupy-cuda13x && pip install 'deeppose-port[cuda12]'"


def test_no_driver(machine: Any) -> None:
    machine(driver=None, distributions={"cupy-cuda12x": "14.2.0"}, gpus=RuntimeError("cudaErrorInsufficientDriver"))
    problem = probe.gpu_problem("cuda")
    assert problem is not None
    assert problem.reason == "there is no NVIDIA driver"
    assert "nvidia.com/drivers" in problem.remedy


def test_a_driver_that_cuda_refuses(machine: Any) -> None:
    machine(gpus=RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected"))
    problem = probe.gpu_problem("cuda")
    assert problem is not None
    assert problem.reason == "RuntimeError: cudaErrorNoDevice: no CUDA-capable device is detected"


def test_a_gpu_that_is_not_there(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_compute", lambda cupy, index: None)
    machine(gpus=2)
    assert probe.gpu_problem("cuda:0,cuda:1") is None
    assert str(probe.gpu_problem("cuda:0,cuda:2")) == "CuPy sees no cuda:2; the GPUs are: cuda:0, cuda:1"


def test_a_gpu_that_cannot_compute(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def compute(cupy: Any, index: int) -> None:
        if index == 1:
            raise RuntimeError("nvrtc: error: invalid value for --gpu-architecture")

    monkeypatch.setattr(probe, "_compute", compute)
    machine(gpus=2, distributions={"cupy-cuda12x": "14.2.0"})
    assert probe.gpu_problem("cuda:0") is None
    problem = probe.gpu_problem("cuda:0,cuda:1")
    assert problem is not None
    assert problem.reason.startswith("a trial on cuda:1 failed: RuntimeError: nvrtc")


@pytest.mark.gpu
def test_a_gpu_that_computes() -> None:
    found = probe.examine("cuda")
    if not found.devices:
        pytest.skip(f"Chainer has no GPU here: {found.problem}")
    assert found.problem is None


def test_the_probe_tells_mends_and_whose_cuda_it_is() -> None:
    found = probe.examine("cpu")
    assert (found.problem, found.library) == (None, "CuPy")
    assert "numpy.float" in [mend["name"] for mend in found.mends]
