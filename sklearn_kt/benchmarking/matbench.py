"""MatBench v0.1: any scikit-learn estimator on the official folds.

:func:`run_matbench` runs estimators on the tasks, with the objects of the package
``matbench`` or without it, and writes the official results file;
:func:`rescore_matbench` computes the scores of such a file anew from its predictions;
:func:`leaderboard` puts results beside those of published submissions.

Notes
-----
``matbench`` 0.6 pins versions of 2022 and cannot be installed by a resolver; ``pip install
--no-deps matbench==0.6`` works, and is needed only for submitting. Its folds are those
of :func:`sklearn_kt.datasets.load_matbench`, row by row.

Structure tasks are run by composition: a model sees the formula of the full cell.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.base import is_classifier, is_regressor

from sklearn_kt._files import replacing
from sklearn_kt.compositions import read_compositions
from sklearn_kt.datasets import MATBENCH_TASKS, data_home, load_matbench
from sklearn_kt.evaluation import plain
from sklearn_kt.exceptions import DatasetError, InputError, PretrainingOverlapWarning

from .audit import CompositionPool, Relation
from .protocol import run_benchmark
from .runner import (
    BenchmarkResult,
    BenchmarkTask,
    FoldRecord,
    Model,
    named_models,
    score_predictions,
    score_record,
)

__all__ = [
    "COMPOSITION_TASKS",
    "MatbenchResult",
    "leaderboard",
    "matbench_task",
    "read_leaderboard",
    "rescore_matbench",
    "run_matbench",
]

COMPOSITION_TASKS: tuple[str, ...] = tuple(
    name for name, spec in MATBENCH_TASKS.items() if not spec.has_structures
)
"""The four tasks whose official input is a formula."""

_BENCHMARK = "matbench_v0.1"
# of the package whose results files these are
_VERSION = "0.6"
_RESULTS = "results.json.gz"
# the score that the official leaderboard ranks by, and its name in the official files
_HEADLINE = {"regression": "mae", "classification": "roc_auc_of_labels"}
_OFFICIAL = {
    "regression": {"mae": "mae", "rmse": "rmse", "mape": "mape", "max_error": "max_error"},
    "classification": {
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced_accuracy",
        "f1": "f1",
        "rocauc": "roc_auc_of_labels",
    },
}
_QUANTITIES = {
    "matbench_expt_gap": "band gap",
    "matbench_expt_is_metal": "metallicity",
    "matbench_phonons": "last phonon peak",
    "matbench_dielectric": "refractive index",
    "matbench_log_gvrh": "shear modulus",
    "matbench_log_kvrh": "bulk modulus",
    "matbench_perovskites": "perovskite heat of formation",
    "matbench_mp_gap": "band gap",
    "matbench_mp_is_metal": "metallicity",
    "matbench_mp_e_form": "formation energy",
}

RELATIONS = (
    Relation(
        "matbench_expt_gap",
        "matbench_expt_is_metal",
        "every composition of matbench_expt_gap is in matbench_expt_is_metal with is_metal equal "
        "to (gap == 0), and the folds differ",
    ),
    Relation(
        "matbench_mp_gap",
        "matbench_mp_is_metal",
        "the two have the same materials, with is_metal equal to (gap == 0)",
    ),
    Relation("matbench_log_gvrh", "matbench_log_kvrh", "the two have the same materials"),
)
"""Tasks whose labels are in the tables of other tasks."""

_LEADERBOARD = "leaderboard_scores.csv"
_COLUMNS = {"algorithm", "task", "fold"}
# two-sided 95 %
_INTERVAL = float(norm.ppf(0.975))


@dataclass
class MatbenchResult(BenchmarkResult):
    """What :func:`run_matbench` returns.

    Parameters
    ----------
    benchmark : str
        ``"matbench"``.
    tasks : dict of str to BenchmarkTask
        The tables.
    records : list of FoldRecord
        One per model, task and fold.
    audit : dict
        What :func:`~sklearn_kt.benchmarking.audit.audit_tasks` found.
    unseen : dict of str to bool ndarray
        Rows whose formula the pretraining pool does not have, by task.
    metadata : dict
        What the user says about the algorithms.
    """

    metadata: dict[str, Any] = field(default_factory=dict)

    def official(self, model: str | None = None) -> dict[str, Any]:
        """Content of the official results file.

        Parameters
        ----------
        model : str or None, default=None
            Name of the model; may be left out when there is one.

        Returns
        -------
        content : dict
            What ``matbench.bench.MatbenchBenchmark.from_dict`` reads.

        Raises
        ------
        InputError
            If the model is unknown, or a fold of a task is missing.
        """
        if model is None and len(self.models) == 1:
            model = self.models[0]
        if model not in self.models:
            raise InputError(f"model must be one of {', '.join(self.models)}; got {model!r}.")
        results: dict[str, Any] = {}
        for record in self.records:
            if record.model == model:
                results.setdefault(record.task, {})[f"fold_{record.fold}"] = _official_fold(
                    record, self.tasks[record.task]
                )
        for name, recorded in results.items():
            missing = sorted({f"fold_{number}" for number in range(5)} - set(recorded))
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
                "user_metadata": self.user_metadata(model),
            }
        )
        return {**content, "hash": _official_hash(content)}

    def user_metadata(self, model: str) -> dict[str, Any]:
        """Say about a model what the official file says, the audit among it.

        Parameters
        ----------
        model : str
            Name of the model.

        Returns
        -------
        metadata : dict
            Of plain Python values.
        """
        estimators = {r.task: r.estimator for r in self.records if r.model == model}
        versions = next(r.versions for r in self.records if r.model == model)
        said = {"algorithm": model, "estimators": estimators, "versions": versions}
        return plain({**said, "audit": self.audit, **self.metadata})

    def write_official(self, path: str | os.PathLike[str], model: str | None = None) -> None:
        """Write the official results file, in one piece.

        Plain JSON under any name, as matbench 0.6 writes and reads it.

        Parameters
        ----------
        path : path-like
            Usually ``results.json.gz``.
        model : str or None, default=None
            Name of the model; may be left out when there is one.
        """
        content = json.dumps(self.official(model))
        with replacing(path) as part:
            part.write_bytes(content.encode("utf-8"))


def matbench_task(
    name: str, data_dir: str | os.PathLike[str] | None = None, *, download: bool = False
) -> BenchmarkTask:
    """Load a task of MatBench v0.1 as a table with its official folds.

    Parameters
    ----------
    name : str
        One of :data:`~sklearn_kt.datasets.MATBENCH_TASKS`.
    data_dir : path-like or None, default=None
        As for :func:`~sklearn_kt.datasets.load_matbench`.
    download : bool, default=False
        As for :func:`~sklearn_kt.datasets.load_matbench`.

    Returns
    -------
    task : BenchmarkTask
        Rows in the official order, with the official ids.

    Raises
    ------
    DatasetError
        If no file is found, or the file is not the official table.

    Examples
    --------
    >>> from sklearn_kt.benchmarking import matbench_task
    >>> matbench_task("matbench_steels", "no/such/folder")
    Traceback (most recent call last):
        ...
    sklearn_kt.exceptions.DatasetError: None of matbench_steels.csv, ...
    """
    with warnings.catch_warnings():
        # the audit tells it for the models that it concerns
        warnings.simplefilter("ignore", PretrainingOverlapWarning)
        data: Any = load_matbench(name, data_dir, download=download)
    spec = MATBENCH_TASKS[name]
    return BenchmarkTask(
        name,
        spec.kind,
        data.data,
        data.target,
        data.frame["mbid"].to_numpy(dtype=object),
        dict(enumerate(data.folds)),
        target=spec.target,
        unit=spec.unit,
        quantity=_QUANTITIES.get(name),
    )


def run_matbench(
    estimator: Model | Mapping[str, Model],
    tasks: str | Iterable[str] | None = None,
    *,
    benchmark: Any = None,
    data_dir: str | os.PathLike[str] | None = None,
    folds: Iterable[int] | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    pool: CompositionPool | str | os.PathLike[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    command: str | None = None,
    random_state: int | None = 0,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> MatbenchResult:
    """Run estimators on MatBench v0.1.

    Parameters
    ----------
    estimator : estimator, str, callable, or mapping of str to these
        An estimator that reads formulas (it is cloned for each fold); or a name of
        :data:`sklearn_kt.evaluation.MODELS`; or a function that takes the task kind,
        ``"regression"`` or ``"classification"``, and returns an estimator; or several of
        these by name.
    tasks : str, iterable of str or None, default=None
        Names of tasks. None runs those of `benchmark`, else those of
        :data:`COMPOSITION_TASKS` that all estimators suit.
    benchmark : matbench.bench.MatbenchBenchmark or None, default=None
        The official object, to which the predictions are recorded; then `estimator` is
        one estimator and all folds are run. Tasks that are not loaded get their table
        from `data_dir`, without network and without structures.
    data_dir : path-like or None, default=None
        Folder of the tables, as for :func:`~sklearn_kt.datasets.load_matbench`.
    folds : iterable of int or None, default=None
        Numbers of the folds, 0 to 4; None runs all.
    output_dir : path-like or None, default=None
        Folder that keeps each fold's predictions at once, in ``folds/``; a run that was
        stopped goes on from there. At the end it gets ``matbench.json`` (scores, audit,
        versions) and, for each model with all folds, the official
        ``<model>/results.json.gz``.
    pool : CompositionPool, path-like or None, default=None
        Compositions that the models were pretrained on, for the audit. None takes
        ``pool.npz`` in the folders of the checkpoints that the models start from.
    metadata : mapping or None, default=None
        Said about the algorithms in the official file; of plain Python values.
    command : str or None, default=None
        The command that made the result; kept in ``matbench.json``.
    random_state : int or None, default=0
        Seed of models given by name.
    n_jobs : int or None, default=None
        Folds that run at the same time, with joblib.
    verbose : int, default=0
        If positive, show progress on stderr.

    Returns
    -------
    result : MatbenchResult
        Predictions, scores and audit.

    Raises
    ------
    DatasetError
        If a table is missing or not the official one.
    InputError
        If an estimator does not suit a task, or `output_dir` holds the results of another
        model under the same name.

    See Also
    --------
    rescore_matbench : Scores an official results file.
    leaderboard : Compares with published submissions.

    Notes
    -----
    To submit, a folder of the matbench repository needs ``results.json.gz``, the code, and
    an ``info.json`` about the authors.

    References
    ----------
    A. Dunn, Q. Wang, A. Ganose, D. Dopp and A. Jain, "Benchmarking materials property
    prediction methods: the Matbench test set and Automatminer reference algorithm",
    npj Comput. Mater. 6, 138 (2020). https://doi.org/10.1038/s41524-020-00406-3

    Examples
    --------
    >>> from sklearn_kt.benchmarking import run_matbench
    >>> result = run_matbench(  # doctest: +SKIP
    ...     "rf-magpie", ["matbench_steels"], output_dir="steels", n_jobs=2, verbose=1
    ... )
    >>> result.summary()[["model", "task", "mae", "mae_std"]]  # doctest: +SKIP
    """
    models = named_models(estimator)
    if benchmark is None:
        loaded = [matbench_task(name, data_dir) for name in _task_names(tasks, models)]
    else:
        if len(models) > 1:
            raise InputError(
                "A MatbenchBenchmark holds the predictions of one algorithm: pass one estimator."
            )
        if folds is not None:
            raise InputError("folds= and benchmark= do not go together: the object needs all.")
        loaded = [_from_official(task, data_dir) for task in _official_tasks(benchmark, tasks)]
    done = run_benchmark(
        "matbench",
        models,
        loaded,
        folds=folds,
        output_dir=output_dir,
        pool=pool,
        relations=RELATIONS,
        siblings=sibling_tasks(loaded, data_dir),
        command=command,
        random_state=random_state,
        n_jobs=n_jobs,
        verbose=verbose,
    )
    result = MatbenchResult(**vars(done), metadata=dict(metadata or {}))
    if benchmark is not None:
        _record_all(benchmark, result)
    if output_dir is not None:
        for name in models:
            if folds is None or set(folds) >= set(range(5)):
                folder = Path(output_dir) / name
                folder.mkdir(exist_ok=True)
                result.write_official(folder / _RESULTS, name)
    return result


def rescore_matbench(
    path: str | os.PathLike[str], data_dir: str | os.PathLike[str] | None = None
) -> pd.DataFrame:
    """Compute the scores of an official results file from its predictions.

    Parameters
    ----------
    path : path-like
        ``results.json.gz`` of :func:`run_matbench`, of matbench, or of a published submission.
    data_dir : path-like or None, default=None
        Folder of the tables, as for :func:`~sklearn_kt.datasets.load_matbench`.

    Returns
    -------
    frame : DataFrame
        Columns ``task``, ``fold``, the scores of
        :data:`~sklearn_kt.benchmarking.runner.SCORES`, and the recorded ones as
        ``recorded_<name>`` under matbench's own names.

    Raises
    ------
    DatasetError
        If the file cannot be read or its ids are not those of the official folds.

    Examples
    --------
    >>> from sklearn_kt.benchmarking import rescore_matbench
    >>> frame = rescore_matbench("steels/rf-magpie/results.json.gz")  # doctest: +SKIP
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        recorded = {name: task["results"] for name, task in content["tasks"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path} is not an official results file: {error}") from error
    rows = []
    for name, results in recorded.items():
        task = matbench_task(name, data_dir)
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
                probabilities, values = values, values > 0.5
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


def read_leaderboard(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read recorded scores of published submissions.

    Parameters
    ----------
    path : path-like
        A CSV file with the columns ``algorithm``, ``task``, ``fold`` and the scores under
        matbench's names (``mae``, ``rmse``, ``mape``, ``max_error``, ``accuracy``,
        ``balanced_accuracy``, ``f1``, ``rocauc``); or a folder with such a file named
        ``leaderboard_scores.csv``.

    Returns
    -------
    frame : DataFrame
        Columns ``model``, ``task``, ``fold`` and the scores under the names of
        :data:`~sklearn_kt.benchmarking.runner.SCORES`: matbench's "rocauc" is
        ``roc_auc_of_labels``.

    Raises
    ------
    DatasetError
        If the file is missing or has other columns.

    Examples
    --------
    >>> from sklearn_kt.benchmarking import read_leaderboard
    >>> read_leaderboard("no/such/folder")
    Traceback (most recent call last):
        ...
    sklearn_kt.exceptions.DatasetError: no/such/folder cannot be read: ...
    """
    path = Path(path)
    if path.is_dir():
        path = path / _LEADERBOARD
    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    missing = sorted(_COLUMNS - set(frame.columns))
    if missing:
        raise DatasetError(f"{path} has no column {missing[0]!r}; its columns are {list(frame)}.")
    return frame.rename(columns={"algorithm": "model", "rocauc": "roc_auc_of_labels"})


def find_leaderboard(data_dir: str | os.PathLike[str] | None) -> Path | None:
    """Find recorded scores beside the tables; None where there are none."""
    home = data_dir or data_home()
    if home is None:
        return None
    for path in (Path(home) / _LEADERBOARD, Path(home) / "matbench" / _LEADERBOARD):
        if path.is_file():
            return path
    return None


def leaderboard(
    result: BenchmarkResult | None, published: pd.DataFrame | None, task: str
) -> pd.DataFrame:
    """Rank our models among published submissions of one task.

    Parameters
    ----------
    result : BenchmarkResult or None
        Our results; models without all of the task's five folds are left to a row without
        a rank.
    published : DataFrame or None
        Of :func:`read_leaderboard`.
    task : str
        Name of the task.

    Returns
    -------
    frame : DataFrame
        Sorted by the score that the official leaderboard sorts by: the MAE, or the ROC AUC of
        labels. Columns ``rank``, ``model``, ``ours`` (bool), ``n_folds``, and mean and
        (population) standard deviation over the folds of each score. Published
        submissions have no ``roc_auc``: their files mostly hold labels.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_kt.benchmarking import leaderboard
    >>> published = pd.DataFrame(
    ...     {"model": ["a", "b"], "task": "matbench_steels", "fold": 0, "mae": [90.0, 80.0]}
    ... )
    >>> leaderboard(None, published, "matbench_steels")[["rank", "model", "mae"]]
       rank model   mae
    0     1     b  80.0
    1     2     a  90.0
    """
    spec = MATBENCH_TASKS[task]
    parts = []
    if published is not None:
        parts.append(published[published["task"] == task].assign(ours=False))
    if result is not None:
        ours = result.to_frame()
        parts.append(ours[ours["task"] == task].assign(ours=True))
    if not parts:
        raise InputError("Neither our results nor published scores were given.")
    frame = pd.concat(parts, ignore_index=True)
    if frame.empty:
        raise InputError(f"No scores of {task} were given.")
    names = [
        name
        for name in (
            ("mae", "rmse")
            if spec.kind == "regression"
            else ("roc_auc_of_labels", "roc_auc", "f1", "accuracy")
        )
        if name in frame
    ]
    grouped = frame.groupby(["model", "ours"], sort=False)
    table = grouped[names].mean().join(grouped[names].std(ddof=0).add_suffix("_std"))
    table.insert(0, "n_folds", grouped.size())
    ascending = spec.kind == "regression"
    table = table.reset_index().sort_values(
        _HEADLINE[spec.kind], ascending=ascending, kind="stable", ignore_index=True
    )
    complete = table["n_folds"] == table["n_folds"].max()
    table.insert(0, "rank", complete.cumsum().where(complete).astype("Int64"))
    return table


def _task_names(tasks: str | Iterable[str] | None, models: Mapping[str, Model]) -> Sequence[str]:
    if tasks is None:
        return [
            name
            for name in COMPOSITION_TASKS
            if not any(_unsuitable(model, MATBENCH_TASKS[name].kind) for model in models.values())
        ]
    return [tasks] if isinstance(tasks, str) else list(tasks)


def sibling_tasks(
    tasks: Sequence[BenchmarkTask], data_dir: str | os.PathLike[str] | None
) -> dict[str, BenchmarkTask]:
    """Load tables that are not run, but give the answers of one that is away."""
    names = {task.name for task in tasks}
    related = {relation.other_of(name) for relation in RELATIONS for name in names}
    found = {}
    for name in sorted(other for other in related - names if other is not None):
        # without its table the audit says that it was not checked
        with contextlib.suppress(DatasetError):
            found[name] = matbench_task(name, data_dir)
    return found


def _unsuitable(model: Model, kind: str) -> bool:
    if isinstance(model, type) or not hasattr(model, "fit"):
        return False
    return is_regressor(model) if kind == "classification" else is_classifier(model)


def _official_tasks(benchmark: Any, tasks: str | Iterable[str] | None) -> list[Any]:
    available = {task.dataset_name: task for task in benchmark.tasks}
    names = list(available) if tasks is None else _task_names(tasks, {})
    for name in names:
        if name not in available:
            raise InputError(f"{name} is not in the benchmark, which has {', '.join(available)}.")
        done = [fold for fold, recorded in available[name].is_recorded.items() if recorded]
        if done:
            raise InputError(
                f"Fold {done[0]} of {name} is already recorded in the benchmark, and matbench "
                "ignores a second recording: pass a new MatbenchBenchmark. With output_dir= folds "
                "that were run before are not run again."
            )
    return [available[name] for name in names]


def _from_official(task: Any, data_dir: str | os.PathLike[str] | None) -> BenchmarkTask:
    """Read a task through matbench's fold API; give it its table if it has none."""
    name, metadata = task.dataset_name, task.metadata
    if task.df is None:
        own = matbench_task(name, data_dir)
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
    return BenchmarkTask(
        name,
        kind,
        _formulas(task.df[metadata.input_type]),
        task.df[metadata.target].to_numpy(dtype=bool if kind == "classification" else np.float64),
        ids,
        folds,
        target=metadata.target,
        unit=MATBENCH_TASKS[name].unit,
        quantity=_QUANTITIES.get(name),
    )


def _formulas(inputs: pd.Series) -> np.ndarray:
    """Formulas of strings, compositions or structures."""
    formulas = np.empty(len(inputs), dtype=object)
    formulas[:] = [getattr(value, "composition", value) for value in inputs]
    others = [row for row, value in enumerate(formulas) if not isinstance(value, str)]
    if others:
        formulas[others] = read_compositions([formulas[row] for row in others]).formulas()
    return formulas


def _record_all(benchmark: Any, result: MatbenchResult) -> None:
    """Record predictions to matbench's own object, in the types that it can write."""
    official = {task.dataset_name: task for task in benchmark.tasks}
    for record in result.records:
        std = _usable_std(record)
        official[record.task].record(
            record.fold,
            _official_predictions(record),
            std=None if std is None else std.tolist(),
            params={"estimator": record.estimator},
        )
    benchmark.add_metadata(result.user_metadata(result.models[0]))


def _usable_std(record: FoldRecord) -> np.ndarray | None:
    """Return standard deviations that give intervals: matbench can write no others."""
    std = record.std
    return std if std is not None and (np.isfinite(std) & (std > 0)).all() else None


def _official_predictions(record: FoldRecord) -> list[float] | list[bool]:
    """Probabilities where matbench, which cuts them at 0.5, reads the model's labels from them."""
    values = record.probabilities
    if values is None or ((values > 0.5) != record.predictions).any():
        values = record.predictions
    return values.tolist()


def _official_fold(record: FoldRecord, task: BenchmarkTask) -> dict[str, Any]:
    ids = task.ids[task.folds[record.fold][1]]
    scores = score_record(record, task)
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
