"""Predictions of MatBench's composition tasks, split by whether a model could have seen the answer.

A submission predicts every row once, in the fold where the row is a test row. Two mistakes let a
model see its answer all the same: training one model on the same fold number of several tasks,
although the folds of the tasks differ; and taking plain folds for stratified ones. Rows where a
mistake would have shown the answer are compared with the others: a model that made none is about
as good on both.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.model_selection import KFold

from sklearn_kt.compositions import composition_keys, read_compositions
from sklearn_kt.datasets import MATBENCH_SEED, MATBENCH_SPLITS
from sklearn_kt.exceptions import InputError

from .matbench import COMPOSITION_TASKS, matbench_tasks

if TYPE_CHECKING:
    from sklearn_kt.evaluation import Task

__all__ = ["EXPOSURES", "audit_predictions", "compare_exposed", "find_exposed"]

EXPOSURES = {
    "sibling": "the label is in the sibling task's training part of the same fold number",
    "plain folds": "the row is in the training part of a plain KFold of the same seed and number",
}
"""Ways in which a model could have seen the label of a test row."""

_COLUMNS = ("model", "task", "id", "prediction")


def audit_predictions(
    predictions: pd.DataFrame,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Compare predictions on rows whose label could have been seen with those on the others.

    Parameters
    ----------
    predictions : DataFrame
        A row for each prediction, with the columns ``model``, ``task`` (of
        :data:`~sklearn_kt.benchmarking.COMPOSITION_TASKS`), ``id`` (such as
        ``"mb-glass-0001"``) and ``prediction``: a number, a label, or the probability of
        the label True.
    data_dir : path-like or None, default=None
        Folder of the tables, as for :func:`~sklearn_kt.datasets.load_matbench`.
    level : float, default=0.95
        Of the intervals.

    Returns
    -------
    frame : DataFrame
        A row for each model, task and way of :data:`EXPOSURES`: ``score`` ("mae" or
        "balanced_accuracy"), ``exposed_rows`` and ``exposed`` (rows whose label could have
        been seen, and the score on them), ``other_rows`` and ``other``, and their
        ``difference``, positive where the exposed rows fare better, from ``low`` to ``high``.

    Raises
    ------
    InputError
        If a column is missing, a task or an id is unknown, a row is predicted twice, or a
        prediction is not finite.
    DatasetError
        If a table is not found.

    Notes
    -----
    Intervals are those of a normal distribution: errors, or decisions within a class, are taken
    to be independent. A difference does not say how it came about, and rows differ in how hard
    they are: compare it with those of other models.

    Examples
    --------
    >>> from sklearn_kt.benchmarking import audit_predictions
    >>> audit_predictions(my_predictions)  # doctest: +SKIP
    """
    missing = [name for name in _COLUMNS if name not in predictions]
    if missing:
        raise InputError(
            f"predictions need the columns {', '.join(_COLUMNS)}; {missing[0]!r} is missing."
        )
    names = predictions["task"].unique()
    unknown = [name for name in names if name not in COMPOSITION_TASKS]
    if unknown:
        raise InputError(
            f"{unknown[0]!r} is none of the composition tasks: {', '.join(COMPOSITION_TASKS)}."
        )
    rows = []
    for task in matbench_tasks(names, data_dir):
        exposed = find_exposed(task, data_dir)
        place = pd.Series(range(len(task.ids)), index=task.ids)
        of_task = predictions[predictions["task"] == task.name]
        for model, part in of_task.groupby("model", sort=False):
            values = _in_order(part, place, f"{model}, {task.name}")
            known = ~np.isnan(values)
            for way, flags in exposed.items():
                found = compare_exposed(
                    task.kind, task.y[known], values[known], flags[known], level
                )
                rows.append({"model": model, "task": task.name, "exposure": way, **found})
    return pd.DataFrame(rows)


def find_exposed(
    task: Task, data_dir: str | os.PathLike[str] | None = None
) -> dict[str, np.ndarray]:
    """Tell in which ways the label of each row could have been seen when it was a test row.

    Parameters
    ----------
    task : Task
        Of :func:`~sklearn_kt.benchmarking.matbench_tasks`.
    data_dir : path-like or None, default=None
        Folder of the tables.

    Returns
    -------
    exposed : dict of str to float ndarray of shape (n_samples,)
        By way: 1 where it could, 0 where not, NaN where the way says nothing of the row. Ways
        that cannot apply to the task are left out.
    """
    keys = composition_keys(read_compositions(task.formulas))
    found = {}
    for name in task.siblings:
        if name not in COMPOSITION_TASKS:
            continue
        [sibling] = matbench_tasks(name, data_dir)
        others = composition_keys(read_compositions(sibling.formulas))
        flags = np.full(len(keys), math.nan)
        for fold, (_, test) in task.folds.items():
            there = np.isin(keys[test], others)
            seen = np.isin(keys[test], others[sibling.folds[fold][0]])
            flags[test] = np.where(there, seen, math.nan)
        found["sibling"] = flags
    if task.kind == "classification":
        flags = np.empty(len(keys))
        plain = KFold(MATBENCH_SPLITS, shuffle=True, random_state=MATBENCH_SEED).split(keys)
        for (_, test), (train, _) in zip(task.folds.values(), plain, strict=True):
            flags[test] = np.isin(test, train)
        found["plain folds"] = flags
    return found


def compare_exposed(
    kind: str, y: np.ndarray, predictions: np.ndarray, exposed: np.ndarray, level: float = 0.95
) -> dict[str, Any]:
    """Score exposed rows and the others, and give the interval of the difference.

    Parameters
    ----------
    kind : {"regression", "classification"}
        What is predicted.
    y : ndarray of shape (n_samples,)
        Targets; of classes False and True.
    predictions : float ndarray of shape (n_samples,)
        Numbers, labels, or probabilities of True.
    exposed : float ndarray of shape (n_samples,)
        As of :func:`find_exposed`.
    level : float, default=0.95
        Of the interval.

    Returns
    -------
    found : dict
        As in a row of :func:`audit_predictions`.
    """
    if kind == "regression":
        name, sign, strata = "mae", -1, np.zeros(len(y))
        values = np.abs(predictions - y)
    else:
        name, sign, strata = "balanced_accuracy", 1, y.astype(float)
        values = ((predictions > 0.5) == y.astype(bool)).astype(float)
    found: dict[str, Any] = {"score": name}
    variance = 0.0
    for label, flag in (("exposed", 1), ("other", 0)):
        rows = exposed == flag
        groups = [values[rows & (strata == stratum)] for stratum in np.unique(strata)]
        found[f"{label}_rows"] = int(rows.sum())
        empty = any(len(group) < 2 for group in groups)
        found[label] = math.nan if empty else float(np.mean([g.mean() for g in groups]))
        variance += (
            math.nan if empty else sum(g.var(ddof=1) / len(g) for g in groups) / len(groups) ** 2
        )
    half = norm.ppf((1 + level) / 2) * math.sqrt(variance)
    difference = sign * (found["exposed"] - found["other"])
    return {**found, "difference": difference, "low": difference - half, "high": difference + half}


def _in_order(part: pd.DataFrame, place: pd.Series, what: str) -> np.ndarray:
    """Give predictions in the order of the table; NaN where there is none."""
    ids = part["id"]
    if not ids.isin(place.index).all():
        raise InputError(f"{what}: {ids[~ids.isin(place.index)].iloc[0]!r} is no id of the task.")
    if ids.duplicated().any():
        raise InputError(f"{what}: {ids[ids.duplicated()].iloc[0]} is predicted twice.")
    numbers = pd.to_numeric(part["prediction"].astype(float))
    if not np.isfinite(numbers).all():
        row = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise InputError(f"{what}: the prediction of {ids.iloc[row]} is {numbers.iloc[row]}.")
    values = np.full(len(place), math.nan)
    values[place[ids].to_numpy()] = numbers
    return values
