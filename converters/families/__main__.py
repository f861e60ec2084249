"""Brings the tables of docs/families.md up to date: `python -m converters.families docs/families.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from converters.families import FAMILIES
from converters.families.unsupported import UNSUPPORTED
from converters.formats.foreign import FOREIGN
from converters.preprocessing import in_words


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
                (f"`{family.name}`" + (f", {joints} joints" if joints else ""), *in_words(preprocessing))
                for family in families
                if family.tables
                for joints, preprocessing in ((0, family.preprocessing), *family.by_joints.items())
                if not joints or in_words(preprocessing) != in_words(family.preprocessing)
            ),
        ),
        "unsupported": _table(
            ("whose files", "recognised by", "why", "what to do"),
            ((m.title, m.recognised, m.problem, m.advice) for m in UNSUPPORTED),
        ),
        "foreign": _table(("what is said", "what to do"), ((kind.problem, kind.advice) for kind in FOREIGN)),
    }


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
