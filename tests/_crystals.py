"""Small crystals that tests share."""

from __future__ import annotations

from typing import Any

from pymatgen.core import Lattice, Structure


def rocksalt(first: str, second: str, a: float) -> Structure:
    return Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(a), [first, second], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )


def perovskite(a: str, b: str, x: str, length: float) -> Structure:
    return Structure(
        Lattice.cubic(length),
        [a, b, x, x, x],
        [[0, 0, 0], [0.5, 0.5, 0.5], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]],
    )


def as_row(structure: Structure, identifier: str) -> dict[str, Any]:
    return {
        "id": identifier,
        "lattice": list(structure.lattice.parameters),
        "species": [[site.specie.symbol, 1] for site in structure],
        "coords": structure.frac_coords.tolist(),
        "e": 0.0,
    }


SALTS = [
    rocksalt("Na", "Cl", 5.69),
    rocksalt("K", "Cl", 6.36),
    rocksalt("K", "Br", 6.68),
    rocksalt("Na", "Br", 6.05),
    perovskite("Sr", "Ti", "O", 3.94),
    perovskite("Ba", "Ti", "O", 4.03),
    Structure(Lattice.cubic(4.2), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
    Structure(Lattice.cubic(4.34), ["Cs", "Br"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
]
