"""The configuration that MMPose's files hold as text, of which everything is searched and nothing run.

It is `meta.config` in 0.x and `meta.cfg` in 1.x, and says what no array tells: how inputs were made. It registers
nothing: the families of MMPose's networks ask it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from converters.families.family import Said

#: What is taken from each channel and what divides it, in the order of RGB: ImageNet's mostly.
IMAGENET = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
_PADDED = 1.25
_NUMBER = r"[-+]?\d{1,4}(?:\.\d{0,16})?"


def setting(name: str) -> str:
    """Returns the pattern of what precedes a setting's value, as a keyword, a variable or a key says it."""
    return rf"""\b{name}["']?\s*[=:]\s*"""


_SIZE = re.compile(
    setting("(?:image_size|input_size)") + r"(?:np\.array\()?(?:[\[(]\s*(\d{1,4})\s*,\s*(\d{1,4})|(\d{1,4}))"
)
_LEVELS = {
    name: re.compile(setting(name) + rf"[\[(]\s*({_NUMBER})\s*,\s*({_NUMBER})\s*,\s*({_NUMBER})\s*,?\s*[\])]")
    for name in ("mean", "std")
}
#: A step of a pipeline without anything nested in it; and the one that pads a box, 1.x's and 0.x's.
_STEP, _BOX = re.compile(r"[({][^(){}]*[)}]"), re.compile(r"\b(?:GetBBoxCenterScale|TopDownGetBboxCenterScale)\b")
_PADDING = re.compile(setting("padding") + f"({_NUMBER})")
#: 1.x exchanges red and blue where either is so, and leaves BGR by default; 0.x reads pictures as RGB.
_EXCHANGED = re.compile(setting("(?:bgr_to_rgb|rgb_to_bgr)") + r"(?i:(true)|false)\b")
_LEAVES = re.compile(r"\bPoseDataPreprocessor\b|" + setting("channel_order") + r"[\"']bgr\b")
_DARK = re.compile(setting("unbiased") + r"(?i:true)\b|" + setting("post_process") + r"[\"']unbiased\b")
_SOURCE = "as the configuration inside of the file says"
_COMMENT = re.compile(r"#[^\n]*")


def configuration(values: Mapping[str, object]) -> str:
    """Returns the configuration inside of a file, without comments; empty where there is none.

    Args:
        values: The plain values beside a file's arrays.
    """
    meta = values.get("meta")
    found = [meta.get(name) for name in ("config", "cfg")] if isinstance(meta, Mapping) else []
    text = next((one if isinstance(one, str) else repr(one) for one in found if isinstance(one, str | Mapping)), "")
    return _COMMENT.sub("", text)


def joints_in(text: str) -> int | None:
    """Returns how many joints a configuration says that the network answers; None where it does not say it alone."""
    numbers = {int(number) for number in re.findall(setting("num_joints") + r"(\d{1,4})\b", text)}
    return numbers.pop() if len(numbers) == 1 else None


def said(values: Mapping[str, object]) -> Said:
    """Returns what a configuration says of a network's inputs, as far as it says it in one way."""
    text = configuration(values)
    told = Said()
    sizes = {tuple(int(n) for n in match.groups() if n) for match in _SIZE.finditer(text)}
    sizes = {size for size in sizes if all(size)}
    if len(sizes) == 1:
        (size,) = sizes
        width, height = size if len(size) == 2 else (*size, *size)
        told = told.also(
            {"im_size": height, "im_width": None if width == height else width},
            f"its inputs are {height} high and {width} wide, {_SOURCE}",
        )
    elif sizes:
        told = told.also({}, _several("sizes of its inputs", sizes, "--im-size"))
    found = (_PADDING.search(step) for step in _STEP.findall(text) if _BOX.search(step))
    paddings = {_PADDED if padding is None else float(padding[1]) for padding in found}
    if len(paddings) == 1 and 0 < max(paddings) != _PADDED:
        (padding,) = paddings
        told = told.also({"base_zoom": padding}, f"it sees {padding:g} times a person's box, {_SOURCE}")
    elif len(paddings) > 1:
        told = told.also({}, _several("paddings of a person's box", paddings, "--base-zoom"))
    told = _colours(text, told)
    if _DARK.search(text):
        told = told.also({}, f"its joints were found as DarkPose does, {_SOURCE}: that is not done here")
    return told


def _colours(text: str, told: Said) -> Said:
    """Adds what becomes of the colours of a picture."""
    exchanged = [bool(one) for one in _EXCHANGED.findall(text)]
    if (exchanged and not any(exchanged)) or (not exchanged and _LEAVES.search(text)):
        told = told.also({"colour": "BGR"}, f"its inputs are BGR, {_SOURCE}")
    scale = 255.0 if "NormalizeTensor" in text else 1.0  # which takes what `ToTensor` has divided
    for name, pattern in _LEVELS.items():
        levels = {tuple(scale * float(n) for n in match.groups()) for match in pattern.finditer(text)}
        if len(levels) > 1:
            told = told.also({}, _several(f"{name}s of its inputs' colours", levels))
        for one in levels if len(levels) == 1 else ():
            if all(abs(a - b) < 0.01 for a, b in zip(one, IMAGENET[name], strict=True)) or (
                name == "std" and not all(one)
            ):
                continue
            numbers = ", ".join(f"{n:g}" for n in one)
            told = told.also({name: one}, f"the {name} of its inputs' colours is ({numbers}), {_SOURCE}")
    return told


def _several(what: str, found: set[tuple[int, ...]] | set[tuple[float, ...]] | set[float], option: str = "") -> str:
    """Says that a configuration contradicts itself."""
    several = ", ".join(str(one) for one in sorted(found))
    more = f"; {option} overrides it" if option else ""
    return f"the configuration inside of the file says several {what} ({several}): taken as MMPose does mostly{more}"
