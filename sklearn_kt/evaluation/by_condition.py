"""Errors of models against the conditions of a table, and the rows that they get most wrong."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd

from .result import EvaluationResult
from .task import Task

__all__ = ["errors_by_condition", "worst_rows"]

# of a condition that is a number; fewer distinct numbers are not binned
_BINS = 6
_CATEGORIES = 8
_WORST = 10


def errors_by_condition(result: EvaluationResult, task: str) -> dict[str, pd.DataFrame]:
    """Average the errors of test rows that are alike in a condition.

    Parameters
    ----------
    result : EvaluationResult
        Of :func:`~sklearn_kt.evaluation.evaluate`.
    task : str
        Name of a task; without conditions there is nothing to average by.

    Returns
    -------
    tables : dict of str to DataFrame
        By condition: a row for each range of numbers, of about as many test rows, or each category
        (those that are rare are ``others``, empty cells ``missing``), with the columns ``values``,
        ``rows`` and, by the name of each model, its mean absolute error, or share of wrong classes.
    """
    about = result.tasks[task]
    if about.conditions is None:
        return {}
    models = dict.fromkeys(record.model for record in result.records if record.task == task)
    errors = {model: _errors(result, about, model) for model in models}
    test = np.concatenate([rows for _, rows in about.folds.values()])
    tables = {}
    for name, column in about.conditions.items():
        codes, labels = _binned(column)
        counts = np.bincount(codes[test], minlength=len(labels))
        table = pd.DataFrame({"values": labels, "rows": counts})
        for model, (rows, sizes) in errors.items():
            table[model] = pd.Series(sizes).groupby(codes[rows]).mean().reindex(table.index)
        # of rows that are in no test part
        tables[str(name)] = table[counts > 0].reset_index(drop=True)
    return tables


def worst_rows(
    result: EvaluationResult, task: str, model: str, n_rows: int = _WORST
) -> pd.DataFrame:
    """List the test rows with the largest errors, of classes the surest wrong ones.

    Parameters
    ----------
    result : EvaluationResult
        Of :func:`~sklearn_kt.evaluation.evaluate`.
    task, model : str
        Names.
    n_rows : int, default=10
        At most so many; rows without an error are never among them.

    Returns
    -------
    table : DataFrame
        The worst first: ``formula``, the conditions, ``true``, ``predicted`` and, as far as the
        model gives it, ``std`` or ``probability``.
    """
    about = result.tasks[task]
    frame = EvaluationResult(result.tasks, result.of(task, model)).predictions()
    _, errors = _errors(result, about, model)
    sure = frame["probability"].fillna(0).to_numpy()
    order = np.lexsort([-sure, -errors])
    order = order[errors[order] > 0][:n_rows]
    columns = list(frame)
    shown = columns[columns.index("formula") : columns.index("predicted") + 1]
    shown += [name for name in ("std", "probability") if frame[name].notna().any()]
    return frame[shown].iloc[order].reset_index(drop=True).infer_objects()


def _errors(result: EvaluationResult, about: Task, model: str) -> tuple[np.ndarray, np.ndarray]:
    """Give the test rows of a model, all folds one after the other, and its error in each."""
    test, predictions = result.test_rows(about.name, model)
    if about.kind == "classification":
        return test, (about.y[test] != predictions).astype(float)
    return test, np.abs(about.y[test] - predictions)


def _binned(column: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Give each value the number of the range or category that it falls into, and their names."""
    gaps = column.isna().to_numpy()
    numbers = pd.to_numeric(column.astype(object), errors="coerce").to_numpy(np.float64)
    known = numbers[~gaps]
    named = pd.api.types.infer_dtype(column) in ("boolean", "categorical")
    if named or not len(known) or np.isnan(known).any():
        text = column.astype(object).map(lambda value: str(value).strip()).to_numpy()
        counts = pd.Series(text[~gaps]).value_counts()
        labels = sorted(counts.index[:_CATEGORIES])
        codes = pd.Index(labels).get_indexer(text)
        if len(counts) > _CATEGORIES:
            codes[codes < 0] = len(labels)
            labels.append("others")
    else:
        edges = np.unique(known)
        if len(edges) <= _BINS:
            labels = [f"{value:g}" for value in edges]
            inner = edges[1:]
        else:
            edges = np.unique(np.quantile(known, np.linspace(0, 1, _BINS + 1)))
            labels = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)]
            inner = edges[1:-1]
        codes = np.searchsorted(inner, numbers, side="right")
    if gaps.any():
        codes[gaps] = len(labels)
        labels.append("missing")
    return codes, labels
