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
from sklearn_kt.evaluation import EvaluationResult, Task
from sklearn_kt.evaluation.scores import TaskKind
from sklearn_kt.exceptions import DatasetError, InputError

__all__ = [
    "LLM4MAT_DATASETS",
    "Llm4MatDataset",
    "Llm4MatProperty",
    "llm4mat_averages",
    "llm4mat_comparison",
    "llm4mat_tasks",
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
        What it is, in the words of :data:`~sklearn_kt.evaluation.QUANTITIES`.
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


def llm4mat_tasks(
    folder: str | os.PathLike[str],
    datasets: Names = None,
    properties: Names = None,
    *,
    include_validation: bool = False,
    subset: bool = False,
) -> list[Task]:
    """Read properties of data sets with their split.

    Parameters
    ----------
    folder : path-like
        Folder of the benchmark, with one folder per data set; or that of one data set.
    datasets : str, iterable of str or None, default=None
        Keys of :data:`LLM4MAT_DATASETS`; None takes those whose folder is in `folder`.
    properties : str, iterable of str or None, default=None
        Columns; None takes all of each data set.
    include_validation : bool, default=False
        Train on the validation rows too. The published baselines chose their epoch on them.
    subset : bool, default=False
        Accept files that do not have the published number of rows; scores are then not
        comparable with published ones, and the result says so.

    Returns
    -------
    tasks : list of Task
        Rows that have a value; one fold, number 0. Their names are ``"<dataset>.<column>"``
        without spaces. Their ``notes`` give the rows of each part in the files, and those
        without a value.

    Raises
    ------
    DatasetError
        If files or columns are missing, a value is not a number or label, or the number of rows
        is not the published one.
    InputError
        If a name is unknown.

    See Also
    --------
    llm4mat_comparison : A result beside published baselines.
    llm4mat_averages : The same, averaged over the properties of a data set.

    Examples
    --------
    >>> from sklearn_kt.benchmarking import llm4mat_comparison, llm4mat_tasks
    >>> from sklearn_kt.evaluation import evaluate
    >>> tasks = llm4mat_tasks("LLM4Mat-Bench/data", "SNUMAT")  # doctest: +SKIP
    >>> print(llm4mat_comparison(evaluate("rf-magpie", tasks)))  # doctest: +SKIP
    >>> llm4mat_tasks("no/such/folder", "OMDB", "bandgap")
    Traceback (most recent call last):
        ...
    sklearn_kt.exceptions.DatasetError: No train.csv of OMDB is in ...
    """
    names = _names(datasets) or [
        name for name, spec in LLM4MAT_DATASETS.items() if _found(Path(folder), spec) is not None
    ]
    if not names:
        known = ", ".join(spec.folders[0] for spec in LLM4MAT_DATASETS.values())
        raise DatasetError(
            f"None of the folders {known} is in {folder}; name datasets= if it is the folder of "
            "one."
        )
    return [
        _task(Path(folder), name, column, include_validation, subset)
        for name in names
        for column in _names(properties) or _spec(name).properties
    ]


def _task(folder: Path, dataset: str, column: str, include_validation: bool, subset: bool) -> Task:
    spec = _spec(dataset)
    if column not in spec.properties:
        raise InputError(
            f"{column!r} is not a property of {dataset}, which has {', '.join(spec.properties)}."
        )
    prop = spec.properties[column]
    home = _home(folder, dataset, spec)
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
    return Task(
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


def llm4mat_comparison(result: EvaluationResult) -> pd.DataFrame:
    """Put a result beside published baselines, property by property.

    Parameters
    ----------
    result : EvaluationResult
        Of tasks of :func:`llm4mat_tasks`.

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


def llm4mat_averages(result: EvaluationResult) -> pd.DataFrame:
    """Average a result over the properties of each data set, as the paper's table does.

    Parameters
    ----------
    result : EvaluationResult
        Of tasks of :func:`llm4mat_tasks`.

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
