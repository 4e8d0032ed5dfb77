"""Energies of polymorphs for the prototype library: ``python -m making.energies``.

Crystals of one composition are ordered by their energies above the hull. Where some of them
have none, CHGNet computes all crystals of the composition; its energies, shifted to agree
with those above the hull, stand in for what is missing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from sklearn_kt.structures.candidate import Candidate
from sklearn_kt.structures.chgnet import chgnet_outputs
from sklearn_kt.structures.library import PrototypeLibrary, load_library

from .prototypes import polymorphs, save_library, stated_energies

__all__ = ["compute_energies", "main", "with_energies"]

# crystals between two writes, and atoms that CHGNet takes at once
_CHUNK = 16
_BATCH_ATOMS = 800
# eV/atom
_ABOVE_STABLE = 1e-4


def with_energies(library: PrototypeLibrary, computed: Mapping[int, float]) -> PrototypeLibrary:
    """Fill in the energies of polymorphs that their sources do not tell.

    Parameters
    ----------
    library : PrototypeLibrary
        As :func:`making.prototypes.build_library` makes it.
    computed : dict of int to float
        Energy in eV/atom by row of the library, for all of :func:`missing`.

    Returns
    -------
    library : PrototypeLibrary
        With all of ``e_polymorph``; NaN where CHGNet gives none.
    """
    energies = stated_energies(library.arrays)
    for rows in polymorphs(library.arrays):
        if np.isnan(energies[rows]).any():
            values = np.array([computed[row] for row in rows])
            energies[rows] = _completed(library.arrays["e_hull"][rows].clip(min=0), values)
    return PrototypeLibrary({**library.arrays, "e_polymorph": energies})


def _completed(hull: np.ndarray, computed: np.ndarray) -> np.ndarray:
    """Energies above the lowest: above the hull where known, else computed on the same zero."""
    both = np.isfinite(hull + computed)
    if both.any():
        # differences among the lowest: CHGNet makes those of high energies too small
        lowest = int(np.where(both, hull, np.inf).argmin())
        computed = computed - computed[lowest] + hull[lowest]
        if hull[lowest] == 0:
            # what its source puts on the hull stays the lowest
            computed = computed.clip(min=_ABOVE_STABLE)
        computed = np.where(np.isnan(hull), computed, hull)
    return computed - np.nanmin(computed) if np.isfinite(computed).any() else computed


def missing(library: PrototypeLibrary) -> list[int]:
    """List the crystals of compositions that have a crystal without an energy."""
    energies = stated_energies(library.arrays)
    return [
        row for rows in polymorphs(library.arrays) if np.isnan(energies[rows]).any() for row in rows
    ]


def compute_energies(
    library: PrototypeLibrary, rows: Sequence[int]
) -> Iterator[list[tuple[int, float]]]:
    """Compute energies with CHGNet, the smallest crystals first.

    Parameters
    ----------
    library : PrototypeLibrary
        Where the crystals are.
    rows : sequence of int
        Which of them.

    Yields
    ------
    list of (int, float)
        Row and energy in eV/atom of a few crystals; NaN where CHGNet cannot tell.
    """
    candidates = [(row, Candidate(*library.cell(row))) for row in rows]
    candidates.sort(key=lambda pair: len(pair[1].numbers))
    for start in range(0, len(candidates), _CHUNK):
        part = candidates[start : start + _CHUNK]
        largest = len(part[-1][1].numbers)
        _, energies = chgnet_outputs(
            [candidate.structure for _, candidate in part], max(_BATCH_ATOMS // largest, 1)
        )
        yield [(row, energy) for (row, _), energy in zip(part, energies.tolist(), strict=True)]


def main(argv: Sequence[str] | None = None) -> int:
    """Write a library with all energies.

    Parameters
    ----------
    argv : sequence of str or None, default=None
        Arguments; None takes those of the process.

    Returns
    -------
    code : int
        0.
    """
    from tqdm import tqdm

    parser = argparse.ArgumentParser(
        prog="python -m making.energies",
        description="Fill in the energies of polymorphs in a prototype library.",
    )
    parser.add_argument("library", type=Path, help="file that making.prototypes wrote")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE")
    parser.add_argument(
        "--computed",
        required=True,
        type=Path,
        metavar="FILE",
        help="JSON lines that energies are added to, so that a run goes on where one was stopped",
    )
    args = parser.parse_args(argv)
    library = load_library(args.library)
    computed = _read(args.computed, library) if args.computed.exists() else {}
    rows = [row for row in missing(library) if row not in computed]
    with (
        args.computed.open("a", encoding="utf-8") as file,
        tqdm(total=len(rows), desc="CHGNet", file=sys.stderr) as progress,
    ):
        for part in compute_energies(library, rows):
            for row, energy in part:
                stored = None if np.isnan(energy) else round(energy, 5)
                file.write(json.dumps([row, library.source(row), stored]) + "\n")
                computed[row] = energy
            file.flush()
            progress.update(len(part))
    save_library(with_energies(library, computed), args.output)
    return 0


def _read(path: Path, library: PrototypeLibrary) -> dict[int, float]:
    """Energies that were computed for the crystals of this library."""
    computed = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row, source, energy = json.loads(line)
        if row < len(library) and library.source(row) == source:
            computed[row] = float("nan") if energy is None else energy
    return computed


if __name__ == "__main__":
    sys.exit(main())
