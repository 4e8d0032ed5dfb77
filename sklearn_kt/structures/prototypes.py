"""Structures by substitution into known prototypes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import expit, logsumexp
from sklearn.utils._param_validation import Interval, StrOptions

from sklearn_kt.compositions import ELEMENTS

from .base import FormulaGenerator, error_of
from .candidate import Candidate
from .chgnet import rank_by_energy, relax_candidates
from .library import PrototypeLibrary, load_library
from .solutions import Mixture, is_uneven, mixtures_of, smallest_cell, spread, supercell
from .stoichiometry import EXACT, Stoichiometry

__all__ = ["PrototypeGenerator"]

# Nearest crystals that vote on the prototype.
_VOTERS = 400
# Siblings whose volumes are averaged.
_VOLUME_SIBLINGS = 8
# Ways of filling equal slots that are tried one by one; more are assigned greedily.
_MAX_WAYS = 120
# eV/atom of the energy above the hull that counts at most.
_MAX_HULL = 0.5
# Of solid solutions that differ in distance by less than this the one with fewer sites is made.
_SIMPLER = 0.5
# Crystals of the very formula that are so near leave no room for a solid solution.
_NEAR = 1.0
# Odds that a formula is a solid solution and no order of its own: they grow with how much nearer
# the simpler crystal is, and fall with how unlike the elements on a site are, and where these are
# halves, thirds or quarters. Fitted to 16,500 ordered compounds, so that about as many first
# candidates become right as become wrong.
_NEARER, _UNLIKE, _EVEN = 2.0, 0.5, 0.6
# Distance at which "no known prototype" votes. Fitted to 2,459 compositions of the library, their
# own crystals taken out: how often the first candidate had the right prototype.
_NO_PROTOTYPE = 2.66


class PrototypeGenerator(FormulaGenerator):
    """Substitute elements into known crystals of the same anonymous formula.

    The generator that needs nothing but the package. Every known crystal with the
    same anonymous formula (ABX3, say) votes on the prototype, with a weight that
    falls with the distance between its elements and those asked for; the elements
    then replace those of the nearest crystal of each prototype, and the cell is
    scaled to a fitted volume. A composition of the library comes back as itself: all its
    crystals, the lowest in energy first. A composition of which no crystal is near enough is
    taken for a solid solution: like elements share the sites of a simpler crystal. Where the
    simpler crystal is nearer than those of the very formula, both are candidates.

    Parameters
    ----------
    library : str, Path or None, default=None
        File of a prototype library; None is the one in the package.
    n_candidates : int, default=5
        At most so many crystals for each composition.
    rank_by : {"similarity", "energy", "both"}, default="similarity"
        How candidates are ordered: by the score; by the energy that CHGNet
        predicts (needs the extra ``structures``); or by the logarithm of the
        score minus the energy above the lowest in units of `energy_scale`.
    pool : int, default=10
        Candidates whose energies are compared, of which the best are kept.
    energy_scale : float, default=0.1
        In eV/atom, for ``rank_by="both"``.
    relax : int, default=0
        Steps of relaxation of atoms and cell with CHGNet; 0 is none. A crystal that
        flies apart is left out.
    max_distance : float, default=3.5
        Crystals whose elements are farther from those asked for are not substituted
        into. Of first candidates beyond the default one in ten has the right prototype.
    max_cell_atoms : int, default=60
        Largest supercell of a solid solution.
    max_atoms : int, default=200
        Compositions whose integer formula has more atoms are replaced by the
        nearest smaller one, like those that have no integer formula.
    max_error : float, default=0.05
        Largest fraction of atoms that may differ then, or in the supercell of a solid
        solution; beyond it there is no candidate.
    errors : {"raise", "nan"}, default="raise"
        What a row that is not a composition does: raise, or have no candidate.

    See Also
    --------
    StructureLookup : Crystals of your own.
    EnsembleGenerator : Several generators as one.

    Notes
    -----
    The score of a candidate is the estimated probability that the composition has its
    prototype: the prototype's share of the votes, of which one is for none of them, so
    that it falls with the distance of the substitution. Known crystals of the composition
    have the score 1 and are ordered by energy above the hull; where a source does not tell it,
    CHGNet's difference to the lowest that is known stands in. Polymorphs that differ by less
    than about 0.02 eV/atom, as zinc blende and wurtzite do, are not told apart by either.
    Candidates that take the formula for an order of its own, and those that take it for a solid
    solution, share the probability: the nearer a simpler crystal is, and the more alike the
    elements on its sites are, the more goes to the solid solution.

    Of a solid solution, metals and metalloids may share a site, and elements of one group of the
    periodic table; the distance is the mean over them. The smallest supercell whose
    composition is as good as that of larger ones, within 0.005, is made as compact as it can
    be, equal elements are spread out evenly over the shared sites, and the volume is the mean
    of those of the compounds that are mixed, of the known crystals where the library has them
    in this prototype. Such an order stands for a disorder: what depends on the order is not told.

    Provenance has ``source``, ``distance``, ``known`` (whether it is a known crystal of the
    composition), for known crystals, in eV/atom, ``e_hull``
    (as the source tells it, if it does) and ``e_polymorph`` (above the lowest known crystal
    of the composition), for solid solutions ``cells`` (of the parent, in the supercell), and
    ``composition_error`` where it is not 0.

    The distances between elements are fitted by neighbourhood components analysis
    [1]_ to name the prototypes of the library's compositions from those of the
    others; sizes of elements are fitted to the volumes within each prototype.

    References
    ----------
    .. [1] J. Goldberger, G. Hinton, S. Roweis, R. Salakhutdinov, "Neighbourhood
       components analysis", NIPS 17 (2004).

    Examples
    --------
    >>> from sklearn_kt.structures import PrototypeGenerator
    >>> [candidates] = PrototypeGenerator().generate(["CsPbI3"], n_candidates=2)
    >>> [candidate.formula for candidate in candidates]
    ['CsPbI3', 'CsPbI3']
    >>> candidates[0].provenance["source"], candidates[0].provenance["e_polymorph"]
    ('oqmd-icsd-28066', 0.0)

    A solid solution:

    >>> [[candidate]] = PrototypeGenerator().generate(["Al0.3Ga0.7As"], n_candidates=1)
    >>> candidate.formula, candidate.provenance["template"], candidate.provenance["replaced"]
    ('Al3Ga7As10', 'GaAs', {'Ga': 'Ga0.7Al0.3', 'As': 'As'})
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **FormulaGenerator._parameter_constraints,
        "library": [str, Path, None],
        "rank_by": [StrOptions({"similarity", "energy", "both"})],
        "pool": [Interval(Integral, 1, None, closed="left")],
        "energy_scale": [Interval(Real, 0, None, closed="neither")],
        "relax": [Interval(Integral, 0, None, closed="left")],
        "max_distance": [Interval(Real, 0, None, closed="left")],
        "max_cell_atoms": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        library: str | Path | None = None,
        *,
        n_candidates: int = 5,
        rank_by: str = "similarity",
        pool: int = 10,
        energy_scale: float = 0.1,
        relax: int = 0,
        max_distance: float = 3.5,
        max_cell_atoms: int = 60,
        max_atoms: int = 200,
        max_error: float = 0.05,
        errors: str = "raise",
    ) -> None:
        self.library = library
        self.n_candidates = n_candidates
        self.rank_by = rank_by
        self.pool = pool
        self.energy_scale = energy_scale
        self.relax = relax
        self.max_distance = max_distance
        self.max_cell_atoms = max_cell_atoms
        self.max_atoms = max_atoms
        self.max_error = max_error
        self.errors = errors

    def _can_make(self, formula: Stoichiometry) -> bool:
        return len(rank(load_library(self.library), formula, 1, self.max_distance)) > 0

    def _generate_one(self, formula: Stoichiometry, wanted: int) -> list[Candidate]:
        library, amounts = load_library(self.library), formula.counts
        ranked = rank(library, formula, self._n_asked(wanted), self.max_distance)
        # of the first: the same, however many are wanted
        distance = ranked[0].distance if ranked else 0.0
        solution = self._solution(amounts, wanted) if distance > _NEAR else None
        if solution is None or solution.distance >= distance:
            return self._sorted((substituted(library, found) for found in ranked), wanted)
        chance = solution.chance(library, amounts, distance)
        both = [(scaled(found, 1 - chance), False) for found in ranked]
        both += [(scaled(found, chance), True) for found in solution.ranked]
        both.sort(key=lambda pair: -pair[0].probability)
        made = (
            self._mixed(found, solution.mixture, amounts) if shared else substituted(library, found)
            for found, shared in both
        )
        return self._sorted((c for c in made if c is not None), wanted)

    def _generate_mixed(self, amounts: Mapping[int, float], wanted: int) -> list[Candidate]:
        solution = self._solution(amounts, wanted)
        if solution is None:
            return []
        made = (self._mixed(found, solution.mixture, amounts) for found in solution.ranked)
        return self._sorted((c for c in made if c is not None), wanted)

    def _solution(self, amounts: Mapping[int, float], wanted: int) -> Solution | None:
        """Find the solid solution whose crystals are the nearest, if they are near enough."""
        library = load_library(self.library)
        if not library.knows(amounts):
            return None

        def small(formula: Stoichiometry) -> np.ndarray:
            rows = library.members(formula.amounts)
            return rows[library.cell_sizes[rows] <= self.max_cell_atoms]

        found = []
        # an atom that is left out is as one that is replaced by the most unlike element
        far = float(library.arrays["distance"].max())
        for mixture in mixtures_of(
            amounts,
            library.arrays["distance"],
            self.max_cell_atoms,
            max(self.max_error, EXACT),
            lambda formula: len(small(formula)) > 0,
        ):
            n, rows = self._n_asked(wanted), small(mixture.formula)
            ranked = rank(library, mixture.formula, n, self.max_distance, rows, mixture.shares)
            if ranked:
                distance = ranked[0].distance + far * mixture.formula.error
                found.append(Solution(mixture, ranked, distance))
        nearest = min((solution.distance for solution in found), default=0.0)
        near = (solution for solution in found if solution.distance <= nearest + _SIMPLER)
        return min(near, key=lambda s: (len(s.mixture.formula.counts), s.distance), default=None)

    def _mixed(
        self, found: Ranked, mixture: Mixture, amounts: Mapping[int, float]
    ) -> Candidate | None:
        """Crystal of a solid solution, if its cell is small enough and holds it well."""
        library = load_library(self.library)
        candidate = mixed(library, found, mixture, amounts, self.max_cell_atoms)
        return None if candidate is None or error_of(candidate) > self.max_error else candidate

    def _n_asked(self, wanted: int) -> int:
        return wanted if self.rank_by == "similarity" else max(wanted, self.pool)

    def _sorted(self, found: Iterable[Candidate], wanted: int) -> list[Candidate]:
        """Candidates that hold, relaxed and in the order that is asked for."""
        sound = (candidate for candidate in found if candidate.is_sound())
        candidates = list(itertools.islice(sound, self._n_asked(wanted)))
        if self.relax:
            candidates = relax_candidates(candidates, self.relax)
        if self.rank_by != "similarity":
            scale = None if self.rank_by == "energy" else self.energy_scale
            candidates = rank_by_energy(candidates, scale)
        return candidates[:wanted]


def substituted(library: PrototypeLibrary, found: Ranked) -> Candidate:
    """Build the crystal of a ranked prototype.

    Its provenance has the template, the source and the replaced elements.
    """
    replaced = _replaced(library, found)
    lattice, numbers, coords = library.cell(found.row, replaced, found.volume)
    about = {
        "replaced": {ELEMENTS[a - 1]: ELEMENTS[b - 1] for a, b in replaced.items()},
        **(library.energies(found.row) if found.distance == 0 else {}),
    }
    provenance = {**_origin(library, found), **about}
    return Candidate(lattice, numbers, coords, found.probability, provenance)


def mixed(
    library: PrototypeLibrary,
    found: Ranked,
    mixture: Mixture,
    amounts: Mapping[int, float],
    max_atoms: int,
) -> Candidate | None:
    """Build a solid solution in a ranked prototype, as an ordered supercell.

    None if no supercell holds more than one element on a site.
    """
    replaced = _replaced(library, found)
    lattice, numbers, coords = library.cell(found.row, replaced, found.volume)
    cell = smallest_cell(numbers, mixture, amounts, max_atoms)
    if cell is None:
        return None
    vectors = supercell(lattice, cell.n_cells)
    lattice, (numbers, coords) = vectors @ lattice, _repeated(vectors, numbers, coords)
    for site, counts in cell.counts.items():
        here = numbers == site
        numbers[here] = spread(lattice, coords[here], counts)
    names = {
        a: "".join(f"{ELEMENTS[z - 1]}{share:.4g}" for z, share in mixture.shares[b].items())
        if b in mixture.shares
        else ELEMENTS[b - 1]
        for a, b in replaced.items()
    }
    provenance = {
        **_origin(library, found),
        "replaced": {ELEMENTS[a - 1]: name for a, name in names.items()},
        "cells": cell.n_cells,
        **({"composition_error": cell.error} if cell.error else {}),
    }
    return Candidate(lattice, numbers, coords, found.probability, provenance)


def _replaced(library: PrototypeLibrary, found: Ranked) -> dict[int, int]:
    old = library.elements(np.array([found.row]), len(found.numbers))[0].tolist()
    return dict(zip(old, found.numbers.tolist(), strict=True))


def _origin(library: PrototypeLibrary, found: Ranked) -> dict[str, Any]:
    return {
        "generator": "PrototypeGenerator",
        "template": library.formula(found.row),
        "source": library.source(found.row),
        "prototype": str(library.labels[library.arrays["prototype"][found.row]]),
        "distance": round(found.distance, 4),
        "known": found.distance == 0,
        "siblings": found.n_siblings,
    }


def _repeated(
    vectors: np.ndarray, numbers: np.ndarray, coords: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Atoms of a supercell, from those of the cell."""
    n = round(abs(np.linalg.det(vectors)))
    reach = np.abs(vectors).sum(axis=0)
    steps = np.stack(np.meshgrid(*(np.arange(-k, k + 1) for k in reach)), -1).reshape(-1, 3)
    inside = steps @ np.linalg.inv(vectors)
    steps = steps[((inside > -1e-6) & (inside < 1 - 1e-6)).all(axis=1)]
    placed = (steps[:, None] + coords).reshape(-1, 3) @ np.linalg.inv(vectors)
    return np.tile(numbers, n), placed - np.floor(placed + 1e-9)


@dataclass(frozen=True, eq=False, slots=True)
class Ranked:
    """A crystal of the library that a formula may be substituted into.

    Parameters
    ----------
    row : int
        Of the library.
    numbers : ndarray of int
        New atomic number of each slot, or that of a shared site.
    probability : float
        Of the prototype and the filling of its sites.
    volume : float
        Fitted volume per atom in Angstrom^3.
    distance : float
        Between the elements and those they replace.
    n_siblings : int
        Crystals among the voters that agree.
    """

    row: int
    numbers: np.ndarray
    probability: float
    volume: float
    distance: float
    n_siblings: int


@dataclass(frozen=True, eq=False, slots=True)
class Solution:
    """A solid solution, and crystals that it may have.

    Parameters
    ----------
    mixture : Mixture
        Which elements share sites.
    ranked : list of Ranked
        Crystals of the simpler formula.
    distance : float
        Of the first of them, and for atoms that are left out.
    """

    mixture: Mixture
    ranked: list[Ranked]
    distance: float

    def chance(
        self, library: PrototypeLibrary, amounts: Mapping[int, int], distance: float
    ) -> float:
        """Tell how probable it is, beside crystals of the very formula.

        Parameters
        ----------
        library : PrototypeLibrary
            Known crystals.
        amounts : dict of int to int
            The formula.
        distance : float
            Of the first of its crystals.

        Returns
        -------
        probability : float
            That elements share sites, and have none of their own.
        """
        table, sites = library.arrays["distance"], self.mixture.shares.values()
        unlike = max(float(table[a, b]) for site in sites for a in site for b in site)
        uneven = any(is_uneven({z: amounts[z] for z in site}) for site in sites)
        gain = _NEARER * (distance - self.distance) - _UNLIKE * unlike
        return float(expit(gain if uneven else gain - _EVEN))


def scaled(found: Ranked, factor: float) -> Ranked:
    """Multiply the probability of a ranked prototype."""
    return replace(found, probability=found.probability * factor)


def rank(
    library: PrototypeLibrary,
    formula: Stoichiometry,
    n: int,
    max_distance: float,
    allowed: np.ndarray | None = None,
    shares: Mapping[int, Mapping[int, float]] | None = None,
) -> list[Ranked]:
    """Rank the prototypes that a formula may have.

    Parameters
    ----------
    library : PrototypeLibrary
        Known crystals.
    formula : Stoichiometry
        What to place.
    n : int
        At most so many.
    max_distance : float
        Crystals that are farther vote, but are not ranked.
    allowed : ndarray of int, optional
        Rows of the library to consider; None is all with the same anonymous formula.
    shares : dict of int to dict of int to float, optional
        Of each site of the formula that several elements share, as of a :class:`Mixture`:
        the distance is the mean over them, and the volume that over the compounds mixed.

    Returns
    -------
    ranked : list of Ranked
        Known crystals of the composition first, the lowest in energy ahead; then the most
        probable. One per prototype and filling of its sites.

    Notes
    -----
    Crystals of the same anonymous formula vote on the prototype with the weight
    exp(-d - e), where d is the sum over the elements of the fitted distance to the
    element replaced, times a power of its share of the atoms, and e grows with the
    crystal's energy above the hull. Of all ways to place the elements each crystal
    votes for the nearest. One more vote, of a fixed distance, is for no known prototype.
    """
    pairs = sorted((count, z) for z, count in formula.counts.items())
    amounts = tuple(count for count, _ in pairs)
    numbers = np.array([z for _, z in pairs])
    shares = shares or {}
    elements = {z for number in formula.counts for z in shares.get(number, (number,))}
    rows = library.members(amounts) if allowed is None else allowed
    if not len(rows) or not library.knows(elements):
        return []
    gamma, slope, unknown = library.arrays["weights"].tolist()
    weights = (np.array(amounts) / sum(amounts)) ** gamma
    old = library.elements(rows, len(amounts))
    table = library.arrays["distance"]
    if shares:
        means = [np.average(table[[*s]], axis=0, weights=[*s.values()]) for s in shares.values()]
        table = np.vstack([table, np.zeros((max(shares) + 1 - len(table), table.shape[1]))])
        table[[*shares]] = means
    placed, distance = _place(table, numbers, old, amounts, weights)
    hull = library.arrays["e_hull"][rows].astype(float)
    energy = np.where(np.isnan(hull), unknown, np.clip(hull, 0, _MAX_HULL) * slope)
    votes = -distance - energy
    total = logsumexp([*votes, -_NO_PROTOTYPE])
    above = np.nan_to_num(library.arrays["e_polymorph"][rows].astype(float), nan=np.inf)
    order = np.lexsort((-votes, distance > 0))[:_VOTERS]
    classes = library.site_classes
    groups: dict[tuple, list[int]] = {}
    for i in order[distance[order] <= max_distance].tolist():
        prototype = int(library.arrays["prototype"][rows[i]])
        # elements on equivalent kinds of sites are interchangeable in the name
        filling = sorted(zip(classes[prototype], placed[i].tolist(), strict=True))
        groups.setdefault((prototype, *filling), []).append(i)
    weighed = [(float(logsumexp(votes[members])), members) for members in groups.values()]
    # crystals of the very composition come first, the lowest in energy ahead
    weighed.sort(key=lambda item: _order(item, distance, above))
    ranked = []
    for weight, members in weighed[:n]:
        same = [i for i in members if distance[i] == 0]
        best = min(same, key=above.__getitem__) if same else members[0]
        known = bool(same)
        near = np.array([best] if known else members[:_VOLUME_SIBLINGS])
        if shares:
            volume = _mixed_volume(library, int(rows[best]), placed[best], amounts, shares)
        else:
            volumes = library.volumes(rows[near], placed[near], np.array(amounts, float))
            share = np.exp(votes[near] - votes[best])
            volume = float(np.exp((share * np.log(volumes)).sum() / share.sum()))
        ranked.append(
            Ranked(
                int(rows[best]),
                placed[best],
                1.0 if known else float(np.exp(weight - total)),
                volume,
                float(distance[best]),
                len(members),
            )
        )
    return ranked


def _mixed_volume(
    library: PrototypeLibrary,
    row: int,
    numbers: np.ndarray,
    amounts: tuple[int, ...],
    shares: Mapping[int, Mapping[int, float]],
) -> float:
    """Mean volume per atom of the compounds that are mixed, in the prototype of a crystal.

    That is what Vegard's law comes to for volumes. Known crystals have theirs.
    """
    total = 0.0
    prototype = library.arrays["prototype"][row]
    members = library.members(amounts)
    members = members[library.arrays["prototype"][members] == prototype]
    known = library.elements(members, len(amounts))
    options = [shares.get(z, {z: 1.0}).items() for z in numbers.tolist()]
    for option in itertools.product(*options):
        compound = np.array([z for z, _ in option])
        same = members[(known == compound).all(axis=1)]
        volumes = library.arrays["volume"][same]
        if not len(same):
            volumes = library.volumes(np.array([row]), compound[None], np.array(amounts, float))
        total += float(np.prod([share for _, share in option]) * volumes.mean())
    return total


def _order(
    group: tuple[float, list[int]], distance: np.ndarray, above: np.ndarray
) -> tuple[bool, float, float]:
    weight, members = group
    known = [above[i] for i in members if distance[i] == 0]
    return not known, min(known, default=0.0), -weight


def _place(
    table: np.ndarray,
    numbers: np.ndarray,
    old: np.ndarray,
    amounts: tuple[int, ...],
    weights: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Nearest way to put elements into the slots of each crystal, and its distance."""
    ways = permutations_of(amounts, _MAX_WAYS)
    if ways is not None:
        cost = np.zeros((len(ways), len(old)))
        for slot, weight in enumerate(weights):
            cost += weight * table[numbers[ways[:, slot]][:, None], old[None, :, slot]]
        best = cost.argmin(axis=0)
        return numbers[ways[best]], cost[best, np.arange(len(old))]
    placed, distance = np.empty_like(old), np.empty(len(old))
    equal = np.equal.outer(amounts, amounts)
    for i, slots in enumerate(old):
        cost = np.where(equal, weights[None] * table[numbers[:, None], slots[None]], np.inf)
        element, slot = linear_sum_assignment(np.where(equal, cost, 1e6))
        placed[i, slot] = numbers[element]
        distance[i] = cost[element, slot].sum()
    return placed, distance


@lru_cache(maxsize=1024)
def permutations_of(amounts: tuple[int, ...], limit: int) -> np.ndarray | None:
    """Ways to fill slots that have equal amounts; None if there are more than the limit."""
    runs = [list(run) for _, run in itertools.groupby(range(len(amounts)), amounts.__getitem__)]
    ways = 1
    for run in runs:
        ways *= int(np.prod(np.arange(1, len(run) + 1)))
        if ways > limit:
            return None
    options = itertools.product(*(itertools.permutations(run) for run in runs))
    return np.array([list(itertools.chain(*option)) for option in options])
