"""Running models on the folds of tasks; what is done is kept, so that a stopped run goes on.

Notes
-----
**What a model sees.** ``fit`` gets the formulas and targets of a fold's training
part, ``predict`` the formulas of its test part, and nothing else is passed: tuning,
early stopping and scaling of targets can only use training rows.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor

from sklearn_kt._files import file_digest
from sklearn_kt._model_guards import objects_in
from sklearn_kt._settings import own_settings
from sklearn_kt.conditions import ConditionEncoder
from sklearn_kt.estimators.base import reads_compositions, told_once
from sklearn_kt.estimators.readouts import decide, forests_in_order, offers_std
from sklearn_kt.exceptions import InputError

from .audit import CompositionPool, audit_tasks, find_pool
from .models import make_model
from .records import FoldRecord, add_record, check_file_name, read_records
from .result import EvaluationResult
from .scores import SCORES, TaskKind
from .task import Task

__all__ = ["FoldPrediction", "Model", "evaluate", "fit_and_predict", "library_versions"]

RESULTS = "results.json"
"""Name of the file with scores and audit in the folder of a run."""

Model: TypeAlias = str | BaseEstimator | Callable[[TaskKind], BaseEstimator]

_PACKAGES = (
    "sklearn_kt",
    "numpy",
    "pandas",
    "scikit-learn",
    "torch",
    "skorch",
    "transformers",
    "pymatgen",
    "matminer",
)
# said of a fold that is done
_OUTCOME = {"regression": ("mae", "r2"), "classification": ("balanced_accuracy", "roc_auc")}


def evaluate(
    models: Model | Iterable[str] | Mapping[str, Model],
    tasks: Task | Sequence[Task],
    *,
    folds: Iterable[int] | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    pool: CompositionPool | str | os.PathLike[str] | None = None,
    command: str | None = None,
    random_state: int | None = 0,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> EvaluationResult:
    """Run models on the folds of tasks, keep every prediction, and audit the folds.

    Parameters
    ----------
    models : estimator, str, callable, iterable of str, or mapping of str to the first three
        An estimator that reads formulas (it is cloned for each fold); or a name of
        :data:`~sklearn_kt.evaluation.MODELS`; or a function that takes the task kind,
        ``"regression"`` or ``"classification"``, and returns an estimator; or several of
        these by name; or several names.
    tasks : Task or sequence of Task
        Tables with their folds: of :func:`~sklearn_kt.evaluation.table_task`, or those of
        :mod:`sklearn_kt.benchmarking`.
    folds : iterable of int or None, default=None
        Numbers of the folds, from 0; None runs all.
    output_dir : path-like or None, default=None
        Folder that keeps the predictions of each fold as soon as there are some, in
        ``folds/<model>.parquet``. Folds found there are not run again. At the end it gets
        ``results.json`` (scores, audit, versions).
    pool : CompositionPool, path-like or None, default=None
        Compositions that the models were pretrained on, for the audit. None takes
        ``pool.npz`` in the folders of the checkpoints that the models start from.
    command : str or None, default=None
        The command that made the result; kept in ``results.json``.
    random_state : int or None, default=0
        Seed of models given by name.
    n_jobs : int or None, default=None
        Folds that run at the same time, with joblib.
    verbose : int, default=0
        If positive, show progress on stderr.

    Returns
    -------
    result : EvaluationResult
        Predictions, scores and audit, in the order of models, tasks and folds.

    Raises
    ------
    InputError
        If a model does not suit a task, or the folder holds another model's or
        another table's result under the same name.

    See Also
    --------
    table_task : Makes a task of a table of your own.
    compare_models : Compares the models fold by fold.

    Notes
    -----
    Times are wall clock; reading the formulas counts, imports do not. What is timed is
    ``predict``, with ``return_std`` where a model has it.

    Class labels are what ``predict`` says, and probabilities what ``predict_proba`` says: a
    :class:`~sklearn.model_selection.FixedThresholdClassifier` is scored as it decides.

    An estimator that works in another process can say what that one needed in an attribute
    ``usage_``: a dict with any of ``fit_seconds``, ``predict_seconds``, ``peak_mb`` and
    ``versions``.

    Examples
    --------
    >>> from sklearn_kt.evaluation import evaluate, table_task
    >>> X, y = ["NaCl", "KCl", "LiF", "NaF"], [5.0, 4.0, 9.0, 8.0]
    >>> gaps = table_task(X, y, kind="regression", n_splits=2, name="gaps")
    >>> result = evaluate(["dummy"], gaps)
    >>> result.summary()[["model", "task", "n_folds", "mae"]]
       model  task  n_folds  mae
    0  dummy  gaps        2  4.0
    """
    named = named_models(models)
    tasks = [tasks] if isinstance(tasks, Task) else list(tasks)
    by_name = {task.name: task for task in tasks}
    if len(by_name) < len(tasks):
        raise InputError("Two tasks have the same name; give each its own.")
    records = _run(named, tasks, folds, output_dir, random_state, n_jobs, verbose)
    known, why = find_pool(pool, checkpoints_of(named, tasks))
    audit, unseen = audit_tasks(tasks, pool=known, pool_missing=why)
    result = EvaluationResult(by_name, records, audit, unseen)
    if output_dir is not None:
        result.write(Path(output_dir) / RESULTS, command=command)
    return result


def named_models(models: Model | Iterable[str] | Mapping[str, Model]) -> dict[str, Model]:
    """Give models names; a lone estimator has that of its class."""
    if isinstance(models, Mapping):
        named = dict(models)
    elif isinstance(models, str):
        named = {models: models}
    elif isinstance(models, type) or hasattr(models, "fit") or callable(models):
        last = models.steps[-1][1] if hasattr(models, "steps") else models
        named = {getattr(last, "__name__", type(last).__name__): models}
    elif not isinstance(models, Iterable):
        raise InputError(f"{models!r} is neither an estimator nor a name of a model.")
    else:
        names = list(models)
        named = {name: name for name in names}
        if len(named) < len(names):
            raise InputError(f"A model is named twice in {', '.join(map(str, names))}.")
    if not named:
        raise InputError("No model to run.")
    for name in named:
        if not isinstance(name, str):
            raise InputError(f"Names of models must be texts, got {name!r}.")
    return named


def build_model(
    model: Model, kind: TaskKind, *, name: str, random_state: int | None, conditions: bool = False
) -> Any:
    """Return an estimator that is not fitted and suits the task."""
    if isinstance(model, str):
        return make_model(model, kind, random_state=random_state, conditions=conditions)
    if isinstance(model, type) or not hasattr(model, "fit"):
        if not callable(model):
            raise InputError(f"{name}: {model!r} is neither an estimator nor a name of a model.")
        model = model(kind)
    if not suits(model, kind):
        raise InputError(
            f"{name} is a {'regressor' if kind == 'classification' else 'classifier'}, but a task "
            f"is a {kind}: choose other tasks, or pass a function that takes the task kind and "
            "returns an estimator."
        )
    return clone(model)


def suits(model: Any, kind: TaskKind) -> bool:
    """Tell whether a model can be fitted to tasks of a kind; names and functions can."""
    if isinstance(model, type) or not hasattr(model, "fit"):
        return True
    return not (is_regressor(model) if kind == "classification" else is_classifier(model))


def describe_model(estimator: Any) -> str:
    """Parameters of an estimator and the hashes of its checkpoints; not how many jobs it uses."""
    parameters = estimator.get_params(deep=True)
    neutral = {key: None for key in parameters if key.rpartition("__")[2] == "n_jobs"}
    described = clone(estimator).set_params(**neutral)
    text = " ".join(described.__repr__(N_CHAR_MAX=sys.maxsize).split())
    # an address in memory differs from run to run
    text = re.sub(r" at 0x[0-9a-f]+", "", text)
    hashes = [
        f"{folder.name}: sha256 {file_digest(path)}"
        for folder in checkpoint_folders(estimator)
        for path in sorted(folder.glob("*.safetensors"))
    ]
    return " # ".join([text, *hashes])


def checkpoint_folders(estimator: Any) -> list[Path]:
    """Folders of the pretrained weights that an estimator and its parts start from."""
    from sklearn_kt.encoder.weights import checkpoint_folder

    found = {
        str(value)
        for key, value in estimator.get_params(deep=True).items()
        if key.rpartition("__")[2] == "checkpoint" and isinstance(value, str | os.PathLike)
    }
    return [checkpoint_folder(name) for name in sorted(found)]


def checkpoints_of(models: Mapping[str, Model], tasks: Sequence[Task]) -> list[Path]:
    """Folders of all pretrained weights in use, also by the parts that a blend has by default."""
    kinds = {task.kind for task in tasks}
    found: set[Path] = set()
    for name, model in models.items():
        for kind in kinds:
            estimator = build_model(model, kind, name=name, random_state=0)
            parts = [estimator]
            if hasattr(estimator, "default_models") and estimator.estimators is None:
                parts += estimator.default_models(0, 1).values()
            found.update(folder for part in parts for folder in checkpoint_folders(part))
    return sorted(found)


@dataclass(frozen=True)
class _Job:
    """One fit: what a process needs to know."""

    name: str
    model: Model
    described: str
    task: Task
    fold: int
    random_state: int | None

    @property
    def key(self) -> tuple[str, str, int]:
        return self.name, self.task.name, self.fold

    def __str__(self) -> str:
        return f"{self.name}, {self.task.name}, fold {self.fold}"


def _run(
    models: Mapping[str, Model],
    tasks: Sequence[Task],
    folds: Iterable[int] | None,
    output_dir: str | os.PathLike[str] | None,
    random_state: int | None,
    n_jobs: int | None,
    verbose: int,
) -> list[FoldRecord]:
    """Fit every model on every fold that has no result yet."""
    jobs = list(_jobs(models, tasks, None if folds is None else list(folds), random_state))
    if not jobs:
        raise InputError("Nothing to run: no task or no fold is left.")
    done: dict[tuple[str, str, int], FoldRecord] = {}
    if output_dir is not None:
        for name in models:
            check_file_name(name)
        found = {(r.model, r.task, r.fold): r for r in read_records(output_dir, tasks, models)}
        done = {job.key: _same(job, found[job.key]) for job in jobs if job.key in found}
    missing = [job for job in jobs if job.key not in done]
    run = Parallel(n_jobs=n_jobs, return_as="generator_unordered")(
        delayed(_run_one)(number, job, n_jobs or 1) for number, job in enumerate(missing)
    )
    with _progress(verbose, len(jobs)) as report:
        for job in jobs:
            if job.key in done:
                report(f"{job}: found, not run again")
        for number, record in run:
            job = missing[number]
            if output_dir is not None:
                add_record(output_dir, record, job.task)
            done[job.key] = record
            report(f"{job}: {_outcome(record, job.task)}")
    return [done[job.key] for job in jobs]


def _jobs(
    models: Mapping[str, Model],
    tasks: Sequence[Task],
    folds: Sequence[int] | None,
    random_state: int | None,
) -> Iterator[_Job]:
    checked: set[str] = set()
    for name, model in models.items():
        for task in tasks:
            estimator = _model_for(task, model, name, random_state)
            described = describe_model(estimator)
            numbers = list(task.folds) if folds is None else folds
            if missing := [fold for fold in numbers if fold not in task.folds]:
                raise InputError(
                    f"{task.name} has no fold {missing[0]}; it has "
                    f"{', '.join(map(str, task.folds))}."
                )
            # now, and not after hours of other fits
            if task.name not in checked and _reads_conditions(estimator):
                task.check_conditions(numbers)
                checked.add(task.name)
            for fold in numbers:
                yield _Job(name, model, described, task, fold, random_state)


def _reads_conditions(model: Any) -> bool:
    """Tell whether a model, or the one inside it, reads tables as :class:`ConditionEncoder` does.

    Others may know what to do without a category.
    """
    inner = getattr(model, "estimator", None)
    return (
        reads_compositions(model)
        or any(isinstance(part, ConditionEncoder) for part in objects_in(model))
        or (inner is not None and _reads_conditions(inner))
    )


def _model_for(task: Task, model: Model, name: str, random_state: int | None) -> Any:
    has_conditions = task.conditions is not None
    return build_model(
        model, task.kind, name=name, random_state=random_state, conditions=has_conditions
    )


def _same(job: _Job, record: FoldRecord) -> FoldRecord:
    """Return the record of an earlier run, after checking that it is of the same model."""
    if record.estimator != job.described:
        raise InputError(
            f"The output folder holds the result of another model under the name {job.name!r}. "
            f"There: {record.estimator}. Now: {job.described}. Use another name or folder, or "
            f"delete its file, {job.name}.parquet."
        )
    return record


@contextlib.contextmanager
def _progress(verbose: int, total: int) -> Iterator[Callable[[str], None]]:
    """Yield what tells that a fold is done."""
    from tqdm import tqdm

    # lines alone where there is no terminal
    hidden = True if verbose <= 0 else None
    with tqdm(total=total, unit="fold", disable=hidden, leave=False) as bar:

        def report(line: str) -> None:
            if verbose > 0:
                tqdm.write(line, file=sys.stderr)
            bar.update()

        yield report


def _outcome(record: FoldRecord, task: Task) -> str:
    scores = record.score(task)
    figures = []
    for name in _OUTCOME[task.kind]:
        unit = f" {task.unit}" if task.unit and SCORES[name].in_target_units else ""
        figures.append(f"{SCORES[name].label} {scores[name]:.4g}{unit}")
    return f"{', '.join(figures)}, fit {record.fit_seconds:.1f} s"


def _run_one(number: int, job: _Job, n_jobs: int) -> tuple[int, FoldRecord]:
    """Fit and predict one fold; runs in a process of joblib's."""
    task = job.task
    estimator = _model_for(task, job.model, job.name, job.random_state)
    train, test = task.folds[job.fold]
    # elements that only the test part has are part of what a fold measures
    with _peak_memory() as peak, told_once():
        outcome = fit_and_predict(
            estimator,
            task.inputs(train),
            task.y[train],
            task.inputs(test),
            kind=task.kind,
            classes=task.classes,
            name=str(job),
        )
    predictions = outcome.predictions.astype(task.y.dtype)
    probabilities = outcome.probabilities
    if task.kind == "regression" and not np.isfinite(predictions).all():
        row = int(np.flatnonzero(~np.isfinite(predictions))[0])
        raise InputError(
            f"{job}: the prediction for {task.formulas[test][row]!r} is {predictions[row]}; such "
            "a model cannot be scored."
        )
    if task.classes is not None and not np.isin(predictions, task.classes).all():
        raise InputError(f"{job}: a prediction is none of the classes.")
    if probabilities is not None:
        if not ((probabilities > -1e-6) & (probabilities < 1 + 1e-6)).all():
            raise InputError(f"{job}: probabilities outside 0 to 1.")
        probabilities = np.clip(probabilities, 0, 1)
    # a model that works in another process says itself what that one needed
    usage = getattr(outcome.model, "usage_", {})
    record = FoldRecord(
        model=job.name,
        task=task.name,
        fold=job.fold,
        estimator=job.described,
        digest=task.digest(job.fold),
        predictions=predictions,
        std=outcome.std,
        probabilities=probabilities,
        fit_seconds=usage.get("fit_seconds", outcome.fit_seconds),
        predict_seconds=usage.get("predict_seconds", outcome.predict_seconds),
        peak_mb=usage.get("peak_mb", peak[0]),
        n_jobs=n_jobs,
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        versions=library_versions() | usage.get("versions", {}),
    )
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


@dataclass
class FoldPrediction:
    """What a model says about the test part of one fold.

    Parameters
    ----------
    predictions : ndarray of shape (n_test,)
        Numbers, or class labels: what ``predict`` says. A model with a threshold of its own
        may decide for a class that is not the most probable.
    std : float64 ndarray of shape (n_test,) or None
        Predicted standard deviations, from models that give one.
    probabilities : float64 ndarray of shape (n_test, n_classes) or None
        Class probabilities, from classifiers that give them.
    fit_seconds, predict_seconds : float
        Wall clock.
    model : estimator
        Fitted.
    """

    predictions: np.ndarray
    std: np.ndarray | None
    probabilities: np.ndarray | None
    fit_seconds: float
    predict_seconds: float
    model: Any


@own_settings()
def fit_and_predict(
    estimator: BaseEstimator,
    X_train: Any,
    y_train: np.ndarray,
    X_test: Any,
    *,
    kind: TaskKind,
    classes: np.ndarray | None = None,
    name: str = "The model",
) -> FoldPrediction:
    """Fit a clone of a model and predict; it sees nothing but these arguments.

    `classes` are all labels in sorted order, the columns of the probabilities: one may be absent
    from the training part. Messages call the model by its `name`.
    """
    model: Any = clone(estimator)
    start = perf_counter()
    forests_in_order(model.fit(X_train, y_train))
    fitted = perf_counter()
    std = given = probabilities = None
    predictions = None
    if kind == "classification":
        predictions, given = decide(model, X_test)
    elif offers_std(model):
        # an ensemble of one has no spread; any other error comes again below
        with contextlib.suppress(InputError):
            predictions, std = model.predict(X_test, return_std=True)
    if predictions is None:
        predictions = model.predict(X_test)
    predicted = perf_counter()
    if given is not None:
        labels = model.classes_ if classes is None else classes
        probabilities = np.zeros((len(given), len(labels)))
        probabilities[:, np.searchsorted(labels, model.classes_)] = given
    predictions = np.asarray(predictions)
    if predictions.shape != (len(X_test),):
        raise InputError(
            f"{name} gave predictions of shape {predictions.shape} for {len(X_test)} rows."
        )
    return FoldPrediction(
        predictions, std, probabilities, fitted - start, predicted - fitted, model
    )


def library_versions() -> dict[str, str]:
    """Versions of Python and of what results depend on, and the machine with its GPU."""
    versions = {"python": platform.python_version()}
    versions |= {name: importlib.metadata.version(name) for name in _PACKAGES}
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores"
    # one that this process has used: to name another would take memory of it
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        machine += f", {torch.cuda.get_device_name()}"
    versions["machine"] = machine
    return versions
