"""Files that hold more than one network: which of them is read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from converters.errors import CheckpointError
from converters.folding import fold
from converters.formats import Contents
from converters.keys import Header, first_part

#: What mmcv's EMAHook calls its copies: `ema_backbone_conv1_weight` of `backbone.conv1.weight`.
_EMA = "ema_"
#: Networks have more tensors than that.
_FEW = 4


def chosen(path: Path, contents: Contents, part: str | None) -> Contents:
    """Returns the contents of the part of a file that is read.

    Args:
        path: The file, for messages.
        contents: All of it.
        part: What a user names: a key under which a network was saved, the first part of its tensors' names, or `ema`
            for the weights that mmcv's EMAHook keeps beside a network's. None for what the file itself tells.

    Raises:
        CheckpointError: There is no such part, or none is named where there are several.
    """
    if contents.cascade is not None and part not in contents.parts:
        problem = "this is a cascade" if part is None else f"this is a cascade, and has no {part!r}"
        raise CheckpointError(path, problem, f"--part takes one network of it: {', '.join(contents.parts)}")
    averages = _averages(contents.headers)
    if part is None:
        if not contents.headers and contents.parts:
            raise _several(path, contents.parts)
        if not averages:
            return contents
        kept = {key: key for key in contents.headers if key not in averages.values()}
        notice = (
            f"its {len(averages)} arrays {_EMA}… are a second set of weights, as mmcv's EMAHook keeps one beside the "
            "other (which is the average depends on when it was saved), not read; --part ema reads them"
        )
        return _with(contents, kept, notice)
    if part in contents.parts:
        return contents.parts[part]()
    if part == "ema" and averages:
        kept = {key: averages.get(key, key) for key in contents.headers if key not in averages.values()}
        return _with(contents, kept, f"its {len(averages)} weights are those in {_EMA}…")
    if within := [key for key in contents.headers if first_part(key) == part and key != part]:
        left = fold(dict.fromkeys(first for key in contents.headers if (first := first_part(key)) != part)) or "nothing"
        return _with(contents, {key: key for key in within}, f"of it, {part} was read, and not {left}")
    known = [*contents.parts, *(["ema"] if averages else []), *_networks(contents.headers)]
    problem = f"it has no part {part!r}"
    raise CheckpointError(path, problem, f"there is {', '.join(known)}" if known else "leave --part out")


def refuse_several(path: Path, contents: Contents) -> None:
    """Refuses a file that holds the same tensors several times, under several names.

    Raises:
        CheckpointError: It does.
    """
    if networks := _networks(contents.headers):
        raise _several(path, networks)


def _several(path: Path, names: Iterable[str]) -> CheckpointError:
    names = list(names)
    problem = f"it holds several networks: {', '.join(map(repr, names))}"
    return CheckpointError(path, problem, f"say which with --part {names[0]}")


def _averages(headers: Mapping[str, Header]) -> dict[str, str]:
    """Returns the keys of weights with those of their averages, if what is called so is nothing else.

    Statistics of BatchNormalization have none.
    """
    called = {key for key in headers if key.rpartition(".")[2].startswith(_EMA)}
    prefixes = {"".join(key.rpartition(".")[:2]) for key in called}
    if len(prefixes) != 1:
        return {}
    (prefix,) = prefixes
    names = {key: key.removeprefix(prefix).replace(".", "_") for key in headers if key not in called}
    found = {key: f"{prefix}{_EMA}{name}" for key, name in names.items() if key.startswith(prefix)}
    found = {key: average for key, average in found.items() if average in called}
    same = all(headers[key].shape == headers[average].shape for key, average in found.items())
    return found if same and len(found) == len(called) >= _FEW else {}


def _networks(headers: Mapping[str, Header]) -> list[str]:
    """Returns the first parts of tensors' names, if the tensors of each have the same names and shapes."""
    groups: dict[str, dict[str, tuple[int, ...]]] = defaultdict(dict)
    for key, header in headers.items():
        first = first_part(key)
        groups[first][key[len(first) + 1 :]] = header.shape
    one, *others = groups.values() or [{}]
    return list(groups) if others and len(one) >= _FEW and all(other == one for other in others) else []


def _with(contents: Contents, kept: Mapping[str, str], notice: str) -> Contents:
    """Returns contents of some keys alone: `{key: the key of its array}`."""
    sections = contents.sections
    if sections is not None:
        sections = replace(sections, model={key: name for key, name in sections.model.items() if key in kept})
    return replace(
        contents,
        headers={key: contents.headers[array] for key, array in kept.items()},
        chunks=lambda key: contents.chunks(kept[key]),
        sections=sections,
        notices=(*contents.notices, notice),
    )
