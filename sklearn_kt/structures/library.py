"""The prototype library: known crystals by their asymmetric units, and how to read it.

A library is one ``.npz`` file. Each crystal is its setting of a space group, six
lattice parameters and one position per orbit of equivalent atoms, so that 40,000
crystals take a few megabytes. Beside them are two tables fitted to the crystals:
how readily one element replaces another, and how much room each element takes.
``making/prototypes.py`` in the repository writes such a file, and ``making/energies.py``
completes the energies that order the crystals of one composition.
"""

from __future__ import annotations

import threading
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from sklearn_kt._files import DATA
from sklearn_kt._model_guards import check_arrays
from sklearn_kt.exceptions import CheckpointError

from .stoichiometry import reduced_formula
from .symmetry import GRID, lattice_vectors, orbit_images, setting

__all__ = ["PrototypeLibrary", "load_library"]

# layout of a library file
FORMAT_VERSION = 2
_ARRAYS = {
    "hall": 1,
    "lattice": 2,
    "volume": 1,
    "e_hull": 1,
    "e_polymorph": 1,
    "prototype": 1,
    "elements": 2,
    "amounts": 2,
    "orbit_start": 1,
    "orbit_element": 1,
    "orbit_multiplicity": 1,
    "orbit_position": 2,
    "source": 1,
    "source_name": 1,
    "source_number": 1,
    "labels": 1,
    "distance": 2,
    "weights": 1,
    "size": 2,
}
# N, O, F, S, Cl, Se, Br, I: beside them a metal is a cation, and smaller
_ANIONS = (7, 8, 9, 16, 17, 34, 35, 53)

_lock = threading.Lock()


@dataclass(frozen=True)
class PrototypeLibrary:
    """Known crystals, indexed for substitution.

    Parameters
    ----------
    arrays : dict of str to ndarray
        As ``making/prototypes.py`` makes them.

    Attributes
    ----------
    labels : ndarray of str, shape (n_prototypes,)
        Space group and occupied sites of each prototype.

    Examples
    --------
    >>> from sklearn_kt.structures import load_library
    >>> library = load_library()
    >>> perovskites = library.members((1, 1, 3))
    >>> row = next(row for row in perovskites if library.formula(row) == "SrTiO3")
    >>> library.elements([row], 3).tolist(), library.knows([8, 22, 38]), library.knows([118])
    ([[38, 22, 8]], True, False)
    """

    arrays: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.arrays["hall"])

    @property
    def labels(self) -> np.ndarray:
        """Space group and occupied sites of each prototype."""
        return self.arrays["labels"]

    def knows(self, numbers: Iterable[int]) -> bool:
        """Whether all of some elements are in the library.

        Parameters
        ----------
        numbers : iterable of int
            Atomic numbers.

        Returns
        -------
        known : bool
            False if one has never been seen in a crystal.
        """
        return self._known.issuperset(numbers)

    def members(self, amounts: tuple[int, ...]) -> np.ndarray:
        """Rows of the crystals with an anonymous formula.

        Parameters
        ----------
        amounts : tuple of int
            Reduced amounts in ascending order: (1, 1, 3) for perovskites.

        Returns
        -------
        rows : ndarray of int
            Empty if there is none.
        """
        return self._index.get(amounts, np.empty(0, int))

    def elements(self, rows: np.ndarray, n: int) -> np.ndarray:
        """Atomic numbers of crystals, by slot.

        Parameters
        ----------
        rows : ndarray of int
            Crystals with `n` elements.
        n : int
            Number of slots.

        Returns
        -------
        numbers : ndarray of int, shape (len(rows), n)
            In the order of the amounts.
        """
        return self.arrays["elements"][rows, :n].astype(int)

    def formula(self, row: int) -> str:
        """Spell a crystal's formula.

        Parameters
        ----------
        row : int
            Which one.

        Returns
        -------
        formula : str
            As in ``SrTiO3``.
        """
        elements, amounts = (self.arrays[k][row].tolist() for k in ("elements", "amounts"))
        return reduced_formula({z: n for z, n in zip(elements, amounts, strict=True) if z})

    def source(self, row: int) -> str:
        """Tell where a crystal is from.

        Parameters
        ----------
        row : int
            Which one.

        Returns
        -------
        identifier : str
            As in ``mp-149`` or ``oqmd-icsd-17``.
        """
        name = self.arrays["source_name"][self.arrays["source"][row]]
        return f"{name}-{self.arrays['source_number'][row]}"

    def energies(self, row: int) -> dict[str, float]:
        """Tell the energies of a crystal, where they are known.

        Parameters
        ----------
        row : int
            Which one.

        Returns
        -------
        energies : dict of str to float
            In eV/atom: ``e_hull``, above the hull, as the source has it, and
            ``e_polymorph``, above the lowest crystal of the composition.
        """
        names = ("e_hull", "e_polymorph")
        known = {name: float(self.arrays[name][row]) for name in names}
        # sources give stable crystals their distance from decomposition, below 0
        return {n: round(max(e, 0.0), 4) for n, e in known.items() if np.isfinite(e)}

    def cell(
        self, row: int, replace: Mapping[int, int] | None = None, volume: float | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Build a crystal's primitive cell, with other elements in its place.

        Parameters
        ----------
        row : int
            Which crystal.
        replace : dict of int to int, optional
            New atomic number for each old one; None keeps them.
        volume : float, optional
            Volume per atom to scale to, in Angstrom^3; None keeps it.

        Returns
        -------
        lattice : ndarray of shape (3, 3)
            Vectors of the primitive cell in Angstrom.
        numbers : ndarray of int, shape (n,)
            Atomic numbers.
        coords : ndarray of shape (n, 3)
            Fractional coordinates.
        """
        arrays = self.arrays
        start, stop = arrays["orbit_start"][row : row + 2].tolist()
        rotations, translations, primitive = setting(int(arrays["hall"][row]))
        positions, numbers = [], []
        for orbit in range(start, stop):
            position = arrays["orbit_position"][orbit].astype(np.int64)
            images = orbit_images(position, rotations, translations)
            number = int(arrays["orbit_element"][orbit])
            positions.append(images)
            numbers += [number if replace is None else replace[number]] * len(images)
        coords = np.concatenate(positions) / GRID @ np.linalg.inv(primitive)
        coords -= np.floor(coords + 1e-4)
        keep = _first_of_each(coords)
        lattice = primitive @ lattice_vectors(arrays["lattice"][row])
        if volume is not None:
            lattice *= (volume * len(keep) / abs(np.linalg.det(lattice))) ** (1 / 3)
        return lattice, np.array(numbers)[keep], coords[keep]

    @cached_property
    def cell_sizes(self) -> np.ndarray:
        """Atoms in the primitive cell of each crystal."""
        halls = self.arrays["hall"].tolist()
        parts = {hall: abs(np.linalg.det(setting(hall)[2])) for hall in set(halls)}
        atoms = np.add.reduceat(
            self.arrays["orbit_multiplicity"].astype(int), self.arrays["orbit_start"][:-1]
        )
        return np.rint(atoms * [parts[hall] for hall in halls]).astype(int)

    @cached_property
    def site_classes(self) -> list[tuple[int, ...]]:
        """For each prototype a number per slot, equal for slots on equivalent sites."""
        out = []
        for label in self.labels.tolist():
            slots = label.partition(":")[2].split(",")
            kinds = {kind: i for i, kind in enumerate(dict.fromkeys(slots))}
            out.append(tuple(kinds[kind] for kind in slots))
        return out

    def volumes(self, rows: np.ndarray, numbers: np.ndarray, amounts: np.ndarray) -> np.ndarray:
        """Fitted volume per atom after substitution.

        Parameters
        ----------
        rows : ndarray of int, shape (n,)
            Crystals that are substituted into.
        numbers : ndarray of int, shape (n, n_slots)
            The new element of each slot.
        amounts : ndarray of shape (n_slots,)
            Amount of each slot.

        Returns
        -------
        volumes : ndarray of shape (n,)
            In Angstrom^3 per atom.
        """
        old = self.elements(rows, len(amounts))
        gain = log_sizes(self.arrays["size"], numbers, amounts) - log_sizes(
            self.arrays["size"], old, amounts
        )
        return self.arrays["volume"][rows] * np.exp(gain)

    def without(self, dropped: np.ndarray) -> PrototypeLibrary:
        """Copy that never proposes some crystals, for evaluation.

        Parameters
        ----------
        dropped : ndarray of int
            Rows to leave out.

        Returns
        -------
        library : PrototypeLibrary
            With the same rows otherwise.
        """
        amounts = self.arrays["amounts"].copy()
        amounts[dropped] = 0
        return PrototypeLibrary({**self.arrays, "amounts": amounts})

    @cached_property
    def _index(self) -> dict[tuple[int, ...], np.ndarray]:
        index: dict[tuple[int, ...], list[int]] = {}
        for row, amounts in enumerate(self.arrays["amounts"].tolist()):
            index.setdefault(tuple(a for a in amounts if a), []).append(row)
        return {amounts: np.array(rows) for amounts, rows in index.items()}

    @cached_property
    def _known(self) -> frozenset[int]:
        return frozenset(np.unique(self.arrays["elements"]).tolist()) - {0}


def log_sizes(size: np.ndarray, numbers: np.ndarray, amounts: np.ndarray) -> np.ndarray:
    """Mean logarithmic size of the atoms of compositions.

    Parameters
    ----------
    size : ndarray of shape (2, n_elements + 1)
        Sizes in compounds without and with an anion.
    numbers : ndarray of int, shape (n, n_slots)
        Atomic numbers.
    amounts : ndarray of shape (n_slots,)
        Their amounts.

    Returns
    -------
    sizes : ndarray of shape (n,)
        Logarithm of a volume per atom, up to a constant of the prototype.
    """
    kind = has_anion(numbers).astype(int)
    return (size[kind[:, None], numbers] * (amounts / amounts.sum())).sum(axis=1)


def has_anion(numbers: np.ndarray) -> np.ndarray:
    """Tell which compositions hold an element that is usually an anion."""
    return np.asarray(np.isin(numbers, _ANIONS).any(axis=-1))


def _first_of_each(coords: np.ndarray) -> np.ndarray:
    """Find the positions that are not a lattice translation of an earlier one."""
    delta = coords[:, None] - coords[None]
    delta = np.abs(delta - np.rint(delta)).max(axis=2)
    return np.flatnonzero(~np.tril(delta < 1e-3, -1).any(axis=1))


def load_library(path: str | Path | None = None) -> PrototypeLibrary:
    """Read a prototype library.

    Parameters
    ----------
    path : str, Path or None, default=None
        A file as ``making/prototypes.py`` writes; None is the one in the package.

    Returns
    -------
    library : PrototypeLibrary
        Read once per process.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged or of another version.

    Examples
    --------
    >>> library = load_library()
    >>> rows = library.members((1, 1, 3))
    >>> len(rows) > 100
    True
    """
    with _lock:
        return _load(str(DATA / "prototypes.npz" if path is None else path))


@lru_cache(maxsize=2)
def _load(path: str) -> PrototypeLibrary:
    try:
        # numpy leaves a file that it cannot read open
        with Path(path).open("rb") as handle:
            with zipfile.ZipFile(handle) as archive:
                check_arrays(archive, Path(path).stat().st_size, "it")
            handle.seek(0)
            with np.load(handle, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
        raise CheckpointError(
            f"the prototype library {path} cannot be read ({error}); reinstall sklearn_kt, or "
            "write one with python -m making.prototypes, in a clone of the repository."
        ) from error
    problem = _problem(arrays)
    if problem:
        raise CheckpointError(f"{path} is not a prototype library: {problem}.")
    return PrototypeLibrary(arrays)


def _problem(arrays: Mapping[str, np.ndarray]) -> str | None:
    version = arrays.get("version")
    if version is None or int(version) != FORMAT_VERSION:
        return f"its format version is {version}, and this package reads {FORMAT_VERSION}"
    for name, dimensions in _ARRAYS.items():
        if name not in arrays:
            return f"the array {name!r} is missing"
        if arrays[name].ndim != dimensions:
            return f"the array {name!r} has {arrays[name].ndim} dimensions, not {dimensions}"
    return None
