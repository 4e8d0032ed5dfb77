"""A crystal proposed for a composition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_kt.compositions import ELEMENTS
from sklearn_kt.exceptions import InputError
from sklearn_kt.traces import TRACE

from .stoichiometry import reduced_formula

if TYPE_CHECKING:
    from pymatgen.core import Structure

__all__ = ["Candidate", "candidates_of_rows", "origin_of"]

# Atoms nearer than this (Angstrom) are on top of each other.
_OVERLAP = 0.6
_COORD_DECIMALS = 6


@dataclass(frozen=True, eq=False)
class Candidate:
    """A crystal proposed for a composition.

    Parameters
    ----------
    lattice : ndarray of shape (3, 3)
        Vectors in Angstrom, one per row.
    numbers : ndarray of int, shape (n,)
        Atomic numbers.
    coords : ndarray of shape (n, 3)
        Fractional coordinates.
    score : float
        What its generator gives it, whatever they are ordered by: higher is better, and
        comparable between candidates of one generator; NaN if it gives none.
    provenance : dict
        Where the crystal is from: ``generator`` and what it tells.

    Attributes
    ----------
    structure : pymatgen.core.Structure
        The crystal, built anew on each access.
    formula : str
        Reduced formula of the crystal.

    Raises
    ------
    InputError
        If the arrays have other shapes, or a number is that of no element.

    Examples
    --------
    >>> import numpy as np
    >>> candidate = Candidate(
    ...     4 * np.eye(3), np.array([55, 17]), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]), 1.0
    ... )
    >>> candidate.formula, candidate.structure.volume
    ('CsCl', 64.0)
    """

    lattice: np.ndarray
    numbers: np.ndarray
    coords: np.ndarray
    score: float = float("nan")
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("lattice", "numbers", "coords"):
            object.__setattr__(self, name, np.asarray(getattr(self, name)))
        n = self.numbers.size
        shapes = (self.lattice.shape, self.numbers.shape, self.coords.shape)
        if shapes != ((3, 3), (n,), (n, 3)):
            raise InputError(
                f"a candidate has a lattice of shape (3, 3), numbers of shape (n,) and coords of"
                f" shape (n, 3), in this order; got {', '.join(map(str, shapes))}."
            )
        # 0 would be read as the last element
        strange = sorted({*self.numbers.tolist()} - {*range(1, len(ELEMENTS) + 1)})
        if strange:
            raise InputError(f"a candidate holds the number {strange[0]}, which no element has.")

    @classmethod
    def from_structure(
        cls, structure: Structure, score: float = float("nan"), **provenance: Any
    ) -> Candidate:
        """Make a candidate of an ordered crystal.

        Parameters
        ----------
        structure : pymatgen.core.Structure
            All sites fully occupied.
        score : float, default=nan
            Higher is better.
        **provenance : object
            Where it is from.

        Returns
        -------
        candidate : Candidate
            Oxidation states are dropped.

        Raises
        ------
        InputError
            If a site is disordered.
        """
        if not structure.is_ordered:
            raise InputError(
                f"the crystal {structure.composition.reduced_formula} has partially occupied "
                "sites; order it first (pymatgen's OrderDisorderedStructureTransformation)."
            )
        numbers = np.array([site.specie.Z for site in structure])
        return cls(
            np.array(structure.lattice.matrix),
            numbers,
            np.array(structure.frac_coords),
            score,
            provenance,
        )

    @property
    def structure(self) -> Structure:
        """The crystal as pymatgen's object."""
        from pymatgen.core import Lattice, Structure

        symbols = [ELEMENTS[z - 1] for z in self.numbers.tolist()]
        return Structure(Lattice(self.lattice), symbols, self.coords)

    @property
    def formula(self) -> str:
        """Reduced formula of the crystal."""
        numbers, counts = np.unique(self.numbers, return_counts=True)
        return reduced_formula(dict(zip(numbers.tolist(), counts.tolist(), strict=True)))

    def is_sound(self) -> bool:
        """Tell whether the cell is finite and no two atoms overlap.

        Returns
        -------
        sound : bool
            False if two atoms, or an atom and its own image, are within 0.6 Angstrom.
        """
        arrays = (self.lattice, self.coords)
        if not len(self.numbers) or not all(np.isfinite(a).all() for a in arrays):
            return False
        if abs(np.linalg.det(self.lattice)) < _OVERLAP**3 * len(self.numbers):
            return False
        lengths = np.linalg.norm(self.lattice, axis=1)
        if lengths.min() < _OVERLAP:
            return False
        delta = self.coords[:, None] - self.coords[None]
        delta -= np.rint(delta)
        distance = np.linalg.norm(delta @ self.lattice, axis=2)
        np.fill_diagonal(distance, np.inf)
        return bool(distance.min() > _OVERLAP)

    def to_dict(self) -> dict[str, Any]:
        """Write as plain numbers and text.

        Returns
        -------
        state : dict
            What :meth:`from_dict` reads; fit for JSON.
        """
        return {
            "lattice": np.round(self.lattice, _COORD_DECIMALS).tolist(),
            "numbers": self.numbers.tolist(),
            "coords": np.round(self.coords, _COORD_DECIMALS).tolist(),
            "score": float(self.score),
            "provenance": dict(self.provenance),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Candidate:
        """Read what :meth:`to_dict` wrote.

        Parameters
        ----------
        state : dict
            As written.

        Returns
        -------
        candidate : Candidate
            The same, to six decimals.
        """
        return cls(
            np.array(state["lattice"], float),
            np.array(state["numbers"], int),
            np.array(state["coords"], float).reshape(-1, 3),
            float(state["score"]),
            dict(state["provenance"]),
        )


def candidates_of_rows(X: Any) -> list[list[Candidate]]:
    """Read the crystals of rows, as users and generators of their own give them.

    Parameters
    ----------
    X : sequence
        Of candidates, pymatgen structures, lists of them, or None.

    Returns
    -------
    candidates : list of list of Candidate
        One list per row.

    Raises
    ------
    InputError
        If a row is something else, or a crystal is disordered.
    """
    from pymatgen.core import Structure

    def read(value: Any, row: int) -> Candidate:
        if isinstance(value, Candidate):
            return value
        if isinstance(value, Structure):
            return Candidate.from_structure(value)
        raise InputError(
            f"row {row} holds a {type(value).__name__}; pass pymatgen structures, candidates of "
            "a generator, lists of them, or None."
        )

    # a set has no order, and iterating over a frame or mapping gives names
    ordered = hasattr(X, "__len__") and hasattr(X, "__getitem__")
    if isinstance(X, str | bytes | Mapping | Structure) or hasattr(X, "columns") or not ordered:
        raise InputError(
            f"X must be a sequence with the structures of one row each, not {type(X).__name__}."
        )
    rows: list[list[Candidate]] = []
    for i, value in enumerate(X):
        if value is None or (isinstance(value, float) and np.isnan(value)):
            rows.append([])
        elif isinstance(value, list | tuple):
            rows.append([read(item, i) for item in value])
        else:
            rows.append([read(value, i)])
    return rows


def origin_of(structures: Any) -> tuple[float, float, float, float]:
    """Tell how far a row's first structure can be trusted, as its generator says.

    Parameters
    ----------
    structures : Candidate, pymatgen.core.Structure or a list of them
        Of a row, best first.

    Returns
    -------
    distance, error, score, known : float
        Distance of the substitution, error of the composition, score, and 1 for a known crystal
        of the composition, as is a structure that is no candidate. Distance and score are -1
        where they are not told. Rows of a training table get what new rows would: a
        generator's library is the same for both.
    """
    first = structures[0] if isinstance(structures, list | tuple) and structures else structures
    if not isinstance(first, Candidate):
        return 0.0, 0.0, 1.0, 1.0
    told = first.provenance
    error = float(told.get("composition_error", 0.0))
    known = bool(told.get("known", False)) and error < TRACE
    score = first.score if np.isfinite(first.score) else -1.0
    return float(told.get("distance", 0.0 if known else -1.0)), error, score, float(known)
