"""How a file's network was fed: told by itself, by the log of its training, or by whose file it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from converters.checkpoint import Preprocessing
from converters.families import Family
from converters.networks import Architecture


def preprocessing_of(
    family: Family,
    architecture: Architecture,
    told: Mapping[str, Any] | None,
    logged: Mapping[str, Any] | None,
    colours: Mapping[str, tuple[float, ...]],
    values: Mapping[str, object],
) -> tuple[Preprocessing, list[str]]:
    """Returns a network's preprocessing, and what a user should know of it.

    Args:
        family: Whose file it is.
        architecture: The network.
        told: What the file says of itself, if we wrote it.
        logged: The options in a `log.txt` beside it, if there is one.
        colours: `mean` and `std` of the channels, where the file has them.
        values: The plain values beside the file's weights.
    """
    if told is not None:
        return Preprocessing.from_dict(told), []
    preprocessing = replace(family.preprocessing_for(architecture.joints), **colours)  # type: ignore[arg-type]
    said = family.said(values)
    preprocessing = replace(preprocessing, **said)  # type: ignore[arg-type]
    notices = [family.notice] if family.notice is not None else []
    if said:
        height, width = preprocessing.shape
        notices.append(f"its inputs are {height} high and {width} wide, as the configuration inside of the file says")
    if logged:
        preprocessing = _from_log(preprocessing, logged)
    if architecture.accepts(preprocessing.im_size):
        return preprocessing, notices
    sizes = architecture.input_sizes()
    assert sizes is not None
    side = sizes[1] if architecture.own is None else architecture.own.input_size[0]
    notices.append(
        f"its first fully connected layer is made for inputs of {sizes[0]} to {sizes[1]} pixels a side, "
        f"not {preprocessing.im_size}: im_size is taken as {side}; --im-size says otherwise"
    )
    return replace(preprocessing, im_size=side), notices


def _from_log(preprocessing: Preprocessing, options: Mapping[str, Any]) -> Preprocessing:
    """Takes what a log.txt says of the training's preprocessing."""
    changes: dict[str, Any] = {}
    for name, kind in (("im_size", int), ("base_zoom", float), ("coord_normalize", bool)):
        value = options.get(name)
        if isinstance(value, int | float) and (kind is bool or value > 0):
            changes[name] = kind(value)
    if options.get("gcn") in (False, 0):
        changes["gcn"] = "none"
    return replace(preprocessing, **changes)
