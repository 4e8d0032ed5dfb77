"""Integer formulas: of a composition, or near it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import gcd

import numpy as np

from sklearn_kt.compositions import ELEMENTS, CompositionBatch

from .elements import may_lack_properties

__all__ = [
    "EXACT",
    "Stoichiometry",
    "integer_formula",
    "integer_formulas",
    "near_formulas",
    "reduced_formula",
    "rounded",
]

# A smaller formula is preferred if it is worse by at most this.
_GIVE = 0.005
# Error of amounts that are whole but for their last bits.
EXACT = 1e-9


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

    @property
    def amounts(self) -> tuple[int, ...]:
        """Amounts in ascending order: (1, 1, 3) of perovskites."""
        return tuple(sorted(self.counts.values()))


def integer_formulas(batch: CompositionBatch, max_atoms: int) -> list[Stoichiometry | None]:
    """Write compositions with whole numbers.

    Parameters
    ----------
    batch : CompositionBatch
        Compositions.
    max_atoms : int
        Atoms of the largest formula wanted.

    Returns
    -------
    formulas : list of Stoichiometry or None
        Of the reduced amounts (:meth:`~sklearn_kt.compositions.CompositionBatch.reduced`);
        None where there is no formula so small.

    Examples
    --------
    >>> from sklearn_kt.compositions import read_compositions
    >>> batch = read_compositions(["Ba0.5Sr0.5TiO3", "La0.3331O1.1117"])
    >>> [None if f is None else f.counts for f in integer_formulas(batch, 100)]
    [{56: 1, 38: 1, 22: 2, 8: 6}, None]
    """
    numbers, written = batch.atomic_numbers.tolist(), batch.amounts.tolist()
    reduced = batch.reduced().amounts.tolist()
    found: list[Stoichiometry | None] = []
    for start, stop in pairwise(batch.offsets.tolist()):
        # what has more atoms than are recognised in fractions may still be written with them
        for amounts in (reduced[start:stop], written[start:stop]):
            if amounts and all(n >= 1 and n.is_integer() for n in amounts):
                row = zip(numbers[start:stop], map(int, amounts), strict=True)
                formula = integer_formula(dict(row))
                found.append(formula if formula.n_atoms <= max_atoms else None)
                break
        else:
            found.append(None)
    return found


def integer_formula(counts: Mapping[int, int]) -> Stoichiometry:
    """Write a crystal's composition with the smallest whole numbers.

    Examples
    --------
    >>> integer_formula({26: 4, 8: 6}).counts
    {26: 2, 8: 3}
    """
    divisor = gcd(*counts.values())
    return Stoichiometry({z: n // divisor for z, n in counts.items()})


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
    found = []
    for formula in _roundings(amounts, max_atoms):
        if formula.error <= max_error and usable(formula):
            found.append(formula)
            if formula.error <= EXACT:
                break
    if not found:
        return None
    best = min(formula.error for formula in found)
    return next(formula for formula in found if formula.error <= best + _GIVE)


def reduced_formula(counts: Mapping[int, int]) -> str:
    """Spell a formula as pymatgen does, in the order of electronegativity.

    Examples
    --------
    >>> reduced_formula({8: 6, 22: 2, 56: 2})
    'BaTiO3'
    """
    from pymatgen.core import Composition

    with may_lack_properties():
        return Composition({ELEMENTS[z - 1]: n for z, n in counts.items()}).reduced_formula


def _roundings(amounts: Mapping[int, float], max_atoms: int) -> Iterator[Stoichiometry]:
    """Round to each number of atoms, without formulas that have a common divisor."""
    total = sum(amounts.values())
    shares = {z: amount / total for z, amount in amounts.items()}
    for size in range(1, max_atoms + 1):
        counts = rounded(shares, size)
        if gcd(*counts.values()) == 1:
            differences = (abs(counts.get(z, 0) / size - share) for z, share in shares.items())
            yield Stoichiometry(counts, sum(differences) / 2)


def rounded(shares: Mapping[int, float], size: int) -> dict[int, int]:
    """Share a number of atoms out; what rounds to nothing is left out.

    Examples
    --------
    >>> rounded({22: 0.25, 40: 0.75}, 6)
    {22: 2, 40: 4}
    """
    numbers, share = list(shares), np.array([*shares.values()], float)
    counts = np.floor(share * size + 1e-9)
    rest = round(size - float(counts.sum()))
    # the largest remainders are rounded up; ties in the order of the formula
    counts[np.argsort(-(share * size - counts), kind="stable")[:rest]] += 1
    return {z: int(c) for z, c in zip(numbers, counts, strict=True) if c}
