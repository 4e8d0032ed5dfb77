"""Real data sets: tables that every installation holds, and MatBench v0.1.

:func:`load_thermoelectrics` and :func:`load_expt_gap` read measurements that are part of
the package, :func:`load_seebeck` reads calculations bundled inside matminer's wheel.
:func:`load_matbench` reads the tasks of MatBench v0.1 from files the user has, checks that
they are the official tables in the official order, and gives the official folds. None
touches the network unless the user asks for a download by name.
"""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import os
import tarfile
import warnings
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.utils import Bunch, check_random_state

from ._files import DATA
from .exceptions import DatasetError, InputError, PretrainingOverlapWarning

__all__ = [
    "MATBENCH_TASKS",
    "MatbenchTask",
    "data_home",
    "load_expt_gap",
    "load_matbench",
    "load_seebeck",
    "load_thermoelectrics",
]

SEEBECK_ROWS = 47_737
_SEEBECK_ARCHIVE = "utils/data_files/mp_transport/transport_database.tar.xz"
_SEEBECK_MEMBER = "transport_database.csv"

# the official split rule of MatBench v0.1: its creation date as the seed
MATBENCH_SPLITS = 5
MATBENCH_SEED = 18012019
_SUFFIXES = (".csv", ".csv.gz", ".json.gz")
_READ_ERRORS = (
    OSError,
    EOFError,
    zlib.error,
    UnicodeDecodeError,
    json.JSONDecodeError,
    pd.errors.ParserError,
    pd.errors.EmptyDataError,
)

# what is measured, and in which unit
_THERMOELECTRIC = {
    "S": ("Seebeck coefficient", "uV/K"),
    "sigma": ("electrical conductivity", "S/cm"),
    "PF": ("power factor", "uW/(cm K^2)"),
    "zT": ("figure of merit", ""),
    "k": ("thermal conductivity", "W/(m K)"),
    "kl": ("lattice thermal conductivity", "W/(m K)"),
    "ke": ("electronic thermal conductivity", "W/(m K)"),
}
_THERMOELECTRIC_SEEDS = (1, 88, 123, 1201)


@dataclass(frozen=True)
class MatbenchTask:
    """What identifies one task of MatBench v0.1.

    Parameters
    ----------
    n_rows : int
        Number of rows of the official table.
    target : str
        Name of the target column.
    unit : str
        Unit of the target; empty for class labels and numbers without a unit.
    kind : {"regression", "classification"}
        What is predicted.
    about : str
        The target, its origin and its reference.
    mean, ordered_mean : float
        Mean of the target, and its mean weighted by row number (from 1): the table
        is refused when either differs, since a table in another order would give
        other folds without any error.
    has_structures : bool
        Whether the official file holds structures rather than formulas.

    Examples
    --------
    >>> from sklearn_kt.datasets import MATBENCH_TASKS
    >>> task = MATBENCH_TASKS["matbench_steels"]
    >>> task.n_rows, task.target, task.unit, task.kind
    (312, 'yield strength', 'MPa', 'regression')
    """

    n_rows: int
    target: str
    unit: str
    kind: Literal["regression", "classification"]
    about: str
    mean: float
    ordered_mean: float
    has_structures: bool = True


MATBENCH_TASKS: Mapping[str, MatbenchTask] = {
    name: MatbenchTask(**spec)
    for name, spec in json.loads((DATA / "matbench.json").read_text(encoding="utf-8")).items()
}


def data_home() -> Path | None:
    """Find the folder of data files that the environment names.

    Returns
    -------
    folder : pathlib.Path or None
        ``$SKLEARN_KT_DATA``; None if it is not set, or empty.

    Examples
    --------
    >>> from sklearn_kt.datasets import data_home, load_matbench
    >>> if data_home() is not None:
    ...     steels = load_matbench("matbench_steels")
    """
    named = os.environ.get("SKLEARN_KT_DATA")
    return Path(named).expanduser() if named else None


def load_seebeck(
    carrier: str = "p",
    *,
    n_samples: int | None = None,
    random_state: int | np.random.RandomState | None = None,
    return_X_y: bool = False,
    as_frame: bool = False,
) -> Bunch | tuple[Any, Any]:
    """Load Seebeck coefficients at 300 K of 47,737 compounds (offline).

    The table is part of the matminer package, so it is on every machine.

    Parameters
    ----------
    carrier : {"p", "n"}, default="p"
        Type of doping: "p" (holes) or "n" (electrons).
    n_samples : int or None, default=None
        Number of rows drawn without replacement, kept in the order of the table;
        None gives all rows.
    random_state : int, RandomState instance or None, default=None
        Seed of that draw.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        Give ``data`` as a DataFrame with one column and ``target`` as a Series.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes

        data : object ndarray (n_samples,) or DataFrame (n_samples, 1)
            Formulas, such as ``"BaTe"``.
        target : float64 ndarray (n_samples,) or Series
            Seebeck coefficients in microvolt per kelvin.
        groups : int64 ndarray (n_samples,)
            One number per composition, for
            :class:`~sklearn.model_selection.GroupKFold`.
        frame : DataFrame (n_samples, 3)
            Materials Project id, formula and target.
        feature_names, target_names : list of str
            Column names of ``data`` and ``target``.
        unit : str
            Unit of the target.
        DESCR : str
            Method, unit, traps and source.

    (data, target) : tuple
        If ``return_X_y`` is True.

    Raises
    ------
    InputError
        If ``carrier`` or ``n_samples`` is not usable.
    DatasetError
        If the table is missing from the installed matminer, or is another one.

    Notes
    -----
    A row is a compound, not a composition: 13,107 rows are further polymorphs of a
    composition that another row has. They are kept, because a median would hide scatter
    that no model reading formulas can explain; honest cross-validation then groups by
    composition, for which ``groups`` is given.

    The checkpoints in the package were pretrained on these values: to score a model here, pass
    ``checkpoint=None``.

    References
    ----------
    F. Ricci, W. Chen, U. Aydemir, G. J. Snyder, G.-M. Rignanese, A. Jain and G. Hautier,
    "An ab initio electronic transport database for inorganic materials", Sci. Data 4,
    170085 (2017). https://doi.org/10.1038/sdata.2017.85

    Examples
    --------
    >>> from sklearn_kt.datasets import load_seebeck
    >>> seebeck = load_seebeck("n", n_samples=3, random_state=0)
    >>> seebeck.frame
           mp_id   formula         S_n
    0   mp-10256       VTe    9.606519
    1   mp-28896     CuBIr    4.199946
    2  mp-761286  Li2FeBO4 -547.466077
    """
    if carrier not in ("p", "n"):
        raise InputError(f'carrier must be "p" or "n", got {carrier!r}.')
    if n_samples is not None and not 1 <= n_samples <= SEEBECK_ROWS:
        raise InputError(
            f"n_samples must be between 1 and {SEEBECK_ROWS}, the number of rows,"
            f" got {n_samples!r}."
        )
    column = f"S_{carrier}"
    table = _read_seebeck()
    if n_samples is not None:
        chosen = check_random_state(random_state).choice(len(table), n_samples, replace=False)
        table = table.iloc[np.sort(chosen)]
    frame = table[["mp_id", "formula", column]].reset_index(drop=True)
    descr = _description("seebeck", carrier=carrier, n_rows=len(frame), total=SEEBECK_ROWS)
    # the table spells fluorine both ways; all other formulas are reduced
    groups = pd.factorize(frame["formula"].replace("F", "F2"))[0].astype(np.int64)
    return _as_bunch(
        frame,
        "formula",
        column,
        descr,
        return_X_y=return_X_y,
        as_frame=as_frame,
        groups=groups,
        unit="uV/K",
    )


def load_thermoelectrics(
    target: str | None = "S", *, seed: int = 1, return_X_y: bool = False
) -> Bunch | tuple[pd.DataFrame, np.ndarray]:
    """Load measured properties of doped thermoelectrics at several temperatures (offline).

    The table is part of the package.

    Parameters
    ----------
    target : {"S", "sigma", "PF", "zT", "k", "kl", "ke"} or None, default="S"
        Seebeck coefficient, electrical conductivity, power factor, figure of merit, total,
        lattice or electronic thermal conductivity; None is all of them, in this order.
    seed : {1, 88, 123, 1201}, default=1
        Which of the recorded splits; for all targets there is that of 1 alone.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes

        data : DataFrame (n_samples, 2)
            ``formula``, such as ``"Bi2Te2.7Se0.3"``, and ``temperature`` in K.
        target : float64 ndarray (n_samples,) or (n_samples, 7)
            Measured values; of all targets, NaN where one was not measured.
        groups : int64 ndarray (n_samples,)
            One number per composition, for
            :class:`~sklearn.model_selection.GroupKFold`.
        folds : list of 5 (train, test) pairs of int64 ndarray
            Recorded folds, as row positions.
        frame : DataFrame
            The rows with all columns: identifier, year, all targets, recorded folds.
        feature_names, target_names : list of str
            Column names of ``data`` and ``target``.
        unit : str or list of str
            Unit of the target, or of each; empty where it has none.
        DESCR : str
            What was measured, traps and source.

    (data, target) : tuple
        If ``return_X_y`` is True.

    Raises
    ------
    InputError
        If there is no such target or split.

    See Also
    --------
    load_expt_gap : Measurements at one temperature.

    Notes
    -----
    Rows without a value of the target are left out, so ``target=None`` has the most. The table
    has values of one formula and temperature that differ, from different publications.

    References
    ----------
    L. Z. Tang, T. Mohanty, S. G. Baird, L. W. T. Ng and T. D. Sparks, "Multi-task attention
    for doped thermoelectric properties prediction", ChemRxiv (2025).
    https://doi.org/10.26434/chemrxiv-2025-jcgjz

    Examples
    --------
    >>> from sklearn_kt.datasets import load_thermoelectrics
    >>> measured = load_thermoelectrics("zT")
    >>> measured.data.head(2)
                 formula  temperature
    0  Ga0.025Te1Pb0.975        300.0
    1  Ga0.025Te1Pb0.975        350.0
    >>> measured.target[:2]
    array([0.3929 , 0.47641])
    """
    if target is not None and target not in _THERMOELECTRIC:
        raise InputError(f"target must be one of {', '.join(_THERMOELECTRIC)}, got {target!r}.")
    seeds = _THERMOELECTRIC_SEEDS if target else _THERMOELECTRIC_SEEDS[:1]
    if seed not in seeds:
        raise InputError(
            f"there is no recorded split of seed {seed!r} for {target or 'all targets'}; the seeds "
            f"are {', '.join(map(str, seeds))}."
        )
    names = [target] if target else list(_THERMOELECTRIC)
    table = _read_csv(DATA / "thermoelectrics.csv.gz")
    numbers = [name for name in table if name not in ("formula", "formula_type")]
    # an empty field is NaN
    table[numbers] = table[numbers].apply(pd.to_numeric)
    frame = table[table[names].notna().any(axis=1)].reset_index(drop=True)
    test_fold = frame[f"fold_{target or 'multi'}_seed{seed}"].to_numpy()
    used = test_fold > 0
    values = frame[names].to_numpy()
    data = frame[["formula", "temperature"]]
    if target:
        values = values[:, 0]
    if return_X_y:
        return data, values
    # the one composition that the table writes in two ways
    written = frame["formula"].replace("Cu2.5Sn0.5Sb0.5Se3.5", "Cu5SnSbSe7")
    units = [_THERMOELECTRIC[name][1] for name in names]
    return Bunch(
        data=data,
        target=values,
        groups=pd.factorize(written)[0].astype(np.int64),
        folds=[
            (np.flatnonzero(used & (test_fold != fold)), np.flatnonzero(test_fold == fold))
            for fold in range(1, 6)
        ],
        frame=frame,
        feature_names=list(data.columns),
        target_names=names,
        unit=units[0] if target else units,
        DESCR=_description(
            "thermoelectrics",
            what=_THERMOELECTRIC[target][0] if target else "properties",
            n_rows=len(frame),
            total=len(table),
            n_formulas=frame["formula"].nunique(),
            seed=seed,
            n_unused=int((~used).sum()),
        ),
    )


def load_expt_gap(*, return_X_y: bool = False, as_frame: bool = False) -> Bunch | tuple[Any, Any]:
    """Load measured band gaps of 4,604 compounds with MatBench's official folds (offline).

    The table is part of the package; it is that of :func:`load_matbench` for
    ``"matbench_expt_gap"``.

    Parameters
    ----------
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        Give ``data`` as a DataFrame with one column and ``target`` as a Series.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        As of :func:`load_matbench`: formulas, gaps in eV, official folds.
    (data, target) : tuple
        If ``return_X_y`` is True.

    See Also
    --------
    load_thermoelectrics : Measurements at several temperatures.

    References
    ----------
    Y. Zhuo, A. Mansouri Tehrani and J. Brgoch, "Predicting the band gaps of inorganic solids
    by machine learning", J. Phys. Chem. Lett. 9, 1668 (2018).
    https://doi.org/10.1021/acs.jpclett.8b00124

    Examples
    --------
    >>> from sklearn_kt.datasets import load_expt_gap
    >>> gaps = load_expt_gap()
    >>> gaps.data[2000], float(gaps.target[2000])
    ('KBr', 7.6)
    """
    return load_matbench("matbench_expt_gap", DATA, return_X_y=return_X_y, as_frame=as_frame)


def load_matbench(
    task: str,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    download: bool = False,
    return_X_y: bool = False,
    as_frame: bool = False,
) -> Bunch | tuple[Any, Any]:
    """Load a task of MatBench v0.1 with its official folds.

    Parameters
    ----------
    task : str
        One of :data:`MATBENCH_TASKS`, such as ``"matbench_expt_gap"``.
    data_dir : path-like or None, default=None
        Folder with ``<task>.csv``, ``<task>.csv.gz`` or matminer's
        ``<task>.json.gz``, or with a subfolder ``matbench`` of these. With None the
        folders looked in are, in this order:
        ``$SKLEARN_KT_DATA``, its subfolder ``matbench``, ``$MATMINER_DATA``, the folder
        matminer downloads to, and that of the package, which holds
        ``"matbench_expt_gap"``.
    download : bool, default=False
        Let matminer download the official file when none is found, into ``data_dir``,
        else into ``$MATMINER_DATA``, else into its own folder. Without it the network
        is never touched.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        Give ``data`` as a DataFrame with one column and ``target`` as a Series.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes

        data : object ndarray (n_samples,) or DataFrame (n_samples, 1)
            Formulas; for structure tasks those of the full cell.
        target : float64 or bool ndarray (n_samples,) or Series
            Values in the unit of the task; bool for classification.
        folds : list of 5 (train, test) pairs of int64 ndarray
            Official folds, as row positions.
        frame : DataFrame (n_samples, 4)
            MatBench id, formula, target and official test fold (0 to 4).
        feature_names, target_names : list of str
            Column names of ``data`` and ``target``.
        unit : str
            Unit of the target; empty when it has none.
        DESCR : str
            Target, unit, traps and source.

    (data, target) : tuple
        If ``return_X_y`` is True.

    Warns
    -----
    PretrainingOverlapWarning
        For tasks from calculations: models that start from the bundled checkpoint have
        seen their materials, and mostly their labels, and must not be scored on them.

    Raises
    ------
    InputError
        If there is no such task.
    DatasetError
        If no file is found, or it is not the official table: rows, order or folds differ.

    See Also
    --------
    load_expt_gap : The task ``"matbench_expt_gap"``, which needs no file.

    Notes
    -----
    A table with the right rows in another order would give other folds without any
    error, so the mean and the row-weighted mean of the target are checked too.
    Structures are not built, only their compositions are read; the two largest
    ``json.gz`` files still take several GB of memory to parse, the CSV files do not.

    References
    ----------
    A. Dunn, Q. Wang, A. Ganose, D. Dopp and A. Jain, "Benchmarking materials property
    prediction methods: the Matbench test set and Automatminer reference algorithm",
    npj Comput. Mater. 6, 138 (2020). https://doi.org/10.1038/s41524-020-00406-3

    Examples
    --------
    >>> from sklearn_kt.datasets import load_matbench
    >>> steels = load_matbench("matbench_steels", "data")  # doctest: +SKIP
    >>> train, test = steels.folds[0]  # doctest: +SKIP
    """
    if task not in MATBENCH_TASKS:
        raise InputError(
            f"{task!r} is not a MatBench v0.1 task. The tasks are: {', '.join(MATBENCH_TASKS)}."
        )
    spec = MATBENCH_TASKS[task]
    path = _find_matbench(task, data_dir, download=download)
    try:
        table = _read_json(path) if path.name.endswith(".json.gz") else _read_csv(path)
    except _READ_ERRORS as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    frame, folds = _official_table(table, task, spec, path)
    if spec.has_structures:
        warnings.warn(
            f"{task} comes from calculations like those that the checkpoint 'default' was "
            "pretrained on: score only models with checkpoint=None on it.",
            PretrainingOverlapWarning,
            stacklevel=2,
        )
    descr = _description(
        "matbench",
        task=task,
        about=spec.about,
        n_rows=spec.n_rows,
        target=spec.target,
        unit=f" in {spec.unit}" if spec.unit else "",
        kind=spec.kind,
        splitter=type(_matbench_splitter(spec)).__name__,
        traps=_traps(task, spec, frame),
        path=path,
    )
    return _as_bunch(
        frame,
        "composition",
        spec.target,
        descr,
        return_X_y=return_X_y,
        as_frame=as_frame,
        folds=folds,
        unit=spec.unit,
    )


def _read_seebeck() -> pd.DataFrame:
    """Read the whole transport table from matminer's package folder, in memory."""
    path = _matminer_folder() / _SEEBECK_ARCHIVE
    try:
        with tarfile.open(path, "r:xz") as archive:
            member = archive.extractfile(_SEEBECK_MEMBER)
            if member is None:
                raise DatasetError(f"{_SEEBECK_MEMBER} in {path} is not a file.")
            # "NaN" is a formula (sodium and nitrogen), so no text stands for a missing value
            table = pd.read_csv(
                io.BytesIO(member.read()),
                usecols=["mp_id", "pretty_formula", "S_p", "S_n"],
                keep_default_na=False,
            )
    except (*_READ_ERRORS, tarfile.TarError, KeyError, ValueError) as error:
        raise DatasetError(
            f"The transport table of matminer cannot be read ({error}). It is part of the"
            f" matminer package: reinstall it with 'pip install --force-reinstall matminer'."
        ) from error
    if len(table) != SEEBECK_ROWS:
        raise DatasetError(
            f"The transport table of matminer has {len(table)} rows where {SEEBECK_ROWS} are"
            " expected. Install matminer 0.10."
        )
    return table.rename(columns={"pretty_formula": "formula"})


def _matminer_folder() -> Path:
    """Find the package folder without importing matminer, which takes seconds."""
    spec = importlib.util.find_spec("matminer")
    if spec is None or spec.origin is None:
        raise DatasetError("matminer is not installed: 'pip install matminer'.")
    return Path(spec.origin).parent


def _find_matbench(task: str, data_dir: str | os.PathLike[str] | None, *, download: bool) -> Path:
    """Return the first file that holds the task, downloading it only when asked."""
    folders = list(_matbench_folders(data_dir))
    for folder in folders:
        for suffix in _SUFFIXES:
            path = folder / f"{task}{suffix}"
            if path.is_file():
                return path
    if download:
        return _download(task, data_dir)
    names = ", ".join(f"{task}{suffix}" for suffix in _SUFFIXES)
    places = ", ".join(str(folder) for folder in folders)
    raise DatasetError(
        f"None of {names} is in: {places}. Give the folder as data_dir (--data-dir), set"
        " SKLEARN_KT_DATA or MATMINER_DATA to it, or let matminer download the file:"
        f" load_matbench({task!r}, download=True) in Python."
    )


def _matbench_folders(data_dir: str | os.PathLike[str] | None) -> Iterator[Path]:
    given = data_home() if data_dir is None else Path(data_dir).expanduser()
    if given is not None:
        yield given
        yield given / "matbench"
    if data_dir is not None:
        return
    if matminer := os.environ.get("MATMINER_DATA"):
        yield Path(matminer).expanduser()
    yield _matminer_folder() / "datasets"
    yield DATA


def _download(task: str, data_dir: str | os.PathLike[str] | None) -> Path:
    """Let matminer fetch the file and check its sha256; nothing else goes online."""
    from matminer.datasets import load_dataset

    home = data_dir or os.environ.get("MATMINER_DATA") or _matminer_folder() / "datasets"
    folder = Path(home).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        load_dataset(task, data_home=str(folder))
    except (OSError, ValueError) as error:
        raise DatasetError(f"matminer could not download {task} to {folder}: {error}") from error
    return folder / f"{task}.json.gz"


def _read_csv(path: Path) -> pd.DataFrame:
    # everything as text: "NaN" is a formula, and numbers are checked row by row later
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def _read_json(path: Path) -> pd.DataFrame:
    """Read matminer's format: gzip JSON in pandas' "split" orientation."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        content = json.load(file)
    if not isinstance(content, dict) or not {"columns", "data"} <= content.keys():
        raise DatasetError(f'{path} is not a table in the "split" orientation of pandas.')
    columns, rows = content["columns"], content["data"]
    if "structure" in columns:
        at = columns.index("structure")
        for number, row in enumerate(rows):
            try:
                row[at] = _structure_formula(row[at])
            except (KeyError, TypeError) as error:
                raise DatasetError(
                    f"{path}: row {number} does not hold a pymatgen structure ({error!r})."
                ) from error
        columns = ["composition" if name == "structure" else name for name in columns]
    return pd.DataFrame(rows, columns=columns)


def _structure_formula(structure: Mapping[str, Any]) -> str:
    """Spell the full-cell composition of a structure that is still a dict."""
    amounts: dict[str, float] = {}
    for site in structure["sites"]:
        for species in site["species"]:
            element = species["element"]
            amounts[element] = amounts.get(element, 0.0) + float(species["occu"])
    return "".join(f"{element}{amount:.10g}" for element, amount in amounts.items())


def _matbench_splitter(spec: MatbenchTask) -> KFold | StratifiedKFold:
    splitter = StratifiedKFold if spec.kind == "classification" else KFold
    return splitter(n_splits=MATBENCH_SPLITS, shuffle=True, random_state=MATBENCH_SEED)


def _official_table(
    table: pd.DataFrame, task: str, spec: MatbenchTask, path: Path
) -> tuple[pd.DataFrame, list[tuple[np.ndarray, np.ndarray]]]:
    """Check that a table is the official one; return it with the official folds."""
    missing = {"composition", spec.target} - set(table.columns)
    if missing:
        raise DatasetError(
            f"{path} has no column {sorted(missing)}; its columns are {list(table.columns)}."
        )
    if len(table) != spec.n_rows:
        raise DatasetError(
            f"{path} has {len(table)} rows; the official {task} has {spec.n_rows}. The official"
            " folds hold for the complete table only."
        )
    target = _read_target(table[spec.target], spec, path)
    position = np.arange(1, spec.n_rows + 1)
    found = (target.mean(), np.average(target, weights=position))
    if not np.allclose(found, (spec.mean, spec.ordered_mean), rtol=1e-8, atol=0):
        raise DatasetError(
            f"{path} is not the official {task}: values or order of {spec.target!r} differ"
            f" (mean {found[0]:.10g}, expected {spec.mean:.10g}; mean weighted by row number"
            f" {found[1]:.10g}, expected {spec.ordered_mean:.10g})."
        )
    folds = list(_matbench_splitter(spec).split(position, target))
    test_fold = np.empty(spec.n_rows, dtype=np.int64)
    for number, (_, test) in enumerate(folds):
        test_fold[test] = number
    if "test_fold" in table and not np.array_equal(
        table["test_fold"].astype(str), test_fold.astype(str)
    ):
        raise DatasetError(f"The column test_fold of {path} is not the official split.")
    prefix, width = task.replace("matbench_", "mb-").replace("_", "-"), len(str(spec.n_rows))
    frame = pd.DataFrame(
        {
            "mbid": [f"{prefix}-{number:0{width}d}" for number in position],
            "composition": table["composition"].astype(object).to_numpy(),
            spec.target: target,
            "test_fold": test_fold,
        }
    )
    return frame, folds


def _read_target(column: pd.Series, spec: MatbenchTask, path: Path) -> np.ndarray:
    if spec.kind == "classification":
        labels = column.astype(str).map({"True": True, "False": False})
        bad = labels.isna()
        wanted = "True or False"
    else:
        labels = pd.to_numeric(column, errors="coerce")
        bad = ~np.isfinite(labels)
        wanted = "a number"
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise DatasetError(
            f"{path}, row {row}: {column.iloc[row]!r} in column {spec.target!r} is not {wanted}."
        )
    return labels.to_numpy(dtype=bool if spec.kind == "classification" else np.float64)


def _traps(task: str, spec: MatbenchTask, frame: pd.DataFrame) -> str:
    if task in ("matbench_expt_gap", "matbench_expt_is_metal"):
        return _description("matbench_leak")
    if spec.has_structures:
        return _description("matbench_polymorphs", distinct=frame["composition"].nunique())
    return ""


def _description(name: str, **values: Any) -> str:
    text = (DATA / "descriptions" / f"{name}.txt").read_text(encoding="utf-8")
    return text.format(**values)


def _as_bunch(
    frame: pd.DataFrame,
    feature: str,
    target: str,
    descr: str,
    *,
    return_X_y: bool,
    as_frame: bool,
    **extra: Any,
) -> Bunch | tuple[Any, Any]:
    data: Any = frame[[feature]] if as_frame else frame[feature].to_numpy(dtype=object)
    values: Any = frame[target] if as_frame else frame[target].to_numpy()
    if return_X_y:
        return data, values
    return Bunch(
        data=data,
        target=values,
        frame=frame,
        feature_names=[feature],
        target_names=[target],
        DESCR=descr,
        **extra,
    )
