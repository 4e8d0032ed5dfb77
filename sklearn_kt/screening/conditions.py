"""Conditions of the rows that a model predicts: columns of a table, or values that are given."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sklearn_kt._cells import as_number
from sklearn_kt._model_guards import objects_in
from sklearn_kt.conditions import ConditionEncoder
from sklearn_kt.exceptions import InputError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Conditions", "encoder_of", "grid_of"]


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
    """

    encoder: ConditionEncoder
    grid: pd.DataFrame
    columns: tuple[str, ...]

    @classmethod
    def of(
        cls, model: Any, given: Mapping[str, Any], available: Collection[str]
    ) -> Conditions | None:
        """Find the conditions of a model; None if it has none.

        Parameters
        ----------
        model : estimator
            Fitted.
        given : mapping of str to value or sequence of values
            Those that are the same, or tried in turn, for every row.
        available : collection of str
            Columns of the table.

        Raises
        ------
        InputError
            If a condition is neither given nor a column, is both, or the model has none of that
            name.
        """
        encoder = encoder_of(model)
        names = [] if encoder is None else [*encoder.numbers_, *encoder.categories_]
        for name in given:
            if name not in names:
                raise InputError(
                    f"the model has no condition {name!r}; it has "
                    f"{', '.join(map(repr, names)) or 'none'}."
                )
            if name in available:
                raise InputError(f"the condition {name!r} is given, and a column of the table too.")
        missing = [name for name in names if name not in given and name not in available]
        if missing:
            raise InputError(
                f"the model needs the condition {missing[0]!r}, which is no column of the table; "
                "add it, or give its value."
            )
        if encoder is None:
            return None
        return cls(encoder, grid_of(given), tuple(name for name in names if name not in given))

    def table(self, formulas: np.ndarray, rows: pa.Table | None) -> pd.DataFrame:
        """Give every row with every combination of the values given, as the model reads them."""
        n = len(self.grid)
        table = pd.DataFrame({self.encoder.composition_column_: np.repeat(formulas, n)})
        for name in self.columns:
            values = [self.encoder.typical_[name]] * len(formulas)
            if rows is not None:
                values = self._values(name, rows.column(name).to_pylist())
            table[name] = pd.Series(values).repeat(n).to_numpy()
        for name, values in self.grid.items():
            table[name] = np.tile(values.to_numpy(), len(formulas))
        return table

    def _values(self, name: str, values: list[Any]) -> list[Any]:
        """Read the cells of a column; text files hold numbers as text."""
        if name not in self.encoder.numbers_:
            return [None if value in (None, "") else str(value) for value in values]
        numbers: list[Any] = []
        for value in values:
            empty = value is None or (isinstance(value, str) and not value.strip())
            numbers.append(np.nan if empty else as_number(value, "."))
            if numbers[-1] is None:
                raise InputError(
                    f"the condition {name!r} holds {value!r}, where the training table held "
                    "numbers."
                )
        return numbers


def encoder_of(model: Any) -> ConditionEncoder | None:
    """Find what reads the conditions in a fitted model, or None."""
    found = (item for item in objects_in(model) if isinstance(item, ConditionEncoder))
    return next((item for item in found if hasattr(item, "typical_")), None)


def grid_of(given: Mapping[str, Any]) -> pd.DataFrame:
    """Combine all values of each condition with those of the others, the last one fastest."""
    values = [
        list(value) if isinstance(value, list | tuple | np.ndarray) else [value]
        for value in given.values()
    ]
    for name, several in zip(given, values, strict=True):
        if not several:
            raise InputError(f"no value is given for the condition {name!r}.")
    return pd.DataFrame(list(product(*values)), columns=list(given))
