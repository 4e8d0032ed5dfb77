"""Structures of your own: a folder of CIF files, or a table."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from sklearn_kt.exceptions import CompositionWarning, DatasetError, InputError

from .base import Candidate, FormulaGenerator
from .stoichiometry import Stoichiometry, integer_formula

__all__ = ["StructureLookup", "read_structures"]

_SHOWN = 3
_COLUMNS = ("structure", "cif")


class StructureLookup(FormulaGenerator):
    """Give the crystals that are known for a composition.

    Parameters
    ----------
    source : str, Path, DataFrame or sequence of pymatgen.core.Structure
        A folder with ``.cif`` files (sub-folders included); a table ``.csv``,
        ``.json`` or ``.parquet``, or a data frame, with a column ``structure``
        (pymatgen's dictionaries or their JSON) or ``cif`` (text), and optionally
        ``energy``; or the crystals themselves.
    skip_bad : bool, default=False
        Leave out crystals that cannot be read or are disordered, with a warning
        that counts them; False raises.
    n_candidates : int, default=5
        At most so many for each composition.
    max_atoms : int, default=1000
        Largest integer formula that is looked up.
    max_error : float, default=0.0
        Largest fraction of atoms that may differ for compositions that are not
        integer formulas; 0 finds exact matches only.
    errors : {"raise", "nan"}, default="raise"
        What a row that is not a composition does: raise, or have no candidate.
    cache_dir : None, default=None
        Nothing is computed, so nothing is stored.
    n_jobs : int or None, default=None
        Processes.
    verbose : int, default=0
        1 shows progress.

    See Also
    --------
    EnsembleGenerator : Known structures first, generated ones where there is none.

    Notes
    -----
    Crystals of one composition come in the order of ``energy`` (lowest first) if the
    table has it, else in that of the source. Their score is 1. Folders and files are
    read once per instance; make a new one when they change.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from sklearn_kt.structures import StructureLookup
    >>> salt = Structure.from_spacegroup(
    ...     "Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    ... )
    >>> found = StructureLookup([salt]).generate(["Na2Cl2", "KCl"])
    >>> [len(candidates) for candidates in found]
    [1, 0]
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **FormulaGenerator._parameter_constraints,
        "source": [object],
        "skip_bad": ["boolean"],
    }

    def __init__(
        self,
        source: Any,
        *,
        skip_bad: bool = False,
        n_candidates: int = 5,
        max_atoms: int = 1000,
        max_error: float = 0.0,
        errors: str = "raise",
        cache_dir: None = None,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.source = source
        self.skip_bad = skip_bad
        self.n_candidates = n_candidates
        self.max_atoms = max_atoms
        self.max_error = max_error
        self.errors = errors
        self.cache_dir = cache_dir
        self.n_jobs = n_jobs
        self.verbose = verbose

    def _can_make(self, formula: Stoichiometry) -> bool:
        return _key(formula.counts) in self._known()

    def _generate_one(self, formula: Stoichiometry, wanted: int) -> list[Candidate]:
        return self._known().get(_key(formula.counts), [])[:wanted]

    def _signature(self) -> Any:
        return None

    def _known(self) -> dict[tuple, list[Candidate]]:
        """Candidates by composition, read on first use."""
        cached = self.__dict__.get("_index")
        if cached is None or cached[0] is not self.source:
            index: dict[tuple, list[Candidate]] = {}
            for candidate in read_structures(self.source, skip_bad=self.skip_bad):
                formula = integer_formula(Counter(candidate.numbers.tolist()))
                index.setdefault(_key(formula.counts), []).append(candidate)
            for candidates in index.values():
                candidates.sort(key=lambda c: c.provenance.get("energy", 0.0))
            cached = self._index = (self.source, index)
        return cached[1]


def read_structures(source: Any, *, skip_bad: bool = False) -> list[Candidate]:
    """Read crystals from a folder of CIF files, a table, or objects.

    Parameters
    ----------
    source : str, Path, DataFrame or sequence of pymatgen.core.Structure
        As for :class:`StructureLookup`.
    skip_bad : bool, default=False
        Leave out what cannot be read, with a warning.

    Returns
    -------
    candidates : list of Candidate
        With the place each was read from in its provenance.

    Raises
    ------
    DatasetError
        If the folder or file is missing, or has no crystals in the form expected.
    InputError
        If a crystal cannot be read, is disordered, or has overlapping atoms.

    Warns
    -----
    CompositionWarning
        If crystals were left out.
    """
    candidates, bad = [], []
    for place, read in _entries(source):
        try:
            structure, energy = read()
            extra = {} if energy is None or np.isnan(energy) else {"energy": float(energy)}
            candidate = Candidate.from_structure(
                structure, 1.0, generator="StructureLookup", source=place, **extra
            )
            if not candidate.is_sound():
                raise InputError("atoms overlap, or the cell is not finite")
        except (ValueError, KeyError, TypeError, AssertionError, IndexError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            bad.append(f"{place} ({reason[:200]})")
            continue
        candidates.append(candidate)
    if bad:
        shown = "; ".join(bad[:_SHOWN])
        more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        text = f"{len(bad)} of {len(bad) + len(candidates)} crystals cannot be used: {shown}{more}."
        if not skip_bad:
            raise InputError(f"{text} Repair them, or pass skip_bad=True.")
        warnings.warn(f"{text} They are left out.", CompositionWarning, stacklevel=3)
    return candidates


def _entries(source: Any) -> Iterator[tuple[str, Any]]:
    """Name of each crystal, and a function that reads it with its energy."""
    from pymatgen.core import Structure

    if isinstance(source, pd.DataFrame):
        yield from _rows(source, "row")
        return
    if not isinstance(source, str | Path):
        if isinstance(source, Mapping) or not isinstance(source, Iterable):
            raise InputError(
                "the source of structures must be a folder, a table or a sequence of "
                f"pymatgen structures, not {type(source).__name__}."
            )
        for i, structure in enumerate(source):
            if not isinstance(structure, Structure):
                raise InputError(
                    f"structure {i} is a {type(structure).__name__}, not a pymatgen Structure."
                )
            yield f"structure {i}", lambda structure=structure: (structure, None)
        return
    path = Path(source)
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() == ".cif")
        if not files:
            raise DatasetError(f"the folder {path} has no .cif files.")
        for file in files:
            yield str(file.relative_to(path)), lambda file=file: (_of_cif(file.read_text()), None)
        return
    readers = {".csv": pd.read_csv, ".json": pd.read_json, ".parquet": pd.read_parquet}
    if not path.is_file():
        raise DatasetError(f"{path} is neither a folder nor a file.")
    if path.suffix not in readers:
        raise DatasetError(f"{path}: structures are read from folders, .csv, .json or .parquet.")
    yield from _rows(readers[path.suffix](path), path.name)


def _rows(frame: pd.DataFrame, name: str) -> Iterator[tuple[str, Any]]:
    from pymatgen.core import Structure

    column = next((c for c in _COLUMNS if c in frame), None)
    if column is None:
        raise DatasetError(
            f"a table of structures needs a column 'structure' or 'cif'; it has "
            f"{', '.join(map(str, frame.columns[:8]))}."
        )

    def read(value: Any, energy: Any) -> tuple[Structure, float | None]:
        if isinstance(value, str) and column == "structure":
            value = json.loads(value)
        if isinstance(value, str):
            structure = _of_cif(value)
        else:
            structure = value if isinstance(value, Structure) else Structure.from_dict(value)
        return structure, None if energy is None else float(energy)

    energies = frame["energy"].tolist() if "energy" in frame else [None] * len(frame)
    for i, (value, energy) in enumerate(zip(frame[column].tolist(), energies, strict=True)):
        yield f"{name} {i}", lambda value=value, energy=energy: read(value, energy)


def _of_cif(text: str) -> Any:
    from pymatgen.core import Structure

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Structure.from_str(text, fmt="cif")


def _key(counts: Mapping[int, int]) -> tuple[tuple[int, int], ...]:
    return tuple(sorted(counts.items()))
