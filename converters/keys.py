"""Names: the wrappers to strip, and Chainer's names and ours in each spelling."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator

import numpy as np

from converters.families import CANONICAL, FAMILIES, naming
from converters.networks import Architecture, BatchNormalization, Shape, walk
from converters.networks.flow import learned_in
from converters.values import dataclass

#: Prefixes that a training loop, a trainer or a compiler puts before every key, whatever the program.
_WRAPPERS = ("/", "updater/model:main/", "module.", "_orig_mod.", "model.", "net.", "network.")

#: Those that are no links of a Chainer network around the network.
_NO_LINKS = ("/", "updater/model:main/")

#: What a wrapper around a part of a network puts inside of its keys.
_INNER = frozenset({"module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})

#: More than that many parts before every key are no wrappers.
_MOST_WRAPPERS = 8

#: What stands beside a network's arrays and is none of its own, whatever the program: an averager's counters.
_BESIDE = re.compile(r"(?:.*\.)?(?:n_averaged|steps)")

#: Last part of a name of Chainer's or Keras's -> last part of a canonical name.
_PARTS = {
    "W": "weight",
    "b": "bias",
    "gamma": "weight",
    "beta": "bias",
    "avg_mean": "running_mean",
    "avg_var": "running_var",
    "N": "num_batches_tracked",
    "kernel": "weight",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
#: How the names of the tensors end that count batches, which old versions of PyTorch and Chainer do not have.
COUNTER = ".num_batches_tracked"
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
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Stripping:
    """A way to read a file's keys without what was put around the network.

    Attributes:
        bare: `{key: key without wrappers}`.
        wrappers: The prefixes that every key bore, outermost first.
        inner: Wrappers that stood inside of some keys.
    """

    bare: dict[str, str]
    wrappers: tuple[str, ...] = ()
    inner: tuple[str, ...] = ()


def known_wrappers() -> tuple[str, ...]:
    """Returns the prefixes that are known to stand before every key."""
    return (*_WRAPPERS, *(wrapper for family in FAMILIES.values() for wrapper in family.wrappers))


def strippings(keys: Iterable[str]) -> Iterator[list[Stripping]]:
    """Yields the ways to strip keys of their wrappers: the likeliest first, and alone; then others, equals together.

    First goes what is known to be a wrapper, then whatever every key bears, or less; at last the wrappers inside.

    Example:
        >>> next(strippings(["module.model.fc8.weight", "module.model.fc8.bias"]))[0].wrappers
        ('module.', 'model.')
    """
    keys, known = list(keys), known_wrappers()
    wrappers = _common(keys, known)
    certain = next((i for i, wrapper in enumerate(wrappers) if wrapper not in known), len(wrappers))
    depths = (certain, *range(certain + 1, len(wrappers) + 1), *reversed(range(certain)))
    outer = []
    for depth in depths:
        length = len("".join(wrappers[:depth]))
        outer.append(Stripping({key: key[length:] for key in keys}, tuple(wrappers[:depth])))
    yield outer[:1]
    if len(outer) > 1:
        yield outer[1:]
    inner = [dropped for way in outer if (dropped := _without_inner(way)) is not None]
    if inner:
        yield inner


def _common(keys: list[str], known: tuple[str, ...]) -> list[str]:
    """Returns the parts that every key bears before its own, outermost first, known ones before others."""
    wrappers: list[str] = []
    rest = keys
    while rest and len(wrappers) < _MOST_WRAPPERS:
        part = re.match(r"[^./]*[./]", rest[0])
        wrapper = next((w for w in known if all(key.startswith(w) for key in rest)), part and part[0])
        if not wrapper or not all(key.startswith(wrapper) for key in rest):
            break
        wrappers.append(wrapper)
        rest = [key[len(wrapper) :] for key in rest]
    return wrappers


def _without_inner(way: Stripping) -> Stripping | None:
    """Returns a way without the wrappers inside of its keys; None where there are none, or keys would become one."""
    bare, inner = {}, set[str]()
    for key, name in way.bare.items():
        first, *middle, last = name.split(".") if "." in name else ("", name)
        inner |= _INNER.intersection(middle)
        bare[key] = ".".join((first, *(part for part in middle if part not in _INNER), last)) if first else name
    if not inner or len(set(bare.values())) < len(bare):
        return None
    return Stripping(bare, way.wrappers, tuple(sorted(inner)))


def links(wrappers: Iterable[str]) -> str:
    """Returns those of a Chainer file's wrappers that are links around the network, as they stand before its keys."""
    return "".join(wrapper for wrapper in wrappers if wrapper.endswith("/") and wrapper not in _NO_LINKS)


def set_aside(keys: Iterable[str], format: str) -> list[str]:
    """Returns the keys that are no part of any network: they stand beside it in the files of some programs."""
    patterns = [_BESIDE, *(re.compile(f.beside[format]) for f in FAMILIES.values() if format in f.beside)]
    return [key for key in keys if any(pattern.fullmatch(key) for pattern in patterns)]


def first_part(key: str) -> str:
    """Returns what a key begins with, up to its first `.` or `/`."""
    return re.split(r"[./]", key, maxsplit=1)[0]


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
    substitutions = [(re.compile(pattern), to) for pattern, to in naming(architecture).get(names, ())]
    if not substitutions:
        return {name: name for name in canonical}
    result = {}
    for name in canonical:
        renamed = name
        for pattern, replacement in substitutions:
            renamed = pattern.sub(replacement, renamed)
        result[name] = renamed
    return result


def chainer_names(architecture: Architecture, names: str = CANONICAL) -> dict[str, str]:
    """Returns `{canonical name: Chainer's key}`, without wrapper: `bn1.weight` -> `bn1/gamma`.

    Args:
        architecture: The architecture.
        names: Which layer names, as `Source.names`.
    """
    normalized = {layer.name for layer in walk(architecture.layers) if isinstance(layer, BatchNormalization)}
    learned = learned_in(architecture.steps)
    result = {}
    for name, renamed in spelled_names(architecture.name, names, architecture.shapes).items():
        part = name.rpartition(".")[2]
        parts = _CHAINER_BN_PARTS if name.rpartition(".")[0] in normalized else _CHAINER_PARTS
        last = learned[name].chainer if name in learned else parts[part]
        result[name] = "/".join([*renamed.split(".")[:-1], last])
    return result
