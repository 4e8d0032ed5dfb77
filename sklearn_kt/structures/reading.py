"""Reading crystals: folders of CIF files, tables, and rows of data files."""

from __future__ import annotations

import gzip
import json
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sklearn_kt.compositions import ELEMENTS
from sklearn_kt.exceptions import CompositionWarning, DatasetError, InputError

from .candidate import Candidate

if TYPE_CHECKING:
    from pymatgen.core import Structure

__all__ = ["counts_of_row", "read_rows", "read_structure", "read_structures"]

_SHOWN = 3
_COLUMNS = ("structure", "cif")


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Read crystals from a ``.jsonl.gz`` file, one JSON object per line.

    They have ``id``, ``lattice``, ``species`` and ``coords``.
    """
    if not path.is_file():
        raise DatasetError(f"{path} is missing; set SKLEARN_KT_DATA to a folder that has it.")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def counts_of_row(row: Mapping[str, Any]) -> dict[int, int]:
    """Count the atoms of a row that :func:`read_structure` takes, by atomic number."""
    counts: Counter[int] = Counter()
    for symbol, count in row["species"]:
        counts[ELEMENTS.index(symbol) + 1] += count
    return dict(counts)


def read_structure(row: Mapping[str, Any]) -> Structure:
    """Make the crystal of a row of a data file.

    Parameters
    ----------
    row : mapping
        With ``lattice`` (three lengths in Angstrom, three angles in degrees), ``species``
        (pairs of a symbol and how many sites in a row have it) and ``coords`` (fractional).

    Returns
    -------
    structure : pymatgen.core.Structure
        As the row has it.

    Examples
    --------
    >>> row = {"lattice": [4.2, 4.2, 4.2, 90, 90, 90], "species": [["Cs", 1], ["Cl", 1]]}
    >>> read_structure({**row, "coords": [[0, 0, 0], [0.5, 0.5, 0.5]]}).formula
    'Cs1 Cl1'
    """
    from pymatgen.core import Lattice, Structure

    species = [symbol for symbol, count in row["species"] for _ in range(count)]
    return Structure(Lattice.from_parameters(*row["lattice"]), species, row["coords"])


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
                structure, 1.0, generator="StructureLookup", source=place, known=True, **extra
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
