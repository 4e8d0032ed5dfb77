"""The 30 JARVIS-DFT tables of the cross-property benchmark, with their fixed split.

Formula to property, with train and test parts fixed by Gupta et al. [1]_. Polymorphs
repeat a formula, also across the split: 3 to 10 % of the test formulas are in the training
part too, usually with another value; the audit counts them.

References
----------
.. [1] V. Gupta, K. Choudhary, F. Tavazza, C. Campbell, W. Liao, A. Choudhary and A. Agrawal,
   "Cross-property deep transfer learning framework for enhanced predictive analytics on
   small materials data", Nat. Commun. 12, 6595 (2021).
   https://doi.org/10.1038/s41467-021-26921-5
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sklearn_kt.datasets import data_home
from sklearn_kt.evaluation import Task
from sklearn_kt.exceptions import DatasetError, InputError

__all__ = ["JARVIS_TABLES", "JarvisTable", "jarvis_tasks"]

_FOLDERS = (".", "jarvis_crossproperty", "composition/jarvis_crossproperty")
_SUFFIXES = (".csv.gz", ".csv")
# two training rows of the published table of meps went through a spreadsheet
_DATES = {"2-Feb": "FeB2", "3-Feb": "FeB3"}


@dataclass(frozen=True)
class JarvisTable:
    """One of the tables.

    Parameters
    ----------
    n_train, n_test : int
        Rows of the two parts.
    target : str
        Name of the property in JARVIS-DFT.
    unit : str, default=""
        Its unit; empty for numbers without one.
    quantity : str or None, default=None
        What it is, in the words of :data:`~sklearn_kt.evaluation.QUANTITIES`.
    """

    n_train: int
    n_test: int
    target: str
    unit: str = ""
    quantity: str | None = None


# Quantities are those of Materials Project by name and carrier; functionals, and for transport the
# doping too, are others. On compositions that both have, ranks of pseebeck, nem300k, npowerfact
# and ppowerfact correlate with the pool's tables at 0.76, 0.71, 0.49 and 0.56.
JARVIS_TABLES: Mapping[str, JarvisTable] = {
    "bulkmoduluskv": JarvisTable(9668, 1075, "bulk_modulus_kv", "GPa", "bulk modulus"),
    "deltae": JarvisTable(25297, 2811, "formation_energy_peratom", "eV/atom", "formation energy"),
    "ehull": JarvisTable(24567, 2730, "ehull", "eV/atom", "energy above hull"),
    "encut": JarvisTable(25250, 2806, "encut", "eV"),
    "eps": JarvisTable(22635, 2515, "eps_average_sq", "", "dielectric constant"),
    "etc11": JarvisTable(9755, 1084, "et_c11", "GPa"),
    "etc12": JarvisTable(9683, 1076, "et_c12", "GPa"),
    "etc13": JarvisTable(9761, 1085, "et_c13", "GPa"),
    "etc22": JarvisTable(9748, 1084, "et_c22", "GPa"),
    "etc33": JarvisTable(9770, 1086, "et_c33", "GPa"),
    "etc44": JarvisTable(8987, 999, "et_c44", "GPa"),
    "etc55": JarvisTable(8779, 976, "et_c55", "GPa"),
    "etc66": JarvisTable(8765, 974, "et_c66", "GPa"),
    "kaa": JarvisTable(25346, 2817, "kpoints_array_average"),
    "klu": JarvisTable(25353, 2818, "kpoint_length_unit", "Angstrom"),
    "magmom_oszicar": JarvisTable(23259, 2585, "magmom_oszicar", "muB", "magnetization"),
    "magmom_outcar": JarvisTable(22821, 2536, "magmom_outcar", "muB", "magnetization"),
    "max_mode": JarvisTable(9866, 1097, "max_mode", "cm^-1", "last phonon peak"),
    "meps": JarvisTable(10214, 1135, "meps_average_sq", "", "dielectric constant"),
    "min_ir_mode": JarvisTable(2041, 227, "min_ir_mode", "cm^-1"),
    "min_mode": JarvisTable(9837, 1093, "min_mode", "cm^-1"),
    "nem300k": JarvisTable(14625, 1625, "n_em300k", "me", "electron effective mass"),
    "npowerfact": JarvisTable(15086, 1677, "n_powerfact", "uW/(m K^2)", "n-type power factor"),
    "optb88vdw_bandgap": JarvisTable(25339, 2816, "optb88vdw_bandgap", "eV", "band gap"),
    "piezo_max_diel": JarvisTable(
        1913, 213, "dfpt_piezo_max_dielectric_electronic", "", "dielectric constant"
    ),
    "piezo_max_diio": JarvisTable(1913, 213, "dfpt_piezo_max_dielectric_ioonic"),
    "piezo_max_dij": JarvisTable(620, 69, "dfpt_piezo_max_dij", "pC/N"),
    "piezo_max_eij": JarvisTable(1010, 113, "dfpt_piezo_max_eij", "C/m^2", "piezoelectric modulus"),
    "ppowerfact": JarvisTable(15084, 1676, "p_powerfact", "uW/(m K^2)", "p-type power factor"),
    "pseebeck": JarvisTable(12995, 1444, "p_Seebeck", "uV/K", "p-type Seebeck coefficient"),
}
"""The tables by file name, with the sizes of the published split."""


def jarvis_tasks(
    names: str | Iterable[str] | None = None, data_dir: str | os.PathLike[str] | None = None
) -> list[Task]:
    """Load tables with their split.

    Parameters
    ----------
    names : str, iterable of str or None, default=None
        Keys of :data:`JARVIS_TABLES`; None takes all 30.
    data_dir : path-like or None, default=None
        Folder with ``<name>.csv.gz`` (columns ``formula``, ``target`` and ``split``, which is
        "train" or "test"), or one that has it in ``composition/jarvis_crossproperty``; None
        takes ``$SKLEARN_KT_DATA``.

    Returns
    -------
    tasks : list of Task
        With one fold each, number 0.

    Raises
    ------
    DatasetError
        If a file is missing, or its rows are not those of the published split.

    Notes
    -----
    Two training formulas of ``meps``, which a spreadsheet had turned into the dates 2-Feb and
    3-Feb, are read as FeB2 and FeB3.

    Examples
    --------
    >>> from sklearn_kt.benchmarking import jarvis_tasks
    >>> jarvis_tasks("deltae", "no/such/folder")
    Traceback (most recent call last):
        ...
    sklearn_kt.exceptions.DatasetError: Neither deltae.csv.gz nor deltae.csv is in ...
    """
    chosen = JARVIS_TABLES if names is None else [names] if isinstance(names, str) else names
    return [_task(name, data_dir) for name in chosen]


def _task(name: str, data_dir: str | os.PathLike[str] | None) -> Task:
    if name not in JARVIS_TABLES:
        raise InputError(f"{name!r} is not one of the tables: {', '.join(JARVIS_TABLES)}.")
    spec = JARVIS_TABLES[name]
    path = _find(name, data_dir)
    try:
        # "NaN" is a formula
        table = pd.read_csv(path, keep_default_na=False)
        y = pd.to_numeric(table["target"]).to_numpy(np.float64)
        formulas = table["formula"].replace(_DATES).to_numpy(dtype=object)
        split = table["split"].to_numpy()
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    train, test = np.flatnonzero(split == "train"), np.flatnonzero(split == "test")
    if (len(train), len(test), len(y)) != (spec.n_train, spec.n_test, spec.n_train + spec.n_test):
        raise DatasetError(
            f"{path} has {len(train)} train and {len(test)} test rows of {len(y)}; the published "
            f"split has {spec.n_train} and {spec.n_test}."
        )
    if not np.isfinite(y).all():
        row = int(np.flatnonzero(~np.isfinite(y))[0])
        raise DatasetError(f"{path}, row {row}: the target {y[row]} is not a finite number.")
    ids = np.array([f"{name}-{row}" for row in range(len(y))], dtype=object)
    return Task(
        name,
        "regression",
        formulas,
        y,
        ids,
        {0: (train, test)},
        target=spec.target,
        unit=spec.unit,
        quantity=spec.quantity,
    )


def _find(name: str, data_dir: str | os.PathLike[str] | None) -> Path:
    places = list(_places(data_dir))
    for folder in places:
        for suffix in _SUFFIXES:
            if (path := folder / f"{name}{suffix}").is_file():
                return path
    looked = ", ".join(map(str, places)) or "the folder $SKLEARN_KT_DATA, which is not set"
    raise DatasetError(
        f"Neither {name}.csv.gz nor {name}.csv is in {looked}. Give the folder as data_dir"
        " (--data-dir) or set SKLEARN_KT_DATA to it."
    )


def _places(data_dir: str | os.PathLike[str] | None) -> Iterator[Path]:
    home = data_dir or data_home()
    if home is not None:
        for folder in _FOLDERS:
            yield Path(home) / folder
