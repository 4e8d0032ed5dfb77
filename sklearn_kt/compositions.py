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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from numbers import Number, Real
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from ._files import DATA
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

# what is also a name or a placeholder is left to the full parser
_ACTINIUM = _ATOMIC_NUMBERS["Ac"]
_RARE = frozenset([_ACTINIUM, *range(_ATOMIC_NUMBERS["Fm"], len(ELEMENTS) + 1)])
_PLAIN_NUMBERS = {
    symbol: z for symbol, z in _ATOMIC_NUMBERS.items() if z not in _RARE and symbol not in "DT"
}
_PLAIN_NUMBERS["Ac"] = _ACTINIUM
_EXPONENT = r"(?:e[+-]?\d+|E[+-]\d+)?"
# looks ahead once, because most numbers are digits and nothing else
_NUMBER = rf"(?:\d+(?:(?=[./eE])(?:/\d{{1,3}}(?![\d.])|(?:\.\d*)?{_EXPONENT}))?|\.\d+{_EXPONENT})"
# short digit runs cannot overflow; possessive, so that long strings need no memory
_PLAIN = re.compile(r"(?:[A-Z][a-z]?(?:[0-9]{1,15}(?:\.[0-9]{1,20})?)?)++")
_PLAIN_TOKENS = re.compile(r"([A-Z][a-z]?)([0-9.]*)")
_TOKEN = re.compile(
    rf"\s*(?:(?P<symbol>[A-Z][a-z]*)\s*(?P<amount>{_NUMBER})?"
    rf"|(?P<mark>[()·])\s*(?P<factor>{_NUMBER})?)"
)
_MULTIPLIER = re.compile(rf"\s*({_NUMBER})")
_CLEANED = str.maketrans(
    {
        **{chr(0x2080 + digit): str(digit) for digit in range(10)},
        **dict.fromkeys("[{", "("),
        **dict.fromkeys("]}", ")"),
        **dict.fromkeys("•∙⋅‧・･ꞏ●*\u2217\u00d7", "·"),
        "@": None,
    }
)
# what may be among them; faster than to translate every formula
_UNCLEAN = re.compile(r"[^A-Za-z0-9().]")
# an amount of these before '/' is the end of a formula more often than a numerator: TiO2/5Ag
_ANIONS = frozenset(re.findall(r"\w+", "B C N O F P S Cl Se Br Te I H"))

# elements with their numbers, as amounts by weight are written
_BY_WEIGHT = re.compile(rf"(?:\s*[A-Z][a-z]?\s*{_NUMBER})++\s*")

# What follows a dot or a space and may be a part of its own: 5H2O, 2B2O3, 2Mg(OH)2.
_SYMBOL = re.compile(r"[A-Z][a-z]?")
_WHOLE_ATOM = r"[A-Z][a-z]?+\s*+\d*+\s*+"
_WHOLE = re.compile(
    rf"(?:{_WHOLE_ATOM}|\((?:{_WHOLE_ATOM}|\((?:{_WHOLE_ATOM})++\)\d*+\s*+)++\)\s*+\d*+\s*+)++"
)
_LIGAND = re.compile(r"\(?\s*(?:[HD]2\s*O|N\s*[HD]3)\s*\)?\s*")
_MAYBE_PART = re.compile(r"\.[1-9]\d*[A-Z][a-z]?\d*[A-Z]")
_AFTER_DOT = re.compile(r"(\s*)(\d*)(/\d+)?\s*")
_SPACED_NUMBER = re.compile(r"(?<=[A-Za-z)])\s+(?=\d{1,2}\(?[A-Z])")

# Letters that are read as elements and often mean something else.
_NUMERALS = re.compile(r"\(\s*(?:I{1,3}|IV|VI{0,3}|IX)\s*\)|(?<!\()II+(?![a-z])")
_PHASE = re.compile(r"(?<=[A-Za-z0-9])\s*\((?![IV]\))[A-Z][a-z]?\)$")
_NAMES = frozenset(
    re.findall(
        r"\w+",
        "YBCO BSCCO BFO BTO STO KNN KDP KTP KTN BBO CIS ITO FTO COF BNT NBT BST SBN PBN CNT CNF "
        "CNTs CDs SWCNT FCC BCC HCP PVC PVP SUS Ti6Al4V Ti6Al7Nb",
    )
)
_UNUSUAL = re.compile(
    r"OAc(?![a-z\d.])|\(Ac\)"
    r"|(?:Fm|Md|No|Lr|Rf|Db|Sg|Bh|Hs|Mt|Ds|Rg|Cn|Nh|Fl|Mc|Lv|Ts|Og)(?![a-z\d.])"
)
_ISOTOPE = re.compile(r"[DT](?![a-z])")
_BESIDE_DEUTERIUM = frozenset(re.findall(r"\w+", "H D T B C N O F Si P S Cl Se Br I"))
_BESIDE_TRITIUM = frozenset(re.findall(r"\w+", "H D T O"))
_IONS = frozenset(re.findall(r"\w+", "OH OD CN SCN NCS OCN NCO OOH OCl OBr SH HS CO NO HF"))
_CATION = re.compile(r"(?:N[HD]4|PH4|H3O|VO|UO2|BiO|NO)(?:\)\d*)?$")

_DOUBTS = {
    "parts": "a '.' or a space may separate parts or belong to a number",
    "numerals": "Roman numerals were read as iodine and vanadium; oxidation states are left out "
    "of a formula",
    "isotopes": "D or T was read as hydrogen, as for deuterium and tritium; for what else it may "
    "mean (didymium, any transition metal) write the elements",
    "words": "letters after a space or alone in brackets at the end were read as elements; words "
    "and phases are left out of a formula",
    "names": "a common abbreviation or name was read as the elements it spells; for what it "
    "stands for write the elements",
}
"""What may have been meant otherwise, by kind; each kind has a warning of its own."""

_UNKNOWN_AMOUNTS = "xyznδ"
# formulas that can be names of files, up to so many characters
_STEM = re.compile(r"(?!\.)(?:[A-Z][a-z]?|[0-9.()])+")
_MAX_STEM = 60
# bismuth: heavier elements are no part of most formulas
_LAST_COMMON = 83
# minus sign, en dash, hyphen (last, for character classes); superscripts
_MINUS = "\u2212\u2013-"
_CHARGE = "+^⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹" + _MINUS

_WINDOW = 80
_LONGEST_FRACTION = 3
_LONGEST_MULTIPLIER = 2
# longer texts are not looked at as a whole for what they may be instead of a formula
_LONGEST_NAME = 200
# what is not a formula, by what is known of it
_MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_DATE = re.compile(rf"\d{{1,4}}-(?:{_MONTHS})|(?:{_MONTHS})-\d{{1,4}}")
# alpha-, β-, 4H-, 1T'-, cubic
_FORM = re.compile(
    r"((?:[a-z]{1,14}|[\u0391-\u03c9]|\d{1,2}[CHRTO])['\u2032]{0,2}(?:-|\s+))([A-Z(\[].*)"
)
_ALLOY_PART = re.compile(r"(\d+(?:\.\d+)?)([A-Z][a-z]?)")
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


class Doubt(NamedTuple):
    """What a formula may mean otherwise: a kind of :data:`_DOUBTS` and spellings of all."""

    kind: str
    reading: str | None = None
    others: tuple[str, ...] = ()


@dataclass
class Findings:
    """What is to be said of rows that were read.

    Parameters
    ----------
    n_rows : int
        Number of rows.
    rejected : list of (int, object, str)
        Row, value and reason of each that is not a composition.
    doubted : list of (int, object, dict, Doubt)
        Row, value and amounts of each that may mean something else.
    """

    n_rows: int
    rejected: list[tuple[int, Any, str]] = field(default_factory=list)
    doubted: list[tuple[int, Any, dict[int, float], Doubt]] = field(default_factory=list)

    def warn(self, place: Callable[[int], str] = "Row {}".format) -> None:
        """Warn of what may mean something else, once for each kind."""
        for kind, text in _DOUBTS.items():
            rows = [found for found in self.doubted if found[3].kind == kind]
            if rows:
                listed = [
                    f"{place(row)}, {_shorten(value)}, was read as {_meanings(amounts, doubt)}."
                    for row, value, amounts, doubt in rows[:_SHOWN_ROWS]
                ]
                warnings.warn(
                    f"In {len(rows)} of {self.n_rows} rows {text}. {_listing(listed, len(rows))} "
                    "A spelling given here is read without a warning.",
                    CompositionWarning,
                    stacklevel=3,
                )

    def rejection(self, place: Callable[[int], str]) -> str:
        """Say of the first row that it is not a composition and why, then count and list more."""
        row, value, reason = self.rejected[0]
        text = f"{place(row)}: {_shorten(value)} is not a composition: {reason}."
        if len(self.rejected) == 1:
            return text
        listed = [
            f"{place(row)}, {_shorten(value)}: {reason}."
            for row, value, reason in self.rejected[1:_SHOWN_ROWS]
        ]
        return (
            f"{text} So it is with {len(self.rejected)} of {self.n_rows} rows, the next: "
            f"{_listing(listed, len(self.rejected) - 1)} Correct or drop them."
        )


def _listing(listed: list[str], n_rows: int) -> str:
    return " ".join(listed) + (" And so on." if n_rows > len(listed) else "")


def _meanings(amounts: dict[int, float], doubt: Doubt) -> str:
    """Spell what was read and, where it is known, what else may be meant."""
    kind, reading, others = doubt
    read = reading if reading and _readable(reading, amounts) else _written(amounts)
    spelled = []
    for other in others:
        if _readable(other):
            spelled.append(_shorten(other.strip()))
        elif kind == "parts":
            spelled.append(_shorten(_written(_read_text(other))))
    return _shorten(read) + (f"; otherwise write {' or '.join(spelled)}" if spelled else "")


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
        numbers, amounts = self.atomic_numbers.tolist(), self.amounts.tolist()
        return [
            _written(dict(zip(numbers[start:stop], amounts[start:stop], strict=True)))
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


def _format_amount(amount: float) -> str:
    if amount == 1:
        return ""
    if amount.is_integer() and amount < 2**53:
        return str(int(amount))
    return repr(amount).replace("e+", "e")


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
        f"Row {row}, {_shorten(value)}: {reason}."
        for row, value, reason in findings.rejected[:_SHOWN_ROWS]
    ]
    text = _listing(listed, len(findings.rejected))
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
    doubts: list[Doubt] = []
    try:
        amounts = _amounts_of_formula(formula, doubts)
    except _NotAComposition as rejected:
        raise CompositionError(
            f"{_shorten(formula)} is not a composition: {rejected}.",
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
            f"Got the single value {_shorten(X)} of type {type(X).__name__} where rows of "
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


def _are_elements(columns: Iterable) -> bool:
    """Whether a table has a column for each of some elements."""
    columns = list(columns)
    return bool(columns) and _ATOMIC_NUMBERS.keys() >= set(columns)


def _check_one_column(shape: tuple[int, ...], columns: list | None) -> None:
    if len(shape) == 2 and shape[1] == 1:
        return
    if columns is not None:
        raise InputError(
            f"Got a DataFrame of {shape[1]} columns {_shorten(columns)} where one column of "
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
                read = _amounts_of_formula(value, doubts)
            else:
                content = _unwrapped(value)
                read = _amounts_of_value(content, doubts)
            if by_weight:
                read = _from_weights(content, read)
        except _NotAComposition as reason:
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
        if not _BY_WEIGHT.fullmatch(value.translate(_CLEANED)):
            raise _NotAComposition(
                "amounts by weight are those of elements, each with its number, as in 'Ti90Al6V4'"
            )
    elif type(value).__module__.partition(".")[0] == "pymatgen":
        raise _NotAComposition(
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
            raise _NotAComposition(f"a {type(value).__name__} of {len(value)} values")
        return value[0]
    return value


def _amounts_of_value(value: object, doubts: list[Doubt]) -> dict[int, float]:
    """Read one row; why it is rejected is the text of :class:`_NotAComposition`."""
    if isinstance(value, str):
        return _amounts_of_formula(value, doubts)
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
                f"the amount of {_shorten(symbol)} is missing; leave out what is absent, or give 0"
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


def _amounts_of_formula(formula: str, doubts: list[Doubt]) -> dict[int, float]:
    """Read a formula; what it may mean otherwise is appended to `doubts`."""
    if len(formula) > _MAX_CHARACTERS:
        raise _NotAComposition(
            f"a text of {len(formula):,} characters; a formula has at most {_MAX_CHARACTERS:,}"
        )
    if (
        _PLAIN.fullmatch(formula)
        and not ("." in formula and _MAYBE_PART.search(formula))
        and formula not in _NAMES
    ):
        pairs = _PLAIN_TOKENS.findall(formula)
        try:
            plain = {
                _PLAIN_NUMBERS[symbol]: float(amount) if amount else 1.0 for symbol, amount in pairs
            }
        except KeyError:
            pass
        else:
            # repeated elements and zeros are left to the full parser
            if (
                len(plain) == len(pairs)
                and min(plain.values()) >= _TOLERANCE
                and not (_ACTINIUM in plain and "OAc" in formula)
            ):
                return plain
    text = formula.translate(_CLEANED) if _UNCLEAN.search(formula) else formula
    words = text.split()
    if not words:
        raise _NotAComposition("an empty string")
    if len(words) > 1:
        text = " ".join(words)
    reading, others = _separated(text) if "." in text or len(words) > 1 else (text, [])
    try:
        amounts = _read_text(reading)
    except _NotAComposition as rejected:
        raise _NotAComposition(_explain_text(formula) or str(rejected)) from None
    others = [other for other in others if _reads_otherwise(other, amounts)]
    if others:
        doubts.append(Doubt("parts", reading, tuple(others)))
    _doubt_letters(text, words, amounts, doubts)
    return amounts


def _read_text(text: str) -> dict[int, float]:
    """Read a formula in which ``·`` separates parts and every ``.`` is a decimal point."""
    return _checked_amounts(_parsed(text).items())


def _separated(text: str) -> tuple[str, list[str]]:
    """Write ``·`` for every ``.`` that separates parts, and how else the text can be read.

    A ``.`` before a letter or a bracket separates, and so does one of ``4.0.5H2O``. One
    before a whole multiple of what looks like a part of its own (water, ammonia, a compound
    that repeats an element written before) does so too, but may be meant as a decimal point.
    """
    if "." not in text or ".." in text:
        return text, _spaced(text)
    dots = [match.start() for match in re.finditer(r"\.", text)]
    sure: list[int] = []
    likely: list[int] = []
    unlikely: list[int] = []
    swapped: dict[int, int] = {}
    # where the part after the dot ends, if no decimal point lies before
    end: int | None = len(text)
    # from the right, because the end of a part tells what the dot before it is
    while dots:
        at = dots.pop()
        after = _AFTER_DOT.match(text, at + 1)
        assert after is not None
        gap, digits, fraction = after.groups()
        ahead = text[after.end() : after.end() + 1]
        before = text[max(0, at - _WINDOW) : at]
        written = before.rstrip()
        ended = written.rstrip("0123456789")
        whole = written[len(ended) :]
        separator = at
        if not (ahead == "(" or "A" <= ahead <= "Z") or ended.rstrip()[-1:] in ("", "·", "("):
            # what follows is no part, or the dot is in the multiplier of one
            separator = -1
        elif not digits or fraction or gap or (whole and written != before):
            sure.append(at)
        elif dots and text[dots[-1] + 1 : at].strip().isdecimal():
            first = dots.pop()
            if dots and text[dots[-1] + 1 : first].strip().isdecimal():
                # three in a row are no formula
                return text, []
            separator, other = _one_of_two(text, first, at)
            if other is None:
                sure.append(separator)
            else:
                likely.append(separator)
                swapped[separator] = other
        elif digits[0] == "0" or (whole and not whole.strip("0")):
            separator = -1
        elif end is not None and _looks_like_part(digits, text[after.end() : end], text, at):
            likely.append(at)
        else:
            separator = -1
            if len(digits) <= _LONGEST_MULTIPLIER and len(_elements_before(text, at)) > 1:
                unlikely.append(at)
        end = separator if separator >= 0 else None
    if not (sure or likely):
        return text, _spaced(text)
    others = []
    for dot in unlikely[-_SHOWN_ROWS:]:
        others.append([*sure, *likely, dot])
    if len(unlikely) > 1:
        others.append([*sure, *likely, *unlikely])
    if swapped:
        others.append([*sure, *(swapped.get(dot, dot) for dot in likely)])
    elif not sure:
        others.append([])
    return _with_separators(text, [*sure, *likely]), [
        _with_separators(text, positions) for positions in others
    ]


def _one_of_two(text: str, first: int, second: int) -> tuple[int, int | None]:
    """Tell which dot of ``4.0.5H2O`` separates, and the other one if it may be that."""
    before = text[max(0, first - _WINDOW) : first]
    whole = before[len(before.rstrip("0123456789")) :]
    between = text[first + 1 : second]
    if (whole and not whole.strip("0")) or (between[0] == "0" and between.strip("0 ")):
        return second, None
    if not whole or not between.strip("0") or between[0] == " " or text[second + 1] == "0":
        return first, None
    return (second, first) if whole == "1" else (first, second)


def _elements_before(text: str, at: int) -> set[str]:
    """Elements of what stands before a dot, back to the last ``·`` or as far as matters."""
    start = max(0, at - _WINDOW)
    return set(_SYMBOL.findall(text, max(start, text.rfind("·", start, at)), at))


def _looks_like_part(digits: str, part: str, text: str, at: int) -> bool:
    """Whether the text between a ``.`` with digits and the next separator is one."""
    found = _WHOLE.match(part)
    if not found or not (found.end() == len(part) or part[found.end()] == ")"):
        return False
    if _LIGAND.fullmatch(found[0]):
        return True
    elements = set(_SYMBOL.findall(found[0]))
    before = _elements_before(text, at)
    return (
        len(digits) <= _LONGEST_MULTIPLIER
        and len(before) > 1
        and len(elements) > 1
        and bool(before & elements or elements >= {"C", "H"})
    )


def _spaced(text: str) -> list[str]:
    """Write ``·`` before a number after a space that may begin a part: ``NaCl 2H2O``."""
    other = _SPACED_NUMBER.sub("·", text)
    return [other] if other != text else []


def _with_separators(text: str, dots: Iterable[int]) -> str:
    bounds = [-1, *sorted(dots), len(text)]
    return "·".join(text[start + 1 : stop].strip() for start, stop in pairwise(bounds))


def _reads_otherwise(text: str, amounts: dict[int, float]) -> bool:
    try:
        return _read_text(text) != amounts
    except _NotAComposition:
        return False


def _doubt_letters(
    text: str, words: list[str], amounts: dict[int, float], doubts: list[Doubt]
) -> None:
    # most formulas are done with after some searches for a character
    if ("I" in text or "V)" in text) and _NUMERALS.search(text):
        doubts.append(Doubt("numerals", others=(_NUMERALS.sub("", text),)))
    if ("D" in text or "T" in text) and _ISOTOPE.search(text):
        symbols = set(_SYMBOL.findall(text))
        if (
            re.search(r"DD|TT", text)
            or ("T" in symbols and not symbols <= _BESIDE_TRITIUM)
            or (text.lstrip(" (")[:1] == "D" and not symbols <= _BESIDE_DEUTERIUM)
        ):
            doubts.append(Doubt("isotopes"))
    if len(amounts) > 1 and not _RARE.isdisjoint(amounts) and _UNUSUAL.search(text):
        doubts.append(Doubt("names"))
    if text.endswith(")") and _PHASE.search(text):
        doubts.append(Doubt("words", others=(_PHASE.sub("", text),)))
        return
    if len(words) == 1:
        if words[0] in _NAMES:
            doubts.append(Doubt("names"))
        return
    for position in range(1, len(words)):
        if _is_word(words[position], words[position - 1]):
            doubts.append(Doubt("words", others=(" ".join(words[:position]),)))
            break


def _is_word(word: str, before: str) -> bool:
    """Whether letters after a space are rather a word than elements."""
    capitals = sum(map(str.isupper, word[:_WINDOW]))
    if not word[0].isupper() or not word.isalnum() or word in _IONS or before[-1] in "·.":
        return False
    if capitals > 1:
        return word.isalpha()
    before = before[-_WINDOW:]
    return sum(map(str.isupper, before)) > 1 and not _CATION.search(before)


def _readable(spelling: str, amounts: dict[int, float] | None = None) -> bool:
    """Whether a spelling is read without a doubt, and as `amounts`."""
    doubts: list[Doubt] = []
    try:
        read = _amounts_of_formula(spelling, doubts)
    except _NotAComposition:
        return False
    return not doubts and amounts in (None, read)


def _advice(spelling: str) -> str:
    """Advise a spelling at the end of a reason, if it can be read."""
    return f": write {_shorten(spelling)}" if _readable(spelling) else ""


def _written(amounts: dict[int, float]) -> str:
    """Write amounts as a formula that is read back exactly and without a doubt."""
    formula = "".join(ELEMENTS[z - 1] + _format_amount(amount) for z, amount in amounts.items())
    if not (_MAYBE_PART.search(formula) or formula in _NAMES or _UNUSUAL.search(formula)):
        return formula
    return formula if _readable(formula) else _explicit(amounts)


def _explicit(amounts: dict[int, float]) -> str:
    """Write every amount, and decimals with an exponent, so that no dot can begin a part."""
    numbers = [_format_amount(amount) or "1" for amount in amounts.values()]
    return "".join(
        f"{ELEMENTS[z - 1]}{number}{'e0' if '.' in number and 'e' not in number else ''}"
        for z, number in zip(amounts, numbers, strict=True)
    )


def _parsed(text: str) -> dict[str, float]:
    """Read brackets and parts, in the order of pymatgen's arithmetic.

    A stack of open brackets keeps the time linear. Of each bracket it holds the (symbol,
    amount) read so far, where in them the part begins, and the part's multiplier.
    """
    end = len(text.rstrip())
    stack: list[tuple[list[tuple[str, float]], int, str | None, bool]] = []
    pairs: list[tuple[str, float]] = []
    first, several = 0, False
    multiplier: str | None = None
    position = 0
    while position < end:
        token = _TOKEN.match(text, position, end)
        if token is None:
            leading = None if position else _MULTIPLIER.match(text, 0, end)
            if leading is None:
                raise _NotAComposition(_explain(text, position))
            multiplier, position = leading[1], leading.end()
            continue
        position = token.end()
        symbol, amount, mark, factor = token.groups()
        if symbol:
            if not amount:
                pairs.append((symbol, 1.0))
            elif "/" not in amount:
                pairs.append((symbol, float(amount)))
            elif symbol in _ANIONS:
                raise _NotAComposition(_explain_slash(symbol, amount))
            else:
                pairs.append((symbol, _number(amount)))
        elif mark == "(":
            stack.append((pairs, first, multiplier, several))
            pairs, first, multiplier, several = [], 0, factor, False
        elif mark == ")":
            if not stack:
                raise _NotAComposition("a bracket is closed that was never opened")
            if multiplier or several:
                _end_part(pairs, first, multiplier, several)
            elif not pairs:
                raise _NotAComposition("a pair of brackets is empty")
            group = _merged(pairs, _number(factor) if factor else 1.0)
            pairs, first, multiplier, several = stack.pop()
            pairs.extend(group.items())
        else:
            several = True
            _end_part(pairs, first, multiplier, several)
            first, multiplier = len(pairs), factor
    if stack:
        raise _NotAComposition("a bracket is opened and never closed")
    if multiplier or several:
        _end_part(pairs, first, multiplier, several)
    return _merged(pairs, 1.0)


def _end_part(
    pairs: list[tuple[str, float]], first: int, multiplier: str | None, several: bool
) -> None:
    """Multiply the part that begins at `first`."""
    if multiplier and not several:
        raise _NotAComposition(
            f"the number {multiplier!r} belongs to no element; write the formula of one unit, "
            "without a number before it"
        )
    if len(pairs) == first:
        raise _NotAComposition("a part before or after a dot is empty")
    if multiplier:
        pairs[first:] = _merged(pairs[first:], _number(multiplier)).items()


def _number(text: str) -> float:
    numerator, slash, denominator = text.partition("/")
    if not slash:
        return float(text)
    if len(numerator) > _LONGEST_FRACTION or not int(denominator):
        raise _NotAComposition(f"the fraction {_shorten(text)} is not one of small integers")
    return int(numerator) / int(denominator)


def _merged(pairs: list[tuple[str, float]], factor: float) -> dict[str, float]:
    amounts = {symbol: amount * factor for symbol, amount in pairs}
    if len(amounts) < len(pairs):
        amounts = dict.fromkeys(amounts, 0.0)
        for symbol, amount in pairs:
            amounts[symbol] += amount * factor
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


def _explain_slash(symbol: str, amount: str) -> str:
    number = _number(amount)
    return (
        f"a '/' between formulas or in the amount of {symbol}; write a mixture as one formula with "
        f"its amounts, and an amount as a decimal, '{symbol}{number:.6g}'"
    )


def _explain_text(formula: str) -> str | None:
    """Say what a text as a whole is that cannot be read; None leaves it to the parser."""
    text = formula.strip()
    if len(text) > _LONGEST_NAME:
        return None
    if re.match(r"\{\s*['\"]", text):
        return (
            "the text of a mapping; make a mapping of it first, with ast.literal_eval or json.loads"
        )
    if _DATE.fullmatch(text):
        return "a date, which a spreadsheet makes of some formulas; write the formula anew"
    if re.search(r"\d,\d", text) and _readable(text.replace(",", ".")):
        return f"a decimal comma{_advice(text.replace(',', '.'))}"
    coefficient = _MULTIPLIER.match(text)
    if coefficient and _readable(text[coefficient.end() :]):
        return (
            f"the number {coefficient[1]!r} belongs to no element; a number of formula units is "
            f"left out{_advice(text[coefficient.end() :].strip())}"
        )
    form = _FORM.fullmatch(text)
    if form and _readable(form[2]):
        return f"{form[1]!r} names a form, which is left out of a formula{_advice(form[2].strip())}"
    return _explain_joined(re.split(rf"\s*[+{_MINUS}]\s*", text), text)


def _explain_joined(parts: list[str], text: str) -> str | None:
    """Say what formulas are that are joined by hyphens."""
    if len(parts) < 2 or not all(parts):
        return None
    alloy = [_ALLOY_PART.fullmatch(part) for part in parts[1:]]
    if parts[0] in _ATOMIC_NUMBERS and all(alloy):
        weights = {part[2]: float(part[1]) for part in alloy if part}
        rest = round(100 - sum(weights.values()), 6)
        if parts[0] not in weights and rest > 0 and weights.keys() <= _ATOMIC_NUMBERS.keys():
            mapping = {
                symbol: f"{weight:g}" for symbol, weight in {parts[0]: rest, **weights}.items()
            }
            spelled = "".join(f"{symbol}{weight}" for symbol, weight in mapping.items())
            return (
                "the designation of an alloy, in per cent by weight: write "
                f"{spelled!r} and read it with amounts='weight'"
            )
    joined = "·".join(parts)
    if all(part[0].isdecimal() for part in parts) and _readable(joined):
        return f"formulas joined by a hyphen or '+'; for amounts in moles{_advice(joined)}"
    if "+" not in text and all(map(_readable, parts)):
        return (
            "formulas joined by a hyphen, of unknown shares; write a mixture as one formula "
            f"with its amounts, for example {_shorten('·'.join(f'0.5{part}' for part in parts))}"
        )
    return None


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
        advice = (
            _advice(f"{before}·{text[position:].lstrip()}") if len(text) < _LONGEST_NAME else ""
        )
        return f"the number {number!r} belongs to no element; begin a part with '·'{advice}"
    if found in ".e*":
        return f"a number is not complete at {rest[:10]!r}"
    return f"unexpected character {found!r}" + (f" after {before[-10:]!r}" if before else "")
