"""Conditions: what stands beside the composition in a row, such as temperature or a route.

:class:`ConditionEncoder` reads a table with one column of compositions and others beside it
into a :class:`MeasuredBatch`; estimators do so by themselves.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils.validation import check_is_fitted

from ._cells import names_a_class
from ._formula import shorten
from .compositions import (
    CompositionBatch,
    Rows,
    is_composition_input,
    read_compositions,
    read_rows,
)
from .exceptions import ConditionWarning, InputError
from .fitting import fit_context

__all__ = ["ConditionEncoder", "MeasuredBatch", "composition_column"]

_MISSING = "missing"
# From so many rows on, a condition of which more than this part differs is rather their name.
_FEW_ROWS = 20
_MOST_DIFFER = 0.9
# names the place of a row, for messages
Place = Callable[[int], str]
# forests hold columns in single precision
_LARGEST = float(np.finfo(np.float32).max)
# names that a message lists
_SHOWN = 12


@dataclass(frozen=True, eq=False)
class MeasuredBatch(CompositionBatch):
    """Compositions of many rows, and the conditions of each.

    Parameters
    ----------
    atomic_numbers, amounts, offsets : ndarray
        As of :class:`~sklearn_kt.compositions.CompositionBatch`.
    conditions : ndarray of float64, shape (n_rows, n_conditions)
        Finite numbers, as :class:`ConditionEncoder` makes them.
    names : tuple of str
        Of the conditions.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_kt.conditions import ConditionEncoder
    >>> table = pd.DataFrame({"formula": ["PbTe", "SnSe"], "temperature": [300, 700]})
    >>> batch = ConditionEncoder().fit(table).read(table)
    >>> batch[1:].formulas(), batch[1:].conditions.tolist()
    (['SnSe'], [[700.0]])
    """

    conditions: np.ndarray
    names: tuple[str, ...]

    def __getitem__(self, rows: Rows) -> MeasuredBatch:
        part, conditions = super().__getitem__(rows), self.conditions[self._positions(rows)]
        return MeasuredBatch(**vars(part), conditions=conditions, names=self.names)


class ConditionEncoder(TransformerMixin, BaseEstimator):
    """Conditions of a table as columns of finite numbers.

    Columns of numbers come first, and stay as they are. A missing number becomes the median of
    the training table, and where that table lacks some, a column of its own says so. Then
    come categories, which are text, booleans or of a categorical type: a column of zeros and ones
    for each. Blanks around a name do not count, and 3 and 3.0 are one category. A missing category
    is one of its own, called ``missing``; so is that word.

    Parameters
    ----------
    composition_column : str or None, default=None
        Column of compositions, which are left out; None finds it, as
        :func:`composition_column` does.

    Attributes
    ----------
    composition_column_ : str
        Column of compositions.
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Columns of the training table.
    n_features_in_ : int
        Their number.
    numbers_, categories_ : list of str
        Conditions that are numbers, and that are categories.
    ranges_ : ndarray of shape (2, n_numbers)
        Lowest and highest number of the training table.
    typical_ : dict of str to number or str
        Median of each condition that is a number, most frequent category of the others.
    imputer_ : SimpleImputer or None
        Fills in missing numbers; None without numbers.
    one_hot_ : OneHotEncoder or None
        Known categories; None without any.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_kt.conditions import ConditionEncoder
    >>> table = pd.DataFrame(
    ...     {
    ...         "formula": ["PbTe", "SnSe", "GeTe"],
    ...         "temperature": [300.0, 400.0, None],
    ...         "route": ["melted", "ball milled", "melted"],
    ...     }
    ... )
    >>> encoder = ConditionEncoder().fit(table)
    >>> encoder.get_feature_names_out().tolist()
    ['temperature', 'missingindicator_temperature', 'route_ball milled', 'route_melted']
    >>> encoder.transform(table)
    array([[300.,   0.,   0.,   1.],
           [400.,   0.,   1.,   0.],
           [350.,   1.,   0.,   1.]])
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {"composition_column": [str, None]}

    def __init__(self, composition_column: str | None = None) -> None:
        self.composition_column = composition_column

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn ranges and categories.

        Parameters
        ----------
        X : DataFrame of shape (n_samples, n_features)
            Of pandas or polars: a column of compositions, and conditions.
        y : None
            Ignored.

        Returns
        -------
        self : ConditionEncoder
            Fitted.

        Raises
        ------
        InputError
            If the columns are not told apart, or a condition cannot be read.

        Warns
        -----
        ConditionWarning
            If a condition is the same in every row.
        """
        self.composition_column_ = composition_column(X, self.composition_column)
        names = _names(X)
        self.feature_names_in_ = np.array(names, dtype=object)
        self.n_features_in_ = len(names)
        self.numbers_: list[str] = []
        self.categories_: list[str] = []
        for name in names:
            if name != self.composition_column_:
                held = self.numbers_ if _holds_numbers(X[name], name) else self.categories_
                held.append(name)
        self.imputer_: SimpleImputer | None = None
        self.one_hot_: OneHotEncoder | None = None
        self.ranges_ = np.empty((2, 0))
        constant, names_rows = [], []
        self.typical_: dict[str, Any] = {}
        if self.numbers_:
            numbers = np.column_stack([_read_numbers(X[name], name) for name in self.numbers_])
            for name, values in zip(self.numbers_, numbers.T, strict=True):
                if np.isnan(values).all():
                    raise InputError(
                        f"the condition {name!r} is missing in every row; leave it out."
                    )
            self.ranges_ = np.stack([np.nanmin(numbers, axis=0), np.nanmax(numbers, axis=0)])
            self.imputer_ = SimpleImputer(strategy="median", add_indicator=True).fit(numbers)
            medians = self.imputer_.statistics_.tolist()
            self.typical_ |= dict(zip(self.numbers_, medians, strict=True))
            same = (np.ptp(self.ranges_, axis=0) == 0) & ~np.isnan(numbers).any(axis=0)
            constant += [f"{self.numbers_[i]!r} is {numbers[0, i]:g}" for i in np.flatnonzero(same)]
        if self.categories_:
            text = np.column_stack([_read_categories(X[name]) for name in self.categories_])
            self.one_hot_ = OneHotEncoder(sparse_output=False).fit(text)
            frequent = map(_most_frequent, text.T)
            self.typical_ |= dict(zip(self.categories_, frequent, strict=True))
            for name, known in zip(self.categories_, self.one_hot_.categories_, strict=True):
                constant += [f"{name!r} is {known[0]!r}"] if len(known) == 1 else []
                if len(X) >= _FEW_ROWS and len(known) > _MOST_DIFFER * len(X):
                    names_rows.append(f"{name!r} ({len(known)} values in {len(X)} rows)")
        if constant:
            warnings.warn(
                f"a condition is the same in every row: {', '.join(constant)}. Nothing can be "
                "learned of it; leave it out, or add rows in which it differs.",
                ConditionWarning,
                stacklevel=2,
            )
        if names_rows:
            warnings.warn(
                f"a condition names rows, rather than how they were measured: "
                f"{', '.join(names_rows)}. Nothing can be learned of it, and new rows have values "
                "that it does not know; leave it out.",
                ConditionWarning,
                stacklevel=2,
            )
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Encode conditions.

        Parameters
        ----------
        X : DataFrame
            With the columns of the training table, in any order.

        Returns
        -------
        ndarray of shape (n_samples, n_columns)
            Finite numbers.

        Raises
        ------
        InputError
            If a column is missing or was not there, holds what it did not hold then, or a
            category is unknown.

        Warns
        -----
        ConditionWarning
            If a number lies outside the training range, or is missing for the first time.
        """
        check_is_fitted(self)
        self._check_columns(X)
        values = self._values(X)
        if new := self._new_in(values):
            warnings.warn(f"{'; '.join(new.values())}.", ConditionWarning, stacklevel=3)
        parts = [np.empty((len(X), 0))]
        if self.imputer_ is not None:
            numbers = np.column_stack([values[name] for name in self.numbers_])
            parts.append(np.asarray(self.imputer_.transform(numbers)))
        if self.one_hot_ is not None:
            text = np.column_stack([values[name] for name in self.categories_])
            parts.append(np.asarray(self.one_hot_.transform(text)))
        return np.hstack(parts)

    def unlike_training(self, X: Any, place: Place = "row {}".format) -> dict[tuple[str, str], str]:
        """Check values of conditions, and tell which numbers the training table was not like.

        Parameters
        ----------
        X : DataFrame
            With some of the conditions; other columns are not looked at.
        place : callable, default="row {}".format
            Names the place of a row, for messages.

        Returns
        -------
        found : dict of (condition, what is new) to str
            A message for each.

        Raises
        ------
        InputError
            If a value cannot be read, or a category is unknown.
        """
        check_is_fitted(self)
        return self._new_in(self._values(X, place), place)

    def read(self, X: Any, errors: str = "raise") -> MeasuredBatch:
        """Read compositions and conditions.

        Parameters
        ----------
        X : DataFrame
            With the columns of the training table, in any order.
        errors : {"raise", "nan"}, default="raise"
            As for :func:`~sklearn_kt.read_compositions`; conditions must be right in any case.

        Returns
        -------
        batch : MeasuredBatch
            A row for each of `X`.
        """
        check_is_fitted(self)
        self._check_columns(X)
        compositions = read_compositions(X[self.composition_column_], errors=errors)
        return MeasuredBatch(
            **vars(compositions),
            conditions=np.asarray(self.transform(X)),
            names=tuple(self.get_feature_names_out()),
        )

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the columns of :meth:`transform`.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        ndarray of str
            Names.
        """
        check_is_fitted(self)
        names: list[str] = []
        if self.imputer_ is not None:
            names += self.imputer_.get_feature_names_out(self.numbers_).tolist()
        if self.one_hot_ is not None:
            names += self.one_hot_.get_feature_names_out(self.categories_).tolist()
        return np.array(names, dtype=object)

    def _check_columns(self, X: Any) -> None:
        seen, names = self.feature_names_in_.tolist(), _names(X)
        missing = [name for name in seen if name not in names]
        new = [name for name in names if name not in seen]
        parts = []
        if missing:
            parts.append(f"lacks {_listed(missing)}, which fit saw")
        if new:
            parts.append(f"has {_listed(new)}, which fit did not see")
        if parts:
            raise InputError(
                f"X {' and '.join(parts)}; pass the columns {_listed(seen)}, in any order."
            )

    def _values(self, X: Any, place: Place = "row {}".format) -> dict[str, np.ndarray]:
        """Read the conditions that X has."""
        values = {n: _read_numbers(X[n], n, place) for n in self.numbers_ if n in X.columns}
        return values | {n: _read_categories(X[n]) for n in self.categories_ if n in X.columns}

    def _new_in(
        self, values: Mapping[str, np.ndarray], place: Place = "row {}".format
    ) -> dict[tuple[str, str], str]:
        """Tell which numbers the training table was not like; refuse unknown categories."""
        found: dict[tuple[str, str], str] = {}
        for at, name in enumerate(self.numbers_):
            if name in values:
                found |= self._new_numbers(at, values[name], place)
        for at, name in enumerate(self.categories_):
            if name in values:
                self._check_known(at, values[name], place)
        return found

    def _new_numbers(self, at: int, values: np.ndarray, place: Place) -> dict[tuple[str, str], str]:
        assert self.imputer_ is not None
        name, found = self.numbers_[at], {}
        low, high = self.ranges_[:, at]
        outside = np.flatnonzero((values < low) | (values > high))
        if len(outside):
            found[name, "outside"] = (
                f"{len(outside)} of {len(values)} rows have a {name!r} outside the training "
                f"range of {low:g} to {high:g} ({place(outside[0])}: {values[outside[0]]:g}), "
                "where predictions are extrapolations"
            )
        missing = np.flatnonzero(np.isnan(values))
        if len(missing) and at not in self.imputer_.indicator_.features_:
            found[name, "missing"] = (
                f"{len(missing)} of {len(values)} rows have no {name!r} ({place(missing[0])}), "
                "which no training row lacked; the training median of "
                f"{self.imputer_.statistics_[at]:g} stands in"
            )
        return found

    def _check_known(self, at: int, text: np.ndarray, place: Place) -> None:
        assert self.one_hot_ is not None
        name, known = self.categories_[at], self.one_hot_.categories_[at]
        new = np.flatnonzero(~np.isin(text, known))
        if len(new):
            value = text[new[0]]
            what = (
                "has no" if value == _MISSING else f"holds the unknown category {shorten(value)} of"
            )
            raise InputError(
                f"{place(new[0])} {what} {name!r}; those of the training table are "
                f"{_listed(known)}."
            )


def is_table(X: Any) -> bool:
    """Tell whether X is a DataFrame of pandas or polars; polars' LazyFrame is none yet."""
    # asking the type keeps polars from being imported for everyone
    polars = type(X).__module__.partition(".")[0] == "polars"
    # and asking a LazyFrame for its columns makes it warn
    return isinstance(X, pd.DataFrame) or (
        polars and not hasattr(X, "collect") and hasattr(X, "columns")
    )


def has_conditions(X: Any) -> bool:
    """Tell whether X is a table with columns beside its compositions."""
    return is_table(X) and X.shape[1] > 1 and is_composition_input(X)


def composition_column(X: Any, name: str | None = None) -> str:
    """Find the one column of a table that holds compositions.

    It is the one most of whose values read as formulas, or the only one that does not hold
    numbers or truth values.

    Parameters
    ----------
    X : DataFrame
        Of pandas or polars.
    name : str or None, default=None
        The column, if it is known.

    Returns
    -------
    name : str
        The column.

    Raises
    ------
    InputError
        If there is no such column, or several.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_kt.conditions import composition_column
    >>> composition_column(pd.DataFrame({"formula": ["NaCl", "MgO"], "T": [300.0, 400.0]}))
    'formula'
    """
    names = _names(X)
    if name is not None:
        if name not in names:
            raise InputError(
                f"composition_column={name!r} is none of the columns of X, which are "
                f"{_listed(names)}."
            )
        return name
    bad: dict[str, str] = {}
    candidates = []
    for label in names:
        if _is_numeric(X[label]) or _is_boolean(X[label]):
            continue
        values = X[label].to_list()
        if all(isinstance(value, str) for value in values):
            values = list(dict.fromkeys(values))
        rejected = read_rows(values)[1].rejected
        bad[label] = f"{label!r} holds {shorten(rejected[0][1])}" if rejected else ""
        if 2 * len(rejected) < len(values):
            candidates.append(label)
    found = candidates or (list(bad) if len(bad) == 1 else [])
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            f"the columns {_listed(found)} read as compositions; say which holds them by "
            "composition_column=."
        )
    why = ", ".join(bad.values()) or "all hold numbers or truth values"
    raise InputError(
        f"no column of X reads as compositions ({why}); correct it, or say which holds them by "
        "composition_column=."
    )


def typical_values(conditions: Mapping[str, Any]) -> dict[str, Any]:
    """Give the median of each condition that is a number, the most frequent category of others.

    Parameters
    ----------
    conditions : mapping of str to column
        Of pandas or polars.

    Returns
    -------
    typical : dict of str to float or str
        Of equally frequent categories, the first in the alphabet.
    """
    typical: dict[str, Any] = {}
    for name, column in conditions.items():
        if _holds_numbers(column, name):
            typical[name] = float(np.nanmedian(_read_numbers(column, name)))
        else:
            typical[name] = _most_frequent(_read_categories(column))
    return typical


def _most_frequent(text: np.ndarray) -> str:
    names, counts = np.unique(text, return_counts=True)
    return str(names[counts.argmax()])


def _names(X: Any) -> list[str]:
    if not is_table(X):
        raise InputError(
            f"Got {type(X).__name__} where a table of compositions and conditions is expected; "
            "pass a DataFrame of pandas or polars."
        )
    names = list(X.columns)
    for place, name in enumerate(names):
        if not isinstance(name, str):
            raise InputError(
                f"column {place} of X is called {name!r}; where conditions stand beside "
                "compositions, columns are told by names, which are text."
            )
        if name in names[:place]:
            raise InputError(f"X has several columns {name!r}; give each a name of its own.")
    return names


def _holds_numbers(column: Any, name: str) -> bool:
    """Tell numbers from categories; refuse what may be either, or is neither."""
    if _is_numeric(column):
        return True
    values = column.to_list()
    rows = np.flatnonzero(~_missing(values))
    if _is_boolean(column) or _is_categorical(column):
        return False
    numbers = [row for row in rows if _is_number(values[row])]
    if len(numbers) == len(rows):
        return True
    for row in rows:
        if not _is_number(values[row]) and not isinstance(values[row], str | bool | np.bool_):
            raise InputError(
                f"row {row} of the condition {name!r} holds {shorten(values[row])}, of type "
                f"{type(values[row]).__name__}; conditions are numbers or names of categories."
            )
    labels = [row for row in rows if names_a_class(values[row])]
    if len(labels) == len(rows):
        return False
    like = next(row for row in rows if row not in labels)
    text = f"the condition {name!r} holds {shorten(values[like])} in row {like}"
    if labels:
        text += f" and {shorten(values[labels[0]])} in row {labels[0]}"
    elif not _is_number(values[like]):
        text += ", as text"
    raise InputError(
        f"{text}: is it a column of numbers? Then make it one, without units and signs "
        "(pandas.to_numeric); if these are names of categories, give it a categorical type."
    )


def _read_numbers(column: Any, name: str, place: Place = "row {}".format) -> np.ndarray:
    """Values of a condition in double precision, NaN where they are missing."""
    if not _is_numeric(column):
        values = column.to_list()
        missing = _missing(values)
        for row in np.flatnonzero(~missing).tolist():
            if not _is_number(values[row]):
                raise InputError(
                    f"{place(row)} of the condition {name!r} holds {shorten(values[row])}, where "
                    "the training table held numbers."
                )
        pairs = zip(values, missing, strict=True)
        numbers = np.array([np.nan if gap else _as_float(value) for value, gap in pairs])
    elif isinstance(column, pd.Series):
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        # null becomes NaN
        numbers = column.cast(float).to_numpy()
    large = np.flatnonzero(np.abs(numbers) > _LARGEST)
    if len(large):
        row = large[0]
        raise InputError(
            f"{place(row)} of the condition {name!r} holds {numbers[row]:g}; conditions are finite "
            "numbers within single precision. Correct it, or leave it empty if it is not known."
        )
    return numbers


def _read_categories(column: Any) -> np.ndarray:
    """Names of categories, with a name for what is missing."""
    values = column.to_list()
    pairs = zip(values, _missing(values), strict=True)
    return np.array([_MISSING if gap else _spelled(value) for value, gap in pairs], dtype=object)


def _spelled(value: Any) -> str:
    """Spell a category: 3 and 3.0 are one, and so are names with and without blanks around."""
    whole = _is_number(value) and _as_float(value).is_integer()
    return str(int(value)) if whole else str(value).strip()


def _missing(values: list) -> np.ndarray:
    """Which values are missing: None, NaN and the like, and blank text."""
    blank = [isinstance(value, str) and not value.strip() for value in values]
    held = np.empty(len(values), dtype=object)
    held[:] = values
    return pd.isna(held) | np.array(blank, dtype=bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real | Decimal) and not isinstance(value, bool | np.bool_)


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return np.inf


def _is_numeric(column: Any) -> bool:
    if isinstance(column, pd.Series):
        kind = column.dtype
        return (
            pd.api.types.is_numeric_dtype(kind)
            and not pd.api.types.is_bool_dtype(kind)
            and not pd.api.types.is_complex_dtype(kind)
        )
    return column.dtype.is_numeric()


def _is_boolean(column: Any) -> bool:
    if isinstance(column, pd.Series):
        return pd.api.types.is_bool_dtype(column.dtype)
    return str(column.dtype) == "Boolean"


def _is_categorical(column: Any) -> bool:
    if isinstance(column, pd.Series):
        return isinstance(column.dtype, pd.CategoricalDtype)
    return str(column.dtype).startswith(("Categorical", "Enum"))


def _listed(names: Any) -> str:
    more = f", ... ({len(names):,} in all)" if len(names) > _SHOWN else ""
    return ", ".join(map(shorten, names[:_SHOWN])) + more
