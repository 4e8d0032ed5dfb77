"""Conditions of the rows that a model predicts: columns of a table, or values that are given."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sklearn_kt._cells import as_number, is_empty
from sklearn_kt.conditions import ConditionEncoder
from sklearn_kt.estimators.base import encoder_of
from sklearn_kt.exceptions import ConditionWarning, InputError

from .names import check_conditions

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Conditions", "condition_names", "conditions_checked", "grid_of"]


@dataclass(frozen=True, eq=False)
class Conditions:
    """Where the conditions of a model come from.

    Parameters
    ----------
    encoder : ConditionEncoder
        Of the model.
    grid : DataFrame
        Every combination of the values that are given; one row without columns if there are
        none.
    columns : tuple of str
        Conditions that are columns of the table.
    decimal : str
        Mark before the decimals of numbers in columns of text.
    told : set
        What was warned of already, which is said once for all batches.
    """

    encoder: ConditionEncoder
    grid: pd.DataFrame
    columns: tuple[str, ...]
    decimal: str = "."
    told: set[tuple[str, str]] = field(default_factory=set)

    @classmethod
    def of(
        cls, model: Any, given: Mapping[str, Any], available: Sequence[str], decimal: str = "."
    ) -> Conditions | None:
        """Find the conditions of a model; None if it has none.

        Parameters
        ----------
        model : estimator
            Fitted.
        given : mapping of str to value or sequence of values
            Those that are the same, or tried in turn, for every row.
        available : sequence of str
            Columns of the table.
        decimal : str, default="."
            Mark before the decimals of numbers in columns of text.

        Raises
        ------
        InputError
            If a condition is neither given nor a column, is both, or the model has none of that
            name.
        """
        encoder = encoder_of(model)
        names = condition_names(encoder)
        check_conditions(names, given, available)
        if encoder is None:
            return None
        columns = tuple(name for name in names if name not in given)
        found = cls(encoder, grid_of(given), columns, decimal)
        for name, values in found.grid.items():
            distinct = pd.DataFrame({name: list(dict.fromkeys(values))})
            found._check(distinct, lambda at: f"value {at + 1} given")
        return found

    def check(self, rows: pa.Table, place: Callable[[int], str]) -> None:
        """Check the columns of some rows, and warn of what is new in them.

        Parameters
        ----------
        rows : pyarrow.Table
            Rows of the table.
        place : callable
            Names the place of a row, for messages.

        Raises
        ------
        InputError
            If a value cannot be read, or a category is unknown.

        Warns
        -----
        ConditionWarning
            If a number lies outside the training range, or is missing for the first time.
        """
        self._check(pd.DataFrame(self._read(rows)), place)

    def table(self, formulas: np.ndarray, rows: pa.Table | None) -> pd.DataFrame:
        """Give every row with every combination of the values given, as the model reads them."""
        n = len(self.grid)
        table = pd.DataFrame({self.encoder.composition_column_: np.repeat(formulas, n)})
        columns = {} if rows is None else self._read(rows)
        for name in self.columns:
            values = pd.Series([self.encoder.typical_[name]] * len(formulas))
            if rows is not None:
                values = columns[name]
            table[name] = values.repeat(n).to_numpy()
        for name, values in self.grid.items():
            table[name] = np.tile(values.to_numpy(), len(formulas))
        return table

    def _check(self, table: pd.DataFrame, place: Callable[[int], str]) -> None:
        new = self.encoder.unlike_training(table, place)
        if untold := [text for key, text in new.items() if key not in self.told]:
            warnings.warn(f"{'; '.join(untold)}.", ConditionWarning, stacklevel=2)
        self.told.update(new)

    def _read(self, rows: pa.Table) -> dict[str, pd.Series]:
        """Read the columns that are conditions; text files hold numbers as text."""
        found = {}
        for name in self.columns:
            values = rows.column(name).to_pylist()
            if name in self.encoder.numbers_:
                read = [np.nan if is_empty(v) else as_number(v, self.decimal) for v in values]
                # what is no number is named by who checks
                pairs = zip(values, read, strict=True)
                mixed = [value if number is None else number for value, number in pairs]
                found[name] = pd.Series(mixed, dtype=object if None in read else float)
            else:
                found[name] = pd.Series(values, dtype=object)
        return found


def condition_names(encoder: ConditionEncoder | None) -> list[str]:
    """Name the conditions of a model."""
    return [] if encoder is None else [*encoder.numbers_, *encoder.categories_]


@contextmanager
def conditions_checked() -> Iterator[None]:
    """While models predict for rows that were checked, what was told is not repeated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConditionWarning)
        yield


def grid_of(given: Mapping[str, Any]) -> pd.DataFrame:
    """Combine all values of each condition with those of the others, the last one fastest."""
    values = [
        list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]
        for value in given.values()
    ]
    for name, several in zip(given, values, strict=True):
        if not several:
            raise InputError(f"no value is given for the condition {name!r}.")
    return pd.DataFrame(list(product(*values)), columns=list(given))
