"""Integer formulas: of a composition, or near it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import gcd

import numpy as np

from sklearn_kt.compositions import ELEMENTS

__all__ = ["Stoichiometry", "integer_formula", "near_formulas", "reduced_formula"]

# Two fractions of atoms closer than this are one.
_EXACT = 1e-6
# A smaller formula is preferred if it is worse by at most this.
_GIVE = 0.005


@dataclass(frozen=True)
class Stoichiometry:
    """An integer formula.

    Parameters
    ----------
    counts : dict of int to int
        Atoms of each atomic number, without a common divisor.
    error : float
        Fraction of atoms that would have to be exchanged to get the composition
        asked for: half the sum of the differences of the atomic fractions.
    """

    counts: Mapping[int, int]
    error: float = 0.0

    @property
    def n_atoms(self) -> int:
        """Atoms in the formula."""
        return sum(self.counts.values())


def integer_formula(amounts: Mapping[int, float], max_atoms: int) -> Stoichiometry | None:
    """Write a composition with integers.

    Parameters
    ----------
    amounts : dict of int to float
        Amount of each atomic number.
    max_atoms : int
        Largest formula to look for.

    Returns
    -------
    formula : Stoichiometry or None
        None if there is none so small.

    Examples
    --------
    >>> integer_formula({56: 0.5, 38: 0.5, 22: 1, 8: 3}, 100).counts
    {56: 1, 38: 1, 22: 2, 8: 6}
    >>> integer_formula({57: 0.333, 8: 1.0}, 100) is None
    True
    """
    values = list(amounts.values())
    if all(float(v).is_integer() for v in values):
        divisor = gcd(*(int(v) for v in values))
        counts = {z: int(v) // divisor for z, v in amounts.items()}
        formula = Stoichiometry(counts)
        return formula if formula.n_atoms <= max_atoms else None
    for formula in _roundings(amounts, max_atoms):
        if formula.error < _EXACT and len(formula.counts) == len(amounts):
            return formula
    return None


def near_formulas(
    amounts: Mapping[int, float],
    max_atoms: int,
    max_error: float,
    usable: Callable[[Stoichiometry], bool],
) -> Stoichiometry | None:
    """Find the integer formula nearest to a composition.

    Parameters
    ----------
    amounts : dict of int to float
        Amount of each atomic number.
    max_atoms : int
        Largest formula to look at.
    max_error : float
        Largest error to accept, as a fraction of the atoms.
    usable : callable
        Whether something can be done with a formula.

    Returns
    -------
    formula : Stoichiometry or None
        Of the usable formulas with an error within 0.005 of the smallest error, the
        one with the fewest atoms. Elements that round to nothing are left out.

    Examples
    --------
    >>> near = near_formulas({56: 0.98, 57: 0.02, 22: 1, 8: 3}, 20, 0.05, lambda f: True)
    >>> near.counts, round(near.error, 3)
    ({56: 1, 22: 1, 8: 3}, 0.004)
    """
    found = [
        formula
        for formula in _roundings(amounts, max_atoms)
        if formula.error <= max_error and usable(formula)
    ]
    if not found:
        return None
    best = min(formula.error for formula in found)
    return next(formula for formula in found if formula.error <= best + _GIVE)


def reduced_formula(counts: Mapping[int, int]) -> str:
    """Spell a formula as pymatgen does, in the order of electronegativity.

    Parameters
    ----------
    counts : dict of int to int
        Atoms of each atomic number.

    Returns
    -------
    formula : str
        Reduced.

    Examples
    --------
    >>> reduced_formula({8: 6, 22: 2, 56: 2})
    'BaTiO3'
    """
    from pymatgen.core import Composition

    with warnings.catch_warnings():
        # noble gases have no electronegativity, and go last
        warnings.filterwarnings("ignore", message="No Pauling electronegativity")
        return Composition({ELEMENTS[z - 1]: n for z, n in counts.items()}).reduced_formula


def _roundings(amounts: Mapping[int, float], max_atoms: int) -> Iterator[Stoichiometry]:
    """Round to each number of atoms, without formulas that have a common divisor."""
    numbers = list(amounts)
    share = np.array([amounts[z] for z in numbers], float)
    share = share / share.sum()
    for size in range(1, max_atoms + 1):
        counts = np.floor(share * size + 1e-9)
        rest = round(size - float(counts.sum()))
        # the largest remainders are rounded up; ties in the order of the formula
        counts[np.argsort(-(share * size - counts), kind="stable")[:rest]] += 1
        whole = {z: int(c) for z, c in zip(numbers, counts, strict=True) if c}
        if gcd(*whole.values()) == 1:
            yield Stoichiometry(whole, float(np.abs(counts / size - share).sum() / 2))
