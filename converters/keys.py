"""Names: the wrappers to strip, and Chainer's names and ours in each spelling."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from converters.families import CANONICAL, FAMILIES, naming
from converters.networks import Architecture, BatchNormalization, Shape, walk

#: Prefixes that a training loop, a trainer or a compiler puts before every key, whatever the program.
_WRAPPERS = ("/", "updater/model:main/", "module.", "_orig_mod.", "model.", "net.", "network.")

#: Those of them that are links of a Chainer network around the network.
LINKS = ("predictor/", "model/")

#: What stands beside a network's arrays and is none of its own: an averager's counters, MMPose's colours.
_BESIDE = re.compile(r"(?:.*\.)?(?:n_averaged|steps|data_preprocessor\.(?:mean|std))")

#: Last part of a Chainer name -> last part of a canonical name.
_PARTS = {
    "W": "weight",
    "b": "bias",
    "gamma": "weight",
    "beta": "bias",
    "avg_mean": "running_mean",
    "avg_var": "running_var",
    "N": "num_batches_tracked",
}
_CHAINER_PARTS = {"weight": "W", "bias": "b"}
_CHAINER_BN_PARTS = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "avg_mean",
    "running_var": "avg_var",
    "num_batches_tracked": "N",
}


@dataclass(frozen=True)
class Header:
    """What a file says of one array before the array is read.

    Attributes:
        dtype: Its dtype as stored, byte order included.
        shape: Its shape.
        fortran: Whether its bytes are in Fortran order.
    """

    dtype: np.dtype[np.generic]
    shape: Shape
    fortran: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of the array in memory."""
        count = 1
        for length in self.shape:
            count *= length
        return count * self.dtype.itemsize


def wrappers() -> tuple[str, ...]:
    """Returns the prefixes that are known to stand before every key."""
    return (*_WRAPPERS, *(wrapper for family in FAMILIES.values() for wrapper in family.wrappers))


def strip_wrappers(keys: Iterable[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Strips the prefixes that every key bears.

    Returns:
        `{key: key without wrappers}` and the wrappers, outermost first.

    Example:
        >>> strip_wrappers(["module.model.fc8.weight", "module.model.fc8.bias"])[1]
        ('module.', 'model.')
    """
    stripped = {key: key for key in keys}
    known, found = wrappers(), []
    while stripped:
        wrapper = next((w for w in known if all(k.startswith(w) for k in stripped.values())), None)
        if wrapper is None:
            break
        stripped = {key: rest[len(wrapper) :] for key, rest in stripped.items()}
        found.append(wrapper)
    return stripped, tuple(found)


def set_aside(keys: Iterable[str]) -> list[str]:
    """Returns the keys that are no part of any network: they stand beside it in the files of some programs."""
    return [key for key in keys if _BESIDE.fullmatch(key)]


def canonical_name(key: str) -> str:
    """Returns a key without wrappers in canonical spelling: `res2/a/bn1/avg_var` -> `res2.a.bn1.running_var`."""
    *layer, part = key.replace("/", ".").split(".")
    return ".".join([*layer, _PARTS.get(part, part)])


def spelled_names(architecture: str, names: str, canonical: Iterable[str]) -> dict[str, str]:
    """Returns `{canonical name: the same in other layer names}`, its last part still in canonical spelling.

    Args:
        architecture: Name of the architecture.
        names: Which layer names, as `Source.names`; where it has none of its own, they are the canonical ones.
        canonical: The canonical names.
    """
    substitutions = naming(architecture).get(names, ())
    result = {}
    for name in canonical:
        renamed = name
        for pattern, replacement in substitutions:
            renamed = re.sub(pattern, replacement, renamed)
        result[name] = renamed
    return result


def chainer_names(architecture: Architecture, names: str = CANONICAL) -> dict[str, str]:
    """Returns `{canonical name: Chainer's key}`, without wrapper: `bn1.weight` -> `bn1/gamma`.

    Args:
        architecture: The architecture.
        names: Which layer names, as `Source.names`.
    """
    normalized = {layer.name for layer in walk(architecture.layers) if isinstance(layer, BatchNormalization)}
    result = {}
    for name, renamed in spelled_names(architecture.name, names, architecture.shapes).items():
        part = name.rpartition(".")[2]
        parts = _CHAINER_BN_PARTS if name.rpartition(".")[0] in normalized else _CHAINER_PARTS
        result[name] = renamed.rpartition(".")[0].replace(".", "/") + "/" + parts[part]
    return result
