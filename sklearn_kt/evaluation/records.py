"""What models predicted on folds, and the files that keep it: one Parquet file per model."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from sklearn_kt._files import replacing
from sklearn_kt.exceptions import DatasetError, InputError

from .scores import score_predictions
from .task import Task

__all__ = ["FoldRecord", "add_record", "check_file_name", "read_records"]

_FOLDER = "folds"
# names become file names
_NAME = re.compile(r"\w[\w.+-]*")
_NUMBERS = pa.list_(pa.float64())
_SCHEMA = pa.schema(
    {
        "task": pa.string(),
        "fold": pa.int64(),
        "estimator": pa.string(),
        "digest": pa.string(),
        # of classes their numbers, in sorted order
        "predictions": _NUMBERS,
        "std": _NUMBERS,
        # row by row
        "probabilities": _NUMBERS,
        "fit_seconds": pa.float64(),
        "predict_seconds": pa.float64(),
        "peak_mb": pa.float64(),
        "n_jobs": pa.int64(),
        "date": pa.string(),
        "versions": pa.map_(pa.string(), pa.string()),
    }
)


@dataclass
class FoldRecord:
    """Predictions of one model on one fold.

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
        Numbers, or class labels, in the order of the fold's test part: what ``predict`` says.
        A model with a threshold of its own may decide for a class that is not the most
        probable.
    std : float64 ndarray of shape (n_test,) or None
        Predicted standard deviations, from models that give them.
    probabilities : float64 ndarray of shape (n_test, n_classes) or None
        Class probabilities, from classifiers that give them; columns in the order of the
        task's classes.
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

    Examples
    --------
    >>> from sklearn_kt.evaluation import evaluate, table_task
    >>> task = table_task(["NaCl", "KCl", "LiF"], [5.0, 4.0, 9.0], kind="regression", n_splits=3)
    >>> record = evaluate(["dummy"], task).records[0]
    >>> record.model, record.fold, record.predictions, record.std
    ('dummy', 0, array([4.5]), None)
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

    def score(self, task: Task, chosen: np.ndarray | slice = slice(None)) -> dict[str, float]:
        """Score some of the test rows.

        Parameters
        ----------
        task : Task
            The table.
        chosen : bool ndarray of shape (n_test,) or slice, default=slice(None)
            Rows of the test part; all by default.

        Returns
        -------
        scores : dict of str to float
            Of :func:`score_predictions`.
        """
        y = task.y[task.folds[self.fold][1]]
        if len(self.predictions) != len(y):
            raise DatasetError(
                f"{self.model}, {self.task}, fold {self.fold}: {len(self.predictions)} "
                f"predictions for {len(y)} test rows."
            )
        probabilities = None if self.probabilities is None else self.probabilities[chosen]
        return score_predictions(
            task.kind, y[chosen], self.predictions[chosen], probabilities, task.classes
        )


def check_file_name(model: str) -> None:
    """Refuse the name of a model that cannot be that of a file."""
    if not _NAME.fullmatch(model):
        raise InputError(
            f"The model name {model!r} would be a file name: use letters, digits and ._+- only."
        )


def add_record(folder: str | os.PathLike[str], record: FoldRecord, task: Task) -> None:
    """Put a record beside those that the folder has of the same model, in one piece.

    Parameters
    ----------
    folder : path-like
        Folder of a run.
    record : FoldRecord
        What is kept; one of the same task and fold is replaced.
    task : Task
        Its table.
    """
    path = _path(folder, record.model)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        rows = [
            row for row in _read(path) if (row["task"], row["fold"]) != (record.task, record.fold)
        ]
        table = pa.Table.from_pylist([*rows, _row(record, task)], _SCHEMA)
        with replacing(path) as part:
            pq.write_table(table, part, compression="zstd")


def read_records(
    folder: str | os.PathLike[str], tasks: Sequence[Task], models: Iterable[str] | None = None
) -> list[FoldRecord]:
    """Read what earlier runs left in a folder, without running anything.

    Parameters
    ----------
    folder : path-like
        ``output_dir`` of :func:`~sklearn_kt.evaluation.evaluate`.
    tasks : sequence of Task
        The tables; records of others are left alone.
    models : iterable of str or None, default=None
        Names; None takes all that are there, in alphabetical order.

    Returns
    -------
    records : list of FoldRecord
        In the order of models, tasks and folds. Some may be missing.

    Raises
    ------
    DatasetError
        If a file is damaged or of another kind.
    InputError
        If a record was made from another table or split of the same name.

    Examples
    --------
    >>> from sklearn_kt.evaluation import read_records
    >>> read_records("no/such/folder", [])
    []
    """
    if models is None:
        models = sorted(path.stem for path in (Path(folder) / _FOLDER).glob("*.parquet"))
    records = []
    for model in models:
        path = _path(folder, model)
        found = {(row["task"], row["fold"]): row for row in _read(path)}
        for task in tasks:
            for fold in task.folds:
                if (row := found.get((task.name, fold))) is None:
                    continue
                if row["digest"] != task.digest(fold):
                    raise InputError(
                        f"{path} was made from another table or split than {task.name} has now: "
                        "use another output folder, or delete the file."
                    )
                records.append(_record(model, row, task, path))
    return records


def _path(folder: str | os.PathLike[str], model: str) -> Path:
    return Path(folder) / _FOLDER / f"{model}.parquet"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other processes from writing the same file meanwhile."""
    lock = path.with_name(f".{path.name}.lock")
    with FileLock(lock):
        yield
        # while it is held: whoever locks a file that has lost its name tries again. Windows does
        # not let go of an open file
        with suppress(OSError):
            lock.unlink()


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        table = pq.read_table(path, use_threads=False)
        return table.select(_SCHEMA.names).cast(_SCHEMA).to_pylist()
    except (OSError, KeyError, pa.ArrowException) as error:
        raise DatasetError(
            f"{path} holds no results of folds that can be read ({error}); delete it to run the "
            "folds again."
        ) from error


def _row(record: FoldRecord, task: Task) -> dict[str, Any]:
    row = {**vars(record), "versions": list(record.versions.items())}
    if task.classes is not None:
        row["predictions"] = np.searchsorted(task.classes, record.predictions).astype(float)
    if record.probabilities is not None:
        row["probabilities"] = record.probabilities.ravel()
    return {name: row[name] for name in _SCHEMA.names}


def _record(model: str, row: dict[str, Any], task: Task, path: Path) -> FoldRecord:
    n_test, classes = len(task.folds[row["fold"]][1]), task.classes
    shapes = {"predictions": (n_test,), "std": (n_test,), "probabilities": (n_test, -1)}
    try:
        arrays = {
            name: np.array(row[name], np.float64).reshape(shape)
            for name, shape in shapes.items()
            if row[name] is not None
        }
        if classes is not None:
            arrays["predictions"] = classes[arrays["predictions"].astype(np.int64)]
    except (KeyError, ValueError, IndexError) as error:
        raise DatasetError(
            f"{path} holds no predictions of {task.name}, fold {row['fold']} that can be read "
            f"({error}); delete it to run the folds again."
        ) from error
    return FoldRecord(**{**row, **arrays, "model": model, "versions": dict(row["versions"])})
