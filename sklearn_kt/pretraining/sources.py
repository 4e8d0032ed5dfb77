"""The tables behind the shipped checkpoint, and no others.

Clean by construction: :func:`dft_tables` opens the files of
:data:`SOURCES` and no others: results of density-functional calculations of
the Materials Project, OQMD, AFLOW, WBM and two sets of hypothetical crystals.
Experimental data and benchmark tables are not on the list.
"""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sklearn_kt._files import DATA
from sklearn_kt.exceptions import DatasetError
from sklearn_kt.structures.reading import read_rows

from .corpus import CorpusTable

__all__ = ["SOURCES", "Source", "dft_tables"]

# A band gap above this is a gap; DFT codes write 0 for metals.
_METAL_GAP = 1e-6
# property -> yes/no property derived from it
_DERIVED = {
    "band_gap_mp": ("is_metal_mp", lambda x: x <= _METAL_GAP),
    "band_gap_oqmd": ("is_metal_oqmd", lambda x: x <= _METAL_GAP),
    "band_gap_aflow": ("is_metal_aflow", lambda x: x <= _METAL_GAP),
    "band_gap_wbm": ("is_metal_wbm", lambda x: x <= _METAL_GAP),
    "magnetization_mp": ("is_magnetic_mp", lambda x: x > 0.1),
}
# hypothetical cubic cells, whose volumes are not those of the compound
_NO_VOLUME = ("structures/perov5.jsonl.gz",)


@dataclass(frozen=True)
class Source:
    """A file of the shipped checkpoint's corpus.

    Parameters
    ----------
    path : str
        Relative to the data folder.
    columns : dict of str to str
        Column or key in the file to property name.
    origin : str
        Whose calculations these are, and the licence.
    e_hull : str or None, default=None
        Column with the energy above the hull.
    package : str or None, default=None
        Installed package whose folder `path` is relative to, instead of the data folder.
    formula : str, default="formula"
        Column with the formulas.
    beside : dict of str to str, default={}
        Column to another file with the same rows, whose ``target`` it is.
    lowest : str or None, default=None
        Column: of the rows of one formula only the lowest in it is read.
    unless : str or None, default=None
        Another file: rows whose formula it has are left out.

    Examples
    --------
    >>> from sklearn_kt.pretraining import SOURCES
    >>> SOURCES[0].path, SOURCES[0].e_hull, sorted(SOURCES[0].columns.values())[:2]
    ('composition/mp2018_multiprop_69k.csv.gz', 'e_above_hull', ['band_gap_mp', 'bulk_modulus_mp'])
    """

    path: str
    columns: Mapping[str, str]
    origin: str
    e_hull: str | None = None
    package: str | None = None
    formula: str = "formula"
    beside: Mapping[str, str] = field(default_factory=dict)
    lowest: str | None = None
    unless: str | None = None


SOURCES: tuple[Source, ...] = tuple(
    Source(**source) for source in json.loads((DATA / "sources.json").read_text(encoding="utf-8"))
)
"""The allow-list: :func:`dft_tables` reads these files and nothing else, in this order.

The first comes first because its energies above the hull are joined to the other files by id.
"""


def dft_tables(data_home: str | Path) -> Iterator[CorpusTable]:
    """Read the files of :data:`SOURCES`, and nothing else.

    Parameters
    ----------
    data_home : str or Path
        Folder with the sub-folders ``composition`` and ``structures``.

    Yields
    ------
    CorpusTable
        One per file, in the order of :data:`SOURCES`.

    Raises
    ------
    DatasetError
        If a file is missing or lacks a column.

    Examples
    --------
    >>> next(dft_tables("no/such/folder"))
    Traceback (most recent call last):
        ...
    sklearn_kt.exceptions.DatasetError: ... is missing; set SKLEARN_KT_DATA to a folder ...
    """
    data_home = Path(data_home)
    hull_of_id: dict[str, float] = {}
    for source in SOURCES:
        home = data_home if source.package is None else _package_folder(source.package)
        path = _existing(home / source.path)
        if source.path.startswith("structures/"):
            rows = list(read_rows(path))
            frame = pd.DataFrame(
                {
                    key: [row.get(key) for row in rows]
                    for key in ("id", *source.columns)
                    if any(key in row for row in rows)
                }
            )
            compositions: list[Any] = [_site_counts(row) for row in rows]
            structures: list[Mapping[str, Any] | None] | None = list(rows)
        else:
            frame = _read_table(path, source, data_home)
            compositions, structures = frame[source.formula].tolist(), None
        missing = sorted(set(source.columns) - set(frame.columns))
        if missing:
            raise DatasetError(f"{path} has no column {missing[0]!r}; the file was changed.")
        values = {
            name: frame[column].astype(float).to_numpy() for column, name in source.columns.items()
        }
        ids = frame.get("material_id", frame.get("mp_id", frame.get("id")))
        if source.e_hull is not None:
            hull = frame[source.e_hull].astype(float).to_numpy()
            if ids is not None:
                hull_of_id.update(zip(ids, hull, strict=True))
        elif "decomposition_energy_critexam" in values:
            hull = np.maximum(values["decomposition_energy_critexam"], 0.0)
        elif ids is not None:
            hull = ids.map(hull_of_id).astype(float).to_numpy()
        else:
            hull = None
        for name in tuple(values):
            if name == "magnetization_mp":
                values[name] = np.abs(values[name])
            if name in _DERIVED:
                derived, test = _DERIVED[name]
                known = np.isfinite(values[name])
                values[derived] = np.where(known, test(values[name]), np.nan)
        if structures is not None and source.path not in _NO_VOLUME:
            values["volume_per_atom"] = np.array([_volume_per_atom(row) for row in structures])
        yield CorpusTable(compositions, values, hull, structures, source.path)


def _read_table(path: Path, source: Source, data_home: Path) -> pd.DataFrame:
    """Read a CSV file, and what the source says of others."""
    # "NaN" is a formula, sodium and nitrogen
    frame = pd.read_csv(path, keep_default_na=False, na_values={c: [""] for c in source.columns})
    if source.formula not in frame:
        raise DatasetError(f"{path} has no column {source.formula!r}; the file was changed.")
    for column, other in source.beside.items():
        table = pd.read_csv(_existing(data_home / other), keep_default_na=False)
        if not table[source.formula].equals(frame[source.formula]):
            raise DatasetError(f"{data_home / other} has other rows than {path}.")
        frame[column] = table["target"]
    if source.unless is not None:
        other = pd.read_csv(_existing(data_home / source.unless), keep_default_na=False)
        frame = frame[~frame[source.formula].isin(other["formula"])]
    if source.lowest is not None:
        lowest = frame.sort_values(source.lowest, kind="stable").drop_duplicates(source.formula)
        frame = lowest.sort_index()
    return frame.reset_index(drop=True)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DatasetError(
            f"{path} is missing; set SKLEARN_KT_DATA to a folder with all files of "
            "sklearn_kt.pretraining.SOURCES, or build a corpus from your own tables."
        )
    return path


def _package_folder(package: str) -> Path:
    """Find an installed package without importing it, which can take seconds."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise DatasetError(f"{package} is not installed: 'pip install {package}'.")
    return Path(spec.origin).parent


def _site_counts(crystal: Mapping[str, Any]) -> dict[str, float]:
    counts: dict[str, float] = {}
    for symbol, count in crystal["species"]:
        counts[symbol] = counts.get(symbol, 0.0) + count
    return counts


def _volume_per_atom(crystal: Mapping[str, Any] | None) -> float:
    if crystal is None:
        return math.nan
    a, b, c, *angles = crystal["lattice"]
    x, y, z = (math.cos(math.radians(angle)) for angle in angles)
    volume = a * b * c * math.sqrt(max(0.0, 1 - x * x - y * y - z * z + 2 * x * y * z))
    return volume / sum(count for _, count in crystal["species"])
