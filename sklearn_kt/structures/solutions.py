"""Solid solutions: which elements share sites, and where each of them goes in a supercell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import gcd

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage

from sklearn_kt.compositions import ELEMENTS

from .elements import families, may_lack_properties
from .stoichiometry import Stoichiometry, near_formulas, rounded

__all__ = [
    "Mixture",
    "SmallCell",
    "is_uneven",
    "mixtures_of",
    "smallest_cell",
    "spread",
    "supercell",
]

# Elements that are shared out over sites in all ways; of more the most alike go together first.
_MAX_PARTS = 5
# A smaller supercell is preferred if its composition is worse by at most this.
_GIVE = 0.005
# Arrangements of the elements that are bettered, of which the best is taken.
_STARTS = 8
# Lattice vectors among which the shortest of a supercell is sought: up to so many cells away.
_REACH = 6


@dataclass(frozen=True)
class Mixture:
    """A composition some of whose elements share sites.

    Parameters
    ----------
    formula : Stoichiometry
        By number: that of an element, or of a site in `shares`.
    shares : dict of int to dict of int to float
        Of each shared site, numbered beyond the elements: the share of each atomic number.
    """

    formula: Stoichiometry
    shares: Mapping[int, Mapping[int, float]]


def mixtures_of(
    amounts: Mapping[int, float],
    table: np.ndarray,
    max_atoms: int,
    max_error: float,
    usable: Callable[[Stoichiometry], bool],
) -> Iterator[Mixture]:
    """Share the elements of a composition out over the sites of simpler formulas.

    Parameters
    ----------
    amounts : dict of int to float
        Amount of each atomic number.
    table : ndarray of shape (n_elements + 1, n_elements + 1)
        Distances between elements.
    max_atoms : int
        Of the simpler formula.
    max_error : float
        Largest fraction of atoms by which the simpler formula may be off.
    usable : callable
        Whether crystals of a simpler formula are known.

    Yields
    ------
    mixture : Mixture
        With two elements on a site at least. Metals and metalloids may share a site, and
        elements of one group of the periodic table.

    Examples
    --------
    >>> import numpy as np
    >>> amounts = {22: 0.25, 40: 0.75, 8: 2}  # Ti0.25Zr0.75O2
    >>> [mixture] = mixtures_of(amounts, np.ones((119, 119)), 20, 0.0, lambda formula: True)
    >>> mixture.formula.counts, mixture.shares
    ({8: 2, 120: 1}, {120: {40: 0.75, 22: 0.25}})
    """
    if len(amounts) < 2:
        return
    parts = _alike(sorted(amounts, key=lambda z: (-amounts[z], z)), table)
    first = len(table)
    for partition in _partitions(parts):
        total, shares = {}, {}
        for i, site in enumerate(partition):
            amount = sum(amounts[z] for z in site)
            number = site[0] if len(site) == 1 else first + i
            total[number] = amount
            if len(site) > 1:
                shares[number] = {z: amounts[z] / amount for z in site}
        if shares:
            formula = near_formulas(total, max_atoms, max_error, usable)
            # what rounds to nothing is not placed
            if formula is not None and not shares.keys().isdisjoint(formula.counts):
                placed = {n: share for n, share in shares.items() if n in formula.counts}
                yield Mixture(formula, placed)


def is_uneven(amounts: Mapping[int, float]) -> bool:
    """Tell whether whole amounts share one kind of site in fifths or finer parts.

    Halves, thirds and quarters are as often an order with sites of its own.

    Examples
    --------
    >>> is_uneven({30: 4, 48: 1}), is_uneven({30: 6, 48: 2})
    (True, False)
    """
    whole = [int(amount) for amount in amounts.values()]
    return sum(whole) // gcd(*whole) > 4


def _alike(numbers: Sequence[int], table: np.ndarray) -> list[tuple[int, ...]]:
    """Put elements together until few enough are left, the most alike first."""
    if len(numbers) <= _MAX_PARTS:
        return [(z,) for z in numbers]
    may = _may_share()
    pairs = [(a, b) for i, a in enumerate(numbers) for b in numbers[i + 1 :]]
    # those that may not share a site are far from each other
    far = float(table.max()) * len(numbers)
    distances = [float(table[a, b]) if may[a, b] else far for a, b in pairs]
    labels = fcluster(linkage(distances, "complete"), _MAX_PARTS, "maxclust")
    return [
        tuple(z for z, other in zip(numbers, labels, strict=True) if other == label)
        for label in dict.fromkeys(labels.tolist())
    ]


def _partitions(parts: Sequence[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    """All ways to put parts together on sites that they may share."""
    may = _may_share()
    if not all(may[a, b] for part in parts for a in part for b in part):
        return
    if not parts:
        yield []
        return
    *rest, last = parts
    for partition in _partitions(rest):
        yield [*partition, last]
        for i, site in enumerate(partition):
            if all(may[a, b] for a in site for b in last):
                yield [*partition[:i], site + last, *partition[i + 1 :]]


@lru_cache(maxsize=1)
def _may_share() -> np.ndarray:
    from pymatgen.core import Element

    with may_lack_properties():
        elements = [Element(symbol) for symbol in ELEMENTS]
        metal = np.array([False, *(e.is_metal or e.is_metalloid for e in elements)])
    family = families()
    return (metal[:, None] & metal) | (family[:, None] == family)


@dataclass(frozen=True)
class SmallCell:
    """How many cells hold a solid solution, and what is on each shared site.

    Parameters
    ----------
    n_cells : int
        Primitive cells of the parent.
    counts : dict of int to dict of int to int
        Of each shared site: atoms of each atomic number in all cells.
    error : float
        Fraction of atoms that would have to be exchanged to get the composition asked for.
    """

    n_cells: int
    counts: Mapping[int, Mapping[int, int]]
    error: float


def smallest_cell(
    numbers: np.ndarray, mixture: Mixture, amounts: Mapping[int, float], max_atoms: int
) -> SmallCell | None:
    """Find the smallest supercell that holds a solid solution well.

    Parameters
    ----------
    numbers : ndarray of int, shape (n,)
        Of the parent's cell: atomic numbers, and those of shared sites.
    mixture : Mixture
        What shares them.
    amounts : dict of int to float
        The composition asked for.
    max_atoms : int
        Largest supercell.

    Returns
    -------
    cell : SmallCell or None
        Of those with an error within 0.005 of the smallest, the one with the fewest atoms;
        None if each element would be alone on its sites.
    """
    sites = dict(zip(*(a.tolist() for a in np.unique(numbers, return_counts=True)), strict=True))
    found = []
    for n_cells in range(1, max_atoms // len(numbers) + 1):
        counts = {
            site: rounded(share, n_cells * sites[site]) for site, share in mixture.shares.items()
        }
        placed: dict[int, float] = {}
        for number, n in sites.items():
            for z, count in counts.get(number, {number: n_cells * n}).items():
                placed[z] = placed.get(z, 0) + count
        found.append(SmallCell(n_cells, counts, _error(placed, amounts)))
    if not found:
        return None
    best = min(cell.error for cell in found)
    cell = next(cell for cell in found if cell.error <= best + _GIVE)
    return cell if any(len(counts) > 1 for counts in cell.counts.values()) else None


def _error(placed: Mapping[int, float], amounts: Mapping[int, float]) -> float:
    here, there = sum(placed.values()), sum(amounts.values())
    parts = (placed.get(z, 0) / here - amounts.get(z, 0) / there for z in {*placed, *amounts})
    # rounded: what is left of equal fractions is no error
    return round(sum(map(abs, parts)) / 2, 9)


def supercell(lattice: np.ndarray, n_cells: int) -> np.ndarray:
    """Find the most compact supercell: that whose images are the farthest from each other.

    Parameters
    ----------
    lattice : ndarray of shape (3, 3)
        Vectors of the cell, one per row.
    n_cells : int
        Cells in the supercell.

    Returns
    -------
    vectors : ndarray of int, shape (3, 3)
        In terms of those of the cell.

    Examples
    --------
    >>> import numpy as np
    >>> vectors = supercell(np.eye(3), 4)  # a body-centred cubic lattice
    >>> np.linalg.norm(vectors, axis=1).round(3).tolist()
    [1.732, 1.732, 1.732]
    """
    from pymatgen.core import Lattice

    steps = np.stack(np.meshgrid(*[np.arange(-_REACH, _REACH + 1)] * 3), -1).reshape(-1, 3)
    steps = steps[np.any(steps != 0, axis=1)]
    lengths = np.linalg.norm(steps @ lattice, axis=1)
    # in a ball of so many cells any supercell has a lattice vector (Minkowski)
    order = np.argsort(lengths, kind="stable")[: 8 * n_cells + 20]
    steps, lengths = steps[order], lengths[order]
    best, widest = np.eye(3, dtype=int), -1.0
    for shape in _hermite_forms(n_cells):
        inside = steps @ np.linalg.inv(shape)
        inside = np.abs(inside - np.rint(inside)).max(axis=1) < 1e-6
        # none within reach: the supercell is longer than that, and thin
        width = float(lengths[inside.argmax()]) if inside.any() else 0.0
        if width > widest + 1e-6:
            best, widest = shape, width
    reduced = Lattice(best @ lattice).get_lll_reduced_lattice().matrix
    return np.rint(reduced @ np.linalg.inv(lattice)).astype(int)


def _hermite_forms(n: int) -> Iterator[np.ndarray]:
    """All sublattices that have so many cells."""
    for a in range(1, n + 1):
        for b in range(1, n // a + 1):
            if n % (a * b) == 0:
                c = n // a // b
                for i, j, k in np.ndindex(b, c, c):
                    yield np.array([[a, i, j], [0, b, k], [0, 0, c]])


def spread(lattice: np.ndarray, coords: np.ndarray, counts: Mapping[int, int]) -> np.ndarray:
    """Share sites out among elements, equal ones as far from each other as they can be.

    Parameters
    ----------
    lattice : ndarray of shape (3, 3)
        Vectors of the cell.
    coords : ndarray of shape (n, 3)
        Fractional coordinates of the sites.
    counts : dict of int to int
        Atoms of each atomic number, n in all.

    Returns
    -------
    numbers : ndarray of int, shape (n,)
        Atomic number on each site: of several arrangements that no exchange of two atoms
        betters the one in which equal elements are the farthest from each other, by the sum of
        the inverse sixth powers of their distances. The same at each call.
    """
    delta = coords[:, None] - coords[None]
    images = np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3), -1).reshape(-1, 3)
    delta = (delta - np.rint(delta))[:, :, None] + images
    squares = ((delta @ lattice) ** 2).sum(axis=-1)
    near = squares.min(axis=-1) + np.diag(np.full(len(coords), np.inf))
    with np.errstate(divide="ignore"):
        push = ((squares / near.min(initial=np.inf, where=near > 0)) ** -3.0).sum(axis=-1)
    np.fill_diagonal(push, 0.0)
    numbers = np.repeat([*counts], [*counts.values()])
    random = np.random.default_rng(0)
    starts = [numbers, *(random.permutation(numbers) for _ in range(_STARTS - 1))]
    # rounded, so that equal ones are told apart by their order and not by their last bits
    return min(
        (_exchanged(start, push) for start in starts),
        key=lambda found: round(float(push[np.equal.outer(found, found)].sum()), 6),
    )


def _exchanged(numbers: np.ndarray, push: np.ndarray) -> np.ndarray:
    """Exchange atoms of two elements for as long as equal ones get farther from each other."""
    numbers = numbers.copy()
    while True:
        same = np.equal.outer(numbers, numbers)
        # what each site feels of all atoms of another's element
        felt = push @ same
        own = np.diag(felt)
        gain = own[:, None] + own[None] - felt - felt.T + 2 * push
        gain[same] = 0
        i, j = np.unravel_index(np.round(gain, 6).argmax(), gain.shape)
        if gain[i, j] < 1e-5:
            return numbers
        numbers[[i, j]] = numbers[[j, i]]
