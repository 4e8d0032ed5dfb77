"""Space groups: their settings and operations, and the asymmetric unit of a crystal."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from math import gcd
from typing import Any

import numpy as np

from .candidate import Candidate

__all__ = [
    "GRID",
    "Crystal",
    "analyse",
    "found_group",
    "group_of_hall",
    "hall_numbers",
    "lattice_vectors",
    "orbit_images",
    "setting",
]

GRID = 65520
"""Positions are multiples of this part of a lattice vector.

Every special position (halves to twenty-fourths) is exact.
"""
# Images of a position closer than this (in grid units) are the same atom.
_SAME = 40
# Of spglib, in Angstrom.
_SYMPREC = 0.1


@lru_cache(maxsize=600)
def setting(hall: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Operations of a space-group setting, by its number in spglib, and its primitive lattice.

    Rotations are those of the conventional cell, translations in units of 1/GRID, and primitive
    vectors in terms of the conventional ones.
    """
    with quiet_spglib() as spglib:
        symmetry = spglib.get_symmetry_from_database(hall)
    assert symmetry is not None
    rotations = symmetry["rotations"].astype(np.int64)
    translations = np.rint(symmetry["translations"] * GRID).astype(np.int64)
    pure = translations[(rotations == np.eye(3, dtype=int)).all(axis=(1, 2))] % GRID
    return rotations, translations, _primitive_vectors(pure / GRID)


def _primitive_vectors(centring: np.ndarray) -> np.ndarray:
    """Rows span the lattice that whole vectors and the centring translations span."""
    found = {tuple(np.round(t, 3)) for t in centring}
    half = 0.5
    if len(found) == 4:
        return np.array([[0, half, half], [half, 0, half], [half, half, 0]])
    if len(found) == 3:
        third = 1 / 3
        obverse = np.array([[2, 1, 1], [-1, 1, 1], [-1, -2, 1]]) * third
        reverse = np.array([[1, 2, 1], [-2, -1, 1], [1, -1, 1]]) * third
        return obverse if (0.667, 0.333, 0.333) in found else reverse
    if (half, half, half) in found:
        return np.array([[-half, half, half], [half, -half, half], [half, half, -half]])
    if (half, half, 0.0) in found:
        return np.array([[half, half, 0], [-half, half, 0], [0, 0, 1]])
    if (0.0, half, half) in found:
        return np.array([[1, 0, 0], [0, half, half], [0, -half, half]])
    if (half, 0.0, half) in found:
        return np.array([[half, 0, half], [0, 1, 0], [-half, 0, half]])
    return np.eye(3)


def orbit_images(
    position: np.ndarray, rotations: np.ndarray, translations: np.ndarray
) -> np.ndarray:
    """Apply a space group to a position: the distinct ones in the conventional cell.

    Positions and translations are in units of 1/GRID.
    """
    images = (rotations @ position + translations) % GRID
    images = np.unique(images, axis=0)
    if len(images) > 1:
        delta = np.abs(images[:, None] - images[None])
        delta = np.minimum(delta, GRID - delta).max(axis=2)
        twin = np.tril(delta <= _SAME, -1).any(axis=1)
        images = images[~twin]
    return images


def lattice_vectors(parameters: np.ndarray) -> np.ndarray:
    """Vectors of a cell, one per row, c along z: of lengths in Angstrom and angles in degrees."""
    from pymatgen.core import Lattice

    return Lattice.from_parameters(*parameters.tolist()).matrix.copy()


@lru_cache(maxsize=1)
def hall_numbers() -> dict[str, tuple[int, int]]:
    """Look up spglib's standard setting, and the space group, of each symbol.

    Returns
    -------
    numbers : dict of str to (int, int)
        By short Hermann-Mauguin symbol.
    """
    out: dict[str, tuple[int, int]] = {}
    seen: set[int] = set()
    with quiet_spglib() as spglib:
        for hall in range(1, 531):
            kind = spglib.get_spacegroup_type(hall)
            if kind is not None and kind.number not in seen:
                seen.add(kind.number)
                out[kind.international_short] = (hall, int(kind.number))
    return out


@lru_cache(maxsize=600)
def group_of_hall(hall: int) -> tuple[str, int]:
    """Symbol and number of the space group of a setting."""
    with quiet_spglib() as spglib:
        kind = spglib.get_spacegroup_type(hall)
    assert kind is not None
    return str(kind.international_short), int(kind.number)


@dataclass(frozen=True)
class Crystal:
    """A crystal by its asymmetric unit.

    Parameters
    ----------
    hall : int
        Setting of the space group, numbered as in spglib.
    lattice : tuple of float
        Conventional a, b, c (Angstrom), alpha, beta, gamma (degrees).
    volume : float
        Per atom, in Angstrom^3.
    orbits : list of (int, int, tuple of int)
        Atomic number, multiplicity in the conventional cell, position on the grid.
    elements, amounts : tuple of int
        Atomic numbers by slot, and their reduced amounts in ascending order.
    label : str
        Name of the prototype.
    """

    hall: int
    lattice: tuple[float, ...]
    volume: float
    orbits: list[tuple[int, int, tuple[int, ...]]]
    elements: tuple[int, ...]
    amounts: tuple[int, ...]
    label: str


def analyse(candidate: Candidate) -> Crystal | None:
    """Find the asymmetric unit of a crystal, given by any cell.

    None if atoms overlap, if spglib finds no symmetry, or if the asymmetric unit does not give
    the crystal back.
    """
    found = _dataset(candidate) if candidate.is_sound() else None
    if found is None:
        return None
    vectors = np.asarray(found.std_lattice)
    lengths = np.linalg.norm(vectors, axis=1)
    cosines = [
        vectors[i] @ vectors[j] / lengths[i] / lengths[j] for i, j in ((1, 2), (0, 2), (0, 1))
    ]
    angles = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    rotations, translations, _ = setting(int(found.hall_number))
    # orbits of the standardised cell, through the atoms of the input they stem from
    origin = {int(p): i for i, p in reversed(list(enumerate(found.mapping_to_primitive)))}
    orbits: list[tuple[int, int, tuple[int, ...]]] = []
    sites: dict[int, list[str]] = {}
    seen: set[int] = set()
    for k, atom in enumerate(found.std_mapping_to_primitive):
        source = origin[int(atom)]
        orbit = int(found.crystallographic_orbits[source])
        if orbit in seen:
            continue
        seen.add(orbit)
        position = np.rint(np.asarray(found.std_positions[k]) * GRID).astype(np.int64) % GRID
        multiplicity = len(orbit_images(position, rotations, translations))
        number = int(candidate.numbers[source])
        orbits.append((number, multiplicity, tuple(position.tolist())))
        symbol = found.site_symmetry_symbols[source]
        sites.setdefault(number, []).append(f"{multiplicity}{symbol.replace('.', '')}")
    if sum(m for _, m, _ in orbits) != len(found.std_positions):
        return None
    counts = {z: sum(m for n, m, _ in orbits if n == z) for z in sites}
    divisor = gcd(*counts.values())
    slots = sorted((c // divisor, "+".join(sorted(sites[z])), z) for z, c in counts.items())
    label = f"{found.number}:" + ",".join(f"{a}({s})" for a, s, _ in slots)
    return Crystal(
        hall=int(found.hall_number),
        lattice=(*lengths.tolist(), *angles.tolist()),
        volume=abs(float(np.linalg.det(vectors))) / len(found.std_positions),
        orbits=orbits,
        elements=tuple(z for _, _, z in slots),
        amounts=tuple(a for a, _, _ in slots),
        label=label,
    )


def found_group(candidate: Candidate) -> int | None:
    """Find the number of a crystal's space group; None if spglib finds none."""
    found = _dataset(candidate)
    return None if found is None else int(found.number)


def _dataset(candidate: Candidate) -> Any:
    cell = (candidate.lattice, candidate.coords, candidate.numbers)
    with quiet_spglib() as spglib:
        return spglib.get_symmetry_dataset(cell, symprec=_SYMPREC)


@contextmanager
def quiet_spglib() -> Iterator[Any]:
    """Import spglib, which may warn of itself."""
    import spglib

    with warnings.catch_warnings():
        # spglib 2.7 warns of its own change of error handling
        warnings.simplefilter("ignore", DeprecationWarning)
        yield spglib
