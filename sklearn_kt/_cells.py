"""What text in a table is: a number, a label, or a spoiled number; the unit in a column's name."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

__all__ = [
    "FORMULA_COLUMN",
    "aligned",
    "as_number",
    "is_decimal_comma",
    "is_empty",
    "marks_missing",
    "names_a_class",
    "names_a_condition",
    "number_kind",
    "unit_of_name",
    "with_unit",
    "without_unit",
]

# the column of formulas, unless another is named
FORMULA_COLUMN = "formula"

# what columns of conditions are called
_CONDITION = re.compile(
    r"temp|press|atmosph|rate|frequen|thickness|route|method|synthes|process|anneal|field"
    r"|(^|[^a-z])(t|p|time|hours?|doping|direction)($|[^a-z])",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
# what "<0.1", "8,5", "0.66±0.1", "1 066.5", "5 eV" and "2020-01-01" have in common; classes such as
# 2D, 3d, 4mm and 2/m do not
_LIKE_NUMBER = re.compile(
    r"""[~≈<>≤≥=±+−–$€£\s-]*                                    # bounds and signs
    (?P<number>[\d.,'_\s]*\d[\d.,'_\s]*)
    (?P<rest>[±(×*^%‰°] | [–−/~:-]\s*\d | e[+-]?\d | x\s*10     # errors, powers, ranges
    | ([mk]?eV|K|[kMG]?Pa|[nµp]m|Å|[mk]?V|k?J|[SWg]/)(?!\w))?""",  # noqa: RUF001
    re.VERBOSE | re.IGNORECASE,
)
# a number that is written as programs write it: 00123 and +5 may be names
_PLAIN_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
# as programs write them; of formulas none is one
_MISSING = {"nan", "-nan", "na", "n/a", "#n/a", "<na>", "null", "none"}
_NOT_FINITE = {"nan", "inf", "infinity"}
_UNIT = re.compile(r"[\[(]([^\[\]()]+)[\])]\s*$")
# characters of what may be a number with its unit
_MAX_NUMBER = 60


def is_empty(value: Any) -> bool:
    """Tell cells without a value: None, a number that is none, and blank text."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))


def marks_missing(value: Any) -> bool:
    """Tell cells of a column of numbers that say that there is none: empty ones, NaN, NA."""
    return is_empty(value) or (isinstance(value, str) and value.strip().lower() in _MISSING)


def as_number(value: Any, decimal: str) -> float | None:
    """Read a number, or text that is one and nothing else; what is not finite stays that."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        text = value.strip().replace("−", "-")  # noqa: RUF001
        if decimal != ".":
            # a point would separate thousands
            text = text.replace(".", "_").replace(decimal, ".")
        if not _NUMBER.fullmatch(text) and text.lower().lstrip("+-") not in _NOT_FINITE:
            return None
        return float(text)
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def number_kind(text: str, decimal: str) -> str | None:
    """Tell text that is nothing but a number, "int" or "float"; None of all else."""
    text = text.strip()
    if decimal != ".":
        # a point would separate thousands
        text = text.replace(".", "_").replace(decimal, ".")
    found = _PLAIN_NUMBER.fullmatch(text)
    if found is None:
        return None
    return "int" if found[2] is found[3] is None else "float"


def names_a_condition(name: str) -> bool:
    """Tell columns that are called like conditions of a measurement or a synthesis."""
    return _CONDITION.search(name) is not None


def names_a_class(value: Any) -> bool:
    """Tell labels from spoiled numbers, missing values, dates and what cannot be a label."""
    if not isinstance(value, str):
        return isinstance(value, bool)
    text = value.strip()
    if text.lower().lstrip("+-") in _NOT_FINITE:
        return False
    found = _LIKE_NUMBER.match(text) if len(text) <= _MAX_NUMBER else None
    if found is None:
        return True
    number = found["number"]
    whole = found.end() == len(text) or found["rest"]
    return not (whole or number[-1].isspace() or re.search(r"[.,]\d", number))


def is_decimal_comma(value: Any) -> bool:
    """Tell ``8,5``, which a decimal comma makes a number."""
    return isinstance(value, str) and bool(re.fullmatch(r"[+−-]?\d*,\d+", value.strip()))  # noqa: RUF001


def unit_of_name(column: str) -> str:
    """Read the unit from the name of a column: what stands in brackets at its end."""
    found = _UNIT.search(column)
    return found.group(1).strip() if found else ""


def with_unit(name: str, unit: str) -> str:
    """Put the unit of a column after its name, unless it is there."""
    return f"{name} ({unit})" if unit and unit != unit_of_name(name) else name


def without_unit(column: str) -> str:
    """Give the name of a column without the unit at its end."""
    return _UNIT.sub("", column).strip()


def aligned(columns: Sequence[Sequence[str]]) -> list[str]:
    """Write columns of text as lines: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in columns]
    return [
        "  ".join(
            [name.ljust(widths[0])]
            + [figure.rjust(width) for figure, width in zip(figures, widths[1:], strict=True)]
        )
        for name, *figures in zip(*columns, strict=True)
    ]
