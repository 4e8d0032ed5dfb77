"""Crystals of chance: atoms on random positions of space groups, by pyxtal."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from numbers import Integral
from typing import ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from sklearn_kt.compositions import ELEMENTS
from sklearn_kt.exceptions import CheckpointError

from .base import FormulaGenerator
from .candidate import Candidate
from .chgnet import rank_by_energy, relax_candidates
from .library import load_library, log_sizes
from .stoichiometry import Stoichiometry
from .symmetry import group_of_hall

__all__ = ["RandomGenerator"]

# Space groups that are drawn for each crystal wanted: many have no room for it.
_TRIES = 10


class RandomGenerator(FormulaGenerator):
    """Place the atoms at random, within the symmetry of a space group.

    The last resort, for compositions that no known crystal resembles. Crystals of chance
    are far from those of nature: relax them, rank them by energy, and trust them little.

    Parameters
    ----------
    n_samples : int, default=20
        Crystals to draw for each composition.
    rank_by : {"energy", "order"}, default="energy"
        By CHGNet's energy (needs the extra ``structures``), or as they were drawn.
    relax : int, default=0
        Most steps of relaxation with CHGNet; 0 leaves crystals as they were drawn.
    max_cell_atoms : int, default=40
        Conventional cells with more atoms are not drawn, unless one formula unit has
        more.
    random_state : int, default=0
        Seed of the draws, with the formula: results do not depend on other rows.
    n_candidates : int, default=5
        At most so many crystals for each composition.
    max_atoms : int, default=60
        Compositions whose integer formula has more atoms are replaced by the
        nearest smaller one.
    max_error : float, default=0.05
        Largest fraction of atoms that may differ then.
    errors : {"raise", "nan"}, default="raise"
        What a row that is not a composition does: raise, or have no candidate.

    See Also
    --------
    PrototypeGenerator : Far better where a known crystal has the same anonymous formula.
    EnsembleGenerator : Its `last_resort` is asked where its generators have nothing.

    Notes
    -----
    Needs the extra ``structures-random`` (pyxtal [1]_). Space groups are drawn as often
    as the prototype library has them, of those whose positions can hold the composition;
    cells are scaled to the volume that the library's table of sizes gives.

    References
    ----------
    .. [1] S. Fredericks, K. Parrish, D. Sayre, Q. Zhu, "PyXtal: a Python library for
       crystal structure generation and symmetry analysis", Computer Physics
       Communications 261, 107810 (2021).

    Examples
    --------
    >>> from sklearn_kt.structures import RandomGenerator
    >>> generator = RandomGenerator(n_samples=3, rank_by="order")
    >>> [candidates] = generator.generate(["Na3PuF7"], n_candidates=2)
    >>> [candidate.formula for candidate in candidates]
    ['Na3PuF7', 'Na3PuF7']
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **FormulaGenerator._parameter_constraints,
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "rank_by": [StrOptions({"energy", "order"})],
        "relax": [Interval(Integral, 0, None, closed="left")],
        "max_cell_atoms": [Interval(Integral, 1, None, closed="left")],
        "random_state": [Integral],
    }

    def __init__(
        self,
        *,
        n_samples: int = 20,
        rank_by: str = "energy",
        relax: int = 0,
        max_cell_atoms: int = 40,
        random_state: int = 0,
        n_candidates: int = 5,
        max_atoms: int = 60,
        max_error: float = 0.05,
        errors: str = "raise",
    ) -> None:
        self.n_samples = n_samples
        self.rank_by = rank_by
        self.relax = relax
        self.max_cell_atoms = max_cell_atoms
        self.random_state = random_state
        self.n_candidates = n_candidates
        self.max_atoms = max_atoms
        self.max_error = max_error
        self.errors = errors

    def _can_make(self, formula: Stoichiometry) -> bool:
        return load_library().knows(formula.counts)

    def _generate_one(self, formula: Stoichiometry, wanted: int) -> list[Candidate]:
        if not self._can_make(formula):
            return []
        seed = f"{self.random_state}\n{sorted(formula.counts.items())}"
        digest = hashlib.sha256(seed.encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
        units = range(1, max(self.max_cell_atoms // formula.n_atoms, 1) + 1)
        volume = volume_per_atom(formula.counts)
        found: list[Candidate] = []
        for _ in range(_TRIES * self.n_samples):
            crystal = _draw(formula.counts, units, volume, rng)
            if crystal is not None and crystal.is_sound():
                found.append(crystal)
            if len(found) == self.n_samples:
                break
        if self.relax:
            found = relax_candidates(found, self.relax)
        if self.rank_by == "energy":
            found = rank_by_energy(found)
        return found[:wanted]


def volume_per_atom(counts: Mapping[int, int]) -> float:
    """Estimate the volume per atom from the sizes of the elements.

    Parameters
    ----------
    counts : mapping of int to int
        Atomic numbers and amounts.

    Returns
    -------
    volume : float
        In Angstrom^3; the typical prototype is assumed.
    """
    numbers, amounts = np.array(list(counts)), np.array(list(counts.values()), float)
    size = load_library().arrays["size"]
    return float(np.exp(log_sizes(size, numbers[None], amounts)[0] + _typical_packing()))


@lru_cache(maxsize=1)
def _typical_packing() -> float:
    """Median logarithm of the volume per atom, beside what the sizes give."""
    library = load_library()
    elements, amounts = library.arrays["elements"].astype(int), library.arrays["amounts"]
    rows = np.flatnonzero((amounts > 0).sum(axis=1) == 2)
    gains = [
        np.log(library.arrays["volume"][row])
        - log_sizes(
            library.arrays["size"], elements[row, :2][None], amounts[row, :2].astype(float)
        )[0]
        for row in rows[:: max(len(rows) // 500, 1)].tolist()
    ]
    return float(np.median(gains))


@lru_cache(maxsize=1)
def _group_shares() -> tuple[np.ndarray, np.ndarray]:
    """Space groups of known crystals, and their shares."""
    counts: Counter[int] = Counter()
    for hall, n in zip(*np.unique(load_library().arrays["hall"], return_counts=True), strict=True):
        counts[group_of_hall(int(hall))[1]] += int(n)
    groups = np.array(sorted(counts))
    shares = np.array([counts[group] for group in groups.tolist()], float)
    return groups, shares / shares.sum()


def _draw(
    counts: Mapping[int, int], units: range, volume: float, rng: np.random.Generator
) -> Candidate | None:
    """Draw one crystal; None if the space group drawn has no room for it."""
    try:
        from pyxtal import pyxtal
        from pyxtal.msg import Error
    except ImportError as error:
        raise CheckpointError(
            "RandomGenerator needs the package pyxtal: pip install 'sklearn_kt[structures-random]'."
        ) from error
    groups, shares = _group_shares()
    group = int(rng.choice(groups, p=shares))
    z = int(rng.choice(np.array(units)))
    crystal = pyxtal()
    try:
        crystal.from_random(
            3,
            group,
            [ELEMENTS[number - 1] for number in counts],
            [z * n for n in counts.values()],
            random_state=rng,
        )
    except Error:
        return None
    if not crystal.valid:
        return None
    structure = crystal.to_pymatgen().get_primitive_structure()
    structure.scale_lattice(volume * len(structure))
    return Candidate.from_structure(structure, generator="RandomGenerator", space_group=group, z=z)
