"""What models did on tasks: predictions, scores, audit."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from sklearn_kt._files import replacing
from sklearn_kt.compositions import composition_groups
from sklearn_kt.exceptions import InputError

from .records import FoldRecord
from .scores import SCORES
from .task import Task

__all__ = ["EvaluationResult", "summarize"]

_KEYS = ("model", "task", "fold", "n_train", "n_test")
_COLUMNS = (*_KEYS, *SCORES, "fit_seconds", "predict_seconds", "peak_mb")


@dataclass
class EvaluationResult:
    """Predictions and scores of models on the folds of tasks.

    Parameters
    ----------
    tasks : dict of str to Task
        The tables.
    records : list of FoldRecord
        One per model, task and fold.
    audit : dict
        What :func:`~sklearn_kt.evaluation.audit_tasks` found.
    unseen : dict of str to bool ndarray
        For each task the rows whose formula the pretraining pool does not have; empty
        when the pool is not known.

    Examples
    --------
    >>> from sklearn_kt.evaluation import evaluate, table_task
    >>> X, y = ["NaCl", "KCl", "LiF", "NaF"], [5.0, 4.0, 9.0, 8.0]
    >>> task = table_task(X, y, kind="regression", n_splits=2, name="gaps")
    >>> result = evaluate(["dummy"], task)
    >>> result.models, len(result.of("gaps", "dummy"))
    (['dummy'], 2)
    >>> result.to_frame()[["model", "task", "fold", "n_train", "n_test"]]
       model  task  fold  n_train  n_test
    0  dummy  gaps     0        2       2
    1  dummy  gaps     1        2       2
    """

    tasks: dict[str, Task]
    records: list[FoldRecord]
    audit: dict[str, Any] = field(default_factory=dict)
    unseen: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def models(self) -> list[str]:
        """Names of the models, in the order they were given."""
        return list(dict.fromkeys(record.model for record in self.records))

    def of(self, task: str, model: str) -> list[FoldRecord]:
        """Take the records of one model on one task.

        Parameters
        ----------
        task, model : str
            Names.

        Returns
        -------
        records : list of FoldRecord
            In the order of the folds.

        Raises
        ------
        InputError
            If there are none.
        """
        found = [r for r in self.records if (r.task, r.model) == (task, model)]
        if not found:
            raise InputError(
                f"{model!r} has no result on {task!r}; the models are {', '.join(self.models)}, "
                f"the tasks {', '.join(self.tasks)}."
            )
        return sorted(found, key=lambda record: record.fold)

    def to_frame(self, rows: str = "all") -> pd.DataFrame:
        """Scores, one row per model, task and fold.

        Parameters
        ----------
        rows : {"all", "unseen"}, default="all"
            Score all test rows, or those whose formula the pretraining pool does not have.

        Returns
        -------
        frame : DataFrame
            Columns ``model``, ``task``, ``fold``, ``n_train``, ``n_test``, the keys of
            :data:`~sklearn_kt.evaluation.SCORES`, ``fit_seconds``, ``predict_seconds`` and
            ``peak_mb``.

        Raises
        ------
        InputError
            If the unseen rows are asked for and no pool is known.
        """
        if rows not in ("all", "unseen"):
            raise InputError(f"rows must be 'all' or 'unseen', got {rows!r}.")
        if rows == "unseen" and not self.unseen:
            raise InputError(
                "The compositions of the pretraining pool are not known here, so no row can be "
                "called unseen; pass pool= to evaluate."
            )
        table = []
        for record in self.records:
            task = self.tasks[record.task]
            train, test = task.folds[record.fold]
            chosen = (
                self.unseen[record.task][test] if rows == "unseen" else np.ones(len(test), bool)
            )
            table.append(
                {
                    "model": record.model,
                    "task": record.task,
                    "fold": record.fold,
                    "n_train": len(train),
                    "n_test": int(chosen.sum()),
                    **record.score(task, chosen),
                    "fit_seconds": record.fit_seconds,
                    "predict_seconds": record.predict_seconds,
                    "peak_mb": record.peak_mb,
                }
            )
        frame = pd.DataFrame(table)
        return frame[[name for name in _COLUMNS if name in frame]]

    def summary(self, rows: str = "all") -> pd.DataFrame:
        """Means over the folds, one row per model and task.

        Parameters
        ----------
        rows : {"all", "unseen"}, default="all"
            As for :meth:`to_frame`.

        Returns
        -------
        frame : DataFrame
            Columns of :meth:`to_frame`, averaged (``n_train`` too, ``n_test`` summed), with
            ``n_folds`` and, for each score, its (population) standard deviation over the
            folds as ``<score>_std``.
        """
        return summarize(self.to_frame(rows))

    def predictions(self) -> pd.DataFrame:
        """Test rows with their predictions, one row per model, task, fold and test row.

        Returns
        -------
        frame : DataFrame
            Columns ``task``, ``model``, ``fold``, ``id``, ``formula``, ``true``, ``predicted``,
            ``std`` and ``probability`` (of the predicted class); NaN where a model gives none.
            After ``formula`` come the conditions of the tasks that have some.
        """
        parts = []
        for record in self.records:
            task = self.tasks[record.task]
            test = task.folds[record.fold][1]
            part = pd.DataFrame(
                {
                    "task": record.task,
                    "model": record.model,
                    "fold": record.fold,
                    "id": task.ids[test],
                    "formula": task.formulas[test],
                    "true": task.y[test],
                    "predicted": record.predictions,
                    "std": math.nan if record.std is None else record.std,
                    "probability": math.nan,
                }
            )
            if task.conditions is not None:
                place = part.columns.get_loc("true")
                for at, (name, values) in enumerate(task.conditions.items(), place):
                    label = f"condition {name}" if name in part else name
                    part.insert(at, label, values.to_numpy()[test])
            if record.probabilities is not None and task.classes is not None:
                columns = np.searchsorted(task.classes, record.predictions)
                part["probability"] = record.probabilities[np.arange(len(part)), columns]
            parts.append(part)
        return pd.concat(parts, ignore_index=True)

    def absolute_errors(self, task: str, model: str) -> tuple[np.ndarray, np.ndarray]:
        """Absolute errors of the test rows of a regression, and which compositions they have.

        Parameters
        ----------
        task, model : str
            Names.

        Returns
        -------
        errors : float64 ndarray of shape (n_test,)
            All folds one after the other.
        groups : int64 ndarray of shape (n_test,)
            A number for each composition.
        """
        about = self.tasks[task]
        test, predictions = self.test_rows(task, model)
        return np.abs(about.y[test] - predictions), composition_groups(about.formulas[test])

    def test_rows(self, task: str, model: str) -> tuple[np.ndarray, np.ndarray]:
        """Rows of a task that a model was tested on, and what it predicted for them.

        Parameters
        ----------
        task, model : str
            Names.

        Returns
        -------
        rows : int64 ndarray of shape (n_test,)
            Positions in the task, all folds one after the other.
        predictions : ndarray of shape (n_test,)
            Numbers, or classes.
        """
        records, folds = self.of(task, model), self.tasks[task].folds
        rows = np.concatenate([folds[record.fold][1] for record in records])
        return rows, np.concatenate([record.predictions for record in records])

    def to_dict(self, *, command: str | None = None) -> dict[str, Any]:
        """Everything but the predictions, as plain Python objects for :func:`json.dump`.

        Parameters
        ----------
        command : str or None, default=None
            The command that made the result.

        Returns
        -------
        content : dict
            Scores by fold and their means, on all and on unseen rows, the audit,
            estimators, versions and date. Values that are not finite are None.
        """
        estimators: dict[str, dict[str, str]] = {}
        for record in self.records:
            estimators.setdefault(record.model, {})[record.task] = record.estimator
        content = {
            "command": command,
            "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "versions": {record.model: record.versions for record in self.records},
            "estimators": estimators,
            "tasks": {
                name: {
                    "kind": task.kind,
                    "target": task.target,
                    "unit": task.unit,
                    "description": task.description,
                    "n_samples": len(task.y),
                    "classes": task.classes,
                    **task.notes,
                }
                for name, task in self.tasks.items()
            },
            "audit": self.audit,
            "summary": self.summary().to_dict("records"),
            "folds": self.to_frame().to_dict("records"),
        }
        if self.unseen:
            content["summary_unseen"] = self.summary("unseen").to_dict("records")
            content["folds_unseen"] = self.to_frame("unseen").to_dict("records")
        return plain(content)

    def write(self, path: str | os.PathLike[str], *, command: str | None = None) -> None:
        """Write :meth:`to_dict` as JSON, in one piece.

        Parameters
        ----------
        path : path-like
            The file.
        command : str or None, default=None
            The command that made the result.
        """
        content = json.dumps(self.to_dict(command=command), ensure_ascii=False, indent=1)
        with replacing(path) as part:
            part.write_bytes(content.encode("utf-8"))


def summarize(frame: pd.DataFrame) -> pd.DataFrame:
    """Average scores over the folds.

    Parameters
    ----------
    frame : DataFrame
        Of :meth:`EvaluationResult.to_frame`.

    Returns
    -------
    summary : DataFrame
        As of :meth:`EvaluationResult.summary`.
    """
    grouped = frame.groupby(["model", "task"], sort=False)
    means = grouped.mean(numeric_only=True).drop(columns="fold")
    means["n_test"] = grouped["n_test"].sum()
    means.insert(0, "n_folds", grouped.size())
    spread = grouped[[name for name in SCORES if name in frame]].std(ddof=0).add_suffix("_std")
    return means.join(spread).reset_index()


def plain(value: Any) -> Any:
    """Turn arrays and NumPy scalars into Python objects, and NaN into None."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
