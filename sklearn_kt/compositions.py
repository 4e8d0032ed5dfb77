"""The gate for compositions: every public entry point reads them here.

:func:`read_compositions` turns any usual container of chemical formulas into
one :class:`CompositionBatch`: flat arrays of atomic numbers and amounts, which
all other modules work on. Rows that are not compositions are rejected with
their position, value and reason.

Notes
-----
**What a formula means.** Strings are read as ``pymatgen.core.Composition``
reads them wherever pymatgen accepts the string and finds known elements and a
positive total, down to the last bit of every amount: nested brackets of any
kind, fractional amounts, explicit ones, scientific notation (``Fe1e-3``),
spaces between tokens, ``@`` ignored (``Y3N@C80``), ``D`` and ``T`` as hydrogen.
Amounts smaller than 1e-8 count as absent, as in pymatgen, so that ``La2Sr0CuO4``
holds no strontium; a row in which nothing is left is rejected.
Beyond pymatgen, unicode subscripts, fractions of small integers (``Pb(Mg1/3Nb2/3)O3``), ``1E-3``
and parts are read: ``·`` (also ``•``, ``∙``, ``⋅``, ``*``) begins a part with an optional
multiplier, ``CuSO4·5H2O``.

**What a dot means.** Between two digits a ``.`` is a decimal point, before a letter or a bracket
it separates parts (``CaO.Al2O3``), and of the two dots in ``CaSO4.0.5H2O`` the first does. A ``.``
before a whole multiple of water, of ammonia or of a compound that repeats an element written
before (``CuSO4.5H2O``, ``Li2O.2B2O3``) also separates, where pymatgen would read a decimal.
Unless nothing else can be meant, as in ``CaO.Al2O3.2SiO2``, a :class:`CompositionWarning` then
tells how to write either.

**What letters mean.** Letters are read as pymatgen reads them, with a warning where something else
is commonly meant: ``Fe(III)2O3``, ``DD0.1Fe4Sb12``, ``PbTe NCs``, ``YBCO``. An amount written out
says that an element is meant: ``Y1B1C1O1``.

Stricter than pymatgen: empty brackets, unknown symbols even with amount 0, and
every minus sign outside an exponent are rejected (pymatgen reads ``Fe-1Fe2`` as Fe1).

**Why an own parser.** pymatgen misses the aim of 100,000 strings a second once its objects
are put into a batch. On 100,000 distinct formulas of Materials Project and OQMD one busy core
read 277,000 strings a second here, 68,000 with ``pymatgen.core.Composition``, and 44,000 by
way of those objects (``benchmarks/speed/formulas.py``, CPU time). The time is linear in the
length of a formula; pymatgen rewrites the text once per bracket.
"""

from __future__ import annotations

import hashlib
import math
import re
import warnings
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from numbers import Number, Real
from types import EllipsisType
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from scipy import sparse

from ._files import DATA
from ._formula import (
    ATOMIC_NUMBERS,
    CLEANED,
    ELEMENTS,
    NUMBER,
    SHOWN_ROWS,
    Doubt,
    Findings,
    NotAComposition,
    amounts_of_formula,
    checked_amounts,
    listing,
    shorten,
    written,
)
from .exceptions import CompositionError, CompositionWarning, InputError

__all__ = [
    "ELEMENTS",
    "CompositionBatch",
    "composition_groups",
    "composition_keys",
    "parse_formula",
    "read_compositions",
]

# Fractions of atoms that differ by less are one: six digits are what tables are printed with,
# and steels differ at the fifth.
_SAME_FRACTION = 1e-6
# Atoms of the largest formula that fractions are recognised as; what is closer than a third of
# 1 / (N * _MAX_ATOMS) to one of N atoms is that close to no other, as two differ by
# 1 / (N * M) at least.
_MAX_ATOMS = 3000
# Digits of fractions that are no such formula. A tie, such as 0.271828185, is rounded up
# whatever the last bits.
_FRACTION_DIGITS = 8
_TIE = 1e-6

# elements with their numbers, as amounts by weight are written
_BY_WEIGHT = re.compile(rf"(?:\s*[A-Z][a-z]?\s*{NUMBER})++\s*")

Rows: TypeAlias = slice | Sequence[int] | Sequence[bool] | np.ndarray | tuple[Any, EllipsisType]


@dataclass(frozen=True, eq=False)
class CompositionBatch:
    """Compositions of many rows in flat arrays.

    Row ``i`` holds the entries ``offsets[i]:offsets[i + 1]``. A row without
    entries is not a composition (``errors="nan"``).

    Parameters
    ----------
    atomic_numbers : ndarray of int64, shape (n_entries,)
        One entry per distinct element of a row, in written order.
    amounts : ndarray of float64, shape (n_entries,)
        Amounts as written, not normalised; all positive and finite.
    offsets : ndarray of int64, shape (n_rows + 1,)
        Where each row begins and ends.

    See Also
    --------
    read_compositions : Makes a batch from any container of compositions.

    Examples
    --------
    >>> batch = read_compositions(["Fe2O3", "Ca(OH)2"])
    >>> batch.atomic_numbers
    array([26,  8, 20,  8,  1])
    >>> batch.amounts
    array([2., 3., 1., 2., 2.])
    >>> batch[1:].formulas()
    ['CaO2H2']
    """

    atomic_numbers: np.ndarray
    amounts: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, rows: Rows) -> CompositionBatch:
        chosen = self._positions(rows)
        lengths = self.n_elements[chosen]
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        entries = np.arange(offsets[-1]) + np.repeat(self.offsets[chosen] - offsets[:-1], lengths)
        return CompositionBatch(self.atomic_numbers[entries], self.amounts[entries], offsets)

    def _positions(self, rows: Rows) -> np.ndarray:
        # so scikit-learn indexes what has a shape
        if isinstance(rows, tuple) and rows[1:] == (Ellipsis,):
            rows = rows[0]
        if not isinstance(rows, slice):
            rows = np.asarray(rows)
            # an empty list is an array of floats to NumPy
            rows = rows if rows.size else rows.astype(np.int64)
        chosen = np.arange(len(self))[rows]
        if chosen.ndim != 1:
            raise InputError(
                "A CompositionBatch is indexed by a slice, an array of positions or a boolean "
                f"mask, got {shorten(rows)}. For a single row use batch[[row]]."
            )
        return chosen

    @property
    def shape(self) -> tuple[int]:
        """Number of rows, by which scikit-learn's searches and ensembles know a column."""
        return (len(self),)

    @property
    def n_elements(self) -> np.ndarray:
        """Number of distinct elements of each row, int64, shape (n_rows,)."""
        return np.diff(self.offsets)

    @property
    def valid(self) -> np.ndarray:
        """Which rows are compositions, bool, shape (n_rows,)."""
        return self.n_elements > 0

    def fractions(self) -> np.ndarray:
        """Atomic fractions, one column per element in the order of :data:`ELEMENTS`.

        Returns
        -------
        fractions : ndarray of float64, shape (n_rows, 118)
            Rows sum to 1; rows that are not compositions are NaN.
        """
        n_rows = len(self)
        row = np.repeat(np.arange(n_rows), self.n_elements)
        totals = np.bincount(row, weights=self.amounts, minlength=n_rows)
        fractions = np.zeros((n_rows, len(ELEMENTS)))
        fractions[row, self.atomic_numbers - 1] = self.amounts / totals[row]
        fractions[~self.valid] = np.nan
        return fractions

    def reduced(self) -> CompositionBatch:
        """Write each composition in the one way that all its spellings share.

        This is the package's rule for "the same composition": rows are one if their
        reduced amounts are.

        Returns
        -------
        batch : CompositionBatch
            The same elements in the same order. Amounts are the smallest whole numbers
            in the row's ratio, if a formula of at most 3,000 atoms has the row's atomic
            fractions to 1e-6 (to less for large formulas, so that no row is near two of
            them); else atomic fractions to 8 decimals.

        Examples
        --------
        >>> batch = read_compositions(["Fe4O6", "Ba0.5Sr0.5TiO3", "Fe0.333333O0.666667"])
        >>> batch.reduced().formulas()
        ['Fe2O3', 'BaSrTi2O6', 'FeO2']
        """
        if not len(self.amounts):
            return self
        rows = np.repeat(np.arange(len(self)), self.n_elements)
        # amounts near the largest float add up to infinity
        largest = np.zeros(len(self))
        np.maximum.at(largest, rows, self.amounts)
        shares = self.amounts / largest[rows]
        shares /= np.bincount(rows, weights=shares, minlength=len(self))[rows]
        numerators, denominators = _nearest_fractions(shares, _MAX_ATOMS)
        atoms = np.ones(len(self), np.int64)
        for place in range(int(self.n_elements.max())):
            has = np.flatnonzero((self.n_elements > place) & (atoms <= _MAX_ATOMS))
            atoms[has] = np.lcm(atoms[has], denominators[self.offsets[has] + place])
        reach = np.minimum(_SAME_FRACTION, 1 / (3 * atoms * _MAX_ATOMS))[rows]
        off = (np.abs(shares - numerators / denominators) > reach) | (numerators == 0)
        whole = (atoms <= _MAX_ATOMS) & (np.bincount(rows[off], minlength=len(self)) == 0)
        scale = 10.0**_FRACTION_DIGITS
        amounts = np.where(
            whole[rows],
            numerators * (atoms[rows] // denominators),
            np.floor(shares * scale + (0.5 + _TIE)) / scale,
        )
        return CompositionBatch(self.atomic_numbers, amounts, self.offsets)

    def formulas(self) -> list[str]:
        """Write each row as a formula that reads back to exactly the same amounts.

        Returns
        -------
        formulas : list of str
            ``""`` for rows that are not compositions.
        """
        numbers, amounts = self.atomic_numbers.tolist(), self.amounts.tolist()
        return [
            written(dict(zip(numbers[start:stop], amounts[start:stop], strict=True)))
            for start, stop in pairwise(self.offsets.tolist())
        ]


def composition_keys(batch: CompositionBatch) -> np.ndarray:
    """64-bit keys of compositions: LiFePO4 and Li2Fe2P2O8 share one.

    Parameters
    ----------
    batch : CompositionBatch
        Compositions of n rows, all valid.

    Returns
    -------
    keys : ndarray of uint64, shape (n,)
        Of the reduced amounts (:meth:`CompositionBatch.reduced`), whatever the order of
        the elements. The same on every machine.

    Examples
    --------
    >>> keys = composition_keys(read_compositions(["LiFePO4", "Li2Fe2P2O8", "FePO4"]))
    >>> [bool(key == keys[0]) for key in keys]
    [True, True, False]
    """
    reduced = batch.reduced()
    keys = np.empty(len(batch), np.uint64)
    entries = list(zip(reduced.atomic_numbers.tolist(), reduced.amounts.tolist(), strict=True))
    for row, (start, stop) in enumerate(pairwise(reduced.offsets.tolist())):
        text = repr(sorted(entries[start:stop]))
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        keys[row] = int.from_bytes(digest, "little")
    return keys


def composition_groups(X: Any) -> np.ndarray:
    """Give each distinct composition of a table a number.

    ``"Fe2O3"``, ``"O3Fe2"``, ``"Fe4O6"`` and ``"Fe0.4O0.6"`` are one composition, by the rule
    of :meth:`CompositionBatch.reduced`.

    Parameters
    ----------
    X : array-like of compositions, shape (n_samples,) or (n_samples, 1)
        Anything :func:`read_compositions` takes.

    Returns
    -------
    groups : int64 ndarray of shape (n_samples,)
        In the order in which compositions appear. For
        :class:`~sklearn.model_selection.GroupKFold` and its relatives.

    Raises
    ------
    CompositionError
        If a row is not a composition.

    Examples
    --------
    >>> composition_groups(["Fe2O3", "SiO2", "O3Fe2", "Fe4O6"])
    array([0, 1, 0, 0])
    """
    return pd.factorize(composition_keys(read_compositions(X)))[0].astype(np.int64)


def _nearest_fractions(values: np.ndarray, largest: int) -> tuple[np.ndarray, np.ndarray]:
    """Last convergents p / q of the continued fractions of positive numbers with q <= largest."""
    numerator, denominator = np.floor(values), np.ones_like(values)
    p_before, q_before = np.ones_like(values), np.zeros_like(values)
    rest, going = values - numerator, np.ones(len(values), bool)
    while going.any():
        # a rest of zero ends the expansion, as its term is too large for any denominator
        inverse = 1 / np.maximum(rest, 0.1 / largest)
        term = np.floor(inverse)
        rest = inverse - term
        p, q = term * numerator + p_before, term * denominator + q_before
        going &= q <= largest
        p_before, numerator = np.where(going, (numerator, p), (p_before, numerator))
        q_before, denominator = np.where(going, (denominator, q), (q_before, denominator))
    return numerator.astype(np.int64), denominator.astype(np.int64)


def read_compositions(
    X: Any, *, errors: str = "raise", amounts: str = "atomic"
) -> CompositionBatch:
    """Read compositions from any container into one batch.

    Parameters
    ----------
    X : array-like of compositions, shape (n_rows,) or (n_rows, 1)
        A list, tuple, NumPy array, pandas or polars Series, a one-column
        DataFrame, or a :class:`CompositionBatch`. Each row is a formula, a
        ``pymatgen.core.Composition`` (oxidation states are ignored) or a mapping
        ``{element: amount}``. Also a DataFrame of numeric columns, each named by an element.
    errors : {"raise", "nan"}, default="raise"
        What happens to rows that are not compositions: an error that names them, or
        empty rows and one :class:`~sklearn_kt.exceptions.CompositionWarning`.
    amounts : {"atomic", "weight"}, default="atomic"
        What amounts count: atoms, or mass (weight per cent, grams). By weight, a formula
        gives a number for each of its elements, as in ``"Ti90Al6V4"``.

    Returns
    -------
    batch : CompositionBatch
        One row per row of `X`, in the same order.

    Raises
    ------
    CompositionError
        If a row is not a composition and ``errors="raise"``. It has the attributes
        ``row``, ``value`` and ``reason`` of the first bad row.
    InputError
        If `X` is not a container of rows: a single formula, several columns.

    Warns
    -----
    CompositionWarning
        If rows are not compositions and ``errors="nan"``; and once for each kind of formula
        that may mean something else, with the count, the first rows and both spellings.

    See Also
    --------
    parse_formula : Reads a single formula.
    is_composition_input : Tells compositions from a numeric matrix.

    Examples
    --------
    >>> batch = read_compositions(["LiFePO4", {"Si": 1, "O": 2}, "CuSO4·5H2O"])
    >>> batch.formulas()
    ['LiFePO4', 'SiO2', 'CuSO9H10']
    >>> read_compositions(["Ti90Al6V4"], amounts="weight").amounts.round(1)
    array([86.2, 10.2,  3.6])
    >>> read_compositions(["Fe2O3", "fe2o3"])
    Traceback (most recent call last):
        ...
    sklearn_kt.exceptions.CompositionError: 1 of 2 rows is not a composition. ...
    """
    if errors not in ("raise", "nan"):
        raise InputError(f"errors must be 'raise' or 'nan', got {errors!r}.")
    if amounts not in ("atomic", "weight"):
        raise InputError(f"amounts must be 'atomic' or 'weight', got {amounts!r}.")
    if isinstance(X, CompositionBatch):
        if amounts == "weight":
            raise InputError("A CompositionBatch counts atoms; read it with amounts='atomic'.")
        batch = X
        reason = "it was already rejected when the batch was read"
        findings = Findings(
            len(X), rejected=[(row, "", reason) for row in np.flatnonzero(~X.valid).tolist()]
        )
    else:
        batch, findings = read_rows(_rows(X), amounts=amounts)
    if findings.rejected:
        _report_rejected(findings, errors)
    findings.warn()
    return batch


def _report_rejected(findings: Findings, errors: str) -> None:
    row, value, reason = findings.rejected[0]
    single = len(findings.rejected) == 1
    count = f"{len(findings.rejected)} of {findings.n_rows} rows"
    listed = [
        f"Row {row}, {shorten(value)}: {reason}."
        for row, value, reason in findings.rejected[:SHOWN_ROWS]
    ]
    text = listing(listed, len(findings.rejected))
    if errors == "nan":
        gives = "is not a composition and gives" if single else "are not compositions and give"
        warnings.warn(f"{count} {gives} NaN. {text}", CompositionWarning, stacklevel=3)
        return
    are = "is not a composition" if single else "are not compositions"
    raise CompositionError(
        f"{count} {are}. {text} Rows count from 0. Correct or drop such rows; "
        "predict and transform give NaN for them with errors='nan'.",
        row=row,
        value=value,
        reason=reason,
    )


def is_composition_input(X: Any) -> bool:
    """Tell whether `X` is to be read as compositions or as a numeric matrix.

    Estimators ask this before any validator of scikit-learn sees `X`. The rule: only
    numbers are numeric business, that is numeric dtypes, sparse matrices, and objects all of
    which are numbers or missing. A single value that is something else, wherever it
    stands, makes compositions of the whole, and so does a column in which every value is
    missing: :func:`read_compositions` reads it or explains what is wrong with it.
    """
    if isinstance(X, CompositionBatch | str | bytes | Mapping):
        return True
    if isinstance(X, Real) or sparse.issparse(X):
        return False
    if _is_polars(X) and hasattr(X, "collect"):
        # asking a LazyFrame for its columns would make polars work, and warn
        return True
    if isinstance(X, pd.DataFrame) or (_is_polars(X) and hasattr(X, "columns")):
        one = X.shape[1] == 1
        columns = (X[:, i] if _is_polars(X) else X.iloc[:, i] for i in range(X.shape[1]))
        return not all(_are_numbers(column, if_missing=not one) for column in columns)
    if isinstance(X, Sequence | pd.Series | pd.Index | pd.api.extensions.ExtensionArray) or (
        _is_polars(X)
    ):
        return not _are_numbers(X, if_missing=False)
    if not hasattr(X, "__array__"):
        return True
    array = np.asarray(X) if not isinstance(X, np.ndarray) else X
    return not _are_numbers(array.ravel(), if_missing=array.ndim > 1)


def _are_numbers(values: Any, *, if_missing: bool) -> bool:
    """Whether all values, or rows of them, are numbers; all missing is as `if_missing` says."""
    dtype: Any = getattr(values, "dtype", None)
    if _is_polars(values):
        numeric = dtype.is_numeric() or str(dtype) == "Boolean"
        opaque = str(dtype) in ("Object", "Null")
    elif isinstance(dtype, pd.CategoricalDtype):
        return _are_numbers(dtype.categories, if_missing=if_missing)
    elif dtype is not None:
        numeric, opaque = pd.api.types.is_numeric_dtype(dtype), dtype.kind == "O"
    else:
        numeric, opaque = False, True
    if not opaque:
        return numeric
    found = False
    for value in values:
        row = isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0)
        if not all(map(_is_number_or_missing, value)) if row else not _is_number_or_missing(value):
            return False
        found = found or row or not _is_missing(value)
    return found or if_missing


def _is_number_or_missing(value: object) -> bool:
    return isinstance(value, Number | np.bool_) or _is_missing(value)


def parse_formula(formula: str) -> dict[str, float]:
    """Read a single formula.

    Parameters
    ----------
    formula : str
        A chemical formula, such as ``"Ca(OH)2"``.

    Returns
    -------
    amounts : dict of str to float
        Amount of each element, in written order.

    Raises
    ------
    CompositionError
        If the string is not a formula.

    Examples
    --------
    >>> parse_formula("Ba0.5Sr0.5TiO3")
    {'Ba': 0.5, 'Sr': 0.5, 'Ti': 1.0, 'O': 3.0}
    >>> parse_formula("Ca(OH)2")
    {'Ca': 1.0, 'O': 2.0, 'H': 2.0}
    """
    if not isinstance(formula, str):
        raise InputError(
            f"parse_formula takes one str, got {type(formula).__name__}. "
            "Use read_compositions for other types and for many rows."
        )
    doubts: list[Doubt] = []
    try:
        amounts = amounts_of_formula(formula, doubts)
    except NotAComposition as rejected:
        raise CompositionError(
            f"{shorten(formula)} is not a composition: {rejected}.",
            value=formula,
            reason=str(rejected),
        ) from None
    Findings(1, doubted=[(0, formula, amounts, doubt) for doubt in doubts]).warn()
    return {ELEMENTS[z - 1]: amount for z, amount in amounts.items()}


def _is_polars(X: object) -> bool:
    # asking the type keeps polars from being imported for everyone
    return type(X).__module__.partition(".")[0] == "polars"


def _is_missing(value: object) -> bool:
    if value is None or value is pd.NA or value is pd.NaT or value is np.ma.masked:
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _rows(X: Any) -> list:
    """Return the rows of a container as a list of Python objects."""
    if isinstance(X, str | bytes | Mapping):
        raise InputError(
            f"Got the single value {shorten(X)} of type {type(X).__name__} where rows of "
            "compositions are expected. To pass one composition, wrap it in a list: [value]."
        )
    if isinstance(X, pd.DataFrame):
        if _are_elements(X.columns) and all(map(pd.api.types.is_numeric_dtype, X.dtypes)):
            return X.to_dict("records")
        _check_one_column(X.shape, list(X.columns))
        return X.iloc[:, 0].tolist()
    if isinstance(X, pd.Series | pd.Index | pd.api.extensions.ExtensionArray):
        return list(X)
    if _is_polars(X):
        if hasattr(X, "collect"):
            raise InputError("Got a polars LazyFrame. Call .collect() first.")
        if hasattr(X, "columns"):
            if _are_elements(X.columns) and all(dtype.is_numeric() for dtype in X.dtypes):
                return X.to_dicts()
            _check_one_column(X.shape, X.columns)
            X = X.to_series(0)
        rows = X.to_list()
        # a polars struct spells an element that is absent as null
        return [
            {key: amount for key, amount in row.items() if amount is not None}
            if type(row) is dict
            else row
            for row in rows
        ]
    if isinstance(X, np.ndarray):
        if X.ndim == 0:
            raise InputError(
                f"Got the single value {shorten(X.item())} in a 0-dimensional array. To pass one "
                "composition, wrap it in a list: [value]."
            )
        if X.ndim != 1:
            _check_one_column(X.shape, None)
        return X.ravel().tolist()
    if hasattr(X, "composition"):
        # pymatgen's Structure is a sequence too, of sites
        raise InputError(
            f"Got a single {type(X).__name__} where rows of compositions are expected. Pass "
            "[value.composition]."
        )
    if isinstance(X, Sequence):
        return list(X)
    raise InputError(
        f"Compositions cannot be read from an object of type {type(X).__name__}. Pass a list, a "
        "NumPy array, a Series or a one-column DataFrame of formulas."
    )


def _are_elements(columns: Iterable) -> bool:
    """Whether a table has a column for each of some elements."""
    columns = list(columns)
    return bool(columns) and ATOMIC_NUMBERS.keys() >= set(columns)


def _check_one_column(shape: tuple[int, ...], columns: list | None) -> None:
    if len(shape) == 2 and shape[1] == 1:
        return
    if columns is not None:
        raise InputError(
            f"Got a DataFrame of {shape[1]} columns {shorten(columns)} where one column of "
            "compositions is expected. Select it, for example X[['composition']], or pass columns "
            "that hold nothing but numbers; read_compositions takes those if elements name them."
        )
    raise InputError(
        f"Got an array of shape {shape} where one column of compositions is expected. Pass "
        "formulas of shape (n,) or (n, 1), or nothing but numbers. numpy.array() makes several "
        "columns of pymatgen Compositions: pass a list of them instead."
    )


def read_rows(rows: Iterable, *, amounts: str = "atomic") -> tuple[CompositionBatch, Findings]:
    """Read rows, and leave what is reported of them to the caller.

    Parameters
    ----------
    rows : iterable of object
        Values of single rows.
    amounts : {"atomic", "weight"}, default="atomic"
        What amounts count.

    Returns
    -------
    batch : CompositionBatch
        Without entries for rows that are not compositions.
    findings : Findings
        Rows that are not compositions, and rows that may mean something else.
    """
    atomic_numbers, counts, lengths = array("q"), array("d"), array("q")
    findings = Findings(0)
    doubts: list[Doubt] = []
    by_weight = amounts == "weight"
    for row, value in enumerate(rows):
        try:
            content = value
            if isinstance(value, str):
                read = amounts_of_formula(value, doubts)
            else:
                content = _unwrapped(value)
                read = _amounts_of_value(content, doubts)
            if by_weight:
                read = _from_weights(content, read)
        except NotAComposition as reason:
            findings.rejected.append((row, value, str(reason)))
            lengths.append(0)
            continue
        atomic_numbers.extend(read)
        counts.extend(read.values())
        lengths.append(len(read))
        if doubts:
            findings.doubted += [(row, content, read, doubt) for doubt in doubts]
            doubts.clear()
    findings.n_rows = len(lengths)
    batch = CompositionBatch(
        np.array(atomic_numbers, dtype=np.int64),
        np.array(counts, dtype=np.float64),
        np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))),
    )
    return batch, findings


def _from_weights(value: object, read: dict[int, float]) -> dict[int, float]:
    """Turn amounts by weight into amounts of atoms with the same total."""
    if isinstance(value, str):
        if not _BY_WEIGHT.fullmatch(value.translate(CLEANED)):
            raise NotAComposition(
                "amounts by weight are those of elements, each with its number, as in 'Ti90Al6V4'"
            )
    elif type(value).__module__.partition(".")[0] == "pymatgen":
        raise NotAComposition(
            f"a pymatgen {type(value).__name__} counts atoms; read it with amounts='atomic'"
        )
    masses = _atomic_masses()
    atoms = {z: weight / masses[z - 1] for z, weight in read.items()}
    scale = sum(read.values()) / sum(atoms.values())
    return {z: amount * scale for z, amount in atoms.items()}


@cache
def _atomic_masses() -> list[float]:
    """Masses of the elements in u, in the order of :data:`ELEMENTS`."""
    columns = ["symbol", "atomic_mass"]
    masses = pd.read_csv(DATA / "elements.csv", index_col="symbol", usecols=columns)
    return masses.loc[list(ELEMENTS), "atomic_mass"].tolist()


def _unwrapped(value: object) -> object:
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim == 1):
        if len(value) != 1:
            raise NotAComposition(f"a {type(value).__name__} of {len(value)} values")
        return value[0]
    return value


def _amounts_of_value(value: object, doubts: list[Doubt]) -> dict[int, float]:
    """Read one row; why it is rejected is the text of :class:`NotAComposition`."""
    if isinstance(value, str):
        return amounts_of_formula(value, doubts)
    if isinstance(value, Mapping):
        return _amounts_of_mapping(value)
    if _is_missing(value):
        hint = (
            "; if the file says 'NaN' for sodium and nitrogen, read it with keep_default_na=False, "
            "na_values=['']"
            if isinstance(value, float | np.floating)
            else ""
        )
        raise NotAComposition(f"a missing value{hint}")
    if isinstance(value, bytes):
        raise NotAComposition("bytes; decode them first, with value.decode()")
    if isinstance(value, Real | np.bool_):
        raise NotAComposition("a number; write a formula, for example 'Fe2O3'")
    raise NotAComposition(
        f"an object of type {type(value).__name__}; pass a formula, a mapping of elements to "
        "amounts or a pymatgen Composition"
    )


def _amounts_of_mapping(value: Mapping) -> dict[int, float]:
    pairs = []
    for key, amount in value.items():
        # pymatgen's Element and Species know their symbol
        symbol = key if isinstance(key, str) else getattr(key, "symbol", None)
        if not isinstance(symbol, str):
            raise NotAComposition(f"the key {shorten(key)} is not an element symbol")
        if _is_missing(amount):
            raise NotAComposition(
                f"the amount of {shorten(symbol)} is missing; leave out what is absent, or give 0"
            )
        if not isinstance(amount, Real) or isinstance(amount, bool):
            raise NotAComposition(
                f"the amount of {shorten(symbol)} is {shorten(amount)}, which is not a number"
            )
        try:
            pairs.append((symbol, float(amount)))
        except OverflowError:
            pairs.append((symbol, math.inf))
    if not pairs:
        raise NotAComposition("an empty mapping")
    return checked_amounts(pairs)
