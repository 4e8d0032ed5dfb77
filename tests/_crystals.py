"""Small crystals that tests share."""

from __future__ import annotations

from typing import Any

import numpy as np
from pymatgen.core import Lattice, Structure
from sklearn.base import BaseEstimator, TransformerMixin

from sklearn_kt.structures import Candidate


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


class Cubes(BaseEstimator):
    """A generator of cubes with one atom, that grow with its number; none of technetium."""

    def generate(self, compositions: Any, n_candidates: int) -> list[list[Candidate]]:
        out = []
        for row in range(len(compositions)):
            batch = compositions[[row]]
            size = 3 + np.average(batch.atomic_numbers, weights=batch.amounts) / 20
            cubes = [
                Candidate((size + i) * np.eye(3), np.array([11]), np.zeros((1, 3)))
                for i in range(n_candidates)
            ]
            out.append([] if 43 in batch.atomic_numbers else cubes)
        return out


class Size(TransformerMixin, BaseEstimator):
    """An embedder that sees cells only."""

    def transform(self, X: list) -> np.ndarray:
        def size(row: Any) -> float:
            row = row if isinstance(row, list) else [row]
            volumes = [c.structure.volume if isinstance(c, Candidate) else c.volume for c in row]
            return float(np.mean(volumes)) if row else np.nan

        return np.array([[size(row)] for row in X])


QUICK: dict[str, Any] = {"generator": Cubes(), "embedder": Size(), "random_state": 0}
