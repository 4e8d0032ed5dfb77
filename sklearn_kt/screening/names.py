"""Names of conditions: which a model has, which are given, which the table has."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from sklearn_kt.exceptions import InputError
from sklearn_kt.tables import did_you_mean

__all__ = ["check_conditions", "check_given"]


def check_given(names: Sequence[str], given: Iterable[str]) -> None:
    """Raise InputError if a condition is given that a model does not have.

    Parameters
    ----------
    names : sequence of str
        Conditions of the model.
    given : iterable of str
        Those that are the same for all rows.
    """
    for name in given:
        if name not in names:
            raise InputError(
                f"the model has no condition {name!r}; it has"
                f" {', '.join(map(repr, names)) or 'none'}.{did_you_mean(name, names)}"
            )


def check_conditions(
    names: Sequence[str], given: Collection[str], available: Sequence[str]
) -> None:
    """Raise InputError if conditions of a model are not each given or one column of the table.

    Parameters
    ----------
    names, given : sequence of str
        As of :func:`check_given`, which is done, too.
    available : sequence of str
        Columns of the table.
    """
    check_given(names, given)
    for name in given:
        if name in available:
            raise InputError(
                f"the condition {name!r} is given, and a column of the table too: leave one out."
            )
    if several := [name for name in names if available.count(name) > 1]:
        raise InputError(f"the table has several columns {several[0]!r}; rename all but one.")
    missing = [name for name in names if name not in given and name not in available]
    if missing:
        raise InputError(
            f"the model needs the condition {missing[0]!r}, which is no column of the table: add"
            f" it, or give its value in conditions (--set '{missing[0]}=VALUE')."
            f"{did_you_mean(missing[0], available)}"
        )
