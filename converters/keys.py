"""Names: the wrappers to strip, Chainer's names and ours, and which architecture a file holds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise

import numpy as np

from converters.architectures import (
    OUTPUTS,
    TABLES,
    TORCH_ONLY,
    TORCH_WRITER,
    Architecture,
    BatchNormalization,
    Convolution,
    Layer,
    Linear,
    Residual,
    Shape,
    automatic,
    outputs_layer,
    walk,
)
from converters.architectures import feature_size as table_feature_size

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

_VGG_ROWS = [f"{stage}_{i}" for stage, count in enumerate((2, 2, 3, 3, 3), start=1) for i in range(1, count + 1)]

#: Layer names of other generations, as (architecture, generation) -> substitutions in canonical names.
GENERATIONS: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {
    ("resnet50", "mid-2016"): ((r"\.b_(\d+)\.", r".b\1."), (r"^out_fc\.", "fc.")),
    ("vgg16", "2015"): (
        *((rf"^conv{row}\.", f"conv{i}.") for i, row in enumerate(_VGG_ROWS, start=1)),
        *((rf"^fc{i}\.", f"{name}.") for i, name in ((6, "fc14"), (7, "fc15"), (8, "pred"))),
    ),
    ("deeppose2019", "2019"): ((r"^conv(\d)\.", r"extractor.conv\1.conv."), (r"^fc([67])\.", r"extractor.fc\1.")),
    **{
        (name, names): ((r"^(?!fc\.)", "backbone."), (r"^fc\.", f"{head}.fc."))
        for name in TABLES
        if name.startswith("resnet") and name in TORCH_ONLY
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


@dataclass
class Match:
    """How a file's arrays compare with one architecture in one generation of names.

    Attributes:
        architecture: The architecture with the widths that the file suggests.
        names: Generation of names.
        canonical: Key in the file, without wrappers -> canonical name.
        missing: Canonical names that the file lacks.
        unexpected: Keys that the architecture does not have.
        different: Keys of another shape or kind, with what they are and should be.
    """

    architecture: Architecture
    names: str
    canonical: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    different: dict[str, str] = field(default_factory=dict)
    problem: str | None = None

    @property
    def fits(self) -> bool:
        """Tells whether the file holds this network, whole and nothing else."""
        return not (self.missing or self.unexpected or self.different or self.problem)

    @property
    def distance(self) -> int:
        """Number of arrays that stand in the way."""
        return len(self.missing) + len(self.unexpected) + len(self.different)

    def describe(self, spelled: Mapping[str, str], prefix: str = "") -> str:
        """Returns the differences in one sentence, keys folded into patterns.

        Args:
            spelled: Canonical name -> the key as the file's kind would spell it.
            prefix: The wrappers that were stripped from the file's keys.
        """
        parts = []
        if self.missing:
            parts.append(f"missing {fold(prefix + spelled[name] for name in self.missing)}")
        if self.unexpected:
            parts.append(f"unexpected {fold(prefix + key for key in self.unexpected)}")
        alike: dict[str, list[str]] = {}
        for key, what in self.different.items():
            alike.setdefault(what, []).append(prefix + key)
        parts += [f"{fold(keys)} {what}" for what, keys in alike.items()]
        if self.problem:
            parts.append(self.problem)
        return "; ".join(parts)


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
        for pattern, replacement in GENERATIONS.get((architecture, generation), ()):
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


def match(headers: Mapping[str, Header], architectures: Iterable[str] | None = None) -> list[Match]:
    """Compares a file's arrays with architectures in each generation of names.

    Args:
        headers: The file's arrays by key, without wrappers.
        architectures: Names from `architectures.TABLES`; None for all that can be told by keys and shapes. What has
            less than half as many names in common with the file as another is left out.

    Returns:
        One Match each, the nearest first.
    """
    names = automatic() if architectures is None else architectures
    spelled = {canonical_name(key) for key in headers}
    common = {
        (name, generation): len(spelled & _names(name, generation))
        for name in names
        for generation in ("head", *(g for a, g in GENERATIONS if a == name))
    }
    most = max(common.values(), default=0)
    matches = [_match_one(headers, *row) for row, count in common.items() if 2 * count >= most]
    return sorted(matches, key=lambda m: (not m.fits, m.distance))


@cache
def _names(name: str, generation: str) -> frozenset[str]:
    """Returns the names of an architecture's tensors in a generation, in canonical spelling."""
    return frozenset(generation_names(name, generation, Architecture.full_size(name, joints=1).shapes).values())


def _match_one(headers: Mapping[str, Header], name: str, generation: str) -> Match:
    by_name: dict[str, str] = {}
    doubles = []
    for key in headers:
        spelled = canonical_name(key)
        if spelled in by_name:
            doubles.append(key)
        by_name.setdefault(spelled, key)

    template = Architecture.full_size(name, joints=1)
    renamed = generation_names(name, generation, template.shapes)
    shapes = {old: headers[by_name[new]].shape for old, new in renamed.items() if new in by_name}
    architecture, problem = _measure(name, shapes)
    result = Match(architecture, generation, problem=problem, unexpected=doubles)
    for canonical, shape in architecture.shapes.items():
        if renamed[canonical] not in by_name:
            result.missing.append(canonical)
            continue
        key = by_name[renamed[canonical]]
        result.canonical[key] = canonical
        difference = _difference(canonical, headers[key], shape)
        if difference:
            result.different[key] = difference
    result.unexpected += [key for key in by_name.values() if key not in result.canonical]
    counters = [n for n in architecture.shapes if n.endswith(".num_batches_tracked")]
    if counters and set(counters) <= set(result.missing):  # PyTorch <= 0.4 had none
        result.missing = [n for n in result.missing if n not in counters]
    return result


def _difference(canonical: str, header: Header, shape: Shape) -> str | None:
    """Says how an array differs from what an architecture needs; None if it does not."""
    counter = canonical.endswith(".num_batches_tracked")
    if header.dtype.kind not in ("iu" if counter else "f"):
        return f"of dtype {header.dtype.name} instead of {'an integer' if counter else 'a floating-point number'}"
    if header.dtype.itemsize > 8:  # the long double of one kind of machine
        return f"of dtype {header.dtype.name} instead of float32"
    if header.shape != shape and not (counter and header.shape == (1,)):
        return f"of shape {header.shape} instead of {shape}"
    return None


def _measure(name: str, shapes: Mapping[str, Shape]) -> tuple[Architecture, str | None]:
    """Reads widths, joints and the fully connected layers' input off the weights' shapes."""
    widths: dict[str, int] = {}
    last_convolution = [0]

    def width(layer: Convolution | Linear) -> int:
        shape = shapes.get(f"{layer.name}.weight", ())
        return shape[0] if shape and shape[0] > 0 else layer.channels

    def measure(layers: Sequence[Layer], channels: int) -> int:
        for layer in layers:
            if isinstance(layer, Convolution):
                widths[layer.name] = channels = width(layer)
                last_convolution[0] = channels
            elif isinstance(layer, Linear):
                widths[layer.name] = width(layer)
            elif isinstance(layer, Residual):
                # What is added has to be as wide as what it is added to.
                out = measure(layer.shortcut, channels) if layer.shortcut else channels
                measure(layer.branch, channels)
                widths[[row.name for row in layer.branch if isinstance(row, Convolution)][-1]] = channels = out
                last_convolution[0] = channels
        return channels

    table = TABLES[name]
    measure(table, channels=3)
    outputs = widths.pop(outputs_layer(name)) or 2
    problem = None
    if outputs % 2:
        problem = f"the last layer has {outputs} outputs, which is not two for each joint"
    defaults = {row.name: row.channels for row in walk(table) if isinstance(row, Convolution | Linear)}
    first = next(row.name for row in table if isinstance(row, Linear))
    feature_size = table_feature_size(name, 220)
    weight = shapes.get(f"{first}.weight", ())
    if feature_size > 1 and len(weight) == 2:
        # Only a map of a whole number of pixels a side can be meant; anything else is told as a wrong shape.
        side = round((weight[1] / last_convolution[0]) ** 0.5)
        if side > 0 and side**2 * last_convolution[0] == weight[1]:
            feature_size = side
    return (
        Architecture(
            name,
            joints=max(outputs // 2, 1),
            widths={row: n for row, n in widths.items() if n != defaults[row] and defaults[row] != OUTPUTS},
            feature_size=feature_size,
            **({"writer": TORCH_WRITER} if name in TORCH_ONLY else {}),
        ),
        problem,
    )


# --- folding ---------------------------------------------------------------------------------------------------------


_NUMBER = re.compile(r"(\d{1,9})")
_MOST_NUMBERS = 8  # in one name; no layer has more than four


def fold(keys: Iterable[str], most: int = 6) -> str:
    """Folds keys into patterns: what differs only in numbers or in the last part becomes one.

    Example:
        >>> fold(["fc6/W", "fc6/b", "fc7/W", "fc7/b"])
        'fc{6,7}/{W,b}'
    """
    patterns = list(fold_groups(keys))
    if len(patterns) > most:
        return ", ".join(patterns[:most]) + f" and {len(patterns) - most} more patterns"
    return ", ".join(patterns)


def fold_groups(keys: Iterable[str]) -> dict[str, list[str]]:
    """Returns `{pattern: the keys that it stands for}`; see `fold`."""
    ends: dict[str, list[str]] = {}
    for key in keys:
        cut = max(key.rfind("/"), key.rfind(".")) + 1
        ends.setdefault(key[:cut], []).append(key[cut:])
    layers: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for layer, parts in ends.items():
        layers.setdefault((_NUMBER.sub("#", layer), tuple(sorted(parts))), []).append(layer)
    groups = {}
    for (_, names), members in layers.items():
        end = names[0] if len(names) == 1 else "{" + ",".join(names) + "}"
        for pattern, folded in _fold_numbers(members).items():
            groups[pattern + end] = [layer + name for layer in folded for name in names]
    return groups


def _fold_numbers(members: list[str]) -> dict[str, list[str]]:
    """Folds strings that are alike but for their numbers, only where the pattern stands for exactly these."""
    pieces = [_NUMBER.split(member) for member in members]
    if len(members) == 1 or len(pieces[0]) > 2 * _MOST_NUMBERS + 1:
        return {member: [member] for member in members}
    columns = [
        sorted({piece[i] for piece in pieces}, key=lambda number: (int(number), number))
        for i in range(1, len(pieces[0]), 2)
    ]
    size = 1
    for column in columns:
        size *= len(column)
    if size != len(members):
        varying = next(i for i, column in enumerate(columns) if len(column) > 1)
        parts: dict[str, list[str]] = {}
        for member, piece in zip(members, pieces, strict=True):
            parts.setdefault(piece[2 * varying + 1], []).append(member)
        return {pattern: group for part in parts.values() for pattern, group in _fold_numbers(part).items()}
    template = list(pieces[0])
    for i, column in enumerate(columns):
        if len(column) > 1:
            run = all(int(following) - int(number) == 1 for number, following in pairwise(column))
            span = f"{column[0]}..{column[-1]}" if run and len(column) > 2 else ",".join(column)
            template[2 * i + 1] = "{" + span + "}"
    return {"".join(template): members}
