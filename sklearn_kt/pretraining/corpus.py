"""Pretraining corpora: compositions, what is computed about them, and structures.

A corpus is a folder of NumPy files that are memory-mapped, so that ten million
formulas need disk, not RAM. :func:`build_corpus` writes one from any tables,
:func:`dft_tables` reads the tables behind the shipped checkpoint.

Notes
-----
**Clean by construction.** :func:`dft_tables` opens the files of
:data:`SOURCES` and no others: results of density-functional calculations of
the Materials Project, OQMD, AFLOW, WBM and two sets of hypothetical crystals.
Experimental data and benchmark tables are not on the list.

**Several entries of one formula** (polymorphs, or one compound in two tables):
the corpus has one row per reduced composition. For each property the value of
the entry lowest in energy above the hull is kept; where no entry's energy is
known, the median of all (for a yes/no property, their mean). The structure kept
is that of the entry lowest in energy above the hull; unknown energies come last,
then file order decides.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sklearn_kt._files import new_folder, replacing
from sklearn_kt.compositions import (
    ELEMENTS,
    CompositionBatch,
    composition_keys,
    read_compositions,
)
from sklearn_kt.exceptions import DatasetError, InputError

if TYPE_CHECKING:
    from pymatgen.core import Structure

__all__ = [
    "OPEN_F",
    "PROPERTIES",
    "SOURCES",
    "Corpus",
    "CorpusTable",
    "Property",
    "Source",
    "build_corpus",
    "dft_tables",
]

#: Layout of a corpus folder.
FORMAT_VERSION = 2

_META = "corpus.json"
_TRANSFORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "identity": lambda x: x,
    "log": np.log10,
    "log1p": np.log1p,
    "binary": lambda x: x,
}
# Share of the values at either end that is pulled in to the quantile.
_CLIPPED = 5e-4
# A band gap above this is a gap; DFT codes write 0 for metals.
_METAL_GAP = 1e-6


@dataclass(frozen=True)
class Property:
    """One column of targets.

    Parameters
    ----------
    name : str
        Name of the column.
    unit : str, default=""
        Physical unit of the values as given.
    transform : {"identity", "log", "log1p", "binary"}, default="identity"
        Applied before standardising; ``"log"`` is the decimal logarithm. A
        ``"binary"`` column holds probabilities of yes and is not standardised.
    low, high : float, default=-inf, inf
        Values outside are failed calculations and are left out.
    without : tuple of str, default=()
        Values of compositions with one of these elements are left out.
    """

    name: str
    unit: str = ""
    transform: str = "identity"
    low: float = -math.inf
    high: float = math.inf
    without: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # JSON has no tuples
        object.__setattr__(self, "without", tuple(self.without))
        if self.transform not in _TRANSFORMS:
            raise InputError(
                f"property {self.name!r}: transform must be one of {sorted(_TRANSFORMS)}, "
                f"got {self.transform!r}."
            )
        if self.transform == "log" and not self.low > 0:
            raise InputError(f"property {self.name!r}: a logarithm needs low > 0, got {self.low}.")
        wrong = sorted(set(self.without) - set(ELEMENTS))
        if wrong:
            raise InputError(f"property {self.name!r}: {wrong[0]!r} is no element.")

    def known(self, values: np.ndarray, batch: CompositionBatch) -> np.ndarray:
        """Tell which values count.

        Parameters
        ----------
        values : ndarray of float64, shape (n,)
            In the property's unit; NaN is unknown.
        batch : CompositionBatch
            Whose values these are.

        Returns
        -------
        known : bool ndarray of shape (n,)
            Finite, within the bounds and of a composition that is not left out.
        """
        with np.errstate(invalid="ignore"):
            known = np.isfinite(values) & (values >= self.low) & (values <= self.high)
        numbers = [ELEMENTS.index(symbol) + 1 for symbol in self.without]
        row = np.repeat(np.arange(len(batch)), batch.n_elements)
        known[row[np.isin(batch.atomic_numbers, numbers)]] = False
        return known


@dataclass
class CorpusTable:
    """Rows that enter a corpus together.

    Parameters
    ----------
    compositions : array-like of compositions, shape (n,)
        Anything :func:`~sklearn_kt.compositions.read_compositions` reads.
    targets : dict of str to array-like of shape (n,), default={}
        Property name to values in the property's unit; NaN is unknown.
    e_hull : array-like of shape (n,), optional
        Energy above the convex hull in eV/atom; NaN is unknown.
    structures : sequence of dict or None, optional
        Crystals, as the keys ``lattice`` (a, b, c, alpha, beta, gamma in
        Angstrom and degrees), ``species`` (list of [symbol, count] in site
        order) and ``coords`` (fractional); None where a row has none.
    name : str, default="table"
        Named in messages.
    """

    compositions: Any
    targets: Mapping[str, Any] = field(default_factory=dict)
    e_hull: Any = None
    structures: Sequence[Mapping[str, Any] | None] | None = None
    name: str = "table"


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


_MP = "Materials Project, CC-BY 4.0"
_OQMD = "OQMD, CC-BY 4.0"
_AFLOW = "AFLOW, via CrabNet (MIT)"
_EXT = "composition/crabnet_ext/"
_SECOND = "composition/oqmd_second_split/"

#: Elements with open f shells, whose compounds have a gap or none as a code treats these shells:
#: EuO is a metal in one table and an insulator in the next.
OPEN_F = (
    *("Ce", "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Yb"),
    *("Pa", "U", "Np", "Pu", "Am", "Cm", "Bk", "Cf", "Es", "Fm", "Md", "No"),
)

#: Every property of the shipped checkpoint's corpus.
PROPERTIES: tuple[Property, ...] = (
    Property("formation_energy_mp", "eV/atom", low=-6, high=6),
    Property("formation_energy_oqmd", "eV/atom", low=-6, high=6),
    Property("formation_energy_critexam", "eV/atom", low=-6, high=6),
    Property("formation_energy_wbm", "eV/atom", low=-6, high=6),
    Property("formation_energy_elpasolite", "eV/atom", low=-6, high=6),
    Property("formation_energy_elpasolite_iii_vi", "eV/atom", low=-6, high=6),
    Property("heat_perovskite", "eV/cell", low=-6, high=10),
    Property("decomposition_energy_critexam", "eV/atom", low=-3, high=5),
    Property("energy_above_hull_mp", "eV/atom", "log1p", low=-0.01, high=5),
    Property("energy_above_hull_oqmd", "eV/atom", low=-2, high=5),
    Property("energy_per_atom_oqmd", "eV/atom", low=-20, high=5),
    # the lowest in a random part of the polymorphs: a bit higher
    Property("energy_per_atom_oqmd_part", "eV/atom", low=-20, high=5),
    Property("energy_per_atom_aflow", "eV/atom", low=-20, high=5),
    Property("band_gap_mp", "eV", low=0, high=20, without=OPEN_F),
    Property("band_gap_oqmd", "eV", low=0, high=20, without=OPEN_F),
    Property("band_gap_aflow", "eV", low=0, high=20, without=OPEN_F),
    Property("band_gap_wbm", "eV", low=0, high=20, without=OPEN_F),
    Property("band_gap_perovskite_direct", "eV", low=0, high=20, without=OPEN_F),
    Property("band_gap_perovskite_indirect", "eV", low=0, high=20, without=OPEN_F),
    Property("is_metal_mp", "", "binary", low=0, high=1, without=OPEN_F),
    Property("is_metal_oqmd", "", "binary", low=0, high=1, without=OPEN_F),
    Property("is_metal_aflow", "", "binary", low=0, high=1, without=OPEN_F),
    Property("is_metal_wbm", "", "binary", low=0, high=1, without=OPEN_F),
    Property("volume_per_atom", "A^3/atom", "log", low=1, high=500),
    Property("bulk_modulus_mp", "GPa", "log", low=1, high=600),
    Property("shear_modulus_mp", "GPa", "log", low=1, high=600),
    Property("bulk_modulus_aflow", "GPa", "log", low=1, high=600),
    Property("shear_modulus_aflow", "GPa", "log", low=1, high=600),
    Property("elastic_anisotropy_mp", "", "log1p", low=0, high=100),
    Property("debye_temperature_aflow", "K", "log", low=10, high=3000),
    Property("thermal_conductivity_aflow", "W/(m K)", "log", low=1e-3, high=5000),
    Property("thermal_expansion_aflow", "1/K", "log", low=1e-7, high=1e-2),
    Property("magnetization_mp", "muB/cell", "log1p", low=0, high=500),
    Property("is_magnetic_mp", "", "binary", low=0, high=1),
    Property("last_phonon_peak_mp", "1/cm", "log", low=10, high=5000),
    Property("refractive_index_mp", "", "log", low=1, high=50),
    Property("dielectric_electronic_mp", "", "log", low=1, high=500),
    Property("dielectric_total_mp", "", "log", low=1, high=2000),
    Property("piezoelectric_modulus_mp", "C/m^2", "log", low=1e-4, high=100),
    # at 300 K and 1e18 carriers per cm^3, power factors per relaxation time. Conductivities are
    # left out: they follow from the masses (correlation of the logarithms -0.96)
    Property("seebeck_p_mp", "uV/K", low=-1500, high=1500),
    Property("seebeck_n_mp", "uV/K", low=-1500, high=1500),
    Property("power_factor_p_mp", "", "log", low=1e-6, high=1e4),
    Property("power_factor_n_mp", "", "log", low=1e-6, high=1e4),
    Property("effective_mass_p_mp", "", "log", low=1e-6, high=1e6),
    Property("effective_mass_n_mp", "", "log", low=1e-6, high=1e6),
)

#: The allow-list: :func:`dft_tables` reads these files and nothing else.
SOURCES: tuple[Source, ...] = (
    # first, because its energies above the hull are joined to the other files by id
    Source(
        "composition/mp2018_multiprop_69k.csv.gz",
        {
            "e_above_hull": "energy_above_hull_mp",
            "band_gap": "band_gap_mp",
            "total_magnetization": "magnetization_mp",
            "elasticity.elastic_anisotropy": "elastic_anisotropy_mp",
            "elasticity.K_VRH": "bulk_modulus_mp",
            "elasticity.G_VRH": "shear_modulus_mp",
        },
        _MP,
        e_hull="e_above_hull",
    ),
    Source(
        "structures/mp20_subset.jsonl.gz",
        {
            "formation_energy_per_atom": "formation_energy_mp",
            "band_gap": "band_gap_mp",
            "e_above_hull": "energy_above_hull_mp",
        },
        _MP,
        e_hull="e_above_hull",
    ),
    Source(
        "structures/mpts52_val_test.jsonl.gz",
        {
            "formation_energy_per_atom": "formation_energy_mp",
            "e_above_hull": "energy_above_hull_mp",
        },
        _MP,
        e_hull="e_above_hull",
    ),
    Source(
        "composition/mp2018_megnet_69k.csv.gz",
        {"formation_energy_per_atom": "formation_energy_mp", "band_gap": "band_gap_mp"},
        _MP,
    ),
    Source("composition/mp_bandgap_120k.csv.gz", {"band_gap": "band_gap_mp"}, _MP),
    Source(
        "composition/mp_unique_84k.csv.gz",
        {"formation_energy_per_atom": "formation_energy_mp", "band_gap": "band_gap_mp"},
        _MP,
    ),
    Source(_EXT + "mp_bulk_modulus.csv.gz", {"target": "bulk_modulus_mp"}, _MP),
    Source(_EXT + "mp_shear_modulus.csv.gz", {"target": "shear_modulus_mp"}, _MP),
    Source(_EXT + "mp_elastic_anisotropy.csv.gz", {"target": "elastic_anisotropy_mp"}, _MP),
    Source(_EXT + "mp_e_hull.csv.gz", {"target": "energy_above_hull_mp"}, _MP, e_hull="target"),
    Source(_EXT + "mp_mu_b.csv.gz", {"target": "magnetization_mp"}, _MP),
    Source(_EXT + "CritExam__Ef.csv.gz", {"target": "formation_energy_critexam"}, _MP),
    Source(_EXT + "CritExam__Ed.csv.gz", {"target": "decomposition_energy_critexam"}, _MP),
    Source(
        "structures/phonon_dielectric_mp.jsonl.gz",
        {
            "eps_electronic": "dielectric_electronic_mp",
            "eps_total": "dielectric_total_mp",
            "last_phdos_peak": "last_phonon_peak_mp",
        },
        _MP,
    ),
    Source(
        "structures/dielectric_mp_1056.jsonl.gz",
        {
            "band_gap": "band_gap_mp",
            "n": "refractive_index_mp",
            "poly_electronic": "dielectric_electronic_mp",
            "poly_total": "dielectric_total_mp",
        },
        _MP,
    ),
    Source("structures/piezo_mp_941.jsonl.gz", {"eij_max": "piezoelectric_modulus_mp"}, _MP),
    Source(
        "structures/oqmd_icsd_32k.jsonl.gz",
        {
            "delta_e": "formation_energy_oqmd",
            "stability": "energy_above_hull_oqmd",
            "band_gap": "band_gap_oqmd",
        },
        _OQMD,
        e_hull="stability",
    ),
    Source(_EXT + "OQMD_Bandgap.csv.gz", {"target": "band_gap_oqmd"}, _OQMD),
    Source(
        _EXT + "OQMD_Energy_per_atom_valtest_only.csv.gz",
        {"target": "energy_per_atom_oqmd"},
        _OQMD,
    ),
    Source(
        _EXT + "OQMD_Formation_Enthalpy_valtest_only.csv.gz",
        {"target": "formation_energy_oqmd"},
        _OQMD,
    ),
    Source(_EXT + "OQMD_Volume_per_atom_valtest_only.csv.gz", {"target": "volume_per_atom"}, _OQMD),
    Source(
        "structures/aflow_5prop.jsonl.gz",
        {
            "bulk_modulus": "bulk_modulus_aflow",
            "shear_modulus": "shear_modulus_aflow",
            "debye_temperature": "debye_temperature_aflow",
            "thermal_conductivity": "thermal_conductivity_aflow",
            "thermal_expansion": "thermal_expansion_aflow",
        },
        _AFLOW,
    ),
    Source(_EXT + "aflow__Egap.csv.gz", {"target": "band_gap_aflow"}, _AFLOW),
    Source(_EXT + "aflow__energy_atom.csv.gz", {"target": "energy_per_atom_aflow"}, _AFLOW),
    Source(_EXT + "aflow__ael_bulk_modulus_vrh.csv.gz", {"target": "bulk_modulus_aflow"}, _AFLOW),
    Source(_EXT + "aflow__ael_shear_modulus_vrh.csv.gz", {"target": "shear_modulus_aflow"}, _AFLOW),
    Source(
        _EXT + "aflow__ael_debye_temperature.csv.gz",
        {"target": "debye_temperature_aflow"},
        _AFLOW,
    ),
    Source(
        _EXT + "aflow__agl_thermal_conductivity_300K.csv.gz",
        {"target": "thermal_conductivity_aflow"},
        _AFLOW,
    ),
    Source(
        _EXT + "aflow__agl_thermal_expansion_300K.csv.gz",
        {"target": "thermal_expansion_aflow"},
        _AFLOW,
    ),
    Source(
        "structures/wbm_val_10k.jsonl.gz",
        {"formation_energy_per_atom": "formation_energy_wbm", "band_gap": "band_gap_wbm"},
        "WBM, via WyckoffTransformer (Apache-2.0)",
    ),
    Source(
        "structures/perov5.jsonl.gz",
        {
            "heat_all": "heat_perovskite",
            "dir_gap": "band_gap_perovskite_direct",
            "ind_gap": "band_gap_perovskite_indirect",
        },
        "Castelli perovskites, via CDVAE (MIT) and JARVIS (NIST)",
    ),
    Source(
        "composition/elpasolite_main_group_10k.csv.gz",
        {"formation_energy_per_atom": "formation_energy_elpasolite"},
        "elpasolites, via roost (MIT)",
    ),
    Source(
        "composition/elpasolite_IIItoVI_11k.csv.gz",
        {"formation_energy_per_atom": "formation_energy_elpasolite_iii_vi"},
        "elpasolites, via roost (MIT)",
    ),
    Source(_SECOND + "formation_enthalpy.csv.gz", {"target": "formation_energy_oqmd"}, _OQMD),
    Source(
        _SECOND + "energy_per_atom.csv.gz",
        {"target": "energy_per_atom_oqmd_part", "volume": "volume_per_atom"},
        _OQMD,
        beside={"volume": _SECOND + "volume_per_atom.csv.gz"},
        lowest="target",
        # which has the lowest of all polymorphs
        unless=_EXT + "OQMD_Energy_per_atom_valtest_only.csv.gz",
    ),
    Source(
        "utils/data_files/mp_transport/transport_database.tar.xz",
        {
            "S_p": "seebeck_p_mp",
            "S_n": "seebeck_n_mp",
            "PF_p": "power_factor_p_mp",
            "PF_n": "power_factor_n_mp",
            "m_p": "effective_mass_p_mp",
            "m_n": "effective_mass_n_mp",
        },
        "Materials Project's transport table, via matminer (BSD), CC-BY 4.0",
        package="matminer",
        formula="pretty_formula",
    ),
)

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
            rows = _read_json_lines(path)
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


def build_corpus(
    folder: str | Path,
    tables: Iterable[CorpusTable],
    properties: Sequence[Property] = PROPERTIES,
    *,
    verbose: int = 0,
) -> Corpus:
    """Write a corpus folder.

    Parameters
    ----------
    folder : str or Path
        Target; it must not exist, or be an empty folder. It appears in one
        piece: an interrupted call leaves nothing behind.
    tables : iterable of CorpusTable
        Read one after the other.
    properties : sequence of Property
        Columns of the target table. Every value name in `tables` must be among them.
    verbose : int, default=0
        Print one line per table on stderr.

    Returns
    -------
    Corpus
        The opened folder.

    Raises
    ------
    InputError
        If a table has an unknown property or columns of different lengths.
    CompositionError
        If a row is not a composition.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> table = CorpusTable(["NaCl", "Na2Cl2", "Si"], {"gap": [5.0, 5.2, 0.6]})
    >>> with tempfile.TemporaryDirectory() as home:
    ...     corpus = build_corpus(Path(home) / "corpus", [table], [Property("gap", "eV")])
    ...     len(corpus), corpus.property_names
    (2, ['gap'])
    """
    folder = Path(folder)
    column_of = {prop.name: i for i, prop in enumerate(properties)}
    rows = _Rows()
    observed: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    crystals = _Crystals()
    hulls: list[tuple[np.ndarray, np.ndarray]] = []
    with new_folder(folder) as staging:
        for table in tables:
            batch = read_compositions(table.compositions)
            row = rows.add(batch)
            hull = _column(table, "e_hull", table.e_hull, len(batch))
            hulls.append((row, hull))
            for name, values in table.targets.items():
                if name not in column_of:
                    raise InputError(
                        f"{table.name} has values for {name!r}, which is not among the properties; "
                        "add a Property of that name."
                    )
                value = _column(table, name, values, len(batch))
                known = properties[column_of[name]].known(value, batch)
                observed.append(
                    (
                        np.full(known.sum(), column_of[name], np.int16),
                        row[known],
                        value[known],
                        hull[known],
                    )
                )
            if table.structures is not None:
                crystals.add(row, hull, table)
            if verbose:
                _say(f"{table.name}: {len(batch)} rows, {rows.count} distinct compositions")
        _write(staging, rows, properties, observed, hulls, crystals)
    return Corpus(folder)


class Corpus:
    """A corpus folder, memory-mapped.

    Parameters
    ----------
    folder : str or Path
        Written by :func:`build_corpus`.

    Attributes
    ----------
    keys : ndarray of uint64, shape (n,)
        See :func:`~sklearn_kt.compositions.composition_keys`.
    e_hull : ndarray of float32, shape (n,)
        Energy above the hull in eV/atom; NaN where unknown.
    targets : ndarray of float32, shape (n, n_properties)
        Transformed and standardised property values; NaN where unknown.
    properties : list of Property
        The columns of ``targets``.
    centres, scales : ndarray of shape (n_properties,)
        What standardising subtracted and divided by, after the transform.
    structure_rows : ndarray of int64, shape (n_structures,)
        Row of each stored crystal.

    Raises
    ------
    DatasetError
        If the folder is not a corpus or is damaged.

    See Also
    --------
    build_corpus : Writes the folder.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as home:
    ...     folder = Path(home) / "corpus"
    ...     _ = build_corpus(folder, [CorpusTable(["NaCl", "Si2"])], [])
    ...     corpus = Corpus(folder)
    ...     corpus.rows_of(["Si", "Ge"]).tolist()
    [1, -1]
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        meta = self._read_meta()
        self.properties = [Property(**p["property"]) for p in meta["properties"]]
        self.centres = np.array([p["centre"] for p in meta["properties"]])
        self.scales = np.array([p["scale"] for p in meta["properties"]])
        self.keys = self._open("keys")
        self.e_hull = self._open("e_hull")
        self.targets = self._open("targets")
        self.structure_rows = self._open("structure_rows")
        self._offsets = self._open("offsets")
        self._numbers = self._open("atomic_numbers")
        self._amounts = self._open("amounts")
        if len({len(self.keys), len(self.e_hull), len(self.targets), len(self._offsets) - 1}) > 1:
            raise DatasetError(f"{self.folder} is damaged: its files differ in length.")

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def property_names(self) -> list[str]:
        """Names of the columns of ``targets``."""
        return [prop.name for prop in self.properties]

    @property
    def n_elements(self) -> np.ndarray:
        """Distinct elements of each row, int64, shape (n,)."""
        return np.diff(self._offsets)

    def compositions(self, rows: np.ndarray) -> CompositionBatch:
        """Reduced compositions of some rows.

        Parameters
        ----------
        rows : ndarray of int64, shape (m,)
            Positions in the corpus.

        Returns
        -------
        batch : CompositionBatch
            One row per position.
        """
        starts = self._offsets[rows]
        lengths = self._offsets[rows + 1] - starts
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        entries = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        return CompositionBatch(
            self._numbers[entries].astype(np.int64), np.asarray(self._amounts[entries]), offsets
        )

    def rows_of(self, compositions: Any) -> np.ndarray:
        """Find compositions.

        Parameters
        ----------
        compositions : array-like of compositions, shape (m,)
            Anything :func:`~sklearn_kt.compositions.read_compositions` reads.

        Returns
        -------
        rows : ndarray of int64, shape (m,)
            Row of each, -1 where the corpus does not have it.
        """
        wanted = composition_keys(read_compositions(compositions))
        order = np.argsort(self.keys, kind="stable")
        position = np.searchsorted(self.keys, wanted, sorter=order).clip(max=len(self) - 1)
        found = order[position]
        return np.where(self.keys[found] == wanted, found, -1)

    def structure(self, index: int) -> Structure:
        """Read one crystal.

        Parameters
        ----------
        index : int
            Position in ``structure_rows``.

        Returns
        -------
        structure : pymatgen.core.Structure
            The crystal of row ``structure_rows[index]``.
        """
        from pymatgen.core import Lattice, Structure

        start, stop = self._open("site_offsets")[index : index + 2]
        species = [ELEMENTS[z - 1] for z in self._open("sites")[start:stop]]
        lattice = Lattice.from_parameters(*self._open("lattices")[index].astype(float))
        return Structure(lattice, species, self._open("site_coords")[start:stop].astype(float))

    def structure_sizes(self) -> np.ndarray:
        """Count the atoms in each crystal's cell.

        Returns
        -------
        sizes : ndarray of int64, shape (n_structures,)
            In the order of ``structure_rows``.
        """
        return np.diff(self._open("site_offsets"))

    def digests(self, teachers: Iterable[str] = ()) -> list[str]:
        """Tell this corpus from others by its content.

        Parameters
        ----------
        teachers : iterable of str, default=()
            Names of the embedding tables that count.

        Returns
        -------
        digests : list of str
            SHA-256 of the description, of the arrays of compositions, targets and crystals, and
            of the tables.
        """
        # the names of tables have a part more
        arrays = sorted(p.name for p in self.folder.glob("*.npy") if p.name.count(".") == 1)
        tables = [f"{name}.{part}.npy" for name in sorted(teachers) for part in ("rows", "teacher")]
        digests = []
        for name in [_META, *arrays, *tables]:
            with (self.folder / name).open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
        return digests

    @property
    def teachers(self) -> list[str]:
        """Names of the embedding tables in the folder."""
        suffix = ".teacher.npy"
        return sorted(p.name.removesuffix(suffix) for p in self.folder.glob(f"*{suffix}"))

    def teacher(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings of a teacher.

        Parameters
        ----------
        name : str
            One of ``teachers``.

        Returns
        -------
        index : ndarray of int64, shape (n,)
            Position in ``embeddings`` of each corpus row, -1 where it has none.
        embeddings : ndarray of float32, shape (m, d)
            Memory-mapped.
        """
        if name not in self.teachers:
            known = ", ".join(self.teachers) or "none"
            raise DatasetError(
                f"the corpus {self.folder} has no embeddings of a teacher {name!r} (it has: "
                f"{known}); add them with sklearn_kt.pretraining.embed_corpus."
            )
        return self._open(f"{name}.rows"), self._open(f"{name}.teacher")

    def add_teacher(self, name: str, rows: np.ndarray, embeddings: np.ndarray) -> None:
        """Store a teacher's embeddings of some rows; an older table of that name is replaced.

        Parameters
        ----------
        name : str
            File name of the table.
        rows : ndarray of int64, shape (m,)
            Corpus rows, each at most once.
        embeddings : ndarray of shape (m, d)
            One vector per row, finite.
        """
        rows, embeddings = np.asarray(rows), np.asarray(embeddings, np.float32)
        if embeddings.ndim != 2 or len(rows) != len(embeddings):
            raise InputError(
                f"teacher {name!r}: need one vector per row, got {len(rows)} rows and an array "
                f"of shape {embeddings.shape}."
            )
        if not np.isfinite(embeddings).all():
            bad = int(np.flatnonzero(~np.isfinite(embeddings).all(axis=1))[0])
            raise InputError(f"teacher {name!r}: vector {bad} is not finite; leave that row out.")
        if len(np.unique(rows)) != len(rows):
            raise InputError(f"teacher {name!r}: a row has two vectors; average or choose first.")
        index = np.full(len(self), -1, np.int64)
        index[rows] = np.arange(len(rows))
        with (
            replacing(self.folder / f"{name}.rows.npy") as rows_part,
            replacing(self.folder / f"{name}.teacher.npy") as teacher_part,
        ):
            np.save(rows_part, index)
            np.save(teacher_part, embeddings)

    def unscale(self, targets: np.ndarray) -> np.ndarray:
        """Undo the standardising.

        Parameters
        ----------
        targets : ndarray of shape (..., n_properties)
            Standardised values.

        Returns
        -------
        values : ndarray of shape (..., n_properties)
            In the properties' units; logarithms stay logarithms.
        """
        return targets * self.scales + self.centres

    def _open(self, name: str) -> np.ndarray:
        path = self.folder / f"{name}.npy"
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DatasetError(
                f"{path} cannot be read ({error}); the corpus is incomplete or damaged: build "
                "it again."
            ) from error

    def _read_meta(self) -> dict[str, Any]:
        path = self.folder / _META
        try:
            meta = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DatasetError(
                f"{self.folder} is not a corpus folder ({error}); write one with "
                "sklearn_kt.pretraining.build_corpus."
            ) from error
        if meta.get("format_version", math.inf) > FORMAT_VERSION:
            raise DatasetError(
                f"{self.folder} has corpus format {meta.get('format_version')!r}; this "
                f"sklearn_kt reads formats up to {FORMAT_VERSION}. Upgrade sklearn_kt."
            )
        return meta


class _Rows:
    """Distinct reduced compositions in order of appearance."""

    def __init__(self) -> None:
        self.row_of: dict[int, int] = {}
        self.parts: list[CompositionBatch] = []
        self.keys: list[np.ndarray] = []

    @property
    def count(self) -> int:
        return len(self.row_of)

    def add(self, batch: CompositionBatch) -> np.ndarray:
        keys = composition_keys(batch)
        rows = np.empty(len(batch), np.int64)
        new = []
        for i, key in enumerate(keys.tolist()):
            row = self.row_of.get(key)
            if row is None:
                row = self.row_of[key] = len(self.row_of)
                new.append(i)
            rows[i] = row
        self.parts.append(batch[np.array(new, np.int64)])
        self.keys.append(keys[new])
        return rows


class _Crystals:
    """The lowest crystal of each row."""

    def __init__(self) -> None:
        self.best: dict[int, tuple[float, Mapping[str, Any]]] = {}

    def add(self, rows: np.ndarray, hull: np.ndarray, table: CorpusTable) -> None:
        assert table.structures is not None
        if len(table.structures) != len(rows):
            raise InputError(
                f"{table.name}: {len(table.structures)} structures for {len(rows)} rows."
            )
        energies = np.where(np.isfinite(hull), hull, np.inf)
        crystals = zip(rows.tolist(), energies.tolist(), table.structures, strict=True)
        for row, energy, crystal in crystals:
            if crystal is not None and (row not in self.best or energy < self.best[row][0]):
                kept = {key: crystal[key] for key in ("lattice", "species", "coords")}
                self.best[row] = energy, kept


def _write(
    folder: Path,
    rows: _Rows,
    properties: Sequence[Property],
    observed: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]],
    hulls: list[tuple[np.ndarray, np.ndarray]],
    crystals: _Crystals,
) -> None:
    n = rows.count
    if n == 0:
        raise InputError("the tables hold no rows; a corpus needs at least one composition.")
    np.save(folder / "keys.npy", np.concatenate(rows.keys))
    lengths = np.concatenate([part.n_elements for part in rows.parts])
    np.save(folder / "offsets.npy", np.concatenate(([0], np.cumsum(lengths))).astype(np.int64))
    numbers = np.concatenate([part.atomic_numbers for part in rows.parts]).astype(np.uint8)
    np.save(folder / "atomic_numbers.npy", numbers)
    amounts = [part.reduced().amounts for part in rows.parts]
    np.save(folder / "amounts.npy", np.concatenate(amounts))
    row, hull = (np.concatenate(arrays) for arrays in zip(*hulls, strict=True))
    lowest = np.full(n, np.inf)
    known = np.isfinite(hull)
    np.minimum.at(lowest, row[known], hull[known])
    lowest[np.isinf(lowest)] = np.nan
    np.save(folder / "e_hull.npy", lowest.astype(np.float32))
    targets = np.lib.format.open_memmap(
        folder / "targets.npy", mode="w+", dtype=np.float32, shape=(n, len(properties))
    )
    targets[:] = np.nan
    described = []
    for column, prop in enumerate(properties):
        parts = [o[1:] for o in observed if len(o[0]) and o[0][0] == column]
        centre, scale, count = 0.0, 1.0, 0
        if parts:
            row, value, hull = (np.concatenate(p) for p in zip(*parts, strict=True))
            where, values = _one_per_row(row, value, hull, prop)
            values = _TRANSFORMS[prop.transform](values)
            count = len(values)
            if prop.transform != "binary":
                values = np.clip(values, *np.quantile(values, [_CLIPPED, 1 - _CLIPPED]))
                centre, scale = float(values.mean()), float(values.std()) or 1.0
            targets[where, column] = (values - centre) / scale
        described.append(
            {
                "property": {
                    k: v
                    for k, v in asdict(prop).items()
                    if not (isinstance(v, float) and math.isinf(v))
                },
                "centre": centre,
                "scale": scale,
                "count": count,
            }
        )
    targets.flush()
    del targets
    _write_crystals(folder, crystals)
    meta = {"format_version": FORMAT_VERSION, "n_rows": n, "properties": described}
    (folder / _META).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")


def _one_per_row(
    row: np.ndarray, value: np.ndarray, hull: np.ndarray, prop: Property
) -> tuple[np.ndarray, np.ndarray]:
    """Ground state where its energy is known, else the median (see the module's notes)."""
    frame = pd.DataFrame({"row": row, "value": value, "hull": hull})
    known = frame[frame["hull"].notna()].sort_values(["row", "hull"], kind="stable")
    ground = known.drop_duplicates("row").set_index("row")["value"]
    other = frame[~frame["row"].isin(ground.index)].groupby("row")["value"]
    rest = other.mean() if prop.transform == "binary" else other.median()
    both = pd.concat([ground, rest])
    return both.index.to_numpy(), both.to_numpy()


def _write_crystals(folder: Path, crystals: _Crystals) -> None:
    rows = sorted(crystals.best)
    best = [crystals.best[row][1] for row in rows]
    sites = [
        [ELEMENTS.index(symbol) + 1 for symbol, count in crystal["species"] for _ in range(count)]
        for crystal in best
    ]
    sizes = np.array([len(s) for s in sites], np.int64)
    np.save(folder / "structure_rows.npy", np.array(rows, np.int64))
    np.save(folder / "site_offsets.npy", np.concatenate(([0], np.cumsum(sizes))).astype(np.int64))
    np.save(folder / "sites.npy", np.array([z for s in sites for z in s], np.uint8))
    lattices = np.array([crystal["lattice"] for crystal in best], np.float32)
    np.save(folder / "lattices.npy", lattices.reshape(len(best), 6))
    coords = np.array([xyz for crystal in best for xyz in crystal["coords"]], np.float32)
    np.save(folder / "site_coords.npy", coords.reshape(-1, 3))


def _read_table(path: Path, source: Source, data_home: Path) -> pd.DataFrame:
    """Read a CSV file, and what the source says of others."""
    # "NaN" is a formula, sodium nitride
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


def _column(table: CorpusTable, name: str, values: Any, n: int) -> np.ndarray:
    if values is None:
        return np.full(n, np.nan)
    column = np.asarray(values, np.float64)
    if column.shape != (n,):
        raise InputError(
            f"{table.name}: {name!r} has shape {column.shape}, but there are {n} compositions."
        )
    return column


def _read_json_lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


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


def _say(text: str) -> None:
    import sys

    print(text, file=sys.stderr, flush=True)
