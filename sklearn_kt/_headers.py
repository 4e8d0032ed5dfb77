"""What the first lines of a table of text tell: what separates columns, and if they have names."""

from __future__ import annotations

import re
import warnings

from ._cells import FORMULA_COLUMN, as_number
from ._formula import NotAComposition, amounts_of_formula
from .exceptions import CompositionWarning, InputError

__all__ = ["begins_with_data", "check_separated", "delimiter_of", "reads_as_formula"]


def delimiter_of(header: str) -> str:
    """Tell what separates the columns: what is most frequent outside quotes, or the comma."""
    return max(",;\t", key=re.sub(r'"[^"]*"?', "", header).count)


def begins_with_data(table: str, place: str, first: str, second: str | None) -> bool:
    """Tell a list of formulas without a header, and warn that it was read as one.

    Parameters
    ----------
    table : str
        What messages call the table, which has one column.
    place : str
        Where its first cell stands.
    first, second : str
        The first two cells; None where there is no second one.

    Returns
    -------
    is_data : bool
        Whether the first cell is a formula, and the second not a number: a column of amounts may
        be named by its element.
    """
    if not reads_as_formula(first):
        return False
    if second is not None and as_number(second, ".") is not None and not reads_as_formula(second):
        return False
    warnings.warn(
        f"{table} has no header: {place} holds a formula, {first!r}, which is read as the first of"
        f" them. If it is the name of the column, write {FORMULA_COLUMN!r} instead.",
        CompositionWarning,
        # one place, so that it is shown once however often the table is opened
        stacklevel=1,
    )
    return True


def check_separated(table: str, place: str, first: str, second: str | None) -> None:
    """Refuse columns with blanks between, whose numbers would pass for amounts of formulas.

    The parameters are those of :func:`begins_with_data`.
    """
    names = first.split()
    values = names if second is None else second.split()
    if len(names) > 1 and any(as_number(value, ".") is not None for value in values[1:]):
        raise InputError(
            f"{table}, {place}: {first!r} is read as one name, since blanks do not separate"
            " columns. Write commas, semicolons or tabs between columns; if it is one column, name"
            f" it by one word, such as {FORMULA_COLUMN!r}."
        )


def reads_as_formula(text: str) -> bool:
    """Tell whether a text is a composition."""
    try:
        return bool(amounts_of_formula(text, []))
    except NotAComposition:
        return False
