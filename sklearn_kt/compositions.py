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
Beyond pymatgen, unicode subscripts and hydrates are read: ``·`` (also ``•``,
``∙``, ``⋅``) starts a new part with an optional multiplier, ``CuSO4·5H2O``. A plain
``.`` is a decimal point wherever pymatgen reads it so: ``CuSO4.5H2O`` is
Cu S O4.5 H2 O, and a :class:`CompositionWarning` tells that ``·`` may have been
meant. Where that reading fails, as in ``CuSO4 . 5H2O``, a ``.`` that does not stand between
two digits separates parts.
Stricter than pymatgen: empty brackets, unknown symbols even with amount 0, and
every minus sign outside an exponent are rejected (pymatgen reads ``Fe-1Fe2`` as Fe1).

**Why an own parser.** pymatgen misses the aim of 100,000 strings a second once its objects
are put into a batch. On 100,000 distinct formulas of Materials Project and OQMD one busy core
read 277,000 strings a second here, 68,000 with ``pymatgen.core.Composition``, and 44,000 by
way of those objects (``benchmarks/bench_tokenizer.py``, CPU time). The time is linear in the
length of a formula; pymatgen rewrites the text once per bracket.
"""

from __future__ import annotations

import hashlib
import math
import re
import reprlib
import unicodedata
import warnings
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Number, Real
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from .exceptions import CompositionError, CompositionWarning, InputError

__all__ = [
    "ELEMENTS",
    "CompositionBatch",
    "composition_groups",
    "composition_keys",
    "is_composition_input",
    "parse_formula",
    "read_compositions",
]

ELEMENTS: tuple[str, ...] = tuple(
    re.findall(
        r"\w+",
        "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As "
        "Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu "
        "Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np "
        "Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og",
    )
)
"""Symbols of the 118 elements; ``ELEMENTS[Z - 1]`` has atomic number ``Z``."""

_ATOMIC_NUMBERS = {symbol: z for z, symbol in enumerate(ELEMENTS, start=1)}
_ATOMIC_NUMBERS.update({"D": 1, "T": 1})

# pymatgen's Composition.amount_tolerance
_TOLERANCE = 1e-8

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

_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)(?:e-?\d+)?"
# short digit runs cannot overflow; possessive, so that long strings need no memory
_PLAIN = re.compile(r"(?:[A-Z][a-z]?(?:[0-9]{1,15}(?:\.[0-9]{1,20})?)?)++")
_PLAIN_TOKENS = re.compile(r"([A-Z][a-z]?)([0-9.]*)")
_TOKEN = re.compile(
    rf"\s*(?:(?P<symbol>[A-Z][a-z]*)\s*(?P<amount>{_NUMBER})?"
    rf"|(?P<open>\()|\)\s*(?P<factor>{_NUMBER})?)"
)
_MULTIPLIER = re.compile(rf"\s*({_NUMBER})")
_LOOSE_DOT = re.compile(r"(?<!\d)\.|\.(?!\d)")
_DOT_WATER = re.compile(r"\.\d{1,6}\(?[HD]2O\)?\s*(?:$|[.·])")
_CLEANED = str.maketrans(
    {
        **{chr(0x2080 + digit): str(digit) for digit in range(10)},
        **dict.fromkeys("[{", "("),
        **dict.fromkeys("]}", ")"),
        **dict.fromkeys("•∙⋅", "·"),
        "@": None,
    }
)

_UNKNOWN_AMOUNTS = "xyznδ"
# formulas that can be names of files, up to so many characters
_STEM = re.compile(r"(?!\.)(?:[A-Z][a-z]?|[0-9.()])+")
_MAX_STEM = 60
# bismuth: heavier elements are no part of most formulas
_LAST_COMMON = 83
# minus sign, en dash, hyphen (last, for character classes); superscripts
_MINUS = "\u2212\u2013-"
_CHARGE = "+^⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹" + _MINUS

_WINDOW = 40
# Reading takes a second per million characters.
_MAX_CHARACTERS = 1_000_000

_SHOWN_ROWS = 3
_SHOWN_CHARACTERS = 60
# cuts containers short before it spells them, however long or deep they are
_REPR = reprlib.Repr()
_REPR.maxother = _SHOWN_CHARACTERS


class _NotAComposition(Exception):  # noqa: N818
    """Why one value is not a composition; the gate adds row and value."""


def _shorten(value: object) -> str:
    if isinstance(value, str | bytes) and len(value) > _SHOWN_CHARACTERS:
        return f"{value[:_SHOWN_CHARACTERS]!r}... ({len(value)} characters)"
    if isinstance(value, str):
        return repr(str(value))
    shown = repr(value) if isinstance(value, bytes) else _REPR.repr(value)
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}..."


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

    def __getitem__(
        self, rows: slice | Sequence[int] | Sequence[bool] | np.ndarray
    ) -> CompositionBatch:
        if not isinstance(rows, slice):
            rows = np.asarray(rows)
            # an empty list is an array of floats to NumPy
            rows = rows if rows.size else rows.astype(np.int64)
        chosen = np.arange(len(self))[rows]
        if chosen.ndim != 1:
            raise InputError(
                "A CompositionBatch is indexed by a slice, an array of positions or a boolean "
                f"mask, got {_shorten(rows)}. For a single row use batch[[row]]."
            )
        lengths = self.n_elements[chosen]
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        entries = np.arange(offsets[-1]) + np.repeat(self.offsets[chosen] - offsets[:-1], lengths)
        return CompositionBatch(self.atomic_numbers[entries], self.amounts[entries], offsets)

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
        symbols = [ELEMENTS[z - 1] for z in self.atomic_numbers.tolist()]
        numbers = [_format_amount(amount) for amount in self.amounts.tolist()]
        bounds = self.offsets.tolist()
        formulas = []
        for start, stop in pairwise(bounds):
            formula = "".join(
                symbol + number
                for symbol, number in zip(symbols[start:stop], numbers[start:stop], strict=True)
            )
            # S4.5H2O would be taken for a hydrate when read again
            formulas.append(f"{formula}1" if _hydrate_spelling(formula) else formula)
        return formulas


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


def _format_amount(amount: float) -> str:
    if amount == 1:
        return ""
    if amount.is_integer() and amount < 2**53:
        return str(int(amount))
    return repr(amount).replace("e+", "e")


def read_compositions(X: Any, *, errors: str = "raise") -> CompositionBatch:
    """Read compositions from any container into one batch.

    Parameters
    ----------
    X : array-like of compositions, shape (n_rows,) or (n_rows, 1)
        A list, tuple, NumPy array, pandas or polars Series, a one-column
        DataFrame, or a :class:`CompositionBatch`. Each row is a formula, a
        ``pymatgen.core.Composition`` (oxidation states are ignored) or a mapping
        ``{element: amount}``.
    errors : {"raise", "nan"}, default="raise"
        What happens to rows that are not compositions: an error that names them, or
        empty rows and one :class:`~sklearn_kt.exceptions.CompositionWarning`.

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
        If rows are not compositions and ``errors="nan"``; or if a formula such as
        ``CuSO4.5H2O`` reads as a decimal amount but looks like a hydrate.

    See Also
    --------
    parse_formula : Reads a single formula.
    is_composition_input : Tells compositions from a numeric matrix.

    Examples
    --------
    >>> batch = read_compositions(["LiFePO4", {"Si": 1, "O": 2}, "CuSO4·5H2O"])
    >>> batch.formulas()
    ['LiFePO4', 'SiO2', 'CuSO9H10']
    >>> read_compositions(["Fe2O3", "fe2o3"])
    Traceback (most recent call last):
        ...
    sklearn_kt.exceptions.CompositionError: 1 of 2 rows is not a composition. ...
    """
    if errors not in ("raise", "nan"):
        raise InputError(f"errors must be 'raise' or 'nan', got {errors!r}.")
    if isinstance(X, CompositionBatch):
        _report_rejected(
            [
                (row, "", "it was already rejected when the batch was read")
                for row in np.flatnonzero(~X.valid).tolist()
            ],
            len(X),
            errors,
        )
        return X
    return _read_rows(_rows(X), errors)


def is_composition_input(X: Any) -> bool:
    """Tell whether `X` is to be read as compositions or as a numeric matrix.

    Estimators ask this before any validator of scikit-learn sees `X`. The rule: only
    numbers are numeric business, that is numeric dtypes, sparse matrices, and objects all of
    which are numbers or missing. A single value that is something else, wherever it
    stands, makes compositions of the whole, and so does a column in which every value is
    missing: :func:`read_compositions` reads it or explains what is wrong with it.

    Parameters
    ----------
    X : object
        What the user passed.

    Returns
    -------
    is_composition : bool
        True: for :func:`read_compositions`; False: for scikit-learn's validators.

    Examples
    --------
    >>> is_composition_input(["Fe2O3", "SiO2"])
    True
    >>> is_composition_input([[0.4, 0.6], [0.3, 0.7]])
    False
    >>> is_composition_input([5, "SiO2"]), is_composition_input(["SiO2", 5])
    (True, True)
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
    try:
        amounts = _amounts_of_formula(formula)
    except _NotAComposition as rejected:
        raise CompositionError(
            f"{_shorten(formula)} is not a composition: {rejected}.",
            value=formula,
            reason=str(rejected),
        ) from None
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
            f"Got the single value {_shorten(X)} of type {type(X).__name__} where rows of "
            "compositions are expected. To pass one composition, wrap it in a list: [value]."
        )
    if isinstance(X, pd.DataFrame):
        _check_one_column(X.shape, list(X.columns))
        return X.iloc[:, 0].tolist()
    if isinstance(X, pd.Series | pd.Index | pd.api.extensions.ExtensionArray):
        return list(X)
    if _is_polars(X):
        if hasattr(X, "collect"):
            raise InputError("Got a polars LazyFrame. Call .collect() first.")
        if hasattr(X, "columns"):
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
                f"Got the single value {_shorten(X.item())} in a 0-dimensional array. To pass one "
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


def _check_one_column(shape: tuple[int, ...], columns: list | None) -> None:
    if len(shape) == 2 and shape[1] == 1:
        return
    if columns is not None:
        raise InputError(
            f"Got a DataFrame of {shape[1]} columns {_shorten(columns)} where one column of "
            "compositions is expected. Select it, for example X[['composition']], or pass columns "
            "that hold nothing but numbers."
        )
    raise InputError(
        f"Got an array of shape {shape} where one column of compositions is expected. Pass "
        "formulas of shape (n,) or (n, 1), or nothing but numbers. numpy.array() makes several "
        "columns of pymatgen Compositions: pass a list of them instead."
    )


def _read_rows(rows: list, errors: str) -> CompositionBatch:
    atomic_numbers, amounts = array("q"), array("d")
    lengths = np.zeros(len(rows), dtype=np.int64)
    rejected: list[tuple[int, object, str]] = []
    hydrates: list[tuple[int, str]] = []
    for row, value in enumerate(rows):
        try:
            content = value if isinstance(value, str) else _unwrapped(value)
            read = _amounts_of_value(content)
        except _NotAComposition as reason:
            rejected.append((row, value, str(reason)))
            continue
        atomic_numbers.extend(read)
        amounts.extend(read.values())
        lengths[row] = len(read)
        if isinstance(content, str) and "." in content and _hydrate_spelling(content):
            hydrates.append((row, content))
    _report_rejected(rejected, len(rows), errors)
    batch = CompositionBatch(
        np.array(atomic_numbers, dtype=np.int64),
        np.array(amounts, dtype=np.float64),
        np.concatenate(([0], np.cumsum(lengths))),
    )
    if hydrates:
        _warn_of_hydrates(hydrates, batch)
    return batch


def _report_rejected(rejected: list[tuple[int, object, str]], n_rows: int, errors: str) -> None:
    if not rejected:
        return
    count = f"{len(rejected)} of {n_rows} rows"
    listed = " ".join(
        f"Row {row}, {_shorten(value)}: {reason}." for row, value, reason in rejected[:_SHOWN_ROWS]
    )
    if len(rejected) > _SHOWN_ROWS:
        listed += " And so on."
    single = len(rejected) == 1
    if errors == "nan":
        gives = "is not a composition and gives" if single else "are not compositions and give"
        warnings.warn(f"{count} {gives} NaN. {listed}", CompositionWarning, stacklevel=4)
        return
    are = "is not a composition" if single else "are not compositions"
    row, value, reason = rejected[0]
    raise CompositionError(
        f"{count} {are}. {listed} Rows count from 0. Correct or drop such rows; predict and "
        "transform give NaN for them with errors='nan'.",
        row=row,
        value=value,
        reason=reason,
    )


def _warn_of_hydrates(hydrates: list[tuple[int, str]], batch: CompositionBatch) -> None:
    row, formula = hydrates[0]
    warnings.warn(
        f"In {len(hydrates)} of {len(batch)} rows a '.' may be a decimal point or begin a hydrate. "
        f"Row {row}, {_shorten(formula)}, was read as {_shorten(batch[[row]].formulas()[0])}. If a "
        f"hydrate is meant, write {_shorten(_hydrate_spelling(formula))}.",
        CompositionWarning,
        stacklevel=4,
    )


def _hydrate_spelling(formula: str) -> str | None:
    """Return the formula with ``·`` if one of its dots may begin a hydrate."""
    text = formula.translate(_CLEANED)
    for match in _DOT_WATER.finditer(text):
        # a window, so that many matches in a long text stay cheap
        before = text[max(0, match.start() - _WINDOW) : match.start()].rstrip()
        whole = before[len(before.rstrip("0123456789")) :]
        # nobody writes a zero before a hydrate: LiF0.5H2O is a decimal
        if before and before[-1] != "·" and (not whole or whole.strip("0")):
            return f"{text[: match.start()].rstrip()}·{text[match.start() + 1 :]}"
    return None


def _unwrapped(value: object) -> object:
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim == 1):
        if len(value) != 1:
            raise _NotAComposition(f"a {type(value).__name__} of {len(value)} values")
        return value[0]
    return value


def _amounts_of_value(value: object) -> dict[int, float]:
    """Read one row; why it is rejected is the text of :class:`_NotAComposition`."""
    if isinstance(value, str):
        return _amounts_of_formula(value)
    if isinstance(value, Mapping):
        return _amounts_of_mapping(value)
    if _is_missing(value):
        hint = (
            "; if the file says 'NaN' for sodium nitride, read it with keep_default_na=False"
            if isinstance(value, float | np.floating)
            else ""
        )
        raise _NotAComposition(f"a missing value{hint}")
    if isinstance(value, bytes):
        raise _NotAComposition("bytes; decode them first, with value.decode()")
    if isinstance(value, Real | np.bool_):
        raise _NotAComposition("a number; write a formula, for example 'Fe2O3'")
    raise _NotAComposition(
        f"an object of type {type(value).__name__}; pass a formula, a mapping of elements to "
        "amounts or a pymatgen Composition"
    )


def _amounts_of_mapping(value: Mapping) -> dict[int, float]:
    pairs = []
    for key, amount in value.items():
        # pymatgen's Element and Species know their symbol
        symbol = key if isinstance(key, str) else getattr(key, "symbol", None)
        if not isinstance(symbol, str):
            raise _NotAComposition(f"the key {_shorten(key)} is not an element symbol")
        if _is_missing(amount):
            raise _NotAComposition(
                f"the amount of {_shorten(symbol)} is missing; leave absent elements out"
            )
        if not isinstance(amount, Real) or isinstance(amount, bool):
            raise _NotAComposition(
                f"the amount of {_shorten(symbol)} is {_shorten(amount)}, which is not a number"
            )
        try:
            pairs.append((symbol, float(amount)))
        except OverflowError:
            pairs.append((symbol, math.inf))
    if not pairs:
        raise _NotAComposition("an empty mapping")
    return _checked_amounts(pairs)


def _amounts_of_formula(formula: str) -> dict[int, float]:
    if len(formula) > _MAX_CHARACTERS:
        raise _NotAComposition(
            f"a text of {len(formula):,} characters; a formula has at most {_MAX_CHARACTERS:,}"
        )
    if _PLAIN.fullmatch(formula):
        pairs = _PLAIN_TOKENS.findall(formula)
        try:
            plain = {
                _ATOMIC_NUMBERS[symbol]: float(amount) if amount else 1.0
                for symbol, amount in pairs
            }
        except KeyError:
            pass
        else:
            # repeated elements and zeros are left to the full parser
            if len(plain) == len(pairs) and min(plain.values()) >= _TOLERANCE:
                return plain
    text = formula.translate(_CLEANED)
    if not text.strip():
        raise _NotAComposition("an empty string")
    parts = text.split("·")
    if len(parts) == 1:
        try:
            read = _read_part(text)
        except _NotAComposition:
            parts = _LOOSE_DOT.split(text)
            if len(parts) == 1 or not all(part.strip() for part in parts):
                raise
        else:
            return _checked_amounts(read.items())
    amounts: dict[str, float] = {}
    for part in parts:
        multiplier = _MULTIPLIER.match(part)
        factor = float(multiplier[1]) if multiplier else 1.0
        for symbol, amount in _read_part(part[multiplier.end() :] if multiplier else part).items():
            amounts[symbol] = amounts.get(symbol, 0.0) + factor * amount
    return _checked_amounts(amounts.items())


def _read_part(text: str) -> dict[str, float]:
    """Read a formula without hydrate parts, in the order of pymatgen's arithmetic.

    A stack of open brackets, each a list of (symbol, amount), keeps the time linear.
    """
    end = len(text.rstrip())
    if end == 0:
        raise _NotAComposition("a part before or after a dot is empty")
    stack: list[list[tuple[str, float]]] = [[]]
    position = 0
    while position < end:
        token = _TOKEN.match(text, position, end)
        if token is None:
            raise _NotAComposition(_explain(text, position))
        position = token.end()
        symbol, amount, opened, factor = token.groups()
        if symbol:
            stack[-1].append((symbol, float(amount) if amount else 1.0))
        elif opened:
            stack.append([])
        else:
            group = stack.pop()
            if not stack:
                raise _NotAComposition("a bracket is closed that was never opened")
            if not group:
                raise _NotAComposition("a pair of brackets is empty")
            stack[-1].extend(_merged(group, float(factor) if factor else 1.0).items())
    if len(stack) > 1:
        raise _NotAComposition("a bracket is opened and never closed")
    return _merged(stack[0], 1.0)


def _merged(pairs: list[tuple[str, float]], factor: float) -> dict[str, float]:
    amounts: dict[str, float] = {}
    for symbol, amount in pairs:
        amounts[symbol] = amounts.get(symbol, 0.0) + amount * factor
    return amounts


def _checked_amounts(pairs: Iterable[tuple[str, float]]) -> dict[int, float]:
    amounts: dict[int, float] = {}
    for symbol, amount in pairs:
        number = _ATOMIC_NUMBERS.get(symbol)
        if number is None:
            raise _NotAComposition(_explain_symbol(symbol))
        if not math.isfinite(amount):
            raise _NotAComposition(f"the amount of {symbol} is not finite")
        if amount <= -_TOLERANCE:
            raise _NotAComposition(f"the amount of {symbol} is negative ({amount:g})")
        if amount >= _TOLERANCE:
            amounts[number] = amounts.get(number, 0.0) + amount
    if not amounts:
        raise _NotAComposition("all amounts are zero (smaller than 1e-8)")
    if not math.isfinite(sum(amounts.values())):
        raise _NotAComposition("the total amount is not finite")
    return amounts


def file_stem(formula: str) -> str:
    """Name a file after a formula: other formulas have other names, in upper case and in lower.

    Where capitals alone tell symbols apart, the reading that is rarer gets a line between the
    letters: ``Co`` and ``C_O``, ``PO4`` and ``P_o4``. What is too long for a name, or has other
    characters, ends with a hash.
    """
    if len(formula) > _MAX_STEM or not _STEM.fullmatch(formula):
        text = re.sub(r"[^A-Za-z0-9]+", "_", unicodedata.normalize("NFKC", formula))
        digest = hashlib.blake2b(formula.encode("utf-8", "surrogatepass"), digest_size=6)
        return f"{text[: _MAX_STEM // 2] or '_'}-{digest.hexdigest()}"

    def mark(pair: re.Match) -> str:
        first, second = pair.groups()
        number = _ATOMIC_NUMBERS.get(first + second.lower())
        if number is None or first not in _ATOMIC_NUMBERS:
            return first
        # polonium and the actinides are rarer than phosphates and nitrates
        return f"{first}_" if second.isupper() == (number <= _LAST_COMMON) else first

    return re.sub(r"([A-Z])(?=([A-Za-z]))", mark, formula)


def _explain_symbol(symbol: str) -> str:
    if symbol[:-1] in _ATOMIC_NUMBERS and symbol[-1] in _UNKNOWN_AMOUNTS:
        return f"the amount {symbol[-1]!r} of {symbol[:-1]} is not a number; put one in its place"
    hint = "; symbols are written like 'Fe'" if len(symbol) == 1 else ""
    return f"unknown element {_shorten(symbol)}{hint}"


def _explain(text: str, position: int) -> str:
    """Say why no token of a formula begins at `position`."""
    before = text[:position].rstrip()
    rest = text[position:].lstrip()[:20]
    found, following = rest[0], rest[1:2]
    unknown = re.match(rf"[+±{_MINUS}]?\s*[{_UNKNOWN_AMOUNTS}](?![a-z])", rest)
    if unknown and (before or following.isupper()):
        return f"the amount {unknown[0]!r} is not a number; put a number in its place"
    if found in _MINUS and following.isdigit() and before[-1:].isalpha():
        return f"a negative amount after {before[-10:]!r}"
    if found in _CHARGE or re.match(rf"\d+[+{_MINUS}]", rest):
        return "a charge or a range of amounts; write the neutral formula with one amount each"
    if found == "/":
        return "a '/' between formulas; write a mixture as one formula with its amounts"
    if found.islower() and not before:
        return "element symbols begin with a capital letter, for example 'Fe2O3'"
    if found.isdecimal():
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))] or found
        return (
            f"the number {number!r} belongs to no element; put a multiplied part in brackets, or "
            "begin a hydrate part with '·'"
        )
    if found in ".e*":
        return f"a number is not complete at {rest[:10]!r}"
    return f"unexpected character {found!r}" + (f" after {before[-10:]!r}" if before else "")
