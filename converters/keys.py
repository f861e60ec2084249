"""Names: the wrappers to strip, and Chainer's names and ours in each generation."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from converters.families.sizes import VGG16
from converters.families.tables import TABLES
from converters.networks import Architecture, BatchNormalization, Shape, engines_of, walk

#: Prefixes that a training loop, a trainer or a compiler puts before every key.
WRAPPERS = (
    "/",
    "updater/model:main/",
    "predictor/",
    "predictor.",
    "model/",
    "module.",
    "_orig_mod.",
    "model.",
    "net.",
    "network.",
    "resnet.",
)

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

_VGG_ROWS = [f"{stage}_{i}" for stage, (count, _) in enumerate(VGG16, start=1) for i in range(1, count + 1)]

#: Layer names of other generations, as (architecture, generation) -> substitutions in canonical names.
LAYER_NAMES: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {
    ("resnet50", "mid-2016"): ((r"\.b_(\d+)\.", r".b\1."), (r"^out_fc\.", "fc.")),
    ("vgg16", "2015"): (
        *((rf"^conv{row}\.", f"conv{i}.") for i, row in enumerate(_VGG_ROWS, start=1)),
        *((rf"^fc{i}\.", f"{name}.") for i, name in ((6, "fc14"), (7, "fc15"), (8, "pred"))),
    ),
    ("deeppose2019", "2019"): ((r"^conv(\d)\.", r"extractor.conv\1.conv."), (r"^fc([67])\.", r"extractor.fc\1.")),
    **{
        (name, names): ((r"^(?!fc\.)", "backbone."), (r"^fc\.", f"{head}.fc."))
        for name in TABLES
        if name.startswith("resnet") and "chainer" not in engines_of(name)
        for names, head in (("mmpose", "head"), ("mmpose-0", "keypoint_head"))
    },
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


def strip_wrappers(keys: Iterable[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Strips the prefixes that every key bears.

    Returns:
        `{key: key without wrappers}` and the wrappers, outermost first.

    Example:
        >>> strip_wrappers(["module.model.fc8.weight", "module.model.fc8.bias"])[1]
        ('module.', 'model.')
    """
    stripped = {key: key for key in keys}
    wrappers: list[str] = []
    while stripped:
        wrapper = next((w for w in WRAPPERS if all(k.startswith(w) for k in stripped.values())), None)
        if wrapper is None:
            break
        stripped = {key: rest[len(wrapper) :] for key, rest in stripped.items()}
        wrappers.append(wrapper)
    return stripped, tuple(wrappers)


def set_aside(keys: Iterable[str]) -> list[str]:
    """Returns the keys that are no part of any network: they stand beside it in the files of some programs."""
    return [key for key in keys if _BESIDE.fullmatch(key)]


def canonical_name(key: str) -> str:
    """Returns a key without wrappers in canonical spelling: `res2/a/bn1/avg_var` -> `res2.a.bn1.running_var`."""
    *layer, part = key.replace("/", ".").split(".")
    return ".".join([*layer, _PARTS.get(part, part)])


def generation_names(architecture: str, generation: str, canonical: Iterable[str]) -> dict[str, str]:
    """Returns `{canonical name: the same in a generation's layer names}`, still in canonical spelling."""
    result = {}
    for name in canonical:
        renamed = name
        for pattern, replacement in LAYER_NAMES.get((architecture, generation), ()):
            renamed = re.sub(pattern, replacement, renamed)
        result[name] = renamed
    return result


def chainer_names(architecture: Architecture, generation: str = "head") -> dict[str, str]:
    """Returns `{canonical name: Chainer's key}`, without wrapper: `bn1.weight` -> `bn1/gamma`."""
    normalized = {layer.name for layer in walk(architecture.layers) if isinstance(layer, BatchNormalization)}
    result = {}
    for name, renamed in generation_names(architecture.name, generation, architecture.shapes).items():
        part = name.rpartition(".")[2]
        parts = _CHAINER_BN_PARTS if name.rpartition(".")[0] in normalized else _CHAINER_PARTS
        result[name] = renamed.rpartition(".")[0].replace(".", "/") + "/" + parts[part]
    return result
