"""The engines, each behind the same small face.

A backend is a package that keeps the promises of `protocol.Backend`, and a line in `BACKENDS`. It is loaded when it is
asked for, so that one works where the engine of another is not installed. What it writes for other programs becomes
formats of `converters` here.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast

from converters import Checkpoint, CheckpointError, formats
from converters.formats import Format
from converters.networks import Architecture
from deeppose_port.backends.devices import BackendError
from deeppose_port.backends.protocol import Backend, Description, Predictor, Prober
from deeppose_port.backends.torchrun import rank_and_size

if TYPE_CHECKING:
    from deeppose_port.metrics.predictions import Processes

__all__ = [
    "BACKENDS",
    "Backend",
    "BackendError",
    "Description",
    "Predictor",
    "Prober",
    "able",
    "described",
    "engine_named",
    "engines",
    "get",
    "having",
    "prober",
    "refuse_foreign",
    "together",
]

#: The backends by name.
BACKENDS = {
    backend.name: backend
    for backend in (
        Description(
            "torch",
            "PyTorch",
            package="deeppose_port.backends.torch",
            distribution="torch",
            roots=("torch",),
            abilities=frozenset(
                {
                    *("train", "devices", "processes", "accumulate", "amp", "channels-last", "compile", "profile"),
                    *("sync-bn", "workers"),
                }
            ),
            exports={"torch-export": ".pt2", "pytorch-module": ".module"},
            folders=frozenset({"pytorch-module"}),
            by_family=True,
        ),
        Description(
            "chainer",
            "Chainer",
            package="deeppose_port.backends.chainer",
            distribution="chainer",
            # Its setup.py imports pkg_resources, which newer setuptools do not have; this order works with every pip.
            install=(
                "pip install 'setuptools>=70.1,<81' wheel && pip install --no-build-isolation 'deeppose-port[chainer]'"
            ),
            roots=("chainer", "cupy"),
            abilities=frozenset({"train", "devices", "gradient-sum"}),
            files="chainer-npz",
            by_family=True,
        ),
        Description(
            "onnx",
            "ONNX Runtime",
            package="deeppose_port.backends.onnx",
            distribution="onnxruntime",
            install="pip install 'deeppose-port[onnx]'",
            roots=("onnx", "onnxruntime", "openvino"),
            abilities=frozenset({"precision"}),
            exports={"onnx": ".onnx"},
            engines={"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"},
        ),
    )
}


def described(name: str) -> Description:
    """Returns what the list says of a backend.

    Raises:
        BackendError: There is none of that name.
    """
    if name not in BACKENDS:
        raise BackendError(f"there is no backend {name!r}; there are {' and '.join(BACKENDS)}")
    return BACKENDS[name]


def able(ability: str) -> list[Description]:
    """Returns the backends that can do something."""
    return [backend for backend in BACKENDS.values() if ability in backend.abilities]


def engines() -> list[str]:
    """Returns the names of what runs networks, of those backends that have a choice."""
    return [name for backend in BACKENDS.values() for name in backend.engines]


def having(engine: str) -> Description:
    """Returns the backend that an engine belongs to.

    Raises:
        BackendError: There is none of that name.
    """
    for backend in BACKENDS.values():
        if engine in backend.engines:
            return backend
    raise BackendError(f"there is no engine {engine!r}; there are {' and '.join(engines())}")


def engine_named(backend: Description, name: str | None = None) -> str:
    """Returns which of a backend's engines runs a network; empty for a backend that has no choice.

    Args:
        backend: The backend.
        name: A key of its `engines`; None for the first that is installed.

    Raises:
        BackendError: There is none of that name, or it is not installed.
    """
    if not backend.engines and name is None:
        return ""
    if name is not None and name not in backend.engines:
        raise BackendError(f"{name} runs networks of --backend {having(name).name}, not of {backend.name}")
    found = [each for each in backend.engines if importlib.util.find_spec(each) is not None]
    if not found or (name is not None and name not in found):
        from deeppose_port.backends.installed import wanted  # what reads metadata takes a while to load

        missing = name or next(iter(backend.engines))
        raise BackendError(f"{missing} is not installed: pip install '{missing}{wanted(missing)}'")
    return name or found[0]


def get(name: str) -> Backend:
    """Loads a backend by name.

    Raises:
        BackendError: There is none of that name, or its engine is not installed.
    """
    backend = described(name)
    try:
        package = cast(Backend, importlib.import_module(backend.package))
        _ = package.predictor  # loads the engine, which the package alone need not do
        return package
    except ImportError as error:
        if error.name is None or error.name.split(".")[0] not in backend.roots:
            raise
        raise BackendError(f"the backend {name} cannot be loaded: {error}; {backend.installation}") from error


@contextmanager
def together(device: str) -> Iterator[Processes | None]:
    """Joins the processes that torchrun started; None where it has not.

    Args:
        device: As for `load`; `cuda` is each process's own GPU.

    Raises:
        BackendError: PyTorch, whose processes they are, is not installed, or the device cannot be used.
    """
    if rank_and_size()[1] == 1:
        yield None
        return
    (backend,) = able("processes")
    with get(backend.name).processes(device) as group:
        yield group


def prober(name: str) -> Prober:
    """Loads what asks a backend's engine about this machine.

    Raises:
        BackendError: There is no backend of that name.
    """
    return cast(Prober, importlib.import_module(f"{described(name).package}.probe"))


def __getattr__(name: str) -> ModuleType:
    if name in BACKENDS:
        return importlib.import_module(BACKENDS[name].package)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def refuse_foreign(name: str, architecture: Architecture, path: str = "") -> None:
    """Refuses a network that an engine cannot run; `path` is the file that it is from, if any.

    Raises:
        BackendError: It exists in other engines alone.
    """
    engines = [BACKENDS[engine] for engine in architecture.engines]
    if described(name).by_family and BACKENDS[name] not in engines:
        titles = " and ".join(engine.title for engine in engines)
        problem = f"{architecture.name} exists in {titles} alone: --backend {engines[0].name} runs it"
        raise BackendError(problem, where=path or None)


def _export(backend: str, format: str, checkpoint: Checkpoint, path: Path, *, layout: str | None = None) -> None:
    try:
        engine = get(backend)
    except BackendError as error:
        raise CheckpointError(
            checkpoint.source.path, f"it cannot become {format}: {error.problem}", error.advice
        ) from error
    engine.export(checkpoint, path, format)


for _backend in BACKENDS.values():
    for _name, _suffix in _backend.exports.items():
        formats.register(
            Format(
                name=_name,
                title=_name,
                suffixes=(_suffix,),
                folder=_name in _backend.folders,
                write=partial(_export, _backend.name, _name),
                proof=f"run again in {_backend.title}, the outputs are the network's to 1e-5",
            )
        )
