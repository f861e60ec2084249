"""Tables as commands show them, read back."""

import re


def tables_of(text):
    """The tables in what a command showed: lists of rows, the headings first; a cell that is empty is left out."""
    tables, lines = [], text.splitlines()
    for i, line in enumerate(lines):
        if line.strip() and set(line.strip()) == {"─"}:
            rows = [lines[i - 1]]
            rows += lines[i + 1 : next(j for j in range(i, len(lines)) if not lines[j].strip())]
            tables.append([re.split(r"\s{2,}", row.strip()) for row in rows])
    return tables


def number_in(text):
    """The number that a cell shows, without its unit, and how much its last digit is worth."""
    plain = text.replace(",", "").replace("\N{MINUS SIGN}", "-")
    found = re.match(r"([+-]?)(\d+)(?:\.(\d+))?(e[+-]\d+)?", plain)
    assert found, f"{text!r} is no number"
    sign, whole, fraction, power = found.groups()
    scale = 10.0 ** int((power or "e0")[1:])
    value = float(f"{whole}.{fraction or 0}") * scale
    return (-value if sign == "-" else value), scale * 10.0 ** -len(fraction or "")


def shows(text, value, scale=1.0):
    """Tells whether a cell shows a value, in all of its digits; `scale` is 100 where it shows per cent."""
    number, digit = number_in(text)
    return abs(number - scale * value) <= 0.5000001 * digit
