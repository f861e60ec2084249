"""What the doctor says of machines that are not this one, by feigned distributions, engines and drivers."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet

from deeppose_port.backends import BackendError, devices, installed
from deeppose_port.backends.devices import Driver
from deeppose_port.backends.installed import Problem
from deeppose_port.backends.protocol import Probe
from deeppose_port.inspecting import doctor

A100 = "NVIDIA A100"
CUDA_12 = Driver("550.54.15", (12, 4), (A100,))
CUDA_13 = Driver("580.65.06", (13, 0), (A100,))

Machine = Callable[..., None]


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Feigns an installed distribution, in front of the true ones."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(name: str, version: str, *requirements: str) -> None:
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {requirement}" for requirement in requirements]
        (folder / "METADATA").write_text("\n".join(lines) + "\n")

    return install


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Sets up a machine: versions of distributions, the driver, and what the engines' probes answer."""

    def set_up(
        versions: dict[str, str],
        *,
        driver: Driver | None = None,
        torch: Any = None,
        cupy: Problem | None = None,
        chainer: Any = None,
    ) -> None:
        versions = {
            "numpy": "2.4.6",
            "opencv-python-headless": "4.13.0.92",
            "h5py": "3.16.0",
            "av": "18.1.0",
            **versions,
        }
        monkeypatch.setattr(doctor, "version", versions.get)
        monkeypatch.setattr(installed, "version", versions.get)
        monkeypatch.setattr(doctor, "misfit", lambda name: None)
        monkeypatch.setattr(doctor, "namesake", lambda: None)
        found = {name: number for name, number in versions.items() if name.startswith("cupy")}
        for module in (doctor, installed):
            monkeypatch.setattr(module, "cupy_distributions", lambda: found)
        monkeypatch.setattr(doctor, "nvidia_driver", lambda: driver)
        feign("torch", lambda device: answer(torch, lambda facts: pytorch(facts, device, driver)))
        problem = lambda device: None if device == "cpu" else cupy  # noqa: E731
        facts = {"library": "CuPy", "replacement": installed.replace_cupy(driver)}
        feign("chainer", lambda device: answer(chainer, lambda more: Probe(problem(device), **{**facts, **more})))

        feign("onnx", lambda device: Probe(None if device == "cpu" else Problem("no CUDA provider", "get one")))

    def pytorch(facts: dict[str, Any], device: str, driver: Driver | None) -> Probe:
        facts = dict(facts)
        said, mend = facts.pop("problem", None), installed.install_cuda_torch(driver)
        count, gpus = len(facts.get("devices", ())), devices.gpu_indices(device)
        problem = installed.cuda_problem("PyTorch", facts.get("cuda"), count, said, gpus, driver, mend)
        return Probe(problem, replacement=mend, **facts)

    def feign(engine: str, examine: Callable[[str], Probe]) -> None:
        name = f"deeppose_port.backends.{engine}.probe"
        module = ModuleType(name)
        vars(module)["examine"] = examine
        monkeypatch.setitem(sys.modules, name, module)

    def answer(facts: Any, make: Callable[[dict[str, Any]], Probe]) -> Probe:
        if isinstance(facts, Exception):
            raise facts
        return make(facts or {})

    return set_up


BOTH = {"torch": "2.13.0", "chainer": "7.8.1", "onnxruntime": "1.31.1"}


def row(examination: doctor.Examination, what: str) -> doctor.Row:
    """Returns the one row of that name."""
    (found,) = [each for each in examination.rows if each.what == what]
    return found


class TestThisMachine:
    def test_every_row_is_there_in_json_as_well(self) -> None:
        examination = doctor.examine()
        names = [each.what for each in examination.rows]
        assert names == [
            "Python", "deeppose-port", "NumPy", "OpenCV", "PyTorch", "Chainer", "ONNX Runtime", "OpenVINO", "h5py",
            "PyAV", "CuPy", "NVIDIA driver", "CUDA runtime", "cuDNN",
        ]  # fmt: skip
        data = json.loads(json.dumps(examination.as_dict()))
        assert data["rows"][0] == {
            "what": "Python",
            "found": sys.version.split()[0],
            "verdict": "ok",
            "note": "",
            "remedy": "",
        }
        assert data["runs"] is examination.runs

    def test_it_says_which_engine_is_the_fastest_here_and_what_predict_takes(self, monkeypatch) -> None:
        speeds = {"OpenVINO": 9.0, "ONNX Runtime": 11.0}
        monkeypatch.setattr("deeppose_port.inspecting.speed.measured", lambda: speeds)
        found = row(doctor.examine(speed=True), "fastest engine")
        assert (found.found, found.verdict) == ("ONNX Runtime", "ok")
        assert "OpenVINO 9, ONNX Runtime 11; predict takes " in found.note

    @pytest.mark.parametrize(("backend", "device"), [("caffe", None), (None, "gpu"), ("torch", "cuda:x")])
    def test_an_unknown_backend_or_device_is_refused(self, backend: str | None, device: str | None) -> None:
        with pytest.raises(BackendError, match=r"there is no backend|is no device"):
            doctor.examine(backend, device)

    def test_torch_tells_why_it_has_no_gpu(self) -> None:
        torch = pytest.importorskip("torch")
        from deeppose_port.backends.torch.probe import examine

        found = examine("cuda")
        assert bool(found.devices) is torch.cuda.is_available()
        assert (found.problem is None) is bool(found.devices)
        assert found.cuda == torch.version.cuda
        assert examine("cpu").problem is None


def test_another_distribution_with_a_package_of_our_name(distribution: Callable[..., None], tmp_path: Path) -> None:
    assert installed.namesake() is None
    distribution("file-converters", "1.0")
    (tmp_path / "file_converters-1.0.dist-info" / "top_level.txt").write_text("converters\n")
    found = row(doctor.examine(), "deeppose-port")
    assert found.verdict == "warning"
    assert found.note.startswith("file-converters has a package of the same name")
    assert found.remedy == ("pip uninstall -y file-converters; pip install --force-reinstall --no-deps deeppose-port")


class TestRuns:
    """`runs` is about what was asked for."""

    def test_the_cpu_with_both_engines(self, machine: Machine) -> None:
        machine(BOTH)
        for backend in (None, "torch", "chainer"):
            examination = doctor.examine(backend, "cpu")
            assert examination.runs
            assert {each.verdict for each in examination.rows} == {"ok"}

    @pytest.mark.parametrize(("present", "missing"), [("torch", "chainer"), ("chainer", "torch")])
    def test_one_engine_is_enough_unless_the_other_is_asked_for(
        self, present: str, missing: str, machine: Machine
    ) -> None:
        machine({present: BOTH[present]})
        name = {"torch": "PyTorch", "chainer": "Chainer"}[missing]
        either, asked = doctor.examine(), doctor.examine(missing)
        assert either.runs
        assert row(either, name).verdict == "warning"
        assert not asked.runs
        assert row(asked, name).verdict == "problem"
        assert row(asked, name).found == "not installed"
        assert doctor.examine(present).runs

    def test_no_engine_at_all(self, machine: Machine) -> None:
        machine({})
        examination = doctor.examine()
        assert not examination.runs
        assert row(examination, "PyTorch").verdict == row(examination, "Chainer").verdict == "problem"
        assert row(examination, "PyTorch").remedy.startswith("pip install 'torch")
        assert "--no-build-isolation 'deeppose-port[chainer]'" in row(examination, "Chainer").remedy

    def test_an_engine_that_cannot_be_imported(self, machine: Machine) -> None:
        trainers = {"torch": "2.13.0", "chainer": "7.8.1"}
        machine(trainers, torch=OSError("libtorch_cpu.so:\ncannot open"), chainer=ImportError("no numpy"))
        examination = doctor.examine()
        assert not examination.runs
        assert row(examination, "PyTorch").note == "OSError: libtorch_cpu.so: cannot open"
        assert row(examination, "Chainer").note == "ImportError: no numpy"
        assert row(examination, "Chainer").found == "7.8.1"

    def test_a_gpu_without_a_driver(self, machine: Machine) -> None:
        machine(BOTH, torch={"cuda": "12.6", "problem": "Found no NVIDIA driver"}, cupy=Problem("no driver", "get one"))
        for backend in (None, "torch", "chainer"):
            examination = doctor.examine(backend, "cuda")
            assert not examination.runs
            assert row(examination, "NVIDIA driver").verdict == "problem"
            assert "nvidia.com" in row(examination, "NVIDIA driver").remedy
        assert row(doctor.examine("torch", "cuda"), "PyTorch").note == "Found no NVIDIA driver"

    def test_several_gpus(self, machine: Machine) -> None:
        machine(BOTH, driver=CUDA_12, torch={"cuda": "12.6", "devices": (A100, A100)})
        assert doctor.examine("torch", "cuda:0,cuda:1").runs
        examination = doctor.examine("torch", "cuda:0,cuda:2")
        assert not examination.runs
        assert row(examination, "PyTorch").note == "PyTorch sees no cuda:2"


class TestCombinations:
    @pytest.mark.parametrize(("driver", "index"), [(CUDA_12, "cu126"), (CUDA_13, "cu130")])
    def test_a_pytorch_without_cuda(self, driver: Driver, index: str, machine: Machine) -> None:
        machine(BOTH, driver=driver)
        examination = doctor.examine("torch", "cuda:0")
        assert not examination.runs
        assert row(examination, "PyTorch").note == "this PyTorch is built without CUDA"
        assert row(examination, "PyTorch").remedy.endswith(f"/whl/{index}")
        assert doctor.examine("chainer", "cuda:0").runs
        assert row(doctor.examine("chainer", "cuda:0"), "PyTorch").verdict == "warning"

    def test_a_pytorch_too_new_for_the_driver(self, machine: Machine) -> None:
        machine(BOTH, driver=CUDA_12, torch={"cuda": "13.0", "problem": "The NVIDIA driver is too old"})
        examination = doctor.examine("torch", "cuda")
        assert row(examination, "PyTorch").remedy.endswith("/whl/cu126")
        assert row(examination, "CUDA runtime").note == "the driver is too old for PyTorch's CUDA 13.0"

    def test_a_cupy_that_cannot_be_used(self, machine: Machine) -> None:
        machine({**BOTH, "cupy-cuda12x": "13.6.0"}, driver=CUDA_12, cupy=Problem("libcublas.so.12", "pip install it"))
        examination = doctor.examine("chainer", "cuda")
        assert not examination.runs
        expected = doctor.Row("CuPy", "13.6.0 (cupy-cuda12x)", "problem", "libcublas.so.12", "pip install it")
        assert row(examination, "CuPy") == expected
        assert doctor.examine("chainer", "cpu").runs

    def test_two_cupys(self, machine: Machine) -> None:
        machine({**BOTH, "cupy-cuda12x": "14.2.0", "cupy-cuda13x": "14.2.0"}, driver=CUDA_13)
        found = row(doctor.examine(), "CuPy")
        assert found.verdict == "problem"
        assert "cupy-cuda12x and cupy-cuda13x are installed" in found.note
        assert found.remedy == ("pip uninstall -y cupy-cuda12x cupy-cuda13x && pip install 'cupy-cuda13x[ctk]>=14,<15'")

    def test_no_cupy_is_missed_on_a_machine_with_a_gpu_only(self, machine: Machine) -> None:
        machine(BOTH)
        assert row(doctor.examine(), "CuPy").verdict == "ok"
        machine(BOTH, driver=CUDA_12)
        found = row(doctor.examine(), "CuPy")
        assert (found.verdict, found.found) == ("warning", "not installed")
        assert found.remedy == "pip install 'deeppose-port[cuda12]'"

    def test_chainer_on_a_gpu_without_cudnn(self, machine: Machine) -> None:
        cupy = {"cuda": "12.9", "devices": (A100,)}
        machine({**BOTH, "cupy-cuda12x": "14.2.0"}, driver=CUDA_12, chainer=cupy)
        examination = doctor.examine("chainer", "cuda")
        assert examination.runs
        assert row(examination, "cuDNN").verdict == "warning"
        assert "cupy-cuda12x>=13.6,<14" in row(examination, "cuDNN").remedy
        assert row(examination, "CUDA runtime") == doctor.Row("CUDA runtime", "12.9 (CuPy)")
        assert row(examination, "NVIDIA driver") == doctor.Row("NVIDIA driver", "550.54.15, CUDA 12.4, NVIDIA A100")
        for backend, device in (("torch", "cuda"), ("chainer", "cpu")):
            assert row(doctor.examine(backend, device), "cuDNN").verdict == "ok"

    def test_a_cupy_too_new_for_the_driver(self, machine: Machine) -> None:
        machine({**BOTH, "cupy-cuda13x": "14.2.0"}, driver=CUDA_12, chainer={"cuda": "13.0"})
        found = row(doctor.examine(), "CUDA runtime")
        assert (found.verdict, found.found) == ("warning", "13.0 (CuPy)")
        assert found.remedy == "pip uninstall -y cupy-cuda13x && pip install 'deeppose-port[cuda12]'"

    def test_a_python_outside_of_the_range(self, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        machine(BOTH)
        monkeypatch.setattr(doctor, "wanted_python", lambda: SpecifierSet(">=3.10,<3.14"))
        monkeypatch.setattr("platform.python_version", lambda: "3.14.0")
        examination = doctor.examine()
        assert not examination.runs
        assert row(examination, "Python").note == "deeppose-port needs <3.14,>=3.10"

    @pytest.mark.parametrize(
        ("numpy", "cupy", "needs"),
        [
            ("1.26.4", "14.2.0", "numpy<2.6,>=2.0"),
            ("2.4.6", "14.2.0", None),
            ("1.26.4", "13.6.0", None),
            ("2.4.6", "13.6.0", None),
        ],
    )
    def test_cupy_and_numpy(self, numpy: str, cupy: str, needs: str | None, distribution: Callable[..., None]) -> None:
        # What the wheels of CuPy 14.2.0 and 13.6.0 ask for.
        asked = {"14.2.0": "numpy<2.6,>=2.0", "13.6.0": "numpy<2.6,>=1.22"}[cupy]
        distribution("numpy", numpy)
        distribution("cupy-cuda12x", cupy, asked, 'scipy<1.0; extra == "all"', 'packaging<1; python_version < "3"')
        problem = installed.cupy_problem(CUDA_12)
        if needs is None:
            assert problem is None
        else:
            assert problem == Problem(
                f"cupy-cuda12x {cupy} needs {needs}; {numpy} is installed", f"pip install '{needs}'"
            )

    @pytest.mark.parametrize(
        ("name", "driver", "fits"),
        [
            ("cupy-cuda12x", CUDA_13, True),
            ("cupy-cuda13x", CUDA_13, True),
            ("cupy-cuda13x", CUDA_12, False),
            ("cupy-cuda13x", None, True),
            ("cupy-cuda13x", Driver(None, None, (A100,)), True),
            ("cupy", CUDA_12, True),
        ],
    )
    def test_cupy_and_the_driver(
        self, name: str, driver: Driver | None, fits: bool, distribution: Callable[..., None]
    ) -> None:
        distribution(name, "14.2.0")
        assert (installed.cupy_problem(driver) is None) is fits

    def test_a_numpy_outside_of_the_range(self, distribution: Callable[..., None]) -> None:
        distribution("numpy", "1.25.0")
        found = row(doctor.examine(), "NumPy")
        assert (found.found, found.verdict) == ("1.25.0", "warning")
        assert found.remedy == "pip install 'numpy<2.6,>=1.26'"

    def test_a_torch_outside_of_the_range(self, machine: Machine) -> None:
        machine({**BOTH, "torch": "2.5.0"})
        found = row(doctor.examine(), "PyTorch")
        assert (found.verdict, found.remedy) == ("warning", "pip install 'torch>=2.8'")

    def test_no_h5py(self, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        machine(BOTH)
        monkeypatch.setattr(doctor, "version", BOTH.get)
        examination = doctor.examine()
        assert row(examination, "h5py").verdict == "warning"
        assert row(examination, "h5py").remedy == "pip install 'deeppose-port[hdf5]'"
        assert examination.runs

    def test_no_pyav(self, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        machine(BOTH)
        monkeypatch.setattr(doctor, "version", BOTH.get)
        found = row(doctor.examine(), "PyAV")
        assert (found.verdict, found.remedy) == ("warning", "pip install 'deeppose-port[video]'")

    def test_an_opencv_for_another_numpy(self, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        machine(BOTH)
        monkeypatch.setattr(doctor, "misfit", lambda name: Problem(f"{name} needs numpy>=2", "pip install 'numpy>=2'"))
        found = row(doctor.examine(), "OpenCV")
        assert (found.verdict, found.note) == ("warning", "opencv-python-headless needs numpy>=2")

    def test_an_opencv_that_cannot_be_imported(self, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        machine(BOTH)
        monkeypatch.setitem(sys.modules, "cv2", None)
        examination = doctor.examine()
        assert not examination.runs
        assert row(examination, "OpenCV").verdict == "problem"
        assert row(examination, "OpenCV").remedy.startswith("pip uninstall -y opencv-python-headless && pip install")


class TestDistributions:
    def test_the_names_that_bring_cupy(self, distribution: Callable[..., None]) -> None:
        for name in ("cupy-cuda12x", "cupy_cuda110", "cupy", "cupy-rocm-5-0", "cupy-xarray", "cuda-pathfinder"):
            distribution(name, "1.0")
        assert set(installed.cupy_distributions()) == {"cupy-cuda12x", "cupy-cuda110", "cupy", "cupy-rocm-5-0"}

    def test_a_distribution_that_is_not_there(self) -> None:
        assert installed.version("no-such-package") is None
        assert installed.misfit("no-such-package") is None
        assert installed.wanted("no-such-package") == SpecifierSet()


class TestDevices:
    @pytest.mark.parametrize(
        ("name", "indices"),
        [("cpu", ()), ("cuda", (0,)), ("cuda:1", (1,)), ("cuda:0,cuda:1", (0, 1)), ("cuda:1, cuda:0", (1, 0))],
    )
    def test_names(self, name: str, indices: tuple[int, ...]) -> None:
        assert devices.gpu_indices(name) == indices

    @pytest.mark.parametrize("name", ["", "gpu", "cuda:", "cuda:-1", "cpu,cuda:0", "cuda:0,cuda", "cuda:\u0661", "mps"])
    def test_what_is_no_device(self, name: str) -> None:
        with pytest.raises(BackendError, match="is no device; devices are cpu, cuda and cuda:N"):
            devices.gpu_indices(name)

    def test_cudas_own_numbers(self) -> None:
        assert devices.cuda_version(12040) == (12, 4)
        assert devices.cuda_version(11080) == (11, 8)


class TestLibcuda:
    @pytest.mark.parametrize(("status", "number", "version"), [(0, 12040, (12, 4)), (34, 12040, None), (0, 0, None)])
    def test_its_answer(
        self, status: int, number: int, version: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def get_version(pointer: Any) -> int:
            pointer._obj.value = number
            return status

        monkeypatch.setattr("ctypes.CDLL", lambda name: SimpleNamespace(cuDriverGetVersion=get_version))
        assert devices._libcuda() == version

    def test_where_there_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def load(name: str) -> None:
            raise OSError(f"{name}: cannot open shared object file")

        monkeypatch.setattr("ctypes.CDLL", load)
        assert devices._libcuda() is None


class TestDriver:
    @pytest.fixture(autouse=True)
    def no_libcuda(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(devices, "_libcuda", lambda: None)

    @pytest.fixture
    def nvidia_smi(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
        """Puts a program of that name first on the path."""
        monkeypatch.setenv("PATH", str(tmp_path))

        def write(body: str) -> None:
            program = tmp_path / "nvidia-smi"
            program.write_text(f"#!/bin/sh\n{body}\n")
            program.chmod(0o755)

        return write

    def test_two_gpus(self, nvidia_smi: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
        nvidia_smi("echo '550.54.15, NVIDIA A100'; echo '550.54.15, NVIDIA A100'")
        monkeypatch.setattr(devices, "_libcuda", lambda: (12, 4))
        driver = devices.nvidia_driver()
        assert driver == Driver("550.54.15", (12, 4), (A100, A100))
        assert str(driver) == "550.54.15, CUDA 12.4, NVIDIA A100, NVIDIA A100"

    def test_a_gpus_name_may_have_commas(self, nvidia_smi: Callable[[str], None]) -> None:
        nvidia_smi("echo '550.54.15, A, B, C'; echo 'a warning'")
        assert devices.nvidia_driver() == Driver("550.54.15", None, ("A, B, C",))

    @pytest.mark.parametrize(
        "body", ["echo 'NVIDIA-SMI has failed, it says'; exit 9", "printf '\\377\\376'", "while :; do :; done", ""]
    )
    def test_an_nvidia_smi_that_fails(
        self, body: str, nvidia_smi: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(devices, "_SMI_SECONDS", 0.3)
        nvidia_smi(body)
        assert devices.nvidia_driver() is None

    def test_a_driver_without_nvidia_smi(
        self, nvidia_smi: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(devices, "_libcuda", lambda: (12, 4))
        assert devices.nvidia_driver() == Driver(None, (12, 4), ())
        assert str(devices.nvidia_driver()) == "version unknown, CUDA 12.4"
