"""How a file's network was fed: told by itself, by the log of its training, or by whose file it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from converters.checkpoint import Preprocessing
from converters.families import Family
from converters.families.joints import named
from converters.networks import Architecture

_PARTS = {
    "joints": "the box of the joints, its sides times {0.base_zoom:g}",
    "joints-whole": "the box of the joints, its sides times {0.base_zoom:g}, every pixel that it touches",
    "joints-margin": "the box of the joints and {0.margin:g} of the person's height on each side",
    "picture": "the whole picture",
    "window": "{0.im_size} x {0.im_size} pixels around the joints, not resized",
    "letterbox": "a letterbox, the box of the joints times {0.base_zoom:g}",
    "letterbox-corners": "a letterbox by its corners (size - 1), the box of the joints times {0.base_zoom:g}",
}
_INTERPOLATIONS = {
    "linear": "linear",
    "nearest": "nearest pixel",
    "antialiased": "as Pillow's bilinear",
    "unrounded": "linear, not rounded",
}
_GCN = {"divide": ", (x - mean) / (std + 1e-5)", "subtract": ", x - mean - (std + 1e-5)", "none": ""}
_FRAMES = {
    "centred": "-0.5 .. 0.5",
    "middle": "-0.5 .. 0.5 exactly",
    "unit": "0 .. 1",
    "symmetric": "-1 .. 1",
}


def preprocessing_of(
    family: Family,
    architecture: Architecture,
    told: Mapping[str, object] | None,
    logged: Mapping[str, object] | None,
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
        return named(Preprocessing.from_dict(told), architecture.joints), []
    preprocessing = named(family.preprocessing_for(architecture.joints), architecture.joints)
    said = family.said(values)
    preprocessing = replace(preprocessing, **{**said.fields, **colours})  # type: ignore[arg-type]
    notices = [*([] if family.notice is None else [family.notice]), *said.notices]
    if logged:
        preprocessing = _from_log(preprocessing, logged)
    if architecture.accepts(preprocessing.im_size):
        return preprocessing, notices
    sizes = architecture.input_sizes()
    if architecture.own is not None:
        side = architecture.own.input_size[0]
    else:
        side = family.preprocessing.im_size if sizes is None else sizes[1]
    what = "its network takes" if sizes is None else "its first fully connected layer is made for"
    notices.append(
        f"{what} {architecture.takes}, not {preprocessing.im_size}: im_size is taken as {side}; override with --im-size"
    )
    return replace(preprocessing, im_size=side), notices


def _from_log(preprocessing: Preprocessing, options: Mapping[str, object]) -> Preprocessing:
    """Takes what a log.txt says of the training's preprocessing."""
    changes: dict[str, Any] = {}
    for name, kind in (("im_size", int), ("base_zoom", float), ("coord_normalize", bool)):
        value = options.get(name)
        if isinstance(value, int | float) and (kind is bool or value > 0):
            changes[name] = kind(value)
    if options.get("gcn") in (False, 0):
        changes["gcn"] = "none"
    return replace(preprocessing, **changes)


def in_words(preprocessing: Preprocessing) -> tuple[str, str, str, str]:
    """Returns what of a picture a network sees, the input's size, its pixels and its labels, each as a phrase."""
    height, width = preprocessing.shape
    size = f"{height} pixels a side" if height == width else f"{height} high, {width} wide"
    pixels = preprocessing.colour + _GCN[preprocessing.gcn]
    if preprocessing.scale != 1:
        pixels += f" / {preprocessing.scale:g}"
    if any(preprocessing.mean):
        pixels += f", - ({', '.join(f'{m:g}' for m in preprocessing.mean)})"
    if set(preprocessing.std) != {1.0}:
        pixels += f", / ({', '.join(f'{s:g}' for s in preprocessing.std)})"
    labels = _FRAMES[preprocessing.frame] if preprocessing.coord_normalize else "pixels of the input"
    labels += {"xy": "", "yx": ", y first"}[preprocessing.axes]
    labels += {"interleaved": "", "planar": ", all x, then all y"}[preprocessing.order]
    labels += ", of whole pixels" if preprocessing.whole_pixels else ""
    labels += ", answers clipped to it" if preprocessing.clip else ""
    part = _PARTS[preprocessing.part].format(preprocessing)
    return part, f"{size}, {_INTERPOLATIONS[preprocessing.interpolation]}", pixels, labels
