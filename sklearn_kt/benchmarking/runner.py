"""Running models on fixed splits: one file per fold, so that a killed run goes on.

A :class:`BenchmarkTask` is a table with its official splits, :func:`run_tasks` fits
every model on every fold that has no file yet, and :class:`BenchmarkResult` holds
all predictions, scores and the audit. The benchmarks themselves are in the modules
beside this one.

Notes
-----
**What a model sees.** ``fit`` gets the formulas and targets of a fold's training
part, ``predict`` the formulas of its test part, and nothing else is passed: tuning,
early stopping and scaling of targets can only use training rows.

**Two rules for the ROC AUC.** MatBench (since 0.1) thresholds probabilities at 0.5
before it computes its "rocauc", and LLM4Mat-Bench's code rounds them; both are the AUC
of labels, which for two classes is the balanced accuracy. The AUC of the probabilities
is another, larger number. Both are given, as ``roc_auc_of_labels`` and ``roc_auc``.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import math
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.metrics import max_error, roc_auc_score

from sklearn_kt._files import DATA, replacing
from sklearn_kt._settings import own_settings
from sklearn_kt.evaluation import (
    METRICS,
    Fold,
    TaskKind,
    fit_and_predict,
    fold_metrics,
    library_versions,
    make_model,
    plain,
    progress,
)
from sklearn_kt.exceptions import DatasetError, InputError

__all__ = [
    "SCORES",
    "BenchmarkResult",
    "BenchmarkTask",
    "FoldRecord",
    "read_records",
    "run_tasks",
    "score_predictions",
]

SCORES: Mapping[str, Mapping[str, str]] = {
    "regression": {
        **METRICS["regression"],
        "mape": "MAPE",
        "max_error": "max. error",
        "mad_mae": "MAD:MAE",
    },
    "classification": {
        "roc_auc": "ROC AUC",
        "roc_auc_of_labels": "ROC AUC of labels",
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced accuracy",
        "f1": "F1",
    },
}
"""Scores of a fold by task kind, with the names shown in tables."""

_FORMAT = 1
_RECORDS = "folds"
# names become file names
_NAME = re.compile(r"\w[\w.+-]*")
# MatBench leaves targets nearer to zero out of its MAPE
_MAPE_MIN = 1e-5
_READ_ERRORS = (OSError, EOFError, zlib.error, UnicodeDecodeError, ValueError, KeyError, TypeError)

Model: TypeAlias = str | BaseEstimator | Callable[[TaskKind], BaseEstimator]


@dataclass(frozen=True, eq=False)
class BenchmarkTask:
    """A table with fixed splits.

    Parameters
    ----------
    name : str
        Used in tables and file names.
    kind : {"regression", "classification"}
        What is predicted; classes are False and True.
    formulas : object ndarray of shape (n_samples,)
        Compositions, as models read them.
    y : ndarray of shape (n_samples,)
        Targets: float64, or bool.
    ids : object ndarray of shape (n_samples,)
        Distinct names of the rows.
    folds : dict of int to (train, test) pairs of int64 ndarray
        Row positions by the official number of the fold.
    target : str, default=""
        Name of the target.
    unit : str, default=""
        Unit of the target.
    quantity : str or None, default=None
        What is predicted, in the words of :mod:`sklearn_kt.benchmarking.audit`.
    notes : mapping, default={}
        What else a result should say about the table; of plain Python values.
    """

    name: str
    kind: TaskKind
    formulas: np.ndarray
    y: np.ndarray
    ids: np.ndarray
    folds: Mapping[int, Fold]
    target: str = ""
    unit: str = ""
    quantity: str | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not len(self.formulas) == len(self.y) == len(self.ids) == len(set(self.ids)):
            raise DatasetError(f"{self.name}: formulas, targets and distinct ids differ in number.")
        for number, (train, test) in self.folds.items():
            if len(train) == 0 or len(test) == 0 or len(np.intersect1d(train, test)):
                raise DatasetError(
                    f"{self.name}, fold {number}: train and test must be disjoint and not empty."
                )

    def digest(self, fold: int) -> str:
        """Hash of everything that a fold's result depends on.

        Parameters
        ----------
        fold : int
            Number of the fold.

        Returns
        -------
        digest : str
            SHA-256 of ids, formulas, targets and split.
        """
        digest = hashlib.sha256(repr((self.name, self.kind)).encode())
        digest.update("\n".join(map(str, self.ids)).encode())
        digest.update("\n".join(map(str, self.formulas)).encode())
        digest.update(np.ascontiguousarray(self.y, dtype=np.float64).tobytes())
        for part in self.folds[fold]:
            digest.update(np.ascontiguousarray(part, dtype=np.int64).tobytes())
        return digest.hexdigest()


@dataclass
class FoldRecord:
    """Predictions of one model on one fold, as they are kept in a file.

    Parameters
    ----------
    model, task : str
        Names.
    fold : int
        Number of the fold.
    estimator : str
        The estimator with its parameters, and the hashes of the weights it starts from.
    digest : str
        Of the task and fold.
    predictions : ndarray of shape (n_test,)
        Numbers, or bool, in the order of the fold's test part.
    std : float64 ndarray of shape (n_test,) or None
        Predicted standard deviations.
    probabilities : float64 ndarray of shape (n_test,) or None
        Probability of True.
    fit_seconds, predict_seconds : float
        Wall clock.
    peak_mb : float or None
        Most memory held while fitting and predicting, in MB; None where unknown.
    n_jobs : int
        Folds that ran at the same time, which slows each of them down.
    date : str
        When it was made, in UTC.
    versions : dict of str to str
        Versions of Python and the packages, and the machine.
    """

    model: str
    task: str
    fold: int
    estimator: str
    digest: str
    predictions: np.ndarray
    std: np.ndarray | None
    probabilities: np.ndarray | None
    fit_seconds: float
    predict_seconds: float
    peak_mb: float | None
    n_jobs: int
    date: str
    versions: dict[str, str]

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write a gzipped JSON file, in one piece.

        Parameters
        ----------
        path : path-like
            The file; it appears when it is complete.
        """
        content = json.dumps({"format": _FORMAT, **plain(asdict(self))}, ensure_ascii=False)
        with replacing(path) as part:
            part.write_bytes(gzip.compress(content.encode("utf-8"), mtime=0))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> FoldRecord:
        """Read a file written by :meth:`write`.

        Parameters
        ----------
        path : path-like
            The file.

        Returns
        -------
        record : FoldRecord
            As it was written.

        Raises
        ------
        DatasetError
            If the file is damaged or of another kind.
        """
        try:
            content = json.loads(gzip.decompress(Path(path).read_bytes()))
            if content.pop("format") != _FORMAT:
                raise ValueError("unknown format")
            content["predictions"] = np.array(content["predictions"])
            for name in ("std", "probabilities"):
                if content[name] is not None:
                    content[name] = np.array(content[name], dtype=np.float64)
            return cls(**content)
        except _READ_ERRORS as error:
            raise DatasetError(
                f"{path} is not the result of a fold that can be read ({error}); delete it to run "
                "the fold again."
            ) from error


@dataclass
class BenchmarkResult:
    """Predictions and scores of models on the folds of a benchmark.

    Parameters
    ----------
    benchmark : str
        Name of the benchmark.
    tasks : dict of str to BenchmarkTask
        The tables.
    records : list of FoldRecord
        One per model, task and fold.
    audit : dict
        What :func:`~sklearn_kt.benchmarking.audit.audit_tasks` found.
    unseen : dict of str to bool ndarray
        For each task the rows whose formula the pretraining pool does not have; empty
        when the pool is not known.
    """

    benchmark: str
    tasks: dict[str, BenchmarkTask]
    records: list[FoldRecord]
    audit: dict[str, Any] = field(default_factory=dict)
    unseen: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def models(self) -> list[str]:
        """Names of the models, in the order they were given."""
        return list(dict.fromkeys(record.model for record in self.records))

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
            :data:`SCORES`, ``fit_seconds``, ``predict_seconds`` and ``peak_mb``.

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
                "called unseen; pass pool= to the function that ran the benchmark."
            )
        table = []
        for record in self.records:
            task = self.tasks[record.task]
            train, test = task.folds[record.fold]
            chosen = (
                self.unseen[record.task][test] if rows == "unseen" else np.ones(len(test), bool)
            )
            scores = score_record(record, task, chosen)
            table.append(
                {
                    "model": record.model,
                    "task": record.task,
                    "fold": record.fold,
                    "n_train": len(train),
                    "n_test": int(chosen.sum()),
                    **scores,
                    "fit_seconds": record.fit_seconds,
                    "predict_seconds": record.predict_seconds,
                    "peak_mb": record.peak_mb,
                }
            )
        return pd.DataFrame(table)

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
        frame = self.to_frame(rows)
        grouped = frame.groupby(["model", "task"], sort=False)
        means = grouped.mean(numeric_only=True).drop(columns="fold")
        means["n_test"] = grouped["n_test"].sum()
        means.insert(0, "n_folds", grouped.size())
        names = [name for kind in SCORES.values() for name in kind if name in frame]
        spread = grouped[names].std(ddof=0).add_suffix("_std")
        return means.join(spread).reset_index()

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
            "benchmark": self.benchmark,
            "command": command,
            "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "versions": {record.model: record.versions for record in self.records},
            "estimators": estimators,
            "tasks": {
                name: {
                    "kind": task.kind,
                    "target": task.target,
                    "unit": task.unit,
                    "n_samples": len(task.y),
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


@own_settings()
def score_predictions(
    task_kind: TaskKind,
    y: np.ndarray,
    predictions: np.ndarray,
    probabilities: np.ndarray | None = None,
) -> dict[str, float]:
    """Score predictions, with both rules for the ROC AUC.

    Parameters
    ----------
    task_kind : {"regression", "classification"}
        What was predicted.
    y : ndarray of shape (n_test,)
        Targets: float64, or bool.
    predictions : ndarray of shape (n_test,)
        Numbers, or bool.
    probabilities : ndarray of shape (n_test,) or None, default=None
        Probability of True.

    Returns
    -------
    scores : dict of str to float
        The keys of :data:`SCORES`; NaN where a score is not defined. ``mad_mae`` is the
        mean absolute deviation of `y` from its mean, divided by the MAE.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_kt.benchmarking import score_predictions
    >>> y, p = np.array([False, False, True, True]), np.array([0.1, 0.6, 0.7, 0.8])
    >>> scores = score_predictions("classification", y, p > 0.5, p)
    >>> scores["roc_auc"], scores["roc_auc_of_labels"]
    (1.0, 0.75)
    """
    if task_kind == "regression":
        scores = dict.fromkeys(SCORES[task_kind], math.nan)
        if len(y):
            scores["mae"] = float(np.abs(y - predictions).mean())
            scores["rmse"] = float(np.sqrt(((y - predictions) ** 2).mean()))
            scores["max_error"] = float(max_error(y, predictions))
            far = np.abs(y) > _MAPE_MIN
            if far.any():
                scores["mape"] = float(np.abs((y[far] - predictions[far]) / y[far]).mean())
            if scores["mae"] > 0:
                scores["mad_mae"] = float(np.abs(y - y.mean()).mean()) / scores["mae"]
        if len(y) > 1:
            scores["r2"] = fold_metrics(y, predictions, task_kind=task_kind)["r2"]
        return scores
    scores = dict.fromkeys(SCORES[task_kind], math.nan)
    if len(y):
        # the only one that is defined where all rows are of one class
        scores["accuracy"] = float((y == predictions).mean())
    if len(np.unique(y)) == 2:
        both = (
            None if probabilities is None else np.column_stack([1 - probabilities, probabilities])
        )
        scores |= fold_metrics(
            y,
            predictions,
            task_kind=task_kind,
            probabilities=both,
            classes=np.array([False, True]),
        )
        scores["roc_auc_of_labels"] = float(roc_auc_score(y, predictions))
    return scores


def score_record(
    record: FoldRecord, task: BenchmarkTask, chosen: np.ndarray | slice = slice(None)
) -> dict[str, float]:
    """Score some of the test rows of a record; all by default."""
    y = task.y[task.folds[record.fold][1]]
    if len(record.predictions) != len(y):
        raise DatasetError(
            f"{record.model}, {record.task}, fold {record.fold}: {len(record.predictions)} "
            f"predictions for {len(y)} test rows."
        )
    probabilities = None if record.probabilities is None else record.probabilities[chosen]
    return score_predictions(task.kind, y[chosen], record.predictions[chosen], probabilities)


def named_models(estimator: Model | Mapping[str, Model]) -> dict[str, Model]:
    """Give models names that can be file names; a lone estimator has that of its class."""
    if isinstance(estimator, Mapping):
        models = dict(estimator)
    elif isinstance(estimator, str):
        models = {estimator: estimator}
    else:
        last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
        models = {getattr(last, "__name__", type(last).__name__): estimator}
    if not models:
        raise InputError("No model to run.")
    for name in models:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InputError(
                f"The model name {name!r} would be a file name: use letters, digits and ._+- only."
            )
    return models


def build_model(model: Model, kind: TaskKind, *, name: str, random_state: int | None) -> Any:
    """Return an estimator that is not fitted and suits the task."""
    if isinstance(model, str):
        return make_model(model, kind, random_state=random_state)
    if isinstance(model, type) or not hasattr(model, "fit"):
        if not callable(model):
            raise InputError(f"{name}: {model!r} is neither an estimator nor a name of a model.")
        model = model(kind)
    wrong = is_regressor(model) if kind == "classification" else is_classifier(model)
    if wrong:
        raise InputError(
            f"{name} is a {'regressor' if kind == 'classification' else 'classifier'}, but a task "
            f"is a {kind}: choose tasks=, or pass a function that takes the task kind and returns "
            "an estimator."
        )
    return clone(model)


def describe_model(estimator: Any) -> str:
    """Parameters of an estimator and the hashes of its checkpoints; not how many jobs it uses."""
    parameters = estimator.get_params(deep=True)
    neutral = {key: None for key in parameters if key.rpartition("__")[2] == "n_jobs"}
    described = clone(estimator).set_params(**neutral)
    text = " ".join(described.__repr__(N_CHAR_MAX=sys.maxsize).split())
    # an address in memory differs from run to run
    text = re.sub(r" at 0x[0-9a-f]+", "", text)
    hashes = [
        f"{folder.name}: sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for folder in checkpoint_folders(estimator)
        for path in sorted(folder.glob("*.safetensors"))
    ]
    return " # ".join([text, *hashes])


def checkpoint_folders(estimator: Any) -> list[Path]:
    """Folders of the pretrained weights that an estimator and its parts start from."""
    from sklearn_kt.encoder import list_checkpoints

    bundled = DATA / "checkpoints"
    found = {
        str(value)
        for key, value in estimator.get_params(deep=True).items()
        if key.rpartition("__")[2] == "checkpoint" and isinstance(value, str | os.PathLike)
    }
    return [bundled / name if name in list_checkpoints() else Path(name) for name in sorted(found)]


def checkpoints_of(models: Mapping[str, Model], tasks: Sequence[BenchmarkTask]) -> list[Path]:
    """Folders of all pretrained weights in use."""
    kinds = {task.kind for task in tasks}
    found = {
        folder
        for name, model in models.items()
        for kind in kinds
        for folder in checkpoint_folders(build_model(model, kind, name=name, random_state=0))
    }
    return sorted(found)


def run_tasks(
    models: Mapping[str, Model],
    tasks: Sequence[BenchmarkTask],
    *,
    folds: Iterable[int] | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    random_state: int | None = 0,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> list[FoldRecord]:
    """Fit every model on every fold that has no result yet.

    Parameters
    ----------
    models : mapping of str to estimator, str or callable
        Estimators by name; or names of :data:`sklearn_kt.evaluation.MODELS`; or
        functions that take the task kind and return an estimator.
    tasks : sequence of BenchmarkTask
        What to run on.
    folds : iterable of int or None, default=None
        Numbers of the folds; None runs all.
    output_dir : path-like or None, default=None
        Folder that keeps the result of each fold as soon as there is one. Folds found
        there are not run again.
    random_state : int or None, default=0
        Seed of models given by name.
    n_jobs : int or None, default=None
        Folds that run at the same time, with joblib.
    verbose : int, default=0
        If positive, show progress on stderr.

    Returns
    -------
    records : list of FoldRecord
        In the order of models, tasks and folds.

    Raises
    ------
    InputError
        If a model does not suit a task, or the folder holds another model's or
        another table's result under the same name.

    Notes
    -----
    An estimator that works in another process can say what that one needed in an attribute
    ``usage_``: a dict with any of ``fit_seconds``, ``predict_seconds``, ``peak_mb`` and
    ``versions``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.dummy import DummyRegressor
    >>> from sklearn_kt.benchmarking import BenchmarkTask, run_tasks
    >>> task = BenchmarkTask(
    ...     "gaps",
    ...     "regression",
    ...     np.array(["NaCl", "KCl", "LiF"], dtype=object),
    ...     np.array([8.5, 8.4, 14.2]),
    ...     np.array(["a", "b", "c"], dtype=object),
    ...     {0: (np.array([0, 1]), np.array([2]))},
    ... )
    >>> [record] = run_tasks({"mean": DummyRegressor()}, [task])
    >>> record.predictions
    array([8.45])
    """
    wanted = None if folds is None else list(folds)
    jobs = []
    for name, model in models.items():
        for task in tasks:
            estimator = build_model(model, task.kind, name=name, random_state=random_state)
            described = describe_model(estimator)
            for fold in task.folds if wanted is None else wanted:
                if fold not in task.folds:
                    raise InputError(
                        f"{task.name} has no fold {fold}; it has {', '.join(map(str, task.folds))}."
                    )
                path = _record_path(output_dir, name, task.name, fold)
                jobs.append((model, name, described, task, fold, path))
    if not jobs:
        raise InputError("Nothing to run: no task or no fold is left.")
    records: list[FoldRecord | None] = [_known(*job[1:]) for job in jobs]
    missing = [number for number, record in enumerate(records) if record is None]
    parallel = Parallel(n_jobs=n_jobs, return_as="generator_unordered")
    with progress(verbose, total=len(jobs)) as report:
        for job, record in zip(jobs, records, strict=True):
            if record is not None:
                report(_label(*job[1:5]), "found, not run again")
        if missing:
            report(f"{len(missing)} folds to run", None)
        done = parallel(
            delayed(_run_one)(number, *jobs[number], random_state, n_jobs or 1)
            for number in missing
        )
        for number, record in done:
            records[number] = record
            report(_label(*jobs[number][1:5]), _outcome(record, jobs[number][3]))
    return [record for record in records if record is not None]


def read_records(
    output_dir: str | os.PathLike[str], tasks: Sequence[BenchmarkTask]
) -> list[FoldRecord]:
    """Read what earlier runs left in a folder, without running anything.

    Parameters
    ----------
    output_dir : path-like
        Folder of :func:`run_tasks`.
    tasks : sequence of BenchmarkTask
        The tables; records of others are left alone.

    Returns
    -------
    records : list of FoldRecord
        Models in alphabetical order, tasks in theirs, then folds. Some may be missing.

    Raises
    ------
    InputError
        If a record was made from another table or split of the same name.

    Examples
    --------
    >>> from sklearn_kt.benchmarking import read_records
    >>> read_records("no/such/folder", [])
    []
    """
    records = []
    for folder in sorted((Path(output_dir) / _RECORDS).glob("*")):
        for task in tasks:
            for fold in task.folds:
                path = _record_path(output_dir, folder.name, task.name, fold)
                assert path is not None
                if path.exists():
                    records.append(_checked(FoldRecord.read(path), task, path))
    return records


def _record_path(
    output_dir: str | os.PathLike[str] | None, model: str, task: str, fold: int
) -> Path | None:
    if output_dir is None:
        return None
    return Path(output_dir) / _RECORDS / model / f"{task}-{fold}.json.gz"


def _label(name: str, described: str, task: BenchmarkTask, fold: int) -> str:
    return f"{name}, {task.name}, fold {fold}"


def _outcome(record: FoldRecord, task: BenchmarkTask) -> str:
    scores = score_record(record, task)
    shown = ("mae", "r2") if task.kind == "regression" else ("roc_auc", "roc_auc_of_labels")
    figures = ", ".join(f"{SCORES[task.kind][name]} {scores[name]:.4g}" for name in shown)
    return f"{figures}, fit {record.fit_seconds:.1f} s"


def _known(
    name: str, described: str, task: BenchmarkTask, fold: int, path: Path | None
) -> FoldRecord | None:
    """Return the record of an earlier run, after checking that it is of the same thing."""
    if path is None or not path.exists():
        return None
    record = _checked(FoldRecord.read(path), task, path)
    if record.estimator != described:
        raise InputError(
            f"{path} holds the result of another model under the name {name!r}. There: "
            f"{record.estimator}. Now: {described}. Use another name or folder, or delete the file."
        )
    return record


def _checked(record: FoldRecord, task: BenchmarkTask, path: Path) -> FoldRecord:
    if record.digest != task.digest(record.fold):
        raise InputError(
            f"{path} was made from another table or split than {task.name} has now: use another "
            "output folder, or delete the file."
        )
    return record


def _run_one(
    number: int,
    model: Model,
    name: str,
    described: str,
    task: BenchmarkTask,
    fold: int,
    path: Path | None,
    random_state: int | None,
    n_jobs: int,
) -> tuple[int, FoldRecord]:
    """Fit and predict one fold and keep the result; runs in a process of joblib's."""
    estimator = build_model(model, task.kind, name=name, random_state=random_state)
    train, test = task.folds[fold]
    with _peak_memory() as peak:
        outcome = fit_and_predict(
            estimator,
            task.formulas[train],
            task.y[train],
            task.formulas[test],
            task_kind=task.kind,
            classes=np.array([False, True]) if task.kind == "classification" else None,
            name=name,
        )
    wanted = np.float64 if task.kind == "regression" else np.bool_
    predictions: np.ndarray = outcome.predictions.astype(wanted)
    if task.kind == "regression" and not np.isfinite(predictions).all():
        row = int(np.flatnonzero(~np.isfinite(predictions))[0])
        raise InputError(
            f"{_label(name, described, task, fold)}: the prediction for "
            f"{task.formulas[test][row]!r} is {predictions[row]}; such a model cannot be scored."
        )
    probabilities = None if outcome.probabilities is None else outcome.probabilities[:, 1]
    if (
        probabilities is not None
        and not ((probabilities > -1e-6) & (probabilities < 1 + 1e-6)).all()
    ):
        raise InputError(f"{_label(name, described, task, fold)}: probabilities outside 0 to 1.")
    # a model that works in another process says itself what that one needed
    usage = getattr(outcome.model, "usage_", {})
    record = FoldRecord(
        model=name,
        task=task.name,
        fold=fold,
        estimator=described,
        digest=task.digest(fold),
        predictions=predictions,
        std=outcome.std,
        probabilities=None if probabilities is None else np.clip(probabilities, 0, 1),
        fit_seconds=usage.get("fit_seconds", outcome.fit_seconds),
        predict_seconds=usage.get("predict_seconds", outcome.predict_seconds),
        peak_mb=usage.get("peak_mb", peak[0]),
        n_jobs=n_jobs,
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        versions=library_versions() | usage.get("versions", {}),
    )
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        record.write(path)
    return number, record


@contextlib.contextmanager
def _peak_memory() -> Iterator[list[float | None]]:
    """Measure the most memory that this process holds, in MB; None where Linux is missing."""
    peak: list[float | None] = [None]
    status = Path("/proc/self/status")
    try:
        # resets the peak, which else is that of the whole life of the process
        Path("/proc/self/clear_refs").write_text("5")
        known = status.exists()
    except OSError:
        known = False
    yield peak
    if known and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        peak[0] = round(int(found[1]) / 1024, 1)
