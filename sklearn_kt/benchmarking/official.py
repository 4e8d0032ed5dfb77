"""The official files of MatBench v0.1: written, recorded to its own objects, scored anew.

To submit, a folder of the matbench repository needs ``results.json.gz`` of
:func:`write_official`, the code, and an ``info.json`` about the authors.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from sklearn_kt._files import replacing
from sklearn_kt.compositions import read_compositions
from sklearn_kt.datasets import MATBENCH_TASKS
from sklearn_kt.evaluation import EvaluationResult, FoldRecord, Task, score_predictions
from sklearn_kt.evaluation.result import plain
from sklearn_kt.exceptions import DatasetError, InputError

from .matbench import QUANTITY_OF, matbench_tasks, siblings_of

__all__ = [
    "complete_models",
    "official_results",
    "official_tasks",
    "record_official",
    "rescore_official",
    "write_official",
]

_BENCHMARK = "matbench_v0.1"
# of the package whose results files these are
_VERSION = "0.6"
_N_FOLDS = 5
# what the official files call the scores
_OFFICIAL = {
    "regression": {"mae": "mae", "rmse": "rmse", "mape": "mape", "max_error": "max_error"},
    "classification": {
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced_accuracy",
        "f1": "f1",
        "rocauc": "roc_auc_of_labels",
    },
}
# two-sided 95 %
_INTERVAL = float(norm.ppf(0.975))


def official_results(
    result: EvaluationResult,
    model: str | None = None,
    *,
    metadata: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Make the content of the official results file.

    It is what ``matbench.bench.MatbenchBenchmark.from_dict`` reads; the parameters are those of
    :func:`write_official`.
    """
    model = _one_model(result, model)
    results: dict[str, Any] = {}
    for record in result.records:
        if record.model == model:
            results.setdefault(record.task, {})[f"fold_{record.fold}"] = _official_fold(
                record, result.tasks[record.task]
            )
    for name, recorded in results.items():
        missing = sorted({f"fold_{number}" for number in range(_N_FOLDS)} - set(recorded))
        if missing:
            raise InputError(
                f"{model} has no {', '.join(missing)} of {name}: an official file needs all."
            )
    content = plain(
        {
            "@module": "matbench.bench",
            "@class": "MatbenchBenchmark",
            "version": _VERSION,
            "benchmark_name": _BENCHMARK,
            "datestamp": datetime.now(UTC).strftime("%Y.%m.%d %H:%M.%S"),
            "tasks": {
                name: {
                    "@module": "matbench.task",
                    "@class": "MatbenchTask",
                    "benchmark_name": _BENCHMARK,
                    "dataset_name": name,
                    "results": recorded,
                }
                for name, recorded in results.items()
            },
            "user_metadata": _user_metadata(result, model, metadata),
        }
    )
    return {**content, "hash": _official_hash(content)}


def write_official(
    result: EvaluationResult,
    path: str | os.PathLike[str],
    model: str | None = None,
    *,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write the official results file, in one piece.

    Plain JSON under any name, as matbench 0.6 writes and reads it.

    Parameters
    ----------
    result : EvaluationResult
        Of tasks of :func:`matbench_tasks`.
    path : path-like
        Usually ``results.json.gz``.
    model : str or None, default=None
        Name of the model; may be left out when there is one.
    metadata : mapping or None, default=None
        Said about the algorithm; of plain Python values.

    Raises
    ------
    InputError
        If the model is unknown, or a fold of a task is missing.

    Examples
    --------
    >>> from sklearn_kt.benchmarking import write_official
    >>> write_official(result, "results.json.gz")  # doctest: +SKIP
    """
    content = json.dumps(official_results(result, model, metadata=metadata))
    with replacing(path) as part:
        part.write_bytes(content.encode("utf-8"))


def complete_models(result: EvaluationResult) -> list[str]:
    """Models with all five folds of every task that they have run on."""
    done = result.to_frame().groupby(["model", "task"]).size().groupby("model").min()
    return [model for model in result.models if done[model] == _N_FOLDS]


def official_tasks(
    benchmark: Any,
    names: str | Iterable[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> list[Task]:
    """Read tasks through the fold API of the package ``matbench``.

    Parameters
    ----------
    benchmark : matbench.bench.MatbenchBenchmark
        The official object. Tasks that are not loaded get their table from `data_dir`,
        without network and without structures.
    names : str, iterable of str or None, default=None
        Names of its tasks; None takes all.
    data_dir : path-like or None, default=None
        As for :func:`~sklearn_kt.datasets.load_matbench`.

    Returns
    -------
    tasks : list of Task
        In the rows and folds of the object.

    Raises
    ------
    InputError
        If a task is not in the benchmark, or a fold of it is recorded already.

    Examples
    --------
    >>> from sklearn_kt.benchmarking import official_tasks, record_official
    >>> from sklearn_kt.evaluation import evaluate
    >>> result = evaluate("rf-magpie", official_tasks(benchmark))  # doctest: +SKIP
    >>> record_official(benchmark, result)  # doctest: +SKIP
    """
    available = {task.dataset_name: task for task in benchmark.tasks}
    chosen = available if names is None else [names] if isinstance(names, str) else list(names)
    for name in chosen:
        if name not in available:
            raise InputError(f"{name} is not in the benchmark, which has {', '.join(available)}.")
        done = [fold for fold, recorded in available[name].is_recorded.items() if recorded]
        if done:
            raise InputError(
                f"Fold {done[0]} of {name} is already recorded in the benchmark, and matbench "
                "ignores a second recording: pass a new MatbenchBenchmark. With output_dir= folds "
                "that were run before are not run again."
            )
    return [_from_official(available[name], data_dir) for name in chosen]


def record_official(
    benchmark: Any, result: EvaluationResult, *, metadata: Mapping[str, Any] | None = None
) -> None:
    """Record predictions to matbench's own object, in the types that it can write.

    Parameters
    ----------
    benchmark : matbench.bench.MatbenchBenchmark
        The object of :func:`official_tasks`.
    result : EvaluationResult
        Of one model with all folds of those tasks.
    metadata : mapping or None, default=None
        Said about the algorithm; of plain Python values.

    Raises
    ------
    InputError
        If the result is of several models, or lacks a fold.

    Examples
    --------
    >>> from sklearn_kt.benchmarking import record_official
    >>> record_official(benchmark, result)  # doctest: +SKIP
    """
    if len(result.models) > 1:
        raise InputError(
            "A MatbenchBenchmark holds the predictions of one algorithm: pass a result of one "
            f"model, not of {', '.join(result.models)}."
        )
    if not complete_models(result):
        raise InputError("A MatbenchBenchmark needs all folds of each task.")
    official = {task.dataset_name: task for task in benchmark.tasks}
    for record in result.records:
        std = _usable_std(record)
        official[record.task].record(
            record.fold,
            _official_predictions(record),
            std=None if std is None else std.tolist(),
            params={"estimator": record.estimator},
        )
    benchmark.add_metadata(_user_metadata(result, result.models[0], metadata))


def rescore_official(
    path: str | os.PathLike[str], data_dir: str | os.PathLike[str] | None = None
) -> pd.DataFrame:
    """Compute the scores of an official results file from its predictions.

    Parameters
    ----------
    path : path-like
        ``results.json.gz`` of :func:`write_official`, of matbench, or of a published submission.
    data_dir : path-like or None, default=None
        Folder of the tables, as for :func:`~sklearn_kt.datasets.load_matbench`.

    Returns
    -------
    frame : DataFrame
        Columns ``task``, ``fold``, the scores of
        :data:`~sklearn_kt.evaluation.SCORES`, and the recorded ones as
        ``recorded_<name>`` under matbench's own names.

    Raises
    ------
    DatasetError
        If the file cannot be read or its ids are not those of the official folds.

    Examples
    --------
    >>> from sklearn_kt.benchmarking import rescore_official
    >>> frame = rescore_official("steels/results.json.gz")  # doctest: +SKIP
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        recorded = {name: task["results"] for name, task in content["tasks"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path} is not an official results file: {error}") from error
    rows = []
    for name, results in recorded.items():
        [task] = matbench_tasks(name, data_dir)
        for number, (_, test) in task.folds.items():
            data = results.get(f"fold_{number}", {}).get("data", {})
            wanted = task.ids[test]
            if set(data) != set(wanted):
                raise DatasetError(
                    f"{path}: the ids of {name}, fold {number}, are not those of the official fold."
                )
            values = np.array([data[row] for row in wanted])
            probabilities = None
            if task.kind == "classification" and values.dtype != bool:
                probabilities = np.column_stack([1 - values, values])
                values = values > 0.5
            scores = score_predictions(task.kind, task.y[test], values, probabilities)
            official = results[f"fold_{number}"]["scores"]
            rows.append(
                {
                    "task": name,
                    "fold": number,
                    **scores,
                    **{f"recorded_{key}": value for key, value in official.items()},
                }
            )
    return pd.DataFrame(rows)


def _one_model(result: EvaluationResult, model: str | None) -> str:
    if model is None and len(result.models) == 1:
        return result.models[0]
    if model not in result.models:
        raise InputError(f"model must be one of {', '.join(result.models)}; got {model!r}.")
    return model


def _user_metadata(
    result: EvaluationResult, model: str, metadata: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Say about a model what the official file says, the audit among it."""
    estimators = {r.task: r.estimator for r in result.records if r.model == model}
    versions = next(r.versions for r in result.records if r.model == model)
    said = {"algorithm": model, "estimators": estimators, "versions": versions}
    return plain({**said, "audit": result.audit, **(metadata or {})})


def _from_official(task: Any, data_dir: str | os.PathLike[str] | None) -> Task:
    """Read a task through matbench's fold API; give it its table if it has none."""
    name, metadata = task.dataset_name, task.metadata
    if task.df is None:
        [own] = matbench_tasks(name, data_dir)
        # what matbench's own load() makes, but for structures: their formulas stand for them
        columns = {metadata.input_type: own.formulas, metadata.target: own.y}
        task.df = pd.DataFrame(columns, index=pd.Index(own.ids, name="mbid"))
    ids = task.df.index.to_numpy(dtype=object)
    position = pd.Series(np.arange(len(ids)), index=ids)
    folds = {}
    for fold in task.folds:
        train, _ = task.get_train_and_val_data(fold)
        test = task.get_test_data(fold, include_target=False)
        folds[fold] = (
            position[train.index].to_numpy(dtype=np.int64),
            position[test.index].to_numpy(dtype=np.int64),
        )
    kind = metadata.task_type
    return Task(
        name,
        kind,
        _formulas(task.df[metadata.input_type]),
        task.df[metadata.target].to_numpy(dtype=bool if kind == "classification" else np.float64),
        ids,
        folds,
        target=metadata.target,
        unit=MATBENCH_TASKS[name].unit,
        quantity=QUANTITY_OF.get(name),
        siblings=siblings_of(name, data_dir),
    )


def _formulas(inputs: pd.Series) -> np.ndarray:
    """Formulas of strings, compositions or structures."""
    formulas = np.empty(len(inputs), dtype=object)
    formulas[:] = [getattr(value, "composition", value) for value in inputs]
    others = [row for row, value in enumerate(formulas) if not isinstance(value, str)]
    if others:
        formulas[others] = read_compositions([formulas[row] for row in others]).formulas()
    return formulas


def _usable_std(record: FoldRecord) -> np.ndarray | None:
    """Return standard deviations that give intervals: matbench can write no others."""
    std = record.std
    return std if std is not None and (np.isfinite(std) & (std > 0)).all() else None


def _official_predictions(record: FoldRecord) -> list[float] | list[bool]:
    """Probabilities where matbench, which cuts them at 0.5, reads the model's labels from them."""
    values = record.predictions
    if record.probabilities is not None:
        chances = record.probabilities[:, 1]
        if ((chances > 0.5) == record.predictions).all():
            values = chances
    return values.tolist()


def _official_fold(record: FoldRecord, task: Task) -> dict[str, Any]:
    ids = task.ids[task.folds[record.fold][1]]
    scores = record.score(task)
    uncertainty = None
    std_of = _usable_std(record)
    if std_of is not None:
        uncertainty = {
            row: {
                "ci_lower": mean - _INTERVAL * std,
                "ci_upper": mean + _INTERVAL * std,
                "std": std,
            }
            for row, mean, std in zip(
                ids, record.predictions.tolist(), std_of.tolist(), strict=True
            )
        }
    return {
        "data": dict(zip(ids, _official_predictions(record), strict=True)),
        "uncertainty": uncertainty,
        "parameters": {"estimator": record.estimator},
        "scores": {name: scores[own] for name, own in _OFFICIAL[task.kind].items()},
    }


def _official_hash(content: Mapping[str, Any]) -> str:
    """Hash that matbench checks: SHA-256 of the JSON text with sorted keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
