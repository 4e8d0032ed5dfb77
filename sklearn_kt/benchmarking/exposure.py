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
from numbers import Real
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
        Of pandas or polars: a row for each prediction, with the columns ``model``, ``task`` (of
        :data:`~sklearn_kt.benchmarking.COMPOSITION_TASKS`), ``id`` (such as
        ``"mb-glass-0001"``) and ``prediction``: of tasks with numbers a number; of those with
        classes a label (True or False, also as text) or the probability of True, from 0 to 1.
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
        ``matbench_steels``, to which no way applies, has no row.

    Raises
    ------
    InputError
        If there is no prediction, or none of a task to which a way applies; a column or a cell
        is missing, a task or an id is unknown, or a row is predicted twice; a prediction is not
        a finite number or, of classes, neither a label nor a probability; or ``level`` is not
        between 0 and 1.
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
    if not isinstance(level, Real) or not 0 < float(level) < 1:
        raise InputError(f"level must lie between 0 and 1, such as 0.95, got {level!r}.")
    frame = _checked(predictions)
    names = list(dict.fromkeys(frame["task"]))
    rows = []
    for task in matbench_tasks(names, data_dir):
        exposed = find_exposed(task, data_dir)
        place = pd.Series(range(len(task.ids)), index=task.ids)
        of_task = frame[frame["task"] == task.name]
        for model, part in of_task.groupby("model", sort=False):
            values = _in_order(part, place, task.kind, f"{model}, {task.name}")
            known = ~np.isnan(values)
            for way, flags in exposed.items():
                found = compare_exposed(
                    task.kind, task.y[known], values[known], flags[known], level
                )
                rows.append({"model": model, "task": task.name, "exposure": way, **found})
    if not rows:
        raise InputError(
            f"no label of {', '.join(names)} could have been seen in a way that is known, so that "
            "there is nothing to compare: give predictions of another task."
        )
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


def _checked(predictions: Any) -> pd.DataFrame:
    """Give a frame of pandas with the columns asked for, its rows by number."""
    frame = predictions.to_pandas() if hasattr(predictions, "to_pandas") else predictions
    if not isinstance(frame, pd.DataFrame):
        raise InputError(
            "predictions must be a DataFrame of pandas or polars, got "
            f"{type(predictions).__name__}."
        )
    missing = [name for name in _COLUMNS if name not in frame]
    if missing:
        raise InputError(
            f"predictions need the columns {', '.join(_COLUMNS)}; {missing[0]!r} is missing."
        )
    if frame.empty:
        raise InputError("predictions has no rows: give one for each prediction.")
    frame = frame[[*_COLUMNS]].reset_index(drop=True)
    for name in _COLUMNS:
        gaps = frame[name].isna()
        if gaps.any():
            row = int(gaps.idxmax())
            raise InputError(
                f"row {row}: the {name} is {frame[name][row]}; fill it in or leave the row out."
            )
    unknown = ~frame["task"].isin(COMPOSITION_TASKS)
    if unknown.any():
        row = int(unknown.idxmax())
        raise InputError(
            f"row {row}: {frame['task'][row]!r} is none of the composition tasks: "
            f"{', '.join(COMPOSITION_TASKS)}."
        )
    return frame


def _in_order(part: pd.DataFrame, place: pd.Series, kind: str, what: str) -> np.ndarray:
    """Give predictions in the order of the table; NaN where there is none."""
    ids = part["id"]
    unknown, twice = ~ids.isin(place.index), ids.duplicated()
    if unknown.any():
        row = unknown.idxmax()
        raise InputError(
            f"row {row}: {what}: {ids[row]!r} is no id of the task, such as {place.index[0]!r}."
        )
    if twice.any():
        row = twice.idxmax()
        raise InputError(f"row {row}: {what}: {ids[row]} is predicted twice; keep one of them.")
    read, wanted = (
        (_number, "a finite number")
        if kind == "regression"
        else (_probability, "True, False, or the probability of True, from 0 to 1")
    )
    values = np.full(len(place), math.nan)
    for row, name, value in zip(part.index, ids, part["prediction"], strict=True):
        number = read(value)
        if math.isnan(number):
            raise InputError(
                f"row {row}: {what}: the prediction of {name} is {value!r}; it must be {wanted}."
            )
        values[place[name]] = number
    return values


def _number(value: Any) -> float:
    """Read a finite number; NaN for anything else."""
    if isinstance(value, bool | np.bool_):
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _probability(value: Any) -> float:
    """Read a label, or a probability of True; NaN for anything else."""
    if isinstance(value, bool | np.bool_) or str(value) in ("True", "False"):
        return float(str(value) == "True")
    number = _number(value)
    return number if 0 <= number <= 1 else math.nan
