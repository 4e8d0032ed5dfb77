"""LLM4Mat-Bench: its own files, its own rules, and published baselines beside the results.

The benchmark [1]_ is ten folders, one per data set, each with ``train.csv``,
``validation.csv`` and ``test.csv``: a formula, a crystal and one column per property, 65
pairs of data set and property in total. Models are compared by MAD:MAE (mean absolute
deviation of the test targets from their mean, divided by the MAE; higher is better) and by
the ROC AUC.

Notes
-----
**The published AUC** is computed after the probabilities were rounded to 0 or 1, so it is the
AUC of labels (``roc_auc_of_labels`` here); only that one is comparable with the published
numbers. How CGCNN's was computed is not known.

**Rows without a value** of a property are left out of its task, as the benchmark's code
does; the result says how many. Units are given where the benchmark's sources, or those of
its data, state them; the scores have none.

**Averages** over the properties of a data set are weighted by the number of samples of each
property. The benchmark does not say so, but 57 of the 58 published averages (CGCNN and the
models that read formulas) are these, within 0.005; plain means are not (CGCNN on JARVIS-DFT:
published 7.048, weighted 7.048, plain 3.780). The one left is LLM-Prop on the classes of
SNUMAT: 0.719 published, 0.700 from its properties.

**Column names** are those of the benchmark's code. For "epsx (OPT)" that is ``mepsx``.

References
----------
.. [1] A. N. Rubungo, K. Li, J. Hattrick-Simpers and A. B. Dieng, "LLM4Mat-Bench: benchmarking
   large language models for materials property prediction", Mach. Learn.: Sci. Technol. 6,
   020501 (2025). https://doi.org/10.1088/2632-2153/add3bb
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd

from sklearn_kt._files import DATA
from sklearn_kt.evaluation import TaskKind
from sklearn_kt.exceptions import DatasetError, InputError

from .audit import CompositionPool
from .protocol import run_benchmark
from .runner import BenchmarkResult, BenchmarkTask, Model

__all__ = [
    "LLM4MAT_DATASETS",
    "Llm4MatDataset",
    "Llm4MatProperty",
    "llm4mat_averages",
    "llm4mat_comparison",
    "llm4mat_task",
    "run_llm4mat",
]

_TABLE = DATA / "llm4mat.csv"
_PARTS = ("train", "validation", "test")
_FORMULAS = ("formula", "formula_pretty")
_STRUCTURES = ("cif_structure", "structure")
_CIF_FORMULA = re.compile(r"_chemical_formula_sum\s+(?:'([^'\n]+)'|\"([^\"\n]+)\"|(\S+))")
_MISSING = {"", "nan", "na", "none", "null", "n/a"}
_LABELS = {
    **dict.fromkeys(("true", "1", "1.0", "direct"), True),
    **dict.fromkeys(("false", "0", "0.0", "indirect"), False),
}
_HEADLINE = {"regression": "mad_mae", "classification": "roc_auc_of_labels"}
_READ_ERRORS = (OSError, EOFError, UnicodeDecodeError, ValueError, pd.errors.ParserError)

Names: TypeAlias = str | Iterable[str] | None


@dataclass(frozen=True)
class Llm4MatProperty:
    """A property of a data set.

    Parameters
    ----------
    column : str
        Its column in the files.
    label : str
        Its name in the benchmark's tables.
    kind : {"regression", "classification"}
        What is predicted.
    unit : str
        Empty where none is stated.
    quantity : str or None
        What it is, in the words of :mod:`sklearn_kt.benchmarking.audit`.
    samples : int
        Published number of rows with a value, to three or four figures.
    published : dict of str to float
        MAD:MAE or AUC of published baselines by name; NaN where the benchmark says that a
        model gave too few valid answers. Names without a remark read the formula.
    """

    column: str
    label: str
    kind: TaskKind
    unit: str
    quantity: str | None
    samples: int
    published: Mapping[str, float]


@dataclass(frozen=True)
class Llm4MatDataset:
    """A data set of the benchmark.

    Parameters
    ----------
    folders : tuple of str
        Names of its folder; the benchmark's code uses several.
    rows : dict of str to int
        Published number of rows of each part.
    properties : dict of str to Llm4MatProperty
        By column.
    """

    folders: tuple[str, ...]
    rows: Mapping[str, int]
    properties: Mapping[str, Llm4MatProperty]


@cache
def _declared() -> pd.DataFrame:
    return pd.read_csv(_TABLE, keep_default_na=False, na_values=[""])


def _properties(dataset: str) -> dict[str, Llm4MatProperty]:
    table = _declared()
    baselines = list(table.columns[table.columns.get_loc("samples") + 1 :])
    return {
        row["column"]: Llm4MatProperty(
            row["column"],
            row["label"],
            row["kind"],
            "" if pd.isna(row["unit"]) else row["unit"],
            None if pd.isna(row["quantity"]) else row["quantity"],
            int(row["samples"]),
            {name: float(row[name]) for name in baselines},
        )
        for row in table[table["dataset"] == dataset].to_dict("records")
    }


def _dataset(name: str, folders: str, train: int, validation: int, test: int) -> Llm4MatDataset:
    rows = {"train": train, "validation": validation, "test": test}
    return Llm4MatDataset(tuple(folders.split()), rows, _properties(name))


LLM4MAT_DATASETS: Mapping[str, Llm4MatDataset] = {
    name: _dataset(name, *about)
    for name, about in {
        "MP": ("mp", 125_825, 10_000, 10_318),
        "JARVIS-DFT": ("jarvis_dft jarvis", 60_772, 7_596, 7_597),
        "SNUMAT": ("snumat", 8_297, 1_037, 1_038),
        "GNoME": ("gnome", 301_020, 37_628, 37_628),
        "hMOF": ("hmof", 106_194, 13_274, 13_275),
        "Cantor HEA": ("cantor_hea hea", 67_215, 8_402, 8_402),
        "JARVIS-QETB": ("jarvis_qe_tb jarvis_qetb qe_tb", 499_191, 62_399, 62_399),
        "OQMD": ("oqmd", 771_522, 96_440, 96_441),
        "QMOF": ("qmof", 6_124, 766, 766),
        "OMDB": ("omdb", 9_697, 1_212, 1_213),
    }.items()
}
"""The ten data sets by name, with sizes, properties and published baselines."""


def llm4mat_task(
    folder: str | os.PathLike[str],
    dataset: str,
    column: str,
    *,
    include_validation: bool = False,
    subset: bool = False,
) -> BenchmarkTask:
    """Read a property of a data set with its split.

    Parameters
    ----------
    folder : path-like
        Folder of the benchmark, with one folder per data set; or that of the data set.
    dataset : str
        A key of :data:`LLM4MAT_DATASETS`.
    column : str
        A column of its properties.
    include_validation : bool, default=False
        Train on the validation rows too. The published baselines chose their epoch on them.
    subset : bool, default=False
        Accept files that do not have the published number of rows; scores are then not
        comparable with published ones, and the result says so.

    Returns
    -------
    task : BenchmarkTask
        Rows that have a value; one fold, number 0. Its name is ``"<dataset>.<column>"``
        without spaces. Its ``notes`` give the rows of each part in the files, and those without
        a value.

    Raises
    ------
    DatasetError
        If files or columns are missing, a value is not a number or label, or the number of rows
        is not the published one.

    Examples
    --------
    >>> from sklearn_kt.benchmarking import llm4mat_task
    >>> llm4mat_task("no/such/folder", "OMDB", "bandgap")
    Traceback (most recent call last):
        ...
    sklearn_kt.exceptions.DatasetError: No train.csv of OMDB is in ...
    """
    spec = _spec(dataset)
    if column not in spec.properties:
        raise InputError(
            f"{column!r} is not a property of {dataset}, which has {', '.join(spec.properties)}."
        )
    prop = spec.properties[column]
    home = _home(Path(folder), dataset, spec)
    formulas: list[str] = []
    ids: list[str] = []
    values: list[float] = []
    ends = [0]
    rows, missing = {}, {}
    for part in _PARTS:
        path = home / f"{part}.csv"
        texts, targets = _read(path, prop)
        if len(texts) != spec.rows[part] and not subset:
            raise DatasetError(
                f"{path} has {len(texts):,} rows; the published {part} part of {dataset} has "
                f"{spec.rows[part]:,}. Pass subset=True to run on other files; their scores are not"
                " comparable with published ones."
            )
        known = np.flatnonzero(~np.isnan(targets))
        formulas += [texts[row] for row in known]
        ids += [f"{part}-{row}" for row in known]
        values += targets[known].tolist()
        ends.append(len(values))
        rows[part], missing[part] = len(texts), len(texts) - len(known)
    y = np.array(values)
    train = np.arange(0, ends[2] if include_validation else ends[1])
    test = np.arange(ends[2], ends[3])
    return BenchmarkTask(
        f"{dataset}.{column}".replace(" ", "_"),
        prop.kind,
        np.array(formulas, dtype=object),
        y > 0.5 if prop.kind == "classification" else y,
        np.array(ids, dtype=object),
        {0: (train, test)},
        target=prop.label,
        unit=prop.unit,
        quantity=prop.quantity,
        notes={
            "dataset": dataset,
            "property": column,
            "rows_in_files": rows,
            "rows_without_value": missing,
            "complete": rows == dict(spec.rows),
            "trained_on_validation": include_validation,
        },
    )


def run_llm4mat(
    estimator: Model | Mapping[str, Model],
    folder: str | os.PathLike[str],
    dataset: Names = None,
    properties: Names = None,
    *,
    include_validation: bool = False,
    subset: bool = False,
    output_dir: str | os.PathLike[str] | None = None,
    pool: CompositionPool | str | os.PathLike[str] | None = None,
    command: str | None = None,
    random_state: int | None = 0,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> BenchmarkResult:
    """Run estimators on LLM4Mat-Bench.

    Parameters
    ----------
    estimator : estimator, str, callable, or mapping of str to these
        As for :func:`~sklearn_kt.benchmarking.run_matbench`.
    folder : path-like
        Folder of the benchmark, with one folder per data set; or that of one data set.
    dataset : str, iterable of str or None, default=None
        Keys of :data:`LLM4MAT_DATASETS`; None runs those whose folder is in `folder`.
    properties : str, iterable of str or None, default=None
        Columns; None runs all of each data set.
    include_validation : bool, default=False
        Train on the validation rows too. The published baselines chose their epoch on them.
    subset : bool, default=False
        Accept files that do not have the published number of rows.
    output_dir : path-like or None, default=None
        Folder that keeps each task's predictions at once, in ``folds/``; a run that was
        stopped goes on from there. At the end it gets ``llm4mat.json``.
    pool : CompositionPool, path-like or None, default=None
        Compositions that the models were pretrained on, for the audit. None takes
        ``pool.npz`` in the folders of the checkpoints that the models start from.
    command : str or None, default=None
        The command that made the result; kept in ``llm4mat.json``.
    random_state : int or None, default=0
        Seed of models given by name.
    n_jobs : int or None, default=None
        Tasks that run at the same time, with joblib.
    verbose : int, default=0
        If positive, show progress on stderr.

    Returns
    -------
    result : BenchmarkResult
        Predictions, scores and audit.

    Raises
    ------
    DatasetError
        If files or columns are missing or are not the published ones.
    InputError
        If a name is unknown or an estimator does not suit a task.

    See Also
    --------
    llm4mat_comparison : The result beside published baselines.
    llm4mat_averages : The same, averaged over the properties of a data set.

    Examples
    --------
    >>> from sklearn_kt.benchmarking import llm4mat_comparison, run_llm4mat
    >>> result = run_llm4mat("rf-magpie", "LLM4Mat-Bench/data", "SNUMAT")  # doctest: +SKIP
    >>> print(llm4mat_comparison(result))  # doctest: +SKIP
    """
    names = _names(dataset) or [
        name for name, spec in LLM4MAT_DATASETS.items() if _found(Path(folder), spec) is not None
    ]
    wanted = _names(properties)
    tasks = [
        llm4mat_task(folder, name, column, include_validation=include_validation, subset=subset)
        for name in names
        for column in wanted or _spec(name).properties
    ]
    if not tasks:
        known = ", ".join(spec.folders[0] for spec in LLM4MAT_DATASETS.values())
        raise DatasetError(
            f"None of the folders {known} is in {folder}; name dataset= if it is the folder of one."
        )
    return run_benchmark(
        "llm4mat",
        estimator,
        tasks,
        output_dir=output_dir,
        pool=pool,
        command=command,
        random_state=random_state,
        n_jobs=n_jobs,
        verbose=verbose,
    )


def llm4mat_comparison(result: BenchmarkResult) -> pd.DataFrame:
    """Put a result beside published baselines, property by property.

    Parameters
    ----------
    result : BenchmarkResult
        Of :func:`run_llm4mat`.

    Returns
    -------
    frame : DataFrame
        Columns ``dataset``, ``property``, ``metric`` ("MAD:MAE" or "AUC of labels"; higher is
        better), one per model of the result, and one per published baseline. A further column
        ``<model> ROC AUC`` has the AUC of probabilities, with which no published number is
        comparable. ``complete`` tells whether the files were the published ones.

    Examples
    --------
    >>> from sklearn_kt.benchmarking.llm4mat import LLM4MAT_DATASETS
    >>> LLM4MAT_DATASETS["OMDB"].properties["bandgap"].published["MatBERT"]
    1.554
    """
    frame = result.to_frame().set_index(["model", "task"])
    rows = []
    for name, task in result.tasks.items():
        prop = LLM4MAT_DATASETS[task.notes["dataset"]].properties[task.notes["property"]]
        row: dict[str, object] = {
            "dataset": task.notes["dataset"],
            "property": prop.label,
            "kind": prop.kind,
            "metric": "MAD:MAE" if prop.kind == "regression" else "AUC of labels",
            "samples": prop.samples,
            "complete": task.notes["complete"],
        }
        for model in result.models:
            row[model] = frame.loc[(model, name), _HEADLINE[prop.kind]]
        row |= prop.published
        for model in result.models:
            if prop.kind == "classification":
                row[f"{model} ROC AUC"] = frame.loc[(model, name), "roc_auc"]
        rows.append(row)
    return pd.DataFrame(rows)


def llm4mat_averages(result: BenchmarkResult) -> pd.DataFrame:
    """Average a result over the properties of each data set, as the paper's table does.

    Parameters
    ----------
    result : BenchmarkResult
        Of :func:`run_llm4mat`.

    Returns
    -------
    frame : DataFrame
        Columns ``dataset``, ``kind``, ``n_properties``, ``of`` (how many the data set has),
        ``complete``, one per model and one per baseline: means weighted by the published
        number of samples of each property. Baselines are averaged over the same
        properties; an average with an invalid answer is NaN.

    Examples
    --------
    >>> from sklearn_kt.benchmarking import llm4mat_averages
    >>> llm4mat_averages(result)  # doctest: +SKIP
    """
    frame = llm4mat_comparison(result)
    numbers = frame.select_dtypes("number").columns.drop("samples")
    rows = []
    for (dataset, kind), group in frame.groupby(["dataset", "kind"], sort=False):
        declared = LLM4MAT_DATASETS[dataset].properties.values()
        weights = group["samples"].to_numpy(np.float64)
        rows.append(
            {
                "dataset": dataset,
                "kind": kind,
                "n_properties": len(group),
                "of": sum(prop.kind == kind for prop in declared),
                "complete": bool(group["complete"].all()),
                **{
                    name: float(np.average(group[name].to_numpy(np.float64), weights=weights))
                    for name in numbers
                },
            }
        )
    return pd.DataFrame(rows)


def _names(names: Names) -> list[str]:
    return [names] if isinstance(names, str) else list(names or ())


def _spec(dataset: str) -> Llm4MatDataset:
    if dataset not in LLM4MAT_DATASETS:
        raise InputError(
            f"{dataset!r} is not a data set of LLM4Mat-Bench: {', '.join(LLM4MAT_DATASETS)}."
        )
    return LLM4MAT_DATASETS[dataset]


def _found(folder: Path, spec: Llm4MatDataset) -> Path | None:
    for name in spec.folders:
        if (folder / name / "train.csv").is_file():
            return folder / name
    return None


def _home(folder: Path, dataset: str, spec: Llm4MatDataset) -> Path:
    if (home := _found(folder, spec)) is not None:
        return home
    if (folder / "train.csv").is_file():
        return folder
    raise DatasetError(
        f"No train.csv of {dataset} is in {folder} or its subfolder {' or '.join(spec.folders)}."
    )


def _read(path: Path, prop: Llm4MatProperty) -> tuple[list[str], np.ndarray]:
    """Formulas and values of a file, all rows; NaN where there is no value."""
    try:
        columns = list(pd.read_csv(path, nrows=0))
        source = next((c for c in (*_FORMULAS, *_STRUCTURES) if c in columns), None)
        if source is None:
            raise DatasetError(
                f"{path} has none of the columns {', '.join((*_FORMULAS, *_STRUCTURES))}."
            )
        if prop.column not in columns:
            raise DatasetError(
                f"{path} has no column {prop.column!r}; it has {', '.join(columns)}."
            )
        # text: "NaN" is a formula, and descriptions need not be read
        table = pd.read_csv(path, usecols=[source, prop.column], dtype=str, keep_default_na=False)
    except DatasetError:
        raise
    except _READ_ERRORS as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    texts = table[source].tolist()
    if source in _STRUCTURES:
        texts = [_cif_formula(text, path, row) for row, text in enumerate(texts)]
    values = np.full(len(table), np.nan)
    for row, text in enumerate(table[prop.column].str.strip().str.lower()):
        if text in _MISSING:
            continue
        value = _LABELS.get(text) if prop.kind == "classification" else _number(text)
        if value is None:
            raise DatasetError(
                f"{path}, row {row}: {table[prop.column].iloc[row]!r} in column {prop.column!r} is "
                f"not a {'label' if prop.kind == 'classification' else 'number'}."
            )
        # infinite values are left out, as the benchmark's code does
        values[row] = value if np.isfinite(value) else np.nan
    return texts, values


def _cif_formula(text: str, path: Path, row: int) -> str:
    found = _CIF_FORMULA.search(text)
    if found is None:
        raise DatasetError(f"{path}, row {row}: the crystal states no _chemical_formula_sum.")
    return next(group for group in found.groups() if group is not None)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
