"""Brings the tables of docs/families.md up to date: `python -m converters.families docs/families.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from converters.checkpoint import Preprocessing
from converters.families import FAMILIES
from converters.families.unsupported import UNSUPPORTED

_PARTS = {
    "joints": "the box of the joints, its sides times {0.base_zoom:g}",
    "joints-whole": "the box of the joints, its sides times {0.base_zoom:g}, every pixel that it touches",
    "picture": "the whole picture",
    "window": "{0.im_size} x {0.im_size} pixels around the joints, not resized",
    "letterbox": "a letterbox, the box of the joints times {0.base_zoom:g}",
    "letterbox-corners": "a letterbox by its corners (size - 1), the box of the joints times {0.base_zoom:g}",
}
_INTERPOLATIONS = {"linear": "linear", "nearest": "nearest pixel", "antialiased": "as Pillow's bilinear"}
_GCN = {"divide": ", (x - mean) / (std + 1e-5)", "subtract": ", x - mean - (std + 1e-5)", "none": ""}
_FRAMES = {
    "centred": "-0.5 .. 0.5",
    "middle": "-0.5 .. 0.5 exactly",
    "unit": "0 .. 1",
    "symmetric": "-1 .. 1",
}


def tables() -> dict[str, str]:
    """Returns each table of the page, in Markdown, by its name."""
    families = FAMILIES.values()
    return {
        "families": _table(
            ("family", "whose files", "recognised by", "what is done", "architectures", "engines"),
            ((f"`{f.name}`", f.title, f.recognised, f.done, _listed(f.tables), ", ".join(f.engines)) for f in families),
        ),
        "inputs": _table(
            ("family", "part of the picture", "input", "pixels", "labels"),
            (
                (f"`{family.name}`" + (f", {joints} joints" if joints else ""), *described(preprocessing))
                for family in families
                if family.tables
                for joints, preprocessing in ((0, family.preprocessing), *family.by_joints.items())
                if not joints or described(preprocessing) != described(family.preprocessing)
            ),
        ),
        "unsupported": _table(
            ("whose files", "recognised by", "why", "what to do"),
            ((m.title, m.recognised, m.problem, m.advice) for m in UNSUPPORTED),
        ),
    }


def described(preprocessing: Preprocessing) -> tuple[str, str, str, str]:
    """Returns what of a picture a network sees, the input's size, its pixels and its labels, each as a phrase."""
    height, width = preprocessing.shape
    size = f"{height}" if height == width else f"{height} high, {width} wide"
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
    labels += ", answers clipped to it" if preprocessing.clip else ""
    part = _PARTS[preprocessing.part].format(preprocessing)
    return part, f"{size}, {_INTERPOLATIONS[preprocessing.interpolation]}", pixels, labels


def brought_up_to_date(page: str) -> str:
    """Returns a page with each table between its marks, `<!-- NAME -->` and `<!-- end of NAME -->`, made anew."""
    for name, table in tables().items():
        start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, found, rest = page.partition(start)
        _, ended, after = rest.partition(end)
        if not (found and ended):
            raise ValueError(f"the page has no place for the table {name!r}")
        page = before + start + table + end + after
    return page


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    def lines() -> Iterator[str]:
        for row in (titles, ("---",) * len(titles), *rows):
            yield "| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |\n"

    return "".join(lines())


def main() -> None:
    """Brings the page that is named up to date."""
    path = Path(sys.argv[1])
    path.write_text(brought_up_to_date(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
