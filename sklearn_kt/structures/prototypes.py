"""Structures by substitution into known prototypes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache
from numbers import Integral, Real
from pathlib import Path
from typing import ClassVar

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import logsumexp
from sklearn.utils._param_validation import Interval, StrOptions

from sklearn_kt.compositions import ELEMENTS

from .base import FormulaGenerator
from .candidate import Candidate
from .chgnet import rank_by_energy, relax_candidates
from .library import PrototypeLibrary, load_library
from .stoichiometry import Stoichiometry

__all__ = ["PrototypeGenerator"]

# Nearest crystals that vote on the prototype.
_VOTERS = 400
# Siblings whose volumes are averaged.
_VOLUME_SIBLINGS = 8
# Ways of filling equal slots that are tried one by one; more are assigned greedily.
_MAX_WAYS = 120
# eV/atom of the energy above the hull that counts at most.
_MAX_HULL = 0.5
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
    crystals, the lowest in energy first.

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
    max_atoms : int, default=200
        Compositions whose integer formula has more atoms are replaced by the
        nearest smaller one, like those that have no integer formula.
    max_error : float, default=0.05
        Largest fraction of atoms that may differ then; beyond it there is no
        candidate.
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

    Provenance has ``source``, ``distance``, and for known crystals, in eV/atom, ``e_hull``
    (as the source tells it, if it does) and ``e_polymorph`` (above the lowest known crystal
    of the composition).

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
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **FormulaGenerator._parameter_constraints,
        "library": [str, Path, None],
        "rank_by": [StrOptions({"similarity", "energy", "both"})],
        "pool": [Interval(Integral, 1, None, closed="left")],
        "energy_scale": [Interval(Real, 0, None, closed="neither")],
        "relax": [Interval(Integral, 0, None, closed="left")],
        "max_distance": [Interval(Real, 0, None, closed="left")],
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
        self.max_atoms = max_atoms
        self.max_error = max_error
        self.errors = errors

    def _can_make(self, formula: Stoichiometry) -> bool:
        return len(rank(load_library(self.library), formula, 1, self.max_distance)) > 0

    def _generate_one(self, formula: Stoichiometry, wanted: int) -> list[Candidate]:
        library = load_library(self.library)
        n = wanted if self.rank_by == "similarity" else max(wanted, self.pool)
        ranked = rank(library, formula, n, self.max_distance)
        candidates = [substituted(library, found) for found in ranked]
        candidates = [candidate for candidate in candidates if candidate.is_sound()]
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
    old = library.elements(np.array([found.row]), len(found.numbers))[0].tolist()
    replace = dict(zip(old, found.numbers.tolist(), strict=True))
    lattice, numbers, coords = library.cell(found.row, replace, found.volume)
    return Candidate(
        lattice,
        numbers,
        coords,
        found.probability,
        {
            "generator": "PrototypeGenerator",
            "template": library.formula(found.row),
            "source": library.source(found.row),
            "prototype": str(library.labels[library.arrays["prototype"][found.row]]),
            "replaced": {ELEMENTS[a - 1]: ELEMENTS[b - 1] for a, b in replace.items()},
            "distance": round(found.distance, 4),
            "siblings": found.n_siblings,
            **(library.energies(found.row) if found.distance == 0 else {}),
        },
    )


@dataclass(frozen=True, eq=False, slots=True)
class Ranked:
    """A crystal of the library that a formula may be substituted into.

    Parameters
    ----------
    row : int
        Of the library.
    numbers : ndarray of int
        New atomic number of each slot.
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


def rank(
    library: PrototypeLibrary,
    formula: Stoichiometry,
    n: int,
    max_distance: float,
    allowed: np.ndarray | None = None,
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
    rows = library.members(amounts) if allowed is None else allowed
    if not len(rows) or not library.knows(formula.counts):
        return []
    gamma, slope, unknown = library.arrays["weights"].tolist()
    shares = np.array(amounts) / sum(amounts)
    old = library.elements(rows, len(amounts))
    placed, distance = _place(library.arrays["distance"], numbers, old, amounts, shares**gamma)
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
        volumes = library.volumes(rows[near], placed[near], np.array(amounts, float))
        share = np.exp(votes[near] - votes[best])
        ranked.append(
            Ranked(
                int(rows[best]),
                placed[best],
                1.0 if known else float(np.exp(weight - total)),
                float(np.exp((share * np.log(volumes)).sum() / share.sum())),
                float(distance[best]),
                len(members),
            )
        )
    return ranked


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
